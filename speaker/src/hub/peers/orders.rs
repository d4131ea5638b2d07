//! What an operator orders, on the command line or in the file.

use bgp_proto::session::StopReason;
use bgp_proto::types::FamilySet;
use bgp_proto::wire::{Notification, codes};
use speaker_core::world::World;

use super::Peers;
use crate::io::peer::PeerName;

impl Peers {
    /// `shutdown` in the file came, changed or went.
    pub(super) fn obey_configured_shutdown(&mut self, name: &PeerName, world: &mut World) {
        let Some(message) = self.running.get(name).map(|peer| peer.wanted.spec.settings.shutdown.clone())
        else {
            return;
        };
        match message {
            Some(message) => drop(self.shut_down(name, &message)),
            None => drop(self.no_shut_down(name, world)),
        }
    }

    /// `clear PEER`.
    pub(in crate::hub) fn reset(&self, name: &str) {
        if let Some(peer) = self.running.get(name) {
            let notification = Notification::cease(codes::CEASE_ADMINISTRATIVE_RESET, "");
            peer.handle.stop(StopReason { notification: Some(notification), hard: true, restart: true });
        }
    }

    /// `clear PEER soft`.
    pub(in crate::hub) fn soft(&self, name: &str, inbound: FamilySet, outbound: FamilySet) {
        if let Some(peer) = self.running.get(name) {
            if !inbound.is_empty() {
                peer.handle.request_refresh(inbound);
            }
            if !outbound.is_empty() {
                peer.handle.soft_out(outbound);
            }
        }
    }

    /// `shutdown PEER`.
    pub(in crate::hub) fn shut_down(&mut self, name: &str, message: &str) -> bool {
        let Some(peer) = self.running.get_mut(name) else { return false };
        peer.shutdown = Some(message.to_owned());
        let notification = Notification::cease(codes::CEASE_ADMINISTRATIVE_SHUTDOWN, message);
        peer.handle.stop(StopReason { notification: Some(notification), hard: true, restart: false });
        true
    }

    /// `no-shutdown PEER`.
    pub(in crate::hub) fn no_shut_down(&mut self, name: &str, world: &mut World) -> bool {
        let Some(peer) = self.running.get_mut(name) else { return false };
        peer.shutdown = None;
        peer.breaks.resumes = None;
        if peer.dynamic && peer.established.is_none() {
            // It begins anew when it dials.
            self.end(name, world, codes::CEASE_PEER_DECONFIGURED, "waiting for the dynamic peer to dial");
        } else if peer.wanted.blocked.is_none() {
            peer.handle.start();
        }
        true
    }
}
