//! What is changed, and what the peers are to have after it.

use std::collections::{BTreeMap, BTreeSet};

/// The most Services at a time.
const SERVICES: u8 = 60;

/// A generator of its own, so that a seed means the same for ever (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A Service came, changed or went: its number.
    Service(u8),
    /// speaker.yaml is another one.
    Reload,
    /// A router is killed (or told to end) and started again.
    Restart { router: usize, kill: bool },
    /// A router stands still for so many milliseconds.
    Pause { router: usize, millis: u64 },
    /// `clear all`.
    Clear,
    /// `clear all soft`.
    Soft,
    /// A manifest that cannot be read comes, or goes.
    Broken(bool),
}

/// A Service as it should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// It has a ready endpoint.
    pub(crate) ready: bool,
}

/// The state that everything should be in.
pub(crate) struct Churn {
    random: Random,
    /// By number, which is also the last octet of the address.
    pub(crate) services: BTreeMap<u8, Wanted>,
    /// The MED of Service routes.
    pub(crate) med: u32,
    /// The value of their community.
    pub(crate) community: u16,
    /// Hold time in seconds.
    pub(crate) hold: u16,
    broken: bool,
    made: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Churn {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random,
            services: BTreeMap::new(),
            med: 50,
            community: 200,
            hold: 9,
            broken: false,
            made: 0,
            counts: BTreeMap::new(),
        }
    }

    /// The next change, already taken into account.
    pub(crate) fn next(&mut self) -> Change {
        self.made += 1;
        let (name, change) = match self.random.below(400) {
            0..=2 => {
                let router = usize::try_from(self.random.below(2)).unwrap_or_default();
                ("router restarts", Change::Restart { router, kill: self.random.below(2) == 0 })
            }
            3..=6 => {
                let router = usize::try_from(self.random.below(2)).unwrap_or_default();
                ("router pauses", Change::Pause { router, millis: 200 + self.random.below(3000) })
            }
            7..=9 => ("clears", Change::Clear),
            10..=15 => ("soft clears", Change::Soft),
            16..=39 => ("reloads", self.reload()),
            40..=49 => {
                self.broken = !self.broken;
                ("broken manifests", Change::Broken(self.broken))
            }
            _ => ("changes of Services", self.service()),
        };
        *self.counts.entry(name).or_default() += 1;
        change
    }

    fn reload(&mut self) -> Change {
        match self.random.below(3) {
            0 => self.med = 1 + u32::try_from(self.random.below(1000)).unwrap_or_default(),
            1 => self.community = 1 + u16::try_from(self.random.below(1000)).unwrap_or_default(),
            // Timers leave the session up.
            _ => self.hold = 9 + u16::try_from(self.random.below(20)).unwrap_or_default(),
        }
        Change::Reload
    }

    fn service(&mut self) -> Change {
        let number = 1 + u8::try_from(self.random.below(u64::from(SERVICES))).unwrap_or_default();
        match self.services.get_mut(&number) {
            Some(_) if self.random.below(3) == 0 => drop(self.services.remove(&number)),
            Some(service) => service.ready = !service.ready,
            None => drop(self.services.insert(number, Wanted { ready: self.random.below(4) > 0 })),
        }
        Change::Service(number)
    }

    /// Nothing is broken, and as much is there as at most.
    pub(crate) fn rest(&mut self) {
        self.broken = false;
        self.services = (1..=SERVICES).map(|number| (number, Wanted { ready: true })).collect();
    }

    /// A manifest that cannot be read is there.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The prefixes that every peer is to have: of one family.
    pub(crate) fn prefixes(&self, v6: bool) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        if !self.services.is_empty() {
            all.insert(if v6 { "2001:db8:1::/112" } else { "203.0.113.0/24" }.to_owned());
        }
        for (number, service) in &self.services {
            if service.ready {
                all.insert(if v6 {
                    format!("2001:db8:1::{number:x}/128")
                } else {
                    format!("203.0.113.{number}/32")
                });
            }
        }
        all
    }

    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// How often each kind of change was made.
    pub(crate) fn told(&self) -> String {
        self.counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }
}
