//! A real kubelet, with containerd and runc below it: Pods on its node are processes, with the rights that their
//! manifests give them.
//!
//! It has a mount namespace of its own, with /run, /var/lib and /var/log of its own: nothing of it is seen outside,
//! and all of it goes with its processes.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Cluster, flag, programs, write_kubeconfig};
use crate::cgroup::Cgroup;
use crate::lab::Node;
use crate::process::Process;
use crate::wait::{eventually, try_eventually};

const START: Duration = Duration::from_secs(60);
const SOCKET: &str = "/run/containerd/containerd.sock";
const CLIENT: &str = "kubelet-client";

/// What a kubelet is started with.
#[derive(Debug, Clone)]
pub struct KubeletSpec<'a> {
    /// The name of its Node object: `n1`, whose token the API server knows.
    pub name: &'a str,
    /// The Node's InternalIP, by which the API server reaches it.
    pub address: IpAddr,
    /// What Pods that do not share the node's network get their addresses from.
    pub pods: &'a str,
    /// Images, as `docker save` writes them: there is no registry.
    pub images: &'a Path,
    /// The one among them that holds a Pod's sandbox open.
    pub sandbox: &'a str,
}

/// A running kubelet. Dropping it ends its Pods.
#[derive(Debug)]
pub struct Kubelet {
    dir: PathBuf,
    kubelet: Process,
    containerd: Process,
    mounts: PathBuf,
    cgroup: Cgroup,
}

impl Kubelet {
    /// Starts containerd and kubelet on a node, and waits until the Node is Ready.
    ///
    /// # Panics
    /// If it is not within a minute.
    #[must_use]
    pub fn start(cluster: &Cluster, node: &Node, spec: &KubeletSpec<'_>) -> Self {
        let dir = node.dir().join("kubelet");
        fs::create_dir_all(dir.join("cni")).expect("folder of the kubelet");
        let cgroup = node.namespace_file();
        let cgroup = Cgroup::new(&cgroup.file_name().unwrap_or_default().to_string_lossy());
        write_network(&dir, spec.pods);
        let containerd = spawn_containerd(node, &dir, spec.sandbox);
        let mounts = PathBuf::from(format!("/proc/{}/ns/mnt", containerd.pid()));
        eventually(START, "containerd answers", || {
            assert!(containerd.running(), "it ended: {}", containerd.log_tail(20));
            let mut command = within(&mounts, &ctr(&["version"]));
            let ran = node.output(&mut command);
            if ran.status.success() { Ok(()) } else { Err(containerd.log_tail(3)) }
        });
        // Named now: the process may be gone when it is asked for.
        let held = fs::read_link(&mounts).expect("mount namespace");
        let images = spec.images.to_string_lossy();
        let ran =
            node.output(&mut within(&mounts, &ctr(&["--namespace", "k8s.io", "images", "import", &images])));
        assert!(ran.status.success(), "ctr: {}", String::from_utf8_lossy(&ran.stderr));
        let kubelet = spawn_kubelet(cluster, node, spec, &dir, &cgroup, &mounts);
        let started = Self { dir, kubelet, containerd, mounts: held, cgroup };
        eventually(START, "the Node is Ready", || {
            assert!(started.kubelet.running(), "the kubelet ended: {}", started.kubelet.log_tail(30));
            let node = cluster.rest().get(&format!("/api/v1/nodes/{}", spec.name))?;
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().find(|one| one["type"] == "Ready").cloned().unwrap_or_default();
            if ready["status"] == "True" { Ok(()) } else { Err(ready.to_string()) }
        });
        started
    }

    /// The processes of its Pods whose command line, with spaces, begins so; those of the node for the sandboxes too.
    #[must_use]
    pub fn processes(&self, command: &str) -> Vec<i32> {
        let line = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        };
        self.cgroup.processes().into_iter().filter(|pid| line(pid).starts_with(command)).collect()
    }

    /// A folder of the node, by its path there: one below /run, /var/lib or /var/log.
    #[must_use]
    pub fn folder(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    fn print_logs(&self) {
        let ran = Command::new("find").arg(self.folder("/var/log/pods")).args(["-name", "*.log"]).output();
        let files = ran.map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned()).unwrap_or_default();
        for file in files.lines() {
            let text = fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {file}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // It would start again what ends below it.
        self.kubelet.kill();
        self.containerd.kill();
        // What held the containers' ends: containerd's shims outlive it. The containers themselves go with the group.
        let left = try_eventually(Duration::from_secs(10), || {
            let shims = sharers(&self.mounts);
            for pid in &shims {
                let _dead_already = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if shims.is_empty() { Ok(()) } else { Err(format!("processes {shims:?}")) }
        });
        if let Err(left) = left
            && !std::thread::panicking()
        {
            panic!("left behind: {left}");
        }
    }
}

/// The processes that live in a mount namespace.
fn sharers(mounts: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|own| own == mounts)).collect()
}

