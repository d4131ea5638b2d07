//! The Loc-RIB as tables that can be followed (RFC 9069): one a family, the next hop unspecified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp_proto::types::{FamilyMap, FamilySet, Prefix};
use bgp_proto::wire::EncodeContext;
use speaker_config::model::RouteAttributes;

use super::policy::{Chosen, local_attributes};
use super::span::{AttributeSet, Encoding};
use super::table::{Phase, Table};
use super::view::unspecified;
use crate::rib::{LocRib, Route};

#[derive(Debug)]
pub(super) struct LocalTables {
    tables: FamilyMap<Arc<Table>>,
    sets: Sets,
}

/// Attribute sets by the merged attributes they are made of.
#[derive(Debug, Default)]
struct Sets {
    known: BTreeMap<RouteAttributes, Arc<AttributeSet>>,
    last_id: u64,
    sweep_at: usize,
}

impl LocalTables {
    pub(super) fn new(id: u64, phase: Phase, rib: &LocRib) -> Self {
        // RFC 9069 §5.2: the OPEN that stands for it has four-octet AS numbers; nothing else is negotiated.
        let context = EncodeContext {
            asn4: true,
            add_path: FamilySet::EMPTY,
            extended_next_hop: false,
            max_message: 65535,
        };
        let tables = FamilyMap::from_fn(|family| {
            let encoding = Encoding { family, next_hop: Some(unspecified(family)), context };
            Arc::new(Table::new(id, encoding, None, phase, []))
        });
        let mut local = Self { tables, sets: Sets::default() };
        local.apply(&rib.routes.keys().copied().collect(), rib);
        local
    }

    pub(super) fn tables(&self) -> FamilyMap<Arc<Table>> {
        FamilyMap::from_fn(|family| Arc::clone(self.tables.get(family)))
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.tables.iter().for_each(|(_, table)| table.set_phase(phase));
    }

    /// Whether a table moved.
    pub(super) fn apply(&mut self, changed: &BTreeSet<Prefix>, rib: &LocRib) -> bool {
        let mut moved = false;
        for (family, table) in self.tables.iter() {
            let own = changed.iter().filter(|prefix| prefix.family() == family);
            let sets = &mut self.sets;
            let changes: Vec<_> =
                own.map(|prefix| (*prefix, rib.routes.get(prefix).map(|route| sets.of(route)))).collect();
            moved |= table.publish(changes);
        }
        moved
    }
}

impl Sets {
    fn of(&mut self, route: &Route) -> Arc<AttributeSet> {
        let chosen = Chosen::all(route);
        let merged = chosen.merged();
        if let Some(known) = self.known.get(&*merged) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, set| Arc::strong_count(set) > 1);
            self.sweep_at = 64 + 2 * self.known.len();
        }
        self.last_id += 1;
        let set = Arc::new(AttributeSet { id: self.last_id, attributes: local_attributes(&merged) });
        self.known.insert(merged.into_owned(), Arc::clone(&set));
        set
    }
}
