//! Cilium's rules for LB IPAM, by what ends up in the objects.

use bgp_proto::types::Family;
use speaker_config::objects::{Block, IpFamilyPolicy, TrafficPolicy};

use super::super::*;
use super::api::{Api, foreign_condition, pool, selector, service};
use crate::ipam::INVALID_SPEC;

const NO_POOL: &str = "There are no enabled CiliumLoadBalancerIPPools that match this service";

fn asks(name: &str, ips: &str) -> Service {
    let mut made = service(name);
    made.annotations.insert("lbipam.cilium.io/ips".into(), ips.into());
    made
}

fn shares(name: &str, key: &str, port: u16) -> Service {
    let mut made = service(name);
    made.annotations.insert("lbipam.cilium.io/sharing-key".into(), key.into());
    made.ports[0].port = port;
    made
}

#[test]
fn pending_becomes_an_address_when_the_first_pool_comes() {
    let mut api = Api::new();
    api.serve(service("web"));
    assert_eq!((api.ips("web").len(), api.says("web"), api.writes("web")), (0, None, 0));
    api.put_pool(pool("demo-pool", 1, &["192.0.2.10-192.0.2.50"]));
    assert_eq!(
        (api.ips("web"), api.says("web")),
        (vec!["192.0.2.10".into()], Some(("True", "satisfied", "")))
    );
    assert_eq!(api.counts("demo-pool"), ["False", "41", "40", "1"]);
    // The Service of a Gateway, behind which there are dummy endpoints that nobody asks about.
    let mut gateway = service("cilium-gateway-gw");
    gateway.selector.clear();
    api.serve(gateway);
    assert_eq!(api.ips("cilium-gateway-gw"), ["192.0.2.11"]);
    api.delete("web");
    assert_eq!(api.counts("demo-pool"), ["False", "41", "40", "1"]);
}

/// A pool `red` with owners for two of its addresses; others that are disabled, in conflict, used up.
fn crowded() -> Api {
    let mut api = Api::new();
    let mut red = pool("red", 1, &["10.0.1.0/24"]);
    red.selector = Some(selector("color", "red"));
    api.put_pool(red);
    api.put_pool(pool("off", 2, &["10.0.2.0/24"]));
    api.edit_pool("off", |off| off.disabled = true);
    api.put_pool(pool("clash", 3, &["10.0.1.128/25"]));
    let mut small = pool("small", 4, &["10.0.3.0-10.0.3.0"]);
    small.selector = Some(selector("size", "small"));
    api.put_pool(small);
    let mut elder = asks("elder", "10.0.1.7");
    elder.labels.insert("color".into(), "red".into());
    api.serve(elder);
    let mut shared = shares("shared", "k", 80);
    shared.annotations.insert("lbipam.cilium.io/ips".into(), "10.0.1.8".into());
    shared.labels.insert("color".into(), "red".into());
    api.serve(shared);
    for name in ["one", "two"] {
        let mut small = service(name);
        small.labels.insert("size".into(), "small".into());
        api.serve(small);
    }
    api
}

#[test]
fn each_reason_and_its_words() {
    let mut api = crowded();
    assert_eq!(api.ips("one"), ["10.0.3.0"]);
    assert_eq!(
        api.says("two"),
        Some((
            "False",
            "out_of_ips",
            "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs"
        ))
    );
    let mut red = |name: &str, ips: &str, key: &str| {
        let mut made = asks(name, ips);
        made.labels.insert("color".into(), "red".into());
        if !key.is_empty() {
            made.annotations.insert("io.cilium/lb-ipam-sharing-key".into(), key.into());
        }
        api.serve(made);
        let (status, reason, message) = api.says(name).unwrap();
        assert_eq!(status, "False", "{name}");
        format!("{reason}: {message}")
    };
    assert_eq!(red("absent", "10.9.9.9", ""), "no_pool: No pool exists with a CIDR containing '10.9.9.9'");
    assert_eq!(red("disabled", "10.0.2.1", ""), "no_pool: No pool exists with a CIDR containing '10.0.2.1'");
    assert_eq!(
        red("taken", "10.0.1.7", ""),
        "already_allocated: The IP '10.0.1.7' is already allocated to another service"
    );
    assert_eq!(
        red("clashes", "10.0.1.8", "k"),
        "already_allocated_incompatible_service: The IP '10.0.1.8' is already allocated to an incompatible service. Reason: same port and protocol"
    );
    assert_eq!(
        red("other-key", "10.0.1.8", "other"),
        "already_allocated_incompatible_service: The IP '10.0.1.8' is already allocated to an incompatible service. Reason: different sharing key"
    );
    assert_eq!(
        red("last-wins", "10.0.1.7,10.9.9.9", ""),
        "no_pool: No pool exists with a CIDR containing '10.9.9.9'"
    );
}

