//! The reasons for one prefix, gathered from every object that could have one.

use bgp_proto::types::Prefix;
use speaker_config::objects::ObjectKey;

use super::Announcer;
use super::advertisement::reached_by;
use super::service::Held;
use crate::rib::{Contribution, Source, SourceKind};

impl Announcer {
    /// Every reason for a prefix, in the order of [`Route::contributions`].
    pub(super) fn contributions(&self, prefix: Prefix) -> Vec<Contribution> {
        let mut all = self.service_contributions(prefix);
        let others = self.pool_contributions(prefix).chain(self.fixed_contributions(prefix));
        // A pool prefix and a host route never share attributes: a route that every one of its peers is
        // told on a Service's behalf is that Service's.
        let others: Vec<_> = others
            .filter(|other| !reached_by(other.peers.as_deref(), all.iter().map(|one| one.peers.as_deref())))
            .collect();
        all.extend(others);
        all.sort_by(|a, b| (&a.source, &a.advertisement).cmp(&(&b.source, &b.advertisement)));
        all
    }

    pub(super) fn service_contributions(&self, prefix: Prefix) -> Vec<Contribution> {
        let mut all = Vec::new();
        // What "stands in `prefixes`" may leave, also on a Service's behalf.
        let stands = self.fixed.range((prefix, 0)..=(prefix, usize::MAX)).next().is_some();
        for (key, held) in self.held(prefix) {
            for index in &held.advertisements {
                let source = Source {
                    kind: SourceKind::Service,
                    namespace: Some(key.namespace.clone()),
                    name: key.name.clone(),
                };
                let advertisement = self.advertisements.get(*index);
                let covered = held.covered || stands;
                all.extend(advertisement.map(|one| one.contribution(source, held.created, covered)));
            }
        }
        all
    }

    fn pool_contributions(&self, prefix: Prefix) -> impl Iterator<Item = Contribution> {
        self.open_at(prefix).filter(move |_| self.local_lets_through(prefix)).filter_map(|(name, index)| {
            let source = Source { kind: SourceKind::Pool, namespace: None, name: name.to_owned() };
            let created = self.pools.get(name)?.created;
            Some(self.advertisements.get(index)?.contribution(source, created, true))
        })
    }

    /// The pools whose gate is open for a prefix, with the index of the advertisement.
    pub(super) fn open_at(&self, prefix: Prefix) -> impl Iterator<Item = (&str, usize)> {
        let from = self.open_by_prefix.range((prefix, String::new(), 0)..);
        from.take_while(move |(other, _, _)| *other == prefix).map(|(_, name, index)| (name.as_str(), *index))
    }

    fn fixed_contributions(&self, prefix: Prefix) -> impl Iterator<Item = Contribution> {
        self.fixed.range((prefix, 0)..=(prefix, usize::MAX)).filter_map(|(_, index)| {
            let advertisement = self.advertisements.get(*index)?;
            let name = advertisement.name.to_string();
            let source = Source { kind: SourceKind::Prefix, namespace: None, name };
            // It is as old as the configuration, older than every object.
            Some(advertisement.contribution(source, 0, true))
        })
    }

    /// The Services that BGP may announce and that have the address of a host route recorded.
    fn held(&self, prefix: Prefix) -> impl Iterator<Item = (&ObjectKey, &Held)> {
        let addr = prefix.addr();
        let keys = self.holders.get(&addr).filter(|_| prefix.is_host());
        keys.into_iter()
            .flatten()
            .filter_map(move |key| Some((key, self.services.get(key)?.addresses.get(&addr)?)))
    }

    /// Where a pool's prefix is itself a host route held by a Service with `externalTrafficPolicy:
    /// Local`, the Service's gate decides. It asks for more than any gate of the pool that could be open
    /// (a recorded address and a ready endpoint, on this node besides), `never` excepted, which stays.
    pub(super) fn local_lets_through(&self, prefix: Prefix) -> bool {
        let mut locals = self.held(prefix).filter_map(|(_, held)| held.local).peekable();
        locals.peek().is_none() || locals.any(|ready| ready)
    }
}
