//! Random histories: incremental equals from scratch, and both equal a model that asks everything of
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use speaker_config::model::{
    Advertisement, Datapath, LoopGuard, PoolGate, PoolPrefix, ServiceGate, ServiceRoutes, ServiceRoutesWhich,
};
use speaker_config::objects::{
    Block, Endpoint, EndpointSlice, Node, Object, ObjectRef, Pool, Selector, Service, TrafficPolicy,
};

use super::{Thing, World, addr, endpoints_of, key, labels, node, pool, prefix, selector, service, silent};
use crate::announce::{Announcer, Subject};
use crate::cover::exact_cover;
use crate::danger::{ClusterNetwork, DangerContext, Owner, judge};
use crate::datapath::{Access, KernelReport, Wanted};
use crate::inputs::Touched;
use crate::rib::SourceKind;

const POOLS: [&str; 3] = ["blue", "red", "vip"];
const SERVICES: [&str; 3] = ["a", "b", "c"];
const NODES: [&str; 2] = ["n1", "n2"];
const BLOCKS: [&str; 6] = [
    "203.0.113.0/29",
    "203.0.113.4/30",
    "203.0.113.1/32",
    "203.0.113.2-203.0.113.5",
    "2001:db8::/126",
    "2001:db8::1/128",
];
const ADDRESSES: [&str; 6] =
    ["203.0.113.1", "203.0.113.2", "203.0.113.5", "198.51.100.1", "2001:db8::1", "2001:db8::2"];

#[derive(Debug, Clone)]
enum Event {
    Put(Object),
    Take(ObjectRef),
    Configure(Vec<Advertisement>),
    Reconcile,
}

fn tier() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some("public"), Some("private")])
}

fn a_pool() -> impl Strategy<Value = Pool> {
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (select(&POOLS[..]), subsequence(&BLOCKS[..], 1..3), 1..4i64, flags, tier()).prop_map(
        |(name, blocks, created, (reserve_first_last, disabled, faulty), tier)| Pool {
            created,
            reserve_first_last,
            disabled,
            faults: if faulty { vec!["spec.blocks[7]".to_owned()] } else { Vec::new() },
            labels: tier.map(|tier| labels([("tier", tier)])).unwrap_or_default(),
            ..pool(name, &blocks)
        },
    )
}

fn a_service() -> impl Strategy<Value = Service> {
    let class = select(vec![None, None, None, Some("io.cilium/bgp-control-plane"), Some("io.cilium/node")]);
    let flags = (any::<bool>(), prop::bool::weighted(0.9), prop::bool::weighted(0.1));
    (select(&SERVICES[..]), subsequence(&ADDRESSES[..], 0..4), flags, class, tier(), 1..3i64).prop_map(
        |(name, ingress, (local, load_balancer, deleting), class, tier, created)| Service {
            external_traffic_policy: if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
            load_balancer,
            deleting,
            created,
            class: class.map(str::to_owned),
            labels: tier.map(|tier| labels([("tier", tier)])).unwrap_or_default(),
            ..service(name, &ingress)
        },
    )
}

fn an_endpoint() -> impl Strategy<Value = Endpoint> {
    let at = select(vec![Some("n1"), Some("n2"), None]);
    (any::<bool>(), any::<bool>(), at).prop_map(|(ready, serving, at)| Endpoint {
        ready,
        serving,
        node: at.map(str::to_owned),
        envoy: false,
    })
}

fn a_slice() -> impl Strategy<Value = EndpointSlice> {
    (select(&SERVICES[..]), select(&Family::ALL[..]), vec(an_endpoint(), 0..2), select(&SERVICES[..]))
        .prop_map(|(name, family, endpoints, owner)| EndpointSlice {
            service: Some(key(owner)),
            ..endpoints_of(name, family, endpoints)
        })
}

