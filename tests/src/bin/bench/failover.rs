//! A node is lost under traffic: how long until the router leaves it out, and until no connection fails.

use std::time::Duration;

use tests::traffic::{Loss, lose_a_node, with_bfd, with_short_hold};

use crate::heading;
use crate::report::{quantile, table, time};

const LOSSES: usize = 10;

/// Runs it with BFD and with the hold timer alone, and prints the table.
pub(crate) fn run() {
    heading(&format!(
        "Failover: a node of three is lost under 1,000 connections a second, {LOSSES} times each"
    ));
    let rows = [row("BFD, 3 × 300 ms", with_bfd, true), row("hold time 3 s", with_short_hold, false)];
    let heading = [
        "loss is found by",
        "router sends elsewhere: shortest",
        "median",
        "longest",
        "last failed connection began: shortest",
        "median",
        "longest",
    ];
    table(&heading, &rows);
}

fn row(name: &str, agent: fn(u8) -> String, bfd: bool) -> Vec<String> {
    let (mut noticed, mut over) = (Vec::new(), Vec::new());
    lose_a_node(agent, bfd, LOSSES, |loss: &Loss| {
        eprintln!("{name}: {} ms, {} ms; {}", loss.noticed.as_millis(), loss.took.as_millis(), loss.tally);
        noticed.push(loss.noticed);
        over.push(loss.took);
    });
    let spread = |all: &[Duration]| [0.0, 0.5, 1.0].map(|share| time(quantile(all, share)));
    [name.to_owned()].into_iter().chain(spread(&noticed)).chain(spread(&over)).collect()
}
