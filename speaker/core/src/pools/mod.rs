//! Pools, their ranges, and which of them conflict.
//!
//! Of two pools that overlap the younger loses: the one with the later `creationTimestamp`, and where
//! these are equal the one with the greater name. Selectors and `disabled` play no part. A pool is in
//! conflict as long as it overlaps an elder pool, *whether or not that one is itself in conflict*, or as
//! long as two of its own blocks overlap. The standing of a pool thus follows from the pools alone, not
//! from their history, and repairing one pool never puts another one out of service.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::types::{Family, FamilyMap};
use serde::{Deserialize, Serialize};
use speaker_config::objects::{Block, Pool, UnixSeconds};

use crate::span::{Count, Span, bits};

mod segments;
use segments::{Segments, Slot};

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

impl fmt::Display for Conflict {
    /// The message of the condition `cilium.io/PoolConflict`, word for word as Cilium has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, with, theirs } = self;
        write!(
            f,
            "Pool conflicts since range '{} - {}' overlaps range '{} - {}' from IP Pool '{with}'",
            own.0, own.1, theirs.0, theirs.1
        )
    }
}

/// A pool and its standing among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEntry {
    /// The pool.
    pub pool: Pool,
    /// Why it may neither allocate nor announce.
    pub conflict: Option<Conflict>,
}

impl PoolEntry {
    /// How many addresses its blocks of a family hold; what two blocks share counts twice, as in Cilium.
    #[must_use]
    pub fn size(&self, family: Family) -> Count {
        spans(&self.pool).filter(|(_, span)| span.family == family).map(|(_, span)| span.count()).sum()
    }
}

/// The annotation of a pool that says how early it is asked for an address: a whole number, 0 where it is absent.
/// Cilium has none ([cilium#22008]).
///
/// [cilium#22008]: https://github.com/cilium/cilium/issues/22008
pub const PRIORITY: &str = "lbipam.cilium.io/pool-priority";

/// How early a pool is asked for an address: the greater, the earlier.
///
/// # Errors
/// The annotation is no number of 32 bits; it then counts as 0.
pub fn priority(pool: &Pool) -> Result<i32, String> {
    let Some(text) = pool.annotations.get(PRIORITY) else { return Ok(0) };
    text.trim().parse().map_err(|_| {
        let most = i32::MAX;
        format!("metadata.annotations[{PRIORITY}]: {text:?} is not a whole number of at most {most}; it counts as 0")
    })
}

/// Highest priority first, then eldest, then by name.
fn rank(pool: &Pool) -> (Reverse<i32>, UnixSeconds, String) {
    (Reverse(priority(pool).unwrap_or_default()), pool.created, pool.name.clone())
}

/// All pools.
#[derive(Debug, Clone)]
pub struct Pools {
    entries: BTreeMap<String, PoolEntry>,
    /// In the order of [`rank`].
    by_preference: BTreeSet<(Reverse<i32>, UnixSeconds, String)>,
    segments: FamilyMap<Segments>,
}

impl Default for Pools {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            by_preference: BTreeSet::new(),
            segments: FamilyMap::from_fn(Segments::new),
        }
    }
}

/// The range of a block. Its constructors keep both ends in one family; were they not, the block would
/// hold nothing.
pub(crate) fn span(block: Block) -> Option<Span> {
    let (first, last) = block.bounds();
    Span::between(first, last)
}

fn spans(pool: &Pool) -> impl Iterator<Item = (usize, Span)> {
    pool.blocks.iter().enumerate().filter_map(|(index, block)| Some((index, span(*block)?)))
}

impl Pools {
    /// Stores a new version of a pool; says which pools' content or conflict changed. The status of the
    /// object (`conditions`) is stored, too, and is no content.
    pub fn upsert(&mut self, pool: Pool) -> BTreeSet<String> {
        let name = pool.name.clone();
        let conflict = match self.entries.get_mut(&name) {
            Some(old) if same_content(&old.pool, &pool) => {
                old.pool = pool;
                return BTreeSet::new();
            }
            Some(old) => old.conflict.clone(),
            None => None,
        };
        let mut near = self.withdraw(&name);
        self.by_preference.insert(rank(&pool));
        let shared: Arc<str> = name.as_str().into();
        for (index, span) in spans(&pool) {
            near.extend(self.overlapping(span));
            self.segments.get_mut(span.family).insert(span, &(shared.clone(), index));
        }
        self.entries.insert(name.clone(), PoolEntry { pool, conflict });
        near.insert(name.clone());
        let mut changed = self.settle(near);
        changed.insert(name);
        changed
    }

