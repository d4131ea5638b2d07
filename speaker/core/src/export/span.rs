//! What one or more peers are to be told, encoded once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bgp_proto::types::{Family, Prefix};
use bgp_proto::wire::{
    EncodeContext, NextHop, Nlri, PathAttributes, end_of_rib, pack_announcements, pack_withdrawals,
};
use bytes::{Bytes, BytesMut};

/// The path identifier of our one path, where the peer wants identifiers (RFC 7911 §3).
pub(super) const PATH_ID: u32 = 1;

/// The most that a chunk holds. A KEEPALIVE can go between any two chunks.
const CHUNK: usize = 64 * 1024;

/// Attributes that routes share; one allocation a set and group.
#[derive(Debug)]
pub(super) struct AttributeSet {
    /// Orders the sets of a group by their age, so that the order on the wire depends on no address.
    pub(super) id: u64,
    pub(super) attributes: PathAttributes,
}

/// What a peer is to be told between two places of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Span {
    /// Whole UPDATE messages, in chunks of 64 KiB at most; never empty.
    pub bytes: Vec<Bytes>,
    /// How many messages these are.
    pub messages: usize,
    /// How many destinations they announce.
    pub announced: usize,
    /// How many destinations they withdraw.
    pub withdrawn: usize,
    /// This is the End-of-RIB marker (RFC 4724 §2) and nothing else.
    pub end_of_rib: bool,
}

impl Span {
    /// The End-of-RIB marker.
    pub(super) fn end_of_rib(family: Family) -> Self {
        Self { bytes: vec![end_of_rib(family)], messages: 1, announced: 0, withdrawn: 0, end_of_rib: true }
    }

    /// The size of all messages, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.bytes.iter().map(Bytes::len).sum()
    }
}

/// How a table's routes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) family: Family,
    /// Absent where the family is held: then the table is empty.
    pub(super) next_hop: Option<NextHop>,
    pub(super) context: EncodeContext,
}

/// What is newer than a cursor, collected from a table.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Destinations by attribute set, in ascending order.
    pub(super) announce: BTreeMap<u64, (Arc<AttributeSet>, Vec<Prefix>)>,
    /// In ascending order.
    pub(super) withdraw: Vec<Prefix>,
    /// The table is at its `maxAdvertised`: what is only pushed out goes first.
    pub(super) at_limit: bool,
}

impl Pending {
    pub(super) fn announce(&mut self, set: &Arc<AttributeSet>, prefix: Prefix) {
        self.announce.entry(set.id).or_insert_with(|| (Arc::clone(set), Vec::new())).1.push(prefix);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.announce.is_empty() && self.withdraw.is_empty()
    }

    /// Announcements go before the withdrawals that they replace (design §5, "Order on the wire").
    fn encode(&self, encoding: &Encoding) -> Span {
        let Encoding { family, next_hop, context } = encoding;
        let with_id = context.add_path.contains(*family);
        let nlri = |prefix: &Prefix| Nlri { path_id: with_id.then_some(PATH_ID), prefix: *prefix };
        let mut out = BytesMut::new();
        let (mut messages, mut announced) = (0, 0);
        let (first, mut last) = self.withdrawals();
        if !first.is_empty() {
            messages += pack_withdrawals(context, *family, first.iter().map(nlri), &mut out);
        }
        for (set, prefixes) in self.announce.values() {
            let packed = next_hop.as_ref().and_then(|next_hop| {
                let destinations = prefixes.iter().map(nlri);
                pack_announcements(context, *family, &set.attributes, next_hop, destinations, &mut out).ok()
            });
            match packed {
                Some(count) => {
                    announced += prefixes.len();
                    messages += count;
                }
                // What cannot be said must not leave an older version standing with the peer. The exporter
                // holds such sets back, so that this is not reached through it.
                None => last.extend(prefixes),
            }
        }
        if !last.is_empty() {
            messages += pack_withdrawals(context, *family, last.iter().map(nlri), &mut out);
        }
        let withdrawn = first.len() + last.len();
        Span { bytes: chunks(out.freeze()), messages, announced, withdrawn, end_of_rib: false }
    }

    /// Which withdrawals go before the announcements, and which behind them.
    ///
    /// At the limit a peer's own maximum may equal ours: announcing before withdrawing would pass it and
    /// cost the session. So what no announcement of this span covers or splits goes first; it has no
    /// replacement to wait for.
    fn withdrawals(&self) -> (Vec<Prefix>, Vec<Prefix>) {
        if !self.at_limit {
            return (Vec::new(), self.withdraw.clone());
        }
        let announced: BTreeSet<Prefix> =
            self.announce.values().flat_map(|(_, prefixes)| prefixes).copied().collect();
        let replaced = |prefix: &Prefix| {
            announced.range(*prefix..).next().is_some_and(|next| prefix.covers(*next))
                || (0..prefix.len())
                    .filter_map(|len| Prefix::new(prefix.addr(), len).ok())
                    .any(|wider| announced.contains(&wider))
        };
        self.withdraw.iter().copied().partition(|prefix| !replaced(prefix))
    }
}

/// Cuts at message boundaries, at most [`CHUNK`] apart: no message is longer than 65535 octets.
fn chunks(mut bytes: Bytes) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(bytes.len() / CHUNK + 1);
    let mut end = 0;
    // RFC 4271 §4.1: the length is the two octets after the marker, and counts the header.
    while let Some(length) = bytes.get(end + 16..end + 18) {
        let length = length.iter().fold(0, |length, octet| (length << 8) | usize::from(*octet));
        if end + length > CHUNK {
            chunks.push(bytes.split_to(end));
            end = 0;
        }
        end += length;
    }
    if !bytes.is_empty() {
        chunks.push(bytes);
    }
    chunks
}

/// A span that is encoded when it is first asked for.
#[derive(Debug)]
pub(super) struct Cell {
    pending: Mutex<Pending>,
    span: OnceLock<Arc<Span>>,
}

impl Cell {
    pub(super) fn new(pending: Pending) -> Self {
        Self { pending: Mutex::new(pending), span: OnceLock::new() }
    }

    /// Waits where another peer's task is encoding it at this moment.
    pub(super) fn span(&self, encoding: &Encoding) -> Arc<Span> {
        let encode = || {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let span = Arc::new(pending.encode(encoding));
            // From here on the bytes are enough.
            *pending = Pending::default();
            span
        };
        Arc::clone(self.span.get_or_init(encode))
    }
}

#[cfg(test)]
mod tests;
