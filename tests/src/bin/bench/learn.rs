//! Two full tables learned: two peers send 1,000,000 IPv4 and 250,000 IPv6 routes each, and `learn` takes nothing, the
//! default route, or everything, down to the kernel's main table.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemons::{Bench, Daemon, FEEDER, FEEDER_ASN, Kind, Role, feeder_dial, peer_address, peer_dial};
use crate::fleet::Fleet;
use crate::report::{megabytes, progress, table, time};
use crate::seen::Universe;
use crate::traffic::{Traffic, internet, internet6};
use crate::{Options, heading};

/// The daemon's address and those of its two peers.
const OWN6: &str = "fd09::1/64";
const FEEDERS6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 3)];

/// Runs it with our daemon and prints the table.
pub(crate) fn run(options: &Options) {
    let (ipv4, ipv6) = (options.routes, options.routes / 4);
    // Equal paths, so that every destination has two next hops.
    let tables = [(FEEDER, FEEDERS6[0]), (peer_address(0), FEEDERS6[1])]
        .map(|(v4, v6)| (internet(ipv4, FEEDER_ASN, v4), internet6(ipv6, FEEDER_ASN, v6)));
    let octets: usize = tables.iter().map(|(v4, v6)| v4.octets.len() + v6.octets.len()).sum();
    heading(&format!(
        "Two full tables learned: {ipv4} and {ipv6} routes from each of two peers, {:.1} MB together",
        octets as f64 / 1e6
    ));
    let all = format!(
        ", learn: [0.0.0.0/0, \"::/0\"], maxPrefixes: {{ipv4-unicast: {ipv4}, ipv6-unicast: {ipv6}}}"
    );
    let variants = [
        ("off", "", 0),
        ("default-route", ", learn: default-route", 0),
        ("everything", all.as_str(), 2 * (ipv4 + ipv6)),
    ];
    let rows: Vec<Vec<String>> =
        variants.iter().map(|(name, learn, kept)| progress(once(name, learn, *kept, &tables))).collect();
    table(
        &[
            "learn",
            "received",
            "selected",
            "in the kernel",
            "routes there",
            "CPU",
            "RSS before",
            "RSS after",
            "peak RSS",
        ],
        &rows,
    );
}

fn once(name: &str, learn: &str, kept: u64, tables: &[(Traffic, Traffic); 2]) -> Vec<String> {
    let bench = Bench::new(1);
    bench.daemon.address("eth0", OWN6);
    let mut yaml = String::new();
    for (name, address) in [("a", FEEDER), ("b", peer_address(0))] {
        let _w = writeln!(
            yaml,
            "  - {{name: {name}, address: {address}, asn: {FEEDER_ASN}, passive: true{learn}}}"
        );
    }
    let daemon = Daemon::start(Kind::Speaker, &bench.daemon, &Role { yaml, ..Role::default() });
    let mut dials = [feeder_dial(), peer_dial(0)];
    for dial in &mut dials {
        dial.asn = FEEDER_ASN;
        dial.ipv6 = true;
    }
    let mut fleet = Fleet::open(&bench.peers, &dials, Universe::EMPTY);
    let before = daemon.usage();
    let start = fleet.confirm();
    let mut updates = [0; 2];
    for ((peer, (v4, v6)), updates) in fleet.peers.iter_mut().zip(tables).zip(&mut updates) {
        peer.send(Arc::clone(&v4.octets));
        peer.send(Arc::clone(&v6.octets));
        *updates = v4.updates + v6.updates;
    }
    let mut asked = start;
    let mut wait = |fleet: &mut Fleet, what: &str, done: &dyn Fn() -> bool| {
        fleet.run(what, Duration::from_secs(180), |_| {
            // The daemon is measured, not its answers.
            if asked.elapsed() < Duration::from_millis(250) {
                return false;
            }
            asked = Instant::now();
            done()
        });
        start.elapsed()
    };
    let peers = || [daemon.speaker(&["peers", "a"]), daemon.speaker(&["peers", "b"])];
    let received = wait(&mut fleet, "every UPDATE is counted", &|| {
        let seen = peers()
            .map(|peer| peer.map_or(0, |peer| peer["receivedByKind"]["updates"].as_u64().unwrap_or(0)));
        seen.iter().zip(updates).all(|(seen, sent)| *seen >= sent)
    });
    let selected = wait(&mut fleet, "every route is selected", &|| {
        let used: u64 = peers().iter().flatten().map(used).sum();
        used >= kept
    });
    let installed = if kept == 0 { selected } else { installed(&mut fleet, &daemon, start) };
    let routes: usize = ["-4", "-6"]
        .iter()
        .map(|family| {
            let text = bench.daemon.ip(&[family, "-o", "route", "show", "table", "main", "proto", "179"]);
            text.lines().count()
        })
        .sum();
    let after = daemon.usage();
    vec![
        name.to_owned(),
        time(received),
        if kept == 0 { "-".to_owned() } else { time(selected) },
        if kept == 0 { "-".to_owned() } else { time(installed) },
        routes.to_string(),
        time(after.cpu - before.cpu),
        megabytes(before.resident),
        megabytes(after.resident),
        megabytes(after.peak),
    ]
}

fn used(peer: &Value) -> u64 {
    let families = peer["learned"].as_array().into_iter().flatten();
    families.filter_map(|family| family["used"].as_u64()).sum()
}

/// Until the daemon has had nothing to do for a second, that second apart.
fn installed(fleet: &mut Fleet, daemon: &Daemon, start: Instant) -> Duration {
    let (mut last, mut since) = (daemon.usage().cpu, Instant::now());
    fleet.run("the kernel has every route", Duration::from_secs(180), |_| {
        let now = daemon.usage().cpu;
        if now > last + Duration::from_millis(20) {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() >= Duration::from_secs(1)
    });
    since - start
}
