//! Who holds an address: one node, recorded by compare-and-swap in the unit's Lease; whether he lives, by one
//! Lease a node.
//!
//! Two nodes never answer for one address while their clocks run:
//!
//! * A holder answers only before its *fence*: the moment at which its last successful renewal was sent, plus
//!   the lease's duration, less a margin. A renewal whose confirmation arrives after the fence revives
//!   nothing: every holding must be claimed again.
//! * Others take a node for dead when its renewal has not changed for the duration since they *observed* it,
//!   and a fresh read of it, asked for after that, shows the same. Since the observed renewal was sent before
//!   it was observed, the fence has passed by then.
//! * A node that stops falls silent and then writes into its own Lease that it has released what it held, unless
//!   that Lease has been written since its last renewal. Whoever sees that displaces it at once from a unit's
//!   Lease that is older: no process of that node can have claimed it since without changing its version.
//! * A claim is a write against the version of the Lease that was last seen. Its addresses count as held when
//!   the claim has come back by the watch, and no other node's Lease listed them by then: of two Leases with
//!   one address, which a moment of change can bring about, both writers cannot miss the other.
//! * A holder that is no candidate any more stops answering first, and then releases.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::types::Timestamp;

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// A node whose renewal has not changed for so long is dead.
    pub duration: Duration,
    /// A holder stops answering so long before others may take over.
    pub margin: Duration,
    /// A candidate that is not the preferred one waits so long for each that goes before it.
    pub patience: Duration,
}

impl Params {
    /// For a lease of some duration.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        Self { duration, margin: duration / 5, patience: duration / 8 }
    }

    /// How often a node renews.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        self.duration / 3
    }
}

/// A unit's Lease as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSeen {
    /// `spec.holderIdentity`; absent where nobody holds it.
    pub holder: Option<String>,
    /// The addresses that its holder claims.
    pub addresses: BTreeSet<IpAddr>,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// A node's own Lease as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// `metadata.resourceVersion`: it changes with each renewal.
    pub stamp: String,
    /// The node has given up whatever it held.
    pub released: bool,
}

/// A unit: addresses, and the nodes that may hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The nodes.
    pub candidates: BTreeSet<String>,
    /// Those of the addresses that this node may not hold yet: it cannot serve them before its kube-proxy is done.
    pub waiting: BTreeSet<IpAddr>,
}

/// What is to be done at the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Write the Lease with this node as its holder: a create where `version` is absent, else a replace that
    /// must fail where the version has moved on.
    Claim {
        /// The Lease.
        lease: String,
        /// The version that was seen.
        version: Option<String>,
        /// The addresses to list.
        addresses: BTreeSet<IpAddr>,
    },
    /// Write the Lease without a holder.
    Release {
        /// The Lease.
        lease: String,
        /// The version that was seen.
        version: String,
    },
    /// Delete the Lease: nobody needs it.
    Delete {
        /// The Lease.
        lease: String,
        /// The version that was seen.
        version: String,
    },
    /// Read a node's own Lease afresh, not from a cache.
    Check {
        /// The node.
        node: String,
    },
}

/// Another node.
#[derive(Debug, Clone)]
struct Peer {
    /// Absent where it has no Lease of its own.
    seen: Option<NodeSeen>,
    /// When this renewal was first observed.
    since: Timestamp,
    /// A fresh read, asked for after the duration had passed, has shown the same renewal.
    confirmed_dead: bool,
    checking: bool,
}

/// A Lease that this node has written as its holder, since its last lapse.
#[derive(Debug, Clone, Default)]
struct Mine {
    /// The version of the last write.
    version: Option<String>,
    /// Addresses that nobody else listed when the write came back.
    won: BTreeSet<IpAddr>,
    /// Addresses that were listed and judged.
    judged: BTreeSet<IpAddr>,
}

