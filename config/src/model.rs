//! What `speaker.yaml` says (design §4), after every check that needs the file alone. Defaults are filled
//! in, peer groups are resolved into their peers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{
    Asn, Community, ExtendedCommunity, Family, FamilyMap, FamilySet, HoldTime, LargeCommunity, Prefix,
    RouterId,
};

use crate::objects::{AddressKind, Selector};

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

/// Where a key comes from. Never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PasswordSource {
    /// `passwordFile`, already relative to the working directory.
    File(PathBuf),
    /// `passwordSecretRef`.
    Secret {
        /// The Secret's name.
        name: String,
        /// The key in it.
        key: String,
    },
}

/// What the segments of a session are signed with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authentication {
    /// `passwordFile` or `passwordSecretRef`: TCP MD5 (RFC 2385).
    Md5(PasswordSource),
    /// `tcpAo`: TCP-AO (RFC 5925). There is at least one; the first signs.
    TcpAo(Vec<TcpAoKey>),
}

impl Authentication {
    /// Where its keys come from.
    pub fn sources(&self) -> impl Iterator<Item = &PasswordSource> {
        let (one, several) = match self {
            Self::Md5(source) => (Some(source), &[][..]),
            Self::TcpAo(keys) => (None, keys.as_slice()),
        };
        one.into_iter().chain(several.iter().map(|key| &key.source))
    }
}

/// One of `tcpAo.keys`: a master key tuple (RFC 5925 §3.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TcpAoKey {
    /// `sendId`: KeyID of what we send.
    pub send_id: u8,
    /// `receiveId`: KeyID of what the peer sends; default `sendId`.
    pub receive_id: u8,
    /// `algorithm`.
    pub algorithm: TcpAoAlgorithm,
    /// `passwordFile` or `passwordSecretRef`.
    pub source: PasswordSource,
}

/// `tcpAo.keys[].algorithm` (RFC 5926 §3): MAC and key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TcpAoAlgorithm {
    /// `hmac-sha-1-96`, the default.
    #[default]
    HmacSha1,
    /// `aes-128-cmac-96`.
    Aes128Cmac,
}

/// `bfd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bfd {
    /// `transmit`, default 300 ms.
    pub transmit: Duration,
    /// `receive`, default 300 ms.
    pub receive: Duration,
    /// `detectMultiplier`, default 3.
    pub detect_multiplier: u8,
}

/// What becomes of routes that the peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receive {
    /// NLRI are counted, nothing is kept.
    None,
    /// The set of prefixes is kept, up to `maxPrefixes`.
    #[default]
    Count,
    /// Attributes too.
    All,
}

/// `prefixLimit`: more prefixes than these end the session (RFC 4271 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefixLimit {
    /// The most that are taken of each family; `None` is no limit.
    pub most: FamilyMap<Option<u32>>,
    /// `warnPercent`, default 75: at so much of a limit a warning is logged.
    pub warn_percent: u8,
    /// `restart`: when the session may come up again; absent only when an operator clears it.
    pub restart: Option<Duration>,
}

impl PrefixLimit {
    /// The count above which a family is warned of.
    #[must_use]
    pub fn warn_above(&self, family: Family) -> Option<u32> {
        let most = u64::from((*self.most.get(family))?);
        u32::try_from(most * u64::from(self.warn_percent) / 100).ok()
    }
}

/// `learn`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Learn {
    /// Nothing (the default).
    #[default]
    None,
    /// 0.0.0.0/0 and ::/0.
    DefaultRoute,
    /// What lies inside these prefixes, themselves included.
    Prefixes(Vec<Prefix>),
}

impl Learn {
    /// Whether a route to `prefix` is asked for.
    #[must_use]
    pub fn accepts(&self, prefix: Prefix) -> bool {
        match self {
            Self::None => false,
            Self::DefaultRoute => prefix.len() == 0,
            Self::Prefixes(all) => all.iter().any(|one| one.covers(prefix)),
        }
    }

    /// Nothing is learned.
    #[must_use]
    pub fn is_off(&self) -> bool {
        match self {
            Self::None => true,
            Self::DefaultRoute => false,
            Self::Prefixes(all) => all.is_empty(),
        }
    }
}

/// One entry of `export`: `prefix` and, with `le`, what is inside it down to that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportRule {
    /// The prefix.
    pub prefix: Prefix,
    /// The longest length let through; the prefix's own where absent.
    pub le: u8,
}

impl ExportRule {
    /// Whether `prefix` may leave by this rule.
    #[must_use]
    pub fn permits(&self, prefix: Prefix) -> bool {
        self.prefix.covers(prefix) && prefix.len() <= self.le
    }
}

