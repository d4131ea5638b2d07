//! Rules of the RFCs and of practice about time, one a test: hold time, KEEPALIVE, back-off, send hold time,
//! DelayOpen.

use super::*;
use crate::wire::codes;

// Hold time and KEEPALIVE

#[test]
fn a_hold_time_of_one_or_two_seconds_is_refused_with_2_6() {
    for unacceptable in [1_u8, 2] {
        let mut bench = Bench::started(ours());
        let (conn, _) = bench.connected();
        let mut open = peer_open().encode().to_vec();
        open[23] = unacceptable;
        open[22] = 0;
        let outcome = bench.receive(conn, open);
        assert_eq!(outcome.notifications(), [(2, 6)]);
        assert_eq!(outcome.closed(), [conn]);
    }
}

#[test]
fn the_smaller_hold_time_is_in_force_and_keepalives_go_at_a_third_of_it() {
    let open = Open { hold_time: hold(9), ..peer_open() };
    let (mut bench, _, outcome) = Bench::established(ours(), &open);
    assert_eq!(outcome.negotiated().unwrap().hold_time, hold(9));
    let start = bench.now;
    let (timer, outcome) = bench.next_timer();
    assert_eq!((timer, keepalives(&outcome)), ("keepalive", 1));
    let after = bench.now.since(start).as_secs_f64();
    assert!((2.25..=3.0).contains(&after), "{after}");
}

#[test]
fn a_hold_time_of_three_sends_a_keepalive_each_second_and_never_more_often() {
    let open = Open { hold_time: hold(3), ..peer_open() };
    let (mut bench, conn, _) = Bench::established(ours(), &open);
    let mut last = bench.now;
    for _ in 0..50 {
        let (timer, outcome) = bench.next_timer();
        assert_eq!((timer, keepalives(&outcome)), ("keepalive", 1));
        assert_eq!(bench.now.since(last), seconds(1));
        last = bench.now;
        bench.write_all(&outcome.0);
        bench.receive(conn, keepalive());
    }
}

#[test]
fn a_configured_keepalive_interval_is_kept_where_it_is_shorter_than_a_third() {
    for (configured, at_most) in [(3, 3.0), (80, 30.0)] {
        let mut config = ours();
        config.timers.keepalive = Some(seconds(configured));
        let (mut bench, _, _) = Bench::established(config, &peer_open());
        let start = bench.now;
        bench.next_timer();
        let after = bench.now.since(start).as_secs_f64();
        assert!((at_most * 0.75..=at_most).contains(&after), "{after}");
    }
}

#[test]
fn a_hold_time_of_zero_on_either_side_runs_no_timer_at_all() {
    for (ours, theirs) in [(0, 90), (90, 0), (0, 0)] {
        let open = Open { hold_time: hold(theirs), ..peer_open() };
        let (mut bench, conn, _) = Bench::established(with_hold(ours), &open);
        bench.input(Input::Enqueued { conn, bytes: 100_000 });
        assert_eq!(bench.session.deadline(), None, "no hold, keepalive or send hold timer");
        assert_eq!(bench.pass(seconds(100_000)).0, []);
        assert_eq!(bench.state(), State::Established);
    }
}

#[test]
fn open_sent_waits_four_minutes_and_not_the_hold_time() {
    let mut bench = Bench::started(with_hold(3));
    bench.connected();
    let start = bench.now;
    let (timer, outcome) = bench.next_timer();
    assert_eq!((timer, bench.now.since(start)), ("hold", seconds(240)));
    assert_eq!(outcome.notifications(), [(4, 0)]);
    assert_eq!(outcome.downs(), [&DownReason::HoldTimerExpired]);
    assert_eq!(bench.state(), State::Idle);
}

// What restarts the hold timer

#[test]
fn the_hold_timer_restarts_at_keepalive_and_update_and_not_at_route_refresh() {
    let update = end_of_rib(Family::Ipv4Unicast);
    for (message, survives) in [(keepalive(), true), (update, true), (refresh(RefreshKind::Request), false)] {
        let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
        bench.pass(seconds(60));
        bench.receive(conn, message);
        let outcome = bench.pass(seconds(60));
        assert_eq!(bench.state() == State::Established, survives);
        assert_eq!(outcome.notifications().contains(&(4, 0)), !survives);
    }
}

