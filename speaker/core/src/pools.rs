//! Pools, their ranges, and which of them conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use speaker_config::objects::Pool;

/// Two overlapping ranges, of which this pool's loses (reference: `cilium.io/PoolConflict`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// The range of this pool.
    pub own: (IpAddr, IpAddr),
    /// The pool it overlaps with, which may be this one.
    pub with: String,
    /// The range of that pool.
    pub theirs: (IpAddr, IpAddr),
}

/// A pool and its standing among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEntry {
    /// The pool.
    pub pool: Pool,
    /// Why it may neither allocate nor announce.
    pub conflict: Option<Conflict>,
}

/// All pools.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    entries: BTreeMap<String, PoolEntry>,
}

impl Pools {
    /// Stores a new version of a pool; says which pools' content or conflict changed.
    pub fn upsert(&mut self, pool: Pool) -> BTreeSet<String> {
        let name = pool.name.clone();
        self.entries.insert(name.clone(), PoolEntry { pool, conflict: None });
        BTreeSet::from([name])
    }

    /// Removes a pool; says which pools changed by it, itself included.
    pub fn remove(&mut self, name: &str) -> BTreeSet<String> {
        self.entries.remove(name).map(|entry| entry.pool.name).into_iter().collect()
    }

    /// One pool.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&PoolEntry> {
        self.entries.get(name)
    }

    /// Every pool, by name.
    pub fn iter(&self) -> impl Iterator<Item = &PoolEntry> {
        self.entries.values()
    }

    /// The pools with a range that contains `addr`, by name; without a conflict there is at most one.
    pub fn containing(&self, addr: IpAddr) -> impl Iterator<Item = &PoolEntry> {
        self.entries.values().filter(move |entry| {
            entry.pool.blocks.iter().any(|block| {
                let (first, last) = block.bounds();
                first.is_ipv4() == addr.is_ipv4() && (first..=last).contains(&addr)
            })
        })
    }
}
