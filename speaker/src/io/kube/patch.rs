//! Writes: each on top of the version that was decided on, none but our fields.

use std::time::Duration;

use kube::api::{DeleteParams, Patch as Body, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use kube::{Client, Error};
use serde::Deserialize;
use speaker_config::objects::{OPERATOR_MANAGER, ObjectRef};
use speaker_core::operator::{Outcome, Patch, PatchKind};
use tokio::time::timeout;

use super::ObjectKind;

/// In whose name the fields are written (`managedFields`).
pub(crate) const MANAGER: &str = OPERATOR_MANAGER;

/// What of the answer matters.
#[derive(Deserialize)]
struct Answer {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "resourceVersion", default)]
    resource_version: String,
}

/// The kind of an object that is written to.
pub(crate) const fn kind(target: &ObjectRef) -> Option<ObjectKind> {
    match target {
        ObjectRef::Service(_) => Some(ObjectKind::SERVICES),
        ObjectRef::Pool(_) => Some(ObjectKind::POOLS),
        ObjectRef::BgpClusterConfig(_) => Some(ObjectKind::BGP_CLUSTER_CONFIGS),
        ObjectRef::BgpPeerConfig(_) => Some(ObjectKind::BGP_PEER_CONFIGS),
        ObjectRef::BgpNodeConfig(_) => Some(ObjectKind::BGP_NODE_CONFIGS),
        ObjectRef::L2AnnouncementPolicy(_) => Some(ObjectKind::L2_POLICIES),
        _ => None,
    }
}

/// Does one write. `version` is the one in which the API serves the kind. Why a write failed is logged here.
pub(crate) async fn write(client: &Client, patch: &Patch, version: &str, limit: Duration) -> Outcome {
    let object = &patch.target;
    let request = match request(patch, version) {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(%object, %error, "it cannot be written");
            return Outcome::Failed;
        }
    };
    match timeout(limit, client.request::<Answer>(request)).await {
        // Of a deletion the watch tells, which may have to wait for finalizers.
        Ok(Ok(_)) if patch.kind() == PatchKind::Delete => {
            Outcome::Written { resource_version: String::new() }
        }
        Ok(Ok(answer)) => Outcome::Written { resource_version: answer.metadata.resource_version },
        Ok(Err(Error::Api(status))) if status.code == 404 && patch.kind() == PatchKind::Create => {
            tracing::warn!(%object, "the API server does not know the kind: it is tried again");
            Outcome::Failed
        }
        Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => {
            tracing::debug!(%object, code = status.code, "the object has changed: decided again");
            Outcome::Conflict
        }
        Ok(Err(Error::Api(status))) if status.code == 403 => {
            tracing::warn!(
                %object,
                "not allowed: {}; the operator's ServiceAccount needs the verb {}",
                status.message, right(patch)
            );
            Outcome::Failed
        }
        Ok(Err(error)) => {
            tracing::warn!(%object, %error, "it is not written: it is tried again");
            Outcome::Failed
        }
        Err(_) => {
            tracing::warn!(%object, "no answer to a write for {limit:?}: it is tried again");
            Outcome::Failed
        }
    }
}

/// What RBAC calls it.
fn right(patch: &Patch) -> &'static str {
    match (patch.kind(), patch.subresource()) {
        (_, Some(_)) => "patch on the status",
        (PatchKind::StrategicMerge, None) => {
            "patch on services, to set and take back finalizers (operator.holdDeleted)"
        }
        (PatchKind::Apply | PatchKind::Merge, None) => "patch",
        (PatchKind::Create, None) => "create",
        (PatchKind::Delete, None) => "delete",
    }
}

fn request(patch: &Patch, version: &str) -> Result<hyper::Request<Vec<u8>>, String> {
    let Some(kind) = kind(&patch.target) else { return Err(format!("{} is not ours", patch.target)) };
    let (namespace, name) = match &patch.target {
        ObjectRef::Service(key) => (Some(key.namespace.as_str()), key.name.as_str()),
        ObjectRef::Pool(name)
        | ObjectRef::BgpClusterConfig(name)
        | ObjectRef::BgpPeerConfig(name)
        | ObjectRef::BgpNodeConfig(name)
        | ObjectRef::L2AnnouncementPolicy(name) => (None, name.as_str()),
        _ => (None, ""),
    };
    let to = Request::new(kind.resource.path(version, namespace));
    let body = patch.body(&kind.resource.api_version(version));
    let mut params = PatchParams::apply(MANAGER);
    let patched = |params: &PatchParams, body: &Body<_>| match patch.subresource() {
        Some(part) => to.patch_subresource(part, name, params, body),
        None => to.patch(name, params, body),
    };
    match patch.kind() {
        PatchKind::StrategicMerge => patched(&params, &Body::Strategic(body)),
        PatchKind::Apply => {
            params.force = true;
            patched(&params, &Body::Apply(body))
        }
        PatchKind::Merge => patched(&params, &Body::Merge(body)),
        PatchKind::Create => {
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            to.create(&params, body.to_string().into_bytes())
        }
        PatchKind::Delete => {
            let conditions = Preconditions {
                uid: Some(patch.version.uid.clone()),
                resource_version: Some(patch.version.resource_version.clone()),
            };
            to.delete(name, &DeleteParams::default().preconditions(conditions))
        }
    }
    .map_err(|error| error.to_string())
}
