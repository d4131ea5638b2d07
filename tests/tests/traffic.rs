//! A thousand new connections a second through a router's ECMP, real kube-proxy and Pods, while the world changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::cluster::{Backend, ProxyMode, endpoint_slice};
use tests::e2e::manifests::{ServiceSpec, pool, service};
use tests::e2e::{SOON, Turn, agent_config, turn};
use tests::echo::ask;
use tests::fabric::{BRIEFLY, nft};
use tests::lab::Node;
use tests::traffic::{
    CLIENT, Flows, Load, PORT, Paths, Place, Proxies, RATE, Servers, addresses, backend, next_hops,
    terminating,
};
use tests::wait::{always, eventually};

const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// Connections that are under way at the moment in which the router changes a path may be cut: they are few.
const CUT: u64 = 5;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Pods with servers on them, by their place.
struct Pods<'a> {
    world: &'a Turn,
    servers: Servers,
    nodes: BTreeMap<Place, Node>,
}

impl<'a> Pods<'a> {
    fn new(world: &'a Turn, prefix: &str, places: &[Place]) -> Self {
        let mut pods = Self { world, servers: Servers::new(), nodes: BTreeMap::new() };
        for place in places {
            pods.run(prefix, *place);
        }
        pods
    }

    /// A Pod `PREFIX-NODE-HOST`; names and hosts are never used twice in a world.
    fn run(&mut self, prefix: &str, (n, host): Place) {
        let node = self.world.pod(n, host, &format!("{prefix}-{n}-{host}"));
        self.servers.serve(&node, 8080);
        self.nodes.insert((n, host), node);
    }

    fn stop(&mut self, place: Place) {
        self.servers.stop(&self.nodes[&place]);
    }
}

/// The endpoints of a Service, of both families.
fn endpoints(world: &Turn, name: &str, ready: &[Place], ending: &[Place]) {
    for v6 in [false, true] {
        let ready = ready.iter().map(|place| backend(*place, v6));
        let all: Vec<Backend> = ready.chain(ending.iter().map(|place| terminating(*place, v6))).collect();
        if all.is_empty() {
            let family = if v6 { "ipv6" } else { "ipv4" };
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}-{family}");
            world.cluster.rest().patch(&path, &json!({"endpoints": []}));
        } else {
            world.cluster.set_endpoints("default", name, 8080, &all);
        }
    }
}

/// A dual-stack Service `NAME` and its two addresses.
fn dual(world: &Turn, spec: ServiceSpec, name: &str) -> [IpAddr; 2] {
    world.cluster.apply(&spec.spec("ipFamilyPolicy: RequireDualStack").yaml());
    let now = eventually(SOON, "both families have an address", || {
        let now = world.ingress(name);
        if now.len() == 2 { Ok(now) } else { Err(format!("{now:?}")) }
    });
    let mut all: Vec<IpAddr> = now.iter().map(|one| addr(one)).collect();
    all.sort();
    [all[0], all[1]]
}

fn pools(world: &Turn, number: u8) {
    world
        .cluster
        .apply(&pool("pool", &format!("{{cidr: 10.{number}.0.0/24}}, {{cidr: '2001:db8:{number}::/112'}}")));
}

fn host(vip: IpAddr) -> String {
    format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 })
}

