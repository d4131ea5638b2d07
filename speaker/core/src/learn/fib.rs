//! What of the learned routes stands in the kernel, and what is to be done about it (ADR 0010).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bgp_proto::types::Prefix;

use super::destination::pooled;
use super::route::{Hop, Hops};
use super::table::Learned;
use crate::prefixes::{PrefixMap, PrefixSet};

/// The metric of learned routes in the main table. Below 100, from which on the default routes of DHCP clients and
/// router advertisements lie, so that what is asked for here is in force; above 0, that of static routes without a
/// metric; and neither 20 (FRR) nor 32 (BIRD), so that two daemons on one host do not fight over one place.
pub const METRIC: u32 = 79;

/// A route of our protocol in the main table, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The destination.
    pub prefix: Prefix,
    /// Its metric.
    pub metric: u32,
    /// Its next hops; empty where it is no route to a router.
    pub hops: Vec<Hop>,
}

/// One thing to be done. None concerns a route of another protocol, or of another table than main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FibOp {
    /// A route that is not there; to be refused where somebody else has one with our metric.
    Add(Prefix, Hops),
    /// A route of ours has other next hops from now on; in one step.
    Replace(Prefix, Hops),
    /// A route of ours is to go.
    Delete(Prefix, u32),
}

impl FibOp {
    /// The destination.
    #[must_use]
    pub const fn prefix(&self) -> Prefix {
        match self {
            Self::Add(prefix, _) | Self::Replace(prefix, _) | Self::Delete(prefix, _) => *prefix,
        }
    }
}

/// As the `ip` command would have it, but for the interfaces, which have their numbers.
impl fmt::Display for FibOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, prefix, hops) = match self {
            Self::Add(prefix, hops) => ("add", prefix, hops),
            Self::Replace(prefix, hops) => ("replace", prefix, hops),
            Self::Delete(prefix, metric) => return write!(f, "route delete {prefix} metric {metric}"),
        };
        write!(f, "route {verb} {prefix} metric {METRIC}")?;
        hops.iter().try_for_each(|hop| write!(f, " via {} dev {}", hop.gateway, hop.interface))
    }
}

/// What the kernel told of all routes of ours, route by route.
#[derive(Debug, Default)]
pub struct Reading {
    present: PrefixMap<Hops>,
    pool: BTreeSet<Hops>,
    strays: BTreeSet<(Prefix, u32)>,
}

impl Reading {
    /// The next one.
    pub fn push(&mut self, found: Found) {
        let Found { prefix, metric, mut hops } = found;
        if metric != METRIC || hops.is_empty() {
            self.strays.insert((prefix, metric));
            return;
        }
        hops.sort_unstable();
        hops.dedup();
        self.present.insert(prefix, pooled(&hops, &mut self.pool));
    }
}