/// The elections of all units, as one node takes part in them.
#[derive(Debug)]
pub struct Election {
    me: String,
    params: Params,
    available: bool,
    units: BTreeMap<String, Wanted>,
    /// The unit that wants an address.
    wanted_by: BTreeMap<IpAddr, String>,
    leases: BTreeMap<String, LeaseSeen>,
    listed_by: BTreeMap<IpAddr, BTreeSet<String>>,
    held_by: BTreeMap<String, BTreeSet<String>>,
    peers: BTreeMap<String, Peer>,
    mine: BTreeMap<String, Mine>,
    in_flight: BTreeSet<String>,
    /// Since when a unit without a holder is.
    vacant: BTreeMap<String, Timestamp>,
    fence: Option<Timestamp>,
    dirty: BTreeSet<String>,
    wake: BTreeMap<String, Timestamp>,
    /// The same by time.
    alarms: BTreeSet<(Timestamp, String)>,
}

impl Election {
    /// A node that holds nothing.
    #[must_use]
    pub fn new(me: impl Into<String>, params: Params) -> Self {
        Self {
            me: me.into(),
            params,
            available: true,
            units: BTreeMap::new(),
            wanted_by: BTreeMap::new(),
            leases: BTreeMap::new(),
            listed_by: BTreeMap::new(),
            held_by: BTreeMap::new(),
            peers: BTreeMap::new(),
            mine: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            vacant: BTreeMap::new(),
            fence: None,
            dirty: BTreeSet::new(),
            wake: BTreeMap::new(),
            alarms: BTreeSet::new(),
        }
    }

    /// A unit changed, came or went.
    pub fn set_unit(&mut self, lease: &str, wanted: Option<Wanted>) {
        let old = self.units.get(lease).map(|unit| unit.addresses.clone()).unwrap_or_default();
        for address in &old {
            if self.wanted_by.get(address).is_some_and(|unit| unit == lease) {
                self.wanted_by.remove(address);
            }
        }
        let new = wanted.as_ref().map(|unit| unit.addresses.clone()).unwrap_or_default();
        for address in &new {
            self.wanted_by.insert(*address, lease.to_owned());
        }
        for address in old.union(&new) {
            self.touch_address(*address);
        }
        match wanted {
            Some(wanted) => self.units.insert(lease.to_owned(), wanted),
            None => self.units.remove(lease),
        };
        self.dirty.insert(lease.to_owned());
    }

    /// Whether this node may hold anything: not while it is drained or stopping.
    pub fn set_available(&mut self, available: bool) {
        if self.available != available {
            self.available = available;
            self.dirty.extend(self.units.keys().chain(self.leases.keys()).cloned());
        }
    }

    /// A unit's Lease was seen to change, come or go.
    pub fn lease_seen(&mut self, lease: &str, seen: Option<LeaseSeen>) {
        self.store(lease, seen);
        self.judge(lease);
    }

    /// Leases as a list showed them, with those that were gone by then. What is in a list was there at once,
    /// so that it is judged as a whole.
    pub fn leases_listed(&mut self, all: Vec<(String, Option<LeaseSeen>)>) {
        let names: Vec<String> = all.iter().map(|(lease, _)| lease.clone()).collect();
        for (lease, seen) in all {
            self.store(&lease, seen);
        }
        for lease in names {
            self.judge(&lease);
        }
    }

