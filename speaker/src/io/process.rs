//! What the kernel says of this process (proc(5)).

use std::fs;
use std::time::Duration;

use crate::metrics::catalogue::{
    PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_RESIDENT, PROCESS_START, PROCESS_VIRTUAL,
};
use crate::metrics::{Samples, float};

/// Clock ticks a second in /proc: USER_HZ, part of the kernel's interface to user space.
const TICKS: u64 = 100;

/// Adds this process's numbers; what cannot be read is left out.
pub fn measure(samples: &mut Samples) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    if let Some(stat) = Stat::parse(&read("/proc/self/stat")) {
        let seconds = |count: u64| Duration::from_millis(count.saturating_mul(1000 / TICKS));
        samples.seconds(&PROCESS_CPU, &[], seconds(stat.cpu));
        if let Some(boot) = boot_time(&read("/proc/stat")) {
            samples.gauge(&PROCESS_START, &[], (boot + seconds(stat.started)).as_secs_f64());
        }
    }
    let status = read("/proc/self/status");
    for (metric, key) in [(&PROCESS_RESIDENT, "VmRSS:"), (&PROCESS_VIRTUAL, "VmSize:")] {
        if let Some(octets) = memory(&status, key) {
            samples.gauge(metric, &[], float(octets));
        }
    }
    if let Ok(folder) = fs::read_dir("/proc/self/fd") {
        // One of them reads the folder.
        samples.number(&PROCESS_FDS, &[], folder.count().saturating_sub(1));
    }
    if let Some(limit) = open_files(&read("/proc/self/limits")) {
        samples.gauge(&PROCESS_MAX_FDS, &[], float(limit));
    }
}

/// Parts of /proc/self/stat.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// User and system time, in ticks.
    cpu: u64,
    /// After the boot, in ticks.
    started: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in brackets may hold spaces and brackets: fields are counted from behind it, at 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu: field(14)?.saturating_add(field(15)?), started: field(22)? })
    }
}

/// A line of /proc/self/status, in octets.
fn memory(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.saturating_mul(1024))
}

/// When the machine started, since 1970: `btime` of /proc/stat.
fn boot_time(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Duration::from_secs(line.trim().parse().ok()?))
}

/// The soft limit of open files, in /proc/self/limits.
fn open_files(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 31 12 0 0 20 0 5 0 4711 104857600 2048 18446744073709551615";
        let stat = Stat { cpu: 43, started: 4711 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn this_process_is_measured() {
        let mut samples = Samples::default();
        measure(&mut samples);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(samples));
        let text = crate::metrics::text(&registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is not in:\n{text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..24.0 * 3600.0).contains(&age), "started {age} s ago");
    }
}
