//! Host routes of Services: policy, gates, sharing, danger, selection.

use bgp_proto::types::Family;
use speaker_config::model::{Advertisement, DefaultClass, PoolGate, ServiceGate, ServiceRoutesWhich};
use speaker_config::objects::{
    Endpoint, EndpointSlice, ObjectKey, ObjectRef, Pool, Service, ServiceCidr, TrafficPolicy,
};

use super::{
    World, addr, endpoints, endpoints_of, key, labels, local, node, peers, pool, pools, prefix, ready,
    selector, service, services, silent, terminating, unready,
};

fn world(which: ServiceRoutesWhich, when: ServiceGate) -> World {
    let mut world = World::new([services("hosts", which, when)]);
    world.put(pool("blue", &["203.0.113.0/24", "2001:db8::/112"]));
    world
}

#[test]
fn allocated_announces_every_recorded_address_as_a_host_route() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    assert!(world.put(service("web", &[])).is_empty(), "nothing is recorded");
    world.put(service("web", &["203.0.113.7", "2001:db8::7"]));
    assert_eq!(world.routes(), ["203.0.113.7/32 default/web hosts", "2001:db8::7/128 default/web hosts"]);
    assert_eq!(world.put(service("web", &["2001:db8::7"])), ["203.0.113.7/32"]);
    assert_eq!(world.take(&ObjectRef::Service(key("web"))), ["2001:db8::7/128"]);
}

#[test]
fn with_cluster_a_ready_endpoint_on_any_node_opens_the_family() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Ready);
    world.put(service("web", &["203.0.113.7", "2001:db8::7"]));
    assert!(world.put(endpoints("web", [unready("n1"), terminating("n1")])).is_empty());
    assert_eq!(world.put(endpoints("web", [ready("n2")])), ["203.0.113.7/32"]);
    let six = endpoints_of("web", Family::Ipv6Unicast, [ready("n3")]);
    assert_eq!(world.put(six.clone()), ["2001:db8::7/128"]);
    assert_eq!(world.take(&ObjectRef::EndpointSlice(six.key)), ["2001:db8::7/128"]);
}

#[test]
fn endpoints_of_several_slices_count_together() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Ready);
    world.put(service("web", &["203.0.113.7"]));
    let mut second = endpoints("web", [ready("n2")]);
    second.key = key("web-2");
    world.put(endpoints("web", [unready("n1")]));
    assert_eq!(world.put(second.clone()), ["203.0.113.7/32"]);
    second.service = Some(key("other"));
    assert_eq!(world.put(second), ["203.0.113.7/32"], "a slice that changes hands leaves its Service");
}

#[test]
fn serving_keeps_endpoints_that_terminate_and_still_serve() {
    for which in [ServiceRoutesWhich::All, ServiceRoutesWhich::Local] {
        let mut world = world(which, ServiceGate::Serving);
        world.put(local("web", &["203.0.113.7"]));
        world.put(endpoints("web", [ready("n1")]));
        assert_eq!(world.prefixes(), ["203.0.113.7/32"]);
        assert!(world.put(endpoints("web", [terminating("n1")])).is_empty());
        assert_eq!(world.put(endpoints("web", [unready("n1"), terminating("n2")])), ["203.0.113.7/32"]);
    }
}

#[test]
fn an_endpoint_that_is_published_before_it_serves_counts_as_serving_too() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Serving);
    world.put(service("web", &["203.0.113.7"]));
    let early = Endpoint { ready: true, serving: false, node: Some("n2".into()), envoy: false };
    assert_eq!(
        world.put(endpoints("web", [early])),
        ["203.0.113.7/32"],
        "serving asks for no more than ready"
    );
}

#[test]
fn with_local_only_an_endpoint_on_this_node_counts_whatever_which_and_when_say() {
    for which in [ServiceRoutesWhich::All, ServiceRoutesWhich::Local] {
        for when in [ServiceGate::Allocated, ServiceGate::Ready, ServiceGate::Serving] {
            let mut world = world(which, when);
            world.put(local("web", &["203.0.113.7"]));
            assert!(world.put(endpoints("web", [ready("n2")])).is_empty(), "{which:?} {when:?}");
            assert_eq!(world.put(endpoints("web", [ready("n2"), ready("n1")])), ["203.0.113.7/32"]);
            assert_eq!(world.put(endpoints("web", [ready("n2")])), ["203.0.113.7/32"]);
        }
    }
}

