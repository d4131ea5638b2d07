//! The listening sockets. Who is behind an address is the hub's to know; here keys are on a socket before
//! it listens, and a port that is taken is a state and no failure.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::{Family, Prefix, Timestamp};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::keys::Keys;
use super::sockopt;
use super::tcp::{self, words};

/// A connection that somebody dialled.
#[derive(Debug)]
pub struct Incoming {
    /// The connection.
    pub stream: TcpStream,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The interface that a link-local one is on.
    pub interface: Option<String>,
}

impl Incoming {
    /// A connection with its ends.
    #[must_use]
    pub fn new(stream: TcpStream, local: SocketAddr, remote: SocketAddr) -> Self {
        let interface = match remote {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => interface_name(v6.scope_id()),
            SocketAddr::V6(_) | SocketAddr::V4(_) => None,
        };
        Self { stream, local, remote, interface }
    }
}

fn interface_name(index: u32) -> Option<String> {
    nix::net::if_::if_indextoname(index).ok()?.into_string().ok()
}

/// Keys of the listeners: who dials from `prefix` must sign. Of several the longest prefix counts.
/// The kernel knows no zones: two peers with the same link-local address on two links share one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenKey {
    /// From where; a peer's host prefix, or a dynamic peer's.
    pub prefix: Prefix,
    /// The keys; absent refuses every connection from `prefix` (a peer whose secret is missing).
    pub keys: Option<Keys>,
}

/// What a listener tells.
#[derive(Debug)]
pub enum ListenEvent {
    /// A connection. Give it to its peer, or to [`RefusalLog::refuse`].
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
    /// Prefixes whose key could not be set, with the reason: nobody from there is let in.
    pub refused: BTreeMap<Prefix, String>,
}

/// The listeners. Dropping it closes them.
#[derive(Debug)]
pub struct ListenHandle {
    sockets: BTreeMap<SocketAddr, JoinHandle<()>>,
    keys: watch::Sender<Option<Arc<[ListenKey]>>>,
    events: mpsc::Sender<ListenEvent>,
}

/// Starts to listen on `addresses`, each on a socket of its own. No socket listens before the first call
/// of [`ListenHandle::set_keys`].
#[must_use]
pub fn spawn(addresses: &[SocketAddr], events: mpsc::Sender<ListenEvent>) -> ListenHandle {
    let mut handle = ListenHandle { sockets: BTreeMap::new(), keys: watch::Sender::new(None), events };
    handle.set_addresses(addresses);
    handle
}

impl ListenHandle {
    /// The keys of all peers, instead of those before. Call it before a peer's task is started.
    pub fn set_keys(&self, keys: Vec<ListenKey>) {
        self.keys.send_replace(Some(keys.into()));
    }

