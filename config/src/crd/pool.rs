//! CiliumLoadBalancerIPPool.
//!
//! Objects are read by [`crate::kubernetes::pool()`], which forgives more than these types do; the types are
//! for writing (status, tests) and for the schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector::LabelSelector;

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
                AllowFirstLastIps, CustomResource, Deserialize, JsonSchema, LabelSelector, PoolBlock, Serialize,
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
                #[schemars(with = "LabelSelector")]
                pub service_selector: Option<LabelSelector>,
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
