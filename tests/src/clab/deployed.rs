//! A topology deployed by containerlab, in a Docker of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::{self, IMAGES};
use super::expect::Step;
use super::shell::words;
use super::{Hands, copy, read};
use crate::cgroup::Cgroup;
use crate::docker::{Docker, text};
use crate::lab::{Lab, Node};
use crate::speaker::target;

/// What containerlab writes to of the machine's own is a folder's instead: $1 for names of network namespaces, $2 for what
/// it changes in /etc.
const APART: &str = "set -e
mount --bind $1 /run/netns
mount -t overlay -o lowerdir=/etc,upperdir=$2,workdir=$2.work overlay /etc
mount -t sysfs sysfs /sys
shift 2
exec \"$@\"";

/// A machine with Docker and containerlab: a network namespace that they have for themselves.
#[derive(Debug)]
pub struct Machine {
    docker: Docker,
    node: Node,
    /// After the daemon, which stops its containers: what is still in it is killed.
    _cgroup: Cgroup,
    /// Where it runs; last, so that it goes last.
    pub lab: Lab,
}

/// A topology that containerlab has deployed.
#[derive(Debug)]
pub struct Deployed<'a> {
    machine: &'a Machine,
    /// containerlab's name for it.
    name: String,
    /// The copy of the topology's folder.
    folder: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self::start()
    }
}

impl Machine {
    /// Starts it and makes the images.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn start() -> Self {
        let lab = Lab::new();
        let node = lab.node("machine");
        for folder in ["netns", "etc", "etc.work", "home"] {
            fs::create_dir_all(node.dir().join(folder)).unwrap();
        }
        let cgroup = Cgroup::new(&lab.dir().file_name().unwrap().to_string_lossy());
        let docker = Docker::start_in(&node, &cgroup);
        debian::make(&docker, &node.dir().join("images"));
        Self { docker, node, _cgroup: cgroup, lab }
    }

    /// `containerlab deploy` in a copy of a topology's folder.
    ///
    /// # Panics
    /// If it fails, or a command of the topology does.
    #[must_use]
    pub fn deploy(&self, name: &str) -> Deployed<'_> {
        let folder = self.node.dir().join(name);
        copy(&super::folder().join(name), &folder);
        let topology = read(&folder).unwrap_or_else(|faults| panic!("{name}: {}", faults.join("; ")));
        let said = self.containerlab(&folder, &["deploy"]);
        // It goes on, and ends well, when a command of `exec` fails.
        assert!(!said.contains(" ERRO "), "{name}: {said}");
        Deployed { machine: self, name: topology.name().to_owned(), folder }
    }

    /// `containerlab …` in a folder: both outputs.
    fn containerlab(&self, folder: &Path, arguments: &[&str]) -> String {
        let own = |name: &str| self.node.dir().join(name);
        let binary = target().join("containerlab/containerlab");
        assert!(binary.exists(), "{} is not there: tests/containerlab/build makes it", binary.display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", APART, "containerlab"]).arg(own("netns")).arg(own("etc"));
        command.arg(binary).args(arguments).current_dir(folder);
        command.env("HOME", own("home")).env("CLAB_VERSION_CHECK", "disable").envs(IMAGES);
        let ran = self.node.output(self.docker.aim(&mut command));
        assert!(ran.status.success(), "containerlab {}: {}", arguments.join(" "), text(&ran));
        text(&ran)
    }

    /// All that Docker and containerlab leave on a machine, beside the images.
    ///
    /// # Panics
    /// If it cannot be told.
    #[must_use]
    pub fn left(&self) -> BTreeMap<&'static str, String> {
        let files = |name: &str| {
            let found =
                Command::new("find").arg(self.node.dir().join(name)).args(["!", "-type", "d"]).output();
            let found = String::from_utf8_lossy(&found.unwrap().stdout).into_owned();
            // What it has changed and changed back is as the machine's own.
            let changed = |file: &&str| {
                let own = file.split_once("/machine/").map(|(_, rest)| Path::new("/").join(rest));
                let own = own.and_then(|own| fs::read(own).ok());
                own.is_none() || own != fs::read(file).ok()
            };
            found.lines().filter(changed).collect::<Vec<_>>().join("\n")
        };
        [
            ("containers", self.docker.must(&["ps", "--all", "--quiet"])),
            ("networks", self.docker.must(&["network", "ls", "--quiet", "--filter", "type=custom"])),
            ("volumes", self.docker.must(&["volume", "ls", "--quiet"])),
            ("interfaces", self.node.ip(&["-o", "link", "show", "up"])),
            ("namespaces", files("netns")),
            ("etc", files("etc")),
        ]
        .into()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let all = self.docker.run(&["ps", "--all", "--quiet"]);
        let all = text(&all);
        let ids: Vec<&str> = all.split_whitespace().collect();
        if !ids.is_empty() {
            let _gone = self.docker.run(&[&["rm", "--force"], ids.as_slice()].concat());
        }
    }
}

impl Deployed<'_> {
    /// Does what a step says and waits until all that it expects is true.
    ///
    /// # Panics
    /// If that does not come true.
    pub fn walk(&self, step: &Step) {
        for action in &step.actions {
            super::act(action, self, &self.folder);
        }
        self.wait(step);
    }

    /// Waits until all that a step expects is true; does nothing.
    ///
    /// # Panics
    /// If that does not come true.
    pub fn wait(&self, step: &Step) {
        super::wait(step, &self.name, self);
    }

    /// The copy of the topology's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// containerlab's name for a node's container.
    #[must_use]
    pub fn container(&self, node: &str) -> String {
        format!("clab-{}-{node}", self.name)
    }

    /// The network namespace of a node, for a client or a look at a kernel. It outlives the container.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn attach(&self, node: &str) -> Node {
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}"], node);
        self.machine.lab.attach(node, pid.parse().unwrap())
    }

    /// `docker … CONTAINER`: what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn docker(&self, arguments: &[&str], node: &str) -> String {
        self.machine.docker.must(&[arguments, &[&self.container(node)]].concat())
    }

    /// Starts a command in a node and lets it run.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self, node: &str, argv: &[&str]) {
        self.machine.docker.must(&[&["exec", "--detach", &self.container(node)], argv].concat());
    }

    /// `containerlab destroy --cleanup`.
    ///
    /// # Panics
    /// If it fails, or leaves its folder behind.
    pub fn destroy(self) {
        let said = self.machine.containerlab(&self.folder, &["destroy", "--cleanup"]);
        assert!(!said.contains(" ERRO "), "{}: {said}", self.name);
        let own = self.folder.join(format!("clab-{}", self.name));
        assert!(!own.exists(), "{} is left behind", own.display());
    }
}

impl Hands for Deployed<'_> {
    fn run(&self, node: &str, line: &str) -> (i32, String) {
        let container = self.container(node);
        let argv = words(line);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let ran = self.machine.docker.run(&[&["exec", &container], argv.as_slice()].concat());
        let text = if ran.stdout.is_empty() { ran.stderr } else { ran.stdout };
        (ran.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    fn pause(&self, node: &str) {
        self.docker(&["pause"], node);
    }

    fn unpause(&self, node: &str) {
        self.docker(&["unpause"], node);
    }
}
