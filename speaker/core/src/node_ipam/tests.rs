use std::collections::BTreeMap;

use bgp_proto::types::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use speaker_config::objects::{
    Endpoint, EndpointSlice, IpFamilyPolicy, Labels, Object, ObjectRef, ServicePort, TrafficPolicy,
};

use super::*;

const ON: NodeIpamSettings = NodeIpamSettings { enabled: true, default_class: DefaultClass::LbIpam };

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn node(name: &str, internal: &[&str], external: &[&str]) -> Node {
    let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Node {
        name: name.to_owned(),
        labels: labels(&[("kubernetes.io/hostname", name)]),
        internal_ips: parse(internal),
        external_ips: parse(external),
        ..Node::default()
    }
}

fn service(name: &str) -> Service {
    Service {
        key: ObjectKey::new("default", name),
        created: 0,
        generation: 3,
        deleting: false,
        cleanup: Default::default(),
        ingress_ours: false,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        load_balancer: true,
        class: Some(NODE_CLASS.to_owned()),
        load_balancer_ip: None,
        external_ips: Vec::new(),
        cluster_ips: Vec::new(),
        ip_families: vec![Family::Ipv4Unicast],
        ip_family_policy: IpFamilyPolicy::SingleStack,
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        selector: BTreeMap::new(),
        ports: vec![ServicePort { protocol: "TCP".into(), port: 80 }],
        ingress: Vec::new(),
        conditions: Vec::new(),
    }
}

fn slice(service: &str, nodes: &[(&str, bool)]) -> EndpointSlice {
    let endpoints = nodes.iter().map(|(node, ready)| Endpoint {
        ready: *ready,
        envoy: false,
        serving: *ready,
        node: Some((*node).to_owned()),
    });
    EndpointSlice {
        key: ObjectKey::new("default", format!("{service}-1")),
        service: Some(ObjectKey::new("default", service)),
        family: Some(Family::Ipv4Unicast),
        endpoints: endpoints.collect(),
        api_servers: Vec::new(),
    }
}

/// A store that records every decision.
struct Cluster {
    inputs: Inputs,
    ipam: NodeIpam,
    events: Vec<String>,
}

impl Cluster {
    fn new(nodes: Vec<Node>) -> Self {
        let mut cluster = Self { inputs: Inputs::default(), ipam: NodeIpam::new(ON), events: Vec::new() };
        for node in nodes {
            cluster.put(Object::Node(node));
        }
        cluster
    }

    fn touch(&mut self, change: impl FnOnce(&mut Inputs, &mut Touched)) {
        let mut touched = Touched::default();
        change(&mut self.inputs, &mut touched);
        self.ipam.touch(&touched);
    }

    fn put(&mut self, object: Object) {
        self.touch(|inputs, touched| inputs.upsert(object, touched));
        self.settle();
    }

    fn serve(&mut self, service: Service) {
        self.put(Object::Service(Box::new(service)));
    }

    fn edit_node(&mut self, name: &str, edit: impl FnOnce(&mut Node)) {
        let mut node = self.inputs.nodes[name].clone();
        edit(&mut node);
        self.put(Object::Node(node));
    }

    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Service)) {
        let mut service = self.inputs.services[&ObjectKey::new("default", name)].clone();
        edit(&mut service);
        self.serve(service);
    }

    fn settle(&mut self) {
        let changes = self.ipam.reconcile(&self.inputs);
        self.events.extend(changes.events.iter().map(|event| format!("{} {}", event.reason, event.note)));
        for (key, decision) in changes.decisions {
            let Some(status) = decision else { continue };
            let mut service = self.inputs.services[&key].clone();
            service.ingress = status.ingress;
            service.conditions.retain(|condition| condition.kind != NODE_SATISFIED);
            service.conditions.extend(status.condition);
            self.touch(|inputs, touched| inputs.upsert(Object::Service(Box::new(service)), touched));
        }
        let again = self.ipam.reconcile(&self.inputs);
        assert_eq!(again.events, []);
        for (key, decision) in again.decisions {
            let Some(status) = decision else { continue };
            assert_eq!(
                status.ingress, self.inputs.services[&key].ingress,
                "what is recorded is decided again"
            );
        }
    }

    fn ips(&self, name: &str) -> Vec<String> {
        self.inputs.services[&ObjectKey::new("default", name)].ingress.iter().map(IpAddr::to_string).collect()
    }

    fn reason(&self, name: &str) -> Option<&str> {
        recorded(&self.inputs.services[&ObjectKey::new("default", name)]).map(|condition| &*condition.reason)
    }
}

