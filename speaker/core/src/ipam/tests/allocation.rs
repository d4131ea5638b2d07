//! Who gets which address when nobody asks for one by name.

use bgp_proto::types::Family;
use speaker_config::objects::{IpFamilyPolicy, Object, SERVICE_NAMESPACE_LABEL, Selector};

use super::super::*;
use super::build::{Cluster, pool, selector, service};

const NO_POOL: &str = "There are no enabled CiliumLoadBalancerIPPools that match this service";
const OUT: &str = "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs";

#[test]
fn a_range_of_41_addresses_has_40_left_after_one_service() {
    let mut cluster = Cluster::new();
    cluster.put_service(service("lb-demo", "web"));
    assert_eq!(cluster.condition("lb-demo/web"), None, "nothing is written before the first pool");
    cluster.put_pool(pool("demo-pool", 1, &["192.0.2.10-192.0.2.50"]));
    assert_eq!(cluster.ips("lb-demo/web"), ["192.0.2.10"]);
    assert_eq!(cluster.condition("lb-demo/web"), Some(("True", "satisfied", "")));
    assert_eq!(cluster.counts("demo-pool"), ["41", "40", "1"]);
    assert_eq!(cluster.pool_says("demo-pool", POOL_CONFLICT), Some("False"));
    assert_eq!(cluster.pool_says("demo-pool", INVALID_SPEC), None);
    // The Service of a Gateway beside it.
    cluster.put_service(service("lb-demo", "cilium-gateway-gw"));
    assert_eq!(cluster.ips("lb-demo/cilium-gateway-gw"), ["192.0.2.11"]);
    assert_eq!(cluster.counts("demo-pool"), ["41", "39", "2"]);
    let notes: Vec<String> =
        cluster.events.iter().map(|event| format!("{} {}", event.reason, event.note)).collect();
    assert_eq!(notes, ["IPAllocated Assigned 192.0.2.10", "IPAllocated Assigned 192.0.2.11"]);
    cluster.restart();
}

#[test]
fn the_condition_of_a_pool_counts_in_decimal_and_has_no_status_of_its_own() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("six", 1, &["2001:db8::/48", "fd00::/8"]));
    cluster.put_pool(pool("all", 2, &["8000::/1", "::/1"]));
    let six = 2u128.pow(80) + 2u128.pow(120);
    assert_eq!(cluster.counts("six"), [&*six.to_string(), &*six.to_string(), "0"]);
    assert_eq!(cluster.counts("all")[0], "340282366920938463463374607431768211456");
    let condition = &cluster.inputs.pools.get("six").unwrap().pool.conditions[1];
    assert_eq!(
        (&*condition.kind, &*condition.status, &*condition.reason),
        (IPS_TOTAL, "Unknown", "noreason")
    );
    assert_eq!(
        cluster.pool_says("all", POOL_CONFLICT),
        Some(
            "Pool conflicts since range '8000:: - ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff' overlaps range 'fd00:: - fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff' from IP Pool 'six'"
        )
    );
}

#[test]
fn pools_are_asked_in_the_order_of_their_age_and_blocks_as_written() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("a-younger", 2, &["10.0.2.0-10.0.2.0"]));
    cluster.put_pool(pool("z-elder", 1, &["10.0.1.9-10.0.1.9", "10.0.1.1-10.0.1.2"]));
    for name in ["one", "two", "three", "four", "five"] {
        cluster.put_service(service("default", name));
    }
    let ips: Vec<_> = ["one", "two", "three", "four"].iter().flat_map(|name| cluster.ips(name)).collect();
    assert_eq!(ips, ["10.0.1.9", "10.0.1.1", "10.0.1.2", "10.0.2.0"]);
    assert_eq!(cluster.condition("five"), Some(("False", "out_of_ips", OUT)));
    cluster.restart();
}

#[test]
fn a_pool_of_higher_priority_is_asked_first_and_moves_nobody() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("elder", 1, &["10.0.1.0/24"]));
    cluster.put_pool(pool("younger", 2, &["10.0.2.0/24"]));
    cluster.put_service(service("default", "before"));
    let prefer = |text: &str| {
        let text = text.to_owned();
        move |pool: &mut speaker_config::objects::Pool| {
            pool.annotations.insert("lbipam.cilium.io/pool-priority".into(), text);
        }
    };
    cluster.edit_pool("younger", prefer("10"));
    cluster.put_service(service("default", "after"));
    assert_eq!([cluster.ips("before"), cluster.ips("after")], [["10.0.1.0"], ["10.0.2.0"]]);
    cluster.edit_pool("younger", prefer("-1"));
    cluster.put_service(service("default", "later"));
    assert_eq!(cluster.ips("later"), ["10.0.1.1"]);
    assert_eq!(cluster.pool_says("younger", INVALID_SPEC), None);
    // What is no number counts as 0, and is told.
    cluster.edit_pool("younger", prefer("first"));
    cluster.put_service(service("default", "last"));
    assert_eq!(cluster.ips("last"), ["10.0.1.2"]);
    let said = cluster.pool_says("younger", INVALID_SPEC).unwrap();
    assert!(said.contains("\"first\" is not a whole number") && said.contains("counts as 0"), "{said}");
    cluster.restart();
}

