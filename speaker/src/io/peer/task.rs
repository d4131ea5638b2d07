//! The task: does what the session asks, then waits for whatever comes first.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bgp_proto::session::{Action, ConnId, DownReason, Input, Negotiated, Session, State, StopReason};
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, Timestamp};
use bgp_proto::wire::{RefreshKind, Update};
use speaker_core::received::AdjRibIn;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::{Span, debug, info, warn};

use super::connection::{Connection, Ready};
use super::feed::Feed;
use super::{Command, Established, PeerContext, PeerEvent, PeerSpec, PeerView, words};
use crate::io::connect::{Dial, Dialled};
use crate::io::egress::EgressAddresses;
use crate::io::listen::Incoming;
use crate::io::tcp::{TcpOptions, TtlRule, words as os_words};

/// Below this the next chunk of a table is taken: with a chunk of 64 KiB a slow peer costs twice as much.
const LOW_WATER: usize = 64 * 1024;
/// The most that one turn writes to a connection.
const WRITE_TURN: usize = 512 * 1024;
/// After reading as much in one turn, other tasks go first.
const YIELD_AFTER: usize = 32 * 1024;
/// Between two log lines about faulty UPDATEs.
const FAULTY_INTERVAL: Duration = Duration::from_secs(10);
/// Notes that wait for the hub; more are logged alone.
const MAX_NOTES: usize = 32;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct Task {
    spec: PeerSpec,
    context: PeerContext,
    options: TcpOptions,
    session: Session,
    actions: Vec<Action>,
    connections: Vec<Connection>,
    next_id: u64,
    dial: Option<Boxed<Result<Dialled, String>>>,
    /// Addresses for the session that has just come up, and the session.
    lookup: Option<(Boxed<EgressAddresses>, Box<Negotiated>)>,
    up: Option<Up>,
    /// How far the session or the attempt has come.
    reached: State,
    feed: Feed,
    received: AdjRibIn,
    sent: super::outbox::Begun,
    /// Events that the hub has had no room for.
    pending: VecDeque<PeerEvent>,
    lingering: JoinSet<()>,
    stopping: Option<Stopping>,
    /// Faulty UPDATEs so far, and when the last of them was logged.
    faulty: u64,
    faulty_logged: Option<Timestamp>,
    /// The failure that was logged last: the same again is said more quietly.
    said: Option<String>,
}

/// What of a session's agreement is needed here.
struct Up {
    conn: ConnId,
    peer_asn: Asn,
    families: FamilySet,
    route_refresh: bool,
}

enum Stopping {
    Flush { reason: StopReason, until: Timestamp },
    Closing,
}

enum Wake {
    Again,
    Command(Option<Command>),
    Ready(Ready),
    Dialled(Result<Dialled, String>),
    Looked(EgressAddresses),
    HubGone,
}

pub(super) async fn run(
    spec: PeerSpec,
    context: PeerContext,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    moved: Arc<Notify>,
) {
    let span = tracing::info_span!("peer", name = %spec.name, address = %spec.address);
    let mut task = Task::new(spec, context);
    while let Some(deadline) = task.turn(&span) {
        let wake = task.wait(deadline, &mut inbox, &moved).await;
        let entered = span.enter();
        let read = match wake {
            Wake::Again => 0,
            Wake::Command(Some(command)) => task.command(command),
            Wake::Command(None) | Wake::HubGone => return,
            Wake::Ready(ready) => task.ready(ready),
            Wake::Dialled(result) => task.dialled(result),
            Wake::Looked(egress) => task.looked(egress),
        };
        drop(entered);
        if read >= YIELD_AFTER {
            tokio::task::yield_now().await;
        }
    }
}

