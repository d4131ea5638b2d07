//! The kernel's main table, as far as routes of our protocol go, and what next hops depend on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{Family, Prefix};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::{Handle, RouteMessageBuilder, RouteNextHopBuilder};
use speaker_core::datapath::PROTOCOL;
use speaker_core::learn::{Attached, FibOp, Found, Hop, METRIC, Surroundings};

use crate::io::egress::own_addresses;

/// RT_TABLE_MAIN.
const MAIN: u32 = 254;

/// Who makes routes to networks that a host is attached to: the kernel, people (boot, static), router advertisements,
/// DHCP clients. By name, so that the kernel does not tell of a million others.
const MAKERS: [u8; 5] = [2, 3, 4, 9, 16];

/// Connections for questions and changes.
#[derive(Debug, Clone)]
pub(super) struct Table {
    handle: Handle,
    /// Dumps are filtered by the kernel on this one (NETLINK_GET_STRICT_CHK).
    strict: Handle,
}

impl Table {
    /// Opens them, and the tasks that serve them; call inside the runtime.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let (connection, strict, _) = rtnetlink::new_connection_with_strict_check()?;
        tokio::spawn(connection);
        Ok(Self { handle, strict })
    }

    /// Every route of ours in the main table.
    pub(super) async fn found(&self) -> Result<Vec<Found>, String> {
        let mut all = Vec::new();
        for query in queries(PROTOCOL) {
            let routes = self.strict.route().get(query).execute();
            let mut routes = std::pin::pin!(routes);
            while let Some(route) = routes.next().await {
                let route = route.map_err(|error| format!("reading the learned routes: {error}"))?;
                // A kernel before 4.20 does not filter.
                if is_ours(&route)
                    && let Some(found) = read(&route)
                {
                    all.push(found);
                }
            }
        }
        Ok(all)
    }

    /// What this host is attached to.
    pub(super) async fn surroundings(&self) -> Result<Surroundings, String> {
        self.try_surroundings()
            .await
            .map_err(|error| format!("reading what this host is attached to: {error}"))
    }

    async fn try_surroundings(&self) -> Result<Surroundings, rtnetlink::Error> {
        let mut around = Surroundings::default();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            let flags = link.header.flags;
            let name = link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            if flags.contains(LinkFlags::Up | LinkFlags::LowerUp) && !flags.contains(LinkFlags::Loopback) {
                around.interfaces.extend(name.map(|name| (link.header.index, name)));
            }
        }
        around.own = own_addresses(&self.handle).await?;
        for query in MAKERS.into_iter().flat_map(queries) {
            let mut routes = self.strict.route().get(query).execute();
            while let Some(route) = routes.try_next().await? {
                let network = attached(&route).filter(|one| around.interfaces.contains_key(&one.interface));
                around.attached.extend(network);
            }
        }
        Ok(around)
    }

    /// Does all of it at once; none depends on another. Gives back each with what came of it.
    pub(super) async fn apply(&self, ops: Vec<FibOp>) -> Vec<(FibOp, Result<(), String>)> {
        let all = ops.into_iter().map(|op| async {
            let result = self.one(&op).await;
            (op, result)
        });
        join_all(all).await
    }

    async fn one(&self, op: &FibOp) -> Result<(), String> {
        let routes = self.handle.route();
        let (result, removes) = match op {
            FibOp::Add(prefix, hops) => (routes.add(message(*prefix, hops)?).execute().await, false),
            FibOp::Replace(prefix, hops) => {
                (routes.add(message(*prefix, hops)?).replace().execute().await, false)
            }
            FibOp::Delete(prefix, metric) => (routes.del(deletion(*prefix, *metric)).execute().await, true),
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => judge(&error, removes),
        }
    }
}

/// The learned routes in the kernel, for `--cleanup`.
pub(crate) async fn found() -> Result<Vec<Found>, String> {
    Table::open().map_err(|error| format!("no netlink socket: {error}"))?.found().await
}

/// Removes them; gives back what is still there, in words.
pub(crate) async fn remove(found: &[Found]) -> Result<(), String> {
    let table = Table::open().map_err(|error| format!("no netlink socket: {error}"))?;
    for (op, result) in table.apply(speaker_core::learn::Fib::clear(found)).await {
        result.map_err(|error| format!("route delete {}: {error}", op.prefix()))?;
    }
    Ok(())
}

fn judge(error: &rtnetlink::Error, removes: bool) -> Result<(), String> {
    let rtnetlink::Error::NetlinkError(message) = error else { return Err(error.to_string()) };
    if message.code.is_none() {
        return Ok(());
    }
    let error = message.to_io();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) if removes => Ok(()),
        Some(libc::EEXIST) => Err(format!(
            "somebody else has a route to it with metric {METRIC}, which is left alone; remove it or give it another metric"
        )),
        _ => Err(error.to_string()),
    }
}

/// Questions for the unicast routes of a protocol in the main table, of both families.
fn queries(protocol: u8) -> [RouteMessage; 2] {
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

fn message(prefix: Prefix, hops: &[Hop]) -> Result<RouteMessage, String> {
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
fn deletion(prefix: Prefix, metric: u32) -> RouteMessage {
    let mut message = blank(prefix, metric);
    message.header.scope = RouteScope::NoWhere;
    message
}
