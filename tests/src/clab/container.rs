//! A container, as far as a topology needs one: a network namespace, and a mount namespace in which the binds stand
//! where the topology says, so that daemons and commands run with the paths that they have in their images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::copy;
use super::shell::words;
use super::topology::{Definition, What};
use crate::lab::{Lab, Node};
use crate::process::Process;
use crate::speaker;
use crate::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

/// What daemons and commands (vtysh: PAM) read in the machine's own /etc.
const ETC: [&str; 7] = ["group", "hosts", "ld.so.cache", "nsswitch.conf", "pam.d", "passwd", "security"];

/// Folders that the container has empty and for itself.
const OWN: &str = "/run /var/lib /var/tmp /usr/local";
/// What images bring in them.
const MADE: &str = "/run/frr /run/bird /usr/local/bin";

/// A node of a topology.
#[derive(Debug)]
pub(super) struct Container {
    /// Its network namespace.
    pub(super) node: Node,
    what: What,
    cmd: Option<String>,
    /// Holds the mount namespace.
    holder: Process,
    main: Option<Process>,
    daemons: String,
}

impl Container {
    /// Makes the namespaces; nothing runs in them yet.
    pub(super) fn create(lab: &Lab, name: &str, definition: &Definition, folder: &Path) -> Self {
        let node = lab.node(name);
        let etc = node.dir().join("etc");
        fs::create_dir_all(&etc).expect("etc of a container");
        for file in ETC {
            let from = Path::new("/etc").join(file);
            if from.is_dir() {
                copy(&from, &etc.join(file));
            } else {
                fs::copy(&from, etc.join(file)).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
            }
        }
        let mut script = format!(
            "set -e\nmount --bind {} /etc\nfor own in {OWN}; do mount -t tmpfs tmpfs $own; done\n\
             mkdir -p {MADE}\n",
            etc.display()
        );
        let mut mount = |source: &Path, target: &Path| {
            let (source, target) = (source.display(), target.display());
            script.push_str(&format!("mount --bind '{source}' '{target}'\n"));
        };
        for (source, target) in definition.binds() {
            let source = folder.join(source);
            let point = etc.join(target.trim_start_matches("/etc/"));
            make_point(&source, &point);
            mount(&source, Path::new(target));
        }
        let what = definition.what();
        match what {
            What::Frr => script.push_str("chown frr:frr /run/frr\n"),
            What::Bird => {}
            What::Speaker => {
                let binary = speaker::binary().canonicalize().expect("the speaker's binary");
                script.push_str("touch /usr/local/bin/speaker\n");
                script.push_str(&format!("mount --bind '{}' /usr/local/bin/speaker\n", binary.display()));
            }
        }
        script.push_str("echo ready\nexec sleep infinity\n");
        let holder = node.spawn("holder", Command::new("unshare").args(["--mount", "sh", "-c", &script]));
        eventually(SOON, "the mounts of a container", || {
            let log = holder.log();
            if log.contains("ready") { Ok(()) } else { Err(log) }
        });
        let daemons = fs::read_to_string(daemons_file(definition, folder)).unwrap_or_default();
        Self { node, what, cmd: definition.cmd.clone(), holder, main: None, daemons }
    }

    /// Starts what the image starts.
    pub(super) fn start(&mut self) {
        let main = match (self.what, &self.cmd) {
            (What::Frr, None) => self.start_frr(),
            (What::Bird, None) => self.spawn("bird", &["bird", "-f", "-c", "/etc/bird.conf"]),
            (_, Some(cmd)) => {
                let argv = words(cmd);
                let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
                self.spawn(argv[0], &argv)
            }
            (What::Speaker, None) => panic!("the speaker's image has no command of its own: write cmd"),
        };
        self.main = Some(main);
    }

    /// As `watchfrr` in FRR's image: the daemons of /etc/frr/daemons, then the configuration by `vtysh -b`.
    fn start_frr(&self) -> Process {
        let setting = |key: &str| {
            let line = self.daemons.lines().find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        assert_eq!(setting("bgpd"), "yes", "/etc/frr/daemons starts no bgpd");
        let daemon = |name: &str| {
            let path = format!("/usr/lib/frr/{name}");
            let options = words(&setting(&format!("{name}_options")));
            let mut argv = vec![path.as_str(), "--log", "stdout", "--log-level", "info"];
            argv.extend(options.iter().map(String::as_str));
            let process = self.spawn(name, &argv);
            eventually(SOON, &format!("{name} answers"), || {
                assert!(process.running(), "{name} ended: {}", process.log());
                let (status, text) = self.run(&format!("vtysh -d {name} -c 'show version'"));
                if status == 0 { Ok(()) } else { Err(text) }
            });
            process
        };
        let _zebra = daemon("zebra");
        let bgpd = daemon("bgpd");
        self.must("vtysh -b");
        bgpd
    }

    /// The process that the container stands and falls with.
    pub(super) fn main(&self) -> &Process {
        self.main.as_ref().expect("the container has been started")
    }

    /// Runs a command line, as `docker exec` does: exit status (-1 after a signal), and standard output, or where
    /// that is empty standard error.
    pub(super) fn run(&self, line: &str) -> (i32, String) {
        let argv = words(line);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let output = self.node.output(&mut self.command(&argv));
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// As [`Self::run`].
    ///
    /// # Panics
    /// When the status is not 0.
    pub(super) fn must(&self, line: &str) {
        let (status, text) = self.run(line);
        assert_eq!(status, 0, "on {}: {line}: {text}", self.node.name());
    }

    fn spawn(&self, name: &str, argv: &[&str]) -> Process {
        self.node.spawn(name, &mut self.command(argv))
    }

    fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.pid()))
            .arg("--")
            .args(argv)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("NO_COLOR", "1");
        command
    }
}

/// A place for a bind: a file on a file, a folder on a folder.
fn make_point(source: &Path, point: &Path) {
    let folder = if source.is_dir() { point } else { point.parent().expect("below /etc") };
    fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    if !source.is_dir() {
        fs::write(point, "").unwrap_or_else(|e| panic!("{}: {e}", point.display()));
    }
}

fn daemons_file(definition: &Definition, folder: &Path) -> PathBuf {
    let source = definition.binds().find(|(_, target)| *target == "/etc/frr/daemons");
    folder.join(source.map_or("", |(source, _)| source))
}
