//! The Adj-RIB-In of what is learned, of all peers together, and what follows from it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::{Community, Family, FamilyMap, FamilySet, Prefix, Timestamp};
use bgp_proto::wire::{NextHop, Nlri, PathAttributes};
use speaker_config::objects::UnixSeconds;

use super::decide::decide;
use super::helper::{Helper, Loss};
use super::judge::{Surroundings, judge};
use super::route::{Hop, Hops, Neighbor, Path, PathSet, Rules, Stale};
use super::sift::Sifted;
use super::view::LearnedCount;

/// How long a peer that has come back may take for its table: "an upper bound … on the amount of time it retains the
/// stale routes" (RFC 4724 §4.2), as FRR has it.
const RESUME: Duration = Duration::from_secs(360);

/// One peer with its last session.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: Arc<str>,
    session: u64,
    pub(super) up: bool,
    pub(super) from: Neighbor,
    rules: Rules,
    helper: Helper,
    families: FamilySet,
    pub(super) count: FamilyMap<LearnedCount>,
    end_of_rib: FamilySet,
    /// Until when stale routes are kept.
    waits: FamilyMap<Option<Wait>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
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

/// Routes to one destination.
#[derive(Debug, Default)]
pub(super) struct Destination {
    pub(super) paths: Vec<Path>,
    hops: Option<Hops>,
}

/// What peers have told that `learn` asks for. It keeps [`Rules::most`] routes of each family and peer at most,
/// whatever they send.
#[derive(Debug, Default)]
pub struct Learned {
    next: u32,
    names: BTreeMap<Arc<str>, u32>,
    pub(super) peers: BTreeMap<u32, Peer>,
    pub(super) routes: BTreeMap<Prefix, Destination>,
    sets: BTreeSet<Arc<PathSet>>,
    sweep_at: usize,
    pools: BTreeSet<Hops>,
    pub(super) around: Surroundings,
    changed: BTreeSet<Prefix>,
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
        let id = self.id(name, &from, &rules);
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

    fn id(&mut self, name: &Arc<str>, from: &Neighbor, rules: &Rules) -> u32 {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
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
        id
    }

    /// The peer by its name, while `session` is its last one.
    fn current(&mut self, name: &str, session: u64) -> Option<(u32, &mut Peer)> {
        let id = *self.names.get(name)?;
        let peer = self.peers.get_mut(&id).filter(|peer| peer.session == session)?;
        Some((id, peer))
    }

    /// What an UPDATE brought at `now`. Families that went past the most that is kept are given back, once.
    pub fn update(&mut self, name: &str, session: u64, sifted: &Sifted, now: UnixSeconds) -> FamilySet {
        let mut passed = FamilySet::default();
        let Some((id, _)) = self.current(name, session) else { return passed };
        for nlri in &sifted.withdrawn {
            self.withdraw(id, *nlri);
        }
        for (next_hop, all) in &sifted.announced {
            let set = self.intern(&sifted.attributes, *next_hop);
            for nlri in all {
                if self.announce(id, *nlri, &set, now) {
                    passed.insert(nlri.prefix.family());
                }
            }
        }
        if let Some(family) = sifted.end_of_rib {
            self.end_of_rib(id, family);
        }
        passed
    }

