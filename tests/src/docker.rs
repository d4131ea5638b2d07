//! A Docker of the test's own: where the image is built, and run or handed on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::chart::root;
use crate::process::Process;
use crate::wait::eventually;

/// dockerd with all it has in a folder, on a socket there, that touches no bridge and no packet filter.
#[derive(Debug)]
pub struct Docker {
    folder: PathBuf,
    daemon: Process,
}

impl Docker {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not answer within a minute: Debian's docker.io is wanted.
    #[must_use]
    pub fn start() -> Self {
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

    /// Builds the image `name` by `deploy/image`, of a debug build.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn build(&self, name: &str) {
        let mut command = Command::new(root().join("deploy/image"));
        let ran = self.aim(command.args(["--debug", name]).env("DOCKER", CLIENT)).output().unwrap();
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
        let dockerfile = "FROM scratch\nCOPY main /main\nUSER 65534:65534\nENTRYPOINT [\"/main\"]\n";
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let ran = self.run(&["build", "--tag", name, &context.to_string_lossy()]);
        assert!(ran.status.success(), "{}", text(&ran));
    }

    /// `docker save` of images into a file.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn save(&self, names: &[&str], file: &Path) {
        let file = file.to_string_lossy();
        let ran = self.run(&[&["save", "--output", &*file], names].concat());
        assert!(ran.status.success(), "{}", text(&ran));
    }

    fn aim<'a>(&self, command: &'a mut Command) -> &'a mut Command {
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

/// Both outputs.
#[must_use]
pub fn text(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}
