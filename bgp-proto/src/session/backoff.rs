//! IdleHoldTime (RFC 4271 §8.1.1, DampPeerOscillations): each failure doubles it.

use std::time::Duration;

use super::TimerConfig;
use super::timers::Jitter;
use crate::types::HoldTime;

/// What counts as "stayed up" for a session without a hold timer.
const STAYED_UP_WITHOUT_HOLD: Duration = Duration::from_secs(90);

/// ConnectRetryCounter of RFC 4271 §8.1.1, which is reset by a start and by a session that lasted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// A session ended that had been up for `up`. Only one that outlived its hold time forgives what was
    /// before: a peer that comes up and falls again at once must not be met at full speed.
    pub(super) fn session_ended(&mut self, up: Duration, hold_time: HoldTime) {
        if up > hold_time.duration().unwrap_or(STAYED_UP_WITHOUT_HOLD) {
            self.reset();
        }
    }

    /// Counts a failure and says how long to stay in Idle.
    pub(super) fn fail(&mut self, timers: &TimerConfig, jitter: &mut Jitter) -> Duration {
        let longest = timers.idle_hold_max.max(timers.idle_hold);
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        jitter.apply(timers.idle_hold.saturating_mul(factor).min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: &mut Backoff, times: usize) -> Vec<Duration> {
        let (timers, mut jitter) = (TimerConfig::default(), Jitter::new(1));
        (0..times).map(|_| backoff.fail(&timers, &mut jitter)).collect()
    }

    #[test]
    fn idle_hold_time_doubles_up_to_its_cap() {
        let mut backoff = Backoff::default();
        let waits = waits(&mut backoff, 9);
        for (wait, expected) in waits.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
            let whole = Duration::from_secs(expected);
            assert!((whole * 3 / 4..=whole).contains(wait), "{waits:?}");
        }
    }

    #[test]
    fn only_a_session_that_outlived_its_hold_time_resets_it() {
        let mut backoff = Backoff::default();
        waits(&mut backoff, 5);
        backoff.session_ended(Duration::from_secs(9), HoldTime::new(9).unwrap());
        assert_eq!(backoff.failures, 5);
        backoff.session_ended(Duration::from_secs(89), HoldTime::ZERO);
        assert_eq!(backoff.failures, 5);
        backoff.session_ended(Duration::from_secs(10), HoldTime::new(9).unwrap());
        assert_eq!(backoff.failures, 0);
    }
}
