//! Routes that another process left, before anything is known of the objects behind them.

use std::collections::BTreeSet;

use bgp_proto::types::Prefix;
use speaker_config::model::PoolGate;
use speaker_config::objects::AddressKind;

use super::Announcer;
use super::advertisement::Prepared;
use crate::inputs::Inputs;
use crate::kept::KeptRoute;
use crate::rib::{Contribution, Contributions, Route, Source, SourceKind};

impl Announcer {
    /// Takes over the Loc-RIB of another process, as far as the configuration in force would announce it still; says
    /// what there is now. The next [`Self::reconcile`] judges every prefix anew.
    pub fn take_over(&mut self, routes: Vec<KeptRoute>, inputs: &Inputs) -> BTreeSet<Prefix> {
        self.look(inputs);
        for KeptRoute { prefix, since, reasons } in routes {
            let each = reasons.iter();
            let each = each.map(|one| (one.advertisement.as_str(), &one.source, one.created, one.covered));
            if let Some(contributions) = self.fitted(prefix, each) {
                self.rib.routes.insert(prefix, Route { contributions, since });
            }
        }
        self.refit = false;
        self.rib.routes.keys().copied().collect()
    }

    /// Another configuration is in force, and still nothing is known of the objects; says which routes changed or went.
    pub fn refit(&mut self, inputs: &Inputs) -> BTreeSet<Prefix> {
        if !std::mem::take(&mut self.refit) {
            return BTreeSet::new();
        }
        self.look(inputs);
        let mut changed = BTreeSet::new();
        let mut routes = std::mem::take(&mut self.rib.routes);
        routes.retain(|prefix, route| {
            let old = route.contributions.iter();
            let old = old.map(|one| (one.advertisement.as_ref(), &one.source, one.created, one.covered));
            let Some(fitted) = self.fitted(*prefix, old) else {
                changed.insert(*prefix);
                return false;
            };
            if fitted != route.contributions {
                route.contributions = fitted;
                changed.insert(*prefix);
            }
            true
        });
        self.rib.routes = routes;
        changed
    }

    /// What is known of this node and of what nobody may announce.
    fn look(&mut self, inputs: &Inputs) {
        let labels = inputs.selectable_labels(&self.node);
        for advertisement in &mut self.advertisements {
            advertisement.judge_node(&labels);
        }
        self.surroundings.look(inputs);
    }

    /// The reasons as the advertisements in force give them; `None` where none is left.
    fn fitted<'a>(
        &self,
        prefix: Prefix,
        reasons: impl Iterator<Item = (&'a str, &'a Source, i64, bool)>,
    ) -> Option<Contributions> {
        let fitted = reasons.filter_map(|(name, source, created, covered)| {
            let mut all = self.advertisements.iter();
            let advertisement = all.find(|one| *one.name == *name && one.still_means(source.kind, prefix))?;
            let refusal = match source.kind {
                // Of an address it is not known any more what it was, and a ClusterIP is none that is refused.
                SourceKind::Service | SourceKind::Aggregate => {
                    self.surroundings.refusal_of(prefix, AddressKind::Cluster, advertisement)
                }
                SourceKind::Pool | SourceKind::Prefix => self.surroundings.refusal(prefix, advertisement),
            };
            refusal.is_none().then(|| advertisement.contribution(source.clone(), created, covered))
        });
        let fitted: Vec<Contribution> = fitted.collect();
        (!fitted.is_empty()).then(|| fitted.into())
    }
}

impl Prepared {
    /// Whether it speaks on this node and announces such routes at all. What it selects cannot be asked: the objects
    /// are not known.
    fn still_means(&self, kind: SourceKind, prefix: Prefix) -> bool {
        self.here
            && match kind {
                SourceKind::Pool => self.spec.pool_prefix.is_some_and(|one| one.when != PoolGate::Never),
                SourceKind::Service => self.spec.service_routes.is_some(),
                SourceKind::Aggregate => self.aggregate(prefix.addr()) == Some(prefix),
                SourceKind::Prefix => self.spec.prefixes.contains(&prefix),
            }
    }
}
