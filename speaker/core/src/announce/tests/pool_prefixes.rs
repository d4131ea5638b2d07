//! Pool prefixes: gates, covers, standing, danger, nodes.

use bgp_proto::types::{Family, FamilyMap};
use speaker_config::model::{
    Advertisement, DefaultClass, PoolGate, PoolLengths, PoolPrefix, ServiceGate, ServiceRoutesWhich,
};
use speaker_config::objects::{ObjectRef, Pool, Selector, Service};

use super::{
    World, addr, endpoints, endpoints_of, key, labels, local, node, peers, pool, pools, prefix, ready,
    selector, service, services, silent, terminating, unready,
};
use crate::pools::Conflict;

fn blue() -> Pool {
    pool("blue", &["203.0.113.0/24", "2001:db8::/112"])
}

fn lengths(when: PoolGate, ipv4: u8, allow_beyond_pool: bool) -> Advertisement {
    let lengths = PoolLengths::Fixed(FamilyMap { ipv4: Some(ipv4), ipv6: None });
    let pool_prefix = Some(PoolPrefix { when, lengths, allow_beyond_pool });
    Advertisement { pool_prefix, ..silent("fabric") }
}

#[test]
fn always_announces_a_pool_as_soon_as_it_exists_and_until_it_is_gone() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    assert_eq!(world.put(blue()), ["203.0.113.0/24", "2001:db8::/112"]);
    assert_eq!(world.routes(), ["203.0.113.0/24 pool blue fabric", "2001:db8::/112 pool blue fabric"]);
    assert_eq!(world.take(&ObjectRef::Pool("blue".into())).len(), 2);
    assert!(world.routes().is_empty());
}

#[test]
fn allocated_waits_for_a_recorded_address_in_each_family_by_itself() {
    let mut world = World::new([pools("fabric", PoolGate::Allocated)]);
    world.put(blue());
    assert!(world.routes().is_empty());
    assert!(world.put(service("web", &[])).is_empty(), "nothing is recorded");
    assert_eq!(world.put(service("web", &["203.0.113.7"])), ["203.0.113.0/24"]);
    assert_eq!(world.put(service("web", &["203.0.113.7", "2001:db8::7"])), ["2001:db8::/112"]);
    assert_eq!(world.take(&ObjectRef::Service(key("web"))).len(), 2);
}

#[test]
fn the_last_of_several_services_takes_the_pool_prefix_with_it() {
    let mut world = World::new([pools("fabric", PoolGate::Allocated)]);
    world.put(blue());
    world.put(service("one", &["203.0.113.1"]));
    assert!(world.put(service("two", &["203.0.113.2"])).is_empty());
    assert!(world.take(&ObjectRef::Service(key("one"))).is_empty());
    assert_eq!(world.take(&ObjectRef::Service(key("two"))), ["203.0.113.0/24"]);
}

#[test]
fn ready_follows_the_first_ready_endpoint_of_the_family_on_any_node() {
    let mut world = World::new([pools("fabric", PoolGate::Ready)]);
    world.put(blue());
    world.put(service("web", &["203.0.113.7", "2001:db8::7"]));
    assert!(world.routes().is_empty());
    assert_eq!(world.put(endpoints("web", [unready("n2"), ready("n3")])), ["203.0.113.0/24"]);
    let six = endpoints_of("web", Family::Ipv6Unicast, [ready("n2")]);
    assert_eq!(world.put(six), ["2001:db8::/112"]);
    assert_eq!(world.put(endpoints("web", [unready("n2"), terminating("n3")])), ["203.0.113.0/24"]);
    assert_eq!(world.prefixes(), ["2001:db8::/112"]);
}

#[test]
fn one_ready_service_is_enough_for_a_pool() {
    let mut world = World::new([pools("fabric", PoolGate::Ready)]);
    world.put(blue());
    for name in ["a", "b"] {
        world.put(service(name, &["203.0.113.1"]));
        world.put(endpoints(name, [ready("n2")]));
    }
    assert!(world.put(endpoints("a", [])).is_empty());
    assert_eq!(world.put(endpoints("b", [])), ["203.0.113.0/24"]);
}

#[test]
fn never_withdraws_the_pool_prefix_and_leaves_service_routes() {
    let routes = services("hosts", ServiceRoutesWhich::All, ServiceGate::Allocated);
    let mut world = World::new([pools("fabric", PoolGate::Allocated), routes.clone()]);
    world.put(blue());
    world.put(service("web", &["203.0.113.7"]));
    assert_eq!(world.prefixes(), ["203.0.113.0/24", "203.0.113.7/32"]);
    assert_eq!(world.configure([pools("fabric", PoolGate::Never), routes]), ["203.0.113.0/24"]);
    assert_eq!(world.prefixes(), ["203.0.113.7/32"]);
}