fn a_node() -> impl Strategy<Value = Node> {
    let belongings = select(vec![None, None, None, Some("203.0.113.2"), Some("2001:db8::1")]);
    (select(&NODES[..]), tier(), belongings).prop_map(|(name, tier, own)| Node {
        internal_ips: own.map(addr).into_iter().collect(),
        ..node(name, tier.map(|tier| labels([("tier", tier)])).unwrap_or_default())
    })
}

/// A selector that more often than not selects everything, so that much is announced.
fn by_tier() -> impl Strategy<Value = Option<Selector>> {
    prop::option::weighted(0.2, select(vec!["public", "private"]))
        .prop_map(|tier| tier.map(|tier| selector([("tier", tier)])))
}

fn an_advertisement() -> impl Strategy<Value = Advertisement> {
    let when = select(vec![PoolGate::Always, PoolGate::Allocated, PoolGate::Ready, PoolGate::Never]);
    let pool_prefix = prop::option::of(when);
    let which = select(vec![ServiceRoutesWhich::All, ServiceRoutesWhich::Local, ServiceRoutesWhich::None]);
    let gate = select(vec![ServiceGate::Allocated, ServiceGate::Ready, ServiceGate::Serving]);
    let routes = prop::option::of((which, gate));
    let fixed = subsequence(vec!["203.0.113.1/32", "192.0.2.0/24", "127.0.0.0/8"], 0..2);
    let peers = prop::option::of(btree_set(select(vec!["tor-a", "tor-b"]), 1..3));
    let allow = prop::bool::weighted(0.3);
    (pool_prefix, routes, fixed, peers, (by_tier(), by_tier(), by_tier()), allow).prop_map(
        |(pool_prefix, routes, fixed, peers, (pools, services, nodes), allow)| Advertisement {
            pool_prefix: pool_prefix.map(|when| PoolPrefix { when, ..PoolPrefix::default() }),
            service_routes: routes.map(|(which, when)| ServiceRoutes {
                which,
                when,
                ..ServiceRoutes::default()
            }),
            prefixes: fixed.into_iter().map(prefix).collect(),
            peers: peers.map(|names| names.into_iter().map(str::to_owned).collect()),
            pool_selector: pools,
            service_selector: services,
            node_selector: nodes,
            allow: if allow { vec![prefix("203.0.113.0/24")] } else { Vec::new() },
            belongings: false,
            families: Family::ALL.into_iter().collect(),
            export: Vec::new(),
            ..silent("")
        },
    )
}

fn advertisements() -> impl Strategy<Value = Vec<Advertisement>> {
    vec(an_advertisement(), 0..4).prop_map(|mut all| {
        for (index, one) in all.iter_mut().enumerate() {
            one.name = format!("ad{index}");
        }
        all
    })
}

fn an_event() -> impl Strategy<Value = Event> {
    let put = |object: Thing| Event::Put(object.0);
    prop_oneof![
        3 => a_pool().prop_map(move |one| put(one.into())),
        6 => a_service().prop_map(move |one| put(one.into())),
        6 => a_slice().prop_map(move |one| put(one.into())),
        4 => a_node().prop_map(move |one| put(one.into())),
        1 => select(&POOLS[..]).prop_map(|name| Event::Take(ObjectRef::Pool(name.into()))),
        2 => select(&SERVICES[..]).prop_map(|name| Event::Take(ObjectRef::Service(key(name)))),
        1 => (select(&SERVICES[..]), select(&Family::ALL[..])).prop_map(|(name, family)| {
            Event::Take(ObjectRef::EndpointSlice(endpoints_of(name, family, []).key))
        }),
        1 => select(&NODES[..]).prop_map(|name| Event::Take(ObjectRef::Node(name.into()))),
        3 => advertisements().prop_map(Event::Configure),
        8 => Just(Event::Reconcile),
    ]
}

/// Prefix, name of the object, advertisement.
type Reason = (Prefix, String, String);

/// What the rules of design §5 say, without an index, a cache or a count.
struct Model<'w> {
    world: &'w World,
    danger: DangerContext,
}

