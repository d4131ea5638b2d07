//! The first half of a turn: which claims stand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::objects::{ObjectKey, Service};

use super::ask::{families, is_ours, requested};
use super::ledger::Standing;
use super::sharing::Terms;
use super::stock::selects;
use super::waiting::Seniority;
use super::{EventReason, FailureReason, ServiceStatus, Turn, status};

/// A claim to an address that the ledger does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    who: Seniority,
    address: IpAddr,
    /// The Service had the address with others, on terms that it has changed. Absent: its status has the
    /// address, and the ledger did not know.
    had: Option<Standing>,
}

const NOT_OURS: &str = "the Service is not ours any more";
const DELETED: &str = "the Service is deleted";
const NOT_REQUESTED: &str = "it is not requested any more";
const FAMILY: &str = "its family is not requested any more";
const NO_POOL: &str = "no pool that selects the Service contains it";
const INCOMPATIBLE: &str = "the Services that share it are no longer compatible";
const TAKEN: &str = "another Service has it";

impl Turn<'_> {
    /// Goes over the marked Services. Youngest first: where several change the terms of one address, the
    /// eldest is the last to be looked at and thus the one that stays.
    pub(super) fn review(&mut self) {
        let age = |key: &ObjectKey| self.inputs.services.get(key).map(|service| service.created);
        let mut dirty: Vec<_> =
            std::mem::take(&mut self.dirty).into_iter().map(|key| (age(&key), key)).collect();
        dirty.sort_unstable_by(|a, b| b.cmp(a));
        for (_, key) in dirty {
            self.review_service(&key);
        }
        let mut claims = std::mem::take(&mut self.claims);
        claims.sort_unstable();
        for claim in claims {
            self.settle(&claim);
        }
    }

    fn review_service(&mut self, key: &ObjectKey) {
        self.visit(key);
        let Some(service) = self.inputs.services.get(key) else {
            // One that has not come yet keeps what is held for it.
            if !self.ipam.held.contains_key(key) {
                self.retire(key, DELETED);
            }
            return;
        };
        if self.ipam.held.remove(key).is_some() {
            // Its status speaks for it from now on.
            self.moved.extend(self.ipam.ledger.addresses(key));
            self.ipam.ledger.vacate(&self.inputs.pools, key);
        }
        if !is_ours(service, &self.ipam.settings) {
            return self.hand_over(service);
        }
        // One of the same name that was created at another time is another one.
        if self.ipam.ledger.holding(key).is_some_and(|holding| holding.created != service.created) {
            self.retire(key, DELETED);
        }
        if self.is_foreign(service) {
            self.retire(key, NOT_OURS);
            self.ipam.aside.insert(key.clone());
            return;
        }
        self.ipam.aside.remove(key);
        let who = (service.created, key.clone());
        let contested = self.review_terms(service, &who);
        let named = requested(service);
        let families = families(service, &self.ipam.settings);
        let held: BTreeSet<IpAddr> = self.ipam.ledger.addresses(key).collect();
        let recorded: BTreeSet<IpAddr> = service.ingress.iter().copied().collect();
        let all: BTreeSet<IpAddr> = recorded.iter().chain(&held).chain(contested.keys()).copied().collect();
        for address in all {
            let had = contested.get(&address).copied();
            let ours = had.is_some() || held.contains(&address);
            match self.fault(service, &named, &families, address) {
                Some(why) if held.contains(&address) => self.release(address, key, why),
                Some(why) if ours => self.tell_release(address, key, why),
                Some(_) => {}
                None if held.contains(&address) => {
                    let standing =
                        if recorded.contains(&address) { Standing::Recorded } else { Standing::InFlight };
                    self.ipam.ledger.join(&self.inputs.pools, address, key, standing);
                }
                None => self.claims.push(Claim { who: who.clone(), address, had }),
            }
        }
        self.work.insert(who);
    }

    /// Puts a Service's terms down; where these changed it leaves the addresses that it has with others, with
    /// a claim to each.
    fn review_terms(&mut self, service: &Service, who: &Seniority) -> BTreeMap<IpAddr, Standing> {
        let terms = Terms::of(service);
        let mut contested = BTreeMap::new();
        let (_, key) = who;
        if self.ipam.ledger.holding(key).is_some_and(|holding| holding.terms != terms) {
            let held: Vec<IpAddr> = self.ipam.ledger.addresses(key).collect();
            for address in held {
                self.moved.insert(address);
                let had = self.ipam.ledger.owners(address).find(|(owner, _)| *owner == key);
                if let Some((_, standing)) = had
                    && self.ipam.ledger.owners(address).count() > 1
                {
                    self.ipam.ledger.leave(&self.inputs.pools, address, key, self.now);
                    contested.insert(address, standing);
                }
            }
        }
        self.ipam.ledger.introduce(who, terms);
        contested
    }

    /// Why the Service may not have the address, whoever else has it.
    fn fault(
        &mut self,
        service: &Service,
        named: &[IpAddr],
        families: &[Family],
        address: IpAddr,
    ) -> Option<&'static str> {
        if !named.is_empty() && !named.contains(&address) {
            return Some(NOT_REQUESTED);
        }
        // What is asked for by name is given in any family, as in Cilium.
        if named.is_empty() && !families.contains(&Family::of(address)) {
            return Some(FAMILY);
        }
        let mut containing = self.inputs.pools.containing(address).peekable();
        let stray = containing.peek().is_none();
        if containing.any(|entry| selects(&entry.pool, service)) {
            self.ipam.strays.remove(&address);
            return None;
        }
        if stray && self.may_be_unreadable(service) {
            self.ipam.strays.insert(address);
            return None;
        }
        Some(NO_POOL)
    }

    /// Whether a pool that serves the Service has a part that cannot be read.
    fn may_be_unreadable(&self, service: &Service) -> bool {
        self.inputs.pools.iter().any(|entry| !entry.pool.faults.is_empty() && selects(&entry.pool, service))
    }

    /// Whether a Service without class has addresses that are somebody else's.
    fn is_foreign(&self, service: &Service) -> bool {
        service.class.is_none()
            && !service.ingress.is_empty()
            && self.ipam.ledger.addresses(&service.key).next().is_none()
            && !was_served(service)
            && !self.inputs.pools.iter().any(|entry| selects(&entry.pool, service))
    }

    fn settle(&mut self, claim: &Claim) {
        let Claim { who, address, had } = claim;
        let (_, key) = who;
        let Some(holding) = self.ipam.ledger.holding(key) else { return };
        let terms = holding.terms.clone();
        let clashes: Vec<(Seniority, Standing)> = self
            .ipam
            .ledger
            .clashes(*address, key, &terms)
            // Both had it before the restart, so they share it; on which terms is known when both are here.
            .filter(|((_, owner), _, _)| !self.ipam.held.contains_key(owner))
            .map(|(owner, standing, _)| (owner, standing))
            .collect();
        // Whoever has it recorded stays, be the other one older: somebody wrote it into that one's status by hand. Of
        // claims that come at once, as after a restart, the eldest is settled first.
        if clashes.iter().all(|(_, standing)| had.is_none() && *standing == Standing::InFlight) {
            for (owner, _) in clashes {
                self.release(*address, &owner.1, TAKEN);
                self.work.insert(owner);
            }
            self.ipam.ledger.join(&self.inputs.pools, *address, key, had.unwrap_or(Standing::Recorded));
        } else {
            self.tell_release(*address, key, if had.is_some() { INCOMPATIBLE } else { TAKEN });
        }
        self.moved.insert(*address);
    }

    pub(super) fn release(&mut self, address: IpAddr, key: &ObjectKey, why: &str) {
        self.ipam.ledger.leave(&self.inputs.pools, address, key, self.now);
        if self.ipam.ledger.owners(address).next().is_none() {
            self.ipam.strays.remove(&address);
        }
        self.moved.insert(address);
        self.tell_release(address, key, why);
    }

    fn tell_release(&mut self, address: IpAddr, key: &ObjectKey, why: &str) {
        self.event(key, EventReason::Released, format!("Released {address}: {why}"));
    }

    /// Takes everything back and forgets the Service.
    fn retire(&mut self, key: &ObjectKey, why: &str) {
        let held: Vec<IpAddr> = self.ipam.ledger.addresses(key).collect();
        for address in held {
            self.release(address, key, why);
        }
        if let Some(holding) = self.ipam.ledger.holding(key) {
            self.ipam.waiting.clear(&(holding.created, key.clone()));
        }
        self.ipam.ledger.forget(key);
        self.ipam.aside.remove(key);
        self.ipam.told.remove(key);
    }

    /// Takes our addresses and our condition off a Service that somebody else serves, or nobody.
    fn hand_over(&mut self, service: &Service) {
        let key = &service.key;
        let mut ours: BTreeSet<IpAddr> = self.ipam.ledger.addresses(key).collect();
        let known = !ours.is_empty() || status::recorded(service).is_some();
        if service.ingress_ours {
            // Nobody has written it since, whatever became of the pool.
            ours.extend(service.ingress.iter().copied());
        } else if was_served(service) {
            let pooled = |address: &&IpAddr| {
                self.inputs.pools.containing(**address).any(|entry| selects(&entry.pool, service))
            };
            ours.extend(service.ingress.iter().filter(pooled));
        }
        self.retire(key, NOT_OURS);
        if known {
            let ingress = service.ingress.iter().copied().filter(|address| !ours.contains(address)).collect();
            self.record(ServiceStatus { key: key.clone(), ingress, conditions: Vec::new() });
        }
    }
}

/// Whether the Service's condition says that it was given addresses here. One that says `no_pool` proves nothing:
/// somebody else may have served the Service since.
fn was_served(service: &Service) -> bool {
    status::recorded(service).is_some_and(|condition| condition.reason != FailureReason::NoPool.as_str())
}
