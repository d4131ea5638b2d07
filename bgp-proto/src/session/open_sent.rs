//! OpenSent, and the moment between the peer's OPEN and the verdict on a collision.

use super::end::{End, Ended};
use super::link::Link;
use super::memory::Context;
use super::negotiate::negotiate;
use super::open_confirm::{Liveness, OpenConfirm};
use super::timers::{OPEN_HOLD_TIME, Timer, Visit};
use super::{Negotiated, State};
use crate::wire::{Message, MessageKind, Notification, Open, codes, keepalive};

#[derive(Debug)]
pub(super) struct OpenSent {
    pub(super) link: Box<Link>,
    /// Our OPEN, as it went out on this connection.
    ours: Open,
    hold: Timer,
}

/// A connection that has brought an acceptable OPEN. RFC 4271 §6.8 wants the collision decided now: it goes
/// on by [`OpenReceived::confirm`] or ends.
#[derive(Debug)]
pub(super) struct OpenReceived {
    pub(super) link: Box<Link>,
    pub(super) negotiated: Box<Negotiated>,
}

impl OpenSent {
    /// "sets the HoldTimer to a large value": the negotiated one is not known yet.
    pub(super) fn new(cx: &Context<'_>, link: Box<Link>, ours: Open) -> Self {
        Self { link, ours, hold: Timer::start(cx.now, OPEN_HOLD_TIME) }
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        visit("hold", self.hold);
    }

    pub(super) fn end(self, end: End) -> Ended {
        Ended { state: State::OpenSent, link: self.link, end }
    }

    pub(super) fn take(self, cx: &mut Context<'_>, message: Message) -> Result<OpenReceived, Ended> {
        match message {
            Message::Open(theirs) => self.receive_open(cx, theirs),
            // RFC 4271 §8.2.2 lists NotifMsg among the events that ask for an FSM error. It cannot be
            // meant: there is no NOTIFICATION about a NOTIFICATION (§6.4), and peers do refuse this way.
            Message::Notification(notification) => Err(self.end(End::Received(notification))),
            other => Err(self.end(unexpected(State::OpenSent, other.kind()))),
        }
    }

    pub(super) fn receive_open(self, cx: &mut Context<'_>, theirs: Open) -> Result<OpenReceived, Ended> {
        match negotiate(&cx.memory.config, &self.link, &self.ours, theirs) {
            Ok(negotiated) => Ok(OpenReceived { link: self.link, negotiated: Box::new(negotiated) }),
            Err((notification, detail)) => Err(self.end(End::Fault(notification, detail))),
        }
    }
}

impl OpenReceived {
    pub(super) fn end(self, end: End) -> Ended {
        Ended { state: State::OpenSent, link: self.link, end }
    }

    /// "sends a KEEPALIVE message, and - sets a KeepaliveTimer … - sets the HoldTimer according to the
    /// negotiated value …, - changes its state to OpenConfirm" (RFC 4271 §8.2.2).
    pub(super) fn confirm(mut self, cx: &mut Context<'_>) -> OpenConfirm {
        cx.send(&mut self.link, MessageKind::Keepalive, keepalive());
        let live = Liveness::new(cx, self.negotiated.hold_time);
        OpenConfirm { link: self.link, negotiated: self.negotiated, live }
    }
}

/// "The Data field is a 1-octet, unsigned integer that indicates the type of the unexpected message"
/// (RFC 6608 §3).
pub(super) fn unexpected(state: State, kind: MessageKind) -> End {
    let subcode = match state {
        State::OpenConfirm => codes::FSM_OPEN_CONFIRM,
        State::Established => codes::FSM_ESTABLISHED,
        State::Idle | State::Connect | State::Active | State::OpenSent => codes::FSM_OPEN_SENT,
    };
    let notification = Notification { code: codes::FSM, subcode, data: vec![kind.code()].into() };
    End::Fault(notification, format!("the peer sent {kind:?} in {state}"))
}
