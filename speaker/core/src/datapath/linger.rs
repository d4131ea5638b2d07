//! What was wanted stays for a while: routers need a moment to follow a withdrawal, and packets that are on
//! their way meanwhile are still to be treated as announced (design §5, "withdrawn before it stops working").

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::types::{Prefix, Timestamp};

use super::wanted::Change;

/// What is no longer wanted, each with the time at which it may go.
#[derive(Debug, Clone, Default)]
pub(super) struct Linger {
    guards: BTreeMap<Prefix, Timestamp>,
    locals: BTreeMap<IpAddr, Timestamp>,
}

impl Linger {
    /// How long a withdrawal may take to reach every router that matters.
    pub(super) const TIME: Duration = Duration::from_secs(5);

    /// Takes a change of what is wanted.
    pub(super) fn follow(&mut self, change: &Change, now: Timestamp) {
        let until = now + Self::TIME;
        for (prefix, guard) in &change.guards {
            match guard {
                Some(_) => self.guards.remove(prefix),
                None => self.guards.insert(*prefix, until),
            };
        }
        for (addr, wanted) in &change.locals {
            if *wanted {
                self.locals.remove(addr);
            } else {
                self.locals.insert(*addr, until);
            }
        }
    }

    /// Forgets what may go now, and says what that is.
    pub(super) fn expire(&mut self, now: Timestamp) -> (Vec<Prefix>, Vec<IpAddr>) {
        let guards = self.guards.iter().filter(|(_, until)| **until <= now).map(|(one, _)| *one).collect();
        let locals = self.locals.iter().filter(|(_, until)| **until <= now).map(|(one, _)| *one).collect();
        self.guards.retain(|_, until| *until > now);
        self.locals.retain(|_, until| *until > now);
        (guards, locals)
    }

    /// When [`Self::expire`] has something to forget next.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.guards.values().chain(self.locals.values()).min().copied()
    }

    /// The guards that stay.
    pub(super) fn guards(&self) -> impl Iterator<Item = Prefix> {
        self.guards.keys().copied()
    }

    /// Whether a guard stays.
    #[must_use]
    pub(super) fn keeps_guard(&self, prefix: Prefix) -> bool {
        self.guards.contains_key(&prefix)
    }

    /// Whether local delivery stays.
    #[must_use]
    pub(super) fn keeps_local(&self, addr: IpAddr) -> bool {
        self.locals.contains_key(&addr)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wanted::{Guard, GuardKind};
    use super::*;

    fn guard(prefix: &str, wanted: bool) -> Change {
        let guard = Guard { kind: GuardKind::Blackhole, fixed: false };
        Change { guards: [(prefix.parse().unwrap(), wanted.then_some(guard))].into(), ..Change::default() }
    }

    fn local(addr: &str, wanted: bool) -> Change {
        Change { locals: [(addr.parse().unwrap(), wanted)].into(), ..Change::default() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_is_no_longer_wanted_stays_for_its_time() {
        let (prefix, addr) = ("10.0.0.0/24".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let mut linger = Linger::default();
        linger.follow(&guard("10.0.0.0/24", true), at(0));
        linger.follow(&local("10.0.0.1", true), at(0));
        assert_eq!(linger.deadline(), None);
        linger.follow(&guard("10.0.0.0/24", false), at(1));
        linger.follow(&local("10.0.0.1", false), at(3));
        assert_eq!(linger.deadline(), Some(at(6)));
        assert_eq!(linger.expire(at(5)), (vec![], vec![]));
        assert!(linger.keeps_guard(prefix) && linger.keeps_local(addr));
        assert_eq!(linger.expire(at(6)), (vec![prefix], vec![]));
        assert!(!linger.keeps_guard(prefix) && linger.keeps_local(addr));
        assert_eq!(linger.deadline(), Some(at(8)));
        assert_eq!(linger.expire(at(8)), (vec![], vec![addr]));
        assert!(!linger.keeps_local(addr));
    }

    #[test]
    fn what_is_wanted_again_is_not_forgotten_later() {
        let mut linger = Linger::default();
        for wanted in [true, false, true] {
            linger.follow(&guard("10.0.0.0/24", wanted), at(0));
            linger.follow(&local("10.0.0.1", wanted), at(0));
        }
        assert_eq!(linger.deadline(), None);
    }
}
