//! The Kubernetes API: a client, and watches that survive what happens to it.
//!
//! ```text
//! API server ──list, watch──► watch::follow ──Mirror──► Batch<Kind> ──► SourceBatch ──► hub
//! ```
//!
//! Each kind is a source of its own: the hub waits for the first full list of every one, and a kind whose API
//! server is away keeps what it had.

mod agent;
mod answer;
mod batch;
mod cilium;
mod client;
pub(crate) mod events;
mod kind;
pub(crate) mod lease;
mod leases;
mod lost_version;
mod mirror;
pub(crate) mod node_status;
pub(crate) mod patch;
mod secrets;
mod watch;

use speaker_config::objects::{Object, ObjectRef};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) use agent::{agent_bgp_kinds, agent_kinds, cilium_nodes, operator_bgp_kinds, probe};
pub(crate) use batch::{Batch, Filter, Part};
pub(crate) use cilium::{Cilium, spawn_bgp_kinds};
pub(crate) use client::{Connection, connect};
pub(crate) use kind::ObjectKind;
pub(crate) use leases::spawn as spawn_leases;
pub use leases::{LeaseCall, LeaseEvent};
pub(crate) use mirror::Delta;
pub(crate) use secrets::SecretWatches;
pub(crate) use watch::follow;

use super::clock::Clock;
use super::source::{ObjectChange, SourceBatch};

/// [`watch_objects`] as a task of its own.
pub(crate) fn spawn_objects(
    client: kube::Client,
    kind: ObjectKind,
    filter: Filter,
    batches: mpsc::Sender<SourceBatch>,
    clock: Clock,
) -> JoinHandle<()> {
    tokio::spawn(watch_objects(client, kind, filter, batches, clock))
}

/// Watches one kind of objects for the hub until nobody listens. The source's name is [`Filter::source`].
pub(crate) async fn watch_objects(
    client: kube::Client,
    kind: ObjectKind,
    filter: Filter,
    batches: mpsc::Sender<SourceBatch>,
    clock: Clock,
) {
    let (sender, mut receiver) = mpsc::channel::<Batch<Object, ObjectRef>>(8);
    let watching = follow(client, kind, filter, sender, clock);
    let passing = async {
        while let Some(batch) = receiver.recv().await {
            if batches.send(neutral(batch)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = watching => {}, () = passing => {}, () = batches.closed() => {} }
}

fn neutral(batch: Batch<Object, ObjectRef>) -> SourceBatch {
    let Batch { source, version: _, handed_over, deltas, synced, faults, part: _ } = batch;
    let change = |delta| match delta {
        Delta::Upsert { item, .. } => Some(ObjectChange::Upsert(item)),
        Delta::Delete(reference) => Some(ObjectChange::Delete(reference)),
        // Whoever gives out addresses in a cluster is elsewhere.
        Delta::Held(_) => None,
    };
    SourceBatch {
        source,
        handed_over,
        changes: deltas.into_iter().filter_map(change).collect(),
        synced,
        faults,
    }
}

#[cfg(test)]
mod tests;
