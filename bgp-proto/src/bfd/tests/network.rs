//! Two ends on virtual time with a wire between them that loses what a test says.

use std::collections::BTreeMap;

use super::*;

/// What happened at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Changed(Change),
    NeighborAdminDown,
    Gone,
}

pub(super) struct End {
    pub(super) sessions: Sessions,
    pub(super) id: SessionId,
    pub(super) events: Vec<(Timestamp, Event)>,
    pub(super) sent: Vec<(Timestamp, Packet)>,
}

/// Whether a packet from an end (0 or 1) is lost.
pub(super) type Loss = Box<dyn FnMut(Timestamp, usize, &Packet) -> bool>;

pub(super) struct Network {
    pub(super) now: Timestamp,
    pub(super) ends: [End; 2],
    pub(super) lost: Loss,
    wire: BTreeMap<(Timestamp, u64), (usize, [u8; PACKET_LEN])>,
    number: u64,
    delay: Duration,
}

fn path() -> Path {
    Path { remote: "192.0.2.1".parse().unwrap(), interface: None, hops: Hops::Single }
}

pub(super) fn end(now: Timestamp, config: Config, seed: u64) -> (End, Vec<Output>) {
    let mut sessions = Sessions::new(seed);
    let mut out = Vec::new();
    let id = sessions.add(now, path(), config, &mut out).unwrap();
    (End { sessions, id, events: Vec::new(), sent: Vec::new() }, out)
}

impl Network {
    pub(super) fn new(configs: [Config; 2]) -> Self {
        let now = at(1000);
        let [(a, first), (b, second)] = [end(now, configs[0], 11), end(now, configs[1], 22)];
        let mut network = Self {
            now,
            ends: [a, b],
            lost: Box::new(|_, _, _| false),
            wire: BTreeMap::new(),
            number: 0,
            delay: ms(1),
        };
        network.take(0, first);
        network.take(1, second);
        network
    }

    /// Both ends, one after the other up.
    pub(super) fn up(configs: [Config; 2]) -> Self {
        let mut network = Self::new(configs);
        network.run_until("both are Up", ms(5000), |n| n.states() == [State::Up; 2]);
        network.run(ms(3000));
        network
    }

    pub(super) fn states(&self) -> [State; 2] {
        [0, 1].map(|end| self.view(end).state)
    }

    pub(super) fn view(&self, end: usize) -> SessionView {
        self.ends[end].sessions.view(self.ends[end].id).unwrap()
    }

    pub(super) fn take(&mut self, end: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(_, packet) => {
                    self.ends[end].sent.push((self.now, packet));
                    if !(self.lost)(self.now, end, &packet) {
                        self.number += 1;
                        self.wire.insert((self.now + self.delay, self.number), (1 - end, packet.encode()));
                    }
                }
                Output::Changed(_, change) => self.ends[end].events.push((self.now, Event::Changed(change))),
                Output::NeighborAdminDown(_) => {
                    self.ends[end].events.push((self.now, Event::NeighborAdminDown));
                }
                Output::Gone(_) => self.ends[end].events.push((self.now, Event::Gone)),
            }
        }
    }

    pub(super) fn act(
        &mut self,
        end: usize,
        act: impl FnOnce(&mut Sessions, SessionId, Timestamp, &mut Vec<Output>),
    ) {
        let mut out = Vec::new();
        let id = self.ends[end].id;
        act(&mut self.ends[end].sessions, id, self.now, &mut out);
        self.take(end, out);
    }

    pub(super) fn configure(&mut self, end: usize, config: Config) {
        self.act(end, |sessions, id, now, out| sessions.configure(now, id, config, out));
    }

    /// An end that has forgotten everything.
    pub(super) fn restart(&mut self, end: usize, config: Config) {
        let (fresh, out) = self::end(self.now, config, 99);
        let old = std::mem::replace(&mut self.ends[end], fresh);
        self.ends[end].events = old.events;
        self.take(end, out);
    }

    /// The next thing that happens, if it does before `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let arrival = self.wire.keys().next().copied();
        let due = [0, 1].map(|end| self.ends[end].sessions.deadline());
        let next = arrival.map(|(at, _)| at).into_iter().chain(due.into_iter().flatten()).min();
        let Some(next) = next.filter(|at| *at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        // What has come goes before what is due.
        if let Some(key) = arrival.filter(|(at, _)| *at <= self.now)
            && let Some((to, payload)) = self.wire.remove(&key)
        {
            let source = "192.0.2.1".parse().unwrap();
            let datagram = Datagram { multihop: false, source, interface: 1, ttl: 255, payload: &payload };
            let mut out = Vec::new();
            let _ = self.ends[to].sessions.receive(self.now, &datagram, &mut out);
            self.take(to, out);
            return true;
        }
        for end in [0, 1] {
            let mut out = Vec::new();
            self.ends[end].sessions.expire(self.now, &mut out);
            let next = self.ends[end].sessions.deadline();
            assert!(next.is_none_or(|at| at > self.now), "what was due is done: {next:?} at {:?}", self.now);
            self.take(end, out);
        }
        true
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    pub(super) fn run_until(&mut self, what: &str, time: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(self.step(start + time), "{what}: not within {time:?}; {:?}", self.states());
        }
        self.now.since(start)
    }

    /// Changes at an end since `since`.
    pub(super) fn changes(&self, end: usize, since: Timestamp) -> Vec<Change> {
        let events = self.ends[end].events.iter().filter(|(at, _)| *at >= since);
        events
            .filter_map(|(_, event)| if let Event::Changed(change) = event { Some(*change) } else { None })
            .collect()
    }

    /// The times between an end's packets since `since`, answers to Polls apart.
    pub(super) fn gaps(&self, end: usize, since: Timestamp) -> Vec<Duration> {
        let sent = self.ends[end].sent.iter().filter(|(at, packet)| *at >= since && !packet.final_);
        let times: Vec<Timestamp> = sent.map(|(at, _)| *at).collect();
        times.windows(2).map(|pair| pair[1].since(pair[0])).collect()
    }
}
