//! Network namespaces with links between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup;
use crate::process::Process;
use crate::wait::try_eventually;

/// What every namespace of the laboratory is called first.
const PREFIX: &str = "spk-";

static SWEEP: Once = Once::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A laboratory: its namespaces, its processes and its folder. Dropping it removes all of them.
#[derive(Debug)]
pub struct Lab {
    id: String,
    dir: PathBuf,
    nodes: Mutex<Vec<Node>>,
    captures: Mutex<u32>,
}

/// A network namespace of a laboratory.
#[derive(Debug, Clone)]
pub struct Node(Arc<NodeInner>);

#[derive(Debug)]
struct NodeInner {
    name: String,
    namespace: String,
    dir: PathBuf,
    processes: Mutex<Vec<Process>>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty laboratory. The first one of a process also removes what dead processes left behind.
    ///
    /// # Panics
    /// Without the right to make namespaces (root).
    #[must_use]
    pub fn new() -> Self {
        SWEEP.call_once(sweep);
        let id = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = PathBuf::from("/tmp").join(&id);
        fs::create_dir_all(&dir).expect("folder of the laboratory");
        Self { id, dir, nodes: Mutex::default(), captures: Mutex::default() }
    }

    /// The folder of the laboratory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A fresh file name in the folder for a capture.
    #[must_use]
    pub fn capture_file(&self) -> PathBuf {
        let mut n = self.captures.lock().expect("captures");
        *n += 1;
        self.dir.join(format!("capture-{n}.pcap"))
    }

    /// A new namespace, loopback up, addresses usable at once (no duplicate address detection).
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn node(&self, name: &str) -> Node {
        let node = self.named(name, |namespace| {
            run(Command::new("ip").args(["netns", "add", namespace]));
        });
        for scope in ["all", "default", "lo"] {
            node.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0");
        }
        node.ip(&["link", "set", "lo", "up"]);
        node
    }

