//! Kubernetes Events, bounded in rate: they tell people, and must not take the API server's time from Services.

use std::collections::VecDeque;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_config::objects::{Condition, ObjectKey, ObjectRef};

use crate::ipam::EventReason;

/// How many Events may go out at once, and how fast that fills up again.
pub const EVENTS_AT_ONCE: u32 = 100;
/// One Event in this time, when [`EVENTS_AT_ONCE`] are used up.
pub const EVENT_EVERY: Duration = Duration::from_millis(100);
/// How many Events may wait; beyond it the oldest that is no warning is dropped, and counted.
pub const EVENTS_WAITING: usize = 2048;

/// A Kubernetes Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The object that it is about.
    pub object: ObjectRef,
    /// Its `metadata.uid`.
    pub uid: String,
    /// What happened, in one word.
    pub reason: String,
    /// Of type `Warning`, not `Normal`.
    pub warning: bool,
    /// Of those about one object with one reason the newest alone counts.
    pub newest: bool,
    /// The text.
    pub text: String,
}

impl Note {
    /// About the addresses of a Service.
    pub(super) fn of_service(service: ObjectKey, uid: String, reason: EventReason, text: String) -> Self {
        // Of what a Service lacks the newest word counts; of addresses each.
        let newest = matches!(reason, EventReason::AllocationFailed | EventReason::NodesLeftOut);
        let object = ObjectRef::Service(service);
        Self { object, uid, reason: reason.to_string(), warning: reason.is_warning(), newest, text }
    }

    /// About a condition that has become True, or says something else.
    pub(super) fn of_condition(object: ObjectRef, uid: String, condition: &Condition) -> Self {
        let word = condition.kind.rsplit('/').next().unwrap_or_default();
        let text = condition.message.clone();
        Self { object, uid, reason: word.to_owned(), warning: true, newest: true, text }
    }
}

/// Events that wait.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    warnings: VecDeque<Note>,
    others: VecDeque<Note>,
    tokens: u32,
    /// When `tokens` was last filled up.
    filled: Timestamp,
    pub(super) dropped: u64,
}

impl Notes {
    pub(super) fn new() -> Self {
        Self {
            warnings: VecDeque::new(),
            others: VecDeque::new(),
            tokens: EVENTS_AT_ONCE,
            filled: Timestamp::ZERO,
            dropped: 0,
        }
    }

    pub(super) fn push(&mut self, note: Note) {
        let queue = if note.warning { &mut self.warnings } else { &mut self.others };
        let same = |other: &&mut Note| {
            other.object == note.object
                && other.reason == note.reason
                && (note.newest || other.text == note.text)
        };
        if let Some(waiting) = queue.iter_mut().find(same) {
            *waiting = note;
            return;
        }
        queue.push_back(note);
        if self.warnings.len() + self.others.len() > EVENTS_WAITING {
            self.dropped += 1;
            if self.others.pop_front().is_none() {
                self.warnings.pop_front();
            }
        }
    }

    /// What may go out now, warnings first.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<Note> {
        let every = u64::try_from(EVENT_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let passed = u64::try_from(now.since(self.filled).as_nanos()).unwrap_or(u64::MAX) / every;
        if passed > 0 {
            let fresh = u32::try_from(passed).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(fresh).min(EVENTS_AT_ONCE);
            self.filled = if self.tokens == EVENTS_AT_ONCE {
                now
            } else {
                self.filled + EVENT_EVERY.saturating_mul(fresh)
            };
        }
        let mut out = Vec::new();
        while self.tokens > 0 {
            let Some(note) = self.warnings.pop_front().or_else(|| self.others.pop_front()) else { break };
            self.tokens -= 1;
            out.push(note);
        }
        out
    }

    /// When the next may go out.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let waits = !(self.warnings.is_empty() && self.others.is_empty());
        waits.then(|| self.filled + EVENT_EVERY)
    }
}
