//! Who may connect, from how far, and what becomes of two connections at once.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use super::manifests::{POOL_PREFIXES, SERVICE_ROUTES};
use super::{Bench, SESSIONS, SOON, Setup};
use crate::bgp::{Message, Open};
use crate::daemon::features::{Feature, lack};
use crate::daemon::{self, Family, Kind};
use crate::fake::{Fake, Read1};
use crate::pair::address;
use crate::wait::{always, eventually, try_eventually};

fn all() -> Vec<&'static str> {
    POOL_PREFIXES.into_iter().chain(SERVICE_ROUTES).collect()
}

/// For all of some seconds no session comes up, and at most `messages` of the daemon's get through.
#[track_caller]
fn apart(bench: &Bench, messages: u64, what: &str) {
    always(Duration::from_secs(5), what, || {
        for (name, family) in SESSIONS {
            let peer = bench.speaker.peer(name);
            if peer["state"] == "Established" || peer["messagesReceived"].as_u64() > Some(messages) {
                return Err(format!(
                    "{name} is {} with {} messages",
                    peer["state"], peer["messagesReceived"]
                ));
            }
            if bench.router.established(Bench::ours(family)) {
                return Err(format!("the daemon is established with {name}"));
            }
        }
        Ok(())
    });
}

/// TTL security (RFC 5082). Both sides on one link with one hop: sessions and routes. Two hops apart, ours for
/// one hop: nothing gets through; ours for two: sessions and routes.
///
/// # Panics
/// If not.
pub fn ttl_security(kind: Kind) {
    let near = Setup {
        router_ttl_security: Some(1),
        peer_keys: "asn: 64502, ttlSecurity: {hops: 1}".to_owned(),
        ..Setup::new(kind)
    };
    let bench = near.establish();
    bench.wait_prefixes(&all());
    drop(bench);

    let (router_multihop, router_ttl_security) = match lack(kind, Feature::DistantTtlSecurity) {
        // It sends with TTL 255, as RFC 5082 asks, and checks nothing itself.
        Some(why) => {
            println!("{kind}: {why}");
            (Some(255), None)
        }
        None => (None, Some(2)),
    };
    let far = Setup { apart: true, router_multihop, router_ttl_security, ..near };
    let bench = far.start();
    // Not even an OPEN that came before the connection was accepted.
    apart(&bench, 0, "who is two hops away is no neighbour");
    let nearer = Setup { peer_keys: "asn: 64502, ttlSecurity: {hops: 2}".to_owned(), ..far };
    bench.speaker.write_config(&nearer.config());
    bench.wait_established();
    bench.wait_prefixes(&all());
}

/// eBGP over a router in between: without `multihop` it does not get there, with it sessions and routes.
///
/// # Panics
/// If not.
pub fn multihop(kind: Kind) {
    let direct = Setup { apart: true, router_multihop: Some(2), ..Setup::new(kind) };
    let bench = direct.start();
    // What the daemon says gets here, and what we say does not get there.
    apart(&bench, u64::MAX, "TTL 1 does not get past a router");
    // The daemon waits in that session still, and no word of ours can end it: another one for the other half.
    drop(bench);
    let bench = Setup { peer_keys: "asn: 64502, multihop: {ttl: 2}".to_owned(), ..direct }.establish();
    bench.wait_prefixes(&all());
    bench.wait_same_tables();
}

/// The names that dynamic peers are given.
fn names() -> [(String, Family); 2] {
    [("rack4", Family::V4), ("rack6", Family::V6)]
        .map(|(rack, family)| (format!("{rack}:{}", address(family, 2)), family))
}

#[track_caller]
fn wait_dynamic(bench: &Bench) {
    for (name, family) in names() {
        bench.speaker.wait_state(&name, "Established", SOON);
        daemon::wait_established(&*bench.router, Bench::ours(family), SOON);
    }
    bench.wait_prefixes(&all());
}

