//! Selection case by case; the table against a naive one over random histories; what a kernel is told.

mod history;
mod restart;
mod selection;

use std::net::IpAddr;
use std::sync::Arc;

use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, Prefix, RouterId};
use bgp_proto::wire::{AsPath, NextHop, Nlri, Origin, PathAttributes};
use speaker_config::model::Learn;

use super::*;

pub(super) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(super) fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

/// A peer at 10.0.`link`.254 on the interface of that number, in AS `asn`; ours is 64501.
pub(super) fn neighbor(link: u8, asn: u32) -> Neighbor {
    Neighbor {
        address: IpAddr::from([10, 0, link, 254]),
        interface: None,
        asn: self::asn(asn),
        router_id: RouterId::new([10, 255, 0, link].into()).unwrap(),
        local_asn: self::asn(64501),
        local_router_id: RouterId::new([10, 255, 0, 200].into()).unwrap(),
        role: None,
    }
}

/// This host is 10.0.N.1/24 on each of four interfaces.
pub(super) fn surroundings(links: impl IntoIterator<Item = u8>) -> Surroundings {
    let mut around = Surroundings::default();
    for link in links {
        let addr = IpAddr::from([10, 0, link, 1]);
        around.attached.insert(Attached { prefix: Prefix::new(addr, 24).unwrap(), interface: link.into() });
        let v6 = format!("2001:db8:{link}::/64").parse().unwrap();
        around.attached.insert(Attached { prefix: v6, interface: link.into() });
        around.own.insert(addr);
        around.interfaces.insert(link.into(), format!("eth{link}"));
    }
    around
}

pub(super) fn rules() -> Rules {
    let all = Learn::Prefixes(vec![prefix("0.0.0.0/0"), prefix("::/0")]);
    Rules { learn: all, most: FamilyMap::from_fn(|_| 1000) }
}

pub(super) fn both() -> FamilySet {
    Family::ALL.into_iter().collect()
}

pub(super) fn path(asns: &[u32]) -> PathAttributes {
    PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::sequence(asns.iter().map(|one| asn(*one)))),
        ..PathAttributes::default()
    }
}

pub(super) fn announced(prefixes: &[&str], next_hop: &str, attributes: PathAttributes) -> Sifted {
    let next_hop = match next_hop.parse().unwrap() {
        IpAddr::V4(v4) => NextHop::V4(v4),
        IpAddr::V6(address) => NextHop::V6 { address, link_local: None },
    };
    Sifted {
        withdrawn: Vec::new(),
        announced: vec![(next_hop, prefixes.iter().map(|one| Nlri::from(prefix(one))).collect())],
        attributes: Arc::new(attributes),
        end_of_rib: None,
    }
}

pub(super) fn withdrawn(prefixes: &[&str]) -> Sifted {
    Sifted {
        withdrawn: prefixes.iter().map(|one| Nlri::from(prefix(one))).collect(),
        announced: Vec::new(),
        attributes: Arc::default(),
        end_of_rib: None,
    }
}

pub(super) fn end_of_rib(family: Family) -> Sifted {
    Sifted { end_of_rib: Some(family), ..withdrawn(&[]) }
}

pub(super) fn name(text: &str) -> Arc<str> {
    Arc::from(text)
}

/// The gateways towards a destination.
pub(super) fn ways(learned: &Learned, destination: &str) -> Vec<String> {
    let hops = learned.hops(prefix(destination));
    hops.into_iter().flat_map(|hops| hops.iter().map(|hop| hop.gateway.to_string())).collect()
}

/// The reason why the route of `peer` is not used.
pub(super) fn reason(learned: &Learned, peer: &str, destination: &str) -> Option<String> {
    let rows = learned.rows(|name, one| name == peer && one == prefix(destination));
    rows.first().unwrap_or_else(|| panic!("{peer} has no {destination}")).reason.clone()
}
