use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::types::{Asn, Community, ExtendedCommunity, FamilySet, LargeCommunity, Prefix, RouterId};
use crate::wire::testing::hex;
use crate::wire::{
    Aggregator, AsPath, AsPathSegment, DecodeContext, Message, NlriBlock, Origin, RawAttribute, SegmentKind,
    read_message,
};

const V4: Family = Family::Ipv4Unicast;
const V6: Family = Family::Ipv6Unicast;

fn context(asn4: bool, add_path: bool, max_message: usize) -> EncodeContext {
    let add_path = if add_path { FamilySet::from_iter(Family::ALL) } else { FamilySet::EMPTY };
    EncodeContext { asn4, add_path, extended_next_hop: true, max_message }
}

/// The context of the peer that reads what is written with `context`, in our own AS.
fn reader(context: &EncodeContext) -> DecodeContext {
    DecodeContext {
        asn4: context.asn4,
        external: false,
        families: FamilySet::from_iter(Family::ALL),
        add_path: context.add_path,
        extended_next_hop: context.extended_next_hop,
        enhanced_refresh: false,
        loopback: false,
        max_message: context.max_message,
    }
}

fn nlri(text: &str) -> Nlri {
    Nlri::from(text.parse::<Prefix>().unwrap())
}

fn v4_hop() -> NextHop {
    NextHop::V4(Ipv4Addr::new(10, 0, 0, 1))
}

fn v6_hop() -> NextHop {
    NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: None }
}

fn plain() -> PathAttributes {
    PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::sequence(Asn::new(65001))),
        ..PathAttributes::default()
    }
}

fn updates(octets: &BytesMut, context: &EncodeContext) -> Vec<Update> {
    let (mut buffer, context) = (octets.clone(), reader(context));
    let mut updates = Vec::new();
    while let Some(message) = read_message(&mut buffer, &context).unwrap() {
        match message {
            Message::Update(update) => updates.push(*update),
            other => panic!("not an UPDATE: {other:?}"),
        }
    }
    assert!(buffer.is_empty());
    updates
}

fn announce(context: &EncodeContext, family: Family, hop: &NextHop, prefixes: &[Nlri]) -> BytesMut {
    let mut out = BytesMut::new();
    pack_announcements(context, family, &plain(), hop, prefixes.iter().copied(), &mut out).unwrap();
    out
}

#[test]
fn ipv4_goes_into_nlri() {
    let out =
        announce(&context(true, false, 4096), V4, &v4_hop(), &[nlri("203.0.113.0/24"), nlri("0.0.0.0/0")]);
    let expected = "M 0030 02 0000 0014 400101 00 400206 0201 0000fde9 400304 0a000001 18 cb0071 00";
    assert_eq!(&out[..], hex(expected));
}

#[test]
fn ipv6_goes_into_mp_reach_at_the_front() {
    let out = announce(&context(true, false, 4096), V6, &v6_hop(), &[nlri("2001:db8:1::/48")]);
    let expected = "M 0043 02 0000 002c 800e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001 \
                    400101 00 400206 0201 0000fde9";
    assert_eq!(&out[..], hex(expected));
    let hop =
        NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: Some("fe80::1".parse().unwrap()) };
    let out = announce(&context(true, false, 4096), V6, &hop, &[nlri("::/0")]);
    assert_eq!(out[23..30], hex("800e26 0002 01 20"));
    assert_eq!(updates(&out, &context(true, false, 4096))[0].announced[0].next_hop, hop);
}

#[test]
fn ipv4_with_an_ipv6_next_hop_goes_into_mp_reach() {
    let out = announce(&context(true, false, 4096), V4, &v6_hop(), &[nlri("203.0.113.0/24")]);
    assert_eq!(out[23..30], hex("800e19 0001 01 10"));
    let update = &updates(&out, &context(true, false, 4096))[0];
    assert_eq!(update.announced[0].next_hop, v6_hop());
    assert_eq!(update.announced[0].nlri.family(), V4);
}

