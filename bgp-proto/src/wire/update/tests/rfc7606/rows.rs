//! RFC 7606 as data: one row a defect of one attribute, with what is done about it in each kind of session,
//! and the sentence that says so.

mod mp;
mod optional;
mod well_known;

use Want::{Accept, Reset};
use mp::{MP_REACH_ROWS, MP_UNREACH_ROWS};
use optional::*;
use well_known::*;

/// What an RFC says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Its number and section.
    pub(super) section: &'static str,
    /// Its words; in brackets, what many of them come to.
    pub(super) says: &'static str,
}

/// What is expected where there are routes in the same message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// No fault.
    Accept,
    /// Attribute discard.
    Discard,
    /// Treat-as-withdraw; with no routes to withdraw UPDATE Message Error with this subcode (RFC 7606 §5.2).
    Withdraw(u8),
    /// UPDATE Message Error with this subcode and the whole attribute as data.
    Reset(u8),
}

/// How wide AS numbers are in the sessions that a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Any,
    Two,
    Four,
}

/// One defect, or none, of one attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Flags, type, length and value.
    pub(super) octets: &'static str,
    pub(super) width: Width,
    /// RFC 8950 was negotiated.
    pub(super) extended_next_hop: bool,
    pub(super) from_external: Want,
    pub(super) from_internal: Want,
    pub(super) rule: Rule,
}

impl Row {
    const fn two(self) -> Self {
        Self { width: Width::Two, ..self }
    }

    const fn four(self) -> Self {
        Self { width: Width::Four, ..self }
    }

    const fn extended(self) -> Self {
        Self { extended_next_hop: true, ..self }
    }
}

/// The same from external and internal peers.
const fn row(octets: &'static str, want: Want, rule: Rule) -> Row {
    apart(octets, want, want, rule)
}

const fn apart(octets: &'static str, from_external: Want, from_internal: Want, rule: Rule) -> Row {
    Row { octets, width: Width::Any, extended_next_hop: false, from_external, from_internal, rule }
}

const fn rule(section: &'static str, says: &'static str) -> Rule {
    Rule { section, says }
}

/// Subcodes of UPDATE Message Error (RFC 4271 §6.3).
const FLAGS: u8 = 4;
const LENGTH: u8 = 5;
const ORIGIN: u8 = 6;
const OPTIONAL: u8 = 9;
const AS_PATH: u8 = 11;

/// The right ones need no sentence but the format's own.
const FORMAT: Rule = rule("RFC 4271 §4.3", "(the formats of the path attributes)");
const FLAG_BITS: Rule = rule(
    "RFC 7606 §3 (c)",
    "If the value of either the Optional or Transitive bits in the Attribute Flags is in conflict with their \
     specified values, then the attribute MUST be treated as malformed and the \"treat-as-withdraw\" approach \
     used, unless the specification for the attribute mandates different handling for incorrect Attribute Flags",
);
/// RFC 7606 §3 (c) names two bits; the third one is RFC 4271's, and its error the same one.
const PARTIAL_BIT: Rule = rule(
    "RFC 4271 §4.3",
    "For well-known attributes and for optional non-transitive attributes, the Partial bit MUST be set to 0",
);
const UNUSED_BITS: Rule =
    rule("RFC 4271 §4.3", "They MUST be zero when sent and MUST be ignored when received");
const AS_ZERO: Rule = rule(
    "RFC 7607 §2",
    "An UPDATE message that contains the AS number zero in the AS_PATH or AGGREGATOR attribute MUST be \
     considered as malformed and be handled by the procedures specified in [RFC7606]",
);

