//! Records to octets (RFC 6396).

use std::net::IpAddr;

use super::{
    Body, Ends, PeerIndexTable, PeerMessage, Peering, Record, Rib, StateChange, kind, message, table,
};
use crate::octets::put_address;
use crate::types::{AS_TRANS, Family};

/// Something is too long for its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{count} {what} do not fit into an MRT record, which has room for 65535 of them")]
pub struct TooLong {
    what: &'static str,
    count: usize,
}

fn length16(what: &'static str, count: usize) -> Result<[u8; 2], TooLong> {
    u16::try_from(count).map(u16::to_be_bytes).map_err(|_| TooLong { what, count })
}

impl Record {
    /// Appends the record to `out`.
    ///
    /// # Errors
    /// A list or the attributes of a route are too long for the format; nothing was appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut octets = Vec::new();
        let (mut kind, subtype) = match &self.body {
            Body::PeerIndexTable(index) => {
                index.encode(&mut octets)?;
                (kind::TABLE_DUMP_V2, table::PEER_INDEX_TABLE)
            }
            Body::Rib(rib) => (kind::TABLE_DUMP_V2, rib.encode(&mut octets)?),
            Body::Message(message) => (kind::BGP4MP, message.encode(&mut octets)),
            Body::StateChange(change) => (kind::BGP4MP, change.encode(&mut octets)),
            Body::Other { kind, subtype, octets: other } => {
                octets.extend(other);
                (*kind, *subtype)
            }
        };
        let microseconds = self.microseconds.filter(|_| kind == kind::BGP4MP);
        if microseconds.is_some() {
            kind = kind::BGP4MP_ET;
        }
        let length = octets.len() + if microseconds.is_some() { 4 } else { 0 };
        let length = u32::try_from(length).map_err(|_| TooLong { what: "octets", count: octets.len() })?;
        out.extend(self.seconds.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(subtype.to_be_bytes());
        out.extend(length.to_be_bytes());
        // "The Length field ... includes the Microsecond Timestamp field" (RFC 6396 §3).
        out.extend(microseconds.into_iter().flat_map(u32::to_be_bytes));
        out.append(&mut octets);
        Ok(())
    }
}

impl PeerIndexTable {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.extend(self.collector.octets());
        out.extend(length16("octets of a view's name", self.view.len())?);
        out.extend(self.view.as_bytes());
        out.extend(length16("peers", self.peers.len())?);
        for peer in &self.peers {
            // Bit 0: the address is IPv6; bit 1: the AS number takes four octets (RFC 6396 §4.3.1).
            out.push(0b10 | u8::from(peer.address.is_ipv6()));
            out.extend(peer.router_id.octets());
            put_address(out, peer.address);
            out.extend(peer.asn.to_be_bytes());
        }
        Ok(())
    }
}

impl Rib {
    /// Says the subtype.
    fn encode(&self, out: &mut Vec<u8>) -> Result<u16, TooLong> {
        let add_path = self.entries.first().is_some_and(|entry| entry.path_id.is_some());
        out.extend(self.sequence.to_be_bytes());
        out.push(self.prefix.len());
        let mut address = Vec::with_capacity(16);
        put_address(&mut address, self.prefix.addr());
        address.truncate(usize::from(self.prefix.len()).div_ceil(8));
        out.append(&mut address);
        out.extend(length16("routes of a prefix", self.entries.len())?);
        for entry in &self.entries {
            out.extend(entry.peer.to_be_bytes());
            out.extend(entry.originated.to_be_bytes());
            if add_path {
                out.extend(entry.path_id.unwrap_or_default().to_be_bytes());
            }
            out.extend(length16("octets of attributes", entry.attributes.len())?);
            out.extend(&entry.attributes);
        }
        Ok(match (self.prefix.family(), add_path) {
            (Family::Ipv4Unicast, false) => table::RIB_IPV4_UNICAST,
            (Family::Ipv6Unicast, false) => table::RIB_IPV6_UNICAST,
            (Family::Ipv4Unicast, true) => table::RIB_IPV4_UNICAST_ADDPATH,
            (Family::Ipv6Unicast, true) => table::RIB_IPV6_UNICAST_ADDPATH,
        })
    }
}

impl Peering {
    fn encode(&self, out: &mut Vec<u8>) {
        for asn in [self.peer_asn, self.local_asn] {
            if self.asn4 {
                out.extend(asn.to_be_bytes());
            } else {
                out.extend(u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes());
            }
        }
        out.extend(self.interface.to_be_bytes());
        let (afi, peer, local) = match self.ends {
            Ends::V4 { peer, local } => (1u16, IpAddr::V4(peer), IpAddr::V4(local)),
            Ends::V6 { peer, local } => (2, IpAddr::V6(peer), IpAddr::V6(local)),
        };
        out.extend(afi.to_be_bytes());
        put_address(out, peer);
        put_address(out, local);
    }
}

impl PeerMessage {
    fn encode(&self, out: &mut Vec<u8>) -> u16 {
        self.peering.encode(out);
        out.extend(&self.message);
        let [plain, sent, plain_add_path, sent_add_path] =
            if self.peering.asn4 { message::AS4 } else { message::AS2 };
        match (self.sent, self.add_path) {
            (false, false) => plain,
            (true, false) => sent,
            (false, true) => plain_add_path,
            (true, true) => sent_add_path,
        }
    }
}

impl StateChange {
    fn encode(&self, out: &mut Vec<u8>) -> u16 {
        self.peering.encode(out);
        for state in [self.old, self.new] {
            out.extend(u16::from(state.number()).to_be_bytes());
        }
        if self.peering.asn4 { message::STATE_CHANGE_AS4 } else { message::STATE_CHANGE }
    }
}
