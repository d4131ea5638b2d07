//! What `speaker.yaml` says (design §4), after every check that needs the file alone. Defaults are filled
//! in, peer groups are resolved into their peers.

mod advertisement;
mod peer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bgp_proto::types::{Asn, FamilySet, Prefix, RouterId};

pub use advertisement::{
    AddressKinds, Advertisement, PoolGate, PoolLengths, PoolPrefix, RouteAttributes, ServiceGate,
    ServiceRoutes, ServiceRoutesWhich,
};
pub use peer::{
    Authentication, Bfd, DynamicPeer, ExportRule, Learn, PasswordSource, Peer, PeerAddress, PeerSettings,
    PrefixLimit, Receive, TcpAoAlgorithm, TcpAoKey, Ttl,
};

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeakerConfig {
    /// `node.name`; the shell fills in `$NODE_NAME` or the host name where absent.
    pub node_name: Option<String>,
    /// `router`.
    pub router: Router,
    /// `sources`.
    pub sources: Sources,
    /// `ipam`.
    pub ipam: Ipam,
    /// `nodeIpam.enabled`.
    pub node_ipam: bool,
    /// `operator`.
    pub operator: Operator,
    /// `peers`, with their groups' keys filled in, in the order of the file.
    pub peers: Vec<Peer>,
    /// `dynamicPeers`.
    pub dynamic_peers: Vec<DynamicPeer>,
    /// `advertisements`, in the order of the file.
    pub advertisements: Vec<Advertisement>,
    /// `ciliumBGP`.
    pub cilium_bgp: CiliumBgp,
    /// `datapath`.
    pub datapath: Datapath,
    /// `l2`.
    pub l2: L2,
    /// `readiness`.
    pub readiness: Readiness,
    /// `readinessAddress`: where its health is asked for; absent for its usual place.
    pub readiness_address: Option<SocketAddr>,
    /// `proxyMetricsAddress`: where kube-proxy's metrics are; absent for their usual place.
    pub proxy_metrics_address: Option<SocketAddr>,
    /// `drain`.
    pub drain: DrainSettings,
    /// `bmp`, in the order of the file.
    pub bmp: Vec<BmpCollector>,
    /// `api`.
    pub api: Api,
}

/// One of `bmp[]`: a monitoring station (RFC 7854).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmpCollector {
    /// `name`.
    pub name: String,
    /// `address`: a name or an address, and a port; an IPv6 address in brackets.
    pub address: String,
    /// `monitor` has `adj-rib-in`.
    pub adj_rib_in: bool,
    /// `monitor` has `adj-rib-out` (RFC 8671).
    pub adj_rib_out: bool,
    /// `monitor` has `loc-rib` (RFC 9069).
    pub loc_rib: bool,
    /// `statistics`: between two reports; absent is none.
    pub statistics: Option<Duration>,
    /// `connectRetry`: the first wait after a connection was lost; doubled by each further failure.
    pub connect_retry: Duration,
}

/// `router`: the BGP instance "default".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Router {
    /// `asn`; absent only where there is no peer.
    pub asn: Option<Asn>,
    /// `routerId`; absent is chosen by the shell.
    pub router_id: Option<RouterId>,
    /// `listen`; empty is dial only.
    pub listen: Vec<SocketAddr>,
}

/// `sources`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// `manifests`: files and folders, already relative to the working directory.
    pub manifests: Vec<PathBuf>,
    /// `kubernetes.enabled`.
    pub kubernetes: bool,
    /// `kubernetes.ciliumBGP`; absent is `auto`.
    pub cilium_bgp: Option<bool>,
    /// `kubernetes.ciliumL2`; absent is `auto`.
    pub cilium_l2: Option<bool>,
    /// `kubernetes.keepAnnounced`: how long after its end what an agent announced last counts; zero where nothing is kept.
    pub keep_announced: Duration,
}

