//! The update groups and who is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::types::{Family, FamilyMap, FamilySet, Prefix};
use bgp_proto::wire::{EncodeContext, NextHop, PathAttributes};
use speaker_config::model::ExportRule;

use super::group::Group;
use super::local::LocalTables;
use super::policy::{Held, PeerOut, SessionClass};
use super::table::{Phase, Table};
use crate::drain::Drain;
use crate::rib::{LocRib, Route};

/// What a change means to the peers' tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Peers whose tables have something new: wake their tasks.
    pub pending: BTreeSet<Arc<str>>,
    /// Peers that belong to other tables now: give them [`Exporter::tables`] to migrate to.
    pub moved: BTreeSet<Arc<str>>,
    /// The tables of [`Exporter::local_tables`] have something new.
    pub local: bool,
}

/// Peers with equal keys are told the same, byte for byte.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupKey {
    pub(super) family: Family,
    pub(super) class: SessionClass,
    pub(super) next_hop: Option<NextHop>,
    pub(super) context: EncodeContext,
    /// The rules of this family, in order, each once.
    pub(super) export: Option<Vec<ExportRule>>,
    pub(super) limit: Option<u32>,
    /// The audiences that the peer is in.
    pub(super) audiences: BTreeSet<u64>,
}

#[derive(Debug)]
struct Member {
    out: PeerOut,
    groups: FamilyMap<Option<u64>>,
}

/// All update groups of a speaker, and the peers that are established. Belongs to the hub.
#[derive(Debug, Default)]
pub struct Exporter {
    phase: Phase,
    drain: Drain,
    last_id: u64,
    /// The distinct `advertisements.peers` among the routes. Whether a peer is in each of them decides what
    /// it is selected for, so that their numbers stand for its name in [`GroupKey`].
    audiences: BTreeMap<BTreeSet<String>, u64>,
    groups: BTreeMap<u64, Group>,
    peers: BTreeMap<Arc<str>, Member>,
    /// The Loc-RIB as tables, where somebody follows it.
    local: Option<LocalTables>,
}

impl Exporter {
    /// Without peers, and silent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All sources have delivered their first full list, and the Loc-RIB that `apply` was given reflects
    /// it: routes may be sent, End-of-RIB behind them. Says who is to be woken.
    pub fn set_complete(&mut self) -> Changes {
        self.set_phase(Phase::Complete)
    }

    /// Routes may be sent, and there may be more than `apply` was given: no End-of-RIB. Says who is to be woken.
    pub fn open(&mut self) -> Changes {
        self.set_phase(self.phase.max(Phase::Open))
    }

    fn set_phase(&mut self, phase: Phase) -> Changes {
        self.phase = phase;
        for group in self.groups.values() {
            group.table.set_phase(phase);
        }
        if let Some(local) = &self.local {
            local.set_phase(phase);
        }
        Changes { pending: self.peers.keys().cloned().collect(), local: true, ..Changes::default() }
    }

    /// Keeps the Loc-RIB as tables too, for those who follow it with a [`super::Cursor`], or no longer. Walks it where that is
    /// new.
    pub fn follow_local(&mut self, wanted: bool, rib: &LocRib) {
        match (wanted, &self.local) {
            (true, None) => {
                let id = self.next_id();
                self.local = Some(LocalTables::new(id, self.phase, rib));
            }
            (false, Some(_)) => self.local = None,
            _ => {}
        }
    }

    /// The Loc-RIB as tables, where that was asked for.
    #[must_use]
    pub fn local_tables(&self) -> Option<FamilyMap<Arc<Table>>> {
        self.local.as_ref().map(LocalTables::tables)
    }

