//! BFD on the wire: one thread and one set of sockets for all sessions of the process.
//!
//! The thread is not the runtime's: a runtime that is busy with a table must not look to a router like a node
//! that has died. It moves datagrams; what they mean is [`bgp_proto::bfd`]'s.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bgp_proto::bfd::{Change, Config, Discard, SessionView};
use tokio::sync::oneshot;

use super::clock::Clock;

mod budget;
mod priority;
mod sockets;
mod thread;
mod whereabouts;

/// How far the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On the link (RFC 5881).
    Link,
    /// Behind routers (RFC 5883); the least TTL that is taken.
    Routed {
        /// 0 takes any.
        least_ttl: u8,
    },
    /// On the link where an interface has an address in the same subnet, else behind routers.
    Unknown,
}

/// What a session is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Who asks: a second session of the same owner on a path takes the first one's place.
    pub owner: Arc<str>,
    /// The peer.
    pub remote: IpAddr,
    /// The interface of a link-local peer.
    pub zone: Option<String>,
    /// How far.
    pub reach: Reach,
    /// Our address; the kernel's choice where absent.
    pub local: Option<IpAddr>,
    /// Take our address from this interface.
    pub source_interface: Option<String>,
    /// Intervals.
    pub config: Config,
}

/// What happens to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its state has changed.
    Changed(Change),
    /// The peer has begun to say AdminDown.
    NeighborAdminDown,
    /// It cannot be opened; it is tried again every second. Not said twice.
    NotOpen(String),
}

/// What operators see of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The session; `None` where there is none, for `error`.
    pub session: Option<SessionView>,
    /// Several hops (RFC 5883).
    pub multihop: bool,
    /// Our UDP port.
    pub port: Option<u16>,
    /// Why there is no session yet, or why its last packet could not be sent.
    pub error: Option<String>,
}

type Listener = Box<dyn Fn(Event) + Send>;

enum Order {
    Open { token: u64, spec: Box<Spec>, listener: Listener, view: Arc<Mutex<View>> },
    Configure(u64, Config),
    Disable(u64, oneshot::Sender<()>),
    Enable(u64),
    Retire(u64),
    Finish(oneshot::Sender<()>),
}

/// BFD of this process. Clones share the thread, which starts with the first session and ends with the last
/// clone.
#[derive(Clone)]
pub struct Bfd(Arc<Shared>);

struct Shared {
    clock: Clock,
    tokens: AtomicU64,
    thread: Mutex<Option<Line>>,
    discarded: Arc<Mutex<BTreeMap<Discard, u64>>>,
}

/// The way to the thread: what is wanted, and an octet that wakes it.
struct Line {
    orders: Sender<Order>,
    bell: UnixStream,
}

impl fmt::Debug for Bfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bfd").finish_non_exhaustive()
    }
}

/// A session, or the wish for one. Dropping it ends the session with AdminDown.
pub struct Session {
    bfd: Bfd,
    token: u64,
    view: Arc<Mutex<View>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("token", &self.token).finish_non_exhaustive()
    }
}

impl Bfd {
    /// Without a thread as long as nobody asks for a session.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            tokens: AtomicU64::new(0),
            thread: Mutex::new(None),
            discarded: Arc::default(),
        }))
    }

    /// A session. `listener` is called in the thread for every change, in order; it must not wait for
    /// anything, not even to write a log.
    pub fn open(&self, spec: Spec, listener: impl Fn(Event) + Send + 'static) -> Session {
        let token = self.0.tokens.fetch_add(1, Ordering::Relaxed);
        let view: Arc<Mutex<View>> = Arc::default();
        self.send(Order::Open {
            token,
            spec: Box::new(spec),
            listener: Box::new(listener),
            view: Arc::clone(&view),
        });
        Session { bfd: self.clone(), token, view }
    }

    /// How many datagrams were discarded in this process, and why.
    #[must_use]
    pub fn discarded(&self) -> BTreeMap<Discard, u64> {
        self.0.discarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until every session that was dropped has said farewell.
    pub async fn finish(&self) {
        if self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return;
        }
        let (done, finished) = oneshot::channel();
        self.send(Order::Finish(done));
        // A thread that is gone has no session left.
        let _ = finished.await;
    }

    fn send(&self, order: Order) {
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let order = match &mut *thread {
            Some(line) => match line.send(order) {
                Ok(()) => return,
                Err(order) => order,
            },
            None => order,
        };
        // Only who opens a session needs a thread; to the others there is nothing left to do.
        let Order::Open { view, .. } = &order else { return };
        match self.start() {
            Ok(mut line) => {
                drop(line.send(order));
                *thread = Some(line);
            }
            Err(error) => {
                tracing::error!("there is no BFD: its thread does not start: {error}");
                lock(view).error = Some(format!("its thread does not start: {error}"));
            }
        }
    }

    fn start(&self) -> std::io::Result<Line> {
        let (orders, inbox) = channel();
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let (clock, discarded) = (self.0.clock, Arc::clone(&self.0.discarded));
        std::thread::Builder::new()
            .name("bfd".to_owned())
            .spawn(move || thread::run(clock, &inbox, &ear, &discarded))?;
        Ok(Line { orders, bell })
    }
}

impl Line {
    /// Gives the order back where the thread is gone.
    fn send(&mut self, order: Order) -> Result<(), Order> {
        self.orders.send(order).map_err(|failed| failed.0)?;
        // A full pipe has woken it already.
        let _ = self.bell.write(&[1]);
        Ok(())
    }
}

impl Session {
    /// New intervals, agreed on with the peer by a Poll Sequence.
    pub fn configure(&self, config: Config) {
        self.bfd.send(Order::Configure(self.token, config));
    }

    /// AdminDown. The answer comes when the peer was told, in so far as the packet has left.
    pub fn disable(&self) -> oneshot::Receiver<()> {
        let (told, answer) = oneshot::channel();
        self.bfd.send(Order::Disable(self.token, told));
        answer
    }

    /// Out of AdminDown.
    pub fn enable(&self) {
        self.bfd.send(Order::Enable(self.token));
    }

    /// What operators see.
    #[must_use]
    pub fn view(&self) -> View {
        lock(&self.view).clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.bfd.send(Order::Retire(self.token));
    }
}

/// Whoever panicked with a view in hand left nothing half done in it.
fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
