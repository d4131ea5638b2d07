//! Routes learned as fabrics give them: over links without addresses, and from routers that nobody named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::UdpSocket;

use serde_json::Value;
use tests::daemon::Router as _;
use tests::interop::unnumbered::{LINK, Nodes, frr, link_local};
use tests::lab::Node;
use tests::speaker::Speaker;
use tests::tors::{FAR4, ROUTES, Rack, SOON};
use tests::wait::eventually;

/// What [`frr`] announces.
const NETWORKS: [&str; 2] = ["198.51.100.0/24", "2001:db8:51::/48"];

fn two_links() -> String {
    let keys = "timers: {hold: 9s, keepalive: 3s, connectRetry: 1s}, learn: [0.0.0.0/0, \"::/0\"]";
    format!(
        "node: {{name: n1}}
router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"[::]:179\"]}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
api: {{socket: api.sock}}
peers:
  - {{name: left, interface: {LINK}, asn: external, {keys}}}
  - {{name: right, interface: eth1, asn: external, {keys}}}
"
    )
}

/// The node's ways to a prefix, in order.
fn hops(node: &Node, prefix: &str) -> Vec<String> {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    let text = node.ip(&[family, "-j", "route", "show", prefix, "proto", "179"]);
    let routes: Value = serde_json::from_str(&text).unwrap_or_default();
    let route = routes[0].clone();
    let ways = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
    let way = |way: &Value| {
        let gateway = way["via"]["host"].as_str().or(way["gateway"].as_str());
        format!("{} dev {}", gateway.unwrap_or("?"), way["dev"].as_str().unwrap_or("?"))
    };
    let mut ways: Vec<String> = ways.iter().filter(|way| !way.is_null()).map(way).collect();
    ways.sort();
    ways
}

fn both_links_carry(node: &Node) {
    // An IPv4 route by an IPv6 next hop (RFC 8950) is one that packets can take.
    let sent = |dev: &str| -> u64 {
        let text = node.ip(&["-s", "-j", "link", "show", "dev", dev]);
        let links: Value = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["tx"]["packets"].as_u64().unwrap_or_else(|| panic!("{text}"))
    };
    let before = [sent(LINK), sent("eth1")];
    node.inside(|| {
        for _ in 0..64 {
            let socket = UdpSocket::bind(("192.0.2.99", 0)).unwrap();
            socket.send_to(b"x", ("198.51.100.1", 9)).unwrap();
        }
    });
    eventually(SOON, "both links carry some of it", || {
        let carried = [sent(LINK) - before[0], sent("eth1") - before[1]];
        if carried.iter().all(|count| *count > 10) { Ok(()) } else { Err(format!("{carried:?}")) }
    });
}

/// Wherever such a next hop is printed, its interface is too.
fn is_told(speaker: &Speaker) {
    let story = speaker.cli(&["explain", "198.51.100.7"]);
    for line in [
        "198.51.100.0/24 learned from left by fe80::1%eth0: used, the best one",
        "198.51.100.0/24 learned from right by fe80::1%eth1: used, beside the best one",
    ] {
        assert!(story.contains(line), "{line} is not in: {story}");
    }
    let table = speaker.cli(&["rib", "received", "198.51.100.0/24"]);
    assert!(table.contains("fe80::1%eth0") && table.contains("fe80::1%eth1"), "{table}");
    let rows = speaker.json(&["rib", "received", "--peer", "right", "2001:db8:51::/48"]);
    assert_eq!(
        (&rows[0]["interface"], &rows[0]["nextHop"]),
        (&Value::from("eth1"), &Value::from("fe80::1")),
        "{rows}"
    );
}

