//! A connection on its way to Established.

use bytes::Bytes;

use super::end::{End, Ended};
use super::established::Established;
use super::link::Link;
use super::memory::Context;
use super::open_confirm::OpenConfirm;
use super::open_delayed::{OpenDelayed, before_open};
use super::open_sent::{OpenReceived, OpenSent, unexpected};
use super::timers::{Timer, Visit};
use super::{ConnId, State};
use crate::wire::{DecodeContext, Message, MessageKind, codes};

/// One type a state; what a state does not have, nobody can ask of it.
#[derive(Debug)]
pub(super) enum Connection {
    Delayed(OpenDelayed),
    Sent(OpenSent),
    Confirm(OpenConfirm),
}

/// What a connection makes of the bytes that it has.
#[derive(Debug)]
pub(super) enum Progress {
    /// No whole message is left.
    Waits(Connection),
    /// An acceptable OPEN came.
    Opened(OpenReceived),
    /// It is up; there may be more to read.
    Up(Box<Established>),
}

impl Connection {
    /// TCP is up: OPEN goes out now, or after DelayOpenTime.
    pub(super) fn begin(cx: &mut Context<'_>, link: Box<Link>) -> Self {
        let delay = cx.memory.config.timers.delay_open.filter(|delay| !delay.is_zero());
        let delayed = OpenDelayed { link, delay_open: Timer::start_some(cx.now, delay) };
        if delay.is_some() { Self::Delayed(delayed) } else { Self::Sent(delayed.send_open(cx)) }
    }

    pub(super) fn link(&self) -> &Link {
        match self {
            Self::Delayed(c) => &c.link,
            Self::Sent(c) => &c.link,
            Self::Confirm(c) => &c.link,
        }
    }

    fn link_mut(&mut self) -> &mut Link {
        match self {
            Self::Delayed(c) => &mut c.link,
            Self::Sent(c) => &mut c.link,
            Self::Confirm(c) => &mut c.link,
        }
    }

    pub(super) fn is(&self, conn: ConnId) -> bool {
        self.link().conn == conn
    }

    pub(super) fn state(&self) -> State {
        match self {
            Self::Delayed(c) => c.state(),
            Self::Sent(_) => State::OpenSent,
            Self::Confirm(_) => State::OpenConfirm,
        }
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        match self {
            Self::Delayed(c) => c.timers(visit),
            Self::Sent(c) => c.timers(visit),
            Self::Confirm(c) => c.timers(visit),
        }
    }

    pub(super) fn is_due(&self, cx: &Context<'_>) -> bool {
        let mut due = false;
        self.timers(&mut |_, timer| due |= timer.is_due(cx.now));
        due
    }

    pub(super) fn end(self, end: End) -> Ended {
        match self {
            Self::Delayed(c) => c.end(end),
            Self::Sent(c) => c.end(end),
            Self::Confirm(c) => c.end(end),
        }
    }

    /// The timer that is due.
    pub(super) fn expire(self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        match self {
            Self::Delayed(c) => Ok(Self::Sent(c.send_open(cx))),
            Self::Sent(c) => Err(c.end(End::HoldTimer)),
            Self::Confirm(c) => c.expire(cx).map(Self::Confirm),
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.link_mut().push(bytes);
    }

    pub(super) fn enqueued(&mut self, bytes: usize) {
        self.link_mut().enqueued(bytes);
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.link_mut().written(bytes);
    }

    /// Reads at most one message.
    pub(super) fn read(mut self, cx: &mut Context<'_>) -> Result<Progress, Ended> {
        let message = match &mut self {
            Self::Delayed(OpenDelayed { link, .. }) | Self::Sent(OpenSent { link, .. }) => {
                link.read(cx, &DecodeContext::default())
            }
            Self::Confirm(c) => c.link.read(cx, &c.negotiated.decode),
        };
        match message {
            Ok(None) => Ok(Progress::Waits(self)),
            Ok(Some(message)) => self.take(cx, message),
            Err(end) => {
                let end = too_early(self.state(), end);
                Err(self.end(end))
            }
        }
    }

    fn take(self, cx: &mut Context<'_>, message: Message) -> Result<Progress, Ended> {
        match self {
            Self::Delayed(c) => c.take(cx, message).map(Progress::Opened),
            Self::Sent(c) => c.take(cx, message).map(Progress::Opened),
            Self::Confirm(c) => c.take(cx, &message).map(|up| Progress::Up(Box::new(up))),
        }
    }
}

/// A faulty UPDATE or ROUTE-REFRESH is first of all one too many: before Established, RFC 4271 §8.2.2 does
/// with UpdateMsgErr what it does with UpdateMsg.
fn too_early(state: State, end: End) -> End {
    let kind = match &end {
        End::Fault(notification, _) if notification.code == codes::UPDATE => MessageKind::Update,
        End::Fault(notification, _) if notification.code == codes::ROUTE_REFRESH => MessageKind::RouteRefresh,
        _ => return end,
    };
    if state < State::OpenSent { before_open(kind) } else { unexpected(state, kind) }
}
