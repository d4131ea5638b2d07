//! What the kernel knows of this host: its addresses, its default routes, and when they move.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bgp_proto::types::{Family, FamilyMap, Prefix};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, State};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::sys::AsyncSocket as _;
use rtnetlink::{MulticastGroup, RouteMessageBuilder};
use speaker_core::datapath::PROTOCOL;

use crate::io::netlink;

use super::{EgressLookup, flags, own_address, usable};

/// Moves that come so close together are one: a routing daemon writes its routes by the thousand.
const TOGETHER: Duration = Duration::from_secs(1);

/// What this host has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostAddresses {
    /// Every address of every interface, with its subnet.
    pub own: Vec<(IpAddr, Prefix)>,
    /// Next hops of the default routes.
    pub gateways: Vec<IpAddr>,
    /// The next hop of the default route with the lowest metric whose interface is up, a family each.
    pub default_gateways: FamilyMap<Option<IpAddr>>,
    /// Addresses of the interfaces that are up, by name.
    pub interfaces: BTreeMap<String, Vec<IpAddr>>,
}

impl EgressLookup {
    /// The node's own addresses and default gateways.
    ///
    /// # Errors
    /// The kernel's words.
    pub async fn host(&self) -> Result<HostAddresses, String> {
        self.try_host().await.map_err(|error| format!("reading the node's addresses: {error}"))
    }

    async fn try_host(&self) -> Result<HostAddresses, rtnetlink::Error> {
        let mut host = HostAddresses::default();
        let _dump = self.dump.lock().await;
        let mut up: BTreeMap<u32, String> = BTreeMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            up.extend(name_if_up(&link).map(|name| (link.header.index, name)));
        }
        host.interfaces = up.values().map(|name| (name.clone(), Vec::new())).collect();
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await? {
            let Some(addr) = own_address(&message) else { continue };
            if let Ok(subnet) = Prefix::new(addr, message.header.prefix_len) {
                host.own.push((addr, subnet));
            }
            let interface = up.get(&message.header.index).filter(|_| usable(flags(&message)));
            if let Some(all) = interface.and_then(|name| host.interfaces.get_mut(name)) {
                all.push(addr);
            }
        }
        let queries =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        let mut lowest: FamilyMap<Option<(u32, IpAddr)>> = FamilyMap::default();
        for query in queries {
            let mut routes = self.handle.route().get(query).execute();
            while let Some(route) = routes.try_next().await? {
                // What peers told us is no answer to the question of who is to be a peer.
                let learned = u8::from(route.header.protocol) == PROTOCOL;
                if route.header.destination_prefix_length == 0
                    && route.header.kind == RouteType::Unicast
                    && !learned
                {
                    let hops = hops(&route);
                    host.gateways.extend(hops.iter().map(|(gateway, _)| *gateway));
                    let in_force =
                        hops.iter().find(|(_, interface)| interface.is_none_or(|i| up.contains_key(&i)));
                    if let (Some((gateway, _)), RouteHeader::RT_TABLE_MAIN) = (in_force, route.header.table) {
                        let found = lowest.get_mut(Family::of(*gateway));
                        let metric = metric(&route);
                        if found.is_none_or(|(best, _)| metric < best) {
                            *found = Some((metric, *gateway));
                        }
                    }
                }
            }
        }
        host.default_gateways = FamilyMap::from_fn(|family| lowest.get(family).map(|(_, gateway)| gateway));
        host.own.sort_unstable();
        host.own.dedup();
        host.gateways.sort_unstable();
        host.gateways.dedup();
        host.interfaces.values_mut().for_each(|all| all.sort_unstable());
        Ok(host)
    }
}

/// The name of an interface that is switched on and, as far as its driver knows, has a carrier.
fn name_if_up(link: &LinkMessage) -> Option<String> {
    let state = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::OperState(state) => Some(*state),
        _ => None,
    });
    let up =
        link.header.flags.contains(LinkFlags::Up) && matches!(state, None | Some(State::Up | State::Unknown));
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    name.filter(|_| up)
}

/// The metric of a route; without one the kernel takes it for 0.
fn metric(route: &RouteMessage) -> u32 {
    let metric = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metric.unwrap_or_default()
}

/// The routers of a route with their interfaces, those of a multipath route too.
fn hops(route: &RouteMessage) -> Vec<(IpAddr, Option<u32>)> {
    fn of(attributes: &[RouteAttribute]) -> Option<IpAddr> {
        attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        })
    }
    let interface = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let mut found: Vec<(IpAddr, Option<u32>)> =
        of(&route.attributes).map(|gateway| (gateway, interface)).into_iter().collect();
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            found.extend(
                hops.iter().filter_map(|hop| Some((of(&hop.attributes)?, Some(hop.interface_index)))),
            );
        }
    }
    found
}

/// Tells when links, addresses or routes of this host move.
pub struct Moves(Box<dyn Stream<Item = ()> + Send + Unpin>);

impl std::fmt::Debug for Moves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Moves")
    }
}

impl Moves {
    /// Listens to the kernel; call inside the runtime.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open() -> std::io::Result<Self> {
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        netlink::without_learned(connection.socket_mut().socket_ref())?;
        tokio::spawn(connection);
        let moves = messages.filter_map(|(message, _)| std::future::ready(moved(&message.payload)));
        Ok(Self(Box::new(moves)))
    }

    /// Returns once something has moved and a second has gone by; `None` at the end of the socket.
    pub async fn next(&mut self) -> Option<()> {
        self.0.next().await?;
        let rest = async { while self.0.next().await.is_some() {} };
        // Its end is the usual case.
        drop(tokio::time::timeout(TOGETHER, rest).await);
        Some(())
    }
}

/// Learned routes are nothing that this host has: there may be a million, and they come and go.
fn moved(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<()> {
    match payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
        ) if u8::from(route.header.protocol) == PROTOCOL => None,
        _ => Some(()),
    }
}
