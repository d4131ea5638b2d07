//! What waits for kube-proxy, and for which of its answers.

use speaker_config::model::{Advertisement, ServiceGate, ServiceRoutesWhich};

use super::{World, endpoints, pool, prefix, ready, service};
use crate::announce::Subject;
use crate::inputs::Touched;

fn services(name: &str) -> Advertisement {
    super::services(name, ServiceRoutesWhich::All, ServiceGate::Ready)
}

/// Like [`World::step`], which compares with an answer from scratch that waits for nobody.
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

fn serve(world: &mut World, name: &str, address: &str) -> Vec<String> {
    put(world, service(name, &[address]));
    put(world, endpoints(name, [ready("n1")]))
}

#[test]
fn a_new_route_waits_for_kube_proxy_and_one_that_is_there_does_not() {
    let mut world = World::new([services("fabric")]);
    world.announcer.set_programming(true);
    assert_eq!((world.announcer.ask_proxy(), world.announcer.is_programmed()), (None, true));
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    assert_eq!(serve(&mut world, "a", "203.0.113.1"), [""; 0]);
    assert_eq!((world.announcer.ask_proxy(), world.announcer.ask_proxy()), (Some(1), None));
    assert!(!world.announcer.is_programmed());
    let story = world.explain(&Subject::Prefix(prefix("203.0.113.1/32")));
    let held = story.decisions.iter().find_map(|one| one.held_by()).unwrap();
    assert_eq!(held.gate, "kube-proxy");
    // Two more, one after the other: each is let through by its own answer.
    assert_eq!(serve(&mut world, "b", "203.0.113.2"), [""; 0]);
    assert_eq!(world.announcer.ask_proxy(), Some(2));
    assert_eq!(serve(&mut world, "c", "203.0.113.3"), [""; 0]);
    assert_eq!(world.announcer.ask_proxy(), Some(3));
    world.announcer.programmed(2);
    assert_eq!(reconcile(&mut world), ["203.0.113.1/32", "203.0.113.2/32"]);
    world.announcer.programmed(3);
    assert_eq!(reconcile(&mut world), ["203.0.113.3/32"]);
    assert!(world.announcer.is_programmed());
    // What is announced already asks for nothing; what was gone does.
    put(&mut world, endpoints("a", [ready("n1"), ready("n2")]));
    assert_eq!(world.announcer.ask_proxy(), None);
    assert_eq!(put(&mut world, endpoints("a", [])), ["203.0.113.1/32"]);
    assert_eq!(put(&mut world, endpoints("a", [ready("n1")])), [""; 0]);
    assert_eq!(world.announcer.ask_proxy(), Some(4));
    // It is gone before the answer.
    assert_eq!(put(&mut world, endpoints("a", [])), [""; 0]);
    world.announcer.programmed(4);
    assert_eq!(reconcile(&mut world), [""; 0]);
}

#[test]
fn a_kube_proxy_that_is_not_healthy_is_asked_nothing() {
    let mut world = World::new([services("fabric")]);
    world.announcer.set_programming(true);
    world.announcer.set_readiness(Some((false, "kube-proxy has not been asked yet".to_owned())));
    put(&mut world, pool("blue", &["203.0.113.0/24"]));
    assert_eq!(serve(&mut world, "a", "203.0.113.1"), [""; 0]);
    assert_eq!((world.announcer.ask_proxy(), world.announcer.is_programmed()), (None, true));
    world.announcer.set_readiness(Some((true, "kube-proxy is healthy".to_owned())));
    assert_eq!(reconcile(&mut world), [""; 0]);
    assert_eq!(world.announcer.ask_proxy(), Some(1));
    // The configuration asks for it no longer.
    world.announcer.set_programming(false);
    assert_eq!(reconcile(&mut world), ["203.0.113.1/32"]);
    assert!(world.announcer.is_programmed());
}
