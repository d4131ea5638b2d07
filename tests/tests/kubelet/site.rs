//! A node with a real kubelet, a router, and a client behind it.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::chart::root;
use tests::cluster::{Cluster, Kubelet, KubeletSpec, Options, ProxyMode};
use tests::daemon::{Family, Frr, PeerSpec, Router as _, Spec};
use tests::docker::Docker;
use tests::echo::ask;
use tests::lab::{Lab, Node};
use tests::speaker::target;
use tests::wait::{eventually, pause};

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const NAMESPACE: &str = "speaker-system";
pub(crate) const IMAGE: &str = "registry.example/speaker:test";
pub(crate) const SANDBOX: &str = "registry.example/pause:lab";
pub(crate) const POOL: &str = "203.0.113.0/24";
pub(crate) const NODE: &str = "10.0.0.1";
pub(crate) const PODS: &str = "10.244.1.0/24";

/// What a user adds to the shipped speaker.yaml: its own comment, filled in.
pub(crate) const PEER: &str = "
router: {asn: 64501}
peers:
  - {name: tor, address: 10.0.0.254, asn: 64500, timers: {hold: 9s, keepalive: 3s, connectRetry: 1s}RESTART}
advertisements:
  - name: fabric
    poolPrefix: {when: allocated}
    serviceRoutes: {which: all, when: ready}
";
pub(crate) const KEEPS: &str = ", gracefulRestart: {restartTime: 60s}";

/// A node with a kubelet, a router, and a client behind the router.
pub(crate) struct Site {
    pub(crate) kubelet: Kubelet,
    pub(crate) tor: Frr,
    pub(crate) node: Node,
    pub(crate) outside: Node,
    pub(crate) cluster: Cluster,
    /// The speaker.yaml that is shipped.
    pub(crate) shipped: String,
    /// Last, so that it goes last.
    pub(crate) _lab: Lab,
}

pub(crate) fn manifest() -> String {
    // As deploy/README.md has it: sed 's#image: speaker:0.1.0#image: …#'.
    let shipped = fs::read_to_string(root().join("deploy/speaker.yaml")).unwrap();
    let ours = shipped.replace("image: speaker:0.1.0", &format!("image: {IMAGE}"));
    assert_eq!(ours.matches(IMAGE).count(), 2, "agent and operator");
    ours
}

impl Site {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let images = lab.dir().join("images.tar");
        let docker = Docker::start();
        docker.build(IMAGE);
        docker.build_of(SANDBOX, &target().join("kubernetes/pause"));
        docker.save(&[IMAGE, SANDBOX], &images);
        drop(docker);