/// How the peer is reached in TTLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// Directly connected: TTL 1 for eBGP, 255 for iBGP and for link-local peers.
    Direct,
    /// `ttlSecurity.hops`: send 255, accept at least 256 − hops (RFC 5082).
    Security(u8),
    /// `multihop.ttl`.
    Multihop(u8),
}

/// Where the peer is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerAddress {
    /// `address`, with its zone where it is link-local.
    Address {
        /// The address.
        address: IpAddr,
        /// The zone (`fe80::1%eth1`).
        zone: Option<String>,
    },
    /// `interface`: unnumbered.
    Interface(String),
}

impl PeerAddress {
    /// Whether both may be the same neighbor: whoever is found on an interface may well have the address that another
    /// peer names there.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Interface(one), Self::Address { zone: Some(other), .. })
            | (Self::Address { zone: Some(other), .. }, Self::Interface(one)) => one == other,
            (one, other) => one == other,
        }
    }
}

/// The settings that peers and groups share.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerSettings {
    /// `asn`.
    pub asn: PeerAsn,
    /// `localAsn`; absent is `router.asn`.
    pub local_asn: Option<Asn>,
    /// `families`; default both.
    pub families: FamilySet,
    /// `timers.hold`.
    pub hold: HoldTime,
    /// `timers.keepalive`.
    pub keepalive: Option<Duration>,
    /// `timers.connectRetry`.
    pub connect_retry: Duration,
    /// `passwordFile`, `passwordSecretRef` or `tcpAo`.
    pub authentication: Option<Authentication>,
    /// `ttlSecurity`, `multihop`.
    pub ttl: Ttl,
    /// `port`, default 179.
    pub port: u16,
    /// `passive`.
    pub passive: bool,
    /// `localAddress`.
    pub local_address: Option<IpAddr>,
    /// `sourceInterface`.
    pub source_interface: Option<String>,
    /// `nextHop.ipv4`.
    pub next_hop_ipv4: Option<Ipv4Addr>,
    /// `nextHop.ipv6`.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// `bfd`.
    pub bfd: Option<Bfd>,
    /// `gracefulRestart.restartTime`, in seconds; absent is off.
    pub graceful_restart: Option<u16>,
    /// `longLivedRestart.staleTime`, in seconds; absent is off.
    pub long_lived_restart: Option<u32>,
    /// `receive`.
    pub receive: Receive,
    /// `maxPrefixes`, default 10,000 a family.
    pub max_prefixes: FamilyMap<Option<u32>>,
    /// `prefixLimit`; absent is no limit.
    pub prefix_limit: Option<PrefixLimit>,
    /// `learn`.
    pub learn: Learn,
    /// `export`; absent: what lies inside a pool or stands in an advertisement's `prefixes`.
    pub export: Option<Vec<ExportRule>>,
    /// `maxAdvertised`.
    pub max_advertised: FamilyMap<Option<u32>>,
    /// `role` (RFC 9234), as the number on the wire.
    pub role: Option<u8>,
    /// `addPath`: bit 1 receive, bit 2 send.
    pub add_path: FamilyMap<u8>,
    /// `nodeSelector`; absent is every node.
    pub node_selector: Option<Selector>,
    /// `shutdown`: the session stays down; the text goes to the peer (RFC 9003).
    pub shutdown: Option<String>,
}

/// One of `peers`.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// `name`.
    pub name: String,
    /// `group`, for display.
    pub group: Option<String>,
    /// `description`, for display.
    pub description: Option<String>,
    /// `address` or `interface`.
    pub address: PeerAddress,
    /// Its own keys over its group's over the defaults.
    pub settings: PeerSettings,
}

/// One of `dynamicPeers`: whoever dials from `prefix`.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicPeer {
    /// `name`.
    pub name: String,
    /// `group`, for display.
    pub group: Option<String>,
    /// `prefix`.
    pub prefix: Prefix,
    /// `limit`, default 100.
    pub limit: u32,
    /// The settings of each session.
    pub settings: PeerSettings,
}

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

/// `ciliumBGP`: what Cilium's BGP kinds cannot say about peers and advertisements that come from them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CiliumBgp {
    /// `export`: what may leave as if it lay inside a pool.
    pub export: Vec<ExportRule>,
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

impl PeerSettings {
    /// How many prefixes of each family are kept: where more end the session, so many can be counted.
    #[must_use]
    pub fn kept(&self) -> FamilyMap<Option<u32>> {
        let limit = self.prefix_limit.map(|limit| limit.most).unwrap_or_default();
        FamilyMap::from_fn(|family| limit.get(family).or(*self.max_prefixes.get(family)))
    }

    /// Whether a family is to be negotiated.
    #[must_use]
    pub fn speaks(&self, family: Family) -> bool {
        self.families.contains(family)
    }
}
