//! What the cluster is made of: nodes, endpoints, and where ClusterIPs come from.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use serde::{Deserialize, Serialize};

use super::{Labels, ObjectKey};

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `conditions.ready`, where absent counts as ready, and not terminating.
    pub ready: bool,
    /// `conditions.serving` (absent: as `ready`): takes traffic, also while it terminates.
    pub serving: bool,
    /// `nodeName`.
    pub node: Option<String>,
    /// It is the address that Cilium's Gateway and Ingress write where the node's own Envoy takes the
    /// traffic: every node has it.
    #[serde(default)]
    pub envoy: bool,
}

/// EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: Option<ObjectKey>,
    /// `addressType`; absent for FQDN.
    pub family: Option<Family>,
    /// Endpoints that have an address.
    pub endpoints: Vec<Endpoint>,
    /// Their addresses where they are the API server's own (Service `default/kubernetes`); of others empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_servers: Vec<IpAddr>,
}

/// The Service behind which the API server is: `default/kubernetes`.
#[must_use]
pub fn api_server_service() -> ObjectKey {
    ObjectKey::new("default", "kubernetes")
}

/// ServiceCIDR (`networking.k8s.io`): where ClusterIPs come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCidr {
    /// Name.
    pub name: String,
    /// `spec.cidrs`.
    pub cidrs: Vec<Prefix>,
}

/// CiliumNode: Cilium's own object of a node, of which Cilium's selectors see the labels. It has the name and the labels
/// of the Node, and those that somebody put there; and what Cilium's IPAM has given to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CiliumNode {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// `spec.ipam.pools.allocated`: the node's CIDRs, by CiliumPodIPPool; absent where the object came without its `spec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<BTreeMap<String, Vec<Prefix>>>,
}

/// CiliumPodIPPool: where Cilium's multi-pool IPAM takes nodes' CIDRs from. Selectors see its labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodIpPool {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
}

/// Node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Labels of the CiliumNode of the same name, where there is one.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub cilium_labels: Labels,
    /// Annotations, those alone that the speaker reads.
    pub annotations: Labels,
    /// `status.addresses` of type InternalIP.
    pub internal_ips: Vec<IpAddr>,
    /// `status.addresses` of type ExternalIP.
    pub external_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<Prefix>,
    /// Keys of `spec.taints`.
    #[serde(default)]
    pub taints: BTreeSet<String>,
    /// Being deleted.
    #[serde(default)]
    pub deleting: bool,
}

impl Node {
    /// The labels that selectors of nodes see: its own, and those that its CiliumNode has besides. Of two values of one
    /// label the Node's counts: the other one is a copy, which may be old.
    #[must_use]
    pub fn selectable_labels(&self) -> Cow<'_, Labels> {
        let more = |key: &String| !self.labels.contains_key(key);
        if !self.cilium_labels.keys().any(more) {
            return Cow::Borrowed(&self.labels);
        }
        let mut all = self.cilium_labels.clone();
        all.extend(self.labels.clone());
        Cow::Owned(all)
    }
}
