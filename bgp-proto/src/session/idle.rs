//! Idle (RFC 4271 §8.2.2): "BGP FSM refuses all incoming BGP connections for this peer".

use super::link::{Direction, Link};
use super::memory::Context;
use super::opening::Opening;
use super::session::Phase;
use super::timers::{Timer, Visit};
use super::{Action, ConnId, Input, StopReason};
use crate::wire::{MessageKind, Notification, codes};

/// What Idle waits for.
#[derive(Debug)]
pub(super) enum Idle {
    /// For a start.
    Stopped,
    /// For IdleHoldTimer.
    Holding(Timer),
}

impl Idle {
    /// Stopped by an operator, who wants it again or not: ManualStop "sets the ConnectRetryCounter to zero" (RFC 4271
    /// §8.2.2), so that what was cleared ten times does not come back as late as what has failed ten times.
    pub(super) fn ordered(cx: &mut Context<'_>, reason: &StopReason) -> Phase {
        cx.memory.backoff.reset();
        if reason.restart { Self::hold(cx) } else { Phase::Idle(Self::Stopped) }
    }

    /// After a failure.
    pub(super) fn hold(cx: &mut Context<'_>) -> Phase {
        Phase::Idle(Self::Holding(cx.idle_hold()))
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        match self {
            Self::Stopped => {}
            Self::Holding(timer) => visit("idle-hold", *timer),
        }
    }

    pub(super) fn handle(self, cx: &mut Context<'_>, input: Input) -> Phase {
        match input {
            Input::Start => {
                cx.memory.backoff.reset();
                cx.memory.fallback.reset();
                return Phase::Opening(Opening::start(cx));
            }
            Input::Timeout => {
                if let Self::Holding(timer) = &self
                    && timer.is_due(cx.now)
                {
                    return Phase::Opening(Opening::start(cx));
                }
            }
            Input::Stop(reason) if !reason.restart || matches!(self, Self::Holding(_)) => {
                return Self::ordered(cx, &reason);
            }
            Input::Accepted { conn, local, remote } => {
                self.refuse(cx, Link::new(conn, Direction::Incoming, local, remote));
            }
            Input::Connected { conn, .. } => close(cx, conn),
            Input::RequestRefresh(family) => not_up(cx, family),
            Input::Stop(_)
            | Input::ConnectFailed { .. }
            | Input::Received { .. }
            | Input::Closed { .. }
            | Input::Enqueued { .. }
            | Input::Written { .. } => {}
        }
        Phase::Idle(self)
    }

    /// A stopped session says so: "the BGP speaker SHOULD send a NOTIFICATION message with the Error Code
    /// Cease and the Error Subcode Connection Rejected" (RFC 4486 §4). While IdleHoldTimer runs the
    /// connection is closed without a word, which leaves the peer in Active instead of in a wait of its own;
    /// two speakers that wait in turns and refuse each other would not meet.
    fn refuse(&self, cx: &mut Context<'_>, mut link: Box<Link>) {
        if matches!(self, Self::Stopped) {
            let rejected = Notification::new(codes::CEASE, codes::CEASE_CONNECTION_REJECTED);
            cx.send(&mut link, MessageKind::Notification, rejected.encode());
        }
        close(cx, link.conn);
    }
}

/// A connection that came too late to be of use.
pub(super) fn close(cx: &mut Context<'_>, conn: ConnId) {
    cx.act(Action::Close { conn });
}

pub(super) fn not_up(cx: &mut Context<'_>, family: crate::types::Family) {
    cx.note(format!("no route refresh for {family}: the session is not established"));
}
