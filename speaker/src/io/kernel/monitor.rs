//! What others do to the kernel's routes and rules.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::sys::AsyncSocket as _;
use speaker_core::datapath::{LOCAL_TABLE, PROTOCOL, TABLE};
use tokio::sync::mpsc;

use crate::io::netlink;

/// What an event asks for: to look again, the sooner the nearer it is to what is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Something of ours, or in its place.
    Soon,
    /// The surroundings: subnets, interfaces.
    Later,
    /// A route by a router: matters where a fixed prefix is spared for such a one.
    Router,
}

impl Look {
    /// How long more events are awaited, so that many of them cost one look.
    pub(super) const fn pause(self) -> Duration {
        match self {
            Self::Soon => Duration::from_millis(20),
            Self::Later | Self::Router => Duration::from_secs(1),
        }
    }
}

/// A connection that is told of every change. Those that this process makes itself are passed over: it knows of them
/// from the acknowledgements.
#[derive(Debug)]
pub(super) struct Monitor {
    looks: mpsc::Receiver<Look>,
}

impl Monitor {
    /// Opens it; call inside the runtime. What is done over the connection `own` (nlmsg_pid) is not told.
    pub(super) fn open(own: u32) -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (mut connection, _, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        netlink::without_learned(connection.socket_mut().socket_ref())?;
        tokio::spawn(connection);
        let (found, looks) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
                if message.header.port_number == own {
                    continue;
                }
                // A full queue is reason enough to look; one more would change nothing.
                if let Some(look) = look(&message.payload)
                    && let Err(mpsc::error::TrySendError::Closed(_)) = found.try_send(look)
                {
                    return;
                }
            }
        });
        Ok(Self { looks })
    }

    /// The next event that matters; `None` when the connection is gone.
    pub(super) async fn next(&mut self) -> Option<Look> {
        self.looks.recv().await
    }
}

fn look(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Look> {
    match payload {
        // More has happened than the socket could hold.
        NetlinkPayload::Overrun(_) => Some(Look::Soon),
        NetlinkPayload::InnerMessage(message) => match message {
            RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Some(Look::Soon),
            // IPv4 routes of an interface that goes down go without a word of their own.
            RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => Some(Look::Later),
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                look_at_route(route)
            }
            _ => None,
        },
        _ => None,
    }
}

fn look_at_route(route: &RouteMessage) -> Option<Look> {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let own = u8::from(route.header.protocol) == PROTOCOL;
    if table == Some(TABLE) || own && table == Some(LOCAL_TABLE) {
        Some(Look::Soon)
    } else if own {
        // A learned route: another task's.
        None
    } else {
        let by_router = |one: &RouteAttribute| {
            matches!(one, RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_))
        };
        match route.header.kind {
            RouteType::Unicast if route.attributes.iter().any(by_router) => Some(Look::Router),
            RouteType::Unicast | RouteType::Local => Some(Look::Later),
            // Neither guards nor local addresses depend on other types.
            _ => None,
        }
    }
}
