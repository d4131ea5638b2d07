//! Who gives Services their addresses and announces them: we, or MetalLB 0.15.2 in its native mode.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tests::cluster::{Cluster, NodeSpec};
use tests::lab::{Lab, Node};
use tests::process::Process;
use tests::speaker::target;

use crate::daemons::speaker_binary;
use crate::listener::Listener;

/// The names that `--only` knows.
pub(crate) const METALLB: &str = "metallb";

const POOL: &str = "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {name: bench}\n\
                    spec: {blocks: [{cidr: 10.64.0.0/16}]}\n";

const AGENT: &str = "node: {name: n1}
router: {asn: 64501}
sources: {kubernetes: {enabled: true}}
peers: [{name: tor, address: 10.0.0.254, asn: 64500, families: [ipv4-unicast], timers: {connectRetry: 1s}}]
advertisements:
  - {name: services, poolPrefix: {when: never}, serviceRoutes: {which: all, when: allocated}}
api: {socket: api.sock}
";

const METALLB_OBJECTS: &str = "apiVersion: v1
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
spec: {addresses: [10.64.0.0/16]}
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: bench, namespace: metallb-system}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: tor, namespace: metallb-system}
spec: {myASN: 64501, peerASN: 64500, peerAddress: 10.0.0.254}
";

/// Starts one.
pub(crate) type Start = fn(&Lab, &Cluster) -> Contender;

/// A node with an agent, an allocator, and a peer. Both processes end with it.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) peer: Listener,
    pub(crate) agent: Process,
    pub(crate) allocator: Process,
    /// Whether no address is in use any more; else what there is.
    pub(crate) is_empty: fn(&Cluster) -> Result<(), String>,
}

impl Contender {
    pub(crate) fn speaker(lab: &Lab, cluster: &Cluster) -> Self {
        let (node, control, peer) = stage(lab, cluster, "n1");
        cluster.apply_file("deploy/crds");
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
        cluster.apply(POOL);
        let start = |node: &Node, role: &str, text: &str| {
            let file = node.dir().join("speaker.yaml");
            std::fs::write(&file, text).expect("speaker.yaml");
            let mut command = Command::new(speaker_binary());
            command.args([role, "--config"]).arg(file).env("KUBECONFIG", cluster.admin());
            node.spawn(role, &mut command)
        };
        let allocator = start(&control, "operator", "ipam: {enabled: true}\n");
        let agent = start(&node, "run", AGENT);
        Self { name: "speaker", peer, agent, allocator, is_empty: our_pool_is_empty }
    }

    /// As its manifest `metallb-native` runs it, but for the webhooks (which no Service passes through) and the
    /// membership protocol of a single node.
    pub(crate) fn metallb(lab: &Lab, cluster: &Cluster) -> Self {
        let (node, control, peer) = stage(lab, cluster, "m1");
        let built = target().join("metallb");
        cluster.apply_file(built.join("crds").to_str().expect("a path in UTF-8"));
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
        cluster.apply(METALLB_OBJECTS);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "speaker", "namespace": "metallb-system"},
            "spec": {"nodeName": "m1", "containers": [{"name": "speaker", "image": "metallb"}]}});
        cluster.rest().apply("/api/v1/namespaces/metallb-system/pods/speaker", &pod);
        let start = |node: &Node, program: &str, args: &[&str]| {
            let program: PathBuf = built.join(program);
            assert!(program.exists(), "{} is missing: tests/metallb/build", program.display());
            let mut command = Command::new(program);
            command.args(args).args(["--namespace", "metallb-system"]).env("KUBECONFIG", cluster.admin());
            node.spawn(METALLB, &mut command)
        };
        let allocator =
            start(&control, "controller", &["--webhook-mode=disabled", "--disable-cert-rotation"]);
        let agent = start(&node, "speaker", &["--node-name=m1", "--pod-name=speaker", "--host=127.0.0.1"]);
        Self { name: "MetalLB", peer, agent, allocator, is_empty: their_pool_is_empty }
    }
}

/// A registered node, a node for the allocator, and what listens as a ToR beside the first.
fn stage(lab: &Lab, cluster: &Cluster, name: &str) -> (Node, Node, Listener) {
    let (node, router) = (lab.node(name), lab.node(&format!("{name}-tor")));
    let control = lab.node(&format!("{name}-control"));
    lab.link(&node, "eth0", &router, "eth0");
    node.address("eth0", "10.0.0.1/24");
    router.address("eth0", "10.0.0.254/24");
    cluster.join(lab, &node);
    cluster.join(lab, &control);
    cluster.add_node(&NodeSpec::new(name, &[Ipv4Addr::new(10, 0, 0, 1).into()]));
    let peer = Listener::start(&router, Ipv4Addr::new(10, 0, 0, 254).into(), 64500);
    (node, control, peer)
}

fn our_pool_is_empty(cluster: &Cluster) -> Result<(), String> {
    let pool = cluster.rest().get("/apis/cilium.io/v2/ciliumloadbalancerippools/bench")?;
    let text = pool["status"]["conditions"].to_string();
    if text.contains("\"65536\"") { Ok(()) } else { Err(text) }
}

fn their_pool_is_empty(cluster: &Cluster) -> Result<(), String> {
    let path = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools/bench";
    let status = cluster.rest().get(path)?["status"].clone();
    if status["assignedIPv4"] == 0 { Ok(()) } else { Err(status.to_string()) }
}