#[test]
fn a_service_that_names_its_pool_is_served_by_that_one_alone() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("elder", 1, &["10.0.1.0/24"]));
    cluster.put_pool(pool("younger", 2, &["10.0.2.0/24"]));
    let mut asked = service("default", "web");
    asked.annotations.insert("lbipam.cilium.io/pool".into(), "younger".into());
    cluster.put_service(asked);
    assert_eq!(cluster.ips("web"), ["10.0.2.0"]);
    let choose = |name: &'static str| {
        move |web: &mut speaker_config::objects::Service| {
            web.annotations.insert("lbipam.cilium.io/pool".into(), name.into());
        }
    };
    cluster.edit("web", choose("elder"));
    assert_eq!(cluster.ips("web"), ["10.0.1.0"], "another choice is another address");
    cluster.edit("web", choose("absent"));
    assert_eq!((cluster.ips("web"), cluster.condition("web")), (vec![], Some(("False", "no_pool", NO_POOL))));
    cluster.edit("web", |web| drop(web.annotations.insert("lbipam.cilium.io/ips".into(), "10.0.1.7".into())));
    assert_eq!(cluster.reason("web"), "pool_selector_mismatch");
    cluster.edit("web", choose("elder,younger"));
    assert_eq!(cluster.ips("web"), ["10.0.1.7"]);
    cluster.restart();
}

#[test]
fn what_was_said_and_holds_no_more_is_called_moot() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("one", 1, &["10.0.1.0/24"]));
    cluster.put_service(service("default", "web"));
    let without = cluster.get("web").clone();
    cluster.delete_service("web");
    let mut fresh = service("default", "web");
    fresh.created = 9;
    fresh.conditions = vec![super::super::status::satisfied(&without, Some(&Failure::no_pool()))];
    cluster.put(Object::Service(Box::new(fresh)));
    assert_eq!(cluster.turn().services.len(), 1);
    // Before that is recorded the pool serves it no longer: what is recorded is right again.
    let mut pool = cluster.inputs.pools.get("one").unwrap().pool.clone();
    pool.disabled = true;
    pool.selector = Some(selector("color", "red"));
    cluster.put(Object::Pool(pool));
    let changes = cluster.turn();
    assert_eq!(changes.services, []);
    assert_eq!(changes.moot, [speaker_config::objects::ObjectKey::new("default", "web")]);
    assert_eq!(cluster.turn().moot, []);
}

#[test]
fn selectors_see_the_labels_and_the_two_injected_ones() {
    let mut cluster = Cluster::new();
    let mut red = pool("red", 1, &["10.0.1.0/24"]);
    red.selector = Some(selector("color", "red"));
    cluster.put_pool(red);
    let mut tenant = pool("tenant", 2, &["10.0.2.0/24"]);
    tenant.selector = Some(selector(SERVICE_NAMESPACE_LABEL, "tenant"));
    cluster.put_pool(tenant);
    let mut asked = service("default", "web");
    // A label of one's own does not spoof the namespace.
    asked.labels.insert(SERVICE_NAMESPACE_LABEL.into(), "tenant".into());
    cluster.put_service(asked);
    assert_eq!(cluster.condition("web"), Some(("False", "no_pool", NO_POOL)));
    cluster.put_service(service("tenant", "web"));
    assert_eq!(cluster.ips("tenant/web"), ["10.0.2.0"]);
    cluster.edit("web", |web| drop(web.labels.insert("color".into(), "red".into())));
    assert_eq!(cluster.ips("web"), ["10.0.1.0"]);
    cluster.edit("web", |web| drop(web.labels.remove("color")));
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], "no_pool"));
    // The empty selector selects everything.
    cluster.edit_pool("red", |red| red.selector = Some(Selector::default()));
    assert_eq!(cluster.ips("web"), ["10.0.1.1"]);
}

