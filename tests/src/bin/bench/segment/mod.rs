//! L2 announcements: ARP answers a second, the latency of one, and how long an address is without a holder.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::json;
use tests::cluster::{Cluster, NodeSpec};
use tests::lab::{Lab, Node};
use tests::speaker::Speaker;
use tests::wait::eventually;

use crate::report::{median, quantile, table, time};
use crate::{Options, heading};

const DEADLINE: Duration = Duration::from_secs(60);
const LEASE: &str = "3s";
/// How many requests may be unanswered.
const WINDOW: usize = 64;
const FLOOD: Duration = Duration::from_secs(5);
const FAILOVERS: usize = 10;
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

const CONFIG: &str = "ipam: {stateDir: state}\ndatapath: {loops: none}\napi: {socket: api.sock}\n";

const MANIFESTS: &str = "apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: segment}
spec: {blocks: [{start: 192.0.2.100, stop: 192.0.2.120}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, ports: [{port: 80}]}
";

/// Runs all of it and prints the tables.
pub(crate) fn run(options: &Options) {
    heading("L2: ARP");
    arp(options);
    heading(&format!("L2: failover, {FAILOVERS} times each, leaseDuration {LEASE}"));
    failover();
}

/// A client of ARP on the one interface of its namespace.
struct Asker {
    socket: OwnedFd,
    link: LinkAddr,
    own: Ipv4Addr,
}

impl Asker {
    fn new(node: &Node, own: Ipv4Addr) -> Self {
        let (socket, link) = node.inside(|| {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
                    .expect("packet socket");
            let patience = TimeVal::new(0, 200_000);
            setsockopt(&socket, sockopt::ReceiveTimeout, &patience).expect("SO_RCVTIMEO");
            let mut all = getifaddrs().expect("interfaces");
            let link = all.find_map(|one| {
                let address = one.address.filter(|_| one.interface_name == "eth0")?;
                address.as_link_addr().copied()
            });
            (socket, link.expect("eth0"))
        });
        Self { socket, link, own }
    }

    fn ask(&self) {
        let mac = self.link.addr().expect("Ethernet address");
        let mut frame = Vec::with_capacity(60);
        frame.extend([0xff; 6]);
        frame.extend(mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend(self.own.octets());
        frame.extend([0; 6]);
        frame.extend(VIP.octets());
        frame.resize(60, 0);
        sendto(self.socket.as_raw_fd(), &frame, &self.link, MsgFlags::empty()).expect("send");
    }

    /// Waits for an answer, 200 ms at most between any two frames.
    fn answered(&self) -> bool {
        self.answered_by().is_some()
    }

    /// The same: whose Ethernet address it tells.
    fn answered_by(&self) -> Option<[u8; 6]> {
        let mut frame = [0; 128];
        loop {
            let n = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
            let reply = n >= 42 && frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
            if reply && frame[28..32] == VIP.octets() {
                return frame[22..28].try_into().ok();
            }
        }
    }
}

fn arp(options: &Options) {
    let lab = Lab::new();
    let (host, client) = (lab.node("host"), lab.node("client"));
    lab.link(&host, "eth0", &client, "eth0");
    host.address("eth0", "192.0.2.11/24");
    client.address("eth0", "192.0.2.1/24");
    let config = format!("sources: {{manifests: [manifests]}}\nl2: {{enabled: true}}\n{CONFIG}");
    let _speaker = Speaker::start(&host, &config, &[("all.yaml", MANIFESTS.to_owned())]);
    let asker = Asker::new(&client, Ipv4Addr::new(192, 0, 2, 1));
    eventually(DEADLINE, "ARP is answered", || {
        asker.ask();
        if asker.answered() { Ok(()) } else { Err("no answer".to_owned()) }
    });
    let mut times = Vec::new();
    for _ in 0..options.samples.max(2000) {
        let begun = Instant::now();
        asker.ask();
        if asker.answered() {
            times.push(begun.elapsed());
        }
    }
    let (begun, mut answers, mut lost) = (Instant::now(), 0_u32, 0_u32);
    (0..WINDOW).for_each(|_| asker.ask());
    while begun.elapsed() < FLOOD {
        if asker.answered() {
            answers += 1;
        } else {
            lost += 1;
        }
        asker.ask();
    }
    let rate = f64::from(answers) / begun.elapsed().as_secs_f64();
    table(
        &["what", "measured"],
        &[
            vec![format!("answers a second, {WINDOW} requests unanswered at a time"), format!("{rate:.0}")],
            vec!["times that nothing came for 200 ms".to_owned(), lost.to_string()],
            vec!["one request at a time: median".to_owned(), time(median(&times))],
            vec!["99 of 100".to_owned(), time(quantile(&times, 0.99))],
            vec!["longest".to_owned(), time(quantile(&times, 1.0))],
        ],
    );
}

/// Two nodes that may hold the address, a client on their segment, and the API server.
struct Bench {
    hosts: Vec<Speaker>,
    client: Node,
    cluster: Cluster,
    _lab: Lab,
}

fn bench() -> Bench {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab);
    cluster.apply_file("deploy/crds");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    let switch = lab.switch("switch");
    let client = lab.node("client");
    lab.plug(&switch, &client, "eth0");
    client.address("eth0", "192.0.2.1/24");
    cluster.apply(
        "apiVersion: cilium.io/v2alpha1\nkind: CiliumL2AnnouncementPolicy\nmetadata: {name: segment}\n\
         spec: {loadBalancerIPs: true, interfaces: [^eth0$]}\n",
    );
    let config = format!(
        "sources: {{kubernetes: {{enabled: true}}}}\nl2: {{enabled: true, interfaces: [\"^eth0$\"], leaseDuration: \
         {LEASE}}}\n{CONFIG}"
    );
    let kubeconfig = cluster.admin();
    let hosts: Vec<Speaker> = (1..=2)
        .map(|n| {
            let name = format!("n{n}");
            let node = lab.node(&name);
            lab.plug(&switch, &node, "eth0");
            node.address("eth0", &format!("192.0.2.{}/24", 10 + n));
            let address = cluster.join(&lab, &node);
            cluster.add_node(&NodeSpec::new(&name, &[address.into()]));
            let env = [("KUBECONFIG", kubeconfig.to_str().expect("path")), ("NODE_NAME", &name)];
            Speaker::prepare_with(&node, &config, &[], &env)
        })
        .collect();
    hosts.iter().for_each(Speaker::wait_ready);
    let path = "/api/v1/namespaces/default/services";
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
    cluster.rest().create(
        path,
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}),
    );
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": VIP.to_string()}]}}});
    cluster.rest().patch(&format!("{path}/web/status"), &status);
    Bench { hosts, client, cluster, _lab: lab }
}

