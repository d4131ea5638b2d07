//! What a session is told to be.

use std::time::Duration;

use crate::types::{Asn, FamilyMap, FamilySet, HoldTime, RouterId};

/// Which AS numbers the peer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAsn {
    /// This one.
    Exact(Asn),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
    /// Any.
    Any,
}

/// The timers of RFC 4271 §10 and RFC 9687.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerConfig {
    /// The hold time that we propose.
    pub hold: HoldTime,
    /// Between KEEPALIVEs; a third of the negotiated hold time where absent, and never more than that.
    pub keepalive: Option<Duration>,
    /// ConnectRetryTime, jittered.
    pub connect_retry: Duration,
    /// IdleHoldTime after the first failure, jittered, doubled by each further one (DampPeerOscillations).
    pub idle_hold: Duration,
    /// The most that IdleHoldTime grows to.
    pub idle_hold_max: Duration,
    /// DelayOpenTime; `None` sends OPEN at once.
    pub delay_open: Option<Duration>,
    /// SendHoldTime (RFC 9687 §4.4); `None` is the greater of 8 minutes and twice the negotiated hold time.
    pub send_hold: Option<Duration>,
}

impl Default for TimerConfig {
    fn default() -> Self {
        Self {
            hold: HoldTime::DEFAULT,
            keepalive: None,
            connect_retry: Duration::from_secs(5),
            idle_hold: Duration::from_secs(1),
            idle_hold_max: Duration::from_secs(60),
            delay_open: None,
            send_hold: None,
        }
    }
}

/// Graceful restart as we announce it (RFC 4724 §3, RFC 8538 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestartConfig {
    /// How long the peer may wait for us, at most 4095 s.
    pub restart_time: u16,
    /// R: we have just restarted.
    pub restarted: bool,
    /// F: forwarding went on while we were away.
    pub forwarding_kept: bool,
    /// How long the peer may keep our routes after the restart time, as a last resort, at most 16777215 s
    /// (RFC 9494 §3.1); absent is off.
    pub long_lived: Option<u32>,
}

/// Everything that the session of one peer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our AS towards this peer.
    pub local_asn: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// The peer's AS.
    pub peer_asn: PeerAsn,
    /// Never dial, only accept (PassiveTcpEstablishment).
    pub passive: bool,
    /// Families to announce; the session needs one in common.
    pub families: FamilySet,
    /// Timers.
    pub timers: TimerConfig,
    /// Offer messages of up to 65535 octets (RFC 8654).
    pub extended_message: bool,
    /// Offer IPv4 routes over IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// ADD-PATH (RFC 7911): bit 1 receive, bit 2 send, for each family.
    pub add_path: FamilyMap<u8>,
    /// Graceful restart; absent is off.
    pub graceful_restart: Option<GracefulRestartConfig>,
    /// Keep the peer's routes while it restarts (RFC 4724 §4.2, RFC 9494): said by capabilities without a family
    /// where we do not restart gracefully ourselves.
    pub helper: bool,
    /// BGP role, as the number on the wire (RFC 9234).
    pub role: Option<u8>,
    /// Host name for capability 73, which routers show beside the address.
    pub host_name: Option<String>,
    /// Seed of the timers' jitter.
    pub seed: u64,
}
