use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn pool(name: &str, created: UnixSeconds, blocks: &[&str]) -> Pool {
    let blocks = blocks
        .iter()
        .map(|text| match text.split_once('-') {
            Some((first, last)) => {
                Block::Range { first: first.parse().unwrap(), last: last.parse().unwrap() }
            }
            None => Block::Cidr(text.parse().unwrap()),
        })
        .collect();
    Pool {
        name: name.to_owned(),
        created,
        generation: 1,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        selector: None,
        blocks,
        reserve_first_last: false,
        disabled: false,
        faults: Vec::new(),
        conditions: Vec::new(),
    }
}

fn names(changed: &BTreeSet<String>) -> Vec<&str> {
    changed.iter().map(String::as_str).collect()
}

fn conflicting(pools: &Pools) -> Vec<&str> {
    pools.iter().filter(|entry| entry.conflict.is_some()).map(|entry| &*entry.pool.name).collect()
}

#[test]
fn the_younger_of_two_loses_and_recovers_when_the_elder_goes() {
    let mut pools = Pools::default();
    pools.upsert(pool("b-elder", 10, &["10.0.0.0/24"]));
    let changed = pools.upsert(pool("a-younger", 11, &["10.0.1.0/24", "10.0.0.128-10.0.0.129"]));
    assert_eq!(names(&changed), ["a-younger"]);
    let conflict = pools.get("a-younger").unwrap().conflict.clone().unwrap();
    assert_eq!(
        conflict.to_string(),
        "Pool conflicts since range '10.0.0.128 - 10.0.0.129' overlaps range '10.0.0.0 - 10.0.0.255' from IP Pool 'b-elder'"
    );
    assert_eq!(pools.get("b-elder").unwrap().conflict, None);

    let changed = pools.remove("b-elder");
    assert_eq!(names(&changed), ["a-younger", "b-elder"]);
    assert_eq!(conflicting(&pools), [""; 0]);
}

#[test]
fn pools_of_the_same_second_are_told_apart_by_name_in_either_order_of_arrival() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut pools = Pools::default();
        for name in order {
            pools.upsert(pool(name, 7, &["2001:db8::/64"]));
        }
        assert_eq!(conflicting(&pools), ["b"]);
    }
}

#[test]
fn a_pool_whose_blocks_overlap_names_itself() {
    let mut pools = Pools::default();
    pools.upsert(pool("twice", 1, &["10.0.0.0/30", "10.0.0.2-10.0.0.9"]));
    assert_eq!(
        pools.get("twice").unwrap().conflict.as_ref().unwrap().to_string(),
        "Pool conflicts since range '10.0.0.0 - 10.0.0.3' overlaps range '10.0.0.2 - 10.0.0.9' from IP Pool 'twice'"
    );
    let changed = pools.upsert(pool("twice", 1, &["10.0.0.0/30", "10.0.0.4-10.0.0.9"]));
    assert_eq!(names(&changed), ["twice"]);
    assert_eq!(conflicting(&pools), [""; 0]);
}

#[test]
fn a_conflicting_pool_still_stands_in_the_way_of_younger_ones() {
    let mut pools = Pools::default();
    pools.upsert(pool("first", 1, &["10.0.0.0-10.0.0.10"]));
    pools.upsert(pool("second", 2, &["10.0.0.10-10.0.0.20"]));
    pools.upsert(pool("third", 3, &["10.0.0.20-10.0.0.30"]));
    assert_eq!(conflicting(&pools), ["second", "third"]);
    // Repairing the first pool frees the second, and takes nothing from the third.
    pools.upsert(pool("first", 1, &["10.0.0.0-10.0.0.9"]));
    assert_eq!(conflicting(&pools), ["third"]);
    pools.remove("second");
    assert_eq!(conflicting(&pools), [""; 0]);
}

#[test]
fn a_status_is_stored_and_is_no_change() {
    let mut pools = Pools::default();
    pools.upsert(pool("one", 1, &["10.0.0.0/24"]));
    let mut told = pool("one", 1, &["10.0.0.0/24"]);
    told.conditions.push(speaker_config::objects::Condition {
        kind: "cilium.io/PoolConflict".into(),
        status: "False".into(),
        reason: "resolved".into(),
        message: String::new(),
        observed_generation: 1,
        since: 0,
    });
    assert_eq!(pools.upsert(told.clone()), BTreeSet::new());
    assert_eq!(pools.get("one").unwrap().pool, told);
}

