//! A host that has Cilium's BGP manifests in its folder and no peer in `speaker.yaml`.

use crate::harness::{Daemon, Scene, endpoint, eventually, pool, router, router_peer, service};

const NODE: &str = "node: {name: n1}
sources: {manifests: [m]}
ipam: {stateDir: state}
api: {socket: node.sock}
";

/// The kinds, with the router on this port; `version` and `reference` as the manifest's age has them.
fn fabric(port: u16, version: &str, reference: &str, peer_config: &str) -> String {
    format!(
        "
apiVersion: cilium.io/{version}
kind: CiliumBGPClusterConfig
metadata: {{name: fabric}}
spec:
  nodeSelector: {{matchLabels: {{rack: r1}}}}
  bgpInstances:
    - name: main
      localASN: 64501
      peers:
        - {{name: tor, peerAddress: 127.0.0.1, peerASN: 64500, peerConfigRef: {{{reference}name: tor}}}}
---
apiVersion: cilium.io/{version}
kind: CiliumBGPPeerConfig
metadata: {{name: tor}}
spec:
  transport: {{peerPort: {port}}}
  timers: {{connectRetryTimeSeconds: 1, holdTimeSeconds: 9, keepAliveTimeSeconds: 3}}
  families:
    - {{afi: ipv4, safi: unicast, advertisements: {{matchLabels: {{advertise: bgp}}}}}}
{peer_config}
---
apiVersion: cilium.io/{version}
kind: CiliumBGPNodeConfigOverride
metadata: {{name: n1}}
spec:
  bgpInstances:
    - {{name: main, routerID: 10.255.0.9, peers: [{{name: tor, localAddress: 127.0.0.2}}]}}
---
{{apiVersion: v1, kind: Node, metadata: {{name: n1, labels: {{rack: r1}}}}}}
"
    )
}

fn advertisement(service: &str, more: &str) -> String {
    format!(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {{name: services, labels: {{advertise: bgp}}}}
spec:
  advertisements:
    - advertisementType: Service
      service: {{{service}}}
      selector: {{matchExpressions: [{{key: somekey, operator: NotIn, values: [never-used-value]}}]}}
      {more}
"
    )
}

/// A router, and a node that has the objects in its folder.
fn pair(version: &str, reference: &str, settings: &str, peer_config: &str) -> (Scene, Daemon, Daemon) {
    let scene = Scene::new();
    scene.write("key", "swordfish\n");
    let router = scene.start("router", &router(&router_peer(settings)));
    scene.write("m/fabric.yaml", &fabric(router.port(), version, reference, peer_config));
    scene.write("m/pool.yaml", &pool("public", "203.0.113.0/24"));
    let node = scene.start("node", NODE);
    (scene, router, node)
}

#[test]
fn the_manifests_alone_bring_up_a_session_and_announce() {
    let (scene, router, node) = pair("v2", "", "", "");
    node.up("main/tor");
    router.up("node");
    let peer = node.peer("main/tor");
    assert_eq!((&peer["group"], &peer["holdTime"]), (&"CiliumBGPPeerConfig tor".into(), &9.into()), "{peer}");
    assert_eq!(router.peer("node")["routerId"], "10.255.0.9");
    scene.write("m/web.yaml", &service("web", ""));
    // Without an advertisement a family tells nothing, and neither does the pool.
    eventually("the Service has its address", || {
        let services = node.json(&["services"]);
        if services[0]["ingress"][0] == "203.0.113.0" { Ok(()) } else { Err(services.to_string()) }
    });
    assert_eq!(router.received(), [] as [&str; 0]);
    let attributes = "attributes: {communities: {standard: [\"64501:100\"], wellKnown: [no-export], large: [\"64501:1:2\"]}}";
    scene.write("m/advertisement.yaml", &advertisement("addresses: [LoadBalancerIP]", attributes));
    router.receives(&["203.0.113.0/32"]);
    let route = router.route("203.0.113.0/32");
    assert_eq!(route["communities"], serde_json::json!(["64501:100", "no-export"]), "{route}");
    let explained = node.speaker(&["explain", "shop/web"]);
    assert!(explained.out.contains("CiliumBGPAdvertisement services"), "{explained:?}");
    // Aggregated, and exact again where the policy is Local.
    let aggregated = "addresses: [LoadBalancerIP], aggregationLengthIPv4: 28";
    scene.write("m/advertisement.yaml", &advertisement(aggregated, ""));
    router.receives(&["203.0.113.0/28"]);
    let local = service("web", "externalTrafficPolicy: Local") + &endpoint("web", "n1", true);
    scene.write("m/web.yaml", &local);
    router.receives(&["203.0.113.0/32"]);
    scene.write("m/web.yaml", &local.replace("n1", "n2"));
    router.receives(&[]);
    scene.write("m/web.yaml", &service("web", ""));
    router.receives(&["203.0.113.0/28"]);
    scene.remove("m/web.yaml");
    router.receives(&[]);
    // Nobody selects the node any more: the instance goes.
    scene.edit("m/fabric.yaml", "labels: {rack: r1}", "labels: {rack: r2}");
    node.peer_is("main/tor", "is gone", serde_json::Value::is_null);
    router.peer_is("node", "is down", |view| view["state"] != "Established");
}

