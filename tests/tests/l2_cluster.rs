//! L2 announcements of several nodes: one holder for each address, by Leases of a real API server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::asker::Asker;
use tests::cluster::{Backend, Cluster, NodeSpec};
use tests::e2e::Operator;
use tests::e2e::table::rows;
use tests::lab::{Lab, Node};
use tests::speaker::Speaker;
use tests::wait::{always, eventually};

const CONFIG: &str = "
sources: {kubernetes: {enabled: true}}
ipam: {stateDir: state}
datapath: {loops: none}
l2: {enabled: true, interfaces: [\"^eth0$\"], leaseDuration: 3s}
api: {socket: api.sock}
";

const POLICY: &str = "
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: segment}
spec:
  loadBalancerIPs: true
  interfaces: [^eth0$]
  nodeSelector:
    matchExpressions: [{key: role, operator: NotIn, values: [control]}]
";

const SOON: Duration = Duration::from_secs(60);

struct Host {
    name: String,
    node: Node,
    speaker: Speaker,
    mac: String,
}

struct Bench {
    hosts: Vec<Host>,
    client: Node,
    cluster: Cluster,
    lab: Lab,
}

impl Bench {
    /// Three nodes and a client on one segment; the third node is one that the policy leaves out.
    fn start() -> Self {
        let lab = Lab::new();
        let cluster = Cluster::start(&lab);
        cluster.apply_file("deploy/crds");
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
        let switch = lab.switch("switch");
        let client = lab.node("client");
        lab.plug(&switch, &client, "eth0");
        client.address("eth0", "192.0.2.1/24");
        cluster.apply(POLICY);
        let kubeconfig = cluster.admin();
        let hosts = ["n1", "n2", "n3"].iter().zip(11u8..).map(|(name, number)| {
            let node = lab.node(name);
            lab.plug(&switch, &node, "eth0");
            node.address("eth0", &format!("192.0.2.{number}/24"));
            let address = cluster.join(&lab, &node);
            let role = if *name == "n3" { "control" } else { "worker" };
            cluster.add_node(&NodeSpec::new(name, &[address.into()]).label("role", role));
            let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap()), ("NODE_NAME", *name)];
            let speaker = Speaker::prepare_with(&node, CONFIG, &[], &environment);
            let text = node.ip(&["-j", "link", "show", "dev", "eth0"]);
            let links: serde_json::Value = serde_json::from_str(&text).unwrap();
            let mac = links[0]["address"].as_str().unwrap().to_owned();
            Host { name: (*name).to_owned(), node, speaker, mac }
        });
        let hosts: Vec<Host> = hosts.collect();
        hosts.iter().for_each(|host| host.speaker.wait_ready());
        Self { hosts, client, cluster, lab }
    }

    /// A Service that somebody has given an address.
    fn service(&self, name: &str, address: &str, policy: &str) {
        let spec = json!({
            "type": "LoadBalancer", "ports": [{"port": 80}], "externalTrafficPolicy": policy,
            "allocateLoadBalancerNodePorts": true,
        });
        let path = "/api/v1/namespaces/default/services";
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        self.cluster.rest().create(path, &object);
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        self.cluster.rest().patch(&format!("{path}/{name}/status"), &status);
    }

    /// The names of those who answer for an address.
    fn answerers(&self, address: &str) -> Vec<String> {
        let output = self.client.try_exec(&["arping", "-b", "-c", "1", "-w", "1", "-I", "eth0", address]);
        let text = output.unwrap_or_else(|nobody| nobody);
        let macs =
            text.lines().filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_lowercase()));
        let name = |mac: String| {
            let host = self.hosts.iter().find(|host| host.mac == mac);
            host.map_or(mac, |host| host.name.clone())
        };
        let mut names: Vec<String> = macs.map(name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whose Ethernet address it is.
    fn name_of(&self, mac: [u8; 6]) -> String {
        let words: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
        let mac = words.join(":");
        self.hosts.iter().find(|host| host.mac == mac).map_or(mac, |host| host.name.clone())
    }

    /// Does `work` while a client asks for the address all the time, and goes on until the other one has answered for a
    /// while: how long the first one answered, and when the other one began. Never do both.
    fn handed_over(&self, first: usize, other: usize, work: impl FnOnce() + Send) -> (Duration, Duration) {
        let own = "192.0.2.1".parse().unwrap();
        let asker = Asker::new(&self.client, own, VIP.parse().unwrap(), Duration::from_millis(2));
        let (first, other) = (&self.hosts[first].name, &self.hosts[other].name);
        let begun = Instant::now();
        let (mut last, mut by_other) = (Duration::ZERO, Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(work);
            while by_other.len() < 100 {
                asker.ask();
                match asker.answered_by().map(|mac| self.name_of(mac)) {
                    Some(name) if name == *other => by_other.push(begun.elapsed()),
                    Some(name) => {
                        assert_eq!((&name, by_other.first()), (first, None), "both answer");
                        last = begun.elapsed();
                    }
                    None => assert!(begun.elapsed() < SOON, "nobody answers; leases: {:?}", self.leases()),
                }
            }
        });
        (last, by_other[0])
    }

    /// Waits until exactly one answers, of these; gives his place.
    fn holder(&self, address: &str, of: &[&str]) -> usize {
        eventually(SOON, &format!("one of {of:?} answers for {address}"), || {
            match self.answerers(address).as_slice() {
                [one] if of.contains(&one.as_str()) => {
                    Ok(self.hosts.iter().position(|host| host.name == *one).unwrap())
                }
                other => Err(format!("{other:?} answer; leases: {:?}", self.leases())),
            }
        })
    }

    fn leases(&self) -> BTreeMap<String, String> {
        let list = self.cluster.kubectl_json(&["get", "leases", "-n", "kube-system"]);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let text = |item: &serde_json::Value, pointer: &str| {
            item.pointer(pointer).and_then(|text| text.as_str()).unwrap_or_default().to_owned()
        };
        items.iter().map(|item| (text(item, "/metadata/name"), text(item, "/spec/holderIdentity"))).collect()
    }
}