impl<'w> Model<'w> {
    fn new(world: &'w World) -> Self {
        let mut danger = DangerContext::default();
        for node in world.inputs.nodes.values() {
            for own in node.internal_ips.iter().chain(&node.external_ips) {
                danger.addresses.insert(*own, Owner::Node(node.name.clone()));
            }
            danger.networks.extend(node.pod_cidrs.iter().map(|one| (*one, ClusterNetwork::Pods)));
        }
        Self { world, danger }
    }

    fn safe(&self, ad: &Advertisement, prefix: Prefix) -> bool {
        judge(prefix, &DangerContext { allow: ad.allow.clone(), ..self.danger.clone() }).is_none()
    }

    fn speakers(&self) -> impl Iterator<Item = &'w Advertisement> {
        let none = BTreeMap::new();
        let labels = self.world.inputs.nodes.get("n1").map_or(none, |node| node.labels.clone());
        let all = self.world.settings.advertisements.iter();
        all.filter(move |ad| ad.node_selector.as_ref().is_none_or(|selector| selector.matches(&labels)))
    }

    fn candidates(&self) -> impl Iterator<Item = &'w Service> {
        self.world.inputs.services.values().filter(|one| {
            one.load_balancer
                && !one.deleting
                && one.class.as_deref().is_none_or(|class| class == "io.cilium/bgp-control-plane")
        })
    }

    fn has(&self, service: &Service, family: Family, test: impl Fn(&Endpoint) -> bool) -> bool {
        let slices = self.world.inputs.slices(&service.key).filter(|slice| slice.family == Some(family));
        slices.flat_map(|slice| &slice.endpoints).any(test)
    }

    fn holders(&self, addr: IpAddr) -> impl Iterator<Item = &'w Service> {
        self.candidates().filter(move |one| one.ingress.contains(&addr))
    }

    fn service_routes(&self) -> Vec<(Reason, &'w Advertisement)> {
        let mut all = Vec::new();
        for ad in self.speakers() {
            let Some(routes) = ad.service_routes else { continue };
            for one in self.candidates() {
                let local = one.external_traffic_policy == TrafficPolicy::Local;
                let wanted = match routes.which {
                    ServiceRoutesWhich::All => true,
                    ServiceRoutesWhich::Local => local,
                    ServiceRoutesWhich::None => false,
                };
                if !wanted || ad.service_selector.as_ref().is_some_and(|by| !one.selected_by(by)) {
                    continue;
                }
                for addr in &one.ingress {
                    let serves =
                        |end: &Endpoint| end.ready || end.serving && routes.when == ServiceGate::Serving;
                    let here = |end: &Endpoint| !local || end.node.as_deref() == Some("n1");
                    let open = self.has(one, Family::of(*addr), |end| serves(end) && here(end));
                    let open = open || !local && routes.when == ServiceGate::Allocated;
                    if open && self.safe(ad, Prefix::host(*addr)) {
                        all.push((
                            (Prefix::host(*addr), format!("service {}", one.key), ad.name.clone()),
                            ad,
                        ));
                    }
                }
            }
        }
        all
    }

    fn pool_open(&self, when: PoolGate, pool: &Pool, family: Family) -> bool {
        let of = |one: &&Service| {
            one.ingress.iter().any(|addr| Family::of(*addr) == family && self.in_pool(pool, *addr))
        };
        let recorded = self.candidates().any(|one| of(&one));
        let ready = self.candidates().filter(of).any(|one| self.has(one, family, |end| end.ready));
        match when {
            PoolGate::Always => recorded || !pool.disabled,
            PoolGate::Allocated => recorded,
            PoolGate::Ready => ready,
            PoolGate::Never => false,
        }
    }

    fn in_pool(&self, pool: &Pool, addr: IpAddr) -> bool {
        exact_cover(pool.blocks.iter().map(|one| one.bounds())).iter().any(|one| one.contains(addr))
    }

    fn other_routes(&self) -> Vec<(Reason, &'w Advertisement)> {
        let mut all = Vec::new();
        for ad in self.speakers() {
            for fixed in &ad.prefixes {
                if self.safe(ad, *fixed) {
                    all.push(((*fixed, "fixed".to_owned(), ad.name.clone()), ad));
                }
            }
            let Some(PoolPrefix { when, .. }) = ad.pool_prefix else { continue };
            for entry in self.world.inputs.pools.iter() {
                let pool = &entry.pool;
                let selected = ad.pool_selector.as_ref().is_none_or(|by| by.matches(&pool.labels));
                if !selected || entry.conflict.is_some() || !pool.faults.is_empty() {
                    continue;
                }
                for one in exact_cover(pool.blocks.iter().map(|one: &Block| one.bounds())) {
                    let mut locals = self
                        .holders(one.addr())
                        .filter(|held| one.is_host() && held.external_traffic_policy == TrafficPolicy::Local)
                        .peekable();
                    let here = |end: &Endpoint| end.ready && end.node.as_deref() == Some("n1");
                    let lets =
                        locals.peek().is_none() || locals.any(|held| self.has(held, one.family(), here));
                    if self.pool_open(when, pool, one.family()) && lets && self.safe(ad, one) {
                        all.push(((one, format!("pool {}", pool.name), ad.name.clone()), ad));
                    }
                }
            }
        }
        all
    }

    /// Every reason, without those that Services take the place of for each peer there is.
    fn reasons(&self) -> BTreeSet<Reason> {
        // A third peer, which no advertisement names, hears those that name none.
        let hears =
            |ad: &Advertisement, peer: &str| ad.peers.as_ref().is_none_or(|names| names.contains(peer));
        let own = self.service_routes();
        let others = self.other_routes().into_iter().filter(|(reason, ad)| {
            ["tor-a", "tor-b", "third"].iter().any(|peer| {
                hears(ad, peer) && !own.iter().any(|(mine, by)| mine.0 == reason.0 && hears(by, peer))
            })
        });
        let others: Vec<_> = others.collect();
        own.iter().chain(&others).map(|(reason, _)| reason.clone()).collect()
    }
}

