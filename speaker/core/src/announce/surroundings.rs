//! What nobody may announce without leave, as advertisements see it.

use bgp_proto::types::Prefix;
use speaker_config::objects::AddressKind;

use super::advertisement::Prepared;
use crate::danger::{ClusterNetwork, DangerContext, Reason, judge};
use crate::inputs::Inputs;

/// Everything that no advertisement may announce without leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Surroundings {
    /// What the configuration and the shell know of: peers, gateways, this host.
    base: DangerContext,
    /// That and what nodes and the cluster have.
    context: DangerContext,
}

impl Surroundings {
    /// In force with the next [`Self::look`].
    pub(super) fn set_base(&mut self, base: DangerContext) {
        self.base = base;
    }

    /// Takes over what nodes and the cluster have now.
    pub(super) fn look(&mut self, inputs: &Inputs) {
        self.context = inputs.surroundings(self.base.clone());
    }

    /// The same as [`Self::refusal`] for a prefix that stands for an address of a Service. A ClusterIP lies in the
    /// Service CIDR, and who announces it means it.
    pub(super) fn refusal_of(
        &self,
        prefix: Prefix,
        kind: AddressKind,
        advertisement: &Prepared,
    ) -> Option<Reason> {
        let meant = |reason: &Reason| {
            kind == AddressKind::Cluster
                && matches!(reason, Reason::Cluster { network: ClusterNetwork::Services, .. })
        };
        self.refusal(prefix, advertisement).filter(|reason| !meant(reason))
    }

    /// Why an advertisement may not announce a prefix; its own `allow` gives leave.
    pub(super) fn refusal(&self, prefix: Prefix, advertisement: &Prepared) -> Option<Reason> {
        if advertisement.spec.allow.iter().any(|allowed| allowed.covers(prefix)) {
            return None;
        }
        judge(prefix, &self.context)
    }
}
