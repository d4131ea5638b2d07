//! What works otherwise than its user may think: held covers, refused prefixes, Services that a pool
//! prefix leads astray. Found on demand.

use std::fmt;
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use serde::{Deserialize, Serialize};
use speaker_config::objects::{AddressKind, ObjectKey, Service, TrafficPolicy};

use super::advertisement::{Prepared, reached_by};
use super::gates::{self, Readiness, Silent, word};
use super::{Announcer, pool};
use crate::danger::Reason;
use crate::inputs::Inputs;
use crate::pools::PoolEntry;
use crate::rib::{Source, SourceKind};

/// Something that the user should hear of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Finding {
    /// A pool's prefixes of one family cannot be made as `poolPrefix.lengths` says.
    Held {
        /// The pool.
        pool: String,
        /// The advertisement.
        advertisement: String,
        /// The family.
        family: Family,
        /// Why not.
        reason: String,
    },
    /// A prefix is dangerous and stands in no `allow` of the advertisement.
    Refused {
        /// Whose prefix it is.
        source: Source,
        /// The advertisement.
        advertisement: String,
        /// The prefix.
        prefix: Prefix,
        /// Why.
        reason: Reason,
    },
    /// Traffic for a Service with `externalTrafficPolicy: Local` follows a pool's prefix to nodes without
    /// an endpoint, because no advertisement gives it a more specific route towards the same peers.
    LocalWithoutRoute {
        /// The Service.
        service: ObjectKey,
        /// Its address.
        address: IpAddr,
        /// The pool.
        pool: String,
        /// The pool's prefix that is announced.
        prefix: Prefix,
        /// The advertisement that announces it.
        advertisement: String,
    },
}

impl Finding {
    /// Whether it is about this address, where it is about a Service.
    pub(super) fn concerns(&self, addr: IpAddr) -> bool {
        match self {
            Self::Held { .. } => true,
            Self::Refused { prefix, .. } => prefix.contains(addr),
            Self::LocalWithoutRoute { address, .. } => *address == addr,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { pool, advertisement, family, reason } => write!(
                f,
                "advertisement '{advertisement}' holds back the {} prefixes of pool '{pool}': {reason}",
                word(*family)
            ),
            Self::Refused { advertisement, prefix, reason, .. } => write!(
                f,
                "advertisement '{advertisement}' does not announce {prefix}: {reason}; add it to `allow` if it is meant"
            ),
            Self::LocalWithoutRoute { service, address, pool, prefix, advertisement } => write!(
                f,
                "Service '{service}' has externalTrafficPolicy Local, and its address {address} lies under \
                 {prefix} of pool '{pool}', announced by advertisement '{advertisement}', without a route of \
                 its own: nodes without an endpoint attract its traffic and drop it; set serviceRoutes.which \
                 to local in an advertisement for the same peers"
            ),
        }
    }
}

impl Announcer {
    /// Everything that the user should hear of, each once.
    #[must_use]
    pub fn findings(&self, inputs: &Inputs) -> Vec<Finding> {
        let mut all = Vec::new();
        for entry in inputs.pools.iter() {
            self.pool_findings(entry, &mut all);
        }
        for service in inputs.services.values() {
            self.service_findings(service, inputs, &mut all);
        }
        for advertisement in &self.advertisements {
            let source = |name: &str| Source { kind: SourceKind::Prefix, namespace: None, name: name.into() };
            for prefix in advertisement.prefixes() {
                all.extend(self.refused(source(&advertisement.name), advertisement, prefix));
            }
        }
        all.sort();
        all.dedup();
        all
    }

    /// The findings about one pool.
    pub(super) fn pool_findings(&self, entry: &PoolEntry, all: &mut Vec<Finding>) {
        let pool = &entry.pool;
        if !gates::pool_sound(entry, &mut Silent) {
            return;
        }
        for advertisement in &self.advertisements {
            let Some(wish) = advertisement.spec.pool_prefix else { continue };
            if !gates::pool_selected(advertisement, &self.node, entry, &mut Silent) {
                continue;
            }
            for family in Family::ALL {
                match pool::cover(&pool.blocks, family, wish) {
                    Err(error) => all.push(Finding::Held {
                        pool: pool.name.clone(),
                        advertisement: advertisement.name.to_string(),
                        family,
                        reason: error.to_string(),
                    }),
                    Ok(prefixes) => all.extend(prefixes.into_iter().filter_map(|prefix| {
                        let name = pool.name.clone();
                        let source = Source { kind: SourceKind::Pool, namespace: None, name };
                        self.refused(source, advertisement, prefix)
                    })),
                }
            }
        }
    }

    /// The findings about one Service.
    pub(super) fn service_findings(&self, service: &Service, inputs: &Inputs, all: &mut Vec<Finding>) {
        let endpoints = Readiness::of(inputs.slices(&service.key), &self.node);
        for (kind, addr) in gates::candidates(service) {
            if !gates::may_announce_kind(service, kind, self.default_class, &mut Silent) {
                continue;
            }
            let meant = (kind, Family::of(addr));
            let endpoints = *endpoints.get(meant.1);
            for advertisement in &self.advertisements {
                if gates::service_route(advertisement, &self.node, service, meant, endpoints, &mut Silent) {
                    let prefix = gates::prefix_of(advertisement, service, kind, addr);
                    let reason = self.surroundings.refusal_of(prefix, kind, advertisement);
                    all.extend(reason.map(|reason| Finding::Refused {
                        source: Source {
                            kind: SourceKind::Service,
                            namespace: Some(service.key.namespace.clone()),
                            name: service.key.name.clone(),
                        },
                        advertisement: advertisement.name.to_string(),
                        prefix,
                        reason,
                    }));
                }
            }
            if kind == AddressKind::LoadBalancer && service.external_traffic_policy == TrafficPolicy::Local {
                self.astray(service, addr, inputs, all);
            }
        }
    }

    fn astray(&self, service: &Service, address: IpAddr, inputs: &Inputs, all: &mut Vec<Finding>) {
        let meant = (AddressKind::LoadBalancer, Family::of(address));
        let wanted = |one: &&Prepared| gates::service_wanted(one, &self.node, service, meant, &mut Silent);
        for entry in inputs.pools.containing(address) {
            let pool = &entry.pool.name;
            // Of a host route, the Service's gate decides anyway.
            let open = self.open.get(pool).into_iter().flatten();
            for (prefix, index) in open.filter(|(one, _)| one.contains(address) && !one.is_host()) {
                let Some(aggregate) = self.advertisements.get(*index) else { continue };
                let own = self.advertisements.iter().filter(wanted);
                if !reached_by(aggregate.peers.as_deref(), own.map(|one| one.peers.as_deref())) {
                    all.push(Finding::LocalWithoutRoute {
                        service: service.key.clone(),
                        address,
                        pool: pool.clone(),
                        prefix: *prefix,
                        advertisement: aggregate.name.to_string(),
                    });
                }
            }
        }
    }

    fn refused(&self, source: Source, advertisement: &Prepared, prefix: Prefix) -> Option<Finding> {
        let reason = self.surroundings.refusal(prefix, advertisement)?;
        Some(Finding::Refused { source, advertisement: advertisement.name.to_string(), prefix, reason })
    }
}
