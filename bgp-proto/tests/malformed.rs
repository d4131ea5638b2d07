//! Messages that broke other implementations, by the number of the report. What is expected everywhere: a
//! NOTIFICATION with its data or the RFC 7606 treatment, and neither a panic nor a loop.
//! Many of their like, field by field, are beside the code (`src/wire/**/tests`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use bgp_proto::types::{Family, FamilySet};
use bgp_proto::wire::{DecodeContext, Disposition, Message, read_message};
use bytes::BytesMut;

/// Octets from hex digits; `M` is a marker and blanks are ignored.
fn hex(text: &str) -> Vec<u8> {
    let text: String = text.replace('M', &"f".repeat(32)).split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn context() -> DecodeContext {
    DecodeContext {
        asn4: true,
        external: true,
        families: FamilySet::from_iter(Family::ALL),
        enhanced_refresh: true,
        ..DecodeContext::default()
    }
}

/// `reset CODE/SUBCODE`, `withdraw PREFIXES`, `discard PREFIXES` or `accept PREFIXES`.
fn outcome(text: &str) -> String {
    outcome_in(&hex(text), &context())
}

fn outcome_in(octets: &[u8], context: &DecodeContext) -> String {
    let mut buffer = BytesMut::from(octets);
    let update = match read_message(&mut buffer, context) {
        Err(error) => return format!("reset {}/{}", error.notification.code, error.notification.subcode),
        Ok(None) => return "cut off".to_owned(),
        Ok(Some(Message::Update(update))) => update,
        Ok(Some(other)) => return format!("{:?}", other.kind()),
    };
    assert!(buffer.is_empty(), "octets are left of {octets:02x?}");
    let announced = update.announced.iter().map(|part| &part.nlri);
    let (word, blocks): (_, Vec<_>) = match update.disposition() {
        Disposition::TreatAsWithdraw => ("withdraw", update.withdrawn.iter().collect()),
        Disposition::AttributeDiscard => ("discard", announced.collect()),
        _ => ("accept", announced.collect()),
    };
    let prefixes = blocks.into_iter().flatten().map(|nlri| format!(" {}", nlri.prefix));
    word.to_owned() + &prefixes.collect::<String>()
}

fn check(cases: &[(&str, &str, &str)]) {
    for (report, octets, expected) in cases {
        assert_eq!(outcome(octets), *expected, "{report}");
    }
}

#[test]
fn opens() {
    check(&[
        ("CVE-2022-40302, CVE-2022-40318", "M 0022 01 04 dead 0005 c0a83901 ff ff 0002 0001", "reset 2/0"),
        ("CVE-2022-43681", "M 001d 01 04 dead 00de adbeef6b ff", "reset 2/0"),
        ("CVE-2022-36440", "M 0021 01 04 dead 00de adbeef6b 40 0206 4104", "reset 2/0"),
        // A capability shorter than its own fields is ignored.
        ("CVE-2022-37032", "M 0024 01 04 dead 00de adbeef6b 07 0205 4003 000000", "Open"),
        ("CVE-2022-37032", "M 0021 01 04 dead 00de adbeef6b 04 0202 4000", "Open"),
        ("CVE-2023-41361, CVE-2025-43971", "M 0021 01 04 dead 00de adbeef6b 04 0202 4b00", "Open"),
        ("CVE-2026-5122", "M 0025 01 04 dead 00de adbeef6b 08 0206 4904 02 61 ff 62", "Open"),
        // gobgp f02ca397: it read the next capability into an AS4 of length 0.
        ("GoBGP AS4", "M 0027 01 04 dead 00de adbeef6b 0a 0208 4100 4104 0000dead", "Open"),
    ]);
}

#[test]
fn refreshes() {
    check(&[
        ("CVE-2023-41360", "M 001d 05 0001 00 01 01 40 ff00 00 00", "RouteRefresh"),
        ("a marker with filters", "M 0019 05 0001 01 01 0101", "reset 7/1"),
    ]);
}

#[test]
fn notifications() {
    check(&[
        ("frr#20793, Hard Reset without its inside", "M 0015 03 06 09", "Notification"),
        ("half an inside", "M 0016 03 06 09 06", "Notification"),
    ]);
}

/// Prefixes that cannot be read cannot be withdrawn: where a report's octets have them, 3/10 comes before
/// anything that the attributes ask for (RFC 7606 §3 (j)).
#[test]
fn updates_of_frr() {
    let mandatory = "400101 00 400206 0201 0000fde9 400304 0a000001";
    let with = |attribute: &str| {
        let length = hex(&(mandatory.to_owned() + attribute)).len();
        let total = 23 + length + 4;
        format!("M {total:04x} 02 0000 {length:04x} {mandatory} {attribute} 18 cb0071")
    };
    check(&[
        ("CVE-2023-38802", &with("c01703 000100"), "accept 203.0.113.0/24"),
        ("CVE-2024-44070", &with("c01706 0001 000a 0100"), "accept 203.0.113.0/24"),
        ("CVE-2024-31948", &with("c02803 010007"), "accept 203.0.113.0/24"),
        ("frr#22651", &with(&format!("c02825{}", "00".repeat(37))), "accept 203.0.113.0/24"),
        ("CVE-2023-41359", &with("801a01 01"), "accept 203.0.113.0/24"),
        ("CVE-2023-38406", &with("800e09 0001 85 00 00 f1 ff 0101"), "discard 203.0.113.0/24"),
        ("CVE-2023-38407", &with("800e0c 0001 04 04 0a000001 00 ff 0000"), "discard 203.0.113.0/24"),
        ("CVE-2023-41909", &with("800f04 0001 85 00"), "discard 203.0.113.0/24"),
        ("CVE-2023-41358", "M 001b 02 0000 0000 18 cb0071", "withdraw 203.0.113.0/24"),
        ("CVE-2023-46752", &with("800e05 0001 01 ff 00"), "reset 3/9"),
        (
            "CVE-2023-46753",
            "M 003c 02 0000 0014 ff1f0010 00040146464646460004464646464646 464646f50d05800100010200ffff000000",
            "reset 3/10",
        ),
        (
            "CVE-2023-46753 with prefixes that can be read",
            "M 002f 02 0000 0014 ff1f0010 00040146464646460004464646464646 18 cb0071",
            "withdraw 203.0.113.0/24",
        ),
        (
            "CVE-2023-47234",
            "M 0025 02 0000 000a 800f07 0002 01 18 200100 18 cb0071",
            "withdraw 2001::/24 203.0.113.0/24",
        ),
        ("CVE-2023-47235", "M 002b 02 0000 0003 c0ff00 010100eb00ac100b0b001ad908ac100b0b", "reset 3/10"),
        (
            "CVE-2023-47235 with prefixes that can be read",
            "M 001e 02 0000 0003 c0ff00 0101 00 00",
            "withdraw 0.0.0.0/1 0.0.0.0/0 0.0.0.0/0",
        ),
        ("frr#22563", "M 001b 02 0000 0004 40012000", "reset 3/1"),
    ]);
}

#[test]
fn updates_of_others() {
    check(&[
        ("rustybgp, a sum that wraps", "M 001b 02 0000 ffe9 40010100", "reset 3/1"),
        ("CVE-2026-37462, NLRI length that wraps", "M 001b 02 0000 0005 40010100", "reset 3/1"),
        (
            "CVE-2026-30405, NEXT_HOP of 2 octets",
            "M 002c 02 0000 0011 400101 00 400200 400302 0a00 c00600 0000 08 0a 00 00",
            "withdraw 10.0.0.0/8 0.0.0.0/0 0.0.0.0/0",
        ),
        ("CVE-2026-41642, unknown and not optional", "M 001c 02 0000 0003 40fe00 08 0a", "reset 3/2"),
        (
            "CVE-2026-37461, IPv6 extended community cut off",
            "M 0034 02 0000 0019 400101 00 400206 0201 0000fde9 400304 0a000001 c01902 0002 18 cb0071",
            "withdraw 203.0.113.0/24",
        ),
        ("CVE-2026-48686, a prefix length of 255", "M 0018 02 0000 0000 ff", "reset 3/10"),
        (
            "gobgp#3392, ORIGIN without Transitive",
            "M 001e 02 0000 0004 000101 00 08 0a 00",
            "withdraw 10.0.0.0/8 0.0.0.0/0",
        ),
        (
            "GHSA-frrj-87jh-2772, an empty AS_PATH",
            "M 0027 02 0000 000e 400101 00 400200 400304 0a000001 08 0a",
            "accept 10.0.0.0/8",
        ),
        (
            "CVE-2026-42285, lengths that contradict",
            "M 001f 02 0000 0006 400140 00 4002 08 0a",
            "withdraw 10.0.0.0/8",
        ),
    ]);
}

/// An UPDATE of three fields, of whatever length.
fn update(withdrawn: &str, attributes: &str, nlri: &str) -> Vec<u8> {
    let (withdrawn, attributes, nlri) = (hex(withdrawn), hex(attributes), hex(nlri));
    let length = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let total = 23 + withdrawn.len() + attributes.len() + nlri.len();
    [
        &[0xff; 16][..],
        &length(total),
        &[2],
        &length(withdrawn.len()),
        &withdrawn,
        &length(attributes.len()),
        &attributes,
        &nlri,
    ]
    .concat()
}

const MANDATORY: &str = "400101 00 400206 0201 0000fde9 400304 0a000001";

/// Attributes beside 203.0.113.0/24 and the mandatory ones, by report.
#[test]
fn attributes_of_reports() {
    let long = "ab".repeat(1024);
    let flood = format!("d0fe{:04x}{}", 60_000, "ab".repeat(60_000));
    for (report, attribute, expected) in [
        // RFC 9234 section 5 has 4 octets: intermediate routers wrote 1024 (October 2025, frr#20260).
        ("OTC of 1024 octets", format!("d0230400{long}"), "withdraw"),
        ("CVE-2023-38283, OpenBGPD: communities of 5 octets", "c00805 ffff000100".into(), "withdraw"),
        ("CVE-2023-38283, MED of 3", "800403 000000".into(), "withdraw"),
        ("CVE-2023-38283, AGGREGATOR of 6 in a session of four octets", "c00706 fde9 0a000001".into(), "discard"),
        ("CVE-2023-46565, GoBGP: faults of two strengths", "400601 00 c00800".into(), "withdraw"),
        ("CVE-2025-43973, GoBGP: flow specification of 3 octets", "800e08 0001 85 00 00 02 01 20".into(), "discard"),
        ("CVE-2026-37457, FRR: flow specification cut off by one", "800e0a 0001 85 00 00 05 01 18 cb 00".into(), "discard"),
        ("FRR, flow specification withdrawn, of no length", "800f04 0001 85 00".into(), "discard"),
        ("CVE-2026-37459, FRR: next hop capability, a TLV that runs over", "c02708 0001 01 00 01 00 ff 00".into(), "accept"),
        ("CVE-2026-37460, FRR: encapsulation that says 255 octets", "c01706 0007 0004 01ff".into(), "accept"),
        ("CVE-2026-41642, unknown, not optional, transitive", "60fe01 00".into(), "reset 3/2"),
        ("frr#22041, prefix SID without a value", "c02800".into(), "accept"),
        ("frr#19336, prefix SID from Juniper, label index of 0 octets", "c02803 010000".into(), "accept"),
        ("frr#22045, 60,000 octets of an unknown attribute", flood, "accept"),
        ("frr#3768, Arista: MP_REACH_NLRI beside all", "800e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001".into(), "accept"),
        ("FastNetMon, CVE-2026-48686: IPv6 prefix of 255 bits", "800e16 0002 01 10 20010db8000000000000000000000001 00 ff".into(), "reset 3/9"),
        ("VPN next hop of 24 octets for IPv6 unicast", "800e24 0002 01 18 0000000000000000 20010db8000000000000000000000001 00 30 20010db80001".into(), "reset 3/9"),
        ("gobgp#3214, next hop :: and link-local", "800e2c 0002 01 20 00000000000000000000000000000000 fe800000000000000000000000000001 00 30 20010db80001".into(), "accept"),
        ("ATTR_SET that holds itself", "c0800a 0000fde9 c08003 000000".into(), "accept"),
        ("BGP-LS, a TLV that runs over", "801d04 0400 00ff".into(), "accept"),
        ("PMSI tunnel of 4 octets", "c01604 00060000".into(), "accept"),
    ] {
        let octets = update("", &(MANDATORY.to_owned() + &attribute), "18 cb0071");
        let found = outcome_in(&octets, &DecodeContext { max_message: 65535, ..context() });
        assert_eq!(found.split(" 203.").next(), Some(expected), "{report}: {found}");
        assert!(found.starts_with("reset") || found.contains("203.0.113.0/24"), "{report}: {found}");
    }
}

/// AS_PATH and AS4_PATH that do not fit each other, and paths without end.
#[test]
fn paths_of_reports() {
    let two = DecodeContext { asn4: false, ..context() };
    for (report, attributes, expected) in [
        (
            "CVE-2026-41643, AS4_PATH longer than AS_PATH",
            "400204 0201 5ba0 c0110a 0202 00030d40 0000fde9",
            "accept 65001",
        ),
        ("CVE-2026-41643, AS_PATH empty", "400200 c01106 0201 00030d40", "accept "),
        ("CVE-2026-41643, AS4_PATH empty", "400204 0201 fde9 c01100", "discard 65001"),
        (
            "AS4_PATH of a confederation segment alone",
            "400204 0201 fde9 c01106 0301 00030d40",
            "accept 65001",
        ),
        ("AS4_PATH behind an AS_SET", "400208 0102 fde9 fdea 0000 c01106 0201 00030d40", "withdraw "),
        ("GHSA-frrj-87jh-2772, a confederation segment of no length", "400202 0300", "withdraw "),
    ] {
        let octets = update("", &format!("400101 00 {attributes} 400304 0a000001"), "18 cb0071");
        let Ok(Some(Message::Update(update))) = read_message(&mut BytesMut::from(&octets[..]), &two) else {
            panic!("{report}");
        };
        let (word, path) = expected.split_once(' ').unwrap();
        let found = match update.disposition() {
            Disposition::TreatAsWithdraw => "withdraw",
            Disposition::AttributeDiscard => "discard",
            _ => "accept",
        };
        assert_eq!(found, word, "{report}");
        let text = update.attributes.as_path.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_eq!(text.replace("23456", "65001"), path, "{report}");
    }
    // CVE-2026-49943, BIRD: more than 2048 numbers, which only an extended message holds.
    let mut path = String::new();
    for _ in 0..12 {
        path += &format!("02ff{}", "0000fde9".repeat(255));
    }
    let attributes = format!("400101 00 5002{:04x}{path} 400304 0a000001", path.len() / 2);
    let long = DecodeContext { max_message: 65535, ..context() };
    assert_eq!(outcome_in(&update("", &attributes, "18 cb0071"), &long), "accept 203.0.113.0/24");
}

/// Headers and other messages.
#[test]
fn headers_and_other_messages_of_reports() {
    check(&[
        ("CVE-2024-31949, a CAPABILITY message (type 6)", "M 001a 06 00 01 01 04 0001 01", "reset 1/3"),
        ("frr#23371, frr#23409: the length is checked before the type", "M 0012 ff", "reset 1/2"),
        ("frr#8889, frr#12529: 4097 octets where 4096 is the limit", "M 1001 02", "reset 1/2"),
        ("holo: a KEEPALIVE of 20 octets", "M 0014 04 00", "reset 1/2"),
        ("rustybgp: a marker that is not all ones", "fffffffffffffffffffffffffffffffe 0013 04", "reset 1/1"),
        ("MetalLB: an OPEN of 29 octets is right", "M 001d 01 04 dead 00de adbeef6b 00", "Open"),
        (
            "frr#8600, IOS-XR: odd tuples of RFC 8950",
            "M 002b 01 04 dead 00de adbeef6b 0e 020c 050a 0001 0001 0002 ffff ffff",
            "Open",
        ),
        ("RFC 9072: 255 as a plain length", "M 0020 01 04 dead 00de adbeef6b ff 02 01 00", "reset 2/0"),
        ("ADD-PATH of 3 octets", "M 0024 01 04 dead 00de adbeef6b 07 0205 4503 000101", "Open"),
        ("optional parameter 1 (authentication)", "M 0020 01 04 dead 00de adbeef6b 03 0101 00", "reset 2/4"),
        ("rustybgp: hold time 2", "M 001d 01 04 dead 0002 adbeef6b 00", "reset 2/6"),
        ("rustybgp: a multicast identifier is right", "M 001d 01 04 dead 00de e0000001 00", "Open"),
        ("frr#22828, ROUTE-REFRESH with filters cut off", "M 001a 05 0001 00 01 01 40 ff", "RouteRefresh"),
        ("wdbgp#37, RouterOS: 23 octets unasked", "M 0017 05 0001 00 01", "RouteRefresh"),
        ("frr#4997, a NOTIFICATION that nobody registered", "M 0017 03 ff ff 00 00", "Notification"),
    ]);
}

/// The reports that the messages of this file are named for: all that the lists of malformed messages have for what a
/// speaker like this one reads.
#[test]
fn every_report_has_its_message() {
    let text = include_str!("malformed.rs");
    for report in [
        "2022-36440",
        "2022-37032",
        "2022-40302",
        "2022-40318",
        "2022-43681",
        "2023-38283",
        "2023-38406",
        "2023-38407",
        "2023-38802",
        "2023-41358",
        "2023-41359",
        "2023-41360",
        "2023-41361",
        "2023-41909",
        "2023-46565",
        "2023-46752",
        "2023-46753",
        "2023-47234",
        "2023-47235",
        "2024-31948",
        "2024-31949",
        "2024-44070",
        "2025-43971",
        "2025-43973",
        "2026-30405",
        "2026-37457",
        "2026-37459",
        "2026-37460",
        "2026-37461",
        "2026-37462",
        "2026-41642",
        "2026-41643",
        "2026-42285",
        "2026-48686",
        "2026-49943",
        "2026-5122",
    ] {
        let named = text.matches(&format!("CVE-{report}")).count();
        assert!(named > 0, "CVE-{report} has no message");
    }
}
