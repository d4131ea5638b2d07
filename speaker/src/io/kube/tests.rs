//! Watches against an API server whose every answer the test gives.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value as Json, json};
use speaker_config::objects::{Object, ObjectRef};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::*;

type Answer = Response<axum::body::Body>;

/// The API server.
struct Server(mpsc::Receiver<(Request<Body>, oneshot::Sender<Answer>)>);

/// A request that waits for its answer.
struct Call {
    target: String,
    reply: oneshot::Sender<Answer>,
}

/// A watch under way.
struct Watch(mpsc::Sender<Result<Bytes, std::io::Error>>);

fn server() -> (kube::Client, Server) {
    let (sender, receiver) = mpsc::channel(16);
    let service = tower::service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            sender.send((request, reply)).await.map_err(|_| std::io::Error::other("the test is over"))?;
            answer.await.map_err(|_| std::io::Error::other("connection refused"))
        }
    });
    (kube::Client::new(service, "default"), Server(receiver))
}

impl Server {
    /// The next request, which must be for `target`: the path and what its query must hold.
    async fn call(&mut self, target: &str) -> Call {
        let next = timeout(Duration::from_secs(600), self.0.recv()).await;
        let (request, reply) = next.unwrap_or_else(|_| panic!("nobody asked for {target}")).unwrap();
        let asked = request.uri().to_string();
        for part in target.split('&') {
            assert!(asked.contains(part), "{asked} instead of {target}");
        }
        Call { target: asked, reply }
    }

    async fn list(&mut self, version: &str, items: &[Json]) {
        let call = self.call("limit=200").await;
        assert!(!call.target.contains("watch"), "{}", call.target);
        call.page(version, items, "");
    }

    async fn watch(&mut self, version: &str) -> Watch {
        let call = self.call(&format!("watch=true&resourceVersion={version}")).await;
        assert!(call.target.contains("allowWatchBookmarks=true"), "{}", call.target);
        call.stream()
    }

    /// The question whether the server is older than what we know.
    async fn version(&mut self, version: &str) {
        self.call("limit=1").await.page(version, &[], "");
    }
}

impl Call {
    fn json(self, status: u16, body: &Json) {
        let body = axum::body::Body::from(body.to_string());
        let response = Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap();
        self.reply.send(response).unwrap();
    }

    fn page(self, version: &str, items: &[Json], token: &str) {
        self.json(200, &json!({"metadata": {"resourceVersion": version, "continue": token}, "items": items}));
    }

    fn refuse(self, code: u16, message: &str) {
        self.json(code, &json!({"kind": "Status", "status": "Failure", "code": code, "message": message}));
    }

    fn stream(self) -> Watch {
        let (sender, receiver) = mpsc::channel(64);
        let lines =
            stream::unfold(receiver, |mut lines| async { lines.recv().await.map(|line| (line, lines)) });
        self.reply.send(Response::new(axum::body::Body::from_stream(lines))).unwrap();
        Watch(sender)
    }
}

impl Watch {
    async fn event(&self, kind: &str, object: &Json) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.0.send(Ok(Bytes::from(line))).await.unwrap();
    }

    async fn break_off(self) {
        self.0.send(Err(std::io::Error::other("connection reset"))).await.unwrap();
    }
}

fn service(name: &str, version: &str) -> Json {
    json!({
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version, "uid": format!("uid-{name}")},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    })
}

fn pool(name: &str, version: &str) -> Json {
    json!({
        "metadata": {"name": name, "resourceVersion": version},
        "spec": {"blocks": [{"cidr": "192.0.2.0/24"}]},
    })
}

/// The hub's end.
struct Hub(mpsc::Receiver<SourceBatch>);

fn start(kind: ObjectKind, filter: Filter) -> (Server, Hub) {
    let (client, server) = server();
    let (batches, receiver) = mpsc::channel(16);
    drop(spawn_objects(client, kind, filter, batches, Clock::start()));
    (server, Hub(receiver))
}

impl Hub {
    async fn batch(&mut self) -> SourceBatch {
        let next = timeout(Duration::from_secs(600), self.0.recv()).await;
        next.expect("no batch came").expect("the watch ended")
    }

