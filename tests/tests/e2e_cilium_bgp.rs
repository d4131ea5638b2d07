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
use tests::cluster::Backend;
use tests::e2e::manifests::{pool, service};
use tests::e2e::table::rows;
use tests::e2e::{AGENT_ACCOUNT, NAMESPACE, OPERATOR_ACCOUNT, SOON, Turn, pod_v4, turn};
use tests::wait::{always, eventually};

/// The timers of sessions that are to come up, and go down, within a test.
const QUICK: &str = "timers: {connectRetryTimeSeconds: 1, holdTimeSeconds: 9, keepAliveTimeSeconds: 3}";
const FAMILIES: &str = "families:
    - {afi: ipv4, safi: unicast, advertisements: {matchLabels: {advertise: bgp}}}
    - {afi: ipv6, safi: unicast, advertisements: {matchLabels: {advertise: bgp}}}";

const KINDS: [&str; 5] = [
    "ciliumbgpclusterconfigs",
    "ciliumbgpnodeconfigoverrides",
    "ciliumbgppeerconfigs",
    "ciliumbgpadvertisements",
    "ciliumbgpnodeconfigs",
];

/// Two nodes whose agents have no peer but those of Cilium's kinds.
fn world() -> Turn {
    let world = turn(2);
    for kind in KINDS {
        world.cluster.kubectl(&["delete", "--all", kind]);
    }
    configure(&world, "");
    eventually(SOON, "no session is left", || {
        let left: Vec<Value> = world.members.iter().map(|one| one.agent().json(&["peers"])).collect();
        if left.iter().all(|peers| peers == &json!([])) { Ok(()) } else { Err(format!("{left:?}")) }
    });
    world
}

/// Gives the agents a speaker.yaml without peers.
fn configure(world: &Turn, more: &str) {
    for (member, n) in world.members.iter().zip(1..) {
        let config = format!(
            "node: {{name: n{n}}}\nsources: {{kubernetes: {{enabled: true}}}}\napi: {{socket: api.sock}}\n{more}"
        );
        member.agent().write_config(&config);
    }
}

fn cluster_config(name: &str, rack: &str, asn: u32) -> String {
    format!(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {{name: {name}}}
spec:
  nodeSelector: {{matchLabels: {{rack: {rack}}}}}
  bgpInstances:
    - name: main
      localASN: {asn}
      peers: [{{name: tor, peerAddress: 10.0.0.254, peerASN: 64500, peerConfigRef: {{name: tor}}}}]
---"
    )
}

fn peer_config(spec: &[&str]) -> String {
    let spec = spec.join("\n  ");
    format!(
        "\napiVersion: cilium.io/v2\nkind: CiliumBGPPeerConfig\nmetadata: {{name: tor}}\nspec:\n  {spec}\n---"
    )
}

const ADVERTISEMENT: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: services, labels: {advertise: bgp}}
spec:
  advertisements:
    - advertisementType: Service
      service: {addresses: [LoadBalancerIP]}
      selector: {matchExpressions: [{key: nothing, operator: NotIn, values: [at-all]}]}
      attributes: {communities: {standard: ['64501:7']}}
---";

/// A pool, a Service with an address of it, and who announces it.
fn serve(world: &Turn, cidr: &str) {
    world.cluster.apply(&pool("pool", &format!("{{cidr: {cidr}}}")));
    world.cluster.apply(&service("web").yaml());
    world.cluster.set_endpoints("default", "web", 8080, &[Backend::new(&pod_v4(1, 5).to_string(), "n1")]);
    world.wait_any_ingress("web");
}

fn label(world: &Turn, node: &str, rack: &str) {
    world.cluster.kubectl(&["label", "node", node, &format!("rack={rack}"), "--overwrite"]);
}

fn node_config(world: &Turn, node: &str) -> Value {
    world.get(&format!("/apis/cilium.io/v2/ciliumbgpnodeconfigs/{node}"))
}

/// The only peer in the status of a node's CiliumBGPNodeConfig.
fn peer_status(world: &Turn, node: &str) -> Value {
    node_config(world, node)["status"]["bgpInstances"][0]["peers"][0].clone()
}

#[track_caller]
fn wait_peer(world: &Turn, node: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, &format!("the status of {node}: {what}"), || {
        let peer = peer_status(world, node);
        if holds(&peer) { Ok(peer) } else { Err(node_config(world, node).to_string()) }
    })
}

