//! Rules of the RFCs and of practice, one a test.

use super::*;
use crate::wire::{MessageKind, RefreshKind, RouteRefresh, Update, codes, end_of_rib};

fn hold(seconds: u16) -> HoldTime {
    HoldTime::new(seconds).unwrap()
}

fn with_hold(seconds: u16) -> SessionConfig {
    let mut config = ours();
    config.timers.hold = hold(seconds);
    config
}

fn keepalives(outcome: &Outcome) -> usize {
    outcome.sent().iter().filter(|m| **m == Message::Keepalive).count()
}

fn refresh(kind: RefreshKind) -> Bytes {
    RouteRefresh { family: Family::Ipv4Unicast.afi_safi(), kind }.encode()
}

#[test]
fn a_session_comes_up_over_our_dial() {
    let mut bench = Bench::new(ours());
    assert_eq!(bench.state(), State::Idle);
    let outcome = bench.input(Input::Start);
    assert_eq!(outcome.0, [Action::Connect, Action::State(State::Connect)]);
    let (conn, outcome) = bench.connected();
    assert!(matches!(outcome.sent_to(conn)[..], [Message::Open(_)]));
    assert_eq!(bench.state(), State::OpenSent);
    let outcome = bench.receive(conn, peer_open().encode());
    assert_eq!(outcome.sent_to(conn), [Message::Keepalive]);
    assert_eq!(bench.state(), State::OpenConfirm);
    let outcome = bench.receive(conn, keepalive());
    let negotiated = outcome.negotiated().expect("established");
    assert_eq!(negotiated.peer_asn.get(), PEER_ASN);
    assert_eq!(bench.session.view().established, 1);
}

#[test]
fn a_passive_session_never_dials_and_comes_up_over_the_peers_dial() {
    let mut config = ours();
    config.passive = true;
    let mut bench = Bench::started(config);
    assert_eq!(bench.state(), State::Active);
    assert_eq!(bench.session.deadline(), None);
    let (conn, _) = bench.accepted();
    bench.receive(conn, peer_open().encode());
    assert!(bench.receive(conn, keepalive()).negotiated().is_some());
    bench.lose(conn);
    let outcome = bench.pass(seconds(3600));
    assert!(!outcome.has(&Action::Connect));
    assert_eq!(bench.state(), State::Active);
}

#[test]
fn messages_cut_anywhere_are_put_together() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    let mut stream = peer_open().encode().to_vec();
    stream.extend_from_slice(&keepalive());
    stream.extend_from_slice(&end_of_rib(Family::Ipv4Unicast));
    let mut all = Vec::new();
    for byte in stream {
        all.extend(bench.receive(conn, vec![byte]).0);
    }
    let all = Outcome(all);
    assert!(all.negotiated().is_some());
    let update = Update { end_of_rib: Some(Family::Ipv4Unicast), ..Update::default() };
    assert!(all.has(&Action::Update(Box::new(update))));
}

#[test]
fn an_open_a_keepalive_and_an_update_in_one_segment_are_all_read() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    let mut stream = peer_open().encode().to_vec();
    stream.extend_from_slice(&keepalive());
    stream.extend_from_slice(&end_of_rib(Family::Ipv6Unicast));
    let outcome = bench.receive(conn, stream);
    assert!(matches!(
        outcome.0[..],
        [Action::Send { .. }, Action::Established(_), Action::Update(_), Action::State(State::Established),]
    ));
}

// bgp.md §2.3 #6

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

// bgp.md §2.3 #7

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

// bgp.md §2.3 #13, §5 #18

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

// bgp.md §2.3 #14-#16, §5 #2, #19

#[test]
fn a_notification_before_any_open_is_taken_and_suggests_another_speaker() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    let rejected = Notification::new(codes::CEASE, codes::CEASE_CONNECTION_REJECTED);
    let outcome = bench.receive(conn, rejected.encode());
    assert!(outcome.notes().contains("another BGP speaker on this address?"));
    assert_eq!(outcome.downs(), [&DownReason::Received(rejected)]);
    assert_eq!((outcome.sent(), outcome.closed()), (vec![], vec![conn]));
}

