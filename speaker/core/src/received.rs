//! What peers announce (Adj-RIB-In, RFC 4271 §3.2). Counted and shown, never installed or re-announced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bgp_proto::types::{
    Asn, Community, ExtendedCommunity, Family, FamilyMap, FamilySet, LargeCommunity, Prefix,
};
use bgp_proto::wire::{AsPath, NextHop, Nlri, Origin, PathAttributes, Update};
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use speaker_config::model::Receive;
use speaker_config::objects::UnixSeconds;

use crate::rfc3339::rfc3339;

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
    /// The destinations kept, at most `limit`; without details where `receive` is `count`.
    routes: BTreeMap<Nlri, Option<Details>>,
    /// There were more than `limit`.
    beyond: bool,
    announced: u64,
    withdrawn: u64,
    end_of_rib: bool,
}

/// One session's Adj-RIB-In. It keeps `maxPrefixes` destinations of each family at most, whatever the peer
/// sends, and with `receive: all` as many attribute sets, none of which keeps the message that it came in.
#[derive(Debug)]
pub struct AdjRibIn {
    mode: Receive,
    families: FamilyMap<Received>,
    sets: BTreeSet<Arc<PathAttributes>>,
    sweep_at: usize,
}

impl AdjRibIn {
    /// Empty, as a session begins.
    #[must_use]
    pub fn new(mode: Receive, max_prefixes: FamilyMap<Option<u32>>) -> Self {
        let families = FamilyMap::from_fn(|family| Received {
            limit: max_prefixes.get(family).unwrap_or(DEFAULT_MAX_PREFIXES),
            ..Received::default()
        });
        Self { mode, families, sets: BTreeSet::new(), sweep_at: 0 }
    }

    /// Takes an UPDATE in at `now`. Says which families passed `maxPrefixes` by it: a reason to log, once.
    ///
    /// The routes that RFC 7606 treats as withdrawn are among the withdrawn ones already. A destination
    /// that is both withdrawn and announced is announced (RFC 4271 §4.3).
    pub fn apply(&mut self, update: &Update, now: UnixSeconds) -> FamilySet {
        let mut passed = FamilySet::EMPTY;
        for block in &update.withdrawn {
            let received = self.families.get_mut(block.family());
            received.withdrawn += block.count() as u64;
            if !received.routes.is_empty() {
                for nlri in block.iter() {
                    received.routes.remove(&nlri);
                }
            }
        }
        for announcement in &update.announced {
            let block = &announcement.nlri;
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
                passed.insert(block.family());
            }
        }
        if let Some(family) = update.end_of_rib {
            self.families.get_mut(family).end_of_rib = true;
        }
        passed
    }

    /// Forgets a family, to count it again: the peer is about to send its table anew.
    pub fn restart(&mut self, family: Family) {
        let received = self.families.get_mut(family);
        *received =
            Received { limit: received.limit, end_of_rib: received.end_of_rib, ..Received::default() };
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
        let all = self.families.iter().flat_map(|(_, received)| &received.routes);
        let mut rows: Vec<ReceivedRoute> = all
            .filter(|(nlri, _)| wanted(nlri.prefix))
            .map(|(nlri, details)| ReceivedRoute::new(peer, peer_as, *nlri, details.as_ref()))
            .collect();
        rows.sort_by_key(|row| (row.prefix, row.path_id));
        rows
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
    /// Says whether the limit was passed by it.
    fn announce(&mut self, block: impl Iterator<Item = Nlri>, details: Option<&Details>) -> bool {
        if self.beyond && (details.is_none() || self.routes.is_empty()) {
            return false;
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let before = self.beyond;
        for nlri in block {
            if let Some(kept) = self.routes.get_mut(&nlri) {
                *kept = details.cloned();
            } else if !self.beyond && self.routes.len() < limit {
                self.routes.insert(nlri, details.cloned());
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
    /// When the peer last announced it (RFC 3339).
    pub since: Option<String>,
}

impl ReceivedRoute {
    fn new(peer: &str, peer_as: Asn, nlri: Nlri, details: Option<&Details>) -> Self {
        let next_hop = details.map(|details| details.next_hop);
        let attributes = details.map(|details| &*details.attributes);
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
            origin: attributes.and_then(|set| set.origin),
            as_path: attributes.and_then(|set| set.as_path.clone()),
            med: attributes.and_then(|set| set.med),
            local_preference: attributes.and_then(|set| set.local_pref),
            communities: attributes.map(|set| set.communities.clone()),
            large_communities: attributes.map(|set| set.large_communities.clone()),
            extended_communities: attributes.map(|set| set.extended_communities.clone()),
            since: details.map(|details| rfc3339(details.since)),
        }
    }
}

#[cfg(test)]
mod tests;
