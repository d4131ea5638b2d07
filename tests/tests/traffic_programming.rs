//! A new Service is announced when kube-proxy serves it, not before: by BGP and on a segment. Traffic to an address on a
//! segment, with real kube-proxy, while its holder goes and its endpoints move.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tests::asker::Asker;
use tests::cluster::ProxyMode;
use tests::e2e::manifests::{ServiceSpec, pool, service};
use tests::e2e::{SOON, Turn, agent_config, turn};
use tests::traffic::{
    CLIENT, Load, PORT, Place, Proxies, RATE, Servers, addresses, backend, next_hops, terminating,
};
use tests::wait::eventually;

/// At least between two synchronisations of kube-proxy.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the client waits for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection that takes longer was lost at first: its SYN is sent once more after a second.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Connections that are under way when an address moves may be cut: they are few.
const CUT: u64 = 5;

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
    /// From its endpoints or its address, whichever was later, until the router knew the first way.
    announced: Duration,
    /// First connections, and those of them that failed.
    asked: usize,
    failed: usize,
}

/// Makes a Service and waits until it has an address.
fn make(world: &Turn, spec: &ServiceSpec, name: &str) -> IpAddr {
    world.cluster.apply(&spec.yaml());
    let address = eventually(SOON, "the Service has an address", || {
        world.ingress(name).first().cloned().ok_or_else(|| "none".to_owned())
    });
    address.parse().unwrap()
}

fn endpoints(world: &Turn, name: &str, ready: &[Place], ending: &[Place]) {
    let ready = ready.iter().map(|place| backend(*place, false));
    let all: Vec<_> = ready.chain(ending.iter().map(|place| terminating(*place, false))).collect();
    world.cluster.set_endpoints("default", name, 8080, &all);
}

/// Connects to a new address as soon as somebody is `known` to take it, and goes on until `enough` are.
fn connect(world: &Turn, vip: IpAddr, enough: usize, mut known: impl FnMut() -> usize) -> Met {
    let begun = Instant::now();
    let mut met = Met { announced: Duration::ZERO, asked: 0, failed: 0 };
    loop {
        let now = known();
        if now > 0 && met.announced.is_zero() {
            met.announced = begun.elapsed();
        }
        // The router chooses among those that it knows; each has to serve from the moment on at which it may be chosen.
        if now > 0 {
            met.asked += 1;
            met.failed += usize::from(!is_served(world, vip));
        }
        if now >= enough && met.asked >= 12 {
            return met;
        }
        assert!(begun.elapsed() < SOON, "{now} announce {vip} after {SOON:?}");
    }
}

/// A new Service whose Pods run already, by BGP: every node announces it.
fn meet(world: &Turn, name: &str, places: &[Place]) -> Met {
    let vip = make(world, &service(name), name);
    endpoints(world, name, places, &[]);
    connect(world, vip, world.members.len(), || next_hops(world, vip).len())
}

/// The same on the segment, where one node answers for it from its address on.
fn meet_on_segment(world: &Turn, name: &str, places: &[Place]) -> Met {
    endpoints(world, name, places, &[]);
    let vip = make(world, &service(name), name);
    let asker = asker(world, vip);
    connect(world, vip, 1, || {
        asker.ask();
        usize::from(asker.answered_by().is_some())
    })
}

/// The router, asking for an address on the nodes' segment.
fn asker(world: &Turn, vip: IpAddr) -> Asker {
    let IpAddr::V4(vip) = vip else { panic!("{vip} is no IPv4 address") };
    Asker::new(world.tor_node(), Ipv4Addr::new(10, 0, 0, 254), vip, Duration::from_millis(10))
}

/// Gives every agent another configuration, by a new process.
fn configure(world: &Turn, config: impl Fn(u8) -> String) {
    for (n, member) in (1..).zip(&world.members) {
        let mut agent = member.agent();
        agent.process().terminate();
        agent.write_config(&config(n));
        agent.start_again();
        agent.wait_ready();
    }
}

fn wait_established(world: &Turn) {
    for member in &world.members {
        member.agent().wait_state("tor", "Established", SOON);
    }
}

/// The pool's prefix leads here before any of this; the measure itself needs nodes that nothing but the route leads to.
fn alone(n: u8) -> String {
    agent_config(n).replace("poolPrefix: {when: allocated}", "poolPrefix: {when: never}")
}

