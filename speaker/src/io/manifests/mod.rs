//! A watched folder of Kubernetes YAML that plays the API server's part: it delivers objects, and it
//! stores statuses and echoes them.

use std::net::IpAddr;
use std::path::PathBuf;

use bgp_proto::types::Timestamp;
use speaker_config::objects::{Condition, Object, ObjectKey, ObjectRef};
use tokio::sync::mpsc;

use super::clock::Clock;

/// What the source is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestsSpec {
    /// `sources.manifests`: files, and folders whose own files are read (not their subfolders', as
    /// `kubectl apply -f` without `-R`).
    pub paths: Vec<PathBuf>,
    /// `ipam.stateDir`.
    pub state_dir: PathBuf,
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange {
    /// A new version; Services carry the recorded ingress and conditions.
    Upsert(Object),
    /// It is gone.
    Delete(ObjectRef),
}

/// A file that is not in force as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, with the line where it is known. The file's former objects stay in force.
    pub text: String,
}

/// Changes that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestBatch {
    /// When the first of them was noticed.
    pub at: Timestamp,
    /// In order; never two of one object.
    pub changes: Vec<ObjectChange>,
    /// Set on exactly one batch, perhaps an empty one: every file has been read once.
    pub synced: bool,
    /// All faults there are now, where they changed.
    pub faults: Option<Vec<FileFault>>,
}

/// The status of one Service as the allocator wants it recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPatch {
    /// Which Service.
    pub service: ObjectKey,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IpAddr>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// What a restart brings back beside the Services' statuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Addresses that were given back, the longest free first.
    pub freed: Vec<IpAddr>,
    /// A damaged state was set aside: what, where to, and what was saved.
    pub warning: Option<String>,
}

/// The running source. Dropping it ends its thread.
#[derive(Debug)]
pub struct ManifestsHandle {
    restored: Restored,
}

/// Opens the state folder and starts the watching thread.
///
/// # Errors
/// The state folder cannot be made, read or locked.
pub fn spawn(
    spec: ManifestsSpec,
    batches: mpsc::Sender<ManifestBatch>,
    clock: Clock,
) -> Result<ManifestsHandle, String> {
    drop((spec, batches, clock));
    Ok(ManifestsHandle { restored: Restored::default() })
}

impl ManifestsHandle {
    /// What the state folder held.
    #[must_use]
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// Records statuses on disk in one write, then delivers each Service again with what was recorded. A
    /// Service that has no manifest by then is passed over.
    pub fn record(&self, patches: Vec<StatusPatch>) {
        drop(patches);
    }
}
