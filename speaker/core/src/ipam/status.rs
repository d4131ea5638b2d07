//! What is written to the objects.

use std::fmt;
use std::net::IpAddr;

use bgp_proto::types::FamilyMap;
use serde::{Deserialize, Serialize};
use speaker_config::objects::{Condition, ObjectKey, Pool, Service};

use crate::cover::exact_cover;
use crate::danger::{DangerContext, judge};
use crate::span::Count;

/// The condition of a Service.
pub const SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
/// The condition of a pool that overlaps another.
pub const POOL_CONFLICT: &str = "cilium.io/PoolConflict";
/// The condition that holds a pool's number of addresses.
pub const IPS_TOTAL: &str = "cilium.io/IPsTotal";
/// The condition that holds a pool's number of free addresses.
pub const IPS_AVAILABLE: &str = "cilium.io/IPsAvailable";
/// The condition that holds a pool's number of used addresses, reserved ones included.
pub const IPS_USED: &str = "cilium.io/IPsUsed";
/// The condition of a pool with a block, a selector or a priority that cannot be read; there only while it is so. Cilium
/// has no such condition.
pub const INVALID_SPEC: &str = "cilium.io/InvalidSpec";

/// The condition of a pool that holds what nobody may announce: addresses of nodes or the API server, Pod and Service
/// CIDRs, ranges that are never routed; there only while it is so. Cilium has no such condition.
pub const DANGEROUS: &str = "cilium.io/DangerousAddresses";

/// Conditions of a Service that are the allocator's: one that a [`ServiceStatus`] lacks is to be removed.
pub const SERVICE_CONDITIONS: [&str; 1] = [SATISFIED];
/// Conditions of a pool that are the allocator's: one that a [`PoolStatus`] lacks is to be removed.
pub const POOL_CONDITIONS: [&str; 6] =
    [POOL_CONFLICT, IPS_TOTAL, IPS_AVAILABLE, IPS_USED, INVALID_SPEC, DANGEROUS];

/// Why a Service lacks an address: the reason of its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// No pool that may hand out an address serves the Service, or holds the address asked for.
    NoPool,
    /// The pool that holds the address asked for does not select the Service.
    PoolSelectorMismatch,
    /// The address asked for has an owner.
    AlreadyAllocated,
    /// The address asked for has an owner with whom it cannot be shared.
    AlreadyAllocatedIncompatibleService,
    /// Every pool is used up.
    OutOfIps,
}

impl FailureReason {
    /// The word in the condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPool => "no_pool",
            Self::PoolSelectorMismatch => "pool_selector_mismatch",
            Self::AlreadyAllocated => "already_allocated",
            Self::AlreadyAllocatedIncompatibleService => "already_allocated_incompatible_service",
            Self::OutOfIps => "out_of_ips",
        }
    }
}

/// Why a Service lacks an address, word for word as Cilium has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: FailureReason,
    pub(super) message: String,
}

impl Failure {
    fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(super) fn no_pool() -> Self {
        Self::new(
            FailureReason::NoPool,
            "There are no enabled CiliumLoadBalancerIPPools that match this service",
        )
    }

    pub(super) fn out_of_ips() -> Self {
        Self::new(
            FailureReason::OutOfIps,
            "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs",
        )
    }

    pub(super) fn no_pool_for(ip: IpAddr) -> Self {
        Self::new(FailureReason::NoPool, format!("No pool exists with a CIDR containing '{ip}'"))
    }

    pub(super) fn mismatch(ip: IpAddr) -> Self {
        let message = format!("The pool with the CIDR containing '{ip}', doesn't select this service");
        Self::new(FailureReason::PoolSelectorMismatch, message)
    }

    pub(super) fn taken(ip: IpAddr) -> Self {
        let message = format!("The IP '{ip}' is already allocated to another service");
        Self::new(FailureReason::AlreadyAllocated, message)
    }

    pub(super) fn incompatible(ip: IpAddr, why: &str) -> Self {
        let message = format!("The IP '{ip}' is already allocated to an incompatible service. Reason: {why}");
        Self::new(FailureReason::AlreadyAllocatedIncompatibleService, message)
    }
}

pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str, generation: i64) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        since: 0,
    }
}

/// The Service's condition.
pub(super) fn satisfied(service: &Service, failure: Option<&Failure>) -> Condition {
    match failure {
        None => condition(SATISFIED, "True", "satisfied", "", service.generation),
        Some(Failure { reason, message }) => {
            condition(SATISFIED, "False", reason.as_str(), message, service.generation)
        }
    }
}

/// The Service's condition as it is recorded.
pub(super) fn recorded(service: &Service) -> Option<&Condition> {
    service.conditions.iter().find(|condition| condition.kind == SATISFIED)
}

/// The status of a Service that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The Service.
    pub key: ObjectKey,
    /// The whole of `status.loadBalancer.ingress`, addresses only.
    pub ingress: Vec<IpAddr>,
    /// All of [`SERVICE_CONDITIONS`] that it is to have.
    pub conditions: Vec<Condition>,
}

impl ServiceStatus {
    /// Makes the Service's status what is said here, other conditions kept.
    pub fn apply(&self, service: &mut Service) {
        if service.ingress != self.ingress {
            service.ingress.clone_from(&self.ingress);
            service.ingress_ours = true;
        }
        service.conditions.retain(|condition| !SERVICE_CONDITIONS.contains(&&*condition.kind));
        service.conditions.extend(self.conditions.iter().cloned());
    }

