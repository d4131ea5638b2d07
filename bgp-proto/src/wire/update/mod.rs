//! UPDATE (RFC 4271 §4.3, §6.3) with the error handling of RFC 7606.

mod attributes;
mod mp;
pub(super) mod table;

use bytes::Bytes;

use attributes::Attributes;
use table::code;

use super::{
    Announcement, AttributeIssue, DecodeContext, DecodeError, Disposition, NextHop, NlriBlock,
    PathAttributes, Update, codes,
};
use crate::types::{Family, FamilySet};

/// The family of Withdrawn Routes and NLRI (RFC 4271 §4.3).
const PLAIN: Family = Family::Ipv4Unicast;

impl Update {
    /// The strongest treatment that a fault asked for (RFC 7606 §3 (h)).
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        self.issues.iter().map(|issue| issue.disposition).max().unwrap_or_default()
    }
}

/// The three fields of an UPDATE, whose lengths fit the message.
struct Fields<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `None` where a length exceeds the message. Lengths are added to nothing: 0xffe9 and what follows
    /// would wrap in two octets.
    fn split(body: &'a [u8]) -> Option<Self> {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (withdrawn, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (attributes, nlri) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Self { withdrawn, attributes, nlri })
    }
}

/// Decodes `body`, which follows the header and is a part of `frame`.
pub(super) fn decode(
    frame: &Bytes,
    body: &[u8],
    context: &DecodeContext,
) -> Result<Box<Update>, DecodeError> {
    // "if Withdrawn Routes Length + Total Attribute Length + 23 exceeds the message Length, then the Error
    // Subcode MUST be set to Malformed Attribute List" (RFC 7606 §3 (b)).
    let Some(fields) = Fields::split(body) else {
        let detail = "the lengths of the fields exceed the message";
        let subcode = codes::UPDATE_MALFORMED_ATTRIBUTE_LIST;
        return Err(DecodeError::new(codes::UPDATE, subcode, Bytes::new(), detail));
    };
    // "The Withdrawn Routes field MUST be checked for syntactic correctness in the same manner as the NLRI
    // field" (RFC 7606 §3 (i)).
    let withdrawn = plain_routes("Withdrawn Routes", frame, fields.withdrawn, context)?;
    let nlri = plain_routes("NLRI", frame, fields.nlri, context)?;
    let mut update = Box::<Update>::default();
    let attributes = attributes::decode(frame, fields.attributes, context, &mut update)?;
    Parts { withdrawn, nlri, attributes }.finish(context, &mut update)?;
    if !update.issues.is_empty() {
        // RFC 7606 §6: what is logged of a malformed UPDATE is the whole of it.
        update.faulty = frame.clone();
    }
    Ok(update)
}

/// "The NLRI field in the UPDATE message is checked for syntactic validity. If the field is syntactically
/// incorrect, then the Error Subcode MUST be set to Invalid Network Field" (RFC 4271 §6.3), and where it is there is nothing to treat as withdrawn (RFC 7606 §3 (j)).
fn plain_routes(
    name: &str,
    frame: &Bytes,
    field: &[u8],
    context: &DecodeContext,
) -> Result<NlriBlock, DecodeError> {
    NlriBlock::check(PLAIN, context.add_path.contains(PLAIN), frame, field).map_err(|fault| {
        let detail = format!("{name}: {fault}");
        DecodeError::new(codes::UPDATE, codes::UPDATE_INVALID_NETWORK_FIELD, Bytes::new(), detail)
    })
}

/// The routes of an UPDATE and what its attributes say of them.
struct Parts {
    withdrawn: NlriBlock,
    nlri: NlriBlock,
    attributes: Attributes,
}

