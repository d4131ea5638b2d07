//! Two sessions on a virtual clock, with a network between them that delays, loses and resets: 24 hours a
//! seed. What must hold at every step, and what at the end.

use std::collections::BTreeMap;

use super::*;
use crate::wire::MessageKind;

const HOUR: u64 = 3600;
const SEEDS: u64 = 12;

/// [`crate::random::Random`], in the shapes that are asked for here.
#[derive(Debug)]
struct Random(crate::random::Random);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next() % n
    }

    fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(1 + self.below(most))
    }
}

/// What is under way in the network.
#[derive(Debug)]
enum Packet {
    /// A dial arrives at the other node.
    Syn {
        from: usize,
        dial: u64,
    },
    /// Its answer arrives at the dialler; `wire` is `None` where nobody listens.
    SynAck {
        to: usize,
        dial: u64,
        wire: Option<usize>,
    },
    Data {
        wire: usize,
        to: usize,
        bytes: Bytes,
    },
    Fin {
        wire: usize,
        to: usize,
    },
    Fault,
}

/// A TCP connection.
#[derive(Debug)]
struct Wire {
    /// The connection's number at each node; the dialler's is made when the answer arrives.
    ends: [Option<ConnId>; 2],
    /// When the last packet towards each node arrives: TCP keeps the order.
    last: [Timestamp; 2],
    /// Everything is lost without a sound.
    black_hole: bool,
}

/// What a node's actions must never do.
#[derive(Debug, Default)]
struct Ledger {
    /// Open connections, and whether a NOTIFICATION ended them.
    open: BTreeMap<ConnId, bool>,
    /// The connections that an OPEN went out on.
    attempts: u64,
    /// The ends of such connections: Down, or a second connection given up.
    ends: u64,
    up: Option<ConnId>,
    established: u64,
    collisions: u64,
    connects: u64,
}

#[derive(Debug)]
struct Node {
    session: Session,
    config: SessionConfig,
    conns: u64,
    /// The dial under way.
    dial: Option<u64>,
    ledger: Ledger,
}

#[derive(Debug)]
struct World {
    seed: u64,
    now: Timestamp,
    random: Random,
    nodes: [Node; 2],
    wires: Vec<Wire>,
    queue: BTreeMap<(Timestamp, u64), Packet>,
    sequence: u64,
    /// Longest time that a packet takes.
    latency: u64,
    refused_until: Timestamp,
    refused: Duration,
    faults: u64,
    longest_quiet: u64,
    inputs: u64,
}

impl World {
    fn new(seed: u64, configs: [SessionConfig; 2]) -> Self {
        let mut random = Random(crate::random::Random::new(seed));
        let latency = [200, 20_000, 3_000_000][usize::try_from(seed % 3).unwrap()];
        let nodes = configs.map(|config| Node {
            session: Session::new(SessionConfig { seed: random.0.next(), ..config.clone() }),
            config,
            conns: 0,
            dial: None,
            ledger: Ledger::default(),
        });
        Self {
            seed,
            now: Timestamp::ZERO,
            random,
            nodes,
            wires: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            latency,
            refused_until: Timestamp::ZERO,
            refused: Duration::ZERO,
            faults: 0,
            longest_quiet: 3600,
            inputs: 0,
        }
    }

