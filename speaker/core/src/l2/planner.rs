//! Which addresses are announced on the segment, by which nodes, on which of this node's interfaces.
//!
//! The unit of an election is a Service with the addresses that it owns: of several Services that share an
//! address, the eldest owns it, so that an address has one holder whoever shares it.

mod explain;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use regex::RegexSet;
use speaker_config::model::DefaultClass;
use speaker_config::objects::{Node, ObjectKey, Selection, Service, TrafficPolicy, UnixSeconds};

use crate::inputs::{Inputs, Touched};
use crate::ipam::L2_CLASS;

/// What one policy announces, and where.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The policy's name; `speaker.yaml` for the file's own.
    pub name: String,
    /// Nodes that may announce.
    pub nodes: Selection,
    /// Services that are announced.
    pub services: Selection,
    /// Interfaces, by unanchored regular expressions; absent is every interface.
    pub interfaces: Option<RegexSet>,
    /// `status.loadBalancer.ingress[].ip` is announced.
    pub load_balancer_ips: bool,
    /// `spec.externalIPs` is announced.
    pub external_ips: bool,
}

/// An election's object: addresses that have one holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The Service that owns the addresses.
    pub service: ObjectKey,
    /// Each address with the interfaces of this node on which it is announced.
    pub addresses: BTreeMap<IpAddr, BTreeSet<String>>,
    /// The nodes that may hold them.
    pub candidates: BTreeSet<String>,
}

/// What one Service asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Share {
    created: UnixSeconds,
    /// Each address with the rules that announce it.
    addresses: BTreeMap<IpAddr, BTreeSet<usize>>,
    /// With `externalTrafficPolicy: Local`: the nodes that have a ready endpoint.
    local: Option<BTreeSet<String>>,
}

/// Units, kept up to date by key.
#[derive(Debug)]
pub struct Planner {
    node: String,
    default_class: DefaultClass,
    rules: Vec<Rule>,
    /// For each rule, the nodes that it selects.
    nodes: Vec<Arc<BTreeSet<String>>>,
    /// For each rule, this node's interfaces that it names.
    links: Vec<BTreeSet<String>>,
    interfaces: BTreeSet<String>,
    /// Interfaces on which the kernel answers by itself for what is delivered on this host.
    answering: BTreeSet<String>,
    shares: BTreeMap<ObjectKey, Share>,
    /// Who asks for an address, the eldest first.
    claimants: BTreeMap<IpAddr, BTreeSet<(UnixSeconds, ObjectKey)>>,
    units: BTreeMap<ObjectKey, Unit>,
    everything: bool,
}

impl Planner {
    /// The planner of one node, without rules: it announces nothing.
    #[must_use]
    pub fn new(node: impl Into<String>, default_class: DefaultClass) -> Self {
        Self {
            node: node.into(),
            default_class,
            rules: Vec::new(),
            nodes: Vec::new(),
            links: Vec::new(),
            interfaces: BTreeSet::new(),
            answering: BTreeSet::new(),
            shares: BTreeMap::new(),
            claimants: BTreeMap::new(),
            units: BTreeMap::new(),
            everything: true,
        }
    }

