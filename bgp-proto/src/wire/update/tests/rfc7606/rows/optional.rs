//! Optional attributes.

use super::Want::{Accept, Discard, Withdraw};
use super::*;

const SECTION_7_7_TWO: Rule = rule(
    "RFC 7606 §7.7",
    "Its length is not 6 (when the 4-octet AS number capability is not advertised to or not received from the peer)",
);
const SECTION_7_7_FOUR: Rule = rule(
    "RFC 7606 §7.7",
    "Its length is not 8 (when the 4-octet AS number capability is both advertised to and received from the peer)",
);
pub(super) const AGGREGATOR_ROWS: &[Row] = &[
    row("c00708 0000fde9 0a000002", Accept, FORMAT).four(),
    row("e00708 0000fde9 0a000002", Accept, FORMAT).four(),
    row("c00706 fde9 0a000002", Accept, FORMAT).two(),
    row("c00706 fde9 0a000002", Discard, SECTION_7_7_FOUR).four(),
    row("c00707 0000fde90a0000", Discard, SECTION_7_7_FOUR).four(),
    row("c00709 0000fde90a00000200", Discard, SECTION_7_7_FOUR).four(),
    row("c00708 0000fde9 0a000002", Discard, SECTION_7_7_TWO).two(),
    row("c00705 fde90a0000", Discard, SECTION_7_7_TWO).two(),
    row("c00707 fde90a00000200", Discard, SECTION_7_7_TWO).two(),
    row("c00700", Discard, SECTION_7_7_FOUR),
    row("c00708 00000000 0a000002", Discard, AS_ZERO).four(),
    row("c00706 0000 0a000002", Discard, AS_ZERO).two(),
    row("800708 0000fde9 0a000002", Withdraw(FLAGS), FLAG_BITS).four(),
    row("800706 fde9 0a000002", Withdraw(FLAGS), FLAG_BITS).two(),
    row("400708 0000fde9 0a000002", Withdraw(FLAGS), FLAG_BITS).four(),
    row("400706 fde9 0a000002", Withdraw(FLAGS), FLAG_BITS).two(),
];

const SECTION_7_8: Rule = rule(
    "RFC 7606 §7.8",
    "The Community attribute SHALL be considered malformed if its length is not a non-zero multiple of 4",
);
pub(super) const COMMUNITIES_ROWS: &[Row] = &[
    row("c00804 ffff0001", Accept, FORMAT),
    row("e00804 ffff0001", Accept, FORMAT),
    row("c00808 ffff0001 00000000", Accept, FORMAT),
    row("c00800", Withdraw(LENGTH), SECTION_7_8),
    row("c00803 ffff00", Withdraw(LENGTH), SECTION_7_8),
    row("c00805 ffff000100", Withdraw(LENGTH), SECTION_7_8),
    row("800804 ffff0001", Withdraw(FLAGS), FLAG_BITS),
    row("400804 ffff0001", Withdraw(FLAGS), FLAG_BITS),
];

const SECTION_7_9: Rule = rule(
    "RFC 7606 §7.9",
    "if the ORIGINATOR_ID attribute is received from an external neighbor, it SHALL be discarded using the \
     approach of \"attribute discard\"; or if received from an internal neighbor, it SHALL be considered malformed \
     if its length is not equal to 4",
);
/// Nothing is malformed but the length; a BGP identifier is not 0 all the same, and the routes stay.
const IDENTIFIER_ZERO: Rule =
    rule("RFC 6286 §2.1", "The BGP Identifier is a 4-octet, unsigned, non-zero integer");
pub(super) const ORIGINATOR_ID_ROWS: &[Row] = &[
    apart("800904 0a000002", Discard, Accept, SECTION_7_9),
    apart("800903 0a0000", Discard, Withdraw(LENGTH), SECTION_7_9),
    apart("800905 0a00000200", Discard, Withdraw(LENGTH), SECTION_7_9),
    apart("800900", Discard, Withdraw(LENGTH), SECTION_7_9),
    row("800904 00000000", Discard, IDENTIFIER_ZERO),
    apart("c00904 0a000002", Discard, Withdraw(FLAGS), FLAG_BITS),
    apart("000904 0a000002", Discard, Withdraw(FLAGS), FLAG_BITS),
    apart("a00904 0a000002", Discard, Withdraw(FLAGS), PARTIAL_BIT),
];

