use bgp_proto::wire::{
    AsPath, AsPathSegment, DecodeContext, EncodeContext, Message, RawAttribute, SegmentKind, end_of_rib,
    pack_announcements, pack_withdrawals, read_message,
};
use bytes::BytesMut;

use super::*;

const V4: Family = Family::Ipv4Unicast;
const V6: Family = Family::Ipv6Unicast;

fn attributes(med: u32) -> PathAttributes {
    let asns = vec![Asn::new(64500).unwrap()];
    PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath { segments: vec![AsPathSegment { kind: SegmentKind::Sequence, asns }] }),
        med: Some(med),
        ..PathAttributes::default()
    }
}

fn read(mut buffer: BytesMut) -> Vec<Update> {
    let context =
        DecodeContext { asn4: true, families: FamilySet::from_iter(Family::ALL), ..DecodeContext::default() };
    let mut updates = Vec::new();
    while let Some(message) = read_message(&mut buffer, &context).unwrap() {
        let Message::Update(update) = message else { panic!("{message:?}") };
        updates.push(*update);
    }
    updates
}

fn announce(family: Family, attributes: &PathAttributes, texts: &[String]) -> Vec<Update> {
    let next_hop = match family {
        V4 => NextHop::V4("10.0.0.2".parse().unwrap()),
        V6 => NextHop::V6 { address: "2001:db8::2".parse().unwrap(), link_local: None },
    };
    let context = EncodeContext { asn4: true, ..EncodeContext::default() };
    let mut out = BytesMut::new();
    let nlri = texts.iter().map(|text| Nlri::from(text.parse::<Prefix>().unwrap()));
    pack_announcements(&context, family, attributes, &next_hop, nlri, &mut out).unwrap();
    read(out)
}

fn withdraw(family: Family, texts: &[String]) -> Vec<Update> {
    let context = EncodeContext { asn4: true, ..EncodeContext::default() };
    let mut out = BytesMut::new();
    let nlri = texts.iter().map(|text| Nlri::from(text.parse::<Prefix>().unwrap()));
    pack_withdrawals(&context, family, nlri, &mut out);
    read(out)
}

fn hosts(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|index| format!("{}/32", std::net::Ipv4Addr::from_bits(0x0a00_0000 + index))).collect()
}

fn feed(table: &mut AdjRibIn, updates: &[Update]) -> Vec<FamilySet> {
    updates.iter().map(|update| table.apply(update, 0).passed).filter(|passed| !passed.is_empty()).collect()
}

fn limited(mode: Receive, limit: u32) -> AdjRibIn {
    AdjRibIn::new(mode, FamilyMap { ipv4: Some(limit), ipv6: None })
}

#[test]
fn a_destination_counts_once() {
    let mut table = AdjRibIn::new(Receive::Count, FamilyMap::default());
    feed(&mut table, &announce(V4, &attributes(1), &hosts(0..10)));
    feed(&mut table, &announce(V4, &attributes(2), &hosts(5..15)));
    feed(&mut table, &announce(V6, &attributes(2), &["2001:db8:1::/48".to_owned()]));
    assert_eq!(table.count(V4), ReceivedCount::Exact(15));
    assert_eq!(table.count(V6), ReceivedCount::Exact(1));
    feed(&mut table, &withdraw(V4, &hosts(0..3)));
    feed(&mut table, &withdraw(V4, &hosts(0..3)));
    feed(&mut table, &withdraw(V4, &hosts(100..103)));
    assert_eq!(table.count(V4), ReceivedCount::Exact(12));
    assert_eq!(table.rows("tor", Asn::new(64500).unwrap(), |_| true).len(), 13);
}

