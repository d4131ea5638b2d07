//! Addresses given back, in the order in which they may be used again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use speaker_config::objects::UnixSeconds;

/// How many are remembered; beyond it the longest free count as never used.
pub const MAX_FREED: usize = 65_536;

/// An address that was given back: it rests until nothing else is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Freed {
    /// The address.
    pub address: IpAddr,
    /// When it was given back. Their order is that of the list; a clock that jumps changes nothing.
    pub since: UnixSeconds,
}

/// A ticket in the queue: the lower, the longer free.
pub(super) type Ticket = u64;

/// The queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    order: BTreeMap<Ticket, Freed>,
    tickets: BTreeMap<IpAddr, Ticket>,
    next: Ticket,
}

impl Queue {
    pub(super) fn push(&mut self, freed: Freed) -> Ticket {
        self.take(freed.address);
        let ticket = self.next;
        self.next += 1;
        self.order.insert(ticket, freed);
        self.tickets.insert(freed.address, ticket);
        ticket
    }

    /// Takes an address out wherever it stands.
    pub(super) fn take(&mut self, address: IpAddr) -> Option<Ticket> {
        let ticket = self.tickets.remove(&address)?;
        self.order.remove(&ticket);
        Some(ticket)
    }

    /// The longest free, where the queue is longer than it may be.
    pub(super) fn overflow(&self) -> Option<IpAddr> {
        (self.order.len() > MAX_FREED)
            .then(|| self.order.values().next().map(|freed| freed.address))
            .flatten()
    }

    pub(super) fn address(&self, ticket: Ticket) -> Option<IpAddr> {
        self.order.get(&ticket).map(|freed| freed.address)
    }

    /// Tickets of the addresses between two.
    pub(super) fn between(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = (IpAddr, Ticket)> {
        self.tickets.range(first..=last).map(|(address, ticket)| (*address, *ticket))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Freed> {
        self.order.values().copied()
    }
}
