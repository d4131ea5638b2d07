//! Loc-RIBs made by hand, and a peer that reads what it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp_proto::types::{Asn, Community, Family, FamilyMap, FamilySet, Prefix};
use bgp_proto::wire::{
    Announcement, DecodeContext, EncodeContext, Message, NextHop, PathAttributes, read_message,
};
use bytes::{Bytes, BytesMut};
use speaker_config::model::RouteAttributes;

use super::{Cursor, PeerOut, Span, Table};
use crate::rib::{Contribution, LocRib, Route, Source, SourceKind};

pub(super) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(super) fn prefixes<const N: usize>(texts: [&str; N]) -> BTreeSet<Prefix> {
    texts.map(prefix).into()
}

pub(super) fn asn(value: u32) -> Asn {
    Asn::new(value).unwrap()
}

pub(super) fn communities(texts: &[&str]) -> Vec<Community> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A pool's contribution to every peer, inside the pool.
pub(super) fn pool(name: &str, attributes: RouteAttributes) -> Contribution {
    Contribution {
        advertisement: name.into(),
        source: Source { kind: SourceKind::Pool, namespace: None, name: name.to_owned() },
        created: 0,
        attributes: Arc::new(attributes),
        peers: None,
        covered: true,
    }
}

/// A Service's contribution to every peer, inside a pool.
pub(super) fn service(name: &str, created: i64) -> Contribution {
    Contribution {
        advertisement: "services".into(),
        source: Source {
            kind: SourceKind::Service,
            namespace: Some("default".to_owned()),
            name: name.to_owned(),
        },
        created,
        attributes: Arc::default(),
        peers: None,
        covered: true,
    }
}

pub(super) fn to_peers(mut contribution: Contribution, peers: &[&str]) -> Contribution {
    contribution.peers = Some(Arc::new(peers.iter().map(|name| (*name).to_owned()).collect()));
    contribution
}

pub(super) fn med(value: u32) -> RouteAttributes {
    RouteAttributes { med: Some(value), ..RouteAttributes::default() }
}

pub(super) fn set(rib: &mut LocRib, text: &str, contributions: Vec<Contribution>) {
    rib.routes.insert(prefix(text), Route { contributions: contributions.into(), since: 1_795_262_400 });
}

/// An external peer, AS 64500, of AS 64501 with both families and ordinary next hops.
pub(crate) fn external(name: &str) -> PeerOut {
    PeerOut {
        selected_as: name.to_owned(),
        peer_asn: asn(64500),
        local_asn: asn(64501),
        families: FamilySet::from_iter(Family::ALL),
        encode: EncodeContext { asn4: true, ..EncodeContext::default() },
        role: None,
        export: None,
        max_advertised: FamilyMap::default(),
        next_hops: FamilyMap {
            ipv4: Ok(NextHop::V4("10.0.0.1".parse().unwrap())),
            ipv6: Ok(NextHop::V6 { address: "2001:db8::1".parse().unwrap(), link_local: None }),
        },
    }
}

/// What stands between a route's announcement and its withdrawal.
pub(super) type Told = BTreeMap<Prefix, (PathAttributes, NextHop)>;

/// A peer of one family: its cursor, and the routes that it holds by what it was sent.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) cursor: Cursor,
    pub(super) told: Told,
    pub(super) ends_of_rib: usize,
    pub(super) messages: usize,
    /// What was announced and withdrawn, in the order of the wire, since [`Self::forget`].
    pub(super) heard: Vec<Heard>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Announced(Prefix),
    Withdrawn(Prefix),
}

impl Reader {
    pub(super) fn new(table: &Arc<Table>) -> Self {
        Self { cursor: table.attach(), told: Told::new(), ends_of_rib: 0, messages: 0, heard: Vec::new() }
    }

    /// One span; says whether there was one.
    pub(super) fn read_one(&mut self) -> bool {
        let Some(span) = self.cursor.next_span() else { return false };
        self.take(&span);
        true
    }

    /// Everything there is.
    pub(super) fn read(&mut self) -> &mut Self {
        while self.read_one() {}
        self
    }

    pub(super) fn forget(&mut self) -> &mut Self {
        self.heard.clear();
        self
    }

    pub(super) fn announced(&self) -> Vec<String> {
        let announced = |heard: &Heard| match heard {
            Heard::Announced(prefix) => Some(prefix.to_string()),
            Heard::Withdrawn(_) => None,
        };
        self.heard.iter().filter_map(announced).collect()
    }

    pub(super) fn withdrawn(&self) -> Vec<String> {
        let withdrawn = |heard: &Heard| match heard {
            Heard::Withdrawn(prefix) => Some(prefix.to_string()),
            Heard::Announced(_) => None,
        };
        self.heard.iter().filter_map(withdrawn).collect()
    }

    fn take(&mut self, span: &Span) {
        let context = self.cursor.table().context();
        let before = (self.messages, self.heard.len());
        for chunk in &span.bytes {
            self.decode(chunk, &context);
        }
        assert!(!span.bytes.is_empty(), "a span says something");
        assert_eq!(self.messages - before.0, span.messages);
        assert_eq!(self.heard.len() - before.1, span.announced + span.withdrawn);
    }

    fn decode(&mut self, chunk: &Bytes, context: &EncodeContext) {
        let context = DecodeContext {
            asn4: context.asn4,
            external: false,
            families: FamilySet::from_iter(Family::ALL),
            add_path: context.add_path,
            extended_next_hop: context.extended_next_hop,
            enhanced_refresh: false,
            loopback: true,
            max_message: context.max_message,
        };
        let mut buffer = BytesMut::from(&chunk[..]);
        while let Some(message) = read_message(&mut buffer, &context).unwrap() {
            self.messages += 1;
            let Message::Update(update) = message else { panic!("{message:?} is no UPDATE") };
            assert!(update.issues.is_empty(), "{:?}", update.issues);
            if let Some(family) = update.end_of_rib {
                assert_eq!(family, self.cursor.table().family());
                self.ends_of_rib += 1;
            }
            for nlri in update.withdrawn.iter().flat_map(|block| block.iter().collect::<Vec<_>>()) {
                self.told.remove(&nlri.prefix);
                self.heard.push(Heard::Withdrawn(nlri.prefix));
            }
            for Announcement { next_hop, nlri } in &update.announced {
                for nlri in nlri.iter() {
                    self.told.insert(nlri.prefix, (update.attributes.clone(), *next_hop));
                    self.heard.push(Heard::Announced(nlri.prefix));
                }
            }
        }
        assert!(buffer.is_empty(), "a chunk ends with a message");
    }
}

/// What the table wants its peers to hold.
pub(super) fn wanted(table: &Table) -> Told {
    let routes = table.routes(|_| true);
    let next_hop = table.next_hop();
    let told = |(prefix, set): (Prefix, Arc<super::span::AttributeSet>)| {
        (prefix, (set.attributes.clone(), next_hop.unwrap()))
    };
    routes.into_iter().map(told).collect()
}
