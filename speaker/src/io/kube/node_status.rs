//! Writes of the status of this node's CiliumBGPNodeConfig.

use std::time::Duration;

use kube::api::{Patch as Body, PatchParams};
use kube::core::Request;
use kube::{Client, Error};
use serde_json::Value as Json;
use tokio::time::timeout;

use super::{ObjectKind, lost_version};
use crate::metrics::errors::{Component, failed};

/// In whose name the fields are written (`managedFields`).
const MANAGER: &str = "speaker-agent";
/// How long a write may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is stored.
    Stored,
    /// It is not; why is logged.
    Not,
}

/// Writes by server-side apply, which leaves conditions of others alone; the uid in the body keeps it from an
/// object that took the place of the one it speaks of.
pub(crate) struct StatusWriter {
    client: Client,
    /// The version in use, as a place among those of the kind.
    version: usize,
    /// What was last said of a failure: it is logged once.
    told: Option<String>,
}

impl StatusWriter {
    /// One that has written nothing.
    pub(crate) const fn new(client: Client) -> Self {
        Self { client, version: 0, told: None }
    }

    /// Writes `metadata` and `status` to the object `name`.
    pub(crate) async fn write(&mut self, name: &str, mut body: Json) -> Written {
        let resource = ObjectKind::BGP_NODE_CONFIGS.resource;
        let version = resource.versions.get(self.version).copied().unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("apiVersion".to_owned(), resource.api_version(version).into());
            fields.insert("kind".to_owned(), resource.kind.into());
        }
        match timeout(LIMIT, self.send(version, name, &body)).await {
            Ok(Ok(_)) => {
                self.told = None;
                Written::Stored
            }
            // The object is gone, or another version of the API is the one that is served.
            Ok(Err(Error::Api(status))) if status.code == 404 => {
                self.version = (self.version + 1) % resource.versions.len().max(1);
                Written::Not
            }
            // Another object has its name by now: the watch will bring it.
            Ok(Err(Error::Api(status))) if status.code == 409 => Written::Not,
            Ok(Err(Error::Api(status))) if status.code == 403 => self.not(format!(
                "not allowed: {}; the agent's ServiceAccount needs the verb patch on {}/status",
                status.message, resource.plural
            )),
            Ok(Err(error)) => self.not(error.to_string()),
            Err(_) => self.not(format!("no answer for {LIMIT:?}")),
        }
    }

    /// Sends it; where the bookkeeping of the object stands in the way, once more without that.
    async fn send(&self, version: &str, name: &str, body: &Json) -> kube::Result<Json> {
        let resource = ObjectKind::BGP_NODE_CONFIGS.resource;
        let params = PatchParams { force: true, ..PatchParams::apply(MANAGER) };
        let to = Request::new(resource.path(version, None));
        let write = || {
            let request = to.patch_subresource("status", name, &params, &Body::Apply(body));
            request.map_err(Error::BuildRequest)
        };
        match self.client.request(write()?).await {
            Err(Error::Api(status)) if lost_version::stands_in_the_way(&status) => {
                let metadata = body.get("metadata").cloned().unwrap_or_default();
                let way = lost_version::make_way(&resource, version, name, MANAGER, &metadata);
                self.client.request::<Json>(way.map_err(Error::BuildRequest)?).await?;
                self.client.request(write()?).await
            }
            other => other,
        }
    }

    fn not(&mut self, why: String) -> Written {
        failed(Component::Kubernetes);
        if self.told.as_ref() != Some(&why) {
            tracing::warn!("the status of the CiliumBGPNodeConfig is not written: {why}");
            self.told = Some(why);
        }
        Written::Not
    }
}
