//! What operators see of what is learned.

use bgp_proto::types::{Family, FamilyMap, FamilySet, Prefix};
use bgp_proto::wire::Nlri;
use serde::{Deserialize, Serialize};

use super::decide::decide;
use super::route::Verdict;
use super::table::Learned;
use crate::received::{ReceivedRoute, Shown};

/// How many routes of a family are learned from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LearnedCount {
    /// Kept.
    pub kept: u32,
    /// Of those, packets take so many.
    pub used: u32,
    /// Of those kept, so many are of a session that is gone.
    pub stale: u32,
    /// There were more than `maxPrefixes`, and those are not kept.
    pub beyond: bool,
}

impl Learned {
    /// By peer.
    pub fn counts(&self) -> impl Iterator<Item = (&std::sync::Arc<str>, &FamilyMap<LearnedCount>)> {
        self.peers.values().map(|peer| (&peer.name, &peer.count))
    }

    /// Peers of which stale routes are kept, with the families.
    pub fn stale(&self) -> impl Iterator<Item = (&std::sync::Arc<str>, FamilySet)> {
        self.peers.values().filter_map(|peer| {
            let stale = |family: &Family| peer.count.get(*family).stale > 0;
            let families: FamilySet = Family::ALL.into_iter().filter(stale).collect();
            (!families.is_empty()).then_some((&peer.name, families))
        })
    }

    /// The routes that `wanted` picks by peer and destination, with what became of each.
    pub fn rows(&self, mut wanted: impl FnMut(&str, Prefix) -> bool) -> Vec<ReceivedRoute> {
        let mut rows = Vec::new();
        for (prefix, slot) in self.routes.iter() {
            if !slot
                .paths
                .iter()
                .any(|path| self.peers.get(&path.peer).is_some_and(|p| wanted(&p.name, prefix)))
            {
                continue;
            }
            let decision = decide(prefix, &slot.paths, &self.peers, &self.around);
            for (at, (path, verdict)) in slot.paths.iter().zip(decision.verdicts).enumerate() {
                let Some(peer) = self.peers.get(&path.peer).filter(|peer| wanted(&peer.name, prefix)) else {
                    continue;
                };
                let attributes = path.set.attributes();
                let shown =
                    Shown { attributes: &attributes, next_hop: path.set.next_hop, since: path.since.into() };
                let nlri = Nlri { path_id: path.path_id(), prefix };
                let mut row = ReceivedRoute::of(&peer.name, peer.from.asn, nlri, Some(shown));
                judged(&mut row, verdict, path.stale.is_some());
                let way = decision.ways.iter().find(|(of, _)| *of == at);
                row.interface = way.and_then(|(_, hop)| self.around.interfaces.get(&hop.interface).cloned());
                rows.push(row);
            }
        }
        rows
    }

    /// Rows of `learned` in the place of those that say less of the same routes, in order.
    #[must_use]
    pub fn merge(mut received: Vec<ReceivedRoute>, learned: Vec<ReceivedRoute>) -> Vec<ReceivedRoute> {
        let key = |row: &ReceivedRoute| (row.peer.clone(), row.prefix, row.path_id);
        let known: std::collections::BTreeSet<_> = learned.iter().map(key).collect();
        received.retain(|row| !known.contains(&key(row)));
        received.extend(learned);
        received.sort_by_cached_key(key);
        received
    }
}

fn judged(row: &mut ReceivedRoute, verdict: Verdict, stale: bool) {
    row.learned = true;
    row.valid = Some(!matches!(verdict, Verdict::Refused(_)));
    row.best = verdict == Verdict::Best;
    row.multipath = verdict == Verdict::Equal;
    row.stale = stale;
    row.reason = verdict.why_not();
}
