//! What the kernel is to carry, and what waits for it.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::types::Prefix;
use speaker_config::model::{Advertisement, Datapath, LoopGuard, PoolGate, ServiceGate, ServiceRoutesWhich};
use speaker_config::objects::ObjectRef;

use super::{World, addr, endpoints, key, local, pool, pools, prefix, ready, service, unready};
use crate::announce::Subject;
use crate::datapath::{Access, KernelReport, Outcome, Wanted};
use crate::inputs::Touched;

const GUARDED: Datapath = Datapath { loops: LoopGuard::Blackhole, local_announced: false };
const DELIVERED: Datapath = Datapath { loops: LoopGuard::Blackhole, local_announced: true };

/// One that announces the routes of Services with a ready endpoint.
fn services(name: &str) -> Advertisement {
    super::services(name, ServiceRoutesWhich::All, ServiceGate::Ready)
}

/// A world with somebody who looks after the kernel and has not told anything yet.
fn world(datapath: Datapath, advertisements: impl IntoIterator<Item = Advertisement>) -> World {
    let mut world = World::new(advertisements);
    world.settings.datapath = datapath;
    world.announcer.expect_kernel();
    world.announcer.configure(world.settings.clone());
    world
}

/// Like [`World::step`], which compares with an answer from scratch that knows of no kernel.
fn put(world: &mut World, object: impl Into<super::Thing>) -> Vec<String> {
    let mut touched = Touched::default();
    world.inputs.upsert(object.into().0, &mut touched);
    world.announcer.touch(&touched);
    reconcile(world)
}

fn reconcile(world: &mut World) -> Vec<String> {
    world.now += 1;
    world.announcer.reconcile(&world.inputs, world.now).iter().map(ToString::to_string).collect()
}

fn wanted(world: &World) -> (Vec<String>, Vec<String>) {
    let Wanted { guards, locals, .. } = &world.announcer.carriage().wanted;
    (guards.keys().map(ToString::to_string).collect(), locals.iter().map(ToString::to_string).collect())
}

fn report(world: &World, outcome: &Outcome) -> KernelReport {
    let wanted = &world.announcer.carriage().wanted;
    KernelReport {
        access: Access::Full,
        serial: wanted.serial,
        guards: wanted.guards.keys().map(|one| (*one, outcome.clone())).collect(),
        locals: wanted.locals.iter().map(|one| (*one, outcome.clone())).collect(),
        notes: Vec::new(),
    }
}

/// The kernel does all that is wanted.
fn obey(world: &mut World) -> Vec<String> {
    world.announcer.kernel(report(world, &Outcome::InPlace));
    reconcile(world)
}

fn held(world: &World, text: &str) -> Vec<String> {
    let story = world.explain(&Subject::Prefix(prefix(text)));
    let held = story.decisions.iter().filter_map(|one| one.held_by());
    held.map(|gate| format!("{}: {}", gate.gate, gate.detail)).collect()
}

#[test]
fn a_prefix_waits_for_its_guard_and_keeps_its_place_once_it_has_it() {
    let mut world = world(GUARDED, [pools("fabric", PoolGate::Always)]);
    assert_eq!(put(&mut world, pool("blue", &["203.0.113.0/24"])), [""; 0]);
    assert_eq!(wanted(&world), (vec!["203.0.113.0/24".to_owned()], Vec::new()));
    assert_eq!(held(&world, "203.0.113.0/24"), ["kernel: the kernel has not been read yet"]);
    assert!(!world.announcer.carriage().is_answered());
    let mut stale = report(&world, &Outcome::InPlace);
    (stale.serial, stale.guards) = (0, BTreeMap::new());
    world.announcer.kernel(stale);
    assert_eq!(reconcile(&mut world), [""; 0]);
    assert_eq!(
        held(&world, "203.0.113.0/24"),
        ["kernel: the blackhole route to 203.0.113.0/24 is not yet in table 10179"]
    );
    assert_eq!(obey(&mut world), ["203.0.113.0/24"]);
    assert!(world.announcer.carriage().is_answered());
    assert_eq!(held(&world, "203.0.113.0/24"), [""; 0]);
    // Lost, and about to be put back: no reason to withdraw.
    world.announcer.kernel(report(&world, &Outcome::Pending));
    assert_eq!(reconcile(&mut world), [""; 0]);
    assert_eq!(world.prefixes(), ["203.0.113.0/24"]);
    assert_eq!(held(&world, "203.0.113.0/24"), [""; 0]);
}

#[test]
fn what_the_kernel_refuses_is_held_and_said() {
    let mut world = world(GUARDED, [pools("fabric", PoolGate::Always)]);
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    world.announcer.kernel(report(&world, &Outcome::Failed("no buffer space".to_owned())));
    assert_eq!(reconcile(&mut world), [""; 0]);
    assert_eq!(
        held(&world, "203.0.113.0/24"),
        ["kernel: the blackhole route to 203.0.113.0/24 cannot be set: no buffer space"]
    );
    assert_eq!(world.announcer.carriage().problems(), ["203.0.113.0/24 cannot be guarded: no buffer space"]);
    assert!(world.announcer.carriage().is_answered(), "a refusal is an answer");
    assert_eq!(obey(&mut world), ["203.0.113.0/24"]);
}

