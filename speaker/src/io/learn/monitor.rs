//! What the kernel tells of learned routes and of what they depend on.

use std::io;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::AsyncSocket as _;
use speaker_core::learn::Found;
use tokio::sync::mpsc;

use super::messages::{attached, is_ours, read};
use crate::io::netlink;

/// What may wait for the task; if more comes, everything is read anew.
const QUEUE: usize = 4096;

/// What has happened.
#[derive(Debug)]
pub(super) enum Heard {
    /// A route of our protocol is there now. It may be our own doing.
    Put(Found),
    /// A route of our protocol is not there any more.
    Gone(Found),
    /// Interfaces, addresses or networks have changed.
    Around,
    /// More than could be told.
    Missed,
}

/// A connection that is told of every change but those of routes that this process makes itself.
#[derive(Debug)]
pub(super) struct Monitor(mpsc::Receiver<Heard>);

impl Monitor {
    /// Opens it; call inside the runtime. Who writes by the netlink port `own` knows of it already.
    pub(super) fn open(own: u32) -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (mut connection, _, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        netlink::without_own(connection.socket_mut().socket_ref(), own)?;
        let reading = tokio::spawn(connection);
        let (found, told) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut missed = false;
            while let Some((message, _)) = messages.next().await {
                let Some(heard) = heard(message.payload) else { continue };
                let heard = if missed { Heard::Missed } else { heard };
                match found.try_send(heard) {
                    Ok(()) => missed = false,
                    Err(mpsc::error::TrySendError::Full(_)) => missed = true,
                    Err(mpsc::error::TrySendError::Closed(_)) => break,
                }
            }
            reading.abort();
        });
        Ok(Self(told))
    }

    /// What has happened, at least one thing; nothing at the end of the connection.
    pub(super) async fn next(&mut self, heard: &mut Vec<Heard>) -> usize {
        self.0.recv_many(heard, QUEUE).await
    }
}

fn heard(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Heard> {
    match payload {
        NetlinkPayload::Overrun(_) => Some(Heard::Missed),
        NetlinkPayload::InnerMessage(message) => match message {
            RouteNetlinkMessage::NewRoute(route) if is_ours(&route) => read(&route).map(Heard::Put),
            RouteNetlinkMessage::DelRoute(route) if is_ours(&route) => read(&route).map(Heard::Gone),
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                attached(&route).map(|_| Heard::Around)
            }
            RouteNetlinkMessage::NewLink(_)
            | RouteNetlinkMessage::DelLink(_)
            | RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_) => Some(Heard::Around),
            _ => None,
        },
        _ => None,
    }
}
