//! Timers and their jitter.

use std::time::Duration;

use crate::random::Random;
use crate::types::Timestamp;

/// "A HoldTimer value of 4 minutes is suggested" for OpenSent (RFC 4271 §8.2.2).
pub(super) const OPEN_HOLD_TIME: Duration = Duration::from_secs(4 * 60);
/// A configured time shorter than this would be a loop, not a timer.
const SHORTEST: Duration = Duration::from_millis(10);
/// A longer time is as good as none.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Told of each timer, running or stopped, with its name.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&'static str, Timer);

/// A timer of RFC 4271 §8.1.3: stopped, or due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer(Option<Timestamp>);

impl Timer {
    pub(super) const STOPPED: Self = Self(None);

    pub(super) fn start(now: Timestamp, duration: Duration) -> Self {
        Self(Some(now + duration.clamp(SHORTEST, LONGEST)))
    }

    /// Stopped where there is no duration: a hold time of 0.
    pub(super) fn start_some(now: Timestamp, duration: Option<Duration>) -> Self {
        duration.map_or(Self::STOPPED, |duration| Self::start(now, duration))
    }

    pub(super) fn is_due(self, now: Timestamp) -> bool {
        self.0.is_some_and(|at| at <= now)
    }

    pub(super) const fn is_stopped(self) -> bool {
        self.0.is_none()
    }

    pub(super) const fn at(self) -> Option<Timestamp> {
        self.0
    }
}

/// Where jitter comes from: the same seed gives the same times.
#[derive(Debug, Clone)]
pub(super) struct Jitter(Random);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// "multiplying the base value of the appropriate timer by a random factor, which is uniformly
    /// distributed in the range from 0.75 to 1.0" (RFC 4271 §10).
    pub(super) fn apply(&mut self, base: Duration) -> Duration {
        let parts = self.0.within(768, 1024);
        base.min(LONGEST) * parts / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_covers_three_quarters_to_the_whole_and_repeats_with_its_seed() {
        let base = Duration::from_secs(1000);
        let draw = |seed| {
            let mut jitter = Jitter::new(seed);
            (0..2000).map(|_| jitter.apply(base)).collect::<Vec<_>>()
        };
        let times = draw(7);
        assert!(times.iter().all(|t| (Duration::from_secs(750)..=base).contains(t)), "{times:?}");
        assert!(times.iter().any(|t| *t < Duration::from_secs(755)));
        assert!(times.iter().any(|t| *t > Duration::from_secs(995)));
        assert_eq!(times, draw(7));
        assert_ne!(times, draw(8));
    }

    #[test]
    fn no_duration_is_short_enough_for_a_loop_or_long_enough_to_overflow() {
        let now = Timestamp::from_nanos(5);
        assert!(!Timer::start(now, Duration::ZERO).is_due(now));
        assert!(Timer::start(now, Duration::MAX).is_due(now + Duration::from_secs(100_000)));
        assert!(Jitter::new(1).apply(Duration::MAX) <= LONGEST);
    }
}
