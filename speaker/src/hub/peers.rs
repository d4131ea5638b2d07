//! The running peers: started, stopped and changed as the configuration says, and joined to the tables
//! that they are to be told.

mod broken;
mod dynamic;
mod orders;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::session::{DownReason, StopReason, TimerConfig};
use bgp_proto::types::{Prefix, RouterId, Timestamp};
use bgp_proto::wire::{Notification, codes};
use speaker_config::model::SpeakerConfig;
use speaker_core::export::is_loopback;
use speaker_core::world::{Changes, World};

use super::ByName;
use super::running::{Breaks, LastNotification, Running, peer_out};
use super::unnumbered::{Neighbors, interfaces_up};
use super::wanted::{self, Difference, Identity, Wanted};
use crate::io::boot::Predecessor;
use crate::io::learn::Learn;
use crate::io::listen::{ListenHandle, ListenKey, RefusalLog};
use crate::io::peer::{self, Leaving, PeerContext, PeerEvent, PeerName};
use crate::load::{self, Secrets};

/// How long a session's last words may take.
const FLUSH: Duration = Duration::from_secs(2);

/// A task that is sending its last words.
#[derive(Debug)]
struct Ending {
    address: IpAddr,
    leaving: Leaving,
    task: tokio::task::JoinHandle<()>,
}

