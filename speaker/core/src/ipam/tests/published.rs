//! What the tests published with Cilium's own allocator (`operator/pkg/lbipam`) ask of it, case by case; the name of
//! theirs stands above each. Ours of the same subject go further.

use speaker_config::objects::{IpFamilyPolicy, Object, Service, ServicePort, UnixSeconds};

use super::super::*;
use super::build::{Cluster, pool, selector, service};

const V4: &str = "198.18.10.0/24";

/// An allocator with a pool `eldest` of these blocks.
fn with(blocks: &[&str]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("eldest", 1, blocks));
    cluster
}

/// A Service whose status has these, and no condition.
fn recorded(name: &str, ips: &[&str]) -> Service {
    let mut found = service("default", name);
    found.ingress = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    found
}

fn labelled(name: &str, color: &str) -> Service {
    let mut asked = service("default", name);
    asked.labels.insert("color".into(), color.into());
    asked
}

fn named(name: &str, field: &str, list: &str) -> Service {
    let mut asked = service("default", name);
    asked.load_balancer_ip = Some(field.to_owned()).filter(|field| !field.is_empty());
    if !list.is_empty() {
        asked.annotations.insert("io.cilium/lb-ipam-ips".into(), list.into());
    }
    asked
}

fn sharing(name: &str, key: &str, port: u16) -> Service {
    let mut asked = service("default", name);
    asked.annotations.insert("io.cilium/lb-ipam-sharing-key".into(), key.into());
    asked.ports = vec![ServicePort { protocol: "TCP".into(), port }];
    asked
}

fn used(cluster: &Cluster, pool: &str) -> String {
    cluster.counts(pool)[2].to_owned()
}

fn is_owned(cluster: &Cluster, ip: &str) -> bool {
    cluster.ipam.owners(ip.parse().unwrap()).next().is_some()
}

/// `TestConflictResolution`.
#[test]
fn all_ranges_of_the_younger_pool_are_off_until_the_overlap_is_gone() {
    let mut cluster = with(&[V4]);
    cluster.put_pool(pool("younger", 2, &[V4, "ff::/48"]));
    assert_eq!(cluster.pool_says("eldest", POOL_CONFLICT), Some("False"));
    let why = cluster.pool_says("younger", POOL_CONFLICT).unwrap();
    assert!(
        why.starts_with("Pool conflicts since range '198.18.10.0 - 198.18.10.255' overlaps range"),
        "{why}"
    );
    let mut six = service("default", "six");
    six.ip_families = vec![Family::Ipv6Unicast];
    cluster.put_service(six);
    assert_eq!(cluster.reason("six"), "no_pool", "its range that overlaps nothing is off too");
    cluster.edit_pool("younger", |pool| {
        pool.blocks.remove(0);
    });
    assert_eq!(cluster.pool_says("younger", POOL_CONFLICT), Some("False"));
    assert_eq!(cluster.ips("six"), ["ff::"]);
}

/// `TestPoolInternalConflict`.
#[test]
fn a_pool_that_overlaps_itself_is_off_until_it_does_not() {
    let mut cluster = with(&[V4, "198.18.10.64/28"]);
    cluster.put_service(service("default", "web"));
    assert_eq!(cluster.reason("web"), "no_pool");
    assert!(cluster.pool_says("eldest", POOL_CONFLICT).unwrap().ends_with("from IP Pool 'eldest'"));
    cluster.edit_pool("eldest", |pool| pool.blocks.truncate(1));
    assert_eq!(cluster.pool_says("eldest", POOL_CONFLICT), Some("False"));
    assert_eq!(cluster.ips("web"), ["198.18.10.0"]);
}

/// `TestAllocHappyPath`.
#[test]
fn who_changes_its_family_changes_its_address_and_gives_the_other_back() {
    let mut cluster = with(&[V4, "ff::/48"]);
    cluster.put_service(service("default", "web"));
    assert_eq!(cluster.condition("web"), Some(("True", "satisfied", "")));
    assert_eq!((cluster.ips("web"), cluster.get("web").conditions.len()), (vec!["198.18.10.0".into()], 1));
    for (family, ip) in [(Family::Ipv6Unicast, "ff::"), (Family::Ipv4Unicast, "198.18.10.1")] {
        cluster.edit("web", |web| web.ip_families = vec![family]);
        assert_eq!(cluster.ips("web"), [ip]);
        assert_eq!(used(&cluster, "eldest"), "1");
    }
}

