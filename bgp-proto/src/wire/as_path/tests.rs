use super::*;
use crate::wire::testing::hex;

fn path(text: &str) -> AsPath {
    let mut segments = Vec::new();
    for word in text.split('|').map(str::trim).filter(|word| !word.is_empty()) {
        let (kind, numbers) = match word.split_at(1) {
            ("{", rest) => (SegmentKind::Set, rest),
            ("(", rest) => (SegmentKind::ConfedSequence, rest),
            ("[", rest) => (SegmentKind::ConfedSet, rest),
            _ => (SegmentKind::Sequence, word),
        };
        let numbers = numbers.trim_end_matches(['}', ')', ']']);
        let asns = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
        segments.push(AsPathSegment { kind, asns });
    }
    AsPath { segments }
}

#[test]
fn segments_of_every_kind_are_read_and_printed() {
    let value = hex("0202 0000fde9 0000fdea 0101 00030d40 0301 0000fc00 0401 0000fc01");
    let found = decode(&value, true).unwrap();
    assert_eq!(found, path("65001 65002 | {200000} | (64512) | [64513]"));
    assert_eq!(found.to_string(), "65001 65002 {200000} (64512) [64513]");
    assert_eq!((found.length(), found.first(), found.origin()), (3, Asn::new(65001), None));
    assert_eq!(path("65001 | 65002 65003").origin(), Asn::new(65003));
    assert_eq!(decode(&[], true), Ok(AsPath::default()));
    assert_eq!(AsPath::default().to_string(), "");
    assert_eq!(decode(&hex("0202 fde9 fdea"), false), Ok(path("65001 65002")));
}

/// RFC 7606 §7.2: what makes a segment malformed; RFC 7607 §2: AS 0.
#[test]
fn malformed_paths_are_faults() {
    for (value, fault) in [
        ("0001 0000fde9", PathFault::Kind(0)),
        ("0501 0000fde9", PathFault::Kind(5)),
        ("0200", PathFault::Empty),
        ("0201 0000fde9 0200", PathFault::Empty),
        ("02ff 0000fde9", PathFault::Overrun),
        ("0201 0000fd", PathFault::Overrun),
        ("0201 0000fde9 02", PathFault::Overrun),
        ("02", PathFault::Overrun),
        ("0202 0000fde9 00000000", PathFault::Zero),
    ] {
        assert_eq!(decode(&hex(value), true), Err(fault), "{value}");
        assert!(!fault.to_string().is_empty());
    }
    assert_eq!(decode(&hex("0201 0000"), false), Err(PathFault::Zero));
}

#[test]
fn an_empty_segment_is_not_written() {
    let mut out = BytesMut::new();
    encode(&path("65001 | {"), true, &mut out);
    assert_eq!(&out[..], hex("0201 0000fde9"));
}

#[test]
fn as4_path_is_needed_for_a_wide_number_outside_confederations() {
    assert_eq!(as4_path(&path("65001 65535")), None);
    assert_eq!(as4_path(&path("(200000) | 65001")), None);
    assert_eq!(as4_path(&path("(64512) | 65001 65536")), Some(path("65001 65536")));
}

/// RFC 6793 §4.2.3, case by case: AS_PATH, AS4_PATH, result.
#[test]
fn the_two_paths_merge() {
    for (two, four, merged) in [
        // All of it in AS4_PATH.
        ("23456 65002", "200000 65002", "200000 65002"),
        // Two-octet speakers prepended: their numbers stay in front.
        ("65001 23456 65002", "200000 65002", "65001 200000 65002"),
        ("65001 65009 | 23456", "200000", "65001 65009 200000"),
        ("65001 | 65009 23456", "200000", "65001 | 65009 200000"),
        // AS4_PATH is longer: ignored.
        ("65001", "200000 200001", "65001"),
        // A set counts as one, whatever its size, and is taken whole.
        ("65001 | {65002 65003} | 23456", "200000", "65001 | {65002 65003} | 200000"),
        ("65001 | {23456 65003}", "{200000 65003}", "65001 | {200000 65003}"),
        // Leading and adjacent confederation segments are prepended, others are not.
        ("(64512) | 23456", "200000", "(64512) | 200000"),
        ("65001 | (64512) | 23456", "200000", "65001 | (64512) | 200000"),
        ("65001 23456 | (64512) | 65003", "200000 65003", "65001 200000 65003"),
        // Confederation segments have no place in AS4_PATH.
        ("65001 23456", "(64512) | 200000", "65001 200000"),
        // Nothing to add.
        ("65001 65002", "", "65001 65002"),
    ] {
        assert_eq!(merge(path(two), path(four)), path(merged), "{two} + {four}");
    }
}

/// CVE-2026-41643 and GHSA-frrj-87jh-2772 were index faults here: every pair of small paths is tried.
#[test]
fn no_pair_of_paths_is_too_much() {
    let paths =
        ["", "65001", "65001 65002", "{65001 65002}", "(64512)", "[64512] | 65001", "65001 | (64512)"];
    for two in paths {
        for four in paths {
            let merged = merge(path(two), path(four));
            assert_eq!(merged.length(), path(two).length(), "{two} + {four}");
        }
    }
}

#[test]
fn a_full_segment_is_not_joined_to() {
    let many: Vec<Asn> = (1..=254).filter_map(Asn::new).collect();
    let two = AsPath::sequence(many.iter().copied().chain(Asn::new(23456)).chain(Asn::new(23456)));
    let merged = merge(two, path("200000 200001"));
    assert_eq!(merged.segments.iter().map(|segment| segment.asns.len()).collect::<Vec<_>>(), [254, 2]);
}
