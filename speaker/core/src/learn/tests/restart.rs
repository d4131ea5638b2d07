use std::collections::BTreeSet;
use std::time::Duration;

use bgp_proto::session::DownReason;
use bgp_proto::types::{Community, Timestamp};
use bgp_proto::wire::{Notification, codes};

use super::*;

const DEFAULT: &str = "0.0.0.0/0";
const INNER: &str = "192.0.2.0/24";

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(seconds)
}

fn helper() -> Helper {
    Helper {
        restart: Some(Duration::from_secs(60)),
        notification: true,
        families: both(),
        forwarding: both(),
        ..Helper::default()
    }
}

fn long_lived() -> Helper {
    Helper {
        long_lived: FamilyMap::from_fn(|_| Some(Duration::from_secs(3600))),
        long_lived_forwarding: both(),
        ..helper()
    }
}

/// r1 up with two routes, one of them NO_LLGR.
fn up(helper: Helper) -> Learned {
    let mut learned = Learned::default();
    learned.surround(surroundings([1, 2]));
    learned.up(&name("r1"), 1, neighbor(1, 64500), both(), helper, rules(), at(0));
    learned.update("r1", 1, &announced(&[DEFAULT], "10.0.1.254", path(&[64500])), 0);
    let no_llgr = PathAttributes { communities: vec![Community::NO_LLGR], ..path(&[64500]) };
    learned.update("r1", 1, &announced(&[INNER], "10.0.1.254", no_llgr), 0);
    learned
}

fn stale(learned: &Learned) -> u32 {
    learned.counts().map(|(_, count)| count.get(Family::Ipv4Unicast).stale).sum()
}

#[test]
fn which_ends_keep_routes() {
    let cease = Notification::cease(2, "bye");
    let hard = cease.clone().into_hard_reset();
    let lost = || DownReason::Transport("reset by peer".to_owned());
    let without_n = Helper { notification: false, ..helper() };
    let none = Helper::default();
    for (reason, with_n, plain) in [
        (lost(), true, true),
        (DownReason::HoldTimerExpired, true, false),
        (DownReason::Received(cease.clone()), true, false),
        (DownReason::Received(hard.clone()), false, false),
        (DownReason::Sent(cease, String::new()), true, false),
        (DownReason::Sent(hard, String::new()), false, false),
        (DownReason::Received(Notification::new(codes::CEASE, codes::CEASE_HARD_RESET)), false, false),
        (DownReason::Stopped, false, false),
    ] {
        let loss = Loss::of(&reason);
        assert_eq!((loss.keeps(&helper()), loss.keeps(&without_n)), (with_n, plain), "{reason}");
        assert!(!loss.keeps(&none), "{reason}");
    }
}

#[test]
fn routes_of_a_peer_that_restarts_stay_until_end_of_rib() {
    let mut learned = up(helper());
    learned.down("r1", 1, Loss::Restart, at(10));
    assert_eq!((ways(&learned, DEFAULT), stale(&learned)), (vec!["10.0.1.254".to_owned()], 2));
    assert_eq!(learned.deadline(), Some(at(70)));
    assert!(learned.rows(|_, _| true).iter().all(|row| row.stale && row.best));
    learned.up(&name("r1"), 2, neighbor(1, 64500), both(), helper(), rules(), at(20));
    learned.update("r1", 2, &announced(&[DEFAULT], "10.0.1.254", path(&[64500])), 0);
    assert_eq!((ways(&learned, INNER).len(), stale(&learned)), (1, 1), "not told of it yet");
    learned.update("r1", 2, &end_of_rib(Family::Ipv4Unicast), 0);
    assert_eq!((ways(&learned, INNER).len(), ways(&learned, DEFAULT).len(), stale(&learned)), (0, 1, 0));
    assert!(!learned.is_complete("r1"), "IPv6 is open");
    learned.update("r1", 2, &end_of_rib(Family::Ipv6Unicast), 0);
    assert!(learned.is_complete("r1"));
    assert_eq!(learned.deadline(), None);
}

