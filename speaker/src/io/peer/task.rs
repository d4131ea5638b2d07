//! The task: does what the session asks, then waits for whatever comes first.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bgp_proto::session::{Action, ConnId, Input, Negotiated, Session, State, StopReason};
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, Timestamp};
use speaker_config::model::PeerSettings;
use speaker_core::export::{Begun, Feed};
use speaker_core::received::AdjRibIn;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Span;

use super::alarm::Alarm;
use super::bfd::{PeerBfd, is_on_link};
use super::connection::{Connection, Ready};
use super::delays::{Delays, Moved};
use super::learning::Learning;
use super::limits::Limits;
use super::{Command, Leaving, PeerContext, PeerEvent, PeerSpec, PeerView};
use crate::io::connect::Dialled;
use crate::io::egress::EgressAddresses;
use crate::io::tcp::{TcpOptions, TtlRule};

/// After reading as much in one turn, other tasks go first.
const YIELD_AFTER: usize = 32 * 1024;

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct Task {
    pub(super) spec: PeerSpec,
    pub(super) context: PeerContext,
    /// For those who have to tell the task something.
    pub(super) commands: mpsc::WeakUnboundedSender<Command>,
    pub(super) bfd: PeerBfd,
    links: mpsc::Receiver<Arc<str>>,
    alarm: Alarm,
    pub(super) options: TcpOptions,
    pub(super) session: Session,
    pub(super) actions: Vec<Action>,
    pub(super) connections: Vec<Connection>,
    pub(super) next_id: u64,
    pub(super) dial: Option<Boxed<Result<Dialled, String>>>,
    /// What a dial waits for.
    pub(super) before: Vec<Leaving>,
    /// Addresses for the session that has just come up, and the session.
    pub(super) lookup: Option<(Boxed<EgressAddresses>, Box<Negotiated>)>,
    pub(super) up: Option<Up>,
    /// How far the session or the attempt has come.
    pub(super) reached: State,
    pub(super) feed: Feed,
    pub(super) received: AdjRibIn,
    pub(super) learning: Learning,
    pub(super) sent: Begun,
    /// Events that the hub has had no room for.
    pub(super) pending: VecDeque<PeerEvent>,
    pub(super) lingering: JoinSet<()>,
    pub(super) stopping: Option<Stopping>,
    /// Faulty UPDATEs so far, and when the last of them was logged.
    pub(super) faulty: u64,
    /// Those of them that were treated as withdrawals.
    pub(super) treated_as_withdraw: u64,
    pub(super) faulty_logged: Option<Timestamp>,
    /// The start of the message for which the session ends, in hex, until that is told.
    pub(super) malformed: Option<String>,
    /// When a message that ended a session was last logged.
    pub(super) fatal_logged: Option<Timestamp>,
    pub(super) limits: Limits,
    /// Failures that were logged since the session was last up: the same again is said more quietly.
    pub(super) said: Vec<String>,
    /// Since when the eldest change that is not written has been known, and how long former ones took.
    pub(super) unwritten: Option<Timestamp>,
    delays: Delays,
}

/// What of a session's agreement is needed here.
pub(super) struct Up {
    pub(super) conn: ConnId,
    pub(super) peer_asn: Asn,
    pub(super) families: FamilySet,
    pub(super) route_refresh: bool,
    /// The interface that leads to the peer, once it is known.
    pub(super) interface: Option<String>,
    /// How long the peer's routes are kept when it restarts (RFC 4724).
    pub(super) restart_time: Option<Duration>,
}

pub(super) enum Stopping {
    Flush { reason: StopReason, until: Timestamp },
    Closing,
}

enum Wake {
    Again,
    Moved,
    Command(Option<Command>),
    Ready(Ready),
    Dialled(Result<Dialled, String>),
    Looked(EgressAddresses),
    LinkDown(Arc<str>),
    Farewell,
    HubGone,
}

pub(super) async fn run(
    spec: PeerSpec,
    context: PeerContext,
    commands: mpsc::WeakUnboundedSender<Command>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    moved: Arc<Moved>,
) {
    let span = tracing::info_span!("peer", name = %spec.name, address = %spec.address);
    let mut task = Task::new(spec, context, commands);
    while task.turn(&span) {
        let wake = task.wait(&mut inbox, &moved).await;
        let entered = span.enter();
        let mut read = 0;
        match wake {
            Wake::Again => {}
            Wake::Moved => task.unwritten = task.unwritten.or(moved.take()),
            Wake::Command(Some(command)) => task.command(command),
            Wake::Command(None) | Wake::HubGone => return,
            Wake::Ready(ready) => read = task.ready(ready),
            Wake::Dialled(result) => task.dialled(result),
            Wake::Looked(egress) => task.looked(egress),
            Wake::LinkDown(name) => task.link_down(&name),
            Wake::Farewell => task.farewell_said(),
        }
        drop(entered);
        if read >= YIELD_AFTER {
            tokio::task::yield_now().await;
        }
    }
}

