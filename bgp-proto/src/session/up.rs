//! Established, and a connection that the peer makes meanwhile.

use bytes::Bytes;

use super::connection::{Connection, Progress};
use super::end::{End, Ended};
use super::established::Established;
use super::idle::{Idle, close};
use super::link::{Direction, Link};
use super::memory::Context;
use super::open_sent::OpenReceived;
use super::opening::Opening;
use super::session::Phase;
use super::timers::Visit;
use super::{ConnId, Input, Negotiated, StopReason};

/// The session is up. There is exactly one established connection.
#[derive(Debug)]
pub(super) struct Up {
    established: Established,
    /// "the second connection SHALL be tracked until it sends an OPEN message" (RFC 4271 §8.2.2).
    newcomer: Option<Connection>,
}

impl Up {
    pub(super) fn new(established: Established) -> Box<Self> {
        Box::new(Self { established, newcomer: None })
    }

    pub(super) fn negotiated(&self) -> &Negotiated {
        &self.established.negotiated
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        self.established.timers(visit);
        if let Some(newcomer) = &self.newcomer {
            newcomer.timers(visit);
        }
    }

    pub(super) fn handle(mut self: Box<Self>, cx: &mut Context<'_>, input: Input) -> Phase {
        match input {
            Input::Stop(reason) => return self.stop(cx, &reason),
            Input::Connected { conn, .. } => close(cx, conn),
            Input::Accepted { conn, local, remote } => {
                self.accepted(cx, Link::new(conn, Direction::Incoming, local, remote));
            }
            Input::Received { conn, bytes } => return self.received(cx, conn, bytes),
            Input::Closed { conn, reason } if self.is_established(conn) => {
                return self.lost(cx, End::Lost(reason));
            }
            Input::Closed { conn, reason } => {
                if let Some(newcomer) = self.newcomer.take_if(|newcomer| newcomer.is(conn)) {
                    return self.newcomer_ended(cx, newcomer.end(End::Lost(reason)));
                }
            }
            Input::Enqueued { conn, bytes } if self.is_established(conn) => {
                self.established.enqueued(cx, bytes);
            }
            Input::Written { conn, bytes } if self.is_established(conn) => {
                self.established.written(cx, bytes);
            }
            Input::Written { conn, bytes } => {
                if let Some(newcomer) = self.newcomer.as_mut().filter(|newcomer| newcomer.is(conn)) {
                    newcomer.written(bytes);
                }
            }
            Input::RequestRefresh(family) => self.established.request_refresh(cx, family),
            Input::Timeout => return self.expire(cx),
            Input::Start | Input::ConnectFailed { .. } | Input::Enqueued { .. } => {}
        }
        Phase::Up(self)
    }

    fn is_established(&self, conn: ConnId) -> bool {
        self.established.link.conn == conn
    }

    /// The newest connection that the peer makes is the one that it means.
    fn accepted(&mut self, cx: &mut Context<'_>, link: Box<Link>) {
        if let Some(older) = self.newcomer.take() {
            older.end(End::Collision("the peer has made a newer one")).finish(cx);
        }
        self.newcomer = Some(Connection::begin(cx, link));
    }

    fn received(mut self: Box<Self>, cx: &mut Context<'_>, conn: ConnId, bytes: Bytes) -> Phase {
        if self.is_established(conn) {
            self.established.link.push(bytes);
            return self.read(cx);
        }
        let Some(mut newcomer) = self.newcomer.take_if(|newcomer| newcomer.is(conn)) else {
            return Phase::Up(self);
        };
        newcomer.push(bytes);
        match newcomer.read(cx) {
            Ok(Progress::Waits(newcomer)) => {
                self.newcomer = Some(newcomer);
                Phase::Up(self)
            }
            Ok(Progress::Opened(open)) => self.newcomer_opened(cx, open),
            // A newcomer is at most in OpenSent: its OPEN decides.
            Ok(Progress::Up(other)) => {
                let ended = other.end(End::Collision("the other one is established"));
                self.newcomer_ended(cx, ended)
            }
            Err(ended) => self.newcomer_ended(cx, ended),
        }
    }

    /// Reads what the established connection has brought.
    pub(super) fn read(mut self: Box<Self>, cx: &mut Context<'_>) -> Phase {
        match self.established.read(cx) {
            Ok(()) => Phase::Up(self),
            Err(end) => self.lost(cx, end),
        }
    }

    /// The peer has said OPEN on a new connection. With graceful restart it has restarted: the old
    /// connection ends without a word and its session is handled as one that was lost, its routes kept
    /// (RFC 4724 §5). Without, "collision with an existing BGP connection that is in the
    /// Established state causes closing of the newly created connection" (RFC 4271 §6.8).
    ///
    /// RFC 4724 closes the old one as soon as TCP is up. Waiting for the OPEN costs nothing, and a port
    /// scan or a dial that crossed ours does not end a session.
    fn newcomer_opened(self: Box<Self>, cx: &mut Context<'_>, open: OpenReceived) -> Phase {
        if !self.established.expects_restart() {
            let ended = open.end(End::Collision("the other one is established"));
            return self.newcomer_ended(cx, ended);
        }
        self.remember_end(cx);
        self.established.end(End::Restarted).finish(cx);
        let confirmed = Connection::Confirm(open.confirm(cx));
        Opening::taken_over(None).read(cx, confirmed)
    }

    /// Whatever became of the newcomer, the session goes on; nobody is told that it is down.
    fn newcomer_ended(self: Box<Self>, cx: &mut Context<'_>, ended: Ended) -> Phase {
        ended.finish_beside(cx);
        Phase::Up(self)
    }

    fn expire(mut self: Box<Self>, cx: &mut Context<'_>) -> Phase {
        if let Err(end) = self.established.expire(cx) {
            return self.lost(cx, end);
        }
        let due = self.newcomer.take_if(|newcomer| newcomer.is_due(cx));
        match due.map(|newcomer| newcomer.expire(cx)) {
            None => {}
            Some(Ok(newcomer)) => self.newcomer = Some(newcomer),
            Some(Err(ended)) => return self.newcomer_ended(cx, ended),
        }
        Phase::Up(self)
    }

    fn stop(self, cx: &mut Context<'_>, reason: &StopReason) -> Phase {
        self.remember_end(cx);
        let Self { established, newcomer } = self;
        let notification = established.stop_notification(reason);
        established.end(End::Stopped(notification)).finish(cx);
        if let Some(newcomer) = newcomer {
            newcomer.end(End::Stopped(reason.notification.clone())).finish_beside(cx);
        }
        Idle::ordered(cx, reason)
    }

    /// The session is over. A connection that the peer has made meanwhile takes over, unless the peer broke
    /// the protocol: then it waits like everybody (DampPeerOscillations).
    fn lost(self, cx: &mut Context<'_>, end: End) -> Phase {
        self.remember_end(cx);
        let Self { established, newcomer } = self;
        let broken = matches!(end, End::Fault(..));
        established.end(end).finish(cx);
        match newcomer {
            None => Idle::hold(cx),
            Some(newcomer) if broken => {
                newcomer.end(End::Rejected).finish(cx);
                Idle::hold(cx)
            }
            Some(newcomer) => Phase::Opening(Opening::taken_over(Some(newcomer))),
        }
    }

    fn remember_end(&self, cx: &mut Context<'_>) {
        let up = cx.now.since(self.established.since);
        cx.memory.backoff.session_ended(up, self.established.negotiated.hold_time);
    }
}
