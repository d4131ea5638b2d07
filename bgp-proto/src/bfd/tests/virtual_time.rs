//! Two sessions on virtual time.

use super::network::{Event, Network};
use super::*;
use crate::random::Random;

const USUAL: u64 = 300;

fn usual() -> [Config; 2] {
    [config(USUAL, USUAL, 3); 2]
}

#[test]
fn two_ends_come_up_and_agree_on_the_slower_wish_of_each_direction() {
    let mut network = Network::new([config(100, 400, 3), config(200, 50, 5)]);
    let took = network.run_until("both are Up", ms(5000), |n| n.states() == [State::Up; 2]);
    assert!(took < ms(2100), "{took:?}");
    network.run(ms(3000));
    let (a, b) = (network.view(0), network.view(1));
    // A sends every max(100, 50), B every max(200, 400).
    assert_eq!((a.transmit, b.transmit), (Some(ms(100)), Some(ms(400))));
    // "the value of Detect Mult received from the remote system, multiplied by the agreed transmit interval".
    assert_eq!((a.detection_time, b.detection_time), (Some(ms(5 * 400)), Some(ms(3 * 100))));
    assert!(!a.polling && !b.polling, "the Poll Sequences of coming Up have ended");
    let start = network.now;
    network.run(ms(60_000));
    for (end, interval) in [(0, 100), (1, 400)] {
        let gaps = network.gaps(end, start);
        assert!(gaps.iter().all(|gap| (ms(interval) * 3 / 4..=ms(interval)).contains(gap)), "{gaps:?}");
        let mean = gaps.iter().sum::<Duration>() / u32::try_from(gaps.len()).unwrap();
        assert!((ms(interval * 85 / 100)..ms(interval * 90 / 100)).contains(&mean), "{mean:?}");
    }
    assert!(network.changes(0, start).is_empty() && network.changes(1, start).is_empty());
}

#[test]
fn with_a_multiplier_of_one_packets_come_early_enough() {
    let mut network = Network::up([config(100, 100, 1), config(100, 100, 1)]);
    let start = network.now;
    network.run(ms(60_000));
    for end in [0, 1] {
        assert!(network.changes(end, start).is_empty(), "no packet is ever late");
        assert!(network.gaps(end, start).iter().all(|gap| (ms(75)..=ms(90)).contains(gap)));
    }
}

#[test]
fn silence_is_a_failure_after_the_detection_time_and_both_come_back() {
    let mut network = Network::up(usual());
    let cut = network.now;
    network.lost = Box::new(|_, _, _| true);
    network.run(ms(1000));
    for end in [0, 1] {
        let (when, event) = *network.ends[end].events.last().unwrap();
        let expected = Change { from: State::Up, to: State::Down, cause: Cause::DetectionTimeExpired };
        assert_eq!(event, Event::Changed(expected));
        let after = when.since(cut);
        assert!((ms(600)..=ms(902)).contains(&after), "{after:?}: three intervals after the last packet");
        assert_eq!(network.view(end).diagnostic, Diagnostic::DetectionTimeExpired);
        assert_eq!(network.view(end).peer, None);
    }
    let dark = network.now;
    network.run(ms(20_000));
    for end in [0, 1] {
        let gaps = network.gaps(end, dark);
        assert!(gaps.iter().all(|gap| *gap >= ms(750)), "slow while Down: {gaps:?}");
    }
    network.lost = Box::new(|_, _, _| false);
    network.run_until("both are Up again", ms(5000), |n| n.states() == [State::Up; 2]);
    assert_eq!(network.view(0).diagnostic, Diagnostic::None);
    assert_eq!((network.view(0).counts.ups, network.view(0).counts.failures), (2, 1));
}

#[test]
fn one_way_loss_brings_both_down_and_says_who_noticed() {
    let mut network = Network::up(usual());
    let cut = network.now;
    network.lost = Box::new(|_, from, _| from == 0);
    network.run(ms(1000));
    let cause = |end| network.changes(end, cut)[0].cause;
    assert_eq!((cause(1), cause(0)), (Cause::DetectionTimeExpired, Cause::NeighborDown));
    assert!(network.changes(0, cut)[0].is_failure());
    network.run(ms(30_000));
    assert!(network.states().iter().all(|state| *state != State::Up), "{:?}", network.states());
}

