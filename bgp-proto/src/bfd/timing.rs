//! What each side asks for and what both get (RFC 5880 §6.8.2 to §6.8.4). Microseconds, as on the wire.

use std::num::NonZeroU8;
use std::time::Duration;

use crate::random::Random;

/// "When bfd.SessionState is not Up, the system MUST set bfd.DesiredMinTxInterval to a value of not less than
/// one second" (RFC 5880 §6.8.3).
pub(super) const SLOW: u32 = 1_000_000;

/// How a session is to detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Between our packets, while Up; the peer may ask for a longer one.
    pub transmit: Duration,
    /// The shortest interval between the peer's packets that we take.
    pub receive: Duration,
    /// After how many packets that did not come the peer takes us for gone.
    pub detect_multiplier: NonZeroU8,
}

/// Desired Min TX and Required Min RX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Intervals {
    pub(super) tx: u32,
    pub(super) rx: u32,
}

impl Config {
    /// What to announce.
    pub(super) fn intervals(&self, up: bool) -> Intervals {
        let tx = micros(self.transmit);
        Intervals { tx: if up { tx } else { tx.max(SLOW) }, rx: micros(self.receive) }
    }
}

/// At least 1: a Required Min RX of zero would ask for silence.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1)
}

/// The share of the interval that passes before the next packet, in 1/1024.
///
/// "the interval MUST be reduced by a random value of 0 to 25% … If bfd.DetectMult is equal to 1, the interval
/// between transmitted BFD Control packets MUST be no more than 90% of the negotiated transmission interval,
/// and MUST be no less than 75%" (RFC 5880 §6.8.7).
pub(super) fn share(random: &mut Random, detect_multiplier: NonZeroU8) -> u32 {
    random.within(768, if detect_multiplier.get() == 1 { 921 } else { 1024 })
}

/// `share` of `interval`.
pub(super) fn shortened(interval: u32, share: u32) -> Duration {
    Duration::from_nanos(u64::from(interval) * 1000 * u64::from(share) / 1024)
}

/// "the value of Detect Mult received from the remote system, multiplied by the agreed transmit interval of the
/// remote system (the greater of bfd.RequiredMinRxInterval and the last received Desired Min TX Interval)"
/// (RFC 5880 §6.8.4).
pub(super) fn detection_time(multiplier: NonZeroU8, our_rx: u32, their_tx: u32) -> Duration {
    Duration::from_micros(u64::from(multiplier.get()) * u64::from(our_rx.max(their_tx)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_keeps_to_its_bounds_and_reaches_them() {
        for (multiplier, most) in [(1, 90), (2, 100), (3, 100)] {
            let mut random = Random::new(7);
            let times: Vec<Duration> = (0..5000)
                .map(|_| shortened(1_000_000, share(&mut random, NonZeroU8::new(multiplier).unwrap())))
                .collect();
            let (least, longest) = (times.iter().min().unwrap(), times.iter().max().unwrap());
            let bound = Duration::from_millis(most * 10);
            assert!(*least >= Duration::from_millis(750) && *least < Duration::from_millis(752), "{least:?}");
            assert!(*longest <= bound && *longest > bound - Duration::from_millis(2), "{longest:?}");
        }
    }

    #[test]
    fn no_interval_overflows() {
        let config =
            Config { transmit: Duration::MAX, receive: Duration::ZERO, detect_multiplier: NonZeroU8::MAX };
        assert_eq!(config.intervals(true), Intervals { tx: u32::MAX, rx: 1 });
        let longest = detection_time(NonZeroU8::MAX, u32::MAX, 1);
        assert_eq!(longest.as_micros(), 255 * u128::from(u32::MAX));
        assert!(shortened(u32::MAX, 1024) > Duration::from_secs(4000));
    }
}
