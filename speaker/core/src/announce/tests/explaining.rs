//! What `explain` and the findings say.

use speaker_config::model::{Advertisement, PoolGate, ServiceGate, ServiceRoutesWhich};
use speaker_config::objects::{Endpoint, Pool, Service};

use super::{
    World, addr, endpoints, key, labels, local, node, peers, pool, pools, prefix, ready, selector, service,
    services, silent, unready,
};
use crate::announce::{Decision, Finding, Story, Subject};
use crate::rib::SourceKind;

fn pool_subject() -> Subject {
    Subject::Pool("blue".into())
}

fn web() -> Subject {
    Subject::Service(key("web"))
}

#[test]
fn a_pool_names_each_gate_in_order_and_the_first_that_holds_it_back() {
    let mut world = World::new([pools("fabric", PoolGate::Ready)]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    world.put(service("a", &["203.0.113.1"]));
    world.put(service("b", &["203.0.113.2"]));
    let story = world.explain(&pool_subject());
    let decision = &story.decisions[0];
    let names: Vec<&str> = decision.gates.iter().map(|gate| gate.gate.as_str()).collect();
    assert_eq!(
        names,
        ["conflict", "faults", "nodeSelector", "poolSelector", "poolPrefix", "poolPrefix.when", "danger"]
    );
    assert!(
        decision.gates.iter().any(|gate| gate.detail == "pool 'blue' selected by advertisement 'fabric'")
    );
    assert_eq!(
        decision.held_by().unwrap().detail,
        "poolPrefix.when is ready: none of 2 Services has a ready IPv4 endpoint"
    );
    world.put(endpoints("a", [ready("n2")]));
    let story = world.explain(&pool_subject());
    assert!(story.decisions[0].announced);
    assert_eq!(story.decisions[0].prefix, Some(prefix("203.0.113.0/24")));
    assert!(story.decisions[0].gates.iter().any(|gate| {
        gate.detail == "poolPrefix.when is ready: 1 of 2 Services has a ready IPv4 endpoint"
    }));
}

#[test]
fn what_holds_a_pool_back_is_said_in_plain_words() {
    let held = |when, change: fn(&mut Pool)| {
        let mut world = World::new([pools("fabric", when)]);
        let mut blue = pool("blue", &["203.0.113.0/24"]);
        change(&mut blue);
        world.put(blue);
        world.held(&pool_subject())
    };
    assert_eq!(
        held(PoolGate::Allocated, |_| ()),
        ["poolPrefix.when is allocated: no Service that BGP may announce has one of its IPv4 addresses"]
    );
    assert_eq!(held(PoolGate::Never, |_| ()), ["poolPrefix.when is never: withdrawn for maintenance"]);
    assert_eq!(
        held(PoolGate::Always, |blue| blue.disabled = true),
        [
            "poolPrefix.when is always, but a disabled pool keeps only what is allocated: no Service that BGP may announce has one of its IPv4 addresses"
        ]
    );
    assert_eq!(
        held(PoolGate::Always, |blue| blue.faults.push("spec.blocks[1].cidr: no prefix".into())),
        ["pool 'blue' announces nothing until it is mended: spec.blocks[1].cidr: no prefix"]
    );
    assert!(held(PoolGate::Always, |_| ()).is_empty());
}

#[test]
fn a_pool_without_an_advertisement_says_so() {
    let mut world = World::new([]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    assert_eq!(world.held(&pool_subject()), ["no advertisement is configured"]);
    let other = Advertisement {
        pool_selector: Some(selector([("tier", "public")])),
        node_selector: Some(selector([("role", "edge")])),
        ..silent("fabric")
    };
    world.configure([other]);
    let story = world.explain(&pool_subject());
    let failed: Vec<&str> = story.decisions[0]
        .gates
        .iter()
        .filter(|gate| !gate.passed)
        .map(|gate| gate.detail.as_str())
        .collect();
    assert_eq!(
        failed,
        [
            "nodeSelector of advertisement 'fabric' does not select node 'n1'",
            "pool 'blue' not selected by advertisement 'fabric'",
            "advertisement 'fabric' does not announce pool prefixes"
        ]
    );
}

#[test]
fn a_service_is_explained_from_its_type_to_its_endpoints() {
    let mut world = World::new([services("hosts", ServiceRoutesWhich::Local, ServiceGate::Ready)]);
    world.put(service("web", &[]));
    assert_eq!(world.held(&web()), ["no address is recorded in status.loadBalancer.ingress"]);
    world.put(service("web", &["203.0.113.7"]));
    assert_eq!(world.held(&web()), ["serviceRoutes.which is local and externalTrafficPolicy is Cluster"]);
    world.put(local("web", &["203.0.113.7"]));
    assert_eq!(world.held(&web()), ["externalTrafficPolicy is Local: no ready IPv4 endpoint"]);
    let nowhere = Endpoint { ready: true, serving: true, node: None, envoy: false };
    world.put(endpoints("web", [ready("n2"), nowhere, unready("n1")]));
    assert_eq!(
        world.held(&web()),
        [
            "externalTrafficPolicy is Local: none of 2 ready IPv4 endpoints is on node 'n1', and 1 name no node"
        ]
    );
    world.put(endpoints("web", [ready("n1"), ready("n2")]));
    let story = world.explain(&web());
    assert!(story.decisions[0].announced);
    assert!(story.decisions[0].gates.iter().any(|gate| {
        gate.detail == "externalTrafficPolicy is Local: 1 of 2 ready IPv4 endpoints on node 'n1'"
    }));
}

#[test]
fn what_holds_a_service_back_is_said_in_plain_words() {
    let mut world = World::new([services("hosts", ServiceRoutesWhich::All, ServiceGate::Ready)]);
    let mut one = service("web", &["203.0.113.7"]);
    one.class = Some("io.cilium/node".into());
    world.put(one.clone());
    assert!(
        world.held(&web()).contains(
            &"loadBalancerClass is io.cilium/node; BGP announces io.cilium/bgp-control-plane or no class"
                .to_owned()
        )
    );
    one = Service { load_balancer: false, ..service("web", &["203.0.113.7"]) };
    world.put(one);
    assert!(world.held(&web()).contains(&"Service 'default/web' is not of type LoadBalancer".to_owned()));
    world.put(service("web", &["203.0.113.7"]));
    assert_eq!(world.held(&web()), ["serviceRoutes.when is ready: no ready IPv4 endpoint"]);
    world.put(endpoints("web", [ready("n2")]));
    assert!(world.held(&web()).is_empty());
    let mut clash = node("n2", labels([]));
    clash.internal_ips = vec![addr("203.0.113.7")];
    world.put(clash);
    assert_eq!(
        world.held(&web()),
        [
            "203.0.113.7/32 is refused: it holds 203.0.113.7, the address of node n2; add it to `allow` if it is meant"
        ]
    );
}

#[test]
fn a_service_is_also_told_of_the_pool_prefixes_that_lead_to_it() {
    let hosts = services("hosts", ServiceRoutesWhich::Local, ServiceGate::Ready);
    let mut world = World::new([pools("fabric", PoolGate::Always), hosts]);
    world.put(pool("blue", &["203.0.113.0/24", "198.51.100.0/24"]));
    world.put(service("web", &["203.0.113.7"]));
    let story = world.explain(&web());
    let announced: Vec<String> = story
        .decisions
        .iter()
        .filter(|one| one.announced)
        .filter_map(|one| one.prefix)
        .map(|p| p.to_string())
        .collect();
    assert_eq!(announced, ["203.0.113.0/24"]);
}

#[test]
fn a_prefix_is_explained_by_everything_that_could_announce_it() {
    let fixed = Advertisement { prefixes: vec![prefix("192.0.2.0/24")], ..silent("static") };
    let hosts = services("hosts", ServiceRoutesWhich::All, ServiceGate::Ready);
    let mut world = World::new([pools("fabric", PoolGate::Always), hosts, fixed]);
    world.put(pool("vip", &["203.0.113.7/32"]));
    world.put(service("web", &["203.0.113.7"]));
    let of = |world: &World, text: &str| -> Vec<Decision> {
        let story = world.announcer.explain(&Subject::Prefix(prefix(text)), &world.inputs);
        story.map_or_else(Vec::new, |story| story.decisions)
    };
    let kinds = |decisions: &[Decision]| -> Vec<(SourceKind, String, bool)> {
        decisions.iter().map(|one| (one.source.kind, one.advertisement.clone(), one.announced)).collect()
    };
    assert_eq!(
        kinds(&of(&world, "203.0.113.7/32")),
        [(SourceKind::Service, "hosts".into(), false), (SourceKind::Pool, "fabric".into(), true)]
    );
    world.put(endpoints("web", [ready("n2")]));
    let decisions = of(&world, "203.0.113.7/32");
    let pool = decisions.iter().find(|one| one.source.kind == SourceKind::Pool).unwrap();
    assert_eq!(pool.held_by().unwrap().detail, "the route of Service 'default/web' stands in its place");
    assert_eq!(kinds(&of(&world, "192.0.2.0/24")), [(SourceKind::Prefix, "static".into(), true)]);
    assert_eq!(
        kinds(&of(&world, "192.0.2.9/32")),
        [(SourceKind::Prefix, "static".into(), true)],
        "what leads there, where nothing names it"
    );
    assert!(world.announcer.explain(&Subject::Prefix(prefix("8.8.8.8/32")), &world.inputs).is_none());
}

#[test]
fn the_gate_of_a_local_service_on_a_pools_host_route_is_named() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(pool("blue", &["203.0.113.7/32"]));
    world.put(local("web", &["203.0.113.7"]));
    assert_eq!(
        world.held(&pool_subject()),
        [
            "203.0.113.7/32 is the address of a Service with externalTrafficPolicy Local that has no ready endpoint on node 'n1'"
        ]
    );
}

#[test]
fn what_does_not_exist_has_no_story() {
    let world = World::new([]);
    for subject in [pool_subject(), web(), Subject::Prefix(prefix("203.0.113.0/24"))] {
        assert!(world.announcer.explain(&subject, &world.inputs).is_none());
    }
}

#[test]
fn a_local_service_under_an_announced_pool_prefix_without_a_route_is_warned_of() {
    let fabric = pools("fabric", PoolGate::Always);
    let mut world = World::new([fabric.clone()]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    assert!(world.findings().is_empty());
    world.put(local("web", &["203.0.113.7"]));
    let expected = Finding::LocalWithoutRoute {
        service: key("web"),
        address: addr("203.0.113.7"),
        pool: "blue".into(),
        prefix: prefix("203.0.113.0/24"),
        advertisement: "fabric".into(),
    };
    assert_eq!(world.announcer.findings(&world.inputs), std::slice::from_ref(&expected));
    for subject in [web(), Subject::Address(addr("203.0.113.7")), Subject::Prefix(prefix("203.0.113.7/32"))] {
        assert_eq!(world.explain(&subject).findings, std::slice::from_ref(&expected), "{subject:?}");
    }
    assert!(world.explain(&Subject::Address(addr("203.0.113.8"))).findings.is_empty(), "nobody's");
    assert!(expected.to_string().contains("serviceRoutes.which"), "{expected}");
    world.put(service("web", &["203.0.113.7"]));
    assert!(world.findings().is_empty(), "with Cluster every node serves");
    world.put(local("web", &["203.0.113.7"]));

    let hosts = services("hosts", ServiceRoutesWhich::Local, ServiceGate::Ready);
    world.configure([fabric.clone(), hosts.clone()]);
    assert!(world.routes().iter().all(|route| !route.contains("web")), "no endpoint here");
    assert!(world.findings().is_empty(), "other nodes announce the more specific route");

    let some = Advertisement { peers: peers(["tor-a"]), ..hosts };
    world.configure([fabric, some.clone()]);
    assert_eq!(world.findings().len(), 1, "the other peers follow the pool prefix alone");
    let same = Advertisement { peers: peers(["tor-a"]), ..pools("fabric", PoolGate::Always) };
    world.configure([same, some]);
    assert!(world.findings().is_empty());
}

#[test]
fn a_length_that_cannot_be_is_held_with_the_reason() {
    let mut fabric = pools("fabric", PoolGate::Always);
    let wish = fabric.pool_prefix.as_mut().unwrap();
    wish.lengths =
        speaker_config::model::PoolLengths::Fixed(bgp_proto::types::FamilyMap { ipv4: Some(20), ipv6: None });
    let mut world = World::new([fabric]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    let story = world.explain(&pool_subject());
    assert_eq!(story.decisions[0].prefix, None);
    assert_eq!(story.decisions[0].held_by().unwrap().gate, "poolPrefix.lengths");
    assert!(story.decisions[0].held_by().unwrap().detail.contains("allowBeyondPool"));
    assert!(matches!(story.findings.as_slice(), [Finding::Held { .. }]));
    assert!(
        world.findings()[0]
            .starts_with("advertisement 'fabric' holds back the IPv4 prefixes of pool 'blue': ")
    );
}

#[test]
fn a_story_survives_json() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(pool("blue", &["203.0.113.0/24", "127.0.0.0/24"]));
    world.put(local("web", &["203.0.113.7"]));
    for subject in [pool_subject(), web(), Subject::Prefix(prefix("203.0.113.0/24"))] {
        let story = world.explain(&subject);
        let text = serde_json::to_string(&story).unwrap();
        assert_eq!(serde_json::from_str::<Story>(&text).unwrap(), story);
        let text = serde_json::to_string(&subject).unwrap();
        assert_eq!(serde_json::from_str::<Subject>(&text).unwrap(), subject);
    }
}

#[test]
fn an_advertisement_that_does_not_mean_a_service_is_a_remark_where_another_route_leads_there() {
    let fabric = Advertisement {
        service_routes: services("x", ServiceRoutesWhich::Local, ServiceGate::Ready).service_routes,
        ..pools("fabric", PoolGate::Always)
    };
    let mut world = World::new([fabric, silent("nothing")]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    world.put(service("web", &["203.0.113.7"]));
    let story = world.explain(&web());
    assert_eq!(story.decisions.len(), 1, "{story:?}");
    assert!(story.decisions[0].announced);
    assert_eq!(story.decisions[0].prefix, Some(prefix("203.0.113.0/24")));
    assert!(story.gates.iter().all(|gate| gate.passed));
    let remarks: Vec<&str> = story
        .gates
        .iter()
        .filter(|gate| gate.gate == "serviceRoutes")
        .map(|gate| gate.detail.as_str())
        .collect();
    assert_eq!(
        remarks,
        [
            "no route of its own: serviceRoutes.which is local and externalTrafficPolicy is Cluster",
            "no route of its own: advertisement 'nothing' has no serviceRoutes",
        ]
    );
    world.put(local("web", &["203.0.113.7"]));
    let story = world.explain(&web());
    assert_eq!(story.decisions.len(), 2, "its own route is meant now, and held");
    assert!(!story.decisions[0].announced && story.decisions[1].announced);
}

#[test]
fn a_prefix_beyond_its_pool_is_explained_by_that_pool() {
    let mut fabric = pools("fabric", PoolGate::Always);
    let wish = fabric.pool_prefix.as_mut().unwrap();
    wish.allow_beyond_pool = true;
    wish.lengths =
        speaker_config::model::PoolLengths::Fixed(bgp_proto::types::FamilyMap { ipv4: Some(23), ipv6: None });
    let mut world = World::new([fabric]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    let story = world.explain(&Subject::Prefix(prefix("203.0.112.0/23")));
    assert!(story.decisions[0].announced);
    world.put(service("web", &["203.0.112.7"]));
    let story = world.explain(&web());
    assert_eq!(story.decisions.len(), 1);
    assert_eq!(story.decisions[0].source.name, "blue");
    assert!(story.decisions[0].announced, "the address is not the pool's, and its prefix leads there");
}

#[test]
fn an_address_is_explained_by_its_own_route_and_by_what_leads_there() {
    let mut world = World::new([
        pools("fabric", PoolGate::Allocated),
        services("hosts", ServiceRoutesWhich::Local, ServiceGate::Ready),
    ]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    world.put(service("web", &["203.0.113.7"]));
    let of = |world: &World| -> Vec<(Option<bgp_proto::types::Prefix>, bool)> {
        let story = world.explain(&Subject::Address(addr("203.0.113.7")));
        story.decisions.iter().map(|one| (one.prefix, one.announced)).collect()
    };
    // The pool's prefix leads to a Service that has no route of its own, which is not what holds it back.
    assert_eq!(of(&world), [(Some(prefix("203.0.113.0/24")), true)]);
    world.put(local("web", &["203.0.113.7"]));
    assert_eq!(of(&world), [(Some(prefix("203.0.113.7/32")), false), (Some(prefix("203.0.113.0/24")), true)]);
}

#[test]
fn a_prefix_that_nothing_covers_is_explained_by_what_lies_inside() {
    let fixed = Advertisement { prefixes: vec![prefix("192.0.2.0/24")], ..silent("static") };
    let mut world = World::new([pools("fabric", PoolGate::Always), fixed]);
    world.put(pool("blue", &["203.0.113.0/25", "203.0.113.192/26"]));
    let of = |text: &str| -> Vec<_> {
        let story = world.explain(&Subject::Prefix(prefix(text)));
        story.decisions.iter().filter_map(|one| one.prefix).collect()
    };
    assert_eq!(of("203.0.113.0/24"), [prefix("203.0.113.0/25"), prefix("203.0.113.192/26")]);
    assert_eq!(of("192.0.0.0/16"), [prefix("192.0.2.0/24")]);
    assert_eq!(of("203.0.113.0/25"), [prefix("203.0.113.0/25")]);
    assert_eq!(of("203.0.113.0/26"), [prefix("203.0.113.0/25")]);
}
