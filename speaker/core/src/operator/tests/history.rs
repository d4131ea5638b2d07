//! Random histories before a store that loses answers, delays echoes and changes leaders.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::api::{Api, pool, service};

#[derive(Debug, Clone)]
enum Step {
    Put {
        index: u8,
        label: u8,
        named: Option<u8>,
        class: u8,
    },
    Delete(u8),
    Pool {
        index: u8,
        first: u8,
        size: u8,
        disabled: bool,
    },
    PoolGone(u8),
    Echo,
    Turn,
    Answer,
    /// The write is stored, or not, and nobody hears of it.
    Lose(bool),
    Wait(u16),
    FailOver,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6u8, 0..3u8, prop::option::weighted(0.2, 0..12u8), 0..6u8)
            .prop_map(|(index, label, named, class)| Step::Put { index, label, named, class }),
        2 => (0..6u8).prop_map(Step::Delete),
        2 => (0..2u8, 0..8u8, 0..6u8, prop::bool::weighted(0.2))
            .prop_map(|(index, first, size, disabled)| Step::Pool { index, first, size, disabled }),
        1 => (0..2u8).prop_map(Step::PoolGone),
        8 => Just(Step::Echo),
        8 => Just(Step::Turn),
        6 => Just(Step::Answer),
        2 => any::<bool>().prop_map(Step::Lose),
        2 => (0..2000u16).prop_map(Step::Wait),
        1 => Just(Step::FailOver),
    ]
}

fn act(api: &mut Api, step: &Step) {
    match *step {
        Step::Put { index, label, named, class } => {
            let mut made = service(&format!("web-{index}"));
            if let Some((Object::Service(known), _)) = api.objects.get(&ObjectRef::Service(made.key.clone()))
            {
                made = (**known).clone();
                made.generation += 1;
            }
            made.class = (class == 0).then(|| "example.com/other".to_owned());
            made.labels.insert("label".to_owned(), label.to_string());
            made.annotations.clear();
            if let Some(named) = named {
                made.annotations.insert("lbipam.cilium.io/ips".to_owned(), format!("10.0.0.{named}"));
            }
            api.put(Object::Service(Box::new(made)));
        }
        Step::Delete(index) => {
            let reference = ObjectRef::Service(ObjectKey::new("default", format!("web-{index}")));
            if api.objects.contains_key(&reference) {
                api.remove(&reference);
            }
        }
        Step::Pool { index, first, size, disabled } => {
            let last = first + size;
            let name = format!("pool-{index}");
            let mut made = pool(&name, i64::from(index), &[&format!("10.0.0.{first}-10.0.0.{last}")]);
            if let Some((Object::Pool(known), _)) = api.objects.get(&ObjectRef::Pool(name)) {
                made.conditions.clone_from(&known.conditions);
            }
            made.disabled = disabled;
            api.put(Object::Pool(made));
        }
        Step::PoolGone(index) => {
            let reference = ObjectRef::Pool(format!("pool-{index}"));
            if api.objects.contains_key(&reference) {
                api.remove(&reference);
            }
        }
        Step::Echo => drop(api.echo()),
        Step::Turn => api.turn(),
        Step::Answer => drop(api.answer()),
        Step::Lose(stored) => {
            if let Some(patch) = api.patches.pop_front() {
                if stored {
                    api.store(&patch);
                }
                api.operator.ended(&patch.target, &Outcome::Failed, api.now);
            }
        }
        Step::Wait(millis) => api.now = api.now + Duration::from_millis(millis.into()),
        Step::FailOver => api.fail_over(),
    }
}

/// What is recorded, when nothing moves any more.
fn examine(api: &mut Api, pools_stay: bool) {
    // Without a pool a successor sleeps and touches nothing, as in Cilium.
    api.put_pool(pool("far", 9, &["10.9.0.0/24"]));
    let pooled = |ip: std::net::IpAddr| {
        let objects = api.objects.values();
        let pools =
            objects.filter_map(|(object, _)| if let Object::Pool(pool) = object { Some(pool) } else { None });
        pools.flat_map(|pool| &pool.blocks).any(|block| block.bounds().0 <= ip && ip <= block.bounds().1)
    };
    let mut owners = BTreeMap::new();
    for (reference, (object, _)) in &api.objects {
        let Object::Service(service) = object else { continue };
        // What is not ours may keep an address that was in no pool when it became so, or while nobody led, also
        // where a pool has it later: it may be anybody's.
        let ours = service.class.is_none();
        for ip in &service.ingress {
            assert!(ours || !pools_stay || !pooled(*ip), "{reference} is not ours and has {ip}");
            if ours {
                assert!(pooled(*ip), "{ip} is in no pool");
                assert_eq!(owners.insert(*ip, reference.clone()), None, "{ip} has two owners");
            }
        }
    }
    // A successor finds nothing to do.
    let before = api.objects.clone();
    api.fail_over();
    api.settle();
    assert_eq!(before, api.objects);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_lost_it_comes_to_rest_and_each_write_changes_something(steps in vec(a_step(), 1..80)) {
        // The store asserts that no write leaves an object as it was, and that no more are under way than may be.
        let mut api = Api::new();
        for step in &steps {
            act(&mut api, step);
        }
        api.settle();
        let mut seen = std::collections::BTreeSet::new();
        let pools_stay = steps.iter().all(|step| match step {
            Step::Pool { index, .. } => seen.insert(*index),
            Step::PoolGone(_) | Step::FailOver => false,
            _ => true,
        });
        examine(&mut api, pools_stay);
    }
}
