//! The finalizer by which a deleted Service is held.

use serde_json::json;
use speaker_config::model::DefaultClass;

use super::super::*;
use super::api::{Api, pool, service, settings};
use crate::node_ipam::NODE_CLASS;

const HOLD: Duration = Duration::from_secs(5);

fn api() -> Api {
    let mut api = Api::with(OperatorSettings { hold_deleted: HOLD, ..settings() });
    api.put_pool(pool("blue", 1, &["192.0.2.0/24"]));
    api
}

fn exists(api: &Api, name: &str) -> bool {
    api.objects.contains_key(&ObjectRef::Service(ObjectKey::new("default", name)))
}

#[test]
fn it_stands_before_an_address_is_given_and_goes_when_the_time_is_over() {
    let mut api = api();
    api.put(Object::Service(Box::new(service("web"))));
    while api.echo() {}
    api.turn();
    assert_eq!(
        api.patches[0].body("v1"),
        json!({"metadata": {
            "resourceVersion": api.patches[0].version.resource_version,
            "finalizers": ["service.kubernetes.io/load-balancer-cleanup"],
            "annotations": {"speaker.holds-deleted": "true"},
        }})
    );
    assert_eq!((api.patches[0].subresource(), api.patches[0].kind()), (None, PatchKind::StrategicMerge));
    assert!(api.ips("web").is_empty());
    api.settle();
    assert_eq!((api.ips("web"), api.writes("web")), (vec!["192.0.2.0".to_owned()], 2));
    assert!(api.notes.iter().any(|note| note.contains("IPAllocated")), "{:?}", api.notes);
    // Deleted: it stays as it is for so long, with its address.
    let began = api.now;
    let mut web = api.get("web").clone();
    web.deleting = true;
    api.put(Object::Service(Box::new(web)));
    while api.echo() {}
    api.turn();
    assert!(api.patches.is_empty());
    assert_eq!(api.operator.deadline(), Some(began + HOLD));
    api.now = began + HOLD;
    api.turn();
    let body = api.patches[0].body("v1");
    assert_eq!(
        body["metadata"]["$deleteFromPrimitiveList/finalizers"],
        json!(["service.kubernetes.io/load-balancer-cleanup"])
    );
    assert_eq!(body["metadata"]["annotations"], json!({"speaker.holds-deleted": null}));
    api.settle();
    assert!(!exists(&api, "web"));
    assert_eq!(api.operator.deadline(), None);
}

#[test]
fn a_new_leader_begins_to_count_and_never_holds_for_good() {
    let mut api = api();
    api.serve(service("web"));
    let mut web = api.get("web").clone();
    web.deleting = true;
    api.put(Object::Service(Box::new(web)));
    api.fail_over();
    let began = api.now;
    api.settle();
    assert!(!exists(&api, "web"));
    // The counts of the pool go last.
    assert_eq!(api.now, began + HOLD + POOL_STATUS_AFTER);
}

#[test]
fn what_is_not_announced_or_is_somebody_elses_is_left_alone() {
    let mut api = api();
    let mut cluster = service("inside");
    cluster.load_balancer = false;
    let mut node = service("node");
    node.class = Some(NODE_CLASS.to_owned());
    let mut cloud = service("cloud");
    cloud.cleanup = Cleanup::Others;
    for one in [cluster, node, cloud] {
        api.serve(one);
    }
    assert_eq!(api.get("cloud").cleanup, Cleanup::Others);
    assert_eq!(api.get("inside").cleanup, Cleanup::None);
    assert_eq!(api.get("node").cleanup, Cleanup::None);
    // One that becomes no load balancer is not held any more.
    api.serve(service("web"));
    assert_eq!(api.get("web").cleanup, Cleanup::Ours);
    api.edit("web", |web| web.load_balancer = false);
    assert_eq!(api.get("web").cleanup, Cleanup::None);
}

#[test]
fn turned_off_it_is_taken_back_from_the_living_and_the_deleted() {
    let mut api = api();
    api.serve(service("web"));
    api.serve(service("gone"));
    let mut gone = api.get("gone").clone();
    gone.deleting = true;
    api.put(Object::Service(Box::new(gone)));
    api.settings = settings();
    api.fail_over();
    let began = api.now;
    api.settle();
    let seen = (api.get("web").cleanup, exists(&api, "gone"), api.now);
    assert_eq!(seen, (Cleanup::None, false, began + POOL_STATUS_AFTER), "the counts of the pool go last");
    // Node IPAM by default: nobody announces such Services.
    let held = Detained::new(HOLD, DefaultClass::NodeIpam);
    assert_eq!(held.change(&service("web"), began), None);
}
