//! Services that lack an address, by what would help them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::objects::{ObjectKey, UnixSeconds};

/// First created, then namespace and name: who comes first.
pub(super) type Seniority = (UnixSeconds, ObjectKey);

/// What a Service waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wait {
    /// One of these, by name.
    pub(super) names: BTreeSet<IpAddr>,
    /// Any address of these pools.
    pub(super) pools: BTreeSet<(String, Family)>,
    /// A place beside a Service with this sharing key.
    pub(super) key: Option<String>,
}

/// The waiting room.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    waits: BTreeMap<Seniority, Wait>,
    names: BTreeMap<IpAddr, BTreeSet<Seniority>>,
    pools: BTreeMap<(String, Family), BTreeSet<Seniority>>,
    keys: BTreeMap<String, BTreeSet<Seniority>>,
}

fn leave<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Seniority>>, place: &K, who: &Seniority) {
    if let Some(set) = index.get_mut(place) {
        set.remove(who);
        if set.is_empty() {
            index.remove(place);
        }
    }
}

impl Waiting {
    pub(super) fn set(&mut self, who: &Seniority, wait: Wait) {
        self.clear(who);
        for name in &wait.names {
            self.names.entry(*name).or_default().insert(who.clone());
        }
        for pool in &wait.pools {
            self.pools.entry(pool.clone()).or_default().insert(who.clone());
        }
        if let Some(key) = &wait.key {
            self.keys.entry(key.clone()).or_default().insert(who.clone());
        }
        self.waits.insert(who.clone(), wait);
    }

    pub(super) fn clear(&mut self, who: &Seniority) {
        let Some(wait) = self.waits.remove(who) else { return };
        for name in &wait.names {
            leave(&mut self.names, name, who);
        }
        for pool in &wait.pools {
            leave(&mut self.pools, pool, who);
        }
        if let Some(key) = &wait.key {
            leave(&mut self.keys, key, who);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Seniority> {
        self.waits.keys()
    }

    pub(super) fn for_name(&self, name: IpAddr) -> impl Iterator<Item = &Seniority> {
        self.names.get(&name).into_iter().flatten()
    }

    pub(super) fn for_key(&self, key: &str) -> impl Iterator<Item = &Seniority> {
        self.keys.get(key).into_iter().flatten()
    }

    /// Eldest first.
    pub(super) fn for_pool(&self, pool: &(String, Family)) -> impl Iterator<Item = &Seniority> {
        self.pools.get(pool).into_iter().flatten()
    }
}
