//! A small world whose every step is compared with the answer from scratch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use speaker_config::model::{
    Advertisement, Datapath, LoopGuard, PoolGate, PoolPrefix, RouteAttributes, ServiceGate, ServiceRoutes,
    ServiceRoutesWhich,
};
use speaker_config::objects::{
    Block, Endpoint, EndpointSlice, IpFamilyPolicy, Labels, Node, Object, ObjectKey, ObjectRef, Pool,
    Selector, Service, ServiceCidr, TrafficPolicy,
};

use super::{Announcer, Settings, Story, Subject};
use crate::inputs::{Inputs, Touched};
use crate::rib::{Contributions, SourceKind};

mod explaining;
mod history;
mod kernel;
mod pool_prefixes;
mod proxy;
mod scale;
mod service_routes;

pub(super) struct World {
    pub(super) inputs: Inputs,
    pub(super) announcer: Announcer,
    pub(super) settings: Settings,
    pub(super) now: i64,
}

impl World {
    pub(super) fn new(advertisements: impl IntoIterator<Item = Advertisement>) -> Self {
        let settings = Settings {
            node: "n1".into(),
            advertisements: advertisements.into_iter().collect(),
            ..Settings::default()
        };
        let mut announcer = Announcer::new();
        announcer.configure(settings.clone());
        Self { inputs: Inputs::default(), announcer, settings, now: 1000 }
    }

    /// Stores an object and says which prefixes changed.
    pub(super) fn put(&mut self, object: impl Into<Thing>) -> Vec<String> {
        let mut touched = Touched::default();
        self.inputs.upsert(object.into().0, &mut touched);
        self.step(&touched)
    }

    pub(super) fn take(&mut self, reference: &ObjectRef) -> Vec<String> {
        let mut touched = Touched::default();
        self.inputs.remove(reference, &mut touched);
        self.step(&touched)
    }

    pub(super) fn configure(
        &mut self,
        advertisements: impl IntoIterator<Item = Advertisement>,
    ) -> Vec<String> {
        self.settings.advertisements = advertisements.into_iter().collect();
        self.announcer.configure(self.settings.clone());
        self.step(&Touched::default())
    }

    pub(super) fn step(&mut self, touched: &Touched) -> Vec<String> {
        self.now += 1;
        let before = contributions(&self.announcer);
        self.announcer.touch(touched);
        let changed = self.announcer.reconcile(&self.inputs, self.now);
        self.check();
        let after = contributions(&self.announcer);
        let differ: BTreeSet<Prefix> = before
            .keys()
            .chain(after.keys())
            .filter(|prefix| before.get(*prefix) != after.get(*prefix))
            .copied()
            .collect();
        assert_eq!(changed, differ, "what is said to have changed is what changed");
        changed.iter().map(ToString::to_string).collect()
    }

    /// Incremental equals from scratch; no reference is left behind; the story tells what was done.
    pub(super) fn check(&self) {
        let fresh = Announcer::from_scratch(self.settings.clone(), &self.inputs, self.now);
        let one = &self.announcer;
        assert_eq!(contributions(one), contributions(&fresh));
        assert_eq!(one.services, fresh.services);
        assert_eq!(one.holders, fresh.holders);
        assert_eq!(one.counts, fresh.counts);
        assert_eq!(one.pools, fresh.pools);
        assert_eq!(one.open, fresh.open);
        assert_eq!(one.open_by_prefix, fresh.open_by_prefix);
        assert_eq!(one.fixed, fresh.fixed);
        assert_eq!(one.waiting.outside, fresh.waiting.outside);
        let datapath = Datapath { loops: LoopGuard::Blackhole, local_announced: true };
        assert_eq!(one.wanted(datapath), fresh.wanted(datapath));
        assert!(one.rib.routes.values().all(|route| !route.contributions.is_empty()));
    }

    /// Every reason in the Loc-RIB, as `PREFIX NAME ADVERTISEMENT`.
    pub(super) fn routes(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (prefix, route) in &self.announcer.rib().routes {
            for one in &route.contributions {
                let name = match (one.source.kind, one.source.namespace.as_deref()) {
                    (SourceKind::Pool, None) => format!("pool {}", one.source.name),
                    (SourceKind::Service, Some(namespace)) => format!("{namespace}/{}", one.source.name),
                    (SourceKind::Prefix, None) => "fixed".to_owned(),
                    other => panic!("a source like {other:?}"),
                };
                all.push(format!("{prefix} {name} {}", one.advertisement));
            }
        }
        all
    }

    /// The prefixes in the Loc-RIB.
    pub(super) fn prefixes(&self) -> Vec<String> {
        self.announcer.rib().routes.keys().map(ToString::to_string).collect()
    }

    pub(super) fn findings(&self) -> Vec<String> {
        self.announcer.findings(&self.inputs).iter().map(ToString::to_string).collect()
    }

    pub(super) fn explain(&self, subject: &Subject) -> Story {
        self.announcer.explain(subject, &self.inputs).expect("something to explain")
    }

