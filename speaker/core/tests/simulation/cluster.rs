//! What users change: pools, Services, EndpointSlices, Nodes and `speaker.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bgp_proto::types::Family;
use speaker_config::model::SpeakerConfig;
use speaker_config::objects::{
    Block, Condition, Endpoint, EndpointSlice, IpFamilyPolicy, Labels, Node, Object, ObjectKey, ObjectRef,
    Pool, Selector, Service, ServicePort, TrafficPolicy,
};

use super::clock::Random;

/// The AS of the nodes.
pub(crate) const ASN: u32 = 64_512;
const POOLS: usize = 4;

/// What is recorded of the statuses, by the API server or in a node's state folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(BTreeMap<ObjectKey, (Vec<IpAddr>, Vec<Condition>)>);

impl Records {
    pub(crate) fn record(&mut self, key: ObjectKey, ingress: Vec<IpAddr>, conditions: Vec<Condition>) {
        self.0.insert(key, (ingress, conditions));
    }

    pub(crate) fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }
}

/// The objects as their authors wrote them.
#[derive(Debug)]
pub(crate) struct Cluster {
    objects: BTreeMap<ObjectRef, Object>,
    pub(crate) config: Arc<SpeakerConfig>,
    nodes: usize,
    services: usize,
    clock: i64,
}

