//! Addresses for Services, as users of the API see them: kubectl, a real API server, and our operator under its
//! own ServiceAccount.
//!
//! A freed address is the last to be given again, also in a pool that comes later: where a test expects a certain
//! address, the range is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::json;
use tests::e2e::manifests::{pool, pool_with, service};
use tests::e2e::table::{heads, rows};
use tests::e2e::{SOON, Turn, turn};
use tests::wait::eventually;

fn world() -> Turn {
    turn(0)
}

/// Waits until `kubectl get ippools NAME` prints this in DISABLED, CONFLICTING and IPS AVAILABLE.
fn wait_printed(world: &Turn, name: &str, columns: [&str; 3]) {
    eventually(SOON, &format!("kubectl prints {columns:?} of {name}"), || {
        let text = world.cluster.kubectl(&["get", "ippools", name]);
        let row = &rows(&text)[0];
        let now = [&row["DISABLED"], &row["CONFLICTING"], &row["IPS AVAILABLE"]];
        if now == columns { Ok(()) } else { Err(text) }
    });
}

fn events(world: &Turn, reason: &str) -> String {
    let selector = format!("reason={reason}");
    world.cluster.kubectl(&["get", "events", "-A", "--field-selector", &selector])
}

fn external(world: &Turn, name: &str) -> String {
    rows(&world.cluster.kubectl(&["get", "service", name]))[0]["EXTERNAL-IP"].clone()
}

#[test]
fn a_service_is_pending_until_a_pool_exists() {
    let world = world();
    world.cluster.apply(&service("web").yaml());
    assert_eq!(external(&world, "web"), "<pending>");

    world.cluster.apply(&pool("demo", "{start: 192.0.2.10, stop: 192.0.2.50}"));
    world.wait_ingress("web", &["192.0.2.10"]);
    assert_eq!(external(&world, "web"), "192.0.2.10");
    let path = "jsonpath={range .status.conditions[*]}{.type}={.status}{\"\\n\"}{end}";
    let printed = world.cluster.kubectl(&["get", "service", "web", "-o", path]);
    assert_eq!(printed, "cilium.io/IPAMRequestSatisfied=True\n");

    wait_printed(&world, "demo", ["false", "False", "40"]);
    let printed = world.cluster.kubectl(&["get", "ciliumloadbalancerippool"]);
    let head: Vec<String> = heads(printed.lines().next().unwrap()).into_iter().map(|(_, h)| h).collect();
    assert_eq!(head, ["NAME", "DISABLED", "CONFLICTING", "IPS AVAILABLE", "AGE"], "{printed}");
    assert_eq!(world.pool_count("demo", "IPsTotal"), "41");
    assert_eq!(world.pool_count("demo", "IPsUsed"), "1");

    world.cluster.apply(&service("gateway").yaml());
    world.wait_ingress("gateway", &["192.0.2.11"]);
    wait_printed(&world, "demo", ["false", "False", "39"]);
    let condition = world.condition("web");
    assert_eq!(condition["reason"], "satisfied", "{condition}");
    assert_eq!(
        condition["observedGeneration"],
        world.service("web")["metadata"]["generation"],
        "{condition}"
    );
}

#[test]
fn a_range_of_41_serves_41_and_the_next_when_one_is_freed() {
    let world = world();
    world.cluster.apply(&pool("range", "{start: 10.41.0.10, stop: 10.41.0.50}"));
    let all: String = (0..41).map(|n| service(&format!("s{n:02}")).yaml()).collect();
    world.cluster.apply(&all);
    let mut given = BTreeSet::new();
    for n in 0..41 {
        let addresses = world.wait_any_ingress(&format!("s{n:02}"));
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        given.insert(addresses[0].parse::<IpAddr>().unwrap());
    }
    let range: BTreeSet<IpAddr> = (10..=50).map(|n| IpAddr::from([10, 41, 0, n])).collect();
    assert_eq!(given, range);
    wait_printed(&world, "range", ["false", "False", "0"]);

    world.cluster.apply(&service("late").yaml());
    let message = world.wait_refused("late", "out_of_ips");
    assert_eq!(
        message,
        "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs"
    );
    assert_eq!(external(&world, "late"), "<pending>");
    let freed = world.ingress("s17");
    world.cluster.kubectl(&["delete", "service", "s17"]);
    world.wait_ingress("late", &[&freed[0]]);
}

