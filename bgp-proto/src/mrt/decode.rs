//! Octets to records.

use std::net::IpAddr;

use bytes::Bytes;

use super::{
    Body, Ends, IndexedPeer, PeerIndexTable, PeerMessage, Peering, Record, Rib, RibEntry, StateChange, kind,
    message, table,
};
use crate::octets::{Malformed, Octets};
use crate::session::State;
use crate::types::{Family, Prefix};

impl Record {
    /// Takes one record off the front of `file`; `None` at its end.
    ///
    /// # Errors
    /// The record is cut off, or one of a known type has another form than its RFC gives it.
    pub fn decode(file: &mut Bytes) -> Result<Option<Self>, Malformed> {
        if file.is_empty() {
            return Ok(None);
        }
        let mut octets = Octets(std::mem::take(file));
        let seconds = octets.u32("timestamp")?;
        let (kind, subtype) = (octets.u16("type")?, octets.u16("subtype")?);
        let length = usize::try_from(octets.u32("length")?).unwrap_or(usize::MAX);
        let mut body = Octets(octets.take(length, "record")?);
        *file = octets.rest();
        let microseconds = if kind == kind::BGP4MP_ET { Some(body.u32("microseconds")?) } else { None };
        let decoded = match kind {
            kind::TABLE_DUMP_V2 => dump(subtype, &mut body)?,
            kind::BGP4MP | kind::BGP4MP_ET => bgp4mp(subtype, &mut body)?,
            _ => None,
        };
        let body = match decoded {
            Some(known) if body.is_empty() => known,
            Some(_) => {
                let left = body.rest().len();
                return Err(Malformed::new(format!("{left} octets are left of record {kind}/{subtype}")));
            }
            None => Body::Other { kind, subtype, octets: body.rest() },
        };
        Ok(Some(Self { seconds, microseconds, body }))
    }
}

fn dump(subtype: u16, octets: &mut Octets) -> Result<Option<Body>, Malformed> {
    let (family, add_path) = match subtype {
        table::PEER_INDEX_TABLE => return index(octets).map(|index| Some(Body::PeerIndexTable(index))),
        table::RIB_IPV4_UNICAST => (Family::Ipv4Unicast, false),
        table::RIB_IPV6_UNICAST => (Family::Ipv6Unicast, false),
        table::RIB_IPV4_UNICAST_ADDPATH => (Family::Ipv4Unicast, true),
        table::RIB_IPV6_UNICAST_ADDPATH => (Family::Ipv6Unicast, true),
        _ => return Ok(None),
    };
    rib(family, add_path, octets).map(|rib| Some(Body::Rib(rib)))
}

fn index(octets: &mut Octets) -> Result<PeerIndexTable, Malformed> {
    let collector = octets.v4("collector")?;
    let length = octets.u16("length of the view's name")?;
    let view = octets.take(length.into(), "view's name")?;
    let count = octets.u16("number of peers")?;
    // Nothing is allocated for what a count promises: the octets have to be there.
    let mut peers = Vec::new();
    for _ in 0..count {
        let kind = octets.u8("peer type")?;
        let router_id = octets.v4("peer's identifier")?;
        let address = octets.address(kind & 1 != 0, "peer's address")?;
        let asn = match kind & 2 {
            0 => octets.u16("peer's AS")?.into(),
            _ => octets.u32("peer's AS")?,
        };
        peers.push(IndexedPeer { router_id, address, asn });
    }
    Ok(PeerIndexTable { collector, view: String::from_utf8_lossy(&view).into_owned(), peers })
}

fn rib(family: Family, add_path: bool, octets: &mut Octets) -> Result<Rib, Malformed> {
    let sequence = octets.u32("sequence")?;
    let prefix = prefix(family, octets)?;
    let count = octets.u16("number of routes")?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let peer = octets.u16("peer's place")?;
        let originated = octets.u32("time of a route")?;
        let path_id = if add_path { Some(octets.u32("path identifier")?) } else { None };
        let length = octets.u16("length of attributes")?;
        let attributes = octets.take(length.into(), "attributes")?;
        entries.push(RibEntry { peer, originated, path_id, attributes });
    }
    Ok(Rib { sequence, prefix, entries })
}

fn prefix(family: Family, octets: &mut Octets) -> Result<Prefix, Malformed> {
    let length = octets.u8("prefix length")?;
    let field = octets.take(usize::from(length).div_ceil(8), "prefix")?;
    let mut address = [0; 16];
    for (to, from) in address.iter_mut().zip(&field) {
        *to = *from;
    }
    let address = match family {
        Family::Ipv4Unicast => {
            let [a, b, c, d, ..] = address;
            IpAddr::from([a, b, c, d])
        }
        Family::Ipv6Unicast => IpAddr::from(address),
    };
    Prefix::new(address, length).map_err(|error| Malformed::new(error.to_string()))
}

fn bgp4mp(subtype: u16, octets: &mut Octets) -> Result<Option<Body>, Malformed> {
    let asn4 = match subtype {
        message::STATE_CHANGE => false,
        message::STATE_CHANGE_AS4 => true,
        _ if message::AS2.contains(&subtype) => false,
        _ if message::AS4.contains(&subtype) => true,
        _ => return Ok(None),
    };
    let peering = peering(asn4, octets)?;
    if [message::STATE_CHANGE, message::STATE_CHANGE_AS4].contains(&subtype) {
        let (old, new) = (state(octets)?, state(octets)?);
        return Ok(Some(Body::StateChange(StateChange { peering, old, new })));
    }
    let [_, sent, add_path, both] = if asn4 { message::AS4 } else { message::AS2 };
    Ok(Some(Body::Message(PeerMessage {
        peering,
        sent: [sent, both].contains(&subtype),
        add_path: [add_path, both].contains(&subtype),
        message: octets.rest(),
    })))
}

fn peering(asn4: bool, octets: &mut Octets) -> Result<Peering, Malformed> {
    let mut asn = || if asn4 { octets.u32("AS") } else { octets.u16("AS").map(u32::from) };
    let (peer_asn, local_asn) = (asn()?, asn()?);
    let interface = octets.u16("interface")?;
    let ends = match octets.u16("address family")? {
        1 => Ends::V4 { peer: octets.v4("peer's address")?, local: octets.v4("local address")? },
        2 => Ends::V6 { peer: octets.v6("peer's address")?, local: octets.v6("local address")? },
        other => return Err(Malformed::new(format!("addresses of family {other}"))),
    };
    Ok(Peering { peer_asn, local_asn, interface, ends, asn4 })
}

fn state(octets: &mut Octets) -> Result<State, Malformed> {
    let found = octets.u16("state")?;
    let known = State::ALL.into_iter().find(|state| u16::from(state.number()) == found);
    known.ok_or_else(|| Malformed::new(format!("a state of {found}")))
}
