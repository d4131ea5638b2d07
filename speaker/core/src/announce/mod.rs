//! Route intents: from objects and advertisements to the Loc-RIB (design §5).
//!
//! Three kinds of key are evaluated apart from one another, and each tells the next what it moved:
//!
//! ```text
//! Service ─► its addresses ───────────────► prefixes ─► Loc-RIB
//!    └─────► counts of its pools ─► pool ─────┘
//!                     pool object ──┘
//! ```
//!
//! A pool's gate reads two counts a family (Services that BGP may announce, those of them with a ready
//! endpoint), which Services add to and take from, so that one Service never asks for another. The
//! from-scratch answer is a new [`Announcer`] that sees the same inputs, since it has every key dirty.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{FamilyMap, Prefix};
use speaker_config::model::{Advertisement, Datapath, DefaultClass};
use speaker_config::objects::{ObjectKey, UnixSeconds};

use crate::danger::DangerContext;
use crate::few::FewKeys;
use crate::inputs::{Inputs, Touched};
use crate::rib::LocRib;

mod advertisement;
mod carry;
mod explain;
mod findings;
mod gates;
mod kept;
mod pool;
mod reasons;
mod service;
mod surroundings;

use advertisement::Prepared;
use carry::Waiting;
pub use explain::{Decision, Story, Subject};
pub use findings::Finding;
pub use gates::PoolCount;
use pool::PoolState;
use service::{Context, ServiceState};
use surroundings::Surroundings;

/// What the configuration says about announcing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// This node's name, which endpoints and Node objects are compared with.
    pub node: String,
    /// `advertisements`, with distinct names.
    pub advertisements: Vec<Advertisement>,
    /// `ipam.defaultClass`: class-less Services are not announced where Node IPAM serves them.
    pub default_class: DefaultClass,
    /// What nobody may announce without leave, as far as it stands in no object: addresses of peers, gateways and
    /// this host.
    pub danger: DangerContext,
    /// `datapath`: what the kernel is to do for what is announced.
    pub datapath: Datapath,
}

/// How many keys the last [`Announcer::reconcile`] evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Services.
    pub services: usize,
    /// Pools whose blocks, standing or advertisements were looked at.
    pub pools: usize,
    /// Pools whose gate was looked at.
    pub gates: usize,
    /// Prefixes whose reasons were gathered.
    pub prefixes: usize,
}

/// The Services behind an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Aggregate {
    services: usize,
    covered: usize,
}

/// Keys to be evaluated.
#[derive(Debug, Clone, Default)]
struct Dirty {
    everything: bool,
    /// This node's own Node object.
    node: bool,
    /// Whatever nodes and the cluster got or gave up.
    moved: BTreeSet<Prefix>,
    services: BTreeSet<ObjectKey>,
    pools: BTreeSet<String>,
    gates: BTreeSet<String>,
    prefixes: BTreeSet<Prefix>,
}

/// Decides what this node has a reason to announce.
#[derive(Debug, Clone, Default)]
pub struct Announcer {
    node: String,
    default_class: DefaultClass,
    advertisements: Vec<Prepared>,
    surroundings: Surroundings,
    /// Services that contribute.
    services: BTreeMap<ObjectKey, ServiceState>,
    /// The Services of `services`, by address: the reference count of a host route.
    holders: BTreeMap<IpAddr, FewKeys<ObjectKey>>,
    /// How many Services stand behind an aggregate of an advertisement, and how many of them may leave to
    /// peers without an export list.
    aggregates: BTreeMap<(Prefix, usize), Aggregate>,
    /// Sums over `services`, without pools that have none.
    counts: BTreeMap<String, FamilyMap<PoolCount>>,
    pools: BTreeMap<String, PoolState>,
    /// What each pool announces: prefix and advertisement.
    open: BTreeMap<String, BTreeSet<(Prefix, usize)>>,
    /// The same, by prefix.
    open_by_prefix: BTreeSet<(Prefix, String, usize)>,
    /// `prefixes` of the advertisements that speak here.
    fixed: BTreeSet<(Prefix, usize)>,
    /// What passes every gate but the kernel's.
    waiting: Waiting,
    rib: LocRib,
    /// Another configuration came while the Loc-RIB was one that was taken over.
    refit: bool,
    dirty: Dirty,
    work: Work,
}

