//! What the allocator decided, on its way to where it is recorded.

use speaker_core::ipam::{IpamChanges, IpamEvent, PoolStatus, SERVICE_CONDITIONS, ServiceStatus};

use super::Hub;
use crate::io::manifests::StatusPatch;

impl Hub {
    /// What the allocator decided is recorded, then logged.
    pub(super) fn tell_allocation(&mut self, ipam: IpamChanges) {
        let statuses = ipam.services.into_iter();
        let mut patches: Vec<StatusPatch> = statuses.map(|status| self.patch(status)).collect();
        patches.extend(ipam.pools.iter().filter_map(|status| self.pool_patch(status)));
        if let Some(manifests) = &self.manifests
            && !patches.is_empty()
        {
            manifests.record(patches);
        }
        for event in ipam.events {
            let IpamEvent { service, reason, note } = event;
            if reason.is_warning() {
                tracing::warn!(%service, "{reason}: {note}");
            } else {
                tracing::info!(%service, "{reason}: {note}");
            }
        }
    }

    /// The allocator's conditions among those that the Service has from others.
    fn patch(&self, status: ServiceStatus) -> StatusPatch {
        let service = self.world.inputs().services.get(&status.key);
        let foreign = service.into_iter().flat_map(|service| &service.conditions);
        let foreign = foreign.filter(|condition| !SERVICE_CONDITIONS.contains(&condition.kind.as_str()));
        let conditions = foreign.cloned().chain(status.conditions).collect();
        StatusPatch::Service { key: status.key, ingress: status.ingress, conditions }
    }

    /// The same for a pool.
    fn pool_patch(&self, status: &PoolStatus) -> Option<StatusPatch> {
        let mut pool = self.world.inputs().pools.get(&status.name)?.pool.clone();
        status.apply(&mut pool);
        Some(StatusPatch::Pool { name: pool.name, conditions: pool.conditions })
    }
}
