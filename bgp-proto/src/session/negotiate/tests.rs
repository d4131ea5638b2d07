use super::*;
use crate::session::fallback::Fallback;
use crate::session::link::Direction;
use crate::session::tests::{config, peer_open};
use crate::session::{ConnId, GracefulRestartConfig};
use crate::types::HoldTime;

fn ours(config: &SessionConfig) -> Open {
    Open {
        asn: config.local_asn,
        hold_time: HoldTime::DEFAULT,
        router_id: config.router_id,
        capabilities: Fallback::default().offer(config, false),
    }
}

fn negotiate_with(config: &SessionConfig, theirs: Open) -> Result<Negotiated, Refusal> {
    let address = "10.0.0.1:179".parse().unwrap();
    let link = Link::new(ConnId(1), Direction::Outgoing, address, address);
    negotiate(config, &link, &ours(config), theirs)
}

fn base() -> SessionConfig {
    config(64500, "10.0.0.2")
}

fn open_with(capabilities: Vec<Capability>) -> Open {
    Open { capabilities, ..peer_open() }
}

fn multiprotocol(family: Family) -> Capability {
    Capability::Multiprotocol(family.afi_safi())
}

fn code(refusal: Result<Negotiated, Refusal>) -> (u8, u8) {
    let (notification, _) = refusal.expect_err("refused");
    (notification.code, notification.subcode)
}

#[test]
fn the_peers_as_is_checked_as_configured_and_2_2_is_the_answer() {
    let asn = |n| Asn::new(n).unwrap();
    for (expected, theirs, good) in [
        (PeerAsn::Exact(asn(64501)), 64501, true),
        (PeerAsn::Exact(asn(64501)), 64502, false),
        (PeerAsn::External, 64501, true),
        (PeerAsn::External, 64500, false),
        (PeerAsn::Internal, 64500, true),
        (PeerAsn::Internal, 64501, false),
        (PeerAsn::Any, 64500, true),
        (PeerAsn::Any, 4_200_000_000, true),
    ] {
        let config = SessionConfig { peer_asn: expected, ..base() };
        let result = negotiate_with(&config, Open { asn: asn(theirs), ..peer_open() });
        assert_eq!(result.is_ok(), good, "{expected:?} {theirs}");
        if !good {
            let (notification, detail) = result.expect_err("refused");
            assert_eq!((notification.code, notification.subcode), (2, 2));
            assert!(detail.contains(&theirs.to_string()), "{detail}");
        }
    }
}

#[test]
fn our_router_id_is_refused_in_our_as_only() {
    let config = base();
    let same = Open { router_id: config.router_id, ..peer_open() };
    assert!(negotiate_with(&config, same.clone()).is_ok());
    let inside = Open { asn: config.local_asn, ..same };
    assert_eq!(code(negotiate_with(&config, inside)), (2, 3));
}

#[test]
fn no_family_in_common_is_2_7_with_the_capabilities_that_we_require() {
    let config = SessionConfig { families: [Family::Ipv6Unicast].into_iter().collect(), ..base() };
    for theirs in [vec![], vec![multiprotocol(Family::Ipv4Unicast)]] {
        let (notification, detail) = negotiate_with(&config, open_with(theirs)).expect_err("refused");
        assert_eq!((notification.code, notification.subcode), (2, 7));
        assert_eq!(*notification.data, [1, 4, 0, 2, 0, 1]);
        assert!(detail.contains("no address family in common"), "{detail}");
    }
}

#[test]
fn a_peer_without_multiprotocol_capability_means_ipv4_unicast() {
    let negotiated = negotiate_with(&base(), open_with(vec![])).unwrap();
    assert_eq!(negotiated.families, FamilySet::from_iter([Family::Ipv4Unicast]));
    assert!(!negotiated.decode.asn4 && !negotiated.encode.asn4);
    assert!(!negotiated.route_refresh);
}

#[test]
fn a_peer_that_announces_ipv6_alone_has_no_ipv4() {
    let negotiated = negotiate_with(&base(), open_with(vec![multiprotocol(Family::Ipv6Unicast)])).unwrap();
    assert_eq!(negotiated.families, FamilySet::from_iter([Family::Ipv6Unicast]));
}

#[test]
fn multiprotocol_ipv4_is_always_said_where_ipv4_is_configured_and_no_other_family() {
    let families = FamilySet::from_iter([Family::Ipv4Unicast]);
    let open = ours(&SessionConfig { families, ..base() });
    let said: Vec<_> =
        open.capabilities.iter().filter(|c| matches!(c, Capability::Multiprotocol(_))).collect();
    assert_eq!(said, [&multiprotocol(Family::Ipv4Unicast)]);
}

#[test]
fn the_receive_limit_is_what_we_announced_and_the_send_limit_what_both_did() {
    for (we, they, receive, send) in [
        (true, true, 65535, 65535),
        (true, false, 65535, 4096),
        (false, true, 4096, 4096),
        (false, false, 4096, 4096),
    ] {
        let config = SessionConfig { extended_message: we, ..base() };
        let mut open = peer_open();
        if they {
            open.capabilities.push(Capability::ExtendedMessage);
        }
        let negotiated = negotiate_with(&config, open).unwrap();
        assert_eq!(negotiated.decode.max_message, receive);
        assert_eq!(negotiated.encode.max_message, send);
    }
}

