//! Connection collision (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §5): every state of the other connection,
//! both directions, every order of identifiers and AS numbers.

use std::cmp::Ordering::{self, Equal, Greater, Less};

use super::*;
use crate::session::link::Direction::{self, Incoming, Outgoing};
use crate::wire::codes;

const CEASE_7: (u8, u8) = (codes::CEASE, codes::CEASE_CONNECTION_COLLISION);

/// Who has to go when the peer's OPEN arrives on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loser {
    /// Nobody yet.
    None,
    /// The connection on which the OPEN came.
    This,
    /// The one that was there.
    Other,
}

/// The state of the other connection; the order of our BGP identifier to the peer's, and of our AS number;
/// who made the connection on which the OPEN comes now; who goes.
type Row = (State, Ordering, Ordering, Direction, Loser);

/// "1) The BGP Identifier of the local system is compared to the BGP Identifier of the remote system (as
/// specified in the OPEN message). 2) If the value of the local BGP Identifier is less than the remote one,
/// the local system closes the BGP connection that already exists (the one that is already in the
/// OpenConfirm state), and accepts the BGP connection initiated by the remote system. 3) Otherwise, the
/// local system closes the newly created BGP connection (the one associated with the newly received OPEN
/// message), and continues to use the existing one": written for an OPEN on the remote system's connection,
/// and mirrored for one on ours. RFC 6286 §2.3 lets the AS number decide between equal identifiers.
const OPEN_CONFIRM: [Row; 12] = [
    (State::OpenConfirm, Less, Less, Incoming, Loser::Other),
    (State::OpenConfirm, Less, Greater, Incoming, Loser::Other),
    (State::OpenConfirm, Greater, Less, Incoming, Loser::This),
    (State::OpenConfirm, Greater, Greater, Incoming, Loser::This),
    (State::OpenConfirm, Equal, Less, Incoming, Loser::Other),
    (State::OpenConfirm, Equal, Greater, Incoming, Loser::This),
    (State::OpenConfirm, Less, Less, Outgoing, Loser::This),
    (State::OpenConfirm, Less, Greater, Outgoing, Loser::This),
    (State::OpenConfirm, Greater, Less, Outgoing, Loser::Other),
    (State::OpenConfirm, Greater, Greater, Outgoing, Loser::Other),
    (State::OpenConfirm, Equal, Less, Outgoing, Loser::This),
    (State::OpenConfirm, Equal, Greater, Outgoing, Loser::Other),
];

/// The other rows do not depend on the identifiers: only connections in OpenConfirm are examined, and
/// "collision with an existing BGP connection that is in the Established state causes closing of the newly
/// created connection".
const ELSEWHERE: [(State, Direction, Loser); 5] = [
    (State::Connect, Incoming, Loser::None),
    (State::Active, Outgoing, Loser::None),
    (State::OpenSent, Incoming, Loser::None),
    (State::OpenSent, Outgoing, Loser::None),
    (State::Established, Incoming, Loser::This),
];

fn rows() -> Vec<Row> {
    let mut rows = OPEN_CONFIRM.to_vec();
    for (state, direction, loser) in ELSEWHERE {
        for (id, asn) in [
            (Less, Less),
            (Less, Greater),
            (Equal, Less),
            (Equal, Greater),
            (Greater, Less),
            (Greater, Greater),
        ] {
            rows.push((state, id, asn, direction, loser));
        }
    }
    rows
}

fn open(id: Ordering, asn: Ordering) -> Open {
    let id = match id {
        // Compared as unsigned numbers: 200.0.0.1 is greater than 10.0.0.2.
        Less => [200, 0, 0, 1],
        Equal => [10, 0, 0, 2],
        Greater => [9, 255, 255, 255],
    };
    let asn = Asn::new(if asn == Less { 4_200_000_000 } else { 64499 }).unwrap();
    let mut open = Open { asn, router_id: RouterId::new(id.into()).unwrap(), ..peer_open() };
    open.capabilities.retain(|c| !matches!(c, Capability::FourOctetAsn(_)));
    open.capabilities.push(Capability::FourOctetAsn(asn));
    open
}

