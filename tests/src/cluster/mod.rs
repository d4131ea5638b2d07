//! A real Kubernetes control plane in a laboratory: etcd and kube-apiserver in a namespace of their own, on a
//! management segment that nodes are joined to, and on demand kube-controller-manager and kube-proxy.
//!
//! RBAC decides, tokens are ServiceAccounts' own, and every request stands in the audit log.

pub mod audit;
mod kubectl;
mod kubelet;
mod objects;
mod pods;
mod programs;
mod proxy;
mod rest;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

pub use kubelet::{Kubelet, KubeletSpec};
pub use objects::{Backend, NodeSpec, endpoint_slice};
pub use pods::pod;
pub use proxy::ProxyMode;
pub use rest::Rest;

use crate::lab::{Lab, Node};
use crate::process::Process;
use crate::wait::eventually;

/// Where the API server listens on the management segment; nodes are at 172.31.0.2 and up.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
const PORT: u16 = 6443;
const START: Duration = Duration::from_secs(60);

/// What a cluster is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// kube-controller-manager runs: Deployments make Pods, selectors make EndpointSlices, a deleted
    /// namespace takes its objects with it. Nothing schedules: [`Cluster::run_pod`] does.
    pub controllers: bool,
    /// Nodes are real: see [`Kubelet`]. kube-controller-manager and kube-scheduler run, and look after Nodes too.
    pub kubelets: bool,
    /// Further flags of kube-apiserver.
    pub flags: Vec<String>,
}

/// A control plane. It ends with the laboratory that it runs in.
#[derive(Debug)]
pub struct Cluster {
    node: Node,
    segment: Node,
    dir: PathBuf,
    options: Options,
    etcd: Mutex<Process>,
    api_server: Mutex<Process>,
    rest: Rest,
    joined: AtomicU8,
}

impl Cluster {
    /// etcd and kube-apiserver, ready to serve.
    ///
    /// # Panics
    /// If they are not within a minute.
    #[must_use]
    pub fn start(lab: &Lab) -> Self {
        Self::with(lab, Options::default())
    }

    /// As [`Self::start`], with options.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn with(lab: &Lab, options: Options) -> Self {
        let segment = lab.switch("mgmt");
        let node = lab.node("control");
        lab.plug(&segment, &node, "mgmt0");
        node.address("mgmt0", &format!("{ADDRESS}/24"));
        let dir = node.dir().to_owned();
        write_inputs(&dir);
        let etcd = spawn_etcd(&node);
        let api_server = spawn_api_server(&node, &options);
        wait_serves(&dir, &api_server);
        write_kubeconfig(&dir, "admin", "admin-token");
        let rest = Rest::new(&node, &dir.join("admin.kubeconfig"));
        let cluster = Self {
            node,
            segment,
            dir,
            options,
            etcd: Mutex::new(etcd),
            api_server: Mutex::new(api_server),
            rest,
            joined: AtomicU8::new(1),
        };
        cluster.wait_ready();
        if cluster.options.controllers || cluster.options.kubelets {
            cluster.spawn_controllers();
        }
        if cluster.options.kubelets {
            cluster.spawn_scheduler();
        }
        cluster
    }

    /// Waits until the API server says that it is ready.
    #[track_caller]
    pub fn wait_ready(&self) {
        eventually(START, "kube-apiserver is ready", || {
            let server = self.api_server();
            assert!(server.running(), "it ended: {}", server.log_tail(20));
            self.rest.text("/readyz").map(|_| ()).map_err(|e| format!("{e}\n{}", server.log_tail(5)))
        });
    }

    /// Plugs a node into the management segment (`mgmt0`), so that it reaches the API server, and returns its
    /// address there.
    ///
    /// # Panics
    /// With more than 250 nodes.
    pub fn join(&self, lab: &Lab, node: &Node) -> Ipv4Addr {
        let number = self.joined.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number < 251, "the management segment is full");
        let address = Ipv4Addr::from(u32::from(ADDRESS) - 1 + u32::from(number));
        lab.plug(&self.segment, node, "mgmt0");
        node.address("mgmt0", &format!("{address}/24"));
        address
    }

    /// The namespace of the control plane: where `kubectl` runs, and a client of the test's own can.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The API as the administrator, without kubectl's start each time.
    #[must_use]
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The kubeconfig of the administrator.
    #[must_use]
    pub fn admin(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// A kubeconfig with a token of the ServiceAccount `namespace/name`, as `kubectl create token` issues it,
    /// valid for an hour. The token is in a file of its own (`tokenFile`) beside it: a test may replace it.
    ///
    /// # Panics
    /// If there is no such account.
    #[must_use]
    pub fn service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, "--duration=1h"]);
        write_kubeconfig_in(&self.dir, namespace, &format!("{namespace}.{name}"), token.trim())
    }

    /// The process of the API server, to be paused, resumed, killed.
    ///
    /// # Panics
    /// If another thread has panicked over it.
    #[must_use]
    pub fn api_server(&self) -> Process {
        self.api_server.lock().expect("API server").clone()
    }

    /// The process of etcd.
    ///
    /// # Panics
    /// If another thread has panicked over it.
    #[must_use]
    pub fn etcd(&self) -> Process {
        self.etcd.lock().expect("etcd").clone()
    }

    /// Starts the API server again after it was killed or terminated, and waits until it is ready.
    ///
    /// # Panics
    /// If it is not within a minute.
    pub fn start_api_server(&self) {
        *self.api_server.lock().expect("API server") = spawn_api_server(&self.node, &self.options);
        self.wait_ready();
    }

    /// Starts etcd again, with the data that it has.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_etcd(&self) {
        *self.etcd.lock().expect("etcd") = spawn_etcd(&self.node);
    }

    fn spawn_controllers(&self) {
        let config = write_kubeconfig(&self.dir, "kube-controller-manager", "controllers-token");
        let mut command = programs::command("kube-controller-manager");
        command.arg(flag("kubeconfig", &config)).args([
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            "--secure-port=0",
            if self.options.kubelets {
                "--controllers=*,-node-ipam-controller"
            } else {
                // Nodes do not report: nothing is to be evicted for that.
                "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller"
            },
        ]);
        command.arg(flag("service-account-private-key-file", &self.dir.join("account.key")));
        command.arg(flag("root-ca-file", &ca(&self.dir)));
        self.node.spawn("kube-controller-manager", &mut command);
    }

    fn spawn_scheduler(&self) {
        let config = write_kubeconfig(&self.dir, "kube-scheduler", "scheduler-token");
        let mut command = programs::command("kube-scheduler");
        command.arg(flag("kubeconfig", &config)).args(["--leader-elect=false", "--secure-port=0"]);
        self.node.spawn("kube-scheduler", &mut command);
    }
}

