//! Every key that `speaker.yaml` may have. What is not here is unknown; what is here is in the page
//! `config/README.md`, and a test holds the two together.

/// A mapping of the file.
#[derive(Debug)]
pub(crate) struct Section {
    /// Where it stands, as the page names it.
    pub(crate) name: &'static str,
    /// Its own keys.
    pub(crate) keys: &'static [&'static str],
    /// A section whose keys it has besides.
    pub(crate) with: Option<&'static Section>,
}

impl Section {
    const fn new(name: &'static str, keys: &'static [&'static str]) -> Self {
        Self { name, keys, with: None }
    }

    /// All its keys.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static str> + Clone {
        let more = self.with.map_or(&[][..], |section| section.keys);
        self.keys.iter().chain(more).copied()
    }
}

pub(crate) const FILE: Section = Section::new(
    "the file",
    &[
        "node",
        "router",
        "sources",
        "ipam",
        "nodeIpam",
        "operator",
        "peerGroups",
        "peers",
        "dynamicPeers",
        "advertisements",
        "ciliumBGP",
        "datapath",
        "l2",
        "readiness",
        "readinessAddress",
        "proxyMetricsAddress",
        "drain",
        "bmp",
        "api",
    ],
);
pub(crate) const NODE: Section = Section::new("node", &["name"]);
pub(crate) const ROUTER: Section = Section::new("router", &["asn", "routerId", "listen"]);
pub(crate) const SOURCES: Section = Section::new("sources", &["manifests", "kubernetes"]);
pub(crate) const KUBERNETES: Section =
    Section::new("sources.kubernetes", &["enabled", "ciliumBGP", "ciliumL2", "keepAnnounced"]);
pub(crate) const IPAM: Section =
    Section::new("ipam", &["enabled", "stateDir", "families", "defaultClass", "classes"]);
pub(crate) const NODE_IPAM: Section = Section::new("nodeIpam", &["enabled"]);
pub(crate) const OPERATOR: Section = Section::new("operator", &["leaseName", "leaseDuration", "holdDeleted"]);

/// What peers, groups and dynamic peers share.
pub(crate) const SETTINGS: Section = Section::new(
    "peer settings",
    &[
        "asn",
        "description",
        "localAsn",
        "families",
        "timers",
        "passwordFile",
        "passwordSecretRef",
        "tcpAo",
        "ttlSecurity",
        "multihop",
        "port",
        "passive",
        "localAddress",
        "sourceInterface",
        "nextHop",
        "bfd",
        "gracefulRestart",
        "longLivedRestart",
        "receive",
        "maxPrefixes",
        "prefixLimit",
        "learn",
        "export",
        "maxAdvertised",
        "role",
        "addPath",
        "nodeSelector",
        "shutdown",
    ],
);
pub(crate) const GROUP: Section = Section { name: "peerGroups[]", keys: &["name"], with: Some(&SETTINGS) };
pub(crate) const PEER: Section =
    Section { name: "peers[]", keys: &["name", "group", "address", "interface"], with: Some(&SETTINGS) };
pub(crate) const DYNAMIC_PEER: Section =
    Section { name: "dynamicPeers[]", keys: &["name", "group", "prefix", "limit"], with: Some(&SETTINGS) };
pub(crate) const TIMERS: Section = Section::new("timers", &["hold", "keepalive", "connectRetry", "sendHold"]);
pub(crate) const SECRET: Section = Section::new("passwordSecretRef", &["name", "key"]);
pub(crate) const TCP_AO: Section = Section::new("tcpAo", &["keys"]);
pub(crate) const TCP_AO_KEY: Section =
    Section::new("tcpAo.keys[]", &["sendId", "receiveId", "algorithm", "passwordFile", "passwordSecretRef"]);
pub(crate) const TTL_SECURITY: Section = Section::new("ttlSecurity", &["hops"]);
pub(crate) const MULTIHOP: Section = Section::new("multihop", &["ttl"]);
pub(crate) const NEXT_HOP: Section = Section::new("nextHop", &["ipv4", "ipv6"]);
pub(crate) const BFD: Section = Section::new("bfd", &["transmit", "receive", "detectMultiplier"]);
pub(crate) const GRACEFUL_RESTART: Section = Section::new("gracefulRestart", &["restartTime"]);
pub(crate) const LONG_LIVED_RESTART: Section = Section::new("longLivedRestart", &["staleTime"]);
pub(crate) const MAX_PREFIXES: Section = Section::new("maxPrefixes", &["ipv4-unicast", "ipv6-unicast"]);
pub(crate) const PREFIX_LIMIT: Section =
    Section::new("prefixLimit", &["ipv4-unicast", "ipv6-unicast", "warnPercent", "restart"]);