/// A bench with two connections: (this, in OpenSent or before; other, in `state`).
fn two_connections(
    config: SessionConfig,
    state: State,
    this: Direction,
    open: &Open,
) -> (Bench, ConnId, ConnId) {
    let mut bench = Bench::started(config);
    // Both are made before the other one goes on: going on gives up a dial under way.
    let (outgoing, incoming, early);
    if this == Outgoing {
        incoming = bench.accepted().0;
        early = incoming;
        outgoing = bench.connected().0;
    } else {
        outgoing = bench.connected().0;
        early = outgoing;
        incoming = ConnId(u64::MAX);
    }
    if state >= State::OpenConfirm {
        bench.receive(early, open.encode());
    }
    if state == State::Established {
        bench.receive(early, keepalive());
    }
    match this {
        Outgoing => (bench, outgoing, incoming),
        Incoming => {
            let incoming = bench.accepted().0;
            (bench, incoming, outgoing)
        }
    }
}

fn check(delay_open: bool, (state, id, asn, this_way, loser): Row) {
    let mut config = ours();
    config.timers.delay_open = delay_open.then_some(seconds(10));
    let open = open(id, asn);
    let (mut bench, this, other) = two_connections(config, state, this_way, &open);
    let outcome = bench.receive(this, open.encode());
    let row = format!("{state:?} {id:?} {asn:?} {this_way:?} delay {delay_open}: {:?}", outcome.0);
    assert_eq!(outcome.downs(), [] as [&DownReason; 0], "a resolved collision ends no attempt: {row}");
    let gone: Vec<ConnId> = match loser {
        Loser::None => vec![],
        Loser::This => vec![this],
        Loser::Other => vec![other],
    };
    assert_eq!(outcome.closed(), gone, "{row}");
    for conn in &gone {
        let cease = Message::Notification(Notification::new(CEASE_7.0, CEASE_7.1));
        assert_eq!(outcome.sent_to(*conn).last(), Some(&cease), "{row}");
    }
    // What is left comes up, whichever it is, and nothing else is left then.
    let left = if loser == Loser::This { other } else { this };
    bench.receive(left, keepalive());
    assert_eq!(bench.state(), State::Established, "{row}");
    assert_eq!(bench.session.view().negotiated.unwrap().conn, left, "{row}");
}

#[test]
fn every_pair_of_states_and_every_order_of_identifiers_is_resolved_as_the_table_says() {
    for row in rows() {
        // Connect and Active stand for a second connection whose OPEN is delayed.
        let only_delayed = row.0 < State::OpenSent;
        check(true, row);
        if !only_delayed {
            check(false, row);
        }
    }
}

#[test]
fn both_sides_keep_the_same_connection() {
    for (ours_is_higher, kept_by_us, kept_by_them) in
        [(true, Outgoing, Incoming), (false, Incoming, Outgoing)]
    {
        let a = (RouterId::new([10, 0, 0, 2].into()).unwrap(), Asn::new(1).unwrap());
        let b = (
            RouterId::new([10, 0, 0, if ours_is_higher { 1 } else { 3 }].into()).unwrap(),
            Asn::new(2).unwrap(),
        );
        assert_eq!(crate::session::collision::survivor(a, b), kept_by_us);
        assert_eq!(crate::session::collision::survivor(b, a), kept_by_them);
    }
}

#[test]
fn a_second_connection_in_open_sent_is_closed_when_the_first_is_established() {
    for this in [Outgoing, Incoming] {
        let mut bench = Bench::started(ours());
        let first = if this == Outgoing { bench.connected().0 } else { bench.accepted().0 };
        let second = if this == Outgoing { bench.accepted().0 } else { bench.connected().0 };
        bench.receive(first, peer_open().encode());
        let outcome = bench.receive(first, keepalive());
        assert!(outcome.negotiated().is_some());
        assert_eq!((outcome.notifications(), outcome.closed()), (vec![CEASE_7], vec![second]));
        assert!(outcome.downs().is_empty());
    }
}

