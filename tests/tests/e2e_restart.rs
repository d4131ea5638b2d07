//! Agents that are restarted while the API server is away: they announce what was announced last, until the first
//! lists replace it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hyper::http::Method;
use serde_json::json;
use tests::cluster::Backend;
use tests::daemon::Family;
use tests::e2e::manifests::{pool, service};
use tests::e2e::{Member, SOON, Turn, agent_config, pod_v4, turn};
use tests::wait::{always, eventually};

/// Agents try again every few seconds.
const BACK: Duration = Duration::from_secs(60);

/// The routers are told to keep the routes of the first two nodes, and not those of the third.
fn config(n: u8) -> String {
    let restart = if n == 3 { String::new() } else { "    gracefulRestart: {restartTime: 10s}\n".to_owned() };
    agent_config(n)
        .replace("    gracefulRestart: {restartTime: 30s}\n", &restart)
        .replace("{socket: api.sock}", "{socket: api.sock, http: '127.0.0.1:9179'}")
}

fn world() -> Turn {
    let world = turn(3);
    for (member, n) in world.members.iter().zip(1..) {
        let mut agent = member.agent();
        agent.write_config(&config(n));
        agent.process().kill();
        agent.start_again();
        agent.wait_state("tor", "Established", SOON);
    }
    world
}

fn kept(member: &Member) -> PathBuf {
    member.agent().dir().join("state/announced.json")
}

/// Waits until a set with a route is kept.
fn wait_kept(member: &Member, prefix: &str) {
    eventually(SOON, &format!("{} keeps {prefix}", member.node.name()), || {
        let text = std::fs::read_to_string(kept(member)).map_err(|e| e.to_string())?;
        if text.contains(&format!("\"{prefix}\"")) { Ok(()) } else { Err(text) }
    });
}

fn scrape(member: &Member) -> String {
    let scrape = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9179/metrics', timeout=9).read().decode())";
    let ran = member.node.output(Command::new("/usr/bin/python3").args(["-c", scrape]));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// Whether the router has had End-of-RIB for IPv4 from a node.
fn end_of_rib(world: &Turn, member: &Member) -> bool {
    let text = world.tor.vtysh(&[&format!("show bgp neighbors {} json", member.v4)]);
    let all: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let received = &all[member.v4.to_string()]["gracefulRestartInfo"]["endOfRibRecv"];
    assert!(received.is_object(), "{text}");
    received["ipv4Unicast"] == true
}

const ALL: [&str; 3] = ["n1", "n2", "n3"];
const POOL: &str = "10.57.0.0/24";
const STAYS: &str = "10.57.0.0/32";
const GOES: &str = "10.57.0.1/32";

#[test]
fn without_the_api_server_what_was_announced_last_is_announced_and_then_corrected() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 10.57.0.0/24}"));
    for (name, address) in [("stays", "10.57.0.0"), ("goes", "10.57.0.1")] {
        world.cluster.apply(&service(name).yaml());
        world.wait_ingress(name, &[address]);
        let backend = Backend::new(&pod_v4(1, 5).to_string(), "n1");
        world.cluster.set_endpoints("default", name, 8080, &[backend]);
    }
    for prefix in [POOL, STAYS, GOES] {
        world.wait_holders(prefix, &ALL);
    }
    let restarted = &world.members[1..];
    restarted.iter().for_each(|member| wait_kept(member, GOES));
    wait_end_of_rib(&world);
    world.cluster.api_server().kill();
    for member in restarted {
        let mut agent = member.agent();
        agent.process().kill();
        agent.start_again();
    }
    announced_again(&world);
    restarted.iter().for_each(told);
    corrected(&world);
}

fn wait_end_of_rib(world: &Turn) {
    eventually(SOON, "the router has End-of-RIB of n2", || {
        if end_of_rib(world, &world.members[1]) { Ok(()) } else { Err("not yet".to_owned()) }
    });
}

