//! The five BGP daemons behind one set of verbs.

mod bird;
mod exabgp;
pub mod features;
mod frr;
pub mod generation;
mod gobgp;
mod openbgpd;
pub mod words;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

pub use bird::Bird;
pub use exabgp::ExaBgp;
pub use frr::Frr;
pub use gobgp::GoBgp;
pub use openbgpd::OpenBgpd;

use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// FRR's zebra and bgpd.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP.
    GoBgp,
    /// ExaBGP.
    ExaBgp,
    /// OpenBGPD.
    OpenBgpd,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Frr, Self::Bird, Self::GoBgp, Self::ExaBgp, Self::OpenBgpd];

    /// Lower-case name, also that of its folder of golden captures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frr => "frr",
            Self::Bird => "bird",
            Self::GoBgp => "gobgp",
            Self::ExaBgp => "exabgp",
            Self::OpenBgpd => "openbgpd",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An address family, unicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 unicast.
    V4,
    /// IPv6 unicast.
    V6,
}

impl Family {
    /// The family of a prefix.
    #[must_use]
    pub fn of(prefix: &IpNet) -> Self {
        if prefix.addr().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `ipv4` or `ipv6`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// A peer of a daemon under test.
#[derive(Debug, Clone)]
pub struct PeerSpec {
    /// The daemon's own address of the session.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
    /// The peer's AS.
    pub remote_as: u32,
    /// Families to negotiate.
    pub families: Vec<Family>,
    /// Hold time in seconds; the daemon's default where absent.
    pub hold: Option<u16>,
    /// TCP MD5 password.
    pub md5: Option<String>,
    /// Does not dial.
    pub passive: bool,
    /// eBGP multihop with this TTL.
    pub multihop: Option<u8>,
    /// TTL security (RFC 5082): the peer is at most so many hops away.
    pub ttl_security: Option<u8>,
    /// Graceful restart with this restart time in seconds.
    pub graceful_restart: Option<u16>,
    /// Long-lived graceful restart with this stale time in seconds (RFC 9494); only beside `graceful_restart`.
    pub long_lived_restart: Option<u32>,
    /// Its role towards the peer (RFC 9234), in the RFC's word.
    pub role: Option<&'static str>,
    /// RFC 8950.
    pub extended_next_hop: bool,
    /// RFC 7911, both directions.
    pub add_path: bool,
    /// The 4-octet AS capability is offered (RFC 6793).
    pub four_octet_as: bool,
    /// Extended messages are offered (RFC 8654).
    pub extended_messages: bool,
}

impl PeerSpec {
    /// A peer with both families and nothing else special.
    #[must_use]
    pub fn new(local: IpAddr, remote: IpAddr, remote_as: u32) -> Self {
        Self {
            local,
            remote,
            remote_as,
            families: vec![Family::V4, Family::V6],
            hold: None,
            md5: None,
            passive: false,
            multihop: None,
            ttl_security: None,
            graceful_restart: None,
            long_lived_restart: None,
            role: None,
            extended_next_hop: false,
            add_path: false,
            four_octet_as: true,
            extended_messages: false,
        }
    }

    /// The AS to expect in the peer's OPEN: AS_TRANS (RFC 6793) where a large one cannot be said.
    #[must_use]
    pub fn expected_as(&self) -> u32 {
        if self.four_octet_as || self.remote_as <= u32::from(u16::MAX) { self.remote_as } else { 23456 }
    }
}

/// A daemon and its peers.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// Its peers.
    pub peers: Vec<PeerSpec>,
}

/// A route that a daemon is to announce. Next hop: its own address of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// The prefix.
    pub prefix: IpNet,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES as `65000:1`.
    pub communities: Vec<String>,
    /// LARGE_COMMUNITIES as `65000:1:2`.
    pub large: Vec<String>,
    /// EXTENDED COMMUNITIES as `rt:65000:7`.
    pub ext: Vec<String>,
    /// Further copies of its own AS in front.
    pub prepend: u8,
}

impl RouteSpec {
    /// A bare route.
    ///
    /// # Panics
    /// If `prefix` is none.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e}")),
            med: None,
            local_pref: None,
            communities: Vec::new(),
            large: Vec::new(),
            ext: Vec::new(),
            prepend: 0,
        }
    }

    /// It has nothing but what every route has.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        *self == Self { prefix: self.prefix, ..Self::new("0.0.0.0/0") }
    }
}

