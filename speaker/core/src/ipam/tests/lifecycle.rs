//! What happens to addresses as pools, Services and the allocator come, change and go.

use std::net::IpAddr;

use speaker_config::objects::{Object, ObjectRef, Service, UnixSeconds};

use super::super::*;
use super::build::{Cluster, pool, selector, service};

fn recorded(name: &str, ips: &[&str]) -> Service {
    let mut service = service("default", name);
    service.ingress = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    service
}

fn served(name: &str, ips: &[&str]) -> Service {
    let mut service = recorded(name, ips);
    service.conditions.push(status::satisfied(&service, None));
    service
}

fn three() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0-10.0.0.7"]));
    for name in ["a", "b", "c"] {
        cluster.put_service(service("default", name));
    }
    cluster
}

#[test]
fn disabled_pools_keep_what_they_gave_over_a_restart_too() {
    let mut cluster = three();
    cluster.edit_pool("pool", |pool| pool.disabled = true);
    cluster.put_service(service("default", "d"));
    assert_eq!(cluster.reason("d"), "no_pool");
    assert_eq!(cluster.counts("pool"), ["8", "5", "3"], "a disabled pool counts as ever");
    cluster.restart();
    assert_eq!(cluster.ips("b"), ["10.0.0.1"]);
    cluster.edit_pool("pool", |pool| pool.disabled = false);
    assert_eq!(cluster.ips("d"), ["10.0.0.3"]);
}

#[test]
fn conflicting_pools_keep_what_they_gave_over_a_restart_too() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("elder", 1, &["10.1.0.0/24"]));
    cluster.put_pool(pool("younger", 2, &["10.0.0.0/24"]));
    let mut asked = service("default", "web");
    asked.load_balancer_ip = Some("10.0.0.1".into());
    cluster.put_service(asked);
    cluster.edit_pool("elder", |elder| {
        elder.blocks.push(pool("", 0, &["10.0.0.128/25"]).blocks[0]);
    });
    assert_eq!(
        cluster.pool_says("younger", POOL_CONFLICT),
        Some(
            "Pool conflicts since range '10.0.0.0 - 10.0.0.255' overlaps range '10.0.0.128 - 10.0.0.255' from IP Pool 'elder'"
        )
    );
    assert_eq!(cluster.ips("web"), ["10.0.0.1"]);
    cluster.restart();
    let mut other = service("default", "other");
    other.load_balancer_ip = Some("10.0.0.2".into());
    cluster.put_service(other);
    assert_eq!(cluster.reason("other"), "no_pool");
    cluster.delete(&ObjectRef::Pool("elder".into()));
    assert_eq!(cluster.ips("other"), ["10.0.0.2"]);
    assert_eq!(cluster.pool_says("younger", POOL_CONFLICT), Some("False"));
}

#[test]
fn a_pool_deleted_takes_its_addresses_and_others_serve() {
    let mut cluster = three();
    cluster.put_pool(pool("spare", 2, &["10.9.0.0-10.9.0.1"]));
    cluster.delete(&ObjectRef::Pool("pool".into()));
    assert_eq!(cluster.ips("a"), ["10.9.0.0"]);
    assert_eq!(cluster.ips("b"), ["10.9.0.1"]);
    assert_eq!((cluster.ips("c"), cluster.reason("c")), (vec![], "out_of_ips"));
    cluster.delete(&ObjectRef::Pool("spare".into()));
    assert_eq!((cluster.ips("a"), cluster.reason("a")), (vec![], "no_pool"));
    // Without a pool it sleeps, and writes nothing on anybody.
    cluster.put_service(service("default", "late"));
    assert_eq!(cluster.condition("late"), None);
    cluster.restart();
    cluster.put_pool(pool("again", 3, &["10.0.0.0-10.0.0.7"]));
    assert_eq!(cluster.ips("late"), ["10.0.0.6"], "the last of four, on the last of what was never used");
}

#[test]
fn an_equal_pool_in_another_name_takes_the_addresses_over() {
    let mut cluster = three();
    let before = cluster.ips("b");
    cluster.put_pool(pool("new", 2, &["10.0.0.0/24"]));
    cluster.delete(&ObjectRef::Pool("pool".into()));
    assert_eq!(cluster.ips("b"), before);
    assert_eq!(cluster.counts("new"), ["256", "253", "3"]);
}