    /// Whether routes may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Silent
    }

    /// A session was established, or the settings of an established peer changed. In the first case the
    /// peer's task attaches to the tables, in the second its cursors migrate to them: what the change of
    /// policy does not touch is not sent again. A family that was not negotiated has no table; one that
    /// has no next hop has an empty table, for the sake of End-of-RIB.
    ///
    /// Walks the Loc-RIB where the peer is the first of its group. `apply` must have seen every change that
    /// `rib` has had.
    pub fn peer_up(&mut self, name: &str, out: PeerOut, rib: &LocRib) -> FamilyMap<Option<Arc<Table>>> {
        let groups = self.peers.remove(name).map_or_else(FamilyMap::default, |member| member.groups);
        self.peers.insert(name.into(), Member { out, groups });
        self.place(name, rib);
        self.tables(name)
    }

    /// A session ended.
    pub fn peer_down(&mut self, name: &str) {
        let Some(member) = self.peers.remove(name) else { return };
        for (_, group) in member.groups.iter() {
            self.leave(name, *group);
        }
    }

    /// The tables of an established peer.
    #[must_use]
    pub fn tables(&self, name: &str) -> FamilyMap<Option<Arc<Table>>> {
        FamilyMap::from_fn(|family| self.group(name, family).map(|group| Arc::clone(&group.table)))
    }

    /// The node is on its way out, or back. Says whose tables are others now.
    pub fn set_drain(&mut self, drain: Drain, rib: &LocRib) -> Changes {
        if self.drain == drain {
            return Changes::default();
        }
        self.drain = drain;
        let names: Vec<Arc<str>> = self.peers.keys().cloned().collect();
        let moved: BTreeSet<Arc<str>> = names.into_iter().filter(|name| self.place(name, rib)).collect();
        Changes { pending: moved.clone(), moved, local: false }
    }

    /// Established peers with what decides their export, by name.
    pub fn peers(&self) -> impl Iterator<Item = (&str, &PeerOut)> {
        self.peers.iter().map(|(name, member)| (&**name, &member.out))
    }

    /// Update groups with the names of their peers.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<Table>, &BTreeSet<Arc<str>>)> {
        self.groups.values().map(|group| (&group.table, &group.members))
    }

    /// Routes of the Loc-RIB came, changed or went. Costs what the changed ones cost, for each group.
    pub fn apply(&mut self, changed: &BTreeSet<Prefix>, rib: &LocRib) -> Changes {
        let local = self.local.as_mut().is_some_and(|local| local.apply(changed, rib));
        let mut changes = Changes { local, ..Changes::default() };
        if self.learn(changed, rib) {
            let names: Vec<Arc<str>> = self.peers.keys().cloned().collect();
            changes.moved = names.into_iter().filter(|name| self.place(name, rib)).collect();
            changes.pending.clone_from(&changes.moved);
            for group in self.groups.values_mut() {
                // Only those that are still in the group stand for it under the new audience.
                let member = group.members.first().and_then(|name| self.peers.get(name));
                if let Some(member) = member {
                    group.selected_as.clone_from(&member.out.selected_as);
                }
            }
        }
        for group in self.groups.values_mut() {
            if group.apply(changed, rib) && self.phase != Phase::Silent {
                changes.pending.extend(group.members.iter().cloned());
            }
        }
        changes
    }

    /// The attributes that the peer is told `prefix` with; `route` is the prefix's in the Loc-RIB.
    ///
    /// # Errors
    /// It is not told: what holds the route back.
    pub fn verdict(&self, name: &str, prefix: Prefix, route: &Route) -> Result<PathAttributes, Held> {
        let Some(member) = self.peers.get(name) else {
            // A session would not change it.
            let selects =
                |peers: &Option<Arc<BTreeSet<String>>>| peers.as_ref().is_none_or(|p| p.contains(name));
            let selected = route.contributions.iter().any(|contribution| selects(&contribution.peers));
            return Err(if selected { Held::NotEstablished } else { Held::NotSelected });
        };
        let group = self.group(name, prefix.family()).ok_or(Held::Family(prefix.family()))?;
        if !self.is_open() {
            return Err(Held::Incomplete);
        }
        group.outcome(&member.out, prefix, route)
    }

    /// The verdicts on all routes of the Loc-RIB.
    pub fn verdicts<'a>(
        &'a self,
        name: &'a str,
        rib: &'a LocRib,
    ) -> impl Iterator<Item = (Prefix, Result<PathAttributes, Held>)> + 'a {
        rib.routes.iter().map(move |(prefix, route)| (*prefix, self.verdict(name, *prefix, route)))
    }

    /// The next hop that a peer is told of routes of a family; of two addresses the link-local one.
    #[must_use]
    pub fn next_hop(&self, name: &str, family: Family) -> Option<IpAddr> {
        match self.peer(name)?.next_hops.get(family).as_ref().ok()? {
            NextHop::V4(address) => Some(IpAddr::V4(*address)),
            NextHop::V6 { address, link_local } => Some(IpAddr::V6(link_local.unwrap_or(*address))),
        }
    }

    pub(super) fn peer(&self, name: &str) -> Option<&PeerOut> {
        self.peers.get(name).map(|member| &member.out)
    }

    fn group(&self, name: &str, family: Family) -> Option<&Group> {
        self.groups.get((*self.peers.get(name)?.groups.get(family)).as_ref()?)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Looks at whom these routes are for. Where somebody new is among them, all audiences are taken from
    /// the Loc-RIB anew, which also forgets those without routes; says so.
    fn learn(&mut self, changed: &BTreeSet<Prefix>, rib: &LocRib) -> bool {
        let routes = changed.iter().filter_map(|prefix| rib.routes.get(prefix));
        if audiences(routes).all(|peers| self.audiences.contains_key(peers)) {
            return false;
        }
        let mut known = std::mem::take(&mut self.audiences);
        for peers in audiences(rib.routes.values()) {
            if !self.audiences.contains_key(peers) {
                let id = known.remove(peers).unwrap_or_else(|| self.next_id());
                self.audiences.insert(peers.clone(), id);
            }
        }
        true
    }

    fn key(&self, out: &PeerOut, family: Family) -> GroupKey {
        let own: FamilySet = [family].into_iter().collect();
        let export = out.export.as_ref().map(|rules| {
            let mut rules: Vec<ExportRule> =
                rules.iter().copied().filter(|rule| rule.prefix.family() == family).collect();
            rules.sort_by_key(|rule| (rule.prefix, rule.le));
            rules.dedup();
            rules
        });
        GroupKey {
            family,
            class: SessionClass::of(out).drained(self.drain),
            next_hop: out.next_hops.get(family).ok(),
            // What is negotiated for the other family does not tell these bytes apart.
            context: EncodeContext {
                add_path: out.encode.add_path.intersection(own),
                extended_next_hop: out.encode.extended_next_hop && family == Family::Ipv4Unicast,
                ..out.encode
            },
            export,
            limit: *out.max_advertised.get(family),
            audiences: self
                .audiences
                .iter()
                .filter(|(peers, _)| peers.contains(&out.selected_as))
                .map(|(_, id)| *id)
                .collect(),
        }
    }

    /// Puts a peer into the groups that it belongs to now; says whether any is another than before.
    fn place(&mut self, name: &str, rib: &LocRib) -> bool {
        let Some(member) = self.peers.get(name) else { return false };
        let wanted = FamilyMap::from_fn(|family| {
            member.out.families.contains(family).then(|| self.key(&member.out, family))
        });
        let selected_as = member.out.selected_as.clone();
        let before = member.groups;
        let mut after = before;
        for (family, key) in wanted.iter() {
            let stays = before.get(family).and_then(|id| self.groups.get(&id)).map(|group| &group.key);
            if stays == key.as_ref() {
                continue;
            }
            *after.get_mut(family) = key.as_ref().map(|key| self.join(name, &selected_as, key, rib));
            self.leave(name, *before.get(family));
        }
        if let Some(member) = self.peers.get_mut(name) {
            member.groups = after;
        }
        before != after
    }

    fn join(&mut self, name: &str, selected_as: &str, key: &GroupKey, rib: &LocRib) -> u64 {
        let found = self.groups.iter().find(|(_, group)| group.key == *key).map(|(id, _)| *id);
        let id = found.unwrap_or_else(|| {
            let id = self.next_id();
            self.groups.insert(id, Group::new(id, key.clone(), selected_as, self.phase, rib));
            id
        });
        if let Some(group) = self.groups.get_mut(&id) {
            group.members.insert(name.into());
        }
        id
    }

    fn leave(&mut self, name: &str, group: Option<u64>) {
        let Some(id) = group else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.members.remove(name);
        if group.members.is_empty() {
            self.groups.remove(&id);
        }
    }
}

/// Whom routes are for, without those that are for everybody. What comes twice in a row comes once.
fn audiences<'r>(routes: impl Iterator<Item = &'r Route>) -> impl Iterator<Item = &'r BTreeSet<String>> {
    let mut last: Option<&Arc<BTreeSet<String>>> = None;
    routes
        .flat_map(|route| &route.contributions)
        .filter_map(|contribution| contribution.peers.as_ref())
        .filter(move |peers| !last.replace(peers).is_some_and(|last| Arc::ptr_eq(last, peers)))
        .map(|peers| &**peers)
}

#[cfg(test)]
mod tests;
