//! The single writer: it alone owns the world, and everything that is done is first a value.

mod allocation;
mod answers;
mod bfd;
mod bgp_status;
mod bmp;
mod draining;
mod keeping;
mod kernel;
mod message;
mod mrt;
mod observe;
mod orders;
mod peers;
mod precedence;
mod readiness;
mod running;
mod segment;
mod unnumbered;
mod wanted;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bgp_proto::types::Timestamp;
use speaker_config::model::SpeakerConfig;
use speaker_config::objects::{ObjectRef, UnixSeconds};
use speaker_core::rfc3339;
use speaker_core::world::{Event, SECRETS_NAMESPACE, Start, World};
use tokio::sync::{mpsc, watch};

use crate::io::kernel::KernelHandle;
use crate::io::kube::SecretWatches;
use crate::io::listen::{ListenEvent, ListenStatus};
use crate::io::manifests::{ManifestsHandle, Restored};
use crate::io::parting::Parting;
use crate::io::peer::{PeerEvent, PeerName};
use crate::io::programming::Question;
use crate::io::source::{ObjectChange, SourceBatch};
use crate::load::{self, Loaded, Secrets};
use crate::record::Recorder;
pub use bgp_status::Reported;
use bmp::Stations;
use draining::Draining;
pub use keeping::KeepSpec;
use keeping::Keeping;
pub use message::{HubSpec, Message};
use observe::Freshness;
pub use observe::Observation;
use peers::Peers;
use precedence::Precedence;
pub use segment::SegmentHandles;
use segment::Segments;
use unnumbered::Neighbors;

/// Where findings about Cilium's BGP kinds stand among the faults of sources.
const CILIUM_BGP: &str = "ciliumBGP";
/// Where it stands that the cluster has no Node of this name.
const NAMELESS: &str = "node.name";

/// The most messages that are taken together before what they touched is recomputed.
const BATCH: usize = 256;

/// How long statuses of the first list may take to be recorded before routes are sent without them.
const FIRST_RECORD: Duration = Duration::from_secs(10);

/// The hub.
#[derive(Debug)]
pub struct Hub {
    config: SpeakerConfig,
    /// The configuration at the start: some of it stays in force until the end.
    first_config: SpeakerConfig,
    world: World,
    peers: Peers,
    manifests: Option<ManifestsHandle>,
    secrets: Option<SecretWatches>,
    kernel: Option<KernelHandle>,
    /// What was last said about the kernel.
    kernel_problems: Vec<String>,
    draining: Draining,
    keeping: Keeping,
    health: watch::Sender<Option<SocketAddr>>,
    programming: watch::Sender<Option<Question>>,
    /// Why kube-proxy's last answer was none.
    proxy_trouble: Option<String>,
    stations: Stations,
    precedence: Precedence,
    /// Other Secrets may be referred to than those that are watched.
    secrets_stale: bool,
    listening: watch::Sender<Vec<ListenStatus>>,
    segments: Segments,
    recorder: Option<Recorder>,
    /// When the first batch since the last settling was handed over.
    since: Option<Timestamp>,
    /// Something was recorded since the last [`Event::Settle`].
    unsettled: bool,
    started: UnixSeconds,
    /// Why the last new configuration was refused.
    config_errors: Vec<String>,
    /// What of the configuration in force waits for a restart.
    restart_needed: Vec<String>,
    /// What is not in force as it stands, by source.
    faults: ByName<Vec<String>>,
    freshness: Freshness,
}

