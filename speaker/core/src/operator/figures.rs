//! What the metrics show.

use std::collections::BTreeMap;

use bgp_proto::types::FamilyMap;

use super::{Counters, Operator};
use crate::Count;
use crate::ipam::SATISFIED;

/// How full a pool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFigures {
    /// Addresses in all.
    pub total: FamilyMap<Count>,
    /// Addresses handed out or reserved.
    pub used: FamilyMap<Count>,
    /// Addresses left.
    pub available: FamilyMap<Count>,
    /// It overlaps an elder pool, or itself.
    pub conflicting: bool,
}

/// A look at the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Pools by name.
    pub pools: BTreeMap<String, PoolFigures>,
    /// Services that LB IPAM serves.
    pub services_matching: usize,
    /// Those of them that lack an address.
    pub services_unsatisfied: usize,
    /// Statuses that are to be written.
    pub writes_waiting: usize,
    /// Statuses that are being written.
    pub writes_in_flight: usize,
    /// Outcomes of writes.
    pub counters: Counters,
    /// Events that were dropped, since more came than may go out.
    pub events_dropped: u64,
}

impl Operator {
    /// Figures as they are now. It takes time in proportion to the Services.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let pools = self.inputs.pools.iter().filter_map(|entry| {
            let status = self.ipam.as_ref()?.pool_status(&self.inputs, &entry.pool.name)?;
            let figures = PoolFigures {
                total: status.total,
                used: status.used,
                available: status.available,
                conflicting: entry.conflict.is_some(),
            };
            Some((status.name, figures))
        });
        let said = |service: &speaker_config::objects::Service| {
            service
                .conditions
                .iter()
                .find(|condition| condition.kind == SATISFIED)
                .map(|one| one.status == "True")
        };
        let satisfied: Vec<bool> = self.inputs.services.values().filter_map(said).collect();
        Figures {
            pools: pools.collect(),
            services_matching: satisfied.len(),
            services_unsatisfied: satisfied.iter().filter(|satisfied| !**satisfied).count(),
            writes_waiting: self.desk.wanted(),
            writes_in_flight: self.desk.in_flight(),
            counters: self.counters,
            events_dropped: self.notes.dropped,
        }
    }
}
