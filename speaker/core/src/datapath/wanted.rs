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