#[test]
fn addresses_are_sorted_as_numbers_and_external_ones_come_first() {
    let mut cluster = Cluster::new(vec![
        node("a", &["10.0.0.10"], &[]),
        node("b", &["10.0.0.9"], &[]),
        node("c", &["10.0.0.100", "10.0.0.9"], &[]),
    ]);
    cluster.serve(service("web"));
    assert_eq!(cluster.ips("web"), ["10.0.0.9", "10.0.0.10", "10.0.0.100"]);
    assert_eq!(cluster.reason("web"), Some("satisfied"));
    cluster.edit_node("b", |node| node.external_ips.push("192.0.2.7".parse().unwrap()));
    assert_eq!(cluster.ips("web"), ["192.0.2.7"]);
    assert_eq!(
        cluster.events,
        [
            "NodesLeftOut Left out: a (it has no ExternalIP, and other nodes have), c (it has no ExternalIP, and other nodes have)"
        ]
    );
}

#[test]
fn internal_addresses_serve_the_family_that_has_no_external_one() {
    let mut cluster = Cluster::new(vec![
        node("a", &["10.0.0.1", "fd00::1"], &["192.0.2.1"]),
        node("b", &["10.0.0.2", "fd00::2"], &[]),
    ]);
    let mut dual = service("web");
    dual.ip_families = vec![Family::Ipv6Unicast, Family::Ipv4Unicast];
    cluster.serve(dual);
    assert_eq!(cluster.ips("web"), ["192.0.2.1", "fd00::1", "fd00::2"]);
    assert_eq!(cluster.events, [""; 0], "b gives its IPv6 address");
}

#[test]
fn a_node_that_becomes_excluded_is_taken_off_at_once_and_told() {
    type Edit = fn(&mut Node);
    let rows: [(Edit, &str); 3] = [
        (
            |node| drop(node.labels.insert(EXCLUDED.to_owned(), "false".to_owned())),
            "(label node.kubernetes.io/exclude",
        ),
        (|node| node.taints.extend([TO_BE_DELETED.to_owned()]), "(taint ToBeDeletedByClusterAutoscaler)"),
        (|node| node.deleting = true, "(it is being deleted)"),
    ];
    for (edit, why) in rows {
        let mut cluster = Cluster::new(vec![node("a", &["10.0.0.1"], &[]), node("b", &["10.0.0.2"], &[])]);
        cluster.serve(service("web"));
        cluster.edit_node("b", edit);
        assert_eq!(cluster.ips("web"), ["10.0.0.1"]);
        assert!(cluster.events.len() == 1 && cluster.events[0].contains(why), "{:?}", cluster.events);
        cluster.edit_node("a", edit);
        assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], Some("no_nodes")));
        // Other taints and labels change nothing.
        cluster.edit_node("a", |node| *node = super::tests::node("a", &["10.0.0.1"], &[]));
        cluster.edit_node("a", |node| node.taints.extend(["node.kubernetes.io/unschedulable".to_owned()]));
        assert_eq!(cluster.ips("web"), ["10.0.0.1"]);
    }
}

#[test]
fn with_the_policy_local_only_nodes_with_a_ready_endpoint_count() {
    let mut cluster =
        Cluster::new(vec![node("a", &["10.0.0.1"], &[]), node("b", &["10.0.0.2"], &["192.0.2.2"])]);
    let mut local = service("web");
    local.external_traffic_policy = TrafficPolicy::Local;
    cluster.serve(local);
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], Some("no_endpoints")));
    assert!(
        cluster.events[0].starts_with("IPAllocationFailed externalTrafficPolicy"),
        "{:?}",
        cluster.events
    );
    cluster.put(Object::EndpointSlice(slice("web", &[("a", true), ("b", false)])));
    // b has an external address, but is not among the chosen.
    assert_eq!(cluster.ips("web"), ["10.0.0.1"]);
    cluster.put(Object::EndpointSlice(slice("web", &[("a", true), ("b", true)])));
    assert_eq!(cluster.ips("web"), ["192.0.2.2"]);
    cluster.touch(|inputs, touched| {
        inputs.remove(&ObjectRef::EndpointSlice(ObjectKey::new("default", "web-1")), touched);
    });
    cluster.settle();
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], Some("no_endpoints")));
}

