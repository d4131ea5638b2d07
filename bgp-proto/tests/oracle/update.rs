//! UPDATE (RFC 4271 §6.3, RFC 7606).

use super::{Agreed, Reset, Route, Update, Verdict, u16_at};

/// The largest prefix of a family.
fn bits(afi: u16) -> u8 {
    if afi == 1 { 32 } else { 128 }
}

/// RFC 4271 §4.3, RFC 7911 §3: `None` where RFC 7606 §5.3 calls the field incorrect.
fn routes(field: &[u8], afi: u16, agreed: &Agreed) -> Option<Vec<Route>> {
    let add_path = agreed.add_path[usize::from(afi) - 1];
    let mut found = Vec::new();
    let mut at = 0;
    while at < field.len() {
        let mut id = None;
        if add_path {
            let octets: [u8; 4] = field.get(at..at + 4)?.try_into().unwrap();
            id = Some(u32::from_be_bytes(octets));
            at += 4;
        }
        let length = *field.get(at)?;
        at += 1;
        if length > bits(afi) {
            return None;
        }
        let octets = field.get(at..at + usize::from(length).div_ceil(8))?;
        at += octets.len();
        let mut address = 0u128;
        for place in 0..usize::from(bits(afi) / 8) {
            address = address << 8 | u128::from(octets.get(place).copied().unwrap_or(0));
        }
        let host = u32::from(bits(afi) - length);
        address = if host == 128 { 0 } else { address >> host << host };
        found.push((afi, id, length, address));
    }
    Some(found)
}

#[derive(Default)]
struct Findings {
    resets: Vec<Reset>,
    /// With the NOTIFICATION that each one is where there are no routes.
    withdraw: Vec<(u8, Reset)>,
    update: Update,
    seen: Vec<u8>,
    /// There is NLRI in an MP_REACH_NLRI, of whatever family.
    reaches: bool,
    reach: Vec<Route>,
    next_hop: Option<[u8; 4]>,
    /// Of the MP_UNREACH_NLRI: its AFI where it was negotiated, and its routes.
    unreach: Option<(Option<u16>, Vec<Route>)>,
    others: bool,
}

impl Findings {
    fn withdraw(&mut self, code: u8, subcode: u8, whole: &[u8]) {
        self.withdraw.push((code, (3, subcode, whole.to_vec())));
    }

    fn discard(&mut self, code: u8) {
        self.update.discard.insert(code);
    }
}

pub(super) fn judge(message: &[u8], agreed: &Agreed) -> Verdict {
    let body = &message[19..];
    let withdrawn = u16_at(body, 0);
    // RFC 7606 §3 (b).
    if withdrawn + 4 > body.len() || withdrawn + 4 + u16_at(body, 2 + withdrawn) > body.len() {
        return Verdict::Reset(vec![(3, 1, vec![])]);
    }
    let attributes = &body[4 + withdrawn..4 + withdrawn + u16_at(body, 2 + withdrawn)];
    let nlri = &body[4 + withdrawn + attributes.len()..];
    let mut found = Findings::default();
    // RFC 4271 §6.3, RFC 7606 §3 (i).
    let gone = routes(&body[2..2 + withdrawn], 1, agreed);
    let plain = routes(nlri, 1, agreed);
    for field in [&gone, &plain] {
        if field.is_none() {
            found.resets.push((3, 10, vec![]));
        }
    }
    each(attributes, agreed, &mut found);
    let (Some(gone), Some(plain)) = (gone, plain) else { return Verdict::Reset(found.resets) };
    mandatory(&plain, &mut found);
    // RFC 7606 §5.2.
    if plain.is_empty() && !found.reaches {
        let escalated: Vec<Reset> = found.withdraw.iter().map(|(_, reset)| reset.clone()).collect();
        found.resets.extend(escalated);
    }
    if !found.resets.is_empty() {
        return Verdict::Reset(found.resets);
    }
    // RFC 4724 §2.
    let nothing = !found.others && gone.is_empty() && plain.is_empty();
    let end_of_rib = match &found.unreach {
        None => Some(1),
        Some((afi, routes)) => afi.filter(|_| routes.is_empty()),
    };
    let mut update = found.update;
    update.end_of_rib = end_of_rib.filter(|_| nothing);
    update.withdraw = found.withdraw.iter().map(|(code, _)| *code).collect();
    update.withdrawn = [gone, found.unreach.map(|(_, routes)| routes).unwrap_or_default()].concat();
    let announced = [plain, found.reach].concat();
    if update.withdraw.is_empty() {
        update.announced = announced;
    } else {
        update.withdrawn.extend(announced);
    }
    Verdict::Update(Box::new(update))
}