/// `ipam.defaultClass`: who serves a Service without `loadBalancerClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultClass {
    /// LB IPAM.
    #[default]
    LbIpam,
    /// Node IPAM.
    NodeIpam,
    /// Nobody.
    None,
}

/// `ipam`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipam {
    /// `enabled`, default true.
    pub enabled: bool,
    /// `stateDir`, default `state`, already relative to the working directory.
    pub state_dir: PathBuf,
    /// `families`, default both.
    pub families: FamilySet,
    /// `defaultClass`.
    pub default_class: DefaultClass,
    /// `classes`; absent: BGP's, and L2's where that is on.
    pub classes: Option<Vec<ServiceClass>>,
}

/// A class that LB IPAM can serve: an entry of `ipam.classes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceClass {
    /// `io.cilium/bgp-control-plane`.
    Bgp,
    /// `io.cilium/l2-announcer`.
    L2,
}

/// `operator`: how the replicas of `speaker operator` agree on a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// `leaseName`, default `speaker-operator`.
    pub lease_name: String,
    /// `leaseDuration`, default 15 s: how long after the last sign of life of the leader another takes over.
    pub lease_duration: Duration,
    /// `holdDeleted`: how long a deleted Service is held, so that its routes are withdrawn before it stops working;
    /// zero, the default, is not at all.
    pub hold_deleted: Duration,
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            lease_name: "speaker-operator".to_owned(),
            lease_duration: Duration::from_secs(15),
            hold_deleted: Duration::ZERO,
        }
    }
}

/// `ciliumBGP`: what Cilium's BGP kinds cannot say about peers and advertisements that come from them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CiliumBgp {
    /// `export`: what may leave as if it lay inside a pool.
    pub export: Vec<ExportRule>,
    /// `routerIdPool`, of IPv4: the operator gives each instance of each node a router ID of it.
    pub router_id_pool: Option<Prefix>,
}

/// `datapath.loops`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoopGuard {
    /// A blackhole route.
    #[default]
    Blackhole,
    /// An unreachable route.
    Unreachable,
    /// Nothing.
    None,
}

/// `datapath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Datapath {
    /// `loops`.
    pub loops: LoopGuard,
    /// `local: announced`.
    pub local_announced: bool,
}

/// `l2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L2 {
    /// `enabled`.
    pub enabled: bool,
    /// `interfaces`: regular expressions, unanchored.
    pub interfaces: Vec<String>,
    /// `leaseDuration`: a node that has not renewed its lease for so long is displaced.
    pub lease_duration: Duration,
}

impl Default for L2 {
    fn default() -> Self {
        Self { enabled: false, interfaces: Vec::new(), lease_duration: Duration::from_secs(15) }
    }
}

/// `readiness`: what must be healthy before this node announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Readiness {
    /// kube-proxy.
    KubeProxy,
    /// Cilium's agent.
    Cilium,
    /// Nothing (the default).
    #[default]
    None,
}

impl Readiness {
    /// Where its `/healthz` is, unless it was told otherwise: kube-proxy's `healthzBindAddress`, Cilium's
    /// `agent-health-port`.
    #[must_use]
    pub const fn usual_address(self) -> Option<SocketAddr> {
        let port = match self {
            Self::KubeProxy => 10256,
            Self::Cilium => 9879,
            Self::None => return None,
        };
        Some(SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port)))
    }
}

/// `drain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainSettings {
    /// `for`: how long routes are announced with the graceful-shutdown community before they are withdrawn.
    pub lasts: Duration,
    /// `taint`: the key of a taint that drains this node.
    pub taint: Option<String>,
    /// `excludeLabel`: `node.kubernetes.io/exclude-from-external-load-balancers` drains this node.
    pub exclude_label: bool,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { lasts: Duration::from_secs(60), taint: None, exclude_label: false }
    }
}

/// `api`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// `socket`, default `/run/speaker/api.sock`.
    pub socket: PathBuf,
    /// `http`; absent serves no metrics.
    pub http: Option<SocketAddr>,
}
