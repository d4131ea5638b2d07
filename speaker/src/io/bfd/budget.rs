//! How many datagrams are looked at: a flood must cost neither the timers nor the processor.

use std::time::Duration;

use bgp_proto::types::Timestamp;

/// Datagrams a second without any session, and for each session. A session at its fastest has 100 a second.
const BASE: u64 = 8_000;
const EACH: u64 = 800;
/// How long the thread looks away when it has looked at its share.
const PAUSE: Duration = Duration::from_millis(5);

/// A second's share may be used at once: after a stall of ours the sockets are full of what kept the sessions
/// up meanwhile, and it must be read before a detection time is found to have expired.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
    filled: Timestamp,
    /// Until then nothing is read.
    closed: Option<Timestamp>,
}

impl Budget {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { left: BASE, filled: now, closed: None }
    }

    /// Makes up for the time that has passed.
    pub(super) fn refill(&mut self, now: Timestamp, sessions: usize) {
        let rate = BASE + EACH * u64::try_from(sessions).unwrap_or(u64::MAX / EACH).min(100_000);
        let passed = now.since(self.filled).min(Duration::from_secs(1));
        let share = u64::try_from(u128::from(rate) * passed.as_nanos() / 1_000_000_000).unwrap_or(rate);
        if share > 0 {
            self.left = self.left.saturating_add(share).min(rate);
            self.filled = now;
        }
        if self.closed.is_some_and(|until| until <= now) {
            self.closed = None;
        }
    }

    /// One datagram; `false` where there is no share left.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        if self.closed.is_some() {
            return false;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.closed = Some(now + PAUSE);
                false
            }
        }
    }

    /// Until when nothing is read.
    pub(super) fn closed(&self) -> Option<Timestamp> {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    /// Takes as long as it can, every millisecond.
    fn flood(budget: &mut Budget, from: u64, millis: u64, sessions: usize) -> u64 {
        let mut taken = 0;
        for now in from..from + millis {
            budget.refill(at(now), sessions);
            while budget.take(at(now)) {
                taken += 1;
            }
            assert!(budget.closed().is_some_and(|until| until > at(now)));
        }
        taken
    }

    #[test]
    fn a_flood_gets_its_rate_and_no_more() {
        let mut budget = Budget::new(at(0));
        let first = flood(&mut budget, 0, 1000, 0);
        assert!((BASE..=2 * BASE).contains(&first), "{first}");
        let second = flood(&mut budget, 1000, 10_000, 0);
        assert!((BASE * 9..=BASE * 10).contains(&second), "{second}");
        let many = flood(&mut budget, 11_000, 10_000, 50);
        assert!((480_000 * 9 / 10..=500_000).contains(&many), "{many}");
    }

    #[test]
    fn after_a_stall_what_has_waited_is_read_at_once() {
        let mut budget = Budget::new(at(0));
        flood(&mut budget, 0, 500, 50);
        budget.refill(at(3500), 50);
        for _ in 0..48_000 {
            assert!(budget.take(at(3500)));
        }
        assert!(!budget.take(at(3500)), "a second's worth and no more");
    }
}
