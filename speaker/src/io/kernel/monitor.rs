//! What others do to the kernel's routes and rules.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use speaker_core::datapath::{LOCAL_TABLE, PROTOCOL, TABLE};
use tokio::sync::mpsc;

/// What an event asks for: to look again, the sooner the nearer it is to what is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Something of ours, or in its place.
    Soon,
    /// The surroundings: subnets, interfaces, other routes.
    Later,
}

impl Look {
    /// How long more events are awaited, so that many of them cost one look.
    pub(super) const fn pause(self) -> Duration {
        match self {
            Self::Soon => Duration::from_millis(20),
            Self::Later => Duration::from_secs(1),
        }
    }
}

/// A connection that is told of every change, of those too that this process makes on another one.
#[derive(Debug)]
pub(super) struct Monitor {
    looks: mpsc::Receiver<Look>,
}

impl Monitor {
    /// Opens it; call inside the runtime.
    pub(super) fn open() -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let (found, looks) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
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
        // Neither guards nor local addresses depend on other types.
        matches!(route.header.kind, RouteType::Unicast | RouteType::Local).then_some(Look::Later)
    }
}
