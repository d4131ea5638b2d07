//! What this node says on its segments: the units, who holds them, and which addresses it answers for where.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use regex::RegexSet;
use speaker_config::model::{self, DefaultClass};
use speaker_config::objects::{Condition, L2AnnouncementPolicy, ObjectKey, Selection, Service};

pub use self::standing::Standing;

use super::election::{Election, LeaseSeen, NodeSeen, Op, Params, Wanted};
use super::fitness::Fitness;
use super::planner::{Planner, Rule, Unit};
use crate::fnv::{fnv1a_32, joined};
use crate::inputs::{Inputs, Touched};
use crate::ipam::condition;
use crate::view::{GateView, SegmentStory};

/// The addresses that this node answers for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Each address with the interfaces on which it is answered for.
    pub addresses: BTreeMap<IpAddr, BTreeSet<String>>,
    /// From then on nothing is answered for, on the boot-time clock. Absent where no other node contends.
    pub fence: Option<Timestamp>,
}

/// Who announces on the segments.
#[derive(Debug)]
pub struct Segment {
    planner: Planner,
    fitness: Fitness,
    /// Absent on a host of its own: it holds whatever it may.
    election: Option<Election>,
    node: String,
    available: bool,
}

impl Segment {
    /// A host without a cluster: what it may announce, it announces.
    #[must_use]
    pub fn alone(node: &str, default_class: DefaultClass) -> Self {
        Self {
            planner: Planner::new(node, default_class),
            fitness: Fitness::default(),
            election: None,
            node: node.to_owned(),
            available: true,
        }
    }

    /// A node of a cluster, which takes part in elections by Leases of this duration.
    #[must_use]
    pub fn elected(node: &str, default_class: DefaultClass, lease: Duration) -> Self {
        let election = Some(Election::new(node, Params::new(lease)));
        Self { election, ..Self::alone(node, default_class) }
    }

