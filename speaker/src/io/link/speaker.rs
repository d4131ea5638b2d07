//! One interface: answers, and what is said unasked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_core::l2::frame::{self, Heard};
use speaker_core::l2::segment::Held;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::clock;
use super::LinkEvent;
use super::groups::Groups;
use super::links::Link;
use super::socket::{Kind, PacketSocket};
use crate::metrics::errors::{Component, failed};

/// A frame that is read here is no longer than that; jumbo frames carry no question.
const FRAME: usize = 1518;

/// How long a new holder waits before it says so again: caches that missed the first word learn it by the
/// second or third, and those of switches that forget by the ones after.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(60)];

/// How long an interface that failed is left alone, at first and at most.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// "DEFEND_INTERVAL" of RFC 5227 §1.1: an address is defended, and a conflict told, no more often.
const DEFEND: Duration = Duration::from_secs(10);

struct Speaker {
    name: String,
    link: Link,
    held: watch::Receiver<Held>,
    events: mpsc::Sender<LinkEvent>,
    arp: PacketSocket,
    neighbour: PacketSocket,
    groups: Groups,
    /// What is answered for here, as it was adopted last: [`Speaker::speak`] looks at what is true.
    mine: BTreeSet<IpAddr>,
    /// What is to be said, when, and how often it was.
    due: BTreeMap<(Timestamp, IpAddr), usize>,
    defended: BTreeMap<IpAddr, Timestamp>,
}

/// Speaks on one interface until the interface or the hub is gone.
pub(super) fn spawn(
    name: &str,
    link: &Link,
    held: watch::Receiver<Held>,
    events: mpsc::Sender<LinkEvent>,
) -> JoinHandle<()> {
    let (name, link) = (name.to_owned(), link.clone());
    tokio::spawn(async move {
        let [mut pause, longest] = RETRY;
        loop {
            let result = match Speaker::open(&name, &link, &held, &events) {
                Ok(speaker) => speaker.run().await,
                Err(error) => Err(error),
            };
            let Err(error) = result else { return };
            failed(Component::Link);
            let error = match error.kind() {
                io::ErrorKind::PermissionDenied => crate::io::kernel::MISSING_RAW.to_owned(),
                _ => error.to_string(),
            };
            tracing::error!(
                interface = name,
                "announcing on the segment failed, again in {pause:?}: {error}"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    })
}

impl Speaker {
    fn open(
        name: &str,
        link: &Link,
        held: &watch::Receiver<Held>,
        events: &mpsc::Sender<LinkEvent>,
    ) -> io::Result<Self> {
        Ok(Self {
            arp: PacketSocket::open(link.index, Kind::Arp)?,
            neighbour: PacketSocket::open(link.index, Kind::Neighbour)?,
            groups: Groups::default(),
            mine: BTreeSet::new(),
            due: BTreeMap::new(),
            defended: BTreeMap::new(),
            name: name.to_owned(),
            link: link.clone(),
            held: held.clone(),
            events: events.clone(),
        })
    }

    async fn run(mut self) -> io::Result<()> {
        let (mut arp, mut neighbour) = ([0; FRAME], [0; FRAME]);
        self.adopt();
        loop {
            let [.., longest] = PAUSES;
            let next = self.due.first_key_value();
            let wait = next.map_or(longest, |((at, _), _)| at.since(clock::boot_time()));
            tokio::select! {
                // What is held comes first: a frame is answered for what is true now.
                biased;
                changed = self.held.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.adopt();
                }
                length = self.arp.read(&mut arp) => self.hear(arp.get(..length?).unwrap_or_default())?,
                length = self.neighbour.read(&mut neighbour) => {
                    self.hear(neighbour.get(..length?).unwrap_or_default())?;
                }
                () = tokio::time::sleep(wait) => self.say_due()?,
            }
        }
    }

    /// Takes on what is held now; what is new here is said at once.
    fn adopt(&mut self) {
        let held = self.held.borrow_and_update().clone();
        let here = held.addresses.into_iter().filter(|(_, links)| links.contains(&self.name));
        let mine: BTreeSet<IpAddr> = here.map(|(address, _)| address).collect();
        if mine == self.mine {
            return;
        }
        let now = clock::boot_time();
        self.due.retain(|(_, address), _| mine.contains(address));
        self.due.extend(mine.difference(&self.mine).map(|address| ((now, *address), 0)));
        self.defended.retain(|address, _| mine.contains(address));
        for address in mine.difference(&self.mine) {
            tracing::info!(%address, interface = self.name, "announcing on the segment");
        }
        for address in self.mine.difference(&mine) {
            tracing::info!(%address, interface = self.name, "no longer announcing on the segment");
        }
        self.mine = mine;
        if let Err(error) = self.groups.set(self.link.index, self.mine.iter()) {
            failed(Component::Link);
            tracing::warn!(
                interface = self.name,
                "cannot join the groups in which IPv6 neighbours are asked for: {error}"
            );
        }
    }

    fn hear(&mut self, octets: &[u8]) -> io::Result<()> {
        match frame::read(octets) {
            Some(Heard::Question { address, asker, from }) if self.mine.contains(&address) => {
                match frame::answer(self.link.mac, address, asker, from) {
                    Some(reply) => self.speak(address, &reply).map(drop),
                    None => Ok(()),
                }
            }
            Some(Heard::Claim { address, by }) if by != self.link.mac && self.mine.contains(&address) => {
                self.defend(address, by)
            }
            _ => Ok(()),
        }
    }

    /// Somebody else has the address: says once that it is held here, and tells the hub.
    fn defend(&mut self, address: IpAddr, by: frame::Mac) -> io::Result<()> {
        let now = clock::boot_time();
        if self.defended.get(&address).is_some_and(|at| now.since(*at) < DEFEND) {
            return Ok(());
        }
        if !self.speak(address, &frame::unasked(self.link.mac, address))? {
            return Ok(());
        }
        self.defended.insert(address, now);
        let event = LinkEvent::Foreign { address, by, interface: self.name.clone() };
        // A full queue means that the hub is busy; the next conflict is told.
        let _ = self.events.try_send(event);
        Ok(())
    }

    fn say_due(&mut self) -> io::Result<()> {
        let now = clock::boot_time();
        let [.., longest] = PAUSES;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, address), said) = entry.remove_entry();
            self.speak(address, &frame::unasked(self.link.mac, address))?;
            let pause = PAUSES.get(said).copied().unwrap_or(longest);
            self.due.insert((now + pause, address), said + 1);
        }
        Ok(())
    }

    /// Sends a frame that says that an address is here, if this node holds it at this moment; says whether it does.
    ///
    /// What is held is borrowed until the frame has left: whoever takes an address away waits for that, and writes only
    /// then that others may have it, so that no word follows however long this task is kept from running.
    fn speak(&self, address: IpAddr, frame: &[u8]) -> io::Result<bool> {
        let held = self.held.borrow();
        let here = held.addresses.get(&address).is_some_and(|links| links.contains(&self.name));
        if !here || held.fence.is_some_and(|fence| clock::boot_time() >= fence) {
            return Ok(false);
        }
        match address {
            IpAddr::V4(_) => self.arp.send(frame)?,
            IpAddr::V6(_) => self.neighbour.send(frame)?,
        }
        Ok(true)
    }
}
