//! What an operator orders on the command line, and what is said of it.

use bgp_proto::types::FamilySet;

use super::Hub;
use super::answers::answer;
use super::running::Running;
use crate::question::{Answer, Refused};

/// "The length of the Shutdown Communication" fits into one octet (RFC 9003 §2).
const SHUTDOWN_TEXT: usize = 255;

/// The name that stands for every peer.
const ALL: &str = "all";

impl Hub {
    /// `clear PEER`.
    pub(super) fn reset(&self, peer: &str) -> Answer {
        let act = |name: &str| self.peers.reset(name);
        self.each(peer, act, "reset", Running::kept_down)
    }

    /// `clear PEER soft`.
    pub(super) fn soft(&self, peer: &str, inbound: FamilySet, outbound: FamilySet) -> Answer {
        let act = |name: &str| self.peers.soft(name, inbound, outbound);
        self.each(peer, act, "routes exchanged again with", |running| {
            let down = || running.established.is_none().then(|| "is not established".to_owned());
            running.kept_down().or_else(down)
        })
    }

    /// `shutdown PEER`.
    pub(super) fn shut_down(&mut self, peer: &str, message: &str) -> Answer {
        if message.len() > SHUTDOWN_TEXT {
            let len = message.len();
            return Err(Refused::Invalid(format!(
                "the message has {len} octets, and {SHUTDOWN_TEXT} fit into a NOTIFICATION (RFC 9003); say it shorter"
            )));
        }
        if self.peers.shut_down(peer, message) {
            answer(format!("{peer} is shut down"))
        } else {
            Err(self.no_peer(peer))
        }
    }

    /// `no-shutdown PEER`.
    pub(super) fn no_shut_down(&mut self, peer: &str) -> Answer {
        if self.peers.no_shut_down(peer, &mut self.world) {
            answer(format!("{peer} may come up"))
        } else {
            Err(self.no_peer(peer))
        }
    }

    /// Acts on one peer, or on all of them. Of one that the order does nothing to, `in_vain` says why.
    fn each(
        &self,
        peer: &str,
        act: impl Fn(&str),
        done: &str,
        in_vain: impl Fn(&Running) -> Option<String>,
    ) -> Answer {
        if peer != ALL && self.peers.get(peer).is_none() {
            return Err(self.no_peer(peer));
        }
        let (mut told, mut lines) = (Vec::new(), Vec::new());
        for (name, running) in self.peers.iter().filter(|(name, _)| peer == ALL || &***name == peer) {
            act(name);
            match in_vain(running) {
                None => told.push(name.to_string()),
                Some(why) => lines.push(format!("{name} {why}")),
            }
        }
        if !told.is_empty() {
            lines.insert(0, format!("{done} {}", told.join(", ")));
        }
        if lines.is_empty() {
            lines.push("there is no peer".to_owned());
        }
        answer(lines.join("\n"))
    }
}
