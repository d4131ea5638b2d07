//! Routing tables as MRT files (RFC 6396, RFC 8050): `speaker rib … -o mrt` and `-o mrt-updates`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_proto::mrt::{
    Body, Ends, IndexedPeer, PeerIndexTable, PeerMessage, Peering, Record, Rib, RibEntry, TooLong,
    encode_attributes,
};
use bgp_proto::session::Negotiated;
use bgp_proto::types::{Asn, Family, FamilySet, RouterId};
use bgp_proto::wire::{AttributesTooLong, EncodeContext, NextHop, Nlri, PathAttributes, pack_announcements};
use bytes::BytesMut;
use speaker_config::objects::UnixSeconds;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// TABLE_DUMP_V2: the peers, then prefix by prefix the routes.
    Table,
    /// BGP4MP: UPDATEs that build the table, peer by peer, as they stand between the two ends of its session; AS numbers take
    /// four octets in any case.
    Updates,
}

/// A peer, or for the Loc-RIB this speaker itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Its address.
    pub address: IpAddr,
    /// Ours.
    pub local_address: IpAddr,
    /// Its AS.
    pub asn: Asn,
    /// Ours towards it.
    pub local_asn: Asn,
    /// Families whose routes have path identifiers.
    pub add_path: FamilySet,
}

impl Peer {
    /// The peer of a session; `sent` says whether its routes are those that we sent.
    #[must_use]
    pub fn of(negotiated: &Negotiated, sent: bool) -> Self {
        Self {
            router_id: negotiated.peer_router_id,
            address: negotiated.remote.ip(),
            local_address: negotiated.local.ip(),
            asn: negotiated.peer_asn,
            local_asn: negotiated.local_asn,
            add_path: if sent { negotiated.encode.add_path } else { negotiated.decode.add_path },
        }
    }

    /// The routes that this speaker itself has: they have no peer, and its address is unspecified.
    #[must_use]
    pub fn this(router_id: RouterId, asn: Asn) -> Self {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            router_id,
            address: unspecified,
            local_address: unspecified,
            asn,
            local_asn: asn,
            add_path: FamilySet::EMPTY,
        }
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub nlri: Nlri,
    /// The next hop.
    pub next_hop: NextHop,
    /// Its attributes.
    pub attributes: Arc<PathAttributes>,
    /// Since when.
    pub since: UnixSeconds,
}

/// What does not fit into the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// A list or the attributes of a route.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The attributes of a route leave no room for it in any message.
    #[error(transparent)]
    Attributes(#[from] AttributesTooLong),
}

/// What a file is headed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dump {
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// When.
    pub at: UnixSeconds,
    /// Which table: the name of the view (RFC 6396 §4.3.1).
    pub view: &'static str,
    /// We sent these routes.
    pub sent: bool,
}

impl Dump {
    /// The whole file.
    ///
    /// # Errors
    /// There is more than the format has room for.
    pub fn write(&self, form: Form, peers: &[(Peer, Vec<Route>)]) -> Result<Vec<u8>, Unwritable> {
        let mut out = Vec::new();
        match form {
            Form::Table => self.table(peers, &mut out)?,
            Form::Updates => {
                for (peer, routes) in peers {
                    self.updates(peer, routes, &mut out)?;
                }
            }
        }
        Ok(out)
    }

    fn record(&self, body: Body, out: &mut Vec<u8>) -> Result<(), TooLong> {
        Record { seconds: seconds(self.at), microseconds: None, body }.encode(out)
    }

