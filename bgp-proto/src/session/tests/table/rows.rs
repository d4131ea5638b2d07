//! The state × event table of RFC 4271 §8.2.2, transcribed from its text. Each row names the paragraph of
//! the state's part that it comes from. Optional attributes as this speaker has them: DampPeerOscillations,
//! SendNOTIFICATIONwithoutOPEN and TrackTcpState are true, CollisionDetectEstablishedState is false, DelayOpen
//! and PassiveTcpEstablishment as configured.

use super::{Event, Event::*, Setup, Setup::*};
use crate::session::State;

/// What one event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expect {
    /// The state afterwards; for a connection that ends beside another, `Idle`.
    pub(super) next: State,
    /// The timers that run afterwards.
    pub(super) timers: &'static [&'static str],
    /// What is sent, in order.
    pub(super) sends: &'static [Sends],
    /// The TCP connection of the row is closed.
    pub(super) closes: bool,
    /// TCP is initiated.
    pub(super) connects: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sends {
    Open,
    Keepalive,
    Notification(u8, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As the RFC says.
    As(Expect),
    /// The RFC says the first, this speaker does the second, because of the third.
    Departs(Expect, Expect, &'static str),
    /// The event is a timer's that does not run in this state, so that "any other event" has no way to
    /// happen. The test looks whether it runs.
    TimerStopped(&'static str),
    /// The event is a message, and there is no connection to bring one. The test sends one nevertheless.
    NoConnection,
    /// A dial that was not asked for, or not any more, succeeds. The test says so; it is closed.
    NotDialling,
    /// The event does not reach the session; the text says who deals with it.
    NotAnInput(&'static str),
}

pub(super) type Row = (&'static [Setup], &'static [Event], &'static str, Kind);

const fn to(next: State, timers: &'static [&'static str]) -> Expect {
    Expect { next, timers, sends: &[], closes: false, connects: false }
}

/// To Idle: "drops the TCP connection, releases all BGP resources".
const fn drop_to(next: State, timers: &'static [&'static str], sends: &'static [Sends]) -> Expect {
    Expect { next, timers, sends, closes: true, connects: false }
}

const fn sending(next: State, timers: &'static [&'static str], sends: &'static [Sends]) -> Expect {
    Expect { next, timers, sends, closes: false, connects: false }
}

const fn connecting() -> Expect {
    Expect { next: State::Connect, timers: &["connect-retry"], sends: &[], closes: false, connects: true }
}

/// To Idle with peer oscillation damping.
const DAMPED: &[&str] = &["idle-hold"];
const STARTS: &[Event] = &[
    ManualStart,
    AutomaticStart,
    ManualStartPassive,
    AutomaticStartPassive,
    AutomaticStartDamped,
    AutomaticStartDampedPassive,
];
const MESSAGES: &[Event] = &[
    BgpOpen,
    BgpOpenDelayed,
    BgpHeaderErr,
    BgpOpenMsgErr,
    NotifMsgVerErr,
    NotifMsg,
    KeepAliveMsg,
    UpdateMsg,
    UpdateMsgErr,
];
const CEASE_STOP: &[Sends] = &[Sends::Notification(6, 2)];
const CEASE_AUTO: &[Sends] = &[Sends::Notification(6, 1)];
const VALID: &str = "the listener looks at the peer's address and TTL before the session hears of it (optional event)";
const INVALID: &str = "what the listener refuses does not reach the session (optional event)";
const COLLISION_ONLY_OPEN: &str = "collisions are decided between connections that have brought an OPEN (§6.8)";
const ESTABLISHED_WINS: &str = "CollisionDetectEstablishedState is false; RFC 4724's exception is in collision.rs";
const NO_DELAY: &str = "DelayOpenTimer does not run; the row of BGPOpen applies";
const WITHOUT_OPEN: &str =
    "SendNOTIFICATIONwithoutOPEN is true, and a peer whose connection ends may know the reason in every state";
const IDLE_NEEDS_A_TIMER: &str =
    "the RFC leaves Idle by AutomaticStart after a version error; here IdleHoldTimer is what starts again";
const SECOND_OPEN: &str = "the RFC means the OPEN of the other connection (collision.rs); a second one on the same \
     connection is unexpected, and RFC 6608 §3 has the subcode for it";

pub(super) const ROWS: &[Row] = &[
    // ---- Idle state ----
    (&[Idle, IdleHolding], &[ManualStart, AutomaticStart],
        "Idle ¶ 'In response to a ManualStart event (Event 1) or an AutomaticStart event (Event 3)'",
        Kind::As(connecting())),
    (&[Idle, IdleHolding], &[ManualStartPassive, AutomaticStartPassive],
        "Idle ¶ 'In response to a ManualStart_with_PassiveTcpEstablishment event (Event 4) or Event 5'",
        Kind::Departs(to(State::Active, &["connect-retry"]), to(State::Active, &[]),
            "a passive session never dials, and dialling is all that ConnectRetryTimer does in Active")),
    (&[Idle, IdleHolding], &[AutomaticStartDamped],
        "Idle ¶ 'If the DampPeerOscillations attribute is set to TRUE, the following three additional events'; the \
         method is left open, a start from outside is obeyed at once",
        Kind::As(connecting())),
    (&[Idle, IdleHolding], &[AutomaticStartDampedPassive],
        "Idle ¶ 'the following three additional events may occur': as Event 5",
        Kind::As(to(State::Active, &[]))),
    (&[Idle, IdleHolding], &[ManualStop],
        "Idle ¶ 'The ManualStop event (Event 2) and AutomaticStop (Event 8) event are ignored': nothing runs",
        Kind::As(to(State::Idle, &[]))),
    (&[Idle], &[AutomaticStop], "Idle ¶ 'ManualStop … and AutomaticStop (Event 8) event are ignored'",
        Kind::As(to(State::Idle, &[]))),
    (&[IdleHolding], &[AutomaticStop], "Idle ¶ 'ManualStop … and AutomaticStop (Event 8) event are ignored'",
        Kind::As(to(State::Idle, DAMPED))),
    (&[Idle], &[IdleHoldTimerExpires], "Idle ¶ 'IdleHoldTimer_Expires (Event 13)'", Kind::TimerStopped("idle-hold")),
    (&[IdleHolding], &[IdleHoldTimerExpires],
        "Idle ¶ 'Upon receiving these 3 events, the local system will use these events to prevent peer oscillations'",
        Kind::As(connecting())),
    (&[Idle, IdleHolding], &[ConnectRetryTimerExpires],
        "Idle ¶ 'Any other event (Events 9-12, 15-28)'", Kind::TimerStopped("connect-retry")),
    (&[Idle, IdleHolding], &[HoldTimerExpires],
        "Idle ¶ 'Any other event (Events 9-12, 15-28)'", Kind::TimerStopped("hold")),
    (&[Idle, IdleHolding], &[KeepaliveTimerExpires],
        "Idle ¶ 'Any other event (Events 9-12, 15-28)'", Kind::TimerStopped("keepalive")),
    (&[Idle, IdleHolding], &[DelayOpenTimerExpires],
        "Idle ¶ 'Any other event (Events 9-12, 15-28)'", Kind::TimerStopped("delay-open")),
    (&[Idle, IdleHolding], &[TcpCrAcked],
        "Idle ¶ 'Any other event (Events 9-12, 15-28) … does not cause change in the state'", Kind::NotDialling),
    (&[Idle], &[TcpConnectionConfirmed],
        "Idle ¶ 'Initially … refuses all incoming BGP connections for this peer'; RFC 4486 §4 Connection Rejected",
        Kind::As(drop_to(State::Idle, &[], &[Sends::Notification(6, 5)]))),
    (&[IdleHolding], &[TcpConnectionConfirmed],
        "Idle ¶ 'refuses all incoming BGP connections for this peer'",
        Kind::As(drop_to(State::Idle, DAMPED, &[]))),
    (&[Idle, IdleHolding], &[TcpConnectionFails], "Idle ¶ 'Any other event (Events 9-12, 15-28)'", Kind::NoConnection),
    (&[Idle, IdleHolding], MESSAGES, "Idle ¶ 'Any other event (Events 9-12, 15-28)'", Kind::NoConnection),
    (&[Idle, IdleHolding], &[OpenCollisionDump], "Idle ¶ 'Any other event (Events 9-12, 15-28)'",
        Kind::NotAnInput(COLLISION_ONLY_OPEN)),

    // ---- Connect State ----
    (&[Connect], STARTS, "Connect ¶ 'The start events (Events 1, 3-7) are ignored in the Connect state'",
        Kind::As(to(State::Connect, &["connect-retry"]))),
    (&[ConnectDelayed], STARTS, "Connect ¶ 'The start events (Events 1, 3-7) are ignored in the Connect state'",
        Kind::As(to(State::Connect, &["delay-open"]))),
    (&[Connect], &[ManualStop],
        "Connect ¶ 'In response to a ManualStop event (Event 2)': drops, ConnectRetryTimer stops, Idle",
        Kind::As(to(State::Idle, &[]))),
    (&[ConnectDelayed], &[ManualStop],
        "Connect ¶ 'In response to a ManualStop event (Event 2)': drops, ConnectRetryTimer stops, Idle",
        Kind::Departs(drop_to(State::Idle, &[], &[]), drop_to(State::Idle, &[], CEASE_STOP), WITHOUT_OPEN)),
    (&[Connect], &[AutomaticStop], "Connect ¶ 'In response to any other events (Events 8, 10-11, 13, 19, 23, 25-28)'",
        Kind::As(to(State::Idle, DAMPED))),
    (&[ConnectDelayed], &[AutomaticStop], "Connect ¶ 'any other events (Events 8, 10-11, 13, 19, 23, 25-28)'",
        Kind::Departs(drop_to(State::Idle, DAMPED, &[]), drop_to(State::Idle, DAMPED, CEASE_AUTO), WITHOUT_OPEN)),
    (&[Connect], &[ConnectRetryTimerExpires],
        "Connect ¶ 'In response to the ConnectRetryTimer_Expires event (Event 9)': drops, restarts the timer, initiates",
        Kind::As(connecting())),
    (&[ConnectDelayed], &[ConnectRetryTimerExpires],
        "Connect ¶ Event 9; ¶ 'If the TCP connection succeeds': ConnectRetryTimer stopped",
        Kind::TimerStopped("connect-retry")),
    (&[Connect, ConnectDelayed], &[HoldTimerExpires], "Connect ¶ 'any other events (… 10-11 …)'", Kind::TimerStopped("hold")),
    (&[Connect, ConnectDelayed], &[KeepaliveTimerExpires], "Connect ¶ 'any other events (… 10-11 …)'",
        Kind::TimerStopped("keepalive")),
    (&[Connect, ConnectDelayed], &[IdleHoldTimerExpires], "Connect ¶ 'any other events (… 13 …)'",
        Kind::TimerStopped("idle-hold")),
    (&[Connect], &[DelayOpenTimerExpires], "Connect ¶ 'If the DelayOpenTimer_Expires event (Event 12) occurs'",
        Kind::TimerStopped("delay-open")),
    (&[ConnectDelayed], &[DelayOpenTimerExpires],
        "Connect ¶ 'If the DelayOpenTimer_Expires event (Event 12) occurs': OPEN, HoldTimer large, OpenSent",
        Kind::As(sending(State::OpenSent, &["hold"], &[Sends::Open]))),
    (&[Connect], &[TcpCrAcked],
        "Connect ¶ 'If the TCP connection succeeds (Event 16 or Event 17)', DelayOpen FALSE",
        Kind::As(sending(State::OpenSent, &["hold"], &[Sends::Open]))),
    (&[ConnectDelayOpen], &[TcpCrAcked],
        "Connect ¶ 'If the TCP connection succeeds (Event 16 or Event 17)', DelayOpen TRUE: stays in Connect",
        Kind::As(to(State::Connect, &["delay-open"]))),
    (&[ConnectDelayed], &[TcpCrAcked], "Connect ¶ Event 16", Kind::NotDialling),
    (&[Connect], &[TcpConnectionConfirmed],
        "Connect ¶ 'If the TCP connection succeeds (Event 16 or Event 17)', DelayOpen FALSE",
        Kind::Departs(sending(State::OpenSent, &["hold"], &[Sends::Open]),
            sending(State::OpenSent, &["connect-retry", "hold"], &[Sends::Open]),
            "the peer's connection has an FSM of its own (§8.2.1); the dial and its ConnectRetryTimer go on and may collide")),
    (&[ConnectDelayOpen], &[TcpConnectionConfirmed],
        "Connect ¶ 'If the TCP connection succeeds (Event 16 or Event 17)', DelayOpen TRUE",
        Kind::Departs(to(State::Connect, &["delay-open"]), to(State::Active, &["connect-retry", "delay-open"]),
            "as without DelayOpen; the FSM of the peer's connection is in Active, and the one further on is shown")),
    (&[ConnectDelayed], &[TcpConnectionConfirmed],
        "Active ¶ Event 17, on the FSM of the peer's connection (§8.2.1), DelayOpen TRUE; the one further on is shown",
        Kind::As(to(State::Active, &["delay-open"]))),
    (&[Connect], &[TcpConnectionFails],
        "Connect ¶ 'If the TCP connection fails (Event 18)', DelayOpenTimer not running: Idle",
        Kind::Departs(to(State::Idle, DAMPED), to(State::Active, &["connect-retry"]),
            "Idle would refuse the peer's own dial meanwhile; in Active ConnectRetryTimer paces the next one as well")),
    (&[ConnectDelayed], &[TcpConnectionFails],
        "Connect ¶ 'If the TCP connection fails (Event 18)', DelayOpenTimer running: ConnectRetryTimer, Active",
        Kind::As(to(State::Active, &["connect-retry"]))),
    (&[Connect], MESSAGES, "Connect ¶ 'any other events (Events 8, 10-11, 13, 19, 23, 25-28)'", Kind::NoConnection),
    (&[ConnectDelayed], &[BgpOpen], "Connect ¶ Event 20: with DelayOpenTimer running it is this event",
        Kind::NotAnInput("DelayOpenTimer runs; the row of BGPOpen with DelayOpenTimer running applies")),
    (&[ConnectDelayed], &[BgpOpenDelayed],
        "Connect ¶ 'If an OPEN message is received while the DelayOpenTimer is running (Event 20)'",
        Kind::As(sending(State::OpenConfirm, &["hold", "keepalive"], &[Sends::Open, Sends::Keepalive]))),
    (&[ConnectDelayed], &[BgpHeaderErr],
        "Connect ¶ 'If BGP message header checking (Event 21) or OPEN message checking detects an error (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(1, 1)]))),
    (&[ConnectDelayed], &[BgpOpenMsgErr],
        "Connect ¶ 'If BGP message header checking (Event 21) or OPEN message checking detects an error (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(2, 6)]))),
    (&[Connect, ConnectDelayed], &[OpenCollisionDump], "Connect ¶ 'any other events (… 23 …)'",
        Kind::NotAnInput(COLLISION_ONLY_OPEN)),
    (&[ConnectDelayed], &[NotifMsgVerErr],
        "Connect ¶ 'If a NOTIFICATION message is received with a version error (Event 24)', DelayOpenTimer running",
        Kind::Departs(drop_to(State::Idle, &[], &[]), drop_to(State::Idle, DAMPED, &[]), IDLE_NEEDS_A_TIMER)),
    (&[ConnectDelayed], &[NotifMsg, KeepAliveMsg, UpdateMsg, UpdateMsgErr],
        "Connect ¶ 'In response to any other events (Events 8, 10-11, 13, 19, 23, 25-28)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[]))),

    // ---- Active State ----
    (&[Active], STARTS, "Active ¶ 'The start events (Events 1, 3-7) are ignored in the Active state'",
        Kind::As(to(State::Active, &["connect-retry"]))),
    (&[ActiveDelayed], STARTS, "Active ¶ 'The start events (Events 1, 3-7) are ignored in the Active state'",
        Kind::As(to(State::Active, &["delay-open"]))),
    (&[Active], &[ManualStop], "Active ¶ 'In response to a ManualStop event (Event 2)'", Kind::As(to(State::Idle, &[]))),
    (&[ActiveDelayed], &[ManualStop],
        "Active ¶ 'In response to a ManualStop event (Event 2)': DelayOpenTimer running and \
         SendNOTIFICATIONwithoutOPEN set: Cease",
        Kind::As(drop_to(State::Idle, &[], CEASE_STOP))),
    (&[Active], &[AutomaticStop], "Active ¶ 'In response to any other event (Events 8, 10-11, 13, 19, 23, 25-28)'",
        Kind::As(to(State::Idle, DAMPED))),
    (&[ActiveDelayed], &[AutomaticStop], "Active ¶ 'any other event (Events 8, 10-11, 13, 19, 23, 25-28)'",
        Kind::Departs(drop_to(State::Idle, DAMPED, &[]), drop_to(State::Idle, DAMPED, CEASE_AUTO), WITHOUT_OPEN)),
    (&[Active], &[ConnectRetryTimerExpires],
        "Active ¶ 'In response to a ConnectRetryTimer_Expires event (Event 9)': restarts it, initiates, Connect",
        Kind::As(connecting())),
    (&[ActiveDelayed], &[ConnectRetryTimerExpires],
        "Active ¶ Event 9; ¶ Events 16 and 17: ConnectRetryTimer stopped", Kind::TimerStopped("connect-retry")),
    (&[Active, ActiveDelayed], &[HoldTimerExpires], "Active ¶ 'any other event (… 10-11 …)'", Kind::TimerStopped("hold")),
    (&[Active, ActiveDelayed], &[KeepaliveTimerExpires], "Active ¶ 'any other event (… 10-11 …)'",
        Kind::TimerStopped("keepalive")),
    (&[Active, ActiveDelayed], &[IdleHoldTimerExpires], "Active ¶ 'any other event (… 13 …)'",
        Kind::TimerStopped("idle-hold")),
    (&[Active], &[DelayOpenTimerExpires], "Active ¶ 'If the local system receives a DelayOpenTimer_Expires event'",
        Kind::TimerStopped("delay-open")),
    (&[ActiveDelayed], &[DelayOpenTimerExpires],
        "Active ¶ 'If the local system receives a DelayOpenTimer_Expires event (Event 12)'",
        Kind::As(sending(State::OpenSent, &["hold"], &[Sends::Open]))),
    (&[Active, ActiveDelayed], &[TcpCrAcked], "Active ¶ 'success of a TCP connection (Event 16 or Event 17)'",
        Kind::NotDialling),
    (&[Active], &[TcpConnectionConfirmed],
        "Active ¶ 'success of a TCP connection (Event 16 or Event 17)', DelayOpen FALSE",
        Kind::As(sending(State::OpenSent, &["hold"], &[Sends::Open]))),
    (&[ActiveDelayOpen], &[TcpConnectionConfirmed],
        "Active ¶ 'success of a TCP connection (Event 16 or Event 17)', DelayOpen TRUE: stays in Active",
        Kind::As(to(State::Active, &["delay-open"]))),
    (&[ActiveDelayed], &[TcpConnectionConfirmed],
        "Active ¶ Event 17, on the FSM of the newer connection (§8.2.1); the older one is closed as a collision",
        Kind::As(drop_to(State::Active, &["delay-open"], &[Sends::Notification(6, 7)]))),
    (&[Active], &[TcpConnectionFails], "Active ¶ 'TcpConnectionFails event (Event 18)'", Kind::NoConnection),
    (&[ActiveDelayed], &[TcpConnectionFails],
        "Active ¶ 'If the local system receives a TcpConnectionFails event (Event 18)': damping, Idle",
        Kind::As(to(State::Idle, DAMPED))),
    (&[Active], MESSAGES, "Active ¶ 'any other event (Events 8, 10-11, 13, 19, 23, 25-28)'", Kind::NoConnection),
    (&[ActiveDelayed], &[BgpOpen], "Active ¶ Event 20: with DelayOpenTimer running it is this event",
        Kind::NotAnInput("DelayOpenTimer runs; the row of BGPOpen with DelayOpenTimer running applies")),
    (&[ActiveDelayed], &[BgpOpenDelayed],
        "Active ¶ 'If an OPEN message is received and the DelayOpenTimer is running (Event 20)'",
        Kind::As(sending(State::OpenConfirm, &["hold", "keepalive"], &[Sends::Open, Sends::Keepalive]))),
    (&[ActiveDelayed], &[BgpHeaderErr], "Active ¶ 'If BGP message header checking (Event 21) or … (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(1, 1)]))),
    (&[ActiveDelayed], &[BgpOpenMsgErr], "Active ¶ 'If BGP message header checking (Event 21) or … (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(2, 6)]))),
    (&[Active, ActiveDelayed], &[OpenCollisionDump], "Active ¶ 'any other event (… 23 …)'",
        Kind::NotAnInput(COLLISION_ONLY_OPEN)),
    (&[ActiveDelayed], &[NotifMsgVerErr],
        "Active ¶ 'If a NOTIFICATION message is received with a version error (Event 24)', DelayOpenTimer running",
        Kind::Departs(drop_to(State::Idle, &[], &[]), drop_to(State::Idle, DAMPED, &[]), IDLE_NEEDS_A_TIMER)),
    (&[ActiveDelayed], &[NotifMsg, KeepAliveMsg, UpdateMsg, UpdateMsgErr],
        "Active ¶ 'In response to any other event (Events 8, 10-11, 13, 19, 23, 25-28)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[]))),

    // ---- OpenSent ----
    (&[OpenSent], STARTS, "OpenSent ¶ 'The start events (Events 1, 3-7) are ignored in the OpenSent state'",
        Kind::As(to(State::OpenSent, &["hold"]))),
    (&[OpenSent], &[ManualStop], "OpenSent ¶ 'If a ManualStop event (Event 2) is issued in the OpenSent state'",
        Kind::As(drop_to(State::Idle, &[], CEASE_STOP))),
    (&[OpenSent], &[AutomaticStop], "OpenSent ¶ 'If an AutomaticStop event (Event 8) is issued in the OpenSent state'",
        Kind::As(drop_to(State::Idle, DAMPED, CEASE_AUTO))),
    (&[OpenSent], &[ConnectRetryTimerExpires], "OpenSent ¶ 'any other event (Events 9, 11-13, 20, 25-28)'",
        Kind::TimerStopped("connect-retry")),
    (&[OpenSent], &[HoldTimerExpires], "OpenSent ¶ 'If the HoldTimer_Expires (Event 10)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(4, 0)]))),
    (&[OpenSent], &[KeepaliveTimerExpires], "OpenSent ¶ 'any other event (Events 9, 11-13, 20, 25-28)'",
        Kind::TimerStopped("keepalive")),
    (&[OpenSent], &[DelayOpenTimerExpires], "OpenSent ¶ 'any other event (Events 9, 11-13, 20, 25-28)'",
        Kind::TimerStopped("delay-open")),
    (&[OpenSent], &[IdleHoldTimerExpires], "OpenSent ¶ 'any other event (Events 9, 11-13, 20, 25-28)'",
        Kind::TimerStopped("idle-hold")),
    (&[OpenSentDialling], &[TcpCrAcked],
        "OpenSent ¶ 'If a TcpConnection_Valid (Event 14), Tcp_CR_Acked (Event 16), or a TcpConnectionConfirmed event \
         (Event 17) is received, a second TCP connection may be in progress': tracked per §6.8",
        Kind::As(sending(State::OpenSent, &["hold"], &[Sends::Open]))),
    (&[OpenSent], &[TcpCrAcked], "OpenSent ¶ Events 14, 16, 17, where no dial is under way", Kind::NotDialling),
    (&[OpenSent], &[TcpConnectionConfirmed], "OpenSent ¶ Events 14, 16, 17: a second connection, tracked per §6.8",
        Kind::As(sending(State::OpenSent, &["hold"], &[Sends::Open]))),
    (&[OpenSent], &[TcpConnectionFails],
        "OpenSent ¶ 'If a TcpConnectionFails event (Event 18) is received': restarts ConnectRetryTimer, Active",
        Kind::As(to(State::Active, &["connect-retry"]))),
    (&[OpenSent], &[BgpOpen],
        "OpenSent ¶ 'When an OPEN message is received … If there are no errors in the OPEN message (Event 19)'",
        Kind::As(sending(State::OpenConfirm, &["hold", "keepalive"], &[Sends::Keepalive]))),
    (&[OpenSent], &[BgpOpenDelayed], "OpenSent ¶ 'any other event (Events 9, 11-13, 20, 25-28)'", Kind::NotAnInput(NO_DELAY)),
    (&[OpenSent], &[BgpHeaderErr], "OpenSent ¶ 'If the BGP message header checking (Event 21) or … (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(1, 1)]))),
    (&[OpenSent], &[BgpOpenMsgErr], "OpenSent ¶ 'If the BGP message header checking (Event 21) or … (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(2, 6)]))),
    (&[OpenSent], &[OpenCollisionDump],
        "OpenSent ¶ 'If a connection in the OpenSent state is determined to be the connection that must be closed'",
        Kind::As(drop_to(State::Idle, &[], &[Sends::Notification(6, 7)]))),
    (&[OpenSent], &[NotifMsgVerErr],
        "OpenSent ¶ 'If a NOTIFICATION message is received with a version error (Event 24)'",
        Kind::Departs(drop_to(State::Idle, &[], &[]), drop_to(State::Idle, DAMPED, &[]), IDLE_NEEDS_A_TIMER)),
    (&[OpenSent], &[NotifMsg], "OpenSent ¶ 'In response to any other event (Events 9, 11-13, 20, 25-28)': FSM error",
        Kind::Departs(drop_to(State::Idle, DAMPED, &[Sends::Notification(5, 1)]), drop_to(State::Idle, DAMPED, &[]),
            "there is no NOTIFICATION about a NOTIFICATION (§6.4), and peers refuse in this way")),
    (&[OpenSent], &[KeepAliveMsg, UpdateMsg, UpdateMsgErr],
        "OpenSent ¶ 'In response to any other event (Events 9, 11-13, 20, 25-28)': FSM error, RFC 6608 subcode 1",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(5, 1)]))),

    // ---- OpenConfirm State ----
    (&[OpenConfirm], STARTS, "OpenConfirm ¶ 'Any start event (Events 1, 3-7) is ignored in the OpenConfirm state'",
        Kind::As(to(State::OpenConfirm, &["hold", "keepalive"]))),
    (&[OpenConfirm], &[ManualStop], "OpenConfirm ¶ 'In response to a ManualStop event (Event 2) initiated by the operator'",
        Kind::As(drop_to(State::Idle, &[], CEASE_STOP))),
    (&[OpenConfirm], &[AutomaticStop], "OpenConfirm ¶ 'In response to the AutomaticStop event initiated by the system'",
        Kind::As(drop_to(State::Idle, DAMPED, CEASE_AUTO))),
    (&[OpenConfirm], &[ConnectRetryTimerExpires], "OpenConfirm ¶ 'any other event (Events 9, 12-13, 20, 27-28)'",
        Kind::TimerStopped("connect-retry")),
    (&[OpenConfirm], &[HoldTimerExpires],
        "OpenConfirm ¶ 'If the HoldTimer_Expires event (Event 10) occurs before a KEEPALIVE message is received'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(4, 0)]))),
    (&[OpenConfirm], &[KeepaliveTimerExpires],
        "OpenConfirm ¶ 'If the local system receives a KeepaliveTimer_Expires event (Event 11)'",
        Kind::As(sending(State::OpenConfirm, &["hold", "keepalive"], &[Sends::Keepalive]))),
    (&[OpenConfirm], &[DelayOpenTimerExpires], "OpenConfirm ¶ 'any other event (Events 9, 12-13, 20, 27-28)'",
        Kind::TimerStopped("delay-open")),
    (&[OpenConfirm], &[IdleHoldTimerExpires], "OpenConfirm ¶ 'any other event (Events 9, 12-13, 20, 27-28)'",
        Kind::TimerStopped("idle-hold")),
    (&[OpenConfirm], &[TcpCrAcked],
        "OpenConfirm ¶ 'In the event of a TcpConnection_Valid event (Event 14), or the success of a TCP connection (Event \
         16 or Event 17) while in OpenConfirm'; the dial was given up at the OPEN", Kind::NotDialling),
    (&[OpenConfirm], &[TcpConnectionConfirmed],
        "OpenConfirm ¶ Events 14, 16, 17: 'the local system needs to track the second connection'",
        Kind::As(sending(State::OpenConfirm, &["hold", "keepalive"], &[Sends::Open]))),
    (&[OpenConfirm], &[TcpConnectionFails],
        "OpenConfirm ¶ 'If the local system receives a TcpConnectionFails event (Event 18) … or a NOTIFICATION (Event 25)'",
        Kind::As(to(State::Idle, DAMPED))),
    (&[OpenConfirm], &[BgpOpen],
        "OpenConfirm ¶ 'If the local system receives a valid OPEN message (BGPOpen (Event 19))': collision detection",
        Kind::Departs(to(State::OpenConfirm, &["hold", "keepalive"]),
            drop_to(State::Idle, DAMPED, &[Sends::Notification(5, 2)]), SECOND_OPEN)),
    (&[OpenConfirm], &[BgpOpenDelayed], "OpenConfirm ¶ 'any other event (Events 9, 12-13, 20, 27-28)'",
        Kind::NotAnInput(NO_DELAY)),
    (&[OpenConfirm], &[BgpHeaderErr], "OpenConfirm ¶ 'If an OPEN message is received, … (Event 21) or … (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(1, 1)]))),
    (&[OpenConfirm], &[BgpOpenMsgErr], "OpenConfirm ¶ 'If an OPEN message is received, … (Event 21) or … (Event 22)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(2, 6)]))),
    (&[OpenConfirm], &[OpenCollisionDump],
        "OpenConfirm ¶ 'If, during the processing of another OPEN message, the BGP implementation determines … (Event 23)'",
        Kind::As(drop_to(State::Idle, &[], &[Sends::Notification(6, 7)]))),
    (&[OpenConfirm], &[NotifMsgVerErr],
        "OpenConfirm ¶ 'If the local system receives a NOTIFICATION message with a version error (NotifMsgVerErr)'",
        Kind::Departs(drop_to(State::Idle, &[], &[]), drop_to(State::Idle, DAMPED, &[]), IDLE_NEEDS_A_TIMER)),
    (&[OpenConfirm], &[NotifMsg], "OpenConfirm ¶ 'TcpConnectionFails event (Event 18) … or a NOTIFICATION (Event 25)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[]))),
    (&[OpenConfirm], &[KeepAliveMsg], "OpenConfirm ¶ 'If the local system receives a KEEPALIVE message (Event 26)'",
        Kind::As(to(State::Established, &["hold", "keepalive"]))),
    (&[OpenConfirm], &[UpdateMsg, UpdateMsgErr],
        "OpenConfirm ¶ 'In response to any other event (Events 9, 12-13, 20, 27-28)': FSM error, RFC 6608 subcode 2",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(5, 2)]))),

    // ---- Established State ----
    (&[Established], STARTS, "Established ¶ 'Any Start event (Events 1, 3-7) is ignored in the Established state'",
        Kind::As(to(State::Established, &["hold", "keepalive"]))),
    (&[Established], &[ManualStop], "Established ¶ 'In response to a ManualStop event (initiated by an operator) (Event 2)'",
        Kind::As(drop_to(State::Idle, &[], CEASE_STOP))),
    (&[Established], &[AutomaticStop], "Established ¶ 'In response to an AutomaticStop event (Event 8)'",
        Kind::As(drop_to(State::Idle, DAMPED, CEASE_AUTO))),
    (&[Established], &[ConnectRetryTimerExpires], "Established ¶ 'any other event (Events 9, 12-13, 20-22)'",
        Kind::TimerStopped("connect-retry")),
    (&[Established], &[HoldTimerExpires], "Established ¶ 'If the HoldTimer_Expires event occurs (Event 10)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(4, 0)]))),
    (&[Established], &[KeepaliveTimerExpires], "Established ¶ 'If the KeepaliveTimer_Expires event occurs (Event 11)'",
        Kind::As(sending(State::Established, &["hold", "keepalive"], &[Sends::Keepalive]))),
    (&[Established], &[DelayOpenTimerExpires], "Established ¶ 'any other event (Events 9, 12-13, 20-22)'",
        Kind::TimerStopped("delay-open")),
    (&[Established], &[IdleHoldTimerExpires], "Established ¶ 'any other event (Events 9, 12-13, 20-22)'",
        Kind::TimerStopped("idle-hold")),
    (&[Established], &[TcpCrAcked], "Established ¶ Events 16 and 17; no dial is under way", Kind::NotDialling),
    (&[Established], &[TcpConnectionConfirmed],
        "Established ¶ 'In response to an indication that the TCP connection is successfully established (Event 16 or \
         Event 17), the second connection SHALL be tracked until it sends an OPEN message'",
        Kind::As(sending(State::Established, &["hold", "keepalive"], &[Sends::Open]))),
    (&[Established], &[TcpConnectionFails],
        "Established ¶ 'NOTIFICATION message (Event 24 or Event 25) or a TcpConnectionFails (Event 18)'",
        Kind::As(to(State::Idle, DAMPED))),
    (&[Established], &[BgpOpen],
        "Established ¶ 'If a valid OPEN message (BGPOpen (Event 19)) is received': checked for collision",
        Kind::Departs(to(State::Established, &["hold", "keepalive"]),
            drop_to(State::Idle, DAMPED, &[Sends::Notification(5, 3)]), SECOND_OPEN)),
    (&[Established], &[BgpOpenDelayed], "Established ¶ 'any other event (Events 9, 12-13, 20-22)'", Kind::NotAnInput(NO_DELAY)),
    (&[Established], &[BgpHeaderErr], "Established ¶ 'In response to any other event (Events 9, 12-13, 20-22)': FSM error",
        Kind::Departs(drop_to(State::Idle, DAMPED, &[Sends::Notification(5, 3)]),
            drop_to(State::Idle, DAMPED, &[Sends::Notification(1, 1)]),
            "§6.1: 'All errors detected while processing the Message Header MUST be indicated by sending the NOTIFICATION \
             message with the Error Code Message Header Error'")),
    (&[Established], &[BgpOpenMsgErr],
        "Established ¶ 'In response to any other event (Events 9, 12-13, 20-22)': FSM error, RFC 6608 subcode 3",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(5, 3)]))),
    (&[Established], &[OpenCollisionDump], "Established ¶ 'If … determined … must be terminated' (Event 23)",
        Kind::NotAnInput(ESTABLISHED_WINS)),
    (&[Established], &[NotifMsgVerErr, NotifMsg],
        "Established ¶ 'NOTIFICATION message (Event 24 or Event 25) or a TcpConnectionFails (Event 18)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[]))),
    (&[Established], &[KeepAliveMsg], "Established ¶ 'If the local system receives a KEEPALIVE message (Event 26)'",
        Kind::As(to(State::Established, &["hold", "keepalive"]))),
    (&[Established], &[UpdateMsg], "Established ¶ 'If the local system receives an UPDATE message (Event 27)'",
        Kind::As(to(State::Established, &["hold", "keepalive"]))),
    (&[Established], &[UpdateMsgErr],
        "Established ¶ 'If the local system receives an UPDATE message, and the UPDATE message error handling procedure \
         detects an error (Event 28)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(3, 1)]))),
    (&[EstablishedUnsent], &[SendHoldTimerExpires],
        "RFC 9687 §4.3, Established ¶ 'If the SendHoldTimer_Expires event occurs (Event 29)'",
        Kind::As(drop_to(State::Idle, DAMPED, &[Sends::Notification(8, 0)]))),
    (&[Idle, IdleHolding, Connect, ConnectDelayed, Active, ActiveDelayed, OpenSent, OpenConfirm, Established],
        &[SendHoldTimerExpires], "RFC 9687 §4.3: the timer runs in Established, while something waits to be sent",
        Kind::TimerStopped("send-hold")),

    // ---- Optional events that are the listener's ----
    (&[Idle, IdleHolding, Connect, ConnectDelayed, Active, ActiveDelayed, OpenSent, OpenConfirm, Established],
        &[TcpConnectionValid], "§8.1.4 Event 14, optional; TrackTcpState", Kind::NotAnInput(VALID)),
    (&[Idle, IdleHolding, Connect, ConnectDelayed, Active, ActiveDelayed, OpenSent, OpenConfirm, Established],
        &[TcpCrInvalid], "§8.1.4 Event 15, optional; TrackTcpState", Kind::NotAnInput(INVALID)),
];