const VIP: &str = "192.0.2.100";
const LEASE: &str = "cilium-l2announce-default-web";

#[test]
fn one_node_holds_an_address_and_another_takes_over_when_it_goes() {
    let bench = Bench::start();
    bench.service("web", VIP, "Cluster");
    let first = bench.holder(VIP, &["n1", "n2"]);
    let name = bench.hosts[first].name.clone();
    assert_eq!(bench.leases().get(LEASE), Some(&name), "kubectl get leases names the holder");

    let printed = bench.cluster.kubectl(&["get", "leases", "-n", "kube-system", LEASE]);
    assert_eq!(rows(&printed)[0]["HOLDER"], name, "{printed}");

    // It stops in an orderly way: the other one need not wait for the lease to run out, and answers at no time beside it.
    let other = 1 - first;
    let process = bench.hosts[first].speaker.process();
    let (last, begins) = bench.handed_over(first, other, || {
        process.terminate();
    });
    println!("after SIGTERM it answered until {last:?}, the other one from {begins:?} on");
    assert!(begins < Duration::from_secs(2), "as late as after a crash: {begins:?}");
    let heir = other;
    eventually(SOON, "the Lease names the new holder", || match bench.leases().get(LEASE) {
        Some(holder) if *holder == bench.hosts[heir].name => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_node_that_hangs_is_displaced_and_does_not_answer_when_it_wakes() {
    let bench = Bench::start();
    bench.service("web", VIP, "Cluster");
    let first = bench.holder(VIP, &["n1", "n2"]);
    let process = bench.hosts[first].speaker.process();
    let begun = Instant::now();
    process.pause();
    let heir = bench.holder(VIP, &["n1", "n2"]);
    assert_ne!(heir, first);
    println!("taken over {} ms after the holder hung", begun.elapsed().as_millis());
    process.resume();
    let expected = [bench.hosts[heir].name.clone()];
    always(Duration::from_secs(8), "one holder", || match bench.answerers(VIP) {
        names if names.is_empty() || names == expected => Ok(()),
        other => Err(format!("{other:?} answer")),
    });
}

#[test]
fn a_holder_that_is_cut_off_falls_silent_before_another_one_answers() {
    let bench = Bench::start();
    bench.service("web", VIP, "Cluster");
    let first = bench.holder(VIP, &["n1", "n2"]);
    let node = bench.hosts[first].node.clone();
    let (last, begins) = bench.handed_over(first, 1 - first, || {
        node.ip(&["link", "set", "mgmt0", "down"]);
    });
    println!("cut off, it answered until {last:?}, the other one from {begins:?} on");
    // Its own fence is a fifth of the lease's duration before others may take over.
    assert!(begins - last > Duration::from_millis(300), "{last:?} {begins:?}");
    // It comes back, and takes nothing.
    node.ip(&["link", "set", "mgmt0", "up"]);
    let expected = [bench.hosts[1 - first].name.clone()];
    always(Duration::from_secs(6), "one holder", || match bench.answerers(VIP) {
        names if names == expected => Ok(()),
        other => Err(format!("{other:?} answer")),
    });
}

#[test]
fn nodes_that_are_cut_off_from_the_api_server_fall_silent() {
    let bench = Bench::start();
    bench.service("web", VIP, "Cluster");
    bench.holder(VIP, &["n1", "n2"]);
    bench.cluster.api_server().pause();
    eventually(SOON, "nobody answers", || match bench.answerers(VIP) {
        names if names.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    bench.cluster.api_server().resume();
    bench.holder(VIP, &["n1", "n2"]);
}

#[test]
fn a_local_service_follows_its_endpoints() {
    let bench = Bench::start();
    bench.service("web", VIP, "Local");
    always(Duration::from_secs(3), "nobody answers without an endpoint", || match bench.answerers(VIP) {
        names if names.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for name in ["n1", "n2", "n1"] {
        bench.cluster.set_endpoints("default", "web", 80, &[Backend::new("10.244.0.5", name)]);
        bench.holder(VIP, &[name]);
    }
    // The third node has the only endpoint, and the policy leaves it out.
    bench.cluster.set_endpoints("default", "web", 80, &[Backend::new("10.244.0.5", "n3")]);
    eventually(SOON, "nobody answers", || match bench.answerers(VIP) {
        names if names.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn addresses_are_spread_and_a_lease_goes_with_its_service() {
    let bench = Bench::start();
    let number = |index: u8| (format!("web-{index}"), format!("192.0.2.{}", 100 + index));
    for (name, address) in (0..12).map(number) {
        bench.service(&name, &address, "Cluster");
    }
    let mut counts = BTreeMap::new();
    for (_, address) in (0..12).map(number) {
        *counts.entry(bench.holder(&address, &["n1", "n2"])).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 2, "{counts:?}");
    bench.cluster.rest().delete("/api/v1/namespaces/default/services/web-0");
    eventually(SOON, "its Lease is gone", || {
        let leases = bench.leases();
        if leases.contains_key("cilium-l2announce-default-web-0") {
            Err(format!("{leases:?}"))
        } else {
            Ok(())
        }
    });
    assert_eq!(bench.answerers("192.0.2.100"), Vec::<String>::new());
    // What says that a node lives goes with the Node.
    let lease = bench.cluster.kubectl_json(&["get", "lease", "speaker-l2-node-n1", "-n", "kube-system"]);
    let node = bench.cluster.kubectl_json(&["get", "node", "n1"]);
    let owner = &lease["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("Node"), &node["metadata"]["uid"]), "{lease}");
}

#[test]
fn a_faulty_policy_says_so_in_its_status_and_in_explain() {
    let bench = Bench::start();
    bench.service("web", VIP, "Cluster");
    bench.holder(VIP, &["n1", "n2"]);
    // Where its Lease is.
    bench.cluster.kubectl(&["create", "namespace", tests::e2e::NAMESPACE]);
    let node = bench.lab.node("op1");
    let address = bench.cluster.join(&bench.lab, &node);
    let config = "l2: {enabled: true}\noperator: {leaseDuration: 6s}\n";
    let _operator = Operator::start(&node, address, config, &bench.cluster.admin());
    bench.cluster.apply(&POLICY.replace("{name: segment}", "{name: typo}").replace("^eth0$", "'eth('"));
    let condition = |status: &str| {
        eventually(SOON, &format!("the condition is {status}"), || {
            let policy = bench.cluster.kubectl_json(&["get", "l2announcement", "typo"]);
            let mut all = policy["status"]["conditions"].as_array().cloned().unwrap_or_default().into_iter();
            match all.find(|one| one["type"] == "io.cilium/bad-interface-regex") {
                Some(one) if one["status"] == status && one["reason"] == "error" => Ok(one),
                _ => Err(policy.to_string()),
            }
        })
    };
    let said = condition("True");
    assert!(said["message"].as_str().unwrap().contains("is not a regular expression"), "{said}");
    // The other policy goes on, and explain tells of both.
    let story = eventually(SOON, "explain tells of the faulty policy", || {
        let story = bench.hosts[0].speaker.cli(&["explain", "default/web"]);
        if story.contains("HELD policy typo: it is left out") { Ok(story) } else { Err(story) }
    });
    assert!(story.contains("ok   policy: 192.0.2.100 is announced by segment"), "{story}");
    assert!(story.contains("ok   interface: on eth0"), "{story}");
    assert!(story.contains("by Lease cilium-l2announce-default-web"), "{story}");
    let third = bench.hosts[2].speaker.cli(&["explain", "default/web"]);
    assert!(third.contains("HELD nodeSelector: node 'n3' is not selected by segment"), "{third}");
    bench.cluster.apply(&POLICY.replace("{name: segment}", "{name: typo}"));
    condition("False");
}

#[test]
fn many_services_are_each_held_by_one_node_and_move_when_it_goes() {
    let count: u32 = 2000;
    let long = Duration::from_secs(240);
    let bench = Bench::start();
    let path = "/api/v1/namespaces/default/services";
    let address = |n: u32| std::net::Ipv4Addr::from(0x0a46_0000 + n).to_string();
    let spec =
        json!({"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": false});
    let object = |n: u32| {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n:04}")}, "spec": spec});
        (path.to_owned(), object)
    };
    let rest = bench.cluster.rest();
    rest.send_all(&hyper::http::Method::POST, (0..count).map(object).collect());
    let begun = Instant::now();
    for n in 0..count {
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address(n)}]}}});
        rest.patch(&format!("{path}/s{n:04}/status"), &status);
    }
    let held_by = || {
        let mut by: BTreeMap<String, u32> = BTreeMap::new();
        for (name, holder) in bench.leases() {
            if name.starts_with("cilium-l2announce-default-s") && !holder.is_empty() {
                *by.entry(holder).or_default() += 1;
            }
        }
        by
    };
    let spread = eventually(long, &format!("{count} are held"), || {
        let by = held_by();
        if by.values().sum::<u32>() == count { Ok(by) } else { Err(format!("{by:?}")) }
    });
    println!(
        "{count} Services are held {} ms after the first got its address: {spread:?}",
        begun.elapsed().as_millis()
    );
    assert!(spread.len() == 2 && spread.values().all(|n| *n > count / 4), "{spread:?}");
    // While nothing changes, nobody writes but for the nodes' own Leases.
    let before = bench.cluster.audit().len();
    always(Duration::from_secs(4), "all stay held", || {
        let by = held_by();
        if by == spread { Ok(()) } else { Err(format!("{by:?}")) }
    });
    let audit = bench.cluster.audit();
    let writes =
        audit[before..].iter().filter(|one| one.resource == "leases" && one.verb == "update").count();
    assert!(writes < 40, "{writes} writes of Leases in 4 s");
    // All of one node's go over to the other, each at once with its first answer.
    let begun = Instant::now();
    bench.hosts[0].speaker.process().terminate();
    eventually(long, "the other node holds all", || {
        let by = held_by();
        if by.get("n2") == Some(&count) { Ok(()) } else { Err(format!("{by:?}")) }
    });
    println!("the other node holds all {} ms after SIGTERM", begun.elapsed().as_millis());
    bench.client.ip(&["address", "add", "10.70.255.254/16", "dev", "eth0"]);
    for n in (0..count).step_by(usize::try_from(count / 20).unwrap()) {
        assert_eq!(bench.hosts[bench.holder(&address(n), &["n2"])].name, "n2");
    }
}
