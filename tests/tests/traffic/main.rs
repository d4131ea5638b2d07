//! A thousand new connections a second through a router's ECMP, real kube-proxy and Pods, while the world changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod guard;
mod scene;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use scene::{ALL, CUT, Pods, addr, ask_once, dual, endpoints, host, load, of_nodes, own, pools, wait_served};
use serde_json::json;
use tests::cluster::{Backend, ProxyMode, endpoint_slice};
use tests::e2e::manifests::service;
use tests::e2e::{SOON, Turn, agent_config, turn};
use tests::traffic::{Flows, Load, PORT, Paths, Place, Proxies, RATE, addresses, backend, next_hops};
use tests::wait::{always, eventually};

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
