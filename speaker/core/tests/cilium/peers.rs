//! Which peer is told what, and how it is found.

use super::*;

#[test]
fn multi_peer_advertisements() {
    let two = FABRIC.replace(
        "---\napiVersion: cilium.io/v2\nkind: CiliumBGPPeerConfig",
        "        - {name: spine, peerAddress: 10.0.0.253, peerASN: 64499, peerConfigRef: {name: spine}}
---
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {name: spine}
spec: {families: [{afi: ipv4, safi: unicast, advertisements: {matchLabels: {to: spine}}}]}
---
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig",
    );
    let for_tor = services("tor", LOAD_BALANCER, "attributes: {communities: {standard: [\"64501:1\"]}}");
    let for_spine = services("spine", "addresses: [ClusterIP]", "").replace("to: tor", "to: spine");
    let web = service("web", &["203.0.113.10"], "clusterIP: 10.96.0.7", &[]);
    let node = Node::new(&format!("{two}{for_tor}{for_spine}{web}"));
    let told = |peer: &str| -> Vec<String> {
        node.routes(peer).iter().map(|route| route.prefix.to_string()).collect()
    };
    assert_eq!(told("main/tor"), ["203.0.113.10/32"]);
    assert_eq!(told("main/spine"), ["10.96.0.7/32"]);
}

#[test]
fn a_family_hears_only_of_its_own_advertisements() {
    let v6 = FABRIC.replace(
        "afi: ipv6, safi: unicast, advertisements: {matchLabels: {to: tor}}",
        "afi: ipv6, safi: unicast, advertisements: {matchLabels: {six: \"yes\"}}",
    );
    let web = service("web", &["203.0.113.10", "2001:db8:1::10"], "", &[]);
    let mut node = Node::new(&format!("{v6}{}{web}", services("all", LOAD_BALANCER, "")));
    assert_eq!(node.told(), ["203.0.113.10/32"]);
    node.put(&services("six", LOAD_BALANCER, "").replace("to: tor", "six: \"yes\""));
    assert_eq!(node.told(), ["203.0.113.10/32", "2001:db8:1::10/128"]);
}

#[test]
fn default_gateway() {
    let discovered = FABRIC.replace(
        "peerAddress: 10.0.0.254",
        "autoDiscovery: {mode: DefaultGateway, defaultGateway: {addressFamily: ipv4}}",
    );
    let gateway = |address: Option<&str>| Host {
        default_gateways: FamilyMap { ipv4: address.map(|a| a.parse().unwrap()), ipv6: None },
        ..Host::default()
    };
    let mut node = Node::with("ipam: {enabled: false}\n", gateway(None), &discovered);
    assert_eq!(node.world.peers().all().len(), 0);
    let before = node.world.peers().version();
    node.world.set_host(gateway(Some("10.0.0.1")));
    assert_eq!(node.world.peers().all().len(), 1);
    assert_ne!(node.world.peers().version(), before, "the hub has to look");
    node.world.set_host(gateway(Some("10.0.0.2")));
    let address = &node.world.peers().all()[0].peer.address;
    assert!(format!("{address:?}").contains("10.0.0.2"), "{address:?}");
}