impl Hub {
    /// A hub that waits for its sources.
    #[must_use]
    pub fn new(spec: HubSpec) -> Self {
        let HubSpec { loaded, node, predecessor, host, context, sources, manifests, neighbors, .. } = spec;
        let HubSpec {
            keeper,
            keep,
            secrets,
            kernel,
            listener,
            listening,
            segments,
            recorder,
            health,
            programming,
            ..
        } = spec;
        let restored = manifests.as_ref().map(ManifestsHandle::restored).cloned().unwrap_or_default();
        let allocated_elsewhere = loaded.config.sources.kubernetes;
        let Restored { freed, held, .. } = restored;
        let several = sources.len() > 1 && manifests.is_some();
        let freshness = Freshness::new(&loaded.text, &sources);
        let namespace = secrets.as_ref().map_or(SECRETS_NAMESPACE, |secrets| secrets.namespace()).to_owned();
        let start = Start {
            node: node.clone(),
            sources,
            freed,
            held,
            host,
            allocated_elsewhere,
            secrets_namespace: Some(namespace.clone()),
            kernel: kernel.is_some(),
            ready: predecessor.ready,
        };
        let world = World::new(&loaded.config, &start);
        let neighbors = Neighbors::new(neighbors);
        let secrets_of = Secrets::of(Some(namespace));
        let pulse = context.pulse.clone();
        let peers = Peers::new(context, listener, node, predecessor, secrets_of, neighbors);
        let mut hub = Self {
            first_config: loaded.config.clone(),
            config: loaded.config,
            world,
            peers,
            manifests,
            secrets,
            kernel,
            kernel_problems: Vec::new(),
            draining: Draining::new(keeper),
            keeping: Keeping::new(keep),
            health,
            programming,
            proxy_trouble: None,
            stations: Stations::new(pulse),
            precedence: Precedence::new(several),
            secrets_stale: true,
            listening,
            segments: Segments::new(segments),
            recorder,
            since: None,
            unsettled: false,
            started: unix_now(),
            config_errors: Vec::new(),
            restart_needed: Vec::new(),
            faults: BTreeMap::new(),
            freshness,
        };
        hub.stations.configure(&mut hub.world);
        hub.record(&Event::Start { text: loaded.text, start });
        hub.follow_health();
        hub
    }

    /// Watches the Secrets that peers refer to.
    fn watch_secrets(&mut self) {
        if !std::mem::take(&mut self.secrets_stale) {
            return;
        }
        let Some(secrets) = &mut self.secrets else { return };
        let peers = self.world.peers().all().iter().map(|one| &one.peer.settings);
        let settings = peers.chain(self.config.dynamic_peers.iter().map(|entry| &entry.settings));
        for object in secrets.want(&load::secret_names(settings)) {
            self.world.delete(&object);
            self.record(&Event::Delete { object });
        }
    }

