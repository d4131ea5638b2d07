//! Rows for `rib advertised` and `rib local`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bgp_proto::types::{Asn, Community, ExtendedCommunity, Family, LargeCommunity, Prefix};
use bgp_proto::wire::{AsPath, NextHop, Nlri, Origin, PathAttributes};
use serde::{Deserialize, Serialize};

use super::Exporter;
use super::policy::{Chosen, local_attributes};
use super::span::PATH_ID;
use crate::dump;
use crate::rfc3339::rfc3339;
use crate::rib::{LocRib, Route, Source};

/// One route of one peer's Adj-RIB-Out, with the keys of design §6: each is always present, null where it
/// has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisedRoute {
    /// The peer's name.
    pub peer: String,
    /// The peer's AS.
    pub peer_as: Asn,
    /// `ipv4-unicast` or `ipv6-unicast`.
    pub family: Family,
    /// The destination.
    pub prefix: Prefix,
    /// The next hop; of two IPv6 addresses the first.
    pub next_hop: IpAddr,
    /// The second IPv6 address of the next hop (RFC 2545 §3).
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
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<LargeCommunity>,
    /// EXTENDED COMMUNITIES.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// The first of `sources`.
    pub source: Option<Source>,
    /// The objects that the route stands for.
    pub sources: Vec<Source>,
    /// Since when the prefix is in the Loc-RIB (RFC 3339).
    pub since: Option<String>,
}

/// One route of the Loc-RIB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalRoute {
    /// `ipv4-unicast` or `ipv6-unicast`.
    pub family: Family,
    /// The destination.
    pub prefix: Prefix,
    /// The first of `sources`.
    pub source: Option<Source>,
    /// The objects that the route stands for, each once.
    pub sources: Vec<Source>,
    /// MULTI_EXIT_DISC, merged as for a peer that every advertisement selects; so are the next four.
    pub med: Option<u32>,
    /// LOCAL_PREF, towards peers in our AS.
    pub local_preference: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<LargeCommunity>,
    /// EXTENDED COMMUNITIES.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// The advertisements that announce it, each once for every set of attributes.
    pub advertisements: Vec<LocalAdvertisement>,
    /// The peers that it is announced to now.
    pub advertised_to: Vec<String>,
    /// Since when the prefix is in the Loc-RIB (RFC 3339).
    pub since: String,
}

/// What one advertisement says of a route, before it is merged with the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalAdvertisement {
    /// Its name.
    pub name: String,
    /// The peers that it names; null is every peer.
    pub peers: Option<BTreeSet<String>>,
    /// `attributes.communities`.
    pub communities: Vec<Community>,
    /// `attributes.largeCommunities`.
    pub large_communities: Vec<LargeCommunity>,
    /// `attributes.extendedCommunities`.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// `attributes.localPreference`.
    pub local_preference: Option<u32>,
    /// `attributes.med`.
    pub med: Option<u32>,
    /// `attributes.prepend`.
    pub prepend: u8,
}

impl Exporter {
    /// The Adj-RIB-Out of an established peer after policy, by family and prefix: those prefixes that
    /// `wanted` picks. Empty until every source has delivered its first full list.
    pub fn advertised(
        &self,
        name: &str,
        rib: &LocRib,
        mut wanted: impl FnMut(Prefix) -> bool,
    ) -> Vec<AdvertisedRoute> {
        let Some(out) = self.peer(name).filter(|_| self.is_open()) else { return Vec::new() };
        let mut rows = Vec::new();
        for table in self.tables(name).iter().filter_map(|(_, table)| table.as_ref()) {
            let Some(next_hop) = table.next_hop() else { continue };
            for (prefix, set) in table.routes(&mut wanted) {
                let route = rib.routes.get(&prefix);
                let chosen = route.and_then(|route| {
                    Chosen::of(&out.selected_as, out.export.as_deref(), prefix, route).ok()
                });
                let contributions = chosen.iter().flat_map(Chosen::iter);
                rows.push(AdvertisedRoute {
                    peer: name.to_owned(),
                    peer_as: out.peer_asn,
                    sources: distinct(contributions.map(|contribution| &contribution.source)),
                    since: route.map(|route| rfc3339(route.since)),
                    ..advertised_row(prefix, next_hop, &set.attributes, out.peer_asn)
                });
            }
        }
        for row in &mut rows {
            row.source = row.sources.first().cloned();
        }
        rows
    }

    /// The Loc-RIB, with the peers that each route is announced to: those prefixes that `wanted` picks.
    pub fn local(&self, rib: &LocRib, mut wanted: impl FnMut(Prefix) -> bool) -> Vec<LocalRoute> {
        let routes = rib.routes.iter().filter(|(prefix, _)| wanted(**prefix));
        routes.map(|(prefix, route)| self.local_row(*prefix, route)).collect()
    }

