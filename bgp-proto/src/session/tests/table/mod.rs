//! Drives the session through every row of the state × event table of RFC 4271 §8.2.2.

#[rustfmt::skip]
mod rows;

use rows::{Expect, Kind, ROWS, Sends};

use super::*;
use crate::wire::end_of_rib;

/// The events of RFC 4271 §8.1 in their order, and that of RFC 9687.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    ManualStart,
    ManualStop,
    AutomaticStart,
    ManualStartPassive,
    AutomaticStartPassive,
    AutomaticStartDamped,
    AutomaticStartDampedPassive,
    AutomaticStop,
    ConnectRetryTimerExpires,
    HoldTimerExpires,
    KeepaliveTimerExpires,
    DelayOpenTimerExpires,
    IdleHoldTimerExpires,
    TcpConnectionValid,
    TcpCrInvalid,
    TcpCrAcked,
    TcpConnectionConfirmed,
    TcpConnectionFails,
    BgpOpen,
    BgpOpenDelayed,
    BgpHeaderErr,
    BgpOpenMsgErr,
    OpenCollisionDump,
    NotifMsgVerErr,
    NotifMsg,
    KeepAliveMsg,
    UpdateMsg,
    UpdateMsgErr,
    SendHoldTimerExpires,
}

use Event::*;

const EVENTS: [Event; 29] = [
    ManualStart,
    ManualStop,
    AutomaticStart,
    ManualStartPassive,
    AutomaticStartPassive,
    AutomaticStartDamped,
    AutomaticStartDampedPassive,
    AutomaticStop,
    ConnectRetryTimerExpires,
    HoldTimerExpires,
    KeepaliveTimerExpires,
    DelayOpenTimerExpires,
    IdleHoldTimerExpires,
    TcpConnectionValid,
    TcpCrInvalid,
    TcpCrAcked,
    TcpConnectionConfirmed,
    TcpConnectionFails,
    BgpOpen,
    BgpOpenDelayed,
    BgpHeaderErr,
    BgpOpenMsgErr,
    OpenCollisionDump,
    NotifMsgVerErr,
    NotifMsg,
    KeepAliveMsg,
    UpdateMsg,
    UpdateMsgErr,
    SendHoldTimerExpires,
];

/// A state, with what else makes a difference in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Setup {
    Idle,
    /// IdleHoldTimer runs.
    IdleHolding,
    /// TCP is under way.
    Connect,
    /// The same, DelayOpen TRUE.
    ConnectDelayOpen,
    /// TCP is up, DelayOpenTimer runs.
    ConnectDelayed,
    /// ConnectRetryTimer runs.
    Active,
    /// The same, DelayOpen TRUE.
    ActiveDelayOpen,
    /// The peer has connected, DelayOpenTimer runs.
    ActiveDelayed,
    OpenSent,
    /// Over the peer's connection, while our dial is under way.
    OpenSentDialling,
    OpenConfirm,
    Established,
    /// With bytes that wait to be sent.
    EstablishedUnsent,
}

/// Those for which every event has a row.
const STATES: [Setup; 9] = [
    Setup::Idle,
    Setup::IdleHolding,
    Setup::Connect,
    Setup::ConnectDelayed,
    Setup::Active,
    Setup::ActiveDelayed,
    Setup::OpenSent,
    Setup::OpenConfirm,
    Setup::Established,
];

fn passive(event: Event) -> bool {
    matches!(event, ManualStartPassive | AutomaticStartPassive | AutomaticStartDampedPassive)
}

/// A bench in `setup`, and the connection of the row.
fn set_up(setup: Setup, event: Event) -> (Bench, Option<ConnId>) {
    let mut config = ours();
    // Passive is a property of the configuration: it only makes a difference in Idle.
    config.passive = passive(event) && matches!(setup, Setup::Idle | Setup::IdleHolding);
    config.timers.delay_open = matches!(
        setup,
        Setup::ConnectDelayOpen | Setup::ConnectDelayed | Setup::ActiveDelayOpen | Setup::ActiveDelayed
    )
    .then_some(seconds(10));
    let mut bench = Bench::new(config);
    let conn = prepare(&mut bench, setup);
    (bench, conn)
}

