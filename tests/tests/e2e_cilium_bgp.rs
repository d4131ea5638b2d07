//! Cilium's BGP kinds as their users meet them: applied with kubectl to a real API server, written down for each
//! node by our operator, spoken by our agents with FRR, and told of in the objects' status. Both run under the roles
//! that we ship.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::e2e::cilium::{
    ADVERTISEMENT, FAMILIES, Neighbor, QUICK, cluster_config, established, label, neighbor, node_config,
    peer_config, peer_status, serve, wait_condition, wait_neighbor, wait_peer, world, writes,
};
use tests::e2e::manifests::service;
use tests::e2e::table::rows;
use tests::e2e::{AGENT_ACCOUNT, NAMESPACE, OPERATOR_ACCOUNT, SOON};
use tests::wait::{always, eventually};

const V2: &str = include_str!("../src/e2e/walkthroughs/v2.yaml");
const V2ALPHA1: &str = include_str!("../src/e2e/walkthroughs/v2alpha1.yaml");

#[test]
fn manifests_of_every_form_are_taken_as_they_stand() {
    let world = world();
    for text in [V2, V2ALPHA1] {
        let dry = ["apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"];
        world.cluster.try_kubectl(&dry, text).unwrap();
        world.cluster.apply(text);
        let again = world.cluster.try_kubectl(&["apply", "-f", "-"], text).unwrap();
        // The reference's group and kind exist in v2alpha1 alone: the next write of a status, in v2, drops them.
        let same =
            |line: &str| line.ends_with(" unchanged") || line.contains("clusterconfig.cilium.io/old-bgp");
        assert!(again.lines().all(same), "{again}");
    }
    // What was written in one version is read in the other.
    let old = world.get("/apis/cilium.io/v2/ciliumbgpclusterconfigs/old-bgp");
    assert_eq!(old["spec"]["bgpInstances"][0]["peers"][0]["peerConfigRef"]["name"], "old-peer");
    for (short, names) in [
        ("cbgpcluster", &["cilium-bgp", "old-bgp"] as &[&str]),
        ("cbgppeer", &["cilium-peer", "old-peer"]),
        ("cbgpadvert", &["bgp-advertisements", "old-advertisements"]),
        ("cbgpnodeoverride", &["bgpv2-cplane-dev-worker", "old-worker"]),
        ("ippools", &["mixed", "old-pool", "range"]),
        ("l2announcement", &["policy", "policy-of-some"]),
    ] {
        let table = rows(&world.cluster.kubectl(&["get", short]));
        let seen: Vec<&str> = table.iter().map(|row| row["NAME"].as_str()).collect();
        assert_eq!(seen, names, "kubectl get {short}");
    }
    // The objects say what is not as their author meant it.
    wait_condition(&world, "ciliumbgpclusterconfigs/cilium-bgp", "NoMatchingNode", "True");
    wait_condition(&world, "ciliumbgpclusterconfigs/cilium-bgp", "MissingPeerConfigs", "False");
    let message = wait_condition(&world, "ciliumbgppeerconfigs/cilium-peer", "MissingAuthSecret", "True");
    assert_eq!(message, "Referenced Auth Secret \"bgp-auth-secret\" is missing");
    wait_condition(&world, "ciliumbgppeerconfigs/old-peer", "MissingAuthSecret", "False");
    let all = world.cluster.kubectl(&["get", "ciliumbgp"]);
    assert!(all.contains("ciliumbgpclusterconfig.cilium.io/cilium-bgp"), "the category: {all}");
    world.cluster.kubectl(&["delete", "ciliuml2announcementpolicies", "--all"]);
}

