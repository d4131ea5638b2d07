//! The attribute loop: every attribute is cut out by its length first and looked at afterwards, so that
//! no fault in one moves the place of the next.

use std::fmt::Display;
use std::net::Ipv4Addr;

use bytes::Bytes;

use super::table::{self, Spec, code, flags};
use crate::types::{AS_TRANS, Asn, Community, ExtendedCommunity, LargeCommunity, RouterId};
use crate::wire::{
    Aggregator, AsPath, AttributeIssue, DecodeContext, DecodeError, Disposition, NextHop, NlriBlock, Origin,
    RawAttribute, Update, as_path, codes,
};

/// A set of type codes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Codes([u64; 4]);

impl Codes {
    /// Whether `code` was not in it before.
    fn insert(&mut self, code: u8) -> bool {
        let bit = 1 << (code & 63);
        let Some(word) = self.0.get_mut(usize::from(code >> 6)) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn contains(self, code: u8) -> bool {
        self.0.get(usize::from(code >> 6)).is_some_and(|word| word & 1 << (code & 63) != 0)
    }
}

/// The first fault that asks for treat-as-withdraw.
#[derive(Debug, Clone, Copy)]
pub(super) struct WithdrawFault {
    subcode: u8,
    /// Its place among the issues.
    issue: usize,
}

impl WithdrawFault {
    /// The same fault where there is nothing to withdraw (RFC 7606 §5.2).
    pub(super) fn into_error(self, issues: Vec<AttributeIssue>) -> DecodeError {
        match issues.into_iter().nth(self.issue) {
            Some(issue) => DecodeError::new(codes::UPDATE, self.subcode, issue.attribute, issue.detail),
            None => {
                DecodeError::new(codes::UPDATE, self.subcode, Bytes::new(), "a path attribute is malformed")
            }
        }
    }
}

/// What the attributes of one UPDATE say, beside the values and the issues.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// NEXT_HOP, not yet known to be a host address.
    pub(super) next_hop: Option<Ipv4Addr>,
    /// MP_REACH_NLRI of a negotiated family; no next hop where it is unusable.
    pub(super) reach: Option<(Option<NextHop>, NlriBlock)>,
    /// MP_UNREACH_NLRI of a negotiated family.
    pub(super) unreach: Option<NlriBlock>,
    /// There was an MP_UNREACH_NLRI of another family.
    pub(super) unreach_ignored: bool,
    /// There was NLRI in an MP_REACH_NLRI, of whatever family.
    pub(super) reachable: bool,
    /// There was an attribute other than MP_UNREACH_NLRI.
    pub(super) others: bool,
    pub(super) seen: Codes,
    pub(super) withdraw_fault: Option<WithdrawFault>,
}

impl Attributes {
    #[cold]
    fn note(&mut self, issue: AttributeIssue, subcode: u8, issues: &mut Vec<AttributeIssue>) {
        if issue.disposition == Disposition::TreatAsWithdraw && self.withdraw_fault.is_none() {
            self.withdraw_fault = Some(WithdrawFault { subcode, issue: issues.len() });
        }
        issues.push(issue);
    }

    /// A fault of the UPDATE that no octets stand for.
    #[cold]
    pub(super) fn note_missing(
        &mut self,
        code: u8,
        disposition: Disposition,
        detail: &str,
        issues: &mut Vec<AttributeIssue>,
    ) {
        let detail = format!("{}: {detail}", name(code));
        let issue = AttributeIssue { code, disposition, detail, attribute: Bytes::new() };
        self.note(issue, codes::UPDATE_MISSING_WELL_KNOWN, issues);
    }
}

/// In the log; 0 is what [`AttributeIssue::code`] has for routes outside of attributes.
fn name(code: u8) -> String {
    match table::spec(code) {
        Some(spec) => spec.name.to_owned(),
        None if code == 0 => "Withdrawn Routes and NLRI".to_owned(),
        None => format!("attribute {code}"),
    }
}

/// One attribute as it stands in the message.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    flags: u8,
    code: u8,
    pub(super) value: &'a [u8],
    /// Flags, type, length and value.
    whole: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The first attribute of `rest` and what is behind it; `None` where it runs past the end.
    #[inline]
    fn split(rest: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (flags, code, length, header) = match *rest {
            [flags, code, high, low, ..] if flags & flags::EXTENDED_LENGTH != 0 => {
                (flags, code, usize::from(u16::from_be_bytes([high, low])), 4)
            }
            [flags, code, length, ..] if flags & flags::EXTENDED_LENGTH == 0 => {
                (flags, code, usize::from(length), 3)
            }
            _ => return None,
        };
        let (whole, after) = rest.split_at_checked(header + length)?;
        let value = whole.get(header..)?;
        Some((Self { flags, code, value, whole }, after))
    }
}