#[test]
fn a_pool_serves_the_services_that_it_selects() {
    let world = world();
    let selector = "serviceSelector: {matchLabels: {color: red}}";
    world.cluster.apply(&pool_with("red", "{cidr: 203.0.113.0/24}", selector));
    world.cluster.apply(&service("blue").labels("{color: blue}").yaml());
    let message = world.wait_refused("blue", "no_pool");
    assert_eq!(message, "There are no enabled CiliumLoadBalancerIPPools that match this service");
    let asks = service("asks").annotations("{lbipam.cilium.io/ips: 203.0.113.7}");
    world.cluster.apply(&asks.yaml());
    let message = world.wait_refused("asks", "pool_selector_mismatch");
    assert_eq!(message, "The pool with the CIDR containing '203.0.113.7', doesn't select this service");

    world.cluster.kubectl(&["label", "service", "blue", "color=red", "--overwrite"]);
    world.wait_any_ingress("blue");
    world.cluster.kubectl(&["label", "service", "asks", "color=red"]);
    world.wait_ingress("asks", &["203.0.113.7"]);
    world.cluster.kubectl(&["label", "service", "blue", "color-", "--overwrite"]);
    world.wait_refused("blue", "no_pool");
    assert_eq!(world.ingress("blue"), [""; 0]);

    // The two labels that are not the user's to choose.
    let expression = "serviceSelector: {matchExpressions: [{key: io.kubernetes.service.namespace, operator: In, \
                      values: [kube-public]}]}";
    world.cluster.apply(&pool_with("public", "{cidr: 10.42.0.0/28}", expression));
    let liar = service("liar").labels("{io.kubernetes.service.namespace: kube-public}");
    world.cluster.apply(&(service("kube-public/honest").yaml() + &liar.yaml()));
    world.wait_ingress("kube-public/honest", &["10.42.0.0"]);
    world.wait_refused("liar", "no_pool");
}

#[test]
fn an_address_is_asked_for_in_four_ways() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 192.168.0.0/24}"));
    let all = [
        service("annotated").annotations("{lbipam.cilium.io/ips: 192.168.0.238}"),
        service("alias").annotations("{io.cilium/lb-ipam-ips: 192.168.0.239}"),
        service("field").spec("loadBalancerIP: 192.168.0.240"),
        service("several").annotations("{lbipam.cilium.io/ips: '192.168.0.241, 192.168.0.242'}"),
    ];
    world.cluster.apply(&all.map(|s| s.yaml()).concat());
    world.wait_ingress("annotated", &["192.168.0.238"]);
    world.wait_ingress("alias", &["192.168.0.239"]);
    world.wait_ingress("field", &["192.168.0.240"]);
    world.wait_ingress("several", &["192.168.0.241", "192.168.0.242"]);

    world.cluster.apply(&service("foreign").annotations("{lbipam.cilium.io/ips: 10.9.9.9}").yaml());
    let message = world.wait_refused("foreign", "no_pool");
    assert_eq!(message, "No pool exists with a CIDR containing '10.9.9.9'");
    world.cluster.kubectl(&[
        "annotate",
        "service",
        "annotated",
        "lbipam.cilium.io/ips=192.168.0.9",
        "--overwrite",
    ]);
    world.wait_ingress("annotated", &["192.168.0.9"]);
    // An annotation that nobody has is nobody's.
    let unknown = service("unknown").annotations("{io.cilium.operator.external-ips: 'true'}");
    world.cluster.apply(&unknown.yaml());
    world.wait_any_ingress("unknown");
}

#[test]
fn of_two_that_ask_for_one_address_the_first_has_it() {
    let world = world();
    world.cluster.apply(&pool("pool", "{start: 192.168.0.220, stop: 192.168.0.239}"));
    let ask = |name: &str| service(name).annotations("{lbipam.cilium.io/ips: 192.168.0.223}").yaml();
    world.cluster.apply(&ask("first"));
    world.wait_ingress("first", &["192.168.0.223"]);
    world.cluster.apply(&ask("second"));
    let message = world.wait_refused("second", "already_allocated");
    assert_eq!(message, "The IP '192.168.0.223' is already allocated to another service");
    assert_eq!(external(&world, "second"), "<pending>");
    eventually(SOON, "an event tells of it", || {
        let events = events(&world, "IPAllocationFailed");
        let told = events.lines().any(|l| l.contains("service/second") && l.contains("192.168.0.223"));
        if told { Ok(()) } else { Err(events) }
    });
    world.cluster.kubectl(&["delete", "service", "first"]);
    world.wait_ingress("second", &["192.168.0.223"]);
}