    /// The addresses of `router.listen`, instead of those before.
    pub fn set_addresses(&mut self, addresses: &[SocketAddr]) {
        self.sockets.retain(|address, task| {
            let wanted = addresses.contains(address);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for address in addresses {
            self.sockets.entry(*address).or_insert_with(|| {
                let keys = self.keys.subscribe();
                tokio::spawn(run(Listener::new(*address, keys, self.events.clone())))
            });
        }
    }
}

impl Drop for ListenHandle {
    fn drop(&mut self) {
        self.sockets.values().for_each(JoinHandle::abort);
    }
}

/// Closes connections of strangers and says so, but not as often as they come.
#[derive(Debug, Default)]
pub struct RefusalLog {
    last: Option<Timestamp>,
    silent: u64,
}

impl RefusalLog {
    const INTERVAL: Duration = Duration::from_secs(10);

    /// Closes `incoming` because of `why`; at most one line every ten seconds, with the number of those
    /// that had none.
    pub fn refuse(&mut self, now: Timestamp, incoming: Incoming, why: &str) {
        let (local, remote) = (incoming.local, incoming.remote);
        drop(incoming);
        match self.count(now) {
            Some(0) => warn!(%remote, %local, "refused a connection: {why}"),
            Some(others) => warn!(%remote, %local, "refused a connection: {why} ({others} more before)"),
            None => {}
        }
    }

    /// How many were passed over in silence, where it is time for a line.
    fn count(&mut self, now: Timestamp) -> Option<u64> {
        if self.last.is_some_and(|last| now.since(last) < Self::INTERVAL) {
            self.silent += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

struct Listener {
    status: ListenStatus,
    keys: watch::Receiver<Option<Arc<[ListenKey]>>>,
    events: mpsc::Sender<ListenEvent>,
    /// Keys that are on the socket.
    applied: BTreeMap<Prefix, Keys>,
}

/// How long to wait before a port that is taken is tried again.
const RETRY: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

async fn run(mut listener: Listener) {
    let mut failures = 0;
    loop {
        let Some(result) = listener.open().await else { return };
        match result {
            Ok(socket) => {
                failures = 0;
                let Some(error) = listener.serve(&socket).await else { return };
                warn!(address = %listener.status.wanted, "listening ended: {}", words(&error));
                listener.set_bound(Err(words(&error))).await;
            }
            Err(text) => {
                if listener.status.bound.as_ref() != Err(&text) {
                    error!(address = %listener.status.wanted, "cannot listen, will try again: {text}");
                    listener.set_bound(Err(text)).await;
                }
            }
        }
        let wait = RETRY.get(failures).or(RETRY.last()).copied().unwrap_or_default();
        failures += 1;
        tokio::time::sleep(wait).await;
    }
}

impl Listener {
    fn new(
        wanted: SocketAddr,
        keys: watch::Receiver<Option<Arc<[ListenKey]>>>,
        events: mpsc::Sender<ListenEvent>,
    ) -> Self {
        let bound = Err("not tried yet".to_owned());
        let status = ListenStatus { wanted, bound, refused: BTreeMap::new() };
        Self { status, keys, events, applied: BTreeMap::new() }
    }

    async fn tell(&self) {
        // Without a hub there is nobody to tell, and the task ends with its next connection.
        let _ = self.events.send(ListenEvent::Status(self.status.clone())).await;
    }

    async fn set_bound(&mut self, bound: Result<SocketAddr, String>) {
        self.status.bound = bound;
        self.tell().await;
    }

    /// A listening socket with its keys; `None` where the hub is gone.
    async fn open(&mut self) -> Option<Result<TcpListener, String>> {
        self.keys.wait_for(Option::is_some).await.ok()?;
        let address = self.status.wanted;
        let fail = |what: &str, error: &io::Error| format!("{what}: {}", words(error));
        let socket = match bind(address) {
            Ok(socket) => socket,
            Err(error) => {
                return Some(Err(format!("{}{}", fail("binding", &error), advice(&error, address))));
            }
        };
        self.applied.clear();
        // "The key is on the listener before it accepts."
        self.apply_keys(&SockRef::from(&socket));
        if let Err(error) = sockopt::save_syn(socket.as_fd()) {
            return Some(Err(fail("keeping SYNs", &error)));
        }
        let listening = socket.listen(128).and_then(|()| TcpListener::from_std(socket.into()));
        let socket = match listening {
            Ok(socket) => socket,
            Err(error) => return Some(Err(fail("listening", &error))),
        };
        let bound = socket.local_addr().unwrap_or(address);
        info!(address = %bound, "listening for BGP");
        self.set_bound(Ok(bound)).await;
        Some(Ok(socket))
    }

    /// Accepts until the socket fails; `None` where the hub is gone.
    async fn serve(&mut self, socket: &TcpListener) -> Option<io::Error> {
        loop {
            tokio::select! {
                biased;
                changed = self.keys.changed() => {
                    changed.ok()?;
                    if self.apply_keys(&SockRef::from(socket)) {
                        drain(socket);
                    }
                    self.tell().await;
                }
                accepted = socket.accept() => match accepted {
                    Ok((stream, remote)) => self.hand_over(stream, remote).await?,
                    // A connection that ended in the queue, or no descriptor left: both pass.
                    Err(error) if transient(&error) => {
                        warn!(address = %self.status.wanted, "accepting: {}", words(&error));
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    Err(error) => return Some(error),
                },
            }
        }
    }

    async fn hand_over(&self, stream: TcpStream, remote: SocketAddr) -> Option<()> {
        let Ok(local) = stream.local_addr() else { return Some(()) };
        if let Some(reason) = self.refusal(remote.ip()) {
            error!(%remote, %local, "refused a connection, since it cannot be signed: {reason}");
            return Some(());
        }
        self.events.send(ListenEvent::Incoming(Incoming::new(stream, local, remote))).await.ok()
    }

    /// Why nobody from `addr` may come in, by the longest prefix that has a key or lacks one.
    fn refusal(&self, addr: IpAddr) -> Option<&str> {
        let keyed = self.applied.keys().filter(|prefix| prefix.contains(addr)).map(|prefix| prefix.len());
        let refused = self.status.refused.iter().filter(|(prefix, _)| prefix.contains(addr));
        let (prefix, reason) = refused.max_by_key(|(prefix, _)| prefix.len())?;
        (keyed.max() < Some(prefix.len())).then_some(reason.as_str())
    }

    /// Brings the socket's keys in line with those wanted; says whether any changed.
    fn apply_keys(&mut self, socket: &SockRef<'_>) -> bool {
        let wanted = self.keys.borrow_and_update().clone().unwrap_or_default();
        let family = Family::of(self.status.wanted.ip());
        let (keys, refused) = resolve(wanted.iter().filter(|key| key.prefix.family() == family));
        self.status.refused = refused;
        let gone: Vec<Prefix> =
            self.applied.keys().filter(|prefix| !keys.contains_key(prefix)).copied().collect();
        for prefix in &gone {
            let Some(keys) = self.applied.remove(prefix) else { continue };
            if let Err(error) = keys.remove(socket.as_fd(), *prefix) {
                warn!(%prefix, "removing a {} key: {}", keys.name(), words(&error));
            }
        }
        let mut changed = !gone.is_empty();
        for (prefix, key) in keys {
            if self.applied.get(&prefix) == Some(&key) {
                continue;
            }
            changed = true;
            let before = self.applied.remove(&prefix);
            match key.accept(socket.as_fd(), prefix, before.as_ref()) {
                Ok(()) => {
                    self.applied.insert(prefix, key);
                }
                Err(error) => {
                    let reason =
                        format!("the kernel does not take the {} key: {}", key.name(), words(&error));
                    error!(%prefix, address = %self.status.wanted, "{reason}");
                    self.status.refused.insert(prefix, reason);
                }
            }
        }
        changed
    }
}

/// The key of each prefix, and the prefixes without one.
fn resolve<'a>(
    wanted: impl Iterator<Item = &'a ListenKey>,
) -> (BTreeMap<Prefix, Keys>, BTreeMap<Prefix, String>) {
    let (mut keys, mut refused) = (BTreeMap::<Prefix, Keys>::new(), BTreeMap::new());
    for key in wanted {
        match &key.keys {
            None => {
                refused.insert(key.prefix, "its key is missing".to_owned());
            }
            Some(own) => {
                let other = keys.insert(key.prefix, own.clone());
                if other.is_some_and(|other| other != *own) {
                    let reason = "two peers with this address have different keys".to_owned();
                    refused.insert(key.prefix, reason);
                }
            }
        }
    }
    keys.retain(|prefix, _| !refused.contains_key(prefix));
    (keys, refused)
}

/// What to do about a port that we may not have.
fn advice(error: &io::Error, address: SocketAddr) -> &'static str {
    let refused = error.kind() == io::ErrorKind::PermissionDenied;
    if refused && address.port() < 1024 {
        "; a port below 1024 takes the capability NET_BIND_SERVICE: add it, with the chart by agent.lowPorts"
    } else {
        ""
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let v6 = address.is_ipv6();
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if v6 {
        socket.set_only_v6(true)?;
    }
    let options = SockRef::from(&socket);
    tcp::mark(&options, v6)?;
    // The SYN-ACK leaves before anybody knows the peer: one that insists on 255 (RFC 5082) must get it.
    tcp::set_ttl(&options, v6, 255)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Closes the connections in the queue, which were made before the keys in force now. Whoever was there
/// dials again.
fn drain(socket: &TcpListener) {
    while let Ok((stream, _)) = SockRef::from(socket).accept() {
        drop(stream);
    }
}

fn transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory)
        || matches!(
            error.raw_os_error(),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EPROTO | libc::EPERM)
        )
}

#[cfg(test)]
mod tests;
