//! A client, a router, and a node with a speaker, in a row: what an announced route does to packets.
//!
//! ```text
//! client ── 10.1.0.0/24, fd01::/64 ── router (FRR) ── 10.0.0.0/24, fd00::/64 ── node (speaker)
//! ```

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::daemon::{self, Family, Kind, PeerSpec, Router, Spec};
use crate::lab::{Lab, Node};
use crate::speaker::Speaker;
use crate::wait::eventually;

/// The pool's IPv4 block.
pub const POOL4: &str = "203.0.113.0/24";

/// The pool's IPv6 block.
pub const POOL6: &str = "2001:db8:1::/64";

/// Long enough for a session to come up on a busy machine.
pub const SOON: Duration = Duration::from_secs(45);

/// How long something that does not answer is waited for.
pub const BRIEFLY: Duration = Duration::from_millis(700);

/// A table of nftables that counts packets for the pool, by the interface that they come in by.
const COUNTERS: &str = "
table inet seen {
  counter passed { }
  chain prerouting {
    type filter hook prerouting priority -400; policy accept;
    iifname \"eth0\" ip daddr 203.0.113.0/24 counter name passed
    iifname \"eth0\" ip6 daddr 2001:db8:1::/64 counter name passed
  }
}
";

/// The row, without anything that speaks BGP.
#[derive(Debug)]
pub struct Row {
    /// At 10.1.0.2 and fd01::2.
    pub client: Node,
    /// At .1 towards the client, at 10.0.0.254 and fd00::fe towards the node, by its `eth0`.
    pub router: Node,
    /// At 10.0.0.1 and fd00::1, by its `eth0`. It forwards, and its default route is the router.
    pub node: Node,
    /// The laboratory; last, so that it goes last.
    pub lab: Lab,
}

impl Default for Row {
    fn default() -> Self {
        Self::new()
    }
}

impl Row {
    /// Makes it, with counters on the router and on the node.
    #[must_use]
    pub fn new() -> Self {
        let lab = Lab::new();
        let (client, router, node) = (lab.node("client"), lab.node("router"), lab.node("node"));
        lab.link(&client, "eth0", &router, "client0");
        lab.link(&node, "eth0", &router, "eth0");
        for (on, dev, v4, v6) in [
            (&client, "eth0", "10.1.0.2/24", "fd01::2/64"),
            (&router, "client0", "10.1.0.1/24", "fd01::1/64"),
            (&router, "eth0", "10.0.0.254/24", "fd00::fe/64"),
            (&node, "eth0", "10.0.0.1/24", "fd00::1/64"),
        ] {
            on.address(dev, v4);
            on.address(dev, v6);
        }
        for (on, v4, v6) in [(&client, "10.1.0.1", "fd01::1"), (&node, "10.0.0.254", "fd00::fe")] {
            on.ip(&["route", "add", "default", "via", v4]);
            on.ip(&["-6", "route", "add", "default", "via", v6]);
        }
        for on in [&router, &node] {
            on.sysctl("net/ipv4/ip_forward", "1");
            on.sysctl("net/ipv6/conf/all/forwarding", "1");
            // A router that says "not this way" is heard by the client, and spoils what it sees.
            on.sysctl("net/ipv4/conf/all/send_redirects", "0");
            nft(on, COUNTERS);
        }
        Self { client, router, node, lab }
    }

    /// Packets for the pool that the router got back from the node: none, unless they loop.
    #[must_use]
    pub fn came_back(&self) -> u64 {
        counter(&self.router)
    }

    /// Packets for the pool that reached the node.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        counter(&self.node)
    }

    /// Sends one datagram from the client.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn send(&self, to: &str, port: u16) {
        let to = SocketAddr::new(to.parse().expect("address"), port);
        let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
        self.client.inside(|| {
            let socket = UdpSocket::bind((any, 0)).expect("socket");
            socket.send_to(b"x", to).unwrap_or_else(|e| panic!("to {to}: {e}"));
        });
    }

    /// Whether an address answers an echo request of the client.
    #[must_use]
    pub fn pings(&self, to: &str) -> bool {
        self.client.try_exec(&["ping", "-n", "-c", "1", "-W", "1", to]).is_ok()
    }
}

/// The row with a session for each family.
#[derive(Debug)]
pub struct Fabric {
    /// FRR on the router.
    pub frr: Box<dyn Router>,
    /// On the node.
    pub speaker: Speaker,
    /// The nodes; last, so that they go last.
    pub row: Row,
}

impl Fabric {
    /// Starts both, with `datapath` and `advertisements` of the speaker as YAML; waits for nothing.
    #[must_use]
    pub fn start(datapath: &str, advertisements: &str, manifests: &[(&str, String)]) -> Self {
        Self::start_on(Row::new(), datapath, advertisements, manifests)
    }