#[test]
fn scattered_loss_is_no_failure() {
    let mut network = Network::up([config(50, 50, 10), config(50, 50, 10)]);
    let mut random = Random::new(5);
    network.lost = Box::new(move |_, _, _| random.within(1, 100) <= 20);
    let start = network.now;
    network.run(ms(120_000));
    assert!(network.changes(0, start).is_empty() && network.changes(1, start).is_empty());
}

#[test]
fn a_peer_that_restarted_in_a_blink_is_noticed() {
    let mut network = Network::up(usual());
    let start = network.now;
    network.restart(1, usual()[1]);
    network.run_until("the survivor is Down", ms(400), |n| !n.changes(0, start).is_empty());
    let change = network.changes(0, start)[0];
    assert!(change.is_failure() && change.cause == Cause::NeighborDown, "{change:?}");
    network.run_until("both are Up again", ms(5000), |n| n.states() == [State::Up; 2]);
}

/// "the actual transmission interval used MUST NOT change until the Poll Sequence described above has
/// terminated".
#[test]
fn a_longer_interval_waits_for_the_peer_to_know() {
    let mut network = Network::up(usual());
    let start = network.now;
    // The peer's answers are lost at first.
    network.lost = Box::new(move |now, from, packet| from == 1 && packet.final_ && now < start + ms(2000));
    network.configure(0, config(2000, USUAL, 3));
    network.run(ms(1900));
    assert!(network.view(0).polling);
    assert_eq!(network.view(0).transmit, Some(ms(USUAL)));
    assert_eq!(network.view(1).detection_time, Some(ms(6000)), "the peer knows at once");
    network.run_until("the Poll ends", ms(2000), |n| !n.view(0).polling);
    assert_eq!(network.view(0).transmit, Some(ms(2000)));
    network.run(ms(20_000));
    assert!(network.changes(0, start).is_empty() && network.changes(1, start).is_empty());
}

/// "the previous value of bfd.RequiredMinRxInterval MUST be used when calculating the Detection Time".
#[test]
fn a_shorter_detection_waits_for_the_peer_to_send_faster() {
    let mut network = Network::up([config(50, 1000, 3), config(50, 50, 3)]);
    let start = network.now;
    assert_eq!(network.view(0).detection_time, Some(ms(3000)));
    network.lost = Box::new(move |now, from, packet| from == 1 && packet.final_ && now < start + ms(900));
    network.configure(0, config(50, 50, 3));
    network.run(ms(800));
    assert!(network.view(0).polling);
    assert_eq!(network.view(0).detection_time, Some(ms(3000)));
    assert_eq!(network.view(1).transmit, Some(ms(50)), "the peer honors it at once");
    network.run_until("the Poll ends", ms(500), |n| !n.view(0).polling);
    assert_eq!(network.view(0).detection_time, Some(ms(150)));
    network.run(ms(20_000));
    assert!(network.changes(0, start).is_empty() && network.changes(1, start).is_empty());
}

#[test]
fn changes_that_follow_one_another_have_a_poll_each() {
    let mut network = Network::up(usual());
    let start = network.now;
    network.configure(0, config(500, USUAL, 3));
    network.configure(0, config(700, 400, 4));
    network.configure(1, config(100, 100, 5));
    network.run(ms(50));
    assert_eq!(network.view(0).ours.desired_min_tx, ms(500), "the second waits for the first");
    network.run(ms(10_000));
    let (a, b) = (network.view(0), network.view(1));
    assert_eq!((a.ours.desired_min_tx, a.ours.required_min_rx), (ms(700), ms(400)));
    assert_eq!((a.transmit, b.transmit), (Some(ms(700)), Some(ms(400))));
    assert_eq!((a.detection_time, b.detection_time), (Some(ms(5 * 400)), Some(ms(4 * 700))));
    assert!(!a.polling && !b.polling);
    assert!(network.changes(0, start).is_empty() && network.changes(1, start).is_empty());
}

