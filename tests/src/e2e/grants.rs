//! What a ServiceAccount may do, held against what it did.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::Cluster;

/// A verb on a resource of an API group: `(verb, group, resource)`.
pub type Grant = (String, String, String);

/// What the roles bound to `namespace/account` grant, by name and one by one.
///
/// # Panics
/// If a role grants by `*`, which is more than the least.
#[must_use]
pub fn granted(cluster: &Cluster, namespace: &str, account: &str) -> BTreeSet<Grant> {
    let list = |resource: &str| -> Vec<Value> {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{resource}");
        let list = cluster.rest().get(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let ours = |binding: &Value| {
        binding["subjects"].as_array().into_iter().flatten().any(|subject| {
            subject["kind"] == "ServiceAccount"
                && subject["name"] == account
                && subject["namespace"] == namespace
        })
    };
    let mut grants = BTreeSet::new();
    for binding in list("clusterrolebindings").iter().chain(&list("rolebindings")).filter(|b| ours(b)) {
        let (kind, name) = (&binding["roleRef"]["kind"], &binding["roleRef"]["name"]);
        let roles = if kind == "ClusterRole" { list("clusterroles") } else { list("roles") };
        let same_place = |role: &&Value| {
            kind == "ClusterRole" || role["metadata"]["namespace"] == binding["metadata"]["namespace"]
        };
        let role = roles.iter().filter(same_place).find(|role| role["metadata"]["name"] == *name);
        let role = role.unwrap_or_else(|| panic!("{kind} {name} is bound and does not exist"));
        for rule in role["rules"].as_array().into_iter().flatten() {
            grants.extend(rule_grants(rule));
        }
    }
    assert!(!grants.is_empty(), "no role is bound to {namespace}/{account}");
    grants
}

fn rule_grants(rule: &Value) -> Vec<Grant> {
    let words = |key: &str| -> Vec<String> {
        let list = rule[key].as_array().into_iter().flatten();
        list.filter_map(|w| w.as_str().map(str::to_owned)).collect()
    };
    let mut grants = Vec::new();
    for verb in words("verbs") {
        for group in words("apiGroups") {
            for resource in words("resources") {
                assert!(verb != "*" && group != "*" && resource != "*", "more than the least: {rule}");
                grants.push((verb.clone(), group.clone(), resource.clone()));
            }
        }
    }
    grants
}

/// What the account did, of resources, and what was forbidden to it: `(used, refused)`.
#[must_use]
pub fn used(cluster: &Cluster, namespace: &str, account: &str) -> (BTreeSet<Grant>, BTreeSet<Grant>) {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for request in cluster.audit() {
        if request.user != user || request.resource.starts_with('/') {
            continue;
        }
        let grant = (request.verb, request.group, request.resource);
        if request.allowed {
            used.insert(grant)
        } else {
            refused.insert(grant)
        };
    }
    (used, refused)
}
