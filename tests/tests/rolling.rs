//! A rolling update under traffic: the speaker is ended and started again, and no packet that a router forwards to this
//! node is lost (graceful restart, RFC 4724).
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

use tests::daemon::{self, Bird, Frr, Kind, Router, generation};
use tests::interop::unnumbered::{LINK, Nodes, SERVED};
use tests::interop::{Bench, SESSIONS, SOON, Setup};
use tests::process::Process;
use tests::speaker::Speaker;
use tests::wait::{always, eventually};

/// Echo requests to each address, one every 10 ms.
const REQUESTS: &str = "3000";

/// A host behind the router, whose way back is the router.
fn nodes() -> Nodes {
    let nodes = Nodes::new();
    for (node, last) in [(&nodes.node, 1), (&nodes.router, 2)] {
        node.address(LINK, &format!("10.0.0.{last}/24"));
        node.address(LINK, &format!("fd00::{last}/64"));
    }
    nodes.node.ip(&["-4", "route", "add", "default", "via", "10.0.0.2"]);
    nodes.node.ip(&["-6", "route", "add", "default", "via", "fd00::2"]);
    nodes
}

fn setup(kind: Kind) -> Setup {
    Setup {
        router_restart: Some(60),
        peer_keys: "asn: 64502, gracefulRestart: {restartTime: 60s}".to_owned(),
        ..Setup::new(kind)
    }
}

/// BIRD that puts what it learns into its kernel. It helps whoever restarts by default.
fn bird(nodes: &Nodes) -> Bird {
    let session = |name: &str, ours: &str, theirs: &str, family: &str| {
        format!(
            "protocol bgp {name} {{ local {ours} as 64502; neighbor {theirs} as 64501; direct; hold time 9;\n \
             connect delay time 1; connect retry time 1; error wait time 1,2;\n \
             {family} {{ import all; export none; }}; }}\n"
        )
    };
    let config = format!(
        "log stderr all;\nrouter id 10.0.0.2;\nprotocol device {{}}\n\
         protocol kernel {{ ipv4 {{ export all; }}; }}\nprotocol kernel {{ ipv6 {{ export all; }}; }}\n{}{}",
        session("node4", "10.0.0.2", "10.0.0.1", "ipv4"),
        session("node6", "fd00::2", "fd00::1", "ipv6")
    );
    Bird::with_config(&nodes.router, 64502, &config)
}

fn wait_up(speaker: &Speaker, router: &dyn Router) {
    for (name, family) in SESSIONS {
        speaker.wait_state(name, "Established", SOON);
        daemon::wait_established(router, Bench::ours(family), SOON);
    }
}

/// Ended by a signal, and killed; away for two seconds each time.
fn roll(speaker: &mut Speaker, router: &dyn Router, kept: impl Fn() -> Result<(), String>) {
    for kill in [false, true, false] {
        if kill {
            speaker.process().kill();
        } else {
            assert!(speaker.process().terminate().success());
        }
        always(Duration::from_secs(2), "the router keeps every route", &kept);
        speaker.start_again();
        eventually(SOON, "every session is back, and no route is lost meanwhile", || {
            kept().unwrap_or_else(|lost| panic!("{lost}"));
            let up = SESSIONS.iter().filter(|(name, _)| speaker.peer(name)["state"] == "Established").count();
            if up == SESSIONS.len() { Ok(()) } else { Err(format!("{up} are up")) }
        });
        wait_up(speaker, router);
    }
}

fn forwards_on(kind: Kind) {
    let nodes = nodes();
    let router: Box<dyn Router> = match kind {
        Kind::Bird => Box::new(bird(&nodes)),
        _ => Box::new(Frr::start(&nodes.router, &setup(kind).spec())),
    };
    let setup = setup(kind);
    let mut speaker = Speaker::start(&nodes.node, &setup.config(), &setup.manifests);
    wait_up(&speaker, &*router);
    nodes.wait_served();
    let pings: Vec<Process> = SERVED
        .iter()
        .map(|address| {
            let mut ping = Command::new("ping");
            ping.args(["-q", "-i", "0.01", "-c", REQUESTS, "-W", "5", address]);
            nodes.host.spawn("ping", &mut ping)
        })
        .collect();
    let routes = || {
        let of = |(_, family): &(&str, _)| router.received(Bench::ours(*family), *family).len();
        let have: Vec<usize> = SESSIONS.iter().map(of).collect();
        if have == [2, 2] { Ok(()) } else { Err(format!("{have:?}")) }
    };
    roll(&mut speaker, &*router, routes);
    for ping in &pings {
        assert!(ping.running(), "the requests came to their end before the last round: {}", ping.log());
    }
    for ping in &pings {
        let ended = ping.wait(Duration::from_secs(120));
        let log = ping.log();
        let whole = format!("{REQUESTS} packets transmitted, {REQUESTS} received");
        assert!(ended.success() && log.contains(&whole), "{kind}: {log}");
        println!("{kind}: {}", log.lines().find(|line| line.contains("transmitted")).unwrap_or_default());
    }
}

#[test]
fn frr_forwards_every_packet() {
    forwards_on(Kind::Frr);
}

#[test]
fn bird_forwards_every_packet() {
    forwards_on(Kind::Bird);
}

/// GoBGP has no kernel of its own to forward with: what it would tell one is in its table at every moment.
#[test]
fn gobgp_has_every_route_at_every_moment() {
    let nodes = nodes();
    let setup = setup(Kind::GoBgp);
    let router = daemon::start(Kind::GoBgp, &nodes.router, &setup.spec());
    let mut speaker = Speaker::start(&nodes.node, &setup.config(), &setup.manifests);
    wait_up(&speaker, &*router);
    let best = || {
        let have = ["ipv4", "ipv6"].map(|family| {
            let text = generation::try_exec(&nodes.router, &["gobgp", "-j", "global", "rib", "-a", family]);
            let table: serde_json::Value =
                serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
            table.as_object().map_or(0, serde_json::Map::len)
        });
        if have == [2, 2] { Ok(()) } else { Err(format!("{have:?}")) }
    };
    eventually(SOON, "GoBGP has every route", best);
    roll(&mut speaker, &*router, best);
}
