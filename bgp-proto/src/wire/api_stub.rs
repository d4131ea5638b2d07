//! Signatures that the rest of the workspace builds against; the codec replaces this file.
#![allow(
    missing_docs,
    unused_variables,
    clippy::unimplemented,
    clippy::wildcard_imports,
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "replaced by the codec"
)]

use bytes::{Bytes, BytesMut};

use super::*;
use crate::types::{Family, Prefix};

pub(super) fn decode(body: &Bytes, context: &DecodeContext) -> Result<Update, DecodeError> {
    unimplemented!()
}

/// The UPDATE that says End-of-RIB for `family` (RFC 4724 §2).
#[must_use]
pub fn end_of_rib(family: Family) -> Bytes {
    unimplemented!()
}

/// Attributes do not fit into one message with even one prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path attributes take {size} octets and leave no room for a prefix in a message of {max}")]
pub struct AttributesTooLong {
    pub size: usize,
    pub max: usize,
}

/// Appends to `out` the fewest UPDATEs that announce `prefixes` (all of `family`) with these attributes.
///
/// # Errors
/// The attributes leave no room; nothing was appended.
pub fn pack_announcements(
    context: &EncodeContext,
    family: Family,
    attributes: &PathAttributes,
    next_hop: &NextHop,
    prefixes: impl IntoIterator<Item = Nlri>,
    out: &mut BytesMut,
) -> Result<usize, AttributesTooLong> {
    unimplemented!()
}

/// Appends to `out` the fewest UPDATEs that withdraw `prefixes` (all of `family`); says how many.
pub fn pack_withdrawals(
    context: &EncodeContext,
    family: Family,
    prefixes: impl IntoIterator<Item = Nlri>,
    out: &mut BytesMut,
) -> usize {
    unimplemented!()
}

impl NlriBlock {
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// How many destinations.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The destinations.
    pub fn iter(&self) -> impl Iterator<Item = Nlri> + '_ {
        std::iter::empty()
    }
}

impl From<Prefix> for Nlri {
    fn from(prefix: Prefix) -> Self {
        Self { path_id: None, prefix }
    }
}
