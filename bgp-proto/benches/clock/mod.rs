//! Time and rates.

use std::time::Duration;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(300);

/// The time that this thread has had a core for: what others do on the machine does not count.
fn core_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = text.split(' ').next().expect("the first field").parse().expect("a number");
    Duration::from_nanos(nanos)
}

/// The best of some rounds, each long beside the scheduler's tick, in which the clock moves.
pub fn best(mut run: impl FnMut()) -> Duration {
    let round = || {
        let start = core_time();
        let mut runs = 0;
        loop {
            run();
            runs += 1;
            let time = core_time() - start;
            if time >= ROUND {
                return time / runs;
            }
        }
    };
    std::iter::repeat_with(round).take(ROUNDS).min().expect("there are rounds")
}

/// Prints millions a second.
pub fn report(what: &str, count: usize, unit: &str, time: Duration) {
    let rate = count as f64 / time.as_secs_f64() / 1e6;
    println!("{what:<44} {rate:>8.2} million {unit}/s");
}
