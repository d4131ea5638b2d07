//! Autonomous system numbers.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// AS_TRANS, which stands for a four-octet AS number where only two octets fit (RFC 6793 §9).
pub const AS_TRANS: u16 = 23456;

/// An autonomous system number. Never 0: "A BGP speaker MUST NOT originate or propagate a route with an
/// AS number of zero" (RFC 7607 §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Asn(NonZeroU32);

/// Why a text or number is no AS number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AsnError {
    /// RFC 7607.
    #[error("AS 0 is reserved (RFC 7607); an AS number is 1 to 4294967295")]
    Zero,
    /// Neither asplain (`64500`) nor asdot (`1.10`), RFC 5396.
    #[error("{0:?} is not an AS number; write it as 64500 or, in asdot notation, as 1.10")]
    Syntax(String),
}

impl Asn {
    /// An AS number from its value; `None` for 0.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The number as it stands in a two-octet field: itself, or AS_TRANS (RFC 6793 §4.2.2).
    #[must_use]
    pub fn two_octets(self) -> u16 {
        u16::try_from(self.get()).unwrap_or(AS_TRANS)
    }
}

impl TryFrom<u32> for Asn {
    type Error = AsnError;

    fn try_from(value: u32) -> Result<Self, AsnError> {
        Self::new(value).ok_or(AsnError::Zero)
    }
}

impl From<Asn> for u32 {
    fn from(asn: Asn) -> Self {
        asn.get()
    }
}

impl FromStr for Asn {
    type Err = AsnError;

    fn from_str(text: &str) -> Result<Self, AsnError> {
        let syntax = || AsnError::Syntax(text.to_owned());
        let value = match text.split_once('.') {
            None => text.parse::<u32>().map_err(|_| syntax())?,
            Some((high, low)) => {
                let high = high.parse::<u16>().map_err(|_| syntax())?;
                let low = low.parse::<u16>().map_err(|_| syntax())?;
                (u32::from(high) << 16) | u32::from(low)
            }
        };
        Self::try_from(value)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AS{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused() {
        assert_eq!(Asn::try_from(0), Err(AsnError::Zero));
        assert_eq!("0".parse::<Asn>(), Err(AsnError::Zero));
        assert_eq!("0.0".parse::<Asn>(), Err(AsnError::Zero));
    }

    #[test]
    fn asplain_and_asdot_are_read() {
        assert_eq!("4200000000".parse::<Asn>().unwrap().get(), 4_200_000_000);
        assert_eq!("1.10".parse::<Asn>().unwrap().get(), 65546);
        assert!("1.2.3".parse::<Asn>().is_err());
        assert!("65536.1".parse::<Asn>().is_err());
        assert!("-1".parse::<Asn>().is_err());
    }

    #[test]
    fn a_number_over_two_octets_is_as_trans_there() {
        assert_eq!(Asn::new(65535).unwrap().two_octets(), 65535);
        assert_eq!(Asn::new(65536).unwrap().two_octets(), AS_TRANS);
    }
}
