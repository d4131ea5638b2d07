//! Advertisements made ready: what every contribution shares is allocated once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::types::{Family, Prefix};
use speaker_config::model::{Advertisement, RouteAttributes};
use speaker_config::objects::{AddressKind, Labels, UnixSeconds};

use crate::rib::{Contribution, Contributions, Source, SourceKind};

/// An advertisement with its shared parts.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// Its name.
    pub name: Arc<str>,
    /// Its attributes.
    pub attributes: Arc<RouteAttributes>,
    /// Its peers.
    pub peers: Option<Arc<BTreeSet<String>>>,
    /// What each of its `prefixes` has for a reason.
    pub fixed: Contributions,
    /// All that it says.
    pub spec: Advertisement,
    /// Its node selector selects this node.
    pub here: bool,
}

impl Prepared {
    pub(super) fn new(spec: Advertisement) -> Self {
        let name: Arc<str> = Arc::from(spec.name.as_str());
        let attributes = Arc::new(spec.attributes.clone());
        let peers = spec.peers.clone().map(Arc::new);
        let fixed = Contribution {
            advertisement: Arc::clone(&name),
            source: Source { kind: SourceKind::Prefix, namespace: None, name: spec.name.clone() },
            // As old as the configuration, older than every object.
            created: 0,
            attributes: Arc::clone(&attributes),
            peers: peers.clone(),
            covered: true,
        };
        Self { name, attributes, peers, fixed: vec![fixed].into(), spec, here: false }
    }

    /// Judges the node selector by the node's labels; says whether the answer changed.
    pub(super) fn judge_node(&mut self, labels: &Labels) -> bool {
        let here = self.spec.node_selector.as_ref().is_none_or(|selector| selector.matches(labels));
        std::mem::replace(&mut self.here, here) != here
    }

    /// A reason to announce, of this advertisement.
    pub(super) fn contribution(&self, source: Source, created: UnixSeconds, covered: bool) -> Contribution {
        Contribution {
            advertisement: Arc::clone(&self.name),
            source,
            created,
            attributes: Arc::clone(&self.attributes),
            peers: self.peers.clone(),
            covered,
        }
    }

    /// Whether an address that lies in no pool may leave all the same. The API server gives out ClusterIPs,
    /// but anybody who may write a Service may write `externalIPs`.
    pub(super) fn lets_out(&self, kind: AddressKind, addr: IpAddr) -> bool {
        kind == AddressKind::Cluster || self.spec.export.iter().any(|rule| rule.permits(Prefix::host(addr)))
    }

    /// The prefixes that stand for an address, where the advertisement aggregates.
    pub(super) fn aggregate(&self, addr: IpAddr) -> Option<Prefix> {
        let len = (*self.spec.service_routes?.aggregation.get(Family::of(addr)))?;
        Prefix::new(addr, len).ok()
    }

    /// The reason to announce an aggregate: Services by the hundred may lie under it, so that it is named
    /// after the advertisement. It is as old as the configuration.
    pub(super) fn aggregated(&self, covered: bool) -> Contribution {
        let source = Source { kind: SourceKind::Aggregate, namespace: None, name: self.spec.name.clone() };
        self.contribution(source, 0, covered)
    }

    /// `prefixes` of an advertisement that speaks on this node.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.spec.prefixes.iter().copied().filter(|_| self.here)
    }
}

/// Whether every peer that `outer` names is among those of the `inner` ones; absent is every peer.
pub(super) fn reached_by<'a>(
    outer: Option<&BTreeSet<String>>,
    inner: impl Iterator<Item = Option<&'a BTreeSet<String>>>,
) -> bool {
    let mut named = BTreeSet::new();
    for peers in inner {
        match peers {
            None => return true,
            Some(peers) => named.extend(peers),
        }
    }
    outer.is_some_and(|outer| outer.iter().all(|peer| named.contains(peer)))
}