    /// Whether the Service's status is that already.
    pub(super) fn is_recorded(&self, service: &Service) -> bool {
        service.ingress == self.ingress
            && same_conditions(&self.conditions, &service.conditions, &SERVICE_CONDITIONS)
    }
}

fn same_conditions(wanted: &[Condition], recorded: &[Condition], kinds: &[&str]) -> bool {
    let ours = || recorded.iter().filter(|condition| kinds.contains(&&*condition.kind));
    ours().count() == wanted.len()
        && wanted.iter().all(|condition| ours().any(|other| other.says_the_same(condition)))
}

/// The status of a pool that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// The pool.
    pub name: String,
    /// All of [`POOL_CONDITIONS`] that it is to have.
    pub conditions: Vec<Condition>,
    /// Addresses in all.
    pub total: FamilyMap<Count>,
    /// Addresses handed out or reserved.
    pub used: FamilyMap<Count>,
    /// Addresses left.
    pub available: FamilyMap<Count>,
}

impl PoolStatus {
    /// Makes the pool's status what is said here, other conditions kept.
    pub fn apply(&self, pool: &mut Pool) {
        pool.conditions.retain(|condition| !POOL_CONDITIONS.contains(&&*condition.kind));
        pool.conditions.extend(self.conditions.iter().cloned());
    }

    /// Whether the pool's status is that already.
    pub(super) fn is_recorded(&self, pool: &Pool) -> bool {
        same_conditions(&self.conditions, &pool.conditions, &POOL_CONDITIONS)
    }

    /// `danger`: what [`dangers`] found.
    pub(super) fn of(entry: &crate::pools::PoolEntry, used: FamilyMap<u64>, danger: Option<&str>) -> Self {
        let pool = &entry.pool;
        let total = FamilyMap::from_fn(|family| entry.size(family));
        let used = FamilyMap::from_fn(|family| Count::from(u128::from(*used.get(family))));
        let available = FamilyMap::from_fn(|family| total.get(family).saturating_sub(*used.get(family)));
        let count = |kind: &str, counts: FamilyMap<Count>| {
            let sum: Count = counts.iter().map(|(_, count)| *count).sum();
            condition(kind, "Unknown", "noreason", &sum.to_string(), pool.generation)
        };
        let conflict = match &entry.conflict {
            Some(conflict) => {
                condition(POOL_CONFLICT, "True", "cidr_overlap", &conflict.to_string(), pool.generation)
            }
            None => condition(POOL_CONFLICT, "False", "resolved", "", pool.generation),
        };
        let mut conditions =
            vec![conflict, count(IPS_TOTAL, total), count(IPS_AVAILABLE, available), count(IPS_USED, used)];
        if !pool.faults.is_empty() {
            let message =
                format!("{}: no new address is handed out until it is mended", pool.faults.join("; "));
            conditions.push(condition(INVALID_SPEC, "True", "invalid_spec", &message, pool.generation));
        } else if let Err(why) = crate::pools::priority(pool) {
            conditions.push(condition(INVALID_SPEC, "True", "invalid_priority", &why, pool.generation));
        }
        if let Some(danger) = danger {
            conditions.push(condition(DANGEROUS, "True", "dangerous_addresses", danger, pool.generation));
        }
        Self { name: pool.name.clone(), conditions, total, used, available }
    }
}

/// What is recorded of a pool's dangers.
pub(super) fn recorded_danger(pool: &Pool) -> Option<&str> {
    let found = pool.conditions.iter().find(|condition| condition.kind == DANGEROUS);
    found.map(|condition| condition.message.as_str())
}

/// How many dangerous prefixes of a pool are told one by one.
const TOLD: usize = 3;

/// What of a pool nobody may announce without leave, in words.
pub(super) fn dangers(pool: &Pool, own: &DangerContext) -> Option<String> {
    let pieces = exact_cover(pool.blocks.iter().map(|block| block.bounds()));
    let mut found = pieces.into_iter().filter_map(|piece| Some((piece, judge(piece, own)?)));
    let told: Vec<String> =
        found.by_ref().take(TOLD).map(|(piece, reason)| format!("{piece}: {reason}")).collect();
    let more = found.count();
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    (!told.is_empty()).then(|| {
        format!(
            "{}{more}. No agent announces it, unless `allow` of an advertisement covers it",
            told.join("; ")
        )
    })
}

/// The reason of a Kubernetes Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventReason {
    /// A Service was given an address.
    #[serde(rename = "IPAllocated")]
    Allocated,
    /// A Service lacks an address.
    #[serde(rename = "IPAllocationFailed")]
    AllocationFailed,
    /// An address was taken back.
    #[serde(rename = "IPReleased")]
    Released,
    /// Nodes that a Service selects give it no address (Node IPAM).
    #[serde(rename = "NodesLeftOut")]
    NodesLeftOut,
}

impl EventReason {
    /// Whether the Event is of type `Warning`, not `Normal`.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        matches!(self, Self::AllocationFailed)
    }
}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allocated => "IPAllocated",
            Self::AllocationFailed => "IPAllocationFailed",
            Self::Released => "IPReleased",
            Self::NodesLeftOut => "NodesLeftOut",
        })
    }
}

/// A Kubernetes Event about a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamEvent {
    /// The Service, which may be gone.
    pub service: ObjectKey,
    /// What happened.
    pub reason: EventReason,
    /// The text.
    pub note: String,
}