    /// The changes of the next batch that has some, in words.
    async fn changes(&mut self) -> Vec<String> {
        loop {
            let batch = self.batch().await;
            if !batch.changes.is_empty() {
                return batch.changes.iter().map(words).collect();
            }
        }
    }

    /// The faults as the next batch that tells them has them.
    async fn faults(&mut self) -> Vec<String> {
        loop {
            if let Some(faults) = self.batch().await.faults {
                return faults;
            }
        }
    }

    fn nothing(&mut self) {
        assert!(self.0.try_recv().is_err());
    }
}

fn words(change: &ObjectChange) -> String {
    match change {
        ObjectChange::Upsert(object) => format!("+{}", short(&object.reference())),
        ObjectChange::Delete(reference) => format!("-{}", short(reference)),
    }
}

fn short(reference: &ObjectRef) -> String {
    match reference {
        ObjectRef::Service(key) | ObjectRef::EndpointSlice(key) => key.name.clone(),
        ObjectRef::Pool(name) | ObjectRef::Node(name) => name.clone(),
        other => other.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_list_comes_in_pages_and_is_complete_with_the_last() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    let first = server.call("/api/v1/services?&limit=200").await;
    assert!(!first.target.contains("continue"), "{}", first.target);
    first.page("7", &[service("a", "5")], "more");
    let batch = hub.batch().await;
    assert_eq!((&*batch.source, batch.synced), ("services", false));
    server.call("continue=more").await.page("7", &[service("b", "6")], "");
    let batch = hub.batch().await;
    assert!(batch.synced);
    assert_eq!(batch.changes.iter().map(words).collect::<Vec<_>>(), ["+b"]);
    let watch = server.watch("7").await;
    watch.event("MODIFIED", &service("a", "8")).await;
    assert_eq!(hub.changes().await, ["+a"]);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_there_together_are_handed_over_together() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    server.list("1", &[]).await;
    assert!(hub.batch().await.synced);
    let call = server.call("watch=true").await;
    let lines: Vec<String> = (2..5)
        .map(|n| {
            format!("{}\n", json!({"type": "ADDED", "object": service(&format!("s{n}"), &n.to_string())}))
        })
        .collect();
    call.reply.send(Response::new(axum::body::Body::from(lines.concat()))).unwrap();
    assert_eq!(hub.changes().await, ["+s2", "+s3", "+s4"]);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_takes_nothing_back_and_a_watch_goes_on_where_it_was() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    server.list("1", &[service("a", "1")]).await;
    assert_eq!(hub.changes().await, ["+a"]);
    let watch = server.watch("1").await;
    watch.event("MODIFIED", &service("a", "9")).await;
    assert_eq!(hub.changes().await, ["+a"]);
    watch.break_off().await;
    let faults = hub.faults().await;
    assert!(
        faults[0].contains("connection reset") && faults[0].contains("what was known stays"),
        "{faults:?}"
    );
    // Refused a hundred times: minutes.
    for _ in 0..100 {
        drop(server.call("/api/v1/services").await);
    }
    server.version("12").await;
    assert!(hub.faults().await[0].contains("connection refused"));
    assert_eq!(hub.faults().await, Vec::<String>::new());
    let watch = server.watch("9").await;
    hub.nothing();
    watch.event("DELETED", &service("a", "13")).await;
    assert_eq!(hub.changes().await, ["-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_leads_to_a_list_and_the_difference() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    server.list("1", &[service("a", "1"), service("b", "1")]).await;
    assert_eq!(hub.changes().await, ["+a", "+b"]);
    let watch = server.watch("1").await;
    let gone =
        json!({"kind": "Status", "status": "Failure", "code": 410, "message": "too old resource version"});
    watch.event("ERROR", &gone).await;
    // The list fails in the middle, and the next one counts as a whole.
    server.call("limit=200").await.page("20", &[service("a", "1")], "more");
    server.call("continue=more").await.refuse(410, "the continue token has expired");
    server.list("21", &[service("b", "1"), service("c", "20")]).await;
    let mut seen = hub.changes().await;
    seen.extend(hub.changes().await);
    assert_eq!(seen, ["+a", "+b", "+c", "-a"]);
    server.watch("21").await;
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_moves_the_version_that_a_watch_begins_anew_at() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    server.list("1", &[]).await;
    assert!(hub.batch().await.synced);
    let watch = server.watch("1").await;
    let bookmark = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"resourceVersion": "500"}});
    watch.event("BOOKMARK", &bookmark).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(watch);
    server.watch("500").await;
    hub.nothing();
}

