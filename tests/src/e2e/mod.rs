//! A bare-metal cluster of nodes behind a router: agents, operator, API server, FRR.
//!
//! The tests of a suite share one and take turns; the last one takes it down. Each begins on an empty cluster.

mod check;
pub mod cilium;
pub mod grants;
pub mod manifests;
mod operator;
pub mod table;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::http::Method;
use serde_json::Value;

pub use operator::Operator;

use crate::cluster::{Cluster, NodeSpec, Options, pod};
use crate::daemon::{Family, Frr};
use crate::lab::{Lab, Node};
use crate::speaker::Speaker;

/// Long enough for anything that is not waited for by a timer.
pub const SOON: Duration = Duration::from_secs(30);
/// The router's AS.
pub const TOR_AS: u32 = 64500;
/// The nodes' AS.
pub const NODE_AS: u32 = 64501;

/// A node with an agent.
#[derive(Debug)]
pub struct Member {
    /// Its namespace; it has the name of the Node object.
    pub node: Node,
    /// Its InternalIP, on the segment that it shares with the router.
    pub v4: Ipv4Addr,
    /// The same, IPv6.
    pub v6: Ipv6Addr,
    agent: Mutex<Speaker>,
}

/// The cluster and what is around it.
#[derive(Debug)]
pub struct World {
    /// The API server.
    pub cluster: Cluster,
    /// The nodes, in order: `n1` and so on.
    pub members: Vec<Member>,
    /// The router.
    pub tor: Frr,
    /// A client behind the router.
    pub outside: Node,
    /// The first replica of the operator.
    pub operator: Operator,
    /// Its configurations.
    pub plan: Plan,
    tor_node: Node,
    /// The laboratory; last, so that it goes last.
    pub lab: Lab,
}

/// A test's turn on the shared [`World`].
#[derive(Debug)]
pub struct Turn {
    world: Arc<World>,
    _turn: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Turn {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::thread::panicking() && Arc::strong_count(&self.world) > 1 {
            self.world.lab.report();
        }
    }
}

static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
static TURNS: Mutex<()> = Mutex::new(());

/// Waits for this test's turn on the suite's world of `members` nodes, and empties it.
#[must_use]
pub fn turn(members: u8) -> Turn {
    let world = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(World::new(members, Options::default()));
            *shared = Arc::downgrade(&world);
            world
        })
    };
    let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    world.reset();
    Turn { world, _turn: turn }
}

impl World {
    /// A world of its own, for a test that cannot share.
    ///
    /// # Panics
    /// If a part of it does not start.
    #[must_use]
    pub fn new(members: u8, options: Options) -> Self {
        Self::with(members, options, &Plan::default())
    }

    /// As [`Self::new`], with other configurations.
    ///
    /// # Panics
    /// If a part of it does not start.
    #[must_use]
    pub fn with(members: u8, options: Options, plan: &Plan) -> Self {
        let lab = Lab::new();
        let cluster = Cluster::with(&lab, options);
        install(&cluster, plan);
        let segment = lab.switch("segment");
        let tor_node = lab.node("tor");
        lab.plug(&segment, &tor_node, "eth0");
        tor_node.address("eth0", "10.0.0.254/24");
        tor_node.address("eth0", "fd00::254/64");
        tor_node.sysctl("net/ipv4/ip_forward", "1");
        tor_node.sysctl("net/ipv6/conf/all/forwarding", "1");
        for family in ["ipv4", "ipv6"] {
            // Addresses, protocol and ports, as a router in hardware does it. Policy 1 is the same on a wire; over
            // veth it takes the sending socket's own hash, which is another one after each retransmission.
            tor_node.sysctl(&format!("net/{family}/fib_multipath_hash_fields"), "55");
            tor_node.sysctl(&format!("net/{family}/fib_multipath_hash_policy"), "3");
        }
        let tor = match plan.bfd {
            false => Frr::with_config(&tor_node, TOR_AS, &tor_config("")),
            true => Frr::with_bfd(&tor_node, TOR_AS, &tor_config(BFD_KEYS), BFD),
        };
        let outside = lab.node("outside");
        lab.link(&tor_node, "eth1", &outside, "eth0");
        for (node, n) in [(&tor_node, 1), (&outside, 2)] {
            let dev = if n == 1 { "eth1" } else { "eth0" };
            node.address(dev, &format!("198.18.0.{n}/24"));
            node.address(dev, &format!("fd00:18::{n}/64"));
        }
        outside.ip(&["route", "add", "default", "via", "198.18.0.1"]);
        outside.ip(&["route", "add", "default", "via", "fd00:18::1"]);
        let control = lab.node("op1");
        let address = cluster.join(&lab, &control);
        let operator =
            Operator::start(&control, address, plan.operator, &account(&cluster, OPERATOR_ACCOUNT));
        let segments = (&lab, &cluster, &segment);
        let members = (1..=members).map(|n| member(segments, n, members, &(plan.agent)(n))).collect();
        Self { cluster, members, tor, outside, operator, plan: *plan, tor_node, lab }
    }

