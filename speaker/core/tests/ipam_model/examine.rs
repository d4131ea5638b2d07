//! What must hold when everything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::objects::{ObjectKey, Service};
use speaker_core::pools::PoolEntry;

use crate::objects::space;
use crate::rules::{
    age, families, for_hire, foreign, go_together, holds, inside, kept_back, may_keep, named, note, on, ours,
    picks, says,
};
use crate::world::World;

impl World {
    pub(crate) fn examine(&self) {
        if self.inputs.pools.is_empty() {
            assert!(space().into_iter().all(|ip| self.ipam.owners(ip).next().is_none()));
            return;
        }
        for ip in space() {
            self.examine_address(ip);
        }
        for service in self.inputs.services.values() {
            self.examine_service(service);
        }
        for entry in self.inputs.pools.iter() {
            self.examine_counts(entry);
        }
    }

    fn examine_address(&self, ip: IpAddr) {
        let owners: Vec<&Service> = self.ipam.owners(ip).map(|(key, _)| &self.inputs.services[key]).collect();
        for owner in &owners {
            assert!(owner.ingress.contains(&ip), "{ip} of {} is not recorded", owner.key);
            for other in &owners {
                assert!(
                    owner.key == other.key || go_together(owner, other),
                    "{} {} on {ip}",
                    owner.key,
                    other.key
                );
            }
        }
    }

    fn examine_service(&self, service: &Service) {
        let key = &service.key;
        if !ours(service) {
            assert!(says(service).is_none() && !self.has_any(key), "{key} is not ours");
            let stale = service.ingress_ours && !service.ingress.is_empty();
            assert!(!stale, "{key} is not ours and shows what we gave it: {:?}", service.ingress);
            return;
        }
        if !self.has_any(key) && foreign(&self.inputs, service, false) {
            return;
        }
        for ip in &service.ingress {
            assert!(self.has(key, *ip), "{key} shows {ip} and has it not");
            assert!(may_keep(&self.inputs, service, *ip), "{key} may not have {ip}");
        }
        if service.deleting {
            return;
        }
        let named = named(service);
        let lacks_name = named.iter().rev().find(|ip| !service.ingress.contains(ip));
        let lacks_family = families(service)
            .into_iter()
            .rev()
            .find(|family| named.is_empty() && !service.ingress.iter().any(|ip| Family::of(*ip) == *family));
        let expected = match (lacks_name, lacks_family) {
            (Some(ip), _) => self.refusal(service, *ip),
            (_, Some(family)) => self.shortage(service, family),
            (None, None) => ("True", "satisfied", String::new()),
        };
        let (status, reason, message) = says(service).unwrap();
        assert_eq!((status, reason, message.to_owned()), expected, "{service:#?}");
    }

    fn refusal(&self, service: &Service, ip: IpAddr) -> (&'static str, &'static str, String) {
        let pools: Vec<&PoolEntry> =
            self.inputs.pools.iter().filter(|entry| on(entry) && holds(entry, ip)).collect();
        if pools.is_empty() {
            return ("False", "no_pool", format!("No pool exists with a CIDR containing '{ip}'"));
        }
        let Some(pool) = pools.iter().find(|entry| picks(entry, service)) else {
            let message = format!("The pool with the CIDR containing '{ip}', doesn't select this service");
            return ("False", "pool_selector_mismatch", message);
        };
        let owners: Vec<&Service> = self.ipam.owners(ip).map(|(key, _)| &self.inputs.services[key]).collect();
        if owners.is_empty() {
            assert!(!for_hire(&pool.pool, ip), "{} could have {ip}", service.key);
        } else if note(service, "sharing-key").is_some() {
            assert!(
                owners.iter().any(|owner| !go_together(service, owner)),
                "{} could join {ip}",
                service.key
            );
            let (.., message) = says(service).unwrap();
            let start = format!("The IP '{ip}' is already allocated to an incompatible service. Reason: ");
            assert!(message.starts_with(&start));
            return ("False", "already_allocated_incompatible_service", message.to_owned());
        }
        ("False", "already_allocated", format!("The IP '{ip}' is already allocated to another service"))
    }

