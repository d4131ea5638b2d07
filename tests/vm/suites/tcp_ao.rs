//! TCP-AO (RFC 5925) on a kernel that has it: the speaker against BIRD 3 and against itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use tests::daemon::{Bird, Family, Kind};
use tests::interop::{Bench, SESSIONS, Setup, manifests};
use tests::lab::{Lab, Node};
use tests::pair::{address, nodes};
use tests::speaker::Speaker;
use tests::wait::{always, eventually};

const SOON: Duration = Duration::from_secs(60);

/// A key as BIRD is told of it: KeyIDs, algorithm and secret, and whether it is the one to sign with.
#[derive(Clone, Copy)]
struct Key {
    send: u8,
    receive: u8,
    algorithm: &'static str,
    secret: &'static str,
    preferred: bool,
}

/// What `tcpAo.keys[]` of [`OURS`] are on the other side.
const THEIRS: Key =
    Key { send: 2, receive: 1, algorithm: "hmac sha1", secret: "of the fabric", preferred: true };
const OURS: &str = "{sendId: 1, receiveId: 2, passwordFile: ao.key}";
const FILE: (&str, &str) = ("ao.key", "of the fabric\n");

/// BIRD with a session of each family; `neighbors` of it are ours.
fn bird(node: &Node, keys: &[Key]) -> Bird {
    let mut list = String::new();
    for Key { send, receive, algorithm, secret, preferred } in keys {
        let preferred = if *preferred { "preferred; " } else { "" };
        list += &format!(
            "key {{ send id {send}; recv id {receive}; algorithm {algorithm}; secret \"{secret}\"; {preferred}}}; "
        );
    }
    let authentication =
        if keys.is_empty() { String::new() } else { format!("authentication ao; keys {{ {list}}};") };
    let sessions = SESSIONS.map(|(name, family)| {
        format!(
            "protocol bgp {name} {{ local {} as 64502; neighbor {} as 64501; direct; hold time 9;\n \
             connect delay time 1; connect retry time 1; error wait time 1,2;\n {authentication}\n \
             {} {{ import all; export all; }};\n}}\n",
            address(family, 2),
            address(family, 1),
            family.word()
        )
    });
    let config = format!(
        "log stderr all;\nrouter id 10.0.0.2;\nprotocol device {{}}\n\
         protocol static {{ ipv4; route 192.0.2.0/24 blackhole; }}\n{}",
        sessions.concat()
    );
    Bird::with_config(node, 64502, &config)
}

fn keyed(keys: &str) -> Setup {
    Setup {
        peer_keys: format!("asn: 64502, tcpAo: {{keys: [{keys}]}}"),
        files: vec![(FILE.0, FILE.1.to_owned())],
        ..Setup::new(Kind::Bird)
    }
}

/// Both sides on one link.
fn start(setup: &Setup, theirs: &[Key]) -> Bench {
    let (lab, node, router_node) = nodes();
    files(&node, &setup.files);
    let router = Box::new(bird(&router_node, theirs));
    let speaker = Speaker::start(&node, &setup.config(), &setup.manifests);
    Bench { speaker, router, router_node, internal: false, lab }
}

fn files(node: &Node, files: &[(&str, String)]) {
    let dir = node.dir().join("speaker");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

fn all() -> Vec<&'static str> {
    manifests::POOL_PREFIXES.into_iter().chain(manifests::SERVICE_ROUTES).collect()
}

/// A counter of the kernel in a node's namespace, as `TCPAOGood`.
fn counter(node: &Node, name: &str) -> u64 {
    let text = node.inside(|| std::fs::read_to_string("/proc/thread-self/net/netstat")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("TcpExt:")).collect();
    let place = lines[0].split_whitespace().position(|word| word == name);
    let place = place.unwrap_or_else(|| panic!("no counter {name}: {}", lines[0]));
    lines[1].split_whitespace().nth(place).unwrap().parse().unwrap()
}

/// For some seconds no session is up on either side.
#[track_caller]
fn apart(bench: &Bench, what: &str) {
    always(Duration::from_secs(8), what, || {
        for (name, family) in SESSIONS {
            let peer = bench.speaker.peer(name);
            // Null: it has not answered this time.
            if peer["state"] == "Established" || peer["establishedCount"].as_u64() > Some(0) {
                return Err(peer.to_string());
            }
            if bench.router.established(Bench::ours(family)) {
                return Err(format!("BIRD is established with {name}"));
            }
        }
        Ok(())
    });
}