#[test]
fn what_ciliums_definitions_refuse_is_refused() {
    let world = world();
    let advertisement = |entry: &str| {
        format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumBGPAdvertisement, metadata: {{name: bad}}, \
             spec: {{advertisements: [{entry}]}}}}"
        )
    };
    let peer = |spec: &str| {
        format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumBGPPeerConfig, metadata: {{name: bad}}, spec: {{{spec}}}}}"
        )
    };
    let cluster = |instances: &str| {
        format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumBGPClusterConfig, metadata: {{name: bad}}, \
             spec: {{bgpInstances: [{instances}]}}}}"
        )
    };
    let cases = [
        (advertisement("{advertisementType: Service}"), "service"),
        (advertisement("{advertisementType: PodCIDR, service: {addresses: [ClusterIP]}}"), "service"),
        (advertisement("{advertisementType: PodCIDR, selector: {}}"), "selector"),
        (advertisement("{advertisementType: Interface}"), "interface"),
        (advertisement("{advertisementType: Service, service: {addresses: []}}"), "addresses"),
        (advertisement("{advertisementType: Service, service: {addresses: [NodeIP]}}"), "addresses"),
        (
            advertisement(
                "{advertisementType: Service, service: {addresses: [ClusterIP], aggregationLengthIPv4: 32}}",
            ),
            "aggregationLengthIPv4",
        ),
        (
            advertisement("{advertisementType: PodCIDR, attributes: {communities: {standard: [x]}}}"),
            "standard",
        ),
        (
            advertisement("{advertisementType: PodCIDR, attributes: {communities: {wellKnown: [x]}}}"),
            "wellKnown",
        ),
        // The default of keepAliveTimeSeconds, 30, comes before the rule.
        (peer("timers: {holdTimeSeconds: 9}"), "keepAliveTimeSeconds"),
        (peer("timers: {holdTimeSeconds: 2, keepAliveTimeSeconds: 1}"), "holdTimeSeconds"),
        (peer("ebgpMultihop: 256"), "ebgpMultihop"),
        (peer("gracefulRestart: {restartTimeSeconds: 10}"), "enabled"),
        (peer("families: [{afi: ipv4}]"), "safi"),
        (peer("families: [{afi: ipx, safi: unicast}]"), "afi"),
        (cluster(""), "bgpInstances"),
        (cluster("{name: a, localASN: 0}"), "localASN"),
        (cluster("{name: a, localASN: 4294967296}"), "localASN"),
        (cluster("{name: a}, {name: a}"), "Duplicate"),
        (cluster("{name: a, peers: [{name: p, peerAddress: tor.example}]}"), "peerAddress"),
    ];
    for (text, field) in cases {
        let refused = world.cluster.try_kubectl(&["apply", "-f", "-"], &text);
        let error = refused.expect_err(&text);
        assert!(error.contains(field) && error.contains("invalid"), "{text}: {error}");
    }
}

