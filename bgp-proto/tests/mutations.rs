//! Every change of one octet and every cut of a set of golden messages: no panic, no loop, no reading beyond
//! the message, what is read can be written and read again; and the outcome is the one that the RFCs ask for,
//! as an oracle of its own says (`oracle/`), from the decoder and from a session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../fuzz/bodies.rs"]
mod bodies;
mod oracle;
#[path = "oracle/session.rs"]
mod session;

use std::collections::BTreeSet;
use std::path::Path;

use bgp_proto::types::{Family, FamilySet};
use bgp_proto::wire::{DecodeContext, Disposition, Message, Nlri, NlriBlock, Update, read_message};
use bytes::BytesMut;
use oracle::{Agreed, Reset, Route, Verdict};

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

/// Every kind of session.
fn agreements() -> impl Iterator<Item = Agreed> {
    (0..8).map(|bits| Agreed {
        asn4: bits & 1 == 0,
        external: bits & 2 == 0,
        add_path: [bits == 5 || bits == 7, bits == 6 || bits == 7],
        extended_next_hop: bits & 4 != 0,
        enhanced_refresh: bits & 4 != 0,
        max_message: if bits & 4 == 0 { 4096 } else { 65535 },
    })
}

fn context(agreed: &Agreed) -> DecodeContext {
    let paths = Family::ALL.into_iter().zip(agreed.add_path);
    DecodeContext {
        asn4: agreed.asn4,
        external: agreed.external,
        families: FamilySet::from_iter(Family::ALL),
        add_path: paths.filter_map(|(family, add_path)| add_path.then_some(family)).collect(),
        extended_next_hop: agreed.extended_next_hop,
        enhanced_refresh: agreed.enhanced_refresh,
        loopback: false,
        max_message: agreed.max_message,
    }
}

fn route(nlri: Nlri) -> Route {
    let (afi, address) = match nlri.prefix.addr() {
        std::net::IpAddr::V4(address) => (1, u128::from(address.to_bits())),
        std::net::IpAddr::V6(address) => (2, address.to_bits()),
    };
    (afi, nlri.path_id, nlri.prefix.len(), address)
}

fn routes<'a>(blocks: impl Iterator<Item = &'a NlriBlock>) -> Vec<Route> {
    blocks.flatten().map(route).collect()
}

/// What the decoder made of it, in the oracle's form.
fn told(update: &Update) -> oracle::Update {
    let codes = |disposition| {
        let issues = update.issues.iter().filter(|issue| issue.disposition == disposition);
        issues.map(|issue| issue.code).collect()
    };
    oracle::Update {
        withdraw: codes(Disposition::TreatAsWithdraw),
        discard: codes(Disposition::AttributeDiscard),
        announced: routes(update.announced.iter().map(|part| &part.nlri)),
        withdrawn: routes(update.withdrawn.iter()),
        end_of_rib: update.end_of_rib.map(|family| family.afi_safi().afi),
    }
}

fn decoded(octets: &[u8], context: &DecodeContext) -> Result<Verdict, Reset> {
    match read_message(&mut BytesMut::from(octets), context) {
        Ok(None) => Ok(Verdict::Waits),
        Ok(Some(Message::Update(update))) => Ok(Verdict::Update(Box::new(told(&update)))),
        Ok(Some(_)) => Ok(Verdict::Fine),
        Err(error) => {
            let sent = error.notification;
            Err((sent.code, sent.subcode, sent.data.to_vec()))
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// How often each outcome came, so that no test is of one kind alone.
#[derive(Debug, Default)]
struct Tally {
    waits: usize,
    resets: usize,
    withdrawn: usize,
    discarded: usize,
    fine: usize,
}

/// The decoder and the oracle agree on `octets`.
fn compare(octets: &[u8], agreed: &Agreed, tally: &mut Tally) {
    let expected = oracle::judge(octets, agreed);
    let found = decoded(octets, &context(agreed));
    let same = match (&expected, &found) {
        (Verdict::Reset(any), Err(reset)) => any.contains(reset),
        (expected, Ok(found)) => expected == found,
        (_, Err(_)) => false,
    };
    assert!(same, "{}\n{agreed:?}\nexpected {expected:?}\nfound {found:?}", hex(octets));
    let count = match &expected {
        Verdict::Waits => &mut tally.waits,
        Verdict::Reset(_) => &mut tally.resets,
        Verdict::Update(update) if !update.withdraw.is_empty() => &mut tally.withdrawn,
        Verdict::Update(update) if !update.discard.is_empty() => &mut tally.discarded,
        _ => &mut tally.fine,
    };
    *count += 1;
}

/// All 255 other values of every octet behind the marker, and one of each octet of the marker.
fn changes(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len()).flat_map(move |at| {
        let values = if at < 16 { 0..=0 } else { 0..=255 };
        values.filter(move |value| *value != message[at]).map(move |value| {
            let mut changed = message.to_vec();
            changed[at] = value;
            changed
        })
    })
}

/// Every cut with its length adjusted; of an UPDATE also every cut of the attributes, with the NLRI left.
fn cuts(message: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let put = |octets: &mut [u8], at: usize, value: usize| {
        octets[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_be_bytes());
    };
    for end in 18..message.len() {
        let mut cut = message[..end].to_vec();
        put(&mut cut, 16, end);
        all.push(cut);
    }
    if message[18] == 2 {
        let at = 21 + usize::from(message[19]) * 256 + usize::from(message[20]);
        let length = usize::from(message[at]) * 256 + usize::from(message[at + 1]);
        for keep in 0..length {
            let mut cut = message[..at + 2 + keep].to_vec();
            cut.extend_from_slice(&message[at + 2 + length..]);
            put(&mut cut, at, keep);
            let whole = cut.len();
            put(&mut cut, 16, whole);
            all.push(cut.clone());
            // And with routes of its own where it has none.
            cut.extend_from_slice(&[24, 192, 0, 2]);
            put(&mut cut, 16, whole + 4);
            all.push(cut);
        }
    }
    all
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
        }
        for cut in cuts(&message) {
            bodies::decode(&cut);
        }
    }
}

