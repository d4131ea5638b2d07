//! From a start to Established: our dial, and the peer's.

use super::collision::survivor;
use super::connection::{Connection, Progress};
use super::dial::Dial;
use super::end::{End, Ended, Next};
use super::established::Established;
use super::idle::{Idle, close, not_up};
use super::link::{Direction, Link};
use super::memory::Context;
use super::open_sent::OpenReceived;
use super::session::Phase;
use super::timers::Visit;
use super::up::Up;
use super::{ConnId, Input, State, StopReason};

/// At most one connection that we made and one that the peer made.
#[derive(Debug)]
pub(super) struct Opening {
    dial: Dial,
    incoming: Option<Connection>,
}

impl Opening {
    /// ManualStart, AutomaticStart or the end of IdleHoldTime.
    pub(super) fn start(cx: &mut Context<'_>) -> Box<Self> {
        Box::new(Self { dial: Dial::first(cx), incoming: None })
    }

    /// A session has ended, but the peer had already made a new connection.
    pub(super) fn taken_over(incoming: Option<Connection>) -> Box<Self> {
        Box::new(Self { dial: Dial::Resting, incoming })
    }

    /// That of what is further on.
    pub(super) fn state(&self) -> State {
        let incoming = self.incoming.as_ref().map_or(State::Idle, Connection::state);
        self.dial.state().max(incoming)
    }

    pub(super) fn timers(&self, visit: Visit<'_>) {
        self.dial.timers(visit);
        if let Some(incoming) = &self.incoming {
            incoming.timers(visit);
        }
    }

    pub(super) fn handle(mut self: Box<Self>, cx: &mut Context<'_>, input: Input) -> Phase {
        match input {
            // "Start events (Events 1, 3-7) are ignored".
            Input::Start => {}
            Input::Stop(reason) => return self.stop(cx, &reason),
            Input::Connected { conn, local, remote } => {
                self.connected(cx, Link::new(conn, Direction::Outgoing, local, remote));
            }
            Input::ConnectFailed { reason } => self.connect_failed(cx, &reason),
            Input::Accepted { conn, local, remote } => {
                self.accepted(cx, Link::new(conn, Direction::Incoming, local, remote));
            }
            Input::Received { conn, bytes } => {
                if let Some(mut connection) = self.take(conn) {
                    connection.push(bytes);
                    return self.read(cx, connection);
                }
            }
            Input::Closed { conn, reason } => {
                if let Some(connection) = self.take(conn) {
                    return self.ended(cx, connection.end(End::Lost(reason)));
                }
            }
            Input::Enqueued { conn, bytes } => {
                if let Some(connection) = self.find(conn) {
                    connection.enqueued(bytes);
                }
            }
            Input::Written { conn, bytes } => {
                if let Some(connection) = self.find(conn) {
                    connection.written(bytes);
                }
            }
            Input::RequestRefresh(family) => not_up(cx, family),
            Input::Timeout => return self.expire(cx),
        }
        Phase::Opening(self)
    }

    /// Tcp_CR_Acked.
    fn connected(&mut self, cx: &mut Context<'_>, link: Box<Link>) {
        match self.dial {
            Dial::Dialling(_) => self.dial = Dial::Open(Connection::begin(cx, link)),
            Dial::Resting | Dial::Waiting(_) | Dial::Open(_) => close(cx, link.conn),
        }
    }

    /// TcpConnectionFails in Connect. RFC 4271 goes to Idle, where it would refuse the peer's own dial while
    /// it waits; ConnectRetryTimer paces us as well in Active, as it does in RFC 1771 and in other speakers.
    fn connect_failed(&mut self, cx: &mut Context<'_>, reason: &str) {
        if let Dial::Dialling(_) = self.dial {
            cx.note(format!("cannot connect: {reason}"));
            self.dial = if self.incoming.is_some() { Dial::Resting } else { Dial::later(cx) };
        }
    }

    /// TcpConnectionConfirmed. A speaker has one connection of its own making, so a newer one says that the
    /// peer has given up the older. ConnectRetryTimer stops; a dial under way goes on and may collide.
    fn accepted(&mut self, cx: &mut Context<'_>, link: Box<Link>) {
        if let Some(older) = self.incoming.take() {
            older.end(End::Collision("the peer has made a newer one")).finish(cx);
        }
        if let Dial::Waiting(_) = self.dial {
            self.dial = Dial::Resting;
        }
        self.incoming = Some(Connection::begin(cx, link));
    }

    fn stop(mut self, cx: &mut Context<'_>, reason: &StopReason) -> Phase {
        self.dial.rest(cx);
        for connection in self.dial.take_if(|_| true).into_iter().chain(self.incoming.take()) {
            connection.end(End::Stopped(reason.notification.clone())).finish(cx);
        }
        Idle::ordered(cx, reason)
    }