impl Ending {
    fn new(running: Running, reason: StopReason) -> Self {
        let (address, leaving) = (running.wanted.spec.address, running.handle.leaving());
        Self { address, leaving, task: running.handle.shutdown(reason, FLUSH) }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Peers {
    context: PeerContext,
    listener: ListenHandle,
    node: String,
    predecessor: Predecessor,
    secrets: Secrets,
    identity: Option<Identity>,
    pub(super) running: ByName<Running>,
    pub(super) neighbors: Neighbors,
    /// Tasks that are sending their last words, and to whom.
    ending: Vec<Ending>,
    /// Sessions that we have ended for good, for those who are told of sessions.
    pub(super) parted: Vec<(PeerName, DownReason)>,
    stale: bool,
    /// Entries of `dynamicPeers` whose key cannot be read, and why, as the log was told.
    keyless: BTreeMap<String, String>,
    /// The version of the peers in force that was acted upon.
    version: u64,
    refusals: RefusalLog,
}

impl Peers {
    pub(super) fn new(
        context: PeerContext,
        listener: ListenHandle,
        node: String,
        predecessor: Predecessor,
        secrets: Secrets,
        neighbors: Neighbors,
    ) -> Self {
        Self {
            context,
            listener,
            node,
            predecessor,
            secrets,
            identity: None,
            running: BTreeMap::new(),
            neighbors,
            ending: Vec::new(),
            parted: Vec::new(),
            stale: true,
            keyless: BTreeMap::new(),
            version: 0,
            refusals: RefusalLog::default(),
        }
    }

    /// Where learned routes are.
    pub(super) fn learn(&self) -> &Learn {
        &self.context.learn
    }

    /// By name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerName, &Running)> {
        self.running.iter()
    }

    /// One of them.
    pub(super) fn get(&self, name: &str) -> Option<&Running> {
        self.running.get(name)
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// The BGP identifier, once it is chosen.
    pub(super) fn router_id(&self) -> Option<RouterId> {
        self.identity.as_ref().map(|identity| identity.router_id)
    }

    /// The next [`Self::reconcile`] compares everything.
    pub(super) fn configuration_changed(&mut self) {
        self.stale = true;
    }

    /// Brings the tasks in line with the peers in force. Whether there was anything to look at.
    pub(super) fn reconcile(&mut self, config: &SpeakerConfig, world: &mut World) -> bool {
        let version = world.peers().version();
        if !self.stale && version == self.version {
            return false;
        }
        self.stale = false;
        self.version = version;
        let identity = self
            .identity
            .get_or_insert_with(|| wanted::identify(config, world, &self.node, self.predecessor))
            .clone();
        self.secrets.refresh(&world.inputs().secrets);
        self.neighbors.seek(world.peers().all());
        let up = interfaces_up(self);
        self.neighbors.follow(|interface| up.contains(interface));
        let all = world.peers().all();
        let wanted = wanted::wanted(config, all, &identity, &self.secrets, &self.neighbors);
        self.set_listen_keys(config, &wanted);
        self.listener.set_addresses(&listen_addresses(config, world));
        let gone: Vec<PeerName> = self
            .running
            .iter()
            .filter(|(name, peer)| !peer.dynamic && !wanted.contains_key(*name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            self.end(&name, world, codes::CEASE_PEER_DECONFIGURED, "removed from the configuration");
        }
        for (name, wanted) in wanted {
            if self.running.contains_key(&name) {
                self.bring_in_line(&name, wanted, world);
            } else {
                let shutdown = wanted.spec.settings.shutdown.clone();
                self.begin(&name, wanted, shutdown, false);
            }
        }
        self.bring_dynamic_in_line(config, &identity, world);
        self.expect_routes(config);
        true
    }

    /// What a process before this one has learned stays in the kernel until peers have sent their tables, where they were
    /// told to keep ours meanwhile. Only the first word of it counts.
    fn expect_routes(&self, config: &SpeakerConfig) {
        let learning = self.running.iter().filter(|(_, peer)| !peer.wanted.spec.settings.learn.is_off());
        let names = learning.clone().map(|(name, _)| Arc::clone(name)).collect();
        let dynamic = config.dynamic_peers.iter().map(|entry| &entry.settings);
        let settings = learning.map(|(_, peer)| &peer.wanted.spec.settings).chain(dynamic);
        let times = settings.filter(|one| !one.learn.is_off()).filter_map(|one| one.graceful_restart);
        let longest = times.max().filter(|_| self.predecessor.existed);
        self.context.learn.expect(names, longest.map(|time| Duration::from_secs(time.into())));
    }

    fn bring_in_line(&mut self, name: &PeerName, wanted: Wanted, world: &mut World) {
        let Some(running) = self.running.get_mut(name) else { return };
        let (old, new) = (&running.wanted.spec, &wanted.spec);
        let shutdown_changed = old.settings.shutdown != new.settings.shutdown;
        let blocked_changed = running.wanted.blocked.is_some() != wanted.blocked.is_some();
        if wanted::difference(old, new) == Difference::Reset || blocked_changed {
            // What an operator said on the command line outlives the session that it was said of.
            let shutdown =
                if shutdown_changed { new.settings.shutdown.clone() } else { running.shutdown.clone() };
            self.replace(name, wanted, shutdown, world);
        } else {
            if let Some(error) = wanted.blocked.as_ref().filter(|_| wanted.blocked != running.wanted.blocked)
            {
                running.last_error = Some((super::unix_now(), error.clone()));
                running.last_malformed = None;
            }
            running.adopt(wanted, name, world);
            if shutdown_changed {
                self.obey_configured_shutdown(name, world);
            }
        }
    }

    /// Ends a session and begins another one with the same peer.
    fn replace(&mut self, name: &PeerName, wanted: Wanted, shutdown: Option<String>, world: &mut World) {
        let changed = self.running.get(name).and_then(|old| match &old.established {
            Some(_) => Some(self.now()),
            None => old.changed,
        });
        let moved = self
            .running
            .get(name)
            .is_some_and(|old| wanted.interface.is_some() && old.wanted.spec.address != wanted.spec.address);
        let why = match &wanted.spec.zone {
            Some(zone) if moved => format!("the neighbor on {zone} is {}", wanted.spec.address),
            _ => "the configuration changed".to_owned(),
        };
        self.end(name, world, codes::CEASE_CONFIGURATION_CHANGE, &why);
        let blocked = wanted.blocked.is_some();
        self.begin(name, wanted, shutdown, false);
        if let Some(running) = self.running.get_mut(name) {
            running.changed = changed;
            let told = Some((super::unix_now(), why));
            match (blocked, moved) {
                (true, _) => {}
                (false, true) => running.last_note = told,
                (false, false) => running.last_error = told,
            }
        }
    }

    fn set_listen_keys(&mut self, config: &SpeakerConfig, wanted: &ByName<Wanted>) {
        let has_other = |one: &Wanted| {
            wanted.values().any(|other| other.blocked.is_none() && other.spec.address == one.spec.address)
        };
        let wanted = || wanted.values().filter(|one| !one.is_sought());
        // One that is refused because another one has its address has no say about the key.
        let own = |wanted: &&Wanted| {
            wanted.spec.settings.authentication.is_some() && (wanted.blocked.is_none() || !has_other(wanted))
        };
        let peers = wanted().filter(own).map(|wanted| ListenKey {
            prefix: Prefix::host(wanted.spec.address),
            keys: wanted.spec.keys.clone(),
        });
        let mut keyless = BTreeMap::new();
        let dynamic = load::dynamic_keys(config, &self.secrets).map(|(entry, keys)| {
            let keys = keys.map_err(|error| keyless.insert(entry.name.clone(), error)).ok();
            ListenKey { prefix: entry.prefix, keys }
        });
        self.listener.set_keys(peers.chain(dynamic).collect());
        for (peer, error) in keyless.iter().filter(|(peer, error)| self.keyless.get(*peer) != Some(*error)) {
            tracing::warn!(peer, "nobody of this dynamicPeers entry comes up: {error}");
        }
        self.keyless = keyless;
    }

    fn begin(&mut self, name: &PeerName, wanted: Wanted, shutdown: Option<String>, dynamic: bool) {
        let running = self.idle(wanted, shutdown, dynamic);
        let (wanted, handle) = (&running.wanted, &running.handle);
        match (&running.shutdown, &wanted.blocked) {
            (Some(message), _) => tracing::info!(peer = %name, "shut down: {message}"),
            // A session without its key would be worse than none (design §5, "MD5 fails closed").
            (None, Some(why)) if wanted.is_sought() => tracing::info!(peer = %name, "waiting: {why}"),
            (None, Some(error)) => tracing::error!(peer = %name, "not started: {error}"),
            (None, None) => handle.start(),
        }
        self.running.insert(Arc::clone(name), running);
    }

    /// A peer with its task, which waits for the word to start.
    fn idle(&self, wanted: Wanted, shutdown: Option<String>, dynamic: bool) -> Running {
        let handle = peer::spawn(wanted.spec.clone(), self.context.clone());
        for ending in self.ending.iter().filter(|one| one.address == wanted.spec.address) {
            handle.follow(ending.leaving.clone());
        }
        let last_error = wanted.blocked.clone().map(|error| (super::unix_now(), error));
        Running {
            wanted,
            handle,
            established: None,
            timers: TimerConfig::default(),
            shutdown,
            last_error,
            last_malformed: None,
            malformed: None,
            last_notification: None,
            last_note: None,
            changed: None,
            dynamic,
            breaks: Breaks::default(),
        }
    }

    fn end(&mut self, name: &str, world: &mut World, subcode: u8, text: &str) {
        let Some(running) = self.running.remove(name) else { return };
        tracing::info!(peer = %name, "ended: {text}");
        world.peer_down(name);
        self.context.learn.forget(&running.wanted.spec.name);
        self.finish(running, subcode, text);
    }

    fn finish(&mut self, running: Running, subcode: u8, text: &str) {
        let notification = Notification::cease(subcode, text);
        let said = DownReason::Sent(notification.clone(), text.to_owned());
        self.parted.push((Arc::clone(running.handle.name()), said));
        let reason = StopReason { notification: Some(notification), hard: true, restart: false };
        self.ending.retain(|ending| !ending.leaving.is_over());
        self.ending.push(Ending::new(running, reason));
    }

    /// What a peer's task tells.
    pub(super) fn event(&mut self, world: &mut World, name: &PeerName, event: PeerEvent) {
        let now = self.now();
        // The last words of a task that was replaced say nothing of its successor, which has a name of its
        // own: the same text in another place.
        let Some(running) =
            self.running.get_mut(name).filter(|running| Arc::ptr_eq(running.handle.name(), name))
        else {
            return;
        };
        match event {
            PeerEvent::Established(established) => {
                let out = peer_out(running, &established);
                for (family, hop) in out.next_hops.iter() {
                    match hop {
                        Ok(hop) if is_loopback(hop) && !established.negotiated.remote.ip().is_loopback() => {
                            tracing::warn!(peer = %name, %family, "the next hop is a loopback address, of use on this host alone");
                        }
                        Err(reason) if established.negotiated.families.contains(family) => {
                            tracing::info!(peer = %name, %family, "routes would be held: {reason}");
                        }
                        _ => {}
                    }
                }
                running.handle.attach(established.negotiated.conn, world.peer_up(name, out));
                running.established = Some(established);
                running.timers = wanted::timers(&running.wanted.spec.settings);
                running.changed = Some(now);
                running.last_note = None;
            }
            PeerEvent::Malformed(message) => running.malformed = Some(message),
            PeerEvent::Down(reason) => {
                let limited = matches!(&reason, DownReason::Sent(sent, _) if sent.is_max_prefixes());
                let was_up = running.established.take().is_some();
                running.last_notification = LastNotification::of(&reason).or(running.last_notification);
                let told = Some((super::unix_now(), reason.to_string()));
                // An attempt that came to nothing does not hide the NOTIFICATION that tells why.
                if !was_up && matches!(reason, DownReason::Transport(_)) {
                    running.last_note = told;
                } else {
                    running.last_error = told;
                    running.last_malformed = running.malformed.take();
                    running.last_note = None;
                }
                let forget = running.dynamic && running.shutdown.is_none() && !limited;
                if was_up {
                    running.changed = Some(now);
                    world.peer_down(name);
                    self.neighbor_lost(name);
                }
                // One that an operator has shut down stays, so that it is known when it dials again; so does one that
                // announced too much.
                if forget {
                    // One that restarts dials again, as another task of the same name: what is learned from it is kept as its
                    // session's end says.
                    if let Some(running) = self.running.remove(name) {
                        tracing::info!(peer = %name, "the dynamic peer has left");
                        self.finish(running, codes::CEASE_PEER_DECONFIGURED, "the dynamic peer has left");
                    }
                }
            }
            PeerEvent::Note(text) => running.last_note = Some((super::unix_now(), text)),
            PeerEvent::Broken(text) => self.begin_anew(world, name, &text),
            PeerEvent::State(_) => {}
        }
    }

    /// Tells the tasks whose tables moved, and since when the source has known.
    pub(super) fn follow(&self, world: &World, changes: &Changes, since: Option<Timestamp>) {
        for name in &changes.moved {
            if let Some(peer) = self.running.get(name)
                && let Some(established) = &peer.established
            {
                peer.handle.attach(established.negotiated.conn, world.tables(name));
            }
        }
        for name in &changes.pending {
            if let Some(peer) = self.running.get(name) {
                peer.handle.wake(since);
            }
        }
    }

    /// Whether there is any peer at all.
    pub(super) fn are_any(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether a peer would keep our routes over a restart.
    pub(super) fn keep_routes(&self) -> bool {
        self.running.values().any(Running::keeps_routes)
    }

    /// Whether a session is up.
    pub(super) fn any_established(&self) -> bool {
        self.running.values().any(|running| running.established.is_some())
    }

    /// Ends every session: with graceful restart without a word, so that the peers keep the routes
    /// (RFC 4724 §4); else, and `for_good`, with a Cease, in a Hard Reset where RFC 8538 was negotiated.
    pub(super) async fn stop(&mut self, for_good: bool) {
        for (_, running) in std::mem::take(&mut self.running) {
            let notification = (for_good || !running.keeps_routes()).then(|| {
                Notification::cease(codes::CEASE_ADMINISTRATIVE_SHUTDOWN, "the speaker is stopping")
            });
            let said = notification
                .clone()
                .map_or(DownReason::Stopped, |sent| DownReason::Sent(sent, String::new()));
            self.parted.push((Arc::clone(running.handle.name()), said));
            let reason = StopReason { notification, hard: true, restart: false };
            self.ending.push(Ending::new(running, reason));
        }
        for ending in self.ending.drain(..) {
            if let Err(error) = ending.task.await {
                tracing::error!(%error, "a peer's task ended badly");
            }
        }
    }
}

/// The sockets of `router.listen`, and those of Cilium's instances with a `localPort`.
pub(super) fn listen_addresses(config: &SpeakerConfig, world: &World) -> Vec<SocketAddr> {
    let mut all = config.router.listen.clone();
    for port in &world.peers().cilium().ports {
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let address = SocketAddr::new(any, *port);
            let taken = |other: &SocketAddr| other.port() == *port && other.is_ipv4() == address.is_ipv4();
            // A socket on one address would keep one on every address from the port.
            if !all.iter().any(taken) {
                all.push(address);
            }
        }
    }
    all
}
