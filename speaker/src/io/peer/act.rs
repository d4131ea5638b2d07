//! What the task does with the session's actions.

use std::time::Duration;

use bgp_proto::session::{Action, DownReason, Input, Negotiated, State};
use bgp_proto::types::{Family, FamilySet};
use bgp_proto::wire::{Disposition, RefreshKind, Update};
use speaker_core::export::Feed;
use speaker_core::received::{AdjRibIn, Receiver};
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::limits::Limits;
use super::task::{Task, Up};
use super::{Established, Leaving, PeerEvent, words};
use crate::io::egress::EgressAddresses;

/// Between two log lines about faulty UPDATEs.
const FAULTY_INTERVAL: Duration = Duration::from_secs(10);
/// How long the kernel may take to say what the way to the peer is.
const LOOKUP: Duration = Duration::from_secs(2);
/// How many octets of a malformed message operators are shown beside the log: what most messages have at most.
const MAX_KEPT: usize = 4096;
/// Log lines that are remembered, so as not to repeat them.
const MAX_SAID: usize = 8;
/// Connections that are being closed in order; more are closed at once.
pub(super) const MAX_LINGERING: usize = 8;
/// Notes that wait for the hub; more are logged alone.
const MAX_NOTES: usize = 32;

impl Task {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect(),
            Action::CancelConnect => self.dial = None,
            Action::Send { conn, bytes } => {
                if let Some(connection) = self.connection(conn) {
                    connection.out.control(bytes);
                }
            }
            Action::Close { conn } => {
                if let Some(at) = self.connections.iter().position(|connection| connection.id == conn) {
                    let connection = self.connections.swap_remove(at);
                    self.close(connection);
                }
            }
            Action::State(state) => {
                info!("state {state}");
                if state != State::Idle {
                    self.reached = state;
                }
                if matches!(self.pending.back(), Some(PeerEvent::State(_))) {
                    self.pending.pop_back();
                }
                self.pending.push_back(PeerEvent::State(state));
            }
            Action::Established(negotiated) => self.established(negotiated),
            Action::Update(update) => self.update(&update),
            Action::Refresh(family, kind) => self.refresh(family, kind),
            Action::Malformed(message) => self.malformed(&message),
            Action::Down(reason) => self.down(reason),
            Action::Note(text) => self.note(text),
        }
    }

    /// A peer that comes again and again while it is refused gets no more of our memory for it.
    fn close(&mut self, connection: Connection) {
        while self.lingering.try_join_next().is_some() {}
        if self.lingering.len() < MAX_LINGERING {
            let (leaving, stays) = Leaving::new();
            self.before.retain(|one| !one.is_over());
            // Of a connection that is closed without a word, nothing follows that would have to be waited for.
            if !connection.out.is_empty() {
                self.before.push(leaving);
            }
            self.lingering.spawn(async move {
                connection.close().await;
                drop(stays);
            });
        } else {
            connection.close_now();
        }
    }

    pub(super) fn established(&mut self, negotiated: Box<Negotiated>) {
        let families: Vec<String> = negotiated.families.iter().map(|family| family.to_string()).collect();
        info!(
            remote = %negotiated.remote, local = %negotiated.local, peer_as = %negotiated.peer_asn,
            router_id = %negotiated.peer_router_id, hold = negotiated.hold_time.seconds(),
            families = families.join(","), "session is up",
        );
        self.said.clear();
        self.limits = Limits::default();
        self.reached = State::Established;
        self.up = Some(Up {
            conn: negotiated.conn,
            peer_asn: negotiated.peer_asn,
            families: negotiated.families,
            route_refresh: negotiated.route_refresh,
            interface: None,
            restart_time: negotiated
                .graceful_restart
                .as_ref()
                .filter(|restart| !restart.families.is_empty())
                .map(|restart| Duration::from_secs(restart.restart_time.into())),
        });
        self.restart_is_over();
        self.feed = Feed::new(negotiated.enhanced_refresh);
        let (local, remote) = (negotiated.local.ip(), negotiated.remote.ip());
        let receiver = Receiver {
            asns: vec![negotiated.local_asn],
            router_id: Some(self.spec.session.router_id),
            // A peer on this very host has our address, and may mean itself by it.
            addresses: if local == remote { Vec::new() } else { vec![local] },
        };
        let settings = &self.spec.settings;
        self.received = AdjRibIn::of(settings.receive, settings.kept(), receiver);
        self.learn_from(&negotiated);
        let (egress, local, remote) = (self.context.egress.clone(), negotiated.local, negotiated.remote);
        let lookup = Box::pin(async move {
            // Routes do not wait for a kernel that does not answer.
            tokio::time::timeout(LOOKUP, egress.towards(local, remote)).await.unwrap_or_default()
        });
        self.lookup = Some((lookup, negotiated));
    }

    pub(super) fn looked(&mut self, egress: EgressAddresses) {
        if let Some((_, negotiated)) = self.lookup.take() {
            if let Some(up) = &mut self.up {
                up.interface.clone_from(&egress.interface);
            }
            let established = Established { negotiated: *negotiated, egress };
            self.pending.push_back(PeerEvent::Established(Box::new(established)));
        }
    }

    pub(super) fn update(&mut self, update: &Update) {
        if !update.issues.is_empty() {
            self.faulty(update);
        }
        // What came behind the one that was too much.
        if self.up.is_none() || self.limits.is_passed() {
            return;
        }
        let noticed = self.received.apply(update, self.context.clock.unix());
        if self.received.is_followed() {
            self.context.pulse.beat();
        }
        if noticed.own_next_hop.is_some() {
            self.note("ignored routes whose next hop is our own address (RFC 4271 §6.3)".to_owned());
        }
        if self.hold_limits(noticed.passed) {
            return;
        }
        self.learn_update(update);
        for family in noticed.passed.iter() {
            let count = self.received.count(family);
            self.note(format!(
                "{family}: the peer announces {count} prefixes; no more are kept (maxPrefixes)"
            ));
        }
    }

    /// Errors in UPDATEs are logged (RFC 7606 §6), but not as fast as a peer can make them.
    pub(super) fn faulty(&mut self, update: &Update) {
        let now = self.now();
        self.faulty += 1;
        self.treated_as_withdraw += u64::from(update.disposition() == Disposition::TreatAsWithdraw);
        if self.faulty_logged.is_some_and(|last| now.since(last) < FAULTY_INTERVAL) {
            return;
        }
        self.faulty_logged = Some(now);
        // The fault that decided; the first of several.
        let Some(issue) = update.issues.iter().rev().max_by_key(|issue| issue.disposition) else { return };
        let (treatment, others) = (issue.disposition, update.issues.len() - 1);
        warn!(
            attribute = issue.code,
            ?treatment,
            others,
            count = self.faulty,
            "faulty UPDATE: {}; the whole message: {}",
            issue.detail,
            words::hex(&update.faulty),
        );
    }

    /// What ends a session is logged whole as well, and the hub keeps the start of it for operators. A peer that
    /// comes again with the same is told of once an interval.
    fn malformed(&mut self, message: &[u8]) {
        let kept = message.get(..MAX_KEPT).unwrap_or(message);
        self.malformed = Some(words::hex(kept));
        let now = self.now();
        if self.fatal_logged.is_some_and(|last| now.since(last) < FAULTY_INTERVAL) {
            return;
        }
        self.fatal_logged = Some(now);
        warn!(
            octets = message.len(),
            "malformed message, which ends the session; the whole message: {}",
            words::hex(message)
        );
    }

    /// RFC 2918 §4, RFC 7313 §4.
    pub(super) fn refresh(&mut self, family: Family, kind: RefreshKind) {
        match kind {
            RefreshKind::Request => {
                if self.feed.refresh(family) {
                    info!(%family, "the peer asks for the table again");
                }
            }
            // What the peer does not announce again until EoRR is gone: counting begins anew.
            RefreshKind::Begin => {
                self.received.restart(family);
                self.learning.refreshing(family);
            }
            RefreshKind::End => self.learning.refreshed(family),
            RefreshKind::Unknown(_) => debug!(%family, ?kind, "route refresh"),
        }
    }

    pub(super) fn request_refresh(&mut self, families: FamilySet) {
        let Some(up) = &self.up else { return };
        if !up.route_refresh {
            return self
                .note("the peer does not take ROUTE-REFRESH; `clear PEER` resets the session".to_owned());
        }
        for family in families.intersection(up.families).iter() {
            self.received.restart(family);
            self.input(Input::RequestRefresh(family));
        }
    }

    pub(super) fn down(&mut self, reason: DownReason) {
        let text = words::down(&reason, self.reached);
        if self.is_new(&text) {
            warn!("{text}");
        } else {
            debug!("{text}");
        }
        self.expect_restart(&reason);
        self.learning.down(&reason);
        self.up = None;
        self.lookup = None;
        self.feed = Feed::default();
        self.unwritten = None;
        self.received = AdjRibIn::new(self.spec.settings.receive, self.spec.settings.kept());
        if let Some(message) = self.malformed.take() {
            self.pending.push_back(PeerEvent::Malformed(message));
        }
        self.pending.push_back(PeerEvent::Down(reason));
    }

    /// Whether `text` was not said since the session was last up.
    fn is_new(&mut self, text: &str) -> bool {
        let new = !self.said.iter().any(|said| said == text);
        if new {
            if self.said.len() == MAX_SAID {
                self.said.remove(0);
            }
            self.said.push(text.to_owned());
        }
        new
    }

    pub(super) fn note(&mut self, text: String) {
        // That of a second connection, whose end is a note, is not that of the session.
        self.malformed = None;
        if !self.is_new(&text) {
            return debug!("{text}");
        }
        info!("{text}");
        if self.pending.len() < MAX_NOTES {
            self.pending.push_back(PeerEvent::Note(text));
        }
    }
}