/// `TestSharedServiceUpdatedSharingKey` and `TestSharedServiceUpdatedPorts`.
#[test]
fn a_sharer_that_fits_no_more_moves_and_the_other_stays() {
    for change in [
        |b: &mut Service| drop(b.annotations.insert("io.cilium/lb-ipam-sharing-key".into(), "two".into())),
        |b: &mut Service| b.ports[0].port = 80,
    ] {
        let mut cluster = with(&[V4]);
        cluster.put_service(sharing("a", "one", 80));
        cluster.put_service(sharing("b", "one", 81));
        assert_eq!((cluster.ips("a"), cluster.ips("b")), (cluster.ips("b"), vec!["198.18.10.0".into()]));
        cluster.edit("b", change);
        assert_eq!(
            (cluster.ips("a"), cluster.ips("b")),
            (vec!["198.18.10.0".into()], vec!["198.18.10.1".into()])
        );
    }
}

/// `TestSharingKey`.
#[test]
fn a_shared_address_is_free_when_the_last_one_goes() {
    let mut cluster = with(&[V4]);
    cluster.put_service(sharing("a", "one", 80));
    cluster.put_service(sharing("b", "one", 81));
    cluster.put_service(sharing("c", "two", 80));
    assert_eq!((cluster.ips("b"), cluster.ips("c")), (cluster.ips("a"), vec!["198.18.10.1".into()]));
    cluster.delete_service("a");
    assert!(is_owned(&cluster, "198.18.10.0"));
    cluster.delete_service("b");
    assert!(!is_owned(&cluster, "198.18.10.0"));
    // The key of c, and its port: no place for a. The key of c and another port: beside it.
    cluster.put_service(sharing("a", "two", 80));
    cluster.put_service(sharing("b", "two", 81));
    assert_ne!(cluster.ips("a"), cluster.ips("c"));
    assert_eq!(cluster.ips("b"), cluster.ips("c"));
    cluster.delete_service("c");
    assert!(is_owned(&cluster, "198.18.10.1"));
    cluster.delete_service("b");
    assert!(!is_owned(&cluster, "198.18.10.1"));
}

/// `TestSharingCrossNamespace`.
#[test]
fn namespaces_share_where_both_name_the_other() {
    for (of_one, of_two, together) in [
        ("*", "*", true),
        ("two", "one", true),
        ("two,three", "*", true),
        ("two", "", false),
        ("", "*", false),
        ("three", "one", false),
    ] {
        let mut cluster = with(&[V4]);
        for (namespace, others, port) in [("one", of_one, 80), ("two", of_two, 81)] {
            let mut asked = sharing("web", "key", port);
            asked.key.namespace = namespace.into();
            if !others.is_empty() {
                asked.annotations.insert("io.cilium/lb-ipam-sharing-cross-namespace".into(), others.into());
            }
            cluster.put_service(asked);
        }
        assert_eq!(cluster.ips("one/web") == cluster.ips("two/web"), together, "{of_one:?} {of_two:?}");
    }
}

/// `TestServiceDelete`.
#[test]
fn a_deleted_service_gives_its_address_back() {
    let mut cluster = with(&[V4]);
    cluster.put_service(service("default", "web"));
    assert!(is_owned(&cluster, "198.18.10.0"));
    cluster.delete_service("web");
    assert!(!is_owned(&cluster, "198.18.10.0"));
    assert_eq!(used(&cluster, "eldest"), "0");
}

/// `TestReallocOnInit`.
#[test]
fn an_address_that_no_pool_has_is_replaced() {
    let mut cluster = Cluster::new();
    cluster.put(Object::Service(Box::new(recorded("web", &["192.0.2.12"]))));
    cluster.put_pool(pool("eldest", 1, &[V4]));
    assert_eq!(cluster.ips("web"), ["198.18.10.0"]);
    assert_eq!((cluster.reason("web"), cluster.get("web").conditions.len()), ("satisfied", 1));
}

