//! A full table received: one peer sends 1,000,000 routes as fast as the daemon takes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::daemons::{Bench, Daemon, FEEDER, FEEDER_ASN, Kind, Role, feeder_dial};
use crate::fleet::Fleet;
use crate::report::{median, megabytes, progress, table, time};
use crate::seen::Universe;
use crate::traffic::{Traffic, internet};
use crate::{Options, heading};

const PREFIXES: u64 = 1_000_000;

struct Figures {
    elapsed: Duration,
    cpu: Duration,
    before: f64,
    peak: f64,
}

/// Runs it with every daemon and prints the table.
pub(crate) fn run(options: &Options) {
    let traffic = internet(PREFIXES, FEEDER_ASN, FEEDER);
    heading(&format!(
        "Full table received: {} routes in {} UPDATEs, {:.1} MB",
        traffic.prefixes,
        traffic.updates,
        traffic.octets.len() as f64 / 1e6
    ));
    let own = [
        ("receive: none", ", receive: none"),
        ("receive: count", ""),
        ("receive: all, maxPrefixes 1100000", ", receive: all, maxPrefixes: {ipv4-unicast: 1100000}"),
    ];
    let mut rows = Vec::new();
    for kind in options.daemons() {
        let variants: &[(&str, &str)] = if kind == Kind::Speaker { &own } else { &[("", "")] };
        for (name, receive) in variants {
            let runs: Vec<Figures> = (0..options.runs(kind)).map(|_| once(kind, receive, &traffic)).collect();
            rows.push(progress(row(&format!("{} {name}", kind.name()), &runs)));
        }
    }
    table(
        &["daemon", "elapsed (median)", "fastest", "slowest", "CPU", "RSS before", "peak RSS", "runs"],
        &rows,
    );
}

fn row(name: &str, runs: &[Figures]) -> Vec<String> {
    let elapsed: Vec<Duration> = runs.iter().map(|run| run.elapsed).collect();
    let cpu: Vec<Duration> = runs.iter().map(|run| run.cpu).collect();
    let peak: Vec<f64> = runs.iter().map(|run| run.peak).collect();
    let before: Vec<f64> = runs.iter().map(|run| run.before).collect();
    vec![
        name.trim().to_owned(),
        time(median(&elapsed)),
        time(*elapsed.iter().min().expect("a run")),
        time(*elapsed.iter().max().expect("a run")),
        time(median(&cpu)),
        megabytes(median(&before)),
        megabytes(median(&peak)),
        runs.len().to_string(),
    ]
}

/// From the first octet sent until the daemon's own counter says that it has all.
fn once(kind: Kind, receive: &str, traffic: &Traffic) -> Figures {
    let bench = Bench::new(0);
    let role = Role { fed: true, receive: receive.to_owned(), ..Role::default() };
    let daemon = Daemon::start(kind, &bench.daemon, &role);
    let mut fleet = Fleet::open(&bench.peers, &[feeder_dial()], Universe::EMPTY);
    let (before, done) = (daemon.usage(), AtomicBool::new(false));
    let start = fleet.confirm();
    fleet.peers[0].send(traffic.octets.clone());
    let elapsed = std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let elapsed = count(&daemon, traffic, start);
            done.store(true, Ordering::Release);
            elapsed
        });
        let deadline = Duration::from_secs(200);
        fleet.run("the daemon has counted all", deadline, |_| {
            done.load(Ordering::Acquire) || counting.is_finished()
        });
        counting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let after = daemon.usage();
    Figures { elapsed, cpu: after.cpu - before.cpu, before: before.resident, peak: after.peak }
}

fn count(daemon: &Daemon, traffic: &Traffic, start: Instant) -> Duration {
    let mut asked = start;
    let mut seen = 0;
    tests::wait::eventually(Duration::from_secs(180), "the daemon has counted all", || {
        if asked.elapsed() >= daemon.patience() {
            seen = daemon.received(traffic.updates, traffic.prefixes)?;
            asked = Instant::now();
        }
        if seen == traffic.prefixes { Ok(start.elapsed()) } else { Err(format!("{seen} prefixes")) }
    })
}