#[test]
fn beyond_the_limit_the_count_is_more_than_it_and_nothing_is_kept() {
    let mut table = limited(Receive::Count, 100);
    assert_eq!(feed(&mut table, &announce(V4, &attributes(1), &hosts(0..100))), []);
    assert_eq!(table.count(V4), ReceivedCount::Exact(100));
    let passed = feed(&mut table, &announce(V4, &attributes(1), &hosts(0..5_000)));
    assert_eq!(passed, [FamilySet::from_iter([V4])], "told once");
    assert_eq!(table.count(V4), ReceivedCount::MoreThan(100));
    assert_eq!(table.count(V4).to_string(), ">100");
    assert_eq!(serde_json::to_string(&table.count(V4)).unwrap(), "\">100\"");
    assert_eq!(table.families.ipv4.routes.len(), 100);

    // Whether these were among the ones not kept cannot be known.
    feed(&mut table, &withdraw(V4, &hosts(0..4_990)));
    assert_eq!(table.count(V4), ReceivedCount::MoreThan(100));
    assert_eq!(table.families.ipv4.routes.len(), 0);
    feed(&mut table, &announce(V4, &attributes(1), &hosts(0..5)));
    assert_eq!(table.families.ipv4.routes.len(), 0, "keeps no more");

    table.restart(V4);
    feed(&mut table, &announce(V4, &attributes(1), &hosts(0..10)));
    assert_eq!(table.count(V4), ReceivedCount::Exact(10));
}

#[test]
fn none_counts_nlri_and_keeps_nothing() {
    let mut table = AdjRibIn::new(Receive::None, FamilyMap::default());
    feed(&mut table, &announce(V4, &attributes(1), &hosts(0..10)));
    feed(&mut table, &announce(V4, &attributes(1), &hosts(0..10)));
    feed(&mut table, &withdraw(V4, &hosts(0..3)));
    assert_eq!(table.count(V4), ReceivedCount::Nlri { announced: 20, withdrawn: 3 });
    assert!(table.rows("tor", Asn::new(64500).unwrap(), |_| true).is_empty());
}

#[test]
fn all_keeps_attributes_and_shares_them() {
    let mut table = limited(Receive::All, 50);
    feed(&mut table, &announce(V4, &attributes(1), &hosts(0..40)));
    feed(&mut table, &announce(V4, &attributes(2), &hosts(30..60)));
    assert_eq!(table.count(V4), ReceivedCount::MoreThan(50));
    assert_eq!(table.sets.len(), 2);
    let rows = table.rows("tor", Asn::new(64500).unwrap(), |_| true);
    let meds: Vec<u32> = rows.iter().filter_map(|row| row.med).collect();
    assert_eq!(meds, [[1; 30].as_slice(), &[2; 20]].concat());
    // What is kept follows its attributes, also beyond the limit.
    feed(&mut table, &announce(V4, &attributes(3), &hosts(0..1)));
    assert_eq!(table.rows("tor", Asn::new(64500).unwrap(), |_| true)[0].med, Some(3));
}

#[test]
fn attributes_go_with_their_last_route() {
    let mut table = AdjRibIn::new(Receive::All, FamilyMap::default());
    for med in 0..10_000 {
        feed(&mut table, &announce(V4, &attributes(med), &hosts(0..1)));
        assert!(table.sets.len() <= 67, "{}", table.sets.len());
    }
}

#[test]
fn an_unknown_attribute_does_not_keep_its_message() {
    let mut set = attributes(1);
    let message = Bytes::from(vec![7; 4096]);
    set.unknown.push(RawAttribute { flags: 0xe0, code: 99, value: message.slice(10..20) });
    let mut table = AdjRibIn::new(Receive::All, FamilyMap::default());
    let kept = table.intern(&set);
    assert_eq!(kept.unknown[0].value, &message[10..20]);
    assert!(!message.as_ptr_range().contains(&kept.unknown[0].value.as_ptr()));
}