    fn send(&mut self, at: Timestamp, packet: Packet) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), packet);
    }

    fn delay(&mut self) -> Timestamp {
        self.now + self.random.micros(self.latency)
    }

    /// Behind everything that is on its way to `to` already.
    fn in_order(&mut self, wire: usize, to: usize) -> Timestamp {
        let at = self.delay().max(self.wires[wire].last[to] + Duration::from_nanos(1));
        self.wires[wire].last[to] = at;
        at
    }

    fn input(&mut self, node: usize, input: Input) {
        self.inputs += 1;
        let mut actions = Vec::new();
        self.nodes[node].session.handle(self.now, input, &mut actions);
        for action in actions {
            self.act(node, action);
        }
        self.check(node);
    }

    fn check(&self, node: usize) {
        let (session, ledger) = (&self.nodes[node].session, &self.nodes[node].ledger);
        let place = || format!("seed {} node {node} at {:?}: {:?}", self.seed, self.now, session.state());
        if let Some((at, name)) = session.deadline() {
            assert!(at > self.now, "{name} is due and did not fire: {}", place());
        }
        let (state, config) = (session.state(), &self.nodes[node].config);
        let stuck = session.deadline().is_none() && state < State::Established && !config.passive;
        assert!(!stuck, "nothing will ever happen: {}", place());
        assert_eq!(ledger.up.is_some(), state == State::Established, "{}", place());
        assert!(ledger.open.len() <= 3, "{}", place());
        let alive = u64::try_from(ledger.open.len()).unwrap();
        assert!(ledger.attempts <= ledger.ends + alive, "an attempt ended without a word: {}", place());
        assert!(ledger.ends <= ledger.attempts, "an end without an attempt: {}", place());
    }

    fn act(&mut self, node: usize, action: Action) {
        let (seed, now) = (self.seed, self.now);
        let place = || format!("seed {seed} node {node} at {now:?}");
        let ledger = &mut self.nodes[node].ledger;
        match action {
            Action::Connect => {
                ledger.connects += 1;
                let dial = ledger.connects;
                assert_eq!(self.nodes[node].dial.replace(dial), None, "two dials: {}", place());
                let at = self.delay();
                self.send(at, Packet::Syn { from: node, dial });
            }
            Action::CancelConnect => {
                assert!(self.nodes[node].dial.take().is_some(), "no dial: {}", place());
            }
            Action::Send { conn, bytes } => self.deliver(node, conn, &bytes),
            Action::Close { conn } => {
                assert!(ledger.open.remove(&conn).is_some(), "closed twice: {}", place());
                self.fin(node, conn);
            }
            Action::Established(negotiated) => {
                assert_eq!(ledger.up.replace(negotiated.conn), None, "two established: {}", place());
                ledger.established += 1;
            }
            Action::Down(_) => {
                ledger.up = None;
                ledger.ends += 1;
            }
            Action::Note(text) => {
                if text.contains("second connection") || text.contains("kept the other") {
                    ledger.collisions += 1;
                    ledger.ends += 1;
                }
            }
            Action::State(_) => {}
            Action::Update(_) | Action::Refresh(..) | Action::Malformed(_) => {
                panic!("nobody sent it: {}", place())
            }
        }
    }

    fn deliver(&mut self, node: usize, conn: ConnId, bytes: &Bytes) {
        let (seed, now) = (self.seed, self.now);
        let place = || format!("seed {seed} node {node} at {now:?}, {conn:?}");
        let ledger = &mut self.nodes[node].ledger;
        let ended = ledger.open.get_mut(&conn).unwrap_or_else(|| panic!("not open: {}", place()));
        assert!(is_one_message(bytes), "{}", place());
        let kind = bytes[18];
        assert!(!*ended, "after a NOTIFICATION: {}", place());
        *ended = kind == MessageKind::Notification.code();
        if kind == MessageKind::Open.code() {
            ledger.attempts += 1;
        }
        let wire = self.wire_of(node, conn);
        if self.wires[wire].black_hole {
            return;
        }
        let at = self.in_order(wire, 1 - node);
        self.send(at, Packet::Data { wire, to: 1 - node, bytes: bytes.clone() });
        let written = Input::Written { conn, bytes: bytes.len() };
        self.nodes[node].session.handle(self.now, written, &mut Vec::new());
    }

    fn wire_of(&self, node: usize, conn: ConnId) -> usize {
        self.wires.iter().rposition(|wire| wire.ends[node] == Some(conn)).expect("a wire")
    }

    fn fin(&mut self, node: usize, conn: ConnId) {
        let wire = self.wire_of(node, conn);
        if !self.wires[wire].black_hole {
            let at = self.in_order(wire, 1 - node);
            self.send(at, Packet::Fin { wire, to: 1 - node });
        }
    }

    fn new_conn(&mut self, node: usize) -> ConnId {
        self.nodes[node].conns += 1;
        let conn = ConnId(self.nodes[node].conns);
        self.nodes[node].ledger.open.insert(conn, false);
        conn
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Syn { from, dial } => self.syn(from, dial),
            Packet::SynAck { to, dial, wire } => self.syn_ack(to, dial, wire),
            Packet::Data { wire, to, bytes } => {
                if let Some(conn) = self.reaches(wire, to) {
                    self.input(to, Input::Received { conn, bytes });
                }
            }
            Packet::Fin { wire, to } => {
                if let Some(conn) = self.reaches(wire, to) {
                    self.nodes[to].ledger.open.remove(&conn);
                    self.input(to, Input::Closed { conn, reason: "closed by the peer".to_owned() });
                }
            }
            Packet::Fault => self.fault(),
        }
    }

    /// The open connection at `to` that a packet of `wire` reaches.
    fn reaches(&self, wire: usize, to: usize) -> Option<ConnId> {
        let wire = &self.wires[wire];
        let conn = wire.ends[to].filter(|_| !wire.black_hole)?;
        self.nodes[to].ledger.open.contains_key(&conn).then_some(conn)
    }

    fn syn(&mut self, from: usize, dial: u64) {
        let to = 1 - from;
        let refused = self.now < self.refused_until;
        let wire = (!refused).then(|| {
            let mut wire = Wire { ends: [None; 2], last: [self.now; 2], black_hole: false };
            wire.ends[to] = Some(self.new_conn(to));
            self.wires.push(wire);
            self.wires.len() - 1
        });
        // The answer is under way before the acceptor says anything.
        let at = match wire {
            Some(wire) => self.in_order(wire, from),
            None => self.delay(),
        };
        self.send(at, Packet::SynAck { to: from, dial, wire });
        if let Some(wire) = wire {
            let conn = self.wires[wire].ends[to].unwrap();
            let (local, remote) = (address(2, 179), address(9, 40000));
            self.input(to, Input::Accepted { conn, local, remote });
        }
    }

    fn syn_ack(&mut self, to: usize, dial: u64, wire: Option<usize>) {
        let wanted = self.nodes[to].dial == Some(dial);
        if wanted {
            self.nodes[to].dial = None;
        }
        match wire {
            Some(wire) if wanted => {
                let conn = self.new_conn(to);
                self.wires[wire].ends[to] = Some(conn);
                let (local, remote) = (address(2, 40000), address(9, 179));
                self.input(to, Input::Connected { conn, local, remote });
            }
            Some(wire) => {
                let at = self.in_order(wire, 1 - to);
                self.send(at, Packet::Fin { wire, to: 1 - to });
            }
            None if wanted => self.input(to, Input::ConnectFailed { reason: "refused".to_owned() }),
            None => {}
        }
    }

    fn fault(&mut self) {
        self.faults += 1;
        let node = usize::try_from(self.random.below(2)).unwrap();
        match self.random.below(5) {
            0 | 1 => self.reset_all(),
            2 => {
                // Nothing gets through, and for a while nobody listens.
                for wire in &mut self.wires {
                    wire.black_hole = true;
                }
                let silence = Duration::from_secs(self.random.below(300));
                self.refused_until = self.now + silence;
                self.refused += silence;
            }
            3 => self.input(node, stop_and_come_back()),
            _ => self.restart(node),
        }
        let next = self.now + Duration::from_millis(self.random.below(self.longest_quiet * 1000));
        if next < at_hour(23) {
            self.send(next, Packet::Fault);
        }
    }

    fn reset_all(&mut self) {
        for wire in 0..self.wires.len() {
            for to in 0..2 {
                if let Some(conn) = self.reaches(wire, to) {
                    self.nodes[to].ledger.open.remove(&conn);
                    self.input(to, Input::Closed { conn, reason: "connection reset".to_owned() });
                }
            }
        }
    }

    /// The process dies, the kernel resets its connections, and it is started anew.
    fn restart(&mut self, node: usize) {
        let open: Vec<ConnId> = self.nodes[node].ledger.open.keys().copied().collect();
        for conn in open {
            self.nodes[node].ledger.open.remove(&conn);
            self.fin(node, conn);
        }
        let seed = self.random.0.next();
        let old = &mut self.nodes[node];
        let connects = old.ledger.connects;
        old.session = Session::new(SessionConfig { seed, ..old.config.clone() });
        old.ledger = Ledger { connects, collisions: old.ledger.collisions, ..Ledger::default() };
        old.dial = None;
        self.input(node, Input::Start);
    }

    /// The next thing that happens, in the network or by a timer; `false` after `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let packet = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timer =
            (0..2).filter_map(|node| self.nodes[node].session.deadline().map(|(at, _)| (at, node))).min();
        let packet_first = packet.is_some_and(|at| timer.is_none_or(|(due, _)| at <= due));
        let at = if packet_first { packet } else { timer.map(|(at, _)| at) };
        let Some(at) = at.filter(|at| *at <= end) else { return false };
        self.now = self.now.max(at);
        if packet_first {
            let (_, packet) = self.queue.pop_first().unwrap();
            self.arrive(packet);
        } else if let Some((_, node)) = timer {
            self.input(node, Input::Timeout);
        }
        true
    }

    /// Starts both nodes at nearly the same moment and runs to the end of the day.
    fn run(&mut self) {
        for node in 0..2 {
            self.now = self.now + self.random.micros(300);
            self.input(node, Input::Start);
        }
        let first = self.now + Duration::from_secs(self.random.below(self.longest_quiet));
        self.send(first, Packet::Fault);
        while self.step(at_hour(24)) {}
        self.now = at_hour(24);
        self.check_end();
    }

    fn check_end(&self) {
        let seed = self.seed;
        for node in &self.nodes {
            assert_eq!(node.session.state(), State::Established, "seed {seed}: {node:?}");
            assert_eq!((node.ledger.open.len(), node.dial), (1, None), "seed {seed}");
            // A dial fails every 3.75 s at most while nobody listens; each fault costs a few more.
            let bound = self.refused.as_secs() / 3 + self.faults * 12 + 12;
            assert!(node.ledger.connects <= bound, "seed {seed}: {} connects", node.ledger.connects);
        }
        let [a, b] = [0, 1].map(|node| self.wire_of(node, self.nodes[node].ledger.up.expect("up")));
        assert_eq!(a, b, "seed {seed}: both mean the same connection");
        assert!(self.faults > 20, "seed {seed}: {} faults", self.faults);
    }
}

