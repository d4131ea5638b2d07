//! RFC 7606 attribute by attribute, for external and internal peers.

use super::*;
use crate::wire::update::table;

/// An UPDATE with the mandatory attributes, the one under test in its place or behind them, and NLRI.
fn with(attribute: &str) -> Vec<u8> {
    let code = hex(attribute)[1];
    let others = [(1, ORIGIN), (2, AS_PATH), (3, NEXT_HOP)];
    let mut attributes: String =
        others.iter().filter(|(other, _)| *other != code).map(|(_, text)| *text).collect();
    attributes.push_str(attribute);
    update("", &attributes, NLRI)
}

/// Attribute, outcome from an external peer, outcome from an internal one.
fn check(cases: &[(&str, &str, &str)]) {
    for (attribute, from_external, from_internal) in cases {
        assert_eq!(outcome(&with(attribute), &external()), *from_external, "external {attribute}");
        assert_eq!(outcome(&with(attribute), &internal()), *from_internal, "internal {attribute}");
    }
}

/// The same from both.
fn check_both(cases: &[(&str, &str)]) {
    let cases: Vec<_> =
        cases.iter().map(|(attribute, expected)| (*attribute, *expected, *expected)).collect();
    check(&cases);
}

#[test]
fn section_7_1_origin() {
    check_both(&[
        ("400101 00", "accept"),
        ("400101 01", "accept"),
        ("400101 02", "accept"),
        ("400101 03", "withdraw 1"),
        ("400101 ff", "withdraw 1"),
        ("400100", "withdraw 1"),
        ("400102 0000", "withdraw 1"),
        ("50010001 00", "accept"),
        ("c00101 00", "withdraw 1"),
        ("000101 00", "withdraw 1"),
        ("800101 00", "withdraw 1"),
        ("600101 00", "withdraw 1"),
        // "The lower-order four bits ... MUST be ignored when received" (RFC 4271 §4.3).
        ("4f0101 00", "accept"),
    ]);
}

#[test]
fn section_7_2_as_path() {
    check_both(&[
        ("400206 0201 0000fde9", "accept"),
        ("400206 0101 0000fde9", "accept"),
        ("400200", "accept"),
        ("400206 0001 0000fde9", "withdraw 2"),
        ("400206 0501 0000fde9", "withdraw 2"),
        ("400202 0200", "withdraw 2"),
        ("400206 02ff 0000fde9", "withdraw 2"),
        ("400205 0201 0000fd", "withdraw 2"),
        ("400207 0201 0000fde9 02", "withdraw 2"),
        ("400206 0201 00000000", "withdraw 2"),
        ("c00206 0201 0000fde9", "withdraw 2"),
        ("600206 0201 0000fde9", "withdraw 2"),
    ]);
    // RFC 5065 §5: segments of a confederation do not leave it.
    check(&[
        ("400206 0301 0000fc00", "withdraw 2", "accept"),
        ("40020c 0201 0000fde9 0401 0000fc00", "withdraw 2", "accept"),
    ]);
}

#[test]
fn section_7_3_next_hop() {
    check_both(&[
        ("400304 0a000001", "accept"),
        ("400304 7f000001", "accept"),
        ("400303 0a0000", "withdraw 3"),
        ("400305 0a00000100", "withdraw 3"),
        ("400300", "withdraw 3"),
        ("400304 00000000", "withdraw 3"),
        ("400304 e0000001", "withdraw 3"),
        ("400304 ffffffff", "withdraw 3"),
        ("c00304 0a000001", "withdraw 3"),
    ]);
}

#[test]
fn section_7_4_multi_exit_disc() {
    check_both(&[
        ("800404 0000000a", "accept"),
        ("800403 000000", "withdraw 4"),
        ("800405 0000000a00", "withdraw 4"),
        ("800400", "withdraw 4"),
        ("c00404 0000000a", "withdraw 4"),
        ("400404 0000000a", "withdraw 4"),
        ("a00404 0000000a", "withdraw 4"),
    ]);
}

