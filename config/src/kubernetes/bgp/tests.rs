use super::*;
use serde_json::json;

fn object(spec: &Json) -> Json {
    json!({"metadata": {"name": "one"}, "spec": spec})
}

#[test]
fn an_empty_peer_config_has_ciliums_defaults() {
    let config = bgp_peer_config(&object(&json!({}))).unwrap();
    assert_eq!(config, BgpPeerConfig::defaults("one"));
    assert_eq!((config.port, config.connect_retry, config.keepalive, config.multihop), (179, 120, 30, 1));
    assert_eq!(config.hold.seconds(), 90);
    assert!(config.families.iter().all(|family| family.advertisements == Selection::Nothing));
    assert_eq!(config.families.len(), 2);
}

/// The API server applies defaults before it asks the rule.
#[test]
fn a_short_hold_time_alone_is_refused_as_by_cilium() {
    let config = bgp_peer_config(&object(&json!({"timers": {"holdTimeSeconds": 9}}))).unwrap();
    assert!(config.faults[0].starts_with("spec.timers.keepAliveTimeSeconds: 30"), "{:?}", config.faults);
    let timers = json!({"timers": {"holdTimeSeconds": 9, "keepAliveTimeSeconds": 3}});
    assert_eq!(bgp_peer_config(&object(&timers)).unwrap().faults, [] as [String; 0]);
}

#[test]
fn families_that_are_given_replace_the_defaults() {
    let families = json!({"families": [{"afi": "ipv4", "safi": "unicast", "advertisements": {}}]});
    let config = bgp_peer_config(&object(&families)).unwrap();
    let everything = Selection::These(crate::objects::Selector::default());
    assert_eq!(config.families, [BgpFamily { family: Family::Ipv4Unicast, advertisements: everything }]);
    let none = bgp_peer_config(&object(&json!({"families": []}))).unwrap();
    assert_eq!(none.families, BgpPeerConfig::defaults("one").families);
    let unspoken = json!({"families": [{"afi": "l2vpn", "safi": "evpn"}]});
    let unspoken = bgp_peer_config(&object(&unspoken)).unwrap();
    assert!(unspoken.families.is_empty() && unspoken.notes[0].contains("l2vpn/evpn is not spoken"));
}

#[test]
fn graceful_restart_is_on_where_it_says_so() {
    let restart = |fields: Json| bgp_peer_config(&object(&json!({"gracefulRestart": fields}))).unwrap();
    assert_eq!(restart(json!({"enabled": true})).graceful_restart, Some(120));
    assert_eq!(restart(json!({"enabled": true, "restartTimeSeconds": 5})).graceful_restart, Some(5));
    assert_eq!(restart(json!({"enabled": false, "restartTimeSeconds": 5})).graceful_restart, None);
}

fn peer_of(fields: &Json) -> (Vec<BgpPeer>, Vec<String>) {
    let spec = json!({"bgpInstances": [{"name": "main", "localASN": 64501, "peers": [fields]}]});
    let mut config = bgp_cluster_config(&object(&spec)).unwrap();
    (config.instances.remove(0).peers, config.faults)
}

#[test]
fn a_peer_is_where_its_fields_say() {
    let place = |fields: Json| {
        let (peers, faults) = peer_of(&fields);
        assert_eq!(faults, [] as [String; 0]);
        peers[0].place.clone()
    };
    let address = |text: &str, zone: Option<&str>| PeerPlace::Address {
        address: text.parse().unwrap(),
        zone: zone.map(str::to_owned),
    };
    assert_eq!(place(json!({"name": "a", "peerAddress": " 10.0.0.1 "})), address("10.0.0.1", None));
    assert_eq!(place(json!({"name": "a", "peerAddress": "fe80::1%eth1"})), address("fe80::1", Some("eth1")));
    assert_eq!(
        place(json!({"name": "a", "peerAddress": "fe80::1", "peerInterface": "eth1"})),
        address("fe80::1", Some("eth1"))
    );
    assert_eq!(place(json!({"name": "a", "peerInterface": "eth1"})), PeerPlace::Interface("eth1".into()));
    let gateway = json!({"mode": "DefaultGateway", "defaultGateway": {"addressFamily": "ipv4"}});
    assert_eq!(
        place(json!({"name": "a", "autoDiscovery": gateway})),
        PeerPlace::DefaultGateway(Family::Ipv4Unicast)
    );
    let unnumbered = json!({"mode": "Unnumbered", "unnumbered": {"interface": "eth2"}});
    assert_eq!(place(json!({"name": "a", "autoDiscovery": unnumbered})), PeerPlace::Interface("eth2".into()));
}

#[test]
fn as_0_is_any() {
    assert_eq!(peer_of(&json!({"name": "a", "peerAddress": "10.0.0.1", "peerASN": 0})).0[0].asn, None);
    assert_eq!(peer_of(&json!({"name": "a", "peerAddress": "10.0.0.1"})).0[0].asn, None);
    let asn =
        peer_of(&json!({"name": "a", "peerAddress": "10.0.0.1", "peerASN": 4_200_000_001_u32})).0[0].asn;
    assert_eq!(asn, Asn::new(4_200_000_001));
}

#[test]
fn a_fault_costs_what_it_stands_in_and_no_more() {
    let spec = json!({"bgpInstances": [
        {"name": "bad", "localASN": 0, "peers": [{"name": "a", "peerAddress": "10.0.0.1"}]},
        {"name": "good", "localASN": 64501, "peers": [
            {"name": "a", "peerAddress": "nowhere"},
            {"name": "b", "peerAddress": "10.0.0.2"},
        ]},
    ]});
    let config = bgp_cluster_config(&object(&spec)).unwrap();
    assert_eq!(config.faults.len(), 2, "{:?}", config.faults);
    let names: Vec<&str> = config.instances.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["good"]);
    let peers: Vec<&str> = config.instances[0].peers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(peers, ["b"]);
}

#[test]
fn fields_of_later_versions_are_no_fault() {
    let spec = json!({"future": {"a": 1}, "bgpInstances": [
        {"name": "main", "localASN": 64501, "later": true, "peers": [
            {"name": "a", "peerAddress": "10.0.0.1", "someday": []},
        ]},
    ]});
    let config = bgp_cluster_config(&object(&spec)).unwrap();
    assert_eq!((config.faults.len(), config.instances[0].peers.len()), (0, 1));
}

/// What the operator writes is what the agent reads.
#[test]
fn the_types_and_the_reader_agree() {
    use crate::crd::node_config::v2::{Instance, Peer};
    use crate::crd::v2::{CiliumBGPNodeConfig, CiliumBGPNodeConfigSpec};
    let peer = Peer {
        name: "tor".into(),
        peer_address: Some("10.0.0.254".into()),
        local_address: Some("10.0.0.1".into()),
        ..Peer::default()
    };
    let instance = Instance {
        name: "main".into(),
        local_asn: Some(64501),
        router_id: Some("10.0.0.1".into()),
        peers: vec![peer],
        ..Instance::default()
    };
    let spec = CiliumBGPNodeConfigSpec { bgp_instances: vec![instance] };
    let config =
        bgp_node_config(&serde_json::to_value(CiliumBGPNodeConfig::new("n1", spec)).unwrap()).unwrap();
    assert_eq!((config.faults.as_slice(), config.notes.as_slice()), (&[] as &[String], &[] as &[String]));
    let instance = &config.instances[0];
    assert_eq!(instance.router_id, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(instance.peers[0].local_address, Some("10.0.0.1".parse().unwrap()));
}
