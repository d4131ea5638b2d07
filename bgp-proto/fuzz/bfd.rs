//! What target `bfd` does with its input: reads it as datagrams, passing time and orders for the BFD sessions
//! of a process, and holds every output to what RFC 5880 allows.

#[path = "octets.rs"]
mod octets;

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use bgp_proto::bfd::{Config, Datagram, Diagnostic, Hops, Output, Packet, Path, SessionId, Sessions, State};
use bgp_proto::types::Timestamp;
use octets::Octets;

/// Longer inputs find nothing that shorter ones do not.
const STEPS: usize = 500;
/// The shortest interval that is configured here, less the most that jitter takes off.
const SHORTEST_GAP: Duration = Duration::from_micros(7_500);
const INTERVALS: [u32; 8] = [0, 1, 10_000, 50_000, 300_000, 1_000_000, 60_000_000, u32::MAX];

fn interval(octets: &mut Octets<'_>) -> u32 {
    INTERVALS[usize::from(octets.next()) % INTERVALS.len()]
}

/// What is known of a session from its outputs.
struct Seen {
    state: State,
    last: Option<(Timestamp, Packet)>,
}

struct Caller {
    sessions: Sessions,
    now: Timestamp,
    paths: [Path; 3],
    ids: [Option<SessionId>; 3],
    seen: BTreeMap<SessionId, Seen>,
}

/// Plays `data`.
///
/// # Panics
/// A promise was broken.
pub(crate) fn bfd(data: &[u8]) {
    let mut octets = Octets(data);
    let path = |remote: &str, interface, hops| Path { remote: remote.parse().unwrap(), interface, hops };
    let mut caller = Caller {
        sessions: Sessions::new(u64::from(octets.next())),
        now: Timestamp::from_nanos(1),
        paths: [
            path("192.0.2.1", None, Hops::Single),
            path("fe80::1", Some(2), Hops::Single),
            path("192.0.2.1", None, Hops::Multi { least_ttl: 250 }),
        ],
        ids: [None; 3],
        seen: BTreeMap::new(),
    };
    for n in 0..3 {
        caller.add(&mut octets, n);
    }
    for _ in 0..STEPS {
        if octets.0.is_empty() {
            break;
        }
        caller.step(&mut octets);
    }
}

fn config(octets: &mut Octets<'_>) -> Config {
    let time = |octet: u8| Duration::from_millis(10 + 20 * u64::from(octet));
    Config {
        transmit: time(octets.next()),
        receive: time(octets.next()),
        detect_multiplier: NonZeroU8::new(octets.next()).unwrap_or(NonZeroU8::MIN),
    }
}

impl Caller {
    fn step(&mut self, octets: &mut Octets<'_>) {
        let order = octets.next();
        let n = usize::from(order >> 4) % self.paths.len();
        let mut out = Vec::new();
        match order & 15 {
            0..=3 => {
                self.now = self.now + Duration::from_millis(u64::from(octets.next()) * 10);
                self.expire();
            }
            4..=6 => {
                if let Some(at) = self.sessions.deadline() {
                    self.now = self.now.max(at);
                }
                self.expire();
            }
            7 => {
                let length = usize::from(octets.next()) % 64;
                let payload = octets.take(length);
                let ttl = if octets.flag() { 255 } else { octets.next() };
                self.receive(n, ttl, &payload);
            }
            8..=11 => {
                let payload = self.packet(octets, n).encode();
                self.receive(n, 255, &payload);
            }
            12 => {
                if let Some(id) = self.ids[n] {
                    self.sessions.configure(self.now, id, config(octets), &mut out);
                }
            }
            13 => match (self.ids[n], octets.flag()) {
                (Some(id), true) => self.sessions.enable(self.now, id, &mut out),
                (Some(id), false) => self.sessions.disable(self.now, id, &mut out),
                (None, _) => {}
            },
            14 => {
                if let Some(id) = self.ids[n].take() {
                    self.sessions.retire(self.now, id, &mut out);
                }
            }
            _ => self.add(octets, n),
        }
        assert!(out.iter().filter(|output| matches!(output, Output::Send(..))).count() <= 2);
        self.check(&out);
    }