impl Announcer {
    /// One that announces nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer from scratch, which every incremental one must equal but for [`crate::rib::Route::since`].
    #[must_use]
    pub fn from_scratch(settings: Settings, inputs: &Inputs, now: UnixSeconds) -> Self {
        let mut announcer = Self::new();
        announcer.configure(settings);
        announcer.reconcile(inputs, now);
        announcer
    }

    /// Takes a configuration, the first or another one; the next [`Announcer::reconcile`] evaluates
    /// every key.
    pub fn configure(&mut self, settings: Settings) {
        self.node = settings.node;
        self.default_class = settings.default_class;
        self.surroundings.set_base(settings.danger);
        self.configure_datapath(settings.datapath);
        self.advertisements = settings.advertisements.into_iter().map(Prepared::new).collect();
        self.dirty.everything = true;
        self.refit = true;
    }

    /// Notes what an event touched.
    pub fn touch(&mut self, touched: &Touched) {
        self.dirty.node |= touched.nodes.contains(&self.node);
        self.dirty.moved.extend(touched.surroundings.iter().copied());
        self.dirty.pools.extend(touched.pools.iter().cloned());
        self.dirty.services.extend(touched.services.iter().chain(&touched.endpoints).cloned());
    }

    /// Evaluates what was touched since the last time. Says which prefixes of the Loc-RIB came, went or
    /// have other reasons; `now` becomes [`crate::rib::Route::since`] of those that came.
    pub fn reconcile(&mut self, inputs: &Inputs, now: UnixSeconds) -> BTreeSet<Prefix> {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.work = Work::default();
        self.judge_nodes(inputs, &mut dirty);
        if dirty.everything {
            dirty.services.extend(inputs.services.keys().chain(self.services.keys()).cloned());
            dirty.pools.extend(inputs.pools.iter().map(|entry| entry.pool.name.clone()));
            dirty.pools.extend(self.pools.keys().cloned());
            dirty.prefixes.extend(self.rib.routes.keys());
        }
        for name in std::mem::take(&mut dirty.pools) {
            self.evaluate_pool(name, inputs, &mut dirty);
        }
        for key in std::mem::take(&mut dirty.services) {
            self.evaluate_service(key, inputs, &mut dirty);
        }
        for name in std::mem::take(&mut dirty.gates) {
            self.evaluate_gate(name, &mut dirty);
        }
        let mut changed: BTreeSet<Prefix> =
            dirty.prefixes.into_iter().filter(|prefix| self.settle(*prefix)).collect();
        changed.extend(self.release(now));
        changed
    }

    /// The Loc-RIB.
    #[must_use]
    pub const fn rib(&self) -> &LocRib {
        &self.rib
    }

    /// How much the last [`Announcer::reconcile`] did.
    #[must_use]
    pub const fn work(&self) -> Work {
        self.work
    }

    /// The Services behind a pool, a family each.
    #[must_use]
    pub fn count(&self, pool: &str) -> FamilyMap<PoolCount> {
        self.counts.get(pool).copied().unwrap_or_default()
    }

    /// Nodes matter by this one's labels, and as the rest of the cluster does by what nobody may announce.
    fn judge_nodes(&mut self, inputs: &Inputs, dirty: &mut Dirty) {
        if dirty.everything || dirty.node {
            let labels = inputs.selectable_labels(&self.node);
            for advertisement in &mut self.advertisements {
                dirty.everything |= advertisement.judge_node(&labels);
            }
        }
        let moved = std::mem::take(&mut dirty.moved);
        if dirty.everything || !moved.is_empty() {
            self.surroundings.look(inputs);
        }
        if !moved.is_empty() {
            dirty.pools.extend(inputs.pools.iter().map(|entry| entry.pool.name.clone()));
        }
        for prefix in &moved {
            dirty.services.extend(self.between(prefix.addr(), prefix.last()).cloned());
            // An aggregate is refused for an address that lies anywhere in it.
            let around: BTreeSet<Prefix> =
                self.advertisements.iter().filter_map(|one| one.aggregate(prefix.addr())).collect();
            for aggregate in around {
                dirty.services.extend(self.between(aggregate.addr(), aggregate.last()).cloned());
            }
        }
        if dirty.everything || !moved.is_empty() {
            self.judge_fixed(dirty);
        }
    }

