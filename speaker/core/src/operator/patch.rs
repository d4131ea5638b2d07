//! What is written into objects, and how.

use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};
use speaker_config::objects::{
    CLEANUP_FINALIZER, CLEANUP_MARK, Condition, ObjectRef, Pool, Service, UnixSeconds,
};

use crate::cilium::operator::{CLUSTER_CONFIG, NodeConfigWrite};
use crate::ipam::{POOL_CONDITIONS, PoolStatus, SATISFIED};
use crate::node_ipam::NODE_SATISFIED;
use crate::rfc3339;

/// Conditions of a Service that are ours, whoever of us they come from.
pub(super) const OURS: [&str; 2] = [SATISFIED, NODE_SATISFIED];

/// Which object, and which version of it a write is made for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// One write. Whoever wrote the object since wins: the API server refuses it then (409).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The object.
    pub target: ObjectRef,
    /// The version that was decided on; empty where the object is to be created.
    pub version: Version,
    /// What is to be there.
    pub change: Change,
}

/// How a [`Patch`] is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// A strategic merge patch, which knows that conditions are a map by `type`. Core kinds alone take it.
    StrategicMerge,
    /// Server-side apply of the status, which knows it from the schema.
    Apply,
    /// The body is a new object.
    Create,
    /// A merge patch of the object (RFC 7396).
    Merge,
    /// The object is to go; there is no body.
    Delete,
}

/// What is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The status of a Service.
    Service {
        /// The whole of `status.loadBalancer.ingress`; absent: it stays.
        ingress: Option<Vec<IpAddr>>,
        /// Conditions to set, ours alone.
        set: Vec<Condition>,
        /// Types of conditions to remove.
        remove: Vec<&'static str>,
    },
    /// The finalizer of a Service by which it is held when it is deleted, with our mark: set, or taken back.
    Finalizer {
        /// Set.
        set: bool,
    },
    /// The status of a pool, a CiliumBGPClusterConfig, a CiliumBGPPeerConfig or a CiliumL2AnnouncementPolicy: all of our conditions.
    Conditions {
        /// The conditions.
        conditions: Vec<Condition>,
    },
    /// A CiliumBGPNodeConfig that is not there.
    Create(NodeConfigWrite),
    /// Owner and specification of a CiliumBGPNodeConfig that is there.
    Spec(NodeConfigWrite),
    /// No CiliumBGPNodeConfig.
    Delete,
}

impl Change {
    /// What makes a Service's status what it is to be; `None`: it is that already. `now` is noted at a condition
    /// whose status changes.
    pub(super) fn service(
        service: &Service,
        ingress: &[IpAddr],
        conditions: &[Condition],
        now: UnixSeconds,
    ) -> Option<Self> {
        let recorded = |kind: &str| service.conditions.iter().find(|condition| condition.kind == kind);
        let set: Vec<Condition> = conditions
            .iter()
            .filter(|wanted| !recorded(&wanted.kind).is_some_and(|known| known.says_the_same(wanted)))
            .map(|wanted| dated(wanted, recorded(&wanted.kind), now))
            .collect();
        let wanted = |kind: &str| conditions.iter().any(|condition| condition.kind == kind);
        let remove: Vec<_> =
            OURS.into_iter().filter(|kind| recorded(kind).is_some() && !wanted(kind)).collect();
        let ingress = (service.ingress != ingress).then(|| ingress.to_vec());
        let differs = ingress.is_some() || !set.is_empty() || !remove.is_empty();
        differs.then_some(Self::Service { ingress, set, remove })
    }

    /// The same for a pool.
    pub(super) fn pool(pool: &Pool, status: &PoolStatus, now: UnixSeconds) -> Option<Self> {
        conditions(&POOL_CONDITIONS, &pool.conditions, &status.conditions, now)
    }
}

/// What makes our conditions, those of types `ours`, among the `recorded` ones what is `wanted`; `None`: they are
/// that already.
pub(super) fn conditions(
    ours: &[&str],
    recorded: &[Condition],
    wanted: &[Condition],
    now: UnixSeconds,
) -> Option<Change> {
    let known = |kind: &str| recorded.iter().find(|condition| condition.kind == kind);
    let same = |wanted: &Condition| known(&wanted.kind).is_some_and(|known| known.says_the_same(wanted));
    let count = recorded.iter().filter(|known| ours.contains(&&*known.kind)).count();
    if count == wanted.len() && wanted.iter().all(same) {
        return None;
    }
    let dated = wanted.iter().map(|wanted| dated(wanted, known(&wanted.kind), now));
    Some(Change::Conditions { conditions: dated.collect() })
}

