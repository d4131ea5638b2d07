//! A hand-made BGP peer over a plain socket, for what no real daemon can be made to send.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::bgp::{HEADER, Message, Open, Type, frame};
use crate::lab::Node;
use crate::wait::eventually;

/// A connection to a speaker under test.
#[derive(Debug)]
pub struct Fake {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What a read brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read1 {
    /// A whole message.
    Message(Message),
    /// The other side has closed the connection.
    Closed,
    /// Nothing within the deadline.
    Nothing,
}

impl Fake {
    /// Dials from `node` to port 179 of `remote`, until somebody listens there.
    pub fn dial(node: &Node, remote: IpAddr, deadline: Duration) -> Self {
        let remote = SocketAddr::new(remote, 179);
        let stream = eventually(deadline, &format!("{remote} accepts"), || {
            node.inside(|| {
                TcpStream::connect_timeout(&remote, Duration::from_secs(2)).map_err(|e| e.to_string())
            })
        });
        Self { stream, buffer: Vec::new() }
    }

    /// Listens on port 179 of `local` in `node`.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn listen(node: &Node, local: IpAddr) -> TcpListener {
        let listener = node.inside(|| TcpListener::bind(SocketAddr::new(local, 179)).expect("listen"));
        listener.set_nonblocking(true).expect("non-blocking");
        listener
    }

    /// Waits for a connection.
    pub fn accept(listener: &TcpListener, deadline: Duration) -> Self {
        let stream = eventually(deadline, "the speaker dials", || {
            listener.accept().map(|(stream, _)| stream).map_err(|e| e.to_string())
        });
        Self::over(stream)
    }

    /// Over a connection that is there.
    ///
    /// # Panics
    /// If the socket is broken.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).expect("blocking");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes; a connection that the other side has closed already is no error.
    pub fn send(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// Reads the next message.
    ///
    /// # Panics
    /// On an error other than a closed connection.
    pub fn read(&mut self, deadline: Duration) -> Read1 {
        let end = Instant::now() + deadline;
        loop {
            if let Some(message) = self.take() {
                return Read1::Message(message);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Read1::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).expect("read timeout");
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Read1::Closed,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Read1::Closed,
                Err(e) => panic!("read from the speaker: {e}"),
            }
        }
    }

    fn take(&mut self) -> Option<Message> {
        let length = usize::from(u16::from_be_bytes(self.buffer.get(16..18)?.try_into().ok()?));
        if self.buffer.len() < length || length < HEADER {
            return None;
        }
        let rest = self.buffer.split_off(length);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let address = |a: std::io::Result<SocketAddr>| a.unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)));
        let (from, to) = (address(self.stream.peer_addr()), address(self.stream.local_addr()));
        Some(Message { micros: 0, from, to, bytes })
    }

    /// Reads until a message of `kind`; returns it and those before it.
    ///
    /// # Panics
    /// If the connection closes or the deadline passes first.
    #[track_caller]
    pub fn read_until(&mut self, kind: Type, deadline: Duration) -> (Message, Vec<Message>) {
        let end = Instant::now() + deadline;
        let mut before = Vec::new();
        loop {
            match self.read(end.saturating_duration_since(Instant::now())) {
                Read1::Message(m) if m.kind() == Some(kind) => return (m, before),
                Read1::Message(m) => before.push(m),
                other => panic!("waited for {kind:?}: {other:?} after {before:?}"),
            }
        }
    }

    /// Reads on, answering nothing, until the other side closes; returns all that came.
    pub fn read_to_close(&mut self, deadline: Duration) -> Vec<Message> {
        let end = Instant::now() + deadline;
        let mut all = Vec::new();
        while let Read1::Message(m) = self.read(end.saturating_duration_since(Instant::now())) {
            all.push(m);
        }
        all
    }

    /// OPEN, KEEPALIVE, and waits for the other side's KEEPALIVE; returns its OPEN.
    #[track_caller]
    pub fn establish(&mut self, open: &Open, deadline: Duration) -> Message {
        self.send(&open.encode());
        let (theirs, _) = self.read_until(Type::Open, deadline);
        self.send(&frame(Type::Keepalive, &[]));
        self.read_until(Type::Keepalive, deadline);
        theirs
    }
}
