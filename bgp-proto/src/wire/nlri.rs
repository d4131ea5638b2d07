//! Network Layer Reachability Information.

use bytes::Bytes;

use crate::types::{Family, Prefix};

/// One destination: a prefix, and a path identifier where ADD-PATH is in use (RFC 7911 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    /// The path identifier.
    pub path_id: Option<u32>,
    /// The destination.
    pub prefix: Prefix,
}

/// A run of NLRI that was checked once and stays in wire form, so that counting a full table costs no
/// allocation a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NlriBlock {
    pub(crate) family: Family,
    pub(crate) add_path: bool,
    pub(crate) count: usize,
    pub(crate) bytes: Bytes,
}
