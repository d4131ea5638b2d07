//! From a pool's ranges to the prefixes that announce them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp_proto::types::Prefix;
use thiserror::Error;

use crate::span::{Span, addr};

/// The most prefixes that one block is split into.
pub const MAX_PARTS: u128 = 256;

/// Why prefixes of the length asked for cannot stand for a pool.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CoverError {
    /// The length is shorter than the block, and other people's addresses would be announced.
    #[error(
        "{prefix} is not wholly in the pool: use a length of at least /{enough}, or set allowBeyondPool where the whole of {prefix} is yours"
    )]
    BeyondPool {
        /// The prefix that the pool does not fill.
        prefix: Prefix,
        /// The length of the longest prefix of the exact cover within it.
        enough: u8,
    },
    /// The length is so much longer than the block that it splits into more than [`MAX_PARTS`].
    #[error(
        "{first} - {last} splits into {parts} prefixes of /{len}, and {MAX_PARTS} is the most: use a shorter length, or exact"
    )]
    TooManyParts {
        /// The block's first address.
        first: IpAddr,
        /// The block's last address.
        last: IpAddr,
        /// The length asked for.
        len: u8,
        /// How many there would be.
        parts: u128,
    },
    /// The family has no such length.
    #[error("a length of {len} is too long for {first}")]
    Length {
        /// The block's first address.
        first: IpAddr,
        /// The length asked for.
        len: u8,
    },
}