/// Waits until a condition has a status, and gives its message.
#[track_caller]
fn wait_condition(world: &Turn, object: &str, kind: &str, status: &str) -> String {
    eventually(SOON, &format!("{object} has {kind}={status}"), || {
        let (plural, name) = object.split_once('/').unwrap();
        let object = world.get(&format!("/apis/cilium.io/v2/{plural}/{name}"));
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|one| one["type"] == format!("cilium.io/{kind}"));
        match found {
            Some(one) if one["status"] == status => {
                Ok(one["message"].as_str().unwrap_or_default().to_owned())
            }
            _ => Err(object.to_string()),
        }
    })
}

/// FRR's view of its session with a node.
fn neighbor(world: &Turn, n: u8) -> Value {
    let address = format!("10.0.0.{n}");
    let text = world.tor.vtysh(&[&format!("show bgp neighbors {address} json")]);
    serde_json::from_str::<Value>(&text).unwrap_or_default()[address].clone()
}

#[track_caller]
fn wait_neighbor(world: &Turn, n: u8, what: &str, holds: impl Fn(&Value) -> bool) {
    eventually(SOON, &format!("FRR's session with n{n}: {what}"), || {
        let now = neighbor(world, n);
        if holds(&now) { Ok(()) } else { Err(now.to_string()) }
    });
}

fn established(neighbor: &Value) -> bool {
    neighbor["bgpState"] == "Established"
}

/// A neighbor that FRR has by its address, until this is dropped; the others come by their prefix.
struct Neighbor<'a> {
    world: &'a Turn,
    n: u8,
}

impl<'a> Neighbor<'a> {
    /// `lines`: what is said of it beside its AS, after its address.
    fn new(world: &'a Turn, n: u8, asn: u32, lines: &[&str]) -> Self {
        let address = format!("neighbor 10.0.0.{n}");
        let mut commands = vec!["configure terminal".to_owned(), "router bgp 64500".to_owned()];
        commands.push(format!("{address} remote-as {asn}"));
        commands.extend(lines.iter().map(|line| format!("{address} {line}")));
        commands.push("address-family ipv4 unicast".to_owned());
        commands.push(format!("{address} activate"));
        world.tor.vtysh(&commands.iter().map(String::as_str).collect::<Vec<_>>());
        Self { world, n }
    }
}

impl Drop for Neighbor<'_> {
    fn drop(&mut self) {
        let gone = format!("no neighbor 10.0.0.{}", self.n);
        self.world.tor.vtysh(&["configure terminal", "router bgp 64500", &gone]);
    }
}

/// Writes of an account to a kind since a place in the log: verb, resource and name.
fn writes(world: &Turn, since: usize, account: &str, resource: &str) -> Vec<(String, String, String)> {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let audit = world.cluster.audit();
    let ours = audit.iter().skip(since).filter(|one| one.user == user && one.resource.starts_with(resource));
    let ours = ours.filter(|one| !["get", "list", "watch"].contains(&one.verb.as_str()));
    ours.map(|one| (one.verb.clone(), one.resource.clone(), one.name.clone())).collect()
}

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

/// What is told of Services by their kind; PodCIDRs, and the addresses of an interface.
const KINDS_OF_ADDRESSES: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: services, labels: {advertise: bgp}}
spec:
  advertisements:
    - advertisementType: Service
      service: {addresses: [LoadBalancerIP]}
      selector: {matchLabels: {kind: plain}}
      attributes: {communities: {standard: ['64501:1'], wellKnown: [no-export]}, localPreference: 150}
    - advertisementType: Service
      service: {addresses: [LoadBalancerIP]}
      selector: {matchLabels: {io.kubernetes.service.name: plain}}
      attributes: {communities: {standard: ['64501:2'], large: ['64501:1:2']}, localPreference: 300}
    - advertisementType: Service
      service: {addresses: [ExternalIP, ClusterIP]}
      selector: {matchLabels: {kind: inner}}
    - advertisementType: Service
      service: {addresses: [LoadBalancerIP], aggregationLengthIPv4: 28, aggregationLengthIPv6: 120}
      selector: {matchLabels: {kind: many}}
    - advertisementType: PodCIDR
    - advertisementType: Interface
      interface: {name: lo}
