use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::keepalive;

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn peer(rib: Rib) -> Peer {
    Peer {
        rib,
        distinguisher: 0,
        address: [192, 0, 2, 2].into(),
        asn: 4_200_000_000,
        router_id: [10, 0, 0, 2].into(),
        two_octets: false,
        at: (0x0102_0304, 5),
    }
}

/// Octet by octet as RFC 7854 §4 draws it.
#[test]
fn headers_are_laid_out_as_the_rfc_draws_them() {
    let update = keepalive();
    let of = |rib| {
        let octets = encoded(&Message::RouteMonitoring { peer: peer(rib), update: update.clone() });
        (octets[6], octets[7], octets)
    };
    let (kind, flags, octets) = of(Rib::AdjRibIn { post_policy: false });
    let header = "03 00000043 00 00 00 0000000000000000 000000000000000000000000c0000202 fa56ea00 0a000002 01020304 00000005";
    assert_eq!((kind, flags, &octets[..48]), (0, 0, &hex(header)[..]));
    assert_eq!(octets[48..], update);
    let flags = |rib| (of(rib).0, of(rib).1);
    assert_eq!(flags(Rib::AdjRibIn { post_policy: true }), (0, 0x40));
    assert_eq!(flags(Rib::AdjRibOut { post_policy: false }), (0, 0x10));
    assert_eq!(flags(Rib::AdjRibOut { post_policy: true }), (0, 0x50));
    assert_eq!(flags(Rib::LocRib { filtered: false }), (3, 0));
    assert_eq!(flags(Rib::LocRib { filtered: true }), (3, 0x80));
}

#[test]
fn introductions_figures_and_ends_are_laid_out_as_the_rfc_draws_them() {
    let said =
        Message::Initiation(vec![(information::SYS_DESCR, "s".into()), (information::SYS_NAME, "n1".into())]);
    assert_eq!(encoded(&said), hex("03 00000011 04 0001 0001 73 0002 0002 6e31"));
    let bye = Message::Termination { reason: termination::ADMINISTRATIVELY_CLOSED, text: String::new() };
    assert_eq!(encoded(&bye), hex("03 0000000c 05 0001 0002 0000"));
    let family = AfiSafi { afi: 2, safi: 1 };
    let values = vec![
        (statistic::ADJ_RIB_IN, Value::Gauge(3)),
        (statistic::ADJ_RIB_OUT_FAMILY, Value::FamilyGauge(family, 4)),
    ];
    let figures = encoded(&Message::Statistics { peer: peer(Rib::AdjRibIn { post_policy: false }), values });
    assert_eq!(figures[48..], hex("00000002 0007 0008 0000000000000003 0011 000b 0002 01 0000000000000004"));
    let down = |reason| {
        encoded(&Message::PeerDown { peer: peer(Rib::AdjRibIn { post_policy: false }), reason })[48..]
            .to_vec()
    };
    assert_eq!(down(Down::LocalEvent(2)), hex("02 0002"));
    assert_eq!(down(Down::Remote), hex("04"));
    assert_eq!(down(Down::RemoteNotification(keepalive()))[..2], hex("03 ff"));
}

#[test]
fn a_cut_message_waits_and_a_cut_field_is_an_error() {
    let up = PeerUp {
        peer: peer(Rib::AdjRibIn { post_policy: false }),
        local_address: [192, 0, 2, 1].into(),
        local_port: 179,
        remote_port: 40000,
        sent: keepalive(),
        received: keepalive(),
        information: vec![(information::STRING, "x".into())],
    };
    let whole = encoded(&Message::PeerUp(Box::new(up)));
    for end in 0..whole.len() {
        assert_eq!(Message::decode(&mut BytesMut::from(&whole[..end])), Ok(None));
    }
    // With a length that says that this is all: only an end between two fields of information is one.
    for end in HEADER..whole.len() {
        let mut cut = whole[..end].to_vec();
        cut[1..5].copy_from_slice(&u32::try_from(end).unwrap().to_be_bytes());
        let read = Message::decode(&mut BytesMut::from(&cut[..]));
        assert_eq!(read.is_ok(), end == whole.len() - 5, "cut at {end}: {read:?}");
    }
}