#[test]
fn older_manifests_name_the_kind_that_they_refer_to() {
    let (scene, router, node) = pair("v2alpha1", "group: cilium.io, kind: CiliumBGPPeerConfig, ", "", "");
    scene.write("m/advertisement.yaml", &advertisement("addresses: [LoadBalancerIP]", ""));
    scene.write("m/web.yaml", &service("web", ""));
    node.up("main/tor");
    router.receives(&["203.0.113.0/32"]);
}

#[test]
fn a_key_from_a_secret_is_needed_for_the_session() {
    let (scene, router, node) = pair("v2", "", ", passwordFile: key", "  authSecretRef: tor-key");
    let refused = node.peer_is("main/tor", "is refused", |view| {
        view["lastError"]["text"].as_str().is_some_and(|text| text.contains("kube-system/tor-key"))
    });
    assert_eq!(refused["state"], "Idle");
    assert!(node.speaker(&["version"]).out.contains("tor-key"), "the fault is shown");
    let secret = |key: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: tor-key, namespace: kube-system}}, stringData: {{password: {key}}}}}\n"
        )
    };
    scene.write("m/secret.yaml", &secret("swordfish"));
    node.up("main/tor");
    router.up("node");
    assert_eq!(node.peer("main/tor")["md5"], true);
    assert!(!node.log().contains("swordfish"));
    // Another key, and the session is reset; without one it ends.
    scene.remove("m/secret.yaml");
    node.peer_is("main/tor", "is down", |view| view["state"] == "Idle");
    scene.write("m/secret.yaml", &secret("swordfish"));
    node.up("main/tor");
}

#[test]
fn a_peer_that_is_missing_something_is_told_of() {
    let (scene, router, node) = pair("v2", "", "", "");
    node.up("main/tor");
    // The same address twice: the later one has no session, and the first keeps its own.
    scene.edit(
        "m/fabric.yaml",
        "        - {name: tor,",
        "        - {name: zzz, peerAddress: 127.0.0.1, peerASN: 64500, peerConfigRef: {name: nowhere}}
        - {name: tor,",
    );
    eventually("the missing CiliumBGPPeerConfig is shown", || {
        let version = node.speaker(&["version"]).out;
        if version.contains("main: peer zzz: CiliumBGPPeerConfig nowhere is missing") {
            Ok(())
        } else {
            Err(version)
        }
    });
    scene.edit("m/fabric.yaml", "name: nowhere", "name: tor");
    node.peer_is("main/tor", "is refused", |view| {
        view["lastError"]["text"].as_str().is_some_and(|text| text.contains("main/zzz has the same address"))
    });
    scene.edit(
        "m/fabric.yaml",
        "- {name: zzz, peerAddress: 127.0.0.1,",
        "- {name: zzz, peerAddress: 127.0.0.3,",
    );
    node.up("main/tor");
    router.up("node");
    // The file comes first.
    let file = format!(
        "{NODE}router: {{asn: 64501}}\npeers: [{{name: own, address: 127.0.0.1, port: {}, localAddress: 127.0.0.2, asn: 64500}}]\n",
        router.port()
    );
    scene.write("node.yaml", &file);
    node.up("own");
    let refused = node.peer("main/tor");
    let text = refused["lastError"]["text"].as_str().unwrap_or_default();
    assert!(text.contains("own of speaker.yaml has the same address"), "{refused}");
}

/// `speaker check` reads the same folder.
#[test]
fn check_tells_what_is_missing() {
    let scene = Scene::new();
    scene.write("m/fabric.yaml", &fabric(179, "v2", "", "  authSecretRef: tor-key\n  bfd: {}"));
    scene.write("node.yaml", NODE);
    let ran = scene.run(&["check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = format!("{}{}", ran.out, ran.err);
    assert!(told.contains("main: peer tor: Secret kube-system/tor-key is missing"), "{told}");
    assert!(told.contains("spec.bfd"), "{told}");
}
