//! Which generation of the daemons a laboratory runs: the machine's own, or a newer one that `tests/newer/install` has
//! unpacked beside it.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::lab::Node;
use crate::speaker::target;

/// A release of Debian whose daemons are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// Debian 12, installed on the machine.
    Bookworm,
    /// Debian 13.
    Trixie,
    /// What becomes of the next.
    Sid,
}

impl Generation {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Sid];

    /// Debian's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// What takes the place of /usr for its daemons; none for the machine's own.
    fn root(self) -> Option<PathBuf> {
        let unpacked = || target().join("newer").join(self.name()).join("usr");
        (self != Self::Bookworm).then(unpacked)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

static CHOSEN: OnceLock<Generation> = OnceLock::new();

/// Makes every laboratory of this process run `generation`, whatever `$LAB_DAEMONS` says.
///
/// # Panics
/// If another one runs already.
pub fn choose(generation: Generation) {
    assert_eq!(*CHOSEN.get_or_init(|| generation), generation, "one generation a process");
}

/// The generation of this process: `$LAB_DAEMONS`, else the machine's own.
///
/// # Panics
/// If the variable names none.
#[must_use]
pub fn generation() -> Generation {
    *CHOSEN.get_or_init(|| {
        let Ok(wanted) = std::env::var("LAB_DAEMONS") else { return Generation::Bookworm };
        let found = Generation::ALL.into_iter().find(|g| g.name() == wanted);
        found.unwrap_or_else(|| panic!("LAB_DAEMONS={wanted}: neither bookworm nor trixie nor sid"))
    })
}

/// The path of BIRD's `program` (`bird` or `birdc`): beside a newer BIRD 3, `LAB_BIRD=2` asks for BIRD 2 of the same
/// generation.
#[must_use]
pub fn bird(program: &str) -> String {
    let second = generation() != Generation::Bookworm && std::env::var("LAB_BIRD").is_ok_and(|v| v == "2");
    if second { format!("/usr/lib/bird2/{program}") } else { program.to_owned() }
}

/// A command that starts `program`, a daemon or its client, with its own generation's files in place of /usr; the rest of
/// the machine (/etc with the daemons' users, /tmp, /run) is the same for all.
///
/// # Panics
/// If the generation is not there.
#[must_use]
pub fn command(program: &str) -> Command {
    let Some(root) = generation().root() else { return Command::new(program) };
    assert!(root.exists(), "no {}: run `tests/newer/install {}`", root.display(), generation());
    let mut command = Command::new("unshare");
    // The shell is replaced by the program: the process that is signalled is the daemon.
    let script = "mount --bind \"$0\" /usr && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(root).arg(program);
    command
}

/// Runs a daemon's client on `node`, as [`Node::try_exec`].
///
/// # Errors
/// Both outputs, when it exits with anything but 0.
pub fn try_exec(node: &Node, argv: &[&str]) -> Result<String, String> {
    node.try_run(command(argv[0]).args(&argv[1..]))
}

/// As [`try_exec`].
///
/// # Panics
/// When it exits with anything but 0.
#[track_caller]
pub fn exec(node: &Node, argv: &[&str]) -> String {
    try_exec(node, argv).unwrap_or_else(|e| panic!("on {}: {e}", node.name()))
}