impl Task {
    fn new(spec: PeerSpec, context: PeerContext) -> Self {
        let ttl = TtlRule::new(spec.settings.ttl, spec.address, &spec.session);
        Self {
            options: TcpOptions { ttl, hold: spec.session.timers.hold },
            session: Session::new(spec.session.clone()),
            actions: Vec::new(),
            connections: Vec::new(),
            next_id: 0,
            dial: None,
            lookup: None,
            up: None,
            reached: State::Idle,
            feed: Feed::default(),
            received: AdjRibIn::new(spec.settings.receive, spec.settings.max_prefixes),
            sent: super::outbox::Begun::default(),
            pending: VecDeque::new(),
            lingering: JoinSet::new(),
            stopping: None,
            faulty: 0,
            faulty_logged: None,
            said: None,
            spec,
            context,
        }
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Hands the session an input and does what it asks for.
    fn input(&mut self, input: Input) {
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

    /// Everything that can be done now. Says until when to wait; `None` where the task has ended.
    fn turn(&mut self, span: &Span) -> Option<Option<Timestamp>> {
        let _entered = span.enter();
        if self.session.deadline().is_some_and(|(at, _)| at <= self.now()) {
            self.input(Input::Timeout);
        }
        self.pump();
        self.stop_when_flushed();
        let ended = matches!(self.stopping, Some(Stopping::Closing));
        if ended && self.connections.is_empty() && self.lingering.is_empty() {
            return None;
        }
        let flush = match &self.stopping {
            Some(Stopping::Flush { until, .. }) => Some(*until),
            _ => None,
        };
        let timer = self.session.deadline().map(|(at, _)| at);
        Some(timer.into_iter().chain(flush).min())
    }

    async fn wait(
        &mut self,
        deadline: Option<Timestamp>,
        inbox: &mut mpsc::UnboundedReceiver<Command>,
        moved: &Notify,
    ) -> Wake {
        let Self { connections, dial, lookup, pending, lingering, context, spec, stopping, .. } = self;
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(context.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        let ready = poll_fn(|cx| {
            let ready = connections.iter().find_map(|connection| match connection.poll_ready(cx) {
                Poll::Ready(ready) => Some(ready),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        tokio::select! {
            () = timer => Wake::Again,
            // Whoever shuts the task down has let go of the handle.
            command = inbox.recv(), if stopping.is_none() => Wake::Command(command),
            ready = ready => Wake::Ready(ready),
            result = optional(dial.as_mut()) => Wake::Dialled(result),
            egress = optional(lookup.as_mut().map(|(lookup, _)| lookup)) => Wake::Looked(egress),
            () = moved.notified() => Wake::Again,
            Some(_) = lingering.join_next(), if !lingering.is_empty() => Wake::Again,
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

    fn command(&mut self, command: Command) -> usize {
        match command {
            Command::Start => self.input(Input::Start),
            Command::Stop(reason) => self.input(Input::Stop(reason)),
            Command::Accepted(incoming) => self.accepted(incoming),
            Command::Attach(conn, tables) => {
                if self.up.as_ref().is_some_and(|up| up.conn == conn) {
                    self.feed.attach(&tables);
                }
            }
            Command::SoftOut(families) => families.iter().for_each(|family| self.feed.rewind(family)),
            Command::RequestRefresh(families) => self.request_refresh(families),
            Command::Timers(timers) => self.session.set_timers(timers),
            Command::View(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.view());
            }
            Command::Received(wanted, answer) => {
                let peer_asn = self.up.as_ref().map(|up| up.peer_asn);
                let rows = peer_asn.map(|asn| self.received.rows(&self.spec.name, asn, wanted));
                let _ = answer.send(rows.unwrap_or_default());
            }
            Command::Shutdown { mut reason, flush } => {
                reason.restart = false;
                self.stopping = Some(Stopping::Flush { reason, until: self.now() + flush });
            }
        }
        0
    }

    fn accepted(&mut self, incoming: Incoming) {
        let Incoming { stream, local, remote } = incoming;
        if let Err(text) = self.key_is_known() {
            warn!(%remote, "refused a connection: {text}");
            return;
        }
        if let Err(error) = self.options.apply(&socket2::SockRef::from(&stream), remote.is_ipv6()) {
            warn!(%remote, "refused a connection: setting TTL and timeouts: {}", os_words(&error));
            return;
        }
        let conn = self.open(stream, remote);
        self.input(Input::Accepted { conn, local, remote });
    }

    /// No session without MD5 where MD5 is asked for.
    fn key_is_known(&self) -> Result<(), String> {
        if self.spec.settings.password.is_some() && self.spec.password.is_none() {
            return Err("its TCP MD5 key is missing, and there is no session without it".to_owned());
        }
        Ok(())
    }

    fn open(&mut self, stream: tokio::net::TcpStream, remote: std::net::SocketAddr) -> ConnId {
        let id = ConnId(self.next_id);
        self.next_id += 1;
        self.connections.push(Connection::new(id, stream, remote));
        id
    }

    fn dialled(&mut self, result: Result<Dialled, String>) -> usize {
        self.dial = None;
        match result {
            Ok(Dialled { stream, local, remote }) => {
                let conn = self.open(stream, remote);
                self.input(Input::Connected { conn, local, remote });
            }
            Err(reason) => self.input(Input::ConnectFailed { reason }),
        }
        0
    }

    fn looked(&mut self, egress: EgressAddresses) -> usize {
        if let Some((_, negotiated)) = self.lookup.take() {
            let established = Established { negotiated: *negotiated, egress };
            self.pending.push_back(PeerEvent::Established(Box::new(established)));
        }
        0
    }

    /// Reads one buffer; says how much came.
    fn ready(&mut self, ready: Ready) -> usize {
        if !ready.read {
            return 0;
        }
        let Some(connection) = self.connection(ready.id) else { return 0 };
        match connection.read() {
            None => 0,
            Some(Ok(bytes)) if bytes.is_empty() => {
                self.closed(ready.id, "closed by the peer".to_owned());
                0
            }
            Some(Ok(bytes)) => {
                let count = bytes.len();
                self.input(Input::Received { conn: ready.id, bytes });
                count
            }
            Some(Err(error)) => {
                self.closed(ready.id, os_words(&error));
                0
            }
        }
    }

    fn closed(&mut self, conn: ConnId, reason: String) {
        self.connections.retain(|connection| connection.id != conn);
        self.input(Input::Closed { conn, reason });
    }

    fn connection(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == conn)
    }

    /// Takes from the tables and writes, until the kernel takes no more or the turn is over.
    fn pump(&mut self) {
        let ids: Vec<ConnId> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            let mut turn = 0;
            while turn < WRITE_TURN {
                self.refill(id);
                let Some(connection) = self.connection(id) else { break };
                match connection.write() {
                    None => break,
                    Some(Ok((count, begun))) => {
                        turn += count;
                        self.sent.updates += begun.updates;
                        self.sent.refreshes += begun.refreshes;
                        self.input(Input::Written { conn: id, bytes: count });
                    }
                    Some(Err(error)) => {
                        self.write_failed(id, &error);
                        break;
                    }
                }
            }
        }
    }

    /// Memory is bounded by taking no more than what the peer has room for.
    fn refill(&mut self, id: ConnId) {
        if self.up.as_ref().is_none_or(|up| up.conn != id) {
            return;
        }
        while self.connection(id).is_some_and(|connection| connection.out.table_len() < LOW_WATER) {
            let Some(chunk) = self.feed.next_chunk() else { return };
            let bytes = chunk.len();
            if let Some(connection) = self.connection(id) {
                connection.out.table(chunk);
            }
            self.input(Input::Enqueued { conn: id, bytes });
        }
    }

    /// The peer may have said why before it closed: that is what the session should hear first.
    fn write_failed(&mut self, id: ConnId, error: &std::io::Error) {
        while let Some(Some(Ok(bytes))) = self.connection(id).map(Connection::read) {
            if bytes.is_empty() {
                break;
            }
            self.input(Input::Received { conn: id, bytes });
        }
        if self.connection(id).is_some() {
            self.closed(id, os_words(error));
        }
    }

    fn stop_when_flushed(&mut self) {
        let Some(Stopping::Flush { until, .. }) = &self.stopping else { return };
        if self.up.is_some() && !self.caught_up() && self.now() < *until {
            return;
        }
        if let Some(Stopping::Flush { reason, .. }) = self.stopping.replace(Stopping::Closing) {
            self.input(Input::Stop(reason));
        }
    }

    fn caught_up(&self) -> bool {
        self.up.as_ref().is_some_and(|up| {
            let connection = self.connections.iter().find(|connection| connection.id == up.conn);
            self.feed.is_synced() && connection.is_some_and(|connection| connection.out.is_empty())
        })
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect(),
            Action::CancelConnect => self.dial = None,
            Action::Send { conn, bytes } => {
                if let Some(connection) = self.connection(conn) {
                    connection.out.control(bytes);
                }
            }
            Action::Close { conn } => {
                if let Some(at) = self.connections.iter().position(|connection| connection.id == conn) {
                    let connection = self.connections.swap_remove(at);
                    self.lingering.spawn(connection.close());
                }
            }
            Action::State(state) => {
                info!(?state, "state");
                if state != State::Idle {
                    self.reached = state;
                }
                if matches!(self.pending.back(), Some(PeerEvent::State(_))) {
                    self.pending.pop_back();
                }
                self.pending.push_back(PeerEvent::State(state));
            }
            Action::Established(negotiated) => self.established(negotiated),
            Action::Update(update) => self.update(&update),
            Action::Refresh(family, kind) => self.refresh(family, kind),
            Action::Down(reason) => self.down(reason),
            Action::Note(text) => self.note(text),
        }
    }

    fn connect(&mut self) {
        let settings = &self.spec.settings;
        let dial = Dial {
            address: self.spec.address,
            zone: self.spec.zone.clone(),
            port: settings.port,
            local_address: settings.local_address,
            source_interface: settings.source_interface.clone(),
            password: self.spec.password.clone(),
            options: self.options,
        };
        let known = self.key_is_known();
        let egress = self.context.egress.clone();
        self.dial = Some(Box::pin(async move {
            known?;
            dial.connect(egress).await
        }));
    }

    fn established(&mut self, negotiated: Box<Negotiated>) {
        info!(
            remote = %negotiated.remote, local = %negotiated.local, peer_as = %negotiated.peer_asn,
            router_id = %negotiated.peer_router_id, hold = negotiated.hold_time.seconds(),
            families = ?negotiated.families, "session is up",
        );
        self.said = None;
        self.up = Some(Up {
            conn: negotiated.conn,
            peer_asn: negotiated.peer_asn,
            families: negotiated.families,
            route_refresh: negotiated.route_refresh,
        });
        self.feed = Feed::new(negotiated.enhanced_refresh);
        self.received = AdjRibIn::new(self.spec.settings.receive, self.spec.settings.max_prefixes);
        let (egress, local, remote) = (self.context.egress.clone(), negotiated.local, negotiated.remote);
        let lookup = Box::pin(async move { egress.towards(local, remote).await });
        self.lookup = Some((lookup, negotiated));
    }

    fn update(&mut self, update: &Update) {
        if !update.issues.is_empty() {
            self.faulty(update);
        }
        let passed = self.received.apply(update, self.context.clock.unix());
        for family in passed.iter() {
            let count = self.received.count(family);
            self.note(format!(
                "{family}: the peer announces {count} prefixes; no more are kept (maxPrefixes)"
            ));
        }
    }

    /// "An error that is found MUST be logged" (RFC 7606 §2), but not as fast as a peer can make them.
    fn faulty(&mut self, update: &Update) {
        let now = self.now();
        self.faulty += 1;
        if self.faulty_logged.is_some_and(|last| now.since(last) < FAULTY_INTERVAL) {
            return;
        }
        self.faulty_logged = Some(now);
        for issue in &update.issues {
            let treatment = issue.disposition;
            warn!(attribute = issue.code, ?treatment, count = self.faulty, "faulty UPDATE: {}", issue.detail);
        }
    }

    /// RFC 2918 §4, RFC 7313 §4.
    fn refresh(&mut self, family: Family, kind: RefreshKind) {
        match kind {
            RefreshKind::Request => {
                info!(%family, "the peer asks for the table again");
                self.feed.refresh(family);
            }
            // What the peer does not announce again until EoRR is gone: counting begins anew.
            RefreshKind::Begin => self.received.restart(family),
            RefreshKind::End | RefreshKind::Unknown(_) => debug!(%family, ?kind, "route refresh"),
        }
    }

    fn request_refresh(&mut self, families: FamilySet) {
        let Some(up) = &self.up else { return };
        if !up.route_refresh {
            return self
                .note("the peer does not take ROUTE-REFRESH; `clear PEER` resets the session".to_owned());
        }
        for family in families.intersection(up.families).iter() {
            self.received.restart(family);
            self.input(Input::RequestRefresh(family));
        }
    }

    fn down(&mut self, reason: DownReason) {
        let text = words::down(&reason, self.reached);
        if self.said.as_ref() == Some(&text) {
            debug!("{text}");
        } else {
            warn!("{text}");
            self.said = Some(text);
        }
        self.up = None;
        self.lookup = None;
        self.feed = Feed::default();
        self.received = AdjRibIn::new(self.spec.settings.receive, self.spec.settings.max_prefixes);
        self.pending.push_back(PeerEvent::Down(reason));
    }

    fn note(&mut self, text: String) {
        info!("{text}");
        if self.pending.len() < MAX_NOTES {
            self.pending.push_back(PeerEvent::Note(text));
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
            caught_up: self.caught_up(),
            received: FamilyMap::from_fn(|family| self.received.count(family)),
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
