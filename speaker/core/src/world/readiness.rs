//! What `readiness` waits for: the node's proxy as a whole, and for each new route.

use super::World;
use crate::drain::Drain;
use crate::programming::Programmed;
use crate::readiness::{Gate, Health};

impl World {
    /// What `readiness` waits for was asked; says whether this node may announce from now on and could not before.
    pub fn set_health(&mut self, health: Health) -> bool {
        let before = self.readiness.is_open();
        self.readiness.hear(health);
        self.judge_readiness();
        self.readiness.is_open() && !before
    }

    /// kube-proxy has answered [`super::Changes::proxy`], or took too long to.
    pub fn programmed(&mut self, programmed: &Programmed) {
        self.announcer.programmed(programmed.ticket);
    }

    /// What `readiness` waits for.
    #[must_use]
    pub const fn readiness(&self) -> &Gate {
        &self.readiness
    }

    pub(super) fn judge_readiness(&mut self) {
        self.announcer.set_readiness(self.readiness.verdict());
        self.judge_available();
    }

    /// On the segments others take over at once; there is no half-way as in BGP.
    pub(super) fn judge_available(&mut self) {
        let available = self.drain == Drain::No && self.readiness.is_open();
        if let Some(segment) = self.segment() {
            segment.set_available(available);
        }
    }
}
