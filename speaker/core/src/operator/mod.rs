//! What the leader among the operators does: it allocates, and says what is to be written where.
//!
//! ```text
//! watches ─► Inputs ─┬─► Ipam     ─┐
//!                    └─► NodeIpam ─┴─► wishes ─► Desk ─► Patch ─► API server
//!                           ▲                     ▲        └─► Outcome ─┘
//!                           └──────── echo ───────┘
//! ```
//!
//! Each write carries the version of the object that it was decided on, so that one from stale state is refused
//! and the decision is made again on what the watch brings. An object has one write under way at most, and after
//! it none before the watch has shown it: no change is written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_config::objects::{Cleanup, Condition, Object, ObjectKey, ObjectRef, Service, UnixSeconds};

use crate::inputs::{Inputs, Touched};
use crate::ipam::{Ipam, IpamEvent, IpamSettings, SATISFIED, ServiceStatus};
use crate::node_ipam::{NodeIpam, NodeIpamSettings, NodeStatus};

mod cleanup;
mod desk;
pub mod election;
mod figures;
mod notes;
mod patch;
#[cfg(test)]
mod tests;

pub use desk::{Outcome, WRITES_AT_ONCE};
pub use figures::Figures;
pub use notes::{EVENT_EVERY, EVENTS_AT_ONCE, EVENTS_WAITING, Note};
pub use patch::{Change, Patch, PatchKind, Version};

use cleanup::Held;
use desk::Desk;
use notes::Notes;

/// A pool's counts change with each Service: they are written no more often than this.
pub const POOL_STATUS_EVERY: Duration = Duration::from_millis(500);

/// And no sooner than this after the change: first the API server has the agents to tell of the Service.
pub const POOL_STATUS_AFTER: Duration = Duration::from_millis(100);

/// What the operator is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorSettings {
    /// LB IPAM; absent where somebody else allocates.
    pub ipam: Option<IpamSettings>,
    /// Node IPAM.
    pub node_ipam: NodeIpamSettings,
    /// How long a deleted Service is held by a finalizer; zero: not at all.
    pub hold_deleted: Duration,
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
    ipam: Option<Ipam>,
    node_ipam: NodeIpam,
    /// Of Services and pools: what a write begins at.
    versions: BTreeMap<ObjectRef, Version>,
    wishes: BTreeMap<ObjectKey, Wish>,
    desk: Desk<ObjectRef>,
    deleted: Held,
    /// When [`Operator::settle`] was called last.
    settled: Timestamp,
    /// Services whose finalizer is being written.
    finalizing: BTreeSet<ObjectKey>,
    /// Events that wait for the write that they belong to.
    held: BTreeMap<ObjectKey, Vec<Note>>,
    notes: Notes,
    /// The uid of Services that are gone since the last turn.
    gone: BTreeMap<ObjectKey, String>,
    counters: Counters,
}

/// Counted since this process leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Writes that were stored.
    pub written: u64,
    /// Writes that were refused, since the object had changed.
    pub conflicts: u64,
    /// Writes that failed otherwise.
    pub failed: u64,
}

