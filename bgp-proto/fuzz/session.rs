//! What target `session` does with its input: reads it as a configuration and a sequence of inputs, plays
//! them to a session, and holds every action to what the caller was promised.

#[path = "octets.rs"]
mod octets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bgp_proto::session::{
    Action, ConnId, GracefulRestartConfig, Input, PeerAsn, Session, SessionConfig, State, StopReason,
    TimerConfig,
};
use bgp_proto::types::{Asn, Family, FamilyMap, HoldTime, RouterId, Timestamp};
use bgp_proto::wire::{
    Capability, GracefulRestart, Notification, Open, RefreshKind, RouteRefresh, end_of_rib, keepalive,
};
use bytes::Bytes;
use octets::Octets;

/// Longer inputs find nothing that shorter ones do not.
const STEPS: usize = 400;

/// What the caller of a session knows.
#[derive(Debug)]
struct Caller {
    session: Session,
    now: Timestamp,
    /// Every connection ever, and whether a NOTIFICATION went out on it; closed ones are gone.
    open: BTreeMap<ConnId, bool>,
    conns: u64,
    dialling: bool,
    up: bool,
    state: State,
}

/// Plays `data`.
///
/// # Panics
/// The session broke a promise.
pub(crate) fn session(data: &[u8]) {
    let mut octets = Octets(data);
    let config = config(&mut octets);
    let mut caller = Caller {
        session: Session::new(config),
        now: Timestamp::from_nanos(1),
        open: BTreeMap::new(),
        conns: 0,
        dialling: false,
        up: false,
        state: State::Idle,
    };
    for _ in 0..STEPS {
        if octets.0.is_empty() {
            break;
        }
        caller.step(&mut octets);
    }
}

fn hold(octet: u8) -> HoldTime {
    HoldTime::new(u16::from(octet)).unwrap_or(HoldTime::ZERO)
}

fn config(octets: &mut Octets<'_>) -> SessionConfig {
    let seconds = |octet: u8| Duration::from_secs(u64::from(octet));
    let peer_asn = match octets.next() % 4 {
        0 => PeerAsn::External,
        1 => PeerAsn::Internal,
        2 => PeerAsn::Exact(asn(1)),
        _ => PeerAsn::Any,
    };
    SessionConfig {
        local_asn: asn(0),
        router_id: id(2),
        peer_asn,
        passive: octets.flag(),
        families: Family::ALL.into_iter().take(1 + usize::from(octets.next() & 1)).collect(),
        timers: TimerConfig {
            hold: hold(octets.next()),
            keepalive: octets.flag().then(|| seconds(octets.next())),
            connect_retry: seconds(octets.next()),
            idle_hold: seconds(octets.next()),
            idle_hold_max: seconds(octets.next()),
            delay_open: octets.flag().then(|| seconds(octets.next())),
            send_hold: octets.flag().then(|| seconds(octets.next())),
        },
        extended_message: octets.flag(),
        extended_next_hop: octets.flag(),
        add_path: FamilyMap { ipv4: octets.next(), ipv6: 0 },
        graceful_restart: octets.flag().then_some(GracefulRestartConfig {
            restart_time: 60,
            restarted: false,
            forwarding_kept: true,
            long_lived: None,
        }),
        helper: false,
        role: None,
        host_name: None,
        seed: u64::from(octets.next()),
    }
}

fn asn(octet: u8) -> Asn {
    Asn::new(64500 + u32::from(octet)).expect("not zero")
}

fn id(octet: u8) -> RouterId {
    RouterId::new([10, 0, 0, octet].into()).expect("not zero")
}

/// An OPEN that may or may not be acceptable.
fn open(octets: &mut Octets<'_>) -> Bytes {
    let asn = asn(octets.next() % 3);
    let wanted = octets.next();
    let all = [
        Capability::Multiprotocol(Family::Ipv4Unicast.afi_safi()),
        Capability::Multiprotocol(Family::Ipv6Unicast.afi_safi()),
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::ExtendedMessage,
        Capability::FourOctetAsn(asn),
        Capability::AddPath(vec![(Family::Ipv4Unicast.afi_safi(), 3)]),
        Capability::GracefulRestart(GracefulRestart {
            notification: true,
            families: vec![(Family::Ipv4Unicast.afi_safi(), true)],
            ..GracefulRestart::default()
        }),
    ];
    let capabilities =
        all.into_iter().enumerate().filter(|(bit, _)| wanted & (1 << bit) != 0).map(|(_, c)| c).collect();
    let router_id = id(1 + octets.next() % 3);
    Open { asn, hold_time: hold(octets.next()), router_id, capabilities }.encode()
}

fn message(octets: &mut Octets<'_>) -> Bytes {
    match octets.next() % 8 {
        0 | 1 => open(octets),
        2 | 3 => keepalive(),
        4 => end_of_rib(Family::Ipv4Unicast),
        5 => {
            Notification { code: octets.next() % 9, subcode: octets.next() % 12, data: Bytes::new() }.encode()
        }
        6 => {
            let kind = [RefreshKind::Request, RefreshKind::Begin, RefreshKind::End, RefreshKind::Unknown(9)];
            let kind = kind[usize::from(octets.next() % 4)];
            RouteRefresh { family: Family::Ipv4Unicast.afi_safi(), kind }.encode()
        }
        _ => {
            // A header that is right, and anything behind it.
            let body = octets.next();
            let kind = octets.next();
            let body = octets.take(usize::from(body));
            let mut message = vec![0xff; 16];
            message.extend_from_slice(&u16::try_from(19 + body.len()).unwrap_or(u16::MAX).to_be_bytes());
            message.push(kind);
            message.extend_from_slice(&body);
            message.into()
        }
    }
}

