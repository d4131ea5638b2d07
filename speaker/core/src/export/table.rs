//! The versioned table of one update group (Adj-RIB-Out, RFC 4271 §3.2).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bgp_proto::types::{Family, Prefix};
use bgp_proto::wire::{EncodeContext, NextHop, PathAttributes};

use super::Cursor;
use super::span::{AttributeSet, Cell, Encoding, Pending};

/// Counts the changes of a table. 0 is before the first.
pub(super) type Seq = u64;

/// How many spans are kept after they were sent: peers that ask a little later find them encoded. They go
/// with the next change.
const KEPT_SPANS: usize = 4;

/// What the peers of one update group are to hold of one family: prefix → attributes, with the sequence of
/// the last change. The hub writes it ([`super::Exporter`]), peer tasks read it through [`Cursor`]s.
///
/// Memory: a route costs two B-tree entries of 42 and 26 octets and shares its attributes with all routes
/// of its set; some 85 octets together as filled at once, twice that at worst. A tombstone exists only while some
/// cursor may have announced the prefix and has not withdrawn it.
#[derive(Debug)]
pub struct Table {
    /// Unique among the tables of an exporter, also of those that are gone.
    pub(super) id: u64,
    pub(super) encoding: Encoding,
    /// `maxAdvertised` of the group.
    pub(super) limit: Option<u32>,
    state: Mutex<State>,
}

/// One route.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) set: Arc<AttributeSet>,
    /// Its last change.
    pub(super) seq: Seq,
    /// The change since which a peer may have been told of the prefix without pause.
    pub(super) born: Seq,
}

/// A withdrawn prefix that some peer has yet to be told of.
#[derive(Debug)]
pub(super) struct Tombstone {
    pub(super) prefix: Prefix,
    pub(super) born: Seq,
}

/// How far what a speaker knows lets it speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Nothing is sent.
    #[default]
    Silent,
    /// Routes are sent, and no End-of-RIB: what a peer still has of an earlier session it is to keep (RFC 4724 §4.2).
    Open,
    /// All sources have delivered their first full list: End-of-RIB follows the routes.
    Complete,
}

/// Names a span: of this table, or from another one's (`from`, 0 for none) to this one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanKey {
    pub(super) from: u64,
    /// Announcements newer than this.
    pub(super) announce: Seq,
    /// Withdrawals newer than this.
    pub(super) withdraw: Seq,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) head: Seq,
    pub(super) phase: Phase,
    pub(super) live: BTreeMap<Prefix, Live>,
    /// The same routes by their last change.
    pub(super) by_seq: BTreeMap<Seq, Prefix>,
    pub(super) dead: BTreeMap<Seq, Tombstone>,
    dead_at: BTreeMap<Prefix, Seq>,
    /// How many cursors have been told everything up to here. Those that were told nothing are not in it.
    told: BTreeMap<Seq, usize>,
    /// Spans that end at `head`.
    spans: VecDeque<(SpanKey, Arc<Cell>)>,
}

impl Table {
    pub(super) fn new(
        id: u64,
        encoding: Encoding,
        limit: Option<u32>,
        phase: Phase,
        routes: impl IntoIterator<Item = (Prefix, Arc<AttributeSet>)>,
    ) -> Self {
        // Collecting fills the nodes of a B-tree, which insertion in order leaves half empty.
        let live: BTreeMap<Prefix, Live> = routes
            .into_iter()
            .zip(1..)
            .map(|((prefix, set), seq)| (prefix, Live { set, seq, born: seq }))
            .collect();
        let by_seq: BTreeMap<Seq, Prefix> = live.iter().map(|(prefix, route)| (route.seq, *prefix)).collect();
        let head = by_seq.last_key_value().map_or(0, |(seq, _)| *seq);
        let state = State { head, phase, live, by_seq, ..State::default() };
        Self { id, encoding, limit, state: Mutex::new(state) }
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.encoding.family
    }

    /// The next hop of every route in it; absent where the family is held.
    #[must_use]
    pub fn next_hop(&self) -> Option<NextHop> {
        self.encoding.next_hop
    }

    /// How it is written.
    #[must_use]
    pub fn context(&self) -> EncodeContext {
        self.encoding.context
    }

