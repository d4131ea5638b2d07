use speaker_config::kubernetes::bgp_node_config;
use speaker_config::objects::{Object, ObjectRef};

use super::super::testing::{add, inputs};
use super::*;
use crate::inputs::Touched;

fn plan(inputs: &Inputs, secrets: &BTreeMap<String, bool>) -> Plan {
    super::plan(inputs, secrets, None)
}

const NODES: &str = r"
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {rack: r1}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {rack: r2}}}
";

fn cluster_config(name: &str, created: &str, selector: &str, asn: u32) -> String {
    format!(
        "---
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {{name: {name}, uid: uid-{name}, generation: 3, creationTimestamp: \"{created}\"}}
spec:
  {selector}
  bgpInstances:
    - name: main
      localASN: {asn}
      peers: [{{name: tor, peerAddress: 10.0.0.254, peerASN: 64500, peerConfigRef: {{name: tor}}}}]
"
    )
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-02-01T00:00:00Z";

fn rack(name: &str) -> String {
    format!("nodeSelector: {{matchLabels: {{rack: {name}}}}}")
}

/// Does what a plan says, as the API server would.
fn carry_out(inputs: &mut Inputs, plan: &Plan) {
    let mut touched = Touched::default();
    for write in &plan.write {
        let object = serde_json::to_value(write.object()).unwrap();
        inputs.upsert(Object::BgpNodeConfig(bgp_node_config(&object).unwrap()), &mut touched);
    }
    for name in &plan.delete {
        inputs.remove(&ObjectRef::BgpNodeConfig(name.clone()), &mut touched);
    }
}

fn owners(inputs: &Inputs) -> Vec<(String, String)> {
    let all = inputs.bgp.node_configs.values();
    all.map(|one| (one.name.clone(), one.owner.as_ref().unwrap().name.clone())).collect()
}

fn says<'a>(conditions: &'a [Condition], kind: &str) -> (&'a str, &'a str, &'a str) {
    let one = conditions.iter().find(|one| one.kind == kind).unwrap_or_else(|| panic!("{conditions:?}"));
    (&one.status, &one.reason, &one.message)
}

#[test]
fn every_selected_node_gets_a_node_config_that_is_written_once() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, "", 64501));
    let first = plan(&inputs, &BTreeMap::new());
    assert_eq!(first.write.len(), 2);
    let object = serde_json::to_value(first.write[0].object()).unwrap();
    assert_eq!(object["metadata"]["name"], "n1");
    assert_eq!(
        object["metadata"]["ownerReferences"],
        serde_json::json!([{
            "apiVersion": "cilium.io/v2", "kind": "CiliumBGPClusterConfig", "name": "fabric",
            "uid": "uid-fabric", "controller": true,
        }])
    );
    assert_eq!(object["spec"]["bgpInstances"][0]["peers"][0]["peerConfigRef"]["name"], "tor");
    carry_out(&mut inputs, &first);
    let second = plan(&inputs, &BTreeMap::new());
    assert_eq!((second.write, second.delete), (Vec::new(), BTreeSet::new()));
}

#[test]
fn a_node_that_is_not_selected_any_more_loses_its_node_config() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, &rack("r1"), 64501));
    let first = plan(&inputs, &BTreeMap::new());
    carry_out(&mut inputs, &first);
    assert_eq!(owners(&inputs), [("n1".to_owned(), "fabric".to_owned())]);
    add(&mut inputs, "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {rack: r9}}}");
    let next = plan(&inputs, &BTreeMap::new());
    assert_eq!(next.delete, BTreeSet::from(["n1".to_owned()]));
    assert_eq!(
        says(&next.cluster_configs["fabric"], NO_MATCHING_NODE),
        ("True", "NoMatchingNode", "No node matches spec.nodeSelector")
    );
}

#[test]
fn a_node_that_is_gone_leaves_no_node_config() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, "", 64501));
    let first = plan(&inputs, &BTreeMap::new());
    carry_out(&mut inputs, &first);
    inputs.remove(&ObjectRef::Node("n2".into()), &mut Touched::default());
    assert_eq!(plan(&inputs, &BTreeMap::new()).delete, BTreeSet::from(["n2".to_owned()]));
}

