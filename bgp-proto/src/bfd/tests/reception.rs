//! RFC 5880 §6.8.6, rule by rule.

use std::net::IpAddr;

use super::*;

const PEER: &str = "192.0.2.2";

fn path(remote: &str, interface: Option<u32>, hops: Hops) -> Path {
    Path { remote: remote.parse().unwrap(), interface, hops }
}

fn add(sessions: &mut Sessions, path: Path) -> SessionId {
    sessions.add(at(0), path, config(300, 300, 3), &mut Vec::new()).unwrap()
}

struct From {
    source: &'static str,
    interface: u32,
    ttl: u8,
    multihop: bool,
}

const LINK: From = From { source: PEER, interface: 2, ttl: 255, multihop: false };

fn receive(sessions: &mut Sessions, from: &From, octets: &[u8]) -> Result<SessionId, Discard> {
    let source: IpAddr = from.source.parse().unwrap();
    let datagram = Datagram {
        multihop: from.multihop,
        source,
        interface: from.interface,
        ttl: from.ttl,
        payload: octets,
    };
    sessions.receive(at(1), &datagram, &mut Vec::new())
}

fn down() -> Packet {
    packet(State::Down, 0)
}

#[test]
fn each_discard_leaves_the_session_as_it_was_and_is_counted() {
    let mut sessions = Sessions::new(1);
    let id = add(&mut sessions, path(PEER, None, Hops::Single));
    let ours = id.get();
    let before = sessions.view(id).unwrap();
    let version = |mut octets: [u8; 24]| {
        octets[0] = 0x00;
        octets.to_vec()
    };
    let authenticated = |packet: Packet| {
        let mut octets = [&packet.encode()[..], &[1, 4, 0, 0]].concat();
        octets[1] |= 0x04;
        octets[3] = 28;
        octets
    };
    let unknown = ours ^ 0x5a5a;
    let good = packet(State::Down, ours).encode().to_vec();
    let cases: [(From, Vec<u8>, Discard); 10] = [
        (From { ttl: 254, ..LINK }, good.clone(), Discard::Ttl),
        (From { ttl: 1, ..LINK }, version(down().encode()), Discard::Ttl),
        (LINK, version(down().encode()), Discard::Version),
        (LINK, packet(State::Down, unknown).encode().to_vec(), Discard::YourDiscriminator),
        (LINK, packet(State::Init, 0).encode().to_vec(), Discard::State),
        (LINK, packet(State::Up, 0).encode().to_vec(), Discard::State),
        (From { source: "192.0.2.3", ..LINK }, down().encode().to_vec(), Discard::Stranger),
        (From { multihop: true, ..LINK }, down().encode().to_vec(), Discard::Stranger),
        (From { multihop: true, ..LINK }, good, Discard::YourDiscriminator),
        (LINK, authenticated(packet(State::Down, ours)), Discard::Authentication),
    ];
    for (n, (from, octets, expected)) in cases.iter().enumerate() {
        assert_eq!(receive(&mut sessions, from, octets), Err(*expected), "case {n}");
        assert_eq!(sessions.view(id).unwrap(), before, "case {n}");
    }
    assert_eq!(sessions.discarded().values().sum::<u64>(), 10);
    assert_eq!(sessions.discarded()[&Discard::Ttl], 2);
    assert_eq!(receive(&mut sessions, &LINK, &down().encode()), Ok(id));
}

#[test]
fn a_discriminator_finds_the_session_whatever_the_source_on_the_link() {
    let mut sessions = Sessions::new(1);
    let id = add(&mut sessions, path(PEER, None, Hops::Single));
    let other = From { source: "198.51.100.9", interface: 9, ..LINK };
    let octets = packet(State::Down, id.get()).encode();
    assert_eq!(receive(&mut sessions, &other, &octets), Ok(id));
}

#[test]
fn without_a_discriminator_address_and_interface_find_it() {
    let mut sessions = Sessions::new(1);
    let links: Vec<SessionId> =
        [2, 3].map(|interface| add(&mut sessions, path("fe80::1", Some(interface), Hops::Single))).into();
    let from = |interface| From { source: "fe80::1", interface, ..LINK };
    assert_eq!(receive(&mut sessions, &from(2), &down().encode()), Ok(links[0]));
    assert_eq!(receive(&mut sessions, &from(3), &down().encode()), Ok(links[1]));
    assert_eq!(receive(&mut sessions, &from(4), &down().encode()), Err(Discard::Stranger));
}

