//! The path attributes that this speaker recognises, as data: what RFC 7606 and the attributes' own
//! RFCs say of flags and lengths, and what is done where they are wrong.

use crate::wire::Disposition::{self, AttributeDiscard, SessionReset, TreatAsWithdraw};
use crate::wire::codes;

/// Attribute Flags (RFC 4271 §4.3).
pub(in crate::wire) mod flags {
    /// Optional, not well-known.
    pub(in crate::wire) const OPTIONAL: u8 = 0x80;
    /// Transitive.
    pub(in crate::wire) const TRANSITIVE: u8 = 0x40;
    /// Somebody on the way did not know it.
    pub(in crate::wire) const PARTIAL: u8 = 0x20;
    /// The length has two octets.
    pub(in crate::wire) const EXTENDED_LENGTH: u8 = 0x10;
}

/// Type codes.
pub(in crate::wire) mod code {
    pub(in crate::wire) const ORIGIN: u8 = 1;
    pub(in crate::wire) const AS_PATH: u8 = 2;
    pub(in crate::wire) const NEXT_HOP: u8 = 3;
    pub(in crate::wire) const MULTI_EXIT_DISC: u8 = 4;
    pub(in crate::wire) const LOCAL_PREF: u8 = 5;
    pub(in crate::wire) const ATOMIC_AGGREGATE: u8 = 6;
    pub(in crate::wire) const AGGREGATOR: u8 = 7;
    pub(in crate::wire) const COMMUNITIES: u8 = 8;
    pub(in crate::wire) const ORIGINATOR_ID: u8 = 9;
    pub(in crate::wire) const CLUSTER_LIST: u8 = 10;
    pub(in crate::wire) const MP_REACH_NLRI: u8 = 14;
    pub(in crate::wire) const MP_UNREACH_NLRI: u8 = 15;
    pub(in crate::wire) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(in crate::wire) const AS4_PATH: u8 = 17;
    pub(in crate::wire) const AS4_AGGREGATOR: u8 = 18;
    pub(in crate::wire) const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub(in crate::wire) const LARGE_COMMUNITY: u8 = 32;
    pub(in crate::wire) const ONLY_TO_CUSTOMER: u8 = 35;
}

/// Which lengths a value may have. "Of the path attributes considered in this specification, only AS_PATH
/// and ATOMIC_AGGREGATE may validly have an attribute length of zero" (RFC 7606 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum Length {
    /// The value's own form decides.
    Any,
    /// Exactly so many octets.
    Exactly(usize),
    /// A multiple of so many octets, and not zero.
    Times(usize),
    /// So many octets or more.
    AtLeast(usize),
    /// An AS number as wide as negotiated (RFC 6793), and four octets more.
    AsnAnd4,
}

impl Length {
    /// Whether `length` octets are right in a session with AS numbers as wide as `asn4` says.
    pub(in crate::wire) fn allows(self, length: usize, asn4: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(octets) => length == octets,
            Self::Times(octets) => length != 0 && length.is_multiple_of(octets),
            Self::AtLeast(octets) => length >= octets,
            Self::AsnAnd4 => length == if asn4 { 8 } else { 6 },
        }
    }
}

/// What a recognised attribute looks like, and what is done where it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct Spec {
    pub(in crate::wire) code: u8,
    pub(in crate::wire) name: &'static str,
    /// The specified Optional and Transitive bits.
    pub(in crate::wire) flags: u8,
    pub(in crate::wire) length: Length,
    /// What wrong flags lead to.
    pub(in crate::wire) bad_flags: Disposition,
    /// What a wrong length or value leads to.
    pub(in crate::wire) bad_value: Disposition,
    /// The subcode of UPDATE Message Error for a wrong value, where the error ends the session.
    pub(in crate::wire) subcode: u8,
    /// From an external peer it is discarded, right or wrong.
    pub(in crate::wire) internal_only: bool,
}

const WELL_KNOWN: u8 = flags::TRANSITIVE;
const TRANSITIVE: u8 = flags::OPTIONAL | flags::TRANSITIVE;
const NON_TRANSITIVE: u8 = flags::OPTIONAL;
impl Spec {
    /// The most common treatment: "the attribute MUST be treated as malformed and the "treat-as-withdraw"
    /// approach used" for flags (RFC 7606 §3 (c)), and treat-as-withdraw for the rest.
    const fn new(code: u8, name: &'static str, flags: u8, length: Length, subcode: u8) -> Self {
        Self {
            code,
            name,
            flags,
            length,
            bad_flags: TreatAsWithdraw,
            bad_value: TreatAsWithdraw,
            subcode,
            internal_only: false,
        }
    }

    const fn bad_value(self, bad_value: Disposition) -> Self {
        Self { bad_value, ..self }
    }

    const fn bad_flags(self, bad_flags: Disposition) -> Self {
        Self { bad_flags, ..self }
    }

    const fn internal_only(self) -> Self {
        Self { internal_only: true, ..self }
    }

    /// Whether these flags are those of this attribute. "For well-known attributes and for optional
    /// non-transitive attributes, the Partial bit MUST be set to 0" (RFC 4271 §4.3).
    ///
    /// RFC 7606 §3 (c) revises what becomes of "either the Optional or Transitive bits"; of Partial it says nothing, so
    /// that one that is wrong stays RFC 4271's Attribute Flags Error, with the treatment of the other two. FRR does the
    /// same, and so do its vectors for RFC 7606; BIRD does not look at the bit.
    pub(in crate::wire) fn allows_flags(&self, found: u8) -> bool {
        let checked = match self.flags {
            TRANSITIVE => TRANSITIVE,
            _ => TRANSITIVE | flags::PARTIAL,
        };
        found & checked == self.flags
    }
}