    /// Other rules are in force.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
        self.nodes = Vec::new();
        self.judge_links();
        self.everything = true;
    }

    /// This node has these interfaces, and they are up.
    pub fn set_interfaces(&mut self, interfaces: BTreeSet<String>) {
        if self.interfaces != interfaces {
            self.interfaces = interfaces;
            self.judge_links();
            self.everything = true;
        }
    }

    /// On these interfaces the kernel itself answers ARP for every address that is delivered on this host, and each of
    /// the announced ones is: nothing is announced there.
    pub fn set_answering(&mut self, answering: BTreeSet<String>) {
        if self.answering != answering {
            self.answering = answering;
            self.everything = true;
        }
    }

    /// The units.
    #[must_use]
    pub const fn units(&self) -> &BTreeMap<ObjectKey, Unit> {
        &self.units
    }

    /// Recomputes what was touched; gives back the Services whose unit changed, came or went.
    pub fn reconcile(&mut self, inputs: &Inputs, touched: &Touched) -> BTreeSet<ObjectKey> {
        if self.everything || !touched.nodes.is_empty() {
            self.judge_nodes(inputs);
        }
        let mut dirty: BTreeSet<ObjectKey> = touched.services.union(&touched.endpoints).cloned().collect();
        if std::mem::take(&mut self.everything) {
            dirty.extend(inputs.services.keys().chain(self.shares.keys()).cloned());
        }
        let mut owners = BTreeSet::new();
        for key in dirty {
            self.evaluate(key, inputs, &mut owners);
        }
        owners.into_iter().filter(|owner| self.rebuild(owner)).collect()
    }

    fn judge_links(&mut self) {
        let named =
            |rule: &Rule, link: &String| rule.interfaces.as_ref().is_none_or(|set| set.is_match(link));
        let links = |rule| self.interfaces.iter().filter(|link| named(rule, link)).cloned().collect();
        self.links = self.rules.iter().map(links).collect();
    }

    fn judge_nodes(&mut self, inputs: &Inputs) {
        // A missing Node is a node without labels.
        let missing = Node { name: self.node.clone(), ..Node::default() };
        let own = (!inputs.nodes.contains_key(&self.node)).then_some(&missing);
        let nodes = |rule: &Rule| {
            let selected =
                inputs.nodes.values().chain(own).filter(|node| rule.nodes.matches(&node.selectable_labels()));
            Arc::new(selected.map(|node| node.name.clone()).collect())
        };
        let new: Vec<Arc<BTreeSet<String>>> = self.rules.iter().map(nodes).collect();
        if new != self.nodes {
            self.nodes = new;
            self.everything = true;
        }
    }

    /// Notes what a Service asks for now; `owners` gains every Service whose unit that may change.
    fn evaluate(&mut self, key: ObjectKey, inputs: &Inputs, owners: &mut BTreeSet<ObjectKey>) {
        let new = inputs.services.get(&key).map(|service| self.share(service, inputs)).unwrap_or_default();
        let old = self.shares.remove(&key).unwrap_or_default();
        let addresses: BTreeSet<IpAddr> = old.addresses.keys().chain(new.addresses.keys()).copied().collect();
        for address in addresses {
            let claimants = self.claimants.entry(address).or_default();
            owners.extend(claimants.first().map(|(_, owner)| owner.clone()));
            claimants.remove(&(old.created, key.clone()));
            if new.addresses.contains_key(&address) {
                claimants.insert((new.created, key.clone()));
            }
            owners.extend(claimants.first().map(|(_, owner)| owner.clone()));
            if claimants.is_empty() {
                self.claimants.remove(&address);
            }
        }
        owners.insert(key.clone());
        if !new.addresses.is_empty() {
            self.shares.insert(key, new);
        }
    }

    fn share(&self, service: &Service, inputs: &Inputs) -> Share {
        let ours = class_serves(service, self.default_class);
        let mut share = Share { created: service.created, ..Share::default() };
        // A Service that is being deleted is withdrawn before its endpoints are gone.
        if !ours || service.deleting {
            return share;
        }
        for (index, rule) in self.rules.iter().enumerate() {
            for address in asked(rule, service) {
                share.addresses.entry(address).or_default().insert(index);
            }
        }
        share.local = self.local(service, inputs);
        share
    }

    /// Of IPv6 addresses the kernel answers for its own alone, those that are merely delivered here left out.
    fn kernel_answers(&self, address: IpAddr, link: &String) -> bool {
        address.is_ipv4() && self.answering.contains(link)
    }

    /// The nodes that a Service with the policy Local may be announced from; absent for any.
    fn local(&self, service: &Service, inputs: &Inputs) -> Option<BTreeSet<String>> {
        (service.external_traffic_policy == TrafficPolicy::Local)
            .then(|| local_nodes(service, inputs))
            .flatten()
    }

    /// Builds a Service's unit anew; says whether it changed.
    fn rebuild(&mut self, owner: &ObjectKey) -> bool {
        let new = self.unit(owner);
        if self.units.get(owner) == new.as_ref() {
            return false;
        }
        match new {
            Some(unit) => self.units.insert(owner.clone(), unit),
            None => self.units.remove(owner),
        };
        true
    }

    fn unit(&self, owner: &ObjectKey) -> Option<Unit> {
        let share = self.shares.get(owner)?;
        let mut addresses = BTreeMap::new();
        let mut rules = BTreeSet::new();
        let mut sharers = BTreeSet::new();
        for address in share.addresses.keys() {
            let Some(claimants) = self.claimants.get(address) else { continue };
            if claimants.first().is_none_or(|(_, first)| first != owner) {
                continue;
            }
            let mut here = BTreeSet::new();
            for (_, claimant) in claimants {
                let asked = self.shares.get(claimant).and_then(|share| share.addresses.get(address));
                for rule in asked.into_iter().flatten() {
                    rules.insert(*rule);
                    let links = self.links.get(*rule).into_iter().flatten();
                    here.extend(links.filter(|link| !self.kernel_answers(*address, link)).cloned());
                }
                sharers.insert(claimant);
            }
            addresses.insert(*address, here);
        }
        if addresses.is_empty() {
            return None;
        }
        let mut candidates: BTreeSet<String> = rules
            .iter()
            .filter_map(|rule| self.nodes.get(*rule))
            .flat_map(|set| set.iter().cloned())
            .collect();
        for local in sharers.iter().filter_map(|sharer| self.shares.get(*sharer)?.local.as_ref()) {
            candidates.retain(|node| local.contains(node));
        }
        Some(Unit { service: owner.clone(), addresses, candidates })
    }
}

/// The nodes with a ready endpoint of a Service. `None` where ready endpoints name no node, as those of
/// Cilium's Gateways and Ingresses do: every node serves them.
fn local_nodes(service: &Service, inputs: &Inputs) -> Option<BTreeSet<String>> {
    let endpoints = inputs.slices(&service.key).flat_map(|slice| &slice.endpoints);
    let ready: Vec<Option<&String>> =
        endpoints.filter(|endpoint| endpoint.ready).map(|endpoint| endpoint.node.as_ref()).collect();
    let nowhere = !ready.is_empty() && ready.iter().all(Option::is_none);
    (!nowhere).then(|| ready.into_iter().flatten().cloned().collect())
}

/// Whether only the segment's announcer, or everybody, may announce a Service.
fn class_serves(service: &Service, default_class: DefaultClass) -> bool {
    match service.class.as_deref() {
        None => default_class != DefaultClass::NodeIpam,
        Some(class) => class == L2_CLASS,
    }
}

/// The addresses of a Service that a rule announces.
fn asked<'a>(rule: &'a Rule, service: &'a Service) -> impl Iterator<Item = IpAddr> + 'a {
    let selected = match &rule.services {
        Selection::These(selector) => service.selected_by(selector),
        other => other.matches(&service.labels),
    };
    let balanced = service.load_balancer && rule.load_balancer_ips;
    let ingress = service.ingress.iter().filter(move |_| selected && balanced);
    let external = service.external_ips.iter().filter(move |_| selected && rule.external_ips);
    ingress.chain(external).copied()
}

#[cfg(test)]
mod tests;
