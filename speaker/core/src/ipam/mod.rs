//! LB IPAM: which Service has which address.
//!
//! [`Ipam::touch`] marks what an event concerned, [`Ipam::reconcile`] goes over the marked Services and those
//! that these stand in the way of, and says which statuses are to be recorded. What is decided is a matter of
//! the objects and of the ledger (`address → owners`): a Service's `ingress` is what is recorded, and an
//! address that was proposed stays its owner's until it is echoed there or taken back.
//!
//! A turn has two halves. The *review* keeps every claim that is still good, settles those that contradict
//! each other, and takes the rest back, of all marked Services before any is given something new. The
//! *grant* then serves those that lack an address, first created first, then by namespace and name, and wakes
//! who waits for what the review set free. Thus nobody gets an address that another still has a right to,
//! however a pool was changed.
//!
//! Where this departs from Cilium, it is to keep addresses where they are:
//! - Addresses of a disabled, conflicting or unreadable pool stay with their Services over a restart, too. An
//!   address outside every pool stays as long as a pool that serves the Service has a block that cannot be
//!   read, for it may lie there.
//! - A freed address is the last of its pool to be used again, the longest free first.
//! - Recorded claims that exclude each other go to the Service that had the address first, as in Cilium; of those that come
//!   together, as after a restart, to the one created first. Where a Service changes the terms on which it shares an
//!   address, it is this one that must go, not its neighbours.
//! - Joining a sharing group needs a pool that selects the Service and may hand out addresses.
//! - A Service without class whose addresses are somebody else's is left alone as long as no pool selects it
//!   and no condition says that it was ours ([cilium#39805]); where a pool selects it, it is served as in Cilium.
//! - A Service that stops being ours loses our addresses and our condition alone, after a restart, too.
//!
//! As in Cilium nothing happens before the first pool exists, and when the last one is gone everything is taken
//! back and forgotten.
//!
//! [cilium#39805]: https://github.com/cilium/cilium/issues/39805

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, FamilySet};
use serde::{Deserialize, Serialize};
use speaker_config::model::DefaultClass;
use speaker_config::objects::{ObjectKey, UnixSeconds};

use crate::danger::DangerContext;
use crate::inputs::{Inputs, Touched};
use crate::pools::Pools;

mod ask;
mod freed;
mod grant;
mod ledger;
mod review;
mod runs;
mod sharing;
mod status;
mod stock;
#[cfg(test)]
mod tests;
mod waiting;

pub use ask::{BGP_CLASS, L2_CLASS};
pub use freed::{Freed, MAX_FREED};
pub use ledger::Standing;
pub use status::{
    DANGEROUS, EventReason, FailureReason, INVALID_SPEC, IPS_AVAILABLE, IPS_TOTAL, IPS_USED, IpamEvent,
    POOL_CONDITIONS, POOL_CONFLICT, PoolStatus, SATISFIED, SERVICE_CONDITIONS, ServiceStatus,
};

pub(crate) use status::condition;

use ledger::Ledger;
use review::Claim;
use sharing::Terms;
use status::Failure;
use waiting::{Seniority, Waiting};

/// What the allocator is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpamSettings {
    /// Families of which addresses are given.
    pub families: FamilySet,
    /// Who serves Services without class.
    pub default_class: DefaultClass,
    /// Services of class [`BGP_CLASS`] are served.
    pub bgp_class: bool,
    /// Services of class [`L2_CLASS`] are served.
    pub l2_class: bool,
}

impl Default for IpamSettings {
    fn default() -> Self {
        Self {
            families: Family::ALL.into_iter().collect(),
            default_class: DefaultClass::LbIpam,
            bgp_class: true,
            l2_class: false,
        }
    }
}

/// What one turn decided: only what differs from what the objects have recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IpamChanges {
    /// Statuses of Services, by key.
    pub services: Vec<ServiceStatus>,
    /// Services of which an earlier turn said a status that is neither recorded nor wanted any more.
    pub moot: Vec<ObjectKey>,
    /// Statuses of pools, by name.
    pub pools: Vec<PoolStatus>,
    /// Events, in the order in which things happened.
    pub events: Vec<IpamEvent>,
    /// [`Ipam::freed`] has changed.
    pub freed_changed: bool,
}

