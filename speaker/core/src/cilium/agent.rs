//! The agent's half: from a node's CiliumBGPNodeConfig, and what it names, to peers and advertisements.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, Prefix, RouterId};
use speaker_config::model::{
    AddressKinds, Advertisement, Authentication, BmpCollector, CiliumBgp, Learn, PasswordSource, Peer,
    PeerAddress, PeerSettings, Receive, RouteAttributes, ServiceGate, ServiceRoutes, ServiceRoutesWhich, Ttl,
};
use speaker_config::objects::{
    AddressKind, Advertised, BgpAdvertisement, BgpAdvertisementEntry, BgpInstance, BgpPeer, BgpPeerConfig,
    Node, ObjectKey, PeerPlace, Selection,
};

use super::operator::instances_of;
use crate::inputs::Inputs;
use crate::world::Host;

mod belongings;
mod stations;

/// The key in such a Secret.
const PASSWORD: &str = "password";
/// As for peers of `speaker.yaml`.
const MAX_PREFIXES: u32 = 10_000;

/// What the agent's half reads.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// This node's name.
    pub node: &'a str,
    /// The objects.
    pub inputs: &'a Inputs,
    /// What this host lives on.
    pub host: &'a Host,
    /// The one namespace of Secrets with TCP MD5 keys.
    pub secrets: &'a str,
    /// What Cilium's kinds cannot say.
    pub settings: &'a CiliumBgp,
}

/// A peer of a CiliumBGPNodeConfig.
#[derive(Debug, Clone, PartialEq)]
pub struct CiliumPeer {
    /// The peer, named after its instance and itself (`main/tor-a`).
    pub peer: Peer,
    /// `bgpInstances[].name`.
    pub instance: String,
    /// `peers[].name`.
    pub name: String,
    /// The instance's BGP identifier; absent for the node's own.
    pub router_id: Option<RouterId>,
    /// Why it must not come up.
    pub refused: Option<String>,
}

/// One of `bgpInstances`, as far as its status tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `name`.
    pub name: String,
    /// `localASN`.
    pub local_asn: Option<Asn>,
}

/// What Cilium's BGP kinds come to on this node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The instances, in their order.
    pub instances: Vec<Instance>,
    /// Their peers, in their order.
    pub peers: Vec<CiliumPeer>,
    /// What they are told.
    pub advertisements: Vec<Advertisement>,
    /// The monitoring stations of the instances.
    pub stations: Vec<BmpCollector>,
    /// The ports that the instances listen on.
    pub ports: BTreeSet<u16>,
    /// What stands in the way, each with the instance or the object before it.
    pub errors: Vec<String>,
    /// What has no effect, each with the object before it.
    pub notes: Vec<String>,
}

/// What Cilium's BGP kinds come to on this node.
#[must_use]
pub fn outcome(sight: Sight<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let bgp = &sight.inputs.bgp;
    let nameless = Node { name: sight.node.to_owned(), ..Node::default() };
    let node = sight.inputs.nodes.get(sight.node).unwrap_or(&nameless);
    let instances = match bgp.node_configs.get(sight.node) {
        Some(config) => {
            let of = |text: &String| format!("CiliumBGPNodeConfig {}: {text}", config.name);
            outcome.errors.extend(config.faults.iter().map(of));
            outcome.notes.extend(config.notes.iter().map(of));
            config.instances.clone()
        }
        // Nobody has written one: it is derived here, from the same objects by the same rules.
        None => derived(node, sight, &mut outcome),
    };
    let mut told: BTreeMap<&str, FamilyMap<BTreeSet<String>>> = BTreeMap::new();
    for instance in &instances {
        outcome.instances.push(Instance { name: instance.name.clone(), local_asn: instance.local_asn });
        outcome.ports.extend(instance.local_port);
        outcome.stations.extend(stations::of(instance));
        let Some(asn) = instance.local_asn else {
            outcome.errors.push(format!("{}: localASN is missing; write one", instance.name));
            continue;
        };
        for peer in &instance.peers {
            if sight.host.unknown && matches!(peer.place, PeerPlace::DefaultGateway(_)) {
                continue;
            }
            match one_peer(instance, peer, asn, sight) {
                Err(error) => outcome.errors.push(format!("{}: peer {}: {error}", instance.name, peer.name)),
                Ok((built, config)) => {
                    if let Some(refused) = &built.refused {
                        outcome.errors.push(format!("{}: peer {}: {refused}", instance.name, peer.name));
                    }
                    let of = |text: &String| format!("CiliumBGPPeerConfig {}: {text}", config.name);
                    outcome.notes.extend(config.notes.iter().map(of));
                    select(&built.peer.name, &config, sight, &mut told);
                    outcome.peers.push(built);
                }
            }
        }
    }
    for (name, peers) in told {
        if let Some(advertisement) = bgp.advertisements.get(name) {
            let of = |text: &String| format!("CiliumBGPAdvertisement {name}: {text}");
            outcome.errors.extend(advertisement.faults.iter().map(of));
            outcome.notes.extend(advertisement.notes.iter().map(of));
            for entry in &advertisement.entries {
                advertise(advertisement, entry, &peers, node, sight, &mut outcome);
            }
        }
    }
    refuse_namesakes(&mut outcome);
    outcome
}

