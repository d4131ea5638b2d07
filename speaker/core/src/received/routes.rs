//! The destinations that a peer announces, in as few octets as what is asked of them allows.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::wire::Nlri;

use super::Details;
use crate::prefixes::PrefixSet;

/// The destinations kept of one family.
#[derive(Debug)]
pub(super) enum Routes {
    /// Counted alone: those without and those with a path identifier (RFC 7911).
    Counted(PrefixSet, BTreeSet<Nlri>),
    /// With what was said of them (`receive: all`).
    Detailed(BTreeMap<Nlri, Details>),
}

impl Default for Routes {
    fn default() -> Self {
        Self::Counted(PrefixSet::default(), BTreeSet::new())
    }
}

impl Routes {
    /// None; to be kept with their details or without.
    pub(super) fn new(detailed: bool) -> Self {
        if detailed { Self::Detailed(BTreeMap::new()) } else { Self::default() }
    }

    /// The same kind of table, empty.
    pub(super) fn emptied(&self) -> Self {
        Self::new(matches!(self, Self::Detailed(_)))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Counted(plain, identified) => plain.len() + identified.len(),
            Self::Detailed(all) => all.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn contains(&self, nlri: &Nlri) -> bool {
        match (self, nlri.path_id) {
            (Self::Counted(plain, _), None) => plain.contains(nlri.prefix),
            (Self::Counted(_, identified), Some(_)) => identified.contains(nlri),
            (Self::Detailed(all), _) => all.contains_key(nlri),
        }
    }

    /// What was said of it; nothing where it is counted alone, or not kept.
    pub(super) fn details(&self, nlri: &Nlri) -> Option<&Details> {
        match self {
            Self::Counted(..) => None,
            Self::Detailed(all) => all.get(nlri),
        }
    }

    /// Keeps it, with what is said of it now.
    pub(super) fn insert(&mut self, nlri: Nlri, details: Option<&Details>) {
        match (self, nlri.path_id, details) {
            (Self::Counted(plain, _), None, _) => drop(plain.insert(nlri.prefix, ())),
            (Self::Counted(_, identified), Some(_), _) => drop(identified.insert(nlri)),
            (Self::Detailed(all), _, Some(details)) => drop(all.insert(nlri, details.clone())),
            (Self::Detailed(_), _, None) => {}
        }
    }

    pub(super) fn remove(&mut self, nlri: &Nlri) {
        match (self, nlri.path_id) {
            (Self::Counted(plain, _), None) => drop(plain.remove(nlri.prefix)),
            (Self::Counted(_, identified), Some(_)) => drop(identified.remove(nlri)),
            (Self::Detailed(all), _) => drop(all.remove(nlri)),
        }
    }

    /// All of them, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Nlri, Option<&Details>)> {
        let (counted, detailed) = match self {
            Self::Counted(plain, identified) => (Some((plain, identified)), None),
            Self::Detailed(all) => (None, Some(all)),
        };
        let counted = counted.into_iter().flat_map(|(plain, identified)| {
            plain.keys().map(Nlri::from).chain(identified.iter().copied()).map(|nlri| (nlri, None))
        });
        let detailed = detailed.into_iter().flatten().map(|(nlri, details)| (*nlri, Some(details)));
        counted.chain(detailed)
    }
}
