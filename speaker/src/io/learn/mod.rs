//! Routes learned from peers: one task owns their table and what of it stands in the kernel.
//!
//! ```text
//! peer[n] ── Told ──► task: Learned ─► Fib ─► rtnetlink
//! hub ────── Order ─►  ▲  │
//! rtnetlink monitor ───┘  └─► State (counts, problems) ─► hub
//! ```
//!
//! The channel from the peers is bounded: a peer that tells faster than routes are taken in is read more slowly.

mod kernel;
mod messages;
mod monitor;
mod reader;
mod task;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bgp_proto::types::{Family, FamilyMap, FamilySet, Prefix};
use speaker_core::learn::{Helper, LearnedCount, Loss, Neighbor, Rules, Sifted};
use speaker_core::received::ReceivedRoute;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::Clock;
use super::kernel::Holder;
pub(crate) use kernel::{found, remove};

/// What may wait for the task.
const QUEUE: usize = 256;

/// The name of a peer.
type Name = Arc<str>;

/// What a peer's task tells of a session.
#[derive(Debug)]
pub(crate) enum Told {
    /// It is up, and routes are learned.
    Up(Box<Begun>),
    /// Routes.
    Update(Sifted),
    /// Other rules.
    Rules(Rules),
    /// The peer begins to send a family again.
    Refreshing(Family),
    /// It has sent it.
    Refreshed(Family),
    /// It is over.
    Down(Loss),
    /// It is over for good, or nothing is learned any more: what is kept for a restart goes too.
    Flush,
}

/// A session that came up.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) from: Neighbor,
    pub(crate) families: FamilySet,
    pub(crate) helper: Helper,
    pub(crate) rules: Rules,
}

type Message = (Name, u64, Told);

/// Picks routes by peer and destination.
type Wanted = Box<dyn Fn(&str, Prefix) -> bool + Send>;

enum Order {
    Forget(Name),
    Expect(BTreeSet<Name>, Option<Duration>),
    Rows(Wanted, oneshot::Sender<Vec<ReceivedRoute>>),
    Stop { remove: bool, done: oneshot::Sender<()> },
}

/// What the task shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Routes by peer, for those of which any are kept or asked for.
    pub counts: BTreeMap<Arc<str>, FamilyMap<LearnedCount>>,
    /// Learned routes in the kernel.
    pub installed: usize,
    /// What an operator should know, in words.
    pub problems: Vec<String>,
}

/// The way to the task. Clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Learn {
    told: mpsc::Sender<Message>,
    orders: mpsc::UnboundedSender<Order>,
    state: watch::Receiver<Arc<State>>,
    sessions: Arc<AtomicU64>,
}

/// Starts the task. Without a `holder` the kernel's routes are nobody's business here.
///
/// # Errors
/// The kernel gives no netlink socket.
pub fn spawn(holder: Option<Holder>, clock: Clock) -> io::Result<Learn> {
    let (told, from_peers) = mpsc::channel(QUEUE);
    let (orders, from_hub) = mpsc::unbounded_channel();
    let (shown, state) = watch::channel(Arc::default());
    let task = task::Task::new(holder, shown, clock)?;
    tokio::spawn(task.run(from_peers, from_hub));
    Ok(Learn { told, orders, state, sessions: Arc::default() })
}

impl Learn {
    /// A number for a session, told from all others.
    pub(crate) fn session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Room for one message.
    pub(crate) async fn reserve(&self) -> Result<mpsc::Permit<'_, Message>, mpsc::error::SendError<()>> {
        self.told.reserve().await
    }

    /// The peer is none of this node's any more.
    pub fn forget(&self, name: &Arc<str>) {
        self.order(Order::Forget(Arc::clone(name)));
    }

    /// The peers that routes are learned from. What a process before this one left in the kernel stays until they have
    /// all sent their tables, `restart` long at most; without it nothing stays.
    pub fn expect(&self, peers: BTreeSet<Arc<str>>, restart: Option<Duration>) {
        self.order(Order::Expect(peers, restart));
    }

    /// What is shown at present.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    /// The routes that `wanted` picks by peer and destination, with what became of them.
    pub fn rows<W: Fn(&str, Prefix) -> bool + Send + 'static>(
        &self,
        wanted: W,
    ) -> impl Future<Output = Vec<ReceivedRoute>> + Send + use<W> {
        let (answer, rows) = oneshot::channel();
        self.order(Order::Rows(Box::new(wanted), answer));
        async move { rows.await.unwrap_or_default() }
    }

    /// Ends the task; with `remove` the kernel has no learned route afterwards.
    pub async fn stop(&self, remove: bool) {
        let (done, ended) = oneshot::channel();
        self.order(Order::Stop { remove, done });
        // A task that has ended by itself has nothing left to do.
        let _ = ended.await;
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}
