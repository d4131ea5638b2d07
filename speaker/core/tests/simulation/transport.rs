//! What a peer's task does: moves octets between sessions and connections, and sets alarms.

use std::net::SocketAddr;
use std::time::Duration;

use bgp_proto::session::{Action, ConnId, Input};
use bgp_proto::types::FamilyMap;
use bgp_proto::wire::RefreshKind;
use bytes::{Bytes, BytesMut};
use speaker_core::export::Feed;
use speaker_core::received::AdjRibIn;

use super::cluster::{node_address, tor_address};
use super::fabric::{Event, Fabric, Word};
use super::network::{At, Holder, Pace, Side, Wire};
use super::router;

/// Below this the next chunk of a table is taken, in the shell and in half of all runs. Small tables fit below it
/// as a whole; with [`SHORT`] their cursors lag behind, too.
pub(crate) const LOW_WATER: usize = 64 * 1024;
/// The next chunk is taken when nothing of the last one waits.
pub(crate) const SHORT: usize = 1;
/// The most that a chunk has.
const CHUNK: usize = 64 * 1024;
/// The longest that a message between tasks takes.
pub(crate) const CHANNEL: Duration = Duration::from_micros(300);

impl Fabric {
    /// Hands a session an input, does what it asks for, and writes what can be written.
    pub(crate) fn drive(&mut self, at: At, input: Input) {
        self.input(at, input);
        self.pump(at);
        self.set_alarm(at);
    }

    fn input(&mut self, at: At, input: Input) {
        let now = self.now();
        let Some(end) = self.end_mut(at) else { return };
        let mut actions = Vec::new();
        end.session.handle(now, input, &mut actions);
        self.counts.inputs += 1;
        for action in actions {
            if self.trace && !matches!(action, Action::Send { .. }) {
                eprintln!("               {at:?} {action:?}");
            }
            self.act(at, action);
        }
    }

    pub(crate) fn set_alarm(&mut self, at: At) {
        let Some(end) = self.end_mut(at) else { return };
        let Some((due, _)) = end.session.deadline() else { return };
        if end.alarm.is_none_or(|alarm| due < alarm) {
            end.alarm = Some(due);
            let generation = end.generation;
            self.queue.at(due, Event::Alarm { at, generation });
        }
    }

    pub(crate) fn alarm(&mut self, at: At, generation: u64) {
        let now = self.now();
        let Some(end) = self.same(at, generation) else { return };
        if end.alarm.is_some_and(|alarm| alarm > now) {
            return;
        }
        end.alarm = None;
        if end.session.deadline().is_some_and(|(due, _)| due <= now) {
            self.drive(at, Input::Timeout);
        } else {
            self.set_alarm(at);
        }
    }

    fn act(&mut self, at: At, action: Action) {
        match action {
            Action::Connect => self.connect(at),
            Action::CancelConnect => {
                let given_up = self.end_mut(at).and_then(|end| end.dial.take());
                if given_up.is_none() {
                    self.broken(&format!("{at:?} gives up a dial that it does not have"));
                }
            }
            Action::Send { conn, bytes } => {
                let Some(connection) = self.end_mut(at).and_then(|end| end.connections.get_mut(&conn)) else {
                    self.broken(&format!("{at:?} sends on a connection that is closed"));
                };
                connection.out.control(bytes);
            }
            Action::Close { conn } => self.close(at, conn),
            Action::Established(negotiated) => {
                self.counts.established += 1;
                let end = self.end_mut(at).unwrap();
                end.established += 1;
                let other = end.up.replace(negotiated.clone());
                end.feed = Feed::new(negotiated.enhanced_refresh);
                if other.is_some() {
                    self.broken(&format!("{at:?} is established twice"));
                }
                match at.side {
                    Side::Node => self.tell_hub(at, Word::Established(negotiated)),
                    Side::Tor => self.greet(at, negotiated.conn),
                }
            }
            Action::Malformed(message) => {
                self.broken(&format!("{at:?} got a malformed message: {message:?}"))
            }
            Action::Down(_) => self.down(at),
            Action::Update(update) => self.take_update(at, &update),
            Action::Refresh(family, kind) => self.take_refresh(at, family, kind),
            Action::Note(text) => {
                let collision = text.contains("second connection") || text.contains("kept the other");
                self.counts.collisions += u64::from(collision);
            }
            Action::State(_) => {}
        }
    }