fn name(kind: SourceKind, namespace: Option<&str>, name: &str) -> String {
    match (kind, namespace) {
        (SourceKind::Pool, _) => format!("pool {name}"),
        (SourceKind::Service, namespace) => format!("service {}/{name}", namespace.unwrap_or_default()),
        (SourceKind::Prefix, _) => "fixed".to_owned(),
        (SourceKind::Aggregate, _) => "aggregate".to_owned(),
    }
}

fn in_table(announcer: &Announcer) -> BTreeSet<Reason> {
    let mut all = BTreeSet::new();
    for (prefix, route) in &announcer.rib().routes {
        for one in &route.contributions {
            let source = &one.source;
            let object = name(source.kind, source.namespace.as_deref(), &source.name);
            assert!(all.insert((*prefix, object, one.advertisement.to_string())), "each reason once");
        }
        assert!(route.contributions.is_sorted_by_key(|one| (one.source.clone(), one.advertisement.clone())));
    }
    all
}

/// What the stories of every object say is announced.
fn in_stories(world: &World) -> BTreeSet<Reason> {
    let pools = world.inputs.pools.iter().map(|entry| Subject::Pool(entry.pool.name.clone()));
    let services = world.inputs.services.keys().cloned().map(Subject::Service);
    let fixed =
        world.settings.advertisements.iter().flat_map(|ad| &ad.prefixes).copied().map(Subject::Prefix);
    let mut all = BTreeSet::new();
    for subject in pools.chain(services).chain(fixed) {
        let story = world.explain(&subject);
        if let Subject::Service(key) = &subject {
            let service = &world.inputs.services[key];
            for (prefix, held_by) in world.announcer.service_routes(service, &world.inputs) {
                let own = story
                    .decisions
                    .iter()
                    .filter(|one| one.prefix == Some(prefix) && one.source.kind == SourceKind::Service);
                let told = own.clone().any(|one| one.announced);
                assert_eq!(held_by.is_none(), told, "{prefix}: {held_by:?} {:?}", own.collect::<Vec<_>>());
            }
        }
        for one in story.decisions.into_iter().filter(|one| one.announced) {
            assert!(one.held_by().is_none());
            let source = &one.source;
            let object = name(source.kind, source.namespace.as_deref(), &source.name);
            all.insert((one.prefix.unwrap(), object, one.advertisement));
        }
    }
    all
}

