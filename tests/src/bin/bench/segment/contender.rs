//! Who answers on the segment: two of our agents, or two speakers of MetalLB 0.15.2 in its L2 mode.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tests::cluster::{Backend, Cluster, NodeSpec};
use tests::lab::{Lab, Node};
use tests::process::Process;
use tests::speaker::{Speaker, target};

use super::{CLIENT, LEASE, VIP};

const METALLB: &str = "apiVersion: v1
kind: Namespace
metadata: {name: metallb-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: metallb-system}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bench, namespace: metallb-system}
spec: {addresses: [192.0.2.100-192.0.2.120]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: bench, namespace: metallb-system}
";

/// Two processes, each on a node of its own.
pub(super) trait Contender {
    fn name(&self) -> &'static str;
    fn process(&self, node: usize) -> &Process;
    fn start_again(&mut self, node: usize);
}

/// Two nodes that may hold the address, a client on their segment, and the API server.
pub(super) struct World {
    pub(super) contender: Box<dyn Contender>,
    pub(super) client: Node,
    macs: Vec<[u8; 6]>,
    _cluster: Cluster,
    _lab: Lab,
}

impl World {
    /// With a Service that has the address and a ready endpoint.
    pub(super) fn new(start: fn(&Cluster, &[Node]) -> Box<dyn Contender>) -> Self {
        let lab = Lab::new();
        let cluster = Cluster::start(&lab);
        let switch = lab.switch("switch");
        let client = lab.node("client");
        lab.plug(&switch, &client, "eth0");
        client.address("eth0", &format!("{CLIENT}/24"));
        let nodes: Vec<Node> = (1..=2)
            .map(|n| {
                let name = format!("n{n}");
                let node = lab.node(&name);
                lab.plug(&switch, &node, "eth0");
                node.address("eth0", &format!("192.0.2.{}/24", 10 + n));
                let address = cluster.join(&lab, &node);
                cluster.add_node(&NodeSpec::new(&name, &[address.into()]));
                node
            })
            .collect();
        let path = "/api/v1/namespaces/default/services";
        let spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
        cluster.rest().create(
            path,
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}),
        );
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": VIP.to_string()}]}}});
        cluster.rest().patch(&format!("{path}/web/status"), &status);
        let endpoints = [Backend::new("10.244.1.2", "n1"), Backend::new("10.244.2.2", "n2")];
        cluster.set_endpoints("default", "web", 80, &endpoints);
        let contender = start(&cluster, &nodes);
        let macs = nodes.iter().map(mac).collect();
        Self { contender, client, macs, _cluster: cluster, _lab: lab }
    }

    /// The node with this Ethernet address, from 0.
    pub(super) fn node_of(&self, mac: [u8; 6]) -> Option<usize> {
        self.macs.iter().position(|one| *one == mac)
    }
}

fn mac(node: &Node) -> [u8; 6] {
    let links: serde_json::Value =
        serde_json::from_str(&node.ip(&["-j", "link", "show", "dev", "eth0"])).expect("JSON");
    let text = links[0]["address"].as_str().expect("Ethernet address");
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("hexadecimal")).collect();
    octets.try_into().expect("six octets")
}

struct Ours(Vec<Speaker>);

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "speaker"
    }

    fn process(&self, node: usize) -> &Process {
        self.0[node].process()
    }

    fn start_again(&mut self, node: usize) {
        self.0[node].start_again();
    }
}

pub(super) fn speaker(cluster: &Cluster, nodes: &[Node]) -> Box<dyn Contender> {
    cluster.apply_file("deploy/crds");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    cluster.apply(
        "apiVersion: cilium.io/v2alpha1\nkind: CiliumL2AnnouncementPolicy\nmetadata: {name: segment}\n\
         spec: {loadBalancerIPs: true, interfaces: [^eth0$]}\n",
    );
    let config = format!(
        "ipam: {{stateDir: state}}\ndatapath: {{loops: none}}\napi: {{socket: api.sock}}\n\
         sources: {{kubernetes: {{enabled: true}}}}\n\
         l2: {{enabled: true, interfaces: [\"^eth0$\"], leaseDuration: {LEASE}}}\n"
    );
    let kubeconfig = cluster.admin();
    let start = |node: &Node| {
        let env = [("KUBECONFIG", kubeconfig.to_str().expect("path")), ("NODE_NAME", node.name())];
        Speaker::prepare_with(node, &config, &[], &env)
    };
    let all: Vec<Speaker> = nodes.iter().map(start).collect();
    all.iter().for_each(Speaker::wait_ready);
    Box::new(Ours(all))
}

struct MetalLb {
    program: PathBuf,
    kubeconfig: PathBuf,
    nodes: Vec<Node>,
    running: Vec<Process>,
}

impl MetalLb {
    /// As its manifest runs it, but for the key of the membership protocol: the network is nobody else's.
    fn start(&self, node: &Node) -> Process {
        let name = node.name();
        let address = node_address(name);
        let mut command = Command::new(&self.program);
        command
            .args([&format!("--node-name={name}"), &format!("--pod-name=speaker-{name}")])
            .args(["--namespace=metallb-system", "--host=127.0.0.1", "--ml-labels=app=metallb"])
            .args([&format!("--ml-bindaddr={address}"), "--ml-bindport=7946"])
            .env("KUBECONFIG", &self.kubeconfig);
        node.spawn("metallb", &mut command)
    }
}

impl Contender for MetalLb {
    fn name(&self) -> &'static str {
        "MetalLB"
    }

    fn process(&self, node: usize) -> &Process {
        &self.running[node]
    }

    fn start_again(&mut self, node: usize) {
        self.running[node] = self.start(&self.nodes[node]);
    }
}

fn node_address(name: &str) -> &'static str {
    if name == "n1" { "192.0.2.11" } else { "192.0.2.12" }
}

/// With memberlist: without it a speaker that is gone is never noticed as long as its Node is ready.
pub(super) fn metallb(cluster: &Cluster, nodes: &[Node]) -> Box<dyn Contender> {
    let built = target().join("metallb");
    let program = built.join("speaker");
    assert!(program.exists(), "{} is missing: tests/metallb/build", program.display());
    cluster.apply_file(built.join("crds").to_str().expect("a path in UTF-8"));
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    cluster.apply(METALLB);
    for node in nodes {
        let name = node.name();
        let path = format!("/api/v1/namespaces/metallb-system/pods/speaker-{name}");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("speaker-{name}"), "namespace": "metallb-system",
                "labels": {"app": "metallb"}},
            "spec": {"nodeName": name, "containers": [{"name": "speaker", "image": "metallb"}]}});
        cluster.rest().apply(&path, &pod);
        let address = node_address(name);
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        cluster.rest().patch(&format!("{path}/status"), &status);
    }
    let kubeconfig = cluster.admin();
    let mut all = MetalLb { program, kubeconfig, nodes: nodes.to_vec(), running: Vec::new() };
    all.running = nodes.iter().map(|node| all.start(node)).collect();
    Box::new(all)
}
