use speaker_config::objects::ObjectRef;

use super::super::testing::{add, inputs};
use super::*;
use crate::inputs::Touched;

const CLUSTER: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: fabric}
spec:
  bgpInstances:
    - name: main
      localASN: 64501
      localPort: 1179
      peers:
        - {name: tor, peerAddress: 10.0.0.254, peerASN: 64500, peerConfigRef: {name: tor}}
";

const PEER: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {name: tor}
spec:
  families:
    - {afi: ipv4, safi: unicast, advertisements: {matchLabels: {to: tor}}}
    - {afi: ipv6, safi: unicast}
";

const ADVERTISEMENT: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: services, labels: {to: tor}}
spec:
  advertisements:
    - advertisementType: Service
      service: {addresses: [LoadBalancerIP], aggregationLengthIPv4: 24}
      selector: {}
";

fn host() -> Host {
    Host {
        default_gateways: FamilyMap { ipv4: Some("10.0.0.1".parse().unwrap()), ipv6: None },
        interfaces: BTreeMap::from([(
            "lo".to_owned(),
            ["127.0.0.1", "::1", "192.0.2.7", "2001:db8::7", "fe80::7"].map(|a| a.parse().unwrap()).to_vec(),
        )]),
        ..Host::default()
    }
}

fn seen(inputs: &Inputs) -> Outcome {
    seen_by(inputs)
}

fn seen_by(inputs: &Inputs) -> Outcome {
    let (host, settings) = (host(), CiliumBgp::default());
    outcome(Sight { node: "n1", inputs, host: &host, secrets: "kube-system", settings: &settings })
}

#[test]
fn a_peer_gets_the_settings_of_its_peer_config() {
    let mut inputs = inputs(CLUSTER);
    add(
        &mut inputs,
        "
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {name: tor}
spec:
  transport: {peerPort: 1790, sourceInterface: eth0}
  timers: {connectRetryTimeSeconds: 5, holdTimeSeconds: 9, keepAliveTimeSeconds: 3}
  gracefulRestart: {enabled: true, restartTimeSeconds: 15}
  ebgpMultihop: 4
  families: [{afi: ipv4, safi: unicast}]
",
    );
    let outcome = seen(&inputs);
    assert_eq!(outcome.errors, [] as [String; 0]);
    assert_eq!(outcome.ports, BTreeSet::from([1179]));
    let peer = &outcome.peers[0].peer;
    assert_eq!((peer.name.as_str(), peer.group.as_deref()), ("main/tor", Some("CiliumBGPPeerConfig tor")));
    let settings = &peer.settings;
    assert_eq!(
        (settings.asn, settings.local_asn),
        (PeerAsn::Exact(Asn::new(64500).unwrap()), Asn::new(64501))
    );
    assert_eq!((settings.port, settings.source_interface.as_deref()), (1790, Some("eth0")));
    assert_eq!((settings.hold.seconds(), settings.keepalive), (9, Some(Duration::from_secs(3))));
    assert_eq!((settings.connect_retry, settings.graceful_restart), (Duration::from_secs(5), Some(15)));
    assert_eq!(settings.ttl, Ttl::Multihop(4));
    assert_eq!(settings.families, [Family::Ipv4Unicast].into_iter().collect());
}

#[test]
fn a_peer_without_a_peer_config_has_ciliums_defaults_and_is_told_nothing() {
    let mut inputs =
        inputs(&CLUSTER.replace(", peerConfigRef: {name: tor}", "").replace("peerASN: 64500", "peerASN: 0"));
    add(&mut inputs, ADVERTISEMENT);
    let outcome = seen(&inputs);
    let settings = &outcome.peers[0].peer.settings;
    assert_eq!((settings.asn, settings.port, settings.ttl), (PeerAsn::Any, 179, Ttl::Direct));
    assert_eq!(settings.connect_retry, Duration::from_secs(120));
    assert_eq!((settings.hold.seconds(), settings.keepalive), (90, Some(Duration::from_secs(30))));
    assert_eq!(settings.families, Family::ALL.into_iter().collect());
    assert_eq!(outcome.advertisements, []);
}

