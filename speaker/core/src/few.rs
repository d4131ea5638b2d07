//! Maps that hold one or two entries each, by the thousand: a B-tree's first node has room for eleven.

use std::ops::RangeBounds;

/// A map as a sorted list, as long as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Few<K, V>(Vec<(K, V)>);

/// The same without values.
pub(crate) type FewKeys<K> = Few<K, ()>;

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Few<K, V> {
    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// The value, made where there is none.
    pub(crate) fn or_insert(&mut self, key: K, value: V) -> &mut V {
        let at = self.find(&key).unwrap_or_else(|at| {
            self.0.reserve_exact(1);
            self.0.insert(at, (key, value));
            at
        });
        #[expect(clippy::indexing_slicing, reason = "the entry was found or made at this place")]
        &mut self.0[at].1
    }

    /// Puts a value in the place of the one before.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (key, value));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
            self.0.shrink_to_fit();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Those whose keys lie in a range: all of them are looked at.
    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        self.iter().filter(move |(key, _)| range.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in proptest::collection::vec((0..4_u8, 0..6_u8, 0..9_u16), 0..40)) {
            let (mut few, mut map) = (Few::default(), BTreeMap::new());
            for (kind, key, value) in steps {
                match kind {
                    0 => {
                        few.insert(key, value);
                        map.insert(key, value);
                    }
                    1 => {
                        few.remove(&key);
                        map.remove(&key);
                    }
                    _ => {
                        *few.or_insert(key, value) += 1;
                        *map.entry(key).or_insert(value) += 1;
                    }
                }
                prop_assert!(few.iter().eq(map.iter()) && few.keys().eq(map.keys()) && few.values().eq(map.values()));
                prop_assert!(few.range(2..5).eq(map.range(2..5)));
                prop_assert_eq!((few.get(&key), few.contains_key(&key)), (map.get(&key), map.contains_key(&key)));
                prop_assert_eq!((few.is_empty(), few.0.capacity()), (map.is_empty(), few.0.len()));
            }
        }
    }
}
