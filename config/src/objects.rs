//! Kubernetes objects as the speaker knows them: pruned, defaulted, and with everything that cannot be
//! parsed kept as a text that becomes a condition.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use serde::{Deserialize, Serialize};

mod bgp;
mod cluster;
mod secret;

pub use bgp::{
    AddressKind, Advertised, BgpAdvertisement, BgpAdvertisementEntry, BgpClusterConfig, BgpFamily,
    BgpInstance, BgpInstanceOverride, BgpNodeConfig, BgpNodeConfigOverride, BgpPeer, BgpPeerConfig,
    BgpPeerOverride, BgpStation, L2AnnouncementPolicy, Owner, PeerPlace, Selection,
};
pub use cluster::{CiliumNode, Endpoint, EndpointSlice, Node, PodIpPool, ServiceCidr, api_server_service};
pub use secret::{Secret, SecretValue};

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// Seconds since 1970, as `creationTimestamp` has them.
pub type UnixSeconds = i64;

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two parts.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object of one of the kinds that the speaker reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Object {
    /// CiliumLoadBalancerIPPool.
    Pool(Pool),
    /// Service.
    Service(Box<Service>),
    /// EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// Node.
    Node(Node),
    /// CiliumBGPClusterConfig.
    BgpClusterConfig(BgpClusterConfig),
    /// CiliumBGPPeerConfig.
    BgpPeerConfig(Box<BgpPeerConfig>),
    /// CiliumBGPAdvertisement.
    BgpAdvertisement(BgpAdvertisement),
    /// CiliumBGPNodeConfig.
    BgpNodeConfig(BgpNodeConfig),
    /// CiliumBGPNodeConfigOverride.
    BgpNodeConfigOverride(BgpNodeConfigOverride),
    /// CiliumL2AnnouncementPolicy.
    L2AnnouncementPolicy(L2AnnouncementPolicy),
    /// Secret.
    Secret(Secret),
    /// ServiceCIDR.
    ServiceCidr(ServiceCidr),
    /// CiliumNode.
    CiliumNode(CiliumNode),
    /// CiliumPodIPPool.
    PodIpPool(PodIpPool),
}

/// Names an object of any kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "key")]
pub enum ObjectRef {
    /// CiliumLoadBalancerIPPool, by name.
    Pool(String),
    /// Service.
    Service(ObjectKey),
    /// EndpointSlice.
    EndpointSlice(ObjectKey),
    /// Node, by name.
    Node(String),
    /// CiliumBGPClusterConfig, by name.
    BgpClusterConfig(String),
    /// CiliumBGPPeerConfig, by name.
    BgpPeerConfig(String),
    /// CiliumBGPAdvertisement, by name.
    BgpAdvertisement(String),
    /// CiliumBGPNodeConfig, by name.
    BgpNodeConfig(String),
    /// CiliumBGPNodeConfigOverride, by name.
    BgpNodeConfigOverride(String),
    /// CiliumL2AnnouncementPolicy, by name.
    L2AnnouncementPolicy(String),
    /// Secret.
    Secret(ObjectKey),
    /// ServiceCIDR, by name.
    ServiceCidr(String),
    /// CiliumNode, by name.
    CiliumNode(String),
    /// CiliumPodIPPool, by name.
    PodIpPool(String),
}

/// Kind and name as a person writes them: `Service default/web`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(name) => write!(f, "CiliumLoadBalancerIPPool {name}"),
            Self::Service(key) => write!(f, "Service {key}"),
            Self::EndpointSlice(key) => write!(f, "EndpointSlice {key}"),
            Self::Node(name) => write!(f, "Node {name}"),
            Self::BgpClusterConfig(name) => write!(f, "CiliumBGPClusterConfig {name}"),
            Self::BgpPeerConfig(name) => write!(f, "CiliumBGPPeerConfig {name}"),
            Self::BgpAdvertisement(name) => write!(f, "CiliumBGPAdvertisement {name}"),
            Self::BgpNodeConfig(name) => write!(f, "CiliumBGPNodeConfig {name}"),
            Self::BgpNodeConfigOverride(name) => write!(f, "CiliumBGPNodeConfigOverride {name}"),
            Self::L2AnnouncementPolicy(name) => write!(f, "CiliumL2AnnouncementPolicy {name}"),
            Self::Secret(key) => write!(f, "Secret {key}"),
            Self::ServiceCidr(name) => write!(f, "ServiceCIDR {name}"),
            Self::CiliumNode(name) => write!(f, "CiliumNode {name}"),
            Self::PodIpPool(name) => write!(f, "CiliumPodIPPool {name}"),
        }
    }
}