impl Cluster {
    /// A cluster that has most of its objects.
    pub(crate) fn new(nodes: usize, tors: &[TorSpec], services: usize, random: &mut Random) -> Self {
        let config = Arc::new(config(nodes, tors, random));
        let mut cluster = Self { objects: BTreeMap::new(), config, nodes, services, clock: 1 };
        for node in 0..nodes {
            cluster.put(Object::Node(a_node(node, random)));
        }
        for pool in 0..POOLS - 1 {
            let object = cluster.a_pool(pool, random);
            cluster.put(Object::Pool(object));
        }
        for service in 0..services {
            if !random.one_in(4) {
                let object = cluster.a_service(service, random);
                cluster.put(Object::Service(Box::new(object)));
                let slice = cluster.a_slice(service, random);
                cluster.put(Object::EndpointSlice(slice));
            }
        }
        cluster
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &ObjectRef> {
        self.objects.keys()
    }

    /// The object with what is recorded of it.
    pub(crate) fn get(&self, reference: &ObjectRef, records: &Records) -> Option<Object> {
        let mut object = self.objects.get(reference)?.clone();
        if let Object::Service(service) = &mut object
            && let Some((ingress, conditions)) = records.0.get(&service.key)
        {
            service.ingress.clone_from(ingress);
            service.conditions.clone_from(conditions);
        }
        Some(object)
    }

    fn put(&mut self, object: Object) {
        self.objects.insert(object.reference(), object);
    }

    /// Something comes, changes or goes.
    pub(crate) fn change(&mut self, random: &mut Random) -> ObjectRef {
        self.clock += 1;
        let service = random.below(self.services);
        let object = match random.below(12) {
            0 | 1 => Object::Pool(self.a_pool(random.below(POOLS), random)),
            2..=4 => Object::Service(Box::new(self.a_service(service, random))),
            5..=9 => Object::EndpointSlice(self.a_slice(service, random)),
            _ => Object::Node(a_node(random.below(self.nodes), random)),
        };
        let reference = object.reference();
        if random.one_in(5) {
            self.objects.remove(&reference);
        } else {
            self.put(object);
        }
        reference
    }

    /// Endpoints of a Service on every node come or go.
    pub(crate) fn flap(&mut self, service: usize, up: bool) -> ObjectRef {
        let endpoint = |node| Endpoint { ready: up, serving: up, node: Some(node_name(node)), envoy: false };
        let object = Object::EndpointSlice(EndpointSlice {
            key: ObjectKey::new("default", format!("s{service}-x")),
            service: Some(ObjectKey::new("default", format!("s{service}"))),
            family: Some(Family::Ipv4Unicast),
            endpoints: (0..self.nodes).map(endpoint).collect(),
            api_servers: Vec::new(),
        });
        let reference = object.reference();
        self.put(object);
        reference
    }

    pub(crate) fn service(&self, random: &mut Random) -> usize {
        random.below(self.services)
    }

    fn created(&self, reference: &ObjectRef) -> i64 {
        match self.objects.get(reference) {
            Some(Object::Pool(pool)) => pool.created,
            Some(Object::Service(service)) => service.created,
            _ => self.clock,
        }
    }

    fn a_pool(&self, index: usize, random: &mut Random) -> Pool {
        let name = format!("pool-{index}");
        // The last one overlaps the others at times: a conflict.
        let place = if index == POOLS - 1 && random.one_in(2) { random.below(POOLS) } else { index };
        let mut blocks = Vec::new();
        if !random.one_in(6) {
            let len = 25 + random.below(5);
            blocks.push(Block::Cidr(format!("203.0.113.{}/{len}", 64 * place).parse().unwrap()));
        }
        if random.one_in(3) {
            let first = u8::try_from(64 * place + 32).unwrap();
            let last = first + u8::try_from(random.below(20)).unwrap();
            blocks.push(Block::Range {
                first: IpAddr::from([198, 51, 100, first]),
                last: IpAddr::from([198, 51, 100, last]),
            });
        }
        if !random.one_in(4) {
            let len = 120 + random.below(6);
            blocks.push(Block::Cidr(format!("2001:db8:{place}::/{len}").parse().unwrap()));
        }
        Pool {
            created: self.created(&ObjectRef::Pool(name.clone())),
            name,
            generation: 1,
            labels: tier(random),
            annotations: Labels::new(),
            selector: random.one_in(5).then(|| selector("tier", "public")),
            blocks,
            reserve_first_last: random.one_in(2),
            disabled: random.one_in(12),
            faults: if random.one_in(20) { vec!["spec.blocks[9].cidr".to_owned()] } else { Vec::new() },
            conditions: Vec::new(),
        }
    }

    fn a_service(&self, index: usize, random: &mut Random) -> Service {
        let key = ObjectKey::new("default", format!("s{index}"));
        let policy = [IpFamilyPolicy::SingleStack, IpFamilyPolicy::PreferDualStack];
        Service {
            created: self.created(&ObjectRef::Service(key.clone())),
            key,
            generation: 1,
            deleting: random.one_in(20),
            cleanup: Default::default(),
            ingress_ours: false,
            labels: tier(random),
            annotations: Labels::new(),
            load_balancer: !random.one_in(15),
            class: random.one_in(3).then(|| "io.cilium/bgp-control-plane".to_owned()),
            load_balancer_ip: None,
            external_ips: Vec::new(),
            cluster_ips: Vec::new(),
            ip_families: if random.one_in(4) { vec![Family::Ipv6Unicast] } else { vec![Family::Ipv4Unicast] },
            ip_family_policy: *random.pick(&policy),
            external_traffic_policy: if random.one_in(2) {
                TrafficPolicy::Local
            } else {
                TrafficPolicy::Cluster
            },
            internal_traffic_policy: TrafficPolicy::Cluster,
            selector: Labels::new(),
            ports: vec![ServicePort { protocol: "TCP".to_owned(), port: 80 }],
            ingress: Vec::new(),
            conditions: Vec::new(),
        }
    }

    fn a_slice(&self, index: usize, random: &mut Random) -> EndpointSlice {
        let endpoints = (0..random.below(4)).map(|_| Endpoint {
            ready: !random.one_in(3),
            serving: !random.one_in(3),
            node: (!random.one_in(5)).then(|| node_name(random.below(self.nodes))),
            envoy: false,
        });
        EndpointSlice {
            endpoints: endpoints.collect(),
            key: ObjectKey::new("default", format!("s{index}-x")),
            service: Some(ObjectKey::new("default", format!("s{index}"))),
            family: Some(if random.one_in(3) { Family::Ipv6Unicast } else { Family::Ipv4Unicast }),
            api_servers: Vec::new(),
        }
    }
}

pub(crate) fn node_name(node: usize) -> String {
    format!("n{node}")
}

pub(crate) fn tor_name(tor: usize) -> String {
    format!("tor-{tor}")
}

pub(crate) fn tor_address(tor: usize) -> IpAddr {
    IpAddr::from([10, 255, u8::try_from(tor).unwrap(), 254])
}

pub(crate) fn node_address(node: usize) -> IpAddr {
    IpAddr::from([10, 1, u8::try_from(node).unwrap(), 1])
}

fn a_node(node: usize, random: &mut Random) -> Node {
    let rack = if random.one_in(6) { "b" } else { "a" };
    Node {
        name: node_name(node),
        labels: [("rack".to_owned(), rack.to_owned())].into(),
        internal_ips: vec![node_address(node)],
        ..Node::default()
    }
}

fn tier(random: &mut Random) -> Labels {
    match random.below(3) {
        0 => Labels::new(),
        _ => [("tier".to_owned(), "public".to_owned())].into(),
    }
}

fn selector(key: &str, value: &str) -> Selector {
    Selector { match_labels: [(key.to_owned(), value.to_owned())].into(), ..Selector::default() }
}

/// What never changes about a ToR.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TorSpec {
    pub(crate) asn: u32,
    /// It alone is dialled, or it alone dials; with neither both dial.
    pub(crate) node_passive: bool,
    pub(crate) tor_passive: bool,
    pub(crate) graceful: bool,
    pub(crate) hold: u16,
}

