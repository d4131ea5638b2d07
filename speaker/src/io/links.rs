//! The kernel's links, looked at again whenever one changes.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::mpsc;

/// More changes are awaited for so long, so that a burst costs one look.
const PAUSE: Duration = Duration::from_millis(50);

/// What to make of a link: its name, and what matters of it.
type Read<T> = fn(&LinkMessage) -> Option<(String, T)>;

/// Those of the kernel's links that somebody wants to know about.
#[derive(Debug)]
pub(super) struct Links<T> {
    handle: Handle,
    changes: mpsc::Receiver<()>,
    /// Something has changed since the last look that came to its end.
    stale: bool,
    read: Read<T>,
}

impl<T> Links<T> {
    /// Opens the connections; call inside the runtime.
    pub(super) fn open(read: Read<T>) -> io::Result<Self> {
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
        Ok(Self { handle, changes, stale: true, read })
    }

    /// The links by name: at once for the first time, then whenever one may have changed. Dropping the future loses no
    /// change.
    pub(super) async fn next(&mut self) -> io::Result<BTreeMap<String, T>> {
        if !self.stale {
            if self.changes.recv().await.is_none() {
                return Err(io::Error::other("the kernel's link events have ended"));
            }
            self.stale = true;
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            while self.changes.try_recv().is_ok() {}
            match self.look().await {
                Ok(found) => {
                    self.stale = false;
                    return Ok(found);
                }
                // The answer to an earlier look, of which the future was dropped, is still under way.
                Err(rtnetlink::Error::NetlinkError(error))
                    if error.to_io().kind() == io::ErrorKind::ResourceBusy =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    async fn look(&self) -> Result<BTreeMap<String, T>, rtnetlink::Error> {
        let mut found = BTreeMap::new();
        let mut messages = self.handle.link().get().execute();
        while let Some(message) = messages.try_next().await? {
            found.extend((self.read)(&message));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_was_given_up_disturbs_no_other() {
        let mut links = Links::open(|message| Some((message.header.index.to_string(), ()))).unwrap();
        for _ in 0..50 {
            // Polled once, so that the question is on its way, and dropped.
            assert!(futures_util::poll!(Box::pin(links.next())).is_pending());
            tokio::task::yield_now().await;
        }
        assert!(!links.next().await.unwrap().is_empty());
    }
}