impl Parts {
    fn finish(mut self, context: &DecodeContext, update: &mut Update) -> Result<(), DecodeError> {
        let families = context.families;
        let reachable = !self.nlri.is_empty() || self.attributes.reachable;
        update.end_of_rib = self.end_of_rib(families);
        if !families.contains(PLAIN) {
            self.drop_plain_routes(&mut update.issues);
        }
        self.check_mandatory(context.loopback, &mut update.issues);
        // RFC 7606 §5.2: with attributes, no reachable NLRI and an error that asks for more than attribute
        // discard the session reset approach MUST be used: the routes may be in what could not be read.
        if let (false, Some(fault)) = (reachable, self.attributes.withdraw_fault) {
            return Err(fault.into_error(std::mem::take(&mut update.issues)));
        }
        self.assemble(update);
        Ok(())
    }

    /// RFC 4724 §2: an UPDATE with nothing in it, or with nothing but an MP_UNREACH_NLRI without routes.
    /// One with any other attribute, right or wrong, is not End-of-RIB.
    fn end_of_rib(&self, families: FamilySet) -> Option<Family> {
        if self.attributes.others || !self.withdrawn.is_empty() || !self.nlri.is_empty() {
            return None;
        }
        match &self.attributes.unreach {
            Some(unreach) => unreach.is_empty().then(|| unreach.family()),
            None => (!self.attributes.unreach_ignored && families.contains(PLAIN)).then_some(PLAIN),
        }
    }

    fn drop_plain_routes(&mut self, issues: &mut Vec<AttributeIssue>) {
        if self.withdrawn.is_empty() && self.nlri.is_empty() {
            return;
        }
        let detail = "IPv4 routes without that family";
        self.attributes.note_missing(0, Disposition::AttributeDiscard, detail, issues);
        self.withdrawn = NlriBlock::new(PLAIN, []);
        self.nlri = NlriBlock::new(PLAIN, []);
    }

    /// "If any of the well-known mandatory attributes are not present in an UPDATE message, then
    /// "treat-as-withdraw" MUST be used" (RFC 7606 §3 (d)). They are mandatory where there is NLRI
    /// (RFC 4271 §5), and NEXT_HOP where there is NLRI outside MP_REACH_NLRI (RFC 4760 §3).
    fn check_mandatory(&mut self, loopback: bool, issues: &mut Vec<AttributeIssue>) {
        let plain = !self.nlri.is_empty();
        if !plain && self.attributes.reach.is_none() {
            return;
        }
        let withdraw = Disposition::TreatAsWithdraw;
        let attributes = &mut self.attributes;
        for (code, needed) in [(code::ORIGIN, true), (code::AS_PATH, true), (code::NEXT_HOP, plain)] {
            if needed && !attributes.seen.contains(code) {
                attributes.note_missing(code, withdraw, "a mandatory attribute is missing", issues);
            }
        }
        if plain && attributes.next_hop.is_some_and(|addr| !mp::usable_v4(addr, loopback)) {
            let detail = "the next hop is not a host address";
            attributes.note_missing(code::NEXT_HOP, withdraw, detail, issues);
        }
    }

    /// Puts the routes where they belong: with treat-as-withdraw all of them among the withdrawn ones.
    fn assemble(self, update: &mut Update) {
        let attributes = self.attributes;
        for block in [Some(self.withdrawn), attributes.unreach].into_iter().flatten() {
            if !block.is_empty() {
                update.withdrawn.push(block);
            }
        }
        let plain = (attributes.next_hop.map(NextHop::V4), self.nlri);
        for (next_hop, nlri) in [Some(plain), attributes.reach].into_iter().flatten() {
            if nlri.is_empty() {
                continue;
            }
            // Without a next hop there is a fault.
            match next_hop.filter(|_| attributes.withdraw_fault.is_none()) {
                Some(next_hop) => update.announced.push(Announcement { next_hop, nlri }),
                None => update.withdrawn.push(nlri),
            }
        }
        if attributes.withdraw_fault.is_some() {
            update.attributes = PathAttributes::default();
        }
    }
}

#[cfg(test)]
mod tests;
