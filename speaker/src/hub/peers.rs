//! The running peers: started, stopped and changed as the configuration says, and joined to the tables
//! that they are to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::session::{DownReason, StopReason};
use bgp_proto::types::{FamilyMap, FamilySet, Prefix, RouterId, Timestamp};
use bgp_proto::wire::Notification;
use speaker_config::model::SpeakerConfig;
use speaker_core::export::{NextHopInputs, PeerOut, is_loopback, next_hop};
use speaker_core::world::World;

use super::ByName;
use super::wanted::{self, Difference, Identity, Wanted};
use crate::io::boot::Predecessor;
use crate::io::listen::{Incoming, ListenHandle, ListenKey, RefusalLog};
use crate::io::peer::{self, Established, PeerContext, PeerEvent, PeerHandle, PeerName};
use crate::load;

/// How long a session's last words may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Cease subcodes (RFC 4486 §3).
pub(super) mod cease {
    pub(crate) const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    pub(crate) const PEER_DECONFIGURED: u8 = 3;
    pub(crate) const ADMINISTRATIVE_RESET: u8 = 4;
    pub(crate) const OTHER_CONFIGURATION_CHANGE: u8 = 6;
}

/// One peer with a task.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) wanted: Wanted,
    pub(super) handle: PeerHandle,
    pub(super) established: Option<Box<Established>>,
    /// Down by an operator's word, with what was said.
    pub(super) shutdown: Option<String>,
    /// Why it last went down, and when.
    pub(super) last_error: Option<(i64, String)>,
    /// Made for somebody who dialled from a `dynamicPeers` prefix.
    pub(super) dynamic: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Peers {
    context: PeerContext,
    listener: ListenHandle,
    node: String,
    predecessor: Predecessor,
    identity: Option<Identity>,
    running: ByName<Running>,
    /// Tasks that are sending their last words.
    ending: Vec<tokio::task::JoinHandle<()>>,
    stale: bool,
    labels: BTreeMap<String, String>,
    refusals: RefusalLog,
}

