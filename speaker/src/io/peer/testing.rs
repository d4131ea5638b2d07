//! What the tests of the shells share.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp_proto::session::{PeerAsn, SessionConfig, TimerConfig};
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime, RouterId};

use crate::io::tcp::{TcpOptions, TtlRule};

pub(crate) fn options() -> TcpOptions {
    TcpOptions { ttl: TtlRule { send: 1, accept: None }, hold: HoldTime::DEFAULT }
}

pub(crate) fn session(asn: u32, peer_asn: PeerAsn) -> SessionConfig {
    SessionConfig {
        local_asn: Asn::new(asn).unwrap(),
        router_id: RouterId::new(Ipv4Addr::new(192, 0, 2, 1)).unwrap(),
        peer_asn,
        passive: false,
        families: FamilySet::from_iter(Family::ALL),
        timers: TimerConfig {
            connect_retry: Duration::from_millis(100),
            idle_hold: Duration::from_millis(50),
            ..TimerConfig::default()
        },
        extended_message: true,
        extended_next_hop: true,
        add_path: FamilyMap::default(),
        graceful_restart: None,
        role: None,
        host_name: None,
        seed: u64::from(asn),
    }
}
