//! What the kernel knows of the way to a peer, asked by rtnetlink.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::RouteAttribute;
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::sync::Mutex;

mod host;

pub use host::{HostAddresses, Moves};

use super::sockopt;

/// Addresses that may stand as a next hop towards one peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EgressAddresses {
    /// The interface that leads to the peer.
    pub interface: Option<String>,
    /// Its global IPv4 addresses (no loopback, no link-local), the primary ones first.
    pub ipv4: Vec<Ipv4Addr>,
    /// Its global IPv6 addresses that are in use, the deprecated ones last.
    pub ipv6: Vec<Ipv6Addr>,
    /// Its link-local IPv6 address.
    pub link_local: Option<Ipv6Addr>,
}

/// Asks the kernel. Clones share one socket.
#[derive(Debug, Clone)]
pub struct EgressLookup {
    handle: Handle,
    /// Held over each dump: the kernel answers EBUSY to a second dump on a socket that has not been read to
    /// the end of the first, and sessions come up at the same moment.
    dump: Arc<Mutex<()>>,
}

impl EgressLookup {
    /// Opens the netlink socket and the task that serves it until the last clone is gone; call inside the
    /// runtime.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle, dump: Arc::default() })
    }

    /// Addresses on the interface that leads from `local` to `remote`. What cannot be found is empty.
    pub async fn towards(&self, local: SocketAddr, remote: SocketAddr) -> EgressAddresses {
        let interface = match remote {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(v6.scope_id()),
            _ => self.way(local.ip(), remote.ip()).await,
        };
        let Some(interface) = interface else { return EgressAddresses::default() };
        let mut found = self.addresses(interface).await.unwrap_or_else(|error| {
            tracing::warn!(interface, %error, "cannot read the addresses of the way to a peer");
            EgressAddresses::default()
        });
        found.interface = self.name(interface).await;
        found
    }

    /// The addresses of the interface called `name`.
    ///
    /// # Errors
    /// There is no such interface, or the kernel's words.
    pub async fn interface(&self, name: &str) -> Result<EgressAddresses, String> {
        let index = sockopt::interface_index(name).map_err(|_| format!("there is no interface {name}"))?;
        let mut found = self.addresses(index).await.map_err(|error| error.to_string())?;
        found.interface = Some(name.to_owned());
        Ok(found)
    }

    async fn way(&self, local: IpAddr, remote: IpAddr) -> Option<u32> {
        let query = match (local, remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(remote, 32)
                .source_prefix(local, 32)
                .build(),
            (IpAddr::V6(local), IpAddr::V6(remote)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(remote, 128)
                .source_prefix(local, 128)
                .build(),
            _ => return None,
        };
        let route = self.handle.route().get(query).execute().try_next().await.ok()??;
        let interface = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })?;
        Some(interface)
    }

    async fn addresses(&self, interface: u32) -> Result<EgressAddresses, rtnetlink::Error> {
        let _dump = self.dump.lock().await;
        let mut messages = self.handle.address().get().set_link_index_filter(interface).execute();
        let mut found = EgressAddresses::default();
        // The kernel lists primaries before their secondaries; among IPv6 addresses deprecated ones go last.
        let (mut secondary, mut deprecated) = (Vec::new(), Vec::new());
        while let Some(message) = messages.try_next().await? {
            let flags = flags(&message);
            match own_address(&message) {
                Some(IpAddr::V4(v4)) if message.header.scope == AddressScope::Universe => {
                    if flags.contains(AddressFlags::Secondary) { &mut secondary } else { &mut found.ipv4 }
                        .push(v4);
                }
                Some(IpAddr::V6(_)) if !usable(flags) => {}
                Some(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
                    found.link_local.get_or_insert(v6);
                }
                Some(IpAddr::V6(v6)) if message.header.scope == AddressScope::Universe => {
                    if flags.contains(AddressFlags::Deprecated) { &mut deprecated } else { &mut found.ipv6 }
                        .push(v6);
                }
                _ => {}
            }
        }
        found.ipv4.append(&mut secondary);
        found.ipv6.append(&mut deprecated);
        Ok(found)
    }

    async fn name(&self, interface: u32) -> Option<String> {
        let link = self.handle.link().get().match_index(interface).execute().try_next().await.ok()??;
        link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        })
    }
}

/// Every address of this host.
pub(crate) async fn own_addresses(handle: &Handle) -> Result<BTreeSet<IpAddr>, rtnetlink::Error> {
    let mut messages = handle.address().get().execute();
    let mut found = BTreeSet::new();
    while let Some(message) = messages.try_next().await? {
        found.extend(own_address(&message));
    }
    Ok(found)
}

/// An address that is being checked for duplicates, or is one, is nobody's yet.
fn usable(flags: AddressFlags) -> bool {
    let tentative = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    !tentative && !flags.contains(AddressFlags::Dadfailed)
}

fn flags(message: &AddressMessage) -> AddressFlags {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        })
        .unwrap_or(AddressFlags::empty())
}

/// IFA_LOCAL where there is one: on a point-to-point link IFA_ADDRESS is the other end.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(addr) => Some(*addr),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(addr) => Some(*addr),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_way_to_loopback_has_no_next_hop_to_offer() {
        let lookup = EgressLookup::open().unwrap();
        let way = lookup.towards("127.0.0.1:1790".parse().unwrap(), "127.0.0.2:179".parse().unwrap()).await;
        let expected = EgressAddresses { interface: Some("lo".to_owned()), ..EgressAddresses::default() };
        assert_eq!(way, expected);
    }

    #[tokio::test]
    async fn the_hosts_addresses_have_their_subnets() {
        let host = EgressLookup::open().unwrap().host().await.unwrap();
        let lo = ("127.0.0.1".parse().unwrap(), "127.0.0.0/8".parse().unwrap());
        assert!(host.own.contains(&lo), "{host:?}");
    }

    #[tokio::test]
    async fn questions_at_the_same_moment_are_all_answered() {
        let lookup = EgressLookup::open().unwrap();
        let asked = (0..32).map(|_| async { (lookup.interface("lo").await, lookup.host().await.is_ok()) });
        for (interface, host) in futures_util::future::join_all(asked).await {
            assert_eq!(interface.unwrap().interface.as_deref(), Some("lo"));
            assert!(host);
        }
    }

    #[tokio::test]
    async fn a_missing_interface_is_named() {
        let lookup = EgressLookup::open().unwrap();
        assert_eq!(lookup.interface("no-such-if").await.unwrap_err(), "there is no interface no-such-if");
    }
}