#[test]
fn section_7_5_local_pref() {
    check(&[
        ("400504 00000064", "discard 5", "accept"),
        ("400503 000000", "discard 5", "withdraw 5"),
        ("400505 0000006400", "discard 5", "withdraw 5"),
        ("400500", "discard 5", "withdraw 5"),
        ("c00504 00000064", "discard 5", "withdraw 5"),
    ]);
}

#[test]
fn sections_7_6_and_7_7_aggregates() {
    check_both(&[
        ("400600", "accept"),
        ("400601 00", "discard 6"),
        ("c00600", "withdraw 6"),
        ("c00708 0000fde9 0a000002", "accept"),
        ("e00708 0000fde9 0a000002", "accept"),
        ("c00706 fde9 0a000002", "discard 7"),
        ("c00705 0000fde90a", "discard 7"),
        ("c00707 0000fde90a0000", "discard 7"),
        ("c00709 0000fde90a00000200", "discard 7"),
        ("c00700", "discard 7"),
        ("c00708 00000000 0a000002", "discard 7"),
        ("800708 0000fde9 0a000002", "withdraw 7"),
    ]);
    // frr a8cad573d5: the width is that of the session.
    let two = DecodeContext { asn4: false, ..external() };
    let with_two = |aggregator: &str| {
        update("", &(ORIGIN.to_owned() + "400204 0201 fde9" + NEXT_HOP + aggregator), NLRI)
    };
    assert_eq!(outcome(&with_two("c00706 fde9 0a000002"), &two), "accept");
    assert_eq!(outcome(&with_two("c00708 0000fde9 0a000002"), &two), "discard 7");
}

#[test]
fn sections_7_8_7_14_7_15_and_rfc_8092_communities() {
    check_both(&[
        ("c00804 ffff0001", "accept"),
        ("e00804 ffff0001", "accept"),
        ("c00800", "withdraw 8"),
        ("c00805 ffff000100", "withdraw 8"),
        ("800804 ffff0001", "withdraw 8"),
        ("400804 ffff0001", "withdraw 8"),
        ("c01008 0002fde900000001", "accept"),
        // An unknown type or sub-type is no error.
        ("c01008 3fff000000000000", "accept"),
        ("c01000", "withdraw 16"),
        ("c01009 0002fde90000000100", "withdraw 16"),
        ("801008 0002fde900000001", "withdraw 16"),
        ("c01914 0002 20010db8000000000000000000000001 0001", "accept"),
        ("c01900", "withdraw 25"),
        ("c01915 0002 20010db8000000000000000000000001 0001 00", "withdraw 25"),
        ("801914 0002 20010db8000000000000000000000001 0001", "withdraw 25"),
        ("c0200c 0000fde9 00000001 00000002", "accept"),
        ("c02000", "withdraw 32"),
        ("c0200d 0000fde9 00000001 00000002 00", "withdraw 32"),
        ("80200c 0000fde9 00000001 00000002", "withdraw 32"),
    ]);
}

#[test]
fn sections_7_9_and_7_10_reflection() {
    check(&[
        ("800904 0a000002", "discard 9", "accept"),
        ("800903 0a0000", "discard 9", "withdraw 9"),
        ("800905 0a00000200", "discard 9", "withdraw 9"),
        ("800904 00000000", "discard 9", "discard 9"),
        ("c00904 0a000002", "discard 9", "withdraw 9"),
        ("800a08 0a000002 0a000003", "discard 10", "accept"),
        ("800a00", "discard 10", "withdraw 10"),
        ("800a05 0a00000200", "discard 10", "withdraw 10"),
        ("c00a04 0a000002", "discard 10", "withdraw 10"),
    ]);
}

/// RFC 9234 §5: a length other than 4 is treat-as-withdraw; AS 0 by RFC 7607.
#[test]
fn rfc_9234_only_to_customer() {
    check_both(&[
        ("c02304 0000fde9", "accept"),
        ("c02303 0000fd", "withdraw 35"),
        ("c02305 0000fde900", "withdraw 35"),
        ("c02304 00000000", "withdraw 35"),
        ("802304 0000fde9", "withdraw 35"),
    ]);
}

