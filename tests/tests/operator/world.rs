//! A control plane with our definitions, and replicas of the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::e2e::Operator;
use tests::lab::Lab;
use tests::wait::eventually;

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";
/// Cilium's BGP kinds have a suite of their own.
const CONFIG: &str = "nodeIpam: {enabled: true}\noperator: {leaseDuration: 6s}\n\
                      sources: {kubernetes: {enabled: true, ciliumBGP: false}}\n";

/// The verbs that `speaker/docs/operator.md` lists, but for those of Cilium's BGP kinds.
const RBAC: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: speaker-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operator}
rules:
- {apiGroups: [''], resources: [services, nodes], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [servicecidrs], verbs: [list, watch]}
- {apiGroups: [cilium.io], resources: [ciliumloadbalancerippools], verbs: [list, watch]}
- {apiGroups: [''], resources: [services/status], verbs: [patch]}
- {apiGroups: [cilium.io], resources: [ciliumloadbalancerippools/status], verbs: [patch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator, namespace: speaker-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: operator}
subjects:
- {kind: ServiceAccount, name: op-a, namespace: speaker-system}
- {kind: ServiceAccount, name: op-b, namespace: speaker-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator, namespace: speaker-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects:
- {kind: ServiceAccount, name: op-a, namespace: speaker-system}
- {kind: ServiceAccount, name: op-b, namespace: speaker-system}
";

/// A control plane with our definitions, and replicas of the operator. The laboratory goes last.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    lab: Lab,
}

impl World {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let cluster = Cluster::start(&lab);
        cluster.apply(RBAC);
        for name in ["op-a", "op-b"] {
            cluster.kubectl(&["create", "serviceaccount", name, "--namespace", "speaker-system"]);
        }
        Self { cluster, lab }
    }

    pub(crate) fn install(&self) {
        self.cluster.apply_file("deploy/crds");
        self.cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/ciliumloadbalancerippools.cilium.io",
        ]);
    }

    pub(crate) fn replica(&self, name: &str) -> Operator {
        let node = self.lab.node(name);
        let address = self.cluster.join(&self.lab, &node);
        let account: PathBuf = self.cluster.service_account("speaker-system", name);
        Operator::start(&node, address, CONFIG, &account)
    }

    pub(crate) fn get(&self, name: &str) -> Result<Value, String> {
        self.cluster.rest().get(&format!("{SERVICES}/{name}"))
    }

    pub(crate) fn ips(&self, name: &str) -> Vec<String> {
        self.get(name).map(|service| ips(&service)).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_ips(&self, name: &str, wanted: &[&str]) {
        eventually(SOON, &format!("{name} has {wanted:?}"), || {
            let service = self.get(name)?;
            if ips(&service) == wanted { Ok(()) } else { Err(service["status"].to_string()) }
        });
    }

    #[track_caller]
    pub(crate) fn wait_reason(&self, name: &str, reason: &str) {
        eventually(SOON, &format!("{name} says {reason}"), || {
            let service = self.get(name)?;
            let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ours = conditions.iter().find(|one| one["type"] == "cilium.io/IPAMRequestSatisfied");
            if ours.is_some_and(|one| one["reason"] == reason) {
                Ok(())
            } else {
                Err(service["status"].to_string())
            }
        });
    }

    /// Writes of Services' statuses that were stored, by object.
    pub(crate) fn writes(&self) -> BTreeMap<String, usize> {
        let mut writes = BTreeMap::new();
        for request in self.cluster.audit() {
            if request.verb == "patch" && request.resource == "services/status" && request.code == 200 {
                *writes.entry(request.name).or_default() += 1;
            }
        }
        writes
    }

    pub(crate) fn burst(&self, prefix: &str, count: usize) {
        let requests = (0..count).map(|n| {
            let object = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("{prefix}-{n}")},
                "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]},
            });
            (SERVICES.to_owned(), object)
        });
        self.cluster.rest().send_all(&Method::POST, requests.collect());
    }

    /// Every Service's addresses.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<String>> {
        let list = self.cluster.rest().get(SERVICES).unwrap();
        let items = list["items"].as_array().unwrap();
        let load_balancers = items.iter().filter(|item| item["spec"]["type"] == "LoadBalancer");
        load_balancers
            .map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), ips(item)))
            .collect()
    }

    /// Waits until so many Services have an address each, and says how they are; no two have the same.
    #[track_caller]
    pub(crate) fn wait_served(&self, count: usize) -> BTreeMap<String, Vec<String>> {
        eventually(SOON * 3, &format!("{count} Services have addresses"), || {
            let all = self.all();
            let served: Vec<&String> = all.values().flatten().collect();
            let distinct: BTreeSet<&String> = served.iter().copied().collect();
            assert_eq!(distinct.len(), served.len(), "no address twice");
            if served.len() == count { Ok(all) } else { Err(format!("{} of {count}", served.len())) }
        })
    }

    pub(crate) fn leader(&self) -> String {
        let path = "/apis/coordination.k8s.io/v1/namespaces/speaker-system/leases/speaker-operator";
        let lease = self.cluster.rest().get(path).unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_leader(&self, name: &str) {
        eventually(SOON, &format!("{name} leads"), || {
            let leader = self.leader();
            if leader.starts_with(&format!("{name}_")) { Ok(()) } else { Err(leader) }
        });
    }

    pub(crate) fn edit(&self, name: &str, patch: &Value) {
        self.cluster.rest().patch(&format!("{SERVICES}/{name}"), patch);
    }

    pub(crate) fn clear(&self) {
        self.cluster.kubectl(&["delete", "services,ciliumloadbalancerippools", "--all", "--wait=true"]);
    }
}

pub(crate) fn ips(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    ingress.filter_map(|entry| entry["ip"].as_str().map(str::to_owned)).collect()
}
