//! What waits to be written to one connection.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

/// More slices than this at once gain nothing.
const MAX_SLICES: usize = 64;

/// The header of RFC 4271 §4.1: marker, length, type.
const HEADER: usize = 19;

/// Two queues of whole messages: what the session says goes ahead of tables, but never into the middle of a
/// message.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What is left of a table's message whose beginning has been written.
    begun: Bytes,
    control: VecDeque<Bytes>,
    table: VecDeque<Bytes>,
    control_len: usize,
    table_len: usize,
}

/// Messages whose first octet was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Begun {
    /// UPDATE.
    pub updates: u64,
    /// ROUTE-REFRESH: BoRR and EoRR.
    pub refreshes: u64,
}

impl Outbox {
    /// Whole messages of the session.
    pub fn control(&mut self, bytes: Bytes) {
        self.control_len += bytes.len();
        self.control.push_back(bytes);
    }

    /// Whole messages of a table.
    pub fn table(&mut self, bytes: Bytes) {
        self.table_len += bytes.len();
        self.table.push_back(bytes);
    }

    /// Octets of tables that have not been begun.
    #[must_use]
    pub fn table_len(&self) -> usize {
        self.table_len
    }

    /// Octets in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.begun.len() + self.control_len + self.table_len
    }

    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops every message of a table that has not been begun.
    pub fn drop_table(&mut self) {
        self.table.clear();
        self.table_len = 0;
    }

    /// What to write, in order; at most 64 pieces of it.
    #[must_use]
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let begun = std::iter::once(&self.begun).filter(|bytes| !bytes.is_empty());
        let all = begun.chain(&self.control).chain(&self.table);
        all.take(MAX_SLICES).map(|bytes| IoSlice::new(bytes)).collect()
    }

    /// The first `count` octets of [`Self::slices`] have been written. Says which messages these began.
    pub fn advance(&mut self, mut count: usize) -> Begun {
        let from_begun = count.min(self.begun.len());
        self.begun.advance(from_begun);
        count -= from_begun;
        while count > 0
            && let Some(front) = self.control.front_mut()
        {
            let taken = count.min(front.len());
            front.advance(taken);
            self.control_len -= taken;
            count -= taken;
            if front.is_empty() {
                self.control.pop_front();
            }
        }
        let mut begun = Begun::default();
        while count > 0
            && let Some(mut front) = self.table.pop_front()
        {
            self.table_len -= front.len();
            let end = message_end(&front, count, &mut begun);
            let mut head = front.split_to(end);
            let taken = count.min(head.len());
            head.advance(taken);
            count -= taken;
            self.begun = head;
            if !front.is_empty() {
                self.table_len += front.len();
                self.table.push_front(front);
            }
        }
        begun
    }
}

/// The end of the message in which the octet before `count` lies; counts the messages up to there.
fn message_end(bytes: &[u8], count: usize, begun: &mut Begun) -> usize {
    let mut end = 0;
    while end < count {
        let Some(header) = bytes.get(end..end + HEADER) else { return bytes.len() };
        match header.get(18) {
            Some(2) => begun.updates += 1,
            _ => begun.refreshes += 1,
        }
        let length = header.iter().skip(16).take(2).fold(0, |sum, octet| (sum << 8) | usize::from(*octet));
        end += length.max(HEADER);
    }
    end.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of `len` octets that ends in `mark`.
    fn message(kind: u8, len: usize, mark: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        bytes.push(kind);
        bytes.resize(len, mark);
        bytes
    }

    fn written(outbox: &mut Outbox, count: usize) -> Vec<u8> {
        let all: Vec<u8> = outbox.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        let count = count.min(all.len());
        outbox.advance(count);
        all[..count].to_vec()
    }

    #[test]
    fn a_keepalive_goes_behind_the_message_that_was_begun_and_ahead_of_the_next() {
        let table = [message(2, 30, 1), message(2, 25, 2), message(2, 40, 3)];
        let keepalive = message(4, 19, 0);
        for cut in 0..=95 {
            let mut outbox = Outbox::default();
            outbox.table(Bytes::from(table.concat()));
            let mut wire = written(&mut outbox, cut);
            outbox.control(Bytes::from(keepalive.clone()));
            while !outbox.is_empty() {
                wire.extend(written(&mut outbox, 7));
            }
            let before = match cut {
                0 => 0,
                1..=30 => 30,
                31..=55 => 55,
                _ => 95,
            };
            let mut expected = table.concat();
            expected.splice(before..before, keepalive.clone());
            assert_eq!(wire, expected, "cut at {cut}");
        }
    }

    #[test]
    fn messages_are_counted_when_they_are_begun() {
        let mut outbox = Outbox::default();
        outbox.table(Bytes::from([message(2, 30, 1), message(5, 23, 2), message(2, 40, 3)].concat()));
        outbox.table(Bytes::from(message(2, 50, 4)));
        assert_eq!((outbox.len(), outbox.table_len()), (143, 143));
        assert_eq!(outbox.advance(1), Begun { updates: 1, refreshes: 0 });
        assert_eq!(outbox.advance(29), Begun::default());
        assert_eq!(outbox.advance(24), Begun { updates: 1, refreshes: 1 });
        assert_eq!((outbox.len(), outbox.table_len()), (89, 50));
        assert_eq!(outbox.advance(89), Begun { updates: 1, refreshes: 0 });
        assert!(outbox.is_empty());
    }

    #[test]
    fn dropping_the_table_keeps_the_message_that_was_begun() {
        let mut outbox = Outbox::default();
        outbox.table(Bytes::from([message(2, 30, 1), message(2, 40, 3)].concat()));
        outbox.advance(10);
        outbox.control(Bytes::from(message(3, 21, 9)));
        outbox.drop_table();
        let wire = written(&mut outbox, 1000);
        assert_eq!(wire, [message(2, 30, 1)[10..].to_vec(), message(3, 21, 9)].concat());
    }
}
