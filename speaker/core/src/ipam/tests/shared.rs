//! Several Services on one address.

use speaker_config::objects::{Service, ServicePort, TrafficPolicy};

use super::super::*;
use super::build::{Cluster, pool, service};

fn sharer(name: &str, port: u16) -> Service {
    let mut asked = service("default", name);
    asked.annotations.insert("lbipam.cilium.io/sharing-key".into(), "key".into());
    asked.ports = vec![ServicePort { protocol: "TCP".into(), port }];
    asked
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
    cluster
}

fn annotate(service: &mut Service, word: &str, value: &str) {
    service.annotations.insert(format!("lbipam.cilium.io/{word}"), value.into());
}

#[test]
fn one_key_and_different_ports_share_an_address() {
    let mut cluster = cluster();
    cluster.put_service(sharer("a", 80));
    cluster.put_service(sharer("b", 81));
    assert_eq!((cluster.ips("a"), cluster.ips("b")), (cluster.ips("b"), vec!["10.0.0.0".to_owned()]));
    assert_eq!(cluster.counts("pool"), ["256", "255", "1"]);
    // The same number over another protocol is another port.
    let mut dns = sharer("dns", 80);
    dns.ports = vec![ServicePort { protocol: "UDP".into(), port: 80 }];
    cluster.put_service(dns);
    assert_eq!(cluster.ips("dns"), ["10.0.0.0"]);
    cluster.restart();
    cluster.delete_service("a");
    assert_eq!(cluster.ipam.freed().count(), 0, "shared, it is not free");
    cluster.delete_service("b");
    cluster.delete_service("dns");
    assert_eq!(cluster.ipam.freed().count(), 1);
    assert_eq!(cluster.counts("pool"), ["256", "256", "0"]);
}

#[test]
fn what_does_not_fit_gets_an_address_of_its_own() {
    for change in [
        |b: &mut Service| b.ports = vec![ServicePort { protocol: "TCP".into(), port: 80 }],
        |b: &mut Service| b.external_traffic_policy = TrafficPolicy::Local,
        |b: &mut Service| annotate(b, "sharing-key", "other"),
        |b: &mut Service| annotate(b, "sharing-key", ""),
        |b: &mut Service| b.key.namespace = "default2".into(),
    ] {
        let mut cluster = cluster();
        cluster.put_service(sharer("a", 80));
        let mut b = sharer("b", 81);
        change(&mut b);
        let name = b.key.to_string();
        cluster.put_service(b);
        assert_eq!(cluster.ips(&name), ["10.0.0.1"]);
        assert_eq!(cluster.reason(&name), "satisfied");
        cluster.restart();
    }
}

#[test]
fn a_shared_address_asked_for_by_name_says_what_is_in_the_way() {
    let local = |service: &mut Service| service.external_traffic_policy = TrafficPolicy::Local;
    let why = |a: &dyn Fn(&mut Service), b: &dyn Fn(&mut Service)| {
        let mut cluster = cluster();
        let (mut first, mut second) = (sharer("a", 80), sharer("b", 81));
        a(&mut first);
        b(&mut second);
        annotate(&mut second, "ips", "10.0.0.0");
        let name = second.key.to_string();
        cluster.put_service(first);
        cluster.put_service(second);
        let (_, reason, message) = cluster.condition(&name).unwrap();
        if reason == "satisfied" {
            return "shared".to_owned();
        }
        assert_eq!(reason, "already_allocated_incompatible_service");
        let prefix = "The IP '10.0.0.0' is already allocated to an incompatible service. Reason: ";
        message.strip_prefix(prefix).unwrap().to_owned()
    };
    let nothing = |_: &mut Service| {};
    assert_eq!(why(&nothing, &nothing), "shared");
    assert_eq!(why(&nothing, &|b| annotate(b, "sharing-key", "other")), "different sharing key");
    assert_eq!(why(&nothing, &|b| b.ports[0].port = 80), "same port and protocol");
    assert_eq!(why(&nothing, &local), "different ExternalTrafficPolicy");
    let apart = "ExternalTrafficPolicy local but selecting different set of pods without lbipam.cilium.io/sharing-permit-different-pods on both services";
    assert_eq!(why(&local, &local), apart);
    let permitting = |service: &mut Service| {
        local(service);
        annotate(service, "sharing-permit-different-pods", "true");
    };
    assert_eq!(why(&permitting, &local), apart, "both must permit it");
    assert_eq!(why(&permitting, &permitting), "shared");
    let without = |service: &mut Service| {
        permitting(service);
        service.selector.clear();
    };
    assert_eq!(why(&permitting, &without), "ExternalTrafficPolicy local but a service has no selector");
    let elsewhere = |service: &mut Service| service.key.namespace = "other".into();
    assert_eq!(why(&nothing, &elsewhere), "different and not permitted namespace");
    let here =
        |list: &'static str| move |service: &mut Service| annotate(service, "sharing-cross-namespace", list);
    let there = |list: &'static str| {
        move |service: &mut Service| {
            service.key.namespace = "other".into();
            annotate(service, "sharing-cross-namespace", list);
        }
    };
    assert_eq!(why(&here("other"), &there("team")), "different and not permitted namespace");
    assert_eq!(why(&here("x, other"), &there("default ,y")), "shared", "spaces do not count");
    assert_eq!(why(&here("*"), &there("*")), "shared");
}

