//! `speaker operator` alone before a real API server, under exactly the RBAC that its documentation lists: Cilium's
//! walk-through of LB IPAM, a burst, and replicas that are killed and stopped in the middle of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::http::Method;
use serde_json::{Value, json};
use tests::cluster::{Cluster, NodeSpec};
use tests::e2e::Operator;
use tests::e2e::manifests::{pool, service};
use tests::lab::Lab;
use tests::wait::{always, eventually};

const SOON: Duration = Duration::from_secs(60);
/// Cilium's BGP kinds have a suite of their own.
const CONFIG: &str = "nodeIpam: {enabled: true}\noperator: {leaseDuration: 6s}\n\
                      sources: {kubernetes: {enabled: true, ciliumBGP: false}}\n";
const MATCH_NODES: &str = "io.cilium.nodeipam/match-node-labels";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// The verbs that `speaker/docs/operator.md` lists, but for those of Cilium's BGP kinds.
const RBAC: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: speaker-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operator}
rules:
- {apiGroups: [''], resources: [services, nodes], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [servicecidrs], verbs: [list, watch]}
- {apiGroups: [cilium.io], resources: [ciliumloadbalancerippools], verbs: [list, watch]}
- {apiGroups: [''], resources: [services/status], verbs: [patch]}
- {apiGroups: [cilium.io], resources: [ciliumloadbalancerippools/status], verbs: [patch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator, namespace: speaker-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: operator}
subjects:
- {kind: ServiceAccount, name: op-a, namespace: speaker-system}
- {kind: ServiceAccount, name: op-b, namespace: speaker-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator, namespace: speaker-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects:
- {kind: ServiceAccount, name: op-a, namespace: speaker-system}
- {kind: ServiceAccount, name: op-b, namespace: speaker-system}
";

/// What Cilium puts behind the Service of a Gateway.
const DUMMY: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: cilium-gateway-gw
  namespace: default
  labels: {kubernetes.io/service-name: cilium-gateway-gw}
addressType: IPv4
ports: [{port: 9999}]
endpoints: [{addresses: [192.192.192.192]}]
";

/// A control plane with our definitions, and replicas of the operator. The laboratory goes last.
struct World {
    cluster: Cluster,
    lab: Lab,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new();
        let cluster = Cluster::start(&lab);
        cluster.apply(RBAC);
        for name in ["op-a", "op-b"] {
            cluster.kubectl(&["create", "serviceaccount", name, "--namespace", "speaker-system"]);
        }
        Self { cluster, lab }
    }

    fn install(&self) {
        self.cluster.apply_file("deploy/crds");
        self.cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/ciliumloadbalancerippools.cilium.io",
        ]);
    }

    fn replica(&self, name: &str) -> Operator {
        let node = self.lab.node(name);
        let address = self.cluster.join(&self.lab, &node);
        let account: PathBuf = self.cluster.service_account("speaker-system", name);
        Operator::start(&node, address, CONFIG, &account)
    }

    fn get(&self, name: &str) -> Result<Value, String> {
        self.cluster.rest().get(&format!("{SERVICES}/{name}"))
    }

    fn ips(&self, name: &str) -> Vec<String> {
        self.get(name).map(|service| ips(&service)).unwrap_or_default()
    }

    #[track_caller]
    fn wait_ips(&self, name: &str, wanted: &[&str]) {
        eventually(SOON, &format!("{name} has {wanted:?}"), || {
            let service = self.get(name)?;
            if ips(&service) == wanted { Ok(()) } else { Err(service["status"].to_string()) }
        });
    }

    #[track_caller]
    fn wait_reason(&self, name: &str, reason: &str) {
        eventually(SOON, &format!("{name} says {reason}"), || {
            let service = self.get(name)?;
            let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ours = conditions.iter().find(|one| one["type"] == "cilium.io/IPAMRequestSatisfied");
            if ours.is_some_and(|one| one["reason"] == reason) {
                Ok(())
            } else {
                Err(service["status"].to_string())
            }
        });
    }

    /// Writes of Services' statuses that were stored, by object.
    fn writes(&self) -> BTreeMap<String, usize> {
        let mut writes = BTreeMap::new();
        for request in self.cluster.audit() {
            if request.verb == "patch" && request.resource == "services/status" && request.code == 200 {
                *writes.entry(request.name).or_default() += 1;
            }
        }
        writes
    }

    fn burst(&self, prefix: &str, count: usize) {
        let requests = (0..count).map(|n| {
            let object = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("{prefix}-{n}")},
                "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]},
            });
            (SERVICES.to_owned(), object)
        });
        self.cluster.rest().send_all(&Method::POST, requests.collect());
    }

    /// Every Service's addresses.
    fn all(&self) -> BTreeMap<String, Vec<String>> {
        let list = self.cluster.rest().get(SERVICES).unwrap();
        let items = list["items"].as_array().unwrap();
        let load_balancers = items.iter().filter(|item| item["spec"]["type"] == "LoadBalancer");
        load_balancers
            .map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), ips(item)))
            .collect()
    }

    /// Waits until so many Services have an address each, and says how they are; no two have the same.
    #[track_caller]
    fn wait_served(&self, count: usize) -> BTreeMap<String, Vec<String>> {
        eventually(SOON * 3, &format!("{count} Services have addresses"), || {
            let all = self.all();
            let served: Vec<&String> = all.values().flatten().collect();
            let distinct: BTreeSet<&String> = served.iter().copied().collect();
            assert_eq!(distinct.len(), served.len(), "no address twice");
            if served.len() == count { Ok(all) } else { Err(format!("{} of {count}", served.len())) }
        })
    }

    fn leader(&self) -> String {
        let path = "/apis/coordination.k8s.io/v1/namespaces/speaker-system/leases/speaker-operator";
        let lease = self.cluster.rest().get(path).unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn wait_leader(&self, name: &str) {
        eventually(SOON, &format!("{name} leads"), || {
            let leader = self.leader();
            if leader.starts_with(&format!("{name}_")) { Ok(()) } else { Err(leader) }
        });
    }

    fn edit(&self, name: &str, patch: &Value) {
        self.cluster.rest().patch(&format!("{SERVICES}/{name}"), patch);
    }

    fn clear(&self) {
        self.cluster.kubectl(&["delete", "services,ciliumloadbalancerippools", "--all", "--wait=true"]);
    }
}