/// `TestAllocOnInit`.
#[test]
fn addresses_that_are_right_are_taken_over_as_they_are() {
    let mut cluster = Cluster::new();
    cluster.put(Object::Service(Box::new(recorded("a", &["198.18.10.123"]))));
    let mut asked = recorded("b", &["198.18.10.124"]);
    asked.load_balancer_ip = Some("198.18.10.124".into());
    cluster.put(Object::Service(Box::new(asked)));
    cluster.put_pool(pool("eldest", 1, &[V4]));
    assert_eq!(
        (cluster.ips("a"), cluster.ips("b")),
        (vec!["198.18.10.123".into()], vec!["198.18.10.124".into()])
    );
    assert!(is_owned(&cluster, "198.18.10.123") && is_owned(&cluster, "198.18.10.124"));
    cluster.restart();
}

/// `TestPoolSelectorBasic`.
#[test]
fn a_pool_serves_whom_it_selects() {
    let mut cluster = Cluster::new();
    let mut red = pool("eldest", 1, &[V4]);
    red.selector = Some(selector("color", "red"));
    cluster.put_pool(red);
    cluster.put_service(labelled("red", "red"));
    cluster.put_service(labelled("blue", "blue"));
    assert_eq!((cluster.ips("red"), cluster.reason("red")), (vec!["198.18.10.0".into()], "satisfied"));
    assert_eq!((cluster.ips("blue"), cluster.reason("blue")), (vec![], "no_pool"));
}

/// `TestPoolSelectorNamespace`.
#[test]
fn the_namespace_cannot_be_feigned_by_a_label() {
    let mut cluster = Cluster::new();
    let mut tenant = pool("eldest", 1, &[V4]);
    tenant.selector = Some(selector("io.kubernetes.service.namespace", "tenant-one"));
    cluster.put_pool(tenant);
    cluster.put_service(service("tenant-one", "red"));
    let mut feigned = service("tenant-two", "blue");
    feigned.labels.insert("io.kubernetes.service.namespace".into(), "tenant-one".into());
    cluster.put_service(feigned);
    assert_eq!(cluster.ips("tenant-one/red"), ["198.18.10.0"]);
    assert_eq!((cluster.ips("tenant-two/blue"), cluster.reason("tenant-two/blue")), (vec![], "no_pool"));
}

/// `TestChangeServiceType`.
#[test]
fn only_the_type_load_balancer_is_served() {
    let mut cluster = with(&[V4]);
    let mut inside = service("default", "web");
    inside.load_balancer = false;
    cluster.put_service(inside);
    assert_eq!((cluster.ips("web"), cluster.condition("web")), (vec![], None));
    cluster.edit("web", |web| web.load_balancer = true);
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec!["198.18.10.0".into()], "satisfied"));
    cluster.edit("web", |web| web.load_balancer = false);
    assert_eq!((cluster.ips("web"), cluster.condition("web")), (vec![], None));
    assert!(!is_owned(&cluster, "198.18.10.0"));
}

/// `TestRangesFull`; a range of one address serves one today.
#[test]
fn a_service_for_which_nothing_is_left_says_so() {
    let mut cluster = with(&["198.18.10.123/32", "ff::123/128"]);
    for (name, family) in [
        ("a", Family::Ipv4Unicast),
        ("b", Family::Ipv6Unicast),
        ("c", Family::Ipv4Unicast),
        ("d", Family::Ipv6Unicast),
    ] {
        let mut asked = service("default", name);
        asked.ip_families = vec![family];
        cluster.put_service(asked);
    }
    assert_eq!((cluster.ips("a"), cluster.ips("b")), (vec!["198.18.10.123".into()], vec!["ff::123".into()]));
    for name in ["c", "d"] {
        assert_eq!((cluster.ips(name), cluster.reason(name)), (vec![], "out_of_ips"));
    }
}

/// `TestRequestIPs` and `TestRemoveRequestedIP`.
#[test]
fn what_is_asked_for_by_name_is_given_and_given_back() {
    let mut cluster = with(&[V4]);
    cluster.put_service(named("a", "198.18.10.20", ""));
    assert_eq!(cluster.ips("a"), ["198.18.10.20"]);
    cluster.put_service(named("b", "198.18.10.21", "198.18.10.22,198.18.10.23"));
    assert_eq!(cluster.ips("b"), ["198.18.10.21", "198.18.10.22", "198.18.10.23"]);
    cluster.put_service(named("c", "198.18.10.21", ""));
    assert_eq!((cluster.ips("c"), cluster.reason("c")), (vec![], "already_allocated"));
    cluster.edit("b", |b| drop(b.annotations.insert("io.cilium/lb-ipam-ips".into(), "198.18.10.22".into())));
    assert_eq!(cluster.ips("b"), ["198.18.10.21", "198.18.10.22"]);
    assert!(!is_owned(&cluster, "198.18.10.23"));
}

