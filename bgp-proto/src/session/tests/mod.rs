//! A session on a bench: inputs by hand, a clock by hand, messages read back from the wire.

mod collision;
mod network;
mod rules;
mod table;
mod timing;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::types::{Asn, Family, FamilyMap, FamilySet, HoldTime, RouterId, Timestamp};
use crate::wire::{
    Capability, DecodeContext, Message, Notification, Open, RefreshKind, RouteRefresh, end_of_rib, keepalive,
    read_message,
};

pub(super) const OUR_ASN: u32 = 64500;
pub(super) const PEER_ASN: u32 = 64501;

/// Dual stack, 90 s hold time, everything optional that has no data of its own.
pub(super) fn config(asn: u32, router_id: &str) -> SessionConfig {
    SessionConfig {
        local_asn: Asn::new(asn).unwrap(),
        router_id: router_id.parse().unwrap(),
        peer_asn: PeerAsn::Any,
        passive: false,
        families: Family::ALL.into_iter().collect(),
        timers: TimerConfig::default(),
        extended_message: true,
        extended_next_hop: false,
        add_path: FamilyMap::default(),
        graceful_restart: None,
        helper: false,
        role: None,
        host_name: None,
        seed: 1,
    }
}

pub(super) fn ours() -> SessionConfig {
    config(OUR_ASN, "10.0.0.2")
}

/// What a peer at 10.0.0.9 with both families says.
pub(super) fn peer_open() -> Open {
    Open {
        asn: Asn::new(PEER_ASN).unwrap(),
        hold_time: HoldTime::DEFAULT,
        router_id: RouterId::new([10, 0, 0, 9].into()).unwrap(),
        capabilities: vec![
            Capability::Multiprotocol(Family::Ipv4Unicast.afi_safi()),
            Capability::Multiprotocol(Family::Ipv6Unicast.afi_safi()),
            Capability::RouteRefresh,
            Capability::FourOctetAsn(Asn::new(PEER_ASN).unwrap()),
        ],
    }
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], port))
}

/// Every message in `bytes`.
pub(super) fn messages(bytes: &[u8]) -> Vec<Message> {
    let families = FamilySet::from_iter(Family::ALL);
    let context = DecodeContext { asn4: true, families, max_message: 65535, ..DecodeContext::default() };
    let mut buffer = BytesMut::from(bytes);
    let mut found = Vec::new();
    while let Some(message) = read_message(&mut buffer, &context).unwrap() {
        found.push(message);
    }
    assert!(buffer.is_empty(), "only whole messages are sent");
    found
}

/// What an input led to.
#[derive(Debug, Default)]
pub(super) struct Outcome(pub(super) Vec<Action>);

impl Outcome {
    pub(super) fn sent_to(&self, conn: ConnId) -> Vec<Message> {
        let to = |a: &Action| {
            if let Action::Send { conn: c, bytes } = a { (*c == conn).then(|| bytes.clone()) } else { None }
        };
        self.0.iter().filter_map(to).flat_map(|bytes| messages(&bytes)).collect()
    }

    pub(super) fn sent(&self) -> Vec<Message> {
        let bytes = |a: &Action| if let Action::Send { bytes, .. } = a { Some(bytes.clone()) } else { None };
        self.0.iter().filter_map(bytes).flat_map(|bytes| messages(&bytes)).collect()
    }

    /// Code and subcode of each NOTIFICATION sent.
    pub(super) fn notifications(&self) -> Vec<(u8, u8)> {
        let code =
            |m: Message| if let Message::Notification(n) = m { Some((n.code, n.subcode)) } else { None };
        self.sent().into_iter().filter_map(code).collect()
    }

    pub(super) fn notification(&self) -> Notification {
        let found = |m: Message| if let Message::Notification(n) = m { Some(n) } else { None };
        self.sent().into_iter().find_map(found).expect("a NOTIFICATION")
    }

    pub(super) fn downs(&self) -> Vec<&DownReason> {
        self.0.iter().filter_map(|a| if let Action::Down(reason) = a { Some(reason) } else { None }).collect()
    }

