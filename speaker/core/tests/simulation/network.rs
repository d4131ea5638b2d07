//! TCP as far as BGP can tell: connections that keep the order, delay, stall, and end; never lose.

use std::time::Duration;

use bgp_proto::session::ConnId;
use bgp_proto::types::Timestamp;

use super::clock::Random;

/// Which end of a peering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Node,
    Tor,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Node, Self::Tor];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Node => Self::Tor,
            Self::Tor => Self::Node,
        }
    }
}

/// One end of the peering between a node and a ToR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) node: usize,
    pub(crate) tor: usize,
    pub(crate) side: Side,
}

impl At {
    pub(crate) fn other(self) -> Self {
        Self { side: self.side.other(), ..self }
    }
}

/// A process's connection: the process may die and another have the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) generation: u64,
    pub(crate) conn: ConnId,
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// When its last packet arrives.
    last: Timestamp,
    /// Octets that the receiver has not taken yet.
    in_flight: usize,
}

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) node: usize,
    pub(crate) tor: usize,
    ends: [Option<Holder>; 2],
    /// Towards each side.
    lanes: [Lane; 2],
    /// The host of this side vanished without a word.
    pub(crate) vanished: Option<Side>,
}

impl Wire {
    pub(crate) fn end(&self, side: Side) -> Option<Holder> {
        self.ends[side as usize]
    }

    pub(crate) fn set_end(&mut self, side: Side, holder: Option<Holder>) {
        self.ends[side as usize] = holder;
    }

    pub(crate) fn in_flight(&self, to: Side) -> usize {
        self.lanes[to as usize].in_flight
    }

    pub(crate) fn sent(&mut self, to: Side, bytes: usize) {
        self.lanes[to as usize].in_flight += bytes;
    }

    pub(crate) fn taken(&mut self, to: Side, bytes: usize) {
        self.lanes[to as usize].in_flight -= bytes;
    }
}

/// The way between a node and a ToR.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// Towards each side: nothing arrives before. TCP sends again until then.
    blocked: [Timestamp; 2],
}

/// What a receiver lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Octets that fit into both sockets' buffers.
    pub(crate) window: usize,
    /// The most that arrives at once.
    pub(crate) piece: usize,
    /// Between two pieces.
    pub(crate) gap: Duration,
}

/// All connections and ways.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) wires: Vec<Wire>,
    links: Vec<Link>,
    tors: usize,
    /// The longest that a packet takes.
    pub(crate) latency: Duration,
}

impl Network {
    pub(crate) fn new(nodes: usize, tors: usize, latency: Duration) -> Self {
        let links = vec![Link { blocked: [Timestamp::ZERO; 2] }; nodes * tors];
        Self { wires: Vec::new(), links, tors, latency }
    }

    /// Nothing arrives at `to` before `until`.
    pub(crate) fn block(&mut self, to: At, until: Timestamp) {
        let blocked = &mut self.links[to.node * self.tors + to.tor].blocked[to.side as usize];
        *blocked = until.max(*blocked);
    }

    /// When a packet without a connection arrives.
    pub(crate) fn arrival(&self, now: Timestamp, random: &mut Random, to: At) -> Timestamp {
        let blocked = self.links[to.node * self.tors + to.tor].blocked[to.side as usize];
        now.max(blocked) + random.within(self.latency)
    }

    /// When a packet of a connection arrives: behind all before it.
    pub(crate) fn in_order(
        &mut self,
        now: Timestamp,
        random: &mut Random,
        wire: usize,
        to: Side,
        gap: Duration,
    ) -> Timestamp {
        let Wire { node, tor, .. } = self.wires[wire];
        let at = self.arrival(now, random, At { node, tor, side: to });
        let lane = &mut self.wires[wire].lanes[to as usize];
        lane.last = at.max(lane.last + gap.max(Duration::from_nanos(1)));
        lane.last
    }

    pub(crate) fn open(&mut self, node: usize, tor: usize) -> usize {
        let lanes = [Lane::default(); 2];
        self.wires.push(Wire { node, tor, ends: [None; 2], lanes, vanished: None });
        self.wires.len() - 1
    }
}
