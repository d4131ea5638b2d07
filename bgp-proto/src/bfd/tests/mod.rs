mod network;
mod reception;
mod virtual_time;

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::*;
use crate::types::Timestamp;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + ms(millis)
}

fn config(transmit: u64, receive: u64, multiplier: u8) -> Config {
    Config {
        transmit: ms(transmit),
        receive: ms(receive),
        detect_multiplier: NonZeroU8::new(multiplier).unwrap(),
    }
}

/// A packet of a peer with discriminator 77 and 300 ms × 3.
fn packet(state: State, your_discriminator: u32) -> Packet {
    Packet {
        diagnostic: Diagnostic::None,
        state,
        poll: false,
        final_: false,
        control_plane_independent: false,
        authentication: false,
        demand: false,
        detect_multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: NonZeroU32::new(77).unwrap(),
        your_discriminator: NonZeroU32::new(your_discriminator),
        desired_min_tx: 300_000,
        required_min_rx: 300_000,
        required_min_echo_rx: 0,
    }
}

/// A session in `state`, and the peer knows it.
fn in_state(state: State) -> Session {
    let mut session = Session::new(at(0), NonZeroU32::new(5).unwrap(), config(300, 300, 3), 1);
    let mut actions = Vec::new();
    session.handle(at(0), Input::Timeout, &mut actions);
    let said: &[State] = match state {
        // What does not change its state makes the peer known to it.
        State::Down => &[State::Up],
        State::Init => &[State::Down],
        State::Up => &[State::Down, State::Init],
        State::AdminDown => {
            session.handle(at(0), Input::Disable, &mut actions);
            &[]
        }
    };
    for said in said {
        session.receive(at(1), packet(*said, 5), &mut actions).unwrap();
    }
    assert_eq!(session.state(), state);
    session
}

fn sent(actions: &[Action]) -> Vec<Packet> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(packet) => Some(*packet),
        Action::Changed(_) | Action::NeighborAdminDown => None,
    });
    sent.collect()
}

fn changes(actions: &[Action]) -> Vec<Change> {
    let changes = actions.iter().filter_map(|action| match action {
        Action::Changed(change) => Some(*change),
        Action::Send(_) | Action::NeighborAdminDown => None,
    });
    changes.collect()
}
