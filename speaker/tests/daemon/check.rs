//! `speaker check`.

use crate::harness::{FABRIC, LOCAL, Scene, endpoint, node, pool, service};

#[test]
fn a_sound_configuration_passes() {
    let scene = Scene::new();
    scene.write("m/pool.yaml", &pool("public", "203.0.113.0/24"));
    scene.write("m/web.yaml", &(service("web", LOCAL) + &endpoint("web", "n1", true)));
    scene.write("node.yaml", &node(1790, "", FABRIC));
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.ends_with("node.yaml: 0 error(s), 1 warning(s)\n"), "{ran:?}");
    assert!(ran.out.contains("127.0.0.2 is a loopback address"), "{ran:?}");
}

#[test]
fn every_error_is_said_at_once_with_its_place() {
    let scene = Scene::new();
    let text = node(1790, ", timers: {hold: 2s}, adress: 10.0.0.1", FABRIC);
    scene.write("node.yaml", &text);
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("node.yaml:8:"), "{ran:?}");
    assert!(ran.out.contains("peers[0].timers.hold: a hold time of 2 s is not acceptable"), "{ran:?}");
    assert!(ran.out.contains("did you mean address?"), "{ran:?}");
    assert!(ran.out.contains("2 error(s)"), "{ran:?}");
    let ran = scene.run(&["run", "--config", "node.yaml"]);
    assert_eq!(ran.code, 1, "the daemon refuses it too");
    assert!(ran.err.contains("peers[0].timers.hold"), "{ran:?}");
    let ran = scene.run(&["check", "--config", "missing.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("cannot read missing.yaml"), "{ran:?}");
    assert_eq!(scene.run(&["check"]).code, 2);
}

#[test]
fn what_the_manifests_come_to_is_judged_as_in_the_daemon() {
    let scene = Scene::new();
    scene.write("m/a.yaml", &(pool("public", "203.0.113.0/24") + &pool("rival", "203.0.113.128/25")));
    scene.write("m/b.yaml", &pool("public", "198.51.100.0/24"));
    scene.write(
        "m/c.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: http}]}\n",
    );
    scene.write("m/d.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
    scene.write("m/e.yaml", &service("lonely", "loadBalancerClass: example.com/other"));
    scene.write("m/.hidden.yaml", "{");
    scene.write("m/notes.txt", "{");
    scene.write("node.yaml", &node(1790, "", FABRIC));
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let line = |text: &str| {
        ran.out
            .lines()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("{text:?} is not in\n{}", ran.out))
    };
    assert!(line("CiliumLoadBalancerIPPool public stands in").contains("m/b.yaml:"));
    assert!(line("m/c.yaml:").contains("Service default/x: spec.ports[0].port"));
    assert!(line("ConfigMap").starts_with("warning: "));
    assert!(line("pool rival: ").starts_with("./m/a.yaml:"), "{ran:?}");
    // The one that says when it was made is older than one that is seen for the first time, as in the daemon.
    let dated = pool("rival", "203.0.113.128/25")
        .replace("name: rival", "name: rival, creationTimestamp: 2026-01-01T00:00:00Z");
    assert!(dated.contains("creationTimestamp"), "{dated}");
    scene.write("m/a.yaml", &(pool("public", "203.0.113.0/24") + &dated));
    let judged = scene.run(&["check", "--config", "node.yaml"]);
    assert!(judged.out.contains("pool public: ") && !judged.out.contains("pool rival: "), "{judged:?}");
    assert!(!ran.out.contains("hidden") && !ran.out.contains("notes"), "{ran:?}");
    scene.write("m/e.yaml", &service("lonely", "loadBalancerIP: 192.0.2.200"));
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert!(ran.out.contains("warning: ./m/e.yaml:2: Service shop/lonely: "), "{ran:?}");
}

#[test]
fn a_dangerous_prefix_is_named_by_its_line_and_key() {
    let scene = Scene::new();
    scene.write("m/node.yaml", "{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.0.2.7}]}}\n");
    let advertisements = "advertisements:
  - {name: fine, prefixes: [203.0.113.0/24]}
  - name: fixed
    prefixes:
      - 198.51.100.0/24
      - 169.254.0.0/16
      - 192.0.2.0/24
";
    let text = node(1790, "", advertisements);
    scene.write("node.yaml", &text);
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for (prefix, key, why) in [
        ("169.254.0.0/16", "advertisements[1].prefixes[1]", "link-local"),
        ("192.0.2.0/24", "advertisements[1].prefixes[2]", "the address of node n2"),
    ] {
        let line = 1 + text.lines().position(|line| line.contains(prefix)).unwrap();
        let start = format!("node.yaml:{line}:9: warning: {key}: ");
        let found = ran.out.lines().find(|line| line.starts_with(&start));
        assert!(found.is_some_and(|line| line.contains(why)), "{start} is not in\n{}", ran.out);
    }
    assert!(ran.out.ends_with("3 warning(s)\n"), "those two and the loopback next hop: {}", ran.out);
}

#[test]
fn the_host_is_looked_at_when_asked() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("routerId: 10.255.0.2, listen: [\"{}\"]", taken.local_addr().unwrap());
    scene.write("file", "");
    let text = node(1790, ", passwordFile: missing.key", FABRIC)
        .replace("routerId: 10.255.0.2", &listen)
        .replace("stateDir: state", "stateDir: file/state");
    scene.write("node.yaml", &text);
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 0, "what depends on the host is not asked: {ran:?}");
    let ran = scene.run(&["check", "--config", "node.yaml", "--node"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let line = |text: &str| {
        ran.out
            .lines()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("{text:?} is not in\n{}", ran.out))
    };
    assert!(line("router.listen").starts_with("warning: "), "{ran:?}");
    assert!(line("ipam.stateDir").contains("a file is in the way"), "{ran:?}");
    assert!(line("missing.key").starts_with("peer tor: cannot read passwordFile"), "{ran:?}");
}

#[test]
fn a_folder_that_is_not_there_yet_is_a_warning_as_for_the_daemon() {
    let scene = Scene::new();
    std::fs::remove_dir(scene.path("m")).unwrap();
    scene.write("node.yaml", &node(1790, "", FABRIC));
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = ran.out.lines().find(|line| line.contains("is not there")).unwrap_or_default();
    assert_eq!(
        line,
        "warning: sources.manifests: ./m is not there; the daemon waits 30 s for it, then starts without it"
    );
    // Something else is in the way: an error, since waiting does not help.
    scene.write("file", "");
    scene.edit("node.yaml", "[m]", "[file/m]");
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}
