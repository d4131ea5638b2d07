//! `prefixLimit`: "a locally-configured, upper bound on the number of address prefixes the speaker is willing to
//! accept from a neighbor" (RFC 4271 §6.7).

use bgp_proto::session::StopReason;
use bgp_proto::types::{Family, FamilySet, Timestamp};
use bgp_proto::wire::Notification;
use speaker_core::received::ReceivedCount;
use tracing::warn;

use super::task::Task;

/// What the limits have led to so far.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Families that were warned of in this session.
    warned: FamilySet,
    /// A limit was passed and the session is kept down.
    passed: Option<Passed>,
}

#[derive(Debug)]
struct Passed {
    /// When it may come up again; never by itself where absent.
    until: Option<Timestamp>,
}

impl Limits {
    /// The session is ending, or down, because of one.
    pub(super) fn is_passed(&self) -> bool {
        self.passed.is_some()
    }

    pub(super) fn restart_at(&self) -> Option<Timestamp> {
        self.passed.as_ref()?.until
    }
}

impl Task {
    /// Warns above the threshold, and ends the session where one of `passed` has a limit. Says whether it has.
    pub(super) fn hold_limits(&mut self, passed: FamilySet) -> bool {
        let Some(limit) = self.spec.settings.prefix_limit else { return false };
        for family in Family::ALL {
            let Some(most) = *limit.most.get(family) else { continue };
            if passed.contains(family) {
                self.pass_limit(family, most);
                return true;
            }
            let ReceivedCount::Exact(count) = self.received.count(family) else { continue };
            let above = limit.warn_above(family).is_some_and(|threshold| count > threshold);
            if above && !self.limits.warned.contains(family) {
                self.limits.warned.insert(family);
                warn!(%family, "the peer announces {count} prefixes, of {most} at most (prefixLimit)");
            }
        }
        false
    }

    /// "If the BGP speaker decides to terminate its BGP connection with a neighbor because the number of address
    /// prefixes received from the neighbor exceeds the locally-configured, upper bound, then the speaker MUST
    /// send the neighbor a NOTIFICATION message with the Error Code Cease" (RFC 4271 §6.7); its data are the
    /// family and the bound (RFC 4486 §4). The peer is to drop our routes too: a hard reset (RFC 8538).
    fn pass_limit(&mut self, family: Family, most: u32) {
        let restart = self.spec.settings.prefix_limit.and_then(|limit| limit.restart);
        let comes = match restart {
            Some(time) => format!("it may come up again in {} s", time.as_secs()),
            None => "it stays down until `speaker clear`".to_owned(),
        };
        warn!(%family, "the peer announces more than {most} prefixes (prefixLimit): the session ends; {comes}");
        self.limits.passed = Some(Passed { until: restart.map(|time| self.now() + time) });
        let notification = Some(Notification::max_prefixes(family.afi_safi(), most));
        self.stop(StopReason { notification, hard: true, restart: false });
    }

    /// The restart timer of a limit has run out.
    pub(super) fn start_after_limit(&mut self) {
        if self.stopping.is_none() && self.limits.restart_at().is_some_and(|at| at <= self.now()) {
            self.limits = Limits::default();
            self.start();
        }
    }

    /// Whether our side ends what a limit keeps down already, to let it come up: an operator clears it.
    pub(super) fn clears_limit(&mut self, reason: &StopReason) -> bool {
        self.limits.passed.take().is_some() && reason.restart
    }
}
