//! A histogram of durations, counted where they are measured and shown when somebody asks.

use std::time::Duration;

/// Upper bounds of the buckets, in seconds; one more has no bound.
pub(super) const BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often durations fell between fixed bounds, from 100 µs to 10 s.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    counts: [u64; BOUNDS.len()],
    beyond: u64,
    sum: Duration,
}

impl Durations {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        // OpenMetrics: a bucket holds what is less than or equal to its bound.
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        *self.counts.get_mut(at).unwrap_or(&mut self.beyond) += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bucket's upper bound and count, not cumulative; the last has no bound.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounded = BOUNDS.iter().copied().zip(self.counts);
        bounded.chain([(f64::INFINITY, self.beyond)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_its_bound() {
        let mut durations = Durations::default();
        for micros in [0, 100, 101, 1_000, 1_001, 10_000_000, 10_000_001] {
            durations.add(Duration::from_micros(micros));
        }
        let filled: Vec<(f64, u64)> =
            durations.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        let expected = [(0.0001, 2), (0.00025, 1), (0.001, 1), (0.0025, 1), (10.0, 1), (f64::INFINITY, 1)];
        assert_eq!(filled, expected);
        assert_eq!(durations.count(), 7);
        assert_eq!(durations.sum(), Duration::from_micros(20_002_203));
    }
}
