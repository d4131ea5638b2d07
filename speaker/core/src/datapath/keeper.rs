//! What is wanted, held beside what the kernel was last seen to have: a change asks only for what it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, FamilyMap, Prefix, Timestamp};

use super::linger::Linger;
use super::picture::Picture;
use super::plan::{Given, Plan, guard_key, local_key};
use super::report::{Access, KernelReport, Outcome};
use super::state::{KernelOp, KernelState, RouteKey};
use super::wanted::{Change, Wanted};
use super::{LOCAL_TABLE, TABLE};

/// Keeps the kernel in line with what is wanted. It is told what the kernel has, what came to be wanted and what was
/// done, and says what is to be done. Concerns only what bears [`PROTOCOL`](super::PROTOCOL).
///
/// The kernel is to be read ([`Keeper::read`]) at the beginning, whenever somebody else has changed something that
/// matters or may have, after an operation that failed, and now and then. Between that, what was acknowledged
/// ([`Keeper::done`]) is known to be there.
#[derive(Debug, Clone, Default)]
pub struct Keeper {
    wanted: Wanted,
    linger: Linger,
    picture: Picture,
    /// Another look at the kernel is necessary.
    doubtful: bool,
    /// The picture has what this host routes on.
    with_routed: bool,
    due: Due,
    /// Of wanted guards, those that are not in place; their rule aside.
    guards: BTreeMap<Prefix, Outcome>,
    /// Of wanted addresses, those that are not delivered.
    locals: BTreeMap<IpAddr, Outcome>,
    rules: FamilyMap<Option<Outcome>>,
    refused: BTreeMap<Object, String>,
}

/// Places to be looked at: table and destination.
#[derive(Debug, Clone, Default)]
struct Due {
    everything: bool,
    places: BTreeSet<(u32, Prefix)>,
}

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Route(RouteKey),
    Rule(Family),
}

impl Object {
    const fn of(op: &KernelOp) -> Self {
        match op {
            KernelOp::AddRoute(route) | KernelOp::ReplaceRoute(route) => Self::Route(route.key),
            KernelOp::DeleteRoute(key) => Self::Route(*key),
            KernelOp::AddRule { family, .. } | KernelOp::DeleteRule { family, .. } => Self::Rule(*family),
        }
    }
}

impl Keeper {
    /// One that has seen nothing, and of which nothing is wanted.
    #[must_use]
    pub fn new() -> Self {
        Self { doubtful: true, ..Self::default() }
    }

    /// What is wanted.
    #[must_use]
    pub const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// What the kernel has may be something else than what is known of it.
    pub const fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether the kernel has to be read before [`Self::plan`].
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether it matters by which routers this host reaches others: a fixed prefix is spared where it routes inside.
    #[must_use]
    pub const fn minds_routers(&self) -> bool {
        self.with_routed
    }

    /// Takes what the kernel has.
    pub fn read(&mut self, state: KernelState) {
        self.with_routed = self.wanted.guards.values().any(|guard| guard.fixed);
        self.picture = Picture::of(state, self.with_routed);
        self.doubtful = false;
        self.due.everything = true;
    }

    /// Takes a change of what is wanted.
    pub fn follow(&mut self, change: &Change, now: Timestamp) {
        // What is not wanted may go from now on.
        self.due.everything |= change.complete != self.wanted.complete;
        self.doubtful |= !self.with_routed && change.guards.values().flatten().any(|guard| guard.fixed);
        self.wanted.follow(change);
        self.linger.follow(change, now);
        self.due.places.extend(change.guards.keys().map(|prefix| (TABLE, *prefix)));
        self.due.places.extend(change.locals.keys().map(|addr| (LOCAL_TABLE, Prefix::host(*addr))));
    }

    /// What was wanted until a while ago may go.
    pub fn expire(&mut self, now: Timestamp) {
        let (guards, locals) = self.linger.expire(now);
        self.due.places.extend(guards.into_iter().map(|prefix| (TABLE, prefix)));
        self.due.places.extend(locals.into_iter().map(|addr| (LOCAL_TABLE, Prefix::host(addr))));
    }

