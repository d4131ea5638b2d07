//! What an agent lives through beside an API server that is away: versions that are forgotten, watches that are too slow,
//! tokens that are not accepted any more, a clock that jumps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;
use std::time::Duration;

use hyper::http::Method;
use serde_json::json;
use tests::cluster::Backend;
use tests::e2e::manifests::{pool, service};
use tests::e2e::{AGENT_ACCOUNT, NAMESPACE, SOON, Turn, pod_v4, turn};
use tests::wait::{always, eventually};

/// An agent tries again every few seconds, and reads its token again each minute.
const BACK: Duration = Duration::from_secs(100);

/// A pool of its own for each test, and one Service that is announced.
fn world(n: u8) -> Turn {
    let world = turn(1);
    world.cluster.apply(&pool("pool", &format!("{{cidr: 10.7{n}.0.0/24}}")));
    serve(&world, "first");
    world.wait_holders(&format!("10.7{n}.0.0/32"), &["n1"]);
    world
}

fn serve(world: &Turn, name: &str) {
    world.cluster.apply(&service(name).yaml());
    let backend = Backend::new(&pod_v4(1, 5).to_string(), "n1");
    world.cluster.set_endpoints("default", name, 8080, &[backend]);
}

fn restart_api_server(world: &Turn) {
    world.cluster.api_server().kill();
    world.cluster.start_api_server();
}

/// A server that has just started remembers nothing from before: it answers 410 to a watch from an older version.
#[test]
fn a_version_that_the_server_has_forgotten_leads_to_a_list() {
    let world = world(0);
    serve(&world, "second");
    world.wait_holders("10.70.0.1/32", &["n1"]);
    let list = world.get("/api/v1/services?limit=1");
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    world.members[0].agent().process().pause();
    restart_api_server(&world);
    world.cluster.kubectl(&["delete", "service", "first"]);
    // After another start its memory begins behind the deletion.
    restart_api_server(&world);
    let watch = format!("/api/v1/services?watch=true&resourceVersion={version}&timeoutSeconds=1");
    let answer = world.cluster.rest().text(&watch).unwrap_or_else(|error| error);
    assert!(answer.contains("410") || answer.contains("too old resource version"), "{answer}");
    world.members[0].agent().process().resume();
    world.wait_holders_for("10.70.0.0/32", &[], BACK);
    world.wait_holders("10.70.0.1/32", &["n1"]);
    eventually(BACK, "no fault is left", || {
        let faults = world.faults(1);
        if faults.is_empty() { Ok(()) } else { Err(format!("{faults:?}")) }
    });
}

/// More comes than the connection holds, so that the server ends the watch of a client that does not read.
#[test]
fn a_watch_that_is_too_slow_is_begun_again() {
    let world = world(1);
    world.members[0].agent().process().pause();
    let ballast = "x".repeat(20_000);
    let one = |n: usize| {
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("ballast-{n}"), "annotations": {"example.com/ballast": ballast}},
            "spec": {"type": "ExternalName", "externalName": "example.com"}});
        ("/api/v1/namespaces/default/services".to_owned(), object)
    };
    world.cluster.rest().send_all(&Method::POST, (0..800).map(one).collect());
    serve(&world, "second");
    world.cluster.kubectl(&["delete", "service", "first"]);
    world.members[0].agent().process().resume();
    world.wait_holders_for("10.71.0.0/32", &[], BACK);
    world.wait_holders_for("10.71.0.1/32", &["n1"], BACK);
}

/// The account is made anew, so that its old tokens are worth nothing: routes stay, and a new token in the file is read.
#[test]
fn a_token_that_is_not_accepted_takes_nothing_back_and_a_new_one_is_read() {
    let world = world(2);
    world.cluster.kubectl(&["-n", NAMESPACE, "delete", "serviceaccount", AGENT_ACCOUNT]);
    world.cluster.kubectl(&["-n", NAMESPACE, "create", "serviceaccount", AGENT_ACCOUNT]);
    // Its watches end.
    restart_api_server(&world);
    eventually(BACK, "the agent tells that its token is not accepted", || {
        let faults = world.faults(1);
        let told = faults.iter().any(|fault| fault.contains("does not accept our credentials"));
        if told { Ok(()) } else { Err(format!("{faults:?}")) }
    });
    serve(&world, "second");
    world.wait_ingress("second", &["10.72.0.1"]);
    always(Duration::from_secs(3), "what was announced stays, and nothing new is known", || {
        let now = (world.holders("10.72.0.0/32").len(), world.holders("10.72.0.1/32").len());
        if now == (1, 0) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    // As the kubelet does it: the same file, another token.
    let _ = world.cluster.service_account(NAMESPACE, AGENT_ACCOUNT);
    world.wait_holders_for("10.72.0.1/32", &["n1"], BACK);
    eventually(BACK, "no fault is left", || {
        let faults = world.faults(1);
        if faults.is_empty() { Ok(()) } else { Err(format!("{faults:?}")) }
    });
}

/// Debian's package libfaketime: what the process sees of the wall clock is the file's to say.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
fn a_clock_that_jumps_disturbs_nothing() {
    assert!(Path::new(FAKETIME).exists(), "no {FAKETIME}: apt-get install libfaketime");
    let world = world(3);
    let jump = {
        let mut agent = world.members[0].agent();
        let file = agent.dir().join("faketime");
        std::fs::write(&file, "+0\n").unwrap();
        for (key, value) in [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ] {
            agent.set_env(key, value);
        }
        agent.process().kill();
        agent.start_again();
        agent.wait_state("tor", "Established", SOON);
        move |to: &str| std::fs::write(&file, format!("{to}\n")).unwrap()
    };
    // A Service comes and goes; the month in which the process saw it come.
    let month = |world: &Turn| {
        serve(world, "stamp");
        let prefix = format!("{}/32", world.wait_any_ingress("stamp")[0]);
        world.wait_holders(&prefix, &["n1"]);
        let row = world.members[0].agent().json(&["rib", "local", &prefix]);
        world.cluster.kubectl(&["delete", "service", "stamp"]);
        world.wait_holders(&prefix, &[]);
        row[0]["since"].as_str().unwrap_or_default()[..7].to_owned()
    };
    let sessions = || world.members[0].agent().peer("tor")["establishedCount"].clone();
    let before = sessions();
    let mut last = month(&world);
    // Shorter than the certificate of the API server is valid; and further back than where it began.
    for to in ["+200d", "-20m"] {
        jump(to);
        let seen = month(&world);
        assert_ne!(seen, last, "the process does not see the jump to {to}");
        last = seen;
        assert_eq!(world.holders("10.73.0.0/32").len(), 1, "after the jump to {to}");
        assert_eq!(world.faults(1), Vec::<String>::new());
    }
    assert_eq!(sessions(), before, "a session was reset");
    // Without it again, for whoever comes next.
    let mut agent = world.members[0].agent();
    agent.set_env("LD_PRELOAD", "");
    agent.process().kill();
    agent.start_again();
}
