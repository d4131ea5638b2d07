//! CiliumBGPAdvertisement: what is told, and with what attributes.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector::LabelSelector;

/// `0` to `4294967295`.
macro_rules! u32_pattern {
    () => {
        r"(429496729[0-5]|42949672[0-8]\d|4294967[01]\d{2}|429496[0-6]\d{3}|42949[0-5]\d{4}|4294[0-8]\d{5}|429[0-3]\d{6}|42[0-8]\d{7}|4[01]\d{8}|[1-3]\d{9}|[1-9]\d{0,8}|0)"
    };
}

/// `0` to `65535`.
macro_rules! u16_pattern {
    () => {
        r"(6553[0-5]|655[0-2]\d|65[0-4]\d{2}|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3}|0)"
    };
}

const STANDARD: &str = concat!("^(", u32_pattern!(), "|", u16_pattern!(), ":", u16_pattern!(), ")$");
const LARGE: &str = concat!("^", u32_pattern!(), ":", u32_pattern!(), ":", u32_pattern!(), "$");

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdvertisementType {
    /// The node's Pod CIDRs.
    PodCIDR,
    /// A CiliumPodIPPool's CIDRs, which Cilium alone knows.
    CiliumPodIPPool,
    /// Addresses of Services.
    Service,
    /// Addresses of an interface.
    Interface,
}

/// Which addresses of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceAddress {
    /// `status.loadBalancer.ingress`.
    LoadBalancerIP,
    /// `spec.clusterIPs`.
    ClusterIP,
    /// `spec.externalIPs`.
    ExternalIP,
}

/// Addresses of Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOptions {
    /// Which of them.
    #[schemars(length(min = 1))]
    pub addresses: Vec<ServiceAddress>,
    /// The length of the prefix that is told in place of an IPv4 address. Does not count for Services with
    /// externalTrafficPolicy Local.
    #[serde(rename = "aggregationLengthIPv4", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 0, max = 31))]
    pub aggregation_length_ipv4: Option<i32>,
    /// The same for IPv6.
    #[serde(rename = "aggregationLengthIPv6", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 0, max = 127))]
    pub aggregation_length_ipv6: Option<i32>,
}

/// An interface of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceOptions {
    /// Its name.
    pub name: String,
}

/// A community of RFC 1997.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("pattern" = STANDARD))]
pub struct StandardCommunity(pub String);

/// A community by its registered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "their names are the registry's")]
pub enum WellKnownCommunity {
    Internet,
    PlannedShut,
    AcceptOwn,
    RouteFilterTranslatedV4,
    RouteFilterV4,
    RouteFilterTranslatedV6,
    RouteFilterV6,
    LlgrStale,
    NoLlgr,
    Blackhole,
    NoExport,
    NoAdvertise,
    NoExportSubconfed,
    NoPeer,
}

/// A community of RFC 8092.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("pattern" = LARGE))]
pub struct LargeCommunity(pub String);

/// Communities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Communities {
    /// As one number or as two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standard: Vec<StandardCommunity>,
    /// By name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub well_known: Vec<WellKnownCommunity>,
    /// As three numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large: Vec<LargeCommunity>,
}

/// Path attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// Communities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Communities")]
    pub communities: Option<Communities>,
    /// LOCAL_PREF, which goes to internal peers alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub local_preference: Option<i64>,
}

/// One thing that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.advertisementType != 'Service' || has(self.service)",
        "message": "service is required for advertisementType Service",
    },
    {
        "rule": "self.advertisementType == 'Service' || !has(self.service)",
        "message": "service is for advertisementType Service alone",
    },
    {
        "rule": "self.advertisementType != 'Interface' || has(self.interface)",
        "message": "interface is required for advertisementType Interface",
    },
    {
        "rule": "self.advertisementType == 'Interface' || !has(self.interface)",
        "message": "interface is for advertisementType Interface alone",
    },
    {
        "rule": "self.advertisementType != 'PodCIDR' || !has(self.selector)",
        "message": "selector is not allowed for advertisementType PodCIDR",
    },
]))]
pub struct Advertisement {
    /// What it is.
    pub advertisement_type: AdvertisementType,
    /// Which addresses, for the type Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceOptions")]
    pub service: Option<ServiceOptions>,
    /// Which interface, for the type Interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "InterfaceOptions")]
    pub interface: Option<InterfaceOptions>,
    /// Which objects; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LabelSelector")]
    pub selector: Option<LabelSelector>,
    /// With what attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Attributes")]
    pub attributes: Option<Attributes>,
}

/// A version of CiliumBGPAdvertisement: they differ in nothing but their name.
macro_rules! advertisement_version {
    ($(#[$doc:meta])* $module:ident, $version:literal $(, $deprecated:ident)?) => {
        $(#[$doc])*
        pub mod $module {
            use super::{Advertisement, CustomResource, Deserialize, JsonSchema, Serialize};

            /// What the peers whose families select this object by its labels are told.
            #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, CustomResource)]
            #[kube(
                group = "cilium.io",
                version = $version,
                kind = "CiliumBGPAdvertisement",
                plural = "ciliumbgpadvertisements",
                singular = "ciliumbgpadvertisement",
                shortname = "cbgpadvert",
                category = "cilium",
                category = "ciliumbgp",
                doc = "What peers are told.",
                derive = "PartialEq",
                $($deprecated,)?
                printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
            )]
            pub struct CiliumBGPAdvertisementSpec {
                /// What they are told.
                pub advertisements: Vec<Advertisement>,
            }
        }
    };
}

advertisement_version!(
    /// `cilium.io/v2`, which is stored.
    v2,
    "v2"
);
advertisement_version!(
    /// `cilium.io/v2alpha1`, which is still served.
    v2alpha1,
    "v2alpha1",
    deprecated
);
