//! Prefixes that stand for addresses of Services (`service.aggregationLengthIPv4` and its fellow).

use super::*;

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