/// The daemon is a peer because it dials from a prefix. A second one from the same prefix is one too many, until
/// the first has left.
///
/// # Panics
/// If not.
pub fn dynamic(kind: Kind) {
    let bench = Setup { dynamic: true, ..Setup::new(kind) }.start();
    wait_dynamic(&bench);
    bench.router_node.address("eth0", "10.0.0.3/24");
    let second = || {
        let from: IpAddr = [10, 0, 0, 3].into();
        let stream = bench.router_node.inside(|| dial_from(from, Bench::ours(Family::V4)));
        let mut fake = Fake::over(stream.map_err(|e| e.to_string())?);
        fake.send(&Open::new(64502, [10, 0, 0, 3]).encode());
        match fake.read(Duration::from_secs(5)) {
            Read1::Message(message) => Ok((fake, message)),
            other => Err(format!("{other:?}")),
        }
    };
    let answer = second().map(|(_, message)| message);
    assert_eq!(answer.map_err(|seen| seen == "Closed"), Err::<Message, _>(true), "one is the limit");
    bench.speaker.wait_log(&["10.0.0.3", "the limit of 1 of dynamicPeers rack4 is reached"], SOON);
    bench.router.process().kill();
    let (fake, first) = eventually(SOON, "the one that waited is taken in the other's place", second);
    assert_eq!(first.kind(), Some(crate::bgp::Type::Open), "{first:?}");
    let peers = bench.speaker.cli(&["peers"]);
    assert!(peers.contains("rack4:10.0.0.3") && !peers.contains("rack4:10.0.0.2"), "{peers}");
    drop(fake);
}

/// Dynamic peers with an MD5 key for the prefix: the right one, and a wrong one.
///
/// # Panics
/// If the wrong one comes up, or the right one does not.
pub fn dynamic_keyed(kind: Kind) {
    let keyed = |theirs: &str| Setup {
        dynamic: true,
        router_md5: Some(theirs.to_owned()),
        peer_keys: "asn: 64502, passwordFile: rack.key".to_owned(),
        files: vec![("rack.key", "of-the-rack\n".to_owned())],
        ..Setup::new(kind)
    };
    let bench = keyed("of-the-rack").start();
    wait_dynamic(&bench);
    for (name, _) in names() {
        assert_eq!(bench.speaker.peer(&name)["md5"], true, "{name}");
    }
    // Who has no key gets no connection, not even one that is closed.
    bench.router_node.address("eth0", "10.0.0.3/24");
    let without = bench.router_node.inside(|| dial_from([10, 0, 0, 3].into(), Bench::ours(Family::V4)));
    assert!(without.is_err(), "{without:?}");
    drop(bench);

    let bench = keyed("of-another-rack").start();
    always(Duration::from_secs(5), "no session with a wrong key", || {
        let peers = bench.speaker.json(&["peers"]);
        let up = SESSIONS.iter().any(|(_, family)| bench.router.established(Bench::ours(*family)));
        // Null: it has not answered this time.
        if up || peers.as_array().is_some_and(|peers| !peers.is_empty()) {
            Err(peers.to_string())
        } else {
            Ok(())
        }
    });
}

/// A connection from one of several addresses of the node that it is called in.
fn dial_from(from: IpAddr, to: IpAddr) -> std::io::Result<TcpStream> {
    let to_family = socket2::Domain::for_address(SocketAddr::new(to, 179));
    let socket = socket2::Socket::new(to_family, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&SocketAddr::new(to, 179).into(), Duration::from_secs(2))?;
    Ok(socket.into())
}

/// How often both sides are made to dial at once; the daemon is restarted in the last of these rounds.
const ROUNDS: usize = 3;
/// How many further rounds there may be until one had a collision.
const FURTHER: usize = 5;

