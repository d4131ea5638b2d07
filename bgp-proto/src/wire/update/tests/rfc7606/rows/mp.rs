//! MP_REACH_NLRI and MP_UNREACH_NLRI.

use super::Want::{Accept, Discard, Reset, Withdraw};
use super::well_known::HOST_ADDRESS;
use super::*;

const MP_LENGTH: Rule = rule(
    "RFC 7606 §5.3",
    "The length of the MP_UNREACH_NLRI attribute is less than 3, or the length of the MP_REACH_NLRI attribute is \
     less than 5",
);
const MP_FLAGS: Rule = rule(
    "RFC 7606 §5.3",
    "The attribute flags of the attribute are inconsistent with those specified in [RFC4760]",
);
const MP_PREFIX: Rule =
    rule("RFC 7606 §5.3", "The length of any of the included NLRI is inconsistent with the given AFI/SAFI");
const MP_OVERRUN: Rule = rule(
    "RFC 7606 §5.3",
    "the length of the last NLRI found exceeds the amount of unconsumed data remaining",
);
const SECTION_7_11: Rule = rule(
    "RFC 7606 §7.11",
    "If the Length of Next Hop Network Address field of the MP_REACH attribute is inconsistent with that which \
     was expected, the attribute is considered malformed",
);
const IPV6_NEXT_HOP: Rule = rule(
    "RFC 2545 §3",
    "The value of the Length of Next Hop Network Address field on a MP_REACH_NLRI attribute shall be set to 16, \
     when only a global address is present, or 32 if a link-local address is also included in the Next Hop field",
);
const EXTENDED_NEXT_HOP: Rule = rule(
    "RFC 8950 §3",
    "(IPv4 NLRI has an IPv6 next hop of 16 or 32 octets where the capability was exchanged)",
);
const NOT_NEGOTIATED: Rule = rule(
    "RFC 4760 §8",
    "(what both speakers have advertised is used; the routes of any other <AFI, SAFI> are ignored)",
);
pub(super) const MP_REACH_ROWS: &[Row] = &[
    row("800e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001", Accept, IPV6_NEXT_HOP),
    row(
        "800e2c 0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00 30 20010db80001",
        Accept,
        IPV6_NEXT_HOP,
    ),
    row("800e1c 0002 01 10 20010db8000000000000000000000001 ff 30 20010db80001", Accept, FORMAT),
    row("800e0d 0001 01 04 0a000001 00 18 c00002", Accept, FORMAT),
    row("800e19 0001 01 10 20010db8000000000000000000000001 00 18 c00002", Accept, EXTENDED_NEXT_HOP)
        .extended(),
    row(
        "800e29 0001 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00 18 c00002",
        Accept,
        EXTENDED_NEXT_HOP,
    )
    .extended(),
    row("800e19 0001 01 10 20010db8000000000000000000000001 00 18 c00002", Reset(OPTIONAL), SECTION_7_11),
    row("800e15 0001 01 0c 20010db80000000000000000 00 18 c00002", Reset(OPTIONAL), SECTION_7_11).extended(),
    row("800e0c 0002 01 00 00 30 20010db80001", Reset(OPTIONAL), SECTION_7_11),
    row("800e10 0002 01 04 0a000001 00 30 20010db80001", Reset(OPTIONAL), SECTION_7_11),
    row("800e17 0002 01 09 20010db80000000000 00 40 20010db800000001", Reset(OPTIONAL), SECTION_7_11),
    row(
        "800e24 0002 01 18 000000000000000020010db8000000000000000000000001 00 30 20010db80001",
        Reset(OPTIONAL),
        SECTION_7_11,
    ),
    row("800e16 0002 01 40 20010db8000000000000000000000001 0000", Reset(OPTIONAL), SECTION_7_11),
    row("800e0c 0002 01 10 20010db800000000", Reset(OPTIONAL), SECTION_7_11),
    row("800e14 0002 01 10 20010db8000000000000000000000001", Reset(OPTIONAL), SECTION_7_11),
    row("800e00", Reset(OPTIONAL), MP_LENGTH),
    row("800e02 0002", Reset(OPTIONAL), MP_LENGTH),
    row("800e04 0002 01 00", Reset(OPTIONAL), MP_LENGTH),
    row("800e1c 0002 01 10 20010db8000000000000000000000001 00 81 20010db80001", Reset(OPTIONAL), MP_PREFIX),
    row("800e0d 0001 01 04 0a000001 00 21 c00002", Reset(OPTIONAL), MP_PREFIX),
    row("800e1a 0002 01 10 20010db8000000000000000000000001 00 30 20010db8", Reset(OPTIONAL), MP_OVERRUN),
    row("c00e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001", Reset(FLAGS), MP_FLAGS),
    row("400e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001", Reset(FLAGS), MP_FLAGS),
    row("000e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001", Reset(FLAGS), MP_FLAGS),
    row("a00e1c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001", Reset(FLAGS), PARTIAL_BIT),
    // The NLRI is where it should be: it can be withdrawn.
    row(
        "800e1c 0002 01 10 00000000000000000000000000000000 00 30 20010db80001",
        Withdraw(OPTIONAL),
        HOST_ADDRESS,
    ),
    row(
        "800e1c 0002 01 10 ff020000000000000000000000000001 00 30 20010db80001",
        Withdraw(OPTIONAL),
        HOST_ADDRESS,
    ),
    row("800e0d 0001 01 04 e0000001 00 18 c00002", Withdraw(OPTIONAL), HOST_ADDRESS),
    row(
        "800e1f 0001 80 0c 00000000000000000a000001 00 70 00001100000000000001cb0071",
        Discard,
        NOT_NEGOTIATED,
    ),
    row("800e07 0001 85 00 00 f0ff", Discard, NOT_NEGOTIATED),
];
pub(super) const MP_UNREACH_ROWS: &[Row] = &[
    row("800f03 0002 01", Accept, FORMAT),
    row("800f0a 0002 01 30 20010db80001", Accept, FORMAT),
    row("800f07 0001 01 18 c00002", Accept, FORMAT),
    row("800f00", Reset(OPTIONAL), MP_LENGTH),
    row("800f02 0002", Reset(OPTIONAL), MP_LENGTH),
    row("800f04 0002 01 ff", Reset(OPTIONAL), MP_PREFIX),
    row("800f15 0002 01 81 20010db800000000000000000000000100", Reset(OPTIONAL), MP_PREFIX),
    row("800f08 0002 01 40 20010db8", Reset(OPTIONAL), MP_OVERRUN),
    row("800f05 0001 01 18 c0", Reset(OPTIONAL), MP_OVERRUN),
    row("c00f03 0002 01", Reset(FLAGS), MP_FLAGS),
    row("400f03 0002 01", Reset(FLAGS), MP_FLAGS),
    row("000f03 0002 01", Reset(FLAGS), MP_FLAGS),
    row("a00f03 0002 01", Reset(FLAGS), PARTIAL_BIT),
    row("800f04 4004 47 ff", Discard, NOT_NEGOTIATED),
];