#[test]
fn a_dial_under_way_is_given_up_when_the_peers_open_arrives() {
    let mut bench = Bench::started(ours());
    let (conn, outcome) = bench.accepted();
    assert!(!outcome.has(&Action::CancelConnect), "it may still collide");
    let outcome = bench.receive(conn, peer_open().encode());
    assert!(outcome.has(&Action::CancelConnect));
    assert_eq!(bench.timer(), Some("keepalive"), "ConnectRetryTimer has stopped");
}

#[test]
fn a_newer_connection_of_the_peer_replaces_an_older_one_that_is_not_established() {
    for opened in [false, true] {
        let mut bench = Bench::started(ours());
        let (older, _) = bench.accepted();
        if opened {
            bench.receive(older, peer_open().encode());
        }
        let (newer, outcome) = bench.accepted();
        assert_eq!((outcome.notifications(), outcome.closed()), (vec![CEASE_7], vec![older]));
        assert!(outcome.downs().is_empty());
        bench.receive(newer, peer_open().encode());
        assert!(bench.receive(newer, keepalive()).negotiated().is_some());
    }
}

#[test]
fn beside_an_established_session_only_the_newest_connection_is_tracked() {
    let (mut bench, conn, _) = Bench::established(ours(), &peer_open());
    let mut last = None;
    let mut notes = std::collections::BTreeSet::new();
    for port in 0..100 {
        let newer = ConnId(1000 + u64::from(port));
        let (local, remote) = ("10.0.0.2:179".parse().unwrap(), ([10, 0, 0, 9], 40_000 + port).into());
        let outcome = bench.input(Input::Accepted { conn: newer, local, remote });
        assert_eq!(outcome.closed(), last.into_iter().collect::<Vec<_>>());
        notes.insert(outcome.notes());
        last = Some(newer);
    }
    assert_eq!(bench.state(), State::Established);
    assert_eq!(notes.len(), 2, "none for the first, the same for all others: {notes:?}");
    bench.receive(conn, keepalive());
    // Nothing comes over it: 4 minutes later it is gone, and the session is not.
    let mut all = Vec::new();
    for _ in 0..10 {
        all.extend(bench.pass(seconds(60)).0);
        bench.receive(conn, keepalive());
    }
    let all = Outcome(all);
    assert_eq!((all.closed(), all.notifications()), (last.into_iter().collect(), vec![(4, 0)]));
    assert!(all.downs().is_empty(), "the session is not down");
    assert_eq!(bench.state(), State::Established);
}

#[test]
fn the_peers_own_verdict_ends_no_attempt_while_another_connection_is_there() {
    let mut bench = Bench::started(ours());
    let (outgoing, _) = bench.connected();
    let (incoming, _) = bench.accepted();
    bench.receive(incoming, peer_open().encode());
    let outcome = bench.receive(outgoing, Notification::new(CEASE_7.0, CEASE_7.1).encode());
    assert_eq!((outcome.closed(), outcome.downs().len()), (vec![outgoing], 0));
    assert!(bench.receive(incoming, keepalive()).negotiated().is_some());
}

#[test]
fn after_a_collision_verdict_on_the_only_connection_the_peers_own_is_waited_for() {
    let mut bench = Bench::started(ours());
    for confirm in [false, true] {
        let (conn, _) = bench.connected();
        if confirm {
            bench.receive(conn, peer_open().encode());
        }
        let outcome = bench.receive(conn, Notification::new(CEASE_7.0, CEASE_7.1).encode());
        assert_eq!((outcome.downs().len(), bench.state()), (1, State::Active));
        assert_eq!(
            bench.timer(),
            Some("connect-retry"),
            "the peer may hold a session that we have forgotten"
        );
        assert_eq!(bench.next_timer().0, "connect-retry");
    }
    let (incoming, _) = bench.accepted();
    bench.receive(incoming, peer_open().encode());
    assert!(bench.receive(incoming, keepalive()).negotiated().is_some());
}

