//! BFD (RFC 5880) beside a session.

use serde::{Deserialize, Serialize};

/// BFD with a peer. Times are in microseconds, as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdView {
    /// `AdminDown`, `Down`, `Init` or `Up` (RFC 5880); null where there is no session, for `error`.
    pub state: Option<String>,
    /// Seconds in this state.
    pub state_seconds: u64,
    /// How often it came Up.
    pub up_count: u64,
    /// How often it failed: no packets for the detection time, or the peer said Down.
    pub failure_count: u64,
    /// BGP is closed and waits for BFD.
    pub holds_bgp: bool,
    /// For how many milliseconds at most; null where it does not.
    pub holds_bgp_milliseconds: Option<u64>,
    /// Over several hops (RFC 5883), else on the link (RFC 5881).
    pub multihop: bool,
    /// Our UDP source port.
    pub source_port: Option<u16>,
    /// Our discriminator.
    pub local_discriminator: Option<u32>,
    /// The peer's, while it is heard.
    pub remote_discriminator: Option<u32>,
    /// The negotiated interval of our packets, jitter apart; null where the peer wants none.
    pub transmit_interval: Option<u64>,
    /// After which silence the peer is taken for gone; null while nothing is known of it.
    pub detection_time: Option<u64>,
    /// What we announce.
    pub local: Option<BfdAnnounced>,
    /// What the peer announces, while it is heard.
    pub remote: Option<BfdAnnounced>,
    /// The state that the peer says it is in, while it is heard.
    pub remote_state: Option<String>,
    /// C of the peer's packets: its BFD does not end with its control plane.
    pub remote_control_plane_independent: Option<bool>,
    /// D of the peer's packets: it wants no periodic packets.
    pub remote_demand: Option<bool>,
    /// Our diagnostic, in the RFC's words; null where there is none.
    pub diagnostic: Option<String>,
    /// The peer's.
    pub remote_diagnostic: Option<String>,
    /// Why Up was last left, and how many seconds ago.
    pub last_down: Option<BfdDown>,
    /// A Poll Sequence is under way.
    pub polling: bool,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets of the peer.
    pub packets_received: u64,
    /// Datagrams that this node discarded, whoever sent them, by the rule that discarded them.
    pub discarded: std::collections::BTreeMap<String, u64>,
    /// Why there is no session, or why the last packet could not be sent.
    pub error: Option<String>,
}

/// What one side of a BFD session announces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdAnnounced {
    /// Desired Min TX Interval, in microseconds.
    pub desired_min_tx: u64,
    /// Required Min RX Interval, in microseconds.
    pub required_min_rx: u64,
    /// Detect Mult.
    pub detect_multiplier: u8,
}

/// The last time that a BFD session left Up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdDown {
    /// How many seconds ago.
    pub seconds_ago: u64,
    /// Why.
    pub reason: String,
}
