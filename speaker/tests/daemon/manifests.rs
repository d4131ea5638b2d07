//! Manifests under a running daemon: allocation as the files come, change and go.

use serde_json::{Value, json};

use crate::harness::{Daemon, FABRIC, LOCAL, Pair, Scene, endpoint, eventually, node, pool, service};

fn pair() -> Pair {
    Pair::with("", "", FABRIC, |scene| {
        scene.write("m/pool.yaml", &pool("public", "203.0.113.0/24"));
    })
}

fn find(daemon: &Daemon, name: &str) -> Value {
    let services = daemon.json(&["services"]);
    services.as_array().unwrap().iter().find(|service| service["name"] == name).cloned().unwrap_or_default()
}

/// Waits until a Service has exactly these addresses.
#[track_caller]
fn has(daemon: &Daemon, name: &str, addresses: &[&str]) {
    eventually(&format!("{name} has {addresses:?}"), || {
        let seen = find(daemon, name);
        if seen["ingress"] == json!(addresses) { Ok(()) } else { Err(seen.to_string()) }
    });
}

/// Waits until a Service's condition of LB IPAM has this reason.
#[track_caller]
fn refused(daemon: &Daemon, name: &str, reason: &str) -> Value {
    eventually(&format!("{name} is refused: {reason}"), || {
        let seen = find(daemon, name);
        let conditions = seen["conditions"].as_array().cloned().unwrap_or_default();
        let satisfied =
            conditions.iter().find(|condition| condition["type"] == "cilium.io/IPAMRequestSatisfied");
        match satisfied {
            Some(c) if c["status"] == "False" && c["reason"] == reason => Ok(seen),
            _ => Err(seen.to_string()),
        }
    })
}

#[test]
fn files_come_change_move_and_go() {
    let pair = pair();
    let (scene, node, router) = (&pair.scene, &pair.node, &pair.router);
    scene.write("m/web.yaml", &(service("web", LOCAL) + &endpoint("web", "n1", true)));
    router.receives(&["203.0.113.0/24", "203.0.113.0/32"]);
    // Renamed: nothing happens on the wire.
    let updates = router.peer("node")["receivedByKind"]["updates"].clone();
    std::fs::rename(scene.path("m/web.yaml"), scene.path("m/shop.yaml")).unwrap();
    scene.write("m/api.yaml", &service("api", ""));
    has(node, "api", &["203.0.113.1"]);
    has(node, "web", &["203.0.113.0"]);
    assert_eq!(router.peer("node")["receivedByKind"]["updates"], updates);
    // Half a file: what was there stays, and the fault is shown.
    let whole = std::fs::read_to_string(scene.path("m/shop.yaml")).unwrap();
    scene.write("m/shop.yaml", &whole[..whole.len() / 2 + 20]);
    let fault = eventually("the fault is shown", || {
        let version = node.version();
        version["faults"][0].as_str().map(str::to_owned).ok_or_else(|| version.to_string())
    });
    assert!(fault.contains("shop.yaml"), "{fault}");
    assert!(node.speaker(&["version"]).out.contains("\nfault "));
    assert_eq!(router.received(), ["203.0.113.0/24", "203.0.113.0/32"]);
    scene.write("m/shop.yaml", &whole.replace("Local", "Cluster"));
    router.receives(&["203.0.113.0/24"]);
    eventually("the fault is gone", || {
        let version = node.version();
        if version["faults"] == json!([]) { Ok(()) } else { Err(version.to_string()) }
    });
    // A Service in two files counts once, and goes with the second.
    scene.write("m/zzz.yaml", &whole);
    eventually("the second place is a fault", || {
        let version = node.version();
        let fault = version["faults"][0].as_str().unwrap_or_default();
        if fault.contains("zzz.yaml") && fault.contains("that one counts") {
            Ok(())
        } else {
            Err(version.to_string())
        }
    });
    scene.remove("m/shop.yaml");
    router.receives(&["203.0.113.0/24", "203.0.113.0/32"]);
    scene.remove("m/zzz.yaml");
    router.receives(&["203.0.113.0/24"]);
    scene.remove("m/api.yaml");
    router.receives(&[]);
    assert_eq!(node.json(&["services"]), json!([]));
    assert_eq!(node.peer("tor")["establishedCount"], 1);
}