#[test]
fn the_first_owner_wins_and_the_other_hears_of_it() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("younger", NEW, &rack("r1"), 64502));
    let first = plan(&inputs, &BTreeMap::new());
    carry_out(&mut inputs, &first);
    // An elder one that comes later takes nothing away.
    add(&mut inputs, &cluster_config("elder", OLD, "", 64501));
    let next = plan(&inputs, &BTreeMap::new());
    carry_out(&mut inputs, &next);
    let expected = [("n1".to_owned(), "younger".to_owned()), ("n2".to_owned(), "elder".to_owned())];
    assert_eq!(owners(&inputs), expected);
    assert_eq!(
        says(&next.cluster_configs["elder"], CONFLICTING_CLUSTER_CONFIG),
        ("True", "ConflictingClusterConfigs", "Selecting the same node(s) with ClusterConfig(s): [younger]")
    );
    assert_eq!(
        says(&next.cluster_configs["younger"], CONFLICTING_CLUSTER_CONFIG),
        ("False", "ConflictingClusterConfigs", "")
    );
    // The owner goes, and the other takes over in one step.
    inputs.remove(&ObjectRef::BgpClusterConfig("younger".into()), &mut Touched::default());
    let last = plan(&inputs, &BTreeMap::new());
    assert_eq!((last.write.len(), last.delete.len()), (1, 0));
    assert_eq!(last.write[0].owner.name, "elder");
}

/// Cilium leaves it to the order in which its queue has them.
#[test]
fn of_two_at_once_the_eldest_wins_then_the_first_by_name() {
    let mut inputs = inputs(NODES);
    for (name, created) in [("b", OLD), ("a", NEW), ("c", OLD)] {
        add(&mut inputs, &cluster_config(name, created, "", 64501));
    }
    let owners: BTreeSet<String> =
        plan(&inputs, &BTreeMap::new()).write.into_iter().map(|one| one.owner.name).collect();
    assert_eq!(owners, BTreeSet::from(["b".to_owned()]));
}

#[test]
fn a_node_config_of_somebody_else_is_left_alone() {
    let mut inputs = inputs(NODES);
    add(
        &mut inputs,
        "---
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata: {name: n1, ownerReferences: [{apiVersion: x/v1, kind: Other, name: y, uid: z, controller: true}]}
spec: {bgpInstances: [{name: theirs, localASN: 64999}]}",
    );
    add(&mut inputs, &cluster_config("fabric", OLD, &rack("r1"), 64501));
    let plan = plan(&inputs, &BTreeMap::new());
    assert_eq!((plan.write, plan.delete), (Vec::new(), BTreeSet::new()));
    let (status, _, message) = says(&plan.cluster_configs["fabric"], CONFLICTING_CLUSTER_CONFIG);
    assert_eq!(status, "True");
    assert!(message.contains("CiliumBGPNodeConfig/n1"), "{message}");
}

#[test]
fn an_override_changes_what_it_names() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, "", 64501));
    add(
        &mut inputs,
        "---
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfigOverride
metadata: {name: n1}
spec:
  bgpInstances:
    - {name: other, localASN: 1}
    - name: main
      routerID: 10.0.0.11
      localASN: 64511
      localPort: 1179
      peers: [{name: tor, localAddress: 10.0.0.11, localPort: 1790}, {name: nobody, localAddress: 10.0.0.12}]",
    );
    let plan = plan(&inputs, &BTreeMap::new());
    let of = |node: &str| {
        let one = plan.write.iter().find(|one| one.node == node).unwrap();
        assert_eq!(one.instances.len(), 1);
        one.instances[0].clone()
    };
    let (n1, n2) = (of("n1"), of("n2"));
    assert_eq!((n1.router_id, n1.local_port), (Some("10.0.0.11".parse().unwrap()), Some(1179)));
    assert_eq!(n1.local_asn, bgp_proto::types::Asn::new(64511));
    assert_eq!(n1.peers[0].local_address, Some("10.0.0.11".parse().unwrap()));
    assert_eq!((n2.router_id, n2.local_port, n2.peers[0].local_address), (None, None, None));
    assert_eq!(n2.local_asn, bgp_proto::types::Asn::new(64501));
}

