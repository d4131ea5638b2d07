//! One peer with its task, and what the hub knows of it.

use std::time::Duration;

use bgp_proto::session::{DownReason, TimerConfig};
use bgp_proto::types::{FamilyMap, Timestamp};
use bgp_proto::wire::{Capability, codes};
use speaker_config::objects::UnixSeconds;
use speaker_core::export::{NextHopInputs, PeerOut, next_hop};
use speaker_core::world::World;

use super::wanted::{self, Wanted};
use crate::io::peer::{Established, PeerHandle};

/// One peer with a task.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) wanted: Wanted,
    pub(super) handle: PeerHandle,
    pub(super) established: Option<Box<Established>>,
    /// The timers when the session came up.
    pub(super) timers: TimerConfig,
    /// Down by an operator's word, with what was said.
    pub(super) shutdown: Option<String>,
    /// When and why it last went down or was refused.
    pub(super) last_error: Option<(UnixSeconds, String)>,
    /// The message whose fault that was, in hex.
    pub(super) last_malformed: Option<String>,
    /// The same for an end that is told next.
    pub(super) malformed: Option<String>,
    /// The last NOTIFICATION, either way.
    pub(super) last_notification: Option<LastNotification>,
    /// When and what was last seen that ended nothing.
    pub(super) last_note: Option<(UnixSeconds, String)>,
    /// When the session came up, or went down after it had been up.
    pub(super) changed: Option<Timestamp>,
    /// Made for somebody who dialled from a `dynamicPeers` prefix.
    pub(super) dynamic: bool,
    pub(super) breaks: Breaks,
}

/// How often the peer's task has panicked, and since when it rests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Breaks {
    /// In all.
    pub(super) count: u64,
    /// One soon after the other.
    row: u32,
    last: Option<Timestamp>,
    /// When the task that has taken the place of the last one is to start.
    pub(super) resumes: Option<Timestamp>,
}

/// The first rest; each is twice as long as the one before.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A task that has lasted so long begins with the first rest again.
const LASTED: Duration = Duration::from_secs(600);

impl Breaks {
    /// One more.
    #[must_use]
    pub(super) fn again(self, now: Timestamp) -> Self {
        let soon = self.last.is_some_and(|last| now.since(last) < LASTED);
        let row = if soon { self.row.saturating_add(1) } else { 0 };
        let rest = FIRST_REST.saturating_mul(2_u32.saturating_pow(row)).min(LONGEST_REST);
        Self { count: self.count + 1, row, last: Some(now), resumes: Some(now + rest) }
    }
}

/// What of a NOTIFICATION (RFC 4271 §4.5) is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastNotification {
    pub(super) code: u8,
    pub(super) subcode: u8,
    /// We sent it.
    pub(super) sent: bool,
}

impl LastNotification {
    /// The one that ended a session or an attempt.
    pub(super) fn of(reason: &DownReason) -> Option<Self> {
        let (code, subcode, sent) = match reason {
            DownReason::Sent(notification, _) => (notification.code, notification.subcode, true),
            DownReason::Received(notification) => (notification.code, notification.subcode, false),
            DownReason::HoldTimerExpired => (codes::HOLD_TIMER_EXPIRED, 0, true),
            DownReason::SendHoldTimerExpired => (codes::SEND_HOLD_TIMER_EXPIRED, 0, true),
            DownReason::Transport(_) | DownReason::Stopped => return None,
        };
        Some(Self { code, subcode, sent })
    }
}

impl Running {
    /// The peer keeps our routes while we restart (RFC 4724).
    pub(super) fn keeps_routes(&self) -> bool {
        // Only a family of ours in the capability asks the peer for it: without one we wait for the peer alone.
        let asked = |up: &Established| {
            up.negotiated.our_capabilities.iter().any(
                |one| matches!(one, Capability::GracefulRestart(restart) if !restart.families.is_empty()),
            )
        };
        self.established.as_ref().is_some_and(|up| up.negotiated.graceful_restart.is_some() && asked(up))
    }

