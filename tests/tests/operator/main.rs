//! `speaker operator` alone before a real API server, under exactly the RBAC that its documentation lists: Cilium's
//! walk-through of LB IPAM, a burst, and replicas that are killed and stopped in the middle of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod walkthrough;
mod world;

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;
use tests::cluster::NodeSpec;
use tests::e2e::manifests::{pool, service};
use tests::wait::eventually;
use walkthrough::{
    addresses_and_columns, pools_go_and_classes_change, requests_and_reasons, sharing_and_ends,
};
use world::{SERVICES, SOON, World};

/// Cilium's walk-through, under the RBAC of the documentation: nothing is refused, nothing is granted in vain.
#[test]
fn services_get_their_addresses_as_from_cilium() {
    let world = World::new();
    let operator = world.replica("op-a");
    world.wait_leader("op-a");
    // The definitions come later: the operator waits for them.
    eventually(SOON, "the operator says what is missing", || {
        let log = operator.process().log();
        if log.contains("CustomResourceDefinition") { Ok(()) } else { Err(log) }
    });
    world.install();
    for (name, address) in [("n9", "10.0.0.9"), ("n10", "10.0.0.10")] {
        world.cluster.add_node(&NodeSpec::new(name, &[address.parse().unwrap()]));
    }
    addresses_and_columns(&world);
    requests_and_reasons(&world);
    sharing_and_ends(&world);
    pools_go_and_classes_change(&world);
    let asked = world.cluster.audit();
    let ours = || asked.iter().filter(|request| request.user.ends_with(":op-a"));
    let refused: Vec<_> = ours().filter(|request| !request.allowed).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let used: BTreeSet<String> = ours()
        .map(|r| format!("{} {} {}", r.verb, r.group, r.resource))
        .filter(|r| !r.contains('?'))
        .collect();
    let granted = tests::e2e::grants::granted(&world.cluster, "speaker-system", "op-a");
    for (verb, group, resource) in granted {
        assert!(
            used.contains(&format!("{verb} {group} {resource}")),
            "{verb} {resource} is not used: {used:?}"
        );
    }
    operator.process().terminate();
    assert_eq!(world.leader(), "", "the Lease is given up");
}

/// A burst, each status written once; and no more than so often that of the pool.
#[test]
fn a_thousand_services_are_each_written_once() {
    let world = World::new();
    world.install();
    let operator = world.replica("op-a");
    world.wait_leader("op-a");
    world.cluster.apply(&pool("pool", "{cidr: 10.200.0.0/16}"));
    let begun = Instant::now();
    world.burst("web", 1000);
    let created = begun.elapsed();
    world.wait_served(1000);
    let recorded = begun.elapsed();
    let resident = std::fs::read_to_string(format!("/proc/{}/status", operator.process().pid())).unwrap();
    let resident = resident.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
    println!("1000 Services: created in {created:?}, recorded after {recorded:?}, operator {resident}");
    let writes = world.writes();
    assert_eq!(writes.len(), 1000);
    let twice: Vec<_> = writes.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// The leader is killed in the middle of a burst; another goes on, and nobody's address changes.
#[test]
fn a_successor_goes_on_where_the_leader_was_killed() {
    let world = World::new();
    world.install();
    let first = world.replica("op-a");
    world.wait_leader("op-a");
    let second = world.replica("op-b");
    world.cluster.apply(&pool("pool", "{cidr: 10.200.0.0/16}"));
    world.burst("early", 20);
    world.wait_served(20);
    world.burst("web", 200);
    first.process().kill();
    let before = world.all();
    world.wait_leader("op-b");
    let after = world.wait_served(220);
    for (name, ips) in before.iter().filter(|(_, ips)| !ips.is_empty()) {
        assert_eq!(after[name], *ips, "{name} keeps what it had");
    }
    // And back: stopped in an orderly way, the other takes over at its next look.
    first.start_again();
    second.process().terminate();
    world.wait_leader("op-a");
    assert_eq!(world.all(), after);
    world.burst("late", 5);
    world.wait_served(225);
}

/// The leader stands still for longer than its Lease; when it goes on, nothing of what it had in mind is stored.
#[test]
fn a_leader_that_stood_still_writes_nothing_more() {
    let world = World::new();
    world.install();
    let first = world.replica("op-a");
    world.wait_leader("op-a");
    let _second = world.replica("op-b");
    world.cluster.apply(&pool("pool", "{cidr: 10.200.0.0/16}"));
    world.burst("early", 5);
    world.wait_served(5);
    world.burst("web", 300);
    first.process().pause();
    world.wait_leader("op-b");
    let after = world.wait_served(305);
    let position = world.cluster.audit().len();
    first.process().resume();
    eventually(SOON, "the first sees that it leads no more", || {
        let log = first.process().log();
        if log.contains("leading no more") { Ok(()) } else { Err(log) }
    });
    world.burst("late", 20);
    world.wait_served(325);
    let stored: Vec<_> = world.cluster.audit()[position..]
        .iter()
        .filter(|r| r.user.ends_with(":op-a") && r.verb == "patch" && r.code == 200)
        .cloned()
        .collect();
    assert!(stored.is_empty(), "{stored:?}");
    let now = world.all();
    assert!(after.iter().all(|(name, ips)| now[name] == *ips), "no address has moved");
}

/// Operators were away while a Service left and its pool was narrowed: what we wrote goes, what somebody else wrote since
/// stays.
#[test]
fn what_happened_while_nobody_led_is_caught_up_with() {
    let world = World::new();
    world.install();
    let operator = world.replica("op-a");
    world.cluster.apply(&pool("pool", "{start: 10.70.0.0, stop: 10.70.0.3}"));
    for name in ["ours", "theirs", "kept"] {
        world.cluster.apply(&service(name).yaml());
        world.wait_reason(name, "satisfied");
    }
    let before: Vec<String> = ["ours", "theirs", "kept"].iter().flat_map(|name| world.ips(name)).collect();
    assert_eq!(before, ["10.70.0.0", "10.70.0.1", "10.70.0.2"]);
    operator.process().kill();
    for name in ["ours", "theirs"] {
        // A class cannot be changed but by way of another type.
        let path = format!("{SERVICES}/{name}");
        let rest = world.cluster.rest();
        rest.patch(&path, &json!({"spec": {"type": "ClusterIP"}}));
        rest.patch(
            &path,
            &json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/other"}}),
        );
    }
    let foreign = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.70.9.9"}]}}});
    world.cluster.rest().patch(&format!("{SERVICES}/theirs/status"), &foreign);
    world.cluster.apply(&pool("pool", "{start: 10.70.0.2, stop: 10.70.0.3}"));

    let _operator = world.replica("op-b");
    eventually(SOON, "those that left have no condition of ours", || {
        let left = ["ours", "theirs"].map(|name| world.get(name).unwrap()["status"].clone());
        if left.iter().all(|status| !status["conditions"].to_string().contains("IPAMRequest")) {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    assert_eq!((world.ips("ours"), world.ips("theirs")), (vec![], vec!["10.70.9.9".to_owned()]));
    world.cluster.apply(&service("new").yaml());
    world.wait_ips("new", &["10.70.0.3"]);
    assert_eq!(world.ips("kept"), ["10.70.0.2"]);
}