#[test]
fn the_annotation_selects_nodes_and_a_bad_one_changes_nothing() {
    let mut cluster = Cluster::new(vec![node("a", &["10.0.0.1"], &[]), node("b", &["10.0.0.2"], &[])]);
    let mut asked = service("web");
    asked.annotations = labels(&[(MATCH_NODES, "pool in (a,b),!bears")]);
    cluster.serve(asked);
    assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], Some("no_nodes")));
    cluster.edit_node("b", |node| drop(node.labels.insert("pool".to_owned(), "b".to_owned())));
    assert_eq!(cluster.ips("web"), ["10.0.0.2"]);
    cluster.edit("web", |web| web.annotations = labels(&[(MATCH_NODES, "pool in")]));
    assert_eq!(
        (cluster.ips("web"), cluster.reason("web")),
        (vec!["10.0.0.2".to_owned()], Some("invalid_selector"))
    );
    cluster.edit("web", |web| web.annotations.clear());
    assert_eq!(cluster.ips("web"), ["10.0.0.1", "10.0.0.2"]);
    cluster.edit_node("b", |node| drop(node.labels.insert("bears".to_owned(), "b".to_owned())));
    cluster.edit("web", |web| web.annotations = labels(&[(MATCH_NODES, "!bears")]));
    assert_eq!(cluster.ips("web"), ["10.0.0.1"]);
}

#[test]
fn addresses_are_taken_back_when_the_class_changes_away_also_after_a_restart() {
    for restarted in [false, true] {
        let mut cluster = Cluster::new(vec![node("a", &["10.0.0.1"], &[])]);
        cluster.serve(service("web"));
        let mut foreign = service("other");
        foreign.class = None;
        foreign.ingress = vec!["172.16.0.1".parse().unwrap()];
        cluster.serve(foreign);
        if restarted {
            cluster.ipam = NodeIpam::new(ON);
        }
        cluster.edit("web", |web| web.class = None);
        assert_eq!((cluster.ips("web"), cluster.reason("web")), (vec![], None));
        assert_eq!((cluster.ips("other"), cluster.reason("other")), (vec!["172.16.0.1".to_owned()], None));
    }
}

#[test]
fn services_without_class_are_served_where_the_setting_says_so() {
    let mut cluster = Cluster::new(vec![node("a", &["10.0.0.1"], &[])]);
    cluster.ipam = NodeIpam::new(NodeIpamSettings { enabled: true, default_class: DefaultClass::NodeIpam });
    cluster.edit_node("a", |node| drop(node.labels.insert("x".to_owned(), "y".to_owned())));
    let mut asked = service("web");
    asked.class = None;
    cluster.serve(asked);
    assert_eq!(cluster.ips("web"), ["10.0.0.1"]);
    let mut foreign = service("other");
    foreign.class = Some("io.cilium/bgp-control-plane".to_owned());
    cluster.serve(foreign);
    assert_eq!(cluster.reason("other"), None);
    let mut off = NodeIpam::new(NodeIpamSettings { enabled: false, default_class: DefaultClass::NodeIpam });
    off.touch(&Touched { services: cluster.inputs.services.keys().cloned().collect(), ..Touched::default() });
    assert_eq!(off.reconcile(&cluster.inputs), NodeIpamChanges::default());
}

// ---- Random histories beside the same code with every key marked ---------------------------------------------

