//! Routes of a router that restarts for long (RFC 9494), learned by a node beside those of one that stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use serde_json::Value;
use tests::daemon::Kind;
use tests::speaker::Speaker;
use tests::tors::{PEERS, ROUTES, Rack, SOON, config, wait_sessions};
use tests::wait::eventually;

/// What the router that restarts has alone.
const ALONE: [&str; 2] = ["2001:db8:200::/48", "203.0.113.0/24"];

fn learned(both: usize, alone: usize) -> Vec<(&'static str, usize)> {
    let alone = ALONE.into_iter().filter(|_| alone > 0).map(|to| (to, alone));
    ROUTES.into_iter().map(|to| (to, both)).chain(alone).collect()
}

/// The row of `rib received` for a destination, of one peer.
fn row(speaker: &Speaker, peer: &str, prefix: &str) -> Value {
    let rows = speaker.json(&["rib", "received", prefix]);
    let mut rows = rows.as_array().cloned().unwrap_or_default().into_iter();
    rows.find(|row| row["peer"] == peer).unwrap_or_default()
}

fn wait_stale(speaker: &Speaker, what: &str, accept: impl Fn(&Value, &Value) -> bool) {
    eventually(SOON, what, || {
        let rows = [row(speaker, "bird4", "198.51.100.0/24"), row(speaker, "bird4", ALONE[1])];
        if accept(&rows[0], &rows[1]) { Ok(()) } else { Err(format!("{rows:?}")) }
    });
}

fn lasts(kind: Kind) {
    let rack = Rack::new();
    let (_frr, mut router) = (rack.frr(&ROUTES), rack.lasting(kind, 8, 20, &ALONE));
    let speaker = Speaker::start(&rack.node, &config(", learn: [0.0.0.0/0, \"::/0\"]", ""), &[]);
    wait_sessions(&speaker);
    rack.wait_learned(&learned(2, 1));

    router.process().kill();
    wait_stale(
        &speaker,
        "in its restart time its routes are stale and as good as before",
        |shared, alone| {
            let kept = |row: &Value| row["stale"] == true && row["reason"].is_null();
            kept(shared) && kept(alone)
        },
    );
    rack.wait_learned(&learned(2, 1));
    wait_stale(&speaker, "after it they are a last resort", |shared, alone| {
        let reason = shared["reason"].as_str().unwrap_or_default();
        let last = shared["stale"] == true && reason.contains("this one is long-lived stale");
        last && alone["stale"] == true && alone["best"] == true
    });
    rack.wait_learned(&learned(1, 1));
    let by = rack.learned().into_iter().filter(|(to, _)| ROUTES.contains(&to.as_str()));
    for (to, by) in by {
        assert!(by[0].ends_with("dev eth0"), "{to}: the router that stays, not {by:?}");
    }
    let story = speaker.try_cli(&["explain", "198.51.100.0/24"]).unwrap();
    assert!(story.contains("this one is long-lived stale"), "{story}");

    // Back before the stale time is over: as good as the other's.
    router.start_again();
    wait_sessions(&speaker);
    rack.wait_learned(&learned(2, 1));
    eventually(SOON, "nothing is stale", || {
        let stale = PEERS.map(|peer| speaker.cli(&["peers", peer]).contains("stale"));
        if stale == [false; 4] { Ok(()) } else { Err(format!("{stale:?}")) }
    });

    // Gone for good: with the end of the stale time so are its routes.
    router.process().kill();
    rack.wait_learned(&learned(1, 1));
    rack.wait_learned(&learned(1, 0));
    assert!(row(&speaker, "bird4", "198.51.100.0/24").is_null());
}

#[test]
fn routes_of_bird_are_a_last_resort_after_its_restart_time() {
    lasts(Kind::Bird);
}

#[test]
fn routes_of_gobgp_are_a_last_resort_after_its_restart_time() {
    lasts(Kind::GoBgp);
}