fn ips(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    ingress.filter_map(|entry| entry["ip"].as_str().map(str::to_owned)).collect()
}

fn addresses_and_columns(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&service("web").yaml());
    cluster.apply(&pool("demo-pool", "{start: 192.0.2.10, stop: 192.0.2.50}"));
    world.wait_ips("web", &["192.0.2.10"]);
    world.wait_reason("web", "satisfied");
    let columns = eventually(SOON, "kubectl prints the pool's counts", || {
        let text = cluster.kubectl(&["get", "ippools"]);
        let rows: Vec<Vec<String>> =
            text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        let row = rows.get(1).cloned().unwrap_or_default();
        if row.get(3).is_some_and(|available| available == "40") { Ok(text) } else { Err(text) }
    });
    let mut lines = columns.lines();
    let head: Vec<&str> =
        lines.next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(head, ["NAME", "DISABLED", "CONFLICTING", "IPS AVAILABLE", "AGE"]);
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["demo-pool", "false", "False", "40"]);
    eventually(SOON, "kubectl describe shows the Event", || {
        let text = cluster.kubectl(&["describe", "service", "web"]);
        if text.contains("IPAllocated") && text.contains("Assigned 192.0.2.10") { Ok(()) } else { Err(text) }
    });
    // The Service of a Gateway, with Cilium's dummy endpoint.
    cluster.apply(&service("cilium-gateway-gw").yaml());
    cluster.apply(DUMMY);
    world.wait_ips("cilium-gateway-gw", &["192.0.2.11"]);
    world.clear();
}

