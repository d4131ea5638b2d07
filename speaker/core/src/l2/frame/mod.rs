//! ARP and neighbour discovery on the wire: the few frames that an announcer hears and sends.

mod arp;
mod ndp;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use ndp::solicited_node;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a frame says, as far as an announcer cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks who has `address`.
    Question {
        /// The address asked for.
        address: IpAddr,
        /// Where the answer goes.
        asker: Mac,
        /// The asker's address; unspecified where it is only looking for a duplicate (RFC 5227 §2.1.1,
        /// RFC 4862 §5.4).
        from: IpAddr,
    },
    /// Somebody says that `address` is his.
    Claim {
        /// The address claimed.
        address: IpAddr,
        /// By whom.
        by: Mac,
    },
}

/// Reads a frame as it comes from a packet socket, with its Ethernet header. `None`: nothing for us, or
/// not valid.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Heard> {
    let (header, payload) = frame.split_at_checked(14)?;
    let source = Mac(array(header.get(6..12)?)?);
    match header.get(12..14)? {
        [0x08, 0x06] => arp::read(payload),
        [0x86, 0xdd] => ndp::read(payload, source),
        _ => None,
    }
}

/// The answer to a question: `own` has `address`.
#[must_use]
pub fn answer(own: Mac, address: IpAddr, asker: Mac, from: IpAddr) -> Option<Vec<u8>> {
    match (address, from) {
        (IpAddr::V4(address), IpAddr::V4(from)) => Some(arp::reply(own, address, asker, from)),
        (IpAddr::V6(address), IpAddr::V6(from)) => Some(ndp::solicited(own, address, asker, from)),
        _ => None,
    }
}

/// Tells everybody on the segment that `own` has `address`: a gratuitous ARP request (RFC 5227 §3), or an
/// unsolicited neighbour advertisement (RFC 4861 §7.2.6).
#[must_use]
pub fn unasked(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp::gratuitous(own, address),
        IpAddr::V6(address) => ndp::unsolicited(own, address),
    }
}

fn ethernet(to: Mac, from: Mac, kind: [u8; 2]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(kind);
    frame
}

fn array<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    octets.try_into().ok()
}

#[cfg(test)]
mod tests;
