//! The speaker against peers made by hand: each refusal with its NOTIFICATION, its data and its log line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use tests::bgp::{Message, Open, Type, frame};
use tests::daemon::Family;
use tests::interop::strangers::Stranger;

const SOON: Duration = Duration::from_secs(30);

fn passive(session: Family) -> Stranger {
    Stranger::start(session, "asn: 64502, passive: true")
}

/// Code, subcode and data.
fn parts(message: &Message) -> (u8, u8, Vec<u8>) {
    (message.bytes[19], message.bytes[20], message.bytes[21..].to_vec())
}

fn usual() -> Open {
    Open::new(64502, [10, 0, 0, 2])
}

#[test]
fn version_3_is_refused_with_ours() {
    let open = Open { version: 3, ..usual() };
    for session in [Family::V4, Family::V6] {
        let stranger = passive(session);
        assert_eq!(parts(&stranger.refusal(&open)), (2, 1, vec![0, 4]), "{session:?}");
        stranger.speaker.wait_log(&["stranger", "Unsupported Version Number"], SOON);
        let last = stranger.speaker.peer("stranger")["lastError"]["text"].clone();
        assert!(last.as_str().is_some_and(|text| text.contains("Unsupported Version Number")), "{last}");
    }
}

#[test]
fn another_as_is_refused() {
    let open = Open::new(64999, [10, 0, 0, 2]);
    let stranger = passive(Family::V4);
    let refusal = stranger.refusal(&open);
    assert_eq!(refusal.notification(), Some((2, 2)));
    stranger.speaker.wait_log(&["stranger", "Bad Peer AS", "64999"], SOON);
}

#[test]
fn identifier_zero_is_refused() {
    let stranger = passive(Family::V4);
    let refusal = stranger.refusal(&Open::new(64502, [0; 4]));
    assert_eq!(refusal.notification(), Some((2, 3)));
    stranger.speaker.wait_log(&["stranger", "Bad BGP Identifier"], SOON);
}

#[test]
fn hold_times_1_and_2_are_refused() {
    for hold in [1, 2] {
        let stranger = passive(Family::V4);
        let refusal = stranger.refusal(&Open { hold, ..usual() });
        assert_eq!(refusal.notification(), Some((2, 6)), "{hold}");
        stranger.speaker.wait_log(&["stranger", "Unacceptable Hold Time"], SOON);
    }
}

#[test]
fn headers_out_of_step_end_the_session() {
    let header = |marker: u8, length: u16, kind: u8| {
        let mut bytes = vec![marker; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes
    };
    for (bytes, expected) in [
        (header(0, 19, 4), (1, 1, vec![])),
        (header(0xff, 18, 4), (1, 2, vec![0, 18])),
        (header(0xff, 4097, 4), (1, 2, vec![0x10, 0x01])),
        (header(0xff, 19, 9), (1, 3, vec![9])),
        (frame(Type::Update, &[0xff, 0xff, 0, 0]), (3, 1, vec![])),
    ] {
        let stranger = passive(Family::V4);
        let got = parts(&stranger.provoke(&bytes));
        assert_eq!((got.0, got.1), (expected.0, expected.1), "{bytes:?}: {got:?}");
        if !expected.2.is_empty() {
            assert_eq!(got.2, expected.2, "data of {got:?}");
        }
    }
}

#[test]
fn a_second_open_is_a_state_machine_error() {
    let stranger = passive(Family::V4);
    let got = stranger.provoke(&usual().encode());
    assert_eq!(got.notification(), Some((5, 3)));
}

#[test]
fn silence_ends_with_hold_timer_expired() {
    let stranger = passive(Family::V6);
    let (mut fake, _) = stranger.dial(&Open { hold: 3, ..usual() });
    fake.send(&frame(Type::Keepalive, &[]));
    let (last, _) = fake.read_until(Type::Notification, SOON);
    assert_eq!(last.notification(), Some((4, 0)));
    stranger.speaker.wait_log(&["stranger", "Hold Timer Expired"], SOON);
}

/// A NOTIFICATION instead of an OPEN, as from a router that has another speaker on our address: accepted,
/// logged with the advice, and no hot loop.
#[test]
fn a_notification_before_any_open_backs_off() {
    let stranger = Stranger::start(Family::V4, "asn: 64502");
    let refusal = frame(Type::Notification, &[6, 5]);
    let dials = stranger.count_dials(Duration::from_secs(12), &refusal);
    assert!((2..=12).contains(&dials), "{dials} connections in 12 s");
    stranger.speaker.wait_log(&["stranger", "another BGP speaker"], SOON);
    assert_eq!(stranger.speaker.peer("stranger")["name"], "stranger", "it lives");
}

/// A peer that does not ask for a refresh properly is answered; one of an unknown subtype or family is not,
/// and the session stays.
#[test]
fn a_refresh_is_answered_and_strange_ones_are_ignored() {
    let stranger = passive(Family::V4);
    let (mut fake, _) = stranger.dial(&usual());
    fake.send(&frame(Type::Keepalive, &[]));
    // Two families: a route and End-of-RIB each.
    for _ in 0..3 {
        fake.read_until(Type::Update, SOON);
    }
    fake.send(&frame(Type::RouteRefresh, &[0, 1, 77, 1]));
    fake.send(&frame(Type::RouteRefresh, &[0, 25, 0, 65]));
    fake.send(&frame(Type::RouteRefresh, &[0, 1, 0, 1]));
    let wanted = [24, 203, 0, 113];
    loop {
        let (update, _) = fake.read_until(Type::Update, SOON);
        if update.bytes.ends_with(&wanted) {
            break;
        }
    }
    assert_eq!(stranger.speaker.peer("stranger")["state"], "Established");
}

/// A dynamic number of small reads: an UPDATE cut into single octets is one UPDATE.
#[test]
fn a_message_may_come_octet_by_octet() {
    let stranger = passive(Family::V4);
    let (mut fake, _) = stranger.dial(&usual());
    fake.send(&frame(Type::Keepalive, &[]));
    fake.read_until(Type::Keepalive, SOON);
    let attributes =
        [&[0x40, 1, 1, 0][..], &[0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf6], &[0x40, 3, 4, 10, 0, 0, 2]].concat();
    let length = u8::try_from(attributes.len()).unwrap();
    let body = [&[0, 0, 0, length][..], &attributes, &[24, 192, 0, 2]].concat();
    for octet in frame(Type::Update, &body) {
        fake.send(&[octet]);
    }
    tests::wait::eventually(SOON, "the route is received", || {
        let have = stranger.speaker.received("stranger");
        if have == ["192.0.2.0/24"] { Ok(()) } else { Err(format!("{have:?}")) }
    });
}
