//! Inclusive ranges of addresses as numbers, and how many addresses they hold.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::Family;
use serde::{Serialize, Serializer};

/// An address as a number within its family.
#[must_use]
pub(crate) const fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of a number; a number beyond the family's last address gives the last address.
#[must_use]
pub(crate) fn addr(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))),
        Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// The number of the family's last address.
#[must_use]
pub(crate) const fn last_bits(family: Family) -> u128 {
    match family {
        Family::Ipv4Unicast => u32::MAX as u128,
        Family::Ipv6Unicast => u128::MAX,
    }
}

/// An inclusive range of one family with first ≤ last, so that it holds an address, and `::/0` fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) family: Family,
    pub(crate) first: u128,
    pub(crate) last: u128,
}

impl Span {
    /// The range between two addresses of one family in either order; `None` for two families.
    pub(crate) fn between(one: IpAddr, other: IpAddr) -> Option<Self> {
        let family = Family::of(one);
        let (a, b) = (bits(one), bits(other));
        (family == Family::of(other)).then(|| Self { family, first: a.min(b), last: a.max(b) })
    }

    pub(crate) fn addrs(self) -> (IpAddr, IpAddr) {
        (addr(self.family, self.first), addr(self.family, self.last))
    }

    pub(crate) fn contains(self, other: IpAddr) -> bool {
        self.family == Family::of(other) && (self.first..=self.last).contains(&bits(other))
    }

    /// How many addresses it holds.
    pub(crate) fn count(self) -> Count {
        // last - first + 1 is 2^128 for ::/0 alone, which `Count` carries.
        Count::from(self.last - self.first) + Count::from(1)
    }
}

/// A count of addresses: the sum of some ranges, each of up to 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Count {
    /// Multiples of 2^128.
    high: u64,
    low: u128,
}

impl Count {
    /// The count as a float, for whoever draws it: its first digits.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a graph has no use for more than 15 digits")]
    pub fn as_f64(self) -> f64 {
        // 2^128.
        const HIGH: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;
        (self.high as f64).mul_add(HIGH, self.low as f64)
    }

    /// The count as a number, where it fits.
    #[must_use]
    pub const fn as_u128(self) -> Option<u128> {
        if self.high == 0 { Some(self.low) } else { None }
    }

    /// What is left after `other` is taken away; zero where that is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        match self.high.checked_sub(other.high) {
            Some(high) if !borrow => Self { high, low },
            Some(high) if high > 0 => Self { high: high - 1, low },
            _ => Self { high: 0, low: 0 },
        }
    }
}

impl From<u128> for Count {
    fn from(low: u128) -> Self {
        Self { high: 0, low }
    }
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        Self { high: self.high.saturating_add(other.high).saturating_add(u64::from(carry)), low }
    }
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, count| sum + count)
    }
}

impl fmt::Display for Count {
    /// In decimal, as `cilium.io/IPsAvailable` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(small) = self.as_u128() {
            return small.fmt(f);
        }
        // Schoolbook division of 192 bits by 10^18, most significant limb first.
        const BASE: u128 = 1_000_000_000_000_000_000;
        const MASK: u128 = u64::MAX as u128;
        let mut limbs = [u128::from(self.high), self.low >> 64, self.low & MASK];
        let mut groups = Vec::new();
        while limbs.iter().any(|limb| *limb != 0) {
            let mut rest = 0;
            for limb in &mut limbs {
                let value = (rest << 64) | *limb;
                *limb = value / BASE;
                rest = value % BASE;
            }
            groups.push(rest);
        }
        let mut text = String::new();
        for (index, group) in groups.iter().rev().enumerate() {
            text.push_str(&if index == 0 { group.to_string() } else { format!("{group:018}") });
        }
        f.pad_integral(true, "", &text)
    }
}

impl Serialize for Count {
    /// As a decimal text: JSON numbers end at 2^53.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: &str, last: &str) -> Span {
        Span::between(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    }

    #[test]
    fn counts_reach_beyond_two_to_the_128() {
        let all = span("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(all.count().to_string(), "340282366920938463463374607431768211456");
        assert_eq!(all.count().as_u128(), None);
        assert_eq!((all.count() + all.count()).to_string(), "680564733841876926926749214863536422912");
        assert_eq!(all.count().saturating_sub(Count::from(1)).as_u128(), Some(u128::MAX));
        assert_eq!(Count::from(1).saturating_sub(all.count()), Count::default());
        assert_eq!(Count::from(1).saturating_sub(Count::from(2)), Count::default());
        assert_eq!((all.count() + Count::from(5)).saturating_sub(all.count()), Count::from(5));
    }

    #[test]
    fn a_slash_48_counts_to_a_decimal() {
        let block = span("2001:db8::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(block.count().to_string(), "1208925819614629174706176");
        assert_eq!(
            serde_json::to_string(&span("10.0.0.0", "10.255.255.255").count()).unwrap(),
            "\"16777216\""
        );
    }

    #[test]
    fn the_families_do_not_mix() {
        assert_eq!(Span::between("0.0.0.1".parse().unwrap(), "::1".parse().unwrap()), None);
        assert!(!span("::", "::ff").contains("0.0.0.1".parse().unwrap()));
    }
}
