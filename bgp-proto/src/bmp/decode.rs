//! Octets to messages (RFC 7854 §4).

use std::net::IpAddr;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Down, HEADER, Message, Peer, PeerUp, Rib, VERSION, Value, flag, kind};
use crate::octets::{Malformed, Octets};
use crate::types::AfiSafi;

/// The longest message that is taken: two OPENs or a UPDATE, and a header, have room in it many times.
const LONGEST: usize = 1 << 20;

impl Message {
    /// Takes one message off the front of `buffer`; `None` where it is not whole yet.
    ///
    /// # Errors
    /// It is no BMP message of version 3, or one whose fields run past its end.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let Some(mut head) = buffer.get(..HEADER) else { return Ok(None) };
        let (version, length, kind) = (head.get_u8(), head.get_u32(), head.get_u8());
        if version != VERSION {
            return Err(Malformed::new(format!("BMP version {version}")));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(Malformed::new(format!("a BMP message of {length} octets")));
        }
        if buffer.len() < length {
            return Ok(None);
        }
        let mut octets = Octets(buffer.split_to(length).freeze());
        octets.skip(HEADER, "header")?;
        body(kind, &mut octets).map(Some)
    }
}

fn body(kind: u8, octets: &mut Octets) -> Result<Message, Malformed> {
    Ok(match kind {
        kind::ROUTE_MONITORING => Message::RouteMonitoring { peer: peer(octets)?, update: octets.rest() },
        kind::STATISTICS => statistics(octets)?,
        kind::PEER_DOWN => Message::PeerDown { peer: peer(octets)?, reason: down(octets)? },
        kind::PEER_UP => Message::PeerUp(Box::new(up(octets)?)),
        kind::INITIATION => Message::Initiation(information(octets)?),
        kind::TERMINATION => termination(octets)?,
        _ => Message::Other { kind, octets: octets.rest() },
    })
}

fn tlv(octets: &mut Octets) -> Result<(u16, Bytes), Malformed> {
    let (kind, length) = (octets.u16("type of information")?, octets.u16("length of information")?);
    Ok((kind, octets.take(length.into(), "information")?))
}

fn text(value: &Bytes) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn information(octets: &mut Octets) -> Result<Vec<(u16, String)>, Malformed> {
    let mut all = Vec::new();
    while !octets.is_empty() {
        let (kind, value) = tlv(octets)?;
        all.push((kind, text(&value)));
    }
    Ok(all)
}

fn termination(octets: &mut Octets) -> Result<Message, Malformed> {
    let (mut reason, mut words) = (None, String::new());
    while !octets.is_empty() {
        match tlv(octets)? {
            (1, value) => reason = Some(Octets(value).u16("reason")?),
            (0, value) => words = text(&value),
            _ => {}
        }
    }
    let reason = reason.ok_or_else(|| Malformed::new("a Termination without a reason"))?;
    Ok(Message::Termination { reason, text: words })
}

fn statistics(octets: &mut Octets) -> Result<Message, Malformed> {
    let peer = peer(octets)?;
    let count = octets.u32("number of statistics")?;
    let mut values = Vec::new();
    for _ in 0..count {
        let (kind, value) = tlv(octets)?;
        let (length, mut value) = (value.len(), Octets(value));
        let value = match length {
            4 => Value::Counter(value.u32("counter")?),
            8 => Value::Gauge(value.u64("gauge")?),
            11 => {
                let family = AfiSafi { afi: value.u16("AFI")?, safi: value.u8("SAFI")? };
                Value::FamilyGauge(family, value.u64("gauge")?)
            }
            _ => return Err(Malformed::new(format!("statistic {kind} has {length} octets"))),
        };
        values.push((kind, value));
    }
    Ok(Message::Statistics { peer, values })
}

fn peer(octets: &mut Octets) -> Result<Peer, Malformed> {
    let (kind, flags) = (octets.u8("peer type")?, octets.u8("peer flags")?);
    let post_policy = flags & flag::POST_POLICY != 0;
    let local = kind == 3;
    let rib = match (local, flags & flag::OUT) {
        (true, _) => Rib::LocRib { filtered: flags & flag::FILTERED != 0 },
        (false, 0) => Rib::AdjRibIn { post_policy },
        (false, _) => Rib::AdjRibOut { post_policy },
    };
    Ok(Peer {
        rib,
        distinguisher: octets.u64("distinguisher")?,
        address: address(!local && flags & flag::IPV6 != 0, octets)?,
        asn: octets.u32("AS")?,
        router_id: octets.v4("BGP identifier")?,
        two_octets: !local && flags & flag::TWO_OCTETS != 0,
        at: (octets.u32("seconds")?, octets.u32("microseconds")?),
    })
}

fn address(v6: bool, octets: &mut Octets) -> Result<IpAddr, Malformed> {
    if v6 {
        return octets.v6("address").map(IpAddr::V6);
    }
    octets.skip(12, "address")?;
    octets.v4("address").map(IpAddr::V4)
}

fn down(octets: &mut Octets) -> Result<Down, Malformed> {
    Ok(match octets.u8("reason")? {
        1 => Down::LocalNotification(octets.rest()),
        2 => Down::LocalEvent(octets.u16("event")?),
        3 => Down::RemoteNotification(octets.rest()),
        4 => Down::Remote,
        5 => Down::Deconfigured,
        other => Down::Other(other, octets.rest()),
    })
}

fn up(octets: &mut Octets) -> Result<PeerUp, Malformed> {
    let peer = peer(octets)?;
    let local_address = match peer.address {
        IpAddr::V6(_) => octets.v6("local address").map(IpAddr::V6)?,
        // The Loc-RIB has none, and says so by 16 zeros either way.
        IpAddr::V4(_) => address(false, octets)?,
    };
    Ok(PeerUp {
        peer,
        local_address,
        local_port: octets.u16("local port")?,
        remote_port: octets.u16("remote port")?,
        sent: message(octets)?,
        received: message(octets)?,
        information: information(octets)?,
    })
}

/// A BGP message by its own length (RFC 4271 §4.1).
fn message(octets: &mut Octets) -> Result<Bytes, Malformed> {
    let length = octets.0.get(16..18).map_or(19, |mut length| length.get_u16()).max(19);
    octets.take(length.into(), "BGP message")
}
