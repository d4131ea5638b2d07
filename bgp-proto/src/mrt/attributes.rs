//! The attributes of a route in a table (RFC 6396 §4.3.4).

use std::net::{IpAddr, Ipv6Addr};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::octets::{Malformed, Octets};
use crate::types::{Family, FamilySet};
use crate::wire::{
    self, DecodeContext, EncodeContext, Message, NextHop, PathAttributes, read_message, update_of,
};

const NEXT_HOP: u8 = 3;
const MP_REACH_NLRI: u8 = 14;
const OPTIONAL: u8 = 0x80;
const EXTENDED_LENGTH: u8 = 0x10;

/// "All AS numbers in the AS_PATH attribute MUST be encoded as 4-byte AS numbers" (RFC 6396 §4.3.4).
const ENCODE: EncodeContext =
    EncodeContext { asn4: true, add_path: FamilySet::EMPTY, extended_next_hop: true, max_message: 65535 };

/// A route's attributes and its next hop, by ascending type code. Of MP_REACH_NLRI "only the Next Hop Address Length and
/// Next Hop Address fields are included"; it stands for every next hop that is an IPv6 address.
#[must_use]
pub fn encode_attributes(attributes: &PathAttributes, next_hop: NextHop) -> Bytes {
    match next_hop {
        NextHop::V4(address) => wire::encode_attributes(&ENCODE, attributes, Some(address)).freeze(),
        NextHop::V6 { address, link_local } => {
            let mut out = BytesMut::new();
            let octets = [Some(address), link_local].into_iter().flatten().flat_map(|half| half.octets());
            let octets: Vec<u8> = octets.collect();
            let length = if octets.len() > 16 { 32 } else { 16 };
            out.put_slice(&[OPTIONAL, MP_REACH_NLRI, length + 1, length]);
            out.put_slice(&octets);
            out.put_slice(&wire::encode_attributes(&ENCODE, attributes, None));
            out.freeze()
        }
    }
}

/// What [`encode_attributes`] made; an MP_REACH_NLRI in full, as some write it, is read too.
///
/// # Errors
/// An attribute runs past the end, or one that this crate knows is malformed; there is no next hop.
pub fn decode_attributes(attributes: &Bytes) -> Result<(PathAttributes, NextHop), Malformed> {
    let mut octets = Octets(attributes.clone());
    let (mut next_hop, mut others) = (None, BytesMut::new());
    while !octets.is_empty() {
        let (flags, code) = (octets.u8("flags")?, octets.u8("type code")?);
        let length = match flags & EXTENDED_LENGTH {
            0 => octets.u8("length of an attribute")?.into(),
            _ => octets.u16("length of an attribute")?,
        };
        let value = octets.take(length.into(), "attribute")?;
        match code {
            NEXT_HOP => next_hop = next_hop.or(Some(plain(value)?)),
            MP_REACH_NLRI => next_hop = Some(multiprotocol(value)?),
            _ => {
                others.put_slice(&[flags | EXTENDED_LENGTH, code]);
                others.put_u16(length);
                others.put_slice(&value);
            }
        }
    }
    let next_hop = next_hop.ok_or_else(|| Malformed::new("a route without next hop"))?;
    let context = DecodeContext {
        asn4: true,
        external: false,
        families: FamilySet::from_iter(Family::ALL),
        loopback: true,
        max_message: 65535,
        ..DecodeContext::default()
    };
    let mut message = update_of(&others).ok_or_else(|| Malformed::new("attributes longer than a message"))?;
    match read_message(&mut message, &context) {
        Ok(Some(Message::Update(update))) => match update.issues.first() {
            None => Ok((update.attributes, next_hop)),
            Some(issue) => Err(Malformed::new(issue.detail.clone())),
        },
        Ok(_) => Err(Malformed::new("attributes that are none")),
        Err(error) => Err(Malformed::new(error.detail)),
    }
}

fn plain(value: Bytes) -> Result<NextHop, Malformed> {
    let mut octets = Octets(value);
    let address = octets.v4("NEXT_HOP")?;
    if octets.is_empty() { Ok(NextHop::V4(address)) } else { Err(Malformed::new("NEXT_HOP is too long")) }
}

/// Abbreviated, its first octet is the length of the rest; in full, it is the upper half of the AFI, 0.
fn multiprotocol(value: Bytes) -> Result<NextHop, Malformed> {
    let mut octets = Octets(value);
    if octets.0.first() == Some(&0) {
        octets.skip(3, "family of MP_REACH_NLRI")?;
    }
    let length = octets.u8("length of a next hop")?;
    let address = octets.address(length != 4, "next hop")?;
    let link_local: Option<Ipv6Addr> =
        if length == 32 { Some(octets.v6("link-local next hop")?) } else { None };
    match (address, length) {
        (IpAddr::V4(address), 4) => Ok(NextHop::V4(address)),
        (IpAddr::V6(address), 16 | 32) => Ok(NextHop::V6 { address, link_local }),
        _ => Err(Malformed::new(format!("a next hop of {length} octets"))),
    }
}
