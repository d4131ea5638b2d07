//! What a newcomer types, from a Deployment to a client's answer and back to an empty cluster, with Kubernetes' own
//! controllers making Pods and endpoints and kube-proxy carrying the traffic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use tests::cluster::{Options, ProxyMode};
use tests::e2e::manifests::pool;
use tests::e2e::table::rows;
use tests::e2e::{SOON, World, pod_v4};
use tests::echo::{Answer, Echo, ask};
use tests::wait::eventually;

/// The names of the Pods of the Deployment that are to run, waited for until there are `count`.
fn pods(world: &World, count: usize) -> Vec<String> {
    eventually(SOON, &format!("{count} Pods are to run"), || {
        let list = world.get("/api/v1/namespaces/lb-demo/pods");
        let alive = list["items"].as_array().into_iter().flatten();
        let alive = alive.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let names: Vec<String> =
            alive.filter_map(|p| p["metadata"]["name"].as_str().map(str::to_owned)).collect();
        if names.len() == count { Ok(names) } else { Err(format!("{names:?}")) }
    })
}

fn curl(world: &World, address: &str) -> Answer {
    let address = address.parse().unwrap();
    eventually(SOON, &format!("{address} answers the client"), || {
        ask(&world.outside, address, 80, Duration::from_secs(2))
    })
}

#[test]
fn from_a_deployment_to_an_answer_and_back() {
    let world = World::new(2, Options { controllers: true, ..Options::default() });
    let kubectl = |line: &str| world.cluster.kubectl(&line.split_whitespace().collect::<Vec<_>>());
    for member in &world.members {
        world.cluster.start_proxy(&member.node, member.node.name(), ProxyMode::Iptables);
    }
    let namespaces = [world.pod(1, 5, "pod-1"), world.pod(2, 5, "pod-2")];
    let _servers: Vec<Echo> = namespaces.iter().map(|node| Echo::serve(node, 8080)).collect();

    kubectl("create namespace lb-demo");
    kubectl("-n lb-demo create deployment web --image=echo --port=8080");
    kubectl("-n lb-demo expose deployment web --type=LoadBalancer --port=80 --target-port=8080");
    let row = &rows(&kubectl("-n lb-demo get svc web"))[0];
    assert_eq!((row["TYPE"].as_str(), row["EXTERNAL-IP"].as_str()), ("LoadBalancer", "<pending>"));
    assert!(row["PORT(S)"].starts_with("80:3") && row["PORT(S)"].ends_with("/TCP"), "{row:?}");

    world.cluster.apply(&pool("demo-pool", "{start: 192.0.2.10, stop: 192.0.2.50}"));
    world.wait_ingress("lb-demo/web", &["192.0.2.10"]);
    let row = &rows(&kubectl("-n lb-demo get svc web"))[0];
    assert_eq!(row["EXTERNAL-IP"], "192.0.2.10");

    // The Pod runs: it is an endpoint, and the address is worth announcing.
    world.cluster.run_pod("lb-demo", &pods(&world, 1)[0], "n1", &pod_v4(1, 5).to_string(), true);
    world.wait_holders("192.0.2.10/32", &["n1", "n2"]);
    let answer = curl(&world, "192.0.2.10");
    assert_eq!(answer.server, "pod-1");

    // Local keeps the client's address, and only the Pod's node is asked.
    world.cluster.kubectl(&[
        "-n",
        "lb-demo",
        "patch",
        "svc",
        "web",
        "-p",
        r#"{"spec":{"externalTrafficPolicy":"Local"}}"#,
    ]);
    world.wait_holders("192.0.2.10/32", &["n1"]);
    eventually(SOON, "the Pod sees the client", || {
        let answer = curl(&world, "192.0.2.10");
        if answer.client.to_string() == "198.18.0.2" { Ok(()) } else { Err(format!("{answer:?}")) }
    });

    // A second replica on the other node; the first one is deleted and its successor does not come up.
    kubectl("-n lb-demo scale deployment web --replicas=2");
    let first = pods(&world, 2);
    let running = world.get("/api/v1/namespaces/lb-demo/pods");
    let is_running = |name: &&String| {
        let mut items = running["items"].as_array().unwrap().iter();
        items.any(|p| p["metadata"]["name"] == **name && !p["spec"]["nodeName"].is_null())
    };
    let old = first.iter().find(is_running).unwrap();
    let new = first.iter().find(|name| name != &old).unwrap();
    world.cluster.run_pod("lb-demo", new, "n2", &pod_v4(2, 5).to_string(), true);
    world.wait_holders("192.0.2.10/32", &["n1", "n2"]);
    kubectl(&format!("-n lb-demo delete pod {old} --wait=false"));
    world.wait_holders("192.0.2.10/32", &["n2"]);
    world.cluster.end_pods("lb-demo");
    eventually(SOON, "the other Pod answers", || {
        let answer = curl(&world, "192.0.2.10");
        if answer.server == "pod-2" { Ok(()) } else { Err(format!("{answer:?}")) }
    });

    kubectl("delete namespace lb-demo --wait=false");
    world.wait_holders("192.0.2.10/32", &[]);
    eventually(SOON, "the namespace is gone", || {
        world.cluster.end_pods("lb-demo");
        world.cluster.rest().get("/api/v1/namespaces/lb-demo").map_or(Ok(()), |left| Err(left.to_string()))
    });
    eventually(SOON, "every address is free again", || {
        let row = rows(&kubectl("get ciliumloadbalancerippool")).remove(0);
        if row["IPS AVAILABLE"] == "41" { Ok(()) } else { Err(format!("{row:?}")) }
    });
    assert!(world.tor.table(tests::daemon::Family::V4).is_empty(), "routes are left at the router");
    kubectl("delete ciliumloadbalancerippool demo-pool");
}
