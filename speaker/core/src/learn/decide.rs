//! What becomes of all routes to one destination. `rib received` and `explain` ask the same function.

use std::collections::BTreeMap;

use bgp_proto::types::Prefix;

use super::judge::Surroundings;
use super::route::{Hop, Path, PeerId, Refusal, Stale, Verdict};
use super::select::{Candidate, Few, select};
use super::table::Peer;

/// The most next hops of one route, as routers have it.
pub(super) const MAX_HOPS: usize = 64;

/// What was decided for one destination.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// Of each path, in their order.
    pub(super) verdicts: Few<Verdict>,
    /// In order, each once; empty where nothing may be used.
    pub(super) hops: Few<Hop>,
    /// The next hops of the paths that may be used, with their places.
    pub(super) ways: Few<(usize, Hop)>,
}

pub(super) fn decide(
    prefix: Prefix,
    paths: &[Path],
    peers: &BTreeMap<PeerId, Peer>,
    around: &Surroundings,
) -> Decision {
    let attached = around.is_attached(prefix);
    let mut verdicts = Few::new();
    let mut candidates = Few::new();
    let mut ways = Few::new();
    for (at, path) in paths.iter().enumerate() {
        let Some(peer) = peers.get(&path.peer) else {
            verdicts.push(Verdict::Refused(Refusal::Unresolvable));
            continue;
        };
        let refused = path.refused.or(attached.then_some(Refusal::Attached));
        let hop = refused.map_or_else(|| around.resolve(path.set.next_hop, &peer.from, prefix), Err);
        match hop {
            Err(refusal) => verdicts.push(Verdict::Refused(refusal)),
            Ok(hop) => {
                // Selection tells what it is, below.
                verdicts.push(Verdict::Surplus);
                ways.push((at, hop));
                candidates.push(Candidate {
                    rank: &path.set.rank,
                    from: &peer.from,
                    name: &peer.name,
                    path_id: path.path_id(),
                    long_lived: path.stale == Some(Stale::LongLived),
                });
            }
        }
    }
    let Some(choice) = select(&candidates) else { return Decision { verdicts, ..Decision::default() } };
    let mut used: Few<Hop> = Few::new();
    // The best one first: whatever falls off the end, it is not that.
    let equal = choice.equal.iter().filter(|at| **at != choice.best);
    for one in std::iter::once(&choice.best).chain(equal) {
        let Some((at, hop)) = ways.get(*one) else { continue };
        let verdict = match used.contains(hop) {
            false if used.len() == MAX_HOPS => Verdict::Surplus,
            _ if *one == choice.best => Verdict::Best,
            _ => Verdict::Equal,
        };
        if verdict.is_used() && !used.contains(hop) {
            used.push(*hop);
        }
        if let Some(slot) = verdicts.get_mut(*at) {
            *slot = verdict;
        }
    }
    for (lost, (at, _)) in choice.lost.iter().zip(&ways) {
        if let (Some(step), Some(slot)) = (lost, verdicts.get_mut(*at)) {
            *slot = Verdict::Lost(*step);
        }
    }
    used.sort_unstable();
    Decision { verdicts, hops: used, ways }
}
