//! What each pool has left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, FamilyMap};
use speaker_config::objects::{Block, Pool, Selector, Service, UnixSeconds};

use super::ask::chosen;
use super::freed::Ticket;
use crate::pools::{PoolEntry, span};
use crate::span::Span;

/// Whether the pool may hand out an address.
pub(super) fn usable(entry: &PoolEntry) -> bool {
    !entry.pool.disabled && entry.conflict.is_none() && entry.pool.faults.is_empty()
}

/// Whether the pool serves the Service: the one's selector and the other's choice allow it. A pool whose
/// selector cannot be read serves it, so that nobody loses an address by a slip of the pen; it is not usable
/// either way.
pub(super) fn selects(pool: &Pool, service: &Service) -> bool {
    chosen(service, &pool.name)
        && (pool.faults.iter().any(|fault| fault.starts_with("spec.serviceSelector"))
            || pool.selector.as_ref().is_none_or(|selector| service.selected_by(selector)))
}

/// The part of a block that may be handed out: all of it, or a CIDR of more than two addresses without its ends.
fn lot(pool: &Pool, block: Block) -> Option<Span> {
    let mut span = span(block)?;
    if pool.reserve_first_last && matches!(block, Block::Cidr(_)) && span.last - span.first >= 2 {
        span.first += 1;
        span.last -= 1;
    }
    Some(span)
}

/// Whether a block of the pool holds the address and keeps it back.
pub(super) fn reserved(pool: &Pool, address: IpAddr) -> bool {
    pool.blocks.iter().any(|block| {
        span(*block).is_some_and(|span| span.contains(address))
            && !lot(pool, *block).is_some_and(|lot| lot.contains(address))
    })
}

/// What of a pool matters to the allocator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) blocks: Vec<Block>,
    created: UnixSeconds,
    selector: Option<Selector>,
    reserve: bool,
    usable: bool,
    faults: Vec<String>,
}

impl Shape {
    pub(super) fn of(entry: &PoolEntry) -> Self {
        let pool = &entry.pool;
        Self {
            blocks: pool.blocks.clone(),
            created: pool.created,
            selector: pool.selector.clone(),
            reserve: pool.reserve_first_last,
            usable: usable(entry),
            faults: pool.faults.clone(),
        }
    }
}

/// One pool's account, by family.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) shape: Shape,
    /// Addresses handed out or kept back, block by block.
    pub(super) used: FamilyMap<u64>,
    /// Before this place in the list no block has an address that was never used.
    cursor: FamilyMap<usize>,
    /// Freed addresses that may be handed out again.
    resting: FamilyMap<BTreeSet<Ticket>>,
}

impl Shelf {
    /// A pool as it stands, with what is owned and what rests between two addresses.
    pub(super) fn new(
        entry: &PoolEntry,
        owned: impl Fn(IpAddr, IpAddr) -> u64,
        resting: impl Fn(IpAddr, IpAddr) -> Vec<Ticket>,
    ) -> Self {
        let mut shelf = Self {
            shape: Shape::of(entry),
            used: FamilyMap::default(),
            cursor: FamilyMap::default(),
            resting: FamilyMap::default(),
        };
        for block in &entry.pool.blocks {
            let (Some(whole), Some(lot)) = (span(*block), lot(&entry.pool, *block)) else { continue };
            let kept_back = if whole == lot { 0 } else { 2 };
            let (first, last) = lot.addrs();
            *shelf.used.get_mut(whole.family) += kept_back + owned(first, last);
            shelf.resting.get_mut(whole.family).extend(resting(first, last));
        }
        shelf
    }

    /// In how many blocks the address counts as handed out when somebody has it.
    fn weight(pool: &Pool, address: IpAddr) -> u64 {
        let lots = pool.blocks.iter().filter_map(|block| lot(pool, *block));
        lots.filter(|lot| lot.contains(address)).map(|_| 1).sum()
    }

    pub(super) fn taken(&mut self, pool: &Pool, address: IpAddr) {
        *self.used.get_mut(Family::of(address)) += Self::weight(pool, address);
    }

    pub(super) fn given_back(&mut self, pool: &Pool, address: IpAddr) {
        let used = self.used.get_mut(Family::of(address));
        *used = used.saturating_sub(Self::weight(pool, address));
    }

    pub(super) fn rest(&mut self, pool: &Pool, address: IpAddr, ticket: Ticket) {
        if Self::weight(pool, address) > 0 {
            self.resting.get_mut(Family::of(address)).insert(ticket);
        }
    }

    /// The address rests no longer; when it is free all the same it counts as never used.
    pub(super) fn rested(&mut self, address: IpAddr, ticket: Ticket, free: bool) {
        self.resting.get_mut(Family::of(address)).remove(&ticket);
        if free {
            self.look_again(address);
        }
    }

    /// The address counts as never used again.
    pub(super) fn look_again(&mut self, address: IpAddr) {
        *self.cursor.get_mut(Family::of(address)) = 0;
    }

    pub(super) fn longest_free(&self, family: Family) -> Option<Ticket> {
        self.resting.get(family).first().copied()
    }

    /// The lowest address of the first block in which `gap` finds one.
    pub(super) fn fresh(
        &mut self,
        pool: &Pool,
        family: Family,
        gap: impl Fn(Span) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let cursor = self.cursor.get_mut(family);
        while let Some(block) = pool.blocks.get(*cursor) {
            if block.family() == family
                && let Some(found) = lot(pool, *block).and_then(&gap)
            {
                return Some(found);
            }
            *cursor += 1;
        }
        None
    }
}

/// The accounts of all pools, by name.
pub(super) type Stock = BTreeMap<String, Shelf>;
