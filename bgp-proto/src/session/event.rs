//! What goes into a session and what comes out.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use serde::Serialize;

use crate::types::{Asn, Family, FamilySet, HoldTime, RouterId};
use crate::wire::{
    Capability, DecodeContext, EncodeContext, GracefulRestart, Notification, RefreshKind, Update,
};

/// One TCP connection. The caller makes the numbers; none is used twice in a session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The state of RFC 4271 §8.2.2; with two connections, that of the one that is further on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum State {
    /// Refuses connections, or waits out IdleHoldTime.
    Idle,
    /// Dials.
    Connect,
    /// Waits for a connection or for ConnectRetryTime.
    Active,
    /// Has sent OPEN.
    OpenSent,
    /// Has received OPEN, waits for KEEPALIVE.
    OpenConfirm,
    /// Exchanges routes.
    Established,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Connect, Self::Active, Self::OpenSent, Self::OpenConfirm, Self::Established];

    /// The name that RFC 4271 §8.2.2 gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }

    /// The number that MRT files (RFC 6396 §4.4.1) and the BGP MIB (bgpPeerState) give it, from 1 on.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Idle => 1,
            Self::Connect => 2,
            Self::Active => 3,
            Self::OpenSent => 4,
            Self::OpenConfirm => 5,
            Self::Established => 6,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why we end a session that could go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopReason {
    /// The NOTIFICATION to send where there is somebody to send it to; `None` closes the TCP connection
    /// without a word, so that a peer with graceful restart keeps the routes (RFC 4724 §4).
    pub notification: Option<Notification>,
    /// Wrap it into a Hard Reset where RFC 8538 was negotiated: the peer is to drop the routes.
    pub hard: bool,
    /// Come back by itself after IdleHoldTime (`clear`), or wait for [`Input::Start`] (`shutdown`).
    pub restart: bool,
}

/// What happens to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// ManualStart, AutomaticStart.
    Start,
    /// ManualStop, AutomaticStop and everything else by which the local side ends the session.
    Stop(StopReason),
    /// The dial asked for by [`Action::Connect`] succeeded (Tcp_CR_Acked).
    Connected {
        /// Its number from now on.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// The dial failed (TcpConnectionFails).
    ConnectFailed {
        /// In the operating system's words.
        reason: String,
    },
    /// The peer dialled us (TcpConnectionConfirmed).
    Accepted {
        /// Its number from now on.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// Bytes came in, cut anywhere.
    Received {
        /// From which connection.
        conn: ConnId,
        /// What came.
        bytes: Bytes,
    },
    /// The connection ended (TcpConnectionFails).
    Closed {
        /// Which one.
        conn: ConnId,
        /// In the operating system's words; "closed by the peer" at an end of file.
        reason: String,
    },
    /// Bytes of the caller's own messages (tables, refresh markers, End-of-RIB) were put behind what waits
    /// for the connection. The session counts what it sends by [`Action::Send`] itself.
    Enqueued {
        /// Which one.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// Bytes left for the network, whatever they were part of (RFC 9687's sign of life).
    Written {
        /// Which one.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// Ask the peer for its table again (RFC 2918).
    RequestRefresh(Family),
    /// The deadline has come. After a stall of the caller, what the peer sent meanwhile goes first: a
    /// KEEPALIVE that waits in the socket is no reason for the hold timer to expire.
    Timeout,
}

/// What the session asks of its caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Dial the peer; answer with [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect,
    /// Give up the dial under way; no answer.
    CancelConnect,
    /// Send these whole messages ahead of UPDATEs that wait, but never into the middle of one.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        bytes: Bytes,
    },
    /// Close after what was sent has left or cannot leave; no [`Input::Closed`] is expected.
    Close {
        /// Which one.
        conn: ConnId,
    },
    /// The state that operators see has changed.
    State(State),
    /// The session is up: routes may be sent.
    Established(Box<Negotiated>),
    /// The peer sent an UPDATE.
    Update(Box<Update>),
    /// The peer asks for the table of a family, or marks its own refresh (RFC 2918, RFC 7313).
    Refresh(Family, RefreshKind),
    /// The whole message whose fault ends the session, or the header where that is at fault: "logging an
    /// error ... containing the entire malformed UPDATE message" (RFC 7606 §6). An OPEN that can be read and is
    /// refused for what it says is not malformed.
    /// [`Action::Down`] says why.
    Malformed(Bytes),
    /// The session is no longer up, or an attempt has failed. Exactly one a connection attempt that got
    /// as far as OPEN, and one an established session.
    Down(DownReason),
    /// Something that an operator may want to read, and the session goes on.
    Note(String),
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Negotiated {
    /// The connection that carries the session.
    pub conn: ConnId,
    /// Our end of it.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// Our AS towards the peer.
    pub local_asn: Asn,
    /// The peer's AS.
    pub peer_asn: Asn,
    /// The peer's BGP identifier.
    pub peer_router_id: RouterId,
    /// The hold time in force.
    pub hold_time: HoldTime,
    /// Families that both sides announced.
    pub families: FamilySet,
    /// How to write to the peer.
    pub encode: EncodeContext,
    /// How to read what the peer writes.
    pub decode: DecodeContext,
    /// The peer takes ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// Both sides have enhanced route refresh (RFC 7313).
    pub enhanced_refresh: bool,
    /// The peer's graceful restart capability, where both sides have it.
    pub graceful_restart: Option<GracefulRestart>,
    /// Our OPEN, the whole message as it went out.
    pub sent_open: Bytes,
    /// The peer's OPEN, the whole message as it came.
    pub received_open: Bytes,
    /// What we announced.
    pub our_capabilities: Vec<Capability>,
    /// What the peer announced.
    pub peer_capabilities: Vec<Capability>,
}

impl Negotiated {
    /// Whether the peer is in our AS.
    #[must_use]
    pub fn internal(&self) -> bool {
        self.local_asn == self.peer_asn
    }
}

/// Why a session ended or did not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// We sent this; the text says what was wrong.
    Sent(Notification, String),
    /// The peer sent this.
    Received(Notification),
    /// The TCP connection ended or could not be made.
    Transport(String),
    /// The hold time passed without a message. The NOTIFICATION 4/0 was sent.
    HoldTimerExpired,
    /// Nothing could be sent for the send hold time (RFC 9687).
    SendHoldTimerExpired,
    /// We stopped it without a NOTIFICATION.
    Stopped,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What the NOTIFICATION says itself is not said twice.
            Self::Sent(notification, text)
                if notification.shutdown_communication().as_ref() == Some(text) =>
            {
                write!(f, "sent {notification}")
            }
            Self::Sent(notification, text) => write!(f, "sent {notification}: {text}"),
            Self::Received(notification) => write!(f, "received {notification}"),
            Self::Transport(reason) => write!(f, "the TCP connection ended: {reason}"),
            Self::HoldTimerExpired => {
                f.write_str("sent Hold Timer Expired (4/0): nothing was heard for the hold time")
            }
            Self::SendHoldTimerExpired => f.write_str(
                "sent Send Hold Timer Expired (8/0): the peer read nothing for the send hold time",
            ),
            Self::Stopped => f.write_str("stopped without a word"),
        }
    }
}