    fn expire(mut self: Box<Self>, cx: &mut Context<'_>) -> Phase {
        match &self.dial {
            Dial::Waiting(retry) if retry.is_due(cx.now) => self.dial = Dial::connect(cx),
            Dial::Dialling(retry) if retry.is_due(cx.now) => {
                self.dial.rest(cx);
                if self.incoming.is_none() {
                    self.dial = Dial::connect(cx);
                }
            }
            Dial::Resting | Dial::Waiting(_) | Dial::Dialling(_) | Dial::Open(_) => {}
        }
        let due = self
            .dial
            .take_if(|connection| connection.is_due(cx))
            .or_else(|| self.incoming.take_if(|connection| connection.is_due(cx)));
        match due.map(|connection| connection.expire(cx)) {
            None => Phase::Opening(self),
            Some(Ok(connection)) => self.put(connection),
            Some(Err(ended)) => self.ended(cx, ended),
        }
    }

    fn find(&mut self, conn: ConnId) -> Option<&mut Connection> {
        let both = [self.dial.connection_mut(), self.incoming.as_mut()];
        both.into_iter().flatten().find(|connection| connection.is(conn))
    }

    fn take(&mut self, conn: ConnId) -> Option<Connection> {
        self.dial
            .take_if(|connection| connection.is(conn))
            .or_else(|| self.incoming.take_if(|connection| connection.is(conn)))
    }

    fn put(mut self: Box<Self>, connection: Connection) -> Phase {
        match connection.link().direction {
            Direction::Outgoing => self.dial = Dial::Open(connection),
            Direction::Incoming => self.incoming = Some(connection),
        }
        Phase::Opening(self)
    }

    /// Reads every whole message of a connection that was taken out of `self`.
    pub(super) fn read(mut self: Box<Self>, cx: &mut Context<'_>, mut connection: Connection) -> Phase {
        loop {
            connection = match connection.read(cx) {
                Ok(Progress::Waits(connection)) => return self.put(connection),
                Ok(Progress::Up(established)) => return self.establish(cx, *established),
                Ok(Progress::Opened(open)) => match self.resolve(cx, open) {
                    Ok(survivor) => survivor,
                    Err(ended) => return self.ended(cx, ended),
                },
                Err(ended) => return self.ended(cx, ended),
            }
        }
    }

    /// "Upon receipt of an OPEN message, the local system MUST examine all of its connections that are in the
    /// OpenConfirm state" (RFC 4271 §6.8). One in OpenSent waits for an OPEN of its own, and a dial that is
    /// no connection yet is given up.
    fn resolve(&mut self, cx: &mut Context<'_>, open: OpenReceived) -> Result<Connection, Ended> {
        const LOST: &str = "the collision was decided for the other one";
        let confirmed = |c: &Connection| c.state() == State::OpenConfirm;
        if self.dial.connection().or(self.incoming.as_ref()).is_some_and(confirmed) {
            let config = &cx.memory.config;
            let theirs = (open.negotiated.peer_router_id, open.negotiated.peer_asn);
            if survivor((config.router_id, config.local_asn), theirs) != open.link.direction {
                return Err(open.end(End::Collision(LOST)));
            }
            if let Some(loser) = self.dial.take_if(|_| true).or_else(|| self.incoming.take()) {
                loser.end(End::Collision(LOST)).finish(cx);
            }
        }
        self.dial.rest(cx);
        Ok(Connection::Confirm(open.confirm(cx)))
    }

    /// Established wins over whatever else there is.
    fn establish(mut self, cx: &mut Context<'_>, established: Established) -> Phase {
        self.dial.rest(cx);
        for other in self.dial.take_if(|_| true).into_iter().chain(self.incoming.take()) {
            other.end(End::Collision("the other one is established")).finish(cx);
        }
        Up::new(established).read(cx)
    }

    /// A connection that was taken out of `self` has ended. Another one goes on without it.
    pub(super) fn ended(mut self: Box<Self>, cx: &mut Context<'_>, mut ended: Ended) -> Phase {
        let alone = self.dial.connection().is_none() && self.incoming.is_none();
        let dialling = matches!(self.dial, Dial::Dialling(_));
        if ended.is_peers_collision() && (!alone || dialling) {
            ended.end = End::Superseded;
        }
        let next = ended.next();
        ended.finish(cx);
        match next {
            _ if !alone => Phase::Opening(self),
            Next::Retry if dialling => Phase::Opening(self),
            Next::Retry => {
                self.dial = Dial::later(cx);
                Phase::Opening(self)
            }
            Next::BackOff => {
                self.dial.rest(cx);
                Idle::hold(cx)
            }
        }
    }
}
