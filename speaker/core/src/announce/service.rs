//! What one Service contributes: to its pools' gates, and to the routes of its own addresses.

use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use speaker_config::model::{DefaultClass, ServiceGate};
use speaker_config::objects::{AddressKind, Service, TrafficPolicy, UnixSeconds};

use super::advertisement::Prepared;
use super::gates::{self, Readiness, Silent};
use super::surroundings::Surroundings;
use crate::few::{Few, FewKeys};
use crate::inputs::Inputs;

/// What the evaluation of a Service reads besides the objects.
pub(super) struct Context<'a> {
    pub node: &'a str,
    pub default_class: DefaultClass,
    pub advertisements: &'a [Prepared],
    pub surroundings: &'a Surroundings,
}

/// One recorded address of a Service that BGP may announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// With `externalTrafficPolicy: Local`, whether an endpoint on this node is ready for it.
    pub local: Option<bool>,
}

/// One prefix that an advertisement announces on behalf of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// The Service's age.
    pub created: UnixSeconds,
    /// The address lies inside a pool, or may leave without one.
    pub covered: bool,
}

/// A Service, as far as routes depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ServiceState {
    /// The addresses that some advertisement could mean: where one of them comes into somebody else's
    /// possession or into a pool, the Service is to be looked at again.
    pub candidates: FewKeys<IpAddr>,
    /// Its recorded addresses, where BGP may announce them.
    pub addresses: Few<IpAddr, Held>,
    /// What is announced, by prefix and by the advertisement's index: an address of its own, or the prefix
    /// that stands for it.
    pub claims: Few<(Prefix, usize), Claim>,
    /// The pools that these lie in, a family each, and whether it has a ready endpoint in that family.
    pub pools: Few<(String, Family), bool>,
}

impl ServiceState {
    /// Evaluates a Service; one with no address that BGP may announce contributes nothing.
    pub(super) fn of(service: &Service, inputs: &Inputs, context: &Context<'_>) -> Self {
        let mut state = Self::default();
        let endpoints = Readiness::of(inputs.slices(&service.key), context.node);
        if gates::may_announce(service, context.default_class, &mut Silent) {
            for addr in service.ingress.iter().copied() {
                state.hold(addr, service, inputs, *endpoints.get(Family::of(addr)), context);
            }
        }
        for (kind, addr) in gates::candidates(service) {
            let wanted =
                |one: &Prepared| one.spec.service_routes.unwrap_or_default().addresses.contains(kind);
            let may = gates::may_announce_kind(service, kind, context.default_class, &mut Silent);
            if may && (kind == AddressKind::LoadBalancer || context.advertisements.iter().any(wanted)) {
                state.claim(kind, addr, service, inputs, *endpoints.get(Family::of(addr)), context);
            }
        }
        state
    }

    fn hold(
        &mut self,
        addr: IpAddr,
        service: &Service,
        inputs: &Inputs,
        endpoints: Readiness,
        context: &Context<'_>,
    ) {
        let family = Family::of(addr);
        for entry in inputs.pools.containing(addr) {
            self.pools.insert((entry.pool.name.clone(), family), endpoints.ready > 0);
        }
        let ready = || {
            let policy = ("externalTrafficPolicy", family);
            gates::local_gate(ServiceGate::Ready, policy, endpoints, context.node, &mut Silent)
        };
        let local = service.external_traffic_policy == TrafficPolicy::Local;
        self.addresses.insert(addr, Held { local: local.then(ready) });
    }

    /// What the advertisements make of one address.
    fn claim(
        &mut self,
        kind: AddressKind,
        addr: IpAddr,
        service: &Service,
        inputs: &Inputs,
        endpoints: Readiness,
        context: &Context<'_>,
    ) {
        self.candidates.insert(addr, ());
        let in_pool = inputs.pools.containing(addr).next().is_some();
        let meant = (kind, Family::of(addr));
        for (index, advertisement) in context.advertisements.iter().enumerate() {
            if !gates::service_route(advertisement, context.node, service, meant, endpoints, &mut Silent) {
                continue;
            }
            let prefix = gates::prefix_of(advertisement, service, kind, addr);
            if context.surroundings.refusal_of(prefix, kind, advertisement).is_some() {
                continue;
            }
            let covered = in_pool || advertisement.lets_out(kind, addr);
            let fresh = Claim { created: service.created, covered: false };
            self.claims.or_insert((prefix, index), fresh).covered |= covered;
        }
    }

    /// The advertisements that announce a prefix on its behalf, by index.
    pub(super) fn claims_of(&self, prefix: Prefix) -> impl Iterator<Item = (usize, Claim)> {
        let range = self.claims.range((prefix, 0)..=(prefix, usize::MAX));
        range.map(|((_, index), claim)| (*index, *claim))
    }

    /// It contributes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.candidates.is_empty()
    }
}
