//! Cilium's BGP kinds before a store: who is written, once, and what of it is told.

use serde_json::json;
use speaker_config::kubernetes::bgp_node_config;
use speaker_config::objects::{BgpNodeConfig, Node};

use super::super::*;
use super::api::Api;
use crate::cilium::operator::{
    CONFLICTING_CLUSTER_CONFIG, MISSING_AUTH_SECRET, MISSING_PEER_CONFIGS, NO_MATCHING_NODE,
};
use crate::cilium::testing::objects;

fn node(name: &str, rack: &str) -> Object {
    let labels = BTreeMap::from([("rack".to_owned(), rack.to_owned())]);
    Object::Node(Node { name: name.to_owned(), labels, ..Node::default() })
}

fn cluster(name: &str, rack: &str, asn: u32) -> Object {
    let text = format!(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {{name: {name}, uid: uid-{name}, generation: 1, creationTimestamp: '2026-01-01T00:00:00Z'}}
spec:
  nodeSelector: {{matchLabels: {{rack: {rack}}}}}
  bgpInstances:
    - name: main
      localASN: {asn}
      peers: [{{name: tor, peerAddress: 10.0.0.254, peerASN: 64500, peerConfigRef: {{name: tor}}}}]
"
    );
    objects(&text).remove(0)
}

fn peer_config(secret: &str) -> Object {
    let text = format!(
        "{{apiVersion: cilium.io/v2, kind: CiliumBGPPeerConfig, metadata: {{name: tor}}, spec: {{{secret}}}}}"
    );
    objects(&text).remove(0)
}

fn api() -> Api {
    let mut api = Api::with(OperatorSettings { bgp: Some(BTreeSet::new()), ..super::api::settings() });
    api.put(node("n1", "r1"));
    api.put(node("n2", "r2"));
    api.settle();
    api
}

fn of_node(name: &str) -> ObjectRef {
    ObjectRef::BgpNodeConfig(name.to_owned())
}

impl Api {
    fn node_config(&self, name: &str) -> Option<&BgpNodeConfig> {
        match &self.objects.get(&of_node(name))?.0 {
            Object::BgpNodeConfig(config) => Some(config),
            other => panic!("{other:?}"),
        }
    }

    fn put_and_settle(&mut self, object: Object) {
        self.put(object);
        self.settle();
    }

    /// Status and message of a condition.
    fn tells(&self, reference: &ObjectRef, kind: &str) -> Option<(&str, &str)> {
        let conditions = match &self.objects.get(reference)?.0 {
            Object::BgpClusterConfig(one) => &one.conditions,
            Object::BgpPeerConfig(one) => &one.conditions,
            other => panic!("{other:?}"),
        };
        conditions.iter().find(|one| one.kind == kind).map(|one| (&*one.status, &*one.message))
    }

    fn count(&self, reference: &ObjectRef) -> usize {
        self.stored.get(reference).copied().unwrap_or_default()
    }
}

fn fabric() -> ObjectRef {
    ObjectRef::BgpClusterConfig("fabric".to_owned())
}

#[test]
fn a_selected_node_gets_its_config_once_and_loses_it_when_it_is_deselected() {
    let mut api = api();
    api.put_and_settle(cluster("fabric", "r1", 64501));
    assert_eq!(api.node_config("n1").unwrap().owner.as_ref().unwrap().uid, "uid-fabric");
    assert_eq!((api.node_config("n2"), api.count(&of_node("n1")), api.count(&fabric())), (None, 1, 1));
    assert_eq!(api.tells(&fabric(), NO_MATCHING_NODE), Some(("False", "No node matches spec.nodeSelector")));
    // Nothing is written again for what comes by.
    api.put_and_settle(node("n1", "r1"));
    api.fail_over();
    api.settle();
    assert_eq!((api.count(&of_node("n1")), api.count(&fabric())), (1, 1));
    // Another AS, with the label of somebody else left alone: it is the API server's.
    let mut changed = cluster("fabric", "r1", 64777);
    if let Object::BgpClusterConfig(config) = &mut changed {
        config.generation = 2;
    }
    api.put_and_settle(changed);
    assert_eq!(api.node_config("n1").unwrap().instances[0].local_asn, bgp_proto::types::Asn::new(64777));
    assert_eq!(api.count(&of_node("n1")), 2);
    api.put_and_settle(node("n1", "r9"));
    assert_eq!(api.node_config("n1"), None);
    assert_eq!(api.tells(&fabric(), NO_MATCHING_NODE), Some(("True", "No node matches spec.nodeSelector")));
    api.put_and_settle(node("n1", "r1"));
    assert!(api.node_config("n1").is_some(), "and gets it back");
}