/// Each node may have its router behind another interface. The port of a peer does nothing, and that is said.
#[test]
fn an_override_names_the_link_of_a_peer_and_its_port_is_no_use() {
    let mut inputs = inputs(NODES);
    let links = cluster_config("fabric", OLD, "", 64501).replace(
        "[{name: tor",
        "[{name: local, peerAddress: \"fe80::1%eth0\"}, {name: whoever, peerInterface: eth0}, {name: tor",
    );
    add(&mut inputs, &links);
    add(
        &mut inputs,
        "---
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfigOverride
metadata: {name: n1}
spec:
  bgpInstances:
    - name: main
      peers:
        - {name: local, peerInterface: eth7, localPort: 1790}
        - {name: whoever, peerInterface: eth8}
        - {name: tor, peerInterface: eth9}",
    );
    let links = |node: &str| -> Vec<String> {
        let plan = plan(&inputs, &BTreeMap::new());
        let one = plan.write.iter().find(|one| one.node == node).unwrap();
        let place = |peer: &speaker_config::objects::BgpPeer| match &peer.place {
            PeerPlace::Address { address, zone } => format!("{address} {}", zone.as_deref().unwrap_or("-")),
            place => format!("{place:?}"),
        };
        one.instances[0].peers.iter().map(place).collect()
    };
    let (n1, n2) = (links("n1"), links("n2"));
    assert_eq!(n1[..2], ["fe80::1 eth7", "Interface(\"eth8\")"]);
    assert_eq!(n2[..2], ["fe80::1 eth0", "Interface(\"eth0\")"]);
    assert_eq!(n1[2], n2[2], "an address that is not link-local is on no link");
    let notes = &inputs.bgp.overrides["n1"].notes;
    assert!(notes.len() == 1 && notes[0].contains("localPort"), "{notes:?}");
}

/// A typing error in an override must not bring a node up with the wrong AS.
#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, "", 64501));
    let first = plan(&inputs, &BTreeMap::new());
    carry_out(&mut inputs, &first);
    add(&mut inputs, &cluster_config("fabric", OLD, "", 64777));
    add(
        &mut inputs,
        "---
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfigOverride
metadata: {name: n1}
spec: {bgpInstances: [{name: main, localASN: many}]}",
    );
    let next = plan(&inputs, &BTreeMap::new());
    let written: Vec<&str> = next.write.iter().map(|one| one.node.as_str()).collect();
    assert_eq!(written, ["n2"]);
    let (_, _, message) = says(&next.cluster_configs["fabric"], INVALID_SPEC);
    assert!(message.contains("CiliumBGPNodeConfigOverride n1: spec.bgpInstances[0].localASN"), "{message}");
    // Nor does a selector that selects nothing because it cannot be read.
    let unreadable = "nodeSelector: {matchExpressions: [{key: rack, operator: In, values: []}]}";
    add(&mut inputs, &cluster_config("fabric", OLD, unreadable, 64501));
    let last = plan(&inputs, &BTreeMap::new());
    assert_eq!((last.write, last.delete), (Vec::new(), BTreeSet::new()));
}