#[tokio::test(start_paused = true)]
async fn a_server_with_an_older_state_is_listed_anew() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    server.list("900", &[service("a", "800")]).await;
    assert_eq!(hub.changes().await, ["+a"]);
    server.watch("900").await.break_off().await;
    server.version("40").await;
    server.list("40", &[service("old", "30")]).await;
    assert_eq!(hub.changes().await, ["+old", "-a"]);
    server.watch("40").await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_goes_silent_is_given_up() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    server.list("1", &[]).await;
    assert!(hub.batch().await.synced);
    let silent = server.watch("1").await;
    let begun = tokio::time::Instant::now();
    server.version("1").await;
    assert!(begun.elapsed() < Duration::from_secs(310), "{:?}", begun.elapsed());
    server.watch("1").await;
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_shown_and_holds_nothing_back() {
    let (mut server, mut hub) = start(ObjectKind::SERVICES, Filter::default());
    let mut bad = service("bad", "1");
    bad["spec"]["ports"][0]["port"] = json!("http");
    server.list("1", &[bad.clone(), service("good", "1")]).await;
    let batch = hub.batch().await;
    assert!(batch.synced);
    assert_eq!(batch.changes.iter().map(words).collect::<Vec<_>>(), ["+good"]);
    let faults = batch.faults.unwrap();
    assert!(faults[0].starts_with("Service default/bad: spec.ports[0].port: "), "{faults:?}");
    let watch = server.watch("1").await;
    // One that was good stays what it was.
    bad["metadata"]["name"] = json!("good");
    bad["metadata"]["resourceVersion"] = json!("2");
    watch.event("MODIFIED", &bad).await;
    assert_eq!(hub.faults().await.len(), 2);
    watch.event("MODIFIED", &service("good", "3")).await;
    let batch = hub.batch().await;
    assert_eq!(batch.changes.iter().map(words).collect::<Vec<_>>(), ["+good"]);
    assert_eq!(batch.faults.unwrap().len(), 1);
    watch.event("DELETED", &service("bad", "4")).await;
    let batch = hub.batch().await;
    assert_eq!((batch.changes.len(), batch.faults), (0, Some(Vec::new())), "the hub never had it");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_installed_has_a_deadline_and_is_read_when_it_comes() {
    let (mut server, mut hub) = start(ObjectKind::POOLS, Filter::default());
    let begun = tokio::time::Instant::now();
    let mut asked = 0;
    let mut faults = Vec::new();
    loop {
        tokio::select! {
            call = server.call("/apis/cilium.io/") => {
                asked += 1;
                call.refuse(404, "the server could not find the requested resource");
            }
            batch = hub.batch() => {
                faults.extend(batch.faults.unwrap_or_default());
                if batch.synced { break }
            }
        }
    }
    assert!(begun.elapsed() >= watch::ABSENT, "{:?}", begun.elapsed());
    assert!(asked > 2 && faults[0].contains("ciliumloadbalancerippools.cilium.io"), "{asked} {faults:?}");
    // An older Cilium serves this version alone.
    loop {
        let call = server.call("/apis/cilium.io/").await;
        if call.target.contains("/v2alpha1/") {
            call.page("3", &[pool("blue", "2")], "");
            break;
        }
        call.refuse(404, "the server could not find the requested resource");
    }
    let batch = hub.batch().await;
    assert_eq!((batch.changes.len(), batch.faults), (1, Some(Vec::new())));
    let call = server.call("/apis/cilium.io/v2alpha1/ciliumloadbalancerippools&watch=true").await;
    drop(call.stream());
}

/// The operator writes nothing of BGP before it has the whole list of each kind.
#[tokio::test(start_paused = true)]
async fn an_empty_list_of_a_kind_that_came_late_is_handed_over_once() {
    let (client, mut server) = server();
    let (sender, mut batches) = mpsc::channel(16);
    let optional = Filter { optional: true, ..Filter::default() };
    drop(tokio::spawn(follow(client, ObjectKind::BGP_OVERRIDES, optional, sender, Clock::start())));
    let batch = loop {
        tokio::select! {
            call = server.call("/apis/cilium.io/") => call.refuse(404, "the server could not find it"),
            batch = batches.recv() => break batch.unwrap(),
        }
    };
    assert!(batch.synced && batch.part == Part::Watch, "there is none: {batch:?}");
    loop {
        let call = server.call("/apis/cilium.io/").await;
        if call.target.contains("/v2/") {
            call.page("7", &[], "");
            break;
        }
        call.refuse(404, "the server could not find it");
    }
    let batch = batches.recv().await.unwrap();
    assert_eq!((batch.part, batch.synced, batch.deltas.len()), (Part::LastPage, false, 0));
    // The same list again is no news.
    let watch = server.watch("7").await;
    watch.event("ERROR", &json!({"code": 410, "message": "too old"})).await;
    server.call("limit=").await.page("9", &[], "");
    let watch = server.watch("9").await;
    assert!(batches.try_recv().is_err());
    // But the same in another version is: writes are to go there.
    watch.event("ERROR", &json!({"code": 410, "message": "too old"})).await;
    server.call("/v2/").await.refuse(404, "the server could not find it");
    server.call("/v2alpha1/").await.page("11", &[], "");
    let batch = batches.recv().await.unwrap();
    assert_eq!((batch.part, batch.version, batch.deltas.len()), (Part::LastPage, "v2alpha1", 0));
}

fn discovery(verbs: &[&str]) -> Json {
    json!({
        "kind": "APIResourceList", "groupVersion": "cilium.io/v2",
        "resources": [{"name": "ciliumloadbalancerippools", "kind": "CiliumLoadBalancerIPPool", "verbs": verbs}],
    })
}

#[tokio::test(start_paused = true)]
async fn what_a_service_has_that_was_never_read_is_handed_over_until_it_is_gone() {
    let (client, mut server) = server();
    let (sender, mut batches) = mpsc::channel(16);
    drop(tokio::spawn(follow(client, ObjectKind::SERVICES, Filter::default(), sender, Clock::start())));
    // With a port that is none, and an address that is none.
    let with = |name: &str, version: &str, port: u32| {
        let mut one = service(name, version);
        one["spec"]["ports"][0]["port"] = port.into();
        one["status"] =
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"hostname": "x"}, {"ip": "?"}]}});
        one
    };
    server.list("1", &[with("a", "1", 0), service("b", "1")]).await;
    let batch = batches.recv().await.unwrap();
    let held: Vec<String> = batch.deltas.iter().map(|delta| format!("{delta:?}")).collect();
    assert!(batch.synced && held[0].starts_with("Held(") && held[0].contains("[192.0.2.7]"), "{held:?}");
    let watch = server.watch("1").await;
    // What was read once stays in force as it was read.
    watch.event("MODIFIED", &with("b", "2", 0)).await;
    assert!(batches.recv().await.unwrap().deltas.is_empty(), "a fault alone");
    watch.event("DELETED", &with("a", "3", 0)).await;
    let batch = batches.recv().await.unwrap();
    let gone = ObjectRef::Service(speaker_config::objects::ObjectKey::new("default", "a"));
    assert!(
        matches!(&batch.deltas[..], [Delta::Delete(reference)] if *reference == gone),
        "{:?}",
        batch.deltas
    );
}