/// What is recorded of a Service that cannot be read. Its addresses are kept for it until it comes, or is known to be
/// gone: a manifest or an object that cannot be read just now is no reason to give them to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The Service.
    pub service: ObjectKey,
    /// When it was created.
    pub created: UnixSeconds,
    /// Its `status.loadBalancer.ingress`.
    pub addresses: Vec<IpAddr>,
}

/// The allocator.
#[derive(Debug, Clone)]
pub struct Ipam {
    settings: IpamSettings,
    ledger: Ledger,
    waiting: Waiting,
    /// Services left alone because their addresses are somebody else's.
    aside: BTreeSet<ObjectKey>,
    /// Services that hold addresses and have not come yet.
    held: BTreeMap<ObjectKey, Held>,
    /// Owned addresses that lie in no pool.
    strays: BTreeSet<IpAddr>,
    /// What is dangerous about pools, by name; absent while it is not known what pools may not hold.
    dangers: Option<BTreeMap<String, String>>,
    /// Failures that an Event told of.
    told: BTreeMap<ObjectKey, Failure>,
    /// Statuses that were said and are not recorded yet.
    said: BTreeMap<ObjectKey, ServiceStatus>,
    marked: Touched,
    /// There was a pool at the last turn.
    awake: bool,
    /// How often a Service was reviewed or served.
    #[cfg(test)]
    visits: usize,
}

impl Ipam {
    /// An allocator that knows nothing yet.
    #[must_use]
    pub fn new(settings: IpamSettings) -> Self {
        Self::with_freed(settings, [])
    }

    /// An allocator that knows which addresses were given back, longest free first (see [`Ipam::freed`]).
    #[must_use]
    pub fn with_freed(settings: IpamSettings, freed: impl IntoIterator<Item = Freed>) -> Self {
        Self {
            settings,
            ledger: Ledger::new(freed),
            waiting: Waiting::default(),
            aside: BTreeSet::new(),
            held: BTreeMap::new(),
            strays: BTreeSet::new(),
            dangers: Some(BTreeMap::new()),
            told: BTreeMap::new(),
            said: BTreeMap::new(),
            marked: Touched::default(),
            awake: false,
            #[cfg(test)]
            visits: 0,
        }
    }

    /// Keeps addresses for a Service that has not come yet. What it holds already stays held.
    pub fn hold(&mut self, pools: &Pools, held: &Held) {
        let Held { service, created, addresses } = held;
        self.ledger.introduce(&(*created, service.clone()), Terms::unknown(&service.namespace));
        for address in addresses {
            self.ledger.join(pools, *address, service, Standing::Recorded);
        }
        let kept = self.held.entry(service.clone()).or_insert_with(|| held.clone());
        kept.addresses.extend(
            addresses.iter().filter(|one| !kept.addresses.contains(one)).copied().collect::<Vec<_>>(),
        );
    }

    /// The Service will not come: what is held for it is given back by the next turn.
    pub fn let_go(&mut self, service: &ObjectKey) {
        if self.held.remove(service).is_some() {
            self.marked.services.insert(service.clone());
        }
    }

    /// Marks what an event concerned. Every change of the [`Inputs`] must come here before the next turn.
    pub fn touch(&mut self, touched: &Touched) {
        self.marked.pools.extend(touched.pools.iter().cloned());
        self.marked.pool_statuses.extend(touched.pool_statuses.iter().cloned());
        self.marked.services.extend(touched.services.iter().cloned());
        self.marked.surroundings.extend(touched.surroundings.iter().copied());
    }

