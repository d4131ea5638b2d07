//! A node between two top-of-rack routers, from which it learns its routes.
//!
//! ```text
//! FRR,  AS 64500 ── 10.0.0.0/24, fd00:0::/64 ── eth0 ┐
//!                                                    node (speaker, AS 64501)
//! BIRD, AS 64502 ── 10.0.1.0/24, fd00:1::/64 ── eth1 ┘
//! ```
//!
//! Both routers have the address [`FAR4`] and [`FAR6`], which nobody is told of but by their routes.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{self, Bird, Family, Frr, Kind, PeerSpec, RouteSpec, Router, Spec};
use crate::fabric::nft;
use crate::lab::{Lab, Node};
use crate::speaker::Speaker;
use crate::wait::eventually;

/// Behind both routers.
pub const FAR4: &str = "198.51.100.1";
/// The same.
pub const FAR6: &str = "2001:db8:100::1";
/// What both announce.
pub const ROUTES: [&str; 4] = ["0.0.0.0/0", "::/0", "198.51.100.0/24", "2001:db8:100::/48"];
/// Long enough for a session to come up on a busy machine.
pub const SOON: Duration = Duration::from_secs(45);
/// The speaker's sessions.
pub const PEERS: [&str; 4] = ["frr4", "frr6", "bird4", "bird6"];

const SEEN: &str = "
table inet seen {
  counter passed { }
  chain prerouting {
    type filter hook prerouting priority -400; policy accept;
    ip daddr 198.51.100.1 udp dport 9 counter name passed
    ip6 daddr 2001:db8:100::1 udp dport 9 counter name passed
  }
}
";

/// The namespaces.
#[derive(Debug)]
pub struct Rack {
    /// By `eth0` at 10.0.0.254 and fd00:0::fe.
    pub frr: Node,
    /// By `eth0` at 10.0.1.254 and fd00:1::fe.
    pub bird: Node,
    /// .1 and ::1 on both links.
    pub node: Node,
    /// Last, so that it goes last.
    pub lab: Lab,
}

impl Default for Rack {
    fn default() -> Self {
        Self::new()
    }
}

impl Rack {
    /// Makes them.
    #[must_use]
    pub fn new() -> Self {
        let lab = Lab::new();
        let (frr, bird, node) = (lab.node("frr"), lab.node("bird"), lab.node("node"));
        for (at, router) in [(0, &frr), (1, &bird)] {
            let dev = format!("eth{at}");
            lab.link(&node, &dev, router, "eth0");
            for (on, dev, v4, v6) in [(&node, dev.as_str(), "1", "1"), (router, "eth0", "254", "fe")] {
                on.address(dev, &format!("10.0.{at}.{v4}/24"));
                on.address(dev, &format!("fd00:{at}::{v6}/64"));
            }
            // FRR 8.4 that starts before it has one may refuse sessions over IPv6 for good.
            eventually(SOON, "the router has a link-local address", || {
                let text =
                    router.ip(&["-6", "address", "show", "dev", "eth0", "scope", "link", "-tentative"]);
                if text.contains("fe80::") { Ok(()) } else { Err(text) }
            });
            router.address("lo", &format!("{FAR4}/32"));
            router.address("lo", &format!("{FAR6}/128"));
            nft(router, SEEN);
        }
        // Connections between two hosts are spread by port.
        node.sysctl("net/ipv4/fib_multipath_hash_policy", "1");
        node.sysctl("net/ipv6/fib_multipath_hash_policy", "1");
        Self { frr, bird, node, lab }
    }

    /// BIRD with both sessions, announcing [`ROUTES`].
    #[must_use]
    pub fn bird(&self) -> Bird {
        let peers = [(1, Family::V4), (1, Family::V6)].map(|(at, family)| session(at, family)).to_vec();
        let spec = Spec { asn: 64502, router_id: [10, 255, 0, 2].into(), peers };
        let mut bird = Bird::start(&self.bird, &spec);
        bird.announce(&ROUTES.map(RouteSpec::new));
        bird
    }

    /// A router in BIRD's place that restarts gracefully within `restart` seconds, and long-lived for `long_lived`
    /// seconds after that (RFC 9494), announcing [`ROUTES`] and `alone`.
    #[must_use]
    pub fn lasting(&self, kind: Kind, restart: u16, long_lived: u32, alone: &[&str]) -> Box<dyn Router> {
        let peers = [(1, Family::V4), (1, Family::V6)].map(|(at, family)| PeerSpec {
            graceful_restart: Some(restart),
            long_lived_restart: Some(long_lived),
            ..session(at, family)
        });
        let spec = Spec { asn: 64502, router_id: [10, 255, 0, 2].into(), peers: peers.to_vec() };
        let mut router = daemon::start(kind, &self.bird, &spec);
        let routes: Vec<RouteSpec> = ROUTES.iter().chain(alone).map(|route| RouteSpec::new(route)).collect();
        router.announce(&routes);
        router
    }

    /// FRR with both sessions, announcing `routes`.
    #[must_use]
    pub fn frr(&self, routes: &[&str]) -> Frr {
        Frr::with_config(&self.frr, 64500, &frr_config(routes))
    }

