//! What peers are told on behalf of Cilium's BGP kinds: the cases of Cilium's own tests, by their subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;

use bgp_proto::types::{Asn, Family, FamilyMap, Prefix};
use bgp_proto::wire::{EncodeContext, NextHop, Origin};
use speaker_config::manifest::{self, Content};
use speaker_config::objects::ObjectRef;
use speaker_core::export::{AdvertisedRoute, PeerOut};
use speaker_core::world::{Host, Start, World};

const FABRIC: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: fabric}
spec:
  bgpInstances:
    - name: main
      localASN: 64501
      peers:
        - {name: tor, peerAddress: 10.0.0.254, peerASN: 64500, peerConfigRef: {name: tor}}
---
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {name: tor}
spec:
  families:
    - {afi: ipv4, safi: unicast, advertisements: {matchLabels: {to: tor}}}
    - {afi: ipv6, safi: unicast, advertisements: {matchLabels: {to: tor}}}
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: public}
spec: {blocks: [{cidr: 203.0.113.0/24}, {cidr: 2001:db8:1::/64}]}
";

/// An advertisement of Services, with further fields.
fn services(name: &str, service: &str, more: &str) -> String {
    format!(
        "
---
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {{name: {name}, labels: {{to: tor}}}}
spec:
  advertisements:
    - advertisementType: Service
      service: {{{service}}}
      selector: {{}}
      {more}
"
    )
}