#[test]
fn a_silent_peer_is_down_exactly_when_the_hold_time_has_passed() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    assert_eq!(bench.pass(seconds(90) - Duration::from_nanos(1)).downs(), [] as [&DownReason; 0]);
    let outcome = bench.pass(Duration::from_nanos(1));
    assert_eq!(outcome.notifications(), [(4, 0)]);
    assert_eq!(outcome.closed(), [conn]);
    assert_eq!(outcome.downs(), [&DownReason::HoldTimerExpired]);
}

#[test]
fn what_we_send_does_not_keep_the_hold_timer_from_expiring() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    for _ in 0..89 {
        bench.pass(seconds(1));
        bench.input(Input::Enqueued { conn, bytes: 10 });
        bench.input(Input::Written { conn, bytes: 10 });
    }
    assert_eq!(bench.pass(seconds(1)).downs(), [&DownReason::HoldTimerExpired]);
}

// Back-off

#[test]
fn a_peer_that_always_answers_2_2_is_dialled_less_and_less_often() {
    let mut bench = Bench::started(ours());
    let (mut connects, mut last) = (1, bench.now);
    let end = bench.now + seconds(3600);
    let mut gaps = Vec::new();
    while bench.now < end {
        let (conn, _) = bench.connected();
        let refusal = Notification::new(codes::OPEN, codes::OPEN_BAD_PEER_AS);
        let outcome = bench.receive(conn, refusal.encode());
        assert_eq!(outcome.downs(), [&DownReason::Received(refusal)]);
        assert_eq!((bench.state(), bench.timer()), (State::Idle, Some("idle-hold")));
        let (_, outcome) = bench.next_timer();
        assert!(outcome.has(&Action::Connect));
        gaps.push(bench.now.since(last).as_secs());
        last = bench.now;
        connects += 1;
    }
    assert!(gaps[..6].is_sorted(), "{gaps:?}");
    assert!((60..=90).contains(&connects), "one in about a minute: {connects}");
}

#[test]
fn a_peer_that_comes_up_and_falls_at_once_is_damped_too() {
    let mut bench = Bench::started(ours());
    let end = bench.now + seconds(3600);
    let mut sessions = 0;
    while bench.now < end {
        let (conn, _) = bench.connected();
        bench.receive(conn, peer_open().encode());
        bench.receive(conn, keepalive());
        assert_eq!(bench.state(), State::Established);
        sessions += 1;
        bench.pass(seconds(1));
        bench.lose(conn);
        bench.next_timer();
    }
    assert!((55..=90).contains(&sessions), "{sessions}");
}

#[test]
fn a_session_that_outlived_its_hold_time_comes_back_within_a_second() {
    let (mut bench, mut conn, _) = Bench::established(with_hold(9), &peer_open());
    for _ in 0..6 {
        for _ in 0..4 {
            bench.pass(seconds(3));
            bench.receive(conn, keepalive());
        }
        bench.lose(conn);
        let start = bench.now;
        bench.next_timer();
        assert!(bench.now.since(start) <= seconds(1));
        conn = bench.connected().0;
        bench.receive(conn, peer_open().encode());
        bench.receive(conn, keepalive());
    }
}

#[test]
fn what_is_cleared_again_and_again_comes_back_within_a_second() {
    let clear = || {
        let notification = Some(Notification::cease(codes::CEASE_ADMINISTRATIVE_RESET, ""));
        Input::Stop(StopReason { notification, hard: true, restart: true })
    };
    let (mut bench, _, _) = Bench::established(ours(), &peer_open());
    for _ in 0..8 {
        bench.input(clear());
        let start = bench.now;
        assert!(bench.next_timer().1.has(&Action::Connect));
        assert!(bench.now.since(start) <= seconds(1));
        let (conn, _) = bench.connected();
        bench.receive(conn, peer_open().encode());
        bench.receive(conn, keepalive());
        assert_eq!(bench.state(), State::Established);
    }
    // Also what waits because it has failed.
    bench.input(clear());
    for _ in 0..8 {
        bench.next_timer();
        let (conn, _) = bench.connected();
        bench.receive(conn, Notification::new(2, 2).encode());
    }
    assert!(bench.session.deadline().unwrap().0.since(bench.now) > seconds(40));
    bench.input(clear());
    assert!(bench.session.deadline().unwrap().0.since(bench.now) <= seconds(1));
}

