//! A Docker of the test's own: where the image is built, and run or handed on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::chart::root;
use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

/// dockerd with all it has in a folder, on a socket there, that touches no packet filter.
#[derive(Debug)]
pub struct Docker {
    folder: PathBuf,
    daemon: Process,
}

impl Docker {
    /// Starts it, without a bridge.
    ///
    /// # Panics
    /// If it does not answer within a minute: Debian's docker.io is wanted.
    #[must_use]
    pub fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("spk-docker-{}", std::process::id()));
        let mut command = Command::new("dockerd");
        command.arg("--storage-driver=vfs");
        let daemon = arrange(&folder, &mut command);
        Self::answering(folder.clone(), Process::start("dockerd", &folder.join("log"), daemon))
    }

    /// Starts it in a node: networks that it makes are there, its containers' control groups below `cgroup`. What is
    /// asked for beyond what this machine can grant (`--privileged`) is left out.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_in(node: &Node, cgroup: &Cgroup) -> Self {
        let folder = node.dir().join("docker");
        fs::create_dir_all(&folder).unwrap();
        let runtime = folder.join("runc");
        fs::write(&runtime, RUNC).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        // Mounts of its own, which are gone with it, however it ends.
        let mut command = Command::new("unshare");
        command.args(["--mount", "dockerd", "--default-runtime=here", "--cgroup-parent", &cgroup.path()]);
        command.arg(format!("--add-runtime=here={}", runtime.display()));
        let daemon = arrange(&folder, &mut command);
        Self::answering(folder.clone(), node.spawn("dockerd", daemon))
    }

    fn answering(folder: PathBuf, daemon: Process) -> Self {
        let docker = Self { folder, daemon };
        eventually(Duration::from_secs(60), "dockerd answers", || {
            assert!(docker.daemon.running(), "dockerd has ended: {}", docker.daemon.log_tail(20));
            let ran = docker.run(&["version"]);
            if ran.status.success() { Ok(()) } else { Err(text(&ran)) }
        });
        docker
    }

    /// `docker …`, Debian's client, which speaks this daemon's version, wherever else there is one.
    ///
    /// # Panics
    /// If there is no such client.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let ran = self.aim(Command::new(CLIENT).args(arguments)).output();
        ran.unwrap_or_else(|error| panic!("docker: is docker.io installed? {error}"))
    }

    /// `docker …`, which must succeed: what it prints.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert!(ran.status.success(), "docker {}: {}", arguments.join(" "), text(&ran));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// Builds the image `name` by `deploy/image`, of a debug build.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn build(&self, name: &str) {
        self.build_by(&mut Command::new(root().join("deploy/image")), &["--debug", name]);
    }

    /// The image `name` for containerlab, made on the image `base`.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn build_containerlab(&self, name: &str, base: &str) {
        let mut command = Command::new(root().join("deploy/image"));
        self.build_by(command.env("BASE", base), &["--debug", "--containerlab", name]);
    }

    #[track_caller]
    fn build_by(&self, command: &mut Command, arguments: &[&str]) {
        let ran = self.aim(command.args(arguments).env("DOCKER", CLIENT)).output().unwrap();
        assert!(ran.status.success(), "{}", text(&ran));
    }

    /// Builds the image `name` of one static file, which is all that it holds and what it starts.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn build_of(&self, name: &str, file: &Path) {
        let context = self.folder.join("context");
        fs::create_dir_all(&context).unwrap();
        fs::copy(file, context.join("main")).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.build_from(
            name,
            &context,
            "FROM scratch\nCOPY main /main\nUSER 65534:65534\nENTRYPOINT [\"/main\"]\n",
        );
    }

    /// Builds the image `name` of a folder.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn build_from(&self, name: &str, context: &Path, dockerfile: &str) {
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        self.must(&["build", "--tag", name, &context.to_string_lossy()]);
    }

    /// `docker save` of images into a file.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn save(&self, names: &[&str], file: &Path) {
        let file = file.to_string_lossy();
        self.must(&[&["save", "--output", &*file], names].concat());
    }

    /// Has a command speak with this daemon.
    pub fn aim<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let host = format!("unix://{}", self.folder.join("sock").display());
        command.env("DOCKER_HOST", host).env("DOCKER_CONFIG", &self.folder)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.daemon.terminate();
        // What a container's file system was mounted on may be held for a moment longer.
        eventually(Duration::from_secs(30), "the folder is removed", || {
            fs::remove_dir_all(&self.folder).map_err(|error| error.to_string())
        });
    }
}

const CLIENT: &str = "/usr/bin/docker";

/// runc, by which a privileged container is one as far as this machine goes: what is not in the bounding set cannot be
/// given on.
const RUNC: &str = r#"#!/usr/bin/env bash
bound=$((16#$(sed -n 's/^CapBnd:\t//p' /proc/self/status)))
for ((n = 1; n < $#; n++)); do
    value=$((n + 1))
    case ${!n} in
        --bundle) file=${!value}/config.json ;;
        --process) file=${!value} ;;
        *) continue ;;
    esac
    # CAP_SYS_RESOURCE is 24.
    ((bound >> 24 & 1)) || sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$file"
done
exec runc "$@"
"#;

fn arrange<'a>(folder: &Path, command: &'a mut Command) -> &'a mut Command {
    fs::create_dir_all(folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("daemon.json"), "{}").unwrap();
    command.args(["--bridge=none", "--iptables=false", "--ip-forward=false"]);
    command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
    command.args(["--config-file", &path("daemon.json"), "--host", &format!("unix://{}", path("sock"))])
}

/// Both outputs.
#[must_use]
pub fn text(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}