/// Waits until the router has both addresses from these nodes, and every node's kube-proxy serves them.
fn wait_served(world: &Turn, vips: &[IpAddr], nodes: &[&str]) {
    for vip in vips {
        world.wait_holders(&host(*vip), nodes);
        for member in world.members.iter().filter(|member| nodes.contains(&member.node.name())) {
            eventually(SOON, "each node's kube-proxy serves", || ask_once(&member.node, *vip).map(|_| ()));
        }
        eventually(SOON, "the router's kernel has every path", || {
            let seen = next_hops(world, *vip);
            if seen.iter().eq(nodes) { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }
}

fn ask_once(node: &Node, vip: IpAddr) -> Result<String, String> {
    use std::io::{Read as _, Write as _};
    node.inside(|| {
        let to = SocketAddr::new(vip, PORT);
        let mut stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"q")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text.trim().to_owned())
    })
    .map_err(|e| format!("{} to {vip}: {e}", node.name()))
}

/// The addresses as which a node may ask a Pod on behalf of a client.
fn of_nodes(world: &Turn) -> Vec<IpAddr> {
    addresses(world).into_keys().collect()
}

fn own() -> Vec<IpAddr> {
    CLIENT.map(addr).to_vec()
}

fn load(world: &Turn, vip: IpAddr, sources: &[IpAddr]) -> Load {
    Load::start(&world.outside, SocketAddr::new(vip, PORT), RATE, sources)
}

fn policies(mode: ProxyMode, number: u8) {
    let world = turn(3);
    let _proxies = Proxies::start(&world, mode);
    pools(&world, number);
    let mut pods = Pods::new(&world, &format!("p{number}"), &[(1, number), (2, number)]);

    // Cluster: every node takes traffic, also the one without a Pod.
    let vips = dual(&world, service("web"), "web");
    endpoints(&world, "web", &[(1, number), (2, number)], &[]);
    wait_served(&world, &vips, &ALL);
    let nodes = addresses(&world);
    for vip in &vips {
        let load = load(&world, *vip, &of_nodes(&world));
        let begun = Instant::now();
        let tally = load.during(|| ());
        let rate = f64::from(u32::try_from(tally.started).unwrap()) / begun.elapsed().as_secs_f64();
        println!("{rate:.0} connections a second");
        assert!(
            rate > f64::from(RATE) / 2.0,
            "{rate:.0} a second: this machine is too busy to prove anything"
        );
        tally.assert_flawless(&format!("{mode:?}, Cluster, {vip}"));
        let by: BTreeSet<&str> = tally.sources().keys().map(|source| nodes[source].as_str()).collect();
        assert!(by.iter().eq(&ALL), "{:?}", tally.sources());
        assert_eq!(tally.servers().len(), 2, "{:?}", tally.servers());
        // The measure itself: where a flow is seen is where it goes by.
        let flows = Flows::open(&world.outside, SocketAddr::new(*vip, PORT), 20);
        for (flow, via) in Paths::watch(&world, *vip, &flows).seen() {
            let (_, source) = flow.answer.split_once(' ').unwrap();
            assert!(via.iter().eq([&nodes[&addr(source)]]), "{flow:?} by {via:?}");
        }
    }

    // Local: only the nodes with a ready Pod, which sees the client itself.
    let vips = dual(&world, service("near").spec("externalTrafficPolicy: Local"), "near");
    endpoints(&world, "near", &[(1, number), (2, number)], &[]);
    wait_served(&world, &vips, &["n1", "n2"]);
    for vip in vips {
        let load = load(&world, vip, &own());
        let tally = load.during(|| ());
        tally.assert_flawless(&format!("{mode:?}, Local, {vip}"));
        assert_eq!(tally.servers().len(), 2, "{:?}", tally.servers());
    }

    // The Pod of n1 moves to n3: ready there first, terminating here, then gone.
    let vip = vips[0];
    let load = load(&world, vip, &own());
    pods.run(&format!("p{number}"), (3, number));
    load.during(|| {
        endpoints(&world, "near", &[(2, number), (3, number)], &[(1, number)]);
        world.wait_holders(&host(vip), &["n2", "n3"]);
        load.go_on(500);
        endpoints(&world, "near", &[(2, number), (3, number)], &[]);
        pods.stop((1, number));
    })
    .assert_served(&format!("{mode:?}, Local, an endpoint moves"), CUT);
    let tally = load.during(|| ());
    tally.assert_flawless(&format!("{mode:?}, Local, moved"));
    let (second, third) = (format!("p{number}-2-{number}"), format!("p{number}-3-{number}"));
    assert!(tally.servers().keys().copied().eq([second.as_str(), third.as_str()]), "{:?}", tally.servers());
}

#[test]
fn policies_decide_where_traffic_goes_under_nftables() {
    policies(ProxyMode::Nftables, 60);
}

#[test]
fn policies_decide_where_traffic_goes_under_iptables() {
    policies(ProxyMode::Iptables, 61);
}

/// Other Services come and go; each is reached as soon as the router knows it.
fn come_and_go(world: &Turn, number: u8) {
    for n in 0..5 {
        let name = format!("other-{n}");
        let own = dual(world, service(&name), &name);
        endpoints(world, &name, &[(1, number), (2, number)], &[]);
        wait_served(world, &own, &ALL);
    }
    for n in 0..5 {
        world.cluster.kubectl(&["delete", "service", &format!("other-{n}")]);
    }
}

/// Everything that happens to a cluster, under traffic that every node takes.
fn changes(mode: ProxyMode, number: u8) {
    let world = turn(3);
    let _proxies = Proxies::start(&world, mode);
    pools(&world, number);
    let prefix = format!("c{number}");
    let mut pods = Pods::new(&world, &prefix, &[(1, number), (2, number)]);
    let vips = dual(&world, service("web"), "web");
    endpoints(&world, "web", &[(1, number), (2, number)], &[]);
    wait_served(&world, &vips, &ALL);
    let vip = vips[0];
    let load = load(&world, vip, &of_nodes(&world));
    // The other family beside it; the books of both are looked at each time.
    let other = Load::start(&world.outside, SocketAddr::new(vips[1], PORT), RATE / 4, &of_nodes(&world));
    let flows = Flows::open(&world.outside, SocketAddr::new(vip, PORT), 30);
    let six = Flows::open(&world.outside, SocketAddr::new(vips[1], PORT), 30);

    load.during(|| come_and_go(&world, number)).assert_flawless(&format!("{mode:?}, others come and go"));
    other.take().assert_flawless("IPv6");

    // A Pod ends: new connections go to others, its own live until it goes.
    let ended = format!("{prefix}-1-{number}");
    pods.run(&prefix, (3, number));
    load.during(|| endpoints(&world, "web", &[(2, number), (3, number)], &[(1, number)]))
        .assert_flawless(&format!("{mode:?}, a Pod terminates"));
    let tally = load.during(|| ());
    assert!(!tally.servers().contains_key(ended.as_str()), "{:?}", tally.servers());
    let kept = flows.settled();
    let own = kept.iter().filter(|flow| flow.answer.starts_with(&ended)).count();
    assert!(own > 0 && kept.iter().all(|flow| flow.broken.is_none()), "{kept:#?}");
    pods.stop((1, number));
    load.during(|| endpoints(&world, "web", &[(2, number), (3, number)], &[]))
        .assert_flawless(&format!("{mode:?}, a Pod has gone"));
    other.take().assert_flawless("IPv6");

    // An agent is replaced: the router keeps the path.
    for member in &world.members {
        let tally = load.during(|| {
            let mut agent = member.agent();
            agent.process().terminate();
            agent.start_again();
            agent.wait_state("tor", "Established", SOON);
        });
        tally.assert_flawless(&format!("{mode:?}, the agent of {} is rolled", member.node.name()));
        other.take().assert_flawless("IPv6");
    }
    assert!(
        flows.settled().iter().chain(&six.settled()).all(|flow| flow.broken.is_none()),
        "{flows:?} {six:?}"
    );

    // A node is drained, and comes back.
    let paths = [Paths::watch(&world, vip, &flows), Paths::watch(&world, vips[1], &six)];
    load.during(|| {
        world.members[2].agent().cli(&["drain", "--for", "2s"]);
        for vip in vips {
            world.wait_holders(&host(vip), &["n1", "n2"]);
        }
    })
    .assert_served(&format!("{mode:?}, a node is drained"), CUT);
    other.take().assert_served("IPv6", CUT);
    for paths in paths {
        paths.assert_kept(&format!("{mode:?}, drained"));
    }
    load.during(|| {
        world.members[2].agent().cli(&["undrain"]);
        for vip in vips {
            world.wait_holders(&host(vip), &ALL);
        }
    })
    .assert_served(&format!("{mode:?}, the node is back"), CUT);
    other.take().assert_served("IPv6", CUT);
}

#[test]
fn no_new_connection_fails_while_things_change_under_nftables() {
    changes(ProxyMode::Nftables, 62);
}

#[test]
fn no_new_connection_fails_while_things_change_under_iptables() {
    changes(ProxyMode::Iptables, 63);
}

/// The endpoints of a Service with the zone that each is for.
fn zoned(world: &Turn, name: &str, places: &[Place]) {
    for v6 in [false, true] {
        let backends: Vec<Backend> = places.iter().map(|place| backend(*place, v6)).collect();
        let mut slice = endpoint_slice("default", name, 8080, &backends);
        for ((n, _), endpoint) in places.iter().zip(slice["endpoints"].as_array_mut().unwrap()) {
            endpoint["zone"] = json!(format!("z{n}"));
            endpoint["hints"] = json!({"forZones": [{"name": format!("z{n}")}]});
        }
        let name = slice["metadata"]["name"].as_str().unwrap();
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}");
        world.cluster.rest().apply(&path, &slice);
    }
}

