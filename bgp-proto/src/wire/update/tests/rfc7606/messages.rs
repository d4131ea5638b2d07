//! RFC 7606 as data: faults that are not those of one attribute. Each row is a whole UPDATE.

use super::rows::Rule;

/// An UPDATE by its three fields, and its outcome in any session with AS numbers of four octets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) withdrawn: &'static str,
    /// `O`, `P`, `N` and `R` stand for right ORIGIN, AS_PATH, NEXT_HOP and MP_REACH_NLRI attributes.
    pub(super) attributes: &'static str,
    pub(super) nlri: &'static str,
    /// As `outcome` has it.
    pub(super) want: &'static str,
    pub(super) rule: Rule,
}

const fn row(
    withdrawn: &'static str,
    attributes: &'static str,
    nlri: &'static str,
    want: &'static str,
    rule: Rule,
) -> Row {
    Row { withdrawn, attributes, nlri, want, rule }
}

const fn rule(section: &'static str, says: &'static str) -> Rule {
    Rule { section, says }
}

const MANDATORY: Rule = rule(
    "RFC 7606 §3 (d)",
    "If any of the well-known mandatory attributes are not present in an UPDATE message, then \
     \"treat-as-withdraw\" MUST be used",
);
const TWICE: Rule = rule(
    "RFC 7606 §3 (g)",
    "If any other attribute (whether recognized or unrecognized) appears more than once in an UPDATE message, \
     then all the occurrences of the attribute other than the first one SHALL be discarded and the UPDATE message \
     will continue to be processed",
);
const MP_TWICE: Rule = rule(
    "RFC 7606 §3 (g)",
    "If the MP_REACH_NLRI attribute or the MP_UNREACH_NLRI attribute appears more than once in the UPDATE message, \
     then a NOTIFICATION message MUST be sent with the Error Subcode \"Malformed Attribute List\"",
);
const STRONGEST: Rule =
    rule("RFC 7606 §3 (h)", "Otherwise, the approach with the strongest action MUST be used");
const FIELDS: Rule = rule(
    "RFC 7606 §3 (i), §5.3",
    "The Withdrawn Routes field MUST be checked for syntactic correctness in the same manner as the NLRI field",
);
const UNREADABLE: Rule = rule(
    "RFC 7606 §3 (j)",
    "in order to use the approach of \"treat-as-withdraw\", the entire NLRI field and/or the MP_REACH_NLRI and \
     MP_UNREACH_NLRI attributes need to be successfully parsed",
);
const TOO_LONG: Rule = rule(
    "RFC 7606 §4",
    "the length of the last encountered path attribute would cause the Total Attribute Length to be exceeded",
);
const TOO_FEW: Rule = rule(
    "RFC 7606 §4",
    "fewer than three octets remain (or fewer than four octets, if the Attribute Flags field has the Extended \
     Length bit set) when beginning to parse the attribute",
);
const NO_ROUTES: Rule = rule(
    "RFC 7606 §5.2",
    "if any path attribute errors are encountered in such an UPDATE message and if any encountered error specifies \
     an error-handling approach other than \"attribute discard\", then the \"session reset\" approach MUST be used",
);
const ANY_POSITION: Rule = rule(
    "RFC 7606 §5.1",
    "an implementation MUST still be prepared to receive these fields in any position or combination",
);

/// Two prefixes.
const TWO: &str = "18 cb0071 18 c63364";