    fn add(&mut self, octets: &mut Octets<'_>, n: usize) {
        let mut out = Vec::new();
        match (self.ids[n], self.sessions.add(self.now, self.paths[n], config(octets), &mut out)) {
            (None, Ok(id)) => {
                self.ids[n] = Some(id);
                self.seen.entry(id).or_insert(Seen { state: State::Down, last: None });
            }
            (Some(id), Err(other)) => assert_eq!(id, other),
            other => panic!("{other:?}"),
        }
        self.check(&out);
    }

    fn packet(&self, octets: &mut Octets<'_>, n: usize) -> Packet {
        let flags = octets.next();
        let state = [State::AdminDown, State::Down, State::Init, State::Up][usize::from(flags & 3)];
        let ours = self.ids[n].and_then(|id| NonZeroU32::new(id.get()));
        Packet {
            diagnostic: Diagnostic::from_bits(octets.next()),
            state,
            poll: flags & 4 != 0,
            final_: flags & 8 != 0,
            control_plane_independent: flags & 16 != 0,
            authentication: false,
            demand: flags & 32 != 0,
            detect_multiplier: NonZeroU8::new(octets.next()).unwrap_or(NonZeroU8::MIN),
            my_discriminator: NonZeroU32::new(u32::from(octets.next() & 1) + 1).unwrap_or(NonZeroU32::MIN),
            your_discriminator: if flags & 64 != 0 { None } else { ours },
            desired_min_tx: interval(octets),
            required_min_rx: interval(octets),
            required_min_echo_rx: interval(octets),
        }
    }

    fn receive(&mut self, n: usize, ttl: u8, payload: &[u8]) {
        let path = self.paths[n];
        let datagram =
            Datagram { multihop: path.is_multihop(), source: path.remote, interface: 2, ttl, payload };
        let mut out = Vec::new();
        let result = self.sessions.receive(self.now, &datagram, &mut out);
        let sends = out.iter().filter(|output| matches!(output, Output::Send(..))).count();
        assert!(sends <= 2, "a packet is no lever: {out:?}");
        if !path.is_multihop() && ttl != 255 {
            assert!(result.is_err() && out.is_empty(), "the TTL is asked first");
        }
        self.check(&out);
    }

    fn expire(&mut self) {
        let mut out = Vec::new();
        self.sessions.expire(self.now, &mut out);
        assert!(self.sessions.deadline().is_none_or(|at| at > self.now), "what is due is done");
        self.check(&out);
    }

    fn check(&mut self, out: &[Output]) {
        for output in out {
            match *output {
                Output::Send(id, packet) => self.check_packet(id, packet),
                Output::Changed(id, change) => {
                    let seen = self.seen.get_mut(&id).unwrap();
                    assert_eq!(seen.state, change.from);
                    assert_ne!(change.from, change.to);
                    assert!(!change.is_failure() || (change.from, change.to) == (State::Up, State::Down));
                    seen.state = change.to;
                    // What says the same after a change and back says it anew.
                    seen.last = None;
                }
                Output::NeighborAdminDown(_) => {}
                Output::Gone(id) => {
                    assert!(self.sessions.view(id).is_none() && !self.ids.contains(&Some(id)));
                    self.seen.remove(&id);
                }
            }
        }
        for (id, seen) in &self.seen {
            assert_eq!(self.sessions.view(*id).unwrap().state, seen.state);
        }
    }

    fn check_packet(&mut self, id: SessionId, packet: Packet) {
        assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        assert_eq!(packet.my_discriminator.get(), id.get());
        // "A BFD Control packet MUST NOT have both the Poll (P) and Final (F) bits set" (RFC 5880 §6.5).
        assert!(!(packet.poll && packet.final_));
        assert!(!packet.demand && !packet.control_plane_independent && packet.required_min_echo_rx == 0);
        assert!(packet.state == State::Up || packet.desired_min_tx >= 1_000_000);
        let seen = self.seen.get_mut(&id).unwrap();
        assert_eq!(packet.state, seen.state, "a packet says what is");
        let content = Packet { poll: false, final_: false, ..packet };
        if packet.final_ {
            // What it says otherwise may be taken back at once.
            seen.last = seen.last.filter(|(_, before)| *before == content);
            return;
        }
        if let Some((at, before)) = seen.last
            && before == content
        {
            // Two that say the same are a periodic pair, unless an answer to a Poll said otherwise between them.
            let gap = self.now.since(at);
            assert!(gap >= SHORTEST_GAP || self.now == at, "{gap:?} between {before:?} and {packet:?}");
        }
        seen.last = Some((self.now, content));
    }
}
