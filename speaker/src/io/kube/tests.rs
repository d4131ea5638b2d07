//! Watches against an API server whose every answer the test gives.

mod custom;
mod server;

use std::time::Duration;

use serde_json::{Value as Json, json};
use server::{Hub, pool, server, service, start, words};
use speaker_config::objects::Object;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

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
    call.finished(lines.concat());
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
