//! Routes for Services of a real API server, as a router sees them from three nodes: operator and agents under
//! their own ServiceAccounts, FRR as the router, kube-proxy and clients where traffic is looked at.
//!
//! A freed address is the last to be given again: each test has a pool of its own addresses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::cluster::{Backend, ProxyMode};
use tests::e2e::manifests::{pool, service};
use tests::e2e::{SOON, Turn, agent_config, pod_v4, pod_v6, turn};
use tests::echo::{Echo, ask};
use tests::wait::{always, eventually, pause};

const ALL: [&str; 3] = ["n1", "n2", "n3"];

fn world() -> Turn {
    turn(3)
}

/// Ready Pods `(node, host)` behind a Service, over IPv4.
fn endpoints(world: &Turn, name: &str, pods: &[(u8, u8)]) {
    let backend = |(n, host): &(u8, u8)| Backend::new(&pod_v4(*n, *host).to_string(), &format!("n{n}"));
    let backends: Vec<Backend> = pods.iter().map(backend).collect();
    world.cluster.set_endpoints("default", name, 8080, &backends);
}

#[test]
fn a_service_is_announced_and_when_it_goes_withdrawn_and_released() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 10.50.0.0/24}"));
    world.cluster.apply(&service("web").yaml());
    world.wait_ingress("web", &["10.50.0.0"]);
    // The pool's prefix needs an allocation, the Service's a ready endpoint.
    world.wait_holders("10.50.0.0/24", &ALL);
    world.wait_holders("10.50.0.0/32", &[]);
    endpoints(&world, "web", &[(1, 5)]);
    world.wait_holders("10.50.0.0/32", &ALL);
    endpoints(&world, "web", &[]);
    world.wait_holders("10.50.0.0/32", &[]);
    endpoints(&world, "web", &[(2, 5)]);
    world.wait_holders("10.50.0.0/32", &ALL);

    world.cluster.kubectl(&["delete", "service", "web"]);
    world.wait_holders("10.50.0.0/32", &[]);
    world.wait_holders("10.50.0.0/24", &[]);
    eventually(SOON, "the address is free again", || {
        let free = world.pool_count("pool", "IPsAvailable");
        if free == "256" { Ok(()) } else { Err(free) }
    });
}

#[test]
fn both_families_are_announced() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 10.51.0.0/24}, {cidr: '2001:db8:100::/112'}"));
    world.cluster.apply(&service("dual").spec("ipFamilyPolicy: RequireDualStack").yaml());
    endpoints(&world, "dual", &[(1, 5)]);
    let six = Backend::new(&pod_v6(1, 5).to_string(), "n1");
    world.cluster.set_endpoints("default", "dual", 8080, &[six]);
    world.wait_ingress("dual", &["10.51.0.0", "2001:db8:100::"]);
    for prefix in ["10.51.0.0/24", "10.51.0.0/32", "2001:db8:100::/112", "2001:db8:100::/128"] {
        world.wait_holders(prefix, &ALL);
    }
}

#[test]
fn under_traffic_policy_local_the_route_follows_the_pods() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 10.52.0.0/24}"));
    world.cluster.apply(&service("web").spec("externalTrafficPolicy: Local").yaml());
    world.wait_ingress("web", &["10.52.0.0"]);
    let route = "10.52.0.0/32";
    endpoints(&world, "web", &[(1, 5)]);
    world.wait_holders(route, &["n1"]);
    endpoints(&world, "web", &[(1, 5), (3, 5)]);
    world.wait_holders(route, &["n1", "n3"]);
    endpoints(&world, "web", &[(3, 5)]);
    world.wait_holders(route, &["n3"]);
    // A Pod that ends is no place to send new connections to.
    let mut ending = Backend::new(&pod_v4(3, 5).to_string(), "n3");
    ending.terminating = true;
    let fresh = Backend::new(&pod_v4(2, 6).to_string(), "n2");
    world.cluster.set_endpoints("default", "web", 8080, &[ending, fresh]);
    world.wait_holders(route, &["n2"]);
    let mut unready = Backend::new(&pod_v4(2, 6).to_string(), "n2");
    unready.ready = false;
    world.cluster.set_endpoints("default", "web", 8080, &[unready]);
    world.wait_holders(route, &[]);
    world.wait_holders("10.52.0.0/24", &ALL);

    let policy = json!({"spec": {"externalTrafficPolicy": "Cluster"}});
    world.cluster.rest().patch("/api/v1/namespaces/default/services/web", &policy);
    endpoints(&world, "web", &[(2, 6)]);
    world.wait_holders(route, &ALL);
}

