//! The five messages of BGP as values.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use serde::Serialize;

use super::{AttributeIssue, NlriBlock, PathAttributes};
use crate::types::{AfiSafi, Asn, Family, HoldTime, RouterId};

/// The type octet of the header (RFC 4271 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageKind {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5 (RFC 2918)
    RouteRefresh,
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// RFC 4271 §4.2.
    Open(Open),
    /// RFC 4271 §4.3.
    Update(Box<Update>),
    /// RFC 4271 §4.5.
    Notification(Notification),
    /// RFC 4271 §4.4.
    Keepalive,
    /// RFC 2918 §3, RFC 7313 §3.2.
    RouteRefresh(RouteRefresh),
}

/// OPEN (RFC 4271 §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS: the capability's value where there is one (RFC 6793), else the two-octet field.
    pub asn: Asn,
    /// The hold time that the sender proposes.
    pub hold_time: HoldTime,
    /// The BGP identifier.
    pub router_id: RouterId,
    /// Capabilities in the order sent, unknown ones kept (RFC 5492).
    pub capabilities: Vec<Capability>,
}

/// A capability (RFC 5492). A tuple of a list that cannot be understood is left out, and the rest stands; of ADD-PATH
/// it makes the whole capability unknown (RFC 7911 §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// 1: multiprotocol extensions (RFC 4760 §8).
    Multiprotocol(AfiSafi),
    /// 2: route refresh (RFC 2918 §2).
    RouteRefresh,
    /// 5: extended next hop encoding (RFC 8950 §4): NLRI family and next hop AFI.
    ExtendedNextHop(Vec<(AfiSafi, u16)>),
    /// 6: messages up to 65535 octets (RFC 8654).
    ExtendedMessage,
    /// 9: BGP role (RFC 9234 §4.1), as the number on the wire.
    Role(u8),
    /// 64: graceful restart (RFC 4724 §3).
    GracefulRestart(GracefulRestart),
    /// 65: four-octet AS numbers (RFC 6793 §3).
    FourOctetAsn(Asn),
    /// 69: ADD-PATH (RFC 7911 §4): family and 1 receive, 2 send, 3 both.
    AddPath(Vec<(AfiSafi, u8)>),
    /// 70: enhanced route refresh (RFC 7313 §3.1).
    EnhancedRouteRefresh,
    /// 71: long-lived graceful restart (RFC 9494 §3.1): family, flags, stale time in seconds.
    LongLivedGracefulRestart(Vec<(AfiSafi, u8, u32)>),
    /// 73: host name and domain name.
    Fqdn {
        /// Host name.
        host: String,
        /// Domain name.
        domain: String,
    },
    /// Any other capability, byte for byte.
    Unknown {
        /// The capability code.
        code: u8,
        /// Its value.
        #[serde(skip)]
        value: Bytes,
    },
}

/// The graceful restart capability (RFC 4724 §3, RFC 8538 §2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// R: the sender has restarted.
    pub restarted: bool,
    /// N: NOTIFICATIONs keep the routes too (RFC 8538).
    pub notification: bool,
    /// Restart time in seconds, at most 4095.
    pub restart_time: u16,
    /// Family, and F: its forwarding state was kept.
    pub families: Vec<(AfiSafi, bool)>,
}

/// The next hop of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// An IPv4 address, in NEXT_HOP or MP_REACH_NLRI.
    V4(Ipv4Addr),
    /// An IPv6 address, alone or with a link-local one (RFC 2545 §3, RFC 8950 §3).
    V6 {
        /// The global address; on a link-local session it may itself be link-local.
        address: Ipv6Addr,
        /// The link-local address.
        link_local: Option<Ipv6Addr>,
    },
}

/// Announced destinations of one family that share a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The next hop.
    pub next_hop: NextHop,
    /// The destinations.
    pub nlri: NlriBlock,
}

/// UPDATE after RFC 7606: what it says, not how it was said. With treat-as-withdraw the announced
/// destinations are already among the withdrawn ones. Withdrawals come first: a destination that is in both
/// lists is announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Withdrawn destinations, at most one block from each of Withdrawn Routes, MP_UNREACH_NLRI and what
    /// was treated as withdrawn.
    pub withdrawn: Vec<NlriBlock>,
    /// Announced destinations, at most one block from NLRI and one from MP_REACH_NLRI.
    pub announced: Vec<Announcement>,
    /// The attributes of the announced destinations.
    pub attributes: PathAttributes,
    /// End-of-RIB of a family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong with it and survived.
    pub issues: Vec<AttributeIssue>,
    /// Where something was: the whole message, for the log.
    pub faulty: Bytes,
}

/// NOTIFICATION (RFC 4271 §4.5). Codes are an open registry: an unknown one survives a round trip.
/// Display says it in the RFC's words, for example `Cease/Administrative Shutdown (6/2): "rack 4 moves"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Data.
    pub data: Bytes,
}

/// ROUTE-REFRESH (RFC 2918 §3, RFC 7313 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family asked for.
    pub family: AfiSafi,
    /// What is asked or marked.
    pub kind: RefreshKind,
}

/// The subtype of a ROUTE-REFRESH (RFC 7313 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshKind {
    /// 0: send the table again.
    Request,
    /// 1: Beginning of Route Refresh.
    Begin,
    /// 2: End of Route Refresh.
    End,
    /// Any other: ignored (RFC 7313 §5).
    Unknown(u8),
}
