//! A segment on virtual time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn ll(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(milliseconds)
}

/// Everybody hears everybody else, but for what is lost.
struct Segment {
    now: Timestamp,
    ends: BTreeMap<u16, Discovery>,
    /// What each said, and when.
    said: Vec<(Timestamp, u16, Say)>,
    lost: Random,
    /// Of a hundred packets.
    loss: u32,
}

impl Segment {
    fn of(ends: &[u16], seed: u64, loss: u32) -> Self {
        let mut segment =
            Self { now: at(0), ends: BTreeMap::new(), said: Vec::new(), lost: Random::new(!seed), loss };
        for end in ends {
            segment.join(*end, seed);
        }
        segment
    }

    fn join(&mut self, end: u16, seed: u64) {
        let mut discovery = Discovery::new(seed.wrapping_mul(31) + u64::from(end));
        discovery.set_own(self.now, Some(ll(end)));
        self.ends.insert(end, discovery);
    }

    fn run(&mut self, until: Timestamp) {
        while let Some(next) =
            self.ends.values().filter_map(Discovery::deadline).min().filter(|at| *at <= until)
        {
            assert!(next >= self.now, "a deadline that is past is never told twice");
            self.now = next;
            let mut said = Vec::new();
            for (name, end) in &mut self.ends {
                said.extend(end.expire(self.now).into_iter().map(|say| (*name, say)));
                assert!(end.deadline().is_none_or(|at| at > self.now), "everything that was due is done");
            }
            for (from, say) in said {
                self.said.push((self.now, from, say));
                let packet = match say {
                    Say::Advertisement => packet::advertisement(None),
                    Say::Solicitation => packet::solicitation(None),
                };
                for (name, end) in &mut self.ends {
                    if *name != from && self.lost.within(1, 100) > self.loss {
                        assert!(end.hear(self.now, ll(from), 255, &packet));
                    }
                }
            }
        }
        self.now = until;
    }

    fn neighbor(&self, end: u16) -> Option<Ipv6Addr> {
        self.ends[&end].sight().neighbor
    }

    fn times(&self, end: u16, what: Say) -> Vec<Timestamp> {
        self.said.iter().filter(|(_, from, say)| *from == end && *say == what).map(|(at, ..)| *at).collect()
    }
}

#[test]
fn two_ends_find_each_other_within_a_second() {
    for seed in 0..200 {
        let mut segment = Segment::of(&[1, 2], seed, 0);
        segment.run(at(1_000));
        assert_eq!((segment.neighbor(1), segment.neighbor(2)), (Some(ll(2)), Some(ll(1))), "seed {seed}");
    }
}

#[test]
fn one_that_comes_late_is_found_as_soon() {
    for seed in 0..200 {
        let mut segment = Segment::of(&[1], seed, 0);
        segment.run(at(300_000));
        segment.join(2, seed);
        // The new one is heard at once, and its solicitation is answered as soon as that is allowed.
        segment.run(at(304_500));
        assert_eq!((segment.neighbor(1), segment.neighbor(2)), (Some(ll(2)), Some(ll(1))), "seed {seed}");
    }
}

#[test]
fn advertisements_are_never_closer_than_3_s_and_settle_at_10_s_at_most() {
    for seed in 0..50 {
        let mut segment = Segment::of(&[1, 2, 3], seed, 20);
        segment.run(at(600_000));
        for end in [1, 2, 3] {
            let times = segment.times(end, Say::Advertisement);
            for pair in times.windows(2) {
                let between = pair[1].since(pair[0]);
                assert!(between >= LEAST_BETWEEN && between <= seconds(10), "seed {seed}: {between:?}");
            }
            assert!(times.len() < 160, "{} in ten minutes", times.len());
        }
    }
}

#[test]
fn while_nobody_answers_advertisements_go_fast_and_solicitations_ever_more_rarely() {
    let mut segment = Segment::of(&[1], 7, 0);
    segment.run(at(600_000));
    let advertised = segment.times(1, Say::Advertisement).len();
    assert!((145..=200).contains(&advertised), "{advertised}");
    let solicited = segment.times(1, Say::Solicitation);
    let pauses: Vec<u64> = solicited.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
    assert!((3..=4).contains(&pauses[0]) && (6..=8).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses.iter().skip(4).all(|pause| (53..=67).contains(pause)), "{pauses:?}");
}

#[test]
fn without_an_address_of_our_own_nothing_is_said_and_others_are_heard() {
    let mut lonely = Discovery::new(1);
    assert_eq!(lonely.deadline(), None);
    assert!(lonely.hear(at(0), ll(2), 255, &packet::advertisement(None)));
    assert!(lonely.hear(at(0), ll(2), 255, &packet::solicitation(None)));
    assert_eq!(lonely.sight().neighbor, Some(ll(2)));
    assert_eq!(lonely.expire(at(10_000)), []);
    lonely.set_own(at(10_000), Some(ll(1)));
    assert!(lonely.deadline().is_some_and(|due| due <= at(11_000)));
    lonely.set_own(at(10_100), None);
    assert_eq!(lonely.expire(at(20_000)), []);
}

