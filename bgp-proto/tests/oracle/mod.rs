//! What the RFCs say of a message, written down once more and without looking at the decoder: RFC 4271 §6.1
//! to §6.3 as RFC 7606 revises them, RFC 4760, RFC 6793 §6, RFC 7607, RFC 7313 §5, RFC 8092 §6, RFC 8950 §3 and
//! RFC 9234 §5. It knows no speed and no types: octets in, a verdict out.
//!
//! Not judged here: what right values mean (communities, merged paths; golden.rs has those), the content of
//! capabilities other than the AS number, and the content of a NOTIFICATION, which cannot be wrong.

use std::collections::BTreeSet;

mod update;

/// What a session agreed on, as far as it matters.
#[derive(Debug, Clone, Copy)]
pub struct Agreed {
    pub asn4: bool,
    pub external: bool,
    /// ADD-PATH for IPv4 and for IPv6. Both families are negotiated.
    pub add_path: [bool; 2],
    /// RFC 8950.
    pub extended_next_hop: bool,
    /// The peer announced RFC 7313.
    pub enhanced_refresh: bool,
    pub max_message: usize,
}

/// AFI, path identifier, prefix length, and the address's octets behind one another, host bits cleared.
pub type Route = (u16, Option<u32>, u8, u128);

/// Code, subcode, data.
pub type Reset = (u8, u8, Vec<u8>);

/// What is done about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is not whole yet.
    Waits,
    /// The session ends with one of these: where there are several faults of the same weight, no RFC says
    /// which one is told.
    Reset(Vec<Reset>),
    /// An UPDATE that the session survives.
    Update(Box<Update>),
    /// Another message in order.
    Fine,
}

/// What an UPDATE comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Codes of attributes that ask for treat-as-withdraw.
    pub withdraw: BTreeSet<u8>,
    /// Codes of attributes that are discarded for a fault.
    pub discard: BTreeSet<u8>,
    pub announced: Vec<Route>,
    pub withdrawn: Vec<Route>,
    /// The AFI whose End-of-RIB it is.
    pub end_of_rib: Option<u16>,
}

fn u16_at(octets: &[u8], at: usize) -> usize {
    usize::from(octets[at]) * 256 + usize::from(octets[at + 1])
}

/// The first message of `octets`.
pub fn judge(octets: &[u8], agreed: &Agreed) -> Verdict {
    if octets.len() < 19 {
        return Verdict::Waits;
    }
    // RFC 4271 §6.1.
    if octets[..16].iter().any(|octet| *octet != 0xff) {
        return Verdict::Reset(vec![(1, 1, vec![])]);
    }
    let length = u16_at(octets, 16);
    let kind = octets[18];
    let bad = match kind {
        1 => !(29..=4096).contains(&length),
        2 => !(23..=agreed.max_message).contains(&length),
        3 => !(21..=agreed.max_message).contains(&length),
        4 => length != 19,
        _ => !(19..=agreed.max_message).contains(&length),
    };
    if bad {
        return Verdict::Reset(vec![(1, 2, octets[16..18].to_vec())]);
    }
    if !(1..=5).contains(&kind) {
        return Verdict::Reset(vec![(1, 3, vec![kind])]);
    }
    if octets.len() < length {
        return Verdict::Waits;
    }
    let message = &octets[..length];
    match kind {
        1 => open(message),
        2 => update::judge(message, agreed),
        5 => refresh(message, agreed),
        _ => Verdict::Fine,
    }
}

/// RFC 7313 §5 for its own subtypes, "applicable only when a BGP speaker has received the "Enhanced Route
/// Refresh Capability" from a peer"; four octets are what RFC 2918 §3 has, and filters may be behind them.
fn refresh(message: &[u8], agreed: &Agreed) -> Verdict {
    let body = &message[19..];
    let marker = body.len() > 2 && (body[2] == 1 || body[2] == 2);
    if agreed.enhanced_refresh && marker && body.len() != 4 {
        return Verdict::Reset(vec![(7, 1, message.to_vec())]);
    }
    if body.len() < 4 {
        return Verdict::Reset(vec![(1, 2, message[16..18].to_vec())]);
    }
    Verdict::Fine
}

/// RFC 4271 §6.2.
fn open(message: &[u8]) -> Verdict {
    let mut faults: Vec<Reset> = Vec::new();
    if message[19] != 4 {
        faults.push((2, 1, vec![0, 4]));
    }
    let my_as = u16_at(message, 20);
    // RFC 7607 §2.
    if my_as == 0 {
        faults.push((2, 2, vec![]));
    }
    if matches!(u16_at(message, 22), 1 | 2) {
        faults.push((2, 6, vec![]));
    }
    // RFC 6286 §2.2.
    if message[24..28] == [0; 4] {
        faults.push((2, 3, vec![]));
    }
    let malformed = (2, 0, vec![]);
    // RFC 9072 §2.
    let extended = message[28] != 0 && message.len() > 29 && message[29] == 255;
    let (mut at, says) = match (extended, message.len()) {
        (false, _) => (29, usize::from(message[28])),
        (true, 32..) => (32, u16_at(message, 30)),
        (true, _) => (message.len(), usize::MAX),
    };
    if says != message.len() - at {
        faults.push(malformed.clone());
        return Verdict::Reset(faults);
    }
    let mut four_octets = None;
    while at < message.len() {
        let header = if extended { 3 } else { 2 };
        if message.len() - at < header {
            faults.push(malformed.clone());
            break;
        }
        let kind = message[at];
        let length = if extended { u16_at(message, at + 1) } else { usize::from(message[at + 1]) };
        at += header;
        if message.len() - at < length {
            faults.push(malformed.clone());
            break;
        }
        if kind == 2 {
            capabilities(&message[at..at + length], &mut four_octets, &mut faults);
        } else {
            faults.push((2, 4, vec![]));
        }
        at += length;
    }
    // RFC 6793 §4.1: the capability has the number, the field the same one or AS_TRANS, which is nobody's.
    if let Some(asn) = four_octets
        && (asn == 0 || asn == 23456 || (my_as != asn && my_as != 23456))
    {
        faults.push((2, 2, vec![]));
    }
    if faults.is_empty() { Verdict::Fine } else { Verdict::Reset(faults) }
}

/// RFC 5492 §4. What is not known or not of its form is ignored, but AS 0 is an error wherever it stands.
fn capabilities(value: &[u8], four_octets: &mut Option<usize>, faults: &mut Vec<Reset>) {
    let mut at = 0;
    while at < value.len() {
        if value.len() - at < 2 || value.len() - at - 2 < usize::from(value[at + 1]) {
            faults.push((2, 0, vec![]));
            return;
        }
        let content = &value[at + 2..at + 2 + usize::from(value[at + 1])];
        if value[at] == 65 && content.len() == 4 {
            let asn = u16_at(content, 0) * 65536 + u16_at(content, 2);
            if asn == 0 {
                faults.push((2, 2, vec![]));
            }
            four_octets.get_or_insert(asn);
        }
        at += 2 + content.len();
    }
}
