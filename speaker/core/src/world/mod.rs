//! Everything the hub knows, and the one way in which it changes.
//!
//! [`World::upsert`], [`World::delete`] and [`World::synced`] only note what they touch. [`World::settle`] recomputes what was
//! touched and says what is to be done. The same events give the same world.

mod findings;
mod kept;
mod peers;
mod readiness;
mod segment;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::types::FamilyMap;
use serde::{Deserialize, Serialize};
use speaker_config::model::{DefaultClass, Readiness, ServiceClass, SpeakerConfig};
use speaker_config::objects::{Labels, Object, ObjectRef, UnixSeconds};

use crate::announce::Announcer;
use crate::datapath::{Change, Kernel, KernelReport};
use crate::drain::Drain;
use crate::export::{Exporter, PeerOut, Table};
use crate::inputs::{Inputs, Touched};
use crate::ipam::{Freed, Held, Ipam, IpamChanges, IpamSettings};
use crate::kept::KeptSet;
use crate::pools::Pools;
use crate::programming::Programmed;
use crate::readiness::{Gate, Health};

pub use findings::Finding;
pub use peers::{EffectivePeer, EffectivePeers};

/// Where Cilium has the Secrets of `authSecretRef` unless it is told otherwise.
pub const SECRETS_NAMESPACE: &str = "kube-system";

/// What the world is told. A file of these, a JSON object a line, can be replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// A new version of an object.
    Upsert {
        /// The object.
        object: Object,
    },
    /// An object is gone.
    Delete {
        /// Its name.
        object: ObjectRef,
    },
    /// The interfaces of this node that are up.
    Interfaces {
        /// Their names.
        interfaces: BTreeSet<String>,
        /// Those on which the kernel answers ARP for every address that is delivered on this host.
        #[serde(default)]
        answering: BTreeSet<String>,
    },
    /// A source has delivered its first full list.
    Synced {
        /// The source's name.
        source: String,
    },
    /// The beginning: the first configuration.
    Start {
        /// The text of `speaker.yaml`.
        text: String,
        /// What else the process began with.
        start: Start,
    },
    /// The host has other addresses or gateways.
    Host {
        /// What it has.
        host: Host,
    },
    /// Another configuration is in force.
    Configure {
        /// The text.
        text: String,
        /// The node's name.
        node: String,
    },
    /// What the kernel's shell tells.
    Kernel {
        /// The report.
        report: KernelReport,
    },
    /// The node is on its way out, or back.
    Drain {
        /// How far.
        drain: Drain,
    },
    /// What `readiness` waits for was asked.
    Health {
        /// What was found.
        health: Health,
    },
    /// Nobody has told of the objects in time: what the process before this one announced is announced again.
    Kept {
        /// What it left.
        set: Box<KeptSet>,
    },
    /// kube-proxy has set up what it was asked for.
    Programmed {
        /// What, and how it went.
        programmed: Programmed,
    },
    /// The end of a batch: everything before is to be acted on at this wall time.
    Settle {
        /// Seconds since 1970.
        now: UnixSeconds,
    },
}

/// What a world begins with, beside its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The node's name.
    pub node: String,
    /// The sources to wait for.
    pub sources: BTreeSet<String>,
    /// Addresses that were given back before a restart, the longest free first.
    pub freed: Vec<IpAddr>,
    /// What Services had before a restart.
    #[serde(default)]
    pub held: Vec<Held>,
    /// The one namespace of Secrets with TCP MD5 keys; absent for [`SECRETS_NAMESPACE`].
    #[serde(default)]
    pub secrets_namespace: Option<String>,
    /// What this host lives on.
    pub host: Host,
    /// Somebody else gives out addresses: in a cluster the operator or another controller does, and this
    /// process announces what it finds recorded.
    #[serde(default)]
    pub allocated_elsewhere: bool,
    /// Somebody looks after the kernel: what it is to carry is announced once [`World::kernel`] says that it does.
    #[serde(default)]
    pub kernel: bool,
    /// An earlier process on the same boot has seen healthy what `readiness` waits for.
    #[serde(default)]
    pub ready: bool,
}

/// What this host lives on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its own addresses, those apart that stand alone (/32, /128), as an anycast address on `lo` does.
    pub own: Vec<IpAddr>,
    /// Next hops of its default routes.
    pub gateways: Vec<IpAddr>,
    /// The next hop of the default route that is in force, a family each.
    #[serde(default)]
    pub default_gateways: FamilyMap<Option<IpAddr>>,
    /// Addresses of the interfaces that are up, by name.
    #[serde(default)]
    pub interfaces: BTreeMap<String, Vec<IpAddr>>,
    /// Nobody has asked the kernel: what depends on it is left out without a word.
    #[serde(default)]
    pub unknown: bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Changes {
    /// Statuses to record.
    pub ipam: IpamChanges,
    /// Peers whose tables have something new.
    pub pending: BTreeSet<Arc<str>>,
    /// Peers that belong to other tables now.
    pub moved: BTreeSet<Arc<str>>,
    /// The Loc-RIB's tables have something new for those who follow them.
    pub local: bool,
    /// What the kernel is to carry from now on, where that changed.
    pub kernel: Option<Change>,
    /// What kube-proxy is to be asked: whether it has set up everything that is known now.
    pub proxy: Option<u64>,
    /// Every source has delivered with this batch: sessions may start.
    pub complete: bool,
}

