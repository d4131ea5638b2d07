//! What a node announced last, as it is kept for the next process while the API server is away (design §5, "Silence is not
//! emptiness"; ADR 12).
//!
//! ```text
//! World, complete ─► Snapshot ─► KeptSet ─► a file ─► KeptSet ─► World::open_kept ─► the first lists
//! ```
//!
//! A route is kept by its reasons, not by its attributes: those are of the configuration in force when it is announced
//! again, and a reason whose advertisement is gone is none.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp_proto::types::Prefix;
use serde::{Deserialize, Serialize};
use speaker_config::objects::{Object, UnixSeconds};
use thiserror::Error;

use crate::rib::{Contributions, Route, Source};

/// The format of [`KeptSet`] that this version writes and reads.
pub const VERSION: u32 = 1;

/// The most routes that are kept, some 20 MB on the disk.
pub const MOST_ROUTES: usize = 100_000;

/// How long the API server is waited for where some peer does not keep routes: they are gone there already.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that is kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptSet {
    /// This node's own objects: its Node and CiliumNode, and Cilium's BGP kinds. Never a Secret.
    pub objects: Vec<Object>,
    /// The Loc-RIB.
    pub routes: Vec<KeptRoute>,
    /// When it was made.
    pub written: UnixSeconds,
}

/// A route that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptRoute {
    /// Its prefix.
    pub prefix: Prefix,
    /// [`Route::since`].
    pub since: UnixSeconds,
    /// Why it was announced.
    pub reasons: Vec<KeptReason>,
}

/// A [`crate::rib::Contribution`] without what its advertisement says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptReason {
    /// The advertisement's name.
    pub advertisement: String,
    /// The object.
    pub source: Source,
    /// When the object was created.
    pub created: UnixSeconds,
    /// It may leave where the peer has no `export` list.
    pub covered: bool,
}

/// What is to be kept, cheap to take: its routes share their reasons with the Loc-RIB.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// [`KeptSet::objects`].
    pub(crate) objects: Vec<Object>,
    /// The Loc-RIB.
    pub(crate) routes: BTreeMap<Prefix, Route>,
    /// [`Snapshot::patience`].
    pub(crate) patience: Duration,
}

/// Why nothing is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotKept {
    /// What is drained stays silent when it comes back.
    #[error("the node is drained")]
    Drained,
    /// The file would be too long.
    #[error("{0} routes are more than the {MOST_ROUTES} that are kept")]
    TooMany(usize),
}

impl Snapshot {
    /// How long the next process is to wait for the API server before it announces this: half of the time for which
    /// its peers keep its routes, since nobody tells how much of that has gone by when it starts.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// As it is kept.
    #[must_use]
    pub fn into_set(self, written: UnixSeconds) -> KeptSet {
        let reasons = |all: &Contributions| {
            let each = all.iter().map(|one| KeptReason {
                advertisement: one.advertisement.as_ref().to_owned(),
                source: one.source.clone(),
                created: one.created,
                covered: one.covered,
            });
            each.collect()
        };
        let routes = self.routes.iter().map(|(prefix, route)| KeptRoute {
            prefix: *prefix,
            since: route.since,
            reasons: reasons(&route.contributions),
        });
        KeptSet { routes: routes.collect(), objects: self.objects, written }
    }
}

/// The patience that peers with these restart times (RFC 4724 §3; absent where the peer keeps nothing) leave.
pub(crate) fn patience(restart_times: impl Iterator<Item = Option<u16>>) -> Duration {
    let each = restart_times.map(|time| time.map_or(PATIENCE, |time| Duration::from_secs(time.into()) / 2));
    each.min().unwrap_or(PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_half_of_the_time_that_the_least_patient_peer_keeps_routes() {
        let of = |times: &[Option<u16>]| patience(times.iter().copied());
        assert_eq!(of(&[]), PATIENCE);
        assert_eq!(of(&[Some(120)]), Duration::from_secs(60));
        assert_eq!(of(&[Some(120), Some(5)]), Duration::from_millis(2500));
        assert_eq!(of(&[Some(120), None]), PATIENCE);
    }
}
