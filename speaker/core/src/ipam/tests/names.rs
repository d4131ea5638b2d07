//! Addresses asked for by name.

use super::super::*;
use super::build::{Cluster, pool, selector, service};

fn asks(name: &str, ips: &str) -> speaker_config::objects::Service {
    let mut asked = service("default", name);
    asked.annotations.insert("lbipam.cilium.io/ips".into(), ips.into());
    asked
}

#[test]
fn an_address_is_given_by_name() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["192.168.0.220-192.168.0.239"]));
    cluster.put_service(asks("envoy", "192.168.0.238"));
    assert_eq!(cluster.ips("envoy"), ["192.168.0.238"]);
    cluster.edit("envoy", |envoy| {
        envoy.load_balancer_ip = Some("192.168.0.239".into());
        envoy.annotations.insert("lbipam.cilium.io/ips".into(), "192.168.0.238, 192.168.0.225".into());
    });
    assert_eq!(cluster.ips("envoy"), ["192.168.0.238", "192.168.0.239", "192.168.0.225"]);
    cluster.edit("envoy", |envoy| envoy.load_balancer_ip = None);
    assert_eq!(cluster.ips("envoy"), ["192.168.0.238", "192.168.0.225"]);
    cluster.edit("envoy", |envoy| envoy.annotations.clear());
    assert_eq!(cluster.ips("envoy"), ["192.168.0.238", "192.168.0.225"], "what is valid stays");
    cluster.restart();
}

#[test]
fn of_two_that_ask_for_one_address_the_first_has_it() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
    cluster.put_service(asks("first", "10.0.0.7"));
    cluster.put_service(asks("second", "10.0.0.7"));
    assert_eq!(
        cluster.condition("second"),
        Some(("False", "already_allocated", "The IP '10.0.0.7' is already allocated to another service"))
    );
    let told = cluster.events.iter().filter(|event| event.reason == EventReason::AllocationFailed).count();
    assert_eq!(told, 1);
    cluster.edit("second", |_| {});
    let told = cluster.events.iter().filter(|event| event.reason == EventReason::AllocationFailed).count();
    assert_eq!(told, 1, "the same failure is told once");
    cluster.restart();
    cluster.delete_service("first");
    assert_eq!(cluster.ips("second"), ["10.0.0.7"], "set free, it goes to who waits for it");
}

#[test]
fn each_refusal_has_its_words() {
    let mut cluster = Cluster::new();
    let mut red = pool("red", 1, &["10.0.1.0/24"]);
    red.selector = Some(selector("color", "red"));
    cluster.put_pool(red);
    let mut off = pool("off", 2, &["10.0.2.0/24"]);
    off.disabled = true;
    cluster.put_pool(off);
    let mut ends = pool("ends", 3, &["10.0.3.0/24"]);
    ends.reserve_first_last = true;
    cluster.put_pool(ends);
    for (ip, reason, message) in [
        ("10.0.9.1", "no_pool", "No pool exists with a CIDR containing '10.0.9.1'"),
        (
            "10.0.1.1",
            "pool_selector_mismatch",
            "The pool with the CIDR containing '10.0.1.1', doesn't select this service",
        ),
        ("10.0.2.1", "no_pool", "No pool exists with a CIDR containing '10.0.2.1'"),
        ("10.0.3.255", "already_allocated", "The IP '10.0.3.255' is already allocated to another service"),
        // The last one that fails is told.
        (
            "10.0.9.1,10.0.3.0,10.0.3.7",
            "already_allocated",
            "The IP '10.0.3.0' is already allocated to another service",
        ),
    ] {
        cluster.put_service(asks("web", ip));
        assert_eq!(cluster.condition("web"), Some(("False", reason, message)));
    }
    assert_eq!(cluster.ips("web"), ["10.0.3.7"], "what can be given is given");
    // A sharing key does not open a reserved address either.
    cluster.edit("web", |web| {
        web.annotations.insert("lbipam.cilium.io/ips".into(), "10.0.3.0".into());
        web.annotations.insert("lbipam.cilium.io/sharing-key".into(), "k".into());
    });
    assert_eq!(cluster.reason("web"), "already_allocated");
    assert_eq!(cluster.ips("web"), [""; 0]);
}

#[test]
fn a_name_of_another_family_is_granted() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("six", 1, &["2001:db8::/64"]));
    cluster.put_service(asks("web", "2001:db8::7"));
    assert_eq!(cluster.ips("web"), ["2001:db8::7"]);
    cluster.restart();
}

#[test]
fn a_list_without_an_address_is_no_request() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
    cluster.put_service(asks("web", "the-usual, ,"));
    assert_eq!(cluster.ips("web"), ["10.0.0.0"]);
}

#[test]
fn a_name_waits_for_its_pool() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("other", 1, &["10.0.0.0/24"]));
    cluster.put_service(asks("web", "10.0.1.1"));
    assert_eq!(cluster.reason("web"), "no_pool");
    cluster.put_pool(pool("pool", 2, &["10.0.1.0/24"]));
    assert_eq!(cluster.ips("web"), ["10.0.1.1"]);
}
