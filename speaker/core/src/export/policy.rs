//! What a peer is told of a route: which contributions count, and what attributes they come to.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bgp_proto::session::Negotiated;
use bgp_proto::types::{Asn, Community, Family, FamilyMap, FamilySet, Prefix};
use bgp_proto::wire::{
    AsPath, AsPathSegment, AttributesTooLong, EncodeContext, NextHop, Origin, PathAttributes, SegmentKind,
};
use speaker_config::model::{ExportRule, PeerSettings, RouteAttributes};
use thiserror::Error;

use super::NoNextHop;
use crate::drain::Drain;
use crate::rib::{Contribution, Route, SourceKind};

/// LOCAL_PREF where no advertisement sets one.
pub const DEFAULT_LOCAL_PREFERENCE: u32 = 100;

/// Everything that decides what an established peer is told.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerOut {
    /// The name by which `advertisements.peers` selects it: its own, or that of its `dynamicPeers` entry.
    pub selected_as: String,
    /// The peer's AS.
    pub peer_asn: Asn,
    /// Our AS towards it.
    pub local_asn: Asn,
    /// The families negotiated.
    pub families: FamilySet,
    /// How to write to it.
    pub encode: EncodeContext,
    /// Our role towards it (RFC 9234), as the number on the wire.
    pub role: Option<u8>,
    /// `export`.
    pub export: Option<Vec<ExportRule>>,
    /// `maxAdvertised`.
    pub max_advertised: FamilyMap<Option<u32>>,
    /// The next hop of each family, or why there is none.
    pub next_hops: FamilyMap<Result<NextHop, NoNextHop>>,
}

impl PeerOut {
    /// From the peer's settings and what its session agreed on.
    #[must_use]
    pub fn new(
        selected_as: &str,
        settings: &PeerSettings,
        negotiated: &Negotiated,
        next_hops: FamilyMap<Result<NextHop, NoNextHop>>,
    ) -> Self {
        Self {
            selected_as: selected_as.to_owned(),
            peer_asn: negotiated.peer_asn,
            local_asn: negotiated.local_asn,
            families: negotiated.families,
            encode: negotiated.encode,
            role: settings.role,
            export: settings.export.clone(),
            max_advertised: settings.max_advertised,
            next_hops,
        }
    }
}

/// Why a route of the Loc-RIB is not advertised to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Held {
    /// The peer has no established session.
    #[error("the session with the peer is not established")]
    NotEstablished,
    /// The family is not part of the session.
    #[error("{0} was not negotiated with the peer")]
    Family(Family),
    /// The node is drained.
    #[error("the node is drained")]
    Drained,
    /// Not all sources have delivered their first full list.
    #[error("waiting for the first full list of every source")]
    Incomplete,
    /// No advertisement that contributes to the prefix selects the peer.
    #[error("no advertisement of this prefix selects the peer")]
    NotSelected,
    /// The peer has an `export` list.
    #[error("the peer's export list does not permit the prefix")]
    Export,
    /// The peer has no `export` list.
    #[error("the prefix lies in no pool, and the peer has no export list that permits it")]
    NotCovered,
    /// The family has no next hop.
    #[error(transparent)]
    NextHop(NoNextHop),
    /// Communities and the like fill the message.
    #[error(transparent)]
    TooLong(AttributesTooLong),
    /// Pool prefixes go first, then the oldest Services.
    #[error("maxAdvertised is {limit}, and as many routes come before this one")]
    Limit {
        /// `maxAdvertised` of the family.
        limit: u32,
    },
}

/// A community that an advertisement has and that was left out, because another advertisement of the same
/// prefix to the same peer does not have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
#[error("{community} of advertisement '{advertisement}' is left out")]
pub struct Conflict {
    /// The advertisement that has the community.
    pub advertisement: Arc<str>,
    /// `blackhole` or `no-advertise`.
    pub community: Community,
}

/// The part of a route's attributes that the session's kind decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionClass {
    pub(super) internal: bool,
    pub(super) local_asn: Asn,
    /// Routes carry ONLY_TO_CUSTOMER (RFC 9234 §5).
    pub(super) only_to_customer: bool,
    /// The node is on its way out.
    pub(super) drain: Drain,
}

