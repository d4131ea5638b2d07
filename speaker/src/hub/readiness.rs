//! The hub's part in `readiness`: whom to ask, and what was answered.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use speaker_config::model::Readiness;
use speaker_core::programming::Programmed;
use speaker_core::readiness::Health;
use speaker_core::world::Event;

use super::Hub;
use crate::io::boot;
use crate::io::programming::Question;

/// `metricsBindAddress` of kube-proxy, where nobody has set it.
const PROXY_METRICS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10249));

impl Hub {
    /// Has the right one asked.
    pub(super) fn follow_health(&mut self) {
        let usual = self.config.readiness.usual_address();
        let address = usual.map(|usual| self.config.readiness_address.unwrap_or(usual));
        self.health.send_if_modified(|old| {
            let changed = *old != address;
            *old = address;
            changed
        });
        let proxy = self.config.readiness == Readiness::KubeProxy;
        let metrics = self.config.proxy_metrics_address.unwrap_or(PROXY_METRICS);
        self.programming.send_if_modified(|old| {
            let ticket = old.map_or(0, |old| old.ticket);
            let new = proxy.then_some(Question { address: metrics, ticket });
            std::mem::replace(old, new) != new
        });
    }

    /// Has kube-proxy asked whether it has set up everything that is known now.
    pub(super) fn ask_proxy(&self, ticket: Option<u64>) {
        let Some(ticket) = ticket else { return };
        self.programming.send_if_modified(|old| {
            let asked = old.as_mut().map(|old| old.ticket = ticket);
            asked.is_some()
        });
    }

    pub(super) fn take_programmed(&mut self, programmed: &Programmed) {
        self.record(&Event::Programmed { programmed: programmed.clone() });
        self.world.programmed(programmed);
        let trouble = programmed.trouble.clone();
        if let Some(trouble) = trouble.as_ref().filter(|one| self.proxy_trouble.as_ref() != Some(one)) {
            tracing::warn!(
                "readiness: routes are announced without waiting for kube-proxy any longer: {trouble}"
            );
        }
        self.proxy_trouble = trouble;
    }

    pub(super) fn take_health(&mut self, health: Health) {
        self.record(&Event::Health { health: health.clone() });
        let opened = self.world.set_health(health);
        if opened {
            let folder = &self.config.ipam.state_dir;
            if let Err(error) = boot::note_ready(folder) {
                tracing::warn!(
                    "cannot write to ipam.stateDir {}, so that the next start waits for readiness again: {error}",
                    folder.display()
                );
            }
        }
        match self.world.readiness().problem() {
            Some(problem) => tracing::warn!("readiness: {problem}"),
            None => tracing::info!(opened, "readiness: what this node waits for is healthy"),
        }
    }
}