#[test]
fn widening_moves_nothing_and_shrinking_moves_only_who_must() {
    let mut cluster = three();
    cluster.edit_pool("pool", |p| p.blocks = pool("", 0, &["10.0.0.0/24"]).blocks);
    assert_eq!(
        ["a", "b", "c"].map(|name| cluster.ips(name)[0].clone()),
        ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    );
    let moved = cluster.events.iter().filter(|event| event.reason == EventReason::Released).count();
    assert_eq!(moved, 0);
    // The eldest loses its place; it does not get a younger one's.
    cluster.edit_pool("pool", |p| p.blocks = pool("", 0, &["10.0.0.1-10.0.0.2", "10.0.0.6-10.0.0.7"]).blocks);
    assert_eq!(
        ["a", "b", "c"].map(|name| cluster.ips(name)[0].clone()),
        ["10.0.0.6", "10.0.0.1", "10.0.0.2"]
    );
    assert_eq!(cluster.counts("pool"), ["4", "1", "3"]);
    cluster.restart();
}

#[test]
fn a_block_that_cannot_be_read_takes_no_address_away() {
    let mut cluster = three();
    cluster.edit_pool("pool", |pool| {
        pool.blocks.clear();
        pool.faults.push("spec.blocks[0].cidr: \"10.0.0.0/2x\" is not a prefix".into());
    });
    assert_eq!(cluster.ips("b"), ["10.0.0.1"]);
    assert_eq!(
        cluster.pool_says("pool", INVALID_SPEC),
        Some(
            "spec.blocks[0].cidr: \"10.0.0.0/2x\" is not a prefix: no new address is handed out until it is mended"
        )
    );
    cluster.restart();
    cluster.put_service(service("default", "d"));
    assert_eq!(cluster.reason("d"), "no_pool");
    // Mended to something else, it does.
    cluster.edit_pool("pool", |p| {
        p.faults.clear();
        p.blocks = pool("", 0, &["10.0.0.1-10.0.0.1", "10.5.0.0/24"]).blocks;
    });
    assert_eq!(cluster.ips("b"), ["10.0.0.1"]);
    assert_eq!(cluster.ips("a"), ["10.5.0.0"]);
    assert_eq!(cluster.pool_says("pool", INVALID_SPEC), None);
    cluster.restart();
}

#[test]
fn a_selector_that_cannot_be_read_gives_nothing_and_takes_nothing() {
    let mut cluster = three();
    cluster.edit_pool("pool", |pool| {
        pool.selector = Some(selector("never", "matches"));
        pool.faults.push("spec.serviceSelector.matchExpressions[0]: In needs values".into());
    });
    assert_eq!(cluster.ips("a"), ["10.0.0.0"]);
    cluster.put_service(service("default", "d"));
    assert_eq!(cluster.reason("d"), "no_pool");
}

#[test]
fn addresses_that_others_gave_are_adopted_where_a_pool_covers_them() {
    let mut cluster = Cluster::new();
    // The unsatisfied one comes first by every order, and must not take what is recorded.
    let mut first = service("default", "a-first");
    first.created = -5;
    cluster.put(Object::Service(Box::new(first)));
    cluster.put(Object::Service(Box::new(recorded("metallb", &["10.0.0.0", "10.0.0.5"]))));
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
    assert_eq!(cluster.ips("metallb"), ["10.0.0.0", "10.0.0.5"], "two of one family are kept");
    assert_eq!(cluster.reason("metallb"), "satisfied");
    assert_eq!(cluster.ips("a-first"), ["10.0.0.1"]);
    assert_eq!(cluster.counts("pool"), ["256", "253", "3"]);
}

fn aged(name: &str, created: UnixSeconds, ips: &[&str]) -> Service {
    let mut claim = served(name, ips);
    claim.created = created;
    claim
}

#[test]
fn of_two_recorded_claims_that_come_together_the_first_created_wins() {
    for order in [["elder", "younger"], ["younger", "elder"]] {
        let mut cluster = Cluster::new();
        cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
        for name in order {
            let created = if name == "elder" { 1 } else { 2 };
            cluster.put(Object::Service(Box::new(aged(name, created, &["10.0.0.9"]))));
        }
        cluster.settle();
        assert_eq!(
            (cluster.ips("elder"), cluster.ips("younger")),
            (vec!["10.0.0.9".into()], vec!["10.0.0.0".into()])
        );
        cluster.restart();
    }
}