    /// The same on nodes that are there already.
    #[must_use]
    pub fn start_on(row: Row, datapath: &str, advertisements: &str, manifests: &[(&str, String)]) -> Self {
        let peers = [("10.0.0.254", "10.0.0.1", Family::V4), ("fd00::fe", "fd00::1", Family::V6)];
        let peers = peers.map(|(local, remote, family)| {
            let (local, remote) = (local.parse().expect("address"), remote.parse().expect("address"));
            let mut peer = PeerSpec::new(local, remote, 64501);
            peer.families = vec![family];
            peer.graceful_restart = Some(30);
            peer
        });
        let spec = Spec { asn: 64500, router_id: [10, 0, 0, 254].into(), peers: peers.to_vec() };
        let frr = daemon::start(Kind::Frr, &row.router, &spec);
        let speaker = Speaker::start(&row.node, &config(datapath, advertisements, ""), manifests);
        Self { frr, speaker, row }
    }

    /// Waits until the router forwards by the prefixes, and by no other of the speaker's.
    #[track_caller]
    pub fn wait_routes(&self, prefixes: &[&str]) {
        let mut wanted: Vec<String> = prefixes.iter().map(|one| (*one).to_owned()).collect();
        wanted.sort();
        eventually(SOON, &format!("the router forwards by exactly {wanted:?}"), || {
            let seen = self.routes();
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// The destinations of the router's kernel that are by BGP, in order; single addresses with their length.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (family, host) in [("-4", "/32"), ("-6", "/128")] {
            let text = self.row.router.ip(&[family, "route", "show", "proto", "bgp"]);
            let first = text.lines().filter(|line| !line.starts_with([' ', '\t']));
            let words = first.filter_map(|line| line.split_whitespace().next());
            all.extend(
                words.map(|one| if one.contains('/') { one.to_owned() } else { format!("{one}{host}") }),
            );
        }
        all.sort();
        all
    }
}

/// A speaker.yaml with the two sessions; `peer_keys` stand on both of them.
#[must_use]
pub fn config(datapath: &str, advertisements: &str, peer_keys: &str) -> String {
    format!(
        "node: {{name: n1}}
router: {{asn: 64501, routerId: 10.0.0.1}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
api: {{socket: api.sock, http: \"127.0.0.1:9179\"}}
datapath: {datapath}
peerGroups:
  - {{name: router, timers: {{hold: 9s, keepalive: 3s, connectRetry: 1s}}{peer_keys}}}
peers:
  - {{name: router4, group: router, address: 10.0.0.254, asn: 64500, families: [ipv4-unicast]}}
  - {{name: router6, group: router, address: \"fd00::fe\", asn: 64500, families: [ipv6-unicast]}}
{advertisements}"
    )
}

/// Advertisements: the pool's prefixes, at once.
pub const POOL_ALWAYS: &str = "advertisements: [{name: fabric, poolPrefix: {when: always}}]\n";

/// The pool, with one IPv4 and one IPv6 block.
#[must_use]
pub fn pool() -> (&'static str, String) {
    let text = format!(
        "apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {{name: blue}}
spec: {{blocks: [{{cidr: {POOL4}}}, {{cidr: \"{POOL6}\"}}]}}
"
    );
    ("pool.yaml", text)
}

/// A dual-stack Service that asks for 203.0.113.N and 2001:db8:1::N.
#[must_use]
pub fn service(name: &str, n: u8) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: shop
  annotations: {{lbipam.cilium.io/ips: \"203.0.113.{n},2001:db8:1::{n:x}\"}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  ports: [{{port: 80}}]
---
"
    )
}

/// Loads rules of nftables on a node.
///
/// # Panics
/// If nft refuses them.
pub fn nft(node: &Node, rules: &str) {
    let file = node.dir().join("rules.nft");
    std::fs::write(&file, rules).expect("rules");
    node.exec(&["nft", "-f", &file.to_string_lossy()]);
}

fn counter(node: &Node) -> u64 {
    let text = node.exec(&["nft", "list", "counter", "inet", "seen", "passed"]);
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in {text:?}"))
}

/// `ip rule` and every table of routes of a node, but for what the kernel keeps by itself: lifetimes.
#[must_use]
pub fn kernel(node: &Node) -> String {
    let mut text = String::new();
    for family in ["-4", "-6"] {
        for what in [&["rule", "show"][..], &["route", "show", "table", "all"]] {
            text.push_str(&node.ip(&[&[family], what].concat()));
        }
    }
    text
}

/// The speaker's own lines of [`kernel`].
#[must_use]
pub fn own_lines(node: &Node) -> Vec<String> {
    let kernel = kernel(node);
    let mut all: Vec<String> =
        kernel.lines().filter(|line| line.contains("proto 179")).map(|line| line.trim().to_owned()).collect();
    all.sort();
    all.dedup();
    all
}
