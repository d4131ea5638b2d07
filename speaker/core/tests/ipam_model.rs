//! The allocator beside a naive model: random histories of pools, Services, lost writes, foreign writes and
//! restarts, in a space small enough to look at every address.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use speaker_config::objects::{
    Block, IpFamilyPolicy, Labels, Object, ObjectKey, ObjectRef, Pool, Selector, Service, ServicePort,
    TrafficPolicy,
};
use speaker_core::inputs::{Inputs, Touched};
use speaker_core::ipam::{Freed, Ipam, IpamChanges, IpamSettings, SATISFIED};
use speaker_core::pools::PoolEntry;

// ---- Random objects -------------------------------------------------------------------------------

/// Sixteen addresses of one family and eight of the other: all there are.
fn space() -> Vec<IpAddr> {
    let four = (0..16u8).map(|n| IpAddr::from([10, 0, 0, n]));
    let six = (0..8u16).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
    four.chain(six).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn color(index: u8) -> Option<&'static str> {
    [None, Some("red"), Some("blue")][usize::from(index % 3)]
}

fn block() -> impl Strategy<Value = Block> {
    prop_oneof![
        4 => (0..16u8, 29..33u8).prop_map(|(n, len)| {
            Block::Cidr(format!("10.0.0.{n}/{len}").parse().unwrap())
        }),
        4 => (0..16u8, 0..6u8).prop_map(|(n, more)| Block::Range {
            first: IpAddr::from([10, 0, 0, n]),
            last: IpAddr::from([10, 0, 0, (n + more).min(15)]),
        }),
        2 => (0..8u16, 126..129u8).prop_map(|(n, len)| {
            Block::Cidr(format!("2001:db8::{n:x}/{len}").parse().unwrap())
        }),
    ]
}

fn pool() -> impl Strategy<Value = Pool> {
    (0..4u8, 0..3i64, vec(block(), 0..3), 0..4u8, 0..6u8, any::<bool>()).prop_map(
        |(index, created, blocks, selector, state, reserve)| Pool {
            name: format!("pool-{index}"),
            created,
            generation: 1,
            labels: Labels::new(),
            annotations: Labels::new(),
            selector: color(selector).map(|color| Selector {
                match_labels: labels(&[("color", color)]),
                match_expressions: Vec::new(),
            }),
            blocks,
            reserve_first_last: reserve,
            disabled: state == 0,
            faults: if state == 1 { vec!["spec.blocks[9].cidr: unreadable".to_owned()] } else { Vec::new() },
            conditions: Vec::new(),
        },
    )
}

/// What of a Service is the user's, by numbers.
#[derive(Debug, Clone)]
struct Spec {
    index: u8,
    created: i64,
    color: u8,
    key: u8,
    cross: bool,
    port: u16,
    local: bool,
    app: u8,
    families: u8,
    named: Vec<u8>,
    kind: u8,
}

fn spec() -> impl Strategy<Value = Spec> {
    (
        (0..8u8, 0..3i64, 0..4u8, 0..4u8, any::<bool>(), 80..83u16),
        (
            prop::bool::weighted(0.2),
            0..3u8,
            0..5u8,
            prop_oneof![3 => vec(0..24u8, 0..1), 1 => vec(0..24u8, 1..3)],
            0..12u8,
        ),
    )
        .prop_map(|((index, created, color, key, cross, port), (local, app, families, named, kind))| {
            Spec { index, created, color, key, cross, port, local, app, families, named, kind }
        })
}

/// Pools of a few addresses that serve everybody.
fn small_pool() -> impl Strategy<Value = Pool> {
    (pool(), 0..2u8, 1..3u8, prop::bool::weighted(0.1)).prop_map(|(mut pool, index, size, disabled)| {
        pool.name = format!("pool-{index}");
        let first = index * 4;
        pool.blocks = vec![Block::Range {
            first: IpAddr::from([10, 0, 0, first]),
            last: IpAddr::from([10, 0, 0, first + size]),
        }];
        pool.faults.clear();
        pool.selector = pool.selector.filter(|_| pool.reserve_first_last);
        pool.disabled = disabled;
        pool
    })
}

/// Services that mostly share, and often stand in each other's way.
fn sharing_spec() -> impl Strategy<Value = Spec> {
    (spec(), prop::bool::weighted(0.8), 80..86u16, prop::bool::weighted(0.1), 0..4u8).prop_map(
        |(mut spec, shares, port, local, name)| {
            spec.key = if shares { 2 + spec.key % 2 } else { 0 };
            spec.cross = true;
            spec.port = port;
            spec.local = local;
            spec.families = 2;
            spec.named = if name == 0 { vec![spec.app * 4] } else { Vec::new() };
            spec.kind = spec.kind.max(3);
            spec
        },
    )
}

