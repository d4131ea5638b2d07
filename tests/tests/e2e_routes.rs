//! Routes for Services of a real API server, as a router sees them from three nodes: operator and agents under
//! their own ServiceAccounts, FRR as the router, kube-proxy and clients where traffic is looked at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use serde_json::json;
use tests::cluster::Backend;
use tests::e2e::manifests::{pool, service};
use tests::e2e::{Turn, pod_v4, turn};

const ALL: [&str; 3] = ["n1", "n2", "n3"];

fn world() -> Turn {
    turn(3)
}

/// Ready Pods `(node, host)` behind a Service, over IPv4.
fn endpoints(world: &Turn, name: &str, pods: &[(u8, u8)]) {
    let backend = |(n, host): &(u8, u8)| Backend::new(&pod_v4(*n, *host).to_string(), &format!("n{n}"));
    let backends: Vec<Backend> = pods.iter().map(backend).collect();
    world.cluster.set_endpoints("default", name, 8080, &backends);
}

#[test]
fn beside_another_allocator_agents_only_read_and_announce() {
    let world = world();
    world.operator.process().kill();
    world.cluster.apply(&pool("pool", "{cidr: 203.0.113.0/24}"));
    world.cluster.apply(&service("web").yaml());
    endpoints(&world, "web", &[(1, 5)]);
    let before = world.cluster.audit().len();
    let foreign = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.77"}]}}});
    world.cluster.rest().patch("/api/v1/namespaces/default/services/web/status", &foreign);
    world.wait_holders("203.0.113.77/32", &ALL);
    world.wait_holders("203.0.113.0/24", &ALL);
    // An address of nobody's pool stays at home.
    let stray = json!({"status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"ip": "203.0.113.78"}]}}});
    world.cluster.rest().patch("/api/v1/namespaces/default/services/web/status", &stray);
    world.wait_holders("203.0.113.78/32", &ALL);
    world.wait_holders("9.9.9.9/32", &[]);
    let writes: Vec<_> = world.cluster.audit()[before..]
        .iter()
        .filter(|r| r.user.starts_with("system:serviceaccount:") && r.resource.starts_with("services"))
        .filter(|r| !["get", "list", "watch"].contains(&r.verb.as_str()))
        .cloned()
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
}
