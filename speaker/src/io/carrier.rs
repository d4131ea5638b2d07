//! Interfaces that go down, told by rtnetlink: a session over one of them is over, whatever its timers say.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::sync::mpsc;

/// What a receiver that is slow may leave unread; it then misses the newest, and has its timers.
const BACKLOG: usize = 64;

/// Tells which interfaces have gone down. Clones share one source.
#[derive(Debug, Clone)]
pub struct Carriers(Arc<Mutex<Subscribers>>);

/// A channel for each: a receiver of one channel for all would take its lock each time that a task wakes.
type Subscribers = Vec<mpsc::Sender<Arc<str>>>;

impl Carriers {
    /// Opens the netlink socket and the task that reads it until the last clone is gone; call inside the
    /// runtime.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn watch() -> std::io::Result<Self> {
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        let carriers = Self(Arc::default());
        let down = Arc::downgrade(&carriers.0);
        let reading = tokio::spawn(connection);
        tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
                let Some(down) = down.upgrade() else { break };
                if let Some(name) = gone(&message) {
                    tell(&down, &name.into());
                }
            }
            reading.abort();
        });
        Ok(carriers)
    }

    /// Names of interfaces, as they go down from now on.
    #[must_use]
    pub fn subscribe(&self) -> mpsc::Receiver<Arc<str>> {
        let (down, told) = mpsc::channel(BACKLOG);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !one.is_closed());
        all.push(down);
        told
    }
}

fn tell(subscribers: &Mutex<Subscribers>, name: &Arc<str>) {
    for one in subscribers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // Whoever is gone, or slow, misses it.
        let _ = one.try_send(Arc::clone(name));
    }
}

/// The interface that cannot carry anything after this message: switched off, without a carrier, or removed.
fn gone(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<&str> {
    match &message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) if !carries(link) => name(link),
        // A bridge tells of its ports by the same message.
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
            if link.header.interface_family == AddressFamily::Unspec =>
        {
            name(link)
        }
        _ => None,
    }
}

fn carries(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(flags: LinkFlags, family: AddressFamily) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.flags = flags;
        link.header.interface_family = family;
        link.attributes.push(LinkAttribute::IfName("eth1".to_owned()));
        link
    }

    #[test]
    fn everybody_is_told_and_those_who_are_gone_are_forgotten() {
        let carriers = Carriers(Arc::default());
        let mut slow = carriers.subscribe();
        let mut one = carriers.subscribe();
        drop(carriers.subscribe());
        for number in 0..=BACKLOG {
            tell(&carriers.0, &number.to_string().into());
            assert_eq!(one.try_recv().as_deref(), Ok(&*number.to_string()));
        }
        assert_eq!(slow.len(), BACKLOG, "the newest is missed");
        assert_eq!(slow.try_recv().as_deref(), Ok("0"));
        let _another = carriers.subscribe();
        assert_eq!(carriers.0.lock().unwrap().len(), 3);
    }

    #[test]
    fn a_link_is_gone_without_power_without_carrier_and_when_removed() {
        let up = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running;
        let new = |flags| {
            gone(&RouteNetlinkMessage::NewLink(link(flags, AddressFamily::Unspec)).into()).map(str::to_owned)
        };
        assert_eq!(new(up), None);
        assert_eq!(new(LinkFlags::Up).as_deref(), Some("eth1"));
        assert_eq!(new(LinkFlags::LowerUp).as_deref(), Some("eth1"));
        let removed = |family| gone(&RouteNetlinkMessage::DelLink(link(up, family)).into()).is_some();
        assert!(removed(AddressFamily::Unspec));
        assert!(!removed(AddressFamily::Bridge), "a port left its bridge, and works");
    }
}
