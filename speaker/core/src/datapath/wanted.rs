//! What the kernel is to carry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use speaker_config::model::LoopGuard;

/// What becomes of a packet that meets the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardKind {
    /// It is dropped without a word.
    Blackhole,
    /// It is dropped, and the sender is told (ICMP destination unreachable).
    Unreachable,
}

impl GuardKind {
    /// From `datapath.loops`.
    #[must_use]
    pub const fn of(loops: LoopGuard) -> Option<Self> {
        match loops {
            LoopGuard::Blackhole => Some(Self::Blackhole),
            LoopGuard::Unreachable => Some(Self::Unreachable),
            LoopGuard::None => None,
        }
    }

    /// As the `ip` command calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The guard of one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Its type.
    pub kind: GuardKind,
    /// Only an advertisement's `prefixes` ask for it. Such a prefix may be one that this host routes on: it is
    /// not guarded where the host has a route inside it. A pool's addresses are nobody else's.
    pub fixed: bool,
}

/// What came to be wanted, and what no longer is: among ten thousand addresses one must not ask for the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The [`Wanted::serial`] that it leads to.
    pub serial: u64,
    /// As [`Wanted::complete`].
    pub complete: bool,
    /// Guards that are wanted from now on, or otherwise than before; `None` where one no longer is.
    pub guards: BTreeMap<Prefix, Option<Guard>>,
    /// Addresses, and whether they are to be delivered from now on.
    pub locals: BTreeMap<IpAddr, bool>,
}

impl Change {
    /// Nothing is wanted anew, and nothing no longer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.locals.is_empty()
    }

    /// Makes one of this and of what came after it.
    pub fn merge(&mut self, later: Self) {
        let Self { serial, complete, mut guards, mut locals } = later;
        (self.serial, self.complete) = (serial, complete);
        self.guards.append(&mut guards);
        self.locals.append(&mut locals);
    }
}

/// What the kernel is to carry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Grows with each change of the two below; a report names the one that it answers.
    pub serial: u64,
    /// Everything is known, and what is ours but not wanted may go (design §5, "Silence before knowledge").
    pub complete: bool,
    /// Prefixes to be guarded.
    pub guards: BTreeMap<Prefix, Guard>,
    /// Addresses to be delivered on this host.
    pub locals: BTreeSet<IpAddr>,
}

impl Wanted {
    /// Takes a change.
    pub fn follow(&mut self, change: &Change) {
        (self.serial, self.complete) = (change.serial, change.complete);
        for (prefix, guard) in &change.guards {
            match guard {
                Some(guard) => self.guards.insert(*prefix, *guard),
                None => self.guards.remove(prefix),
            };
        }
        for (addr, wanted) in &change.locals {
            if *wanted {
                self.locals.insert(*addr);
            } else {
                self.locals.remove(addr);
            }
        }
    }

    /// What leads from here to other guards and addresses, with the next serial.
    #[must_use]
    pub fn change_to(&self, guards: &BTreeMap<Prefix, Guard>, locals: &BTreeSet<IpAddr>) -> Change {
        let gone = self.guards.keys().filter(|one| !guards.contains_key(one)).map(|one| (*one, None));
        let new = guards.iter().filter(|(one, guard)| self.guards.get(one) != Some(guard));
        let new = new.map(|(one, guard)| (*one, Some(*guard)));
        let undelivered = self.locals.difference(locals).map(|one| (*one, false));
        let delivered = locals.difference(&self.locals).map(|one| (*one, true));
        Change {
            serial: self.serial + 1,
            complete: self.complete,
            guards: gone.chain(new).collect(),
            locals: undelivered.chain(delivered).collect(),
        }
    }

    /// What tells it from others of the same origin.
    #[must_use]
    pub const fn version(&self) -> (u64, bool) {
        (self.serial, self.complete)
    }

    /// Nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.locals.is_empty()
    }

    /// The guards that a prefix lies under, its own among them; the longest first.
    pub fn guards_over(&self, prefix: Prefix) -> impl Iterator<Item = (Prefix, Guard)> {
        let lengths = (0..=prefix.len()).rev();
        lengths.filter_map(move |len| {
            let over = Prefix::new(prefix.addr(), len).ok()?;
            Some((over, *self.guards.get(&over)?))
        })
    }

    /// Whether there is a guard of the family.
    #[must_use]
    pub fn guards_family(&self, family: Family) -> bool {
        self.guards.keys().any(|prefix| prefix.family() == family)
    }
}
