//! The kernel's routes of our protocol, read one by one: of a full table's million none is kept here.

use std::io;
use std::time::Duration;

use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use socket2::SockRef;
use speaker_core::datapath::PROTOCOL;
use speaker_core::learn::Found;

use super::messages::{is_ours, numbered, queries, read};

/// The kernel fills 32 KiB at most.
const CHUNK: usize = 64 * 1024;

/// How long the kernel may take for a chunk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hands over every learned route of the main table. It blocks for as long as that takes.
///
/// # Errors
/// The system's words.
pub(super) fn routes(mut each: impl FnMut(Found)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // The kernel filters by protocol and table.
    socket.set_netlink_get_strict_chk(true)?;
    SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    let mut chunk = Vec::with_capacity(CHUNK);
    for (query, number) in queries(PROTOCOL).into_iter().zip(1..) {
        let question = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(query));
        let question = numbered(question, NLM_F_REQUEST | NLM_F_DUMP, number);
        let mut octets = vec![0; question.buffer_len()];
        question.serialize(&mut octets);
        socket.send(&octets, 0)?;
        loop {
            chunk.clear();
            socket.recv(&mut chunk, 0)?;
            if !take(&chunk, &mut each)? {
                break;
            }
        }
    }
    Ok(())
}

/// Whether more is to come.
fn take(mut chunk: &[u8], each: &mut impl FnMut(Found)) -> io::Result<bool> {
    while !chunk.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(chunk).map_err(io::Error::other)?;
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        chunk = chunk.get(length.saturating_add(3) & !3..).unwrap_or_default();
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(false),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            // A kernel before 4.20 does not filter.
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) if is_ours(&route) => {
                read(&route).into_iter().for_each(&mut *each);
            }
            _ => {}
        }
    }
    Ok(true)
}