/// Two Pods with servers, on n1 and n2.
fn pods(world: &Turn, number: u8) -> (Servers, [Place; 2]) {
    let places = [(1, number), (2, number)];
    let mut servers = Servers::new();
    for (n, host) in places {
        servers.serve(&world.pod(n, host, &format!("k-{n}-{host}")), 8080);
    }
    (servers, places)
}

/// What is met in a series of new Services, by their names. A kube-proxy that hears of a Service more than 100 ms after us is not
/// waited for (ADR 13), which a machine that runs everything at once makes happen: one series of three has to be without it.
fn flawless(times: usize, mut meet: impl FnMut(&str) -> Met) -> Vec<Met> {
    let mut met = Vec::new();
    for series in 0..3 {
        met = (0..times).map(|n| meet(&format!("held-{series}-{n}"))).collect();
        if met.iter().all(|met| met.failed == 0) {
            break;
        }
        println!("series {series}: {met:?}");
    }
    met
}

fn assert_waited(bare: &[Met], held: &[Met]) {
    println!("not waiting: {bare:?}\nwaiting: {held:?}");
    assert!(
        bare.iter().any(|met| met.failed > 0),
        "kube-proxy is too fast for this test to prove anything: {bare:?}"
    );
    assert!(held.iter().all(|met| met.failed == 0), "{held:?}");
    assert!(held.iter().all(|met| met.announced < Duration::from_secs(5)), "held until the bound: {held:?}");
}

/// The same with every mode: their metrics are their own.
fn first_connections(world: &Turn, mode: ProxyMode, number: u8, times: usize, then: impl FnOnce(&[Place])) {
    let _proxies = Proxies::start_slow(world, mode, PAUSE);
    world.cluster.apply(&pool("pool", &format!("{{cidr: 10.{number}.0.0/24}}")));
    let (_servers, places) = pods(world, number);
    // Each comes while kube-proxy still pauses after the one before.
    configure(world, alone);
    wait_established(world);
    let bare: Vec<Met> = (0..times).map(|n| meet(world, &format!("bare-{n}"), &places)).collect();
    configure(world, |n| format!("{}readiness: kube-proxy\n", alone(n)));
    wait_established(world);
    let held = flawless(times, |name| meet(world, name, &places));
    assert_waited(&bare, &held);
    then(&places);
    configure(world, agent_config);
}

/// kube-proxy's metrics are gone: announced after the bound, with a warning.
fn without_metrics(world: &Turn, places: &[Place]) {
    for (n, member) in (1..).zip(&world.members) {
        let gone = format!("{}readiness: kube-proxy\nproxyMetricsAddress: 127.0.0.1:9\n", alone(n));
        member.agent().write_config(&gone);
        member.agent().wait_log(&["the new configuration is in force"], SOON);
    }
    let late = meet(world, "late", places);
    assert!(late.announced >= Duration::from_secs(5), "{late:?}");
    world.members[0].agent().wait_log(
        &["routes are announced without waiting for kube-proxy any longer: kube-proxy's metrics cannot be read"],
        SOON,
    );
}

#[test]
fn the_first_connection_to_a_new_service_is_served_though_kube_proxy_is_slow() {
    let world = turn(3);
    first_connections(&world, ProxyMode::Nftables, 67, 4, |places| without_metrics(&world, places));
}

#[test]
fn the_first_connection_is_served_under_iptables_too() {
    first_connections(&turn(3), ProxyMode::Iptables, 68, 3, |_| ());
}

