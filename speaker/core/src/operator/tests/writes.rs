//! How writes are made: once, bounded, on top of a version.

use serde_json::json;
use speaker_config::model::DefaultClass;
use speaker_config::objects::{L2AnnouncementPolicy, Node};

use super::super::*;
use super::api::{Api, foreign_condition, pool, service, settings};
use crate::node_ipam::{NODE_CLASS, NODE_SATISFIED};

#[test]
fn a_services_patch_has_our_fields_alone() {
    let mut api = Api::new();
    api.put(Object::Pool(pool("blue", 1, &["192.0.2.10-192.0.2.50"])));
    let mut web = service("web");
    web.conditions.push(foreign_condition());
    api.put(Object::Service(Box::new(web)));
    while api.echo() {}
    api.turn();
    let patch = api.patches.iter().find(|patch| matches!(patch.target, ObjectRef::Service(_))).unwrap();
    assert_eq!(patch.kind(), PatchKind::StrategicMerge);
    assert_eq!(
        patch.body("v1"),
        json!({
            "metadata": {"resourceVersion": "2"},
            "status": {
                "loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]},
                "conditions": [{
                    "type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied",
                    "message": "", "observedGeneration": 1, "lastTransitionTime": "1970-01-01T00:01:40Z",
                }],
            },
        })
    );
    api.settle();
    assert_eq!(api.get("web").conditions[0], foreign_condition());
    // The condition alone, with the time at which its status became what it is.
    api.wall = 200;
    api.put(Object::Service(Box::new({
        let mut web = api.get("web").clone();
        web.generation = 2;
        web
    })));
    while api.echo() {}
    api.turn();
    let body = api.patches[0].body("v1");
    assert_eq!(body["status"].get("loadBalancer"), None);
    assert_eq!(body["status"]["conditions"][0]["observedGeneration"], 2);
    assert_eq!(body["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:40Z");
    api.settle();
    // Not ours any more: our address and our condition go.
    api.put(Object::Service(Box::new({
        let mut web = api.get("web").clone();
        web.class = Some("example.com/other".to_owned());
        web
    })));
    while api.echo() {}
    api.turn();
    assert_eq!(
        api.patches[0].body("v1")["status"],
        json!({
            "loadBalancer": {"ingress": null},
            "conditions": [{"$patch": "delete", "type": "cilium.io/IPAMRequestSatisfied"}],
        })
    );
    api.settle();
    assert_eq!(api.get("web").conditions, [foreign_condition()]);
}

#[test]
fn a_pools_patch_is_applied_with_all_of_our_conditions() {
    let mut api = Api::new();
    api.put(Object::Pool(pool("six", 1, &["2001:db8::/64"])));
    while api.echo() {}
    api.turn();
    assert!(api.patches.is_empty(), "the agents are told of Services first");
    api.now = api.now + POOL_STATUS_AFTER;
    api.turn();
    let patch = &api.patches[0];
    assert_eq!(patch.kind(), PatchKind::Apply);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
            "lastTransitionTime": "1970-01-01T00:01:40Z",
        })
    };
    assert_eq!(
        patch.body("cilium.io/v2alpha1"),
        json!({
            "apiVersion": "cilium.io/v2alpha1", "kind": "CiliumLoadBalancerIPPool",
            "metadata": {"name": "six", "resourceVersion": "1"},
            "status": {"conditions": [
                condition("cilium.io/PoolConflict", "False", "resolved", ""),
                condition("cilium.io/IPsTotal", "Unknown", "noreason", "18446744073709551616"),
                condition("cilium.io/IPsAvailable", "Unknown", "noreason", "18446744073709551616"),
                condition("cilium.io/IPsUsed", "Unknown", "noreason", "0"),
            ]},
        })
    );
}

#[test]
fn a_faulty_l2_policy_is_told_so_once_and_when_it_is_mended() {
    let mut api = Api::new();
    let mut policy = L2AnnouncementPolicy {
        name: "segment".to_owned(),
        generation: 1,
        interfaces: vec!["eth(".to_owned()],
        ..L2AnnouncementPolicy::default()
    };
    api.put(Object::L2AnnouncementPolicy(policy.clone()));
    while api.echo() {}
    api.turn();
    let body = api.patches[0].body("cilium.io/v2alpha1");
    assert_eq!(
        (body["kind"].as_str(), body["metadata"]["name"].as_str()),
        (Some("CiliumL2AnnouncementPolicy"), Some("segment"))
    );
    let condition = &body["status"]["conditions"][0];
    assert_eq!(condition["type"], "io.cilium/bad-interface-regex");
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("error")));
    api.settle();
    let target = ObjectRef::L2AnnouncementPolicy("segment".to_owned());
    assert_eq!(api.stored[&target], 1);
    let Object::L2AnnouncementPolicy(stored) = &api.objects[&target].0 else { panic!() };
    policy = stored.clone();
    policy.interfaces = vec!["eth0".to_owned()];
    policy.generation = 2;
    api.put(Object::L2AnnouncementPolicy(policy));
    api.settle();
    let Object::L2AnnouncementPolicy(stored) = &api.objects[&target].0 else { panic!() };
    assert_eq!((api.stored[&target], stored.conditions[0].status.as_str()), (2, "False"));
}