/// The router never misses a route of the second node, and has those of the third again.
fn announced_again(world: &Turn) {
    eventually(SOON, "the agents announce what they have kept", || {
        let now = world.holders(STAYS);
        assert!(now.contains("n2"), "{now:?}");
        let version = world.members[1].agent().json(&["version"]);
        let known = version["kept"].as_str().is_some_and(|text| text.contains("from the set kept at"));
        if known && now.iter().eq(&ALL) { Ok(()) } else { Err(format!("{now:?}, {version}")) }
    });
    for prefix in [POOL, STAYS, GOES] {
        world.wait_holders(prefix, &ALL);
    }
    // Longer than the router keeps routes of a peer that does not come back.
    always(Duration::from_secs(11), "the routes stay", || {
        let now = world.holders(GOES);
        if now.iter().eq(&ALL) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert!(!end_of_rib(world, &world.members[1]), "before it is known that there is no more");
}

/// Whoever looks at a node sees that it is not the cluster that speaks.
fn told(member: &Member) {
    let agent = member.agent();
    for command in [&["rib", "advertised"][..], &["rib", "local"], &["version"], &["explain", "default/goes"]]
    {
        let said = agent.cli(command);
        assert!(said.contains("from the set kept at"), "{command:?}: {said}");
    }
    assert!(agent.cli(&["explain", "default/goes"]).starts_with("default/goes: announced"));
    agent.wait_log(&["WARN", "announcing the set kept at"], SOON);
    drop(agent);
    assert!(scrape(member).contains("speaker_kept_in_force 1"));
}

/// A Service is deleted while no agent sees it: its route goes, the others are not touched.
fn corrected(world: &Turn) {
    let set_links = |state: &str| {
        for member in &world.members {
            member.node.ip(&["link", "set", "mgmt0", state]);
        }
    };
    let sessions = || -> Vec<_> {
        world.members.iter().map(|member| member.agent().peer("tor")["establishedCount"].clone()).collect()
    };
    set_links("down");
    world.cluster.start_api_server();
    world.cluster.kubectl(&["delete", "service", "goes"]);
    let before = sessions();
    set_links("up");
    eventually(BACK, "what was deleted meanwhile is withdrawn", || {
        for prefix in [POOL, STAYS] {
            let now = world.holders(prefix);
            assert!(now.iter().eq(&ALL), "{prefix} is disturbed: {now:?}");
        }
        let now = world.holders(GOES);
        if now.is_empty() { Ok(()) } else { Err(format!("{now:?}")) }
    });
    for member in &world.members[1..] {
        eventually(SOON, "the first lists have replaced the set", || {
            let version = member.agent().json(&["version"]);
            if version["kept"].is_null() { Ok(()) } else { Err(version.to_string()) }
        });
        assert!(scrape(member).contains("speaker_kept_in_force 0"));
    }
    wait_end_of_rib(world);
    assert_eq!(before, sessions(), "a session was reset");
    for prefix in [POOL, STAYS] {
        world.wait_holders(prefix, &ALL);
    }
}

#[test]
fn who_stops_for_good_or_is_drained_keeps_nothing() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 10.58.0.0/24}"));
    world.cluster.apply(&service("web").yaml());
    for member in &world.members {
        wait_kept(member, "10.58.0.0/24");
    }
    let gone = |member: &Member| {
        eventually(SOON, "nothing is kept", || match kept(member).exists() {
            true => Err(format!("{} is there", kept(member).display())),
            false => Ok(()),
        });
    };
    world.members[0].agent().cli(&["drain", "--for", "0s"]);
    gone(&world.members[0]);
    world.members[0].agent().cli(&["undrain"]);
    wait_kept(&world.members[0], "10.58.0.0/24");
    // Routers keep its routes while it restarts, and so does it; the third has withdrawn everything.
    for member in &world.members[1..] {
        let status = member.agent().process().terminate();
        assert!(status.success(), "{status}");
    }
    wait_kept(&world.members[1], "10.58.0.0/24");
    gone(&world.members[2]);
    for member in &world.members[1..] {
        member.agent().start_again();
        wait_kept(member, "10.58.0.0/24");
    }
}