#[test]
fn missing_objects_are_conditions() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, "", 64501));
    let missing = |inputs: &Inputs, secret: Option<bool>| {
        let known = secret.map(|there| ("key".to_owned(), there)).into_iter().collect();
        let plan = plan(inputs, &known);
        let (status, reason, message) = says(&plan.cluster_configs["fabric"], MISSING_PEER_CONFIGS);
        assert_eq!(reason, "MissingPeerConfigs");
        let secret = plan.peer_configs.get("tor").and_then(|conditions| {
            let one = conditions.iter().find(|one| one.kind == MISSING_AUTH_SECRET)?;
            assert_eq!(one.reason, "MissingAuthSecret");
            Some((one.status.clone(), one.message.clone()))
        });
        (status.to_owned(), message.to_owned(), secret)
    };
    let text = "Referenced CiliumBGPPeerConfig(s) are missing: [tor]";
    assert_eq!(missing(&inputs, None), ("True".to_owned(), text.to_owned(), None));
    let tor = |status: &str| {
        format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumBGPPeerConfig, metadata: {{name: tor}}, \
             spec: {{authSecretRef: key}}, status: {{conditions: [{status}]}}}}"
        )
    };
    add(&mut inputs, &tor(""));
    // Whether it is there is not known yet: saying so would be a guess (Cilium's #45435).
    assert_eq!(missing(&inputs, None), ("False".to_owned(), String::new(), None));
    let gone = ("True".to_owned(), "Referenced Auth Secret \"key\" is missing".to_owned());
    assert_eq!(missing(&inputs, Some(false)).2, Some(gone));
    let there = Some(("False".to_owned(), String::new()));
    assert_eq!(missing(&inputs, Some(true)).2, there);
    // What a predecessor found stays until it is known better.
    add(
        &mut inputs,
        &tor("{type: cilium.io/MissingAuthSecret, status: 'False', reason: MissingAuthSecret, message: '', \
              lastTransitionTime: '2026-01-01T00:00:00Z'}"),
    );
    assert_eq!(missing(&inputs, None).2, there);
}

#[test]
fn one_that_is_being_deleted_is_waited_for() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, &rack("r1"), 64501));
    add(
        &mut inputs,
        "---
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata:
  name: n1
  deletionTimestamp: \"2026-01-01T00:00:00Z\"
  ownerReferences: [{apiVersion: cilium.io/v2, kind: CiliumBGPClusterConfig, name: fabric, uid: x, controller: true}]
spec: {bgpInstances: [{name: main, localASN: 64999}]}",
    );
    let waits = plan(&inputs, &BTreeMap::new());
    assert_eq!((waits.write, waits.delete), (Vec::new(), BTreeSet::new()));
    inputs.remove(&ObjectRef::BgpClusterConfig("fabric".into()), &mut Touched::default());
    assert_eq!(plan(&inputs, &BTreeMap::new()).delete, BTreeSet::new(), "it goes by itself");
    inputs.remove(&ObjectRef::BgpNodeConfig("n1".into()), &mut Touched::default());
    add(&mut inputs, &cluster_config("fabric", OLD, &rack("r1"), 64501));
    assert_eq!(plan(&inputs, &BTreeMap::new()).write.len(), 1);
}

#[test]
fn fields_without_effect_are_a_condition() {
    let mut inputs = inputs(NODES);
    add(
        &mut inputs,
        "{apiVersion: cilium.io/v2, kind: CiliumBGPPeerConfig, metadata: {name: tor}, spec: {bfd: {enabled: true}}}",
    );
    let plan = plan(&inputs, &BTreeMap::new());
    let (status, reason, message) = says(&plan.peer_configs["tor"], WITHOUT_EFFECT);
    assert_eq!((status, reason), ("True", "no_effect"));
    assert!(message.starts_with("spec.bfd: "), "{message}");
}

#[test]
fn an_agent_without_an_operator_comes_to_the_same() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, &rack("r1"), 64501));
    let written = plan(&inputs, &BTreeMap::new()).write.remove(0);
    let own = instances_of(&inputs.nodes["n1"], &inputs.bgp).unwrap();
    assert_eq!(own, ("fabric".to_owned(), written.instances));
    assert_eq!(instances_of(&inputs.nodes["n2"], &inputs.bgp), None);
}

