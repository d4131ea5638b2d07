//! The thread: waits, reads, lets the sessions do what is due, and sends.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bgp_proto::bfd::{Datagram, Discard, Hops, Output, Packet, Path, SessionId, Sessions};
use bgp_proto::types::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::oneshot;
use tracing::{debug, error, info};

use super::budget::Budget;
use super::sockets::{Buffer, Door, MULTIHOP, Outlet, SINGLE_HOP};
use super::{Event, Listener, Order, Reach, Spec, View, lock, priority, whereabouts};
use crate::io::clock::Clock;
use crate::io::sockopt;

/// What could not be opened is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// Somebody's session, or wish for one.
struct Client {
    spec: Spec,
    listener: Listener,
    view: Arc<Mutex<View>>,
    state: ClientState,
    /// Switched off before it could be opened.
    off: bool,
}

enum ClientState {
    /// It could not be opened; the next attempt.
    Waits(Timestamp),
    Open(SessionId),
    /// Another one has taken its place.
    Replaced,
}

/// What a session needs beside its state.
struct Port {
    outlet: Outlet,
    /// Whose it is; nobody's while it says farewell.
    token: Option<u64>,
    /// Why its last packet could not be sent.
    error: Option<String>,
}

struct Thread<'a> {
    clock: Clock,
    sessions: Sessions,
    clients: BTreeMap<u64, Client>,
    ports: BTreeMap<SessionId, Port>,
    /// By family (IPv6) and kind (several hops).
    doors: BTreeMap<(bool, bool), Door>,
    budget: Budget,
    buffer: Buffer,
    /// Sessions whose view has changed.
    touched: BTreeSet<SessionId>,
    out: Vec<Output>,
    discarded: &'a Mutex<BTreeMap<Discard, u64>>,
    counted: u64,
    finish: Vec<oneshot::Sender<()>>,
    seed: u64,
}

/// Until nobody can give orders any more and every session has said farewell.
pub(super) fn run(
    clock: Clock,
    orders: &Receiver<Order>,
    bell: &UnixStream,
    discarded: &Mutex<BTreeMap<Discard, u64>>,
) {
    match priority::real_time() {
        Ok(()) => debug!("BFD has real-time priority"),
        Err(error) => info!(
            "BFD runs without real-time priority ({error}); on a busy node give the process CAP_SYS_NICE, or longer intervals"
        ),
    }
    let mut thread = Thread::new(clock, discarded);
    loop {
        let alone = !thread.take_orders(orders);
        // What waits in the sockets goes before what is due: it may be what keeps a session up.
        thread.receive(clock.now());
        thread.expire();
        thread.publish();
        if thread.sessions.is_empty() {
            for done in thread.finish.drain(..) {
                let _ = done.send(());
            }
            if alone {
                return;
            }
        }
        thread.wait((!alone).then_some(bell));
    }
}

impl<'a> Thread<'a> {
    fn new(clock: Clock, discarded: &'a Mutex<BTreeMap<Discard, u64>>) -> Self {
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Self {
            clock,
            sessions: Sessions::new(seed),
            clients: BTreeMap::new(),
            ports: BTreeMap::new(),
            doors: BTreeMap::new(),
            budget: Budget::new(clock.now()),
            buffer: Buffer::default(),
            touched: BTreeSet::new(),
            out: Vec::new(),
            discarded,
            counted: 0,
            finish: Vec::new(),
            seed,
        }
    }

    /// Whether there may be more of them later.
    fn take_orders(&mut self, orders: &Receiver<Order>) -> bool {
        loop {
            match orders.try_recv() {
                Ok(order) => self.obey(order),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let now = self.clock.now();
        match order {
            Order::Open { token, spec, listener, view } => {
                let client =
                    Client { spec: *spec, listener, view, state: ClientState::Waits(now), off: false };
                self.clients.insert(token, client);
                self.open(token, now);
            }
            Order::Configure(token, config) => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.spec.config = config;
                }
                self.with(token, |sessions, id, out| sessions.configure(now, id, config, out));
            }
            Order::Disable(token, told) => {
                self.switch(token, true);
                self.with(token, |sessions, id, out| sessions.disable(now, id, out));
                // Whoever asked may have gone.
                let _ = told.send(());
            }
            Order::Enable(token) => {
                self.switch(token, false);
                self.with(token, |sessions, id, out| sessions.enable(now, id, out));
            }
            Order::Retire(token) => {
                self.with(token, |sessions, id, out| sessions.retire(now, id, out));
                if let Some(Client { state: ClientState::Open(id), .. }) = self.clients.remove(&token)
                    && let Some(port) = self.ports.get_mut(&id)
                {
                    port.token = None;
                }
            }
            Order::Finish(done) => self.finish.push(done),
        }
    }