#[test]
fn a_session_made_of_ciliums_kinds_carries_a_route_and_its_state_is_told() {
    let world = world();
    let before = world.cluster.audit().len();
    label(&world, "n2", "r2");
    serve(&world, "10.70.0.0/24");
    world.cluster.apply(ADVERTISEMENT);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    world.wait_holders("10.70.0.0/32", &["n1"]);

    let object = node_config(&world, "n1");
    let owner = &object["metadata"]["ownerReferences"][0];
    let cluster = world.get("/apis/cilium.io/v2/ciliumbgpclusterconfigs/fabric");
    assert_eq!(owner["uid"], cluster["metadata"]["uid"]);
    assert_eq!((&owner["kind"], &owner["controller"]), (&json!("CiliumBGPClusterConfig"), &json!(true)));
    assert_eq!(node_config(&world, "n2"), Value::Null);

    let counts = |peer: &Value, advertised: i64| {
        // FRR may send our own routes back, which count as received.
        let four =
            |one: &&Value| one["afi"] == "ipv4" && one["safi"] == "unicast" && one["received"].is_u64();
        let found = peer["routeCount"].as_array().and_then(|all| all.iter().find(four));
        found.is_some_and(|one| one["advertised"] == advertised)
    };
    let peer = wait_peer(&world, "n1", "an established session with one route", |peer| {
        peer["peeringState"] == "established" && counts(peer, 1)
    });
    assert_eq!((&peer["name"], &peer["peerAddress"]), (&json!("tor"), &json!("10.0.0.254")));
    assert_eq!(peer["peerASN"], 64500);
    assert_eq!(peer["timers"], json!({"appliedHoldTimeSeconds": 9, "appliedKeepaliveSeconds": 3}));
    let since: &str = peer["establishedTime"].as_str().unwrap();
    assert!(since.starts_with("20") && since.ends_with('Z'), "{since}");
    assert_eq!(node_config(&world, "n1")["status"]["bgpInstances"][0]["localASN"], 64501);
    wait_condition(&world, "ciliumbgpnodeconfigs/n1", "BGPReconcileError", "False");
    let printed = world.cluster.kubectl(&["get", "ciliumbgpnodeconfigs", "-o", "yaml"]);
    for word in ["peeringState: established", "advertised: 1", "establishedTime:"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    for kind in ["NoMatchingNode", "MissingPeerConfigs", "ConflictingClusterConfig"] {
        wait_condition(&world, "ciliumbgpclusterconfigs/fabric", kind, "False");
    }

    // A second route is counted, a session that stays up keeps its time.
    world.cluster.apply(&service("more").yaml());
    let peer = wait_peer(&world, "n1", "two routes", |peer| counts(peer, 2));
    assert_eq!(peer["establishedTime"], since);

    // Nothing is written twice for one change.
    let node_configs = writes(&world, before, OPERATOR_ACCOUNT, "ciliumbgpnodeconfigs");
    assert_eq!(node_configs.len(), 1, "{node_configs:?}");
    let conditions = writes(&world, before, OPERATOR_ACCOUNT, "ciliumbgpclusterconfigs");
    assert!((1..=2).contains(&conditions.len()), "{conditions:?}");

    // A node is selected, and is so no more.
    label(&world, "n2", "r1");
    world.wait_holders("10.70.0.0/32", &["n1", "n2"]);
    wait_peer(&world, "n2", "an established session", |peer| peer["peeringState"] == "established");
    label(&world, "n1", "elsewhere");
    world.wait_holders("10.70.0.0/32", &["n2"]);
    eventually(SOON, "the CiliumBGPNodeConfig of n1 is deleted", || {
        let object = node_config(&world, "n1");
        if object.is_null() { Ok(()) } else { Err(object.to_string()) }
    });
    world.cluster.kubectl(&["delete", "ciliumbgpclusterconfig", "fabric"]);
    world.wait_holders("10.70.0.0/32", &[]);
    eventually(SOON, "the CiliumBGPNodeConfig of n2 is deleted", || {
        let object = node_config(&world, "n2");
        if object.is_null() { Ok(()) } else { Err(object.to_string()) }
    });
    label(&world, "n1", "r1");
    label(&world, "n2", "r2");
}

#[test]
fn an_override_is_honoured_and_its_end_too() {
    let world = world();
    let _neighbor = Neighbor::new(&world, 2, 64511, &[]);
    serve(&world, "10.71.0.0/24");
    world.cluster.apply(ADVERTISEMENT);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("fabric", "r2", 64501));
    wait_peer(&world, "n2", "no session with the wrong AS", |peer| {
        peer["peeringState"].is_string() && peer["peeringState"] != "established"
    });
    world.cluster.apply(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfigOverride
metadata: {name: n2}
spec:
  bgpInstances:
    - name: main
      routerID: 10.99.0.2
      localASN: 64511
      localPort: 1790
      peers: [{name: tor, localAddress: 10.0.0.2}]
",
    );
    wait_neighbor(&world, 2, "established with the AS and the identifier of the override", |seen| {
        established(seen) && seen["remoteRouterId"] == "10.99.0.2" && seen["remoteAs"] == 64511
    });
    world.wait_holders("10.71.0.0/32", &["n2"]);
    let spec = node_config(&world, "n2")["spec"]["bgpInstances"][0].clone();
    assert_eq!((&spec["localASN"], &spec["routerID"]), (&json!(64511), &json!("10.99.0.2")));
    assert_eq!(spec["peers"][0]["localAddress"], "10.0.0.2");
    let listens = |listens: bool| {
        eventually(SOON, &format!("port 1790 is listened on: {listens}"), || {
            let sockets = world.members[1].node.exec(&["ss", "-Hltn"]);
            if sockets.contains(":1790 ") == listens { Ok(()) } else { Err(sockets) }
        });
    };
    listens(true);
    // One that cannot be read changes nothing; the schema keeps most of those out.
    world.cluster.kubectl(&["delete", "ciliumbgpnodeconfigoverride", "n2"]);
    wait_neighbor(&world, 2, "down without the override", |seen| !established(seen));
    listens(false);
    assert_eq!(node_config(&world, "n2")["spec"]["bgpInstances"][0]["localASN"], 64501);
}

