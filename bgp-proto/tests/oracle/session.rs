//! The oracle's verdict held against a session in Established.

use std::net::SocketAddr;

use bgp_proto::session::{
    Action, ConnId, DownReason, Input, PeerAsn, Session, SessionConfig, State, TimerConfig,
};
use bgp_proto::types::{Asn, Family, FamilyMap, HoldTime, RouterId, Timestamp};
use bgp_proto::wire::{Capability, Open, keepalive};
use bytes::Bytes;

use crate::oracle::{Agreed, Verdict, judge};
use crate::{hex, told};

const CONN: ConnId = ConnId(1);

/// A session that is up.
pub struct Up(Session);

impl Up {
    /// With what was agreed.
    pub fn new(agreed: &Agreed) -> Self {
        let asn = |n| Asn::new(n).unwrap();
        let peer = asn(if agreed.external { 65001 } else { 65000 });
        let mut session = Session::new(SessionConfig {
            local_asn: asn(65000),
            router_id: "10.0.0.1".parse().unwrap(),
            peer_asn: PeerAsn::Any,
            passive: false,
            families: Family::ALL.into_iter().collect(),
            timers: TimerConfig::default(),
            extended_message: agreed.max_message > 4096,
            extended_next_hop: agreed.extended_next_hop,
            add_path: FamilyMap::default(),
            graceful_restart: None,
            helper: false,
            role: None,
            host_name: None,
            seed: 1,
        });
        let mut capabilities: Vec<_> =
            Family::ALL.into_iter().map(|family| Capability::Multiprotocol(family.afi_safi())).collect();
        let next_hops = Capability::ExtendedNextHop(vec![(Family::Ipv4Unicast.afi_safi(), 2)]);
        let wanted = [
            (agreed.asn4, Capability::FourOctetAsn(peer)),
            (agreed.extended_next_hop, next_hops),
            (agreed.enhanced_refresh, Capability::EnhancedRouteRefresh),
        ];
        capabilities
            .extend(wanted.into_iter().filter_map(|(wanted, capability)| wanted.then_some(capability)));
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
        assert_eq!(session.view().negotiated.expect("established").decode, crate::context(agreed));
        Self(session)
    }

    /// Receives the first message of `octets`, or less than one; a new session stands afterwards. Whether
    /// this one ended.
    pub fn play(&mut self, octets: &[u8], agreed: &Agreed) -> bool {
        // The oracle judges one message: what is behind one whose length was made less stays away.
        let length =
            octets.get(16..18).map_or(0, |length| usize::from(length[0]) * 256 + usize::from(length[1]));
        let octets = octets.get(..length).filter(|_| length >= 19).unwrap_or(octets);
        let mut actions = Vec::new();
        let input = Input::Received { conn: CONN, bytes: Bytes::copy_from_slice(octets) };
        self.0.handle(Timestamp::from_nanos(2), input, &mut actions);
        let kind = octets.get(18).copied().unwrap_or(0);
        let verdict = judge(octets, agreed);
        let says = || format!("{}\n{agreed:?}\n{verdict:?}\n{actions:?}", hex(octets));
        let down =
            actions.iter().find_map(|action| if let Action::Down(why) = action { Some(why) } else { None });
        let sent: Vec<u8> = actions.iter().flat_map(|action| sent(action).to_vec()).collect();
        // RFC 4271 §8.2.2: a second OPEN is an error of the state machine, whatever it says.
        let second_open = kind == 1 && !matches!(verdict, Verdict::Waits) && !is_header(&verdict);
        match (&verdict, down) {
            _ if second_open => assert!(
                sent.starts_with(&notification(5, 3, &[])[..16]) && code(&sent) == (5, 3),
                "{}",
                says()
            ),
            (Verdict::Reset(any), Some(DownReason::Sent(..))) => {
                let one = any.iter().any(|(code, subcode, data)| sent == notification(*code, *subcode, data));
                // Behind a faulty header there is no message.
                let header = octets.get(..19).filter(|_| is_header(&verdict)).unwrap_or(octets);
                let told = [header, octets].map(|told| Action::Malformed(Bytes::copy_from_slice(told)));
                let told = told.iter().any(|told| actions.contains(told));
                assert!(one && told, "{}", says());
            }
            (Verdict::Fine, Some(DownReason::Received(_))) => {
                assert!(kind == 3 && sent.is_empty(), "{}", says());
            }
            (Verdict::Fine, None) => assert!(kind != 3, "{}", says()),
            (Verdict::Waits, None) => assert!(actions.is_empty(), "{}", says()),
            (Verdict::Update(expected), _) => {
                let update =
                    actions.iter().find_map(|a| if let Action::Update(u) = a { Some(u) } else { None });
                assert_eq!(update.map(|update| told(update)).as_ref(), Some(&**expected), "{}", says());
            }
            _ => panic!("{}", says()),
        }
        let ended = self.0.state() != State::Established;
        if ended {
            assert!(down.is_some() && actions.contains(&Action::Close { conn: CONN }), "{}", says());
        }
        if ended || verdict == Verdict::Waits {
            *self = Self::new(agreed);
        }
        ended
    }
}

fn is_header(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Reset(any) if any.iter().any(|(code, ..)| *code == 1))
}

fn sent(action: &Action) -> &[u8] {
    if let Action::Send { bytes, .. } = action { bytes } else { &[] }
}

/// Code and subcode of the NOTIFICATION at the front.
fn code(octets: &[u8]) -> (u8, u8) {
    (octets[19], octets[20])
}

/// The message of RFC 4271 §4.5, by hand.
fn notification(code: u8, subcode: u8, data: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend_from_slice(&u16::try_from(21 + data.len()).unwrap().to_be_bytes());
    octets.extend_from_slice(&[3, code, subcode]);
    octets.extend_from_slice(data);
    octets
}