#[test]
fn prefer_close_and_session_affinity_disturb_nothing() {
    let world = turn(3);
    let _proxies = Proxies::start(&world, ProxyMode::Nftables);
    pools(&world, 64);
    let _pods = Pods::new(&world, "z", &[(1, 64), (2, 64)]);
    let vips = dual(&world, service("close").spec("trafficDistribution: PreferClose"), "close");
    zoned(&world, "close", &[(1, 64), (2, 64)]);
    wait_served(&world, &vips, &ALL);
    let nodes = addresses(&world);
    for vip in vips {
        let load = load(&world, vip, &of_nodes(&world));
        let tally = load.during(|| ());
        tally.assert_flawless(&format!("PreferClose, {vip}"));
        let pairs: BTreeSet<(&str, &str)> =
            tally.answers.keys().map(|(server, source)| (nodes[source].as_str(), server.as_str())).collect();
        // Close where there is something close; the third zone has nothing and takes any.
        let wanted = [("n1", "z-1-64"), ("n2", "z-2-64"), ("n3", "z-1-64"), ("n3", "z-2-64")];
        assert!(pairs.iter().eq(&wanted), "{pairs:?}");
    }
    // A close Pod goes: its zone takes another, without a failure.
    let load = load(&world, vips[0], &of_nodes(&world));
    load.during(|| zoned(&world, "close", &[(2, 64)])).assert_flawless("PreferClose, the close one goes");
    drop(load);

    let vips = dual(&world, service("sticky").spec("sessionAffinity: ClientIP"), "sticky");
    endpoints(&world, "sticky", &[(1, 64), (2, 64)], &[]);
    wait_served(&world, &vips, &ALL);
    for vip in vips {
        let load = self::load(&world, vip, &of_nodes(&world));
        let tally = load.during(|| ());
        tally.assert_flawless(&format!("session affinity, {vip}"));
        let mut by_node: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (server, source) in tally.answers.keys() {
            by_node.entry(&nodes[source]).or_default().insert(server);
        }
        assert!(by_node.len() == 3 && by_node.values().all(|servers| servers.len() == 1), "{by_node:?}");
    }
}

