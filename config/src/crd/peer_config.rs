//! CiliumBGPPeerConfig: how to speak with a peer, and what to tell it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Conditions;
use super::selector::LabelSelector;

const fn peer_port() -> i32 {
    179
}

const fn connect_retry() -> i32 {
    120
}

const fn hold() -> i32 {
    90
}

const fn keep_alive() -> i32 {
    30
}

const fn restart() -> i32 {
    120
}

const fn multihop() -> i32 {
    1
}

/// The TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transport {
    /// The port that the peer listens on.
    #[serde(default = "peer_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: i32,
    /// The interface whose address is our end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 255))]
    pub source_interface: Option<String>,
}

/// The session's timers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.keepAliveTimeSeconds <= self.holdTimeSeconds",
    "message": "keepAliveTimeSeconds can not be larger than holdTimeSeconds",
}]))]
pub struct Timers {
    /// Seconds until a connection is tried again.
    #[serde(default = "connect_retry")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub connect_retry_time_seconds: i32,
    /// Seconds without a word after which the peer is dead.
    #[serde(default = "hold")]
    #[schemars(range(min = 3, max = 65535))]
    pub hold_time_seconds: i32,
    /// Seconds between our KEEPALIVEs.
    #[serde(default = "keep_alive")]
    #[schemars(range(min = 1, max = 65535))]
    pub keep_alive_time_seconds: i32,
}

/// Graceful restart (RFC 4724).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// The peer is asked to keep our routes while we restart.
    pub enabled: bool,
    /// For how many seconds.
    #[serde(default = "restart")]
    #[schemars(range(min = 1, max = 4095))]
    pub restart_time_seconds: i32,
}

/// The fields of a feature that Cilium has announced and not released.
fn open_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Address family identifiers (RFC 4760), of which ipv4 and ipv6 are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Afi {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Layer 2 VPN.
    L2vpn,
    /// Link state.
    Ls,
    /// Opaque.
    Opaque,
}

/// Subsequent address family identifiers (RFC 4760), of which unicast is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names are the registry's")]
pub enum Safi {
    Unicast,
    Multicast,
    MplsLabel,
    Encapsulation,
    Vpls,
    Evpn,
    Ls,
    SrPolicy,
    Mup,
    MplsVpn,
    MplsVpnMulticast,
    RouteTargetConstraints,
    FlowspecUnicast,
    FlowspecVpn,
    KeyValue,
}

/// A family, and what is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Family {
    /// Its AFI.
    pub afi: Afi,
    /// Its SAFI.
    pub safi: Safi,
    /// The CiliumBGPAdvertisements by their labels; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LabelSelector")]
    pub advertisements: Option<LabelSelector>,
}

/// A version of CiliumBGPPeerConfig: they differ in nothing but their name.
macro_rules! peer_config_version {
    ($(#[$doc:meta])* $module:ident, $version:literal $(, $deprecated:ident)?) => {
        $(#[$doc])*
        pub mod $module {
            use super::{
                Conditions, CustomResource, Deserialize, Family, GracefulRestart, JsonSchema, Serialize, Timers,
                Transport, multihop, open_object,
            };

            /// How to speak with a peer, and what to tell it.
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
            #[kube(
                group = "cilium.io",
                version = $version,
                kind = "CiliumBGPPeerConfig",
                plural = "ciliumbgppeerconfigs",
                singular = "ciliumbgppeerconfig",
                shortname = "cbgppeer",
                category = "cilium",
                category = "ciliumbgp",
                status = "Conditions",
                doc = "Settings that the peers which name it share.",
                derive = "PartialEq",
                $($deprecated,)?
                printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
            )]
            #[serde(rename_all = "camelCase")]
            pub struct CiliumBGPPeerConfigSpec {
                /// The TCP connection.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "Transport")]
                pub transport: Option<Transport>,
                /// The session's timers.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "Timers")]
                pub timers: Option<Timers>,
                /// The Secret with the TCP MD5 key, under `password`. Without it no session comes up.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "String")]
                pub auth_secret_ref: Option<String>,
                /// Graceful restart; absent for none.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "GracefulRestart")]
                pub graceful_restart: Option<GracefulRestart>,
                /// The TTL towards an external peer; 1 where it is directly connected.
                #[serde(default = "multihop")]
                #[schemars(range(min = 1, max = 255))]
                pub ebgp_multihop: i32,
                /// The families; absent for IPv4 and IPv6 unicast, and nothing told.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "Vec<Family>")]
                pub families: Option<Vec<Family>>,
                /// BFD, which Cilium has announced. The speaker does not read it: BFD stands in speaker.yaml.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(schema_with = "open_object")]
                pub bfd: Option<serde_json::Value>,
            }
        }
    };
}

peer_config_version!(
    /// `cilium.io/v2`, which is stored.
    v2,
    "v2"
);
peer_config_version!(
    /// `cilium.io/v2alpha1`, which is still served.
    v2alpha1,
    "v2alpha1",
    deprecated
);
