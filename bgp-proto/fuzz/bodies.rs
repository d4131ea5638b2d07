//! What the fuzz targets do with their input. The tests of `bgp-proto` include this file as well: they run
//! the committed corpus and mutated golden messages through the same functions.

use bgp_proto::types::{Family, FamilySet};
use bgp_proto::wire::{
    DecodeContext, EncodeContext, Message, Nlri, NlriBlock, PathAttributes, Update, keepalive, read_message,
};
use bytes::BytesMut;

/// A peer that has negotiated everything, one that has nothing, and what lies between.
fn contexts() -> [DecodeContext; 4] {
    let everything = DecodeContext {
        asn4: true,
        external: false,
        families: FamilySet::from_iter(Family::ALL),
        add_path: FamilySet::EMPTY,
        extended_next_hop: true,
        enhanced_refresh: true,
        loopback: false,
        max_message: 65535,
    };
    [
        everything,
        DecodeContext { external: true, max_message: 4096, extended_next_hop: false, ..everything },
        DecodeContext { add_path: FamilySet::from_iter(Family::ALL), asn4: false, ..everything },
        DecodeContext::default(),
    ]
}

/// Reads messages off `octets` until one is faulty or cut off, with each context.
pub fn decode(octets: &[u8]) {
    for context in contexts() {
        let mut buffer = BytesMut::from(octets);
        let mut left = buffer.len();
        loop {
            match read_message(&mut buffer, &context) {
                Ok(Some(message)) => look_at(&message),
                Ok(None) => break,
                Err(error) => {
                    assert!(error.notification.code >= 1 && error.notification.code <= 7, "{error}");
                    assert!(error.notification.encode().len() <= 4096);
                    assert!(!error.detail.is_empty());
                    break;
                }
            }
            assert!(left - buffer.len() >= 19, "a message has a header at least");
            left = buffer.len();
        }
    }
}

/// Uses everything of a message that is computed when it is asked for.
fn look_at(message: &Message) {
    match message {
        Message::Update(update) => {
            for block in update.withdrawn.iter().chain(update.announced.iter().map(|part| &part.nlri)) {
                assert_eq!(block.iter().count(), block.count(), "the iterator skips nothing");
            }
            for issue in &update.issues {
                assert!(!issue.detail.is_empty());
            }
            let _ = (update.disposition(), update.attributes.as_path.as_ref().map(ToString::to_string));
        }
        Message::Notification(notification) => {
            let _ = (notification.to_string(), notification.shutdown_communication());
            let _ = notification.clone().into_hard_reset().hard_reset_inner();
        }
        Message::Open(_) | Message::Keepalive | Message::RouteRefresh(_) => {}
    }
}

/// Reads one message, writes it and reads what was written: it says the same.
pub fn roundtrip(octets: &[u8]) {
    for context in contexts() {
        let Ok(Some(message)) = read_message(&mut BytesMut::from(octets), &context) else { continue };
        let again = match &message {
            Message::Open(open) => open.encode(),
            Message::Notification(sent) if sent.data.len() <= 4075 => sent.encode(),
            Message::Notification(_) => continue,
            Message::Keepalive => keepalive(),
            Message::RouteRefresh(refresh) => refresh.encode(),
            Message::Update(update) => {
                roundtrip_update(update, &context);
                continue;
            }
        };
        let read = read_message(&mut BytesMut::from(&again[..]), &context);
        assert_eq!(read, Ok(Some(message)));
    }
}

fn roundtrip_update(update: &Update, context: &DecodeContext) {
    let encode = EncodeContext {
        asn4: context.asn4,
        add_path: context.add_path,
        extended_next_hop: context.extended_next_hop,
        max_message: context.max_message,
    };
    let mut out = BytesMut::new();
    // Attributes of a full message can be too long for one with another header: that is no fault.
    let Ok(messages) = update.encode(&encode, &mut out) else { return };
    let mut count = 0;
    let mut read = Update::default();
    while let Some(message) = read_message(&mut out, context).expect("what we write is well-formed") {
        let Message::Update(part) = message else { panic!("an UPDATE is written as UPDATEs") };
        assert_eq!(part.issues, [], "what we write has no fault");
        if !part.announced.is_empty() {
            assert_eq!(carried(&part.attributes, context), carried(&update.attributes, context));
        }
        read.withdrawn.extend(part.withdrawn);
        read.announced.extend(part.announced);
        read.end_of_rib = read.end_of_rib.or(part.end_of_rib);
        count += 1;
    }
    assert_eq!(count, messages);
    assert_eq!(read.end_of_rib, update.end_of_rib);
    assert_eq!(all(&read.withdrawn), all(&update.withdrawn));
    let announced = |update: &Update| {
        let parts = update.announced.iter();
        parts.flat_map(|part| part.nlri.iter().map(|nlri| (part.next_hop, nlri))).collect::<Vec<_>>()
    };
    assert_eq!(announced(&read), announced(update));
}

fn all(blocks: &[NlriBlock]) -> Vec<Nlri> {
    blocks.iter().flatten().collect()
}

/// Attributes as far as a session carries them: segments of a confederation have no place in AS4_PATH, and
/// where that attribute is used the merged path is without those that were not in front (RFC 6793 §4.2.3).
fn carried(attributes: &PathAttributes, context: &DecodeContext) -> PathAttributes {
    let mut carried = attributes.clone();
    if let (false, Some(path)) = (context.asn4, &mut carried.as_path) {
        path.segments.retain(|segment| !segment.kind.is_confed());
    }
    carried
}