    /// Other rules are in force.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.planner.set_rules(rules);
    }

    /// Where the kernel answers by itself: see [`Planner::set_answering`].
    pub fn set_answering(&mut self, answering: BTreeSet<String>) {
        self.planner.set_answering(answering);
    }

    /// This node has these interfaces, and they are up.
    pub fn set_interfaces(&mut self, interfaces: BTreeSet<String>) {
        self.planner.set_interfaces(interfaces);
    }

    /// Whether this node may announce anything: not while it is drained or stopping.
    pub fn set_available(&mut self, available: bool) {
        self.available = available;
        if let Some(election) = &mut self.election {
            election.set_available(available);
        }
    }

    /// Recomputes what was touched. An address that comes to this node is held when the question that `ask` names is
    /// answered ([`Segment::programmed`]); at once where it names none.
    pub fn reconcile(&mut self, inputs: &Inputs, touched: &Touched, ask: impl FnOnce() -> Option<u64>) {
        let changed = self.planner.reconcile(inputs, touched);
        self.fitness.follow(&changed, self.planner.units(), &self.node, ask);
        self.tell(changed);
    }

    /// kube-proxy has answered the questions up to this one.
    pub fn programmed(&mut self, ticket: u64) {
        let changed = self.fitness.answered(ticket);
        self.tell(changed);
    }

    /// Tells the election what became of the units of these Services.
    fn tell(&mut self, changed: BTreeSet<ObjectKey>) {
        let Some(election) = &mut self.election else { return };
        for service in changed {
            let unit = self.planner.units().get(&service);
            let wanted = unit.map(|unit| wanted(unit, &self.node, &self.fitness));
            election.set_unit(&lease_name(&service), wanted);
        }
    }

    /// A unit's Lease was seen to change, come or go.
    pub fn lease_seen(&mut self, lease: &str, seen: Option<LeaseSeen>) {
        self.with(|election| election.lease_seen(lease, seen));
    }

    /// Leases as a list showed them, with those that were gone by then.
    pub fn leases_listed(&mut self, all: Vec<(String, Option<LeaseSeen>)>) {
        self.with(|election| election.leases_listed(all));
    }

    /// Another node's own Lease was seen to change, come or go.
    pub fn node_seen(&mut self, node: &str, seen: Option<NodeSeen>, now: Timestamp) {
        self.with(|election| election.node_seen(node, seen, now));
    }

    /// What a fresh read of a node's own Lease showed; `None` where it could not be read.
    pub fn node_checked(&mut self, node: &str, read: Option<Option<NodeSeen>>, now: Timestamp) {
        self.with(|election| election.node_checked(node, read, now));
    }

    /// A renewal of this node's own Lease, sent at `sent`, was confirmed at `now`.
    pub fn renewed(&mut self, sent: Timestamp, now: Timestamp) {
        self.with(|election| election.renewed(sent, now));
    }

    /// What became of a write: the new version, or nothing.
    pub fn written(&mut self, lease: &str, version: Option<String>) {
        self.with(|election| election.written(lease, version));
    }

    /// What is to be done at the API server now. [`Segment::held`] is to be in force before it is done.
    pub fn step(&mut self, now: Timestamp) -> Vec<Op> {
        self.election.as_mut().map(|election| election.step(now)).unwrap_or_default()
    }

    /// When [`Segment::step`] has something to do by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.election.as_ref().and_then(Election::deadline)
    }

    /// The addresses that this node answers for.
    #[must_use]
    pub fn held(&self) -> Held {
        let won = self.election.as_ref().map(Election::held);
        let holds = |unit: &Unit, address: &IpAddr| match &won {
            Some(won) => won.contains(address),
            None => {
                let serves = unit.candidates.contains(&self.node) && !self.fitness.waits(*address);
                self.available && serves
            }
        };
        let units = self.planner.units().values();
        let addresses = units.flat_map(|unit| {
            let here =
                unit.addresses.iter().filter(|(address, links)| !links.is_empty() && holds(unit, address));
            here.map(|(address, links)| (*address, links.clone()))
        });
        Held {
            addresses: addresses.collect(),
            fence: self.election.as_ref().map(|election| election.fence().unwrap_or(Timestamp::ZERO)),
        }
    }

    /// What stands between an address of a Service and this node's segments, and who answers for it; for `explain`.
    #[must_use]
    pub fn explain(&self, service: &Service, address: IpAddr, inputs: &Inputs) -> SegmentStory {
        let mut gates = self.planner.explain(service, address, inputs);
        if self.fitness.waits(address) {
            let (gate, detail) = ("kube-proxy".to_owned(), crate::programming::waits());
            gates.push(GateView { gate, passed: false, detail });
        }
        let answered = self.held().addresses.contains_key(&address);
        let owner = self.planner.units().values().find(|unit| unit.addresses.contains_key(&address));
        let mut holder = answered.then(|| self.node.clone());
        if let (Some(unit), Some(election)) = (owner, &self.election) {
            let lease = lease_name(&unit.service);
            holder = election.holder(&lease).map(str::to_owned);
            let detail = match &holder {
                None => format!("nobody holds it yet: Lease {lease} names no holder"),
                Some(one) if *one != self.node => format!("{one} holds it by Lease {lease}"),
                Some(_) if answered => format!("this node holds it by Lease {lease}"),
                Some(_) => format!("this node is written down in Lease {lease}, and has not confirmed it"),
            };
            gates.push(GateView { gate: "lease".to_owned(), passed: holder.is_some(), detail });
        }
        SegmentStory { address, gates, holder, answered }
    }

    fn with(&mut self, act: impl FnOnce(&mut Election)) {
        if let Some(election) = &mut self.election {
            act(election);
        }
    }
}

