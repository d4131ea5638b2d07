//! Services of a real API server, from the request to the route at a BGP peer, beside the least that any client
//! of that API server needs for the same.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use hyper::http::Method;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tests::cluster::{Cluster, NodeSpec};
use tests::lab::Lab;
use tests::process::Process;
use tests::speaker::binary;
use tests::wait::eventually;

use crate::listener::Listener;
use crate::report::{megabytes, quantile, table, time};
use crate::usage::Usage;
use crate::{Options, heading};

const BURST: usize = 1000;
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SOON: Duration = Duration::from_secs(60);

const POOL: &str = "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {name: bench}\n\
                    spec: {blocks: [{cidr: 10.64.0.0/16}]}\n";

const AGENT: &str = "node: {name: n1}
router: {asn: 64501}
sources: {kubernetes: {enabled: true}}
peers: [{name: tor, address: 10.0.0.254, asn: 64500, families: [ipv4-unicast], timers: {connectRetry: 1s}}]
advertisements:
  - {name: services, poolPrefix: {when: never}, serviceRoutes: {which: all, when: allocated}}
api: {socket: api.sock}
";

/// Runs it and prints the tables.
pub(crate) fn run(options: &Options) {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab);
    cluster.apply_file("deploy/crds");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    heading(&format!("Kubernetes: one Service after the other, {} samples", options.samples));
    let floor = floor(&cluster, options.samples);
    let stage = Stage::new(&lab, &cluster);
    let ours = one_by_one(&cluster, &stage.peer, options.samples);
    let row = |name: &str, of: &(Vec<Duration>, Vec<Duration>)| {
        let cells = [&of.0, &of.1].map(|s| [time(quantile(s, 0.5)), time(quantile(s, 0.99))]);
        [vec![name.to_owned()], cells.concat()].concat()
    };
    let names = ["", "create → announced, p50", "p99", "delete → withdrawn, p50", "p99"];
    table(&names, &[row("the API's floor", &floor), row("speaker", &ours)]);

    heading(&format!("Kubernetes: {BURST} Services at once"));
    let rows: Vec<Vec<String>> = (0..options.runs).map(|_| burst(&cluster, &stage)).collect();
    let names =
        ["creates answered", "announced", "deletes answered", "withdrawn", "agent RSS", "operator RSS"];
    table(&names, &rows);
}

/// A node with the agent, the operator, and a peer.
struct Stage {
    peer: Listener,
    agent: Process,
    operator: Process,
}

impl Stage {
    fn new(lab: &Lab, cluster: &Cluster) -> Self {
        let (node, router, control) = (lab.node("n1"), lab.node("tor"), lab.node("operator"));
        lab.link(&node, "eth0", &router, "eth0");
        node.address("eth0", "10.0.0.1/24");
        router.address("eth0", "10.0.0.254/24");
        cluster.join(lab, &node);
        cluster.join(lab, &control);
        cluster.add_node(&NodeSpec::new("n1", &[Ipv4Addr::new(10, 0, 0, 1).into()]));
        cluster.apply(POOL);
        let peer = Listener::start(&router, Ipv4Addr::new(10, 0, 0, 254).into(), 64500);
        let start = |node: &tests::lab::Node, role: &str, text: &str| {
            let file = node.dir().join("speaker.yaml");
            std::fs::write(&file, text).expect("speaker.yaml");
            let mut command = std::process::Command::new(binary());
            command.args([role, "--config"]).arg(file).env("KUBECONFIG", cluster.admin());
            node.spawn(role, &mut command)
        };
        let operator = start(&control, "operator", "ipam: {enabled: true}\n");
        let agent = start(&node, "run", AGENT);
        Self { peer, agent, operator }
    }
}

fn manifest(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}})
}

