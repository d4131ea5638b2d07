//! ARP for IPv4 over Ethernet (RFC 826), with the conflict rules of RFC 5227.

use std::net::{IpAddr, Ipv4Addr};

use super::{Heard, Mac, array, ethernet};

/// Ethernet, IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

pub(super) fn read(payload: &[u8]) -> Option<Heard> {
    if payload.get(..6)? != ETHERNET_IPV4 {
        return None;
    }
    let operation = payload.get(6..8)?;
    let sender = Mac(array(payload.get(8..14)?)?);
    let from = Ipv4Addr::from(array::<4>(payload.get(14..18)?)?);
    let target = Ipv4Addr::from(array::<4>(payload.get(24..28)?)?);
    if operation == REQUEST && from != target {
        return Some(Heard::Question { address: IpAddr::V4(target), asker: sender, from: IpAddr::V4(from) });
    }
    // "an ARP packet (Request *or* Reply) where the 'sender IP address' is (one of) the host's own IP
    // address(es)" is a conflict (RFC 5227 §2.4).
    (operation == REQUEST || operation == REPLY)
        .then_some(Heard::Claim { address: IpAddr::V4(from), by: sender })
}

pub(super) fn reply(own: Mac, address: Ipv4Addr, asker: Mac, from: Ipv4Addr) -> Vec<u8> {
    packet(asker, REPLY, own, address, asker, from)
}

/// "An ARP Announcement is identical to the ARP Probe described above, except that now the sender and target
/// IP addresses are both set to the host's newly selected IPv4 address" (RFC 5227 §2.3).
pub(super) fn gratuitous(own: Mac, address: Ipv4Addr) -> Vec<u8> {
    packet(Mac::BROADCAST, REQUEST, own, address, Mac([0; 6]), address)
}

fn packet(
    to: Mac,
    operation: [u8; 2],
    own: Mac,
    address: Ipv4Addr,
    target: Mac,
    target_ip: Ipv4Addr,
) -> Vec<u8> {
    let mut frame = ethernet(to, own, [0x08, 0x06]);
    frame.extend(ETHERNET_IPV4);
    frame.extend(operation);
    frame.extend(own.0);
    frame.extend(address.octets());
    frame.extend(target.0);
    frame.extend(target_ip.octets());
    frame
}
