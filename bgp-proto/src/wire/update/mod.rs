//! UPDATE (RFC 4271 §4.3, §6.3) with the error handling of RFC 7606.

mod attributes;
mod mp;
pub(super) mod table;

use bytes::Bytes;

use attributes::Attributes;
use table::code;

use super::{Announcement, DecodeContext, DecodeError, Disposition, NextHop, NlriBlock, Update};
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
struct Fields {
    withdrawn: Bytes,
    attributes: Bytes,
    nlri: Bytes,
}

impl Fields {
    fn split(body: &Bytes) -> Option<Self> {
        let length = |at: usize| {
            let octets = body.get(at..)?.first_chunk::<2>()?;
            Some(usize::from(u16::from_be_bytes(*octets)))
        };
        // Lengths are added as usize: 0xffe9 and what follows would wrap in two octets.
        let withdrawn_end = 2 + length(0)?;
        let attributes_end = withdrawn_end + 2 + length(withdrawn_end)?;
        if attributes_end > body.len() {
            return None;
        }
        Some(Self {
            withdrawn: body.slice(2..withdrawn_end),
            attributes: body.slice(withdrawn_end + 2..attributes_end),
            nlri: body.slice(attributes_end..),
        })
    }
}

/// Decodes what follows the header.
pub(super) fn decode(body: &Bytes, context: &DecodeContext) -> Result<Update, DecodeError> {
    // "if Withdrawn Routes Length + Total Attribute Length + 23 exceeds the message Length, then the Error
    // Subcode MUST be set to Malformed Attribute List" (RFC 7606 §3 (b)).
    let Some(fields) = Fields::split(body) else {
        return Err(DecodeError::new(3, 1, Bytes::new(), "the lengths of the fields exceed the message"));
    };
    // "The Withdrawn Routes field MUST be checked for syntactic correctness in the same manner as the NLRI
    // field" (RFC 7606 §3 (i)).
    let withdrawn = plain_routes("Withdrawn Routes", fields.withdrawn, context)?;
    let nlri = plain_routes("NLRI", fields.nlri, context)?;
    let attributes = attributes::decode(&fields.attributes, context)?;
    Parts { withdrawn, nlri, attributes }.finish(context.families)
}

/// "If a field in NLRI is syntactically incorrect, the Error Subcode MUST be set to Invalid Network Field"
/// (RFC 4271 §6.3), and where it is there is nothing to treat as withdrawn (RFC 7606 §3 (j)).
fn plain_routes(field: &str, bytes: Bytes, context: &DecodeContext) -> Result<NlriBlock, DecodeError> {
    NlriBlock::check(PLAIN, context.add_path.contains(PLAIN), bytes)
        .map_err(|fault| DecodeError::new(3, 10, Bytes::new(), format!("{field}: {fault}")))
}

/// The parts of an UPDATE, each of them read.
struct Parts {
    withdrawn: NlriBlock,
    nlri: NlriBlock,
    attributes: Attributes,
}

impl Parts {
    fn finish(mut self, families: FamilySet) -> Result<Update, DecodeError> {
        let reachable = !self.nlri.is_empty() || self.attributes.reachable;
        let end_of_rib = self.end_of_rib(families);
        if !families.contains(PLAIN) {
            self.drop_plain_routes();
        }
        self.check_mandatory();
        // "if any path attribute errors are encountered in an UPDATE message ... and that do not encode any
        // reachable NLRI, and the error is other than attribute discard, then the session reset approach
        // MUST be used" in substance (RFC 7606 §5.2): the routes may be in what could not be read.
        if let (false, Some(fault)) = (reachable, self.attributes.withdraw_fault) {
            return Err(fault.into_error(self.attributes.issues));
        }
        Ok(self.assemble(end_of_rib))
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

    fn drop_plain_routes(&mut self) {
        if self.withdrawn.is_empty() && self.nlri.is_empty() {
            return;
        }
        self.attributes.note_missing(0, Disposition::AttributeDiscard, "IPv4 routes without that family");
        self.withdrawn = NlriBlock::new(PLAIN, []);
        self.nlri = NlriBlock::new(PLAIN, []);
    }

    /// "If any of the well-known mandatory attributes are not present in an UPDATE message, then
    /// "treat-as-withdraw" MUST be used" (RFC 7606 §3 (d)). They are mandatory where there is NLRI
    /// (RFC 4271 §5), and NEXT_HOP where there is NLRI outside MP_REACH_NLRI (RFC 4760 §3).
    fn check_mandatory(&mut self) {
        let plain = !self.nlri.is_empty();
        if !plain && self.attributes.reach.is_none() {
            return;
        }
        let attributes = &mut self.attributes;
        for (code, needed) in [(code::ORIGIN, true), (code::AS_PATH, true), (code::NEXT_HOP, plain)] {
            if needed && !attributes.seen.contains(code) {
                attributes.note_missing(
                    code,
                    Disposition::TreatAsWithdraw,
                    "a mandatory attribute is missing",
                );
            }
        }
        if plain && attributes.next_hop.is_some_and(|addr| !mp::usable_v4(addr)) {
            let detail = "the next hop is not a host address";
            attributes.note_missing(code::NEXT_HOP, Disposition::TreatAsWithdraw, detail);
        }
    }

    fn assemble(self, end_of_rib: Option<Family>) -> Update {
        let attributes = self.attributes;
        let mut update = Update { end_of_rib, issues: attributes.issues, ..Update::default() };
        let withdrawn = [Some(self.withdrawn), attributes.unreach].into_iter().flatten();
        update.withdrawn.extend(withdrawn.filter(|block| !block.is_empty()));
        let plain = (attributes.next_hop.map(NextHop::V4), self.nlri);
        let announced = [Some(plain), attributes.reach].into_iter().flatten();
        let announced = announced.filter(|(_, nlri)| !nlri.is_empty());
        if attributes.withdraw_fault.is_some() {
            update.withdrawn.extend(announced.map(|(_, nlri)| nlri));
        } else {
            // Without a next hop there is a fault.
            let with_next_hop =
                announced.filter_map(|(hop, nlri)| hop.map(|next_hop| Announcement { next_hop, nlri }));
            update.announced.extend(with_next_hop);
            update.attributes = attributes.values;
        }
        update
    }
}

#[cfg(test)]
mod tests;