    /// Everything runs, and there are no pools, Services, endpoints and policies left.
    fn reset(&self) {
        self.cluster.api_server().resume();
        if !self.cluster.etcd().running() {
            self.cluster.start_etcd();
        }
        if !self.cluster.api_server().running() {
            self.cluster.start_api_server();
        }
        self.operator.start_again();
        for member in &self.members {
            let mut agent = member.agent();
            if !agent.process().running() {
                agent.start_again();
            }
            // A test that failed half-way leaves its node as it was then.
            let _not_drained = agent.try_cli(&["undrain"]);
        }
        self.cluster.kubectl(&["delete", "--all", "ciliumloadbalancerippools.cilium.io"]);
        let services = self.cluster.rest().get("/api/v1/services").unwrap_or_default();
        let mut doomed = Vec::new();
        for service in services["items"].as_array().into_iter().flatten() {
            let (namespace, name) = (&service["metadata"]["namespace"], &service["metadata"]["name"]);
            let (Some(namespace), Some(name)) = (namespace.as_str(), name.as_str()) else { continue };
            if name != "kubernetes" {
                doomed.push((format!("/api/v1/namespaces/{namespace}/services/{name}"), Value::Null));
            }
        }
        self.cluster.rest().send_all(&Method::DELETE, doomed);
        // That of the Service `kubernetes` has this label too: the API server would write it again.
        let ours = "--selector=kubernetes.io/service-name,kubernetes.io/service-name!=kubernetes";
        self.cluster.kubectl(&["delete", "endpointslices", "--all-namespaces", ours]);
    }

    /// Cuts member `n` (from 1) off from the router and the other nodes.
    pub fn cut(&self, n: u8) {
        self.members[usize::from(n) - 1].node.ip(&["link", "set", "eth0", "down"]);
    }

    /// Undoes [`Self::cut`].
    pub fn mend(&self, n: u8) {
        let node = &self.members[usize::from(n) - 1].node;
        node.ip(&["link", "set", "eth0", "up"]);
        configure(node, n, u8::try_from(self.members.len()).unwrap_or(u8::MAX));
    }

    /// Starts a further replica of the operator, on a node `name` of its own.
    #[must_use]
    pub fn replica(&self, name: &str) -> Operator {
        let node = self.lab.node(name);
        let address = self.cluster.join(&self.lab, &node);
        Operator::start(&node, address, OPERATOR, &account(&self.cluster, OPERATOR_ACCOUNT))
    }

    /// A Pod behind member `n` (from 1), with the addresses that it has there.
    #[must_use]
    pub fn pod(&self, n: u8, host: u8, name: &str) -> Node {
        let addresses = [IpAddr::V4(pod_v4(n, host)), IpAddr::V6(pod_v6(n, host))];
        pod(&self.lab, &self.members[usize::from(n) - 1].node, name, &addresses)
    }

