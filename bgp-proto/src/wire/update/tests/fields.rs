//! What a well-formed UPDATE says, the three fields and their lengths, and what is not negotiated.

use super::*;
use crate::types::{Asn, Community, ExtendedCommunity, LargeCommunity};
use crate::wire::{Aggregator, AsPath, NextHop, Origin};

fn attributes(extra: &str) -> String {
    ORIGIN.to_owned() + AS_PATH + NEXT_HOP + extra
}

const REACH_V6: &str = "800e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001";

#[test]
fn every_attribute_is_read() {
    let octets = update(
        "08 0a",
        "400101 02 400206 0201 0000fde9 400304 c0000201 800404 00000007 400504 000000c8 400600 \
         c00708 00030d40 0a000009 c00808 fde90064 ffffff01 800904 0a000002 800a08 0a000003 0a000004 \
         c01008 0002fde900000001 c0200c 0000fde9 00000001 00000002 c02304 0000fde9 c0fe01 09",
        NLRI,
    );
    let update = decode(&octets, &internal()).unwrap();
    assert_eq!(prefixes(&update.withdrawn), ["10.0.0.0/8"]);
    assert_eq!(update.announced[0].next_hop, NextHop::V4([192, 0, 2, 1].into()));
    assert_eq!(update.announced[0].nlri.count(), 2);
    let found = update.attributes;
    assert_eq!(found.origin, Some(Origin::Incomplete));
    assert_eq!(found.as_path, Some(AsPath::sequence(Asn::new(65001))));
    assert_eq!((found.med, found.local_pref, found.atomic_aggregate), (Some(7), Some(200), true));
    let aggregator = Aggregator { asn: Asn::new(200_000).unwrap(), router: [10, 0, 0, 9].into() };
    assert_eq!(found.aggregator, Some(aggregator));
    assert_eq!(found.communities, [Community::new(65001, 100), Community::NO_EXPORT]);
    assert_eq!(found.originator_id, Some("10.0.0.2".parse().unwrap()));
    assert_eq!(found.cluster_list, [[10, 0, 0, 3], [10, 0, 0, 4]].map(std::net::Ipv4Addr::from));
    assert_eq!(found.extended_communities, ["rt:65001:1".parse::<ExtendedCommunity>().unwrap()]);
    assert_eq!(found.large_communities, [LargeCommunity { global: 65001, local1: 1, local2: 2 }]);
    assert_eq!(found.only_to_customer, Asn::new(65001));
    assert_eq!(found.unknown.len(), 1);
    assert_eq!((update.issues, update.end_of_rib), (vec![], None));
}

/// rustybgp panicked on this one: 0xffe9 + 4 + 23 wraps in two octets. And every other way for the three
/// lengths to lie.
#[test]
fn field_lengths_past_the_message_are_3_1() {
    for body in [
        "0000 ffe9 40010100",
        "ffe9 0000 40010100",
        "ffff ffff",
        "0001 0000",
        "0000 0001",
        "0004 0a0b0c0d",
        "0003 080a00 00",
        "0002 080a 0001",
    ] {
        assert_eq!(outcome(&message(2, &hex(body)), &external()), "reset 3/1", "{body}");
    }
}

/// CVE-2026-48686 copied by the length octet; RFC 4271 §6.3 makes it Invalid Network Field.
#[test]
fn prefixes_that_are_too_long_are_3_10_in_both_fields() {
    for nlri in ["21 cb00710000", "ff", "18 cb00", "18 cb0071 08"] {
        assert_eq!(outcome(&update("", &attributes(""), nlri), &external()), "reset 3/10", "{nlri}");
        assert_eq!(outcome(&update(nlri, "", ""), &external()), "reset 3/10", "{nlri} withdrawn");
        // What cannot be read cannot be withdrawn either, whatever the attributes are.
        assert_eq!(outcome(&update("", "400101 09", nlri), &external()), "reset 3/10", "{nlri}");
    }
}

/// CVE-2023-41358, CVE-2023-47234: routes without the mandatory attributes.
#[test]
fn routes_without_attributes_are_withdrawn() {
    assert_eq!(outcome(&update("", "", NLRI), &external()), "withdraw 1 2 3");
    let octets = update("", "800f0a 0002 01 30 20010db80001", NLRI);
    assert_eq!(outcome(&octets, &external()), "withdraw 1 2 3");
    let gone = prefixes(&decode(&octets, &external()).unwrap().withdrawn);
    assert_eq!(gone, ["2001:db8:1::/48", "203.0.113.0/24", "198.51.100.0/24"]);
}