const SECTION_7_10: Rule = rule(
    "RFC 7606 §7.10",
    "if the CLUSTER_LIST attribute is received from an external neighbor, it SHALL be discarded using the \
     approach of \"attribute discard\"; or if received from an internal neighbor, it SHALL be considered malformed \
     if its length is not a non-zero multiple of 4",
);
pub(super) const CLUSTER_LIST_ROWS: &[Row] = &[
    apart("800a08 0a000002 0a000003", Discard, Accept, SECTION_7_10),
    apart("800a00", Discard, Withdraw(LENGTH), SECTION_7_10),
    apart("800a03 0a0000", Discard, Withdraw(LENGTH), SECTION_7_10),
    apart("800a05 0a00000200", Discard, Withdraw(LENGTH), SECTION_7_10),
    apart("c00a04 0a000002", Discard, Withdraw(FLAGS), FLAG_BITS),
    apart("000a04 0a000002", Discard, Withdraw(FLAGS), FLAG_BITS),
    apart("a00a04 0a000002", Discard, Withdraw(FLAGS), PARTIAL_BIT),
];

const SECTION_7_14: Rule = rule(
    "RFC 7606 §7.14",
    "The Extended Community attribute SHALL be considered malformed if its length is not a non-zero multiple of 8",
);
const UNKNOWN_TYPE: Rule = rule(
    "RFC 7606 §7.14",
    "a BGP speaker MUST NOT treat an unrecognized Extended Community Type or Sub-Type as an error",
);
pub(super) const EXTENDED_COMMUNITIES_ROWS: &[Row] = &[
    row("c01008 0002fde900000001", Accept, FORMAT),
    row("e01008 0002fde900000001", Accept, FORMAT),
    row("c01008 3fff000000000000", Accept, UNKNOWN_TYPE),
    row("c01000", Withdraw(LENGTH), SECTION_7_14),
    row("c01007 0002fde9000000", Withdraw(LENGTH), SECTION_7_14),
    row("c01009 0002fde90000000100", Withdraw(LENGTH), SECTION_7_14),
    row("801008 0002fde900000001", Withdraw(FLAGS), FLAG_BITS),
    row("401008 0002fde900000001", Withdraw(FLAGS), FLAG_BITS),
];

const SECTION_7_15: Rule = rule(
    "RFC 7606 §7.15",
    "The IPv6 Extended Community attribute SHALL be considered malformed if its length is not a non-zero \
     multiple of 20",
);
pub(super) const IPV6_EXTENDED_COMMUNITIES_ROWS: &[Row] = &[
    row("c01914 0002 20010db8000000000000000000000001 0001", Accept, FORMAT),
    row("c01914 3fff 20010db8000000000000000000000001 0001", Accept, UNKNOWN_TYPE),
    row("c01900", Withdraw(LENGTH), SECTION_7_15),
    row("c01908 0002fde900000001", Withdraw(LENGTH), SECTION_7_15),
    row("c01915 0002 20010db8000000000000000000000001 0001 00", Withdraw(LENGTH), SECTION_7_15),
    row("801914 0002 20010db8000000000000000000000001 0001", Withdraw(FLAGS), FLAG_BITS),
    row("401914 0002 20010db8000000000000000000000001 0001", Withdraw(FLAGS), FLAG_BITS),
];

const AS4_FROM_NEW: Rule = rule(
    "RFC 6793 §6",
    "A NEW BGP speaker that receives the AS4_PATH attribute or the AS4_AGGREGATOR attribute in an UPDATE message \
     from another NEW BGP speaker MUST discard the path attribute and continue processing the UPDATE message",
);
const AS4_PATH: Rule = rule(
    "RFC 6793 §6",
    "A NEW BGP speaker that receives a malformed AS4_PATH attribute in an UPDATE message from an OLD BGP speaker \
     MUST discard the attribute and continue processing the UPDATE message",
);
const AS4_PATH_SHORT: Rule = rule(
    "RFC 6793 §6",
    "the attribute length is not a multiple of two or is too small (i.e., less than 6) for the attribute to carry \
     at least one AS number",
);
pub(super) const AS4_PATH_ROWS: &[Row] = &[
    row("c01106 0201 00030d40", Discard, AS4_FROM_NEW).four(),
    row("c01106 0001 00030d40", Discard, AS4_FROM_NEW).four(),
    row("c01100", Discard, AS4_FROM_NEW).four(),
    row("c01105 0201 00030d", Discard, AS4_FROM_NEW).four(),
    row("c01106 0201 00030d40", Accept, FORMAT).two(),
    row("e01106 0201 00030d40", Accept, FORMAT).two(),
    row("c01106 0001 00030d40", Discard, AS4_PATH).two(),
    row("c01106 0501 00030d40", Discard, AS4_PATH).two(),
    row("c01106 02ff 00030d40", Discard, AS4_PATH).two(),
    row("c01106 0200 00030d40", Discard, AS4_PATH).two(),
    row("c0110b 0201 00030d40 0101 00030d", Discard, AS4_PATH).two(),
    row("c01106 0201 00000000", Discard, AS_ZERO).two(),
    row("c01100", Discard, AS4_PATH_SHORT).two(),
    row("c01101 02", Discard, AS4_PATH_SHORT).two(),
    row("c01102 0200", Discard, AS4_PATH_SHORT).two(),
    row("c01104 0201 0003", Discard, AS4_PATH_SHORT).two(),
    row("c01107 0201 00030d40 02", Discard, AS4_PATH_SHORT).two(),
    row("801106 0201 00030d40", Withdraw(FLAGS), FLAG_BITS),
    row("401106 0201 00030d40", Withdraw(FLAGS), FLAG_BITS),
];