#[test]
fn router_ids_come_from_the_pool_are_kept_and_an_override_must_be_free() {
    let pool = |text: &str| Some(text.parse().unwrap());
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, "", 64501));
    let ids = |inputs: &Inputs| -> Vec<String> {
        let all = inputs.bgp.node_configs.values().flat_map(|one| &one.instances);
        all.map(|one| one.router_id.map_or_else(String::new, |id| id.to_string())).collect()
    };
    let settle = |inputs: &mut Inputs, text: &str| {
        let plan = super::plan(inputs, &BTreeMap::new(), pool(text));
        carry_out(inputs, &plan);
        let again = super::plan(inputs, &BTreeMap::new(), pool(text));
        assert_eq!((again.write, again.delete), (Vec::new(), BTreeSet::new()), "it comes to rest");
        plan
    };
    settle(&mut inputs, "10.255.0.0/30");
    assert_eq!(ids(&inputs), ["10.255.0.0", "10.255.0.1"]);
    // One that sorts before the others moves nobody.
    add(&mut inputs, "{apiVersion: v1, kind: Node, metadata: {name: n0}}");
    settle(&mut inputs, "10.255.0.0/30");
    assert_eq!(ids(&inputs), ["10.255.0.2", "10.255.0.0", "10.255.0.1"]);
    let overriding = |id: &str| {
        format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumBGPNodeConfigOverride, metadata: {{name: n1}}, \
             spec: {{bgpInstances: [{{name: main, routerID: {id}}}]}}}}"
        )
    };
    add(&mut inputs, &overriding("10.255.0.1"));
    let plan = settle(&mut inputs, "10.255.0.0/30");
    let (status, _, message) = says(&plan.cluster_configs["fabric"], INVALID_SPEC);
    assert!(status == "True" && message.contains("belongs to instance main of node n2"), "{message}");
    assert_eq!(ids(&inputs), ["10.255.0.2", "10.255.0.0", "10.255.0.1"], "what it has stays");
    for (wanted, has) in [("10.255.0.3", "10.255.0.3"), ("192.0.2.7", "192.0.2.7")] {
        add(&mut inputs, &overriding(wanted));
        settle(&mut inputs, "10.255.0.0/30");
        assert_eq!(ids(&inputs), ["10.255.0.2", has, "10.255.0.1"]);
    }
    // A pool that is too small says so, and of those that have one nobody loses it.
    let plan = settle(&mut inputs, "10.255.0.2/32");
    let (status, _, message) = says(&plan.cluster_configs["fabric"], INVALID_SPEC);
    assert!(status == "True" && message.contains("node n2: no router ID is left"), "{message}");
    assert_eq!(ids(&inputs), ["10.255.0.2", "192.0.2.7", "10.255.0.1"]);
}

#[test]
fn a_node_is_selected_by_the_labels_of_its_cilium_node_too() {
    let mut inputs = inputs(NODES);
    add(&mut inputs, &cluster_config("fabric", OLD, "nodeSelector: {matchLabels: {fabric: east}}", 64501));
    assert!(plan(&inputs, &BTreeMap::new()).write.is_empty());
    let cilium_node = |labels: &str| {
        format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {{name: n1, labels: {labels}}}, spec: {{ipam: {{}}}}}}"
        )
    };
    let touched = add(&mut inputs, &cilium_node("{fabric: east, rack: r9}"));
    assert_eq!(touched.nodes, BTreeSet::from(["n1".to_owned()]));
    let nodes: Vec<String> = plan(&inputs, &BTreeMap::new()).write.into_iter().map(|one| one.node).collect();
    assert_eq!(nodes, ["n1"]);
    // Its copy of a label of the Node's may be old.
    assert_eq!(inputs.nodes["n1"].selectable_labels()["rack"], "r1");
    // A Node that is written again keeps them, and one that comes later gets them.
    add(&mut inputs, "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {rack: r3}}}");
    assert_eq!(plan(&inputs, &BTreeMap::new()).write.len(), 1);
    let gone = &mut Touched::default();
    inputs.remove(&ObjectRef::Node("n1".into()), gone);
    add(&mut inputs, "{apiVersion: v1, kind: Node, metadata: {name: n1}}");
    assert_eq!(plan(&inputs, &BTreeMap::new()).write.len(), 1);
    inputs.remove(&ObjectRef::CiliumNode("n1".into()), gone);
    assert!(plan(&inputs, &BTreeMap::new()).write.is_empty());
}