/// RFC 6793 §4.1 and §6: between speakers with four octets they are dropped unseen; from one with two a
/// malformed one is discarded. Wrong flags are no matter of that RFC, so RFC 7606 §3 (c) decides.
#[test]
fn rfc_6793_as4_attributes() {
    check_both(&[
        ("c01106 0201 00030d40", "accept"),
        ("c01106 0001 00030d40", "accept"),
        ("c01207 0000fde90a0000", "accept"),
        ("801106 0201 00030d40", "withdraw 17"),
        ("801208 0000fde9 0a000002", "withdraw 18"),
    ]);
    let two = DecodeContext { asn4: false, ..external() };
    let with_two = |attribute: &str| {
        update("", &(ORIGIN.to_owned() + "400206 0202 5ba0 fde9" + NEXT_HOP + attribute), NLRI)
    };
    for (attribute, expected) in [
        ("c0110a 0202 00030d40 0000fde9", "accept"),
        ("c01106 0001 00030d40", "discard 17"),
        ("c01102 0200", "discard 17"),
        ("c01106 02ff 00030d40", "discard 17"),
        ("c01101 02", "discard 17"),
        ("c01106 0201 00000000", "discard 17"),
        ("c01208 00030d40 0a000002", "accept"),
        ("c01207 00030d400a0000", "discard 18"),
        ("c01209 00030d400a00000200", "discard 18"),
        ("c01208 00000000 0a000002", "discard 18"),
    ] {
        assert_eq!(outcome(&with_two(attribute), &two), expected, "{attribute}");
    }
}

/// Attributes that a node speaker has no use for are opaque: VU#347067, CVE-2023-38802, CVE-2024-31948,
/// CVE-2024-44070, frr#19336, frr#22651, and AIGP, BGP-LS, PMSI and ATTR_SET of whatever content.
#[test]
fn attributes_that_are_not_used_are_never_looked_into() {
    let prefix_sid_37_zeros = "c02825".to_owned() + &"00".repeat(37);
    for attribute in [
        "c01700",
        "c01703 000700",
        "c01706 0007 0004 01ff",
        "c02802 0100",
        "c02806 0100ff000000",
        prefix_sid_37_zeros.as_str(),
        "801a00",
        "801a0d 0100050000000000000000000a",
        "c01a01 01",
        "801d05 040000ff00",
        "c01d01 04",
        "c01604 00060000",
        "c08000",
        "c08005 0000fde9ff",
        "c0ff00",
        "80fd04 deadbeef",
    ] {
        check_both(&[(attribute, "accept")]);
    }
}

#[test]
fn unknown_attributes_by_their_flags() {
    let unknown =
        |attribute: &str| decode(&with(attribute), &external()).map(|update| update.attributes.unknown);
    let kept = unknown("c0fe04 deadbeef").unwrap();
    assert_eq!((kept[0].flags, kept[0].code, &kept[0].value[..]), (0xe0, 0xfe, &hex("deadbeef")[..]));
    // Partial stays, a two-octet length and unused bits are not carried.
    assert_eq!(unknown("e0fe01 07").unwrap()[0].flags, 0xe0);
    assert_eq!(unknown("dffe0001 07").unwrap()[0].flags, 0xe0);
    assert_eq!(unknown("80fe04 deadbeef"), Ok(vec![]));
    // The one that is recognised keeps its Partial bit as it came.
    let v6 = "14 0002 20010db8000000000000000000000001 0001";
    assert_eq!(unknown(&format!("c019{v6}")).unwrap()[0].flags, 0xc0);
    assert_eq!(unknown(&format!("e019{v6}")).unwrap()[0].flags, 0xe0);
    // CVE-2026-41642, gobgp: Optional bit 0 on an unknown code is an unrecognized well-known attribute.
    check_both(&[
        ("40fe01 07", "reset 3/2 40fe0107"),
        ("00fe01 07", "reset 3/2 00fe0107"),
        ("600c00", "reset 3/2 600c00"),
    ]);
}

