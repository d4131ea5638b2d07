//! Leases of L2 announcements: one for each Service's addresses, one for each node that announces.
//!
//! What is written and why is decided by [`speaker_core::l2`]; here are the calls. A Lease is written with the
//! version that was seen, so that the API server refuses a write from an old picture.

mod seen;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value as Json, json};
use speaker_core::l2::election::{LeaseSeen, NodeSeen, Op};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::seen::{ADDRESSES, LeaseKind, node_seen, own_name, pass_on};
use super::batch::Filter;
use super::client::Connection;
use super::watch::follow;
use crate::io::clock::{self, Clock};
use crate::metrics::errors::{Component, failed};

/// Who the writes come from, as the API server keeps it.
const MANAGER: &str = "speaker-l2";
/// The most writes under way at once.
const WRITES: usize = 16;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);

/// What the Leases tell the hub.
#[derive(Debug)]
pub enum LeaseEvent {
    /// Leases of units, in the order in which they changed; as a whole where a list showed them.
    Units {
        /// They come from a list.
        listed: bool,
        /// Each with what it says; absent where it is gone.
        leases: Vec<(String, Option<LeaseSeen>)>,
    },
    /// A node's own Lease; absent where it is gone.
    Node(String, Option<NodeSeen>),
    /// This node's renewal was confirmed.
    Renewed {
        /// When it was sent, on the boot-time clock.
        sent: Timestamp,
    },
    /// What became of a write.
    Written {
        /// The Lease.
        lease: String,
        /// The new version; absent where the write was refused or nobody knows.
        version: Option<String>,
    },
    /// What a fresh read of a node's own Lease showed; the outer `None` where it could not be read.
    Checked(String, Option<Option<NodeSeen>>),
}

/// What the hub asks for.
#[derive(Debug)]
pub enum LeaseCall {
    /// What the election decided.
    Ops(Vec<Op>),
    /// This node holds nothing any more and says so; answered when it is said or cannot be.
    Resign(tokio::sync::oneshot::Sender<()>),
}

/// What the tasks share.
#[derive(Clone)]
struct Desk {
    api: Api<Lease>,
    node: String,
    seconds: i32,
    events: mpsc::Sender<LeaseEvent>,
    /// Locked while it is written.
    own: Arc<Mutex<Own>>,
}

/// This node's own Lease.
#[derive(Default)]
struct Own {
    /// As the last renewal left it.
    version: Option<String>,
    /// Nothing is renewed after that.
    resigned: bool,
}

/// Watches and writes Leases, and renews this node's own, until the hub is gone.
pub(crate) fn spawn(
    connection: &Connection,
    node: &str,
    duration: Duration,
    events: mpsc::Sender<LeaseEvent>,
    calls: mpsc::UnboundedReceiver<LeaseCall>,
    clock: Clock,
) -> Vec<JoinHandle<()>> {
    let desk = Desk {
        api: Api::namespaced(connection.client.clone(), &connection.namespace),
        node: node.to_owned(),
        seconds: i32::try_from(duration.as_secs()).unwrap_or(i32::MAX),
        events,
        own: Arc::default(),
    };
    let (batches, seen) = mpsc::channel(8);
    let filter = Filter { namespace: Some(connection.namespace.clone()), ..Filter::default() };
    let (resigned, may_renew) = tokio::sync::watch::channel(true);
    vec![
        tokio::spawn(follow(connection.client.clone(), LeaseKind, filter, batches, clock)),
        tokio::spawn(pass_on(seen, desk.events.clone())),
        tokio::spawn(desk.clone().renew(duration / 3, may_renew)),
        tokio::spawn(desk.serve(calls, resigned)),
    ]
}