#[tokio::test(start_paused = true)]
async fn cilium_nodes_are_asked_for_without_their_content_and_where_there_are_none_nobody_waits() {
    let (kind, filter) = cilium_nodes();
    let (mut server, mut hub) = start(kind, filter);
    let begun = tokio::time::Instant::now();
    let call = server.call("/apis/cilium.io/v2/ciliumnodes?").await;
    call.refuse(404, "the server could not find the requested resource");
    let batch = hub.batch().await;
    assert!(batch.synced && batch.faults.is_none() && begun.elapsed() < Duration::from_secs(1), "{batch:?}");
    let node = |version: &str| {
        let labels = json!({"fabric": "east"});
        json!({"metadata": {"name": "n1", "resourceVersion": version, "labels": labels}})
    };
    server.list("3", &[node("3")]).await;
    assert_eq!(hub.changes().await, ["+CiliumNode n1"]);
    // Cilium is removed: what it said stays, as with every definition.
    drop(server.watch("3").await);
    for _ in 0..2 {
        server.call("limit=").await.refuse(404, "the server could not find the requested resource");
    }
    assert!(hub.faults().await[0].contains("removed"));
}

#[tokio::test(start_paused = true)]
async fn a_built_in_kind_that_the_server_is_too_old_for_holds_nothing_up() {
    let optional = Filter { optional: true, dispensable: true, ..Filter::default() };
    let (mut server, mut hub) = start(ObjectKind::SERVICE_CIDRS, optional.clone());
    let begun = tokio::time::Instant::now();
    for version in ["v1", "v1beta1"] {
        let call = server.call(&format!("/apis/networking.k8s.io/{version}/servicecidrs?")).await;
        call.refuse(404, "the server could not find the requested resource");
    }
    let batch = hub.batch().await;
    assert!(batch.synced && batch.faults.is_none(), "{batch:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // After an upgrade it is there, and asked for again, though not often.
    let cidr = json!({"metadata": {"name": "kubernetes", "resourceVersion": "3"}, "spec": {"cidrs": ["10.96.0.0/12"]}});
    server.list("3", &[cidr]).await;
    assert!(begun.elapsed() > Duration::from_secs(29), "{:?}", begun.elapsed());
    assert_eq!(hub.changes().await, ["+ServiceCIDR kubernetes"]);

    let (mut server, mut hub) = start(ObjectKind::SERVICE_CIDRS, optional);
    server.call("servicecidrs").await.refuse(403, "servicecidrs is forbidden");
    let batch = hub.batch().await;
    assert!(batch.synced, "a role of an older release has no such right");
    assert!(batch.faults.unwrap()[0].contains("goes on without"));
}

#[tokio::test(start_paused = true)]
async fn the_deletion_of_a_custom_resource_counts_while_its_kind_stands() {
    let (mut server, mut hub) = start(ObjectKind::POOLS, Filter::default());
    server.list("1", &[pool("a", "1"), pool("b", "1")]).await;
    assert_eq!(hub.changes().await, ["+a", "+b"]);
    let watch = server.watch("1").await;
    watch.event("DELETED", &pool("a", "2")).await;
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["create", "delete", "list", "watch"]));
    assert_eq!(hub.changes().await, ["-a"]);
    // Nobody can say: asked again.
    watch.event("DELETED", &pool("b", "3")).await;
    drop(server.call("/apis/cilium.io/v2").await);
    hub.nothing();
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["create"]));
    assert_eq!(hub.changes().await, ["-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_definition_freezes_its_objects_and_its_return_has_a_deadline() {
    let (mut server, mut hub) = start(ObjectKind::POOLS, Filter::default());
    server.list("1", &[pool("a", "1"), pool("b", "1")]).await;
    assert_eq!(hub.changes().await, ["+a", "+b"]);
    let watch = server.watch("1").await;
    watch.event("DELETED", &pool("a", "2")).await;
    watch.event("DELETED", &pool("b", "2")).await;
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["delete", "list", "watch"]));
    let faults = hub.faults().await;
    assert!(faults[0].contains("removed") && faults[0].contains("2 objects"), "{faults:?}");
    drop(watch);
    for _ in 0..20 {
        server.call("/apis/cilium.io/").await.refuse(404, "the server could not find the requested resource");
    }
    hub.nothing();
    // It is back, and one of the two follows in time.
    loop {
        let call = server.call("/apis/cilium.io/").await;
        if call.target.contains("/v2/") {
            call.page("10", &[], "");
            break;
        }
        call.refuse(404, "the server could not find the requested resource");
    }
    assert_eq!(hub.faults().await, Vec::<String>::new());
    let watch = server.watch("10").await;
    watch.event("ADDED", &pool("a", "11")).await;
    assert_eq!(hub.changes().await, ["+a"]);
    let begun = tokio::time::Instant::now();
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["create"]));
    assert!(begun.elapsed() > watch::RETURN / 2, "{:?}", begun.elapsed());
    assert_eq!(hub.changes().await, ["-b"]);
}

