//! Communities of three kinds (RFC 1997, RFC 4360, RFC 8092).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A community (RFC 1997). Written `64500:100`, as one number, or by its registered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// A large community (RFC 8092). Written `64500:1:2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global Administrator, usually an AS number.
    pub global: u32,
    /// Local Data Part 1.
    pub local1: u32,
    /// Local Data Part 2.
    pub local2: u32,
}

/// An extended community (RFC 4360): type, sub-type and six octets of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// Why a text is no community.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommunityError {
    /// Not a standard community.
    #[error("{0:?} is not a community; write it as 64500:100, as a number or by a well-known name")]
    Standard(String),
    /// Not a large community.
    #[error("{0:?} is not a large community; write it as 64500:1:2")]
    Large(String),
    /// Not an extended community.
    #[error(
        "{0:?} is not an extended community; write it as rt:64500:100, soo:64500:100 or 0x and 16 hex digits"
    )]
    Extended(String),
}

/// The registered names (IANA, "BGP Well-known Communities"), as operators and Cilium's CRDs write them.
const WELL_KNOWN: [(Community, &str); 14] = [
    (Community(0), "internet"),
    (Community::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
    (Community(0xffff_0001), "accept-own"),
    (Community(0xffff_0002), "route-filter-translated-v4"),
    (Community(0xffff_0003), "route-filter-v4"),
    (Community(0xffff_0004), "route-filter-translated-v6"),
    (Community(0xffff_0005), "route-filter-v6"),
    (Community::LLGR_STALE, "llgr-stale"),
    (Community::NO_LLGR, "no-llgr"),
    (Community::BLACKHOLE, "blackhole"),
    (Community::NO_EXPORT, "no-export"),
    (Community::NO_ADVERTISE, "no-advertise"),
    (Community::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
    (Community::NO_PEER, "no-peer"),
];

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// LLGR_STALE (RFC 9494).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// NO_LLGR (RFC 9494).
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// BLACKHOLE (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// NO_EXPORT (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// NO_ADVERTISE (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// NO_EXPORT_SUBCONFED (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// NOPEER (RFC 3765).
    pub const NO_PEER: Self = Self(0xffff_ff04);

    /// A community from its two halves.
    #[must_use]
    pub const fn new(high: u16, low: u16) -> Self {
        Self(((high as u32) << 16) | low as u32)
    }
}

impl FromStr for Community {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        // Cilium calls 65535:0 by the name that it had in drafts.
        let name = if text == "planned-shut" { "graceful-shutdown" } else { text };
        if let Some((community, _)) = WELL_KNOWN.iter().find(|(_, known)| *known == name) {
            return Ok(*community);
        }
        let error = || CommunityError::Standard(text.to_owned());
        match text.split_once(':') {
            None => text.parse().map(Self).map_err(|_| error()),
            Some((high, low)) => {
                Ok(Self::new(high.parse().map_err(|_| error())?, low.parse().map_err(|_| error())?))
            }
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WELL_KNOWN.iter().find(|(known, _)| known == self && self.0 != 0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

impl FromStr for LargeCommunity {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        let error = || CommunityError::Large(text.to_owned());
        let mut parts = text.split(':').map(|part| part.parse::<u32>().map_err(|_| error()));
        let mut next = || parts.next().ok_or_else(error)?;
        let community = Self { global: next()?, local1: next()?, local2: next()? };
        if parts.next().is_some() { Err(error()) } else { Ok(community) }
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl ExtendedCommunity {
    /// A two-octet-AS, four-octet-AS or IPv4 specific community of `sub_type` from the text after its name.
    fn specific(sub_type: u8, text: &str) -> Option<Self> {
        let (global, local) = text.rsplit_once(':')?;
        let mut octets = [0, sub_type, 0, 0, 0, 0, 0, 0];
        let [kind, _, value @ ..] = &mut octets;
        if let Ok(asn) = global.parse::<u16>() {
            let [a, b] = asn.to_be_bytes();
            let [c, d, e, f] = local.parse::<u32>().ok()?.to_be_bytes();
            *value = [a, b, c, d, e, f];
        } else {
            let global = match global.parse::<u32>() {
                Ok(asn) => {
                    *kind = 2;
                    asn
                }
                Err(_) => {
                    *kind = 1;
                    global.parse::<std::net::Ipv4Addr>().ok()?.to_bits()
                }
            };
            let [a, b, c, d] = global.to_be_bytes();
            let [e, f] = local.parse::<u16>().ok()?.to_be_bytes();
            *value = [a, b, c, d, e, f];
        }
        Some(Self(octets))
    }
}

impl FromStr for ExtendedCommunity {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        let parsed = if let Some(rest) = text.strip_prefix("rt:") {
            Self::specific(2, rest)
        } else if let Some(rest) = text.strip_prefix("soo:") {
            Self::specific(3, rest)
        } else {
            text.strip_prefix("0x")
                .filter(|hex| hex.len() == 16)
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                .map(|value| Self(value.to_be_bytes()))
        };
        parsed.ok_or_else(|| CommunityError::Extended(text.to_owned()))
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, sub_type, a, b, c, d, e, g] = self.0;
        let name = match sub_type {
            2 => "rt",
            3 => "soo",
            _ => "",
        };
        match (kind, name) {
            (0..=2, "") | (3.., _) => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
            (0, _) => {
                write!(f, "{name}:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]))
            }
            (1, _) => write!(f, "{name}:{a}.{b}.{c}.{d}:{}", u16::from_be_bytes([e, g])),
            (2, _) => {
                write!(f, "{name}:{}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g]))
            }
        }
    }
}

/// Serde by way of the text form, for each of the three kinds.
macro_rules! serde_as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Community, LargeCommunity, ExtendedCommunity);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_meet() {
        assert_eq!("no-export".parse::<Community>().unwrap(), Community::new(65535, 65281));
        assert_eq!("planned-shut".parse::<Community>().unwrap(), Community::GRACEFUL_SHUTDOWN);
        assert_eq!(Community::new(65535, 666).to_string(), "blackhole");
        assert_eq!("4226809956".parse::<Community>().unwrap().to_string(), "64496:100");
        assert!("65536:1".parse::<Community>().is_err());
        assert!("1:2:3".parse::<Community>().is_err());
    }

    #[test]
    fn a_name_reads_back_as_its_community() {
        for (community, name) in WELL_KNOWN {
            assert_eq!(name.parse::<Community>().unwrap(), community);
            assert_eq!(community.to_string().parse::<Community>().unwrap(), community);
        }
    }

    #[test]
    fn large_communities_have_three_parts() {
        let large: LargeCommunity = "4200000000:1:2".parse().unwrap();
        assert_eq!(large.to_string(), "4200000000:1:2");
        assert!("1:2".parse::<LargeCommunity>().is_err());
        assert!("1:2:3:4".parse::<LargeCommunity>().is_err());
    }

    #[test]
    fn extended_communities_read_back() {
        for text in ["rt:64500:100", "soo:4200000000:7", "rt:10.0.0.1:5", "0x0306000000000000"] {
            assert_eq!(text.parse::<ExtendedCommunity>().unwrap().to_string(), text);
        }
        assert!("rt:4200000000:70000".parse::<ExtendedCommunity>().is_err());
    }
}
