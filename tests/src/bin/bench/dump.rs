//! Table dump: a daemon that holds 200,000 routes with 100 attribute sets tells them to its peers.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::daemons::{Bench, Daemon, FEEDER, FEEDER_ASN, Kind, Role, feeder_dial, peer_dial};
use crate::fleet::Fleet;
use crate::report::{median, megabytes, progress, table, time};
use crate::seen::Universe;
use crate::traffic::{self, set_of};
use crate::{Options, heading};

/// 200,000 prefixes of length 24.
pub(crate) const ROUTES: Universe = Universe { first: 0x1400_0000, length: 24, size: 200_000 };
/// Attribute sets.
pub(crate) const SETS: u16 = 100;

const DEADLINE: Duration = Duration::from_secs(300);

struct Figures {
    first: Duration,
    last: Duration,
    messages: u64,
    cpu: Duration,
    loaded: f64,
    resident: f64,
    peak: f64,
}

/// Runs it with every daemon and every number of peers, and prints the table.
pub(crate) fn run(options: &Options) {
    heading(&format!("Table dump: {} routes with {SETS} attribute sets", ROUTES.size));
    let mut rows = Vec::new();
    for kind in options.daemons() {
        for peers in options.peers.clone() {
            let runs: Vec<Figures> = (0..options.runs(kind)).map(|_| once(kind, peers)).collect();
            rows.push(progress(row(kind, peers, &runs)));
        }
    }
    let heading = [
        "daemon",
        "peers",
        "last peer has all",
        "first peer",
        "UPDATEs a peer",
        "CPU",
        "RSS loaded",
        "RSS after",
        "peak RSS",
        "runs",
    ];
    table(&heading, &rows);
}

fn row(kind: Kind, peers: usize, runs: &[Figures]) -> Vec<String> {
    let middle = |figure: fn(&Figures) -> Duration| median(&runs.iter().map(figure).collect::<Vec<_>>());
    let memory =
        |figure: fn(&Figures) -> f64| megabytes(median(&runs.iter().map(figure).collect::<Vec<_>>()));
    vec![
        kind.name().to_owned(),
        peers.to_string(),
        time(middle(|run| run.last)),
        time(middle(|run| run.first)),
        runs.iter().map(|run| run.messages).max().unwrap_or_default().to_string(),
        time(middle(|run| run.cpu)),
        memory(|run| run.loaded),
        memory(|run| run.resident),
        memory(|run| run.peak),
        runs.len().to_string(),
    ]
}

/// From the KEEPALIVEs that make all sessions Established until each peer has every prefix.
fn once(kind: Kind, peers: usize) -> Figures {
    let bench = Bench::new(peers);
    let (daemon, feeder) = loaded(kind, &bench, peers);
    let before = daemon.usage();
    let dials: Vec<_> = (0..peers).map(peer_dial).collect();
    let mut fleet = Fleet::open(&bench.peers, &dials, ROUTES);
    let start = fleet.confirm();
    fleet.run("every peer has the whole table", DEADLINE, |peers| {
        peers.iter().all(|peer| peer.seen.is_complete())
    });
    let after = daemon.usage();
    for peer in &fleet.peers {
        check(&peer.seen.table, |number| set_of(number, SETS));
        assert_eq!(peer.seen.foreign, 0, "prefixes that nobody announced");
    }
    drop(feeder);
    let took = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.saturating_duration_since(start));
    let times: Vec<Duration> = fleet.peers.iter().map(|peer| took(peer.seen.complete_at)).collect();
    Figures {
        first: times.iter().min().copied().unwrap_or_default(),
        last: times.iter().max().copied().unwrap_or_default(),
        messages: fleet.peers.iter().map(|peer| peer.seen.updates).max().unwrap_or_default(),
        cpu: after.cpu - before.cpu,
        loaded: before.resident,
        resident: after.resident,
        peak: after.peak,
    }
}

/// A daemon that holds the routes: ours from its configuration, the others from a peer, whose session must
/// stay.
fn loaded(kind: Kind, bench: &Bench, peers: usize) -> (Daemon, Option<Fleet>) {
    if kind == Kind::Speaker {
        let role = Role { peers, yaml: advertisements(0), ..Role::default() };
        let daemon = Daemon::start(kind, &bench.daemon, &role);
        daemon.wait_idle();
        return (daemon, None);
    }
    let daemon = Daemon::start(kind, &bench.daemon, &Role { peers, fed: true, ..Role::default() });
    let mut feeder = Fleet::open(&bench.peers, &[feeder_dial()], Universe::EMPTY);
    feeder.confirm();
    let traffic = traffic::sets(ROUTES, SETS, FEEDER_ASN, FEEDER);
    feeder.peers[0].send(traffic.octets.clone());
    feeder.run("the table has left", DEADLINE, |peers| peers[0].is_sent());
    tests::wait::eventually(Duration::from_secs(120), "the daemon holds the table", || {
        let count = daemon.received(traffic.updates, traffic.prefixes)?;
        if count == traffic.prefixes { Ok(()) } else { Err(format!("{count} prefixes")) }
    });
    daemon.wait_idle();
    (daemon, Some(feeder))
}

/// `advertisements` of `speaker.yaml`. Those of another `round` have other communities, none of them the same.
pub(crate) fn advertisements(round: u16) -> String {
    let mut text = "advertisements:\n".to_owned();
    for set in 1..=SETS {
        let community = round * SETS + set;
        let _w = write!(
            text,
            "  - name: set-{set}\n    attributes: {{communities: [\"65001:{community}\"]}}\n    prefixes:\n"
        );
        for number in (0..ROUTES.size).filter(|number| set_of(*number, SETS) == set) {
            let _w = writeln!(text, "      - {}", ROUTES.text(number));
        }
    }
    text
}

/// Every prefix has the set that `wanted` says.
pub(crate) fn check(table: &[u16], wanted: impl Fn(usize) -> u16) {
    let wrong = table.iter().enumerate().find(|(number, set)| **set != wanted(*number));
    if let Some((number, set)) = wrong {
        panic!("{} has the attribute set {set}, and {} is wanted", ROUTES.text(number), wanted(number));
    }
}
