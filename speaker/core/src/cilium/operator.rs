//! The operator's half: which node has which BGP routers, and what is wrong with the objects that say so.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::types::Prefix;
use speaker_config::crd::node_config::v2::CiliumBGPNodeConfig;
use speaker_config::kubernetes::written_node_config;
use speaker_config::objects::{
    BgpClusterConfig, BgpInstance, BgpInstanceOverride, BgpNodeConfig, BgpPeerConfig, Condition, Node, Owner,
    PeerPlace, Selection,
};

use super::router_ids::RouterIds;
use crate::inputs::{BgpObjects, Inputs};
use crate::ipam::{INVALID_SPEC, condition};

/// The kind that owns CiliumBGPNodeConfigs.
pub const CLUSTER_CONFIG: &str = "CiliumBGPClusterConfig";
/// The condition of a CiliumBGPClusterConfig that selects no node.
pub const NO_MATCHING_NODE: &str = "cilium.io/NoMatchingNode";
/// The condition of a CiliumBGPClusterConfig with a peer whose CiliumBGPPeerConfig is not there.
pub const MISSING_PEER_CONFIGS: &str = "cilium.io/MissingPeerConfigs";
/// The condition of a CiliumBGPClusterConfig that selects a node which another one has.
pub const CONFLICTING_CLUSTER_CONFIG: &str = "cilium.io/ConflictingClusterConfig";
/// The condition of a CiliumBGPPeerConfig whose Secret is not there.
pub const MISSING_AUTH_SECRET: &str = "cilium.io/MissingAuthSecret";
/// The condition of an object with fields that have no effect; there only while it has some. Cilium has no
/// such condition.
pub const WITHOUT_EFFECT: &str = "cilium.io/FieldsWithoutEffect";

/// Conditions of a CiliumBGPClusterConfig that are the operator's: one that [`Plan`] lacks is to be removed.
pub const CLUSTER_CONFIG_CONDITIONS: [&str; 5] =
    [NO_MATCHING_NODE, MISSING_PEER_CONFIGS, CONFLICTING_CLUSTER_CONFIG, INVALID_SPEC, WITHOUT_EFFECT];
/// Conditions of a CiliumBGPPeerConfig that are the operator's: one that [`Plan`] lacks is to be removed.
pub const PEER_CONFIG_CONDITIONS: [&str; 3] = [MISSING_AUTH_SECRET, INVALID_SPEC, WITHOUT_EFFECT];

/// A CiliumBGPNodeConfig that is to be created, or to be brought to this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfigWrite {
    /// The node, after which it is named.
    pub node: String,
    /// The CiliumBGPClusterConfig.
    pub owner: Owner,
    /// `spec.bgpInstances`.
    pub instances: Vec<BgpInstance>,
}

impl NodeConfigWrite {
    /// The object for the API server, with its owner reference.
    #[must_use]
    pub fn object(&self) -> CiliumBGPNodeConfig {
        written_node_config(&self.node, &self.owner, &self.instances)
    }

    /// The same as JSON.
    pub(crate) fn object_json(&self) -> serde_json::Value {
        // Strings, numbers and lists of them: nothing that JSON could refuse.
        serde_json::to_value(self.object()).unwrap_or_default()
    }
}

/// What the operator is to write. What already stands there is left out, but for conditions, which the
/// writer compares ([`Condition::says_the_same`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// CiliumBGPNodeConfigs to create or change.
    pub write: Vec<NodeConfigWrite>,
    /// CiliumBGPNodeConfigs to delete, by name: nobody selects their node any more.
    pub delete: BTreeSet<String>,
    /// The conditions of every CiliumBGPClusterConfig, by name.
    pub cluster_configs: BTreeMap<String, Vec<Condition>>,
    /// The conditions of every CiliumBGPPeerConfig, by name.
    pub peer_configs: BTreeMap<String, Vec<Condition>>,
}

/// What becomes of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict<'a> {
    /// No CiliumBGPClusterConfig selects it.
    Unselected,
    /// What it has stays as it is: the objects that decide cannot be read.
    Frozen,
    /// This one has it.
    Owned(&'a BgpClusterConfig),
    /// Its CiliumBGPNodeConfig is somebody else's.
    Foreign,
}