    fn connect(&mut self, at: At) {
        let end = self.end_mut(at).unwrap();
        end.dials += 1;
        let (dial, generation) = (end.dials, end.generation);
        if end.dial.replace(dial).is_some() {
            self.broken(&format!("{at:?} dials twice at once"));
        }
        let arrival = self.network.arrival(self.queue.now, &mut self.random, at.other());
        self.queue.at(arrival, Event::Syn { from: at, generation, dial });
    }

    fn down(&mut self, at: At) {
        let end = self.end_mut(at).unwrap();
        end.up = None;
        end.feed = Feed::default();
        match at.side {
            Side::Node => self.tell_hub(at, Word::Down),
            Side::Tor => {
                if let Some(peers) = &mut self.tors[at.tor].peers {
                    peers[at.node].1 = router::Table::default();
                }
            }
        }
    }

    fn greet(&mut self, at: At, conn: ConnId) {
        let asn = self.tors[at.tor].asn;
        let end = self.end_mut(at).unwrap();
        let up = end.up.as_ref().unwrap();
        let bytes = router::greeting(asn, !up.internal(), &up.encode);
        let length = bytes.len();
        if let Some(connection) = end.connections.get_mut(&conn) {
            connection.out.table(bytes);
        }
        self.input(at, Input::Enqueued { conn, bytes: length });
    }

    fn take_update(&mut self, at: At, update: &bgp_proto::wire::Update) {
        match at.side {
            Side::Node => {
                let running = self.nodes[at.node].running_mut(at.tor).unwrap();
                running.received.apply(update, 0);
                if !update.issues.is_empty() {
                    self.broken(&format!("{at:?} got a faulty UPDATE: {:?}", update.issues));
                }
            }
            Side::Tor => {
                self.counts.updates += 1;
                let table = &mut self.tors[at.tor].peers.as_mut().unwrap()[at.node].1;
                match table.apply(update) {
                    Ok(announced) => self.check_announced(at, &announced, update.end_of_rib),
                    Err(what) => self.broken(&format!("{at:?}: {what}")),
                }
            }
        }
    }

    fn take_refresh(&mut self, at: At, family: bgp_proto::types::Family, kind: RefreshKind) {
        match at.side {
            Side::Node => {
                if kind == RefreshKind::Request
                    && let Some(end) = self.end_mut(at)
                {
                    end.feed.refresh(family);
                }
            }
            Side::Tor => {
                let table = &mut self.tors[at.tor].peers.as_mut().unwrap()[at.node].1;
                if let Err(what) = table.refresh(family, kind) {
                    self.broken(&format!("{at:?}: {what}"));
                }
                self.counts.refreshes += u64::from(kind == RefreshKind::End);
            }
        }
    }

    fn pace(&mut self, wire: usize, to: Side) -> Pace {
        let tor = self.network.wires[wire].tor;
        if to == Side::Tor && self.now() < self.tors[tor].slow {
            let piece = 1 + self.random.below(64);
            return Pace { window: 64, piece, gap: Duration::from_millis(100) };
        }
        Pace { window: 256 * 1024, piece: self.cut, gap: Duration::ZERO }
    }

    /// Takes from the tables and writes, as long as there is room.
    pub(crate) fn pump(&mut self, at: At) {
        let Some(end) = self.end(at) else { return };
        let conns: Vec<ConnId> = end.connections.keys().copied().collect();
        for conn in conns {
            while self.write(at, conn) {}
        }
    }

    /// One piece; says whether there may be more.
    fn write(&mut self, at: At, conn: ConnId) -> bool {
        self.refill(at, conn);
        let Some(connection) = self.end(at).and_then(|end| end.connections.get(&conn)) else { return false };
        let wire = connection.wire;
        if connection.out.is_empty() {
            return false;
        }
        let to = at.side.other();
        let pace = self.pace(wire, to);
        let room = pace.window.saturating_sub(self.network.wires[wire].in_flight(to)).min(pace.piece);
        if room == 0 {
            return false;
        }
        let connection = self.end_mut(at).unwrap().connections.get_mut(&conn).unwrap();
        let bytes = take(connection, room);
        let length = bytes.len();
        self.send(wire, to, bytes, pace.gap);
        self.input(at, Input::Written { conn, bytes: length });
        true
    }

