//! The allocator with the objects and the writes around it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use speaker_config::objects::{Object, ObjectKey, ObjectRef, Service};
use speaker_core::inputs::{Inputs, Touched};
use speaker_core::ipam::{Freed, Ipam, IpamChanges, IpamSettings};

use crate::objects::{Step, key_of, space};
use crate::rules::{age, foreign, go_together, may_keep, ours, same_terms};

pub(crate) struct World {
    pub(crate) inputs: Inputs,
    pub(crate) ipam: Ipam,
    pub(crate) now: i64,
    /// The Services as the allocator last saw them; empty after a restart.
    pub(crate) seen: BTreeMap<ObjectKey, Service>,
    /// Statuses that were not written.
    pub(crate) lost: BTreeSet<ObjectKey>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            inputs: Inputs::default(),
            ipam: Ipam::new(IpamSettings::default()),
            now: 0,
            seen: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    fn put(&mut self, object: Object) {
        let mut touched = Touched::default();
        self.inputs.upsert(object, &mut touched);
        self.ipam.touch(&touched);
    }

    fn remove(&mut self, reference: &ObjectRef) {
        let mut touched = Touched::default();
        self.inputs.remove(reference, &mut touched);
        self.ipam.touch(&touched);
    }

    fn turn(&mut self) -> IpamChanges {
        self.now += 1;
        let changes = self.ipam.reconcile(&self.inputs, self.now);
        self.seen.clone_from(&self.inputs.services);
        changes
    }

    fn write(&mut self, changes: &IpamChanges, which: impl Fn(usize) -> bool) {
        for (index, status) in changes.services.iter().enumerate() {
            if which(index) {
                let mut service = self.inputs.services[&status.key].clone();
                status.apply(&mut service);
                self.put(Object::Service(Box::new(service)));
                self.lost.remove(&status.key);
            } else {
                self.lost.insert(status.key.clone());
            }
        }
        for status in &changes.pools {
            let mut pool = self.inputs.pools.get(&status.name).unwrap().pool.clone();
            status.apply(&mut pool);
            self.put(Object::Pool(pool));
        }
    }

    fn retry_lost(&mut self) {
        let services = std::mem::take(&mut self.lost);
        self.ipam.touch(&Touched { services, ..Touched::default() });
    }

    pub(crate) fn has(&self, key: &ObjectKey, ip: IpAddr) -> bool {
        self.ipam.owners(ip).any(|(owner, _)| owner == key)
    }

    pub(crate) fn has_any(&self, key: &ObjectKey) -> bool {
        space().into_iter().any(|ip| self.has(key, ip))
    }

    /// The recorded addresses that nothing entitles anybody to take away.
    fn secure(&self) -> BTreeSet<(ObjectKey, IpAddr)> {
        let services = &self.inputs.services;
        // Who has a right to an address but for the others, whether the ledger knows, whether its terms changed.
        let claims = |ip: IpAddr| {
            services.values().filter_map(move |service| {
                let same = self.seen.get(&service.key).is_some_and(|seen| seen.created == service.created);
                let held = same && self.has(&service.key, ip);
                let claims = ours(service)
                    && (held || service.ingress.contains(&ip))
                    && !foreign(&self.inputs, service, same && self.has_any(&service.key))
                    && may_keep(&self.inputs, service, ip);
                let changed = self.seen.get(&service.key).is_none_or(|seen| !same_terms(seen, service));
                claims.then_some((service, held, changed))
            })
        };
        let mut secure = BTreeSet::new();
        for ip in space() {
            for (service, held, changed) in claims(ip) {
                let safe = claims(ip).filter(|(other, ..)| other.key != service.key).all(
                    |(other, theirs, differ)| {
                        let elder = age(service) < age(other);
                        go_together(service, other)
                            || match (held, theirs) {
                                (true, true) => differ && (!changed || elder),
                                // Who has it stays, whatever is written into the status of another.
                                (true, false) => !changed || elder,
                                (false, true) => elder && !other.ingress.contains(&ip),
                                (false, false) => elder,
                            }
                    },
                );
                if safe && service.ingress.contains(&ip) {
                    secure.insert((service.key.clone(), ip));
                }
            }
        }
        secure
    }