#[test]
fn a_start_by_hand_forgets_the_back_off_and_does_not_wait() {
    let mut bench = Bench::started(ours());
    for _ in 0..8 {
        let (conn, _) = bench.connected();
        bench.receive(conn, Notification::new(2, 2).encode());
        bench.next_timer();
    }
    let (conn, _) = bench.connected();
    bench.receive(conn, Notification::new(2, 2).encode());
    assert!(bench.session.deadline().unwrap().0.since(bench.now) > seconds(40));
    assert!(bench.input(Input::Start).has(&Action::Connect));
    let (conn, _) = bench.connected();
    bench.receive(conn, Notification::new(2, 2).encode());
    assert!(bench.session.deadline().unwrap().0.since(bench.now) <= seconds(1));
}

#[test]
fn idle_refuses_connections_and_a_stopped_session_says_so() {
    let mut bench = Bench::new(ours());
    let (conn, outcome) = bench.accepted();
    assert_eq!((outcome.notifications(), outcome.closed()), (vec![(6, 5)], vec![conn]));
    bench.input(Input::Start);
    let (conn, _) = bench.connected();
    bench.receive(conn, Notification::new(2, 2).encode());
    let (conn, outcome) = bench.accepted();
    assert_eq!((outcome.notifications(), outcome.closed()), (vec![], vec![conn]));
    assert_eq!(bench.state(), State::Idle);
}

#[test]
fn a_failed_dial_is_tried_again_after_the_jittered_connect_retry_time() {
    let mut bench = Bench::started(ours());
    let mut waits = Vec::new();
    for _ in 0..20 {
        let outcome = bench.input(Input::ConnectFailed { reason: "connection refused".to_owned() });
        assert!(outcome.notes().contains("connection refused"));
        assert_eq!((bench.state(), outcome.downs().len()), (State::Active, 0));
        let start = bench.now;
        assert!(bench.next_timer().1.has(&Action::Connect));
        waits.push(bench.now.since(start));
    }
    assert!(waits.iter().all(|wait| (seconds(5) * 3 / 4..=seconds(5)).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait != waits[0]));
}

#[test]
fn a_dial_that_hangs_is_given_up_and_made_again() {
    let mut bench = Bench::started(ours());
    let (timer, outcome) = bench.next_timer();
    assert_eq!(timer, "connect-retry");
    assert_eq!(outcome.0, [Action::CancelConnect, Action::Connect]);
    assert_eq!(bench.state(), State::Connect);
}

// A KEEPALIVE does not wait behind a table

#[test]
fn keepalives_are_sent_on_time_while_a_table_waits_for_a_slow_reader() {
    let open = Open { hold_time: hold(9), ..peer_open() };
    let (mut bench, conn, _) = Bench::established(ours(), &open);
    bench.input(Input::Enqueued { conn, bytes: 18_000_000 });
    let mut sent = 0;
    for _ in 0..1800 {
        sent += keepalives(&bench.pass(seconds(1)));
        bench.input(Input::Written { conn, bytes: 10_000 });
        bench.receive(conn, keepalive());
    }
    assert_eq!(bench.state(), State::Established);
    assert!((600..=800).contains(&sent), "every 2.25 to 3 s: {sent}");
}

// RFC 9687

/// A peer that still talks and does not read: what expires is the send hold timer.
fn talk(bench: &mut Bench, conn: ConnId, minutes: u64) -> Outcome {
    let mut all = Vec::new();
    for _ in 0..minutes {
        if bench.state() != State::Established {
            break;
        }
        bench.receive(conn, keepalive());
        let until = bench.now + seconds(60);
        while let Some((at, _)) = bench.session.deadline().filter(|(at, _)| *at <= until) {
            bench.now = at;
            all.extend(bench.input(Input::Timeout).0);
            if bench.state() != State::Established {
                return Outcome(all);
            }
        }
        bench.now = until;
    }
    Outcome(all)
}

