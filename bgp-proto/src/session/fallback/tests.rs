use super::*;
use crate::session::tests::config;
use crate::types::{Asn, FamilySet};

fn codes_of(offer: &[Capability]) -> Vec<u8> {
    offer.iter().map(Capability::code).collect()
}

fn refuse(fallback: &mut Fallback, config: &SessionConfig, subcode: u8) -> Vec<u8> {
    let refusal = Notification::new(codes::OPEN, subcode);
    assert!(fallback.refused(config, State::OpenSent, &refusal).is_some());
    codes_of(&fallback.offer(config, false))
}

#[test]
fn a_peer_that_refuses_the_open_meets_fewer_capabilities_step_by_step_and_then_all_again() {
    let config = config(64500, "10.0.0.1");
    let mut fallback = Fallback::default();
    let all = codes_of(&fallback.offer(&config, false));
    assert_eq!(all, [1, 1, 2, 6, 64, 70, 65]);
    assert_eq!(refuse(&mut fallback, &config, 0), [1, 1, 2, 65]);
    assert_eq!(refuse(&mut fallback, &config, 4), [1, 1]);
    assert_eq!(refuse(&mut fallback, &config, 7), all);
}

#[test]
fn the_last_rung_of_an_ipv4_only_session_is_rfc_4271_without_capabilities() {
    let mut config = config(64500, "10.0.0.1");
    config.families = FamilySet::from_iter([Family::Ipv4Unicast]);
    let mut fallback = Fallback::default();
    for expected in [&[1, 2, 65][..], &[1], &[], &[1, 2, 6, 64, 70, 65]] {
        assert_eq!(refuse(&mut fallback, &config, 4), expected);
    }
}

#[test]
fn ipv6_stays_announced_on_every_rung_and_a_wide_as_number_too() {
    let mut config = config(64500, "10.0.0.1");
    config.local_asn = Asn::new(4_200_000_000).unwrap();
    let mut fallback = Fallback::default();
    for _ in 0..8 {
        let offer = refuse(&mut fallback, &config, 7);
        assert!(offer.contains(&65), "{offer:?}");
        assert_eq!(offer.iter().filter(|code| **code == 1).count(), 2);
    }
}

#[test]
fn fewer_capabilities_are_remembered_for_sixteen_opens() {
    let config = config(64500, "10.0.0.1");
    let mut fallback = Fallback::default();
    refuse(&mut fallback, &config, 4);
    for _ in 1..TRIES_WITH_FEWER {
        fallback.tried();
        assert_eq!(codes_of(&fallback.offer(&config, false)), [1, 1, 2, 65]);
    }
    fallback.tried();
    assert_eq!(codes_of(&fallback.offer(&config, false)), [1, 1, 2, 6, 64, 70, 65]);
}

#[test]
fn a_bounced_long_message_takes_back_extended_messages_alone() {
    let config = config(64500, "10.0.0.1");
    let mut fallback = Fallback::default();
    let bounce = Notification::new(codes::MESSAGE_HEADER, 2);
    assert!(fallback.refused(&config, State::Established, &bounce).is_some());
    assert_eq!(codes_of(&fallback.offer(&config, false)), [1, 1, 2, 64, 70, 65]);
    assert!(fallback.refused(&config, State::Established, &bounce).is_none(), "it is not offered any more");
}

#[test]
fn other_refusals_change_nothing() {
    let config = config(64500, "10.0.0.1");
    let mut fallback = Fallback::default();
    for (code, subcode) in [(2, 2), (2, 3), (2, 6), (6, 2), (6, 5), (4, 0), (3, 1)] {
        let refusal = Notification::new(code, subcode);
        assert!(fallback.refused(&config, State::OpenSent, &refusal).is_none(), "{refusal}");
    }
    let late = Notification::new(codes::OPEN, 0);
    assert!(fallback.refused(&config, State::Established, &late).is_none());
}

#[test]
fn every_option_is_said_where_it_is_configured() {
    let mut config = config(64500, "10.0.0.1");
    config.extended_next_hop = true;
    config.role = Some(3);
    config.host_name = Some("leaf1-n1".to_owned());
    config.add_path.ipv4 = 1;
    config.add_path.ipv6 = 4;
    config.graceful_restart = Some(crate::session::GracefulRestartConfig {
        restart_time: 5000,
        restarted: true,
        forwarding_kept: true,
        long_lived: None,
    });
    let offer = Fallback::default().offer(&config, false);
    assert_eq!(codes_of(&offer), [1, 1, 2, 5, 6, 9, 64, 69, 70, 73, 65]);
    let v4 = Family::Ipv4Unicast.afi_safi();
    assert!(offer.contains(&Capability::AddPath(vec![(v4, 1)])));
    let restart = |came_up| {
        let offer = Fallback::default().offer(&config, came_up);
        offer.into_iter().find_map(|c| if let Capability::GracefulRestart(g) = c { Some(g) } else { None })
    };
    let first = restart(false).unwrap();
    assert_eq!((first.restarted, first.notification, first.restart_time), (true, true, 4095));
    assert!(first.families.iter().all(|(_, kept)| *kept));
    assert!(!restart(true).unwrap().restarted, "R is said until the session has come up");
    // RFC 9494 §3.1.
    let mut lasting = config.clone();
    lasting.graceful_restart.as_mut().unwrap().long_lived = Some(1 << 24);
    let offer = Fallback::default().offer(&lasting, false);
    let said = [Family::Ipv4Unicast, Family::Ipv6Unicast].map(|f| (f.afi_safi(), 0x80, 0xff_ffff));
    assert!(offer.contains(&Capability::LongLivedGracefulRestart(said.to_vec())), "{offer:?}");
}

#[test]
fn a_helper_says_that_it_waits_and_asks_for_nothing() {
    let mut config = config(64500, "10.0.0.1");
    let offer = Fallback::default().offer(&config, false);
    let bare = Capability::GracefulRestart(crate::wire::GracefulRestart::default());
    assert!(offer.contains(&bare), "who keeps nothing has End-of-RIB all the same: {offer:?}");
    assert!(!offer.iter().any(|one| matches!(one, Capability::LongLivedGracefulRestart(_))), "{offer:?}");
    config.helper = true;
    let offer = Fallback::default().offer(&config, false);
    let restart = crate::wire::GracefulRestart { notification: true, ..Default::default() };
    assert!(offer.contains(&Capability::GracefulRestart(restart)), "no family, restart time 0: {offer:?}");
    assert!(offer.contains(&Capability::LongLivedGracefulRestart(Vec::new())), "{offer:?}");
    config.graceful_restart = Some(crate::session::GracefulRestartConfig {
        restart_time: 30,
        restarted: false,
        forwarding_kept: true,
        long_lived: None,
    });
    let offer = Fallback::default().offer(&config, false);
    let families = offer.iter().find_map(|one| match one {
        Capability::GracefulRestart(restart) => Some(restart.families.len()),
        _ => None,
    });
    assert_eq!(families, Some(2), "beside our own restart the same capability says both");
    assert!(offer.contains(&Capability::LongLivedGracefulRestart(Vec::new())), "{offer:?}");
}
