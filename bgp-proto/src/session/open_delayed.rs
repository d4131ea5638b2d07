//! A TCP connection before our OPEN: Connect or Active with DelayOpenTimer running (RFC 4271 §8.2.2).

use super::State;
use super::end::{End, Ended};
use super::link::{Direction, Link};
use super::memory::Context;
use super::open_sent::{OpenReceived, OpenSent};
use super::timers::{Timer, Visit};
use crate::wire::{Message, MessageKind, Open};

#[derive(Debug)]
pub(super) struct OpenDelayed {
    pub(super) link: Box<Link>,
    pub(super) delay_open: Timer,
}

impl OpenDelayed {
    /// The peer dials in Active and we dial in Connect; waiting for DelayOpenTimer changes neither.
    pub(super) fn state(&self) -> State {
        match self.link.direction {
            Direction::Outgoing => State::Connect,
            Direction::Incoming => State::Active,
        }
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        visit("delay-open", self.delay_open);
    }

    pub(super) fn end(self, end: End) -> Ended {
        Ended { state: self.state(), link: self.link, end }
    }

    /// DelayOpenTimer_Expires.
    pub(super) fn send_open(mut self, cx: &mut Context<'_>) -> OpenSent {
        let ours = cx.send_open(&mut self.link);
        OpenSent::new(cx, self.link, ours)
    }

    /// "BGPOpen with DelayOpenTimer running": our OPEN goes out at once. Anything else is too early.
    pub(super) fn take(self, cx: &mut Context<'_>, message: Message) -> Result<OpenReceived, Ended> {
        match message {
            Message::Open(theirs) => self.take_open(cx, theirs),
            Message::Notification(notification) => Err(self.end(End::Received(notification))),
            other => Err(self.end(before_open(other.kind()))),
        }
    }

    fn take_open(self, cx: &mut Context<'_>, theirs: Open) -> Result<OpenReceived, Ended> {
        // The OPEN is answered with ours even where it is refused next: a NOTIFICATION before any OPEN
        // looks like a speaker of another protocol.
        self.send_open(cx).receive_open(cx, theirs)
    }
}

pub(super) fn before_open(kind: MessageKind) -> End {
    End::Silent(format!("the peer sent {kind:?} before any OPEN"))
}
