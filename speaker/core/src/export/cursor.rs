//! A peer's place in the table of its update group.

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_proto::types::Prefix;

use super::span::{AttributeSet, Cell, Pending, Span};
use super::table::{Phase, Seq, SpanKey, State, Table};

/// A peer's place in a [`Table`]: one for each session and family, held by the peer's task. It costs the
/// same however far behind the peer is. Dropping it, when the session ends, gives the place up.
#[derive(Debug)]
pub struct Cursor {
    table: Arc<Table>,
    /// The peer was told everything up to here; `None`: nothing of this table yet.
    told: Option<Seq>,
    /// Then what the peer holds, if anything, comes from this table, up to this place.
    from: Option<(Arc<Table>, Seq)>,
    /// The next span announces everything.
    rewound: bool,
    end_of_rib_sent: bool,
}

impl Cursor {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self { table, told: None, from: None, rewound: false, end_of_rib_sent: false }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// What the peer is to be told next: all that is newer than the cursor, in one span, and the cursor
    /// moves past it. After the first time that the peer is level with the table, End-of-RIB, once a
    /// session ("including the case when there is no update to send", RFC 4724 §2). `None`: nothing is
    /// pending, or the table is silent.
    ///
    /// Encodes, or waits for another peer's task that encodes the same: some 50 ms for 200,000 routes.
    pub fn next_span(&mut self) -> Option<Arc<Span>> {
        let cell = if self.from.is_some() { self.differences() } else { self.newer() };
        if let Some(cell) = cell {
            return Some(cell.span(&self.table.encoding));
        }
        if self.end_of_rib_sent || self.table.phase() != Phase::Complete {
            return None;
        }
        self.end_of_rib_sent = true;
        Some(Arc::new(Span::end_of_rib(self.table.family())))
    }

    /// Puts the cursor before the first change: the peer asked for a route refresh (RFC 2918 §4). The next
    /// span announces the whole table; withdrawals that the peer has not been told yet stay due.
    pub fn rewind(&mut self) {
        self.rewound = true;
    }

    /// Moves to the table of another update group. The next span says what differs between what the peer
    /// was told and `to`, and nothing else. The same table again changes nothing.
    pub fn migrate(&mut self, to: &Arc<Table>) {
        if Arc::ptr_eq(&self.table, to) {
            return;
        }
        let old = std::mem::replace(&mut self.table, Arc::clone(to));
        if let Some(at) = self.told.take() {
            self.from = Some((old, at));
        } else if let Some((_, at)) = self.from.take_if(|(table, _)| Arc::ptr_eq(table, to)) {
            // Back before anything was said.
            self.told = Some(at);
        }
    }

    /// Whether the peer has been handed everything, End-of-RIB included.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let state = self.table.lock();
        state.phase == Phase::Complete
            && self.end_of_rib_sent
            && !self.rewound
            && self.told == Some(state.head)
    }

    /// What is newer in the cursor's own table.
    fn newer(&mut self) -> Option<Arc<Cell>> {
        let table = Arc::clone(&self.table);
        let mut state = table.lock();
        // A task that wakes looks more than once whether there is anything new.
        if state.phase == Phase::Silent || (self.told == Some(state.head) && !self.rewound) {
            return None;
        }
        let announce = self.told.filter(|_| !self.rewound).unwrap_or(0);
        // A peer that was told nothing has nothing to be withdrawn; neither has it where no withdrawal is
        // newer, and then it shares the span of those.
        let withdraw = self.told.filter(|at| state.withdraws_after(*at)).unwrap_or(state.head);
        let key = SpanKey { from: 0, announce, withdraw };
        let cell = state.kept(key).or_else(|| {
            let pending = state.pending(announce, withdraw, table.limit);
            (!pending.is_empty()).then(|| state.keep(key, pending))
        });
        self.advance(&mut state);
        cell
    }

    /// What differs between what the peer was told of its former table and this one.
    fn differences(&mut self) -> Option<Arc<Cell>> {
        let table = Arc::clone(&self.table);
        if table.phase() == Phase::Silent {
            return None;
        }
        let (former, at) = self.from.take()?;
        let key = SpanKey { from: former.id, announce: if self.rewound { 0 } else { at }, withdraw: at };
        // One lock at a time: two peers may move in opposite directions.
        let cell = self.shared_differences(key).or_else(|| self.own_differences(key, &former, at));
        former.lock().leave(at);
        cell
    }

    /// Those that another peer that moved alike has asked for.
    fn shared_differences(&mut self, key: SpanKey) -> Option<Arc<Cell>> {
        let table = Arc::clone(&self.table);
        let mut state = table.lock();
        let cell = state.kept(key)?;
        self.advance(&mut state);
        Some(cell)
    }

    fn own_differences(&mut self, key: SpanKey, former: &Table, at: Seq) -> Option<Arc<Cell>> {
        let known = known(former, at);
        let table = Arc::clone(&self.table);
        let comparable = !self.rewound && former.encoding.next_hop == table.encoding.next_hop;
        let mut state = table.lock();
        let mut pending = Pending::default();
        for (prefix, route) in &state.live {
            let held = known.get(prefix).and_then(Option::as_ref).filter(|_| comparable);
            if held.is_none_or(|set| set.attributes != route.set.attributes) {
                pending.announce(&route.set, *prefix);
            }
        }
        pending.withdraw = known.into_keys().filter(|prefix| !state.live.contains_key(prefix)).collect();
        pending.at_limit = state.is_at(table.limit, pending.withdraw.len());
        let cell = (!pending.is_empty()).then(|| state.keep(key, pending));
        self.advance(&mut state);
        cell
    }

    /// Moves to the head.
    fn advance(&mut self, state: &mut State) {
        let head = state.head;
        self.rewound = false;
        if self.told != Some(head) {
            state.enter(head);
            if let Some(at) = self.told.replace(head) {
                state.leave(at);
            }
        }
    }
}

/// What a peer that was told everything up to `at` may hold: with the attributes, or `None` where a change
/// that it was not told of leaves them unknown.
fn known(table: &Table, at: Seq) -> BTreeMap<Prefix, Option<Arc<AttributeSet>>> {
    let state = table.lock();
    let live = state.live.iter().filter(|(_, route)| route.born <= at);
    let live = live.map(|(prefix, route)| (*prefix, (route.seq <= at).then(|| Arc::clone(&route.set))));
    let dead = state.dead.range(at + 1..).filter(|(_, tombstone)| tombstone.born <= at);
    live.chain(dead.map(|(_, tombstone)| (tombstone.prefix, None))).collect()
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some((table, at)) = self.from.take() {
            table.lock().leave(at);
        }
        if let Some(at) = self.told {
            self.table.lock().leave(at);
        }
    }
}