#[test]
fn what_stations_are_told_of_a_peer_is_kept() {
    let with = |servers: &str| {
        let mut inputs =
            inputs(&CLUSTER.replace("      peers:", &format!("      bmpServers: [{servers}]\n      peers:")));
        add(&mut inputs, PEER);
        let outcome = seen(&inputs);
        assert_eq!(outcome.errors, [] as [String; 0]);
        (outcome.stations, outcome.peers[0].peer.settings.receive)
    };
    let (stations, receive) = with("{name: noc, peerAddress: 192.0.2.10}");
    let noc = BmpCollector {
        name: "main/noc".to_owned(),
        address: "192.0.2.10:11019".to_owned(),
        adj_rib_in: true,
        adj_rib_out: false,
        loc_rib: false,
        statistics: None,
        connect_retry: Duration::from_secs(30),
    };
    assert_eq!((stations.as_slice(), receive), ([noc.clone()].as_slice(), Receive::All));
    let all = "{name: noc, peerAddress: '2001:db8::10', peerPort: 5000, monitoringPolicy: all, statisticsTimeout: 60}";
    let everything = BmpCollector {
        address: "[2001:db8::10]:5000".to_owned(),
        adj_rib_out: true,
        loc_rib: true,
        statistics: Some(Duration::from_secs(60)),
        ..noc.clone()
    };
    assert_eq!(with(all), (vec![everything], Receive::All));
    let local = BmpCollector { adj_rib_in: false, loc_rib: true, ..noc };
    let written = "{name: noc, peerAddress: 192.0.2.10, monitoringPolicy: local}";
    assert_eq!(with(written), (vec![local], Receive::Count));
}

#[test]
fn multihop_says_nothing_to_an_internal_peer() {
    let mut inputs = inputs(&CLUSTER.replace("peerASN: 64500", "peerASN: 64501"));
    add(&mut inputs, &format!("{PEER}  ebgpMultihop: 4\n"));
    assert_eq!(seen(&inputs).peers[0].peer.settings.ttl, Ttl::Direct);
}

#[test]
fn a_missing_peer_config_leaves_the_peer_out_with_an_error() {
    let outcome = seen(&inputs(CLUSTER));
    assert_eq!(outcome.peers, []);
    assert_eq!(outcome.errors, ["main: peer tor: CiliumBGPPeerConfig tor is missing"]);
}

#[test]
fn without_its_secret_a_peer_does_not_come_up() {
    let mut inputs = inputs(CLUSTER);
    add(&mut inputs, &format!("{PEER}  authSecretRef: key\n"));
    let refused = |inputs: &Inputs| {
        let outcome = seen(inputs);
        assert_eq!(outcome.errors.len(), usize::from(outcome.peers[0].refused.is_some()));
        outcome.peers[0].refused.clone().unwrap_or_default()
    };
    assert!(refused(&inputs).starts_with("Secret kube-system/key is missing"), "{}", refused(&inputs));
    let secret = |namespace: &str, data: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: key, namespace: {namespace}}}, stringData: {data}}}"
        )
    };
    add(&mut inputs, &secret("default", "{password: x}"));
    assert!(refused(&inputs).contains("is missing"), "another namespace's is none");
    add(&mut inputs, &secret("kube-system", "{other: x}"));
    assert!(refused(&inputs).contains("has no key \"password\""), "{}", refused(&inputs));
    add(&mut inputs, &secret("kube-system", "{password: x}"));
    assert_eq!(refused(&inputs), "");
    let source = PasswordSource::Secret { name: "key".to_owned(), key: "password".to_owned() };
    assert_eq!(seen(&inputs).peers[0].peer.settings.authentication, Some(Authentication::Md5(source)));
}

/// The fault could be in what keeps strangers out.
#[test]
fn a_peer_config_with_a_fault_keeps_its_peers_down() {
    let mut inputs = inputs(CLUSTER);
    add(&mut inputs, &format!("{PEER}  authSecretRef: [key]\n"));
    assert!(seen(&inputs).peers[0].refused.as_ref().unwrap().contains("authSecretRef"));
}