#[test]
fn several_hops_have_their_own_port_least_ttl_and_source() {
    let mut sessions = Sessions::new(1);
    let far = From { ttl: 250, multihop: true, ..LINK };
    let any = add(&mut sessions, path(PEER, None, Hops::Multi { least_ttl: 0 }));
    assert_eq!(receive(&mut sessions, &From { ttl: 1, ..far }, &down().encode()), Ok(any));
    let known = packet(State::Down, any.get()).encode();
    assert_eq!(receive(&mut sessions, &From { source: "192.0.2.9", ..far }, &known), Err(Discard::Stranger));
    assert_eq!(receive(&mut sessions, &LINK, &known), Err(Discard::YourDiscriminator));
    // One hop and several to the same address are two sessions.
    let near = add(&mut sessions, path(PEER, None, Hops::Single));
    assert_eq!(receive(&mut sessions, &LINK, &down().encode()), Ok(near));
    let guarded = add(&mut sessions, path("192.0.2.4", None, Hops::Multi { least_ttl: 253 }));
    let from = |ttl| From { source: "192.0.2.4", ttl, ..far };
    assert_eq!(receive(&mut sessions, &from(252), &down().encode()), Err(Discard::Ttl));
    assert_eq!(receive(&mut sessions, &from(253), &down().encode()), Ok(guarded));
}

#[test]
fn a_path_has_one_session() {
    let mut sessions = Sessions::new(1);
    let near = path(PEER, None, Hops::Single);
    let id = add(&mut sessions, near);
    assert_eq!(sessions.add(at(1), near, config(10, 10, 3), &mut Vec::new()), Err(id));
    assert_eq!(sessions.len(), 1);
}

/// The state machine's table: state before, state received, state after, diagnostic after.
#[test]
fn every_state_meets_every_state() {
    use State::{AdminDown, Down, Init, Up};
    let signaled = Diagnostic::NeighborDown;
    let none = Diagnostic::None;
    let rows = [
        (Down, AdminDown, Down, none),
        (Down, Down, Init, none),
        (Down, Init, Up, none),
        (Down, Up, Down, none),
        (Init, AdminDown, Down, signaled),
        (Init, Down, Init, none),
        (Init, Init, Up, none),
        (Init, Up, Up, none),
        (Up, AdminDown, Down, signaled),
        (Up, Down, Down, signaled),
        (Up, Init, Up, none),
        (Up, Up, Up, none),
    ];
    for (before, received, after, diagnostic) in rows {
        let mut session = in_state(before);
        let mut actions = Vec::new();
        session.receive(at(2), packet(received, 5), &mut actions).unwrap();
        assert_eq!(session.state(), after, "{before} hears {received}");
        assert_eq!(session.view().diagnostic, diagnostic, "{before} hears {received}");
        let expected = if before == after { 0 } else { 1 };
        assert_eq!(changes(&actions).len(), expected);
        // A change is told at once, not when the next packet is due.
        assert_eq!(sent(&actions).len(), expected, "{before} hears {received}: {actions:?}");
        assert!(sent(&actions).iter().all(|packet| packet.state == after));
    }
    for received in [AdminDown, Down, Init, Up] {
        let mut session = in_state(AdminDown);
        let result = session.receive(at(2), packet(received, 5), &mut Vec::new());
        assert_eq!((result, session.state()), (Err(Discard::AdminDown), AdminDown));
    }
}

#[test]
fn only_a_detected_or_signaled_fault_is_a_failure() {
    for (received, failure) in [(State::Down, true), (State::AdminDown, false)] {
        let mut actions = Vec::new();
        in_state(State::Up).receive(at(2), packet(received, 5), &mut actions).unwrap();
        assert_eq!(changes(&actions)[0].is_failure(), failure, "{received}");
    }
    let mut actions = Vec::new();
    let mut session = in_state(State::Up);
    session.handle(at(901), Input::Timeout, &mut actions);
    assert!(changes(&actions)[0].is_failure());
    assert_eq!(session.view().counts.failures, 1);
    let mut actions = Vec::new();
    in_state(State::Up).handle(at(2), Input::Disable, &mut actions);
    assert!(!changes(&actions)[0].is_failure());
    let mut actions = Vec::new();
    in_state(State::Init).handle(at(901), Input::Timeout, &mut actions);
    assert_eq!(changes(&actions)[0].cause, Cause::DetectionTimeExpired);
    assert!(!changes(&actions)[0].is_failure(), "it was never Up");
}

