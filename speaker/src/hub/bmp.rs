//! The picture that monitoring stations are told, and their tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_proto::session::DownReason;
use speaker_config::model::{BmpCollector, Receive, SpeakerConfig};
use speaker_core::bmp::{Picture, Session, WallTime};
use speaker_core::world::{Changes, World};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::peers::Peers;
use super::{ByName, unix_now};
use crate::io::bmp::{self, Pulse, Station, StationState, Watched};
use crate::io::peer::PeerEvent;

/// Peers that are gone and whose last words are remembered.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
struct Running {
    collector: BmpCollector,
    task: JoinHandle<()>,
    state: watch::Receiver<StationState>,
}

/// Monitoring stations (RFC 7854).
#[derive(Debug)]
pub(super) struct Stations {
    watched: watch::Sender<Arc<Watched>>,
    pulse: Pulse,
    tasks: BTreeMap<String, Running>,
    /// Since when sessions are up, and why the last of each peer ended.
    since: ByName<(u64, WallTime)>,
    ended: ByName<(u64, DownReason)>,
    serial: u64,
    stale: bool,
}

impl Stations {
    pub(super) fn new(pulse: Pulse) -> Self {
        Self {
            watched: watch::Sender::new(Arc::new(Watched::default())),
            pulse,
            tasks: BTreeMap::new(),
            since: BTreeMap::new(),
            ended: BTreeMap::new(),
            serial: 0,
            stale: false,
        }
    }

    /// Starts and ends tasks as the configuration and Cilium's kinds have them.
    pub(super) fn configure(&mut self, world: &mut World) {
        let wanted = world.stations();
        self.tasks.retain(|_, running| {
            let stays = wanted.contains(&running.collector);
            if !stays {
                running.task.abort();
            }
            stays
        });
        world.follow_local(wanted.iter().any(|collector| collector.loc_rib));
        for collector in &wanted {
            if !self.tasks.contains_key(&collector.name) {
                let description = format!("speaker {}", env!("CARGO_PKG_VERSION"));
                let introduction = (description, world.node().to_owned());
                let station = Station { collector: collector.clone(), introduction };
                let (task, state) = bmp::spawn(station, self.watched.subscribe(), &self.pulse);
                let running = Running { collector: collector.clone(), task, state };
                self.tasks.insert(collector.name.clone(), running);
            }
        }
        self.stale = true;
    }

    /// How it goes with each, by name: where it is, and what its task tells.
    pub(super) fn states(&self) -> impl Iterator<Item = (&str, &str, StationState)> {
        self.tasks.iter().map(|(name, running)| {
            (name.as_str(), running.collector.address.as_str(), running.state.borrow().clone())
        })
    }

    /// What a peer's task has told.
    pub(super) fn heard(&mut self, name: &Arc<str>, event: &PeerEvent) {
        match event {
            PeerEvent::Established(_) => {
                self.serial += 1;
                let now = (u32::try_from(unix_now()).unwrap_or_default(), 0);
                self.since.insert(Arc::clone(name), (self.serial, now));
            }
            PeerEvent::Down(reason) => self.parted(name, reason.clone()),
            // Our end has closed the connection without a word.
            PeerEvent::Broken(_) => self.parted(name, DownReason::Stopped),
            PeerEvent::Malformed(_) | PeerEvent::Note(_) | PeerEvent::State(_) => return,
        }
        self.stale = true;
    }

    /// A session has ended, if there was one.
    pub(super) fn parted(&mut self, name: &Arc<str>, reason: DownReason) {
        if let Some((serial, _)) = self.since.remove(name) {
            self.ended.insert(Arc::clone(name), (serial, reason));
        }
        self.stale = true;
    }

    /// Shows the stations what has changed.
    pub(super) fn follow(
        &mut self,
        config: &SpeakerConfig,
        peers: &mut Peers,
        world: &World,
        changes: &Changes,
    ) {
        for (name, reason) in std::mem::take(&mut peers.parted) {
            self.parted(&name, reason);
        }
        if self.tasks.is_empty() {
            self.ended.clear();
            return;
        }
        if self.stale || !changes.moved.is_empty() {
            self.stale = false;
            let picture = self.picture(config, peers, world);
            let lines = peers.iter().map(|(name, peer)| (Arc::clone(name), peer.handle.line())).collect();
            self.watched.send_replace(Arc::new(Watched { picture, lines, stopping: false }));
        } else if changes.local || !changes.pending.is_empty() {
            // The tables in the picture have something new.
            self.watched.send_modify(|_| {});
        }
    }

    fn picture(&mut self, config: &SpeakerConfig, peers: &Peers, world: &World) -> Picture {
        let up = peers.iter().filter_map(|(name, peer)| Some((name, peer, peer.established.as_ref()?)));
        let sessions: BTreeMap<_, _> = up
            .map(|(name, peer, established)| {
                let (serial, since) = self.since.get(name).copied().unwrap_or_default();
                let session = Session {
                    serial,
                    negotiated: established.negotiated.clone(),
                    since,
                    tables: world.tables(name),
                    receives: peer.wanted.spec.settings.receive == Receive::All,
                };
                (Arc::clone(name), session)
            })
            .collect();
        // Whoever is gone for good, a dynamic peer for one, is remembered for a while: a station may not have been told.
        while self.ended.len() > REMEMBERED {
            let gone = self.ended.keys().find(|name| peers.get(name).is_none()).or(self.ended.keys().next());
            let Some(gone) = gone.cloned() else { break };
            self.ended.remove(&gone);
        }
        let local_asn = peers.iter().map(|(_, peer)| peer.wanted.spec.session.local_asn).min();
        Picture {
            identity: peers.router_id().zip(config.router.asn.or(local_asn)),
            sessions,
            ended: self.ended.clone(),
            local: world.exporter().local_tables(),
        }
    }

    /// Says goodbye; the sessions have been ended.
    pub(super) async fn stop(&mut self, peers: &mut Peers) {
        for (name, reason) in std::mem::take(&mut peers.parted) {
            self.parted(&name, reason);
        }
        let ended = self.ended.clone();
        self.watched.send_modify(|watched| {
            let mut last = Watched { stopping: true, ..(**watched).clone() };
            last.picture.sessions.clear();
            last.picture.ended = ended;
            *watched = Arc::new(last);
        });
        for (_, Running { task, .. }) in std::mem::take(&mut self.tasks) {
            // It bounds its own farewell; one that dials ends with the process.
            let abort = task.abort_handle();
            if tokio::time::timeout(std::time::Duration::from_secs(2), task).await.is_err() {
                abort.abort();
            }
        }
    }
}