/// A Service of type LoadBalancer that somebody gave these addresses, and its endpoints by node.
fn service(name: &str, addresses: &[&str], spec: &str, endpoints: &[&str]) -> String {
    let ingress: Vec<String> = addresses.iter().map(|ip| format!("{{ip: \"{ip}\"}}")).collect();
    let ends: Vec<String> = endpoints
        .iter()
        .enumerate()
        .map(|(index, node)| match *node {
            "envoy" => "{addresses: [192.192.192.192]}".to_owned(),
            node => format!("{{addresses: [10.1.0.{index}], nodeName: {node}}}"),
        })
        .collect();
    format!(
        "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec: {{type: LoadBalancer, ports: [{{port: 80}}], {spec}}}
status: {{loadBalancer: {{ingress: [{}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{}]
",
        ingress.join(", "),
        ends.join(", ")
    )
}

struct Node {
    world: World,
    now: i64,
}

impl Node {
    /// A node whose peers are all up.
    fn new(text: &str) -> Self {
        Self::with("ipam: {enabled: false}\n", Host::default(), text)
    }

    fn with(config: &str, host: Host, text: &str) -> Self {
        let (config, _) = speaker_config::speaker::parse(config, "speaker.yaml", Path::new("/")).unwrap();
        let start = Start { node: "n1".into(), host, ..Start::default() };
        let mut node = Self { world: World::new(&config, &start), now: 1_700_000_000 };
        node.put(text);
        node
    }

    fn put(&mut self, text: &str) {
        for document in manifest::parse(text) {
            match document.content {
                Content::Object(object) => self.world.upsert(object),
                other => panic!("{other:?}"),
            }
        }
        self.settle();
    }

    fn delete(&mut self, object: &ObjectRef) {
        self.world.delete(object);
        self.settle();
    }

    fn settle(&mut self) {
        self.now += 1;
        self.world.settle(self.now);
        for peer in self.world.peers().all().to_vec() {
            let settings = &peer.peer.settings;
            let out = PeerOut {
                selected_as: peer.peer.name.clone(),
                peer_asn: match settings.asn {
                    bgp_proto::session::PeerAsn::Exact(asn) => asn,
                    _ => Asn::new(64500).unwrap(),
                },
                local_asn: settings.local_asn.unwrap(),
                families: settings.families,
                encode: EncodeContext { asn4: true, ..EncodeContext::default() },
                role: None,
                export: settings.export.clone(),
                max_advertised: settings.max_advertised,
                next_hops: FamilyMap {
                    ipv4: Ok(NextHop::V4("10.0.0.1".parse().unwrap())),
                    ipv6: Ok(NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: None }),
                },
            };
            if peer.refused.is_none() {
                self.world.peer_up(&peer.peer.name, out);
            }
        }
    }

    fn routes(&self, peer: &str) -> Vec<AdvertisedRoute> {
        self.world.exporter().advertised(peer, self.world.announcer().rib(), |_| true)
    }

    /// What the one peer is told.
    fn told(&self) -> Vec<String> {
        self.routes("main/tor").iter().map(|route| route.prefix.to_string()).collect()
    }

    fn route(&self, prefix: &str) -> AdvertisedRoute {
        let prefix: Prefix = prefix.parse().unwrap();
        let found = self.routes("main/tor").into_iter().find(|route| route.prefix == prefix);
        found.unwrap_or_else(|| panic!("{prefix} is not among {:?}", self.told()))
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

const LOAD_BALANCER: &str = "addresses: [LoadBalancerIP]";

#[test]
fn load_balancer_addresses_of_both_families_are_announced_and_withdrawn() {
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", LOAD_BALANCER, "")));
    assert_eq!(node.told(), [] as [&str; 0], "a pool is not announced as such");
    node.put(&service("web", &["203.0.113.10", "2001:db8:1::10"], "", &["n2"]));
    assert_eq!(node.told(), ["203.0.113.10/32", "2001:db8:1::10/128"]);
    node.delete(&ObjectRef::Service(speaker_config::objects::ObjectKey::new("default", "web")));
    assert_eq!(node.told(), [] as [&str; 0]);
}

/// `--enable-no-service-endpoints-routable` is on by default.
#[test]
fn no_endpoints() {
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", LOAD_BALANCER, "")));
    node.put(&service("cluster", &["203.0.113.10"], "", &[]));
    node.put(&service("local", &["203.0.113.11"], "externalTrafficPolicy: Local", &[]));
    assert_eq!(node.told(), ["203.0.113.10/32"]);
}

#[test]
fn traffic_policy_local_asks_for_an_endpoint_on_this_node() {
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", LOAD_BALANCER, "")));
    let local = |ends: &[&str]| service("web", &["203.0.113.10"], "externalTrafficPolicy: Local", ends);
    node.put(&local(&["n2"]));
    assert_eq!(node.told(), [] as [&str; 0]);
    node.put(&local(&["n2", "n1"]));
    assert_eq!(node.told(), ["203.0.113.10/32"]);
    // "Only backends in state Active count."
    node.put(
        &local(&["n1"])
            .replace("nodeName: n1", "nodeName: n1, conditions: {terminating: true, serving: true}"),
    );
    assert_eq!(node.told(), [] as [&str; 0]);
}

/// Cilium's Gateway and Ingress have one endpoint that names no node: the node's own Envoy.
#[test]
fn traffic_policy_local_of_a_gateway_is_served_by_every_node() {
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", LOAD_BALANCER, "")));
    node.put(&service("cilium-gateway-gw", &["203.0.113.11"], "externalTrafficPolicy: Local", &["envoy"]));
    assert_eq!(node.told(), ["203.0.113.11/32"]);
}

#[test]
fn each_kind_of_address_follows_its_own_traffic_policy() {
    let kinds = services("all", "addresses: [LoadBalancerIP, ExternalIP, ClusterIP]", "");
    let spec = |external: &str, internal: &str| {
        format!(
            "clusterIP: 10.96.0.7, externalIPs: [203.0.113.99], externalTrafficPolicy: {external}, internalTrafficPolicy: {internal}"
        )
    };
    let mut node = Node::new(&format!("{FABRIC}{kinds}"));
    node.put(&service("web", &["203.0.113.10"], &spec("Local", "Cluster"), &["n2"]));
    assert_eq!(node.told(), ["10.96.0.7/32"]);
    node.put(&service("web", &["203.0.113.10"], &spec("Cluster", "Local"), &["n2"]));
    assert_eq!(node.told(), ["203.0.113.10/32", "203.0.113.99/32"]);
    node.put(&service("web", &["203.0.113.10"], &spec("Local", "Local"), &["n1"]));
    assert_eq!(node.told(), ["10.96.0.7/32", "203.0.113.10/32", "203.0.113.99/32"]);
}

/// Only load-balancer addresses ask for a class; a Service need not be a load balancer for the others.
#[test]
fn classes_bind_load_balancer_addresses_alone() {
    let kinds = services("all", "addresses: [LoadBalancerIP, ExternalIP, ClusterIP]", "");
    let mut node = Node::new(&format!("{FABRIC}{kinds}"));
    for (index, class) in ["io.cilium/bgp-control-plane", "io.cilium/l2-announcer", "io.cilium/node", "other"]
        .into_iter()
        .enumerate()
    {
        let spec = format!("loadBalancerClass: {class}, clusterIP: 10.96.0.{index}");
        node.put(&service(&format!("s{index}"), &[&format!("203.0.113.{index}")], &spec, &[]));
    }
    node.put(&service("plain", &[], "clusterIP: 10.96.0.9", &[]).replace("LoadBalancer,", "ClusterIP,"));
    let told = node.told();
    let cluster: Vec<String> = [0, 1, 2, 3, 9].iter().map(|n| format!("10.96.0.{n}/32")).collect();
    assert_eq!(told[..5], cluster);
    assert_eq!(told[5..], ["203.0.113.0/32"]);
}

/// Anybody who may write a Service may write `externalIPs`.
#[test]
fn what_lies_in_no_pool_stays_here_unless_an_export_list_covers_it() {
    let advertisement = services("all", "addresses: [LoadBalancerIP, ExternalIP]", "");
    let objects = format!(
        "{FABRIC}{advertisement}{}",
        service("web", &["198.51.100.9"], "externalIPs: [198.51.100.10, 192.0.2.1, 203.0.113.7]", &[])
    );
    assert_eq!(Node::new(&objects).told(), ["203.0.113.7/32"]);
    let config = "ipam: {enabled: false}\nciliumBGP: {export: [{prefix: 198.51.100.0/24, le: 32}]}\n";
    let told = Node::with(config, Host::default(), &objects).told();
    assert_eq!(told, ["198.51.100.9/32", "198.51.100.10/32", "203.0.113.7/32"]);
}

#[test]
fn svc_aggregation() {
    let lengths = "addresses: [LoadBalancerIP], aggregationLengthIPv4: 28, aggregationLengthIPv6: 120";
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", lengths, "")));
    node.put(&service("a", &["203.0.113.17", "2001:db8:1::17"], "", &[]));
    node.put(&service("b", &["203.0.113.18"], "", &[]));
    node.put(&service("c", &["203.0.113.40"], "", &[]));
    assert_eq!(node.told(), ["203.0.113.16/28", "203.0.113.32/28", "2001:db8:1::/120"]);
    let key = |name: &str| ObjectRef::Service(speaker_config::objects::ObjectKey::new("default", name));
    // The aggregate exists as long as one address under it does.
    node.delete(&key("a"));
    assert_eq!(node.told(), ["203.0.113.16/28", "203.0.113.32/28"]);
    node.delete(&key("b"));
    assert_eq!(node.told(), ["203.0.113.32/28"]);
}

/// Where an address is announced both by itself and under an aggregate, each has its own attributes.
#[test]
fn aggregation_and_exact_routes_share_no_attributes() {
    let aggregate = services(
        "aggregate",
        "addresses: [LoadBalancerIP], aggregationLengthIPv4: 24",
        "attributes: {communities: {standard: [\"64501:24\"]}}",
    );
    let exact = services("exact", LOAD_BALANCER, "attributes: {communities: {standard: [\"64501:32\"]}}");
    let mut node = Node::new(&format!("{FABRIC}{aggregate}{exact}"));
    node.put(&service("web", &["203.0.113.10"], "", &["n1"]));
    assert_eq!(node.told(), ["203.0.113.0/24", "203.0.113.10/32"]);
    assert_eq!(texts(&node.route("203.0.113.0/24").communities), ["64501:24"]);
    assert_eq!(texts(&node.route("203.0.113.10/32").communities), ["64501:32"]);
    // With the policy Local there is no aggregate, and both advertisements mean the address itself.
    node.put(&service("web", &["203.0.113.10"], "externalTrafficPolicy: Local", &["n1"]));
    assert_eq!(node.told(), ["203.0.113.10/32"]);
    assert_eq!(texts(&node.route("203.0.113.10/32").communities), ["64501:24", "64501:32"]);
}

/// Cilium leaves undefined what two advertisements that aggregate to one prefix come to; here they merge.
#[test]
fn two_aggregates_of_one_prefix_merge() {
    let one = services(
        "one",
        "addresses: [LoadBalancerIP], aggregationLengthIPv4: 24",
        "attributes: {communities: {standard: [\"64501:1\"]}}",
    );
    let two = services(
        "two",
        "addresses: [LoadBalancerIP], aggregationLengthIPv4: 24",
        "attributes: {communities: {standard: [\"64501:2\"]}}",
    );
    let mut node = Node::new(&format!("{FABRIC}{one}{two}"));
    node.put(&service("web", &["203.0.113.10"], "", &[]));
    assert_eq!(texts(&node.route("203.0.113.0/24").communities), ["64501:1", "64501:2"]);
}

#[test]
fn shared_addresses_are_counted() {
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", LOAD_BALANCER, "")));
    node.put(&service("tcp", &["203.0.113.10"], "", &[]));
    node.put(&service("udp", &["203.0.113.10"], "", &[]));
    assert_eq!(node.route("203.0.113.10/32").sources.len(), 2);
    let key = |name: &str| ObjectRef::Service(speaker_config::objects::ObjectKey::new("default", name));
    node.delete(&key("tcp"));
    assert_eq!(node.told(), ["203.0.113.10/32"]);
    node.delete(&key("udp"));
    assert_eq!(node.told(), [] as [&str; 0]);
}

/// ">= 1.18: union of communities, highest localPreference."
#[test]
fn path_attributes_of_overlapping_advertisements_merge() {
    let one = services(
        "one",
        LOAD_BALANCER,
        "attributes: {communities: {standard: [\"64501:1\"], large: [\"64501:1:1\"]}, localPreference: 100}",
    );
    let two = services(
        "two",
        LOAD_BALANCER,
        "attributes: {communities: {wellKnown: [no-export], standard: [\"64501:1\"]}, localPreference: 200}",
    );
    let internal = FABRIC.replace("peerASN: 64500", "peerASN: 64501");
    let web = service("web", &["203.0.113.10"], "", &[]);
    let route = Node::new(&format!("{internal}{one}{two}{web}")).route("203.0.113.10/32");
    assert_eq!(texts(&route.communities), ["64501:1", "no-export"]);
    assert_eq!(texts(&route.large_communities), ["64501:1:1"]);
    assert_eq!((route.local_preference, route.origin), (Some(200), Some(Origin::Igp)));
    let external = Node::new(&format!("{FABRIC}{one}{two}{web}")).route("203.0.113.10/32");
    assert_eq!(external.local_preference, None, "it is ignored towards external peers");
}

#[test]
fn modifications_reach_the_peer() {
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", LOAD_BALANCER, "")));
    node.put(&service("web", &["203.0.113.10"], "", &[]));
    assert_eq!(texts(&node.route("203.0.113.10/32").communities), [] as [&str; 0]);
    node.put(&services("all", LOAD_BALANCER, "attributes: {communities: {standard: [\"64501:7\"]}}"));
    assert_eq!(texts(&node.route("203.0.113.10/32").communities), ["64501:7"]);
    // Another selector.
    node.put(
        &services("all", LOAD_BALANCER, "").replace("selector: {}", "selector: {matchLabels: {app: other}}"),
    );
    assert_eq!(node.told(), [] as [&str; 0]);
    node.put(&services("all", LOAD_BALANCER, "").replace(
        "selector: {}",
        "selector: {matchExpressions: [{key: io.kubernetes.service.name, operator: In, values: [web]}]}",
    ));
    assert_eq!(node.told(), ["203.0.113.10/32"]);
    // The family's selector.
    node.put(&FABRIC.replace(
        "afi: ipv4, safi: unicast, advertisements: {matchLabels: {to: tor}}",
        "afi: ipv4, safi: unicast",
    ));
    assert_eq!(node.told(), [] as [&str; 0]);
    node.put(FABRIC);
    assert_eq!(node.told(), ["203.0.113.10/32"]);
    // Labels of the advertisement.
    node.put(&services("all", LOAD_BALANCER, "").replace("to: tor", "to: nobody"));
    assert_eq!(node.told(), [] as [&str; 0]);
}

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

#[test]
fn pod_cidrs_are_announced_though_they_are_the_clusters() {
    let pods = services("pods", "", "").replace(
        "advertisementType: Service\n      service: {}\n      selector: {}",
        "advertisementType: PodCIDR",
    );
    let mut node = Node::new(&format!("{FABRIC}{pods}"));
    node.put("{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.1.0.0/24, \"fd00:1::/64\"]}}");
    node.put("{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDRs: [10.1.1.0/24]}}");
    assert_eq!(node.told(), ["10.1.0.0/24", "fd00:1::/64"]);
}

/// An aggregate leads to addresses that nobody has; a Pod CIDR leads to Pods.
#[test]
fn aggregates_are_guarded_against_loops_and_the_nodes_own_are_not() {
    let pods = services("pods", "", "").replace(
        "advertisementType: Service\n      service: {}\n      selector: {}",
        "advertisementType: PodCIDR",
    );
    let aggregate = services("all", "addresses: [LoadBalancerIP], aggregationLengthIPv4: 25", "");
    let (config, _) =
        speaker_config::speaker::parse("ipam: {enabled: false}\n", "speaker.yaml", Path::new("/")).unwrap();
    let start = Start { node: "n1".into(), kernel: true, ..Start::default() };
    let mut world = World::new(&config, &start);
    let web = service("web", &["203.0.113.10"], "", &[]);
    let node = "---\n{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.1.0.0/24]}}";
    for document in manifest::parse(&format!("{FABRIC}{pods}{aggregate}{web}{node}")) {
        let Content::Object(object) = document.content else { panic!("{document:?}") };
        world.upsert(object);
    }
    world.settle(1);
    let guards = world.announcer().carriage().wanted.guards.keys();
    let guards: Vec<String> = guards.map(ToString::to_string).collect();
    assert_eq!(guards, ["203.0.113.0/25"]);
}

#[test]
fn the_file_and_ciliums_kinds_work_side_by_side() {
    let config = "
router: {asn: 64777}
ipam: {enabled: false}
peers: [{name: tor-a, address: 10.0.0.254, asn: 64500}, {name: tor-b, address: 10.0.0.253, asn: 64500}]
advertisements: [{name: fabric, poolPrefix: {}, peers: [tor-a, tor-b]}]
";
    let (parsed, _) = speaker_config::speaker::parse(config, "speaker.yaml", Path::new("/")).unwrap();
    let mut world = World::new(&parsed, &Start { node: "n1".into(), ..Start::default() });
    for document in manifest::parse(FABRIC) {
        let Content::Object(object) = document.content else { panic!() };
        world.upsert(object);
    }
    world.settle(1);
    let refused: Vec<(&str, Option<&str>)> =
        world.peers().all().iter().map(|one| (one.peer.name.as_str(), one.refused.as_deref())).collect();
    let same = Some("peer tor-a of speaker.yaml has the same address");
    assert_eq!(refused, [("tor-a", None), ("tor-b", None), ("main/tor", same)]);
    assert_eq!(world.cilium_findings().0.len(), 1);
}

#[test]
fn cilium_bgp_can_be_switched_off() {
    let config = "ipam: {enabled: false}\nsources: {kubernetes: {ciliumBGP: false}}\n";
    assert_eq!(Node::with(config, Host::default(), FABRIC).world.peers().all(), []);
}

#[test]
fn explain_names_the_kind_and_the_gate() {
    let lengths = "addresses: [LoadBalancerIP], aggregationLengthIPv4: 24";
    let mut node = Node::new(&format!("{FABRIC}{}", services("all", lengths, "")));
    node.put(&service("web", &["203.0.113.10"], "", &["n1"]));
    let told = |target: &str, node: &Node| node.world.explain(target).unwrap();
    let story = told("default/web", &node);
    assert!(story.announced, "{story:#?}");
    let text = format!("{story:?}");
    assert!(text.contains("CiliumBGPAdvertisement all") && text.contains("203.0.113.0/24"), "{text}");
    let aggregate = told("203.0.113.0/24", &node);
    assert!(aggregate.announced, "{aggregate:#?}");
    let address = told("203.0.113.10", &node);
    assert!(address.announced, "{address:#?}");
    node.put(&service("web", &["203.0.113.10"], "externalTrafficPolicy: Local", &["n2"]));
    let held = told("default/web", &node);
    assert!(!held.announced && format!("{held:?}").contains("is on node 'n1'"), "{held:#?}");
}

/// The answer after any of these steps is the answer from scratch.
#[test]
fn steps_come_to_what_the_end_does() {
    let kinds = "addresses: [LoadBalancerIP, ExternalIP, ClusterIP], aggregationLengthIPv4: 26";
    let steps = [
        FABRIC.to_owned(),
        services("all", kinds, ""),
        service("a", &["203.0.113.10"], "clusterIP: 10.96.0.1, externalIPs: [203.0.113.80]", &["n1"]),
        service("b", &["203.0.113.11"], "externalIPs: [198.51.100.1]", &[]),
        service("a", &["203.0.113.70"], "externalTrafficPolicy: Local", &["n1"]),
        "{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 203.0.113.60}]}}".to_owned(),
        services("more", LOAD_BALANCER, "attributes: {localPreference: 5}"),
        "{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: []}}".to_owned(),
        services("all", "addresses: [LoadBalancerIP]", ""),
    ];
    let mut node = Node::new("");
    for end in 0..steps.len() {
        node.put(&steps[end]);
        let scratch = Node::new(&steps[..=end].join("\n---\n"));
        let all = |one: &Node| -> Vec<(Prefix, Vec<String>)> {
            let routes = one.world.announcer().rib().routes.iter();
            routes
                .map(|(prefix, route)| {
                    let reasons = route
                        .contributions
                        .iter()
                        .map(|c| format!("{:?} {} {}", c.source, c.advertisement, c.covered));
                    (*prefix, reasons.collect())
                })
                .collect()
        };
        assert_eq!(all(&node), all(&scratch), "step {end}");
    }
    assert!(node.told().contains(&"203.0.113.11/32".to_owned()));
    assert_eq!(Family::of("203.0.113.1".parse().unwrap()), Family::Ipv4Unicast);
}
