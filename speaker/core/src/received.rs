//! What peers announce (Adj-RIB-In, RFC 4271 §3.2). Counted and shown, never re-announced. What is installed by choice
//! is kept apart from it, in [`crate::learn`].

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bgp_proto::types::{
    Asn, Community, ExtendedCommunity, Family, FamilyMap, FamilySet, LargeCommunity, Prefix, RouterId,
};
use bgp_proto::wire::{AsPath, NextHop, Nlri, NlriBlock, Origin, PathAttributes, Update};
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use speaker_config::model::Receive;
use speaker_config::objects::UnixSeconds;

use crate::dump;
use crate::rfc3339::rfc3339;

mod followers;
mod routes;

use followers::Followers;
pub use followers::{Follow, News};
use routes::Routes;

/// `maxPrefixes` where the settings say nothing.
pub const DEFAULT_MAX_PREFIXES: u32 = 10_000;

/// How many routes of a family a peer announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedCount {
    /// Exactly so many destinations.
    Exact(u32),
    /// More than `maxPrefixes`. What was beyond it is not kept, so that a later withdrawal cannot be told
    /// from one of those: this stands until the peer sends its table again ([`AdjRibIn::restart`]).
    MoreThan(u32),
    /// `receive: none`: how many NLRI came since the session began, a destination announced twice counted
    /// twice.
    Nlri {
        /// Announced.
        announced: u64,
        /// Withdrawn.
        withdrawn: u64,
    },
}

impl fmt::Display for ReceivedCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(count) => count.fmt(f),
            Self::MoreThan(limit) => write!(f, ">{limit}"),
            Self::Nlri { announced, .. } => announced.fmt(f),
        }
    }
}

impl Serialize for ReceivedCount {
    /// A number, or `">10000"`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact(count) => serializer.serialize_u32(*count),
            Self::MoreThan(_) => serializer.collect_str(self),
            Self::Nlri { announced, .. } => serializer.serialize_u64(*announced),
        }
    }
}

/// What the peer said of a destination, with `receive: all`.
#[derive(Debug, Clone)]
struct Details {
    attributes: Arc<PathAttributes>,
    next_hop: NextHop,
    since: UnixSeconds,
}

#[derive(Debug, Default)]
struct Received {
    limit: u32,
    /// The destinations kept, at most `limit`.
    routes: Routes,
    /// There were more than `limit`.
    beyond: bool,
    announced: u64,
    withdrawn: u64,
    end_of_rib: bool,
}

/// Who receives: what some routes are checked against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receiver {
    /// Our AS numbers.
    pub asns: Vec<Asn>,
    /// Our BGP identifier.
    pub router_id: Option<RouterId>,
    /// Our addresses on the way to the peer.
    pub addresses: Vec<IpAddr>,
}

impl Receiver {
    /// Of the address in the NEXT_HOP: "It MUST NOT be the IP address of the receiving speaker" (RFC 4271 §6.3).
    fn is(&self, next_hop: NextHop) -> bool {
        let address = match next_hop {
            NextHop::V4(address) => IpAddr::V4(address),
            NextHop::V6 { address, .. } => IpAddr::V6(address),
        };
        self.addresses.contains(&address)
    }

    /// "If the AS_PATH attribute of a BGP route contains an AS loop, the BGP route should be excluded from the
    /// Phase 2 decision function" (RFC 4271 §9.1.2); so are routes that we have reflected (RFC 4456 §8).
    fn is_behind(&self, attributes: &PathAttributes) -> bool {
        let segments = attributes.as_path.iter().flat_map(|path| &path.segments);
        segments.flat_map(|segment| &segment.asns).any(|asn| self.asns.contains(asn))
            || (self.router_id.is_some() && attributes.originator_id == self.router_id)
    }
}

/// What of an UPDATE is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Noticed {
    /// Families that passed `maxPrefixes` by it.
    pub passed: FamilySet,
    /// It had routes whose next hop is ourselves; they are ignored.
    pub own_next_hop: Option<NextHop>,
}

/// One session's Adj-RIB-In. It keeps `maxPrefixes` destinations of each family at most, whatever the peer
/// sends, and with `receive: all` as many attribute sets, none of which keeps the message that it came in.
#[derive(Debug)]
pub struct AdjRibIn {
    mode: Receive,
    receiver: Receiver,
    families: FamilyMap<Received>,
    sets: BTreeSet<Arc<PathAttributes>>,
    sweep_at: usize,
    followers: Followers,
}

impl AdjRibIn {
    /// Empty, as a session begins.
    #[must_use]
    pub fn new(mode: Receive, max_prefixes: FamilyMap<Option<u32>>) -> Self {
        let families = FamilyMap::from_fn(|family| Received {
            limit: max_prefixes.get(family).unwrap_or(DEFAULT_MAX_PREFIXES),
            routes: Routes::new(mode == Receive::All),
            ..Received::default()
        });
        let (receiver, followers) = (Receiver::default(), Followers::default());
        Self { mode, receiver, families, sets: BTreeSet::new(), sweep_at: 0, followers }
    }