fn key_of(index: u8) -> ObjectKey {
    ObjectKey::new(if index.is_multiple_of(2) { "even" } else { "odd" }, format!("s{index}"))
}

impl Spec {
    /// The object, with the status of the one before it.
    fn object(&self, before: Option<&Service>) -> Service {
        let mut annotations = Labels::new();
        if !self.named.is_empty() {
            let space = space();
            let list: Vec<String> = self.named.iter().map(|n| space[usize::from(*n)].to_string()).collect();
            annotations.insert("lbipam.cilium.io/ips".into(), list.join(","));
        }
        if self.key > 1 {
            annotations.insert("lbipam.cilium.io/sharing-key".into(), format!("key-{}", self.key));
        }
        if self.cross {
            annotations.insert("lbipam.cilium.io/sharing-cross-namespace".into(), "even, odd".into());
        }
        let both = [Family::Ipv4Unicast, Family::Ipv6Unicast];
        let before = before.filter(|before| before.created == self.created);
        Service {
            key: key_of(self.index),
            created: self.created,
            generation: before.map_or(1, |before| before.generation + 1),
            deleting: self.kind == 0,
            cleanup: Default::default(),
            ingress_ours: before.is_some_and(|before| before.ingress_ours),
            labels: color(self.color).map(|color| labels(&[("color", color)])).unwrap_or_default(),
            annotations,
            load_balancer: self.kind != 1,
            class: match self.kind {
                2 => Some("example.com/other".into()),
                3 => Some("io.cilium/bgp-control-plane".into()),
                _ => None,
            },
            load_balancer_ip: None,
            external_ips: Vec::new(),
            cluster_ips: Vec::new(),
            ip_families: if self.families == 1 { vec![both[1]] } else { vec![both[0]] },
            ip_family_policy: if self.families == 0 {
                IpFamilyPolicy::RequireDualStack
            } else {
                IpFamilyPolicy::SingleStack
            },
            external_traffic_policy: if self.local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
            internal_traffic_policy: TrafficPolicy::Cluster,
            selector: if self.app == 0 {
                Labels::new()
            } else {
                labels(&[("app", ["", "a", "b"][usize::from(self.app)])])
            },
            ports: vec![ServicePort { protocol: "TCP".into(), port: self.port }],
            ingress: before.map(|before| before.ingress.clone()).unwrap_or_default(),
            conditions: before.map(|before| before.conditions.clone()).unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pool(Pool),
    NoPool(u8),
    Service(Spec),
    NoService(u8),
    /// Somebody else writes this address into the Service's status.
    ForeignWrite(u8, u8),
    /// A turn of which only some statuses are written; the others are tried again later.
    LostWrites(u8),
    /// A turn of which everything is written, and everything is examined.
    Settle,
    /// The allocator dies here; its list of freed addresses is kept, or not.
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => pool().prop_map(Step::Pool),
        1 => (0..4u8).prop_map(Step::NoPool),
        9 => spec().prop_map(Step::Service),
        2 => (0..8u8).prop_map(Step::NoService),
        1 => (0..8u8, 0..24u8).prop_map(|(service, address)| Step::ForeignWrite(service, address)),
        2 => any::<u8>().prop_map(Step::LostWrites),
        6 => Just(Step::Settle),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

/// More Services than addresses: much sharing, much waiting.
fn crowded_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => small_pool().prop_map(Step::Pool),
        14 => sharing_spec().prop_map(Step::Service),
        4 => (0..8u8).prop_map(Step::NoService),
        1 => (0..8u8, 0..8u8).prop_map(|(service, address)| Step::ForeignWrite(service, address)),
        1 => any::<u8>().prop_map(Step::LostWrites),
        7 => Just(Step::Settle),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

// ---- The rules, said again ------------------------------------------------------------------------

fn note<'a>(service: &'a Service, word: &str) -> Option<&'a String> {
    service.annotations.get(&format!("lbipam.cilium.io/{word}"))
}

fn ours(service: &Service) -> bool {
    service.load_balancer
        && service.class.as_deref().is_none_or(|class| class == "io.cilium/bgp-control-plane")
}

fn named(service: &Service) -> Vec<IpAddr> {
    let list =
        note(service, "ips").map(|list| list.split(',').map(|ip| ip.parse().unwrap()).collect::<Vec<_>>());
    let mut list = list.unwrap_or_default();
    let mut seen = BTreeSet::new();
    list.retain(|ip| seen.insert(*ip));
    list
}

fn families(service: &Service) -> Vec<Family> {
    match service.ip_family_policy {
        IpFamilyPolicy::SingleStack => vec![service.ip_families[0]],
        _ => Family::ALL.to_vec(),
    }
}

fn on(entry: &PoolEntry) -> bool {
    entry.conflict.is_none() && !entry.pool.disabled && entry.pool.faults.is_empty()
}

fn picks(entry: &PoolEntry, service: &Service) -> bool {
    let wanted = entry.pool.selector.as_ref().map(|selector| &selector.match_labels["color"]);
    wanted.is_none_or(|color| service.labels.get("color") == Some(color))
}

fn inside(block: &Block, ip: IpAddr) -> bool {
    let (first, last) = block.bounds();
    first.is_ipv4() == ip.is_ipv4() && first <= ip && ip <= last
}

/// An end of a CIDR of more than two addresses in a pool that keeps ends back.
fn kept_back(pool: &Pool, block: &Block, ip: IpAddr) -> bool {
    let (first, last) = block.bounds();
    let more_than_two = space().into_iter().filter(|ip| inside(block, *ip)).count() > 2;
    pool.reserve_first_last && matches!(block, Block::Cidr(_)) && more_than_two && (ip == first || ip == last)
}

fn for_hire(pool: &Pool, ip: IpAddr) -> bool {
    pool.blocks.iter().any(|block| inside(block, ip))
        && !pool.blocks.iter().any(|block| inside(block, ip) && kept_back(pool, block, ip))
}

fn holds(entry: &PoolEntry, ip: IpAddr) -> bool {
    entry.pool.blocks.iter().any(|block| inside(block, ip))
}

fn same_terms(a: &Service, b: &Service) -> bool {
    let terms = |s: &Service| {
        let notes = ["sharing-key", "sharing-cross-namespace"].map(|word| note(s, word).cloned());
        (notes, s.ports.clone(), s.external_traffic_policy, s.selector.clone())
    };
    terms(a) == terms(b)
}

fn go_together(a: &Service, b: &Service) -> bool {
    let key = |s: &Service| note(s, "sharing-key").cloned();
    let crosses = |s: &Service| note(s, "sharing-cross-namespace").is_some();
    key(a).is_some()
        && key(a) == key(b)
        && (a.key.namespace == b.key.namespace || (crosses(a) && crosses(b)))
        && a.ports != b.ports
        && a.external_traffic_policy == b.external_traffic_policy
        && (a.external_traffic_policy == TrafficPolicy::Cluster
            || (!a.selector.is_empty() && a.selector == b.selector))
}

fn says(service: &Service) -> Option<(&str, &str, &str)> {
    let condition = service.conditions.iter().find(|condition| condition.kind == SATISFIED)?;
    Some((&condition.status, &condition.reason, &condition.message))
}

fn was_served(service: &Service) -> bool {
    says(service).is_some_and(|(_, reason, _)| reason != "no_pool")
}

/// Whether the Service may keep the address, others left aside.
fn may_keep(inputs: &Inputs, service: &Service, ip: IpAddr) -> bool {
    let named = named(service);
    let asked =
        if named.is_empty() { families(service).contains(&Family::of(ip)) } else { named.contains(&ip) };
    let in_pool = inputs.pools.iter().any(|entry| holds(entry, ip) && picks(entry, service));
    let lost = !inputs.pools.iter().any(|entry| holds(entry, ip));
    let unreadable = inputs.pools.iter().any(|entry| !entry.pool.faults.is_empty() && picks(entry, service));
    asked && (in_pool || (lost && unreadable))
}

/// Somebody else's, by all that can be known of it.
fn foreign(inputs: &Inputs, service: &Service, held: bool) -> bool {
    service.class.is_none()
        && !held
        && !service.ingress.is_empty()
        && !was_served(service)
        && !inputs.pools.iter().any(|entry| picks(entry, service))
}

fn age(service: &Service) -> (i64, &ObjectKey) {
    (service.created, &service.key)
}

// ---- The world ------------------------------------------------------------------------------------

struct World {
    inputs: Inputs,
    ipam: Ipam,
    now: i64,
    /// The Services as the allocator last saw them; empty after a restart.
    seen: BTreeMap<ObjectKey, Service>,
    /// Statuses that were not written.
    lost: BTreeSet<ObjectKey>,
}

impl World {
    fn new() -> Self {
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

    fn has(&self, key: &ObjectKey, ip: IpAddr) -> bool {
        self.ipam.owners(ip).any(|(owner, _)| owner == key)
    }

    fn has_any(&self, key: &ObjectKey) -> bool {
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
                                _ => elder,
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

    // ---- What must hold when everything is written ----------------------------------------------------

    fn examine(&self) {
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
    fn examine_choices(
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

    fn settle(&mut self) {
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

    fn act(&mut self, step: Step) {
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

fn run(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps {
        world.act(step);
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_keeps_the_rules(steps in vec(step(), 1..50)) {
        run(steps);
    }

    #[test]
    fn a_crowd_keeps_the_rules(pools in vec(small_pool(), 1..3), steps in vec(crowded_step(), 1..60)) {
        run(pools.into_iter().map(Step::Pool).chain(steps).collect());
    }
}