---";

/// Endpoints of a Service, a node each.
fn endpoints(world: &Turn, name: &str, nodes: &[u8]) {
    let all: Vec<Backend> =
        nodes.iter().map(|n| Backend::new(&pod_v4(*n, 5).to_string(), &format!("n{n}"))).collect();
    world.cluster.set_endpoints("default", name, 8080, &all);
}

/// A Service with such a label for each row of what Cilium announces.
fn serve_all_kinds(world: &Turn) {
    let local = "externalTrafficPolicy: Local";
    let of = |name: &str, kind: &str| service(name).labels(&format!("{{kind: {kind}}}"));
    let asks = |last: u8| format!("{{lbipam.cilium.io/ips: 10.78.0.{last}}}");
    // Whoever asks for nothing is served from the first block.
    let blocks = "{cidr: 10.78.1.0/24}, {cidr: 10.78.0.0/24}, {cidr: '2001:db8:78::/112'}";
    world.cluster.apply(&pool("pool", blocks));
    let all = [
        of("plain", "plain").annotations(&asks(1)),
        of("plain-local", "plain").annotations(&asks(2)).spec(local),
        of("inner", "inner").spec("externalIPs: [192.0.2.5, 203.0.113.5]"),
        of("inner-local", "inner")
            .spec("externalIPs: [192.0.2.6]")
            .spec(local)
            .spec("internalTrafficPolicy: Local"),
        of("many", "many").annotations(&asks(33)),
        of("many-more", "many").annotations(&asks(34)),
        of("many-local", "many").annotations(&asks(35)).spec(local),
        of("many-dual", "many").spec("ipFamilyPolicy: RequireDualStack"),
        // As Cilium makes it of a Gateway, with what spec.infrastructure says; its endpoint stands for every node.
        of("cilium-gateway-web", "plain").annotations(&asks(77)).spec(local),
        of("foreign", "plain").spec("loadBalancerClass: io.cilium/l2-announcer"),
        of("unselected", "other").annotations(&asks(99)),
    ];
    world.cluster.apply(&all.map(|one| one.yaml()).concat());
    for (name, node) in [("plain-local", 2), ("inner-local", 1), ("many-local", 2), ("inner", 2)] {
        endpoints(world, name, &[node]);
    }
    world.cluster.apply(ENVOY);
    let foreign = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.78.0.66"}]}}});
    world.cluster.rest().patch("/api/v1/namespaces/default/services/foreign/status", &foreign);
}

const ENVOY: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: cilium-gateway-web
  namespace: default
  labels: {kubernetes.io/service-name: cilium-gateway-web}
addressType: IPv4
ports: [{port: 9999}]
endpoints: [{addresses: [192.192.192.192]}]
";

/// What the router has of it, and from whom.
fn wait_all_kinds(world: &Turn) {
    let cluster_ip = |name: &str| {
        let service = world.service(name);
        format!("{}/32", service["spec"]["clusterIP"].as_str().unwrap())
    };
    let (both, first, second): (&[&str], &[&str], &[&str]) = (&["n1", "n2"], &["n1"], &["n2"]);
    for (prefix, nodes) in [
        // Cluster: everywhere, with an endpoint or without; Local: where there is one.
        ("10.78.0.1/32", both),
        ("10.78.0.2/32", second),
        ("192.0.2.5/32", both),
        ("192.0.2.6/32", first),
        (&cluster_ip("inner"), both),
        (&cluster_ip("inner-local"), first),
        // An aggregate in place of what it stands for, except under Local.
        ("10.78.0.32/28", both),
        ("10.78.0.35/32", second),
        ("2001:db8:78::/120", both),
        ("10.78.0.77/32", both),
        ("10.244.1.0/24", first),
        ("10.244.2.0/24", second),
        ("198.51.100.1/32", first),
    ] {
        world.wait_holders(prefix, nodes);
    }
    // What an aggregate stands for, another class, another label, what no list lets out, and a host's own.
    for prefix in
        ["10.78.0.33/32", "10.78.0.34/32", "10.78.0.66/32", "10.78.0.99/32", "203.0.113.5/32", "127.0.0.1/32"]
    {
        assert_eq!(world.holders(prefix).len(), 0, "{prefix}");
    }
    // Two entries mean one prefix: the communities of both. Local preference is not for a peer outside.
    let route = world.tor.vtysh(&["show bgp ipv4 unicast 10.78.0.1/32"]);
    for words in ["64501:1", "64501:2", "no-export", "64501:1:2"] {
        assert!(route.contains(words), "{words}: {route}");
    }
    assert!(!route.contains("localpref"), "{route}");
}