    fn table(&self, peers: &[(Peer, Vec<Route>)], out: &mut Vec<u8>) -> Result<(), TooLong> {
        let index = peers.iter().map(|(peer, _)| IndexedPeer {
            router_id: peer.router_id.as_ipv4(),
            address: peer.address,
            asn: peer.asn.get(),
        });
        let index = PeerIndexTable {
            collector: self.router_id.as_ipv4(),
            view: self.view.to_owned(),
            peers: index.collect(),
        };
        self.record(Body::PeerIndexTable(index), out)?;
        // Entries of one record have path identifiers or none of them has (RFC 8050 §4).
        let mut by_prefix: BTreeMap<_, Vec<RibEntry>> = BTreeMap::new();
        for (place, (_, routes)) in (0..=u16::MAX).zip(peers) {
            for route in routes {
                by_prefix.entry((route.nlri.prefix, route.nlri.path_id.is_some())).or_default().push(
                    RibEntry {
                        peer: place,
                        originated: seconds(route.since),
                        path_id: route.nlri.path_id,
                        attributes: encode_attributes(&route.attributes, route.next_hop),
                    },
                );
            }
        }
        for (sequence, ((prefix, _), entries)) in (0..).zip(by_prefix) {
            self.record(Body::Rib(Rib { sequence, prefix, entries }), out)?;
        }
        Ok(())
    }

    fn updates(&self, peer: &Peer, routes: &[Route], out: &mut Vec<u8>) -> Result<(), Unwritable> {
        let peering = Peering {
            peer_asn: peer.asn.get(),
            local_asn: peer.local_asn.get(),
            interface: 0,
            ends: Ends::new(peer.address, peer.local_address),
            asn4: true,
        };
        let mut sets: BTreeMap<_, Vec<Nlri>> = BTreeMap::new();
        for route in routes {
            let key = (route.nlri.prefix.family(), route.next_hop, &route.attributes);
            sets.entry(key).or_default().push(route.nlri);
        }
        for ((family, next_hop, attributes), nlri) in sets {
            let add_path = peer.add_path.contains(family);
            for message in messages(family, next_hop, attributes, &nlri, peer.add_path)? {
                let message = PeerMessage { peering, sent: self.sent, add_path, message: message.freeze() };
                self.record(Body::Message(message), out)?;
            }
        }
        Ok(())
    }
}

/// UPDATEs of the common length; of the greatest length where that is too short.
fn messages(
    family: Family,
    next_hop: NextHop,
    attributes: &PathAttributes,
    nlri: &[Nlri],
    add_path: FamilySet,
) -> Result<Vec<BytesMut>, AttributesTooLong> {
    let pack = |max_message| {
        let context = EncodeContext { asn4: true, add_path, extended_next_hop: true, max_message };
        let mut packed = BytesMut::new();
        pack_announcements(&context, family, attributes, &next_hop, nlri.iter().copied(), &mut packed)?;
        Ok(packed)
    };
    let mut packed = pack(4096).or_else(|_: AttributesTooLong| pack(65535))?;
    let mut cut = Vec::new();
    // RFC 4271 §4.1: the length is the two octets behind the marker, and counts the header.
    while let Some(length) = packed.get(16..18) {
        let length = length.iter().fold(0, |length, octet| (length << 8) | usize::from(*octet));
        cut.push(packed.split_to(length.clamp(19, packed.len())));
    }
    Ok(cut)
}

