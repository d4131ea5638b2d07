//! Established.

use std::time::Duration;

use super::end::{End, Ended};
use super::link::Link;
use super::memory::Context;
use super::open_confirm::Liveness;
use super::open_sent::unexpected;
use super::timers::{Timer, Visit};
use super::{Action, Negotiated, State, StopReason};
use crate::types::{Family, Timestamp};
use crate::wire::{Capability, Message, MessageKind, Notification, RefreshKind, RouteRefresh, codes};

/// RFC 9687 §6 recommends the greater of 8 minutes and twice the negotiated hold time.
const SHORTEST_DEFAULT_SEND_HOLD: Duration = Duration::from_secs(8 * 60);

#[derive(Debug)]
pub(super) struct Established {
    pub(super) link: Box<Link>,
    pub(super) negotiated: Box<Negotiated>,
    pub(super) since: Timestamp,
    live: Liveness,
    send_hold_time: Option<Duration>,
    send_hold: Timer,
    noted: Noted,
}

/// What of the peer's was ignored and noted: a peer must not fill the log.
#[derive(Debug, Default)]
struct Noted {
    foreign_family: bool,
    unknown_refresh: bool,
}

impl Established {
    pub(super) fn new(
        cx: &mut Context<'_>,
        link: Box<Link>,
        negotiated: Box<Negotiated>,
        live: Liveness,
    ) -> Self {
        cx.memory.established = cx.memory.established.saturating_add(1);
        cx.act(Action::Established(negotiated.clone()));
        // Without a hold time there is no send hold time either: nobody promised that anything is ever read
        // (RFC 9687 §4.3).
        let send_hold_time = negotiated.hold_time.duration().map(|hold| {
            let default = SHORTEST_DEFAULT_SEND_HOLD.max(2 * hold);
            cx.memory.config.timers.send_hold.unwrap_or(default)
        });
        let (send_hold, noted) = (Timer::STOPPED, Noted::default());
        let mut up = Self { link, negotiated, since: cx.now, live, send_hold_time, send_hold, noted };
        up.watch_sending(cx);
        up
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        self.live.timers(visit);
        visit("send-hold", self.send_hold);
    }

    pub(super) fn end(self, end: End) -> Ended {
        Ended { state: State::Established, link: self.link, end }
    }

    /// How our caller's wish to stop is said to this peer.
    pub(super) fn stop_notification(&self, reason: &StopReason) -> Option<Notification> {
        let Negotiated { our_capabilities, peer_capabilities, .. } = &*self.negotiated;
        let hard =
            reason.hard && [our_capabilities, peer_capabilities].into_iter().all(|side| has_n_bit(side));
        let notification = reason.notification.clone()?;
        Some(if hard { notification.into_hard_reset() } else { notification })
    }

    /// RFC 4724 §5 speaks of a peer whose graceful restart capability has "one or more AFIs/SAFIs".
    pub(super) fn expects_restart(&self) -> bool {
        self.negotiated.graceful_restart.as_ref().is_some_and(|restart| !restart.families.is_empty())
    }

    /// Reads every whole message.
    pub(super) fn read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while let Some(message) = self.link.read(cx, &self.negotiated.decode).map_err(second_open)? {
            self.take(cx, message)?;
        }
        self.watch_sending(cx);
        Ok(())
    }

    fn take(&mut self, cx: &mut Context<'_>, message: Message) -> Result<(), End> {
        match message {
            Message::Update(update) => {
                self.live.heard(cx);
                cx.act(Action::Update(update));
                Ok(())
            }
            Message::Keepalive => {
                self.live.heard(cx);
                Ok(())
            }
            Message::RouteRefresh(refresh) => {
                self.take_refresh(cx, refresh);
                Ok(())
            }
            Message::Notification(notification) => Err(End::Received(notification)),
            Message::Open(_) => Err(unexpected(State::Established, MessageKind::Open)),
        }
    }

    /// HoldTimer is not restarted: RFC 4271 §8.2.2 names KEEPALIVE and UPDATE.
    fn take_refresh(&mut self, cx: &mut Context<'_>, refresh: RouteRefresh) {
        let negotiated = &*self.negotiated;
        let family = refresh.family.family().filter(|family| negotiated.families.contains(*family));
        let Some(family) = family else {
            if !std::mem::replace(&mut self.noted.foreign_family, true) {
                cx.note(format!("ignored a ROUTE-REFRESH for {}, which was not negotiated", refresh.family));
            }
            return;
        };
        let known = match refresh.kind {
            // "a BGP speaker advertises to its peer that the BGP speaker is capable of receiving and properly
            // handling the ROUTE-REFRESH message" (RFC 2918 §2): ours counts. RouterOS asks without its own.
            RefreshKind::Request => negotiated.our_capabilities.contains(&Capability::RouteRefresh),
            RefreshKind::Begin | RefreshKind::End => negotiated.enhanced_refresh,
            // "it MUST ignore the received ROUTE-REFRESH message" (RFC 7313 §5).
            RefreshKind::Unknown(_) => false,
        };
        if known {
            cx.act(Action::Refresh(family, refresh.kind));
        } else if !std::mem::replace(&mut self.noted.unknown_refresh, true) {
            cx.note(format!("ignored a ROUTE-REFRESH ({:?}), which was not negotiated", refresh.kind));
        }
    }

    /// Asks the peer for its table.
    pub(super) fn request_refresh(&mut self, cx: &mut Context<'_>, family: Family) {
        if !self.negotiated.route_refresh || !self.negotiated.families.contains(family) {
            cx.note(format!("the peer does not take a route refresh for {family}"));
            return;
        }
        let request = RouteRefresh { family: family.afi_safi(), kind: RefreshKind::Request };
        cx.send(&mut self.link, MessageKind::RouteRefresh, request.encode());
        self.watch_sending(cx);
    }

    pub(super) fn enqueued(&mut self, cx: &Context<'_>, bytes: usize) {
        self.link.enqueued(bytes);
        self.watch_sending(cx);
    }

    /// Something left: SendHoldTimer starts anew, or stops when nothing waits any more.
    pub(super) fn written(&mut self, cx: &Context<'_>, bytes: usize) {
        self.link.written(bytes);
        if bytes > 0 {
            self.send_hold = Timer::STOPPED;
        }
        self.watch_sending(cx);
    }

    /// SendHoldTimer runs exactly while something waits.
    fn watch_sending(&mut self, cx: &Context<'_>) {
        if !self.link.has_unsent() {
            self.send_hold = Timer::STOPPED;
        } else if self.send_hold.is_stopped() {
            self.send_hold = Timer::start_some(cx.now, self.send_hold_time);
        }
    }

    pub(super) fn expire(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.send_hold.is_due(cx.now) {
            return Err(End::SendHoldTimer);
        }
        self.live.expire(cx, &mut self.link)?;
        self.watch_sending(cx);
        Ok(())
    }
}

/// A faulty OPEN is first of all one too many: "any other event (Events 9, 12-13, 20-22)" is an FSM error
/// (RFC 4271 §8.2.2). Not so BGPHeaderErr (21), for which §6.1 asks for its own NOTIFICATION.
fn second_open(end: End) -> End {
    match end {
        End::Fault(notification, _) if notification.code == codes::OPEN => {
            unexpected(State::Established, MessageKind::Open)
        }
        other => other,
    }
}

/// "Notification bit": what RFC 8538 changes needs it from both sides.
fn has_n_bit(capabilities: &[Capability]) -> bool {
    capabilities.iter().any(|one| matches!(one, Capability::GracefulRestart(restart) if restart.notification))
}
