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
    let octets = hex(text);
    let mut buffer = BytesMut::from(&octets[..]);
    let update = match read_message(&mut buffer, &context()) {
        Err(error) => return format!("reset {}/{}", error.notification.code, error.notification.subcode),
        Ok(None) => return "cut off".to_owned(),
        Ok(Some(Message::Update(update))) => update,
        Ok(Some(other)) => return format!("{:?}", other.kind()),
    };
    assert!(buffer.is_empty(), "octets are left of {text}");
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
