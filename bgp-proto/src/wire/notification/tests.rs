use proptest::prelude::*;

use super::*;
use crate::wire::testing::{hex, message, read};
use crate::wire::{DecodeContext, Message};

fn notification(code: u8, subcode: u8, data: &str) -> Notification {
    Notification { code, subcode, data: hex(data).into() }
}

#[test]
fn the_registry_is_spoken_in_the_words_of_the_rfcs() {
    for (code, subcode, data, text) in [
        (1, 1, "", "Message Header Error/Connection Not Synchronized (1/1)"),
        (1, 2, "1001", "Message Header Error/Bad Message Length (1/2): length 4097"),
        (1, 3, "63", "Message Header Error/Bad Message Type (1/3): type 99"),
        (2, 0, "", "OPEN Message Error (2/0)"),
        (2, 1, "0004", "OPEN Message Error/Unsupported Version Number (2/1): version 4 is supported"),
        (2, 2, "", "OPEN Message Error/Bad Peer AS (2/2)"),
        (2, 7, "0206 4104", "OPEN Message Error/Unsupported Capability (2/7): data 02064104"),
        (2, 11, "", "OPEN Message Error/Role Mismatch (2/11)"),
        (3, 10, "", "UPDATE Message Error/Invalid Network Field (3/10)"),
        (4, 0, "", "Hold Timer Expired (4/0)"),
        (5, 3, "", "Finite State Machine Error/Receive Unexpected Message in Established State (5/3)"),
        (
            6,
            1,
            "0001 01 000003e8",
            "Cease/Maximum Number of Prefixes Reached (6/1): ipv4-unicast, limit 1000",
        ),
        (6, 2, "0c 7261636b2034206d6f766573", "Cease/Administrative Shutdown (6/2): \"rack 4 moves\""),
        (6, 9, "0402", "Cease/Hard Reset (6/9): Hold Timer Expired (4/2)"),
        (6, 9, "0602 02 6869", "Cease/Hard Reset (6/9): Cease/Administrative Shutdown (6/2): \"hi\""),
        (6, 9, "06", "Cease/Hard Reset (6/9): data 06"),
        (6, 10, "", "Cease/BFD Down (6/10)"),
        (7, 1, "", "ROUTE-REFRESH Message Error/Invalid Message Length (7/1)"),
        (8, 0, "", "Send Hold Timer Expired (8/0)"),
        (6, 99, "", "Cease (6/99)"),
        (77, 3, "ab", "Unknown Error (77/3): data ab"),
    ] {
        assert_eq!(notification(code, subcode, data).to_string(), text);
    }
}

/// IANA, "BGP Error (Notification) Codes" and the subcode registries: how many names each code has.
#[test]
fn every_registered_subcode_has_a_name() {
    let named = |code| (0..=255).filter(|sub| Notification::new(code, *sub).subcode_name().is_some()).count();
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(named), [0, 3, 8, 11, 0, 3, 10, 1, 0, 0]);
}

#[test]
fn a_text_is_cut_between_characters_at_255_octets() {
    let text = "ä".repeat(200);
    let cease = Notification::cease(2, &text);
    assert_eq!(cease.data.len(), 1 + 254);
    assert_eq!(cease.data[0], 254);
    assert_eq!(cease.shutdown_communication().unwrap(), "ä".repeat(127));
    let full = Notification::cease(4, &"x".repeat(300));
    assert_eq!(full.data.len(), 256);
}

#[test]
fn only_shutdown_and_reset_carry_a_text() {
    assert_eq!(Notification::cease(7, "no room here"), Notification::new(6, 7));
    assert_eq!(Notification::cease(2, ""), Notification::new(6, 2));
    assert_eq!(notification(6, 6, "026869").shutdown_communication(), None);
    assert_eq!(Notification::cease(2, "hi").into_hard_reset().shutdown_communication().unwrap(), "hi");
}

/// RFC 9003 §4 and frr#20793: what a peer may send instead of a well-formed text.
#[test]
fn garbage_for_a_text_is_tolerated() {
    assert_eq!(notification(6, 2, "").shutdown_communication(), None);
    assert_eq!(notification(6, 2, "00").shutdown_communication(), None);
    assert_eq!(notification(6, 2, "ff 6869").shutdown_communication().unwrap(), "hi");
    assert_eq!(notification(6, 2, "02 6869 7878").shutdown_communication().unwrap(), "hi");
    assert_eq!(notification(6, 2, "02 ff68").shutdown_communication().unwrap(), "\u{fffd}h");
    let log = notification(6, 2, "05 0a1b5b316d").to_string();
    assert!(!log.contains(['\n', '\u{1b}']), "control characters are escaped: {log:?}");
}

#[test]
fn a_hard_reset_wraps_once_and_unwraps() {
    let inner = notification(4, 0, "");
    let hard = inner.clone().into_hard_reset();
    assert_eq!((hard.code, hard.subcode, &*hard.data), (6, 9, &[4, 0][..]));
    assert_eq!(hard.hard_reset_inner(), Some(inner.clone()));
    assert_eq!(hard.clone().into_hard_reset(), hard);
    assert_eq!(inner.hard_reset_inner(), None);
    assert_eq!(notification(6, 9, "").hard_reset_inner(), None);
    assert_eq!(notification(6, 9, "06").hard_reset_inner(), None);
}

/// A chain of Hard Resets must not become a chain of calls.
#[test]
fn nested_hard_resets_do_not_recurse() {
    let deep = Notification { code: 6, subcode: 9, data: [6, 9].repeat(30_000).into() };
    assert!(deep.to_string().starts_with("Cease/Hard Reset (6/9): Cease/Hard Reset (6/9): data 0609"));
    assert_eq!(deep.shutdown_communication(), None);
}

#[test]
fn data_that_does_not_fit_is_cut_off() {
    let long = Notification { code: 3, subcode: 1, data: vec![7; 60_000].into() };
    assert_eq!(long.encode().len(), 4096);
}

#[test]
fn the_helpers_fill_in_their_data() {
    let limit = Notification::max_prefixes(AfiSafi { afi: 2, safi: 1 }, 5000);
    assert_eq!(&*limit.data, hex("0002 01 00001388"));
    let required = [Capability::RouteRefresh, Capability::Multiprotocol(AfiSafi { afi: 2, safi: 1 })];
    let missing = Notification::unsupported_capability(&required);
    assert_eq!((missing.code, missing.subcode, &*missing.data), (2, 7, &hex("0200 0104 0002 00 01")[..]));
}

#[test]
fn a_notification_is_read_whatever_it_says() {
    let octets = message(3, &hex("fe fd 010203"));
    let expected = notification(0xfe, 0xfd, "010203");
    assert_eq!(read(&octets, &DecodeContext::default()), Ok(Message::Notification(expected)));
}

proptest! {
    #[test]
    fn every_notification_reads_back(
        code: u8, subcode: u8, data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let sent = Notification { code, subcode, data: data.into() };
        let got = read(&sent.encode(), &DecodeContext::default());
        prop_assert_eq!(got, Ok(Message::Notification(sent.clone())));
        let _ = (sent.to_string(), sent.shutdown_communication());
    }

    #[test]
    fn every_text_reads_back_as_its_start(text in ".{0,300}") {
        let said = Notification::cease(2, &text).shutdown_communication().unwrap_or_default();
        prop_assert!(text.starts_with(&said));
        prop_assert!(said.len() <= 255);
        prop_assert!(said.len() == text.len() || said.len() > 251);
    }
}