/// Whether the router has routes of member `n` that say that they are about to go (RFC 8326), and whether it has any.
fn seen(world: &Turn, n: usize) -> (bool, bool) {
    let from = std::net::IpAddr::V4(world.members[n].v4);
    let table = world.tor.table(Family::V4);
    let routes: Vec<_> = table.into_iter().filter(|(peer, ..)| *peer == from).collect();
    let marked =
        |(.., route): &(_, _, tests::daemon::SeenRoute)| route.communities.iter().any(|c| c == "65535:0");
    (routes.iter().any(marked), !routes.is_empty())
}

/// Told to end while `why` is so: its routes say that they are about to go, then go; the router keeps none of them for the
/// restart, and nothing is left on the node.
fn leaves_for_good(world: &Turn, n: usize, why: &str) {
    let member = &world.members[n];
    let agent = member.agent();
    let marked = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            eventually(SOON, "the routes say that they are about to go, and are gone", || {
                match seen(world, n) {
                    (true, _) => Ok(true),
                    (false, false) => Ok(false),
                    (false, true) => Err("they are there".to_owned()),
                }
            })
        });
        assert!(agent.process().terminate().success());
        watching.join().unwrap()
    });
    assert!(marked, "{why}: the routes went without a word");
    let log = agent.process().log();
    assert!(
        log.contains("stopping for good") && log.contains(why),
        "{why}: {}",
        agent.process().log_tail(20)
    );
    drop(agent);
    always(Duration::from_secs(2), "the router keeps nothing", || {
        let seen = seen(world, n);
        if seen == (false, false) { Ok(()) } else { Err(format!("{why}: {seen:?}")) }
    });
    assert!(!kept(member).exists(), "{why}: a set is kept");
    let routes = member.node.ip(&["route", "show", "table", "all", "type", "blackhole"]);
    assert_eq!(routes.trim(), "", "{why}: routes are left in the kernel");
}

/// design §5, "Stopping": graceful restart is for a rolling update alone.
#[test]
fn an_uninstallation_and_a_node_that_shuts_down_leave_no_route_behind() {
    const POOL: &str = "10.59.0.0/24";
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 10.59.0.0/24}"));
    world.cluster.apply(&service("web").yaml());
    let back = |n: usize| {
        world.members[n].agent().start_again();
        world.members[n].agent().wait_state("tor", "Established", SOON);
        eventually(BACK, "its routes are back", || match seen(&world, n) {
            (false, true) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    world.wait_holders(POOL, &["n1", "n2", "n3"]);

    // A rolling update: no other reason is to be found.
    assert!(world.members[0].agent().process().terminate().success());
    always(Duration::from_secs(3), "the router keeps the routes", || match seen(&world, 0) {
        (false, true) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    back(0);

    // kubelet ends the Pods of a node that shuts down, and says so first.
    let status = |ready: &str, message: &str| {
        let condition =
            json!({ "type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": message });
        let patch = json!({ "status": { "conditions": [condition] } }).to_string();
        world.cluster.kubectl(&[
            "patch",
            "node",
            "n1",
            "--subresource=status",
            "--type=strategic",
            "-p",
            &patch,
        ]);
    };
    status("False", "node is shutting down");
    leaves_for_good(&world, 0, "Node n1 is shutting down");
    status("True", "kubelet is posting ready status");
    back(0);

    // The agent's rights go with the release.
    let role = "/apis/rbac.authorization.k8s.io/v1/namespaces/speaker-system/roles/speaker-agent";
    let stored = world.get(role);
    world.cluster.rest().send_all(&Method::DELETE, vec![(role.to_owned(), serde_json::Value::Null)]);
    leaves_for_good(&world, 0, "the agent's rights are gone");
    let mut again = stored;
    for field in ["resourceVersion", "uid", "creationTimestamp", "managedFields"] {
        again["metadata"].as_object_mut().unwrap().remove(field);
    }
    world.cluster.apply(&again.to_string());
    back(0);

    // The DaemonSet itself.
    world.cluster.kubectl(&["--namespace=speaker-system", "delete", "daemonset", "speaker-agent"]);
    for n in [0, 1] {
        leaves_for_good(&world, n, "DaemonSet speaker-agent is gone");
    }
    world.cluster.apply_file("deploy/speaker.yaml");
    for n in [0, 1] {
        back(n);
    }
}
