//! Routes learned from two routers, in the kernel of a node: `learn` and the helper side of graceful restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::daemon::{Frr, Router as _};
use tests::fabric::nft;
use tests::speaker::{Speaker, binary};
use tests::tors::{FAR4, FAR6, PEERS, ROUTES, Rack, SOON, config, frr_config, wait_sessions};
use tests::wait::{always, eventually};

const EVERYTHING: &str = ", learn: [0.0.0.0/0, \"::/0\"]";

fn by(ways: usize) -> [(&'static str, usize); 4] {
    ROUTES.map(|route| (route, ways))
}

/// The rows of `rib received` for a destination, by peer.
fn row(speaker: &Speaker, peer: &str, prefix: &str) -> Value {
    let rows = speaker.json(&["rib", "received", prefix]);
    let mut rows = rows.as_array().cloned().unwrap_or_default().into_iter();
    rows.find(|row| row["peer"] == peer).unwrap_or_default()
}

#[test]
fn two_routers_share_the_traffic_and_each_carries_it_alone() {
    let rack = Rack::new();
    let (_frr, mut bird) = (rack.frr(&ROUTES), rack.bird());
    // What somebody else has: a static default route, and one in our place.
    rack.node.ip(&["route", "add", "default", "via", "10.0.0.254", "metric", "50"]);
    rack.node.ip(&["route", "add", "203.0.113.0/24", "via", "10.0.0.254", "metric", "79"]);
    let speaker = Speaker::start(&rack.node, &config(EVERYTHING, ""), &[]);
    wait_sessions(&speaker);
    rack.wait_learned(&by(2));
    for far in [FAR4, FAR6] {
        let [frr, bird] = rack.spread(far);
        assert!(frr > 5 && bird > 5, "{far}: {frr} by FRR, {bird} by BIRD");
    }
    let table = speaker.cli(&["rib", "received", "198.51.100.0/24"]);
    assert!(table.contains("*> 198.51.100.0/24") && table.contains("*= 198.51.100.0/24"), "{table}");
    let story = speaker.try_cli(&["explain", FAR4]).unwrap();
    assert!(story.contains("198.51.100.0/24 learned from frr4 by 10.0.0.254: used"), "{story}");
    assert!(speaker.cli(&["peers", "frr4"]).contains("ipv4-unicast: 2 learned, 2 used"));

    // By hand: it comes back. What is not ours stays as it is.
    rack.node.ip(&["route", "del", "198.51.100.0/24", "proto", "179"]);
    rack.node.ip(&["-6", "route", "flush", "proto", "179"]);
    rack.wait_learned(&by(2));

    // Killed, and without graceful restart: gone at once.
    bird.process().kill();
    rack.wait_learned(&by(1));
    assert!(rack.learned().iter().all(|(_, by)| by[0].ends_with("dev eth0")), "{:?}", rack.learned());
    assert_eq!(rack.spread(FAR4), [64, 0]);
    bird.start_again();
    rack.wait_learned(&by(2));

    // A link goes down: so does what was learned over it, whatever the session's timers say.
    rack.frr.ip(&["link", "set", "eth0", "down"]);
    rack.wait_learned(&by(1));
    rack.frr.ip(&["link", "set", "eth0", "up"]);
    rack.frr.try_ip(&["address", "add", "fd00:0::fe/64", "dev", "eth0"]).unwrap_or_default();
    rack.wait_learned(&by(2));

    // An orderly end without graceful restart leaves nothing of ours, and everything of others.
    assert!(speaker.process().terminate().success());
    assert_eq!(rack.learned(), []);
    let left = rack.node.ip(&["route", "show"]);
    assert!(left.contains("default via 10.0.0.254 dev eth0 metric 50"), "{left}");
    assert!(left.contains("203.0.113.0/24 via 10.0.0.254 dev eth0 metric 79"), "{left}");
}

#[test]
fn nothing_is_learned_unless_it_is_asked_for_and_asking_resets_nothing() {
    let rack = Rack::new();
    let (_frr, _bird) = (rack.frr(&ROUTES), rack.bird());
    let speaker = Speaker::start(&rack.node, &config("", ""), &[]);
    wait_sessions(&speaker);
    eventually(SOON, "every route is received", || {
        let seen = PEERS.map(|peer| speaker.received(peer).len());
        if seen == [2; 4] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    always(Duration::from_millis(500), "the kernel is left alone", || {
        let learned = rack.learned();
        if learned.is_empty() { Ok(()) } else { Err(format!("{learned:?}")) }
    });
    // A foreign route in our very place is told, and left alone.
    rack.node.ip(&["route", "add", "default", "via", "10.0.0.254", "metric", "79"]);
    speaker.write_config(&config(", learn: default-route", ""));
    // FRR 8.4 sends End-of-RIB to peers with the graceful restart capability alone, and answers no ROUTE-REFRESH of a
    // peer with enhanced refresh before it: the next session has it.
    rack.wait_learned(&[("::/0", 1)]);
    for peer in &PEERS[..2] {
        speaker.cli(&["clear", peer]);
    }
    rack.wait_learned(&[("::/0", 2)]);
    eventually(SOON, "the obstacle is told", || {
        let version = speaker.cli(&["version"]);
        let told =
            version.contains("the learned route to 0.0.0.0/0 cannot be set: somebody else has a route to it");
        if told { Ok(()) } else { Err(version) }
    });
    rack.node.ip(&["route", "del", "default", "metric", "79"]);
    rack.wait_learned(&[("0.0.0.0/0", 2), ("::/0", 2)]);
    speaker.write_config(&config(", learn: [198.51.100.0/24]", ""));
    rack.wait_learned(&[("198.51.100.0/24", 2)]);
    speaker.write_config(&config(", learn: none", ""));
    rack.wait_learned(&[]);
    for (peer, sessions) in PEERS.into_iter().zip([2, 2, 1, 1]) {
        let peer = speaker.peer(peer);
        assert_eq!(peer["establishedCount"], sessions, "a session was reset: {peer}");
        assert!(peer["sentByKind"]["routeRefreshes"].as_u64() >= Some(1), "{peer}");
    }
}

#[test]
fn routes_of_a_router_that_restarts_gracefully_stay_and_what_it_has_lost_goes() {
    let rack = Rack::new();
    let (mut frr, _bird) = (rack.frr(&ROUTES), rack.bird());
    let speaker = Speaker::start(&rack.node, &config(EVERYTHING, ""), &[]);
    wait_sessions(&speaker);
    rack.wait_learned(&by(2));
    frr.process().kill();
    eventually(SOON, "routes are stale", || {
        let row = row(&speaker, "frr4", "198.51.100.0/24");
        if row["stale"] == true && row["reason"].is_null() { Ok(()) } else { Err(row.to_string()) }
    });
    let table = speaker.cli(&["rib", "received", "--peer", "frr4"]);
    assert!(table.contains("S*> 0.0.0.0/0"), "{table}");
    assert!(speaker.cli(&["peers", "frr4"]).contains("2 stale (S)"));
    always(Duration::from_secs(2), "nothing is lost", || {
        let learned = rack.learned();
        if learned.len() == 4 && learned.iter().all(|(_, by)| by.len() == 2) {
            Ok(())
        } else {
            Err(format!("{learned:?}"))
        }
    });
    let [by_frr, by_bird] = rack.spread(FAR4);
    assert!(by_frr > 5 && by_bird > 5, "its kernel forwards on: {by_frr} {by_bird}");
    // It comes back without one of its routes.
    std::fs::write(rack.frr.dir().join("frr/frr.conf"), frr_config(&ROUTES[..3])).unwrap();
    frr.start_again();
    wait_sessions(&speaker);
    eventually(SOON, "the others stay, and End-of-RIB takes that one", || {
        let learned = rack.learned();
        let kept = learned.iter().filter(|(to, by)| to != ROUTES[3] && by.len() == 2).count();
        assert_eq!(kept, 3, "something was lost: {learned:?}");
        let one = learned.iter().find(|(to, _)| to == ROUTES[3]).map(|(_, by)| by.len());
        if one == Some(1) { Ok(()) } else { Err(format!("{learned:?}")) }
    });
    eventually(SOON, "nothing is stale", || {
        let stale = PEERS.map(|peer| speaker.cli(&["peers", peer]).contains("stale"));
        if stale == [false; 4] { Ok(()) } else { Err(format!("{stale:?}")) }
    });
    // An operator's word ends it, restart or not.
    frr.process().kill();
    eventually(SOON, "routes are stale", || {
        let row = row(&speaker, "frr4", "0.0.0.0/0");
        if row["stale"] == true { Ok(()) } else { Err(row.to_string()) }
    });
    speaker.cli(&["shutdown", "frr4"]);
    eventually(SOON, "they are gone", || {
        let row = row(&speaker, "frr4", "0.0.0.0/0");
        if row.is_null() { Ok(()) } else { Err(row.to_string()) }
    });
}

#[test]
fn the_speakers_own_restart_loses_nothing_that_routers_still_have() {
    let rack = Rack::new();
    let (_frr, _bird) = (rack.frr(&ROUTES), rack.bird());
    let group = format!("{EVERYTHING}, gracefulRestart: {{restartTime: 60s}}");
    let mut speaker = Speaker::start(&rack.node, &config(&group, ""), &[]);
    wait_sessions(&speaker);
    rack.wait_learned(&by(2));
    let whole = |what: &str| {
        let learned = rack.learned();
        let kept = learned.iter().filter(|(to, by)| to != "203.0.113.0/24" && by.len() == 2).count();
        assert_eq!(kept, 4, "{what}: {learned:?}");
    };
    for kill in [false, true] {
        if kill {
            speaker.process().kill();
        } else {
            assert!(speaker.process().terminate().success());
        }
        whole("while it is away");
        // What nobody tells any more, and this process would have learned.
        rack.node.ip(&[
            "route",
            "add",
            "203.0.113.0/24",
            "via",
            "10.0.0.254",
            "metric",
            "79",
            "proto",
            "179",
        ]);
        speaker.start_again();
        eventually(SOON, "every session is back", || {
            whole("while sessions come up");
            let up = PEERS.iter().filter(|peer| speaker.peer(peer)["state"] == "Established").count();
            if up == PEERS.len() { Ok(()) } else { Err(format!("{up} of {}", PEERS.len())) }
        });
        eventually(SOON, "what is left over goes", || {
            whole("after End-of-RIB");
            let learned = rack.learned();
            if learned.len() == 4 { Ok(()) } else { Err(format!("{learned:?}")) }
        });
    }
    // Killed for good: `--cleanup` takes everything that bears our mark.
    speaker.process().kill();
    let file = speaker.dir().join("speaker.yaml");
    let output = rack.node.output(Command::new(binary()).args(["run", "--cleanup", "--config"]).arg(&file));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("198.51.100.0/24"), "{said} {output:?}");
    assert_eq!(rack.learned(), []);
}

#[test]
fn ipv4_routes_go_by_ipv6_next_hops() {
    let rack = Rack::new();
    let text = frr_config(&ROUTES)
        .replace(
            "neighbor fd00:0::1 timers 3 9",
            "neighbor fd00:0::1 capability extended-nexthop\n neighbor fd00:0::1 timers 3 9",
        )
        .replace("  neighbor 10.0.0.1 activate\n", "  neighbor fd00:0::1 activate\n");
    let _frr = Frr::with_config(&rack.frr, 64500, &text);
    let config = "node: {name: node}
router: {asn: 64501, routerId: 10.0.0.1}
sources: {manifests: [manifests]}
ipam: {stateDir: state}
api: {socket: api.sock}
peers:
  - {name: frr, address: \"fd00:0::fe\", asn: 64500, timers: {hold: 9s, connectRetry: 1s}, learn: [0.0.0.0/0, \"::/0\"]}
";
    let speaker = Speaker::start(&rack.node, config, &[]);
    speaker.wait_state("frr", "Established", SOON);
    rack.wait_learned(&by(1));
    let route = rack.node.ip(&["route", "show", "198.51.100.0/24"]);
    assert!(route.contains("via inet6 ") && route.contains("dev eth0"), "{route}");
    assert_eq!(rack.spread(FAR4), [64, 0]);
}

#[test]
fn a_path_that_bfd_finds_dead_is_left_at_once_whatever_graceful_restart_says() {
    let rack = Rack::new();
    let mut text = frr_config(&ROUTES);
    for ours in ["10.0.0.1", "fd00:0::1"] {
        let line = format!(" neighbor {ours} timers 3 9\n");
        text =
            text.replace(&line, &format!("{line} neighbor {ours} bfd\n neighbor {ours} bfd profile lab\n"));
    }
    let timing =
        "bfd\n profile lab\n  detect-multiplier 3\n  transmit-interval 200\n  receive-interval 200\n exit\n";
    let _frr = Frr::with_bfd(&rack.frr, 64500, &text, timing);
    let _bird = rack.bird();
    let group = format!("{EVERYTHING}, bfd: {{transmit: 200ms, receive: 200ms}}");
    let speaker = Speaker::start(&rack.node, &config(&group, ""), &[]);
    wait_sessions(&speaker);
    rack.wait_learned(&by(2));
    for peer in &PEERS[..2] {
        eventually(SOON, &format!("BFD with {peer} is up"), || {
            let bfd = speaker.peer(peer)["bfd"]["state"].clone();
            if bfd == "Up" { Ok(()) } else { Err(bfd.to_string()) }
        });
    }
    // Nothing of BFD comes through any more; TCP does.
    nft(
        &rack.frr,
        "table inet deaf {
  chain input {
    type filter hook input priority 0; policy accept;
    udp dport 3784 drop
  }
  chain output {
    type filter hook output priority 0; policy accept;
    udp dport 3784 drop
  }
}
",
    );
    eventually(Duration::from_secs(6), "BIRD alone is left", || {
        let learned = rack.learned();
        let left = learned.iter().all(|(_, by)| by.len() == 1 && by[0].ends_with("dev eth1"));
        if learned.len() == 4 && left { Ok(()) } else { Err(format!("{learned:?}")) }
    });
    assert!(row(&speaker, "frr4", "0.0.0.0/0").is_null(), "nothing is kept for a restart");
}
