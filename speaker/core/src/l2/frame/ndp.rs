//! Neighbour solicitations and advertisements (RFC 4861 §4.3, §4.4).

use std::net::{IpAddr, Ipv6Addr};

use super::{Heard, Mac, array, ethernet};

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
/// The S and the O flag; R stays 0, for a Service's address is no router.
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group in which a holder of `address` is asked for it (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = (u128::from(address)) & 0xff_ffff;
    Ipv6Addr::from(0xff02_0000_0000_0000_0000_0001_ff00_0000_u128 | low)
}

pub(super) fn read(packet: &[u8], ethernet_source: Mac) -> Option<Heard> {
    let (header, rest) = packet.split_at_checked(40)?;
    let (version, next, hop_limit) = (header.first()? >> 4, *header.get(6)?, *header.get(7)?);
    // "The IP Hop Limit field has a value of 255, i.e., the packet could not possibly have been forwarded by
    // a router" (RFC 4861 §7.1.1, §7.1.2).
    if version != 6 || next != ICMPV6 || hop_limit != 255 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes(array(header.get(4..6)?)?));
    let source = Ipv6Addr::from(array::<16>(header.get(8..24)?)?);
    let destination = Ipv6Addr::from(array::<16>(header.get(24..40)?)?);
    let message = rest.get(..length)?;
    let (kind, code) = (*message.first()?, *message.get(1)?);
    if !matches!(kind, SOLICITATION | ADVERTISEMENT) || code != 0 {
        return None;
    }
    // "ICMP Checksum is valid." The sum over a message that holds its own checksum is 0.
    if checksum(source, destination, message) != 0 {
        return None;
    }
    let target = Ipv6Addr::from(array::<16>(message.get(8..24)?)?);
    // "Target Address is not a multicast address."
    if target.is_multicast() {
        return None;
    }
    let options = Options::read(message.get(24..)?)?;
    if kind == ADVERTISEMENT {
        let by = options.target.unwrap_or(ethernet_source);
        return Some(Heard::Claim { address: IpAddr::V6(target), by });
    }
    // "If the IP source address is the unspecified address, the IP destination address is a solicited-node
    // multicast address", and "there is no source link-layer address option in the message."
    if source.is_unspecified() && (destination != solicited_node(target) || options.source.is_some()) {
        return None;
    }
    let asker = options.source.unwrap_or(ethernet_source);
    Some(Heard::Question { address: IpAddr::V6(target), asker, from: IpAddr::V6(source) })
}

/// The two options that carry an Ethernet address.
#[derive(Default)]
struct Options {
    source: Option<Mac>,
    target: Option<Mac>,
}

impl Options {
    /// "All included options have a length that is greater than zero."
    fn read(mut octets: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        while !octets.is_empty() {
            let length = usize::from(*octets.get(1)?) * 8;
            if length == 0 {
                return None;
            }
            let (option, rest) = octets.split_at_checked(length)?;
            let mac = || option.get(2..8).and_then(array).map(Mac);
            match option.first() {
                Some(&SOURCE_LINK_LAYER) => found.source = mac(),
                Some(&TARGET_LINK_LAYER) => found.target = mac(),
                _ => {}
            }
            octets = rest;
        }
        Some(found)
    }
}

/// "If the source of the solicitation is the unspecified address, the node MUST set the Solicited flag to
/// zero and multicast the advertisement to the all-nodes address. Otherwise, the node MUST set the Solicited
/// flag to one and unicast the advertisement to the Source Address of the solicitation." (RFC 4861 §7.2.4)
pub(super) fn solicited(own: Mac, address: Ipv6Addr, asker: Mac, from: Ipv6Addr) -> Vec<u8> {
    if from.is_unspecified() {
        return unsolicited(own, address);
    }
    advertisement(own, address, asker, from, SOLICITED | OVERRIDE)
}

/// To all nodes, with the Override flag, so that caches that hold the old holder take the new one.
pub(super) fn unsolicited(own: Mac, address: Ipv6Addr) -> Vec<u8> {
    advertisement(own, address, multicast(ALL_NODES), ALL_NODES, OVERRIDE)
}

fn advertisement(own: Mac, address: Ipv6Addr, to: Mac, destination: Ipv6Addr, flags: u8) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(address.octets());
    message.extend([TARGET_LINK_LAYER, 1]);
    message.extend(own.0);
    let [high, low] = checksum(address, destination, &message).to_be_bytes();
    for (slot, octet) in message.iter_mut().skip(2).zip([high, low]) {
        *slot = octet;
    }
    let mut frame = ethernet(to, own, [0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0]);
    // 32 octets: the message above has one length.
    frame.extend([0, 32, ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(destination.octets());
    frame.extend(message);
    frame
}

/// Where a multicast address goes on Ethernet (RFC 2464 §7).
fn multicast(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// The ICMPv6 checksum over the pseudo-header of RFC 8200 §8.1.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let fixed = [0, 0, 0, ICMPV6];
    let parts: [&[u8]; 5] = [&source.octets(), &destination.octets(), &length, &fixed, message];
    // Every part but the last has an even length, so that words do not straddle parts.
    let words = parts.iter().flat_map(|part| part.chunks(2)).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    });
    let mut sum: u32 = words.fold(0, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
