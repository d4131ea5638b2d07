//! AS_PATH and AS4_PATH (RFC 4271 §4.3, RFC 5065, RFC 6793, RFC 7606 §7.2).

use bytes::{BufMut, BytesMut};

use super::{AsPath, AsPathSegment, SegmentKind};
use crate::types::Asn;

/// The count octet of a segment.
const MAX_SEGMENT: usize = 255;

impl SegmentKind {
    const fn code(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfedSequence => 3,
            Self::ConfedSet => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Set),
            2 => Some(Self::Sequence),
            3 => Some(Self::ConfedSequence),
            4 => Some(Self::ConfedSet),
            _ => None,
        }
    }

    /// Whether the segment stays inside a confederation (RFC 5065 §3).
    #[must_use]
    pub const fn is_confed(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

impl AsPath {
    /// A path of one AS_SEQUENCE; the empty path where there is no number.
    #[must_use]
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        let asns: Vec<Asn> = asns.into_iter().collect();
        if asns.is_empty() {
            return Self::default();
        }
        Self { segments: vec![AsPathSegment { kind: SegmentKind::Sequence, asns }] }
    }

    /// The path length that route selection compares: a set counts as 1 (RFC 4271 §9.1.2.2 (a)), segments
    /// of a confederation as 0 (RFC 5065 §5.3).
    #[must_use]
    pub fn length(&self) -> usize {
        self.segments.iter().map(AsPathSegment::length).sum()
    }

    /// Every AS number, nearest first.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + '_ {
        self.segments.iter().flat_map(|segment| segment.asns.iter().copied())
    }

    /// The first AS number, where the path starts with a sequence.
    #[must_use]
    pub fn first(&self) -> Option<Asn> {
        let first = self.segments.first()?;
        if first.kind == SegmentKind::Sequence { first.asns.first().copied() } else { None }
    }

    /// The AS that originated the route: the last one of a path that ends with a sequence.
    #[must_use]
    pub fn origin(&self) -> Option<Asn> {
        let last = self.segments.last()?;
        if last.kind == SegmentKind::Sequence { last.asns.last().copied() } else { None }
    }
}

impl AsPathSegment {
    fn length(&self) -> usize {
        match self.kind {
            SegmentKind::Sequence => self.asns.len(),
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        }
    }
}

/// As looking glasses print it: `64500 64501 {64502 64503} (64510)`.
impl std::fmt::Display for AsPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, segment) in self.segments.iter().enumerate() {
            let (open, close) = match segment.kind {
                SegmentKind::Sequence => ("", ""),
                SegmentKind::Set => ("{", "}"),
                SegmentKind::ConfedSequence => ("(", ")"),
                SegmentKind::ConfedSet => ("[", "]"),
            };
            f.write_str(if place == 0 { "" } else { " " })?;
            f.write_str(open)?;
            for (place, asn) in segment.asns.iter().enumerate() {
                write!(f, "{}{asn}", if place == 0 { "" } else { " " })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

/// Why a value is no AS path (RFC 7606 §7.2, RFC 7607 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathFault {
    Kind(u8),
    Empty,
    Overrun,
    Zero,
}

impl std::fmt::Display for PathFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "segment type {kind} is not known"),
            Self::Empty => f.write_str("a segment has no AS number"),
            Self::Overrun => f.write_str("a segment runs past the attribute"),
            Self::Zero => f.write_str("AS 0 stands in the path"),
        }
    }
}

/// Reads a path of AS numbers of four octets each, or two.
pub(super) fn decode(value: &[u8], asn4: bool) -> Result<AsPath, PathFault> {
    let mut segments = Vec::new();
    let mut rest = value;
    while let [kind, count, after @ ..] = rest {
        let kind = SegmentKind::from_code(*kind).ok_or(PathFault::Kind(*kind))?;
        if *count == 0 {
            return Err(PathFault::Empty);
        }
        let size = usize::from(*count) * if asn4 { 4 } else { 2 };
        let (numbers, after) = after.split_at_checked(size).ok_or(PathFault::Overrun)?;
        segments.push(AsPathSegment { kind, asns: decode_numbers(numbers, asn4).ok_or(PathFault::Zero)? });
        rest = after;
    }
    // "There is an underrun where after the last successfully parsed segment there is only a single octet
    // remaining" (RFC 7606 §7.2).
    if rest.is_empty() { Ok(AsPath { segments }) } else { Err(PathFault::Overrun) }
}

