use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ASKER: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// 192.0.2.2 asks for 192.0.2.1.
const ARP_REQUEST: &str =
    "ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 c0000202 000000000000 c0000201";

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn v4(text: &str) -> IpAddr {
    IpAddr::V4(text.parse::<Ipv4Addr>().unwrap())
}

fn v6(text: &str) -> IpAddr {
    IpAddr::V6(text.parse::<Ipv6Addr>().unwrap())
}

#[test]
fn a_request_is_a_question_and_its_answer_goes_to_the_asker_alone() {
    let heard = read(&bytes(ARP_REQUEST)).unwrap();
    assert_eq!(heard, Heard::Question { address: v4("192.0.2.1"), asker: ASKER, from: v4("192.0.2.2") });
    let frame = answer(OWN, v4("192.0.2.1"), ASKER, v4("192.0.2.2")).unwrap();
    let expected = "020000000002 020000000001 0806 0001 0800 06 04 0002
                    020000000001 c0000201 020000000002 c0000202";
    assert_eq!(frame, bytes(expected));
    assert_eq!(read(&frame), Some(Heard::Claim { address: v4("192.0.2.1"), by: OWN }));
}

#[test]
fn a_gratuitous_request_is_a_claim() {
    let frame = unasked(OWN, v4("192.0.2.1"));
    let expected = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001
                    020000000001 c0000201 000000000000 c0000201";
    assert_eq!(frame, bytes(expected));
    assert_eq!(read(&frame), Some(Heard::Claim { address: v4("192.0.2.1"), by: OWN }));
}

#[test]
fn a_probe_for_duplicates_is_a_question() {
    // RFC 5227 §2.1.1: the sender's address is all zero.
    let probe =
        "ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 00000000 000000000000 c0000201";
    let heard = read(&bytes(probe)).unwrap();
    assert_eq!(heard, Heard::Question { address: v4("192.0.2.1"), asker: ASKER, from: v4("0.0.0.0") });
}

/// What a host sends to resolve 2001:db8::1.
fn solicitation(hop_limit: u8, source: &str, destination: &str, option: bool) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    let destination: Ipv6Addr = destination.parse().unwrap();
    let mut message = bytes("8700 0000 00000000 20010db8000000000000000000000001");
    if option {
        message.extend(bytes("0101 020000000002"));
    }
    let mut frame = bytes("3333ff000001 020000000002 86dd 60000000");
    frame.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend([58, hop_limit]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    // RFC 1071, written down a second time on purpose.
    let mut sum: u64 = 58 + message.len() as u64;
    for chunk in [&source.octets()[..], &destination.octets()[..], &message[..]] {
        for pair in chunk.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
    }
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(message);
    frame
}

#[test]
fn a_solicitation_is_a_question_and_is_answered_by_unicast() {
    let frame = solicitation(255, "2001:db8::2", "ff02::1:ff00:1", true);
    let heard = read(&frame).unwrap();
    assert_eq!(heard, Heard::Question { address: v6("2001:db8::1"), asker: ASKER, from: v6("2001:db8::2") });
    let reply = answer(OWN, v6("2001:db8::1"), ASKER, v6("2001:db8::2")).unwrap();
    assert_eq!(reply[..14], bytes("020000000002 020000000001 86dd"));
    // Solicited and Override; the target's address and our link-layer address follow.
    assert_eq!(reply[58], 0x60);
    assert_eq!(reply[62..], bytes("20010db8000000000000000000000001 0201 020000000001"));
    assert_eq!(read(&reply), Some(Heard::Claim { address: v6("2001:db8::1"), by: OWN }));
}

#[test]
fn a_probe_for_duplicates_is_answered_to_all_nodes_without_the_solicited_flag() {
    let frame = solicitation(255, "::", "ff02::1:ff00:1", false);
    let heard = read(&frame).unwrap();
    let Heard::Question { address, asker, from } = heard else { panic!("{heard:?}") };
    let reply = answer(OWN, address, asker, from).unwrap();
    assert_eq!(reply[..6], bytes("333300000001"));
    assert_eq!(reply[58], 0x20);
    assert_eq!(reply, unasked(OWN, v6("2001:db8::1")));
}

#[test]
fn what_rfc_4861_7_1_1_calls_invalid_is_not_heard() {
    assert_eq!(read(&solicitation(254, "2001:db8::2", "ff02::1:ff00:1", true)), None, "it was forwarded");
    assert_eq!(read(&solicitation(255, "::", "2001:db8::1", false)), None, "not to the group");
    assert_eq!(read(&solicitation(255, "::", "ff02::1:ff00:1", true)), None, "with an option");
    let mut damaged = solicitation(255, "2001:db8::2", "ff02::1:ff00:1", true);
    damaged[60] ^= 1;
    assert_eq!(read(&damaged), None, "the checksum is wrong");
}

#[test]
fn the_group_has_the_last_24_bits() {
    let address: Ipv6Addr = "2001:db8::1:2:abcd:1234".parse().unwrap();
    assert_eq!(solicited_node(address), "ff02::1:ffcd:1234".parse::<Ipv6Addr>().unwrap());
}

proptest! {
    #[test]
    fn no_frame_is_too_strange(frame in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = read(&frame);
    }

    #[test]
    fn no_damaged_solicitation_panics(at in 0usize..86, octet: u8, cut in 0usize..86) {
        let mut frame = solicitation(255, "2001:db8::2", "ff02::1:ff00:1", true);
        frame[at] = octet;
        let _ = read(&frame);
        let _ = read(&frame[..cut]);
    }
}
