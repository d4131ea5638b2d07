//! Network Layer Reachability Information (RFC 4271 §4.3, RFC 4760 §5, RFC 7911 §3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};

use crate::types::{Family, Prefix};

/// One destination: a prefix, and a path identifier where ADD-PATH is in use (RFC 7911 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    /// The path identifier.
    pub path_id: Option<u32>,
    /// The destination.
    pub prefix: Prefix,
}

impl From<Prefix> for Nlri {
    fn from(prefix: Prefix) -> Self {
        Self { path_id: None, prefix }
    }
}

/// A run of NLRI that was checked once and stays in wire form, so that counting a full table costs no
/// allocation a prefix. It shares memory with the buffer that the message was read from, which lives as long:
/// what is to be kept is copied out of it. Two blocks are equal when they name the same destinations in the
/// same order.
#[derive(Clone)]
pub struct NlriBlock {
    family: Family,
    add_path: bool,
    count: usize,
    bytes: Bytes,
}

/// Why octets are no NLRI (RFC 7606 §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NlriFault {
    /// A prefix length greater than the family's.
    Length {
        /// Where, in octets from the field's start.
        offset: usize,
        /// The length.
        len: u8,
    },
    /// The last destination runs past the field.
    Overrun {
        /// Where it starts, in octets from the field's start.
        offset: usize,
    },
}

impl fmt::Display for NlriFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { offset, len } => write!(f, "a prefix length of {len} at octet {offset}"),
            Self::Overrun { offset } => write!(f, "the prefix at octet {offset} runs past the field"),
        }
    }
}

impl NlriBlock {
    /// A block of `nlri`, all of `family`. With a path identifier on the first one all get one, 0 where
    /// they have none; otherwise none has one. Destinations of another family are left out.
    #[must_use]
    pub fn new(family: Family, nlri: impl IntoIterator<Item = Nlri>) -> Self {
        let mut nlri = nlri.into_iter().filter(|nlri| nlri.prefix.family() == family).peekable();
        let add_path = nlri.peek().is_some_and(|first| first.path_id.is_some());
        let mut bytes = BytesMut::new();
        let mut count = 0;
        for destination in nlri {
            let mut wire = [0; MAX_WIRE];
            write(destination, add_path, &mut wire);
            bytes.extend_from_slice(wire.get(..wire_len(destination, add_path)).unwrap_or_default());
            count += 1;
        }
        Self { family, add_path, count, bytes: bytes.freeze() }
    }

    /// Checks `field`, a part of `frame`, which a peer sent. An empty field is an empty block.
    pub(super) fn check(
        family: Family,
        add_path: bool,
        frame: &Bytes,
        field: &[u8],
    ) -> Result<Self, NlriFault> {
        let count = count(field, add_path, family.max_len())?;
        Ok(Self { family, add_path, count, bytes: frame.slice_ref(field) })
    }

    /// The family of every destination.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// How many destinations; repeated ones count each time.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there is no destination.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The destinations in wire form.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The destinations in the order sent, host bits cleared.
    #[must_use]
    pub fn iter(&self) -> NlriIter<'_> {
        NlriIter { family: self.family, add_path: self.add_path, left: self.count, rest: &self.bytes }
    }
}

impl PartialEq for NlriBlock {
    fn eq(&self, other: &Self) -> bool {
        self.family == other.family && self.iter().eq(other)
    }
}

impl Eq for NlriBlock {}

impl fmt::Debug for NlriBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.family)?;
        f.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a NlriBlock {
    type Item = Nlri;
    type IntoIter = NlriIter<'a>;

    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

/// Iterates over a [`NlriBlock`].
#[derive(Debug, Clone)]
pub struct NlriIter<'a> {
    family: Family,
    add_path: bool,
    left: usize,
    rest: &'a [u8],
}

impl Iterator for NlriIter<'_> {
    type Item = Nlri;

    /// The `?`s never end the run early: `NlriBlock::check` has been over the same octets.
    #[inline]
    fn next(&mut self) -> Option<Nlri> {
        let mut rest = self.rest;
        let path_id = if self.add_path {
            let (id, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            Some(u32::from_be_bytes(*id))
        } else {
            None
        };
        let (len, after) = rest.split_first()?;
        self.rest = after.get(octets(*len)..)?;
        self.left = self.left.saturating_sub(1);
        let addr = match self.family {
            Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::from(leading(after))),
            Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::from(leading(after))),
        };
        // Clears what is behind the prefix: host bits, and the octets of the next destination.
        Prefix::new(addr, *len).ok().map(|prefix| Nlri { path_id, prefix })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for NlriIter<'_> {}

/// How many octets a prefix of `len` bits takes: it ends with "the minimum number of trailing bits needed to
/// make the end of the field fall on an octet boundary" (RFC 4271 §4.3).
#[inline]
fn octets(len: u8) -> usize {
    usize::from(len).div_ceil(8)
}

/// The first `N` octets, with zeros where there are fewer. Reading a fixed number and clearing what is too
/// much is faster than copying a variable one.
#[inline]
fn leading<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.first_chunk::<N>().copied().unwrap_or_else(|| {
        let mut address = [0; N];
        for (to, from) in address.iter_mut().zip(octets) {
            *to = *from;
        }
        address
    })
}

fn count(field: &[u8], add_path: bool, max_len: u8) -> Result<usize, NlriFault> {
    let offset = |rest: &[u8]| field.len() - rest.len();
    let mut count = 0;
    let mut rest = field;
    while !rest.is_empty() {
        let start = rest;
        if add_path {
            rest = rest.get(4..).ok_or_else(|| NlriFault::Overrun { offset: offset(start) })?;
        }
        let Some((len, after)) = rest.split_first() else {
            return Err(NlriFault::Overrun { offset: offset(start) });
        };
        if *len > max_len {
            return Err(NlriFault::Length { offset: offset(start), len: *len });
        }
        rest = after.get(octets(*len)..).ok_or_else(|| NlriFault::Overrun { offset: offset(start) })?;
        count += 1;
    }
    Ok(count)
}

/// The most octets that one destination takes: a path identifier, a length and an IPv6 address.
pub(super) const MAX_WIRE: usize = 4 + 1 + 16;

/// The most octets that a destination of `family` takes.
pub(super) fn max_wire_len(family: Family, add_path: bool) -> usize {
    usize::from(add_path) * 4 + 1 + octets(family.max_len())
}

/// How many octets `nlri` takes.
#[inline]
pub(super) fn wire_len(nlri: Nlri, add_path: bool) -> usize {
    usize::from(add_path) * 4 + 1 + octets(nlri.prefix.len())
}

/// Writes `nlri`. The address is written in full, which is faster than a part of it: what stands behind
/// [`wire_len`] is not part of the destination.
#[inline]
pub(super) fn write(nlri: Nlri, add_path: bool, to: &mut [u8; MAX_WIRE]) {
    let start = if add_path {
        if let Some(id) = to.first_chunk_mut() {
            *id = nlri.path_id.unwrap_or_default().to_be_bytes();
        }
        4
    } else {
        0
    };
    let Some([len, to @ ..]) = to.get_mut(start..) else { return };
    *len = nlri.prefix.len();
    match nlri.prefix.addr() {
        IpAddr::V4(addr) => {
            if let Some(to) = to.first_chunk_mut() {
                *to = addr.octets();
            }
        }
        IpAddr::V6(addr) => {
            if let Some(to) = to.first_chunk_mut() {
                *to = addr.octets();
            }
        }
    }
}

#[cfg(test)]
mod tests;