#[test]
fn a_peer_is_found_behind_the_default_gateway() {
    let discovery = |family: &str| {
        let place =
            format!("autoDiscovery: {{mode: DefaultGateway, defaultGateway: {{addressFamily: {family}}}}}");
        let mut inputs = inputs(&CLUSTER.replace("peerAddress: 10.0.0.254", &place));
        add(&mut inputs, PEER);
        seen(&inputs)
    };
    let address = PeerAddress::Address { address: "10.0.0.1".parse().unwrap(), zone: None };
    assert_eq!(discovery("ipv4").peers[0].peer.address, address);
    let none = discovery("ipv6");
    assert_eq!(none.peers, []);
    assert_eq!(none.errors, ["main: peer tor: this node has no default gateway for ipv6-unicast"]);
}

#[test]
fn an_unnumbered_peer_is_whoever_is_on_its_interface_and_one_alone() {
    let place = "autoDiscovery: {mode: Unnumbered, unnumbered: {interface: eth1}}";
    let mut inputs = inputs(&CLUSTER.replace("peerAddress: 10.0.0.254", place));
    add(&mut inputs, PEER);
    let eth1 = PeerAddress::Interface("eth1".to_owned());
    for (taken, why) in [
        (eth1.clone(), Some("peer own of speaker.yaml is on the same interface")),
        (PeerAddress::Interface("eth2".to_owned()), None),
        (
            PeerAddress::Address { address: "fe80::1".parse().unwrap(), zone: Some("eth1".to_owned()) },
            Some("peer own of speaker.yaml is on the same interface"),
        ),
    ] {
        let mut outcome = seen(&inputs);
        assert_eq!((&outcome.peers[0].peer.address, &outcome.errors), (&eth1, &vec![]));
        refuse_taken(&mut outcome, &BTreeMap::from([(taken, "own".to_owned())]));
        assert_eq!(outcome.peers[0].refused.as_deref(), why);
    }
}

#[test]
fn the_later_of_two_peers_with_one_address_is_refused() {
    let twice = "        - {name: again, peerAddress: 10.0.0.254}\n";
    let mut inputs = inputs(&format!("{CLUSTER}{twice}"));
    add(&mut inputs, PEER);
    let mut outcome = seen(&inputs);
    assert_eq!(outcome.peers[0].refused, None);
    assert_eq!(outcome.peers[1].refused.as_deref(), Some("peer main/tor has the same address"));
    let address = PeerAddress::Address { address: "10.0.0.254".parse().unwrap(), zone: None };
    refuse_taken(&mut outcome, &BTreeMap::from([(address, "tor-a".to_owned())]));
    let refused: Vec<&str> = outcome.peers.iter().map(|peer| peer.refused.as_deref().unwrap()).collect();
    assert_eq!(refused, ["peer tor-a of speaker.yaml has the same address"; 2]);
}

#[test]
fn a_family_is_told_what_its_selector_selects() {
    let mut inputs = inputs(CLUSTER);
    add(&mut inputs, PEER);
    add(&mut inputs, ADVERTISEMENT);
    let outcome = seen(&inputs);
    let [only] = outcome.advertisements.as_slice() else { panic!("{outcome:#?}") };
    assert_eq!(only.name, "CiliumBGPAdvertisement services");
    assert_eq!(only.families, [Family::Ipv4Unicast].into_iter().collect());
    assert_eq!(only.peers, Some(BTreeSet::from(["main/tor".to_owned()])));
    let routes = only.service_routes.unwrap();
    assert_eq!((routes.which, routes.when), (ServiceRoutesWhich::All, ServiceGate::Allocated));
    assert_eq!(routes.aggregation, FamilyMap { ipv4: Some(24), ipv6: None });
    // The same in both families is one advertisement for both.
    add(
        &mut inputs,
        &PEER.replace("{afi: ipv6, safi: unicast}", "{afi: ipv6, safi: unicast, advertisements: {}}"),
    );
    let both = seen(&inputs).advertisements;
    assert_eq!(both.len(), 1);
    assert_eq!(both[0].families, Family::ALL.into_iter().collect());
}

