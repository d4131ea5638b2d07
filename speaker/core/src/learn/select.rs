//! Which of several routes to one destination are used (RFC 4271 §9.1.2.2, RFC 4456 §9, RFC 9494 §4.3).

use std::fmt;
use std::net::IpAddr;

use bgp_proto::types::{Asn, Community, RouterId};
use bgp_proto::wire::{Origin, PathAttributes};

use super::route::Neighbor;

/// LOCAL_PREF where the peer says none: what routers take for it.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Long-lived stale routes are "least preferred" (RFC 9494 §4.3).
    LongLivedStale,
    /// The degree of preference (RFC 4271 §9.1.1).
    LocalPreference,
    /// (a) The length of AS_PATH.
    AsPath,
    /// (b) ORIGIN.
    Origin,
    /// (c) MULTI_EXIT_DISC, among routes from the same neighbouring AS.
    Med,
    /// (d) Routes from other ASes before those from our own.
    Interior,
    /// (f) The BGP identifier of the router that it comes from, or ORIGINATOR_ID.
    Identifier,
    /// The length of CLUSTER_LIST (RFC 4456 §9).
    ClusterList,
    /// (g) The peer's address.
    Address,
    /// What is left to tell two routes of one peer apart (RFC 7911).
    PathId,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LongLivedStale => "this one is long-lived stale",
            Self::LocalPreference => "higher local preference",
            Self::AsPath => "shorter AS path",
            Self::Origin => "lower origin",
            Self::Med => "lower MED",
            Self::Interior => "from another AS",
            Self::Identifier => "lower router ID",
            Self::ClusterList => "shorter cluster list",
            Self::Address => "lower peer address",
            Self::PathId => "lower path identifier",
        })
    }
}

/// A route that may be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) attributes: &'a PathAttributes,
    pub(super) from: &'a Neighbor,
    pub(super) name: &'a str,
    pub(super) path_id: Option<u32>,
    /// It is long-lived stale here.
    pub(super) long_lived: bool,
}

impl Candidate<'_> {
    /// "the route … MUST be treated as the least preferred" (RFC 9494 §4.3), whoever has made it stale.
    fn last_resort(&self) -> bool {
        self.long_lived || self.attributes.communities.contains(&Community::LLGR_STALE)
    }

    /// Of a router that goes out of service the routes come last: it says so by GRACEFUL_SHUTDOWN, on which the
    /// receiver lowers LOCAL_PREF to 0 (RFC 8326 §4.2).
    fn preference(&self) -> u32 {
        if self.from.is_external() && self.attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN) {
            return 0;
        }
        self.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)
    }

    fn length(&self) -> usize {
        self.attributes.as_path.as_ref().map_or(0, bgp_proto::wire::AsPath::length)
    }

    fn origin(&self) -> Origin {
        self.attributes.origin.unwrap_or(Origin::Incomplete)
    }

    /// "the neighboring AS is the first AS in the AS_PATH of AS_SEQUENCE type"; our own for a route that begins here
    /// (RFC 4271 §9.1.2.2 (c)). Segments of a confederation are passed over (RFC 5065 §5.3).
    fn neighboring_as(&self) -> Asn {
        let path = self.attributes.as_path.iter().flat_map(|path| &path.segments);
        let first = path.into_iter().find(|segment| !segment.kind.is_confed());
        first.and_then(|segment| segment.asns.first().copied()).unwrap_or(self.from.local_asn)
    }

    /// A route without MED "is considered to have the lowest possible MED value" (RFC 4271 §9.1.2.2 (c)).
    fn med(&self) -> u32 {
        self.attributes.med.unwrap_or(0)
    }

    fn identifier(&self) -> RouterId {
        self.attributes.originator_id.unwrap_or(self.from.router_id)
    }

    fn last(&self) -> (Option<u32>, &str) {
        (self.path_id, self.name)
    }

    fn address(&self) -> IpAddr {
        self.from.address
    }
}

/// What selection came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The best one.
    pub(super) best: usize,
    /// Those that no step before the router's identifier tells apart, the best one among them. AS paths are
    /// compared by length alone, and routes of our own AS are never beside those of others.
    pub(super) equal: Vec<usize>,
    /// By which step each of the others fell out.
    pub(super) lost: Vec<Option<Step>>,
}

/// The candidates that are still in, and by which step the others went.
struct Field<'a> {
    all: &'a [Candidate<'a>],
    left: Vec<usize>,
    lost: Vec<Option<Step>>,
}

impl<'a> Field<'a> {
    /// Keeps those for which `key` is least.
    fn least<K: Ord>(&mut self, step: Step, key: impl Fn(&Candidate<'a>) -> K) {
        let keys: Vec<(usize, K)> =
            self.left.iter().filter_map(|at| Some((*at, key(self.all.get(*at)?)))).collect();
        let Some(least) = keys.iter().map(|(_, key)| key).min() else { return };
        self.left = keys.iter().filter(|(_, key)| key == least).map(|(at, _)| *at).collect();
        self.drop_others(step, keys.iter().filter(|(_, key)| key != least).map(|(at, _)| *at));
    }

    /// "Remove from consideration routes with less-preferred MULTI_EXIT_DISC attributes. MULTI_EXIT_DISC is only
    /// comparable between routes learned from the same neighboring AS" (RFC 4271 §9.1.2.2 (c)), whatever the order.
    fn med(&mut self) {
        let of = |at: &usize| self.all.get(*at).map(|one| (one.neighboring_as(), one.med()));
        let worse = |at: &usize| {
            let Some((asn, med)) = of(at) else { return false };
            self.left.iter().filter_map(of).any(|(other, lower)| other == asn && lower < med)
        };
        let gone: Vec<usize> = self.left.iter().copied().filter(|at| worse(at)).collect();
        self.left.retain(|at| !gone.contains(at));
        self.drop_others(Step::Med, gone.into_iter());
    }

    fn drop_others(&mut self, step: Step, gone: impl Iterator<Item = usize>) {
        for at in gone {
            if let Some(lost) = self.lost.get_mut(at) {
                *lost = Some(step);
            }
        }
    }
}

/// `None` where there is no candidate.
pub(super) fn select(all: &[Candidate<'_>]) -> Option<Choice> {
    let mut field = Field { all, left: (0..all.len()).collect(), lost: vec![None; all.len()] };
    if all.len() > 1 {
        field.least(Step::LongLivedStale, Candidate::last_resort);
        field.least(Step::LocalPreference, |one| std::cmp::Reverse(one.preference()));
        field.least(Step::AsPath, Candidate::length);
        field.least(Step::Origin, Candidate::origin);
        field.med();
        field.least(Step::Interior, |one| !one.from.is_external());
    }
    // (e), the cost of the way to the next hop, is the same for all: each is on a network of this host.
    let (equal, lost) = (field.left.clone(), field.lost.clone());
    if field.left.len() > 1 {
        field.least(Step::Identifier, Candidate::identifier);
        field.least(Step::ClusterList, |one| one.attributes.cluster_list.len());
        field.least(Step::Address, Candidate::address);
        // Names are unique: one is left.
        field.least(Step::PathId, |one| {
            let (path_id, name) = one.last();
            (path_id, name.to_owned())
        });
    }
    let best = field.left.first().copied()?;
    Some(Choice { best, equal, lost })
}
