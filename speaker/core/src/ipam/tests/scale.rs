//! The work grows with what changes.

use speaker_config::objects::{Object, ObjectRef};

use super::super::*;
use super::build::{Cluster, pool, service};

const MANY: usize = 10_000;

fn crowd() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("eight", 1, &["10.0.0.0/8"]));
    cluster.put_pool(pool("forty-eight", 2, &["2001:db8::/48"]));
    for index in 0..MANY {
        let mut asked = service("default", &format!("web-{index:05}"));
        asked.ip_family_policy = speaker_config::objects::IpFamilyPolicy::RequireDualStack;
        cluster.put(Object::Service(Box::new(asked)));
    }
    cluster
}

#[test]
fn ten_thousand_services_from_empty_are_each_served_once() {
    let mut cluster = crowd();
    cluster.ipam.visits = 0;
    let changes = cluster.turn();
    assert_eq!(changes.services.len(), MANY);
    assert_eq!(cluster.ipam.visits, 2 * MANY, "reviewed and served once");
    assert_eq!(changes.services[MANY - 1].ingress.len(), 2);
    cluster.write(&changes);
    assert_eq!(cluster.turn(), IpamChanges::default());
    assert_eq!(cluster.counts("eight"), ["16777216", "16767216", "10000"]);
    cluster.restart();
    assert_eq!(cluster.ipam.visits, 2 * MANY);
}

#[test]
fn one_change_among_ten_thousand_visits_one_service() {
    let mut cluster = crowd();
    cluster.settle();
    for change in 0..3 {
        cluster.ipam.visits = 0;
        match change {
            0 => cluster.edit("web-00500", |web| web.load_balancer_ip = Some("10.200.0.1".into())),
            1 => cluster.put_service(service("default", "new")),
            _ => cluster.delete(&ObjectRef::Service(ObjectKey::new("default", "web-00007"))),
        }
        assert!(cluster.ipam.visits <= 4, "the Service and its echo, not {}", cluster.ipam.visits);
    }
    // A pool's status alone concerns no Service.
    cluster.ipam.visits = 0;
    let mut told = cluster.inputs.pools.get("eight").unwrap().pool.clone();
    told.conditions.clear();
    cluster.put(Object::Pool(told));
    cluster.settle();
    assert_eq!(cluster.ipam.visits, 0);
}

#[test]
fn one_address_set_free_calls_one_of_those_that_wait() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("small", 1, &["10.0.0.0/28"]));
    for index in 0..1_000 {
        cluster.put(Object::Service(Box::new(service("default", &format!("web-{index:04}")))));
    }
    cluster.settle();
    assert_eq!(cluster.reason("web-0016"), "out_of_ips");
    cluster.ipam.visits = 0;
    cluster.delete_service("web-0003");
    assert_eq!(cluster.ips("web-0016"), ["10.0.0.3"]);
    assert!(cluster.ipam.visits <= 6, "{}", cluster.ipam.visits);
}

#[test]
fn the_list_of_freed_addresses_is_bounded() {
    let list = (0..u32::try_from(MAX_FREED).unwrap() + 2)
        .map(|index| Freed { address: std::net::Ipv4Addr::from_bits(0x0a00_0000 + index).into(), since: 0 });
    let mut cluster = Cluster::new();
    cluster.ipam = Ipam::with_freed(cluster.settings, list);
    assert_eq!(cluster.ipam.freed().count(), MAX_FREED);
    cluster.put_pool(pool("eight", 1, &["10.0.0.0/8"]));
    cluster.put_service(service("default", "web"));
    assert_eq!(cluster.ips("web"), ["10.0.0.0"], "what fell off the list counts as never used");
}
