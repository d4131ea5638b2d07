//! One time of leading: from the first list to the last write.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use kube::Client;
use speaker_config::objects::{Object, ObjectRef, api_server_service};
use speaker_core::operator::{Operator, OperatorSettings, Outcome, Version};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::candidate::Leadership;
use super::observe::{Look, Question};
use crate::io::clock::{Clock, boot_time};
use crate::io::kube::{
    Batch, Cilium, Delta, Filter, ObjectKind, Part, cilium_nodes, events, follow, operator_bgp_kinds, patch,
};
use crate::metrics::errors::{Component, failed};

/// Batches that may wait, and how many are taken before something is decided.
const BATCHES: usize = 64;
/// Events that may wait for the one before them.
const NOTES: usize = 256;

/// What a session needs.
pub(super) struct SessionSpec {
    pub(super) client: Client,
    pub(super) settings: OperatorSettings,
    /// The namespace of Secrets with TCP MD5 keys.
    pub(super) namespace: String,
    /// How long a write may take.
    pub(super) limit: Duration,
    /// Who we are, in Events.
    pub(super) instance: String,
    pub(super) lead: watch::Receiver<Leadership>,
    /// Whose Cilium's BGP kinds are.
    pub(super) cilium: Cilium,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody else leads, or may.
    Lost,
    /// The process ends.
    Stopped,
    /// Cilium's BGP kinds are somebody else's than before: it is to begin anew.
    Cilium,
}

/// What became of a write, and of what it wrote.
type Written = (ObjectRef, Outcome);

/// A leader.
pub(super) struct Session {
    spec: SessionSpec,
    clock: Clock,
    operator: Operator,
    /// The versions of their APIs in which kinds are served, by plural.
    served: BTreeMap<Arc<str>, &'static str>,
    /// Watches of Secrets, by name.
    secrets: BTreeMap<String, AbortHandle>,
    /// Where a further watch hands over what it has.
    more: mpsc::Sender<Batch<Object, ObjectRef>>,
    /// What is wrong with sources.
    faults: BTreeMap<Arc<str>, Vec<String>>,
    batches: mpsc::Receiver<Batch<Object, ObjectRef>>,
    outcomes: (mpsc::UnboundedSender<Written>, mpsc::UnboundedReceiver<Written>),
    notes: mpsc::Sender<speaker_core::operator::Note>,
    writes: JoinSet<()>,
    helpers: Vec<AbortHandle>,
}

