//! CiliumBGPNodeConfigOverride: what is otherwise on the node that it is named after.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster_config::ADDRESS;

/// A peer, by its name in the CiliumBGPClusterConfig.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.peerInterface) && has(self.localAddress))",
    "message": "peerInterface and localAddress cannot be set together",
}]))]
pub struct PeerOverride {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Our end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = ADDRESS))]
    pub local_address: Option<String>,
    /// Our port. Cilium does not use it, and neither does the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub local_port: Option<i32>,
    /// The interface that a link-local peerAddress is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 255))]
    pub peer_interface: Option<String>,
}

/// A router of ours, by its name in the CiliumBGPClusterConfig.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceOverride {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Our BGP identifier.
    #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "ipv4"))]
    pub router_id: Option<String>,
    /// The port that we listen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub local_port: Option<i32>,
    /// Our AS number.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = 1, max = 4_294_967_295_i64))]
    pub local_asn: Option<i64>,
    /// Its peers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Vec<PeerOverride>,
}

/// A version of CiliumBGPNodeConfigOverride: they differ in nothing but their name.
macro_rules! node_config_override_version {
    ($(#[$doc:meta])* $module:ident, $version:literal $(, $deprecated:ident)?) => {
        $(#[$doc])*
        pub mod $module {
            use super::{CustomResource, Deserialize, InstanceOverride, JsonSchema, Serialize};

            /// What is otherwise on the node that it is named after.
            #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, CustomResource)]
            #[kube(
                group = "cilium.io",
                version = $version,
                kind = "CiliumBGPNodeConfigOverride",
                plural = "ciliumbgpnodeconfigoverrides",
                singular = "ciliumbgpnodeconfigoverride",
                shortname = "cbgpnodeoverride",
                category = "cilium",
                category = "ciliumbgp",
                doc = "What is otherwise on the node that it is named after.",
                derive = "PartialEq",
                $($deprecated,)?
                printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
            )]
            #[serde(rename_all = "camelCase")]
            pub struct CiliumBGPNodeConfigOverrideSpec {
                /// The routers of ours that are otherwise.
                #[schemars(
                    length(min = 1),
                    extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
                )]
                pub bgp_instances: Vec<InstanceOverride>,
            }
        }
    };
}

node_config_override_version!(
    /// `cilium.io/v2`, which is stored.
    v2,
    "v2"
);
node_config_override_version!(
    /// `cilium.io/v2alpha1`, which is still served.
    v2alpha1,
    "v2alpha1",
    deprecated
);