impl Desk {
    /// Renews this node's own Lease for as long as it has not resigned.
    async fn renew(self, pause: Duration, mut may_renew: tokio::sync::watch::Receiver<bool>) {
        let retry = (pause / 4).max(Duration::from_millis(500));
        // An API server that is away for an hour is one line, not thousands.
        let mut told = String::new();
        loop {
            if !*may_renew.borrow_and_update() {
                return;
            }
            let sent = clock::boot_time();
            let wait = match timeout(CALL.min(pause), self.renew_own()).await {
                Ok(Ok(false)) => return,
                Ok(Ok(true)) => {
                    if self.events.send(LeaseEvent::Renewed { sent }).await.is_err() {
                        return;
                    }
                    if !std::mem::take(&mut told).is_empty() {
                        tracing::info!("this node's lease for L2 announcements is renewed again");
                    }
                    pause
                }
                failure => {
                    failed(Component::Kubernetes);
                    let why = match failure {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer".to_owned(),
                    };
                    if why != told {
                        tracing::warn!("this node's lease for L2 announcements is not renewed: {why}");
                        told = why;
                    }
                    retry
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                changed = may_renew.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Does what the hub asks for, so many calls at once. What waits for its turn when this node resigns is not done.
    async fn serve(
        self,
        mut calls: mpsc::UnboundedReceiver<LeaseCall>,
        resigned: tokio::sync::watch::Sender<bool>,
    ) {
        let room = Arc::new(Semaphore::new(WRITES));
        let mut waiting = VecDeque::new();
        loop {
            tokio::select! {
                biased;
                call = calls.recv() => match call {
                    Some(LeaseCall::Ops(ops)) => waiting.extend(ops),
                    Some(LeaseCall::Resign(done)) => {
                        waiting.clear();
                        // Without a hub nobody renews either.
                        let _ = resigned.send(false);
                        self.resign().await;
                        // Who asked may have gone.
                        let _ = done.send(());
                    }
                    None => return,
                },
                // It is never closed.
                Ok(permit) = Arc::clone(&room).acquire_owned(), if !waiting.is_empty() => {
                    let Some(op) = waiting.pop_front() else { continue };
                    let desk = self.clone();
                    tokio::spawn(async move {
                        desk.carry_out(op).await;
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn resign(&self) {
        match timeout(CALL, self.resign_own()).await {
            Ok(Ok(())) => tracing::info!("others may take over what was announced on the segment"),
            Ok(Err(error)) => tracing::warn!("others take over when the lease has run out: {error}"),
            Err(_) => tracing::warn!("others take over when the lease has run out: no answer"),
        }
    }

    async fn carry_out(&self, op: Op) {
        let event = match op {
            Op::Check { node } => {
                let read = timeout(CALL, self.api.get_opt(&own_name(&node))).await;
                let seen = match read {
                    Ok(Ok(None)) => Some(None),
                    Ok(Ok(Some(lease))) => Some(Some(node_seen(&lease))),
                    Ok(Err(_)) | Err(_) => None,
                };
                LeaseEvent::Checked(node, seen)
            }
            Op::Claim { lease, version, addresses } => {
                let claim = self.claim(&lease, version, &addresses);
                LeaseEvent::Written { version: self.outcome(&lease, claim).await, lease }
            }
            Op::Release { lease, version } => {
                let body = json!({
                    "metadata": {"resourceVersion": version, "annotations": {ADDRESSES: null}},
                    "spec": {"holderIdentity": null},
                });
                let release = self.patch(&lease, body);
                LeaseEvent::Written { version: self.outcome(&lease, release).await, lease }
            }
            Op::Delete { lease, version } => {
                let conditions = Preconditions { resource_version: Some(version), uid: None };
                let params = DeleteParams { preconditions: Some(conditions), ..DeleteParams::default() };
                let delete = async { self.api.delete(&lease, &params).await.map(|_| None) };
                LeaseEvent::Written { version: self.outcome(&lease, delete).await, lease }
            }
        };
        // The hub is gone, and nobody holds anything.
        let _ = self.events.send(event).await;
    }

    /// Waits for a write. One that was refused is decided anew; any other failure rests a moment first.
    async fn outcome(
        &self,
        lease: &str,
        write: impl Future<Output = kube::Result<Option<String>>>,
    ) -> Option<String> {
        match timeout(CALL, write).await {
            Ok(Ok(version)) => version,
            // Somebody else wrote; the watch brings what.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                sleep(Duration::from_millis(50)).await;
                None
            }
            Ok(Err(error)) => {
                failed(Component::Kubernetes);
                tracing::warn!(lease, "writing a lease failed: {error}");
                sleep(Duration::from_secs(1)).await;
                None
            }
            Err(_) => {
                failed(Component::Kubernetes);
                tracing::warn!(lease, "writing a lease failed: no answer");
                None
            }
        }
    }

    async fn claim(
        &self,
        lease: &str,
        version: Option<String>,
        addresses: &BTreeSet<IpAddr>,
    ) -> kube::Result<Option<String>> {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let now = MicroTime(jiff::Timestamp::now());
        let mut body = json!({
            "metadata": {"name": lease, "annotations": {ADDRESSES: texts.join(",")}},
            "spec": {
                "holderIdentity": self.node,
                "leaseDurationSeconds": self.seconds,
                "acquireTime": now,
                "renewTime": now,
            },
        });
        match version {
            Some(version) => {
                if let Some(metadata) = body.get_mut("metadata") {
                    metadata["resourceVersion"] = version.into();
                }
                self.patch(lease, body).await
            }
            None => self.create(body).await,
        }
    }

    async fn patch(&self, lease: &str, body: Json) -> kube::Result<Option<String>> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let written = self.api.patch(lease, &params, &Patch::Merge(body)).await?;
        Ok(written.metadata.resource_version)
    }

    async fn create(&self, body: Json) -> kube::Result<Option<String>> {
        let lease: Lease = serde_json::from_value(body).map_err(kube::Error::SerdeError)?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = self.api.create(&params, &lease).await?;
        Ok(written.metadata.resource_version)
    }

    /// Writes into this node's own Lease that it lives, unless it has resigned.
    async fn renew_own(&self) -> kube::Result<bool> {
        let mut own = self.own.lock().await;
        if own.resigned {
            return Ok(false);
        }
        let name = own_name(&self.node);
        let now = MicroTime(jiff::Timestamp::now());
        let body = json!({
            "metadata": {"name": name},
            "spec": {"holderIdentity": self.node, "leaseDurationSeconds": self.seconds, "renewTime": now},
        });
        own.version = match self.patch(&name, body.clone()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.create(self.owned(body).await).await?
            }
            other => other?,
        };
        Ok(true)
    }

    /// Gives this node's own Lease its Node as the owner, so that it goes when that is deleted. Where the Node cannot be
    /// asked for, it has none.
    async fn owned(&self, mut body: Json) -> Json {
        let nodes: Api<Node> = Api::all(self.api.clone().into_client());
        let named = ListParams::default().fields(&format!("metadata.name={}", self.node));
        let found = nodes.list_metadata(&named).await.map(|list| list.items).unwrap_or_default();
        if let (Some(uid), Some(metadata)) =
            (found.into_iter().find_map(|node| node.metadata.uid), body.get_mut("metadata"))
        {
            metadata["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid}]);
        }
        body
    }

    /// Writes into this node's own Lease that it has given up. Not where somebody has written it since the last renewal:
    /// that would speak for a process that came after this one.
    async fn resign_own(&self) -> kube::Result<()> {
        let mut own = self.own.lock().await;
        own.resigned = true;
        // Without a renewal nothing was held.
        let Some(version) = &own.version else { return Ok(()) };
        let now = MicroTime(jiff::Timestamp::now());
        let body = json!({
            "metadata": {"resourceVersion": version},
            "spec": {"holderIdentity": null, "renewTime": now},
        });
        self.patch(&own_name(&self.node), body).await.map(|_| ())
    }
}