#[test]
fn who_changes_its_terms_goes_and_its_neighbour_stays() {
    let mut cluster = cluster();
    cluster.put_service(sharer("a", 80));
    cluster.put_service(sharer("b", 81));
    cluster.edit("a", |a| a.ports[0].port = 81);
    assert_eq!(
        (cluster.ips("a"), cluster.ips("b")),
        (vec!["10.0.0.1".to_owned()], vec!["10.0.0.0".to_owned()])
    );
    cluster.restart();
    // Of two that change at once the first created stays.
    cluster.put_service(sharer("c", 82));
    assert_eq!(cluster.ips("c"), ["10.0.0.0"]);
    for name in ["b", "c"] {
        let mut changed = cluster.get(name).clone();
        changed.ports[0].port = 90;
        cluster.put(speaker_config::objects::Object::Service(Box::new(changed)));
    }
    cluster.settle();
    assert_eq!(cluster.ips("b"), ["10.0.0.0"]);
    assert_eq!(cluster.ips("c"), ["10.0.0.1"], "and the other shares where it now fits");
}

#[test]
fn a_group_is_joined_only_through_a_pool_that_selects_and_is_on() {
    let mut cluster = cluster();
    cluster.put_service(sharer("a", 80));
    cluster.put_pool(pool("younger", 2, &["10.0.1.0/24"]));
    cluster.edit_pool("pool", |pool| pool.disabled = true);
    cluster.put_service(sharer("b", 81));
    assert_eq!(cluster.ips("b"), ["10.0.1.0"]);
    assert_eq!(cluster.ips("a"), ["10.0.0.0"]);
}

#[test]
fn who_waits_joins_a_group_as_soon_as_it_fits() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/32"]));
    cluster.put_service(sharer("a", 80));
    cluster.put_service(sharer("b", 80));
    assert_eq!(cluster.reason("b"), "out_of_ips");
    cluster.edit("a", |a| a.ports[0].port = 8080);
    assert_eq!(cluster.ips("b"), ["10.0.0.0"]);
    cluster.restart();
}

#[test]
fn the_legacy_names_serve_as_well() {
    let mut cluster = cluster();
    cluster.put_service(sharer("a", 80));
    let mut legacy = service("default", "b");
    legacy.ports[0].port = 81;
    legacy.annotations.insert("io.cilium/lb-ipam-sharing-key".into(), "key".into());
    cluster.put_service(legacy);
    assert_eq!(cluster.ips("b"), ["10.0.0.0"]);
    assert_eq!(cluster.ipam.owners("10.0.0.0".parse().unwrap()).count(), 2);
    let standing = cluster.ipam.owners("10.0.0.0".parse().unwrap()).map(|(_, standing)| standing);
    assert!(standing.into_iter().all(|standing| standing == Standing::Recorded));
}
