//! Which addresses were given back, and in which order.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// More are not remembered: the longest free are forgotten, and count as never used.
const MAX: usize = 65_536;

/// Addresses in use with the number of their users, and those given back in the order in which that was.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    users: BTreeMap<IpAddr, usize>,
    order: BTreeMap<u64, IpAddr>,
    place: BTreeMap<IpAddr, u64>,
    next: u64,
}

impl Freed {
    /// One more user of `addr`.
    pub(super) fn take(&mut self, addr: IpAddr) {
        *self.users.entry(addr).or_default() += 1;
        if let Some(place) = self.place.remove(&addr) {
            self.order.remove(&place);
        }
    }

    /// One user less; the last one gives it back.
    pub(super) fn release(&mut self, addr: IpAddr) {
        let Some(users) = self.users.get_mut(&addr) else { return };
        *users -= 1;
        if *users == 0 {
            self.users.remove(&addr);
            self.give_back(addr);
        }
    }

    /// `addr` is free from now on.
    pub(super) fn give_back(&mut self, addr: IpAddr) {
        if let Some(place) = self.place.insert(addr, self.next) {
            self.order.remove(&place);
        }
        self.order.insert(self.next, addr);
        self.next += 1;
        if self.order.len() > MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.place.remove(&oldest);
        }
    }

    /// The longest free first.
    pub(super) fn list(&self) -> Vec<IpAddr> {
        self.order.values().copied().collect()
    }
}