#[test]
fn a_mismatch_and_a_conflict_have_their_words_and_end_when_they_are_mended() {
    let mut api = crowded();
    api.serve(asks("mismatch", "10.0.1.9"));
    assert_eq!(
        api.says("mismatch"),
        Some((
            "False",
            "pool_selector_mismatch",
            "The pool with the CIDR containing '10.0.1.9', doesn't select this service"
        ))
    );
    api.serve(service("plain"));
    assert_eq!(api.says("plain"), Some(("False", "no_pool", NO_POOL)));
    let conflict =
        api.pool("clash").conditions.iter().find(|one| one.kind == "cilium.io/PoolConflict").unwrap();
    assert_eq!(
        (&*conflict.status, &*conflict.reason, &*conflict.message),
        (
            "True",
            "cidr_overlap",
            "Pool conflicts since range '10.0.1.128 - 10.0.1.255' overlaps range '10.0.1.0 - 10.0.1.255' from IP Pool 'red'"
        )
    );
    assert_eq!(api.counts("clash"), ["True", "128", "128", "0"]);
    // What is mended serves those that wait.
    api.remove(&ObjectRef::Pool("red".to_owned()));
    api.settle();
    assert_eq!(api.counts("clash")[0], "False");
    assert_eq!(api.ips("plain").len(), 1);
}

#[test]
fn only_our_classes_are_touched() {
    let mut api = Api::new();
    api.settings.ipam = Some(IpamSettings { l2_class: true, ..IpamSettings::default() });
    api.fail_over();
    api.put_pool(pool("blue", 1, &["10.0.0.0/24"]));
    for (class, served) in [
        (None, true),
        (Some("io.cilium/bgp-control-plane"), true),
        (Some("io.cilium/l2-announcer"), true),
        (Some("io.cilium/node"), false),
        (Some("metallb.io/metallb"), false),
    ] {
        let mut made = service("web");
        made.class = class.map(str::to_owned);
        made.conditions.push(foreign_condition());
        if !served {
            made.ingress = vec!["172.16.0.9".parse().unwrap()];
        }
        api.stored.clear();
        api.serve(made.clone());
        if served {
            assert_eq!((api.ips("web").len(), api.writes("web")), (1, 1), "{class:?}");
        } else {
            assert_eq!((api.get("web"), api.writes("web")), (&made, 0), "{class:?}");
        }
        api.delete("web");
    }
}

#[test]
fn both_families_or_what_there_is() {
    let mut api = Api::new();
    api.put_pool(pool("four", 1, &["10.0.0.0/24"]));
    let mut dual = service("web");
    dual.ip_family_policy = IpFamilyPolicy::RequireDualStack;
    dual.ip_families = vec![Family::Ipv4Unicast, Family::Ipv6Unicast];
    api.serve(dual);
    // What can be given is given, and the condition is about the rest.
    assert_eq!(
        (api.ips("web"), api.says("web")),
        (vec!["10.0.0.0".into()], Some(("False", "no_pool", NO_POOL)))
    );
    api.put_pool(pool("six", 2, &["2001:db8::/64"]));
    assert_eq!(
        (api.ips("web"), api.says("web").unwrap().1),
        (vec!["10.0.0.0".into(), "2001:db8::".into()], "satisfied")
    );
    api.edit("web", |web| {
        web.ip_family_policy = IpFamilyPolicy::SingleStack;
        web.ip_families = vec![Family::Ipv6Unicast];
    });
    assert_eq!(api.ips("web"), ["2001:db8::"]);
}

#[test]
fn addresses_asked_for_and_shared() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0/24"]));
    let mut both = asks("named", " 10.0.0.9 ,nonsense");
    both.load_balancer_ip = Some("10.0.0.8".into());
    api.serve(both);
    assert_eq!(api.ips("named"), ["10.0.0.8", "10.0.0.9"]);
    api.serve(shares("a", "k", 80));
    api.serve(shares("b", "k", 443));
    assert_eq!(api.ips("a"), api.ips("b"));
    let mut udp = shares("c", "k", 80);
    udp.ports[0].protocol = "UDP".into();
    api.serve(udp);
    assert_eq!(api.ips("a"), api.ips("c"), "TCP and UDP of one port do not clash");
    api.serve(shares("d", "k", 80));
    assert_ne!(api.ips("a"), api.ips("d"), "a fresh one for whom does not fit");
    let mut local = shares("e", "k", 8080);
    local.external_traffic_policy = TrafficPolicy::Local;
    api.serve(local);
    assert_eq!(api.ips("e").len(), 1);
    assert!(!["a", "d"].iter().any(|name| api.ips(name) == api.ips("e")));
    let mut abroad = shares("other/f", "k", 81);
    abroad.annotations.insert("lbipam.cilium.io/sharing-cross-namespace".into(), "default".into());
    api.serve(abroad);
    assert_ne!(api.ips("a"), api.ips("other/f"), "both must allow it");
    assert_eq!(api.counts("blue")[3], "6");
}