    /// When [`Self::expire`] has something to do next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.linger.deadline()
    }

    /// What leads from what the kernel has to what is wanted, in order; nothing where that is the case already. It is
    /// said again until it was done.
    #[must_use]
    pub fn plan(&mut self) -> Vec<KernelOp> {
        let mut due = std::mem::take(&mut self.due);
        if due.everything {
            (self.guards, self.locals) = (BTreeMap::new(), BTreeMap::new());
            due.places.extend(self.picture.own_places());
            due.places.extend(self.wanted.guards.keys().map(|prefix| (TABLE, *prefix)));
            due.places.extend(self.wanted.locals.iter().map(|addr| (LOCAL_TABLE, Prefix::host(*addr))));
        }
        let given = Given { wanted: &self.wanted, linger: &self.linger, picture: &self.picture };
        let mut plan = Plan::default();
        for (table, prefix) in due.places {
            given.look(table, prefix, &mut plan);
            // Unless it turns out otherwise, below.
            if table == TABLE {
                self.guards.remove(&prefix);
            } else {
                self.locals.remove(&prefix.addr());
            }
        }
        let not_there = |outcome: &Outcome| *outcome != Outcome::InPlace;
        self.guards
            .extend(plan.guards.iter().filter(|(_, one)| not_there(one)).map(|(k, v)| (*k, v.clone())));
        self.locals
            .extend(plan.locals.iter().filter(|(_, one)| not_there(one)).map(|(k, v)| (*k, v.clone())));
        let rules = FamilyMap::from_fn(|family| given.rule(family, self.is_guarded(family)));
        self.rules = FamilyMap::from_fn(|family| {
            Some(rules.get(family).outcome.clone()).filter(|one| *one != Outcome::InPlace)
        });
        let ops = plan.ops(&rules, self.wanted.complete);
        self.due.places.extend(ops.iter().filter_map(|op| match Object::of(op) {
            Object::Route(key) => Some((key.table, key.prefix)),
            Object::Rule(_) => None,
        }));
        ops
    }

    /// Whether a guard of the family stands, or is to.
    fn is_guarded(&self, family: Family) -> bool {
        let left_out = |prefix: &Prefix| {
            matches!(self.guards.get(prefix), Some(Outcome::Spared(_) | Outcome::Failed(_)))
        };
        self.wanted.guards.keys().any(|one| one.family() == family && !left_out(one))
    }

    /// Begins to do what [`Self::plan`] said: what was refused before is tried again.
    pub fn begin(&mut self) {
        self.refused.clear();
    }

    /// What came of an operation: the kernel has acknowledged it, or it has refused it with these words.
    pub fn done(&mut self, op: &KernelOp, result: Result<(), String>) {
        match result {
            Ok(()) => self.picture.done(op),
            Err(words) => {
                self.doubtful = true;
                self.refused.insert(Object::of(op), words);
            }
        }
    }

    /// How things stand.
    #[must_use]
    pub fn report(&self, access: Access) -> KernelReport {
        let mut guards = self.guards.clone();
        for (family, rule) in self.rules.iter() {
            let Some(outcome) = rule else { continue };
            let outcome = self.explained(outcome.clone(), Object::Rule(family));
            let of_family = self.wanted.guards.keys().filter(|one| one.family() == family);
            let standing =
                of_family.filter(|one| matches!(self.guards.get(one), None | Some(Outcome::Pending)));
            guards.extend(standing.map(|prefix| (*prefix, outcome.clone())));
        }
        let guards = guards
            .into_iter()
            .map(|(prefix, outcome)| (prefix, self.explained(outcome, Object::Route(guard_key(prefix)))));
        let locals = self
            .locals
            .iter()
            .map(|(addr, outcome)| (*addr, self.explained(outcome.clone(), Object::Route(local_key(*addr)))));
        KernelReport {
            access,
            serial: self.wanted.serial,
            guards: guards.collect(),
            locals: locals.collect(),
            notes: self.picture.notes().to_vec(),
        }
    }

    /// What is still to be done, with the reason for which it was not.
    fn explained(&self, outcome: Outcome, object: Object) -> Outcome {
        match (outcome, self.refused.get(&object)) {
            (Outcome::Pending, Some(why)) => Outcome::Failed(why.clone()),
            (outcome, _) => outcome,
        }
    }
}

#[cfg(test)]
mod tests;