/// IPv6 routes: 2001:db8:1::/48 by 2001:db8::1, without header.
const REACH: &str = "0002 01 10 20010db8000000000000000000000001 00 30 20010db80001";

fn reach(flags: &str, value: &str) -> String {
    format!("{flags}0e{:02x} {value}", hex(value).len())
}

/// RFC 7606 §5.3, §7.11: where the routes cannot be found the session ends, with the attribute as data.
#[test]
fn section_7_11_mp_reach() {
    let reset = |subcode: u8, attribute: &str| {
        let octets: String = hex(attribute).iter().map(|octet| format!("{octet:02x}")).collect();
        format!("reset 3/{subcode} {octets}")
    };
    for (attribute, subcode) in [
        // Next hop lengths that IPv6 does not have.
        (reach("80", "0002 01 00 00 30 20010db80001"), 9),
        (reach("80", "0002 01 04 0a000001 00 30 20010db80001"), 9),
        (reach("80", "0002 01 09 20010db80000000000 00 40 20010db800000001"), 9),
        // It runs past the attribute.
        (reach("80", "0002 01 40 20010db8000000000000000000000001 00"), 9),
        (reach("80", "0002 01 10 20010db800000000"), 9),
        (reach("80", "0002 01 10 20010db8000000000000000000000001"), 9),
        // Shorter than any.
        (reach("80", ""), 9),
        (reach("80", "0002 01 00"), 9),
        // Prefixes too long, or past the end.
        (reach("80", "0002 01 10 20010db8000000000000000000000001 00 81 20010db80001"), 9),
        (reach("80", "0002 01 10 20010db8000000000000000000000001 00 30 20010db8"), 9),
        // "The Attribute Flags for the attribute are inconsistent with those specified in [RFC4760]".
        (reach("c0", REACH), 4),
        (reach("40", REACH), 4),
        (reach("a0", REACH), 4),
    ] {
        for context in [external(), internal()] {
            let octets = update("", &(ORIGIN.to_owned() + AS_PATH + &attribute), "");
            assert_eq!(outcome(&octets, &context), reset(subcode, &attribute), "{attribute}");
            // NLRI beside it does not save the session.
            assert_eq!(outcome(&with(&attribute), &context), reset(subcode, &attribute), "{attribute}");
        }
    }
    // A right length with nothing usable in it: the routes are known, so they are withdrawn.
    let unusable = reach("80", "0002 01 10 00000000000000000000000000000000 00 30 20010db80001");
    let octets = update("", &(ORIGIN.to_owned() + AS_PATH + &unusable), "");
    assert_eq!(outcome(&octets, &external()), "withdraw 14");
}

#[test]
fn section_7_12_mp_unreach() {
    for (value, expected) in [
        ("800f03 0002 01", "accept"),
        ("800f0a 0002 01 30 20010db80001", "accept"),
        ("800f02 0002", "reset 3/9 800f020002"),
        ("800f00", "reset 3/9 800f00"),
        ("800f08 0002 01 40 20010db8", "reset 3/9 800f080002014020010db8"),
        ("800f04 0002 01 ff", "reset 3/9 800f04000201ff"),
        ("c00f03 0002 01", "reset 3/4 c00f03000201"),
        ("400f03 0002 01", "reset 3/4 400f03000201"),
    ] {
        for context in [external(), internal()] {
            assert_eq!(outcome(&with(value), &context), expected, "{value}");
            assert_eq!(outcome(&update("", value, ""), &context), expected, "{value} alone");
        }
    }
}