/// `TestAddPool` and `TestAddRange`.
#[test]
fn who_waits_is_served_by_a_new_pool_and_by_a_new_range() {
    for new_pool in [true, false] {
        let mut cluster = with(&[V4]);
        cluster.put_service(named("web", "198.18.20.10", ""));
        assert_eq!(cluster.ips("web"), [""; 0]);
        if new_pool {
            cluster.put_pool(pool("younger", 2, &["198.18.20.0/24"]));
        } else {
            cluster.edit_pool("eldest", |old| old.blocks.extend(pool("x", 1, &["198.18.20.0/24"]).blocks));
        }
        assert_eq!(cluster.ips("web"), ["198.18.20.10"]);
    }
}

/// `TestDisablePool`.
#[test]
fn a_disabled_pool_keeps_what_it_gave_and_gives_nothing() {
    let mut cluster = with(&[V4]);
    cluster.put_service(service("default", "a"));
    let told = cluster.events.len();
    cluster.edit_pool("eldest", |pool| pool.disabled = true);
    assert_eq!((cluster.ips("a"), cluster.events.len()), (vec!["198.18.10.0".into()], told));
    cluster.put_service(service("default", "b"));
    assert_eq!((cluster.ips("b"), cluster.reason("b")), (vec![], "no_pool"));
    cluster.edit_pool("eldest", |pool| pool.disabled = false);
    assert_eq!(cluster.ips("b"), ["198.18.10.1"]);
}

/// `TestPoolDelete`.
#[test]
fn when_its_pool_is_deleted_a_service_is_served_by_another() {
    let mut cluster = with(&[V4]);
    cluster.put_pool(pool("younger", 2, &["198.18.20.0/24"]));
    cluster.put_service(service("default", "web"));
    assert_eq!(cluster.ips("web"), ["198.18.10.0"]);
    cluster.delete(&speaker_config::objects::ObjectRef::Pool("eldest".into()));
    assert_eq!(cluster.ips("web"), ["198.18.20.0"]);
}

/// `TestRangeDelete`.
#[test]
fn a_new_range_moves_nobody_and_a_removed_one_those_that_had_of_it() {
    let mut cluster = with(&[V4]);
    cluster.put_service(service("default", "web"));
    cluster.edit_pool("eldest", |old| old.blocks.extend(pool("x", 1, &["198.18.20.0/24"]).blocks));
    assert_eq!(cluster.ips("web"), ["198.18.10.0"]);
    cluster.edit_pool("eldest", |old| {
        old.blocks.remove(0);
    });
    assert_eq!(cluster.ips("web"), ["198.18.20.0"]);
}

/// `TestRemoveServiceLabel` and `TestChangePoolSelector`.
#[test]
fn whom_its_pool_selects_no_more_loses_its_address() {
    for of_pool in [false, true] {
        let mut cluster = Cluster::new();
        let mut blue = pool("eldest", 1, &[V4]);
        blue.selector = Some(selector("color", "blue"));
        cluster.put_pool(blue);
        cluster.put_service(labelled("web", "blue"));
        assert_eq!(cluster.ips("web"), ["198.18.10.0"]);
        if of_pool {
            cluster.edit_pool("eldest", |pool| pool.selector = Some(selector("color", "green")));
        } else {
            cluster.edit("web", |web| drop(web.labels.insert("color".into(), "green".into())));
        }
        assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], "no_pool"));
    }
}

/// `TestRequestIPWithMismatchedLabel`.
#[test]
fn a_name_does_not_open_a_pool_that_does_not_select() {
    let mut cluster = Cluster::new();
    let mut blue = pool("eldest", 1, &[V4]);
    blue.selector = Some(selector("color", "blue"));
    cluster.put_pool(blue);
    let mut red = named("web", "198.18.10.123", "");
    red.labels.insert("color".into(), "red".into());
    cluster.put_service(red);
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], "pool_selector_mismatch"));
}

