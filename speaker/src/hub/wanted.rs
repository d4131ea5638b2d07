//! Which peer tasks there should be, and what a new configuration changes in those that run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::session::{GracefulRestartConfig, SessionConfig, TimerConfig};
use bgp_proto::types::{Asn, RouterId};
use speaker_config::model::{Peer, PeerAddress, PeerSettings, SpeakerConfig};
use speaker_config::objects::Labels;

use crate::io::peer::{Password, PeerName, PeerSpec};

/// What this process is to its peers; fixed while it runs.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The BGP identifier.
    pub(super) router_id: RouterId,
    /// The node's name, which goes out in capability 73.
    pub(super) host_name: String,
    /// This process follows another on the same boot within the restart time (RFC 4724 §4.1).
    pub(super) restarted: bool,
    /// The kernel is the one that forwarded before (RFC 4724 §3, F bit).
    pub(super) forwarding_kept: bool,
}

/// A peer that should have a task.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The task's orders.
    pub(super) spec: PeerSpec,
    /// The name by which `advertisements.peers` selects it.
    pub(super) selected_as: String,
    /// `group`.
    pub(super) group: Option<String>,
    /// `description`.
    pub(super) description: Option<String>,
    /// Why it must not come up, for example a secret that cannot be read.
    pub(super) blocked: Option<String>,
}

/// What a new configuration means for a running peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// Nothing.
    None,
    /// Policy or timers: the session stays.
    Soft,
    /// Its identity: the session must be reset (design §4).
    Reset,
}

/// The peers of the file that this node is to have, by name.
pub(super) fn wanted(
    config: &SpeakerConfig,
    identity: &Identity,
    labels: &Labels,
) -> BTreeMap<PeerName, Wanted> {
    let mut all = BTreeMap::new();
    for peer in &config.peers {
        let selected = peer.settings.node_selector.as_ref().is_none_or(|selector| selector.matches(labels));
        let PeerAddress::Address { address, zone } = &peer.address else { continue };
        let Some(asn) = peer.settings.local_asn.or(config.router.asn) else { continue };
        if selected {
            let wanted = one(peer, *address, zone.clone(), asn, identity);
            all.insert(Arc::from(peer.name.as_str()), wanted);
        }
    }
    all
}

fn one(peer: &Peer, address: IpAddr, zone: Option<String>, asn: Asn, identity: &Identity) -> Wanted {
    let (password, blocked) = match peer.settings.password.as_ref().map(crate::load::password) {
        None => (None, None),
        Some(Ok(password)) => (Some(password), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let spec = PeerSpec {
        name: Arc::from(peer.name.as_str()),
        address,
        zone,
        session: session(&peer.settings, asn, identity, &peer.name),
        settings: peer.settings.clone(),
        password,
    };
    Wanted {
        spec,
        selected_as: peer.name.clone(),
        group: peer.group.clone(),
        description: peer.description.clone(),
        blocked,
    }
}

/// A peer that dialled us from the prefix of a `dynamicPeers` entry.
pub(super) fn dynamic(config: &SpeakerConfig, identity: &Identity, remote: IpAddr) -> Option<Wanted> {
    let entry = config.dynamic_peers.iter().find(|entry| entry.prefix.contains(remote))?;
    let asn = entry.settings.local_asn.or(config.router.asn)?;
    let peer = Peer {
        name: format!("{}:{remote}", entry.name),
        group: entry.group.clone(),
        description: None,
        address: PeerAddress::Address { address: remote, zone: None },
        settings: PeerSettings { passive: true, ..entry.settings.clone() },
    };
    let wanted = one(&peer, remote, None, asn, identity);
    Some(Wanted { selected_as: entry.name.clone(), ..wanted })
}

fn session(settings: &PeerSettings, local_asn: Asn, identity: &Identity, name: &str) -> SessionConfig {
    SessionConfig {
        local_asn,
        router_id: identity.router_id,
        peer_asn: settings.asn,
        passive: settings.passive,
        families: settings.families,
        timers: timers(settings),
        extended_message: true,
        extended_next_hop: true,
        add_path: settings.add_path,
        graceful_restart: settings.graceful_restart.map(|restart_time| GracefulRestartConfig {
            restart_time,
            restarted: identity.restarted,
            forwarding_kept: identity.forwarding_kept,
        }),
        role: settings.role,
        host_name: Some(identity.host_name.clone()),
        seed: seed(&identity.host_name, name),
    }
}

/// The timers of a peer.
pub(super) fn timers(settings: &PeerSettings) -> TimerConfig {
    TimerConfig {
        hold: settings.hold,
        keepalive: settings.keepalive,
        connect_retry: settings.connect_retry,
        ..TimerConfig::default()
    }
}

/// Different on every node and for every peer, so that a rack's power cycle does not bring all sessions up
/// in the same millisecond; the same after a restart.
fn seed(node: &str, peer: &str) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in node.bytes().chain([b'/']).chain(peer.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// What separates a running peer from what it should be.
pub(super) fn difference(running: &PeerSpec, wanted: &PeerSpec) -> Difference {
    let identity = |spec: &PeerSpec| {
        let settings = &spec.settings;
        let session = SessionConfig { timers: TimerConfig::default(), ..spec.session.clone() };
        let transport =
            (settings.port, settings.ttl, settings.local_address, settings.source_interface.clone());
        (spec.address, spec.zone.clone(), spec.password.clone().map(|key: Password| key), session, transport)
    };
    if identity(running) != identity(wanted) {
        Difference::Reset
    } else if running.settings != wanted.settings {
        Difference::Soft
    } else {
        Difference::None
    }
}