#[test]
fn who_has_an_address_keeps_it_when_somebody_writes_it_into_the_status_of_an_elder() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
    cluster.put_service(aged("elder", 1, &["10.0.0.8"]));
    cluster.put_service(aged("younger", 2, &["10.0.0.9"]));
    cluster.edit("elder", |elder| elder.ingress = vec!["10.0.0.9".parse().unwrap()]);
    assert_eq!(
        (cluster.ips("elder"), cluster.ips("younger")),
        (vec!["10.0.0.8".into()], vec!["10.0.0.9".into()])
    );
    // One that comes with it has lost it too.
    cluster.put_service(aged("eldest", 0, &["10.0.0.9"]));
    assert_eq!(
        (cluster.ips("eldest"), cluster.ips("younger")),
        (vec!["10.0.0.0".into()], vec!["10.0.0.9".into()])
    );
    cluster.restart();
}

#[test]
fn a_recorded_claim_beats_a_proposal_that_was_not_echoed() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
    let mut proposed = service("default", "proposed");
    proposed.created = -1;
    cluster.put(Object::Service(Box::new(proposed)));
    let unwritten = cluster.turn();
    assert_eq!(unwritten.services[0].ingress, ["10.0.0.0".parse::<IpAddr>().unwrap()]);
    let owner = |cluster: &Cluster| {
        let owners = cluster.ipam.owners("10.0.0.0".parse().unwrap());
        owners.map(|(key, standing)| (key.name.clone(), standing)).collect::<Vec<_>>()
    };
    assert_eq!(owner(&cluster), [("proposed".to_owned(), Standing::InFlight)]);
    // Another allocator, which lost its lease since, recorded the address on another Service.
    cluster.put_service(served("recorded", &["10.0.0.0"]));
    assert_eq!(owner(&cluster), [("recorded".to_owned(), Standing::Recorded)]);
    assert_eq!(cluster.ips("proposed"), ["10.0.0.1"]);
}

#[test]
fn a_proposal_stays_until_it_is_echoed() {
    let mut cluster = Cluster::new();
    cluster.put_pool(pool("pool", 1, &["10.0.0.0/24"]));
    cluster.put(Object::Service(Box::new(service("default", "web"))));
    let unwritten = cluster.turn();
    // A change that overtakes the write: the Service comes again without the address.
    let mut changed = service("default", "web");
    changed.generation = 2;
    changed.labels.insert("a".into(), "b".into());
    cluster.put(Object::Service(Box::new(changed)));
    let again = cluster.turn();
    assert_eq!(again.services[0].ingress, unwritten.services[0].ingress);
    cluster.write(&again);
    cluster.settle();
    assert_eq!(cluster.ips("web"), ["10.0.0.0"]);
    let given = cluster.events.iter().filter(|event| event.reason == EventReason::Allocated).count();
    assert_eq!(given, 1);
    // A status that somebody wipes is restored.
    cluster.edit("web", |web| web.ingress.clear());
    assert_eq!(cluster.ips("web"), ["10.0.0.0"]);
}

#[test]
fn a_service_that_stops_being_ours_gives_up_our_address_and_our_condition() {
    for change in [
        |web: &mut Service| web.load_balancer = false,
        |web: &mut Service| web.class = Some("io.cilium/node".into()),
        |web: &mut Service| web.class = Some(L2_CLASS.into()),
    ] {
        for restarted in [false, true] {
            let mut cluster = three();
            let mut web = cluster.get("b").clone();
            change(&mut web);
            // The other controller has been here already.
            web.ingress.push("172.16.0.1".parse().unwrap());
            web.ingress_ours = false;
            web.conditions.push(speaker_config::objects::Condition {
                kind: "example.com/Other".into(),
                status: "True".into(),
                reason: "x".into(),
                message: String::new(),
                observed_generation: 1,
                since: 0,
            });
            if restarted {
                cluster.ipam = Ipam::new(cluster.settings);
            }
            cluster.put_service(web);
            assert_eq!(cluster.ips("b"), ["172.16.0.1"]);
            assert_eq!(cluster.condition("b"), None);
            assert_eq!(cluster.get("b").conditions.len(), 1);
            assert_eq!(cluster.counts("pool")[2], "2");
        }
    }
}