/// Counts packets for the pools, by the interface that they come in by.
const COUNTERS: &str = "
table inet seen {
  counter passed { }
  chain prerouting {
    type filter hook prerouting priority -400; policy accept;
    iifname \"eth0\" ip daddr 10.65.0.0/24 counter name passed
    iifname \"eth0\" ip6 daddr 2001:db8:65::/112 counter name passed
  }
}
";

fn counted(node: &Node) -> u64 {
    let text = node.exec(&["nft", "list", "counter", "inet", "seen", "passed"]);
    text.split_whitespace().skip_while(|word| *word != "packets").nth(1).unwrap().parse().unwrap()
}

fn guarded(mode: ProxyMode) {
    let world = turn(3);
    let _proxies = Proxies::start(&world, mode);
    pools(&world, 65);
    let prefix = if mode == ProxyMode::Nftables { "gn" } else { "gi" };
    let host_number = if mode == ProxyMode::Nftables { 65 } else { 66 };
    let pods = Pods::new(&world, prefix, &[(1, host_number), (2, host_number)]);
    let vips = dual(&world, service("web"), "web");
    endpoints(&world, "web", &[(1, host_number), (2, host_number)], &[]);
    wait_served(&world, &vips, &ALL);
    let _shadow = world.tor_node().try_exec(&["nft", "delete", "table", "inet", "seen"]);
    nft(world.tor_node(), COUNTERS);
    let nobodys = [addr("10.65.0.200"), addr("2001:db8:65::200")];
    let pod = &pods.nodes[&(1, host_number)];
    let mut refused = 0;
    for from in [&world.outside, &world.members[0].node, pod] {
        for vip in vips {
            eventually(SOON, "what is served answers", || ask_once(from, vip).map(|_| ()));
        }
        let before = counted(world.tor_node());
        for (to, port) in vips.map(|vip| (vip, 81)).into_iter().chain(nobodys.map(|to| (to, 80))) {
            ask(from, to, port, BRIEFLY).unwrap_err();
            refused += 1;
        }
        let came = counted(world.tor_node()) - before;
        // What a node itself sends to nobody goes to the router once, and comes back from there no further than a
        // node; a SYN is not sent twice within the patience.
        let allowed = if from.name() == "n1" { 4 } else { 0 };
        assert!(came <= allowed, "{mode:?}: {came} packets of {} reached the router", from.name());
    }
    assert_eq!(refused, 12);
    // The measure itself: without the guard they go round.
    for member in &world.members {
        for family in ["-4", "-6"] {
            member.node.ip(&[family, "rule", "add", "lookup", "main", "preference", "10000"]);
        }
    }
    let before = counted(world.tor_node());
    ask(&world.outside, nobodys[0], 80, BRIEFLY).unwrap_err();
    let came = counted(world.tor_node()) - before;
    for member in &world.members {
        for family in ["-4", "-6"] {
            member.node.ip(&[family, "rule", "del", "preference", "10000"]);
        }
    }
    world.tor_node().exec(&["nft", "delete", "table", "inet", "seen"]);
    assert!(came > 20, "{came} packets came back: the test sees no loop where there is one");
}

