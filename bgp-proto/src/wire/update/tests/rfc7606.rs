//! RFC 7606 by its tables: each attribute in each kind of session, with routes and without, and faults of
//! whole messages; through the decoder and through a session.

mod messages;
mod rows;
mod sessions;

use super::*;
use crate::wire::update::table;

use rows::{Row, Want, Width};

/// IPv6 routes: 2001:db8:1::/48 by 2001:db8::1.
const REACH: &str = "800e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001";

/// The four kinds of session: from an external peer or not, with AS numbers of four octets or two.
fn kinds() -> impl Iterator<Item = DecodeContext> {
    let kinds = [(true, true), (true, false), (false, true), (false, false)];
    kinds.into_iter().map(|(external, asn4)| DecodeContext { asn4, external, ..self::external() })
}

fn all_rows() -> impl Iterator<Item = (u8, &'static Row)> {
    let recognised = rows::RECOGNISED.iter().flat_map(|(code, rows)| rows.iter().map(|row| (*code, row)));
    recognised.chain(rows::NOT_RECOGNISED.iter().map(|row| (hex(row.octets)[1], row)))
}

impl Row {
    fn is_for(&self, context: &DecodeContext) -> bool {
        match self.width {
            Width::Any => true,
            Width::Two => !context.asn4,
            Width::Four => context.asn4,
        }
    }

    fn want(&self, context: &DecodeContext) -> Want {
        if context.external { self.from_external } else { self.from_internal }
    }

    /// With what the row was made for.
    fn context(&self, kind: &DecodeContext) -> DecodeContext {
        DecodeContext { extended_next_hop: self.extended_next_hop, ..*kind }
    }

    /// The attribute as data of a NOTIFICATION.
    fn data(&self) -> String {
        hex(self.octets).iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// What stands beside the attribute under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routes {
    /// Two prefixes in NLRI.
    Nlri,
    /// One prefix in MP_REACH_NLRI.
    Reach,
    None,
}

/// An UPDATE with the mandatory attributes, the one under test in its place or behind them.
fn with(attribute: &str, context: &DecodeContext, routes: Routes) -> Vec<u8> {
    let code = hex(attribute)[1];
    let path = if context.asn4 { AS_PATH } else { "400204 0201 fde9" };
    let others = [(1, ORIGIN), (2, path), (3, NEXT_HOP)];
    let others = others.iter().filter(|(other, _)| *other != code && (*other, routes) != (3, Routes::Reach));
    let mut attributes: String = others.map(|(_, text)| *text).collect();
    attributes.push_str(attribute);
    if routes == Routes::Reach {
        attributes.push_str(REACH);
    }
    update("", &attributes, if routes == Routes::Nlri { NLRI } else { "" })
}

/// What the row wants, in `outcome`'s words. NEXT_HOP's value is of no interest where there is no NLRI: "If
/// such a message contains the NEXT_HOP attribute, the BGP speaker that receives the message SHOULD ignore
/// this attribute" (RFC 4760 §3). An MP_REACH_NLRI with an unusable next hop has routes of its own.
fn expected(code: u8, row: &Row, context: &DecodeContext, routes: Routes) -> String {
    match row.want(context) {
        Want::Accept => "accept".to_owned(),
        Want::Discard => format!("discard {code}"),
        Want::Withdraw(0) if routes != Routes::Nlri => "accept".to_owned(),
        Want::Withdraw(subcode) if routes == Routes::None && code != 14 => {
            format!("reset 3/{subcode} {}", row.data())
        }
        Want::Withdraw(_) => format!("withdraw {code}"),
        Want::Reset(subcode) => format!("reset 3/{subcode} {}", row.data()),
    }
}

/// Each row in each kind of session, beside NLRI, beside an MP_REACH_NLRI and without routes.
#[test]
fn every_attribute_in_every_kind_of_session() {
    let mut count = 0;
    for kind in kinds() {
        for (code, row) in all_rows().filter(|(_, row)| row.is_for(&kind)) {
            for routes in [Routes::Nlri, Routes::Reach, Routes::None] {
                if routes == Routes::Reach && matches!(code, 14 | 15) {
                    continue;
                }
                let context = row.context(&kind);
                let found = outcome(&with(row.octets, &context, routes), &context);
                let expected = expected(code, row, &kind, routes);
                let rows::Rule { section, says } = row.rule;
                assert_eq!(
                    found, expected,
                    "{} with {routes:?}, external {}, asn4 {}: {section}: {says}",
                    row.octets, kind.external, kind.asn4
                );
                count += 1;
            }
        }
    }
    assert!(count > 1500, "{count}");
}

/// No attribute is without rows: for each one that the codec recognises, in each kind of session, a right one,
/// both bits of the flags wrong, Partial where it must be 0, and the lengths around the right one.
#[test]
fn no_attribute_is_without_rows() {
    let codes: Vec<u8> = table::ATTRIBUTES.iter().map(|spec| spec.code).collect();
    let with_rows: Vec<u8> = rows::RECOGNISED.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, with_rows);
    for row in rows::NOT_RECOGNISED {
        assert!(table::spec(hex(row.octets)[1]).is_none(), "{} is recognised", row.octets);
    }
    for kind in kinds() {
        for (spec, (_, rows)) in table::ATTRIBUTES.iter().zip(rows::RECOGNISED) {
            let octets: Vec<Vec<u8>> =
                rows.iter().filter(|row| row.is_for(&kind)).map(|row| hex(row.octets)).collect();
            let has = |what: &str, test: &dyn Fn(&[u8]) -> bool| {
                assert!(octets.iter().any(|row| test(row)), "{}: no row with {what}, {kind:?}", spec.name);
            };
            let right = |row: &[u8]| spec.allows_flags(row[0]);
            let length = |row: &[u8]| row.len() - 3;
            has("what is right", &|row| right(row) && spec.length.allows(length(row), kind.asn4));
            has("a wrong Optional bit", &|row| (row[0] ^ spec.flags) & 0xc0 == 0x80);
            has("a wrong Transitive bit", &|row| (row[0] ^ spec.flags) & 0xc0 == 0x40);
            if spec.flags != 0xc0 {
                has("a wrong Partial bit", &|row| row[0] == spec.flags | 0x20);
            }
            let least = (0..64).find(|length| spec.length.allows(*length, kind.asn4)).unwrap();
            // A path has no greatest length.
            if !matches!(spec.code, 2 | 17) {
                has("a length too great or in between", &|row| right(row) && length(row) > least);
                if least > 0 {
                    has("no octet", &|row| right(row) && length(row) == 0);
                }
                if least > 1 {
                    has("a length too small", &|row| right(row) && (1..least).contains(&length(row)));
                }
            }
        }
    }
}