#[test]
fn foreign_services_are_left_alone() {
    let mut cluster = Cluster::new();
    let mut red = pool("red", 1, &["10.0.0.0/24"]);
    red.selector = Some(selector("color", "red"));
    cluster.put_pool(red);
    for class in ["io.cilium/node", "example.com/f5"] {
        let mut other = recorded("other", &["10.0.0.7"]);
        other.class = Some(class.into());
        cluster.put_service(other);
        assert_eq!((cluster.ips("other"), cluster.condition("other")), (vec!["10.0.0.7".into()], None));
    }
    // Without class, and no pool selects it: somebody else's as well.
    cluster.put_service(recorded("f5", &["172.16.0.1"]));
    assert_eq!((cluster.ips("f5"), cluster.condition("f5")), (vec!["172.16.0.1".into()], None));
    // A condition that says `no_pool` changes nothing about that: the other came later.
    cluster.put_service(service("default", "late"));
    assert_eq!(cluster.reason("late"), "no_pool");
    cluster.edit("late", |late| late.ingress = vec!["172.16.0.2".parse().unwrap()]);
    assert_eq!(cluster.ips("late"), ["172.16.0.2"]);
    cluster.restart();
    // As soon as a pool selects it, it is served.
    cluster.edit_pool("red", |red| red.selector = None);
    assert_eq!((cluster.ips("f5"), cluster.reason("f5")), (vec!["10.0.0.0".into()], "satisfied"));
}

#[test]
fn what_we_gave_is_ours_to_take_after_a_restart_too() {
    let mut cluster = Cluster::new();
    cluster.put(Object::Service(Box::new(served("web", &["10.0.0.1"]))));
    let mut red = pool("red", 1, &["10.7.0.0/24"]);
    red.selector = Some(selector("color", "red"));
    cluster.put_pool(red);
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], "no_pool"));
}

#[test]
fn one_being_deleted_keeps_its_address_and_gets_no_other() {
    let mut cluster = three();
    cluster.edit("a", |a| a.deleting = true);
    assert_eq!(cluster.ips("a"), ["10.0.0.0"]);
    let mut late = service("default", "late");
    late.deleting = true;
    cluster.put_service(late);
    assert_eq!((cluster.ips("late"), cluster.condition("late")), (vec![], None));
    assert_eq!(cluster.counts("pool")[2], "3");
    // It loses what everybody would lose.
    cluster.edit("b", |b| b.deleting = true);
    cluster.edit_pool("pool", |p| p.blocks = pool("", 0, &["10.0.0.0-10.0.0.0", "10.0.0.2-10.0.0.7"]).blocks);
    assert_eq!((cluster.ips("b"), cluster.reason("b")), (vec![], "satisfied"));
    cluster.restart();
    cluster.delete_service("a");
    assert_eq!(cluster.counts("pool")[2], "1");
    assert_eq!(cluster.events.last().unwrap().note, "Released 10.0.0.0: the Service is deleted");
}

#[test]
fn one_created_anew_in_the_same_name_is_another_one() {
    let mut cluster = three();
    let mut again = service("default", "a");
    again.created = 7;
    cluster.put_service(again);
    assert_eq!(cluster.ips("a"), ["10.0.0.3"]);
}

#[test]
fn a_pools_own_status_is_put_right() {
    let mut cluster = three();
    let mut changed = cluster.inputs.pools.get("pool").unwrap().pool.clone();
    changed.conditions.retain(|condition| condition.kind != IPS_USED);
    cluster.put(Object::Pool(changed));
    cluster.settle();
    assert_eq!(cluster.counts("pool"), ["8", "5", "3"]);
}

