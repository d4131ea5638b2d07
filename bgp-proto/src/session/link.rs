//! One TCP connection, whatever its state.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::end::End;
use super::memory::Context;
use super::{Action, ConnId};
use crate::wire::{DecodeContext, Message, MessageKind, codes, read_message};

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Direction {
    /// We did.
    Outgoing,
    /// The peer did.
    Incoming,
}

/// A TCP connection: its ends, what was received of a message, and how much has not left yet.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) direction: Direction,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    buffer: BytesMut,
    /// The peer's last OPEN, as it came.
    pub(super) open: Bytes,
    /// Octets handed over for sending and not reported as written.
    unsent: usize,
}

impl Link {
    pub(super) fn new(
        conn: ConnId,
        direction: Direction,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Box<Self> {
        Box::new(Self {
            conn,
            direction,
            local,
            remote,
            buffer: BytesMut::new(),
            open: Bytes::new(),
            unsent: 0,
        })
    }

    /// Takes in what came. At most one unfinished message stays in the buffer when all were read.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The next whole message, counted. One that is refused for what it says has come all the same; behind
    /// a faulty header there is no message.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        decode: &DecodeContext,
    ) -> Result<Option<Message>, End> {
        let kind = MessageKind::of(&self.buffer);
        if kind == Some(MessageKind::Open) {
            self.open = front(&self.buffer);
        }
        match read_message(&mut self.buffer, decode) {
            Ok(None) => Ok(None),
            Ok(Some(message)) => {
                cx.memory.received.count(message.kind());
                Ok(Some(message))
            }
            Err(fault) => {
                let kind = kind.filter(|_| fault.notification.code != codes::MESSAGE_HEADER);
                kind.into_iter().for_each(|kind| cx.memory.received.count(kind));
                cx.act(Action::Malformed(fault.message));
                Err(End::Fault(fault.notification, fault.detail))
            }
        }
    }

    pub(super) fn enqueued(&mut self, bytes: usize) {
        self.unsent = self.unsent.saturating_add(bytes);
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.unsent = self.unsent.saturating_sub(bytes);
    }

    pub(super) const fn has_unsent(&self) -> bool {
        self.unsent > 0
    }
}

/// The message at the front of `buffer`, as far as it is there.
fn front(buffer: &[u8]) -> Bytes {
    let length = buffer.get(16..18).into_iter().flatten();
    let length = length.fold(0, |length, octet| (length << 8) | usize::from(*octet));
    Bytes::copy_from_slice(buffer.get(..length.min(buffer.len())).unwrap_or_default())
}