fn prepare(bench: &mut Bench, setup: Setup) -> Option<ConnId> {
    if setup == Setup::Idle {
        return None;
    }
    bench.input(Input::Start);
    match setup {
        Setup::Idle | Setup::Connect | Setup::ConnectDelayOpen => None,
        Setup::IdleHolding => {
            let (conn, _) =
                if bench.state() == State::Connect { bench.connected() } else { bench.accepted() };
            bench.receive(conn, Notification::new(2, 2).encode());
            None
        }
        Setup::Active | Setup::ActiveDelayOpen => {
            bench.input(Input::ConnectFailed { reason: String::new() });
            None
        }
        Setup::ActiveDelayed => {
            bench.input(Input::ConnectFailed { reason: String::new() });
            Some(bench.accepted().0)
        }
        Setup::OpenSentDialling => Some(bench.accepted().0),
        Setup::ConnectDelayed | Setup::OpenSent => Some(bench.connected().0),
        Setup::OpenConfirm | Setup::Established | Setup::EstablishedUnsent => {
            let (conn, outcome) = bench.connected();
            bench.write_all(&outcome.0);
            let outcome = bench.receive(conn, peer_open().encode());
            bench.write_all(&outcome.0);
            if setup != Setup::OpenConfirm {
                bench.receive(conn, keepalive());
            }
            if setup == Setup::EstablishedUnsent {
                bench.input(Input::Enqueued { conn, bytes: 1 });
            }
            Some(conn)
        }
    }
}

/// What the peer's message of this event is.
fn message(event: Event) -> Option<Bytes> {
    let mut bad_open = peer_open().encode().to_vec();
    bad_open[22..24].copy_from_slice(&[0, 1]);
    // Withdrawn Routes Length runs past the message.
    let mut bad_update = end_of_rib(Family::Ipv4Unicast).to_vec();
    bad_update[19..21].copy_from_slice(&[0xff, 0xff]);
    Some(match event {
        BgpOpen | BgpOpenDelayed => peer_open().encode(),
        BgpHeaderErr => vec![0; 19].into(),
        BgpOpenMsgErr => bad_open.into(),
        NotifMsgVerErr => Notification::new(2, 1).encode(),
        NotifMsg => Notification::new(6, 4).encode(),
        KeepAliveMsg => keepalive(),
        UpdateMsg => end_of_rib(Family::Ipv4Unicast),
        UpdateMsgErr => bad_update.into(),
        _ => return None,
    })
}

fn timer(event: Event) -> Option<&'static str> {
    Some(match event {
        ConnectRetryTimerExpires => "connect-retry",
        HoldTimerExpires => "hold",
        KeepaliveTimerExpires => "keepalive",
        DelayOpenTimerExpires => "delay-open",
        IdleHoldTimerExpires => "idle-hold",
        SendHoldTimerExpires => "send-hold",
        _ => return None,
    })
}

/// Lets time pass until `name` fires; other timers that fire on the way are not part of the row.
fn expire(bench: &mut Bench, conn: Option<ConnId>, name: &str) -> Outcome {
    for _ in 0..1000 {
        let (fired, outcome) = bench.next_timer();
        if fired == name {
            return outcome;
        }
        // KeepaliveTimer goes first; the peer's own KEEPALIVEs must not, where HoldTimer is wanted.
        if name == "send-hold" {
            bench.receive(conn.expect("established"), keepalive());
        } else {
            bench.write_all(&outcome.0);
        }
    }
    panic!("{name} does not expire");
}

fn stop(subcode: u8, restart: bool) -> Input {
    let notification = Some(Notification::cease(subcode, ""));
    Input::Stop(StopReason { notification, hard: false, restart })
}

/// Makes another connection win, so that that of the row is dumped.
fn collide(bench: &mut Bench, setup: Setup, conn: ConnId) -> Outcome {
    let (other, _) = bench.accepted();
    // 10.0.0.9 is greater than ours: the peer's connection stays.
    let mut outcome = bench.receive(other, peer_open().encode());
    if setup == Setup::OpenSent {
        // Only connections in OpenConfirm are examined; this one is when its own OPEN comes.
        assert!(outcome.closed().is_empty());
        outcome = bench.receive(conn, peer_open().encode());
    }
    outcome
}

