use bgp_proto::types::{Community, Timestamp};
use bgp_proto::wire::{AsPathSegment, SegmentKind};

use super::*;

const DEFAULT: &str = "0.0.0.0/0";

/// Two routers on links 1 and 2, in AS 64500 and 64502, and what each says of the default route.
fn two(a: PathAttributes, b: PathAttributes) -> Learned {
    several(&[(1, 64500, a), (2, 64502, b)])
}

fn several(routers: &[(u8, u32, PathAttributes)]) -> Learned {
    let mut learned = Learned::default();
    learned.surround(surroundings(1..=9));
    for (link, asn, attributes) in routers {
        let name = name(&format!("r{link}"));
        learned.up(&name, 1, neighbor(*link, *asn), both(), Helper::default(), rules(), Timestamp::ZERO);
        let hop = format!("10.0.{link}.254");
        let passed = learned.update(&name, 1, &announced(&[DEFAULT], &hop, attributes.clone()), 0);
        assert!(passed.is_empty());
    }
    learned
}

fn set(kind: SegmentKind, asns: &[u32]) -> AsPathSegment {
    AsPathSegment { kind, asns: asns.iter().map(|one| asn(*one)).collect() }
}

#[test]
fn equal_routes_share_the_traffic_whatever_their_as_paths_contain() {
    let learned = two(path(&[64500, 65000]), path(&[64502, 65001]));
    assert_eq!(ways(&learned, DEFAULT), ["10.0.1.254", "10.0.2.254"]);
    let rows = learned.rows(|_, _| true);
    let codes: Vec<_> = rows.iter().map(|row| (row.peer.as_str(), row.best, row.multipath)).collect();
    assert_eq!(codes, [("r1", true, false), ("r2", false, true)], "the lower router ID is the best one");
    let count = learned.counts().map(|(_, count)| count.get(Family::Ipv4Unicast).used).sum::<u32>();
    assert_eq!(count, 2);
}

#[test]
fn each_step_of_section_9_1_2_2_decides_in_its_turn() {
    let with = |change: &dyn Fn(&mut PathAttributes)| {
        let mut attributes = path(&[64500]);
        change(&mut attributes);
        attributes
    };
    // What r1 says is worse by one step, and better by each later one.
    let cases: [(&str, PathAttributes, PathAttributes); 6] = [
        (
            "this one is long-lived stale",
            with(&|one| (one.local_pref, one.communities) = (Some(200), vec![Community::LLGR_STALE])),
            path(&[64502]),
        ),
        ("higher local preference", path(&[64500]), with(&|one| one.local_pref = Some(101))),
        (
            "higher local preference",
            with(&|one| one.communities = vec![Community::GRACEFUL_SHUTDOWN]),
            path(&[64502, 1, 2, 3]),
        ),
        ("shorter AS path", path(&[64500, 64500]), with(&|one| one.origin = Some(Origin::Incomplete))),
        ("lower origin", with(&|one| one.origin = Some(Origin::Egp)), with(&|one| one.med = Some(9))),
        ("lower MED", with(&|one| one.med = Some(1)), path(&[64500])),
    ];
    for (step, worse, better) in cases {
        let learned = several(&[(1, 64500, worse.clone()), (2, 64500, better.clone())]);
        assert_eq!(ways(&learned, DEFAULT), ["10.0.2.254"], "{worse:?} {better:?}");
        let why = reason(&learned, "r1", DEFAULT).unwrap();
        assert!(why.contains(step), "{why} is not {step}");
        assert_eq!(reason(&learned, "r2", DEFAULT), None);
    }
}

#[test]
fn lengths_are_those_of_the_rfcs() {
    let mut confederation = path(&[]);
    confederation.as_path = Some(AsPath {
        segments: vec![set(SegmentKind::ConfedSequence, &[7, 8, 9]), set(SegmentKind::Sequence, &[64502, 1])],
    });
    assert_eq!(ways(&two(path(&[64500, 1]), confederation), DEFAULT).len(), 2, "a confederation is 0");
}

#[test]
fn med_is_compared_within_a_neighbouring_as_whatever_the_order() {
    let med = |asns: &[u32], med| PathAttributes { med: Some(med), ..path(asns) };
    // r2 beats r1; r3 has another neighbour and nothing to be compared with. The three pairwise orders of RFC 4271's
    // note would leave it to the order in which they came.
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let routers = [
            (1, 64500, med(&[64500, 9], 10)),
            (2, 64500, med(&[64500, 9], 5)),
            (3, 64502, med(&[64502, 9], 50)),
        ];
        let routers = order.map(|at: usize| routers[at].clone());
        let learned = several(&routers);
        assert_eq!(ways(&learned, DEFAULT), ["10.0.2.254", "10.0.3.254"]);
        assert!(reason(&learned, "r1", DEFAULT).unwrap().contains("lower MED"));
    }
}

