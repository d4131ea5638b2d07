use proptest::prelude::*;

use super::*;

mod model;

fn second(count: u64) -> Timestamp {
    Timestamp::from_nanos(count * 1_000_000_000)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const LEASE: &str = "cilium-l2announce-default-web";

fn params() -> Params {
    Params::new(Duration::from_secs(15))
}

fn unit(candidates: &[&str]) -> Option<Wanted> {
    Some(Wanted {
        addresses: BTreeSet::from([address("192.0.2.1")]),
        candidates: candidates.iter().map(ToString::to_string).collect(),
        waiting: BTreeSet::new(),
    })
}

fn seen(holder: Option<&str>, version: &str) -> Option<LeaseSeen> {
    let addresses = holder.map(|_| address("192.0.2.1")).into_iter().collect();
    Some(LeaseSeen { holder: holder.map(str::to_owned), addresses, version: version.to_owned() })
}

fn renewal(stamp: &str) -> Option<NodeSeen> {
    Some(NodeSeen { stamp: stamp.to_owned(), released: false })
}

fn claim(version: Option<&str>) -> Op {
    Op::Claim {
        lease: LEASE.to_owned(),
        version: version.map(str::to_owned),
        addresses: BTreeSet::from([address("192.0.2.1")]),
    }
}

/// A node that has renewed at second 0 and may hold the one unit.
fn candidate() -> Election {
    let mut election = Election::new("a", params());
    election.renewed(second(0), second(0));
    election.set_unit(LEASE, unit(&["a", "b"]));
    election
}

#[test]
fn an_address_is_held_when_the_claim_has_come_back() {
    let mut election = candidate();
    assert_eq!(election.step(second(0)), [claim(None)]);
    assert!(election.held().is_empty());
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    assert!(election.held().is_empty(), "it might be an older claim");
    election.written(LEASE, Some("7".to_owned()));
    assert_eq!(election.held(), BTreeSet::from([address("192.0.2.1")]));
    assert_eq!(election.fence(), Some(second(12)));
    assert_eq!(election.step(second(1)), []);
}

#[test]
fn a_claim_that_failed_is_made_again() {
    let mut election = candidate();
    election.step(second(0));
    election.written(LEASE, None);
    assert_eq!(election.step(second(1)), [claim(None)]);
}

#[test]
fn nobody_is_displaced_while_he_renews() {
    let mut election = candidate();
    election.node_seen("b", renewal("1"), second(0));
    election.lease_seen(LEASE, seen(Some("b"), "7"));
    assert_eq!(election.step(second(0)), []);
    assert_eq!(election.deadline(), Some(second(15)));
    election.node_seen("b", renewal("2"), second(10));
    election.renewed(second(10), second(10));
    assert_eq!(election.step(second(15)), []);
    assert_eq!(election.deadline(), Some(second(25)));
}

#[test]
fn a_dead_holder_is_looked_at_once_more_before_he_is_displaced() {
    let mut election = candidate();
    election.node_seen("b", renewal("1"), second(0));
    election.lease_seen(LEASE, seen(Some("b"), "7"));
    election.step(second(0));
    election.renewed(second(14), second(14));
    // The first renewal since second 0 came after the fence, so that everything is looked at again.
    assert_eq!(election.step(second(14)), []);
    assert_eq!(election.step(second(15)), [Op::Check { node: "b".to_owned() }]);
    assert_eq!(election.step(second(16)), [], "one look at a time");
    let mut alive = renewal("2");
    election.node_checked("b", Some(alive.clone()), second(16));
    assert_eq!(election.step(second(16)), [], "the watch was behind");
    election.renewed(second(25), second(25));
    assert_eq!(election.step(second(31)), [Op::Check { node: "b".to_owned() }]);
    alive = renewal("2");
    election.node_checked("b", Some(alive), second(31));
    assert_eq!(election.step(second(31)), [claim(Some("7"))]);
}

#[test]
fn one_who_has_released_is_displaced_at_once() {
    let mut election = candidate();
    election.node_seen("b", renewal("1"), second(0));
    election.lease_seen(LEASE, seen(Some("b"), "7"));
    election.step(second(0));
    let released = Some(NodeSeen { stamp: "8".to_owned(), released: true });
    election.node_seen("b", released, second(1));
    assert_eq!(election.step(second(1)), [claim(Some("7"))]);
}

#[test]
fn a_claim_that_is_younger_than_its_nodes_release_is_looked_into() {
    let mut election = candidate();
    election.node_seen("b", renewal("1"), second(0));
    election.lease_seen(LEASE, seen(Some("b"), "7"));
    election.step(second(0));
    // It was under way when its process fell silent, or it is a new process's.
    let released = Some(NodeSeen { stamp: "6".to_owned(), released: true });
    election.node_seen("b", released.clone(), second(1));
    assert_eq!(election.step(second(1)), [Op::Check { node: "b".to_owned() }]);
    election.node_checked("b", Some(released), second(1));
    assert_eq!(election.step(second(1)), [claim(Some("7"))]);
}

#[test]
fn what_kube_proxy_has_not_set_up_is_not_claimed_and_what_is_written_down_is_kept() {
    let mut election = candidate();
    let waiting = |election: &mut Election, addresses: &[&str]| {
        let wanted = unit(&["a", "b"])
            .map(|unit| Wanted { waiting: addresses.iter().map(|one| address(one)).collect(), ..unit });
        election.set_unit(LEASE, wanted);
    };
    waiting(&mut election, &["192.0.2.1"]);
    assert_eq!(election.step(second(0)), []);
    waiting(&mut election, &[]);
    assert_eq!(election.step(second(0)), [claim(None)]);
    // A process of this node held it before this one began.
    let mut election = candidate();
    waiting(&mut election, &["192.0.2.1"]);
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    assert_eq!(election.step(second(0)), [claim(Some("7"))]);
    election.lease_seen(LEASE, seen(Some("a"), "8"));
    election.written(LEASE, Some("8".to_owned()));
    assert!(election.held().is_empty(), "it cannot serve it yet");
    assert_eq!(election.step(second(1)), []);
    waiting(&mut election, &[]);
    assert_eq!(election.held(), BTreeSet::from([address("192.0.2.1")]));
    assert_eq!(election.step(second(1)), []);
}

#[test]
fn a_renewal_that_is_confirmed_too_late_revives_nothing() {
    let mut election = candidate();
    election.step(second(0));
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    election.written(LEASE, Some("7".to_owned()));
    assert!(!election.held().is_empty());
    election.renewed(second(11), second(13));
    assert!(election.held().is_empty());
    assert_eq!(election.step(second(13)), [claim(Some("7"))], "it asks for it again");
}

#[test]
fn a_node_that_is_no_candidate_any_more_falls_silent_and_then_releases() {
    let mut election = candidate();
    election.step(second(0));
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    election.written(LEASE, Some("7".to_owned()));
    election.set_unit(LEASE, unit(&["b"]));
    assert!(election.held().is_empty());
    let release = Op::Release { lease: LEASE.to_owned(), version: "7".to_owned() };
    assert_eq!(election.step(second(1)), [release]);
}

#[test]
fn the_lease_of_a_service_that_is_gone_is_deleted() {
    let mut election = candidate();
    election.step(second(0));
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    election.written(LEASE, Some("7".to_owned()));
    election.set_unit(LEASE, None);
    let delete = Op::Delete { lease: LEASE.to_owned(), version: "7".to_owned() };
    assert_eq!(election.step(second(1)), [delete]);
}

#[test]
fn an_address_that_anothers_lease_lists_is_not_claimed() {
    let mut election = candidate();
    let other = "cilium-l2announce-default-older";
    election.node_seen("b", renewal("1"), second(0));
    election.lease_seen(other, seen(Some("b"), "3"));
    assert_eq!(election.step(second(0)), []);
    election.lease_seen(other, seen(None, "4"));
    let ops = election.step(second(1));
    assert!(ops.contains(&claim(None)), "{ops:?}");
}

#[test]
fn of_two_claims_of_one_address_the_later_one_loses() {
    let mut election = candidate();
    election.node_seen("b", renewal("1"), second(0));
    election.step(second(0));
    election.lease_seen("cilium-l2announce-default-older", seen(Some("b"), "6"));
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    election.written(LEASE, Some("7".to_owned()));
    assert!(election.held().is_empty());
}

#[test]
fn an_address_that_changes_units_is_claimed_there_before_it_is_released_here() {
    let mut election = candidate();
    election.step(second(0));
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    election.written(LEASE, Some("7".to_owned()));
    let heir = "cilium-l2announce-default-heir";
    election.set_unit(LEASE, None);
    election.set_unit(heir, unit(&["a", "b"]));
    let ops = election.step(second(1));
    assert!(matches!(&ops[..], [Op::Claim { lease, .. }] if lease == heir), "{ops:?}");
    assert_eq!(election.held().len(), 1, "it is answered for all along");
    election.lease_seen(heir, seen(Some("a"), "8"));
    election.written(heir, Some("8".to_owned()));
    let delete = Op::Delete { lease: LEASE.to_owned(), version: "7".to_owned() };
    assert_eq!(election.step(second(2)), [delete]);
    assert_eq!(election.held().len(), 1);
}

#[test]
fn a_drained_node_holds_nothing() {
    let mut election = candidate();
    election.step(second(0));
    election.lease_seen(LEASE, seen(Some("a"), "7"));
    election.written(LEASE, Some("7".to_owned()));
    election.set_available(false);
    assert!(election.held().is_empty());
    assert!(matches!(&election.step(second(1))[..], [Op::Release { .. }]));
}

#[test]
fn units_are_spread_over_the_nodes() {
    let names = ["a", "b", "c", "d"];
    let mut counts = BTreeMap::new();
    for number in 0..1000 {
        let lease = format!("cilium-l2announce-default-web-{number}");
        let mut first = Vec::new();
        for me in names {
            let mut election = Election::new(me, params());
            for other in names.iter().filter(|other| **other != me) {
                election.node_seen(other, renewal("1"), second(0));
            }
            election.renewed(second(0), second(0));
            election.set_unit(&lease, unit(&names));
            if !election.step(second(0)).is_empty() {
                first.push(me);
            }
        }
        assert_eq!(first.len(), 1, "{lease}: {first:?} would claim at once");
        *counts.entry(first[0]).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| (180..320).contains(count)), "{counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Nodes that pause, are cut off, restart and change their minds, on a slow and lossy way to one store.
    #[test]
    fn two_nodes_never_answer_for_one_address(seed: u64) {
        model::run(seed, 600);
    }
}
