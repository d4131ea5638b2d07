//! Router solicitations and advertisements (RFC 4861 §4.1, §4.2), without their checksum: the kernel makes and checks it
//! on a raw ICMPv6 socket (RFC 3542 §3.1).

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::l2::frame::Mac;

/// ICMPv6 type of a router solicitation.
pub const SOLICITATION: u8 = 133;
/// ICMPv6 type of a router advertisement.
pub const ADVERTISEMENT: u8 = 134;
/// Where advertisements go.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Where solicitations go.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

const SOURCE_LINK_LAYER: u8 = 1;

/// What a valid packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks for advertisements.
    Solicitation,
    /// Its source is a router.
    Advertisement {
        /// How long it is a default router; zero where it is none.
        lifetime: Duration,
    },
}

/// Reads an ICMPv6 message whose checksum was right. `None`: neither of the two, or not valid; it "MUST silently
/// discard" it then (RFC 4861 §6.1.1, §6.1.2).
#[must_use]
pub fn read(source: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Option<Heard> {
    // "The IP Hop Limit field has a value of 255, i.e., the packet could not possibly have been forwarded by a router",
    // "ICMP Code is 0".
    if hop_limit != 255 || *message.get(1)? != 0 {
        return None;
    }
    match *message.first()? {
        SOLICITATION => {
            // "ICMP length … is 8 or more octets", "If the IP source address is the unspecified address, there is no
            // source link-layer address option in the message."
            let names_itself = options(message.get(8..)?)?;
            (!(source.is_unspecified() && names_itself)).then_some(Heard::Solicitation)
        }
        ADVERTISEMENT => {
            // "IP Source Address is a link-local address", "ICMP length … is 16 or more octets".
            options(message.get(16..)?)?;
            let lifetime = u16::from_be_bytes(message.get(6..8)?.try_into().ok()?);
            let lifetime = Duration::from_secs(lifetime.into());
            source.is_unicast_link_local().then_some(Heard::Advertisement { lifetime })
        }
        _ => None,
    }
}

/// Whether there is a source link-layer address among the options; `None` where one of them is not valid: "All included
/// options have a length that is greater than zero."
fn options(mut octets: &[u8]) -> Option<bool> {
    let mut names_itself = false;
    while !octets.is_empty() {
        let length = usize::from(*octets.get(1)?) * 8;
        let (option, rest) = octets.split_at_checked(length).filter(|_| length > 0)?;
        names_itself |= option.first() == Some(&SOURCE_LINK_LAYER);
        octets = rest;
    }
    Some(names_itself)
}

/// Our advertisement: "A Lifetime of 0 indicates that the router is not a default router" (RFC 4861 §4.2), a hop limit,
/// reachable time and retransmission timer of 0 are "unspecified (by this router)", and no prefix stands in it.
#[must_use]
pub fn advertisement(own: Option<Mac>) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0];
    message.extend([0; 14]);
    with_source(message, own)
}

/// Asks routers to advertise at once.
#[must_use]
pub fn solicitation(own: Option<Mac>) -> Vec<u8> {
    let mut message = vec![SOLICITATION, 0];
    message.extend([0; 6]);
    with_source(message, own)
}

/// Saves the other end a neighbour solicitation.
fn with_source(mut message: Vec<u8>, own: Option<Mac>) -> Vec<u8> {
    if let Some(Mac(octets)) = own {
        message.extend([SOURCE_LINK_LAYER, 1]);
        message.extend(octets);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const NOT_DEFAULT: Option<Heard> = Some(Heard::Advertisement { lifetime: Duration::ZERO });

    /// As FRR 8.4 sends it on an unnumbered interface: hop limit 64, lifetime 1800 s, its Ethernet address.
    const FRR: [u8; 24] = [
        134, 0, 0x12, 0x34, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0xd2, 0x11, 0x22, 0x33, 0x44,
        0x55,
    ];

    #[test]
    fn a_routers_advertisement_is_read() {
        let lifetime = Duration::from_secs(1800);
        assert_eq!(read(ROUTER, 255, &FRR), Some(Heard::Advertisement { lifetime }));
    }

    #[test]
    fn only_a_link_local_source_with_hop_limit_255_is_believed() {
        assert_eq!(read(ROUTER, 254, &FRR), None);
        for source in ["2001:db8::1", "::", "ff02::1", "::1", "fec0::1"] {
            assert_eq!(read(source.parse().unwrap(), 255, &FRR), None, "{source}");
        }
    }

    #[test]
    fn what_we_say_is_no_default_router_and_no_prefix() {
        let said = advertisement(Some(MAC));
        assert_eq!(said, [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(read(ROUTER, 255, &said), NOT_DEFAULT);
        assert_eq!(read(ROUTER, 255, &advertisement(None)), NOT_DEFAULT);
        assert_eq!(solicitation(Some(MAC)), [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(read(ROUTER, 255, &solicitation(Some(MAC))), Some(Heard::Solicitation));
    }

    #[test]
    fn a_solicitation_without_a_source_cannot_name_itself() {
        let nobody = Ipv6Addr::UNSPECIFIED;
        assert_eq!(read(nobody, 255, &solicitation(Some(MAC))), None);
        assert_eq!(read(nobody, 255, &solicitation(None)), Some(Heard::Solicitation));
    }

    #[test]
    fn cut_and_faulty_messages_are_nothing() {
        for length in 0..FRR.len() {
            // Without its only option it is whole.
            let expected = (length == 16).then_some(());
            assert_eq!(read(ROUTER, 255, &FRR[..length]).map(|_| ()), expected, "{length} octets");
        }
        for (at, value) in [(0, 135), (0, 133 ^ 0x80), (1, 1), (17, 0), (17, 2)] {
            let mut faulty = FRR;
            faulty[at] = value;
            assert_eq!(read(ROUTER, 255, &faulty), None, "octet {at} is {value}");
        }
        let mut long = FRR.to_vec();
        long.extend([25, 0]);
        assert_eq!(read(ROUTER, 255, &long), None, "an option of length 0 behind a good one");
    }
}
