use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::types::{Asn, Community};
use crate::wire::{AsPath, AsPathSegment, NextHop, Origin, PathAttributes, SegmentKind};

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn encoded(body: Body, microseconds: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    Record { seconds: 0x0102_0304, microseconds, body }.encode(&mut out).unwrap();
    out
}

fn read_all(octets: Vec<u8>) -> Result<Vec<Record>, Malformed> {
    let mut file = Bytes::from(octets);
    let mut all = Vec::new();
    while let Some(record) = Record::decode(&mut file)? {
        all.push(record);
    }
    Ok(all)
}

/// Octet by octet as RFC 6396 §4.3 draws them.
#[test]
fn a_table_is_laid_out_as_the_rfc_draws_it() {
    let index = Body::PeerIndexTable(PeerIndexTable {
        collector: [10, 0, 0, 1].into(),
        view: "v".to_owned(),
        peers: vec![
            IndexedPeer { router_id: [10, 0, 0, 2].into(), address: [192, 0, 2, 2].into(), asn: 64502 },
            IndexedPeer {
                router_id: [10, 0, 0, 3].into(),
                address: "2001:db8::3".parse().unwrap(),
                asn: 4_200_000_000,
            },
        ],
    });
    let expected = "01020304 000d 0001 00000030 0a000001 0001 76 0002
         02 0a000002 c0000202 0000fbf6
         03 0a000003 20010db8000000000000000000000003 fa56ea00";
    let expected = hex(expected);
    assert_eq!(encoded(index, None)[12..], expected[12..]);
    let attributes = PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::default()),
        ..PathAttributes::default()
    };
    let v6 = NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: None };
    let rib = |path_id| {
        Body::Rib(Rib {
            sequence: 7,
            prefix: "2001:db8:1::/48".parse().unwrap(),
            entries: vec![RibEntry {
                peer: 1,
                originated: 0x0a0b_0c0d,
                path_id,
                attributes: encode_attributes(&attributes, v6),
            }],
        })
    };
    // MP_REACH_NLRI abbreviated: the length of the next hop and the next hop, and nothing else.
    let attributes = "800e11 10 20010db8000000000000000000000001 400101 00 400200";
    let plain =
        format!("01020304 000d 0004 0000002e 00000007 30 20010db80001 0001 0001 0a0b0c0d 001b {attributes}");
    assert_eq!(encoded(rib(None), None)[12..], hex(&plain)[12..]);
    let with_id = format!("00000007 30 20010db80001 0001 0001 0a0b0c0d 00000005 001b {attributes}");
    let octets = encoded(rib(Some(5)), None);
    assert_eq!((&octets[4..8], &octets[12..]), (&hex("000d 000a")[..], &hex(&with_id)[..]));
}

#[test]
fn messages_have_the_subtype_of_their_direction_and_widths() {
    let subtype = |asn4, sent, add_path| {
        let peering = Peering {
            peer_asn: 4_200_000_000,
            local_asn: 64501,
            interface: 0,
            ends: Ends::new([192, 0, 2, 2].into(), [192, 0, 2, 1].into()),
            asn4,
        };
        let message = crate::wire::keepalive();
        let octets = encoded(Body::Message(PeerMessage { peering, sent, add_path, message }), None);
        (octets[7], octets)
    };
    let [false, true] = [false, true] else { unreachable!() };
    for (asn4, expected) in [(false, [1, 6, 8, 10]), (true, [4, 7, 9, 11])] {
        let flags = [(false, false), (true, false), (false, true), (true, true)];
        assert_eq!(flags.map(|(sent, add_path)| subtype(asn4, sent, add_path).0), expected);
    }
    // AS_TRANS stands for a number that two octets cannot hold.
    let marker = "ff".repeat(16);
    let two = format!("5ba0 fbf5 0000 0001 c0000202 c0000201 {marker} 0013 04");
    assert_eq!(subtype(false, false, false).1[12..], hex(&two));
    let four = format!("fa56ea00 0000fbf5 0000 0001 c0000202 c0000201 {marker} 0013 04");
    assert_eq!(subtype(true, true, false).1[12..], hex(&four));
}

#[test]
fn a_cut_record_is_an_error_wherever_it_is_cut() {
    let rib = Body::Rib(Rib {
        sequence: 0,
        prefix: "192.0.2.0/24".parse().unwrap(),
        entries: vec![RibEntry {
            peer: 0,
            originated: 0,
            path_id: Some(1),
            attributes: Bytes::from_static(&[1; 9]),
        }],
    });
    let whole = encoded(rib, None);
    for end in 1..whole.len() {
        assert!(read_all(whole[..end].to_vec()).is_err(), "cut at {end}");
        // And with a length that fits, so that the fields inside are cut.
        if let Some(length) = end.checked_sub(12) {
            let mut cut = whole[..end].to_vec();
            cut[8..12].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            assert!(read_all(cut).is_err(), "a record of {length}");
        }
    }
    let mut longer = whole;
    longer.push(0);
    longer[11] += 1;
    assert!(read_all(longer).unwrap_err().to_string().contains("1 octets are left"));
}