impl SessionClass {
    pub(super) fn of(peer: &PeerOut) -> Self {
        let internal = peer.local_asn == peer.peer_asn;
        // RFC 9234 §5: "If a route is to be advertised to a Customer, a Peer, or an RS-Client (when the
        // sender is an RS), and the OTC Attribute is not present, then when advertising the route, an OTC
        // Attribute MUST be added with a value equal to the AS number of the local AS." Our role is then
        // Provider (0), RS (1) or Peer (4).
        let only_to_customer = !internal && matches!(peer.role, Some(0 | 1 | 4));
        Self { internal, local_asn: peer.local_asn, only_to_customer, drain: Drain::No }
    }

    /// The same while the node is drained.
    pub(super) fn drained(self, drain: Drain) -> Self {
        Self { drain, ..self }
    }

    /// Merged attributes as they go on the wire.
    pub(super) fn path_attributes(self, merged: &RouteAttributes) -> PathAttributes {
        let segments = if self.internal {
            // RFC 4271 §5.1.2: to an internal peer "the originating speaker includes an empty AS_PATH
            // attribute". `prepend` does nothing here: our own AS in the path is a loop to every
            // internal peer (§9.1.2).
            Vec::new()
        } else {
            let copies = 1 + usize::from(merged.prepend);
            vec![AsPathSegment { kind: SegmentKind::Sequence, asns: vec![self.local_asn; copies] }]
        };
        // RFC 4271 §5.1.5: LOCAL_PREF "SHALL be included in all UPDATE messages that a given BGP speaker
        // sends to other internal peers" and MUST NOT be sent to external ones.
        let preference = merged.local_preference.unwrap_or(DEFAULT_LOCAL_PREFERENCE);
        let mut communities = merged.communities.clone();
        // RFC 8326 §4.2: the routes are sent again "with the GRACEFUL_SHUTDOWN community attached"; §3: the
        // local preference of such paths is "set to a low value", 0 is recommended.
        let going = self.drain != Drain::No;
        if going {
            communities.push(Community::GRACEFUL_SHUTDOWN);
        }
        let local_pref = self.internal.then_some(if going { 0 } else { preference });
        PathAttributes {
            origin: Some(Origin::Igp),
            as_path: Some(AsPath { segments }),
            med: merged.med,
            local_pref,
            communities: distinct(&communities),
            extended_communities: distinct(&merged.extended_communities),
            large_communities: distinct(&merged.large_communities),
            only_to_customer: self.only_to_customer.then_some(self.local_asn),
            ..PathAttributes::default()
        }
    }
}

/// Merged attributes as they stand in the Loc-RIB, which is nobody's session: an empty path, and a local preference only
/// where one is configured.
pub(super) fn local_attributes(merged: &RouteAttributes) -> PathAttributes {
    PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::default()),
        med: merged.med,
        local_pref: merged.local_preference,
        communities: distinct(&merged.communities),
        extended_communities: distinct(&merged.extended_communities),
        large_communities: distinct(&merged.large_communities),
        ..PathAttributes::default()
    }
}

/// The order given, each once.
fn distinct<T: Copy + Ord>(items: &[T]) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.iter().copied().filter(|item| seen.insert(*item)).collect()
}

/// The contributions of a route that count for one peer; never none.
pub(super) struct Chosen<'r> {
    /// Absent: a peer that every advertisement selects.
    name: Option<&'r str>,
    route: &'r Route,
    covered_only: bool,
    services_only: bool,
}

impl<'r> Chosen<'r> {
    /// Selection, then the export gate.
    ///
    /// # Errors
    /// Nothing counts.
    pub(super) fn of(
        name: &'r str,
        export: Option<&[ExportRule]>,
        prefix: Prefix,
        route: &'r Route,
    ) -> Result<Self, Held> {
        let covered_only = match export {
            Some(rules) if !rules.iter().any(|rule| rule.permits(prefix)) => {
                let selected = route.contributions.iter().any(|item| selects(item, Some(name)));
                return Err(if selected { Held::Export } else { Held::NotSelected });
            }
            Some(_) => false,
            None => true,
        };
        let chosen = Self::new(Some(name), route, covered_only);
        if chosen.iter().next().is_some() {
            return Ok(chosen);
        }
        let selected = route.contributions.iter().any(|item| selects(item, Some(name)));
        Err(if selected { Held::NotCovered } else { Held::NotSelected })
    }

