//! Contradictions that a peer, its group, its place and the other peers make together.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{Asn, Family, HoldTime};

use super::Context;
use crate::model::{DynamicPeer, Learn, PasswordSource, Peer, PeerAddress, Receive, Router, Ttl};
use crate::speaker::reader::{Place, Report, Spanned};
use crate::speaker::settings::Settings;

/// Where a peer is: one address, or whoever dials from a prefix.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whereabouts<'a> {
    Address(&'a PeerAddress),
    Prefix(Family),
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Contradictions that a peer and its group may make together.
pub(super) fn check(settings: &Settings, place: &Place, whereabouts: Whereabouts<'_>, context: &Context<'_>) {
    let report = context.report;
    check_timers(settings, report);
    check_prefix_limit(settings, report);
    check_learn(settings, report);
    check_role(settings, context);
    if let Some(keys) = &settings.authentication
        && keys.value.sources().any(|source| matches!(source, PasswordSource::Secret { .. }))
        && !context.kubernetes
    {
        report.error(
            &keys.place,
            "a Secret is in Kubernetes, which sources.kubernetes does not switch on",
            "use passwordFile, or set sources.kubernetes.enabled: true",
        );
    }
    if let Some(restart) = settings.graceful_restart.as_ref().filter(|restart| restart.value.is_some())
        && settings.bfd.flatten().is_none()
    {
        report.warn(
            &restart.place,
            "with graceful restart a peer keeps sending to a dead node until the restart time is over",
            "run BFD on the peer's side too, or keep the restart time short",
        );
    }
    if let Some(restart) = settings.long_lived_restart.as_ref().filter(|restart| restart.value.is_some())
        && settings.graceful_restart.as_ref().is_none_or(|restart| restart.value.is_none())
    {
        report.error(
            &restart.place,
            "longLivedRestart needs gracefulRestart (RFC 9494)",
            "add gracefulRestart: {}",
        );
    }
    check_next_hops(settings, whereabouts, report);
    let family = match whereabouts {
        Whereabouts::Address(PeerAddress::Address { address, .. }) => Some(Family::of(*address)),
        Whereabouts::Address(PeerAddress::Interface(_)) => Some(Family::Ipv6Unicast),
        Whereabouts::Prefix(family) => Some(family),
    };
    if let (Some(local), Some(family)) = (&settings.local_address, family)
        && Family::of(local.value) != family
    {
        let message = format!("{} is not of the family of the peer's address", local.value);
        report.error(&local.place, message, "the two ends of a session are of one family; write another");
    }
    let waits = match whereabouts {
        Whereabouts::Prefix(_) => Some(place),
        Whereabouts::Address(_) => settings.passive.as_ref().filter(|p| p.value).map(|p| &p.place),
    };
    if let (Some(place), Some(family)) = (waits, family)
        && !context.router.listen.iter().any(|socket| Family::of(socket.ip()) == family)
    {
        let wildcard = if family == Family::Ipv4Unicast { "0.0.0.0:179" } else { "[::]:179" };
        report.error(
            place,
            format!(
                "we only wait here, and router.listen has no {} socket",
                if family == Family::Ipv4Unicast { "IPv4" } else { "IPv6" }
            ),
            format!("add \"{wildcard}\" to router.listen"),
        );
    }
}

/// Roles are for eBGP.
fn check_role(settings: &Settings, context: &Context<'_>) {
    let internal = match settings.asn.as_ref().map(|asn| asn.value) {
        Some(PeerAsn::Exact(asn)) => is_ours(asn, settings, context.router),
        Some(PeerAsn::Internal) => true,
        Some(PeerAsn::External | PeerAsn::Any) | None => false,
    };
    if let Some(role) = settings.role.as_ref().filter(|_| internal) {
        context.report.error(
            &role.place,
            "the peer is of our own AS, and roles are for eBGP (RFC 9234)",
            "remove role",
        );
    }
}

/// What is never negotiated is never learned.
fn check_learn(settings: &Settings, report: &Report) {
    let (Some(learn), Some(families)) = (&settings.learn, settings.families) else { return };
    let Learn::Prefixes(all) = &learn.value else { return };
    for prefix in all.iter().filter(|prefix| !families.contains(prefix.family())) {
        let family = prefix.family();
        report.warn(
            &learn.place,
            format!("nothing inside {prefix} is ever learned: the peer has no {family}"),
            format!("add {family} to families, or remove the prefix"),
        );
    }
}

/// What is not kept cannot be counted.
fn check_prefix_limit(settings: &Settings, report: &Report) {
    let Some(limit) = &settings.prefix_limit else { return };
    let Some(value) = limit.value else { return };
    if settings.receive == Some(Receive::None) {
        report.error(
            &limit.place,
            "with receive: none prefixes are not told apart, and a limit cannot be held",
            "write receive: count, or remove prefixLimit",
        );
    }
    for (family, most) in value.most.iter() {
        let kept = *settings.max_prefixes.get(family);
        if let (Some(most), Some(kept)) = (*most, kept)
            && kept < most
        {
            report.error(
                &limit.place,
                format!("maxPrefixes keeps {kept} of {family}, and {most} could never be counted"),
                "raise maxPrefixes, or remove it: a family with a limit keeps as many as that",
            );
        }
    }
}

fn check_timers(settings: &Settings, report: &Report) {
    let Some(keepalive) = &settings.keepalive else { return };
    let hold = settings.hold.as_ref().map_or(HoldTime::DEFAULT, |hold| hold.value);
    let Some(hold) = hold.duration() else {
        report.error(
            &keepalive.place,
            "a hold time of 0 means no keepalives (RFC 4271 §4.4)",
            "remove keepalive, or give hold a time",
        );
        return;
    };
    let third = (hold / 3).max(Duration::from_secs(1));
    if keepalive.value > hold {
        report.error(
            &keepalive.place,
            format!(
                "{:?} is longer than the hold time, {hold:?}: the session would never last",
                keepalive.value
            ),
            format!("write {third:?} or less, or a longer hold"),
        );
    } else if keepalive.value > third {
        report.warn(
            &keepalive.place,
            format!("{:?} is more than a third of the hold time, {hold:?}", keepalive.value),
            format!("{third:?} is used (RFC 4271 §4.4); write that or less"),
        );
    }
}

fn check_next_hops(settings: &Settings, whereabouts: Whereabouts<'_>, report: &Report) {
    let own = [
        (Family::Ipv4Unicast, settings.next_hop_ipv4.as_ref().map(|n| (IpAddr::from(n.value), &n.place))),
        (Family::Ipv6Unicast, settings.next_hop_ipv6.as_ref().map(|n| (IpAddr::from(n.value), &n.place))),
    ];
    let loopback = "legal, but only a peer on this very host can send there";
    for (family, next_hop) in own {
        let Some((address, place)) = next_hop else { continue };
        if settings.families.is_some_and(|families| !families.contains(family)) {
            report.warn(place, format!("{family} is not among the families"), "remove it, or add the family");
        }
        if address.is_loopback() {
            report.warn(place, format!("the next hop {address} is a loopback address"), loopback);
        }
        if let IpAddr::V6(v6) = address
            && v6.is_unicast_link_local()
            && !is_link_local_peer(whereabouts)
        {
            report.error(
                place,
                format!("{v6} is link-local, and the peer is not"),
                "write a global address (RFC 2545 §3)",
            );
        }
    }
    if let Some(local) = &settings.local_address
        && local.value.is_loopback()
        && own.iter().any(|(family, next_hop)| *family == Family::of(local.value) && next_hop.is_none())
    {
        let message = format!("{} is a loopback address, and becomes the next hop", local.value);
        report.warn(&local.place, message, format!("{loopback}; set nextHop"));
    }
}

fn is_link_local_peer(whereabouts: Whereabouts<'_>) -> bool {
    match whereabouts {
        Whereabouts::Address(PeerAddress::Address { address, .. }) => is_link_local(*address),
        Whereabouts::Address(PeerAddress::Interface(_)) => true,
        Whereabouts::Prefix(_) => false,
    }
}

/// What the place of a single peer rules out.
pub(super) fn check_address(address: &Spanned<PeerAddress>, settings: &Settings, context: &Context<'_>) {
    let report = context.report;
    if is_link_local_peer(Whereabouts::Address(&address.value)) {
        check_link_local(settings, report);
    }
    let peer = match &address.value {
        PeerAddress::Address { address, .. } => *address,
        PeerAddress::Interface(interface) => return check_interface(interface, address, settings, report),
    };
    let port = settings.port.unwrap_or(179);
    let local = settings.local_address.as_ref();
    // Several daemons share a loopback address in any laboratory.
    if let Some(local) = local.filter(|local| local.value == peer && !peer.is_loopback()) {
        report.warn(
            &local.place,
            format!(
                "{peer} is the peer's own address, and only another daemon on this very host can be there"
            ),
            "write an address of this host, or remove localAddress",
        );
    }
    if context.router.listen.contains(&SocketAddr::new(peer, port)) {
        report.error(
            &address.place,
            format!("{peer} port {port} is this speaker itself (router.listen)"),
            "write the peer's address",
        );
    } else if peer.is_loopback() && local.is_none() && !has_next_hop(settings, Family::of(peer)) {
        report.warn(
            &address.place,
            "the session's local address, a loopback address, becomes the next hop",
            "legal, but only a peer on this very host can send there; set nextHop",
        );
    }
}

/// What makes no sense towards whoever is on the same link.
fn check_link_local(settings: &Settings, report: &Report) {
    let Some(ttl) = &settings.ttl else { return };
    let behind = "a link-local peer is never behind a hop";
    match ttl.value {
        Ttl::Multihop(_) => report.error(&ttl.place, behind, "remove multihop"),
        Ttl::Security(hops) if hops > 1 => report.error(&ttl.place, behind, "write ttlSecurity: {hops: 1}"),
        Ttl::Security(_) | Ttl::Direct => {}
    }
}

/// What an unnumbered peer's place says already.
fn check_interface(interface: &str, address: &Spanned<PeerAddress>, settings: &Settings, report: &Report) {
    if let Some(other) = settings.source_interface.as_ref().filter(|other| *other != interface) {
        report.warn(
            &address.place,
            format!("the session is on {interface}, so that sourceInterface {other} does nothing"),
            "remove sourceInterface here",
        );
    }
    if let Some(local) = settings.local_address.as_ref().filter(|local| !is_link_local(local.value)) {
        report.error(
            &local.place,
            format!("{} is not link-local, and the peer of an interface is", local.value),
            format!("remove it: the link-local address of {interface} serves"),
        );
    }
}

fn has_next_hop(settings: &Settings, family: Family) -> bool {
    match family {
        Family::Ipv4Unicast => settings.next_hop_ipv4.is_some(),
        Family::Ipv6Unicast => settings.next_hop_ipv6.is_some(),
    }
}

fn is_ours(asn: Asn, settings: &Settings, router: &Router) -> bool {
    settings.local_asn.or(router.asn) == Some(asn)
}

/// Names and addresses that stand twice.
pub(in crate::speaker) fn check_unique(
    peers: &[Spanned<Peer>],
    dynamic: &[Spanned<DynamicPeer>],
    context: &Context<'_>,
) {
    let report = context.report;
    let names = peers.iter().map(|peer| (&peer.value.name, &peer.place));
    let names = names.chain(dynamic.iter().map(|peer| (&peer.value.name, &peer.place)));
    let mut seen = BTreeMap::new();
    for (name, place) in names {
        if name == "all" {
            report.error(place, "`speaker clear all` means every peer", "give the peer another name");
        }
        if let Some(line) = seen.insert(name, place.at.line) {
            let message = format!("a peer named {name} stands in line {line}");
            report.error(place, message, "give each peer a name of its own");
        }
    }
    for (index, peer) in peers.iter().enumerate() {
        let twin =
            peers.iter().take(index).find(|other| same_place(&peer.value, &other.value, context.router));
        if let Some(twin) = twin {
            let what = match (&peer.value.address, &twin.value.address) {
                (PeerAddress::Address { .. }, PeerAddress::Address { .. }) => "has the same address",
                _ => "is on the same interface",
            };
            report.error(
                &peer.place.parent(),
                format!("{} {what} (line {})", twin.value.name, twin.place.at.line),
                "remove one, or give both a nodeSelector so that no node has the two",
            );
        }
    }
    for (index, peer) in dynamic.iter().enumerate() {
        if let Some(twin) = dynamic.iter().take(index).find(|other| other.value.prefix == peer.value.prefix) {
            let message = format!("{} has the same prefix", twin.value.name);
            report.error(&peer.place.parent(), message, "remove one");
        }
    }
}

/// Whether two peers on one node would be the same neighbor. With a listener a connection is told by its
/// address alone; where we only dial, the port tells them apart too.
fn same_place(one: &Peer, other: &Peer, router: &Router) -> bool {
    let ports = one.settings.port == other.settings.port || !router.listen.is_empty();
    let selectors = (&one.settings.node_selector, &other.settings.node_selector);
    let nodes = match selectors {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let by_interface = [one, other].iter().any(|peer| matches!(peer.address, PeerAddress::Interface(_)));
    one.address.may_be(&other.address) && (ports || by_interface) && nodes
}