    /// How many routes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// Whether it has no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many withdrawals some peer has yet to be told.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.lock().dead.len()
    }

    /// How far it may be sent: while it is silent, cursors yield nothing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// A place before the first change, for a session that has just been established.
    #[must_use]
    pub fn attach(self: &Arc<Self>) -> Cursor {
        Cursor::new(Arc::clone(self))
    }

    /// Whether `prefix` is announced.
    #[must_use]
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.lock().live.contains_key(&prefix)
    }

    /// What `prefix` is announced with.
    pub(super) fn attributes(&self, prefix: Prefix) -> Option<PathAttributes> {
        self.lock().live.get(&prefix).map(|route| route.set.attributes.clone())
    }

    /// Every route that `wanted` picks.
    pub(super) fn routes(&self, mut wanted: impl FnMut(Prefix) -> bool) -> Vec<(Prefix, Arc<AttributeSet>)> {
        let state = self.lock();
        let picked = state.live.iter().filter(|(prefix, _)| wanted(**prefix));
        picked.map(|(prefix, route)| (*prefix, Arc::clone(&route.set))).collect()
    }

    /// Stores one change as a whole: no span ends inside it. Says whether anything is new.
    pub(super) fn publish(
        &self,
        changes: impl IntoIterator<Item = (Prefix, Option<Arc<AttributeSet>>)>,
    ) -> bool {
        let mut state = self.lock();
        let before = state.head;
        for (prefix, set) in changes {
            match set {
                Some(set) => state.announce(prefix, set),
                None => state.withdraw(prefix),
            }
        }
        if state.head == before {
            return false;
        }
        state.spans.clear();
        true
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn announce(&mut self, prefix: Prefix, set: Arc<AttributeSet>) {
        if self.live.get(&prefix).is_some_and(|route| Arc::ptr_eq(&route.set, &set)) {
            return;
        }
        self.head += 1;
        let seq = self.head;
        let mut born = seq;
        if let Some(at) = self.dead_at.remove(&prefix)
            && let Some(tombstone) = self.dead.remove(&at)
        {
            born = tombstone.born;
        }
        if let Some(old) = self.live.get(&prefix) {
            born = old.born;
            self.by_seq.remove(&old.seq);
        }
        self.live.insert(prefix, Live { set, seq, born });
        self.by_seq.insert(seq, prefix);
    }

    fn withdraw(&mut self, prefix: Prefix) {
        let Some(Live { seq, born, .. }) = self.live.remove(&prefix) else { return };
        self.by_seq.remove(&seq);
        self.head += 1;
        if self.told.range(born..).next().is_some() {
            self.dead.insert(self.head, Tombstone { prefix, born });
            self.dead_at.insert(prefix, self.head);
        }
    }

    /// A cursor has been told everything up to `at`.
    pub(super) fn enter(&mut self, at: Seq) {
        *self.told.entry(at).or_default() += 1;
    }

    /// A cursor has left `at`. Tombstones that only it needed go with it.
    pub(super) fn leave(&mut self, at: Seq) {
        let Some(count) = self.told.get_mut(&at) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.told.remove(&at);
        // A tombstone is for the cursors that stand between the prefix's birth and its death.
        let told = &self.told;
        let free: Vec<Seq> = self
            .dead
            .range((Bound::Excluded(at), Bound::Unbounded))
            .filter(|(died, dead)| dead.born <= at && told.range(dead.born..**died).next().is_none())
            .map(|(died, _)| *died)
            .collect();
        for died in free {
            if let Some(tombstone) = self.dead.remove(&died) {
                self.dead_at.remove(&tombstone.prefix);
            }
        }
    }

    /// What is newer than the two places.
    pub(super) fn pending(&self, announce: Seq, withdraw: Seq, limit: Option<u32>) -> Pending {
        let mut pending = Pending::default();
        if announce == 0 {
            for (prefix, route) in &self.live {
                pending.announce(&route.set, *prefix);
            }
        } else {
            for prefix in self.by_seq.range((Bound::Excluded(announce), Bound::Unbounded)).map(|(_, p)| p) {
                if let Some(route) = self.live.get(prefix) {
                    pending.announce(&route.set, *prefix);
                }
            }
            for (_, prefixes) in pending.announce.values_mut() {
                prefixes.sort_unstable();
            }
        }
        let dead = self.dead.range((Bound::Excluded(withdraw), Bound::Unbounded));
        pending.withdraw = dead.map(|(_, tombstone)| tombstone.prefix).collect();
        pending.withdraw.sort_unstable();
        pending.at_limit = self.is_at(limit, pending.withdraw.len());
        pending
    }

    /// Whether a peer that holds what is here and these withdrawals holds more than the limit.
    pub(super) fn is_at(&self, limit: Option<u32>, withdrawals: usize) -> bool {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        limit.is_some_and(|limit| self.live.len() + withdrawals > limit)
    }

    /// Whether there is a withdrawal newer than `at`.
    pub(super) fn withdraws_after(&self, at: Seq) -> bool {
        self.dead.range((Bound::Excluded(at), Bound::Unbounded)).next().is_some()
    }

    /// A span that ends at `head` and that somebody asked for before.
    pub(super) fn kept(&self, key: SpanKey) -> Option<Arc<Cell>> {
        self.spans.iter().find(|(kept, _)| *kept == key).map(|(_, cell)| Arc::clone(cell))
    }

    /// Keeps a span that ends at `head`.
    pub(super) fn keep(&mut self, key: SpanKey, pending: Pending) -> Arc<Cell> {
        let cell = Arc::new(Cell::new(pending));
        if self.spans.len() == KEPT_SPANS {
            self.spans.pop_front();
        }
        self.spans.push_back((key, Arc::clone(&cell)));
        cell
    }
}