impl Caller {
    fn step(&mut self, octets: &mut Octets<'_>) {
        match octets.next() % 16 {
            0 => self.input(Input::Start),
            1 => {
                let notification = octets.flag().then(|| Notification::cease(2, "bye"));
                let (hard, restart) = (octets.flag(), octets.flag());
                self.input(Input::Stop(StopReason { notification, hard, restart }));
            }
            2 | 3 if self.dialling => {
                self.dialling = false;
                let (conn, local, remote) = self.new_conn();
                self.input(Input::Connected { conn, local, remote });
            }
            4 if self.dialling => {
                self.dialling = false;
                self.input(Input::ConnectFailed { reason: "refused".to_owned() });
            }
            2..=5 => {
                let (conn, local, remote) = self.new_conn();
                self.input(Input::Accepted { conn, local, remote });
            }
            6..=9 => {
                let conn = self.some_conn(octets);
                let bytes = message(octets);
                self.input(Input::Received { conn, bytes });
            }
            10 => {
                let conn = self.some_conn(octets);
                let n = octets.next();
                let bytes = octets.take(usize::from(n)).into();
                self.input(Input::Received { conn, bytes });
            }
            11 => {
                let conn = self.some_conn(octets);
                self.open.remove(&conn);
                self.input(Input::Closed { conn, reason: "closed by the peer".to_owned() });
            }
            12 => {
                let (conn, bytes) = (self.some_conn(octets), usize::from(octets.next()));
                self.input(if octets.flag() {
                    Input::Enqueued { conn, bytes }
                } else {
                    Input::Written { conn, bytes }
                });
            }
            13 => self.input(Input::RequestRefresh(Family::Ipv4Unicast)),
            14 => {
                self.now = self.now + Duration::from_secs(u64::from(octets.next()));
                self.input(Input::Timeout);
            }
            _ => {
                if let Some((at, _)) = self.session.deadline() {
                    self.now = self.now.max(at);
                }
                self.input(Input::Timeout);
            }
        }
    }

    fn new_conn(&mut self) -> (ConnId, SocketAddr, SocketAddr) {
        self.conns += 1;
        let conn = ConnId(self.conns);
        self.open.insert(conn, false);
        (conn, SocketAddr::from(([10, 0, 0, 2], 179)), SocketAddr::from(([10, 0, 0, 9], 179)))
    }

    /// Mostly an open one, sometimes one that is closed or never was.
    fn some_conn(&self, octets: &mut Octets<'_>) -> ConnId {
        let n = usize::from(octets.next());
        if n >= 240 {
            return ConnId(u64::try_from(n - 240).unwrap_or(0));
        }
        let open: Vec<_> = self.open.keys().copied().collect();
        open.get(n % open.len().max(1)).copied().unwrap_or(ConnId(0))
    }

    fn input(&mut self, input: Input) {
        let timeout = input == Input::Timeout;
        // The smallest message has 19 octets, and a message leads to a handful of actions.
        let most = 32 + if let Input::Received { bytes, .. } = &input { bytes.len() / 4 } else { 0 };
        let mut actions = Vec::new();
        self.session.handle(self.now, input, &mut actions);
        assert!(actions.len() <= most, "{} actions", actions.len());
        for action in actions {
            self.act(action);
        }
        assert_eq!(self.session.state(), self.state, "every change of state is told");
        assert_eq!(self.up, self.state == State::Established);
        assert!(
            self.open.len() <= 3,
            "a dial, a connection of the peer, an established one: {:?}",
            self.open
        );
        if timeout && let Some((at, name)) = self.session.deadline() {
            assert!(at > self.now, "{name} is still due");
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => assert!(!std::mem::replace(&mut self.dialling, true), "two dials"),
            Action::CancelConnect => assert!(std::mem::replace(&mut self.dialling, false), "no dial"),
            Action::Send { conn, bytes } => {
                let said_goodbye = self.open.get_mut(&conn).expect("sends on an open connection");
                assert!(!*said_goodbye, "a message after a NOTIFICATION");
                *said_goodbye = bytes[18] == 3;
            }
            Action::Close { conn } => assert!(self.open.remove(&conn).is_some(), "closes an open connection"),
            Action::State(state) => self.state = state,
            Action::Established(negotiated) => {
                assert!(!std::mem::replace(&mut self.up, true), "two established connections");
                assert!(self.open.contains_key(&negotiated.conn));
                assert!(!negotiated.families.is_empty());
            }
            Action::Update(_) | Action::Refresh(..) => assert!(self.up, "routes before Established"),
            Action::Malformed(message) => assert!(message.len() >= 19),
            Action::Down(_) => self.up = false,
            Action::Note(text) => assert!(!text.is_empty()),
        }
    }
}
