//! The CustomResourceDefinitions that the speaker brings along where Cilium has not installed its own: same
//! group, names, fields and columns.
//!
//! Objects are read by [`crate::kubernetes`], which forgives more than these types do; the types are for
//! writing (NodeConfigs, status, tests) and for the schema. What Cilium has announced and not released yet
//! (`peerInterface`, `bmpServers` …) is in the schema too, so that a manifest that uses it can be applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::crd::merge_crds;

pub mod advertisement;
pub mod cluster_config;
pub mod l2_announcement_policy;
pub mod node_config;
pub mod node_config_override;
pub mod peer_config;
pub mod pool;
pub mod selector;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A status that is nothing but conditions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Conditions {
    /// What has become of the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// `cilium.io/v2`, which is stored.
pub mod v2 {
    pub use super::advertisement::v2::{CiliumBGPAdvertisement, CiliumBGPAdvertisementSpec};
    pub use super::cluster_config::v2::{CiliumBGPClusterConfig, CiliumBGPClusterConfigSpec};
    pub use super::node_config::v2::{CiliumBGPNodeConfig, CiliumBGPNodeConfigSpec};
    pub use super::node_config_override::v2::{CiliumBGPNodeConfigOverride, CiliumBGPNodeConfigOverrideSpec};
    pub use super::peer_config::v2::{CiliumBGPPeerConfig, CiliumBGPPeerConfigSpec};
    pub use super::pool::v2::{CiliumLoadBalancerIPPool, CiliumLoadBalancerIPPoolSpec};
}

/// `cilium.io/v2alpha1`, which is still served; the only version of the L2 announcement policy.
pub mod v2alpha1 {
    pub use super::advertisement::v2alpha1::{CiliumBGPAdvertisement, CiliumBGPAdvertisementSpec};
    pub use super::cluster_config::v2alpha1::{CiliumBGPClusterConfig, CiliumBGPClusterConfigSpec};
    pub use super::l2_announcement_policy::{CiliumL2AnnouncementPolicy, CiliumL2AnnouncementPolicySpec};
    pub use super::node_config::v2alpha1::{CiliumBGPNodeConfig, CiliumBGPNodeConfigSpec};
    pub use super::node_config_override::v2alpha1::{
        CiliumBGPNodeConfigOverride, CiliumBGPNodeConfigOverrideSpec,
    };
    pub use super::peer_config::v2alpha1::{CiliumBGPPeerConfig, CiliumBGPPeerConfigSpec};
    pub use super::pool::v2alpha1::{CiliumLoadBalancerIPPool, CiliumLoadBalancerIPPoolSpec};
}

/// Every CRD that the speaker brings along.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        both(v2::CiliumLoadBalancerIPPool::crd(), v2alpha1::CiliumLoadBalancerIPPool::crd()),
        both(v2::CiliumBGPClusterConfig::crd(), v2alpha1::CiliumBGPClusterConfig::crd()),
        both(v2::CiliumBGPPeerConfig::crd(), v2alpha1::CiliumBGPPeerConfig::crd()),
        both(v2::CiliumBGPAdvertisement::crd(), v2alpha1::CiliumBGPAdvertisement::crd()),
        both(v2::CiliumBGPNodeConfig::crd(), v2alpha1::CiliumBGPNodeConfig::crd()),
        both(v2::CiliumBGPNodeConfigOverride::crd(), v2alpha1::CiliumBGPNodeConfigOverride::crd()),
        without_spec(v2alpha1::CiliumL2AnnouncementPolicy::crd()),
    ]
}

/// Cilium's L2 announcement policy may lack its `spec`, and then announces nothing.
fn without_spec(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            schema.required = None;
        }
    }
    crd
}

#[expect(clippy::expect_used, reason = "both versions come from one macro: same group, kind and scope")]
fn both(v2: CustomResourceDefinition, v2alpha1: CustomResourceDefinition) -> CustomResourceDefinition {
    merge_crds(vec![v2, v2alpha1], "v2").expect("versions of one kind merge")
}

/// A CRD as YAML that kubectl takes.
///
/// # Errors
/// The CRD cannot be written as YAML.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, String> {
    crate::yaml::to_string(crd)
}
