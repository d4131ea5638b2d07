//! How many addresses this node answers for, and what becomes of the others.

use std::collections::BTreeMap;

use bgp_proto::types::{Family, Timestamp};

use super::{Segment, lease_name};

/// What becomes of an address that somebody may announce on the segments, as one node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// This node answers for it.
    Held,
    /// Another node holds it.
    Elsewhere,
    /// This node may hold it, nobody else does, and it does not answer: its kube-proxy is not done, its claim is under
    /// way, it is not the first in turn, it is drained or cut off.
    Waiting,
    /// This node may not hold it, and nobody does: no policy names the node, it has no such interface or, with
    /// `externalTrafficPolicy: Local`, no ready endpoint.
    Excluded,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Held, Self::Elsewhere, Self::Waiting, Self::Excluded];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Elsewhere => "elsewhere",
            Self::Waiting => "waiting",
            Self::Excluded => "excluded",
        }
    }
}

impl Segment {
    /// How many addresses of each family stand how, each counted once; where there are none, no number.
    #[must_use]
    pub fn standings(&self, now: Timestamp) -> BTreeMap<(Family, Standing), usize> {
        let held = self.held();
        let silent = held.fence.is_some_and(|fence| now >= fence);
        let mut counts = BTreeMap::new();
        for unit in self.planner.units().values() {
            let holder =
                self.election.as_ref().and_then(|election| election.holder(&lease_name(&unit.service)));
            let elsewhere = holder.is_some_and(|holder| holder != self.node);
            for (address, links) in &unit.addresses {
                let standing = if !silent && held.addresses.contains_key(address) {
                    Standing::Held
                } else if elsewhere {
                    Standing::Elsewhere
                } else if unit.candidates.contains(&self.node) && !links.is_empty() {
                    Standing::Waiting
                } else {
                    Standing::Excluded
                };
                let family = if address.is_ipv4() { Family::Ipv4Unicast } else { Family::Ipv6Unicast };
                *counts.entry((family, standing)).or_default() += 1;
            }
        }
        counts
    }
}