fn requests_and_reasons(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&pool("pool", "{cidr: 203.0.113.0/28}"));
    cluster.apply(&service("named").annotations("{lbipam.cilium.io/ips: 203.0.113.7}").yaml());
    world.wait_ips("named", &["203.0.113.7"]);
    cluster.apply(&service("second").annotations("{io.cilium/lb-ipam-ips: 203.0.113.7}").yaml());
    world.wait_reason("second", "already_allocated");
    cluster.apply(&service("absent").annotations("{lbipam.cilium.io/ips: 9.9.9.9}").yaml());
    world.wait_reason("absent", "no_pool");
    // What others wrote into the status stays.
    let foreign = json!({"status": {"conditions": [{
        "type": "example.com/Other", "status": "True", "reason": "x", "message": "",
        "lastTransitionTime": "2026-01-02T03:04:05Z"}]}});
    let path = format!("{SERVICES}/absent/status");
    let kind = "application/strategic-merge-patch+json";
    cluster.rest().send(Method::PATCH, &path, kind, &foreign).unwrap();
    world.edit("absent", &json!({"metadata": {"annotations": {"lbipam.cilium.io/ips": "203.0.113.9"}}}));
    world.wait_ips("absent", &["203.0.113.9"]);
    let conditions = world.get("absent").unwrap()["status"]["conditions"].clone();
    let kinds: Vec<&str> =
        conditions.as_array().unwrap().iter().filter_map(|one| one["type"].as_str()).collect();
    assert!(kinds.contains(&"example.com/Other") && kinds.len() == 2, "{conditions}");
    cluster.kubectl(&[
        "patch",
        "ippool",
        "pool",
        "--type=merge",
        "-p",
        r#"{"spec":{"serviceSelector":{"matchLabels":{"color":"red"}}}}"#,
    ]);
    world.wait_reason("named", "pool_selector_mismatch");
    world.wait_ips("named", &[]);
    world.clear();
}

fn sharing_and_ends(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&pool("pool", "{cidr: 203.0.113.0/30}"));
    cluster.kubectl(&[
        "patch",
        "ippool",
        "pool",
        "--type=merge",
        "-p",
        r#"{"spec":{"allowFirstLastIPs":"No"}}"#,
    ]);
    let key = "{lbipam.cilium.io/sharing-key: k}";
    cluster.apply(&service("a").annotations(key).yaml());
    cluster.apply(&service("b").annotations(key).port(443).yaml());
    world.wait_ips("a", &["203.0.113.1"]);
    world.wait_ips("b", &["203.0.113.1"]);
    cluster.apply(&service("c").yaml());
    world.wait_ips("c", &["203.0.113.2"]);
    cluster.apply(&service("d").yaml());
    world.wait_reason("d", "out_of_ips");
    cluster.kubectl(&["delete", "service", "c"]);
    world.wait_ips("d", &["203.0.113.2"]);
    world.clear();
}

fn pools_go_and_classes_change(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&pool("one", "{cidr: 203.0.113.0/28}"));
    cluster.apply(&service("web").yaml());
    world.wait_ips("web", &["203.0.113.0"]);
    cluster.apply(&pool("two", "{cidr: 198.51.100.0/28}"));
    cluster.kubectl(&["delete", "ippool", "one"]);
    world.wait_ips("web", &["198.51.100.0"]);
    cluster.kubectl(&["delete", "ippool", "two"]);
    world.wait_ips("web", &[]);
    world.wait_reason("web", "no_pool");
    cluster.apply(&pool("two", "{cidr: 198.51.100.0/28}"));
    eventually(SOON, "web has an address again", || {
        if world.ips("web").len() == 1 { Ok(()) } else { Err(format!("{:?}", world.get("web"))) }
    });
    // No LoadBalancer any more: nothing of ours is left.
    world.edit("web", &json!({"spec": {"type": "ClusterIP", "allocateLoadBalancerNodePorts": null}}));
    eventually(SOON, "nothing of ours is left on web", || {
        let status = world.get("web")?["status"].clone();
        let ours = status.to_string().contains("IPAMRequestSatisfied")
            || !status["loadBalancer"]["ingress"].is_null();
        if ours { Err(status.to_string()) } else { Ok(()) }
    });
    cluster.apply(&service("foreign").spec("loadBalancerClass: metallb.io/metallb").yaml());
    cluster.apply(&service("node").spec("loadBalancerClass: io.cilium/node").yaml());
    world.wait_ips("node", &["10.0.0.9", "10.0.0.10"]);
    // Nodes by a number, as `kubectl -l` compares it.
    cluster.kubectl(&["label", "node", "n9", "cores=16"]);
    cluster.kubectl(&["label", "node", "n10", "cores=4"]);
    let large = service("large").spec("loadBalancerClass: io.cilium/node");
    let asks = |query: &str| large.clone().annotations(&format!("{{{MATCH_NODES}: '{query}'}}")).yaml();
    cluster.apply(&asks("cores > 8"));
    world.wait_ips("large", &["10.0.0.9"]);
    cluster.apply(&asks("cores<8"));
    world.wait_ips("large", &["10.0.0.10"]);
    // What cannot be read takes nothing back, and is named.
    cluster.apply(&asks("cores > many"));
    eventually(SOON, "the condition names the annotation", || {
        let conditions = world.get("large")?["status"]["conditions"].clone();
        let text = conditions.to_string();
        let words = ["NodeIPAMSatisfied", "invalid_selector", "is not a whole number"];
        if words.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
    });
    assert_eq!(world.ips("large"), ["10.0.0.10"]);
    cluster.kubectl(&["delete", "service", "large"]);
    world.cluster.kubectl(&[
        "label",
        "node",
        "n9",
        "node.kubernetes.io/exclude-from-external-load-balancers=",
    ]);
    world.wait_ips("node", &["10.0.0.10"]);
    always(Duration::from_secs(2), "a foreign class is left alone", || {
        let status = world.get("foreign")?["status"].clone();
        if status == json!({"loadBalancer": {}}) { Ok(()) } else { Err(status.to_string()) }
    });
    world.clear();
}