#[test]
fn a_neighbor_that_is_switched_off_is_told_of_even_while_down() {
    let mut actions = Vec::new();
    let mut session = in_state(State::Down);
    for _ in 0..3 {
        session.receive(at(2), packet(State::AdminDown, 5), &mut actions).unwrap();
    }
    let told = actions.iter().filter(|action| **action == Action::NeighborAdminDown).count();
    assert_eq!((told, session.state()), (1, State::Down));
}

#[test]
fn a_poll_is_answered_in_every_state_but_never_with_both_bits() {
    for state in [State::Down, State::Init, State::Up] {
        let mut session = in_state(state);
        let mut actions = Vec::new();
        let same = if state == State::Up { State::Up } else { State::Down };
        session.receive(at(50), Packet { poll: true, ..packet(same, 5) }, &mut actions).unwrap();
        let answer = sent(&actions)[0];
        assert!(answer.final_ && !answer.poll, "{state}: {answer:?}");
    }
}

#[test]
fn polls_that_come_too_fast_are_answered_every_ten_milliseconds() {
    let mut session = in_state(State::Up);
    let mut actions = Vec::new();
    for n in 0..1000 {
        let now = at(100) + Duration::from_micros(n * 100);
        session.receive(now, Packet { poll: true, ..packet(State::Up, 5) }, &mut actions).unwrap();
    }
    assert_eq!(sent(&actions).iter().filter(|packet| packet.final_).count(), 10);
}

#[test]
fn a_peer_in_demand_mode_hears_nothing_but_polls() {
    let mut session = in_state(State::Up);
    let mut actions = Vec::new();
    let demand = Packet { demand: true, final_: true, ..packet(State::Up, 5) };
    session.receive(at(10), demand, &mut actions).unwrap();
    session.receive(at(20), Packet { final_: false, ..demand }, &mut actions).unwrap();
    actions.clear();
    assert_eq!(session.view().transmit, None);
    // Silence of the peer still ends it.
    assert_eq!(session.deadline(), Some(at(20 + 900)));
    session.handle(at(30), Input::Configure(config(200, 300, 3)), &mut actions);
    for _ in 0..3 {
        let next = session.deadline().unwrap();
        session.handle(next, Input::Timeout, &mut actions);
    }
    assert!(sent(&actions).len() >= 3 && sent(&actions).iter().all(|packet| packet.poll), "{actions:?}");
}

#[test]
fn a_peer_that_takes_no_packets_gets_none_until_it_is_gone() {
    let mut session = in_state(State::Up);
    let mut actions = Vec::new();
    let closed = Packet { required_min_rx: 0, ..packet(State::Up, 5) };
    session.receive(at(10), closed, &mut actions).unwrap();
    actions.clear();
    assert_eq!(session.deadline(), Some(at(910)));
    session.handle(at(909), Input::Timeout, &mut actions);
    assert_eq!(actions, []);
    session.handle(at(910), Input::Timeout, &mut actions);
    assert_eq!(session.state(), State::Down);
    let said = sent(&actions)[0];
    assert_eq!((said.your_discriminator, said.diagnostic), (None, Diagnostic::DetectionTimeExpired));
    assert!(session.deadline().is_some(), "it calls again");
}

#[test]
fn what_we_say_is_slow_until_up_and_never_claims_what_we_do_not_do() {
    for state in [State::AdminDown, State::Init, State::Up] {
        let mut session = in_state(state);
        let mut actions = Vec::new();
        let same = if state == State::Up { State::Up } else { State::Down };
        let patient = Packet { detect_multiplier: NonZeroU8::MAX, ..packet(same, 5) };
        let _ = session.receive(at(1), patient, &mut actions);
        actions.clear();
        session.handle(session.deadline().unwrap(), Input::Timeout, &mut actions);
        let said = sent(&actions)[0];
        let slow = if state == State::Up { 300_000 } else { 1_000_000 };
        assert_eq!((said.state, said.desired_min_tx, said.required_min_rx), (state, slow, 300_000));
        assert!(!said.demand && !said.control_plane_independent && said.required_min_echo_rx == 0);
    }
    let slower = Session::new(at(0), NonZeroU32::MIN, config(5000, 300, 3), 1);
    assert_eq!(slower.view().ours.desired_min_tx, ms(5000));
}
