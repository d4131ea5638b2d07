//! The reasons for one prefix, gathered from every object that could have one.

use bgp_proto::types::Prefix;

use super::Announcer;
use super::advertisement::reached_by;
use super::service::Held;
use crate::few::FewKeys;
use crate::rib::{Contribution, Contributions, Source, SourceKind};

impl Announcer {
    /// Every reason for a prefix, in the order of [`Route::contributions`](crate::rib::Route).
    pub(super) fn contributions(&self, prefix: Prefix) -> Option<Contributions> {
        let mut all = self.service_contributions(prefix);
        let pools = self.pool_contributions(prefix);
        // A pool prefix and a host route never share attributes: a route that every one of its peers is
        // told on a Service's behalf is that Service's.
        let own: Vec<_> = all.iter().map(|one| one.peers.clone()).collect();
        let stays = |one: &Contribution| !reached_by(one.peers.as_deref(), own.iter().map(Option::as_deref));
        all.extend(pools.chain(self.aggregate_contributions(prefix)).filter(stays));
        let mut fixed = self.fixed_at(prefix).filter(|one| one.iter().all(stays));
        if all.is_empty()
            && let Some(first) = fixed.next()
        {
            let Some(second) = fixed.next() else { return Some(first.clone()) };
            all.extend(first.iter().chain(second.iter()).cloned());
        }
        all.extend(fixed.flat_map(|one| one.iter()).cloned());
        all.sort_by(|a, b| (&a.source, &a.advertisement).cmp(&(&b.source, &b.advertisement)));
        (!all.is_empty()).then(|| all.into())
    }

    pub(super) fn service_contributions(&self, prefix: Prefix) -> Vec<Contribution> {
        let mut all = Vec::new();
        // What "stands in `prefixes`" may leave, also on a Service's behalf.
        let stands = self.fixed_at(prefix).next().is_some();
        let keys = self.holders.get(&prefix.addr()).filter(|_| prefix.is_host());
        for key in keys.into_iter().flat_map(FewKeys::keys) {
            for (index, claim) in self.services.get(key).into_iter().flat_map(|one| one.claims_of(prefix)) {
                let source = Source {
                    kind: SourceKind::Service,
                    namespace: Some(key.namespace.clone()),
                    name: key.name.clone(),
                };
                let advertisement = self.advertisements.get(index);
                let covered = claim.covered || stands;
                all.extend(advertisement.map(|one| one.contribution(source, claim.created, covered)));
            }
        }
        all
    }

    /// One for each advertisement that has Services behind the prefix.
    fn aggregate_contributions(&self, prefix: Prefix) -> impl Iterator<Item = Contribution> {
        let range = self.aggregates.range((prefix, 0)..=(prefix, usize::MAX));
        range.filter_map(|((_, index), count)| {
            Some(self.advertisements.get(*index)?.aggregated(count.covered > 0))
        })
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

    /// One list for each advertisement that has the prefix among its `prefixes`.
    fn fixed_at(&self, prefix: Prefix) -> impl Iterator<Item = &Contributions> {
        let range = self.fixed.range((prefix, 0)..=(prefix, usize::MAX));
        range.filter_map(|(_, index)| self.advertisements.get(*index)).map(|one| &one.fixed)
    }

    /// The Services that BGP may announce and that have the address of a host route recorded.
    fn held(&self, prefix: Prefix) -> impl Iterator<Item = &Held> {
        let addr = prefix.addr();
        let keys = self.holders.get(&addr).filter(|_| prefix.is_host());
        keys.into_iter()
            .flat_map(FewKeys::keys)
            .filter_map(move |key| self.services.get(key)?.addresses.get(&addr))
    }

    /// Where a pool's prefix is itself a host route held by a Service with `externalTrafficPolicy:
    /// Local`, the Service's gate decides. It asks for more than any gate of the pool that could be open
    /// (a recorded address and a ready endpoint, on this node besides), `never` excepted, which stays.
    pub(super) fn local_lets_through(&self, prefix: Prefix) -> bool {
        let mut locals = self.held(prefix).filter_map(|held| held.local).peekable();
        locals.peek().is_none() || locals.any(|ready| ready)
    }
}
