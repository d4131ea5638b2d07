use bgp_proto::types::FamilySet;

use super::super::testing::{prefix, prefixes};
use super::*;

fn encoding(family: Family) -> Encoding {
    Encoding {
        family,
        next_hop: Some(NextHop::V4("10.0.0.1".parse().unwrap())),
        context: EncodeContext { asn4: true, ..EncodeContext::default() },
    }
}

fn message(length: usize) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(length).unwrap().to_be_bytes());
    message.resize(length, 2);
    message
}

#[test]
fn chunks_end_where_messages_end() {
    let lengths = [4096, 23, 60_000, 1418, 65_535, 19, 65_535, 30];
    let all: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
    let chunks = chunks(Bytes::from(all.clone()));
    let sizes: Vec<usize> = chunks.iter().map(Bytes::len).collect();
    assert_eq!(sizes, [4096 + 23 + 60_000, 1418, 65_535, 19, 65_535, 30]);
    assert_eq!(chunks.concat(), all);
    assert!(super::chunks(Bytes::new()).is_empty());
}

#[test]
fn a_table_without_next_hop_can_only_withdraw() {
    let mut pending = Pending { withdraw: vec![prefix("192.0.2.0/24")], ..Pending::default() };
    let set = Arc::new(AttributeSet { id: 1, attributes: PathAttributes::default() });
    pending.announce(&set, prefix("203.0.113.0/24"));
    let span = pending.encode(&Encoding { next_hop: None, ..encoding(Family::Ipv4Unicast) });
    assert_eq!((span.announced, span.withdrawn, span.messages), (0, 2, 1));
}

#[test]
fn at_the_limit_what_has_no_replacement_is_withdrawn_first() {
    let set = Arc::new(AttributeSet { id: 1, attributes: PathAttributes::default() });
    let mut pending = Pending { at_limit: true, ..Pending::default() };
    pending.announce(&set, prefix("203.0.112.0/23"));
    pending.announce(&set, prefix("192.0.2.128/25"));
    pending.withdraw =
        prefixes(["203.0.113.0/24", "192.0.2.0/24", "198.51.100.0/24", "192.0.2.0/25"]).into_iter().collect();
    let (first, last) = pending.withdrawals();
    assert_eq!(first, ["192.0.2.0/25", "198.51.100.0/24"].map(prefix));
    assert_eq!(last, ["192.0.2.0/24", "203.0.113.0/24"].map(prefix));
    pending.at_limit = false;
    assert_eq!(pending.withdrawals(), (vec![], pending.withdraw.clone()));
}

#[test]
fn the_marker_is_a_span_of_its_own() {
    for family in Family::ALL {
        let span = Span::end_of_rib(family);
        assert!(span.end_of_rib);
        assert_eq!((span.messages, span.octets()), (1, span.bytes[0].len()));
    }
}

#[test]
fn a_peer_with_add_path_gets_path_identifiers() {
    use bgp_proto::wire::{DecodeContext, Message, read_message};
    let family = Family::Ipv4Unicast;
    let mut encoding = encoding(family);
    encoding.context.add_path = FamilySet::from_iter([family]);
    let attributes = PathAttributes {
        origin: Some(bgp_proto::wire::Origin::Igp),
        as_path: Some(bgp_proto::wire::AsPath::default()),
        ..PathAttributes::default()
    };
    let mut pending = Pending { withdraw: vec![prefix("192.0.2.0/24")], ..Pending::default() };
    pending.announce(&Arc::new(AttributeSet { id: 1, attributes }), prefix("203.0.113.0/24"));
    let span = pending.encode(&encoding);
    let context =
        DecodeContext { asn4: true, add_path: encoding.context.add_path, ..DecodeContext::default() };
    let mut identifiers = Vec::new();
    for chunk in &span.bytes {
        let mut buffer = BytesMut::from(&chunk[..]);
        while let Some(Message::Update(update)) = read_message(&mut buffer, &context).unwrap() {
            let announced = update.announced.iter().flat_map(|block| block.nlri.iter().collect::<Vec<_>>());
            let withdrawn = update.withdrawn.iter().flat_map(|block| block.iter().collect::<Vec<_>>());
            identifiers.extend(announced.chain(withdrawn).map(|nlri| nlri.path_id));
        }
    }
    assert_eq!(identifiers, [Some(PATH_ID), Some(PATH_ID)]);
}