#[test]
fn an_endpoint_without_a_node_is_on_no_node() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Ready);
    let nowhere = Endpoint { ready: true, serving: true, node: None, envoy: false };
    world.put(endpoints("web", [nowhere]));
    assert!(world.put(local("web", &["203.0.113.7"])).is_empty());
    assert_eq!(world.put(service("web", &["203.0.113.7"])), ["203.0.113.7/32"]);
}

#[test]
fn which_local_leaves_services_with_cluster_alone() {
    let mut world = world(ServiceRoutesWhich::Local, ServiceGate::Allocated);
    assert!(world.put(service("web", &["203.0.113.7"])).is_empty());
    world.put(endpoints("web", [ready("n1")]));
    let changed =
        Service { external_traffic_policy: TrafficPolicy::Local, ..service("web", &["203.0.113.7"]) };
    assert_eq!(world.put(changed), ["203.0.113.7/32"]);
}

#[test]
fn which_none_and_no_service_routes_announce_none() {
    let mut world = world(ServiceRoutesWhich::None, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7"]));
    assert!(world.routes().is_empty());
    world.configure([silent("hosts")]);
    assert!(world.routes().is_empty());
}

#[test]
fn an_address_shared_by_services_goes_with_the_last_of_them() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Ready);
    for name in ["dns-tcp", "dns-udp"] {
        world.put(service(name, &["203.0.113.53"]));
        world.put(endpoints(name, [ready("n2")]));
    }
    assert_eq!(
        world.routes(),
        ["203.0.113.53/32 default/dns-tcp hosts", "203.0.113.53/32 default/dns-udp hosts"]
    );
    assert_eq!(world.put(endpoints("dns-tcp", [])), ["203.0.113.53/32"]);
    assert_eq!(world.routes(), ["203.0.113.53/32 default/dns-udp hosts"]);
    world.take(&ObjectRef::Service(key("dns-udp")));
    assert!(world.routes().is_empty(), "the other one has no endpoint");
    world.put(endpoints("dns-tcp", [ready("n3")]));
    assert_eq!(world.prefixes(), ["203.0.113.53/32"]);
}

#[test]
fn services_of_one_name_in_two_namespaces_are_two() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7"]));
    world.put(Service { key: ObjectKey::new("other", "web"), ..service("web", &["203.0.113.7"]) });
    assert_eq!(world.routes(), ["203.0.113.7/32 default/web hosts", "203.0.113.7/32 other/web hosts"]);
}

#[test]
fn a_service_that_is_being_deleted_is_withdrawn_at_once() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7"]));
    let going = Service { deleting: true, ..service("web", &["203.0.113.7"]) };
    assert_eq!(world.put(going), ["203.0.113.7/32"]);
    assert!(world.take(&ObjectRef::Service(key("web"))).is_empty());
}

#[test]
fn only_load_balancer_services_of_our_classes_are_announced() {
    let cases = [
        (None, true, DefaultClass::LbIpam, true),
        (None, true, DefaultClass::None, true),
        (None, true, DefaultClass::NodeIpam, false),
        (Some("io.cilium/bgp-control-plane"), true, DefaultClass::NodeIpam, true),
        (Some("io.cilium/l2-announcer"), true, DefaultClass::LbIpam, false),
        (Some("io.cilium/node"), true, DefaultClass::LbIpam, false),
        (Some("example.com/other"), true, DefaultClass::LbIpam, false),
        (None, false, DefaultClass::LbIpam, false),
    ];
    for (class, load_balancer, default_class, announced) in cases {
        let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
        world.settings.default_class = default_class;
        world.announcer.configure(world.settings.clone());
        let one =
            Service { class: class.map(str::to_owned), load_balancer, ..service("web", &["203.0.113.7"]) };
        world.put(one);
        assert_eq!(!world.routes().is_empty(), announced, "{class:?} {load_balancer} {default_class:?}");
    }
}

