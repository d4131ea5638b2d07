//! Node IPAM: Services of class `io.cilium/node` whose addresses are those of the nodes themselves.
//!
//! A node's Ready condition, a cordon and other taints play no part, as in Cilium (the stable set of nodes of
//! KEP-3458). Where this departs from Cilium, it is so that nothing happens without a word:
//! - A node that becomes excluded is taken off at once, not with the next change of something else.
//! - Internal addresses serve, family by family, where no chosen node has an external one of that family.
//! - Addresses are sorted as numbers, IPv4 before IPv6: `10.0.0.9` comes before `10.0.0.10`.
//! - A condition says whether and why not, an Event which nodes are left out. The condition is also the mark by
//!   which the addresses are taken back when the class changes away, over a restart, too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use speaker_config::model::DefaultClass;
use speaker_config::objects::{Condition, Node, ObjectKey, Service};

use crate::inputs::{Inputs, Touched};
use crate::ipam::{EventReason, IpamEvent};

mod choose;
#[cfg(test)]
mod tests;

pub use choose::{Choice, LeftOut, choose};

/// The class of Services that are reached by the nodes' own addresses.
pub const NODE_CLASS: &str = "io.cilium/node";
/// The annotation of a Service that selects nodes, written as for `kubectl -l`.
pub const MATCH_NODES: &str = "io.cilium.nodeipam/match-node-labels";
/// The label of a node that takes no traffic from outside, whatever its value.
pub const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The taint of a node that the cluster autoscaler is about to remove.
pub const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
/// The condition of a Service whose addresses come from here. Cilium has none.
pub const NODE_SATISFIED: &str = "cilium.io/NodeIPAMSatisfied";

/// How many nodes an Event names.
const NAMED: usize = 8;

/// What Node IPAM is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeIpamSettings {
    /// Whether it serves at all.
    pub enabled: bool,
    /// Who serves Services without class.
    pub default_class: DefaultClass,
}

/// What a Service's status is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// The whole of `status.loadBalancer.ingress`, addresses only.
    pub ingress: Vec<IpAddr>,
    /// [`NODE_SATISFIED`]; absent: the Service is not ours any more.
    pub condition: Option<Condition>,
}

/// What one turn decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeIpamChanges {
    /// Every Service gone over; `None`: it has nothing to do with Node IPAM.
    pub decisions: BTreeMap<ObjectKey, Option<NodeStatus>>,
    /// Events.
    pub events: Vec<IpamEvent>,
}

/// The chooser of nodes.
#[derive(Debug, Clone)]
pub struct NodeIpam {
    settings: NodeIpamSettings,
    /// Services that are ours.
    ours: BTreeSet<ObjectKey>,
    /// Nodes as they were when their Services were last gone over.
    nodes: BTreeMap<String, Node>,
    /// What Events have told.
    told: BTreeMap<ObjectKey, Told>,
    marked: Touched,
}

/// What Events have told of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Told {
    left_out: BTreeMap<String, LeftOut>,
    problem: Option<String>,
}

impl NodeIpam {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(settings: NodeIpamSettings) -> Self {
        Self {
            settings,
            ours: BTreeSet::new(),
            nodes: BTreeMap::new(),
            told: BTreeMap::new(),
            marked: Touched::default(),
        }
    }

    /// Marks what an event concerned. Every change of the [`Inputs`] must come here before the next turn.
    pub fn touch(&mut self, touched: &Touched) {
        self.marked.services.extend(touched.services.iter().cloned());
        self.marked.endpoints.extend(touched.endpoints.iter().cloned());
        self.marked.nodes.extend(touched.nodes.iter().cloned());
    }

    /// Whether a Service's addresses are those of nodes.
    #[must_use]
    pub fn serves(&self, service: &Service) -> bool {
        self.settings.enabled
            && service.load_balancer
            && match service.class.as_deref() {
                None => self.settings.default_class == DefaultClass::NodeIpam,
                Some(class) => class == NODE_CLASS,
            }
    }

