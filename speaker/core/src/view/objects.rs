//! Pools and Services, and what became of their routes.

use std::net::IpAddr;

use bgp_proto::types::Prefix;
use serde::{Deserialize, Serialize};
use speaker_config::objects::Condition;

/// One line of `speaker pools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// Name.
    pub name: String,
    /// `spec.disabled`.
    pub disabled: bool,
    /// Blocks, as CIDR or `first - last`.
    pub blocks: Vec<String>,
    /// Addresses in all, in decimal: an IPv6 pool has more than any integer type of JSON.
    pub total: String,
    /// Addresses in use, the reserved ones included.
    pub used: String,
    /// Addresses left.
    pub available: String,
    /// Conditions as in the object's status.
    pub conditions: Vec<Condition>,
    /// The pool's prefixes and what became of them.
    pub routes: Vec<RouteState>,
}

/// What became of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteState {
    /// The destination.
    pub prefix: Prefix,
    /// It stands in the Loc-RIB.
    pub announced: bool,
    /// Peers that are told of it.
    pub peers: Vec<String>,
    /// The gate that holds it back.
    pub reason: Option<String>,
}

/// One line of `speaker services`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// `externalTrafficPolicy`.
    pub external_traffic_policy: String,
    /// Recorded addresses.
    pub ingress: Vec<IpAddr>,
    /// Ready endpoints in the cluster.
    pub ready_endpoints: usize,
    /// Ready endpoints on this node.
    pub local_ready_endpoints: usize,
    /// Conditions as in the object's status.
    pub conditions: Vec<Condition>,
    /// Its own routes and what became of them.
    pub routes: Vec<RouteState>,
}