#[test]
fn golden_messages_are_fine() {
    let mut tally = Tally::default();
    for message in golden() {
        for agreed in agreements() {
            compare(&message, &agreed, &mut tally);
        }
    }
    // Each one in the sessions that it is from, others in those that it is not.
    assert!(tally.fine > 300 && tally.waits == 0, "{tally:?}");
}

/// Each of the 255 other values of each octet, in the usual kind of session and in one of the others.
#[test]
fn every_wrong_octet_has_the_outcome_of_the_rfcs() {
    let mut tally = Tally::default();
    let kinds: Vec<_> = agreements().collect();
    for message in golden() {
        for (place, changed) in changes(&message).enumerate() {
            compare(&changed, &kinds[0], &mut tally);
            compare(&changed, &kinds[1 + place % 7], &mut tally);
        }
    }
    let Tally { waits, resets, withdrawn, discarded, fine } = tally;
    let least = [waits, resets, withdrawn, discarded, fine].into_iter().min();
    assert!(least > Some(1000), "{waits} {resets} {withdrawn} {discarded} {fine}");
}

#[test]
fn every_cut_has_the_outcome_of_the_rfcs() {
    let mut tally = Tally::default();
    for message in golden() {
        for agreed in agreements() {
            for end in 0..message.len() {
                compare(&message[..end], &agreed, &mut tally);
            }
            for cut in cuts(&message) {
                compare(&cut, &agreed, &mut tally);
            }
        }
    }
    assert!(tally.resets > 1000 && tally.withdrawn > 1000 && tally.waits > 1000, "{tally:?}");
}

/// Two to five wrong octets, from seeds: faults meet.
#[test]
fn several_wrong_octets_have_the_outcome_of_the_rfcs() {
    let mut tally = Tally::default();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let messages: Vec<_> = golden().into_iter().filter(|message| message.len() > 23).collect();
    for round in 0..120_000 {
        let mut changed = messages[round % messages.len()].clone();
        for _ in 0..2 + random(4) {
            let at = 19 + random(changed.len() - 19);
            changed[at] = match random(3) {
                0 => changed[at] ^ (1 << random(8)),
                1 => changed[at].wrapping_add(1),
                _ => u8::try_from(random(256)).unwrap(),
            };
        }
        compare(&changed, &agreements().nth(random(8)).unwrap(), &mut tally);
    }
    assert!(tally.resets > 1000 && tally.withdrawn > 1000 && tally.fine > 1000, "{tally:?}");
}

/// A session in Established ends where the oracle says so, with that NOTIFICATION, and nowhere else.
#[test]
fn a_session_ends_exactly_where_the_rfcs_say() {
    for agreed in agreements().filter(|agreed| !agreed.add_path.contains(&true)) {
        let mut up = session::Up::new(&agreed);
        let mut ends = 0;
        for message in golden() {
            let flips = (16..message.len()).flat_map(|at| {
                [0x01, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff].map(|flip| (at, message[at] ^ flip))
            });
            let flips = flips.map(|(at, value)| {
                let mut changed = message.clone();
                changed[at] = value;
                changed
            });
            for octets in flips.chain(cuts(&message)) {
                ends += usize::from(up.play(&octets, &agreed));
            }
        }
        assert!(ends > 1000, "{ends} ends");
    }
}