pub(crate) const MAX_ADVERTISED: Section = Section::new("maxAdvertised", &["ipv4-unicast", "ipv6-unicast"]);
pub(crate) const ADD_PATH: Section = Section::new("addPath", &["ipv4-unicast", "ipv6-unicast"]);
pub(crate) const EXPORT: Section = Section::new("export[]", &["prefix", "le"]);
pub(crate) const SHUTDOWN: Section = Section::new("shutdown", &["message"]);

pub(crate) const CILIUM_BGP: Section = Section::new("ciliumBGP", &["export", "routerIdPool"]);

pub(crate) const ADVERTISEMENT: Section = Section::new(
    "advertisements[]",
    &[
        "name",
        "poolSelector",
        "serviceSelector",
        "prefixes",
        "poolPrefix",
        "serviceRoutes",
        "attributes",
        "peers",
        "nodeSelector",
        "allow",
    ],
);
pub(crate) const POOL_PREFIX: Section = Section::new("poolPrefix", &["when", "lengths", "allowBeyondPool"]);
pub(crate) const LENGTHS: Section = Section::new("poolPrefix.lengths", &["ipv4", "ipv6"]);
pub(crate) const SERVICE_ROUTES: Section = Section::new("serviceRoutes", &["which", "when"]);
pub(crate) const ATTRIBUTES: Section = Section::new(
    "attributes",
    &["communities", "largeCommunities", "extendedCommunities", "localPreference", "med", "prepend"],
);
pub(crate) const SELECTOR: Section = Section::new("selector", &["matchLabels", "matchExpressions"]);
pub(crate) const REQUIREMENT: Section =
    Section::new("selector.matchExpressions[]", &["key", "operator", "values"]);
pub(crate) const DATAPATH: Section = Section::new("datapath", &["loops", "local"]);
pub(crate) const L2: Section = Section::new("l2", &["enabled", "interfaces", "leaseDuration"]);
pub(crate) const DRAIN: Section = Section::new("drain", &["for", "taint", "excludeLabel"]);
pub(crate) const BMP: Section =
    Section::new("bmp[]", &["name", "address", "monitor", "statistics", "connectRetry"]);
pub(crate) const API: Section = Section::new("api", &["socket", "http"]);

/// Every section.
pub(crate) const ALL: [&Section; 41] = [
    &FILE,
    &NODE,
    &ROUTER,
    &SOURCES,
    &KUBERNETES,
    &IPAM,
    &NODE_IPAM,
    &OPERATOR,
    &CILIUM_BGP,
    &GROUP,
    &PEER,
    &DYNAMIC_PEER,
    &SETTINGS,
    &TIMERS,
    &SECRET,
    &TCP_AO,
    &TCP_AO_KEY,
    &TTL_SECURITY,
    &MULTIHOP,
    &NEXT_HOP,
    &BFD,
    &GRACEFUL_RESTART,
    &LONG_LIVED_RESTART,
    &MAX_PREFIXES,
    &MAX_ADVERTISED,
    &ADD_PATH,
    &EXPORT,
    &PREFIX_LIMIT,
    &SHUTDOWN,
    &ADVERTISEMENT,
    &POOL_PREFIX,
    &LENGTHS,
    &SERVICE_ROUTES,
    &ATTRIBUTES,
    &SELECTOR,
    &REQUIREMENT,
    &DATAPATH,
    &L2,
    &DRAIN,
    &BMP,
    &API,
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The keys in the tables of `config/README.md`, by the heading above them.
    fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut section = "";
        for line in include_str!("../../README.md").lines() {
            if line.starts_with('#') {
                let name = line.trim_start_matches('#').trim();
                section = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or("");
            } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|row| row.split_once("` |"))
                && !section.is_empty()
            {
                assert!(
                    keys.entry(section).or_default().insert(key),
                    "{section}.{key} stands twice in the page"
                );
            }
        }
        keys
    }

    #[test]
    fn the_page_has_every_key_and_no_other() {
        let known: BTreeMap<&str, BTreeSet<&str>> =
            ALL.iter().map(|section| (section.name, section.keys.iter().copied().collect())).collect();
        assert_eq!(known.len(), ALL.len(), "a name stands twice");
        assert_eq!(documented(), known);
    }

    #[test]
    fn every_key_is_in_the_example_that_has_them_all() {
        let text = include_str!("../../examples/every-key.yaml");
        for key in ALL.iter().flat_map(|section| section.keys) {
            assert!(text.contains(&format!("{key}:")), "{key}");
        }
    }
}
