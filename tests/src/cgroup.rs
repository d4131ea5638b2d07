//! Control groups of the laboratory's own, below which a kubelet makes its Pods'.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::try_eventually;

const MOUNT: &str = "/sys/fs/cgroup";

/// A control group at the top of every hierarchy. Dropping it kills what is in it and removes it.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
}

impl Cgroup {
    /// Makes it.
    ///
    /// # Panics
    /// Without the right to.
    #[must_use]
    pub fn new(name: &str) -> Self {
        for hierarchy in hierarchies() {
            let path = hierarchy.join(name);
            fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        Self { name: name.to_owned() }
    }

    /// Its path from the top, as programs name it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// The processes in it and below.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<i32> {
        processes(&self.name)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(left) = remove(&self.name)
            && !std::thread::panicking()
        {
            panic!("left behind: {left}");
        }
    }
}

/// One with version 2, one for each controller with version 1.
fn hierarchies() -> Vec<PathBuf> {
    let holds = |path: &PathBuf| path.join("cgroup.procs").exists();
    let all: BTreeSet<PathBuf> = std::iter::once(PathBuf::from(MOUNT))
        .filter(holds)
        .chain(folders(Path::new(MOUNT)).into_iter().filter(holds))
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    // The groups of version 2 themselves lie below the first.
    let top = all.iter().find(|path| path.as_path() == Path::new(MOUNT)).cloned();
    top.map_or_else(|| all.into_iter().collect(), |top| vec![top])
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
    entries.iter().map(fs::DirEntry::path).filter(|path| path.is_dir()).collect()
}

/// The group and those below it, the deepest first.
fn tree(path: PathBuf) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = folders(&path).into_iter().flat_map(tree).collect();
    all.push(path);
    all
}

fn groups(name: &str) -> Vec<PathBuf> {
    let tops = hierarchies().into_iter().map(|hierarchy| hierarchy.join(name));
    tops.filter(|path| path.exists()).flat_map(tree).collect()
}

fn processes(name: &str) -> BTreeSet<i32> {
    let texts =
        groups(name).into_iter().filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    texts.flat_map(|text| text.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

fn remove(name: &str) -> Result<(), String> {
    try_eventually(Duration::from_secs(10), || {
        for pid in processes(name) {
            let _dead_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let failed: Vec<String> = groups(name)
            .iter()
            .filter_map(|group| Some(format!("{}: {}", group.display(), fs::remove_dir(group).err()?)))
            .collect();
        failed.last().map_or(Ok(()), |last| Err(last.clone()))
    })
}

/// Removes the groups that are `dead` by their names.
pub(crate) fn sweep(dead: impl Fn(&str) -> bool) {
    let tops: Vec<PathBuf> = hierarchies().iter().flat_map(|hierarchy| folders(hierarchy)).collect();
    let names: BTreeSet<&str> = tops.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    for name in names.into_iter().filter(|name| dead(name)) {
        if let Err(e) = remove(name) {
            eprintln!("sweep: {e}");
        }
    }
}