/// "The last time the condition transitioned from one status to another" (metav1.Condition): a new message alone
/// changes no time.
pub(crate) fn dated(wanted: &Condition, known: Option<&Condition>, now: UnixSeconds) -> Condition {
    let kept = known.filter(|known| known.status == wanted.status && known.since != 0);
    Condition { since: kept.map_or(now, |known| known.since), ..wanted.clone() }
}

pub(crate) fn condition_json(condition: &Condition) -> Json {
    let Condition { kind, status, reason, message, observed_generation, since } = condition;
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": observed_generation, "lastTransitionTime": rfc3339(*since),
    })
}

impl Patch {
    /// How it is to be sent.
    #[must_use]
    pub const fn kind(&self) -> PatchKind {
        match self.change {
            Change::Service { .. } | Change::Finalizer { .. } => PatchKind::StrategicMerge,
            Change::Conditions { .. } => PatchKind::Apply,
            Change::Create(_) => PatchKind::Create,
            Change::Spec(_) => PatchKind::Merge,
            Change::Delete => PatchKind::Delete,
        }
    }

    /// What of the object is written: `status`, or the object itself.
    #[must_use]
    pub const fn subresource(&self) -> Option<&'static str> {
        match self.change {
            Change::Service { .. } | Change::Conditions { .. } => Some("status"),
            Change::Finalizer { .. } | Change::Create(_) | Change::Spec(_) | Change::Delete => None,
        }
    }

    /// The body of the request, in the version of the object's API that is served.
    #[must_use]
    pub fn body(&self, api_version: &str) -> Json {
        let version = &self.version.resource_version;
        match &self.change {
            Change::Service { ingress, set, remove } => {
                let removed = remove.iter().map(|kind| json!({"$patch": "delete", "type": kind}));
                let conditions: Vec<Json> = set.iter().map(condition_json).chain(removed).collect();
                let mut status = Map::new();
                if !conditions.is_empty() {
                    status.insert("conditions".to_owned(), conditions.into());
                }
                if let Some(ingress) = ingress {
                    let entries: Vec<Json> = ingress.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
                    let entries = if entries.is_empty() { Json::Null } else { entries.into() };
                    status.insert("loadBalancer".to_owned(), json!({"ingress": entries}));
                }
                json!({"metadata": {"resourceVersion": version}, "status": status})
            }
            Change::Finalizer { set: true } => json!({"metadata": {
                "resourceVersion": version, "finalizers": [CLEANUP_FINALIZER],
                "annotations": {CLEANUP_MARK: "true"},
            }}),
            Change::Finalizer { set: false } => json!({"metadata": {
                "resourceVersion": version, "$deleteFromPrimitiveList/finalizers": [CLEANUP_FINALIZER],
                "annotations": {CLEANUP_MARK: null},
            }}),
            Change::Conditions { conditions } => {
                let (kind, name) = match &self.target {
                    ObjectRef::Pool(name) => ("CiliumLoadBalancerIPPool", name.as_str()),
                    ObjectRef::L2AnnouncementPolicy(name) => ("CiliumL2AnnouncementPolicy", name.as_str()),
                    ObjectRef::BgpClusterConfig(name) => (CLUSTER_CONFIG, name.as_str()),
                    ObjectRef::BgpPeerConfig(name) => ("CiliumBGPPeerConfig", name.as_str()),
                    _ => ("", ""),
                };
                let conditions: Vec<Json> = conditions.iter().map(condition_json).collect();
                json!({
                    "apiVersion": api_version, "kind": kind,
                    "metadata": {"name": name, "resourceVersion": version},
                    "status": {"conditions": conditions},
                })
            }
            Change::Create(wanted) => node_config(wanted, api_version),
            Change::Spec(wanted) => {
                let object = node_config(wanted, api_version);
                let owners = object.pointer("/metadata/ownerReferences").cloned().unwrap_or_default();
                let spec = object.get("spec").cloned().unwrap_or_default();
                json!({"metadata": {"resourceVersion": version, "ownerReferences": owners}, "spec": spec})
            }
            Change::Delete => Json::Null,
        }
    }
}

/// A CiliumBGPNodeConfig in a version of its API. What is written stands in both, in the same words.
fn node_config(wanted: &NodeConfigWrite, api_version: &str) -> Json {
    let mut object = wanted.object_json();
    for pointer in ["/apiVersion", "/metadata/ownerReferences/0/apiVersion"] {
        if let Some(text) = object.pointer_mut(pointer) {
            *text = api_version.into();
        }
    }
    object
}
