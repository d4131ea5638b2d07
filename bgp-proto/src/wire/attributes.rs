//! Path attributes as values.

use std::net::Ipv4Addr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{Asn, Community, ExtendedCommunity, LargeCommunity, RouterId};

/// ORIGIN (RFC 4271 §5.1.1). The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Interior to the originating AS.
    #[default]
    Igp,
    /// Learned by EGP (RFC 904).
    Egp,
    /// Learned by some other means.
    Incomplete,
}

/// The kind of an AS_PATH segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentKind {
    /// AS_SET (1), deprecated by RFC 9774.
    Set,
    /// AS_SEQUENCE (2).
    Sequence,
    /// AS_CONFED_SEQUENCE (3, RFC 5065).
    ConfedSequence,
    /// AS_CONFED_SET (4, RFC 5065).
    ConfedSet,
}

/// One segment of an AS_PATH: at most 255 AS numbers on the wire; the encoder splits a longer one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AsPathSegment {
    /// What the numbers mean.
    pub kind: SegmentKind,
    /// The AS numbers, nearest first. Never empty when it came from the wire (RFC 7606 §7.2).
    pub asns: Vec<Asn>,
}

/// AS_PATH (RFC 4271 §5.1.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AsPath {
    /// Segments, nearest first.
    pub segments: Vec<AsPathSegment>,
}

/// AGGREGATOR (RFC 4271 §5.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Aggregator {
    /// The AS that formed the aggregate.
    pub asn: Asn,
    /// The router that formed it.
    pub router: Ipv4Addr,
}

/// An attribute that this speaker does not know: byte for byte as it came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawAttribute {
    /// The flags octet, Partial already set where RFC 4271 §5 asks for it.
    pub flags: u8,
    /// The type code.
    pub code: u8,
    /// The value.
    pub value: Bytes,
}

/// The attributes of a route, next hop and NLRI excepted. Equal sets share UPDATE messages, hence `Ord`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PathAttributes {
    /// ORIGIN (1).
    pub origin: Option<Origin>,
    /// AS_PATH (2), with AS4_PATH already merged in where the peer speaks two-octet AS numbers.
    pub as_path: Option<AsPath>,
    /// MULTI_EXIT_DISC (4).
    pub med: Option<u32>,
    /// LOCAL_PREF (5).
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE (6).
    pub atomic_aggregate: bool,
    /// AGGREGATOR (7), with AS4_AGGREGATOR already merged in.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (8), in the order given.
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID (9, RFC 4456).
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST (10, RFC 4456).
    pub cluster_list: Vec<Ipv4Addr>,
    /// EXTENDED COMMUNITIES (16), in the order given.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITY (32), in the order given.
    pub large_communities: Vec<LargeCommunity>,
    /// ONLY_TO_CUSTOMER (35, RFC 9234).
    pub only_to_customer: Option<Asn>,
    /// Optional transitive attributes that this speaker does not know, by ascending code.
    pub unknown: Vec<RawAttribute>,
}
