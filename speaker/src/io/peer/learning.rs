//! What the task tells of routes that are to be learned from the peer (`learn`).

use std::collections::VecDeque;
use std::net::SocketAddr;

use bgp_proto::session::{DownReason, Negotiated};
use bgp_proto::types::{Family, FamilyMap};
use bgp_proto::wire::Update;
use speaker_config::model::PeerSettings;
use speaker_core::learn::{Helper, Loss, Neighbor, Rules, sift};
use speaker_core::received::DEFAULT_MAX_PREFIXES;

use super::task::Task;
use crate::io::learn::{Begun, Told};

/// While so much waits to be told, nothing more is read from the peer.
const MOST: usize = 16;

/// What is learned, and what waits to be told of it.
#[derive(Debug, Default)]
pub(super) struct Learning {
    /// The number of the session that routes are learned from; the last one's, once it is over.
    session: u64,
    /// There is such a session.
    on: bool,
    /// The session's end is that of the way to the peer: nothing is kept for a restart.
    way_gone: bool,
    pub(super) queue: VecDeque<(u64, Told)>,
}

impl Learning {
    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MOST
    }

    fn tell(&mut self, told: Told) {
        self.queue.push_back((self.session, told));
    }

    /// The way to the peer is gone, and the session will be, at once.
    pub(super) fn way_is_gone(&mut self) {
        self.way_gone = true;
    }

    /// What is kept of former sessions goes.
    pub(super) fn flush(&mut self) {
        if self.session > 0 {
            self.tell(Told::Flush);
        }
        self.on = false;
    }

    pub(super) fn refreshing(&mut self, family: Family) {
        if self.on {
            self.tell(Told::Refreshing(family));
        }
    }

    pub(super) fn refreshed(&mut self, family: Family) {
        if self.on {
            self.tell(Told::Refreshed(family));
        }
    }

    pub(super) fn down(&mut self, reason: &DownReason) {
        let loss = if std::mem::take(&mut self.way_gone) { Loss::Final } else { Loss::of(reason) };
        if std::mem::take(&mut self.on) {
            self.tell(Told::Down(loss));
        }
    }
}

impl Task {
    /// A session has come up.
    pub(super) fn learn_from(&mut self, negotiated: &Negotiated) {
        self.learning.way_gone = false;
        if self.spec.settings.learn.is_off() {
            return;
        }
        self.learning.session = self.context.learn.session();
        self.learning.on = true;
        let remote = negotiated.remote;
        let interface = match remote {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(v6.scope_id()),
            _ => None,
        };
        let begun = Begun {
            from: Neighbor {
                address: remote.ip(),
                interface,
                asn: negotiated.peer_asn,
                router_id: negotiated.peer_router_id,
                local_asn: negotiated.local_asn,
                local_router_id: self.spec.session.router_id,
                role: self.spec.session.role,
            },
            families: negotiated.families,
            helper: Helper::of(negotiated),
            rules: rules(&self.spec.settings),
        };
        self.learning.tell(Told::Up(Box::new(begun)));
    }

    pub(super) fn learn_update(&mut self, update: &Update) {
        if !self.learning.on {
            return;
        }
        // Of one session after the other: the rules are those of the settings.
        if let Some(sifted) = sift(update, &rules(&self.spec.settings)) {
            self.learning.tell(Told::Update(sifted));
        }
    }

    /// `learn` and `maxPrefixes` have changed, and are in the settings already. Says whether the peer is to be asked for
    /// its table.
    pub(super) fn learn_anew(&mut self) -> bool {
        let settings = &self.spec.settings;
        self.session.set_helper(!settings.learn.is_off());
        if settings.learn.is_off() {
            self.learning.flush();
            return false;
        }
        if self.learning.on {
            let rules = rules(settings);
            self.learning.tell(Told::Rules(rules));
        } else if let Some(negotiated) = self.session.view().negotiated {
            self.learn_from(&negotiated);
        }
        self.up.is_some()
    }
}

fn rules(settings: &PeerSettings) -> Rules {
    let kept = settings.kept();
    let most = FamilyMap::from_fn(|family| kept.get(family).unwrap_or(DEFAULT_MAX_PREFIXES));
    Rules { learn: settings.learn.clone(), most }
}