    /// The contributing Services with an address from `first` to `last`.
    fn between(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = &ObjectKey> {
        let range = (first <= last).then(|| self.holders.range(first..=last));
        range.into_iter().flatten().flat_map(|(_, keys)| keys.keys())
    }

    /// Which of the advertisements' `prefixes` may leave.
    fn judge_fixed(&mut self, dirty: &mut Dirty) {
        let mut fixed = BTreeSet::new();
        for (index, advertisement) in self.advertisements.iter().enumerate() {
            let safe = advertisement
                .prefixes()
                .filter(|one| self.surroundings.refusal(*one, advertisement).is_none());
            fixed.extend(safe.map(|prefix| (prefix, index)));
        }
        dirty.prefixes.extend(fixed.symmetric_difference(&self.fixed).map(|(prefix, _)| *prefix));
        if dirty.everything {
            dirty.prefixes.extend(fixed.iter().map(|(prefix, _)| *prefix));
        }
        self.fixed = fixed;
        self.waiting.touch();
    }

    fn evaluate_pool(&mut self, name: String, inputs: &Inputs, dirty: &mut Dirty) {
        self.work.pools += 1;
        self.waiting.touch();
        let new = inputs
            .pools
            .get(&name)
            .map(|entry| PoolState::of(entry, &self.node, &self.advertisements, &self.surroundings));
        let old = self.pools.remove(&name);
        let blocks =
            |state: &Option<PoolState>| state.iter().flat_map(|s| s.blocks.clone()).collect::<Vec<_>>();
        let (before, after) = (blocks(&old), blocks(&new));
        if before != after {
            // Its Services change pools.
            for (first, last) in before.into_iter().chain(after).map(speaker_config::objects::Block::bounds) {
                dirty.services.extend(self.between(first, last).cloned());
            }
        }
        if old.map(|state| state.created) != new.as_ref().map(|state| state.created) {
            dirty.prefixes.extend(self.open.get(&name).into_iter().flatten().map(|(prefix, _)| *prefix));
        }
        if let Some(state) = new {
            self.pools.insert(name.clone(), state);
        }
        dirty.gates.insert(name);
    }

    fn evaluate_service(&mut self, key: ObjectKey, inputs: &Inputs, dirty: &mut Dirty) {
        self.work.services += 1;
        let context = Context {
            node: &self.node,
            default_class: self.default_class,
            advertisements: &self.advertisements,
            surroundings: &self.surroundings,
        };
        let new = inputs.services.get(&key).map(|service| ServiceState::of(service, inputs, &context));
        let new = new.unwrap_or_default();
        let old = self.services.remove(&key).unwrap_or_default();
        for (addr, held) in old.addresses.iter() {
            if new.addresses.get(addr) != Some(held) {
                dirty.prefixes.insert(Prefix::host(*addr));
            }
        }
        let fresh = new.addresses.keys().filter(|addr| !old.addresses.contains_key(addr));
        dirty.prefixes.extend(fresh.map(|addr| Prefix::host(*addr)));
        // Who has an address, and with which traffic policy.
        for addr in old.candidates.keys().filter(|addr| !new.candidates.contains_key(addr)) {
            self.waiting.touch_addr(*addr);
            if let Some(holders) = self.holders.get_mut(addr) {
                holders.remove(&key);
                if holders.is_empty() {
                    self.holders.remove(addr);
                }
            }
        }
        for addr in new.candidates.keys().filter(|addr| !old.candidates.contains_key(addr)) {
            self.waiting.touch_addr(*addr);
            self.holders.entry(*addr).or_default().insert(key.clone(), ());
        }
        let differ = |addr: &&IpAddr| old.addresses.get(*addr) != new.addresses.get(*addr);
        let both = old.addresses.keys().chain(new.addresses.keys());
        both.filter(differ).for_each(|addr| self.waiting.touch_addr(*addr));
        self.move_claims(&old, &new, dirty);
        if old.pools != new.pools {
            self.recount(&old, &new, dirty);
        }
        if dirty.everything {
            dirty.prefixes.extend(new.addresses.keys().map(|addr| Prefix::host(*addr)));
            dirty.prefixes.extend(new.claims.keys().map(|(prefix, _)| *prefix));
        }
        if !new.is_empty() {
            self.services.insert(key, new);
        }
    }

    /// Notes what a Service's routes came to be, and keeps count of those that are aggregates.
    fn move_claims(&mut self, old: &ServiceState, new: &ServiceState, dirty: &mut Dirty) {
        for (key, claim) in old.claims.iter().filter(|(key, claim)| new.claims.get(key) != Some(claim)) {
            dirty.prefixes.insert(key.0);
            if let Some(count) = self.aggregates.get_mut(key) {
                count.services = count.services.saturating_sub(1);
                count.covered = count.covered.saturating_sub(usize::from(claim.covered));
                if count.services == 0 {
                    self.aggregates.remove(key);
                    self.waiting.touch();
                }
            }
        }
        for (key, claim) in new.claims.iter().filter(|(key, claim)| old.claims.get(key) != Some(claim)) {
            dirty.prefixes.insert(key.0);
            if !key.0.is_host() {
                let count = self.aggregates.entry(*key).or_insert_with(|| {
                    self.waiting.touch();
                    Aggregate::default()
                });
                count.services += 1;
                count.covered += usize::from(claim.covered);
            }
        }
    }

    /// Moves a Service from its old pools' counts to its new ones'.
    fn recount(&mut self, old: &ServiceState, new: &ServiceState, dirty: &mut Dirty) {
        let names: BTreeSet<&String> =
            old.pools.keys().chain(new.pools.keys()).map(|(name, _)| name).collect();
        for name in names {
            let before = self.count(name);
            let mut after = before;
            for ((_, family), ready) in old.pools.iter().filter(|((pool, _), _)| pool == name) {
                let count = after.get_mut(*family);
                count.recorded = count.recorded.saturating_sub(1);
                count.ready = count.ready.saturating_sub(usize::from(*ready));
            }
            for ((_, family), ready) in new.pools.iter().filter(|((pool, _), _)| pool == name) {
                let count = after.get_mut(*family);
                count.recorded += 1;
                count.ready += usize::from(*ready);
            }
            if before.iter().zip(after.iter()).any(|((_, a), (_, b))| a.signs() != b.signs()) {
                dirty.gates.insert(name.clone());
            }
            if after == FamilyMap::default() {
                self.counts.remove(name);
            } else {
                self.counts.insert(name.clone(), after);
            }
        }
    }

    fn evaluate_gate(&mut self, name: String, dirty: &mut Dirty) {
        self.work.gates += 1;
        let counts = self.count(&name);
        let new: BTreeSet<(Prefix, usize)> =
            self.pools.get(&name).into_iter().flat_map(|state| state.open(counts)).collect();
        let old = self.open.remove(&name).unwrap_or_default();
        for (prefix, index) in old.difference(&new) {
            dirty.prefixes.insert(*prefix);
            self.open_by_prefix.remove(&(*prefix, name.clone(), *index));
        }
        for (prefix, index) in new.difference(&old) {
            dirty.prefixes.insert(*prefix);
            self.open_by_prefix.insert((*prefix, name.clone(), *index));
        }
        if !new.is_empty() {
            self.open.insert(name, new);
        }
    }

    /// Gathers the reasons for a prefix anew; says whether the Loc-RIB changed. What is to come into it waits for
    /// [`Self::release`].
    fn settle(&mut self, prefix: Prefix) -> bool {
        self.work.prefixes += 1;
        let Some(contributions) = self.contributions(prefix) else {
            self.waiting.forget(prefix);
            return self.rib.routes.remove(&prefix).is_some();
        };
        self.waiting.place(prefix, &contributions);
        match self.rib.routes.get_mut(&prefix) {
            Some(route) if route.contributions == contributions => false,
            Some(route) => {
                route.contributions = contributions;
                true
            }
            None => {
                self.waiting.hold(prefix, contributions);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
