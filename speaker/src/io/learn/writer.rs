//! Changes of the kernel's routes, hundreds in one system call.
//!
//! Of a message without NLM_F_ACK the kernel answers a failure alone. The last one of a batch asks for an answer: with it
//! everything before has been done, since the kernel works through what it is sent before it returns.

use std::io;
use std::time::Duration;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use socket2::SockRef;
use speaker_core::learn::{FibOp, METRIC};

use super::messages::{Message, deletion, message, numbered};

/// A failure takes about a kilobyte of the socket's buffer, and a whole batch may fail.
const BUFFER: usize = 1 << 20;

/// The answer is there when a batch has been sent. A kernel that gives none is not waited for for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of each.
pub(super) type Results = Vec<Result<(), String>>;

/// A socket for changes.
#[derive(Debug)]
pub(super) struct Writer {
    socket: Socket,
    port: u32,
}

impl Writer {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        let own = SockRef::from(&socket);
        own.set_read_timeout(Some(PATIENCE))?;
        // As much of it as this process may have.
        own.set_recv_buffer_size(BUFFER)?;
        // Answers without what was asked: a header each.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, port })
    }

    /// What notifications of changes by this socket bear (`nlmsg_pid`).
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Does all of it, and gives back what came of each.
    ///
    /// # Errors
    /// The socket is of no more use: nobody knows what was done.
    pub(super) fn apply(&self, ops: &[FibOp]) -> io::Result<Results> {
        let mut results: Results = vec![Ok(()); ops.len()];
        let mut batch = Vec::new();
        for (at, (op, result)) in ops.iter().zip(&mut results).enumerate() {
            match request(op, sequence(at)) {
                Ok(message) => put(&message, &mut batch),
                Err(why) => *result = Err(why),
            }
        }
        let last = sequence(ops.len());
        put(&barrier(last), &mut batch);
        self.socket.send(&batch, 0)?;
        while let Some((answered, code)) = self.answer()? {
            if answered == last {
                return Ok(results);
            }
            let of = usize::try_from(answered).ok().and_then(|at| at.checked_sub(1));
            if let Some((op, result)) =
                of.and_then(|at| Some((ops.get(at)?, results.get_mut(at)?))).filter(|_| code != 0)
            {
                *result = judge(op, code);
            }
        }
        Err(io::Error::other("the answer is not one"))
    }

    /// The next answer: the number of the question, and an error of the system, 0 for none.
    fn answer(&self) -> io::Result<Option<(u32, i32)>> {
        let mut buffer = Vec::with_capacity(4096);
        self.socket.recv(&mut buffer, 0)?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer).map_err(io::Error::other)?;
        Ok(match answer.payload {
            NetlinkPayload::Error(error) => {
                let code = error.code.map_or(0, |code| code.get().saturating_neg());
                Some((answer.header.sequence_number, code))
            }
            _ => None,
        })
    }
}

/// From 1: notifications have 0.
fn sequence(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1)
}

fn request(op: &FibOp, number: u32) -> Result<Message, String> {
    let (flags, what) = match op {
        FibOp::Add(prefix, hops) => {
            (NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRoute(message(*prefix, hops)?))
        }
        FibOp::Replace(prefix, hops) => {
            (NLM_F_CREATE | NLM_F_REPLACE, RouteNetlinkMessage::NewRoute(message(*prefix, hops)?))
        }
        FibOp::Delete(prefix, metric) => (0, RouteNetlinkMessage::DelRoute(deletion(*prefix, *metric))),
    };
    Ok(numbered(NetlinkPayload::from(what), NLM_F_REQUEST | flags, number))
}

/// It asks for nothing but an answer.
fn barrier(number: u32) -> Message {
    numbered(NetlinkPayload::Noop, NLM_F_REQUEST | NLM_F_ACK, number)
}

/// "Netlink messages … are aligned to NLMSG_ALIGNTO" (netlink(7)): 4 octets.
fn put(message: &Message, batch: &mut Vec<u8>) {
    let from = batch.len();
    batch.resize(from + message.buffer_len().next_multiple_of(4), 0);
    if let Some(place) = batch.get_mut(from..) {
        message.serialize(place);
    }
}

fn judge(op: &FibOp, code: i32) -> Result<(), String> {
    match code {
        libc::ENOENT | libc::ESRCH if matches!(op, FibOp::Delete(..)) => Ok(()),
        libc::EEXIST => Err(format!(
            "somebody else has a route to it with metric {METRIC}, which is left alone; remove it or give it another metric"
        )),
        _ => Err(io::Error::from_raw_os_error(code).to_string()),
    }
}
