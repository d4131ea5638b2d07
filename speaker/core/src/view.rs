//! What operators see: the shapes of `-o json`, from which the command line makes its tables.
//!
//! Every key is always present and null where it has no value, so that a script can rely on it.

use std::net::IpAddr;

use bgp_proto::types::{Asn, Family, Prefix, RouterId};
use serde::{Deserialize, Serialize};
use speaker_config::objects::Condition;

use crate::learn::LearnedCount;
use crate::received::ReceivedRoute;

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

/// One line of `speaker pools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// Name.
    pub name: String,
    /// `spec.disabled`.
    pub disabled: bool,
    /// Blocks, as CIDR or `first - last`.
    pub blocks: Vec<String>,
    /// Addresses in all, in decimal: an IPv6 pool has more than any integer type of JSON.
    pub total: String,
    /// Addresses in use, the reserved ones included.
    pub used: String,
    /// Addresses left.
    pub available: String,
    /// Conditions as in the object's status.
    pub conditions: Vec<Condition>,
    /// The pool's prefixes and what became of them.
    pub routes: Vec<RouteState>,
}

/// What became of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteState {
    /// The destination.
    pub prefix: Prefix,
    /// It stands in the Loc-RIB.
    pub announced: bool,
    /// Peers that are told of it.
    pub peers: Vec<String>,
    /// The gate that holds it back.
    pub reason: Option<String>,
}

/// One line of `speaker services`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// `externalTrafficPolicy`.
    pub external_traffic_policy: String,
    /// Recorded addresses.
    pub ingress: Vec<IpAddr>,
    /// Ready endpoints in the cluster.
    pub ready_endpoints: usize,
    /// Ready endpoints on this node.
    pub local_ready_endpoints: usize,
    /// Conditions as in the object's status.
    pub conditions: Vec<Condition>,
    /// Its own routes and what became of them.
    pub routes: Vec<RouteState>,
}

/// `speaker version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Version of the package.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// Our AS.
    pub asn: Option<Asn>,
    /// Our BGP identifier.
    pub router_id: Option<RouterId>,
    /// When the process started, RFC 3339.
    pub started: String,
    /// How far the node is on its way out, and by whose word; absent while it is in service.
    pub drain: Option<String>,
    /// What `readiness` waits for, or has lost; absent while there is nothing to say.
    pub readiness: Option<String>,
    /// What is announced is what another process has left; absent where it is not.
    #[serde(default)]
    pub kept: Option<String>,
    /// Sources that have not delivered their first list yet.
    pub waiting_for: Vec<String>,
    /// The sockets of `router.listen`.
    pub listeners: Vec<ListenerView>,
    /// Errors of the configuration file where it was refused: an older one is in force.
    pub config_errors: Vec<String>,
    /// Keys whose new values take effect after a restart.
    pub restart_needed: Vec<String>,
    /// What is wrong with manifests and the state folder.
    pub faults: Vec<String>,
    /// What the kernel does not do of what is wanted of it, and what is not wanted of it on purpose.
    pub kernel: Vec<String>,
    /// Monitoring stations.
    pub bmp: Vec<BmpView>,
}

/// A monitoring station (`bmp[]`, RFC 7854).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BmpView {
    /// Name in `speaker.yaml`.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Since when it is connected, RFC 3339; null where it is not.
    pub connected_since: Option<String>,
    /// How often it was connected.
    pub connections: u64,
    /// Messages that its connections have taken.
    pub messages_sent: u64,
    /// Messages that were made for it and lost with their connection; over the next one everything is told anew.
    pub messages_dropped: u64,
    /// Why the last connection ended, or did not come about.
    pub last_error: Option<LastError>,
}

/// A socket of `router.listen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerView {
    /// As configured.
    pub address: String,
    /// Where it listens: the same, but for port 0.
    pub bound: Option<String>,
    /// Why it does not; it is tried again.
    pub error: Option<String>,
    /// Prefixes from which nobody is let in for want of a key, with the reason.
    pub refused: Vec<String>,
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

/// One question of `speaker explain`, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateView {
    /// Which question.
    pub gate: String,
    /// It lets the route through.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

/// What one peer is told of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerVerdict {
    /// The peer's name.
    pub peer: String,
    /// It is told.
    pub advertised: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The next hop that it is told.
    pub next_hop: Option<IpAddr>,
    /// The interface of an unnumbered peer.
    pub interface: Option<String>,
}

/// The story of one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrefixStory {
    /// The destination.
    pub prefix: Prefix,
    /// One list of gates a reason that there is, or could be, to announce it.
    pub reasons: Vec<Vec<GateView>>,
    /// It stands in the Loc-RIB.
    pub in_loc_rib: bool,
    /// Peer by peer.
    pub peers: Vec<PeerVerdict>,
}

/// What becomes of an address on the segments, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentStory {
    /// The address.
    pub address: IpAddr,
    /// Gates in order, the election last.
    pub gates: Vec<GateView>,
    /// The node that holds the address.
    pub holder: Option<String>,
    /// This node answers for it.
    pub answered: bool,
}

/// `speaker explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was asked for.
    pub target: String,
    /// Gates that concern the object as a whole: its address, its class.
    pub gates: Vec<GateView>,
    /// Prefix by prefix.
    pub prefixes: Vec<PrefixStory>,
    /// Address by address, where L2 announcements are on.
    #[serde(default)]
    pub segment: Vec<SegmentStory>,
    /// Nothing is held back.
    pub announced: bool,
    /// Things that work and will surprise.
    pub warnings: Vec<String>,
    /// Routes to it that are learned from peers, with what became of them; of an address those of the longest match.
    pub learned: Vec<ReceivedRoute>,
}

impl Explanation {
    /// There is, or could be, a reason to announce it.
    #[must_use]
    pub fn concerns_announcing(&self) -> bool {
        !(self.gates.is_empty() && self.prefixes.is_empty())
    }

    /// Of what nobody here announces.
    #[must_use]
    pub fn of_learned(target: &str, learned: Vec<ReceivedRoute>) -> Self {
        Self {
            target: target.to_owned(),
            gates: Vec::new(),
            prefixes: Vec::new(),
            segment: Vec::new(),
            announced: false,
            warnings: Vec::new(),
            learned,
        }
    }
}