#[test]
fn a_burst_is_written_once_each_and_so_many_at_once() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/16"]));
    for index in 0..1000 {
        api.put(Object::Service(Box::new(service(&format!("web-{index:04}")))));
    }
    // Answers come one by one, echoes late, and something touches the Services meanwhile.
    let mut steps = 0;
    loop {
        if steps % 3 == 0 || api.patches.is_empty() {
            while api.echo() {}
        }
        if steps % 97 == 0 && steps < 3000 {
            let mut touched = api.get(&format!("web-{:04}", steps % 1000)).clone();
            touched.labels.insert("touched".to_owned(), steps.to_string());
            api.put(Object::Service(Box::new(touched)));
        }
        api.turn();
        if !api.answer() && api.echoes.is_empty() {
            break;
        }
        steps += 1;
    }
    api.settle();
    for index in 0..1000 {
        let name = format!("web-{index:04}");
        assert_eq!((api.ips(&name).len(), api.writes(&name)), (1, 1), "{name}");
    }
    assert_eq!(api.counts("blue"), ["False", "65536", "64536", "1000"]);
    let pool_writes = api.stored[&ObjectRef::Pool("blue".to_owned())];
    assert!(pool_writes <= 3, "{pool_writes} writes of one pool while no time passed");
}

#[test]
fn a_refused_write_waits_for_the_watch_and_is_decided_again() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/24"]));
    api.put(Object::Service(Box::new(service("web"))));
    while api.echo() {}
    api.turn();
    // Somebody is faster; the watch has not shown it.
    let mut changed = api.get("web").clone();
    changed.annotations.insert("lbipam.cilium.io/ips".to_owned(), "10.0.0.7".to_owned());
    api.put(Object::Service(Box::new(changed)));
    assert!(api.answer());
    for _ in 0..3 {
        api.turn();
        assert_eq!(api.patches.len(), 0, "nothing is written before the watch shows what is there");
    }
    api.settle();
    assert_eq!((api.ips("web"), api.writes("web")), (vec!["10.0.0.7".to_owned()], 1));
    assert_eq!(api.operator.figures().counters, Counters { written: 3, conflicts: 1, failed: 0 });
}

#[test]
fn the_echo_may_come_before_the_answer() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/24"]));
    api.put(Object::Service(Box::new(service("web"))));
    while api.echo() {}
    api.turn();
    let patch = api.patches.pop_front().unwrap();
    let outcome = api.store(&patch);
    while api.echo() {}
    api.turn();
    assert!(api.patches.iter().all(|other| other.target != patch.target), "one write at a time");
    api.operator.ended(&patch.target, &outcome, api.now);
    api.settle();
    assert_eq!(api.writes("web"), 1);
}

#[test]
fn a_write_that_fails_is_tried_again_later_and_later() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/24"]));
    api.put(Object::Service(Box::new(service("web"))));
    while api.echo() {}
    let web = ObjectRef::Service(service("web").key);
    let (mut waits, mut last) = (Vec::new(), api.now);
    while waits.len() < 13 {
        api.turn();
        let Some(patch) = api.patches.pop_front() else {
            api.now = api.operator.deadline().expect("it is tried again");
            continue;
        };
        let outcome = if patch.target == web {
            waits.push((api.now - last).as_millis());
            last = api.now;
            Outcome::Failed
        } else {
            api.store(&patch)
        };
        api.operator.ended(&patch.target, &outcome, api.now);
        while api.echo() {}
    }
    waits.remove(0);
    assert_eq!(waits[..4], [250, 500, 1000, 2000]);
    assert_eq!(waits[10..], [256_000, 300_000]);
    api.settle();
    assert_eq!((api.ips("web").len(), api.writes("web")), (1, 1));
}

#[test]
fn what_has_changed_its_mind_before_its_turn_is_not_written() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/16"]));
    for index in 0..100 {
        api.put(Object::Service(Box::new(service(&format!("web-{index:02}")))));
    }
    while api.echo() {}
    api.turn();
    assert_eq!(api.patches.len(), WRITES_AT_ONCE);
    // The last one wants something else before its turn comes.
    let mut last = api.get("web-99").clone();
    last.annotations.insert("lbipam.cilium.io/ips".to_owned(), "10.0.9.9".to_owned());
    api.put(Object::Service(Box::new(last)));
    api.remove(&ObjectRef::Service(service("web-98").key));
    api.settle();
    assert_eq!((api.ips("web-99"), api.writes("web-99")), (vec!["10.0.9.9".to_owned()], 1));
    assert_eq!(api.stored.get(&ObjectRef::Service(service("web-98").key)), None);
}

