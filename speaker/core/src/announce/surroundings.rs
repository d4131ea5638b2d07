//! What the cluster and this node live on, kept up to date node by node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::types::Prefix;
use speaker_config::objects::{AddressKind, Node};

use super::advertisement::Prepared;
use crate::danger::{ClusterNetwork, DangerContext, Owner, Reason, judge};

/// A node's own addresses and Pod CIDRs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Belongings {
    addresses: Vec<IpAddr>,
    pods: Vec<Prefix>,
}

impl Belongings {
    fn of(node: &Node) -> Self {
        let addresses = node.internal_ips.iter().chain(&node.external_ips).copied().collect();
        Self { addresses, pods: node.pod_cidrs.clone() }
    }

    fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.addresses.iter().copied().map(Prefix::host).chain(self.pods.iter().copied())
    }
}

/// Everything that no advertisement may announce without leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Surroundings {
    /// What the configuration and the shell know of: peers, gateways, API servers, Service CIDRs.
    base: DangerContext,
    /// Nodes that have something.
    nodes: BTreeMap<String, Belongings>,
    /// Both together.
    context: DangerContext,
}

impl Surroundings {
    pub(super) fn set_base(&mut self, base: DangerContext) {
        self.base = base;
        self.combine();
    }

    /// Takes the Node objects of some names as they are now; gives back what came into somebody's
    /// possession or left it.
    pub(super) fn set_nodes<'a>(
        &mut self,
        nodes: impl Iterator<Item = (&'a String, Option<&'a Node>)>,
    ) -> Vec<Prefix> {
        let mut moved = Vec::new();
        for (name, node) in nodes {
            let new = node.map(Belongings::of).unwrap_or_default();
            let old = self.nodes.remove(name).unwrap_or_default();
            if new != old {
                moved.extend(old.prefixes().chain(new.prefixes()));
            }
            if new != Belongings::default() {
                self.nodes.insert(name.clone(), new);
            }
        }
        if !moved.is_empty() {
            self.combine();
        }
        moved
    }

    fn combine(&mut self) {
        let mut context = self.base.clone();
        for (name, node) in &self.nodes {
            let owned = node.addresses.iter().map(|addr| (*addr, Owner::Node(name.clone())));
            context.addresses.extend(owned);
            context.networks.extend(node.pods.iter().map(|prefix| (*prefix, ClusterNetwork::Pods)));
        }
        self.context = context;
    }

    /// The same for a prefix that stands for an address of a Service. A ClusterIP lies in the Service CIDR,
    /// and who announces it means it.
    pub(super) fn refusal_of(
        &self,
        prefix: Prefix,
        kind: AddressKind,
        advertisement: &Prepared,
    ) -> Option<Reason> {
        let meant = |reason: &Reason| {
            kind == AddressKind::Cluster
                && matches!(reason, Reason::Cluster { network: ClusterNetwork::Services, .. })
        };
        self.refusal(prefix, advertisement).filter(|reason| !meant(reason))
    }

    /// Why an advertisement may not announce a prefix; its own `allow` gives leave.
    pub(super) fn refusal(&self, prefix: Prefix, advertisement: &Prepared) -> Option<Reason> {
        if advertisement.spec.allow.iter().any(|allowed| allowed.covers(prefix)) {
            return None;
        }
        judge(prefix, &self.context)
    }
}
