//! What a node has of its own, and is told of as prefixes: Pod CIDRs, CIDRs of CiliumPodIPPools, addresses of an interface.

use std::net::IpAddr;

use bgp_proto::types::Prefix;
use speaker_config::objects::{Advertised, Labels, Node, Selection};

use super::Sight;
use crate::inputs::Inputs;

/// Labels that a selector sees beside the pool's own, and that nobody can forge.
const NAME: &str = "io.cilium.podippool.name";
/// As [`NAME`]; pools have no namespace, so that it is empty.
const NAMESPACE: &str = "io.cilium.podippool.namespace";

/// What an entry tells of this node; `name` is the advertisement's. `None`: nothing can be told.
pub(super) fn of(
    name: &str,
    what: &Advertised,
    node: &Node,
    sight: Sight<'_>,
    errors: &mut Vec<String>,
) -> Option<Vec<Prefix>> {
    match what {
        Advertised::Service { .. } => None,
        Advertised::PodCidr => {
            if node.pod_cidrs.is_empty() {
                errors.push(format!("{name}: Node {} has no spec.podCIDRs to announce", node.name));
            }
            Some(node.pod_cidrs.clone())
        }
        Advertised::PodIpPools(selection) => {
            let found = of_pools(node, selection, sight.inputs);
            if found.is_none() {
                errors.push(format!(
                    "{name}: CiliumNode {} has no spec.ipam.pools.allocated: CiliumPodIPPools are announced where Cilium's multi-pool IPAM is on",
                    node.name
                ));
            }
            found
        }
        Advertised::Interface(interface) => match sight.host.interfaces.get(interface) {
            Some(addresses) => Some(addresses.iter().copied().filter(usable).map(Prefix::host).collect()),
            None if sight.host.unknown => None,
            None => {
                errors.push(format!("{name}: there is no interface {interface} that is up"));
                None
            }
        },
    }
}

/// The node's CIDRs of the pools that are selected. `None`: nobody has given it any of pools.
fn of_pools(node: &Node, selection: &Selection, inputs: &Inputs) -> Option<Vec<Prefix>> {
    let pools = inputs.bgp.node_pools.get(&node.name).filter(|pools| !pools.is_empty())?;
    let labels = |pool: &String| -> Labels {
        let mut labels = inputs.bgp.pod_ip_pools.get(pool).cloned().unwrap_or_default();
        labels.insert(NAME.to_owned(), pool.clone());
        labels.insert(NAMESPACE.to_owned(), String::new());
        labels
    };
    let selected = pools.iter().filter(|(pool, _)| selection.matches(&labels(pool)));
    Some(selected.flat_map(|(_, prefixes)| prefixes.iter().copied()).collect())
}

/// An address of an interface that may be announced.
fn usable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_multicast() && !v4.is_unspecified(),
        IpAddr::V6(v6) => {
            let special = v6.is_loopback() || v6.is_multicast() || v6.is_unspecified();
            !special && !v6.is_unicast_link_local() && v6.to_ipv4_mapped().is_none()
        }
    }
}