        let cluster = Cluster::with(&lab, Options { kubelets: true, ..Options::default() });
        let (node, tor_node, outside) = (lab.node("n1"), lab.node("tor"), lab.node("outside"));
        let management = cluster.join(&lab, &node).to_string();
        lab.link(&node, "eth0", &tor_node, "eth0");
        lab.link(&tor_node, "eth1", &outside, "eth0");
        node.address("eth0", "10.0.0.1/24");
        tor_node.address("eth0", "10.0.0.254/24");
        tor_node.address("eth1", "198.18.0.1/24");
        outside.address("eth0", "198.18.0.2/24");
        tor_node.sysctl("net/ipv4/ip_forward", "1");
        node.ip(&["route", "add", "default", "via", "10.0.0.254"]);
        outside.ip(&["route", "add", "default", "via", "198.18.0.1"]);
        for to in [NODE, PODS] {
            cluster.node().ip(&["route", "add", to, "via", &management]);
        }
        let peer = PeerSpec {
            families: vec![Family::V4],
            hold: Some(9),
            graceful_restart: Some(60),
            ..PeerSpec::new("10.0.0.254".parse().unwrap(), NODE.parse().unwrap(), 64501)
        };
        let tor = Frr::start(
            &tor_node,
            &Spec { asn: 64500, router_id: "10.0.0.254".parse().unwrap(), peers: vec![peer] },
        );
        cluster.start_proxy(&node, "n1", ProxyMode::Nftables);
        let spec =
            KubeletSpec { name: "n1", address: ip(NODE), pods: PODS, images: &images, sandbox: SANDBOX };
        let kubelet = Kubelet::start(&cluster, &node, &spec);
        Self { kubelet, tor, node, outside, cluster, shipped: String::new(), _lab: lab }
    }

    pub(crate) fn kubectl(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        self.cluster.kubectl(&[&["--namespace", NAMESPACE], &words[..]].concat())
    }

    /// `kubectl speaker …`, the plugin that is shipped.
    pub(crate) fn plugin(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(root().join("deploy/kubectl-speaker"));
        command
            .args(arguments)
            .env("KUBECTL", self.cluster.kubectl_program())
            .env_remove("SPEAKER_NAMESPACE");
        let ran = self.cluster.node().output(&mut command);
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        if ran.status.success() { Ok(out.into_owned()) } else { Err(format!("{out}{err}")) }
    }

    pub(crate) fn pods(&self, component: &str) -> Vec<Value> {
        let label = format!("app.kubernetes.io/component={component}");
        let list = self.cluster.kubectl_json(&["get", "pods", "-n", NAMESPACE, "-l", &label]);
        list["items"].as_array().unwrap().clone()
    }

    pub(crate) fn agent(&self) -> Value {
        let pods = self.pods("agent");
        assert_eq!(pods.len(), 1, "{pods:?}");
        pods[0].clone()
    }

    /// The agent's process.
    pub(crate) fn process(&self) -> i32 {
        let all = self.kubelet.processes("/speaker run ");
        assert_eq!(all.len(), 1, "agents");
        all[0]
    }

    /// The process of a replica of the operator.
    pub(crate) fn replica(&self, pod: &str) -> i32 {
        let named = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|word| word == format!("POD_NAME={pod}").as_bytes())
        };
        self.kubelet.processes("/speaker operator ").into_iter().find(named).expect("the replica runs")
    }

    /// As `kubectl edit configmap speaker` does it.
    pub(crate) fn configure(&self, restart: &str) {
        let text = format!("{}{}", self.shipped, PEER.replace("RESTART", restart));
        let change = json!({"data": {"speaker.yaml": text}}).to_string();
        self.cluster.kubectl(&[
            "patch",
            "configmap",
            "speaker",
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            &change,
        ]);
    }

    /// What the router has from the node.
    pub(crate) fn routes(&self) -> Vec<String> {
        let seen = self.tor.received(ip(NODE), Family::V4);
        seen.iter().map(|route| route.prefix.to_string()).collect()
    }

    /// How often the session with the node has come up.
    pub(crate) fn sessions(&self) -> u64 {
        let text = self.tor.vtysh(&[&format!("show bgp neighbors {NODE} json")]);
        let neighbors: Value = serde_json::from_str(&text).unwrap();
        neighbors[NODE]["connectionsEstablished"].as_u64().unwrap()
    }

    /// The session has come up since, and the routes are there.
    pub(crate) fn wait_new_session(&self, before: u64) {
        eventually(SOON, "there is a new session, with the routes", || {
            let now = (self.sessions(), self.routes());
            if now.0 > before && now.1.len() == 2 { Ok(()) } else { Err(format!("{now:?}, before {before}")) }
        });
    }

    pub(crate) fn wait_routes(&self, wanted: &[&str]) {
        eventually(SOON, &format!("the router has {wanted:?}"), || {
            let seen = self.routes();
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// The router has these routes at every moment of `work`.
    pub(crate) fn kept<T: Send>(&self, wanted: &[&str], work: impl FnOnce() -> T + Send) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                // Also when it panics.
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                done.store(true, Ordering::Relaxed);
                result
            });
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(self.routes(), wanted, "after {looks} looks");
                looks += 1;
                pause();
            }
            assert!(looks > 10, "the router was hardly looked at");
            worker.join().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn reach(&self, address: &str, pod: &str) {
        eventually(SOON, "the Service answers to a client behind the router", || {
            let answer = ask(&self.outside, ip(address), 80, Duration::from_secs(1))?;
            if answer.server == pod { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

pub(crate) fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// A line of /proc/PID/status.
pub(crate) fn proc_status(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {key}: {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}
