//! A Service is deleted under traffic: held by its finalizer until its routes are gone, and never longer than was said.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::cluster::{Options, ProxyMode};
use tests::e2e::manifests::{pool, service};
use tests::e2e::{OPERATOR, Plan, SOON, World};
use tests::traffic::{Load, PORT, Proxies, RATE, Servers, addresses, backend, next_hops};
use tests::wait::eventually;

const HOLDING: &str = "operator: {leaseDuration: 9s, holdDeleted: 4s}\n";
const HOLD: Duration = Duration::from_secs(4);
const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

/// What the chart grants with the option.
const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: speaker-finalizers}
rules: [{apiGroups: [''], resources: [services], verbs: [patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: speaker-finalizers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: speaker-finalizers}
subjects: [{kind: ServiceAccount, name: speaker-operator, namespace: speaker-system}]
";

fn finalizers(world: &World, name: &str) -> Value {
    world.service(name)["metadata"]["finalizers"].clone()
}

fn wait_finalizer(world: &World, name: &str, there: bool) {
    eventually(SOON, &format!("the finalizer of {name} is {}", if there { "set" } else { "gone" }), || {
        let now = finalizers(world, name);
        let found = now.as_array().into_iter().flatten().any(|one| one == FINALIZER);
        if found == there { Ok(()) } else { Err(world.service(name)["metadata"].to_string()) }
    });
}

fn delete(world: &World, name: &str) -> Instant {
    world.cluster.kubectl(&["delete", "service", name, "--wait=false"]);
    Instant::now()
}

/// Waits until a Service is gone; says how long after `since`.
fn wait_gone(world: &World, name: &str, since: Instant) -> Duration {
    eventually(Duration::from_secs(60), &format!("{name} is gone"), || {
        let now = world.service(name);
        if now.is_null() { Ok(()) } else { Err(now["metadata"].to_string()) }
    });
    since.elapsed()
}

fn serve(world: &World, name: &str) -> IpAddr {
    world.cluster.apply(&service(name).yaml());
    let backends = [backend((1, 69), false), backend((2, 69), false)];
    world.cluster.set_endpoints("default", name, 8080, &backends);
    let vip: IpAddr = world.wait_any_ingress(name)[0].parse().unwrap();
    eventually(SOON, "every node serves", || {
        let seen = next_hops(world, vip);
        if seen.len() == 3 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    vip
}

#[test]
fn a_deleted_service_serves_until_its_routes_are_withdrawn_and_is_never_held_for_good() {
    let plan = Plan { operator: HOLDING, ..Plan::default() };
    let world = World::with(3, Options::default(), &plan);
    world.cluster.apply(RIGHTS);
    let _proxies = Proxies::start(&world, ProxyMode::Nftables);
    world.cluster.apply(&pool("pool", "{cidr: 10.69.0.0/24}"));
    let mut servers = Servers::new();
    for n in [1, 2] {
        servers.serve(&world.pod(n, 69, &format!("web-{n}")), 8080);
    }
    let vip = serve(&world, "web");
    wait_finalizer(&world, "web", true);
    let sources: Vec<IpAddr> = addresses(&world).into_keys().collect();
    // Where it has no way, the router itself refuses: its word that there is none is limited in rate.
    let last_resort =
        ["route", "add", "local", "10.69.0.0/24", "dev", "lo", "table", "main", "metric", "9999"];
    world.tor_node().ip(&last_resort);
    let load = Load::start(&world.outside, SocketAddr::new(vip, PORT), RATE, &sources);
    load.during(|| ()).assert_flawless("before");
    let _before = load.take();
    let since = delete(&world, "web");
    let took = wait_gone(&world, "web", since);
    assert!(took >= HOLD && took < HOLD + Duration::from_secs(5), "{took:?}");
    let tally = load.take();
    println!("deleted: gone after {} ms; {tally}", took.as_millis());
    // The router refuses from the moment on at which it has no way; until then everybody is served. What a node had been
    // sent and did not serve would have been swallowed by the guard.
    let swallowed = tally.unreachable + tally.connect_timeouts + tally.odd + tally.slow + tally.wrong_sources;
    assert!(swallowed == 0 && tally.broken() <= 5 && tally.ok > 0 && tally.refused > 0, "{tally}");
    drop(load);

    // An agent that is dead, with its routes kept by the router, holds nothing up.
    serve(&world, "orphan");
    wait_finalizer(&world, "orphan", true);
    world.members[2].agent().process().kill();
    let took = wait_gone(&world, "orphan", delete(&world, "orphan"));
    println!("with a dead agent: gone after {} ms", took.as_millis());
    assert!(took >= HOLD && took < HOLD + Duration::from_secs(5), "{took:?}");
    world.members[2].agent().start_again();

    // Nor one of which the leader dies meanwhile: the next one counts anew.
    serve(&world, "left");
    wait_finalizer(&world, "left", true);
    let since = delete(&world, "left");
    world.operator.restart_with(HOLDING);
    let took = wait_gone(&world, "left", since);
    println!("with another leader: gone after {} ms", took.as_millis());

    // Turned off: nobody is held any more, whether deleted already or not.
    serve(&world, "living");
    serve(&world, "dying");
    for name in ["living", "dying"] {
        wait_finalizer(&world, name, true);
    }
    world.operator.process().kill();
    let since = delete(&world, "dying");
    world.operator.restart_with(OPERATOR);
    wait_gone(&world, "dying", since);
    wait_finalizer(&world, "living", false);
    assert!(world.service("living")["metadata"]["annotations"]["speaker.holds-deleted"].is_null());
    assert_eq!(world.ingress("living").len(), 1, "it keeps its address");
    let took = wait_gone(&world, "living", delete(&world, "living"));
    assert!(took < Duration::from_secs(3), "{took:?}");
}