/// Sessions of both families, routes both ways, and every segment signed.
#[test]
fn bird_with_the_same_key() {
    let bench = start(&keyed(OURS), &[THEIRS]);
    bench.wait_established();
    bench.wait_prefixes(&all());
    eventually(SOON, "its route is here", || {
        let routes = bench.speaker.received("router4");
        if routes == ["192.0.2.0/24"] { Ok(()) } else { Err(format!("{routes:?}")) }
    });
    let router = &bench.router_node;
    assert!(counter(router, "TCPAOGood") > 10, "{}", counter(router, "TCPAOGood"));
    assert_eq!(["TCPAOBad", "TCPAOKeyNotFound", "TCPAORequired"].map(|name| counter(router, name)), [0; 3]);
    for (name, _) in SESSIONS {
        let peer = bench.speaker.peer(name);
        assert_eq!((&peer["tcpAo"], &peer["md5"]), (&true.into(), &false.into()), "{peer}");
        let text = bench.speaker.cli(&["peers", name]);
        assert!(text.contains("TCP-AO: on") && !text.contains("of the fabric"), "{text}");
    }
}

/// AES-128-CMAC, whose key has another length than the cipher wants (RFC 5926 §3.1.1.2).
#[test]
fn bird_with_aes_cmac() {
    let ours = "{sendId: 0, receiveId: 255, algorithm: aes-128-cmac-96, passwordFile: ao.key}";
    let theirs = Key { send: 255, receive: 0, algorithm: "cmac aes128", ..THEIRS };
    let bench = start(&keyed(ours), &[theirs]);
    bench.wait_established();
    bench.wait_prefixes(&all());
}

#[test]
fn bird_with_a_wrong_key() {
    let bench = start(&keyed(OURS), &[Key { secret: "of another fabric", ..THEIRS }]);
    apart(&bench, "a wrong key");
    assert!(counter(&bench.router_node, "TCPAOBad") > 0);
}

#[test]
fn bird_with_another_key_id() {
    let bench = start(&keyed(OURS), &[Key { receive: 9, ..THEIRS }]);
    apart(&bench, "a KeyID that it does not know");
    assert!(counter(&bench.router_node, "TCPAOKeyNotFound") > 0);
}

#[test]
fn bird_without_a_key_and_then_we_without_one() {
    let bench = start(&keyed(OURS), &[]);
    apart(&bench, "only we have a key");
    drop(bench);
    let bench = start(&Setup::new(Kind::Bird), &[THEIRS]);
    apart(&bench, "only BIRD has a key");
}

/// How often a session has come up, by the log.
fn sessions_begun(bench: &Bench, name: &str) -> usize {
    let log = bench.speaker.process().log();
    log.lines().filter(|line| line.contains(name) && line.contains("session is up")).count()
}

/// Keys changed as config/README.md says: the new one beside the old, then first, then alone.
#[test]
fn keys_are_changed_one_side_at_a_time() {
    let new = Key { send: 12, receive: 11, secret: "of next year", preferred: false, ..THEIRS };
    let second = "{sendId: 11, receiveId: 12, passwordFile: new.key}";
    let with = |keys: &str| {
        let mut setup = keyed(keys);
        setup.files.push(("new.key", "of next year".to_owned()));
        setup
    };
    let bench = start(&with(OURS), &[THEIRS, new]);
    bench.wait_established();
    for keys in [format!("{OURS}, {second}"), format!("{second}, {OURS}"), second.to_owned()] {
        let before = SESSIONS.map(|(name, _)| sessions_begun(&bench, name));
        bench.speaker.write_config(&with(&keys).config());
        for ((name, _), before) in SESSIONS.into_iter().zip(before) {
            eventually(SOON, &format!("a new session of {name} with {keys}"), || {
                let now = sessions_begun(&bench, name);
                if now > before { Ok(()) } else { Err(format!("{now} of {before}")) }
            });
        }
        bench.wait_established();
        bench.wait_prefixes(&all());
        assert_eq!(counter(&bench.router_node, "TCPAOBad"), 0, "{keys}");
    }
}

