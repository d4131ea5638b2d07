//! The world's part in announcing on the segment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, Timestamp};
use regex::RegexSet;
use speaker_config::model::SpeakerConfig;
use speaker_config::objects::Service;

use super::World;
use crate::announce::Subject;
use crate::drain::Drain;
use crate::inputs::{Inputs, Touched};
use crate::l2::segment::{Held, Segment, Standing, file_rule, policy_faults, policy_rule};
use crate::view::{GateView, SegmentStory};

/// L2 announcements, where they are on.
#[derive(Debug)]
pub(super) struct L2 {
    segment: Segment,
    /// CiliumL2AnnouncementPolicies decide: in a cluster that has their kind, and on a host whose manifests
    /// hold one. Else the file's `l2` alone does.
    policies: Policies,
    interfaces: BTreeSet<String>,
    /// Those of them on which the kernel answers ARP for every address that is delivered on this host.
    answering: BTreeSet<String>,
    /// `datapath.local` is `announced`.
    delivered: bool,
    /// What `l2.interfaces` lets through; absent is every interface.
    named: Option<RegexSet>,
    config: speaker_config::model::L2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policies {
    Decide,
    WhereThereAreAny,
    AreNotRead,
}

impl L2 {
    pub(super) fn new(config: &SpeakerConfig, node: &str) -> Option<Self> {
        if !config.l2.enabled {
            return None;
        }
        let class = config.ipam.default_class;
        let cluster = config.sources.kubernetes;
        let segment = if cluster {
            Segment::elected(node, class, config.l2.lease_duration)
        } else {
            Segment::alone(node, class)
        };
        let policies = match (cluster, config.sources.cilium_l2) {
            (_, Some(false)) => Policies::AreNotRead,
            (true, _) => Policies::Decide,
            (false, _) => Policies::WhereThereAreAny,
        };
        let mut l2 = Self {
            segment,
            policies,
            interfaces: BTreeSet::new(),
            answering: BTreeSet::new(),
            delivered: false,
            named: None,
            config: config.l2.clone(),
        };
        l2.configure(config, &Inputs::default());
        Some(l2)
    }

    fn configure(&mut self, config: &SpeakerConfig, inputs: &Inputs) {
        self.config = config.l2.clone();
        // The reader has compiled each of them.
        let patterns = &config.l2.interfaces;
        self.named = (!patterns.is_empty()).then(|| RegexSet::new(patterns).unwrap_or_default());
        self.delivered = config.datapath.local_announced;
        self.judge_interfaces();
        self.judge_rules(inputs);
    }

    fn set_interfaces(&mut self, interfaces: BTreeSet<String>, answering: BTreeSet<String>) {
        self.interfaces = interfaces;
        self.answering = answering;
        self.judge_interfaces();
    }

    fn judge_interfaces(&mut self) {
        let named = |name: &&String| self.named.as_ref().is_none_or(|named| named.is_match(name));
        self.segment.set_interfaces(self.interfaces.iter().filter(named).cloned().collect());
        let answering = if self.delivered { self.answering.clone() } else { BTreeSet::new() };
        self.segment.set_answering(answering);
    }

    fn judge_rules(&mut self, inputs: &Inputs) {
        let decide = match self.policies {
            Policies::Decide => true,
            Policies::WhereThereAreAny => !inputs.l2_policies.is_empty(),
            Policies::AreNotRead => false,
        };
        let rules = if decide {
            inputs.l2_policies.values().filter_map(policy_rule).collect()
        } else {
            file_rule(&self.config).into_iter().collect()
        };
        self.segment.set_rules(rules);
    }

    pub(super) fn reconcile(
        &mut self,
        inputs: &Inputs,
        touched: &Touched,
        ask: impl FnOnce() -> Option<u64>,
    ) {
        if !touched.l2_policies.is_empty() {
            self.judge_rules(inputs);
        }
        self.segment.reconcile(inputs, touched, ask);
    }

    pub(super) fn segment_mut(&mut self) -> &mut Segment {
        &mut self.segment
    }
}

impl World {
    /// This node has these interfaces, and they are up; on those of `answering` the kernel answers ARP for every address
    /// that is delivered on this host (`arp_ignore` is 0).
    pub fn set_interfaces(&mut self, interfaces: BTreeSet<String>, answering: BTreeSet<String>) {
        if let Some(l2) = &mut self.l2 {
            l2.set_interfaces(interfaces, answering);
        }
    }