/// What this node may stand for: not for addresses that it has no interface for, where it would hold what it
/// cannot answer for.
fn wanted(unit: &Unit, node: &str, fitness: &Fitness) -> Wanted {
    let here = unit.addresses.iter().filter(|(_, links)| !links.is_empty());
    let addresses: BTreeSet<IpAddr> = here.map(|(address, _)| *address).collect();
    let mut candidates = unit.candidates.clone();
    if addresses.is_empty() {
        candidates.remove(node);
        let addresses = unit.addresses.keys().copied().collect();
        return Wanted { addresses, candidates, waiting: BTreeSet::new() };
    }
    let waiting = addresses.iter().copied().filter(|address| fitness.waits(*address)).collect();
    Wanted { addresses, candidates, waiting }
}

/// The Lease of a Service's unit: `cilium-l2announce-<namespace>-<service>`, as Cilium names it. Where the
/// namespace has a `-` in it a plain join could be that of another Service too (`a-b` and `c`, `a` and
/// `b-c`), so that a hash follows behind a `.`, which no Service's name has.
#[must_use]
pub fn lease_name(service: &ObjectKey) -> String {
    let ObjectKey { namespace, name } = service;
    let plain = format!("cilium-l2announce-{namespace}-{name}");
    if !namespace.contains('-') {
        return plain;
    }
    format!("{plain}.{:08x}", fnv1a_32(joined(namespace, name)))
}

/// What `l2` of `speaker.yaml` announces where no policy speaks: every Service's address on the interfaces
/// that it names.
#[must_use]
pub fn file_rule(l2: &model::L2) -> Option<Rule> {
    l2.enabled.then(|| Rule {
        name: "speaker.yaml".to_owned(),
        nodes: Selection::Everything,
        services: Selection::Everything,
        interfaces: None,
        load_balancer_ips: true,
        external_ips: false,
    })
}

/// What a CiliumL2AnnouncementPolicy announces; nothing where a part of it cannot be read.
#[must_use]
pub fn policy_rule(policy: &L2AnnouncementPolicy) -> Option<Rule> {
    let interfaces = (!policy.interfaces.is_empty()).then(|| RegexSet::new(&policy.interfaces));
    policy_faults(policy).is_empty().then_some(())?;
    Some(Rule {
        name: policy.name.clone(),
        nodes: policy.nodes.clone(),
        services: policy.services.clone(),
        interfaces: interfaces.transpose().ok()?,
        load_balancer_ips: policy.load_balancer_ips,
        external_ips: policy.external_ips,
    })
}

/// The conditions of a policy with something wrong in it, in Cilium's names, and what each of them is about.
pub const POLICY_CONDITIONS: [(&str, &str); 3] = [
    ("io.cilium/bad-node-selector", "nodeSelector"),
    ("io.cilium/bad-interface-regex", "interfaces"),
    ("io.cilium/bad-service-selector", "serviceSelector"),
];

/// What cannot be read of a policy: what could not be parsed, and expressions that are none.
#[must_use]
pub fn policy_faults(policy: &L2AnnouncementPolicy) -> Vec<String> {
    let expressions = policy.interfaces.iter().enumerate().filter_map(|(index, pattern)| {
        let error = regex::Regex::new(pattern).err()?.to_string();
        let last = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        Some(format!("spec.interfaces[{index}]: {pattern:?} is not a regular expression: {last}"))
    });
    policy.faults.iter().cloned().chain(expressions).collect()
}

/// The conditions that a policy is to have, as Cilium has them: one comes when there is an error, and stays, `False`,
/// when there is none any more.
#[must_use]
pub fn policy_conditions(policy: &L2AnnouncementPolicy) -> Vec<Condition> {
    let faults = policy_faults(policy);
    let of = |(kind, field): &(&str, &str)| {
        let about: Vec<&str> = faults
            .iter()
            .filter(|fault| fault.contains(&format!("spec.{field}")))
            .map(String::as_str)
            .collect();
        let known = policy.conditions.iter().any(|one| one.kind == *kind);
        let status = if about.is_empty() { "False" } else { "True" };
        (known || !about.is_empty())
            .then(|| condition(kind, status, "error", &about.join("; "), policy.generation))
    };
    POLICY_CONDITIONS.iter().filter_map(of).collect()
}

mod standing;
#[cfg(test)]
mod tests;
