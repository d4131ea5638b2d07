//! Well-known attributes and MULTI_EXIT_DISC.

use super::Want::{Accept, Discard, Withdraw};
use super::*;

const SECTION_7_1: Rule = rule(
    "RFC 7606 §7.1",
    "The attribute is considered malformed if its length is not 1 or if it has an undefined value",
);
pub(super) const ORIGIN_ROWS: &[Row] = &[
    row("400101 00", Accept, FORMAT),
    row("400101 01", Accept, FORMAT),
    row("400101 02", Accept, FORMAT),
    row("50010001 00", Accept, FORMAT),
    row("4f0101 00", Accept, UNUSED_BITS),
    row("400101 03", Withdraw(ORIGIN), SECTION_7_1),
    row("400101 04", Withdraw(ORIGIN), SECTION_7_1),
    row("400101 ff", Withdraw(ORIGIN), SECTION_7_1),
    row("400100", Withdraw(LENGTH), SECTION_7_1),
    row("400102 0000", Withdraw(LENGTH), SECTION_7_1),
    row("c00101 00", Withdraw(FLAGS), FLAG_BITS),
    row("000101 00", Withdraw(FLAGS), FLAG_BITS),
    row("800101 00", Withdraw(FLAGS), FLAG_BITS),
    row("600101 00", Withdraw(FLAGS), PARTIAL_BIT),
];

const SECTION_7_2_KIND: Rule = rule(
    "RFC 7606 §7.2",
    "An AS_PATH is considered malformed if an unrecognized segment type is encountered or if it contains a \
     malformed segment",
);
const SECTION_7_2_OVERRUN: Rule = rule(
    "RFC 7606 §7.2",
    "There is an overrun where the Path Segment Length field of the last segment encountered would cause the \
     Attribute Length to be exceeded",
);
const SECTION_7_2_UNDERRUN: Rule = rule(
    "RFC 7606 §7.2",
    "There is an underrun where after the last successfully parsed segment there is only a single octet remaining",
);
const SECTION_7_2_EMPTY: Rule = rule("RFC 7606 §7.2", "It has a Path Segment Length field of zero");
const MAY_BE_EMPTY: Rule = rule(
    "RFC 7606 §4",
    "Of the path attributes considered in this specification, only AS_PATH and ATOMIC_AGGREGATE may validly \
     have an attribute length of zero",
);
const CONFEDERATION: Rule = rule("RFC 5065 §5", "it SHALL treat the message as having a malformed AS_PATH");
pub(super) const AS_PATH_ROWS: &[Row] = &[
    row("400206 0201 0000fde9", Accept, FORMAT).four(),
    row("400204 0201 fde9", Accept, FORMAT).two(),
    row("400206 0101 0000fde9", Accept, FORMAT).four(),
    row("400204 0101 fde9", Accept, FORMAT).two(),
    row("400200", Accept, MAY_BE_EMPTY),
    row("400206 0001 0000fde9", Withdraw(AS_PATH), SECTION_7_2_KIND).four(),
    row("400204 0001 fde9", Withdraw(AS_PATH), SECTION_7_2_KIND).two(),
    row("400206 0501 0000fde9", Withdraw(AS_PATH), SECTION_7_2_KIND).four(),
    row("400204 ff01 fde9", Withdraw(AS_PATH), SECTION_7_2_KIND).two(),
    row("400202 0200", Withdraw(AS_PATH), SECTION_7_2_EMPTY),
    row("400208 0201 0000fde9 0200", Withdraw(AS_PATH), SECTION_7_2_EMPTY).four(),
    row("400206 0201 fde9 0200", Withdraw(AS_PATH), SECTION_7_2_EMPTY).two(),
    row("400206 02ff 0000fde9", Withdraw(AS_PATH), SECTION_7_2_OVERRUN),
    row("400205 0201 0000fd", Withdraw(AS_PATH), SECTION_7_2_OVERRUN).four(),
    row("400203 0201 fd", Withdraw(AS_PATH), SECTION_7_2_OVERRUN).two(),
    // The width of the session decides, and no other one is tried.
    row("400204 0201 fde9", Withdraw(AS_PATH), SECTION_7_2_OVERRUN).four(),
    row("400206 0201 1000fde9", Withdraw(AS_PATH), SECTION_7_2_KIND).two(),
    row("400207 0201 0000fde9 02", Withdraw(AS_PATH), SECTION_7_2_UNDERRUN).four(),
    row("400205 0201 fde9 02", Withdraw(AS_PATH), SECTION_7_2_UNDERRUN).two(),
    row("400201 02", Withdraw(AS_PATH), SECTION_7_2_UNDERRUN),
    row("400206 0201 00000000", Withdraw(AS_PATH), AS_ZERO).four(),
    row("40020a 0202 0000fde9 00000000", Withdraw(AS_PATH), AS_ZERO).four(),
    row("400204 0201 0000", Withdraw(AS_PATH), AS_ZERO).two(),
    apart("400206 0301 0000fc00", Withdraw(AS_PATH), Accept, CONFEDERATION).four(),
    apart("400204 0401 fc00", Withdraw(AS_PATH), Accept, CONFEDERATION).two(),
    apart("40020c 0201 0000fde9 0401 0000fc00", Withdraw(AS_PATH), Accept, CONFEDERATION).four(),
    row("c00206 0201 0000fde9", Withdraw(FLAGS), FLAG_BITS).four(),
    row("c00204 0201 fde9", Withdraw(FLAGS), FLAG_BITS).two(),
    row("000206 0201 0000fde9", Withdraw(FLAGS), FLAG_BITS).four(),
    row("000204 0201 fde9", Withdraw(FLAGS), FLAG_BITS).two(),
    row("600206 0201 0000fde9", Withdraw(FLAGS), PARTIAL_BIT).four(),
    row("600204 0201 fde9", Withdraw(FLAGS), PARTIAL_BIT).two(),
];

