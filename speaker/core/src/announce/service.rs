//! What one Service contributes: to its pools' gates, and to the routes of its own addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use speaker_config::model::{DefaultClass, ServiceGate};
use speaker_config::objects::{Service, TrafficPolicy, UnixSeconds};

use super::advertisement::Prepared;
use super::gates::{self, Readiness, Silent};
use super::surroundings::Surroundings;
use crate::inputs::Inputs;

/// What the evaluation of a Service reads besides the objects.
pub(super) struct Context<'a> {
    pub node: &'a str,
    pub default_class: DefaultClass,
    pub advertisements: &'a [Prepared],
    pub surroundings: &'a Surroundings,
}

/// One recorded address of a Service that BGP may announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// The Service's age.
    pub created: UnixSeconds,
    /// The address lies inside a pool.
    pub covered: bool,
    /// With `externalTrafficPolicy: Local`, whether an endpoint on this node is ready for it.
    pub local: Option<bool>,
    /// The advertisements that announce it as a host route, by index.
    pub advertisements: Vec<usize>,
}

/// A Service that BGP may announce, as far as routes depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ServiceState {
    /// Its recorded addresses.
    pub addresses: BTreeMap<IpAddr, Held>,
    /// The pools that these lie in, a family each, and whether it has a ready endpoint in that family.
    pub pools: BTreeMap<(String, Family), bool>,
}

impl ServiceState {
    /// Evaluates a Service; one that BGP may not announce contributes nothing.
    pub(super) fn of(service: &Service, inputs: &Inputs, context: &Context<'_>) -> Self {
        let mut state = Self::default();
        if !gates::may_announce(service, context.default_class, &mut Silent) {
            return state;
        }
        let endpoints = Readiness::of(inputs.slices(&service.key), context.node);
        for addr in service.ingress.iter().copied() {
            let family = Family::of(addr);
            let endpoints = *endpoints.get(family);
            let mut covered = false;
            for entry in inputs.pools.containing(addr) {
                covered = true;
                state.pools.insert((entry.pool.name.clone(), family), endpoints.ready > 0);
            }
            let announce = |advertisement: &Prepared| {
                gates::service_route(advertisement, context.node, service, family, endpoints, &mut Silent)
                    && context.surroundings.refusal(Prefix::host(addr), advertisement).is_none()
            };
            let advertisements = context.advertisements.iter().enumerate();
            let held = Held {
                created: service.created,
                covered,
                local: (service.external_traffic_policy == TrafficPolicy::Local).then(|| {
                    gates::local_gate(ServiceGate::Ready, family, endpoints, context.node, &mut Silent)
                }),
                advertisements: advertisements
                    .filter(|(_, one)| announce(one))
                    .map(|(index, _)| index)
                    .collect(),
            };
            state.addresses.insert(addr, held);
        }
        state
    }

    /// It contributes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}