/// Every attribute that is recognised.
pub(super) const RECOGNISED: &[(u8, &[Row])] = &[
    (1, ORIGIN_ROWS),
    (2, AS_PATH_ROWS),
    (3, NEXT_HOP_ROWS),
    (4, MED_ROWS),
    (5, LOCAL_PREF_ROWS),
    (6, ATOMIC_AGGREGATE_ROWS),
    (7, AGGREGATOR_ROWS),
    (8, COMMUNITIES_ROWS),
    (9, ORIGINATOR_ID_ROWS),
    (10, CLUSTER_LIST_ROWS),
    (14, MP_REACH_ROWS),
    (15, MP_UNREACH_ROWS),
    (16, EXTENDED_COMMUNITIES_ROWS),
    (17, AS4_PATH_ROWS),
    (18, AS4_AGGREGATOR_ROWS),
    (25, IPV6_EXTENDED_COMMUNITIES_ROWS),
    (32, LARGE_COMMUNITY_ROWS),
    (35, ONLY_TO_CUSTOMER_ROWS),
];

/// Subcode Unrecognized Well-known Attribute.
const UNRECOGNIZED: u8 = 2;
const CARRIED: Rule =
    rule("RFC 4271 §5", "Paths with unrecognized transitive optional attributes SHOULD be accepted");
const IGNORED: Rule = rule(
    "RFC 4271 §5",
    "Unrecognized non-transitive optional attributes MUST be quietly ignored and not passed along to other BGP peers",
);
const WELL_KNOWN: Rule = rule(
    "RFC 4271 §6.3",
    "then the Error Subcode MUST be set to Unrecognized Well-known Attribute. The Data field MUST contain the \
     unrecognized attribute (type, length, and value)",
);

/// Attributes that a node speaker has no use for are opaque, whatever their content: VU#347067,
/// CVE-2023-38802, CVE-2024-31948, CVE-2024-44070, frr#19336, frr#22651. RFC 7606 §7.13 (traffic engineering),
/// §7.16 (ATTR_SET) and the RFCs of PMSI, tunnel encapsulation, AIGP, BGP-LS and prefix SID bind those who
/// recognise them.
pub(super) const NOT_RECOGNISED: &[Row] = &[
    row("c01604 00060000", Accept, CARRIED),
    row("801609 00060000000a000002", Accept, IGNORED),
    row("c01700", Accept, CARRIED),
    row("c01703 000700", Accept, CARRIED),
    row("c01706 0007 0004 01ff", Accept, CARRIED),
    row("801704 00070000", Accept, IGNORED),
    row("801803 000000", Accept, IGNORED),
    row("801a00", Accept, IGNORED),
    row("801a0d 0100050000000000000000000a", Accept, IGNORED),
    row("c01a01 01", Accept, CARRIED),
    row("801d05 040000ff00", Accept, IGNORED),
    row("c01d01 04", Accept, CARRIED),
    row("c02706 0001010001ff", Accept, CARRIED),
    row("c02802 0100", Accept, CARRIED),
    row("c02806 0100ff000000", Accept, CARRIED),
    row("c02825 00000000000000000000000000000000000000000000000000000000000000000000000000", Accept, CARRIED),
    row("802809 010007000000000001", Accept, IGNORED),
    row("c08000", Accept, CARRIED),
    row("c08005 0000fde9ff", Accept, CARRIED),
    row("80fd04 deadbeef", Accept, IGNORED),
    row("80fd00", Accept, IGNORED),
    row("a0fd00", Accept, IGNORED),
    row("c0fe04 deadbeef", Accept, CARRIED),
    row("c0ff00", Accept, CARRIED),
    row("dfff0001 07", Accept, CARRIED),
    // CVE-2026-41642: RFC 7606 leaves this one to RFC 4271.
    row("40fe01 07", Reset(UNRECOGNIZED), WELL_KNOWN),
    row("00fe01 07", Reset(UNRECOGNIZED), WELL_KNOWN),
    row("600c00", Reset(UNRECOGNIZED), WELL_KNOWN),
    row("401604 00060000", Reset(UNRECOGNIZED), WELL_KNOWN),
    row("402801 00", Reset(UNRECOGNIZED), WELL_KNOWN),
];
