//! Octets of a file or of a monitoring protocol, read with every length checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Buf as _, Bytes};

/// Octets that cannot be read as what they ought to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Malformed {
    what: String,
}

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// Takes fields off the front.
#[derive(Debug)]
pub(crate) struct Octets(pub(crate) Bytes);

impl Octets {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` octets, which share memory with the rest.
    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<Bytes, Malformed> {
        if count > self.0.len() {
            let left = self.0.len();
            return Err(Malformed::new(format!("{what}: {count} octets, and {left} are left")));
        }
        Ok(self.0.split_to(count))
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    /// Passes over `count` octets.
    pub(crate) fn skip(&mut self, count: usize, what: &str) -> Result<(), Malformed> {
        self.take(count, what).map(drop)
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, Malformed> {
        self.take(1, what).map(|mut octets| octets.get_u8())
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Malformed> {
        self.take(2, what).map(|mut octets| octets.get_u16())
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        self.take(4, what).map(|mut octets| octets.get_u32())
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        self.take(8, what).map(|mut octets| octets.get_u64())
    }

    pub(crate) fn v4(&mut self, what: &str) -> Result<Ipv4Addr, Malformed> {
        self.u32(what).map(Ipv4Addr::from_bits)
    }

    pub(crate) fn v6(&mut self, what: &str) -> Result<Ipv6Addr, Malformed> {
        self.take(16, what).map(|mut octets| Ipv6Addr::from_bits(octets.get_u128()))
    }

    pub(crate) fn address(&mut self, v6: bool, what: &str) -> Result<IpAddr, Malformed> {
        if v6 { self.v6(what).map(IpAddr::V6) } else { self.v4(what).map(IpAddr::V4) }
    }
}

/// The octets of an address.
pub(crate) fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend(address.octets()),
        IpAddr::V6(address) => out.extend(address.octets()),
    }
}
