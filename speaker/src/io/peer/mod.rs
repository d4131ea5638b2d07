//! One task a peer: it owns the session, its TCP connections, its place in the update groups' tables and
//! what the peer has sent. The session decides; the task moves bytes and sleeps until the deadline.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd::Discard;
use bgp_proto::session::{
    ConnId, DownReason, Negotiated, SessionConfig, SessionView, State, StopReason, TimerConfig,
};
use bgp_proto::types::{FamilyMap, FamilySet, Prefix, Timestamp};
use speaker_config::model::PeerSettings;
use speaker_core::dump;
use speaker_core::export::Table;
use speaker_core::received::{Follow, News, ReceivedCount, ReceivedRoute};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::bfd::{self as bfd_port, Bfd};
use super::bmp::Pulse;
use super::carrier::Carriers;
use super::clock::Clock;
use super::egress::{EgressAddresses, EgressLookup};
use super::keys::Keys;
use super::learn::Learn;
use super::listen::Incoming;
use crate::metrics::Durations;
use crate::panics;

mod act;
mod alarm;
mod bfd;
mod connection;
mod delays;
mod learning;
mod limits;
mod task;
mod transport;
mod words;

use delays::Moved;
pub use delays::Propagation;

/// The name of a peer in `speaker.yaml`; a dynamic peer's is made by the hub.
pub type PeerName = Arc<str>;

/// What a peer task is told to be.
#[derive(Debug, Clone)]
pub struct PeerSpec {
    /// Name.
    pub name: PeerName,
    /// Where the peer is.
    pub address: IpAddr,
    /// The zone of a link-local address: an interface's name.
    pub zone: Option<String>,
    /// Port, TTL, source and `receive`.
    pub settings: PeerSettings,
    /// What the session depends on.
    pub session: SessionConfig,
    /// What it signs with; required where `settings.authentication` is set, else the task never dials or accepts.
    pub keys: Option<Keys>,
}

/// What a peer task tells the hub.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerEvent {
    /// The state that operators see. Of several at once only the last is told.
    State(State),
    /// The session is up. Answer with [`PeerHandle::attach`].
    Established(Box<Established>),
    /// The start of the message for which the session ends, in hex; [`PeerEvent::Down`] follows. Already logged.
    Malformed(String),
    /// The session ended, or an attempt failed. Already logged.
    Down(DownReason),
    /// Something that an operator may want to read. Already logged.
    Note(String),
    /// The task has panicked, which is a fault of ours, and nothing is left of it or of the session. Already logged.
    Broken(String),
}

/// A session that came up.
#[derive(Debug, Clone, PartialEq)]
pub struct Established {
    /// What was agreed on.
    pub negotiated: Negotiated,
    /// Addresses for next hops on the interface that leads to the peer.
    pub egress: EgressAddresses,
}

/// What operators see of a peer task.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerView {
    /// The session's part.
    pub session: SessionView,
    /// UPDATEs begun to be written, over all connections.
    pub updates_sent: u64,
    /// BoRR and EoRR (RFC 7313), over all connections; requests are counted by the session.
    pub refresh_markers_sent: u64,
    /// Octets received and not yet looked at.
    pub in_queue: u64,
    /// Octets that wait for the peer to read, in this process and in the kernel.
    pub out_queue: u64,
    /// UPDATEs that were treated as withdrawals (RFC 7606).
    pub treated_as_withdraw: u64,
    /// The peer has been handed everything, End-of-RIB included, and it has left this process.
    pub caught_up: bool,
    /// Prefixes that the peer announces at present.
    pub received: FamilyMap<ReceivedCount>,
    /// Families whose End-of-RIB has come.
    pub end_of_rib: FamilySet,
    /// How long changes took to be written, over all connections; `None` before the first.
    pub propagation: Option<Propagation>,
    /// The same for changes that announced something.
    pub advertise: Durations,
    /// The same for changes that withdrew something.
    pub withdraw: Durations,
    /// BFD with the peer, where it is configured and was started.
    pub bfd: Option<BfdView>,
}

/// What operators see of BFD with a peer.
#[derive(Debug, Clone, PartialEq)]
pub struct BfdView {
    /// The session.
    pub port: bfd_port::View,
    /// BGP waits for it, until then at most. While it is Up: it has failed too often of late.
    pub held_until: Option<Timestamp>,
    /// Datagrams that this process discarded, whoever sent them.
    pub discarded: BTreeMap<Discard, u64>,
}

