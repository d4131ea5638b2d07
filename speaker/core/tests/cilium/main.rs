//! What peers are told on behalf of Cilium's BGP kinds: the cases of Cilium's own tests, by their subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod addresses;
mod aggregates;
mod peers;

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
