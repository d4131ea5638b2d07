//! BGP identifiers from a pool: one for each instance of a node (Cilium's `routerIDAllocation.mode: ip-pool`).
//!
//! What a CiliumBGPNodeConfig has is kept, over a restart too, since that object is where it is recorded. An override
//! within the pool takes its identifier where that is free; one outside of it is free-form.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bgp_proto::types::{Prefix, RouterId};
use speaker_config::objects::{BgpClusterConfig, BgpNodeConfig, Node};

use crate::inputs::BgpObjects;

/// A node and one of its instances.
type Place = (String, String);

/// Who has which identifier.
#[derive(Debug, Clone, Default)]
pub(super) struct RouterIds {
    holders: BTreeMap<Ipv4Addr, Place>,
    given: BTreeMap<Place, RouterId>,
    /// Why a place has none.
    faults: BTreeMap<Place, String>,
}

impl RouterIds {
    /// Gives identifiers to the instances of nodes, each with the CiliumBGPClusterConfig that has it.
    pub(super) fn new(pool: Prefix, nodes: &[(&Node, &BgpClusterConfig)], bgp: &BgpObjects) -> Self {
        let mut ids = Self::default();
        let owned: BTreeMap<&str, &BgpClusterConfig> =
            nodes.iter().map(|(node, config)| (node.name.as_str(), *config)).collect();
        for config in bgp.node_configs.values() {
            ids.restore(pool, config, owned.contains_key(config.name.as_str()), bgp);
        }
        let places: Vec<Place> = owned
            .iter()
            .flat_map(|(node, config)| {
                config.instances.iter().map(|one| ((*node).to_owned(), one.name.clone()))
            })
            .collect();
        for place in &places {
            ids.take_override(pool, place, bgp);
        }
        let mut free = hosts(pool);
        for place in places {
            if ids.given.contains_key(&place) || ids.faults.contains_key(&place) {
                continue;
            }
            match free.find_map(|id| RouterId::new(id).filter(|_| !ids.holders.contains_key(&id))) {
                Some(id) => ids.give(Ipv4Addr::from(id), place),
                None => {
                    let why = format!("no router ID is left in {pool} (ciliumBGP.routerIdPool)");
                    ids.faults.insert(place, why);
                }
            }
        }
        ids
    }

    /// What an instance is to have, or why it has none. `None`: the pool has nothing to do with it.
    pub(super) fn of(&self, node: &str, instance: &str) -> Option<Result<RouterId, &str>> {
        let place = (node.to_owned(), instance.to_owned());
        let given = self.given.get(&place).map(|id| Ok(*id));
        given.or_else(|| self.faults.get(&place).map(|why| Err(why.as_str())))
    }

    fn give(&mut self, id: Ipv4Addr, place: Place) {
        if let Some(router_id) = RouterId::new(id) {
            self.holders.insert(id, place.clone());
            self.given.insert(place, router_id);
        }
    }

    /// Keeps what is written down, unless an override says something else.
    fn restore(&mut self, pool: Prefix, config: &BgpNodeConfig, ours: bool, bgp: &BgpObjects) {
        for instance in &config.instances {
            let Some(id) = instance.router_id.map(Ipv4Addr::from) else { continue };
            let wanted = overriding(&config.name, &instance.name, bgp).is_none_or(|other| other == id);
            if pool.contains(IpAddr::V4(id)) && !self.holders.contains_key(&id) {
                let place = (config.name.clone(), instance.name.clone());
                if ours && wanted {
                    self.give(id, place);
                } else {
                    // Not free before it is written over.
                    self.holders.insert(id, place);
                }
            }
        }
    }

    fn take_override(&mut self, pool: Prefix, place: &Place, bgp: &BgpObjects) {
        let (node, instance) = place;
        let Some(id) = overriding(node, instance, bgp) else { return };
        match self.holders.get(&id) {
            Some(holder) if pool.contains(IpAddr::V4(id)) && holder != place => {
                let (other, instance) = holder;
                let why = format!(
                    "CiliumBGPNodeConfigOverride {node}: routerID {id} belongs to instance {instance} of node {other}; \
                     write one that is free, or one outside of {pool}"
                );
                self.faults.insert(place.clone(), why);
            }
            _ => self.give(id, place.clone()),
        }
    }
}

/// The identifier that the node's override gives to an instance.
fn overriding(node: &str, instance: &str, bgp: &BgpObjects) -> Option<Ipv4Addr> {
    let instances = &bgp.overrides.get(node)?.instances;
    instances.iter().find(|one| one.name == instance)?.router_id.map(Ipv4Addr::from)
}

/// The addresses of a pool, lowest first.
fn hosts(pool: Prefix) -> impl Iterator<Item = Ipv4Addr> {
    let bits = |addr| match addr {
        IpAddr::V4(v4) => Some(u32::from(v4)),
        IpAddr::V6(_) => None,
    };
    let range = bits(pool.addr()).zip(bits(pool.last()));
    range.into_iter().flat_map(|(first, last)| first..=last).map(Ipv4Addr::from)
}