impl Operator {
    /// One that waits for its sources and decides nothing before each of them has delivered.
    #[must_use]
    pub fn new(settings: OperatorSettings, sources: BTreeSet<String>) -> Self {
        Self {
            inputs: Inputs::default(),
            touched: Touched::default(),
            waiting: sources,
            ipam: settings.ipam.map(Ipam::new),
            node_ipam: NodeIpam::new(settings.node_ipam),
            versions: BTreeMap::new(),
            wishes: BTreeMap::new(),
            desk: Desk::new(),
            deleted: Held::new(settings.hold_deleted, settings.node_ipam.default_class),
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
        self.inputs.upsert(object, &mut self.touched);
        if matches!(reference, ObjectRef::Service(_) | ObjectRef::Pool(_)) {
            let free = self.desk.seen(&reference, &version.resource_version);
            self.versions.insert(reference.clone(), version);
            if free {
                self.want(&reference);
            }
        }
    }

    /// The watch shows that an object is gone.
    pub fn delete(&mut self, reference: &ObjectRef) {
        self.inputs.remove(reference, &mut self.touched);
        let version = self.versions.remove(reference);
        self.desk.gone(reference);
        if let ObjectRef::Service(key) = reference {
            self.wishes.remove(key);
            self.held.remove(key);
            self.deleted.gone(key);
            self.gone.extend(version.map(|version| (key.clone(), version.uid)));
        }
    }

    /// A source has delivered its first full list.
    pub fn synced(&mut self, source: &str) {
        self.waiting.remove(source);
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
        let seen = self.versions.get(target).map(|version| version.resource_version.as_str());
        if self.desk.ended(target, outcome, seen, now) {
            self.want(target);
        }
        let ObjectRef::Service(key) = target else { return };
        let finalizer = self.finalizing.remove(key);
        if let (Outcome::Written { .. }, false) = (outcome, finalizer) {
            for note in self.held.remove(key).into_iter().flatten() {
                self.notes.push(note);
            }
        }
    }

    /// Decides on everything that has changed since the last time, and says what is to be done now.
    pub fn settle(&mut self, now: Timestamp, wall: UnixSeconds) -> Orders {
        if !self.waiting.is_empty() {
            return Orders::default();
        }
        self.settled = now;
        let touched = std::mem::take(&mut self.touched);
        let mut again: BTreeSet<ObjectKey> = touched.services.clone();
        for service in touched.services.iter().filter_map(|key| self.inputs.services.get(key)) {
            self.deleted.look(service, now);
        }
        again.extend(self.deleted.due(now));
        let mut events = Vec::new();
        if let Some(ipam) = &mut self.ipam {
            ipam.touch(&touched);
            let changes = ipam.reconcile(&self.inputs, wall);
            for status in changes.services {
                let key = status.key.clone();
                again.insert(key.clone());
                self.wishes.entry(key).or_default().lb = Some(status);
            }
            for key in changes.moot {
                self.wishes.entry(key.clone()).or_default().lb = None;
                self.held.remove(&key);
                again.insert(key);
            }
            for status in changes.pools {
                let pool = ObjectRef::Pool(status.name);
                if self.desk.want(&pool) {
                    self.desk.rest(&pool, now + POOL_STATUS_AFTER);
                }
            }
            events = changes.events;
        }
        self.node_ipam.touch(&touched);
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
        let patches = self.dispatch(now, wall);
        Orders { patches, notes: self.notes.take(now) }
    }

    /// Puts an object in the queue, or takes it out where it is as it should be.
    fn want(&mut self, target: &ObjectRef) {
        match target {
            ObjectRef::Service(key) => {
                if self.service_patch(key, 0).is_some() {
                    let _new = self.desk.want(target);
                } else {
                    self.wishes.remove(key);
                    self.desk.content(target);
                }
            }
            ObjectRef::Pool(name) => {
                if self.pool_patch(name, 0).is_some() {
                    let _new = self.desk.want(target);
                } else {
                    self.desk.content(target);
                }
            }
            _ => {}
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
            let note = Note { service: service.clone(), uid, reason, text: note };
            if written {
                self.held.entry(service).or_default().push(note);
            } else {
                self.notes.push(note);
            }
        }
    }

    fn dispatch(&mut self, now: Timestamp, wall: UnixSeconds) -> Vec<Patch> {
        let mut patches = Vec::new();
        for target in self.desk.due(now) {
            let change = match &target {
                ObjectRef::Service(key) => {
                    let change = self.service_patch(key, wall);
                    if matches!(change, Some(Change::Finalizer { .. })) {
                        self.finalizing.insert(key.clone());
                    }
                    change
                }
                ObjectRef::Pool(name) => self.pool_patch(name, wall),
                _ => None,
            };
            let (Some(change), Some(version)) = (change, self.versions.get(&target)) else {
                self.desk.content(&target);
                continue;
            };
            self.desk.start(&target, &version.resource_version);
            if matches!(target, ObjectRef::Pool(_)) {
                self.desk.rest(&target, now + POOL_STATUS_EVERY);
            }
            patches.push(Patch { target, version: version.clone(), change });
        }
        patches
    }

    fn pool_patch(&self, name: &str, wall: UnixSeconds) -> Option<Change> {
        let status = self.ipam.as_ref()?.pool_status(&self.inputs, name)?;
        Change::pool(&self.inputs.pools.get(name)?.pool, &status, wall)
    }

    fn service_patch(&self, key: &ObjectKey, wall: UnixSeconds) -> Option<Change> {
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

/// Whether a Service is worth keeping: one that needs an address, or has a condition of ours to be removed.
fn concerns(service: &Service) -> bool {
    service.load_balancer
        || service.cleanup == Cleanup::Ours
        || service.conditions.iter().any(|condition| patch::OURS.contains(&condition.kind.as_str()))
}
