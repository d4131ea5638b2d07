//! How long changes take from their source to the wire.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bgp_proto::types::Timestamp;
use futures_util::task::AtomicWaker;
use speaker_core::export::Told;

use crate::metrics::Durations;

/// Bits of a value that a bucket keeps below the highest one: a quantile is at most a sixteenth too high.
const PRECISION: u32 = 4;
const PER_OCTAVE: usize = 1 << PRECISION;
/// The first octave takes in everything below it.
const BUCKETS: usize = (64 - PRECISION as usize + 1) * PER_OCTAVE;

/// Wakes a peer's task when its tables have moved, and tells it since when. One task waits.
#[derive(Debug, Default)]
pub(super) struct Moved {
    told: AtomicBool,
    waiting: AtomicWaker,
    since: Mutex<Option<Timestamp>>,
}

impl Moved {
    /// The tables have moved; `since` is when their source told of it, where that is known.
    pub(super) fn wake(&self, since: Option<Timestamp>) {
        if since.is_some() {
            let mut first = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            *first = first.or(since);
        }
        self.told.store(true, Ordering::Release);
        self.waiting.wake();
    }

    /// Waits for it.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let told = || self.told.swap(false, Ordering::Acquire);
        if told() {
            return Poll::Ready(());
        }
        self.waiting.register(cx.waker());
        // It may have been told before somebody waited.
        if told() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Since when the eldest change has been waiting, told once.
    pub(super) fn take(&self) -> Option<Timestamp> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How often each delay occurred, in buckets that grow with it.
#[derive(Debug)]
pub(super) struct Delays {
    buckets: Box<[u32; BUCKETS]>,
    changes: u64,
    longest: Duration,
    /// Of the changes that announced something.
    advertise: Durations,
    /// Of those that withdrew something.
    withdraw: Durations,
}

/// From the moment when a source told the hub of a change until its last octet was written to the peer.
/// Changes that came together are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// How many changes.
    pub changes: u64,
    /// Half of them took at most so long.
    pub median: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// The slowest.
    pub longest: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; BUCKETS]),
            changes: 0,
            longest: Duration::ZERO,
            advertise: Durations::default(),
            withdraw: Durations::default(),
        }
    }
}

impl Delays {
    pub(super) fn add(&mut self, delay: Duration, told: Told) {
        if told.announced {
            self.advertise.add(delay);
        }
        if told.withdrawn {
            self.withdraw.add(delay);
        }
        self.changes += 1;
        self.longest = self.longest.max(delay);
        if let Some(count) = self.buckets.get_mut(bucket(nanos(delay))) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn advertise(&self) -> &Durations {
        &self.advertise
    }

    pub(super) fn withdraw(&self) -> &Durations {
        &self.withdraw
    }

    /// `None` before the first.
    pub(super) fn propagation(&self) -> Option<Propagation> {
        (self.changes > 0).then(|| Propagation {
            changes: self.changes,
            median: self.quantile(50),
            p99: self.quantile(99),
            longest: self.longest,
        })
    }

    /// What `percent` of the delays do not exceed.
    fn quantile(&self, percent: u64) -> Duration {
        let mut left = (self.changes * percent).div_ceil(100);
        for (bucket, count) in self.buckets.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 {
                return Duration::from_nanos(last_of(bucket)).min(self.longest);
            }
        }
        self.longest
    }
}

fn nanos(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket(nanos: u64) -> usize {
    let octave = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION + 1);
    let within = usize::try_from(nanos >> octave).unwrap_or(usize::MAX);
    octave as usize * PER_OCTAVE + within
}

/// The highest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let octave = (bucket / PER_OCTAVE).saturating_sub(1);
    let within = bucket - octave * PER_OCTAVE;
    let next = (within as u128 + 1) << octave;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_at_most_a_sixteenth_above_it() {
        let mut last = 0;
        for value in (0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + power / 3, power + power / 2]
        }) {
            let at = bucket(value);
            assert!(at >= last && at < BUCKETS, "{value}: {at}");
            last = at;
            let end = last_of(at);
            assert!(end >= value && end - value <= value / 16, "{value}: {end}");
        }
        assert_eq!(last_of(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_are_of_all_that_was_added() {
        let mut delays = Delays::default();
        assert_eq!(delays.propagation(), None);
        for micros in 1..=1000 {
            let told = Told { announced: micros > 100, withdrawn: micros <= 300 };
            delays.add(Duration::from_micros(micros), told);
        }
        let seen = delays.propagation().unwrap();
        assert_eq!((seen.changes, seen.longest), (1000, Duration::from_millis(1)));
        let near = |value: Duration, micros: u64| {
            let exact = Duration::from_micros(micros);
            assert!(value >= exact && value <= exact + exact / 16, "{value:?}");
        };
        near(seen.median, 500);
        near(seen.p99, 990);
        assert_eq!((delays.advertise().count(), delays.withdraw().count()), (900, 300));
    }

    #[test]
    fn the_eldest_change_counts() {
        let moved = Moved::default();
        let at = |nanos| Some(Timestamp::from_nanos(nanos));
        moved.wake(at(5));
        moved.wake(None);
        moved.wake(at(7));
        assert_eq!((moved.take(), moved.take()), (at(5), None));
    }

    #[tokio::test]
    async fn no_move_is_lost_before_or_while_somebody_waits() {
        let moved = std::sync::Arc::new(Moved::default());
        let wait = || std::future::poll_fn(|cx| moved.poll(cx));
        moved.wake(None);
        moved.wake(None);
        wait().await;
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, wait()).await.is_err(), "two before one look are one");
        for _ in 0..1000 {
            let waker = std::sync::Arc::clone(&moved);
            let told = std::thread::spawn(move || waker.wake(None));
            tokio::time::timeout(Duration::from_secs(20), wait()).await.expect("woken");
            told.join().unwrap();
        }
    }
}
