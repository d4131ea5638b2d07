//! From what is wanted and what is there to what is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, FamilyMap, Prefix};

use super::linger::Linger;
use super::report::Outcome;
use super::state::{
    KernelOp, KernelRoute, KernelRule, KernelState, OwnRoute, RouteKey, RouteKind, RuleShape,
};
use super::wanted::{Guard, Wanted};
use super::{LOCAL_TABLE, METRIC, PREFERENCES, PROTOCOL, TABLE};

/// What is to be done, and how things stand before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In order. What makes addresses work comes before what keeps packets away from them, and goes after it.
    pub ops: Vec<KernelOp>,
    /// Of every wanted guard.
    pub guards: BTreeMap<Prefix, Outcome>,
    /// Of every address to be delivered.
    pub locals: BTreeMap<IpAddr, Outcome>,
    /// What somebody else has put in our place, in words. It is left as it is.
    pub notes: Vec<String>,
}

/// What leads from `state` to what is wanted; nothing where that is the case already. Concerns only what bears
/// [`PROTOCOL`]. What `linger` keeps stays, and nothing goes before `wanted` is complete.
#[must_use]
pub fn plan(wanted: &Wanted, linger: &Linger, state: &KernelState) -> Plan {
    let known = Known::of(state, wanted);
    let mut plan = Plan { notes: known.notes(), ..Plan::default() };
    let mut going = Vec::new();
    for addr in &wanted.locals {
        plan.local(*addr, &known, &mut going);
    }
    for (prefix, guard) in &wanted.guards {
        plan.guard(*prefix, *guard, &known, &mut going);
    }
    for route in known.own() {
        let prefix = route.key.prefix;
        let stays = match route.key.table {
            TABLE => wanted.guards.contains_key(&prefix) || linger.keeps_guard(prefix),
            _ => {
                let addr = prefix.addr();
                prefix.is_host() && (wanted.locals.contains(&addr) || linger.keeps_local(addr))
            }
        };
        if !stays {
            going.push(route.key);
        }
    }
    let mut rules_going = Vec::new();
    for family in Family::ALL {
        let kept =
            known.own().any(|one| one.key.prefix.family() == family && linger.keeps_guard(one.key.prefix));
        let needed = kept || plan.guarded(family);
        plan.rule(family, needed, &known, &mut rules_going);
    }
    if wanted.complete {
        plan.ops.append(&mut rules_going);
        // The guard's routes before local delivery: our table's number is above that of `local`.
        going.sort_by_key(|key| (std::cmp::Reverse(key.table), *key));
        plan.ops.extend(going.into_iter().map(KernelOp::DeleteRoute));
    }
    plan
}

/// What removes everything that is ours.
#[must_use]
pub fn cleanup(state: &KernelState) -> Vec<KernelOp> {
    plan(&Wanted { complete: true, ..Wanted::default() }, &Linger::default(), state).ops
}

/// What stands in the way of a guard, in words: foreign entries in our table, and no place for our rule.
#[must_use]
pub fn obstacles(state: &KernelState) -> Vec<String> {
    let known = Known::of(state, &Wanted::default());
    let places = Family::ALL.into_iter().filter_map(|family| known.preference(family).err());
    known.notes().into_iter().chain(places).collect()
}

/// The state, in the order in which it is asked.
struct Known<'a> {
    state: &'a KernelState,
    /// Routes of our table and of `local`.
    at: BTreeMap<(u32, Prefix), Vec<&'a KernelRoute>>,
    /// Subnets that this host is attached to.
    attached: Vec<&'a KernelRoute>,
    /// What this host routes on, where a fixed prefix makes that matter.
    routed: BTreeSet<Prefix>,
    /// Where the rule for the table `local` stands.
    local_rule: FamilyMap<u32>,
}

impl<'a> Known<'a> {
    fn of(state: &'a KernelState, wanted: &Wanted) -> Self {
        let any_fixed = wanted.guards.values().any(|guard| guard.fixed);
        let (mut at, mut attached, mut routed) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        for route in &state.routes {
            if matches!(route.key.table, TABLE | LOCAL_TABLE) {
                at.entry((route.key.table, route.key.prefix)).or_insert_with(Vec::new).push(route);
            } else if is_attached(route) {
                attached.push(route);
            } else if any_fixed && route.kind == RouteKind::Unicast {
                routed.insert(route.key.prefix);
            }
        }
        let local_rule = FamilyMap::from_fn(|family| {
            let rules = state.rules.iter().filter(|one| {
                one.family == family && one.table == Some(LOCAL_TABLE) && one.shape == RuleShape::Everything
            });
            rules.map(|one| one.preference).min().unwrap_or(0)
        });
        Self { state, at, attached, routed, local_rule }
    }