#[test]
fn an_address_outside_every_pool_is_in_the_table_and_not_covered() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7", "198.51.100.7"]));
    let covered = |world: &World, text: &str| {
        world.announcer.rib().routes[&prefix(text)].contributions.iter().all(|one| one.covered)
    };
    assert!(covered(&world, "203.0.113.7/32"));
    assert!(!covered(&world, "198.51.100.7/32"));
    assert_eq!(world.put(pool("red", &["198.51.100.0/28"])), ["198.51.100.7/32"]);
    assert!(covered(&world, "198.51.100.7/32"));
    assert_eq!(world.take(&ObjectRef::Pool("red".into())), ["198.51.100.7/32"]);
    assert!(!covered(&world, "198.51.100.7/32"));
}

#[test]
fn an_address_that_stands_in_prefixes_is_covered_and_the_services_own() {
    let fixed = Advertisement { prefixes: vec![prefix("198.51.100.7/32")], ..silent("static") };
    let hosts = services("hosts", ServiceRoutesWhich::All, ServiceGate::Allocated);
    let mut world = World::new([fixed, hosts.clone()]);
    world.put(service("web", &["198.51.100.7"]));
    assert_eq!(world.routes(), ["198.51.100.7/32 default/web hosts"]);
    assert!(world.announcer.rib().routes[&prefix("198.51.100.7/32")].contributions[0].covered);
    assert_eq!(world.configure([hosts]), ["198.51.100.7/32"]);
    assert!(!world.announcer.rib().routes[&prefix("198.51.100.7/32")].contributions[0].covered);
}

#[test]
fn a_conflicting_faulty_or_disabled_pool_leaves_the_routes_of_services() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7"]));
    let blue = pool("blue", &["203.0.113.0/24"]);
    world.put(Pool { disabled: true, ..blue.clone() });
    assert_eq!(world.prefixes(), ["203.0.113.7/32"]);
    world.put(Pool { faults: vec!["spec.blocks[1]".into()], ..blue });
    assert_eq!(world.prefixes(), ["203.0.113.7/32"]);
    world.put(Pool { created: 1, ..pool("elder", &["203.0.113.0/28"]) });
    assert_eq!(world.prefixes(), ["203.0.113.7/32"]);
}

#[test]
fn an_address_that_somebody_has_is_refused_unless_allowed() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7", "127.0.0.1"]));
    assert_eq!(world.prefixes(), ["203.0.113.7/32"], "loopback is never routed");
    let mut clash = node("n2", labels([]));
    clash.external_ips = vec![addr("203.0.113.7")];
    assert_eq!(world.put(clash.clone()), ["203.0.113.7/32"]);
    assert_eq!(world.findings().len(), 2, "{:?}", world.findings());
    clash.external_ips = vec![addr("203.0.113.8")];
    assert_eq!(world.put(clash.clone()), ["203.0.113.7/32"]);
    clash.external_ips = Vec::new();
    clash.pod_cidrs = vec![prefix("203.0.113.0/28")];
    assert_eq!(world.put(clash), ["203.0.113.7/32"]);
    let hosts = services("hosts", ServiceRoutesWhich::All, ServiceGate::Allocated);
    assert_eq!(
        world.configure([Advertisement { allow: vec![prefix("203.0.113.0/24")], ..hosts }]),
        ["203.0.113.7/32"]
    );
}

#[test]
fn what_the_configuration_knows_of_is_refused_too() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.254"]));
    let owner = crate::danger::Owner::Peer("tor-a".into());
    world.settings.danger.addresses.insert(addr("203.0.113.254"), owner);
    let hosts = services("hosts", ServiceRoutesWhich::All, ServiceGate::Allocated);
    assert_eq!(world.configure([hosts]), ["203.0.113.254/32"]);
    assert!(world.findings()[0].contains("peer tor-a"), "{:?}", world.findings());
}