#[test]
fn services_share_an_address_where_their_ports_differ() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 203.0.113.0/24}"));
    let shared = |id: &str, more: &str| {
        service(id).annotations(&format!("{{lbipam.cilium.io/sharing-key: one{more}}}"))
    };
    world.cluster.apply(&shared("http", "").port(80).yaml());
    let address = world.wait_any_ingress("http");
    world.cluster.apply(&shared("https", "").port(443).yaml());
    world.wait_ingress("https", &[&address[0]]);
    world.cluster.apply(&shared("clash", "").port(80).yaml());
    let other = world.wait_any_ingress("clash");
    assert_ne!(other, address, "two Services on one port of one address");

    let cross = ", lbipam.cilium.io/sharing-cross-namespace: '*'";
    world.cluster.apply(&shared("kube-public/apart", "").port(8443).yaml());
    assert_ne!(world.wait_any_ingress("kube-public/apart"), address);
    let request = format!(", lbipam.cilium.io/ips: {}", address[0]);
    world.cluster.apply(&shared("kube-public/refused", &request).port(9000).yaml());
    let message = world.wait_refused("kube-public/refused", "already_allocated_incompatible_service");
    let expected = format!(
        "The IP '{}' is already allocated to an incompatible service. Reason: different and not permitted namespace",
        address[0]
    );
    assert_eq!(message, expected);
    world.cluster.apply(&shared("open", cross).port(81).yaml());
    world.wait_any_ingress("open");

    // The address outlives the Service that had it first.
    world.cluster.kubectl(&["delete", "service", "http"]);
    world.cluster.apply(&shared("again", "").port(80).yaml());
    world.wait_any_ingress("again");
    assert_eq!(world.ingress("https"), address);
}

#[test]
fn families_are_given_as_asked() {
    let world = world();
    world.cluster.apply(&pool("both", "{cidr: 203.0.113.0/28}, {cidr: '2001:db8:100::/112'}"));
    let dual = service("dual").spec("ipFamilyPolicy: RequireDualStack");
    let six = service("six").spec("ipFamilies: [IPv6]");
    world.cluster.apply(&(dual.yaml() + &six.yaml() + &service("four").yaml()));
    let count = |addresses: &[String], v6: bool| addresses.iter().filter(|a| a.contains(':') == v6).count();
    let given = eventually(SOON, "the Service has both", || {
        let now = world.ingress("dual");
        if now.len() == 2 { Ok(now) } else { Err(format!("{now:?}")) }
    });
    assert_eq!((count(&given, false), count(&given, true)), (1, 1), "{given:?}");
    let given = world.wait_any_ingress("six");
    assert_eq!((count(&given, false), count(&given, true)), (0, 1), "{given:?}");
    let given = world.wait_any_ingress("four");
    assert_eq!((count(&given, false), count(&given, true)), (1, 0), "{given:?}");
    assert_eq!(world.pool_count("both", "IPsTotal"), (16 + 65536).to_string());
    eventually(SOON, "both families are counted", || {
        let used = world.pool_count("both", "IPsUsed");
        if used == "4" { Ok(()) } else { Err(used) }
    });
}

#[test]
fn first_and_last_are_kept_where_asked() {
    let world = world();
    world.cluster.apply(&pool_with("six", "{cidr: 10.43.0.0/29}", "allowFirstLastIPs: \"No\""));
    world.cluster.apply(&service("web").yaml());
    world.wait_ingress("web", &["10.43.0.1"]);
    wait_printed(&world, "six", ["false", "False", "5"]);
    let edge = service("edge").annotations("{lbipam.cilium.io/ips: 10.43.0.0}");
    world.cluster.apply(&edge.yaml());
    world.wait_refused("edge", "already_allocated");
    world.cluster.apply(&pool_with("six", "{cidr: 10.43.0.0/29}", "allowFirstLastIPs: \"Yes\""));
    world.wait_ingress("edge", &["10.43.0.0"]);
    assert_eq!(world.ingress("web"), ["10.43.0.1"], "widening a pool moves nobody");
    let wrong = pool_with("wrong", "{cidr: 10.44.0.0/29}", "allowFirstLastIPs: \"yes\"");
    let refused = world.cluster.try_kubectl(&["apply", "-f", "-"], &wrong).unwrap_err();
    assert!(refused.contains("supported values: \"Yes\", \"No\""), "{refused}");
}