/// `None` where one is 0.
fn decode_numbers(octets: &[u8], asn4: bool) -> Option<Vec<Asn>> {
    if asn4 {
        let (numbers, _) = octets.as_chunks::<4>();
        let mut asns = Vec::with_capacity(numbers.len());
        for number in numbers {
            asns.push(Asn::new(u32::from_be_bytes(*number))?);
        }
        Some(asns)
    } else {
        let (numbers, _) = octets.as_chunks::<2>();
        let mut asns = Vec::with_capacity(numbers.len());
        for number in numbers {
            asns.push(Asn::new(u32::from(u16::from_be_bytes(*number)))?);
        }
        Some(asns)
    }
}

/// Appends the path with AS numbers of four octets each, or two. A segment of more than 255 numbers becomes
/// several; an empty one is left out, since it would be malformed.
pub(super) fn encode(path: &AsPath, asn4: bool, out: &mut BytesMut) {
    for segment in &path.segments {
        for numbers in segment.asns.chunks(MAX_SEGMENT) {
            out.put_u8(segment.kind.code());
            out.put_u8(u8::try_from(numbers.len()).unwrap_or(u8::MAX));
            for asn in numbers {
                if asn4 {
                    out.put_u32(asn.get());
                } else {
                    out.put_u16(asn.two_octets());
                }
            }
        }
    }
}

/// What goes into AS4_PATH beside a two-octet AS_PATH: the path without confederation segments, and
/// nothing where two octets hold every number (RFC 6793 §4.2.2).
pub(super) fn as4_path(path: &AsPath) -> Option<AsPath> {
    let segments: Vec<_> =
        path.segments.iter().filter(|segment| !segment.kind.is_confed()).cloned().collect();
    let path = AsPath { segments };
    let wide = path.asns().any(|asn| u16::try_from(asn.get()).is_err());
    wide.then_some(path)
}

/// The path that AS_PATH and AS4_PATH of a two-octet speaker give together (RFC 6793 §4.2.3): AS4_PATH,
/// and in front of it as much of AS_PATH as makes the two equally long.
pub(super) fn merge(as_path: AsPath, as4_path: AsPath) -> AsPath {
    // Confederation segments in AS4_PATH: "MUST discard these path segments" (RFC 6793 §6).
    let newer: Vec<_> = as4_path.segments.into_iter().filter(|segment| !segment.kind.is_confed()).collect();
    let newer = AsPath { segments: newer };
    // "If the number of AS numbers in the AS_PATH attribute is less than the number of AS numbers in the
    // AS4_PATH attribute, then the AS4_PATH attribute SHALL be ignored" (RFC 6793 §4.2.3).
    let Some(mut missing) = as_path.length().checked_sub(newer.length()) else { return as_path };
    let mut segments: Vec<AsPathSegment> = Vec::new();
    for mut segment in as_path.segments {
        let length = segment.length();
        // "a valid AS_CONFED_SEQUENCE or AS_CONFED_SET path segment SHALL be prepended if it is either the
        // leading path segment or is adjacent to a path segment that is prepended": its length is 0.
        if length <= missing {
            missing -= length;
            segments.push(segment);
            continue;
        }
        if missing > 0 {
            segment.asns.truncate(missing);
            segments.push(segment);
        }
        break;
    }
    let mut newer = newer.segments.into_iter();
    if let (Some(last), Some(first)) = (segments.last_mut(), newer.as_slice().first())
        && last.kind == SegmentKind::Sequence
        && first.kind == SegmentKind::Sequence
        && last.asns.len() + first.asns.len() <= MAX_SEGMENT
    {
        last.asns.extend_from_slice(&first.asns);
        newer.next();
    }
    segments.extend(newer);
    AsPath { segments }
}

#[cfg(test)]
mod tests;
