//! The kinds that are watched: where the API serves them, and how they are read.

use std::fmt;

use serde_json::Value as Json;
use speaker_config::kubernetes::{self, FieldError};
use speaker_config::manifest;
use speaker_config::objects::{Object, ObjectKey, ObjectRef};
use speaker_core::ipam::Held;

/// Where the API serves a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resource {
    /// The group; empty for the core group.
    pub(crate) group: &'static str,
    /// The versions that we read, the best first: an older Cilium serves the last alone.
    pub(crate) versions: &'static [&'static str],
    /// `kind`.
    pub(crate) kind: &'static str,
    /// Its name in the path.
    pub(crate) plural: &'static str,
    /// Defined by a CustomResourceDefinition, so that it may be missing or removed.
    pub(crate) custom: bool,
}

impl Resource {
    /// `v1`, `cilium.io/v2`.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The path of the kind's group and version.
    pub(crate) fn root(&self, version: &str) -> String {
        if self.group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{}/{version}", self.group)
        }
    }

    /// The path of its objects: everywhere, or in one namespace.
    pub(crate) fn path(&self, version: &str, namespace: Option<&str>) -> String {
        let (root, plural) = (self.root(version), self.plural);
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

/// Namespace and name in one allocation: `default/web`, or `worker-1` where the kind has no namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(Box<str>);

impl Name {
    /// Of an object as the API gives it; `None` where it has no name.
    pub(crate) fn of(object: &Json) -> Option<Self> {
        let text = |pointer| object.pointer(pointer).and_then(Json::as_str).filter(|text| !text.is_empty());
        let name = text("/metadata/name")?;
        Some(Self(match text("/metadata/namespace") {
            Some(namespace) => format!("{namespace}/{name}").into(),
            None => name.into(),
        }))
    }

    /// The two parts; the namespace is empty where the kind has none.
    pub(crate) fn key(&self) -> ObjectKey {
        let (namespace, name) = self.0.split_once('/').unwrap_or(("", &self.0));
        ObjectKey::new(namespace, name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How one kind is read.
pub(crate) trait Kind: Send + Sync + 'static {
    /// What is kept of an object.
    type Item: Send + 'static;
    /// What names one.
    type Reference: Send + 'static;

    /// Where the API serves it.
    fn resource(&self) -> Resource;

    /// Prunes an object.
    ///
    /// # Errors
    /// It cannot be used as it stands.
    fn read(&self, version: &str, object: &Json) -> Result<Self::Item, FieldError>;

    /// What a Service has that cannot be read as it stands.
    fn held(&self, _object: &Json) -> Option<Held> {
        None
    }

    /// Names an object.
    fn reference(&self, name: &Name) -> Self::Reference;
}

/// A kind whose objects are inputs of the world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectKind {
    /// Where the API serves it.
    pub(crate) resource: Resource,
    /// Names one of its objects.
    reference: fn(ObjectKey) -> ObjectRef,
}

impl Kind for ObjectKind {
    type Item = Object;
    type Reference = ObjectRef;

    fn resource(&self) -> Resource {
        self.resource
    }

    fn held(&self, object: &Json) -> Option<Held> {
        if self.resource != Self::SERVICES.resource {
            return None;
        }
        let (service, created, addresses) = kubernetes::recorded_service(object)?;
        Some(Held { service, created, addresses })
    }

    fn read(&self, version: &str, object: &Json) -> Result<Object, FieldError> {
        let (version, kind) = (self.resource.api_version(version), self.resource.kind);
        manifest::object(&version, kind, object).unwrap_or_else(|| {
            Err(FieldError {
                path: "apiVersion".to_owned(),
                message: format!("{version} {kind} is not read"),
            })
        })
    }

    fn reference(&self, name: &Name) -> ObjectRef {
        (self.reference)(name.key())
    }
}

impl ObjectKind {
    /// Services.
    pub(crate) const SERVICES: Self = Self {
        resource: Resource {
            group: "",
            versions: &["v1"],
            kind: "Service",
            plural: "services",
            custom: false,
        },
        reference: ObjectRef::Service,
    };
    /// EndpointSlices; `kubernetes.io/service-name` selects those that belong to a Service.
    pub(crate) const ENDPOINT_SLICES: Self = Self {
        resource: Resource {
            group: "discovery.k8s.io",
            versions: &["v1"],
            kind: "EndpointSlice",
            plural: "endpointslices",
            custom: false,
        },
        reference: ObjectRef::EndpointSlice,
    };
    /// Nodes.
    pub(crate) const NODES: Self = Self {
        resource: Resource { group: "", versions: &["v1"], kind: "Node", plural: "nodes", custom: false },
        reference: |key| ObjectRef::Node(key.name),
    };
    /// ServiceCIDRs: built in since Kubernetes 1.33, so that they may be unknown.
    pub(crate) const SERVICE_CIDRS: Self = Self {
        resource: Resource {
            group: "networking.k8s.io",
            versions: &["v1", "v1beta1"],
            kind: "ServiceCIDR",
            plural: "servicecidrs",
            custom: false,
        },
        reference: |key| ObjectRef::ServiceCidr(key.name),
    };
    /// Secrets: asked for one by one, in one namespace.
    pub(crate) const SECRETS: Self = Self {
        resource: Resource { group: "", versions: &["v1"], kind: "Secret", plural: "secrets", custom: false },
        reference: ObjectRef::Secret,
    };
    /// CiliumLoadBalancerIPPools. Cilium before 1.18 serves v2alpha1 alone.
    pub(crate) const POOLS: Self = Self {
        resource: Resource {
            group: "cilium.io",
            versions: &["v2", "v2alpha1"],
            kind: "CiliumLoadBalancerIPPool",
            plural: "ciliumloadbalancerippools",
            custom: true,
        },
        reference: |key| ObjectRef::Pool(key.name),
    };
    /// CiliumNodes, one a node where Cilium is the network.
    pub(crate) const CILIUM_NODES: Self = Self {
        resource: Resource {
            group: "cilium.io",
            versions: &["v2"],
            kind: "CiliumNode",
            plural: "ciliumnodes",
            custom: true,
        },
        reference: |key| ObjectRef::CiliumNode(key.name),
    };
    /// CiliumPodIPPools, where Cilium's multi-pool IPAM is on.
    pub(crate) const POD_IP_POOLS: Self = Self {
        resource: Resource {
            group: "cilium.io",
            versions: &["v2alpha1", "v2"],
            kind: "CiliumPodIPPool",
            plural: "ciliumpodippools",
            custom: true,
        },
        reference: |key| ObjectRef::PodIpPool(key.name),
    };
    /// CiliumL2AnnouncementPolicies.
    pub(crate) const L2_POLICIES: Self = Self {
        resource: Resource {
            group: "cilium.io",
            versions: &["v2alpha1"],
            kind: "CiliumL2AnnouncementPolicy",
            plural: "ciliuml2announcementpolicies",
            custom: true,
        },
        reference: |key| ObjectRef::L2AnnouncementPolicy(key.name),
    };
    /// CiliumBGPNodeConfigs, one a node.
    pub(crate) const BGP_NODE_CONFIGS: Self = Self {
        resource: cilium_bgp("CiliumBGPNodeConfig", "ciliumbgpnodeconfigs"),
        reference: |key| ObjectRef::BgpNodeConfig(key.name),
    };
    /// CiliumBGPClusterConfigs.
    pub(crate) const BGP_CLUSTER_CONFIGS: Self = Self {
        resource: cilium_bgp("CiliumBGPClusterConfig", "ciliumbgpclusterconfigs"),
        reference: |key| ObjectRef::BgpClusterConfig(key.name),
    };
    /// CiliumBGPNodeConfigOverrides, one a node.
    pub(crate) const BGP_OVERRIDES: Self = Self {
        resource: cilium_bgp("CiliumBGPNodeConfigOverride", "ciliumbgpnodeconfigoverrides"),
        reference: |key| ObjectRef::BgpNodeConfigOverride(key.name),
    };
    /// CiliumBGPPeerConfigs.
    pub(crate) const BGP_PEER_CONFIGS: Self = Self {
        resource: cilium_bgp("CiliumBGPPeerConfig", "ciliumbgppeerconfigs"),
        reference: |key| ObjectRef::BgpPeerConfig(key.name),
    };
    /// CiliumBGPAdvertisements.
    pub(crate) const BGP_ADVERTISEMENTS: Self = Self {
        resource: cilium_bgp("CiliumBGPAdvertisement", "ciliumbgpadvertisements"),
        reference: |key| ObjectRef::BgpAdvertisement(key.name),
    };
}

/// A kind of Cilium's BGP control plane.
const fn cilium_bgp(kind: &'static str, plural: &'static str) -> Resource {
    Resource { group: "cilium.io", versions: &["v2", "v2alpha1"], kind, plural, custom: true }
}