#[test]
fn a_pool_says_what_of_it_nobody_may_announce() {
    use speaker_config::objects::{Node, ObjectRef, ServiceCidr};

    use super::super::{DANGEROUS, POOL_CONFLICT};

    let mut cluster = Cluster::new();
    cluster.put_pool(pool("blue", 1, &["10.0.0.0/24", "10.96.7.0/28", "192.0.2.0/29"]));
    assert_eq!(cluster.pool_says("blue", DANGEROUS), None);
    let node =
        Node { name: "n1".into(), internal_ips: vec!["10.0.0.11".parse().unwrap()], ..Node::default() };
    cluster.put(Object::Node(node));
    cluster.settle();
    const LEAVE: &str = ". No agent announces it, unless `allow` of an advertisement covers it";
    let holds_a_node = "10.0.0.0/24: it holds 10.0.0.11, the address of node n1";
    assert_eq!(cluster.pool_says("blue", DANGEROUS), Some(&*format!("{holds_a_node}{LEAVE}")));
    let cidr = |cidr: &str| {
        Object::ServiceCidr(ServiceCidr { name: "kubernetes".into(), cidrs: vec![cidr.parse().unwrap()] })
    };
    cluster.put(cidr("10.96.0.0/12"));
    cluster.settle();
    let both = format!(
        "{holds_a_node}; 10.96.7.0/28: it overlaps 10.96.0.0/12, a Service CIDR of the cluster{LEAVE}"
    );
    assert_eq!(cluster.pool_says("blue", DANGEROUS), Some(&*both));
    cluster.restart();
    cluster.put(cidr("10.112.0.0/12"));
    cluster.delete(&ObjectRef::Node("n1".into()));
    assert_eq!(cluster.pool_says("blue", DANGEROUS), None);
    assert_eq!(cluster.pool_says("blue", POOL_CONFLICT), Some("False"));
    // It serves as it did: the agents are the ones to refuse.
    cluster.put(cidr("10.96.0.0/12"));
    cluster.put_service(service("default", "web"));
    assert_eq!(cluster.ips("web"), ["10.0.0.0"]);
}

#[test]
fn what_is_recorded_of_dangers_stays_until_the_surroundings_are_known() {
    use speaker_config::objects::ServiceCidr;

    use super::super::{DANGEROUS, Ipam};

    let mut cluster = Cluster::new();
    let cidr = ServiceCidr { name: "kubernetes".into(), cidrs: vec!["10.96.0.0/12".parse().unwrap()] };
    cluster.put(Object::ServiceCidr(cidr.clone()));
    cluster.put_pool(pool("blue", 1, &["10.96.7.0/28"]));
    let said = cluster.pool_says("blue", DANGEROUS).map(str::to_owned);
    assert!(said.is_some());
    // A leader that does not know the cluster yet, and one in whose time it has changed.
    cluster.delete(&speaker_config::objects::ObjectRef::ServiceCidr("kubernetes".into()));
    assert_eq!(cluster.pool_says("blue", DANGEROUS), None);
    cluster.put(Object::ServiceCidr(cidr));
    cluster.settle();
    let mut late = Ipam::new(cluster.settings);
    late.expect_surroundings();
    let mut bare = crate::inputs::Inputs::default();
    bare.pools = cluster.inputs.pools.clone();
    assert_eq!(late.reconcile(&bare, 1).pools, [], "nothing is taken back");
    late.judge_pools(&bare);
    assert_eq!(late.reconcile(&bare, 1).pools.len(), 1, "there is no Service CIDR: it is");
}

#[test]
fn one_that_leaves_loses_our_addresses_though_the_pool_was_narrowed_and_keeps_those_of_others() {
    // The write by which it was given up is lost, and the pool does not cover the address any more.
    let mut cluster = three();
    let narrow = |cluster: &mut Cluster| {
        let mut pool = cluster.inputs.pools.get("pool").unwrap().pool.clone();
        pool.blocks = super::build::pool("", 0, &["10.0.0.4-10.0.0.7"]).blocks;
        cluster.put(Object::Pool(pool));
    };
    narrow(&mut cluster);
    let mut gone = cluster.get("a").clone();
    gone.class = Some("example.com/other".into());
    cluster.put(Object::Service(Box::new(gone.clone())));
    let lost = cluster.turn();
    assert!(lost.services.iter().any(|status| status.key == gone.key && status.ingress.is_empty()));
    cluster.put_service(gone);
    assert_eq!((cluster.ips("a"), cluster.condition("a")), (vec![], None));

    // The same over a restart; of another's addresses none is touched.
    for (theirs, load_balancer) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut cluster = three();
        narrow(&mut cluster);
        let mut gone = cluster.get("b").clone();
        gone.class = Some("example.com/other".into());
        gone.ingress_ours = !theirs;
        gone.load_balancer = load_balancer;
        cluster.put(Object::Service(Box::new(gone)));
        cluster.ipam = Ipam::new(cluster.settings);
        cluster.settle();
        let left = if theirs { vec!["10.0.0.1".to_owned()] } else { vec![] };
        assert_eq!((cluster.ips("b"), cluster.condition("b")), (left, None), "{theirs} {load_balancer}");
    }
}
