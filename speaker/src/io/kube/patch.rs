//! Writes of statuses and finalizers: each on top of the version that was decided on, none but our fields.

use std::time::Duration;

use kube::api::{Patch as Body, PatchParams};
use kube::core::Request;
use kube::{Client, Error};
use serde::Deserialize;
use speaker_config::objects::ObjectRef;
use speaker_core::operator::{Outcome, Patch, PatchKind};
use tokio::time::timeout;

use super::ObjectKind;

/// In whose name the fields are written (`managedFields`).
pub(crate) const MANAGER: &str = "speaker-operator";

/// What of the answer matters.
#[derive(Deserialize)]
struct Answer {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "resourceVersion")]
    resource_version: String,
}

/// Makes one write. `pools` is the version in which the API serves pools. Why a write failed is logged here.
pub(crate) async fn write(client: &Client, patch: &Patch, pools: &str, limit: Duration) -> Outcome {
    let request = match request(patch, pools) {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(object = %patch.target, %error, "it cannot be written");
            return Outcome::Failed;
        }
    };
    match timeout(limit, client.request::<Answer>(request)).await {
        Ok(Ok(answer)) => Outcome::Written { resource_version: answer.metadata.resource_version },
        Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => {
            tracing::debug!(object = %patch.target, code = status.code, "the object has changed: decided again");
            Outcome::Conflict
        }
        Ok(Err(Error::Api(status))) if status.code == 403 => {
            tracing::warn!(
                object = %patch.target,
                "not allowed: {}; the operator's ServiceAccount needs the verb patch on {}",
                status.message,
                match patch.subresource() {
                    Some(_) => "the status",
                    None => "services, to set and take back finalizers (operator.holdDeleted)",
                }
            );
            Outcome::Failed
        }
        Ok(Err(error)) => {
            tracing::warn!(object = %patch.target, %error, "it is not written: it is tried again");
            Outcome::Failed
        }
        Err(_) => {
            tracing::warn!(object = %patch.target, "no answer to a write for {limit:?}: it is tried again");
            Outcome::Failed
        }
    }
}

fn request(patch: &Patch, pools: &str) -> Result<hyper::Request<Vec<u8>>, String> {
    let (kind, version, namespace, name) = match &patch.target {
        ObjectRef::Service(key) => (ObjectKind::SERVICES, "v1", Some(key.namespace.as_str()), &key.name),
        ObjectRef::Pool(name) => (ObjectKind::POOLS, pools, None, name),
        other => return Err(format!("{other} is not ours to write")),
    };
    let path = kind.resource.path(version, namespace);
    let body = patch.body(&kind.resource.api_version(version));
    let body = match patch.kind() {
        PatchKind::StrategicMerge => Body::Strategic(body),
        PatchKind::Apply => Body::Apply(body),
    };
    let mut params = PatchParams::apply(MANAGER);
    params.force = patch.kind() == PatchKind::Apply;
    let request = Request::new(path);
    let request = match patch.subresource() {
        Some(part) => request.patch_subresource(part, name, &params, &body),
        None => request.patch(name, &params, &body),
    };
    request.map_err(|error| error.to_string())
}