#[test]
fn the_prefixes_of_a_pool_and_family_come_and_go_together() {
    let mut world = World::new([pools("fabric", PoolGate::Allocated)]);
    world.put(pool("blue", &["203.0.113.0/28", "198.51.100.4-198.51.100.6"]));
    let all = ["198.51.100.4/31", "198.51.100.6/32", "203.0.113.0/28"];
    assert_eq!(world.put(service("web", &["203.0.113.7"])), all);
    assert_eq!(world.take(&ObjectRef::Service(key("web"))), all);
}

#[test]
fn services_that_bgp_may_not_announce_open_no_gate() {
    let cases: [fn(&mut Service); 4] = [
        |one| one.class = Some("io.cilium/l2-announcer".into()),
        |one| one.class = Some("io.cilium/node".into()),
        |one| one.load_balancer = false,
        |one| one.deleting = true,
    ];
    for spoil in cases {
        let mut world = World::new([pools("fabric", PoolGate::Allocated)]);
        world.put(blue());
        let mut one =
            Service { class: Some("io.cilium/bgp-control-plane".into()), ..service("web", &["203.0.113.7"]) };
        assert_eq!(world.put(one.clone()), ["203.0.113.0/24"]);
        spoil(&mut one);
        assert_eq!(world.put(one), ["203.0.113.0/24"]);
        assert!(world.routes().is_empty());
    }
}

#[test]
fn class_less_services_of_node_ipam_open_no_gate() {
    let mut world = World::new([pools("fabric", PoolGate::Allocated)]);
    world.settings.default_class = DefaultClass::NodeIpam;
    world.announcer.configure(world.settings.clone());
    world.put(blue());
    assert!(world.put(service("web", &["203.0.113.7"])).is_empty());
}

#[test]
fn reserving_the_first_and_last_address_changes_no_prefix() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(blue());
    assert!(world.put(Pool { reserve_first_last: true, ..blue() }).is_empty());
}

#[test]
fn a_longer_length_splits_and_a_shorter_one_needs_leave() {
    let mut world = World::new([lengths(PoolGate::Always, 26, false)]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    let quarters = ["203.0.113.0/26", "203.0.113.64/26", "203.0.113.128/26", "203.0.113.192/26"];
    assert_eq!(world.prefixes(), quarters);
    world.configure([lengths(PoolGate::Always, 23, false)]);
    assert!(world.routes().is_empty());
    assert_eq!(world.findings().len(), 1, "{:?}", world.findings());
    world.configure([lengths(PoolGate::Always, 23, true)]);
    assert_eq!(world.prefixes(), ["203.0.112.0/23"]);
    assert!(world.findings().is_empty());
}

#[test]
fn more_than_256_prefixes_are_held() {
    let mut world = World::new([lengths(PoolGate::Always, 32, false)]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    assert_eq!(world.prefixes().len(), 256);
    world.put(pool("blue", &["203.0.112.0/23"]));
    assert!(world.routes().is_empty());
    assert!(world.findings()[0].contains("256"), "{:?}", world.findings());
}

#[test]
fn a_conflicting_or_faulty_pool_announces_nothing() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(blue());
    let faulty = Pool { faults: vec!["spec.blocks[1].cidr: not a prefix".into()], ..blue() };
    assert_eq!(world.put(faulty).len(), 2);
    assert!(world.routes().is_empty());
    world.put(blue());
    world.put(Pool { created: 300, ..pool("late", &["203.0.113.128/25", "198.51.100.0/24"]) });
    assert_eq!(
        world.routes(),
        ["203.0.113.0/24 pool blue fabric", "2001:db8::/112 pool blue fabric"],
        "the younger pool loses"
    );
    world.take(&ObjectRef::Pool("blue".into()));
    assert_eq!(world.routes(), ["198.51.100.0/24 pool late fabric", "203.0.113.128/25 pool late fabric"]);
}

#[test]
fn a_disabled_pool_keeps_announcing_what_is_allocated_and_no_more() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    let off = Pool { disabled: true, ..pool("blue", &["203.0.113.0/24"]) };
    world.put(off);
    assert!(world.routes().is_empty());
    assert_eq!(world.put(service("web", &["203.0.113.7"])), ["203.0.113.0/24"]);
    assert_eq!(world.take(&ObjectRef::Service(key("web"))), ["203.0.113.0/24"]);
}

