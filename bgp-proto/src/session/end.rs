//! How a connection ends: at most one NOTIFICATION, one Close, and one Down where there was a session or
//! an attempt at one.

use super::link::Link;
use super::memory::Context;
use super::{Action, DownReason, State};
use crate::wire::{MessageKind, Notification, codes};

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The peer broke the protocol or asked for what we do not do: this NOTIFICATION, and what was wrong.
    Fault(Notification, String),
    /// RFC 4271 §6.5.
    HoldTimer,
    /// RFC 9687.
    SendHoldTimer,
    /// The peer said so.
    Received(Notification),
    /// The TCP connection is gone.
    Lost(String),
    /// An error of the peer before any OPEN, for which RFC 4271 §8.2.2 knows no NOTIFICATION.
    Silent(String),
    /// RFC 4271 §6.8: we keep another connection.
    Collision(&'static str),
    /// RFC 4271 §6.8: the peer keeps another connection.
    Superseded,
    /// The session whose newcomer this is has failed by the peer's fault: no further one without IdleHoldTime.
    Rejected,
    /// RFC 4724 §5: the peer has opened a new connection, so it has forgotten this one.
    Restarted,
    /// Our caller said so; with this NOTIFICATION or without a word.
    Stopped(Option<Notification>),
}

/// What the end of a connection means for the session, where there is no other connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// To Active, with ConnectRetryTimer.
    Retry,
    /// To Idle, with IdleHoldTimer.
    BackOff,
}

/// A connection that has ended and has not been told yet.
#[derive(Debug)]
#[must_use]
pub(super) struct Ended {
    pub(super) link: Box<Link>,
    /// The state in which it ended.
    pub(super) state: State,
    pub(super) end: End,
}

impl Ended {
    /// RFC 4271 §8.2.2, TcpConnectionFails: OpenSent goes to Active, and so does Connect with its
    /// DelayOpenTimer running; Active, OpenConfirm and Established go to Idle.
    ///
    /// A peer that resolves a collision keeps a connection of its own, and where we have none it is on its way or dead:
    /// it would find Idle, which refuses it, and so would each of ours find the peer, for as long as IdleHoldTime doubles.
    pub(super) fn next(&self) -> Next {
        match (&self.end, self.state) {
            (_, State::OpenSent | State::OpenConfirm) if self.is_peers_collision() => Next::Retry,
            (End::Collision(_) | End::Superseded, _) => Next::Retry,
            (End::Lost(_), State::Connect | State::OpenSent) => Next::Retry,
            _ => Next::BackOff,
        }
    }

    /// The peer resolved a collision (RFC 4271 §6.8, RFC 4486).
    pub(super) fn is_peers_collision(&self) -> bool {
        matches!(&self.end, End::Received(n)
            if (n.code, n.subcode) == (codes::CEASE, codes::CEASE_CONNECTION_COLLISION))
    }

    /// Ends it: the attempt, or the session, is down.
    pub(super) fn finish(self, cx: &mut Context<'_>) {
        if let Some(reason) = self.carry_out(cx) {
            cx.down(reason);
        }
    }

    /// Ends it beside an established session, which goes on: nobody may take this for its end.
    pub(super) fn finish_beside(self, cx: &mut Context<'_>) {
        if let Some(reason) = self.carry_out(cx) {
            cx.note(format!("a second connection of the peer ended: {reason}"));
        }
    }

    /// Says what is to be said, closes what is to be closed; returns what is to be reported as Down.
    fn carry_out(mut self, cx: &mut Context<'_>) -> Option<DownReason> {
        match std::mem::replace(&mut self.end, End::Superseded) {
            End::Fault(notification, detail) => {
                self.notify(cx, &notification);
                Some(DownReason::Sent(notification, detail))
            }
            End::HoldTimer => {
                self.notify(cx, &Notification::new(codes::HOLD_TIMER_EXPIRED, 0));
                Some(DownReason::HoldTimerExpired)
            }
            End::SendHoldTimer => {
                self.notify(cx, &Notification::new(codes::SEND_HOLD_TIMER_EXPIRED, 0));
                Some(DownReason::SendHoldTimerExpired)
            }
            End::Received(notification) => {
                self.close(cx);
                self.judge_received(cx, &notification);
                Some(DownReason::Received(notification))
            }
            End::Lost(reason) => self.lost(cx, reason),
            End::Silent(detail) => {
                self.close(cx);
                cx.note(detail);
                None
            }
            End::Collision(why) => {
                self.notify(cx, &Notification::new(codes::CEASE, codes::CEASE_CONNECTION_COLLISION));
                // Without its port: the same again is the same line.
                cx.note(format!("closed a second connection with {}: {why}", self.link.remote.ip()));
                None
            }
            End::Superseded => {
                self.close(cx);
                cx.note(format!(
                    "the peer kept the other connection and closed one with {}",
                    self.link.remote.ip()
                ));
                None
            }
            End::Rejected => {
                self.notify(cx, &Notification::new(codes::CEASE, codes::CEASE_CONNECTION_REJECTED));
                cx.note("refused a new connection of the peer until IdleHoldTime has passed");
                None
            }
            End::Restarted => {
                self.close(cx);
                let reason = "the peer opened a new connection: it has restarted (RFC 4724 §5)";
                Some(DownReason::Transport(reason.to_owned()))
            }
            End::Stopped(Some(notification)) => {
                self.notify(cx, &notification);
                let text = stopped(&notification);
                Some(DownReason::Sent(notification, text))
            }
            End::Stopped(None) => {
                self.close(cx);
                self.opened().then_some(DownReason::Stopped)
            }
        }
    }

    /// Our OPEN went out.
    fn opened(&self) -> bool {
        self.state >= State::OpenSent
    }

    fn lost(&self, cx: &mut Context<'_>, reason: String) -> Option<DownReason> {
        if !self.opened() {
            cx.note(format!("the connection ended before any OPEN: {reason}"));
            return None;
        }
        if self.state == State::OpenSent {
            cx.note("the peer closed before its OPEN; another BGP speaker on this address?");
        }
        Some(DownReason::Transport(reason))
    }

    fn notify(&mut self, cx: &mut Context<'_>, notification: &Notification) {
        cx.send(&mut self.link, MessageKind::Notification, notification.encode());
        self.close(cx);
    }

    fn close(&self, cx: &mut Context<'_>) {
        cx.act(Action::Close { conn: self.link.conn });
    }

    /// Whether the peer may like us better with fewer capabilities, or not at all from this address.
    fn judge_received(&self, cx: &mut Context<'_>, notification: &Notification) {
        if self.state <= State::OpenSent && notification.code == codes::CEASE {
            cx.note("the peer refuses before its OPEN; another BGP speaker on this address?");
        }
        if let Some(text) = cx.memory.fallback.refused(&cx.memory.config, self.state, notification) {
            cx.note(text);
        }
    }
}

/// Why our caller stopped it, as far as the NOTIFICATION says.
fn stopped(notification: &Notification) -> String {
    let inner = notification.hard_reset_inner();
    let said = inner.as_ref().unwrap_or(notification);
    if (said.code, said.subcode) == (codes::CEASE, codes::CEASE_BFD_DOWN) {
        return "BFD has found that the path is down".to_owned();
    }
    notification.shutdown_communication().unwrap_or_else(|| "stopped".to_owned())
}
