//! The Adj-RIB-In of what is learned, of all peers together, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp_proto::types::{Family, FamilyMap, FamilySet, Prefix, Timestamp};
use bgp_proto::wire::Nlri;
use speaker_config::objects::UnixSeconds;

use super::destination::{Destination, Selector};
use super::helper::Helper;
use super::judge::{Surroundings, judge};
use super::restart::{RESUME, Wait};
use super::route::{Hops, Neighbor, Path, PeerId, Rules};
use super::sets::Sets;
use super::sift::Sifted;
use super::view::LearnedCount;
use crate::prefixes::{PrefixMap, PrefixSet};

/// One peer with its last session.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: Arc<str>,
    session: u64,
    pub(super) up: bool,
    pub(super) from: Neighbor,
    rules: Rules,
    pub(super) helper: Helper,
    families: FamilySet,
    pub(super) count: FamilyMap<LearnedCount>,
    pub(super) end_of_rib: FamilySet,
    /// Until when stale routes are kept.
    pub(super) waits: FamilyMap<Option<Wait>>,
}

/// What peers have told that `learn` asks for. It keeps [`Rules::most`] routes of each family and peer at most,
/// whatever they send.
#[derive(Debug, Default)]
pub struct Learned {
    next: PeerId,
    names: BTreeMap<Arc<str>, PeerId>,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) routes: PrefixMap<Destination>,
    sets: Sets,
    pools: BTreeSet<Hops>,
    pub(super) around: Surroundings,
    changed: PrefixSet,
}

impl Learned {
    /// A session has come up. Stale routes of the families whose forwarding state the peer has not kept are gone:
    /// "If the Forwarding State bit for a specific address family is not set in the newly received Graceful Restart
    /// Capability, or if a specific address family is not included …, then the Receiving Speaker MUST immediately remove
    /// all the stale routes from the peer that it is retaining for that address family" (RFC 4724 §4.2).
    #[expect(clippy::too_many_arguments, reason = "all that a session begins with")]
    pub fn up(
        &mut self,
        name: &Arc<str>,
        session: u64,
        from: Neighbor,
        families: FamilySet,
        helper: Helper,
        rules: Rules,
        now: Timestamp,
    ) {
        let Some(id) = self.id(name, &from, &rules) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        (peer.session, peer.up, peer.families, peer.helper) = (session, true, families, helper);
        (peer.from, peer.rules, peer.end_of_rib) = (from, rules, FamilySet::default());
        let mut gone = FamilySet::default();
        for family in Family::ALL {
            peer.count.get_mut(family).beyond = false;
            let kept = match *peer.waits.get(family) {
                Some(Wait::LongLived(_)) => helper.long_lived_forwarding.contains(family),
                Some(_) => helper.forwarding.contains(family),
                None => true,
            };
            if !kept || !families.contains(family) {
                gone.insert(family);
                *peer.waits.get_mut(family) = None;
            } else if let Some(wait) = peer.waits.get_mut(family) {
                *wait = Wait::EndOfRib(now + RESUME);
            }
        }
        // Routes that are not stale are of a session whose end nobody told.
        self.retain_of(id, |prefix, path| path.stale.is_some() && !gone.contains(prefix.family()));
        self.reselect_of(id);
    }

    /// `None` with 65,536 peers of which something is kept.
    fn id(&mut self, name: &Arc<str>, from: &Neighbor, rules: &Rules) -> Option<PeerId> {
        if let Some(id) = self.names.get(name) {
            return Some(*id);
        }
        let mut free = (0..=PeerId::MAX).map(|step| self.next.wrapping_add(step));
        let id = free.find(|id| !self.peers.contains_key(id))?;
        self.next = id.wrapping_add(1);
        self.names.insert(Arc::clone(name), id);
        let peer = Peer {
            name: Arc::clone(name),
            session: 0,
            up: false,
            from: from.clone(),
            rules: rules.clone(),
            helper: Helper::default(),
            families: FamilySet::default(),
            count: FamilyMap::default(),
            end_of_rib: FamilySet::default(),
            waits: FamilyMap::default(),
        };
        self.peers.insert(id, peer);
        Some(id)
    }

