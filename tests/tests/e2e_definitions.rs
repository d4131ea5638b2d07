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

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::chart::objects;
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
    let values = "namespace: {create: true}";
    let plan = Plan { agent: config, undefined: true, values, ..Plan::default() };
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

fn wait_bgp_status(world: &World, version: &str) {
    let path = format!("/apis/cilium.io/{version}/ciliumbgpnodeconfigs/n1");
    eventually(
        BACK,
        "the CiliumBGPNodeConfig is written by the operator, and its status by the agent",
        || {
            let object = world.get(&path);
            let of = |part: &str| object[part]["bgpInstances"][0]["localASN"].clone();
            if (of("spec"), of("status")) == (json!(64503), json!(64503)) {
                Ok(())
            } else {
                Err(object.to_string())
            }
        },
    );
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
    serve(world);
}

fn serve(world: &World) {
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
    wait_bgp_status(world, "v2");
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
    goes_on(world);
    // A leader that knows no pool takes nothing away either.
    world.operator.process().kill();
    let said = world.operator.process().log().len();
    world.operator.start_again();
    wait_operator_says(world, said, "every list is complete");
    stays(world, "with an operator that has never seen them");
}

/// Who knew the pools goes on by them: whose objects went with their definition has not deleted them one by one. What
/// is given is announced, and what is given back is free.
fn goes_on(world: &World) {
    world.cluster.apply(&service("meanwhile").yaml());
    world.wait_ingress("meanwhile", &["10.61.0.1"]);
    world.cluster.set_endpoints(
        "default",
        "meanwhile",
        8080,
        &[Backend::new(&pod_v4(1, 5).to_string(), "n1")],
    );
    world.wait_holders("10.61.0.1/32", &["n1"]);
    world.cluster.kubectl(&["delete", "service", "meanwhile"]);
    world.wait_holders("10.61.0.1/32", &[]);
    // An address of a pool that is no object any more can be asked for by name, and no other.
    let asks =
        |name: &str, ip: &str| service(name).annotations(&format!("{{lbipam.cilium.io/ips: {ip}}}")).yaml();
    world.cluster.apply(&(asks("named", "10.61.0.1") + &asks("beyond", "10.62.0.1")));
    world.wait_ingress("named", &["10.61.0.1"]);
    assert_eq!(world.ingress("beyond"), [""; 0]);
    world.cluster.kubectl(&["delete", "service", "named", "beyond"]);
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
    wait_bgp_status(world, "v2");
    stays(world, "after the minute for what does not follow");
    world.cluster.apply(&service("later").yaml());
    world.wait_ingress("later", &["10.61.0.1"]);
    wait_used(world, "v2", "2");
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

/// Our definitions, as files.
fn ours() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    let files = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    files.flat_map(|text| objects(&text)).collect()
}

/// Fields that an older Cilium's definitions lack: its API server prunes them.
const NEWER: [&str; 6] = ["peerInterface", "bmpServers", "unnumbered", "sourceInterface", "bfd", "interface"];

fn without_newer(schema: &mut Value) {
    let newer = |text: &str| NEWER.iter().any(|name| text.contains(name));
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(fields)) = fields.get_mut("properties") {
                fields.retain(|name, _| !NEWER.contains(&name.as_str()));
            }
            if let Some(Value::Array(rules)) = fields.get_mut("x-kubernetes-validations") {
                rules.retain(|rule| !newer(rule["rule"].as_str().unwrap()));
            }
            fields.retain(|name, value| name != "x-kubernetes-validations" || value != &json!([]));
            fields.values_mut().for_each(without_newer);
        }
        Value::Array(all) => all.iter_mut().for_each(without_newer),
        _ => {}
    }
}

/// The definitions as they were when there was v2alpha1 alone.
fn define_as_of_old(world: &World) {
    for mut object in ours() {
        let versions = object["spec"]["versions"].as_array_mut().unwrap();
        versions.retain(|one| one["name"] == "v2alpha1");
        versions[0]["storage"] = json!(true);
        without_newer(&mut versions[0]["schema"]);
        world.cluster.apply(&object.to_string());
    }
    world.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
}

fn wait_used(world: &World, version: &str, count: &str) {
    let path = format!("/apis/cilium.io/{version}/ciliumloadbalancerippools/pool");
    eventually(SOON, &format!("the pool says that {count} addresses are in use"), || {
        let object = world.get(&path);
        let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
        let used = all.find(|one| one["type"] == "cilium.io/IPsUsed");
        if used.is_some_and(|one| one["message"] == count) { Ok(()) } else { Err(object.to_string()) }
    });
}

