//! What is announced by Cilium's BGP kinds, and to whom: each kind of address, peers behind a default route, router IDs
//! from a pool, over a restart without the API server, and beside Cilium's own control plane.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use serde_json::json;
use tests::cluster::Backend;
use tests::e2e::cilium::{
    ADVERTISEMENT, CILIUMS_OWN, FAMILIES, QUICK, cluster_config, configure, established, label, neighbor,
    node_config, peer_config, peer_status, serve, wait_condition, wait_neighbor, wait_peer, world, writes,
};
use tests::e2e::manifests::{pool, service};
use tests::e2e::{OPERATOR_ACCOUNT, SOON, Turn, pod_v4};
use tests::wait::{always, eventually};

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
    let since = peer["establishedTime"].clone();
    // A second default route of a higher metric is nobody's while the first one stands.
    node.ip(&["route", "add", "default", "via", "10.0.0.77", "metric", "50"]);
    node.ip(&["route", "del", "default", "via", "10.0.0.254"]);
    wait_peer(&world, "n1", "it follows the route", |peer| peer["peerAddress"] == "10.0.0.77");
    world.wait_holders("10.79.0.0/32", &[]);
    node.ip(&["route", "add", "default", "via", "10.0.0.254", "metric", "10"]);
    world.wait_holders("10.79.0.0/32", &["n1"]);
    let again =
        wait_peer(&world, "n1", "the lower metric counts", |peer| peer["establishedTime"].is_string());
    assert!(again["peerAddress"] == "10.0.0.254" && again["establishedTime"] != since, "{again}");
    node.ip(&["route", "del", "default", "via", "10.0.0.77"]);
    // The other family, over a session of its own: FRR takes whoever comes from the segment.
    world.tor.vtysh(&[
        "configure terminal",
        "router bgp 64500",
        "bgp listen range fd00::/64 peer-group nodes",
    ]);
    discover("ipv6");
    let peer = wait_peer(&world, "n1", "the gateway of the other family", |peer| {
        peer["peerAddress"] == "fd00::254" && peer["peeringState"] == "established"
    });
    assert_eq!(peer["peerASN"], 64500);
    eventually(SOON, "FRR has the route from the node's IPv6 address", || {
        let text = world.tor.vtysh(&["show bgp ipv4 unicast 10.79.0.0/32"]);
        if text.contains("from fd00::1 ") { Ok(()) } else { Err(text) }
    });
    // A gateway that may be another one on each link is no peer.
    node.ip(&["-6", "route", "replace", "default", "via", "fe80::77", "dev", "eth0"]);
    let told = wait_condition(&world, "ciliumbgpnodeconfigs/n1", "BGPReconcileError", "True");
    assert!(told.contains("the default gateway fe80::77 is link-local; write peerAddress"), "{told}");
    node.ip(&["-6", "route", "replace", "default", "via", "fd00::254", "dev", "eth0"]);
    wait_condition(&world, "ciliumbgpnodeconfigs/n1", "BGPReconcileError", "False");
    wait_peer(&world, "n1", "and back", |peer| peer["peeringState"] == "established");
    discover("ipv4");
    wait_peer(&world, "n1", "the first family again", |peer| peer["peerAddress"] == "10.0.0.254");
    world.tor.vtysh(&[
        "configure terminal",
        "router bgp 64500",
        "no bgp listen range fd00::/64 peer-group nodes",
    ]);
}

/// Cilium's multi-pool IPAM gives a node CIDRs of pools, and writes them into its CiliumNode.
#[test]
fn cidrs_of_pod_ip_pools_are_announced_as_the_nodes_cilium_node_has_them() {
    let world = world();
    label(&world, "n2", "r2");
    world.cluster.apply(CILIUMS_OWN);
    world.cluster.kubectl(&["wait", "--for=condition=Established", "crd/ciliumnodes.cilium.io"]);
    world.cluster.kubectl(&["wait", "--for=condition=Established", "crd/ciliumpodippools.cilium.io"]);
    world.cluster.apply(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: pods, labels: {advertise: bgp}}
spec:
  advertisements:
    - advertisementType: CiliumPodIPPool
      selector: {matchLabels: {tier: public}}
---
{apiVersion: cilium.io/v2alpha1, kind: CiliumPodIPPool, metadata: {name: blue, labels: {tier: public}}, spec: {}}
---
{apiVersion: cilium.io/v2alpha1, kind: CiliumPodIPPool, metadata: {name: red}, spec: {}}
",
    );
    world.cluster.apply(&peer_config(&[QUICK, FAMILIES]));
    world.cluster.apply(&cluster_config("fabric", "r1", 64501));
    // A kind that comes late is asked for every minute, and by whoever starts at once.
    {
        let mut agent = world.members[0].agent();
        agent.process().kill();
        agent.start_again();
    }
    let told = wait_condition(&world, "ciliumbgpnodeconfigs/n1", "BGPReconcileError", "True");
    assert!(told.contains("CiliumNode n1 has no spec.ipam.pools.allocated"), "{told}");
    let node = |allocated: &str| {
        world.cluster.apply(&format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {{name: n1}}, \
             spec: {{ipam: {{pools: {{allocated: [{allocated}]}}}}}}}}"
        ));
    };
    node("{pool: blue, cidrs: [10.20.0.0/27, 'fd00:20::/96']}, {pool: red, cidrs: [10.30.0.0/27]}");
    for prefix in ["10.20.0.0/27", "fd00:20::/96"] {
        world.wait_holders(prefix, &["n1"]);
    }
    wait_condition(&world, "ciliumbgpnodeconfigs/n1", "BGPReconcileError", "False");
    node("{pool: blue, cidrs: [10.20.0.0/27, 10.20.0.64/27]}, {pool: red, cidrs: [10.30.0.0/27]}");
    world.wait_holders("10.20.0.64/27", &["n1"]);
    world.wait_holders("fd00:20::/96", &[]);
    assert_eq!(world.holders("10.30.0.0/27").len(), 0, "red is not selected");
    world.cluster.kubectl(&["label", "ciliumpodippool", "red", "tier=public"]);
    world.wait_holders("10.30.0.0/27", &["n1"]);
    world.cluster.kubectl(&["delete", "ciliumnode", "n1"]);
    world.cluster.kubectl(&["delete", "--all", "ciliumpodippool"]);
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
