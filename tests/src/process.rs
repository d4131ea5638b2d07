//! A process of the laboratory: started in a namespace, its output kept, gone with its handle.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::try_eventually;

/// A running (or ended) process. Clones are handles on the same one; the laboratory kills it when it ends.
#[derive(Debug, Clone)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    child: Child,
    stdin: Option<ChildStdin>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in the network namespace of the calling thread, output to `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, log: &Path, command: &mut Command) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("log file");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(out.try_clone().expect("log file"))
            .stderr(out)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} cannot be started ({command:?}): {e}"));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("pid"));
        let stdin = child.stdin.take();
        let inner = Arc::new(Mutex::new(Inner { child, stdin, ended: None }));
        Self { name: name.to_owned(), log: log.to_owned(), pid, inner }
    }

    /// Its name in the laboratory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// All that it has written so far, standard output and error together.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The last `lines` of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// If it no longer reads.
    pub fn say(&self, line: &str) {
        let mut inner = self.inner.lock().expect("process");
        let stdin = inner.stdin.as_mut().expect("standard input");
        writeln!(stdin, "{line}").unwrap_or_else(|e| panic!("{} does not listen: {e}", self.name));
        stdin.flush().expect("standard input");
    }

    /// How it ended, or `None` while it runs.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut inner = self.inner.lock().expect("process");
        if inner.ended.is_none() {
            inner.ended = inner.child.try_wait().expect("wait for a child");
        }
        inner.ended
    }

    /// Whether it still runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.ended().is_none()
    }

    fn signal(&self, signal: Signal) {
        if self.running() {
            kill(self.pid, signal).unwrap_or_else(|e| panic!("{signal} to {}: {e}", self.name));
        }
    }

    /// To it and the processes that it has started: OpenBGPD is three.
    fn signal_all(&self, signal: Signal) {
        if self.running() {
            killpg(self.pid, signal).unwrap_or_else(|e| panic!("{signal} to all of {}: {e}", self.name));
        }
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        self.signal_all(Signal::SIGKILL);
        self.wait(Duration::from_secs(10));
    }

    /// SIGTERM, and waits until it is gone.
    pub fn terminate(&self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(Duration::from_secs(20))
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it still runs at the deadline.
    pub fn wait(&self, deadline: Duration) -> ExitStatus {
        try_eventually(deadline, || self.ended().ok_or_else(|| "still running".to_owned()))
            .unwrap_or_else(|e| panic!("{} (pid {}): {e}", self.name, self.pid))
    }
}
