//! Objects whose `metadata.managedFields` name a version of the API that is served no more.
//!
//! For a server-side apply the API server converts the object into each version that is named there, and where it
//! cannot, the answer is 500. To other patches the bookkeeping is of less weight: what cannot be converted is dropped,
//! and the object stored without it (`FieldManager.UpdateNoErrors` of k8s.io/apimachinery). So a merge patch of the
//! status that changes nothing, on top of the same object, makes way for the apply.

use kube::api::{Patch, PatchParams};
use kube::core::{Request, Status, request};
use serde_json::{Value as Json, json};

use super::kind::Resource;

/// Whether this is the answer to an apply that met such an object.
pub(super) fn stands_in_the_way(status: &Status) -> bool {
    status.code == 500 && status.message.contains("invalid group/version")
}

/// The patch that makes way. `metadata` says which object is meant: its uid, its version.
///
/// # Errors
/// The name is none.
pub(super) fn make_way(
    resource: &Resource,
    version: &str,
    name: &str,
    manager: &str,
    metadata: &Json,
) -> Result<hyper::Request<Vec<u8>>, request::Error> {
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let body = json!({"metadata": metadata});
    Request::new(resource.path(version, None)).patch_subresource("status", name, &params, &Patch::Merge(body))
}
