//! The second half of a turn: who gets what.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::objects::Service;

use super::ask::{families, passed_over, requested};
use super::ledger::Standing;
use super::status::{Failure, satisfied};
use super::stock::{reserved, selects, usable};
use super::waiting::{Seniority, Wait};
use super::{EventReason, ServiceStatus, Turn};
use crate::pools::PoolEntry;

impl Turn<'_> {
    /// Serves the marked Services and those that wait for what was set free, first created first.
    pub(super) fn grant(&mut self) {
        let mut supply = BTreeSet::new();
        let mut served = BTreeSet::new();
        self.wake(&mut supply);
        while let Some(who) = self.next(&mut supply, &served) {
            self.serve(&who);
            served.insert(who);
            self.wake(&mut supply);
        }
    }

    /// Calls those that wait for an address whose owners changed, by name or to join these; notes the pools in
    /// which somebody may now find a free one.
    fn wake(&mut self, supply: &mut BTreeSet<(String, Family)>) {
        for address in std::mem::take(&mut self.moved) {
            let ipam = &self.ipam;
            self.work.extend(ipam.waiting.for_name(address).cloned());
            for key in ipam.ledger.keys_at(address) {
                self.work.extend(ipam.waiting.for_key(&key).cloned());
            }
            if ipam.ledger.owners(address).next().is_none() {
                let pools = self.inputs.pools.containing(address);
                supply.extend(pools.map(|entry| (entry.pool.name.clone(), Family::of(address))));
            }
        }
    }

    /// The eldest of those that were called and of those that wait for a pool with a free address. Of the latter
    /// no more are looked at than there are addresses.
    fn next(
        &mut self,
        supply: &mut BTreeSet<(String, Family)>,
        served: &BTreeSet<Seniority>,
    ) -> Option<Seniority> {
        let mut eldest = self.work.first().cloned();
        supply.retain(|pool| {
            let waiting = self.ipam.waiting.for_pool(pool).find(|who| !served.contains(who));
            let (Some(who), Some(entry)) = (waiting, self.inputs.pools.get(&pool.0)) else { return false };
            if !usable(entry) || self.ipam.ledger.next(entry, pool.1).is_none() {
                return false;
            }
            if eldest.as_ref().is_none_or(|eldest| who < eldest) {
                eldest = Some(who.clone());
            }
            true
        });
        self.work.remove(eldest.as_ref()?);
        eldest
    }

    /// Gives one Service what it lacks, and says what its status is to be.
    fn serve(&mut self, who: &Seniority) {
        let (_, key) = who;
        self.visit(key);
        let Some(service) = self.inputs.services.get(key) else { return };
        let Some(holding) = self.ipam.ledger.holding(key) else { return };
        // What is being deleted keeps what it has, and gets nothing more.
        if service.deleting {
            self.ipam.waiting.clear(who);
            let ingress = self.ingress(service, &[]);
            let conditions = super::status::recorded(service).cloned().into_iter().collect();
            return self.record(ServiceStatus { key: key.clone(), ingress, conditions });
        }
        let sharing_key = holding.terms.key.clone();
        let named = requested(service);
        let (failure, mut wait) =
            if named.is_empty() { self.grant_any(service) } else { self.grant_named(service, &named) };
        let condition = satisfied(service, failure.as_ref());
        let ingress = self.ingress(service, &named);
        self.record(ServiceStatus { key: key.clone(), ingress, conditions: vec![condition] });
        if failure.is_some() {
            wait.key = sharing_key;
            self.ipam.waiting.set(who, wait);
        } else {
            self.ipam.waiting.clear(who);
        }
        self.failures.insert(key.clone(), failure);
    }

    /// What the Service has: in the recorded order, then as asked for by name, then by address.
    fn ingress(&self, service: &Service, named: &[IpAddr]) -> Vec<IpAddr> {
        let held: BTreeSet<IpAddr> = self.ipam.ledger.addresses(&service.key).collect();
        let mut ingress: Vec<IpAddr> = Vec::new();
        for address in service.ingress.iter().chain(named).chain(&held) {
            if held.contains(address) && !ingress.contains(address) {
                ingress.push(*address);
            }
        }
        ingress
    }

    /// Gives the addresses asked for by name. With several failures the last one is told, as in Cilium.
    fn grant_named(&mut self, service: &Service, named: &[IpAddr]) -> (Option<Failure>, Wait) {
        let mut wait = Wait::default();
        let mut failure = None;
        for address in named {
            if self.ipam.ledger.holds(&service.key, *address) {
                continue;
            }
            match self.why_not(service, *address) {
                None => self.give(service, *address),
                Some(why) => {
                    wait.names.insert(*address);
                    failure = Some(why);
                }
            }
        }
        (failure, wait)
    }

    fn why_not(&self, service: &Service, address: IpAddr) -> Option<Failure> {
        let ledger = &self.ipam.ledger;
        let usable: Vec<&PoolEntry> =
            self.inputs.pools.containing(address).filter(|entry| usable(entry)).collect();
        let Some(entry) = usable.iter().find(|entry| selects(&entry.pool, service)) else {
            let mismatch = !usable.is_empty();
            return Some(if mismatch { Failure::mismatch(address) } else { Failure::no_pool_for(address) });
        };
        let free = ledger.owners(address).next().is_none();
        if free {
            return reserved(&entry.pool, address).then(|| Failure::taken(address));
        }
        let terms = &ledger.holding(&service.key)?.terms;
        if terms.key.is_none() {
            return Some(Failure::taken(address));
        }
        let (_, _, why) = ledger.clashes(address, &service.key, terms).next()?;
        Some(Failure::incompatible(address, why))
    }

    /// Gives an address of each family that the Service wants and lacks.
    fn grant_any(&mut self, service: &Service) -> (Option<Failure>, Wait) {
        let mut wait = Wait::default();
        let mut failure = None;
        for family in families(service, &self.ipam.settings) {
            if self.ipam.ledger.addresses(&service.key).any(|address| Family::of(address) == family) {
                continue;
            }
            if let Some(address) = self.beside_others(service, family).or_else(|| self.fresh(service, family))
            {
                self.give(service, address);
                continue;
            }
            let pools = self.pools_for(service, family).map(|entry| (entry.pool.name.clone(), family));
            let before = wait.pools.len();
            wait.pools.extend(pools);
            let served = wait.pools.len() > before;
            failure = Some(if served { Failure::out_of_ips() } else { Failure::no_pool() });
        }
        (failure, wait)
    }

    /// The lowest address that the Service may share.
    fn beside_others(&self, service: &Service, family: Family) -> Option<IpAddr> {
        let ledger = &self.ipam.ledger;
        let terms = &ledger.holding(&service.key)?.terms;
        ledger.shared(terms.key.as_deref()?).into_iter().find(|address| {
            let mut pools = self.inputs.pools.containing(*address);
            Family::of(*address) == family
                && pools.any(|entry| usable(entry) && selects(&entry.pool, service))
                && ledger.clashes(*address, &service.key, terms).next().is_none()
        })
    }

    /// The pools that may serve the Service, in the order in which they are asked.
    fn pools_for(&self, service: &Service, family: Family) -> impl Iterator<Item = &PoolEntry> {
        self.inputs.pools.by_preference().filter(move |entry| {
            usable(entry)
                && selects(&entry.pool, service)
                && entry.pool.blocks.iter().any(|block| block.family() == family)
        })
    }

    fn fresh(&mut self, service: &Service, family: Family) -> Option<IpAddr> {
        let inputs = self.inputs;
        inputs
            .pools
            .by_preference()
            .filter(|entry| usable(entry) && selects(&entry.pool, service))
            .find_map(|entry| self.ipam.ledger.next(entry, family))
    }

    fn give(&mut self, service: &Service, address: IpAddr) {
        self.ipam.ledger.join(&self.inputs.pools, address, &service.key, Standing::InFlight);
        self.moved.insert(address);
        let mut note = format!("Assigned {address}");
        for remark in passed_over(service) {
            note.push_str("; ");
            note.push_str(&remark);
        }
        self.event(&service.key, EventReason::Allocated, note);
    }
}
