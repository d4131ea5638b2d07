//! What a fake peer has been told: a table with the attribute set of each prefix, and when it changed.

use std::time::Instant;

/// The prefixes of a benchmark: `size` of them, side by side, of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Universe {
    /// The first one's address.
    pub(crate) first: u32,
    /// Their length.
    pub(crate) length: u8,
    /// How many.
    pub(crate) size: usize,
}

impl Universe {
    /// Nothing is expected.
    pub(crate) const EMPTY: Self = Self { first: 0, length: 32, size: 0 };

    /// The prefix with a number.
    pub(crate) fn prefix(&self, number: usize) -> (u32, u8) {
        let step = u32::try_from(number).expect("fewer than 2^32") << (32 - self.length);
        (self.first + step, self.length)
    }

    /// As text.
    pub(crate) fn text(&self, number: usize) -> String {
        let (address, length) = self.prefix(number);
        format!("{}/{length}", std::net::Ipv4Addr::from(address))
    }

    fn number(&self, address: u32, length: u8) -> Option<usize> {
        let step = address.checked_sub(self.first)? >> (32 - self.length);
        usize::try_from(step).ok().filter(|number| length == self.length && *number < self.size)
    }
}

/// No community.
pub(crate) const BARE: u16 = u16::MAX;

/// What a fake peer has been told, and when.
#[derive(Debug)]
pub(crate) struct Seen {
    universe: Universe,
    /// Lower half of the first community of each prefix, [`BARE`] without one, 0 where it is not announced.
    pub(crate) table: Vec<u16>,
    /// Prefixes that are announced.
    pub(crate) present: usize,
    /// UPDATEs with announcements or withdrawals.
    pub(crate) updates: u64,
    /// NLRI announced, repetitions counted.
    pub(crate) announced: u64,
    /// Withdrawn.
    pub(crate) withdrawn: u64,
    /// NLRI outside of the universe.
    pub(crate) foreign: u64,
    moved: bool,
    /// When the last octets came that changed something.
    pub(crate) changed_at: Option<Instant>,
    /// When every prefix was there for the first time.
    pub(crate) complete_at: Option<Instant>,
}

impl Seen {
    /// Nothing yet.
    pub(crate) fn new(universe: Universe) -> Self {
        Self {
            universe,
            table: vec![0; universe.size],
            present: 0,
            updates: 0,
            announced: 0,
            withdrawn: 0,
            foreign: 0,
            moved: false,
            changed_at: None,
            complete_at: None,
        }
    }

    /// Whether every prefix is announced.
    pub(crate) fn is_complete(&self) -> bool {
        self.present == self.universe.size
    }

    /// The octets that have been taken in came at `now`.
    pub(crate) fn looked(&mut self, now: Instant) {
        if std::mem::take(&mut self.moved) {
            self.changed_at = Some(now);
            if self.is_complete() {
                self.complete_at.get_or_insert(now);
            }
        }
    }

    /// Takes in the body of an UPDATE (RFC 4271 §4.3), IPv4 alone.
    pub(crate) fn update(&mut self, body: &[u8]) {
        let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let withdrawn = &body[2..2 + length(0)];
        let at = 2 + withdrawn.len();
        let attributes = &body[at + 2..at + 2 + length(at)];
        let announced = &body[at + 2 + attributes.len()..];
        if withdrawn.is_empty() && announced.is_empty() {
            return;
        }
        self.updates += 1;
        self.moved = true;
        each(withdrawn, |address, length| {
            self.withdrawn += 1;
            self.set(address, length, 0);
        });
        if !announced.is_empty() {
            let set = community(attributes).unwrap_or(BARE);
            each(announced, |address, length| {
                self.announced += 1;
                self.set(address, length, set);
            });
        }
    }

    fn set(&mut self, address: u32, length: u8, set: u16) {
        let Some(number) = self.universe.number(address, length) else {
            self.foreign += 1;
            return;
        };
        let old = std::mem::replace(&mut self.table[number], set);
        self.present += usize::from(old == 0 && set != 0);
        self.present -= usize::from(old != 0 && set == 0);
    }
}

/// Every prefix of a list of NLRI (RFC 4271 §4.3).
pub(crate) fn each(mut nlri: &[u8], mut take: impl FnMut(u32, u8)) {
    while let Some((length, rest)) = nlri.split_first() {
        let octets = usize::from(length.div_ceil(8));
        let mut address = [0; 4];
        address[..octets].copy_from_slice(&rest[..octets]);
        take(u32::from_be_bytes(address), *length);
        nlri = &rest[octets..];
    }
}

/// The lower half of the first value of COMMUNITIES (RFC 1997).
fn community(mut attributes: &[u8]) -> Option<u16> {
    while let [flags, code, rest @ ..] = attributes {
        let (length, rest) = if flags & 0x10 == 0 {
            (usize::from(*rest.first()?), &rest[1..])
        } else {
            (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..])
        };
        if *code == 8 {
            return Some(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        }
        attributes = &rest[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_and_withdrawals_move_the_table() {
        let universe = Universe { first: 0x1400_0000, length: 24, size: 3 };
        let mut seen = Seen::new(universe);
        let attributes = [0x40, 1, 1, 0, 0xc0, 8, 4, 0xfd, 0xe9, 0, 7];
        let mut body = vec![0, 0, 0, 11];
        body.extend(attributes);
        body.extend([24, 20, 0, 0, 24, 20, 0, 2, 24, 21, 0, 0]);
        seen.update(&body);
        assert_eq!((seen.table.clone(), seen.present, seen.foreign), (vec![7, 0, 7], 2, 1));
        seen.update(&[0, 4, 24, 20, 0, 2, 0, 0]);
        assert_eq!((seen.table.clone(), seen.present), (vec![7, 0, 0], 1));
        assert_eq!((seen.updates, seen.announced, seen.withdrawn), (2, 3, 1));
        seen.update(&[0, 0, 0, 0]);
        assert_eq!(seen.updates, 2, "End-of-RIB is no change");
    }
}
