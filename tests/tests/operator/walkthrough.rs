//! Cilium's walk-through of LB IPAM, step by step.

use std::time::Duration;

use hyper::http::Method;
use serde_json::json;
use tests::e2e::manifests::{pool, service};
use tests::wait::{always, eventually};

use crate::world::{SERVICES, SOON, World};

const MATCH_NODES: &str = "io.cilium.nodeipam/match-node-labels";

/// What Cilium puts behind the Service of a Gateway.
const DUMMY: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: cilium-gateway-gw
  namespace: default
  labels: {kubernetes.io/service-name: cilium-gateway-gw}
addressType: IPv4
ports: [{port: 9999}]
endpoints: [{addresses: [192.192.192.192]}]
";

pub(crate) fn addresses_and_columns(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&service("web").yaml());
    cluster.apply(&pool("demo-pool", "{start: 192.0.2.10, stop: 192.0.2.50}"));
    world.wait_ips("web", &["192.0.2.10"]);
    world.wait_reason("web", "satisfied");
    let columns = eventually(SOON, "kubectl prints the pool's counts", || {
        let text = cluster.kubectl(&["get", "ippools"]);
        let rows: Vec<Vec<String>> =
            text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        let row = rows.get(1).cloned().unwrap_or_default();
        if row.get(3).is_some_and(|available| available == "40") { Ok(text) } else { Err(text) }
    });
    let mut lines = columns.lines();
    let head: Vec<&str> =
        lines.next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(head, ["NAME", "DISABLED", "CONFLICTING", "IPS AVAILABLE", "AGE"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["demo-pool", "false", "False", "40"]);
    eventually(SOON, "kubectl describe shows the Event", || {
        let text = cluster.kubectl(&["describe", "service", "web"]);
        if text.contains("IPAllocated") && text.contains("Assigned 192.0.2.10") { Ok(()) } else { Err(text) }
    });
    // The Service of a Gateway, with Cilium's dummy endpoint.
    cluster.apply(&service("cilium-gateway-gw").yaml());
    cluster.apply(DUMMY);
    world.wait_ips("cilium-gateway-gw", &["192.0.2.11"]);
    world.clear();
}

pub(crate) fn requests_and_reasons(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&pool("pool", "{cidr: 203.0.113.0/28}"));
    cluster.apply(&service("named").annotations("{lbipam.cilium.io/ips: 203.0.113.7}").yaml());
    world.wait_ips("named", &["203.0.113.7"]);
    cluster.apply(&service("second").annotations("{io.cilium/lb-ipam-ips: 203.0.113.7}").yaml());
    world.wait_reason("second", "already_allocated");
    cluster.apply(&service("absent").annotations("{lbipam.cilium.io/ips: 9.9.9.9}").yaml());
    world.wait_reason("absent", "no_pool");
    // What others wrote into the status stays.
    let foreign = json!({"status": {"conditions": [{
        "type": "example.com/Other", "status": "True", "reason": "x", "message": "",
        "lastTransitionTime": "2026-01-02T03:04:05Z"}]}});
    let path = format!("{SERVICES}/absent/status");
    let kind = "application/strategic-merge-patch+json";
    cluster.rest().send(Method::PATCH, &path, kind, &foreign).unwrap();
    world.edit("absent", &json!({"metadata": {"annotations": {"lbipam.cilium.io/ips": "203.0.113.9"}}}));
    world.wait_ips("absent", &["203.0.113.9"]);
    let conditions = world.get("absent").unwrap()["status"]["conditions"].clone();
    let kinds: Vec<&str> =
        conditions.as_array().unwrap().iter().filter_map(|one| one["type"].as_str()).collect();
    assert!(kinds.contains(&"example.com/Other") && kinds.len() == 2, "{conditions}");
    cluster.kubectl(&[
        "patch",
        "ippool",
        "pool",
        "--type=merge",
        "-p",
        r#"{"spec":{"serviceSelector":{"matchLabels":{"color":"red"}}}}"#,
    ]);
    world.wait_reason("named", "pool_selector_mismatch");
    world.wait_ips("named", &[]);
    world.clear();
}