/// By ascending code. The sections are RFC 7606's where no other RFC is named.
pub(in crate::wire) static ATTRIBUTES: [Spec; 18] = [
    // §7.1
    Spec::new(code::ORIGIN, "ORIGIN", WELL_KNOWN, Length::Exactly(1), codes::UPDATE_INVALID_ORIGIN),
    // §7.2
    Spec::new(code::AS_PATH, "AS_PATH", WELL_KNOWN, Length::Any, codes::UPDATE_MALFORMED_AS_PATH),
    // §7.3
    Spec::new(code::NEXT_HOP, "NEXT_HOP", WELL_KNOWN, Length::Exactly(4), codes::UPDATE_INVALID_NEXT_HOP),
    // §7.4
    Spec::new(
        code::MULTI_EXIT_DISC,
        "MULTI_EXIT_DISC",
        NON_TRANSITIVE,
        Length::Exactly(4),
        codes::UPDATE_ATTRIBUTE_LENGTH,
    ),
    // §7.5
    Spec::new(code::LOCAL_PREF, "LOCAL_PREF", WELL_KNOWN, Length::Exactly(4), codes::UPDATE_ATTRIBUTE_LENGTH)
        .internal_only(),
    // §7.6; flags by §3 (c)
    Spec::new(
        code::ATOMIC_AGGREGATE,
        "ATOMIC_AGGREGATE",
        WELL_KNOWN,
        Length::Exactly(0),
        codes::UPDATE_ATTRIBUTE_LENGTH,
    )
    .bad_value(AttributeDiscard),
    // §7.7; flags by §3 (c)
    Spec::new(code::AGGREGATOR, "AGGREGATOR", TRANSITIVE, Length::AsnAnd4, codes::UPDATE_OPTIONAL_ATTRIBUTE)
        .bad_value(AttributeDiscard),
    // §7.8
    Spec::new(
        code::COMMUNITIES,
        "COMMUNITIES",
        TRANSITIVE,
        Length::Times(4),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    ),
    // §7.9
    Spec::new(
        code::ORIGINATOR_ID,
        "ORIGINATOR_ID",
        NON_TRANSITIVE,
        Length::Exactly(4),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    )
    .internal_only(),
    // §7.10
    Spec::new(
        code::CLUSTER_LIST,
        "CLUSTER_LIST",
        NON_TRANSITIVE,
        Length::Times(4),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    )
    .internal_only(),
    // §5.3 lists flags and the least length among what makes the NLRI unreadable; §7.11
    Spec::new(
        code::MP_REACH_NLRI,
        "MP_REACH_NLRI",
        NON_TRANSITIVE,
        Length::AtLeast(5),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    )
    .bad_flags(SessionReset)
    .bad_value(SessionReset),
    // §5.3, §7.12
    Spec::new(
        code::MP_UNREACH_NLRI,
        "MP_UNREACH_NLRI",
        NON_TRANSITIVE,
        Length::AtLeast(3),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    )
    .bad_flags(SessionReset)
    .bad_value(SessionReset),
    // §7.14
    Spec::new(
        code::EXTENDED_COMMUNITIES,
        "EXTENDED COMMUNITIES",
        TRANSITIVE,
        Length::Times(8),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    ),
    // RFC 6793 §6
    Spec::new(code::AS4_PATH, "AS4_PATH", TRANSITIVE, Length::AtLeast(6), codes::UPDATE_OPTIONAL_ATTRIBUTE)
        .bad_value(AttributeDiscard),
    // RFC 6793 §6
    Spec::new(
        code::AS4_AGGREGATOR,
        "AS4_AGGREGATOR",
        TRANSITIVE,
        Length::Exactly(8),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    )
    .bad_value(AttributeDiscard),
    // §7.15; not used, and kept as it came
    Spec::new(
        code::IPV6_EXTENDED_COMMUNITIES,
        "IPv6 EXTENDED COMMUNITIES",
        TRANSITIVE,
        Length::Times(20),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    ),
    // RFC 8092 §6
    Spec::new(
        code::LARGE_COMMUNITY,
        "LARGE_COMMUNITY",
        TRANSITIVE,
        Length::Times(12),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    ),
    // RFC 9234 §5
    Spec::new(
        code::ONLY_TO_CUSTOMER,
        "ONLY_TO_CUSTOMER",
        TRANSITIVE,
        Length::Exactly(4),
        codes::UPDATE_OPTIONAL_ATTRIBUTE,
    ),
];

/// Code to place in [`ATTRIBUTES`], plus one; 0 is not recognised.
static PLACES: [u8; 256] = {
    let mut places = [0; 256];
    let mut place = 0;
    while place < ATTRIBUTES.len() {
        let row = &ATTRIBUTES[place];
        place += 1;
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 255 rows")]
        {
            places[row.code as usize] = place as u8;
        }
    }
    places
};

/// The row of an attribute; `None` where it is not recognised.
pub(in crate::wire) fn spec(code: u8) -> Option<&'static Spec> {
    let place = PLACES.get(usize::from(code)).copied().unwrap_or_default();
    ATTRIBUTES.get(usize::from(place).wrapping_sub(1))
}
