//! Traffic through `containerlab/03-leaf-spine`: a client that opens a thousand connections a second behind the spine,
//! captures on its link and on every link of a node, and speakers that are killed and leave their routes behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tests::clab::{self, Realised};
use tests::fabric::own_lines;
use tests::pcap::Capture;
use tests::traffic::{Load, PORT, RATE, Servers};
use tests::wait::eventually;

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
/// That of `web`: every node takes its traffic.
const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80));
/// That of `dns`, which has `externalTrafficPolicy: Local`.
const DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 53));
const NOBODYS: &str = "203.0.113.99";

/// Connections that are under way at the moment in which a leaf changes a path may be cut: they are few.
const CUT: u64 = 5;

const SOON: Duration = Duration::from_secs(45);

/// The first packet of a connection, and what tells that something went wrong.
const FILTER: &str = "net 203.0.113.0/24 and tcp[tcpflags] & tcp-syn != 0 or icmp";

/// What passes on a leaf is what the client sent: the spine and a leaf have each counted it down once.
const ON_A_NODES_LINK: u8 = 64 - 2;

/// An IPv4 packet, as far as the test looks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
    id: u16,
    /// Of ICMP.
    icmp: Option<(u8, u8)>,
    /// The ports of TCP.
    ports: (u16, u16),
}

fn packets(capture: &Capture) -> Vec<Packet> {
    capture.frames().iter().filter_map(|frame| packet(frame)).collect()
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let ip = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]).into();
    let number = |at: usize| Some(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?]));
    let payload = usize::from(ip.first()? & 0x0f) * 4;
    let (protocol, ttl) = (*ip.get(9)?, *ip.get(8)?);
    let icmp = if protocol == 1 { Some((*ip.get(payload)?, *ip.get(payload + 1)?)) } else { None };
    let ports = if protocol == 6 { (number(payload)?, number(payload + 2)?) } else { (0, 0) };
    Some(Packet { from: address(12), to: address(16), ttl, id: number(4)?, icmp, ports })
}

/// Captures on the client's link and on each link between a leaf and a node.
struct Captures {
    client: Capture,
    links: Vec<(String, Capture)>,
}

impl Captures {
    fn start(fabric: &Realised) -> Self {
        let client = Capture::of(&fabric.lab, fabric.node("client"), "eth1", FILTER);
        let ends = NODES.iter().flat_map(|node| ["eth1", "eth2"].map(|dev| (*node, dev)));
        let capture = |(node, dev): (&str, &str)| {
            (format!("{node}:{dev}"), Capture::of(&fabric.lab, fabric.node(node), dev, FILTER))
        };
        Self { client, links: ends.map(capture).collect() }
    }

    /// Nothing went in circles, nobody was told to go another way or that there is none, and every answer came from the
    /// address that was asked, by the way that the question went.
    fn assert_clean(&self) {
        let seen = packets(&self.client);
        // Echo requests and replies alone: no redirect (5), no time exceeded (11), no unreachable (3).
        let words: BTreeSet<_> = seen.iter().filter_map(|one| one.icmp).collect();
        assert!(words.iter().all(|(kind, _)| [0, 8].contains(kind)), "ICMP to the client: {words:?}");
        let asked: Vec<&Packet> = seen.iter().filter(|one| one.to == WEB || one.to == DNS).collect();
        let answered: Vec<&Packet> = seen.iter().filter(|one| one.to == CLIENT).collect();
        assert!(asked.iter().all(|one| one.from == CLIENT), "somebody else asks");
        let wrong = answered.iter().find(|one| one.from != WEB && one.from != DNS);
        assert!(wrong.is_none(), "an answer comes from elsewhere: {wrong:?}");
        let long = answered.iter().find(|one| one.ttl != ON_A_NODES_LINK);
        assert!(long.is_none(), "an answer went a long way: {long:?}");
        assert!(asked.len() > 3000 && answered.len() > 3000, "{} {}", asked.len(), answered.len());
        let mut ways: BTreeMap<&str, usize> = BTreeMap::new();
        for (link, capture) in &self.links {
            for one in packets(capture).iter().filter(|one| is_pools(one.to)) {
                assert_eq!(one.ttl, ON_A_NODES_LINK, "on {link}: {one:?}");
                assert_eq!(one.from, CLIENT, "on {link}: {one:?}");
                *ways.entry(link).or_default() += 1;
            }
        }
        println!("{} packets of the client; by link: {ways:?}", asked.len());
        assert_eq!(ways.len(), 6, "{ways:?}");
    }

    /// How often packets for the pool have passed a node's link that had passed one before.
    fn circles(&self) -> usize {
        let late = |one: &&Packet| is_pools(one.to) && one.ttl < ON_A_NODES_LINK;
        self.links.iter().map(|(_, capture)| packets(capture).iter().filter(late).count()).sum()
    }
}

fn is_pools(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(one) if one.octets()[..3] == [203, 0, 113])
}

