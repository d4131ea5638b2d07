//! BGP identifiers.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A BGP identifier: "a 4-octet, unsigned, non-zero integer" (RFC 6286 §2.1). It need not be an address:
/// multicast and broadcast values are legal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Ipv4Addr", into = "Ipv4Addr")]
pub struct RouterId(Ipv4Addr);

/// Why a text or number is no BGP identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouterIdError {
    /// RFC 6286 §2.1.
    #[error("a router ID of 0.0.0.0 is not allowed (RFC 6286)")]
    Zero,
    /// Not in dotted notation.
    #[error("{0:?} is not a router ID; write it as an IPv4 address, for example 10.0.0.1")]
    Syntax(String),
}

impl RouterId {
    /// A router ID; `None` for 0.0.0.0.
    #[must_use]
    pub const fn new(id: Ipv4Addr) -> Option<Self> {
        if id.to_bits() == 0 { None } else { Some(Self(id)) }
    }

    /// As the unsigned integer that collision detection compares (RFC 4271 §6.8).
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0.to_bits()
    }

    /// In dotted notation.
    #[must_use]
    pub const fn as_ipv4(self) -> Ipv4Addr {
        self.0
    }
}

impl TryFrom<Ipv4Addr> for RouterId {
    type Error = RouterIdError;

    fn try_from(id: Ipv4Addr) -> Result<Self, RouterIdError> {
        Self::new(id).ok_or(RouterIdError::Zero)
    }
}

impl From<RouterId> for Ipv4Addr {
    fn from(id: RouterId) -> Self {
        id.0
    }
}

impl FromStr for RouterId {
    type Err = RouterIdError;

    fn from_str(text: &str) -> Result<Self, RouterIdError> {
        Self::try_from(text.parse::<Ipv4Addr>().map_err(|_| RouterIdError::Syntax(text.to_owned()))?)
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_refused() {
        assert!(RouterId::new(Ipv4Addr::UNSPECIFIED).is_none());
        assert!(RouterId::new(Ipv4Addr::BROADCAST).is_some());
        assert!("224.0.0.5".parse::<RouterId>().is_ok());
    }
}