#[test]
fn a_peer_that_does_not_come_back_in_time_or_without_its_forwarding_state_loses_them() {
    let mut late = up(helper());
    late.down("r1", 1, Loss::Restart, at(10));
    late.expire(at(69));
    assert_eq!(stale(&late), 2);
    late.expire(at(70));
    assert_eq!((ways(&late, DEFAULT).len(), late.counts().count()), (0, 0), "forgotten");

    let mut cold = up(helper());
    cold.down("r1", 1, Loss::Restart, at(10));
    let without = Helper { forwarding: FamilySet::default(), ..helper() };
    cold.up(&name("r1"), 2, neighbor(1, 64500), both(), without, rules(), at(20));
    assert_eq!(ways(&cold, DEFAULT).len(), 0, "F is not set");

    let mut silent = up(helper());
    silent.down("r1", 1, Loss::Restart, at(10));
    silent.up(&name("r1"), 2, neighbor(1, 64500), both(), helper(), rules(), at(20));
    silent.expire(at(20 + 360));
    assert_eq!(ways(&silent, DEFAULT).len(), 0, "no End-of-RIB");
}

#[test]
fn a_second_loss_before_the_table_came_ends_it() {
    let mut learned = up(helper());
    learned.down("r1", 1, Loss::Restart, at(10));
    learned.up(&name("r1"), 2, neighbor(1, 64500), both(), helper(), rules(), at(20));
    learned.update("r1", 2, &announced(&[DEFAULT], "10.0.1.254", path(&[64500])), 0);
    learned.down("r1", 2, Loss::Restart, at(30));
    assert_eq!((ways(&learned, INNER).len(), ways(&learned, DEFAULT).len()), (0, 1));
}

#[test]
fn long_lived_stale_routes_are_a_last_resort() {
    let mut learned = up(long_lived());
    learned.down("r1", 1, Loss::Restart, at(10));
    learned.expire(at(70));
    assert_eq!((ways(&learned, DEFAULT).len(), ways(&learned, INNER).len()), (1, 0), "NO_LLGR is gone");
    assert_eq!(learned.deadline(), Some(at(70 + 3600)));
    // Whoever else has one is preferred, however long its path is.
    learned.up(&name("r2"), 1, neighbor(2, 64502), both(), Helper::default(), rules(), at(80));
    learned.update("r2", 1, &announced(&[DEFAULT], "10.0.2.254", path(&[64502, 1, 2, 3])), 0);
    assert_eq!(ways(&learned, DEFAULT), ["10.0.2.254"]);
    assert!(reason(&learned, "r1", DEFAULT).unwrap().contains("long-lived stale"));
    learned.expire(at(70 + 3600));
    assert_eq!(learned.rows(|name, _| name == "r1").len(), 0);
}

/// Its graceful restart capability has no family, its long-lived one has both.
#[test]
fn a_peer_that_skips_graceful_restart_is_long_lived_stale_at_once() {
    let skips = Helper { families: FamilySet::EMPTY, forwarding: FamilySet::EMPTY, ..long_lived() };
    let mut learned = up(skips);
    learned.down("r1", 1, Loss::Restart, at(10));
    assert_eq!((ways(&learned, DEFAULT).len(), ways(&learned, INNER).len(), stale(&learned)), (1, 0, 1));
    assert_eq!(learned.deadline(), Some(at(10 + 3600)));
    learned.up(&name("r1"), 2, neighbor(1, 64500), both(), skips, rules(), at(20));
    assert_eq!(ways(&learned, DEFAULT).len(), 1, "F of the long-lived capability is set");
    learned.update("r1", 2, &end_of_rib(Family::Ipv4Unicast), 0);
    assert_eq!(ways(&learned, DEFAULT).len(), 0, "it has not said it again");

    let mut for_good = up(skips);
    for_good.down("r1", 1, Loss::Final, at(10));
    assert_eq!(ways(&for_good, DEFAULT).len(), 0);
}

