//! Cilium's BGP kinds: CiliumBGPNodeConfigs, and the conditions of those who lead to them.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::types::Prefix;
use speaker_config::objects::{Condition, Object, ObjectRef, UnixSeconds};

use super::patch::{Change, conditions};
use crate::cilium::operator::{
    CLUSTER_CONFIG_CONDITIONS, CONFLICTING_CLUSTER_CONFIG, MISSING_AUTH_SECRET, MISSING_PEER_CONFIGS,
    NO_MATCHING_NODE, NodeConfigWrite, PEER_CONFIG_CONDITIONS, Plan, WITHOUT_EFFECT, plan,
};
use crate::inputs::{BgpObjects, Inputs, Touched};
use crate::ipam::{DANGEROUS, INVALID_SPEC};

/// Conditions that somebody has to do something about: an Event tells when one becomes True.
const WARNINGS: [&str; 7] = [
    NO_MATCHING_NODE,
    MISSING_PEER_CONFIGS,
    CONFLICTING_CLUSTER_CONFIG,
    MISSING_AUTH_SECRET,
    INVALID_SPEC,
    WITHOUT_EFFECT,
    DANGEROUS,
];

/// A CiliumBGPNodeConfig as it was last written.
#[derive(Debug, Clone)]
struct Attempt {
    write: NodeConfigWrite,
    /// The generation that the API server made of it, once the watch has shown it.
    stored: Option<i64>,
}

/// The operator's part in them.
#[derive(Debug, Clone)]
pub(super) struct Bgp {
    /// What router IDs come from.
    pool: Option<Prefix>,
    /// Sources whose whole list has not come yet: before that nobody is deselected.
    waiting: BTreeSet<String>,
    plan: Plan,
    /// The plan is to be made anew.
    stale: bool,
    /// Secrets that are known to be there, or not to be.
    secrets: BTreeMap<String, bool>,
    /// An API server that stores something else than it was given (an older definition prunes fields) is not
    /// told the same again and again.
    attempts: BTreeMap<String, Attempt>,
}

impl Bgp {
    pub(super) fn new(sources: BTreeSet<String>, pool: Option<Prefix>) -> Self {
        Self {
            pool,
            waiting: sources,
            plan: Plan::default(),
            stale: true,
            secrets: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }

    /// The whole list of a source has come. One of a kind that the API server does not know is none.
    pub(super) fn listed(&mut self, source: &str) {
        self.waiting.remove(source);
    }

    /// Whether a Secret is there.
    pub(super) fn secret(&mut self, name: &str, there: bool) {
        self.stale |= self.secrets.insert(name.to_owned(), there) != Some(there);
    }

    /// Its list has come: what it did not show is not there.
    pub(super) fn secret_listed(&mut self, name: &str) {
        if !self.secrets.contains_key(name) {
            self.secret(name, false);
        }
    }

    /// It is not looked after any more.
    pub(super) fn forget_secret(&mut self, name: &str) {
        self.stale |= self.secrets.remove(name).is_some();
    }

    /// Plans anew where something has changed; which objects are to be looked at then.
    pub(super) fn settle(&mut self, inputs: &Inputs, touched: &Touched) -> BTreeSet<ObjectRef> {
        self.stale |= touched.bgp || !touched.nodes.is_empty();
        if !self.waiting.is_empty() || !std::mem::take(&mut self.stale) {
            return BTreeSet::new();
        }
        let mut targets = of(&self.plan);
        self.plan = plan(inputs, &self.secrets, self.pool);
        targets.extend(of(&self.plan));
        self.attempts.retain(|name, _| inputs.nodes.contains_key(name));
        targets
    }

    /// What an object lacks; `None` where it is as it should be.
    pub(super) fn write(&self, target: &ObjectRef, bgp: &BgpObjects, wall: UnixSeconds) -> Option<Change> {
        match target {
            ObjectRef::BgpClusterConfig(name) => {
                let (wanted, object) = (self.plan.cluster_configs.get(name)?, bgp.cluster_configs.get(name)?);
                conditions(&CLUSTER_CONFIG_CONDITIONS, &object.conditions, wanted, wall)
            }
            ObjectRef::BgpPeerConfig(name) => {
                let (wanted, object) = (self.plan.peer_configs.get(name)?, bgp.peer_configs.get(name)?);
                conditions(&PEER_CONFIG_CONDITIONS, &object.conditions, wanted, wall)
            }
            ObjectRef::BgpNodeConfig(name) => self.node_config(name, bgp),
            _ => None,
        }
    }

    fn node_config(&self, name: &str, bgp: &BgpObjects) -> Option<Change> {
        let present = bgp.node_configs.get(name);
        if self.plan.delete.contains(name) {
            return present.map(|_| Change::Delete);
        }
        let at = self.plan.write.binary_search_by(|write| write.node.as_str().cmp(name)).ok()?;
        let wanted = self.plan.write.get(at)?;
        let Some(present) = present else { return Some(Change::Create(wanted.clone())) };
        let tried = self.attempts.get(name);
        let in_vain =
            tried.is_some_and(|tried| tried.write == *wanted && tried.stored == Some(present.generation));
        (!in_vain).then(|| Change::Spec(wanted.clone()))
    }

    /// A write begins.
    pub(super) fn begun(&mut self, target: &ObjectRef, write: &Change) {
        if let (ObjectRef::BgpNodeConfig(name), Change::Create(wanted) | Change::Spec(wanted)) =
            (target, write)
        {
            self.attempts.insert(name.clone(), Attempt { write: wanted.clone(), stored: None });
        }
    }

    /// A write has failed: what stands there is not what became of it.
    pub(super) fn failed(&mut self, target: &ObjectRef) {
        if let ObjectRef::BgpNodeConfig(name) = target {
            self.attempts.remove(name);
        }
    }

    /// The watch shows what became of a write.
    pub(super) fn echoed(&mut self, object: &Object) {
        if let Object::BgpNodeConfig(config) = object
            && let Some(attempt) = self.attempts.get_mut(&config.name)
        {
            attempt.stored.get_or_insert(config.generation);
        }
    }
}

/// The objects that a plan speaks of.
fn of(plan: &Plan) -> BTreeSet<ObjectRef> {
    let written = plan.write.iter().map(|write| &write.node).chain(&plan.delete);
    let written = written.map(|name| ObjectRef::BgpNodeConfig(name.clone()));
    let clusters = plan.cluster_configs.keys().map(|name| ObjectRef::BgpClusterConfig(name.clone()));
    let peers = plan.peer_configs.keys().map(|name| ObjectRef::BgpPeerConfig(name.clone()));
    written.chain(clusters).chain(peers).collect()
}

/// Conditions that become True with a write, and were not before.
pub(super) fn warnings<'a>(
    write: &'a Change,
    recorded: &'a [Condition],
) -> impl Iterator<Item = &'a Condition> {
    let new = match write {
        Change::Conditions { conditions } => conditions.as_slice(),
        _ => &[],
    };
    new.iter().filter(move |new| {
        let told = recorded
            .iter()
            .any(|old| old.kind == new.kind && old.status == new.status && old.message == new.message);
        new.status == "True" && WARNINGS.contains(&new.kind.as_str()) && !told
    })
}
