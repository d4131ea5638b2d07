//! The export side alone: how long the hub is busy, how long encoding takes, what it costs in memory.
//!
//! `cargo bench -p speaker-core --bench export`
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a benchmark reads the clock, and stops where something is wrong"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_proto::types::{Asn, Community, Family, FamilyMap, FamilySet, Prefix};
use bgp_proto::wire::{EncodeContext, NextHop};
use speaker_config::model::RouteAttributes;
use speaker_core::export::{Cursor, Exporter, PeerOut};
use speaker_core::rib::{Contribution, LocRib, Route, Source, SourceKind};

const ROUTES: u32 = 200_000;
const SETS: u16 = 100;

fn main() {
    let before = resident();
    let rib = loc_rib();
    println!("{ROUTES} routes with {SETS} attribute sets; Loc-RIB {} MB", (resident() - before) / 1_000_000);
    for peers in [1, 10, 50] {
        dump(&rib, peers);
    }
    slow_peer(&rib);
    change();
}

/// Session up to the last byte encoded and End-of-RIB, for all peers.
fn dump(rib: &LocRib, peers: usize) {
    let before = resident();
    let mut exporter = Exporter::new();
    exporter.set_complete();
    let start = Instant::now();
    let mut cursors = attach(&mut exporter, rib, peers);
    let hub = start.elapsed();
    let mut messages = 0;
    let mut octets = 0;
    for cursor in &mut cursors {
        (messages, octets) = (0, 0);
        while let Some(span) = cursor.next_span() {
            messages += span.messages;
            octets += span.octets();
        }
    }
    println!(
        "dump to {peers:>2} peers: hub {}, all encoded {}, {messages} messages and {octets} octets a peer, {} MB",
        ms(hub),
        ms(start.elapsed()),
        (resident().saturating_sub(before)) / 1_000_000,
    );
}

/// Every route changes twenty times while one of 50 peers reads nothing.
fn slow_peer(rib: &LocRib) {
    let mut rib = rib.clone();
    let mut exporter = Exporter::new();
    exporter.set_complete();
    let mut cursors = attach(&mut exporter, &rib, 50);
    for cursor in &mut cursors {
        while cursor.next_span().is_some() {}
    }
    let before = resident();
    let changed: Vec<Prefix> = rib.routes.keys().copied().collect();
    let others = Arc::new(RouteAttributes { med: Some(7), ..RouteAttributes::default() });
    for round in 0..20_u32 {
        for batch in changed.chunks(1_000) {
            for prefix in batch {
                let contributions = &mut rib.routes.get_mut(prefix).unwrap().contributions;
                let mut changed = contributions.to_vec();
                changed[0].attributes = match round % 2 {
                    0 => Arc::clone(&others),
                    _ => Arc::default(),
                };
                *contributions = changed.into();
            }
            exporter.apply(&batch.iter().copied().collect(), &rib);
            for cursor in cursors.iter_mut().skip(1) {
                while cursor.next_span().is_some() {}
            }
        }
    }
    let grown = resident().saturating_sub(before);
    let span = cursors[0].next_span().unwrap();
    println!(
        "slow peer: {} changes later {} MB more, and its span has {} routes in {} messages",
        20 * ROUTES,
        grown / 1_000_000,
        span.announced,
        span.messages,
    );
}

/// One Service comes and goes among 10,000: from the change of the Loc-RIB to the bytes of every peer.
fn change() {
    for peers in [1, 50] {
        let mut rib = LocRib::default();
        for index in 0..10_000 {
            rib.routes.insert(host(index), route(&Arc::default(), SourceKind::Service));
        }
        let mut exporter = Exporter::new();
        exporter.set_complete();
        let mut cursors = attach(&mut exporter, &rib, peers);
        for cursor in &mut cursors {
            while cursor.next_span().is_some() {}
        }
        let mut times: Vec<Duration> = (0..10_000)
            .map(|round| {
                let prefix = host(round * 7 % 10_000);
                if rib.routes.remove(&prefix).is_none() {
                    rib.routes.insert(prefix, route(&Arc::default(), SourceKind::Service));
                }
                let start = Instant::now();
                exporter.apply(&BTreeSet::from([prefix]), &rib);
                for cursor in &mut cursors {
                    assert_eq!(black_box(cursor.next_span()).unwrap().messages, 1);
                }
                start.elapsed()
            })
            .collect();
        times.sort();
        println!("change to {peers:>2} peers: p50 {}, p99 {}", ms(times[5_000]), ms(times[9_900]));
    }
}

fn attach(exporter: &mut Exporter, rib: &LocRib, peers: usize) -> Vec<Cursor> {
    (0..peers)
        .map(|index| {
            let tables = exporter.peer_up(&format!("peer-{index}"), peer(&format!("peer-{index}")), rib);
            tables.ipv4.unwrap().attach()
        })
        .collect()
}

fn peer(name: &str) -> PeerOut {
    PeerOut {
        selected_as: name.to_owned(),
        peer_asn: Asn::new(64500).unwrap(),
        local_asn: Asn::new(64501).unwrap(),
        families: FamilySet::from_iter([Family::Ipv4Unicast]),
        encode: EncodeContext { asn4: true, ..EncodeContext::default() },
        role: None,
        export: None,
        max_advertised: FamilyMap::default(),
        next_hops: FamilyMap::from_fn(|_| Ok(NextHop::V4(Ipv4Addr::new(10, 0, 0, 1)))),
    }
}

fn loc_rib() -> LocRib {
    let sets: Vec<Arc<RouteAttributes>> = (0..SETS)
        .map(|low| {
            let communities = vec![Community::new(64501, low), Community::new(64501, 1000 + low)];
            Arc::new(RouteAttributes { communities, ..RouteAttributes::default() })
        })
        .collect();
    let mut rib = LocRib::default();
    for index in 0..ROUTES {
        let prefix = Prefix::new(Ipv4Addr::from_bits(0x1000_0000 + (index << 8)).into(), 24).unwrap();
        rib.routes.insert(prefix, route(&sets[index as usize % usize::from(SETS)], SourceKind::Prefix));
    }
    rib
}

fn route(attributes: &Arc<RouteAttributes>, kind: SourceKind) -> Route {
    let contribution = Contribution {
        advertisement: "fabric".into(),
        source: Source { kind, namespace: None, name: "fabric".to_owned() },
        created: 0,
        attributes: Arc::clone(attributes),
        peers: None,
        covered: true,
    };
    Route { contributions: vec![contribution].into(), since: 0 }
}

fn host(index: u32) -> Prefix {
    Prefix::host(Ipv4Addr::from_bits(0x0a00_0000 + index).into())
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// Octets of memory in use.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
