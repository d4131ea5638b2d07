//! What must hold at every moment, and what once everything is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::types::{Asn, Community, ExtendedCommunity, Family, LargeCommunity, Prefix, Timestamp};
use bgp_proto::wire::{NextHop, Origin, PathAttributes};
use speaker_config::model::{DefaultClass, PeerSettings, SpeakerConfig};
use speaker_core::announce::{Announcer, Settings};
use speaker_core::danger::{DangerContext, Owner};
use speaker_core::inputs::{Inputs, Touched};
use speaker_core::received::ReceivedCount;
use speaker_core::rib::{Contribution, LocRib, SourceKind};

use super::cluster::{ASN, node_address, node_name, tor_address, tor_name};
use super::fabric::{Event, Fabric};
use super::network::{At, Side};
use super::node::ipv6_of;

/// How long a ToR may believe in a route whose gate has closed: the hold time, a stall of the ToR's process
/// that delays its hold timer, and what a slow reader has before it.
pub(crate) const FLIGHT: Duration = Duration::from_secs(60);

/// A route as a ToR is to hold it, in an order of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    next_hop: IpAddr,
    path: Vec<Asn>,
    med: Option<u32>,
    local_preference: Option<u32>,
    communities: BTreeSet<Community>,
    large: BTreeSet<LargeCommunity>,
    extended: BTreeSet<ExtendedCommunity>,
}

impl Told {
    fn of(attributes: &PathAttributes, next_hop: NextHop) -> Self {
        assert_eq!(attributes.origin, Some(Origin::Igp));
        let path = attributes.as_path.iter().flat_map(|path| &path.segments);
        Self {
            next_hop: match next_hop {
                NextHop::V4(address) => address.into(),
                NextHop::V6 { address, .. } => address.into(),
            },
            path: path.flat_map(|segment| segment.asns.clone()).collect(),
            med: attributes.med,
            local_preference: attributes.local_pref,
            communities: attributes.communities.iter().copied().collect(),
            large: attributes.large_communities.iter().copied().collect(),
            extended: attributes.extended_communities.iter().copied().collect(),
        }
    }
}

/// The routes that a ToR is to hold, by design §5 alone: without groups, versions or spans.
fn wanted(
    rib: &LocRib,
    node: usize,
    tor: usize,
    settings: &PeerSettings,
    internal: bool,
) -> BTreeMap<Prefix, Told> {
    let name = tor_name(tor);
    let mut ranked: Vec<(Family, bool, i64, Prefix, Told)> = Vec::new();
    for (prefix, route) in &rib.routes {
        if settings.export.as_ref().is_some_and(|rules| !rules.iter().any(|rule| rule.permits(*prefix))) {
            continue;
        }
        let mut reasons: Vec<&Contribution> = route
            .contributions
            .iter()
            .filter(|one| one.peers.as_ref().is_none_or(|peers| peers.contains(&name)))
            .filter(|one| one.covered || settings.export.is_some())
            .collect();
        let service = reasons.iter().any(|one| one.source.kind == SourceKind::Service);
        reasons.retain(|one| !service || one.source.kind == SourceKind::Service);
        let Some(created) = reasons.iter().map(|one| one.created).min() else { continue };
        ranked.push((prefix.family(), service, created, *prefix, merge(&reasons, node, *prefix, internal)));
    }
    ranked.sort_by_key(|(family, service, created, prefix, _)| (*family, *service, *created, *prefix));
    let mut room = settings.max_advertised;
    let mut table = BTreeMap::new();
    for (family, _, _, prefix, told) in ranked {
        match room.get_mut(family) {
            Some(0) => continue,
            Some(left) => *left -= 1,
            None => {}
        }
        table.insert(prefix, told);
    }
    table
}

