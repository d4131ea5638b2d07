//! The hub's part in `readiness`: whom to ask, and what was answered.

use speaker_core::readiness::Health;
use speaker_core::world::Event;

use super::Hub;
use crate::io::boot;

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