#[test]
fn a_peer_that_talks_and_never_reads_is_down_after_eight_minutes() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    bench.write_all(&[]);
    bench.input(Input::Enqueued { conn, bytes: 4096 });
    let start = bench.now;
    let outcome = talk(&mut bench, conn, 60);
    assert_eq!(bench.now.since(start), seconds(480));
    assert_eq!(outcome.notifications(), [(8, 0)]);
    assert_eq!((outcome.closed(), outcome.downs()), (vec![conn], vec![&DownReason::SendHoldTimerExpired]));
    assert_eq!(bench.state(), State::Idle);
}

#[test]
fn twice_a_long_hold_time_is_the_send_hold_time_and_a_configured_one_goes_first() {
    for (send_hold, expected) in [(None, 1200), (Some(seconds(20)), 20)] {
        let mut config = with_hold(600);
        config.timers.send_hold = send_hold;
        let open = Open { hold_time: hold(600), ..peer_open() };
        let (mut bench, conn, _) = Bench::established(config, &open);
        bench.input(Input::Enqueued { conn, bytes: 1 });
        let start = bench.now;
        talk(&mut bench, conn, 60);
        assert_eq!(bench.now.since(start), seconds(expected));
    }
}

#[test]
fn each_written_byte_restarts_the_send_hold_timer_and_an_empty_queue_stops_it() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    bench.input(Input::Enqueued { conn, bytes: 1_000_000 });
    for _ in 0..20 {
        talk(&mut bench, conn, 7);
        bench.input(Input::Written { conn, bytes: 1 });
    }
    assert_eq!(bench.state(), State::Established);
    bench.input(Input::Written { conn, bytes: 2_000_000 });
    for _ in 0..20 {
        bench.receive(conn, keepalive());
        bench.pass(seconds(60));
    }
    assert_eq!(bench.state(), State::Established);
}

#[test]
fn keepalives_that_do_not_leave_start_the_send_hold_timer_as_well() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    assert_eq!(bench.timer(), Some("keepalive"));
    let outcome = talk(&mut bench, conn, 60);
    assert_eq!(outcome.downs(), [&DownReason::SendHoldTimerExpired]);
}

// DelayOpen

fn delayed() -> SessionConfig {
    let mut config = ours();
    config.timers.delay_open = Some(seconds(10));
    config
}

#[test]
fn with_delay_open_our_open_waits_for_its_timer() {
    let mut bench = Bench::started(delayed());
    let (conn, outcome) = bench.connected();
    assert_eq!((outcome.sent(), bench.state(), bench.timer()), (vec![], State::Connect, Some("delay-open")));
    let (_, outcome) = bench.next_timer();
    assert!(matches!(outcome.sent_to(conn)[..], [Message::Open(_)]));
    assert_eq!(bench.state(), State::OpenSent);
}

#[test]
fn an_open_received_while_the_delay_runs_is_answered_at_once() {
    let mut bench = Bench::started(delayed());
    let (conn, _) = bench.connected();
    let outcome = bench.receive(conn, peer_open().encode());
    assert!(matches!(outcome.sent_to(conn)[..], [Message::Open(_), Message::Keepalive]));
    assert_eq!(bench.state(), State::OpenConfirm);
}

#[test]
fn with_delay_open_a_bad_open_is_refused_with_its_notification() {
    let mut config = delayed();
    config.peer_asn = PeerAsn::Internal;
    let mut bench = Bench::started(config);
    let (conn, _) = bench.accepted();
    let outcome = bench.receive(conn, peer_open().encode());
    assert_eq!((outcome.notifications(), outcome.downs().len()), (vec![(2, 2)], 1));
    assert_eq!(bench.state(), State::Idle);
}

#[test]
fn with_delay_open_a_keepalive_before_any_open_ends_the_connection_in_silence() {
    let mut bench = Bench::started(delayed());
    let (conn, _) = bench.connected();
    let outcome = bench.receive(conn, keepalive());
    assert_eq!((outcome.sent(), outcome.closed(), outcome.downs().len()), (vec![], vec![conn], 0));
    assert!(outcome.notes().contains("Keepalive before any OPEN"));
    assert_eq!(bench.timer(), Some("idle-hold"));
}