    /// What counts for a peer that every advertisement selects and whose export list permits the prefix.
    pub(super) fn all(route: &'r Route) -> Self {
        Self::new(None, route, false)
    }

    fn new(name: Option<&'r str>, route: &'r Route, covered_only: bool) -> Self {
        let mut chosen = Self { name, route, covered_only, services_only: false };
        chosen.services_only = chosen.iter().any(|item| item.source.kind == SourceKind::Service);
        chosen
    }

    /// In the order of the route.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'r Contribution> + use<'r> {
        let Self { name, route, covered_only, services_only } = *self;
        route.contributions.iter().filter(move |item| {
            selects(item, name)
                && (item.covered || !covered_only)
                // "A pool prefix and a host route never share attributes."
                && (item.source.kind == SourceKind::Service || !services_only)
        })
    }

    /// Whether Services are the reason.
    pub(super) fn is_service(&self) -> bool {
        self.services_only
    }

    /// When the eldest of its objects was created.
    pub(super) fn created(&self) -> i64 {
        self.iter().map(|item| item.created).min().unwrap_or(i64::MAX)
    }

    /// Union of communities, highest local preference, lowest MED that is set, shortest prepend.
    pub(super) fn merged(&self) -> Cow<'r, RouteAttributes> {
        let mut all = self.iter();
        let Some(first) = all.next() else { return Cow::Owned(RouteAttributes::default()) };
        if all.all(|item| item.attributes == first.attributes) {
            return Cow::Borrowed(&*first.attributes);
        }
        let mut merged = RouteAttributes { prepend: u8::MAX, ..RouteAttributes::default() };
        for item in self.iter().map(|item| &*item.attributes) {
            merged.communities.extend(&item.communities);
            merged.large_communities.extend(&item.large_communities);
            merged.extended_communities.extend(&item.extended_communities);
            merged.local_preference = merged.local_preference.max(item.local_preference);
            merged.med = merged.med.into_iter().chain(item.med).min();
            merged.prepend = merged.prepend.min(item.prepend);
        }
        let left_out: BTreeSet<Community> = self.conflicts().map(|conflict| conflict.community).collect();
        merged.communities.retain(|community| !left_out.contains(community));
        merged.communities = distinct(&merged.communities);
        merged.large_communities = distinct(&merged.large_communities);
        merged.extended_communities = distinct(&merged.extended_communities);
        Cow::Owned(merged)
    }

    /// What merging left out. A community that takes routes out of service is never merged into a route
    /// that some advertisement wants in service.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = Conflict> + use<'_, 'r> {
        [Community::BLACKHOLE, Community::NO_ADVERTISE].into_iter().flat_map(move |community| {
            let has = move |item: &&Contribution| item.attributes.communities.contains(&community);
            let disputed = self.iter().any(|item| !has(&item));
            let names: BTreeSet<Arc<str>> = self
                .iter()
                .filter(|item| disputed && has(item))
                .map(|item| Arc::clone(&item.advertisement))
                .collect();
            names.into_iter().map(move |advertisement| Conflict { advertisement, community })
        })
    }
}

/// The communities that merging leaves out of what a peer is told of `prefix`, whether or not its session is
/// up. `selected_as` is the name by which advertisements select the peer, `export` its list.
#[must_use]
pub fn conflicts(
    selected_as: &str,
    export: Option<&[ExportRule]>,
    prefix: Prefix,
    route: &Route,
) -> Vec<Conflict> {
    Chosen::of(selected_as, export, prefix, route)
        .map_or_else(|_| Vec::new(), |chosen| chosen.conflicts().collect())
}

fn selects(contribution: &Contribution, name: Option<&str>) -> bool {
    contribution.peers.as_ref().zip(name).is_none_or(|(peers, name)| peers.contains(name))
}

#[cfg(test)]
mod tests;
