//! All sessions of a process: which one a datagram is for, and whose deadline is next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::packet::{Discard, Packet, State};
use super::session::{Action, Change, Input, Session};
use super::timing::Config;
use super::view::SessionView;
use crate::random::Random;
use crate::types::Timestamp;

/// The longest that a removed session stays to say AdminDown.
const LONGEST_FAREWELL: Duration = Duration::from_secs(3);

/// How far the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hops {
    /// On the link (RFC 5881): UDP port 3784, TTL 255 and nothing less.
    Single,
    /// Behind routers (RFC 5883): UDP port 4784.
    Multi {
        /// The least TTL that is taken; 0 takes any.
        least_ttl: u8,
    },
}

/// Between whom a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The peer's address.
    pub remote: IpAddr,
    /// The index of the interface that the peer is on, where the address alone does not say it.
    pub interface: Option<u32>,
    /// How far the peer is.
    pub hops: Hops,
}

impl Path {
    fn key(&self) -> Key {
        (self.is_multihop(), self.remote, self.interface)
    }

    /// Whether its datagrams have the port of RFC 5883.
    #[must_use]
    pub fn is_multihop(&self) -> bool {
        matches!(self.hops, Hops::Multi { .. })
    }
}

type Key = (bool, IpAddr, Option<u32>);

/// A session of a [`Sessions`]: its local discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(NonZeroU32);

impl SessionId {
    /// The discriminator.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// What came from the network.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// It came to port 4784.
    pub multihop: bool,
    /// Who sent it.
    pub source: IpAddr,
    /// The index of the interface that it came in by.
    pub interface: u32,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send this packet on the session's path.
    Send(SessionId, Packet),
    /// Its state has changed.
    Changed(SessionId, Change),
    /// Its peer has begun to say AdminDown.
    NeighborAdminDown(SessionId),
    /// A session that was retired has ended.
    Gone(SessionId),
}

#[derive(Debug)]
struct Entry {
    path: Path,
    session: Session,
    /// As it stands in [`Sessions::due`].
    due: Option<Timestamp>,
    /// While AdminDown: by when the peer knows of it, one way or the other.
    known_by: Option<Timestamp>,
    /// It says AdminDown until then, or until the peer knows.
    retires: Option<Timestamp>,
}

/// All sessions of a process.
#[derive(Debug)]
pub struct Sessions {
    entries: BTreeMap<SessionId, Entry>,
    by_path: BTreeMap<Key, SessionId>,
    due: BTreeSet<(Timestamp, SessionId)>,
    random: Random,
    discarded: BTreeMap<Discard, u64>,
    actions: Vec<Action>,
}

