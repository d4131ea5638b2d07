//! The segments: ARP and NDP on packet sockets, one task an interface.
//!
//! ```text
//! kernel's links ─► Links ─► interfaces ──► hub ─► World ─► Held ─┐
//!                                                                 ▼
//! frames ◄──────────────────────── Speaker (one an interface) ◄───┘
//! ```
//!
//! A speaker answers for what [`Held`] says and looks at its fence before every answer, so that a node whose
//! lease has run out falls silent by itself, whatever else hangs.

mod arp;
mod groups;
mod links;
mod socket;
mod speaker;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use speaker_core::l2::frame::Mac;
use speaker_core::l2::segment::Held;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::links::Links;
use links::{Link, read};

/// How often the kernel's settings are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What the segments tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The interfaces on which this node can announce.
    Interfaces {
        /// Their names.
        interfaces: BTreeSet<String>,
        /// Those on which the kernel answers ARP for every address that is delivered on this host.
        answering: BTreeSet<String>,
    },
    /// Somebody else says that an address which this node holds is his.
    Foreign {
        /// The address.
        address: IpAddr,
        /// His Ethernet address.
        by: Mac,
        /// Where it was heard.
        interface: String,
    },
}

/// Watches the interfaces and speaks on them until nobody listens to `events`.
pub fn spawn(held: watch::Receiver<Held>, events: mpsc::Sender<LinkEvent>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = run(held, events).await {
            tracing::error!("nothing is announced on the segments: {error}");
        }
    })
}

async fn run(mut held: watch::Receiver<Held>, events: mpsc::Sender<LinkEvent>) -> std::io::Result<()> {
    let mut links = Links::open(read)?;
    let mut speakers: BTreeMap<String, (Link, Running)> = BTreeMap::new();
    let mut present = BTreeMap::new();
    let mut answering = BTreeSet::new();
    let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    loop {
        let wanted: BTreeSet<String> =
            held.borrow_and_update().addresses.values().flatten().cloned().collect();
        speakers.retain(|name, (link, running)| {
            let same = present.get(name) == Some(link) && wanted.contains(name);
            same && !running.0.is_finished()
        });
        for name in &wanted {
            if !speakers.contains_key(name)
                && let Some(link) = present.get(name)
            {
                let task = speaker::spawn(name, link, held.clone(), events.clone());
                speakers.insert(name.clone(), (link.clone(), Running(task)));
            }
        }
        tokio::select! {
            changed = held.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            found = links.next() => {
                present = found?;
                answering = arp::answering(Path::new(arp::SETTINGS), present.keys());
                let interfaces = present.keys().cloned().collect();
                let event = LinkEvent::Interfaces { interfaces, answering: answering.clone() };
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
            // The kernel does not tell of this setting.
            _ = looks.tick() => {
                let now = arp::answering(Path::new(arp::SETTINGS), present.keys());
                if now != answering {
                    answering = now;
                    let interfaces = present.keys().cloned().collect();
                    let event = LinkEvent::Interfaces { interfaces, answering: answering.clone() };
                    if events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// A task that ends when it is dropped.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
