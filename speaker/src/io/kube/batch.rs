//! What is asked of the API server, and what comes of it.

use std::sync::Arc;

use bgp_proto::types::Timestamp;

use super::kind::Resource;
use super::mirror::Delta;

/// What of a kind is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// One namespace; absent is all.
    pub(crate) namespace: Option<String>,
    /// A label selector.
    pub(crate) labels: Option<String>,
    /// One object, by its name.
    pub(crate) name: Option<String>,
    /// It is no fault where the API server does not know the kind.
    pub(crate) optional: bool,
    /// Everything works without the kind, though something better with it: where the API server does not know it, or
    /// does not let us read it, that holds nothing up.
    pub(crate) dispensable: bool,
    /// `metadata` alone: that an object is there is all that is asked.
    pub(crate) metadata: bool,
}

impl Filter {
    /// The name of the source: the kind's plural, and the object's name where there is but one.
    pub(crate) fn source(&self, resource: &Resource) -> Arc<str> {
        match &self.name {
            Some(name) => format!("{}/{name}", resource.plural).into(),
            None => resource.plural.into(),
        }
    }
}

/// Where changes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Events, in their order.
    Watch,
    /// A page of a list, of which more follow.
    Page,
    /// The end of a list, with what is gone since the last one.
    LastPage,
}

/// Changes of one kind that belong together.
#[derive(Debug)]
pub(crate) struct Batch<T, R> {
    /// [`Filter::source`].
    pub(crate) source: Arc<str>,
    /// The version of its API that is in use.
    pub(crate) version: &'static str,
    /// When they were handed over.
    pub(crate) handed_over: Timestamp,
    /// In order.
    pub(crate) deltas: Vec<Delta<T, R>>,
    /// Set once: the first list is complete.
    pub(crate) synced: bool,
    /// Where they come from.
    pub(crate) part: Part,
    /// What is wrong, where that changed: with the API server, the kind, or single objects.
    pub(crate) faults: Option<Vec<String>>,
}