#[test]
fn without_graceful_restart_and_for_good_everything_goes_at_once() {
    let mut plain = up(Helper::default());
    plain.down("r1", 1, Loss::Restart, at(10));
    assert_eq!(ways(&plain, DEFAULT).len(), 0);
    let mut ended = up(helper());
    ended.down("r1", 1, Loss::Final, at(10));
    assert_eq!((ways(&ended, DEFAULT).len(), ended.deadline()), (0, None));
    let mut gone = up(helper());
    gone.down("r1", 1, Loss::Restart, at(10));
    gone.forget("r1");
    assert_eq!((ways(&gone, DEFAULT).len(), gone.deadline()), (0, None));
    gone.update("r1", 1, &announced(&[DEFAULT], "10.0.1.254", path(&[64500])), 0);
    assert_eq!(ways(&gone, DEFAULT).len(), 0, "a last word of a session that is gone");
}

#[test]
fn a_refresh_takes_away_what_it_does_not_name_and_interrupts_nothing() {
    let mut learned = up(Helper::default());
    learned.refreshing("r1", 1, Family::Ipv4Unicast);
    assert_eq!(ways(&learned, INNER).len(), 1);
    learned.update("r1", 1, &announced(&[DEFAULT], "10.0.1.254", path(&[64500])), 0);
    learned.refreshed("r1", 1, Family::Ipv4Unicast);
    assert_eq!((ways(&learned, INNER).len(), ways(&learned, DEFAULT).len()), (0, 1));
}

#[test]
fn fewer_rules_take_away_and_a_lower_limit_cuts() {
    let mut learned = up(Helper::default());
    learned.set_rules("r1", 1, &Rules { learn: Learn::DefaultRoute, ..rules() });
    assert_eq!((ways(&learned, INNER).len(), ways(&learned, DEFAULT).len()), (0, 1));
    let mut learned = up(Helper::default());
    learned.set_rules("r1", 1, &Rules { most: FamilyMap::from_fn(|_| 1), ..rules() });
    assert_eq!((ways(&learned, INNER).len(), ways(&learned, DEFAULT).len()), (0, 1));
}

/// A kernel, as far as routes of our protocol go.
#[derive(Default)]
struct Kernel(std::collections::BTreeMap<(Prefix, u32), Vec<Hop>>);

impl Kernel {
    fn found(&self) -> Vec<Found> {
        let all = self.0.iter();
        all.map(|((prefix, metric), hops)| Found { prefix: *prefix, metric: *metric, hops: hops.clone() })
            .collect()
    }

    fn apply(&mut self, fib: &mut Fib, learned: &Learned) -> Vec<FibOp> {
        let mut all = Vec::new();
        loop {
            let ops = fib.next(learned, 2);
            if ops.is_empty() {
                return all;
            }
            for op in ops {
                match &op {
                    FibOp::Add(prefix, hops) => {
                        assert_eq!(
                            self.0.insert((*prefix, METRIC), hops.to_vec()),
                            None,
                            "{prefix} was there"
                        );
                    }
                    FibOp::Replace(prefix, hops) => {
                        assert!(
                            self.0.insert((*prefix, METRIC), hops.to_vec()).is_some(),
                            "{prefix} was not"
                        );
                    }
                    FibOp::Delete(prefix, metric) => {
                        assert!(self.0.remove(&(*prefix, *metric)).is_some(), "{prefix} was not there");
                    }
                }
                fib.done(op.clone(), Ok(()));
                all.push(op);
            }
        }
    }
}

fn hop(link: u8) -> Hop {
    Hop { gateway: IpAddr::from([10, 0, link, 254]), interface: link.into() }
}

