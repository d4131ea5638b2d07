//! The peers and advertisements in force on this node: those of `speaker.yaml`, then those of Cilium's kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::RouterId;
use speaker_config::model::{BmpCollector, Peer, PeerAddress};

use super::World;
use crate::announce::Settings;
use crate::cilium::agent::{self, Outcome, Sight};
use crate::danger::{DangerContext, Owner};

/// A peer that this node is to have.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectivePeer {
    /// The peer.
    pub peer: Peer,
    /// The BGP identifier towards it; absent for the node's own.
    pub router_id: Option<RouterId>,
    /// Why it must not come up.
    pub refused: Option<String>,
}

/// The peers in force.
#[derive(Debug, Clone, Default)]
pub struct EffectivePeers {
    all: Vec<EffectivePeer>,
    cilium: Outcome,
    settings: Option<Settings>,
    version: u64,
}

impl EffectivePeers {
    /// All of them: those of `speaker.yaml` in its order, then Cilium's.
    #[must_use]
    pub fn all(&self) -> &[EffectivePeer] {
        &self.all
    }

    /// What Cilium's BGP kinds come to on this node.
    #[must_use]
    pub const fn cilium(&self) -> &Outcome {
        &self.cilium
    }

    /// Grows with every change of a peer, of a port, of a monitoring station or of a TCP MD5 key.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn keys_changed(&mut self) {
        self.version += 1;
    }
}

impl World {
    /// The peers that this node is to have.
    #[must_use]
    pub const fn peers(&self) -> &EffectivePeers {
        &self.peers
    }

    /// Gathers peers and advertisements anew, and hands on what is different.
    pub(super) fn refresh(&mut self) {
        let labels = self.node_labels();
        let selects = |peer: &&Peer| {
            peer.settings.node_selector.as_ref().is_none_or(|selector| selector.matches(&labels))
        };
        let own = self.config.peers.iter().filter(selects);
        let mut all: Vec<EffectivePeer> =
            own.map(|peer| EffectivePeer { peer: peer.clone(), router_id: None, refused: None }).collect();
        let mut cilium = Outcome::default();
        if self.config.sources.cilium_bgp != Some(false) {
            cilium = agent::outcome(Sight {
                node: &self.node,
                inputs: &self.inputs,
                host: &self.host,
                secrets: &self.secrets_namespace,
                settings: &self.config.cilium_bgp,
            });
            let taken = all.iter().map(|one| (one.peer.address.clone(), one.peer.name.clone()));
            agent::refuse_taken(&mut cilium, &taken.collect());
        }
        all.extend(cilium.peers.iter().map(|one| EffectivePeer {
            peer: one.peer.clone(),
            router_id: one.router_id,
            refused: one.refused.clone(),
        }));
        let known = &self.peers.cilium;
        if all != self.peers.all || (&cilium.ports, &cilium.stations) != (&known.ports, &known.stations) {
            self.peers.version += 1;
        }
        let settings = self.settings(&all, &cilium);
        if self.peers.settings.as_ref() != Some(&settings) {
            self.announcer.configure(settings.clone());
            self.peers.settings = Some(settings);
        }
        self.peers.all = all;
        self.peers.cilium = cilium;
    }

    fn settings(&self, peers: &[EffectivePeer], cilium: &Outcome) -> Settings {
        let own = self.config.advertisements.iter();
        Settings {
            advertisements: own.chain(&cilium.advertisements).cloned().collect(),
            node: self.node.clone(),
            default_class: self.default_class,
            danger: DangerContext { addresses: self.dangerous(peers), ..DangerContext::default() },
            datapath: self.config.datapath,
        }
    }

    /// Addresses that somebody needs to reach this node or what is behind it: never announced unless
    /// allowed. Those of peers that other nodes have are among them.
    fn dangerous(&self, peers: &[EffectivePeer]) -> BTreeMap<IpAddr, Owner> {
        let own = self.host.own.iter().map(|addr| (*addr, Owner::Node(self.node.clone())));
        let gateways = self.host.gateways.iter().map(|addr| (*addr, Owner::Gateway));
        let peers = self.config.peers.iter().chain(peers.iter().map(|one| &one.peer));
        let peers = peers.filter_map(|peer| match &peer.address {
            PeerAddress::Address { address, .. } => Some((*address, Owner::Peer(peer.name.clone()))),
            PeerAddress::Interface(_) => None,
        });
        own.chain(gateways).chain(peers).collect()
    }

    /// The monitoring stations: those of `speaker.yaml`, then Cilium's; the first of one name.
    #[must_use]
    pub fn stations(&self) -> Vec<BmpCollector> {
        let mut all: Vec<BmpCollector> = Vec::new();
        for station in self.config.bmp.iter().chain(&self.peers.cilium.stations) {
            if !all.iter().any(|other| other.name == station.name) {
                all.push(station.clone());
            }
        }
        all
    }

    /// What there is to say about Cilium's BGP kinds on this node: errors, then what has no effect.
    #[must_use]
    pub fn cilium_findings(&self) -> (Vec<String>, Vec<String>) {
        let unique = |texts: &[String]| texts.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        (unique(&self.peers.cilium.errors), unique(&self.peers.cilium.notes))
    }
}