fn merge(reasons: &[&Contribution], node: usize, prefix: Prefix, internal: bool) -> Told {
    let all = || reasons.iter().map(|one| &*one.attributes);
    let mut communities: BTreeSet<Community> = all().flat_map(|one| one.communities.clone()).collect();
    for outlaw in [Community::BLACKHOLE, Community::NO_ADVERTISE] {
        if !all().all(|one| one.communities.contains(&outlaw)) {
            communities.remove(&outlaw);
        }
    }
    let prepend = usize::from(all().map(|one| one.prepend).min().unwrap());
    Told {
        next_hop: match prefix.family() {
            Family::Ipv4Unicast => node_address(node),
            Family::Ipv6Unicast => ipv6_of(node).into(),
        },
        path: if internal { Vec::new() } else { vec![Asn::new(ASN).unwrap(); 1 + prepend] },
        med: all().filter_map(|one| one.med).min(),
        local_preference: internal.then(|| all().filter_map(|one| one.local_preference).max().unwrap_or(100)),
        communities,
        large: all().flat_map(|one| one.large_communities.clone()).collect(),
        extended: all().flat_map(|one| one.extended_communities.clone()).collect(),
    }
}

/// The Loc-RIB from scratch.
fn loc_rib(config: &SpeakerConfig, node: usize, inputs: &Inputs) -> Announcer {
    let addresses = config.peers.iter().enumerate();
    let addresses = addresses.map(|(tor, peer)| (tor_address(tor), Owner::Peer(peer.name.clone())));
    let settings = Settings {
        node: node_name(node),
        advertisements: config.advertisements.clone(),
        default_class: DefaultClass::LbIpam,
        danger: DangerContext { addresses: addresses.collect(), ..DangerContext::default() },
        // Nobody looks after a kernel here.
        datapath: config.datapath,
    };
    Announcer::from_scratch(settings, inputs, 0)
}

impl Fabric {
    /// The gates of a node after a change: from scratch, beside what the world says.
    pub(crate) fn note_gates(&mut self, node: usize) {
        if node >= self.watched {
            return;
        }
        let now = self.now();
        let open: BTreeSet<Prefix> = match &self.nodes[node].process {
            Some(process) if process.world.waiting().is_empty() => {
                let scratch = loc_rib(&process.config, node, process.world.inputs());
                let open: BTreeSet<Prefix> = scratch.rib().routes.keys().copied().collect();
                if process.world.announcer().rib().routes.keys().ne(&open) {
                    self.broken(&format!("the Loc-RIB of n{node} is not the one from scratch"));
                }
                open
            }
            _ => BTreeSet::new(),
        };
        let before = std::mem::replace(&mut self.nodes[node].open, open);
        let Self { nodes, queue, .. } = self;
        let Some(process) = nodes.get_mut(node) else { return };
        for prefix in &process.open {
            process.closed.remove(prefix);
        }
        for prefix in before.difference(&process.open) {
            process.closed.insert(*prefix, now);
            queue.after(FLIGHT, Event::Closed { node, prefix: *prefix, since: now });
        }
        self.counts.most_routes = self.counts.most_routes.max(self.nodes[node].open.len());
        self.check_tombstones(node);
    }

    /// A tombstone a prefix at most.
    fn check_tombstones(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        for (table, _) in process.world.exporter().groups() {
            let (dead, known) = (table.tombstones(), self.nodes[node].closed.len());
            self.counts.most_tombstones = self.counts.most_tombstones.max(dead);
            if dead > known + self.nodes[node].open.len() {
                self.broken(&format!("n{node}: {dead} tombstones, and {known} prefixes ever closed"));
            }
        }
    }

    /// A ToR was told: each gate is open, or closed a moment ago.
    pub(crate) fn check_announced(&self, at: At, announced: &[Prefix], end_of_rib: Option<Family>) {
        let node = &self.nodes[at.node];
        if at.node >= self.watched {
            return;
        }
        for prefix in announced {
            let recent = |since: &Timestamp| self.now().since(*since) <= FLIGHT;
            if !node.open.contains(prefix) && !node.closed.get(prefix).is_some_and(recent) {
                self.broken(&format!("{at:?} was told of {prefix}, whose gate is closed"));
            }
        }
        let process = node.process.as_ref();
        if end_of_rib.is_some() && process.is_some_and(|process| !process.world.is_complete()) {
            let old = self.end(At { side: Side::Node, ..at }).is_none();
            if !old {
                self.broken(&format!("{at:?} got End-of-RIB before the first full list"));
            }
        }
    }