    /// What becomes of addresses on the segments, for `explain`: nothing where L2 announcements are off.
    pub(super) fn explain_segment(&self, subject: &Subject) -> Vec<SegmentStory> {
        let Some(l2) = &self.l2 else { return Vec::new() };
        let addresses = |service: &Service| -> Vec<IpAddr> {
            service.ingress.iter().chain(&service.external_ips).copied().collect()
        };
        let services: Vec<(&Service, IpAddr)> = match subject {
            Subject::Service(key) => {
                let service = self.inputs.services.get(key).into_iter();
                service
                    .flat_map(|one| addresses(one).into_iter().map(move |address| (one, address)))
                    .collect()
            }
            Subject::Address(address) => {
                let holds = |one: &&Service| addresses(one).contains(address);
                self.inputs.services.values().filter(holds).map(|one| (one, *address)).collect()
            }
            Subject::Prefix(_) | Subject::Pool(_) => Vec::new(),
        };
        let mut stories = Vec::new();
        for (service, address) in services {
            let mut story = l2.segment.explain(service, address, &self.inputs);
            let gate = |gate: &str, passed, detail| GateView { gate: gate.to_owned(), passed, detail };
            if let Some((false, detail)) = self.readiness.verdict() {
                story.gates.insert(0, gate("readiness", false, detail));
            }
            if self.drain != Drain::No {
                story.gates.insert(0, gate("drain", false, "this node is drained".to_owned()));
            }
            // A policy that cannot be read announces nothing, and could have meant this Service.
            for (policy, faults) in self.faulty_policies() {
                story.gates.push(gate(
                    &format!("policy {policy}"),
                    false,
                    format!("it is left out: {}", faults.join("; ")),
                ));
            }
            stories.push(story);
        }
        stories
    }

    fn faulty_policies(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let read = self.l2.as_ref().is_some_and(|l2| l2.policies != Policies::AreNotRead);
        let policies = self.inputs.l2_policies.values().filter(move |_| read);
        policies
            .map(|policy| (policy.name.as_str(), policy_faults(policy)))
            .filter(|(_, faults)| !faults.is_empty())
    }

    /// The elections and what this node holds, where L2 announcements are on.
    pub fn segment(&mut self) -> Option<&mut Segment> {
        self.l2.as_mut().map(L2::segment_mut)
    }

    /// The addresses that this node answers for on its segments: none before everything is known.
    #[must_use]
    pub fn held(&self) -> Held {
        let known = self.l2.as_ref().filter(|_| self.complete);
        known.map(|l2| l2.segment.held()).unwrap_or_default()
    }

    /// How many addresses stand how, where L2 announcements are on and everything is known.
    #[must_use]
    pub fn standings(&self, now: Timestamp) -> Option<BTreeMap<(Family, Standing), usize>> {
        let known = self.l2.as_ref().filter(|_| self.complete);
        known.map(|l2| l2.segment.standings(now))
    }

    pub(super) fn configure_segment(&mut self, config: &SpeakerConfig) {
        match &mut self.l2 {
            Some(l2) if config.l2.enabled => l2.configure(config, &self.inputs),
            _ => self.l2 = L2::new(config, &self.node),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use speaker_config::manifest::{self, Content};

    use crate::world::{Start, World};

    #[test]
    fn an_external_address_that_only_a_segment_has_is_explained() {
        let text = "router: {asn: 64501}\nl2: {enabled: true, interfaces: [eth0]}\n";
        let (config, _) = speaker_config::speaker::parse(text, "speaker.yaml", Path::new(".")).unwrap();
        let mut world = World::new(&config, &Start { node: "n1".to_owned(), ..Start::default() });
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: LoadBalancer\n  \
                       externalIPs: [198.51.100.7]\n  ports: [{port: 80}]\n";
        for document in manifest::parse(service) {
            let Content::Object(object) = document.content else { panic!("{document:?}") };
            world.upsert(object);
        }
        world.settle(1000);
        let told = world.explain("198.51.100.7").unwrap();
        let [story] = told.segment.as_slice() else { panic!("{told:?}") };
        assert!(story.gates.iter().any(|gate| gate.gate == "class" && gate.passed), "{story:?}");
        assert_eq!(world.explain("198.51.100.8"), None);
    }
}