/// RFC 7606 §3 (d), RFC 4760 §3; and a next hop that RFC 4271 §6.3 finds no host address.
fn mandatory(plain: &[Route], found: &mut Findings) {
    if plain.is_empty() && found.reach.is_empty() {
        return;
    }
    for code in [1, 2, 3] {
        if !found.seen.contains(&code) && (code != 3 || !plain.is_empty()) {
            found.withdraw(code, 3, &[code]);
        }
    }
    if !plain.is_empty() && found.next_hop.is_some_and(|[first, ..]| !is_host(first)) {
        found.withdraw(3, 8, &[]);
    }
}

fn each(field: &[u8], agreed: &Agreed, found: &mut Findings) {
    let mut at = 0;
    while at < field.len() {
        let rest = &field[at..];
        let header = if rest[0] & 0x10 == 0 { 3 } else { 4 };
        let length = match (rest.len() >= header, header) {
            (false, _) => usize::MAX,
            (true, 3) => usize::from(rest[2]),
            (true, _) => u16_at(rest, 2),
        };
        // RFC 7606 §4; with the routes in what is cut off, §3 (j).
        if length == usize::MAX || rest.len() - header < length {
            found.others = true;
            match rest.get(1) {
                Some(14 | 15) => found.resets.push((3, 1, rest.to_vec())),
                code => found.withdraw(*code.unwrap_or(&0), 1, rest),
            }
            return;
        }
        one(&rest[..header + length], header, agreed, found);
        at += header + length;
    }
}

/// The Optional and Transitive bits that an attribute is specified with.
fn specified(code: u8) -> Option<u8> {
    match code {
        1 | 2 | 3 | 5 | 6 => Some(0x40),
        4 | 9 | 10 | 14 | 15 => Some(0x80),
        7 | 8 | 16 | 17 | 18 | 25 | 32 | 35 => Some(0xc0),
        _ => None,
    }
}

fn one(whole: &[u8], header: usize, agreed: &Agreed, found: &mut Findings) {
    let (flags, code) = (whole[0], whole[1]);
    // RFC 7606 §3 (g).
    if found.seen.contains(&code) {
        match code {
            14 | 15 => found.resets.push((3, 1, vec![])),
            _ => found.discard(code),
        }
        return;
    }
    found.seen.push(code);
    found.others |= code != 15;
    let Some(specified) = specified(code) else {
        // RFC 4271 §5, §6.3.
        if flags & 0x80 == 0 {
            found.resets.push((3, 2, whole.to_vec()));
        }
        return;
    };
    // RFC 7606 §7.5, §7.9, §7.10.
    if agreed.external && matches!(code, 5 | 9 | 10) {
        return found.discard(code);
    }
    // RFC 7606 §3 (c), §5.3; RFC 4271 §4.3 for Partial.
    let partial = specified != 0xc0 && flags & 0x20 != 0;
    if flags & 0xc0 != specified || partial {
        match code {
            14 | 15 => found.resets.push((3, 4, whole.to_vec())),
            _ => found.withdraw(code, 4, whole),
        }
        return;
    }
    value(code, &whole[header..], whole, agreed, found);
}