impl Object {
    /// When the object was created, where its kind keeps that. 0 in an object that came from a file
    /// without `creationTimestamp`: the source puts there the time when it first saw the object.
    pub fn created_mut(&mut self) -> Option<&mut UnixSeconds> {
        match self {
            Self::Pool(pool) => Some(&mut pool.created),
            Self::Service(service) => Some(&mut service.created),
            Self::BgpClusterConfig(config) => Some(&mut config.created),
            _ => None,
        }
    }

    /// The object's name.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        match self {
            Self::Pool(pool) => ObjectRef::Pool(pool.name.clone()),
            Self::Service(service) => ObjectRef::Service(service.key.clone()),
            Self::EndpointSlice(slice) => ObjectRef::EndpointSlice(slice.key.clone()),
            Self::Node(node) => ObjectRef::Node(node.name.clone()),
            Self::BgpClusterConfig(one) => ObjectRef::BgpClusterConfig(one.name.clone()),
            Self::BgpPeerConfig(one) => ObjectRef::BgpPeerConfig(one.name.clone()),
            Self::BgpAdvertisement(one) => ObjectRef::BgpAdvertisement(one.name.clone()),
            Self::BgpNodeConfig(one) => ObjectRef::BgpNodeConfig(one.name.clone()),
            Self::BgpNodeConfigOverride(one) => ObjectRef::BgpNodeConfigOverride(one.name.clone()),
            Self::L2AnnouncementPolicy(one) => ObjectRef::L2AnnouncementPolicy(one.name.clone()),
            Self::Secret(secret) => ObjectRef::Secret(secret.key.clone()),
            Self::ServiceCidr(one) => ObjectRef::ServiceCidr(one.name.clone()),
            Self::CiliumNode(one) => ObjectRef::CiliumNode(one.name.clone()),
            Self::PodIpPool(one) => ObjectRef::PodIpPool(one.name.clone()),
        }
    }
}

/// The operator of a label requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label's value is one of the values.
    In,
    /// The label is absent or its value is none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label's value is a whole number above the value. In selectors of one line alone.
    Gt,
    /// The label's value is a whole number below the value. In selectors of one line alone.
    Lt,
}

/// One entry of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: BTreeSet<String>,
}

impl Requirement {
    /// Whether label and value are whole numbers of which `holds` is true.
    fn compares(&self, label: Option<&str>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        let Some(label) = label.and_then(number) else { return false };
        self.values.iter().filter_map(|value| number(value)).any(|value| holds(label, value))
    }
}

/// A label selector: every part must hold; the empty one selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// `matchLabels`.
    pub match_labels: Labels,
    /// `matchExpressions`.
    pub match_expressions: Vec<Requirement>,
}

impl Selector {
    /// Whether the labels, asked for one by one, satisfy every part.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.match_labels.iter().all(|(key, value)| label(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| {
                let found = label(&requirement.key);
                match requirement.operator {
                    Operator::In => found.is_some_and(|value| requirement.values.contains(value)),
                    Operator::NotIn => found.is_none_or(|value| !requirement.values.contains(value)),
                    Operator::Exists => found.is_some(),
                    Operator::DoesNotExist => found.is_none(),
                    Operator::Gt => requirement.compares(found, |label, value| label > value),
                    Operator::Lt => requirement.compares(found, |label, value| label < value),
                }
            })
    }

    /// Whether `labels` satisfy every part.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }
}

/// One block of a pool: a CIDR, or an inclusive range of one family with first ≤ last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Block {
    /// `cidr`, host bits masked off.
    Cidr(Prefix),
    /// `start` and `stop`, or `start` alone for one address.
    Range {
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
    },
}

impl Block {
    /// The first and the last address.
    #[must_use]
    pub fn bounds(self) -> (IpAddr, IpAddr) {
        match self {
            Self::Cidr(prefix) => (prefix.addr(), prefix.last()),
            Self::Range { first, last } => (first, last),
        }
    }

    /// The family.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.bounds().0)
    }
}