impl Peers {
    pub(super) fn new(
        context: PeerContext,
        listener: ListenHandle,
        node: String,
        predecessor: Predecessor,
    ) -> Self {
        Self {
            context,
            listener,
            node,
            predecessor,
            identity: None,
            running: BTreeMap::new(),
            ending: Vec::new(),
            stale: true,
            labels: BTreeMap::new(),
            refusals: RefusalLog::default(),
        }
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

    /// New listening sockets.
    pub(super) fn listen_on(&mut self, config: &SpeakerConfig) {
        self.listener.set_addresses(&config.router.listen);
    }

    /// Brings the tasks in line with the configuration and this node's labels.
    pub(super) fn reconcile(&mut self, config: &SpeakerConfig, world: &mut World) {
        let labels = world.node_labels();
        if !self.stale && labels == self.labels {
            return;
        }
        self.stale = false;
        let identity = self
            .identity
            .get_or_insert_with(|| identify(config, world, &self.node, self.predecessor))
            .clone();
        let wanted = wanted::wanted(config, &identity, &labels);
        self.labels = labels;
        self.set_listen_keys(config, &wanted);
        let gone: Vec<PeerName> = self
            .running
            .iter()
            .filter(|(name, peer)| !peer.dynamic && !wanted.contains_key(*name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            self.end(&name, world, cease::PEER_DECONFIGURED, "removed from the configuration");
        }
        for (name, wanted) in wanted {
            self.bring_in_line(&name, wanted, world);
        }
        self.bring_dynamic_in_line(config, &identity, world);
    }

    fn bring_in_line(&mut self, name: &PeerName, wanted: Wanted, world: &mut World) {
        let Some(running) = self.running.get_mut(name) else {
            self.begin(name, wanted, false);
            return;
        };
        match wanted::difference(&running.wanted.spec, &wanted.spec) {
            Difference::Reset => {
                self.end(name, world, cease::OTHER_CONFIGURATION_CHANGE, "configuration changed");
                self.begin(name, wanted, false);
            }
            Difference::Soft | Difference::None => {
                let timers = wanted::timers(&wanted.spec.settings);
                if timers != running.wanted.spec.session.timers {
                    running.handle.set_timers(timers);
                }
                let shutdown_changed = running.wanted.spec.settings.shutdown != wanted.spec.settings.shutdown;
                running.wanted = wanted;
                if let Some(established) = &running.established {
                    let tables = world.peer_up(name, peer_out(running, established));
                    running.handle.attach(established.negotiated.conn, tables);
                }
                if shutdown_changed {
                    self.obey_configured_shutdown(name);
                }
            }
        }
    }

    /// `shutdown` in the file came, changed or went.
    fn obey_configured_shutdown(&mut self, name: &PeerName) {
        let Some(message) = self.running.get(name).map(|peer| peer.wanted.spec.settings.shutdown.clone())
        else {
            return;
        };
        match message {
            Some(message) => drop(self.shut_down(name, &message)),
            None => drop(self.no_shut_down(name)),
        }
    }

    /// Peers of `dynamicPeers` follow their entry; those whose entry is gone end.
    fn bring_dynamic_in_line(&mut self, config: &SpeakerConfig, identity: &Identity, world: &mut World) {
        let dynamic: Vec<(PeerName, IpAddr)> = self
            .running
            .iter()
            .filter(|(_, peer)| peer.dynamic)
            .map(|(name, peer)| (Arc::clone(name), peer.wanted.spec.address))
            .collect();
        for (name, address) in dynamic {
            match wanted::dynamic(config, identity, address) {
                Some(wanted) if wanted.spec.name == name => match self.running.get_mut(&name) {
                    Some(running)
                        if wanted::difference(&running.wanted.spec, &wanted.spec) != Difference::Reset =>
                    {
                        running.wanted = wanted;
                        if let Some(established) = &running.established {
                            let tables = world.peer_up(&name, peer_out(running, established));
                            running.handle.attach(established.negotiated.conn, tables);
                        }
                    }
                    _ => self.end(&name, world, cease::OTHER_CONFIGURATION_CHANGE, "configuration changed"),
                },
                _ => self.end(&name, world, cease::PEER_DECONFIGURED, "removed from the configuration"),
            }
        }
    }

    fn set_listen_keys(&self, config: &SpeakerConfig, wanted: &ByName<Wanted>) {
        let peers = wanted.values().filter(|wanted| wanted.spec.settings.password.is_some()).map(|wanted| {
            ListenKey { prefix: Prefix::host(wanted.spec.address), password: wanted.spec.password.clone() }
        });
        let dynamic = config.dynamic_peers.iter().filter_map(|entry| {
            let source = entry.settings.password.as_ref()?;
            Some(ListenKey { prefix: entry.prefix, password: load::password(source).ok() })
        });
        self.listener.set_keys(peers.chain(dynamic).collect());
    }

    fn begin(&mut self, name: &PeerName, wanted: Wanted, dynamic: bool) {
        let handle = peer::spawn(wanted.spec.clone(), self.context.clone());
        let shutdown = wanted.spec.settings.shutdown.clone();
        let blocked = wanted.blocked.clone();
        match (&shutdown, &blocked) {
            (Some(message), _) => tracing::info!(peer = %name, "shut down by configuration: {message}"),
            // A session without its key would be worse than none (design §5, "MD5 fails closed").
            (None, Some(error)) => tracing::error!(peer = %name, "not started: {error}"),
            (None, None) => handle.start(),
        }
        let last_error = blocked.map(|error| (super::unix_now(), error));
        let running = Running { wanted, handle, established: None, shutdown, last_error, dynamic };
        self.running.insert(Arc::clone(name), running);
    }

    fn end(&mut self, name: &str, world: &mut World, subcode: u8, text: &str) {
        let Some(running) = self.running.remove(name) else { return };
        tracing::info!(peer = %name, "ended: {text}");
        world.peer_down(name);
        let reason =
            StopReason { notification: Some(Notification::cease(subcode, text)), hard: true, restart: false };
        self.ending.retain(|task| !task.is_finished());
        self.ending.push(running.handle.shutdown(reason, FLUSH));
    }

    /// What a peer's task tells.
    pub(super) fn event(&mut self, world: &mut World, name: &str, event: PeerEvent) {
        let Some(running) = self.running.get_mut(name) else { return };
        match event {
            PeerEvent::Established(established) => {
                let out = peer_out(running, &established);
                for (family, hop) in out.next_hops.iter() {
                    match hop {
                        Ok(hop) if is_loopback(hop) && !established.negotiated.remote.ip().is_loopback() => {
                            tracing::warn!(peer = %name, %family, "the next hop is a loopback address, of use on this host alone");
                        }
                        Err(reason) if established.negotiated.families.contains(family) => {
                            tracing::warn!(peer = %name, %family, "routes are held: {reason}");
                        }
                        _ => {}
                    }
                }
                running.handle.attach(established.negotiated.conn, world.peer_up(name, out));
                running.established = Some(established);
            }
            PeerEvent::Down(reason) => {
                running.last_error = Some((super::unix_now(), in_words(&reason)));
                if running.established.take().is_some() {
                    world.peer_down(name);
                }
                if running.dynamic {
                    self.end(name, world, cease::PEER_DECONFIGURED, "the dynamic peer has left");
                }
            }
            PeerEvent::State(_) | PeerEvent::Note(_) => {}
        }
    }

    /// Somebody dialled us.
    pub(super) fn incoming(&mut self, config: &SpeakerConfig, incoming: Incoming) {
        let remote = incoming.remote.ip();
        let known = self.running.values().find(|peer| peer.wanted.spec.address == remote);
        if let Some(peer) = known {
            peer.handle.accepted(incoming);
            return;
        }
        let Some(identity) = self.identity.clone() else { return };
        let Some(wanted) = wanted::dynamic(config, &identity, remote) else {
            self.refusals.refuse(self.now(), incoming, "no peer has this address");
            return;
        };
        let entry = config.dynamic_peers.iter().find(|entry| entry.name == wanted.selected_as);
        let limit = entry.map_or(0, |entry| usize::try_from(entry.limit).unwrap_or(usize::MAX));
        let count = self
            .running
            .values()
            .filter(|peer| peer.dynamic && peer.wanted.selected_as == wanted.selected_as)
            .count();
        if count >= limit {
            let why = format!("the limit of {limit} of dynamicPeers {} is reached", wanted.selected_as);
            self.refusals.refuse(self.now(), incoming, &why);
            return;
        }
        let name = Arc::clone(&wanted.spec.name);
        self.begin(&name, wanted, true);
        if let Some(peer) = self.running.get(&name) {
            peer.handle.accepted(incoming);
        }
    }

    /// Tells the tasks whose tables moved.
    pub(super) fn follow(&self, world: &World, pending: &BTreeSet<String>, moved: &BTreeSet<String>) {
        for name in moved {
            if let Some(peer) = self.running.get(name.as_str())
                && let Some(established) = &peer.established
            {
                peer.handle.attach(established.negotiated.conn, world.tables(name));
            }
        }
        for name in pending {
            if let Some(peer) = self.running.get(name.as_str()) {
                peer.handle.wake();
            }
        }
    }

    /// `clear PEER`.
    pub(super) fn reset(&self, name: &str) {
        if let Some(peer) = self.running.get(name) {
            let notification = Notification::cease(cease::ADMINISTRATIVE_RESET, "");
            peer.handle.stop(StopReason { notification: Some(notification), hard: true, restart: true });
        }
    }

    /// `clear PEER soft`.
    pub(super) fn soft(&self, name: &str, inbound: FamilySet, outbound: FamilySet) {
        if let Some(peer) = self.running.get(name) {
            if !inbound.is_empty() {
                peer.handle.request_refresh(inbound);
            }
            if !outbound.is_empty() {
                peer.handle.soft_out(outbound);
            }
        }
    }

    /// `shutdown PEER`.
    pub(super) fn shut_down(&mut self, name: &str, message: &str) -> bool {
        let Some(peer) = self.running.get_mut(name) else { return false };
        peer.shutdown = Some(message.to_owned());
        let notification = Notification::cease(cease::ADMINISTRATIVE_SHUTDOWN, message);
        peer.handle.stop(StopReason { notification: Some(notification), hard: true, restart: false });
        true
    }

    /// `no-shutdown PEER`.
    pub(super) fn no_shut_down(&mut self, name: &str) -> bool {
        let Some(peer) = self.running.get_mut(name) else { return false };
        peer.shutdown = None;
        if peer.wanted.blocked.is_none() {
            peer.handle.start();
        }
        true
    }

    /// Ends every session: with graceful restart without a word, so that the peers keep the routes
    /// (RFC 4724 §4), else with a Cease.
    pub(super) async fn stop(&mut self) {
        for (_, running) in std::mem::take(&mut self.running) {
            let graceful =
                running.established.as_ref().is_some_and(|up| up.negotiated.graceful_restart.is_some());
            let notification = (!graceful)
                .then(|| Notification::cease(cease::ADMINISTRATIVE_SHUTDOWN, "the speaker is stopping"));
            self.ending.push(
                running.handle.shutdown(StopReason { notification, hard: false, restart: false }, FLUSH),
            );
        }
        for task in self.ending.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a peer's task ended badly");
            }
        }
    }
}