/// Both halves: the instances that the operator would write down.
fn derived(node: &Node, sight: Sight<'_>, outcome: &mut Outcome) -> Vec<BgpInstance> {
    let bgp = &sight.inputs.bgp;
    for config in bgp.cluster_configs.values() {
        let of = |text: &String| format!("CiliumBGPClusterConfig {}: {text}", config.name);
        outcome.errors.extend(config.faults.iter().map(of));
        outcome.notes.extend(config.notes.iter().map(of));
    }
    if let Some(overriding) = bgp.overrides.get(&node.name) {
        let of = |text: &String| format!("CiliumBGPNodeConfigOverride {}: {text}", overriding.name);
        outcome.errors.extend(overriding.faults.iter().map(of));
        outcome.notes.extend(overriding.notes.iter().map(of));
    }
    let Some((owner, instances)) = instances_of(node, bgp) else { return Vec::new() };
    if sight.settings.router_id_pool.is_some() {
        outcome.errors.push(format!(
            "CiliumBGPClusterConfig {owner}: this node waits for its CiliumBGPNodeConfig, in which the operator writes \
             the router ID that it takes from ciliumBGP.routerIdPool"
        ));
        return Vec::new();
    }
    let selects = |name: &&String| {
        **name != owner
            && bgp.cluster_configs.get(*name).is_some_and(|one| one.nodes.matches(&node.selectable_labels()))
    };
    let others: Vec<&str> = bgp.cluster_configs.keys().filter(selects).map(String::as_str).collect();
    if !others.is_empty() {
        outcome.errors.push(format!(
            "CiliumBGPClusterConfig {owner} has this node; {} selects it too and has no effect here",
            others.join(", ")
        ));
    }
    instances
}

/// The settings of a peer.
///
/// # Errors
/// Why it is left out.
fn one_peer(
    instance: &BgpInstance,
    peer: &BgpPeer,
    asn: Asn,
    sight: Sight<'_>,
) -> Result<(CiliumPeer, BgpPeerConfig), String> {
    let config = match &peer.peer_config {
        None => BgpPeerConfig::defaults(""),
        Some(name) => match sight.inputs.bgp.peer_configs.get(name) {
            Some(config) => config.clone(),
            None => return Err(format!("CiliumBGPPeerConfig {name} is missing")),
        },
    };
    let address = match &peer.place {
        PeerPlace::Address { address, zone } => {
            PeerAddress::Address { address: *address, zone: zone.clone() }
        }
        PeerPlace::Interface(interface) => PeerAddress::Interface(interface.clone()),
        PeerPlace::DefaultGateway(family) => match sight.host.default_gateways.get(*family) {
            // A link-local gateway may be another one on each link.
            Some(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
                return Err(format!("the default gateway {v6} is link-local; write peerAddress"));
            }
            Some(gateway) => PeerAddress::Address { address: *gateway, zone: None },
            None => return Err(format!("this node has no default gateway for {family}")),
        },
    };
    if let (PeerAddress::Address { address, .. }, Some(local)) = (&address, peer.local_address)
        && Family::of(*address) != Family::of(local)
    {
        return Err(format!("localAddress {local} is not of the family of {address}"));
    }
    let refused = refusal(&config, sight);
    let name = format!("{}/{}", instance.name, peer.name);
    let mut settings = settings(peer, &config, asn);
    if stations::of(instance).any(|station| station.adj_rib_in) {
        // What a station is told must be kept.
        settings.receive = Receive::All;
    }
    let peer_config = peer.peer_config.as_ref();
    let built = CiliumPeer {
        peer: Peer {
            name,
            group: peer_config.map(|config| format!("CiliumBGPPeerConfig {config}")),
            description: None,
            address,
            settings,
        },
        instance: instance.name.clone(),
        name: peer.name.clone(),
        router_id: instance.router_id,
        refused,
    };
    Ok((built, config))
}