#[test]
fn nothing_loops_with_nftables_under_the_guard() {
    guarded(ProxyMode::Nftables);
}

#[test]
fn nothing_loops_with_iptables_under_the_guard() {
    guarded(ProxyMode::Iptables);
}

#[test]
fn a_rebooted_node_announces_nothing_before_kube_proxy_is_healthy() {
    let world = turn(3);
    pools(&world, 68);
    let _pods = Pods::new(&world, "r", &[(1, 68), (2, 68)]);
    let vips = dual(&world, service("web"), "web");
    endpoints(&world, "web", &[(1, 68), (2, 68)], &[]);
    let route = host(vips[0]);
    world.wait_holders(&route, &ALL);
    let member = &world.members[0];
    let readiness = format!("{}readiness: kube-proxy\n", agent_config(1));
    member.agent().write_config(&readiness);
    member.agent().wait_log(&["the new configuration is in force"], SOON);
    always(Duration::from_secs(1), "what is announced already stays", || {
        let seen = world.holders(&route);
        if seen.len() == 3 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    // A new boot: no kube-proxy has been seen on it.
    let reboot = || {
        let mut agent = member.agent();
        agent.process().kill();
        let mark = agent.dir().join("state/process.json");
        std::fs::write(&mark, "{\"bootId\": \"the one before\", \"ready\": true}").unwrap();
        agent.start_again();
        agent.wait_state("tor", "Established", SOON);
    };
    reboot();
    world.wait_holders(&route, &["n2", "n3"]);
    let story = member.agent().try_cli(&["explain", &route]).unwrap_err();
    let held = "HELD readiness: kube-proxy has not been healthy since this node was started: http://127.0.0.1:10256/healthz";
    assert!(story.contains(held), "{story}");
    let version = member.agent().cli(&["version"]);
    assert!(version.contains("nothing is announced: kube-proxy has not been healthy"), "{version}");
    always(Duration::from_secs(2), "it stays silent", || {
        let seen = world.holders(&route);
        if seen.contains("n1") { Err(format!("{seen:?}")) } else { Ok(()) }
    });
    let proxies = Proxies::start(&world, ProxyMode::Nftables);
    // As soon as the router knows the way, the node serves.
    eventually(SOON, "the node announces", || {
        let seen = next_hops(&world, vips[0]);
        if seen.contains("n1") { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    ask_once(&member.node, vips[0]).unwrap();
    wait_served(&world, &vips, &ALL);

    // kube-proxy is lost later: what it has set up works on, also for an agent that is replaced meanwhile.
    let load = load(&world, vips[0], &of_nodes(&world));
    load.during(|| {
        proxies.of(1).kill();
        let mut agent = member.agent();
        agent.wait_log(&["readiness: kube-proxy is not healthy now"], SOON);
        agent.process().terminate();
        agent.start_again();
        agent.wait_state("tor", "Established", SOON);
        drop(agent);
        world.wait_holders(&route, &ALL);
    })
    .assert_flawless("kube-proxy is lost");
    let story = member.agent().cli(&["explain", &route]);
    assert!(story.contains("ok   readiness: kube-proxy is not healthy now"), "{story}");
    drop(load);
    member.agent().write_config(&agent_config(1));
}
