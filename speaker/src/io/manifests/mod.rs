//! A watched folder of Kubernetes YAML that plays the API server's part: it delivers objects, gives them a
//! creation time, stores their statuses and echoes them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc as channel;
use std::thread::JoinHandle;

use bgp_proto::types::Timestamp;
use speaker_config::objects::{Condition, ObjectKey};
use speaker_core::ipam::Held;
use tokio::sync::mpsc;

use super::clock::Clock;
use super::source::{ObjectChange, SourceBatch};
use super::state::Store;

mod catalogue;
mod due;
mod source;
mod worker;

pub(crate) use source::files;
pub(crate) use worker::ABSENT;

/// What the source is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestsSpec {
    /// `sources.manifests`: files, and folders whose own `*.yaml`, `*.yml` and `*.json` are read, without
    /// those that begin with a dot. Subfolders are not, as with `kubectl apply -f` without `-R`.
    pub paths: Vec<PathBuf>,
    /// `ipam.stateDir`.
    pub state_dir: PathBuf,
}

/// Something that is not in force as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFault {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong, with line and column where they are known. Former objects stay in force.
    pub text: String,
}

/// `FILE:LINE:COLUMN: what`, or `FILE: what`.
impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { " " };
        write!(f, "{}:{space}{}", self.path.display(), self.text)
    }
}

/// Changes that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestBatch {
    /// When the first of them was noticed.
    pub at: Timestamp,
    /// When they were handed over: after a writer was given the time to end, and after they were read.
    pub handed_over: Timestamp,
    /// In order; never two of one object. A Service that was recorded before a restart and is known to be
    /// gone is deleted, though it was never delivered.
    pub changes: Vec<ObjectChange>,
    /// Set on exactly one batch, perhaps an empty one: everything has been read once. A folder that is
    /// missing is waited for, half a minute at most.
    pub synced: bool,
    /// All faults there are now, where they changed.
    pub faults: Option<Vec<FileFault>>,
}

/// The name of the source.
pub(crate) const SOURCE: &str = "manifests";

impl From<ManifestBatch> for SourceBatch {
    fn from(batch: ManifestBatch) -> Self {
        let ManifestBatch { at: _, handed_over, changes, synced, faults } = batch;
        let faults = faults.map(|faults| faults.iter().map(FileFault::to_string).collect());
        Self { source: SOURCE.into(), handed_over, changes, synced, faults }
    }
}

/// A status that is to be recorded, as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusPatch {
    /// Of a Service.
    Service {
        /// Which one.
        key: ObjectKey,
        /// `status.loadBalancer.ingress`.
        ingress: Vec<IpAddr>,
        /// `status.conditions`.
        conditions: Vec<Condition>,
    },
    /// Of a pool.
    Pool {
        /// Which one.
        name: String,
        /// `status.conditions`.
        conditions: Vec<Condition>,
    },
}

/// What a restart brings back beside the objects' statuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Addresses that were given back and are free, the longest free first.
    pub freed: Vec<IpAddr>,
    /// What Services had.
    pub held: Vec<Held>,
    /// A damaged state was set aside: what, where to, and what was saved.
    pub warning: Option<String>,
}

/// The running source. Dropping it ends its thread.
#[derive(Debug)]
pub struct ManifestsHandle {
    restored: Restored,
    messages: channel::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Message {
    /// From the kernel, with the time when it came.
    Watch(Timestamp, notify::Result<notify::Event>),
    Record(Vec<StatusPatch>),
    Stop,
}

/// Opens the state folder and starts the watching thread.
///
/// # Errors
/// The state folder cannot be made, read or locked, or the kernel gives no watch.
pub fn spawn(
    spec: &ManifestsSpec,
    batches: mpsc::Sender<ManifestBatch>,
    clock: Clock,
) -> Result<ManifestsHandle, String> {
    let store = Store::open(&spec.state_dir)?;
    if let Some(warning) = store.warning() {
        tracing::error!("{warning}");
    }
    let restored =
        Restored { freed: store.freed(), held: store.held(), warning: store.warning().map(str::to_owned) };
    let (messages, inbox) = channel::channel();
    let watcher = source::watcher(messages.clone(), clock)?;
    let paths = spec.paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let source = source::Source::new(paths.collect(), watcher);
    let worker = worker::Worker::new(source, store, batches, clock);
    let thread = std::thread::Builder::new()
        .name("manifests".to_owned())
        .spawn(move || worker.run(&inbox))
        .map_err(|error| format!("starting the thread that watches manifests: {error}"))?;
    Ok(ManifestsHandle { restored, messages, thread: Some(thread) })
}

impl ManifestsHandle {
    /// What the state folder held.
    #[must_use]
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// Records statuses in one write, then delivers each object again with what was recorded. An object
    /// that has no manifest by then is passed over; a write that fails is tried again, and is a fault until
    /// it succeeds.
    pub fn record(&self, patches: Vec<StatusPatch>) {
        // A thread that has ended was told to.
        let _ = self.messages.send(Message::Record(patches));
    }

    /// Ends the thread once everything recorded before is on the disk, and waits for it. Drop the receiver
    /// of the batches before: the thread may be waiting for room there.
    pub fn close(mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches manifests has panicked");
        }
    }
}

impl Drop for ManifestsHandle {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
    }
}

#[cfg(test)]
mod tests;