/// Connection collision (RFC 4271 §6.8): what both sides say first is held back until each has a connection that it
/// made, then let go. Exactly one session survives, each time; and once more when the daemon has restarted.
///
/// # Panics
/// If none survives, or two, or it is not the same on both sides.
pub fn collision(kind: Kind) {
    let mut bench = Setup::new(kind).establish();
    bench.wait_prefixes(&all());
    let lack = lack(kind, Feature::Collides);
    let mut collisions = 0;
    let mut round = 0;
    while round < ROUNDS || (round < ROUNDS + FURTHER && collisions == 0 && lack.is_none()) {
        hold_back(&bench, true);
        if round + 1 == ROUNDS {
            bench.router.process().kill();
            bench.router.start_again();
        } else {
            bench.speaker.cli(&["clear", "all"]);
        }
        collisions += usize::from(crossed(&bench));
        hold_back(&bench, false);
        bench.wait_established();
        bench.wait_prefixes(&all());
        always(Duration::from_secs(2), "exactly one session survives", || {
            for (name, family) in SESSIONS {
                let state = bench.speaker.peer(name)["state"].clone();
                let (ours, theirs) = connections(&bench, family);
                let one = ours + theirs == 1 || settling(&bench, family);
                if state != "Established" || !bench.router.established(Bench::ours(family)) || !one {
                    return Err(format!("round {round}, {name} is {state}, connections {ours} and {theirs}"));
                }
            }
            Ok(())
        });
        round += 1;
    }
    println!("{kind}: {collisions} of {round} rounds had connections both ways at once");
    match lack {
        None => assert!(collisions > 0, "no round had a collision"),
        Some(why) => assert_eq!(collisions, 0, "{kind} can collide, and the table says: {why}"),
    }
}

/// Waits until some session has a connection that we made and one that the daemon made, and both stay.
fn crossed(bench: &Bench) -> bool {
    let mut seen = 0;
    let twice = try_eventually(Duration::from_secs(8), || {
        let open = SESSIONS.map(|(_, family)| connections(bench, family));
        let both = open.iter().any(|(ours, theirs)| *ours > 0 && *theirs > 0);
        seen = if both { seen + 1 } else { 0 };
        if seen >= 20 { Ok(()) } else { Err(format!("{open:?}")) }
    });
    twice.is_ok()
}

/// Octets of TCP are dropped at the daemon, and those who dial get their connections all the same.
fn hold_back(bench: &Bench, on: bool) {
    if on {
        for command in [
            "add table inet lab",
            "add chain inet lab in { type filter hook input priority 0; }",
            "add chain inet lab out { type filter hook output priority 0; }",
            "add rule inet lab in tcp dport 179 tcp flags & (psh) == psh drop",
            "add rule inet lab in tcp sport 179 tcp flags & (psh) == psh drop",
            "add rule inet lab out tcp dport 179 tcp flags & (psh) == psh drop",
            "add rule inet lab out tcp sport 179 tcp flags & (psh) == psh drop",
        ] {
            bench.router_node.exec(&["nft", command]);
        }
    } else {
        bench.router_node.exec(&["nft", "delete table inet lab"]);
    }
}

/// Established TCP connections of a session as the daemon's node has them: those that we made, and those that it
/// made.
fn connections(bench: &Bench, family: Family) -> (usize, usize) {
    let text = bench.router_node.exec(&["ss", "-Htn", "state", "established"]);
    let peer = match family {
        Family::V4 => Bench::ours(family).to_string(),
        Family::V6 => format!("[{}]", Bench::ours(family)),
    };
    let ends = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        Some((words.next()?.rsplit_once(':')?.1, words.next()?.rsplit_once(':')?))
    });
    let ends: Vec<(&str, &str)> =
        ends.filter(|(_, (host, _))| *host == peer).map(|(l, (_, p))| (l, p)).collect();
    let count = |wanted: fn(&(&str, &str)) -> bool| ends.iter().filter(|end| wanted(end)).count();
    (count(|(local, _)| *local == "179"), count(|(_, remote)| *remote == "179"))
}

/// The loser of a collision may be on its way out still.
fn settling(bench: &Bench, family: Family) -> bool {
    try_eventually(Duration::from_secs(5), || {
        let (ours, theirs) = connections(bench, family);
        if ours + theirs == 1 { Ok(()) } else { Err(String::new()) }
    })
    .is_ok()
}