/// `TestNonMatchingLBClass`, and those of the option for Services without a class.
#[test]
fn classes_of_others_are_left_alone() {
    let foreign = Some("net.example/some-other-class".to_owned());
    for (default_class, class, served) in [
        (DefaultClass::LbIpam, foreign, false),
        (DefaultClass::LbIpam, Some(BGP_CLASS.to_owned()), true),
        (DefaultClass::LbIpam, None, true),
        (DefaultClass::NodeIpam, None, false),
        (DefaultClass::None, None, false),
        (DefaultClass::None, Some(BGP_CLASS.to_owned()), true),
    ] {
        let mut cluster = Cluster::with(IpamSettings { default_class, ..IpamSettings::default() });
        cluster.put_pool(pool("eldest", 1, &[V4]));
        let mut asked = service("default", "web");
        asked.class = class.clone();
        cluster.put_service(asked);
        assert_eq!(!cluster.ips("web").is_empty(), served, "{class:?}");
        assert_eq!(cluster.condition("web").is_some(), served, "{class:?}");
    }
}

/// `TestAllowFirstLastIPs` and `TestUpdateAllowFirstAndLastIPs`.
#[test]
fn the_ends_are_kept_back_where_the_pool_says_no() {
    let mut cluster = with(&["198.18.10.16/30"]);
    cluster.edit_pool("eldest", |pool| pool.reserve_first_last = true);
    cluster.put_service(named("first", "198.18.10.16", ""));
    cluster.put_service(service("default", "any"));
    assert_eq!((cluster.ips("first"), cluster.ips("any")), (vec![], vec!["198.18.10.17".into()]));
    cluster.edit_pool("eldest", |pool| pool.reserve_first_last = false);
    assert_eq!(cluster.ips("first"), ["198.18.10.16"]);
    cluster.edit_pool("eldest", |pool| pool.reserve_first_last = true);
    assert_eq!(cluster.ips("first"), ["198.18.10.16"], "what is given stays");
    cluster.put_service(named("last", "198.18.10.19", ""));
    assert_eq!(cluster.ips("last"), [""; 0]);
}

/// `TestRequestReservedFirstLastIPWithSharingKey`.
#[test]
fn a_sharing_key_opens_no_end_that_is_kept_back() {
    let mut cluster = with(&["198.18.10.16/30"]);
    cluster.edit_pool("eldest", |pool| pool.reserve_first_last = true);
    let mut asked = sharing("web", "key", 80);
    asked.load_balancer_ip = Some("198.18.10.16".into());
    cluster.put_service(asked);
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], "already_allocated"));
}

/// The restart of [cilium#43131] and [cilium#46262]: satisfied Services first, those that share included.
///
/// [cilium#43131]: https://github.com/cilium/cilium/issues/43131
/// [cilium#46262]: https://github.com/cilium/cilium/pull/46262
#[test]
fn at_a_restart_nobody_that_has_an_address_is_moved_for_one_that_has_none() {
    let mut cluster = Cluster::new();
    let at = |mut one: Service, created: UnixSeconds| {
        one.created = created;
        Object::Service(Box::new(one))
    };
    let mut shared = [sharing("b", "key", 80), sharing("c", "key", 81)];
    shared
        .iter_mut()
        .for_each(|one| one.ingress = vec!["198.18.10.0".parse().unwrap(), "198.18.10.1".parse().unwrap()]);
    let [b, c] = shared;
    // Elder than both, it would get the lowest address.
    cluster.put(at(service("default", "a"), 1));
    cluster.put(at(b, 2));
    cluster.put(at(c, 3));
    let mut dual = recorded("d", &["198.18.10.2"]);
    dual.ip_family_policy = IpFamilyPolicy::PreferDualStack;
    cluster.put(at(dual, 4));
    cluster.put_pool(pool("eldest", 1, &[V4]));
    assert_eq!(cluster.ips("b"), ["198.18.10.0", "198.18.10.1"]);
    assert_eq!(cluster.ips("c"), cluster.ips("b"));
    assert_eq!(
        (cluster.ips("d"), cluster.ips("a")),
        (vec!["198.18.10.2".into()], vec!["198.18.10.3".into()])
    );
    cluster.restart();
}
