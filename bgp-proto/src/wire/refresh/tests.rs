use super::*;
use crate::wire::testing::{fault, hex, message, read};
use crate::wire::{DecodeContext, Message};

fn decode(body: &str) -> Result<Message, DecodeError> {
    read(&message(5, &hex(body)), &DecodeContext::default())
}

fn refresh(afi: u16, safi: u8, kind: RefreshKind) -> Message {
    Message::RouteRefresh(RouteRefresh { family: AfiSafi { afi, safi }, kind })
}

#[test]
fn every_subtype_reads_back() {
    for code in 0..=255 {
        let sent = RouteRefresh { family: AfiSafi { afi: 2, safi: 1 }, kind: RefreshKind::from_code(code) };
        let octets = sent.encode();
        assert_eq!(octets.len(), 23);
        assert_eq!(read(&octets, &DecodeContext::default()), Ok(Message::RouteRefresh(sent)));
    }
}

#[test]
fn a_family_that_is_not_ours_is_kept() {
    assert_eq!(decode("4004 00 47"), Ok(refresh(0x4004, 0x47, RefreshKind::Request)));
}

/// RFC 7313 §5 makes the length of its own two subtypes an error of ROUTE-REFRESH with the message as data.
#[test]
fn a_marker_of_another_length_is_7_1_with_the_whole_message() {
    for body in ["0001 01 01 00", "0001 02 01 0000", "0001 01"] {
        let octets = message(5, &hex(body));
        let data: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let enhanced = DecodeContext { enhanced_refresh: true, ..DecodeContext::default() };
        assert_eq!(fault(&octets, &enhanced), format!("7/1 {data}"));
        // A peer without RFC 7313 does not mean a marker by the reserved octet.
        match body {
            "0001 01" => assert_eq!(fault(&octets, &DecodeContext::default()), "1/2 0016"),
            _ => assert!(decode(body).is_ok()),
        }
    }
}

#[test]
fn a_short_request_is_a_bad_length() {
    for (body, expected) in [("", "1/2 0013"), ("0001", "1/2 0015"), ("0001 00", "1/2 0016")] {
        assert_eq!(fault(&message(5, &hex(body)), &DecodeContext::default()), expected);
    }
}

/// Outbound route filters (RFC 5291), here one that runs past the end (CVE-2023-41360): not looked at.
#[test]
fn filters_behind_a_request_are_not_read() {
    assert_eq!(decode("0001 00 01 01 80 ffff 00"), Ok(refresh(1, 1, RefreshKind::Request)));
    assert_eq!(decode("0001 07 01 01"), Ok(refresh(1, 1, RefreshKind::Unknown(7))));
}