fn value(code: u8, value: &[u8], whole: &[u8], agreed: &Agreed, found: &mut Findings) {
    let length = value.len();
    let times = |n: usize| length > 0 && length.is_multiple_of(n);
    let zero = |from: usize, to: usize| value[from..to].iter().all(|octet| *octet == 0);
    match code {
        1 if length != 1 => found.withdraw(1, 5, whole),
        1 if value[0] > 2 => found.withdraw(1, 6, whole),
        2 if !path(value, if agreed.asn4 { 4 } else { 2 }, agreed.external) => found.withdraw(2, 11, whole),
        3 if length != 4 => found.withdraw(3, 5, whole),
        3 => found.next_hop = Some(value.try_into().unwrap()),
        4 | 5 | 9 if length != 4 => found.withdraw(code, 5, whole),
        // Ours alone: no BGP identifier is 0 (RFC 6286 §2.1).
        9 if zero(0, 4) => found.discard(9),
        6 if length != 0 => found.discard(6),
        7 => {
            let width = if agreed.asn4 { 4 } else { 2 };
            if length != width + 4 || zero(0, width) {
                found.discard(7);
            }
        }
        8 | 10 if !times(4) => found.withdraw(code, 5, whole),
        16 if !times(8) => found.withdraw(16, 5, whole),
        25 if !times(20) => found.withdraw(25, 5, whole),
        32 if !times(12) => found.withdraw(32, 5, whole),
        35 if length != 4 => found.withdraw(35, 5, whole),
        35 if zero(0, 4) => found.withdraw(35, 9, whole),
        // RFC 6793 §6: between two speakers with four octets they have no place.
        17 | 18 if agreed.asn4 => found.discard(code),
        17 if !agreed.asn4 && (length < 6 || !path(value, 4, false)) => found.discard(17),
        18 if !agreed.asn4 && (length != 8 || zero(0, 4)) => found.discard(18),
        14 => reach(value, whole, agreed, found),
        15 => unreach(value, whole, agreed, found),
        _ => {}
    }
}

/// RFC 7606 §7.2, RFC 7607 §2, RFC 5065 §5.
fn path(value: &[u8], width: usize, external: bool) -> bool {
    let mut at = 0;
    while at < value.len() {
        if value.len() - at < 2 {
            return false;
        }
        let (kind, count) = (value[at], usize::from(value[at + 1]));
        let known = (1..=if external { 2 } else { 4 }).contains(&kind);
        if !known || count == 0 || value.len() - at - 2 < count * width {
            return false;
        }
        let numbers = &value[at + 2..at + 2 + count * width];
        if numbers.chunks(width).any(|number| number.iter().all(|octet| *octet == 0)) {
            return false;
        }
        at += 2 + count * width;
    }
    true
}

/// AFI 1 and 2 with SAFI 1 are negotiated.
fn negotiated(value: &[u8]) -> Option<u16> {
    match value[..3] {
        [0, afi @ (1 | 2), 1] => Some(u16::from(afi)),
        _ => None,
    }
}

/// RFC 4760 §3, RFC 7606 §5.3 and §7.11.
fn reach(value: &[u8], whole: &[u8], agreed: &Agreed, found: &mut Findings) {
    let wrong = (3, 9, whole.to_vec());
    if value.len() < 5 || value.len() < 5 + usize::from(value[3]) {
        return found.resets.push(wrong);
    }
    let next_hop = &value[4..4 + usize::from(value[3])];
    let nlri = &value[5 + next_hop.len()..];
    found.reaches = !nlri.is_empty();
    let Some(afi) = negotiated(value) else { return found.discard(14) };
    let usable = match (afi, next_hop.len()) {
        (1, 4) => is_host(next_hop[0]),
        (2, 16 | 32) => usable_v6(next_hop),
        // RFC 8950 §3.
        (1, 16 | 32) if agreed.extended_next_hop => usable_v6(next_hop),
        _ => return found.resets.push(wrong),
    };
    match routes(nlri, afi, agreed) {
        Some(routes) => found.reach = routes,
        None => return found.resets.push(wrong),
    }
    if !usable {
        found.withdraw(14, 9, whole);
    }
}

/// One of the addresses is neither `::` nor `::1` nor a group.
fn usable_v6(next_hop: &[u8]) -> bool {
    next_hop.chunks(16).any(|address| address[0] != 0xff && (address[..15] != [0; 15] || address[15] > 1))
}

/// By the first octet: not this network, the loopback, a group or what is reserved (RFC 1122 §3.2.1.3).
fn is_host(first: u8) -> bool {
    (1..224).contains(&first) && first != 127
}

fn unreach(value: &[u8], whole: &[u8], agreed: &Agreed, found: &mut Findings) {
    let wrong = (3, 9, whole.to_vec());
    if value.len() < 3 {
        return found.resets.push(wrong);
    }
    let Some(afi) = negotiated(value) else {
        found.unreach = Some((None, Vec::new()));
        return found.discard(15);
    };
    match routes(&value[3..], afi, agreed) {
        Some(routes) => found.unreach = Some((Some(afi), routes)),
        None => found.resets.push(wrong),
    }
}