    fn send(&mut self, wire: usize, to: Side, bytes: Bytes, gap: Duration) {
        self.network.wires[wire].sent(to, bytes.len());
        if self.network.wires[wire].vanished == Some(to) {
            self.answer_for_the_dead(wire, to);
            return;
        }
        let arrival = self.network.in_order(self.queue.now, &mut self.random, wire, to, gap);
        self.queue.at(arrival, Event::Data { wire, to, bytes });
    }

    /// A host that is there again knows nothing of the connection, and says so.
    fn answer_for_the_dead(&mut self, wire: usize, dead: Side) {
        let Wire { node, tor, .. } = self.network.wires[wire];
        let back = match dead {
            Side::Node => !self.nodes[node].dark,
            Side::Tor => !self.tors[tor].dark,
        };
        if back && self.network.wires[wire].end(dead.other()).is_some() {
            let to = dead.other();
            let now = self.queue.now;
            let arrival = self.network.in_order(now, &mut self.random, wire, to, Duration::ZERO);
            self.queue.at(arrival, Event::Fin { wire, to, reason: "connection reset by peer" });
        }
    }

    /// TCP sends again what was not acknowledged, and gets a reset.
    pub(crate) fn host_is_back(&mut self, of: impl Fn(&Wire) -> bool, side: Side) {
        let unanswered: Vec<usize> = (0..self.network.wires.len())
            .filter(|index| {
                let wire = &self.network.wires[*index];
                of(wire) && wire.vanished == Some(side) && wire.in_flight(side) > 0
            })
            .collect();
        for wire in unanswered {
            self.answer_for_the_dead(wire, side);
        }
    }

    fn refill(&mut self, at: At, conn: ConnId) {
        let low_water = self.low_water;
        loop {
            let Some(end) = self.end_mut(at).filter(|end| end.is_up(conn)) else { return };
            let Some(connection) = end.connections.get_mut(&conn) else { return };
            if connection.out.table_len() >= low_water {
                return;
            }
            let Some(chunk) = end.feed.next_chunk() else { return };
            let bytes = chunk.len();
            connection.out.table(chunk);
            end.updates_sent += 1;
            let waiting = connection.out.table_len();
            if waiting > LOW_WATER + CHUNK {
                self.broken(&format!("{at:?}: {waiting} octets wait for a slow peer"));
            }
            self.input(at, Input::Enqueued { conn, bytes });
        }
    }

    /// Sends what the session said last, then closes.
    fn close(&mut self, at: At, conn: ConnId) {
        let Some(mut connection) = self.end_mut(at).and_then(|end| end.connections.remove(&conn)) else {
            self.broken(&format!("{at:?} closes a connection twice"));
        };
        connection.out.drop_table();
        let (wire, to) = (connection.wire, at.side.other());
        while !connection.out.is_empty() {
            let bytes = take(&mut connection, 4096);
            self.send(wire, to, bytes, Duration::ZERO);
        }
        self.hang_up(wire, at.side, "closed by the peer");
    }

    /// The connection is over at `side`; the other end hears of it.
    pub(crate) fn hang_up(&mut self, wire: usize, side: Side, reason: &'static str) {
        let to = side.other();
        self.network.wires[wire].set_end(side, None);
        if self.network.wires[wire].vanished.is_none() {
            let arrival = self.network.in_order(self.queue.now, &mut self.random, wire, to, Duration::ZERO);
            self.queue.at(arrival, Event::Fin { wire, to, reason });
        }
    }

    /// The open connection that a packet reaches.
    fn reached(&self, wire: usize, to: Side) -> Option<(At, ConnId)> {
        let Wire { node, tor, .. } = self.network.wires[wire];
        let at = At { node, tor, side: to };
        let Holder { generation, conn } = self.network.wires[wire].end(to)?;
        let end = self.end(at).filter(|end| end.generation == generation)?;
        end.connections.contains_key(&conn).then_some((at, conn))
    }

