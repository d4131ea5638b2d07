use proptest::prelude::*;
use speaker_config::objects::{Endpoint, EndpointSlice, Labels, Object, ObjectRef, Selector};

use bgp_proto::types::Family;

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn service(name: &str, created: UnixSeconds, ingress: &[&str]) -> Service {
    let object = serde_json::json!({
        "key": {"namespace": "default", "name": name}, "created": created, "generation": 1, "deleting": false,
        "labels": {}, "annotations": {}, "loadBalancer": true, "class": null, "loadBalancerIp": null,
        "externalIps": [], "clusterIps": [], "ipFamilies": [], "ipFamilyPolicy": "SingleStack",
        "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster", "selector": {}, "ports": [],
        "ingress": ingress, "conditions": [],
    });
    serde_json::from_value(object).unwrap()
}

fn node(name: &str, rack: &str) -> Object {
    let labels = Labels::from([("rack".to_owned(), rack.to_owned())]);
    Object::Node(Node { name: name.to_owned(), labels, ..Node::default() })
}

fn slice(of: &str, nodes: &[Option<&str>]) -> Object {
    let endpoint = |node: &Option<&str>| Endpoint {
        ready: true,
        serving: true,
        node: node.map(str::to_owned),
        envoy: false,
    };
    Object::EndpointSlice(EndpointSlice {
        key: key(&format!("{of}-1")),
        service: Some(key(of)),
        family: Some(Family::Ipv4Unicast),
        endpoints: nodes.iter().map(endpoint).collect(),
        api_servers: Vec::new(),
    })
}

fn rule() -> Rule {
    Rule {
        name: "all".to_owned(),
        nodes: Selection::Everything,
        services: Selection::Everything,
        interfaces: None,
        load_balancer_ips: true,
        external_ips: false,
    }
}

struct Bench {
    inputs: Inputs,
    touched: Touched,
    planner: Planner,
}

impl Bench {
    fn new(rules: Vec<Rule>) -> Self {
        let mut planner = Planner::new("n1", DefaultClass::LbIpam);
        planner.set_rules(rules);
        planner.set_interfaces(["eth0", "eth1", "lo"].map(str::to_owned).into());
        Self { inputs: Inputs::default(), touched: Touched::default(), planner }
    }

    fn put(&mut self, object: Object) -> &mut Self {
        self.inputs.upsert(object, &mut self.touched);
        self
    }

    fn service(&mut self, service: Service) -> &mut Self {
        self.put(Object::Service(Box::new(service)))
    }

    fn units(&mut self) -> &BTreeMap<ObjectKey, Unit> {
        self.planner.reconcile(&self.inputs, &std::mem::take(&mut self.touched));
        self.planner.units()
    }

    fn unit(&mut self, name: &str) -> Unit {
        self.units().get(&key(name)).cloned().unwrap_or_else(|| panic!("no unit of {name}"))
    }
}