#[test]
fn ipv6_next_hops_for_ipv4_need_both_sides_and_odd_tuples_do_no_harm() {
    let config = SessionConfig { extended_next_hop: true, ..base() };
    let v4 = Family::Ipv4Unicast.afi_safi();
    let odd = (AfiSafi { afi: 25, safi: 65 }, 9);
    let multicast = (AfiSafi { afi: 1, safi: 2 }, 2);
    for (tuples, expected) in
        [(vec![odd, (v4, 2)], true), (vec![odd, multicast], false), (vec![(v4, 1)], false), (vec![], false)]
    {
        let mut open = peer_open();
        open.capabilities.push(Capability::ExtendedNextHop(tuples));
        let negotiated = negotiate_with(&config, open.clone()).unwrap();
        assert_eq!(negotiated.decode.extended_next_hop, expected);
        assert_eq!(negotiated.encode.extended_next_hop, expected);
        assert!(!negotiate_with(&base(), open).unwrap().encode.extended_next_hop);
    }
}

#[test]
fn add_path_is_agreed_for_each_family_and_direction() {
    let v4 = Family::Ipv4Unicast.afi_safi();
    // Ours: 1 receive, 2 send, 3 both. Theirs the same; what each sends the other must receive.
    for (we, they, they_send, we_send) in [
        (1, 2, true, false),
        (2, 1, false, true),
        (3, 3, true, true),
        (1, 1, false, false),
        (2, 2, false, false),
        (3, 1, false, true),
        (0, 3, false, false),
        (3, 7, false, false),
    ] {
        let mut config = base();
        config.add_path.ipv4 = we;
        let mut open = peer_open();
        open.capabilities.push(Capability::AddPath(vec![(AfiSafi { afi: 9, safi: 9 }, 3), (v4, they)]));
        let negotiated = negotiate_with(&config, open).unwrap();
        assert_eq!(negotiated.decode.add_path.contains(Family::Ipv4Unicast), they_send, "{we} {they}");
        assert_eq!(negotiated.encode.add_path.contains(Family::Ipv4Unicast), we_send, "{we} {they}");
        assert!(!negotiated.decode.add_path.contains(Family::Ipv6Unicast));
    }
}

#[test]
fn graceful_restart_needs_both_sides_and_the_last_of_several_counts() {
    let restart = |restart_time| {
        Capability::GracefulRestart(GracefulRestart { restart_time, ..GracefulRestart::default() })
    };
    let mut open = peer_open();
    open.capabilities.extend([restart(10), restart(20)]);
    let bare = negotiate_with(&base(), open.clone()).unwrap();
    assert_eq!(
        bare.graceful_restart.unwrap().restart_time,
        20,
        "who keeps nothing has the capability all the same"
    );
    let graceful_restart = Some(GracefulRestartConfig {
        restart_time: 30,
        restarted: false,
        forwarding_kept: false,
        long_lived: None,
    });
    let config = SessionConfig { graceful_restart, ..base() };
    assert_eq!(negotiate_with(&config, open).unwrap().graceful_restart.unwrap().restart_time, 20);
    assert_eq!(negotiate_with(&config, peer_open()).unwrap().graceful_restart, None);
}

#[test]
fn unknown_and_repeated_capabilities_are_kept_and_change_nothing() {
    let mut open = peer_open();
    let unknown = Capability::Unknown { code: 200, value: vec![1, 2].into() };
    open.capabilities.extend([unknown.clone(), multiprotocol(Family::Ipv4Unicast), Capability::Role(0)]);
    let negotiated = negotiate_with(&base(), open).unwrap();
    assert_eq!(negotiated.families, Family::ALL.into_iter().collect());
    assert!(negotiated.peer_capabilities.contains(&unknown));
    assert!(negotiated.peer_capabilities.contains(&Capability::Role(0)), "roles are for the caller to judge");
}

#[test]
fn four_octet_as_numbers_need_both_sides() {
    let mut open = peer_open();
    assert!(negotiate_with(&base(), open.clone()).unwrap().encode.asn4);
    open.capabilities.retain(|c| !matches!(c, Capability::FourOctetAsn(_)));
    let negotiated = negotiate_with(&base(), open).unwrap();
    assert!(!negotiated.encode.asn4 && !negotiated.decode.asn4);
}

/// RFC 9234 §4.2: our role in rows, the peer's in columns.
#[test]
fn roles_have_to_correspond_where_both_sides_announce_one() {
    let good = [(0, 3), (1, 2), (2, 1), (3, 0), (4, 4)];
    for ours in 0..5 {
        let config = SessionConfig { role: Some(ours), ..base() };
        let with = |roles: &[u8]| {
            let mut open = peer_open();
            open.capabilities.extend(roles.iter().map(|role| Capability::Role(*role)));
            open
        };
        for theirs in 0..6 {
            let result = negotiate_with(&config, with(&[theirs]));
            assert_eq!(result.is_ok(), good.contains(&(ours, theirs)), "{ours} {theirs}");
            if let Err((notification, detail)) = result {
                assert_eq!((notification.code, notification.subcode), (2, 11));
                assert!(detail.starts_with("the peer's role is "), "{detail}");
            }
        }
        assert!(negotiate_with(&config, with(&[])).is_ok(), "a peer without a role is taken");
        // "If multiple BGP Role Capabilities are received and not all of them have the same value".
        assert_eq!(code(negotiate_with(&config, with(&[0, 1, 2, 3, 4]))), (2, 11));
        assert!(negotiate_with(&base(), with(&[0, 1])).is_ok(), "without a role of ours nothing is checked");
        let internal = SessionConfig { peer_asn: PeerAsn::Any, ..config };
        let open = Open { asn: internal.local_asn, ..with(&[9]) };
        assert!(negotiate_with(&internal, open).is_ok(), "roles are for external sessions (RFC 9234 §4)");
    }
}
