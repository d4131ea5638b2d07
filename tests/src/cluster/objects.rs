//! Objects that a kubelet or a controller would make.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hyper::http::Method;
use serde_json::{Value, json};

use super::Cluster;

/// A Node as its kubelet would register it.
#[derive(Debug, Clone, Default)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Labels beside `kubernetes.io/hostname` and `kubernetes.io/os`.
    pub labels: BTreeMap<String, String>,
    /// Its InternalIPs.
    pub addresses: Vec<IpAddr>,
    /// Its ExternalIPs.
    pub external: Vec<IpAddr>,
    /// Its Pod CIDRs.
    pub pod_cidrs: Vec<String>,
}

impl NodeSpec {
    /// A node with addresses.
    #[must_use]
    pub fn new(name: &str, addresses: &[IpAddr]) -> Self {
        Self { name: name.to_owned(), addresses: addresses.to_vec(), ..Self::default() }
    }

    /// With a further label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// An endpoint of an EndpointSlice.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its address.
    pub address: String,
    /// The node that it is on.
    pub node: String,
    /// Its condition `ready`.
    pub ready: bool,
    /// Its condition `terminating`; `serving` is then what `ready` was.
    pub terminating: bool,
}

impl Backend {
    /// A ready one.
    #[must_use]
    pub fn new(address: &str, node: &str) -> Self {
        Self { address: address.to_owned(), node: node.to_owned(), ready: true, terminating: false }
    }
}

/// The EndpointSlice `SERVICE-FAMILY` of a Service with one port, as the endpointslice controller would write it.
#[must_use]
pub fn endpoint_slice(namespace: &str, service: &str, port: u16, backends: &[Backend]) -> Value {
    let v6 = backends.first().is_some_and(|b| b.address.contains(':'));
    let family = if v6 { "IPv6" } else { "IPv4" };
    let endpoints: Vec<Value> = backends.iter().map(endpoint).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{}", family.to_lowercase()), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

fn endpoint(backend: &Backend) -> Value {
    json!({
        "addresses": [backend.address], "nodeName": backend.node,
        "conditions": {
            "ready": backend.ready && !backend.terminating, "serving": backend.ready,
            "terminating": backend.terminating},
    })
}

impl Cluster {
    /// Registers a Node that is Ready.
    #[track_caller]
    pub fn add_node(&self, spec: &NodeSpec) {
        let mut labels = spec.labels.clone();
        labels.insert("kubernetes.io/hostname".to_owned(), spec.name.clone());
        labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
        let path = format!("/api/v1/nodes/{}", spec.name);
        let mut object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": spec.name, "labels": labels}, "spec": {}});
        if let Some(first) = spec.pod_cidrs.first() {
            object["spec"] = json!({"podCIDR": first, "podCIDRs": spec.pod_cidrs});
        }
        self.rest().apply(&path, &object);
        let row = |kind: &'static str| move |a: &IpAddr| json!({"type": kind, "address": a.to_string()});
        let internal = spec.addresses.iter().map(row("InternalIP"));
        let addresses: Vec<Value> = internal.chain(spec.external.iter().map(row("ExternalIP"))).collect();
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"status": {"addresses": addresses, "conditions": [ready]}});
        self.rest().patch(&format!("{path}/status"), &status);
        // Admission taints a new Node as not ready; the node lifecycle controller would lift that.
        self.rest().patch(&path, &json!({"spec": {"taints": null}}));
    }

    /// Writes the endpoints of a Service with one port: see [`endpoint_slice`].
    #[track_caller]
    pub fn set_endpoints(&self, namespace: &str, service: &str, port: u16, backends: &[Backend]) {
        let slice = endpoint_slice(namespace, service, port, backends);
        let name = slice["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{name}");
        self.rest().apply(&path, &slice);
    }

    /// Plays scheduler and kubelet for a Pod that a controller has made: it runs on `node` with `address`,
    /// ready or not.
    #[track_caller]
    pub fn run_pod(&self, namespace: &str, pod: &str, node: &str, address: &str, ready: bool) {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
        let now = self.rest().get(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        if now["spec"]["nodeName"].is_null() {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
            self.rest().create(&format!("{path}/binding"), &binding);
        }
        let condition = if ready { "True" } else { "False" };
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": condition}]}});
        self.rest().patch(&format!("{path}/status"), &status);
    }

    /// Plays the kubelet for the Pods of a namespace that are to end: they are gone at once.
    #[track_caller]
    pub fn end_pods(&self, namespace: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let pods = self.rest().get(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        for pod in pods["items"].as_array().into_iter().flatten() {
            let metadata = &pod["metadata"];
            if let (Some(name), Some(_)) = (metadata["name"].as_str(), metadata["deletionTimestamp"].as_str())
            {
                let path = format!("{path}/{name}?gracePeriodSeconds=0");
                let _gone_already = self.rest().send(Method::DELETE, &path, "application/json", &Value::Null);
            }
        }
    }
}