/// What a client that does nothing else needs: it sees a Service come, gives it an address, sees that come back,
/// and sees the Service go. Each from the request of whoever creates or deletes it.
fn floor(cluster: &Cluster, samples: usize) -> (Vec<Duration>, Vec<Duration>) {
    cluster.rest().run(|client| async move {
        let api: Api<Service> = Api::namespaced(client, "default");
        let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
        let watched = api.clone();
        let start =
            api.list(&kube::api::ListParams::default()).await.expect("list").metadata.resource_version;
        let watcher = tokio::spawn(async move {
            let version = start.unwrap_or_default();
            let events = watched.watch(&WatchParams::default().timeout(290), &version).await.expect("watch");
            let mut events = Box::pin(events);
            while let Some(event) = events.try_next().await.expect("watch") {
                let now = Instant::now();
                match event {
                    WatchEvent::Added(service) => {
                        let name = service.metadata.name.unwrap_or_default();
                        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.64.0.1"}]}}});
                        let patch = Patch::Merge(&status);
                        watched.patch_status(&name, &PatchParams::default(), &patch).await.expect("patch");
                    }
                    WatchEvent::Modified(_) => drop(told.send((true, now))),
                    WatchEvent::Deleted(_) => drop(told.send((false, now))),
                    WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
                }
            }
        });
        let (mut creates, mut deletes) = (Vec::new(), Vec::new());
        for n in 0..samples {
            let name = format!("floor-{n}");
            let object: Service = serde_json::from_value(manifest(&name)).expect("a Service");
            let asked = Instant::now();
            api.create(&PostParams::default(), &object).await.expect("create");
            let (came, at) = tell.recv().await.expect("an event");
            assert!(came, "the address comes back");
            creates.push(at.saturating_duration_since(asked));
            let asked = Instant::now();
            api.delete(&name, &DeleteParams::default()).await.expect("delete");
            let (came, at) = tell.recv().await.expect("an event");
            assert!(!came, "the Service goes");
            deletes.push(at.saturating_duration_since(asked));
        }
        watcher.abort();
        (creates, deletes)
    })
}

fn one_by_one(cluster: &Cluster, peer: &Listener, samples: usize) -> (Vec<Duration>, Vec<Duration>) {
    let rest = cluster.rest();
    let (mut creates, mut deletes) = (Vec::new(), Vec::new());
    rest.create(SERVICES, &manifest("first"));
    peer.wait("the first route", |heard| (!heard.present.is_empty()).then_some(()));
    for n in 0..samples {
        let name = format!("one-{n}");
        let asked = Instant::now();
        rest.create(SERVICES, &manifest(&name));
        let (prefix, at) = peer.wait("the route", |heard| {
            let fresh = heard.present.iter().max_by_key(|(_, at)| **at)?;
            (heard.present.len() == 2).then_some((*fresh.0, *fresh.1))
        });
        creates.push(at.saturating_duration_since(asked));
        let asked = Instant::now();
        rest.delete(&format!("{SERVICES}/{name}"));
        let at = peer.wait("the withdrawal", |heard| heard.gone.get(&prefix).copied());
        deletes.push(at.saturating_duration_since(asked));
    }
    rest.delete(&format!("{SERVICES}/first"));
    peer.wait("the last withdrawal", |heard| heard.present.is_empty().then_some(()));
    (creates, deletes)
}

/// Creates and deletes, sixteen at a time; each figure is from the first request on.
fn burst(cluster: &Cluster, stage: &Stage) -> Vec<String> {
    let rest = cluster.rest();
    let name = |n: usize| format!("burst-{n:04}");
    let creates = (0..BURST).map(|n| (SERVICES.to_owned(), manifest(&name(n)))).collect();
    let begun = Instant::now();
    rest.send_all(&Method::POST, creates);
    let created = begun.elapsed();
    let announced = stage.peer.wait("every route", |heard| {
        (heard.present.len() == BURST).then(|| heard.present.values().max().copied()).flatten()
    });
    let announced = announced - begun;
    let memory = [&stage.agent, &stage.operator].map(|p| megabytes(Usage::of(p.pid()).resident));
    let deletes = (0..BURST).map(|n| (format!("{SERVICES}/{}", name(n)), Value::Null)).collect();
    let begun = Instant::now();
    rest.send_all(&Method::DELETE, deletes);
    let deleted = begun.elapsed();
    let withdrawn = stage.peer.wait("every withdrawal", |heard| {
        heard.present.is_empty().then(|| heard.gone.values().max().copied()).flatten()
    });
    let withdrawn = withdrawn - begun;
    eventually(SOON, "the pool is empty again", || {
        let pool = rest.get("/apis/cilium.io/v2/ciliumloadbalancerippools/bench")?;
        let text = pool["status"]["conditions"].to_string();
        if text.contains("\"65536\"") { Ok(()) } else { Err(text) }
    });
    let [agent, operator] = memory;
    vec![time(created), time(announced), time(deleted), time(withdrawn), agent, operator]
}
