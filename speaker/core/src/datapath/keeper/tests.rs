//! The keeper against a model of the kernel.

use bgp_proto::types::Timestamp;

use super::super::{
    Device, Guard, GuardKind, KernelRoute, KernelRule, METRIC, OwnRoute, PREFERENCES, PROTOCOL, RouteKind,
    RuleShape, cleanup,
};
use super::*;

/// A kernel as far as the plan sees it.
#[derive(Debug, Clone, Default)]
struct Model(KernelState);

impl Model {
    /// Does one thing as the kernel does it.
    fn apply(&mut self, op: &KernelOp) -> Result<(), String> {
        let state = &mut self.0;
        match op {
            KernelOp::AddRoute(route) => {
                if state.routes.iter().any(|one| one.key == route.key) {
                    return Err(format!("EEXIST: {op:?}"));
                }
                state.routes.push(made(*route));
            }
            KernelOp::ReplaceRoute(route) => {
                let old = state.routes.iter_mut().find(|one| one.key == route.key);
                *old.ok_or_else(|| format!("ENOENT: {op:?}"))? = made(*route);
            }
            KernelOp::DeleteRoute(key) => {
                let at = state.routes.iter().position(|one| one.key == *key && one.protocol == PROTOCOL);
                state.routes.remove(at.ok_or_else(|| format!("ESRCH: {op:?}"))?);
            }
            KernelOp::AddRule { family, preference } => {
                let rule = rule(*family, *preference, Some(TABLE), PROTOCOL, RuleShape::NotLocal);
                if state.rules.contains(&rule) {
                    return Err(format!("EEXIST: {op:?}"));
                }
                state.rules.push(rule);
            }
            KernelOp::DeleteRule { family, preference } => {
                let at = state.rules.iter().position(|one| {
                    one.family == *family
                        && one.preference == *preference
                        && one.protocol == PROTOCOL
                        && one.table == Some(TABLE)
                });
                state.rules.remove(at.ok_or_else(|| format!("ENOENT: {op:?}"))?);
            }
        }
        Ok(())
    }

    fn apply_all(&mut self, ops: &[KernelOp]) {
        for op in ops {
            self.apply(op).unwrap();
        }
    }

    /// What does not bear our mark.
    fn foreign(&self) -> KernelState {
        KernelState {
            rules: self.0.rules.iter().filter(|one| one.protocol != PROTOCOL).cloned().collect(),
            routes: self.0.routes.iter().filter(|one| one.protocol != PROTOCOL).cloned().collect(),
        }
    }
}

fn made(route: OwnRoute) -> KernelRoute {
    let device = matches!(route.kind, RouteKind::Local).then(lo);
    KernelRoute { key: route.key, kind: route.kind, protocol: PROTOCOL, gateway: false, device }
}

fn lo() -> Device {
    Device { name: "lo".to_owned(), loopback: true }
}

fn eth0() -> Device {
    Device { name: "eth0".to_owned(), loopback: false }
}

fn rule(family: Family, preference: u32, table: Option<u32>, protocol: u8, shape: RuleShape) -> KernelRule {
    KernelRule { family, preference, table, protocol, shape }
}

const MAIN: u32 = 254;
const V4: Family = Family::Ipv4Unicast;

/// The rules of a fresh kernel, and a host at 10.0.0.1/24 on eth0 with a default route.
fn host() -> Model {
    let mut rules = Vec::new();
    for family in Family::ALL {
        rules.push(rule(family, 0, Some(LOCAL_TABLE), 2, RuleShape::Everything));
        rules.push(rule(family, 32_766, Some(MAIN), 2, RuleShape::Everything));
    }
    let routes = vec![
        route(MAIN, "10.0.0.0/24", 0, RouteKind::Unicast, 2, false, Some(eth0())),
        route(MAIN, "0.0.0.0/0", 0, RouteKind::Unicast, 3, true, Some(eth0())),
        route(LOCAL_TABLE, "10.0.0.1/32", 0, RouteKind::Local, 2, false, Some(eth0())),
        route(MAIN, "2001:db8::/64", 256, RouteKind::Unicast, 2, false, Some(eth0())),
        route(MAIN, "::/0", 1_024, RouteKind::Unicast, 3, true, Some(eth0())),
    ];
    Model(KernelState { rules, routes })
}

