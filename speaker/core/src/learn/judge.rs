//! Which routes may be used at all (RFC 4271 §6.3, §9.1.2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::Prefix;
use bgp_proto::wire::{NextHop, PathAttributes, SegmentKind};

use super::route::{Hop, Neighbor, Refusal};

/// Our roles (RFC 9234 §4.1).
mod role {
    pub(super) const PROVIDER: u8 = 0;
    pub(super) const ROUTE_SERVER: u8 = 1;
    pub(super) const PEER: u8 = 4;
}

/// A network that this host is attached to: its hosts are reached without a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attached {
    /// The network.
    pub prefix: Prefix,
    /// The index of the interface.
    pub interface: u32,
}

/// What this host has, as far as next hops are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Networks by interfaces that are up, no loopback among them.
    pub attached: BTreeSet<Attached>,
    /// Every address of this host.
    pub own: BTreeSet<IpAddr>,
    /// The interfaces that are up, by index.
    pub interfaces: BTreeMap<u32, String>,
}

impl Surroundings {
    /// The smallest network that `addr` is in.
    fn network(&self, addr: IpAddr) -> Option<Attached> {
        let around = self.attached.iter().filter(|one| one.prefix.contains(addr));
        around.max_by_key(|one| one.prefix.len()).copied()
    }

    /// Whether this host is attached to exactly this network. The kernel's own route to it has metric 256 in IPv6,
    /// so that a learned one would come first.
    pub(super) fn is_attached(&self, prefix: Prefix) -> bool {
        self.attached.iter().any(|one| one.prefix == prefix)
    }

    /// What the kernel is to be told of a next hop, for a route to `prefix`.
    pub(super) fn resolve(&self, next_hop: NextHop, from: &Neighbor, prefix: Prefix) -> Result<Hop, Refusal> {
        let own = |addr: IpAddr| self.own.contains(&addr);
        match next_hop {
            NextHop::V4(v4) if own(v4.into()) => Err(Refusal::OwnNextHop),
            NextHop::V4(v4) => self.on_network(v4.into(), prefix),
            NextHop::V6 { address, link_local } => {
                // The global half names the router; where it is us, so is the other half.
                if own(address.into()) || link_local.is_some_and(|half| own(half.into())) {
                    return Err(Refusal::OwnNextHop);
                }
                match link_local.or(Some(address)).filter(Ipv6Addr::is_unicast_link_local) {
                    Some(half) => self.on_link(half, from),
                    None => self.on_network(address.into(), prefix),
                }
            }
        }
    }

    fn on_network(&self, addr: IpAddr, prefix: Prefix) -> Result<Hop, Refusal> {
        let network = self.network(addr).ok_or(Refusal::Unresolvable)?;
        // "or if it would become unresolvable if the route was installed" (RFC 4271 §9.1.2).
        if prefix.contains(addr) && prefix.len() >= network.prefix.len() {
            return Err(Refusal::ThroughItself);
        }
        Ok(Hop { gateway: addr, interface: network.interface })
    }

    /// A link-local address says nothing of its link: it is the session's.
    fn on_link(&self, addr: Ipv6Addr, from: &Neighbor) -> Result<Hop, Refusal> {
        let interface = match from.interface {
            Some(interface) => Some(interface).filter(|one| self.interfaces.contains_key(one)),
            None => self.network(from.address).map(|network| network.interface),
        };
        Ok(Hop { gateway: addr.into(), interface: interface.ok_or(Refusal::Unresolvable)? })
    }
}

/// What keeps a route from being used whatever this host is attached to.
pub(super) fn judge(
    prefix: Prefix,
    attributes: &PathAttributes,
    next_hop: NextHop,
    from: &Neighbor,
) -> Option<Refusal> {
    let ours = |asn| asn == from.local_asn;
    let checks = [
        (is_martian(prefix), Refusal::Destination),
        (attributes.as_path.iter().flat_map(bgp_proto::wire::AsPath::asns).any(ours), Refusal::AsLoop),
        (has_set(attributes), Refusal::AsSet),
        (is_reflected(attributes, from), Refusal::Reflected),
        (is_leaked(attributes, from), Refusal::Leak),
        (!is_host(next_hop), Refusal::MartianNextHop),
    ];
    checks.into_iter().find(|(wrong, _)| *wrong).map(|(_, refusal)| refusal)
}

/// AS_SET and AS_CONFED_SET are deprecated, and a route with one is treated as withdrawn (RFC 9774 §3).
fn has_set(attributes: &PathAttributes) -> bool {
    let segments = attributes.as_path.iter().flat_map(|path| &path.segments);
    segments.into_iter().any(|segment| matches!(segment.kind, SegmentKind::Set | SegmentKind::ConfedSet))
}

/// "A router that recognizes the ORIGINATOR_ID attribute SHOULD ignore a route received with its BGP Identifier as the
/// ORIGINATOR_ID. If the local CLUSTER_ID is found in the CLUSTER_LIST, the advertisement received SHOULD be ignored"
/// (RFC 4456 §8); the identifier is what a CLUSTER_ID is where nobody gave another.
fn is_reflected(attributes: &PathAttributes, from: &Neighbor) -> bool {
    let own = from.local_router_id;
    attributes.originator_id == Some(own) || attributes.cluster_list.contains(&own.as_ipv4())
}

/// "If a route with the OTC Attribute is received from a Customer or an RS-Client, then it is a route leak and MUST be
/// considered ineligible. If a route with the OTC Attribute is received from a Peer (i.e., remote AS with a Peer Role)
/// and the Attribute has a value that is not equal to the remote (i.e., Peer's) AS number, then it is a route leak and
/// MUST be considered ineligible" (RFC 9234 §5).
fn is_leaked(attributes: &PathAttributes, from: &Neighbor) -> bool {
    let Some(otc) = attributes.only_to_customer.filter(|_| from.is_external()) else { return false };
    match from.role {
        Some(role::PROVIDER | role::ROUTE_SERVER) => true,
        Some(role::PEER) => otc != from.asn,
        _ => false,
    }
}

/// Destinations that no router leads to. The default route is none of them.
fn is_martian(prefix: Prefix) -> bool {
    const V4: [(Ipv4Addr, u8); 3] = [
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 3),
    ];
    match prefix.addr() {
        IpAddr::V4(v4) => {
            let this_network = v4.octets()[0] == 0 && prefix.len() > 0;
            let inside = |(addr, len): &(Ipv4Addr, u8)| {
                Prefix::new((*addr).into(), *len).is_ok_and(|martian| martian.covers(prefix))
            };
            this_network || V4.iter().any(inside)
        }
        IpAddr::V6(v6) => {
            let own = prefix.is_host() && (v6.is_loopback() || v6.is_unspecified());
            let local = (v6.is_unicast_link_local() && prefix.len() >= 10)
                || (v6.is_multicast() && prefix.len() >= 8);
            own || local
        }
    }
}

/// Whether a next hop can be a router.
fn is_host(next_hop: NextHop) -> bool {
    match next_hop {
        NextHop::V4(v4) => {
            let class_e = v4.octets()[0] >= 240;
            !(v4.is_unspecified() || v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || class_e)
        }
        NextHop::V6 { address, link_local } => {
            let half = |v6: Ipv6Addr| {
                !(v6.is_unspecified()
                    || v6.is_loopback()
                    || v6.is_multicast()
                    || v6.to_ipv4_mapped().is_some())
            };
            half(address) || link_local.is_some_and(half)
        }
    }
}
