//! `speaker explain`: every reason that there is, or could be, to announce something, with its gates.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use serde::{Deserialize, Serialize};
use speaker_config::objects::{AddressKind, ObjectKey, Service};

use super::advertisement::{Prepared, reached_by};
use super::gates::{self, FirstHeld, Readiness, Trace as _};
use super::{Announcer, Finding, pool};
use crate::inputs::Inputs;
use crate::pools::PoolEntry;
use crate::rib::{Source, SourceKind};
use crate::view::GateView;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// A prefix, whoever announces it.
    Prefix(Prefix),
    /// An address: its own route and the prefixes that lead to it.
    Address(IpAddr),
    /// A Service, its own routes and the pool prefixes that its addresses lie under.
    Service(ObjectKey),
    /// A pool's prefixes.
    Pool(String),
}

/// One object and one advertisement: a reason to announce a prefix, or what holds it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The prefix; absent where no prefix could be made.
    pub prefix: Option<Prefix>,
    /// The object.
    pub source: Source,
    /// The advertisement.
    pub advertisement: String,
    /// The gates in order. The first that did not pass is the one that holds the route back.
    pub gates: Vec<GateView>,
    /// Every gate passed.
    pub announced: bool,
}

impl Decision {
    /// The gate that holds the route back.
    #[must_use]
    pub fn held_by(&self) -> Option<&GateView> {
        self.gates.iter().find(|gate| !gate.passed)
    }

    fn new(prefix: Option<Prefix>, source: Source, advertisement: &Prepared, gates: Vec<GateView>) -> Self {
        let announced = prefix.is_some() && gates.iter().all(|gate| gate.passed);
        Self { prefix, source, advertisement: advertisement.name.to_string(), gates, announced }
    }
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Gates of the object as a whole, which each of its decisions repeats.
    pub gates: Vec<GateView>,
    /// One for each prefix, object and advertisement that means the object: by node, by selector, and
    /// because it announces such routes at all. Where none does, one for each there is.
    pub decisions: Vec<Decision>,
    /// What works and will surprise.
    pub findings: Vec<Finding>,
}

/// A decision and, where its advertisement does not mean the object at all, why.
type Judged = (Decision, Option<String>);

/// Runs further gates; gives back what the first of them that did not pass found.
fn tail(trace: &mut Vec<GateView>, gates: impl FnOnce(&mut Vec<GateView>)) -> Option<String> {
    let before = trace.len();
    gates(trace);
    trace.iter().skip(before).find(|gate| !gate.passed).map(|gate| gate.detail.clone())
}

/// The decisions of advertisements that mean the object, and the others with the reason. Where none means
/// it, that is the story, and all are of the first kind.
fn by_intent(judged: Vec<Judged>) -> (Vec<Decision>, Vec<(Decision, String)>) {
    let any = judged.iter().any(|(_, unwanted)| unwanted.is_none());
    let (mut meant, mut others) = (Vec::new(), Vec::new());
    for (decision, unwanted) in judged {
        match unwanted.filter(|_| any) {
            None => meant.push(decision),
            Some(why) => others.push((decision, why)),
        }
    }
    (meant, others)
}

/// The story of those about a prefix that `about` takes, and of those that could make no prefix.
fn story_of(mut judged: Vec<Judged>, about: impl Fn(Prefix) -> bool) -> Option<Story> {
    judged.retain(|(one, _)| one.prefix.is_none_or(&about));
    let (decisions, _) = by_intent(judged);
    (!decisions.is_empty()).then(|| Story { decisions, ..Story::default() })
}

impl Announcer {
    /// Why something is announced or is not; `None` where no object has anything to do with it.
    #[must_use]
    pub fn explain(&self, subject: &Subject, inputs: &Inputs) -> Option<Story> {
        match subject {
            Subject::Prefix(prefix) => {
                let mut story = self.explain_prefix(*prefix, inputs)?;
                if prefix.is_host() {
                    self.holder_findings(prefix.addr(), inputs, &mut story.findings);
                }
                Some(story)
            }
            Subject::Address(addr) => {
                let mut story = story_of(self.judged_at(Prefix::host(*addr), inputs), |_| true)?;
                self.holder_findings(*addr, inputs, &mut story.findings);
                Some(story)
            }
            Subject::Service(key) => inputs.services.get(key).map(|one| self.explain_service(one, inputs)),
            Subject::Pool(name) => inputs.pools.get(name).map(|entry| self.explain_pool(entry)),
        }
    }