    /// Goes over what is marked.
    pub fn reconcile(&mut self, inputs: &Inputs) -> NodeIpamChanges {
        let mut changes = NodeIpamChanges::default();
        let marked = std::mem::take(&mut self.marked);
        if !self.settings.enabled {
            return changes;
        }
        let mut dirty = marked.services;
        dirty.extend(marked.endpoints.into_iter().filter(|key| self.ours.contains(key)));
        for name in marked.nodes {
            self.take_over(&name, inputs, &mut dirty);
        }
        for key in dirty {
            self.decide(inputs, key, &mut changes);
        }
        changes
    }

    /// Takes over what became of a node, and marks the Services that it concerns.
    fn take_over(&mut self, name: &str, inputs: &Inputs, dirty: &mut BTreeSet<ObjectKey>) {
        let after = inputs.nodes.get(name);
        let before = self.nodes.get(name);
        if before == after {
            return;
        }
        for key in &self.ours {
            let Some(service) = inputs.services.get(key) else { continue };
            let Ok(selector) = choose::node_selector(service) else { continue };
            if [before, after].into_iter().flatten().any(|node| selector.matches(&node.labels)) {
                dirty.insert(key.clone());
            }
        }
        match after {
            Some(node) => self.nodes.insert(name.to_owned(), node.clone()),
            None => self.nodes.remove(name),
        };
    }

    fn decide(&mut self, inputs: &Inputs, key: ObjectKey, changes: &mut NodeIpamChanges) {
        let service = inputs.services.get(&key);
        let Some(service) = service.filter(|service| self.serves(service)) else {
            self.ours.remove(&key);
            self.told.remove(&key);
            let taken_back =
                service.and_then(recorded).map(|_| NodeStatus { ingress: Vec::new(), condition: None });
            changes.decisions.insert(key, taken_back);
            return;
        };
        self.ours.insert(key.clone());
        // What is being deleted keeps what it has.
        if service.deleting {
            changes.decisions.insert(key, None);
            return;
        }
        let choice = choose(service, inputs);
        self.tell(service, &choice, &mut changes.events);
        let ingress = choice.addresses.unwrap_or_else(|| service.ingress.clone());
        let condition = Some(condition(service, choice.problem.as_ref()));
        changes.decisions.insert(key, Some(NodeStatus { ingress, condition }));
    }

    /// Events about what is new.
    fn tell(&mut self, service: &Service, choice: &Choice, events: &mut Vec<IpamEvent>) {
        let told = self.told.entry(service.key.clone()).or_default();
        let mut event = |reason, note| events.push(IpamEvent { service: service.key.clone(), reason, note });
        if told.left_out != choice.left_out {
            told.left_out.clone_from(&choice.left_out);
            if !choice.left_out.is_empty() {
                event(EventReason::NodesLeftOut, left_out(&choice.left_out));
            }
        }
        let problem = choice.problem.as_ref().map(|problem| problem.message.clone());
        let known = recorded(service).filter(|condition| condition.status == "False");
        if let Some(problem) = &problem
            && told.problem.as_ref() != Some(problem)
            && known.is_none_or(|known| known.message != *problem)
        {
            event(EventReason::AllocationFailed, problem.clone());
        }
        told.problem = problem;
    }
}

/// The Service's condition as it is recorded.
fn recorded(service: &Service) -> Option<&Condition> {
    service.conditions.iter().find(|condition| condition.kind == NODE_SATISFIED)
}

fn condition(service: &Service, problem: Option<&choose::Problem>) -> Condition {
    let (status, reason, message) = match problem {
        None => ("True", "satisfied", ""),
        Some(problem) => ("False", problem.reason, &*problem.message),
    };
    Condition {
        kind: NODE_SATISFIED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: service.generation,
        since: 0,
    }
}

/// `Left out: n1 (it is being deleted), n2 (label …) and 3 more`
fn left_out(nodes: &BTreeMap<String, LeftOut>) -> String {
    let named: Vec<String> = nodes.iter().take(NAMED).map(|(name, why)| format!("{name} ({why})")).collect();
    let more = nodes.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("Left out: {}{more}", named.join(", "))
}
