//! What was wanted stays for a while: routers need a moment to follow a withdrawal, and packets that are on
//! their way meanwhile are still to be treated as announced (design §5, "withdrawn before it stops working").

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::types::{Prefix, Timestamp};

use super::wanted::Wanted;

/// What is no longer wanted, each with the time at which it may go.
#[derive(Debug, Clone, Default)]
pub struct Linger {
    wanted: Wanted,
    guards: BTreeMap<Prefix, Timestamp>,
    locals: BTreeMap<IpAddr, Timestamp>,
}

impl Linger {
    /// How long a withdrawal may take to reach every router that matters.
    pub const TIME: Duration = Duration::from_secs(5);

    /// Takes what is wanted from now on.
    pub fn follow(&mut self, wanted: &Wanted, now: Timestamp) {
        let until = now + Self::TIME;
        let guards = self.wanted.guards.keys().filter(|one| !wanted.guards.contains_key(one));
        self.guards.extend(guards.map(|one| (*one, until)));
        let locals = self.wanted.locals.difference(&wanted.locals);
        self.locals.extend(locals.map(|one| (*one, until)));
        self.guards.retain(|one, _| !wanted.guards.contains_key(one));
        self.locals.retain(|one, _| !wanted.locals.contains(one));
        self.wanted = wanted.clone();
    }

    /// Forgets what may go now.
    pub fn expire(&mut self, now: Timestamp) {
        self.guards.retain(|_, until| *until > now);
        self.locals.retain(|_, until| *until > now);
    }

    /// When [`Self::expire`] has something to forget next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.guards.values().chain(self.locals.values()).min().copied()
    }

    /// Whether a guard stays.
    #[must_use]
    pub fn keeps_guard(&self, prefix: Prefix) -> bool {
        self.guards.contains_key(&prefix)
    }

    /// Whether local delivery stays.
    #[must_use]
    pub fn keeps_local(&self, addr: IpAddr) -> bool {
        self.locals.contains_key(&addr)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wanted::{Guard, GuardKind};
    use super::*;

    fn wanted(guards: &[&str], locals: &[&str]) -> Wanted {
        let guard = Guard { kind: GuardKind::Blackhole, fixed: false };
        Wanted {
            guards: guards.iter().map(|one| (one.parse().unwrap(), guard)).collect(),
            locals: locals.iter().map(|one| one.parse().unwrap()).collect(),
            ..Wanted::default()
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_is_no_longer_wanted_stays_for_its_time() {
        let (prefix, addr) = ("10.0.0.0/24".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let mut linger = Linger::default();
        linger.follow(&wanted(&["10.0.0.0/24"], &["10.0.0.1"]), at(0));
        assert_eq!(linger.deadline(), None);
        linger.follow(&wanted(&[], &["10.0.0.1"]), at(1));
        linger.follow(&wanted(&[], &[]), at(3));
        assert_eq!(linger.deadline(), Some(at(6)));
        linger.expire(at(5));
        assert!(linger.keeps_guard(prefix) && linger.keeps_local(addr));
        linger.expire(at(6));
        assert!(!linger.keeps_guard(prefix) && linger.keeps_local(addr));
        assert_eq!(linger.deadline(), Some(at(8)));
        linger.expire(at(8));
        assert!(!linger.keeps_local(addr));
    }

    #[test]
    fn what_is_wanted_again_is_not_forgotten_later() {
        let mut linger = Linger::default();
        let both = wanted(&["10.0.0.0/24"], &["10.0.0.1"]);
        linger.follow(&both, at(0));
        linger.follow(&Wanted::default(), at(1));
        linger.follow(&both, at(2));
        assert_eq!(linger.deadline(), None);
    }
}