    /// The peer by its name, while `session` is its last one.
    pub(super) fn current(&mut self, name: &str, session: u64) -> Option<(PeerId, &mut Peer)> {
        let id = *self.names.get(name)?;
        let peer = self.peers.get_mut(&id).filter(|peer| peer.session == session)?;
        Some((id, peer))
    }

    /// What an UPDATE brought at `now`. Families that went past the most that is kept are given back, once.
    pub fn update(&mut self, name: &str, session: u64, sifted: &Sifted, now: UnixSeconds) -> FamilySet {
        let mut passed = FamilySet::default();
        let Some((id, _)) = self.current(name, session) else { return passed };
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        for nlri in &sifted.withdrawn {
            self.withdraw(id, *nlri);
        }
        for (next_hop, all) in &sifted.announced {
            let set = self.sets.intern(&sifted.attributes, *next_hop);
            for nlri in all {
                let Some(peer) = self.peers.get(&id) else { return passed };
                let refused = judge(nlri.prefix, &sifted.attributes, *next_hop, &peer.from);
                let mut path = Path::new(id, nlri.path_id, Arc::clone(&set), now);
                path.refused = refused;
                if self.announce(nlri.prefix, path) {
                    passed.insert(nlri.prefix.family());
                }
            }
        }
        if let Some(family) = sifted.end_of_rib {
            self.end_of_rib(id, family);
        }
        passed
    }

    /// Says whether the family went past the most that is kept by it, for the first time.
    fn announce(&mut self, prefix: Prefix, path: Path) -> bool {
        let (routes, mut selector) = self.split();
        let Some(peer) = selector.peers.get_mut(&path.peer) else { return false };
        let most = *peer.rules.most.get(prefix.family());
        let count = peer.count.get_mut(prefix.family());
        if count.kept >= most && !routes.contains(prefix) {
            return !std::mem::replace(&mut count.beyond, true);
        }
        let slot = routes.entry(prefix);
        match slot.paths.iter_mut().find(|old| old.is(path.peer, path.path_id())) {
            Some(old) => {
                // Said again, it is as old as it was.
                let since = if Arc::ptr_eq(&old.set, &path.set) { old.since } else { path.since };
                if old.stale.is_some() {
                    count.stale = count.stale.saturating_sub(1);
                }
                let used = old.used;
                *old = path;
                (old.since, old.used) = (since, used);
            }
            None if count.kept >= most => return !std::mem::replace(&mut count.beyond, true),
            None => {
                count.kept += 1;
                slot.paths.push(path);
            }
        }
        selector.reselect(prefix, slot);
        false
    }

    fn withdraw(&mut self, id: PeerId, nlri: Nlri) {
        let (routes, mut selector) = self.split();
        let Some(slot) = routes.get_mut(nlri.prefix) else { return };
        selector.retain(nlri.prefix, slot, |path| !path.is(id, nlri.path_id));
        if slot.paths.is_empty() {
            routes.remove(nlri.prefix);
        }
    }

    /// The peer is none of this node's any more, or nothing is learned from it.
    pub fn forget(&mut self, name: &str) {
        let Some(id) = self.names.get(name).copied() else { return };
        self.retain_of(id, |_, _| false);
        self.names.remove(name);
        self.peers.remove(&id);
    }

    /// A peer whose session is over and of which nothing is kept: dynamic ones come and go.
    pub(super) fn forget_if_empty(&mut self, name: &str) {
        let peer = self.names.get(name).and_then(|id| self.peers.get(id));
        if peer.is_some_and(|peer| !peer.up && peer.count.iter().all(|(_, count)| count.kept == 0)) {
            self.forget(name);
        }
    }

    /// Other rules for the session that is up. What they do not let in is gone; for what they let in besides, the peer
    /// has to be asked.
    pub fn set_rules(&mut self, name: &str, session: u64, rules: &Rules) {
        let Some((id, peer)) = self.current(name, session) else { return };
        peer.rules.clone_from(rules);
        for family in Family::ALL {
            peer.count.get_mut(family).beyond = false;
        }
        self.retain_of(id, |prefix, _| rules.accepts(prefix));
        for family in Family::ALL {
            self.cut(id, family, *rules.most.get(family));
        }
    }