    /// The details of the gates that hold a subject back, each once.
    pub(super) fn held(&self, subject: &Subject) -> Vec<String> {
        let story = self.explain(subject);
        let own = story.gates.iter().filter(|gate| !gate.passed).map(|gate| gate.detail.clone());
        let routes = story.decisions.iter().filter_map(|one| Some(one.held_by()?.detail.clone()));
        own.chain(routes).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The Loc-RIB without `since`, which depends on history.
pub(super) fn contributions(announcer: &Announcer) -> BTreeMap<Prefix, Contributions> {
    let routes = announcer.rib().routes.iter();
    routes.map(|(prefix, route)| (*prefix, route.contributions.clone())).collect()
}

/// Any object, so that scenarios need not say which.
pub(super) struct Thing(pub(super) Object);

impl From<Pool> for Thing {
    fn from(pool: Pool) -> Self {
        Self(Object::Pool(pool))
    }
}

impl From<Service> for Thing {
    fn from(service: Service) -> Self {
        Self(Object::Service(Box::new(service)))
    }
}

impl From<EndpointSlice> for Thing {
    fn from(slice: EndpointSlice) -> Self {
        Self(Object::EndpointSlice(slice))
    }
}

impl From<ServiceCidr> for Thing {
    fn from(cidr: ServiceCidr) -> Self {
        Self(Object::ServiceCidr(cidr))
    }
}

impl From<Node> for Thing {
    fn from(node: Node) -> Self {
        Self(Object::Node(node))
    }
}

pub(super) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(super) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(super) fn selector<const N: usize>(pairs: [(&str, &str); N]) -> Selector {
    Selector { match_labels: labels(pairs), ..Selector::default() }
}

/// A pool with blocks written `CIDR` or `FIRST-LAST`.
pub(super) fn pool(name: &str, blocks: &[&str]) -> Pool {
    let block = |text: &&str| match text.split_once('-') {
        Some((first, last)) => Block::Range { first: addr(first), last: addr(last) },
        None => Block::Cidr(prefix(text)),
    };
    Pool {
        name: name.into(),
        created: 100,
        generation: 1,
        labels: Labels::new(),
        annotations: Labels::new(),
        selector: None,
        blocks: blocks.iter().map(block).collect(),
        reserve_first_last: false,
        disabled: false,
        faults: Vec::new(),
        conditions: Vec::new(),
    }
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

/// A LoadBalancer Service with recorded addresses.
pub(super) fn service(name: &str, ingress: &[&str]) -> Service {
    Service {
        key: key(name),
        created: 200,
        generation: 1,
        deleting: false,
        cleanup: Default::default(),
        ingress_ours: false,
        labels: Labels::new(),
        annotations: Labels::new(),
        load_balancer: true,
        class: None,
        load_balancer_ip: None,
        external_ips: Vec::new(),
        cluster_ips: Vec::new(),
        ip_families: Vec::new(),
        ip_family_policy: IpFamilyPolicy::SingleStack,
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        selector: Labels::new(),
        ports: Vec::new(),
        ingress: ingress.iter().map(|text| addr(text)).collect(),
        conditions: Vec::new(),
    }
}

/// The same with `externalTrafficPolicy: Local`.
pub(super) fn local(name: &str, ingress: &[&str]) -> Service {
    Service { external_traffic_policy: TrafficPolicy::Local, ..service(name, ingress) }
}

pub(super) fn ready(node: &str) -> Endpoint {
    Endpoint { ready: true, serving: true, node: Some(node.into()), envoy: false }
}

pub(super) fn unready(node: &str) -> Endpoint {
    Endpoint { ready: false, serving: false, node: Some(node.into()), envoy: false }
}

pub(super) fn terminating(node: &str) -> Endpoint {
    Endpoint { ready: false, serving: true, node: Some(node.into()), envoy: false }
}

/// The IPv4 slice of a Service.
pub(super) fn endpoints(service: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> EndpointSlice {
    endpoints_of(service, Family::Ipv4Unicast, endpoints)
}

pub(super) fn endpoints_of(
    service: &str,
    family: Family,
    endpoints: impl IntoIterator<Item = Endpoint>,
) -> EndpointSlice {
    EndpointSlice {
        key: key(&format!("{service}-{family}")),
        service: Some(key(service)),
        family: Some(family),
        endpoints: endpoints.into_iter().collect(),
        api_servers: Vec::new(),
    }
}

pub(super) fn node(name: &str, labelled: Labels) -> Node {
    Node { name: name.into(), labels: labelled, ..Node::default() }
}

/// An advertisement that says nothing yet.
pub(super) fn silent(name: &str) -> Advertisement {
    Advertisement {
        name: name.into(),
        pool_selector: None,
        service_selector: None,
        prefixes: Vec::new(),
        pool_prefix: None,
        service_routes: None,
        attributes: RouteAttributes::default(),
        peers: None,
        node_selector: None,
        allow: Vec::new(),
        belongings: false,
        families: Family::ALL.into_iter().collect(),
        export: Vec::new(),
    }
}

/// One that announces pool prefixes.
pub(super) fn pools(name: &str, when: PoolGate) -> Advertisement {
    Advertisement { pool_prefix: Some(PoolPrefix { when, ..PoolPrefix::default() }), ..silent(name) }
}

/// One that announces Service routes.
pub(super) fn services(name: &str, which: ServiceRoutesWhich, when: ServiceGate) -> Advertisement {
    Advertisement {
        service_routes: Some(ServiceRoutes { which, when, ..ServiceRoutes::default() }),
        ..silent(name)
    }
}

pub(super) fn peers<const N: usize>(names: [&str; N]) -> Option<BTreeSet<String>> {
    Some(names.into_iter().map(str::to_owned).collect())
}