/// What the rows say of themselves: a type and a length that are right, and a rule.
#[test]
fn every_row_is_one_attribute_and_has_its_rule() {
    for (code, row) in all_rows() {
        let octets = hex(row.octets);
        let length = match octets[..] {
            [flags, _, high, low, ..] if flags & 0x10 != 0 => {
                4 + usize::from(u16::from_be_bytes([high, low]))
            }
            _ => 3 + usize::from(octets[2]),
        };
        assert_eq!((octets[1], octets.len()), (code, length), "{}", row.octets);
        assert!(row.rule.section.starts_with("RFC ") && row.rule.section.contains('§'), "{}", row.octets);
        assert!(!row.rule.says.is_empty());
    }
}

/// Faults of whole messages. The kind of session is no matter.
#[test]
fn every_message_has_the_outcome_of_its_section() {
    for row in messages::MESSAGES {
        let mut attributes = row.attributes.to_owned();
        for (letter, text) in [("O", ORIGIN), ("P", AS_PATH), ("N", NEXT_HOP), ("R", REACH)] {
            attributes = attributes.replace(letter, text);
        }
        let octets = update(row.withdrawn, &attributes, row.nlri);
        for context in [external(), internal()] {
            let rows::Rule { section, says } = row.rule;
            assert_eq!(outcome(&octets, &context), row.want, "{row:?}: {section}: {says}");
        }
        if row.want.starts_with("withdraw") && !row.nlri.is_empty() {
            // The NLRI is found by the Total Path Attribute Length, whatever the attributes are.
            let gone = prefixes(&decode(&octets, &external()).unwrap().withdrawn);
            assert!(
                gone.ends_with(&["203.0.113.0/24".into(), "198.51.100.0/24".into()])
                    || row.attributes.contains('R'),
                "{row:?}: {gone:?}"
            );
        }
    }
}

#[test]
fn unknown_attributes_by_their_flags() {
    let unknown = |attribute: &str| {
        decode(&with(attribute, &external(), Routes::Nlri), &external())
            .map(|update| update.attributes.unknown)
    };
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

/// RFC 7606 §3 (d): with routes in both places all of them go when NEXT_HOP is missing. §3 (g): the first one
/// counts. §5.2: a discard does not end the session, and routes of a family that is not ours are routes.
#[test]
fn what_is_left_of_a_faulty_message() {
    let gone = |attributes: &str, nlri| {
        prefixes(&decode(&update("", attributes, nlri), &external()).unwrap().withdrawn)
    };
    let without_next_hop = [ORIGIN, AS_PATH, REACH].concat();
    assert_eq!(gone(&without_next_hop, NLRI), ["203.0.113.0/24", "198.51.100.0/24", "2001:db8:1::/48"]);
    let kept = |attributes: &str| {
        let all = [ORIGIN, AS_PATH, NEXT_HOP, attributes].concat();
        decode(&update("", &all, NLRI), &external()).unwrap().attributes
    };
    assert_eq!(kept("800404 00000001 800404 00000002 800403 000000").med, Some(1));
    assert_eq!(kept("c0fe01 01 c0fe01 02").unknown.len(), 1);
    assert!(kept("400600 400601 00").atomic_aggregate);
    let lone = decode(&update("", "400601 00", ""), &external()).unwrap();
    assert_eq!((lone.issues.len(), lone.end_of_rib), (1, None));
    let foreign = update("", "400101 03 800e0d 0001 80 04 0a000001 00 18 cb0071", "");
    assert!(decode(&foreign, &external()).unwrap().announced.is_empty());
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