    /// Prefixes to the names of the nodes that the router has them from.
    #[must_use]
    pub fn holders(&self, prefix: &str) -> BTreeSet<String> {
        let prefix: ipnet::IpNet = prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e}"));
        let table = self.tor.table(Family::of(&prefix));
        let from = table.iter().filter(|(_, _, route)| route.prefix == prefix).map(|(peer, ..)| *peer);
        from.filter_map(|peer| {
            let member = self.members.iter().find(|m| IpAddr::V4(m.v4) == peer)?;
            Some(member.node.name().to_owned())
        })
        .collect()
    }

    /// The router's namespace.
    #[must_use]
    pub fn tor_node(&self) -> &Node {
        &self.tor_node
    }

    /// An object, or a list, of the API; null where there is none.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        self.cluster.rest().get(path).unwrap_or_default()
    }

    /// What is wrong as member `n` (from 1) tells it (`speaker version`).
    #[must_use]
    pub fn faults(&self, n: u8) -> Vec<String> {
        let version = self.members[usize::from(n) - 1].agent().json(&["version"]);
        let faults = version["faults"].as_array().cloned().unwrap_or_default();
        faults.iter().filter_map(|fault| Some(fault.as_str()?.to_owned())).collect()
    }

    /// A Service by `namespace/name`.
    #[must_use]
    pub fn service(&self, id: &str) -> Value {
        let (namespace, name) = id.split_once('/').unwrap_or(("default", id));
        self.get(&format!("/api/v1/namespaces/{namespace}/services/{name}"))
    }
}

impl Member {
    /// Its agent.
    pub fn agent(&self) -> MutexGuard<'_, Speaker> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address of Pod `host` on node `n`.
#[must_use]
pub fn pod_v4(n: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, n, host)
}

/// The same, IPv6.
#[must_use]
pub fn pod_v6(n: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x244, n.into(), 0, 0, 0, host.into())
}

/// Where the operator's and the agent's ServiceAccounts are.
pub const NAMESPACE: &str = "speaker-system";
/// The operator's ServiceAccount.
pub const OPERATOR_ACCOUNT: &str = "speaker-operator";
/// The agent's ServiceAccount.
pub const AGENT_ACCOUNT: &str = "speaker-agent";

/// The configurations of a [`World`].
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The speaker.yaml of each member.
    pub agent: fn(u8) -> String,
    /// The operator's.
    pub operator: &'static str,
    /// The router has BFD with its neighbors: 300 ms, three times.
    pub bfd: bool,
    /// Values of the chart; empty: the one-file manifest.
    pub values: &'static str,
    /// The API server does not know our kinds: who wants them applies `deploy/crds`.
    pub undefined: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { agent: agent_config, operator: OPERATOR, bfd: false, values: "", undefined: false }
    }
}

const BFD_KEYS: &str = " neighbor nodes bfd\n neighbor nodes bfd profile lab\n";
const BFD: &str =
    "bfd\n profile lab\n  detect-multiplier 3\n  transmit-interval 300\n  receive-interval 300\n exit\n";

/// A short Lease: a killed leader is waited for.
pub const OPERATOR: &str = "operator: {leaseDuration: 9s}\n";

