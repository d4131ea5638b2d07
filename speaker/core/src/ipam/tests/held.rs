//! Services of a manifest that cannot be read after a restart.

use speaker_config::objects::{ObjectKey, Service};

use super::super::{EventReason, Held};
use super::build::{Cluster, pool, service};

fn held(name: &str, created: i64, address: &str) -> Held {
    let service = ObjectKey::new("default", name);
    Held { service, created, addresses: vec![address.parse().unwrap()] }
}

/// A pool of two addresses, of which `a` and `b` have the first.
fn restarted() -> Cluster {
    let mut cluster = Cluster::new();
    for held in [held("a", 1, "192.0.2.0"), held("b", 2, "192.0.2.0")] {
        cluster.ipam.hold(&cluster.inputs.pools, &held);
    }
    cluster.put_pool(pool("blue", 1, &["192.0.2.0/31"]));
    cluster
}

#[test]
fn their_addresses_are_given_to_nobody_else() {
    let mut cluster = restarted();
    cluster.put_service(Service { created: 3, ..service("default", "new") });
    assert_eq!(cluster.ips("new"), ["192.0.2.1"]);
    assert_eq!(cluster.counts("blue"), ["2", "0", "2"], "what is held is used");
    let mut asking = Service { created: 4, ..service("default", "asking") };
    asking.annotations.insert("lbipam.cilium.io/ips".to_owned(), "192.0.2.0".to_owned());
    cluster.put_service(asking);
    assert!(cluster.ips("asking").is_empty());
    cluster.edit_pool("blue", |pool| pool.disabled = true);
    cluster.edit_pool("blue", |pool| pool.disabled = false);
    assert_eq!(cluster.counts("blue"), ["2", "0", "2"]);
    assert_eq!(cluster.events.iter().filter(|e| e.reason == EventReason::Released).count(), 0);
}

#[test]
fn each_finds_its_own_when_it_comes_and_the_rest_stays_held() {
    let mut cluster = restarted();
    let shared = |name: &str, created| {
        let mut one = Service { created, ..service("default", name) };
        one.ingress = vec!["192.0.2.0".parse().unwrap()];
        one.annotations.insert("lbipam.cilium.io/sharing-key".to_owned(), "k".to_owned());
        one.ports = Vec::new();
        one
    };
    // The younger first: it does not lose what it had with the elder.
    cluster.put_service(shared("b", 2));
    assert_eq!(cluster.ips("b"), ["192.0.2.0"]);
    cluster.put_service(shared("a", 1));
    assert_eq!((cluster.ips("a"), cluster.ips("b")), (cluster.ips("b"), cluster.ips("a")));
    cluster.delete_service("a");
    cluster.delete_service("b");
    assert_eq!(cluster.counts("blue"), ["2", "2", "0"]);
}

#[test]
fn one_that_is_gone_gives_its_address_back() {
    let mut cluster = restarted();
    cluster.ipam.let_go(&ObjectKey::new("default", "a"));
    cluster.settle();
    assert_eq!(cluster.counts("blue"), ["2", "1", "1"], "b still has it");
    cluster.ipam.let_go(&ObjectKey::new("default", "b"));
    cluster.settle();
    assert_eq!(cluster.counts("blue"), ["2", "2", "0"]);
    let freed: Vec<_> = cluster.ipam.freed().map(|freed| freed.address.to_string()).collect();
    assert_eq!(freed, ["192.0.2.0"], "and it is the last to be used again");
}

#[test]
fn one_that_is_shown_later_holds_what_it_has_and_a_pool_that_goes_forgets_nothing() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("blue", 1, &["192.0.2.0/31"]));
    let broken = held("broken", 1, "192.0.2.0");
    cluster.ipam.hold(&cluster.inputs.pools, &broken);
    cluster.put_service(service("default", "web"));
    assert_eq!(cluster.ips("web"), ["192.0.2.1"]);
    cluster.delete(&speaker_config::objects::ObjectRef::Pool("blue".to_owned()));
    assert!(cluster.ips("web").is_empty());
    cluster.put_pool(pool("blue", 2, &["192.0.2.0/31"]));
    assert_eq!(cluster.ips("web"), ["192.0.2.1"]);
    assert_eq!(cluster.counts("blue"), ["2", "0", "2"]);
    // Shown again, with one more.
    cluster.ipam.hold(&cluster.inputs.pools, &held("broken", 1, "192.0.2.9"));
    cluster.edit_pool("blue", |pool| {
        pool.blocks = super::build::pool("", 0, &["192.0.2.0/31", "192.0.2.8/31"]).blocks;
    });
    assert_eq!(cluster.counts("blue"), ["4", "1", "3"]);
    cluster.ipam.let_go(&broken.service);
    cluster.settle();
    assert_eq!(cluster.counts("blue"), ["4", "3", "1"]);
}
