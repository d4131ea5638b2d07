use proptest::prelude::*;

use super::*;

fn host(last: u8) -> Prefix {
    Prefix::host(std::net::IpAddr::from([192, 0, 2, last]))
}

fn rank(service: bool, created: i64, last: u8) -> Rank {
    Rank { service, created, prefix: host(last) }
}

#[test]
fn pools_push_out_the_youngest_service_which_comes_back() {
    let mut quota = Quota::new(2);
    let mut crossed = BTreeSet::new();
    for (last, created) in [(1, 10), (2, 20), (3, 5)] {
        quota.set(host(last), Some(rank(true, created, last)), &mut crossed);
    }
    assert_eq!([1, 2, 3].map(|last| quota.admits(host(last))), [true, false, true], "the oldest go first");
    crossed.clear();
    quota.set(host(9), Some(rank(false, 99, 9)), &mut crossed);
    assert_eq!(crossed, BTreeSet::from([host(1), host(9)]), "one comes, one goes");
    assert_eq!([1, 2, 3, 9].map(|last| quota.admits(host(last))), [false, false, true, true]);
    crossed.clear();
    quota.set(host(9), None, &mut crossed);
    assert_eq!(crossed, BTreeSet::from([host(1), host(9)]));
    assert!(quota.admits(host(1)));
}

#[test]
fn the_same_rank_again_crosses_nothing() {
    let mut quota = Quota::new(1);
    let mut crossed = BTreeSet::new();
    quota.set(host(1), Some(rank(true, 1, 1)), &mut crossed);
    crossed.clear();
    quota.set(host(1), Some(rank(true, 1, 1)), &mut crossed);
    assert!(crossed.is_empty());
}

proptest! {
    /// The queue admits what sorting all ranks and cutting would, and tells of every prefix that crossed.
    #[test]
    fn the_queue_is_a_sorted_list_cut_at_the_limit(
        limit in 0u32..6,
        steps in prop::collection::vec((0u8..12, prop::option::of((any::<bool>(), 0i64..4))), 1..60),
    ) {
        let mut quota = Quota::new(limit);
        let mut model = BTreeMap::new();
        let mut admitted: BTreeSet<Prefix> = BTreeSet::new();
        for (last, change) in steps {
            let rank = change.map(|(service, created)| rank(service, created, last));
            match rank {
                Some(rank) => model.insert(host(last), rank),
                None => model.remove(&host(last)),
            };
            let mut crossed = BTreeSet::new();
            quota.set(host(last), rank, &mut crossed);
            let mut sorted: Vec<Rank> = model.values().copied().collect();
            sorted.sort();
            let now: BTreeSet<Prefix> =
                sorted.iter().take(limit as usize).map(|rank| rank.prefix).collect();
            for last in 0..12 {
                prop_assert_eq!(quota.admits(host(last)), now.contains(&host(last)));
            }
            prop_assert!(now.symmetric_difference(&admitted).all(|prefix| crossed.contains(prefix)));
            admitted = now;
        }
    }
}