fn ribs() -> impl Strategy<Value = Rib> {
    prop_oneof![
        any::<bool>().prop_map(|post_policy| Rib::AdjRibIn { post_policy }),
        any::<bool>().prop_map(|post_policy| Rib::AdjRibOut { post_policy }),
        any::<bool>().prop_map(|filtered| Rib::LocRib { filtered }),
    ]
}

fn peers() -> impl Strategy<Value = Peer> {
    let ids = (any::<u64>(), any::<IpAddr>(), any::<u32>(), any::<Ipv4Addr>());
    (ribs(), ids, any::<bool>(), any::<(u32, u32)>()).prop_map(
        |(rib, (distinguisher, address, asn, router_id), two_octets, at)| {
            let local = matches!(rib, Rib::LocRib { .. });
            let address = if local { Ipv4Addr::UNSPECIFIED.into() } else { address };
            Peer { rib, distinguisher, address, asn, router_id, two_octets: two_octets && !local, at }
        },
    )
}

fn octets() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..80).prop_map(Bytes::from)
}

/// A message by its header's length.
fn messages_of_bgp() -> impl Strategy<Value = Bytes> {
    octets().prop_map(|body| {
        let mut message = vec![0xff; 16];
        message.extend(u16::try_from(body.len() + 19).unwrap().to_be_bytes());
        message.push(1);
        message.extend(body);
        message.into()
    })
}

fn texts() -> impl Strategy<Value = Vec<(u16, String)>> {
    proptest::collection::vec((0..4u16, "[a-z ]{0,20}"), 0..4)
}

fn messages() -> impl Strategy<Value = Message> {
    let value = prop_oneof![
        any::<u32>().prop_map(Value::Counter),
        any::<u64>().prop_map(Value::Gauge),
        (any::<u16>(), any::<u8>(), any::<u64>())
            .prop_map(|(afi, safi, gauge)| Value::FamilyGauge(AfiSafi { afi, safi }, gauge)),
    ];
    let down = prop_oneof![
        messages_of_bgp().prop_map(Down::LocalNotification),
        any::<u16>().prop_map(Down::LocalEvent),
        messages_of_bgp().prop_map(Down::RemoteNotification),
        Just(Down::Remote),
        Just(Down::Deconfigured),
        (6..=255u8, octets()).prop_map(|(reason, data)| Down::Other(reason, data)),
    ];
    let up = (peers(), any::<(u16, u16)>(), any::<[u8; 16]>(), messages_of_bgp(), messages_of_bgp(), texts())
        .prop_map(|(peer, (local_port, remote_port), local, sent, received, information)| {
            let [a, b, c, d, ..] = local;
            let local_address =
                if peer.address.is_ipv6() { IpAddr::from(local) } else { IpAddr::from([a, b, c, d]) };
            Message::PeerUp(Box::new(PeerUp {
                peer,
                local_address,
                local_port,
                remote_port,
                sent,
                received,
                information,
            }))
        });
    prop_oneof![
        (peers(), messages_of_bgp()).prop_map(|(peer, update)| Message::RouteMonitoring { peer, update }),
        (peers(), proptest::collection::vec((any::<u16>(), value), 0..5))
            .prop_map(|(peer, values)| Message::Statistics { peer, values }),
        (peers(), down).prop_map(|(peer, reason)| Message::PeerDown { peer, reason }),
        up,
        texts().prop_map(Message::Initiation),
        (any::<u16>(), "[a-z]{0,9}").prop_map(|(reason, text)| Message::Termination { reason, text }),
        (6..=255u8, octets()).prop_map(|(kind, octets)| Message::Other { kind, octets }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(messages in proptest::collection::vec(messages(), 0..5)) {
        let mut out = Vec::new();
        messages.iter().for_each(|message| message.encode(&mut out));
        let mut buffer = BytesMut::from(&out[..]);
        for message in messages {
            prop_assert_eq!(Message::decode(&mut buffer).unwrap(), Some(message));
        }
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn any_octets_are_a_message_or_an_error(mut octets in proptest::collection::vec(any::<u8>(), 6..200), kind in 0..6u8) {
        let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
        octets[0] = VERSION;
        octets[1..5].copy_from_slice(&length);
        octets[5] = kind;
        let _ = Message::decode(&mut BytesMut::from(&octets[..]));
    }
}
