//! What operators see of the world: pools, Services, and why a route is or is not announced.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::types::Prefix;
use speaker_config::model::PeerAddress;
use speaker_config::objects::{Block, ObjectKey, Pool, Service, TrafficPolicy};

use super::World;
use crate::announce::{Decision, Story, Subject};
use crate::ipam::{IPS_AVAILABLE, IPS_TOTAL, IPS_USED, SATISFIED};
use crate::rib::SourceKind;
use crate::view::{Explanation, GateView, PeerVerdict, PoolView, PrefixStory, RouteState, ServiceView};

impl World {
    /// `speaker pools`.
    #[must_use]
    pub fn pool_views(&self) -> Vec<PoolView> {
        self.inputs.pools.iter().map(|entry| self.pool_view(&entry.pool)).collect()
    }

    fn pool_view(&self, pool: &Pool) -> PoolView {
        let counts = self.ipam.as_ref().and_then(|ipam| ipam.pool_status(&self.inputs, &pool.name));
        let story =
            self.announcer.explain(&Subject::Pool(pool.name.clone()), &self.inputs).unwrap_or_default();
        // In a cluster it is the operator that counts, and what it wrote that is known here.
        let conditions = counts.map_or_else(|| pool.conditions.clone(), |status| status.conditions);
        // The conditions hold the sum over both families, in decimal.
        let number = |kind: &str| {
            conditions.iter().find(|c| c.kind == kind).map(|c| c.message.clone()).unwrap_or_default()
        };
        PoolView {
            name: pool.name.clone(),
            disabled: pool.disabled,
            blocks: pool.blocks.iter().map(|block| block_text(*block)).collect(),
            total: number(IPS_TOTAL),
            used: number(IPS_USED),
            available: number(IPS_AVAILABLE),
            conditions,
            routes: self.route_states(&story),
        }
    }

    /// `speaker services`: those of type LoadBalancer.
    #[must_use]
    pub fn service_views(&self) -> Vec<ServiceView> {
        let all = self.inputs.services.values().filter(|service| service.load_balancer);
        all.map(|service| self.service_view(service)).collect()
    }

    fn service_view(&self, service: &Service) -> ServiceView {
        let routes = self.announcer.service_routes(service, &self.inputs).into_iter();
        let endpoints = || self.inputs.slices(&service.key).flat_map(|slice| &slice.endpoints);
        let here = |node: &Option<String>| node.as_deref() == Some(self.node.as_str());
        ServiceView {
            namespace: service.key.namespace.clone(),
            name: service.key.name.clone(),
            class: service.class.clone(),
            external_traffic_policy: match service.external_traffic_policy {
                TrafficPolicy::Cluster => "Cluster".to_owned(),
                TrafficPolicy::Local => "Local".to_owned(),
            },
            ingress: service.ingress.clone(),
            ready_endpoints: endpoints().filter(|endpoint| endpoint.ready).count(),
            local_ready_endpoints: endpoints()
                .filter(|endpoint| endpoint.ready && here(&endpoint.node))
                .count(),
            conditions: service.conditions.clone(),
            routes: routes
                .map(|(prefix, reason)| RouteState {
                    prefix,
                    announced: reason.is_none(),
                    peers: if reason.is_none() { self.peers_told(prefix) } else { Vec::new() },
                    reason,
                })
                .collect(),
        }
    }

    /// One line for each prefix of an object, whatever the number of advertisements that could announce it.
    fn route_states(&self, story: &Story) -> Vec<RouteState> {
        let mut by_prefix: BTreeMap<Prefix, Vec<&Decision>> = BTreeMap::new();
        for decision in &story.decisions {
            if let Some(prefix) = decision.prefix {
                by_prefix.entry(prefix).or_default().push(decision);
            }
        }
        by_prefix
            .into_iter()
            .map(|(prefix, decisions)| {
                let announced = decisions.iter().any(|decision| decision.announced);
                let held = decisions.iter().find_map(|decision| decision.held_by());
                RouteState {
                    prefix,
                    announced,
                    peers: if announced { self.peers_told(prefix) } else { Vec::new() },
                    reason: (!announced).then(|| held.map(|gate| gate.detail.clone())).flatten(),
                }
            })
            .collect()
    }

    fn peers_told(&self, prefix: Prefix) -> Vec<String> {
        self.peer_verdicts(prefix).into_iter().filter(|peer| peer.advertised).map(|peer| peer.peer).collect()
    }

    pub(super) fn peer_verdicts(&self, prefix: Prefix) -> Vec<PeerVerdict> {
        let Some(route) = self.announcer.rib().routes.get(&prefix) else { return Vec::new() };
        let verdict = |name: &str| {
            let verdict = self.exporter.verdict(name, prefix, route);
            PeerVerdict {
                peer: name.to_owned(),
                advertised: verdict.is_ok(),
                next_hop: verdict.is_ok().then(|| self.exporter.next_hop(name, prefix.family())).flatten(),
                interface: self.interface(name).map(str::to_owned),
                reason: verdict.err().map(|held| held.to_string()),
            }
        };
        self.peer_names().into_iter().map(verdict).collect()
    }

    /// The interface of an unnumbered peer.
    fn interface(&self, name: &str) -> Option<&str> {
        let one = self.peers().all().iter().find(|one| one.peer.name == name)?;
        match &one.peer.address {
            PeerAddress::Interface(name) => Some(name),
            PeerAddress::Address { .. } => None,
        }
    }