    /// The routes of the node's main table that bear the speaker's mark: destination, and the routers in order.
    #[must_use]
    pub fn learned(&self) -> Vec<(String, Vec<String>)> {
        let mut all = Vec::new();
        for family in ["-4", "-6"] {
            let text = self.node.ip(&[family, "-j", "route", "show", "table", "main", "proto", "179"]);
            let routes: Value = serde_json::from_str(&text).unwrap_or_default();
            for route in routes.as_array().into_iter().flatten() {
                assert_eq!(route["metric"], 79, "{route}");
                let to = route["dst"].as_str().unwrap_or_default();
                let default = if family == "-4" { "0.0.0.0/0" } else { "::/0" };
                let to = if to == "default" { default } else { to };
                let mut by: Vec<String> = match route["nexthops"].as_array() {
                    Some(hops) => hops.iter().map(way).collect(),
                    None => vec![way(route)],
                };
                by.sort();
                all.push((to.to_owned(), by));
            }
        }
        all.sort();
        all
    }

    /// Waits until the node has learned exactly these destinations, each by so many routers.
    #[track_caller]
    pub fn wait_learned(&self, expected: &[(&str, usize)]) {
        let expected: BTreeSet<(String, usize)> =
            expected.iter().map(|(to, ways)| ((*to).to_owned(), *ways)).collect();
        eventually(SOON, &format!("learned routes {expected:?}"), || {
            let learned = self.learned();
            let seen: BTreeSet<_> = learned.iter().map(|(to, by)| (to.clone(), by.len())).collect();
            if seen == expected { Ok(()) } else { Err(format!("{learned:?}")) }
        });
    }

    /// Sends 64 datagrams from as many ports; says how many reached each router since it was made.
    #[must_use]
    pub fn spread(&self, to: &str) -> [u64; 2] {
        let before = self.passed();
        let to: IpAddr = to.parse().expect("address");
        let any = if to.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0_u16; 8]) };
        self.node.inside(|| {
            for _ in 0..64 {
                let socket = UdpSocket::bind((any, 0)).expect("socket");
                socket.send_to(b"x", (to, 9)).unwrap_or_else(|error| panic!("to {to}: {error}"));
            }
        });
        eventually(Duration::from_secs(10), "64 datagrams arrive", || {
            let now = self.passed();
            let both = [now[0] - before[0], now[1] - before[1]];
            if both.iter().sum::<u64>() >= 64 { Ok(both) } else { Err(format!("{both:?}")) }
        })
    }

    fn passed(&self) -> [u64; 2] {
        [&self.frr, &self.bird].map(|router| {
            let text = router.exec(&["nft", "-j", "list", "counter", "inet", "seen", "passed"]);
            let all: Value = serde_json::from_str(&text).expect("nft");
            let mut objects = all["nftables"].as_array().into_iter().flatten();
            objects.find_map(|one| one["counter"]["packets"].as_u64()).expect("a counter")
        })
    }
}

fn way(route: &Value) -> String {
    let gateway = route["gateway"].as_str().or_else(|| route["via"]["host"].as_str()).unwrap_or("?");
    format!("{gateway} dev {}", route["dev"].as_str().unwrap_or("?"))
}

fn session(at: u8, family: Family) -> PeerSpec {
    let (ours, theirs) = match family {
        Family::V4 => (format!("10.0.{at}.254"), format!("10.0.{at}.1")),
        Family::V6 => (format!("fd00:{at}::fe"), format!("fd00:{at}::1")),
    };
    let [ours, theirs] = [ours, theirs].map(|addr| addr.parse().expect("address"));
    PeerSpec { families: vec![family], hold: Some(9), ..PeerSpec::new(ours, theirs, 64501) }
}

/// FRR that restarts gracefully and keeps its forwarding state, with its routes in the file: what it announces after
/// its End-of-RIB would be late.
#[must_use]
pub fn frr_config(routes: &[&str]) -> String {
    let networks = |v6: bool| -> String {
        let all = routes.iter().filter(|route| route.contains(':') == v6);
        all.map(|route| format!("  network {route}\n")).collect()
    };
    let (v4, v6) = (networks(false), networks(true));
    format!(
        "frr defaults traditional
hostname frr
router bgp 64500
 bgp router-id 10.255.0.1
 bgp log-neighbor-changes
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart restart-time 60
 bgp graceful-restart preserve-fw-state
 neighbor 10.0.0.1 remote-as 64501
 neighbor 10.0.0.1 timers 3 9
 neighbor 10.0.0.1 timers connect 1
 neighbor fd00:0::1 remote-as 64501
 neighbor fd00:0::1 timers 3 9
 neighbor fd00:0::1 timers connect 1
 address-family ipv4 unicast
  neighbor 10.0.0.1 activate
{v4} exit-address-family
 address-family ipv6 unicast
  neighbor fd00:0::1 activate
{v6} exit-address-family
"
    )
}

/// speaker.yaml with a session of each family with each router; `group` is what the group says besides, `rest` follows.
#[must_use]
pub fn config(group: &str, rest: &str) -> String {
    let peers: String = [("frr", 0, 64500), ("bird", 1, 64502)]
        .map(|(name, at, asn)| {
            format!(
                "  - {{name: {name}4, group: tor, address: 10.0.{at}.254, asn: {asn}, families: [ipv4-unicast]}}
  - {{name: {name}6, group: tor, address: \"fd00:{at}::fe\", asn: {asn}, families: [ipv6-unicast]}}
"
            )
        })
        .concat();
    format!(
        "node: {{name: node}}
router: {{asn: 64501, routerId: 10.0.0.1}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
api: {{socket: api.sock}}
peerGroups:
  - {{name: tor, timers: {{hold: 9s, connectRetry: 1s}}{group}}}
peers:
{peers}{rest}"
    )
}

/// Waits until every session is up.
pub fn wait_sessions(speaker: &Speaker) {
    for name in PEERS {
        speaker.wait_state(name, "Established", SOON);
    }
}
