//! Who is at the other end of the interfaces that peers name: router advertisements on raw ICMPv6 sockets, one task an
//! interface.
//!
//! ```text
//! kernel's links ─► Links ─┐
//! hub: interfaces ─────────┴─► Seeker (one an interface that is up) ─► NeighborEvent ─► hub
//!                                 ▲ │
//!                    advertisements ▼ (speaker_core::discovery decides)
//! ```

mod seeker;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use speaker_core::l2::frame::Mac;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::egress::EgressLookup;
use super::links::Links;

/// What was found out about an interface; told again whenever it is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborEvent {
    /// The interface.
    pub interface: String,
    /// What is known.
    pub seen: Seen,
}

/// What is known of the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The router's link-local address.
    pub neighbor: Option<Ipv6Addr>,
    /// What is wrong, in words for an operator; there may be a neighbor all the same.
    pub problem: Option<String>,
}

impl Seen {
    fn problem(text: String) -> Self {
        Self { neighbor: None, problem: Some(text) }
    }
}

/// An interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    index: u32,
    mac: Option<Mac>,
    up: bool,
}

/// What the tasks share.
#[derive(Debug, Clone)]
struct Context {
    events: mpsc::Sender<NeighborEvent>,
    clock: Clock,
    egress: EgressLookup,
}

/// Looks for neighbors on the `wanted` interfaces until nobody listens to `events`. It advertises on these and on no
/// others.
pub fn spawn(
    wanted: watch::Receiver<BTreeSet<String>>,
    events: mpsc::Sender<NeighborEvent>,
    clock: Clock,
    egress: EgressLookup,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = run(wanted, Context { events, clock, egress }).await {
            tracing::error!("no neighbor is looked for on interfaces: {error}");
        }
    })
}

async fn run(mut wanted: watch::Receiver<BTreeSet<String>>, context: Context) -> std::io::Result<()> {
    let mut links: Option<Links<Port>> = None;
    let mut ports = BTreeMap::new();
    let mut seekers: BTreeMap<String, (Port, Running)> = BTreeMap::new();
    // Interfaces on which nobody can be looked for, with the reason.
    let mut idle: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let names = wanted.borrow_and_update().clone();
        if links.is_none() && !names.is_empty() {
            links = Some(Links::open(port)?);
        }
        if let Some(links) = links.as_mut().filter(|_| ports.is_empty()) {
            ports = links.next().await?;
        }
        seekers.retain(|name, (port, _)| names.contains(name) && ports.get(name) == Some(port));
        idle.retain(|name, _| names.contains(name));
        for name in names {
            let why = match ports.get(&name) {
                None => format!("there is no interface {name}"),
                Some(port) if !port.up => format!("{name} is down"),
                Some(port) => {
                    idle.remove(&name);
                    seekers.entry(name.clone()).or_insert_with(|| {
                        (port.clone(), Running(seeker::spawn(&name, port, context.clone())))
                    });
                    continue;
                }
            };
            if idle.get(&name) != Some(&why) {
                idle.insert(name.clone(), why.clone());
                let event = NeighborEvent { interface: name, seen: Seen::problem(why) };
                if context.events.send(event).await.is_err() {
                    return Ok(());
                }
            }
        }
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            found = next(&mut links) => ports = found?,
        }
    }
}

/// The next look at the links, where anybody wants one.
async fn next(links: &mut Option<Links<Port>>) -> std::io::Result<BTreeMap<String, Port>> {
    match links {
        Some(links) => links.next().await,
        None => std::future::pending().await,
    }
}

/// Every interface, whatever carries it, under its name of the moment.
fn port(message: &LinkMessage) -> Option<(String, Port)> {
    let flags = message.header.flags;
    let mut name = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(octets) => mac = octets.as_slice().try_into().ok().map(Mac),
            _ => {}
        }
    }
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let up = flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    Some((name?, Port { index: message.header.index, mac: mac.filter(|_| ethernet), up }))
}

/// A task that ends when it is dropped.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