#[test]
fn md5_by_a_secret_and_none_without_it() {
    let world = world();
    let _neighbor = Neighbor::new(&world, 1, 64501, &["password s3cret"]);
    serve(&world, "10.72.0.0/24");
    world.cluster.apply(ADVERTISEMENT);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES, "authSecretRef: bgp-auth"]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    let message = wait_condition(&world, "ciliumbgppeerconfigs/tor", "MissingAuthSecret", "True");
    assert_eq!(message, "Referenced Auth Secret \"bgp-auth\" is missing");
    let told = wait_condition(&world, "ciliumbgpnodeconfigs/n1", "BGPReconcileError", "True");
    assert!(told.contains("main: peer tor: Secret speaker-system/bgp-auth is missing"), "{told}");
    eventually(SOON, "an Event tells of it", || {
        let events = world.cluster.kubectl(&["get", "events", "-n", "default"]);
        let words = ["Warning", "MissingAuthSecret", "ciliumbgppeerconfig/tor"];
        let told = |line: &str| words.iter().all(|word| line.contains(word));
        if events.lines().any(told) { Ok(()) } else { Err(events) }
    });
    always(Duration::from_secs(2), "without its key there is no session", || {
        let now = neighbor(&world, 1);
        if established(&now) { Err(now.to_string()) } else { Ok(()) }
    });

    let secret = |password: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: bgp-auth, namespace: {NAMESPACE}}}\nstringData: {{password: {password}}}\n"
        );
        world.cluster.apply(&text);
    };
    secret("s3cret");
    wait_neighbor(&world, 1, "established with the key", established);
    wait_condition(&world, "ciliumbgppeerconfigs/tor", "MissingAuthSecret", "False");
    wait_condition(&world, "ciliumbgpnodeconfigs/n1", "BGPReconcileError", "False");
    world.wait_holders("10.72.0.0/32", &["n1"]);
    secret("another");
    wait_neighbor(&world, 1, "down with another key", |seen| !established(seen));
    secret("s3cret");
    wait_neighbor(&world, 1, "established again", established);

    // The operator knows that it is there and never what is in it: its requests are for metadata.
    world.cluster.kubectl(&["delete", "secret", "-n", NAMESPACE, "bgp-auth"]);
    wait_condition(&world, "ciliumbgppeerconfigs/tor", "MissingAuthSecret", "True");
    wait_neighbor(&world, 1, "down without the key", |seen| !established(seen));
}

#[test]
fn a_peer_config_is_changed_live() {
    let world = world();
    serve(&world, "10.73.0.0/24");
    world.cluster.apply(ADVERTISEMENT);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    world.wait_holders("10.73.0.0/32", &["n1"]);
    let since = wait_peer(&world, "n1", "established", |peer| peer["establishedTime"].is_string());

    // Policy alone: the route goes, the session stays.
    world
        .cluster
        .apply(&peer_config(&[QUICK, "families: [{afi: ipv4, safi: unicast}, {afi: ipv6, safi: unicast}]"]));
    world.wait_holders("10.73.0.0/32", &[]);
    wait_neighbor(&world, 1, "it stays", established);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.wait_holders("10.73.0.0/32", &["n1"]);
    assert_eq!(peer_status(&world, "n1")["establishedTime"], since["establishedTime"]);

    // Graceful restart is a capability: it takes a new session.
    let restarting = "gracefulRestart: {enabled: true, restartTimeSeconds: 77}";
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES, restarting]));
    // In words: what this FRR prints about restarts as JSON is not always that.
    eventually(SOON, "FRR's session has the restart time", || {
        let text = world.tor.vtysh(&["show bgp neighbors 10.0.0.1"]);
        let all = ["BGP state = Established", "Received Restart Time(sec): 77"];
        if all.iter().all(|words| text.contains(words)) { Ok(()) } else { Err(text) }
    });
    world.wait_holders("10.73.0.0/32", &["n1"]);

    // An attribute of the routes.
    let other = ADVERTISEMENT.replace("64501:7", "64501:8");
    world.cluster.apply(&other);
    eventually(SOON, "the route has the new community", || {
        let text = world.tor.vtysh(&["show bgp ipv4 unicast 10.73.0.0/32"]);
        if text.contains("64501:8") && !text.contains("64501:7") { Ok(()) } else { Err(text) }
    });

    // Without the object there is no session, and the cluster's says which one is missing.
    world.cluster.kubectl(&["delete", "ciliumbgppeerconfig", "tor"]);
    wait_neighbor(&world, 1, "ended", |seen| !established(seen));
    let message = wait_condition(&world, "ciliumbgpclusterconfigs/fabric", "MissingPeerConfigs", "True");
    assert_eq!(message, "Referenced CiliumBGPPeerConfig(s) are missing: [tor]");
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.wait_holders("10.73.0.0/32", &["n1"]);
    wait_condition(&world, "ciliumbgpclusterconfigs/fabric", "MissingPeerConfigs", "False");
}

