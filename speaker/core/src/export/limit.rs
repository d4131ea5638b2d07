//! `maxAdvertised`: pool prefixes first, then the oldest Services.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::types::Prefix;
use speaker_config::objects::UnixSeconds;

/// A route's place in the queue; the lowest go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) service: bool,
    pub(super) created: UnixSeconds,
    pub(super) prefix: Prefix,
}

/// The routes of one group that its limit lets through, and those that wait. Every admitted route ranks
/// before every waiting one, so that a change moves at most one route across the line, and its cost does
/// not depend on how many wait.
#[derive(Debug)]
pub(super) struct Quota {
    limit: usize,
    ranks: BTreeMap<Prefix, Rank>,
    admitted: BTreeSet<Rank>,
    waiting: BTreeSet<Rank>,
}

impl Quota {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            ranks: BTreeMap::new(),
            admitted: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Whether the route is let through.
    pub(super) fn admits(&self, prefix: Prefix) -> bool {
        self.ranks.get(&prefix).is_some_and(|rank| self.admitted.contains(rank))
    }

    /// Gives `prefix` a rank, a new one, or with `None` takes it out. Prefixes that crossed the line by it
    /// are added to `crossed`.
    pub(super) fn set(&mut self, prefix: Prefix, rank: Option<Rank>, crossed: &mut BTreeSet<Prefix>) {
        if self.ranks.get(&prefix) == rank.as_ref() {
            return;
        }
        if let Some(old) = self.ranks.remove(&prefix) {
            crossed.insert(prefix);
            if self.admitted.remove(&old) {
                if let Some(next) = self.waiting.pop_first() {
                    crossed.insert(next.prefix);
                    self.admitted.insert(next);
                }
            } else {
                self.waiting.remove(&old);
            }
        }
        if let Some(rank) = rank {
            crossed.insert(prefix);
            self.ranks.insert(prefix, rank);
            self.admitted.insert(rank);
            if self.admitted.len() > self.limit
                && let Some(last) = self.admitted.pop_last()
            {
                crossed.insert(last.prefix);
                self.waiting.insert(last);
            }
        }
    }
}

#[cfg(test)]
mod tests;
