//! The fabric: everything there is, and what happens next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::session::{ConnId, Negotiated};
use bgp_proto::types::{Asn, FamilyMap, HoldTime, Prefix, Timestamp};
use bytes::Bytes;
use speaker_config::objects::ObjectRef;
use speaker_core::export::Table;
use speaker_core::ipam::ServiceStatus;

use super::clock::{Queue, Random};
use super::cluster::{Cluster, TorSpec};
use super::endpoint::Endpoint;
use super::network::{At, Network, Side};
use super::node::Node;
use super::router::{self, Tor};
use super::transport;

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A session's deadline may have come.
    Alarm { at: At, generation: u64 },
    /// A dial arrives at the other end.
    Syn { from: At, generation: u64, dial: u64 },
    /// Its answer arrives at the dialler; without a wire it is refused.
    SynAck { to: At, generation: u64, dial: u64, wire: Option<usize> },
    /// Octets arrive.
    Data { wire: usize, to: Side, bytes: Bytes },
    /// The end of a connection arrives.
    Fin { wire: usize, to: Side, reason: &'static str },
    /// A node's source delivers objects.
    Watch { node: usize, life: u64, references: Vec<ObjectRef>, first: bool },
    /// Statuses are on the disk.
    Recorded { node: usize, life: u64, statuses: Vec<ServiceStatus> },
    /// A node waits no longer for statuses to be recorded.
    GiveUp { node: usize, life: u64 },
    /// A node sees the new `speaker.yaml`.
    Reload { node: usize, life: u64 },
    /// A peer's task tells the hub.
    Told { at: At, generation: u64, word: Word },
    /// The hub tells a peer's task.
    Order { at: At, generation: u64, order: Order },
    /// Long enough after a gate closed.
    Closed { node: usize, prefix: Prefix, since: Timestamp },
    /// A node's process starts.
    NodeStart(usize),
    /// A ToR starts.
    TorStart(usize),
    /// A ToR's process goes on after a stall.
    Resume(usize),
    /// Somebody changes the cluster.
    Change,
    /// A Service's endpoints come and go, so many times more.
    Flap { service: usize, left: usize },
    /// Something breaks.
    Fault,
}

/// What a peer's task tells the hub.
#[derive(Debug)]
pub(crate) enum Word {
    Established(Box<Negotiated>),
    Down,
}

/// What the hub tells a peer's task.
#[derive(Debug)]
pub(crate) enum Order {
    Attach(ConnId, FamilyMap<Option<Arc<Table>>>),
    Wake,
}

/// What happened over a run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) inputs: u64,
    pub(crate) updates: u64,
    pub(crate) established: u64,
    pub(crate) collisions: u64,
    pub(crate) faults: u64,
    pub(crate) refreshes: u64,
    pub(crate) kills: u64,
    pub(crate) most_routes: usize,
    pub(crate) most_tombstones: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.updates += other.updates;
        self.established += other.established;
        self.collisions += other.collisions;
        self.faults += other.faults;
        self.refreshes += other.refreshes;
        self.kills += other.kills;
        self.most_routes = self.most_routes.max(other.most_routes);
        self.most_tombstones = self.most_tombstones.max(other.most_tombstones);
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Fabric {
    pub(crate) queue: Queue<Event>,
    pub(crate) random: Random,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tors: Vec<Tor>,
    pub(crate) specs: Vec<TorSpec>,
    pub(crate) cluster: Cluster,
    pub(crate) counts: Counts,
    /// Numbers of processes and endpoints.
    pub(crate) lives: u64,
    /// Between two changes, and between two faults, at most.
    pub(crate) pace_of: (Duration, Duration),
    /// Users and faults act until then, and partitions are over.
    pub(crate) calm: Timestamp,
    /// Nodes from this one on are examined at the end alone.
    pub(crate) watched: usize,
    /// How small the pieces are in which octets arrive.
    pub(crate) cut: usize,
    /// How much waits for a connection before a table is asked for more.
    pub(crate) low_water: usize,
    pub(crate) trace: bool,
}

impl Fabric {
    pub(crate) fn new(
        seed: u64,
        nodes: usize,
        specs: Vec<TorSpec>,
        services: usize,
        latency: Duration,
    ) -> Self {
        let mut random = Random(seed);
        let cluster = Cluster::new(nodes, &specs, services, &mut random);
        let tors = specs.iter().map(|spec| Tor::new(Asn::new(spec.asn).unwrap())).collect();
        let cut = *random.pick(&[1460, 1460, 65_536, 30]);
        let low_water = *random.pick(&[transport::SHORT, transport::LOW_WATER]);
        Self {
            queue: Queue::new(),
            network: Network::new(nodes, specs.len(), latency),
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            tors,
            specs,
            cluster,
            counts: Counts::default(),
            lives: 0,
            pace_of: (Duration::ZERO, Duration::ZERO),
            calm: Timestamp::ZERO,
            watched: usize::MAX,
            cut,
            low_water,
            random,
            trace: false,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.queue.now
    }

    pub(crate) fn life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// An end of a peering, where there is one.
    pub(crate) fn end(&self, at: At) -> Option<&Endpoint> {
        match at.side {
            Side::Node => self.nodes[at.node].running(at.tor).map(|running| &running.endpoint),
            Side::Tor => self.tors[at.tor].peers.as_ref().map(|peers| &peers[at.node].0),
        }
    }

    pub(crate) fn end_mut(&mut self, at: At) -> Option<&mut Endpoint> {
        match at.side {
            Side::Node => self.nodes[at.node].running_mut(at.tor).map(|running| &mut running.endpoint),
            Side::Tor => self.tors[at.tor].peers.as_mut().map(|peers| &mut peers[at.node].0),
        }
    }

    /// An end, unless it is another one by now.
    pub(crate) fn same(&mut self, at: At, generation: u64) -> Option<&mut Endpoint> {
        self.end_mut(at).filter(|end| end.generation == generation)
    }

    /// Every peering.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (nodes, tors) = (self.nodes.len(), self.tors.len());
        (0..nodes).flat_map(move |node| (0..tors).map(move |tor| (node, tor)))
    }

