//! Writes: each on top of the version that was decided on, none but our fields.

use std::time::Duration;

use kube::api::{DeleteParams, Patch as Body, PatchParams, PostParams, Preconditions};
use kube::core::{Request, request};
use kube::{Client, Error};
use serde::Deserialize;
use serde_json::json;
use speaker_config::objects::{OPERATOR_MANAGER, ObjectRef};
use speaker_core::operator::{Outcome, Patch, PatchKind, Version};
use tokio::time::timeout;

use super::kind::Resource;
use super::{ObjectKind, lost_version};

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
    match timeout(limit, send(client, patch, version)).await {
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

/// Sends it; where it is an apply that the bookkeeping of the object stands in the way of, once more without that.
async fn send(client: &Client, patch: &Patch, version: &str) -> kube::Result<Answer> {
    let lost = match client.request(request(patch, version).map_err(Error::BuildRequest)?).await {
        Err(Error::Api(status))
            if patch.kind() == PatchKind::Apply && lost_version::stands_in_the_way(&status) =>
        {
            status
        }
        other => return other,
    };
    let (resource, _, name) = place(&patch.target).map_err(Error::BuildRequest)?;
    let Version { uid, resource_version } = &patch.version;
    let metadata = json!({"uid": uid, "resourceVersion": resource_version});
    let way = lost_version::make_way(&resource, version, name, MANAGER, &metadata);
    let cleared: Answer = client.request(way.map_err(Error::BuildRequest)?).await?;
    tracing::info!(object = %patch.target, "managedFields are reset, which could not be converted: {}", lost.message);
    let version_now = Version { uid: uid.clone(), resource_version: cleared.metadata.resource_version };
    let again = Patch { version: version_now, ..patch.clone() };
    client.request(request(&again, version).map_err(Error::BuildRequest)?).await
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

/// Where the API serves an object that is written to, its namespace and its name.
fn place(target: &ObjectRef) -> Result<(Resource, Option<&str>, &str), request::Error> {
    let (namespace, name) = match target {
        ObjectRef::Service(key) => (Some(key.namespace.as_str()), key.name.as_str()),
        ObjectRef::Pool(name)
        | ObjectRef::BgpClusterConfig(name)
        | ObjectRef::BgpPeerConfig(name)
        | ObjectRef::BgpNodeConfig(name)
        | ObjectRef::L2AnnouncementPolicy(name) => (None, name.as_str()),
        _ => (None, ""),
    };
    let kind = kind(target).ok_or_else(|| request::Error::Validation(format!("{target} is not ours")))?;
    Ok((kind.resource, namespace, name))
}

fn request(patch: &Patch, version: &str) -> Result<hyper::Request<Vec<u8>>, request::Error> {
    let (resource, namespace, name) = place(&patch.target)?;
    let to = Request::new(resource.path(version, namespace));
    let body = patch.body(&resource.api_version(version));
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
}
