//! Which peer tasks there should be, and what a new configuration changes in those that run.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bgp_proto::session::{GracefulRestartConfig, SessionConfig, TimerConfig};
use bgp_proto::types::{Asn, RouterId};
use speaker_config::model::{Peer, PeerAddress, PeerSettings, SpeakerConfig};
use speaker_core::fnv::{fnv1a_64, joined};
use speaker_core::world::{EffectivePeer, World};

use super::unnumbered::Neighbors;
use crate::io::boot::Predecessor;
use crate::io::peer::{PeerName, PeerSpec};
use crate::load::{self, Secrets};

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
    /// The interface that names the peer (unnumbered). While nobody is known there, the address is the unspecified one.
    pub(super) interface: Option<String>,
}

impl Wanted {
    /// Whether it is whoever is on this interface.
    pub(super) fn is_on(&self, interface: &str) -> bool {
        self.interface.as_deref() == Some(interface)
    }

    /// Whether it is not known yet who it is.
    pub(super) const fn is_sought(&self) -> bool {
        self.interface.is_some() && self.spec.address.is_unspecified()
    }
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

/// The peers that this node is to have, by name.
pub(super) fn wanted(
    config: &SpeakerConfig,
    peers: &[EffectivePeer],
    identity: &Identity,
    secrets: &Secrets,
    neighbors: &Neighbors,
) -> BTreeMap<PeerName, Wanted> {
    let mut all = BTreeMap::new();
    for EffectivePeer { peer, router_id, refused } in peers {
        let Some(asn) = peer.settings.local_asn.or(config.router.asn) else { continue };
        let mut wanted = match &peer.address {
            PeerAddress::Address { address, zone } => {
                one(peer, *address, zone.clone(), asn, identity, secrets)
            }
            PeerAddress::Interface(interface) => {
                found(interface, neighbors, |address, zone| one(peer, address, zone, asn, identity, secrets))
            }
        };
        if let Some(router_id) = router_id {
            wanted.spec.session.router_id = *router_id;
        }
        if let Some(refused) = refused {
            wanted.blocked = Some(refused.clone());
        }
        all.insert(Arc::from(peer.name.as_str()), wanted);
    }
    all
}

/// The peer that is, or will be, found on an interface.
fn found(
    interface: &str,
    neighbors: &Neighbors,
    one: impl FnOnce(IpAddr, Option<String>) -> Wanted,
) -> Wanted {
    let address = neighbors.address(interface);
    let nobody = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let mut wanted = one(address.unwrap_or(nobody), Some(interface.to_owned()));
    wanted.interface = Some(interface.to_owned());
    // The zone says it already.
    wanted.spec.settings.source_interface = None;
    if address.is_none() {
        wanted.blocked.get_or_insert_with(|| neighbors.why(interface));
    }
    wanted
}

fn one(
    peer: &Peer,
    address: IpAddr,
    zone: Option<String>,
    asn: Asn,
    identity: &Identity,
    secrets: &Secrets,
) -> Wanted {
    let keys = peer.settings.authentication.as_ref().map(|source| load::keys(source, secrets));
    let (keys, blocked) = match keys {
        None => (None, None),
        Some(Ok(keys)) => (Some(keys), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let spec = PeerSpec {
        name: Arc::from(peer.name.as_str()),
        address,
        zone,
        session: session(&peer.settings, asn, identity, &peer.name),
        settings: peer.settings.clone(),
        keys,
    };
    Wanted {
        spec,
        selected_as: peer.name.clone(),
        group: peer.group.clone(),
        description: peer.description.clone(),
        blocked,
        interface: None,
    }
}

/// A peer that dialled us from the prefix of a `dynamicPeers` entry.
pub(super) fn dynamic(
    config: &SpeakerConfig,
    identity: &Identity,
    secrets: &Secrets,
    remote: IpAddr,
) -> Option<Wanted> {
    let entry = config.dynamic_peers.iter().find(|entry| entry.prefix.contains(remote))?;
    let asn = entry.settings.local_asn.or(config.router.asn)?;
    let peer = Peer {
        name: format!("{}:{remote}", entry.name),
        group: entry.group.clone(),
        description: None,
        address: PeerAddress::Address { address: remote, zone: None },
        settings: PeerSettings { passive: true, ..entry.settings.clone() },
    };
    let wanted = one(&peer, remote, None, asn, identity, secrets);
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
            long_lived: settings.long_lived_restart,
        }),
        helper: !settings.learn.is_off(),
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
        send_hold: settings.send_hold,
        ..TimerConfig::default()
    }
}

