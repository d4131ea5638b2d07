//! Many fake BGP peers in one thread: they dial, keep their sessions up, blast what they are given, and count
//! what they are told. One thread, because the machine's other core belongs to the daemon that is measured.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type as SocketType};
use tests::bgp::{HEADER, Open, Type, frame};
use tests::lab::Node;
use tests::wait::eventually;

use crate::seen::{Seen, Universe};

const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const CHUNK: usize = 256 * 1024;

/// How a fake peer dials.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    /// Its address.
    pub(crate) local: IpAddr,
    /// Its AS.
    pub(crate) asn: u32,
    /// Its BGP identifier.
    pub(crate) id: [u8; 4],
    /// The daemon's address.
    pub(crate) remote: IpAddr,
    /// The size of its receive buffer, where it is to be small.
    pub(crate) receive_buffer: Option<usize>,
    /// It has IPv6 unicast besides.
    pub(crate) ipv6: bool,
}

/// One fake peer.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    out: VecDeque<(Arc<[u8]>, usize)>,
    opened: bool,
    confirmed: bool,
    /// Its KEEPALIVE that confirms the daemon's OPEN has been sent.
    up: bool,
    next_keepalive: Instant,
    /// It reads nothing until then.
    pub(crate) deaf_until: Option<Instant>,
    /// What it has been told.
    pub(crate) seen: Seen,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// In the order of the [`Dial`]s.
    pub(crate) peers: Vec<Peer>,
    scratch: Vec<u8>,
}

impl Fleet {
    /// Dials until the daemon accepts, sends OPENs and waits until the daemon has confirmed each. It has yet to
    /// be confirmed to: see [`Self::confirm`].
    pub(crate) fn open(node: &Node, dials: &[Dial], universe: Universe) -> Self {
        let peers = dials.iter().map(|dial| Peer::open(node, dial, universe)).collect();
        let mut fleet = Self { peers, scratch: vec![0; CHUNK] };
        fleet.run("the daemon confirms every OPEN", Duration::from_secs(60), |peers| {
            peers.iter().all(|peer| peer.opened && peer.confirmed)
        });
        fleet
    }

    /// Confirms every session at once, which makes them Established at the daemon. Returns when that was.
    pub(crate) fn confirm(&mut self) -> Instant {
        let keepalive: Arc<[u8]> = frame(Type::Keepalive, &[]).into();
        let now = Instant::now();
        for peer in &mut self.peers {
            peer.up = true;
            peer.next_keepalive = now + KEEPALIVE_EVERY;
            peer.send(Arc::clone(&keepalive));
        }
        now
    }

    /// Moves octets both ways until `done`.
    ///
    /// # Panics
    /// When the deadline has passed, or a daemon has closed a session.
    pub(crate) fn run(&mut self, what: &str, deadline: Duration, mut done: impl FnMut(&[Peer]) -> bool) {
        let end = Instant::now() + deadline;
        while !done(&self.peers) {
            assert!(Instant::now() < end, "waited {deadline:?} until {what}; {}", self.state());
            self.turn();
        }
    }

    fn state(&self) -> String {
        let counts: Vec<usize> = self.peers.iter().map(|peer| peer.seen.present).collect();
        format!("prefixes at the peers: {counts:?}")
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let interest = |peer: &Peer| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, peer.deaf_until.is_none_or(|until| until <= now));
            flags.set(PollFlags::POLLOUT, !peer.out.is_empty());
            flags
        };
        let mut fds: Vec<PollFd<'_>> =
            self.peers.iter().map(|peer| PollFd::new(peer.stream.as_fd(), interest(peer))).collect();
        poll(&mut fds, PollTimeout::from(5_u8)).expect("poll");
        let ready: Vec<PollFlags> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        for (number, (peer, ready)) in self.peers.iter_mut().zip(ready).enumerate() {
            if ready.contains(PollFlags::POLLOUT) {
                peer.write();
            }
            if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                peer.read(&mut self.scratch).unwrap_or_else(|e| panic!("fake peer {number}: {e}"));
            }
            if peer.up && peer.next_keepalive <= now {
                peer.next_keepalive = now + KEEPALIVE_EVERY;
                peer.send(frame(Type::Keepalive, &[]).into());
            }
        }
    }
}

impl Peer {
    fn open(node: &Node, dial: &Dial, universe: Universe) -> Self {
        let stream = eventually(Duration::from_secs(30), &format!("{} accepts", dial.remote), || {
            node.inside(|| connect(dial)).map_err(|e| e.to_string())
        });
        let mut open = Open::new(dial.asn, dial.id);
        // Unicast and 4-octet AS numbers are all that is measured.
        open.capabilities.retain(|(code, value)| {
            matches!((code, &**value), (1, [0, 1, 0, 1]) | (65, _))
                || dial.ipv6 && (*code, &**value) == (1, &[0, 2, 0, 1])
        });
        let mut peer = Self {
            stream,
            unread: Vec::new(),
            out: VecDeque::new(),
            opened: false,
            confirmed: false,
            up: false,
            next_keepalive: Instant::now(),
            deaf_until: None,
            seen: Seen::new(universe),
        };
        peer.send(open.encode().into());
        peer
    }

    /// Sends octets, as fast as the daemon takes them.
    pub(crate) fn send(&mut self, octets: Arc<[u8]>) {
        self.out.push_back((octets, 0));
        self.write();
    }

    /// Whether all of it has left.
    pub(crate) fn is_sent(&self) -> bool {
        self.out.is_empty()
    }

    fn write(&mut self) {
        while let Some((octets, at)) = self.out.front_mut() {
            match self.stream.write(&octets[*at..]) {
                Ok(count) => *at += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("writing to the daemon: {e}"),
            }
            if *at == octets.len() {
                self.out.pop_front();
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8]) -> Result<(), String> {
        let count = match self.stream.read(scratch) {
            Ok(0) => return Err("the daemon has closed the session".to_owned()),
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e.to_string()),
        };
        let fresh = &scratch[..count];
        if self.unread.is_empty() {
            let used = self.take(fresh)?;
            self.unread.extend_from_slice(&fresh[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.unread);
            whole.extend_from_slice(fresh);
            let used = self.take(&whole)?;
            whole.drain(..used);
            self.unread = whole;
        }
        self.seen.looked(Instant::now());
        Ok(())
    }

    /// Takes in whole messages; says how many octets they had.
    fn take(&mut self, octets: &[u8]) -> Result<usize, String> {
        let mut at = 0;
        while let Some(header) = octets.get(at..at + HEADER) {
            let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
            if length < HEADER {
                return Err(format!("a message of {length} octets"));
            }
            let Some(body) = octets.get(at + HEADER..at + length) else { break };
            match Type::from_octet(header[18]) {
                Some(Type::Open) => self.opened = true,
                Some(Type::Keepalive) => self.confirmed = true,
                Some(Type::Update) => self.seen.update(body),
                Some(Type::Notification) => return Err(format!("the daemon sent NOTIFICATION {body:?}")),
                Some(Type::RouteRefresh) | None => {}
            }
            at += length;
        }
        Ok(at)
    }
}

fn connect(dial: &Dial) -> std::io::Result<TcpStream> {
    let domain = if dial.local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, SocketType::STREAM, Some(Protocol::TCP))?;
    if let Some(size) = dial.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    socket.bind(&SocketAddr::new(dial.local, 0).into())?;
    socket.connect_timeout(&SocketAddr::new(dial.remote, 179).into(), Duration::from_secs(2))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
