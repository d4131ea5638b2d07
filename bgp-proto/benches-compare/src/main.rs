//! Two published codecs beside ours, on the same octets and in the same run:
//! `cargo run --release --manifest-path bgp-proto/benches-compare/Cargo.toml`.
//!
//! The three do not do the same work: ours finds the message in a receive buffer and does all of RFC 7606,
//! and keeps NLRI in wire form; the others get one message at a time and make a value of every prefix. The
//! second line of ours makes a value of every prefix as well.

#[path = "../../benches/clock/mod.rs"]
mod clock;
#[path = "../../benches/traffic/mod.rs"]
mod traffic;

use std::hint::black_box;
use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};

use bgp_proto::wire::{Message, read_message};
use bgpkit_parser::models::AsnLength;
use clock::{best, report};
use zettabgp::BgpMessage;

/// Where each message starts and ends.
fn messages(octets: &Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    let mut rest = octets.clone();
    while let Some([high, low]) = rest.get(16..18) {
        messages.push(rest.split_to(usize::from(u16::from_be_bytes([*high, *low]))));
    }
    messages
}

/// How many destinations were read, so that nobody can have left them out.
fn ours(octets: &Bytes, values: bool) -> usize {
    let context = traffic::decode_context();
    let mut buffer = BytesMut::from(&octets[..]);
    let mut prefixes = 0;
    while let Some(Message::Update(update)) = read_message(&mut buffer, &context).expect("well-formed") {
        for part in &update.announced {
            prefixes += part.nlri.count();
            if values {
                part.nlri.iter().for_each(|nlri| _ = black_box(nlri));
            }
        }
        black_box(update);
    }
    prefixes
}

fn bgpkit(messages: &[Bytes]) -> usize {
    let mut prefixes = 0;
    for message in messages {
        let parsed = bgpkit_parser::parser::bgp::messages::parse_bgp_message(
            &mut message.clone(),
            false,
            &AsnLength::Bits32,
        );
        if let bgpkit_parser::models::BgpMessage::Update(update) = parsed.expect("well-formed") {
            prefixes += update.announced_prefixes.len();
            black_box(update);
        }
    }
    prefixes
}

fn zetta(messages: &[Bytes]) -> usize {
    let capabilities = vec![
        zettabgp::BgpCapability::SafiIPv4u,
        zettabgp::BgpCapability::CapASN32(65001),
    ];
    let mut session = zettabgp::BgpSessionParams::new(
        65001,
        180,
        zettabgp::BgpTransportMode::IPv4,
        Ipv4Addr::new(10, 0, 0, 1),
        capabilities,
    );
    session.check_caps();
    session.fuzzy_pathid = false;
    let mut prefixes = 0;
    for message in messages {
        let (_, length) = session.decode_message_head(message).expect("well-formed");
        let mut update = zettabgp::message::update::BgpUpdateMessage::new();
        update.decode_from(&session, &message[19..19 + length]).expect("well-formed");
        prefixes += match &update.updates {
            zettabgp::afi::BgpAddrs::IPV4U(list) => list.len(),
            _ => 0,
        };
        black_box(update);
    }
    prefixes
}

fn compare(octets: &Bytes, prefixes: usize, count: usize, unit: &str) {
    let messages = messages(octets);
    assert_eq!(ours(octets, true), prefixes);
    assert_eq!(bgpkit(&messages), prefixes);
    assert_eq!(zetta(&messages), prefixes);
    report("bgp-proto", count, unit, best(|| _ = black_box(ours(octets, false))));
    report("bgp-proto, every prefix as a value", count, unit, best(|| _ = black_box(ours(octets, true))));
    report("bgpkit-parser 0.23", count, unit, best(|| _ = black_box(bgpkit(&messages))));
    report("zettabgp 0.6", count, unit, best(|| _ = black_box(zetta(&messages))));
}

fn main() {
    let updates = traffic::ordinary(181_000);
    let octets = traffic::ordinary_octets(&updates);
    let prefixes = updates.iter().map(|(_, prefixes)| prefixes.len()).sum();
    println!("decode {} ordinary UPDATEs", updates.len());
    compare(&octets, prefixes, updates.len(), "UPDATEs");
    let (_, prefixes, octets) = traffic::packed(1_000_000);
    println!("decode {} prefixes, packed", prefixes.len());
    compare(&octets, prefixes.len(), prefixes.len(), "prefixes");
}
