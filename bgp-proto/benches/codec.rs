//! How fast the codec is on one core: `cargo bench -p bgp-proto --bench codec`.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "a benchmark reads a clock and may stop at a fault"
)]

mod clock;
mod traffic;

use std::hint::black_box;

use bytes::BytesMut;

use bgp_proto::types::Family;
use bgp_proto::wire::{Message, pack_announcements, read_message};
use clock::{best, report};

/// Decodes every message; says how many and how many prefixes.
fn decode(octets: &[u8]) -> (usize, usize) {
    let context = traffic::decode_context();
    let mut buffer = BytesMut::from(octets);
    let (mut messages, mut prefixes) = (0, 0);
    while let Some(message) = read_message(&mut buffer, &context).expect("it is well-formed") {
        if let Message::Update(update) = &message {
            prefixes += update.announced.iter().map(|part| part.nlri.count()).sum::<usize>();
        }
        black_box(message);
        messages += 1;
    }
    (messages, prefixes)
}

/// The same, and every prefix as a value.
fn decode_and_iterate(octets: &[u8]) -> usize {
    let context = traffic::decode_context();
    let mut buffer = BytesMut::from(octets);
    let mut prefixes = 0;
    while let Some(message) = read_message(&mut buffer, &context).expect("it is well-formed") {
        if let Message::Update(update) = &message {
            for nlri in update.announced.iter().flat_map(|part| &part.nlri) {
                black_box(nlri);
                prefixes += 1;
            }
        }
    }
    prefixes
}

fn main() {
    let updates = traffic::ordinary(181_000);
    let octets = traffic::ordinary_octets(&updates);
    let (messages, prefixes) = decode(&octets);
    println!(
        "ordinary: {messages} UPDATEs, {:.1} octets and {:.1} prefixes on average",
        octets.len() as f64 / messages as f64,
        prefixes as f64 / messages as f64
    );
    report("decode", messages, "UPDATEs", best(|| _ = black_box(decode(&octets))));
    report(
        "decode, every prefix as a value",
        messages,
        "UPDATEs",
        best(|| _ = black_box(decode_and_iterate(&octets))),
    );
    let mut out = BytesMut::with_capacity(octets.len());
    let encode = best(|| {
        out.clear();
        for (attributes, prefixes) in &updates {
            let prefixes = prefixes.iter().copied();
            let context = traffic::encode_context();
            pack_announcements(
                &context,
                Family::Ipv4Unicast,
                attributes,
                &traffic::NEXT_HOP,
                prefixes,
                &mut out,
            )
            .expect("they fit");
        }
    });
    report("encode", messages, "UPDATEs", encode);

    let (attributes, prefixes, octets) = traffic::packed(1_000_000);
    let (messages, _) = decode(&octets);
    println!("packed: {messages} UPDATEs, {} prefixes", prefixes.len());
    report("decode", prefixes.len(), "prefixes", best(|| _ = black_box(decode(&octets))));
    report(
        "decode, every prefix as a value",
        prefixes.len(),
        "prefixes",
        best(|| _ = black_box(decode_and_iterate(&octets))),
    );
    let encode = best(|| {
        out.clear();
        let (context, hop) = (traffic::encode_context(), &traffic::NEXT_HOP);
        let prefixes = prefixes.iter().copied();
        pack_announcements(&context, Family::Ipv4Unicast, &attributes, hop, prefixes, &mut out)
            .expect("they fit");
    });
    report("encode", prefixes.len(), "prefixes", encode);
}