    /// Goes over what is marked. `now` is noted at addresses that are given back, and decides nothing.
    pub fn reconcile(&mut self, inputs: &Inputs, now: UnixSeconds) -> IpamChanges {
        let asleep = inputs.pools.is_empty();
        let marked = std::mem::take(&mut self.marked);
        if asleep && !self.awake {
            return IpamChanges::default();
        }
        let waking = !self.awake;
        self.awake = true;
        let all = waking || !marked.surroundings.is_empty();
        self.judge(inputs, (!all).then_some(&marked.pools));
        let mut turn = Turn::new(self, inputs, now);
        turn.dirty.extend(marked.services);
        turn.restock(marked.pools);
        if waking {
            turn.restock(inputs.pools.iter().map(|entry| entry.pool.name.clone()).collect());
            turn.dirty.extend(inputs.services.keys().cloned());
        }
        turn.review();
        turn.grant();
        let mut changes = turn.finish();
        self.ledger.unreported.extend(marked.pool_statuses);
        for name in std::mem::take(&mut self.ledger.unreported) {
            let Some(entry) = inputs.pools.get(&name) else { continue };
            changes
                .pools
                .extend(self.pool_status(inputs, &name).filter(|told| !told.is_recorded(&entry.pool)));
        }
        if asleep {
            let freed: Vec<Freed> = self.freed().collect();
            let dangers = self.dangers.take().map(|_| BTreeMap::new());
            let held = std::mem::take(&mut self.held);
            *self = Self { dangers, ..Self::with_freed(self.settings, freed) };
            held.values().for_each(|held| self.hold(&inputs.pools, held));
        }
        changes
    }

    /// What [`Inputs::surroundings`] has is not the whole yet: until [`Ipam::judge_pools`] what is recorded of pools'
    /// dangers stays.
    pub fn expect_surroundings(&mut self) {
        self.dangers = None;
    }

    /// [`Inputs::surroundings`] has all that there is: pools are judged with the next turn.
    pub fn judge_pools(&mut self, inputs: &Inputs) {
        self.dangers.get_or_insert_default();
        self.marked.pools.extend(inputs.pools.iter().map(|entry| entry.pool.name.clone()));
    }

    /// Looks for what is dangerous about these pools, or all.
    fn judge(&mut self, inputs: &Inputs, names: Option<&BTreeSet<String>>) {
        let Some(dangers) = self.dangers.as_mut().filter(|_| names.is_none_or(|names| !names.is_empty()))
        else {
            return;
        };
        let own = inputs.surroundings(DangerContext::default());
        let all = || inputs.pools.iter().map(|entry| entry.pool.name.clone()).collect();
        for name in names.cloned().unwrap_or_else(all) {
            let found = inputs.pools.get(&name).and_then(|entry| status::dangers(&entry.pool, &own));
            if found.as_ref() != dangers.get(&name) {
                match found {
                    Some(found) => dangers.insert(name.clone(), found),
                    None => dangers.remove(&name),
                };
                self.ledger.unreported.insert(name);
            }
        }
    }

    /// What a pool has left, as its status says.
    #[must_use]
    pub fn pool_status(&self, inputs: &Inputs, name: &str) -> Option<PoolStatus> {
        let entry = inputs.pools.get(name)?;
        let danger = match &self.dangers {
            Some(dangers) => dangers.get(name).map(String::as_str),
            None => status::recorded_danger(&entry.pool),
        };
        Some(PoolStatus::of(entry, self.ledger.shelf(name)?.used, danger))
    }

    /// Who has an address, and how far that has come.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = (&ObjectKey, Standing)> {
        self.ledger.owners(address)
    }

    /// Addresses given back, longest free first. Whoever keeps them over a restart hands them to
    /// [`Ipam::with_freed`].
    pub fn freed(&self) -> impl Iterator<Item = Freed> {
        self.ledger.freed()
    }
}

/// One run over what is marked.
struct Turn<'a> {
    ipam: &'a mut Ipam,
    inputs: &'a Inputs,
    now: UnixSeconds,
    /// To be reviewed.
    dirty: BTreeSet<ObjectKey>,
    /// Claims that the ledger does not have.
    claims: Vec<Claim>,
    /// To be served, eldest first.
    work: BTreeSet<Seniority>,
    /// Addresses whose owners, or the terms of these, changed, and nobody who waits was woken for it.
    moved: BTreeSet<IpAddr>,
    statuses: BTreeMap<ObjectKey, ServiceStatus>,
    /// Services gone over of which something was said before.
    again: BTreeSet<ObjectKey>,
    failures: BTreeMap<ObjectKey, Option<Failure>>,
    events: Vec<IpamEvent>,
}

