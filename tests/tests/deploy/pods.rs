//! What the chart makes of the agent's and the operator's Pods.

use serde_json::{Value, json};
use tests::chart::{find, objects, render};

pub(crate) fn agent(objects: &[Value]) -> &Value {
    &find(objects, "DaemonSet", "speaker-agent")["spec"]["template"]["spec"]
}

#[test]
fn the_agent_has_what_it_needs_and_no_more() {
    let all = objects(&render("{}"));
    let daemonset = find(&all, "DaemonSet", "speaker-agent");
    assert_eq!(daemonset["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 1);
    let pod = agent(&all);
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}));
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["host"], "127.0.0.1", "{probe}");
    }
    assert!(container["resources"]["requests"]["memory"].is_string());

    let low = objects(&render("config: {router: {asn: 64501, listen: ['[::]:179']}}"));
    let added = &agent(&low)["containers"][0]["securityContext"]["capabilities"]["add"];
    assert_eq!(*added, json!(["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"]));
    let said =
        objects(&render("agent: {lowPorts: true}\nconfig: {router: {asn: 64501, listen: ['[::]:179']}}"));
    let added = &agent(&said)["containers"][0]["securityContext"]["capabilities"]["add"];
    assert_eq!(*added, json!(["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"]), "once");
    let said = objects(&render("agent: {lowPorts: true}"));
    let added = &agent(&said)["containers"][0]["securityContext"]["capabilities"]["add"];
    assert_eq!(*added, json!(["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"]), "for Cilium's kinds");
    let high = objects(&render("config: {router: {asn: 64501, listen: ['0.0.0.0:1790']}}"));
    let added = &agent(&high)["containers"][0]["securityContext"]["capabilities"]["add"];
    assert_eq!(*added, json!(["NET_ADMIN", "NET_RAW"]));
}

#[test]
fn the_operator_runs_twice_without_rights_on_its_node() {
    let all = objects(&render("{}"));
    let deployment = find(&all, "Deployment", "speaker-operator");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"]["spec"];
    assert!(pod["hostNetwork"].is_null());
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(security["readOnlyRootFilesystem"], true);
    let terms = &pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for (key, value) in terms[0]["podAffinityTerm"]["labelSelector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(labels[key], *value, "the anti-affinity is about these Pods");
    }
    for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
        let object = find(&all, kind, "speaker-operator");
        let selector = object["spec"]["selector"]["matchLabels"].as_object();
        let selector = selector.or(object["spec"]["podSelector"]["matchLabels"].as_object()).unwrap();
        assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{kind}: {selector:?}");
    }
}
