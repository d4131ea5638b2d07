//! What the status of this node's CiliumBGPNodeConfig is made of. The hub copies what it knows; what a peer's
//! task knows is asked of the task, away from the hub.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bgp_proto::types::FamilyMap;
use speaker_config::objects::BgpNodeConfig;
use speaker_core::cilium::agent::Outcome;
use speaker_core::cilium::status::Session;
use speaker_core::view::PeerDetail;

use super::Hub;
use super::answers::detail;
use crate::io::peer::PeerView;

/// Completes what the hub knows of a session.
type Complete = Box<dyn FnOnce(Option<&PeerView>) -> PeerDetail + Send>;

struct Peer {
    name: String,
    complete: Complete,
    view: Pin<Box<dyn Future<Output = Option<PeerView>> + Send>>,
}

/// What there is to report.
pub struct Reported {
    /// The object.
    pub object: BgpNodeConfig,
    /// What it comes to.
    pub outcome: Outcome,
    peers: Vec<Peer>,
}

impl std::fmt::Debug for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reported").field("object", &self.object.name).finish_non_exhaustive()
    }
}

impl Reported {
    /// The sessions by their names, asked of the peers' tasks, and the rest.
    pub async fn sessions(self) -> (BgpNodeConfig, Outcome, BTreeMap<String, Session>) {
        let mut sessions = BTreeMap::new();
        for Peer { name, complete, view } in self.peers {
            let view = view.await;
            sessions.insert(name, session(&complete(view.as_ref())));
        }
        (self.object, self.outcome, sessions)
    }
}

impl Hub {
    /// What there is to report; `None` where nobody has written a CiliumBGPNodeConfig for this node, or the
    /// sessions have not started yet.
    pub(super) fn bgp_status(&self) -> Option<Reported> {
        let object = self.world.inputs().bgp.node_configs.get(self.world.node())?;
        if !self.world.is_complete() {
            return None;
        }
        let mut outcome = self.world.peers().cilium().clone();
        for status in self.listening.borrow().iter() {
            if let Err(error) = &status.bound
                && outcome.ports.contains(&status.wanted.port())
            {
                outcome.errors.push(format!("cannot listen on {}: {error}", status.wanted));
            }
        }
        let names = outcome.peers.iter().map(|peer| peer.peer.name.clone());
        let running = names.filter_map(|name| self.peers.get(&name).map(|peer| (name, peer)));
        let now = self.peers.now();
        let peers = running.map(|(name, peer)| {
            let (summary, rest) = (self.summary(peer), detail(peer, (Vec::new(), 0), now));
            let complete: Complete = Box::new(move |view| rest(summary(view), view));
            Peer { name, complete, view: Box::pin(peer.handle.view()) }
        });
        Some(Reported { object: object.clone(), peers: peers.collect(), outcome })
    }
}

fn session(detail: &PeerDetail) -> Session {
    let summary = &detail.summary;
    let up = summary.is_established();
    let since = i64::try_from(summary.state_seconds).unwrap_or(i64::MAX);
    let count = |counts: &[speaker_core::view::FamilyCount], family| {
        counts.iter().find(|one| one.family == family).map(|one| one.count)
    };
    Session {
        state: summary.state.clone(),
        peer_asn: summary.remote_as,
        hold_time: up.then_some(detail.hold_time),
        keepalive: detail.keepalive.filter(|_| up),
        established: up.then(|| super::unix_now().saturating_sub(since)),
        routes: FamilyMap::from_fn(|family| {
            let received = count(&summary.received, family)?;
            Some((received, count(&summary.advertised, family).unwrap_or_default()))
        }),
    }
}
