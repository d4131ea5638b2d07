//! UPDATE packing: the fewest messages that announce or withdraw a run of prefixes, filled by real octets.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, HEADER};
use super::nlri::{self, MAX_WIRE};
use super::update::table::{code, flags};
use super::{EncodeContext, MessageKind, NextHop, Nlri, PathAttributes, Update, encode};
use crate::types::Family;

/// Withdrawn Routes Length and Total Path Attribute Length.
const LENGTHS: usize = 4;
/// Flags, type and a two-octet length.
const EXTENDED_HEADER: usize = 4;

/// Attributes do not fit into one message with even one prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path attributes take {size} octets and leave no room for a prefix in a message of {max}")]
pub struct AttributesTooLong {
    /// Octets that the attributes take, the multiprotocol one included.
    pub size: usize,
    /// The longest message.
    pub max: usize,
}

/// Appends to `out` the fewest UPDATEs that announce `prefixes` (all of `family`; others are left out) with
/// these attributes, and says how many. The order of prefixes is kept.
///
/// IPv4 with an IPv4 next hop goes into NLRI, everything else into MP_REACH_NLRI. IPv4 with an IPv6 next
/// hop is only for a peer with [`EncodeContext::extended_next_hop`]; an IPv4 next hop of IPv6 routes is
/// written as an IPv4-mapped address.
///
/// # Errors
/// The attributes leave no room for the family's longest prefix; nothing was appended.
pub fn pack_announcements(
    context: &EncodeContext,
    family: Family,
    attributes: &PathAttributes,
    next_hop: &NextHop,
    prefixes: impl IntoIterator<Item = Nlri>,
    out: &mut BytesMut,
) -> Result<usize, AttributesTooLong> {
    let layout = match (family, next_hop) {
        (Family::Ipv4Unicast, NextHop::V4(addr)) => {
            Layout::announced(encode::attributes(context, attributes, Some(*addr)))
        }
        _ => Layout::reach(family, next_hop, encode::attributes(context, attributes, None)),
    };
    let max = context.max_message.min(usize::from(u16::MAX));
    let room = max.checked_sub(layout.overhead());
    match room.filter(|room| *room >= nlri::max_wire_len(family, context.add_path.contains(family))) {
        Some(room) => Ok(Packer { layout, room, out, messages: 0 }.run(context, family, prefixes)),
        None => Err(AttributesTooLong { size: layout.overhead() - HEADER - LENGTHS, max }),
    }
}

/// Appends to `out` the fewest UPDATEs that withdraw `prefixes` (all of `family`; others are left out), and
/// says how many.
pub fn pack_withdrawals(
    context: &EncodeContext,
    family: Family,
    prefixes: impl IntoIterator<Item = Nlri>,
    out: &mut BytesMut,
) -> usize {
    let layout = match family {
        Family::Ipv4Unicast => Layout::withdrawn(),
        Family::Ipv6Unicast => Layout::unreach(family),
    };
    let max = context.max_message.clamp(frame::MAX_MESSAGE, usize::from(u16::MAX));
    let room = max.saturating_sub(layout.overhead());
    Packer { layout, room, out, messages: 0 }.run(context, family, prefixes)
}

/// The UPDATE that says End-of-RIB for `family` (RFC 4724 §2).
#[must_use]
pub fn end_of_rib(family: Family) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + LENGTHS + 6);
    let layout = match family {
        Family::Ipv4Unicast => Layout::withdrawn(),
        Family::Ipv6Unicast => Layout::unreach(family),
    };
    let message = layout.begin(&mut out);
    layout.finish(message, &mut out);
    out.freeze()
}

/// An UPDATE with these attributes and no routes; `None` where they are too long for any.
pub(crate) fn update_of(attributes: &[u8]) -> Option<BytesMut> {
    let length = u16::try_from(attributes.len()).ok()?;
    u16::try_from(HEADER + LENGTHS + attributes.len()).ok()?;
    let mut out = BytesMut::with_capacity(HEADER + LENGTHS + attributes.len());
    let start = frame::begin(&mut out, MessageKind::Update);
    out.put_u16(0);
    out.put_u16(length);
    out.put_slice(attributes);
    frame::finish(&mut out, start);
    Some(out)
}