    /// The same for a session of which our side is known.
    #[must_use]
    pub fn of(mode: Receive, max_prefixes: FamilyMap<Option<u32>>, receiver: Receiver) -> Self {
        Self { receiver, ..Self::new(mode, max_prefixes) }
    }

    /// Empty again, with other rules for the same session.
    pub fn reset(&mut self, mode: Receive, max_prefixes: FamilyMap<Option<u32>>) {
        let mut followers = std::mem::take(&mut self.followers);
        for family in Family::ALL {
            followers.forget(family);
        }
        *self = Self::of(mode, max_prefixes, std::mem::take(&mut self.receiver));
        self.followers = followers;
    }

    /// Takes an UPDATE in at `now`.
    ///
    /// The routes that RFC 7606 treats as withdrawn are among the withdrawn ones already. A destination
    /// that is both withdrawn and announced is announced (RFC 4271 §4.3).
    pub fn apply(&mut self, update: &Update, now: UnixSeconds) -> Noticed {
        let mut noticed = Noticed::default();
        for block in &update.withdrawn {
            self.families.get_mut(block.family()).withdraw(block);
        }
        for announcement in &update.announced {
            let block = &announcement.nlri;
            // "If the NEXT_HOP attribute is semantically incorrect, the error SHOULD be logged, and the route
            // SHOULD be ignored" (RFC 4271 §6.3). What it replaces is gone all the same.
            if self.receiver.is(announcement.next_hop) {
                noticed.own_next_hop = Some(announcement.next_hop);
                self.families.get_mut(block.family()).withdraw(block);
                continue;
            }
            self.families.get_mut(block.family()).announced += block.count() as u64;
            let details = match self.mode {
                Receive::None => continue,
                Receive::Count => None,
                Receive::All => Some(Details {
                    attributes: self.intern(&update.attributes),
                    next_hop: announcement.next_hop,
                    since: now,
                }),
            };
            if self.families.get_mut(block.family()).announce(block.iter(), details.as_ref()) {
                noticed.passed.insert(block.family());
            }
        }
        if let Some(family) = update.end_of_rib {
            self.families.get_mut(family).end_of_rib = true;
        }
        if self.is_followed() {
            self.tell_followers(update);
        }
        noticed
    }

    /// Forgets a family, to count it again: the peer is about to send its table anew.
    pub fn restart(&mut self, family: Family) {
        let received = self.families.get_mut(family);
        *received = Received {
            limit: received.limit,
            end_of_rib: received.end_of_rib,
            routes: received.routes.emptied(),
            ..Received::default()
        };
        self.followers.forget(family);
        self.sweep();
    }

    /// How many routes of `family` the peer announces.
    #[must_use]
    pub fn count(&self, family: Family) -> ReceivedCount {
        let received = self.families.get(family);
        match self.mode {
            Receive::None => {
                ReceivedCount::Nlri { announced: received.announced, withdrawn: received.withdrawn }
            }
            _ if received.beyond => ReceivedCount::MoreThan(received.limit),
            _ => ReceivedCount::Exact(u32::try_from(received.routes.len()).unwrap_or(u32::MAX)),
        }
    }

    /// Whether the peer has sent End-of-RIB for `family` in this session (RFC 4724 §2).
    #[must_use]
    pub fn end_of_rib(&self, family: Family) -> bool {
        self.families.get(family).end_of_rib
    }

    /// The destinations kept, by family and prefix: those that `wanted` picks.
    pub fn rows(
        &self,
        peer: &str,
        peer_as: Asn,
        mut wanted: impl FnMut(Prefix) -> bool,
    ) -> Vec<ReceivedRoute> {
        let all = self.families.iter().flat_map(|(_, received)| received.routes.iter());
        let mut rows: Vec<ReceivedRoute> = all
            .filter(|(nlri, _)| wanted(nlri.prefix))
            .map(|(nlri, details)| {
                let shown = details.map(|details| Shown {
                    attributes: &details.attributes,
                    next_hop: details.next_hop,
                    since: details.since,
                });
                let looped = details.map(|details| self.receiver.is_behind(&details.attributes));
                ReceivedRoute {
                    valid: looped.map(|looped| !looped),
                    ..ReceivedRoute::of(peer, peer_as, nlri, shown)
                }
            })
            .collect();
        rows.sort_by_key(|row| (row.prefix, row.path_id));
        rows
    }

    /// The routes kept with their attributes (`receive: all`), as they came.
    #[must_use]
    pub fn routes(&self, wanted: impl Fn(Prefix) -> bool) -> Vec<dump::Route> {
        let all = self.families.iter().flat_map(|(_, received)| received.routes.iter());
        let all = all.filter(|(nlri, _)| wanted(nlri.prefix));
        all.filter_map(|(nlri, details)| {
            let Details { attributes, next_hop, since } = details?.clone();
            Some(dump::Route { nlri, next_hop, attributes, since })
        })
        .collect()
    }

