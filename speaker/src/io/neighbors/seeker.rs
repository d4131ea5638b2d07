//! One interface: moves packets between its socket and its [`Discovery`].

use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_core::discovery::{Discovery, Say, Sight, packet};
use tokio::task::JoinHandle;

use super::socket::Door;
use super::{Context, NeighborEvent, Port, Seen};
use crate::io::tcp::words;
use crate::metrics::errors::{Component, failed};

/// How often an interface without an address is looked at: duplicate address detection takes a second or two.
const LOOK: Duration = Duration::from_secs(1);

/// What may be missing for so long before it is told: links come up one after the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an interface that failed is left alone, at first and at most.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

struct Seeker {
    name: String,
    port: Port,
    context: Context,
    discovery: Discovery,
    own: bool,
    looked: Option<Timestamp>,
    /// Since when an address or a neighbor has been missing.
    missing: Option<Timestamp>,
    told: Option<Seen>,
}

/// Looks on one interface until the hub is gone, or the task is dropped.
pub(super) fn spawn(name: &str, port: &Port, context: Context) -> JoinHandle<()> {
    let seed = std::hash::RandomState::new().build_hasher().finish();
    let mut seeker = Seeker {
        name: name.to_owned(),
        port: port.clone(),
        context,
        discovery: Discovery::new(seed),
        own: false,
        looked: None,
        missing: None,
        told: None,
    };
    tokio::spawn(async move {
        let [mut pause, longest] = RETRY;
        loop {
            let Err(error) = seeker.run().await else { return };
            failed(Component::Link);
            let why = seeker.cannot(&error);
            if seeker.told.as_ref().and_then(|told| told.problem.as_ref()) != Some(&why) {
                tracing::error!(interface = seeker.name, "{why}");
            }
            let neighbor = seeker.discovery.sight().neighbor;
            if seeker.tell(Seen { neighbor, problem: Some(why) }).await.is_none() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    })
}

impl Seeker {
    /// Until the hub is gone.
    async fn run(&mut self) -> io::Result<()> {
        let door = Door::open(&self.name, self.port.index)?;
        loop {
            self.look().await;
            let now = self.context.clock.now();
            for say in self.discovery.expire(now) {
                match say {
                    Say::Advertisement => {
                        door.send(packet::ALL_NODES, &packet::advertisement(self.port.mac))?;
                    }
                    Say::Solicitation => {
                        door.send(packet::ALL_ROUTERS, &packet::solicitation(self.port.mac))?;
                    }
                }
            }
            let seen = self.seen();
            if self.tell(seen).await.is_none() {
                return Ok(());
            }
            let again = (!self.own).then(|| now + LOOK);
            let wait = self.discovery.deadline().into_iter().chain(again).min();
            tokio::select! {
                came = door.receive() => {
                    let came = came?;
                    let now = self.context.clock.now();
                    self.discovery.hear(now, came.source, came.hop_limit, &came.message);
                }
                () = until(wait.map(|at| self.context.clock.instant(at))) => {}
            }
        }
    }

    /// Our own address, which may come late, change, or go. Who floods us with packets does not make us ask more often.
    async fn look(&mut self) {
        let now = self.context.clock.now();
        if self.looked.is_some_and(|last| now.since(last) < LOOK) {
            return;
        }
        self.looked = Some(now);
        // An interface that has gone is told of by the links.
        let Ok(addresses) = self.context.egress.interface(&self.name).await else { return };
        self.own = addresses.link_local.is_some();
        self.discovery.set_own(now, addresses.link_local);
    }

    fn seen(&mut self) -> Seen {
        let now = self.context.clock.now();
        let Sight { neighbor, others } = self.discovery.sight();
        if self.own && neighbor.is_some() {
            self.missing = None;
        } else if now.since(*self.missing.get_or_insert(now)) < PATIENCE {
            return Seen { neighbor, problem: None };
        }
        let name = &self.name;
        let problem = match neighbor {
            _ if !self.own => Some(format!(
                "{name} has no link-local IPv6 address; see net.ipv6.conf.{name}.disable_ipv6 and addr_gen_mode"
            )),
            None => Some(format!(
                "no router advertisement has come in on {name}; the router must send them, and name its end an interface peer"
            )),
            Some(neighbor) => others.first().map(|other| {
                format!(
                    "{name} has more than one router, {neighbor} and {other}: the session is with {neighbor}; give the peer an address, such as {neighbor}%{name}, or a link of its own"
                )
            }),
        };
        Seen { neighbor, problem }
    }

    fn cannot(&self, error: &io::Error) -> String {
        let name = &self.name;
        if error.kind() == io::ErrorKind::PermissionDenied {
            return format!(
                "no neighbor can be looked for on {name}: this process may not open raw sockets; give it CAP_NET_RAW"
            );
        }
        format!("no neighbor can be looked for on {name}: {}", words(error))
    }

    /// Tells what is known where that is news; `None` where the hub is gone.
    async fn tell(&mut self, seen: Seen) -> Option<()> {
        if self.told.as_ref() != Some(&seen) {
            self.told = Some(seen.clone());
            let event = NeighborEvent { interface: self.name.clone(), seen };
            self.context.events.send(event).await.ok()?;
        }
        Some(())
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
