//! One TCP connection.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::task::{Context, Poll};
use std::time::Duration;

use bgp_proto::session::ConnId;
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use speaker_core::export::{Begun, Outbox};
use tokio::net::TcpStream;

use crate::io::sockopt;

/// The most that one turn reads: a peer that floods us leaves the others their share.
const READ: usize = 64 * 1024;
/// With less room than this a new buffer is taken.
const READ_MIN: usize = 16 * 1024;
/// How long a NOTIFICATION may take to leave, and the peer to close its end.
const LINGER: Duration = Duration::from_secs(3);

/// A connection, its receive buffer and what waits for it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) out: Outbox,
    stream: TcpStream,
    buffer: BytesMut,
}

/// What a connection is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) id: ConnId,
    pub(super) read: bool,
}

impl Connection {
    pub(super) fn new(id: ConnId, stream: TcpStream) -> Self {
        Self { id, out: Outbox::default(), stream, buffer: BytesMut::new() }
    }

    /// Ready to be read, where `reads`, or to be written where something waits.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>, reads: bool) -> Poll<Ready> {
        // An error shows when it is read.
        let read = reads && self.stream.poll_read_ready(cx).is_ready();
        let write = !self.out.is_empty() && self.stream.poll_write_ready(cx).is_ready();
        if read || write { Poll::Ready(Ready { id: self.id, read }) } else { Poll::Pending }
    }

    /// What has come; `None` where nothing has. No octets are the end of file.
    pub(super) fn read(&mut self) -> Option<io::Result<Bytes>> {
        if self.buffer.capacity() < READ_MIN {
            self.buffer.reserve(READ);
        }
        match self.stream.try_read_buf(&mut self.buffer) {
            Ok(_) => Some(Ok(self.buffer.split().freeze())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// What has come, whether or not the runtime has heard of it already.
    pub(super) fn read_now(&self) -> Option<io::Result<Bytes>> {
        let mut buffer = vec![0; READ_MIN];
        match (&*SockRef::from(&self.stream)).read(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                Some(Ok(buffer.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Writes what waits, once; `None` where the kernel takes nothing.
    pub(super) fn write(&mut self) -> Option<io::Result<(usize, Begun)>> {
        if self.out.is_empty() {
            return None;
        }
        let result = self.stream.try_write_vectored(&self.out.slices());
        match result {
            Ok(count) => Some(Ok((count, self.out.advance(count)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Octets in the kernel's receive and send queues.
    pub(super) fn kernel_queues(&self) -> (u64, u64) {
        sockopt::queues(self.stream.as_fd())
    }

    /// Sends what the session said last as far as the kernel takes it at once, and closes.
    pub(super) fn close_now(mut self) {
        self.out.drop_table();
        let _ = self.write();
    }

    /// Sends what the session said last, then closes. An octet left unread would turn the close into a
    /// reset, which takes the NOTIFICATION out of the peer's hands; so everything is read to the end.
    pub(super) async fn close(mut self) {
        self.out.drop_table();
        // Nothing follows from a peer that does not take it: the connection is at its end either way.
        let _ = tokio::time::timeout(LINGER, self.linger()).await;
    }

    async fn linger(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            self.stream.writable().await?;
            if let Some(result) = self.write() {
                result?;
            }
        }
        SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write)?;
        loop {
            self.stream.readable().await?;
            match self.read() {
                Some(Ok(bytes)) if bytes.is_empty() => return Ok(()),
                Some(Err(error)) => return Err(error),
                _ => {}
            }
        }
    }
}