#[test]
fn attributes_that_are_wrong_are_not_taken() {
    let of = |text| decode_attributes(&Bytes::from(hex(text)));
    assert!(of("400101 00 400200").unwrap_err().to_string().contains("next hop"));
    assert!(of("400101 07 400200 400304 0a000001").unwrap_err().to_string().contains("ORIGIN"));
    assert!(of("400304 0a0000").is_err());
    assert!(of("400305 0a00000100").is_err());
    assert!(of("800e05 04 0a000001 400101").is_err());
    // In full, as some write it.
    let full = "800e16 0002 01 10 20010db8000000000000000000000001 00 00 400101 00 400200";
    let (_, next_hop) = of(full).unwrap();
    assert_eq!(next_hop, NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: None });
}

fn prefixes() -> impl Strategy<Value = Prefix> {
    (any::<bool>(), any::<u128>(), 0..=128u8).prop_map(|(v6, bits, length)| {
        let address: IpAddr = if v6 {
            Ipv6Addr::from_bits(bits).into()
        } else {
            Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap()).into()
        };
        Prefix::new(address, if v6 { length } else { length % 33 }).unwrap()
    })
}

fn octets(most: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), any::<Ipv6Addr>().prop_map(IpAddr::V6)]
}

fn peerings() -> impl Strategy<Value = Peering> {
    (any::<[u32; 2]>(), any::<u16>(), addresses(), addresses(), any::<bool>()).prop_map(
        |([peer_asn, local_asn], interface, peer, local, asn4)| {
            let narrow = |asn: u32| if asn4 { asn } else { asn & 0xffff };
            let (peer_asn, local_asn) = (narrow(peer_asn), narrow(local_asn));
            Peering { peer_asn, local_asn, interface, ends: Ends::new(peer, local), asn4 }
        },
    )
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Idle), Just(State::Active), Just(State::OpenConfirm), Just(State::Established)]
}

fn bodies() -> impl Strategy<Value = Body> {
    let peer = (any::<Ipv4Addr>(), addresses(), any::<u32>())
        .prop_map(|(router_id, address, asn)| IndexedPeer { router_id, address, asn });
    let index = (any::<Ipv4Addr>(), "[a-z]{0,9}", proptest::collection::vec(peer, 0..5))
        .prop_map(|(collector, view, peers)| Body::PeerIndexTable(PeerIndexTable { collector, view, peers }));
    let entry = (any::<u16>(), any::<[u32; 2]>(), octets(40));
    let rib = (any::<u32>(), prefixes(), any::<bool>(), proptest::collection::vec(entry, 0..4)).prop_map(
        |(sequence, prefix, add_path, entries)| {
            let entries = entries.into_iter().map(|(peer, [originated, id], attributes)| RibEntry {
                peer,
                originated,
                path_id: add_path.then_some(id),
                attributes,
            });
            Body::Rib(Rib { sequence, prefix, entries: entries.collect() })
        },
    );
    let message = (peerings(), any::<bool>(), any::<bool>(), octets(60)).prop_map(
        |(peering, sent, add_path, message)| Body::Message(PeerMessage { peering, sent, add_path, message }),
    );
    let change = (peerings(), states(), states())
        .prop_map(|(peering, old, new)| Body::StateChange(StateChange { peering, old, new }));
    let other = (20..99u16, any::<u16>(), octets(60)).prop_map(|(kind, subtype, octets)| Body::Other {
        kind,
        subtype,
        octets,
    });
    prop_oneof![index, rib, message, change, other]
}

fn routes() -> impl Strategy<Value = (PathAttributes, NextHop)> {
    let next_hop = prop_oneof![
        any::<Ipv4Addr>().prop_map(NextHop::V4),
        (any::<Ipv6Addr>(), any::<Option<Ipv6Addr>>())
            .prop_map(|(address, link_local)| NextHop::V6 { address, link_local }),
    ];
    let asns = proptest::collection::vec(1..u32::MAX, 1..600);
    let attributes = (asns, any::<[Option<u32>; 2]>(), proptest::collection::vec(any::<u32>(), 0..300));
    (attributes, next_hop).prop_map(|((asns, [med, local_pref], communities), next_hop)| {
        // A segment of the wire has 255 at most.
        let segments = asns.chunks(255).map(|asns| AsPathSegment {
            kind: SegmentKind::Sequence,
            asns: asns.iter().filter_map(|asn| Asn::new(*asn)).collect(),
        });
        let attributes = PathAttributes {
            origin: Some(Origin::Incomplete),
            as_path: Some(AsPath { segments: segments.collect() }),
            med,
            local_pref,
            communities: communities.into_iter().map(Community).collect(),
            ..PathAttributes::default()
        };
        (attributes, next_hop)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        records in proptest::collection::vec((any::<u32>(), any::<Option<u32>>(), bodies()), 0..6)
    ) {
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for (seconds, microseconds, body) in records {
            let timed = matches!(body, Body::Message(_) | Body::StateChange(_));
            let record = Record { seconds, microseconds: microseconds.filter(|_| timed), body };
            record.encode(&mut out).unwrap();
            expected.push(record);
        }
        prop_assert_eq!(read_all(out).unwrap(), expected);
    }

    #[test]
    fn attributes_of_a_route_are_read_back((attributes, next_hop) in routes()) {
        let octets = encode_attributes(&attributes, next_hop);
        prop_assert_eq!(decode_attributes(&octets).unwrap(), (attributes, next_hop));
    }

    #[test]
    fn any_octets_are_a_record_or_an_error(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_attributes(&Bytes::from(octets.clone()));
        let _ = read_all(octets);
    }
}
