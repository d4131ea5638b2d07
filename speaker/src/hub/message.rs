//! What the hub is told, and what it begins with.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use speaker_core::programming::Programmed;
use speaker_core::readiness::Health;
use speaker_core::world::Host;
use tokio::sync::{oneshot, watch};

use super::{KeepSpec, Observation, Reported, SegmentHandles};
use crate::io::boot::Predecessor;
use crate::io::drain::Keeper;
use crate::io::kernel::{KernelHandle, KernelReport};
use crate::io::kube::{LeaseEvent, SecretWatches};
use crate::io::link::LinkEvent;
use crate::io::listen::{ListenEvent, ListenHandle, ListenStatus};
use crate::io::manifests::ManifestsHandle;
use crate::io::neighbors::NeighborEvent;
use crate::io::parting::Parting;
use crate::io::peer::{PeerContext, PeerEvent, PeerName};
use crate::io::programming::Question;
use crate::io::source::SourceBatch;
use crate::load::{LoadError, Loaded};
use crate::question::Asked;
use crate::record::Recorder;

/// What the hub is told.
#[derive(Debug)]
pub enum Message {
    /// Objects changed.
    Batch(SourceBatch),
    /// A peer's task tells.
    Peer(PeerName, PeerEvent),
    /// A listener tells.
    Listen(ListenEvent),
    /// Something was found out about the other end of an interface.
    Neighbor(NeighborEvent),
    /// The kernel's task tells.
    Kernel(KernelReport),
    /// What `readiness` waits for was asked.
    Health(Health),
    /// kube-proxy has set up what it was asked for.
    Programmed(Programmed),
    /// A segment tells.
    Link(LinkEvent),
    /// The Leases of L2 announcements tell.
    Lease(LeaseEvent),
    /// A question.
    Asked(Asked),
    /// Somebody wants to see numbers.
    Observe(oneshot::Sender<Observation>),
    /// Somebody wants to write the status of this node's CiliumBGPNodeConfig.
    BgpStatus(oneshot::Sender<Option<Reported>>),
    /// Somebody wants to know which sources have not delivered their first list, or whether the hub answers.
    Waiting(oneshot::Sender<BTreeSet<String>>),
    /// This host's addresses or default routes may have moved.
    Host(Box<Host>),
    /// The configuration file changed.
    Reload(Result<Box<Loaded>, LoadError>),
    /// A file with a TCP MD5 key changed.
    KeysChanged,
    /// The end is near: another node may take over on the segments while it is found out what comes after.
    Leave,
    /// Stop in an orderly way; with what comes after.
    Stop(Parting),
    /// Make the task of a peer panic.
    #[cfg(test)]
    PanicIn(String),
}

/// What the hub begins with.
#[derive(Debug)]
pub struct HubSpec {
    /// The configuration.
    pub loaded: Loaded,
    /// The node's name.
    pub node: String,
    /// The process before this one.
    pub predecessor: Predecessor,
    /// What this host lives on.
    pub host: Host,
    /// What peer tasks share.
    pub context: PeerContext,
    /// The sources to wait for.
    pub sources: BTreeSet<String>,
    /// The manifests source, which also records statuses; without it somebody else allocates.
    pub manifests: Option<ManifestsHandle>,
    /// Where the word to drain this node is kept.
    pub keeper: Keeper,
    /// Where what is announced is kept.
    pub keep: KeepSpec,
    /// The Secrets of the cluster.
    pub(crate) secrets: Option<SecretWatches>,
    /// Where the health of what `readiness` waits for is asked for.
    pub health: watch::Sender<Option<SocketAddr>>,
    /// What kube-proxy is asked.
    pub programming: watch::Sender<Option<Question>>,
    /// Who looks after the kernel; absent in the demo, which leaves it alone.
    pub kernel: Option<KernelHandle>,
    /// The listeners.
    pub listener: ListenHandle,
    /// The interfaces on which neighbors are to be looked for.
    pub neighbors: watch::Sender<BTreeSet<String>>,
    /// Where the listeners' state is shown.
    pub listening: watch::Sender<Vec<ListenStatus>>,
    /// The ways to the segments.
    pub segments: SegmentHandles,
    /// Where events are recorded.
    pub recorder: Option<Recorder>,
}
