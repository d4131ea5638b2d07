//! The one place that starts tasks and joins them by channels.
//!
//! ```text
//! manifests ─┐                      ┌─► peer[n]    (Adj-RIB-Out → UPDATE)
//! kube ──────┤                      │
//! listener ──┤  Message             ├─► manifests  (statuses to record)
//! neighbors ─┤                      ├─► neighbors  (interfaces to look on)
//! peer[n] ───┼────────► hub ────────┤
//! api, http ─┤  mpsc                ├─► kernel     (routes and rules)
//! kernel ────┤                      └─► api, http  (answers, metrics)
//! file watch ┘
//! ```

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use speaker_config::model::SpeakerConfig;
use speaker_core::l2::segment::Held;
use speaker_core::world::Host;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bgp_status;
use crate::hub::{Hub, HubSpec, KeepSpec, Message, SegmentHandles};
use crate::io::drain::Keeper;
use crate::io::http::{self, Paths};
use crate::io::listen::ListenStatus;
use crate::io::parting::Witness;
use crate::io::peer::PeerContext;
use crate::io::{
    api, bfd, bmp, boot, carrier, clock::Clock, egress, health, kept::Shelf, kernel, kube, learn, link,
    listen, manifests, neighbors, programming,
};
use crate::load::{self, Loaded};
use crate::monitor::Agent;
use crate::question::Asked;

/// How many messages may wait for the hub; whoever sends more waits in turn.
const HUB_QUEUE: usize = 4096;

/// How often an agent asks whether Cilium's own BGP control plane is on.
const ASK_CILIUM: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Debug)]
pub struct AppSpec {
    /// The configuration.
    pub loaded: Loaded,
    /// Its file, watched for changes; absent in the demo.
    pub file: Option<PathBuf>,
    /// Where events are recorded.
    pub record: Option<PathBuf>,
    /// Where metrics are served beside `api.http`.
    pub metrics: Option<SocketAddr>,
    /// Look after the kernel's routes (`datapath`).
    pub kernel: bool,
}

/// A running speaker.
#[derive(Debug)]
pub struct App {
    messages: mpsc::Sender<Message>,
    listening: watch::Receiver<Vec<ListenStatus>>,
    /// Absent once it has ended.
    hub: Option<JoinHandle<()>>,
    bfd: bfd::Bfd,
    witness: Witness,
    helpers: Vec<JoinHandle<()>>,
}

impl App {
    /// Starts every task.
    ///
    /// # Errors
    /// Something without which nothing works: the state folder, the API's sockets, netlink.
    pub async fn start(spec: AppSpec) -> anyhow::Result<Self> {
        let AppSpec { loaded, file, record, metrics, kernel: look_after_kernel } = spec;
        let clock = Clock::start();
        let node = load::node_name(&loaded.config).map_err(anyhow::Error::msg)?;
        let recorder = record.as_deref().map(recorder).transpose()?;
        let (messages, inbox) = mpsc::channel(HUB_QUEUE);
        let (listening, listening_seen) = watch::channel(Vec::new());
        let egress = egress::EgressLookup::open()?;
        let (peer_events, from_peers) = mpsc::channel(HUB_QUEUE);
        let (listen_events, from_listener) = mpsc::channel(64);
        let (kernel_reports, from_kernel) = mpsc::channel(64);
        let (asked, questions) = mpsc::channel(64);
        let (held, held_here) = watch::channel(Held::default());
        let (link_events, from_links) = mpsc::channel(64);
        let (sought, seek) = watch::channel(BTreeSet::new());
        let (found, from_neighbors) = mpsc::channel(64);
        let mut helpers = vec![
            forward(from_peers, &messages, |(peer, event)| Message::Peer(peer, event)),
            forward(from_listener, &messages, Message::Listen),
            forward(from_kernel, &messages, Message::Kernel),
            forward(from_links, &messages, Message::Link),
            forward(from_neighbors, &messages, Message::Neighbor),
            forward(questions, &messages, Message::Asked),
        ];

        helpers.push(serve_api(&loaded.config.api.socket, asked)?);
        helpers.extend(watchable(&messages, loaded.config.api.http, metrics).await?);
        let sources = Sources::start(&loaded.config, &messages, &node, clock).await?;
        let host = own_addresses(&egress).await;
        helpers.push(tokio::spawn(follow_host(egress.clone(), messages.clone())));
        let predecessor = predecessor(&loaded.config)?;
        let keep = keep(&loaded.config, &node);
        let (learn, kernel) = routes(look_after_kernel, kernel_reports, clock)?;
        helpers.push(link::spawn(held_here, link_events));
        helpers.push(neighbors::spawn(seek, found, clock, egress.clone()));
        let listener = listen::spawn(&loaded.config.router.listen, listen_events);
        helpers.extend(sources.tasks);
        if let Some(file) = file {
            helpers.push(crate::reload::watch(file, &loaded, messages.clone()));
        }

        let bfd = bfd::Bfd::new(clock);
        let carriers = carrier::Carriers::watch().context("cannot follow the state of interfaces")?;
        let (events, pulse) = (peer_events, bmp::Pulse::default());
        let context = PeerContext { events, clock, egress, bfd: bfd.clone(), carriers, learn, pulse };
        let hub = Hub::new(HubSpec {
            loaded,
            node,
            predecessor,
            host,
            context,
            sources: sources.names,
            manifests: sources.manifests,
            secrets: sources.secrets,
            kernel,
            keeper: sources.keeper,
            keep,
            health: ask_for_health(&messages, &mut helpers),
            programming: ask_proxy(&messages, &mut helpers, clock),
            listener,
            neighbors: sought,
            listening,
            segments: SegmentHandles { held, leases: sources.leases },
            recorder,
        });
        let hub = Some(tokio::spawn(hub.run(inbox)));
        Ok(Self { messages, listening: listening_seen, hub, bfd, witness: sources.witness, helpers })
    }