#[test]
fn routes_of_our_own_as_are_never_beside_those_of_others() {
    let learned = several(&[(1, 64501, path(&[65000])), (2, 64500, path(&[64500]))]);
    assert_eq!(ways(&learned, DEFAULT), ["10.0.2.254"]);
    assert!(reason(&learned, "r1", DEFAULT).unwrap().contains("from another AS"));
    let inside = several(&[(1, 64501, path(&[65000])), (2, 64501, path(&[65000]))]);
    assert_eq!(ways(&inside, DEFAULT).len(), 2, "two of our own share");
}

#[test]
fn the_best_of_equals_has_the_lowest_identifier_then_cluster_list_then_address() {
    let best = |learned: &Learned| {
        let rows = learned.rows(|_, _| true);
        rows.into_iter().find(|row| row.best).unwrap().peer
    };
    let id = |text: &str| Some(RouterId::new(text.parse().unwrap()).unwrap());
    let reflected = |originator, clusters: usize| PathAttributes {
        originator_id: originator,
        cluster_list: vec![[9, 9, 9, 9].into(); clusters],
        ..path(&[65000])
    };
    let a = reflected(id("10.255.0.9"), 0);
    let b = reflected(id("10.255.0.8"), 3);
    assert_eq!(
        best(&several(&[(1, 64501, a.clone()), (2, 64501, b)])),
        "r2",
        "ORIGINATOR_ID stands for the router"
    );
    let b = reflected(id("10.255.0.9"), 1);
    assert_eq!(best(&several(&[(1, 64501, b), (2, 64501, a.clone())])), "r2", "the shorter CLUSTER_LIST");
    assert_eq!(best(&several(&[(2, 64501, a.clone()), (1, 64501, a)])), "r1", "the lower address");
}

#[test]
fn what_may_not_be_used_is_shown_with_its_reason() {
    let role = |role, otc: u32| {
        let mut learned = Learned::default();
        learned.surround(surroundings([1]));
        let from = Neighbor { role: Some(role), ..neighbor(1, 64500) };
        learned.up(&name("r1"), 1, from, both(), Helper::default(), rules(), Timestamp::ZERO);
        let attributes = PathAttributes { only_to_customer: Some(asn(otc)), ..path(&[64500]) };
        learned.update(&name("r1"), 1, &announced(&[DEFAULT], "10.0.1.254", attributes), 0);
        reason(&learned, "r1", DEFAULT)
    };
    assert!(role(0, 64500).unwrap().contains("leaked"), "from a customer");
    assert!(role(4, 65000).unwrap().contains("leaked"), "from a peer, set by another");
    assert_eq!((role(4, 64500), role(3, 65000)), (None, None), "from a peer, set by it; from a provider");
    let own = RouterId::new([10, 255, 0, 200].into()).unwrap();
    let with_set = |kind| {
        let segments = vec![set(SegmentKind::Sequence, &[64500]), set(kind, &[1, 2, 3])];
        PathAttributes { as_path: Some(AsPath { segments }), ..path(&[64500]) }
    };
    for (attributes, hop, destination, why) in [
        (path(&[64500, 64501, 65000]), "10.0.1.254", DEFAULT, "through our own AS"),
        (with_set(SegmentKind::Set), "10.0.1.254", DEFAULT, "AS_SET"),
        (with_set(SegmentKind::ConfedSet), "10.0.1.254", DEFAULT, "AS_SET"),
        (PathAttributes { originator_id: Some(own), ..path(&[64500]) }, "10.0.1.254", DEFAULT, "reflected"),
        (
            PathAttributes { cluster_list: vec![own.as_ipv4()], ..path(&[64500]) },
            "10.0.1.254",
            DEFAULT,
            "reflected",
        ),
        (path(&[64500]), "127.0.0.1", DEFAULT, "not the address of a host"),
        (path(&[64500]), "10.0.1.1", DEFAULT, "is this host"),
        (path(&[64500]), "192.0.2.1", DEFAULT, "no network that this host is attached to"),
        (path(&[64500]), "10.0.1.254", "10.0.1.0/24", "attached to that network"),
        (path(&[64500]), "10.0.1.254", "10.0.1.254/32", "reached by itself"),
        (path(&[64500]), "10.0.1.254", "127.1.0.0/16", "nothing is routed"),
        (path(&[64500]), "2001:db8:1::1", "fe80::/64", "nothing is routed"),
        (path(&[64500]), "::ffff:10.0.1.254", "2001:db8:f::/48", "not the address of a host"),
    ] {
        let mut learned = Learned::default();
        learned.surround(surroundings([1]));
        learned.up(&name("r1"), 1, neighbor(1, 64500), both(), Helper::default(), rules(), Timestamp::ZERO);
        learned.update(&name("r1"), 1, &announced(&[destination], hop, attributes), 0);
        let said = reason(&learned, "r1", destination).unwrap();
        assert!(said.contains(why), "{destination} by {hop}: {said}");
        assert_eq!(learned.rows(|_, _| true)[0].valid, Some(false));
        assert_eq!(learned.hops(prefix(destination)), None);
    }
}

