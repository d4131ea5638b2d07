//! A CiliumBGPNodeConfig as it is written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::crd::cluster_config::{
    AddressFamily, AutoDiscovery, AutoDiscoveryMode, BmpServer, DefaultGateway, PeerConfigReference,
    Unnumbered,
};
use crate::crd::node_config::v2;
use crate::objects::{BgpInstance, BgpPeer, BgpStation, Owner, PeerPlace};
use bgp_proto::types::Family;

/// A CiliumBGPNodeConfig for the API server: the inverse of
/// [`bgp_node_config`](super::bgp_node_config).
#[must_use]
pub fn written_node_config(node: &str, owner: &Owner, instances: &[BgpInstance]) -> v2::CiliumBGPNodeConfig {
    let spec = v2::CiliumBGPNodeConfigSpec { bgp_instances: instances.iter().map(instance).collect() };
    let mut object = v2::CiliumBGPNodeConfig::new(node, spec);
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "cilium.io/v2".to_owned(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    object
}

fn instance(instance: &BgpInstance) -> v2::Instance {
    v2::Instance {
        name: instance.name.clone(),
        local_asn: instance.local_asn.map(|asn| i64::from(asn.get())),
        router_id: instance.router_id.map(|id| id.to_string()),
        local_port: instance.local_port.map(i32::from),
        peers: instance.peers.iter().map(peer).collect(),
        bmp_servers: instance.bmp_servers.iter().map(station).collect(),
    }
}

fn station(station: &BgpStation) -> BmpServer {
    BmpServer {
        name: station.name.clone(),
        peer_address: Some(station.address.to_string()),
        peer_port: i32::from(station.port),
        monitoring_policy: station.policy,
        statistics_timeout: station.statistics.map(i32::from),
    }
}

fn peer(peer: &BgpPeer) -> v2::Peer {
    let mut written = v2::Peer {
        name: peer.name.clone(),
        peer_asn: peer.asn.map_or(0, |asn| i64::from(asn.get())),
        local_address: peer.local_address.map(|address| address.to_string()),
        peer_config_ref: peer.peer_config.clone().map(|name| PeerConfigReference { name }),
        ..v2::Peer::default()
    };
    match &peer.place {
        PeerPlace::Address { address, zone: None } => written.peer_address = Some(address.to_string()),
        PeerPlace::Address { address, zone: Some(zone) } => {
            written.peer_address = Some(format!("{address}%{zone}"));
        }
        PeerPlace::DefaultGateway(family) => {
            written.auto_discovery = Some(AutoDiscovery {
                mode: AutoDiscoveryMode::DefaultGateway,
                default_gateway: Some(DefaultGateway {
                    address_family: match family {
                        Family::Ipv4Unicast => AddressFamily::Ipv4,
                        Family::Ipv6Unicast => AddressFamily::Ipv6,
                    },
                }),
                unnumbered: None,
            });
        }
        PeerPlace::Interface(interface) => {
            written.auto_discovery = Some(AutoDiscovery {
                mode: AutoDiscoveryMode::Unnumbered,
                default_gateway: None,
                unnumbered: Some(Unnumbered { interface: interface.clone() }),
            });
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::cluster_config::MonitoringPolicy;
    use crate::kubernetes::bgp_node_config;

    #[test]
    fn what_is_written_is_what_is_read() {
        let peer = |name: &str, place: PeerPlace| BgpPeer {
            name: name.into(),
            place,
            asn: bgp_proto::types::Asn::new(64500),
            peer_config: Some("tor".into()),
            local_address: Some("10.0.0.1".parse().unwrap()),
        };
        let at = |address: &str, zone: Option<&str>| PeerPlace::Address {
            address: address.parse().unwrap(),
            zone: zone.map(str::to_owned),
        };
        let mut any = peer("any", at("10.0.0.254", None));
        any.asn = None;
        any.peer_config = None;
        any.local_address = None;
        let instance = BgpInstance {
            name: "main".into(),
            local_asn: bgp_proto::types::Asn::new(4_200_000_001),
            local_port: Some(179),
            router_id: Some("10.0.0.1".parse().unwrap()),
            peers: vec![
                any,
                peer("zone", at("fe80::1", Some("eth1"))),
                peer("gateway", PeerPlace::DefaultGateway(Family::Ipv6Unicast)),
                peer("link", PeerPlace::Interface("eth2".into())),
            ],
            bmp_servers: vec![
                BgpStation {
                    name: "noc".into(),
                    address: "192.0.2.10".parse().unwrap(),
                    port: 11019,
                    policy: MonitoringPolicy::Pre,
                    statistics: None,
                },
                BgpStation {
                    name: "lab".into(),
                    address: "2001:db8::10".parse().unwrap(),
                    port: 5000,
                    policy: MonitoringPolicy::All,
                    statistics: Some(15),
                },
            ],
        };
        let bare = BgpInstance { name: "bare".into(), ..BgpInstance::default() };
        let instances = [instance, bare];
        let owner =
            Owner { kind: "CiliumBGPClusterConfig".into(), name: "fabric".into(), uid: "7c1e".into() };
        let object = serde_json::to_value(written_node_config("n1", &owner, &instances)).unwrap();
        let read = bgp_node_config(&object).unwrap();
        assert_eq!((read.faults.as_slice(), read.name.as_str()), (&[] as &[String], "n1"));
        assert_eq!(read.instances, instances);
        assert_eq!(read.owner, Some(owner));
        assert_eq!(object["metadata"]["ownerReferences"][0]["controller"], true);
    }
}