#[test]
fn services_are_announced_by_kind_of_address_policy_and_length() {
    let world = world();
    configure(&world, "ciliumBGP: {export: [{prefix: 192.0.2.0/24, le: 32}]}\n");
    label(&world, "n2", "r1");
    let node = &world.members[0].node;
    node.address("lo", "198.51.100.1/32");
    serve_all_kinds(&world);
    world.cluster.apply(KINDS_OF_ADDRESSES);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    wait_all_kinds(&world);

    // The last local endpoint starts to end: its node withdraws at once, and another one takes over.
    let mut ending = Backend::new(&pod_v4(2, 5).to_string(), "n2");
    (ending.ready, ending.terminating) = (false, true);
    world.cluster.set_endpoints("default", "plain-local", 8080, &[ending]);
    world.wait_holders("10.78.0.2/32", &[]);
    endpoints(&world, "plain-local", &[1]);
    world.wait_holders("10.78.0.2/32", &["n1"]);
    // The aggregate lasts as long as one of those it stands for.
    world.cluster.kubectl(&["delete", "service", "many"]);
    always(Duration::from_secs(1), "the aggregate stays", || {
        let now = world.holders("10.78.0.32/28");
        if now.iter().eq(&["n1", "n2"]) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    world.cluster.kubectl(&["delete", "service", "many-more"]);
    world.wait_holders("10.78.0.32/28", &[]);
    node.ip(&["address", "del", "198.51.100.1/32", "dev", "lo"]);
    world.wait_holders("198.51.100.1/32", &[]);
    label(&world, "n2", "r2");
}

/// A peer behind the default route, of either family; the route moves, and the session with it.
#[test]
fn a_peer_is_found_behind_the_default_route() {
    let world = world();
    serve(&world, "10.79.0.0/24");
    world.cluster.apply(ADVERTISEMENT);
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    let discover = |family: &str| {
        let config = cluster_config("fabric", "r1", 64501);
        let found =
            format!("autoDiscovery: {{mode: DefaultGateway, defaultGateway: {{addressFamily: {family}}}}}");
        // Of whatever AS it says that it is.
        let config = config.replace("peerASN: 64500", "peerASN: 0");
        world.cluster.apply(&config.replace("peerAddress: 10.0.0.254", &found));
    };
    discover("ipv4");
    world.wait_holders("10.79.0.0/32", &["n1"]);
    let peer = wait_peer(&world, "n1", "established", |peer| peer["peeringState"] == "established");
    assert_eq!((&peer["peerAddress"], &peer["peerASN"]), (&json!("10.0.0.254"), &json!(64500)));
    let node = &world.members[0].node;
    node.ip(&["route", "replace", "default", "via", "10.0.0.77"]);
    wait_peer(&world, "n1", "it follows the route", |peer| peer["peerAddress"] == "10.0.0.77");
    world.wait_holders("10.79.0.0/32", &[]);
    node.ip(&["route", "replace", "default", "via", "10.0.0.254"]);
    world.wait_holders("10.79.0.0/32", &["n1"]);
    discover("ipv6");
    wait_peer(&world, "n1", "the gateway of the other family", |peer| peer["peerAddress"] == "fd00::254");
}

/// The operator with another speaker.yaml, until this is dropped.
struct Configured<'a>(&'a Turn);

impl<'a> Configured<'a> {
    fn new(world: &'a Turn, more: &str) -> Self {
        world.operator.restart_with(&format!("{}{more}", world.plan.operator));
        Self(world)
    }
}

impl Drop for Configured<'_> {
    fn drop(&mut self) {
        self.0.operator.restart_with(self.0.plan.operator);
    }
}

