//! The values that selection works on.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use bgp_proto::types::{Asn, FamilyMap, Prefix, RouterId};
use serde::{Deserialize, Serialize};
use speaker_config::model::Learn;

use super::select::Step;
use super::sets::PathSet;

/// A next hop as the kernel takes it: a router on a network that this host is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The router. For an IPv4 destination it may be an IPv6 address (RFC 8950).
    pub gateway: IpAddr,
    /// The index of the interface that it is on.
    pub interface: u32,
}

/// The next hops of one destination: in order, each once, never none. A full table has a handful of such lists: this is
/// a pointer to one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hops(Arc<Vec<Hop>>);

impl Hops {
    /// Whether nobody else has this list.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl From<Vec<Hop>> for Hops {
    fn from(hops: Vec<Hop>) -> Self {
        Self(Arc::new(hops))
    }
}

impl Deref for Hops {
    type Target = [Hop];

    fn deref(&self) -> &[Hop] {
        &self.0
    }
}

impl Borrow<[Hop]> for Hops {
    fn borrow(&self) -> &[Hop] {
        self
    }
}

/// The other end of a session, as far as selection asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address.
    pub address: IpAddr,
    /// The index of its interface, where the address is link-local.
    pub interface: Option<u32>,
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Our AS towards it.
    pub local_asn: Asn,
    /// Our BGP identifier.
    pub local_router_id: RouterId,
    /// Our role towards it (RFC 9234), as the number on the wire.
    pub role: Option<u8>,
}

impl Neighbor {
    /// Whether it is in another AS.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.asn != self.local_asn
    }
}

/// What is learned from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `learn`.
    pub learn: Learn,
    /// How many routes of each family are kept.
    pub most: FamilyMap<u32>,
}

impl Rules {
    /// Whether a route to `prefix` is asked for.
    #[must_use]
    pub fn accepts(&self, prefix: Prefix) -> bool {
        self.learn.accepts(prefix)
    }
}

/// Why routes of a session that is gone are still here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// Graceful restart (RFC 4724 §4.2): as good as before.
    Restart,
    /// Long-lived graceful restart (RFC 9494 §4.3): a last resort.
    LongLived,
}

/// A peer, in a few bits.
pub(super) type PeerId = u16;

/// One route of one peer. Two full tables have millions: each octet here is megabytes there.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) set: Arc<PathSet>,
    /// Seconds since 1970, up to 2106.
    pub(super) since: u32,
    number: u32,
    pub(super) peer: PeerId,
    has_number: bool,
    /// Whatever the surroundings are.
    pub(super) refused: Option<Refusal>,
    pub(super) stale: Option<Stale>,
    /// The peer's own refresh has not named it yet (RFC 7313 §4).
    pub(super) unrefreshed: bool,
    pub(super) used: bool,
}

impl Path {
    pub(super) fn new(peer: PeerId, path_id: Option<u32>, set: Arc<PathSet>, since: u32) -> Self {
        Self {
            set,
            since,
            number: path_id.unwrap_or_default(),
            peer,
            has_number: path_id.is_some(),
            refused: None,
            stale: None,
            unrefreshed: false,
            used: false,
        }
    }

    /// The path identifier (RFC 7911).
    pub(super) fn path_id(&self) -> Option<u32> {
        self.has_number.then_some(self.number)
    }

    /// Whether it is what `peer` calls `path_id`.
    pub(super) fn is(&self, peer: PeerId, path_id: Option<u32>) -> bool {
        self.peer == peer && self.path_id() == path_id
    }
}

/// Why a route may not be used at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Refusal {
    /// "If the AS_PATH attribute of a BGP route contains an AS loop, the BGP route should be excluded from the
    /// Phase 2 decision function" (RFC 4271 §9.1.2).
    AsLoop,
    /// The AS path has a set, from which nobody can tell who originated the route: deprecated, and no longer to be taken
    /// (RFC 9774 §3).
    AsSet,
    /// Our own BGP identifier is in ORIGINATOR_ID or CLUSTER_LIST (RFC 4456 §8).
    Reflected,
    /// The route was leaked (RFC 9234 §5).
    Leak,
    /// The destination is none that is routed to: loopback, link-local, multicast.
    Destination,
    /// This host is attached to the destination itself.
    Attached,
    /// The next hop is no address of a host.
    MartianNextHop,
    /// The next hop is this host.
    OwnNextHop,
    /// "If the NEXT_HOP attribute of a BGP route depicts an address that is not resolvable, or if it would become
    /// unresolvable if the route was installed in the routing table, the BGP route MUST be excluded from the Phase 2
    /// decision function" (RFC 4271 §9.1.2).
    Unresolvable,
    /// The next hop would be reached by the route itself (the second half of the same rule).
    ThroughItself,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsLoop => "its AS path leads through our own AS (RFC 4271 §9.1.2)",
            Self::AsSet => "its AS path has an AS_SET or AS_CONFED_SET (RFC 9774 §3)",
            Self::Reflected => "it is our own route, reflected (RFC 4456 §8)",
            Self::Leak => "it was leaked: ONLY_TO_CUSTOMER says that it may not come this way (RFC 9234 §5)",
            Self::Destination => "nothing is routed to such a destination",
            Self::Attached => "this host is attached to that network",
            Self::MartianNextHop => "its next hop is not the address of a host",
            Self::OwnNextHop => "its next hop is this host",
            Self::Unresolvable => "its next hop is on no network that this host is attached to",
            Self::ThroughItself => "its next hop lies inside it and would be reached by itself",
        })
    }
}

/// What became of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The best one.
    Best,
    /// As good as the best one: its next hop stands beside.
    Equal,
    /// As good, and there are as many next hops as a route may have.
    Surplus,
    /// Another one is better, by this step.
    Lost(Step),
    /// It may not be used.
    Refused(Refusal),
}

impl Verdict {
    /// Whether packets take it.
    #[must_use]
    pub const fn is_used(self) -> bool {
        matches!(self, Self::Best | Self::Equal)
    }

    /// Why not, in words; nothing where it is used.
    #[must_use]
    pub fn why_not(self) -> Option<String> {
        match self {
            Self::Best | Self::Equal => None,
            Self::Surplus => Some("there are as many next hops as a route may have".to_owned()),
            Self::Lost(step) => Some(format!("another route is better: {step}")),
            Self::Refused(refusal) => Some(refusal.to_string()),
        }
    }
}
