//! Our own attempt at a connection.

use super::connection::Connection;
use super::memory::Context;
use super::timers::{Timer, Visit};
use super::{Action, State};

/// Where the connection stands that we make.
#[derive(Debug)]
pub(super) enum Dial {
    /// We do not dial: passive, or the peer's connection has taken over. Active.
    Resting,
    /// Until ConnectRetryTimer expires. Active.
    Waiting(Timer),
    /// TCP is under way; ConnectRetryTimer starts it anew. Connect.
    Dialling(Timer),
    /// TCP is up.
    Open(Connection),
}

impl Dial {
    /// "initiates a TCP connection to the other BGP peer, … starts the ConnectRetryTimer".
    pub(super) fn connect(cx: &mut Context<'_>) -> Self {
        cx.act(Action::Connect);
        Self::Dialling(cx.connect_retry())
    }

    /// Dials at once, where we are to dial at all.
    pub(super) fn first(cx: &mut Context<'_>) -> Self {
        if cx.memory.config.passive { Self::Resting } else { Self::connect(cx) }
    }

    /// Dials after ConnectRetryTime, where we are to dial at all.
    pub(super) fn later(cx: &mut Context<'_>) -> Self {
        if cx.memory.config.passive { Self::Resting } else { Self::Waiting(cx.connect_retry()) }
    }

    /// The peer's connection has gone ahead, or the session stops: gives up what is not a connection yet.
    pub(super) fn rest(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Dialling(_) => cx.act(Action::CancelConnect),
            Self::Waiting(_) | Self::Resting => {}
            Self::Open(_) => return,
        }
        *self = Self::Resting;
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Open(connection) => Some(connection),
            Self::Resting | Self::Waiting(_) | Self::Dialling(_) => None,
        }
    }

    pub(super) fn connection_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Open(connection) => Some(connection),
            Self::Resting | Self::Waiting(_) | Self::Dialling(_) => None,
        }
    }

    /// Takes the connection out, if `wanted`.
    pub(super) fn take_if(&mut self, wanted: impl FnOnce(&Connection) -> bool) -> Option<Connection> {
        match std::mem::replace(self, Self::Resting) {
            Self::Open(connection) if wanted(&connection) => Some(connection),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn state(&self) -> State {
        match self {
            Self::Resting | Self::Waiting(_) => State::Active,
            Self::Dialling(_) => State::Connect,
            Self::Open(connection) => connection.state(),
        }
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        match self {
            Self::Resting => {}
            Self::Waiting(retry) | Self::Dialling(retry) => visit("connect-retry", *retry),
            Self::Open(connection) => connection.timers(visit),
        }
    }
}