impl<'a> Turn<'a> {
    fn new(ipam: &'a mut Ipam, inputs: &'a Inputs, now: UnixSeconds) -> Self {
        Self {
            ipam,
            inputs,
            now,
            dirty: BTreeSet::new(),
            claims: Vec::new(),
            work: BTreeSet::new(),
            moved: BTreeSet::new(),
            statuses: BTreeMap::new(),
            again: BTreeSet::new(),
            failures: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Takes over what became of pools, and marks whom that concerns.
    fn restock(&mut self, names: BTreeSet<String>) {
        let mut changed = false;
        for name in names {
            let entry = self.inputs.pools.get(&name);
            let Some(before) = self.ipam.ledger.restock(&name, entry) else { continue };
            changed = true;
            let before = before.map(|shape| shape.blocks).unwrap_or_default();
            let after = entry.map(|entry| entry.pool.blocks.clone()).unwrap_or_default();
            for (first, last) in before.into_iter().chain(after).map(speaker_config::objects::Block::bounds) {
                self.dirty.extend(self.ipam.ledger.owners_between(first, last).cloned());
            }
        }
        if changed {
            self.dirty.extend(self.ipam.waiting.all().map(|(_, key)| key.clone()));
            self.dirty.extend(self.ipam.aside.iter().cloned());
            for stray in &self.ipam.strays {
                self.dirty.extend(self.ipam.ledger.owners(*stray).map(|(key, _)| key.clone()));
            }
        }
    }

    fn event(&mut self, service: &ObjectKey, reason: EventReason, note: String) {
        self.events.push(IpamEvent { service: service.clone(), reason, note });
    }

    /// Notes that a Service is gone over.
    fn visit(&mut self, key: &ObjectKey) {
        if self.ipam.said.contains_key(key) {
            self.again.insert(key.clone());
        }
        #[cfg(test)]
        {
            self.ipam.visits += 1;
        }
    }

    /// Of what was said before, that which is neither recorded nor said again.
    fn moot(&mut self) -> Vec<ObjectKey> {
        let mut moot = Vec::new();
        for key in std::mem::take(&mut self.again) {
            if self.statuses.contains_key(&key) {
                continue;
            }
            let Some(said) = self.ipam.said.remove(&key) else { continue };
            if self.inputs.services.get(&key).is_some_and(|service| !said.is_recorded(service)) {
                moot.push(key);
            }
        }
        self.ipam.said.extend(self.statuses.iter().map(|(key, status)| (key.clone(), status.clone())));
        moot
    }

    /// Notes a status that is to be recorded, unless it is.
    fn record(&mut self, status: ServiceStatus) {
        match self.inputs.services.get(&status.key) {
            Some(service) if !status.is_recorded(service) => {
                self.statuses.insert(status.key.clone(), status);
            }
            _ => {
                self.statuses.remove(&status.key);
            }
        }
    }

    fn finish(mut self) -> IpamChanges {
        for (key, failure) in std::mem::take(&mut self.failures) {
            let Some(failure) = failure else {
                self.ipam.told.remove(&key);
                continue;
            };
            let recorded = self.inputs.services.get(&key).and_then(status::recorded);
            let known = self.ipam.told.get(&key) == Some(&failure)
                || recorded.is_some_and(|condition| {
                    condition.status == "False"
                        && condition.reason == failure.reason.as_str()
                        && condition.message == failure.message
                });
            if !known {
                self.event(&key, EventReason::AllocationFailed, failure.message.clone());
            }
            self.ipam.told.insert(key, failure);
        }
        let moot = self.moot();
        IpamChanges {
            services: self.statuses.into_values().collect(),
            moot,
            pools: Vec::new(),
            events: self.events,
            freed_changed: std::mem::take(&mut self.ipam.ledger.queue_changed),
        }
    }
}
