//! Starting and stopping, beside others and again.

use std::process::{Command, Stdio};

use crate::harness::{Daemon, FABRIC, Pair, Scene, eventually, node, pool, router, router_peer, service};

const POOL: &str = "203.0.113.0/24";

fn manifests(scene: &Scene) {
    scene.write("m/pool.yaml", &(pool("public", POOL) + &service("web", "")));
}

#[test]
fn sigterm_says_goodbye() {
    let Pair { scene, node, router, .. } = Pair::with("", "", FABRIC, manifests);
    router.receives(&[POOL]);
    assert!(node.terminate().success());
    let told = router.peer_is("node", "was told", |peer| !peer["lastError"].is_null());
    let text = told["lastError"]["text"].as_str().unwrap();
    assert!(
        text.contains("Administrative Shutdown (6/2)") && text.contains("the speaker is stopping"),
        "{text}"
    );
    router.receives(&[]);
    assert!(!scene.path("node.sock").exists(), "the socket is gone with its daemon");
    let log = std::fs::read_to_string(scene.path("node.log")).unwrap();
    let said = log.lines().find(|line| line.contains("drained since the speaker is stopping"));
    assert!(said.is_some_and(|line| line.contains(" INFO ")), "an ordinary end is nothing to warn of: {log}");
    let table = router.speaker(&["peers"]).out;
    assert!(table.contains("node is down: received Cease"), "{table}");
}

#[test]
fn with_graceful_restart_the_session_ends_without_a_word_and_end_of_rib_follows_the_routes() {
    let settings = ", gracefulRestart: {restartTime: 60s}";
    let Pair { scene, node, router, .. } = Pair::with(settings, settings, FABRIC, manifests);
    router.receives(&[POOL]);
    assert!(node.terminate().success());
    let told = router.peer_is("node", "is down", |peer| peer["state"] != "Established");
    let text = told["lastError"]["text"].as_str().unwrap();
    assert!(!text.contains("Cease") && text.contains("closed by the peer"), "{text}");
    let node = Daemon::start_again(&scene, "node");
    node.up("tor");
    router.receives(&[POOL]);
    let peer = router.peer("node");
    let capability =
        peer["peerCapabilities"].as_array().unwrap().iter().find(|one| one["code"] == 64).unwrap();
    assert!(capability["value"].as_str().unwrap().contains("restarted"), "{capability}");
    // The prefix in one UPDATE, then an End-of-RIB for each family.
    router
        .peer_is("node", "has sent End-of-RIB", |peer| peer["receivedByKind"]["updates"].as_u64() >= Some(3));
}

