//! Two daemons on one link.

use std::net::IpAddr;
use std::time::Duration;

use crate::daemon::{self, Family, Kind, PeerSpec, Router, Spec};
use crate::lab::{Lab, Node};
use crate::wait::eventually;

/// Two daemons on one link: 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2.
#[derive(Debug)]
pub struct Pair {
    /// The one at `.1`.
    pub left: Box<dyn Router>,
    /// The one at `.2`.
    pub right: Box<dyn Router>,
    /// Its address of the session.
    pub left_address: IpAddr,
    /// Its address of the session.
    pub right_address: IpAddr,
    /// Where the right one runs.
    pub right_node: Node,
    /// The laboratory; last, so that it goes last.
    pub lab: Lab,
}

/// What the two are.
#[derive(Debug, Clone, Copy)]
pub struct Sides {
    /// The daemon at `.1`.
    pub left: Kind,
    /// The daemon at `.2`.
    pub right: Kind,
    /// Its AS.
    pub left_as: u32,
    /// Its AS.
    pub right_as: u32,
    /// Over which addresses they speak.
    pub session: Family,
}

impl Sides {
    /// eBGP between AS 64501 and AS 64502.
    #[must_use]
    pub fn new(left: Kind, right: Kind, session: Family) -> Self {
        Self { left, right, left_as: 64501, right_as: 64502, session }
    }
}

/// A laboratory with two linked nodes, with fixed Ethernet addresses so that link-local ones are fixed too.
#[must_use]
pub fn nodes() -> (Lab, Node, Node) {
    let lab = Lab::new();
    let (left, right) = (lab.node("left"), lab.node("right"));
    lab.link(&left, "eth0", &right, "eth0");
    for (node, n) in [(&left, 1), (&right, 2)] {
        node.ip(&["link", "set", "eth0", "down"]);
        node.ip(&["link", "set", "eth0", "address", &format!("02:00:00:00:00:0{n}")]);
        node.ip(&["link", "set", "eth0", "up"]);
        node.address("eth0", &format!("10.0.0.{n}/24"));
        node.address("eth0", &format!("fd00::{n}/64"));
    }
    (lab, left, right)
}

/// As [`nodes`], with a router in between: the same addresses, two hops from each other.
#[must_use]
pub fn nodes_apart() -> (Lab, Node, Node) {
    let lab = Lab::new();
    let (left, between, right) = (lab.node("left"), lab.node("between"), lab.node("right"));
    between.sysctl("net/ipv4/ip_forward", "1");
    between.sysctl("net/ipv6/conf/all/forwarding", "1");
    for (node, n) in [(&left, 1_u8), (&right, 2)] {
        let port = format!("eth{n}");
        lab.link(node, "eth0", &between, &port);
        between.address(&port, &format!("10.9.{n}.254/24"));
        between.address(&port, &format!("fd09:{n}::254/64"));
        node.address("eth0", &format!("10.9.{n}.1/24"));
        node.address("eth0", &format!("fd09:{n}::1/64"));
        let there = 3 - n;
        for (ours, theirs, via, back) in [
            (
                format!("10.0.0.{n}"),
                format!("10.0.0.{there}"),
                format!("10.9.{n}.254"),
                format!("10.9.{n}.1"),
            ),
            (
                format!("fd00::{n}"),
                format!("fd00::{there}"),
                format!("fd09:{n}::254"),
                format!("fd09:{n}::1"),
            ),
        ] {
            let host = if ours.contains(':') { "128" } else { "32" };
            node.address("eth0", &format!("{ours}/{host}"));
            // An IPv6 address is usable a moment after it was given.
            let route = ["route", "add", &format!("{theirs}/{host}"), "via", &via, "src", &ours];
            eventually(Duration::from_secs(5), "the route to the other side", || node.try_ip(&route));
            between.ip(&["route", "add", &format!("{ours}/{host}"), "via", &back]);
        }
    }
    (lab, left, right)
}

/// The address of side `n` for sessions of a family.
#[must_use]
pub fn address(session: Family, n: u8) -> IpAddr {
    match session {
        Family::V4 => IpAddr::from([10, 0, 0, n]),
        Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)]),
    }
}

impl Sides {
    /// What side `n` is configured with.
    #[must_use]
    pub fn spec(&self, n: u8) -> Spec {
        let (ours, theirs) =
            if n == 1 { (self.left_as, self.right_as) } else { (self.right_as, self.left_as) };
        let mut peer = PeerSpec::new(address(self.session, n), address(self.session, 3 - n), theirs);
        peer.families = vec![self.session];
        Spec { asn: ours, router_id: [10, 0, 0, n].into(), peers: vec![peer] }
    }

    /// Starts both; `change` may change what peer `n` (1 or 2) is configured with.
    #[must_use]
    pub fn start(&self, change: impl Fn(u8, &mut PeerSpec)) -> Pair {
        self.start_on(nodes(), change)
    }

    /// As [`Self::start`], on nodes that are there already: for a capture that is to see the first byte.
    #[must_use]
    pub fn start_on(&self, nodes: (Lab, Node, Node), change: impl Fn(u8, &mut PeerSpec)) -> Pair {
        let (lab, left, right) = nodes;
        let spec = |n: u8| {
            let mut spec = self.spec(n);
            change(n, &mut spec.peers[0]);
            spec
        };
        let left = daemon::start(self.left, &left, &spec(1));
        let right_daemon = daemon::start(self.right, &right, &spec(2));
        Pair {
            left,
            right: right_daemon,
            left_address: address(self.session, 1),
            right_address: address(self.session, 2),
            right_node: right,
            lab,
        }
    }
}