#[test]
fn a_deleted_pool_takes_its_addresses() {
    let world = world();
    world.cluster.apply(&pool("old", "{cidr: 203.0.113.0/28}"));
    world.cluster.apply(&(service("a").yaml() + &service("b").yaml()));
    world.wait_any_ingress("a");
    world.wait_any_ingress("b");
    world.cluster.kubectl(&["delete", "ippool", "old"]);
    for id in ["a", "b"] {
        eventually(SOON, "the address is taken away", || {
            let now = world.ingress(id);
            if now.is_empty() { Ok(()) } else { Err(format!("{now:?}")) }
        });
        assert_eq!(external(&world, id), "<pending>");
    }
    world.cluster.apply(&pool("new", "{cidr: 198.51.100.0/28}"));
    for id in ["a", "b"] {
        let given = world.wait_any_ingress(id);
        assert!(given[0].starts_with("198.51.100."), "{given:?}");
    }
}

#[test]
fn a_service_that_goes_or_changes_gives_its_address_back() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 203.0.113.0/30}"));
    let all: String = ["a", "b", "c", "d"].map(|n| service(n).yaml()).concat();
    world.cluster.apply(&all);
    for id in ["a", "b", "c", "d"] {
        world.wait_any_ingress(id);
    }
    wait_printed(&world, "pool", ["false", "False", "0"]);
    world.cluster.kubectl(&["delete", "service", "a"]);
    wait_printed(&world, "pool", ["false", "False", "1"]);
    let plain = json!({"spec": {"type": "ClusterIP"}});
    world.cluster.rest().patch("/api/v1/namespaces/default/services/b", &plain);
    wait_printed(&world, "pool", ["false", "False", "2"]);
    assert!(world.condition("b").is_null(), "a condition is left behind: {}", world.service("b"));
    eventually(SOON, "an event tells of the release", || {
        let events = events(&world, "IPReleased");
        if events.contains("service/b") { Ok(()) } else { Err(events) }
    });
    world.cluster.apply(&(service("e").yaml() + &service("f").yaml()));
    world.wait_any_ingress("e");
    world.wait_any_ingress("f");
}

#[test]
fn the_younger_of_two_pools_that_overlap_is_out_of_use() {
    let world = world();
    world.cluster.apply(&pool("a", "{cidr: 203.0.113.0/24}"));
    wait_printed(&world, "a", ["false", "False", "256"]);
    world.cluster.apply(&pool("b", "{cidr: 203.0.113.128/25}, {cidr: 198.51.100.0/24}"));
    wait_printed(&world, "b", ["false", "True", "384"]);
    let object = world.get("/apis/cilium.io/v2/ciliumloadbalancerippools/b");
    let mut conditions = object["status"]["conditions"].as_array().unwrap().iter();
    let conflict = conditions.find(|c| c["type"] == "cilium.io/PoolConflict").unwrap();
    assert_eq!(conflict["reason"], "cidr_overlap", "{conflict}");
    let message = conflict["message"].as_str().unwrap();
    assert!(message.contains("overlaps range") && message.ends_with("from IP Pool 'a'"), "{message}");
    world.cluster.apply(&service("s").annotations("{lbipam.cilium.io/ips: 198.51.100.9}").yaml());
    world.wait_refused("s", "no_pool");
    world.cluster.kubectl(&["delete", "ippool", "a"]);
    wait_printed(&world, "b", ["false", "False", "383"]);
    world.wait_ingress("s", &["198.51.100.9"]);
}

