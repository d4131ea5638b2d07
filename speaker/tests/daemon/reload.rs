//! `speaker.yaml` changes under a running daemon: a reload is a diff.

use serde_json::Value;

use crate::harness::{Daemon, FABRIC, Pair, Scene, eventually, node, pool, router, router_peer, service};

/// Two pools with an advertisement each; `first` and `second` are their attributes, `more` is for both.
fn advertisements(first: &str, second: &str) -> String {
    let one = |name: &str, attributes: &str| {
        format!(
            "  - {{name: {name}, poolSelector: {{matchLabels: {{pool: {name}}}}}, poolPrefix: {{when: always}}, \
             allow: [203.0.113.0/24, 198.51.100.0/24], attributes: {{{attributes}}}}}\n"
        )
    };
    format!("advertisements:\n{}{}", one("blue", first), one("red", second))
}

const BLUE: &str = "198.51.100.0/24";
const RED: &str = "203.0.113.0/24";

fn two_pools() -> Pair {
    let rest = advertisements("communities: [\"64501:1\"]", "communities: [\"64501:2\"]");
    let pair = Pair::with("", "", &rest, |scene| {
        scene.write("m/pools.yaml", &(pool("blue", BLUE) + &pool("red", RED)));
    });
    pair.router.receives(&[BLUE, RED]);
    pair
}

fn updates(daemon: &Daemon, peer: &str) -> u64 {
    daemon.peer(peer)["receivedByKind"]["updates"].as_u64().unwrap()
}