/// Reads the Path Attributes `field` of the message `frame` into `update`.
pub(super) fn decode(
    frame: &Bytes,
    field: &[u8],
    context: &DecodeContext,
    update: &mut Update,
) -> Result<Attributes, DecodeError> {
    let out = Attributes::default();
    let (as4_path, as4_aggregator, repeated) = (None, None, Codes::default());
    let mut reader = Reader { frame, context, update, out, as4_path, as4_aggregator, repeated };
    let mut rest = field;
    while !rest.is_empty() {
        let Some((attribute, after)) = Attribute::split(rest) else {
            reader.overrun(rest)?;
            break;
        };
        rest = after;
        reader.attribute(attribute)?;
    }
    if !context.asn4 {
        reader.merge_four_octet_numbers();
    }
    Ok(reader.out)
}

pub(super) struct Reader<'a> {
    pub(super) frame: &'a Bytes,
    pub(super) context: &'a DecodeContext,
    update: &'a mut Update,
    pub(super) out: Attributes,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
    /// Codes that were noted to come more than once.
    repeated: Codes,
}

impl Reader<'_> {
    /// Does what the table asks for; an error where that is a session reset.
    #[cold]
    pub(super) fn fault(
        &mut self,
        attribute: Attribute<'_>,
        disposition: Disposition,
        subcode: u8,
        detail: impl Display,
    ) -> Result<(), DecodeError> {
        let detail = format!("{}: {detail}", name(attribute.code));
        let whole = self.frame.slice_ref(attribute.whole);
        if disposition == Disposition::SessionReset {
            // "The Data field MUST contain the erroneous attribute (type, length, and value)" (RFC 4271 §6.3).
            return Err(DecodeError::new(codes::UPDATE, subcode, whole, detail));
        }
        let issue = AttributeIssue { code: attribute.code, disposition, detail, attribute: whole };
        self.out.note(issue, subcode, &mut self.update.issues);
        Ok(())
    }

    /// The last attribute's length exceeds the field, or its header does: "the "treat-as-withdraw" approach
    /// MUST be used ... and the Total Attribute Length MUST be relied upon" (RFC 7606 §4). Routes in an
    /// attribute that is cut off cannot be treated as withdrawn (RFC 7606 §3 (j)).
    #[cold]
    fn overrun(&mut self, rest: &[u8]) -> Result<(), DecodeError> {
        let [flags, code] = match *rest {
            [flags, code, ..] => [flags, code],
            _ => [0, 0],
        };
        let disposition = match code {
            code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => Disposition::SessionReset,
            _ => Disposition::TreatAsWithdraw,
        };
        self.out.others = true;
        let attribute = Attribute { flags, code, value: &[], whole: rest };
        self.fault(
            attribute,
            disposition,
            codes::UPDATE_MALFORMED_ATTRIBUTE_LIST,
            "it runs past the Total Path Attribute Length",
        )
    }

    fn attribute(&mut self, attribute: Attribute<'_>) -> Result<(), DecodeError> {
        if !self.out.seen.insert(attribute.code) {
            return self.repeated(attribute);
        }
        self.out.others |= attribute.code != code::MP_UNREACH_NLRI;
        let Some(spec) = table::spec(attribute.code) else { return self.unknown(attribute) };
        if spec.internal_only && self.context.external {
            let detail = "an external peer has no say in it";
            return self.fault(attribute, Disposition::AttributeDiscard, 0, detail);
        }
        if !spec.allows_flags(attribute.flags) {
            let detail = format!("flags {:#04x}, specified are {:#04x}", attribute.flags, spec.flags);
            return self.fault(attribute, spec.bad_flags, codes::UPDATE_ATTRIBUTE_FLAGS, detail);
        }
        // "A NEW BGP speaker that receives the AS4_PATH attribute or the AS4_AGGREGATOR attribute in an UPDATE message
        // from another NEW BGP speaker MUST discard the path attribute and continue processing the UPDATE message. This
        // case SHOULD be logged locally for analysis" (RFC 6793 §6).
        if self.context.asn4 && matches!(attribute.code, code::AS4_PATH | code::AS4_AGGREGATOR) {
            let detail = "the peer has four-octet AS numbers and no use for it";
            return self.fault(attribute, Disposition::AttributeDiscard, 0, detail);
        }
        if !spec.length.allows(attribute.value.len(), self.context.asn4) {
            let subcode = if spec.bad_value == Disposition::SessionReset {
                spec.subcode
            } else {
                codes::UPDATE_ATTRIBUTE_LENGTH
            };
            return self.fault(
                attribute,
                spec.bad_value,
                subcode,
                format!("{} octets", attribute.value.len()),
            );
        }
        self.value(attribute, spec)
    }

    /// "If the MP_REACH_NLRI attribute or the MP_UNREACH_NLRI attribute appears more than once in the UPDATE
    /// message, then a NOTIFICATION message MUST be sent with the Error Subcode "Malformed Attribute List".
    /// If any other attribute ... appears more than once in an UPDATE message, then all the occurrences of
    /// the attribute other than the first one SHALL be discarded" (RFC 7606 §3 (g)).
    #[cold]
    fn repeated(&mut self, attribute: Attribute<'_>) -> Result<(), DecodeError> {
        let detail = "it appears more than once";
        if matches!(attribute.code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
            let detail = format!("{}: {detail}", name(attribute.code));
            return Err(DecodeError::new(
                codes::UPDATE,
                codes::UPDATE_MALFORMED_ATTRIBUTE_LIST,
                Bytes::new(),
                detail,
            ));
        }
        // Said once: a message has room for thousands of empty attributes.
        if !self.repeated.insert(attribute.code) {
            return Ok(());
        }
        self.fault(attribute, Disposition::AttributeDiscard, 0, detail)
    }

    /// RFC 4271 §5: an unrecognized transitive attribute is kept with Partial set, an unrecognized
    /// non-transitive one "MUST be quietly ignored", an unrecognized well-known one is an error.
    fn unknown(&mut self, attribute: Attribute<'_>) -> Result<(), DecodeError> {
        if attribute.flags & flags::OPTIONAL == 0 {
            let detail = "a well-known attribute that is not known";
            return self.fault(
                attribute,
                Disposition::SessionReset,
                codes::UPDATE_UNRECOGNIZED_WELL_KNOWN,
                detail,
            );
        }
        if attribute.flags & flags::TRANSITIVE != 0 {
            self.keep(attribute, flags::OPTIONAL | flags::TRANSITIVE | flags::PARTIAL);
        }
        Ok(())
    }

    /// Keeps the value byte for byte, in the order of codes.
    fn keep(&mut self, attribute: Attribute<'_>, flags: u8) {
        let value = self.frame.slice_ref(attribute.value);
        let kept = &mut self.update.attributes.unknown;
        let place = kept.partition_point(|other| other.code < attribute.code);
        kept.insert(place, RawAttribute { flags, code: attribute.code, value });
    }

    /// Reads a value whose flags and length are right.
    fn value(&mut self, attribute: Attribute<'_>, spec: &Spec) -> Result<(), DecodeError> {
        let value = attribute.value;
        let out = &mut self.update.attributes;
        match attribute.code {
            code::ORIGIN => match value {
                [0] => out.origin = Some(Origin::Igp),
                [1] => out.origin = Some(Origin::Egp),
                [2] => out.origin = Some(Origin::Incomplete),
                _ => return self.fault(attribute, spec.bad_value, spec.subcode, "an undefined value"),
            },
            code::AS_PATH => return self.as_path(attribute, spec),
            code::NEXT_HOP => self.out.next_hop = u32_of(value).map(Ipv4Addr::from_bits),
            code::MULTI_EXIT_DISC => out.med = u32_of(value),
            code::LOCAL_PREF => out.local_pref = u32_of(value),
            code::ATOMIC_AGGREGATE => out.atomic_aggregate = true,
            // "An UPDATE message that contains the AS number zero in the AS_PATH or AGGREGATOR attribute MUST be
            // considered as malformed" (RFC 7607 §2), which §7.7 of RFC 7606 makes attribute discard.
            code::AGGREGATOR => match aggregator(value) {
                Some(aggregator) => out.aggregator = Some(aggregator),
                None => return self.fault(attribute, spec.bad_value, spec.subcode, "AS 0"),
            },
            code::COMMUNITIES => {
                out.communities = value.as_chunks::<4>().0.iter().map(community).collect();
            }
            code::ORIGINATOR_ID => {
                out.originator_id = u32_of(value).map(Ipv4Addr::from_bits).and_then(RouterId::new);
                // Not malformed by RFC 7606 §7.9, which asks for the length alone, and no router either.
                if out.originator_id.is_none() {
                    return self.fault(attribute, Disposition::AttributeDiscard, 0, "a BGP identifier of 0");
                }
            }
            code::CLUSTER_LIST => {
                out.cluster_list = value.as_chunks::<4>().0.iter().map(|id| Ipv4Addr::from(*id)).collect();
            }
            code::MP_REACH_NLRI => return self.mp_reach(attribute, spec),
            code::MP_UNREACH_NLRI => return self.mp_unreach(attribute, spec),
            code::EXTENDED_COMMUNITIES => {
                out.extended_communities =
                    value.as_chunks::<8>().0.iter().map(|octets| ExtendedCommunity(*octets)).collect();
            }
            code::AS4_PATH => match as_path::decode(value, true) {
                Ok(path) => self.as4_path = Some(path),
                Err(fault) => return self.fault(attribute, spec.bad_value, spec.subcode, fault),
            },
            code::AS4_AGGREGATOR => match aggregator(value) {
                Some(aggregator) => self.as4_aggregator = Some(aggregator),
                None => return self.fault(attribute, spec.bad_value, spec.subcode, "AS 0"),
            },
            code::LARGE_COMMUNITY => {
                out.large_communities = value.as_chunks::<12>().0.iter().map(large_community).collect();
            }
            code::ONLY_TO_CUSTOMER => match u32_of(value).and_then(Asn::new) {
                Some(asn) => out.only_to_customer = Some(asn),
                None => return self.fault(attribute, spec.bad_value, spec.subcode, "AS 0"),
            },
            _ => self.keep(attribute, attribute.flags & !(flags::EXTENDED_LENGTH | 0x0f)),
        }
        Ok(())
    }

    fn as_path(&mut self, attribute: Attribute<'_>, spec: &Spec) -> Result<(), DecodeError> {
        let path = match as_path::decode(attribute.value, self.context.asn4) {
            Ok(path) => path,
            Err(fault) => return self.fault(attribute, spec.bad_value, spec.subcode, fault),
        };
        // Segments of a confederation from a speaker outside of it make the path malformed (RFC 5065 §5).
        if self.context.external && path.segments.iter().any(|segment| segment.kind.is_confed()) {
            let detail = "a confederation segment from outside the confederation";
            return self.fault(attribute, spec.bad_value, spec.subcode, detail);
        }
        self.update.attributes.as_path = Some(path);
        Ok(())
    }

    /// RFC 6793 §4.2.3, for a peer with two-octet AS numbers.
    fn merge_four_octet_numbers(&mut self) {
        let values = &mut self.update.attributes;
        if let (Some(two), Some(four)) = (values.aggregator, self.as4_aggregator) {
            // "if the AS number in the AGGREGATOR attribute is not AS_TRANS, then the AS4_AGGREGATOR
            // attribute and the AS4_PATH attribute SHALL be ignored".
            if two.asn.get() != u32::from(AS_TRANS) {
                return;
            }
            values.aggregator = Some(four);
        }
        if let Some(newer) = self.as4_path.take() {
            values.as_path = values.as_path.take().map(|path| as_path::merge(path, newer));
        }
    }
}

fn u32_of(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets))
}

/// An AS number of two or four octets and an address; `None` for AS 0.
fn aggregator(value: &[u8]) -> Option<Aggregator> {
    let (asn, router) = value.split_last_chunk::<4>()?;
    let asn = asn.iter().fold(0, |number, octet| number << 8 | u32::from(*octet));
    Some(Aggregator { asn: Asn::new(asn)?, router: Ipv4Addr::from(*router) })
}

fn community(octets: &[u8; 4]) -> Community {
    Community(u32::from_be_bytes(*octets))
}

fn large_community([a, b, c, d, e, f, g, h, i, j, k, l]: &[u8; 12]) -> LargeCommunity {
    LargeCommunity {
        global: u32::from_be_bytes([*a, *b, *c, *d]),
        local1: u32::from_be_bytes([*e, *f, *g, *h]),
        local2: u32::from_be_bytes([*i, *j, *k, *l]),
    }
}
