//! Virtual time: a seeded generator, and the queue of what is to happen.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use bgp_proto::types::Timestamp;

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n as u64)).unwrap()
    }

    /// Once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// More than nothing, `most` at most, in microseconds.
    pub(crate) fn within(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap().max(1);
        Duration::from_micros(1 + self.next() % micros)
    }
}

#[derive(Debug)]
struct Entry<E> {
    at: Timestamp,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is to happen, by time; of one moment, what was noted first goes first.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    pub(crate) now: Timestamp,
    entries: BinaryHeap<Reverse<Entry<E>>>,
    number: u64,
    /// Events at the present moment: time that stands still is a loop.
    at_once: u64,
    pub(crate) events: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self { now: Timestamp::ZERO, entries: BinaryHeap::new(), number: 0, at_once: 0, events: 0 }
    }

    pub(crate) fn at(&mut self, at: Timestamp, event: E) {
        self.number += 1;
        self.entries.push(Reverse(Entry { at: at.max(self.now), number: self.number, event }));
    }

    pub(crate) fn after(&mut self, wait: Duration, event: E) {
        self.at(self.now + wait, event);
    }

    /// The next event up to `end`; the clock goes there, or to `end` where there is none.
    pub(crate) fn pop(&mut self, end: Timestamp) -> Option<E> {
        if self.entries.peek().is_none_or(|Reverse(entry)| entry.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let Reverse(entry) = self.entries.pop()?;
        self.at_once = if entry.at == self.now { self.at_once + 1 } else { 0 };
        assert!(self.at_once < 100_000, "time stands still at {:?}", self.now);
        self.now = entry.at;
        self.events += 1;
        Some(entry.event)
    }
}
