//! The process: `speaker version`.

use bgp_proto::types::{Asn, RouterId};
use serde::{Deserialize, Serialize};

use super::LastError;

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