#[test]
fn a_change_of_policy_announces_what_it_changes_and_keeps_the_session() {
    let pair = two_pools();
    let (node, router) = (&pair.node, &pair.router);
    let before = updates(router, "node");
    pair.reconfigure("", &advertisements("communities: [\"64501:9\"]", "communities: [\"64501:2\"]"));
    eventually("the new community is there", || {
        let row = router.route(BLUE);
        if row["communities"] == serde_json::json!(["64501:9"]) { Ok(()) } else { Err(row.to_string()) }
    });
    assert_eq!(updates(router, "node"), before + 1, "one UPDATE for the one route that changed");
    assert_eq!(router.route(RED)["communities"], serde_json::json!(["64501:2"]));

    let rest = advertisements("communities: [\"64501:9\"]", "communities: [\"64501:2\"]");
    pair.reconfigure(", export: [{prefix: 203.0.113.0/24, le: 32}]", &rest);
    router.receives(&[RED]);
    assert_eq!(updates(router, "node"), before + 2, "one withdrawal");
    let held = node.peer("tor")["held"].clone();
    assert_eq!(held[0]["prefix"], BLUE, "{held}");
    assert!(held[0]["reason"].as_str().unwrap().contains("export"), "{held}");

    pair.reconfigure("", &rest);
    router.receives(&[BLUE, RED]);
    pair.reconfigure(", maxAdvertised: {ipv4-unicast: 1}", &rest);
    eventually("one route is left", || {
        let seen = router.received();
        if seen.len() == 1 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let held = node.peer("tor")["held"].clone();
    assert!(held[0]["reason"].as_str().unwrap().contains("maxAdvertised"), "{held}");
    let prefix = held[0]["prefix"].as_str().unwrap();
    let explained = node.speaker(&["explain", prefix]);
    assert_eq!(explained.code, 4, "{explained:?}");
    assert!(explained.out.contains("maxAdvertised"), "{explained:?}");

    pair.reconfigure(", timers: {hold: 30s, keepalive: 5s}", &rest);
    router.receives(&[BLUE, RED]);
    let peer = node.peer("tor");
    assert_eq!(peer["establishedCount"], 1, "none of it resets the session");
    assert_eq!(peer["holdTime"], 90, "new timers are for the next session");
    assert_eq!(router.peer("node")["lastError"], Value::Null);
}

#[test]
fn a_bad_file_is_refused_and_the_old_one_stays_in_force() {
    let pair = two_pools();
    let (node, router) = (&pair.node, &pair.router);
    let good = std::fs::read_to_string(pair.scene.path("node.yaml")).unwrap();
    pair.scene.edit("node.yaml", "when: always", "when: sometimes");
    let version = eventually("the refusal is shown", || {
        let version = node.version();
        if version["configErrors"] == serde_json::json!([]) { Err(version.to_string()) } else { Ok(version) }
    });
    let error = version["configErrors"][0].as_str().unwrap();
    assert!(error.contains("node.yaml:") && error.contains("poolPrefix.when"), "{error}");
    let shown = node.speaker(&["version"]);
    assert!(shown.out.contains("refused the configuration file; an older one is in force:"), "{shown:?}");
    node.logged("the new configuration is refused, the old one stays in force");
    assert_eq!(router.received(), [BLUE, RED]);
    pair.scene.write("node.yaml", &good);
    eventually("the refusal is gone", || {
        let version = node.version();
        if version["configErrors"] == serde_json::json!([]) { Ok(()) } else { Err(version.to_string()) }
    });
    assert_eq!(node.peer("tor")["establishedCount"], 1);
}

#[test]
fn a_change_of_identity_resets_the_session() {
    let scene = Scene::new();
    let both = router_peer("")
        + "\n  - {name: other, address: 127.0.0.3, asn: 64501, passive: true, receive: all, localAsn: 64510}";
    let routing = scene.start("router", &router(&both));
    let port = routing.port();
    let speaker = scene.start("node", &node(port, "", FABRIC));
    routing.up("node");
    // The graceful restart capability goes out in OPEN alone.
    scene.write("node.yaml", &node(port, ", gracefulRestart: {restartTime: 60s}", FABRIC));
    routing.peer_is("node", "came up twice", |peer| peer["establishedCount"] == 2);
    let told = routing.peer("node")["lastError"].clone();
    assert!(told["text"].as_str().unwrap().contains("Other Configuration Change (6/6)"), "{told}");
    speaker.up("tor");

    scene.edit("node.yaml", "localAddress: 127.0.0.2, asn: 64500", "localAddress: 127.0.0.3, asn: 64510");
    routing.up("other");
    speaker.up("tor");
    let told = routing.peer_is("node", "is down", |peer| peer["state"] != "Established");
    assert!(told["lastError"]["text"].as_str().unwrap().contains("(6/6)"), "{told}");

    scene.edit("node.yaml", "asn: 64501, routerId: 10.255.0.2", "asn: 64501, routerId: 10.255.0.7");
    let version = eventually("the new router ID waits for a restart", || {
        let version = speaker.version();
        if version["restartNeeded"] == serde_json::json!(["router.routerId"]) {
            Ok(version)
        } else {
            Err(version.to_string())
        }
    });
    assert_eq!(version["routerId"], "10.255.0.2", "fixed while running");
    // Another change does not make it forgotten.
    scene.edit("node.yaml", "when: ready", "when: allocated");
    eventually("the second change is in force", || {
        let count = speaker.log().matches("the new configuration is in force").count();
        if count == 4 { Ok(()) } else { Err(count.to_string()) }
    });
    assert_eq!(speaker.version()["restartNeeded"], serde_json::json!(["router.routerId"]));

    scene.edit("node.yaml", "asn: 64501, routerId", "asn: 64599, routerId");
    routing.logged("the peer says that it is in AS 64599");
    let told = routing.log();
    assert_eq!(
        told.matches("received NOTIFICATION Cease/Other Configuration Change (6/6)").count(),
        3,
        "{told}"
    );
}

#[test]
fn peers_come_and_go_with_the_file() {
    let scene = Scene::new();
    let both =
        router_peer("") + "\n  - {name: other, address: 127.0.0.3, asn: 64501, passive: true, receive: all}";
    let routing = scene.start("router", &router(&both));
    let port = routing.port();
    scene.write("m/pool.yaml", &(pool("public", "203.0.113.0/24") + &service("web", "")));
    let speaker = scene.start("node", &node(port, "", FABRIC));
    routing.up("node");
    let second = format!(
        "  - {{name: tor-b, address: 127.0.0.1, port: {port}, localAddress: 127.0.0.3, asn: 64500}}\n"
    );
    let text = node(port, "", FABRIC);
    let first = text.lines().find(|line| line.contains("name: tor,")).unwrap();
    scene.write("node.yaml", &text.replace(&format!("{first}\n"), &second));
    routing.up("other");
    speaker.up("tor-b");
    let told = routing.peer_is("node", "is down", |peer| peer["state"] != "Established");
    let text = told["lastError"]["text"].as_str().unwrap();
    assert!(text.contains("Peer De-configured (6/3)"), "{text}");
    assert_eq!(speaker.speaker(&["peers", "tor"]).code, 3);
    routing.receives(&["203.0.113.0/24"]);
}

#[test]
fn what_is_kept_of_received_routes_changes_without_a_reset() {
    let pair = two_pools();
    let (node, router) = (&pair.node, &pair.router);
    let attributes = |row: Value| row["communities"].clone();
    assert_eq!(attributes(router.route(BLUE)), serde_json::json!(["64501:1"]));
    pair.scene.edit("router.yaml", "receive: all", "receive: count");
    eventually("attributes are no longer kept", || {
        let row = router.route(BLUE);
        if attributes(row.clone()) == Value::Null { Ok(()) } else { Err(row.to_string()) }
    });
    pair.scene.edit("router.yaml", "receive: count", "receive: all");
    eventually("they are kept again", || {
        let row = router.route(BLUE);
        if attributes(row.clone()) == serde_json::json!(["64501:1"]) { Ok(()) } else { Err(row.to_string()) }
    });
    pair.scene.edit("router.yaml", "receive: all", "receive: all, maxPrefixes: {ipv4-unicast: 1}");
    router.peer_is("node", "shows that there are more than one", |peer| {
        peer["received"][0]["count"] == 1 && peer["received"][0]["more"] == true
    });
    let table = router.speaker(&["peers"]).out;
    assert!(table.contains(" >1 "), "{table}");
    assert_eq!(node.peer("tor")["establishedCount"], 1);
}

#[test]
fn what_only_the_next_session_takes_up_is_said_to_wait() {
    let pair = two_pools();
    let (node, router) = (&pair.node, &pair.router);
    assert_eq!(node.peer("tor")["pending"], serde_json::json!([]));
    let rest = advertisements("communities: [\"64501:1\"]", "communities: [\"64501:2\"]");
    pair.reconfigure(", timers: {hold: 30s, keepalive: 5s, sendHold: 1m}", &rest);
    node.peer_is("tor", "has what waits", |peer| {
        peer["pending"] == serde_json::json!(["timers.hold", "timers.keepalive", "timers.sendHold"])
    });
    node.logged("timers.hold, timers.keepalive, timers.sendHold: new values wait for the next session");
    let told = node.speaker(&["peers", "tor"]).out;
    assert!(told.contains("wait for the next one: timers.hold"), "{told}");
    assert!(told.contains("Hold time 90 s"), "that of the session that is up: {told}");
    assert_eq!(node.peer("tor")["establishedCount"], 1);
    // The old values again, and there is nothing to wait for.
    pair.reconfigure(", timers: {sendHold: 1m}", &rest);
    node.peer_is("tor", "waits for one", |peer| peer["pending"] == serde_json::json!(["timers.sendHold"]));
    pair.reconfigure(", timers: {hold: 30s}", &rest);
    node.peer_is("tor", "waits for another", |peer| peer["pending"] == serde_json::json!(["timers.hold"]));
    assert_eq!(node.speaker(&["clear", "tor"]).code, 0);
    node.peer_is("tor", "has it in force", |peer| {
        peer["state"] == "Established" && peer["holdTime"] == 30 && peer["pending"] == serde_json::json!([])
    });
    router.receives(&[BLUE, RED]);
}

/// The kernel of the test may have TCP-AO or not; without it there is a reason and no session.
#[test]
fn tcp_ao_is_in_force_or_there_is_no_session() {
    let scene = Scene::new();
    scene.write("tor.key", "s3cret\n");
    let keys = ", tcpAo: {keys: [{sendId: 7, passwordFile: tor.key}]}";
    let routing = scene.start("router", &router(&router_peer(keys)));
    let speaker = scene.start("node", &node(routing.port(), keys, FABRIC));
    let checked = scene.run(&["check", "--config", "node.yaml", "--node"]);
    if !checked.out.contains("no TCP-AO") {
        speaker.up("tor");
        assert_eq!(
            (&speaker.peer("tor")["tcpAo"], &speaker.peer("tor")["md5"]),
            (&true.into(), &false.into())
        );
        return;
    }
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.out.contains("peer tor: tcpAo: this kernel has no TCP-AO (RFC 5925)"), "{checked:?}");
    let seen = speaker.peer_is("tor", "says why it is down", |peer| peer.to_string().contains("no TCP-AO"));
    assert_eq!((&seen["establishedCount"], &seen["tcpAo"]), (&0.into(), &true.into()), "{seen}");
    let refused = speaker.speaker(&["peers"]).out;
    assert!(refused.contains("tor is down: ") && refused.contains("no TCP-AO"), "{refused}");
    routing.logged("the kernel does not take the TCP-AO key");
    assert!(!(speaker.log() + &routing.log()).contains("s3cret"), "keys are never logged");
}

#[test]
fn a_key_is_picked_up_when_its_file_comes_and_when_it_changes() {
    let scene = Scene::new();
    scene.write("tor.key", "s3cret\n");
    let routing = scene.start("router", &router(&router_peer(", passwordFile: tor.key")));
    let port = routing.port();
    let speaker = scene.start("node", &node(port, ", passwordFile: node.key", FABRIC));
    let peer = speaker.peer_is("tor", "says why it is down", |peer| !peer["lastError"].is_null());
    let text = peer["lastError"]["text"].as_str().unwrap();
    assert!(text.contains("passwordFile") && text.contains("node.key"), "{text}");
    let table = speaker.speaker(&["peers"]).out;
    assert!(table.contains("tor is down: cannot read passwordFile"), "{table}");
    // Without the newline, which is not part of the key.
    scene.write("node.key", "s3cret");
    speaker.up("tor");
    routing.up("node");
    assert_eq!(speaker.peer("tor")["md5"], true);
    scene.write("node.key", "other\n");
    routing.peer_is("node", "was reset", |peer| {
        peer["lastError"]["text"].as_str().is_some_and(|text| text.contains("(6/6)"))
    });
    scene.write("tor.key", "other\n");
    routing.up("node");
    speaker.up("tor");
    assert!(!(speaker.log() + &routing.log()).contains("s3cret"), "keys are never logged");
}