    /// Why it does not come up, where that is ours to change.
    pub(super) fn kept_down(&self) -> Option<String> {
        let name = self.handle.name();
        match (&self.shutdown, &self.wanted.blocked) {
            (Some(_), _) => Some(format!("is shut down; `speaker no-shutdown {name}` lets it come up")),
            (None, Some(why)) => Some(format!("is not started: {why}")),
            (None, None) if self.breaks.resumes.is_some() => {
                Some("rests, since its task has panicked; it begins anew by itself".to_owned())
            }
            (None, None) => None,
        }
    }

    /// Keys of settings that only the next session will have: those that are not what this one was begun with.
    pub(super) fn pending(&self) -> Vec<&'static str> {
        let Some(up) = &self.established else { return Vec::new() };
        let (settings, timers) = (&self.wanted.spec.settings, wanted::timers(&self.wanted.spec.settings));
        let open = &up.negotiated.sent_open;
        // Version, My Autonomous System, Hold Time follow the header (RFC 4271 §4.2).
        let offered = open.get(22..24).and_then(|octets| octets.try_into().ok()).map(u16::from_be_bytes);
        let helps = |one: &Capability| matches!(one, Capability::GracefulRestart(_));
        let told = up.negotiated.our_capabilities.iter().any(helps);
        let all = [
            ("timers.hold", offered == Some(timers.hold.seconds())),
            ("timers.keepalive", self.timers.keepalive == timers.keepalive),
            ("timers.sendHold", self.timers.send_hold == timers.send_hold),
            // The peer is to know that its routes are kept while it restarts.
            ("learn", told || settings.learn.is_off()),
        ];
        all.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }

    /// Takes on new settings that leave the session up.
    pub(super) fn adopt(&mut self, wanted: Wanted, name: &str, world: &mut World) {
        let before = self.pending();
        let timers = wanted::timers(&wanted.spec.settings);
        if timers != wanted::timers(&self.wanted.spec.settings) {
            self.handle.set_timers(timers);
        }
        if wanted.spec.settings.bfd != self.wanted.spec.settings.bfd {
            self.handle.set_bfd(wanted.spec.settings.bfd);
        }
        let kept = |wanted: &Wanted| {
            let settings = &wanted.spec.settings;
            (settings.receive, settings.max_prefixes, settings.prefix_limit, settings.learn.clone())
        };
        if kept(&wanted) != kept(&self.wanted) {
            self.handle.set_receive(wanted.spec.settings.clone());
        }
        self.wanted = wanted;
        let pending = self.pending();
        if !pending.is_empty() && pending != before {
            let keys = pending.join(", ");
            tracing::info!(peer = %name, "{keys}: new values wait for the next session; `speaker clear {name}` begins one");
        }
        if let Some(established) = &self.established {
            let tables = world.peer_up(name, peer_out(self, established));
            self.handle.attach(established.negotiated.conn, tables);
        }
    }
}

/// What goes into the peer's update group.
pub(super) fn peer_out(running: &Running, established: &Established) -> PeerOut {
    let settings = &running.wanted.spec.settings;
    let negotiated = &established.negotiated;
    let egress = &established.egress;
    let inputs = NextHopInputs {
        configured_ipv4: settings.next_hop_ipv4,
        configured_ipv6: settings.next_hop_ipv6,
        local: negotiated.local.ip(),
        remote: negotiated.remote.ip(),
        egress_ipv4: egress.ipv4.clone(),
        egress_ipv6: egress.ipv6.clone(),
        extended_next_hop: negotiated.encode.extended_next_hop,
        unnumbered: running.wanted.interface.is_some(),
    };
    let next_hops = FamilyMap::from_fn(|family| next_hop(family, &inputs));
    PeerOut::new(&running.wanted.selected_as, settings, negotiated, next_hops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_panics_again_and_again_rests_longer_and_longer() {
        let mut now = Timestamp::from_nanos(0) + Duration::from_secs(100);
        let mut breaks = Breaks::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            breaks = breaks.again(now);
            let resumes = breaks.resumes.unwrap();
            assert_eq!(resumes.since(now), Duration::from_secs(expected));
            now = resumes + Duration::from_secs(5);
        }
        breaks = breaks.again(now + LASTED);
        assert_eq!(breaks.resumes.unwrap().since(now + LASTED), FIRST_REST, "it had lasted");
        assert_eq!(breaks.count, 9);
    }
}