#[test]
fn what_somebody_deletes_or_writes_over_comes_back() {
    let mut api = api();
    api.put_and_settle(cluster("fabric", "r1", 64501));
    api.remove(&of_node("n1"));
    api.settle();
    let mut foreign = api.node_config("n1").expect("it is created again").clone();
    foreign.instances[0].local_asn = bgp_proto::types::Asn::new(1);
    foreign.generation += 1;
    api.put_and_settle(Object::BgpNodeConfig(foreign));
    assert_eq!(api.node_config("n1").unwrap().instances[0].local_asn, bgp_proto::types::Asn::new(64501));
    // One without an owner is not ours, whatever it says.
    let mut own = api.node_config("n1").unwrap().clone();
    own.owner = None;
    own.instances[0].local_asn = bgp_proto::types::Asn::new(2);
    own.generation += 1;
    let before = api.count(&of_node("n1"));
    api.put_and_settle(Object::BgpNodeConfig(own));
    assert_eq!(api.count(&of_node("n1")), before);
    assert_eq!(
        api.tells(&fabric(), CONFLICTING_CLUSTER_CONFIG),
        Some(("True", "Selecting the same node(s) with ClusterConfig(s): [CiliumBGPNodeConfig/n1]"))
    );
    api.remove(&fabric());
    api.settle();
    assert!(api.node_config("n1").is_some(), "nor is it deleted");
}

/// An older definition prunes what it does not know: what comes back is never what was written.
#[test]
fn a_server_that_stores_something_else_is_not_told_the_same_again() {
    let mut api = api();
    api.prunes = true;
    api.put_and_settle(cluster("fabric", "r1", 64501));
    assert_eq!(api.count(&of_node("n1")), 1);
    // The agent writes a status: another version, the same generation.
    let config = api.node_config("n1").unwrap().clone();
    api.put_and_settle(Object::BgpNodeConfig(config));
    assert_eq!(api.count(&of_node("n1")), 1);
    let mut changed = cluster("fabric", "r1", 64777);
    if let Object::BgpClusterConfig(config) = &mut changed {
        config.generation = 2;
    }
    api.put_and_settle(changed);
    assert_eq!(api.count(&of_node("n1")), 2, "something new to write is written");
}

#[test]
fn who_was_first_keeps_the_node_and_the_other_hears_of_it() {
    let mut api = api();
    api.put_and_settle(cluster("fabric", "r1", 64501));
    api.put_and_settle(cluster("other", "r1", 64502));
    let other = ObjectRef::BgpClusterConfig("other".to_owned());
    assert_eq!(
        api.tells(&other, CONFLICTING_CLUSTER_CONFIG),
        Some(("True", "Selecting the same node(s) with ClusterConfig(s): [fabric]"))
    );
    let conflict = "CiliumBGPClusterConfig other ConflictingClusterConfig Selecting the same node(s) with \
                    ClusterConfig(s): [fabric]";
    assert_eq!(api.notes.iter().filter(|note| *note == conflict).count(), 1, "{:?}", api.notes);
    api.remove(&fabric());
    api.settle();
    assert_eq!(api.node_config("n1").unwrap().owner.as_ref().unwrap().name, "other");
    assert_eq!(api.tells(&other, CONFLICTING_CLUSTER_CONFIG), Some(("False", "")));
}

#[test]
fn missing_objects_are_told_of_when_they_are_known_to_be_missing() {
    let mut api = api();
    api.put_and_settle(cluster("fabric", "r1", 64501));
    let missing = "Referenced CiliumBGPPeerConfig(s) are missing: [tor]";
    assert_eq!(api.tells(&fabric(), MISSING_PEER_CONFIGS), Some(("True", missing)));
    assert!(api.notes.contains(&format!("CiliumBGPClusterConfig fabric MissingPeerConfigs {missing}")));
    api.put_and_settle(peer_config("authSecretRef: key"));
    assert_eq!(api.tells(&fabric(), MISSING_PEER_CONFIGS), Some(("False", "")));
    let tor = ObjectRef::BgpPeerConfig("tor".to_owned());
    assert_eq!(api.tells(&tor, MISSING_AUTH_SECRET), None);
    assert_eq!(api.operator.secrets(), BTreeSet::from(["key".to_owned()]));
    api.operator.secret_listed("key");
    api.settle();
    let missing = "Referenced Auth Secret \"key\" is missing";
    assert_eq!(api.tells(&tor, MISSING_AUTH_SECRET), Some(("True", missing)));
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: key, namespace: kube-system}}";
    let secret = objects(secret).remove(0);
    api.put_and_settle(secret.clone());
    assert_eq!(api.tells(&tor, MISSING_AUTH_SECRET), Some(("False", "")));
    api.remove(&secret.reference());
    api.settle();
    assert_eq!(api.tells(&tor, MISSING_AUTH_SECRET), Some(("True", missing)));
    api.operator.forget_secret("key");
    api.put_and_settle(peer_config("ebgpMultihop: 2"));
    assert_eq!(api.tells(&tor, MISSING_AUTH_SECRET), Some(("False", "")));
    assert!(api.operator.secrets().is_empty());
}