#[test]
fn a_lookup_finds_every_pool_once() {
    let mut pools = Pools::default();
    pools.upsert(pool("all", 1, &["::/0", "2001:db8::/32"]));
    pools.upsert(pool("some", 2, &["2001:db8::/64"]));
    let found = |addr: &str| -> Vec<String> {
        pools.containing(addr.parse().unwrap()).map(|entry| entry.pool.name.clone()).collect()
    };
    assert_eq!(found("2001:db8::7"), ["all", "some"]);
    assert_eq!(found("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["all"]);
    assert_eq!(found("10.0.0.1"), [""; 0]);
    let size = |name: &str, family| pools.get(name).unwrap().size(family).to_string();
    assert_eq!(size("some", Family::Ipv6Unicast), "18446744073709551616");
    assert_eq!(size("all", Family::Ipv6Unicast), "340282367000166625977638945025312161792");
    assert_eq!(size("all", Family::Ipv4Unicast), "0");
}

#[test]
fn the_pieces_grow_with_the_blocks_and_not_with_the_addresses() {
    let mut pools = Pools::default();
    for index in 0..100u32 {
        let blocks = [format!("{}.0.0.0/8", index + 1), format!("2001:db8:{index:x}::/48")];
        pools.upsert(pool(&format!("pool-{index}"), 1, &[&blocks[0], &blocks[1]]));
    }
    let pieces = |pools: &Pools| Family::ALL.map(|family| pools.segments.get(family).pieces());
    assert_eq!(pieces(&pools), [101, 101]);
    for index in 0..100 {
        pools.remove(&format!("pool-{index}"));
    }
    assert_eq!(pieces(&pools), [0, 0]);
    assert!(pools.is_empty() && pools.by_preference().next().is_none());
}

/// One step of a random history: a pool (of six) gets these ranges (of a small space at the end of the
/// family, so that the last address takes part) and this age, or goes.
type Step = (u8, bool, Option<(i64, Vec<(u8, u8)>)>);

fn step() -> impl Strategy<Value = Step> {
    (0..6u8, any::<bool>(), prop::option::of((0..3i64, vec((0..24u8, 0..6u8), 0..4))))
}

fn blocks_of(v6: bool, ranges: &[(u8, u8)]) -> Vec<Block> {
    let family = if v6 { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
    let base = crate::span::last_bits(family) - 31;
    ranges
        .iter()
        .map(|(first, more)| Block::Range {
            first: crate::span::addr(family, base + u128::from(*first)),
            last: crate::span::addr(family, base + u128::from((first + more).min(31))),
        })
        .collect()
}

/// The rule, word for word, over all pairs.
fn naive(pools: &[Pool]) -> BTreeSet<String> {
    let overlap = |a: &Block, b: &Block| {
        a.family() == b.family() && a.bounds().0 <= b.bounds().1 && b.bounds().0 <= a.bounds().1
    };
    let loses = |pool: &&Pool| {
        pools.iter().any(|other| {
            let pairs = || {
                let indexes = 0..pool.blocks.len();
                indexes.flat_map(|i| (0..other.blocks.len()).map(move |j| (i, j)))
            };
            let age = |pool: &Pool| (pool.created, pool.name.clone());
            if other.name == pool.name {
                pairs().any(|(i, j)| i != j && overlap(&pool.blocks[i], &other.blocks[j]))
            } else {
                age(other) < age(pool) && pairs().any(|(i, j)| overlap(&pool.blocks[i], &other.blocks[j]))
            }
        })
    };
    pools.iter().filter(loses).map(|pool| pool.name.clone()).collect()
}

proptest! {
    #[test]
    fn any_history_ends_as_the_pools_say(steps in vec(step(), 1..30)) {
        let mut pools = Pools::default();
        let mut model: BTreeMap<String, Pool> = BTreeMap::new();
        for (index, v6, what) in steps {
            let name = format!("pool-{index}");
            let before: BTreeMap<String, PoolEntry> = pools.entries.clone();
            let changed = if let Some((created, ranges)) = what {
                let mut new = pool(&name, created, &[]);
                new.blocks = blocks_of(v6, &ranges);
                model.insert(name, new.clone());
                pools.upsert(new)
            } else {
                model.remove(&name);
                pools.remove(&name)
            };
            let all: Vec<Pool> = model.values().cloned().collect();
            let marked: BTreeSet<String> = conflicting(&pools).into_iter().map(str::to_owned).collect();
            prop_assert_eq!(&marked, &naive(&all));
            for name in before.keys().chain(pools.entries.keys()) {
                let differs = before.get(name) != pools.entries.get(name);
                prop_assert!(changed.contains(name) == differs, "{} {}", name, differs);
            }
            // The conflict shown does not depend on the history either.
            let mut fresh = Pools::default();
            for pool in model.values().rev() {
                fresh.upsert(pool.clone());
            }
            prop_assert_eq!(&pools.entries, &fresh.entries);
            for offset in 0..32u128 {
                for family in Family::ALL {
                    let addr = crate::span::addr(family, crate::span::last_bits(family) - offset);
                    let found: Vec<&str> = pools.containing(addr).map(|entry| &*entry.pool.name).collect();
                    let holds = |pool: &&Pool| pool.blocks.iter().any(|block| {
                        block.family() == family && (block.bounds().0..=block.bounds().1).contains(&addr)
                    });
                    let expected: Vec<&str> = all.iter().filter(holds).map(|pool| &*pool.name).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