/// A random `speaker.yaml`, read by the real reader.
pub(crate) fn config(nodes: usize, tors: &[TorSpec], random: &mut Random) -> SpeakerConfig {
    let mut text = format!("router: {{asn: {ASN}, listen: [\"0.0.0.0:179\"]}}\n");
    text.push_str("sources: {manifests: [manifests]}\npeers:\n");
    let mut names = BTreeSet::new();
    for (index, tor) in tors.iter().enumerate() {
        let asn = if tor.asn == ASN { "internal".to_owned() } else { tor.asn.to_string() };
        let TorSpec { hold, node_passive, .. } = tor;
        write!(
            text,
            "  - {{name: {}, address: {}, asn: {asn}, passive: {node_passive}, timers: {{hold: {hold}s}}",
            tor_name(index),
            tor_address(index),
        )
        .unwrap();
        if tor.graceful {
            text.push_str(", gracefulRestart: {restartTime: 30s}");
        }
        if random.one_in(4) {
            let limit = 1 + random.below(6);
            write!(text, ", maxAdvertised: {{ipv4-unicast: {limit}, ipv6-unicast: {}}}", 1 + random.below(6))
                .unwrap();
        }
        if random.one_in(5) {
            text.push_str(
                ", export: [{prefix: 203.0.113.0/25, le: 32}, {prefix: \"2001:db8::/32\", le: 128}]",
            );
        }
        if nodes > 1 && random.one_in(6) {
            text.push_str(", nodeSelector: {matchLabels: {rack: a}}");
        }
        text.push_str("}\n");
        names.insert(tor_name(index));
    }
    text.push_str("advertisements:\n");
    for index in 0..1 + random.below(3) {
        advertisement(&mut text, index, tors.len(), random);
    }
    speaker_config::speaker::parse(&text, "speaker.yaml", Path::new("/"))
        .unwrap_or_else(|error| panic!("{error:?}\n{text}"))
        .0
}

fn advertisement(text: &mut String, index: usize, tors: usize, random: &mut Random) {
    let when = random.pick(&["always", "allocated", "ready", "never", "allocated"]);
    write!(text, "  - {{name: ad{index}, poolPrefix: {{when: {when}}}").unwrap();
    let which = random.pick(&["all", "local", "none", "all"]);
    let gate = random.pick(&["allocated", "ready", "serving"]);
    write!(text, ", serviceRoutes: {{which: {which}, when: {gate}}}").unwrap();
    let community = random.pick(&["\"64501:1\"", "\"64501:2\"", "\"64501:1\", no-export", "blackhole"]);
    write!(text, ", attributes: {{communities: [{community}], prepend: {}", random.below(3)).unwrap();
    if random.one_in(3) {
        write!(text, ", med: {}", random.below(3)).unwrap();
    }
    if random.one_in(3) {
        write!(text, ", localPreference: {}", 100 + random.below(3)).unwrap();
    }
    text.push('}');
    if random.one_in(3) {
        write!(text, ", peers: [{}]", tor_name(random.below(tors))).unwrap();
    }
    if random.one_in(4) {
        text.push_str(", poolSelector: {matchLabels: {tier: public}}");
    }
    if random.one_in(4) {
        text.push_str(", serviceSelector: {matchLabels: {tier: public}}");
    }
    if random.one_in(5) {
        text.push_str(", nodeSelector: {matchLabels: {rack: a}}");
    }
    if random.one_in(5) {
        text.push_str(", prefixes: [192.0.2.0/24]");
    }
    text.push_str("}\n");
}
