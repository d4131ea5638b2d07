//! A Loc-RIB with as many routes of each family as asked for.

use super::*;

pub(super) const V4: NextHop = NextHop::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));

/// Host routes in ascending order.
pub(super) fn prefixes(family: Family, count: usize) -> Vec<Prefix> {
    let addr = |n: u32| match family {
        Family::Ipv4Unicast => IpAddr::V4((0x0a00_0000 + n).into()),
        Family::Ipv6Unicast => IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(n)).into()),
    };
    (0..).map(|n| Prefix::host(addr(n))).take(count).collect()
}

pub(super) fn attributes(asn: u32) -> PathAttributes {
    let segment = bgp_proto::wire::AsPathSegment {
        kind: bgp_proto::wire::SegmentKind::Sequence,
        asns: vec![Asn::new(asn).unwrap()],
    };
    PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(bgp_proto::wire::AsPath { segments: vec![segment] }),
        ..PathAttributes::default()
    }
}

pub(super) struct Routes {
    exporter: Exporter,
    rib: LocRib,
}

impl Routes {
    pub(super) fn new(count: usize) -> Self {
        let contribution = Contribution {
            advertisement: "fabric".into(),
            source: Source { kind: SourceKind::Prefix, namespace: None, name: "fabric".to_owned() },
            created: 0,
            attributes: Arc::new(RouteAttributes::default()),
            peers: None,
            covered: true,
        };
        let route = Route { contributions: vec![contribution].into(), since: 0 };
        let all = Family::ALL.into_iter().flat_map(|family| prefixes(family, count));
        let rib = LocRib { routes: all.map(|prefix| (prefix, route.clone())).collect() };
        let mut exporter = Exporter::new();
        exporter.apply(&rib.routes.keys().copied().collect(), &rib);
        exporter.set_complete();
        Self { exporter, rib }
    }

    pub(super) fn tables(
        &mut self,
        settings: &PeerSettings,
        negotiated: &Negotiated,
    ) -> FamilyMap<Option<Arc<Table>>> {
        let (local, remote) = (negotiated.local.ip(), negotiated.remote.ip());
        let extended = negotiated.encode.extended_next_hop;
        let inputs = NextHopInputs::of_session(settings, local, remote, extended);
        let next_hops = FamilyMap::from_fn(|family| next_hop(family, &inputs));
        let out = PeerOut::new("peer", settings, negotiated, next_hops);
        self.exporter.peer_up("peer", out, &self.rib)
    }

    /// Withdraws the first `count` of each family.
    pub(super) fn withdraw(&mut self, count: usize) {
        let gone: BTreeSet<Prefix> =
            Family::ALL.into_iter().flat_map(|family| prefixes(family, count)).collect();
        self.rib.routes.retain(|prefix, _| !gone.contains(prefix));
        self.exporter.apply(&gone, &self.rib);
    }
}