#[test]
fn a_lost_node_loses_its_routes_and_no_others() {
    let world = world();
    // Without graceful restart, and with the shortest hold time that there is.
    let quick = |n: u8| {
        let config = agent_config(n).replace("    gracefulRestart: {restartTime: 30s}\n", "");
        config.replace("hold: 9s", "hold: 3s")
    };
    world.members[2].agent().write_config(&quick(3));
    world.cluster.apply(&pool("pool", "{cidr: 10.53.0.0/24}"));
    world.cluster.apply(&service("web").yaml());
    endpoints(&world, "web", &[(1, 5)]);
    world.wait_holders("10.53.0.0/32", &ALL);
    // A session of the new settings: the one before would be left to stale routes and a longer hold time.
    eventually(SOON, "n3's session has the shortest hold time", || {
        let peer = world.members[2].agent().peer("tor");
        let (state, hold) = (&peer["state"], &peer["holdTime"]);
        if state == "Established" && hold == 3 { Ok(()) } else { Err(format!("{state} {hold}")) }
    });
    world.wait_holders("10.53.0.0/32", &ALL);

    world.cut(3);
    world.wait_holders("10.53.0.0/32", &["n1", "n2"]);
    world.wait_holders("10.53.0.0/24", &["n1", "n2"]);
    world.mend(3);
    world.wait_holders("10.53.0.0/32", &ALL);
    world.members[2].agent().write_config(&agent_config(3));
}

#[test]
fn while_the_api_server_is_away_nothing_is_withdrawn() {
    let away = if std::env::var_os("E2E_LONG").is_some() { 120 } else { 8 };
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 10.54.0.0/24}"));
    world.cluster.apply(&service("web").yaml());
    endpoints(&world, "web", &[(1, 5)]);
    world.wait_holders("10.54.0.0/32", &ALL);

    let stays = |world: &Turn, time: Duration| {
        always(time, "the routes stay", || {
            let now = world.holders("10.54.0.0/32");
            if now.iter().eq(&ALL) { Ok(()) } else { Err(format!("{now:?}")) }
        });
    };
    world.cluster.api_server().kill();
    stays(&world, Duration::from_secs(away));
    world.cluster.start_api_server();
    stays(&world, Duration::from_secs(1));
    // What changes from then on is seen again.
    world.cluster.apply(&service("later").yaml());
    endpoints(&world, "later", &[(2, 7)]);
    world.wait_ingress("later", &["10.54.0.1"]);
    world.wait_holders_for("10.54.0.1/32", &ALL, Duration::from_secs(60));

    // A server that hangs is as good as away.
    world.cluster.api_server().pause();
    stays(&world, Duration::from_secs(away / 2));
    world.cluster.api_server().resume();
    world.cluster.kubectl(&["delete", "service", "later"]);
    world.wait_holders_for("10.54.0.1/32", &[], Duration::from_secs(60));
}

#[test]
fn clients_reach_pods_and_notice_no_agent_that_is_killed() {
    let world = world();
    let proxies: Vec<_> = (0..3)
        .map(|i| {
            let member = &world.members[i];
            world.cluster.start_proxy(&member.node, member.node.name(), ProxyMode::Nftables)
        })
        .collect();
    let pods = [world.pod(1, 5, "web-1"), world.pod(2, 5, "web-2")];
    let servers: Vec<Echo> = pods.iter().map(|pod| Echo::serve(pod, 8080)).collect();
    world.cluster.apply(&pool("pool", "{cidr: 10.55.0.0/24}"));
    world.cluster.apply(&service("web").yaml());
    endpoints(&world, "web", &[(1, 5), (2, 5)]);
    let (vip, patience) = ("10.55.0.0".parse().unwrap(), Duration::from_secs(2));
    world.wait_holders("10.55.0.0/32", &ALL);
    for member in &world.members {
        eventually(SOON, "each node's kube-proxy serves", || ask(&member.node, vip, 80, patience));
    }
    eventually(SOON, "a client is served", || ask(&world.outside, vip, 80, patience));

    // Local: only nodes with a Pod are asked, and the Pod sees the client itself.
    world.cluster.apply(&service("near").spec("externalTrafficPolicy: Local").yaml());
    endpoints(&world, "near", &[(1, 5), (2, 5)]);
    world.wait_holders("10.55.0.1/32", &["n1", "n2"]);
    let near = "10.55.0.1".parse().unwrap();
    let answer = eventually(SOON, "a client is served locally", || ask(&world.outside, near, 80, patience));
    assert_eq!(answer.client.to_string(), "198.18.0.2");

    let (stop, world_ref) = (AtomicBool::new(false), &*world);
    let (asked, failed) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let (mut asked, mut failed) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                asked += 1;
                if let Err(e) = ask(&world_ref.outside, vip, 80, patience) {
                    failed.push(e);
                }
            }
            (asked, failed)
        });
        for member in &world_ref.members {
            let mut agent = member.agent();
            agent.process().kill();
            agent.start_again();
            agent.wait_state("tor", "Established", SOON);
        }
        let settled = Instant::now();
        while settled.elapsed() < Duration::from_secs(2) {
            pause();
        }
        stop.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    assert!(asked > 50, "only {asked} connections were tried");
    assert!(failed.is_empty(), "{} of {asked} connections failed: {:?}", failed.len(), failed.first());
    world.wait_holders("10.55.0.0/32", &ALL);
    drop(servers);
    for proxy in proxies {
        proxy.kill();
    }
}

