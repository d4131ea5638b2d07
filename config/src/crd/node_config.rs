//! CiliumBGPNodeConfig: what the operator makes of the CiliumBGPClusterConfigs for one node, and what became
//! of it there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster_config::{
    ADDRESS, AutoDiscovery, BmpServer, PeerConfigReference, PeerConfigReferenceV2Alpha1,
};
use super::peer_config::{Afi, Safi};

/// The timers in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerTimers {
    /// Seconds without a word after which the peer is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32")]
    pub applied_hold_time_seconds: Option<i32>,
    /// Seconds between KEEPALIVEs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32")]
    pub applied_keepalive_seconds: Option<i32>,
}

/// Routes of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteCount {
    /// Its AFI.
    pub afi: Afi,
    /// Its SAFI.
    pub safi: Safi,
    /// From the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32")]
    pub received: Option<i32>,
    /// To the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32")]
    pub advertised: Option<i32>,
}

/// The session with a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// The peer's name.
    pub name: String,
    /// Its address.
    pub peer_address: String,
    /// Its AS number.
    #[serde(rename = "peerASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub peer_asn: Option<i64>,
    /// `idle`, `connect`, `active`, `opensent`, `openconfirm` or `established`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub peering_state: Option<String>,
    /// The timers in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PeerTimers")]
    pub timers: Option<PeerTimers>,
    /// Since when it is established, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub established_time: Option<String>,
    /// Routes of each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route_count: Vec<RouteCount>,
}

/// A router of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// Our AS number.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub local_asn: Option<i64>,
    /// The sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Vec<PeerStatus>,
}

/// What became of it on the node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The routers of ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub bgp_instances: Vec<InstanceStatus>,
    /// What stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A version of CiliumBGPNodeConfig: they differ in how a peer names its CiliumBGPPeerConfig.
macro_rules! node_config_version {
    ($(#[$doc:meta])* $module:ident, $version:literal, $reference:ident $(, $deprecated:ident)?) => {
        $(#[$doc])*
        pub mod $module {
            use super::{
                ADDRESS, AutoDiscovery, BmpServer, CustomResource, Deserialize, JsonSchema, NodeStatus,
                $reference as Reference, Serialize,
            };

            /// A router to speak with.
            #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
            #[serde(rename_all = "camelCase")]
            pub struct Peer {
                /// Its name.
                #[schemars(length(min = 1, max = 255))]
                pub name: String,
                /// Its address.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "String", extend("pattern" = ADDRESS))]
                pub peer_address: Option<String>,
                /// The interface that a link-local peerAddress is on.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "String", length(min = 1, max = 255))]
                pub peer_interface: Option<String>,
                /// Its AS number; 0 takes the one that it gives.
                #[serde(rename = "peerASN", default)]
                #[schemars(range(min = 0, max = 4_294_967_295_i64))]
                pub peer_asn: i64,
                /// How it is found where it has no address.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "AutoDiscovery")]
                pub auto_discovery: Option<AutoDiscovery>,
                /// Our end of the connection.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "String", extend("pattern" = ADDRESS))]
                pub local_address: Option<String>,
                /// How to speak with it; absent for the defaults, which advertise nothing.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "Reference")]
                pub peer_config_ref: Option<Reference>,
            }

            /// A router of ours.
            #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
            #[serde(rename_all = "camelCase")]
            pub struct Instance {
                /// Its name.
                #[schemars(length(min = 1, max = 255))]
                pub name: String,
                /// Our AS number.
                #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "i64", range(min = 1, max = 4_294_967_295_i64))]
                pub local_asn: Option<i64>,
                /// Our BGP identifier.
                #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "String", extend("format" = "ipv4"))]
                pub router_id: Option<String>,
                /// The port that we listen on; absent for none.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "i32", range(min = 1, max = 65535))]
                pub local_port: Option<i32>,
                /// Whom we speak with.
                #[serde(default, skip_serializing_if = "Vec::is_empty")]
                #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
                pub peers: Vec<Peer>,
                /// BMP stations: who is told what our sessions and tables are.
                #[serde(default, skip_serializing_if = "Vec::is_empty")]
                #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
                pub bmp_servers: Vec<BmpServer>,
            }

            /// The BGP routers of one node. The operator writes it.
            #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, CustomResource)]
            #[kube(
                group = "cilium.io",
                version = $version,
                kind = "CiliumBGPNodeConfig",
                plural = "ciliumbgpnodeconfigs",
                singular = "ciliumbgpnodeconfig",
                shortname = "cbgpnode",
                category = "cilium",
                category = "ciliumbgp",
                status = "NodeStatus",
                doc = "The BGP routers of the node that it is named after. Written by the operator.",
                derive = "PartialEq",
                $($deprecated,)?
                printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
            )]
            #[serde(rename_all = "camelCase")]
            pub struct CiliumBGPNodeConfigSpec {
                /// The routers of ours that the node has.
                #[schemars(
                    length(min = 1, max = 16),
                    extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
                )]
                pub bgp_instances: Vec<Instance>,
            }
        }
    };
}

node_config_version!(
    /// `cilium.io/v2`, which is stored.
    v2,
    "v2",
    PeerConfigReference
);
node_config_version!(
    /// `cilium.io/v2alpha1`, which is still served.
    v2alpha1,
    "v2alpha1",
    PeerConfigReferenceV2Alpha1,
    deprecated
);
