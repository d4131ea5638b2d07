//! Who has which address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, FamilyMap};
use serde::{Deserialize, Serialize};
use speaker_config::objects::{ObjectKey, UnixSeconds};

use super::freed::{Freed, Queue};
use super::runs::Runs;
use super::sharing::Terms;
use super::stock::{Shape, Shelf, Stock};
use super::waiting::Seniority;
use crate::pools::{PoolEntry, Pools};
use crate::span::{Span, addr, bits};

/// How far a claim to an address has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Proposed; the store has not echoed it yet.
    InFlight,
    /// The object's status has it.
    Recorded,
}

/// What one Service has, and on which terms it got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) created: UnixSeconds,
    pub(super) terms: Terms,
    pub(super) addresses: BTreeSet<IpAddr>,
}

/// Owners of addresses, addresses given back, and what that leaves of each pool. An address is in one of three
/// states: owned, resting (given back, in the queue), or never used.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    owners: BTreeMap<IpAddr, BTreeMap<ObjectKey, Standing>>,
    holdings: BTreeMap<ObjectKey, Holding>,
    /// Sharing key to the addresses that its Services have.
    shared: BTreeMap<String, BTreeSet<(IpAddr, ObjectKey)>>,
    /// Owned or resting.
    spent: FamilyMap<Runs>,
    queue: Queue,
    stock: Stock,
    /// Pools whose account changed since it was last reported.
    pub(super) unreported: BTreeSet<String>,
    /// The queue changed since that was last reported.
    pub(super) queue_changed: bool,
}

impl Ledger {
    /// An empty ledger with a queue, longest free first.
    pub(super) fn new(freed: impl IntoIterator<Item = Freed>) -> Self {
        let mut ledger = Self::default();
        for entry in freed {
            ledger.queue.push(entry);
            ledger.spent.get_mut(Family::of(entry.address)).insert(bits(entry.address));
            ledger.trim(&Pools::default());
        }
        ledger
    }

    pub(super) fn freed(&self) -> impl Iterator<Item = Freed> {
        self.queue.iter()
    }

    pub(super) fn owners(&self, address: IpAddr) -> impl Iterator<Item = (&ObjectKey, Standing)> {
        self.owners.get(&address).into_iter().flatten().map(|(key, standing)| (key, *standing))
    }

    pub(super) fn holding(&self, key: &ObjectKey) -> Option<&Holding> {
        self.holdings.get(key)
    }

    pub(super) fn holds(&self, key: &ObjectKey, address: IpAddr) -> bool {
        self.owners.get(&address).is_some_and(|owners| owners.contains_key(key))
    }

    pub(super) fn addresses(&self, key: &ObjectKey) -> impl Iterator<Item = IpAddr> {
        self.holdings.get(key).into_iter().flat_map(|holding| &holding.addresses).copied()
    }

    /// Everybody who has an address between two.
    pub(super) fn owners_between(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = &ObjectKey> {
        self.owners.range(first..=last).flat_map(|(_, owners)| owners.keys())
    }

    /// Owners of an address with whom `terms` do not go together, with the reason.
    pub(super) fn clashes<'a>(
        &'a self,
        address: IpAddr,
        key: &'a ObjectKey,
        terms: &'a Terms,
    ) -> impl Iterator<Item = (Seniority, Standing, &'static str)> + 'a {
        self.owners(address).filter(move |(owner, _)| *owner != key).filter_map(move |(owner, standing)| {
            let holding = self.holdings.get(owner)?;
            let why = terms.clash(&holding.terms)?;
            Some(((holding.created, owner.clone()), standing, why))
        })
    }

    /// The addresses that Services with this sharing key have, lowest first.
    pub(super) fn shared(&self, key: &str) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> =
            self.shared.get(key).into_iter().flatten().map(|(address, _)| *address).collect();
        addresses.dedup();
        addresses
    }

    /// The sharing keys of an address's owners.
    pub(super) fn keys_at(&self, address: IpAddr) -> BTreeSet<String> {
        let terms = self.owners(address).filter_map(|(owner, _)| Some(&self.holdings.get(owner)?.terms));
        terms.filter_map(|terms| terms.key.clone()).collect()
    }

    /// Puts down who the Service is and on which terms it shares, before it joins or as these change.
    pub(super) fn introduce(&mut self, (created, key): &Seniority, terms: Terms) {
        if let Some(holding) = self.holdings.get_mut(key) {
            let (before, after) = (holding.terms.key.clone(), terms.key.clone());
            holding.terms = terms;
            holding.created = *created;
            if before != after {
                let addresses: Vec<IpAddr> = holding.addresses.iter().copied().collect();
                for address in addresses {
                    self.unshare(before.as_deref(), address, key);
                    self.share(after.clone(), address, key);
                }
            }
        } else {
            let holding = Holding { created: *created, terms, addresses: BTreeSet::new() };
            self.holdings.insert(key.clone(), holding);
        }
    }

    fn share(&mut self, sharing_key: Option<String>, address: IpAddr, key: &ObjectKey) {
        if let Some(sharing_key) = sharing_key {
            self.shared.entry(sharing_key).or_default().insert((address, key.clone()));
        }
    }