const AS4_AGGREGATOR: Rule = rule(
    "RFC 6793 §6",
    "The AS4_AGGREGATOR attribute in an UPDATE message SHALL be considered malformed if the attribute length is \
     not 8",
);
pub(super) const AS4_AGGREGATOR_ROWS: &[Row] = &[
    row("c01208 00030d40 0a000002", Discard, AS4_FROM_NEW).four(),
    row("c01200", Discard, AS4_FROM_NEW).four(),
    row("c01207 0000fde90a0000", Discard, AS4_FROM_NEW).four(),
    row("c01209 0000fde90a00000200", Discard, AS4_FROM_NEW).four(),
    row("c01208 00030d40 0a000002", Accept, FORMAT).two(),
    row("e01208 00030d40 0a000002", Accept, FORMAT).two(),
    row("c01200", Discard, AS4_AGGREGATOR).two(),
    row("c01207 00030d400a0000", Discard, AS4_AGGREGATOR).two(),
    row("c01209 00030d400a00000200", Discard, AS4_AGGREGATOR).two(),
    row("c01208 00000000 0a000002", Discard, AS_ZERO).two(),
    row("801208 0000fde9 0a000002", Withdraw(FLAGS), FLAG_BITS),
    row("401208 0000fde9 0a000002", Withdraw(FLAGS), FLAG_BITS),
];

const LARGE: Rule = rule(
    "RFC 8092 §6",
    "A BGP Large Communities attribute SHALL be considered malformed if the length of the BGP Large Communities \
     Attribute value, expressed in octets, is not a non-zero multiple of 12",
);
pub(super) const LARGE_COMMUNITY_ROWS: &[Row] = &[
    row("c0200c 0000fde9 00000001 00000002", Accept, FORMAT),
    row("e0200c 0000fde9 00000001 00000002", Accept, FORMAT),
    row("c02000", Withdraw(LENGTH), LARGE),
    row("c0200b 0000fde9 00000001 000000", Withdraw(LENGTH), LARGE),
    row("c0200d 0000fde9 00000001 00000002 00", Withdraw(LENGTH), LARGE),
    row("80200c 0000fde9 00000001 00000002", Withdraw(FLAGS), FLAG_BITS),
    row("40200c 0000fde9 00000001 00000002", Withdraw(FLAGS), FLAG_BITS),
];

const OTC: Rule =
    rule("RFC 9234 §5", "The OTC Attribute is considered malformed if the length value is not 4");
pub(super) const ONLY_TO_CUSTOMER_ROWS: &[Row] = &[
    row("c02304 0000fde9", Accept, FORMAT),
    row("e02304 0000fde9", Accept, FORMAT),
    row("c02300", Withdraw(LENGTH), OTC),
    row("c02303 0000fd", Withdraw(LENGTH), OTC),
    row("c02305 0000fde900", Withdraw(LENGTH), OTC),
    // No RFC names AS 0 in it; it is nobody's number (RFC 7607), so nobody can have set it.
    row("c02304 00000000", Withdraw(OPTIONAL), AS_ZERO),
    row("802304 0000fde9", Withdraw(FLAGS), FLAG_BITS),
    row("402304 0000fde9", Withdraw(FLAGS), FLAG_BITS),
];