    /// Removes a pool; says which pools changed by it, itself included.
    pub fn remove(&mut self, name: &str) -> BTreeSet<String> {
        if !self.entries.contains_key(name) {
            return BTreeSet::new();
        }
        let near = self.withdraw(name);
        let mut changed = self.settle(near);
        changed.insert(name.to_owned());
        changed
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

    /// Every pool in the order in which they are asked for an address: highest [`priority`] first, then eldest
    /// (Cilium's order), then by name.
    pub fn by_preference(&self) -> impl Iterator<Item = &PoolEntry> {
        self.by_preference.iter().filter_map(|(_, _, name)| self.entries.get(name))
    }

    /// Whether there is no pool.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The pools with a range that contains `addr`, by name; without a conflict there is at most one.
    pub fn containing(&self, addr: IpAddr) -> impl Iterator<Item = &PoolEntry> {
        let mut previous: Option<&str> = None;
        self.segments.get(Family::of(addr)).at(bits(addr)).filter_map(move |(name, _)| {
            let new = previous != Some(&**name);
            previous = Some(name);
            new.then(|| self.entries.get(&**name)).flatten()
        })
    }

    /// Takes a pool and its ranges out; gives the names of those that it overlapped.
    fn withdraw(&mut self, name: &str) -> BTreeSet<String> {
        let mut near = BTreeSet::new();
        let Some(old) = self.entries.remove(name) else { return near };
        self.by_preference.remove(&rank(&old.pool));
        let shared: Arc<str> = name.into();
        for (index, span) in spans(&old.pool) {
            self.segments.get_mut(span.family).remove(span, &(shared.clone(), index));
        }
        for (_, span) in spans(&old.pool) {
            near.extend(self.overlapping(span));
        }
        near
    }

    fn overlapping(&self, span: Span) -> impl Iterator<Item = String> {
        self.segments.get(span.family).overlapping(span).into_iter().map(|(name, _)| name.to_string())
    }

    /// Judges pools anew; gives those whose conflict changed.
    fn settle(&mut self, names: BTreeSet<String>) -> BTreeSet<String> {
        names
            .into_iter()
            .filter(|name| {
                let Some(entry) = self.entries.get(name) else { return false };
                let conflict = self.conflict_of(&entry.pool);
                let changed = conflict != entry.conflict;
                if let Some(entry) = self.entries.get_mut(name) {
                    entry.conflict = conflict;
                }
                changed
            })
            .collect()
    }

    /// The conflict to show: with itself before others, with the eldest pool first, then in the order of
    /// the blocks.
    fn conflict_of(&self, pool: &Pool) -> Option<Conflict> {
        spans(pool)
            .flat_map(|(index, own)| {
                let slots = self.segments.get(own.family).overlapping(own);
                slots.into_iter().filter_map(move |slot| self.clash(pool, (index, own), &slot))
            })
            .min_by(|a, b| a.0.cmp(&b.0))
            .map(|(_, conflict)| conflict)
    }

    fn clash(&self, pool: &Pool, (index, own): (usize, Span), slot: &Slot) -> Option<(Rank, Conflict)> {
        let (name, their_index) = slot;
        let itself = **name == *pool.name;
        let other = &self.entries.get(&**name)?.pool;
        let elder = (other.created, &other.name) < (pool.created, &pool.name);
        // A pair of a pool's own blocks is met twice; it is told once, the earlier block first.
        if if itself { *their_index <= index } else { !elder } {
            return None;
        }
        let theirs = span(*other.blocks.get(*their_index)?)?;
        let conflict = Conflict { own: own.addrs(), with: other.name.clone(), theirs: theirs.addrs() };
        Some(((!itself, other.created, other.name.clone(), index, *their_index), conflict))
    }
}

/// Another's before its own, age, name, own block, their block.
type Rank = (bool, UnixSeconds, String, usize, usize);

fn same_content(one: &Pool, other: &Pool) -> bool {
    let Pool {
        name,
        created,
        generation,
        labels,
        annotations,
        selector,
        blocks,
        reserve_first_last,
        disabled,
        faults,
        conditions: _,
    } = one;
    *name == other.name
        && *created == other.created
        && *generation == other.generation
        && *labels == other.labels
        && *annotations == other.annotations
        && *selector == other.selector
        && *blocks == other.blocks
        && *reserve_first_last == other.reserve_first_last
        && *disabled == other.disabled
        && *faults == other.faults
}

#[cfg(test)]
mod tests;