#[test]
fn end_of_rib_has_two_forms_and_no_other() {
    let end = |octets: &[u8]| decode(octets, &external()).unwrap().end_of_rib;
    assert_eq!(end(&update("", "", "")), Some(Family::Ipv4Unicast));
    assert_eq!(end(&update("", "800f03 0002 01", "")), Some(Family::Ipv6Unicast));
    assert_eq!(end(&update("", "900f0003 0002 01", "")), Some(Family::Ipv6Unicast));
    assert_eq!(end(&update("", "800f03 0001 01", "")), Some(Family::Ipv4Unicast));
    for (withdrawn, attributes, nlri) in [
        ("08 0a", "", ""),
        ("08 0a", "800f03 0002 01", ""),
        ("", "800f0a 0002 01 30 20010db80001", ""),
        ("", "400101 00", ""),
        ("", "400101 00 800f03 0002 01", ""),
        ("", "c0ff00", ""),
        ("", "80ff00", ""),
        // CVE-2023-47235: a malformed attribute beside nothing at all.
        ("", "c0ff00", "08 0a"),
        ("", "800e15 0002 01 10 20010db8000000000000000000000001 00", ""),
        // A family that was not negotiated has no end.
        ("", "800f03 0001 80", ""),
    ] {
        assert_eq!(end(&update(withdrawn, attributes, nlri)), None, "{withdrawn} {attributes} {nlri}");
    }
    let v6_only = DecodeContext { families: FamilySet::from_iter([Family::Ipv6Unicast]), ..external() };
    assert_eq!(decode(&update("", "", ""), &v6_only).unwrap().end_of_rib, None);
}

#[test]
fn families_that_were_not_negotiated_are_noted_and_ignored() {
    let v4_only = DecodeContext::default();
    let v4_only = DecodeContext { asn4: true, ..v4_only };
    let octets = update("", &attributes(REACH_V6), NLRI);
    assert_eq!(outcome(&octets, &v4_only), "discard 14");
    assert_eq!(decode(&octets, &v4_only).unwrap().announced.len(), 1);
    let unreach = "800f0a 0002 01 30 20010db80001";
    assert_eq!(outcome(&update("", &attributes(unreach), NLRI), &v4_only), "discard 15");
    // VPNv4, whose NLRI we could not even cut into prefixes.
    let vpn = "800e1f 0001 80 0c 0000000000000000 0a000001 00 70 00001100000000000001 cb0071";
    assert_eq!(outcome(&update("", &attributes(vpn), NLRI), &external()), "discard 14");
    // CVE-2023-38406, flow specification with a length that overflows.
    let flow = "800e07 0001 85 00 00 f0 ff";
    assert_eq!(outcome(&update("", &attributes(flow), NLRI), &external()), "discard 14");
    // IPv4 itself.
    let v6_only = DecodeContext { families: FamilySet::from_iter([Family::Ipv6Unicast]), ..external() };
    let update = decode(&update("08 0a", &attributes(REACH_V6), NLRI), &v6_only).unwrap();
    assert_eq!((update.withdrawn.len(), update.announced.len(), update.issues.len()), (0, 1, 1));
    assert_eq!(update.announced[0].nlri.family(), Family::Ipv6Unicast);
}

/// frr#3768: Arista sends NEXT_HOP 0.0.0.0 beside MP_REACH_NLRI.
#[test]
fn next_hop_is_ignored_beside_mp_reach_alone() {
    let zero = ORIGIN.to_owned() + AS_PATH + "400304 00000000" + REACH_V6;
    let update = decode(&update("", &zero, ""), &external()).unwrap();
    assert_eq!((update.announced.len(), update.issues.len()), (1, 0));
    let address = "2001:db8::1".parse().unwrap();
    assert_eq!(update.announced[0].next_hop, NextHop::V6 { address, link_local: None });
}

/// RFC 7606 §5.1: "an implementation MUST still be prepared to receive these fields in any position or
/// combination".
#[test]
fn all_routes_of_one_message_are_read() {
    let unreach = "800f0a 0002 01 30 20010db80002";
    let octets = update("08 0a", &attributes(&(unreach.to_owned() + REACH_V6)), NLRI);
    let update = decode(&octets, &external()).unwrap();
    assert_eq!(prefixes(&update.withdrawn), ["10.0.0.0/8", "2001:db8:2::/48"]);
    let families: Vec<_> = update.announced.iter().map(|part| part.nlri.family()).collect();
    assert_eq!(families, Family::ALL);
}