#[tokio::test(start_paused = true)]
async fn missing_rights_are_told_and_are_no_empty_list() {
    let filter = Filter { labels: Some("kubernetes.io/service-name".to_owned()), ..Filter::default() };
    let (mut server, mut hub) = start(ObjectKind::ENDPOINT_SLICES, filter);
    let call = server.call("/apis/discovery.k8s.io/v1/endpointslices&labelSelector=kubernetes.io").await;
    call.refuse(403, "endpointslices.discovery.k8s.io is forbidden: User \"x\" cannot list resource");
    let batch = hub.batch().await;
    assert!(!batch.synced);
    let faults = batch.faults.unwrap();
    assert!(faults[0].contains("forbidden") && faults[0].contains("list and watch"), "{faults:?}");
    server.call("endpointslices").await.page("1", &[], "");
    assert!(hub.batch().await.synced);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_its_hub() {
    let (client, mut server) = server();
    let (batches, receiver) = mpsc::channel(16);
    let task = spawn_objects(client, ObjectKind::SERVICES, Filter::default(), batches, Clock::start());
    server.list("1", &[]).await;
    let _watch = server.watch("1").await;
    drop(receiver);
    timeout(Duration::from_secs(60), task).await.expect("it goes on").unwrap();
}

#[test]
fn what_is_kept_of_an_object_is_what_a_manifest_gives() {
    let read = kind::Kind::read(&ObjectKind::SERVICES, "v1", &service("a", "1")).unwrap();
    let Object::Service(read) = read else { panic!("{read:?}") };
    assert!(read.load_balancer);
    assert_eq!(read.key.to_string(), "default/a");
}

#[tokio::test(start_paused = true)]
async fn ciliums_bgp_kinds_are_waited_for_until_it_is_known_whose_they_are() {
    for (enabled, read) in [("false", true), ("true", false)] {
        let (client, mut server) = server();
        let connection =
            Connection { client, namespace: "speaker-system".to_owned(), server: "https://lab".to_owned() };
        let (batches, receiver) = mpsc::channel(16);
        let kinds: Vec<_> = agent_bgp_kinds("n1").into_iter().take(1).collect();
        let cilium = Cilium::follow(None, &connection, Duration::from_secs(3600));
        let running = spawn_bgp_kinds(cilium, connection.client, kinds, batches, Clock::start());
        let mut hub = Hub(receiver);
        let config = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
        drop(server.call(config).await);
        server.call(config).await.refuse(503, "etcd is away");
        assert!(hub.0.try_recv().is_err(), "nobody knows yet");
        let call = server.call(config).await;
        call.json(
            200,
            &json!({"metadata": {"name": "cilium-config"}, "data": {"enable-bgp-control-plane": enabled}}),
        );
        if read {
            server.call("/apis/cilium.io/v2/ciliumbgpclusterconfigs&limit=").await.page("7", &[], "");
        }
        let batch = hub.0.recv().await.unwrap();
        assert_eq!((&*batch.source, batch.synced), ("ciliumbgpclusterconfigs", true), "{enabled}");
        assert!(batch.changes.is_empty());
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_sign_that_ciliums_control_plane_is_off() {
    const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
    const WHY: &str = "configmaps \"cilium-config\" is forbidden";
    let connect = || {
        let (client, server) = server();
        let connection =
            Connection { client, namespace: "speaker-system".to_owned(), server: "https://lab".to_owned() };
        (Cilium::follow(None, &connection, Duration::from_secs(30)), server)
    };
    let says =
        |on: &str| json!({"metadata": {"name": "cilium-config"}, "data": {"enable-bgp-control-plane": on}});
    // It was on, and an API server that has just started, or a token that has run out, says nothing else.
    let (mut cilium, mut server) = connect();
    server.call(CONFIG).await.json(200, &says("true"));
    cilium.first().await;
    for code in [403, 403, 401, 403, 403, 403, 403] {
        let call = server.call(CONFIG).await;
        assert!(cilium.is_on());
        call.refuse(code, WHY);
    }
    let call = server.call(CONFIG).await;
    assert!(cilium.is_on());
    call.json(200, &says("false"));
    cilium.differs(true).await;
    assert!(!cilium.is_on());

    // Nothing was known: it counts as off when it has been refused for a while.
    let (mut cilium, mut server) = connect();
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        let call = server.call(CONFIG).await;
        assert!(cilium.is_on());
        call.refuse(403, WHY);
    }
    cilium.first().await;
    assert!(!cilium.is_on() && begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
