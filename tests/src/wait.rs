//! Waiting for a condition with a deadline: the only place of the laboratory that sleeps.

use std::time::{Duration, Instant};

/// Time between two looks.
const POLL: Duration = Duration::from_millis(25);

/// Looks with `probe` until it answers `Ok`, which is handed on.
///
/// # Panics
/// When the deadline has passed: with `what` was waited for and what the last look saw.
#[track_caller]
pub fn eventually<T>(deadline: Duration, what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    match try_eventually(deadline, probe) {
        Ok(value) => value,
        Err(seen) => panic!("waited {} s for {what}; last seen: {seen}", deadline.as_secs_f32()),
    }
}

/// As [`eventually`], but hands back what was last seen.
///
/// # Errors
/// What the last look saw, when the deadline has passed.
pub fn try_eventually<T>(
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let end = Instant::now() + deadline;
    loop {
        let seen = match probe() {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= end {
            return Err(seen);
        }
        std::thread::sleep(POLL);
    }
}

/// Looks until `probe` is true.
///
/// # Panics
/// As [`eventually`].
#[track_caller]
pub fn eventually_true(deadline: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    eventually(deadline, what, || if probe() { Ok(()) } else { Err("not yet".to_owned()) });
}

/// Looks for all of `time` and fails as soon as `probe` reports a violation: for what must not happen.
///
/// # Panics
/// With `what` and the violation.
#[track_caller]
pub fn always(time: Duration, what: &str, mut probe: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Err(seen) = probe() {
            panic!("{what} did not hold: {seen}");
        }
        std::thread::sleep(POLL);
    }
}

/// Waits for the time between two looks, for a loop that has its own deadline.
pub fn pause() {
    std::thread::sleep(POLL);
}
