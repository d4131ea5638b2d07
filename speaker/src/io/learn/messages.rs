//! Between the kernel's messages and what is made of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{Family, Prefix};
use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::{RouteMessageBuilder, RouteNextHopBuilder};
use speaker_core::datapath::PROTOCOL;
use speaker_core::learn::{Attached, Found, Hop, METRIC};

/// RT_TABLE_MAIN.
const MAIN: u32 = 254;

pub(super) type Message = NetlinkMessage<RouteNetlinkMessage>;

/// A message to the kernel, ready to be written.
pub(super) fn numbered(payload: NetlinkPayload<RouteNetlinkMessage>, flags: u16, number: u32) -> Message {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = number;
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    message
}

/// Questions for the unicast routes of a protocol in the main table, of both families.
pub(super) fn queries(protocol: u8) -> [RouteMessage; 2] {
    let protocol = RouteProtocol::from(protocol);
    [
        RouteMessageBuilder::<Ipv4Addr>::new().table_id(MAIN).protocol(protocol).build(),
        RouteMessageBuilder::<Ipv6Addr>::new().table_id(MAIN).protocol(protocol).build(),
    ]
}

fn table(route: &RouteMessage) -> u32 {
    let named = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    named.unwrap_or(route.header.table.into())
}

/// Whether a route may be one of ours, as far as protocol and table say.
pub(super) fn is_ours(route: &RouteMessage) -> bool {
    u8::from(route.header.protocol) == PROTOCOL && table(route) == MAIN
}

fn destination(route: &RouteMessage) -> Option<Prefix> {
    let addr = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    let none = match route.header.address_family {
        rtnetlink::packet_route::AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        rtnetlink::packet_route::AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    Prefix::new(addr.unwrap_or(none), route.header.destination_prefix_length).ok()
}

/// A route as the kernel tells it.
pub(super) fn read(route: &RouteMessage) -> Option<Found> {
    let prefix = destination(route)?;
    let (mut metric, mut several) = (0, Vec::new());
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::MultiPath(hops) => {
                several.extend(hops.iter().filter_map(|hop| way(&hop.attributes, Some(hop.interface_index))));
            }
            _ => {}
        }
    }
    let mut hops: Vec<Hop> = way(&route.attributes, None).into_iter().chain(several).collect();
    if route.header.kind != RouteType::Unicast {
        hops.clear();
    }
    hops.sort_unstable();
    Some(Found { prefix, metric, hops })
}

fn way(attributes: &[RouteAttribute], interface: Option<u32>) -> Option<Hop> {
    let gateway = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
            Some(IpAddr::V4(*v4))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
            Some(IpAddr::V6(*v6))
        }
        _ => None,
    })?;
    let named = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    Some(Hop { gateway, interface: interface.or(named)? })
}

/// A network that the route says this host is attached to.
pub(super) fn attached(route: &RouteMessage) -> Option<Attached> {
    let plain = route.header.kind == RouteType::Unicast && table(route) == MAIN && !is_ours(route);
    let routed = route.attributes.iter().any(|attribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
        )
    });
    if !plain || routed {
        return None;
    }
    let interface = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })?;
    // A default route without a router, as tunnels have it, says nothing of who is on the link.
    destination(route).filter(|prefix| prefix.len() > 0).map(|prefix| Attached { prefix, interface })
}

pub(super) fn message(prefix: Prefix, hops: &[Hop]) -> Result<RouteMessage, String> {
    let mut message = blank(prefix, METRIC);
    message.header.kind = RouteType::Unicast;
    message.header.scope = RouteScope::Universe;
    if let [hop] = hops {
        message.attributes.push(gateway(prefix, hop.gateway));
        message.attributes.push(RouteAttribute::Oif(hop.interface));
        return Ok(message);
    }
    let all: Result<Vec<RouteNextHop>, String> = hops.iter().map(|hop| next_hop(prefix, *hop)).collect();
    message.attributes.push(RouteAttribute::MultiPath(all?));
    Ok(message)
}

/// An IPv6 router of an IPv4 destination has an attribute of its own (RFC 8950; `via inet6` of the `ip` command).
fn gateway(prefix: Prefix, gateway: IpAddr) -> RouteAttribute {
    match (prefix.family(), gateway) {
        (Family::Ipv4Unicast, IpAddr::V6(v6)) => RouteAttribute::Via(RouteVia::Inet6(v6)),
        (_, IpAddr::V6(v6)) => RouteAttribute::Gateway(RouteAddress::Inet6(v6)),
        (_, IpAddr::V4(v4)) => RouteAttribute::Gateway(RouteAddress::Inet(v4)),
    }
}

fn next_hop(prefix: Prefix, hop: Hop) -> Result<RouteNextHop, String> {
    let builder = match prefix.family() {
        Family::Ipv4Unicast => RouteNextHopBuilder::new_ipv4(),
        Family::Ipv6Unicast => RouteNextHopBuilder::new_ipv6(),
    };
    let built = builder.interface(hop.interface).via(hop.gateway).map_err(|error| error.to_string())?;
    Ok(built.build())
}

fn blank(prefix: Prefix, metric: u32) -> RouteMessage {
    let protocol = RouteProtocol::from(PROTOCOL);
    match prefix.addr() {
        IpAddr::V4(addr) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(addr, prefix.len())
            .table_id(MAIN)
            .priority(metric)
            .protocol(protocol)
            .build(),
        IpAddr::V6(addr) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(addr, prefix.len())
            .table_id(MAIN)
            .priority(metric)
            .protocol(protocol)
            .build(),
    }
}

/// Table, prefix, metric and protocol, with whatever next hops.
pub(super) fn deletion(prefix: Prefix, metric: u32) -> RouteMessage {
    let mut message = blank(prefix, metric);
    message.header.scope = RouteScope::NoWhere;
    message
}
