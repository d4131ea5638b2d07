//! Rules of the RFCs and of practice, one a test: coming up, refusing, stopping, asking again.

use super::*;
use crate::wire::{MessageKind, Update, codes};

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

// NOTIFICATIONs

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

// Stopping, and RFC 8538

fn restarting() -> (SessionConfig, Open) {
    let mut config = ours();
    config.graceful_restart = Some(GracefulRestartConfig {
        restart_time: 30,
        restarted: false,
        forwarding_kept: true,
        long_lived: None,
    });
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

// Route refresh

#[test]
fn a_refresh_is_passed_on_before_our_first_update() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    let outcome = bench.receive(conn, refresh(RefreshKind::Request));
    assert_eq!(outcome.0, [Action::Refresh(Family::Ipv4Unicast, RefreshKind::Request)]);
}

/// wdbgp#37: RouterOS sends ROUTE-REFRESH without the capability. By RFC 2918 §4 ours is the one that counts.
#[test]
fn a_refresh_is_answered_because_we_announced_that_we_take_it() {
    let mut open = peer_open();
    open.capabilities.retain(|c| *c != Capability::RouteRefresh);
    let (mut bench, conn, _) = Bench::established(ours(), &open);
    let outcome = bench.receive(conn, refresh(RefreshKind::Request));
    assert_eq!(outcome.0, [Action::Refresh(Family::Ipv4Unicast, RefreshKind::Request)]);
}

#[test]
fn a_refresh_that_we_do_not_take_is_noted_and_the_session_lives() {
    let mut bench = Bench::started(ours());
    // Two refusals of our capabilities: the third OPEN has the families alone.
    for _ in 0..2 {
        let (conn, _) = bench.connected();
        bench.receive(conn, Notification::new(2, 7).encode());
        bench.next_timer();
    }
    let (conn, outcome) = bench.connected();
    assert!(!codes_in(&outcome).contains(&2));
    bench.receive(conn, peer_open().encode());
    bench.receive(conn, keepalive());
    assert_eq!(bench.state(), State::Established);
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
    assert!(matches!(bench.receive(conn, refresh(RefreshKind::Begin)).0[..], [Action::Note(_)]));
    // Once is enough: there may be thousands.
    assert_eq!(bench.receive(conn, refresh(RefreshKind::End)).0, []);
    assert_eq!(bench.state(), State::Established);
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

// Identifiers (RFC 6286, RFC 6793)

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
    for expected in [&[1, 2, 6, 64, 70, 65][..], &[1, 2, 65], &[1]] {
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
    assert_eq!(codes_in(&bench.connected().1), [1, 1, 2, 6, 64, 70, 65]);
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

/// `peers` shows whether anything came: a refused message did, and what has a bad header is no message.
#[test]
fn a_message_that_is_refused_counts_as_received() {
    let mut bench = Bench::started(ours());
    let (conn, _) = bench.connected();
    let mut version_3 = peer_open().encode().to_vec();
    version_3[19] = 3;
    assert_eq!(bench.receive(conn, version_3).notifications(), [(2, 1)]);
    assert_eq!(bench.session.view().received.opens, 1);

    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    let withdrawn_runs_out = [vec![0xff; 16], vec![0, 23, 2, 0xff, 0xff, 0, 0]].concat();
    assert_eq!(bench.receive(conn, withdrawn_runs_out).notifications(), [(3, 1)]);
    assert_eq!(bench.session.view().received.updates, 1);

    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    let long_keepalive = [vec![0xff; 16], vec![0, 20, 4, 0]].concat();
    assert_eq!(bench.receive(conn, long_keepalive).notifications(), [(1, 2)]);
    assert_eq!(bench.session.view().received.keepalives, 1, "the one that brought it up");
}
