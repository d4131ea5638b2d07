//! What is kept for the next process, and what the one before has left ([`crate::kept`]).

use std::collections::BTreeSet;

use bgp_proto::types::Prefix;
use speaker_config::objects::{Object, ObjectKey, ObjectRef, PodIpPool, UnixSeconds};

use super::{Changes, World};
use crate::announce::Subject;
use crate::drain::Drain;
use crate::kept::{self, KeptSet, MOST_ROUTES, NotKept, Snapshot};
use crate::rfc3339;
use crate::rib::{Route, Source, SourceKind};
use crate::view::{Explanation, GateView, PrefixStory};

/// A set of another process, while it is in force.
#[derive(Debug)]
pub(super) struct InForce {
    written: UnixSeconds,
    /// Objects that no source has told of yet.
    objects: BTreeSet<ObjectRef>,
}

impl World {
    /// Whether [`Self::to_keep`] may say something else than when this was last asked.
    pub fn take_keep_stale(&mut self) -> bool {
        self.complete && std::mem::take(&mut self.keep_stale)
    }

    /// What is to be kept for a process after this one. To be asked of a complete world alone.
    ///
    /// # Errors
    /// Nothing is, and what was kept is to be forgotten.
    pub fn to_keep(&self) -> Result<Snapshot, NotKept> {
        if self.drain != Drain::No {
            return Err(NotKept::Drained);
        }
        let routes = &self.announcer.rib().routes;
        if routes.len() > MOST_ROUTES {
            return Err(NotKept::TooMany(routes.len()));
        }
        let (inputs, bgp) = (&self.inputs, &self.inputs.bgp);
        let mut objects: Vec<Object> = Vec::new();
        objects.extend(inputs.nodes.get(&self.node).cloned().map(Object::Node));
        objects.extend(inputs.cilium_node(&self.node).map(Object::CiliumNode));
        objects.extend(bgp.cluster_configs.values().cloned().map(Object::BgpClusterConfig));
        objects.extend(bgp.peer_configs.values().cloned().map(|one| Object::BgpPeerConfig(Box::new(one))));
        objects.extend(bgp.advertisements.values().cloned().map(Object::BgpAdvertisement));
        objects.extend(bgp.node_configs.values().cloned().map(Object::BgpNodeConfig));
        objects.extend(bgp.overrides.values().cloned().map(Object::BgpNodeConfigOverride));
        let pools = bgp.pod_ip_pools.iter();
        let pools = pools.map(|(name, labels)| PodIpPool { name: name.clone(), labels: labels.clone() });
        objects.extend(pools.map(Object::PodIpPool));
        let peers = self.peers.all().iter().map(|one| &one.peer.settings);
        let peers = peers.chain(self.config.dynamic_peers.iter().map(|one| &one.settings));
        let patience = kept::patience(peers.map(|settings| settings.graceful_restart));
        Ok(Snapshot { objects, routes: routes.clone(), patience })
    }

    /// Nobody has told of the objects in time: announces what the process before this one has left. Says whether it
    /// does: not where every source has delivered, and not before `readiness` lets routes through.
    pub fn open_kept(&mut self, set: KeptSet) -> bool {
        if self.waiting.is_empty() || self.kept.is_some() || !self.readiness.is_open() {
            return false;
        }
        let mut objects = BTreeSet::new();
        for object in set.objects {
            let reference = object.reference();
            if !self.inputs.contains(&reference) {
                objects.insert(reference);
                self.inputs.upsert(object, &mut self.touched);
            }
        }
        self.refresh();
        let routes = self.announcer.take_over(set.routes, &self.inputs);
        self.exporter.apply(&routes, self.announcer.rib());
        self.exporter.open();
        self.kept = Some(InForce { written: set.written, objects });
        true
    }

    /// When the set in force was written, while it is one that another process has left.
    #[must_use]
    pub fn kept_since(&self) -> Option<UnixSeconds> {
        self.kept.as_ref().map(|kept| kept.written)
    }

    /// The same in words.
    #[must_use]
    pub fn kept_note(&self) -> Option<String> {
        let written = rfc3339(self.kept_since()?);
        let waiting = self.waiting.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        Some(format!(
            "what is announced is from the set kept at {written}; the API server has not answered yet for {waiting}"
        ))
    }

    /// A source tells of an object itself.
    pub(super) fn confirm(&mut self, object: &Object) {
        if let Some(kept) = self.kept.as_mut().filter(|kept| !kept.objects.is_empty()) {
            kept.objects.remove(&object.reference());
        }
    }

    /// While sources are waited for: the configuration and the peers may change, and the routes with them.
    pub(super) fn settle_kept(&mut self) -> Changes {
        let mut changes = Changes::default();
        if self.kept.is_none() {
            return changes;
        }
        let touched = &self.touched;
        if touched.bgp || !touched.secrets.is_empty() || touched.nodes.contains(&self.node) {
            self.refresh();
        }
        if !self.touched.secrets.is_empty() {
            self.peers.keys_changed();
        }
        let changed = self.announcer.refit(&self.inputs);
        let exported = self.exporter.apply(&changed, self.announcer.rib());
        let drained = std::mem::take(&mut self.drained);
        changes.local = exported.local;
        changes.pending = &exported.pending | &drained.pending;
        changes.moved = &exported.moved | &drained.moved;
        changes
    }

    /// Every source has delivered: what none of them told of is gone.
    pub(super) fn let_go_of_kept(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        for object in &kept.objects {
            self.inputs.remove(object, &mut self.touched);
        }
    }

    /// `speaker explain` while a set of another process is in force: its objects are not known, but their names.
    pub(super) fn explain_kept(&self, target: &str, subject: Option<&Subject>) -> Option<Explanation> {
        let note = self.kept_note()?;
        let named = |source: &Source| match subject {
            Some(Subject::Service(ObjectKey { namespace, name })) => {
                source.namespace.as_ref() == Some(namespace) && source.name == *name
            }
            _ => source.kind == SourceKind::Pool && source.name == target,
        };
        let meant = |prefix: &Prefix, route: &Route| match subject {
            Some(Subject::Prefix(asked)) => asked.covers(*prefix) || prefix.covers(*asked),
            Some(Subject::Address(addr)) => prefix.contains(*addr),
            _ => route.contributions.iter().any(|one| named(&one.source)),
        };
        let routes = self.announcer.rib().routes.iter().filter(|(prefix, route)| meant(prefix, route));
        let prefixes: Vec<PrefixStory> = routes
            .map(|(prefix, route)| PrefixStory {
                prefix: *prefix,
                reasons: route
                    .contributions
                    .iter()
                    .map(|one| vec![gate(&one.source, &one.advertisement)])
                    .collect(),
                in_loc_rib: true,
                peers: self.peer_verdicts(*prefix),
            })
            .collect();
        if prefixes.is_empty() {
            return None;
        }
        let told = |story: &PrefixStory| story.peers.iter().any(|peer| peer.advertised);
        Some(Explanation {
            announced: prefixes.iter().all(told),
            prefixes,
            warnings: vec![note],
            ..Explanation::of_learned(target, Vec::new())
        })
    }
}

fn gate(source: &Source, advertisement: &str) -> GateView {
    let object = match &source.namespace {
        Some(namespace) => format!("{namespace}/{}", source.name),
        None => source.name.clone(),
    };
    GateView {
        gate: format!("advertisement {advertisement}"),
        passed: true,
        detail: format!("kept from the last announced set, on behalf of {object}"),
    }
}

#[cfg(test)]
mod tests;
