//! IP prefixes.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Family;

/// An IP prefix whose host bits are zero. Ordered by family, address, then length, so that a covering
/// prefix comes right before what it covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "IpNet", into = "IpNet")]
pub struct Prefix(IpNet);

/// Why a text is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Not `ADDRESS/LENGTH`.
    #[error("{0:?} is not a prefix; write it as 203.0.113.0/24 or 2001:db8::/32")]
    Syntax(String),
    /// A length over 32 or 128.
    #[error("a length of {len} is too long for {addr}")]
    Length {
        /// The address.
        addr: IpAddr,
        /// The length asked for.
        len: u8,
    },
}

impl Prefix {
    /// A prefix of `addr`, whose host bits are cleared.
    ///
    /// # Errors
    /// `len` is over 32 or 128.
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, PrefixError> {
        IpNet::new(addr, len).map(Self::from).map_err(|_| PrefixError::Length { addr, len })
    }

    /// The /32 or /128 of an address.
    #[must_use]
    pub fn host(addr: IpAddr) -> Self {
        Self(IpNet::from(addr))
    }

    /// The first address.
    #[must_use]
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }

    /// The last address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// The length in bits.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the length of a prefix is its mask, not a count")]
    pub fn len(self) -> u8 {
        self.0.prefix_len()
    }

    /// The family.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.addr())
    }

    /// Whether this is a /32 or /128.
    #[must_use]
    pub fn is_host(self) -> bool {
        self.len() == self.family().max_len()
    }

    /// Whether every address of `other` is in this prefix.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.len() <= other.len() && self.contains(other.addr())
    }

    /// Whether `addr` is in this prefix.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        self.0.contains(&addr)
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// As an `IpNet`.
    #[must_use]
    pub const fn as_ipnet(self) -> IpNet {
        self.0
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Self {
        Self(net.trunc())
    }
}

impl From<Prefix> for IpNet {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        text.parse::<IpNet>().map(Self::from).map_err(|_| PrefixError::Syntax(text.to_owned()))
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.addr(), self.len()).cmp(&(other.addr(), other.len()))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(prefix("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(Prefix::new("2001:db8::1".parse().unwrap(), 32).unwrap().to_string(), "2001:db8::/32");
    }

    #[test]
    fn a_covering_prefix_sorts_before_what_it_covers() {
        let mut all = ["2001:db8::/32", "10.0.0.0/24", "9.0.0.0/8", "10.0.0.0/8"].map(prefix);
        all.sort();
        assert_eq!(all.map(|p| p.to_string()), ["9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/24", "2001:db8::/32"]);
    }

    #[test]
    fn covering_keeps_the_families_apart() {
        assert!(prefix("0.0.0.0/0").covers(prefix("10.0.0.0/8")));
        assert!(!prefix("0.0.0.0/0").covers(prefix("::/0")));
        assert!(prefix("10.0.0.0/8").overlaps(prefix("0.0.0.0/0")));
    }

    #[test]
    fn an_overlong_length_is_refused() {
        assert!(Prefix::new("10.0.0.0".parse().unwrap(), 33).is_err());
        assert!("10.0.0.0".parse::<Prefix>().is_err());
    }
}
