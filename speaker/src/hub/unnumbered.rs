//! Peers that are named by an interface: the router that was found there is the peer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use speaker_config::model::PeerAddress;
use speaker_core::world::EffectivePeer;
use tokio::sync::watch;

use super::peers::Peers;
use crate::io::listen::Incoming;
use crate::io::neighbors::{NeighborEvent, Seen};

/// What is known of the other ends of interfaces.
#[derive(Debug)]
pub(super) struct Neighbors {
    /// Where the interfaces to look on are told.
    seek: watch::Sender<BTreeSet<String>>,
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    /// With whom the session is, or is tried. It outlives what was heard: an interface that comes back mostly leads
    /// where it led before.
    address: Option<Ipv6Addr>,
    seen: Seen,
}

impl Neighbors {
    pub(super) const fn new(seek: watch::Sender<BTreeSet<String>>) -> Self {
        Self { seek, known: BTreeMap::new() }
    }

    /// Looks on the interfaces that peers name, and forgets the others.
    pub(super) fn seek(&mut self, peers: &[EffectivePeer]) {
        let names = peers.iter().filter_map(|one| match &one.peer.address {
            PeerAddress::Interface(name) if one.refused.is_none() => Some(name.clone()),
            PeerAddress::Interface(_) | PeerAddress::Address { .. } => None,
        });
        let names: BTreeSet<String> = names.collect();
        self.known.retain(|name, _| names.contains(name));
        self.seek.send_if_modified(|wanted| {
            let new = *wanted != names;
            *wanted = names;
            new
        });
    }

    /// Takes on whoever was seen last, but where a session is up.
    pub(super) fn follow(&mut self, is_up: impl Fn(&str) -> bool) {
        for (name, known) in &mut self.known {
            if let Some(neighbor) = known.seen.neighbor.filter(|_| !is_up(name)) {
                known.address = Some(neighbor);
            }
        }
    }

    /// The peer's address.
    pub(super) fn address(&self, interface: &str) -> Option<IpAddr> {
        self.known.get(interface)?.address.map(IpAddr::V6)
    }

    /// Why there is no peer yet.
    pub(super) fn why(&self, interface: &str) -> String {
        let problem = self.known.get(interface).and_then(|known| known.seen.problem.clone());
        problem.unwrap_or_else(|| format!("looking for the neighbor on {interface}"))
    }

    /// Somebody else was seen than the one with whom the session was until now.
    fn has_moved(&self, interface: &str) -> bool {
        self.known
            .get(interface)
            .is_some_and(|known| known.seen.neighbor.is_some_and(|neighbor| known.address != Some(neighbor)))
    }
}

impl Peers {
    /// What was found out about an interface.
    pub(in crate::hub) fn neighbor(&mut self, event: NeighborEvent) {
        let NeighborEvent { interface, seen } = event;
        if !self.neighbors.seek.borrow().contains(&interface) {
            // A last word of a task that a reload has ended.
            return;
        }
        let address = self.neighbors.known.remove(&interface).and_then(|known| known.address);
        if let Some(problem) = &seen.problem {
            tracing::warn!(interface, "{problem}");
            let on_it = self.running.values_mut().filter(|one| one.wanted.is_on(&interface));
            for running in on_it.filter(|_| address.is_some()) {
                running.last_note = Some((super::unix_now(), problem.clone()));
            }
        }
        self.neighbors.known.insert(interface.clone(), Known { address, seen });
        // One without a peer's address is shown with the new reason.
        if address.is_none() || self.neighbors.has_moved(&interface) {
            self.configuration_changed();
        }
    }

    /// The session with an interface's peer is over: whoever was seen there meanwhile takes its place.
    pub(super) fn neighbor_lost(&mut self, name: &str) {
        let interface = self.running.get(name).and_then(|running| running.wanted.interface.clone());
        if interface.is_some_and(|interface| self.neighbors.has_moved(&interface)) {
            self.configuration_changed();
        }
    }

    /// Somebody on the link of an interface's peer dialled before he was heard: he is the neighbor. A key is on the
    /// listener for a known address alone, so that a peer with one has to be heard first.
    pub(super) fn adopt_dialler(&mut self, incoming: &Incoming) -> bool {
        let (Some(interface), IpAddr::V6(remote)) = (&incoming.interface, incoming.remote.ip()) else {
            return false;
        };
        let mut peers = self.running.values().filter(|one| one.wanted.is_on(interface));
        let keyed = peers.any(|one| one.wanted.spec.settings.authentication.is_some());
        match self.neighbors.known.get_mut(interface) {
            Some(known) if known.address.is_none() && !keyed => {
                tracing::info!(interface, neighbor = %remote, "the neighbor has dialled");
                known.address = Some(remote);
                self.configuration_changed();
                true
            }
            _ => false,
        }
    }
}

/// The interfaces of peers whose session is up.
pub(super) fn interfaces_up(peers: &Peers) -> BTreeSet<String> {
    let up = peers.iter().filter(|(_, running)| running.established.is_some());
    up.filter_map(|(_, running)| running.wanted.interface.clone()).collect()
}