#[test]
fn what_the_cluster_lives_on_is_refused_from_when_it_is_known_to_when_it_is_gone() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7"]));
    world.put(service("dns", &["203.0.113.40"]));
    let cidr = |cidr: &str| ServiceCidr { name: "more".to_owned(), cidrs: vec![prefix(cidr)] };
    assert_eq!(world.put(cidr("203.0.113.0/28")), ["203.0.113.7/32"]);
    assert!(world.findings()[0].contains("a Service CIDR"), "{:?}", world.findings());
    assert_eq!(world.put(cidr("203.0.113.32/28")), ["203.0.113.7/32", "203.0.113.40/32"]);
    let server = |addrs: &[&str]| EndpointSlice {
        key: ObjectKey::new("default", "kubernetes"),
        service: Some(ObjectKey::new("default", "kubernetes")),
        family: Some(Family::Ipv4Unicast),
        endpoints: Vec::new(),
        api_servers: addrs.iter().map(|one| addr(one)).collect(),
    };
    assert_eq!(world.put(server(&["203.0.113.7"])), ["203.0.113.7/32"]);
    assert!(world.findings()[1].contains("the API server"), "{:?}", world.findings());
    assert!(world.put(server(&["203.0.113.7"])).is_empty());
    assert_eq!(world.put(server(&["192.0.2.1"])), ["203.0.113.7/32"]);
    assert!(world.put(server(&["203.0.113.40"])).is_empty(), "it is in the Service CIDR as well");
    assert!(world.take(&ObjectRef::ServiceCidr("more".to_owned())).is_empty());
    let gone = ObjectRef::EndpointSlice(ObjectKey::new("default", "kubernetes"));
    assert_eq!(world.take(&gone), ["203.0.113.40/32"]);
}

#[test]
fn service_selectors_see_the_two_injected_labels() {
    let by = |pair| Advertisement {
        service_selector: Some(selector([pair])),
        ..services("hosts", ServiceRoutesWhich::All, ServiceGate::Allocated)
    };
    let mut world = World::new([by(("io.kubernetes.service.name", "web"))]);
    world.put(service("web", &["203.0.113.7"]));
    world.put(Service { labels: labels([("app", "dns")]), ..service("dns", &["203.0.113.8"]) });
    assert_eq!(world.prefixes(), ["203.0.113.7/32"]);
    world.configure([by(("app", "dns"))]);
    assert_eq!(world.prefixes(), ["203.0.113.8/32"]);
    world.configure([by(("io.kubernetes.service.namespace", "default"))]);
    assert_eq!(world.prefixes(), ["203.0.113.7/32", "203.0.113.8/32"]);
}

#[test]
fn advertisements_that_overlap_are_reasons_side_by_side() {
    let some = Advertisement {
        peers: peers(["tor-a"]),
        ..services("a", ServiceRoutesWhich::All, ServiceGate::Allocated)
    };
    let mut world = World::new([some, services("b", ServiceRoutesWhich::All, ServiceGate::Ready)]);
    world.put(service("web", &["203.0.113.7"]));
    assert_eq!(world.routes(), ["203.0.113.7/32 default/web a"]);
    assert_eq!(world.put(endpoints("web", [ready("n2")])), ["203.0.113.7/32"]);
    assert_eq!(world.routes(), ["203.0.113.7/32 default/web a", "203.0.113.7/32 default/web b"]);
    let route = &world.announcer.rib().routes[&prefix("203.0.113.7/32")];
    assert_eq!(route.contributions[0].peers.as_deref(), peers(["tor-a"]).as_ref());
    assert_eq!(route.contributions[1].peers, None);
}

#[test]
fn an_advertisement_may_announce_pools_and_services_at_once() {
    let both = Advertisement {
        service_routes: services("x", ServiceRoutesWhich::Local, ServiceGate::Ready).service_routes,
        ..pools("fabric", PoolGate::Ready)
    };
    let mut world = World::new([both]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    world.put(local("web", &["203.0.113.7"]));
    assert_eq!(world.put(endpoints("web", [ready("n2")])), ["203.0.113.0/24"]);
    assert_eq!(world.put(endpoints("web", [ready("n1")])), ["203.0.113.7/32"]);
    assert_eq!(world.put(endpoints("web", [])), ["203.0.113.0/24", "203.0.113.7/32"]);
}

#[test]
fn another_age_or_label_of_a_service_is_told() {
    let mut world = world(ServiceRoutesWhich::All, ServiceGate::Allocated);
    world.put(service("web", &["203.0.113.7"]));
    assert!(world.put(Service { generation: 2, ..service("web", &["203.0.113.7"]) }).is_empty());
    assert_eq!(world.put(Service { created: 900, ..service("web", &["203.0.113.7"]) }), ["203.0.113.7/32"]);
}