#[test]
fn ipv4_over_ipv6_needs_rfc_8950() {
    let reach = "800e19 0001 01 10 20010db8000000000000000000000001 00 18 cb0071";
    let octets = update("", &(ORIGIN.to_owned() + AS_PATH + reach), "");
    assert!(outcome(&octets, &external()).starts_with("reset 3/9 800e19"));
    let extended = DecodeContext { extended_next_hop: true, ..external() };
    let update = decode(&octets, &extended).unwrap();
    assert_eq!(update.announced[0].nlri.family(), Family::Ipv4Unicast);
    assert!(matches!(update.announced[0].next_hop, NextHop::V6 { .. }));
}

#[test]
fn path_identifiers_are_a_family_s_own() {
    let one = DecodeContext { add_path: FamilySet::from_iter([Family::Ipv4Unicast]), ..external() };
    let octets = update("00000001 08 0a", &attributes(REACH_V6), "00000002 18 cb0071");
    let update = decode(&octets, &one).unwrap();
    assert_eq!(update.withdrawn[0].iter().next().unwrap().path_id, Some(1));
    assert_eq!(update.announced[0].nlri.iter().next().unwrap().path_id, Some(2));
    assert_eq!(update.announced[1].nlri.iter().next().unwrap().path_id, None);
}

#[test]
fn a_prefix_in_both_fields_is_in_both_lists() {
    let update = decode(&update("18 cb0071", &attributes(""), "18 cb0071"), &external()).unwrap();
    assert_eq!(prefixes(&update.withdrawn), ["203.0.113.0/24"]);
    assert_eq!(update.announced[0].nlri.count(), 1);
}

#[test]
fn two_octet_paths_and_aggregators_are_merged() {
    let two = DecodeContext { asn4: false, ..external() };
    let decode_two = |extra: &str| {
        let attributes = ORIGIN.to_owned() + "400208 0203 fde9 5ba0 fdeb" + NEXT_HOP + extra;
        decode(&update("", &attributes, NLRI), &two).unwrap().attributes
    };
    let path = |found: &crate::wire::PathAttributes| found.as_path.clone().unwrap().to_string();
    let as4_path = "c0110a 0202 00030d40 0000fdeb";
    assert_eq!(path(&decode_two(as4_path)), "65001 200000 65003");
    let merged = decode_two(&format!("c00706 5ba0 0a000009 {as4_path} c01208 00030d40 0a00000a"));
    assert_eq!(path(&merged), "65001 200000 65003");
    assert_eq!(merged.aggregator.unwrap().asn.get(), 200_000);
    assert_eq!(merged.aggregator.unwrap().router, std::net::Ipv4Addr::new(10, 0, 0, 10));
    // "if the AS number in the AGGREGATOR attribute is not AS_TRANS" both AS4 attributes are ignored.
    let ignored = decode_two(&format!("c00706 fde9 0a000009 {as4_path} c01208 00030d40 0a00000a"));
    assert_eq!(path(&ignored), "65001 23456 65003");
    assert_eq!(ignored.aggregator.unwrap().asn.get(), 65001);
    // AGGREGATOR alone does not decide, and AS4_AGGREGATOR alone is nothing.
    assert_eq!(path(&decode_two(&format!("c00706 fde9 0a000009 {as4_path}"))), "65001 200000 65003");
    assert_eq!(decode_two("c01208 00030d40 0a00000a").aggregator, None);
}

/// CVE-2026-49943: a path that only an extended message can hold.
#[test]
fn a_path_of_thousands_of_numbers_is_read() {
    let mut value = Vec::new();
    for _ in 0..40 {
        value.extend_from_slice(&[2, 255]);
        value.extend_from_slice(&[0, 0, 0xfd, 0xe9].repeat(255));
    }
    let mut body = hex("0000");
    let mut field = hex(&(ORIGIN.to_owned() + NEXT_HOP + "5002"));
    field.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
    field.extend_from_slice(&value);
    body.extend_from_slice(&u16::try_from(field.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&field);
    body.extend_from_slice(&hex(NLRI));
    let long = DecodeContext { max_message: 65535, ..external() };
    let update = decode(&message(2, &body), &long).unwrap();
    assert_eq!(update.attributes.as_path.unwrap().length(), 40 * 255);
}

/// frr#22045 asserted on some 64,000 octets of unknown attributes: none is kept twice, none is lost.
#[test]
fn a_message_full_of_unknown_attributes_is_read() {
    let long = DecodeContext { max_message: 65535, ..external() };
    let mut extra = String::new();
    for code in 36..=255 {
        extra += &format!("d0{code:02x}0100{}", "ab".repeat(256));
    }
    let found = decode(&update("", &attributes(&extra), NLRI), &long).unwrap().attributes.unknown;
    assert_eq!(found.len(), 220);
    assert!(found.iter().all(|raw| raw.value.len() == 256));
}