    fn announce(&mut self, id: u32, nlri: Nlri, set: &Arc<PathSet>, now: UnixSeconds) -> bool {
        let Self { peers, routes, changed, pools, around, .. } = self;
        let Some(peer) = peers.get_mut(&id) else { return false };
        let prefix = nlri.prefix;
        let most = *peer.rules.most.get(prefix.family());
        let count = peer.count.get_mut(prefix.family());
        let slot = match routes.entry(prefix) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(_) if count.kept >= most => return !std::mem::replace(&mut count.beyond, true),
            Entry::Vacant(slot) => slot.insert(Destination::default()),
        };
        let path = Path {
            peer: id,
            path_id: nlri.path_id,
            refused: judge(prefix, &set.attributes, set.next_hop, &peer.from),
            set: Arc::clone(set),
            since: now,
            stale: None,
            unrefreshed: false,
            used: false,
        };
        let old = slot.paths.iter_mut().find(|old| old.peer == id && old.path_id == nlri.path_id);
        match old {
            Some(old) => {
                // Said again, it is as old as it was.
                let since = if old.set == path.set { old.since } else { now };
                if old.stale.is_some() {
                    count.stale = count.stale.saturating_sub(1);
                }
                *old = Path { since, used: old.used, ..path };
            }
            None if count.kept >= most => return !std::mem::replace(&mut count.beyond, true),
            None => {
                count.kept += 1;
                // Growth by doubling would cost a full table a third of its memory.
                slot.paths.reserve_exact(1);
                slot.paths.push(path);
            }
        }
        reselect(prefix, slot, peers, around, pools, changed);
        false
    }

    fn withdraw(&mut self, id: u32, nlri: Nlri) {
        let gone = |path: &Path| path.peer == id && path.path_id == nlri.path_id;
        if self.routes.get(&nlri.prefix).is_some_and(|slot| slot.paths.iter().any(gone)) {
            self.retain_at(nlri.prefix, |path| !gone(path));
        }
    }

    /// "once the End-of-RIB marker for an address family is received from the peer, it MUST immediately remove any
    /// routes from the peer that are still marked as stale for that address family" (RFC 4724 §4.2).
    fn end_of_rib(&mut self, id: u32, family: Family) {
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
        let restart = helper.restart.filter(|_| loss.keeps(&helper));
        let mut kept = FamilySet::default();
        for family in helper.families.iter().filter(|_| restart.is_some()) {
            kept.insert(family);
            *peer.waits.get_mut(family) = restart.map(|time| Wait::Restart(now + time));
        }
        for family in Family::ALL.into_iter().filter(|family| !kept.contains(*family)) {
            *peer.waits.get_mut(family) = None;
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
        let due: Vec<(u32, Family, Wait)> = self
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
            // "any route … with the NO_LLGR community … MUST NOT be retained" (RFC 9494 §4.2, in short).
            let stays = peer.waits.get(family).is_some();
            let may = |path: &Path| !path.set.attributes.communities.contains(&Community::NO_LLGR);
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

    fn waits(&self) -> impl Iterator<Item = (u32, Family, &Wait)> {
        self.peers.iter().flat_map(|(id, peer)| {
            peer.waits.iter().filter_map(|(family, wait)| Some((*id, family, wait.as_ref()?)))
        })
    }

    /// The peer is none of this node's any more, or nothing is learned from it.
    pub fn forget(&mut self, name: &str) {
        let Some(id) = self.names.get(name).copied() else { return };
        self.retain_of(id, |_, _| false);
        self.names.remove(name);
        self.peers.remove(&id);
    }

    /// A peer whose session is over and of which nothing is kept: dynamic ones come and go.
    fn forget_if_empty(&mut self, name: &str) {
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
    fn cut(&mut self, id: u32, family: Family, most: u32) {
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

    /// The peer begins to send a family again (RFC 7313 §4.2): what it does not name until [`Self::refreshed`] is gone.
    pub fn refreshing(&mut self, name: &str, session: u64, family: Family) {
        let Some((id, peer)) = self.current(name, session) else { return };
        peer.count.get_mut(family).beyond = false;
        let of = self.routes.iter_mut().filter(|(prefix, _)| prefix.family() == family);
        for path in of.flat_map(|(_, slot)| &mut slot.paths).filter(|path| path.peer == id) {
            path.unrefreshed = true;
        }
    }

    /// "any routes … that were marked as stale and have not been re-advertised … MUST be … purged" (RFC 7313 §4.2, in
    /// short).
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
        let Self { peers, routes, changed, pools, around, .. } = self;
        for (prefix, slot) in routes {
            reselect(*prefix, slot, peers, around, pools, changed);
        }
    }

    /// Destinations whose next hops have changed since this was last asked.
    #[must_use]
    pub fn take_changed(&mut self) -> BTreeSet<Prefix> {
        self.pools.retain(|hops| Arc::strong_count(hops) > 1);
        std::mem::take(&mut self.changed)
    }

    /// The next hops of a destination; `None` where there is no way.
    #[must_use]
    pub fn hops(&self, prefix: Prefix) -> Option<&Hops> {
        self.routes.get(&prefix)?.hops.as_ref()
    }

    /// Every destination that there is a way to, in order.
    pub fn selected(&self) -> impl Iterator<Item = (Prefix, &Hops)> {
        self.routes.iter().filter_map(|(prefix, slot)| Some((*prefix, slot.hops.as_ref()?)))
    }

    /// The peer is up and has sent its whole table.
    #[must_use]
    pub fn is_complete(&self, name: &str) -> bool {
        let peer = self.names.get(name).and_then(|id| self.peers.get(id));
        peer.is_some_and(|peer| peer.up && peer.families.intersection(peer.end_of_rib) == peer.families)
    }

    fn intern(&mut self, attributes: &Arc<PathAttributes>, next_hop: NextHop) -> Arc<PathSet> {
        let set = PathSet { attributes: PathAttributes::clone(attributes), next_hop };
        if let Some(known) = self.sets.get(&set) {
            return Arc::clone(known);
        }
        if self.sets.len() >= self.sweep_at {
            self.sets.retain(|set| Arc::strong_count(set) > 1);
            self.sweep_at = 64 + 2 * self.sets.len();
        }
        let set = Arc::new(set);
        self.sets.insert(Arc::clone(&set));
        set
    }

    fn mark_stale(&mut self, id: u32, families: FamilySet, stale: Stale) {
        let Self { peers, routes, changed, pools, around, .. } = self;
        for (prefix, slot) in routes {
            let mut marked = false;
            for path in slot.paths.iter_mut().filter(|path| path.peer == id) {
                if families.contains(prefix.family()) && path.stale != Some(stale) {
                    if path.stale.is_none()
                        && let Some(peer) = peers.get_mut(&id)
                    {
                        peer.count.get_mut(prefix.family()).stale += 1;
                    }
                    path.stale = Some(stale);
                    marked = true;
                }
            }
            if marked {
                reselect(*prefix, slot, peers, around, pools, changed);
            }
        }
    }

    /// What a session begins with may be another neighbour: its stale routes are looked at anew.
    fn reselect_of(&mut self, id: u32) {
        let Self { peers, routes, changed, pools, around, .. } = self;
        for (prefix, slot) in routes.iter_mut() {
            if slot.paths.iter().any(|path| path.peer == id) {
                reselect(*prefix, slot, peers, around, pools, changed);
            }
        }
    }

    fn retain_of(&mut self, id: u32, mut stays: impl FnMut(Prefix, &Path) -> bool) {
        let Self { peers, routes, changed, pools, around, .. } = self;
        routes.retain(|prefix, slot| {
            retain(*prefix, slot, peers, around, pools, changed, |path| {
                path.peer != id || stays(*prefix, path)
            });
            !slot.paths.is_empty()
        });
    }

    fn retain_at(&mut self, prefix: Prefix, stays: impl FnMut(&Path) -> bool) {
        let Self { peers, routes, changed, pools, around, .. } = self;
        if let Entry::Occupied(mut slot) = routes.entry(prefix) {
            retain(prefix, slot.get_mut(), peers, around, pools, changed, stays);
            if slot.get().paths.is_empty() {
                slot.remove();
            }
        }
    }
}

fn retain(
    prefix: Prefix,
    slot: &mut Destination,
    peers: &mut BTreeMap<u32, Peer>,
    around: &Surroundings,
    pools: &mut BTreeSet<Hops>,
    changed: &mut BTreeSet<Prefix>,
    mut stays: impl FnMut(&Path) -> bool,
) {
    let before = slot.paths.len();
    slot.paths.retain(|path| {
        let stays = stays(path);
        if !stays && let Some(peer) = peers.get_mut(&path.peer) {
            let count = peer.count.get_mut(prefix.family());
            count.kept = count.kept.saturating_sub(1);
            count.used = count.used.saturating_sub(u32::from(path.used));
            count.stale = count.stale.saturating_sub(u32::from(path.stale.is_some()));
        }
        stays
    });
    if slot.paths.len() != before {
        reselect(prefix, slot, peers, around, pools, changed);
    }
}

/// Selects anew, and notes what follows.
fn reselect(
    prefix: Prefix,
    slot: &mut Destination,
    peers: &mut BTreeMap<u32, Peer>,
    around: &Surroundings,
    pools: &mut BTreeSet<Hops>,
    changed: &mut BTreeSet<Prefix>,
) {
    let decision = decide(prefix, &slot.paths, peers, around);
    for (path, verdict) in slot.paths.iter_mut().zip(&decision.verdicts) {
        let used = verdict.is_used();
        if used != path.used
            && let Some(peer) = peers.get_mut(&path.peer)
        {
            let count = peer.count.get_mut(prefix.family());
            count.used = if used { count.used + 1 } else { count.used.saturating_sub(1) };
            path.used = used;
        }
    }
    if slot.hops.as_deref().unwrap_or_default() != decision.hops {
        slot.hops = (!decision.hops.is_empty()).then(|| pooled(decision.hops, pools));
        changed.insert(prefix);
    }
}

/// Equal next hops are kept once: a full table has a handful.
fn pooled(hops: Vec<Hop>, pools: &mut BTreeSet<Hops>) -> Hops {
    if let Some(known) = pools.get(hops.as_slice()) {
        return Arc::clone(known);
    }
    let hops: Hops = hops.into();
    pools.insert(Arc::clone(&hops));
    hops
}