    fn unshare(&mut self, sharing_key: Option<&str>, address: IpAddr, key: &ObjectKey) {
        let Some(sharing_key) = sharing_key else { return };
        if let Some(group) = self.shared.get_mut(sharing_key) {
            group.remove(&(address, key.clone()));
            if group.is_empty() {
                self.shared.remove(sharing_key);
            }
        }
    }

    /// A Service that was introduced gets an address, or its claim to it comes further.
    pub(super) fn join(&mut self, pools: &Pools, address: IpAddr, key: &ObjectKey, standing: Standing) {
        let Some(holding) = self.holdings.get_mut(key) else { return };
        let sharing_key = holding.terms.key.clone();
        holding.addresses.insert(address);
        self.share(sharing_key, address, key);
        let owners = self.owners.entry(address).or_default();
        let first = owners.is_empty();
        owners.insert(key.clone(), standing);
        if first {
            self.spent.get_mut(Family::of(address)).insert(bits(address));
            let ticket = self.queue.take(address);
            self.queue_changed |= ticket.is_some();
            self.at_shelves(pools, address, |shelf, entry| {
                shelf.taken(&entry.pool, address);
                if let Some(ticket) = ticket {
                    shelf.rested(address, ticket, false);
                }
            });
        }
    }

    /// A Service gives an address back; without owners it goes to the end of the queue.
    pub(super) fn leave(&mut self, pools: &Pools, address: IpAddr, key: &ObjectKey, now: UnixSeconds) {
        let Some(owners) = self.owners.get_mut(&address) else { return };
        if owners.remove(key).is_none() {
            return;
        }
        let last = owners.is_empty();
        if let Some(holding) = self.holdings.get_mut(key) {
            holding.addresses.remove(&address);
            let sharing_key = holding.terms.key.clone();
            self.unshare(sharing_key.as_deref(), address, key);
        }
        if last {
            self.owners.remove(&address);
            let ticket = self.queue.push(Freed { address, since: now });
            self.queue_changed = true;
            self.at_shelves(pools, address, |shelf, entry| {
                shelf.given_back(&entry.pool, address);
                shelf.rest(&entry.pool, address, ticket);
            });
            self.trim(pools);
        }
    }

    /// Forgets a Service with its addresses, which do not rest: they never were anybody else's.
    pub(super) fn vacate(&mut self, pools: &Pools, key: &ObjectKey) {
        let Some(holding) = self.holdings.remove(key) else { return };
        for address in holding.addresses {
            self.unshare(holding.terms.key.as_deref(), address, key);
            let Some(owners) = self.owners.get_mut(&address) else { continue };
            owners.remove(key);
            if owners.is_empty() {
                self.owners.remove(&address);
                self.spent.get_mut(Family::of(address)).remove(bits(address));
                self.at_shelves(pools, address, |shelf, entry| {
                    shelf.given_back(&entry.pool, address);
                    shelf.look_again(address);
                });
            }
        }
    }

    /// Forgets a Service that has no address any more.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.holdings.remove(key);
    }

    /// Keeps the queue within its bounds.
    fn trim(&mut self, pools: &Pools) {
        while let Some(address) = self.queue.overflow() {
            let Some(ticket) = self.queue.take(address) else { return };
            self.spent.get_mut(Family::of(address)).remove(bits(address));
            self.at_shelves(pools, address, |shelf, _| shelf.rested(address, ticket, true));
        }
    }

    fn at_shelves(&mut self, pools: &Pools, address: IpAddr, mut act: impl FnMut(&mut Shelf, &PoolEntry)) {
        for entry in pools.containing(address) {
            if let Some(shelf) = self.stock.get_mut(&entry.pool.name) {
                act(shelf, entry);
                if !self.unreported.contains(&entry.pool.name) {
                    self.unreported.insert(entry.pool.name.clone());
                }
            }
        }
    }

    /// Takes a pool's present form over; gives the former one where the two differ in what matters.
    pub(super) fn restock(&mut self, name: &str, entry: Option<&PoolEntry>) -> Option<Option<Shape>> {
        self.unreported.insert(name.to_owned());
        let before = self.stock.get(name).map(|shelf| shelf.shape.clone());
        if before == entry.map(Shape::of) {
            return None;
        }
        self.stock.remove(name);
        if let Some(entry) = entry {
            let shelf = Shelf::new(
                entry,
                |first, last| self.owners.range(first..=last).map(|_| 1).sum(),
                |first, last| self.queue.between(first, last).map(|(_, ticket)| ticket).collect(),
            );
            self.stock.insert(name.to_owned(), shelf);
        }
        Some(before)
    }

    pub(super) fn shelf(&self, name: &str) -> Option<&Shelf> {
        self.stock.get(name)
    }

    /// The address that the pool would hand out: the lowest of the first block that has one that was
    /// never used; where there is none, the longest free.
    pub(super) fn next(&mut self, entry: &PoolEntry, family: Family) -> Option<IpAddr> {
        let spent = self.spent.get(family);
        let gap = |lot: Span| spent.gap(lot.first, lot.last).map(|bits| addr(family, bits));
        let shelf = self.stock.get_mut(&entry.pool.name)?;
        shelf
            .fresh(&entry.pool, family, gap)
            .or_else(|| shelf.longest_free(family).and_then(|ticket| self.queue.address(ticket)))
    }
}
