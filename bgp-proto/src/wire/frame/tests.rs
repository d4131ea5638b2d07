use super::*;
use crate::wire::testing::{fault, hex, message, read};

fn context(max_message: usize) -> DecodeContext {
    DecodeContext { max_message, ..DecodeContext::default() }
}

#[test]
fn a_keepalive_is_nineteen_octets() {
    assert_eq!(keepalive(), hex("M 0013 04"));
    assert_eq!(read(&keepalive(), &context(4096)), Ok(Message::Keepalive));
}

#[test]
fn a_short_buffer_waits_for_more() {
    let whole = message(1, &hex("04 fde9 005a 0a000001 00"));
    for end in 0..whole.len() {
        let mut buffer = BytesMut::from(&whole[..end]);
        assert_eq!(read_message(&mut buffer, &context(4096)), Ok(None), "{end} octets");
        assert_eq!(buffer.len(), end, "nothing is taken");
    }
}

#[test]
fn messages_come_off_one_after_the_other() {
    let mut buffer = BytesMut::new();
    for _ in 0..3 {
        buffer.extend_from_slice(&keepalive());
    }
    buffer.extend_from_slice(&keepalive()[..7]);
    let mut count = 0;
    while let Some(message) = read_message(&mut buffer, &context(4096)).unwrap() {
        assert_eq!(message, Message::Keepalive);
        count += 1;
    }
    assert_eq!((count, buffer.len()), (3, 7));
}

#[test]
fn the_marker_is_checked_first() {
    assert_eq!(fault(&hex("ffffffffffffffffffffffffffffff7f 0000 63"), &context(4096)), "1/1 ");
}

#[test]
fn the_length_is_checked_before_the_type_and_comes_back_as_data() {
    for (header, expected) in [
        ("M 0012 04", "1/2 0012"),
        ("M 0000 63", "1/2 0000"),
        ("M 1001 02", "1/2 1001"),
        ("M 1001 63", "1/2 1001"),
        ("M ffff 02", "1/2 ffff"),
        ("M 001c 01", "1/2 001c"),
        ("M 0016 02", "1/2 0016"),
        ("M 0014 03", "1/2 0014"),
        ("M 0014 04", "1/2 0014"),
        ("M 0013 05", "1/2 0013"),
        ("M 0013 00", "1/3 00"),
        ("M 0013 06", "1/3 06"),
        ("M 1000 63", "1/3 63"),
    ] {
        assert_eq!(fault(&hex(header), &context(4096)), expected, "{header}");
    }
}

/// The header alone is enough: the rest of an impossible message is not waited for.
#[test]
fn a_bad_header_needs_no_body() {
    let mut buffer = BytesMut::from(&hex("M 0063 63")[..]);
    assert_eq!(read_message(&mut buffer, &context(4096)).unwrap_err().notification.subcode, 3);
}

#[test]
fn the_extended_limit_is_for_updates_and_notifications_not_for_open_and_keepalive() {
    let long = context(65535);
    let mut buffer = BytesMut::from(&hex("M ffff 02")[..]);
    assert_eq!(read_message(&mut buffer, &long), Ok(None));
    assert_eq!(buffer.capacity(), BytesMut::from(&hex("M ffff 02")[..]).capacity(), "nothing is reserved");
    assert_eq!(fault(&hex("M 1001 01"), &long), "1/2 1001");
    assert_eq!(fault(&hex("M 1001 04"), &long), "1/2 1001");
    let text = vec![b'x'; 5000];
    let notification = message(3, &[&[6, 2][..], &text].concat());
    assert!(matches!(read(&notification, &long), Ok(Message::Notification(_))));
    assert_eq!(fault(&notification, &context(4096)), "1/2 139d");
}
