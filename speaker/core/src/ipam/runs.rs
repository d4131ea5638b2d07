//! A set of numbers as runs, so that the next gap is found without a walk.

use std::collections::BTreeMap;

/// Numbers, kept as disjoint inclusive runs of which no two touch: right after a run is a gap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Runs {
    /// First number to last.
    runs: BTreeMap<u128, u128>,
}

impl Runs {
    pub(super) fn contains(&self, number: u128) -> bool {
        self.around(number).is_some()
    }

    fn around(&self, number: u128) -> Option<(u128, u128)> {
        let (first, last) = self.runs.range(..=number).next_back()?;
        (*last >= number).then_some((*first, *last))
    }

    pub(super) fn insert(&mut self, number: u128) {
        if self.contains(number) {
            return;
        }
        let left = number.checked_sub(1).and_then(|left| self.around(left));
        let right = number.checked_add(1).and_then(|right| self.around(right));
        let first = left.map_or(number, |(first, _)| first);
        if let Some((first, _)) = right {
            self.runs.remove(&first);
        }
        self.runs.insert(first, right.map_or(number, |(_, last)| last));
    }

    pub(super) fn remove(&mut self, number: u128) {
        let Some((first, last)) = self.around(number) else { return };
        self.runs.remove(&first);
        if first < number {
            self.runs.insert(first, number - 1);
        }
        if number < last {
            self.runs.insert(number + 1, last);
        }
    }

    /// The lowest number between two, both included, that is not in the set.
    pub(super) fn gap(&self, first: u128, last: u128) -> Option<u128> {
        let gap = self.around(first).map_or(Some(first), |(_, end)| end.checked_add(1))?;
        (gap <= last).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_a_set(steps in proptest::collection::vec((any::<bool>(), 0..40u128), 0..120), low: bool) {
            // At both ends of the numbers.
            let at = |n: u128| if low { n } else { u128::MAX - 39 + n };
            let mut runs = Runs::default();
            let mut model = BTreeSet::new();
            for (add, n) in steps {
                if add {
                    runs.insert(at(n));
                    model.insert(n);
                } else {
                    runs.remove(at(n));
                    model.remove(&n);
                }
                for first in 0..40 {
                    prop_assert_eq!(runs.contains(at(first)), model.contains(&first));
                    let gap = (first..30).find(|n| !model.contains(n)).map(at);
                    if first < 30 {
                        prop_assert_eq!(runs.gap(at(first), at(29)), gap);
                    }
                }
                let ends = (0..40).filter(|n| model.contains(n) && !model.contains(&(n + 1))).count();
                prop_assert_eq!(runs.runs.len(), ends);
            }
        }
    }
}
