//! A node: the real `World`, and what the hub does with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::session::{GracefulRestartConfig, Input, Negotiated, SessionConfig, StopReason, TimerConfig};
use bgp_proto::types::{Asn, FamilyMap, Prefix, RouterId, Timestamp};
use bgp_proto::wire::Notification;
use speaker_config::model::{PeerSettings, SpeakerConfig};
use speaker_config::objects::{Labels, ObjectRef};
use speaker_core::export::{NextHopInputs, PeerOut, next_hop};
use speaker_core::ipam::ServiceStatus;
use speaker_core::received::AdjRibIn;
use speaker_core::world::{Changes, Start, World};

use super::cluster::{ASN, Records, node_name, tor_name};
use super::endpoint::Endpoint;
use super::fabric::{Event, Fabric, Order, Word};
use super::network::{At, Side};
use super::transport::{CHANNEL, nothing_received};

const SOURCE: &str = "manifests";
/// How long statuses of the first list may take to be recorded, as in the hub.
const FIRST_RECORD: Duration = Duration::from_secs(10);

/// A peer's task.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) endpoint: Endpoint,
    pub(crate) settings: PeerSettings,
    /// As the hub knows it.
    established: Option<Box<Negotiated>>,
    pub(crate) received: AdjRibIn,
    /// When the last message to the hub, and the last from it, arrives.
    words: Timestamp,
    orders: Timestamp,
}

/// The speaker's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) life: u64,
    pub(crate) world: World,
    pub(crate) config: Arc<SpeakerConfig>,
    peers: Vec<Option<Running>>,
    labels: Labels,
    stale: bool,
    /// When the source's last batch arrives.
    batches: Timestamp,
}

/// A node, with or without a process.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) process: Option<Process>,
    /// Without power.
    pub(crate) dark: bool,
    /// What is recorded outlives the process.
    pub(crate) records: Records,
    /// Prefixes whose gates are open, and when those that are not closed.
    pub(crate) open: BTreeSet<Prefix>,
    pub(crate) closed: BTreeMap<Prefix, Timestamp>,
    /// Statuses that are on their way to the disk.
    pub(crate) writes: usize,
}

impl Node {
    pub(crate) fn running(&self, tor: usize) -> Option<&Running> {
        self.process.as_ref()?.peers[tor].as_ref()
    }

    pub(crate) fn running_mut(&mut self, tor: usize) -> Option<&mut Running> {
        self.process.as_mut()?.peers[tor].as_mut()
    }

    fn alive(&mut self, life: u64) -> Option<&mut Process> {
        self.process.as_mut().filter(|process| process.life == life)
    }
}

impl Fabric {
    pub(crate) fn start_node(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        self.nodes[node].dark = false;
        self.host_is_back(|wire| wire.node == node, Side::Node);
        let life = self.life();
        let config = Arc::clone(&self.cluster.config);
        let sources = BTreeSet::from([SOURCE.to_owned()]);
        let start = Start { node: node_name(node), sources, ..Start::default() };
        self.nodes[node].process = Some(Process {
            life,
            world: World::new(&config, &start),
            config,
            peers: (0..self.tors.len()).map(|_| None).collect(),
            labels: Labels::new(),
            stale: true,
            batches: self.now(),
        });
        let references = self.cluster.all().cloned().collect();
        self.deliver(node, references, true, Duration::from_millis(400));
        self.queue.after(FIRST_RECORD, Event::GiveUp { node, life });
    }

    /// The source has something for the node.
    pub(crate) fn deliver(&mut self, node: usize, references: Vec<ObjectRef>, first: bool, most: Duration) {
        let wait = self.random.within(most);
        let now = self.queue.now;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.batches = (now + wait).max(process.batches);
        let (at, life) = (process.batches, process.life);
        self.queue.at(at, Event::Watch { node, life, references, first });
    }

    pub(crate) fn watch(&mut self, node: usize, life: u64, references: &[ObjectRef], first: bool) {
        let Node { process, records, .. } = &mut self.nodes[node];
        let Some(process) = process.as_mut().filter(|process| process.life == life) else { return };
        for reference in references {
            match self.cluster.get(reference, records) {
                Some(object) => process.world.upsert(object),
                None => {
                    if let ObjectRef::Service(key) = reference {
                        records.forget(key);
                    }
                    process.world.delete(reference);
                }
            }
        }
        if first {
            process.world.synced(SOURCE);
        }
        self.settle(node);
    }

