//! The topologies of `containerlab/`: realised in network namespaces from the files that containerlab reads, and
//! deployed by containerlab itself.

mod container;
mod debian;
mod deployed;
mod expect;
mod shell;
mod topology;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use deployed::{Deployed, Machine};
pub use expect::{Step, differs};
pub use topology::{Topology, What};

use crate::lab::{Lab, Node};
use crate::process::Process;
use crate::wait::eventually;
use container::Container;
use expect::{Action, Look};

/// Time for everything that a step expects to come true: a hold time of 9 s and a session coming up again on a
/// busy machine lie well within.
const DEADLINE: Duration = Duration::from_secs(90);

/// The folder `containerlab/`.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../containerlab")
}

/// The names of the topologies: folders that begin with a number.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("containerlab/").map(|e| e.expect("containerlab/"));
    let mut names: Vec<String> = entries
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    names.sort();
    names
}

/// Reads `topology.clab.yml` of a folder and checks it.
///
/// # Errors
/// Everything that is not of containerlab's shape, or that this suite could not realise.
pub fn read(folder: &Path) -> Result<Topology, Vec<String>> {
    let file = folder.join("topology.clab.yml");
    let text = fs::read_to_string(&file).map_err(|e| vec![format!("{}: {e}", file.display())])?;
    Topology::parse(&text, folder)
}

/// The steps of a folder, in the order of their file names.
///
/// # Panics
/// If one cannot be read.
#[must_use]
pub fn steps(folder: &Path) -> Vec<Step> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.join("expect")).expect("expect/").map(|e| e.expect("expect/").path()).collect();
    files.sort();
    files.iter().map(|file| Step::read(file).unwrap_or_else(|e| panic!("{e}"))).collect()
}

/// Realises a topology from a copy of its folder, walks through its steps and removes everything.
///
/// # Panics
/// If the topology is not sound, or a step does not come true.
pub fn realise(name: &str) {
    let realised = Realised::start(name);
    for step in steps(&realised.folder) {
        realised.walk(&step);
    }
}

/// A topology that runs.
#[derive(Debug)]
pub struct Realised {
    name: String,
    folder: PathBuf,
    containers: BTreeMap<String, Container>,
    /// Where it runs; last, so that it goes last.
    pub lab: Lab,
}

impl Realised {
    /// Makes everything from a copy of the topology's folder; waits for nothing.
    ///
    /// # Panics
    /// If the topology is not sound.
    #[must_use]
    pub fn start(name: &str) -> Self {
        let lab = Lab::new();
        let folder = lab.dir().join("topology");
        copy(&self::folder().join(name), &folder);
        let topology = read(&folder).unwrap_or_else(|faults| panic!("{name}: {}", faults.join("; ")));
        let mut containers = BTreeMap::new();
        for (node, definition) in topology.nodes() {
            containers.insert(node.to_owned(), Container::create(&lab, node, definition, &folder));
        }
        for [a, b] in topology.links() {
            lab.link(&containers[a.node].node, a.device, &containers[b.node].node, b.device);
        }
        // In containerlab's order: the daemons run before they have addresses.
        for container in containers.values_mut() {
            container.start();
        }
        for (node, definition) in topology.nodes() {
            for line in &definition.exec {
                containers[node].must(line);
            }
        }
        Self { name: name.to_owned(), folder, containers, lab }
    }

    /// Does what a step says and waits until all that it expects is true.
    ///
    /// # Panics
    /// If that does not come true.
    #[track_caller]
    pub fn walk(&self, step: &Step) {
        self.act(step);
        self.wait(step);
    }

    /// Does what a step says; waits for nothing.
    pub fn act(&self, step: &Step) {
        for action in &step.actions {
            act(action, &self.containers, &self.folder);
        }
    }

    /// Waits until all that a step expects is true; does nothing.
    ///
    /// # Panics
    /// If that does not come true.
    #[track_caller]
    pub fn wait(&self, step: &Step) {
        wait(step, &self.name, &self.containers);
    }

    /// A node's network namespace.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn node(&self, name: &str) -> &Node {
        &self.containers[name].node
    }

    /// The process that a node stands and falls with.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn main(&self, name: &str) -> &Process {
        self.containers[name].main()
    }

    /// Starts that process again, with everything else as it is.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn start_again(&mut self, name: &str) {
        self.containers.get_mut(name).unwrap_or_else(|| panic!("{name}: no such node")).start();
    }

    /// Runs a command line in a node, as `docker exec` does: exit status, and what it prints.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn run(&self, name: &str, line: &str) -> (i32, String) {
        self.containers[name].run(line)
    }
}

/// What does the steps' commands.
trait Hands {
    fn run(&self, node: &str, line: &str) -> (i32, String);
    fn pause(&self, node: &str);
    fn unpause(&self, node: &str);
}

impl Hands for BTreeMap<String, Container> {
    fn run(&self, node: &str, line: &str) -> (i32, String) {
        find(self, node).run(line)
    }

    fn pause(&self, node: &str) {
        find(self, node).main().pause();
    }

    fn unpause(&self, node: &str) {
        find(self, node).main().resume();
    }
}

fn find<'a>(containers: &'a BTreeMap<String, Container>, node: &str) -> &'a Container {
    containers.get(node).unwrap_or_else(|| panic!("{node}: no such node"))
}

fn act(action: &Action, hands: &impl Hands, folder: &Path) {
    match action {
        Action::Copy { from, to } => {
            // As an editor saves: whole, by renaming.
            let (from, to) = (folder.join(from), folder.join(to));
            let new = to.with_extension("new");
            fs::copy(from, &new).unwrap_or_else(|e| panic!("{action:?}: {e}"));
            fs::rename(new, to).unwrap_or_else(|e| panic!("{action:?}: {e}"));
        }
        Action::Remove(file) => {
            fs::remove_file(folder.join(file)).unwrap_or_else(|e| panic!("{action:?}: {e}"));
        }
        Action::Pause(node) => hands.pause(node),
        Action::Unpause(node) => hands.unpause(node),
        Action::Exec { node, run } => {
            let (status, text) = hands.run(node, run);
            assert_eq!(status, 0, "{action:?}: {text}");
        }
    }
}

fn see(look: &Look, hands: &impl Hands) -> Result<(), String> {
    let (status, text) = hands.run(&look.node, &look.run);
    look.judge(status, &text).map_err(|why| format!("on {}: {}: {why}", look.node, look.run))
}

fn wait(step: &Step, lab: &str, hands: &impl Hands) {
    eventually(DEADLINE, &format!("{lab}, {}: {}", step.name, step.claim), || {
        step.see.iter().try_for_each(|look| see(look, hands))
    });
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.expect("folder entry").path();
        let target = to.join(entry.file_name().expect("name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            fs::copy(&entry, &target).unwrap_or_else(|e| panic!("{}: {e}", entry.display()));
        }
    }
}
