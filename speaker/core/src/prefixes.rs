//! Maps by destination in which the keys take 5 octets (IPv4) or 17 (IPv6): a full table has a million of them.

use std::array;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};

/// The octets of the address, then the length: they are in order where prefixes are.
type Key4 = [u8; 5];
type Key6 = [u8; 17];

enum Key {
    V4(Key4),
    V6(Key6),
}

impl From<Prefix> for Key {
    fn from(prefix: Prefix) -> Self {
        let len = prefix.len();
        match prefix.addr() {
            IpAddr::V4(v4) => Self::V4(key(v4.octets(), len)),
            IpAddr::V6(v6) => Self::V6(key(v6.octets(), len)),
        }
    }
}

fn key<const ADDRESS: usize, const KEY: usize>(address: [u8; ADDRESS], len: u8) -> [u8; KEY] {
    array::from_fn(|at| address.get(at).copied().unwrap_or(len))
}

fn prefix4(key: &Key4) -> Prefix {
    let [a, b, c, d, len] = *key;
    prefix([a, b, c, d].into(), len)
}

fn prefix6(key: &Key6) -> Prefix {
    let address: [u8; 16] = array::from_fn(|at| key.get(at).copied().unwrap_or_default());
    let [.., len] = *key;
    prefix(address.into(), len)
}

/// Every key was made of a prefix.
fn prefix(address: IpAddr, len: u8) -> Prefix {
    Prefix::new(address, len).unwrap_or_else(|_| Prefix::host(address))
}

/// Values by destination, in the order of [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixMap<V> {
    v4: BTreeMap<Key4, V>,
    v6: BTreeMap<Key6, V>,
}

/// Destinations, in the order of [`Prefix`].
pub type PrefixSet = PrefixMap<()>;

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }
}

impl<V> PrefixMap<V> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// How many of a family.
    #[must_use]
    pub fn len_of(&self, family: Family) -> usize {
        match family {
            Family::Ipv4Unicast => self.v4.len(),
            Family::Ipv6Unicast => self.v6.len(),
        }
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The value of a destination.
    #[must_use]
    pub fn get(&self, prefix: Prefix) -> Option<&V> {
        match prefix.into() {
            Key::V4(key) => self.v4.get(&key),
            Key::V6(key) => self.v6.get(&key),
        }
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, prefix: Prefix) -> Option<&mut V> {
        match prefix.into() {
            Key::V4(key) => self.v4.get_mut(&key),
            Key::V6(key) => self.v6.get_mut(&key),
        }
    }

    /// Whether there is a value.
    #[must_use]
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.get(prefix).is_some()
    }

    /// The value of a destination, made where there is none.
    pub fn entry(&mut self, prefix: Prefix) -> &mut V
    where
        V: Default,
    {
        match prefix.into() {
            Key::V4(key) => self.v4.entry(key).or_default(),
            Key::V6(key) => self.v6.entry(key).or_default(),
        }
    }

    /// Puts a value in; gives back the one that was there.
    pub fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        match prefix.into() {
            Key::V4(key) => self.v4.insert(key, value),
            Key::V6(key) => self.v6.insert(key, value),
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, prefix: Prefix) -> Option<V> {
        match prefix.into() {
            Key::V4(key) => self.v4.remove(&key),
            Key::V6(key) => self.v6.remove(&key),
        }
    }

    /// Takes the first out.
    pub fn pop_first(&mut self) -> Option<(Prefix, V)> {
        let first = self.v4.pop_first().map(|(key, value)| (prefix4(&key), value));
        first.or_else(|| self.v6.pop_first().map(|(key, value)| (prefix6(&key), value)))
    }

    /// Keeps those for which `stays` holds.
    pub fn retain(&mut self, mut stays: impl FnMut(Prefix, &mut V) -> bool) {
        self.v4.retain(|key, value| stays(prefix4(key), value));
        self.v6.retain(|key, value| stays(prefix6(key), value));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &V)> {
        let v4 = self.v4.iter().map(|(key, value)| (prefix4(key), value));
        v4.chain(self.v6.iter().map(|(key, value)| (prefix6(key), value)))
    }

    /// All of them, to change the values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Prefix, &mut V)> {
        let v4 = self.v4.iter_mut().map(|(key, value)| (prefix4(key), value));
        v4.chain(self.v6.iter_mut().map(|(key, value)| (prefix6(key), value)))
    }

    /// The destinations alone.
    pub fn keys(&self) -> impl Iterator<Item = Prefix> {
        self.iter().map(|(prefix, _)| prefix)
    }

    /// Puts all of `other` in.
    pub fn append(&mut self, mut other: Self) {
        self.v4.append(&mut other.v4);
        self.v6.append(&mut other.v6);
    }
}

impl<V> Extend<(Prefix, V)> for PrefixMap<V> {
    fn extend<T: IntoIterator<Item = (Prefix, V)>>(&mut self, all: T) {
        for (prefix, value) in all {
            self.insert(prefix, value);
        }
    }
}

impl<V> FromIterator<(Prefix, V)> for PrefixMap<V> {
    fn from_iter<T: IntoIterator<Item = (Prefix, V)>>(all: T) -> Self {
        let mut map = Self::default();
        map.extend(all);
        map
    }
}

/// What [`PrefixMap`] gives away.
#[derive(Debug)]
pub struct IntoIter<V> {
    v4: btree_map::IntoIter<Key4, V>,
    v6: btree_map::IntoIter<Key6, V>,
}

impl<V> Iterator for IntoIter<V> {
    type Item = (Prefix, V);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.v4.next().map(|(key, value)| (prefix4(&key), value));
        first.or_else(|| self.v6.next().map(|(key, value)| (prefix6(&key), value)))
    }
}

impl<V> IntoIterator for PrefixMap<V> {
    type Item = (Prefix, V);
    type IntoIter = IntoIter<V>;

    fn into_iter(self) -> IntoIter<V> {
        IntoIter { v4: self.v4.into_iter(), v6: self.v6.into_iter() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        let v4 = (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(addr, len)| Prefix::new(addr.into(), len).unwrap());
        let v6 =
            (any::<[u8; 16]>(), 0_u8..=128).prop_map(|(addr, len)| Prefix::new(addr.into(), len).unwrap());
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn it_is_a_map_by_prefix_in_its_order(all in prop::collection::vec((any_prefix(), any::<u8>()), 0..40)) {
            let naive: BTreeMap<Prefix, u8> = all.iter().copied().collect();
            let mut map: PrefixMap<u8> = all.iter().copied().collect();
            let seen: Vec<(Prefix, u8)> = map.iter().map(|(prefix, value)| (prefix, *value)).collect();
            prop_assert_eq!(&seen, &naive.iter().map(|(prefix, value)| (*prefix, *value)).collect::<Vec<_>>());
            prop_assert_eq!(map.clone().into_iter().collect::<Vec<_>>(), seen);
            prop_assert_eq!(map.len(), naive.len());
            prop_assert_eq!(Family::ALL.map(|family| map.len_of(family)).iter().sum::<usize>(), naive.len());
            for (prefix, value) in &naive {
                prop_assert_eq!(map.get(*prefix), Some(value));
            }
            let first = naive.first_key_value().map(|(prefix, value)| (*prefix, *value));
            prop_assert_eq!(map.pop_first(), first);
        }
    }
}