impl Sessions {
    /// None yet. Discriminators and jitter come from `seed`: "it SHOULD be set to a random (but still unique)
    /// value to improve security" (RFC 5880 §6.8.1, bfd.LocalDiscr).
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_path: BTreeMap::new(),
            due: BTreeSet::new(),
            random: Random::new(seed),
            discarded: BTreeMap::new(),
            actions: Vec::new(),
        }
    }

    /// A session on a path. One that is being retired there is taken back, and comes up anew.
    ///
    /// # Errors
    /// The session that is on this path already.
    pub fn add(
        &mut self,
        now: Timestamp,
        path: Path,
        config: Config,
        out: &mut Vec<Output>,
    ) -> Result<SessionId, SessionId> {
        if let Some(id) = self.by_path.get(&path.key()).copied()
            && let Some(entry) = self.entries.get_mut(&id)
        {
            if entry.retires.take().is_none() {
                return Err(id);
            }
            entry.path = path;
            self.input(now, id, Input::Configure(config), out);
            self.enable(now, id, out);
            return Ok(id);
        }
        let id = self.unused();
        let session = Session::new(now, id.0, config, self.random.next());
        self.entries.insert(id, Entry { path, session, due: None, known_by: None, retires: None });
        self.by_path.insert(path.key(), id);
        self.input(now, id, Input::Timeout, out);
        Ok(id)
    }

    /// What is taken from the peer on the same path: the least TTL.
    pub fn set_hops(&mut self, id: SessionId, hops: Hops) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.path.is_multihop() == matches!(hops, Hops::Multi { .. })
        {
            entry.path.hops = hops;
        }
    }

    /// New intervals.
    pub fn configure(&mut self, now: Timestamp, id: SessionId, config: Config, out: &mut Vec<Output>) {
        self.input(now, id, Input::Configure(config), out);
    }

    /// AdminDown, until [`Self::enable`].
    pub fn disable(&mut self, now: Timestamp, id: SessionId, out: &mut Vec<Output>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            let patience = entry.session.peers_patience().min(LONGEST_FAREWELL);
            entry.known_by.get_or_insert(now + patience);
        }
        self.input(now, id, Input::Disable, out);
    }

    /// Out of AdminDown.
    pub fn enable(&mut self, now: Timestamp, id: SessionId, out: &mut Vec<Output>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.known_by = None;
        }
        self.input(now, id, Input::Enable, out);
    }

    /// Ends a session: it says AdminDown until the peer has answered with Down, or must have noticed that
    /// nothing comes. "BFD Control packets SHOULD be transmitted for at least a Detection Time after
    /// transitioning to AdminDown state in order to ensure that the remote system is aware of the state change"
    /// (RFC 5880 §6.8.16).
    pub fn retire(&mut self, now: Timestamp, id: SessionId, out: &mut Vec<Output>) {
        self.disable(now, id, out);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.retires = entry.known_by;
        }
        self.follow(now, id, out);
    }

    /// A datagram came. Says for which session it was.
    ///
    /// # Errors
    /// Why it was discarded; it is counted.
    pub fn receive(
        &mut self,
        now: Timestamp,
        datagram: &Datagram<'_>,
        out: &mut Vec<Output>,
    ) -> Result<SessionId, Discard> {
        let result = self.select(datagram).and_then(|(id, packet)| {
            self.run(now, id, out, |session, actions| session.receive(now, packet, actions))
                .unwrap_or(Err(Discard::Stranger))
                .map(|()| id)
        });
        if let Err(discard) = result {
            *self.discarded.entry(discard).or_default() += 1;
        }
        result
    }

    /// The rules before and around RFC 5880 §6.8.6's selection of a session.
    fn select(&self, datagram: &Datagram<'_>) -> Result<(SessionId, Packet), Discard> {
        // "If BFD authentication is not in use on a session, all BFD Control packets for the session MUST be sent
        // with a Time to Live (TTL) or Hop Limit value of 255. All received BFD Control packets that are
        // demultiplexed to the session MUST be discarded if the received TTL or Hop Limit is not equal to 255"
        // (RFC 5881 §5): no session here has authentication.
        if !datagram.multihop && datagram.ttl != u8::MAX {
            return Err(Discard::Ttl);
        }
        let packet = Packet::decode(datagram.payload)?;
        let id = match packet.your_discriminator {
            // "If the Your Discriminator field is nonzero, it MUST be used to select the session with which this
            // BFD packet is associated. If no session is found, the packet MUST be discarded."
            Some(discriminator) => {
                let id = SessionId(discriminator);
                let entry = self.entries.get(&id).ok_or(Discard::YourDiscriminator)?;
                // By the other port it would go round the TTL; and what is not on the link has nothing but its
                // address to be known by.
                if entry.path.is_multihop() != datagram.multihop {
                    return Err(Discard::YourDiscriminator);
                }
                if datagram.multihop && entry.path.remote != datagram.source {
                    return Err(Discard::Stranger);
                }
                id
            }
            // "If the Your Discriminator field is zero and the State field is not Down or AdminDown, the packet
            // MUST be discarded."
            None if packet.state > State::Down => return Err(Discard::State),
            // "If the Your Discriminator field is zero, the session MUST be selected based on some combination of
            // other fields … If a matching session is not found, a new session MAY be created, or the packet MAY be
            // discarded." By source address and interface (RFC 5881 §3); we make no session that nobody asked for.
            None => {
                let key = |interface| (datagram.multihop, datagram.source, interface);
                let on_interface = self.by_path.get(&key(Some(datagram.interface)));
                *on_interface.or_else(|| self.by_path.get(&key(None))).ok_or(Discard::Stranger)?
            }
        };
        let hops = self.entries.get(&id).map(|entry| entry.path.hops);
        match hops {
            Some(Hops::Multi { least_ttl }) if datagram.ttl < least_ttl => Err(Discard::Ttl),
            _ => Ok((id, packet)),
        }
    }

    /// The first deadline of them all.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Deadlines have come: those that are due, each once.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let due: Vec<SessionId> =
            self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in due {
            self.input(now, id, Input::Timeout, out);
        }
    }

    /// What operators see of one.
    #[must_use]
    pub fn view(&self, id: SessionId) -> Option<SessionView> {
        self.entries.get(&id).map(|entry| entry.session.view())
    }

    /// Where it leads.
    #[must_use]
    pub fn path(&self, id: SessionId) -> Option<Path> {
        self.entries.get(&id).map(|entry| entry.path)
    }

    /// How many there are, those that say farewell included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many datagrams were discarded, and why.
    #[must_use]
    pub fn discarded(&self) -> &BTreeMap<Discard, u64> {
        &self.discarded
    }

    fn unused(&mut self) -> SessionId {
        loop {
            let number = self.random.within(1, u32::MAX);
            if let Some(id) = NonZeroU32::new(number).map(SessionId)
                && !self.entries.contains_key(&id)
            {
                return id;
            }
        }
    }

    fn input(&mut self, now: Timestamp, id: SessionId, input: Input, out: &mut Vec<Output>) {
        self.run(now, id, out, |session, actions| session.handle(now, input, actions));
    }

    fn run<T>(
        &mut self,
        now: Timestamp,
        id: SessionId,
        out: &mut Vec<Output>,
        work: impl FnOnce(&mut Session, &mut Vec<Action>) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(&id)?;
        let result = work(&mut entry.session, &mut self.actions);
        out.extend(self.actions.drain(..).map(|action| match action {
            Action::Send(packet) => Output::Send(id, packet),
            Action::Changed(change) => Output::Changed(id, change),
            Action::NeighborAdminDown => Output::NeighborAdminDown(id),
        }));
        self.follow(now, id, out);
        Some(result)
    }

    /// Notes the next deadline, or that the session has ended.
    fn follow(&mut self, now: Timestamp, id: SessionId, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let ended = entry.retires.is_some_and(|at| at <= now || entry.session.peer_is_down());
        let next = entry.session.deadline().into_iter().chain(entry.retires).min().filter(|_| !ended);
        if next != entry.due {
            if let Some(at) = entry.due {
                self.due.remove(&(at, id));
            }
            self.due.extend(next.map(|at| (at, id)));
            entry.due = next;
        }
        if ended {
            let key = entry.path.key();
            self.entries.remove(&id);
            self.by_path.remove(&key);
            out.push(Output::Gone(id));
        }
    }
}
