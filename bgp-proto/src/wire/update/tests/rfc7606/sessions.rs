//! The same tables through a session: it never ends where an RFC lets it live, and the other way round.

use std::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::session::{
    Action, ConnId, DownReason, Input, PeerAsn, Session, SessionConfig, State, TimerConfig,
};
use crate::types::{Asn, FamilyMap, HoldTime, RouterId, Timestamp};
use crate::wire::{Capability, Open, keepalive};

const CONN: ConnId = ConnId(1);

/// An established session in which UPDATEs mean what `context` says.
fn established(context: &DecodeContext) -> Session {
    let asn = |n| Asn::new(n).unwrap();
    let peer = asn(if context.external { 65001 } else { 65000 });
    let mut session = Session::new(SessionConfig {
        local_asn: asn(65000),
        router_id: "10.0.0.1".parse().unwrap(),
        peer_asn: PeerAsn::Any,
        passive: false,
        families: Family::ALL.into_iter().collect(),
        timers: TimerConfig::default(),
        extended_message: false,
        extended_next_hop: context.extended_next_hop,
        add_path: FamilyMap::default(),
        graceful_restart: None,
        helper: false,
        role: None,
        host_name: None,
        seed: 1,
    });
    let mut capabilities: Vec<_> =
        Family::ALL.into_iter().map(|family| Capability::Multiprotocol(family.afi_safi())).collect();
    if context.asn4 {
        capabilities.push(Capability::FourOctetAsn(peer));
    }
    if context.extended_next_hop {
        capabilities.push(Capability::ExtendedNextHop(vec![(Family::Ipv4Unicast.afi_safi(), 2)]));
    }
    let router_id = RouterId::new([10, 0, 0, 2].into()).unwrap();
    let open = Open { asn: peer, hold_time: HoldTime::DEFAULT, router_id, capabilities }.encode();
    let address = |host, port| SocketAddr::from(([10, 0, 0, host], port));
    for input in [
        Input::Start,
        Input::Connected { conn: CONN, local: address(1, 40000), remote: address(2, 179) },
        Input::Received { conn: CONN, bytes: open },
        Input::Received { conn: CONN, bytes: keepalive() },
    ] {
        session.handle(Timestamp::from_nanos(1), input, &mut Vec::new());
    }
    assert_eq!(session.state(), State::Established);
    let negotiated = session.view().negotiated.unwrap().decode;
    assert_eq!(negotiated, *context);
    session
}

/// What became of the session: in `outcome`'s words, without the codes of attributes.
fn play(session: &mut Session, octets: &[u8]) -> String {
    let mut actions = Vec::new();
    let input = Input::Received { conn: CONN, bytes: Bytes::copy_from_slice(octets) };
    session.handle(Timestamp::from_nanos(2), input, &mut actions);
    let mut told = None;
    let mut sent = Vec::new();
    for action in actions {
        match action {
            Action::Update(update) => {
                assert_eq!(session.state(), State::Established);
                told = Some(match update.disposition() {
                    Disposition::TreatAsWithdraw => "withdraw".to_owned(),
                    Disposition::AttributeDiscard => "discard".to_owned(),
                    _ => "accept".to_owned(),
                });
            }
            Action::Down(DownReason::Sent(notification, text)) => {
                assert!(!text.is_empty());
                let data: String = notification.data.iter().map(|octet| format!("{octet:02x}")).collect();
                let text = format!("reset {}/{} {data}", notification.code, notification.subcode);
                // What is reported is what went out.
                assert_eq!(sent, notification.encode());
                told = Some(text.trim_end().to_owned());
            }
            Action::Send { bytes, .. } => sent.extend_from_slice(&bytes),
            // RFC 7606 §6: the log gets the whole of it.
            Action::Malformed(message) => assert_eq!(message, octets),
            Action::Close { .. } | Action::State(_) | Action::Note(_) => {}
            other => panic!("{other:?}"),
        }
    }
    told.expect("an UPDATE or an end")
}

#[test]
fn a_session_ends_exactly_where_the_tables_say() {
    for kind in kinds() {
        for extended_next_hop in [false, true] {
            let context = DecodeContext { extended_next_hop, ..kind };
            let mut session = established(&context);
            let of = |row: &Row| row.is_for(&kind) && row.extended_next_hop == extended_next_hop;
            for (code, row) in all_rows().filter(|(_, row)| of(row)) {
                for routes in [Routes::Nlri, Routes::None] {
                    let found = play(&mut session, &with(row.octets, &context, routes));
                    let expected = expected(code, row, &kind, routes);
                    let word = expected.split(' ').next().unwrap();
                    let expected = if word == "reset" { &expected } else { word };
                    assert_eq!(found, expected, "{} with {routes:?}, {kind:?}", row.octets);
                    if word == "reset" {
                        session = established(&context);
                    }
                }
            }
        }
    }
}
