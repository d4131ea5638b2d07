use std::path::Path;

use speaker_config::manifest::{self, Content};
use speaker_config::model::SpeakerConfig;

use super::*;
use crate::export::testing::external;
use crate::export::{Cursor, Span};
use crate::readiness::Health;
use crate::world::Start;

const CONFIG: &str = "
router: {asn: 64501}
sources: {kubernetes: {enabled: true}}
peers: [{name: tor, address: 10.0.0.254, asn: 64500, nodeSelector: {matchLabels: {rack: r1}}}]
advertisements:
  - name: all
    poolPrefix: {when: allocated}
    serviceRoutes: {which: all, when: ready}
    attributes: {med: 5}
  - {name: fixed, prefixes: [198.51.100.0/24]}
";

const CLUSTER: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {rack: r1}}}
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: blue}
spec: {blocks: [{cidr: 203.0.113.0/24}]}
";

fn service(name: &str, address: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}
status: {{loadBalancer: {{ingress: [{{ip: {address}}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [10.1.0.1], nodeName: n1, conditions: {{ready: true}}}}]
ports: [{{port: 8080}}]
"
    )
}

fn config(text: &str) -> SpeakerConfig {
    speaker_config::speaker::parse(text, "speaker.yaml", Path::new("/")).unwrap().0
}

/// A node that waits for its one source.
fn node(text: &str) -> World {
    let sources = ["services".to_owned()].into();
    let start =
        Start { node: "n1".to_owned(), sources, allocated_elsewhere: true, ready: true, ..Start::default() };
    World::new(&config(text), &start)
}

fn tell(world: &mut World, objects: &str) {
    for document in manifest::parse(objects) {
        let Content::Object(object) = document.content else { panic!("{objects}: {:?}", document.content) };
        world.upsert(object);
    }
}

/// One that has heard of everything.
fn complete(text: &str, objects: &[String]) -> World {
    let mut world = node(text);
    objects.iter().for_each(|text| tell(&mut world, text));
    world.synced("services");
    assert!(world.settle(100).complete);
    world
}

fn objects() -> Vec<String> {
    vec![CLUSTER.to_owned(), service("web", "203.0.113.1"), service("gone", "203.0.113.2")]
}

/// What the process before left, through the file's format.
fn left(world: &World) -> KeptSet {
    let set = world.to_keep().unwrap().into_set(200);
    serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap()
}

fn routes(world: &World) -> Vec<String> {
    world.announcer().rib().routes.keys().map(ToString::to_string).collect()
}

const ALL: [&str; 4] = ["198.51.100.0/24", "203.0.113.0/24", "203.0.113.1/32", "203.0.113.2/32"];

fn next(cursor: &mut Cursor) -> Option<(usize, usize, bool)> {
    let span: Option<std::sync::Arc<Span>> = cursor.next_span();
    span.map(|span| (span.announced, span.withdrawn, span.end_of_rib))
}

#[test]
fn what_was_announced_last_is_announced_again_and_the_first_lists_replace_it_in_one_step() {
    let before = complete(CONFIG, &objects());
    assert_eq!(routes(&before), ALL);
    let set = left(&before);
    assert!(set.objects.iter().all(|object| matches!(object, Object::Node(_))), "{:?}", set.objects);

    let mut world = node(CONFIG);
    assert!(!world.settle(300).complete && !world.is_open() && world.peers().all().is_empty());
    assert!(world.open_kept(set));
    assert!(world.is_open() && !world.is_complete());
    assert_eq!(world.peers().all().len(), 1, "the peer that the Node's labels select");
    assert_eq!(routes(&world), ALL);
    let tables = world.peer_up("tor", external("tor"));
    let mut cursor = tables.ipv4.as_ref().unwrap().attach();
    assert_eq!(next(&mut cursor), Some((4, 0, false)));
    assert_eq!(next(&mut cursor), None, "no End-of-RIB: who keeps more of us is to keep it");
    let med = world.announcer().rib().routes.values().next_back().unwrap();
    assert_eq!(med.contributions[0].attributes.med, Some(5), "attributes are the configuration's");
    assert_eq!(med.since, 100, "it has been announced since then");

    // A part of the lists changes nothing yet.
    tell(&mut world, CLUSTER);
    tell(&mut world, &service("web", "203.0.113.1"));
    world.settle(301);
    assert_eq!((routes(&world), next(&mut cursor)), (ALL.map(String::from).to_vec(), None));
    world.synced("services");
    let changes = world.settle(302);
    assert!(changes.complete && changes.pending.contains("tor") && world.is_complete());
    assert_eq!(routes(&world), ALL[..3], "the Service that is gone");
    assert_eq!(next(&mut cursor), Some((0, 1, false)), "and nothing is announced again");
    assert_eq!(next(&mut cursor), Some((0, 0, true)));
    assert_eq!((world.kept_since(), next(&mut cursor)), (None, None));
}

#[test]
fn selectors_see_the_labels_of_a_kept_cilium_node() {
    let labelled = "{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {name: n1, labels: {tor: left}}}";
    let text = CONFIG.replace("{rack: r1}", "{tor: left}").replace(
        "prefixes: [198.51.100.0/24]",
        "prefixes: [198.51.100.0/24], nodeSelector: {matchLabels: {tor: left}}",
    );
    let before = complete(&text, &[CLUSTER.to_owned(), labelled.to_owned()]);
    assert_eq!((routes(&before), before.peers().all().len()), (vec!["198.51.100.0/24".to_owned()], 1));

    let mut world = node(&text);
    assert!(world.open_kept(left(&before)));
    assert_eq!((routes(&world), world.peers().all().len()), (vec!["198.51.100.0/24".to_owned()], 1));
    world.synced("services");
    world.settle(300);
    assert!(routes(&world).is_empty() && world.peers().all().is_empty(), "nobody has told of them again");
}

#[test]
fn what_the_node_has_of_pod_ip_pools_is_kept() {
    let allocated = "{pools: {allocated: [{pool: blue, cidrs: [10.1.0.0/24]}]}}";
    let cilium_node = format!(
        "{{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {{name: n1}}, spec: {{ipam: {allocated}}}}}"
    );
    let pool =
        "{apiVersion: cilium.io/v2alpha1, kind: CiliumPodIPPool, metadata: {name: blue, labels: {rack: r1}}}";
    let before = complete(CONFIG, &[CLUSTER.to_owned(), cilium_node, pool.to_owned()]);
    let mut world = node(CONFIG);
    assert!(world.open_kept(left(&before)));
    let (kept, told) = (&world.inputs().bgp, &before.inputs().bgp);
    assert_eq!((kept.node_pools.len(), kept.pod_ip_pools.len()), (1, 1));
    assert_eq!((&kept.node_pools, &kept.pod_ip_pools), (&told.node_pools, &told.pod_ip_pools));
}

#[test]
fn an_object_that_nobody_tells_of_any_more_is_gone_with_the_first_lists() {
    let mut world = node(CONFIG);
    assert!(world.open_kept(left(&complete(CONFIG, &objects()))));
    assert_eq!(world.peers().all().len(), 1);
    world.synced("services");
    world.settle(300);
    assert!(world.inputs().nodes.is_empty() && world.peers().all().is_empty());
    assert_eq!(routes(&world), ["198.51.100.0/24"], "the file's own prefix needs no object");
}

#[test]
fn the_configuration_in_force_decides_what_of_it_is_announced() {
    let set = left(&complete(CONFIG, &objects()));
    let other = CONFIG.replace("med: 5", "med: 7").replace("198.51.100.0/24", "198.51.101.0/24");
    let mut world = node(&other);
    assert!(world.open_kept(set.clone()));
    assert_eq!(routes(&world), ALL[1..], "a prefix that the file has no more");
    let web = world.announcer().rib().routes.values().next_back().unwrap();
    assert_eq!(web.contributions[0].attributes.med, Some(7));

    // The same by a reload.
    let mut world = node(CONFIG);
    assert!(world.open_kept(set.clone()));
    let tables = world.peer_up("tor", external("tor"));
    let mut cursor = tables.ipv4.as_ref().unwrap().attach();
    assert_eq!(next(&mut cursor), Some((4, 0, false)));
    world.configure(&config(&CONFIG.replace("poolPrefix: {when: allocated}", "")), "n1");
    assert!(world.settle(300).pending.contains("tor"));
    assert_eq!(next(&mut cursor), Some((0, 1, false)), "the pool's prefix");

    // Of another node's advertisement nothing is left.
    let elsewhere = CONFIG.replace("med: 5}", "med: 5}\n    nodeSelector: {matchLabels: {rack: r2}}");
    let mut world = node(&elsewhere);
    assert!(world.open_kept(set.clone()));
    assert_eq!(routes(&world), ["198.51.100.0/24"]);

    // An address that has become a router's.
    let taken = CONFIG.replace("10.0.0.254", "203.0.113.1");
    let mut world = node(&taken);
    assert!(world.open_kept(set));
    assert!(!routes(&world).contains(&"203.0.113.1/32".to_owned()), "{:?}", routes(&world));
}

#[test]
fn a_drained_node_keeps_nothing_and_readiness_holds_back_what_was_kept() {
    let mut world = complete(CONFIG, &objects());
    let set = left(&world);
    assert!(world.take_keep_stale() && !world.take_keep_stale());
    world.set_drain(Drain::Announcing);
    assert!(world.take_keep_stale());
    assert_eq!(world.to_keep().unwrap_err(), NotKept::Drained);

    let sources = ["services".to_owned()].into();
    let start = Start { node: "n1".to_owned(), sources, allocated_elsewhere: true, ..Start::default() };
    let mut world = World::new(&config(&format!("{CONFIG}readiness: kube-proxy\n")), &start);
    assert!(!world.open_kept(set.clone()) && routes(&world).is_empty() && !world.is_open());
    world.set_health(Health { healthy: true, detail: "200".to_owned() });
    assert!(world.open_kept(set.clone()) && world.is_open());
    assert!(!world.open_kept(set), "once is enough");
}

#[test]
fn a_complete_world_needs_no_set() {
    let set = left(&complete(CONFIG, &objects()));
    let mut world = node(CONFIG);
    world.synced("services");
    assert!(!world.open_kept(set));
    assert!(world.settle(300).complete);
    assert_eq!(routes(&world), ["198.51.100.0/24"]);
}

#[test]
fn what_is_kept_is_told_of_as_such() {
    let mut world = node(CONFIG);
    assert!(world.open_kept(left(&complete(CONFIG, &objects()))));
    for (target, prefixes) in
        [("shop/web", 1), ("203.0.113.2", 2), ("203.0.113.0/24", 3), ("203.0.113.1/32", 2), ("blue", 1)]
    {
        let explained = world.explain(target).unwrap_or_else(|| panic!("{target}"));
        assert_eq!(explained.prefixes.len(), prefixes, "{target}");
        let note = "what is announced is from the set kept at 1970-01-01T00:03:20Z; the API server has not answered yet for services";
        assert_eq!(explained.warnings, [note]);
    }
    assert_eq!(world.explain("shop/other"), None);
    let web = world.explain("shop/web").unwrap();
    assert!(!web.announced, "no session yet");
    world.peer_up("tor", external("tor"));
    assert!(world.explain("shop/web").unwrap().announced);
}
