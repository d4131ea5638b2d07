//! Ranges that may overlap, cut at every boundary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp_proto::types::Family;

use crate::span::{Span, last_bits};

/// A block of a pool: the pool's name and the block's place in its list.
pub(crate) type Slot = (Arc<str>, usize);

/// Which blocks cover which addresses of one family. The number line is cut where a block begins and
/// after it ends; each piece lists the blocks that cover it. Looking an address up is logarithmic in the
/// number of blocks, changing a block costs as many pieces as it covers, and no address is ever visited.
#[derive(Debug, Clone)]
pub(crate) struct Segments {
    family: Family,
    /// Where a piece begins; it ends where the next begins. Before the first and in gaps nothing covers.
    pieces: BTreeMap<u128, BTreeSet<Slot>>,
}

impl Segments {
    pub(crate) const fn new(family: Family) -> Self {
        Self { family, pieces: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, span: Span, slot: &Slot) {
        self.cut(span.first);
        if span.last < last_bits(self.family) {
            self.cut(span.last + 1);
        }
        for (_, slots) in self.pieces.range_mut(span.first..=span.last) {
            slots.insert(slot.clone());
        }
    }

    pub(crate) fn remove(&mut self, span: Span, slot: &Slot) {
        for (_, slots) in self.pieces.range_mut(span.first..=span.last) {
            slots.remove(slot);
        }
        self.mend(span.first);
        if span.last < last_bits(self.family) {
            self.mend(span.last + 1);
        }
    }

    /// The blocks that cover an address, by pool and place.
    pub(crate) fn at(&self, bits: u128) -> impl Iterator<Item = &Slot> {
        self.pieces.range(..=bits).next_back().into_iter().flat_map(|(_, slots)| slots)
    }

    /// The blocks that share an address with `span`.
    pub(crate) fn overlapping(&self, span: Span) -> BTreeSet<Slot> {
        let inside = self.pieces.range(span.first..=span.last).flat_map(|(_, slots)| slots);
        self.at(span.first).chain(inside).cloned().collect()
    }

    fn cut(&mut self, at: u128) {
        if !self.pieces.contains_key(&at) {
            let left: BTreeSet<Slot> = self.at(at).cloned().collect();
            self.pieces.insert(at, left);
        }
    }

    /// Takes a cut away that separates nothing.
    fn mend(&mut self, at: u128) {
        let needless = self.pieces.get(&at).is_some_and(|right| match self.pieces.range(..at).next_back() {
            Some((_, left)) => left == right,
            None => right.is_empty(),
        });
        if needless {
            self.pieces.remove(&at);
        }
    }

    #[cfg(test)]
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }
}
