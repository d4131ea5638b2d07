//! OpenConfirm, and the two timers that it shares with Established.

use std::time::Duration;

use super::end::{End, Ended};
use super::established::Established;
use super::link::Link;
use super::memory::Context;
use super::open_sent::unexpected;
use super::timers::{Timer, Visit};
use super::{Negotiated, State};
use crate::types::HoldTime;
use crate::wire::{Message, MessageKind, keepalive};

/// "KEEPALIVE messages MUST NOT be sent more frequently than one per second" (RFC 4271 §4.4).
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);

/// HoldTimer and KeepaliveTimer; both stand still where the negotiated hold time is 0.
#[derive(Debug)]
pub(super) struct Liveness {
    hold_time: Option<Duration>,
    hold: Timer,
    keepalive_time: Option<Duration>,
    keepalive: Timer,
}

impl Liveness {
    pub(super) fn new(cx: &mut Context<'_>, hold_time: HoldTime) -> Self {
        let wanted = cx.memory.config.timers.keepalive;
        let keepalive_time = hold_time.keepalive().map(|third| wanted.map_or(third, |w| w.min(third)));
        let hold_time = hold_time.duration();
        let hold = Timer::start_some(cx.now, hold_time);
        let mut live = Self { hold_time, hold, keepalive_time, keepalive: Timer::STOPPED };
        live.restart_keepalive(cx);
        live
    }

    /// A KEEPALIVE or an UPDATE came.
    pub(super) fn heard(&mut self, cx: &Context<'_>) {
        self.hold = Timer::start_some(cx.now, self.hold_time);
    }

    fn restart_keepalive(&mut self, cx: &mut Context<'_>) {
        let jittered = self.keepalive_time.map(|time| cx.memory.jitter.apply(time).max(SHORTEST_KEEPALIVE));
        self.keepalive = Timer::start_some(cx.now, jittered);
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        visit("hold", self.hold);
        visit("keepalive", self.keepalive);
    }

    /// HoldTimer_Expires or KeepaliveTimer_Expires, whichever is due.
    pub(super) fn expire(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Result<(), End> {
        if self.hold.is_due(cx.now) {
            return Err(End::HoldTimer);
        }
        if self.keepalive.is_due(cx.now) {
            cx.send(link, MessageKind::Keepalive, keepalive());
            self.restart_keepalive(cx);
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct OpenConfirm {
    pub(super) link: Box<Link>,
    pub(super) negotiated: Box<Negotiated>,
    pub(super) live: Liveness,
}

impl OpenConfirm {
    pub(super) fn timers(&self, visit: Visit<'_>) {
        self.live.timers(visit);
    }

    pub(super) fn end(self, end: End) -> Ended {
        Ended { state: State::OpenConfirm, link: self.link, end }
    }

    pub(super) fn expire(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        match self.live.expire(cx, &mut self.link) {
            Ok(()) => Ok(self),
            Err(end) => Err(self.end(end)),
        }
    }

    /// KeepAliveMsg: "restarts the HoldTimer and changes its state to Established".
    pub(super) fn take(mut self, cx: &mut Context<'_>, message: &Message) -> Result<Established, Ended> {
        match message {
            Message::Keepalive => {
                self.live.heard(cx);
                Ok(Established::new(cx, self.link, self.negotiated, self.live))
            }
            Message::Notification(notification) => Err(self.end(End::Received(notification.clone()))),
            other => Err(self.end(unexpected(State::OpenConfirm, other.kind()))),
        }
    }
}
