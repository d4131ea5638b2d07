//! The status of a CiliumBGPNodeConfig.

use std::collections::BTreeMap;

use bgp_proto::types::{Asn, Family, FamilyMap};
use speaker_config::crd::node_config::{InstanceStatus, NodeStatus, PeerStatus, PeerTimers, RouteCount};
use speaker_config::crd::peer_config::{Afi, Safi};
use speaker_config::model::PeerAddress;
use speaker_config::objects::{Condition, UnixSeconds};

use super::agent::{CiliumPeer, Outcome};
use crate::ipam::condition;
use crate::rfc3339;

/// The condition of a CiliumBGPNodeConfig with something in its way.
pub const RECONCILE_ERROR: &str = "cilium.io/BGPReconcileError";
/// The longest message.
const MESSAGE: usize = 32 * 1024;

/// What the session with one peer is at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// FSM state, as RFC 4271 names it.
    pub state: String,
    /// The peer's AS: from its OPEN, else as configured.
    pub peer_asn: Option<Asn>,
    /// Negotiated hold time in seconds, while established.
    pub hold_time: Option<u16>,
    /// Seconds between KEEPALIVEs, while established.
    pub keepalive: Option<u64>,
    /// Since when it is established.
    pub established: Option<UnixSeconds>,
    /// Routes received and advertised, in the families negotiated.
    pub routes: FamilyMap<Option<(u64, u64)>>,
}

/// A status; conditions apart, for the writer sets their time.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// `bgpInstances`. `conditions` is empty.
    pub status: NodeStatus,
    /// `conditions`.
    pub conditions: Vec<Condition>,
}

/// The status of this node's CiliumBGPNodeConfig, from its `generation`, what it comes to and the sessions by
/// their names ([`CiliumPeer::peer`]).
#[must_use]
pub fn node_status(outcome: &Outcome, sessions: &BTreeMap<String, Session>, generation: i64) -> Status {
    let instances = outcome.instances.iter().map(|instance| InstanceStatus {
        name: instance.name.clone(),
        local_asn: instance.local_asn.map(|asn| asn.get().into()),
        peers: outcome
            .peers
            .iter()
            .filter(|peer| peer.instance == instance.name)
            .map(|peer| peer_status(peer, sessions.get(&peer.peer.name)))
            .collect(),
    });
    let message = cut(outcome.errors.join("\n"));
    let status = if outcome.errors.is_empty() { "False" } else { "True" };
    Status {
        status: NodeStatus { bgp_instances: instances.collect(), conditions: Vec::new() },
        conditions: vec![condition(RECONCILE_ERROR, status, "BGPReconcileError", &message, generation)],
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MESSAGE {
        let end = (0..=MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

fn peer_status(peer: &CiliumPeer, session: Option<&Session>) -> PeerStatus {
    let configured = match peer.peer.settings.asn {
        bgp_proto::session::PeerAsn::Exact(asn) => Some(asn),
        _ => None,
    };
    let established = session.and_then(|session| session.established);
    PeerStatus {
        name: peer.name.clone(),
        peer_address: match &peer.peer.address {
            PeerAddress::Address { address, zone: None } => address.to_string(),
            PeerAddress::Address { address, zone: Some(zone) } => format!("{address}%{zone}"),
            PeerAddress::Interface(interface) => interface.clone(),
        },
        peer_asn: session.and_then(|session| session.peer_asn).or(configured).map(|asn| asn.get().into()),
        peering_state: Some(session.map_or_else(|| "idle".to_owned(), |one| one.state.to_lowercase())),
        timers: session.filter(|_| established.is_some()).map(|session| PeerTimers {
            applied_hold_time_seconds: session.hold_time.map(i32::from),
            applied_keepalive_seconds: session.keepalive.and_then(|seconds| i32::try_from(seconds).ok()),
        }),
        established_time: established.map(rfc3339),
        route_count: session.map(route_counts).unwrap_or_default(),
    }
}

fn route_counts(session: &Session) -> Vec<RouteCount> {
    let number = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    let counts = session.routes.iter().filter_map(|(family, counts)| {
        let (received, advertised) = (*counts)?;
        Some(RouteCount {
            afi: match family {
                Family::Ipv4Unicast => Afi::Ipv4,
                Family::Ipv6Unicast => Afi::Ipv6,
            },
            safi: Safi::Unicast,
            received: Some(number(received)),
            advertised: Some(number(advertised)),
        })
    });
    counts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cilium::agent::{Sight, outcome};
    use crate::cilium::testing::inputs;
    use crate::world::Host;
    use speaker_config::model::CiliumBgp;

    #[test]
    fn a_status_tells_what_ciliums_does() {
        let inputs = inputs(
            "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: fabric}
spec:
  bgpInstances:
    - name: main
      localASN: 64501
      peers:
        - {name: tor, peerAddress: 10.0.0.254, peerASN: 64500}
        - {name: down, peerAddress: fe80::1%eth1}
        - {name: lost, peerAddress: 10.0.0.253, peerConfigRef: {name: nowhere}}
",
        );
        let host = Host::default();
        let sight = Sight {
            node: "n1",
            inputs: &inputs,
            host: &host,
            secrets: "kube-system",
            settings: &CiliumBgp::default(),
        };
        let up = Session {
            state: "Established".into(),
            peer_asn: Asn::new(64500),
            hold_time: Some(9),
            keepalive: Some(3),
            established: Some(1_700_000_000),
            routes: FamilyMap::from_fn(|family| (family == Family::Ipv4Unicast).then_some((3, 2))),
        };
        let sessions = BTreeMap::from([("main/tor".to_owned(), up)]);
        let Status { status, conditions } = node_status(&outcome(sight), &sessions, 7);
        let written = serde_json::to_value(&status).unwrap();
        assert_eq!(
            written,
            serde_json::json!({"bgpInstances": [{"name": "main", "localASN": 64501, "peers": [
                {
                    "name": "tor", "peerAddress": "10.0.0.254", "peerASN": 64500,
                    "peeringState": "established",
                    "timers": {"appliedHoldTimeSeconds": 9, "appliedKeepaliveSeconds": 3},
                    "establishedTime": "2023-11-14T22:13:20Z",
                    "routeCount": [{"afi": "ipv4", "safi": "unicast", "received": 3, "advertised": 2}],
                },
                {"name": "down", "peerAddress": "fe80::1%eth1", "peeringState": "idle"},
            ]}]})
        );
        assert_eq!(conditions[0].kind, RECONCILE_ERROR);
        assert_eq!((conditions[0].status.as_str(), conditions[0].observed_generation), ("True", 7));
        assert_eq!(conditions[0].message, "main: peer lost: CiliumBGPPeerConfig nowhere is missing");
    }

    #[test]
    fn a_message_is_no_longer_than_ciliums() {
        let errors = vec!["ä".repeat(MESSAGE)];
        let status = node_status(&Outcome { errors, ..Outcome::default() }, &BTreeMap::new(), 1);
        assert_eq!(status.conditions[0].message.len(), MESSAGE);
        let sound = node_status(&Outcome::default(), &BTreeMap::new(), 1);
        assert_eq!(
            (sound.conditions[0].status.as_str(), sound.conditions[0].message.as_str()),
            ("False", "")
        );
    }
}
