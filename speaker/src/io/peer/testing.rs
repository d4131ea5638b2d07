//! What the tests of the shells share.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp_proto::session::{PeerAsn, SessionConfig, TimerConfig};
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime, RouterId};
use speaker_config::model::{Learn, PeerSettings, Receive, Ttl};
use tokio::sync::mpsc;

use super::{PeerContext, PeerEvent, PeerName};
use crate::io::bfd::Bfd;
use crate::io::carrier::Carriers;
use crate::io::clock::Clock;
use crate::io::egress::EgressLookup;
use crate::io::tcp::{TcpOptions, TtlRule};

pub(crate) fn context(events: mpsc::Sender<(PeerName, PeerEvent)>, clock: Clock) -> PeerContext {
    PeerContext {
        events,
        clock,
        egress: EgressLookup::open().unwrap(),
        bfd: Bfd::new(clock),
        pulse: crate::io::bmp::Pulse::default(),
        carriers: Carriers::watch().unwrap(),
        learn: crate::io::learn::spawn(None, clock).unwrap(),
    }
}

pub(crate) fn options() -> TcpOptions {
    TcpOptions { ttl: TtlRule { send: 1, accept: None }, hold: HoldTime::DEFAULT, send_hold: None }
}

/// A session that waits for nothing longer than it must. The router ID is made of the AS.
pub(crate) fn session(asn: u32, peer_asn: PeerAsn) -> SessionConfig {
    SessionConfig {
        local_asn: Asn::new(asn).unwrap(),
        router_id: RouterId::new(Ipv4Addr::from_bits(asn)).unwrap(),
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
        helper: false,
        role: None,
        host_name: None,
        seed: u64::from(asn),
    }
}

pub(crate) fn settings(asn: PeerAsn, local_address: IpAddr, port: u16) -> PeerSettings {
    PeerSettings {
        asn,
        local_asn: None,
        families: FamilySet::from_iter(Family::ALL),
        hold: HoldTime::DEFAULT,
        keepalive: None,
        connect_retry: Duration::from_secs(5),
        send_hold: None,
        authentication: None,
        ttl: Ttl::Direct,
        port,
        passive: false,
        local_address: Some(local_address),
        source_interface: None,
        next_hop_ipv4: Some(Ipv4Addr::new(192, 0, 2, 254)),
        next_hop_ipv6: Some("2001:db8::fe".parse().unwrap()),
        bfd: None,
        graceful_restart: None,
        long_lived_restart: None,
        receive: Receive::Count,
        max_prefixes: FamilyMap { ipv4: Some(1_000_000), ipv6: Some(1_000_000) },
        prefix_limit: None,
        learn: Learn::None,
        export: None,
        max_advertised: FamilyMap::default(),
        role: None,
        add_path: FamilyMap::default(),
        node_selector: None,
        shutdown: None,
    }
}
