//! Cilium's BGP kinds in the agent: read, and their status written, unless Cilium's own control plane does.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bgp_status;
use crate::hub::Message;
use crate::io::clock::Clock;
use crate::io::kube::{self, CiliumBgp, Connection, Filter, ObjectKind};
use crate::io::source::SourceBatch;

/// Between two questions that nobody answers, at first and at last.
const ASK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What reads them.
pub(crate) struct BgpKinds {
    pub(crate) connection: Connection,
    pub(crate) kinds: Vec<(ObjectKind, Filter)>,
    pub(crate) batches: mpsc::Sender<SourceBatch>,
    pub(crate) hub: mpsc::Sender<Message>,
    pub(crate) clock: Clock,
}

impl BgpKinds {
    /// Asks first whether Cilium's own control plane is on. Until that is answered the kinds are waited for: two
    /// speakers must not read the same objects (design §5, "Beside Cilium").
    pub(crate) async fn run_unless_cilium_does(self) {
        if cilium_does(&self.connection).await {
            tracing::info!("Cilium's own BGP control plane is on: its kinds are left to it");
            for (kind, filter) in &self.kinds {
                let nothing = SourceBatch {
                    source: filter.source(&kind.resource),
                    handed_over: self.clock.now(),
                    changes: Vec::new(),
                    synced: true,
                    faults: None,
                };
                if self.batches.send(nothing).await.is_err() {
                    return;
                }
            }
            return;
        }
        self.run().await;
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(self) {
        let Self { connection, kinds, batches, hub, clock } = self;
        // Ends with this task.
        let mut tasks = JoinSet::new();
        for (kind, filter) in kinds {
            tasks.spawn(kube::watch_objects(connection.client.clone(), kind, filter, batches.clone(), clock));
        }
        tasks.spawn(bgp_status::report(connection.client, hub, clock));
        while tasks.join_next().await.is_some() {}
    }
}

/// Asks until somebody answers. Where we may not know, it is not on.
async fn cilium_does(connection: &Connection) -> bool {
    let (mut pause, longest) = ASK;
    let mut said = false;
    loop {
        match kube::ask_cilium(connection).await {
            CiliumBgp::On => return true,
            CiliumBgp::Off => return false,
            CiliumBgp::Refused(why) => {
                tracing::warn!("Cilium's BGP counts as off, for that cannot be told: {why}");
                return false;
            }
            CiliumBgp::Unknown(why) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(
                        "whether Cilium's own BGP control plane is on is not known yet: {why}; \
                         sources.kubernetes.ciliumBGP says it for sure"
                    );
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}
