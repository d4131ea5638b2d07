//! CustomResourceDefinitions that are not there, come, go and come back, on a real API server: operator and agent go
//! on, say what is missing, and take nothing back; what comes from elsewhere is announced throughout.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tests::cluster::{Backend, Options};
use tests::e2e::manifests::{pool, service};
use tests::e2e::{Plan, SOON, World, agent_config, pod_v4};
use tests::wait::{always, eventually};

/// A kind that is back takes its objects with it for a minute.
const BACK: Duration = Duration::from_secs(90);

/// From a file beside speaker.yaml: announced whatever the API server knows.
const ELSEWHERE: &str = "10.60.0.0/24";
const POOL: &str = "10.61.0.0/24";
const ROUTE: &str = "10.61.0.0/32";
const POOLS: &str = "ciliumloadbalancerippools.cilium.io";

/// The agent has another source beside the API server.
fn config(n: u8) -> String {
    agent_config(n)
        .replace("sources: {", "sources: {manifests: [manifests], ")
        .replace("poolPrefix: {when: allocated}", "poolPrefix: {when: always}")
}

const FABRIC: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: fabric}
spec:
  bgpInstances:
    - name: main
      localASN: 64503
      peers: [{name: away, peerAddress: 10.0.0.252, peerASN: 64502}]
";

fn world() -> World {
    let plan = Plan { agent: config, undefined: true, ..Plan::default() };
    let world = World::with(1, Options::default(), &plan);
    world.members[0]
        .agent()
        .write_manifest("pool.yaml", &pool("elsewhere", &format!("{{cidr: {ELSEWHERE}}}")));
    world
}

fn define(world: &World) {
    world.cluster.apply_file("deploy/crds");
    world.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
}

/// Waits until the agent's faults are these: each has the words, and there is none beside them.
#[track_caller]
fn wait_faults(world: &World, all: &[&[&str]], deadline: Duration) {
    eventually(deadline, &format!("the faults of n1 are {all:?}"), || {
        let faults = world.faults(1);
        let told = |words: &&[&str]| faults.iter().any(|fault| words.iter().all(|word| fault.contains(word)));
        if faults.len() == all.len() && all.iter().all(told) { Ok(()) } else { Err(format!("{faults:?}")) }
    });
}

/// Waits for words in the operator's log from a place on.
fn wait_operator_says(world: &World, from: usize, words: &str) {
    eventually(SOON, &format!("the operator says {words:?}"), || {
        let log = world.operator.process().log();
        if log[from..].contains(words) { Ok(()) } else { Err(log) }
    });
}

fn wait_bgp_status(world: &World) -> Value {
    eventually(
        BACK,
        "the CiliumBGPNodeConfig is written by the operator, and its status by the agent",
        || {
            let object = world.get("/apis/cilium.io/v2/ciliumbgpnodeconfigs/n1");
            let of = |part: &str| object[part]["bgpInstances"][0]["localASN"].clone();
            if (of("spec"), of("status")) == (json!(64503), json!(64503)) {
                Ok(object["metadata"]["uid"].clone())
            } else {
                Err(object.to_string())
            }
        },
    )
}

/// Before there is any definition: what is missing is named, and nothing else waits for it.
fn before(world: &World) {
    wait_faults(world, &[&["install its CustomResourceDefinition", POOLS]], SOON);
    world.wait_holders(ELSEWHERE, &["n1"]);
    wait_operator_says(
        world,
        0,
        "install its CustomResourceDefinition (ciliumloadbalancerippools.cilium.io)",
    );
    world.cluster.apply(&service("web").yaml());
    world.cluster.set_endpoints("default", "web", 8080, &[Backend::new(&pod_v4(1, 5).to_string(), "n1")]);
}

/// They come while both run.
fn installed(world: &World) {
    define(world);
    world.cluster.apply(&pool("pool", &format!("{{cidr: {POOL}}}")));
    world.wait_ingress("web", &["10.61.0.0"]);
    for prefix in [ROUTE, POOL, ELSEWHERE] {
        world.wait_holders(prefix, &["n1"]);
    }
    world.cluster.apply(FABRIC);
    wait_bgp_status(world);
    wait_faults(world, &[], SOON);
}

/// They are removed while both run, with all of their objects: nothing is withdrawn and nothing taken away.
fn removed(world: &World) {
    world.cluster.kubectl(&["delete", "crd", "--all", "--wait=true"]);
    let gone = |kind: &'static str| [kind, "its CustomResourceDefinition is removed", "stay in force"];
    let kinds = ["CiliumLoadBalancerIPPool", "CiliumBGPClusterConfig", "CiliumBGPNodeConfig"].map(gone);
    wait_faults(world, &kinds.each_ref().map(|words| &words[..]), SOON);
    wait_operator_says(world, 0, "CiliumLoadBalancerIPPool: its CustomResourceDefinition is removed");
    stays(world, "while they are away");
    // The sessions that Cilium's kinds made are there still.
    let peers = world.members[0].agent().json(&["peers"]);
    let names: Vec<&Value> = peers.as_array().unwrap().iter().map(|peer| &peer["name"]).collect();
    assert!(names.contains(&&json!("main/away")) && names.contains(&&json!("tor")), "{names:?}");
    // A leader that knows no pool takes nothing away either.
    world.operator.process().kill();
    let said = world.operator.process().log().len();
    world.operator.start_again();
    wait_operator_says(world, said, "every list is complete");
    stays(world, "with an operator that has never seen them");
}

#[track_caller]
fn stays(world: &World, when: &str) {
    always(Duration::from_secs(4), &format!("routes and addresses stay {when}"), || {
        for prefix in [ROUTE, POOL, ELSEWHERE] {
            let now = world.holders(prefix);
            if !now.iter().eq(&["n1"]) {
                return Err(format!("{prefix} is from {now:?}"));
            }
        }
        let now = world.ingress("web");
        if now == ["10.61.0.0"] { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

/// They are back, the objects follow, and what is deleted from now on is gone.
fn back(world: &World) {
    define(world);
    world.cluster.apply(&pool("pool", &format!("{{cidr: {POOL}}}")));
    world.cluster.apply(FABRIC);
    wait_faults(world, &[], SOON);
    stays(world, "when they are back");
    wait_bgp_status(world);
    stays(world, "after the minute for what does not follow");
    world.cluster.apply(&service("later").yaml());
    world.wait_ingress("later", &["10.61.0.1"]);
    world.cluster.kubectl(&["delete", "ippool", "pool"]);
    world.wait_ingress("web", &[]);
    world.wait_holders(POOL, &[]);
    world.wait_holders(ROUTE, &[]);
    world.wait_holders(ELSEWHERE, &["n1"]);
}

#[test]
fn definitions_come_late_go_and_come_back() {
    let world = world();
    before(&world);
    installed(&world);
    removed(&world);
    back(&world);
}