/// The session sends one whole message an action.
fn is_one_message(bytes: &[u8]) -> bool {
    bytes.len() >= 19 && usize::from(u16::from_be_bytes([bytes[16], bytes[17]])) == bytes.len()
}

fn at_hour(hour: u64) -> Timestamp {
    Timestamp::ZERO + seconds(hour * HOUR)
}

fn stop_and_come_back() -> Input {
    let notification = Some(Notification::cease(4, "clear"));
    Input::Stop(StopReason { notification, hard: false, restart: true })
}

/// Two nodes that differ in identifier or, with the same one, in AS number.
fn pair(seed: u64) -> [SessionConfig; 2] {
    let ids = [["10.0.0.1", "10.0.0.2"], ["10.0.0.9", "10.0.0.2"], ["10.0.0.2", "10.0.0.2"]];
    let [a, b] = ids[usize::try_from(seed % 3).unwrap()];
    let mut pair = [config(OUR_ASN, a), config(PEER_ASN, b)];
    let hold = HoldTime::new([90, 30, 180, 60][usize::try_from(seed % 4).unwrap()]).unwrap();
    for (index, config) in pair.iter_mut().enumerate() {
        config.timers.hold = hold;
        config.passive = seed % 5 == 4 && index == 1;
        config.graceful_restart = (seed % 2 == 1).then_some(GracefulRestartConfig {
            restart_time: 60,
            restarted: false,
            forwarding_kept: true,
            long_lived: None,
        });
    }
    pair
}