/// Everything that the operator has to write about BGP.
///
/// `secrets` are those of which it is known whether they are there, by name: of others nothing new is said. `pool`: what
/// router IDs come from (`ciliumBGP.routerIdPool`).
#[must_use]
pub fn plan(inputs: &Inputs, secrets: &BTreeMap<String, bool>, pool: Option<Prefix>) -> Plan {
    let bgp = &inputs.bgp;
    let mut plan = Plan::default();
    let ids = pool.map(|pool| router_ids(pool, inputs)).unwrap_or_default();
    let mut conflicts: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut matched: BTreeSet<&str> = BTreeSet::new();
    let mut unreadable: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in inputs.nodes.values().filter(|node| !node.deleting) {
        let verdict = verdict(node, bgp);
        let labels = node.selectable_labels();
        let selecting = bgp.cluster_configs.values().filter(|one| one.nodes.matches(&labels));
        for config in selecting {
            matched.insert(&config.name);
            let other = match &verdict {
                Verdict::Owned(owner) if owner.name != config.name => owner.name.clone(),
                Verdict::Foreign => format!("CiliumBGPNodeConfig/{}", node.name),
                _ => continue,
            };
            conflicts.entry(&config.name).or_default().insert(other);
        }
        match verdict {
            Verdict::Owned(config) => {
                plan.write.extend(write(node, config, bgp, &ids));
                let lacking = config.instances.iter().filter_map(|one| ids.of(&node.name, &one.name)?.err());
                let lacking = lacking.map(|why| format!("node {}: {why}", node.name));
                unreadable.entry(&config.name).or_default().extend(lacking);
                let faults = bgp.overrides.get(&node.name).into_iter().flat_map(|one| &one.faults);
                let faults =
                    faults.map(|fault| format!("CiliumBGPNodeConfigOverride {}: {fault}", node.name));
                unreadable.entry(&config.name).or_default().extend(faults);
            }
            Verdict::Unselected => {
                let owned = owned(node, bgp).filter(|config| !config.deleting);
                plan.delete.extend(owned.map(|config| config.name.clone()));
            }
            Verdict::Frozen | Verdict::Foreign => {}
        }
    }
    let gone = bgp.node_configs.values().filter(|config| !inputs.nodes.contains_key(&config.name));
    let gone = gone.filter(|config| is_ours(config) && !config.deleting);
    plan.delete.extend(gone.map(|config| config.name.clone()));
    for (name, config) in &bgp.cluster_configs {
        let conflicts = conflicts.remove(name.as_str()).unwrap_or_default();
        let mut conditions = cluster_conditions(config, bgp, matched.contains(name.as_str()), &conflicts);
        let mut faults = config.faults.clone();
        faults.extend(unreadable.remove(name.as_str()).unwrap_or_default());
        conditions.extend(findings(&faults, &config.notes, config.generation));
        plan.cluster_configs.insert(name.clone(), conditions);
    }
    for (name, config) in &bgp.peer_configs {
        plan.peer_configs.insert(name.clone(), peer_conditions(config, secrets));
    }
    plan
}

/// What the operator would write into the CiliumBGPNodeConfig of `node`, whatever stands there: for an agent
/// without an operator. `None` where no CiliumBGPClusterConfig has the node, or what decides cannot be read.
#[must_use]
pub fn instances_of(node: &Node, bgp: &BgpObjects) -> Option<(String, Vec<BgpInstance>)> {
    match verdict(node, bgp) {
        Verdict::Owned(config) => {
            Some((config.name.clone(), instances(node, config, bgp, &RouterIds::default())?))
        }
        _ => None,
    }
}

fn is_ours(config: &BgpNodeConfig) -> bool {
    config.owner.as_ref().is_some_and(|owner| owner.kind == CLUSTER_CONFIG)
}

/// The node's CiliumBGPNodeConfig where a CiliumBGPClusterConfig owns it.
fn owned<'a>(node: &Node, bgp: &'a BgpObjects) -> Option<&'a BgpNodeConfig> {
    bgp.node_configs.get(&node.name).filter(|config| is_ours(config))
}

/// The first owner keeps a node for as long as it selects it; then the eldest that selects it has it.
fn verdict<'a>(node: &Node, bgp: &'a BgpObjects) -> Verdict<'a> {
    let labels = node.selectable_labels();
    let selects = |config: &&BgpClusterConfig| config.nodes.matches(&labels);
    let present = bgp.node_configs.get(&node.name);
    if present.is_some_and(|config| !is_ours(config)) {
        return Verdict::Foreign;
    }
    let owner = present.and_then(|config| config.owner.as_ref());
    let owner = owner.and_then(|owner| {
        let config = bgp.cluster_configs.get(&owner.name)?;
        // A namesake that came after the owner was deleted is another one.
        (config.uid.is_empty() || config.uid == owner.uid).then_some(config)
    });
    match owner {
        Some(config) if config.nodes == Selection::Unreadable => return Verdict::Frozen,
        Some(config) if selects(&config) => return Verdict::Owned(config),
        _ => {}
    }
    let eldest = bgp.cluster_configs.values().filter(selects).min_by_key(|one| (one.created, &one.name));
    eldest.map_or(Verdict::Unselected, Verdict::Owned)
}

/// `None` where it already stands there, cannot be told, or has to wait until what is there is gone.
fn write(
    node: &Node,
    config: &BgpClusterConfig,
    bgp: &BgpObjects,
    ids: &RouterIds,
) -> Option<NodeConfigWrite> {
    let instances = instances(node, config, bgp, ids)?;
    let owner = Owner { kind: CLUSTER_CONFIG.to_owned(), name: config.name.clone(), uid: config.uid.clone() };
    let stands = bgp.node_configs.get(&node.name).is_some_and(|present| {
        let same = present.instances == instances && present.owner.as_ref() == Some(&owner);
        present.deleting || (same && present.faults.is_empty())
    });
    (!stands).then(|| NodeConfigWrite { node: node.name.clone(), owner, instances })
}