    fn switch(&mut self, token: u64, off: bool) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.off = off;
        }
    }

    fn with(&mut self, token: u64, work: impl FnOnce(&mut Sessions, SessionId, &mut Vec<Output>)) {
        if let Some(Client { state: ClientState::Open(id), .. }) = self.clients.get(&token) {
            let id = *id;
            work(&mut self.sessions, id, &mut self.out);
            self.touched.insert(id);
            self.carry_out();
        }
    }

    /// Opens what a client wishes for, or says why not and when to try again.
    fn open(&mut self, token: u64, now: Timestamp) {
        let Some(client) = self.clients.get(&token) else { return };
        let spec = client.spec.clone();
        let result = self.try_open(token, &spec, now);
        let Some(client) = self.clients.get_mut(&token) else { return };
        match result {
            Ok(id) => {
                client.state = ClientState::Open(id);
                self.touched.insert(id);
            }
            Err(error) => {
                client.state = ClientState::Waits(now + RETRY);
                let before = lock(&client.view).error.replace(error.clone());
                if before.as_ref() != Some(&error) {
                    (client.listener)(Event::NotOpen(error));
                }
            }
        }
        self.carry_out();
    }

    fn try_open(&mut self, token: u64, spec: &Spec, now: Timestamp) -> Result<SessionId, String> {
        let index = spec.zone.as_deref().map(interface).transpose()?;
        let own = whereabouts::own();
        let hops = match spec.reach {
            Reach::Link => Hops::Single,
            Reach::Routed { least_ttl } => Hops::Multi { least_ttl },
            Reach::Unknown if index.is_some() || whereabouts::on_link(&own, spec.remote) => Hops::Single,
            Reach::Unknown => Hops::Multi { least_ttl: 0 },
        };
        let local = match (&spec.local, &spec.source_interface) {
            (Some(local), _) => Some(*local),
            (None, None) => None,
            (None, Some(name)) => Some(whereabouts::source(&own, name, spec.remote).ok_or_else(|| {
                format!("sourceInterface {name} has no address to reach {} from", spec.remote)
            })?),
        };
        let path = Path { remote: spec.remote, interface: index, hops };
        let (v6, multihop) = (spec.remote.is_ipv6(), path.is_multihop());
        let to = if multihop { MULTIHOP } else { SINGLE_HOP };
        if let Entry::Vacant(vacant) = self.doors.entry((v6, multihop)) {
            vacant.insert(Door::open(v6, to)?);
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let start = u32::try_from(self.seed >> 33).unwrap_or_default();
        let outlet = Outlet::open(spec.remote, local, index.unwrap_or(0), to, start)?;
        let id = match self.sessions.add(now, path, spec.config, &mut self.out) {
            Ok(id) => id,
            Err(id) => {
                self.take_over(id, spec, now)?;
                self.sessions.set_hops(id, hops);
                id
            }
        };
        match self.ports.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(Port { outlet, token: Some(token), error: None });
            }
            Entry::Occupied(mut occupied) => {
                let port = occupied.get_mut();
                port.token = Some(token);
                // "the same UDP source port number MUST be used" (RFC 5881 §4), as long as it can be.
                if port.outlet.local != local {
                    port.outlet = outlet;
                }
            }
        }
        Ok(id)
    }

    /// The same owner asks again for a path: the session stays, and is its new self's.
    fn take_over(&mut self, id: SessionId, spec: &Spec, now: Timestamp) -> Result<(), String> {
        let token = self.ports.get(&id).and_then(|port| port.token);
        let Some(holder) = token.and_then(|token| self.clients.get_mut(&token)) else { return Ok(()) };
        if holder.spec.owner != spec.owner {
            return Err(format!("peer {} has the BFD session with {}", holder.spec.owner, spec.remote));
        }
        holder.state = ClientState::Replaced;
        self.sessions.configure(now, id, spec.config, &mut self.out);
        self.sessions.enable(now, id, &mut self.out);
        Ok(())
    }

    /// Reads one datagram of each door in turn: a flood at one must not keep the others waiting.
    fn receive(&mut self, now: Timestamp) {
        self.budget.refill(now, self.sessions.len());
        let mut open: Vec<_> = self.doors.iter().collect();
        while !open.is_empty() {
            open.retain(|((_, multihop), door)| {
                if !self.budget.take(now) {
                    return false;
                }
                let came = match door.receive(&mut self.buffer) {
                    Ok(Some(came)) => came,
                    Ok(None) => return false,
                    Err(error) => {
                        debug!(%error, "receiving failed");
                        return false;
                    }
                };
                let datagram = Datagram {
                    multihop: *multihop,
                    source: came.source,
                    interface: came.interface,
                    ttl: came.ttl,
                    payload: self.buffer.payload.get(..came.length).unwrap_or_default(),
                };
                match self.sessions.receive(now, &datagram, &mut self.out) {
                    Ok(id) => {
                        self.touched.insert(id);
                    }
                    Err(_) => self.counted += 1,
                }
                true
            });
        }
        self.carry_out();
    }

    fn expire(&mut self) {
        let now = self.clock.now();
        self.sessions.expire(now, &mut self.out);
        self.carry_out();
        self.leave_dead_interfaces();
        let waiting = self.clients.iter().filter(|(_, client)| client.waits().is_some_and(|at| at <= now));
        for token in waiting.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.open(token, now);
        }
    }

    /// An interface that was removed and made again has another number.
    fn leave_dead_interfaces(&mut self) {
        let now = self.clock.now();
        for (id, port) in &mut self.ports {
            let Some(client) = port.token.and_then(|token| self.clients.get_mut(&token)) else { continue };
            let failing = port.error.is_some() && !client.off;
            let Some(zone) = client.spec.zone.as_deref().filter(|_| failing) else { continue };
            let index = interface(zone).ok();
            if index.is_some() && index != self.sessions.path(*id).and_then(|path| path.interface) {
                port.token = None;
                self.sessions.retire(now, *id, &mut self.out);
                client.state = ClientState::Waits(now);
            }
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Send(id, packet) => self.send(id, &packet),
                Output::Changed(id, change) => {
                    self.touched.insert(id);
                    if let Some(client) = self.client(id) {
                        (client.listener)(Event::Changed(change));
                    }
                }
                Output::NeighborAdminDown(id) => {
                    if let Some(client) = self.client(id) {
                        (client.listener)(Event::NeighborAdminDown);
                    }
                }
                Output::Gone(id) => {
                    self.ports.remove(&id);
                    self.touched.remove(&id);
                }
            }
        }
    }

    fn client(&self, id: SessionId) -> Option<&Client> {
        self.clients.get(&self.ports.get(&id)?.token?)
    }

    fn send(&mut self, id: SessionId, packet: &Packet) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        self.touched.insert(id);
        let result = port.outlet.send(&packet.encode());
        if let Err(error) = &result
            && port.error.as_ref() != Some(error)
        {
            debug!("BFD: {error}");
        }
        port.error = result.err();
    }

    /// Shows what has changed.
    fn publish(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let (Some(session), Some(port)) = (self.sessions.view(id), self.ports.get(&id)) else { continue };
            let Some(client) = port.token.and_then(|token| self.clients.get(&token)) else { continue };
            *lock(&client.view) = View {
                session: Some(session),
                multihop: self.sessions.path(id).is_some_and(|path| path.is_multihop()),
                port: Some(port.outlet.port),
                error: port.error.clone(),
            };
        }
        if std::mem::take(&mut self.counted) > 0 {
            lock(self.discarded).clone_from(self.sessions.discarded());
        }
    }

    /// Until a datagram, an order or the next deadline.
    fn wait(&self, bell: Option<&UnixStream>) {
        let closed = self.budget.closed();
        let retries = self.clients.values().filter_map(Client::waits);
        let deadline = retries.chain(self.sessions.deadline()).chain(closed).min();
        let doors = self.doors.values().filter(|_| closed.is_none()).map(Door::fd);
        let mut ready: Vec<PollFd<'_>> =
            doors.chain(bell.map(AsFd::as_fd)).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let timeout = deadline.map(|at| TimeSpec::from_duration(at.since(self.clock.now())));
        if let Err(error) = ppoll(&mut ready, timeout, None)
            && error != Errno::EINTR
        {
            error!(%error, "BFD cannot wait");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut rings = [0; 64];
        if let Some(mut bell) = bell {
            while bell.read(&mut rings).is_ok_and(|count| count == rings.len()) {}
        }
    }
}