/// Waits until a pool says that it is dangerous, and returns why; empty where it is to say nothing of it.
fn wait_danger(world: &Turn, pool: &str, words: &str) {
    eventually(SOON, &format!("pool {pool} says {words:?}"), || {
        let said = world.pool_count(pool, "DangerousAddresses");
        let right = if words.is_empty() { said.is_empty() } else { said.contains(words) };
        if right { Ok(()) } else { Err(said) }
    });
}

#[test]
fn what_the_cluster_lives_on_is_not_announced_and_its_pool_says_why() {
    let world = world();
    for (name, block, own, why) in [
        ("clusterips", "{cidr: 10.96.200.0/28}", "10.96.200.0", "a Service CIDR of the cluster"),
        ("server", "{start: 172.31.0.1, stop: 172.31.0.2}", "172.31.0.1", "the address of the API server"),
        ("nodes", "{cidr: 10.0.0.2/32}", "10.0.0.2", "the address of node n2"),
        ("pods", "{cidr: 10.244.3.0/28}", "10.244.3.0", "a Pod CIDR of the cluster"),
    ] {
        world.cluster.apply(&pool(name, block));
        world.cluster.apply(&service(name).annotations(&format!("{{lbipam.cilium.io/ips: {own}}}")).yaml());
        world.wait_ingress(name, &[own]);
        endpoints(&world, name, &[(1, 5)]);
        wait_danger(&world, name, why);
    }
    eventually(SOON, "an Event tells of each pool", || {
        let reason = ["get", "events", "-A", "--field-selector", "reason=DangerousAddresses"];
        let told = world.cluster.kubectl(&reason);
        if told.matches("ciliumloadbalancerippool").count() >= 4 { Ok(()) } else { Err(told) }
    });

    // One that is announced, until the cluster takes its addresses for ClusterIPs.
    world.cluster.apply(&pool("free", "{cidr: 10.57.0.0/28}"));
    world.cluster.apply(&service("web").annotations("{lbipam.cilium.io/pool: free}").yaml());
    world.wait_ingress("web", &["10.57.0.0"]);
    endpoints(&world, "web", &[(1, 5)]);
    world.wait_holders("10.57.0.0/28", &ALL);
    world.wait_holders("10.57.0.0/32", &ALL);
    for dangerous in ["10.96.200.0/28", "10.96.200.0/32", "172.31.0.1/32", "10.0.0.2/32", "10.244.3.0/28"] {
        assert!(world.holders(dangerous).is_empty(), "{dangerous}");
    }
    wait_danger(&world, "free", "");
    world.cluster.apply(
        "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: more}, spec: {cidrs: [10.57.0.0/24]}}",
    );
    wait_danger(&world, "free", "10.57.0.0/24, a Service CIDR of the cluster");
    world.wait_holders("10.57.0.0/28", &[]);
    world.wait_holders("10.57.0.0/32", &[]);
    world.cluster.kubectl(&["delete", "servicecidr", "more"]);
    world.wait_holders("10.57.0.0/28", &ALL);
    world.wait_holders("10.57.0.0/32", &ALL);
    wait_danger(&world, "free", "");
}

#[test]
fn beside_another_allocator_agents_only_read_and_announce() {
    let world = world();
    world.operator.process().kill();
    world.cluster.apply(&pool("pool", "{cidr: 10.56.0.0/24}"));
    world.cluster.apply(&service("web").yaml());
    endpoints(&world, "web", &[(1, 5)]);
    let before = world.cluster.audit().len();
    let foreign = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.56.0.77"}]}}});
    world.cluster.rest().patch("/api/v1/namespaces/default/services/web/status", &foreign);
    world.wait_holders("10.56.0.77/32", &ALL);
    world.wait_holders("10.56.0.0/24", &ALL);
    // An address of nobody's pool stays at home.
    let stray = json!({"status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"ip": "10.56.0.78"}]}}});
    world.cluster.rest().patch("/api/v1/namespaces/default/services/web/status", &stray);
    world.wait_holders("10.56.0.78/32", &ALL);
    world.wait_holders("9.9.9.9/32", &[]);
    let writes: Vec<_> = world.cluster.audit()[before..]
        .iter()
        .filter(|r| r.user.starts_with("system:serviceaccount:") && r.resource.starts_with("services"))
        .filter(|r| !["get", "list", "watch"].contains(&r.verb.as_str()))
        .cloned()
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
}