fn install(cluster: &Cluster, plan: &Plan) {
    // As a user does: definitions, roles, accounts; of its Pods we play the kubelet.
    if plan.undefined {
        let all = crate::chart::objects(&crate::chart::manifest(plan.values, ""));
        let rest = all.iter().filter(|object| object["kind"] != "CustomResourceDefinition");
        cluster.apply(&rest.map(|object| format!("---\n{object}\n")).collect::<String>());
        return;
    }
    if plan.values.is_empty() {
        cluster.apply_file("deploy/speaker.yaml");
    } else {
        cluster.apply(&crate::chart::manifest(plan.values, ""));
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
}

fn account(cluster: &Cluster, name: &str) -> std::path::PathBuf {
    cluster.service_account(NAMESPACE, name)
}

fn tor_config(keys: &str) -> String {
    let mut text = format!(
        "frr defaults traditional\nhostname tor\nrouter bgp {TOR_AS}\n bgp router-id 10.0.0.254\n \
         bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         bgp bestpath as-path multipath-relax\n neighbor nodes peer-group\n \
         neighbor nodes remote-as {NODE_AS}\n neighbor nodes timers 3 9\n{keys} \
         bgp listen range 10.0.0.0/24 peer-group nodes\n"
    );
    for family in ["ipv4", "ipv6"] {
        text += &format!(
            " address-family {family} unicast\n  neighbor nodes activate\n  maximum-paths 8\n \
             exit-address-family\n"
        );
    }
    text
}

/// The speaker.yaml of member `n`.
#[must_use]
pub fn agent_config(n: u8) -> String {
    format!(
        "node: {{name: n{n}}}
router: {{asn: {NODE_AS}}}
sources: {{kubernetes: {{enabled: true}}}}
peers:
  - name: tor
    address: 10.0.0.254
    asn: {TOR_AS}
    families: [ipv4-unicast, ipv6-unicast]
    timers: {{hold: 9s, connectRetry: 1s}}
    gracefulRestart: {{restartTime: 30s}}
advertisements:
  - name: all
    poolPrefix: {{when: allocated}}
    serviceRoutes: {{which: all, when: ready}}
api: {{socket: api.sock}}
"
    )
}

/// The addresses and routes of node `n`; also once more, after its link was down.
fn configure(node: &Node, n: u8, total: u8) {
    node.sysctl("net/ipv4/ip_forward", "1");
    node.sysctl("net/ipv6/conf/all/forwarding", "1");
    let route = |to: &str, via: &str| {
        node.ip(&["route", "replace", to, "via", via]);
    };
    node.ip(&["address", "replace", &format!("10.0.0.{n}/24"), "dev", "eth0"]);
    node.ip(&["address", "replace", &format!("fd00::{n}/64"), "dev", "eth0"]);
    route("default", "10.0.0.254");
    route("default", "fd00::254");
    // To the Pods of the others, as a CNI plugin with host routes does it.
    for other in (1..=total).filter(|other| *other != n) {
        route(&format!("10.244.{other}.0/24"), &format!("10.0.0.{other}"));
        route(&format!("fd00:10:244:{other}::/64"), &format!("fd00::{other}"));
    }
}

fn member((lab, cluster, segment): (&Lab, &Cluster, &Node), n: u8, total: u8, config: &str) -> Member {
    let name = format!("n{n}");
    let node = lab.node(&name);
    cluster.join(lab, &node);
    lab.plug(segment, &node, "eth0");
    let (v4, v6) = (Ipv4Addr::new(10, 0, 0, n), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()));
    configure(&node, n, total);
    let rack = if n % 2 == 1 { "r1" } else { "r2" };
    let spec = NodeSpec {
        pod_cidrs: vec![format!("10.244.{n}.0/24"), format!("fd00:10:244:{n}::/64")],
        ..NodeSpec::new(&name, &[v4.into(), v6.into()])
            .label("rack", rack)
            .label("topology.kubernetes.io/zone", &format!("z{n}"))
    };
    cluster.add_node(&spec);
    let account = account(cluster, AGENT_ACCOUNT);
    let account = account.to_string_lossy();
    let env =
        [("KUBECONFIG", account.as_ref()), ("POD_NAMESPACE", NAMESPACE), ("DAEMONSET_NAME", AGENT_ACCOUNT)];
    let agent = Speaker::prepare_with(&node, config, &[], &env);
    Member { node, v4, v6, agent: Mutex::new(agent) }
}