#[test]
fn before_every_list_has_come_nobody_is_deselected() {
    let mut api = api();
    api.put_and_settle(cluster("fabric", "r1", 64501));
    let kind = "ciliumbgpclusterconfigs".to_owned();
    api.settings.bgp = Some(BTreeSet::from([kind.clone()]));
    let hidden = api.objects.remove(&fabric());
    api.fail_over();
    api.settle();
    assert!(api.node_config("n1").is_some(), "a kind that the API server does not know deselects nobody");
    assert!(hidden.is_some());
    api.operator.listed(&kind);
    api.settle();
    assert_eq!(api.node_config("n1"), None, "an empty list does");
}

#[test]
fn a_creation_that_fails_is_tried_with_patience_and_one_that_was_made_is_awaited() {
    let mut api = api();
    api.put(cluster("fabric", "r1", 64501));
    while api.echo() {}
    let mut tried = 0;
    for _ in 0..100 {
        api.turn();
        while let Some(patch) = api.patches.pop_front() {
            if patch.target == of_node("n1") {
                tried += 1;
                assert_eq!((patch.kind(), patch.version.clone()), (PatchKind::Create, Version::default()));
                api.operator.ended(&patch.target, &Outcome::Failed, api.now);
            } else {
                let outcome = api.store(&patch);
                api.operator.ended(&patch.target, &outcome, api.now);
            }
        }
        while api.echo() {}
        api.now = api.now + Duration::from_millis(100);
    }
    assert!((4..=8).contains(&tried), "{tried} attempts in ten seconds");
    // Stored, and the watch is late: it is not created a second time.
    api.now = api.now + Duration::from_secs(600);
    api.turn();
    let patch = api.patches.pop_front().unwrap();
    let outcome = api.store(&patch);
    api.operator.ended(&patch.target, &outcome, api.now);
    for _ in 0..5 {
        api.now = api.now + Duration::from_secs(600);
        api.turn();
        assert!(api.patches.is_empty(), "{:?}", api.patches);
    }
    // Shown, and gone before the word of the next write: it is made again.
    api.settle();
    api.remove(&of_node("n1"));
    api.settle();
    assert!(api.node_config("n1").is_some());
}

#[test]
fn what_is_sent_names_the_version_that_is_served() {
    let mut api = api();
    api.put(cluster("fabric", "r1", 64501));
    while api.echo() {}
    api.turn();
    let of = |api: &Api, kind| api.patches.iter().find(|patch| patch.kind() == kind).unwrap().clone();
    let create = of(&api, PatchKind::Create).body("cilium.io/v2alpha1");
    assert_eq!(create["apiVersion"], "cilium.io/v2alpha1");
    assert_eq!(create["metadata"]["ownerReferences"][0]["apiVersion"], "cilium.io/v2alpha1");
    assert_eq!(create["metadata"].get("resourceVersion"), None);
    let status = of(&api, PatchKind::Apply).body("cilium.io/v2");
    assert_eq!(status["kind"], "CiliumBGPClusterConfig");
    api.settle();
    let mut changed = cluster("fabric", "r1", 64777);
    if let Object::BgpClusterConfig(config) = &mut changed {
        config.generation = 2;
    }
    api.put(changed);
    while api.echo() {}
    api.turn();
    let patch = of(&api, PatchKind::Merge);
    let body = patch.body("cilium.io/v2");
    assert_eq!(body["metadata"]["resourceVersion"], json!(patch.version.resource_version));
    assert_eq!(body["spec"]["bgpInstances"][0]["localASN"], 64777);
    assert_eq!(bgp_node_config(&create).unwrap().name, "n1");
}