pub(crate) fn sharing_and_ends(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&pool("pool", "{cidr: 203.0.113.0/30}"));
    cluster.kubectl(&[
        "patch",
        "ippool",
        "pool",
        "--type=merge",
        "-p",
        r#"{"spec":{"allowFirstLastIPs":"No"}}"#,
    ]);
    let key = "{lbipam.cilium.io/sharing-key: k}";
    cluster.apply(&service("a").annotations(key).yaml());
    cluster.apply(&service("b").annotations(key).port(443).yaml());
    world.wait_ips("a", &["203.0.113.1"]);
    world.wait_ips("b", &["203.0.113.1"]);
    cluster.apply(&service("c").yaml());
    world.wait_ips("c", &["203.0.113.2"]);
    cluster.apply(&service("d").yaml());
    world.wait_reason("d", "out_of_ips");
    cluster.kubectl(&["delete", "service", "c"]);
    world.wait_ips("d", &["203.0.113.2"]);
    world.clear();
}

pub(crate) fn pools_go_and_classes_change(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&pool("one", "{cidr: 203.0.113.0/28}"));
    cluster.apply(&service("web").yaml());
    world.wait_ips("web", &["203.0.113.0"]);
    cluster.apply(&pool("two", "{cidr: 198.51.100.0/28}"));
    cluster.kubectl(&["delete", "ippool", "one"]);
    world.wait_ips("web", &["198.51.100.0"]);
    cluster.kubectl(&["delete", "ippool", "two"]);
    world.wait_ips("web", &[]);
    world.wait_reason("web", "no_pool");
    cluster.apply(&pool("two", "{cidr: 198.51.100.0/28}"));
    eventually(SOON, "web has an address again", || {
        if world.ips("web").len() == 1 { Ok(()) } else { Err(format!("{:?}", world.get("web"))) }
    });
    // No LoadBalancer any more: nothing of ours is left.
    world.edit("web", &json!({"spec": {"type": "ClusterIP", "allocateLoadBalancerNodePorts": null}}));
    eventually(SOON, "nothing of ours is left on web", || {
        let status = world.get("web")?["status"].clone();
        let ours = status.to_string().contains("IPAMRequestSatisfied")
            || !status["loadBalancer"]["ingress"].is_null();
        if ours { Err(status.to_string()) } else { Ok(()) }
    });
    cluster.apply(&service("foreign").spec("loadBalancerClass: metallb.io/metallb").yaml());
    cluster.apply(&service("node").spec("loadBalancerClass: io.cilium/node").yaml());
    world.wait_ips("node", &["10.0.0.9", "10.0.0.10"]);
    // Nodes by a number, as `kubectl -l` compares it.
    cluster.kubectl(&["label", "node", "n9", "cores=16"]);
    cluster.kubectl(&["label", "node", "n10", "cores=4"]);
    let large = service("large").spec("loadBalancerClass: io.cilium/node");
    let asks = |query: &str| large.clone().annotations(&format!("{{{MATCH_NODES}: '{query}'}}")).yaml();
    cluster.apply(&asks("cores > 8"));
    world.wait_ips("large", &["10.0.0.9"]);
    cluster.apply(&asks("cores<8"));
    world.wait_ips("large", &["10.0.0.10"]);
    // What cannot be read takes nothing back, and is named.
    cluster.apply(&asks("cores > many"));
    eventually(SOON, "the condition names the annotation", || {
        let conditions = world.get("large")?["status"]["conditions"].clone();
        let text = conditions.to_string();
        let words = ["NodeIPAMSatisfied", "invalid_selector", "is not a whole number"];
        if words.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
    });
    assert_eq!(world.ips("large"), ["10.0.0.10"]);
    cluster.kubectl(&["delete", "service", "large"]);
    world.cluster.kubectl(&[
        "label",
        "node",
        "n9",
        "node.kubernetes.io/exclude-from-external-load-balancers=",
    ]);
    world.wait_ips("node", &["10.0.0.10"]);
    always(Duration::from_secs(2), "a foreign class is left alone", || {
        let status = world.get("foreign")?["status"].clone();
        if status == json!({"loadBalancer": {}}) { Ok(()) } else { Err(status.to_string()) }
    });
    world.clear();
}
