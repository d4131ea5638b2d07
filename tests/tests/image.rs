//! The image: `deploy/image` builds a static binary and puts it into an empty image, and a Docker of the test's own
//! runs it without a network, without a right, and without a place to write to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tests::chart::root;
use tests::process::Process;
use tests::wait::eventually;

const IMAGE: &str = "speaker:test";

/// dockerd with all it has in a folder, on a socket there, that touches no bridge and no packet filter.
struct Docker {
    folder: PathBuf,
    daemon: Process,
}

impl Docker {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("spk-docker-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new("dockerd");
        command.args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--storage-driver=vfs"]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--config-file", &path("daemon.json"), "--host", &format!("unix://{}", path("sock"))]);
        fs::write(folder.join("daemon.json"), "{}").unwrap();
        let daemon = Process::start("dockerd", &folder.join("log"), &mut command);
        let docker = Self { folder, daemon };
        eventually(Duration::from_secs(60), "dockerd answers", || {
            assert!(docker.daemon.running(), "dockerd has ended: {}", docker.daemon.log_tail(20));
            let ran = docker.try_run(&["version"]);
            if ran.status.success() { Ok(()) } else { Err(text(&ran)) }
        });
        docker
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.join("sock").display())
    }

    /// Debian's client, which speaks this daemon's version, wherever else there is one.
    fn client() -> &'static str {
        "/usr/bin/docker"
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(Self::client());
        command.args(arguments).env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", &self.folder);
        command.output().unwrap_or_else(|error| panic!("docker: is docker.io installed? {error}"))
    }

    /// A container of the image that may do nothing.
    fn speaker(&self, flags: &[&str], arguments: &[&str]) -> Output {
        let closed = [
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
        ];
        self.try_run(&[&closed, flags, &[IMAGE], arguments].concat())
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

fn text(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

fn build(docker: &Docker) {
    let ran = Command::new(root().join("deploy/image"))
        .args(["--debug", IMAGE])
        .env("DOCKER", Docker::client())
        .env("DOCKER_HOST", docker.host())
        .env("DOCKER_CONFIG", &docker.folder)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", text(&ran));
}

/// The size of the image, its files and its user.
fn inspect(docker: &Docker, what: &str) -> String {
    let ran = docker.try_run(&["image", "inspect", "--format", what, IMAGE]);
    assert!(ran.status.success(), "{}", text(&ran));
    text(&ran).trim().to_owned()
}

#[test]
fn the_image_is_one_static_file_that_runs_without_rights() {
    let docker = Docker::start();
    build(&docker);
    assert_eq!(inspect(&docker, "{{len .RootFS.Layers}} {{.Config.User}}"), "1 65534:65534");

    let ran = docker.speaker(&[], &["--version"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert_eq!(text(&ran).trim(), concat!("speaker ", env!("CARGO_PKG_VERSION")));
    let ran = docker.speaker(&[], &["crds"]);
    assert!(
        ran.status.success() && text(&ran).contains("ciliumloadbalancerippools.cilium.io"),
        "{}",
        text(&ran)
    );

    // As the DaemonSet mounts it: the configuration read-only.
    let examples = root().join("config/examples");
    let mount = format!("--volume={}:/etc/speaker:ro", fs::canonicalize(&examples).unwrap().display());
    let ran = docker.speaker(&[&mount], &["check", "--config", "/etc/speaker/two-tors.yaml"]);
    assert!(ran.status.success() && text(&ran).contains(" 0 error(s)"), "{}", text(&ran));

    // Real sessions over the container's own loopback; it alone writes, into a folder in memory.
    let ran = docker.speaker(&["--tmpfs=/tmp:mode=1777"], &["demo"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("203.0.113."), "{}", text(&ran));
    assert!(Path::new(&docker.folder).exists());
}