/// The world.
#[derive(Debug)]
pub struct World {
    node: String,
    default_class: DefaultClass,
    config: SpeakerConfig,
    secrets_namespace: String,
    peers: EffectivePeers,
    inputs: Inputs,
    touched: Touched,
    /// Sources that have not delivered their first full list.
    waiting: BTreeSet<String>,
    /// What another process left is in force.
    kept: Option<kept::InForce>,
    /// What is to be kept for the next process has changed.
    keep_stale: bool,
    complete: bool,
    host: Host,
    give_up_on_records: bool,
    ipam: Option<Ipam>,
    announcer: Announcer,
    exporter: Exporter,
    l2: Option<segment::L2>,
    drain: Drain,
    readiness: Gate,
    /// What the last change of `drain` means to the peers.
    drained: crate::export::Changes,
}

impl World {
    /// A world that waits for its sources and announces nothing before each of them has delivered
    /// (design §5, "Silence before knowledge").
    #[must_use]
    pub fn new(config: &SpeakerConfig, start: &Start) -> Self {
        let Start { node, sources, freed, held, host, allocated_elsewhere, secrets_namespace, .. } = start;
        let allocates = config.ipam.enabled && !allocated_elsewhere;
        // Their order is all that counts.
        let freed = freed.iter().map(|address| Freed { address: *address, since: 0 });
        let mut ipam = allocates.then(|| Ipam::with_freed(ipam_settings(config), freed));
        if let Some(ipam) = &mut ipam {
            held.iter().for_each(|held| ipam.hold(&Pools::default(), held));
        }
        let mut world = Self {
            node: node.clone(),
            default_class: config.ipam.default_class,
            config: config.clone(),
            secrets_namespace: secrets_namespace.as_deref().unwrap_or(SECRETS_NAMESPACE).to_owned(),
            peers: EffectivePeers::default(),
            inputs: Inputs::default(),
            touched: Touched::default(),
            waiting: sources.clone(),
            kept: None,
            keep_stale: false,
            complete: false,
            host: host.clone(),
            give_up_on_records: false,
            ipam,
            announcer: Announcer::new(),
            exporter: Exporter::new(),
            l2: None,
            drain: Drain::No,
            readiness: Gate::new(start.ready),
            drained: crate::export::Changes::default(),
        };
        if start.kernel {
            world.announcer.expect_kernel();
        }
        world.configure(config, node);
        world
    }

    /// A new configuration is in force. `ipam` is fixed while the process runs.
    pub fn configure(&mut self, config: &SpeakerConfig, node: &str) {
        node.clone_into(&mut self.node);
        self.config = config.clone();
        self.keep_stale = true;
        self.refresh();
        self.configure_segment(config);
        self.readiness.configure(config.readiness);
        self.announcer.set_programming(config.readiness == Readiness::KubeProxy);
        self.judge_readiness();
    }

    /// What this host has now; whether it is something else than before.
    pub fn set_host(&mut self, host: Host) -> bool {
        let moved = host != self.host;
        if moved {
            self.host = host;
            self.refresh();
        }
        moved
    }

    /// Takes one event about an object or a source.
    pub fn upsert(&mut self, object: Object) {
        self.confirm(&object);
        self.inputs.upsert(object, &mut self.touched);
    }

    /// An object is gone.
    pub fn delete(&mut self, object: &ObjectRef) {
        self.inputs.remove(object, &mut self.touched);
        if let (Some(ipam), ObjectRef::Service(key)) = (&mut self.ipam, object) {
            ipam.let_go(key);
        }
    }

    /// A source has delivered its first full list.
    pub fn synced(&mut self, source: &str) {
        self.waiting.remove(source);
    }

    /// What the kernel's shell tells of what it was asked for by [`Changes::kernel`].
    pub fn kernel(&mut self, report: KernelReport) {
        self.announcer.kernel(report);
    }

