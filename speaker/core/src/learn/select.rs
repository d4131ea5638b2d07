//! Which of several routes to one destination are used (RFC 4271 §9.1.2.2, RFC 4456 §9, RFC 9494 §4.3).

use std::fmt;
use std::net::IpAddr;

use bgp_proto::types::{Asn, RouterId};
use smallvec::{SmallVec, smallvec};

use super::route::Neighbor;
use super::sets::Rank;

/// Of a few routes to a destination, as it mostly is, nothing is allocated.
pub(super) type Few<T> = SmallVec<[T; 4]>;

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
    pub(super) rank: &'a Rank,
    pub(super) from: &'a Neighbor,
    pub(super) name: &'a str,
    pub(super) path_id: Option<u32>,
    /// It is long-lived stale here.
    pub(super) long_lived: bool,
}

impl Candidate<'_> {
    /// "the route … MUST be treated as the least preferred" (RFC 9494 §4.3), whoever has made it stale.
    fn last_resort(&self) -> bool {
        self.long_lived || self.rank.llgr_stale
    }

    /// Of a router that goes out of service the routes come last: it says so by GRACEFUL_SHUTDOWN, on which the
    /// receiver lowers LOCAL_PREF to 0 (RFC 8326 §4.2).
    fn preference(&self) -> u32 {
        if self.from.is_external() && self.rank.graceful_shutdown {
            return 0;
        }
        self.rank.local_pref
    }

    /// Our own for a route that begins here (RFC 4271 §9.1.2.2 (c)).
    fn neighboring_as(&self) -> Asn {
        self.rank.neighboring_as.unwrap_or(self.from.local_asn)
    }

    fn identifier(&self) -> RouterId {
        self.rank.originator.unwrap_or(self.from.router_id)
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
    pub(super) equal: Few<usize>,
    /// By which step each of the others fell out.
    pub(super) lost: Few<Option<Step>>,
}

/// The candidates that are still in, and by which step the others went.
struct Field<'a> {
    all: &'a [Candidate<'a>],
    left: Few<usize>,
    lost: Few<Option<Step>>,
}

impl<'a> Field<'a> {
    /// Keeps those for which `key` is least.
    fn least<K: Ord>(&mut self, step: Step, key: impl Fn(&Candidate<'a>) -> K) {
        let keys: Few<(usize, K)> =
            self.left.iter().filter_map(|at| Some((*at, key(self.all.get(*at)?)))).collect();
        let Some(least) = keys.iter().map(|(_, key)| key).min() else { return };
        self.left = keys.iter().filter(|(_, key)| key == least).map(|(at, _)| *at).collect();
        self.drop_others(step, keys.iter().filter(|(_, key)| key != least).map(|(at, _)| *at));
    }

    /// "Remove from consideration routes with less-preferred MULTI_EXIT_DISC attributes. MULTI_EXIT_DISC is only
    /// comparable between routes learned from the same neighboring AS" (RFC 4271 §9.1.2.2 (c)), whatever the order.
    fn med(&mut self) {
        let of = |at: &usize| self.all.get(*at).map(|one| (one.neighboring_as(), one.rank.med));
        let worse = |at: &usize| {
            let Some((asn, med)) = of(at) else { return false };
            self.left.iter().filter_map(of).any(|(other, lower)| other == asn && lower < med)
        };
        let gone: Few<usize> = self.left.iter().copied().filter(|at| worse(at)).collect();
        self.left.retain(|at| !gone.contains(at));
        self.drop_others(Step::Med, gone.into_iter());
    }

    /// What is left to tell routes apart. Names are unique: one is left.
    fn last(&mut self) {
        let of = |at: &usize| self.all.get(*at).map(|one| (one.path_id, one.name));
        let Some(least) = self.left.iter().copied().min_by_key(of) else { return };
        let gone: Few<usize> = self.left.iter().copied().filter(|at| *at != least).collect();
        self.left = smallvec![least];
        self.drop_others(Step::PathId, gone.into_iter());
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
    let mut field = Field { all, left: (0..all.len()).collect(), lost: smallvec![None; all.len()] };
    if all.len() > 1 {
        field.least(Step::LongLivedStale, Candidate::last_resort);
        field.least(Step::LocalPreference, |one| std::cmp::Reverse(one.preference()));
        field.least(Step::AsPath, |one| one.rank.length);
        field.least(Step::Origin, |one| one.rank.origin);
        field.med();
        field.least(Step::Interior, |one| !one.from.is_external());
    }
    // (e), the cost of the way to the next hop, is the same for all: each is on a network of this host.
    let (equal, lost) = (field.left.clone(), field.lost.clone());
    if field.left.len() > 1 {
        field.least(Step::Identifier, Candidate::identifier);
        field.least(Step::ClusterList, |one| one.rank.clusters);
        field.least(Step::Address, Candidate::address);
        field.last();
    }
    let best = field.left.first().copied()?;
    Some(Choice { best, equal, lost })
}
