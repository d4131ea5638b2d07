//! What BFD means for the BGP session of the same peer (RFC 5882 §4).

use std::time::Duration;

use super::packet::State;
use super::session::Change;
use crate::types::Timestamp;

/// How long BGP is held for a BFD session that does not come back.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// A session that went on for as long without a failure of BFD has left its past behind.
const FORGIVEN_AFTER: Duration = Duration::from_secs(90);
/// The most that BFD must have been Up again before BGP may.
const LONGEST_PROOF: Duration = Duration::from_secs(60);

/// What is to be done with the BGP session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Close it, with Cease/BFD Down (RFC 9384), and let none come up.
    Close,
    /// It may come up.
    Open,
}

/// Stands between BFD and BGP.
///
/// BGP comes up without BFD: "if it is believed that the neighboring system does not support BFD, the
/// establishment of a control protocol adjacency SHOULD NOT be blocked" (RFC 5882 §4.1), and nothing but a
/// packet tells whether it does. After a failure BGP is held until BFD is Up again, since now both are known
/// to be "willing to establish a BFD session"; for 30 s at most, because a peer whose BFD was
/// taken away looks the same. AdminDown on either side lets it go at once: the adjacency "MUST be allowed".
///
/// A BFD session that fails again and again has to stay Up for 1, 2, 4 … 60 s before BGP may come up.
#[derive(Debug, Default)]
pub struct Guard {
    /// Until when BGP is held.
    held: Option<Timestamp>,
    /// Failures, none of them [`FORGIVEN_AFTER`] away from the one before.
    failures: u32,
    opened: Option<Timestamp>,
}

impl Guard {
    /// The BFD session has changed. `restarting`: BGP is down already, and the peer is expected back under
    /// graceful restart. Our C bit is clear, so that "a BFD session failure cannot be disentangled from other
    /// events taking place in the control plane … it would be best to avoid aborting any Graceful Restart
    /// taking place" (RFC 5882 §4.3.2): such a failure is no news.
    pub fn changed(&mut self, now: Timestamp, change: &Change, restarting: bool) -> Option<Order> {
        if change.is_failure() {
            if restarting {
                return None;
            }
            let forgiven = self.opened.is_some_and(|opened| now.since(opened) >= FORGIVEN_AFTER);
            self.failures = if forgiven { 1 } else { self.failures.saturating_add(1) };
            self.held = Some(now + LONGEST_HOLD);
            return Some(Order::Close);
        }
        let proof = self.proof();
        let held = self.held.as_mut()?;
        match change.to {
            State::Up if proof.is_zero() => self.open(now),
            State::Up => {
                *held = now + proof;
                None
            }
            State::AdminDown => self.open(now),
            State::Down if change.from == State::Up => self.open(now),
            State::Down | State::Init => None,
        }
    }

    /// The peer has begun to say AdminDown.
    pub fn neighbor_admin_down(&mut self, now: Timestamp) -> Option<Order> {
        self.held?;
        self.open(now)
    }

    /// BGP must not come up.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// When [`Self::expire`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.held
    }

    /// The deadline has come.
    pub fn expire(&mut self, now: Timestamp) -> Option<Order> {
        if self.deadline()? > now {
            return None;
        }
        self.open(now)
    }

    fn open(&mut self, now: Timestamp) -> Option<Order> {
        self.held = None;
        self.opened = Some(now);
        Some(Order::Open)
    }

    fn proof(&self) -> Duration {
        match self.failures {
            0 | 1 => Duration::ZERO,
            n => Duration::from_secs(1_u64 << (n - 2).min(6)).min(LONGEST_PROOF),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Cause;
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn change(from: State, to: State, cause: Cause) -> Change {
        Change { from, to, cause }
    }

    const FAILED: Change = Change { from: State::Up, to: State::Down, cause: Cause::DetectionTimeExpired };
    const BACK: Change = Change { from: State::Init, to: State::Up, cause: Cause::Heard };

    #[test]
    fn what_never_came_up_blocks_nothing() {
        let mut guard = Guard::default();
        let heard = change(State::Down, State::Init, Cause::Heard);
        let gone = change(State::Init, State::Down, Cause::DetectionTimeExpired);
        for change in [heard, gone, BACK] {
            assert_eq!(guard.changed(at(1), &change, false), None);
            assert!(!guard.holds());
        }
    }

    #[test]
    fn a_failure_closes_and_up_opens_at_once() {
        for cause in [Cause::DetectionTimeExpired, Cause::NeighborDown] {
            let mut guard = Guard::default();
            let failed = change(State::Up, State::Down, cause);
            assert_eq!(guard.changed(at(1), &failed, false), Some(Order::Close));
            assert!(guard.holds());
            assert_eq!(guard.changed(at(2), &change(State::Down, State::Init, Cause::Heard), false), None);
            assert_eq!(guard.changed(at(3), &BACK, false), Some(Order::Open));
            assert!(!guard.holds());
        }
    }

    #[test]
    fn a_peer_without_bfd_is_held_for_half_a_minute() {
        let mut guard = Guard::default();
        guard.changed(at(10), &FAILED, false);
        assert_eq!(guard.deadline(), Some(at(40)));
        assert_eq!(guard.expire(at(39)), None);
        assert_eq!(guard.expire(at(40)), Some(Order::Open));
        assert_eq!((guard.deadline(), guard.expire(at(99))), (None, None));
    }

    #[test]
    fn admin_down_is_no_failure_and_lets_go() {
        let mut guard = Guard::default();
        let theirs = change(State::Up, State::Down, Cause::NeighborAdminDown);
        assert_eq!(guard.changed(at(1), &theirs, false), None);
        assert_eq!(guard.changed(at(1), &change(State::Up, State::AdminDown, Cause::Local), false), None);
        assert_eq!(guard.neighbor_admin_down(at(1)), None);
        guard.changed(at(2), &FAILED, false);
        assert_eq!(guard.neighbor_admin_down(at(3)), Some(Order::Open), "while it is Down here");
        guard.changed(at(4), &FAILED, false);
        assert_eq!(
            guard.changed(at(5), &change(State::Down, State::AdminDown, Cause::Local), false),
            Some(Order::Open)
        );
    }

    #[test]
    fn a_restart_under_way_goes_on() {
        let mut guard = Guard::default();
        assert_eq!(guard.changed(at(1), &FAILED, true), None);
        assert!(!guard.holds());
    }

    #[test]
    fn one_that_fails_again_and_again_must_prove_itself() {
        let mut guard = Guard::default();
        let mut now = 0;
        let mut proofs = Vec::new();
        for _ in 0..9 {
            guard.changed(at(now), &FAILED, false);
            now += 1;
            let order = guard.changed(at(now), &BACK, false);
            let until = guard.deadline().unwrap_or(at(now));
            proofs.push(until.since(at(now)).as_secs());
            assert_eq!(order.is_some(), proofs.last() == Some(&0));
            guard.expire(until);
            now = until.as_nanos() / 1_000_000_000;
        }
        assert_eq!(proofs, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        // It failed while it proved itself: the proof begins anew, and is longer.
        guard.changed(at(now), &FAILED, false);
        guard.changed(at(now + 1), &BACK, false);
        assert_eq!(guard.changed(at(now + 2), &FAILED, false), Some(Order::Close));
        assert_eq!(guard.deadline(), Some(at(now + 32)));
        guard.expire(at(now + 32));
        // A minute and a half without one.
        guard.changed(at(now + 122), &FAILED, false);
        assert_eq!(guard.changed(at(now + 123), &BACK, false), Some(Order::Open));
    }
}