    /// Where questions go.
    #[must_use]
    pub fn hub(&self) -> mpsc::Sender<Message> {
        self.messages.clone()
    }

    /// The state of the listening sockets.
    #[must_use]
    pub fn listening(&self) -> watch::Receiver<Vec<ListenStatus>> {
        self.listening.clone()
    }

    /// Waits until the hub has ended, which without [`Self::stop`] is a fault of ours: nothing works any more.
    pub async fn broken(&mut self) {
        let Some(hub) = &mut self.hub else { return };
        if let Err(error) = hub.await {
            tracing::error!(%error, "the hub ended badly");
        }
        self.hub = None;
    }

    /// Ends sessions in an orderly way, then everything else.
    pub async fn stop(mut self) {
        // A hub that has ended by itself has nothing left to stop.
        let _ = self.messages.send(Message::Leave).await;
        let _ = self.messages.send(Message::Stop(self.witness.ask().await)).await;
        self.broken().await;
        self.bfd.finish().await;
        for helper in self.helpers {
            helper.abort();
        }
    }
}

fn recorder(file: &Path) -> anyhow::Result<crate::record::Recorder> {
    crate::record::Recorder::create(file)
        .with_context(|| format!("cannot record events in {}", file.display()))
}

/// Those who deal with the kernel's routes: what is learned, and what carries what is announced.
fn routes(
    look_after: bool,
    reports: mpsc::Sender<kernel::KernelReport>,
    clock: Clock,
) -> anyhow::Result<(learn::Learn, Option<kernel::KernelHandle>)> {
    let unread = "cannot read the kernel's routes";
    let holder = kernel::Holder::default();
    let learn = learn::spawn(look_after.then(|| holder.clone()), clock).context(unread)?;
    let kernel = look_after.then(|| kernel::spawn(reports, holder, clock)).transpose().context(unread)?;
    Ok((learn, kernel))
}

/// Answers the command line.
fn serve_api(path: &Path, asked: mpsc::Sender<Asked>) -> anyhow::Result<JoinHandle<()>> {
    let socket = api::bind(path).map_err(|error| {
        let socket = path.display();
        anyhow::anyhow!("cannot serve the API on {socket}: {error}; api.socket says where it is")
    })?;
    Ok(tokio::spawn(async move {
        if let Err(error) = api::serve(socket, asked).await {
            tracing::error!(%error, "the API has failed");
        }
    }))
}