/// Dynamic peers with a key for the prefix: with it, and an unsigned connection from the same prefix.
#[test]
fn dynamic_peers() {
    let setup = Setup { dynamic: true, ..keyed(OURS) };
    let bench = start(&setup, &[THEIRS]);
    for (rack, family) in [("rack4", Family::V4), ("rack6", Family::V6)] {
        let name = format!("{rack}:{}", address(family, 2));
        bench.speaker.wait_state(&name, "Established", SOON);
        assert_eq!(bench.speaker.peer(&name)["tcpAo"], true, "{name}");
    }
    bench.wait_prefixes(&all());
    bench.router_node.address("eth0", "10.0.0.3/24");
    let without = bench.router_node.inside(|| dial([10, 0, 0, 3].into(), Bench::ours(Family::V4)));
    assert!(without.is_err(), "{without:?}");
    drop(bench);
    let bench = start(&setup, &[Key { secret: "of another rack", ..THEIRS }]);
    always(Duration::from_secs(8), "no session with a wrong key", || {
        let peers = bench.speaker.json(&["peers"]);
        if peers.as_array().is_some_and(|peers| !peers.is_empty()) { Err(peers.to_string()) } else { Ok(()) }
    });
}

/// A connection from one of several addresses of the node that it is called in.
fn dial(from: IpAddr, to: IpAddr) -> std::io::Result<TcpStream> {
    let to = SocketAddr::new(to, 179);
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    Ok(socket.into())
}

/// The speaker at `.n`, with `peers` as YAML.
fn speaker(node: &Node, n: u8, peers: &str) -> Speaker {
    files(node, &[("ao.key", "of the fabric".to_owned()), ("rack.key", "of the rack".to_owned())]);
    let config = format!(
        "node: {{name: n{n}}}\nrouter: {{asn: 6450{n}, routerId: 10.0.0.{n}, listen: [\"0.0.0.0:179\", \"[::]:179\"]}}\n\
         sources: {{manifests: [manifests]}}\nipam: {{stateDir: state}}\ndatapath: {{loops: none}}\napi: {{socket: api.sock}}\n\
         peerGroups:\n  - {{name: g, timers: {{hold: 9s, keepalive: 3s, connectRetry: 1s}}}}\n{peers}"
    );
    Speaker::start(node, &config, &[])
}

fn peer(name: &str, n: u8, auth: &str) -> String {
    format!("  - {{name: {name}, group: g, address: 10.0.0.{n}, asn: 6450{n}{auth}}}\n")
}

/// A peer inside the prefix of dynamic peers, each with a key of its own. "The IDs of MKTs MUST NOT overlap where their
/// TCP connection identifiers overlap" (RFC 5925 §3.1): with one KeyID for both the kernel takes the first alone.
#[test]
fn a_peer_inside_a_prefix_has_its_own_key() {
    for (id, taken) in [(7, true), (1, false)] {
        let (_lab, left, right): (Lab, Node, Node) = nodes();
        let own = ", tcpAo: {keys: [{sendId: 1, passwordFile: ao.key}]}";
        // Only the other side dials: its connection must get in by the peer's key.
        let two = peer("two", 2, &format!(", passive: true{own}"));
        let rack = format!(
            "dynamicPeers:\n  - {{name: rack, group: g, prefix: 10.0.0.0/24, asn: external, limit: 4, \
             tcpAo: {{keys: [{{sendId: {id}, passwordFile: rack.key}}]}}}}\n"
        );
        let one = speaker(&left, 1, &format!("peers:\n{two}{rack}"));
        let other = speaker(&right, 2, &format!("peers:\n{}", peer("one", 1, own)));
        if taken {
            one.wait_state("two", "Established", SOON);
            other.wait_state("one", "Established", SOON);
        } else {
            one.wait_log(&["10.0.0.2/32", "the kernel does not take the TCP-AO key: File exists"], SOON);
            always(Duration::from_secs(5), "no session without its own key", || {
                let peer = other.peer("one");
                if peer["state"] == "Established" { Err(peer.to_string()) } else { Ok(()) }
            });
        }
    }
}
