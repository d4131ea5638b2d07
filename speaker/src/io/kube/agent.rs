//! What the agent of one node asks the API server for, and the operator of Cilium's BGP kinds.

use std::time::Duration;

use kube::api::ListParams;
use kube::core::Request;
use serde_json::Value as Json;
use tokio::time::timeout;

use super::{Connection, Filter, ObjectKind};

/// How long a question at the start may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The kinds but for Cilium's BGP kinds, and how little of each. `l2`: L2 policies too.
pub(crate) fn agent_kinds(node: &str, l2: bool) -> Vec<(ObjectKind, Filter)> {
    let all = Filter::default();
    let of_services = Filter { labels: Some("kubernetes.io/service-name".to_owned()), ..Filter::default() };
    let mut kinds = vec![
        (ObjectKind::SERVICES, all.clone()),
        (ObjectKind::ENDPOINT_SLICES, of_services),
        (ObjectKind::NODES, all.clone()),
        (ObjectKind::POOLS, all.clone()),
        (ObjectKind::SERVICE_CIDRS, Filter { optional: true, dispensable: true, ..Filter::default() }),
    ];
    // Its own one whole: it says which CIDRs of CiliumPodIPPools the node has.
    let own = Filter { name: Some(node.to_owned()), metadata: false, ..cilium_nodes().1 };
    kinds.push((ObjectKind::CILIUM_NODES, own));
    if l2 {
        kinds.push((ObjectKind::L2_POLICIES, all));
        // Holders of addresses on a segment are chosen among all nodes.
        kinds.push(cilium_nodes());
    }
    kinds
}

/// Cilium's BGP kinds, and how little of each. A cluster without them is no worse for it.
pub(crate) fn agent_bgp_kinds(node: &str) -> Vec<(ObjectKind, Filter)> {
    let optional = Filter { optional: true, ..Filter::default() };
    let own = Filter { name: Some(node.to_owned()), ..optional.clone() };
    vec![
        (ObjectKind::BGP_CLUSTER_CONFIGS, optional.clone()),
        (ObjectKind::BGP_OVERRIDES, own.clone()),
        (ObjectKind::BGP_NODE_CONFIGS, own),
        (ObjectKind::BGP_PEER_CONFIGS, optional.clone()),
        (ObjectKind::BGP_ADVERTISEMENTS, optional.clone()),
        (ObjectKind::POD_IP_POOLS, Filter { dispensable: true, metadata: true, ..optional }),
    ]
}

/// The labels of all CiliumNodes.
pub(crate) fn cilium_nodes() -> (ObjectKind, Filter) {
    let filter = Filter { optional: true, dispensable: true, metadata: true, ..Filter::default() };
    (ObjectKind::CILIUM_NODES, filter)
}

/// The kinds of Cilium's BGP control plane that the operator reads, but for Nodes. A cluster without them is no
/// worse for it.
pub(crate) fn operator_bgp_kinds() -> [ObjectKind; 4] {
    [
        ObjectKind::BGP_CLUSTER_CONFIGS,
        ObjectKind::BGP_OVERRIDES,
        ObjectKind::BGP_NODE_CONFIGS,
        ObjectKind::BGP_PEER_CONFIGS,
    ]
}

/// Whether the API server gives what the agent needs: what is missing, in words.
pub(crate) async fn probe(connection: &Connection, node: &str, bgp: bool, l2: bool) -> Vec<String> {
    let mut missing = Vec::new();
    let bgp = if bgp { agent_bgp_kinds(node) } else { Vec::new() };
    for (kind, filter) in agent_kinds(node, l2).into_iter().chain(bgp) {
        let resource = kind.resource;
        let params = ListParams {
            label_selector: filter.labels,
            field_selector: filter.name.map(|name| format!("metadata.name={name}")),
            limit: Some(1),
            ..ListParams::default()
        };
        let mut refused = None;
        for version in resource.versions {
            let Ok(request) = Request::new(resource.path(version, None)).list(&params) else { continue };
            refused = match timeout(ANSWER, connection.client.request::<Json>(request)).await {
                Ok(Ok(_)) => None,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 && filter.optional => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => return vec![format!("{} does not answer", connection.server)],
            };
            if refused.is_none() {
                break;
            }
        }
        missing.extend(refused.map(|error| format!("{}: {error}", resource.plural)));
    }
    missing
}