#[test]
fn pool_selectors_read_the_labels_of_the_pool() {
    let chosen = Advertisement {
        pool_selector: Some(selector([("tier", "public")])),
        ..pools("fabric", PoolGate::Always)
    };
    let mut world = World::new([chosen]);
    assert!(world.put(blue()).is_empty());
    assert_eq!(world.put(Pool { labels: labels([("tier", "public")]), ..blue() }).len(), 2);
    let all = Advertisement { pool_selector: Some(Selector::default()), ..pools("fabric", PoolGate::Always) };
    assert!(world.configure([all]).is_empty(), "the empty selector selects every pool");
}

#[test]
fn a_missing_node_is_a_node_without_labels() {
    let leaf = Advertisement {
        node_selector: Some(selector([("role", "edge")])),
        ..pools("fabric", PoolGate::Always)
    };
    let every =
        Advertisement { node_selector: Some(Selector::default()), ..pools("every", PoolGate::Always) };
    let mut world = World::new([leaf, every]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    assert_eq!(world.routes(), ["203.0.113.0/24 pool blue every"]);
    world.put(node("n1", labels([("role", "edge")])));
    assert_eq!(world.routes(), ["203.0.113.0/24 pool blue every", "203.0.113.0/24 pool blue fabric"]);
    assert!(
        world.put(node("n2", labels([("role", "core")]))).is_empty(),
        "another node's labels are nothing to us"
    );
    world.take(&ObjectRef::Node("n1".into()));
    assert_eq!(world.routes(), ["203.0.113.0/24 pool blue every"]);
}

#[test]
fn a_prefix_that_holds_a_nodes_address_is_refused_unless_allowed() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(blue());
    let mut risen = node("n2", labels([]));
    risen.internal_ips = vec![addr("203.0.113.9")];
    assert_eq!(world.put(risen), ["203.0.113.0/24"]);
    assert_eq!(world.prefixes(), ["2001:db8::/112"], "the other family is not concerned");
    assert!(world.findings()[0].contains("n2"), "{:?}", world.findings());
    let leave = Advertisement { allow: vec![prefix("203.0.113.0/24")], ..pools("fabric", PoolGate::Always) };
    assert_eq!(world.configure([leave]), ["203.0.113.0/24"]);
    world.configure([pools("fabric", PoolGate::Always)]);
    assert_eq!(world.take(&ObjectRef::Node("n2".into())), ["203.0.113.0/24"]);
    assert_eq!(world.prefixes().len(), 2);
}

#[test]
fn martians_are_refused() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(pool("blue", &["127.0.0.0/24", "224.0.0.0/28", "169.254.1.0/24", "ff02::/112", "10.0.0.0/24"]));
    assert_eq!(world.prefixes(), ["10.0.0.0/24"]);
    assert_eq!(world.findings().len(), 4);
}