#[test]
fn withdrawals_of_either_family() {
    let context = context(true, false, 4096);
    let mut out = BytesMut::new();
    assert_eq!(pack_withdrawals(&context, V4, [nlri("10.0.0.0/8")], &mut out), 1);
    assert_eq!(&out[..], hex("M 0019 02 0002 08 0a 0000"));
    out.clear();
    assert_eq!(pack_withdrawals(&context, V6, [nlri("2001:db8::/32")], &mut out), 1);
    assert_eq!(&out[..], hex("M 0022 02 0000 000b 800f08 0002 01 20 20010db8"));
}

#[test]
fn end_of_rib_has_two_forms() {
    assert_eq!(end_of_rib(V4), hex("M 0017 02 0000 0000"));
    assert_eq!(end_of_rib(V6), hex("M 001d 02 0000 0006 800f03 0002 01"));
}

#[test]
fn nothing_to_say_is_no_message() {
    let mut out = BytesMut::new();
    let context = context(true, false, 4096);
    assert_eq!(pack_announcements(&context, V4, &plain(), &v4_hop(), [], &mut out), Ok(0));
    assert_eq!(pack_withdrawals(&context, V6, [], &mut out), 0);
    assert!(out.is_empty());
}

fn hosts(count: u32) -> impl Iterator<Item = Nlri> {
    (0..count).map(|n| Nlri::from(Prefix::host(Ipv4Addr::from_bits(0x0a00_0000 + n).into())))
}

/// 23 octets of header and lengths, 20 of attributes: 810 host routes of 5 octets fill 4093 of 4096.
#[test]
fn messages_are_filled_to_the_limit() {
    let context = context(true, false, 4096);
    let mut out = BytesMut::new();
    let messages = pack_announcements(&context, V4, &plain(), &v4_hop(), hosts(5000), &mut out).unwrap();
    let updates = updates(&out, &context);
    assert_eq!((messages, updates.len()), (7, 7));
    let counts: Vec<_> = updates.iter().map(|update| update.announced[0].nlri.count()).collect();
    assert_eq!(counts, [810, 810, 810, 810, 810, 810, 140]);
    let read: Vec<Nlri> = updates.iter().flat_map(|update| &update.announced[0].nlri).collect();
    assert_eq!(read, hosts(5000).collect::<Vec<_>>());
}

/// Sizes differ by prefix, so a message is full when the next prefix does not fit, not when a host route
/// would not: no message could have taken the first prefix of the next one.
#[test]
fn the_fill_is_by_real_octets() {
    let context = context(true, false, 4096);
    let prefixes: Vec<Nlri> = (0..4000u32)
        .map(|n| {
            let len = u8::try_from(n % 33).unwrap();
            Nlri::from(Prefix::new(Ipv4Addr::from_bits(n << 20 | n).into(), len).unwrap())
        })
        .collect();
    let out = announce(&context, V4, &v4_hop(), &prefixes);
    let updates = updates(&out, &context);
    let blocks: Vec<_> = updates.iter().map(|update| &update.announced[0].nlri).collect();
    for pair in blocks.windows(2) {
        let next = pair[1].iter().next().unwrap();
        let size = 1 + usize::from(next.prefix.len()).div_ceil(8);
        assert!(43 + pair[0].as_bytes().len() + size > 4096);
    }
    assert_eq!(blocks.iter().map(|block| block.count()).sum::<usize>(), 4000);
}

#[test]
fn extended_messages_hold_more() {
    let context = context(true, false, 65535);
    let mut out = BytesMut::new();
    let messages = pack_announcements(&context, V4, &plain(), &v4_hop(), hosts(13098), &mut out).unwrap();
    assert_eq!((messages, out.len()), (1, 65533));
    out.clear();
    let messages = pack_announcements(&context, V4, &plain(), &v4_hop(), hosts(13099), &mut out).unwrap();
    assert_eq!(messages, 2);
    out.clear();
    let v6 = (0..9000u128).map(|n| Nlri::from(Prefix::host(Ipv6Addr::from_bits(n << 64).into())));
    let messages = pack_announcements(&context, V6, &plain(), &v6_hop(), v6, &mut out).unwrap();
    assert_eq!((messages, updates(&out, &context).len()), (3, 3));
}

