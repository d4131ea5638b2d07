//! When two Services may have one address.

use std::collections::BTreeSet;

use speaker_config::objects::{Labels, Service, ServicePort, TrafficPolicy};

use super::ask::{annotation, parse_bool};

/// What of a Service decides with whom it may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    namespace: String,
    /// Without a key an address is the Service's alone.
    pub(super) key: Option<String>,
    namespaces: BTreeSet<String>,
    different_pods: bool,
    ports: BTreeSet<ServicePort>,
    policy: TrafficPolicy,
    selector: Labels,
}

impl Terms {
    pub(super) fn of(service: &Service) -> Self {
        let key = annotation(service, "sharing-key").filter(|key| !key.is_empty()).map(str::to_owned);
        // Cilium does not trim; a space after the comma then grants nothing, without a word.
        let namespaces = annotation(service, "sharing-cross-namespace").into_iter();
        let namespaces = namespaces.flat_map(|list| list.split(',')).map(str::trim);
        Self {
            namespace: service.key.namespace.clone(),
            key,
            namespaces: namespaces.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            different_pods: annotation(service, "sharing-permit-different-pods").is_some_and(parse_bool),
            ports: service.ports.iter().cloned().collect(),
            policy: service.external_traffic_policy,
            selector: service.selector.clone(),
        }
    }

    /// Of a Service of which nothing but its addresses is known: it shares with nobody.
    pub(super) fn unknown(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            key: None,
            namespaces: BTreeSet::new(),
            different_pods: false,
            ports: BTreeSet::new(),
            policy: TrafficPolicy::default(),
            selector: Labels::new(),
        }
    }

    fn admits(&self, other: &Self) -> bool {
        self.namespaces.contains("*") || self.namespaces.contains(&other.namespace)
    }

    /// Why the two may not share; `None`: they may. The same either way round.
    pub(super) fn clash(&self, other: &Self) -> Option<&'static str> {
        if self.key.is_none() || self.key != other.key {
            return Some("different sharing key");
        }
        if self.namespace != other.namespace && !(self.admits(other) && other.admits(self)) {
            return Some("different and not permitted namespace");
        }
        if !self.ports.is_disjoint(&other.ports) {
            return Some("same port and protocol");
        }
        if self.policy != other.policy {
            return Some("different ExternalTrafficPolicy");
        }
        if self.policy == TrafficPolicy::Local {
            if self.selector.is_empty() || other.selector.is_empty() {
                return Some("ExternalTrafficPolicy local but a service has no selector");
            }
            if self.selector != other.selector && !(self.different_pods && other.different_pods) {
                return Some(
                    "ExternalTrafficPolicy local but selecting different set of pods without lbipam.cilium.io/sharing-permit-different-pods on both services",
                );
            }
        }
        None
    }
}
