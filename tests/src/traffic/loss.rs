//! A node that is lost under traffic.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Load, PORT, Proxies, RATE, Servers, Tally, addresses, backend, next_hops};
use crate::cluster::{Options, ProxyMode};
use crate::e2e::manifests::{pool, service};
use crate::e2e::{Plan, SOON, World, agent_config};
use crate::wait::eventually;

/// What was seen of one loss.
#[derive(Debug)]
pub struct Loss {
    /// Until the router no longer sent to the node.
    pub noticed: Duration,
    /// Until the last connection began that failed or had to be tried again.
    pub took: Duration,
    /// What ended meanwhile.
    pub tally: Tally,
}

/// A node's configuration with BFD at 3 × 300 ms.
#[must_use]
pub fn with_bfd(n: u8) -> String {
    let bfd = "    bfd: {transmit: 300ms, receive: 300ms, detectMultiplier: 3}\n    gracefulRestart";
    agent_config(n).replace("    gracefulRestart", bfd)
}

/// The same without BFD and graceful restart, and with the shortest hold time that RFC 4271 §4.2 allows.
#[must_use]
pub fn with_short_hold(n: u8) -> String {
    let graceful = "    gracefulRestart: {restartTime: 30s}\n";
    agent_config(n).replace("hold: 9s", "hold: 3s, keepalive: 1s").replace(graceful, "")
}

/// Three nodes with a Service of two Pods and a thousand connections a second. The third node has no Pod: what is lost
/// with it is its place among the router's next hops. It is cut off and comes back, so many times.
///
/// # Panics
/// A connection fails while no node is lost.
pub fn lose_a_node(agent: fn(u8) -> String, bfd: bool, rounds: usize, mut told: impl FnMut(&Loss)) {
    let world = World::with(3, Options::default(), &Plan { agent, bfd, ..Plan::default() });
    let _proxies = Proxies::start(&world, ProxyMode::Nftables);
    world.cluster.apply(&pool("pool", "{cidr: 10.67.0.0/24}"));
    let mut servers = Servers::new();
    for n in [1, 2] {
        servers.serve(&world.pod(n, 67, &format!("web-{n}")), 8080);
    }
    world.cluster.apply(&service("web").yaml());
    let backends = [backend((1, 67), false), backend((2, 67), false)];
    world.cluster.set_endpoints("default", "web", 8080, &backends);
    let ingress = world.wait_any_ingress("web");
    let vip: IpAddr = ingress.first().and_then(|first| first.parse().ok()).expect("an address");
    wait_paths(&world, vip, &["n1", "n2", "n3"]);
    if bfd {
        wait_bfd(&world);
    }
    let sources: Vec<IpAddr> = addresses(&world).into_keys().collect();
    let load = Load::start(&world.outside, SocketAddr::new(vip, PORT), RATE, &sources);
    load.during(|| ()).assert_flawless("before");
    for _ in 0..rounds {
        let _before = load.take();
        let cut = Instant::now();
        world.cut(3);
        wait_paths(&world, vip, &["n1", "n2"]);
        let noticed = cut.elapsed();
        let last = load.recovered(Duration::from_millis(500), Duration::from_secs(60));
        let last = last.expect("a third of the connections went to the lost node");
        told(&Loss { noticed, took: last.duration_since(cut), tally: load.take() });
        load.during(|| ()).assert_flawless("without the node");
        world.mend(3);
        wait_paths(&world, vip, &["n1", "n2", "n3"]);
        if bfd {
            wait_bfd(&world);
        }
        load.during(|| ()).assert_served("the node is back", 5);
    }
}

fn wait_paths(world: &World, vip: IpAddr, nodes: &[&str]) {
    eventually(SOON, &format!("the router sends to {nodes:?}"), || {
        let seen = next_hops(world, vip);
        if seen.iter().eq(nodes) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

fn wait_bfd(world: &World) {
    for member in &world.members {
        eventually(SOON, "BFD is up", || {
            let peer = world.tor.bfd_peer(member.v4.into());
            if peer["status"] == "up" { Ok(()) } else { Err(peer.to_string()) }
        });
    }
}