/// RFC 7606 §3 (g).
#[test]
fn section_3_g_duplicates() {
    let attributes = |extra: &str| ORIGIN.to_owned() + AS_PATH + NEXT_HOP + extra;
    // The first one counts, whether it is right or wrong.
    let octets = update("", &attributes("800404 00000001 800404 00000002 800403 000000"), NLRI);
    assert_eq!(outcome(&octets, &external()), "discard 4");
    assert_eq!(decode(&octets, &external()).unwrap().attributes.med, Some(1));
    let octets = update("", &attributes("800403 000000 800404 00000002"), NLRI);
    assert_eq!(outcome(&octets, &external()), "withdraw 4");
    let octets = update("", &attributes("c0fe01 01 c0fe01 02"), NLRI);
    assert_eq!(outcome(&octets, &external()), "discard 254");
    assert_eq!(decode(&octets, &external()).unwrap().attributes.unknown.len(), 1);
    // MP attributes: reset, also where both are empty or of a family that is not ours.
    let twice = |text: String| outcome(&update("", &attributes(&(text.clone() + &text)), NLRI), &external());
    assert_eq!(twice(reach("80", REACH)), "reset 3/1");
    assert_eq!(twice("800f03 0002 01".to_owned()), "reset 3/1");
    assert_eq!(twice("800f03 4004 47".to_owned()), "reset 3/1");
}

/// What a fault costs us does not grow with the number of its repetitions: one message has room for
/// thousands.
#[test]
fn an_attribute_that_comes_a_thousand_times_is_one_issue() {
    let attributes = ORIGIN.to_owned() + AS_PATH + NEXT_HOP + &"c0fe00".repeat(1000) + &"400600".repeat(200);
    let octets = update("", &attributes, NLRI);
    assert_eq!(outcome(&octets, &external()), "discard 254 6");
    assert!(decode(&octets, &external()).unwrap().attributes.atomic_aggregate);
}

/// RFC 7606 §3 (d): mandatory attributes; §3 (h): the strongest treatment wins.
#[test]
fn sections_3_d_and_3_h() {
    for (attributes, expected) in [
        (AS_PATH.to_owned() + NEXT_HOP, "withdraw 1"),
        (ORIGIN.to_owned() + NEXT_HOP, "withdraw 2"),
        (ORIGIN.to_owned() + AS_PATH, "withdraw 3"),
        (String::new(), "withdraw 1 2 3"),
        (ORIGIN.to_owned() + AS_PATH + NEXT_HOP + "400601 00" + "800400", "withdraw 4"),
        (ORIGIN.to_owned() + AS_PATH + NEXT_HOP + "800400" + "40fe00", "reset 3/2 40fe00"),
    ] {
        assert_eq!(outcome(&update("", &attributes, NLRI), &external()), expected, "{attributes}");
    }
    // With MP_REACH_NLRI alone NEXT_HOP is not mandatory, and ORIGIN is.
    let v6 = reach("80", REACH);
    assert_eq!(outcome(&update("", &(ORIGIN.to_owned() + AS_PATH + &v6), ""), &external()), "accept");
    assert_eq!(outcome(&update("", &(AS_PATH.to_owned() + &v6), ""), &external()), "withdraw 1");
    // Both: NEXT_HOP is for the NLRI, and all routes go when it is missing.
    let octets = update("", &(ORIGIN.to_owned() + AS_PATH + &v6), NLRI);
    assert_eq!(outcome(&octets, &external()), "withdraw 3");
    let gone = prefixes(&decode(&octets, &external()).unwrap().withdrawn);
    assert_eq!(gone, ["203.0.113.0/24", "198.51.100.0/24", "2001:db8:1::/48"]);
}

