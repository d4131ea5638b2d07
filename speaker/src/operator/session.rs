//! One time of leading: from the first list to the last write.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use kube::Client;
use speaker_config::objects::{Object, ObjectRef};
use speaker_core::operator::{Operator, OperatorSettings, Outcome, Version};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::candidate::Leadership;
use super::observe::{Look, Question};
use crate::io::clock::{Clock, boot_time};
use crate::io::kube::{Batch, Delta, Filter, ObjectKind, events, follow, patch};
use crate::metrics::errors::{Component, failed};

/// Batches that may wait, and how many are taken before something is decided.
const BATCHES: usize = 64;
/// Events that may wait for the one before them.
const NOTES: usize = 256;

/// What a session needs.
pub(super) struct SessionSpec {
    pub(super) client: Client,
    pub(super) settings: OperatorSettings,
    /// How long a write may take.
    pub(super) limit: Duration,
    /// Who we are, in Events.
    pub(super) instance: String,
    pub(super) lead: watch::Receiver<Leadership>,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody else leads, or may.
    Lost,
    /// The process ends.
    Stopped,
}

/// What became of a write, and of what it wrote.
type Written = (ObjectRef, Outcome);

/// A leader.
pub(super) struct Session {
    spec: SessionSpec,
    clock: Clock,
    operator: Operator,
    /// The version of the API in which pools are served.
    pools: &'static str,
    /// What is wrong with sources.
    faults: BTreeMap<Arc<str>, Vec<String>>,
    batches: mpsc::Receiver<Batch<Object, ObjectRef>>,
    outcomes: (mpsc::UnboundedSender<Written>, mpsc::UnboundedReceiver<Written>),
    notes: mpsc::Sender<speaker_core::operator::Note>,
    writes: JoinSet<()>,
    helpers: Vec<AbortHandle>,
}

/// What is read. Nodes and endpoints matter to Node IPAM alone, and are many.
fn kinds(settings: &OperatorSettings) -> Vec<(ObjectKind, Filter)> {
    let of_services = Filter { labels: Some("kubernetes.io/service-name".to_owned()), ..Filter::default() };
    let mut kinds = vec![(ObjectKind::SERVICES, Filter::default())];
    if settings.ipam.is_some() {
        kinds.push((ObjectKind::POOLS, Filter::default()));
    }
    if settings.node_ipam.enabled {
        kinds.push((ObjectKind::NODES, Filter::default()));
        kinds.push((ObjectKind::ENDPOINT_SLICES, of_services));
    }
    kinds
}

impl Session {
    /// Begins to read.
    pub(super) fn start(spec: SessionSpec) -> Self {
        let clock = Clock::start();
        let (sender, batches) = mpsc::channel(BATCHES);
        let mut helpers = Vec::new();
        let mut sources = BTreeSet::new();
        for (kind, filter) in kinds(&spec.settings) {
            sources.insert(kind.resource.plural.to_owned());
            let watching = follow(spec.client.clone(), kind, filter, sender.clone(), clock);
            helpers.push(tokio::spawn(watching).abort_handle());
        }
        let (notes, told) = mpsc::channel(NOTES);
        let publishing = events::publish(spec.client.clone(), spec.instance.clone(), told);
        helpers.push(tokio::spawn(publishing).abort_handle());
        Self {
            clock,
            operator: Operator::new(spec.settings, sources),
            pools: "v2",
            faults: BTreeMap::new(),
            batches,
            outcomes: mpsc::unbounded_channel(),
            notes,
            writes: JoinSet::new(),
            helpers,
            spec,
        }
    }

    /// Leads until it may no more, or is to stop. Every write has ended then.
    pub(super) async fn run(
        mut self,
        questions: &mut mpsc::Receiver<Question>,
        mut stopped: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> End {
        let mut taken = Vec::with_capacity(BATCHES);
        let end = loop {
            let left = self.left();
            if left.is_zero() {
                break End::Lost;
            }
            let deadline = self.operator.deadline().map(|at| self.clock.instant(at));
            tokio::select! {
                received = self.batches.recv_many(&mut taken, BATCHES) => {
                    if received == 0 {
                        break End::Lost;
                    }
                    for batch in taken.drain(..) {
                        self.take(batch);
                    }
                }
                Some((target, outcome)) = self.outcomes.1.recv() => {
                    self.ended(&target, &outcome);
                    while let Ok((target, outcome)) = self.outcomes.1.try_recv() {
                        self.ended(&target, &outcome);
                    }
                }
                Some(question) = questions.recv() => {
                    question.answer(Look::of(&self.operator, self.missing()));
                    continue;
                }
                () = until(deadline) => {}
                changed = self.spec.lead.changed() => {
                    if changed.is_err() {
                        break End::Lost;
                    }
                    continue;
                }
                () = tokio::time::sleep(left) => continue,
                () = &mut stopped => break End::Stopped,
            }
            self.settle();
        };
        for helper in &self.helpers {
            helper.abort();
        }
        while self.writes.join_next().await.is_some() {}
        end
    }

    /// How long we lead for certain.
    fn left(&self) -> Duration {
        self.spec.lead.borrow().until.unwrap_or(Timestamp::ZERO).since(boot_time())
    }

    fn take(&mut self, batch: Batch<Object, ObjectRef>) {
        let Batch { source, version, handed_over: _, deltas, synced, faults, part: _ } = batch;
        if *source == *ObjectKind::POOLS.resource.plural {
            self.pools = version;
        }
        for delta in deltas {
            match delta {
                Delta::Upsert { item, handle } => {
                    let version = Version { uid: handle.uid, resource_version: handle.resource_version };
                    self.operator.upsert(item, version);
                }
                Delta::Delete(reference) => self.operator.delete(&reference),
            }
        }
        if synced {
            self.operator.synced(&source);
            if self.operator.waiting().is_empty() {
                tracing::info!("every list is complete: allocating");
            }
        }
        if let Some(faults) = faults {
            self.faults.insert(source, faults);
        }
    }

    fn ended(&mut self, target: &ObjectRef, outcome: &Outcome) {
        if *outcome == Outcome::Failed {
            failed(Component::Kubernetes);
        }
        self.operator.ended(target, outcome, self.clock.now());
    }

    /// What keeps the leader from being of use: a kind that cannot be read at all.
    fn missing(&self) -> Vec<String> {
        let none = self.operator.inputs().pools.is_empty();
        let pools = self.faults.get(ObjectKind::POOLS.resource.plural).filter(|_| none);
        pools.into_iter().flatten().cloned().collect()
    }

    fn settle(&mut self) {
        let orders = self.operator.settle(self.clock.now(), self.clock.unix());
        while self.writes.try_join_next().is_some() {}
        for patch in orders.patches {
            let (client, outcomes) = (self.spec.client.clone(), self.outcomes.0.clone());
            let (lead, limit, pools) = (self.spec.lead.clone(), self.spec.limit, self.pools);
            self.writes.spawn(async move {
                // Looked at as late as can be: the process may have stood still since it was decided.
                let leads = lead.borrow().leads();
                let outcome = if leads {
                    patch::write(&client, &patch, pools, limit).await
                } else {
                    Outcome::NotLeading
                };
                let _ = outcomes.send((patch.target, outcome));
            });
        }
        for note in orders.notes {
            if note.reason.is_warning() {
                tracing::warn!(service = %note.service, "{}: {}", note.reason, note.text);
            } else {
                tracing::info!(service = %note.service, "{}: {}", note.reason, note.text);
            }
            // An Event that finds no place is lost; the log has it.
            let _ = self.notes.try_send(note);
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
