//! The interfaces on which there is a segment to announce on.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use speaker_core::l2::frame::Mac;
use tokio::sync::mpsc;

/// More changes are awaited for so long, so that a burst costs one look.
const PAUSE: Duration = Duration::from_millis(50);

/// An Ethernet interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mac: Mac,
}

/// The kernel's links, looked at again whenever one changes.
#[derive(Debug)]
pub(super) struct Links {
    handle: Handle,
    changes: mpsc::Receiver<()>,
    looked: bool,
}

impl Links {
    /// Opens the connections; call inside the runtime.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        tokio::spawn(connection);
        let (told, changes) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
                let concerns = matches!(
                    message.payload,
                    NetlinkPayload::Overrun(_)
                        | NetlinkPayload::InnerMessage(
                            RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_)
                        )
                );
                // One look answers for every change before it.
                if concerns && let Err(mpsc::error::TrySendError::Closed(())) = told.try_send(()) {
                    return;
                }
            }
        });
        Ok(Self { handle, changes, looked: false })
    }

    /// The links by name: at once for the first time, then whenever one may have changed.
    pub(super) async fn next(&mut self) -> io::Result<BTreeMap<String, Link>> {
        if self.looked {
            if self.changes.recv().await.is_none() {
                return Err(io::Error::other("the kernel's link events have ended"));
            }
            tokio::time::sleep(PAUSE).await;
            while self.changes.try_recv().is_ok() {}
        }
        self.looked = true;
        let mut found = BTreeMap::new();
        let mut messages = self.handle.link().get().execute();
        while let Some(message) = messages.try_next().await.map_err(io::Error::other)? {
            found.extend(read(&message));
        }
        Ok(found)
    }
}

/// An Ethernet interface that is up and belongs to no bridge or bond: frames of such a one arrive at its
/// controller.
fn read(message: &LinkMessage) -> Option<(String, Link)> {
    let flags = message.header.flags;
    let usable = message.header.link_layer_type == LinkLayerType::Ether
        && flags.contains(LinkFlags::Up)
        && flags.contains(LinkFlags::LowerUp)
        && !flags.contains(LinkFlags::Noarp);
    let mut name = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(octets) => mac = octets.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Controller(_) => return None,
            _ => {}
        }
    }
    usable.then_some(())?;
    Some((name?, Link { index: message.header.index, mac: mac? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_is_no_segment() {
        let found = Links::open().unwrap().next().await.unwrap();
        assert!(!found.contains_key("lo"), "{found:?}");
    }

    #[test]
    fn ports_of_a_bridge_and_interfaces_that_are_down_are_left_out() {
        let link = |flags, more: Option<LinkAttribute>| {
            let mut message = LinkMessage::default();
            message.header.index = 7;
            message.header.link_layer_type = LinkLayerType::Ether;
            message.header.flags = flags;
            message.attributes = vec![
                LinkAttribute::IfName("eth0".to_owned()),
                LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            ];
            message.attributes.extend(more);
            read(&message)
        };
        let up = LinkFlags::Up | LinkFlags::LowerUp;
        let expected = Link { index: 7, mac: Mac([2, 0, 0, 0, 0, 1]) };
        assert_eq!(link(up, None), Some(("eth0".to_owned(), expected)));
        assert_eq!(link(LinkFlags::Up, None), None, "no carrier");
        assert_eq!(link(up | LinkFlags::Noarp, None), None);
        assert_eq!(link(up, Some(LinkAttribute::Controller(3))), None, "a bridge has it");
    }
}
