//! The soak: one speaker between FRR and BIRD, under random churn of Services, endpoints, configuration and peers.
//! `cargo run -p tests --bin soak -- [--minutes N] [--seed N]`, as root; `tests/run --long` runs it.
//!
//! It asserts at every checkpoint that each peer has exactly the wanted table, and at the end that the daemon's
//! memory has not grown beyond a bound since it was warm, that no file descriptor is left open, and that its log
//! has no line that nobody expects.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool of the laboratory: a failure ends it with its text"
)]

mod churn;
mod scene;
mod vitals;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use churn::{Churn, Random};
use scene::Scene;
use vitals::Vitals;

const HELP: &str = "usage: soak [--minutes N] [--seed N], as root (default: 10 minutes, a seed of its own)";

/// Changes between two checkpoints.
const STRETCH: usize = 25;

/// What the command line asks for.
struct Options {
    minutes: u64,
    seed: u64,
}

fn options() -> Options {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = Options { minutes: 10, seed: now.as_secs() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{word}: {HELP}"));
        match word.as_str() {
            "--minutes" => options.minutes = number(),
            "--seed" => options.seed = number(),
            _ => panic!("{word}: {HELP}"),
        }
    }
    options
}

fn main() {
    let Options { minutes, seed } = options();
    println!("soak: {minutes} minutes, seed {seed}");
    let begin = Instant::now();
    let end = begin + Duration::from_secs(60 * minutes);
    // What is allocated once, and the allocator's own growth, come in the first fifth.
    let warm = begin + Duration::from_secs(12 * minutes);
    let mut scene = Scene::start();
    let mut churn = Churn::new(Random::new(seed));
    scene.check(&churn, "the start");
    let mut first: Option<Vitals> = None;
    let mut checkpoints = 0;
    while Instant::now() < end {
        for _ in 0..STRETCH {
            let change = churn.next();
            scene.apply(&change, &churn);
        }
        checkpoints += 1;
        scene.check(&churn, &format!("checkpoint {checkpoints} (seed {seed})"));
        if first.is_none() && Instant::now() >= warm {
            first = Some(scene.vitals());
        }
    }
    churn.rest();
    scene.write_all(&churn);
    scene.check(&churn, "the end");
    let last = scene.vitals();
    let first = first.unwrap_or(last);
    println!(
        "soak: {} s, {checkpoints} checkpoints, {} changes; {}; warm: {first}; end: {last}",
        begin.elapsed().as_secs(),
        churn.made(),
        churn.told()
    );
    last.compare(first);
    scene.check_log();
    println!("soak: passed");
}