fn flag(name: &str, value: &Path) -> String {
    format!("--{name}={}", value.display())
}

/// The API server's own certificate is also the authority that it names.
fn ca(dir: &Path) -> PathBuf {
    dir.join("certificates/apiserver.crt")
}

const TOKENS: &str = "\
admin-token,admin,admin,system:masters
controllers-token,system:kube-controller-manager,controllers
proxy-token,system:kube-proxy,proxy
scheduler-token,system:kube-scheduler,scheduler
n1-token,system:node:n1,n1,system:nodes
";

/// Who asked for what, once it is answered (and once when a watch begins).
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: [/healthz*, /livez*, /readyz*]
- level: Metadata
";

fn write_inputs(dir: &Path) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("input of the API server");
    write("tokens.csv", TOKENS);
    write("audit-policy.yaml", AUDIT_POLICY);
    let key = dir.join("account.key");
    let made = Command::new("openssl")
        // The API server reads SEC 1's form, not the PKCS #8 of `genpkey`.
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(&key)
        .output()
        .expect("openssl: is it installed?");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    kubelet::write_client_certificate(dir);
}

fn spawn_etcd(node: &Node) -> Process {
    let mut command = programs::command("etcd");
    command.arg(flag("data-dir", &node.dir().join("etcd"))).args([
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]);
    node.spawn("etcd", &mut command)
}

fn spawn_api_server(node: &Node, options: &Options) -> Process {
    let dir = node.dir();
    let mut command = programs::command("kube-apiserver");
    command.args([
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
        "--allow-privileged=true",
    ]);
    command.arg(format!("--advertise-address={ADDRESS}")).arg(format!("--secure-port={PORT}"));
    command.arg(flag("cert-dir", &dir.join("certificates")));
    command.arg(flag("token-auth-file", &dir.join("tokens.csv")));
    command.arg(flag("service-account-key-file", &dir.join("account.key")));
    command.arg(flag("service-account-signing-key-file", &dir.join("account.key")));
    command.arg(flag("audit-policy-file", &dir.join("audit-policy.yaml")));
    command.arg(flag("audit-log-path", &dir.join("audit.log")));
    if options.kubelets {
        command.args(kubelet::api_server_flags(dir));
    }
    command.args(&options.flags);
    node.spawn("kube-apiserver", &mut command)
}

/// Its certificate is there once it serves.
fn wait_serves(dir: &Path, server: &Process) {
    eventually(START, "kube-apiserver has made its certificate", || {
        assert!(server.running(), "it ended: {}", server.log_tail(20));
        let text = fs::read_to_string(ca(dir)).unwrap_or_default();
        let whole = text.contains("END CERTIFICATE") && dir.join("certificates/apiserver.key").exists();
        if whole { Ok(()) } else { Err(server.log_tail(5)) }
    });
}

fn write_kubeconfig(dir: &Path, name: &str, token: &str) -> PathBuf {
    write_kubeconfig_in(dir, "default", name, token)
}

/// `namespace` is what the account's Pods would find as their own.
fn write_kubeconfig_in(dir: &Path, namespace: &str, name: &str, token: &str) -> PathBuf {
    let token_file = dir.join(format!("{name}.token"));
    fs::write(&token_file, token).expect("token");
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {
            "server": format!("https://{ADDRESS}:{PORT}"), "certificate-authority": ca(dir)}}],
        "users": [{"name": name, "user": {"tokenFile": token_file}}],
        "contexts": [{"name": "lab", "context": {
            "cluster": "lab", "user": name, "namespace": namespace}}],
    });
    let file = dir.join(format!("{name}.kubeconfig"));
    fs::write(&file, config.to_string()).expect("kubeconfig");
    file
}
