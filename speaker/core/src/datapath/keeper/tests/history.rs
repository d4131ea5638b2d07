//! Random kernels and random wishes: a plan leads there, and touches nothing foreign.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::super::picture::is_own;
use super::*;

/// Prefixes and addresses that often meet.
fn prefixes() -> impl Strategy<Value = Prefix> {
    let v4 =
        (0..4u8, 22..=32u8).prop_map(|(net, len)| Prefix::new([203, 0, 112 + net, net].into(), len).unwrap());
    let v6 = (0..4u16, prop_oneof![Just(46u8), Just(48), Just(64), Just(128)])
        .prop_map(|(net, len)| Prefix::new([0x2001, 0xdb8, net, 0, 0, 0, 0, 1].into(), len).unwrap());
    prop_oneof![v4, v6]
}

fn kinds() -> impl Strategy<Value = RouteKind> {
    prop_oneof![
        Just(RouteKind::Unicast),
        Just(RouteKind::Local),
        Just(RouteKind::Blackhole),
        Just(RouteKind::Unreachable),
        Just(RouteKind::Other)
    ]
}

fn any_route() -> impl Strategy<Value = KernelRoute> {
    let table = prop_oneof![Just(TABLE), Just(TABLE), Just(LOCAL_TABLE), Just(MAIN), Just(77)];
    let protocol = prop_oneof![Just(PROTOCOL), Just(2u8), Just(3), Just(186)];
    let device = prop_oneof![Just(None), Just(Some(lo())), Just(Some(eth0()))];
    let metric = prop_oneof![Just(0), Just(METRIC), Just(7)];
    (table, prefixes(), metric, kinds(), protocol, any::<bool>(), device).prop_map(
        |(table, prefix, metric, kind, protocol, gateway, device)| KernelRoute {
            key: RouteKey { table, prefix, metric },
            kind,
            protocol,
            gateway,
            device,
        },
    )
}

fn any_rule() -> impl Strategy<Value = KernelRule> {
    let family = prop_oneof![Just(V4), Just(Family::Ipv6Unicast)];
    let preference = prop_oneof![Just(100u32), 10_178..=10_190u32];
    let table = prop_oneof![Just(Some(TABLE)), Just(Some(LOCAL_TABLE)), Just(Some(MAIN)), Just(None)];
    let protocol = prop_oneof![Just(PROTOCOL), Just(2u8), Just(0)];
    let shape = prop_oneof![Just(RuleShape::Everything), Just(RuleShape::NotLocal), Just(RuleShape::Other)];
    (family, preference, table, protocol, shape).prop_map(|(family, preference, table, protocol, shape)| {
        rule(family, preference, table, protocol, shape)
    })
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let guard = (any::<bool>(), any::<bool>()).prop_map(|(blackhole, fixed)| Guard {
        kind: if blackhole { GuardKind::Blackhole } else { GuardKind::Unreachable },
        fixed,
    });
    (vec((prefixes(), guard), 0..5), vec(prefixes(), 0..4)).prop_map(|(guards, locals)| Wanted {
        serial: 1,
        complete: true,
        guards: guards.into_iter().collect(),
        locals: locals.into_iter().map(Prefix::addr).collect(),
    })
}

/// What a keeper meets.
#[derive(Debug, Clone)]
enum Step {
    Want(Wanted),
    Wait,
    Meddle(Vec<KernelRoute>),
    Refuse,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_wanted().prop_map(Step::Want),
        1 => Just(Step::Wait),
        1 => vec(any_route(), 1..4).prop_map(Step::Meddle),
        1 => Just(Step::Refuse),
    ]
}

fn any_kernel() -> impl Strategy<Value = Model> {
    (vec(any_route(), 0..12), vec(any_rule(), 0..6)).prop_map(|(routes, rules)| {
        let mut model = host();
        let mut keys = BTreeSet::new();
        // No kernel has two routes of one key here.
        model.0.routes.extend(routes.into_iter().filter(|one| keys.insert(one.key)));
        model.0.rules.extend(rules);
        model
    })
}

proptest! {
    #[test]
    fn a_plan_leads_there_in_one_step_and_touches_nothing_foreign(kernel in any_kernel(), wanted in any_wanted()) {
        let mut model = kernel;
        let foreign = model.foreign();
        let first = look(&wanted, &model.0);
        for op in &first.ops {
            model.apply(op).map_err(TestCaseError::fail)?;
        }
        prop_assert_eq!(model.foreign(), foreign);
        let second = look(&wanted, &model.0);
        prop_assert_eq!(&second.ops, &[]);
        // What was under way has arrived, and no guard is there without a reason.
        let outcomes = second.guards.values().chain(second.locals.values());
        prop_assert!(outcomes.clone().all(|one| *one != Outcome::Pending), "{:?}", second);
        for route in model.0.routes.iter().filter(|one| is_own(one)) {
            let prefix = route.key.prefix;
            let wanted = match route.key.table {
                TABLE => wanted.guards.contains_key(&prefix),
                _ => wanted.locals.contains(&prefix.addr()),
            };
            prop_assert!(wanted, "{:?} is left over", route);
        }
        model.apply_all(&cleanup(model.0.clone()));
        prop_assert!(!model.0.routes.iter().any(is_own));
        prop_assert!(!model.0.rules.iter().any(|one| one.protocol == PROTOCOL && one.table == Some(TABLE)));
    }

    #[test]
    fn step_by_step_leads_where_a_first_look_leads(kernel in any_kernel(), steps in vec(any_step(), 1..12)) {
        let mut model = kernel;
        let mut keeper = Keeper::new();
        keeper.read(model.0.clone());
        let mut now = 0;
        for step in steps.into_iter().chain([Step::Wait, Step::Meddle(Vec::new()), Step::Wait]) {
            match step {
                Step::Want(wanted) => {
                    now += 1;
                    keeper.follow(&change(keeper.wanted(), &wanted), at(now));
                }
                Step::Wait => now += 60,
                // Somebody else puts things there, in place of what has their keys.
                Step::Meddle(routes) => {
                    let taken = |one: &KernelRoute| routes.iter().any(|new| new.key == one.key);
                    model.0.routes.retain(|one| !taken(one));
                    let mut keys = BTreeSet::new();
                    model.0.routes.extend(routes.into_iter().filter(|one| keys.insert(one.key)));
                    keeper.doubt();
                }
                Step::Refuse => {
                    keeper.begin();
                    for op in keeper.plan() {
                        keeper.done(&op, Err("refused".to_owned()));
                    }
                }
            }
            keeper.expire(at(now));
            if keeper.is_doubtful() {
                keeper.read(model.0.clone());
            }
            let ops = keeper.plan();
            keeper.begin();
            for op in &ops {
                model.apply(op).map_err(TestCaseError::fail)?;
                keeper.done(op, Ok(()));
            }
            prop_assert_eq!(&keeper.plan(), &[], "after {:?}", ops);
            prop_assert!(!keeper.is_doubtful());
        }
        let said = look(keeper.wanted(), &model.0);
        prop_assert_eq!(&said.ops, &[]);
        prop_assert_eq!(outcomes(&keeper), (said.guards, said.locals));
        prop_assert_eq!(keeper.report(Access::Full).notes, said.notes);
    }
}