    /// Recomputes what was touched since the last time.
    pub fn settle(&mut self, now: UnixSeconds) -> Changes {
        // "Nothing is announced, withdrawn or removed from the kernel until every source has delivered its
        // first full list."
        if !self.waiting.is_empty() {
            return self.settle_kept();
        }
        self.let_go_of_kept();
        let touched = std::mem::take(&mut self.touched);
        self.keep_stale |= touched.bgp || touched.nodes.contains(&self.node);
        let mut changes = Changes::default();
        if touched.bgp || !touched.secrets.is_empty() || touched.nodes.contains(&self.node) {
            self.refresh();
        }
        if !touched.secrets.is_empty() {
            self.peers.keys_changed();
        }
        if let Some(ipam) = &mut self.ipam {
            ipam.touch(&touched);
            changes.ipam = ipam.reconcile(&self.inputs, now);
        }
        if let Some(l2) = &mut self.l2 {
            l2.reconcile(&self.inputs, &touched, || self.announcer.wait_for_proxy());
        }
        self.announcer.touch(&touched);
        let changed = self.announcer.reconcile(&self.inputs, now);
        if let Some(segment) = self.l2.as_mut().map(segment::L2::segment_mut) {
            segment.programmed(self.announcer.answered());
        }
        self.keep_stale |= !changed.is_empty();
        let exported = self.exporter.apply(&changed, self.announcer.rib());
        let drained = std::mem::take(&mut self.drained);
        changes.local = exported.local;
        changes.pending = exported.pending;
        changes.pending.extend(drained.pending);
        changes.moved = exported.moved;
        changes.moved.extend(drained.moved);
        // A status that is still to be recorded belongs to the first full picture: its echo comes with the
        // next batch, and End-of-RIB waits for it. So do routes that the kernel or kube-proxy has not answered for.
        let carried = self.announcer.carriage().is_answered() && self.announcer.is_programmed();
        let answered = changes.ipam.services.is_empty() && carried;
        if !self.complete && (self.give_up_on_records || answered) {
            self.complete = true;
            self.keep_stale = true;
            changes.complete = true;
            changes.pending.extend(self.exporter.set_complete().pending);
            self.announcer.set_complete();
        }
        if self.watches_kernel() {
            changes.kernel = self.announcer.tell_kernel();
        }
        changes.proxy = self.announcer.ask_proxy();
        changes
    }

    /// Somebody looks after the kernel.
    fn watches_kernel(&self) -> bool {
        self.announcer.carriage().kernel != Kernel::Absent
    }

    /// Statuses of the first list are not recorded, or the kernel has not answered, in time: routes go out
    /// without them.
    pub fn stop_waiting_for_records(&mut self) {
        self.give_up_on_records = true;
    }

    /// Takes the node out of service, or back; says whether that is new.
    pub fn set_drain(&mut self, drain: Drain) -> bool {
        if self.drain == drain {
            return false;
        }
        self.drain = drain;
        self.keep_stale = true;
        self.judge_available();
        let changes = self.exporter.set_drain(drain, self.announcer.rib());
        self.drained.pending.extend(changes.pending);
        self.drained.moved.extend(changes.moved);
        true
    }

    /// How far this node is on its way out.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain
    }

    /// A session was established, or an established peer's policy changed.
    pub fn peer_up(&mut self, name: &str, out: PeerOut) -> FamilyMap<Option<Arc<Table>>> {
        self.exporter.peer_up(name, out, self.announcer.rib())
    }

    /// A session ended.
    pub fn peer_down(&mut self, name: &str) {
        self.exporter.peer_down(name);
    }

    /// Whether somebody follows the Loc-RIB ([`Exporter::local_tables`]).
    pub fn follow_local(&mut self, wanted: bool) {
        self.exporter.follow_local(wanted, self.announcer.rib());
    }

    /// The tables of an established peer.
    #[must_use]
    pub fn tables(&self, name: &str) -> FamilyMap<Option<Arc<Table>>> {
        self.exporter.tables(name)
    }

    /// All sources have delivered, and what they led to is recorded.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Sessions may run: the world is complete, or what another process left is in force.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.complete || self.exporter.is_open()
    }

    /// Sources that have not delivered yet.
    #[must_use]
    pub fn waiting(&self) -> &BTreeSet<String> {
        &self.waiting
    }

    /// The objects.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The labels of this node; none where there is no Node object.
    #[must_use]
    pub fn node_labels(&self) -> Labels {
        self.inputs.selectable_labels(&self.node)
    }

    /// The peers that this node is to have, and those that came by themselves: by name.
    fn peer_names(&self) -> BTreeSet<&str> {
        let configured = self.peers.all().iter().map(|one| one.peer.name.as_str());
        configured.chain(self.exporter.peers().map(|(name, _)| name)).collect()
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The allocator, where this process allocates.
    #[must_use]
    pub fn ipam(&self) -> Option<&Ipam> {
        self.ipam.as_ref()
    }

    /// Intents and the Loc-RIB.
    #[must_use]
    pub fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// Update groups.
    #[must_use]
    pub fn exporter(&self) -> &Exporter {
        &self.exporter
    }
}

/// What the allocator is set to by the file.
#[must_use]
pub fn ipam_settings(config: &SpeakerConfig) -> IpamSettings {
    let classes = config.ipam.classes.as_ref();
    let serves = |class, default| classes.map_or(default, |classes| classes.contains(&class));
    IpamSettings {
        families: config.ipam.families,
        default_class: config.ipam.default_class,
        bgp_class: serves(ServiceClass::Bgp, true),
        l2_class: serves(ServiceClass::L2, config.l2.enabled),
    }
}
