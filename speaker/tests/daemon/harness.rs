//! Processes of the `speaker` command in a folder of their own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is there.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("waited in vain until {what}; seen: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A folder, removed at the end; what the daemons in it have logged is shown when a test fails.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("spk").unwrap();
        fs::create_dir(folder.path().join("m")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file at once, as an editor does.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// Replaces `from` by `to` in a file. `from` must be there.
    #[track_caller]
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from:?} is not in {name}:\n{text}");
        self.write(name, &text.replace(from, to));
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Starts a daemon whose configuration is `NAME.yaml` with socket `NAME.sock`.
    pub(crate) fn start(&self, name: &str, config: &str) -> Daemon {
        self.start_with(name, config, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(&self, name: &str, config: &str, arguments: &[&str]) -> Daemon {
        self.write(&format!("{name}.yaml"), config);
        Daemon::start(self.folder.path(), name, arguments)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.folder.path(), arguments)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    let log = fs::read_to_string(&path).unwrap_or_default();
                    eprintln!("---- {}\n{log}", path.display());
                }
            }
        }
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_speaker"));
    command.args(arguments).current_dir(folder).env_remove("RUST_LOG").env_remove("NODE_NAME");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(folder, arguments).stdin(Stdio::null()).output().unwrap();
    Ran {
        code: status.code().unwrap_or_else(|| panic!("speaker {arguments:?} was ended by a signal")),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A running daemon, killed when dropped.
pub(crate) struct Daemon {
    folder: PathBuf,
    name: String,
    child: Child,
}

impl Daemon {
    fn start(folder: &Path, name: &str, more: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(folder.join(format!("{name}.log"))).unwrap();
        let child = command(folder, &["run", "--config", &format!("{name}.yaml")])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self { folder: folder.to_owned(), name: name.to_owned(), child };
        eventually(&format!("{name} answers"), || {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} has ended: {}", daemon.log());
            let ran = daemon.speaker(&["version", "-o", "json"]);
            if ran.code == 0 { Ok(()) } else { Err(ran.err) }
        });
        daemon
    }

    /// Runs a command that asks this daemon.
    pub(crate) fn speaker(&self, arguments: &[&str]) -> Ran {
        let socket = format!("{}.sock", self.name);
        run(&self.folder, &[arguments, &["--socket", &socket]].concat())
    }

    /// A reader's JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.speaker(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&ran.out)
            .unwrap_or_else(|error| panic!("speaker {arguments:?}: {error}: {ran:?}"))
    }

    pub(crate) fn peer(&self, name: &str) -> Value {
        self.json(&["peers", name])
    }

    pub(crate) fn version(&self) -> Value {
        self.json(&["version"])
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join(format!("{}.log", self.name))).unwrap()
    }

    #[track_caller]
    pub(crate) fn logged(&self, text: &str) {
        eventually(&format!("{} logs {text:?}", self.name), || {
            if self.log().contains(text) { Ok(()) } else { Err("not yet".to_owned()) }
        });
    }

    /// Waits until a session is up.
    #[track_caller]
    pub(crate) fn up(&self, peer: &str) {
        self.peer_is(peer, "is up", |view| view["state"] == "Established");
    }

    /// Waits until a session is in a state that `right` accepts.
    #[track_caller]
    pub(crate) fn peer_is(&self, peer: &str, what: &str, right: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{peer} {what}"), || {
            let ran = self.speaker(&["peers", peer, "-o", "json"]);
            // Exit 3: there is no such peer.
            let view = if ran.code == 3 { Value::Null } else { serde_json::from_str(&ran.out).unwrap() };
            if right(&view) { Ok(view) } else { Err(view.to_string()) }
        })
    }

    /// The prefixes that peers have sent, in order.
    pub(crate) fn received(&self) -> Vec<String> {
        let rows = self.json(&["rib", "received"]);
        rows.as_array().unwrap().iter().map(|row| row["prefix"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until peers have sent exactly these.
    #[track_caller]
    pub(crate) fn receives(&self, prefixes: &[&str]) {
        eventually(&format!("{} has {prefixes:?}", self.name), || {
            let seen = self.received();
            if seen == prefixes { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// The row of one received prefix.
    #[track_caller]
    pub(crate) fn route(&self, prefix: &str) -> Value {
        let rows = self.json(&["rib", "received", prefix]);
        rows[0].clone()
    }

    /// Where it listens, by the order of `router.listen`.
    #[track_caller]
    pub(crate) fn port(&self) -> u16 {
        eventually("it listens", || {
            let version = self.version();
            let bound = version["listeners"][0]["bound"].as_str().map(str::to_owned);
            bound.ok_or_else(|| version.to_string())
        })
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap()
    }

    /// The address of `api.http` or `--metrics`, as the log has it.
    #[track_caller]
    pub(crate) fn http(&self, key: &str) -> String {
        let wanted = format!("{key}: listening on ");
        eventually(&format!("{wanted} is logged"), || {
            let log = self.log();
            let line = log.lines().find_map(|line| Some(line.split_once(&wanted)?.1.trim().to_owned()));
            line.ok_or(log)
        })
    }

    /// Asks a path of `api.http`: the status and the text.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&self.http("api.http"), path)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.ended()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.ended();
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("it ends", || child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()))
    }

    /// The same again, with the configuration that is there now.
    pub(crate) fn start_again(scene: &Scene, name: &str) -> Self {
        Self::start(scene.folder.path(), name, &[])
    }
}

/// One request of HTTP: the status and the text.
#[track_caller]
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A router that takes in everything, and a node that announces.
pub(crate) struct Pair {
    pub(crate) node: Daemon,
    pub(crate) router: Daemon,
    pub(crate) scene: Scene,
    pub(crate) port: u16,
}

/// The node's usual advertisement.
pub(crate) const FABRIC: &str = "advertisements:
  - name: fabric
    poolPrefix: {when: allocated}
    serviceRoutes: {which: local, when: ready}
    allow: [203.0.113.0/24, 198.51.100.0/24, \"2001:db8::/32\"]
";

pub(crate) fn router(peers: &str) -> String {
    format!(
        "node: {{name: router}}
router: {{asn: 64500, routerId: 10.255.0.1, listen: [\"127.0.0.1:0\"]}}
ipam: {{enabled: false, stateDir: router-state}}
{peers}
api: {{socket: router.sock}}
datapath: {{loops: none}}
"
    )
}

/// The router's usual peer, with more settings.
pub(crate) fn router_peer(settings: &str) -> String {
    format!(
        "peers:
  - {{name: node, address: 127.0.0.2, asn: 64501, passive: true, receive: all, nextHop: {{ipv6: \"2001:db8:ffff::1\"}}{settings}}}"
    )
}

/// A node with the usual peer, with more settings of the peer and more of everything else.
pub(crate) fn node(port: u16, settings: &str, rest: &str) -> String {
    format!(
        "node: {{name: n1}}
router: {{asn: 64501, routerId: 10.255.0.2}}
sources: {{manifests: [m]}}
ipam: {{stateDir: state}}
api: {{socket: node.sock}}
datapath: {{loops: none}}
peers:
  - {{name: tor, address: 127.0.0.1, port: {port}, localAddress: 127.0.0.2, asn: 64500, nextHop: {{ipv6: \"2001:db8:ffff::2\"}}{settings}}}
{rest}"
    )
}

impl Pair {
    /// Both with the usual configuration, `rest` beside the node's peer; the session is up.
    pub(crate) fn start(rest: &str) -> Self {
        Self::with("", "", rest, |_| {})
    }

    /// The same with `settings` for both sides' peer, and with manifests made by `prepare`.
    pub(crate) fn with(
        router_settings: &str,
        node_settings: &str,
        rest: &str,
        prepare: impl Fn(&Scene),
    ) -> Self {
        let scene = Scene::new();
        prepare(&scene);
        let router = scene.start("router", &router(&router_peer(router_settings)));
        let port = router.port();
        let node = scene.start("node", &node(port, node_settings, rest));
        node.up("tor");
        router.up("node");
        Self { node, router, scene, port }
    }

    /// The node's configuration, changed.
    pub(crate) fn reconfigure(&self, settings: &str, rest: &str) {
        self.scene.write("node.yaml", &node(self.port, settings, rest));
    }
}

/// A pool.
pub(crate) fn pool(name: &str, cidr: &str) -> String {
    format!(
        "---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {{name: {name}, labels: {{pool: {name}}}}}
spec:
  blocks:
    - cidr: \"{cidr}\"
"
    )
}

/// A Service of type LoadBalancer with more of a spec.
pub(crate) fn service(name: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}
spec:
  type: LoadBalancer
  ports: [{{port: 80}}]
  {spec}
"
    )
}

/// An endpoint of a Service on a node, ready or not.
pub(crate) fn endpoint(service: &str, node: &str, ready: bool) -> String {
    format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-{node}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints:
  - {{addresses: [10.244.0.7], nodeName: {node}, conditions: {{ready: {ready}}}}}
"
    )
}

pub(crate) const LOCAL: &str = "externalTrafficPolicy: Local";