fn route(
    table: u32,
    prefix: &str,
    metric: u32,
    kind: RouteKind,
    protocol: u8,
    gateway: bool,
    device: Option<Device>,
) -> KernelRoute {
    let key = RouteKey { table, prefix: prefix.parse().unwrap(), metric };
    KernelRoute { key, kind, protocol, gateway, device }
}

fn wanted(guards: &[&str], locals: &[&str]) -> Wanted {
    let guard = Guard { kind: GuardKind::Blackhole, fixed: false };
    Wanted {
        serial: 1,
        complete: true,
        guards: guards.iter().map(|one| (one.parse().unwrap(), guard)).collect(),
        locals: locals.iter().map(|one| one.parse().unwrap()).collect(),
    }
}

/// What a keeper says that sees a kernel for the first time.
#[derive(Debug)]
struct Said {
    ops: Vec<KernelOp>,
    guards: BTreeMap<Prefix, Outcome>,
    locals: BTreeMap<IpAddr, Outcome>,
    notes: Vec<String>,
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn change(from: &Wanted, to: &Wanted) -> Change {
    Change { complete: to.complete, ..from.change_to(&to.guards, &to.locals) }
}

/// How everything that is wanted stands.
fn outcomes(keeper: &Keeper) -> (BTreeMap<Prefix, Outcome>, BTreeMap<IpAddr, Outcome>) {
    let KernelReport { guards, locals, .. } = keeper.report(Access::Full);
    let wanted = keeper.wanted();
    assert!(guards.keys().all(|one| wanted.guards.contains_key(one)), "{guards:?}");
    assert!(locals.keys().all(|one| wanted.locals.contains(one)), "{locals:?}");
    let outcome = |said: Option<&Outcome>| said.cloned().unwrap_or(Outcome::InPlace);
    (
        wanted.guards.keys().map(|one| (*one, outcome(guards.get(one)))).collect(),
        wanted.locals.iter().map(|one| (*one, outcome(locals.get(one)))).collect(),
    )
}

fn look(wanted: &Wanted, state: &KernelState) -> Said {
    let mut keeper = Keeper::new();
    keeper.follow(&change(&Wanted::default(), wanted), at(0));
    keeper.read(state.clone());
    let ops = keeper.plan();
    let (guards, locals) = outcomes(&keeper);
    Said { ops, guards, locals, notes: keeper.report(Access::Full).notes }
}

fn run(model: &mut Model, wanted: &Wanted) -> Said {
    let first = look(wanted, &model.0);
    model.apply_all(&first.ops);
    let second = look(wanted, &model.0);
    assert_eq!(second.ops, [], "after {:?}", first.ops);
    second
}

fn own_route(prefix: &str, table: u32, kind: RouteKind) -> OwnRoute {
    OwnRoute { key: RouteKey { table, prefix: prefix.parse().unwrap(), metric: METRIC }, kind }
}

#[test]
fn local_delivery_is_there_before_the_guard_and_goes_after_it() {
    let mut model = host();
    let before = model.0.clone();
    let first = look(&wanted(&["203.0.113.0/24"], &["203.0.113.7"]), &model.0);
    let local = own_route("203.0.113.7/32", LOCAL_TABLE, RouteKind::Local);
    let guard = own_route("203.0.113.0/24", TABLE, RouteKind::Blackhole);
    assert_eq!(
        first.ops,
        [
            KernelOp::AddRoute(local),
            KernelOp::AddRoute(guard),
            KernelOp::AddRule { family: V4, preference: *PREFERENCES.start() },
        ]
    );
    assert_eq!(first.guards.values().collect::<Vec<_>>(), [&Outcome::Pending]);
    model.apply_all(&first.ops);
    assert_eq!(
        cleanup(model.0.clone()),
        [
            KernelOp::DeleteRule { family: V4, preference: *PREFERENCES.start() },
            KernelOp::DeleteRoute(guard.key),
            KernelOp::DeleteRoute(local.key),
        ]
    );
    let last = run(&mut model, &wanted(&[], &[]));
    assert_eq!((model.0, last.notes), (before, Vec::new()));
}

#[test]
fn each_family_has_the_rule_that_it_needs() {
    let mut model = host();
    let done = run(&mut model, &wanted(&["2001:db8:1::/48"], &[]));
    assert!(done.guards.values().all(|one| *one == Outcome::InPlace));
    let rules = model.0.rules.iter().filter(|one| one.protocol == PROTOCOL);
    assert_eq!(rules.map(|one| one.family).collect::<Vec<_>>(), [Family::Ipv6Unicast]);
}

#[test]
fn a_prefix_beside_a_connected_route_is_not_guarded() {
    for (prefix, subnet) in
        [("10.0.0.128/25", "10.0.0.0/24"), ("10.0.0.0/16", "10.0.0.0/24"), ("2001:db8::/32", "2001:db8::/64")]
    {
        let mut model = host();
        let before = model.0.clone();
        let done = run(&mut model, &wanted(&[prefix], &[]));
        let Some(Outcome::Spared(why)) = done.guards.values().next() else { panic!("{prefix}: {done:?}") };
        assert_eq!(*why, format!("it overlaps {subnet}, to which eth0 is attached"));
        assert_eq!(model.0, before);
    }
}

#[test]
fn a_guard_goes_when_its_prefix_becomes_connected() {
    let mut model = host();
    run(&mut model, &wanted(&["203.0.113.0/24"], &[]));
    model.0.routes.push(route(MAIN, "203.0.113.0/26", 0, RouteKind::Unicast, 2, false, Some(eth0())));
    run(&mut model, &wanted(&["203.0.113.0/24"], &[]));
    assert!(!model.0.routes.iter().any(|one| one.protocol == PROTOCOL), "{model:?}");
    assert!(!model.0.rules.iter().any(|one| one.protocol == PROTOCOL), "{model:?}");
}

#[test]
fn what_is_not_a_subnet_beside_us_does_not_count() {
    for (prefix, protocol, gateway, device, guard) in [
        // An address of our own, for which IPv6 makes a route.
        ("2001:db8:1::1/128", 2, false, eth0(), "2001:db8:1::/48"),
        ("203.0.113.0/24", 2, false, lo(), "203.0.113.0/24"),
        // A tunnel that takes everything.
        ("128.0.0.0/1", 4, false, eth0(), "203.0.113.0/24"),
        // By a router: what another speaker has learned about the same pool.
        ("203.0.113.7/32", 186, true, eth0(), "203.0.113.0/24"),
    ] {
        let mut model = host();
        model.0.routes.push(route(MAIN, prefix, 0, RouteKind::Unicast, protocol, gateway, Some(device)));
        let done = run(&mut model, &wanted(&[guard], &[]));
        assert_eq!(done.guards.values().collect::<Vec<_>>(), [&Outcome::InPlace], "{prefix}");
    }
}

#[test]
fn a_fixed_prefix_that_this_host_routes_on_is_not_guarded() {
    let mut model = host();
    model.0.routes.push(route(MAIN, "172.20.1.0/24", 0, RouteKind::Unicast, 3, true, Some(eth0())));
    let mut wanted = wanted(&["172.20.0.0/16"], &[]);
    assert_eq!(run(&mut model.clone(), &wanted).guards.values().collect::<Vec<_>>(), [&Outcome::InPlace]);
    wanted.guards.values_mut().for_each(|guard| guard.fixed = true);
    let done = run(&mut model, &wanted);
    let why = "this host has a route to 172.20.1.0/24 inside it".to_owned();
    assert_eq!(done.guards.values().collect::<Vec<_>>(), [&Outcome::Spared(why)]);
}

#[test]
fn a_foreign_route_in_our_place_is_left_and_said() {
    let mut model = host();
    model.0.routes.push(route(TABLE, "203.0.113.0/24", METRIC, RouteKind::Unicast, 3, true, Some(eth0())));
    let foreign = model.foreign();
    let done = run(&mut model, &wanted(&["203.0.113.0/24"], &[]));
    assert!(
        matches!(done.guards.values().next(), Some(Outcome::Failed(why)) if why.contains("somebody else"))
    );
    assert_eq!(
        done.notes,
        ["table 10179 has a route to 203.0.113.0/24 that is not ours (protocol 3): it is left alone"]
    );
    assert_eq!(model.foreign(), foreign);
    // At another metric both fit.
    model.0.routes.last_mut().unwrap().key.metric = 7;
    let done = run(&mut model, &wanted(&["203.0.113.0/24"], &[]));
    assert_eq!(done.guards.values().collect::<Vec<_>>(), [&Outcome::InPlace]);
}

#[test]
fn a_taken_preference_is_passed_over() {
    let mut model = host();
    let first = *PREFERENCES.start();
    model.0.rules.push(rule(V4, first, Some(100), 4, RuleShape::Other));
    run(&mut model, &wanted(&["203.0.113.0/24"], &[]));
    let own = |model: &Model| -> Vec<u32> {
        model.0.rules.iter().filter(|one| one.protocol == PROTOCOL).map(|one| one.preference).collect()
    };
    assert_eq!(own(&model), [first + 1]);
    // It stays where it is once the other has gone.
    model.0.rules.retain(|one| one.table != Some(100));
    run(&mut model, &wanted(&["203.0.113.0/24"], &[]));
    assert_eq!(own(&model), [first + 1]);
    let mut full = host();
    full.0.rules.extend(PREFERENCES.map(|one| rule(V4, one, Some(100), 4, RuleShape::Other)));
    let done = run(&mut full, &wanted(&["203.0.113.0/24"], &[]));
    assert!(
        matches!(done.guards.values().next(), Some(Outcome::Failed(why)) if why.contains("is taken")),
        "{done:?}"
    );
}

#[test]
fn the_guard_never_comes_before_the_table_local() {
    let mut model = host();
    model
        .0
        .rules
        .iter_mut()
        .filter(|one| one.table == Some(LOCAL_TABLE))
        .for_each(|one| one.preference = 10_181);
    run(&mut model, &wanted(&["203.0.113.0/24"], &[]));
    let own = model.0.rules.iter().find(|one| one.protocol == PROTOCOL);
    assert_eq!(own.map(|one| one.preference), Some(10_182));
    let mut late = host();
    late.0
        .rules
        .iter_mut()
        .filter(|one| one.table == Some(LOCAL_TABLE))
        .for_each(|one| one.preference = 20_000);
    let done = run(&mut late, &wanted(&["203.0.113.0/24"], &[]));
    assert!(
        matches!(done.guards.values().next(), Some(Outcome::Failed(why)) if why.contains("20000")),
        "{done:?}"
    );
}

#[test]
fn a_guard_of_another_type_is_replaced_in_one_step() {
    let mut model = host();
    let mut wanted = wanted(&["203.0.113.0/24"], &[]);
    run(&mut model, &wanted);
    wanted.guards.values_mut().for_each(|guard| guard.kind = GuardKind::Unreachable);
    let next = look(&wanted, &model.0);
    let guard = own_route("203.0.113.0/24", TABLE, RouteKind::Unreachable);
    assert_eq!(next.ops, [KernelOp::ReplaceRoute(guard)]);
    run(&mut model, &wanted);
}

#[test]
fn nothing_goes_before_everything_is_known_nor_before_its_time() {
    let mut model = host();
    run(&mut model, &wanted(&["203.0.113.0/24"], &["203.0.113.7"]));
    let unknown = Wanted { complete: false, ..wanted(&[], &[]) };
    assert_eq!(look(&unknown, &model.0).ops, []);
    let mut keeper = Keeper::new();
    keeper.follow(&change(&Wanted::default(), &wanted(&["203.0.113.0/24"], &["203.0.113.7"])), at(0));
    keeper.read(model.0.clone());
    assert_eq!(keeper.plan(), []);
    keeper.follow(&change(keeper.wanted(), &wanted(&[], &[])), at(1));
    assert_eq!(keeper.plan(), []);
    assert_eq!(keeper.deadline(), Some(at(6)));
    keeper.expire(at(60));
    let ops = keeper.plan();
    assert_eq!(ops.len(), 3);
    assert_eq!(keeper.plan(), ops, "until it is done");
    model.apply_all(&ops);
    ops.iter().for_each(|op| keeper.done(op, Ok(())));
    assert_eq!((keeper.plan(), keeper.is_doubtful()), (Vec::new(), false));
}

#[test]
fn one_address_among_many_asks_for_no_other_and_for_no_look_at_the_kernel() {
    let mut all = wanted(&["203.0.0.0/16"], &[]);
    all.locals = (0..10_000u32).map(|one| IpAddr::from((0xcb00_0000 + one).to_be_bytes())).collect();
    let mut model = host();
    let mut keeper = Keeper::new();
    keeper.follow(&change(&Wanted::default(), &all), at(0));
    keeper.read(model.0.clone());
    let ops = keeper.plan();
    model.apply_all(&ops);
    ops.iter().for_each(|op| keeper.done(op, Ok(())));
    assert_eq!(keeper.due.places.len(), 10_001, "what was done is looked at once more");
    assert_eq!(keeper.plan(), []);
    let addr: IpAddr = "203.0.200.1".parse().unwrap();
    let one = Change { serial: 2, complete: true, locals: [(addr, true)].into(), ..Change::default() };
    keeper.follow(&one, at(1));
    assert_eq!(keeper.due.places.len(), 1);
    let ops = keeper.plan();
    assert_eq!(ops, [KernelOp::AddRoute(own_route("203.0.200.1/32", LOCAL_TABLE, RouteKind::Local))]);
    assert_eq!(keeper.report(Access::Full).locals, [(addr, Outcome::Pending)].into());
    model.apply_all(&ops);
    keeper.done(&ops[0], Ok(()));
    assert_eq!((keeper.plan(), keeper.is_doubtful()), (Vec::new(), false));
    let report = keeper.report(Access::Full);
    assert_eq!((report.serial, report.guards, report.locals), (2, BTreeMap::new(), BTreeMap::new()));
}

#[test]
fn what_is_refused_is_said_and_looked_at_again() {
    let mut keeper = Keeper::new();
    keeper.follow(&change(&Wanted::default(), &wanted(&["203.0.113.0/24"], &["203.0.113.7"])), at(0));
    let model = host();
    keeper.read(model.0.clone());
    let ops = keeper.plan();
    keeper.begin();
    for op in &ops {
        let refused = matches!(op, KernelOp::AddRule { .. })
            || matches!(op, KernelOp::AddRoute(one) if one.kind == RouteKind::Local);
        keeper.done(op, if refused { Err("no buffer space".to_owned()) } else { Ok(()) });
    }
    assert!(keeper.is_doubtful());
    let mut seen = model;
    seen.apply(&KernelOp::AddRoute(own_route("203.0.113.0/24", TABLE, RouteKind::Blackhole))).unwrap();
    keeper.read(seen.0);
    assert_eq!(keeper.plan().len(), 2, "the guard's route is there");
    let failed = Outcome::Failed("no buffer space".to_owned());
    let (guards, locals) = outcomes(&keeper);
    assert_eq!(
        guards.into_values().chain(locals.into_values()).collect::<Vec<_>>(),
        [failed.clone(), failed]
    );
}

#[test]
fn the_address_of_an_interface_needs_no_route_of_ours() {
    let mut model = host();
    let before = model.0.clone();
    let done = run(&mut model, &wanted(&[], &["10.0.0.1"]));
    assert_eq!(done.locals.values().collect::<Vec<_>>(), [&Outcome::InPlace]);
    assert_eq!(model.0, before);
}