#[test]
fn router_ids_come_from_a_pool_and_stay() {
    const POOL: &str = "ciliumBGP: {routerIdPool: 10.98.0.0/30}\n";
    let world = world();
    let _operator = Configured::new(&world, POOL);
    configure(&world, POOL);
    let identifier = |n: u8, id: &str| {
        wait_neighbor(&world, n, &format!("established with the identifier {id}"), |seen| {
            established(seen) && seen["remoteRouterId"] == id
        });
        let spec = node_config(&world, &format!("n{n}"))["spec"]["bgpInstances"][0].clone();
        assert_eq!(spec["routerID"], id);
    };
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    label(&world, "n1", "elsewhere");
    label(&world, "n2", "r1");
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    identifier(2, "10.98.0.0");
    // A node before it in every order comes later, and takes the next.
    label(&world, "n1", "r1");
    identifier(1, "10.98.0.1");
    // The identifier is what is written down: another leader gives no other.
    let up = wait_peer(&world, "n2", "established", |peer| peer["establishedTime"].is_string());
    let since = up["establishedTime"].clone();
    world.operator.process().kill();
    world.operator.start_again();
    let overriding = |id: &str| {
        let text = format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumBGPNodeConfigOverride, metadata: {{name: n1}}, \
             spec: {{bgpInstances: [{{name: main, routerID: {id}}}]}}}}"
        );
        world.cluster.apply(&text);
    };
    // One of somebody else is refused, in words; one that is free is given, and so is one from elsewhere.
    overriding("10.98.0.0");
    eventually(SOON * 2, "the operator refuses it", || {
        let object = world.get("/apis/cilium.io/v2/ciliumbgpclusterconfigs/fabric");
        let text = object["status"]["conditions"].to_string();
        let words = "routerID 10.98.0.0 belongs to instance main of node n2";
        if text.contains(words) { Ok(()) } else { Err(text) }
    });
    overriding("10.98.0.3");
    identifier(1, "10.98.0.3");
    overriding("192.0.2.7");
    identifier(1, "192.0.2.7");
    assert_eq!(peer_status(&world, "n2")["establishedTime"], since, "n2 has lost its session over it");
    world.cluster.kubectl(&["delete", "ciliumbgpnodeconfigoverride", "n1"]);
    label(&world, "n2", "r2");
}

/// Restarted without an API server, an agent whose peers and advertisements come from Cilium's kinds announces what was
/// announced last, what comes from files among it; the first lists replace it.
#[test]
fn what_ciliums_kinds_announced_is_kept_over_a_restart_without_the_api_server() {
    const FROM_FILES: &str = "10.77.1.7/32";
    let world = world();
    label(&world, "n2", "r2");
    serve(&world, "10.77.0.0/24");
    world.cluster.apply(ADVERTISEMENT);
    let restarting = "gracefulRestart: {enabled: true, restartTimeSeconds: 12}";
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES, restarting]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    let member = &world.members[0];
    let config = "node: {name: n1}\nsources: {manifests: [manifests], kubernetes: {enabled: true}}\napi: {socket: \
                  api.sock}\n";
    let restart = || {
        let mut agent = member.agent();
        agent.process().kill();
        agent.start_again();
    };
    // From a folder beside the API server, Cilium's kinds among it.
    let advertisement =
        ADVERTISEMENT.replace("name: services", "name: files").replace("LoadBalancerIP", "ExternalIP");
    let files = pool("files", "{cidr: 10.77.1.0/24}")
        + &service("files").spec("externalIPs: [10.77.1.7]").yaml()
        + &advertisement;
    member.agent().write_manifest("files.yaml", &files);
    member.agent().write_config(config);
    restart();
    let all = ["10.77.0.0/32", FROM_FILES];
    for prefix in all {
        world.wait_holders(prefix, &["n1"]);
    }
    let kept = member.agent().dir().join("state/announced.json");
    eventually(SOON, "both are kept", || {
        let text = std::fs::read_to_string(&kept).map_err(|error| error.to_string())?;
        if all.iter().all(|prefix| text.contains(prefix)) { Ok(()) } else { Err(text) }
    });
    // The router tells apart what it keeps of a peer that is gone, and what it is told again.
    let stale = |stale: bool, what: &str| {
        eventually(SOON, what, || {
            for prefix in all {
                let text = world.tor.vtysh(&[&format!("show bgp ipv4 unicast {prefix}")]);
                assert_eq!(world.holders(prefix).len(), 1, "the router has lost {prefix}");
                if text.contains("stale") != stale {
                    return Err(text);
                }
            }
            Ok(())
        });
    };
    world.cluster.api_server().kill();
    member.agent().process().kill();
    stale(true, "the router keeps what it had");
    member.agent().start_again();
    stale(false, "the agent announces what was kept");
    let version = member.agent().json(&["version"]);
    assert!(version["kept"].as_str().is_some_and(|text| text.contains("from the set kept at")), "{version}");
    assert!(established(&neighbor(&world, 1)));
    let attributes = world.tor.vtysh(&["show bgp ipv4 unicast 10.77.0.0/32"]);
    assert!(attributes.contains("64501:7"), "{attributes}");
    world.cluster.start_api_server();
    eventually(SOON * 2, "the first lists have replaced the set", || {
        let version = member.agent().json(&["version"]);
        for prefix in all {
            assert_eq!(world.holders(prefix).len(), 1, "the router has lost {prefix}");
        }
        if version["kept"].is_null() { Ok(()) } else { Err(version.to_string()) }
    });
    // Everything is believed again, what is removed too.
    member.agent().remove_manifest("files.yaml");
    world.wait_holders(FROM_FILES, &[]);
    world.cluster.kubectl(&["delete", "ciliumbgpadvertisement", "services"]);
    world.wait_holders("10.77.0.0/32", &[]);
}

