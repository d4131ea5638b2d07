//! Those who dial us, and the peers of `dynamicPeers` that are made of them.

use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::wire::codes;
use speaker_config::model::SpeakerConfig;
use speaker_core::world::World;

use super::super::running::Running;
use super::super::wanted::{self, Difference, Identity};
use super::Peers;
use crate::io::listen::Incoming;
use crate::io::peer::PeerName;

impl Peers {
    /// Peers of `dynamicPeers` follow their entry; those whose entry is gone end.
    pub(super) fn bring_dynamic_in_line(
        &mut self,
        config: &SpeakerConfig,
        identity: &Identity,
        world: &mut World,
    ) {
        let dynamic: Vec<(PeerName, IpAddr)> = self
            .running
            .iter()
            .filter(|(_, peer)| peer.dynamic)
            .map(|(name, peer)| (Arc::clone(name), peer.wanted.spec.address))
            .collect();
        for (name, address) in dynamic {
            match wanted::dynamic(config, identity, &self.secrets, address) {
                Some(wanted) if wanted.spec.name == name => match self.running.get_mut(&name) {
                    Some(running)
                        if wanted::difference(&running.wanted.spec, &wanted.spec) != Difference::Reset =>
                    {
                        running.adopt(wanted, &name, world);
                    }
                    _ => self.end(&name, world, codes::CEASE_CONFIGURATION_CHANGE, "configuration changed"),
                },
                _ => self.end(&name, world, codes::CEASE_PEER_DECONFIGURED, "removed from the configuration"),
            }
        }
    }

    /// The peer that dialled. A link-local address may be another peer's on each link.
    fn known(&self, incoming: &Incoming) -> Option<&Running> {
        let remote = incoming.remote.ip();
        let known = self.running.values().filter(|peer| {
            let spec = &peer.wanted.spec;
            spec.address == remote && (spec.zone.is_none() || spec.zone == incoming.interface)
        });
        // Of two with one address the later one is refused; a peer that is refused is still nobody new.
        known.min_by_key(|peer| peer.wanted.blocked.is_some())
    }

    /// Somebody dialled us.
    pub(in crate::hub) fn incoming(&mut self, config: &SpeakerConfig, incoming: Incoming, world: &mut World) {
        let remote = incoming.remote.ip();
        if self.known(&incoming).is_none() && self.adopt_dialler(&incoming) {
            self.reconcile(config, world);
        }
        if let Some(peer) = self.known(&incoming) {
            peer.handle.accepted(incoming);
            return;
        }
        let Some(identity) = self.identity.clone() else { return };
        let Some(wanted) = wanted::dynamic(config, &identity, &self.secrets, remote) else {
            self.refuse_stranger(incoming);
            return;
        };
        let entry = config.dynamic_peers.iter().find(|entry| entry.name == wanted.selected_as);
        let limit = entry.map_or(0, |entry| usize::try_from(entry.limit).unwrap_or(usize::MAX));
        let count = self
            .running
            .values()
            .filter(|peer| peer.dynamic && peer.wanted.selected_as == wanted.selected_as)
            .count();
        if count >= limit {
            let why = format!("the limit of {limit} of dynamicPeers {} is reached", wanted.selected_as);
            self.refusals.refuse(self.now(), incoming, &why);
            return;
        }
        let name = Arc::clone(&wanted.spec.name);
        let shutdown = wanted.spec.settings.shutdown.clone();
        self.begin(&name, wanted, shutdown, true);
        if let Some(peer) = self.running.get(&name) {
            peer.handle.accepted(incoming);
        }
    }

    fn refuse_stranger(&mut self, incoming: Incoming) {
        let named = incoming
            .interface
            .as_deref()
            .and_then(|interface| self.running.iter().find(|(_, peer)| peer.wanted.is_on(interface)));
        let why = match named {
            Some((name, peer)) if peer.wanted.is_sought() => {
                format!("peer {name} of its interface has a key, and has not been heard yet")
            }
            Some((name, peer)) => {
                format!("peer {name} of its interface is {}", peer.wanted.spec.address)
            }
            None => "no peer has this address".to_owned(),
        };
        self.refusals.refuse(self.now(), incoming, &why);
    }
}
