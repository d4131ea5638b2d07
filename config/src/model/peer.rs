//! Peers, and what a session with one is set to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime, Prefix};

use crate::objects::Selector;

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
    /// `timers.sendHold` (RFC 9687); absent is the greater of 8 minutes and twice the negotiated hold time.
    pub send_hold: Option<Duration>,
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
