//! What every BGP connection is set to, dialled or accepted.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use bgp_proto::session::{PeerAsn, SessionConfig};
use bgp_proto::types::HoldTime;
use socket2::{SockRef, TcpKeepalive};
use speaker_config::model::Ttl;

use super::sockopt;

/// CS6, network control: what routers mark BGP with, so that a congested link does not drop its own
/// routing.
const TOS: u32 = 0xc0;

/// What is written and the kernel has not sent yet. A NOTIFICATION or KEEPALIVE waits behind this much and
/// no more, and a peer that does not read costs no more kernel memory.
const NOT_SENT_LOW_WATER: u32 = 128 * 1024;

/// How much longer than the send hold time the kernel waits: its clock begins when the peer's window closes, ours
/// once the kernel takes no more.
const AFTER_SEND_HOLD: Duration = Duration::from_secs(10);

/// The TTL rules towards one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TtlRule {
    /// What we send with.
    pub(crate) send: u8,
    /// The least that we take; absent takes any.
    pub(crate) accept: Option<u8>,
}

impl TtlRule {
    /// The rule for a peer: TTL 1 keeps a directly connected eBGP session from leaving the link by mistake.
    pub(crate) fn new(ttl: Ttl, address: IpAddr, session: &SessionConfig) -> Self {
        let internal = match session.peer_asn {
            PeerAsn::Exact(asn) => asn == session.local_asn,
            // `auto` may turn out to be in our AS, and that is only known after the handshake.
            PeerAsn::Internal | PeerAsn::Any => true,
            PeerAsn::External => false,
        };
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        match ttl {
            // "all packets … MUST be sent with a TTL of 255" (RFC 5082 §3).
            Ttl::Security(hops) => Self { send: 255, accept: Some(255 - hops.saturating_sub(1)) },
            Ttl::Multihop(ttl) => Self { send: ttl, accept: None },
            Ttl::Direct if internal || link_local => Self { send: 255, accept: None },
            Ttl::Direct => Self { send: 1, accept: None },
        }
    }
}

/// How a connection is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpOptions {
    /// TTLs.
    pub(crate) ttl: TtlRule,
    /// The hold time that we propose.
    pub(crate) hold: HoldTime,
    /// SendHoldTime, where it is configured.
    pub(crate) send_hold: Option<Duration>,
}

impl TcpOptions {
    /// Applies everything to a connection, or to a socket that is to become one.
    pub(crate) fn apply(&self, socket: &SockRef<'_>, v6: bool) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER)?;
        socket.set_tcp_user_timeout(Some(self.user_timeout()))?;
        // The peer may propose a hold time of 0. Without KEEPALIVEs nothing but TCP's own probes can find a
        // peer that is gone.
        let probes = TcpKeepalive::new().with_time(Duration::from_secs(60));
        socket.set_tcp_keepalive(&probes.with_interval(Duration::from_secs(20)))?;
        mark(socket, v6)?;
        set_ttl(socket, v6, self.ttl.send)?;
        if let Some(min) = self.ttl.accept {
            sockopt::set_min_ttl(socket.as_fd(), v6, min)?;
        }
        Ok(())
    }

    /// Whether an accepted connection, after [`Self::apply`], keeps the TTL rule from its first octet on. What came
    /// before the kernel knew the least TTL has passed unseen; but then its SYN tells from how far it came, and
    /// where that is not kept, nothing may have come yet.
    pub(crate) fn came_from_near(&self, socket: &SockRef<'_>) -> io::Result<bool> {
        let Some(min) = self.ttl.accept else { return Ok(true) };
        Ok(match sockopt::syn_ttl(socket.as_fd())? {
            Some(ttl) => ttl >= min,
            None => sockopt::queues(socket.as_fd()).0 == 0,
        })
    }

    /// The kernel counts a closed window against this timeout too, and a peer may close it for as long as
    /// the send hold timer lets it: the greater of 8 minutes and twice the negotiated hold time (RFC 9687
    /// §6). A dead peer is found by the hold timer long before, where the hold time is shorter.
    fn user_timeout(&self) -> Duration {
        let usual = Duration::from_secs((2 * u64::from(self.hold.seconds())).max(8 * 60));
        self.send_hold.unwrap_or(usual) + AFTER_SEND_HOLD
    }
}

/// The traffic class of our packets.
pub(crate) fn mark(socket: &SockRef<'_>, v6: bool) -> io::Result<()> {
    if v6 { socket.set_tclass_v6(TOS) } else { socket.set_tos_v4(TOS) }
}

/// The TTL of our packets.
pub(crate) fn set_ttl(socket: &SockRef<'_>, v6: bool, ttl: u8) -> io::Result<()> {
    if v6 { socket.set_unicast_hops_v6(ttl.into()) } else { socket.set_ttl_v4(ttl.into()) }
}

/// An error in the operating system's words, without its number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(peer_asn: PeerAsn) -> SessionConfig {
        super::super::peer::testing::session(64501, peer_asn)
    }

    fn rule(ttl: Ttl, address: &str, peer_asn: PeerAsn) -> (u8, Option<u8>) {
        let rule = TtlRule::new(ttl, address.parse().unwrap(), &session(peer_asn));
        (rule.send, rule.accept)
    }

    #[test]
    fn ttl_follows_the_kind_of_session() {
        assert_eq!(rule(Ttl::Direct, "192.0.2.1", PeerAsn::External), (1, None));
        assert_eq!(rule(Ttl::Direct, "192.0.2.1", PeerAsn::Internal), (255, None));
        assert_eq!(rule(Ttl::Direct, "fe80::1", PeerAsn::External), (255, None));
        assert_eq!(rule(Ttl::Multihop(4), "192.0.2.1", PeerAsn::External), (4, None));
        assert_eq!(rule(Ttl::Security(1), "192.0.2.1", PeerAsn::External), (255, Some(255)));
        assert_eq!(rule(Ttl::Security(3), "192.0.2.1", PeerAsn::Internal), (255, Some(253)));
        assert_eq!(rule(Ttl::Security(255), "192.0.2.1", PeerAsn::Internal), (255, Some(1)));
    }

    #[test]
    fn probes_run_whatever_hold_time_we_propose() {
        for hold in [HoldTime::ZERO, HoldTime::DEFAULT] {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            let options = TcpOptions { ttl: TtlRule { send: 1, accept: None }, hold, send_hold: None };
            options.apply(&SockRef::from(&socket), false).unwrap();
            assert!(socket.keepalive().unwrap(), "{hold:?}");
        }
    }

    #[test]
    fn the_user_timeout_never_beats_the_send_hold_timer() {
        let ttl = TtlRule { send: 1, accept: None };
        let timeout = |hold, send_hold| {
            let options = TcpOptions { ttl, hold: HoldTime::new(hold).unwrap(), send_hold };
            options.user_timeout().as_secs()
        };
        assert_eq!([0, 9, 240, 600].map(|hold| timeout(hold, None)), [490, 490, 490, 1210]);
        assert_eq!(timeout(600, Some(Duration::from_secs(20))), 30);
    }
}