/// Cilium's walk-through, under the RBAC of the documentation: nothing is refused, nothing is granted in vain.
#[test]
fn services_get_their_addresses_as_from_cilium() {
    let world = World::new();
    let operator = world.replica("op-a");
    world.wait_leader("op-a");
    // The definitions come later: the operator waits for them.
    eventually(SOON, "the operator says what is missing", || {
        let log = operator.process().log();
        if log.contains("CustomResourceDefinition") { Ok(()) } else { Err(log) }
    });
    world.install();
    for (name, address) in [("n9", "10.0.0.9"), ("n10", "10.0.0.10")] {
        world.cluster.add_node(&NodeSpec::new(name, &[address.parse().unwrap()]));
    }
    addresses_and_columns(&world);
    requests_and_reasons(&world);
    sharing_and_ends(&world);
    pools_go_and_classes_change(&world);
    let asked = world.cluster.audit();
    let ours = || asked.iter().filter(|request| request.user.ends_with(":op-a"));
    let refused: Vec<_> = ours().filter(|request| !request.allowed).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let used: BTreeSet<String> = ours()
        .map(|r| format!("{} {} {}", r.verb, r.group, r.resource))
        .filter(|r| !r.contains('?'))
        .collect();
    let granted = tests::e2e::grants::granted(&world.cluster, "speaker-system", "op-a");
    for (verb, group, resource) in granted {
        assert!(
            used.contains(&format!("{verb} {group} {resource}")),
            "{verb} {resource} is not used: {used:?}"
        );
    }
    operator.process().terminate();
    assert_eq!(world.leader(), "", "the Lease is given up");
}