    /// The namespace of a process, which stays until the laboratory goes: what is in it is killed then.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn attach(&self, name: &str, process: i32) -> Node {
        self.named(name, |namespace| {
            run(Command::new("ip").args(["netns", "attach", namespace, &process.to_string()]));
        })
    }

    fn named(&self, name: &str, make: impl FnOnce(&str)) -> Node {
        let namespace = format!("{}-{name}", self.id);
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).expect("folder of a node");
        make(&namespace);
        let inner = NodeInner { name: name.to_owned(), namespace, dir, processes: Mutex::default() };
        let node = Node(Arc::new(inner));
        self.nodes.lock().expect("nodes").push(node.clone());
        node
    }

    /// A veth pair between two nodes, both ends up.
    pub fn link(&self, a: &Node, a_dev: &str, b: &Node, b_dev: &str) {
        let (a_ns, b_ns) = (&a.0.namespace, &b.0.namespace);
        run(Command::new("ip")
            .args(["link", "add", a_dev, "netns", a_ns, "type", "veth"])
            .args(["peer", "name", b_dev, "netns", b_ns]));
        a.ip(&["link", "set", a_dev, "up"]);
        b.ip(&["link", "set", b_dev, "up"]);
    }

    /// A namespace with a bridge `br0`: an Ethernet segment.
    pub fn switch(&self, name: &str) -> Node {
        let node = self.node(name);
        node.ip(&["link", "add", "br0", "type", "bridge"]);
        node.ip(&["link", "set", "br0", "up"]);
        node
    }

    /// Plugs a new interface of `node` into a switch.
    pub fn plug(&self, switch: &Node, node: &Node, dev: &str) {
        let port = format!("p{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.link(switch, &port, node, dev);
        switch.ip(&["link", "set", &port, "master", "br0"]);
    }

    /// Prints the last lines of every log, as a laboratory does that is dropped by a test that failed.
    ///
    /// # Panics
    /// If another thread has panicked over it.
    pub fn report(&self) {
        for node in self.nodes.lock().expect("nodes").iter() {
            for process in node.0.processes.lock().expect("processes").iter() {
                let state =
                    process.ended().map_or_else(|| "running".to_owned(), |status| format!("ended, {status}"));
                eprintln!("--- {}/{} ({state}):", node.0.name, process.name());
                eprintln!("{}", process.log_tail(60));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
        }
        let left: Vec<String> = self
            .nodes
            .lock()
            .map(|nodes| nodes.iter().filter_map(|n| remove(&n.0.namespace).err()).collect())
            .unwrap_or_default();
        for node in self.nodes.lock().iter().flat_map(|nodes| nodes.iter()) {
            for process in node.0.processes.lock().iter().flat_map(|processes| processes.iter()) {
                let _reaped = process.ended();
            }
        }
        if std::env::var_os("LAB_KEEP").is_none() {
            let _gone = fs::remove_dir_all(&self.dir);
        }
        if !left.is_empty() && !std::thread::panicking() {
            panic!("left behind: {}", left.join("; "));
        }
    }
}

impl Node {
    /// Its name in the laboratory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its own folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The file that a thread enters the namespace by (setns).
    #[must_use]
    pub fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0.namespace)
    }

    /// Runs `work` on a thread that is inside the namespace: sockets that it makes stay there.
    ///
    /// # Panics
    /// If `work` panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = fs::File::open(self.namespace_file()).expect("namespace");
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a process in the namespace. Its log is `NAME.log` in the node's folder.
    pub fn spawn(&self, name: &str, command: &mut Command) -> Process {
        let log = self.0.dir.join(format!("{name}.log"));
        let process = self.inside(|| Process::start(name, &log, command));
        self.0.processes.lock().expect("processes").push(process.clone());
        process
    }

    /// Runs a command in the namespace to its end and returns what came of it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn output(&self, command: &mut Command) -> Output {
        self.inside(|| command.output().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    /// Runs a command and returns its standard output.
    ///
    /// # Errors
    /// Both outputs, when it exits with anything but 0.
    pub fn try_exec(&self, argv: &[&str]) -> Result<String, String> {
        self.try_run(Command::new(argv[0]).args(&argv[1..]))
    }

    /// As [`Self::try_exec`].
    ///
    /// # Errors
    /// Both outputs, when it exits with anything but 0.
    pub fn try_run(&self, command: &mut Command) -> Result<String, String> {
        let output = self.output(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        Err(format!("{}: {text}{}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
    }

    /// As [`Self::try_exec`].
    ///
    /// # Panics
    /// When it exits with anything but 0.
    #[track_caller]
    pub fn exec(&self, argv: &[&str]) -> String {
        self.try_exec(argv).unwrap_or_else(|e| panic!("on {}: {e}", self.0.name))
    }

    /// `ip …` in the namespace.
    #[track_caller]
    pub fn ip(&self, args: &[&str]) -> String {
        self.try_ip(args).unwrap_or_else(|e| panic!("{e}"))
    }

    /// As [`Self::ip`].
    ///
    /// # Errors
    /// What `ip` says, when it exits with anything but 0.
    ///
    /// # Panics
    /// If there is no `ip`.
    pub fn try_ip(&self, args: &[&str]) -> Result<String, String> {
        let mut argv = vec!["ip", "-n", &self.0.namespace];
        argv.extend(args);
        let output = Command::new(argv[0]).args(&argv[1..]).output().expect("ip");
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("on {}: {}: {error}", self.0.name, argv.join(" ")))
    }

    /// Adds an address (`10.0.0.1/24`) to an interface.
    #[track_caller]
    pub fn address(&self, dev: &str, address: &str) {
        self.ip(&["address", "add", address, "dev", dev]);
    }

    /// Writes a sysctl by its path under /proc/sys.
    #[track_caller]
    pub fn sysctl(&self, path: &str, value: &str) {
        let file = format!("/proc/sys/{path}");
        self.inside(|| fs::write(&file, value)).unwrap_or_else(|e| panic!("{file} = {value}: {e}"));
    }
}

/// Kills the processes of a namespace and removes it.
fn remove(namespace: &str) -> Result<(), String> {
    let gone = try_eventually(Duration::from_secs(5), || {
        let pids = Command::new("ip").args(["netns", "pids", namespace]).output();
        let pids = pids.map_err(|e| e.to_string())?.stdout;
        let pids = String::from_utf8_lossy(&pids).into_owned();
        for pid in pids.split_whitespace().filter_map(|p| p.parse().ok()) {
            let _dead_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if pids.trim().is_empty() { Ok(()) } else { Err(format!("processes {pids} in {namespace}")) }
    });
    let output = Command::new("ip").args(["netns", "delete", namespace]).output();
    let output = output.map_err(|e| e.to_string())?;
    gone?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Removes the namespaces, control groups and folders of laboratories whose process is dead.
pub fn sweep() {
    let dead = |name: &str| {
        let pid = name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok()?;
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    };
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(dir).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
        entries.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    };
    for namespace in names("/run/netns").iter().filter(|n| dead(n).is_some()) {
        if let Err(e) = remove(namespace) {
            eprintln!("sweep: {e}");
        }
    }
    cgroup::sweep(|name| dead(name).is_some());
    for dir in names("/tmp").iter().filter(|n| dead(n).is_some()) {
        let _gone = fs::remove_dir_all(Path::new("/tmp").join(dir));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
