//! What of an UPDATE is asked for, copied out of the message that it came in.

use std::sync::Arc;

use bgp_proto::types::Family;
use bgp_proto::wire::{NextHop, Nlri, PathAttributes, Update};

use super::route::Rules;

/// What of an UPDATE `learn` lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sifted {
    /// Destinations that are gone.
    pub withdrawn: Vec<Nlri>,
    /// Destinations by their next hops.
    pub announced: Vec<(NextHop, Vec<Nlri>)>,
    /// What all of those have in common. Attributes that nobody here knows are left out.
    pub attributes: Arc<PathAttributes>,
    /// End-of-RIB.
    pub end_of_rib: Option<Family>,
}

/// `None` where nothing of it is asked for.
#[must_use]
pub fn sift(update: &Update, rules: &Rules) -> Option<Sifted> {
    let asked = |nlri: &Nlri| rules.accepts(nlri.prefix);
    let withdrawn: Vec<Nlri> =
        update.withdrawn.iter().flat_map(bgp_proto::wire::NlriBlock::iter).filter(asked).collect();
    let blocks = update.announced.iter().map(|block| {
        let nlri: Vec<Nlri> = block.nlri.iter().filter(asked).collect();
        (block.next_hop, nlri)
    });
    let announced: Vec<_> = blocks.filter(|(_, nlri)| !nlri.is_empty()).collect();
    if withdrawn.is_empty() && announced.is_empty() && update.end_of_rib.is_none() {
        return None;
    }
    let attributes = if announced.is_empty() {
        PathAttributes::default()
    } else {
        PathAttributes { unknown: Vec::new(), ..update.attributes.clone() }
    };
    Some(Sifted { withdrawn, announced, attributes: Arc::new(attributes), end_of_rib: update.end_of_rib })
}
