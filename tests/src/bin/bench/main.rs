//! The benchmarks: our daemon beside those of Debian, in one run on one machine. `tests/bench --help`, as root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a tool of the laboratory: a failure ends it with its text"
)]

mod change;
mod daemons;
mod dump;
mod failover;
mod fleet;
mod full;
mod kernel;
mod kubernetes;
mod learn;
mod listener;
mod report;
mod seen;
mod segment;
mod slow;
mod traffic;
mod usage;

use std::process::Command;
use std::time::Duration;

use daemons::Kind;
use kubernetes::METALLB;

const HELP: &str = "\
usage: tests/bench [all|codec|full|learn|dump|slow|change|kernel|l2|failover|kubernetes …] [options], as root

  codec    decoding and encoding of UPDATEs on one core
  full     1,000,000 routes received from one peer
  learn    1,000,000 IPv4 and 250,000 IPv6 routes from each of two peers, learned and put into the kernel, or not
  dump     200,000 routes with 100 attribute sets told to 1, 10 and 50 peers
  slow     one of 50 peers reads nothing while all routes change
  change   one of 10,000 Services deleted, until its withdrawal is read
  kernel   10,000 Services delivered on a host: routes of the kernel from nothing, and one Service more
  l2       ARP answers a second and their latency; how long an address is unanswered when its holder goes
  failover  a node lost under traffic, found by BFD and by the hold timer: until no connection fails
  kubernetes  Services of a real API server created and deleted, until a peer has the route or its withdrawal

  --only NAME,…     daemons: speaker, bird2, frr, gobgp, and metallb for kubernetes (default: all)
  --peers N,…       numbers of peers of dump and change (default: 1,10,50 and 1,50)
  --runs N          repetitions of full and dump, of which the median counts (default: 3; gobgp 1)
  --stall SECONDS   how long the slow peer reads nothing (default: 60)
  --samples N       deletions (default: 200)
  --routes N        IPv4 routes of learn, and a quarter as many of IPv6 (default: 1000000)
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    suites: Vec<String>,
    only: Vec<String>,
    peers: Vec<usize>,
    runs: usize,
    stall: Duration,
    samples: usize,
    routes: u64,
}

impl Options {
    /// The daemons to compare.
    fn daemons(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| self.only.is_empty() || self.only.iter().any(|name| name == kind.name());
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    /// How often; GoBGP takes minutes.
    fn runs(&self, kind: Kind) -> usize {
        if kind == Kind::GoBgp { 1 } else { self.runs }
    }

    fn wants(&self, suite: &str) -> bool {
        self.suites.iter().any(|wanted| wanted == suite || wanted == "all")
    }
}

fn main() {
    let mut options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}\n\n{HELP}");
            std::process::exit(2);
        }
    };
    machine(&options);
    if options.wants("codec") {
        heading("Codec");
        let status =
            Command::new("cargo").args(["bench", "-q", "-p", "bgp-proto", "--bench", "codec"]).status();
        assert!(status.expect("cargo").success(), "the codec's benchmark failed");
    }
    if options.wants("full") {
        full::run(&options);
    }
    let all_peers = options.peers.is_empty();
    if options.wants("learn") {
        learn::run(&options);
    }
    if options.wants("dump") {
        if all_peers {
            options.peers = vec![1, 10, 50];
        }
        dump::run(&options);
    }
    if options.wants("slow") {
        slow::run(&options);
    }
    if options.wants("change") {
        if all_peers {
            options.peers = vec![1, 50];
        }
        change::run(&options);
    }
    if options.wants("kernel") {
        kernel::run(&options);
    }
    if options.wants("l2") {
        segment::run(&options);
    }
    if options.wants("failover") {
        failover::run();
    }
    if options.wants("kubernetes") {
        kubernetes::run(&options);
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        suites: Vec::new(),
        only: Vec::new(),
        peers: Vec::new(),
        runs: 3,
        stall: Duration::from_secs(60),
        samples: 200,
        routes: 1_000_000,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| text.parse::<usize>().map_err(|e| format!("{text:?}: {e}"));
        match arg.as_str() {
            "all" | "codec" | "full" | "learn" | "dump" | "slow" | "change" | "kernel" | "l2"
            | "failover" | "kubernetes" => {
                options.suites.push(arg);
            }
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--peers" => {
                options.peers =
                    value()?.split(',').map(|n| number(n.to_owned())).collect::<Result<_, _>>()?;
            }
            "--runs" => options.runs = number(value()?)?.max(1),
            "--stall" => options.stall = Duration::from_secs(number(value()?)? as u64),
            "--routes" => options.routes = number(value()?)?.max(4) as u64,
            "--samples" => options.samples = number(value()?)?.max(1),
            _ => return Err(format!("{arg:?} is not understood")),
        }
    }
    let known = |name: &str| name == METALLB || Kind::ALL.iter().any(|kind| kind.name() == name);
    if let Some(name) = options.only.iter().find(|name| !known(name)) {
        return Err(format!("no daemon {name:?}"));
    }
    if options.suites.is_empty() {
        options.suites.push("all".to_owned());
    }
    Ok(options)
}

/// What it was measured on, and with what.
fn machine(options: &Options) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    println!(
        "{cores} cores, {}; Linux {}; load before {}",
        model.map_or("unknown processor", |(_, model)| model),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split_whitespace().next().unwrap_or("?")
    );
    println!("tests/bench {}", std::env::args().skip(1).collect::<Vec<_>>().join(" "));
    for kind in options.daemons() {
        println!("{}: {}", kind.name(), kind.version());
    }
    println!();
}

/// Begins a table.
pub(crate) fn heading(text: &str) {
    println!("### {text}\n");
}
