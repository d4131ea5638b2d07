//! One update group: peers that are told the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp_proto::types::{Family, Prefix};
use bgp_proto::wire::{AttributesTooLong, Nlri, PathAttributes, pack_announcements};
use bytes::BytesMut;
use speaker_config::model::RouteAttributes;

use super::exporter::GroupKey;
use super::limit::{Quota, Rank};
use super::policy::{Chosen, Held, PeerOut};
use super::span::{AttributeSet, Encoding};
use super::table::{Phase, Table};
use crate::drain::Drain;
use crate::rib::{LocRib, Route};

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) members: BTreeSet<Arc<str>>,
    pub(super) table: Arc<Table>,
    /// One of the names that the group's peers are selected by; any other gives the same.
    pub(super) selected_as: String,
    quota: Option<Quota>,
    sets: Sets,
}

/// Attribute sets of a group, by the merged attributes they are made of.
#[derive(Debug, Default)]
struct Sets {
    known: BTreeMap<RouteAttributes, Result<Arc<AttributeSet>, AttributesTooLong>>,
    last_id: u64,
    /// Sets without routes are looked for when there are this many.
    sweep_at: usize,
}

impl Group {
    pub(super) fn new(id: u64, key: GroupKey, selected_as: &str, phase: Phase, rib: &LocRib) -> Self {
        let encoding = Encoding { family: key.family, next_hop: key.next_hop, context: key.context };
        let limit = key.limit;
        let mut group = Self {
            quota: limit.map(Quota::new),
            table: Arc::new(Table::new(id, encoding, limit, phase, [])),
            key,
            members: BTreeSet::new(),
            selected_as: selected_as.to_owned(),
            sets: Sets::default(),
        };
        let family = group.key.family;
        let own = rib.routes.iter().filter(|(prefix, _)| prefix.family() == family);
        if group.quota.is_some() {
            let all = own.map(|(prefix, _)| *prefix).collect();
            group.apply(&all, rib);
        } else if group.key.next_hop.is_some() {
            let routes: Vec<(Prefix, Arc<AttributeSet>)> = own
                .filter_map(|(prefix, route)| Some((*prefix, group.evaluate(*prefix, route).ok()?.0)))
                .collect();
            group.table = Arc::new(Table::new(id, encoding, limit, phase, routes));
        }
        group
    }

    /// Brings the table up to date with changed routes; says whether it moved.
    pub(super) fn apply(&mut self, changed: &BTreeSet<Prefix>, rib: &LocRib) -> bool {
        if self.key.next_hop.is_none() {
            return false;
        }
        let family = self.key.family;
        let mut touched: BTreeSet<Prefix> =
            changed.iter().copied().filter(|prefix| prefix.family() == family).collect();
        if let Some(mut quota) = self.quota.take() {
            let mut crossed = BTreeSet::new();
            for prefix in &touched {
                let route = rib.routes.get(prefix);
                let rank = route.and_then(|route| Some(self.evaluate(*prefix, route).ok()?.1));
                quota.set(*prefix, rank, &mut crossed);
            }
            touched.append(&mut crossed);
            self.quota = Some(quota);
        }
        let changes: Vec<(Prefix, Option<Arc<AttributeSet>>)> = touched
            .into_iter()
            .map(|prefix| {
                let admitted = self.quota.as_ref().is_none_or(|quota| quota.admits(prefix));
                let route = rib.routes.get(&prefix).filter(|_| admitted);
                (prefix, route.and_then(|route| Some(self.evaluate(prefix, route).ok()?.0)))
            })
            .collect();
        self.table.publish(changes)
    }

    /// What a peer of this group is told of `prefix`.
    pub(super) fn outcome(
        &self,
        out: &PeerOut,
        prefix: Prefix,
        route: &Route,
    ) -> Result<PathAttributes, Held> {
        let chosen = Chosen::of(&self.selected_as, self.key.export.as_deref(), prefix, route)?;
        if self.key.class.drain == Drain::Withdrawn {
            return Err(Held::Drained);
        }
        if let Err(reason) = out.next_hops.get(prefix.family()) {
            return Err(Held::NextHop(*reason));
        }
        fits(&self.key, &self.key.class.path_attributes(&chosen.merged())).map_err(Held::TooLong)?;
        let limit = self.key.limit.unwrap_or(u32::MAX);
        self.table.attributes(prefix).ok_or(Held::Limit { limit })
    }

    /// The attributes and the rank of a route that may be announced.
    fn evaluate(&mut self, prefix: Prefix, route: &Route) -> Result<(Arc<AttributeSet>, Rank), Held> {
        let Self { key, sets, selected_as, .. } = self;
        if key.class.drain == Drain::Withdrawn {
            return Err(Held::Drained);
        }
        let chosen = Chosen::of(selected_as, key.export.as_deref(), prefix, route)?;
        let rank = Rank { service: chosen.is_service(), created: chosen.created(), prefix };
        let set = sets.intern(key, &chosen.merged()).map_err(Held::TooLong)?;
        Ok((set, rank))
    }
}

impl Sets {
    fn intern(
        &mut self,
        key: &GroupKey,
        merged: &RouteAttributes,
    ) -> Result<Arc<AttributeSet>, AttributesTooLong> {
        if let Some(known) = self.known.get(merged) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, set| set.as_ref().is_ok_and(|set| Arc::strong_count(set) > 1));
            self.sweep_at = 64 + 2 * self.known.len();
        }
        self.last_id += 1;
        let attributes = key.class.path_attributes(merged);
        let set = fits(key, &attributes).map(|()| Arc::new(AttributeSet { id: self.last_id, attributes }));
        self.known.insert(merged.clone(), set.clone());
        set
    }
}

/// Whether a message with these attributes has room for the longest prefix.
fn fits(key: &GroupKey, attributes: &PathAttributes) -> Result<(), AttributesTooLong> {
    let Some(next_hop) = key.next_hop else { return Ok(()) };
    let unspecified: std::net::IpAddr = match key.family {
        Family::Ipv4Unicast => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6Unicast => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let longest = Nlri {
        path_id: key.context.add_path.contains(key.family).then_some(0),
        prefix: Prefix::host(unspecified),
    };
    pack_announcements(&key.context, key.family, attributes, &next_hop, [longest], &mut BytesMut::new())
        .map(drop)
}