#[test]
fn a_node_has_one_owner_and_what_is_not_ours_stays() {
    let world = world();
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("first", "r1", 64501));
    wait_peer(&world, "n1", "established", |peer| peer["peeringState"] == "established");
    world.cluster.apply(&cluster_config("second", "r1", 64502));
    let message =
        wait_condition(&world, "ciliumbgpclusterconfigs/second", "ConflictingClusterConfig", "True");
    assert_eq!(message, "Selecting the same node(s) with ClusterConfig(s): [first]");
    assert!(established(&neighbor(&world, 1)));

    // Somebody writes one by hand: the agent obeys it, the operator leaves it alone.
    world.cluster.apply(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata: {name: n2}
spec:
  bgpInstances:
    - name: own
      localASN: 64501
      routerID: 10.99.0.22
      peers: [{name: tor, peerAddress: 10.0.0.254, peerASN: 64500, peerConfigRef: {name: tor}}]
",
    );
    wait_neighbor(&world, 2, "as the object of a person says", |seen| {
        established(seen) && seen["remoteRouterId"] == "10.99.0.22"
    });
    world.cluster.apply(&cluster_config("third", "r2", 64501));
    let message = wait_condition(&world, "ciliumbgpclusterconfigs/third", "ConflictingClusterConfig", "True");
    assert!(message.contains("CiliumBGPNodeConfig/n2"), "{message}");
    world.cluster.kubectl(&["delete", "ciliumbgpclusterconfig", "third"]);
    always(Duration::from_secs(2), "it stays", || {
        let spec = node_config(&world, "n2")["spec"]["bgpInstances"][0]["name"].clone();
        if spec == "own" { Ok(()) } else { Err(spec.to_string()) }
    });
    wait_peer(&world, "n2", "told of like any other", |peer| peer["peeringState"] == "established");
}

#[test]
fn what_flaps_does_not_load_the_api_server() {
    let world = world();
    serve(&world, "10.75.0.0/24");
    world.cluster.apply(ADVERTISEMENT);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    let advertised = |peer: &Value| peer["routeCount"][0]["advertised"].as_i64();
    wait_peer(&world, "n1", "one route", |peer| advertised(peer) == Some(1));
    let (before, start) = (world.cluster.audit().len(), Instant::now());
    let mut changes = 0;
    while start.elapsed() < Duration::from_secs(15) {
        changes += 1;
        let label = if changes % 2 == 0 { "bgp" } else { "no" };
        let patch = json!({"metadata": {"labels": {"advertise": label}}});
        world.cluster.rest().patch("/apis/cilium.io/v2/ciliumbgpadvertisements/services", &patch);
        let there = changes % 2 == 0;
        world.wait_holders("10.75.0.0/32", if there { &["n1"] } else { &[] });
    }
    assert!(changes > 20, "{changes} changes are too few to tell");
    world.cluster.apply(ADVERTISEMENT);
    wait_peer(&world, "n1", "the last word", |peer| advertised(peer) == Some(1));
    let written = writes(&world, before, AGENT_ACCOUNT, "ciliumbgpnodeconfigs/status").len();
    let most = 5 + start.elapsed().as_secs() / 10 + 1;
    assert!((1..=most).contains(&(written as u64)), "{written} writes, {most} are the most");
}