    /// Fewer are kept from now on: the first in order stay.
    fn cut(&mut self, id: PeerId, family: Family, most: u32) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let count = peer.count.get_mut(family);
        if count.kept <= most {
            return;
        }
        count.beyond = true;
        let mut left = most;
        self.retain_of(id, |prefix, _| {
            if prefix.family() != family {
                return true;
            }
            let stays = left > 0;
            left = left.saturating_sub(1);
            stays
        });
    }

    /// The peer begins to send a family again (RFC 7313 §4): what it does not name until [`Self::refreshed`] is gone.
    pub fn refreshing(&mut self, name: &str, session: u64, family: Family) {
        let Some((id, peer)) = self.current(name, session) else { return };
        peer.count.get_mut(family).beyond = false;
        let of = self.routes.iter_mut().filter(|(prefix, _)| prefix.family() == family);
        for path in of.flat_map(|(_, slot)| &mut slot.paths).filter(|path| path.peer == id) {
            path.unrefreshed = true;
        }
    }

    /// What the peer has not named again MUST be removed (RFC 7313 §4).
    pub fn refreshed(&mut self, name: &str, session: u64, family: Family) {
        if let Some((id, _)) = self.current(name, session) {
            self.retain_of(id, |prefix, path| prefix.family() != family || !path.unrefreshed);
        }
    }

    /// What this host is attached to has changed.
    pub fn surround(&mut self, around: Surroundings) {
        if self.around == around {
            return;
        }
        self.around = around;
        let (routes, mut selector) = self.split();
        for (prefix, slot) in routes.iter_mut() {
            selector.reselect(prefix, slot);
        }
    }

    /// Destinations whose next hops have changed since this was last asked.
    #[must_use]
    pub fn take_changed(&mut self) -> PrefixSet {
        self.pools.retain(|hops| !hops.is_alone());
        std::mem::take(&mut self.changed)
    }

    /// The next hops of a destination; `None` where there is no way.
    #[must_use]
    pub fn hops(&self, prefix: Prefix) -> Option<&Hops> {
        self.routes.get(prefix)?.hops.as_ref()
    }

    /// Every destination that there is a way to, in order.
    pub fn selected(&self) -> impl Iterator<Item = (Prefix, &Hops)> {
        self.routes.iter().filter_map(|(prefix, slot)| Some((prefix, slot.hops.as_ref()?)))
    }

    /// The peer is up and has sent its whole table.
    #[must_use]
    pub fn is_complete(&self, name: &str) -> bool {
        let peer = self.names.get(name).and_then(|id| self.peers.get(id));
        peer.is_some_and(|peer| peer.up && peer.families.intersection(peer.end_of_rib) == peer.families)
    }

    /// The routes, and what to select among them with.
    pub(super) fn split(&mut self) -> (&mut PrefixMap<Destination>, Selector<'_>) {
        let Self { routes, peers, around, pools, changed, .. } = self;
        (routes, Selector { peers, around, pools, changed })
    }

    /// Something of the peer is kept: else nobody has to look through all routes for it.
    fn has_any_of(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.count.iter().any(|(_, count)| count.kept > 0))
    }

    /// What a session begins with may be another neighbour: its stale routes are looked at anew.
    fn reselect_of(&mut self, id: PeerId) {
        if !self.has_any_of(id) {
            return;
        }
        let (routes, mut selector) = self.split();
        for (prefix, slot) in routes.iter_mut() {
            if slot.paths.iter().any(|path| path.peer == id) {
                selector.reselect(prefix, slot);
            }
        }
    }

    pub(super) fn retain_of(&mut self, id: PeerId, mut stays: impl FnMut(Prefix, &Path) -> bool) {
        if !self.has_any_of(id) {
            return;
        }
        let (routes, mut selector) = self.split();
        routes.retain(|prefix, slot| {
            selector.retain(prefix, slot, |path| path.peer != id || stays(prefix, path));
            !slot.paths.is_empty()
        });
    }
}