/// What is read. Endpoints matter to Node IPAM alone, and are many; but for the API server's own, which no pool is to
/// hold.
fn kinds(settings: &OperatorSettings) -> Vec<(ObjectKind, Filter)> {
    let of_services = Filter { labels: Some("kubernetes.io/service-name".to_owned()), ..Filter::default() };
    let mut kinds = vec![(ObjectKind::SERVICES, Filter::default())];
    if settings.ipam.is_some() {
        kinds.push((ObjectKind::POOLS, Filter::default()));
        let filter = Filter { optional: true, dispensable: true, ..Filter::default() };
        kinds.push((ObjectKind::SERVICE_CIDRS, filter));
    }
    if settings.l2_policies {
        kinds.push((ObjectKind::L2_POLICIES, Filter { optional: true, ..Filter::default() }));
    }
    if settings.node_ipam.enabled {
        kinds.push((ObjectKind::ENDPOINT_SLICES, of_services));
    } else if settings.ipam.is_some() {
        let own = api_server_service();
        let labels = Some(format!("kubernetes.io/service-name={}", own.name));
        let filter = Filter { namespace: Some(own.namespace), labels, ..Filter::default() };
        kinds.push((ObjectKind::ENDPOINT_SLICES, filter));
    }
    if settings.ipam.is_some() || settings.node_ipam.enabled || settings.bgp.is_some() {
        kinds.push((ObjectKind::NODES, Filter::default()));
    }
    if settings.bgp.is_some() {
        let optional = Filter { optional: true, ..Filter::default() };
        kinds.push(cilium_nodes());
        kinds.extend(operator_bgp_kinds().map(|kind| (kind, optional.clone())));
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
        let bgp = bgp_sources();
        for (kind, filter) in kinds(&spec.settings) {
            let plural = kind.resource.plural;
            // Who gives out addresses does not wait for those who speak BGP, nor for what is but a warning to pools.
            let aside = bgp.contains(plural) || spec.settings.surroundings.contains(plural);
            let of_nodes = [ObjectKind::NODES, ObjectKind::ENDPOINT_SLICES];
            let own = !aside
                || (spec.settings.node_ipam.enabled
                    && of_nodes.iter().any(|kind| kind.resource.plural == plural));
            sources.extend(own.then(|| plural.to_owned()));
            let watching = follow(spec.client.clone(), kind, filter, sender.clone(), clock);
            helpers.push(tokio::spawn(watching).abort_handle());
        }
        let (notes, told) = mpsc::channel(NOTES);
        let publishing = events::publish(spec.client.clone(), spec.instance.clone(), told);
        helpers.push(tokio::spawn(publishing).abort_handle());
        Self {
            clock,
            operator: Operator::new(spec.settings.clone(), sources),
            served: BTreeMap::new(),
            secrets: BTreeMap::new(),
            more: sender,
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
        let theirs = self.spec.settings.bgp.is_none();
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
                () = self.spec.cilium.differs(theirs) => break End::Cilium,
                () = &mut stopped => break End::Stopped,
            }
            self.settle();
        };
        for helper in self.helpers.iter().chain(self.secrets.values()) {
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
        let Batch { source, version, handed_over: _, deltas, synced, faults, part } = batch;
        let secret = source.strip_prefix(SECRET);
        if secret.is_some_and(|name| !self.secrets.contains_key(name)) {
            // The last word of a watch that nobody needs any more.
            return;
        }
        self.served.insert(Arc::clone(&source), version);
        for delta in deltas {
            match delta {
                Delta::Upsert { item, handle } => {
                    let version = Version { uid: handle.uid, resource_version: handle.resource_version };
                    self.operator.upsert(item, version);
                }
                Delta::Held(held) => self.operator.hold_unreadable(&held),
                Delta::Delete(reference) => self.operator.delete(&reference),
            }
        }
        if part == Part::LastPage {
            match secret {
                Some(name) => self.operator.secret_listed(name),
                None => self.operator.listed(&source),
            }
        }
        if synced && secret.is_none() {
            let waited = !self.operator.waiting().is_empty();
            self.operator.synced(&source);
            if waited && self.operator.waiting().is_empty() {
                tracing::info!("every list is complete: allocating");
            }
        }
        if let Some(faults) = faults {
            self.faults.insert(source, faults);
        }
    }

    /// Watches the Secrets that CiliumBGPPeerConfigs name, each by its name, and without its content: that it is
    /// there is all that the operator asks.
    fn watch_secrets(&mut self) {
        let wanted = self.operator.secrets();
        let unwanted: Vec<String> =
            self.secrets.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in unwanted {
            if let Some(watch) = self.secrets.remove(&name) {
                watch.abort();
            }
            self.operator.forget_secret(&name);
        }
        for name in wanted {
            if self.secrets.contains_key(&name) {
                continue;
            }
            let filter = Filter {
                namespace: Some(self.spec.namespace.clone()),
                name: Some(name.clone()),
                metadata: true,
                ..Filter::default()
            };
            let (client, out) = (self.spec.client.clone(), self.more.clone());
            let watching = follow(client, ObjectKind::SECRETS, filter, out, self.clock);
            self.secrets.insert(name, tokio::spawn(watching).abort_handle());
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

    /// The version in which the API serves the kind of an object.
    fn version(&self, target: &ObjectRef) -> &'static str {
        let Some(kind) = patch::kind(target) else { return "" };
        let first = kind.resource.versions.first().copied().unwrap_or_default();
        self.served.get(kind.resource.plural).copied().unwrap_or(first)
    }

    fn settle(&mut self) {
        self.watch_secrets();
        let orders = self.operator.settle(self.clock.now(), self.clock.unix());
        while self.writes.try_join_next().is_some() {}
        for patch in orders.patches {
            let (client, outcomes) = (self.spec.client.clone(), self.outcomes.0.clone());
            let (lead, limit, version) =
                (self.spec.lead.clone(), self.spec.limit, self.version(&patch.target));
            self.writes.spawn(async move {
                // Looked at as late as can be: the process may have stood still since it was decided.
                let leads = lead.borrow().leads();
                let outcome = if leads {
                    patch::write(&client, &patch, version, limit).await
                } else {
                    Outcome::NotLeading
                };
                let _ = outcomes.send((patch.target, outcome));
            });
        }
        for note in orders.notes {
            if note.warning {
                tracing::warn!(object = %note.object, "{}: {}", note.reason, note.text);
            } else {
                tracing::info!(object = %note.object, "{}: {}", note.reason, note.text);
            }
            // An Event that finds no place is lost; the log has it.
            let _ = self.notes.try_send(note);
        }
    }
}

/// Before the name in the source of one Secret ([`Filter::source`]).
const SECRET: &str = "secrets/";

/// The sources that say what no pool is to hold.
pub(super) fn surroundings() -> BTreeSet<String> {
    let kinds = [ObjectKind::NODES, ObjectKind::SERVICE_CIDRS, ObjectKind::ENDPOINT_SLICES];
    kinds.map(|kind| kind.resource.plural.to_owned()).into()
}

/// The sources that CiliumBGPNodeConfigs wait for.
pub(super) fn bgp_sources() -> BTreeSet<String> {
    let kinds = operator_bgp_kinds().into_iter().chain([ObjectKind::NODES]);
    kinds.map(|kind| kind.resource.plural.to_owned()).collect()
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
