//! Routes of peers that restart: how long they stay, and what ends it (RFC 4724 §4.2, RFC 9494).

use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::{Family, FamilySet, Timestamp};

use super::helper::Loss;
use super::route::{Path, PeerId, Stale};
use super::table::Learned;

/// How long a peer that has come back may take for its table: "an upper bound … on the amount of time it retains the
/// stale routes" (RFC 4724 §4.2), as FRR has it.
pub(super) const RESUME: Duration = Duration::from_secs(360);

/// What stale routes wait for, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the peer to come back.
    Restart(Timestamp),
    /// The same, much longer.
    LongLived(Timestamp),
    /// It is back, for its End-of-RIB.
    EndOfRib(Timestamp),
}

impl Wait {
    const fn until(self) -> Timestamp {
        match self {
            Self::Restart(at) | Self::LongLived(at) | Self::EndOfRib(at) => at,
        }
    }
}

impl Learned {
    /// "once the End-of-RIB marker for an address family is received from the peer, it MUST immediately remove any
    /// routes from the peer that are still marked as stale for that address family" (RFC 4724 §4.2).
    pub(super) fn end_of_rib(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.end_of_rib.insert(family);
        if peer.waits.get_mut(family).take().is_some() {
            self.retain_of(id, |prefix, path| prefix.family() != family || path.stale.is_none());
        }
    }

    /// The session is over.
    pub fn down(&mut self, name: &str, session: u64, loss: Loss, now: Timestamp) {
        let Some((id, peer)) = self.current(name, session) else { return };
        if !std::mem::replace(&mut peer.up, false) {
            return;
        }
        let helper = peer.helper;
        let mut kept = FamilySet::default();
        for family in Family::ALL {
            let time = helper.restart_of(family).filter(|_| loss.keeps(&helper));
            *peer.waits.get_mut(family) = time.map(|time| Wait::Restart(now + time));
            if time.is_some() {
                kept.insert(family);
            }
        }
        // "a route (from the peer) previously marked as stale MUST be deleted", where the peer is lost again before it
        // has sent its table (RFC 4724 §4.2).
        self.retain_of(id, |prefix, path| kept.contains(prefix.family()) && path.stale.is_none());
        self.mark_stale(id, kept, Stale::Restart);
        self.expire(now);
        self.forget_if_empty(name);
    }

    /// Times that have run out.
    pub fn expire(&mut self, now: Timestamp) {
        let due: Vec<(PeerId, Family, Wait)> = self
            .waits()
            .filter(|(_, _, wait)| wait.until() <= now)
            .map(|(id, family, wait)| (id, family, *wait))
            .collect();
        for (id, family, wait) in due {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let long = peer.helper.long_lived.get(family).filter(|time| !time.is_zero());
            let next = match wait {
                Wait::Restart(at) => long.map(|time| Wait::LongLived(at + time)),
                Wait::LongLived(_) | Wait::EndOfRib(_) => None,
            };
            *peer.waits.get_mut(family) = next.filter(|wait| wait.until() > now);
            let name = Arc::clone(&peer.name);
            // Routes with NO_LLGR MUST NOT be retained (RFC 9494 §4.2).
            let stays = peer.waits.get(family).is_some();
            let may = |path: &Path| !path.set.rank.no_llgr;
            self.retain_of(id, |prefix, path| {
                prefix.family() != family || path.stale.is_none() || (stays && may(path))
            });
            if stays {
                self.mark_stale(id, FamilySet::from_iter([family]), Stale::LongLived);
            }
            self.forget_if_empty(&name);
        }
    }

    /// When [`Self::expire`] has something to do next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.waits().map(|(_, _, wait)| wait.until()).min()
    }

    fn waits(&self) -> impl Iterator<Item = (PeerId, Family, &Wait)> {
        self.peers.iter().flat_map(|(id, peer)| {
            peer.waits.iter().filter_map(|(family, wait)| Some((*id, family, wait.as_ref()?)))
        })
    }

    fn mark_stale(&mut self, id: PeerId, families: FamilySet, stale: Stale) {
        let (routes, mut selector) = self.split();
        for (prefix, slot) in routes.iter_mut().filter(|(prefix, _)| families.contains(prefix.family())) {
            let mut marked = false;
            for path in slot.paths.iter_mut().filter(|path| path.peer == id && path.stale != Some(stale)) {
                if path.stale.is_none()
                    && let Some(peer) = selector.peers.get_mut(&id)
                {
                    peer.count.get_mut(prefix.family()).stale += 1;
                }
                path.stale = Some(stale);
                marked = true;
            }
            if marked {
                selector.reselect(prefix, slot);
            }
        }
    }
}