#[test]
fn the_short_length_is_used_up_to_255_octets_of_mp_reach() {
    // AFI, SAFI, next hop and reserved octet take 21 octets, 26 prefixes of 9 octets 234.
    for (count, header) in [(26, "80 0e ff"), (27, "90 0e 0108")] {
        let prefixes: Vec<Nlri> = (0..count)
            .map(|n| Nlri::from(Prefix::new(Ipv6Addr::from_bits(n << 64).into(), 64).unwrap()))
            .collect();
        let out = announce(&context(true, false, 4096), V6, &v6_hop(), &prefixes);
        let header = hex(header);
        assert_eq!(out[23..23 + header.len()], header);
        let updates = updates(&out, &context(true, false, 4096));
        assert_eq!(updates[0].announced[0].nlri.iter().collect::<Vec<_>>(), prefixes);
        assert_eq!(updates[0].attributes, plain());
    }
}

#[test]
fn attributes_that_leave_no_room_are_refused_and_nothing_is_written() {
    let too_many = |count| PathAttributes { communities: vec![Community(7); count], ..plain() };
    let mut out = BytesMut::from(&b"before"[..]);
    let context = context(true, false, 4096);
    let hop = v4_hop();
    // 43 octets without, 4 and 4 a community with; 5 must be left.
    let fits = pack_announcements(&context, V4, &too_many(1011), &hop, [nlri("10.0.0.1/32")], &mut out);
    assert_eq!((fits, out.len()), (Ok(1), 6 + 43 + 4 + 4044 + 5));
    out.truncate(6);
    for count in [1012, 20_000, 200_000] {
        let error = pack_announcements(&context, V4, &too_many(count), &hop, [nlri("10.0.0.1/32")], &mut out)
            .unwrap_err();
        assert_eq!(error, AttributesTooLong { size: 20 + 4 + 4 * count, max: 4096 });
        assert_eq!(&out[..], b"before");
    }
    // Neither prefix nor message count decides: no prefix is worth a loop.
    assert!(pack_announcements(&context, V4, &too_many(2000), &hop, hosts(100_000), &mut out).is_err());
    assert_eq!(&out[..], b"before");
}

#[test]
fn a_prefix_of_another_family_is_left_out() {
    let context = context(true, false, 4096);
    let out = announce(&context, V4, &v4_hop(), &[nlri("2001:db8::/32"), nlri("10.0.0.0/8")]);
    let updates = updates(&out, &context);
    assert_eq!(updates[0].announced[0].nlri.iter().collect::<Vec<_>>(), [nlri("10.0.0.0/8")]);
}

#[test]
fn a_path_of_more_than_255_numbers_is_split() {
    let numbers = (1..=600).filter_map(Asn::new);
    let attributes = PathAttributes { as_path: Some(AsPath::sequence(numbers.clone())), ..plain() };
    for asn4 in [true, false] {
        let context = context(asn4, false, 4096);
        let mut out = BytesMut::new();
        pack_announcements(&context, V4, &attributes, &v4_hop(), [nlri("10.0.0.0/8")], &mut out).unwrap();
        let path = updates(&out, &context)[0].attributes.as_path.clone().unwrap();
        let sizes: Vec<_> = path.segments.iter().map(|segment| segment.asns.len()).collect();
        assert_eq!(sizes, [255, 255, 90]);
        assert_eq!(path.asns().collect::<Vec<_>>(), numbers.clone().collect::<Vec<_>>());
    }
}

#[test]
fn a_two_octet_peer_gets_as_trans_and_the_as4_attributes() {
    let big = Asn::new(4_200_000_000).unwrap();
    let attributes = PathAttributes {
        as_path: Some(AsPath::sequence([Asn::new(65001).unwrap(), big])),
        aggregator: Some(Aggregator { asn: big, router: Ipv4Addr::new(10, 0, 0, 9) }),
        ..plain()
    };
    let context = context(false, false, 4096);
    let mut out = BytesMut::new();
    pack_announcements(&context, V4, &attributes, &v4_hop(), [nlri("10.0.0.0/8")], &mut out).unwrap();
    let expected = "400101 00 400206 0202 fde9 5ba0 400304 0a000001 c00706 5ba0 0a000009 \
                    c0110a 0202 0000fde9 fa56ea00 c01208 fa56ea00 0a000009";
    let expected = hex(expected);
    assert_eq!(out[23..23 + expected.len()], expected);
    assert_eq!(updates(&out, &context)[0].attributes, attributes);
    // Nothing is lost in two octets: nothing is added.
    out.clear();
    pack_announcements(&context, V4, &plain(), &v4_hop(), [nlri("10.0.0.0/8")], &mut out).unwrap();
    assert_eq!(out[23..], hex("400101 00 400204 0201 fde9 400304 0a000001 08 0a"));
}

