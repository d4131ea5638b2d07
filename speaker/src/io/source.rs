//! What every source of objects hands to the hub, wherever it has them from.

use std::sync::Arc;

use bgp_proto::types::Timestamp;
use speaker_config::objects::{Object, ObjectRef};

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange {
    /// A new version, with the status that is recorded.
    Upsert(Object),
    /// It is gone.
    Delete(ObjectRef),
}

/// Changes of one source that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceBatch {
    /// The source's name, as [`speaker_core::world::Start::sources`] has it.
    pub source: Arc<str>,
    /// When they were handed over.
    pub handed_over: Timestamp,
    /// In order.
    pub changes: Vec<ObjectChange>,
    /// Set on exactly one batch of a source, perhaps an empty one: its first full list is complete.
    pub synced: bool,
    /// Everything that is not in force as it stands, where that changed: what, where, and what to do.
    pub faults: Option<Vec<String>>,
}