impl FromIterator<Found> for Reading {
    fn from_iter<T: IntoIterator<Item = Found>>(all: T) -> Self {
        let mut reading = Self::default();
        all.into_iter().for_each(|one| reading.push(one));
        reading
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Present {
    hops: Hops,
    /// Of the process before this one, and not wanted yet.
    left_over: bool,
}

/// The learned routes in the kernel.
#[derive(Debug, Default)]
pub struct Fib {
    present: PrefixMap<Present>,
    /// Of our protocol, and none that this version makes.
    strays: BTreeSet<(Prefix, u32)>,
    dirty: PrefixSet,
    failed: BTreeMap<Prefix, String>,
    /// The kernel was read.
    known: bool,
    /// What a process before this one left may go.
    released: bool,
}

impl Fib {
    /// The kernel was read: these are all routes of ours in the main table. What the first reading finds was left by a
    /// process before this one, and stays until [`Self::release`].
    pub fn read(&mut self, reading: Reading, learned: &Learned) {
        let before = std::mem::take(&mut self.present);
        let first = !std::mem::replace(&mut self.known, true);
        self.failed.clear();
        self.strays = reading.strays;
        for (prefix, hops) in reading.present {
            let left_over = first || before.get(prefix).is_some_and(|old| old.left_over);
            self.present.insert(prefix, Present { hops, left_over });
        }
        let unlike = learned.selected().filter(|(prefix, hops)| {
            self.present.get(*prefix).is_none_or(|present| present.hops != **hops || present.left_over)
        });
        self.dirty = unlike.map(|(prefix, _)| (prefix, ())).collect();
        let unwanted = self.present.keys().filter(|prefix| learned.hops(*prefix).is_none());
        self.dirty.extend(unwanted.map(|prefix| (prefix, ())));
    }

    /// The kernel was read at least once.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Peers have told what they have, or had their time: what the process before this one left and nobody wants goes.
    pub fn release(&mut self) {
        if !std::mem::replace(&mut self.released, true) {
            let left_over = self.present.iter().filter(|(_, one)| one.left_over);
            self.dirty.extend(left_over.map(|(prefix, _)| (prefix, ())));
        }
    }

    /// Whether [`Self::release`] was called.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.released
    }

    /// Other next hops are wanted.
    pub fn changed(&mut self, prefixes: PrefixSet) {
        if self.dirty.is_empty() {
            self.dirty = prefixes;
        } else {
            self.dirty.extend(prefixes);
        }
    }

    /// What is to be done next, at most so much.
    pub fn next(&mut self, learned: &Learned, most: usize) -> Vec<FibOp> {
        let mut ops = Vec::new();
        if !self.known {
            return ops;
        }
        while ops.len() < most
            && let Some((prefix, ())) = self.dirty.pop_first()
        {
            self.failed.remove(&prefix);
            let wanted = learned.hops(prefix);
            match (wanted, self.present.get_mut(prefix)) {
                (Some(hops), None) => ops.push(FibOp::Add(prefix, Hops::clone(hops))),
                (Some(hops), Some(present)) if present.hops == *hops => present.left_over = false,
                // "the Restarting Speaker MUST defer route selection for an address family until it either (a) receives the
                // End-of-RIB marker from all its peers …" (RFC 4724 §4.1): the first router to come back is not all of them.
                (Some(_), Some(present)) if present.left_over && !self.released => {}
                (Some(hops), Some(present)) => {
                    present.left_over = false;
                    ops.push(FibOp::Replace(prefix, Hops::clone(hops)));
                }
                (None, Some(present)) if !present.left_over || self.released => {
                    ops.push(FibOp::Delete(prefix, METRIC));
                }
                (None, _) => {}
            }
        }
        if self.released {
            while ops.len() < most
                && let Some((prefix, metric)) = self.strays.pop_first()
            {
                ops.push(FibOp::Delete(prefix, metric));
            }
        }
        ops
    }

    /// What became of an operation.
    pub fn done(&mut self, op: FibOp, result: Result<(), String>) {
        match (op, result) {
            (FibOp::Add(prefix, hops) | FibOp::Replace(prefix, hops), Ok(())) => {
                self.present.insert(prefix, Present { hops, left_over: false });
            }
            (FibOp::Delete(prefix, METRIC), Ok(())) => {
                self.present.remove(prefix);
            }
            (FibOp::Delete(..), Ok(())) => {}
            (op, Err(why)) => {
                self.failed.insert(op.prefix(), why);
            }
        }
    }

    /// Tries again what was refused.
    pub fn retry(&mut self) {
        self.dirty.extend(std::mem::take(&mut self.failed).into_keys().map(|prefix| (prefix, ())));
    }

    /// Nothing is left to be done.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.dirty.is_empty() && (self.strays.is_empty() || !self.released)
    }

    /// Something was refused.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// How many routes are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.present.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Whether the kernel tells of a route what is known: an echo of our own doing.
    #[must_use]
    pub fn expects(&self, prefix: Prefix, hops: &[Hop]) -> bool {
        self.present.get(prefix).is_some_and(|present| *present.hops == *hops)
    }

    /// Whether a route is known to be there.
    #[must_use]
    pub fn has(&self, prefix: Prefix) -> bool {
        self.present.contains(prefix)
    }

    /// What was refused, in words; of many the first.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        const SHOWN: usize = 5;
        let mut all: Vec<String> = self
            .failed
            .iter()
            .take(SHOWN)
            .map(|(prefix, why)| format!("the learned route to {prefix} cannot be set: {why}"))
            .collect();
        if self.failed.len() > SHOWN {
            all.push(format!("and {} more learned routes", self.failed.len() - SHOWN));
        }
        all
    }
}
