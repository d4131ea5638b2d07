//! The kernel's state as far as it matters here, and what can be done to it.

use bgp_proto::types::{Family, Prefix};

use super::wanted::GuardKind;

/// The type of a route (rtm_type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// RTN_UNICAST.
    Unicast,
    /// RTN_LOCAL.
    Local,
    /// RTN_BLACKHOLE.
    Blackhole,
    /// RTN_UNREACHABLE.
    Unreachable,
    /// Any other: broadcast, multicast, throw …
    Other,
}

impl From<GuardKind> for RouteKind {
    fn from(kind: GuardKind) -> Self {
        match kind {
            GuardKind::Blackhole => Self::Blackhole,
            GuardKind::Unreachable => Self::Unreachable,
        }
    }
}

/// The interface of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// It is a loopback interface.
    pub loopback: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// Table, prefix and metric.
    pub key: RouteKey,
    /// Its type.
    pub kind: RouteKind,
    /// Who made it (rtm_protocol).
    pub protocol: u8,
    /// It has a next hop, or several.
    pub gateway: bool,
    /// Its interface; none where it has no use for one, or several next hops.
    pub device: Option<Device>,
}

/// What tells a route from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The table's number.
    pub table: u32,
    /// The destination.
    pub prefix: Prefix,
    /// The metric (RTA_PRIORITY), 0 where there is none.
    pub metric: u32,
}

/// What a rule selects, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleShape {
    /// Every packet.
    Everything,
    /// Packets that this host did not make: `not iif lo`.
    NotLocal,
    /// Anything else.
    Other,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRule {
    /// IPv4 and IPv6 have rules of their own.
    pub family: Family,
    /// Its place: lower ones come first.
    pub preference: u32,
    /// The table that it leads to; absent where it does something else.
    pub table: Option<u32>,
    /// Who made it (FRA_PROTOCOL), 0 where nobody says so.
    pub protocol: u8,
    /// Which packets it is for.
    pub shape: RuleShape,
}

/// What was found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelState {
    /// Rules.
    pub rules: Vec<KernelRule>,
    /// Routes of all tables.
    pub routes: Vec<KernelRoute>,
}

/// A route of ours, to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnRoute {
    /// Table, prefix and metric.
    pub key: RouteKey,
    /// Its type. A route of type local is one of the loopback interface.
    pub kind: RouteKind,
}

/// One thing to be done; it concerns nothing that does not bear [`PROTOCOL`](super::PROTOCOL).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelOp {
    /// A route that is not there; to be refused where its key is taken.
    AddRoute(OwnRoute),
    /// A route of ours of another type is there; it is replaced in one step.
    ReplaceRoute(OwnRoute),
    /// A route of ours is to go.
    DeleteRoute(RouteKey),
    /// The rule `not iif lo` towards our table, with this preference.
    AddRule {
        /// The family.
        family: Family,
        /// The preference.
        preference: u32,
    },
    /// A rule of ours is to go.
    DeleteRule {
        /// The family.
        family: Family,
        /// The preference.
        preference: u32,
    },
}

impl KernelOp {
    /// The family that it is about.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::AddRoute(route) | Self::ReplaceRoute(route) => route.key.prefix.family(),
            Self::DeleteRoute(key) => key.prefix.family(),
            Self::AddRule { family, .. } | Self::DeleteRule { family, .. } => *family,
        }
    }
}