/// The references that the table is counted by.
fn references_hold(world: &World) {
    let announcer = &world.announcer;
    for (addr, keys) in &announcer.holders {
        assert!(!keys.is_empty());
        assert!(keys.keys().all(|key| announcer.services[key].addresses.contains_key(addr)));
    }
    for (key, state) in &announcer.services {
        assert!(state.addresses.keys().all(|addr| announcer.holders[addr].contains_key(key)));
    }
    for entry in world.inputs.pools.iter() {
        let count = announcer.count(&entry.pool.name);
        assert!(count.iter().all(|(_, count)| count.ready <= count.recorded));
    }
    let present = |name: &String| world.inputs.pools.get(name).is_some();
    assert!(announcer.counts.keys().all(present));
    assert!(announcer.open.keys().all(present));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_history_ends_where_its_objects_say(first in advertisements(), events in vec(an_event(), 1..60)) {
        let mut world = World::new(first);
        let mut touched = Touched::default();
        for event in events.into_iter().chain([Event::Reconcile]) {
            match event {
                Event::Put(object) => world.inputs.upsert(object, &mut touched),
                Event::Take(reference) => world.inputs.remove(&reference, &mut touched),
                Event::Configure(advertisements) => {
                    world.settings.advertisements = advertisements;
                    world.announcer.configure(world.settings.clone());
                }
                Event::Reconcile => {
                    world.step(&std::mem::take(&mut touched));
                    references_hold(&world);
                    let table = in_table(&world.announcer);
                    prop_assert_eq!(&table, &Model::new(&world).reasons());
                    prop_assert_eq!(&table, &in_stories(&world));
                }
            }
        }
    }

    #[test]
    fn what_the_kernel_is_asked_for_follows_every_history(
        first in advertisements(),
        events in vec((an_event(), any::<bool>()), 1..60),
    ) {
        let mut world = World::new(first);
        world.settings.datapath = Datapath { loops: LoopGuard::Blackhole, local_announced: true };
        world.announcer.expect_kernel();
        world.announcer.configure(world.settings.clone());
        let mut shell = Wanted::default();
        let mut touched = Touched::default();
        for (event, answers) in events.into_iter().chain([(Event::Reconcile, true), (Event::Reconcile, true)]) {
            match event {
                Event::Put(object) => world.inputs.upsert(object, &mut touched),
                Event::Take(reference) => world.inputs.remove(&reference, &mut touched),
                Event::Configure(advertisements) => {
                    world.settings.advertisements = advertisements;
                    world.announcer.configure(world.settings.clone());
                }
                Event::Reconcile => {
                    world.now += 1;
                    world.announcer.touch(&std::mem::take(&mut touched));
                    world.announcer.reconcile(&world.inputs, world.now);
                    if let Some(change) = world.announcer.tell_kernel() {
                        shell.follow(&change);
                    }
                    prop_assert_eq!(&shell, &world.announcer.carriage().wanted);
                    let (guards, locals) = world.announcer.wanted(world.settings.datapath);
                    prop_assert_eq!((&guards, &locals), (&shell.guards, &shell.locals));
                    if answers {
                        let report = KernelReport {
                            access: Access::Full,
                            serial: shell.serial,
                            guards: BTreeMap::new(),
                            locals: BTreeMap::new(),
                            notes: Vec::new(),
                        };
                        world.announcer.kernel(report);
                    }
                }
            }
        }
        // Once it has answered, the kernel holds nothing back.
        let fresh = Announcer::from_scratch(world.settings.clone(), &world.inputs, world.now);
        prop_assert_eq!(in_table(&world.announcer), in_table(&fresh));
    }
}