#[test]
fn attributes_go_by_ascending_code_unknown_ones_included() {
    let unknown = |code| RawAttribute { flags: 0xe0, code, value: Bytes::from_static(&[1]) };
    let attributes = PathAttributes {
        med: Some(1),
        local_pref: Some(2),
        atomic_aggregate: true,
        communities: vec![Community(9), Community(3)],
        large_communities: vec![LargeCommunity { global: 1, local1: 2, local2: 3 }],
        only_to_customer: Asn::new(65001),
        unknown: vec![unknown(11), unknown(20), unknown(33), unknown(40), unknown(255)],
        ..plain()
    };
    let context = context(true, false, 4096);
    let out = encode::attributes(&context, &attributes, Some(Ipv4Addr::new(10, 0, 0, 1)));
    let mut codes = Vec::new();
    let mut rest = &out[..];
    while let [_, code, length, after @ ..] = rest {
        codes.push(*code);
        rest = &after[usize::from(*length)..];
    }
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 8, 11, 20, 32, 33, 35, 40, 255]);
    // Communities keep the order given.
    assert!(out.windows(11).any(|window| window == hex("c00808 00000009 00000003")));
}

#[test]
fn path_identifiers_are_written_where_negotiated() {
    let context = context(true, true, 4096);
    let prefixes = [Nlri { path_id: Some(7), ..nlri("10.0.0.0/8") }, nlri("10.0.0.1/32")];
    let out = announce(&context, V4, &v4_hop(), &prefixes);
    assert_eq!(out[43..], hex("00000007 08 0a 00000000 20 0a000001"));
    let mut out = BytesMut::new();
    pack_withdrawals(&context, V6, [Nlri { path_id: Some(9), ..nlri("2001:db8::/32") }], &mut out);
    assert_eq!(out[23..], hex("800f0c 0002 01 00000009 20 20010db8"));
}

fn any_asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..65536u32, 65536..=u32::MAX]
        .prop_filter("AS_TRANS stands for something else", |n| *n != u32::from(crate::types::AS_TRANS))
        .prop_filter_map("AS 0", Asn::new)
}

fn any_path() -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![4 => Just(SegmentKind::Sequence), 1 => Just(SegmentKind::Set)];
    let segment = (kind, proptest::collection::vec(any_asn(), 1..6))
        .prop_map(|(kind, asns)| AsPathSegment { kind, asns });
    proptest::collection::vec(segment, 0..4).prop_map(|segments| AsPath { segments })
}

fn any_unknown() -> impl Strategy<Value = Vec<RawAttribute>> {
    let codes = proptest::collection::btree_map(
        prop_oneof![Just(11u8), Just(20), 36..=255u8],
        proptest::collection::vec(any::<u8>(), 0..300),
        0..3,
    );
    codes.prop_map(|map| {
        let raw = |(code, value): (u8, Vec<u8>)| RawAttribute { flags: 0xe0, code, value: value.into() };
        map.into_iter().map(raw).collect()
    })
}