#[test]
fn a_second_daemon_on_the_same_socket_or_state_is_refused() {
    let scene = Scene::new();
    let first = scene.start("node", &node(1, "", FABRIC));
    let ran = scene.run(&["run", "--config", "node.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("node.sock") && ran.err.contains("another daemon answers there"), "{ran:?}");
    scene.write("second.yaml", &node(1, "", FABRIC).replace("node.sock", "second.sock"));
    let ran = scene.run(&["run", "--config", "second.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("ipam.stateDir") && ran.err.contains("another speaker uses it"), "{ran:?}");
    assert!(!scene.path("second.sock").exists(), "nothing is left behind");
    assert_eq!(first.speaker(&["version"]).code, 0, "the first is not disturbed");
    let ran = scene.run(&["run", "--config", "second.yaml", "--record", "nowhere/events"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("cannot record events in nowhere/events"), "{ran:?}");
    let ran = scene.run(&["run", "--config", "missing.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("cannot read missing.yaml"), "{ran:?}");
}

#[test]
fn a_taken_port_is_a_condition_until_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let scene = Scene::new();
    let text = router(&router_peer("")).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let daemon = scene.start("router", &text);
    let listener = eventually("the port is taken", || {
        let version = daemon.version();
        let error = version["listeners"][0]["error"].as_str().map(str::to_owned);
        error.ok_or_else(|| version.to_string())
    });
    assert!(listener.contains("Address already in use"), "{listener}");
    let shown = daemon.speaker(&["version"]).out;
    assert!(shown.contains(&format!("listen  127.0.0.1:{port} not yet: ")), "{shown}");
    drop(taken);
    assert_eq!(daemon.port(), port);
    let shown = daemon.speaker(&["version"]).out;
    assert!(shown.contains(&format!("listen  127.0.0.1:{port}\n")), "{shown}");
}

#[test]
fn dynamic_peers_come_up_to_their_limit_and_leave_nothing() {
    let scene = Scene::new();
    let routing = scene.start(
        "router",
        &router("dynamicPeers: [{name: rack, prefix: 127.0.1.0/24, asn: external, limit: 1, receive: all}]"),
    );
    manifests(&scene);
    let port = routing.port();
    let first = scene.start("node", &node(port, "", FABRIC).replace("127.0.0.2", "127.0.1.1"));
    first.up("tor");
    routing.receives(&[POOL]);
    let peers = routing.json(&["peers"]);
    assert_eq!(peers[0]["name"], "rack:127.0.1.1", "{peers}");
    assert_eq!(peers[0]["remoteAs"], 64501);
    let more = node(port, "", FABRIC)
        .replace("127.0.0.2", "127.0.1.2")
        .replace("node.sock", "more.sock")
        .replace("stateDir: state", "stateDir: more-state")
        .replace("10.255.0.2", "10.255.0.3");
    let second = scene.start("more", &more);
    routing.logged("the limit of 1 of dynamicPeers rack is reached");
    assert_eq!(routing.json(&["peers"]).as_array().unwrap().len(), 1);
    first.kill();
    second.up("tor");
    let peers = routing.json(&["peers"]);
    assert_eq!(peers.as_array().unwrap().len(), 1, "{peers}");
    assert_eq!(peers[0]["name"], "rack:127.0.1.2", "{peers}");
    drop(second);
    eventually("nobody is left", || {
        let peers = routing.json(&["peers"]);
        if peers == serde_json::json!([]) { Ok(()) } else { Err(peers.to_string()) }
    });
    // Somebody from elsewhere is refused, and it is said.
    let stranger =
        scene.start("stranger", &more.replace("127.0.1.2", "127.0.2.1").replace("more", "stranger"));
    let peer = stranger
        .peer_is("tor", "is refused", |peer| !peer["lastError"].is_null() || !peer["lastNote"].is_null());
    assert_ne!(peer["state"], "Established");
    routing.logged("no peer has this address");
}

#[test]
fn sighup_is_no_end() {
    let Pair { scene: _scene, node, router, .. } = Pair::with("", "", FABRIC, manifests);
    router.receives(&[POOL]);
    node.signal("-HUP");
    node.logged("SIGHUP: nothing to do");
    assert_eq!(node.peer("tor")["establishedCount"], 1);
    assert_eq!(router.received(), [POOL]);
}

#[test]
fn an_address_where_nobody_answers_is_shown_with_the_reason() {
    let scene = Scene::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let daemon = scene.start("node", &node(free, "", FABRIC));
    daemon.peer_is("tor", "has a reason", |peer| !peer["lastNote"].is_null());
    let table = daemon.speaker(&["peers"]).out;
    assert!(table.contains("never") && table.contains("Connection refused"), "{table}");
    assert!(daemon.speaker(&["peers", "tor"]).out.contains("Last note"), "the same in full");
}

#[test]
fn the_log_is_for_people() {
    let Pair { scene: _scene, node, router, .. } = Pair::with("", "", FABRIC, manifests);
    router.receives(&[POOL]);
    let log = node.log();
    assert!(!log.contains("warning:"), "the level says it already: {log}");
    assert!(!log.contains('\u{1b}'), "no colours where there is no terminal");
    let up = log.lines().find(|line| line.contains("session is up")).unwrap();
    for part in ["peer{name=tor address=127.0.0.1}", "peer_as=64500", "router_id=10.255.0.1", "hold=90"] {
        assert!(up.contains(part), "{up}");
    }
    let listening = router.log().matches("listening").count();
    assert_eq!(listening, 1, "one line for one socket: {}", router.log());
}

#[test]
fn an_interface_that_is_not_there_is_waited_for_and_named() {
    let extra = "  - {name: unnumbered, interface: no-such-if, asn: external}\n";
    let Pair { scene: _scene, node, router, .. } = Pair::with("", "", &format!("{extra}{FABRIC}"), manifests);
    router.receives(&[POOL]);
    let peer = node.peer_is("unnumbered", "has a reason", |peer| {
        peer["lastError"]["text"] == "there is no interface no-such-if"
    });
    assert_eq!((&peer["state"], &peer["address"]), (&"Idle".into(), &"no-such-if".into()), "{peer}");
    assert!(peer["neighborAddress"].is_null(), "{peer}");
    let peers = node.speaker(&["peers"]).out;
    assert!(peers.contains("unnumbered(no-such-if)"), "{peers}");
    assert!(peers.contains("unnumbered is down: there is no interface no-such-if"), "{peers}");
}

#[test]
fn ipv6_carries_both_families_and_a_reload_opens_its_socket() {
    let scene = Scene::new();
    let peers = "peers:\n  - {name: node, address: \"::1\", asn: 64501, passive: true, receive: all}";
    let routing = scene.start("router", &router(peers).replace("127.0.0.1:0", "[::1]:0"));
    let port = routing.port();
    scene.edit("router.yaml", "\"[::1]:0\"", "\"[::1]:0\", \"127.0.0.1:0\"");
    let second: std::net::SocketAddr = eventually("it listens on IPv4 too", || {
        let version = routing.version();
        let bound =
            version["listeners"].as_array().unwrap().iter().find(|one| one["address"] == "127.0.0.1:0");
        let bound = bound.and_then(|one| one["bound"].as_str()).ok_or_else(|| version.to_string())?;
        Ok(bound.parse().unwrap())
    });
    let both = pool("public", POOL) + "    - cidr: \"2001:db8:1::/112\"\n";
    scene.write("m/pool.yaml", &both);
    let rest = FABRIC.replace("when: allocated", "when: always");
    let usual = "address: 127.0.0.1, port: 1, localAddress: 127.0.0.2, asn: 64500, nextHop: {ipv6: \"2001:db8:ffff::2\"}";
    let text = node(1, "", &rest);
    assert!(text.contains(usual), "{text}");
    let speaker =
        scene.start("node", &text.replace(usual, &format!("address: \"::1\", port: {port}, asn: 64500")));
    speaker.up("tor");
    routing.receives(&[POOL, "2001:db8:1::/112"]);
    assert_eq!(routing.route(POOL)["nextHop"], "::1", "IPv4 over an IPv6 next hop (RFC 8950)");
    assert_eq!(routing.route("2001:db8:1::/112")["nextHop"], "::1");
    let table = speaker.speaker(&["peers"]).out;
    assert!(table.contains(&format!("tor([::1]:{port})")), "{table}");
    scene.edit("router.yaml", ", \"127.0.0.1:0\"", "");
    eventually("the socket is closed", || {
        let version = routing.version();
        let one = version["listeners"].as_array().unwrap().len() == 1;
        let closed = std::net::TcpStream::connect(second).is_err();
        if one && closed { Ok(()) } else { Err(version.to_string()) }
    });
    assert_eq!(speaker.peer("tor")["establishedCount"], 1);
}

#[test]
fn a_dynamic_peer_that_is_shut_down_stays_down_while_it_dials() {
    let scene = Scene::new();
    let routing = scene.start(
        "router",
        &router("dynamicPeers: [{name: rack, prefix: 127.0.1.0/24, asn: external, receive: all}]"),
    );
    let text = node(routing.port(), "", FABRIC).replace("127.0.0.2", "127.0.1.1");
    let speaker = scene.start("node", &text);
    speaker.up("tor");
    assert_eq!(routing.speaker(&["shutdown", "rack:127.0.1.1", "moving"]).code, 0);
    let told = speaker.peer_is("tor", "was told", |peer| !peer["lastError"].is_null());
    assert!(told["lastError"]["text"].as_str().unwrap().contains("moving"), "{told}");
    // It dials again, and again in vain.
    speaker.peer_is("tor", "was refused", |peer| {
        peer["lastError"]["text"].as_str().is_some_and(|text| text.contains("Connection Rejected (6/5)"))
    });
    assert_eq!(routing.peer("rack:127.0.1.1")["shutdown"], "moving");
    assert_eq!(routing.speaker(&["no-shutdown", "rack:127.0.1.1"]).code, 0);
    speaker.up("tor");
}

#[test]
fn a_daemon_goes_on_when_nobody_reads_its_log_any_more() {
    let scene = Scene::new();
    let config = |name: &str| {
        format!(
            "node: {{name: {name}}}\nrouter: {{asn: 64501}}\napi: {{socket: node.sock}}\ndatapath: {{loops: none}}\n"
        )
    };
    scene.write("node.yaml", &config("before"));
    let (read, write) = std::io::pipe().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_speaker"))
        .args(["run", "--config", "node.yaml"])
        .current_dir(scene.path("."))
        .stdout(Stdio::null())
        .stderr(write)
        .spawn()
        .unwrap();
    let restart_needed = || {
        let ran = scene.run(&["version", "--socket", "node.sock", "-o", "json"]);
        let version: serde_json::Value = serde_json::from_str(&ran.out).map_err(|_| ran.err)?;
        Ok::<_, String>(version["restartNeeded"].clone())
    };
    eventually("it answers", || restart_needed().map(drop));
    drop(read);
    // What a reload has to say goes nowhere.
    scene.write("node.yaml", &config("after"));
    eventually("the reload is over", || match restart_needed()? {
        waits if waits == serde_json::json!(["node.name"]) => Ok(()),
        other => Err(other.to_string()),
    });
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}
