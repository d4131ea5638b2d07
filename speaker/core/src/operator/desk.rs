//! Which objects are to be written, and when: one write of an object at a time, each once.
//!
//! ```text
//!          want            dispatch             written
//!  idle ──────────► wanted ────────► in flight ─────────► awaits its echo ──► idle
//!                     ▲                │ refused: the object has changed ──► awaits the change ──► idle
//!                     └── not before ──┘ failed
//! ```
//!
//! What an object is to become is not kept here: it is asked for when its turn comes, so that what changed its
//! mind meanwhile costs no write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp_proto::types::Timestamp;

/// How many writes may be under way at once. More would wait in the API server instead, where the requests of
/// other clients wait, too: its own limit is 400 read and 200 changing requests (`--max-mutating-requests-inflight`).
pub const WRITES_AT_ONCE: usize = 32;
/// The back-off of an object whose write fails: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, as this resource version.
    Written {
        /// `metadata.resourceVersion` of the answer; empty after a deletion.
        resource_version: String,
    },
    /// The object has changed since, or is gone: its watch will say how.
    Conflict,
    /// It was not even tried, since the lease has run out.
    NotLeading,
    /// Anything else.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Idle,
    InFlight {
        /// Empty where the object is to be created.
        from: String,
        /// The watch has shown that it is gone.
        gone: bool,
    },
    /// The watch is to show this version or a later one.
    Echo {
        version: String,
    },
    /// The watch is to show another version than this one.
    Change {
        from: String,
    },
}

#[derive(Debug, Clone)]
struct Slot {
    stage: Stage,
    /// Its place in the queue, where it is wanted.
    ticket: Option<u64>,
    not_before: Timestamp,
    /// Writes that failed one after the other.
    failures: u32,
}

/// The writes of one kind of client; `T` names an object.
#[derive(Debug, Clone)]
pub(super) struct Desk<T> {
    slots: BTreeMap<T, Slot>,
    queue: BTreeMap<u64, T>,
    next: u64,
    in_flight: usize,
    /// Wanted, but not before a time.
    later: BTreeSet<(Timestamp, T)>,
}

/// Whether a version that was seen is this one or a later one. Versions of one kind may be compared as numbers
/// (Kubernetes KEP-5504); where they are none, any version that was seen counts.
pub(super) fn reached(seen: &str, version: &str) -> bool {
    match (seen.parse::<u128>(), version.parse::<u128>()) {
        (Ok(seen), Ok(version)) => seen >= version,
        _ => true,
    }
}

impl<T: Ord + Clone> Desk<T> {
    pub(super) fn new() -> Self {
        Self { slots: BTreeMap::new(), queue: BTreeMap::new(), next: 0, in_flight: 0, later: BTreeSet::new() }
    }

    /// The object is to be written when its turn comes. Whether that is new.
    pub(super) fn want(&mut self, target: &T) -> bool {
        let slot = self.slots.entry(target.clone()).or_insert(Slot {
            stage: Stage::Idle,
            ticket: None,
            not_before: Timestamp::ZERO,
            failures: 0,
        });
        let new = slot.ticket.is_none();
        if new {
            slot.ticket = Some(self.next);
            self.queue.insert(self.next, target.clone());
            self.next += 1;
        }
        new
    }

    /// The object is as it should be.
    pub(super) fn content(&mut self, target: &T) {
        let Some(slot) = self.slots.get_mut(target) else { return };
        if let Some(ticket) = slot.ticket.take() {
            self.queue.remove(&ticket);
        }
        self.later.retain(|(_, other)| other != target);
        self.tidy(target);
    }

    /// No write of the object before a time.
    pub(super) fn rest(&mut self, target: &T, until: Timestamp) {
        if let Some(slot) = self.slots.get_mut(target) {
            slot.not_before = slot.not_before.max(until);
        }
    }