#[test]
fn rows_have_every_key() {
    let mut table = AdjRibIn::new(Receive::All, FamilyMap::default());
    let update = announce(V6, &attributes(1), &["2001:db8:1::/48".to_owned()]);
    table.apply(&update[0], 1_795_262_400);
    let rows = serde_json::to_value(table.rows("tor", Asn::new(64500).unwrap(), |_| true)).unwrap();
    assert_eq!(
        rows,
        serde_json::json!([{
            "peer": "tor", "peerAs": 64500, "family": "ipv6-unicast", "prefix": "2001:db8:1::/48",
            "pathId": null, "nextHop": "2001:db8::2", "interface": null, "linkLocalNextHop": null, "origin": "igp",
            "asPath": [{"kind": "sequence", "asns": [64500]}], "med": 1, "localPreference": null,
            "communities": [], "largeCommunities": [], "extendedCommunities": [],
            "valid": true, "best": false, "multipath": false, "stale": false, "learned": false, "reason": null,
            "since": "2026-11-21T12:00:00Z",
        }])
    );
    let mut counted = AdjRibIn::new(Receive::Count, FamilyMap::default());
    counted.apply(&update[0], 0);
    let counted = serde_json::to_value(counted.rows("tor", Asn::new(64500).unwrap(), |_| true)).unwrap();
    assert_eq!(
        (&counted[0]["nextHop"], &counted[0]["communities"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(counted[0].as_object().unwrap().len(), rows[0].as_object().unwrap().len());
}

#[test]
fn end_of_rib_is_remembered_for_each_family() {
    let mut table = AdjRibIn::new(Receive::Count, FamilyMap::default());
    feed(&mut table, &read(BytesMut::from(&end_of_rib(V6)[..])));
    assert_eq!((table.end_of_rib(V4), table.end_of_rib(V6)), (false, true));
}

fn us(address: &str) -> Receiver {
    Receiver {
        asns: vec![Asn::new(64501).unwrap()],
        router_id: RouterId::new([10, 0, 0, 1].into()),
        addresses: vec![address.parse().unwrap()],
    }
}

#[test]
fn a_route_whose_next_hop_is_ourselves_is_ignored_and_what_it_replaced_is_gone() {
    // RFC 4271 §6.3.
    for mode in [Receive::Count, Receive::All] {
        let mut table = AdjRibIn::of(mode, FamilyMap::default(), us("10.0.0.2"));
        let updates = announce(V4, &attributes(1), &hosts(0..3));
        assert_eq!(table.apply(&updates[0], 0).own_next_hop, Some(NextHop::V4("10.0.0.2".parse().unwrap())));
        assert_eq!(table.count(V4), ReceivedCount::Exact(0));

        let mut table = AdjRibIn::of(mode, FamilyMap::default(), us("10.0.0.9"));
        assert_eq!(table.apply(&updates[0], 0), Noticed::default());
        assert_eq!(table.count(V4), ReceivedCount::Exact(3));
        table.receiver = us("10.0.0.2");
        table.apply(&announce(V4, &attributes(1), &hosts(0..2))[0], 0);
        assert_eq!(table.count(V4), ReceivedCount::Exact(1));
    }
}

#[test]
fn a_route_through_our_own_as_is_not_valid() {
    // RFC 4271 §9.1.2, RFC 4456 §8.
    let path = |asn: u32| AsPath {
        segments: vec![AsPathSegment { kind: SegmentKind::Set, asns: vec![Asn::new(asn).unwrap()] }],
    };
    let sets = [
        (attributes(1), Some(true)),
        (PathAttributes { as_path: Some(path(64501)), ..attributes(2) }, Some(false)),
        (PathAttributes { originator_id: us("::").router_id, ..attributes(3) }, Some(false)),
    ];
    for (number, (set, valid)) in sets.into_iter().enumerate() {
        let mut table = AdjRibIn::of(Receive::All, FamilyMap::default(), us("10.0.0.9"));
        let mut updates = announce(V4, &set, &hosts(0..1));
        // ORIGINATOR_ID is not written towards external peers.
        updates[0].attributes.originator_id = set.originator_id;
        table.apply(&updates[0], 0);
        let rows = table.rows("tor", Asn::new(64500).unwrap(), |_| true);
        assert_eq!((rows[0].valid, rows[0].best), (valid, false), "{number}");
    }
    let mut counted = AdjRibIn::of(Receive::Count, FamilyMap::default(), us("10.0.0.9"));
    counted.apply(&announce(V4, &attributes(1), &hosts(0..1))[0], 0);
    assert_eq!(counted.rows("tor", Asn::new(64500).unwrap(), |_| true)[0].valid, None);
}