fn names(set: &BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

#[test]
fn a_policy_chooses_nodes_interfaces_and_kinds_of_address() {
    let racks = Selector {
        match_labels: Labels::from([("rack".to_owned(), "r1".to_owned())]),
        ..Selector::default()
    };
    let interfaces = Some(RegexSet::new(["^eth1$", "bond"]).unwrap());
    let mut bench = Bench::new(vec![Rule { nodes: Selection::These(racks), interfaces, ..rule() }]);
    let mut web = service("web", 1, &["192.0.2.1"]);
    web.external_ips = vec!["198.51.100.1".parse().unwrap()];
    bench.put(node("n1", "r1")).put(node("n2", "r2")).put(node("n3", "r1")).service(web);
    let unit = bench.unit("web");
    assert_eq!(names(&unit.candidates), ["n1", "n3"]);
    let addresses: Vec<String> = unit.addresses.keys().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1"], "externalIPs is off");
    assert_eq!(names(unit.addresses.values().next().unwrap()), ["eth1"]);
}

#[test]
fn two_policies_add_up() {
    let external = Rule {
        load_balancer_ips: false,
        external_ips: true,
        interfaces: Some(RegexSet::new(["^eth0$"]).unwrap()),
        ..rule()
    };
    let mut bench = Bench::new(vec![rule(), external]);
    let mut web = service("web", 1, &["192.0.2.1"]);
    web.external_ips = vec!["198.51.100.1".parse().unwrap()];
    bench.service(web);
    let unit = bench.unit("web");
    let interfaces: Vec<Vec<&str>> = unit.addresses.values().map(names).collect();
    assert_eq!(interfaces, [vec!["eth0", "eth1", "lo"], vec!["eth0"]]);
}

#[test]
fn local_services_are_for_nodes_with_a_ready_endpoint() {
    let mut bench = Bench::new(vec![rule()]);
    let mut web = service("web", 1, &["192.0.2.1"]);
    web.external_traffic_policy = TrafficPolicy::Local;
    bench.put(node("n1", "r1")).put(node("n2", "r1")).service(web);
    assert_eq!(names(&bench.unit("web").candidates), Vec::<&str>::new());
    bench.put(slice("web", &[Some("n2")]));
    assert_eq!(names(&bench.unit("web").candidates), ["n2"]);
    // What Cilium's Gateways have: one endpoint on no node.
    bench.put(slice("web", &[None]));
    assert_eq!(names(&bench.unit("web").candidates), ["n1", "n2"]);
}

#[test]
fn a_shared_address_belongs_to_the_eldest() {
    let mut bench = Bench::new(vec![rule()]);
    bench.service(service("young", 2, &["192.0.2.1", "192.0.2.2"])).service(service(
        "old",
        1,
        &["192.0.2.1"],
    ));
    assert_eq!(bench.unit("old").addresses.len(), 1);
    assert_eq!(bench.unit("young").addresses.len(), 1);
    bench.inputs.remove(&ObjectRef::Service(key("old")), &mut bench.touched);
    assert_eq!(bench.unit("young").addresses.len(), 2);
    assert!(!bench.units().contains_key(&key("old")));
}

#[test]
fn classes_of_others_are_left_alone() {
    let mut bench = Bench::new(vec![rule()]);
    for (name, class) in
        [("bgp", "io.cilium/bgp-control-plane"), ("node", "io.cilium/node"), ("l2", "io.cilium/l2-announcer")]
    {
        bench.service(Service { class: Some(class.to_owned()), ..service(name, 1, &["192.0.2.1"]) });
    }
    assert_eq!(bench.units().keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["l2"]);
}

#[test]
fn a_missing_node_is_a_node_without_labels() {
    let mut bench = Bench::new(vec![rule()]);
    bench.service(service("web", 1, &["192.0.2.1"]));
    assert_eq!(names(&bench.unit("web").candidates), ["n1"]);
}

#[derive(Debug, Clone)]
enum Step {
    Service { name: u8, created: i64, addresses: Vec<u8>, local: bool },
    Remove(u8),
    Slice { name: u8, nodes: Vec<u8> },
    Node { name: u8, rack: u8 },
    Links(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8, 0..3i64, prop::collection::vec(0..4u8, 0..3), any::<bool>())
            .prop_map(|(name, created, addresses, local)| Step::Service { name, created, addresses, local }),
        (0..4u8).prop_map(Step::Remove),
        (0..4u8, prop::collection::vec(0..3u8, 0..3)).prop_map(|(name, nodes)| Step::Slice { name, nodes }),
        (0..3u8, 0..2u8).prop_map(|(name, rack)| Step::Node { name, rack }),
        (0..4u8).prop_map(Step::Links),
    ]
}

fn apply(bench: &mut Bench, step: &Step) {
    match step {
        Step::Service { name, created, addresses, local } => {
            let texts: Vec<String> = addresses.iter().map(|last| format!("192.0.2.{last}")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut service = service(&format!("s{name}"), *created, &texts);
            if *local {
                service.external_traffic_policy = TrafficPolicy::Local;
            }
            bench.service(service);
        }
        Step::Remove(name) => {
            bench.inputs.remove(&ObjectRef::Service(key(&format!("s{name}"))), &mut bench.touched);
        }
        Step::Slice { name, nodes } => {
            let nodes: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
            let nodes: Vec<Option<&str>> = nodes.iter().map(|node| Some(node.as_str())).collect();
            bench.put(slice(&format!("s{name}"), &nodes));
        }
        Step::Node { name, rack } => {
            bench.put(node(&format!("n{name}"), &format!("r{rack}")));
        }
        Step::Links(bits) => {
            let all = [(1, "eth0"), (2, "eth1")];
            let up = all.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned());
            bench.planner.set_interfaces(up.collect());
        }
    }
}

proptest! {
    /// The units after any history are those of the same objects seen all at once.
    #[test]
    fn what_is_kept_up_to_date_is_what_would_be_made_anew(steps in prop::collection::vec(step(), 1..30)) {
        let racks = Selector {
            match_labels: Labels::from([("rack".to_owned(), "r1".to_owned())]),
            ..Selector::default()
        };
        let rules = || vec![
            Rule { interfaces: Some(RegexSet::new(["eth0"]).unwrap()), ..rule() },
            Rule { nodes: Selection::These(racks.clone()), external_ips: true, ..rule() },
        ];
        let mut bench = Bench::new(rules());
        for step in &steps {
            apply(&mut bench, step);
            bench.units();
        }
        let mut fresh = Planner::new("n1", DefaultClass::LbIpam);
        fresh.set_rules(rules());
        fresh.set_interfaces(bench.planner.interfaces.clone());
        fresh.reconcile(&bench.inputs, &Touched::default());
        prop_assert_eq!(fresh.units(), bench.units());
    }
}