    /// What others have put into our table, in words.
    fn notes(&self) -> Vec<String> {
        let state = self.state;
        let routes = state.routes.iter().filter(|one| one.key.table == TABLE && one.protocol != PROTOCOL);
        let rules = state.rules.iter().filter(|one| one.table == Some(TABLE) && one.protocol != PROTOCOL);
        let routes = routes.map(|one| {
            format!(
                "table {TABLE} has a route to {} that is not ours (protocol {}): it is left alone",
                one.key.prefix, one.protocol
            )
        });
        let rules = rules.map(|one| {
            format!(
                "the rule of preference {} leads to table {TABLE} and is not ours (protocol {}): it is left alone",
                one.preference, one.protocol
            )
        });
        routes.chain(rules).collect()
    }

    fn at(&self, table: u32, prefix: Prefix) -> &[&'a KernelRoute] {
        self.at.get(&(table, prefix)).map_or(&[], Vec::as_slice)
    }

    /// Every route of ours.
    fn own(&self) -> impl Iterator<Item = &'a KernelRoute> {
        self.at.values().flatten().copied().filter(|one| is_own(one))
    }

    /// Rules of ours, whether they are as they should be or not.
    fn own_rules(&self, family: Family) -> impl Iterator<Item = &'a KernelRule> {
        self.state
            .rules
            .iter()
            .filter(move |one| one.family == family && one.protocol == PROTOCOL && one.table == Some(TABLE))
    }

    /// Why a prefix is not guarded.
    fn spared(&self, prefix: Prefix, guard: Guard) -> Option<String> {
        // "Never for a prefix that overlaps a connected route" (design §5): it would cut off hosts beside us.
        if let Some(route) = self.attached.iter().find(|one| one.key.prefix.overlaps(prefix)) {
            let device = route.device.as_ref().map_or("?", |device| device.name.as_str());
            return Some(format!("it overlaps {}, to which {device} is attached", route.key.prefix));
        }
        // What lies inside comes right behind in their order.
        let inside = self.routed.range(prefix..).next().filter(|one| guard.fixed && prefix.covers(**one))?;
        Some(format!("this host has a route to {inside} inside it"))
    }

    /// The preference of our rule, and whether it is there already; else why there is no place for it.
    fn preference(&self, family: Family) -> Result<(u32, bool), String> {
        let behind_local = |preference: u32| preference > *self.local_rule.get(family);
        // A preference is all that a rule of ours is deleted by: two at one place go together.
        let alone = |rule: &KernelRule| {
            self.own_rules(family).filter(|one| one.preference == rule.preference).count() == 1
        };
        let good =
            self.own_rules(family).filter(|one| is_good(one) && behind_local(one.preference) && alone(one));
        if let Some(preference) = good.map(|one| one.preference).min() {
            return Ok((preference, true));
        }
        let taken = |preference: &u32| {
            self.state.rules.iter().any(|one| one.family == family && one.preference == *preference)
        };
        let places = || PREFERENCES.filter(|preference| behind_local(*preference));
        let place = places().find(|preference| !taken(preference)).ok_or_else(|| {
            if places().next().is_none() {
                format!(
                    "the rule for the table local stands at preference {}, behind ours: the guard would come before it",
                    self.local_rule.get(family)
                )
            } else {
                format!(
                    "every preference from {} to {} is taken by another rule",
                    PREFERENCES.start(),
                    PREFERENCES.end()
                )
            }
        })?;
        Ok((place, false))
    }
}

/// A route of ours: only such ones are ever removed.
fn is_own(route: &KernelRoute) -> bool {
    route.protocol == PROTOCOL
        && (route.key.table == TABLE
            || route.key.table == LOCAL_TABLE
                && route.kind == RouteKind::Local
                && route.device.as_ref().is_some_and(|device| device.loopback))
}