#[test]
fn we_are_no_neighbor_of_our_own() {
    let mut discovery = Discovery::new(1);
    discovery.set_own(at(0), Some(ll(1)));
    assert!(!discovery.hear(at(1), ll(1), 255, &packet::advertisement(None)));
    assert_eq!(discovery.sight(), Sight::default());
    // What was heard before the address became ours.
    discovery.hear(at(2), ll(9), 255, &packet::advertisement(None));
    discovery.set_own(at(3), Some(ll(9)));
    assert_eq!(discovery.sight(), Sight::default());
}

#[test]
fn what_came_over_a_router_or_from_a_global_address_is_nobody() {
    let mut discovery = Discovery::new(1);
    discovery.set_own(at(0), Some(ll(1)));
    assert!(!discovery.hear(at(1), ll(2), 64, &packet::advertisement(None)));
    assert!(!discovery.hear(at(1), "2001:db8::1".parse().unwrap(), 255, &packet::advertisement(None)));
    assert_eq!(discovery.sight(), Sight::default());
}

#[test]
fn a_second_router_is_told_and_takes_nothing_over() {
    for seed in 0..100 {
        let mut segment = Segment::of(&[1, 2], seed, 0);
        segment.run(at(30_000));
        segment.join(3, seed);
        segment.run(at(600_000));
        assert_eq!(segment.ends[&1].sight(), Sight { neighbor: Some(ll(2)), others: vec![ll(3)] }, "{seed}");
        // It leaves again.
        segment.ends.remove(&3);
        segment.run(at(661_000));
        assert_eq!(segment.ends[&1].sight(), Sight { neighbor: Some(ll(2)), others: vec![] }, "{seed}");
    }
}

#[test]
fn a_neighbor_with_a_new_address_is_followed_within_seconds() {
    for seed in 0..100 {
        let mut segment = Segment::of(&[1, 2], seed, 0);
        segment.run(at(60_000));
        segment.ends.remove(&2);
        segment.join(3, seed);
        // It is heard at once, and challenged once the old one has been silent for 4 s; it says itself again by then.
        segment.run(at(60_000 + 4_000 + 10_000 + 4_000));
        assert_eq!(segment.ends[&1].sight(), Sight { neighbor: Some(ll(3)), others: vec![] }, "{seed}");
    }
}

#[test]
fn who_says_nothing_more_is_forgotten_after_its_lifetime_and_sought_again() {
    let lasting = |lifetime: u16| {
        let mut message = packet::advertisement(None);
        message[6..8].copy_from_slice(&lifetime.to_be_bytes());
        message
    };
    for (lifetime, believed) in [(30, 30), (9_000, 9_000), (0, 1_800)] {
        let mut discovery = Discovery::new(3);
        discovery.set_own(at(0), Some(ll(1)));
        discovery.hear(at(0), ll(2), 255, &lasting(lifetime));
        let mut until = |end: Timestamp| {
            let mut said = Vec::new();
            while let Some(due) = discovery.deadline().filter(|due| *due < end) {
                said.extend(discovery.expire(due));
            }
            (discovery.sight().neighbor, said.contains(&Say::Solicitation))
        };
        let end = at(0) + seconds(believed);
        assert_eq!(until(end), (Some(ll(2)), false), "{lifetime}");
        assert_eq!(until(end + seconds(2)), (None, true), "{lifetime}");
    }
}

#[test]
fn a_flood_of_routers_costs_nothing() {
    let mut discovery = Discovery::new(1);
    discovery.set_own(at(0), Some(ll(1)));
    for last in 2..5_000 {
        discovery.hear(at(1), ll(last), 255, &packet::advertisement(None));
    }
    assert_eq!(discovery.sight().neighbor, Some(ll(2)));
    assert_eq!(discovery.sight().others.len(), MOST_ROUTERS - 1);
}

proptest! {
    /// Whatever is lost of what is said, the two ends find each other, and rules hold throughout.
    #[test]
    fn half_of_the_packets_lost_delays_and_nothing_else(seed: u64, loss in 0_u32..60) {
        let mut segment = Segment::of(&[1, 2], seed, loss);
        segment.run(at(180_000));
        prop_assert_eq!((segment.neighbor(1), segment.neighbor(2)), (Some(ll(2)), Some(ll(1))));
    }

    /// Octets that anybody may send.
    #[test]
    fn any_message_is_read_or_passed_over(source: u128, hops: u8, message in proptest::collection::vec(any::<u8>(), 0..64)) {
        let source = Ipv6Addr::from(source);
        let mut discovery = Discovery::new(1);
        discovery.set_own(at(0), Some(ll(1)));
        let believed = discovery.hear(at(1), source, hops, &message);
        prop_assert!(!believed || (hops == 255 && matches!(message[0], packet::SOLICITATION | packet::ADVERTISEMENT)));
        prop_assert!(discovery.sight().neighbor.is_none_or(|address| address.is_unicast_link_local()));
    }
}
