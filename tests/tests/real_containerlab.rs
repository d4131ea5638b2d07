//! The topologies of `containerlab/`, unmodified, deployed by containerlab in Docker, walked through their steps and
//! destroyed; traffic through 03-leaf-spine while a node stands still, is killed, and endpoints move.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tests::clab::{self, Deployed, Machine};
use tests::lab::Node;
use tests::traffic::{Load, PORT};
use tests::wait::eventually;

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
/// That of `web`: every node takes its traffic.
const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80));
/// Connections a second.
const RATE: u32 = 300;
/// Connections that are under way in the moment in which paths change may be cut: they are few.
const CUT: u64 = 5;
const SOON: Duration = Duration::from_secs(45);

/// A server in a container: says who it is and whom it sees. A connection is accepted with what the client asks by
/// (TCP_DEFER_ACCEPT), so that none waits for another one.
const SERVER: &str = r#"
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => $ARGV[1], Listen => 1024, ReuseAddr => 1) or die "listen: $!";
setsockopt($server, 6, 9, pack("i", 3)) or die "TCP_DEFER_ACCEPT: $!";
$SIG{PIPE} = "IGNORE";
while (1) {
    my $client = $server->accept() or next;
    $client->blocking(0);
    sysread $client, my $byte, 1;
    print $client "$ARGV[0] ", $client->peerhost();
    close $client;
}
"#;

/// Walks through 03-leaf-spine under traffic.
fn leaf_spine(fabric: &Deployed<'_>) {
    let steps = clab::steps(fabric.folder());
    assert_eq!(steps.len(), 8, "a step is not walked");
    let walk = |name: &str| fabric.walk(steps.iter().find(|step| step.name == name).unwrap());
    walk("1-start");
    walk("2-packets");
    // Each router chooses in its own way, as routers in hardware do. Kernels choose by the same hash else, so that a leaf
    // gets none of the flows that it would send to some node.
    let routers = ["spine", "leaf1", "leaf2"].map(|router| fabric.attach(router));
    for (seed, router) in routers.iter().enumerate() {
        router.sysctl("net/ipv4/fib_multipath_hash_fields", "55");
        router.sysctl("net/ipv4/fib_multipath_hash_policy", "3");
        router.sysctl("net/ipv4/fib_multipath_hash_seed", &(seed + 1).to_string());
    }
    NODES.iter().for_each(|node| {
        fabric.start(node, &["perl", "-e", SERVER, node, &PORT.to_string()]);
    });
    let client = fabric.attach("client");
    let web = Load::start(&client, SocketAddr::new(WEB, PORT), RATE, &[CLIENT]);
    let served = |what: &str, cut: u64, wanted: &[&str], work: &dyn Fn()| {
        work();
        web.go_on(u64::from(RATE));
        let tally = web.during(|| ());
        tally.assert_served(what, cut);
        assert!(tally.servers().keys().eq(wanted), "{what}: {:?}", tally.servers());
    };
    served("every node takes it", 0, &NODES, &|| ());
    // A node that stands still answers nothing until its hold time has passed: what it is sent until then is lost.
    served("n2 stands still", 0, &["n1", "n3"], &|| walk("3-node-lost"));
    served("n2 is back", 0, &NODES, &|| walk("4-node-back"));
    let tally =
        web.during(|| ["5-session-shut", "6-session-back", "7-endpoints-moved"].iter().for_each(|s| walk(s)));
    tally.assert_served("sessions and endpoints come and go", CUT);
    killed(fabric, &routers, &web);
    drop(web);
    walk("8-services-deleted");
}

/// A node goes, with its links and all.
fn killed(fabric: &Deployed<'_>, routers: &[Node], web: &Load) {
    let tally = web.during(|| {
        fabric.docker(&["kill"], "n3");
        eventually(SOON, "both leaves go on without n3", || {
            let now: Vec<_> =
                routers[1..].iter().map(|leaf| leaf.ip(&["route", "show", "203.0.113.0/24"])).collect();
            let gone =
                now.iter().all(|routes| routes.matches("nexthop").count() == 2 && !routes.contains(".3.1"));
            if gone { Ok(()) } else { Err(format!("{now:?}")) }
        });
    });
    println!("n3 is killed: {tally}");
    // Its processes go before its links do: for a moment its kernel refuses, and then what is on the way is lost. That is
    // over within less than a second.
    let lost = tally.failed() + tally.broken() + tally.slow;
    assert!(tally.wrong_sources == 0 && lost < u64::from(RATE), "{tally}");
    let tally = web.during(|| ());
    tally.assert_flawless("n3 is gone");
    assert!(tally.servers().keys().eq(&["n1", "n2"]), "{:?}", tally.servers());
}

#[test]
fn containerlab_deploys_every_topology_shows_what_is_expected_and_leaves_nothing() {
    let machine = Machine::start();
    let before = machine.left();
    let labs: Vec<Deployed<'_>> = clab::names().iter().map(|name| machine.deploy(name)).collect();
    std::thread::scope(|scope| {
        for (lab, name) in labs.iter().zip(clab::names()) {
            scope.spawn(move || {
                if name == "03-leaf-spine" {
                    leaf_spine(lab);
                } else {
                    clab::steps(lab.folder()).iter().for_each(|step| lab.walk(step));
                }
            });
        }
    });
    for lab in labs {
        lab.destroy();
    }
    assert_eq!(machine.left(), before);
    // The measure itself: there is something to be left.
    let lab = machine.deploy("01-frr-pool-prefix");
    let now = machine.left();
    let more: BTreeSet<_> =
        now.iter().filter(|(what, left)| before.get(*what) != Some(*left)).map(|(what, _)| *what).collect();
    assert_eq!(more, ["containers", "etc", "interfaces", "namespaces", "networks"].into());
    assert!(fs::exists(lab.folder().join("clab-frrpool")).unwrap());
    lab.destroy();
    assert_eq!(machine.left(), before);
}
