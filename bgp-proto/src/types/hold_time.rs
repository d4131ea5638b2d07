//! Hold time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A hold time in seconds: 0 (no hold timer, no keepalives) or at least 3 (RFC 4271 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct HoldTime(u16);

/// "An implementation MUST reject Hold Time values of one or two seconds" (RFC 4271 §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a hold time of {0} s is not acceptable: it is 0 or at least 3 s (RFC 4271 §4.2)")]
pub struct HoldTimeError(pub u16);

impl HoldTime {
    /// No hold timer and no keepalives.
    pub const ZERO: Self = Self(0);
    /// RFC 4271 §10 suggests 90 seconds.
    pub const DEFAULT: Self = Self(90);

    /// A hold time of `seconds`; `None` for 1 and 2.
    #[must_use]
    pub const fn new(seconds: u16) -> Option<Self> {
        match seconds {
            1 | 2 => None,
            other => Some(Self(other)),
        }
    }

    /// Seconds.
    #[must_use]
    pub const fn seconds(self) -> u16 {
        self.0
    }

    /// The time without a message after which the peer counts as dead; `None` where the timer is off.
    #[must_use]
    pub const fn duration(self) -> Option<Duration> {
        match self.0 {
            0 => None,
            seconds => Some(Duration::from_secs(seconds as u64)),
        }
    }

    /// "the smaller of its configured Hold Time and the Hold Time received in the OPEN" (RFC 4271 §4.2).
    #[must_use]
    pub fn negotiate(self, theirs: Self) -> Self {
        self.min(theirs)
    }

    /// "A reasonable maximum time between KEEPALIVE messages would be one third of the Hold Time
    /// interval" and "MUST NOT be sent more frequently than one per second" (RFC 4271 §4.4).
    #[must_use]
    pub fn keepalive(self) -> Option<Duration> {
        self.duration().map(|hold| (hold / 3).max(Duration::from_secs(1)))
    }
}

impl TryFrom<u16> for HoldTime {
    type Error = HoldTimeError;

    fn try_from(seconds: u16) -> Result<Self, HoldTimeError> {
        Self::new(seconds).ok_or(HoldTimeError(seconds))
    }
}

impl From<HoldTime> for u16 {
    fn from(hold: HoldTime) -> Self {
        hold.seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_seconds_are_refused() {
        let ok: Vec<u16> = (0..6).filter(|s| HoldTime::new(*s).is_some()).collect();
        assert_eq!(ok, [0, 3, 4, 5]);
    }

    #[test]
    fn a_third_of_three_is_one_second_and_never_less() {
        assert_eq!(HoldTime::new(3).unwrap().keepalive(), Some(Duration::from_secs(1)));
        assert_eq!(HoldTime::new(9).unwrap().keepalive(), Some(Duration::from_secs(3)));
        assert_eq!(HoldTime::ZERO.keepalive(), None);
    }

    #[test]
    fn zero_on_either_side_turns_the_timer_off() {
        let ninety = HoldTime::DEFAULT;
        assert_eq!(ninety.negotiate(HoldTime::ZERO), HoldTime::ZERO);
        assert_eq!(ninety.negotiate(HoldTime::new(9).unwrap()).seconds(), 9);
    }
}
