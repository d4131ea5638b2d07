//! A change: one of 10,000 Services is deleted, until its withdrawal is read.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::daemons::{Bench, Daemon, Kind, Role, peer_dial};
use crate::fleet::Fleet;
use crate::report::{quantile, table, time};
use crate::seen::Universe;
use crate::{Options, heading};

/// So many Services stay.
const SERVICES: usize = 10_000;
const FIRST: u32 = 0x0a14_0000;
const DEADLINE: Duration = Duration::from_secs(60);

const YAML: &str = "sources: {manifests: [manifests]}\nadvertisements:\n  - name: services\n    \
                    poolPrefix: {when: never}\n    serviceRoutes: {which: all, when: allocated}\n";

/// Runs it with our daemon at each number of peers and prints the table.
pub(crate) fn run(options: &Options) {
    heading(&format!("Change: one of {SERVICES} Services deleted, {} samples", options.samples));
    let rows: Vec<Vec<String>> = options.peers.iter().map(|peers| once(*peers, options.samples)).collect();
    let heading = [
        "peers",
        "in the process, p50",
        "p99 of the median peer",
        "p99 of the worst",
        "longest",
        "file removed → read by the last peer, p50",
        "p99",
        "longest",
    ];
    table(&heading, &rows);
}

/// The peers of a network are on other machines: here they take the processor when nobody else wants it. What this
/// program starts meanwhile inherits that, so the daemon is started before (--reset-on-fork is for real-time
/// policies alone).
fn schedule(policy: &str) {
    let own = std::process::id().to_string();
    let told = Command::new("chrt").args([policy, "--pid", "0", &own]).status();
    assert!(told.is_ok_and(|status| status.success()), "chrt of util-linux");
}

fn once(peers: usize, samples: usize) -> Vec<String> {
    let universe = Universe { first: FIRST, length: 32, size: SERVICES + samples };
    let bench = Bench::new(peers);
    let folder = bench.daemon.dir().join(Kind::Speaker.name()).join("manifests");
    fs::create_dir_all(&folder).expect("folder of manifests");
    fs::write(folder.join("pool.yaml"), POOL).expect("pool");
    for number in 0..universe.size {
        fs::write(folder.join(file(number)), service(&universe, number)).expect("Service");
    }
    let role = Role { peers, yaml: YAML.to_owned(), ..Role::default() };
    let daemon = Daemon::start(Kind::Speaker, &bench.daemon, &role);
    daemon.wait_idle();
    schedule("--idle");
    let dials: Vec<_> = (0..peers).map(peer_dial).collect();
    let mut fleet = Fleet::open(&bench.peers, &dials, universe);
    fleet.confirm();
    fleet.run("every Service is announced", DEADLINE, |peers| {
        peers.iter().all(|peer| peer.seen.is_complete())
    });
    let mut outside = Vec::new();
    // Spread over the table.
    for sample in 0..samples {
        let number = sample * (universe.size / samples);
        let removed = Instant::now();
        fs::remove_file(folder.join(file(number))).expect("Service");
        fleet.run("the withdrawal is read", DEADLINE, |peers| {
            peers.iter().all(|peer| peer.seen.table[number] == 0)
        });
        let last = fleet.peers.iter().filter_map(|peer| peer.seen.changed_at).max();
        outside.push(last.map_or(Duration::ZERO, |at| at - removed));
    }
    schedule("--other");
    assert!(fleet.peers.iter().all(|peer| peer.seen.present == SERVICES), "nothing else was withdrawn");
    let [medians, p99s, longest] = propagation(&daemon, peers, samples);
    vec![
        peers.to_string(),
        time(quantile(&medians, 1.0)),
        time(quantile(&p99s, 0.5)),
        time(quantile(&p99s, 1.0)),
        time(quantile(&longest, 1.0)),
        time(quantile(&outside, 0.5)),
        time(quantile(&outside, 0.99)),
        time(quantile(&outside, 1.0)),
    ]
}

/// By the process's own measure, a figure for each peer: from the moment when the manifests source hands a change over
/// until its last octet is written. Medians, p99s, longest.
fn propagation(daemon: &Daemon, peers: usize, samples: usize) -> [Vec<Duration>; 3] {
    let mut all: [Vec<Duration>; 3] = Default::default();
    for number in 0..peers {
        let peer = daemon.speaker(&["peers", &format!("peer-{number}")]).expect("the peer");
        let seen = &peer["propagation"];
        assert_eq!(seen["changes"], samples, "changes that the process counted: {seen}");
        for (figures, key) in
            all.iter_mut().zip(["medianMicroseconds", "p99Microseconds", "longestMicroseconds"])
        {
            figures.push(Duration::from_micros(seen[key].as_u64().expect("a number")));
        }
    }
    all
}

const POOL: &str = "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {name: bench}\n\
                    spec: {blocks: [{cidr: 10.20.0.0/16}]}\n";

fn file(number: usize) -> String {
    format!("service-{number:05}.yaml")
}

/// Each asks for its address by name, so that it is known which one is withdrawn.
fn service(universe: &Universe, number: usize) -> String {
    let (address, _) = universe.prefix(number);
    let mut text = String::new();
    let _w = write!(
        text,
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: service-{number:05}\n  namespace: bench\n  annotations: \
         {{lbipam.cilium.io/ips: {}}}\nspec:\n  type: LoadBalancer\n  clusterIP: 172.16.{}.{}\n  \
         ports: [{{port: 80, protocol: TCP}}]\n",
        std::net::Ipv4Addr::from(address),
        number / 250,
        number % 250 + 1,
    );
    text
}
