//! Prefixes that must not be announced.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::{Family, Prefix};
use serde::{Deserialize, Serialize};

/// Whose address it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// A node, by name.
    Node(String),
    /// A BGP peer, by name.
    Peer(String),
    /// A gateway of this node.
    Gateway,
    /// The API server.
    ApiServer,
}

/// What a network of the cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterNetwork {
    /// Pods.
    Pods,
    /// ClusterIPs of Services.
    Services,
}

/// What the cluster and the node themselves live on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DangerContext {
    /// Addresses of nodes, peers, gateways and API servers.
    pub addresses: BTreeMap<IpAddr, Owner>,
    /// Pod and Service CIDRs.
    pub networks: BTreeMap<Prefix, ClusterNetwork>,
    /// `allow`: a prefix that one of these covers is let through.
    pub allow: Vec<Prefix>,
}

/// Why a prefix is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// Shorter than /8, or /32 of IPv6.
    TooShort {
        /// The shortest length that needs no leave.
        shortest: u8,
    },
    /// It shares addresses with a range that is never routed.
    Martian {
        /// The range.
        range: Prefix,
        /// What it is for.
        name: String,
    },
    /// It holds an address that somebody has.
    Own {
        /// The address.
        addr: IpAddr,
        /// Its owner.
        owner: Owner,
    },
    /// It shares addresses with a network of the cluster.
    Cluster {
        /// The network.
        range: Prefix,
        /// What it is for.
        network: ClusterNetwork,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Peer(name) => write!(f, "peer {name}"),
            Self::Gateway => f.write_str("a gateway"),
            Self::ApiServer => f.write_str("the API server"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { shortest } => {
                write!(f, "it is shorter than /{shortest}")
            }
            Self::Martian { range, name } => write!(f, "it overlaps {range} ({name}), which is never routed"),
            Self::Own { addr, owner } => write!(f, "it holds {addr}, the address of {owner}"),
            Self::Cluster { range, network } => {
                let network = match network {
                    ClusterNetwork::Pods => "Pod",
                    ClusterNetwork::Services => "Service",
                };
                write!(f, "it overlaps {range}, a {network} CIDR of the cluster")
            }
        }
    }
}

/// Ranges that are never routed, with what they are for. Private and documentation ranges are no part.
const MARTIANS: [(IpAddr, u8, &str); 8] = [
    (IpAddr::V4(Ipv4Addr::new(0, 0, 0, 0)), 8, "this network"),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8, "loopback"),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16, "link-local"),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 3, "multicast and reserved"),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128, "unspecified"),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, "loopback"),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10, "link-local"),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8, "multicast"),
];

/// Whether announcing `prefix` would be dangerous, and why; `None` is fine or allowed. The cost is logarithmic
/// in the number of addresses and networks.
#[must_use]
pub fn judge(prefix: Prefix, own: &DangerContext) -> Option<Reason> {
    if own.allow.iter().any(|allowed| allowed.covers(prefix)) {
        return None;
    }
    too_short(prefix).or_else(|| martian(prefix)).or_else(|| own_address(prefix, own)).or_else(|| {
        let (range, network) = overlapping(prefix, &own.networks)?;
        Some(Reason::Cluster { range, network })
    })
}

fn too_short(prefix: Prefix) -> Option<Reason> {
    let shortest = match prefix.family() {
        Family::Ipv4Unicast => 8,
        Family::Ipv6Unicast => 32,
    };
    (prefix.len() < shortest).then_some(Reason::TooShort { shortest })
}

fn martian(prefix: Prefix) -> Option<Reason> {
    MARTIANS.iter().find_map(|(addr, len, name)| {
        let range = Prefix::new(*addr, *len).ok()?;
        range.overlaps(prefix).then(|| Reason::Martian { range, name: (*name).to_owned() })
    })
}

fn own_address(prefix: Prefix, own: &DangerContext) -> Option<Reason> {
    let (addr, owner) = own.addresses.range(prefix.addr()..=prefix.last()).next()?;
    Some(Reason::Own { addr: *addr, owner: owner.clone() })
}