#[test]
fn a_pools_counts_are_written_no_more_often_than_said() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/24"]));
    let target = ObjectRef::Pool("blue".to_owned());
    let start = api.now;
    let before = api.stored[&target];
    for index in 0..20 {
        api.put(Object::Service(Box::new(service(&format!("web-{index}")))));
        for _ in 0..4 {
            while api.echo() {}
            api.turn();
            while api.answer() {}
        }
        api.now = api.now + Duration::from_millis(100);
    }
    api.settle();
    let most = usize::try_from(api.now.since(start).as_millis() / POOL_STATUS_EVERY.as_millis()).unwrap() + 1;
    let writes = api.stored[&target] - before;
    assert!(writes <= most && writes >= 3, "{writes} of at most {most}");
    assert_eq!(api.counts("blue"), ["False", "256", "236", "20"]);
}

#[test]
fn events_follow_what_they_tell_and_are_bounded() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/16"]));
    api.put(Object::Service(Box::new(service("web"))));
    while api.echo() {}
    api.turn();
    assert_eq!(api.notes, [""; 0], "nothing is told before it is stored");
    api.settle();
    assert_eq!(api.notes, ["Service default/web IPAllocated Assigned 10.0.0.0"]);
    api.delete("web");
    assert_eq!(api.notes[1..], ["Service default/web IPReleased Released 10.0.0.0: the Service is deleted"]);
    // So many at once, then one now and then; what people must know goes first.
    api.notes.clear();
    let start = api.now + Duration::from_secs(60);
    api.now = start;
    for index in 0..300 {
        api.put(Object::Service(Box::new(service(&format!("web-{index:03}")))));
    }
    let mut bad = service("zz-bad");
    bad.annotations.insert("lbipam.cilium.io/pool".to_owned(), "absent".to_owned());
    api.put(Object::Service(Box::new(bad)));
    loop {
        while api.echo() {}
        api.turn();
        if !api.answer() && api.echoes.is_empty() {
            break;
        }
    }
    assert_eq!(api.notes.len(), EVENTS_AT_ONCE as usize);
    api.settle();
    assert_eq!(api.notes.len(), 301);
    let bad = api.notes.iter().position(|note| note.contains("zz-bad IPAllocationFailed")).unwrap();
    assert_eq!(bad, EVENTS_AT_ONCE as usize, "the first after the burst");
    let took = api.now.since(start);
    assert!(took >= EVENT_EVERY * 200 && took <= EVENT_EVERY * 203, "{took:?}");
    assert_eq!(api.operator.figures().events_dropped, 0);
}

#[test]
fn more_events_than_may_wait_are_dropped_and_counted() {
    let mut notes = Notes::new();
    for index in 0..EVENTS_WAITING + 10 {
        let reason = if index == 3 {
            crate::ipam::EventReason::AllocationFailed
        } else {
            crate::ipam::EventReason::Allocated
        };
        let key = ObjectKey::new("default", index.to_string());
        notes.push(Note::of_service(key, String::new(), reason, String::new()));
    }
    assert_eq!(notes.dropped, 10);
    let first = notes.take(Timestamp::ZERO).remove(0);
    assert_eq!(first.object, ObjectRef::Service(ObjectKey::new("default", "3")));
}

#[test]
fn a_successor_writes_nothing_that_is_recorded_and_moves_nobody() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0-10.0.0.9"]));
    for index in 0..8 {
        api.serve(service(&format!("web-{index}")));
    }
    // Killed in the middle: some are stored, of some the patch is lost, one is stored and nobody knows.
    for index in 8..14 {
        api.put(Object::Service(Box::new(service(&format!("a-{index}")))));
    }
    while api.echo() {}
    api.turn();
    let patch = api.patches.pop_back().unwrap();
    api.store(&patch);
    let before: Vec<_> = (0..8).map(|index| api.ips(&format!("web-{index}"))).collect();
    api.stored.clear();
    api.fail_over();
    api.settle();
    let after: Vec<_> = (0..8).map(|index| api.ips(&format!("web-{index}"))).collect();
    assert_eq!(before, after, "satisfied Services come first, though others would precede them by name");
    assert!((0..8).all(|index| api.writes(&format!("web-{index}")) == 0));
    assert_eq!(api.counts("blue"), ["False", "10", "0", "10"]);
    api.stored.clear();
    api.fail_over();
    api.settle();
    assert_eq!(api.stored, BTreeMap::new());
}

