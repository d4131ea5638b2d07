//! Services of a real API server, from the request to the route at a BGP peer, beside the least that any client
//! of that API server needs for the same.

mod contender;

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use hyper::http::Method;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tests::cluster::{Backend, Cluster, endpoint_slice};
use tests::lab::Lab;
use tests::wait::eventually;

use crate::listener::Listener;
use crate::report::{megabytes, quantile, table, time};
use crate::usage::Usage;
use crate::{Options, heading};
pub(crate) use contender::METALLB;
use contender::{Contender, Start};

const BURST: usize = 1000;
const SERVICES: &str = "/api/v1/namespaces/default/services";
/// Between two Services that come one after the other: MetalLB's client holds back what goes beyond 20 requests a
/// second, and that is not what is measured here.
const PAUSE: Duration = Duration::from_millis(300);
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const SOON: Duration = Duration::from_secs(60);

/// Runs it and prints the tables. One contender after the other has the same API server to itself.
pub(crate) fn run(options: &Options) {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab);
    let floor = floor(&cluster, options.samples);
    endpoints(&cluster, options.samples);
    let (mut singles, mut bursts) = (vec![row("the API's floor", &floor)], Vec::new());
    let contenders: [(&str, Start); 2] = [("speaker", Contender::speaker), (METALLB, Contender::metallb)];
    for (name, start) in contenders {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        let contender = start(&lab, &cluster);
        singles.push(row(contender.name, &one_by_one(&cluster, &contender.peer, options.samples)));
        // Ours has so many, MetalLB takes a minute each.
        let runs = if name == METALLB { 1 } else { options.runs };
        bursts.extend((0..runs).map(|_| burst(&cluster, &contender)));
    }
    heading(&format!("Kubernetes: one Service after the other, {} samples", options.samples));
    let names = ["", "create → announced, p50", "p99", "delete → withdrawn, p50", "p99"];
    table(&names, &singles);
    heading(&format!("Kubernetes: {BURST} Services at once"));
    let names =
        ["", "creates answered", "announced", "deletes answered", "withdrawn", "agent RSS", "allocator RSS"];
    table(&names, &bursts);
}

fn row(name: &str, of: &(Vec<Duration>, Vec<Duration>)) -> Vec<String> {
    let cells = [&of.0, &of.1].map(|s| [time(quantile(s, 0.5)), time(quantile(s, 0.99))]);
    [vec![name.to_owned()], cells.concat()].concat()
}

/// A ready endpoint for each Service that will come: MetalLB announces none without.
fn endpoints(cluster: &Cluster, samples: usize) {
    let ones = (0..samples).map(|n| format!("one-{n}")).chain(["first".to_owned()]);
    let names = ones.chain((0..BURST).map(burst_name));
    let slices = names.map(|name| {
        let backends = [Backend::new("10.128.0.1", "elsewhere")];
        (SLICES.to_owned(), endpoint_slice("default", &name, 80, &backends))
    });
    cluster.rest().send_all(&Method::POST, slices.collect());
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
                    // A young API server makes its own one meanwhile.
                    WatchEvent::Added(service) if service.metadata.name.as_deref() == Some("kubernetes") => {}
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
            tokio::time::sleep(PAUSE).await;
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
        std::thread::sleep(PAUSE);
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

fn burst_name(n: usize) -> String {
    format!("burst-{n:04}")
}

/// Creates and deletes, sixteen at a time; each figure is from the first request on.
fn burst(cluster: &Cluster, contender: &Contender) -> Vec<String> {
    let rest = cluster.rest();
    let creates = (0..BURST).map(|n| (SERVICES.to_owned(), manifest(&burst_name(n)))).collect();
    let begun = Instant::now();
    rest.send_all(&Method::POST, creates);
    let created = begun.elapsed();
    let announced = contender.peer.wait("every route", |heard| {
        (heard.present.len() == BURST).then(|| heard.present.values().max().copied()).flatten()
    });
    let announced = announced - begun;
    let memory = [&contender.agent, &contender.allocator].map(|p| megabytes(Usage::of(p.pid()).resident));
    let deletes = (0..BURST).map(|n| (format!("{SERVICES}/{}", burst_name(n)), Value::Null)).collect();
    let begun = Instant::now();
    rest.send_all(&Method::DELETE, deletes);
    let deleted = begun.elapsed();
    let withdrawn = contender.peer.wait("every withdrawal", |heard| {
        heard.present.is_empty().then(|| heard.gone.values().max().copied()).flatten()
    });
    let withdrawn = withdrawn - begun;
    eventually(SOON, "the pool is empty again", || (contender.is_empty)(cluster));
    let [agent, allocator] = memory;
    vec![
        contender.name.to_owned(),
        time(created),
        time(announced),
        time(deleted),
        time(withdrawn),
        agent,
        allocator,
    ]
}