    pub(crate) fn recorded(&mut self, node: usize, life: u64, statuses: Vec<ServiceStatus>) {
        self.nodes[node].writes -= 1;
        if self.nodes[node].alive(life).is_none() {
            return;
        }
        let mut echoed = Vec::new();
        for ServiceStatus { key, ingress, conditions } in statuses {
            let reference = ObjectRef::Service(key.clone());
            if self.cluster.get(&reference, &Records::default()).is_some() {
                self.nodes[node].records.record(key, ingress, conditions);
                echoed.push(reference);
            }
        }
        self.deliver(node, echoed, false, Duration::from_millis(1));
    }

    pub(crate) fn give_up(&mut self, node: usize, life: u64) {
        let Some(process) = self.nodes[node].alive(life) else { return };
        if !process.world.is_complete() {
            process.world.stop_waiting_for_records();
            self.settle(node);
        }
    }

    pub(crate) fn reload(&mut self, node: usize, life: u64) {
        let config = Arc::clone(&self.cluster.config);
        let Some(process) = self.nodes[node].alive(life) else { return };
        process.world.configure(&config, &node_name(node));
        process.config = config;
        process.stale = true;
        self.settle(node);
    }

    /// As `Hub::settle`.
    fn settle(&mut self, node: usize) {
        let now = self.now();
        let wall = i64::try_from(now.as_nanos() / 1_000_000_000).unwrap();
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Changes { ipam, pending, moved, .. } = process.world.settle(wall);
        if !ipam.services.is_empty() {
            // The disk is slow at times.
            let most = if self.random.one_in(12) { 15_000 } else { 60 };
            let wait = self.random.within(Duration::from_millis(most));
            let life = process.life;
            self.nodes[node].writes += 1;
            self.queue.after(wait, Event::Recorded { node, life, statuses: ipam.services });
        }
        self.note_gates(node);
        self.reconcile(node);
        let all = |names: BTreeSet<Arc<str>>| names.into_iter().map(|name| tor_of(&name));
        for tor in all(moved) {
            self.attach(At { node, tor, side: Side::Node });
        }
        for tor in all(pending) {
            self.order_later(At { node, tor, side: Side::Node }, Order::Wake);
        }
    }

    /// Starts, stops and changes the peers' tasks, as `Peers::reconcile`.
    fn reconcile(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let labels = process.world.node_labels();
        if !process.world.is_complete() || (!process.stale && labels == process.labels) {
            return;
        }
        process.stale = false;
        process.labels = labels;
        let config = Arc::clone(&process.config);
        for (tor, peer) in config.peers.iter().enumerate() {
            let at = At { node, tor, side: Side::Node };
            let process = self.nodes[node].process.as_mut().unwrap();
            let selector = peer.settings.node_selector.as_ref();
            let wanted = selector.is_none_or(|selector| selector.matches(&process.labels));
            match (&mut process.peers[tor], wanted) {
                (Some(running), true) => {
                    running.settings = peer.settings.clone();
                    if let Some(negotiated) = running.established.clone() {
                        let out = peer_out(node, tor, &running.settings, &negotiated);
                        process.world.peer_up(&peer.name, out);
                        self.attach(at);
                    }
                }
                (Some(_), false) => self.end_peer(at),
                (None, true) => self.begin_peer(at, peer.settings.clone()),
                (None, false) => {}
            }
        }
    }

    fn begin_peer(&mut self, at: At, settings: PeerSettings) {
        let (generation, seed) = (self.life(), self.random.next());
        let config = SessionConfig {
            local_asn: Asn::new(ASN).unwrap(),
            router_id: RouterId::new(Ipv4Addr::new(10, 1, u8::try_from(at.node).unwrap(), 1)).unwrap(),
            peer_asn: settings.asn,
            passive: settings.passive,
            families: settings.families,
            timers: TimerConfig {
                hold: settings.hold,
                keepalive: settings.keepalive,
                connect_retry: settings.connect_retry,
                ..TimerConfig::default()
            },
            extended_message: true,
            extended_next_hop: true,
            add_path: settings.add_path,
            graceful_restart: settings.graceful_restart.map(|restart_time| GracefulRestartConfig {
                restart_time,
                restarted: false,
                forwarding_kept: true,
                long_lived: None,
            }),
            helper: false,
            role: None,
            host_name: Some(node_name(at.node)),
            seed,
        };
        let now = self.now();
        self.nodes[at.node].process.as_mut().unwrap().peers[at.tor] = Some(Running {
            endpoint: Endpoint::new(generation, config),
            settings,
            established: None,
            received: nothing_received(),
            words: now,
            orders: now,
        });
        self.drive(at, Input::Start);
    }

