use bgp_proto::types::Family;
use speaker_config::objects::Object;

use super::*;

#[test]
fn leases_are_named_as_ciliums_and_never_after_two_services() {
    let name = |namespace: &str, name: &str| lease_name(&ObjectKey::new(namespace, name));
    assert_eq!(name("default", "web"), "cilium-l2announce-default-web");
    assert_eq!(name("default", "web-1"), "cilium-l2announce-default-web-1");
    assert_ne!(name("a-b", "c"), name("a", "b-c"));
    assert!(name("a-b", "c").starts_with("cilium-l2announce-a-b-c."));
    assert!(name(&"a-".repeat(31), &"b".repeat(63)).len() <= 253);
}

#[test]
fn what_is_wrong_with_a_policy_is_said_in_ciliums_words() {
    let mut policy = L2AnnouncementPolicy {
        name: "broken".to_owned(),
        generation: 3,
        interfaces: vec!["^eth[0-9]+$".to_owned(), "eth(".to_owned()],
        ..L2AnnouncementPolicy::default()
    };
    let said = policy_conditions(&policy);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].kind.as_str(), said[0].status.as_str()), ("io.cilium/bad-interface-regex", "True"));
    assert_eq!((said[0].reason.as_str(), said[0].observed_generation), ("error", 3));
    assert!(said[0].message.starts_with("spec.interfaces[1]: \"eth(\" is not a regular expression: "));
    assert!(policy_rule(&policy).is_none());
    policy.conditions = said;
    policy.interfaces.pop();
    let said = policy_conditions(&policy);
    assert_eq!((said[0].status.as_str(), said[0].message.as_str()), ("False", ""));
    assert!(policy_rule(&policy).is_some());
}

#[test]
fn each_of_ciliums_conditions_is_about_its_field() {
    let policy = speaker_config::kubernetes::l2_announcement_policy(&serde_json::json!({
        "metadata": {"name": "broken"},
        "spec": {
            "nodeSelector": {"matchExpressions": [{"key": "rack", "operator": "In"}]},
            "serviceSelector": {"matchExpressions": [{"key": "tier", "operator": "Is", "values": ["a"]}]},
            "interfaces": ["("],
            "loadBalancerIPs": true,
        },
    }));
    let policy = policy.unwrap();
    let said = policy_conditions(&policy);
    let said: Vec<(&str, &str)> = said.iter().map(|one| (one.kind.as_str(), one.message.as_str())).collect();
    let [(nodes, about_nodes), (links, about_links), (services, about_services)] = said[..] else {
        panic!("{said:#?}")
    };
    assert_eq!(
        [nodes, links, services],
        ["io.cilium/bad-node-selector", "io.cilium/bad-interface-regex", "io.cilium/bad-service-selector"]
    );
    assert!(about_nodes.starts_with("spec.nodeSelector"), "{about_nodes}");
    assert!(about_links.starts_with("spec.interfaces[0]"), "{about_links}");
    assert!(about_services.starts_with("spec.serviceSelector"), "{about_services}");
    assert!(policy_rule(&policy).is_none(), "a selector that cannot be read selects nothing");
}

#[test]
fn a_node_stands_for_what_it_can_answer_for() {
    let links = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (four, six): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let mut unit = Unit {
        service: ObjectKey::new("default", "web"),
        addresses: [(four, links(&[])), (six, links(&["eth0"]))].into(),
        candidates: links(&["n1", "n2"]),
    };
    let fitness = Fitness::default();
    assert_eq!(wanted(&unit, "n1", &fitness).addresses, [six].into());
    unit.addresses.insert(six, links(&[]));
    let wanted = wanted(&unit, "n1", &fitness);
    assert_eq!((wanted.addresses.len(), wanted.candidates), (2, links(&["n2"])));
}

#[test]
fn l2_of_the_file_is_a_rule_only_where_it_is_enabled() {
    let off = model::L2::default();
    assert!(file_rule(&off).is_none());
    assert!(file_rule(&model::L2 { enabled: true, ..off }).is_some());
}

/// Everything touched, as at the start.
fn world_of(services: &[serde_json::Value]) -> (Inputs, Touched) {
    let (mut inputs, mut touched) = (Inputs::default(), Touched::default());
    for service in services {
        let service: Service = serde_json::from_value(service.clone()).unwrap();
        inputs.upsert(Object::Service(Box::new(service)), &mut touched);
    }
    (inputs, touched)
}