/// A command in a mount namespace; the process is the command's own.
fn within(mounts: &Path, inner: &Command) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(flag("mount", mounts)).arg("--").arg(inner.get_program()).args(inner.get_args());
    command
}

fn ctr(args: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command.args(["--address", SOCKET]).args(args);
    command
}

/// In a mount namespace of its own: `$1` is the node's folder.
const NODE: &str = r#"set -eu
# The containers' mounts are to be seen by the kubelet; nothing of this reaches the machine's own.
mount --make-rshared /
cd "$1"
for place in run var/lib var/log; do
    mkdir -p "$place"
    mount --bind "$place" "/$place"
done
# The kubelet wants these values, and would set them for the whole machine.
for wanted in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=sysctl-$(echo "${wanted%=*}" | tr / -)
    echo "${wanted#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${wanted%=*}"
done
exec containerd --config "$1/containerd.toml"
"#;

fn spawn_containerd(node: &Node, dir: &Path, sandbox: &str) -> Process {
    // Debian's containernetworking-plugins. Copies of layers work on every file system, and nobody here may lower an
    // oom_score_adj: that takes CAP_SYS_RESOURCE.
    let config = format!(
        "version = 2
root = \"/var/lib/containerd\"
state = \"/run/containerd\"
[grpc]
  address = \"{SOCKET}\"
[plugins.\"io.containerd.grpc.v1.cri\"]
  sandbox_image = \"{sandbox}\"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins.\"io.containerd.grpc.v1.cri\".containerd]
  snapshotter = \"native\"
[plugins.\"io.containerd.grpc.v1.cri\".cni]
  bin_dir = \"/usr/lib/cni\"
  conf_dir = \"{}\"
",
        dir.join("cni").display()
    );
    fs::write(dir.join("containerd.toml"), config).expect("containerd.toml");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave", "sh", "-c", NODE, "sh"]).arg(dir);
    node.spawn("containerd", &mut command)
}

/// A network of Pods: a veth pair and a host route for each.
fn write_network(dir: &Path, pods: &str) {
    let network = json!({
        "cniVersion": "0.4.0", "name": "pods", "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local", "dataDir": "/var/lib/cni",
                "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}}]});
    fs::write(dir.join("cni/pods.conflist"), network.to_string()).expect("pods.conflist");
}

fn spawn_kubelet(
    cluster: &Cluster,
    node: &Node,
    spec: &KubeletSpec<'_>,
    dir: &Path,
    cgroup: &Cgroup,
    mounts: &Path,
) -> Process {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs", "cgroupRoot": cgroup.path(),
        // For machines that still have version 1.
        "failCgroupV1": false,
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": cluster.dir.join(format!("{CLIENT}.crt"))}},
        "authorization": {"mode": "Webhook"},
        "protectKernelDefaults": true, "oomScoreAdj": 0, "failSwapOn": false, "resolvConf": "",
        // The disk is the machine's, and may be as full as it likes.
        "evictionHard": {"memory.available": "50Mi"}, "imageGCHighThresholdPercent": 100,
        // A changed ConfigMap is seen after five seconds, not after a minute.
        "syncFrequency": "5s",
    });
    let file = dir.join("kubelet.json");
    fs::write(&file, config.to_string()).expect("kubelet.json");
    let access = write_kubeconfig(&cluster.dir, spec.name, &format!("{}-token", spec.name));
    let mut command = programs::command("kubelet");
    command.arg(flag("config", &file)).arg(flag("kubeconfig", &access));
    command.arg(format!("--hostname-override={}", spec.name)).arg(format!("--node-ip={}", spec.address));
    node.spawn("kubelet", &mut within(mounts, &command))
}

/// What the API server shows kubelets, that they let it read logs and run commands.
pub(super) fn write_client_certificate(dir: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/O=system:masters/CN=kube-apiserver", "-keyout"])
        .arg(dir.join(format!("{CLIENT}.key")))
        .arg("-out")
        .arg(dir.join(format!("{CLIENT}.crt")))
        .output()
        .expect("openssl");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

pub(super) fn api_server_flags(dir: &Path) -> [String; 3] {
    [
        flag("kubelet-client-certificate", &dir.join(format!("{CLIENT}.crt"))),
        flag("kubelet-client-key", &dir.join(format!("{CLIENT}.key"))),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
    ]
}