    /// What breaks an invariant, with the time.
    pub(crate) fn broken(&self, what: &str) -> ! {
        panic!("at {:.6} s: {what}", self.now().as_nanos() as f64 / 1e9)
    }

    /// Runs to `end`.
    pub(crate) fn run_to(&mut self, end: Timestamp) {
        while let Some(event) = self.queue.pop(end) {
            if self.trace {
                eprintln!("{:>14} {event:?}", self.now().as_nanos() / 1000);
            }
            self.dispatch(event);
        }
    }

    /// The ToR whose process an event needs.
    fn needs(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Alarm { at: At { tor, side: Side::Tor, .. }, .. }
            | Event::Syn { from: At { tor, side: Side::Node, .. }, .. }
            | Event::SynAck { to: At { tor, side: Side::Tor, .. }, .. } => Some(*tor),
            Event::Data { wire, to: Side::Tor, .. } | Event::Fin { wire, to: Side::Tor, .. } => {
                Some(self.network.wires[*wire].tor)
            }
            _ => None,
        }
    }

    fn dispatch(&mut self, event: Event) {
        if let Some(tor) = self.needs(&event) {
            let now = self.now();
            let router = &mut self.tors[tor];
            if now < router.stalled || !router.deferred.is_empty() {
                router.deferred.push_back(event);
                return;
            }
        }
        self.happen(event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Alarm { at, generation } => self.alarm(at, generation),
            Event::Syn { from, generation, dial } => self.syn(from, generation, dial),
            Event::SynAck { to, generation, dial, wire } => self.syn_ack(to, generation, dial, wire),
            Event::Data { wire, to, bytes } => self.data(wire, to, bytes),
            Event::Fin { wire, to, reason } => self.fin(wire, to, reason),
            Event::Watch { node, life, references, first } => self.watch(node, life, &references, first),
            Event::Recorded { node, life, statuses } => self.recorded(node, life, statuses),
            Event::GiveUp { node, life } => self.give_up(node, life),
            Event::Reload { node, life } => self.reload(node, life),
            Event::Told { at, generation, word } => self.told(at, generation, word),
            Event::Order { at, generation, order } => self.order(at, generation, order),
            Event::Closed { node, prefix, since } => self.check_closed(node, prefix, since),
            Event::NodeStart(node) => self.start_node(node),
            Event::TorStart(tor) => self.start_tor(tor),
            Event::Resume(tor) => self.resume(tor),
            Event::Change => self.change(),
            Event::Flap { service, left } => self.flap(service, left),
            Event::Fault => self.fault(),
        }
    }

    /// What came during a stall goes before the timers that expired meanwhile.
    fn resume(&mut self, tor: usize) {
        if self.now() < self.tors[tor].stalled {
            return;
        }
        let deferred: VecDeque<Event> = std::mem::take(&mut self.tors[tor].deferred);
        let (alarms, others): (Vec<Event>, Vec<Event>) =
            deferred.into_iter().partition(|event| matches!(event, Event::Alarm { .. }));
        for event in others.into_iter().chain(alarms) {
            self.happen(event);
        }
    }

    pub(crate) fn start_tor(&mut self, tor: usize) {
        if self.tors[tor].peers.is_some() {
            return;
        }
        self.tors[tor].dark = false;
        let TorSpec { asn, tor_passive, graceful, hold, .. } = self.specs[tor];
        let (asn, hold) = (Asn::new(asn).unwrap(), HoldTime::new(hold).unwrap());
        let mut peers = Vec::new();
        for _ in 0..self.nodes.len() {
            let (generation, seed) = (self.life(), self.random.next());
            let config = router::session(tor, asn, hold, tor_passive, graceful, seed);
            peers.push((Endpoint::new(generation, config), router::Table::default()));
        }
        self.tors[tor].peers = Some(peers);
        for node in 0..self.nodes.len() {
            self.drive(At { node, tor, side: Side::Tor }, bgp_proto::session::Input::Start);
        }
        self.host_is_back(|wire| wire.tor == tor, Side::Tor);
    }
}
