//! When a route exists, and for whom: the gates of design §5 as an operator sees them on the other side.

use crate::harness::{Daemon, LOCAL, Pair, Scene, endpoint, eventually, node, pool, router, service};

const POOL: &str = "203.0.113.0/24";
const HOST: &str = "203.0.113.0/32";

fn advertise(pool_prefix: &str, service_routes: &str) -> String {
    format!(
        "advertisements:
  - name: fabric
    poolPrefix: {{{pool_prefix}}}
    serviceRoutes: {{{service_routes}}}
    allow: [203.0.113.0/24]
"
    )
}

#[track_caller]
fn held(daemon: &Daemon, target: &str, text: &str) {
    eventually(&format!("{target} is held: {text}"), || {
        let ran = daemon.speaker(&["explain", target]);
        let found = ran.out.lines().any(|line| line.contains("HELD") && line.contains(text));
        if ran.code == 4 && found { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

#[test]
fn the_pools_gate_opens_and_closes_with_what_it_asks_for() {
    let pair = Pair::start(&advertise("when: always", "which: none"));
    let (scene, node, router) = (&pair.scene, &pair.node, &pair.router);
    scene.write("m/pool.yaml", &pool("public", POOL));
    router.receives(&[POOL]);
    pair.reconfigure("", &advertise("when: allocated", "which: none"));
    router.receives(&[]);
    held(node, "public", "poolPrefix.when is allocated");
    scene.write("m/web.yaml", &service("web", ""));
    router.receives(&[POOL]);
    pair.reconfigure("", &advertise("when: ready", "which: none"));
    router.receives(&[]);
    held(node, "public", "poolPrefix.when is ready");
    scene.write("m/endpoints.yaml", &endpoint("web", "n9", true));
    router.receives(&[POOL]);
    scene.write("m/endpoints.yaml", &endpoint("web", "n9", false));
    router.receives(&[]);
    scene.write("m/endpoints.yaml", &endpoint("web", "n9", true));
    router.receives(&[POOL]);
    pair.reconfigure("", &advertise("when: never", "which: all, when: allocated"));
    router.receives(&[HOST]);
    held(node, "public", "poolPrefix.when is never");
    assert_eq!(node.peer("tor")["establishedCount"], 1);
}

#[test]
fn a_local_service_is_announced_from_where_its_endpoints_are() {
    let pair = Pair::start(&advertise("when: never", "which: local, when: ready"));
    let (scene, node, router) = (&pair.scene, &pair.node, &pair.router);
    scene.write("m/pool.yaml", &pool("public", POOL));
    scene.write("m/web.yaml", &service("web", LOCAL));
    held(node, "shop/web", "no ready IPv4 endpoint");
    scene.write("m/endpoints.yaml", &endpoint("web", "n2", true));
    held(node, "shop/web", "on node 'n1'");
    scene.write("m/more.yaml", &endpoint("web", "n1", true));
    router.receives(&[HOST]);
    scene.remove("m/more.yaml");
    router.receives(&[]);
    assert_eq!(router.peer("node")["establishedCount"], 1);
}

#[test]
fn fixed_prefixes_are_announced_without_a_pool() {
    let rest = "advertisements: [{name: host, prefixes: [198.51.100.0/24, \"2001:db8:9::/48\"], allow: [198.51.100.0/24]}]\n";
    let pair = Pair::start(rest);
    pair.router.receives(&["198.51.100.0/24", "2001:db8:9::/48"]);
    let row = pair.node.json(&["rib", "local", "198.51.100.0/24"]);
    assert_eq!(row[0]["source"]["kind"], "prefix", "{row}");
    assert_eq!(row[0]["source"]["name"], "host", "{row}");
}

#[test]
fn of_too_many_routes_pools_go_first_and_the_rest_is_held() {
    let rest = advertise("when: allocated", "which: all, when: allocated");
    let pair = Pair::with("", ", maxAdvertised: {ipv4-unicast: 2}", &rest, |scene| {
        scene.write("m/pool.yaml", &pool("public", POOL));
    });
    let (scene, node, router) = (&pair.scene, &pair.node, &pair.router);
    let dated = |name: &str, year: u32| {
        let created = format!("namespace: shop, creationTimestamp: \"{year}-01-01T00:00:00Z\"");
        service(name, "").replace("namespace: shop", &created)
    };
    scene.write("m/web.yaml", &(dated("young", 2025) + &dated("old", 2001) + &dated("middle", 2010)));
    router.receives(&[POOL, HOST]);
    let services = node.json(&["services"]);
    let old = services.as_array().unwrap().iter().find(|service| service["name"] == "old").unwrap();
    assert_eq!(old["ingress"][0], "203.0.113.0", "the oldest was first");
    let peer = node.peer("tor");
    let reasons: Vec<&str> =
        peer["held"].as_array().unwrap().iter().map(|held| held["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 2, "{peer}");
    assert!(reasons.iter().all(|reason| reason.contains("maxAdvertised")), "{reasons:?}");
    let full = node.speaker(&["peers", "tor"]).out;
    assert!(full.contains("held back 203.0.113.1/32: "), "{full}");
    scene.write("m/web.yaml", &(dated("young", 2025) + &dated("middle", 2010)));
    router.receives(&[POOL, "203.0.113.1/32"]);
}

#[test]
fn of_many_held_routes_the_first_are_listed_and_all_are_counted() {
    let prefixes: Vec<String> = (0..25).map(|last| format!("198.51.100.{last}/32")).collect();
    let rest = format!(
        "advertisements: [{{name: hosts, prefixes: [{}], allow: [198.51.100.0/24]}}]\n",
        prefixes.join(", ")
    );
    let pair = Pair::with("", ", export: [{prefix: 198.51.100.0/30, le: 32}]", &rest, |_| ());
    pair.router.receives(&["198.51.100.0/32", "198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32"]);
    let peer = pair.node.peer("tor");
    assert_eq!((peer["held"].as_array().unwrap().len(), &peer["heldCount"]), (20, &21.into()), "{peer}");
    let full = pair.node.speaker(&["peers", "tor"]).out;
    assert!(full.contains("  and 1 more; "), "{full}");
}

#[test]
fn node_selectors_follow_the_labels_of_the_node() {
    let scene = Scene::new();
    let routing = scene.start(
        "router",
        &router("peers:\n  - {name: node, address: 127.0.0.2, asn: 64501, passive: true, receive: all}"),
    );
    let rest =
        advertise("when: always", "which: none") + "    nodeSelector: {matchLabels: {edge: \"true\"}}\n";
    scene.write("m/pool.yaml", &pool("public", POOL));
    let selected = ", nodeSelector: {matchLabels: {rack: r1}}";
    let speaker = scene.start("node", &node(routing.port(), selected, &rest));
    eventually("the node waits for no source", || {
        let version = speaker.version();
        if version["waitingFor"] == serde_json::json!([]) { Ok(()) } else { Err(version.to_string()) }
    });
    assert_eq!(speaker.json(&["peers"]), serde_json::json!([]));
    assert!(speaker.speaker(&["peers"]).out.contains("no peer"), "no peer is selected");
    let labels =
        |labels: &str| format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{{labels}}}}}\n");
    scene.write("m/node.yaml", &labels("rack: r1"));
    speaker.up("tor");
    held(&speaker, "public", "nodeSelector");
    assert_eq!(routing.received(), [""; 0]);
    scene.write("m/node.yaml", &labels("rack: r1, edge: \"true\""));
    routing.receives(&[POOL]);
    scene.write("m/node.yaml", &labels("edge: \"true\""));
    let told = routing.peer_is("node", "is down", |peer| peer["state"] != "Established");
    assert!(told["lastError"]["text"].as_str().unwrap().contains("(6/3)"), "{told}");
    assert_eq!(speaker.speaker(&["peers", "tor"]).code, 3);
}

#[test]
fn dangerous_prefixes_are_refused_unless_allowed() {
    let advertise = |allow: &str| {
        format!("advertisements: [{{name: fabric, poolPrefix: {{when: always}}, allow: [{allow}]}}]\n")
    };
    let pair = Pair::with("", "", &advertise(""), |scene| {
        // The peer's own address lies in it.
        scene.write("m/pool.yaml", &pool("loop", "127.0.0.0/30"));
    });
    held(&pair.node, "loop", "danger");
    assert_eq!(pair.router.received(), [""; 0]);
    pair.reconfigure("", &advertise("127.0.0.0/30"));
    pair.router.receives(&["127.0.0.0/30"]);
}
