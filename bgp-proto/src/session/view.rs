//! What operators see of a session.

use serde::Serialize;

use super::{DownReason, Negotiated, State};
use crate::types::Timestamp;
use crate::wire::MessageKind;

/// Messages by kind, one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
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

impl Counters {
    pub(super) fn count(&mut self, kind: MessageKind) {
        let counter = match kind {
            MessageKind::Open => &mut self.opens,
            MessageKind::Update => &mut self.updates,
            MessageKind::Notification => &mut self.notifications,
            MessageKind::Keepalive => &mut self.keepalives,
            MessageKind::RouteRefresh => &mut self.route_refreshes,
        };
        *counter = counter.saturating_add(1);
    }
}

/// What operators see of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What was agreed on, while established.
    pub negotiated: Option<Box<Negotiated>>,
    /// Messages from the peer over all connections; UPDATEs sent are the caller's to count.
    pub received: Counters,
    /// Messages to the peer over all connections, those that the session itself made.
    pub sent: Counters,
    /// How often it was established.
    pub established: u64,
    /// Why it last went down, and when.
    pub last_down: Option<(Timestamp, DownReason)>,
    /// The next timer and its name.
    pub deadline: Option<(Timestamp, &'static str)>,
}
