//! Which next hop a peer is told (design §5, "Next hop").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::Family;
use bgp_proto::wire::NextHop;
use speaker_config::model::PeerSettings;
use thiserror::Error;

/// What the choice of a next hop depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHopInputs {
    /// `nextHop.ipv4` of the peer's settings.
    pub configured_ipv4: Option<Ipv4Addr>,
    /// `nextHop.ipv6` of the peer's settings.
    pub configured_ipv6: Option<Ipv6Addr>,
    /// Our end of the session's TCP connection. An IPv4-mapped address counts as the IPv4 address.
    pub local: IpAddr,
    /// The peer's end.
    pub remote: IpAddr,
    /// IPv4 addresses of the egress interface, the preferred one first; those that mean nothing beyond this
    /// host are passed over.
    pub egress_ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses of the egress interface, the preferred one first; those that are not global are
    /// passed over.
    pub egress_ipv6: Vec<Ipv6Addr>,
    /// IPv4 routes may go with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The peer was found on its interface, which has no subnet in common with it but the link-local one: an IPv4
    /// address there is borrowed, and nobody can resolve it on the link.
    pub unnumbered: bool,
}

impl NextHopInputs {
    /// The inputs of a session whose egress interface is not known: its own addresses are all there is.
    #[must_use]
    pub fn of_session(
        settings: &PeerSettings,
        local: IpAddr,
        remote: IpAddr,
        extended_next_hop: bool,
    ) -> Self {
        Self {
            configured_ipv4: settings.next_hop_ipv4,
            configured_ipv6: settings.next_hop_ipv6,
            local,
            remote,
            egress_ipv4: Vec::new(),
            egress_ipv6: Vec::new(),
            extended_next_hop,
            unnumbered: false,
        }
    }
}

/// Why a family has no next hop: its routes are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum NoNextHop {
    /// Neither the session nor the egress interface has an IPv4 address.
    #[error(
        "no IPv4 next hop: neither the session nor its interface has an IPv4 address, and the peer did not \
         negotiate RFC 8950; set nextHop.ipv4"
    )]
    Ipv4,
    /// Neither the session nor the egress interface has an IPv6 address.
    #[error(
        "no IPv6 next hop: neither the session nor its interface has a global IPv6 address; set nextHop.ipv6"
    )]
    Ipv6,
    /// RFC 4271 §5.1.3.
    #[error("the next hop would be the peer's own address {0}, which RFC 4271 section 5.1.3 forbids")]
    Peer(IpAddr),
    /// `nextHop.ipv6` is `::ffff:a.b.c.d`, `::` or a multicast address.
    #[error("nextHop.ipv6 {0} cannot be a next hop; give a unicast IPv6 address that is not IPv4-mapped")]
    Unusable(Ipv6Addr),
}

/// The next hop for routes of `family` to one peer.
///
/// # Errors
/// There is none: the family is held, and the reason says what would help.
pub fn next_hop(family: Family, inputs: &NextHopInputs) -> Result<NextHop, NoNextHop> {
    let chosen = match family {
        Family::Ipv4Unicast => ipv4(inputs)?,
        Family::Ipv6Unicast => ipv6(inputs)?.ok_or(NoNextHop::Ipv6)?,
    };
    // RFC 4271 §5.1.3: "A route originated by a BGP speaker SHALL NOT be advertised to a peer using an
    // address of that peer as NEXT_HOP." Where both ends are one address (loopback) there is no other.
    let local = inputs.local.to_canonical();
    let remote = inputs.remote.to_canonical();
    let is_peer = match chosen {
        NextHop::V4(address) => remote == IpAddr::V4(address),
        NextHop::V6 { address, .. } => remote == IpAddr::V6(address),
    };
    if is_peer && local != remote { Err(NoNextHop::Peer(remote)) } else { Ok(chosen) }
}

fn ipv4(inputs: &NextHopInputs) -> Result<NextHop, NoNextHop> {
    if let Some(address) = inputs.configured_ipv4 {
        return Ok(NextHop::V4(address));
    }
    if let IpAddr::V4(address) = inputs.local.to_canonical()
        && !address.is_unspecified()
    {
        return Ok(NextHop::V4(address));
    }
    if inputs.unnumbered
        && inputs.extended_next_hop
        && let Some(next_hop) = ipv6(inputs)?
    {
        return Ok(next_hop);
    }
    let global = |address: &&Ipv4Addr| {
        !(address.is_unspecified()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast())
    };
    if let Some(address) = inputs.egress_ipv4.iter().find(global) {
        return Ok(NextHop::V4(*address));
    }
    if !inputs.extended_next_hop {
        return Err(NoNextHop::Ipv4);
    }
    ipv6(inputs)?.ok_or(NoNextHop::Ipv4)
}

fn ipv6(inputs: &NextHopInputs) -> Result<Option<NextHop>, NoNextHop> {
    if let Some(address) = inputs.configured_ipv6 {
        if address.to_ipv4_mapped().is_some() || address.is_unspecified() || address.is_multicast() {
            return Err(NoNextHop::Unusable(address));
        }
        return Ok(Some(NextHop::V6 { address, link_local: None }));
    }
    let global = inputs.egress_ipv6.iter().copied().find(|address| is_global(*address));
    // RFC 2545 §3 wants the link-local address beside the global one wherever the peer is on the same
    // subnet. It goes along on link-local sessions alone: the global one always works on a common subnet,
    // and FRR treats routes as withdrawn, or resets the session, where it cannot tell the interface of a
    // link-local next hop.
    Ok(match inputs.local.to_canonical() {
        IpAddr::V6(local) if local.is_unicast_link_local() => Some(match global {
            Some(address) => NextHop::V6 { address, link_local: Some(local) },
            None => NextHop::V6 { address: local, link_local: None },
        }),
        IpAddr::V6(local) if !local.is_unspecified() => {
            Some(NextHop::V6 { address: local, link_local: None })
        }
        _ => global.map(|address| NextHop::V6 { address, link_local: None }),
    })
}

fn is_global(address: Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some())
}

/// Whether the peer can use this next hop only if it runs on this very host: legal, worth a warning.
#[must_use]
pub fn is_loopback(next_hop: &NextHop) -> bool {
    match next_hop {
        NextHop::V4(address) => address.is_loopback(),
        NextHop::V6 { address, .. } => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests;