#[test]
fn lists_and_json_are_read() {
    let pair = pair();
    let item = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        })
    };
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [item("a"), item("b")]});
    pair.scene.write("m/list.json", &list.to_string());
    has(&pair.node, "a", &["203.0.113.0"]);
    has(&pair.node, "b", &["203.0.113.1"]);
    let list = json!({"apiVersion": "v1", "kind": "ServiceList", "items": [
        {"metadata": {"name": "c", "namespace": "shop"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
    ]});
    pair.scene.write("m/list.json", &list.to_string());
    has(&pair.node, "c", &["203.0.113.2"]);
    assert_eq!(find(&pair.node, "a"), Value::Null);
}

#[test]
fn addresses_stay_over_restarts_and_without_a_state_they_are_given_out_anew() {
    let Pair { scene, node, router, .. } = pair();
    scene.write("m/a.yaml", &service("a", ""));
    has(&node, "a", &["203.0.113.0"]);
    scene.write("m/b.yaml", &(service("b", LOCAL) + &endpoint("b", "n1", true)));
    has(&node, "b", &["203.0.113.1"]);
    // Without `a`, `b` would get its address if it were allocated anew.
    scene.remove("m/a.yaml");
    router.receives(&["203.0.113.0/24", "203.0.113.1/32"]);
    assert!(node.terminate().success());
    router.receives(&[]);
    let node = Daemon::start_again(&scene, "node");
    has(&node, "b", &["203.0.113.1"]);
    router.receives(&["203.0.113.0/24", "203.0.113.1/32"]);
    node.kill();
    let node = Daemon::start_again(&scene, "node");
    has(&node, "b", &["203.0.113.1"]);
    router.receives(&["203.0.113.0/24", "203.0.113.1/32"]);
    // A freed address is the last to be reused.
    scene.write("m/c.yaml", &service("c", ""));
    has(&node, "c", &["203.0.113.2"]);
    node.kill();
    std::fs::remove_dir_all(scene.path("state")).unwrap();
    let node = Daemon::start_again(&scene, "node");
    // Both in the order of their names now, and announced all the same.
    has(&node, "b", &["203.0.113.0"]);
    has(&node, "c", &["203.0.113.1"]);
    router.receives(&["203.0.113.0/24", "203.0.113.0/32"]);
}

#[test]
fn requests_sharing_and_both_families() {
    let pair = Pair::with("", "", FABRIC, |scene| {
        let both = pool("public", "203.0.113.0/24") + "    - cidr: \"2001:db8:1::/112\"\n";
        scene.write("m/pool.yaml", &both);
    });
    let (scene, node, router) = (&pair.scene, &pair.node, &pair.router);
    let dual = "ipFamilyPolicy: RequireDualStack\n  ipFamilies: [IPv4, IPv6]";
    scene.write("m/dual.yaml", &service("dual", dual));
    has(node, "dual", &["203.0.113.0", "2001:db8:1::"]);
    router.receives(&["203.0.113.0/24", "2001:db8:1::/112"]);
    assert_eq!(router.route("2001:db8:1::/112")["nextHop"], "2001:db8:ffff::2");
    let with = |name: &str, annotations: &str, port: u16| {
        service(name, &format!("{LOCAL}\n  selector: {{app: shared}}"))
            .replace("port: 80", &format!("port: {port}"))
            .replace("namespace: shop", &format!("namespace: shop, annotations: {{{annotations}}}"))
    };
    scene.write("m/asked.yaml", &with("asked", "lbipam.cilium.io/ips: \"203.0.113.77\"", 80));
    has(node, "asked", &["203.0.113.77"]);
    scene.write("m/late.yaml", &with("late", "lbipam.cilium.io/ips: \"203.0.113.77\"", 80));
    let late = refused(node, "late", "already_allocated");
    assert_eq!(late["ingress"], json!([]));
    let shown = node.speaker(&["services"]).out;
    assert!(shown.contains("<pending>") && shown.contains("no: already_allocated"), "{shown}");
    scene.remove("m/late.yaml");

    // Two share an address: its route goes with the last of them.
    let key = "lbipam.cilium.io/sharing-key: k, lbipam.cilium.io/ips: \"203.0.113.50\"";
    scene.write("m/s1.yaml", &(with("s1", key, 80) + &endpoint("s1", "n1", true)));
    scene.write("m/s2.yaml", &(with("s2", key, 443) + &endpoint("s2", "n1", true)));
    has(node, "s1", &["203.0.113.50"]);
    has(node, "s2", &["203.0.113.50"]);
    router.receives(&["203.0.113.0/24", "203.0.113.50/32", "2001:db8:1::/112"]);
    let row = node.json(&["rib", "advertised", "203.0.113.50"]);
    assert_eq!(row[0]["sources"].as_array().unwrap().len(), 2, "{row}");
    scene.remove("m/s1.yaml");
    eventually("one of them is left", || {
        let row = node.json(&["rib", "advertised", "203.0.113.50"]);
        if row[0]["sources"].as_array().map(Vec::len) == Some(1) { Ok(()) } else { Err(row.to_string()) }
    });
    assert_eq!(router.received(), ["203.0.113.0/24", "203.0.113.50/32", "2001:db8:1::/112"]);
    scene.remove("m/s2.yaml");
    router.receives(&["203.0.113.0/24", "2001:db8:1::/112"]);
}

#[test]
fn a_pool_in_conflict_announces_nothing_and_one_deleted_takes_its_addresses_along() {
    let pair = pair();
    let (scene, node, router) = (&pair.scene, &pair.node, &pair.router);
    scene.write("m/web.yaml", &service("web", ""));
    router.receives(&["203.0.113.0/24"]);
    scene.write("m/rival.yaml", &pool("rival", "203.0.113.128/25"));
    let conflict = eventually("the conflict is seen", || {
        let pools = node.json(&["pools"]);
        let rival = pools.as_array().unwrap().iter().find(|pool| pool["name"] == "rival").cloned();
        let rival = rival.unwrap_or_default();
        let condition = &rival["conditions"][0];
        if condition["type"] == "cilium.io/PoolConflict" && condition["status"] == "True" {
            Ok(rival)
        } else {
            Err(pools.to_string())
        }
    });
    assert_eq!(conflict["routes"][0]["announced"], false, "{conflict}");
    let explained = node.speaker(&["explain", "rival"]);
    assert_eq!(explained.code, 4);
    assert!(explained.out.contains("HELD conflict"), "{explained:?}");
    assert_eq!(router.received(), ["203.0.113.0/24"], "the older pool is not disturbed");
    scene.remove("m/rival.yaml");
    scene.remove("m/pool.yaml");
    router.receives(&[]);
    has(node, "web", &[]);
    scene.write("m/pool.yaml", &pool("other", "198.51.100.0/24"));
    has(node, "web", &["198.51.100.0"]);
    router.receives(&["198.51.100.0/24"]);
}

#[test]
fn a_folder_that_is_missing_is_waited_for_and_a_broken_pool_is_explained() {
    let scene = Scene::new();
    std::fs::remove_dir(scene.path("m")).unwrap();
    let daemon = scene.start("node", &node(1, "", FABRIC));
    let version = daemon.version();
    assert_eq!(version["waitingFor"], json!(["manifests"]), "{version}");
    assert!(daemon.speaker(&["version"]).out.contains("silent  until these have delivered: manifests"));
    std::fs::create_dir(scene.path("m")).unwrap();
    scene.write("m/pool.yaml", &pool("public", "203.0.113.0/240"));
    eventually("the folder is read", || {
        let version = daemon.version();
        if version["waitingFor"] == json!([]) { Ok(()) } else { Err(version.to_string()) }
    });
    let explained = daemon.speaker(&["explain", "public"]);
    assert_eq!(explained.code, 4);
    assert!(explained.out.contains("203.0.113.0/240"), "{explained:?}");
}

#[test]
fn a_file_broken_at_start_keeps_its_services_addresses() {
    let Pair { scene, node, router, .. } = pair();
    scene.write("m/a.yaml", &(service("a", LOCAL) + &endpoint("a", "n1", true)));
    has(&node, "a", &["203.0.113.0"]);
    scene.write("m/b.yaml", &service("b", ""));
    has(&node, "b", &["203.0.113.1"]);
    assert!(node.terminate().success());
    let whole = std::fs::read_to_string(scene.path("m/a.yaml")).unwrap();
    scene.write("m/a.yaml", "{");
    scene.remove("m/b.yaml");
    let node = Daemon::start_again(&scene, "node");
    scene.write("m/c.yaml", &service("c", ""));
    // Neither may be given away while it is not known who is gone.
    has(&node, "c", &["203.0.113.2"]);
    scene.write("m/a.yaml", &whole);
    has(&node, "a", &["203.0.113.0"]);
    router.receives(&["203.0.113.0/24", "203.0.113.0/32"]);
    // Now everything can be read: b is gone.
    node.logged("Released 203.0.113.1: the Service is deleted");
}

#[test]
fn a_pools_conditions_are_kept_with_its_manifest() {
    let Pair { scene, node, .. } = pair();
    let says = |node: &Daemon, kind: &str, message: &str| {
        eventually(&format!("the pool says {kind} {message}"), || {
            let pools = node.json(&["pools"]);
            let conditions = pools[0]["conditions"].as_array().cloned().unwrap_or_default();
            let found = conditions.iter().find(|condition| condition["type"] == kind);
            if found.is_some_and(|found| found["message"] == message) {
                Ok(())
            } else {
                Err(pools.to_string())
            }
        });
    };
    scene.write("m/a.yaml", &service("a", ""));
    says(&node, "cilium.io/IPsUsed", "1");
    assert!(node.terminate().success());
    let journal = std::fs::read_to_string(scene.path("state/state.journal")).unwrap();
    let line = journal.lines().rfind(|line| line.contains("{\"pool\":")).unwrap_or_default();
    assert!(line.contains("cilium.io/IPsAvailable"), "{journal}");
    let node = Daemon::start_again(&scene, "node");
    says(&node, "cilium.io/IPsUsed", "1");
}
