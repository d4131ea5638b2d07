//! The Loc-RIB: every prefix that this node has a reason to announce, with all its reasons.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use bgp_proto::types::Prefix;
use serde::{Deserialize, Serialize};
use speaker_config::model::RouteAttributes;
use speaker_config::objects::UnixSeconds;

/// What a route stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceKind {
    /// A prefix of a pool.
    Pool,
    /// An address of a Service.
    Service,
    /// One of an advertisement's `prefixes`.
    Prefix,
    /// A prefix that stands for addresses of Services, where a CiliumBGPAdvertisement aggregates.
    Aggregate,
}

/// Where a route comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Its kind.
    pub kind: SourceKind,
    /// The Service's namespace.
    pub namespace: Option<String>,
    /// The name of the Service, the pool or the advertisement.
    pub name: String,
}

/// One reason to announce a prefix: an advertisement and an object that it selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// The advertisement's name.
    pub advertisement: Arc<str>,
    /// The object.
    pub source: Source,
    /// When the object was created: with `maxAdvertised` the eldest go first.
    pub created: UnixSeconds,
    /// What the advertisement says of attributes.
    pub attributes: Arc<RouteAttributes>,
    /// The peers that the advertisement names; absent is every peer.
    pub peers: Option<Arc<BTreeSet<String>>>,
    /// The prefix lies inside a pool or stands in `prefixes`, so that it may leave where the peer has no
    /// `export` list.
    pub covered: bool,
}

/// Reasons in order, shared: 200,000 prefixes of one advertisement have one list between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contributions(Arc<[Contribution]>);

impl From<Vec<Contribution>> for Contributions {
    fn from(all: Vec<Contribution>) -> Self {
        Self(all.into())
    }
}

impl Deref for Contributions {
    type Target = [Contribution];

    fn deref(&self) -> &[Contribution] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Contributions {
    type Item = &'a Contribution;
    type IntoIter = std::slice::Iter<'a, Contribution>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// A prefix with its reasons, never none, ordered by kind of source, name and advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The reasons. Those of kind [`SourceKind::Service`] never share attributes with the others: where
    /// both kinds meet on one prefix, the Services' alone count. Others are left out where every peer that
    /// they name is told on a Service's behalf; a peer that is not still has them.
    pub contributions: Contributions,
    /// When the prefix came into the table.
    pub since: UnixSeconds,
}

/// The Loc-RIB.
#[derive(Debug, Clone, Default)]
pub struct LocRib {
    /// Routes by prefix.
    pub routes: BTreeMap<Prefix, Route>,
}