impl Task {
    fn new(spec: PeerSpec, context: PeerContext, commands: mpsc::WeakUnboundedSender<Command>) -> Self {
        let ttl = TtlRule::new(spec.settings.ttl, spec.address, &spec.session);
        let timers = &spec.session.timers;
        Self {
            options: TcpOptions { ttl, hold: timers.hold, send_hold: timers.send_hold },
            commands,
            bfd: PeerBfd::default(),
            links: context.carriers.subscribe(),
            alarm: Alarm::new(),
            session: Session::new(spec.session.clone()),
            actions: Vec::new(),
            connections: Vec::new(),
            next_id: 0,
            dial: None,
            before: Vec::new(),
            lookup: None,
            up: None,
            reached: State::Idle,
            feed: Feed::default(),
            received: AdjRibIn::new(spec.settings.receive, spec.settings.kept()),
            learning: Learning::default(),
            sent: Begun::default(),
            pending: VecDeque::new(),
            lingering: JoinSet::new(),
            stopping: None,
            faulty: 0,
            treated_as_withdraw: 0,
            faulty_logged: None,
            malformed: None,
            fatal_logged: None,
            limits: Limits::default(),
            said: Vec::new(),
            unwritten: None,
            delays: Delays::default(),
            spec,
            context,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Hands the session an input and does what it asks for.
    pub(super) fn input(&mut self, input: Input) {
        let now = self.now();
        let mut actions = std::mem::take(&mut self.actions);
        self.session.handle(now, input, &mut actions);
        for action in actions.drain(..) {
            self.act(action);
        }
        if self.actions.is_empty() {
            // Nothing was asked for meanwhile: the buffer is used again.
            self.actions = actions;
        }
    }

    /// Everything that can be done now, and the alarm for what comes later. Whether the task goes on.
    fn turn(&mut self, span: &Span) -> bool {
        let _entered = span.enter();
        if self.alarm.take(self.now()) {
            if self.session.deadline().is_some_and(|(at, _)| at <= self.now()) {
                self.expire();
            }
            self.expire_bfd();
            self.start_after_limit();
        }
        self.pump();
        self.measure();
        self.stop_when_flushed();
        let ended = matches!(self.stopping, Some(Stopping::Closing));
        let told = self.learning.queue.is_empty();
        if ended && told && self.connections.is_empty() && self.lingering.is_empty() {
            return false;
        }
        let other = match &self.stopping {
            Some(Stopping::Flush { until, .. }) => Some(*until),
            Some(Stopping::Closing) => None,
            None => self.limits.restart_at(),
        };
        let timer = self.session.deadline().map(|(at, _)| at);
        let deadline = timer.into_iter().chain(other).chain(self.bfd.guard.deadline()).min();
        self.alarm.set(self.context.clock, deadline);
        true
    }

    async fn wait(&mut self, inbox: &mut mpsc::UnboundedReceiver<Command>, moved: &Moved) -> Wake {
        let Self {
            connections,
            dial,
            lookup,
            pending,
            lingering,
            context,
            spec,
            stopping,
            bfd,
            links,
            alarm,
            learning,
            ..
        } = self;
        let reads = learning.has_room();
        let ready = poll_fn(|cx| {
            let ready = connections.iter().find_map(|connection| match connection.poll_ready(cx, reads) {
                Poll::Ready(ready) => Some(ready),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        tokio::select! {
            () = poll_fn(|cx| alarm.poll(cx)) => Wake::Again,
            // Whoever shuts the task down has let go of the handle.
            command = inbox.recv(), if stopping.is_none() => Wake::Command(command),
            ready = ready => Wake::Ready(ready),
            result = optional(dial.as_mut()) => Wake::Dialled(result),
            egress = optional(lookup.as_mut().map(|(lookup, _)| lookup)) => Wake::Looked(egress),
            () = poll_fn(|cx| moved.poll(cx)) => Wake::Moved,
            () = optional(bfd.farewell.as_mut().map(|farewell| &mut farewell.told)) => Wake::Farewell,
            // What was missed by being slow, timers find.
            Some(name) = links.recv() => Wake::LinkDown(name),
            Some(_) = lingering.join_next(), if !lingering.is_empty() => Wake::Again,
            permit = context.learn.reserve(), if !learning.queue.is_empty() => {
                match permit {
                    Ok(permit) => {
                        if let Some((session, told)) = learning.queue.pop_front() {
                            permit.send((Arc::clone(&spec.name), session, told));
                        }
                    }
                    // Nobody learns any more: the process is ending.
                    Err(_) => learning.queue.clear(),
                }
                Wake::Again
            }
            permit = context.events.reserve(), if !pending.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(event) = pending.pop_front() {
                        permit.send((Arc::clone(&spec.name), event));
                    }
                    Wake::Again
                }
                Err(_) if stopping.is_some() => {
                    pending.clear();
                    Wake::Again
                }
                Err(_) => Wake::HubGone,
            },
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Start => {
                self.limits = Limits::default();
                self.start();
            }
            Command::After(leaving) => self.before.push(leaving),
            Command::Stop(reason) => {
                if self.clears_limit(&reason) {
                    self.start();
                } else {
                    self.stop(reason);
                }
            }
            Command::SetBfd(settings) => self.set_bfd(settings),
            Command::Bfd(event) => self.bfd_event(event),
            Command::Accepted(incoming) => self.accepted(incoming),
            Command::Attach(conn, tables) => {
                if self.up.as_ref().is_some_and(|up| up.conn == conn) {
                    self.feed.attach(&tables);
                }
            }
            Command::SoftOut(families) => families.iter().for_each(|family| self.feed.rewind(family)),
            Command::RequestRefresh(families) => self.request_refresh(families),
            Command::Timers(timers) => {
                (self.options.hold, self.options.send_hold) = (timers.hold, timers.send_hold);
                self.session.set_timers(timers);
            }
            Command::Receive(settings) => self.receive_by(&settings),
            Command::View(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.view());
            }
            Command::Received(wanted, answer) => {
                let peer_asn = self.up.as_ref().map(|up| up.peer_asn);
                let rows = peer_asn.map(|asn| self.received.rows(&self.spec.name, asn, wanted));
                let _ = answer.send(rows.unwrap_or_default());
            }
            Command::Routes(wanted, answer) => {
                let _ = answer.send(self.received.routes(wanted));
            }
            Command::News(conn, follow, most, answer) => {
                let up = self.up.as_ref().is_some_and(|up| up.conn == conn);
                let _ = answer.send(up.then(|| self.received.news(&follow, most)));
            }
            Command::Shutdown { mut reason, flush } => {
                reason.restart = false;
                self.say_farewell(None);
                self.stopping = Some(Stopping::Flush { reason, until: self.now() + flush });
            }
            #[cfg(test)]
            Command::Panic => panic!("told to"),
        }
    }

    /// Other rules for what the peer sends. It is asked for its table where they let more in.
    fn receive_by(&mut self, settings: &PeerSettings) {
        let rules = |settings: &PeerSettings| (settings.learn.clone(), settings.kept());
        let (receive, kept) = (settings.receive, settings.kept());
        let same = (self.spec.settings.receive, self.spec.settings.kept()) == (receive, kept);
        let same_rules = rules(&self.spec.settings) == rules(settings);
        self.spec.settings.receive = receive;
        self.spec.settings.max_prefixes = settings.max_prefixes;
        self.spec.settings.prefix_limit = settings.prefix_limit;
        self.spec.settings.learn.clone_from(&settings.learn);
        let asks = !same_rules && self.learn_anew();
        let Some(up) = self.up.as_ref().filter(|_| asks || !same) else { return };
        // Without route refresh what is kept stays, and the next session begins with the new rule.
        if up.route_refresh {
            let families = up.families;
            if !same {
                self.received.reset(receive, kept);
            }
            self.request_refresh(families);
        } else {
            let key = if asks { "learn" } else { "receive" };
            self.note(format!(
                "{key} has changed, and the peer does not take ROUTE-REFRESH: `clear PEER` brings its routes"
            ));
        }
    }

    /// A single hop over an interface that is down leads nowhere; waiting for the hold timer would only keep
    /// what was learned over it.
    fn link_down(&mut self, name: &str) {
        let over_it = |up: &&Up| up.interface.as_deref() == Some(name);
        if is_on_link(&self.spec)
            && let Some(up) = self.up.as_ref().filter(over_it)
        {
            let conn = up.conn;
            self.learning.way_is_gone();
            self.closed(conn, format!("interface {name} went down"));
        }
    }

    /// What was known before the last writing has left where nothing is left.
    fn measure(&mut self) {
        if (self.unwritten.is_none() && !self.feed.has_told()) || !self.caught_up() {
            return;
        }
        let told = self.feed.take_told();
        if let Some(since) = self.unwritten.take() {
            self.delays.add(self.now().since(since), told);
        }
    }

    fn stop_when_flushed(&mut self) {
        let Some(Stopping::Flush { until, .. }) = &self.stopping else { return };
        let flushes = self.up.is_some() && !self.caught_up() && self.now() < *until;
        if flushes || self.bfd.farewell.is_some() {
            return;
        }
        if let Some(Stopping::Flush { reason, .. }) = self.stopping.replace(Stopping::Closing) {
            self.input(Input::Stop(reason));
        }
    }

    fn view(&self) -> PeerView {
        let queues = self.connections.iter().map(|connection| {
            let (receive, send) = connection.kernel_queues();
            (receive, send + connection.out.len() as u64)
        });
        let (in_queue, out_queue) = queues.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        PeerView {
            session: self.session.view(),
            updates_sent: self.sent.updates,
            refresh_markers_sent: self.sent.refreshes,
            in_queue,
            out_queue,
            treated_as_withdraw: self.treated_as_withdraw,
            caught_up: self.caught_up(),
            received: FamilyMap::from_fn(|family| self.received.count(family)),
            propagation: self.delays.propagation(),
            advertise: self.delays.advertise().clone(),
            withdraw: self.delays.withdraw().clone(),
            bfd: self.bfd_view(),
            end_of_rib: Family::ALL.into_iter().filter(|family| self.received.end_of_rib(*family)).collect(),
        }
    }
}

/// The future where there is one.
async fn optional<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
