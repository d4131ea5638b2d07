//! What the leader among the operators does: it allocates, hands Cilium's BGP routers to nodes, and says what is
//! to be written where.
//!
//! ```text
//! watches ─► Inputs ─┬─► Ipam     ─┐
//!                    ├─► NodeIpam ─┴─► wishes ─► Desk ─► Patch ─► API server
//!                    └─► Bgp ───────────────────► ▲        └─► Outcome ─┘
//!                           ▲                     │
//!                           └──────── echo ───────┘
//! ```
//!
//! Each write carries the version of the object that it was decided on, so that one from stale state is refused
//! and the decision is made again on what the watch brings. An object has one write under way at most, and after
//! it none before the watch has shown it: no change is written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp_proto::types::{Prefix, Timestamp};
use speaker_config::objects::{Cleanup, Condition, Object, ObjectKey, ObjectRef, Service, UnixSeconds};

use crate::inputs::{Inputs, Touched};
use crate::ipam::{Held, Ipam, IpamEvent, IpamSettings, SATISFIED, ServiceStatus};
use crate::l2::segment::{POLICY_CONDITIONS, policy_conditions};
use crate::node_ipam::{NodeIpam, NodeIpamSettings, NodeStatus};

mod bgp;
mod cleanup;
mod desk;
pub mod election;
mod figures;
mod notes;
mod patch;
#[cfg(test)]
mod tests;

pub use desk::{Outcome, WRITES_AT_ONCE};
pub use figures::{Counters, Figures};
pub use notes::{EVENT_EVERY, EVENTS_AT_ONCE, EVENTS_WAITING, Note};
pub use patch::{Change, Patch, PatchKind, Version};
pub(crate) use patch::{condition_json, dated};

use bgp::Bgp;
use cleanup::Held as Detained;
use desk::Desk;
use notes::Notes;

/// A pool's counts change with each Service: they are written no more often than this.
pub const POOL_STATUS_EVERY: Duration = Duration::from_millis(500);

/// And no sooner than this after the change: first the API server has the agents to tell of the Service.
pub const POOL_STATUS_AFTER: Duration = Duration::from_millis(100);

/// What the operator is set to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperatorSettings {
    /// LB IPAM; absent where somebody else allocates.
    pub ipam: Option<IpamSettings>,
    /// Node IPAM.
    pub node_ipam: NodeIpamSettings,
    /// Conditions of CiliumL2AnnouncementPolicies are written.
    pub l2_policies: bool,
    /// How long a deleted Service is held by a finalizer; zero: not at all.
    pub hold_deleted: Duration,
    /// Sources of what no pool is to hold ([`Inputs::surroundings`]): pools are judged when all of them have delivered,
    /// and nothing else waits for it.
    pub surroundings: BTreeSet<String>,
    /// Cilium's BGP kinds, and the sources whose whole list ([`Operator::listed`]) they wait for; absent where
    /// Cilium's own control plane looks after them.
    pub bgp: Option<BTreeSet<String>>,
    /// What router IDs in CiliumBGPNodeConfigs come from; absent: each node takes its own.
    pub router_id_pool: Option<Prefix>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Orders {
    /// Statuses to write; the outcome of each must be told ([`Operator::ended`]).
    pub patches: Vec<Patch>,
    /// Kubernetes Events to publish; nobody asks what becomes of them.
    pub notes: Vec<Note>,
}

/// What the allocators want of a Service that is not recorded yet.
#[derive(Debug, Clone, Default)]
struct Wish {
    lb: Option<ServiceStatus>,
    node: Option<NodeStatus>,
}

/// The leader's state. A new leader begins with a new one.
#[derive(Debug, Clone)]
pub struct Operator {
    inputs: Inputs,
    touched: Touched,
    /// Sources that have not delivered their first full list.
    waiting: BTreeSet<String>,
    /// Those of [`OperatorSettings::surroundings`].
    surroundings: BTreeSet<String>,
    ipam: Option<Ipam>,
    node_ipam: NodeIpam,
    bgp: Option<Bgp>,
    /// Of what is written to: what a write begins at.
    versions: BTreeMap<ObjectRef, Version>,
    wishes: BTreeMap<ObjectKey, Wish>,
    desk: Desk<ObjectRef>,
    deleted: Detained,
    /// When [`Operator::settle`] was called last.
    settled: Timestamp,
    /// Services whose finalizer is being written.
    finalizing: BTreeSet<ObjectKey>,
    /// Events that wait for the write that they belong to.
    held: BTreeMap<ObjectRef, Vec<Note>>,
    notes: Notes,
    /// The uid of Services that are gone since the last turn.
    gone: BTreeMap<ObjectKey, String>,
    counters: Counters,
}