#[test]
fn first_and_last_are_kept_back_on_request() {
    let mut api = Api::new();
    let mut ends = pool("ends", 1, &["10.0.0.0/30"]);
    ends.reserve_first_last = true;
    api.put_pool(ends);
    api.serve(asks("web", "10.0.0.0"));
    assert_eq!(api.says("web").unwrap().1, "already_allocated", "a reserved address has an owner");
    assert_eq!(api.counts("ends"), ["False", "4", "2", "2"]);
    let mut shared = shares("shared", "k", 80);
    shared.annotations.insert("lbipam.cilium.io/ips".into(), "10.0.0.3".into());
    api.serve(shared);
    assert_eq!(api.ips("shared").len(), 0);
    api.edit_pool("ends", |ends| ends.reserve_first_last = false);
    assert_eq!(api.ips("web"), ["10.0.0.0"]);
    assert_eq!(api.ips("shared"), ["10.0.0.3"]);
}

#[test]
fn a_pool_is_deleted_changed_disabled_and_nobody_moves_without_need() {
    let mut api = Api::new();
    api.put_pool(pool("blue", 1, &["10.0.0.0-10.0.0.9"]));
    api.put_pool(pool("green", 2, &["10.0.1.0-10.0.1.9"]));
    for name in ["a", "b", "c"] {
        api.serve(service(name));
    }
    api.stored.clear();
    // Widened, renamed, disabled over a restart: all keep what they have.
    api.edit_pool("blue", |blue| blue.blocks = vec![Block::Cidr("10.0.0.0/24".parse().unwrap())]);
    api.edit_pool("blue", |blue| blue.disabled = true);
    api.fail_over();
    api.settle();
    assert_eq!([api.ips("a"), api.ips("b"), api.ips("c")], [["10.0.0.0"], ["10.0.0.1"], ["10.0.0.2"]]);
    assert!(["a", "b", "c"].iter().all(|name| api.writes(name) == 0));
    // Shrunk: the one that is outside moves, and not onto a neighbour's.
    api.edit_pool("blue", |blue| {
        blue.disabled = false;
        let (first, last) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        blue.blocks = vec![Block::Range { first, last }];
    });
    assert_eq!([api.ips("a"), api.ips("b"), api.ips("c")], [["10.0.1.0"], ["10.0.0.1"], ["10.0.0.2"]]);
    // Deleted: from the other pool, in one write each.
    api.stored.clear();
    api.remove(&ObjectRef::Pool("blue".to_owned()));
    api.settle();
    assert_eq!([api.ips("a"), api.ips("b"), api.ips("c")], [["10.0.1.0"], ["10.0.1.1"], ["10.0.1.2"]]);
    assert_eq!([api.writes("a"), api.writes("b"), api.writes("c")], [0, 1, 1]);
    // The last one: nothing is left.
    api.remove(&ObjectRef::Pool("green".to_owned()));
    api.settle();
    assert_eq!((api.ips("a").len(), api.says("a")), (0, Some(("False", "no_pool", NO_POOL))));
}

#[test]
fn a_block_or_selector_that_cannot_be_read_is_a_condition() {
    let mut api = Api::new();
    let mut bad = pool("bad", 1, &["10.0.0.0/24"]);
    bad.faults.push("spec.blocks[1].cidr: \"10.0.0.0/99\" is not a CIDR".to_owned());
    api.put_pool(bad);
    api.serve(service("web"));
    let condition = api.pool("bad").conditions.iter().find(|one| one.kind == INVALID_SPEC).unwrap();
    assert!(condition.status == "True" && condition.message.contains("spec.blocks[1].cidr"), "{condition:?}");
    assert_eq!(api.says("web").unwrap().1, "no_pool");
    assert_eq!(api.counts("bad"), ["False", "256", "256", "0"], "and its columns are not blank");
    api.edit_pool("bad", |bad| bad.faults.clear());
    assert!(api.pool("bad").conditions.iter().all(|one| one.kind != INVALID_SPEC));
    assert_eq!(api.ips("web"), ["10.0.0.0"]);
}
