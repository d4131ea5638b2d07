//! Secrets with TCP MD5 keys: those alone that peers refer to, one watch each, so that the right to read these by
//! name is enough.

use std::collections::{BTreeMap, BTreeSet};

use speaker_config::objects::{ObjectKey, ObjectRef};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Connection, Filter, ObjectKind, spawn_objects};
use crate::io::clock::Clock;
use crate::io::source::SourceBatch;

/// The watches that run.
#[derive(Debug)]
pub(crate) struct SecretWatches {
    connection: Connection,
    batches: mpsc::Sender<SourceBatch>,
    clock: Clock,
    running: BTreeMap<String, JoinHandle<()>>,
}

impl SecretWatches {
    /// None runs yet.
    pub(crate) fn new(connection: Connection, batches: mpsc::Sender<SourceBatch>, clock: Clock) -> Self {
        Self { connection, batches, clock, running: BTreeMap::new() }
    }

    /// The namespace that Secrets are read in.
    pub(crate) fn namespace(&self) -> &str {
        &self.connection.namespace
    }

    /// Watches these and no others; gives those that are to be forgotten.
    pub(crate) fn want(&mut self, names: &BTreeSet<String>) -> Vec<ObjectRef> {
        let unwanted: Vec<String> =
            self.running.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in names.iter().filter(|name| !self.running.contains_key(*name)).collect::<Vec<_>>() {
            let filter = Filter {
                namespace: Some(self.connection.namespace.clone()),
                name: Some(name.clone()),
                ..Filter::default()
            };
            let client = self.connection.client.clone();
            let watch = spawn_objects(client, ObjectKind::SECRETS, filter, self.batches.clone(), self.clock);
            self.running.insert(name.clone(), watch);
        }
        let forget = |name: String| {
            if let Some(watch) = self.running.remove(&name) {
                watch.abort();
            }
            ObjectRef::Secret(ObjectKey::new(self.connection.namespace.clone(), name))
        };
        unwanted.into_iter().map(forget).collect()
    }
}

impl Drop for SecretWatches {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}
