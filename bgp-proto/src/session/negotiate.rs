//! What two OPENs make of a session (RFC 4271 §6.2, RFC 5492, RFC 6286).

use super::link::Link;
use super::{Negotiated, PeerAsn, SessionConfig};
use crate::types::{AfiSafi, Asn, Family, FamilySet};
use crate::wire::{Capability, DecodeContext, EncodeContext, GracefulRestart, Notification, Open, codes};

/// The longest message of RFC 4271 §4.1.
const MESSAGE: usize = 4096;
/// The longest message of RFC 8654 §4.
const EXTENDED_MESSAGE: usize = 65535;
/// Bits of an ADD-PATH tuple (RFC 7911 §4).
const RECEIVE: u8 = 1;
const SEND: u8 = 2;
/// The address family of an IPv6 next hop (RFC 8950 §4).
const AFI_IPV6: u16 = 2;

/// The allowed pairs of roles (RFC 9234 §4.2, table 2): 0 provider, 1 RS, 2 RS-client, 3 customer, 4 peer.
const ROLE_PAIRS: [(u8, u8); 5] = [(0, 3), (3, 0), (1, 2), (2, 1), (4, 4)];

/// Why an OPEN is not acceptable: what goes to the peer, and what goes into the log.
pub(super) type Refusal = (Notification, String);

/// Checks the peer's OPEN and derives the session from it and from ours as it was sent on this connection.
pub(super) fn negotiate(
    config: &SessionConfig,
    link: &Link,
    ours: &Open,
    theirs: Open,
) -> Result<Negotiated, Refusal> {
    check_asn(config, theirs.asn)?;
    check_router_id(config, &theirs)?;
    if theirs.asn != config.local_asn {
        check_roles(&ours.capabilities, &theirs.capabilities)?;
    }
    let families = families(&ours.capabilities).intersection(families(&theirs.capabilities));
    if families.is_empty() {
        return Err(no_common_family(config, &theirs));
    }
    let (a, b) = (&ours.capabilities, &theirs.capabilities);
    let both = |capability: &Capability| a.contains(capability) && b.contains(capability);
    let asn4 = four_octet(a) && four_octet(b);
    let extended_next_hop = families.contains(Family::Ipv4Unicast) && ipv6_next_hop(a) && ipv6_next_hop(b);
    let paths = |sender: &[Capability], receiver: &[Capability]| {
        families.iter().filter(|f| add_path(sender, *f, SEND) && add_path(receiver, *f, RECEIVE)).collect()
    };
    let decode = DecodeContext {
        asn4,
        external: theirs.asn != config.local_asn,
        families,
        add_path: paths(b, a),
        extended_next_hop,
        enhanced_refresh: b.contains(&Capability::EnhancedRouteRefresh),
        loopback: link.local.ip().is_loopback(),
        // "A BGP speaker that advertises the BGP Extended Message Capability to a peer MUST be capable of
        // receiving ... messages" up to 65535 (RFC 8654 §4): whatever the peer announced itself.
        max_message: limit(a.contains(&Capability::ExtendedMessage)),
    };
    let encode = EncodeContext {
        asn4,
        add_path: paths(a, b),
        extended_next_hop,
        max_message: limit(both(&Capability::ExtendedMessage)),
    };
    let route_refresh = both(&Capability::RouteRefresh);
    Ok(Negotiated {
        conn: link.conn,
        sent_open: ours.encode(),
        received_open: link.open.clone(),
        local: link.local,
        remote: link.remote,
        local_asn: config.local_asn,
        peer_asn: theirs.asn,
        peer_router_id: theirs.router_id,
        hold_time: ours.hold_time.negotiate(theirs.hold_time),
        families,
        encode,
        decode,
        route_refresh,
        enhanced_refresh: both(&Capability::EnhancedRouteRefresh),
        graceful_restart: restart(a).and_then(|_| restart(b)).cloned(),
        our_capabilities: ours.capabilities.clone(),
        peer_capabilities: theirs.capabilities,
    })
}

fn limit(extended: bool) -> usize {
    if extended { EXTENDED_MESSAGE } else { MESSAGE }
}

/// "If the Autonomous System field of the OPEN message is unacceptable, then the Error Subcode MUST be set
/// to Bad Peer AS" (RFC 4271 §6.2).
fn check_asn(config: &SessionConfig, theirs: Asn) -> Result<(), Refusal> {
    let ours = config.local_asn;
    let (good, expected) = match config.peer_asn {
        PeerAsn::Exact(asn) => (theirs == asn, asn.to_string()),
        PeerAsn::External => (theirs != ours, format!("any but {ours}")),
        PeerAsn::Internal => (theirs == ours, ours.to_string()),
        PeerAsn::Any => (true, String::new()),
    };
    if good {
        return Ok(());
    }
    let notification = Notification::new(codes::OPEN, codes::OPEN_BAD_PEER_AS);
    Err((notification, format!("the peer says that it is in AS {theirs}; expected is {expected}")))
}

