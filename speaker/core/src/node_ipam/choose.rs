//! Which nodes' addresses a Service gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::objects::{Node, Selector, Service, TrafficPolicy};
use speaker_config::selector_query;

use super::{EXCLUDED, MATCH_NODES, TO_BE_DELETED};
use crate::inputs::Inputs;

/// Why a node that the Service selects gives it no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// It is being deleted.
    Deleting,
    /// It has the label [`EXCLUDED`].
    Label,
    /// It has the taint [`TO_BE_DELETED`].
    Taint,
    /// It has no address of a family of the Service.
    NoAddress,
    /// It has internal addresses alone, and others have external ones of the same family.
    InternalOnly,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleting => f.write_str("it is being deleted"),
            Self::Label => write!(f, "label {EXCLUDED}"),
            Self::Taint => write!(f, "taint {TO_BE_DELETED}"),
            Self::NoAddress => f.write_str("it has no address of the Service's families"),
            Self::InternalOnly => f.write_str("it has no ExternalIP, and other nodes have"),
        }
    }
}

/// Why a Service has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word for the condition.
    pub reason: &'static str,
    /// The text.
    pub message: String,
}

/// What is chosen for a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The addresses, sorted; absent: what is recorded stays, for nobody can say what is wanted.
    pub addresses: Option<Vec<IpAddr>>,
    /// Why there is none.
    pub problem: Option<Problem>,
    /// Nodes that the Service selects and that give it none; a node without endpoint is not among them.
    pub left_out: BTreeMap<String, LeftOut>,
}

/// The nodes that the Service selects.
pub(super) fn node_selector(service: &Service) -> Result<Selector, String> {
    let text = service.annotations.get(MATCH_NODES).map_or("", String::as_str);
    selector_query(text).map_err(|error| format!("metadata.annotations[{MATCH_NODES}]: {error}"))
}

/// Chooses for one Service. The same objects give the same choice.
#[must_use]
pub fn choose(service: &Service, inputs: &Inputs) -> Choice {
    let selector = match node_selector(service) {
        Ok(selector) => selector,
        Err(message) => {
            let problem = Some(Problem { reason: "invalid_selector", message });
            return Choice { addresses: None, problem, left_out: BTreeMap::new() };
        }
    };
    let selected: Vec<&Node> = inputs.nodes.values().filter(|node| selector.matches(&node.labels)).collect();
    let mut left_out = BTreeMap::new();
    let mut nodes = Vec::new();
    for node in &selected {
        match excluded(node) {
            Some(why) => drop(left_out.insert(node.name.clone(), why)),
            None => nodes.push(*node),
        }
    }
    let standing = nodes.len();
    if service.external_traffic_policy == TrafficPolicy::Local {
        let hosts = hosts(service, inputs);
        nodes.retain(|node| hosts.contains(node.name.as_str()));
    }
    let addresses = addresses(service, &nodes, &mut left_out);
    let problem = addresses.is_empty().then(|| match (selected.len(), standing, nodes.len()) {
        (0, ..) => {
            Problem { reason: "no_nodes", message: format!("No node matches the annotation {MATCH_NODES}") }
        }
        (_, 0, _) => Problem {
            reason: "no_nodes",
            message: "Every node that the Service selects is excluded from external load balancers"
                .to_owned(),
        },
        (_, _, 0) => Problem {
            reason: "no_endpoints",
            message: "externalTrafficPolicy is Local, and no chosen node has a ready endpoint".to_owned(),
        },
        _ => Problem {
            reason: "no_addresses",
            message: "No chosen node has an address of the Service's families".to_owned(),
        },
    });
    Choice { addresses: Some(addresses), problem, left_out }
}

fn excluded(node: &Node) -> Option<LeftOut> {
    if node.deleting {
        Some(LeftOut::Deleting)
    } else if node.labels.contains_key(EXCLUDED) {
        Some(LeftOut::Label)
    } else {
        node.taints.contains(TO_BE_DELETED).then_some(LeftOut::Taint)
    }
}

/// The nodes with a ready endpoint of the Service.
fn hosts<'a>(service: &Service, inputs: &'a Inputs) -> BTreeSet<&'a str> {
    let endpoints = inputs.slices(&service.key).flat_map(|slice| &slice.endpoints);
    endpoints.filter(|endpoint| endpoint.ready).filter_map(|endpoint| endpoint.node.as_deref()).collect()
}

/// Family by family the external addresses of the nodes, or where there is none the internal ones.
fn addresses(service: &Service, nodes: &[&Node], left_out: &mut BTreeMap<String, LeftOut>) -> Vec<IpAddr> {
    // A manifest without ipFamilies; the API server always fills them in.
    let families: &[Family] =
        if service.ip_families.is_empty() { &Family::ALL } else { service.ip_families.as_slice() };
    let of = |list: &[IpAddr], family: Family| -> Vec<IpAddr> {
        list.iter().copied().filter(|address| Family::of(*address) == family).collect()
    };
    let mut all = BTreeSet::new();
    let mut giving: BTreeSet<&str> = BTreeSet::new();
    for family in families {
        let external = nodes.iter().any(|node| !of(&node.external_ips, *family).is_empty());
        for node in nodes {
            let list = of(if external { &node.external_ips } else { &node.internal_ips }, *family);
            if !list.is_empty() {
                giving.insert(&node.name);
            }
            all.extend(list);
        }
    }
    for node in nodes.iter().filter(|node| !giving.contains(node.name.as_str())) {
        let internal = families.iter().any(|family| !of(&node.internal_ips, *family).is_empty());
        let why = if internal { LeftOut::InternalOnly } else { LeftOut::NoAddress };
        left_out.insert(node.name.clone(), why);
    }
    all.into_iter().collect()
}