#[test]
fn what_a_former_process_left_stays_until_peers_have_told() {
    let mut kernel = Kernel::default();
    kernel.0.insert((prefix(DEFAULT), METRIC), vec![hop(1)]);
    kernel.0.insert((prefix("198.51.100.0/24"), METRIC), vec![hop(1)]);
    kernel.0.insert((prefix(INNER), 7), vec![hop(1)]);
    let (mut fib, mut learned) = (Fib::default(), Learned::default());
    fib.read(kernel.found().into_iter().collect(), &learned);
    assert_eq!(kernel.apply(&mut fib, &learned), []);
    learned = up(helper());
    fib.changed(learned.take_changed());
    let ops = kernel.apply(&mut fib, &learned);
    assert_eq!(
        ops.iter().map(FibOp::prefix).collect::<Vec<_>>(),
        [prefix(INNER)],
        "the default route is there"
    );
    learned.update("r1", 1, &withdrawn(&[DEFAULT]), 0);
    fib.changed(learned.take_changed());
    assert_eq!(kernel.apply(&mut fib, &learned).len(), 1, "it was ours meanwhile, and is gone");
    fib.read(kernel.found().into_iter().collect(), &learned);
    assert_eq!(kernel.apply(&mut fib, &learned), [], "reading again changes nothing");
    fib.release();
    kernel.apply(&mut fib, &learned);
    assert_eq!(kernel.found(), [Found { prefix: prefix(INNER), metric: METRIC, hops: vec![hop(1)] }]);
    assert!(fib.is_settled());
}

#[test]
fn the_first_router_to_come_back_does_not_take_the_place_of_all() {
    let mut kernel = Kernel::default();
    kernel.0.insert((prefix(DEFAULT), METRIC), vec![hop(1), hop(2)]);
    let (mut fib, mut learned) = (Fib::default(), Learned::default());
    fib.read(kernel.found().into_iter().collect(), &learned);
    learned = up(helper());
    fib.changed(learned.take_changed());
    kernel.apply(&mut fib, &learned);
    assert_eq!(kernel.0[&(prefix(DEFAULT), METRIC)], [hop(1), hop(2)]);
    assert_eq!(kernel.0[&(prefix(INNER), METRIC)], [hop(1)], "what is new is in nobody's place");
    fib.release();
    kernel.apply(&mut fib, &learned);
    assert_eq!(kernel.0[&(prefix(DEFAULT), METRIC)], [hop(1)]);
}

#[test]
fn a_route_that_others_removed_or_changed_comes_back() {
    let mut kernel = Kernel::default();
    let (mut fib, mut learned) = (Fib::default(), up(helper()));
    fib.read(kernel.found().into_iter().collect(), &learned);
    fib.changed(learned.take_changed());
    kernel.apply(&mut fib, &learned);
    assert_eq!(kernel.0.len(), 2);
    kernel.0.clear();
    kernel.0.insert((prefix(DEFAULT), METRIC), vec![hop(2)]);
    kernel.0.insert((prefix("203.0.113.0/24"), METRIC), vec![hop(2)]);
    fib.read(kernel.found().into_iter().collect(), &learned);
    kernel.apply(&mut fib, &learned);
    let prefixes: BTreeSet<Prefix> = kernel.0.keys().map(|(prefix, _)| *prefix).collect();
    assert_eq!(
        prefixes,
        BTreeSet::from([prefix(DEFAULT), prefix(INNER)]),
        "and what was put in our name is gone"
    );
    assert_eq!(kernel.0[&(prefix(DEFAULT), METRIC)], [hop(1)]);
}

#[test]
fn a_refused_route_is_told_and_tried_again() {
    let (mut fib, mut learned) = (Fib::default(), up(helper()));
    fib.read(Reading::default(), &learned);
    fib.changed(learned.take_changed());
    for op in fib.next(&learned, 10) {
        fib.done(op, Err("File exists".to_owned()));
    }
    assert!(fib.problems()[0].contains("0.0.0.0/0 cannot be set: File exists"), "{:?}", fib.problems());
    assert!(fib.next(&learned, 10).is_empty());
    fib.retry();
    assert_eq!(fib.next(&learned, 10).len(), 2);
    assert!(fib.problems().is_empty());
}
