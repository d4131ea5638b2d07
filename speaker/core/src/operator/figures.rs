//! What the metrics show besides pools and Services.

use super::Operator;

/// A look at the operator's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Statuses that are to be written.
    pub writes_waiting: usize,
    /// Statuses that are being written.
    pub writes_in_flight: usize,
    /// Outcomes of writes.
    pub counters: Counters,
    /// Events that were dropped, since more came than may go out.
    pub events_dropped: u64,
}

impl Operator {
    /// Figures as they are now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            writes_waiting: self.desk.wanted(),
            writes_in_flight: self.desk.in_flight(),
            counters: self.counters,
            events_dropped: self.notes.dropped,
        }
    }
}

/// Counted since this process leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Writes that were stored.
    pub written: u64,
    /// Writes that were refused, since the object had changed.
    pub conflicts: u64,
    /// Writes that failed otherwise.
    pub failed: u64,
}