/// RFC 7606 §4: an attribute past the end of the field, or with too little left for its header.
#[test]
fn section_4_lengths_in_conflict() {
    let attributes = |extra: &str| ORIGIN.to_owned() + AS_PATH + NEXT_HOP + extra;
    for extra in ["c00808 ffff0001", "c008", "c0", "d00800", "d008ffff", "800404 00", "4002ff", "c0fe05 00"] {
        let octets = update("", &attributes(extra), NLRI);
        let text = outcome(&octets, &external());
        assert!(text.starts_with("withdraw"), "{extra}: {text}");
        // The NLRI is found by the Total Path Attribute Length.
        let gone = prefixes(&decode(&octets, &external()).unwrap().withdrawn);
        assert_eq!(gone, ["203.0.113.0/24", "198.51.100.0/24"], "{extra}");
    }
    // Routes in the attribute that is cut off cannot be withdrawn: §3 (j).
    let octets = update("", &attributes("800e40 0002 01"), NLRI);
    assert_eq!(outcome(&octets, &external()), "reset 3/1 800e40000201");
    let octets = update("", &attributes("800f40 0002 01"), NLRI);
    assert_eq!(outcome(&octets, &external()), "reset 3/1 800f40000201");
    // CVE-2026-42285, frr 70ff940fd1: what follows a bad attribute is read where it is.
    let octets = update("", &("400102 0000".to_owned() + AS_PATH + NEXT_HOP + "800404 00000007"), NLRI);
    assert_eq!(outcome(&octets, &external()), "withdraw 1");
}

/// RFC 7606 §5.2: attributes, no reachable routes, and a fault that is more than a discard.
#[test]
fn section_5_2_faults_without_routes() {
    for (withdrawn, attributes, expected) in [
        // frr#22563: ORIGIN says 32 octets and the field ends.
        ("", "400120 00", "reset 3/1 40012000"),
        ("", "400101 03", "reset 3/6 40010103"),
        ("", "400102 0000", "reset 3/5 4001020000"),
        ("", "c00101 00", "reset 3/4 c0010100"),
        ("", "400202 0200", "reset 3/11 4002020200"),
        ("", "400303 0a0000", "reset 3/5 4003030a0000"),
        ("", "c00805 ffff000100", "reset 3/5 c00805ffff000100"),
        // Withdrawn routes are not reachable ones.
        ("18 cb0071", "400101 03", "reset 3/6 40010103"),
        ("", "400101 03 800f0a 0002 01 30 20010db80001", "reset 3/6 40010103"),
        // An MP_REACH_NLRI without routes.
        ("", "400101 03 800e15 0002 01 10 20010db8000000000000000000000001 00", "reset 3/6 40010103"),
        // The first fault is the one that is told.
        ("", "400101 03 400202 0200", "reset 3/6 40010103"),
    ] {
        assert_eq!(outcome(&update(withdrawn, attributes, ""), &external()), expected, "{attributes}");
    }
    // A discard is none of these, and routes of a family that is not ours are routes.
    let octets = update("", "400601 00", "");
    assert_eq!(decode(&octets, &external()).unwrap().issues.len(), 1);
    let octets = update("", "400101 03 800e0d 0001 80 04 0a000001 00 18 cb0071", "");
    assert!(decode(&octets, &external()).unwrap().announced.is_empty());
}

/// The table itself: ascending, one row a code, flags of the four kinds that RFC 4271 §5 has.
#[test]
fn the_table_is_in_order() {
    let codes: Vec<_> = table::ATTRIBUTES.iter().map(|row| row.code).collect();
    assert!(codes.is_sorted_by(|a, b| a < b));
    for code in 0..=255 {
        assert_eq!(table::spec(code).map(|row| row.code), codes.contains(&code).then_some(code));
    }
    for row in &table::ATTRIBUTES {
        assert!([0x40, 0x80, 0xc0].contains(&row.flags), "{}", row.name);
    }
    // "The "attribute discard" approach ... MUST NOT be used for attributes that have an effect on route
    // selection or installation" (RFC 7606 §2).
    let discarded = table::ATTRIBUTES.iter().filter(|row| row.bad_value == Disposition::AttributeDiscard);
    let discarded: Vec<_> = discarded.map(|row| row.name).collect();
    assert_eq!(discarded, ["ATOMIC_AGGREGATE", "AGGREGATOR", "AS4_PATH", "AS4_AGGREGATOR"]);
}