/// Why no peer of this configuration may come up: "MD5 fails closed" (design §5).
fn refusal(config: &BgpPeerConfig, sight: Sight<'_>) -> Option<String> {
    if !config.faults.is_empty() {
        return Some(format!("CiliumBGPPeerConfig {}: {}", config.name, config.faults.join("; ")));
    }
    let key = ObjectKey::new(sight.secrets, config.auth_secret.clone()?);
    match sight.inputs.secrets.get(&key) {
        None => Some(format!("Secret {key} is missing; without its key there is no session")),
        Some(secret) if !secret.data.contains_key(PASSWORD) => {
            Some(format!("Secret {key} has no key {PASSWORD:?}; without it there is no session"))
        }
        Some(_) => None,
    }
}

fn settings(peer: &BgpPeer, config: &BgpPeerConfig, asn: Asn) -> PeerSettings {
    let secret = |name: &String| {
        Authentication::Md5(PasswordSource::Secret { name: name.clone(), key: PASSWORD.to_owned() })
    };
    PeerSettings {
        asn: peer.asn.map_or(PeerAsn::Any, PeerAsn::Exact),
        local_asn: Some(asn),
        families: config.families.iter().map(|family| family.family).collect(),
        hold: config.hold,
        keepalive: Some(Duration::from_secs(config.keepalive.into())),
        send_hold: None,
        connect_retry: Duration::from_secs(config.connect_retry.into()),
        authentication: config.auth_secret.as_ref().map(secret),
        // An internal peer is reached at any distance.
        ttl: if config.multihop > 1 && peer.asn != Some(asn) {
            Ttl::Multihop(config.multihop)
        } else {
            Ttl::Direct
        },
        port: config.port,
        passive: false,
        local_address: peer.local_address,
        source_interface: config.source_interface.clone(),
        next_hop_ipv4: None,
        next_hop_ipv6: None,
        bfd: None,
        graceful_restart: config.graceful_restart,
        long_lived_restart: None,
        receive: Receive::Count,
        max_prefixes: FamilyMap::from_fn(|_| Some(MAX_PREFIXES)),
        prefix_limit: None,
        learn: Learn::None,
        export: None,
        max_advertised: FamilyMap::default(),
        role: None,
        add_path: FamilyMap::default(),
        node_selector: None,
        shutdown: None,
    }
}

/// Notes which advertisements a peer's families select.
fn select<'a>(
    peer: &str,
    config: &BgpPeerConfig,
    sight: Sight<'a>,
    told: &mut BTreeMap<&'a str, FamilyMap<BTreeSet<String>>>,
) {
    for family in &config.families {
        for (name, advertisement) in &sight.inputs.bgp.advertisements {
            if family.advertisements.matches(&advertisement.labels) {
                told.entry(name).or_default().get_mut(family.family).insert(peer.to_owned());
            }
        }
    }
}

