//! What operators do to sessions.

use crate::harness::{FABRIC, Pair, eventually, pool, service};

fn pair() -> Pair {
    let pair = Pair::with("", "", FABRIC, |scene| {
        scene.write("m/pool.yaml", &(pool("public", "203.0.113.0/24") + &service("web", "")));
    });
    pair.router.receives(&["203.0.113.0/24"]);
    pair
}

#[test]
fn a_shutdown_tells_the_other_side_why_until_it_is_taken_back() {
    let pair = pair();
    let (node, router) = (&pair.node, &pair.router);
    let ran = node.speaker(&["shutdown", "tor", "maintenance", "at", "noon"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "tor is shut down\n"), "{ran:?}");
    let told = router.peer_is("node", "was told", |peer| !peer["lastError"].is_null());
    let text = told["lastError"]["text"].as_str().unwrap();
    assert!(text.contains("Administrative Shutdown (6/2)") && text.contains("maintenance at noon"), "{text}");
    router.receives(&[]);
    let table = node.speaker(&["peers"]).out;
    assert!(table.contains("Idle (Admin)"), "{table}");
    for order in [&["clear", "tor"][..], &["clear", "all"], &["clear", "tor", "soft"]] {
        let ran = node.speaker(order);
        assert_eq!(ran.out, "tor is shut down; `speaker no-shutdown tor` lets it come up\n", "{order:?}");
    }
    let full = node.speaker(&["peers", "tor"]).out;
    assert!(full.contains("Administratively shut down: maintenance at noon"), "{full}");

    // A change of its identity does not undo what an operator said.
    pair.reconfigure(", gracefulRestart: {restartTime: 60s}", FABRIC);
    node.logged("the new configuration is in force");
    assert_eq!(node.peer("tor")["shutdown"], "maintenance at noon");
    assert_eq!(node.peer("tor")["state"], "Idle");

    assert_eq!(node.speaker(&["no-shutdown", "tor"]).code, 0);
    node.up("tor");
    router.receives(&["203.0.113.0/24"]);
    assert_eq!(node.peer("tor")["shutdown"], serde_json::Value::Null);
}

#[test]
fn a_text_that_does_not_fit_is_refused() {
    let pair = pair();
    let ran = pair.node.speaker(&["shutdown", "tor", &"x".repeat(256)]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("255"), "{ran:?}");
    assert_eq!(pair.node.peer("tor")["state"], "Established");
}

#[test]
fn clear_resets_the_session_and_soft_only_the_routes() {
    let pair = pair();
    let (node, router) = (&pair.node, &pair.router);
    assert_eq!(node.speaker(&["clear", "tor"]).code, 0);
    let peer = node.peer_is("tor", "is up again", |peer| {
        peer["establishedCount"] == 2 && peer["state"] == "Established"
    });
    assert!(peer["lastError"]["text"].as_str().unwrap().contains("Administrative Reset (6/4)"), "{peer}");
    router.up("node");
    router.receives(&["203.0.113.0/24"]);

    let updates = node.peer("tor")["sentByKind"]["updates"].as_u64().unwrap();
    assert_eq!(node.speaker(&["clear", "tor", "soft", "out"]).code, 0);
    node.peer_is("tor", "sent its routes again", |peer| {
        peer["sentByKind"]["updates"].as_u64() > Some(updates)
    });
    let asked = |daemon: &crate::harness::Daemon, peer: &str| {
        daemon.peer(peer)["sentByKind"]["routeRefreshes"].as_u64().unwrap()
    };
    let before = asked(router, "node");
    assert_eq!(router.speaker(&["clear", "all", "soft", "in"]).code, 0);
    eventually("the router has asked for the routes", || {
        // One for each family, and the marks of RFC 7313 are the other side's.
        let now = asked(router, "node");
        if now >= before + 2 { Ok(()) } else { Err(now.to_string()) }
    });
    router.receives(&["203.0.113.0/24"]);
    assert_eq!(node.peer("tor")["establishedCount"], 2, "soft keeps the session");
    assert_eq!(node.speaker(&["clear", "tor", "hard"]).code, 2);
}

#[test]
fn a_shutdown_in_the_file_holds_until_it_is_taken_out() {
    let pair = pair();
    let (node, router) = (&pair.node, &pair.router);
    pair.reconfigure(", shutdown: {message: replacing the line card}", FABRIC);
    let told = router.peer_is("node", "was told", |peer| !peer["lastError"].is_null());
    assert!(told["lastError"]["text"].as_str().unwrap().contains("replacing the line card"), "{told}");
    assert_eq!(node.peer("tor")["shutdown"], "replacing the line card");
    pair.reconfigure("", FABRIC);
    node.up("tor");
    router.receives(&["203.0.113.0/24"]);
}