    fn intern(&mut self, attributes: &PathAttributes) -> Arc<PathAttributes> {
        if let Some(known) = self.sets.get(attributes) {
            return Arc::clone(known);
        }
        if self.sets.len() >= self.sweep_at {
            self.sweep();
        }
        let mut owned = attributes.clone();
        for raw in &mut owned.unknown {
            // A slice would keep the whole message that it came in.
            raw.value = Bytes::copy_from_slice(&raw.value);
        }
        let owned = Arc::new(owned);
        self.sets.insert(Arc::clone(&owned));
        owned
    }

    /// Drops attributes that no route has any more.
    fn sweep(&mut self) {
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.sweep_at = 64 + 2 * self.sets.len();
    }
}

impl Received {
    fn withdraw(&mut self, block: &NlriBlock) {
        self.withdrawn += block.count() as u64;
        if !self.routes.is_empty() {
            for nlri in block.iter() {
                self.routes.remove(&nlri);
            }
        }
    }

    /// Says whether the limit was passed by it.
    fn announce(&mut self, block: impl Iterator<Item = Nlri>, details: Option<&Details>) -> bool {
        if self.beyond && (details.is_none() || self.routes.is_empty()) {
            return false;
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let before = self.beyond;
        for nlri in block {
            if self.routes.contains(&nlri) || !self.beyond && self.routes.len() < limit {
                self.routes.insert(nlri, details);
            } else {
                self.beyond = true;
            }
        }
        self.beyond && !before
    }
}

/// One destination that a peer announces, for `rib received`. Every key is always present, null where it
/// has no value or is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedRoute {
    /// The peer's name.
    pub peer: String,
    /// The peer's AS.
    pub peer_as: Asn,
    /// `ipv4-unicast` or `ipv6-unicast`.
    pub family: Family,
    /// The destination.
    pub prefix: Prefix,
    /// The path identifier (RFC 7911).
    pub path_id: Option<u32>,
    /// The next hop; of two IPv6 addresses the first.
    pub next_hop: Option<IpAddr>,
    /// The second IPv6 address of the next hop.
    pub link_local_next_hop: Option<Ipv6Addr>,
    /// The interface by which the next hop is reached; null where it is not learned, or may not be used.
    pub interface: Option<String>,
    /// ORIGIN.
    pub origin: Option<Origin>,
    /// AS_PATH, as segments.
    pub as_path: Option<AsPath>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_preference: Option<u32>,
    /// COMMUNITIES.
    pub communities: Option<Vec<Community>>,
    /// LARGE_COMMUNITY.
    pub large_communities: Option<Vec<LargeCommunity>>,
    /// EXTENDED COMMUNITIES.
    pub extended_communities: Option<Vec<ExtendedCommunity>>,
    /// Whether it could be used: false where its AS path leads through our own AS, or where it is our own route
    /// reflected, for example; null where that is not kept.
    pub valid: Option<bool>,
    /// Whether it is the best route to its destination among those that are learned.
    pub best: bool,
    /// When the peer last announced it (RFC 3339).
    pub since: Option<String>,
    /// `learn` asks for it.
    pub learned: bool,
    /// It is used beside the best one.
    pub multipath: bool,
    /// It is of a session that is gone, kept for a peer that restarts (RFC 4724, RFC 9494).
    pub stale: bool,
    /// Why it is not used; null where it is, or where it is not learned.
    pub reason: Option<String>,
}

/// What is known of a route beyond its destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) attributes: &'a PathAttributes,
    pub(crate) next_hop: NextHop,
    pub(crate) since: UnixSeconds,
}

impl ReceivedRoute {
    pub(crate) fn of(peer: &str, peer_as: Asn, nlri: Nlri, shown: Option<Shown<'_>>) -> Self {
        let next_hop = shown.map(|shown| shown.next_hop);
        let attributes = shown.map(|shown| shown.attributes);
        Self {
            peer: peer.to_owned(),
            peer_as,
            family: nlri.prefix.family(),
            prefix: nlri.prefix,
            path_id: nlri.path_id,
            next_hop: next_hop.map(|next_hop| match next_hop {
                NextHop::V4(address) => IpAddr::V4(address),
                NextHop::V6 { address, .. } => IpAddr::V6(address),
            }),
            link_local_next_hop: next_hop.and_then(|next_hop| match next_hop {
                NextHop::V4(_) => None,
                NextHop::V6 { link_local, .. } => link_local,
            }),
            interface: None,
            origin: attributes.and_then(|set| set.origin),
            as_path: attributes.and_then(|set| set.as_path.clone()),
            med: attributes.and_then(|set| set.med),
            local_preference: attributes.and_then(|set| set.local_pref),
            communities: attributes.map(|set| set.communities.clone()),
            large_communities: attributes.map(|set| set.large_communities.clone()),
            extended_communities: attributes.map(|set| set.extended_communities.clone()),
            valid: None,
            best: false,
            since: shown.map(|shown| rfc3339(shown.since)),
            learned: false,
            multipath: false,
            stale: false,
            reason: None,
        }
    }
}

#[cfg(test)]
mod tests;
