//! The operator dies, hangs and is replaced while it allocates: no address is given twice, none moves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::http::Method;
use serde_json::{Value, json};
use tests::e2e::manifests::{pool, service};
use tests::e2e::{SOON, Turn, turn};
use tests::wait::eventually;

/// A Lease has to run out first.
const TAKE_OVER: Duration = Duration::from_secs(90);

fn create(world: &Turn, count: usize) {
    let one = |n: usize| {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n:04}")},
            "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                "ports": [{"port": 80, "targetPort": 8080}]}});
        ("/api/v1/namespaces/default/services".to_owned(), object)
    };
    world.cluster.rest().send_all(&Method::POST, (0..count).map(one).collect());
}

/// Service to address, of those that have one.
fn given(world: &Turn) -> BTreeMap<String, String> {
    let list = world.get("/api/v1/namespaces/default/services");
    let with_address = |service: &Value| {
        let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?;
        Some((service["metadata"]["name"].as_str()?.to_owned(), address.to_owned()))
    };
    list["items"].as_array().into_iter().flatten().filter_map(with_address).collect()
}

/// Waits until all of `count` have an address: a look at all of them is work for the API server, so the pool's count
/// is asked first.
fn wait_given(world: &Turn, count: usize, deadline: Duration) -> BTreeMap<String, String> {
    eventually(deadline, &format!("{count} Services have an address"), || {
        let used = world.pool_count("pool", "IPsUsed");
        if used.parse().is_ok_and(|used: usize| used >= count) { Ok(()) } else { Err(used) }
    });
    eventually(deadline, "what is counted is recorded", || {
        let now = given(world);
        if now.len() == count { Ok(now) } else { Err(format!("{} are", now.len())) }
    })
}

/// Waits until some of the Services have an address, and returns what was given then.
fn wait_begun(world: &Turn) -> BTreeMap<String, String> {
    world.wait_any_ingress("s0030");
    given(world)
}

/// Nobody's address is another's, and whoever had one has it still.
fn check(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, address) in after {
        if let Some(other) = owners.insert(address, name) {
            panic!("{address} was given to {other} and to {name}");
        }
    }
    for (name, address) in before {
        assert_eq!(after.get(name), Some(address), "the address of {name} moved");
    }
}

#[test]
fn a_leader_that_is_killed_while_it_allocates_is_replaced() {
    let world = turn(0);
    let second = world.replica("op2");
    create(&world, 400);
    world.cluster.apply(&pool("pool", "{cidr: 10.64.0.0/16}"));
    let before = wait_begun(&world);
    world.operator.process().kill();
    assert!(before.len() < 400, "it was done before it was killed");
    let after = wait_given(&world, 400, TAKE_OVER);
    check(&before, &after);
    second.process().kill();
}

#[test]
fn a_leader_that_hangs_is_replaced_and_its_late_writes_do_no_harm() {
    let world = turn(0);
    let second = world.replica("op3");
    create(&world, 400);
    world.cluster.apply(&pool("pool", "{cidr: 10.64.0.0/16}"));
    let before = wait_begun(&world);
    world.operator.process().pause();
    let after = wait_given(&world, 400, TAKE_OVER);
    check(&before, &after);
    world.operator.process().resume();
    world.cluster.apply(&service("late").yaml());
    world.wait_any_ingress("late");
    check(&after, &given(&world));
    second.process().kill();
}

#[test]
fn a_leader_that_is_stopped_hands_over_at_once() {
    let world = turn(0);
    world.cluster.apply(&pool("pool", "{cidr: 10.64.0.0/16}"));
    world.cluster.apply(&service("first").yaml());
    world.wait_any_ingress("first");
    let second = world.replica("op4");
    eventually(SOON, "the second replica runs for the Lease", || {
        let asked = world.cluster.audit();
        let own = second.address().to_string();
        let read = asked.iter().any(|r| r.resource == "leases" && r.source == own);
        if read { Ok(()) } else { Err(format!("it runs: {}", second.process().running())) }
    });
    let stopped = Instant::now();
    let status = world.operator.process().terminate();
    assert!(status.success(), "{status}");
    world.cluster.apply(&service("second").yaml());
    world.wait_any_ingress("second");
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(10), "it took {took:?}: the Lease was not released");
    second.process().kill();
}

/// 500 of them; 5,000 with `E2E_LONG`.
#[test]
fn thousands_of_services_are_served() {
    let count = if std::env::var_os("E2E_LONG").is_some() { 5000 } else { 500 };
    let world = turn(0);
    world.cluster.apply(&pool("pool", "{cidr: 10.64.0.0/16}"));
    create(&world, count);
    let all = wait_given(&world, count, Duration::from_secs(120));
    check(&all, &all);
    eventually(SOON, "the pool's count is right", || {
        let used = world.pool_count("pool", "IPsUsed");
        if used == count.to_string() { Ok(()) } else { Err(used) }
    });
    let doomed = |n: usize| (format!("/api/v1/namespaces/default/services/s{n:04}"), Value::Null);
    world.cluster.rest().send_all(&Method::DELETE, (0..count).map(doomed).collect());
    eventually(SOON, "every address is free again", || {
        let used = world.pool_count("pool", "IPsUsed");
        if used == "0" { Ok(()) } else { Err(used) }
    });
}
