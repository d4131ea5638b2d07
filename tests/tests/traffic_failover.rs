//! A node is lost under traffic: how long until new connections are served again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tests::cluster::{Options, ProxyMode};
use tests::e2e::manifests::{pool, service};
use tests::e2e::{Plan, SOON, World, agent_config};
use tests::traffic::{Load, PORT, Proxies, RATE, Servers, addresses, backend, next_hops};
use tests::wait::eventually;

/// 300 ms, three times: 900 ms until the loss is seen, and a machine with other things to do.
const BOUND: Duration = Duration::from_secs(5);

fn with_bfd(n: u8) -> String {
    let bfd = "    bfd: {transmit: 300ms, receive: 300ms, detectMultiplier: 3}\n    gracefulRestart";
    agent_config(n).replace("    gracefulRestart", bfd)
}

fn wait_paths(world: &World, vip: IpAddr, nodes: &[&str]) {
    eventually(SOON, &format!("the router sends to {nodes:?}"), || {
        let seen = next_hops(world, vip);
        if seen.iter().eq(nodes) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn with_bfd_a_lost_node_is_left_out_in_about_a_second() {
    let world = World::with(3, Options::default(), &Plan { agent: with_bfd, bfd: true, ..Plan::default() });
    let _proxies = Proxies::start(&world, ProxyMode::Nftables);
    world.cluster.apply(&pool("pool", "{cidr: 10.67.0.0/24}"));
    let mut servers = Servers::new();
    for n in [1, 2] {
        servers.serve(&world.pod(n, 67, &format!("web-{n}")), 8080);
    }
    world.cluster.apply(&service("web").yaml());
    let backends = [backend((1, 67), false), backend((2, 67), false)];
    world.cluster.set_endpoints("default", "web", 8080, &backends);
    let vip: IpAddr = world.wait_any_ingress("web")[0].parse().unwrap();
    wait_paths(&world, vip, &["n1", "n2", "n3"]);
    for member in &world.members {
        eventually(SOON, "BFD is up", || {
            let peer = world.tor.bfd_peer(member.v4.into());
            if peer["status"] == "up" { Ok(()) } else { Err(peer.to_string()) }
        });
    }
    let sources: Vec<IpAddr> = addresses(&world).into_keys().collect();
    let load = Load::start(&world.outside, SocketAddr::new(vip, PORT), RATE, &sources);
    load.during(|| ()).assert_flawless("before");
    // The third node has no Pod: what is lost with it is its place among the router's next hops.
    for round in 1..=3 {
        let _before = load.take();
        let cut = Instant::now();
        world.cut(3);
        wait_paths(&world, vip, &["n1", "n2"]);
        let noticed = cut.elapsed();
        let last = load.recovered(Duration::from_millis(500), Duration::from_secs(60));
        let took = last.expect("a third of the connections went to the lost node").duration_since(cut);
        let tally = load.take();
        println!(
            "round {round}: the router left the node out after {} ms; the last connection that failed or had to be \
             tried again began {} ms after the loss; {tally}",
            noticed.as_millis(),
            took.as_millis()
        );
        assert!(took < BOUND, "{} ms", took.as_millis());
        assert_eq!(tally.wrong_sources + tally.refused + tally.odd, 0, "{tally}");
        load.during(|| ()).assert_flawless("without the node");
        world.mend(3);
        wait_paths(&world, vip, &["n1", "n2", "n3"]);
        load.during(|| ()).assert_served("the node is back", 5);
    }
}