#[test]
fn a_selector_that_is_absent_selects_nothing_and_an_empty_one_everything() {
    let mut inputs = inputs(CLUSTER);
    add(&mut inputs, PEER);
    add(&mut inputs, &ADVERTISEMENT.replace("      selector: {}\n", ""));
    let none = seen(&inputs);
    assert_eq!(none.advertisements, []);
    assert!(none.notes[0].contains("selects no Service"), "{:?}", none.notes);
    add(&mut inputs, ADVERTISEMENT);
    let selector = seen(&inputs).advertisements[0].service_selector.clone();
    assert_eq!(selector, Some(speaker_config::objects::Selector::default()));
}

#[test]
fn pod_cidrs_and_interfaces_are_prefixes() {
    let mut inputs = inputs(CLUSTER);
    add(&mut inputs, &PEER.replace("unicast}", "unicast, advertisements: {matchLabels: {to: tor}}}"));
    add(
        &mut inputs,
        "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: own, labels: {to: tor}}
spec:
  advertisements:
    - advertisementType: PodCIDR
    - {advertisementType: Interface, interface: {name: lo}}
    - {advertisementType: Interface, interface: {name: eth9}}
",
    );
    let bare = seen(&inputs);
    assert!(
        bare.errors.iter().any(|error| error.contains("Node n1 has no spec.podCIDRs")),
        "{:?}",
        bare.errors
    );
    add(
        &mut inputs,
        "{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.1.0.0/24, \"fd00:1::/64\"]}}",
    );
    let outcome = seen(&inputs);
    let prefixes: Vec<Vec<String>> = outcome
        .advertisements
        .iter()
        .map(|one| one.prefixes.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(prefixes, [vec!["10.1.0.0/24", "fd00:1::/64"], vec!["192.0.2.7/32", "2001:db8::7/128"]]);
    assert_eq!(outcome.advertisements[0].allow, outcome.advertisements[0].prefixes);
    assert_eq!(outcome.errors.len(), 1, "{:?}", outcome.errors);
    assert!(outcome.errors[0].contains("[2]: there is no interface eth9"), "{:?}", outcome.errors);
}

/// Selected by their labels, and by their name; what no CiliumNode tells of is an error.
#[test]
fn cidrs_of_pod_ip_pools_are_those_of_the_nodes_own_cilium_node() {
    let mut inputs = inputs(CLUSTER);
    add(&mut inputs, &PEER.replace("unicast}", "unicast, advertisements: {matchLabels: {to: tor}}}"));
    let advertise = |selector: &str| {
        format!(
            "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {{name: pods, labels: {{to: tor}}}}
spec:
  advertisements:
    - {{advertisementType: CiliumPodIPPool{selector}}}
"
        )
    };
    add(&mut inputs, &advertise(", selector: {}"));
    let told = |inputs: &Inputs| -> Vec<String> {
        let outcome = seen(inputs);
        assert_eq!(outcome.errors, [] as [String; 0]);
        for one in &outcome.advertisements {
            assert_eq!(one.allow, one.prefixes, "they are the node's own");
        }
        outcome.advertisements.iter().flat_map(|one| &one.prefixes).map(ToString::to_string).collect()
    };
    let bare = seen(&inputs).errors;
    assert!(bare[0].contains("CiliumNode n1 has no spec.ipam.pools.allocated"), "{bare:?}");
    add(
        &mut inputs,
        "
apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n1}
spec:
  ipam:
    pools:
      requested: [{pool: blue, needed: {ipv4-addrs: 16}}]
      allocated:
        - {pool: blue, cidrs: [10.20.0.0/27, \"fd00:20::/96\"]}
        - {pool: red, cidrs: [10.30.0.0/27]}
---
{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {name: n2}, spec: {ipam: {pools: {allocated: [{pool: blue, cidrs: [10.20.0.32/27]}]}}}}
---
{apiVersion: cilium.io/v2alpha1, kind: CiliumPodIPPool, metadata: {name: red, labels: {tier: public}}, spec: {}}
",
    );
    assert_eq!(told(&inputs), ["10.20.0.0/27", "fd00:20::/96", "10.30.0.0/27"]);
    add(&mut inputs, &advertise(", selector: {matchLabels: {tier: public}}"));
    assert_eq!(told(&inputs), ["10.30.0.0/27"]);
    add(&mut inputs, &advertise(", selector: {matchLabels: {io.cilium.podippool.name: blue}}"));
    assert_eq!(told(&inputs), ["10.20.0.0/27", "fd00:20::/96"]);
    // Without its `spec` the object says nothing of pools.
    add(&mut inputs, "{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {name: n1, labels: {a: b}}}");
    assert_eq!(told(&inputs), ["10.20.0.0/27", "fd00:20::/96"]);
    add(&mut inputs, &advertise(""));
    assert_eq!(told(&inputs), [""; 0], "no selector selects nothing");
    assert!(seen(&inputs).notes.iter().any(|note| note.contains("selects no CiliumPodIPPool")));
}

#[test]
fn an_instance_without_an_as_number_is_an_error() {
    let outcome = seen(&inputs(&CLUSTER.replace("      localASN: 64501\n", "")));
    assert_eq!(outcome.peers, []);
    assert_eq!(outcome.errors, ["main: localASN is missing; write one"]);
}

#[test]
fn a_written_node_config_counts_and_else_the_cluster_config() {
    let mut inputs = inputs(CLUSTER);
    add(&mut inputs, PEER);
    assert_eq!(seen_by(&inputs).peers.len(), 1);
    add(
        &mut inputs,
        "
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata: {name: n1}
spec:
  bgpInstances:
    - name: main
      localASN: 64777
      routerID: 10.0.0.11
      peers: [{name: tor, peerAddress: 10.0.0.254, localAddress: 10.0.0.11, peerConfigRef: {name: tor}}]
",
    );
    let outcome = seen_by(&inputs);
    assert_eq!(outcome.peers[0].router_id, Some("10.0.0.11".parse().unwrap()));
    let settings = &outcome.peers[0].peer.settings;
    assert_eq!(settings.local_asn, Asn::new(64777), "what somebody wrote counts");
    assert_eq!(settings.local_address, Some("10.0.0.11".parse().unwrap()));
    inputs.remove(&ObjectRef::BgpNodeConfig("n1".into()), &mut Touched::default());
    let derived = seen_by(&inputs);
    assert_eq!(derived.peers[0].peer.settings.local_asn, Asn::new(64501), "else the ClusterConfig counts");
}

#[test]
fn with_a_pool_of_router_ids_a_node_waits_for_what_the_operator_writes() {
    let mut inputs = inputs(CLUSTER);
    let (host, settings) = (
        host(),
        CiliumBgp { router_id_pool: Some("10.255.0.0/24".parse().unwrap()), ..CiliumBgp::default() },
    );
    let seen = |inputs: &Inputs| {
        outcome(Sight { node: "n1", inputs, host: &host, secrets: "kube-system", settings: &settings })
    };
    add(&mut inputs, "{apiVersion: v1, kind: Node, metadata: {name: n1}}");
    let waits = seen(&inputs);
    assert!(waits.peers.is_empty() && waits.errors[0].contains("routerIdPool"), "{:?}", waits.errors);
    add(
        &mut inputs,
        "
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata: {name: n1}
spec:
  bgpInstances:
    - {name: main, localASN: 64501, routerID: 10.255.0.9, peers: [{name: tor, peerAddress: 10.0.0.254}]}
",
    );
    let runs = seen(&inputs);
    assert_eq!(runs.peers[0].router_id, Some("10.255.0.9".parse().unwrap()), "{:?}", runs.errors);
    assert!(runs.errors.is_empty(), "{:?}", runs.errors);
}
