//! Cilium's BGP kinds, v2 or v2alpha1.
//!
//! `faults` holds what could not be parsed, each with its path: what a fault stands in is not in force, as
//! each type says. `notes` holds what is legal and has no effect here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp_proto::types::{Asn, Community, Family, FamilyMap, HoldTime, LargeCommunity, RouterId};
use serde::{Deserialize, Serialize};

use super::{Condition, Labels, Selector, UnixSeconds};
use crate::crd::cluster_config::MonitoringPolicy;

/// Which objects a selector means. What its absence means differs from field to field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Selection {
    /// Every object.
    Everything,
    /// None.
    #[default]
    Nothing,
    /// Those that it selects.
    These(Selector),
    /// It could not be parsed, and selects nothing.
    Unreadable,
}

impl Selection {
    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing | Self::Unreadable => false,
            Self::These(selector) => selector.matches(labels),
        }
    }
}

/// Where a peer is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PeerPlace {
    /// `peerAddress`.
    Address {
        /// The address.
        address: IpAddr,
        /// The interface of a link-local one: its zone, or `peerInterface`.
        zone: Option<String>,
    },
    /// `autoDiscovery` of mode DefaultGateway.
    DefaultGateway(Family),
    /// `autoDiscovery` of mode Unnumbered, or `peerInterface` without an address.
    Interface(String),
}

/// One of `peers` of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeer {
    /// `name`.
    pub name: String,
    /// Where it is.
    pub place: PeerPlace,
    /// `peerASN`; absent for any (0).
    pub asn: Option<Asn>,
    /// `peerConfigRef.name`; absent for the defaults, which advertise nothing.
    pub peer_config: Option<String>,
    /// `localAddress`; in a CiliumBGPNodeConfig alone.
    pub local_address: Option<IpAddr>,
}

/// One of `bgpInstances`: a router of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpInstance {
    /// `name`.
    pub name: String,
    /// `localASN`.
    pub local_asn: Option<Asn>,
    /// `localPort`; absent dials only.
    pub local_port: Option<u16>,
    /// `routerID`; in a CiliumBGPNodeConfig alone.
    pub router_id: Option<RouterId>,
    /// `peers`, without those with a fault.
    pub peers: Vec<BgpPeer>,
    /// `bmpServers`, without those with a fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bmp_servers: Vec<BgpStation>,
}

/// One of `bmpServers` of an instance: a monitoring station (RFC 7854).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpStation {
    /// `name`.
    pub name: String,
    /// `peerAddress`.
    pub address: IpAddr,
    /// `peerPort`.
    pub port: u16,
    /// `monitoringPolicy`.
    pub policy: MonitoringPolicy,
    /// `statisticsTimeout`: seconds between two reports; absent is none.
    pub statistics: Option<u16>,
}

/// CiliumBGPClusterConfig. A peer or an instance with a fault is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpClusterConfig {
    /// Name.
    pub name: String,
    /// `metadata.uid`, for owner references; empty in a manifest.
    pub uid: String,
    /// When it was created; the eldest of several that select a node has it.
    pub created: UnixSeconds,
    /// Generation, for conditions.
    pub generation: i64,
    /// `nodeSelector`; absent is every node.
    pub nodes: Selection,
    /// `bgpInstances`.
    pub instances: Vec<BgpInstance>,
    /// What could not be parsed.
    pub faults: Vec<String>,
    /// What has no effect.
    pub notes: Vec<String>,
    /// `status.conditions`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// One of `families` of a CiliumBGPPeerConfig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpFamily {
    /// `afi` and `safi`.
    pub family: Family,
    /// `advertisements`: CiliumBGPAdvertisements by their labels; absent is none.
    pub advertisements: Selection,
}

/// CiliumBGPPeerConfig. With a fault none of its peers has a session, for the fault may be in what keeps
/// strangers out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeerConfig {
    /// Name.
    pub name: String,
    /// Generation, for conditions.
    pub generation: i64,
    /// `transport.peerPort`.
    pub port: u16,
    /// `transport.sourceInterface`.
    pub source_interface: Option<String>,
    /// `timers.connectRetryTimeSeconds`.
    pub connect_retry: u32,
    /// `timers.holdTimeSeconds`.
    pub hold: HoldTime,
    /// `timers.keepAliveTimeSeconds`.
    pub keepalive: u16,
    /// `authSecretRef`.
    pub auth_secret: Option<String>,
    /// `gracefulRestart.restartTimeSeconds` where it is enabled.
    pub graceful_restart: Option<u16>,
    /// `ebgpMultihop`; 1 is a directly connected peer.
    pub multihop: u8,
    /// `families` that are spoken here.
    pub families: Vec<BgpFamily>,
    /// What could not be parsed.
    pub faults: Vec<String>,
    /// What has no effect.
    pub notes: Vec<String>,
    /// `status.conditions`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

