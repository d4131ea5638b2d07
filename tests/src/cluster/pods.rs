//! Pods: namespaces behind a node.

use std::net::IpAddr;

use crate::lab::{Lab, Node};

/// A namespace `name` behind `node`, as a routing CNI plugin makes it: its own addresses, a veth pair, a host
/// route on the node. The node forwards from then on.
pub fn pod(lab: &Lab, node: &Node, name: &str, addresses: &[IpAddr]) -> Node {
    let pod = lab.node(name);
    // Interface names end at 15 characters.
    let dev: String = format!("v-{name}").chars().take(15).collect();
    lab.link(node, &dev, &pod, "eth0");
    // Of the link only: what the node masquerades towards the Pod comes from an address of the node's own.
    node.ip(&["address", "add", "169.254.1.1/32", "dev", &dev, "scope", "link"]);
    node.address(&dev, "fe80::1/64");
    node.sysctl("net/ipv4/ip_forward", "1");
    node.sysctl("net/ipv6/conf/all/forwarding", "1");
    for address in addresses {
        let (own, gateway) = match address {
            IpAddr::V4(v4) => (format!("{v4}/32"), "169.254.1.1"),
            IpAddr::V6(v6) => (format!("{v6}/128"), "fe80::1"),
        };
        pod.address("eth0", &own);
        pod.ip(&["route", "add", "default", "via", gateway, "dev", "eth0", "onlink"]);
        node.ip(&["route", "add", &own, "dev", &dev]);
    }
    pod
}
