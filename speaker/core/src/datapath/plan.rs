//! From what is wanted and what is there to what is to be done, one place after the other.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::types::{Family, FamilyMap, Prefix};

use super::linger::Linger;
use super::picture::{Picture, is_own};
use super::report::Outcome;
use super::state::{KernelOp, KernelRoute, KernelState, OwnRoute, RouteKey, RouteKind};
use super::wanted::{Guard, Wanted};
use super::{LOCAL_TABLE, METRIC, TABLE};

/// What is to be done about some places, and how they stand before it is done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What makes addresses work.
    pub locals_coming: Vec<KernelOp>,
    /// What keeps packets away from others.
    pub guards_coming: Vec<KernelOp>,
    /// Routes of ours that are to go.
    pub going: Vec<RouteKey>,
    /// Of every wanted guard that was looked at.
    pub guards: BTreeMap<Prefix, Outcome>,
    /// Of every address to be delivered that was looked at.
    pub locals: BTreeMap<IpAddr, Outcome>,
}

/// What is to be done about the rule of a family.
#[derive(Debug)]
pub(super) struct RulePlan {
    /// To be made.
    pub coming: Option<KernelOp>,
    /// To go.
    pub going: Vec<KernelOp>,
    /// How it stands: a guard without its rule guards nothing.
    pub outcome: Outcome,
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub wanted: &'a Wanted,
    pub linger: &'a Linger,
    pub picture: &'a Picture,
}

impl Given<'_> {
    /// Looks at the routes to one destination in one table: those of ours that are there, and what is wanted.
    pub(super) fn look(self, table: u32, prefix: Prefix, plan: &mut Plan) {
        let addr = prefix.addr();
        let stays = match table {
            TABLE => {
                if let Some(guard) = self.wanted.guards.get(&prefix) {
                    return self.guard(prefix, *guard, plan);
                }
                self.linger.keeps_guard(prefix)
            }
            _ => {
                if prefix.is_host() && self.wanted.locals.contains(&addr) {
                    return self.local(addr, plan);
                }
                prefix.is_host() && self.linger.keeps_local(addr)
            }
        };
        if !stays {
            let own = self.picture.at(table, prefix).iter().filter(|one| is_own(one));
            plan.going.extend(own.map(|one| one.key));
        }
    }

    fn local(self, addr: IpAddr, plan: &mut Plan) {
        let key = local_key(addr);
        let there = self.picture.at(LOCAL_TABLE, key.prefix);
        plan.going.extend(there.iter().filter(|one| is_own(one) && one.key != key).map(|one| one.key));
        let delivers = |one: &KernelRoute| one.kind == RouteKind::Local && !(is_own(one) && one.key != key);
        let taken = |one: &&KernelRoute| one.key == key && !is_own(one) && one.kind != RouteKind::Local;
        let outcome = if there.iter().any(delivers) {
            // Ours, or the address of an interface.
            Outcome::InPlace
        } else if let Some(taken) = there.iter().find(taken) {
            let protocol = taken.protocol;
            Outcome::Failed(format!("table local has another route to {addr} (protocol {protocol})"))
        } else {
            plan.locals_coming.push(KernelOp::AddRoute(OwnRoute { key, kind: RouteKind::Local }));
            Outcome::Pending
        };
        plan.locals.insert(addr, outcome);
    }

    fn guard(self, prefix: Prefix, guard: Guard, plan: &mut Plan) {
        let key = guard_key(prefix);
        let there = self.picture.at(TABLE, prefix);
        let own = || there.iter().filter(|one| is_own(one));
        if let Some(why) = self.picture.spared(prefix, guard) {
            plan.going.extend(own().map(|one| one.key));
            plan.guards.insert(prefix, Outcome::Spared(why));
            return;
        }
        plan.going.extend(own().filter(|one| one.key != key).map(|one| one.key));
        let route = OwnRoute { key, kind: guard.kind.into() };
        let foreign = there.iter().find(|one| one.key == key && !is_own(one));
        let mine = own().find(|one| one.key == key);
        let outcome = match (mine, foreign) {
            (Some(mine), _) if mine.kind == route.kind => Outcome::InPlace,
            (_, Some(foreign)) => {
                let protocol = foreign.protocol;
                Outcome::Failed(format!(
                    "table {TABLE} has a route of somebody else to it (protocol {protocol})"
                ))
            }
            (Some(_), None) => {
                plan.guards_coming.push(KernelOp::ReplaceRoute(route));
                Outcome::Pending
            }
            (None, None) => {
                plan.guards_coming.push(KernelOp::AddRoute(route));
                Outcome::Pending
            }
        };
        plan.guards.insert(prefix, outcome);
    }

    /// Looks at the rule of a family, where `guarded` says whether a wanted guard stands or is to.
    pub(super) fn rule(self, family: Family, guarded: bool) -> RulePlan {
        let kept = || {
            let mut lingering = self.linger.guards().filter(|one| one.family() == family);
            lingering.any(|one| self.picture.at(TABLE, one).iter().any(is_own))
        };
        let preference = (guarded || kept()).then(|| self.picture.preference(family));
        let (stays, coming, outcome) = match preference {
            None => (None, None, Outcome::InPlace),
            Some(Ok((preference, true))) => (Some(preference), None, Outcome::InPlace),
            Some(Ok((preference, false))) => {
                (None, Some(KernelOp::AddRule { family, preference }), Outcome::Pending)
            }
            Some(Err(why)) => (None, None, Outcome::Failed(why)),
        };
        let gone =
            self.picture.own_rules(family).map(|rule| rule.preference).filter(|one| Some(*one) != stays);
        let going = gone.map(|preference| KernelOp::DeleteRule { family, preference }).collect();
        RulePlan { coming, going, outcome }
    }
}

