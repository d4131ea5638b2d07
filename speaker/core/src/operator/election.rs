//! Who leads: one holder of a Lease, by compare-and-swap on its resource version.
//!
//! Times are those of this host's boot-time clock. What stands in the Lease as a time is for people: that the
//! holder is alive is concluded from its Lease changing, and taking over waits the Lease's duration from the last
//! change *observed* here, so that no two hosts need clocks that agree.
//!
//! A leader is one until a time that lies a third of the duration before anybody else may take over. Writes that
//! began until then have ended (they have a timeout of less) when another begins.

use std::time::Duration;

use bgp_proto::types::Timestamp;

/// What the election is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionSettings {
    /// Who we are: different for each process, also for one that takes the place of another.
    pub identity: String,
    /// How long after its last renewal a Lease counts.
    pub duration: Duration,
}

impl ElectionSettings {
    /// For how long after a renewal began the leader is one.
    fn renew_within(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Between two renewals, and between two looks at another's Lease.
    fn every(&self) -> Duration {
        self.duration * 2 / 15
    }

    /// The longest that a write may take: less than lies between the end of our leading and another's begin.
    #[must_use]
    pub fn write_timeout(&self) -> Duration {
        self.duration / 4
    }
}

/// A Lease as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `spec.holderIdentity`; empty: nobody.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read the Lease.
    Read,
    /// Make it, with us as its holder.
    Create,
    /// Replace it, with us as its holder, if it still has this version.
    Update {
        /// `metadata.resourceVersion` that it must have.
        version: String,
        /// `spec.leaseTransitions` to write.
        transitions: i32,
        /// It is ours already: `acquireTime` stays.
        renewal: bool,
    },
    /// Nothing before this time.
    Wait(Timestamp),
}

/// What became of a [`Step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The Lease.
    Found(Record),
    /// There is none.
    Absent,
    /// It is written, and this is what stands there now.
    Written(Record),
    /// Somebody else wrote it first (409).
    Refused,
    /// No answer, or an error.
    Failed,
}

/// The election as one candidate sees it.
#[derive(Debug, Clone)]
pub struct Election {
    settings: ElectionSettings,
    /// What is known of the Lease, and since when it is like that.
    seen: Option<(Record, Timestamp)>,
    absent: bool,
    /// We lead until then.
    until: Option<Timestamp>,
    next: Timestamp,
    /// The Lease must be read before anything else.
    stale: bool,
}

impl Election {
    /// A candidate that knows nothing.
    #[must_use]
    pub fn new(settings: ElectionSettings) -> Self {
        Self { settings, seen: None, absent: false, until: None, next: Timestamp::ZERO, stale: true }
    }

    /// What is to be done now.
    #[must_use]
    pub fn step(&self, now: Timestamp) -> Step {
        if now < self.next {
            return Step::Wait(self.next);
        }
        if self.stale {
            return Step::Read;
        }
        match &self.seen {
            _ if self.absent => Step::Create,
            Some((record, since)) if now >= self.free_at(record, *since) => {
                let renewal = record.holder == self.settings.identity;
                let transitions = record.transitions.saturating_add(i32::from(!renewal));
                Step::Update { version: record.version.clone(), transitions, renewal }
            }
            _ => Step::Read,
        }
    }

    /// From when on we may write ourselves into a Lease that has been as it is since a time.
    fn free_at(&self, record: &Record, since: Timestamp) -> Timestamp {
        let duration = if record.duration.is_zero() { self.settings.duration } else { record.duration };
        let ours = record.holder.is_empty() || record.holder == self.settings.identity;
        if ours { since } else { since + duration }
    }

    /// Takes the answer to a step that was begun at `asked`.
    pub fn answer(&mut self, answer: Answer, asked: Timestamp, now: Timestamp) {
        let every = self.settings.every();
        match answer {
            Answer::Found(record) => {
                self.stale = false;
                self.absent = false;
                if record.holder != self.settings.identity {
                    self.until = None;
                }
                let since = match &self.seen {
                    Some((known, since)) if known.version == record.version => *since,
                    _ => now,
                };
                self.next = (now + every).min(self.free_at(&record, since)).max(now);
                self.seen = Some((record, since));
            }
            Answer::Absent => {
                // Somebody has deleted it: whoever makes it anew leads.
                self.until = None;
                self.stale = false;
                self.absent = true;
                self.seen = None;
                self.next = now;
            }
            Answer::Written(record) => {
                self.stale = false;
                self.absent = false;
                self.until = Some(asked + self.settings.renew_within());
                self.next = asked + every;
                self.seen = Some((record, now));
            }
            Answer::Refused => {
                self.stale = true;
                self.next = now;
            }
            // It may have been written all the same; the next look shows it.
            Answer::Failed => {
                self.stale = true;
                self.next = now + every / 4;
            }
        }
    }

    /// Until when we lead; in the past where we do no more.
    #[must_use]
    pub fn leads_until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Who leads, as far as is known.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|(record, _)| record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// Gives the Lease up; the version that the write must find, where it is ours to give.
    pub fn release(&mut self) -> Option<Record> {
        self.until = None;
        let (record, _) = self.seen.take()?;
        (record.holder == self.settings.identity).then_some(record)
    }
}

#[cfg(test)]
mod tests;