#[test]
fn a_link_local_next_hop_is_on_the_sessions_link_also_for_ipv4() {
    let mut learned = Learned::default();
    learned.surround(surroundings([1, 2]));
    let from = Neighbor { address: "fe80::1".parse().unwrap(), interface: Some(2), ..neighbor(2, 64500) };
    learned.up(&name("r2"), 1, from, both(), Helper::default(), rules(), Timestamp::ZERO);
    for (destination, next_hop) in [
        (DEFAULT, NextHop::V6 { address: "fe80::1".parse().unwrap(), link_local: None }),
        (
            "::/0",
            NextHop::V6 { address: "::".parse().unwrap(), link_local: Some("fe80::1".parse().unwrap()) },
        ),
        (
            "2001:db8:f::/48",
            NextHop::V6 {
                address: "2001:db8:2::1".parse().unwrap(),
                link_local: Some("fe80::1".parse().unwrap()),
            },
        ),
    ] {
        let mut sifted = announced(&[destination], "10.0.1.254", path(&[64500]));
        sifted.announced[0].0 = next_hop;
        learned.update(&name("r2"), 1, &sifted, 0);
        let expected = [Hop { gateway: "fe80::1".parse().unwrap(), interface: 2 }];
        assert_eq!(learned.hops(prefix(destination)).map(|hops| hops.to_vec()), Some(expected.to_vec()));
    }
    learned.surround(surroundings([1]));
    assert_eq!(learned.hops(prefix(DEFAULT)), None, "the link is down");
}

#[test]
fn no_more_is_kept_than_the_limit_and_a_withdrawal_makes_room() {
    let mut learned = Learned::default();
    learned.surround(surroundings([1]));
    let rules = Rules { most: FamilyMap::from_fn(|_| 2), ..rules() };
    learned.up(&name("r1"), 1, neighbor(1, 64500), both(), Helper::default(), rules, Timestamp::ZERO);
    let mut say = |sifted: &Sifted| learned.update(&name("r1"), 1, sifted, 0);
    let four = announced(
        &["192.0.2.0/26", "192.0.2.64/26", "192.0.2.128/26", "192.0.2.192/26"],
        "10.0.1.254",
        path(&[64500]),
    );
    assert_eq!(say(&four), FamilySet::from_iter([Family::Ipv4Unicast]));
    assert!(say(&four).is_empty(), "told once");
    say(&withdrawn(&["192.0.2.0/26"]));
    say(&announced(&["192.0.2.192/26"], "10.0.1.254", path(&[64500])));
    let count = *learned.counts().next().unwrap().1.get(Family::Ipv4Unicast);
    assert_eq!((count.kept, count.used, count.beyond), (2, 2, true));
    assert_eq!(ways(&learned, "192.0.2.192/26"), ["10.0.1.254"]);
}

#[test]
fn what_learn_does_not_ask_for_is_sifted_out() {
    use bgp_proto::wire::{Announcement, NlriBlock, Update};
    let block = |all: &[&str]| {
        let nlri = all.iter().map(|one| Nlri::from(prefix(one)));
        NlriBlock::new(Family::Ipv4Unicast, nlri)
    };
    let update = Update {
        announced: vec![Announcement {
            next_hop: NextHop::V4([10, 0, 1, 254].into()),
            nlri: block(&["0.0.0.0/0", "198.51.100.0/24", "192.0.2.128/25"]),
        }],
        withdrawn: vec![block(&["192.0.2.0/24", "203.0.113.0/24"])],
        attributes: path(&[64500]),
        ..Update::default()
    };
    let sifted = |learn: Learn| sift(&update, &Rules { learn, ..rules() });
    let texts = |sifted: &Sifted| {
        let all = sifted.announced.iter().flat_map(|(_, nlri)| nlri);
        let said: Vec<String> = all.map(|nlri| nlri.prefix.to_string()).collect();
        (said, sifted.withdrawn.len())
    };
    assert_eq!(sifted(Learn::None), None);
    assert_eq!(texts(&sifted(Learn::DefaultRoute).unwrap()), (vec!["0.0.0.0/0".to_owned()], 0));
    let inside = sifted(Learn::Prefixes(vec![prefix("192.0.2.0/24")])).unwrap();
    assert_eq!(texts(&inside), (vec!["192.0.2.128/25".to_owned()], 1));
    assert_eq!(sifted(Learn::Prefixes(vec![prefix("10.0.0.0/8")])), None);
}