/// An agent that announces on the segment alone.
fn on_segment(n: u8) -> String {
    format!(
        "node: {{name: n{n}}}
sources: {{kubernetes: {{enabled: true}}}}
datapath: {{loops: none}}
l2: {{enabled: true, interfaces: [\"^eth0$\"], leaseDuration: 6s}}
api: {{socket: api.sock}}
"
    )
}

/// Pools of the segment: the router asks who has their addresses.
fn segment(world: &Turn, number: u8) {
    // The agents' rights are those that the chart gives where L2 is on.
    world.cluster.apply(&tests::chart::manifest("config: {l2: {enabled: true}}\n", ""));
    world.cluster.apply(&pool("pool", &format!("{{cidr: 10.{number}.0.0/24}}")));
    world.cluster.apply(
        "apiVersion: cilium.io/v2alpha1\nkind: CiliumL2AnnouncementPolicy\nmetadata: {name: segment}\n\
         spec: {loadBalancerIPs: true, interfaces: [^eth0$]}\n",
    );
    world.tor_node().ip(&["route", "replace", &format!("10.{number}.0.0/24"), "dev", "eth0"]);
}

#[test]
fn the_first_connection_to_a_new_address_on_a_segment_is_served_too() {
    let world = turn(3);
    let _proxies = Proxies::start_slow(&world, ProxyMode::Iptables, PAUSE);
    segment(&world, 69);
    let (_servers, places) = pods(&world, 69);
    configure(&world, on_segment);
    let bare: Vec<Met> = (0..3).map(|n| meet_on_segment(&world, &format!("bare-{n}"), &places)).collect();
    configure(&world, |n| format!("{}readiness: kube-proxy\n", on_segment(n)));
    let held = flawless(4, |name| meet_on_segment(&world, name, &places));
    assert_waited(&bare, &held);
    configure(&world, agent_config);
}

/// The node that holds a Service's address by its Lease.
fn holder(world: &Turn, name: &str) -> Option<String> {
    let path = "/apis/coordination.k8s.io/v1/namespaces/speaker-system/leases";
    let lease = world.get(&format!("{path}/cilium-l2announce-default-{name}"));
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

#[track_caller]
fn wait_holder(world: &Turn, name: &str, of: &[&str]) -> String {
    eventually(SOON, &format!("one of {of:?} holds {name}"), || match holder(world, name) {
        Some(holder) if of.contains(&holder.as_str()) => Ok(holder),
        other => Err(format!("{other:?}")),
    })
}

#[test]
fn traffic_to_an_address_on_a_segment_follows_its_holder_and_its_endpoints() {
    let world = turn(3);
    let _proxies = Proxies::start(&world, ProxyMode::Nftables);
    segment(&world, 70);
    let (_servers, places) = pods(&world, 70);
    configure(&world, |n| format!("{}readiness: kube-proxy\n", on_segment(n)));
    endpoints(&world, "web", &places, &[]);
    let vip = make(&world, &service("web"), "web");
    let first = wait_holder(&world, "web", &["n1", "n2", "n3"]);
    eventually(SOON, "it is served", || is_served(&world, vip).then_some(()).ok_or_else(String::new));
    let mut sources: Vec<IpAddr> = addresses(&world).keys().copied().collect();
    sources.push(CLIENT[0].parse().unwrap());
    let load = Load::start(&world.outside, SocketAddr::new(vip, PORT), RATE, &sources);
    load.during(|| ()).assert_flawless("on a segment");

    // The holder stops: another one takes the address over.
    let member = world.members.iter().find(|member| member.node.name() == first).unwrap();
    let others: Vec<&str> = ["n1", "n2", "n3"].into_iter().filter(|name| *name != first).collect();
    let tally = load.during(|| {
        member.agent().process().terminate();
        wait_holder(&world, "web", &others);
    });
    // The caches of others lead to the old one until the new one tells them, and its kube-proxy still serves.
    tally.assert_served("the holder stops", CUT);
    load.during(|| member.agent().start_again()).assert_flawless("it comes back, and takes nothing");
    member.agent().wait_ready();
    drop(load);

    // Local: the one node with a ready Pod holds it, and the Pod sees the client itself.
    endpoints(&world, "near", &places[..1], &[]);
    let vip = make(&world, &service("near").spec("externalTrafficPolicy: Local"), "near");
    wait_holder(&world, "near", &["n1"]);
    eventually(SOON, "it is served", || is_served(&world, vip).then_some(()).ok_or_else(String::new));
    let load = Load::start(&world.outside, SocketAddr::new(vip, PORT), RATE, &[CLIENT[0].parse().unwrap()]);
    load.during(|| ()).assert_flawless("Local, on a segment");
    let tally = load.during(|| {
        endpoints(&world, "near", &places[1..], &places[..1]);
        wait_holder(&world, "near", &["n2"]);
    });
    tally.assert_served("Local, the endpoint moves", CUT);
    let tally = load.during(|| ());
    tally.assert_flawless("Local, moved");
    let seen: BTreeSet<&str> = tally.servers().into_keys().collect();
    assert!(seen.iter().eq(&["k-2-70"]), "{seen:?}");
    drop(load);
    configure(&world, agent_config);
}
