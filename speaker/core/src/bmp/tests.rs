use std::collections::BTreeSet;

use bgp_proto::types::Prefix;
use bgp_proto::wire::{DecodeContext, Message as BgpMessage, NextHop, PathAttributes, read_message};
use speaker_config::model::RouteAttributes;

use super::*;
use crate::export::{Exporter, PeerOut};
use crate::rib::{Contribution, LocRib, Route, Source, SourceKind};

const NOW: WallTime = (1_795_262_400, 7);
/// Stands for the unspecified next hop.
const NOBODY: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ALL: Monitored = Monitored { adj_rib_in: true, adj_rib_out: true, loc_rib: true };

fn asn(value: u32) -> Asn {
    Asn::new(value).unwrap()
}

fn router_id(last: u8) -> RouterId {
    RouterId::new([10, 0, 0, last].into()).unwrap()
}

fn open(asn_: u32, last: u8) -> Bytes {
    let capabilities = vec![Capability::FourOctetAsn(asn(asn_))];
    Open { asn: asn(asn_), hold_time: HoldTime::DEFAULT, router_id: router_id(last), capabilities }.encode()
}

fn negotiated(conn: u64) -> Negotiated {
    let families: FamilySet = Family::ALL.into_iter().collect();
    let encode = EncodeContext { asn4: true, max_message: 4096, ..EncodeContext::default() };
    Negotiated {
        conn: ConnId(conn),
        local: "10.0.0.1:40000".parse().unwrap(),
        remote: "10.0.0.2:179".parse().unwrap(),
        local_asn: asn(64501),
        peer_asn: asn(64502),
        peer_router_id: router_id(2),
        hold_time: HoldTime::DEFAULT,
        families,
        encode,
        decode: DecodeContext { asn4: true, families, ..DecodeContext::default() },
        route_refresh: true,
        enhanced_refresh: false,
        graceful_restart: None,
        sent_open: open(64501, 1),
        received_open: open(64502, 2),
        our_capabilities: Vec::new(),
        peer_capabilities: Vec::new(),
    }
}

/// A node with one peer, and what a station is shown of it.
struct Node {
    rib: LocRib,
    exporter: Exporter,
    picture: Picture,
}

impl Node {
    fn new() -> Self {
        let rib = LocRib::default();
        let mut exporter = Exporter::new();
        exporter.set_complete();
        exporter.follow_local(true, &rib);
        let picture = Picture {
            identity: Some((router_id(1), asn(64501))),
            local: exporter.local_tables(),
            ..Picture::default()
        };
        Self { rib, exporter, picture }
    }

    fn up(&mut self, serial: u64) {
        let next_hop = NextHop::V4([10, 0, 0, 1].into());
        let out = PeerOut {
            selected_as: "tor".to_owned(),
            peer_asn: asn(64502),
            local_asn: asn(64501),
            families: [Family::Ipv4Unicast].into_iter().collect(),
            encode: negotiated(0).encode,
            role: None,
            export: None,
            max_advertised: FamilyMap::default(),
            next_hops: FamilyMap::from_fn(|_| Ok(next_hop)),
        };
        let tables = self.exporter.peer_up("tor", out, &self.rib);
        let session =
            Session { serial, negotiated: negotiated(serial), since: (5, 0), tables, receives: false };
        self.picture.sessions.insert("tor".into(), session);
    }

    fn down(&mut self, serial: u64, reason: DownReason) {
        self.exporter.peer_down("tor");
        self.picture.sessions.clear();
        self.picture.ended.insert("tor".into(), (serial, reason));
    }

    /// Sets or removes the route to `10.N.0.0/16`.
    fn set(&mut self, n: u8, med: Option<u32>) {
        let prefix: Prefix = format!("10.{n}.0.0/16").parse().unwrap();
        let contribution = |med| Contribution {
            advertisement: "fabric".into(),
            source: Source { kind: SourceKind::Pool, namespace: None, name: "blue".to_owned() },
            created: 0,
            attributes: Arc::new(RouteAttributes { med: Some(med), ..RouteAttributes::default() }),
            peers: None,
            covered: true,
        };
        match med {
            Some(med) => {
                let route = Route { contributions: vec![contribution(med)].into(), since: 0 };
                self.rib.routes.insert(prefix, route);
            }
            None => drop(self.rib.routes.remove(&prefix)),
        }
        self.exporter.apply(&BTreeSet::from([prefix]), &self.rib);
    }
}

type Tables = BTreeMap<(bool, Prefix), (NextHop, PathAttributes)>;