    /// The same routes as [`Self::advertised`], as they are sent.
    pub fn advertised_routes(
        &self,
        name: &str,
        rib: &LocRib,
        mut wanted: impl FnMut(Prefix) -> bool,
    ) -> Vec<dump::Route> {
        if !self.is_open() {
            return Vec::new();
        }
        let mut sets: BTreeMap<u64, Arc<PathAttributes>> = BTreeMap::new();
        let mut routes = Vec::new();
        for table in self.tables(name).iter().filter_map(|(_, table)| table.as_ref()) {
            let Some(next_hop) = table.next_hop() else { continue };
            sets.clear();
            let path_id = table.context().add_path.contains(table.family()).then_some(PATH_ID);
            for (prefix, set) in table.routes(&mut wanted) {
                let attributes = sets.entry(set.id).or_insert_with(|| Arc::new(set.attributes.clone()));
                routes.push(dump::Route {
                    nlri: Nlri { path_id, prefix },
                    next_hop,
                    attributes: Arc::clone(attributes),
                    since: rib.routes.get(&prefix).map_or(0, |route| route.since),
                });
            }
        }
        routes
    }

    /// The Loc-RIB as routes without a peer: the next hop is unspecified, since this node is it.
    pub fn local_routes(rib: &LocRib, mut wanted: impl FnMut(Prefix) -> bool) -> Vec<dump::Route> {
        let routes = rib.routes.iter().filter(|(prefix, _)| wanted(**prefix));
        routes
            .map(|(prefix, route)| dump::Route {
                nlri: Nlri { path_id: None, prefix: *prefix },
                next_hop: unspecified(prefix.family()),
                attributes: Arc::new(local_attributes(&Chosen::all(route).merged())),
                since: route.since,
            })
            .collect()
    }

    fn local_row(&self, prefix: Prefix, route: &Route) -> LocalRoute {
        let sources = distinct(route.contributions.iter().map(|contribution| &contribution.source));
        let advertisements: BTreeSet<LocalAdvertisement> = route
            .contributions
            .iter()
            .map(|contribution| LocalAdvertisement {
                name: contribution.advertisement.as_ref().to_owned(),
                peers: contribution.peers.as_deref().cloned(),
                communities: contribution.attributes.communities.clone(),
                large_communities: contribution.attributes.large_communities.clone(),
                extended_communities: contribution.attributes.extended_communities.clone(),
                local_preference: contribution.attributes.local_preference,
                med: contribution.attributes.med,
                prepend: contribution.attributes.prepend,
            })
            .collect();
        let advertised_to = self.groups().filter(|(table, _)| {
            self.is_open() && table.family() == prefix.family() && table.contains(prefix)
        });
        let advertised_to: BTreeSet<&str> =
            advertised_to.flat_map(|(_, members)| members).map(|name| &**name).collect();
        let merged = Chosen::all(route).merged();
        LocalRoute {
            family: prefix.family(),
            prefix,
            source: sources.first().cloned(),
            sources,
            med: merged.med,
            local_preference: merged.local_preference,
            communities: merged.communities.clone(),
            large_communities: merged.large_communities.clone(),
            extended_communities: merged.extended_communities.clone(),
            advertisements: advertisements.into_iter().collect(),
            advertised_to: advertised_to.into_iter().map(str::to_owned).collect(),
            since: rfc3339(route.since),
        }
    }
}

/// The next hop of what this node itself is the next hop for.
pub(super) fn unspecified(family: Family) -> NextHop {
    match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => NextHop::V6 { address: Ipv6Addr::UNSPECIFIED, link_local: None },
    }
}

fn advertised_row(
    prefix: Prefix,
    next_hop: NextHop,
    attributes: &PathAttributes,
    peer_as: Asn,
) -> AdvertisedRoute {
    let (next_hop, link_local_next_hop) = match next_hop {
        NextHop::V4(address) => (IpAddr::V4(address), None),
        NextHop::V6 { address, link_local } => (IpAddr::V6(address), link_local),
    };
    AdvertisedRoute {
        peer: String::new(),
        peer_as,
        family: prefix.family(),
        prefix,
        next_hop,
        link_local_next_hop,
        origin: attributes.origin,
        as_path: attributes.as_path.clone(),
        med: attributes.med,
        local_preference: attributes.local_pref,
        communities: attributes.communities.clone(),
        large_communities: attributes.large_communities.clone(),
        extended_communities: attributes.extended_communities.clone(),
        source: None,
        sources: Vec::new(),
        since: None,
    }
}

/// In the order given, each once.
fn distinct<'a>(sources: impl Iterator<Item = &'a Source>) -> Vec<Source> {
    let mut seen = BTreeSet::new();
    sources.filter(|source| seen.insert(*source)).cloned().collect()
}

#[cfg(test)]
mod tests;