/// The BGP identifier: configured, else the Node's InternalIP, else a hash of its name (design §4).
pub(super) fn identify(
    config: &SpeakerConfig,
    world: &World,
    node: &str,
    predecessor: Predecessor,
) -> Identity {
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

/// Different on every node and for every peer, so that a rack's power cycle does not bring all sessions up
/// in the same millisecond; the same after a restart.
fn seed(node: &str, peer: &str) -> u64 {
    fnv1a_64(joined(node, peer))
}

/// What separates a running peer from what it should be.
pub(super) fn difference(running: &PeerSpec, wanted: &PeerSpec) -> Difference {
    let identity = |spec: &PeerSpec| {
        let settings = &spec.settings;
        // What an OPEN says of it is new with the next session.
        let session = SessionConfig { timers: TimerConfig::default(), helper: false, ..spec.session.clone() };
        let transport =
            (settings.port, settings.ttl, settings.local_address, settings.source_interface.clone());
        (spec.address, spec.zone.clone(), spec.keys.clone(), session, transport)
    };
    if identity(running) != identity(wanted) {
        Difference::Reset
    } else if running.settings != wanted.settings {
        Difference::Soft
    } else {
        Difference::None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use speaker_core::world::Start;

    use super::*;

    fn identity() -> Identity {
        Identity {
            router_id: RouterId::new([10, 0, 0, 1].into()).unwrap(),
            host_name: "n1".to_owned(),
            restarted: false,
            forwarding_kept: false,
        }
    }

    fn config(peer: &str, rest: &str) -> SpeakerConfig {
        let text = format!(
            "router: {{asn: 64501, listen: [\"127.0.0.1:179\"]}}\npeers:\n  - {{name: tor, {peer}}}\n{rest}"
        );
        crate::load::parse(text, "speaker.yaml", Path::new(".")).unwrap().config
    }

    /// The peers that a node with these objects is to have.
    fn in_force(config: &SpeakerConfig, objects: &str) -> BTreeMap<PeerName, Wanted> {
        let start = Start { node: "n1".to_owned(), ..Start::default() };
        let mut world = World::new(config, &start);
        for document in speaker_config::manifest::parse(objects) {
            let speaker_config::manifest::Content::Object(object) = document.content else {
                panic!("{objects}")
            };
            world.upsert(object);
        }
        world.settle(0);
        let mut secrets = Secrets::of(Some("kube-system".to_owned()));
        secrets.refresh(&world.inputs().secrets);
        let neighbors = Neighbors::new(tokio::sync::watch::Sender::default());
        wanted(config, world.peers().all(), &identity(), &secrets, &neighbors)
    }

    #[test]
    fn the_identifier_is_the_files_else_the_nodes_else_a_hash_of_its_name() {
        let of = |router: &str, addresses: &str| {
            let text = format!("router: {{asn: 64501{router}}}\n");
            let config = crate::load::parse(text, "speaker.yaml", Path::new(".")).unwrap().config;
            let mut world = World::new(&config, &Start { node: "n1".to_owned(), ..Start::default() });
            let node = format!(
                "{{apiVersion: v1, kind: Node, metadata: {{name: n1}}, status: {{addresses: [{addresses}]}}}}"
            );
            for document in speaker_config::manifest::parse(&node) {
                let speaker_config::manifest::Content::Object(object) = document.content else {
                    panic!("{node}")
                };
                world.upsert(object);
            }
            world.settle(0);
            let predecessor = Predecessor { existed: false, same_boot: false, ready: false };
            identify(&config, &world, "n1", predecessor).router_id.to_string()
        };
        let both = "{type: InternalIP, address: \"fd00::1\"}, {type: InternalIP, address: 10.0.0.7}";
        assert_eq!(of(", routerId: 192.0.2.9", both), "192.0.2.9");
        assert_eq!(of("", both), "10.0.0.7");
        assert_eq!(of("", "{type: InternalIP, address: \"fd00::1\"}"), load::router_id_of("n1").to_string());
    }

    #[test]
    fn ciliums_peers_have_the_identity_of_their_instance() {
        let config = config("address: 10.0.0.254, asn: 64500", "");
        let all = in_force(
            &config,
            "
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata: {name: n1}
spec:
  bgpInstances:
    - name: main
      localASN: 64777
      routerID: 10.9.9.9
      peers:
        - {name: a, peerAddress: 10.0.0.1, peerASN: 64500, peerConfigRef: {name: key}}
        - {name: b, peerAddress: 10.0.0.254, peerASN: 64500}
---
{apiVersion: cilium.io/v2, kind: CiliumBGPPeerConfig, metadata: {name: key}, spec: {authSecretRef: tor-key}}
---
{apiVersion: v1, kind: Secret, metadata: {name: tor-key, namespace: kube-system}, stringData: {password: swordfish}}
",
        );
        let names: Vec<&str> = all.keys().map(|name| &**name).collect();
        assert_eq!(names, ["main/a", "main/b", "tor"]);
        let a = &all["main/a"];
        assert_eq!(a.spec.session.router_id.to_string(), "10.9.9.9");
        assert_eq!(a.spec.session.local_asn.get(), 64777);
        assert_eq!(a.spec.keys, Some(crate::io::keys::Password::new(b"swordfish").unwrap().into()));
        assert_eq!((a.blocked.as_deref(), a.group.as_deref()), (None, Some("CiliumBGPPeerConfig key")));
        assert_eq!(all["tor"].spec.session.router_id, identity().router_id);
        assert_eq!(all["main/b"].blocked.as_deref(), Some("peer tor of speaker.yaml has the same address"));
    }

    fn spec(peer: &str) -> PeerSpec {
        let all = in_force(&config(peer, ""), "");
        all.get("tor").unwrap().spec.clone()
    }

    #[test]
    fn only_a_change_of_identity_resets_a_session() {
        const PEER: &str = "address: 10.0.0.254, asn: 64500";
        for (change, expected) in [
            ("", Difference::None),
            (", timers: {hold: 9s}", Difference::Soft),
            (", timers: {connectRetry: 1s}", Difference::Soft),
            (", timers: {sendHold: 1m}", Difference::Soft),
            (", export: [{prefix: 10.0.0.0/8}]", Difference::Soft),
            (", maxAdvertised: {ipv4-unicast: 1}", Difference::Soft),
            (", receive: all", Difference::Soft),
            (", learn: default-route", Difference::Soft),
            (", maxPrefixes: {ipv6-unicast: 1}", Difference::Soft),
            (", nextHop: {ipv4: 10.0.0.9}", Difference::Soft),
            (", shutdown: true", Difference::Soft),
            (", localAsn: 64777", Difference::Reset),
            (", families: [ipv4-unicast]", Difference::Reset),
            (", gracefulRestart: {restartTime: 30s}", Difference::Reset),
            (", gracefulRestart: {}, longLivedRestart: {staleTime: 1h}", Difference::Reset),
            (", addPath: receive", Difference::Reset),
            (", role: customer", Difference::Reset),
            (", passive: true", Difference::Reset),
            (", port: 1790", Difference::Reset),
            (", localAddress: 10.0.0.1", Difference::Reset),
            (", sourceInterface: eth0", Difference::Reset),
            (", ttlSecurity: {hops: 1}", Difference::Reset),
            (", multihop: {ttl: 4}", Difference::Reset),
        ] {
            assert_eq!(difference(&spec(PEER), &spec(&format!("{PEER}{change}"))), expected, "{change}");
        }
        assert_eq!(
            difference(&spec(PEER), &spec("address: 10.0.0.253, asn: 64500")),
            Difference::Reset,
            "another address"
        );
        assert_eq!(difference(&spec(PEER), &spec("address: 10.0.0.254, asn: external")), Difference::Reset);
    }

    #[test]
    fn a_new_key_is_a_new_identity_and_a_missing_one_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("tor.key");
        let peer = format!("address: 10.0.0.254, asn: 64500, passwordFile: {}", key.display());
        let config = config(&peer, "");
        let now = || in_force(&config, "").remove("tor").unwrap();
        let missing = now();
        assert!(missing.blocked.as_ref().unwrap().contains("tor.key"), "{:?}", missing.blocked);
        assert_eq!(missing.spec.keys, None);
        std::fs::write(&key, "one\n").unwrap();
        let one = now();
        assert_eq!(one.blocked, None);
        assert_eq!(difference(&missing.spec, &one.spec), Difference::Reset);
        std::fs::write(&key, "two").unwrap();
        assert_eq!(difference(&one.spec, &now().spec), Difference::Reset);
        std::fs::write(&key, "one").unwrap();
        assert_eq!(difference(&one.spec, &now().spec), Difference::None, "the newline is not part of it");
    }

    #[test]
    fn a_node_has_the_peers_that_select_it() {
        let selected = "address: 10.0.0.254, asn: 64500, nodeSelector: {matchLabels: {rack: r1}}";
        let config = config(selected, "  - {name: everywhere, address: 10.0.0.253, asn: 64500}\n");
        let names = |labels: &str| -> Vec<String> {
            let node =
                format!("{{apiVersion: v1, kind: Node, metadata: {{name: n1, labels: {{{labels}}}}}}}");
            in_force(&config, &node).keys().map(ToString::to_string).collect()
        };
        assert_eq!(names(""), ["everywhere"]);
        assert_eq!(names("rack: r1"), ["everywhere", "tor"]);
    }

    #[test]
    fn a_dynamic_peer_waits_for_the_other_side_and_is_named_after_its_address() {
        let rest = "dynamicPeers: [{name: rack, prefix: 10.1.0.0/24, asn: external}]\n";
        let config = config("address: 10.0.0.254, asn: 64500", rest);
        let found = dynamic(&config, &identity(), &Secrets::default(), "10.1.0.7".parse().unwrap()).unwrap();
        assert_eq!((&*found.spec.name, found.selected_as.as_str()), ("rack:10.1.0.7", "rack"));
        assert!(found.spec.session.passive);
        assert!(dynamic(&config, &identity(), &Secrets::default(), "10.2.0.7".parse().unwrap()).is_none());
    }

    #[test]
    fn peers_and_nodes_have_jitter_of_their_own() {
        assert_eq!(seed("n1", "tor"), seed("n1", "tor"));
        assert_ne!(seed("n1", "tor"), seed("n2", "tor"));
        assert_ne!(seed("n1", "tor"), seed("n1", "tor-b"));
        assert_ne!(seed("n", "1/tor"), seed("n/1", "or"));
    }
}