    pub(crate) fn settle(&mut self) {
        let secure = self.secure();
        let mut before: BTreeMap<ObjectKey, Vec<IpAddr>> = self
            .inputs
            .services
            .iter()
            .map(|(key, service)| (key.clone(), service.ingress.clone()))
            .collect();
        for ip in space() {
            for (key, _) in self.ipam.owners(ip) {
                before.entry(key.clone()).or_default().push(ip);
            }
        }
        let freed: Vec<IpAddr> = self.ipam.freed().map(|freed| freed.address).collect();
        let owned: BTreeSet<IpAddr> =
            space().into_iter().filter(|ip| self.ipam.owners(*ip).next().is_some()).collect();
        let known = !self.seen.is_empty();
        self.retry_lost();
        let changes = self.turn();
        self.write(&changes, |_| true);
        assert_eq!(self.turn(), IpamChanges::default(), "what is recorded is not said again");
        if !self.inputs.pools.is_empty() {
            for (key, ip) in secure {
                assert!(self.inputs.services[&key].ingress.contains(&ip), "{ip} was taken from {key}");
            }
        }
        self.examine();
        if known && !self.inputs.pools.is_empty() {
            self.examine_choices(&before, &freed, &owned);
        }
        // Everything marked, the same ledger: nothing.
        let mut again = self.ipam.clone();
        again.touch(&Touched {
            services: self.inputs.services.keys().cloned().collect(),
            pools: self.inputs.pools.iter().map(|entry| entry.pool.name.clone()).collect(),
            ..Touched::default()
        });
        assert_eq!(again.reconcile(&self.inputs, self.now), IpamChanges::default(), "from the same ledger");
        // A new one that finds the statuses: nothing, and the same ledger.
        let mut anew = Ipam::with_freed(IpamSettings::default(), self.ipam.freed());
        assert_eq!(anew.reconcile(&self.inputs, self.now), IpamChanges::default(), "after a restart");
        for ip in space() {
            assert!(anew.owners(ip).eq(self.ipam.owners(ip)), "{ip}");
        }
    }

    pub(crate) fn act(&mut self, step: Step) {
        match step {
            Step::Pool(mut pool) => {
                if let Some(old) = self.inputs.pools.get(&pool.name) {
                    pool.generation = old.pool.generation + 1;
                    pool.conditions.clone_from(&old.pool.conditions);
                }
                self.put(Object::Pool(pool));
            }
            Step::NoPool(index) => self.remove(&ObjectRef::Pool(format!("pool-{index}"))),
            Step::Service(spec) => {
                let service = spec.object(self.inputs.services.get(&key_of(spec.index)));
                self.put(Object::Service(Box::new(service)));
            }
            Step::NoService(index) => self.remove(&ObjectRef::Service(key_of(index))),
            Step::ForeignWrite(index, address) => {
                if let Some(service) = self.inputs.services.get(&key_of(index)) {
                    let mut service = service.clone();
                    service.ingress = vec![space()[usize::from(address)]];
                    service.ingress_ours = false;
                    self.put(Object::Service(Box::new(service)));
                }
            }
            Step::LostWrites(mask) => {
                self.retry_lost();
                let changes = self.turn();
                self.write(&changes, |index| mask & (1 << (index % 8)) != 0);
            }
            Step::Settle => self.settle(),
            Step::Restart(keep) => {
                let freed: Vec<Freed> = self.ipam.freed().filter(|_| keep).collect();
                self.ipam = Ipam::with_freed(IpamSettings::default(), freed);
                self.seen.clear();
                self.lost.clear();
            }
        }
    }
}