/// The first network that shares an address with `prefix`: one that covers it, or the first within.
fn overlapping(
    prefix: Prefix,
    networks: &BTreeMap<Prefix, ClusterNetwork>,
) -> Option<(Prefix, ClusterNetwork)> {
    if networks.is_empty() {
        return None;
    }
    let covering = (0..=prefix.len()).find_map(|len| {
        let wider = Prefix::new(prefix.addr(), len).ok()?;
        networks.get_key_value(&wider)
    });
    let within = || networks.range(prefix..).next().filter(|(network, _)| prefix.covers(**network));
    covering.or_else(within).map(|(range, network)| (*range, *network))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(prefix: &str, own: &DangerContext) -> Option<String> {
        judge(prefix.parse().unwrap(), own).map(|reason| reason.to_string())
    }

    #[test]
    fn private_documentation_and_public_ranges_are_fine() {
        let own = DangerContext::default();
        for prefix in
            ["10.0.0.0/8", "192.168.0.0/16", "203.0.113.0/24", "8.8.8.8/32", "2001:db8::/32", "fd00::/48"]
        {
            assert_eq!(judged(prefix, &own), None, "{prefix}");
        }
    }

    #[test]
    fn short_prefixes_and_martians_are_refused() {
        let own = DangerContext::default();
        for (prefix, reason) in [
            ("0.0.0.0/0", "it is shorter than /8"),
            ("::/0", "it is shorter than /32"),
            ("2001::/31", "it is shorter than /32"),
            ("0.1.2.0/24", "it overlaps 0.0.0.0/8 (this network), which is never routed"),
            ("127.0.0.1/32", "it overlaps 127.0.0.0/8 (loopback), which is never routed"),
            ("169.254.0.0/15", "it overlaps 169.254.0.0/16 (link-local), which is never routed"),
            ("224.0.0.0/24", "it overlaps 224.0.0.0/3 (multicast and reserved), which is never routed"),
            ("255.255.255.255/32", "it overlaps 224.0.0.0/3 (multicast and reserved), which is never routed"),
            ("::/64", "it overlaps ::/128 (unspecified), which is never routed"),
            ("::1/128", "it overlaps ::1/128 (loopback), which is never routed"),
            ("febf::/64", "it overlaps fe80::/10 (link-local), which is never routed"),
            ("ff02::/64", "it overlaps ff00::/8 (multicast), which is never routed"),
        ] {
            assert_eq!(judged(prefix, &own).as_deref(), Some(reason), "{prefix}");
        }
    }

    #[test]
    fn what_the_cluster_lives_on_is_refused() {
        let own = DangerContext {
            addresses: BTreeMap::from([
                ("10.0.0.11".parse().unwrap(), Owner::Node("n1".into())),
                ("10.0.0.254".parse().unwrap(), Owner::Peer("tor-a".into())),
                ("10.0.1.1".parse().unwrap(), Owner::Gateway),
                ("2001:db8::6443".parse().unwrap(), Owner::ApiServer),
            ]),
            networks: BTreeMap::from([
                ("10.244.0.0/24".parse().unwrap(), ClusterNetwork::Pods),
                ("10.96.0.0/12".parse().unwrap(), ClusterNetwork::Services),
            ]),
            allow: Vec::new(),
        };
        for (prefix, reason) in [
            ("10.0.0.0/24", Some("it holds 10.0.0.11, the address of node n1")),
            ("10.0.0.254/32", Some("it holds 10.0.0.254, the address of peer tor-a")),
            ("10.0.1.0/24", Some("it holds 10.0.1.1, the address of a gateway")),
            ("2001:db8::/64", Some("it holds 2001:db8::6443, the address of the API server")),
            ("10.244.0.0/16", Some("it overlaps 10.244.0.0/24, a Pod CIDR of the cluster")),
            ("10.244.0.7/32", Some("it overlaps 10.244.0.0/24, a Pod CIDR of the cluster")),
            ("10.100.0.0/16", Some("it overlaps 10.96.0.0/12, a Service CIDR of the cluster")),
            ("10.244.1.0/24", None),
            ("10.0.0.128/26", None),
        ] {
            assert_eq!(judged(prefix, &own).as_deref(), reason, "{prefix}");
        }
    }

    #[test]
    fn leave_covers_what_lies_within() {
        let own = DangerContext { allow: vec!["10.0.0.0/7".parse().unwrap()], ..DangerContext::default() };
        assert_eq!(judged("10.0.0.0/7", &own), None);
        assert!(judged("8.0.0.0/6", &own).is_some());
    }
}
