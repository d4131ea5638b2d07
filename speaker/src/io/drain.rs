//! Where an operator's word to drain this node is kept over restarts: on the Node in Kubernetes, in the state
//! folder on a host.

use std::io;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use speaker_core::drain::{ANNOTATION, Order};

/// The file in `ipam.stateDir`.
const FILE: &str = "drain";

/// The one place where it is kept.
#[derive(Clone)]
pub enum Keeper {
    /// A file of this folder.
    Folder(PathBuf),
    /// The annotation of this Node.
    Node {
        /// The way to the API server.
        client: Client,
        /// The Node.
        name: String,
    },
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => f.debug_tuple("Folder").field(path).finish(),
            Self::Node { name, .. } => f.debug_tuple("Node").field(name).finish(),
        }
    }
}

impl Keeper {
    /// What a host's folder holds. A Node tells by the watch.
    #[must_use]
    pub fn restored(&self) -> Option<Order> {
        let Self::Folder(folder) = self else { return None };
        let text = std::fs::read_to_string(folder.join(FILE)).ok()?;
        let order = text.parse().ok();
        if order.is_none() {
            tracing::warn!("{} says nothing that is known: {text:?}", folder.join(FILE).display());
        }
        order
    }

    /// Keeps an order, or forgets it.
    ///
    /// # Errors
    /// In words: it is not kept, and therefore not in force.
    pub async fn keep(&self, order: Option<Order>) -> Result<(), String> {
        match self {
            Self::Folder(folder) => write(folder, order)
                .map_err(|error| format!("cannot write {}: {error}", folder.join(FILE).display())),
            Self::Node { client, name } => {
                let value = order.map(|order| order.to_string());
                let patch = serde_json::json!({ "metadata": { "annotations": { ANNOTATION: value } } });
                let nodes: Api<Node> = Api::all(client.clone());
                let patched = nodes.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await;
                patched.map(drop).map_err(|error| {
                    let hint = match &error {
                        kube::Error::Api(status) if status.code == 403 => {
                            "; the speaker's ServiceAccount needs the verb patch on nodes"
                        }
                        _ => "",
                    };
                    format!("the annotation {ANNOTATION} of Node {name} cannot be written: {error}{hint}")
                })
            }
        }
    }
}

fn write(folder: &std::path::Path, order: Option<Order>) -> io::Result<()> {
    let file = folder.join(FILE);
    match order {
        Some(order) => {
            let new = folder.join(format!("{FILE}.new"));
            std::fs::write(&new, format!("{order}\n"))?;
            std::fs::rename(new, file)
        }
        None => match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hosts_order_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::Folder(folder.path().to_owned());
        assert_eq!(keeper.restored(), None);
        let order = Order { since: 5, lasts: 60 };
        keeper.keep(Some(order)).await.unwrap();
        assert_eq!(keeper.restored(), Some(order));
        keeper.keep(None).await.unwrap();
        keeper.keep(None).await.unwrap();
        assert_eq!(keeper.restored(), None);
        let away = Keeper::Folder(folder.path().join("away"));
        let error = away.keep(Some(order)).await.unwrap_err();
        assert!(error.contains("away/drain"), "{error}");
    }
}
