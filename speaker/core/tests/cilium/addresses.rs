//! Kinds of addresses, traffic policies, classes and pools.

use super::*;

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