/// The sources of objects, running.
struct Sources {
    /// Those to wait for.
    names: BTreeSet<String>,
    /// The one that records statuses too.
    manifests: Option<manifests::ManifestsHandle>,
    secrets: Option<kube::SecretWatches>,
    /// Where calls about Leases go.
    leases: Option<mpsc::UnboundedSender<kube::LeaseCall>>,
    keeper: Keeper,
    /// Who knows what comes after the end.
    witness: Witness,
    tasks: Vec<JoinHandle<()>>,
}

impl Sources {
    /// Starts those that the configuration has.
    async fn start(
        config: &SpeakerConfig,
        hub: &mpsc::Sender<Message>,
        node: &str,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let configured = &config.sources;
        let mut sources = Self {
            names: BTreeSet::new(),
            manifests: None,
            secrets: None,
            leases: None,
            keeper: Keeper::Folder(config.ipam.state_dir.clone()),
            witness: Witness::new(None),
            tasks: Vec::new(),
        };
        if !configured.manifests.is_empty() || !configured.kubernetes {
            let (batches, from_manifests) = mpsc::channel::<manifests::ManifestBatch>(64);
            sources.tasks.push(forward(from_manifests, hub, |batch| Message::Batch(batch.into())));
            let spec = manifests::ManifestsSpec {
                paths: configured.manifests.clone(),
                state_dir: config.ipam.state_dir.clone(),
            };
            let handle = manifests::spawn(&spec, batches, clock).map_err(anyhow::Error::msg)?;
            sources.names.insert(manifests::SOURCE.to_owned());
            sources.manifests = Some(handle);
        }
        if configured.kubernetes {
            let connection = kube::connect().await?;
            tracing::info!(server = connection.server, "reading the Kubernetes API");
            let (batches, from_kube) = mpsc::channel(64);
            sources.tasks.push(forward(from_kube, hub, Message::Batch));
            let l2 = config.l2.enabled && configured.cilium_l2 != Some(false);
            for (kind, filter) in kube::agent_kinds(node, l2) {
                sources.names.insert(filter.source(&kind.resource).to_string());
                let client = connection.client.clone();
                sources.tasks.push(kube::spawn_objects(client, kind, filter, batches.clone(), clock));
            }
            if configured.cilium_bgp != Some(false) {
                let kinds = kube::agent_bgp_kinds(node);
                let names = kinds.iter().map(|(kind, filter)| filter.source(&kind.resource).to_string());
                sources.names.extend(names);
                let cilium = kube::Cilium::follow(configured.cilium_bgp, &connection, ASK_CILIUM);
                let client = connection.client.clone();
                sources.tasks.push(kube::spawn_bgp_kinds(cilium, client, kinds, batches.clone(), clock));
                let reporting = bgp_status::report(connection.client.clone(), hub.clone(), clock);
                sources.tasks.push(tokio::spawn(reporting));
            }
            if config.l2.enabled {
                let (events, from_leases) = mpsc::channel(HUB_QUEUE);
                let (leases, calls) = mpsc::unbounded_channel();
                sources.tasks.push(forward(from_leases, hub, Message::Lease));
                let duration = config.l2.lease_duration;
                sources.tasks.extend(kube::spawn_leases(&connection, node, duration, events, calls, clock));
                sources.leases = Some(leases);
            }
            sources.witness = Witness::new(Some((&connection, node)));
            sources.keeper = Keeper::Node { client: connection.client.clone(), name: node.to_owned() };
            sources.secrets = Some(kube::SecretWatches::new(connection, batches, clock));
        }
        Ok(sources)
    }
}

/// Asks for the health of what `readiness` waits for, at the place that the hub names.
fn ask_for_health(
    hub: &mpsc::Sender<Message>,
    helpers: &mut Vec<JoinHandle<()>>,
) -> watch::Sender<Option<SocketAddr>> {
    let (place, named) = watch::channel(None);
    let (told, from_health) = mpsc::channel(8);
    helpers.push(forward(from_health, hub, Message::Health));
    helpers.push(health::spawn(named, told));
    place
}