/// What the tasks share.
#[derive(Debug, Clone)]
pub struct PeerContext {
    /// Where events go. A full channel delays events and nothing else.
    pub events: mpsc::Sender<(PeerName, PeerEvent)>,
    /// The clock.
    pub clock: Clock,
    /// Looks up next hops at Established.
    pub egress: EgressLookup,
    /// BFD of this process.
    pub bfd: Bfd,
    /// Interfaces that go down.
    pub carriers: Carriers,
    /// Where routes go that are learned.
    pub learn: Learn,
    /// Whoever follows what peers announce.
    pub pulse: Pulse,
}

/// Asks a peer task what a monitoring station is to know. It does not keep the task alive.
#[derive(Debug, Clone)]
pub struct PeerLine(mpsc::WeakUnboundedSender<Command>);

impl PeerLine {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, asked) = oneshot::channel();
        self.0.upgrade()?.send(command(answer)).ok()?;
        asked.await.ok()
    }

    /// What has changed of the peer's announcements in the session on `conn`; `None` where that is no longer up.
    pub async fn news(&self, conn: ConnId, follow: Follow, most: usize) -> Option<News> {
        self.ask(|answer| Command::News(conn, follow, most, answer)).await.flatten()
    }

    /// What operators see.
    pub async fn view(&self) -> Option<PeerView> {
        self.ask(Command::View).await
    }
}

/// A connection that the peer has not closed yet, or a task that may have one.
#[derive(Debug, Clone)]
pub struct Leaving(mpsc::Sender<Infallible>);

/// As long as it lives there is something to wait for.
type Stays = mpsc::Receiver<Infallible>;

impl Leaving {
    fn new() -> (Self, Stays) {
        let (leaving, stays) = mpsc::channel(1);
        (Self(leaving), stays)
    }

    /// There is nothing to wait for any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_closed()
    }

    async fn over(self) {
        self.0.closed().await;
    }
}

/// Tells a peer task what to do. Dropping it ends the task without a word to the peer.
#[derive(Debug)]
pub struct PeerHandle {
    name: PeerName,
    commands: mpsc::UnboundedSender<Command>,
    moved: Arc<Moved>,
    leaving: Leaving,
    task: JoinHandle<()>,
}

/// Picks prefixes.
type Wanted = Box<dyn Fn(Prefix) -> bool + Send>;

/// The channel has no bound: the hub must not wait for a peer, and a task takes its commands at once.
pub(crate) enum Command {
    Start,
    After(Leaving),
    Stop(StopReason),
    Accepted(Incoming),
    Attach(ConnId, FamilyMap<Option<Arc<Table>>>),
    SoftOut(FamilySet),
    RequestRefresh(FamilySet),
    Timers(TimerConfig),
    SetBfd(Option<speaker_config::model::Bfd>),
    Bfd(bfd_port::Event),
    Receive(Box<PeerSettings>),
    View(oneshot::Sender<PeerView>),
    Received(Wanted, oneshot::Sender<Vec<ReceivedRoute>>),
    Routes(Wanted, oneshot::Sender<Vec<dump::Route>>),
    News(ConnId, Follow, usize, oneshot::Sender<Option<News>>),
    Shutdown {
        reason: StopReason,
        flush: Duration,
    },
    /// A fault of ours.
    #[cfg(test)]
    Panic,
}

/// Starts the task of a peer, in Idle until [`PeerHandle::start`].
#[must_use]
pub fn spawn(spec: PeerSpec, context: PeerContext) -> PeerHandle {
    let (commands, inbox) = mpsc::unbounded_channel();
    let moved = Arc::new(Moved::default());
    let name = Arc::clone(&spec.name);
    let (leaving, stays) = Leaving::new();
    let (events, own) = (context.events.clone(), Arc::clone(&name));
    let run = task::run(spec, context, commands.downgrade(), inbox, Arc::clone(&moved));
    let task = tokio::spawn(async move {
        let ended = panics::contained(run).await;
        drop(stays);
        if let Err(text) = ended {
            tracing::error!(peer = %own, "the task of the peer has panicked, and its session is lost: {text}");
            // Without a hub nobody begins it anew.
            let _ = events.send((own, PeerEvent::Broken(text))).await;
        }
    });
    PeerHandle { name, commands, moved, leaving, task }
}

