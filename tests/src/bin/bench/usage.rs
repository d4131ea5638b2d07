//! What a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// Resident memory now and at most, and processor time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Megabytes (10^6).
    pub(crate) resident: f64,
    /// Its highest value since the start, megabytes.
    pub(crate) peak: f64,
    /// User and system time.
    pub(crate) cpu: Duration,
}

impl Usage {
    /// Of a process, all its threads.
    ///
    /// # Panics
    /// If there is no such process.
    pub(crate) fn of(pid: i32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
        let megabytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            let kilobytes: f64 =
                line.trim_start_matches(':').trim_end_matches("kB").trim().parse().unwrap_or(0.0);
            kilobytes * 1024.0 / 1e6
        };
        Self { resident: megabytes("VmRSS"), peak: megabytes("VmHWM"), cpu: cpu(pid) }
    }
}

/// User and system time of a process, in steps of 10 ms.
///
/// # Panics
/// If there is no such process.
pub(crate) fn cpu(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The name, in parentheses, may have spaces; fields 14 and 15 are utime and stime in ticks of 10 ms.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