#[test]
fn one_of_two_connections_may_fail_and_the_other_goes_on() {
    let mut bench = Bench::started(ours());
    let (outgoing, _) = bench.connected();
    let (incoming, _) = bench.accepted();
    let outcome = bench.receive(outgoing, Notification::new(2, 2).encode());
    assert_eq!((outcome.downs().len(), bench.state()), (1, State::OpenSent));
    bench.receive(incoming, peer_open().encode());
    assert!(bench.receive(incoming, keepalive()).negotiated().is_some());
}

// RFC 4724 §5

fn graceful() -> (SessionConfig, Open) {
    let mut config = ours();
    config.graceful_restart = Some(GracefulRestartConfig {
        restart_time: 30,
        restarted: false,
        forwarding_kept: false,
        long_lived: None,
    });
    let mut open = peer_open();
    open.capabilities.push(Capability::GracefulRestart(crate::wire::GracefulRestart {
        restart_time: 60,
        families: vec![(Family::Ipv4Unicast.afi_safi(), false)],
        ..Default::default()
    }));
    (config, open)
}

#[test]
fn with_graceful_restart_an_open_on_a_new_connection_means_that_the_peer_has_restarted() {
    let (config, open) = graceful();
    let (mut bench, old, _) = Bench::established(config, &open);
    let (new, _) = bench.accepted();
    assert_eq!(bench.state(), State::Established, "tracked until it sends an OPEN");
    let outcome = bench.receive(new, open.encode());
    assert_eq!(outcome.closed(), [old]);
    assert_eq!(outcome.notifications(), [], "the old one is closed without a word");
    assert!(matches!(outcome.downs()[..], [DownReason::Transport(text)] if text.contains("restarted")));
    assert_eq!(bench.state(), State::OpenConfirm);
    assert!(bench.receive(new, keepalive()).negotiated().is_some());
}

#[test]
fn an_open_and_keepalive_in_one_segment_on_a_new_connection_bring_the_restarted_peer_up() {
    let (config, open) = graceful();
    let (mut bench, _, _) = Bench::established(config, &open);
    let (new, _) = bench.accepted();
    let mut bytes = open.encode().to_vec();
    bytes.extend_from_slice(&keepalive());
    let outcome = bench.receive(new, bytes);
    assert_eq!(outcome.negotiated().unwrap().conn, new);
    assert_eq!(outcome.downs().len(), 1);
}

#[test]
fn a_new_connection_without_an_acceptable_open_does_not_end_a_session_with_graceful_restart() {
    let (config, open) = graceful();
    for bytes in [vec![0; 40], Notification::new(6, 5).encode().to_vec(), keepalive().to_vec()] {
        let (mut bench, _, _) = Bench::established(config.clone(), &open);
        let (new, _) = bench.accepted();
        let outcome = bench.receive(new, bytes);
        assert_eq!((outcome.closed(), outcome.downs().len()), (vec![new], 0));
        assert!(outcome.notes().contains("a second connection of the peer ended"));
        assert_eq!(bench.state(), State::Established);
    }
}

#[test]
fn a_new_connection_takes_over_when_the_old_one_is_lost_before_its_open() {
    let (mut bench, old, _) = Bench::established(ours(), &peer_open());
    let (new, _) = bench.accepted();
    let outcome = bench.lose(old);
    assert_eq!((outcome.downs().len(), bench.state()), (1, State::OpenSent));
    bench.receive(new, peer_open().encode());
    assert!(bench.receive(new, keepalive()).negotiated().is_some());
}

#[test]
fn a_peer_that_breaks_the_protocol_does_not_come_back_over_a_connection_it_has_ready() {
    let (mut bench, old, _) = Bench::established(ours(), &peer_open());
    let (new, _) = bench.accepted();
    let outcome = bench.receive(old, vec![0; 19]);
    assert_eq!(outcome.notifications(), [(1, 1), (6, 5)]);
    assert_eq!(outcome.closed(), [old, new]);
    assert_eq!((bench.state(), bench.timer()), (State::Idle, Some("idle-hold")));
}