/// What a station makes of what it is told: the sessions that are up, and their tables, the Loc-RIB's as `true`.
#[derive(Default)]
struct Heard {
    up: BTreeSet<&'static str>,
    tables: Tables,
    downs: Vec<Down>,
    ends: usize,
    introduced: bool,
}

impl Heard {
    fn read(&mut self, octets: &[u8]) {
        let mut buffer = BytesMut::from(octets);
        while let Some(message) = Message::decode(&mut buffer).unwrap() {
            assert!(self.introduced || matches!(message, Message::Initiation(_)), "{message:?} comes first");
            match message {
                Message::Initiation(_) => self.introduced = true,
                Message::PeerUp(up) => {
                    let local = matches!(up.peer.rib, Rib::LocRib { .. });
                    assert!(self.up.insert(if local { "local" } else { "tor" }), "up twice");
                    if local {
                        assert_eq!(up.sent, up.received);
                    } else {
                        assert_eq!((up.sent, up.received), (open(64501, 1), open(64502, 2)));
                        assert_eq!((up.local_port, up.remote_port), (40000, 179));
                    }
                }
                Message::PeerDown { peer, reason } => {
                    assert_eq!(peer.router_id, Ipv4Addr::new(10, 0, 0, 2));
                    assert!(self.up.remove("tor"));
                    self.tables.retain(|(local, _), _| *local);
                    self.downs.push(reason);
                }
                Message::RouteMonitoring { peer, update } => self.update(&peer, &update),
                other => panic!("{other:?}"),
            }
        }
        assert!(buffer.is_empty());
    }

    fn update(&mut self, peer: &Peer, update: &Bytes) {
        let local = match peer.rib {
            Rib::LocRib { .. } => true,
            Rib::AdjRibOut { post_policy } => !post_policy,
            Rib::AdjRibIn { .. } => panic!("nothing was announced"),
        };
        assert!(self.up.contains(if local { "local" } else { "tor" }), "routes of what is down");
        let families = Family::ALL.into_iter().collect();
        let context = DecodeContext {
            asn4: true,
            families,
            max_message: 65535,
            loopback: true,
            ..DecodeContext::default()
        };
        let mut octets = BytesMut::from(&update[..]);
        // The Loc-RIB's next hop is nobody: a session would refuse it.
        if let Some(at) = octets.windows(7).position(|seven| seven == [0x40, 3, 4, 0, 0, 0, 0]) {
            assert!(local, "no next hop");
            octets[at + 3..at + 7].copy_from_slice(&NOBODY.octets());
        }
        let Ok(Some(BgpMessage::Update(update))) = read_message(&mut octets, &context) else { panic!() };
        for nlri in update.withdrawn.iter().flatten() {
            assert!(self.tables.remove(&(local, nlri.prefix)).is_some(), "{nlri:?} was never announced");
        }
        for part in &update.announced {
            for nlri in &part.nlri {
                self.tables.insert((local, nlri.prefix), (part.next_hop, update.attributes.clone()));
            }
        }
        self.ends += usize::from(update.end_of_rib.is_some());
    }

    /// Takes all there is.
    fn drain(&mut self, collector: &mut Collector, picture: &Picture) {
        loop {
            let octets = collector.next(picture, NOW);
            if octets.is_empty() {
                return;
            }
            self.read(&octets);
        }
    }

    fn meds(&self, local: bool) -> Vec<(String, Option<u32>)> {
        let own = self.tables.iter().filter(|((table, _), _)| *table == local);
        own.map(|((_, prefix), (_, attributes))| (prefix.to_string(), attributes.med)).collect()
    }
}

fn collector() -> Collector {
    Collector::new(ALL, "speaker".to_owned(), "n1".to_owned())
}

#[test]
fn a_station_knows_the_sessions_and_both_tables() {
    let mut node = Node::new();
    node.set(1, Some(10));
    node.up(1);
    let (mut collector, mut heard) = (collector(), Heard::default());
    heard.drain(&mut collector, &node.picture);
    assert_eq!(heard.up, BTreeSet::from(["local", "tor"]));
    let expected = vec![("10.1.0.0/16".to_owned(), Some(10))];
    assert_eq!((heard.meds(true), heard.meds(false)), (expected.clone(), expected));
    // Two families of the Loc-RIB, one of the session.
    assert_eq!(heard.ends, 3);
    let told =
        heard.tables.values().map(|(next_hop, set)| (*next_hop, set.as_path.clone().unwrap().segments.len()));
    let told: BTreeSet<_> = told.collect();
    let none = NextHop::V4(NOBODY);
    assert_eq!(told, BTreeSet::from([(none, 0), (NextHop::V4([10, 0, 0, 1].into()), 1)]));

    node.set(1, Some(11));
    node.set(2, Some(20));
    heard.drain(&mut collector, &node.picture);
    assert_eq!(
        heard.meds(false),
        [("10.1.0.0/16".to_owned(), Some(11)), ("10.2.0.0/16".to_owned(), Some(20))]
    );
    node.set(1, None);
    heard.drain(&mut collector, &node.picture);
    assert_eq!((heard.meds(true), heard.meds(false).len()), (vec![("10.2.0.0/16".to_owned(), Some(20))], 1));
}