/// Asks kube-proxy whether it has set up what the hub names.
fn ask_proxy(
    hub: &mpsc::Sender<Message>,
    helpers: &mut Vec<JoinHandle<()>>,
    clock: Clock,
) -> watch::Sender<Option<programming::Question>> {
    let (ask, asked) = watch::channel(None);
    let (told, settled) = mpsc::channel(8);
    helpers.push(forward(settled, hub, Message::Programmed));
    helpers.push(programming::spawn(asked, told, clock));
    ask
}

/// Serves metrics and health.
async fn watchable(
    hub: &mpsc::Sender<Message>,
    all: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let agent = Arc::new(Agent::new(hub.clone()));
    let mut tasks = Vec::new();
    for (address, paths, key) in [(all, Paths::All, "api.http"), (metrics, Paths::Metrics, "--metrics")] {
        let Some(address) = address else { continue };
        let socket = http::bind(address).await.map_err(|error| {
            anyhow::anyhow!("cannot serve metrics on {address}: {error}; {key} says where they are")
        })?;
        tracing::info!("{key}: listening on {}", socket.local_addr().unwrap_or(address));
        tasks.push(tokio::spawn(http::serve(socket, Arc::clone(&agent), paths)));
    }
    Ok(tasks)
}

/// Brings everything from one channel to the hub, until either end is gone.
fn forward<T: Send + 'static>(
    mut from: mpsc::Receiver<T>,
    hub: &mpsc::Sender<Message>,
    wrap: fn(T) -> Message,
) -> JoinHandle<()> {
    let hub = hub.clone();
    tokio::spawn(async move {
        while let Some(item) = from.recv().await {
            if hub.send(wrap(item)).await.is_err() {
                return;
            }
        }
    })
}

/// The process before this one. In a cluster nothing else is kept on the node: there a folder that cannot be
/// written to costs graceful restart alone.
fn predecessor(config: &SpeakerConfig) -> anyhow::Result<boot::Predecessor> {
    let folder = &config.ipam.state_dir;
    match boot::follow(folder) {
        Err(error) if config.sources.kubernetes => {
            let folder = folder.display();
            tracing::warn!(
                "cannot write to ipam.stateDir {folder}, so that peers are not told of restarts: {error}"
            );
            Ok(boot::Predecessor::default())
        }
        result => result.with_context(|| format!("cannot write to ipam.stateDir {}", folder.display())),
    }
}

/// Where what is announced is kept: in a cluster alone, since manifests are always there.
fn keep(config: &SpeakerConfig, node: &str) -> KeepSpec {
    let longest = config.sources.keep_announced;
    let shelf = Shelf::new(&config.ipam.state_dir, node);
    let wanted = config.sources.kubernetes && !longest.is_zero();
    if !wanted && let Err(error) = shelf.forget() {
        tracing::warn!("{}: {error}", shelf.path().display());
    }
    KeepSpec { shelf: wanted.then_some(shelf), longest }
}

/// Tells the hub when this host's addresses or default routes move.
async fn follow_host(egress: egress::EgressLookup, hub: mpsc::Sender<Message>) {
    let mut moves = match egress::Moves::open() {
        Ok(moves) => moves,
        Err(error) => {
            tracing::warn!("the kernel does not tell when this host's addresses move: {error}");
            return;
        }
    };
    while moves.next().await.is_some() {
        // What cannot be read now stays as it was.
        let Ok(found) = egress.host().await else { continue };
        if hub.send(Message::Host(Box::new(host(found)))).await.is_err() {
            return;
        }
    }
}

fn host(found: egress::HostAddresses) -> Host {
    Host {
        own: found.own.iter().filter(|(_, subnet)| !subnet.is_host()).map(|(addr, _)| *addr).collect(),
        gateways: found.gateways,
        default_gateways: found.default_gateways,
        interfaces: found.interfaces,
        unknown: false,
    }
}

/// What this host lives on, as far as the kernel says.
async fn own_addresses(egress: &egress::EgressLookup) -> Host {
    match egress.host().await {
        Ok(found) => host(found),
        Err(error) => {
            tracing::warn!(
                "the kernel does not tell this host's addresses, so that they are not guarded: {error}"
            );
            Host::default()
        }
    }
}

#[cfg(test)]
mod tests;
