//! A table dump (MRT, RFC 6396 §4.3) of bare IPv4 routes: how GoBGP is given thousands of routes at once.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

const TABLE_DUMP_V2: u16 = 13;

/// The dump: one peer, each prefix with ORIGIN IGP, an empty AS_PATH and `next_hop`.
///
/// # Panics
/// Never: every length fits its field.
#[must_use]
pub fn dump(prefixes: &[Ipv4Net], next_hop: Ipv4Addr) -> Vec<u8> {
    let id = next_hop.octets();
    // Collector, empty view name, one peer: IPv4 address, 4-octet AS 0.
    let peers = [&id[..], &[0, 0, 0, 1, 0b10], &id, &id, &[0; 4]].concat();
    let mut out = record(1, &peers);
    let attributes = [&[0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4][..], &id].concat();
    for (sequence, prefix) in prefixes.iter().enumerate() {
        let octets = usize::from(prefix.prefix_len()).div_ceil(8);
        let mut body = u32::try_from(sequence).expect("sequence number").to_be_bytes().to_vec();
        body.push(prefix.prefix_len());
        body.extend(&prefix.network().octets()[..octets]);
        // One entry, of peer 0, originated at 0.
        body.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        body.extend(u16::try_from(attributes.len()).expect("length of attributes").to_be_bytes());
        body.extend(&attributes);
        out.extend(record(2, &body));
    }
    out
}

fn record(subtype: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(TABLE_DUMP_V2.to_be_bytes());
    out.extend(subtype.to_be_bytes());
    out.extend(u32::try_from(body.len()).expect("length of a record").to_be_bytes());
    out.extend(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_the_layout_of_rfc_6396() {
        let bytes = dump(&["192.0.2.0/24".parse().unwrap()], [10, 0, 0, 2].into());
        let index = [
            &[0, 0, 0, 0, 0, 13, 0, 1, 0, 0, 0, 21][..],
            &[10, 0, 0, 2, 0, 0, 0, 1, 2, 10, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0],
        ]
        .concat();
        let rib = [
            &[0, 0, 0, 0, 0, 13, 0, 2, 0, 0, 0, 32][..],
            &[0, 0, 0, 0, 24, 192, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 14],
            &[0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 2],
        ]
        .concat();
        assert_eq!(bytes, [index, rib].concat());
    }
}
