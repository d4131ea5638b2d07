//! Sessions: `speaker peers`.

use bgp_proto::session::State;
use bgp_proto::types::{Asn, Family, Prefix, RouterId};
use serde::{Deserialize, Serialize};

use super::BfdView;
use crate::learn::LearnedCount;

/// One line of `speaker peers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerSummary {
    /// Name in `speaker.yaml`.
    pub name: String,
    /// Address with port, or the interface of an unnumbered peer.
    pub address: String,
    /// Who was found on the interface of an unnumbered peer (`fe80::1%eth1`); null for others, and until then.
    pub neighbor_address: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// The peer's AS: from its OPEN, else as configured.
    pub remote_as: Option<Asn>,
    /// Our AS towards it.
    pub local_as: Option<Asn>,
    /// The peer's BGP identifier, while established.
    pub router_id: Option<RouterId>,
    /// FSM state, as RFC 4271 names it.
    pub state: String,
    /// Down by an operator's word, with what was said.
    pub shutdown: Option<String>,
    /// Seconds in this state.
    pub state_seconds: u64,
    /// Seconds since the session came up, or since it went down; null where it was never up.
    pub up_down_seconds: Option<u64>,
    /// How often the session came up.
    pub established_count: u64,
    /// Messages from the peer.
    pub messages_received: u64,
    /// Messages to the peer.
    pub messages_sent: u64,
    /// Octets received and not yet looked at.
    pub in_queue: u64,
    /// Octets that wait for the peer to read.
    pub out_queue: u64,
    /// Prefixes received, a family each.
    pub received: Vec<FamilyCount>,
    /// Prefixes advertised, a family each.
    pub advertised: Vec<FamilyCount>,
    /// Routes learned, for families with any: also while the peer restarts.
    pub learned: Vec<LearnedView>,
    /// Why the session last ended or did not come up.
    pub last_error: Option<LastError>,
    /// What was last seen of the peer that ended nothing: that it cannot be reached, for example.
    pub last_note: Option<LastError>,
    /// BFD with the peer; null where it is not configured, or the peer was never started.
    pub bfd: Option<BfdView>,
}

impl PeerSummary {
    /// Whether the session is up.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == State::Established.name()
    }
}

/// A number of prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyCount {
    /// The family.
    pub family: Family,
    /// How many.
    pub count: u64,
    /// There are more than `count`, which stopped at `maxPrefixes`.
    pub more: bool,
}

/// Routes of a family that are learned from a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LearnedView {
    /// The family.
    pub family: Family,
    /// How many.
    #[serde(flatten)]
    pub count: LearnedCount,
}

/// The end of a session or of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When, RFC 3339.
    pub at: String,
    /// What, in the RFC's words.
    pub text: String,
    /// The malformed message that it was about, in hex, 4096 octets of it at most; the log has all of it.
    #[serde(default)]
    pub message: Option<String>,
}

/// `speaker peers NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerDetail {
    /// The line of the table.
    #[serde(flatten)]
    pub summary: PeerSummary,
    /// `group`.
    pub group: Option<String>,
    /// Our end of the connection.
    pub local_address: Option<String>,
    /// Whether the peer is in our AS.
    pub internal: Option<bool>,
    /// Negotiated hold time in seconds; configured, while not established.
    pub hold_time: u16,
    /// Seconds between our KEEPALIVEs.
    pub keepalive: Option<u64>,
    /// TTL rule in words.
    pub ttl: String,
    /// A TCP MD5 key is in force.
    pub md5: bool,
    /// TCP-AO is on.
    pub tcp_ao: bool,
    /// Families in force.
    pub families: Vec<Family>,
    /// What we announced in OPEN.
    pub our_capabilities: Vec<CapabilityView>,
    /// What the peer announced.
    pub peer_capabilities: Vec<CapabilityView>,
    /// Messages received by kind.
    pub received_by_kind: MessageCounts,
    /// Messages sent by kind.
    pub sent_by_kind: MessageCounts,
    /// The next timer and in how many milliseconds it fires.
    pub next_timer: Option<NextTimer>,
    /// Keys whose values in the configuration differ from what the session that is up was begun with: they wait for the
    /// next session.
    pub pending: Vec<String>,
    /// How long changes take to reach this peer; null before the first.
    pub propagation: Option<PropagationView>,
    /// Routes that this peer is not told, with the reason: the first 20.
    pub held: Vec<HeldRoute>,
    /// How many there are of these.
    pub held_count: usize,
}

/// How long changes took from their source until all their octets were written to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PropagationView {
    /// How many; those that came together are one.
    pub changes: u64,
    /// Half of them took at most so long.
    pub median_microseconds: u64,
    /// 99 of 100.
    pub p99_microseconds: u64,
    /// The slowest.
    pub longest_microseconds: u64,
}

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextTimer {
    /// Its name in RFC 4271.
    pub name: String,
    /// Until it fires.
    pub milliseconds: u64,
}

/// A route that is not advertised to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRoute {
    /// The destination.
    pub prefix: Prefix,
    /// The reason, in words.
    pub reason: String,
}

/// A capability of an OPEN (RFC 5492).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityView {
    /// Its code.
    pub code: u8,
    /// Its registered name.
    pub name: String,
    /// What it carries, in words; empty where it carries nothing.
    pub value: String,
}

/// Messages by kind, one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageCounts {
    /// OPEN.
    pub opens: u64,
    /// UPDATE.
    pub updates: u64,
    /// NOTIFICATION.
    pub notifications: u64,
    /// KEEPALIVE.
    pub keepalives: u64,
    /// ROUTE-REFRESH.
    pub route_refreshes: u64,
}