/// CiliumLoadBalancerIPPool, v2 or v2alpha1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Name.
    pub name: String,
    /// When it was created; the elder of two conflicting pools wins.
    pub created: UnixSeconds,
    /// Generation, for conditions.
    pub generation: i64,
    /// The object's own labels, which an advertisement's `poolSelector` matches.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// The Services it serves; absent is every Service.
    pub selector: Option<Selector>,
    /// Blocks in the order given, without those in `faults`.
    pub blocks: Vec<Block>,
    /// `allowFirstLastIPs: No`: the first and last address of a CIDR block of more than two are reserved.
    pub reserve_first_last: bool,
    /// No new allocations.
    pub disabled: bool,
    /// What could not be parsed, each with its path (`spec.blocks[1].cidr`): a pool with a fault hands out
    /// no new address and announces nothing, and a condition says why.
    pub faults: Vec<String>,
    /// `status.conditions`: what is recorded. No part of the pool's content.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// `spec.externalTrafficPolicy` and `spec.internalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Every node takes traffic.
    #[default]
    Cluster,
    /// Only nodes with an endpoint take traffic.
    Local,
}

/// `spec.ipFamilyPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum IpFamilyPolicy {
    /// One family; also where the field is absent.
    #[default]
    SingleStack,
    /// Both where possible.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

/// A port of a Service, as far as two Services on one address can clash by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServicePort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: u16,
}

/// A condition of a Service or pool as it stands in its status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type, for example `cilium.io/IPAMRequestSatisfied`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason, in one word.
    pub reason: String,
    /// Message.
    pub message: String,
    /// The generation that it speaks of.
    pub observed_generation: i64,
    /// `lastTransitionTime`: since when it has this status. 0: unknown, or for whoever writes it to fill in.
    #[serde(default)]
    pub since: UnixSeconds,
}

impl Condition {
    /// Whether the two say the same, since whenever.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { kind, status, reason, message, observed_generation, since: _ } = self;
        *kind == other.kind
            && *status == other.status
            && *reason == other.reason
            && *message == other.message
            && *observed_generation == other.observed_generation
    }
}

/// The finalizer by which whoever provides load balancers holds a Service until nothing leads to it any more.
pub const CLEANUP_FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

/// The annotation that stands beside [`CLEANUP_FINALIZER`] where it is ours.
pub const CLEANUP_MARK: &str = "speaker.holds-deleted";

/// Whose [`CLEANUP_FINALIZER`] a Service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cleanup {
    /// It has none.
    #[default]
    None,
    /// Ours: the mark is beside it.
    Ours,
    /// Somebody else's, who takes it away.
    Others,
}

/// Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// When it was created; the elder of two claimants of an address wins.
    pub created: UnixSeconds,
    /// Generation, for conditions.
    pub generation: i64,
    /// Being deleted.
    pub deleting: bool,
    /// Who holds it once it is deleted, by [`CLEANUP_FINALIZER`].
    #[serde(default)]
    pub cleanup: Cleanup,
    /// Its own labels, without the two that selectors see besides ([`Service::label`]).
    pub labels: Labels,
    /// Its annotations, those alone that the speaker reads.
    pub annotations: Labels,
    /// `spec.type` is LoadBalancer.
    pub load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// `spec.loadBalancerIP`, as written.
    pub load_balancer_ip: Option<String>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.clusterIPs`, headless excepted.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ipFamilies`.
    pub ip_families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: IpFamilyPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.selector`.
    pub selector: Labels,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `status.loadBalancer.ingress[].ip`: what is recorded. Only these are ever announced.
    pub ingress: Vec<IpAddr>,
    /// `ingress` was last written by us, as `metadata.managedFields` has it: whoever wrote something else since is
    /// its manager.
    #[serde(default)]
    pub ingress_ours: bool,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// The name under which the operator writes (`metadata.managedFields`).
pub const OPERATOR_MANAGER: &str = "speaker-operator";

/// The label that selectors see for a Service's name.
pub const SERVICE_NAME_LABEL: &str = "io.kubernetes.service.name";
/// The label that selectors see for a Service's namespace.
pub const SERVICE_NAMESPACE_LABEL: &str = "io.kubernetes.service.namespace";

impl Service {
    /// The value of a label as selectors see it: its own labels, and the two injected ones, which no
    /// label of its own can override.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        match key {
            SERVICE_NAME_LABEL => Some(&self.key.name),
            SERVICE_NAMESPACE_LABEL => Some(&self.key.namespace),
            other => self.labels.get(other).map(String::as_str),
        }
    }

    /// Whether `selector` selects this Service.
    #[must_use]
    pub fn selected_by(&self, selector: &Selector) -> bool {
        selector.matches_by(|key| self.label(key))
    }
}
