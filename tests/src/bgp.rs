//! BGP messages as the laboratory needs them: cut out of captured streams, and built by hand for peers that
//! no real daemon would be. It shares no code with `bgp-proto`, so that the two can disagree.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::pcap::{Segment, streams};

/// The header of RFC 4271 §4.1: marker, length, type.
pub const HEADER: usize = 19;

/// The type octets of RFC 4271 §4.1 and RFC 2918 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Type {
    /// OPEN.
    Open = 1,
    /// UPDATE.
    Update = 2,
    /// NOTIFICATION.
    Notification = 3,
    /// KEEPALIVE.
    Keepalive = 4,
    /// ROUTE-REFRESH.
    RouteRefresh = 5,
}

impl Type {
    /// From the octet.
    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Self> {
        [Self::Open, Self::Update, Self::Notification, Self::Keepalive, Self::RouteRefresh]
            .into_iter()
            .find(|t| *t as u8 == octet)
    }
}

/// A message seen on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When its last byte was seen, in microseconds since 1970.
    pub micros: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// All of it, from the marker.
    pub bytes: Vec<u8>,
}

impl Message {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Option<Type> {
        Type::from_octet(*self.bytes.get(18)?)
    }

    /// Code and subcode of a NOTIFICATION.
    #[must_use]
    pub fn notification(&self) -> Option<(u8, u8)> {
        match (self.kind()?, self.bytes.get(19..21)?) {
            (Type::Notification, [code, subcode]) => Some((*code, *subcode)),
            _ => None,
        }
    }

    /// The bytes as lower-case hex.
    #[must_use]
    pub fn hex(&self) -> String {
        self.bytes.iter().fold(String::new(), |mut text, byte| {
            let _written = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Cuts the messages out of captured segments, in the order of their last bytes.
#[must_use]
pub fn messages(segments: &[Segment]) -> Vec<Message> {
    let mut all = Vec::new();
    for ((from, to, _), stream) in streams(segments) {
        let mut at = 0;
        while let Some(length) = stream.bytes.get(at + 16..at + 18) {
            let end = at + usize::from(u16::from_be_bytes([length[0], length[1]]));
            let Some(bytes) = stream.bytes.get(at..end).filter(|b| b.len() >= HEADER) else { break };
            all.push(Message { micros: stream.time(end - 1), from, to, bytes: bytes.to_vec() });
            at = end;
        }
    }
    all.sort_by_key(|m| m.micros);
    all
}

/// A message of `kind` around `body`.
///
/// # Panics
/// If `body` is longer than a message can be.
#[must_use]
pub fn frame(kind: Type, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + body.len()).expect("length of a message");
    let mut bytes = vec![0xff; 16];
    bytes.extend(length.to_be_bytes());
    bytes.push(kind as u8);
    bytes.extend(body);
    bytes
}

/// What a hand-made OPEN says (RFC 4271 §4.2).
#[derive(Debug, Clone)]
pub struct Open {
    /// Version.
    pub version: u8,
    /// The AS; above 65535 AS_TRANS stands in the field (RFC 6793 §9).
    pub asn: u32,
    /// Hold time in seconds.
    pub hold: u16,
    /// BGP identifier.
    pub id: [u8; 4],
    /// Capabilities: code and value; the 4-octet AS is not added by itself.
    pub capabilities: Vec<(u8, Vec<u8>)>,
}

impl Open {
    /// A usual one: version 4, hold time 90, IPv4 and IPv6 unicast, route refresh, 4-octet AS.
    #[must_use]
    pub fn new(asn: u32, id: [u8; 4]) -> Self {
        let capabilities = vec![
            (1, vec![0, 1, 0, 1]),
            (1, vec![0, 2, 0, 1]),
            (2, Vec::new()),
            (65, asn.to_be_bytes().to_vec()),
        ];
        Self { version: 4, asn, hold: 90, id, capabilities }
    }

    /// The message.
    ///
    /// # Panics
    /// If the capabilities do not fit.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let octet = |n: usize| u8::try_from(n).expect("length of capabilities");
        let mut list = Vec::new();
        for (code, value) in &self.capabilities {
            list.extend([*code, octet(value.len())]);
            list.extend(value);
        }
        let mut body = vec![self.version];
        body.extend(u16::try_from(self.asn).unwrap_or(23456).to_be_bytes());
        body.extend(self.hold.to_be_bytes());
        body.extend(self.id);
        if list.is_empty() {
            body.push(0);
        } else {
            body.extend([octet(list.len() + 2), 2, octet(list.len())]);
            body.extend(list);
        }
        frame(Type::Open, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_has_the_layout_of_rfc_4271() {
        let bytes = Open::new(70000, [10, 0, 0, 9]).encode();
        let expected = [
            &[0xff; 16][..],
            &[0, 51, 1, 4, 0x5b, 0xa0, 0, 90, 10, 0, 0, 9, 22, 2, 20],
            &[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 65, 4, 0, 1, 0x11, 0x70],
        ]
        .concat();
        assert_eq!(bytes, expected);
    }
}