/// The nodes to which a leaf's kernel sends a prefix.
fn holders(fabric: &Realised, leaf: &str, prefix: &str) -> BTreeSet<String> {
    let text = fabric.node(leaf).ip(&["route", "show", prefix]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let vias = words.windows(2).filter(|pair| pair[0] == "via").filter_map(|pair| pair[1].parse().ok());
    // 10.LEAF.NODE.1
    vias.map(|via: Ipv4Addr| format!("n{}", via.octets()[2])).collect()
}

fn wait_holders(fabric: &Realised, prefix: &str, wanted: &[&str]) {
    eventually(SOON, &format!("both leaves send {prefix} to {wanted:?}"), || {
        let now = ["leaf1", "leaf2"].map(|leaf| holders(fabric, leaf, prefix));
        if now.iter().all(|one| one.iter().eq(wanted)) { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

fn wait_own(fabric: &Realised, node: &str, what: &str, wanted: &[String]) {
    eventually(SOON, what, || {
        let now = own_lines(fabric.node(node));
        if now == wanted { Ok(()) } else { Err(format!("{now:#?}")) }
    });
}

/// Has each router choose by the packet's addresses and ports, in its own way, as routers in hardware do. Namespaces of one
/// kernel choose by the same hash else, so that a leaf gets none of the flows that it would send to some node.
fn choose_apart(fabric: &Realised) {
    for (seed, router) in ["spine", "leaf1", "leaf2"].iter().enumerate() {
        let node = fabric.node(router);
        node.sysctl("net/ipv4/fib_multipath_hash_fields", "55");
        node.sysctl("net/ipv4/fib_multipath_hash_policy", "3");
        node.sysctl("net/ipv4/fib_multipath_hash_seed", &(seed + 1).to_string());
    }
}

/// A speaker is killed under traffic: the leaves go on with the others, and what it has set up is left behind until the next
/// process finds what of it is not wanted any more.
fn killed_and_started_again(fabric: &mut Realised, web: &Load, dns: &Load, moved: &clab::Step) {
    let before = own_lines(fabric.node("n1"));
    assert!(before.iter().any(|line| line.contains("203.0.113.53")), "{before:#?}");
    web.during(|| {
        fabric.main("n1").kill();
        wait_holders(fabric, "203.0.113.0/24", &["n2", "n3"]);
        wait_holders(fabric, "203.0.113.53", &["n2"]);
    })
    .assert_served("n1 is killed", CUT);
    dns.during(|| ()).assert_flawless("Local: n1 is killed");
    assert_eq!(own_lines(fabric.node("n1")), before, "a killed process takes nothing with it");

    // Meanwhile the Local Service moves.
    fabric.act(moved);
    wait_holders(fabric, "203.0.113.53", &["n3"]);
    let wanted: Vec<String> = before.iter().filter(|line| !line.contains("203.0.113.53")).cloned().collect();
    web.during(|| {
        fabric.start_again("n1");
        wait_holders(fabric, "203.0.113.0/24", &NODES);
        wait_own(fabric, "n1", "what is not wanted any more is gone", &wanted);
    })
    .assert_served("n1 is back", CUT);
    let local = dns.during(|| ());
    local.assert_flawless("Local: the endpoints have moved");
    assert!(local.servers().keys().eq(&["n3"]), "{:?}", local.servers());
}

/// Another one is killed and not started again: `--cleanup` removes what it left, once nothing leads there any more.
fn killed_and_cleaned_up(fabric: &mut Realised, web: &Load) {
    let before = own_lines(fabric.node("n3"));
    web.during(|| {
        fabric.main("n3").kill();
        wait_holders(fabric, "203.0.113.0/24", &["n1", "n2"]);
        wait_holders(fabric, "203.0.113.53", &[]);
        assert_eq!(own_lines(fabric.node("n3")), before);
        let (status, said) = fabric.run("n3", "speaker run --config /etc/speaker/speaker.yaml --cleanup");
        assert_eq!(status, 0, "{said}");
        assert_eq!(own_lines(fabric.node("n3")), Vec::<String>::new(), "{said}");
    })
    .assert_served("n3 is killed and cleaned up", CUT);
    web.during(|| {
        fabric.start_again("n3");
        wait_holders(fabric, "203.0.113.0/24", &NODES);
        wait_own(fabric, "n3", "everything is there again", &before);
    })
    .assert_served("n3 is back", CUT);
}

#[test]
fn traffic_reaches_the_nodes_without_a_circle_and_a_killed_speaker_leaves_nothing_for_good() {
    let mut fabric = Realised::start("03-leaf-spine");
    let steps = clab::steps(&clab::folder().join("03-leaf-spine"));
    let step = |name: &str| steps.iter().find(|step| step.name == name).unwrap();
    fabric.wait(step("1-start"));
    choose_apart(&fabric);
    let mut servers = Servers::new();
    NODES.iter().for_each(|node| servers.serve(fabric.node(node), PORT));
    let captures = Captures::start(&fabric);
    let client = fabric.node("client").clone();
    let web = Load::start(&client, SocketAddr::new(WEB, PORT), RATE, &[CLIENT]);
    let dns = Load::start(&client, SocketAddr::new(DNS, PORT), RATE / 4, &[CLIENT]);

    let tally = web.during(|| ());
    tally.assert_flawless("every node takes it");
    assert!(tally.servers().keys().eq(&NODES), "{:?}", tally.servers());
    let local = dns.during(|| ());
    local.assert_flawless("Local: only those with an endpoint, and the client's own address");
    assert!(local.servers().keys().eq(&["n1", "n2"]), "{:?}", local.servers());
    let (status, said) = fabric.run("client", &format!("ping -c 2 -W 1 {NOBODYS}"));
    assert_eq!(status, 1, "{said}");

    killed_and_started_again(&mut fabric, &web, &dns, step("7-endpoints-moved"));
    drop(dns);
    killed_and_cleaned_up(&mut fabric, &web);
    drop(web);
    captures.assert_clean();

    // The measure itself: without the guard they go round, and the captures show it.
    assert_eq!(captures.circles(), 0);
    for node in NODES {
        fabric.node(node).ip(&["rule", "add", "lookup", "main", "preference", "10000"]);
    }
    let (_, said) = fabric.run("client", &format!("ping -c 1 -W 1 {NOBODYS}"));
    eventually(SOON, "the captures show a packet that goes round", || {
        let circles = captures.circles();
        if circles > 10 { Ok(()) } else { Err(format!("{circles}; {said}")) }
    });
}
