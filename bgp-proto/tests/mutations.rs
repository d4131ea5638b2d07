//! Every one-octet change and every cut of a set of golden messages: no panic, no loop, no reading beyond
//! the message, and what is read can be written and read again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

#[expect(unreachable_pub, reason = "the fuzz targets use it too")]
#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::collections::BTreeSet;
use std::path::Path;

/// From every golden file the shortest message of each type and the richest UPDATE of moderate length.
fn golden() -> BTreeSet<Vec<u8>> {
    let mut chosen = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for daemon in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(daemon.unwrap().path()).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let mut messages: Vec<Vec<u8>> = text
                .lines()
                .filter(|line| !line.starts_with('#') && line.len() <= 2 * 160)
                .map(|line| {
                    (0..line.len())
                        .step_by(2)
                        .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
                        .collect()
                })
                .collect();
            messages.sort_by_key(Vec::len);
            for kind in 1..=5 {
                chosen.extend(messages.iter().find(|message| message[18] == kind).cloned());
            }
            chosen.extend(messages.iter().rfind(|message| message[18] == 2).cloned());
        }
    }
    chosen
}

#[test]
fn every_octet_may_be_wrong() {
    let messages = golden();
    assert!(messages.len() > 80, "only {} messages", messages.len());
    for message in &messages {
        for at in 16..message.len() {
            for flip in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff, 0x7f] {
                let mut changed = message.clone();
                changed[at] ^= flip;
                bodies::decode(&changed);
            }
            for value in [0x00, 0xff, 0x21, 0x81] {
                let mut changed = message.clone();
                changed[at] = value;
                bodies::roundtrip(&changed);
            }
        }
    }
}

/// Cut with the header's length left as it was (more is waited for) and with it adjusted.
#[test]
fn every_message_may_end_anywhere() {
    for message in golden() {
        for end in 0..message.len() {
            bodies::decode(&message[..end]);
            let mut cut = message[..end].to_vec();
            if let Some(length) = cut.get_mut(16..18) {
                length.copy_from_slice(&u16::try_from(end).unwrap().to_be_bytes());
                bodies::decode(&cut);
            }
        }
    }
}
