//! Signatures that the rest of the workspace builds against; the state machine replaces this file.
#![allow(unused_variables, clippy::unimplemented, reason = "replaced by the state machine")]

use serde::Serialize;

use super::{Action, DownReason, Input, Negotiated, SessionConfig, State, TimerConfig};
use crate::types::Timestamp;

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

/// The session with one peer.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// A session in Idle that waits for [`Input::Start`].
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        unimplemented!()
    }

    /// Takes one input at `now`; what is to be done is appended to `actions`, in order.
    pub fn handle(&mut self, now: Timestamp, input: Input, actions: &mut Vec<Action>) {
        unimplemented!()
    }

    /// When [`Input::Timeout`] is due next, and by which timer.
    #[must_use]
    pub fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        unimplemented!()
    }

    /// The state that operators see.
    #[must_use]
    pub fn state(&self) -> State {
        unimplemented!()
    }

    /// Everything that operators see.
    #[must_use]
    pub fn view(&self) -> SessionView {
        unimplemented!()
    }

    /// New timers: those in force at the next connection, and no reset.
    pub fn set_timers(&mut self, timers: TimerConfig) {
        unimplemented!()
    }
}