/// A burst, each status written once; and no more than so often that of the pool.
#[test]
fn a_thousand_services_are_each_written_once() {
    let world = World::new();
    world.install();
    let operator = world.replica("op-a");
    world.wait_leader("op-a");
    world.cluster.apply(&pool("pool", "{cidr: 10.200.0.0/16}"));
    let begun = Instant::now();
    world.burst("web", 1000);
    let created = begun.elapsed();
    world.wait_served(1000);
    let recorded = begun.elapsed();
    let resident = std::fs::read_to_string(format!("/proc/{}/status", operator.process().pid())).unwrap();
    let resident = resident.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
    println!("1000 Services: created in {created:?}, recorded after {recorded:?}, operator {resident}");
    let writes = world.writes();
    assert_eq!(writes.len(), 1000);
    let twice: Vec<_> = writes.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// The leader is killed in the middle of a burst; another goes on, and nobody's address changes.
#[test]
fn a_successor_goes_on_where_the_leader_was_killed() {
    let world = World::new();
    world.install();
    let first = world.replica("op-a");
    world.wait_leader("op-a");
    let second = world.replica("op-b");
    world.cluster.apply(&pool("pool", "{cidr: 10.200.0.0/16}"));
    world.burst("early", 20);
    world.wait_served(20);
    world.burst("web", 200);
    first.process().kill();
    let before = world.all();
    world.wait_leader("op-b");
    let after = world.wait_served(220);
    for (name, ips) in before.iter().filter(|(_, ips)| !ips.is_empty()) {
        assert_eq!(after[name], *ips, "{name} keeps what it had");
    }
    // And back: stopped in an orderly way, the other takes over at its next look.
    first.start_again();
    second.process().terminate();
    world.wait_leader("op-a");
    assert_eq!(world.all(), after);
    world.burst("late", 5);
    world.wait_served(225);
}

/// The leader stands still for longer than its Lease; when it goes on, nothing of what it had in mind is stored.
#[test]
fn a_leader_that_stood_still_writes_nothing_more() {
    let world = World::new();
    world.install();
    let first = world.replica("op-a");
    world.wait_leader("op-a");
    let _second = world.replica("op-b");
    world.cluster.apply(&pool("pool", "{cidr: 10.200.0.0/16}"));
    world.burst("early", 5);
    world.wait_served(5);
    world.burst("web", 300);
    first.process().pause();
    world.wait_leader("op-b");
    let after = world.wait_served(305);
    let position = world.cluster.audit().len();
    first.process().resume();
    eventually(SOON, "the first sees that it leads no more", || {
        let log = first.process().log();
        if log.contains("leading no more") { Ok(()) } else { Err(log) }
    });
    world.burst("late", 20);
    world.wait_served(325);
    let stored: Vec<_> = world.cluster.audit()[position..]
        .iter()
        .filter(|r| r.user.ends_with(":op-a") && r.verb == "patch" && r.code == 200)
        .cloned()
        .collect();
    assert!(stored.is_empty(), "{stored:?}");
    let now = world.all();
    assert!(after.iter().all(|(name, ips)| now[name] == *ips), "no address has moved");
}

/// Operators were away while a Service left and its pool was narrowed: what we wrote goes, what somebody else wrote since
/// stays.
#[test]
fn what_happened_while_nobody_led_is_caught_up_with() {
    let world = World::new();
    world.install();
    let operator = world.replica("op-a");
    world.cluster.apply(&pool("pool", "{start: 10.70.0.0, stop: 10.70.0.3}"));
    for name in ["ours", "theirs", "kept"] {
        world.cluster.apply(&service(name).yaml());
        world.wait_reason(name, "satisfied");
    }
    let before: Vec<String> = ["ours", "theirs", "kept"].iter().flat_map(|name| world.ips(name)).collect();
    assert_eq!(before, ["10.70.0.0", "10.70.0.1", "10.70.0.2"]);
    operator.process().kill();
    for name in ["ours", "theirs"] {
        // A class cannot be changed but by way of another type.
        let path = format!("{SERVICES}/{name}");
        let rest = world.cluster.rest();
        rest.patch(&path, &json!({"spec": {"type": "ClusterIP"}}));
        rest.patch(
            &path,
            &json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/other"}}),
        );
    }
    let foreign = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.70.9.9"}]}}});
    world.cluster.rest().patch(&format!("{SERVICES}/theirs/status"), &foreign);
    world.cluster.apply(&pool("pool", "{start: 10.70.0.2, stop: 10.70.0.3}"));

    let _operator = world.replica("op-b");
    eventually(SOON, "those that left have no condition of ours", || {
        let left = ["ours", "theirs"].map(|name| world.get(name).unwrap()["status"].clone());
        if left.iter().all(|status| !status["conditions"].to_string().contains("IPAMRequest")) {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    assert_eq!((world.ips("ours"), world.ips("theirs")), (vec![], vec!["10.70.9.9".to_owned()]));
    world.cluster.apply(&service("new").yaml());
    world.wait_ips("new", &["10.70.0.3"]);
    assert_eq!(world.ips("kept"), ["10.70.0.2"]);
}