/// The cluster's instances with the node's override over them, and router IDs of a pool. `None` where the override cannot
/// be read, where nothing of the cluster's instances can, or where the pool has no router ID for one.
fn instances(
    node: &Node,
    config: &BgpClusterConfig,
    bgp: &BgpObjects,
    ids: &RouterIds,
) -> Option<Vec<BgpInstance>> {
    let overriding = bgp.overrides.get(&node.name);
    if config.instances.is_empty() || overriding.is_some_and(|one| !one.faults.is_empty()) {
        return None;
    }
    let all = config.instances.iter().map(|instance| {
        let other = overriding.and_then(|one| one.instances.iter().find(|other| other.name == instance.name));
        let mut new = other.map_or_else(|| instance.clone(), |other| overridden(instance, other));
        if let Some(given) = ids.of(&node.name, &instance.name) {
            new.router_id = Some(given.ok()?);
        }
        Some(new)
    });
    all.collect()
}

/// Router IDs for every node that a CiliumBGPClusterConfig has.
fn router_ids(pool: Prefix, inputs: &Inputs) -> RouterIds {
    let nodes = inputs.nodes.values().filter(|node| !node.deleting);
    let owned = nodes.filter_map(|node| match verdict(node, &inputs.bgp) {
        Verdict::Owned(config) => Some((node, config)),
        _ => None,
    });
    RouterIds::new(pool, &owned.collect::<Vec<_>>(), &inputs.bgp)
}

fn overridden(instance: &BgpInstance, other: &BgpInstanceOverride) -> BgpInstance {
    let mut new = instance.clone();
    new.router_id = other.router_id.or(new.router_id);
    new.local_port = other.local_port.or(new.local_port);
    new.local_asn = other.local_asn.or(new.local_asn);
    for peer in &mut new.peers {
        let Some(other) = other.peers.iter().find(|other| other.name == peer.name) else { continue };
        peer.local_address = other.local_address.or(peer.local_address);
        // Of a peer that is somewhere on a link, which link that is on this node.
        if let PeerPlace::Address { zone: Some(link), .. } | PeerPlace::Interface(link) = &mut peer.place
            && let Some(interface) = &other.interface
        {
            link.clone_from(interface);
        }
    }
    new
}

fn cluster_conditions(
    config: &BgpClusterConfig,
    bgp: &BgpObjects,
    matched: bool,
    conflicts: &BTreeSet<String>,
) -> Vec<Condition> {
    let named =
        config.instances.iter().flat_map(|one| &one.peers).filter_map(|peer| peer.peer_config.as_ref());
    let missing: BTreeSet<String> =
        named.filter(|name| !bgp.peer_configs.contains_key(*name)).cloned().collect();
    let one = |kind: &str, holds: bool, reason: &str, message: &str| {
        condition(kind, if holds { "True" } else { "False" }, reason, message, config.generation)
    };
    let told = |what: &str, names: &BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() { String::new() } else { format!("{what}: [{}]", names.join(" ")) }
    };
    vec![
        one(NO_MATCHING_NODE, !matched, "NoMatchingNode", "No node matches spec.nodeSelector"),
        one(
            MISSING_PEER_CONFIGS,
            !missing.is_empty(),
            "MissingPeerConfigs",
            &told("Referenced CiliumBGPPeerConfig(s) are missing", &missing),
        ),
        one(
            CONFLICTING_CLUSTER_CONFIG,
            !conflicts.is_empty(),
            "ConflictingClusterConfigs",
            &told("Selecting the same node(s) with ClusterConfig(s)", conflicts),
        ),
    ]
}

fn peer_conditions(config: &BgpPeerConfig, secrets: &BTreeMap<String, bool>) -> Vec<Condition> {
    let told = |missing: Option<&String>| {
        let message = missing.map(|name| format!("Referenced Auth Secret {name:?} is missing"));
        let status = if missing.is_some() { "True" } else { "False" };
        let message = message.unwrap_or_default();
        condition(MISSING_AUTH_SECRET, status, "MissingAuthSecret", &message, config.generation)
    };
    let recorded = || config.conditions.iter().find(|one| one.kind == MISSING_AUTH_SECRET).cloned();
    let secret = match config.auth_secret.as_ref().map(|name| (name, secrets.get(name))) {
        None | Some((_, Some(true))) => Some(told(None)),
        Some((name, Some(false))) => Some(told(Some(name))),
        Some((_, None)) => recorded(),
    };
    secret.into_iter().chain(findings(&config.faults, &config.notes, config.generation)).collect()
}

/// Conditions for what cannot be read and for what has no effect.
fn findings(faults: &[String], notes: &[String], generation: i64) -> impl Iterator<Item = Condition> {
    let told = |kind: &str, reason: &str, texts: &[String]| {
        (!texts.is_empty()).then(|| condition(kind, "True", reason, &texts.join("; "), generation))
    };
    let faults = told(INVALID_SPEC, "invalid_spec", faults);
    faults.into_iter().chain(told(WITHOUT_EFFECT, "no_effect", notes))
}

#[cfg(test)]
mod tests;
