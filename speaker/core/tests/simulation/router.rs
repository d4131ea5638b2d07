//! A ToR: real sessions, the real codec, and a plain table for each node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use bgp_proto::session::{PeerAsn, SessionConfig, TimerConfig};
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime, Prefix, RouterId, Timestamp};
use bgp_proto::wire::{
    AsPath, AsPathSegment, NextHop, Nlri, Origin, PathAttributes, RefreshKind, SegmentKind, Update,
    end_of_rib, pack_announcements,
};
use bytes::{Bytes, BytesMut};

use super::endpoint::Endpoint;
use super::fabric::Event;

/// What a ToR holds of one node, session by session.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) routes: BTreeMap<Prefix, (PathAttributes, NextHop)>,
    /// End-of-RIB markers of the present session.
    pub(crate) ends: FamilyMap<u32>,
    /// What a refresh has not repeated yet (RFC 7313 §4).
    stale: FamilyMap<Option<BTreeSet<Prefix>>>,
    pub(crate) updates: u64,
}

impl Table {
    /// Takes an UPDATE; says what it announced.
    pub(crate) fn apply(&mut self, update: &Update) -> Result<Vec<Prefix>, String> {
        self.updates += 1;
        if !update.issues.is_empty() {
            return Err(format!("a faulty UPDATE: {:?}", update.issues));
        }
        let mut announced = Vec::new();
        for nlri in update.withdrawn.iter().flat_map(bgp_proto::wire::NlriBlock::iter) {
            self.routes.remove(&nlri.prefix);
        }
        for announcement in &update.announced {
            for nlri in announcement.nlri.iter() {
                if let Some(stale) = self.stale.get_mut(nlri.prefix.family()) {
                    stale.remove(&nlri.prefix);
                }
                let route = (update.attributes.clone(), announcement.next_hop);
                self.routes.insert(nlri.prefix, route);
                announced.push(nlri.prefix);
            }
        }
        if let Some(family) = update.end_of_rib {
            *self.ends.get_mut(family) += 1;
            if *self.ends.get(family) > 1 {
                return Err(format!("a second End-of-RIB of {family}"));
            }
        }
        Ok(announced)
    }

    /// BoRR and EoRR: what the refresh did not repeat is gone.
    pub(crate) fn refresh(&mut self, family: Family, kind: RefreshKind) -> Result<(), String> {
        if *self.ends.get(family) == 0 {
            return Err(format!("a refresh of {family} before End-of-RIB (RFC 7313 section 4)"));
        }
        match kind {
            RefreshKind::Begin => {
                let all = self.routes.keys().filter(|prefix| prefix.family() == family);
                *self.stale.get_mut(family) = Some(all.copied().collect());
            }
            RefreshKind::End => {
                for prefix in self.stale.get_mut(family).take().ok_or("EoRR without BoRR")? {
                    self.routes.remove(&prefix);
                }
            }
            RefreshKind::Request | RefreshKind::Unknown(_) => {}
        }
        Ok(())
    }

    /// No refresh is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.stale.iter().all(|(_, stale)| stale.is_none())
    }
}

/// One ToR.
#[derive(Debug)]
pub(crate) struct Tor {
    /// `None` while it is down.
    pub(crate) peers: Option<Vec<(Endpoint, Table)>>,
    /// Without power.
    pub(crate) dark: bool,
    pub(crate) asn: Asn,
    /// Processes nothing before; what comes waits in `deferred`.
    pub(crate) stalled: Timestamp,
    pub(crate) deferred: VecDeque<Event>,
    /// Reads in small pieces until then.
    pub(crate) slow: Timestamp,
}

impl Tor {
    pub(crate) fn new(asn: Asn) -> Self {
        let (stalled, slow) = (Timestamp::ZERO, Timestamp::ZERO);
        Self { peers: None, dark: false, asn, stalled, deferred: VecDeque::new(), slow }
    }
}

/// How a ToR faces a node.
pub(crate) fn session(
    tor: usize,
    asn: Asn,
    hold: HoldTime,
    passive: bool,
    graceful: bool,
    seed: u64,
) -> SessionConfig {
    let last = u8::try_from(tor).unwrap();
    SessionConfig {
        local_asn: asn,
        router_id: RouterId::new(Ipv4Addr::new(
            10,
            if tor.is_multiple_of(2) { 0 } else { 255 },
            255,
            1 + last,
        ))
        .unwrap(),
        peer_asn: PeerAsn::Any,
        passive,
        families: Family::ALL.into_iter().collect::<FamilySet>(),
        timers: TimerConfig { hold, ..TimerConfig::default() },
        extended_message: tor.is_multiple_of(2),
        extended_next_hop: true,
        add_path: FamilyMap::default(),
        graceful_restart: graceful.then_some(bgp_proto::session::GracefulRestartConfig {
            restart_time: 30,
            restarted: false,
            forwarding_kept: true,
            long_lived: None,
        }),
        helper: false,
        role: None,
        host_name: None,
        seed,
    }
}

/// What a ToR tells a node: a default route, and that this is all.
pub(crate) fn greeting(asn: Asn, external: bool, context: &bgp_proto::wire::EncodeContext) -> Bytes {
    let segments = if external {
        vec![AsPathSegment { kind: SegmentKind::Sequence, asns: vec![asn] }]
    } else {
        Vec::new()
    };
    let attributes = PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath { segments }),
        local_pref: (!external).then_some(100),
        ..PathAttributes::default()
    };
    let mut out = BytesMut::new();
    let next_hop = NextHop::V4(Ipv4Addr::new(10, 255, 0, 1));
    let default = Nlri { path_id: None, prefix: "0.0.0.0/0".parse().unwrap() };
    pack_announcements(context, Family::Ipv4Unicast, &attributes, &next_hop, [default], &mut out).unwrap();
    for family in Family::ALL {
        out.extend_from_slice(&end_of_rib(family));
    }
    out.freeze()
}