prop_compose! {
    fn any_attributes()(
        (origin, as_path, med, local_pref, atomic_aggregate) in
            (0..3u8, any_path(), any::<Option<u32>>(), any::<Option<u32>>(), any::<bool>()),
        aggregator in proptest::option::of((any_asn(), any::<u32>())),
        communities in proptest::collection::vec(any::<u32>(), 0..80),
        (originator, clusters) in (any::<u32>(), proptest::collection::vec(any::<u32>(), 0..4)),
        extended in proptest::collection::vec(any::<[u8; 8]>(), 0..40),
        large in proptest::collection::vec(any::<(u32, u32, u32)>(), 0..30),
        (otc, unknown) in (proptest::option::of(any_asn()), any_unknown()),
    ) -> PathAttributes {
        // RFC 6793 §4.2.3 lets a two-octet AGGREGATOR override AS4_PATH only where both AS4 attributes are
        // there, and the writer never sends both then.
        PathAttributes {
            origin: Some([Origin::Igp, Origin::Egp, Origin::Incomplete][usize::from(origin)]),
            as_path: Some(as_path),
            med,
            local_pref,
            atomic_aggregate,
            aggregator: aggregator
                .map(|(asn, router)| Aggregator { asn, router: Ipv4Addr::from_bits(router) }),
            communities: communities.into_iter().map(Community).collect(),
            originator_id: RouterId::new(Ipv4Addr::from_bits(originator)),
            cluster_list: clusters.into_iter().map(Ipv4Addr::from_bits).collect(),
            extended_communities: extended.into_iter().map(ExtendedCommunity).collect(),
            large_communities: large
                .into_iter()
                .map(|(global, local1, local2)| LargeCommunity { global, local1, local2 })
                .collect(),
            only_to_customer: otc,
            unknown,
        }
    }
}

fn any_nlri(family: Family, path_id: Option<u32>) -> impl Strategy<Value = Nlri> {
    (any::<u128>(), 0..=family.max_len()).prop_map(move |(bits, len)| {
        let addr = match family {
            Family::Ipv4Unicast => Ipv4Addr::from_bits((bits >> 96) as u32).into(),
            Family::Ipv6Unicast => Ipv6Addr::from_bits(bits).into(),
        };
        Nlri { path_id, prefix: Prefix::new(addr, len).unwrap() }
    })
}

fn any_announcement() -> impl Strategy<Value = (Family, NextHop, Vec<Nlri>, bool)> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_flat_map(
        |(v6, v6_hop, both, add_path)| {
            let family = if v6 { V6 } else { V4 };
            let hop = if v6 || v6_hop {
                let link_local = both.then(|| "fe80::1".parse().unwrap());
                NextHop::V6 { address: "2001:db8::7".parse().unwrap(), link_local }
            } else {
                v4_hop()
            };
            let nlri = any_nlri(family, add_path.then_some(7));
            (Just(family), Just(hop), proptest::collection::vec(nlri, 1..2500), Just(add_path))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_announcement_reads_back(
        attributes in any_attributes(),
        (family, hop, prefixes, add_path) in any_announcement(),
        asn4: bool,
        long: bool,
    ) {
        let context = context(asn4, add_path, if long { 65535 } else { 4096 });
        let mut out = BytesMut::new();
        let messages =
            pack_announcements(&context, family, &attributes, &hop, prefixes.iter().copied(), &mut out);
        let written = updates(&out, &context);
        prop_assert_eq!(messages, Ok(written.len()));
        let mut read = Vec::new();
        for update in written {
            prop_assert_eq!(&update.attributes, &attributes);
            prop_assert_eq!(&update.issues, &[]);
            prop_assert_eq!(&update.withdrawn, &[]);
            prop_assert_eq!(update.announced.len(), 1);
            prop_assert_eq!(update.announced[0].next_hop, hop);
            read.extend(&update.announced[0].nlri);
            // What was read is written to the same octets.
            let mut again = BytesMut::new();
            update.encode(&context, &mut again).unwrap();
            prop_assert_eq!(updates(&again, &context), [update]);
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn every_withdrawal_reads_back((family, _, prefixes, add_path) in any_announcement(), long: bool) {
        let context = context(true, add_path, if long { 65535 } else { 4096 });
        let mut out = BytesMut::new();
        let messages = pack_withdrawals(&context, family, prefixes.iter().copied(), &mut out);
        let updates = updates(&out, &context);
        prop_assert_eq!(messages, updates.len());
        let read: Vec<Nlri> = updates.iter().flat_map(|update| &update.withdrawn[0]).collect();
        prop_assert_eq!(read, prefixes.clone());
        let block = NlriBlock::new(family, prefixes.iter().copied());
        prop_assert_eq!(block.iter().collect::<Vec<_>>(), prefixes);
    }
}