/// Two routers with one link-local address, so that the interface alone tells their next hops apart.
#[test]
fn two_links_without_addresses_share_the_traffic_of_both_families() {
    let nodes = Nodes::new();
    let other = nodes.lab.node("router2");
    nodes.lab.link(&nodes.node, "eth1", &other, LINK);
    for dev in [LINK, "eth1"] {
        nodes.node.sysctl(&format!("net/ipv6/conf/{dev}/accept_ra"), "0");
    }
    for router in [&nodes.router, &other] {
        router.address("lo", "198.51.100.1/32");
        let own = link_local(router, LINK);
        router.ip(&["-6", "address", "add", "fe80::1/64", "dev", LINK]);
        router.ip(&["-6", "address", "del", &format!("{own}/64"), "dev", LINK]);
    }
    // What is sent has a source, and the kernel spreads it by port.
    nodes.node.address("lo", "192.0.2.99/32");
    nodes.node.sysctl("net/ipv4/fib_multipath_hash_policy", "1");
    let routers = [frr(&nodes.router, "", ""), frr(&other, "", "")];
    let speaker = Speaker::start(&nodes.node, &two_links(), &[]);
    for name in ["left", "right"] {
        speaker.wait_state(name, "Established", SOON);
    }
    let wait = |expected: &[&str]| {
        for prefix in NETWORKS {
            eventually(SOON, &format!("{prefix} goes by {expected:?}"), || {
                let seen = hops(&nodes.node, prefix);
                if seen == expected {
                    Ok(())
                } else {
                    Err(format!("{seen:?} {}", speaker.process().log_tail(5)))
                }
            });
        }
    };
    wait(&["fe80::1 dev eth0", "fe80::1 dev eth1"]);
    both_links_carry(&nodes.node);
    is_told(&speaker);

    // One link goes, then the router of the other.
    nodes.node.ip(&["link", "set", "eth1", "down"]);
    wait(&["fe80::1 dev eth0"]);
    nodes.node.ip(&["link", "set", "eth1", "up"]);
    wait(&["fe80::1 dev eth0", "fe80::1 dev eth1"]);
    assert!(speaker.cli(&["peers", "left"]).contains("ipv4-unicast: 1 learned, 1 used"));
    speaker.cli(&["shutdown", "left"]);
    wait(&["fe80::1 dev eth1"]);
    drop(routers);
}

/// Whoever dials from the prefix is learned from like a peer that is named, with what a restart means.
#[test]
fn routers_that_dial_from_a_prefix_are_learned_from() {
    let rack = Rack::new();
    let (mut frr, mut bird) = (rack.frr(&ROUTES), rack.bird());
    let learn = "timers: {hold: 9s, connectRetry: 1s}, learn: [0.0.0.0/0, \"::/0\"]";
    let config = format!(
        "node: {{name: node}}
router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\", \"[::]:179\"]}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
api: {{socket: api.sock}}
dynamicPeers:
  - {{name: rack4, prefix: 10.0.0.0/16, asn: external, families: [ipv4-unicast], limit: 8, {learn}}}
  - {{name: rack6, prefix: \"fd00::/16\", asn: external, families: [ipv6-unicast], limit: 8, {learn}}}
"
    );
    let speaker = Speaker::start(&rack.node, &config, &[]);
    let by = |ways: usize| ROUTES.map(|route| (route, ways));
    rack.wait_learned(&by(2));
    for far in [FAR4, tests::tors::FAR6] {
        let [by_frr, by_bird] = rack.spread(far);
        assert!(by_frr > 5 && by_bird > 5, "{far}: {by_frr} by FRR, {by_bird} by BIRD");
    }
    let learned = |peer: &Value| -> u64 {
        let families = peer["learned"].as_array().into_iter().flatten();
        families.filter_map(|family| family["used"].as_u64()).sum()
    };
    let peers = speaker.json(&["peers"]);
    let peers = peers.as_array().unwrap();
    assert_eq!(peers.iter().map(learned).collect::<Vec<_>>(), [2; 4], "{peers:?}");

    // Without graceful restart it leaves, and its routes with it.
    bird.process().kill();
    rack.wait_learned(&by(1));
    assert_eq!(speaker.json(&["peers"]).as_array().map(Vec::len), Some(2));
    bird.start_again();
    rack.wait_learned(&by(2));

    // With it the peer leaves, and its routes stay until it has dialled again and sent them.
    frr.process().kill();
    eventually(SOON, "its routes are stale", || {
        let rows = speaker.json(&["rib", "received", "198.51.100.0/24"]);
        let stale = rows.as_array().into_iter().flatten().any(|row| row["stale"] == true);
        if stale { Ok(()) } else { Err(rows.to_string()) }
    });
    assert!(rack.learned().iter().all(|(_, by)| by.len() == 2), "{:?}", rack.learned());
    frr.start_again();
    eventually(SOON, "it is back, and nothing was lost", || {
        let seen = rack.learned();
        assert!(seen.len() == 4 && seen.iter().all(|(_, by)| by.len() == 2), "{seen:?}");
        let rows = speaker.json(&["rib", "received"]);
        let rows = rows.as_array().cloned().unwrap_or_default();
        let fresh = rows.len() == 8 && rows.iter().all(|row| row["stale"] == false);
        if fresh { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    assert!(speaker.process().terminate().success());
    assert_eq!(rack.learned(), []);
}