#[test]
fn two_sessions_survive_a_day_of_faults_and_end_established() {
    let (mut collisions, mut inputs) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, pair(seed));
        world.run();
        collisions += world.nodes.iter().map(|node| node.ledger.collisions).sum::<u64>();
        inputs += world.inputs;
    }
    assert!(collisions > 20, "the scenario does collide: {collisions}");
    assert!(inputs > 50_000, "and a day is a day: {inputs}");
}

#[test]
fn simultaneous_dials_end_in_one_session_within_a_minute_of_quiet() {
    for seed in 0..300 {
        let mut world = World::new(seed, pair(seed));
        for node in 0..2 {
            world.input(node, Input::Start);
        }
        while world.step(Timestamp::ZERO + seconds(60)) {}
        for node in &world.nodes {
            assert_eq!(node.session.state(), State::Established, "seed {seed}");
            assert_eq!(node.ledger.open.len(), 1, "seed {seed}");
        }
    }
}

#[test]
fn a_peer_that_is_away_for_a_day_is_dialled_at_the_connect_retry_time_and_found_again() {
    let mut world = World::new(1, pair(0));
    world.refused_until = at_hour(24);
    for node in 0..2 {
        world.input(node, Input::Start);
    }
    while world.step(at_hour(24)) {}
    for node in &world.nodes {
        let connects = node.ledger.connects;
        assert!((17_280 * 9 / 10..=23_040).contains(&connects), "one each 3.75 to 5 s: {connects}");
        assert_eq!(node.ledger.attempts, 0);
    }
    while world.step(at_hour(24) + seconds(30)) {}
    assert!(world.nodes.iter().all(|node| node.session.state() == State::Established));
}