#[derive(Debug, Clone)]
enum Step {
    Node(Node),
    NodeGone(&'static str),
    Service(Box<Service>),
    ServiceGone(&'static str),
    Slice(EndpointSlice),
    SliceGone(&'static str),
    Turn,
}

fn a_node() -> impl Strategy<Value = Node> {
    let ips = |texts: &'static [&'static str]| prop::sample::subsequence(texts, 0..=texts.len());
    (
        prop::sample::select(&["a", "b", "c"][..]),
        ips(&["10.0.0.1", "10.0.0.2", "fd00::1"]),
        ips(&["192.0.2.1", "2001:db8::1"]),
        prop::sample::select(&["", "x", "y"][..]),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(name, internal, external, pool, label, taint, deleting)| {
            let mut node = node(name, &internal, &external);
            if !pool.is_empty() {
                node.labels.insert("pool".to_owned(), pool.to_owned());
            }
            if label {
                node.labels.insert(EXCLUDED.to_owned(), String::new());
            }
            node.taints.extend(taint.then(|| TO_BE_DELETED.to_owned()));
            node.deleting = deleting;
            node
        })
}

fn a_service() -> impl Strategy<Value = Service> {
    (
        prop::sample::select(&["one", "two"][..]),
        prop::sample::select(&["", "pool", "pool=x", "pool notin (x)", "pool in"][..]),
        any::<bool>(),
        prop::sample::select(vec![Some(NODE_CLASS), Some(NODE_CLASS), None, Some("example.com/other")]),
        0..3usize,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(name, query, local, class, families, deleting)| {
            let mut made = service(name);
            made.annotations = labels(&[(MATCH_NODES, query)]);
            made.external_traffic_policy = if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            made.class = class.map(str::to_owned);
            made.ip_families = Family::ALL.into_iter().take(families).collect();
            made.deleting = deleting;
            made
        })
}

fn a_step() -> impl Strategy<Value = Step> {
    let hosts = prop::sample::subsequence(&["a", "b", "c"][..], 0..=3);
    prop_oneof![
        4 => a_node().prop_map(Step::Node),
        1 => prop::sample::select(&["a", "b", "c"][..]).prop_map(Step::NodeGone),
        4 => a_service().prop_map(|service| Step::Service(Box::new(service))),
        1 => prop::sample::select(&["one", "two"][..]).prop_map(Step::ServiceGone),
        3 => (prop::sample::select(&["one", "two"][..]), hosts, any::<bool>()).prop_map(|(name, hosts, ready)| {
            let hosts: Vec<_> = hosts.into_iter().map(|host| (host, ready)).collect();
            Step::Slice(slice(name, &hosts))
        }),
        1 => prop::sample::select(&["one", "two"][..]).prop_map(Step::SliceGone),
        3 => Just(Step::Turn),
    ]
}

proptest! {
    #[test]
    fn what_is_decided_bit_by_bit_is_what_is_decided_at_once(steps in vec(a_step(), 1..40)) {
        let mut cluster = Cluster::new(Vec::new());
        let mut decided: BTreeMap<ObjectKey, Option<NodeStatus>> = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Turn]) {
            let key = |name: &str| ObjectKey::new("default", name);
            match step {
                Step::Node(node) => cluster.touch(|inputs, touched| inputs.upsert(Object::Node(node), touched)),
                Step::NodeGone(name) => {
                    cluster.touch(|inputs, touched| inputs.remove(&ObjectRef::Node(name.to_owned()), touched));
                }
                Step::Service(service) => {
                    cluster.touch(|inputs, touched| inputs.upsert(Object::Service(service), touched));
                }
                Step::ServiceGone(name) => {
                    cluster.touch(|inputs, touched| inputs.remove(&ObjectRef::Service(key(name)), touched));
                }
                Step::Slice(slice) => {
                    cluster.touch(|inputs, touched| inputs.upsert(Object::EndpointSlice(slice), touched));
                }
                Step::SliceGone(name) => {
                    let slice = ObjectRef::EndpointSlice(key(&format!("{name}-1")));
                    cluster.touch(|inputs, touched| inputs.remove(&slice, touched));
                }
                Step::Turn => {
                    decided.extend(cluster.ipam.reconcile(&cluster.inputs).decisions);
                    decided.retain(|key, _| cluster.inputs.services.contains_key(key));
                    let mut oracle = NodeIpam::new(ON);
                    oracle.touch(&Touched {
                        services: cluster.inputs.services.keys().cloned().collect(),
                        ..Touched::default()
                    });
                    prop_assert_eq!(&decided, &oracle.reconcile(&cluster.inputs).decisions);
                }
            }
        }
    }
}
