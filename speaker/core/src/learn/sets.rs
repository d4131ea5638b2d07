//! Attributes of learned routes: each set once, as octets, beside what selection asks of it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use bgp_proto::mrt::{decode_attributes, encode_attributes};
use bgp_proto::types::{Asn, Community, RouterId};
use bgp_proto::wire::{AsPath, NextHop, Origin, PathAttributes};
use bytes::Bytes;

/// LOCAL_PREF where the peer says none: what routers take for it.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// What selection asks of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    /// LOCAL_PREF, or what is taken for it.
    pub(super) local_pref: u32,
    /// A route without MED "is considered to have the lowest possible MED value" (RFC 4271 §9.1.2.2 (c)).
    pub(super) med: u32,
    /// The length of AS_PATH.
    pub(super) length: u32,
    /// "the neighboring AS is the first AS in the AS_PATH of AS_SEQUENCE type" (RFC 4271 §9.1.2.2 (c)); segments of a
    /// confederation are passed over (RFC 5065 §5.3). Absent where the route begins in our own AS.
    pub(super) neighboring_as: Option<Asn>,
    /// ORIGINATOR_ID.
    pub(super) originator: Option<RouterId>,
    /// The length of CLUSTER_LIST.
    pub(super) clusters: u16,
    pub(super) origin: Origin,
    /// LLGR_STALE, NO_LLGR and GRACEFUL_SHUTDOWN are among the communities.
    pub(super) llgr_stale: bool,
    pub(super) no_llgr: bool,
    pub(super) graceful_shutdown: bool,
}

impl Rank {
    fn of(attributes: &PathAttributes) -> Self {
        let has = |community| attributes.communities.contains(&community);
        let path = attributes.as_path.iter().flat_map(|path| &path.segments);
        let first = path.into_iter().find(|segment| !segment.kind.is_confed());
        let length = attributes.as_path.as_ref().map_or(0, AsPath::length);
        Self {
            local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            med: attributes.med.unwrap_or(0),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            neighboring_as: first.and_then(|segment| segment.asns.first().copied()),
            originator: attributes.originator_id,
            clusters: u16::try_from(attributes.cluster_list.len()).unwrap_or(u16::MAX),
            origin: attributes.origin.unwrap_or(Origin::Incomplete),
            llgr_stale: has(Community::LLGR_STALE),
            no_llgr: has(Community::NO_LLGR),
            graceful_shutdown: has(Community::GRACEFUL_SHUTDOWN),
        }
    }
}

/// What routes of one UPDATE have in common.
#[derive(Debug)]
pub(super) struct PathSet {
    pub(super) rank: Rank,
    pub(super) next_hop: NextHop,
    /// All of it, the next hop too, as a table dump has it (RFC 6396 §4.3.4): a fifth of what the parts would take.
    octets: Box<[u8]>,
}

impl PathSet {
    /// The attributes in full, for those who look at them.
    pub(super) fn attributes(&self) -> PathAttributes {
        let octets = Bytes::copy_from_slice(&self.octets);
        // What this process has encoded is well-formed.
        decode_attributes(&octets).map(|(attributes, _)| attributes).unwrap_or_default()
    }
}

/// By its octets.
#[derive(Debug)]
struct Known(Arc<PathSet>);

impl Borrow<[u8]> for Known {
    fn borrow(&self) -> &[u8] {
        &self.0.octets
    }
}

impl Ord for Known {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.octets.cmp(&other.0.octets)
    }
}

impl PartialOrd for Known {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Known {}

/// Every set that some route has, once; those that none has any more go from time to time.
#[derive(Debug, Default)]
pub(super) struct Sets {
    known: BTreeSet<Known>,
    sweep_at: usize,
}

impl Sets {
    /// The one of these attributes and this next hop: equal ones are the same.
    pub(super) fn intern(&mut self, attributes: &PathAttributes, next_hop: NextHop) -> Arc<PathSet> {
        let octets = encode_attributes(attributes, next_hop);
        if let Some(known) = self.known.get(octets.as_ref()) {
            return Arc::clone(&known.0);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| Arc::strong_count(&known.0) > 1);
            self.sweep_at = 64 + 2 * self.known.len();
        }
        let set = Arc::new(PathSet { rank: Rank::of(attributes), next_hop, octets: octets.as_ref().into() });
        self.known.insert(Known(Arc::clone(&set)));
        set
    }
}

#[cfg(test)]
mod tests {
    use bgp_proto::wire::{AsPathSegment, SegmentKind};

    use super::*;

    #[test]
    fn what_is_looked_at_is_what_came_and_equal_sets_are_one() {
        let asn = |number| Asn::new(number).unwrap();
        let confed = AsPathSegment { kind: SegmentKind::ConfedSequence, asns: vec![asn(65001)] };
        let rest = AsPathSegment { kind: SegmentKind::Sequence, asns: vec![asn(64500), asn(4_200_000_000)] };
        let attributes = PathAttributes {
            origin: Some(Origin::Egp),
            as_path: Some(AsPath { segments: vec![confed, rest] }),
            med: Some(7),
            local_pref: Some(200),
            atomic_aggregate: true,
            communities: vec![Community::NO_LLGR, Community::LLGR_STALE],
            originator_id: RouterId::new([10, 0, 0, 9].into()),
            cluster_list: vec![[10, 0, 0, 8].into()],
            only_to_customer: Some(asn(64500)),
            ..PathAttributes::default()
        };
        let mut sets = Sets::default();
        let hops = [
            NextHop::V4([192, 0, 2, 1].into()),
            NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: "fe80::1".parse().ok() },
        ];
        for next_hop in hops {
            let set = sets.intern(&attributes, next_hop);
            assert_eq!((set.attributes(), set.next_hop), (attributes.clone(), next_hop));
            assert_eq!((set.rank.neighboring_as, set.rank.length), (Some(asn(64500)), 2));
            assert!(Arc::ptr_eq(&set, &sets.intern(&attributes, next_hop)));
        }
        assert_eq!(sets.known.len(), 2);
        // What nobody has is forgotten in time.
        for med in 0..1000 {
            drop(sets.intern(&PathAttributes { med: Some(med), ..PathAttributes::default() }, hops[0]));
        }
        assert!(sets.known.len() <= 66, "{}", sets.known.len());
    }
}