impl Plan {
    /// Everything in order. What makes addresses work comes before what keeps packets away from them, and goes after
    /// it; nothing goes before everything is known (`complete`).
    pub(super) fn ops(self, rules: &FamilyMap<RulePlan>, complete: bool) -> Vec<KernelOp> {
        let Self { locals_coming: mut ops, guards_coming, mut going, .. } = self;
        ops.extend(guards_coming);
        ops.extend(rules.iter().filter_map(|(_, rule)| rule.coming.clone()));
        if complete {
            ops.extend(rules.iter().flat_map(|(_, rule)| rule.going.clone()));
            // The guard's routes before local delivery: our table's number is above that of `local`.
            going.sort_by_key(|key| (std::cmp::Reverse(key.table), *key));
            ops.extend(going.into_iter().map(KernelOp::DeleteRoute));
        }
        ops
    }
}

/// Of a guard of ours.
pub(super) const fn guard_key(prefix: Prefix) -> RouteKey {
    RouteKey { table: TABLE, prefix, metric: METRIC }
}

/// Of local delivery.
pub(super) fn local_key(addr: IpAddr) -> RouteKey {
    RouteKey { table: LOCAL_TABLE, prefix: Prefix::host(addr), metric: METRIC }
}

/// What removes everything that is ours.
#[must_use]
pub fn cleanup(state: KernelState) -> Vec<KernelOp> {
    let picture = Picture::of(state, false);
    let wanted = Wanted { complete: true, ..Wanted::default() };
    let given = Given { wanted: &wanted, linger: &Linger::default(), picture: &picture };
    let mut plan = Plan::default();
    picture.own_places().for_each(|(table, prefix)| given.look(table, prefix, &mut plan));
    plan.ops(&FamilyMap::from_fn(|family| given.rule(family, false)), true)
}

/// What stands in the way of a guard, in words: foreign entries in our table, and no place for our rule.
#[must_use]
pub fn obstacles(state: KernelState) -> Vec<String> {
    let picture = Picture::of(state, false);
    let places = Family::ALL.into_iter().filter_map(|family| picture.preference(family).err());
    picture.notes().iter().cloned().chain(places).collect()
}