#[test]
fn a_session_that_ended_and_came_again_between_two_looks_is_told_as_two() {
    let mut node = Node::new();
    node.set(1, Some(10));
    node.up(1);
    let (mut collector, mut heard) = (collector(), Heard::default());
    heard.drain(&mut collector, &node.picture);
    node.down(1, DownReason::HoldTimerExpired);
    node.up(2);
    heard.drain(&mut collector, &node.picture);
    let hold = Notification { code: 4, subcode: 0, data: Bytes::new() };
    assert_eq!(heard.downs, [Down::LocalNotification(hold.encode())]);
    assert_eq!(heard.meds(false).len(), 1);
    let cease = Notification::cease(2, "rack 4");
    node.down(2, DownReason::Received(cease.clone()));
    heard.drain(&mut collector, &node.picture);
    assert_eq!(heard.downs[1], Down::RemoteNotification(cease.encode()));
    assert_eq!(heard.up, BTreeSet::from(["local"]));
    for (reason, expected) in [
        (DownReason::Transport("reset".to_owned()), Down::Remote),
        (DownReason::Stopped, Down::LocalEvent(2)),
        (DownReason::SendHoldTimerExpired, Down::LocalEvent(29)),
        (DownReason::Sent(cease.clone(), String::new()), Down::LocalNotification(cease.encode())),
    ] {
        assert_eq!(down(&reason), expected);
    }
}

#[test]
fn whatever_changes_while_a_station_does_not_read_is_told_once() {
    let mut node = Node::new();
    node.up(1);
    let (mut collector, mut heard) = (collector(), Heard::default());
    heard.drain(&mut collector, &node.picture);
    for round in 0..500 {
        for n in 1..5 {
            node.set(n, (round % 3 != 0).then_some(round));
        }
    }
    let mut octets = 0;
    loop {
        let next = collector.next(&node.picture, NOW);
        if next.is_empty() {
            break;
        }
        octets += next.len();
        heard.read(&next);
    }
    // One UPDATE with four prefixes for each table, not 500.
    assert!(octets < 1000, "{octets} octets");
    assert_eq!(heard.meds(false), heard.meds(true));
    assert_eq!(heard.meds(true).len(), 4);
}

#[test]
fn tables_that_are_not_monitored_are_not_told() {
    let mut node = Node::new();
    node.set(1, Some(10));
    node.up(1);
    let none = Monitored { adj_rib_in: false, adj_rib_out: false, loc_rib: false };
    let mut heard = Heard::default();
    let mut collector = Collector::new(none, String::new(), String::new());
    heard.drain(&mut collector, &node.picture);
    assert_eq!((heard.up, heard.tables.len()), (BTreeSet::from(["tor"]), 0));
    assert!(collector.followed().is_empty());
}

#[test]
fn figures_count_each_family() {
    let mut node = Node::new();
    node.set(1, Some(10));
    node.up(1);
    let (mut collector, mut heard) = (collector(), Heard::default());
    heard.drain(&mut collector, &node.picture);
    let figures = Figures { received: FamilyMap { ipv4: Some(3), ipv6: None }, treated_as_withdraw: 2 };
    let octets = collector.statistics(&node.picture, &BTreeMap::from([("tor".into(), figures)]), NOW);
    let mut buffer = BytesMut::from(&octets[..]);
    let mut read = Vec::new();
    while let Some(message) = Message::decode(&mut buffer).unwrap() {
        let Message::Statistics { values, .. } = message else { panic!("{message:?}") };
        read.push(values);
    }
    let v4 = Family::Ipv4Unicast.afi_safi();
    assert_eq!(
        read[0],
        [
            (statistic::ADJ_RIB_IN, Value::Gauge(3)),
            (statistic::ADJ_RIB_IN_FAMILY, Value::FamilyGauge(v4, 3)),
            (statistic::TREATED_AS_WITHDRAW, Value::Counter(2)),
            (statistic::ADJ_RIB_OUT, Value::Gauge(1)),
            (statistic::ADJ_RIB_OUT_FAMILY, Value::FamilyGauge(v4, 1)),
        ]
    );
    assert_eq!(read[1][0], (statistic::LOC_RIB, Value::Gauge(1)));
}