#[test]
fn two_advertisements_of_one_prefix_are_two_reasons_in_order_of_name() {
    let red = Advertisement { peers: peers(["tor-a"]), ..pools("b-red", PoolGate::Always) };
    let mut world = World::new([red, pools("a-blue", PoolGate::Allocated)]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    assert_eq!(world.routes(), ["203.0.113.0/24 pool blue b-red"]);
    assert_eq!(world.put(service("web", &["203.0.113.7"])), ["203.0.113.0/24"]);
    assert_eq!(world.routes(), ["203.0.113.0/24 pool blue a-blue", "203.0.113.0/24 pool blue b-red"]);
}

#[test]
fn a_route_keeps_the_time_at_which_it_came() {
    let mut world = World::new([pools("b", PoolGate::Always), pools("a", PoolGate::Allocated)]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    let came = world.now;
    world.put(service("web", &["203.0.113.7"]));
    assert_eq!(
        world.announcer.rib().routes[&prefix("203.0.113.0/24")].since,
        came,
        "another reason is no other route"
    );
    world.take(&ObjectRef::Pool("blue".into()));
    world.put(pool("blue", &["203.0.113.0/24"]));
    assert_eq!(world.announcer.rib().routes[&prefix("203.0.113.0/24")].since, world.now);
}

#[test]
fn a_pool_made_anew_has_its_new_age() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(pool("blue", &["203.0.113.0/24"]));
    assert_eq!(world.put(Pool { created: 900, ..pool("blue", &["203.0.113.0/24"]) }), ["203.0.113.0/24"]);
}

#[test]
fn widening_a_pool_moves_its_services_along() {
    let mut world = World::new([pools("fabric", PoolGate::Allocated)]);
    world.put(service("web", &["203.0.113.200"]));
    world.put(pool("blue", &["203.0.113.0/25"]));
    assert!(world.routes().is_empty());
    assert_eq!(world.put(pool("blue", &["203.0.113.0/24"])), ["203.0.113.0/24"]);
    assert_eq!(world.announcer.count("blue").ipv4.recorded, 1);
    assert_eq!(world.put(pool("blue", &["203.0.113.0/25"])), ["203.0.113.0/24"]);
    assert_eq!(world.announcer.count("blue").ipv4.recorded, 0);
}

#[test]
fn fixed_prefixes_are_always_announced_where_their_advertisement_speaks() {
    let fixed = Advertisement {
        prefixes: vec![prefix("203.0.113.0/24"), prefix("127.0.0.0/8"), prefix("198.51.100.1/32")],
        node_selector: Some(selector([("role", "edge")])),
        ..silent("static")
    };
    let mut world = World::new([fixed]);
    assert!(world.routes().is_empty());
    world.put(node("n1", labels([("role", "edge")])));
    assert_eq!(world.routes(), ["198.51.100.1/32 fixed static", "203.0.113.0/24 fixed static"]);
    assert_eq!(world.findings().len(), 1);
    assert!(world.announcer.rib().routes.values().all(|route| route.contributions[0].covered));
}

#[test]
fn where_the_pools_prefix_is_the_address_of_a_local_service_the_services_gate_decides() {
    let mut world = World::new([pools("fabric", PoolGate::Always)]);
    world.put(pool("vip", &["203.0.113.7/32"]));
    assert_eq!(world.prefixes(), ["203.0.113.7/32"]);
    assert_eq!(world.put(local("web", &["203.0.113.7"])), ["203.0.113.7/32"], "no endpoint here: withdrawn");
    assert!(world.put(endpoints("web", [ready("n2")])).is_empty());
    world.put(endpoints("web", [ready("n1")]));
    assert_eq!(world.routes(), ["203.0.113.7/32 pool vip fabric"]);
    world.put(service("web", &["203.0.113.7"]));
    world.put(endpoints("web", []));
    assert_eq!(world.routes(), ["203.0.113.7/32 pool vip fabric"], "with Cluster the pool's gate decides");
}

#[test]
fn never_holds_a_host_route_of_a_pool_even_where_a_local_service_is_ready() {
    let mut world = World::new([pools("fabric", PoolGate::Never)]);
    world.put(pool("vip", &["203.0.113.7/32"]));
    world.put(local("web", &["203.0.113.7"]));
    assert!(world.put(endpoints("web", [ready("n1")])).is_empty());
}

#[test]
fn a_host_route_stands_alone_where_it_meets_a_pool_prefix() {
    let routes = services("hosts", ServiceRoutesWhich::All, ServiceGate::Ready);
    let mut world = World::new([pools("fabric", PoolGate::Always), routes]);
    world.put(pool("vip", &["203.0.113.7/32"]));
    world.put(service("web", &["203.0.113.7"]));
    assert_eq!(world.routes(), ["203.0.113.7/32 pool vip fabric"]);
    world.put(endpoints("web", [ready("n2")]));
    assert_eq!(world.routes(), ["203.0.113.7/32 default/web hosts"]);
    world.put(endpoints("web", []));
    assert_eq!(world.routes(), ["203.0.113.7/32 pool vip fabric"]);
}

#[test]
fn a_host_route_for_some_peers_does_not_take_the_pool_prefix_from_the_others() {
    let routes = Advertisement {
        peers: peers(["tor-a"]),
        ..services("hosts", ServiceRoutesWhich::All, ServiceGate::Allocated)
    };
    let mut world = World::new([pools("fabric", PoolGate::Always), routes.clone()]);
    world.put(pool("vip", &["203.0.113.7/32"]));
    world.put(service("web", &["203.0.113.7"]));
    assert_eq!(world.routes(), ["203.0.113.7/32 pool vip fabric", "203.0.113.7/32 default/web hosts"]);
    let same = Advertisement { peers: peers(["tor-a"]), ..pools("fabric", PoolGate::Always) };
    world.configure([same, routes]);
    assert_eq!(world.routes(), ["203.0.113.7/32 default/web hosts"]);
}

#[test]
fn a_conflict_set_by_hand_names_both_ranges() {
    let conflict = Conflict {
        own: (addr("203.0.113.0"), addr("203.0.113.255")),
        with: "red".into(),
        theirs: (addr("203.0.113.0"), addr("203.0.113.3")),
    };
    let entry = crate::pools::PoolEntry { pool: blue(), conflict: Some(conflict) };
    let mut trace = Vec::new();
    assert!(!super::super::gates::pool_sound(&entry, &mut trace));
    assert!(trace[0].detail.contains("'red'"), "{trace:?}");
}