    fn store(&mut self, lease: &str, seen: Option<LeaseSeen>) {
        if let Some(old) = self.leases.remove(lease) {
            for address in &old.addresses {
                if let Some(leases) = self.listed_by.get_mut(address) {
                    leases.remove(lease);
                    if leases.is_empty() {
                        self.listed_by.remove(address);
                    }
                }
                self.touch_address(*address);
            }
            if let Some(holder) = &old.holder
                && let Some(leases) = self.held_by.get_mut(holder)
            {
                leases.remove(lease);
                if leases.is_empty() {
                    self.held_by.remove(holder);
                }
            }
        }
        self.dirty.insert(lease.to_owned());
        // Whoever lists what this unit wants looks at who holds it.
        let wanted: Vec<IpAddr> =
            self.units.get(lease).into_iter().flat_map(|unit| unit.addresses.iter().copied()).collect();
        for address in wanted {
            self.touch_address(address);
        }
        if seen.as_ref().and_then(|seen| seen.holder.as_ref()) != Some(&self.me) {
            self.mine.remove(lease);
        }
        let Some(seen) = seen else { return };
        for address in &seen.addresses {
            self.listed_by.entry(*address).or_default().insert(lease.to_owned());
            self.touch_address(*address);
        }
        if let Some(holder) = &seen.holder {
            self.held_by.entry(holder.clone()).or_default().insert(lease.to_owned());
        }
        self.leases.insert(lease.to_owned(), seen);
    }

    /// Another node's own Lease was seen to change, come or go.
    pub fn node_seen(&mut self, node: &str, seen: Option<NodeSeen>, now: Timestamp) {
        if node == self.me || self.peers.get(node).is_some_and(|peer| peer.seen == seen) {
            return;
        }
        let held = self.held_by.get(node);
        if seen.is_none() && held.is_none() {
            self.peers.remove(node);
        } else {
            let peer = Peer { seen, since: now, confirmed_dead: false, checking: false };
            self.peers.insert(node.to_owned(), peer);
        }
        // What its Leases list is free or no longer free.
        let leases: Vec<String> = held.into_iter().flatten().cloned().collect();
        for lease in leases {
            self.touch_lease(lease);
        }
    }

    /// What a fresh read of a node's own Lease, asked for by [`Op::Check`], showed. `None` where it could not
    /// be read.
    pub fn node_checked(&mut self, node: &str, read: Option<Option<NodeSeen>>, now: Timestamp) {
        let Some(peer) = self.peers.get_mut(node).filter(|peer| peer.checking) else { return };
        peer.checking = false;
        match read {
            Some(seen) if seen == peer.seen => peer.confirmed_dead = true,
            Some(seen) => return self.node_seen(node, seen, now),
            None => peer.since = now,
        }
        let leases: Vec<String> = self.held_by.get(node).into_iter().flatten().cloned().collect();
        for lease in leases {
            self.touch_lease(lease);
        }
    }

    /// A renewal of this node's own Lease, sent at `sent`, was confirmed at `now`.
    pub fn renewed(&mut self, sent: Timestamp, now: Timestamp) {
        if self.fence.is_none_or(|fence| now >= fence) {
            // Others may have taken over in between.
            self.mine.clear();
            self.dirty.extend(self.units.keys().chain(self.leases.keys()).cloned());
        }
        let fence = sent + self.params.duration.saturating_sub(self.params.margin);
        self.fence = Some(self.fence.map_or(fence, |old| old.max(fence)));
    }

    /// What became of a claim, a release or a deletion: the new version, or nothing.
    pub fn written(&mut self, lease: &str, version: Option<String>) {
        self.in_flight.remove(lease);
        self.dirty.insert(lease.to_owned());
        let Some(version) = version else { return };
        if let Some(mine) = self.mine.get_mut(lease) {
            mine.version = Some(version);
            self.judge(lease);
        }
    }

    /// The addresses that this node may answer for until [`Election::fence`].
    #[must_use]
    pub fn held(&self) -> BTreeSet<IpAddr> {
        let won = self.mine.values().flat_map(|mine| &mine.won);
        won.copied().filter(|address| self.may_hold(*address)).collect()
    }

    /// When this node must fall silent unless it renews.
    #[must_use]
    pub const fn fence(&self) -> Option<Timestamp> {
        self.fence
    }

    /// Who holds a unit, as far as this node has seen.
    #[must_use]
    pub fn holder(&self, lease: &str) -> Option<&str> {
        self.leases.get(lease)?.holder.as_deref()
    }

