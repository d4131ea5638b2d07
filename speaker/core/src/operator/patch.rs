//! What is written into an object's status, and how.

use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};
use speaker_config::objects::{
    CLEANUP_FINALIZER, CLEANUP_MARK, Condition, ObjectRef, Pool, Service, UnixSeconds,
};

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
    /// The version that was decided on.
    pub version: Version,
    /// What is to be there.
    pub change: Change,
}

/// How the body of a [`Patch`] is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// A strategic merge patch, which knows that conditions are a map by `type`. Core kinds alone take it.
    StrategicMerge,
    /// Server-side apply, which knows it from the schema.
    Apply,
}

/// What is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Of a Service.
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
    /// Of a pool: all of our conditions.
    Pool {
        /// The conditions.
        conditions: Vec<Condition>,
    },
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
        let recorded = |kind: &str| pool.conditions.iter().find(|condition| condition.kind == kind);
        let same =
            |wanted: &Condition| recorded(&wanted.kind).is_some_and(|known| known.says_the_same(wanted));
        let ours = pool.conditions.iter().filter(|known| POOL_CONDITIONS.contains(&&*known.kind)).count();
        if ours == status.conditions.len() && status.conditions.iter().all(same) {
            return None;
        }
        let dated = status.conditions.iter().map(|wanted| dated(wanted, recorded(&wanted.kind), now));
        Some(Self::Pool { conditions: dated.collect() })
    }
}

/// "The last time the condition transitioned from one status to another" (metav1.Condition): a new message alone
/// changes no time.
fn dated(wanted: &Condition, known: Option<&Condition>, now: UnixSeconds) -> Condition {
    let kept = known.filter(|known| known.status == wanted.status && known.since != 0);
    Condition { since: kept.map_or(now, |known| known.since), ..wanted.clone() }
}

fn condition(condition: &Condition) -> Json {
    let Condition { kind, status, reason, message, observed_generation, since } = condition;
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": observed_generation, "lastTransitionTime": rfc3339(*since),
    })
}

impl Patch {
    /// How the body is to be sent.
    #[must_use]
    pub fn kind(&self) -> PatchKind {
        match self.change {
            Change::Service { .. } | Change::Finalizer { .. } => PatchKind::StrategicMerge,
            Change::Pool { .. } => PatchKind::Apply,
        }
    }

    /// What of the object is written: `status`, or the object itself.
    #[must_use]
    pub fn subresource(&self) -> Option<&'static str> {
        match self.change {
            Change::Service { .. } | Change::Pool { .. } => Some("status"),
            Change::Finalizer { .. } => None,
        }
    }

    /// The body of the request, in the version of its API that is served.
    #[must_use]
    pub fn body(&self, api_version: &str) -> Json {
        let version = &self.version.resource_version;
        match &self.change {
            Change::Service { ingress, set, remove } => {
                let removed = remove.iter().map(|kind| json!({"$patch": "delete", "type": kind}));
                let conditions: Vec<Json> = set.iter().map(condition).chain(removed).collect();
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
            Change::Pool { conditions } => {
                let name = match &self.target {
                    ObjectRef::Pool(name) => name.as_str(),
                    _ => "",
                };
                let conditions: Vec<Json> = conditions.iter().map(condition).collect();
                json!({
                    "apiVersion": api_version, "kind": "CiliumLoadBalancerIPPool",
                    "metadata": {"name": name, "resourceVersion": version},
                    "status": {"conditions": conditions},
                })
            }
        }
    }
}
