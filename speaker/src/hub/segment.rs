//! The hub's part in L2 announcements: what the Leases tell goes into the world, what the world decides goes
//! to the segments first and to the API server then.

use std::time::Duration;

use speaker_core::world::Event;
use tokio::sync::{mpsc, oneshot, watch};

use super::Hub;
use crate::io::clock;
use crate::io::kube::{LeaseCall, LeaseEvent};
use crate::io::link::LinkEvent;
use speaker_core::l2::segment::Held;

/// How long the API server may take to hear that others may take over.
const RESIGN: Duration = Duration::from_secs(2);

/// The ways to the segments and to the Leases.
#[derive(Debug)]
pub struct SegmentHandles {
    /// Where the segments' speakers read what they answer for.
    pub held: watch::Sender<Held>,
    /// Where calls about Leases go, in a cluster.
    pub leases: Option<mpsc::UnboundedSender<LeaseCall>>,
}

/// What the hub keeps of it.
#[derive(Debug)]
pub(super) struct Segments {
    handles: SegmentHandles,
    /// The Leases have been listed once: before that a claim would be a guess.
    listed: bool,
    /// This process is silent on the segments for good.
    left: bool,
    /// Whether the API server has heard of that.
    resigning: Option<oneshot::Receiver<()>>,
}

impl Segments {
    pub(super) fn new(handles: SegmentHandles) -> Self {
        Self { handles, listed: false, left: false, resigning: None }
    }

    /// Waits until the API server has heard that others may take over, for a while.
    pub(super) fn resigned(&mut self) -> impl Future<Output = ()> + use<> {
        let said = self.resigning.take();
        async move {
            if let Some(said) = said {
                // It is logged where it is not said.
                let _ = tokio::time::timeout(RESIGN, said).await;
            }
        }
    }
}

impl Hub {
    pub(super) fn take_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Interfaces { interfaces, answering } => {
                self.world.set_interfaces(interfaces.clone(), answering.clone());
                self.record(&Event::Interfaces { interfaces, answering });
            }
            LinkEvent::Foreign { address, by, interface } => {
                tracing::warn!(%address, %by, interface, "another host on the segment has an address of ours");
            }
        }
    }

    pub(super) fn take_lease(&mut self, event: LeaseEvent) {
        let now = clock::boot_time();
        let Some(segment) = self.world.segment() else { return };
        match event {
            LeaseEvent::Units { listed: true, leases } => {
                segment.leases_listed(leases);
                self.segments.listed = true;
            }
            LeaseEvent::Units { listed: false, leases } => {
                for (lease, seen) in leases {
                    segment.lease_seen(&lease, seen);
                }
            }
            LeaseEvent::Node(node, seen) => segment.node_seen(&node, seen, now),
            LeaseEvent::Renewed { sent } => segment.renewed(sent, now),
            LeaseEvent::Written { lease, version } => segment.written(&lease, version),
            LeaseEvent::Checked(node, read) => segment.node_checked(&node, read, now),
        }
    }

    /// Tells the segments what is held, then the API server what is wanted: a node falls silent before it
    /// writes that it gives up.
    pub(super) fn settle_segments(&mut self) {
        // Whatever becomes of drains and gates from now on.
        if self.segments.left {
            return;
        }
        let held = self.world.held();
        self.segments.handles.held.send_if_modified(|old| {
            let changed = *old != held;
            *old = held;
            changed
        });
        if !self.world.is_complete() || !self.segments.listed {
            return;
        }
        let ops = self.world.segment().map(|segment| segment.step(clock::boot_time())).unwrap_or_default();
        if let Some(leases) = self.segments.handles.leases.as_ref().filter(|_| !ops.is_empty()) {
            // The task lives as long as the hub.
            let _ = leases.send(LeaseCall::Ops(ops));
        }
    }

    /// How long until an election has something to do by itself.
    pub(super) fn election_wait(&mut self) -> Option<Duration> {
        if self.segments.left || !self.world.is_complete() || !self.segments.listed {
            return None;
        }
        Some(self.world.segment()?.deadline()?.since(clock::boot_time()))
    }

    /// Falls silent on the segments for good, and lets others take over at once.
    pub(super) fn leave_segments(&mut self) {
        if std::mem::replace(&mut self.segments.left, true) {
            return;
        }
        if let Some(segment) = self.world.segment() {
            segment.set_available(false);
        }
        self.segments.handles.held.send_replace(Held::default());
        let Some(leases) = &self.segments.handles.leases else { return };
        let (done, said) = oneshot::channel();
        if leases.send(LeaseCall::Resign(done)).is_ok() {
            self.segments.resigning = Some(said);
        }
    }
}