impl Operator {
    /// One that waits for its sources and decides nothing before each of them has delivered.
    #[must_use]
    pub fn new(settings: OperatorSettings, sources: BTreeSet<String>) -> Self {
        let mut ipam = settings.ipam.map(Ipam::new);
        if let Some(ipam) = ipam.as_mut().filter(|_| !settings.surroundings.is_empty()) {
            ipam.expect_surroundings();
        }
        Self {
            inputs: Inputs::default(),
            touched: Touched::default(),
            waiting: sources,
            surroundings: settings.surroundings,
            ipam,
            node_ipam: NodeIpam::new(settings.node_ipam),
            bgp: settings.bgp.map(|sources| Bgp::new(sources, settings.router_id_pool)),
            versions: BTreeMap::new(),
            wishes: BTreeMap::new(),
            desk: Desk::new(),
            deleted: Detained::new(settings.hold_deleted, settings.node_ipam.default_class),
            settled: Timestamp::ZERO,
            finalizing: BTreeSet::new(),
            held: BTreeMap::new(),
            notes: Notes::new(),
            gone: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// The watch shows a version of an object.
    pub fn upsert(&mut self, object: Object, version: Version) {
        let reference = object.reference();
        if let Object::Service(service) = &object
            && !self.inputs.services.contains_key(&service.key)
            && !concerns(service)
        {
            return;
        }
        let free = is_written(&reference) && self.desk.seen(&reference, &version.resource_version);
        match (&mut self.bgp, &object) {
            // That it is there is all that counts.
            (Some(bgp), Object::Secret(secret)) => return bgp.secret(&secret.key.name, true),
            (Some(bgp), _) if free => bgp.echoed(&object),
            _ => {}
        }
        self.inputs.upsert(object, &mut self.touched);
        if is_written(&reference) {
            self.versions.insert(reference.clone(), version);
        }
        if free {
            self.want(&reference);
        }
    }

    /// The watch shows a Service that cannot be read: what its status has is kept for it until it can, or is gone.
    pub fn hold_unreadable(&mut self, held: &Held) {
        if let Some(ipam) = &mut self.ipam {
            ipam.hold(&self.inputs.pools, held);
        }
    }

    /// The watch shows that an object is gone.
    pub fn delete(&mut self, reference: &ObjectRef) {
        if let (Some(bgp), ObjectRef::Secret(key)) = (&mut self.bgp, reference) {
            return bgp.secret(&key.name, false);
        }
        self.inputs.remove(reference, &mut self.touched);
        let version = self.versions.remove(reference);
        self.desk.gone(reference);
        self.held.remove(reference);
        if let ObjectRef::Service(key) = reference {
            if let Some(ipam) = &mut self.ipam {
                ipam.let_go(key);
            }
            self.wishes.remove(key);
            self.deleted.gone(key);
            self.gone.extend(version.map(|version| (key.clone(), version.uid)));
        }
    }

    /// A source has delivered a whole list, which one of a kind that the API server does not know never does.
    pub fn listed(&mut self, source: &str) {
        if let Some(bgp) = &mut self.bgp {
            bgp.listed(source);
        }
    }

    /// The list of one Secret has come: it is there where it was shown before.
    pub fn secret_listed(&mut self, name: &str) {
        if let Some(bgp) = &mut self.bgp {
            bgp.secret_listed(name);
        }
    }

    /// A Secret is not looked after any more.
    pub fn forget_secret(&mut self, name: &str) {
        if let Some(bgp) = &mut self.bgp {
            bgp.forget_secret(name);
        }
    }

    /// The Secrets of which it must be known whether they are there.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<String> {
        let configs = self.inputs.bgp.peer_configs.values().filter(|_| self.bgp.is_some());
        configs.filter_map(|config| config.auth_secret.clone()).collect()
    }

    /// A source has delivered its first full list.
    pub fn synced(&mut self, source: &str) {
        self.waiting.remove(source);
        if self.surroundings.remove(source)
            && self.surroundings.is_empty()
            && let Some(ipam) = &mut self.ipam
        {
            ipam.judge_pools(&self.inputs);
        }
    }

    /// Sources that have not delivered yet.
    #[must_use]
    pub fn waiting(&self) -> &BTreeSet<String> {
        &self.waiting
    }

    /// A write has ended.
    pub fn ended(&mut self, target: &ObjectRef, outcome: &Outcome, now: Timestamp) {
        match outcome {
            Outcome::Written { .. } => self.counters.written += 1,
            Outcome::Conflict => self.counters.conflicts += 1,
            Outcome::Failed => self.counters.failed += 1,
            Outcome::NotLeading => {}
        }
        if let (Some(bgp), false) = (&mut self.bgp, matches!(outcome, Outcome::Written { .. })) {
            bgp.failed(target);
        }
        let seen = self.versions.get(target).map(|version| version.resource_version.as_str());
        if self.desk.ended(target, outcome, seen, now) {
            self.want(target);
        }
        let finalizer = matches!(target, ObjectRef::Service(key) if self.finalizing.remove(key));
        match (target, outcome) {
            _ if finalizer => {}
            (_, Outcome::Written { .. }) => {
                for note in self.held.remove(target).into_iter().flatten() {
                    self.notes.push(note);
                }
            }
            // What belongs to a wish waits on with it; what belongs to a condition is said again with the next write.
            (ObjectRef::Service(_), _) => {}
            _ => drop(self.held.remove(target)),
        }
    }

    /// Decides on everything that has changed since the last time, and says what is to be done now.
    pub fn settle(&mut self, now: Timestamp, wall: UnixSeconds) -> Orders {
        if !self.waiting.is_empty() {
            return Orders::default();
        }
        self.settled = now;
        let touched = std::mem::take(&mut self.touched);
        self.allocate(&touched, wall);
        let targets = self.bgp.as_mut().map(|bgp| bgp.settle(&self.inputs, &touched)).unwrap_or_default();
        for target in targets {
            self.want(&target);
        }
        let patches = self.dispatch(now, wall);
        Orders { patches, notes: self.notes.take(now) }
    }

    /// What the allocators make of it.
    fn allocate(&mut self, touched: &Touched, wall: UnixSeconds) {
        let mut again: BTreeSet<ObjectKey> = touched.services.clone();
        for service in touched.services.iter().filter_map(|key| self.inputs.services.get(key)) {
            self.deleted.look(service, self.settled);
        }
        again.extend(self.deleted.due(self.settled));
        for policy in &touched.l2_policies {
            self.want(&ObjectRef::L2AnnouncementPolicy(policy.clone()));
        }
        let mut events = Vec::new();
        if let Some(ipam) = &mut self.ipam {
            ipam.touch(touched);
            let changes = ipam.reconcile(&self.inputs, wall);
            for status in changes.services {
                let key = status.key.clone();
                again.insert(key.clone());
                self.wishes.entry(key).or_default().lb = Some(status);
            }
            for key in changes.moot {
                self.wishes.entry(key.clone()).or_default().lb = None;
                self.held.remove(&ObjectRef::Service(key.clone()));
                again.insert(key);
            }
            for status in changes.pools {
                let pool = ObjectRef::Pool(status.name);
                if self.desk.want(&pool) {
                    self.desk.rest(&pool, self.settled + POOL_STATUS_AFTER);
                }
            }
            events = changes.events;
        }
        self.node_ipam.touch(touched);
        let changes = self.node_ipam.reconcile(&self.inputs);
        for (key, decision) in changes.decisions {
            if decision.is_some() || self.wishes.contains_key(&key) {
                self.wishes.entry(key.clone()).or_default().node = decision;
                again.insert(key);
            }
        }
        events.extend(changes.events);
        for key in again {
            self.want(&ObjectRef::Service(key));
        }
        self.hold(events);
    }

    /// Puts an object in the queue, or takes it out where it is as it should be.
    fn want(&mut self, target: &ObjectRef) {
        if self.write(target, 0).is_some() {
            let _new = self.desk.want(target);
            return;
        }
        if let ObjectRef::Service(key) = target {
            self.wishes.remove(key);
        }
        self.desk.content(target);
    }

    /// What an object lacks; `None` where it is as it should be.
    fn write(&self, target: &ObjectRef, wall: UnixSeconds) -> Option<Change> {
        match target {
            ObjectRef::Service(key) => self.service_write(key, wall),
            ObjectRef::Pool(name) => self.pool_write(name, wall),
            ObjectRef::L2AnnouncementPolicy(name) => self.policy_write(name, wall),
            other => self.bgp.as_ref()?.write(other, &self.inputs.bgp, wall),
        }
    }

    /// Events go out when what they tell is stored; those about nothing that is written, at once.
    fn hold(&mut self, events: Vec<IpamEvent>) {
        let gone = std::mem::take(&mut self.gone);
        for IpamEvent { service, reason, note } in events {
            let target = ObjectRef::Service(service.clone());
            let uid = self.versions.get(&target).map(|version| &version.uid).or_else(|| gone.get(&service));
            let Some(uid) = uid.cloned() else { continue };
            let written = self.wishes.contains_key(&service);
            let note = Note::of_service(service, uid, reason, note);
            if written {
                self.held.entry(target).or_default().push(note);
            } else {
                self.notes.push(note);
            }
        }
    }

    fn dispatch(&mut self, now: Timestamp, wall: UnixSeconds) -> Vec<Patch> {
        let mut patches = Vec::new();
        for target in self.desk.due(now) {
            let version = self.versions.get(&target).cloned();
            let (Some(write), Some(version)) =
                (self.write(&target, wall), version.or_else(|| created(&target)))
            else {
                self.desk.content(&target);
                continue;
            };
            self.desk.start(&target, &version.resource_version);
            if matches!(target, ObjectRef::Pool(_)) {
                self.desk.rest(&target, now + POOL_STATUS_EVERY);
            }
            self.hold_warnings(&target, &version, &write);
            if let (ObjectRef::Service(key), Change::Finalizer { .. }) = (&target, &write) {
                self.finalizing.insert(key.clone());
            }
            if let Some(bgp) = &mut self.bgp {
                bgp.begun(&target, &write);
            }
            patches.push(Patch { target, version, change: write });
        }
        patches
    }

    /// Events about conditions of pools and of Cilium's BGP kinds go out when these are stored.
    fn hold_warnings(&mut self, target: &ObjectRef, version: &Version, write: &Change) {
        let bgp = &self.inputs.bgp;
        let recorded = match target {
            ObjectRef::BgpClusterConfig(name) => bgp.cluster_configs.get(name).map(|one| &one.conditions),
            ObjectRef::BgpPeerConfig(name) => bgp.peer_configs.get(name).map(|one| &one.conditions),
            ObjectRef::Pool(name) => self.inputs.pools.get(name).map(|entry| &entry.pool.conditions),
            _ => None,
        };
        let Some(recorded) = recorded else { return };
        let note = |condition| Note::of_condition(target.clone(), version.uid.clone(), condition);
        let notes: Vec<Note> = bgp::warnings(write, recorded).map(note).collect();
        if !notes.is_empty() {
            self.held.insert(target.clone(), notes);
        }
    }

    fn pool_write(&self, name: &str, wall: UnixSeconds) -> Option<Change> {
        let status = self.ipam.as_ref()?.pool_status(&self.inputs, name)?;
        Change::pool(&self.inputs.pools.get(name)?.pool, &status, wall)
    }

    fn policy_write(&self, name: &str, wall: UnixSeconds) -> Option<Change> {
        let policy = self.inputs.l2_policies.get(name)?;
        let ours = POLICY_CONDITIONS.map(|(kind, _)| kind);
        patch::conditions(&ours, &policy.conditions, &policy_conditions(policy), wall)
    }

    fn service_write(&self, key: &ObjectKey, wall: UnixSeconds) -> Option<Change> {
        let service = self.inputs.services.get(key)?;
        // Before an address is given, and after its routes are gone.
        if let Some(set) = self.deleted.change(service, self.settled) {
            return Some(Change::Finalizer { set });
        }
        let Wish { lb, node } = self.wishes.get(key)?;
        let recorded: Vec<Condition> =
            service.conditions.iter().filter(|condition| condition.kind == SATISFIED).cloned().collect();
        let (ingress, conditions) = match (node, lb) {
            (Some(NodeStatus { ingress, condition: Some(condition) }), _) => {
                (ingress.as_slice(), vec![condition.clone()])
            }
            (_, Some(status)) => (status.ingress.as_slice(), status.conditions.clone()),
            // LB IPAM is content with what is there, so the addresses are its own.
            (Some(_), None) if !recorded.is_empty() => (service.ingress.as_slice(), recorded),
            (Some(taken_back), None) => (taken_back.ingress.as_slice(), Vec::new()),
            (None, None) => return None,
        };
        Change::service(service, ingress, &conditions, wall)
    }

    /// When [`Operator::settle`] must be called, though nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let held = self.deleted.next(self.settled);
        self.desk.deadline().into_iter().chain(self.notes.deadline()).chain(held).min()
    }

    /// The objects.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The allocator, where this operator allocates.
    #[must_use]
    pub fn ipam(&self) -> Option<&Ipam> {
        self.ipam.as_ref()
    }
}

/// Objects that are written to.
const fn is_written(reference: &ObjectRef) -> bool {
    matches!(
        reference,
        ObjectRef::Service(_)
            | ObjectRef::Pool(_)
            | ObjectRef::BgpClusterConfig(_)
            | ObjectRef::BgpPeerConfig(_)
            | ObjectRef::BgpNodeConfig(_)
            | ObjectRef::L2AnnouncementPolicy(_)
    )
}

/// The version of an object that is to be created: none. The other kinds are people's to make.
fn created(target: &ObjectRef) -> Option<Version> {
    matches!(target, ObjectRef::BgpNodeConfig(_)).then(Version::default)
}

/// Whether a Service is worth keeping: one that needs an address, or has a condition of ours to be removed.
fn concerns(service: &Service) -> bool {
    service.load_balancer
        || service.cleanup == Cleanup::Ours
        || service.conditions.iter().any(|condition| patch::OURS.contains(&condition.kind.as_str()))
}