    fn shortage(&self, service: &Service, family: Family) -> (&'static str, &'static str, String) {
        let mut pools = 0;
        for entry in self.inputs.pools.iter().filter(|entry| on(entry) && picks(entry, service)) {
            pools += usize::from(entry.pool.blocks.iter().any(|block| block.family() == family));
            for ip in space().into_iter().filter(|ip| Family::of(*ip) == family && holds(entry, *ip)) {
                let owners: Vec<&Service> =
                    self.ipam.owners(ip).map(|(key, _)| &self.inputs.services[key]).collect();
                let free = owners.is_empty() && for_hire(&entry.pool, ip);
                let joins = !owners.is_empty() && owners.iter().all(|owner| go_together(service, owner));
                assert!(
                    !free && !joins,
                    "{} could have {ip}: {}",
                    service.key,
                    if free { "free" } else { "shared" }
                );
            }
        }
        if pools == 0 {
            let message = "There are no enabled CiliumLoadBalancerIPPools that match this service";
            return ("False", "no_pool", message.to_owned());
        }
        let message =
            "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs";
        ("False", "out_of_ips", message.to_owned())
    }

    fn examine_counts(&self, entry: &PoolEntry) {
        let (mut total, mut used) = (0u32, 0u32);
        for block in &entry.pool.blocks {
            for ip in space().into_iter().filter(|ip| inside(block, *ip)) {
                total += 1;
                let owned = self.ipam.owners(ip).next().is_some();
                used += u32::from(owned || kept_back(&entry.pool, block, ip));
            }
        }
        let count = |kind: &str| {
            let condition = entry.pool.conditions.iter().find(|condition| condition.kind == kind).unwrap();
            condition.message.parse::<u32>().unwrap()
        };
        assert_eq!(
            [count("cilium.io/IPsTotal"), count("cilium.io/IPsUsed"), count("cilium.io/IPsAvailable")],
            [total, used, total - used],
            "{}",
            entry.pool.name
        );
    }

    /// A turn whose choices can be checked one by one.
    pub(crate) fn examine_choices(
        &self,
        before: &BTreeMap<ObjectKey, Vec<IpAddr>>,
        freed: &[IpAddr],
        owned: &BTreeSet<IpAddr>,
    ) {
        let none = Vec::new();
        let gained: Vec<(&Service, IpAddr)> = self
            .inputs
            .services
            .values()
            .filter(|service| ours(service) && named(service).is_empty())
            .flat_map(|service| service.ingress.iter().map(move |ip| (service, *ip)))
            .filter(|(service, ip)| {
                self.has(&service.key, *ip) && !before.get(&service.key).unwrap_or(&none).contains(ip)
            })
            .collect();
        for (service, ip) in &gained {
            // Nobody elder lacks what a younger one was given.
            for elder in self.inputs.services.values() {
                let lacks = ours(elder)
                    && !elder.deleting
                    && named(elder).is_empty()
                    && families(elder).contains(&Family::of(*ip))
                    && !elder.ingress.iter().any(|own| Family::of(*own) == Family::of(*ip));
                let could = lacks
                    && self
                        .inputs
                        .pools
                        .iter()
                        .any(|entry| on(entry) && holds(entry, *ip) && picks(entry, elder));
                let alone = self.ipam.owners(*ip).count() == 1;
                assert!(
                    !(could && alone && age(elder) < age(service)),
                    "{} was given {ip} before {}",
                    service.key,
                    elder.key
                );
            }
        }
        let now: BTreeSet<IpAddr> =
            space().into_iter().filter(|ip| self.ipam.owners(*ip).next().is_some()).collect();
        let [(service, ip)] = gained[..] else { return };
        // One new address, of one Service, and nothing given back: it must be the first choice.
        if self.ipam.owners(ip).count() > 1
            || !owned.is_subset(&now)
            || owned.contains(&ip)
            || now.len() != owned.len() + 1
        {
            return;
        }
        let free = |entry: &PoolEntry| -> Vec<IpAddr> {
            let blocks = entry.pool.blocks.iter();
            let fresh: Vec<IpAddr> = blocks
                .flat_map(|block| space().into_iter().filter(|ip| inside(block, *ip)))
                .filter(|candidate| {
                    Family::of(*candidate) == Family::of(ip)
                        && for_hire(&entry.pool, *candidate)
                        && !owned.contains(candidate)
                })
                .collect();
            let rested = freed.iter().filter(|freed| fresh.contains(freed)).copied();
            fresh.iter().filter(|ip| !freed.contains(ip)).copied().chain(rested).collect()
        };
        let mut pools: Vec<&PoolEntry> =
            self.inputs.pools.iter().filter(|entry| on(entry) && picks(entry, service)).collect();
        pools.sort_by_key(|entry| (entry.pool.created, entry.pool.name.clone()));
        let first = pools.into_iter().find_map(|entry| free(entry).first().copied());
        assert_eq!(Some(ip), first, "{}", service.key);
    }
}