impl Update {
    /// Appends to `out` UPDATEs that say the same, and says how many: withdrawals, announcements,
    /// End-of-RIB. RFC 7606 §5.1 asks for one kind of route a message, so they may be more than one.
    ///
    /// # Errors
    /// The attributes leave no room for a prefix.
    pub fn encode(&self, context: &EncodeContext, out: &mut BytesMut) -> Result<usize, AttributesTooLong> {
        let mut messages = 0;
        for block in &self.withdrawn {
            messages += pack_withdrawals(context, block.family(), block, out);
        }
        for announcement in &self.announced {
            let (next_hop, nlri) = (&announcement.next_hop, &announcement.nlri);
            messages += pack_announcements(context, nlri.family(), &self.attributes, next_hop, nlri, out)?;
        }
        if let Some(family) = self.end_of_rib {
            out.extend_from_slice(&end_of_rib(family));
            messages += 1;
        }
        Ok(messages)
    }
}

/// What every message of one run has in common. The NLRI stands in one of three places.
struct Layout {
    place: Place,
    /// All other attributes.
    attributes: BytesMut,
}

enum Place {
    /// Withdrawn Routes.
    Withdrawn,
    /// NLRI.
    Announced,
    /// The end of a multiprotocol attribute, which "SHALL be encoded as the very first path attribute"
    /// (RFC 7606 §5.1), behind these octets.
    Multiprotocol { code: u8, prefix: Vec<u8> },
}

/// A message under way.
#[derive(Clone, Copy)]
struct Begun {
    /// Where it starts.
    start: usize,
    /// Where its NLRI starts.
    nlri: usize,
}

impl Layout {
    fn withdrawn() -> Self {
        Self { place: Place::Withdrawn, attributes: BytesMut::new() }
    }

    fn announced(attributes: BytesMut) -> Self {
        Self { place: Place::Announced, attributes }
    }

    fn unreach(family: Family) -> Self {
        let place = Place::Multiprotocol { code: code::MP_UNREACH_NLRI, prefix: afi_safi(family) };
        Self { place, attributes: BytesMut::new() }
    }

    /// RFC 4760 §3, RFC 2545 §3, RFC 8950 §3: family, length and octets of the next hop, a reserved octet.
    fn reach(family: Family, next_hop: &NextHop, attributes: BytesMut) -> Self {
        let mut prefix = afi_safi(family);
        let start = prefix.len();
        prefix.push(0);
        match next_hop {
            NextHop::V4(addr) => prefix.extend_from_slice(&mapped(*addr)),
            NextHop::V6 { address, link_local } => {
                prefix.extend_from_slice(&address.octets());
                prefix.extend(link_local.iter().flat_map(Ipv6Addr::octets));
            }
        }
        let length = u8::try_from(prefix.len() - start - 1).unwrap_or_default();
        if let Some(field) = prefix.get_mut(start) {
            *field = length;
        }
        prefix.push(0);
        Self { place: Place::Multiprotocol { code: code::MP_REACH_NLRI, prefix }, attributes }
    }

    /// Octets of a message without its NLRI.
    fn overhead(&self) -> usize {
        let place = match &self.place {
            Place::Withdrawn | Place::Announced => 0,
            Place::Multiprotocol { prefix, .. } => EXTENDED_HEADER + prefix.len(),
        };
        HEADER + LENGTHS + place + self.attributes.len()
    }

    /// Writes what stands in front of the NLRI.
    fn begin(&self, out: &mut BytesMut) -> Begun {
        let start = frame::begin(out, MessageKind::Update);
        out.put_u16(0);
        match &self.place {
            Place::Withdrawn => {}
            Place::Announced => {
                out.put_u16(u16::try_from(self.attributes.len()).unwrap_or(u16::MAX));
                out.put_slice(&self.attributes);
            }
            Place::Multiprotocol { code, prefix } => {
                out.put_u16(0);
                out.put_slice(&[flags::OPTIONAL | flags::EXTENDED_LENGTH, *code, 0, 0]);
                out.put_slice(prefix);
            }
        }
        Begun { start, nlri: out.len() }
    }

