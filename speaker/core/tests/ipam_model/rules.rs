//! The rules of allocation, said again as simply as can be.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::objects::{Block, IpFamilyPolicy, ObjectKey, Pool, Service, TrafficPolicy};
use speaker_core::inputs::Inputs;
use speaker_core::ipam::SATISFIED;
use speaker_core::pools::PoolEntry;

use crate::objects::space;

pub(crate) fn note<'a>(service: &'a Service, word: &str) -> Option<&'a String> {
    service.annotations.get(&format!("lbipam.cilium.io/{word}"))
}

pub(crate) fn ours(service: &Service) -> bool {
    service.load_balancer
        && service.class.as_deref().is_none_or(|class| class == "io.cilium/bgp-control-plane")
}

pub(crate) fn named(service: &Service) -> Vec<IpAddr> {
    let list =
        note(service, "ips").map(|list| list.split(',').map(|ip| ip.parse().unwrap()).collect::<Vec<_>>());
    let mut list = list.unwrap_or_default();
    let mut seen = BTreeSet::new();
    list.retain(|ip| seen.insert(*ip));
    list
}

pub(crate) fn families(service: &Service) -> Vec<Family> {
    match service.ip_family_policy {
        IpFamilyPolicy::SingleStack => vec![service.ip_families[0]],
        _ => Family::ALL.to_vec(),
    }
}

pub(crate) fn on(entry: &PoolEntry) -> bool {
    entry.conflict.is_none() && !entry.pool.disabled && entry.pool.faults.is_empty()
}

pub(crate) fn picks(entry: &PoolEntry, service: &Service) -> bool {
    let wanted = entry.pool.selector.as_ref().map(|selector| &selector.match_labels["color"]);
    wanted.is_none_or(|color| service.labels.get("color") == Some(color))
}

pub(crate) fn inside(block: &Block, ip: IpAddr) -> bool {
    let (first, last) = block.bounds();
    first.is_ipv4() == ip.is_ipv4() && first <= ip && ip <= last
}

/// An end of a CIDR of more than two addresses in a pool that keeps ends back.
pub(crate) fn kept_back(pool: &Pool, block: &Block, ip: IpAddr) -> bool {
    let (first, last) = block.bounds();
    let more_than_two = space().into_iter().filter(|ip| inside(block, *ip)).count() > 2;
    pool.reserve_first_last && matches!(block, Block::Cidr(_)) && more_than_two && (ip == first || ip == last)
}

pub(crate) fn for_hire(pool: &Pool, ip: IpAddr) -> bool {
    pool.blocks.iter().any(|block| inside(block, ip))
        && !pool.blocks.iter().any(|block| inside(block, ip) && kept_back(pool, block, ip))
}

pub(crate) fn holds(entry: &PoolEntry, ip: IpAddr) -> bool {
    entry.pool.blocks.iter().any(|block| inside(block, ip))
}

pub(crate) fn same_terms(a: &Service, b: &Service) -> bool {
    let terms = |s: &Service| {
        let notes = ["sharing-key", "sharing-cross-namespace"].map(|word| note(s, word).cloned());
        (notes, s.ports.clone(), s.external_traffic_policy, s.selector.clone())
    };
    terms(a) == terms(b)
}

pub(crate) fn go_together(a: &Service, b: &Service) -> bool {
    let key = |s: &Service| note(s, "sharing-key").cloned();
    let crosses = |s: &Service| note(s, "sharing-cross-namespace").is_some();
    key(a).is_some()
        && key(a) == key(b)
        && (a.key.namespace == b.key.namespace || (crosses(a) && crosses(b)))
        && a.ports != b.ports
        && a.external_traffic_policy == b.external_traffic_policy
        && (a.external_traffic_policy == TrafficPolicy::Cluster
            || (!a.selector.is_empty() && a.selector == b.selector))
}

pub(crate) fn says(service: &Service) -> Option<(&str, &str, &str)> {
    let condition = service.conditions.iter().find(|condition| condition.kind == SATISFIED)?;
    Some((&condition.status, &condition.reason, &condition.message))
}

pub(crate) fn was_served(service: &Service) -> bool {
    says(service).is_some_and(|(_, reason, _)| reason != "no_pool")
}

/// Whether the Service may keep the address, others left aside.
pub(crate) fn may_keep(inputs: &Inputs, service: &Service, ip: IpAddr) -> bool {
    let named = named(service);
    let asked =
        if named.is_empty() { families(service).contains(&Family::of(ip)) } else { named.contains(&ip) };
    let in_pool = inputs.pools.iter().any(|entry| holds(entry, ip) && picks(entry, service));
    let lost = !inputs.pools.iter().any(|entry| holds(entry, ip));
    let unreadable = inputs.pools.iter().any(|entry| !entry.pool.faults.is_empty() && picks(entry, service));
    asked && (in_pool || (lost && unreadable))
}

/// Somebody else's, by all that can be known of it.
pub(crate) fn foreign(inputs: &Inputs, service: &Service, held: bool) -> bool {
    service.class.is_none()
        && !held
        && !service.ingress.is_empty()
        && !was_served(service)
        && !inputs.pools.iter().any(|entry| picks(entry, service))
}

pub(crate) fn age(service: &Service) -> (i64, &ObjectKey) {
    (service.created, &service.key)
}