impl Client {
    /// When to try to open it again.
    fn waits(&self) -> Option<Timestamp> {
        match self.state {
            ClientState::Waits(at) if !self.off => Some(at),
            ClientState::Waits(_) | ClientState::Open(_) | ClientState::Replaced => None,
        }
    }
}

fn interface(name: &str) -> Result<u32, String> {
    sockopt::interface_index(name).map_err(|_| format!("there is no interface {name}"))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn a_flood_at_one_door_leaves_the_others_their_turn() {
        let discarded = Mutex::default();
        let mut thread = Thread::new(Clock::start(), &discarded);
        let mut port = |multihop| {
            let door = Door::open(false, 0).unwrap();
            let port = SockRef::from(&door.fd()).local_addr().unwrap().as_socket().unwrap().port();
            thread.doors.insert((false, multihop), door);
            port
        };
        let (flooded, other) = (port(false), port(true));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 24], ("127.0.0.1", flooded)).unwrap();
        }
        sender.send_to(&[0; 24], ("127.0.0.1", other)).unwrap();
        let now = thread.clock.now();
        thread.budget.refill(now, 0);
        while thread.budget.take(now) {}
        // 48 datagrams' worth.
        thread.receive(now + Duration::from_millis(6));
        assert!(thread.budget.closed().is_some(), "the flood has used it up");
        assert!(thread.doors[&(false, true)].receive(&mut thread.buffer).unwrap().is_none());
    }
}