#[test]
fn beside_ciliums_own_control_plane_nothing_is_written() {
    let world = world();
    let config = "
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config, namespace: kube-system}
data: {enable-bgp-control-plane: 'true'}
";
    world.cluster.apply(config);
    world.operator.process().kill();
    let before = world.cluster.audit().len();
    world.operator.start_again();
    serve(&world, "10.74.0.0/24");
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    // It leads, as its other work shows.
    world.cluster.apply(&service("later").yaml());
    world.wait_any_ingress("later");
    always(Duration::from_secs(2), "no CiliumBGPNodeConfig is written", || {
        let object = node_config(&world, "n1");
        if object.is_null() { Ok(()) } else { Err(object.to_string()) }
    });
    let told = writes(&world, before, OPERATOR_ACCOUNT, "ciliumbgp");
    assert!(told.is_empty(), "{told:?}");
    // Cilium's is switched off, and on again, while ours leads.
    world.cluster.kubectl(&["delete", "configmap", "-n", "kube-system", "cilium-config"]);
    wait_agents(&world, "is off: its BGP kinds are read");
    wait_peer(&world, "n1", "written once it is off", |peer| peer["peeringState"] == "established");
    world.cluster.apply(config);
    eventually(SOON, "the operator sees that it is on", || {
        let log = world.operator.process().log();
        if log.contains("its BGP kinds are left alone") { Ok(()) } else { Err(log) }
    });
    // Two speakers must not have the same session: the agents give theirs up.
    wait_agents(&world, "is on: its BGP kinds are left alone");
    eventually(SOON, "the session is closed", || {
        let peers = world.members[0].agent().json(&["peers"]);
        if peers == json!([]) { Ok(()) } else { Err(peers.to_string()) }
    });
    wait_neighbor(&world, 1, "the router has none either", |neighbor| !established(neighbor));
    let before = world.cluster.audit().len();
    label(&world, "n2", "r1");
    world.cluster.kubectl(&["delete", "ciliumbgpclusterconfig", "fabric"]);
    always(Duration::from_secs(2), "nothing is written and nothing deleted", || {
        let told = writes(&world, before, OPERATOR_ACCOUNT, "ciliumbgp");
        if told.is_empty() { Ok(()) } else { Err(format!("{told:?}")) }
    });
    label(&world, "n2", "r2");
    world.cluster.kubectl(&["delete", "configmap", "-n", "kube-system", "cilium-config"]);
    eventually(SOON, "what nobody selects is deleted once it is off", || {
        let object = node_config(&world, "n1");
        if object.is_null() { Ok(()) } else { Err(object.to_string()) }
    });
    wait_agents(&world, "is off: its BGP kinds are read");
}

/// Waits until the last that the agents have said of Cilium's control plane is this.
fn wait_agents(world: &Turn, what: &str) {
    const OF: &str = "Cilium's own BGP control plane ";
    eventually(Duration::from_secs(60), &format!("the agents say that it {what}"), || {
        for member in &world.members {
            let log = member.agent().process().log();
            let last = log.rsplit_once(OF).map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            if !last.starts_with(what) {
                return Err(log);
            }
        }
        Ok(())
    });
}
