//! The CustomResourceDefinitions that the speaker brings along where Cilium has not installed its own: same
//! group, names, fields and columns.
//!
//! Objects are read by [`crate::kubernetes::pool`], which forgives more than these types do; the types are
//! for writing (status, tests) and for the schema.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::crd::merge_crds;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the first and last address of a CIDR may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllowFirstLastIps {
    /// They may; also where the field is absent.
    Yes,
    /// They are reserved, except in blocks of one or two addresses.
    No,
}

/// Addresses: a CIDR, or a range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PoolBlock {
    /// A CIDR. Where it is given, start and stop do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "cidr"))]
    pub cidr: Option<String>,
    /// The first address of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub start: Option<String>,
    /// The last address of a range; absent for the one address of start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub stop: Option<String>,
}

/// The value of a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("maxLength" = 63, "pattern" = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"))]
pub struct LabelValue(pub String);

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// The value is one of the values.
    In,
    /// The label is absent, or its value is none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A label, an operator and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelectorRequirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: SelectorOperator,
    /// At least one for In and NotIn, none for Exists and DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// A selector of Services by their labels, beside which it sees `io.kubernetes.service.name` and
/// `io.kubernetes.service.namespace`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ServiceSelector {
    /// Labels that the Service must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Requirements that must all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// What has become of the pool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PoolStatus {
    /// Conflicts with other pools, and how many addresses there are, free and used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A version of CiliumLoadBalancerIPPool: they differ in nothing but their name.
macro_rules! pool_version {
    ($(#[$doc:meta])* $module:ident, $version:literal $(, $deprecated:ident)?) => {
        $(#[$doc])*
        pub mod $module {
            use super::{
                AllowFirstLastIps, CustomResource, Deserialize, JsonSchema, PoolBlock, Serialize, ServiceSelector,
            };

            /// Where the addresses of LoadBalancer Services come from.
            #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema, CustomResource)]
            #[kube(
                group = "cilium.io",
                version = $version,
                kind = "CiliumLoadBalancerIPPool",
                plural = "ciliumloadbalancerippools",
                singular = "ciliumloadbalancerippool",
                shortname = "ippools",
                shortname = "ippool",
                shortname = "lbippool",
                shortname = "lbippools",
                category = "cilium",
                status = "super::PoolStatus",
                doc = "A pool of addresses for Services of type LoadBalancer.",
                derive = "PartialEq",
                $($deprecated,)?
                printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled"),
                printcolumn(
                    name = "Conflicting",
                    type_ = "string",
                    json_path = ".status.conditions[?(@.type==\"cilium.io/PoolConflict\")].status"
                ),
                printcolumn(
                    name = "IPs Available",
                    type_ = "string",
                    json_path = ".status.conditions[?(@.type==\"cilium.io/IPsAvailable\")].message"
                ),
                printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
            )]
            #[serde(rename_all = "camelCase")]
            pub struct CiliumLoadBalancerIPPoolSpec {
                /// The Services that may get addresses from this pool; absent for all.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "ServiceSelector")]
                pub service_selector: Option<ServiceSelector>,
                /// Whether the first and last address of each CIDR may be given out: Yes (also where absent)
                /// or No. Does not count for blocks of one or two addresses.
                #[serde(default, rename = "allowFirstLastIPs", skip_serializing_if = "Option::is_none")]
                #[schemars(with = "AllowFirstLastIps")]
                pub allow_first_last_ips: Option<AllowFirstLastIps>,
                /// The addresses.
                #[serde(default, skip_serializing_if = "Vec::is_empty")]
                pub blocks: Vec<PoolBlock>,
                /// No new address is given out; what Services have, they keep.
                #[serde(default)]
                pub disabled: bool,
            }
        }
    };
}

pool_version!(
    /// `cilium.io/v2`, which is stored.
    v2,
    "v2"
);
pool_version!(
    /// `cilium.io/v2alpha1`, which is still served.
    v2alpha1,
    "v2alpha1",
    deprecated
);

/// Every CRD that the speaker brings along.
#[must_use]
#[expect(clippy::expect_used, reason = "both versions come from one macro: same group, kind and scope")]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let versions = vec![v2::CiliumLoadBalancerIPPool::crd(), v2alpha1::CiliumLoadBalancerIPPool::crd()];
    vec![merge_crds(versions, "v2").expect("versions of one kind merge")]
}

/// A CRD as YAML that kubectl takes.
///
/// # Errors
/// The CRD cannot be written as YAML.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, String> {
    crate::yaml::to_string(crd)
}