    /// The findings about the Services with an address, as far as they concern it.
    fn holder_findings(&self, addr: IpAddr, inputs: &Inputs, all: &mut Vec<Finding>) {
        for service in inputs.services.values().filter(|one| one.ingress.contains(&addr)) {
            self.service_findings(service, inputs, all);
        }
        all.retain(|finding| finding.concerns(addr));
    }

    fn explain_pool(&self, entry: &PoolEntry) -> Story {
        let mut story = Story::default();
        gates::pool_sound(entry, &mut story.gates);
        self.note_advertisements(&mut story.gates);
        story.decisions = by_intent(self.pool_decisions(entry, |_| true)).0;
        self.pool_findings(entry, &mut story.findings);
        story
    }

    fn explain_service(&self, service: &Service, inputs: &Inputs) -> Story {
        let mut story = Story::default();
        gates::may_announce(service, self.default_class, &mut story.gates);
        let addresses: Vec<String> = service.ingress.iter().map(ToString::to_string).collect();
        story.gates.gate("address", !addresses.is_empty(), || match addresses.as_slice() {
            [] => "no address is recorded in status.loadBalancer.ingress".to_owned(),
            some => format!("recorded in status.loadBalancer.ingress: {}", some.join(", ")),
        });
        self.note_advertisements(&mut story.gates);
        let mut judged = self.service_decisions(service, inputs);
        let leads_here = |prefix: Prefix| service.ingress.iter().any(|addr| prefix.contains(*addr));
        for name in self.pools_towards(service, inputs) {
            judged.extend(
                inputs.pools.get(name).into_iter().flat_map(|entry| self.pool_decisions(entry, leads_here)),
            );
        }
        let (decisions, unwanted) = by_intent(judged);
        let mut silent = BTreeSet::new();
        for (decision, why) in unwanted.iter().filter(|(one, _)| one.source.kind == SourceKind::Service) {
            if silent.insert(&decision.advertisement) {
                story.gates.gate("serviceRoutes", true, || format!("no route of its own: {why}"));
            }
        }
        story.decisions = decisions;
        self.service_findings(service, inputs, &mut story.findings);
        story
    }