#[test]
fn a_session_switched_off_is_no_failure_for_the_peer() {
    let mut network = Network::up(usual());
    let start = network.now;
    network.act(0, |sessions, id, now, out| sessions.disable(now, id, out));
    network.run(ms(10_000));
    assert_eq!(network.states(), [State::AdminDown, State::Down]);
    let expected = Change { from: State::Up, to: State::Down, cause: Cause::NeighborAdminDown };
    assert_eq!(network.changes(1, start), [expected]);
    assert!(network.ends[1].events.iter().any(|(_, event)| *event == Event::NeighborAdminDown));
    let told = network.view(1).peer.unwrap();
    assert_eq!(
        (told.state, told.diagnostic),
        (State::AdminDown, Diagnostic::AdministrativelyDown),
        "it is still told of"
    );
    network.act(0, |sessions, id, now, out| sessions.enable(now, id, out));
    network.run_until("both are Up again", ms(5000), |n| n.states() == [State::Up; 2]);
    assert_eq!(network.view(1).counts.failures, 0);
}

#[test]
fn a_removed_session_stays_until_the_peer_knows() {
    let mut network = Network::up(usual());
    network.act(0, |sessions, id, now, out| sessions.retire(now, id, out));
    assert_eq!(network.ends[0].sessions.len(), 1);
    network.run(ms(5));
    assert_eq!(network.ends[0].sessions.len(), 0, "the peer has said Down");
    assert_eq!(network.ends[0].events.last().unwrap().1, Event::Gone);
    assert_eq!(network.ends[0].sessions.deadline(), None);
    assert_eq!(network.view(1).counts.failures, 0);

    let mut network = Network::up(usual());
    network.lost = Box::new(|_, _, _| true);
    let start = network.now;
    network.act(0, |sessions, id, now, out| sessions.retire(now, id, out));
    network.run(ms(10_000));
    let (when, event) = *network.ends[0].events.last().unwrap();
    assert_eq!((when.since(start), event), (ms(900), Event::Gone), "what the peer waits for packets");

    // One that was switched off before has told the peer already.
    let mut network = Network::up(usual());
    network.lost = Box::new(|_, _, _| true);
    network.act(0, |sessions, id, now, out| sessions.disable(now, id, out));
    network.run(ms(899));
    network.act(0, |sessions, id, now, out| sessions.retire(now, id, out));
    network.run(ms(1));
    assert_eq!(network.ends[0].events.last().unwrap().1, Event::Gone);
}

#[test]
fn a_session_that_says_farewell_can_be_taken_back() {
    let mut network = Network::up(usual());
    let id = network.ends[0].id;
    network.act(0, |sessions, id, now, out| {
        let path = sessions.path(id).unwrap();
        sessions.retire(now, id, out);
        assert_eq!(sessions.add(now, path, config(100, 100, 3), out), Ok(id));
    });
    network.run_until("both are Up again", ms(5000), |n| n.states() == [State::Up; 2]);
    network.run(ms(5000));
    assert_eq!((network.ends[0].id, network.view(0).transmit), (id, Some(ms(USUAL))));
    assert_eq!(network.view(1).counts.failures, 0);
}

#[test]
fn a_thousand_sessions_have_one_queue() {
    let mut sessions = Sessions::new(3);
    let mut out = Vec::new();
    for n in 0..1000_u32 {
        let remote = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into();
        let path = Path { remote, interface: None, hops: Hops::Single };
        sessions.add(at(0), path, config(USUAL, USUAL, 3), &mut out).unwrap();
    }
    assert_eq!(out.len(), 1000, "each calls at once");
    let mut count = 0;
    while let Some(next) = sessions.deadline().filter(|next| *next <= at(10_000)) {
        out.clear();
        sessions.expire(next, &mut out);
        assert!(!out.is_empty(), "a deadline is never for nothing");
        count += out.len();
    }
    assert!((10_000..=14_000).contains(&count), "{count}: one every 750 to 1000 ms");
}