#[test]
fn a_service_changes_hands_between_the_two_allocators() {
    let mut api = Api::with(OperatorSettings {
        hold_deleted: Duration::ZERO,
        l2_policies: false,
        node_ipam: NodeIpamSettings { enabled: true, default_class: DefaultClass::LbIpam },
        ..settings()
    });
    api.put_pool(pool("blue", 1, &["10.0.0.0/24"]));
    let node = Node { name: "n1".into(), internal_ips: vec!["10.9.0.1".parse().unwrap()], ..Node::default() };
    api.put(Object::Node(node));
    api.serve(service("web"));
    let mut by_node = service("node");
    by_node.class = Some(NODE_CLASS.to_owned());
    by_node.conditions.push(foreign_condition());
    api.serve(by_node);
    let kinds = |api: &Api, name: &str| -> Vec<String> {
        api.get(name).conditions.iter().map(|one| one.kind.clone()).collect()
    };
    assert_eq!((api.ips("web"), kinds(&api, "web")), (vec!["10.0.0.0".into()], vec![SATISFIED.into()]));
    assert_eq!(api.ips("node"), ["10.9.0.1"]);
    assert_eq!(kinds(&api, "node"), ["example.com/Other", NODE_SATISFIED]);
    for restarted in [false, true] {
        api.edit("web", |web| web.class = Some(NODE_CLASS.to_owned()));
        if restarted {
            api.fail_over();
            api.settle();
        }
        assert_eq!(
            (api.ips("web"), kinds(&api, "web")),
            (vec!["10.9.0.1".into()], vec![NODE_SATISFIED.into()])
        );
        api.edit("web", |web| web.class = None);
        assert_eq!(kinds(&api, "web"), [SATISFIED]);
        assert!(api.ips("web")[0].starts_with("10.0.0."), "{:?}", api.ips("web"));
        api.edit("web", |web| web.load_balancer = false);
        assert_eq!((api.ips("web").len(), kinds(&api, "web").len()), (0, 0));
        api.edit("web", |web| web.load_balancer = true);
    }
    // The setting changes with a restart: class-less Services go to the nodes.
    let default_class = DefaultClass::NodeIpam;
    api.settings = OperatorSettings {
        hold_deleted: Duration::ZERO,
        l2_policies: false,
        ipam: Some(IpamSettings { default_class, ..IpamSettings::default() }),
        node_ipam: NodeIpamSettings { enabled: true, default_class },
        ..OperatorSettings::default()
    };
    api.fail_over();
    api.settle();
    assert_eq!((api.ips("web"), kinds(&api, "web")), (vec!["10.9.0.1".into()], vec![NODE_SATISFIED.into()]));
}

#[test]
fn a_dangerous_pool_is_told_of_once_its_surroundings_are_known() {
    use speaker_config::objects::{ObjectRef, ServiceCidr};

    let surroundings = BTreeSet::from(["servicecidrs".to_owned(), "nodes".to_owned()]);
    let mut api = Api::with(OperatorSettings { surroundings, ..super::api::settings() });
    api.put(Object::Pool(pool("blue", 1, &["10.96.7.0/28"])));
    let cidr = ServiceCidr { name: "kubernetes".into(), cidrs: vec!["10.96.0.0/12".parse().unwrap()] };
    api.put(Object::ServiceCidr(cidr));
    api.settle();
    let told = |api: &Api| api.notes.iter().filter(|note| note.contains("DangerousAddresses")).count();
    let recorded = |api: &Api| match &api.objects[&ObjectRef::Pool("blue".into())].0 {
        Object::Pool(pool) => pool.conditions.iter().any(|one| one.kind == crate::ipam::DANGEROUS),
        _ => false,
    };
    assert_eq!((told(&api), recorded(&api)), (0, false));
    api.operator.synced("servicecidrs");
    api.settle();
    assert_eq!((told(&api), recorded(&api)), (0, false));
    api.operator.synced("nodes");
    api.settle();
    assert_eq!((told(&api), recorded(&api)), (1, true), "{:?}", api.notes);
    api.settle();
    assert_eq!(told(&api), 1);
}

#[test]
fn a_service_that_cannot_be_read_keeps_its_address_until_it_is_gone() {
    let mut api = Api::new();
    let broken = crate::ipam::Held {
        service: ObjectKey::new("default", "broken"),
        created: 1,
        addresses: vec!["192.0.2.0".parse().unwrap()],
    };
    api.operator.hold_unreadable(&broken);
    api.put_pool(pool("blue", 1, &["192.0.2.0/31"]));
    api.serve(service("web"));
    api.serve(service("late"));
    assert_eq!((api.ips("web"), api.ips("late")), (vec!["192.0.2.1".to_owned()], vec![]));
    assert_eq!(api.counts("blue"), ["False", "2", "0", "2"]);
    api.operator.delete(&ObjectRef::Service(broken.service));
    api.settle();
    assert_eq!(api.ips("late"), ["192.0.2.0"]);
}