/// Cilium's own, of a release that knew v2alpha1 alone and fewer fields; then ours: nobody is restarted.
#[test]
fn definitions_of_an_older_cilium_serve_and_are_upgraded_live() {
    let world = world();
    define_as_of_old(&world);
    let old = |text: &str| text.replace("cilium.io/v2\n", "cilium.io/v2alpha1\n");
    world.cluster.apply(&old(&pool("pool", &format!("{{cidr: {POOL}}}"))));
    serve(&world);
    world.wait_ingress("web", &["10.61.0.0"]);
    world.wait_holders(ROUTE, &["n1"]);
    world.wait_holders(POOL, &["n1"]);
    wait_used(&world, "v2alpha1", "1");
    world.cluster.apply(&old(FABRIC));
    wait_bgp_status(&world, "v2alpha1");

    define(&world);
    stays(&world, "with the new definitions");
    world.cluster.apply(&service("second").yaml());
    world.wait_ingress("second", &["10.61.0.1"]);
    wait_used(&world, "v2", "2");
    // Of a kind that has had no object yet.
    world.cluster.apply(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfigOverride
metadata: {name: n1}
spec: {bgpInstances: [{name: main, routerID: 10.99.0.1}]}
",
    );
    eventually(SOON, "the operator goes by it", || {
        let object = world.get("/apis/cilium.io/v2/ciliumbgpnodeconfigs/n1");
        let id = &object["spec"]["bgpInstances"][0]["routerID"];
        if id == "10.99.0.1" { Ok(()) } else { Err(object.to_string()) }
    });
    wait_bgp_status(&world, "v2");
    wait_faults(&world, &[], SOON);
    retire_the_old(&world);
    // What the objects remember of the old version does not stand in the way: theirs is written as before.
    world.cluster.apply(&service("third").yaml());
    world.wait_ingress("third", &["10.61.0.2"]);
    wait_used(&world, "v2", "3");
    world.cluster.kubectl(&["patch", "ciliumbgpclusterconfig", "fabric", "--type=json", "-p", OTHER_PEER]);
    let path = "/apis/cilium.io/v2/ciliumbgpnodeconfigs/n1";
    eventually(BACK, "the agent tells of the new peer", || {
        let object = world.get(path);
        let peer = &object["status"]["bgpInstances"][0]["peers"][0]["peerAddress"];
        if peer == "10.0.0.251" { Ok(()) } else { Err(object.to_string()) }
    });
    let log = world.operator.process().log();
    assert!(log.contains("managedFields are reset"), "nothing stood in the way, so nothing is proven: {log}");
    let writers = |path: &str| world.get(path)["metadata"]["managedFields"].to_string();
    for path in ["/apis/cilium.io/v2/ciliumloadbalancerippools/pool", path] {
        let left = writers(path);
        assert!(left.contains("cilium.io/v2\"") && !left.contains("v2alpha1"), "{path}: {left}");
    }
    stays(&world, "when the old version is gone");
}

const OTHER_PEER: &str =
    r#"[{"op": "replace", "path": "/spec/bgpInstances/0/peers/0/peerAddress", "value": "10.0.0.251"}]"#;

/// As the last step of an upgrade of definitions: every object is stored anew, and v2alpha1 is served no more.
fn retire_the_old(world: &World) {
    let rest = world.cluster.rest();
    let touched = json!({"metadata": {"annotations": {"stored": "anew"}}});
    for object in
        ["ciliumloadbalancerippools/pool", "ciliumbgpclusterconfigs/fabric", "ciliumbgpnodeconfigs/n1"]
    {
        let object = format!("/apis/cilium.io/v2/{object}");
        let before = world.get(&object)["metadata"]["managedFields"].to_string();
        assert!(before.contains("v2alpha1"), "{object} has forgotten it already: {before}");
        rest.patch(&object, &touched);
    }
    for mut object in ours() {
        let versions = object["spec"]["versions"].as_array_mut().unwrap();
        if versions.len() == 1 {
            continue;
        }
        versions.retain(|one| one["name"] != "v2alpha1");
        let name = object["metadata"]["name"].as_str().unwrap();
        let definition = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        rest.patch(&format!("{definition}/status"), &json!({"status": {"storedVersions": ["v2"]}}));
        world.cluster.apply(&object.to_string());
    }
    eventually(SOON, "v2alpha1 is served no more", || {
        let pool = world.get("/apis/cilium.io/v2alpha1/ciliumloadbalancerippools/pool");
        if pool.is_null() { Ok(()) } else { Err(pool.to_string()) }
    });
}