#[test]
fn without_the_right_to_change_the_kernel_routes_are_announced_all_the_same() {
    let mut world = world(GUARDED, [pools("fabric", PoolGate::Always)]);
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    let access = Access::Refused("CAP_NET_ADMIN is missing".to_owned());
    world.announcer.kernel(KernelReport { access, ..report(&world, &Outcome::Pending) });
    assert_eq!(reconcile(&mut world), ["203.0.113.0/24"]);
    assert_eq!(
        world.announcer.carriage().problems(),
        ["the kernel is not looked after: CAP_NET_ADMIN is missing"]
    );
}

#[test]
fn a_prefix_that_is_left_unguarded_on_purpose_is_announced() {
    let mut world = world(GUARDED, [pools("fabric", PoolGate::Always)]);
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    let why = Outcome::Spared("it overlaps 203.0.113.0/26, to which eth0 is attached".to_owned());
    world.announcer.kernel(report(&world, &why));
    assert_eq!(reconcile(&mut world), ["203.0.113.0/24"]);
    assert_eq!(
        world.announcer.carriage().problems(),
        ["203.0.113.0/24 has no loop guard: it overlaps 203.0.113.0/26, to which eth0 is attached"]
    );
}

#[test]
fn services_of_a_guarded_pool_change_nothing_in_the_kernel() {
    let mut world = world(GUARDED, [services("fabric")]);
    put(&mut world, pool("blue", &["203.0.113.0/25", "203.0.113.192/26", "2001:db8:1::/48"]));
    assert_eq!(wanted(&world).0, [""; 0], "nothing of the pool is announced");
    put(&mut world, service("a", &["203.0.113.1"]));
    put(&mut world, endpoints("a", [ready("n1")]));
    assert_eq!(wanted(&world).0, ["203.0.113.0/25"], "the piece of the pool that the route lies in");
    assert_eq!(obey(&mut world), ["203.0.113.1/32"]);
    put(&mut world, service("b", &["203.0.113.2"]));
    assert_eq!(
        put(&mut world, endpoints("b", [ready("n1")])),
        ["203.0.113.2/32"],
        "without a turn of the kernel"
    );
    // The pool grows: one guard takes the place of the other.
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    assert_eq!(wanted(&world).0, ["203.0.113.0/24"]);
    // An address that no pool has is guarded by itself.
    let mut touched = Touched::default();
    world.inputs.remove(&ObjectRef::Pool("blue".to_owned()), &mut touched);
    world.announcer.touch(&touched);
    reconcile(&mut world);
    assert_eq!(wanted(&world).0, ["203.0.113.1/32", "203.0.113.2/32"]);
}

#[test]
fn a_guard_is_wanted_as_long_as_its_prefix_is_announced() {
    let mut world = world(GUARDED, [pools("fabric", PoolGate::Ready)]);
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    put(&mut world, service("a", &["203.0.113.1"]));
    assert_eq!(wanted(&world).0, [""; 0]);
    put(&mut world, endpoints("a", [ready("n2")]));
    assert_eq!(wanted(&world).0, ["203.0.113.0/24"]);
    assert_eq!(obey(&mut world), ["203.0.113.0/24"]);
    assert_eq!(put(&mut world, endpoints("a", [unready("n2")])), ["203.0.113.0/24"]);
    assert_eq!(wanted(&world).0, [""; 0]);
}

#[test]
fn used_addresses_are_delivered_and_no_others() {
    let mut fabric = pools("fabric", PoolGate::Allocated);
    fabric.prefixes = ["198.51.100.7/32", "192.0.2.0/28"].map(prefix).to_vec();
    let mut world = world(DELIVERED, [fabric, services("own")]);
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    put(&mut world, service("a", &["203.0.113.1"]));
    put(&mut world, local("l", &["203.0.113.9"]));
    put(&mut world, service("b", &["192.0.2.3"]));
    let guards = ["192.0.2.0/28", "198.51.100.7/32", "203.0.113.0/24"];
    // 203.0.113.9 would be led here by the pool's prefix, but its Service has no endpoint on this node.
    let locals = ["192.0.2.3", "198.51.100.7", "203.0.113.1"];
    assert_eq!(wanted(&world), (guards.map(str::to_owned).to_vec(), locals.map(str::to_owned).to_vec()));
    put(&mut world, endpoints("l", [ready("n1")]));
    assert!(wanted(&world).1.contains(&"203.0.113.9".to_owned()));
    let mut one_missing = report(&world, &Outcome::InPlace);
    one_missing.locals.insert(addr("203.0.113.9"), Outcome::Pending);
    world.announcer.kernel(one_missing);
    let announced: BTreeSet<Prefix> = reconcile(&mut world).iter().map(|one| prefix(one)).collect();
    assert!(!announced.contains(&prefix("203.0.113.9/32")) && announced.contains(&prefix("203.0.113.0/24")));
    let story = world.explain(&Subject::Service(key("l")));
    let detail = "the local route to 203.0.113.9 is not yet in table 255";
    assert!(
        story.decisions.iter().any(|one| one.held_by().is_some_and(|gate| gate.detail == detail)),
        "{story:#?}"
    );
    assert_eq!(obey(&mut world), ["203.0.113.9/32"]);
}

#[test]
fn nothing_is_wanted_and_nothing_waits_where_both_are_off() {
    let off = Datapath { loops: LoopGuard::None, local_announced: false };
    let mut world = world(off, [pools("fabric", PoolGate::Always)]);
    assert_eq!(put(&mut world, pool("blue", &["203.0.113.0/24"])), ["203.0.113.0/24"]);
    assert_eq!(wanted(&world), (Vec::new(), Vec::new()));
    assert!(world.announcer.carriage().is_answered());
}
