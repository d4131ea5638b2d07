//! The allocator beside a naive model: random histories of pools, Services, lost writes, foreign writes and
//! restarts, in a space small enough to look at every address.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod examine;
mod objects;
mod rules;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;

use objects::{Step, crowded_step, small_pool, step};
use world::World;

fn run(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps {
        world.act(step);
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_keeps_the_rules(steps in vec(step(), 1..50)) {
        run(steps);
    }

    #[test]
    fn a_crowd_keeps_the_rules(pools in vec(small_pool(), 1..3), steps in vec(crowded_step(), 1..60)) {
        run(pools.into_iter().map(Step::Pool).chain(steps).collect());
    }
}