/// A route as a daemon shows it. Lists of communities are sorted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Next hops, as far as the daemon shows them.
    pub next_hops: Vec<IpAddr>,
    /// The AS path; sets are flattened.
    pub as_path: Vec<u32>,
    /// `igp`, `egp` or `incomplete`.
    pub origin: String,
    /// MULTI_EXIT_DISC. Some daemons show 0 for an absent one: see [`features`].
    pub med: Option<u32>,
    /// LOCAL_PREF. On eBGP sessions some daemons show their own default.
    pub local_pref: Option<u32>,
    /// COMMUNITIES as `65000:1`, well-known ones too.
    pub communities: Vec<String>,
    /// LARGE_COMMUNITIES as `65000:1:2`.
    pub large: Vec<String>,
    /// EXTENDED COMMUNITIES as `rt:65000:7`; kinds that the laboratory does not name stay as the daemon
    /// prints them.
    pub ext: Vec<String>,
}

/// Verbs that every daemon has. Failures panic with what the daemon said.
pub trait Router: fmt::Debug {
    /// Which daemon.
    fn kind(&self) -> Kind;
    /// Its version, asked of itself.
    fn version(&self) -> String;
    /// The state of the session with `peer` in the daemon's words, lower case.
    fn state(&self, peer: IpAddr) -> String;
    /// The routes that `peer` has sent and that are now valid.
    fn received(&self, peer: IpAddr, family: Family) -> Vec<SeenRoute>;
    /// How many UPDATEs (or, BIRD: routes in UPDATEs) came from `peer` since the session began.
    fn updates_received(&self, peer: IpAddr) -> u64;
    /// Announces routes to every peer, with those announced before.
    fn announce(&mut self, routes: &[RouteSpec]);
    /// Withdraws routes.
    fn withdraw(&mut self, prefixes: &[IpNet]);
    /// Asks `peer` for its routes again with a ROUTE-REFRESH, where the daemon can: see [`features`].
    fn request_refresh(&self, peer: IpAddr, family: Family);
    /// Code and subcode of the NOTIFICATIONs that `peer` has sent, in order.
    fn notifications_received(&self, peer: IpAddr) -> Vec<(u8, u8)>;
    /// Takes the session with `peer` down by the operator's command, with a text for the peer (RFC 9003;
    /// none where empty) where the daemon can.
    fn shut(&self, peer: IpAddr, text: &str);
    /// The process of the BGP daemon.
    fn process(&self) -> &Process;
    /// Starts the daemon again after it was killed or terminated; announced routes are announced again.
    fn start_again(&mut self);

    /// Whether the session with `peer` is established.
    fn established(&self, peer: IpAddr) -> bool {
        self.state(peer) == "established"
    }
}

/// Starts a daemon of `kind` on `node`.
pub fn start(kind: Kind, node: &Node, spec: &Spec) -> Box<dyn Router> {
    match kind {
        Kind::Frr => Box::new(Frr::start(node, spec)),
        Kind::Bird => Box::new(Bird::start(node, spec)),
        Kind::GoBgp => Box::new(GoBgp::start(node, spec)),
        Kind::ExaBgp => Box::new(ExaBgp::start(node, spec)),
        Kind::OpenBgpd => Box::new(OpenBgpd::start(node, spec)),
    }
}

/// Waits until the daemon says that the session with `peer` is established.
#[track_caller]
pub fn wait_established(router: &dyn Router, peer: IpAddr, deadline: Duration) {
    eventually(deadline, &format!("{} is established with {peer}", router.kind()), || {
        let state = router.state(peer);
        if state == "established" { Ok(()) } else { Err(state) }
    });
}

/// Waits until `router` has a route to `prefix` from `peer` that `accept`s, and returns it.
#[track_caller]
pub fn wait_route(
    router: &dyn Router,
    peer: IpAddr,
    prefix: &str,
    deadline: Duration,
    accept: impl Fn(&SeenRoute) -> bool,
) -> SeenRoute {
    let prefix: IpNet = prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e}"));
    let what = format!("{} has {prefix} from {peer}", router.kind());
    eventually(deadline, &what, || {
        let routes = router.received(peer, Family::of(&prefix));
        match routes.iter().find(|r| r.prefix == prefix && accept(r)) {
            Some(route) => Ok(route.clone()),
            None => Err(format!("{} routes: {:?}", routes.len(), routes.iter().take(8).collect::<Vec<_>>())),
        }
    })
}

/// Waits until `router` has no route to `prefix` from `peer`.
#[track_caller]
pub fn wait_no_route(router: &dyn Router, peer: IpAddr, prefix: &str, deadline: Duration) {
    let prefix: IpNet = prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e}"));
    let what = format!("{} no longer has {prefix} from {peer}", router.kind());
    eventually(deadline, &what, || {
        let routes = router.received(peer, Family::of(&prefix));
        routes.iter().find(|r| r.prefix == prefix).map_or(Ok(()), |route| Err(format!("{route:?}")))
    });
}
