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

use tests::cluster::Backend;
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