const SECTION_7_3: Rule =
    rule("RFC 7606 §7.3", "The attribute is considered malformed if its length is not 4");
pub(super) const HOST_ADDRESS: Rule = rule(
    "RFC 4271 §6.3, RFC 7606 §3 (e)",
    "Syntactic correctness means that the NEXT_HOP attribute represents a valid IP host address",
);
pub(super) const NEXT_HOP_ROWS: &[Row] = &[
    row("400304 0a000001", Accept, FORMAT),
    row("400303 0a0000", Withdraw(LENGTH), SECTION_7_3),
    row("400305 0a00000100", Withdraw(LENGTH), SECTION_7_3),
    row("400300", Withdraw(LENGTH), SECTION_7_3),
    row("400310 20010db8000000000000000000000001", Withdraw(LENGTH), SECTION_7_3),
    // Without NLRI nobody asks for its value (RFC 4760 §3), so that alone they are no fault.
    row("400304 00000000", Withdraw(0), HOST_ADDRESS),
    row("400304 7f000001", Withdraw(0), HOST_ADDRESS),
    row("400304 e0000001", Withdraw(0), HOST_ADDRESS),
    row("400304 ffffffff", Withdraw(0), HOST_ADDRESS),
    row("c00304 0a000001", Withdraw(FLAGS), FLAG_BITS),
    row("000304 0a000001", Withdraw(FLAGS), FLAG_BITS),
    row("600304 0a000001", Withdraw(FLAGS), PARTIAL_BIT),
];

const SECTION_7_4: Rule =
    rule("RFC 7606 §7.4", "The attribute is considered malformed if its length is not 4");
pub(super) const MED_ROWS: &[Row] = &[
    row("800404 0000000a", Accept, FORMAT),
    row("800404 ffffffff", Accept, FORMAT),
    row("800403 000000", Withdraw(LENGTH), SECTION_7_4),
    row("800405 0000000a00", Withdraw(LENGTH), SECTION_7_4),
    row("800400", Withdraw(LENGTH), SECTION_7_4),
    row("c00404 0000000a", Withdraw(FLAGS), FLAG_BITS),
    row("000404 0000000a", Withdraw(FLAGS), FLAG_BITS),
    row("400404 0000000a", Withdraw(FLAGS), FLAG_BITS),
    row("a00404 0000000a", Withdraw(FLAGS), PARTIAL_BIT),
];

/// From outside it is discarded whatever it is like: §3 (c) gives way, since this is the attribute's own
/// specification. The same in §7.9 and §7.10.
const SECTION_7_5: Rule = rule(
    "RFC 7606 §7.5",
    "if the LOCAL_PREF attribute is received from an external neighbor, it SHALL be discarded using the approach \
     of \"attribute discard\"; or if received from an internal neighbor, it SHALL be considered malformed if its \
     length is not equal to 4",
);
pub(super) const LOCAL_PREF_ROWS: &[Row] = &[
    apart("400504 00000064", Discard, Accept, SECTION_7_5),
    apart("400503 000000", Discard, Withdraw(LENGTH), SECTION_7_5),
    apart("400505 0000006400", Discard, Withdraw(LENGTH), SECTION_7_5),
    apart("400500", Discard, Withdraw(LENGTH), SECTION_7_5),
    apart("c00504 00000064", Discard, Withdraw(FLAGS), FLAG_BITS),
    apart("000504 00000064", Discard, Withdraw(FLAGS), FLAG_BITS),
    apart("600504 00000064", Discard, Withdraw(FLAGS), PARTIAL_BIT),
];

const SECTION_7_6: Rule =
    rule("RFC 7606 §7.6", "The attribute SHALL be considered malformed if its length is not 0");
pub(super) const ATOMIC_AGGREGATE_ROWS: &[Row] = &[
    row("400600", Accept, FORMAT),
    row("400601 00", Discard, SECTION_7_6),
    row("400604 00000000", Discard, SECTION_7_6),
    row("c00600", Withdraw(FLAGS), FLAG_BITS),
    row("000600", Withdraw(FLAGS), FLAG_BITS),
    row("600600", Withdraw(FLAGS), PARTIAL_BIT),
];
