//! What one pool contributes: its prefixes, advertisement by advertisement and family by family.

use bgp_proto::types::{Family, FamilyMap, Prefix};
use speaker_config::model::{PoolGate, PoolLengths, PoolPrefix};
use speaker_config::objects::{Block, UnixSeconds};

use super::advertisement::Prepared;
use super::gates::{self, PoolCount, Silent};
use super::surroundings::Surroundings;
use crate::cover::{CoverError, exact_cover, fixed_cover};
use crate::pools::PoolEntry;

/// The prefixes of one family that one advertisement announces once the gate is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The advertisement, by index.
    pub advertisement: usize,
    pub family: Family,
    pub when: PoolGate,
    pub prefixes: Vec<Prefix>,
}

/// What a pool's prefixes depend on, Services aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PoolState {
    pub created: UnixSeconds,
    pub disabled: bool,
    pub blocks: Vec<Block>,
    /// The fewest prefixes that cover the blocks.
    pub pieces: Vec<Prefix>,
    pub plans: Vec<Plan>,
}

impl PoolState {
    pub(super) fn of(
        entry: &PoolEntry,
        node: &str,
        advertisements: &[Prepared],
        surroundings: &Surroundings,
    ) -> Self {
        let pool = &entry.pool;
        let mut plans = Vec::new();
        let sound = gates::pool_sound(entry, &mut Silent);
        for (index, advertisement) in advertisements.iter().enumerate().filter(|_| sound) {
            let Some(wish) = advertisement.spec.pool_prefix else { continue };
            if !gates::pool_selected(advertisement, node, entry, &mut Silent) {
                continue;
            }
            for family in Family::ALL {
                let mut prefixes = cover(&pool.blocks, family, wish).unwrap_or_default();
                prefixes.retain(|prefix| surroundings.refusal(*prefix, advertisement).is_none());
                if !prefixes.is_empty() {
                    plans.push(Plan { advertisement: index, family, when: wish.when, prefixes });
                }
            }
        }
        let pieces = exact_cover(pool.blocks.iter().map(|block| block.bounds()));
        Self { created: pool.created, disabled: pool.disabled, blocks: pool.blocks.clone(), pieces, plans }
    }

    /// The prefixes whose gate is open, with the index of their advertisement.
    pub(super) fn open(&self, counts: FamilyMap<PoolCount>) -> impl Iterator<Item = (Prefix, usize)> {
        self.plans
            .iter()
            .filter(move |plan| {
                let count = *counts.get(plan.family);
                gates::pool_gate(plan.when, self.disabled, plan.family, count, &mut Silent)
            })
            .flat_map(|plan| plan.prefixes.iter().map(|prefix| (*prefix, plan.advertisement)))
    }
}

/// A pool's prefixes of one family, as `poolPrefix.lengths` wants them.
///
/// # Errors
/// The length asked for announces other people's addresses without leave, or splits into too many.
pub(super) fn cover(blocks: &[Block], family: Family, wish: PoolPrefix) -> Result<Vec<Prefix>, CoverError> {
    let ranges = blocks.iter().filter(|block| block.family() == family).map(|block| block.bounds());
    let len = match wish.lengths {
        PoolLengths::Exact => None,
        PoolLengths::Fixed(lengths) => *lengths.get(family),
    };
    match len {
        None => Ok(exact_cover(ranges)),
        Some(len) => fixed_cover(ranges, len, wish.allow_beyond_pool),
    }
}