    /// The pools that a Service has an address of, and those that announce more than they own.
    fn pools_towards<'a>(&'a self, service: &'a Service, inputs: &'a Inputs) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        for addr in service.ingress.iter().copied() {
            names.extend(inputs.pools.containing(addr).map(|entry| entry.pool.name.as_str()));
            let covering = (0..=Family::of(addr).max_len()).filter_map(|len| Prefix::new(addr, len).ok());
            names.extend(covering.flat_map(|prefix| self.open_at(prefix)).map(|(name, _)| name));
        }
        names
    }

    fn explain_prefix(&self, prefix: Prefix, inputs: &Inputs) -> Option<Story> {
        let judged = self.judged_at(prefix, inputs);
        let any =
            |wanted: &dyn Fn(Prefix) -> bool| judged.iter().any(|(one, _)| one.prefix.is_some_and(wanted));
        // What names the prefix, else what leads there, else what lies inside.
        if any(&|other| other == prefix) {
            story_of(judged, |other| other == prefix)
        } else if any(&|other| other.covers(prefix)) {
            story_of(judged, |other| other.covers(prefix))
        } else {
            story_of(judged, |_| true)
        }
    }

    /// Every decision about a prefix that covers `prefix` or, but for the routes of Services, lies inside.
    fn judged_at(&self, prefix: Prefix, inputs: &Inputs) -> Vec<Judged> {
        let near = |other: Prefix| other.covers(prefix) || prefix.covers(other);
        let mut judged = self.fixed_decisions(near);
        judged.extend(self.claims_at(prefix, inputs));
        for entry in inputs.pools.iter() {
            let overlaps = entry.pool.blocks.iter().any(|block| {
                let (first, last) = block.bounds();
                first <= prefix.last() && prefix.addr() <= last
            });
            if overlaps || self.open_at(prefix).any(|(name, _)| name == entry.pool.name) {
                judged.extend(self.pool_decisions(entry, near));
            }
        }
        judged
    }

    /// Decisions about Services: those with the address, and one for each aggregate that leads there.
    fn claims_at(&self, prefix: Prefix, inputs: &Inputs) -> Vec<Judged> {
        let mut judged = Vec::new();
        let mut aggregates = BTreeSet::new();
        for service in inputs.services.values() {
            let near = gates::candidates(service).any(|(_, addr)| {
                let stands_for = |one: &Prepared| one.aggregate(addr).is_some_and(|all| all.covers(prefix));
                addr == prefix.addr() && prefix.is_host() || self.advertisements.iter().any(stands_for)
            });
            if !near {
                continue;
            }
            judged.extend(self.service_decisions(service, inputs).into_iter().filter(|(one, _)| {
                // Hundreds may be behind an aggregate: one that has it announced tells enough.
                one.prefix == Some(prefix) && prefix.is_host()
                    || one.announced
                        && one.prefix.is_some_and(|leads| !leads.is_host() && leads.covers(prefix))
                        && aggregates.insert((one.prefix, one.advertisement.clone()))
            }));
        }
        judged
    }

    fn note_advertisements(&self, gates: &mut Vec<GateView>) {
        if self.advertisements.is_empty() {
            gates.gate("advertisement", false, || "no advertisement is configured".to_owned());
        }
    }

    /// One for each advertisement and each address that some advertisement of this node means by its kind;
    /// those of the load balancer always.
    fn service_decisions(&self, service: &Service, inputs: &Inputs) -> Vec<Judged> {
        let mut all = Vec::new();
        let endpoints = Readiness::of(inputs.slices(&service.key), &self.node);
        for (kind, addr) in gates::candidates(service).filter(|(kind, _)| self.means(*kind)) {
            let pool = inputs.pools.containing(addr).next().map(|entry| entry.pool.name.as_str());
            for advertisement in &self.advertisements {
                let mut trace = Vec::new();
                gates::may_announce_kind(service, kind, self.default_class, &mut trace);
                trace.gate("address", true, || {
                    let place = match kind {
                        AddressKind::LoadBalancer => "is recorded",
                        AddressKind::External => "stands in spec.externalIPs",
                        AddressKind::Cluster => "stands in spec.clusterIPs",
                    };
                    match pool {
                        Some(pool) => format!("{addr} {place}, an address of pool '{pool}'"),
                        None if advertisement.lets_out(kind, addr) => format!("{addr} {place}"),
                        None => format!("{addr} {place}; it lies in no pool, so that only a peer whose export list permits it is told"),
                    }
                });
                let meant = (kind, Family::of(addr));
                let unwanted = tail(&mut trace, |trace| {
                    gates::service_wanted(advertisement, &self.node, service, meant, trace);
                });
                let endpoints = *endpoints.get(meant.1);
                gates::endpoints_open(advertisement, &self.node, service, meant, endpoints, &mut trace);
                let prefix = gates::prefix_of(advertisement, service, kind, addr);
                let refusal = self.surroundings.refusal_of(prefix, kind, advertisement);
                gates::safe(prefix, refusal.as_ref(), &mut trace);
                self.ask_node(prefix, &mut trace);
                let source = Source {
                    kind: SourceKind::Service,
                    namespace: Some(service.key.namespace.clone()),
                    name: service.key.name.clone(),
                };
                all.push((Decision::new(Some(prefix), source, advertisement, trace), unwanted));
            }
        }
        all
    }

    /// Whether addresses of this kind concern anybody here.
    fn means(&self, kind: AddressKind) -> bool {
        let wanted = |one: &Prepared| one.spec.service_routes.unwrap_or_default().addresses.contains(kind);
        kind == AddressKind::LoadBalancer || self.advertisements.iter().any(wanted)
    }

    /// The routes of a Service, each with what holds it back: the end of the story alone, at a cost that a
    /// table of thousands can bear.
    #[must_use]
    pub fn service_routes(&self, service: &Service, inputs: &Inputs) -> Vec<(Prefix, Option<String>)> {
        let endpoints = Readiness::of(inputs.slices(&service.key), &self.node);
        let mut routes: BTreeMap<Prefix, Option<String>> = BTreeMap::new();
        for (kind, addr) in gates::candidates(service).filter(|(kind, _)| self.means(*kind)) {
            let (meant, endpoints) = ((kind, Family::of(addr)), *endpoints.get(Family::of(addr)));
            let mut told = false;
            let mut reason = Some("no advertisement is configured".to_owned());
            for (index, advertisement) in self.advertisements.iter().enumerate() {
                let mut held = FirstHeld::default();
                gates::may_announce_kind(service, kind, self.default_class, &mut held);
                let wanted = gates::service_wanted(advertisement, &self.node, service, meant, &mut held);
                gates::endpoints_open(advertisement, &self.node, service, meant, endpoints, &mut held);
                let prefix = gates::prefix_of(advertisement, service, kind, addr);
                let refusal = self.surroundings.refusal_of(prefix, kind, advertisement);
                gates::safe(prefix, refusal.as_ref(), &mut held);
                if held.0.is_none() {
                    self.node_gates(prefix, &mut held);
                }
                if held.0.is_none() {
                    routes.insert(prefix, None);
                    told = true;
                } else if wanted || index == 0 {
                    // An advertisement that means the Service says more than one that does not.
                    reason = held.0;
                }
            }
            if !told {
                routes.entry(Prefix::host(addr)).or_insert(reason);
            }
        }
        routes.into_iter().collect()
    }

    /// Of the prefixes, those that `about` is true for.
    fn pool_decisions(&self, entry: &PoolEntry, about: impl Fn(Prefix) -> bool) -> Vec<Judged> {
        let pool = &entry.pool;
        let mut all = Vec::new();
        let families = |family: &Family| pool.blocks.iter().any(|block| block.family() == *family);
        for family in Family::ALL.into_iter().filter(families) {
            for advertisement in &self.advertisements {
                let mut trace = Vec::new();
                gates::pool_sound(entry, &mut trace);
                let unwanted = tail(&mut trace, |trace| {
                    gates::pool_selected(advertisement, &self.node, entry, trace);
                });
                let wish = advertisement.spec.pool_prefix.unwrap_or_default();
                if advertisement.spec.pool_prefix.is_some() {
                    let count = *self.count(&pool.name).get(family);
                    gates::pool_gate(wish.when, pool.disabled, family, count, &mut trace);
                }
                let source = Source { kind: SourceKind::Pool, namespace: None, name: pool.name.clone() };
                match pool::cover(&pool.blocks, family, wish) {
                    Err(error) => {
                        trace.gate("poolPrefix.lengths", false, || error.to_string());
                        all.push((Decision::new(None, source, advertisement, trace), unwanted));
                    }
                    Ok(prefixes) => all.extend(prefixes.into_iter().filter(|prefix| about(*prefix)).map(|prefix| {
                        let mut trace = trace.clone();
                        self.last_gates(prefix, advertisement, &mut trace);
                        if !self.local_lets_through(prefix) {
                            trace.gate("externalTrafficPolicy", false, || {
                                format!("{prefix} is the address of a Service with externalTrafficPolicy Local that has no ready endpoint on node '{}'", self.node)
                            });
                        }
                        self.ask_node(prefix, &mut trace);
                        (Decision::new(Some(prefix), source.clone(), advertisement, trace), unwanted.clone())
                    })),
                }
            }
        }
        all
    }

    /// Of the prefixes, those that `about` is true for.
    fn fixed_decisions(&self, about: impl Fn(Prefix) -> bool) -> Vec<Judged> {
        let mut all = Vec::new();
        for advertisement in &self.advertisements {
            for prefix in advertisement.spec.prefixes.iter().copied().filter(|prefix| about(*prefix)) {
                let mut trace = Vec::new();
                let unwanted = tail(&mut trace, |trace| {
                    gates::applies(advertisement, &self.node, trace);
                });
                self.last_gates(prefix, advertisement, &mut trace);
                self.ask_node(prefix, &mut trace);
                let name = advertisement.name.to_string();
                let source = Source { kind: SourceKind::Prefix, namespace: None, name };
                all.push((Decision::new(Some(prefix), source, advertisement, trace), unwanted));
            }
        }
        all
    }

    /// Readiness and the kernel concern what passes every other gate, and nothing else.
    fn ask_node(&self, prefix: Prefix, trace: &mut Vec<GateView>) {
        if trace.iter().all(|gate| gate.passed) {
            self.node_gates(prefix, trace);
        }
    }

    /// What pool prefixes and fixed ones must pass besides.
    fn last_gates(&self, prefix: Prefix, advertisement: &Prepared, trace: &mut Vec<GateView>) {
        gates::safe(prefix, self.surroundings.refusal(prefix, advertisement).as_ref(), trace);
        let routes = self.service_contributions(prefix);
        let shadowed =
            reached_by(advertisement.peers.as_deref(), routes.iter().map(|one| one.peers.as_deref()));
        if let (true, Some(route)) = (shadowed, routes.first()) {
            let namespace = route.source.namespace.as_deref().unwrap_or_default();
            trace.gate("hostRoute", false, || {
                format!("the route of Service '{namespace}/{}' stands in its place", route.source.name)
            });
        }
    }
}