    /// `speaker explain`: `target` is a prefix, an address, NAMESPACE/NAME of a Service, or a pool's name.
    /// `None` where nothing has to do with it.
    #[must_use]
    pub fn explain(&self, target: &str) -> Option<Explanation> {
        let subject = self.subject(target);
        if self.kept_since().is_some() {
            return self.explain_kept(target, subject.as_ref());
        }
        let subject = subject?;
        let segment = self.explain_segment(&subject);
        // What only a segment has, such as an external address, is in no pool and of no route.
        let on_segment = || (!segment.is_empty()).then(Story::default);
        let mut story = self.announcer.explain(&subject, &self.inputs).or_else(on_segment)?;
        if let Subject::Service(key) = &subject
            && let Some(service) = self.inputs.services.get(key)
        {
            story.gates.splice(0..0, allocation_gates(service));
        }
        let mut by_prefix: BTreeMap<Prefix, Vec<Vec<GateView>>> = BTreeMap::new();
        for decision in &story.decisions {
            if let Some(prefix) = decision.prefix {
                by_prefix.entry(prefix).or_default().push(reason(decision));
            }
        }
        let prefixes: Vec<PrefixStory> = by_prefix
            .into_iter()
            .map(|(prefix, reasons)| PrefixStory {
                prefix,
                reasons,
                in_loc_rib: self.announcer.rib().routes.contains_key(&prefix),
                peers: self.peer_verdicts(prefix),
            })
            .collect();
        let announced = match &subject {
            Subject::Service(key) => self.inputs.services.get(key).is_some_and(|one| {
                !one.ingress.is_empty() && one.ingress.iter().all(|addr| reached(one, *addr, &prefixes))
            }),
            Subject::Address(addr) => {
                let mut holders = self.inputs.services.values().filter(|one| one.ingress.contains(addr));
                prefixes.iter().any(told) && holders.all(|one| reached(one, *addr, &prefixes))
            }
            Subject::Prefix(_) | Subject::Pool(_) => !prefixes.is_empty() && prefixes.iter().all(told),
        };
        let without_prefix = story.decisions.iter().filter(|decision| decision.prefix.is_none());
        let mut gates = story.gates.clone();
        gates.extend(without_prefix.flat_map(reason));
        let mut warnings: Vec<String> = story.findings.iter().map(ToString::to_string).collect();
        let routes = &self.announcer.rib().routes;
        warnings
            .extend(self.left_out(prefixes.iter().filter_map(|story| routes.get_key_value(&story.prefix))));
        if !self.complete {
            warnings
                .push("nothing is announced yet: waiting for the first full list of every source".to_owned());
        }
        let announced = announced || !segment.is_empty() && segment.iter().all(|one| one.holder.is_some());
        Some(Explanation {
            target: target.to_owned(),
            gates,
            prefixes,
            segment,
            announced,
            warnings,
            learned: Vec::new(),
        })
    }

    fn subject(&self, target: &str) -> Option<Subject> {
        if let Ok(addr) = target.parse::<IpAddr>() {
            return Some(Subject::Address(addr));
        }
        if let Ok(prefix) = target.parse::<Prefix>() {
            return Some(Subject::Prefix(prefix));
        }
        if let Some((namespace, name)) = target.split_once('/') {
            return Some(Subject::Service(ObjectKey::new(namespace, name)));
        }
        self.inputs.pools.get(target).map(|entry| Subject::Pool(entry.pool.name.clone()))
    }
}

/// Some peer was told of the prefix.
fn told(story: &PrefixStory) -> bool {
    story.in_loc_rib && story.peers.iter().any(|peer| peer.advertised)
}

/// Whether some peer knows a way to this address of the Service: by a route of its own, or, where every node
/// may take its traffic, by a pool's prefix.
fn reached(service: &Service, addr: IpAddr, prefixes: &[PrefixStory]) -> bool {
    let local = service.external_traffic_policy == TrafficPolicy::Local;
    let leads = |story: &&PrefixStory| story.prefix.contains(addr) && (story.prefix.is_host() || !local);
    prefixes.iter().filter(leads).any(told)
}

/// Whether the Service's request for addresses is satisfied, as its conditions say.
fn allocation_gates(service: &Service) -> Vec<GateView> {
    let satisfied = service.conditions.iter().filter(|c| c.kind == SATISFIED);
    satisfied
        .map(|condition| GateView {
            gate: "allocation".to_owned(),
            passed: condition.status == "True",
            detail: if condition.message.is_empty() {
                condition.reason.clone()
            } else {
                condition.message.clone()
            },
        })
        .collect()
}

/// A decision's gates behind a line that says whose reason it is.
fn reason(decision: &Decision) -> Vec<GateView> {
    let object = match &decision.source.namespace {
        Some(namespace) => format!("Service {namespace}/{}", decision.source.name),
        None if decision.source.kind == SourceKind::Pool => format!("pool {}", decision.source.name),
        None if decision.source.kind == SourceKind::Aggregate => {
            format!("addresses of Services, aggregated by {}", decision.source.name)
        }
        None => format!("prefixes of advertisement {}", decision.source.name),
    };
    let heading = GateView {
        gate: format!("advertisement {}", decision.advertisement),
        passed: decision.announced,
        detail: object,
    };
    std::iter::once(heading).chain(decision.gates.iter().cloned()).collect()
}

/// `192.0.2.0/24`, `192.0.2.10 - 192.0.2.50`, `192.0.2.7`.
fn block_text(block: Block) -> String {
    match block {
        Block::Cidr(prefix) => prefix.to_string(),
        Block::Range { first, last } if first == last => first.to_string(),
        Block::Range { first, last } => format!("{first} - {last}"),
    }
}