/// The fewest prefixes that cover the ranges and no address more, in order. Ranges may overlap, touch, and be
/// of both families; each is inclusive, and one with ends in two families counts for nothing.
#[must_use]
pub fn exact_cover(ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Vec<Prefix> {
    merge(ranges).into_iter().flat_map(prefixes).collect()
}

/// The prefixes of length `len` that the ranges touch, in order: the cover where an operator fixes the length.
///
/// # Errors
/// A prefix that the ranges together do not fill, unless `allow_beyond_pool`; a range that
/// needs more than [`MAX_PARTS`] prefixes; a length that the family does not have.
pub fn fixed_cover(
    ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>,
    len: u8,
    allow_beyond_pool: bool,
) -> Result<Vec<Prefix>, CoverError> {
    let ranges: Vec<_> = ranges.into_iter().collect();
    let merged = merge(ranges.iter().copied());
    let mut wanted = BTreeSet::new();
    for span in ranges.iter().filter_map(|(first, last)| Span::between(*first, *last)) {
        let (first, last) = span.addrs();
        let host_bits = span.family.max_len().checked_sub(len).ok_or(CoverError::Length { first, len })?;
        let piece = |bits: u128| bits.checked_shr(u32::from(host_bits)).unwrap_or(0);
        let parts = (piece(span.last) - piece(span.first)).saturating_add(1);
        if parts > MAX_PARTS {
            return Err(CoverError::TooManyParts { first, last, len, parts });
        }
        for part in piece(span.first)..=piece(span.last) {
            let start = part.checked_shl(u32::from(host_bits)).unwrap_or(0);
            wanted.extend(Prefix::new(addr(span.family, start), len));
        }
    }
    if let Some(prefix) = wanted.iter().copied().filter(|_| !allow_beyond_pool).find(|p| !fills(&merged, *p))
    {
        let within = merged.iter().copied().flat_map(prefixes).filter(|part| prefix.covers(*part));
        let enough = within.map(Prefix::len).max().unwrap_or(len);
        return Err(CoverError::BeyondPool { prefix, enough });
    }
    Ok(wanted.into_iter().collect())
}

/// Whether the merged ranges hold every address of the prefix.
fn fills(merged: &[Span], prefix: Prefix) -> bool {
    merged.iter().any(|span| span.contains(prefix.addr()) && span.contains(prefix.last()))
}

/// The ranges in order, with those that overlap or touch made one.
fn merge(ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Vec<Span> {
    let mut spans: Vec<Span> =
        ranges.into_iter().filter_map(|(first, last)| Span::between(first, last)).collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(left) if left.family == span.family && span.first <= left.last.saturating_add(1) => {
                left.last = left.last.max(span.last);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// The fewest prefixes of one range: always the largest that is aligned and fits.
fn prefixes(span: Span) -> impl Iterator<Item = Prefix> {
    let mut next = Some(span.first);
    std::iter::from_fn(move || {
        let first = next?;
        let rest = span.last.checked_sub(first)?;
        let fitting = rest.checked_add(1).map_or(128, u128::ilog2);
        let max_len = span.family.max_len();
        let host_bits = first.trailing_zeros().min(fitting).min(u32::from(max_len));
        next = 1u128.checked_shl(host_bits).and_then(|size| first.checked_add(size));
        let len = max_len.saturating_sub(u8::try_from(host_bits).unwrap_or(max_len));
        Prefix::new(addr(span.family, first), len).ok()
    })
}

#[cfg(test)]
mod tests {
    use bgp_proto::types::Family;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::span::last_bits;

    fn range(text: &str) -> (IpAddr, IpAddr) {
        match text.split_once('-') {
            Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
            None => {
                let prefix: Prefix = text.parse().unwrap();
                (prefix.addr(), prefix.last())
            }
        }
    }

    fn exact(texts: &[&str]) -> Vec<String> {
        exact_cover(texts.iter().map(|text| range(text))).iter().map(ToString::to_string).collect()
    }

    fn fixed(texts: &[&str], len: u8, beyond: bool) -> Result<Vec<String>, CoverError> {
        let cover = fixed_cover(texts.iter().map(|text| range(text)), len, beyond)?;
        Ok(cover.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn adjacent_blocks_become_one_prefix() {
        assert_eq!(exact(&["10.0.0.128/25", "10.0.0.0/25", "10.0.1.0/24"]), ["10.0.0.0/23"]);
        assert_eq!(exact(&["0.0.0.0/1", "128.0.0.0/1"]), ["0.0.0.0/0"]);
        assert_eq!(exact(&["::/0"]), ["::/0"]);
        assert_eq!(exact(&["255.255.255.255/32", "::/128"]), ["255.255.255.255/32", "::/128"]);
    }

    #[test]
    fn a_range_is_covered_by_the_fewest_and_no_address_more() {
        assert_eq!(
            exact(&["192.0.2.10-192.0.2.50"]),
            [
                "192.0.2.10/31",
                "192.0.2.12/30",
                "192.0.2.16/28",
                "192.0.2.32/28",
                "192.0.2.48/31",
                "192.0.2.50/32"
            ]
        );
        let all_but_ends = "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe";
        assert_eq!(exact(&[all_but_ends]).len(), 254);
    }

    #[test]
    fn a_longer_length_splits_into_256_at_most() {
        let parts = fixed(&["10.1.0.0/16"], 24, false).unwrap();
        assert_eq!((parts.len(), &*parts[0], &*parts[255]), (256, "10.1.0.0/24", "10.1.255.0/24"));
        let error = fixed(&["10.0.0.0/15"], 24, true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.0.0.0 - 10.1.255.255 splits into 512 prefixes of /24, and 256 is the most: use a shorter length, or exact"
        );
        let error = fixed(&["::/0"], 128, true).unwrap_err();
        assert!(matches!(error, CoverError::TooManyParts { parts: u128::MAX, .. }));
        assert_eq!(fixed(&["::/0"], 0, false).unwrap(), ["::/0"]);
        assert_eq!(fixed(&["::/0"], 1, false).unwrap(), ["::/1", "8000::/1"]);
    }

    #[test]
    fn a_shorter_length_needs_leave() {
        let error = fixed(&["10.0.0.16/28"], 24, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.0.0.0/24 is not wholly in the pool: use a length of at least /28, or set allowBeyondPool where the whole of 10.0.0.0/24 is yours"
        );
        assert_eq!(fixed(&["10.0.0.16/28"], 24, true).unwrap(), ["10.0.0.0/24"]);
        // Two halves fill the whole: nobody else's address is announced.
        assert_eq!(fixed(&["10.0.0.0/25", "10.0.0.128/25"], 24, false).unwrap(), ["10.0.0.0/24"]);
        assert!(fixed(&["10.0.0.0-10.0.1.127"], 24, false).is_err());
    }

    #[test]
    fn a_length_that_the_family_lacks_is_refused() {
        assert_eq!(
            fixed(&["10.0.0.0/24"], 64, true).unwrap_err().to_string(),
            "a length of 64 is too long for 10.0.0.0"
        );
    }

    /// Ranges in the last 64 addresses of a family.
    fn spans() -> impl Strategy<Value = (Family, Vec<(u8, u8)>)> {
        let family = prop_oneof![Just(Family::Ipv4Unicast), Just(Family::Ipv6Unicast)];
        (family, vec((0..64u8, 0..64u8), 0..5))
    }

    fn ends(family: Family, ranges: &[(u8, u8)]) -> Vec<(IpAddr, IpAddr)> {
        let at = |offset: u8| addr(family, last_bits(family) - 63 + u128::from(offset));
        ranges.iter().map(|(a, b)| (at(*a), at(*b))).collect()
    }

    fn members(family: Family, ranges: &[(u8, u8)]) -> BTreeSet<IpAddr> {
        let at = |offset: u8| addr(family, last_bits(family) - 63 + u128::from(offset));
        ranges.iter().flat_map(|(a, b)| (*a.min(b)..=*a.max(b)).map(at)).collect()
    }

    /// The fewest aligned blocks by recursion over the binary tree: whole, or what both halves need.
    fn fewest(all: &BTreeSet<IpAddr>, prefix: Prefix) -> usize {
        let inside = all.range(prefix.addr()..=prefix.last()).count();
        let host_bits = prefix.family().max_len() - prefix.len();
        if inside == 0 {
            0
        } else if host_bits < 7 && inside == 1 << host_bits {
            1
        } else {
            let left = Prefix::new(prefix.addr(), prefix.len() + 1).unwrap();
            let right = Prefix::new(prefix.last(), prefix.len() + 1).unwrap();
            fewest(all, left) + fewest(all, right)
        }
    }

    proptest! {
        #[test]
        fn the_exact_cover_holds_what_the_ranges_hold_in_the_fewest_prefixes((family, ranges) in spans()) {
            let cover = exact_cover(ends(family, &ranges));
            let wanted = members(family, &ranges);
            prop_assert!(cover.is_sorted());
            for offset in 0..64 {
                let at = addr(family, last_bits(family) - offset);
                let count = cover.iter().filter(|prefix| prefix.contains(at)).count();
                prop_assert_eq!(count, usize::from(wanted.contains(&at)));
            }
            let root = Prefix::new(addr(family, last_bits(family)), family.max_len() - 6).unwrap();
            prop_assert!(cover.iter().all(|prefix| root.covers(*prefix)));
            prop_assert_eq!(cover.len(), fewest(&wanted, root));
        }

        #[test]
        fn the_fixed_cover_is_every_prefix_that_the_ranges_touch(
            (family, ranges) in spans(), shorter in 0..8u8, beyond: bool
        ) {
            let len = family.max_len() - shorter;
            let wanted = members(family, &ranges);
            let touched: BTreeSet<Prefix> =
                wanted.iter().map(|at| Prefix::new(*at, len).unwrap()).collect();
            let filled = |prefix: &&Prefix| {
                wanted.range(prefix.addr()..=prefix.last()).count() == 1 << shorter
            };
            match fixed_cover(ends(family, &ranges), len, beyond) {
                Ok(cover) => {
                    prop_assert_eq!(&cover, &touched.iter().copied().collect::<Vec<_>>());
                    prop_assert!(beyond || touched.iter().all(|prefix| filled(&prefix)));
                }
                Err(CoverError::BeyondPool { prefix, enough }) => {
                    prop_assert!(!beyond && touched.contains(&prefix) && !filled(&&prefix));
                    prop_assert!(enough > len);
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
