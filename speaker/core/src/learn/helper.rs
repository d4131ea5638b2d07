//! Routes of a peer that restarts (RFC 4724 §4.2, RFC 8538, RFC 9494).

use std::time::Duration;

use bgp_proto::session::{DownReason, Negotiated};
use bgp_proto::types::{AfiSafi, Family, FamilyMap, FamilySet};
use bgp_proto::wire::{Capability, GracefulRestart, Notification, codes};

/// What the peer's OPEN asks of us for when it restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Helper {
    /// How long it may take to come back; absent where it does not restart gracefully, or we have not offered to wait.
    pub restart: Option<Duration>,
    /// Both sides keep routes over a NOTIFICATION (RFC 8538 §2).
    pub notification: bool,
    /// The families whose routes are kept for that time.
    pub families: FamilySet,
    /// Of which it has kept its forwarding state (F), now that it is here.
    pub forwarding: FamilySet,
    /// How long routes are kept after that (RFC 9494 §3.1).
    pub long_lived: FamilyMap<Option<Duration>>,
    /// F of the long-lived capability.
    pub long_lived_forwarding: FamilySet,
}

impl Helper {
    /// Reads it from both OPENs.
    #[must_use]
    pub fn of(negotiated: &Negotiated) -> Self {
        let Some(theirs) = &negotiated.graceful_restart else { return Self::default() };
        let ours = restart(&negotiated.our_capabilities);
        let known = |family: AfiSafi| family.family().filter(|one| negotiated.families.contains(*one));
        let mut helper = Self {
            restart: Some(Duration::from_secs(theirs.restart_time.into())),
            notification: theirs.notification && ours.is_some_and(|ours| ours.notification),
            ..Self::default()
        };
        for (family, forwarding) in &theirs.families {
            let Some(family) = known(*family) else { continue };
            helper.families.insert(family);
            if *forwarding {
                helper.forwarding.insert(family);
            }
        }
        let offered = long_lived(&negotiated.our_capabilities).is_some();
        for (family, flags, seconds) in long_lived(&negotiated.peer_capabilities).unwrap_or_default() {
            let Some(family) = known(*family).filter(|_| offered) else { continue };
            *helper.long_lived.get_mut(family) = Some(Duration::from_secs((*seconds).into()));
            if flags & 0x80 != 0 {
                helper.long_lived_forwarding.insert(family);
            }
        }
        helper
    }

    /// How long the peer may take to come back until routes of `family` are long-lived stale, or gone; absent where they
    /// are not kept at all. "the conventional GR phase can be skipped by omitting all AFIs/SAFIs from the GR Capability"
    /// (RFC 9494 §4.1): the long-lived one then begins at once.
    pub(super) fn restart_of(&self, family: Family) -> Option<Duration> {
        let restart = self.restart?;
        if self.families.contains(family) {
            return Some(restart);
        }
        self.long_lived.get(family).filter(|time| !time.is_zero()).map(|_| Duration::ZERO)
    }
}

fn restart(capabilities: &[Capability]) -> Option<&GracefulRestart> {
    capabilities.iter().rev().find_map(|one| match one {
        Capability::GracefulRestart(restart) => Some(restart),
        _ => None,
    })
}

fn long_lived(capabilities: &[Capability]) -> Option<&[(AfiSafi, u8, u32)]> {
    capabilities.iter().rev().find_map(|one| match one {
        Capability::LongLivedGracefulRestart(tuples) => Some(tuples.as_slice()),
        _ => None,
    })
}

/// What the end of a session means for the routes that came by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// They are gone.
    Final,
    /// The peer may be restarting.
    Restart,
    /// The same where both sides keep routes over a NOTIFICATION.
    Notification,
}

impl Loss {
    /// What this end means.
    #[must_use]
    pub fn of(reason: &DownReason) -> Self {
        match reason {
            // "When the Receiving Speaker detects termination of the TCP session for a BGP session with a peer that has
            // advertised the Graceful Restart Capability, it MUST retain the routes received from the peer" (RFC 4724
            // §4.2).
            DownReason::Transport(_) => Self::Restart,
            DownReason::Received(notification) | DownReason::Sent(notification, _) => {
                Self::by_notification(notification)
            }
            // "when the HOLDTIME for the session expires": the NOTIFICATION for it is one like others (RFC 8538 §4).
            DownReason::HoldTimerExpired | DownReason::SendHoldTimerExpired => Self::Notification,
            DownReason::Stopped => Self::Final,
        }
    }

    /// A Hard Reset ends the routes with the session (RFC 8538 §3.1); any other NOTIFICATION keeps them between two
    /// sides with the N bit.
    fn by_notification(notification: &Notification) -> Self {
        let hard = (notification.code, notification.subcode) == (codes::CEASE, codes::CEASE_HARD_RESET);
        if hard { Self::Final } else { Self::Notification }
    }

    /// Whether routes stay.
    #[must_use]
    pub const fn keeps(self, helper: &Helper) -> bool {
        match self {
            Self::Final => false,
            Self::Restart => helper.restart.is_some(),
            Self::Notification => helper.restart.is_some() && helper.notification,
        }
    }
}