/// As the format has it: 32 bits.
fn seconds(at: UnixSeconds) -> u32 {
    u32::try_from(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bgp_proto::mrt::decode_attributes;
    use bgp_proto::wire::{AsPath, AsPathSegment, DecodeContext, Message, Origin, SegmentKind, read_message};
    use bytes::Bytes;

    use super::*;

    const DUMP: Dump = Dump {
        router_id: RouterId::new(Ipv4Addr::new(10, 0, 0, 1)).unwrap(),
        at: 1_795_262_400,
        view: "advertised",
        sent: true,
    };

    fn peer(last: u8, add_path: FamilySet) -> Peer {
        Peer {
            router_id: RouterId::new([10, 0, 0, last].into()).unwrap(),
            address: [192, 0, 2, last].into(),
            local_address: [192, 0, 2, 1].into(),
            asn: Asn::new(4_200_000_000 + u32::from(last)).unwrap(),
            local_asn: Asn::new(64501).unwrap(),
            add_path,
        }
    }

    fn route(prefix: &str, path_id: Option<u32>, med: u32) -> Route {
        let next_hop = if prefix.contains(':') {
            NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: None }
        } else {
            NextHop::V4([192, 0, 2, 1].into())
        };
        let path = vec![Asn::new(4_200_000_000).unwrap()];
        let path = AsPath { segments: vec![AsPathSegment { kind: SegmentKind::Sequence, asns: path }] };
        let attributes = PathAttributes {
            origin: Some(Origin::Igp),
            as_path: Some(path),
            med: Some(med),
            ..PathAttributes::default()
        };
        let nlri = Nlri { path_id, prefix: prefix.parse().unwrap() };
        Route { nlri, next_hop, attributes: Arc::new(attributes), since: 1_795_000_000 }
    }

    fn read(octets: Vec<u8>) -> Vec<Record> {
        let mut file = Bytes::from(octets);
        std::iter::from_fn(|| Record::decode(&mut file).unwrap()).collect()
    }

    #[test]
    fn a_table_has_each_prefix_once_with_the_routes_of_all_peers() {
        let v4 = FamilySet::from_iter([Family::Ipv4Unicast]);
        let peers = [
            (
                peer(2, FamilySet::EMPTY),
                vec![route("2001:db8:1::/48", None, 1), route("203.0.113.0/24", None, 2)],
            ),
            (peer(3, FamilySet::EMPTY), vec![route("203.0.113.0/24", None, 3)]),
            (peer(4, v4), vec![route("203.0.113.0/24", Some(1), 4)]),
        ];
        let records = read(DUMP.write(Form::Table, &peers).unwrap());
        let Body::PeerIndexTable(index) = &records[0].body else { panic!("{records:?}") };
        assert_eq!((index.view.as_str(), index.peers.len()), ("advertised", 3));
        assert_eq!(index.peers[1].asn, 4_200_000_003);
        let mut seen = Vec::new();
        for (number, record) in (0..).zip(&records[1..]) {
            let Body::Rib(rib) = &record.body else { panic!("{record:?}") };
            assert_eq!(rib.sequence, number);
            for entry in &rib.entries {
                let (attributes, _) = decode_attributes(&entry.attributes).unwrap();
                seen.push((rib.prefix.to_string(), entry.peer, entry.path_id, attributes.med));
            }
        }
        let v4 = "203.0.113.0/24".to_owned();
        assert_eq!(
            seen,
            [
                (v4.clone(), 0, None, Some(2)),
                (v4.clone(), 1, None, Some(3)),
                (v4, 2, Some(1), Some(4)),
                ("2001:db8:1::/48".to_owned(), 0, None, Some(1)),
            ]
        );
    }

    #[test]
    fn updates_build_the_same_table() {
        let mut routes: Vec<Route> =
            (0..3000).map(|n| route(&format!("10.{}.{}.0/24", n / 256, n % 256), Some(1), n % 2)).collect();
        routes.push(route("2001:db8:1::/48", None, 5));
        let v4 = FamilySet::from_iter([Family::Ipv4Unicast]);
        let peers = [(peer(2, v4), routes.clone())];
        let mut built = Vec::new();
        for record in read(DUMP.write(Form::Updates, &peers).unwrap()) {
            let Body::Message(message) = record.body else { panic!("{record:?}") };
            assert!(message.sent && message.peering.asn4);
            let context = DecodeContext {
                asn4: true,
                families: FamilySet::from_iter(Family::ALL),
                add_path: if message.add_path { v4 } else { FamilySet::EMPTY },
                ..DecodeContext::default()
            };
            let mut octets = BytesMut::from(&message.message[..]);
            let Ok(Some(Message::Update(update))) = read_message(&mut octets, &context) else { panic!() };
            assert!(octets.is_empty(), "one message a record");
            for announcement in &update.announced {
                for nlri in &announcement.nlri {
                    built.push((nlri, announcement.next_hop, update.attributes.clone()));
                }
            }
        }
        let mut expected: Vec<_> =
            routes.iter().map(|route| (route.nlri, route.next_hop, (*route.attributes).clone())).collect();
        built.sort();
        expected.sort();
        assert_eq!(built, expected);
    }
}
