//! What a process holds.

use std::fmt;
use std::fs;

/// Memory beyond that of the warm daemon that is still the allocator's play, in KiB.
const PLAY: u64 = 16 * 1024;
/// Descriptors that come and go by themselves: a connection that is being closed, a question that is answered.
const FDS: usize = 4;

/// Memory and descriptors of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vitals {
    /// Resident set, KiB.
    rss: u64,
    /// Open file descriptors.
    fds: usize,
    threads: usize,
}

impl Vitals {
    /// Of a process that runs.
    pub(crate) fn of(pid: i32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
        let number = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("the daemon runs").count();
        let threads = usize::try_from(number("Threads:")).unwrap_or(usize::MAX);
        Self { rss: number("VmRSS:"), fds, threads }
    }

    /// Fails where there is more than there was.
    pub(crate) fn compare(self, before: Self) {
        let most = before.rss + before.rss / 4 + PLAY;
        assert!(self.rss <= most, "memory has grown: {self}, warm {before}, at most {most} KiB");
        assert!(self.fds <= before.fds + FDS, "descriptors leak: {self}, warm {before}");
        assert!(self.threads <= before.threads + 1, "threads leak: {self}, warm {before}");
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors, {} threads", self.rss, self.fds, self.threads)
    }
}
