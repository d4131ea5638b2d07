//! A new Service is announced when kube-proxy serves it, not before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use tests::cluster::ProxyMode;
use tests::e2e::manifests::{pool, service};
use tests::e2e::{SOON, Turn, agent_config, turn};
use tests::traffic::{PORT, Proxies, Servers, backend, next_hops};
use tests::wait::eventually;

/// At least between two synchronisations of kube-proxy.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the client waits for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection that takes longer was lost at first: its SYN is sent once more after a second.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Whether one connection of the client is taken at once, and answered.
fn is_served(world: &Turn, vip: IpAddr) -> bool {
    world.outside.inside(|| {
        let ask = || {
            let begun = Instant::now();
            let mut stream = TcpStream::connect_timeout(&(vip, PORT).into(), PATIENCE)?;
            let at_once = begun.elapsed() < AT_ONCE;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"q")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(at_once && !text.is_empty())
        };
        ask().unwrap_or(false)
    })
}

/// What one new Service went through.
#[derive(Debug)]
struct Met {
    /// From its endpoints until the router's kernel had the first path.
    announced: Duration,
    /// First connections, and those of them that failed.
    asked: usize,
    failed: usize,
}

/// Makes a Service whose Pods run already, and connects to it by every node as soon as the router knows that one.
fn meet(world: &Turn, name: &str, places: &[(u8, u8)]) -> Met {
    world.cluster.apply(&service(name).yaml());
    let vip: IpAddr = eventually(SOON, "the Service has an address", || {
        world.ingress(name).first().cloned().ok_or_else(|| "none".to_owned())
    })
    .parse()
    .unwrap();
    let begun = Instant::now();
    let ready: Vec<_> = places.iter().map(|place| backend(*place, false)).collect();
    world.cluster.set_endpoints("default", name, 8080, &ready);
    let mut met = Met { announced: Duration::ZERO, asked: 0, failed: 0 };
    let deadline = Instant::now() + SOON;
    loop {
        let known = next_hops(world, vip).len();
        if known > 0 && met.announced.is_zero() {
            met.announced = begun.elapsed();
        }
        // The router chooses among those that it knows; each has to serve from the moment on at which it may be chosen.
        if known > 0 {
            met.asked += 1;
            met.failed += usize::from(!is_served(world, vip));
        }
        if known == world.members.len() && met.asked >= 12 {
            return met;
        }
        assert!(Instant::now() < deadline, "{known} nodes announce {vip} after {SOON:?}");
    }
}

#[test]
fn the_first_connection_to_a_new_service_is_served_though_kube_proxy_is_slow() {
    let world = turn(3);
    let _proxies = Proxies::start_slow(&world, ProxyMode::Nftables, PAUSE);
    world.cluster.apply(&pool("pool", "{cidr: 10.67.0.0/24}"));
    let places = [(1, 67), (2, 67)];
    let mut servers = Servers::new();
    for (n, host) in places {
        servers.serve(&world.pod(n, host, &format!("k-{n}-{host}")), 8080);
    }
    // The pool's prefix leads here before any of this; the measure itself needs nodes that nothing but the route leads to.
    let alone = |n| agent_config(n).replace("poolPrefix: {when: allocated}", "poolPrefix: {when: never}");
    let configure = |readiness: &str| {
        for (n, member) in (1..).zip(&world.members) {
            let mut agent = member.agent();
            agent.write_config(&format!("{}{readiness}", alone(n)));
            agent.process().terminate();
            agent.start_again();
            agent.wait_state("tor", "Established", SOON);
        }
    };
    // Each comes while kube-proxy still pauses after the one before.
    configure("");
    let bare: Vec<Met> = (0..3).map(|n| meet(&world, &format!("bare-{n}"), &places)).collect();
    configure("readiness: kube-proxy\n");
    let held: Vec<Met> = (0..4).map(|n| meet(&world, &format!("held-{n}"), &places)).collect();
    println!("not waiting: {bare:?}\nwaiting: {held:?}");
    assert!(
        bare.iter().any(|met| met.failed > 0),
        "kube-proxy is too fast for this test to prove anything: {bare:?}"
    );
    assert!(held.iter().all(|met| met.failed == 0), "{held:?}");
    assert!(held.iter().all(|met| met.announced < Duration::from_secs(5)), "held until the bound: {held:?}");

    // kube-proxy's metrics are gone: announced after the bound, with a warning.
    for (n, member) in (1..).zip(&world.members) {
        let gone = format!("{}readiness: kube-proxy\nproxyMetricsAddress: 127.0.0.1:9\n", alone(n));
        member.agent().write_config(&gone);
        member.agent().wait_log(&["the new configuration is in force"], SOON);
    }
    let late = meet(&world, "late", &places);
    assert!(late.announced >= Duration::from_secs(5), "{late:?}");
    world.members[0].agent().wait_log(
        &["routes are announced without waiting for kube-proxy any longer: kube-proxy's metrics cannot be read"],
        SOON,
    );
    for (n, member) in (1..).zip(&world.members) {
        member.agent().write_config(&agent_config(n));
    }
}