fn drive(bench: &mut Bench, setup: Setup, conn: Option<ConnId>, event: Event) -> Outcome {
    if let Some(name) = timer(event) {
        return expire(bench, conn, name);
    }
    if let Some(bytes) = message(event) {
        return bench.receive(conn.unwrap_or(ConnId(999)), bytes);
    }
    match event {
        ManualStop => bench.input(stop(2, false)),
        AutomaticStop => bench.input(stop(1, true)),
        TcpCrAcked => bench.connected().1,
        TcpConnectionConfirmed => bench.accepted().1,
        TcpConnectionFails => match conn {
            Some(conn) => bench.lose(conn),
            None if setup == Setup::Connect => bench.input(Input::ConnectFailed { reason: String::new() }),
            None => bench.lose(ConnId(999)),
        },
        OpenCollisionDump => collide(bench, setup, conn.expect("a connection")),
        _ => bench.input(Input::Start),
    }
}

fn sends(messages: &[Message]) -> Vec<Sends> {
    messages
        .iter()
        .map(|message| match message {
            Message::Open(_) => Sends::Open,
            Message::Keepalive => Sends::Keepalive,
            Message::Notification(n) => Sends::Notification(n.code, n.subcode),
            other => panic!("unexpected {other:?}"),
        })
        .collect()
}

fn check_expected(setup: Setup, event: Event, expect: Expect, row: &str) {
    let (mut bench, conn) = set_up(setup, event);
    let outcome = drive(&mut bench, setup, conn, event);
    if event == OpenCollisionDump {
        // The session goes on with the other connection; the row is about this one.
        let conn = conn.expect("a connection");
        assert_eq!(sends(&outcome.sent_to(conn)), expect.sends, "{row}");
        assert_eq!((outcome.closed(), expect.next), (vec![conn], State::Idle), "{row}");
        return;
    }
    // A connection that this row replaces speaks of its end; what the new one says is in its own row.
    assert_eq!(sends(&outcome.sent()), expect.sends, "sends: {row}");
    assert_eq!(bench.state(), expect.next, "state: {row}");
    let running: Vec<_> = bench.session.running_timers().into_iter().collect();
    let unsent = |name: &&str| *name != "send-hold" || setup == Setup::EstablishedUnsent;
    assert_eq!(running.into_iter().filter(unsent).collect::<Vec<_>>(), expect.timers, "timers: {row}");
    assert_eq!(!outcome.closed().is_empty(), expect.closes, "closes: {row}");
    assert_eq!(outcome.has(&Action::Connect), expect.connects, "connects: {row}");
}

/// The event leaves everything as it is.
fn check_nothing(setup: Setup, event: Event, allowed: impl Fn(&Action) -> bool, row: &str) {
    let (mut bench, conn) = set_up(setup, event);
    let before = (bench.state(), bench.session.deadline());
    let outcome = drive(&mut bench, setup, conn, event);
    assert!(outcome.0.iter().all(allowed), "{:?}: {row}", outcome.0);
    assert_eq!((bench.state(), bench.session.deadline()), before, "{row}");
}

#[test]
fn every_row_of_the_table_holds() {
    for (setups, events, paragraph, kind) in ROWS {
        for (setup, event) in setups.iter().flat_map(|s| events.iter().map(|e| (*s, *e))) {
            let row = format!("{setup:?} × {event:?} ({paragraph})");
            match kind {
                Kind::As(expect) => check_expected(setup, event, *expect, &row),
                Kind::Departs(rfc, does, why) => {
                    assert_ne!(rfc, does, "no departure: {row}");
                    check_expected(setup, event, *does, &format!("{row}, departs: {why}"));
                }
                Kind::TimerStopped(name) => {
                    assert_eq!(timer(event), Some(*name), "{row}");
                    let (bench, _) = set_up(setup, event);
                    assert!(!bench.session.running_timers().contains(name), "{row}");
                }
                Kind::NoConnection => check_nothing(setup, event, |_| false, &row),
                Kind::NotDialling => {
                    check_nothing(setup, event, |action| matches!(action, Action::Close { .. }), &row);
                }
                Kind::NotAnInput(why) => assert!(!why.is_empty(), "{row}"),
            }
        }
    }
}

#[test]
fn every_state_has_a_row_for_every_event() {
    for setup in STATES {
        for event in EVENTS {
            let rows = ROWS.iter().filter(|(s, e, ..)| s.contains(&setup) && e.contains(&event)).count();
            assert_eq!(rows, 1, "{setup:?} × {event:?}");
        }
    }
}
