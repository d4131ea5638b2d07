//! What can be asked of the hub, by the API or by anybody inside the process.

use bgp_proto::types::{Family, FamilySet, Prefix};
use bytes::Bytes;
use serde::Serialize;
use speaker_core::dump::Form;
use tokio::sync::oneshot;

/// Which routes of a RIB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RibFilter {
    /// Only this peer.
    pub peer: Option<String>,
    /// Only this family.
    pub family: Option<Family>,
    /// Only this prefix.
    pub prefix: Option<Prefix>,
    /// And what is inside it.
    pub longer: bool,
}

impl RibFilter {
    /// Whether a route to `prefix` is asked for.
    #[must_use]
    pub fn wants(&self, prefix: Prefix) -> bool {
        self.family.is_none_or(|family| family == prefix.family())
            && self.prefix.is_none_or(|wanted| wanted == prefix || (self.longer && wanted.covers(prefix)))
    }
}

/// A routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// What each peer was told.
    Advertised,
    /// The Loc-RIB.
    Local,
    /// What each peer sent.
    Received,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// `rib advertised`.
    Advertised(RibFilter),
    /// `rib local`.
    Local(RibFilter),
    /// `rib received`.
    Received(RibFilter),
    /// One of the three as an MRT file (RFC 6396).
    Mrt(Table, Form, RibFilter),
    /// `peers`.
    Peers,
    /// `peers NAME`.
    Peer(String),
    /// `pools`.
    Pools,
    /// `services`.
    Services,
    /// `explain TARGET`.
    Explain(String),
    /// `version`.
    Version,
    /// `clear PEER`: reset the session; `all` for every peer.
    Reset(String),
    /// `clear PEER soft`: routes in, out, or both.
    Soft {
        /// The peer, or `all`.
        peer: String,
        /// Ask for its routes again.
        inbound: FamilySet,
        /// Send ours again.
        outbound: FamilySet,
    },
    /// `shutdown PEER`.
    Shutdown {
        /// The peer.
        peer: String,
        /// For the other side's operator.
        message: String,
    },
    /// `no-shutdown PEER`.
    NoShutdown(String),
    /// `drain`: how long routes are announced on; absent is as the file says.
    Drain(Option<std::time::Duration>),
    /// `undrain`.
    Undrain,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Refused {
    /// There is no such thing.
    NotFound(String),
    /// The question makes no sense.
    Invalid(String),
}

/// What is answered.
pub enum Reply {
    /// A value, written as JSON away from the hub.
    Json(Box<dyn erased_serde::Serialize + Send>),
    /// A file.
    File(Bytes),
}

/// An answer.
pub type Answer = Result<Reply, Refused>;

/// A question and where its answer goes.
pub struct Asked {
    /// The question.
    pub question: Question,
    /// Where the answer goes. It may come from a task that the hub started for it.
    pub reply: oneshot::Sender<Answer>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("question", &self.question).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_takes_in_what_is_inside() {
        let all = RibFilter::default();
        let exact = RibFilter { prefix: Some("192.0.2.0/24".parse().unwrap()), ..RibFilter::default() };
        let longer = RibFilter { longer: true, ..exact.clone() };
        let host: Prefix = "192.0.2.1/32".parse().unwrap();
        assert!(all.wants(host));
        assert!(!exact.wants(host));
        assert!(longer.wants(host));
        assert!(!RibFilter { family: Some(Family::Ipv6Unicast), ..longer }.wants(host));
    }
}