impl BgpPeerConfig {
    /// Cilium's defaults, which hold where `peerConfigRef` is absent.
    #[must_use]
    pub fn defaults(name: impl Into<String>) -> Self {
        let families = [Family::Ipv6Unicast, Family::Ipv4Unicast];
        Self {
            name: name.into(),
            generation: 0,
            port: 179,
            source_interface: None,
            connect_retry: 120,
            hold: HoldTime::DEFAULT,
            keepalive: 30,
            auth_secret: None,
            graceful_restart: None,
            multihop: 1,
            families: families
                .map(|family| BgpFamily { family, advertisements: Selection::Nothing })
                .to_vec(),
            faults: Vec::new(),
            notes: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

/// An address of a Service, by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AddressKind {
    /// `status.loadBalancer.ingress[].ip` of a Service that BGP may announce.
    LoadBalancer,
    /// `spec.externalIPs`.
    External,
    /// `spec.clusterIPs`.
    Cluster,
}

/// What one entry of a CiliumBGPAdvertisement tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Advertised {
    /// The node's Pod CIDRs.
    PodCidr,
    /// The node's CIDRs of the CiliumPodIPPools that are selected; absent is none.
    PodIpPools(Selection),
    /// Addresses of the Services that are selected.
    Service {
        /// `service.addresses`.
        addresses: BTreeSet<AddressKind>,
        /// `service.aggregationLengthIPv4` and `service.aggregationLengthIPv6`.
        aggregation: FamilyMap<Option<u8>>,
        /// `selector`; absent is none.
        services: Selection,
    },
    /// Addresses of an interface.
    Interface(String),
}

/// One of `advertisements`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpAdvertisementEntry {
    /// Its place in the list, from 0.
    pub index: usize,
    /// What is told.
    pub what: Advertised,
    /// `attributes.communities.standard` and `wellKnown`.
    pub communities: Vec<Community>,
    /// `attributes.communities.large`.
    pub large_communities: Vec<LargeCommunity>,
    /// `attributes.localPreference`.
    pub local_preference: Option<u32>,
}

/// CiliumBGPAdvertisement. An entry with a fault is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpAdvertisement {
    /// Name.
    pub name: String,
    /// Its labels, by which families select it.
    pub labels: Labels,
    /// `advertisements`.
    pub entries: Vec<BgpAdvertisementEntry>,
    /// What could not be parsed, and what only Cilium could tell.
    pub faults: Vec<String>,
    /// What has no effect.
    pub notes: Vec<String>,
}

/// The controller among an object's `ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// CiliumBGPNodeConfig, named after its node. A peer or an instance with a fault is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpNodeConfig {
    /// The node's name.
    pub name: String,
    /// `metadata.uid`; empty in a manifest.
    #[serde(default)]
    pub uid: String,
    /// Being deleted.
    #[serde(default)]
    pub deleting: bool,
    /// Generation, for conditions.
    pub generation: i64,
    /// Who owns it.
    pub owner: Option<Owner>,
    /// `bgpInstances`.
    pub instances: Vec<BgpInstance>,
    /// What could not be parsed.
    pub faults: Vec<String>,
    /// What has no effect.
    pub notes: Vec<String>,
    /// `status.conditions`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// One of `peers` of an instance's override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeerOverride {
    /// `name`.
    pub name: String,
    /// `localAddress`.
    pub local_address: Option<IpAddr>,
    /// `peerInterface`.
    pub interface: Option<String>,
}

/// One of `bgpInstances` of a CiliumBGPNodeConfigOverride.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpInstanceOverride {
    /// `name`.
    pub name: String,
    /// `routerID`.
    pub router_id: Option<RouterId>,
    /// `localPort`.
    pub local_port: Option<u16>,
    /// `localASN`.
    pub local_asn: Option<Asn>,
    /// `peers`.
    pub peers: Vec<BgpPeerOverride>,
}

/// CiliumBGPNodeConfigOverride, named after its node. With a fault the node's CiliumBGPNodeConfig stays as
/// it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpNodeConfigOverride {
    /// The node's name.
    pub name: String,
    /// `bgpInstances`.
    pub instances: Vec<BgpInstanceOverride>,
    /// What could not be parsed.
    pub faults: Vec<String>,
    /// What has no effect.
    pub notes: Vec<String>,
}

/// CiliumL2AnnouncementPolicy, v2alpha1. With a fault it announces nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L2AnnouncementPolicy {
    /// Name.
    pub name: String,
    /// Generation, for conditions.
    pub generation: i64,
    /// `nodeSelector`; absent is every node.
    pub nodes: Selection,
    /// `serviceSelector`; absent is every Service.
    pub services: Selection,
    /// `interfaces`: regular expressions, unanchored; empty is every interface.
    pub interfaces: Vec<String>,
    /// `loadBalancerIPs`.
    pub load_balancer_ips: bool,
    /// `externalIPs`.
    pub external_ips: bool,
    /// What could not be parsed.
    pub faults: Vec<String>,
    /// `status.conditions`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}
