//! MRT, the format in which routing tables and messages are kept in files (RFC 6396, for ADD-PATH RFC 8050).
//!
//! A table is a [`PeerIndexTable`] and behind it one [`Rib`] a prefix, whose entries name peers by their place
//! in it. Messages stand for themselves, each with the session that it belongs to ([`PeerMessage`]).

mod attributes;
mod decode;
mod encode;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

pub use crate::octets::Malformed;
use crate::session::State;
use crate::types::Prefix;

pub use attributes::{decode_attributes, encode_attributes};
pub use encode::TooLong;

/// Type codes (RFC 6396 §4).
mod kind {
    pub(super) const TABLE_DUMP_V2: u16 = 13;
    pub(super) const BGP4MP: u16 = 16;
    pub(super) const BGP4MP_ET: u16 = 17;
}

/// Subtypes of TABLE_DUMP_V2 (RFC 6396 §4.3, RFC 8050 §4).
mod table {
    pub(super) const PEER_INDEX_TABLE: u16 = 1;
    pub(super) const RIB_IPV4_UNICAST: u16 = 2;
    pub(super) const RIB_IPV6_UNICAST: u16 = 4;
    pub(super) const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
    pub(super) const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;
}

/// Subtypes of BGP4MP (RFC 6396 §4.4, RFC 8050 §3).
mod message {
    pub(super) const STATE_CHANGE: u16 = 0;
    pub(super) const STATE_CHANGE_AS4: u16 = 5;
    /// In the order plain, sent by the local side, and both with ADD-PATH: AS numbers of two octets.
    pub(super) const AS2: [u16; 4] = [1, 6, 8, 10];
    /// The same with four octets.
    pub(super) const AS4: [u16; 4] = [4, 7, 9, 11];
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, in seconds since 1970.
    pub seconds: u32,
    /// Microseconds behind that, for [`Body::Message`] and [`Body::StateChange`] alone (RFC 6396 §3).
    pub microseconds: Option<u32>,
    /// What.
    pub body: Body,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The peers of a table (RFC 6396 §4.3.1).
    PeerIndexTable(PeerIndexTable),
    /// The routes of one prefix (RFC 6396 §4.3.2).
    Rib(Rib),
    /// A BGP message (RFC 6396 §4.4.2 to §4.4.4).
    Message(PeerMessage),
    /// A session that changed its state (RFC 6396 §4.4.1).
    StateChange(StateChange),
    /// Any other record, as it stands.
    Other {
        /// Type.
        kind: u16,
        /// Subtype.
        subtype: u16,
        /// What is behind the header.
        octets: Bytes,
    },
}

/// The peers of a table (RFC 6396 §4.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIndexTable {
    /// The BGP identifier of who wrote it.
    pub collector: Ipv4Addr,
    /// The name of the view; may be empty.
    pub view: String,
    /// The peers, 65535 at most.
    pub peers: Vec<IndexedPeer>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedPeer {
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
}

/// The routes of one prefix (RFC 6396 §4.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rib {
    /// Counts the prefixes of the table from 0.
    pub sequence: u32,
    /// The destination.
    pub prefix: Prefix,
    /// Its routes, 65535 at most. With a path identifier on the first all get one, 0 where they have none (RFC 8050 §4).
    pub entries: Vec<RibEntry>,
}

/// A route of one peer (RFC 6396 §4.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RibEntry {
    /// Place in [`PeerIndexTable::peers`].
    pub peer: u16,
    /// When it came, in seconds since 1970.
    pub originated: u32,
    /// The path identifier (RFC 7911).
    pub path_id: Option<u32>,
    /// [`encode_attributes`] makes and [`decode_attributes`] reads them.
    pub attributes: Bytes,
}

/// Addresses of a session's two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// IPv4.
    V4 {
        /// The peer's.
        peer: Ipv4Addr,
        /// Ours.
        local: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// The peer's.
        peer: Ipv6Addr,
        /// Ours.
        local: Ipv6Addr,
    },
}

impl Ends {
    /// Both ends; where they are of two families ours is unspecified.
    #[must_use]
    pub fn new(peer: IpAddr, local: IpAddr) -> Self {
        match (peer, local) {
            (IpAddr::V4(peer), IpAddr::V4(local)) => Self::V4 { peer, local },
            (IpAddr::V6(peer), IpAddr::V6(local)) => Self::V6 { peer, local },
            (IpAddr::V4(peer), IpAddr::V6(_)) => Self::V4 { peer, local: Ipv4Addr::UNSPECIFIED },
            (IpAddr::V6(peer), IpAddr::V4(_)) => Self::V6 { peer, local: Ipv6Addr::UNSPECIFIED },
        }
    }
}

/// Which session a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peering {
    /// The peer's AS.
    pub peer_asn: u32,
    /// Ours.
    pub local_asn: u32,
    /// The interface's number, 0 where it does not matter.
    pub interface: u16,
    /// Where the two are.
    pub ends: Ends,
    /// AS numbers of this record and of its message take four octets. Where they take two, a greater one is
    /// written as AS_TRANS (RFC 6793 §9).
    pub asn4: bool,
}

/// A BGP message and its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerMessage {
    /// The session.
    pub peering: Peering,
    /// The local side sent it, else the peer did (RFC 6396 §4.4.3).
    pub sent: bool,
    /// Its NLRI have path identifiers (RFC 8050 §3).
    pub add_path: bool,
    /// The whole message with its header.
    pub message: Bytes,
}

/// A session that changed its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The session.
    pub peering: Peering,
    /// The state before.
    pub old: State,
    /// The state after.
    pub new: State,
}

#[cfg(test)]
mod tests;