#[test]
fn a_close_before_the_peers_open_suggests_another_speaker_and_waits_for_the_connect_retry_time() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    let outcome = bench.lose(conn);
    assert!(outcome.notes().contains("another BGP speaker on this address?"));
    assert_eq!(outcome.downs().len(), 1);
    assert_eq!((bench.state(), bench.timer()), (State::Active, Some("connect-retry")));
}

#[test]
fn fsm_errors_have_the_subcode_of_their_state_and_the_message_type_as_data() {
    let update = end_of_rib(Family::Ipv4Unicast);
    let open = peer_open().encode();
    for (message, kind, state, subcode) in [
        (keepalive(), 4, State::OpenSent, 1),
        (update.clone(), 2, State::OpenSent, 1),
        (refresh(RefreshKind::Request), 5, State::OpenSent, 1),
        (open.clone(), 1, State::OpenConfirm, 2),
        (update, 2, State::OpenConfirm, 2),
        (refresh(RefreshKind::Request), 5, State::OpenConfirm, 2),
        (open.clone(), 1, State::Established, 3),
    ] {
        let mut bench = Bench::started(ours());
        let (conn, _) = bench.connected();
        if state >= State::OpenConfirm {
            bench.receive(conn, open.clone());
        }
        if state == State::Established {
            bench.receive(conn, keepalive());
        }
        assert_eq!(bench.state(), state);
        let outcome = bench.receive(conn, message);
        let expected = Notification { code: 5, subcode, data: vec![kind].into() };
        assert_eq!(outcome.notification(), expected);
        assert_eq!((outcome.closed(), outcome.downs().len()), (vec![conn], 1));
        assert_eq!(bench.state(), State::Idle);
    }
}

#[test]
fn after_a_notification_nothing_more_is_said_or_read_on_the_connection() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    let mut garbage = vec![0_u8; 64];
    garbage.extend_from_slice(&[0; 64]);
    let outcome = bench.receive(conn, garbage.clone());
    assert_eq!(outcome.notifications(), [(1, 1)]);
    assert_eq!(outcome.closed(), [conn]);
    for input in [
        Input::Received { conn, bytes: garbage.into() },
        Input::Received { conn, bytes: keepalive() },
        Input::Closed { conn, reason: String::new() },
        Input::Written { conn, bytes: 21 },
    ] {
        assert_eq!(bench.input(input).0, []);
    }
}

#[test]
fn a_header_fault_before_any_open_gets_its_notification_with_data() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    let mut message = keepalive().to_vec();
    message[16..18].copy_from_slice(&4097_u16.to_be_bytes());
    let outcome = bench.receive(conn, message);
    let expected = Notification { code: 1, subcode: 2, data: vec![0x10, 0x01].into() };
    assert_eq!(outcome.notification(), expected);
}

#[test]
fn a_notification_is_never_answered_by_one() {
    for established in [false, true] {
        let (mut bench, conn) = if established {
            let (bench, conn, _) = Bench::established(ours(), &peer_open());
            (bench, conn)
        } else {
            let mut bench = Bench::started(ours());
            let conn = bench.connected().0;
            (bench, conn)
        };
        let unknown = Notification { code: 99, subcode: 77, data: vec![1, 2, 3].into() };
        let outcome = bench.receive(conn, unknown.encode());
        assert_eq!(outcome.sent(), []);
        assert_eq!(outcome.downs(), [&DownReason::Received(unknown)], "unknown codes survive");
    }
}

// bgp.md §2.3 #16, RFC 8538

fn restarting() -> (SessionConfig, Open) {
    let mut config = ours();
    config.graceful_restart =
        Some(GracefulRestartConfig { restart_time: 30, restarted: false, forwarding_kept: true });
    let mut open = peer_open();
    open.capabilities.push(Capability::GracefulRestart(crate::wire::GracefulRestart {
        restarted: false,
        notification: true,
        restart_time: 120,
        families: vec![(Family::Ipv4Unicast.afi_safi(), true)],
    }));
    (config, open)
}