    /// When [`Election::step`] has something to do by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Timestamp) -> Vec<Op> {
        let mut work = std::mem::take(&mut self.dirty);
        while let Some((_, lease)) = self.alarms.first().filter(|(at, _)| *at <= now).cloned() {
            self.forget_alarm(&lease);
            work.insert(lease);
        }
        let mut ops = Vec::new();
        // Without a renewal of its own a node would be taken for dead.
        let alive = self.fence.is_some_and(|fence| now < fence);
        for lease in work {
            self.forget_alarm(&lease);
            if !self.in_flight.contains(&lease) && alive {
                self.decide(&lease, now, &mut ops);
            }
        }
        ops
    }

    fn touch_address(&mut self, address: IpAddr) {
        self.dirty.extend(self.wanted_by.get(&address).cloned());
        self.dirty.extend(self.listed_by.get(&address).into_iter().flatten().cloned());
    }

    fn touch_lease(&mut self, lease: String) {
        let addresses: Vec<IpAddr> =
            self.leases.get(&lease).into_iter().flat_map(|seen| seen.addresses.iter().copied()).collect();
        for address in addresses {
            self.touch_address(address);
        }
        self.dirty.insert(lease);
    }

    fn alarm(&mut self, lease: &str, at: Timestamp) {
        self.forget_alarm(lease);
        self.wake.insert(lease.to_owned(), at);
        self.alarms.insert((at, lease.to_owned()));
    }

    fn forget_alarm(&mut self, lease: &str) {
        if let Some(at) = self.wake.remove(lease) {
            self.alarms.remove(&(at, lease.to_owned()));
        }
    }

    fn may_hold(&self, address: IpAddr) -> bool {
        let unit = self.wanted_by.get(&address).and_then(|lease| self.units.get(lease));
        let serves = |unit: &Wanted| unit.candidates.contains(&self.me) && !unit.waiting.contains(&address);
        self.available && unit.is_some_and(serves)
    }

    /// A write of this node has come back by the watch: judges what it lists.
    fn judge(&mut self, lease: &str) {
        let (Some(seen), Some(mine)) = (self.leases.get(lease), self.mine.get(lease)) else { return };
        let Some(version) = &mine.version else { return };
        if seen.holder.as_ref() != Some(&self.me) || !reached(&seen.version, version) {
            return;
        }
        let fresh: Vec<IpAddr> = seen.addresses.difference(&mine.judged).copied().collect();
        let free: Vec<IpAddr> = fresh.iter().copied().filter(|address| self.free(*address, lease)).collect();
        let listed = seen.addresses.clone();
        for address in &fresh {
            self.touch_address(*address);
        }
        if let Some(mine) = self.mine.get_mut(lease) {
            mine.judged.extend(fresh);
            mine.won.extend(free);
            mine.judged.retain(|address| listed.contains(address));
            mine.won.retain(|address| listed.contains(address));
        }
    }

    /// Whether no other node's Lease lists an address.
    fn free(&self, address: IpAddr, lease: &str) -> bool {
        let others = self.listed_by.get(&address).into_iter().flatten().filter(|other| *other != lease);
        others.filter_map(|other| self.leases.get(other)?.holder.as_ref()).all(|holder| {
            *holder == self.me || self.peers.get(holder).is_some_and(|peer| peer.confirmed_dead)
        })
    }
}

mod decide;

/// Whether one version is older than another: not where one of them is no number.
fn older(one: &str, other: &str) -> bool {
    matches!((one.parse::<u128>(), other.parse::<u128>()), (Ok(one), Ok(other)) if one < other)
}

/// Whether a version that was seen is as new as one that was written. The API server's versions count up
/// (KEP-5504); where one is no number only the same one will do.
fn reached(seen: &str, written: &str) -> bool {
    match (seen.parse::<u128>(), written.parse::<u128>()) {
        (Ok(seen), Ok(written)) => seen >= written,
        _ => seen == written,
    }
}

#[cfg(test)]
mod tests;
