//! The clocks of the process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bgp_proto::types::Timestamp;
use speaker_config::objects::UnixSeconds;

/// Makes [`Timestamp`]s. Copies share the start, so that their readings can be compared.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let nanos = self.start.elapsed().as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Wall time, in seconds since 1970; 0 before that.
    #[must_use]
    pub fn unix(&self) -> UnixSeconds {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
    }

    /// The same point as the runtime's timers know it.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        let far = std::time::Duration::from_secs(365 * 24 * 3600);
        let since = std::time::Duration::from_nanos(at.as_nanos());
        tokio::time::Instant::from_std(self.start + since.min(self.start.elapsed() + far))
    }
}

/// The time since the machine booted, also while it slept: the clock by which a lease runs out. Processes of
/// one machine agree on it.
#[must_use]
pub fn boot_time() -> Timestamp {
    // The clock is there since Linux 2.6.39; without it nothing is ever in time.
    let read = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    let since = read.map_or(std::time::Duration::MAX, std::time::Duration::from);
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
impl Clock {
    /// A clock that has run for so long.
    pub(crate) fn started_before(ago: std::time::Duration) -> Self {
        Self { start: Instant::now() - ago }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn copies_agree_and_go_forward() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.now();
        assert!(copy.now() >= first);
        assert_eq!(
            clock.instant(first + Duration::from_secs(5)) - clock.instant(first),
            Duration::from_secs(5)
        );
    }

    #[test]
    fn a_point_at_the_end_of_time_is_far_but_finite() {
        let clock = Clock::start();
        assert!(clock.instant(Timestamp::from_nanos(u64::MAX)) > tokio::time::Instant::now());
    }
}
