//! CiliumL2AnnouncementPolicy: which addresses are answered for on the local segment. There is no v2 of it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Conditions;
use super::selector::LabelSelector;

/// Which addresses are answered for by ARP and NDP, by which nodes, on which interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "cilium.io",
    version = "v2alpha1",
    kind = "CiliumL2AnnouncementPolicy",
    plural = "ciliuml2announcementpolicies",
    singular = "ciliuml2announcementpolicy",
    shortname = "l2announcement",
    category = "cilium",
    status = "Conditions",
    doc = "Which addresses of Services are answered for on the local segment.",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CiliumL2AnnouncementPolicySpec {
    /// The nodes; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LabelSelector")]
    pub node_selector: Option<LabelSelector>,
    /// The Services; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LabelSelector")]
    pub service_selector: Option<LabelSelector>,
    /// Regular expressions, one of which an interface's name must match somewhere; absent for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Answer for `status.loadBalancer.ingress[].ip`.
    #[serde(rename = "loadBalancerIPs", default)]
    pub load_balancer_ips: bool,
    /// Answer for `spec.externalIPs`.
    #[serde(rename = "externalIPs", default)]
    pub external_ips: bool,
}
