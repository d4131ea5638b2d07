//! A node is lost under traffic: how long until new connections are served again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use tests::traffic::{lose_a_node, with_bfd, with_short_hold};

/// What is asked of a machine with other things to do; `tests/bench failover` tells how long it takes.
const BOUND: Duration = Duration::from_secs(4);

/// 300 ms, three times: 900 ms until the loss is seen.
#[test]
fn with_bfd_a_lost_node_is_left_out_in_about_a_second() {
    lose_a_node(with_bfd, true, 3, |loss| {
        println!(
            "noticed after {} ms, over after {} ms; {}",
            loss.noticed.as_millis(),
            loss.took.as_millis(),
            loss.tally
        );
        assert!(loss.took < BOUND, "{loss:?}");
        assert_eq!(loss.tally.wrong_sources + loss.tally.refused + loss.tally.odd, 0, "{loss:?}");
    });
}

#[test]
fn without_bfd_a_lost_node_is_left_out_after_the_hold_time() {
    lose_a_node(with_short_hold, false, 1, |loss| {
        println!(
            "noticed after {} ms, over after {} ms; {}",
            loss.noticed.as_millis(),
            loss.took.as_millis(),
            loss.tally
        );
        assert!(loss.noticed > Duration::from_secs(1), "{loss:?}");
        assert!(loss.took < Duration::from_secs(3) + BOUND, "{loss:?}");
        assert_eq!(loss.tally.wrong_sources + loss.tally.refused + loss.tally.odd, 0, "{loss:?}");
    });
}
