//! The routes to one destination, and what follows when they change.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::types::Prefix;
use smallvec::SmallVec;

use super::decide::decide;
use super::judge::Surroundings;
use super::route::{Hop, Hops, Path, PeerId};
use super::table::Peer;
use crate::prefixes::PrefixSet;

/// Routes to one destination: of two routers, as it mostly is, without a word of memory beside.
#[derive(Debug, Default)]
pub(super) struct Destination {
    pub(super) paths: SmallVec<[Path; 2]>,
    pub(super) hops: Option<Hops>,
}

/// What selection asks, and what it leaves.
#[derive(Debug)]
pub(super) struct Selector<'a> {
    pub(super) peers: &'a mut BTreeMap<PeerId, Peer>,
    pub(super) around: &'a Surroundings,
    pub(super) pools: &'a mut BTreeSet<Hops>,
    pub(super) changed: &'a mut PrefixSet,
}

impl Selector<'_> {
    /// Drops the paths that do not stay.
    pub(super) fn retain(
        &mut self,
        prefix: Prefix,
        slot: &mut Destination,
        mut stays: impl FnMut(&Path) -> bool,
    ) {
        let before = slot.paths.len();
        slot.paths.retain(|path| {
            let stays = stays(path);
            if !stays && let Some(peer) = self.peers.get_mut(&path.peer) {
                let count = peer.count.get_mut(prefix.family());
                count.kept = count.kept.saturating_sub(1);
                count.used = count.used.saturating_sub(u32::from(path.used));
                count.stale = count.stale.saturating_sub(u32::from(path.stale.is_some()));
            }
            stays
        });
        if slot.paths.len() != before {
            self.reselect(prefix, slot);
        }
    }

    /// Selects anew, and notes what follows.
    pub(super) fn reselect(&mut self, prefix: Prefix, slot: &mut Destination) {
        let decision = decide(prefix, &slot.paths, self.peers, self.around);
        for (path, verdict) in slot.paths.iter_mut().zip(&decision.verdicts) {
            let used = verdict.is_used();
            if used != path.used
                && let Some(peer) = self.peers.get_mut(&path.peer)
            {
                let count = peer.count.get_mut(prefix.family());
                count.used = if used { count.used + 1 } else { count.used.saturating_sub(1) };
                path.used = used;
            }
        }
        if slot.hops.as_deref().unwrap_or_default() != decision.hops.as_slice() {
            slot.hops = (!decision.hops.is_empty()).then(|| pooled(&decision.hops, self.pools));
            self.changed.insert(prefix, ());
        }
    }
}

/// Equal next hops are kept once.
pub(super) fn pooled(hops: &[Hop], pools: &mut BTreeSet<Hops>) -> Hops {
    if let Some(known) = pools.get(hops) {
        return known.clone();
    }
    let hops = Hops::from(hops.to_vec());
    pools.insert(hops.clone());
    hops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_of_two_routes_takes_72_octets() {
        assert_eq!((size_of::<Path>(), size_of::<Destination>()), (24, 72));
    }
}
