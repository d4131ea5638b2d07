//! CiliumBGPClusterConfig: which nodes speak BGP, with which peers.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Conditions;
use super::selector::LabelSelector;

/// An IPv4 or IPv6 address with white space around it or a zone behind it; no port, no prefix.
pub(super) const ADDRESS: &str = r"^\s*((25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\S+)?)\s*$";

/// How a peer that has no address is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutoDiscoveryMode {
    /// The next hop of this node's default route.
    DefaultGateway,
    /// Whoever answers on a link.
    Unnumbered,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Which default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultGateway {
    /// The family of the route.
    pub address_family: AddressFamily,
}

/// Which link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unnumbered {
    /// The interface's name.
    #[schemars(length(min = 1, max = 255))]
    pub interface: String,
}

/// How to find a peer that has no `peerAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoDiscovery {
    /// The way.
    pub mode: AutoDiscoveryMode,
    /// For the mode DefaultGateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DefaultGateway")]
    pub default_gateway: Option<DefaultGateway>,
    /// For the mode Unnumbered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Unnumbered")]
    pub unnumbered: Option<Unnumbered>,
}

/// What a BMP station is told (RFC 7854).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MonitoringPolicy {
    /// Routes before our policy.
    #[default]
    Pre,
    /// Routes after our policy.
    Post,
    /// Both.
    Both,
    /// Our own table.
    Local,
    /// All of them.
    All,
}

const fn bmp_port() -> i32 {
    11019
}

/// A BMP station (RFC 7854).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmpServer {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = ADDRESS))]
    pub peer_address: Option<String>,
    /// Its port.
    #[serde(default = "bmp_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: i32,
    /// What it is told.
    #[serde(default)]
    pub monitoring_policy: MonitoringPolicy,
    /// Seconds between statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 15, max = 65535))]
    pub statistics_timeout: Option<i32>,
}

/// Names the CiliumBGPPeerConfig of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerConfigReference {
    /// Its name.
    pub name: String,
}

fn group() -> String {
    "cilium.io".to_owned()
}

fn kind() -> String {
    "CiliumBGPPeerConfig".to_owned()
}

/// Names the CiliumBGPPeerConfig of a peer, with its group and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerConfigReferenceV2Alpha1 {
    /// Its API group.
    #[serde(default = "group")]
    pub group: String,
    /// Its kind.
    #[serde(default = "kind")]
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A version of CiliumBGPClusterConfig: they differ in how a peer names its CiliumBGPPeerConfig.
macro_rules! cluster_config_version {
    ($(#[$doc:meta])* $module:ident, $version:literal, $reference:ident $(, $deprecated:ident)?) => {
        $(#[$doc])*
        pub mod $module {
            use super::{
                ADDRESS, AutoDiscovery, BmpServer, Conditions, CustomResource, Deserialize, JsonSchema,
                LabelSelector, $reference as Reference, Serialize,
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

            /// Which nodes speak BGP, with which peers.
            #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, CustomResource)]
            #[kube(
                group = "cilium.io",
                version = $version,
                kind = "CiliumBGPClusterConfig",
                plural = "ciliumbgpclusterconfigs",
                singular = "ciliumbgpclusterconfig",
                shortname = "cbgpcluster",
                category = "cilium",
                category = "ciliumbgp",
                status = "Conditions",
                doc = "The BGP routers of the nodes that it selects.",
                derive = "PartialEq",
                $($deprecated,)?
                printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
            )]
            #[serde(rename_all = "camelCase")]
            pub struct CiliumBGPClusterConfigSpec {
                /// The nodes; absent for all.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "LabelSelector")]
                pub node_selector: Option<LabelSelector>,
                /// The routers of ours that each of these nodes has.
                #[schemars(
                    length(min = 1, max = 16),
                    extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
                )]
                pub bgp_instances: Vec<Instance>,
            }
        }
    };
}

cluster_config_version!(
    /// `cilium.io/v2`, which is stored.
    v2,
    "v2",
    PeerConfigReference
);
cluster_config_version!(
    /// `cilium.io/v2alpha1`, which is still served.
    v2alpha1,
    "v2alpha1",
    PeerConfigReferenceV2Alpha1,
    deprecated
);
