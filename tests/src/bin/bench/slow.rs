//! A slow peer: one of 50 stops reading while the whole table changes again and again.

use std::fs;
use std::time::{Duration, Instant};

use crate::daemons::{Bench, Daemon, Kind, Role, peer_dial};
use crate::dump::{ROUTES, SETS, advertisements, check};
use crate::fleet::Fleet;
use crate::report::{median, megabytes, table, time};
use crate::traffic::set_of;
use crate::{Options, heading};

const PEERS: usize = 50;
/// The one that stops reading.
const SLOW: usize = 24;
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs it with our daemon and prints the table.
pub(crate) fn run(options: &Options) {
    heading(&format!("Slow peer: one of {PEERS} reads nothing for {} s", options.stall.as_secs()));
    let bench = Bench::new(PEERS);
    let yaml = |round: u16| Role { peers: PEERS, yaml: advertisements(round), ..Role::default() };
    let daemon = Daemon::start(Kind::Speaker, &bench.daemon, &yaml(0));
    daemon.wait_idle();
    let mut dials: Vec<_> = (0..PEERS).map(peer_dial).collect();
    // What it does not read must not fit into the kernel's buffers.
    dials[SLOW].receive_buffer = Some(16 * 1024);
    let mut fleet = Fleet::open(&bench.peers, &dials, ROUTES);
    let deaf_until = Instant::now() + options.stall;
    fleet.peers[SLOW].deaf_until = Some(deaf_until);
    let start = fleet.confirm();
    let mut round = 0;
    await_round(&mut fleet, round, false);
    let mut rows = vec![stage("dump", &fleet, start, &daemon)];
    while Instant::now() + Duration::from_secs(5) < deaf_until {
        round += 1;
        daemon.configure(&yaml(round));
        let written = Instant::now();
        await_round(&mut fleet, round, false);
        rows.push(stage(&format!("change {round} of all routes"), &fleet, written, &daemon));
    }
    assert!(!fleet.peers[SLOW].seen.is_complete(), "the slow peer's kernel took the whole table");
    fleet.run("the slow peer reads again", options.stall, |_| Instant::now() >= deaf_until);
    fleet.peers[SLOW].deaf_until = None;
    let again = Instant::now();
    await_round(&mut fleet, round, true);
    let slow = fleet.peers[SLOW].seen.changed_at.map_or(Duration::ZERO, |at| at - again);
    for peer in &fleet.peers {
        check(&peer.seen.table, |number| wanted(number, round));
    }
    let usage = daemon.usage();
    rows.push(vec![
        "the slow peer reads again".to_owned(),
        "-".to_owned(),
        time(slow),
        megabytes(usage.resident),
        megabytes(usage.peak),
        fleet.peers[SLOW].seen.updates.to_string(),
    ]);
    table(&["stage", "median of the others", "last", "RSS", "peak RSS", "UPDATEs to the slow peer"], &rows);
    println!("Every peer, the slow one too, ended with exactly the wanted {} routes.\n", ROUTES.size);
}

fn wanted(number: usize, round: u16) -> u16 {
    round * SETS + set_of(number, SETS)
}

/// Until every peer has the table of this round: the last prefixes of a set come with its last message.
fn await_round(fleet: &mut Fleet, round: u16, slow: bool) {
    let mut probe = 0;
    fleet.run("every peer has the changed table", DEADLINE, |peers| {
        let has = |number: usize| {
            let table = &peers[number].seen.table;
            table.iter().enumerate().rev().all(|(prefix, set)| *set == wanted(prefix, round))
        };
        // Those that were seen to have it are not looked at again.
        while probe < PEERS && (has(probe) || (probe == SLOW && !slow)) {
            probe += 1;
        }
        probe == PEERS
    });
}

fn stage(name: &str, fleet: &Fleet, since: Instant, daemon: &Daemon) -> Vec<String> {
    let others = fleet.peers.iter().enumerate().filter(|(number, _)| *number != SLOW);
    let times = others.filter_map(|(_, peer)| Some(peer.seen.changed_at?.saturating_duration_since(since)));
    let times: Vec<Duration> = times.collect();
    let usage = daemon.usage();
    vec![
        name.to_owned(),
        time(median(&times)),
        time(times.iter().max().copied().unwrap_or_default()),
        megabytes(usage.resident),
        megabytes(usage.peak),
        fleet.peers[SLOW].seen.updates.to_string(),
    ]
}

impl Daemon {
    /// Replaces the configuration file in one step.
    fn configure(&self, role: &Role) {
        let next = self.config().with_extension("next");
        fs::write(&next, crate::daemons::speaker_yaml(role)).expect("the next configuration");
        fs::rename(&next, self.config()).expect("the next configuration");
    }
}