    /// Long after a gate closed nobody holds the route, unless it opened again.
    pub(crate) fn check_closed(&self, node: usize, prefix: Prefix, since: Timestamp) {
        if self.nodes[node].closed.get(&prefix) != Some(&since) {
            return;
        }
        for (tor, router) in self.tors.iter().enumerate() {
            let holds = router.peers.as_ref().is_some_and(|peers| peers[node].1.routes.contains_key(&prefix));
            if holds {
                self.broken(&format!(
                    "tor-{tor} still holds {prefix} of n{node}, whose gate closed long ago"
                ));
            }
        }
    }

    /// Whether the fabric is as it should be: each session up, each table exactly the wanted one.
    pub(crate) fn is_settled(&self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let process = self.nodes[node].process.as_ref().ok_or_else(|| format!("n{node} is down"))?;
            if !process.world.is_complete() || self.nodes[node].writes > 0 {
                return Err(format!("n{node} has not read everything"));
            }
            for (tor, peer) in process.config.peers.iter().enumerate() {
                let selector = peer.settings.node_selector.as_ref();
                let labels = process.world.node_labels();
                self.are_joined(node, tor, selector.is_none_or(|selector| selector.matches(&labels)))?;
            }
        }
        (0..self.nodes.len()).try_for_each(|node| self.has_told(node))
    }

    fn are_joined(&self, node: usize, tor: usize, wanted: bool) -> Result<(), String> {
        let ends = Side::BOTH.map(|side| self.end(At { node, tor, side }));
        let wires = ends.map(|end| end.and_then(super::endpoint::Endpoint::wire));
        let place = format!("n{node} and tor-{tor}");
        match (wanted, wires) {
            (true, [Some(ours), Some(theirs)]) if ours == theirs => {
                let open: usize = ends.iter().flatten().map(|end| end.connections.len()).sum();
                if open == 2 { Ok(()) } else { Err(format!("{place} have {open} connections")) }
            }
            (false, [None, None]) => Ok(()),
            _ => {
                let states = ends.map(|end| end.map(|end| (end.session.state(), end.session.deadline())));
                Err(format!("{place} (wanted: {wanted}): {wires:?}, {states:?}"))
            }
        }
    }

    fn has_told(&self, node: usize) -> Result<(), String> {
        let process = self.nodes[node].process.as_ref().ok_or("down")?;
        let mut inputs = Inputs::default();
        for object in self.cluster.all().filter_map(|one| self.cluster.get(one, &self.nodes[node].records)) {
            inputs.upsert(object, &mut Touched::default());
        }
        let scratch = loc_rib(&self.cluster.config, node, &inputs);
        for (table, _) in process.world.exporter().groups() {
            if table.tombstones() > 0 {
                return Err(format!("n{node} keeps {} tombstones for nobody", table.tombstones()));
            }
        }
        for (tor, peer) in self.cluster.config.peers.iter().enumerate() {
            let Some(running) = self.nodes[node].running(tor) else { continue };
            let place = format!("n{node} to tor-{tor}");
            let (_, table) = &self.tors[tor].peers.as_ref().ok_or("a ToR is down")?[node];
            let wanted = wanted(scratch.rib(), node, tor, &peer.settings, self.specs[tor].asn == ASN);
            let held = table.routes.iter();
            let held: BTreeMap<Prefix, Told> =
                held.map(|(prefix, (attributes, hop))| (*prefix, Told::of(attributes, *hop))).collect();
            if held != wanted {
                let differ = |prefix: &&Prefix| held.get(prefix) != wanted.get(prefix);
                let prefixes: BTreeSet<&Prefix> = held.keys().chain(wanted.keys()).filter(differ).collect();
                let first = prefixes.first().copied().ok_or("nothing differs")?;
                let (is, should) = (held.get(first), wanted.get(first));
                return Err(format!("{place}: {prefixes:?} differ; {first} is {is:?}, should be {should:?}"));
            }
            let ends: Vec<u32> = table.ends.iter().map(|(_, count)| *count).collect();
            if ends != [1, 1] || !table.is_settled() || !running.endpoint.feed.is_synced() {
                return Err(format!("{place}: End-of-RIB {ends:?}, refreshed: {}", table.is_settled()));
            }
            let received = running.received.count(Family::Ipv4Unicast);
            if received != ReceivedCount::Exact(1) {
                return Err(format!("{place}: the node holds {received} routes of the ToR's one"));
            }
        }
        Ok(())
    }
}