pub(super) const MESSAGES: &[Row] = &[
    row("", "PN", TWO, "withdraw 1", MANDATORY),
    row("", "ON", TWO, "withdraw 2", MANDATORY),
    row("", "OP", TWO, "withdraw 3", MANDATORY),
    row("", "", TWO, "withdraw 1 2 3", MANDATORY),
    row("18 c00002", "", TWO, "withdraw 1 2 3", MANDATORY),
    // With MP_REACH_NLRI alone NEXT_HOP is not mandatory (RFC 4760 §3), and the others are.
    row("", "ROP", "", "accept", MANDATORY),
    row("", "RP", "", "withdraw 1", MANDATORY),
    row("", "RO", "", "withdraw 2", MANDATORY),
    row("", "R", "", "withdraw 1 2", MANDATORY),
    row("", "ROP", TWO, "withdraw 3", MANDATORY),
    // Without routes nothing is mandatory.
    row("18 c00002", "", "", "accept", MANDATORY),
    row("", "800f0a 0002 01 30 20010db80001", "", "accept", MANDATORY),
    row("", "O", "", "accept", MANDATORY),
    // The first occurrence counts, whether it is right or wrong.
    row("", "OPN 800404 00000001 800404 00000002", TWO, "discard 4", TWICE),
    row("", "OPN 800404 00000001 800403 000000", TWO, "discard 4", TWICE),
    row("", "OPN 800403 000000 800404 00000002", TWO, "withdraw 4", TWICE),
    row("", "OPN O", TWO, "discard 1", TWICE),
    row("", "OPN P", TWO, "discard 2", TWICE),
    row("", "OPN N", TWO, "discard 3", TWICE),
    row("", "OPN c00804 ffff0001 c00800", TWO, "discard 8", TWICE),
    row("", "OPN c00804 ffff0001 800804 ffff0001", TWO, "discard 8", TWICE),
    row("", "OPN c0fe01 01 c0fe01 02", TWO, "discard 254", TWICE),
    row("", "OPN 80fe01 01 80fe01 02", TWO, "discard 254", TWICE),
    // An occurrence that is discarded is not looked at: not even for being well-known and not recognised.
    row("", "OPN c0fe01 01 40fe01 02", TWO, "discard 254", TWICE),
    row("", "ROP R", "", "reset 3/1", MP_TWICE),
    row("", "ROPN R", TWO, "reset 3/1", MP_TWICE),
    row("", "800f03 0002 01 800f03 0002 01", "", "reset 3/1", MP_TWICE),
    row("", "800f03 0001 80 800f03 0002 01", "", "reset 3/1", MP_TWICE),
    row("", "OPN 800f03 4004 47 800f03 4004 47", TWO, "reset 3/1", MP_TWICE),
    row("", "OPN 800403 000000 800f03 0002 01 800f00", TWO, "reset 3/1", MP_TWICE),
    row("", "OPN 400601 00 800400", TWO, "withdraw 4", STRONGEST),
    row("", "OPN 800400 400601 00", TWO, "withdraw 4", STRONGEST),
    row("", "OPN 800400 40fe00", TWO, "reset 3/2 40fe00", STRONGEST),
    row("", "OPN 40fe00 800400", TWO, "reset 3/2 40fe00", STRONGEST),
    row("", "OPN 400601 00 800e00", TWO, "reset 3/9 800e00", STRONGEST),
    row("", "400102 0000 400202 0200 400303 000000", TWO, "withdraw 1 2 3", STRONGEST),
    row("21 c000020000", "OPN", TWO, "reset 3/10", FIELDS),
    row("ff", "OPN", TWO, "reset 3/10", FIELDS),
    row("18 c000", "", "", "reset 3/10", FIELDS),
    row("18 c00002 08", "", "", "reset 3/10", FIELDS),
    row("", "OPN", "21 c000020000", "reset 3/10", FIELDS),
    row("", "OPN", "18 c00002 08", "reset 3/10", FIELDS),
    row("", "OPN", "00", "accept", FIELDS),
    row("00", "", "", "accept", FIELDS),
    row("", "400101 03", "18 c00002 21", "reset 3/10", UNREADABLE),
    row("", "ORPN 400101 03", "21", "reset 3/10", UNREADABLE),
    row("", "OPN 800e40 0002 01", TWO, "reset 3/1 800e40000201", UNREADABLE),
    row("", "OPN 800f40 0002 01", TWO, "reset 3/1 800f40000201", UNREADABLE),
    row("", "OPN c00808 ffff0001", TWO, "withdraw 8", TOO_LONG),
    row("", "OPN 800404 00", TWO, "withdraw 4", TOO_LONG),
    row("", "OPN c0fe05 00", TWO, "withdraw 254", TOO_LONG),
    row("", "OPN d008ffff", TWO, "withdraw 8", TOO_LONG),
    row("", "ON 4002ff", TWO, "withdraw 2 2", TOO_LONG),
    row("", "O 4002ff 0201", TWO, "withdraw 2 2 3", TOO_LONG),
    row("", "OPN 40fe05 00", TWO, "withdraw 254", TOO_LONG),
    row("", "OPN c008", TWO, "withdraw 8", TOO_FEW),
    row("", "OPN c0", TWO, "withdraw 0", TOO_FEW),
    row("", "OPN d00800", TWO, "withdraw 8", TOO_FEW),
    row("", "400120 00", "", "reset 3/1 40012000", NO_ROUTES),
    row("", "400101 03", "", "reset 3/6 40010103", NO_ROUTES),
    row("18 cb0071", "400101 03", "", "reset 3/6 40010103", NO_ROUTES),
    row("", "400101 03 800f0a 0002 01 30 20010db80001", "", "reset 3/6 40010103", NO_ROUTES),
    row(
        "",
        "400101 03 800e15 0002 01 10 20010db8000000000000000000000001 00",
        "",
        "reset 3/6 40010103",
        NO_ROUTES,
    ),
    // The first fault is the one that is told.
    row("", "400101 03 400202 0200", "", "reset 3/6 40010103", NO_ROUTES),
    row("", "P 400101 03 R", "", "withdraw 1", ANY_POSITION),
    row("", "P R O", "", "accept", ANY_POSITION),
    row("18 c00002", "N 800f0a 0002 01 30 20010db80002 P R O", TWO, "accept", ANY_POSITION),
];
