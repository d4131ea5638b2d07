//! The BGP Monitoring Protocol (RFC 7854), with Adj-RIB-Out (RFC 8671) and Loc-RIB (RFC 9069): messages to and from octets.
//!
//! A router tells a monitoring station which sessions it has ([`Message::PeerUp`], [`Message::PeerDown`]) and, as
//! UPDATEs, what stands in their tables ([`Message::RouteMonitoring`]). The station says nothing.

mod decode;
mod encode;

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;

use crate::types::AfiSafi;

pub use crate::octets::Malformed;

/// The version of every message (RFC 7854 §4.1).
const VERSION: u8 = 3;
/// Version, length and type.
const HEADER: usize = 6;

/// Message types (RFC 7854 §4.1).
mod kind {
    pub(super) const ROUTE_MONITORING: u8 = 0;
    pub(super) const STATISTICS: u8 = 1;
    pub(super) const PEER_DOWN: u8 = 2;
    pub(super) const PEER_UP: u8 = 3;
    pub(super) const INITIATION: u8 = 4;
    pub(super) const TERMINATION: u8 = 5;
}

/// Peer Flags (RFC 7854 §4.2, RFC 8671 §4, RFC 9069 §4.2).
mod flag {
    /// V: the addresses are IPv6.
    pub(super) const IPV6: u8 = 0x80;
    /// L: after policy.
    pub(super) const POST_POLICY: u8 = 0x40;
    /// A: AS numbers of two octets.
    pub(super) const TWO_OCTETS: u8 = 0x20;
    /// O: Adj-RIB-Out.
    pub(super) const OUT: u8 = 0x10;
    /// F, where the table is the Loc-RIB: part of it only.
    pub(super) const FILTERED: u8 = 0x80;
}

/// Types of information (RFC 7854 §4.4, RFC 9069 §5.2.1).
pub mod information {
    /// Free text.
    pub const STRING: u16 = 0;
    /// What the router is.
    pub const SYS_DESCR: u16 = 1;
    /// Its name.
    pub const SYS_NAME: u16 = 2;
    /// The name of a table, in the Peer Up of a Loc-RIB.
    pub const TABLE_NAME: u16 = 3;
}

/// Codes of a Termination (RFC 7854 §4.5).
pub mod termination {
    /// "Session administratively closed": it may be set up again.
    pub const ADMINISTRATIVELY_CLOSED: u16 = 0;
    /// "Unspecified reason".
    pub const UNSPECIFIED: u16 = 1;
}

/// Types of statistics (RFC 7854 §4.8, RFC 8671 §6.2).
pub mod statistic {
    /// Routes in the Adj-RIB-In, 64 bits.
    pub const ADJ_RIB_IN: u16 = 7;
    /// Routes in the Loc-RIB, 64 bits.
    pub const LOC_RIB: u16 = 8;
    /// Routes of a family in the Adj-RIB-In.
    pub const ADJ_RIB_IN_FAMILY: u16 = 9;
    /// Routes of a family in the Loc-RIB.
    pub const LOC_RIB_FAMILY: u16 = 10;
    /// UPDATEs that were treated as withdrawals (RFC 7606), 32 bits.
    pub const TREATED_AS_WITHDRAW: u16 = 11;
    /// Routes in the Adj-RIB-Out after policy, 64 bits.
    pub const ADJ_RIB_OUT: u16 = 15;
    /// Routes of a family in the Adj-RIB-Out after policy.
    pub const ADJ_RIB_OUT_FAMILY: u16 = 17;
}

/// Which table a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rib {
    /// What a peer announces; also for what concerns a session as a whole.
    AdjRibIn {
        /// After inbound policy.
        post_policy: bool,
    },
    /// What a peer is told (RFC 8671).
    AdjRibOut {
        /// After outbound policy.
        post_policy: bool,
    },
    /// What the router has selected (RFC 9069).
    LocRib {
        /// Not all of it is told.
        filtered: bool,
    },
}

/// The Per-Peer Header (RFC 7854 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The table.
    pub rib: Rib,
    /// The Peer Distinguisher; 0 for peers of the one global instance.
    pub distinguisher: u64,
    /// The peer's address; unspecified for the Loc-RIB.
    pub address: IpAddr,
    /// The peer's AS; for the Loc-RIB the router's own.
    pub asn: u32,
    /// The peer's BGP identifier; for the Loc-RIB the router's own.
    pub router_id: Ipv4Addr,
    /// AS numbers in the AS_PATHs of this message take two octets.
    pub two_octets: bool,
    /// When: seconds since 1970, and microseconds.
    pub at: (u32, u32),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A change of a table (RFC 7854 §4.6).
    RouteMonitoring {
        /// Whose.
        peer: Peer,
        /// One UPDATE with its header.
        update: Bytes,
    },
    /// Figures (RFC 7854 §4.8).
    Statistics {
        /// Whose.
        peer: Peer,
        /// Type and value.
        values: Vec<(u16, Value)>,
    },
    /// A session has ended (RFC 7854 §4.9).
    PeerDown {
        /// Whose.
        peer: Peer,
        /// Why.
        reason: Down,
    },
    /// A session has come up (RFC 7854 §4.10).
    PeerUp(Box<PeerUp>),
    /// The router introduces itself (RFC 7854 §4.3): type and text.
    Initiation(Vec<(u16, String)>),
    /// The router takes its leave (RFC 7854 §4.5).
    Termination {
        /// One of [`termination`].
        reason: u16,
        /// In words.
        text: String,
    },
    /// Any other, as it stands.
    Other {
        /// Type.
        kind: u8,
        /// What is behind the header.
        octets: Bytes,
    },
}

/// The value of a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// 32 bits.
    Counter(u32),
    /// 64 bits.
    Gauge(u64),
    /// 64 bits of one family.
    FamilyGauge(AfiSafi, u64),
}

/// Why a session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// 1: we sent this NOTIFICATION, a whole message.
    LocalNotification(Bytes),
    /// 2: we closed it without one, on this event of RFC 4271 §8.1.
    LocalEvent(u16),
    /// 3: the peer sent this NOTIFICATION, a whole message.
    RemoteNotification(Bytes),
    /// 4: the peer closed it without one, or it was lost.
    Remote,
    /// 5: the router is configured to tell no more of it.
    Deconfigured,
    /// Any other, with its data.
    Other(u8, Bytes),
}

/// A session that came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUp {
    /// Whose.
    pub peer: Peer,
    /// The router's own address.
    pub local_address: IpAddr,
    /// Its port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// The OPEN that the router sent, a whole message.
    pub sent: Bytes,
    /// The OPEN that it received.
    pub received: Bytes,
    /// Type and text.
    pub information: Vec<(u16, String)>,
}

#[cfg(test)]
mod tests;