/// A rule of ours that does what it should.
fn is_good(rule: &KernelRule) -> bool {
    rule.shape == RuleShape::NotLocal && PREFERENCES.contains(&rule.preference)
}

/// A subnet of an interface, of which hosts are reached without a router. Not an address of our own that stands
/// alone (IPv6 gives it a route), and not a default route in disguise, as tunnels have them.
fn is_attached(route: &KernelRoute) -> bool {
    const BY_KERNEL: u8 = 2;
    let prefix = route.key.prefix;
    let shortest = match prefix.family() {
        Family::Ipv4Unicast => 8,
        Family::Ipv6Unicast => 32,
    };
    let real = match route.protocol {
        BY_KERNEL => !prefix.is_host() && prefix.len() > 0,
        _ => prefix.len() >= shortest,
    };
    real && route.kind == RouteKind::Unicast
        && !route.gateway
        && route.device.as_ref().is_some_and(|device| !device.loopback)
}

impl Plan {
    fn local(&mut self, addr: IpAddr, known: &Known<'_>, going: &mut Vec<RouteKey>) {
        let key = RouteKey { table: LOCAL_TABLE, prefix: Prefix::host(addr), metric: METRIC };
        let there = known.at(LOCAL_TABLE, key.prefix);
        going.extend(there.iter().filter(|one| is_own(one) && one.key != key).map(|one| one.key));
        let taken = there.iter().find(|one| one.key == key && !is_own(one) && one.kind != RouteKind::Local);
        let outcome =
            if there.iter().any(|one| one.kind == RouteKind::Local && !(is_own(one) && one.key != key)) {
                // Ours, or the address of an interface.
                Outcome::InPlace
            } else if let Some(taken) = taken {
                let protocol = taken.protocol;
                Outcome::Failed(format!("table local has another route to {addr} (protocol {protocol})"))
            } else {
                self.ops.push(KernelOp::AddRoute(OwnRoute { key, kind: RouteKind::Local }));
                Outcome::Pending
            };
        self.locals.insert(addr, outcome);
    }

    fn guard(&mut self, prefix: Prefix, guard: Guard, known: &Known<'_>, going: &mut Vec<RouteKey>) {
        let key = RouteKey { table: TABLE, prefix, metric: METRIC };
        let there = known.at(TABLE, prefix);
        let own = || there.iter().filter(|one| is_own(one));
        if let Some(why) = known.spared(prefix, guard) {
            going.extend(own().map(|one| one.key));
            self.guards.insert(prefix, Outcome::Spared(why));
            return;
        }
        going.extend(own().filter(|one| one.key != key).map(|one| one.key));
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
                self.ops.push(KernelOp::ReplaceRoute(route));
                Outcome::Pending
            }
            (None, None) => {
                self.ops.push(KernelOp::AddRoute(route));
                Outcome::Pending
            }
        };
        self.guards.insert(prefix, outcome);
    }

    /// Whether a route of the family is to stand in our table.
    fn guarded(&self, family: Family) -> bool {
        self.guards.iter().any(|(prefix, outcome)| {
            prefix.family() == family && matches!(outcome, Outcome::InPlace | Outcome::Pending)
        })
    }

    fn rule(&mut self, family: Family, needed: bool, known: &Known<'_>, going: &mut Vec<KernelOp>) {
        let preference = needed.then(|| known.preference(family));
        let (stays, instead) = match preference {
            None => (None, Outcome::InPlace),
            Some(Ok((preference, true))) => (Some(preference), Outcome::InPlace),
            Some(Ok((preference, false))) => {
                self.ops.push(KernelOp::AddRule { family, preference });
                (None, Outcome::Pending)
            }
            Some(Err(why)) => (None, Outcome::Failed(why)),
        };
        // A guard without its rule guards nothing.
        for (prefix, outcome) in &mut self.guards {
            let there = matches!(outcome, Outcome::InPlace | Outcome::Pending);
            if prefix.family() == family && there && instead != Outcome::InPlace {
                *outcome = instead.clone();
            }
        }
        let gone = known.own_rules(family).map(|rule| rule.preference).filter(|one| Some(*one) != stays);
        going.extend(gone.map(|preference| KernelOp::DeleteRule { family, preference }));
    }
}

#[cfg(test)]
mod tests;
