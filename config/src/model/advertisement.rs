//! What is announced to whom, and with what.

use std::collections::BTreeSet;

use bgp_proto::types::{Community, ExtendedCommunity, FamilyMap, FamilySet, LargeCommunity, Prefix};

use super::peer::ExportRule;
use crate::objects::{AddressKind, Selector};

/// `poolPrefix.when`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PoolGate {
    /// As soon as the pool exists.
    Always,
    /// One of its addresses is recorded on a Service that BGP may announce.
    #[default]
    Allocated,
    /// One of those Services has a ready endpoint.
    Ready,
    /// Withdrawn.
    Never,
}

/// `poolPrefix.lengths`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolLengths {
    /// The fewest CIDRs that cover the ranges and no address more.
    #[default]
    Exact,
    /// This length in each family; `None` is exact there.
    Fixed(FamilyMap<Option<u8>>),
}

/// `poolPrefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolPrefix {
    /// `when`, default `allocated`.
    pub when: PoolGate,
    /// `lengths`, default `exact`.
    pub lengths: PoolLengths,
    /// `allowBeyondPool`: a length shorter than the block may announce other people's addresses.
    pub allow_beyond_pool: bool,
}

/// `serviceRoutes.which`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ServiceRoutesWhich {
    /// Every selected Service.
    All,
    /// Only those with `externalTrafficPolicy: Local` (the default).
    #[default]
    Local,
    /// None.
    None,
}

/// `serviceRoutes.when`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ServiceGate {
    /// The address is recorded.
    Allocated,
    /// And the Service has a ready endpoint (the default).
    #[default]
    Ready,
    /// And it has one that serves, also while it terminates.
    Serving,
}

/// Which addresses of a Service get routes. In `speaker.yaml` those of the load balancer alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressKinds {
    /// `status.loadBalancer.ingress[].ip`.
    pub load_balancer: bool,
    /// `spec.externalIPs`.
    pub external: bool,
    /// `spec.clusterIPs`.
    pub cluster: bool,
}

impl Default for AddressKinds {
    fn default() -> Self {
        Self { load_balancer: true, external: false, cluster: false }
    }
}

impl AddressKinds {
    /// Whether addresses of this kind are meant.
    #[must_use]
    pub const fn contains(self, kind: AddressKind) -> bool {
        match kind {
            AddressKind::LoadBalancer => self.load_balancer,
            AddressKind::External => self.external,
            AddressKind::Cluster => self.cluster,
        }
    }
}

/// `serviceRoutes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceRoutes {
    /// `which`.
    pub which: ServiceRoutesWhich,
    /// `when`.
    pub when: ServiceGate,
    /// Which addresses; from a CiliumBGPAdvertisement.
    pub addresses: AddressKinds,
    /// The length of the prefix that stands for an address, unless the Service's traffic policy is Local;
    /// from a CiliumBGPAdvertisement. `None` is the address itself.
    pub aggregation: FamilyMap<Option<u8>>,
}

/// `attributes`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RouteAttributes {
    /// `communities`.
    pub communities: Vec<Community>,
    /// `largeCommunities`.
    pub large_communities: Vec<LargeCommunity>,
    /// `extendedCommunities`.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// `localPreference`; used towards iBGP peers alone.
    pub local_preference: Option<u32>,
    /// `med`.
    pub med: Option<u32>,
    /// `prepend`: additional copies of our AS.
    pub prepend: u8,
}

/// One of `advertisements`.
#[derive(Debug, Clone, PartialEq)]
pub struct Advertisement {
    /// `name`.
    pub name: String,
    /// `poolSelector`; absent is every pool.
    pub pool_selector: Option<Selector>,
    /// `serviceSelector`; absent is every Service.
    pub service_selector: Option<Selector>,
    /// `prefixes`: always announced.
    pub prefixes: Vec<Prefix>,
    /// `poolPrefix`; absent announces no pool prefix.
    pub pool_prefix: Option<PoolPrefix>,
    /// `serviceRoutes`; absent announces no Service route.
    pub service_routes: Option<ServiceRoutes>,
    /// `attributes`.
    pub attributes: RouteAttributes,
    /// `peers`; absent is every peer.
    pub peers: Option<BTreeSet<String>>,
    /// `nodeSelector`; absent is every node.
    pub node_selector: Option<Selector>,
    /// `allow`: dangerous prefixes that this advertisement may announce all the same.
    pub allow: Vec<Prefix>,
    /// Its `prefixes` are the node's own, Pod CIDRs and addresses of interfaces: it lives there, so that the
    /// kernel guards nothing. From a CiliumBGPAdvertisement.
    pub belongings: bool,
    /// The families of its Service routes; both in `speaker.yaml`. From a CiliumBGPPeerConfig.
    pub families: FamilySet,
    /// What may leave to peers without an `export` list as if it lay inside a pool: `ciliumBGP.export`, for
    /// what a CiliumBGPAdvertisement says.
    pub export: Vec<ExportRule>,
}
