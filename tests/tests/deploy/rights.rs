//! What the chart's roles grant.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::chart::{find, objects, render};

/// What a role grants, as `VERB RESOURCE`.
pub(crate) fn rights(values: &str, kind: &str, name: &str) -> BTreeSet<String> {
    let all = objects(&render(values));
    let rules = find(&all, kind, name)["rules"].as_array().unwrap().clone();
    let words = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in &rules {
        for (resource, verb) in words(rule, "resources")
            .iter()
            .flat_map(|resource| words(rule, "verbs").into_iter().map(move |verb| (resource.clone(), verb)))
        {
            assert!(verb != "*" && resource != "*", "{rule}");
            rights.insert(format!("{verb} {resource}"));
        }
    }
    rights
}

/// Rights follow what is switched on.
#[test]
fn roles_have_what_the_configuration_needs() {
    let agent = rights("{}", "ClusterRole", "speaker-agent");
    assert!(
        agent.iter().all(|right| right.starts_with("list ")
            || right.starts_with("watch ")
            // The order of `speaker drain` is kept on the Node.
            || right.as_str() == "patch nodes"
            || right.ends_with("/status")),
        "{agent:?}"
    );
    assert!(!agent.iter().any(|right| right.ends_with(" secrets")), "{agent:?}");
    let l2 = "config: {l2: {enabled: true}}";
    let quiet = "config: {sources: {kubernetes: {enabled: true, ciliumBGP: false}}}";
    let without = rights(quiet, "ClusterRole", "speaker-agent");
    assert!(!without.iter().any(|right| right.contains("ciliumbgp")), "{without:?}");
    let more: Vec<String> = rights(l2, "ClusterRole", "speaker-agent").difference(&agent).cloned().collect();
    assert_eq!(more, ["list ciliuml2announcementpolicies", "watch ciliuml2announcementpolicies"]);
    assert!(rights(l2, "Role", "speaker-agent").contains("patch leases"));
    assert!(!rights("{}", "Role", "speaker-agent").contains("patch leases"));
}

#[test]
fn the_operators_roles_have_what_the_configuration_needs() {
    let quiet = "config: {sources: {kubernetes: {enabled: true, ciliumBGP: false}}}";
    let operator = rights(quiet, "ClusterRole", "speaker-operator");
    let expected = [
        "create events",
        "list ciliumloadbalancerippools",
        "list nodes",
        "list servicecidrs",
        "list services",
        "patch ciliumloadbalancerippools/status",
        "patch services/status",
        "watch ciliumloadbalancerippools",
        "watch nodes",
        "watch servicecidrs",
        "watch services",
    ];
    assert_eq!(operator.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let node_ipam = "config: {nodeIpam: {enabled: true}, sources: {kubernetes: {ciliumBGP: false}}}";
    let node_ipam = rights(node_ipam, "ClusterRole", "speaker-operator");
    let more: Vec<String> = node_ipam.difference(&operator).cloned().collect();
    assert_eq!(more, ["list endpointslices", "watch endpointslices"]);
    // The API server's own endpoints are in one namespace; with Node IPAM on they are among all the others.
    let own = rights(quiet, "Role", "speaker-operator-apiserver");
    assert_eq!(own.into_iter().collect::<Vec<_>>(), ["list endpointslices", "watch endpointslices"]);
    let without = "config: {ipam: {enabled: false}, sources: {kubernetes: {ciliumBGP: false}}}";
    let without: Vec<String> =
        operator.difference(&rights(without, "ClusterRole", "speaker-operator")).cloned().collect();
    assert_eq!(without, ["list nodes", "list servicecidrs", "watch nodes", "watch servicecidrs"]);
    // Cilium's BGP kinds: it reads them, writes what it owns, and never deletes or creates what people write.
    let bgp = rights("{}", "ClusterRole", "speaker-operator");
    let more: Vec<&str> = bgp.difference(&operator).map(String::as_str).collect();
    let writes: Vec<&str> = more
        .iter()
        .copied()
        .filter(|right| !right.starts_with("list ") && !right.starts_with("watch "))
        .collect();
    assert_eq!(
        writes,
        [
            "create ciliumbgpnodeconfigs",
            "delete ciliumbgpnodeconfigs",
            "patch ciliumbgpclusterconfigs/status",
            "patch ciliumbgpnodeconfigs",
            "patch ciliumbgppeerconfigs/status",
        ]
    );
    assert_eq!(more.len() - writes.len(), 10, "{more:?}");
    assert!(!bgp.iter().any(|right| right.ends_with(" secrets")), "{bgp:?}");
    assert!(rights("{}", "Role", "speaker-operator").contains("watch secrets"));
    let none = rights("bgpSecrets: []", "Role", "speaker-operator");
    assert!(!none.iter().any(|right| right.ends_with(" secrets")), "{none:?}");
    let cilium = objects(&render("{}"));
    assert!(
        cilium
            .iter()
            .any(|one| one["kind"] == "Role" && one["metadata"]["name"] == "speaker-operator-cilium")
    );
    let leases = objects(&render("config: {operator: {leaseName: other}}"));
    let rules = &find(&leases, "Role", "speaker-operator")["rules"];
    assert_eq!(rules[1]["resourceNames"], json!(["other"]));
}