/// "if the BGP Identifier field of the OPEN message is zero, or if it is the same as the BGP Identifier of
/// the local BGP speaker and the message is from an internal peer, then the Error Subcode is set to Bad BGP
/// Identifier" (RFC 6286 §2.2). Zero cannot be in a decoded OPEN.
fn check_router_id(config: &SessionConfig, theirs: &Open) -> Result<(), Refusal> {
    if theirs.router_id != config.router_id || theirs.asn != config.local_asn {
        return Ok(());
    }
    let notification = Notification::new(codes::OPEN, codes::OPEN_BAD_BGP_IDENTIFIER);
    let detail =
        format!("the peer in our AS has our router ID {}; every router needs its own", config.router_id);
    Err((notification, detail))
}

/// "If the roles do not correspond …, the BGP speaker MUST reject the connection using the Role Mismatch
/// Notification", and so it is with several roles of one peer; a peer without a role is taken (RFC 9234 §4.2).
fn check_roles(ours: &[Capability], theirs: &[Capability]) -> Result<(), Refusal> {
    let Some(role) = roles(ours).next() else { return Ok(()) };
    let Some(wrong) = roles(theirs).find(|theirs| !ROLE_PAIRS.contains(&(role, *theirs))) else {
        return Ok(());
    };
    let notification = Notification::new(codes::OPEN, codes::OPEN_ROLE_MISMATCH);
    let [role, wrong] = [role, wrong].map(role_name);
    Err((notification, format!("the peer's role is {wrong}, which does not go with ours, {role}")))
}

fn roles(capabilities: &[Capability]) -> impl Iterator<Item = u8> {
    capabilities.iter().filter_map(|capability| match capability {
        Capability::Role(role) => Some(*role),
        _ => None,
    })
}

/// RFC 9234 §4.1.
fn role_name(role: u8) -> String {
    match ["provider", "rs", "rs-client", "customer", "peer"].get(usize::from(role)) {
        Some(name) => (*name).to_owned(),
        None => format!("unknown ({role})"),
    }
}

/// RFC 5492 §5: the data lists the capabilities that we require.
fn no_common_family(config: &SessionConfig, theirs: &Open) -> Refusal {
    let required: Vec<_> =
        config.families.iter().map(|family| Capability::Multiprotocol(family.afi_safi())).collect();
    let (ours, theirs) = (config.families, families(&theirs.capabilities));
    let detail = format!("no address family in common: we have {ours:?}, the peer has {theirs:?}");
    (Notification::unsupported_capability(&required), detail)
}

/// A speaker that announces no family at all means IPv4 unicast, which needs no announcement
/// (RFC 4760 §8 asks for the capability only where multiprotocol extensions are used).
fn families(capabilities: &[Capability]) -> FamilySet {
    let announced = || {
        capabilities.iter().filter_map(|capability| match capability {
            Capability::Multiprotocol(family) => Some(*family),
            _ => None,
        })
    };
    if announced().next().is_none() {
        return FamilySet::from_iter([Family::Ipv4Unicast]);
    }
    announced().filter_map(AfiSafi::family).collect()
}

fn four_octet(capabilities: &[Capability]) -> bool {
    capabilities.iter().any(|capability| matches!(capability, Capability::FourOctetAsn(_)))
}

fn ipv6_next_hop(capabilities: &[Capability]) -> bool {
    let wanted = (Family::Ipv4Unicast.afi_safi(), AFI_IPV6);
    capabilities.iter().any(
        |capability| matches!(capability, Capability::ExtendedNextHop(tuples) if tuples.contains(&wanted)),
    )
}

/// Whether these capabilities say `bit` for `family`.
fn add_path(capabilities: &[Capability], family: Family, bit: u8) -> bool {
    capabilities.iter().any(|capability| match capability {
        Capability::AddPath(tuples) => tuples
            .iter()
            .any(|(of, mode)| of.family() == Some(family) && (1..=3).contains(mode) && mode & bit != 0),
        _ => false,
    })
}

/// "If more than one instance of the Graceful Restart Capability is carried in the capability
/// advertisement, the receiver of the advertisement MUST ignore all but the last instance" (RFC 4724 §3).
fn restart(capabilities: &[Capability]) -> Option<&GracefulRestart> {
    capabilities.iter().rev().find_map(|capability| match capability {
        Capability::GracefulRestart(restart) => Some(restart),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