/// From the loss until the client is answered again, by the node that is left.
fn failover() {
    let mut bench = bench();
    let asker = Asker::new(&bench.client, Ipv4Addr::new(192, 0, 2, 1));
    let mut rows = Vec::new();
    for orderly in [true, false] {
        let mut times = Vec::new();
        for _ in 0..FAILOVERS {
            let (holder, old) = eventually(DEADLINE, "one holds the address", || {
                let lease = bench.cluster.kubectl(&[
                    "get",
                    "lease",
                    "-A",
                    "-o",
                    "jsonpath={range .items[*]}{.metadata.name}={.spec.holderIdentity} {end}",
                ]);
                let holder = lease
                    .split(' ')
                    .find_map(|one| one.strip_prefix("cilium-l2announce-default-web="))
                    .unwrap_or_default();
                let of = |one: &str| match one {
                    "n1" => Some(0),
                    "n2" => Some(1),
                    _ => None,
                };
                asker.ask();
                let by = asker.answered_by();
                of(holder).zip(by).ok_or_else(|| lease.clone())
            });
            let begun = Instant::now();
            std::thread::scope(|scope| {
                let process = bench.hosts[holder].process();
                scope.spawn(move || {
                    if orderly {
                        process.terminate();
                    } else {
                        process.kill();
                    }
                });
                eventually(DEADLINE, "the other one answers", || {
                    asker.ask();
                    let by = asker.answered_by();
                    if by.is_some_and(|by| by != old) { Ok(()) } else { Err(format!("{by:?}")) }
                });
                times.push(begun.elapsed());
            });
            bench.hosts[holder].start_again();
        }
        let how = if orderly { "orderly (SIGTERM)" } else { "crash (SIGKILL)" };
        rows.push(vec![
            how.to_owned(),
            time(quantile(&times, 0.0)),
            time(median(&times)),
            time(quantile(&times, 1.0)),
        ]);
    }
    table(&["the holder goes", "shortest", "median", "longest"], &rows);
}