/// On `eth0` of `n1`, whatever is announced.
fn with_rule(mut segment: Segment) -> Segment {
    segment.set_interfaces(["eth0".to_owned()].into());
    segment.set_rules(file_rule(&model::L2 { enabled: true, ..model::L2::default() }).into_iter().collect());
    segment
}

fn service(addresses: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "key": {"namespace": "default", "name": "web"}, "created": 1, "generation": 1, "deleting": false,
        "labels": {}, "annotations": {}, "loadBalancer": true, "class": null, "loadBalancerIp": null,
        "externalIps": [], "clusterIps": [], "ipFamilies": [], "ipFamilyPolicy": "SingleStack",
        "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster", "selector": {}, "ports": [],
        "ingress": addresses, "conditions": [],
    })
}

#[test]
fn a_host_answers_for_what_kube_proxy_has_set_up_and_says_what_it_waits_for() {
    let mut segment = with_rule(Segment::alone("n1", DefaultClass::LbIpam));
    let (inputs, touched) = world_of(&[service(&["192.0.2.1"])]);
    segment.reconcile(&inputs, &touched, || Some(7));
    let address = "192.0.2.1".parse().unwrap();
    let story = |segment: &Segment| {
        let key = ObjectKey::new("default", "web");
        segment.explain(&inputs.services[&key], address, &inputs)
    };
    let waits = story(&segment);
    let held = waits.gates.iter().find(|gate| !gate.passed).unwrap();
    assert_eq!((held.gate.as_str(), waits.answered), ("kube-proxy", false));
    assert!(held.detail.contains("kube-proxy has not said yet"), "{}", held.detail);
    segment.programmed(6);
    assert!(segment.held().addresses.is_empty());
    segment.programmed(7);
    assert_eq!(segment.held().addresses.len(), 1);
    assert!(story(&segment).answered && story(&segment).gates.iter().all(|gate| gate.passed));
}

#[test]
fn every_address_is_counted_once_by_what_becomes_of_it() {
    const LEASE: &str = "cilium-l2announce-default-web";
    let seconds = |n| Timestamp::ZERO + Duration::from_secs(n);
    let mut segment = with_rule(Segment::elected("n1", DefaultClass::LbIpam, Duration::from_secs(10)));
    let (inputs, touched) = world_of(&[service(&["192.0.2.1", "192.0.2.2", "2001:db8::1"])]);
    assert!(segment.standings(seconds(0)).is_empty());
    let assert_all = |segment: &Segment, at: u64, standing: Standing| {
        let wanted = [((Family::Ipv4Unicast, standing), 2), ((Family::Ipv6Unicast, standing), 1)];
        assert_eq!(segment.standings(seconds(at)), wanted.into(), "{standing:?} at {at} s");
    };
    segment.reconcile(&inputs, &touched, || None);
    assert_all(&segment, 0, Standing::Waiting);
    // Another node is faster.
    let seen = |holder: &str, version: &str| {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|one| one.parse().unwrap());
        Some(LeaseSeen {
            holder: Some(holder.to_owned()),
            addresses: addresses.into(),
            version: version.to_owned(),
        })
    };
    segment.lease_seen(LEASE, seen("n2", "5"));
    assert_all(&segment, 0, Standing::Elsewhere);
    // It gives up, this node claims, and holds when the claim has come back.
    segment.renewed(seconds(1), seconds(1));
    segment.lease_seen(
        LEASE,
        Some(LeaseSeen { holder: None, addresses: BTreeSet::new(), version: "6".to_owned() }),
    );
    assert!(matches!(segment.step(seconds(1)).as_slice(), [Op::Claim { .. }]));
    assert_all(&segment, 1, Standing::Waiting);
    segment.written(LEASE, Some("7".to_owned()));
    segment.lease_seen(LEASE, seen("n1", "7"));
    assert_all(&segment, 1, Standing::Held);
    // Not renewed: silent before others may take over.
    assert_all(&segment, 8, Standing::Held);
    assert_all(&segment, 9, Standing::Waiting);
    // Its interface goes, and with it the right to hold; the Lease is given up.
    segment.renewed(seconds(8), seconds(8));
    segment.set_interfaces(BTreeSet::new());
    segment.reconcile(&inputs, &Touched::default(), || None);
    assert_all(&segment, 8, Standing::Excluded);
}