    /// Writes what stands behind the NLRI, and the lengths. The packer has kept every one below 65536.
    fn finish(&self, message: Begun, out: &mut BytesMut) {
        let nlri = out.len() - message.nlri;
        let lengths = message.start + HEADER;
        match &self.place {
            Place::Withdrawn => {
                frame::patch_u16(out, lengths, u16::try_from(nlri).unwrap_or(u16::MAX));
                out.put_u16(0);
            }
            Place::Announced => {}
            Place::Multiprotocol { prefix, .. } => {
                close_multiprotocol(lengths + LENGTHS, prefix.len() + nlri, out);
                out.put_slice(&self.attributes);
                let total = out.len() - lengths - LENGTHS;
                frame::patch_u16(out, lengths + 2, u16::try_from(total).unwrap_or(u16::MAX));
            }
        }
        frame::finish(out, message.start);
    }
}

/// Fills in the length of the attribute that starts at `at` and ends here; the two-octet form is given up
/// where one octet is enough.
fn close_multiprotocol(at: usize, length: usize, out: &mut BytesMut) {
    let Ok(short) = u8::try_from(length) else {
        frame::patch_u16(out, at + 2, u16::try_from(length).unwrap_or(u16::MAX));
        return;
    };
    let end = out.len();
    out.copy_within(at + EXTENDED_HEADER..end, at + EXTENDED_HEADER - 1);
    out.truncate(end - 1);
    if let Some([flags, _, field]) = out.get_mut(at..at + 3) {
        *flags &= !flags::EXTENDED_LENGTH;
        *field = short;
    }
}

fn afi_safi(family: Family) -> Vec<u8> {
    let family = family.afi_safi();
    let [high, low] = family.afi.to_be_bytes();
    let mut octets = Vec::with_capacity(64);
    octets.extend_from_slice(&[high, low, family.safi]);
    octets
}

fn mapped(addr: Ipv4Addr) -> [u8; 16] {
    addr.to_ipv6_mapped().octets()
}

struct Packer<'a> {
    layout: Layout,
    /// Octets of NLRI that a message has room for: one prefix at least.
    room: usize,
    out: &'a mut BytesMut,
    messages: usize,
}

impl Packer<'_> {
    fn run(
        mut self,
        context: &EncodeContext,
        family: Family,
        prefixes: impl IntoIterator<Item = Nlri>,
    ) -> usize {
        let add_path = context.add_path.contains(family);
        let mut block = Block::new();
        let mut begun = None;
        let mut left = 0;
        for nlri in prefixes {
            if nlri.prefix.family() != family {
                continue;
            }
            let len = nlri::wire_len(nlri, add_path);
            if len > left {
                block.flush(self.out);
                self.close(begun);
                begun = Some(self.layout.begin(self.out));
                left = self.room;
            }
            block.push(nlri, add_path, self.out);
            left -= len;
        }
        block.flush(self.out);
        self.close(begun);
        self.messages
    }

    fn close(&mut self, begun: Option<Begun>) {
        if let Some(begun) = begun {
            self.layout.finish(begun, self.out);
            self.messages += 1;
        }
    }
}

/// NLRI on its way into the buffer: collected here with stores of fixed sizes, and appended a block at a
/// time.
struct Block {
    octets: [u8; Block::SIZE],
    used: usize,
}

impl Block {
    const SIZE: usize = 1024;

    fn new() -> Self {
        Self { octets: [0; Self::SIZE], used: 0 }
    }

    #[inline]
    fn push(&mut self, nlri: Nlri, add_path: bool, out: &mut BytesMut) {
        if self.used > Self::SIZE - MAX_WIRE {
            self.flush(out);
        }
        if let Some(to) = self.octets.get_mut(self.used..).and_then(|free| free.first_chunk_mut()) {
            nlri::write(nlri, add_path, to);
            self.used += nlri::wire_len(nlri, add_path);
        }
    }

    fn flush(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(self.octets.get(..self.used).unwrap_or_default());
        self.used = 0;
    }
}

#[cfg(test)]
mod tests;