/// The BGP identifier: configured, else the Node's InternalIP, else a hash of its name (design §4).
fn identify(config: &SpeakerConfig, world: &World, node: &str, predecessor: Predecessor) -> Identity {
    let internal = world.inputs().nodes.get(node).into_iter().flat_map(|node| &node.internal_ips);
    let from_node = internal.into_iter().find_map(|ip| match ip {
        IpAddr::V4(address) => RouterId::new(*address),
        IpAddr::V6(_) => None,
    });
    let router_id = config.router.router_id.or(from_node).unwrap_or_else(|| load::router_id_of(node));
    tracing::info!(%router_id, "BGP identifier");
    Identity {
        router_id,
        host_name: node.to_owned(),
        restarted: predecessor.existed,
        forwarding_kept: predecessor.same_boot,
    }
}

fn peer_out(running: &Running, established: &Established) -> PeerOut {
    let settings = &running.wanted.spec.settings;
    let negotiated = &established.negotiated;
    let egress = &established.egress;
    let inputs = NextHopInputs {
        configured_ipv4: settings.next_hop_ipv4,
        configured_ipv6: settings.next_hop_ipv6,
        local: negotiated.local.ip(),
        remote: negotiated.remote.ip(),
        egress_ipv4: egress.ipv4.clone(),
        egress_ipv6: egress.ipv6.clone(),
        extended_next_hop: negotiated.encode.extended_next_hop,
    };
    let next_hops = FamilyMap::from_fn(|family| next_hop(family, &inputs));
    PeerOut::new(&running.wanted.selected_as, settings, negotiated, next_hops)
}

/// The end of a session as operators read it.
fn in_words(reason: &DownReason) -> String {
    match reason {
        DownReason::Sent(notification, detail) if detail.is_empty() => format!("we sent {notification}"),
        DownReason::Sent(notification, detail) => format!("we sent {notification}: {detail}"),
        DownReason::Received(notification) => format!("the peer sent {notification}"),
        DownReason::Transport(text) => text.clone(),
        DownReason::HoldTimerExpired => "hold timer expired: nothing was heard from the peer".to_owned(),
        DownReason::SendHoldTimerExpired => "send hold timer expired: the peer reads nothing".to_owned(),
        DownReason::Stopped => "stopped without a word".to_owned(),
    }
}