    /// The objects whose turn it is, first wanted first; each must be started or content.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<T> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, target)) = self.later.pop_first() else { break };
            if let Some(ticket) = self.slots.get(&target).and_then(|slot| slot.ticket) {
                self.queue.insert(ticket, target);
            }
        }
        let mut room = WRITES_AT_ONCE.saturating_sub(self.in_flight);
        let mut due = Vec::new();
        let mut postponed = Vec::new();
        for (ticket, target) in &self.queue {
            if room == 0 {
                break;
            }
            let Some(slot) = self.slots.get(target) else { continue };
            if slot.stage != Stage::Idle {
                continue;
            }
            if slot.not_before > now {
                postponed.push((*ticket, slot.not_before, target.clone()));
                continue;
            }
            room -= 1;
            due.push(target.clone());
        }
        for (ticket, at, target) in postponed {
            self.queue.remove(&ticket);
            self.later.insert((at, target));
        }
        due
    }

    /// The write of an object begins, on top of a version.
    pub(super) fn start(&mut self, target: &T, from: &str) {
        let Some(slot) = self.slots.get_mut(target) else { return };
        if let Some(ticket) = slot.ticket.take() {
            self.queue.remove(&ticket);
        }
        slot.stage = Stage::InFlight { from: from.to_owned(), gone: false };
        self.in_flight += 1;
    }

    /// A write has ended; `seen` is the newest version that the watch has shown. Says whether the object must be
    /// looked at again.
    pub(super) fn ended(
        &mut self,
        target: &T,
        outcome: &Outcome,
        seen: Option<&str>,
        now: Timestamp,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(target) else { return false };
        let Stage::InFlight { from, gone } = &slot.stage else { return false };
        let (from, gone) = (from.clone(), *gone);
        self.in_flight = self.in_flight.saturating_sub(1);
        slot.stage = match outcome {
            Outcome::Written { resource_version } if resource_version.is_empty() => {
                slot.failures = 0;
                Stage::Change { from: from.clone() }
            }
            Outcome::Written { resource_version } => {
                slot.failures = 0;
                Stage::Echo { version: resource_version.clone() }
            }
            Outcome::Conflict => Stage::Change { from: from.clone() },
            Outcome::NotLeading => Stage::Idle,
            Outcome::Failed => {
                let wait = FIRST_RETRY.saturating_mul(1 << slot.failures.min(16)).min(LAST_RETRY);
                slot.failures += 1;
                slot.not_before = slot.not_before.max(now + wait);
                Stage::Idle
            }
        };
        let awaited = matches!(slot.stage, Stage::Echo { .. } | Stage::Change { .. });
        match seen {
            Some(seen) => self.seen(target, seen),
            // It was to be created: by us or by somebody who was faster, and then the watch is to show it.
            None if from.is_empty() && !gone => !awaited,
            // It is gone from the watch: there is nothing to wait for.
            None => {
                self.gone(target);
                true
            }
        }
    }

    /// The watch has shown a version. Says whether it was waited for.
    pub(super) fn seen(&mut self, target: &T, version: &str) -> bool {
        let Some(slot) = self.slots.get(target) else { return false };
        match &slot.stage {
            Stage::Idle => true,
            Stage::InFlight { .. } => false,
            Stage::Echo { version: awaited } if !reached(version, awaited) => false,
            Stage::Change { from } if version == from => false,
            Stage::Echo { .. } | Stage::Change { .. } => self.free(target),
        }
    }

    /// The object is gone. A write that is under way ends by itself.
    pub(super) fn gone(&mut self, target: &T) {
        self.content(target);
        match self.slots.get_mut(target).map(|slot| &mut slot.stage) {
            Some(Stage::InFlight { gone, .. }) => *gone = true,
            Some(_) => drop(self.slots.remove(target)),
            None => {}
        }
    }

    fn free(&mut self, target: &T) -> bool {
        if let Some(slot) = self.slots.get_mut(target) {
            slot.stage = Stage::Idle;
        }
        self.tidy(target);
        true
    }

    /// Forgets an object that nothing is known of.
    fn tidy(&mut self, target: &T) {
        let empty = |slot: &Slot| {
            slot.stage == Stage::Idle
                && slot.ticket.is_none()
                && slot.failures == 0
                && slot.not_before == Timestamp::ZERO
        };
        if self.slots.get(target).is_some_and(empty) {
            self.slots.remove(target);
        }
    }

    /// How many writes are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many objects are to be written, those under way left out.
    pub(super) fn wanted(&self) -> usize {
        self.queue.len() + self.later.len()
    }

    /// When the first object that rests may be written.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.later.first().map(|(at, _)| *at)
    }
}
