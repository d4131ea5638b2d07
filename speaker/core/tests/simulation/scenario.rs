//! A life of a fabric: changes and faults for a while, then quiet.

use std::time::Duration;

use bgp_proto::session::{Input, StopReason};
use bgp_proto::types::{Family, Timestamp};
use bgp_proto::wire::Notification;

use super::clock::Random;
use super::cluster::{ASN, TorSpec, config};
use super::fabric::{Counts, Event, Fabric};
use super::network::{At, Side, Wire};

/// How long everything may take to be right again: IdleHoldTime at its longest, a dial, and some more.
const RECOVERY: Duration = Duration::from_secs(120);
/// How long the quiet is watched.
const QUIET: Duration = Duration::from_secs(30);

/// How large and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) tors: usize,
    pub(crate) services: usize,
    /// How long there are changes and faults.
    pub(crate) storm: Duration,
    /// The hold time, in seconds.
    pub(crate) hold: u16,
    /// Nodes that are compared with the answer from scratch at every change.
    pub(crate) watched: usize,
    /// Between two changes, and between two faults, at most.
    pub(crate) changes: Duration,
    pub(crate) faults: Duration,
}

/// One seed. Panics where an invariant is broken.
pub(crate) fn run(seed: u64, size: Size, trace: bool) -> Counts {
    let mut random = Random(seed ^ 0x5eed);
    let specs = (0..size.tors)
        .map(|index| {
            let passive = random.below(4);
            TorSpec {
                asn: if random.one_in(4) { ASN } else { 64_600 + u32::try_from(index).unwrap() },
                node_passive: passive == 0,
                tor_passive: passive == 1,
                graceful: random.one_in(3),
                hold: size.hold,
            }
        })
        .collect();
    let latency = *random.pick(&[200, 5_000, 200_000]);
    let mut fabric = Fabric::new(seed, size.nodes, specs, size.services, Duration::from_micros(latency));
    fabric.trace = trace;
    fabric.watched = size.watched;
    fabric.storm(size);
    fabric.quiet();
    fabric.counts
}

impl Fabric {
    fn storm(&mut self, size: Size) {
        for tor in 0..size.tors {
            let wait = self.random.within(Duration::from_secs(2));
            self.queue.after(wait, Event::TorStart(tor));
        }
        for node in 0..size.nodes {
            let wait = self.random.within(Duration::from_secs(3));
            self.queue.after(wait, Event::NodeStart(node));
        }
        self.calm = Timestamp::ZERO + size.storm;
        self.pace_of = (size.changes, size.faults);
        self.queue.after(Duration::from_secs(1), Event::Change);
        self.queue.after(Duration::from_secs(3), Event::Fault);
        self.run_to(self.calm);
    }

    /// Everything becomes right and stays so, and nobody has anything left to say.
    fn quiet(&mut self) {
        let deadline = self.now() + RECOVERY;
        let mut step = Duration::from_secs(2);
        loop {
            self.run_to(self.now() + step);
            match self.is_settled() {
                Ok(()) => break,
                Err(what) if self.now() >= deadline => self.broken(&format!("not settled: {what}")),
                Err(_) => step = Duration::from_secs(4),
            }
        }
        let (events, updates) = (self.queue.events, self.counts.updates);
        self.run_to(self.now() + QUIET);
        if let Err(what) = self.is_settled() {
            self.broken(&format!("settled, and then not: {what}"));
        }
        if self.counts.updates != updates {
            self.broken(&format!("{} UPDATEs with nothing to say", self.counts.updates - updates));
        }
        // Each end sends a KEEPALIVE each 2.25 s at least, which arrives, moves its alarms, and may be cut.
        let pairs = u64::try_from(self.nodes.len() * self.tors.len()).unwrap();
        let most = pairs * QUIET.as_secs() * 8 + 100;
        let events = self.queue.events - events;
        if events > most {
            self.broken(&format!("{events} events in {QUIET:?} of quiet"));
        }
    }

    /// A user changes something.
    pub(crate) fn change(&mut self) {
        if self.now() >= self.calm {
            return;
        }
        if self.random.one_in(10) {
            let (nodes, specs) = (self.nodes.len(), self.specs.clone());
            self.cluster.config = config(nodes, &specs, &mut self.random).into();
            for node in 0..nodes {
                let wait = self.random.within(Duration::from_millis(500));
                if let Some(life) = self.nodes[node].process.as_ref().map(|process| process.life) {
                    self.queue.after(wait, Event::Reload { node, life });
                }
            }
        } else {
            let many = if self.random.one_in(4) { 1 + self.random.below(6) } else { 1 };
            let references: Vec<_> = (0..many).map(|_| self.cluster.change(&mut self.random)).collect();
            for node in 0..self.nodes.len() {
                self.deliver(node, references.clone(), false, Duration::from_millis(100));
            }
        }
        if self.random.one_in(6) {
            let (service, left) = (self.cluster.service(&mut self.random), 2 + self.random.below(6));
            self.flap(service, left);
        }
        let wait = self.random.within(self.pace_of.0);
        self.queue.after(wait, Event::Change);
    }

    /// What comes and goes again, and again, before a slow peer has heard of it.
    pub(crate) fn flap(&mut self, service: usize, left: usize) {
        if self.now() >= self.calm {
            return;
        }
        let reference = self.cluster.flap(service, !left.is_multiple_of(2));
        for node in 0..self.nodes.len() {
            self.deliver(node, vec![reference.clone()], false, Duration::from_millis(10));
        }
        if left > 0 {
            let wait = Duration::from_millis(10) + self.random.within(Duration::from_millis(200));
            self.queue.after(wait, Event::Flap { service, left: left - 1 });
        }
    }