fn stop(notification: Option<Notification>, hard: bool, restart: bool) -> Input {
    Input::Stop(StopReason { notification, hard, restart })
}

#[test]
fn a_hard_stop_is_wrapped_into_a_hard_reset_where_rfc_8538_was_negotiated() {
    let shutdown = Notification::cease(codes::CEASE_ADMINISTRATIVE_SHUTDOWN, "rack 4 moves");
    let (config, open) = restarting();
    let (mut bench, _, _) = Bench::established(config, &open);
    let outcome = bench.input(stop(Some(shutdown.clone()), true, false));
    assert_eq!(outcome.notification(), shutdown.clone().into_hard_reset());
    assert!(matches!(outcome.downs()[..], [DownReason::Sent(n, text)]
        if n.subcode == codes::CEASE_HARD_RESET && text == "rack 4 moves"));
    let (mut bench, _, _) = Bench::established(ours(), &open);
    let outcome = bench.input(stop(Some(shutdown.clone()), true, false));
    assert_eq!(outcome.notification(), shutdown, "not negotiated: as it is");
}

#[test]
fn a_stop_without_a_notification_closes_in_silence_so_that_the_peer_keeps_the_routes() {
    let (config, open) = restarting();
    let (mut bench, conn, _) = Bench::established(config, &open);
    let outcome = bench.input(stop(None, false, false));
    assert_eq!(outcome.sent(), []);
    assert_eq!((outcome.closed(), outcome.downs()), (vec![conn], vec![&DownReason::Stopped]));
    assert_eq!((bench.state(), bench.session.deadline()), (State::Idle, None));
}

#[test]
fn a_clear_comes_back_by_itself_and_a_shutdown_waits_for_a_start() {
    let reset = || Some(Notification::cease(codes::CEASE_ADMINISTRATIVE_RESET, ""));
    let (mut bench, _, _) = Bench::established(ours(), &peer_open());
    bench.input(stop(reset(), false, true));
    assert_eq!((bench.state(), bench.timer()), (State::Idle, Some("idle-hold")));
    assert!(bench.next_timer().1.has(&Action::Connect));
    let outcome = bench.input(stop(reset(), false, false));
    assert_eq!(outcome.0, [Action::CancelConnect, Action::State(State::Idle)]);
    assert_eq!(bench.pass(seconds(10_000)).0, []);
    assert!(bench.input(Input::Start).has(&Action::Connect));
}

#[test]
fn a_stop_during_the_back_off_ends_it() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    bench.receive(conn, Notification::new(2, 2).encode());
    bench.input(stop(None, false, false));
    assert_eq!(bench.session.deadline(), None);
}

// bgp.md §2.3 #34: a KEEPALIVE does not wait behind a table

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

// bgp.md §2.3 #39, §5 #16

#[test]
fn a_refresh_is_passed_on_before_our_first_update() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    let outcome = bench.receive(conn, refresh(RefreshKind::Request));
    assert_eq!(outcome.0, [Action::Refresh(Family::Ipv4Unicast, RefreshKind::Request)]);
}

#[test]
fn a_refresh_that_was_not_negotiated_is_noted_and_the_session_lives() {
    let mut open = peer_open();
    open.capabilities.retain(|c| *c != Capability::RouteRefresh);
    let (mut bench, conn, _) = Bench::established(ours(), &open);
    let outcome = bench.receive(conn, refresh(RefreshKind::Request));
    assert!(outcome.notes().contains("ignored a ROUTE-REFRESH"));
    assert_eq!((outcome.0.len(), bench.state()), (1, State::Established));
}

