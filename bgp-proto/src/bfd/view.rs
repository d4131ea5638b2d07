//! What operators see of a session.

use std::time::Duration;

use super::packet::{Diagnostic, Packet, State};
use super::session::Change;
use crate::types::Timestamp;

/// What one side announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Desired Min TX Interval.
    pub desired_min_tx: Duration,
    /// Required Min RX Interval.
    pub required_min_rx: Duration,
    /// Detect Mult.
    pub detect_multiplier: u8,
}

impl Packet {
    /// The intervals that it announces.
    #[must_use]
    pub fn announced(&self) -> Announced {
        Announced {
            desired_min_tx: Duration::from_micros(self.desired_min_tx.into()),
            required_min_rx: Duration::from_micros(self.required_min_rx.into()),
            detect_multiplier: self.detect_multiplier.get(),
        }
    }
}

/// What was counted since the session was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets sent.
    pub sent: u64,
    /// Packets of the peer that were for this session.
    pub received: u64,
    /// How often it came Up.
    pub ups: u64,
    /// How often it left Up for a failure ([`Change::is_failure`]).
    pub failures: u64,
}

/// What operators see of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Our diagnostic: why the state was last changed for the worse; none while Up.
    pub diagnostic: Diagnostic,
    /// Our discriminator.
    pub local_discriminator: u32,
    /// The negotiated interval of our packets, jitter apart; `None` where the peer wants none.
    pub transmit: Option<Duration>,
    /// After which silence the peer is taken for gone; `None` while nothing is known of it.
    pub detection_time: Option<Duration>,
    /// What we announce.
    pub ours: Announced,
    /// A Poll Sequence is under way.
    pub polling: bool,
    /// The peer's last packet, while it is heard.
    pub peer: Option<Packet>,
    /// When and why Up was last left.
    pub last_down: Option<(Timestamp, Change)>,
    /// Counters.
    pub counts: Counts,
}
