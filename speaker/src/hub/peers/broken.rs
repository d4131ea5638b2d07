//! Peers whose task has panicked: each is begun anew after a rest, and the others are unharmed.

use std::sync::Arc;
use std::time::Duration;

use bgp_proto::wire::codes;
use speaker_core::world::World;

use super::super::running::Running;
use super::Peers;
use crate::io::peer::PeerName;

impl Peers {
    /// Another task takes the place of one that has panicked. It takes orders at once and starts after a rest.
    pub(super) fn begin_anew(&mut self, world: &mut World, name: &PeerName, text: &str) {
        let now = self.now();
        self.neighbor_lost(name);
        let Some(old) = self.running.remove(name) else { return };
        let was_up = old.established.is_some();
        if was_up {
            world.peer_down(name);
        }
        // The task can say no more how its session ended.
        self.context.learn.forget(name);
        let breaks = old.breaks.again(now);
        let rest = breaks.resumes.map(|at| at.since(now)).unwrap_or_default();
        tracing::error!(peer = %name, "its task begins anew in {} s", rest.as_secs());
        let Running { mut wanted, shutdown, dynamic, last_notification, changed, .. } = old;
        // Last words of the former task are told by the place of its name.
        let name: PeerName = Arc::from(&**name);
        wanted.spec.name = Arc::clone(&name);
        let last_error = Some((super::super::unix_now(), format!("a fault of the speaker itself: {text}")));
        let changed = if was_up { Some(now) } else { changed };
        let idle = self.idle(wanted, shutdown, dynamic);
        self.running.insert(name, Running { last_error, last_notification, changed, breaks, ..idle });
    }

    /// How long until the next task is to start that rests.
    pub(in crate::hub) fn rests(&self) -> Option<Duration> {
        let first = self.running.values().filter_map(|peer| peer.breaks.resumes).min()?;
        Some(first.since(self.now()))
    }

    /// Starts the tasks that have rested.
    pub(in crate::hub) fn resume(&mut self, world: &mut World) {
        let now = self.now();
        let rested =
            self.running.iter_mut().filter(|(_, peer)| peer.breaks.resumes.is_some_and(|at| at <= now));
        let mut dynamic = Vec::new();
        for (name, peer) in rested {
            peer.breaks.resumes = None;
            if peer.shutdown.is_some() || peer.wanted.blocked.is_some() {
                continue;
            }
            if peer.dynamic {
                dynamic.push(Arc::clone(name));
            } else {
                peer.handle.start();
            }
        }
        for name in dynamic {
            self.end(&name, world, codes::CEASE_PEER_DECONFIGURED, "waiting for the dynamic peer to dial");
        }
    }
}