#[test]
fn a_refresh_of_a_foreign_family_or_subtype_is_noted_and_ignored() {
    let mut open = peer_open();
    open.capabilities.push(Capability::EnhancedRouteRefresh);
    let (mut bench, conn, _) = Bench::established(ours(), &open);
    let family = crate::types::AfiSafi { afi: 1, safi: 128 };
    let foreign = RouteRefresh { family, kind: RefreshKind::Request }.encode();
    for message in [foreign, refresh(RefreshKind::Unknown(7))] {
        let outcome = bench.receive(conn, message);
        assert!(matches!(outcome.0[..], [Action::Note(_)]), "{:?}", outcome.0);
    }
    for kind in [RefreshKind::Begin, RefreshKind::End, RefreshKind::Request] {
        let outcome = bench.receive(conn, refresh(kind));
        assert_eq!(outcome.0, [Action::Refresh(Family::Ipv4Unicast, kind)], "also subtype 0 (RFC 7313)");
    }
}

#[test]
fn the_markers_of_a_refresh_are_ignored_without_rfc_7313() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    for kind in [RefreshKind::Begin, RefreshKind::End] {
        assert!(matches!(bench.receive(conn, refresh(kind)).0[..], [Action::Note(_)]));
    }
}

#[test]
fn a_refresh_is_asked_for_where_the_peer_takes_it() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    let outcome = bench.input(Input::RequestRefresh(Family::Ipv6Unicast));
    let expected = RouteRefresh { family: Family::Ipv6Unicast.afi_safi(), kind: RefreshKind::Request };
    assert_eq!(outcome.sent_to(conn), [Message::RouteRefresh(expected)]);
    assert_eq!(bench.session.view().sent.route_refreshes, 1);
    let mut open = peer_open();
    open.capabilities.retain(|c| *c != Capability::RouteRefresh);
    let (mut bench, _, _) = Bench::established(ours(), &open);
    let outcome = bench.input(Input::RequestRefresh(Family::Ipv6Unicast));
    assert!(matches!(outcome.0[..], [Action::Note(_)]));
    let mut bench = Bench::started(ours());
    assert!(matches!(bench.input(Input::RequestRefresh(Family::Ipv4Unicast)).0[..], [Action::Note(_)]));
}

// bgp.md §2.3 #41, RFC 9687

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

// bgp.md §2.3 #8, #9; RFC 6286

#[test]
fn our_router_id_at_the_peer_is_bad_only_inside_our_as() {
    for (asn, good) in [(PEER_ASN, true), (OUR_ASN, false)] {
        let mut open = peer_open();
        open.router_id = ours().router_id;
        open.asn = Asn::new(asn).unwrap();
        open.capabilities.retain(|c| !matches!(c, Capability::FourOctetAsn(_)));
        let mut bench = Bench::started(ours());
        let (conn, _) = bench.connected();
        let outcome = bench.receive(conn, open.encode());
        assert_eq!(outcome.notifications(), if good { vec![] } else { vec![(2, 3)] });
    }
}

#[test]
fn a_zero_router_id_is_bad_and_a_multicast_one_is_good() {
    for (id, expected) in [([0, 0, 0, 0], vec![(2, 3)]), ([224, 0, 0, 5], vec![]), ([255; 4], vec![])] {
        let mut open = peer_open().encode().to_vec();
        open[24..28].copy_from_slice(&id);
        let mut bench = Bench::started(ours());
        let (conn, _) = bench.connected();
        assert_eq!(bench.receive(conn, open).notifications(), expected);
    }
}

#[test]
fn the_as_in_the_capability_is_what_is_compared() {
    let wide = Asn::new(4_200_000_000).unwrap();
    let mut config = ours();
    config.peer_asn = PeerAsn::Exact(wide);
    let mut open = peer_open();
    open.asn = wide;
    open.capabilities = vec![Capability::FourOctetAsn(wide)];
    let (_, _, outcome) = Bench::established(config, &open);
    assert_eq!(outcome.negotiated().unwrap().peer_asn, wide);
}

// RFC 5492 §3: the ladder, seen from the session

fn codes_in(outcome: &Outcome) -> Vec<u8> {
    let open = |m| if let Message::Open(open) = m { Some(open) } else { None };
    let open = outcome.sent().into_iter().find_map(open).expect("an OPEN");
    open.capabilities.iter().map(Capability::code).collect()
}

