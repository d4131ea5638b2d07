//! What to do about one unit.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp_proto::types::Timestamp;

use super::{Election, Op, Peer, older};
use crate::fnv::{fnv1a_64, joined};

/// What is known of a Lease's holder.
enum Holder {
    /// Nobody holds it.
    Nobody,
    /// He lives, as far as this node knows.
    Alive,
    /// He may be dead: at that time it is worth a look.
    Until(Timestamp),
    /// His renewal is old: a fresh read must say so too.
    Suspect,
    /// He is dead.
    Dead,
}

impl Election {
    pub(super) fn decide(&mut self, lease: &str, now: Timestamp, ops: &mut Vec<Op>) {
        let seen = self.leases.get(lease);
        let holder = seen.and_then(|seen| Some((seen.holder.clone()?, seen.version.clone())));
        if holder.as_ref().is_some_and(|(holder, _)| *holder == self.me) {
            self.vacant.remove(lease);
            return self.tend(lease, ops);
        }
        let state = match &holder {
            None => Holder::Nobody,
            Some((holder, version)) => self.state(holder, version, now),
        };
        match state {
            Holder::Alive => {
                self.vacant.remove(lease);
            }
            Holder::Until(at) => {
                self.vacant.remove(lease);
                self.alarm(lease, at);
            }
            Holder::Suspect => {
                if let Some((node, _)) = holder {
                    if let Some(peer) = self.peers.get_mut(&node) {
                        peer.checking = true;
                    }
                    ops.push(Op::Check { node });
                }
            }
            Holder::Nobody | Holder::Dead => self.stand(lease, now, ops),
        }
    }

    /// This node is written down as the holder.
    fn tend(&mut self, lease: &str, ops: &mut Vec<Op>) {
        let Some(seen) = self.leases.get(lease) else { return };
        let version = seen.version.clone();
        let listed = seen.addresses.clone();
        let unit = self.units.get(lease);
        let serves = self.available && unit.is_some_and(|unit| unit.candidates.contains(&self.me));
        if !serves {
            // Addresses that move to a unit which this node may hold as well are claimed there first, so that
            // they are never without a holder.
            if listed.iter().any(|address| self.moving(*address, lease)) {
                return;
            }
            self.mine.remove(lease);
            self.in_flight.insert(lease.to_owned());
            let lease = lease.to_owned();
            let unwanted = !self.units.contains_key(&lease);
            ops.push(if unwanted { Op::Delete { lease, version } } else { Op::Release { lease, version } });
            return;
        }
        let claimable = self.claimable(lease);
        // What waits for kube-proxy stays written down, as after a restart: others would take it over and this node
        // could serve it in a moment.
        let waits = |address: &IpAddr| unit.is_some_and(|unit| unit.waiting.contains(address));
        let kept: BTreeSet<IpAddr> = listed
            .iter()
            .copied()
            .filter(|address| waits(address) && self.free(*address, lease) || self.moving(*address, lease))
            .collect();
        let wanted: BTreeSet<IpAddr> = claimable.union(&kept).copied().collect();
        // A write of which nobody knows whether it arrived is made again, and so is one that came back while
        // another's Lease listed one of its addresses.
        let stands = self
            .mine
            .get(lease)
            .is_some_and(|mine| mine.version.is_some() && mine.judged.difference(&mine.won).next().is_none());
        if stands && wanted == listed {
            return;
        }
        self.claim(lease, Some(version), wanted, ops);
    }

    /// An address that this node holds by one Lease and another unit wants, which it may hold but does not
    /// hold yet.
    fn moving(&self, address: IpAddr, lease: &str) -> bool {
        let Some(unit) = self.wanted_by.get(&address).filter(|unit| *unit != lease) else { return false };
        let won = self.mine.get(lease).is_some_and(|mine| mine.won.contains(&address));
        let there = self.mine.get(unit).is_some_and(|mine| mine.won.contains(&address));
        won && !there && self.may_hold(address) && !self.elsewhere(unit)
    }

    /// Whether another node is written down as a unit's holder.
    fn elsewhere(&self, lease: &str) -> bool {
        let holder = self.leases.get(lease).and_then(|seen| seen.holder.as_ref());
        holder.is_some_and(|holder| *holder != self.me)
    }