/// One entry of an advertisement, for the peers that take it in each family: two where they are not the
/// same in both.
fn advertise(
    object: &BgpAdvertisement,
    entry: &BgpAdvertisementEntry,
    peers: &FamilyMap<BTreeSet<String>>,
    node: &Node,
    sight: Sight<'_>,
    outcome: &mut Outcome,
) {
    let name = if object.entries.len() + object.faults.len() > 1 {
        format!("CiliumBGPAdvertisement {}[{}]", object.name, entry.index)
    } else {
        format!("CiliumBGPAdvertisement {}", object.name)
    };
    let (prefixes, service_selector, service_routes) = match &entry.what {
        Advertised::Service { addresses, aggregation, services } => {
            let selector = match services {
                Selection::These(selector) => Some(selector.clone()),
                Selection::Everything => None,
                Selection::Nothing | Selection::Unreadable => return,
            };
            (Vec::new(), selector, Some(service_routes(addresses, *aggregation)))
        }
        own => match belongings::of(&name, own, node, sight, &mut outcome.errors) {
            Some(prefixes) => (prefixes, None, None),
            None => return,
        },
    };
    let same = peers.get(Family::Ipv4Unicast) == peers.get(Family::Ipv6Unicast);
    let sets: Vec<FamilySet> = if same {
        vec![Family::ALL.into_iter().collect()]
    } else {
        Family::ALL.into_iter().map(|family| [family].into_iter().collect()).collect()
    };
    for families in sets {
        let told = families.iter().next().map(|family| peers.get(family).clone()).unwrap_or_default();
        if told.is_empty() {
            continue;
        }
        let prefixes: Vec<Prefix> =
            prefixes.iter().copied().filter(|prefix: &Prefix| families.contains(prefix.family())).collect();
        outcome.advertisements.push(Advertisement {
            name: name.clone(),
            pool_selector: None,
            service_selector: service_selector.clone(),
            // The node's own belongings, which this kind of advertisement is there to announce.
            allow: prefixes.clone(),
            prefixes,
            pool_prefix: None,
            service_routes,
            attributes: attributes(entry),
            peers: Some(told),
            node_selector: None,
            belongings: service_routes.is_none(),
            families,
            export: sight.settings.export.clone(),
        });
    }
}

/// As Cilium gates them: every Service with an address, whether it has an endpoint or not
/// (`enable-no-service-endpoints-routable`, on by default), and with a policy Local where it has one here.
fn service_routes(addresses: &BTreeSet<AddressKind>, aggregation: FamilyMap<Option<u8>>) -> ServiceRoutes {
    ServiceRoutes {
        which: ServiceRoutesWhich::All,
        when: ServiceGate::Allocated,
        addresses: AddressKinds {
            load_balancer: addresses.contains(&AddressKind::LoadBalancer),
            external: addresses.contains(&AddressKind::External),
            cluster: addresses.contains(&AddressKind::Cluster),
        },
        aggregation,
    }
}

fn attributes(entry: &BgpAdvertisementEntry) -> RouteAttributes {
    RouteAttributes {
        communities: entry.communities.clone(),
        large_communities: entry.large_communities.clone(),
        local_preference: entry.local_preference,
        ..RouteAttributes::default()
    }
}

/// Two peers with one address: the later one has no session.
fn refuse_namesakes(outcome: &mut Outcome) {
    let mut taken: BTreeMap<PeerAddress, String> = BTreeMap::new();
    for peer in &mut outcome.peers {
        match taken.get(&peer.peer.address) {
            None => {
                taken.insert(peer.peer.address.clone(), peer.peer.name.clone());
            }
            Some(first) => {
                let refused = format!("peer {first} has the same address");
                outcome.errors.push(format!("{}: peer {}: {refused}", peer.instance, peer.name));
                peer.refused = Some(refused);
            }
        }
    }
}

/// The same with regard to peers of `speaker.yaml`, which come first.
pub(crate) fn refuse_taken(outcome: &mut Outcome, taken: &BTreeMap<PeerAddress, String>) {
    for peer in &mut outcome.peers {
        let first = taken.iter().find(|(address, _)| address.may_be(&peer.peer.address));
        if let Some((address, first)) = first {
            let what = match address {
                PeerAddress::Address { .. } if *address == peer.peer.address => "has the same address",
                PeerAddress::Address { .. } | PeerAddress::Interface(_) => "is on the same interface",
            };
            let refused = format!("peer {first} of speaker.yaml {what}");
            outcome.errors.push(format!("{}: peer {}: {refused}", peer.instance, peer.name));
            peer.refused = Some(refused);
        }
    }
}

#[cfg(test)]
mod tests;
