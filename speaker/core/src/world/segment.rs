//! The world's part in announcing on the segment.

use std::collections::BTreeSet;

use regex::RegexSet;
use speaker_config::model::SpeakerConfig;

use super::World;
use crate::inputs::{Inputs, Touched};
use crate::l2::segment::{Held, Segment, file_rule, policy_rule};

/// L2 announcements, where they are on.
#[derive(Debug)]
pub(super) struct L2 {
    segment: Segment,
    /// CiliumL2AnnouncementPolicies decide: in a cluster that has their kind, and on a host whose manifests
    /// hold one. Else the file's `l2` alone does.
    policies: Policies,
    interfaces: BTreeSet<String>,
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
        let mut l2 =
            Self { segment, policies, interfaces: BTreeSet::new(), named: None, config: config.l2.clone() };
        l2.configure(config, &Inputs::default());
        Some(l2)
    }

    fn configure(&mut self, config: &SpeakerConfig, inputs: &Inputs) {
        self.config = config.l2.clone();
        // The reader has compiled each of them.
        let patterns = &config.l2.interfaces;
        self.named = (!patterns.is_empty()).then(|| RegexSet::new(patterns).unwrap_or_default());
        self.judge_interfaces();
        self.judge_rules(inputs);
    }

    fn set_interfaces(&mut self, interfaces: BTreeSet<String>) {
        self.interfaces = interfaces;
        self.judge_interfaces();
    }

    fn judge_interfaces(&mut self) {
        let named = |name: &&String| self.named.as_ref().is_none_or(|named| named.is_match(name));
        self.segment.set_interfaces(self.interfaces.iter().filter(named).cloned().collect());
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

    pub(super) fn reconcile(&mut self, inputs: &Inputs, touched: &Touched) {
        if !touched.l2_policies.is_empty() {
            self.judge_rules(inputs);
        }
        self.segment.reconcile(inputs, touched);
    }
}

impl World {
    /// This node has these interfaces, and they are up.
    pub fn set_interfaces(&mut self, interfaces: BTreeSet<String>) {
        if let Some(l2) = &mut self.l2 {
            l2.set_interfaces(interfaces);
        }
    }

    /// The elections and what this node holds, where L2 announcements are on.
    pub fn segment(&mut self) -> Option<&mut Segment> {
        self.l2.as_mut().map(|l2| &mut l2.segment)
    }

    /// The addresses that this node answers for on its segments: none before everything is known.
    #[must_use]
    pub fn held(&self) -> Held {
        let known = self.l2.as_ref().filter(|_| self.complete);
        known.map(|l2| l2.segment.held()).unwrap_or_default()
    }

    pub(super) fn configure_segment(&mut self, config: &SpeakerConfig) {
        match &mut self.l2 {
            Some(l2) if config.l2.enabled => l2.configure(config, &self.inputs),
            _ => self.l2 = L2::new(config, &self.node),
        }
    }
}