#[test]
fn a_disabled_pool_keeps_what_it_gave_also_over_a_restart() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 203.0.113.0/28}"));
    world.cluster.apply(&service("old").yaml());
    let given = world.wait_any_ingress("old");
    world.cluster.apply(&pool_with("pool", "{cidr: 203.0.113.0/28}", "disabled: true"));
    wait_printed(&world, "pool", ["true", "False", "15"]);
    world.cluster.apply(&service("new").yaml());
    world.wait_refused("new", "no_pool");

    world.operator.process().kill();
    world.operator.start_again();
    world.cluster.apply(&pool("other", "{cidr: 198.51.100.0/28}"));
    let fresh = world.wait_any_ingress("new");
    assert!(fresh[0].starts_with("198.51.100."), "{fresh:?}");
    assert_eq!(world.ingress("old"), given, "an address moved over a restart");
}

#[test]
fn classes_say_who_allocates() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 203.0.113.0/28}"));
    let class = |name: &str, class: &str| service(name).spec(&format!("loadBalancerClass: {class}")).yaml();
    let bgp = class("bgp", "io.cilium/bgp-control-plane");
    world.cluster.apply(&(class("foreign", "example.com/lb") + &bgp));
    world.wait_any_ingress("bgp");
    // It was created first and is looked at by then.
    let foreign = world.service("foreign");
    assert_eq!(foreign["status"], json!({"loadBalancer": {}}), "a foreign Service was touched");
}

#[test]
fn a_restart_writes_nothing_that_is_right_already() {
    let world = world();
    world.cluster.apply(&pool("pool", "{cidr: 203.0.113.0/24}"));
    let all: String = (0..20).map(|n| service(&format!("s{n:02}")).yaml()).collect();
    world.cluster.apply(&all);
    for n in 0..20 {
        world.wait_any_ingress(&format!("s{n:02}"));
    }
    wait_printed(&world, "pool", ["false", "False", "236"]);
    world.operator.process().kill();
    let writes = |world: &Turn| {
        let log = world.cluster.audit();
        let status = log.iter().filter(|r| r.resource == "services/status");
        status.filter(|r| r.verb == "patch" || r.verb == "update").map(|r| r.name.clone()).collect::<Vec<_>>()
    };
    let before = writes(&world).len();
    world.operator.start_again();
    world.cluster.apply(&service("later").yaml());
    world.wait_any_ingress("later");
    let after = writes(&world);
    assert_eq!(after[before..], ["later"], "what was right already was written again");
}

/// The forms that are in use out there, old and new, apply as they stand.
#[test]
fn manifests_written_for_cilium_apply_unmodified() {
    let world = world();
    world.cluster.apply(
        "
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: lan}
spec:
  loadBalancerIPs: true
  nodeSelector:
    matchLabels:
      kubernetes.io/os: linux
---
apiVersion: cilium.io/v2alpha1
kind: CiliumLoadBalancerIPPool
metadata: {name: old}
spec:
  allowFirstLastIPs: \"Yes\"
  blocks:
  - start: 192.168.0.220
    stop: 192.168.0.239
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: three-forms}
spec:
  blocks:
  - cidr: 10.0.10.0/24
  - start: 20.0.20.100
    stop: 20.0.20.200
  - start: 1.2.3.4
  serviceSelector:
    matchLabels:
      color: red
",
    );
    wait_printed(&world, "old", ["false", "False", "20"]);
    wait_printed(&world, "three-forms", ["false", "False", "358"]);
    let fixed = service("media").annotations("{lbipam.cilium.io/ips: 192.168.0.229}");
    let red = service("red").labels("{color: red}").annotations("{lbipam.cilium.io/ips: 1.2.3.4}");
    world.cluster.apply(&(fixed.yaml() + &red.yaml()));
    world.wait_ingress("media", &["192.168.0.229"]);
    world.wait_ingress("red", &["1.2.3.4"]);
    let listed = world.cluster.kubectl(&["get", "svc", "-A", "--field-selector", "spec.type=LoadBalancer"]);
    let addresses: Vec<String> = rows(&listed).iter().map(|row| row["EXTERNAL-IP"].clone()).collect();
    assert_eq!(addresses, ["192.168.0.229", "1.2.3.4"], "{listed}");
    let policies = world.cluster.kubectl(&["get", "ciliuml2announcementpolicies"]);
    assert_eq!(rows(&policies)[0]["NAME"], "lan", "{policies}");
    world.cluster.kubectl(&["describe", "ciliumloadbalancerippool", "old"]);
    world.cluster.kubectl(&["delete", "ciliuml2announcementpolicy", "lan"]);
}
