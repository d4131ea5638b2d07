//! From the kernel's messages to what the plan reads.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{Family, Prefix};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};
use speaker_core::datapath::{
    Device, KernelRoute, KernelRule, KernelState, LOCAL_TABLE, PROTOCOL, RouteKey, RouteKind, RuleShape,
    TABLE,
};

/// FRA_SUPPRESS_PREFIXLEN of a rule that suppresses nothing.
const SUPPRESS_NOTHING: u32 = u32::MAX;

type Devices = BTreeMap<u32, Device>;

pub(super) async fn read(handle: &Handle) -> Result<KernelState, rtnetlink::Error> {
    let devices = devices(handle).await?;
    let mut state = KernelState::default();
    for version in [IpVersion::V4, IpVersion::V6] {
        let mut rules = handle.rule().get(version).execute();
        while let Some(message) = rules.try_next().await? {
            state.rules.extend(rule(&message));
        }
    }
    let queries =
        [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
    for query in queries {
        let mut routes = handle.route().get(query).execute();
        while let Some(message) = routes.try_next().await? {
            // What routers told us leads back to them: it guards nothing and spares nothing, and there may be a million.
            state.routes.extend(route(&message, &devices).filter(|one| !is_learned(one)));
        }
    }
    Ok(state)
}

fn is_learned(route: &KernelRoute) -> bool {
    route.protocol == PROTOCOL && !matches!(route.key.table, TABLE | LOCAL_TABLE)
}

async fn devices(handle: &Handle) -> Result<Devices, rtnetlink::Error> {
    let mut found = Devices::new();
    let mut links = handle.link().get().execute();
    while let Some(message) = links.try_next().await? {
        let name = message.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        let loopback = message.header.flags.contains(LinkFlags::Loopback);
        found.insert(message.header.index, Device { name: name.unwrap_or_default(), loopback });
    }
    Ok(found)
}

fn family(of: AddressFamily) -> Option<Family> {
    match of {
        AddressFamily::Inet => Some(Family::Ipv4Unicast),
        AddressFamily::Inet6 => Some(Family::Ipv6Unicast),
        _ => None,
    }
}

/// A route; `None` for one of another address family, and for IPv6's copies of routes in use.
pub(super) fn route(message: &RouteMessage, devices: &Devices) -> Option<KernelRoute> {
    let family = family(message.header.address_family)?;
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut addr = match family {
        Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut table, mut metric) = (u32::from(message.header.table), 0);
    let (mut gateway, mut device) = (false, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => addr = IpAddr::V4(*v4),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => addr = IpAddr::V6(*v6),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
                gateway = true;
            }
            RouteAttribute::Oif(index) => device = devices.get(index).cloned(),
            _ => {}
        }
    }
    let prefix = Prefix::new(addr, message.header.destination_prefix_length).ok()?;
    let kind = match message.header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        _ => RouteKind::Other,
    };
    let protocol = message.header.protocol.into();
    Some(KernelRoute { key: RouteKey { table, prefix, metric }, kind, protocol, gateway, device })
}

/// A rule; `None` for one of another address family.
fn rule(message: &RuleMessage) -> Option<KernelRule> {
    let header = &message.header;
    let (mut table, mut preference, mut protocol) = (u32::from(header.table), 0, 0);
    let (mut from_lo, mut selects) = (false, header.src_len > 0 || header.dst_len > 0 || header.tos > 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => preference = *number,
            RuleAttribute::Protocol(number) => protocol = (*number).into(),
            RuleAttribute::SuppressPrefixLen(SUPPRESS_NOTHING) => {}
            RuleAttribute::Iifname(name) if name == "lo" => from_lo = true,
            _ => selects = true,
        }
    }
    let inverted = header.flags.contains(RuleFlags::Invert);
    let shape = match (selects, from_lo, inverted) {
        (false, false, false) => RuleShape::Everything,
        (false, true, true) => RuleShape::NotLocal,
        _ => RuleShape::Other,
    };
    let table = (header.action == RuleAction::ToTable).then_some(table);
    Some(KernelRule { family: family(header.family)?, preference, table, protocol, shape })
}