impl PeerHandle {
    /// The peer's name.
    #[must_use]
    pub fn name(&self) -> &PeerName {
        &self.name
    }

    /// For monitoring stations.
    #[must_use]
    pub fn line(&self) -> PeerLine {
        PeerLine(self.commands.downgrade())
    }

    fn send(&self, command: Command) {
        // A task that has ended has nothing left to do.
        let _ = self.commands.send(command);
    }

    /// ManualStart.
    pub fn start(&self) {
        self.send(Command::Start);
    }

    /// Dials no sooner than that one with the same peer has left.
    pub fn follow(&self, before: Leaving) {
        self.send(Command::After(before));
    }

    /// For the one that takes this one's place, once this one is shut down.
    #[must_use]
    pub fn leaving(&self) -> Leaving {
        self.leaving.clone()
    }

    /// Ends the session; with `restart` it comes back by itself.
    pub fn stop(&self, reason: StopReason) {
        self.send(Command::Stop(reason));
    }

    /// A connection that the peer dialled.
    pub fn accepted(&self, incoming: Incoming) {
        self.send(Command::Accepted(incoming));
    }

    /// The tables of the session on `conn` ([`Negotiated::conn`]), one a family that is sent: after
    /// [`PeerEvent::Established`], and again whenever the peer moves to another update group. Passed over
    /// where that session is no longer up.
    pub fn attach(&self, conn: ConnId, tables: FamilyMap<Option<Arc<Table>>>) {
        self.send(Command::Attach(conn, tables));
    }

    /// A table has moved: look whether there is something new to send. `since` is when the source told of
    /// the change, where there is one.
    pub fn wake(&self, since: Option<Timestamp>) {
        self.moved.wake(since);
    }

    /// Sends these families' tables again (`clear PEER soft out`).
    pub fn soft_out(&self, families: FamilySet) {
        self.send(Command::SoftOut(families));
    }

    /// Asks the peer for its tables again (`clear PEER soft in`), where it takes ROUTE-REFRESH.
    pub fn request_refresh(&self, families: FamilySet) {
        self.send(Command::RequestRefresh(families));
    }

    /// New timers, in force at the next connection.
    pub fn set_timers(&self, timers: TimerConfig) {
        self.send(Command::Timers(timers));
    }

    /// What becomes of received routes from now on (`receive`, `maxPrefixes`, `prefixLimit`, `learn`); they are
    /// asked for again.
    pub fn set_receive(&self, settings: PeerSettings) {
        self.send(Command::Receive(Box::new(settings)));
    }

    /// New settings of BFD; the session goes on.
    pub fn set_bfd(&self, settings: Option<speaker_config::model::Bfd>) {
        self.send(Command::SetBfd(settings));
    }

    /// What operators see; `None` where the task has ended.
    pub fn view(&self) -> impl Future<Output = Option<PeerView>> + Send + use<> {
        let (answer, view) = oneshot::channel();
        self.send(Command::View(answer));
        async move { view.await.ok() }
    }

    /// The prefixes that the peer announces, as far as they are kept: those that `wanted` picks. Empty
    /// where the session is not up.
    pub fn received<W: Fn(Prefix) -> bool + Send + 'static>(
        &self,
        wanted: W,
    ) -> impl Future<Output = Vec<ReceivedRoute>> + Send + use<W> {
        let (answer, rows) = oneshot::channel();
        self.send(Command::Received(Box::new(wanted), answer));
        async move { rows.await.unwrap_or_default() }
    }

    /// The routes that the peer announces, where they are kept with their attributes (`receive: all`): those that `wanted`
    /// picks.
    pub fn routes<W: Fn(Prefix) -> bool + Send + 'static>(
        &self,
        wanted: W,
    ) -> impl Future<Output = Vec<dump::Route>> + Send + use<W> {
        let (answer, routes) = oneshot::channel();
        self.send(Command::Routes(Box::new(wanted), answer));
        async move { routes.await.unwrap_or_default() }
    }

    /// Makes the task panic.
    #[cfg(test)]
    pub(crate) fn panic(&self) {
        self.send(Command::Panic);
    }

    /// Sends what the tables still hold for the peer, at most for `flush`, then stops for `reason` and ends
    /// the task once the connections are closed, some seconds later at most. Await the returned handle.
    #[must_use]
    pub fn shutdown(self, reason: StopReason, flush: Duration) -> JoinHandle<()> {
        self.send(Command::Shutdown { reason, flush });
        self.task
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
