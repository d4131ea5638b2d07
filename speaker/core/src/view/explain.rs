//! `speaker explain`.

use std::net::IpAddr;

use bgp_proto::types::Prefix;
use serde::{Deserialize, Serialize};

use crate::received::ReceivedRoute;

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