    /// Nobody who lives holds the Lease.
    fn stand(&mut self, lease: &str, now: Timestamp, ops: &mut Vec<Op>) {
        let since = *self.vacant.entry(lease.to_owned()).or_insert(now);
        let version = self.leases.get(lease).map(|seen| seen.version.clone());
        let Some(unit) = self.units.get(lease) else {
            // A Lease that nobody needs: the first of all who live sweeps it up.
            let Some(version) = version else {
                self.vacant.remove(lease);
                return;
            };
            let rank = self.rank(lease, self.peers.keys(), now);
            if self.due(lease, since, rank, now) {
                self.in_flight.insert(lease.to_owned());
                ops.push(Op::Delete { lease: lease.to_owned(), version });
            }
            return;
        };
        let candidate = self.available && unit.candidates.contains(&self.me);
        let addresses = self.claimable(lease);
        if !candidate || addresses.is_empty() {
            return;
        }
        let mine = addresses.iter().any(|address| self.mine.values().any(|mine| mine.won.contains(address)));
        let rank = if mine { 0 } else { self.rank(lease, unit.candidates.iter(), now) };
        if self.due(lease, since, rank, now) {
            self.claim(lease, version, addresses, ops);
        }
    }

    /// Whether those who go before this node have had their time; else it will look again then.
    fn due(&mut self, lease: &str, since: Timestamp, rank: u32, now: Timestamp) -> bool {
        let at = since + self.params.patience.saturating_mul(rank);
        if now < at {
            self.alarm(lease, at);
        }
        now >= at
    }

    fn claim(
        &mut self,
        lease: &str,
        version: Option<String>,
        addresses: BTreeSet<IpAddr>,
        ops: &mut Vec<Op>,
    ) {
        // What was won stays won while the Lease is rewritten; the write must come back for what is new. What
        // is given up is not answered for any more before others can read that it is.
        let mine = self.mine.entry(lease.to_owned()).or_default();
        mine.version = None;
        mine.won.retain(|address| addresses.contains(address));
        mine.judged.clone_from(&mine.won);
        self.in_flight.insert(lease.to_owned());
        ops.push(Op::Claim { lease: lease.to_owned(), version, addresses });
    }

    /// The addresses of a unit that this node can serve and no other node's Lease lists.
    fn claimable(&self, lease: &str) -> BTreeSet<IpAddr> {
        let addresses =
            self.units.get(lease).into_iter().flat_map(|unit| unit.addresses.difference(&unit.waiting));
        addresses.copied().filter(|address| self.free(*address, lease)).collect()
    }

    /// What is known of the holder of a Lease with this version.
    fn state(&mut self, node: &str, version: &str, now: Timestamp) -> Holder {
        // Whoever has no Lease of his own does not renew; he may have been swept up.
        let peer = self.peers.entry(node.to_owned()).or_insert(Peer {
            seen: None,
            since: now,
            confirmed_dead: false,
            checking: false,
        });
        let at = peer.since + self.params.duration;
        let released = peer.seen.as_ref().filter(|seen| seen.released);
        match () {
            () if peer.confirmed_dead => Holder::Dead,
            // He claimed it before he gave up. Had he begun anew and claimed it again, its version would be another
            // one, and a write against this one is refused.
            () if released.is_some_and(|seen| older(version, &seen.stamp)) => Holder::Dead,
            () if peer.checking => Holder::Alive,
            // A claim that arrived after that: he is believed as soon as a fresh read says so too.
            () if released.is_some() || now >= at => Holder::Suspect,
            () => Holder::Until(at),
        }
    }

    /// How many living nodes go before this one for a unit, by rendezvous hashing.
    fn rank<'a>(&self, lease: &str, nodes: impl Iterator<Item = &'a String>, now: Timestamp) -> u32 {
        let own = weight(&self.me, lease);
        let lives = |node: &String| {
            self.peers.get(node).is_some_and(|peer| {
                let renews = peer.seen.as_ref().is_some_and(|seen| !seen.released);
                renews && now < peer.since + self.params.duration
            })
        };
        let before = nodes.filter(|node| **node != self.me && weight(node, lease) > own && lives(node));
        u32::try_from(before.count()).unwrap_or(u32::MAX)
    }
}

/// The weight of a node for a unit: FNV-1a of both, with a finaliser so that names that differ in their last
/// letter are spread evenly.
fn weight(node: &str, lease: &str) -> (u64, String) {
    let hash = fnv1a_64(joined(node, lease));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31), node.to_owned())
}