#[test]
fn the_ends_of_a_block_are_kept_back_on_request() {
    let mut cluster = Cluster::new();
    let mut ends = pool("ends", 1, &["10.0.0.0/30", "10.0.1.0/31", "10.0.2.0-10.0.2.1"]);
    ends.reserve_first_last = true;
    cluster.put_pool(ends);
    assert_eq!(cluster.counts("ends"), ["8", "6", "2"], "the ends count as used");
    for index in 0..7 {
        cluster.put_service(service("default", &format!("web-{index}")));
    }
    let ips: Vec<_> = (0..7).flat_map(|index| cluster.ips(&format!("web-{index}"))).collect();
    assert_eq!(ips, ["10.0.0.1", "10.0.0.2", "10.0.1.0", "10.0.1.1", "10.0.2.0", "10.0.2.1"]);
    assert_eq!(cluster.counts("ends"), ["8", "0", "8"]);
    // Given free, the ends are handed out; kept back again, they stay where they are.
    cluster.edit_pool("ends", |ends| ends.reserve_first_last = false);
    assert_eq!(cluster.ips("web-6"), ["10.0.0.0"]);
    assert_eq!(cluster.counts("ends"), ["8", "1", "7"]);
    cluster.edit_pool("ends", |ends| ends.reserve_first_last = true);
    assert_eq!(cluster.ips("web-6"), ["10.0.0.0"]);
    assert_eq!(cluster.counts("ends"), ["8", "0", "8"]);
    cluster.restart();
}

#[test]
fn a_freed_address_is_the_last_to_be_used_again_and_the_longest_free_goes_first() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("one", 1, &["10.0.0.1-10.0.0.3", "10.0.0.9-10.0.0.9"]));
    for name in ["a", "b", "c"] {
        cluster.put_service(service("default", name));
    }
    cluster.delete_service("b");
    cluster.delete_service("a");
    let freed: Vec<String> = cluster.ipam.freed().map(|freed| freed.address.to_string()).collect();
    assert_eq!(freed, ["10.0.0.2", "10.0.0.1"]);
    // Also over a restart, where the list is kept.
    cluster.restart();
    for (name, ip) in [("d", "10.0.0.9"), ("e", "10.0.0.2"), ("f", "10.0.0.1")] {
        cluster.put_service(service("default", name));
        assert_eq!(cluster.ips(name), [ip]);
    }
    assert_eq!(cluster.ipam.freed().count(), 0);
    // Asked for by name it goes at once.
    cluster.delete_service("c");
    cluster.put_pool(pool("one", 1, &["10.0.0.1-10.0.0.9"]));
    let mut named = service("default", "g");
    named.load_balancer_ip = Some("10.0.0.3".into());
    cluster.put_service(named);
    assert_eq!(cluster.ips("g"), ["10.0.0.3"]);
}

#[test]
fn the_next_in_line_gets_what_is_set_free() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("one", 1, &["10.0.0.1-10.0.0.1"]));
    cluster.put_service(service("default", "holder"));
    let mut young = service("default", "a-young");
    young.created = 9;
    cluster.put_service(young);
    let mut old = service("default", "z-old");
    old.created = 5;
    cluster.put_service(old);
    // Somebody new in the same turn does not come first.
    let mut touched = Touched::default();
    cluster.inputs.remove(
        &speaker_config::objects::ObjectRef::Service(ObjectKey::new("default", "holder")),
        &mut touched,
    );
    cluster.ipam.touch(&touched);
    let mut newest = service("default", "newest");
    newest.created = 10;
    cluster.put_service(newest);
    assert_eq!(cluster.ips("z-old"), ["10.0.0.1"]);
    assert_eq!(cluster.reason("a-young"), "out_of_ips");
    cluster.delete_service("z-old");
    assert_eq!(cluster.ips("a-young"), ["10.0.0.1"]);
    cluster.restart();
}

#[test]
fn each_family_is_served_on_its_own() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("four", 1, &["10.0.0.0/24"]));
    let mut dual = service("default", "dual");
    dual.ip_family_policy = IpFamilyPolicy::RequireDualStack;
    dual.ip_families = vec![Family::Ipv6Unicast, Family::Ipv4Unicast];
    cluster.put_service(dual);
    assert_eq!(cluster.ips("dual"), ["10.0.0.0"], "half is given and said to be half");
    assert_eq!(cluster.condition("dual"), Some(("False", "no_pool", NO_POOL)));
    cluster.put_pool(pool("six", 2, &["2001:db8::/64"]));
    assert_eq!(cluster.ips("dual"), ["10.0.0.0", "2001:db8::"]);
    assert_eq!(cluster.reason("dual"), "satisfied");
    cluster.restart();
    cluster.edit("dual", |dual| dual.ip_family_policy = IpFamilyPolicy::SingleStack);
    assert_eq!(cluster.ips("dual"), ["2001:db8::"]);
    let note = &cluster.events.last().unwrap().note;
    assert_eq!(note, "Released 10.0.0.0: its family is not requested any more");
}

#[test]
fn one_turn_serves_the_eldest_first_whatever_the_names() {
    let mut cluster = Cluster::new();
    for (name, created) in [("a", 3), ("b", 2), ("c", 2), ("d", 1)] {
        let mut asked = service("default", name);
        asked.created = created;
        cluster.put(Object::Service(Box::new(asked)));
    }
    cluster.put_pool(pool("one", 1, &["10.0.0.1-10.0.0.3"]));
    for (name, ip) in [("d", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        assert_eq!(cluster.ips(name), [ip]);
    }
    assert_eq!(cluster.reason("a"), "out_of_ips");
}
