//! The kernel as it was last known, in the order in which it is asked.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::types::{Family, Prefix};

use super::state::{Device, KernelOp, KernelRoute, KernelRule, KernelState, OwnRoute, RouteKind, RuleShape};
use super::wanted::Guard;
use super::{LOCAL_TABLE, PREFERENCES, PROTOCOL, TABLE};

/// What was read from the kernel, and what this process has done to it since.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    rules: Vec<KernelRule>,
    /// Routes of our table and of `local`.
    at: BTreeMap<(u32, Prefix), Vec<KernelRoute>>,
    /// Subnets that this host is attached to.
    attached: Vec<KernelRoute>,
    /// What else this host routes on.
    routed: BTreeSet<Prefix>,
    /// What others have put into our table, in words.
    notes: Vec<String>,
}

impl Picture {
    /// From what was read. Where no prefix is fixed, what this host routes on does not matter and is left out:
    /// there may be a million such routes.
    pub(super) fn of(state: KernelState, any_fixed: bool) -> Self {
        let mut picture = Self { notes: notes(&state), rules: state.rules, ..Self::default() };
        for route in state.routes {
            if matches!(route.key.table, TABLE | LOCAL_TABLE) {
                picture.at.entry((route.key.table, route.key.prefix)).or_default().push(route);
            } else if is_attached(&route) {
                picture.attached.push(route);
            } else if any_fixed && route.kind == RouteKind::Unicast {
                picture.routed.insert(route.key.prefix);
            }
        }
        picture
    }

    /// Takes what the kernel was told and has acknowledged.
    pub(super) fn done(&mut self, op: &KernelOp) {
        match op {
            KernelOp::AddRoute(route) | KernelOp::ReplaceRoute(route) => {
                let at = self.at.entry((route.key.table, route.key.prefix)).or_default();
                at.retain(|one| one.key != route.key || !is_own(one));
                at.push(made(*route));
            }
            KernelOp::DeleteRoute(key) => {
                let place = (key.table, key.prefix);
                let Some(at) = self.at.get_mut(&place) else { return };
                at.retain(|one| one.key != *key || !is_own(one));
                if at.is_empty() {
                    self.at.remove(&place);
                }
            }
            KernelOp::AddRule { family, preference } => self.rules.push(KernelRule {
                family: *family,
                preference: *preference,
                table: Some(TABLE),
                protocol: PROTOCOL,
                shape: RuleShape::NotLocal,
            }),
            KernelOp::DeleteRule { family, preference } => {
                let place = self
                    .rules
                    .iter()
                    .position(|one| is_own_rule(one, *family) && one.preference == *preference);
                if let Some(place) = place {
                    self.rules.remove(place);
                }
            }
        }
    }

    /// What others have put into our table, in words.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn at(&self, table: u32, prefix: Prefix) -> &[KernelRoute] {
        self.at.get(&(table, prefix)).map_or(&[], Vec::as_slice)
    }

    /// Where routes of ours are: table and destination.
    pub(super) fn own_places(&self) -> impl Iterator<Item = (u32, Prefix)> {
        self.at.iter().filter(|(_, routes)| routes.iter().any(is_own)).map(|(place, _)| *place)
    }

    /// Rules of ours, whether they are as they should be or not.
    pub(super) fn own_rules(&self, family: Family) -> impl Iterator<Item = &KernelRule> {
        self.rules.iter().filter(move |one| is_own_rule(one, family))
    }

    /// Why a prefix is not guarded.
    pub(super) fn spared(&self, prefix: Prefix, guard: Guard) -> Option<String> {
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
    pub(super) fn preference(&self, family: Family) -> Result<(u32, bool), String> {
        let of_local = self.rules.iter().filter(|one| {
            one.family == family && one.table == Some(LOCAL_TABLE) && one.shape == RuleShape::Everything
        });
        // Where the rule for the table local stands.
        let local_rule = of_local.map(|one| one.preference).min().unwrap_or(0);
        let behind_local = |preference: u32| preference > local_rule;
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
            self.rules.iter().any(|one| one.family == family && one.preference == *preference)
        };
        let places = || PREFERENCES.filter(|preference| behind_local(*preference));
        let place = places().find(|preference| !taken(preference)).ok_or_else(|| {
            if places().next().is_none() {
                format!(
                    "the rule for the table local stands at preference {local_rule}, behind ours: the guard would come before it"
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
pub(super) fn is_own(route: &KernelRoute) -> bool {
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

fn is_own_rule(rule: &KernelRule, family: Family) -> bool {
    rule.family == family && rule.protocol == PROTOCOL && rule.table == Some(TABLE)
}

/// A route of ours as it is read from the kernel.
fn made(route: OwnRoute) -> KernelRoute {
    let device = (route.kind == RouteKind::Local).then(|| Device { name: "lo".to_owned(), loopback: true });
    KernelRoute { key: route.key, kind: route.kind, protocol: PROTOCOL, gateway: false, device }
}

fn notes(state: &KernelState) -> Vec<String> {
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