    pub(super) fn notes(&self) -> String {
        let text = |a: &Action| if let Action::Note(text) = a { Some(text.clone()) } else { None };
        self.0.iter().filter_map(text).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn closed(&self) -> Vec<ConnId> {
        self.0
            .iter()
            .filter_map(|a| if let Action::Close { conn } = a { Some(*conn) } else { None })
            .collect()
    }

    pub(super) fn negotiated(&self) -> Option<&Negotiated> {
        self.0.iter().find_map(|a| if let Action::Established(n) = a { Some(&**n) } else { None })
    }

    pub(super) fn has(&self, action: &Action) -> bool {
        self.0.contains(action)
    }
}

#[derive(Debug)]
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) now: Timestamp,
    conns: u64,
}

impl Bench {
    pub(super) fn new(config: SessionConfig) -> Self {
        Self { session: Session::new(config), now: Timestamp::from_nanos(1_000_000_000), conns: 0 }
    }

    pub(super) fn started(config: SessionConfig) -> Self {
        let mut bench = Self::new(config);
        bench.input(Input::Start);
        bench
    }

    pub(super) fn input(&mut self, input: Input) -> Outcome {
        let mut actions = Vec::new();
        self.session.handle(self.now, input, &mut actions);
        Outcome(actions)
    }

    pub(super) fn state(&self) -> State {
        self.session.state()
    }

    fn conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }

    pub(super) fn connected(&mut self) -> (ConnId, Outcome) {
        let conn = self.conn();
        let (local, remote) = (address(2, 40000), address(9, 179));
        (conn, self.input(Input::Connected { conn, local, remote }))
    }

    pub(super) fn accepted(&mut self) -> (ConnId, Outcome) {
        let conn = self.conn();
        let (local, remote) = (address(2, 179), address(9, 40000));
        (conn, self.input(Input::Accepted { conn, local, remote }))
    }

    pub(super) fn receive(&mut self, conn: ConnId, bytes: impl Into<Bytes>) -> Outcome {
        self.input(Input::Received { conn, bytes: bytes.into() })
    }

    pub(super) fn lose(&mut self, conn: ConnId) -> Outcome {
        self.input(Input::Closed { conn, reason: "closed by the peer".to_owned() })
    }

    /// Lets `time` pass; every deadline is met on the dot. Everything sent counts as written at once.
    pub(super) fn pass(&mut self, time: Duration) -> Outcome {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some((at, _)) = self.session.deadline().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            let actions = self.input(Input::Timeout).0;
            self.write_all(&actions);
            all.extend(actions);
        }
        self.now = until;
        Outcome(all)
    }

    /// Until the next timer has fired.
    pub(super) fn next_timer(&mut self) -> (&'static str, Outcome) {
        let (at, name) = self.session.deadline().expect("a timer runs");
        self.now = at;
        (name, self.input(Input::Timeout))
    }

    pub(super) fn write_all(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Send { conn, bytes } = action {
                self.input(Input::Written { conn: *conn, bytes: bytes.len() });
            }
        }
    }

    /// Dials and comes up with what a peer at 10.0.0.9 says.
    pub(super) fn established(config: SessionConfig, open: &Open) -> (Self, ConnId, Outcome) {
        let mut bench = Self::started(config);
        let (conn, outcome) = bench.connected();
        bench.write_all(&outcome.0);
        let outcome = bench.receive(conn, open.encode());
        bench.write_all(&outcome.0);
        let outcome = bench.receive(conn, keepalive());
        assert_eq!(bench.state(), State::Established, "{:?}", outcome.0);
        (bench, conn, outcome)
    }

    /// The next timer's name.
    pub(super) fn timer(&self) -> Option<&'static str> {
        self.session.deadline().map(|(_, name)| name)
    }
}

pub(super) fn hold(seconds: u16) -> HoldTime {
    HoldTime::new(seconds).unwrap()
}

pub(super) fn with_hold(seconds: u16) -> SessionConfig {
    let mut config = ours();
    config.timers.hold = hold(seconds);
    config
}

pub(super) fn keepalives(outcome: &Outcome) -> usize {
    outcome.sent().iter().filter(|m| **m == Message::Keepalive).count()
}

pub(super) fn refresh(kind: RefreshKind) -> Bytes {
    RouteRefresh { family: Family::Ipv4Unicast.afi_safi(), kind }.encode()
}