    /// Runs until [`Message::Stop`], or until nobody can send messages any more.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(BATCH);
        let mut stopped = Parting::Restart;
        let first = tokio::time::sleep(FIRST_RECORD);
        tokio::pin!(first);
        loop {
            let election = self.election_wait();
            tokio::select! {
                received = inbox.recv_many(&mut messages, BATCH) => {
                    if received == 0 {
                        break;
                    }
                }
                () = until(election) => {}
                () = until(self.draining.wait()) => {}
                () = until(self.keeping.wait()) => {}
                () = until(self.peers.rests()) => {}
                () = &mut first, if !self.world.is_complete() => {
                    // Before that there is nothing to record: a source that is away is waited for.
                    if self.world.waiting().is_empty() {
                        tracing::warn!("statuses are not recorded, or the kernel has not answered, in time; announcing without them");
                        self.world.stop_waiting_for_records();
                    }
                    first.as_mut().reset(tokio::time::Instant::now() + FIRST_RECORD);
                }
            }
            let began = self.peers.now();
            let mut stop = None;
            for message in messages.drain(..) {
                match message {
                    Message::Stop(parting) => stop = Some(parting),
                    message => self.take(message),
                }
            }
            self.peers.resume(&mut self.world);
            self.settle();
            self.freshness.turn(began, self.peers.now());
            if let Some(parting) = stop {
                stopped = parting;
                break;
            }
        }
        self.leave_segments();
        let for_good = self.take_leave(stopped).await;
        let resigned = self.segments.resigned();
        self.end(for_good).await;
        resigned.await;
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Batch(batch) => self.take_batch(batch),
            Message::Peer(name, event) => self.take_peer(&name, event),
            Message::Listen(ListenEvent::Incoming(incoming)) => {
                if self.world.is_open() {
                    self.peers.incoming(&self.config, incoming, &mut self.world);
                }
            }
            Message::Listen(ListenEvent::Status(status)) => self.listen_status(status),
            Message::Neighbor(event) => self.peers.neighbor(event),
            Message::Kernel(report) => self.kernel_report(report),
            Message::Health(health) => self.take_health(health),
            Message::Programmed(programmed) => self.take_programmed(&programmed),
            Message::Link(event) => self.take_link(event),
            Message::Lease(event) => self.take_lease(event),
            Message::Asked(asked) => self.answer(asked),
            Message::Host(host) => {
                if self.world.set_host((*host).clone()) {
                    self.record(&Event::Host { host: *host });
                }
            }
            // Who asked may have gone.
            Message::Observe(reply) => drop(reply.send(self.observe())),
            Message::BgpStatus(reply) => drop(reply.send(self.bgp_status())),
            Message::Waiting(reply) => drop(reply.send(self.world.waiting().clone())),
            Message::Leave => self.leave_segments(),
            // It ends the loop of `run`, which keeps it.
            Message::Stop(_) => {}
            #[cfg(test)]
            Message::PanicIn(peer) => {
                if let Some(peer) = self.peers.get(&peer) {
                    peer.handle.panic();
                }
            }
            Message::Reload(Ok(loaded)) => self.reload(*loaded),
            Message::KeysChanged => {
                tracing::info!("a passwordFile has changed");
                self.peers.configuration_changed();
            }
            Message::Reload(Err(error)) => {
                tracing::error!("the new configuration is refused, the old one stays in force:\n{error}");
                self.config_errors = error.errors();
                self.freshness.refused();
            }
        }
    }

    fn take_peer(&mut self, name: &PeerName, event: PeerEvent) {
        // The last words of a task that was replaced say nothing of its successor's session.
        if self.peers.get(name).is_some_and(|peer| Arc::ptr_eq(peer.handle.name(), name)) {
            self.stations.heard(name, &event);
        }
        self.peers.event(&mut self.world, name, event);
    }

    fn take_batch(&mut self, batch: SourceBatch) {
        self.since = self.since.or(Some(batch.handed_over));
        self.freshness.heard(&batch.source);
        for change in batch.changes {
            if let Some(change) = self.precedence.admit(&batch.source, change, self.world.inputs()) {
                self.take_change(change);
            }
        }
        if batch.synced {
            self.world.synced(&batch.source);
            self.record(&Event::Synced { source: batch.source.to_string() });
        }
        if let Some(faults) = batch.faults {
            self.faults.insert(batch.source, faults);
        }
    }

    fn take_change(&mut self, change: ObjectChange) {
        match change {
            ObjectChange::Upsert(object) => {
                self.follow_keys(&object.reference());
                if self.recorder.is_some() {
                    self.record(&Event::Upsert { object: object.clone() });
                }
                self.world.upsert(object);
            }
            ObjectChange::Delete(object) => {
                self.follow_keys(&object);
                self.world.delete(&object);
                self.record(&Event::Delete { object });
            }
        }
    }

    /// An object that says what key a session has.
    fn follow_keys(&mut self, object: &ObjectRef) {
        if matches!(object, ObjectRef::Secret(_)) {
            self.peers.configuration_changed();
        }
    }

    /// What there is to say about Cilium's BGP kinds is logged once and shown where faults are.
    fn tell_findings(&mut self) {
        let (mut found, notes) = self.world.cilium_findings();
        found.extend(notes);
        let known = self.faults.get(CILIUM_BGP).map(Vec::as_slice).unwrap_or_default();
        if found == known {
            return;
        }
        for text in found.iter().filter(|text| !known.contains(text)) {
            tracing::warn!("{text}");
        }
        self.faults.insert(Arc::from(CILIUM_BGP), found);
    }

    /// A name under which the cluster has no Node is told of once, and shown where faults are.
    fn tell_nameless(&mut self) {
        let (node, nodes) = (self.world.node(), "nodes");
        let listed = self.config.sources.kubernetes && !self.world.waiting().contains(nodes);
        if !listed || self.world.inputs().nodes.contains_key(node) {
            self.faults.remove(NAMELESS);
            return;
        }
        let text = format!(
            "the cluster has no Node {node:?}: set node.name or $NODE_NAME to this node's name there; until then its labels, addresses and Pod CIDRs are not known here, and drain keeps no order"
        );
        let fault = self.faults.entry(Arc::from(NAMELESS)).or_default();
        if fault.first() != Some(&text) {
            tracing::warn!("{text}");
            *fault = vec![text];
        }
    }

    /// Recomputes what the messages touched and passes the results on.
    fn settle(&mut self) {
        let now = unix_now();
        self.watch_secrets();
        self.open_kept();
        self.drain(now);
        if self.unsettled {
            self.record(&Event::Settle { now });
            self.unsettled = false;
        }
        let kept = self.world.kept_since();
        let mut changes = self.world.settle(now);
        if let (Some(written), None) = (kept, self.world.kept_since()) {
            tracing::info!("every source has delivered: the set kept at {} is replaced", rfc3339(written));
        }
        if changes.complete {
            tracing::info!("every source has delivered: sessions start");
        }
        if self.world.is_open() && self.peers.reconcile(&self.config, &mut self.world) {
            self.stations.configure(&mut self.world);
            self.secrets_stale = true;
            self.watch_secrets();
            let listen = peers::listen_addresses(&self.config, &self.world);
            self.listening.send_modify(|all| all.retain(|status| listen.contains(&status.wanted)));
        }
        // First of all the peers. The kernel has carried for long what is announced, and carries for a while what is
        // withdrawn; what follows then is for the disk and for people.
        self.peers.follow(&self.world, &changes, self.since.take());
        if let (Some(wanted), Some(kernel)) = (changes.kernel.take(), &self.kernel) {
            kernel.want(wanted);
        }
        self.ask_proxy(changes.proxy);
        if self.world.is_open() {
            self.tell_findings();
            self.tell_nameless();
        }
        self.stations.follow(&self.config, &mut self.peers, &self.world, &changes);
        self.settle_segments();
        self.tell_allocation(std::mem::take(&mut changes.ipam));
        self.keep();
    }

    fn reload(&mut self, loaded: Loaded) {
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.without_severity());
        }
        self.config_errors.clear();
        self.freshness.loaded(&loaded.text);
        self.restart_needed = restart_needed(&self.first_config, &loaded.config);
        for key in &self.restart_needed {
            tracing::warn!("the new value of {key} takes effect after a restart");
        }
        let node = self.world.node().to_owned();
        self.config = loaded.config;
        self.world.configure(&self.config, &node);
        self.stations.configure(&mut self.world);
        self.record(&Event::Configure { text: loaded.text, node });
        self.follow_health();
        self.secrets_stale = true;
        self.peers.configuration_changed();
        tracing::info!("the new configuration is in force");
    }

    fn listen_status(&mut self, status: ListenStatus) {
        if !peers::listen_addresses(&self.config, &self.world).contains(&status.wanted) {
            // A last word of a socket that a reload has closed.
            return;
        }
        self.listening.send_modify(|all| {
            all.retain(|known| known.wanted != status.wanted);
            all.push(status);
        });
    }

    fn record(&mut self, event: &Event) {
        self.unsettled = true;
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.write(event)
        {
            tracing::error!(%error, "recording stops");
            self.recorder = None;
        }
    }
}

/// The keys whose new values a reload cannot bring into force.
fn restart_needed(old: &SpeakerConfig, new: &SpeakerConfig) -> Vec<String> {
    let fixed = [
        ("node.name", old.node_name == new.node_name),
        ("router.routerId", old.router.router_id == new.router.router_id),
        ("sources", old.sources == new.sources),
        ("ipam", old.ipam == new.ipam),
        ("api", old.api == new.api),
    ];
    fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| key.to_owned()).collect()
}

/// Waits so long, or for good.
async fn until(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Wall time: seconds since 1970.
pub(crate) fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Peers by name, for iteration in a stable order.
type ByName<T> = BTreeMap<Arc<str>, T>;