    /// Something breaks, at one place.
    pub(crate) fn fault(&mut self) {
        if self.now() >= self.calm {
            return;
        }
        self.counts.faults += 1;
        let (node, tor) = (self.random.below(self.nodes.len()), self.random.below(self.tors.len()));
        match self.random.below(16) {
            0 | 1 => self.reset_connections(node, tor),
            2..=4 => self.partition(node, tor),
            5 => self.kill_node(node, false),
            6 => self.kill_node(node, true),
            7 => {
                self.stop_node(node);
                self.later(Event::NodeStart(node), 8_000);
            }
            8 => self.kill_tor(tor, false),
            9 => self.kill_tor(tor, true),
            10 => self.clear(node, tor),
            11 => {
                let until = self.queue.now + self.random.within(Duration::from_secs(40));
                self.tors[tor].slow = until.min(self.calm);
            }
            12 => {
                let until = self.queue.now + self.random.within(Duration::from_secs(12));
                self.tors[tor].stalled = until.min(self.calm);
                self.queue.at(self.tors[tor].stalled, Event::Resume(tor));
            }
            13 | 14 => self.refresh(node, tor),
            _ => {
                let at = At { node, tor, side: Side::Node };
                if let Some(end) = self.end_mut(at) {
                    Family::ALL.into_iter().for_each(|family| end.feed.rewind(family));
                    self.pump(at);
                    self.set_alarm(at);
                }
            }
        }
        let wait = self.random.within(self.pace_of.1);
        self.queue.after(wait, Event::Fault);
    }

    fn later(&mut self, event: Event, most_millis: u64) {
        let wait = self.random.within(Duration::from_millis(most_millis));
        self.queue.after(wait, event);
    }

    fn side(&mut self) -> Side {
        *self.random.pick(&Side::BOTH)
    }

    /// Both ends of each connection see a reset, one a little later than the other.
    fn reset_connections(&mut self, node: usize, tor: usize) {
        for wire in 0..self.network.wires.len() {
            let Wire { node: n, tor: t, .. } = self.network.wires[wire];
            if (n, t) == (node, tor) && self.network.wires[wire].vanished.is_none() {
                for to in Side::BOTH {
                    if self.network.wires[wire].end(to).is_some() {
                        let now = self.queue.now;
                        let at = self.network.in_order(now, &mut self.random, wire, to, Duration::ZERO);
                        self.queue.at(at, Event::Fin { wire, to, reason: "connection reset by peer" });
                    }
                }
            }
        }
    }

    /// Nothing arrives for a while: between two, from or to a node, or from or to a ToR.
    fn partition(&mut self, node: usize, tor: usize) {
        let until = (self.queue.now + self.random.within(Duration::from_secs(30))).min(self.calm);
        let (whole_node, whole_tor) = (self.random.one_in(4), self.random.one_in(4));
        let one_way = self.random.one_in(3).then(|| self.side());
        for (n, t) in self.pairs() {
            if (n == node || whole_tor) && (t == tor || whole_node) {
                for side in Side::BOTH.into_iter().filter(|side| one_way.is_none_or(|one| one == *side)) {
                    self.network.block(At { node: n, tor: t, side }, until);
                }
            }
        }
    }

    /// kill -9, after which the kernel closes the connections; or the power goes, and nobody says anything.
    fn kill_node(&mut self, node: usize, dark: bool) {
        for tor in 0..self.tors.len() {
            self.abandon(At { node, tor, side: Side::Node }, dark);
        }
        self.counts.kills += u64::from(self.nodes[node].process.is_some());
        self.nodes[node].process = None;
        self.nodes[node].dark |= dark;
        self.note_gates(node);
        self.later(Event::NodeStart(node), 20_000);
    }

    fn kill_tor(&mut self, tor: usize, dark: bool) {
        for node in 0..self.nodes.len() {
            self.abandon(At { node, tor, side: Side::Tor }, dark);
        }
        self.tors[tor].peers = None;
        self.tors[tor].dark |= dark;
        self.later(Event::TorStart(tor), 20_000);
    }

    fn abandon(&mut self, at: At, dark: bool) {
        let Some(end) = self.end_mut(at) else { return };
        let wires: Vec<usize> = end.connections.values().map(|connection| connection.wire).collect();
        end.connections.clear();
        for wire in wires {
            if dark {
                self.network.wires[wire].vanished = Some(at.side);
                self.network.wires[wire].set_end(at.side, None);
            } else {
                self.hang_up(wire, at.side, "connection reset by peer");
            }
        }
    }

    /// `clear PEER`, at either end.
    fn clear(&mut self, node: usize, tor: usize) {
        let at = At { node, tor, side: self.side() };
        let notification = Some(Notification::cease(4, ""));
        self.drive(at, Input::Stop(StopReason { notification, hard: true, restart: true }));
    }

    /// The ToR asks for the table again.
    fn refresh(&mut self, node: usize, tor: usize) {
        let at = At { node, tor, side: Side::Tor };
        if self.now() < self.tors[tor].stalled {
            return;
        }
        if self.end(at).is_some_and(|end| end.up.is_some()) {
            let family = *self.random.pick(&Family::ALL);
            self.drive(at, Input::RequestRefresh(family));
        }
    }
}