    /// As `Peers::end`: the hub forgets the peer at once, and its task says goodbye.
    fn end_peer(&mut self, at: At) {
        let process = self.nodes[at.node].process.as_mut().unwrap();
        process.world.peer_down(&tor_name(at.tor));
        let notification = Some(Notification::cease(3, "removed from the configuration"));
        self.drive(at, Input::Stop(StopReason { notification, hard: true, restart: false }));
        self.nodes[at.node].process.as_mut().unwrap().peers[at.tor] = None;
    }

    /// The process stops in an orderly way.
    pub(crate) fn stop_node(&mut self, node: usize) {
        for tor in 0..self.tors.len() {
            if self.nodes[node].running(tor).is_some() {
                self.end_peer(At { node, tor, side: Side::Node });
            }
        }
        self.nodes[node].process = None;
        self.note_gates(node);
    }

    pub(crate) fn tell_hub(&mut self, at: At, word: Word) {
        let wait = self.random.within(CHANNEL);
        let now = self.queue.now;
        let running = self.nodes[at.node].running_mut(at.tor).unwrap();
        running.words = (now + wait).max(running.words);
        let generation = running.endpoint.generation;
        let arrival = running.words;
        self.queue.at(arrival, Event::Told { at, generation, word });
    }

    /// As `Peers::event`.
    pub(crate) fn told(&mut self, at: At, generation: u64, word: Word) {
        if self.same(at, generation).is_none() {
            return;
        }
        let process = self.nodes[at.node].process.as_mut().unwrap();
        let running = process.peers[at.tor].as_mut().unwrap();
        match word {
            Word::Established(negotiated) => {
                let out = peer_out(at.node, at.tor, &running.settings, &negotiated);
                running.established = Some(negotiated);
                process.world.peer_up(&tor_name(at.tor), out);
                self.attach(at);
            }
            Word::Down => {
                if running.established.take().is_some() {
                    process.world.peer_down(&tor_name(at.tor));
                }
            }
        }
    }

    fn attach(&mut self, at: At) {
        let process = self.nodes[at.node].process.as_ref().unwrap();
        let Some(established) =
            process.peers[at.tor].as_ref().and_then(|running| running.established.as_ref())
        else {
            return;
        };
        let tables = process.world.tables(&tor_name(at.tor));
        self.order_later(at, Order::Attach(established.conn, tables));
    }

    fn order_later(&mut self, at: At, order: Order) {
        let wait = self.random.within(CHANNEL);
        let now = self.queue.now;
        let Some(running) = self.nodes[at.node].running_mut(at.tor) else { return };
        running.orders = (now + wait).max(running.orders);
        let (generation, arrival) = (running.endpoint.generation, running.orders);
        self.queue.at(arrival, Event::Order { at, generation, order });
    }

    pub(crate) fn order(&mut self, at: At, generation: u64, order: Order) {
        let Some(end) = self.same(at, generation) else { return };
        match order {
            Order::Attach(conn, tables) if end.is_up(conn) => end.feed.attach(&tables),
            Order::Attach(..) | Order::Wake => {}
        }
        self.pump(at);
        self.set_alarm(at);
    }
}

fn tor_of(name: &str) -> usize {
    name.strip_prefix("tor-").unwrap().parse().unwrap()
}

/// What a ToR is told with, as in the hub; every interface has an IPv6 address.
pub(crate) fn peer_out(node: usize, tor: usize, settings: &PeerSettings, negotiated: &Negotiated) -> PeerOut {
    let mut inputs = NextHopInputs::of_session(
        settings,
        negotiated.local.ip(),
        negotiated.remote.ip(),
        negotiated.encode.extended_next_hop,
    );
    inputs.egress_ipv6 = vec![ipv6_of(node)];
    PeerOut::new(&tor_name(tor), settings, negotiated, FamilyMap::from_fn(|family| next_hop(family, &inputs)))
}

pub(crate) fn ipv6_of(node: usize) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1 + u16::try_from(node).unwrap())
}