    pub(crate) fn syn(&mut self, from: At, generation: u64, dial: u64) {
        let at = from.other();
        if match at.side {
            Side::Node => self.nodes[at.node].dark,
            Side::Tor => self.tors[at.tor].dark,
        } {
            return;
        }
        let listens = self.end(at).is_some();
        let wire = listens.then(|| {
            let wire = self.network.open(at.node, at.tor);
            let end = self.end_mut(at).unwrap();
            let holder = Holder { generation: end.generation, conn: end.open(wire) };
            self.network.wires[wire].set_end(at.side, Some(holder));
            (wire, holder.conn)
        });
        // The answer is under way before the acceptor says anything.
        let arrival = match wire {
            Some((wire, _)) => {
                self.network.in_order(self.queue.now, &mut self.random, wire, from.side, Duration::ZERO)
            }
            None => self.network.arrival(self.queue.now, &mut self.random, from),
        };
        let answer = Event::SynAck { to: from, generation, dial, wire: wire.map(|(wire, _)| wire) };
        self.queue.at(arrival, answer);
        if let Some((_, conn)) = wire {
            let (local, remote) = addresses(at, false);
            self.drive(at, Input::Accepted { conn, local, remote });
        }
    }

    pub(crate) fn syn_ack(&mut self, to: At, generation: u64, dial: u64, wire: Option<usize>) {
        let end = self.same(to, generation);
        let wanted = end.is_some_and(|end| end.dial.take_if(|at_work| *at_work == dial).is_some());
        match wire {
            Some(wire) if wanted => {
                let end = self.end_mut(to).unwrap();
                let conn = end.open(wire);
                self.network.wires[wire].set_end(to.side, Some(Holder { generation, conn }));
                let (local, remote) = addresses(to, true);
                self.drive(to, Input::Connected { conn, local, remote });
            }
            Some(wire) => self.hang_up(wire, to.side, "connection reset by peer"),
            None if wanted => self.drive(to, Input::ConnectFailed { reason: "refused".to_owned() }),
            None => {}
        }
    }

    pub(crate) fn data(&mut self, wire: usize, to: Side, bytes: Bytes) {
        self.network.wires[wire].taken(to, bytes.len());
        if let Some((at, conn)) = self.reached(wire, to) {
            self.drive(at, Input::Received { conn, bytes });
        }
        if let Some((sender, _)) = self.reached(wire, to.other()) {
            self.pump(sender);
            self.set_alarm(sender);
        }
    }

    pub(crate) fn fin(&mut self, wire: usize, to: Side, reason: &'static str) {
        let reached = self.reached(wire, to);
        self.network.wires[wire].set_end(to, None);
        if let Some((at, conn)) = reached {
            self.end_mut(at).unwrap().connections.remove(&conn);
            self.drive(at, Input::Closed { conn, reason: reason.to_owned() });
        }
    }
}

/// The first octets that wait.
fn take(connection: &mut super::endpoint::Connection, most: usize) -> Bytes {
    let mut bytes = BytesMut::new();
    for slice in connection.out.slices() {
        let room = most - bytes.len();
        bytes.extend_from_slice(&slice[..room.min(slice.len())]);
    }
    connection.out.advance(bytes.len());
    bytes.freeze()
}

/// Our end and the other one.
fn addresses(at: At, dialled: bool) -> (SocketAddr, SocketAddr) {
    let (node, tor) = (node_address(at.node), tor_address(at.tor));
    let (local, remote) = match at.side {
        Side::Node => (node, tor),
        Side::Tor => (tor, node),
    };
    let (mine, theirs) = if dialled { (40_000, 179) } else { (179, 40_000) };
    (SocketAddr::new(local, mine), SocketAddr::new(remote, theirs))
}

/// Nothing received yet, counted.
pub(crate) fn nothing_received() -> AdjRibIn {
    AdjRibIn::new(speaker_config::model::Receive::Count, FamilyMap::default())
}