#[test]
fn a_peer_that_knows_no_capabilities_is_met_without_after_2_4() {
    let mut config = ours();
    config.families = FamilySet::from_iter([Family::Ipv4Unicast]);
    let mut bench = Bench::started(config);
    for expected in [&[1, 2, 6, 70, 65][..], &[1, 2, 65], &[1]] {
        let (conn, outcome) = bench.connected();
        assert_eq!(codes_in(&outcome), expected);
        let outcome = bench.receive(conn, Notification::new(2, 4).encode());
        assert!(outcome.notes().contains("refused our OPEN"));
        bench.next_timer();
    }
    let (conn, outcome) = bench.connected();
    assert_eq!(codes_in(&outcome), [] as [u8; 0]);
    bench.receive(conn, Open { capabilities: vec![], ..peer_open() }.encode());
    let outcome = bench.receive(conn, keepalive());
    assert!(!outcome.negotiated().expect("established").encode.asn4);
}

#[test]
fn fewer_capabilities_are_remembered_over_a_flap_and_forgotten_at_a_start() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    bench.receive(conn, Notification::new(2, 0).encode());
    bench.next_timer();
    let (conn, outcome) = bench.connected();
    assert_eq!(codes_in(&outcome), [1, 1, 2, 65]);
    bench.receive(conn, peer_open().encode());
    bench.receive(conn, keepalive());
    bench.lose(conn);
    bench.next_timer();
    let (conn, outcome) = bench.connected();
    assert_eq!(codes_in(&outcome), [1, 1, 2, 65]);
    bench.receive(conn, peer_open().encode());
    bench.input(stop(None, false, false));
    bench.input(Input::Start);
    assert_eq!(codes_in(&bench.connected().1), [1, 1, 2, 6, 70, 65]);
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

// What a caller may do wrong

#[test]
fn a_dial_that_ends_after_it_was_cancelled_is_closed_again() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.accepted();
    let outcome = bench.receive(conn, peer_open().encode());
    assert!(outcome.has(&Action::CancelConnect));
    let (late, outcome) = bench.connected();
    assert_eq!(outcome.0, [Action::Close { conn: late }]);
    bench.receive(conn, keepalive());
    let (late, outcome) = bench.connected();
    assert_eq!(outcome.0, [Action::Close { conn: late }]);
    bench.input(stop(None, false, false));
    let (late, outcome) = bench.connected();
    assert_eq!(outcome.0, [Action::Close { conn: late }]);
}

#[test]
fn a_timeout_before_the_deadline_does_nothing() {
    let (mut bench, _, _) = Bench::established(ours(), &peer_open());
    let deadline = bench.session.deadline();
    assert_eq!(bench.input(Input::Timeout).0, []);
    assert_eq!(bench.session.deadline(), deadline);
}

#[test]
fn new_timers_count_from_the_next_connection_on() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    bench.session.set_timers(TimerConfig { hold: hold(9), ..TimerConfig::default() });
    assert!(bench.pass(seconds(60)).downs().is_empty());
    bench.lose(conn);
    bench.next_timer();
    let (conn, _) = bench.connected();
    bench.receive(conn, peer_open().encode());
    let outcome = bench.receive(conn, keepalive());
    assert_eq!(outcome.negotiated().unwrap().hold_time, hold(9));
}

#[test]
fn the_view_counts_messages_and_remembers_the_last_end() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    bench.receive(conn, end_of_rib(Family::Ipv4Unicast));
    let view = bench.session.view();
    assert_eq!((view.received.opens, view.received.keepalives, view.received.updates), (1, 1, 1));
    assert_eq!((view.sent.opens, view.sent.keepalives), (1, 1));
    assert!(view.negotiated.is_some());
    bench.lose(conn);
    let view = bench.session.view();
    let reason = DownReason::Transport("closed by the peer".to_owned());
    assert_eq!(view.last_down, Some((bench.now, reason)));
    assert_eq!((view.negotiated, view.state, view.established), (None, State::Idle, 1));
    assert_eq!(MessageKind::Open.code(), 1);
}
