//! 10,000 Services: what an event makes the announcer look at, counted in keys.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::Family;
use speaker_config::model::{Advertisement, PoolGate, ServiceGate, ServiceRoutesWhich};
use speaker_config::objects::{ObjectRef, Pool, Service};

use super::{
    World, addr, contributions, endpoints, endpoints_of, key, labels, node, pool, pools, ready, service,
    services, unready,
};
use crate::announce::{Announcer, Work};
use crate::inputs::Touched;

const SERVICES: u32 = 10_000;
const POOLS: u32 = 4;

fn work(services: usize, pools: usize, gates: usize, prefixes: usize) -> Work {
    Work { services, pools, gates, prefixes }
}

/// Services `s0` to `s9999`, dual-stack, dealt out to four pools.
fn crowd() -> World {
    let hosts = services("hosts", ServiceRoutesWhich::All, ServiceGate::Ready);
    let fabric = pools("fabric", PoolGate::Ready);
    let second = Advertisement { name: "second".into(), ..pools("second", PoolGate::Allocated) };
    let mut world = World::new([fabric, hosts, second]);
    let mut touched = Touched::default();
    for number in 0..POOLS {
        let object =
            pool(&format!("p{number}"), &[&format!("10.{number}.0.0/16"), &format!("fd00:{number}::/64")]);
        world.inputs.upsert(super::Thing::from(object).0, &mut touched);
    }
    for number in 0..SERVICES {
        let one = member(number);
        let name = one.key.name.clone();
        world.inputs.upsert(super::Thing::from(one).0, &mut touched);
        world.inputs.upsert(super::Thing::from(endpoints(&name, [ready("n2")])).0, &mut touched);
        let six = endpoints_of(&name, Family::Ipv6Unicast, [ready("n2")]);
        world.inputs.upsert(super::Thing::from(six).0, &mut touched);
    }
    world.announcer.touch(&touched);
    world.announcer.reconcile(&world.inputs, 1);
    assert_eq!(world.announcer.rib().routes.len(), (2 * SERVICES + 2 * POOLS) as usize);
    world
}

fn member(number: u32) -> Service {
    let (pool, host) = (number % POOLS, number / POOLS);
    let four = IpAddr::from(Ipv4Addr::from_bits((10 << 24) | (pool << 16) | host));
    let base = addr(&format!("fd00:{pool}::"));
    let IpAddr::V6(base) = base else { panic!("{base} is IPv6") };
    let six = IpAddr::from(Ipv6Addr::from_bits(base.to_bits() | u128::from(host)));
    Service { ingress: vec![four, six], ..service(&format!("s{number}"), &[]) }
}

/// Applies a change without the comparison with the oracle, which alone would look at everything.
fn event(world: &mut World, change: impl FnOnce(&mut World, &mut Touched)) -> (Work, Vec<String>) {
    let mut touched = Touched::default();
    change(world, &mut touched);
    world.announcer.touch(&touched);
    let changed = world.announcer.reconcile(&world.inputs, 2);
    (world.announcer.work(), changed.iter().map(ToString::to_string).collect())
}

fn put(object: impl Into<super::Thing>) -> impl FnOnce(&mut World, &mut Touched) {
    let object = object.into().0;
    move |world, touched| world.inputs.upsert(object, touched)
}

#[test]
fn an_event_looks_at_what_it_touches_among_10000_services() {
    let mut world = crowd();

    let gone = ObjectRef::Service(key("s5000"));
    let (done, changed) = event(&mut world, |world, touched| world.inputs.remove(&gone, touched));
    assert_eq!((done, changed.len()), (work(1, 0, 0, 2), 2), "a Service deleted: its own two routes");

    let (done, changed) = event(&mut world, put(member(5000)));
    assert_eq!((done, changed.len()), (work(1, 0, 0, 2), 2), "and made again");

    let (done, changed) = event(&mut world, put(endpoints("s7", [unready("n2")])));
    assert_eq!((done, changed.len()), (work(1, 0, 0, 1), 1), "endpoints lost in one family");

    let (done, changed) = event(&mut world, put(endpoints("s8", [ready("n2"), ready("n3")])));
    assert_eq!((done, changed.len()), (work(1, 0, 0, 0), 0), "an endpoint more");

    let (done, _) = event(&mut world, put(Service { generation: 9, ..member(9) }));
    assert_eq!(done, work(1, 0, 0, 0), "a change that concerns no route");

    let (done, changed) = event(&mut world, put(Service { ingress: vec![addr("10.1.200.1")], ..member(12) }));
    assert_eq!((done, changed.len()), (work(1, 0, 0, 3), 3), "from one pool to another");

    let relabelled =
        Pool { labels: labels([("tier", "public")]), ..pool("p1", &["10.1.0.0/16", "fd00:1::/64"]) };
    let (done, changed) = event(&mut world, put(relabelled));
    assert_eq!((done, changed.len()), (work(0, 1, 1, 0), 0), "a pool's label");

    let (done, changed) = event(&mut world, put(node("n7", labels([("zone", "b")]))));
    assert_eq!((done, changed.len()), (work(0, 0, 0, 0), 0), "another node");

    let wider = pool("p2", &["10.2.0.0/16", "10.200.0.0/24", "fd00:2::/64"]);
    let (done, changed) = event(&mut world, put(wider));
    assert_eq!((done.services, done.pools, done.gates), (2500, 1, 1), "a wider pool asks its own Services");
    assert_eq!(changed, ["10.200.0.0/24"], "and moves none of their routes");

    let fresh = Announcer::from_scratch(world.settings.clone(), &world.inputs, 3);
    assert_eq!(contributions(&world.announcer), contributions(&fresh));
}

#[test]
fn only_the_first_and_the_last_service_of_a_pool_move_its_gate() {
    let mut world = crowd();
    let mut gates = 0;
    for number in (0..SERVICES).filter(|number| number % POOLS == 3) {
        let (done, changed) = event(&mut world, put(endpoints(&format!("s{number}"), [])));
        gates += done.gates;
        let last = number + POOLS >= SERVICES;
        assert_eq!(changed.contains(&"10.3.0.0/16".to_owned()), last, "s{number}");
    }
    assert_eq!(gates, 1);
    let count = world.announcer.count("p3");
    assert_eq!((count.ipv4.recorded, count.ipv4.ready), (2500, 0));
    assert_eq!((count.ipv6.recorded, count.ipv6.ready), (2500, 2500));
    let (done, changed) = event(&mut world, put(endpoints("s3", [ready("n1")])));
    assert_eq!((done, changed.len()), (work(1, 0, 1, 2), 2));
}

#[test]
fn a_node_that_joins_asks_the_services_that_it_clashes_with() {
    let mut world = crowd();
    let mut joined = node("n9", labels([]));
    joined.internal_ips = vec![addr("10.0.0.5")];
    let (done, changed) = event(&mut world, put(joined));
    assert_eq!((done.services, done.pools), (1, 4));
    assert_eq!(changed, ["10.0.0.0/16", "10.0.0.5/32"]);
}
