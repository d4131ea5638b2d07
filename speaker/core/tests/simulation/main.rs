//! Fabrics on virtual time: nodes with the real allocator, RIB and sessions, ToRs with real sessions, and
//! everything between them that can go wrong. `speaker/docs/simulation.md` says what is simulated and what must
//! hold.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` so many, `SIM_TRACE=1` tells what happens; `SIM_LARGE=1` makes the
//! large fabric 200 × 20.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "tests"
)]

mod clock;
mod cluster;
mod endpoint;
mod fabric;
mod invariants;
mod network;
mod node;
mod router;
mod scenario;
mod transport;

use std::time::{Duration, Instant};

use fabric::Counts;
use scenario::{Size, run};

/// Says how to see a failure again.
struct Replay {
    test: &'static str,
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "again: SIM_SEED={} cargo test -p speaker-core --test simulation {}",
                self.seed, self.test
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// Runs seeds; says how many and what happened in all of them, or `None` where one alone was asked for.
fn seeds(test: &'static str, usual: u64, size: Size) -> Option<(u64, Counts)> {
    let trace = number("SIM_TRACE").is_some();
    let one = number("SIM_SEED");
    let range = one.map_or(0..number("SIM_SEEDS").unwrap_or(usual), |seed| seed..seed + 1);
    let started = Instant::now();
    let mut sum = Counts::default();
    for seed in range.clone() {
        let replay = Replay { test, seed };
        sum.add(run(seed, size, trace));
        drop(replay);
    }
    eprintln!("{test}: {range:?} in {:.1} s: {sum:?}", started.elapsed().as_secs_f64());
    one.is_none().then_some((range.end, sum))
}

#[test]
fn small_fabrics_become_right_after_every_storm() {
    let size = Size {
        nodes: 3,
        tors: 2,
        services: 8,
        storm: Duration::from_secs(100),
        hold: 9,
        watched: usize::MAX,
        changes: Duration::from_secs(3),
        faults: Duration::from_secs(6),
    };
    let usual = if cfg!(debug_assertions) { 40 } else { 1000 };
    let Some((runs, sum)) = seeds("small_fabrics", usual, size) else { return };
    // A storm that breaks nothing proves nothing.
    assert!(sum.faults > runs * 20 && sum.kills > runs && sum.collisions > runs, "{sum:?}");
    assert!(sum.refreshes > runs && sum.updates > runs * 100, "{sum:?}");
    assert!(sum.most_routes > 10 && sum.most_tombstones > 2, "{sum:?}");
}

#[test]
fn a_large_fabric_becomes_right_after_a_storm() {
    let large = number("SIM_LARGE").is_some();
    let (nodes, tors) = if large { (200, 20) } else { (20, 4) };
    let size = Size {
        nodes,
        tors,
        services: 40,
        storm: Duration::from_secs(60),
        hold: 30,
        watched: 10,
        changes: Duration::from_secs(4),
        faults: Duration::from_secs(2),
    };
    let Some((_, sum)) = seeds("a_large_fabric", 1, size) else { return };
    assert!(sum.faults > 30 && sum.established > (nodes * tors) as u64, "{sum:?}");
}
