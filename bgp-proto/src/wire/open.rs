//! OPEN (RFC 4271 §4.2, §6.2; RFC 5492; RFC 6286; RFC 6793; RFC 7607; RFC 9072).

use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, HEADER, MAX_MESSAGE};
use super::parse::{self, Parsed};
use super::{Capability, DecodeError, MessageKind, Open, codes};
use crate::types::{AS_TRANS, Asn, HoldTime, RouterId};

/// The version of this protocol.
const VERSION: u8 = 4;
/// The Capabilities optional parameter (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// In place of the first parameter's type: lengths have two octets (RFC 9072 §2).
const EXTENDED: u8 = 255;
/// Fields before the optional parameters.
const FIXED: usize = 10;
/// Extended parameters' marker and length, and the header of the one parameter.
const EXTENDED_HEADER: usize = 3 + 3;

impl Open {
    /// The whole message, with all capabilities in one optional parameter. It never has more than 4096
    /// octets; capabilities that do not fit any more are left out.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        let start = frame::begin(&mut out, MessageKind::Open);
        out.put_u8(VERSION);
        out.put_u16(self.asn.two_octets());
        out.put_u16(self.hold_time.seconds());
        out.put_u32(self.router_id.to_bits());
        let room = MAX_MESSAGE - HEADER - FIXED - EXTENDED_HEADER;
        put_parameters(&encode_capabilities(&self.capabilities, room), &mut out);
        frame::finish(&mut out, start);
        out.freeze()
    }

    /// Decodes what follows the header.
    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let Ok((parameters, (version, my_as, hold_time, router_id, length))) = parse::open(body) else {
            return Err(malformed("the fixed fields are cut off"));
        };
        // "The Data field is a 2-octet unsigned integer, which indicates the largest, locally-supported
        // version number less than the version the remote BGP peer bid" (RFC 4271 §6.2).
        if version != VERSION {
            let detail = format!("the peer speaks BGP version {version}, we speak {VERSION}");
            return Err(DecodeError::new(
                codes::OPEN,
                codes::OPEN_UNSUPPORTED_VERSION,
                vec![0, VERSION],
                detail,
            ));
        }
        // "If a BGP speaker receives zero as the peer AS in an OPEN message, it MUST abort the connection
        // and send a NOTIFICATION with Error Code "OPEN Message Error" and subcode "Bad Peer AS"" (RFC 7607 §2).
        let field = Asn::new(u32::from(my_as)).ok_or_else(|| bad_peer_as("My Autonomous System is 0"))?;
        // "An implementation MUST reject Hold Time values of one or two seconds" (RFC 4271 §6.2).
        let hold_time = HoldTime::try_from(hold_time)
            .map_err(|error| refused(codes::OPEN_UNACCEPTABLE_HOLD_TIME, error.to_string()))?;
        // RFC 6286 §2.2: a BGP identifier of zero is bad; any other is good as far as one OPEN can tell.
        let router_id = RouterId::new(Ipv4Addr::from_bits(router_id))
            .ok_or_else(|| refused(codes::OPEN_BAD_BGP_IDENTIFIER, "the BGP identifier is 0"))?;
        let capabilities = decode_parameters(length, parameters)?;
        let asn = peer_asn(field, &capabilities)?;
        Ok(Self { asn, hold_time, router_id, capabilities })
    }
}

/// Capabilities as they stand on the wire, as many as fit into `room` octets. The data of an Unsupported
/// Capability NOTIFICATION has the same form (RFC 5492 §5).
pub(super) fn encode_capabilities(capabilities: &[Capability], room: usize) -> BytesMut {
    let mut out = BytesMut::new();
    for capability in capabilities {
        let before = out.len();
        capability.encode(&mut out);
        if out.len() > room {
            out.truncate(before);
            break;
        }
    }
    out
}

/// The optional parameters with their length in front. The extended form is used only where it is needed,
/// since a peer without RFC 9072 refuses it.
fn put_parameters(capabilities: &[u8], out: &mut BytesMut) {
    let length = capabilities.len();
    if length == 0 {
        out.put_u8(0);
    } else if let Ok(total) = u8::try_from(length + 2) {
        out.put_slice(&[total, CAPABILITIES, total - 2]);
    } else {
        // "the Non-Ext OP Len field SHOULD be set to 255 on transmission" (RFC 9072 §2).
        let parameter = u16::try_from(length).unwrap_or(u16::MAX - 3);
        out.put_slice(&[EXTENDED, EXTENDED]);
        out.put_u16(parameter + 3);
        out.put_u8(CAPABILITIES);
        out.put_u16(parameter);
    }
    out.put_slice(capabilities);
}

fn decode_parameters(length: u8, field: &[u8]) -> Result<Vec<Capability>, DecodeError> {
    match field {
        // "Non-Ext OP Len ... MUST be ignored on receipt" once the first type says that the form is
        // extended; but 0 means that there is no parameter (RFC 9072 §2).
        [EXTENDED, ..] if length != 0 => {
            let Ok((rest, (_, length))) = parse::extended_parameters(field) else {
                return Err(malformed("the extended optional parameters' length is cut off"));
            };
            parameters(usize::from(length), rest, parse::tlv16)
        }
        _ => parameters(usize::from(length), field, parse::tlv8),
    }
}

fn parameters<'a>(
    length: usize,
    mut rest: &'a [u8],
    next: impl Fn(&'a [u8]) -> Parsed<'a, (u8, &'a [u8])>,
) -> Result<Vec<Capability>, DecodeError> {
    if length != rest.len() {
        let found = rest.len();
        return Err(malformed(format!("the optional parameters say {length} octets and have {found}")));
    }
    let mut capabilities = Vec::new();
    while !rest.is_empty() {
        let Ok((after, (kind, value))) = next(rest) else {
            return Err(malformed("an optional parameter runs past their end"));
        };
        rest = after;
        // "If one of the Optional Parameters in the OPEN message is not recognized, then the Error
        // Subcode MUST be set to Unsupported Optional Parameters" (RFC 4271 §6.2).
        if kind != CAPABILITIES {
            let detail = format!("optional parameter {kind} is not known");
            return Err(refused(codes::OPEN_UNSUPPORTED_OPTIONAL_PARAMETER, detail));
        }
        decode_capabilities(value, &mut capabilities)?;
    }
    Ok(capabilities)
}

fn decode_capabilities(mut rest: &[u8], out: &mut Vec<Capability>) -> Result<(), DecodeError> {
    while !rest.is_empty() {
        let Ok((after, (code, value))) = parse::tlv8(rest) else {
            return Err(malformed("a capability runs past its optional parameter"));
        };
        rest = after;
        if code == 65 && value == [0; 4] {
            return Err(bad_peer_as("the four-octet AS number capability says AS 0"));
        }
        out.push(Capability::decode(code, value));
    }
    Ok(())
}

/// RFC 6793 §4.1: the capability has the AS number, and the two-octet field AS_TRANS or the same number.
fn peer_asn(field: Asn, capabilities: &[Capability]) -> Result<Asn, DecodeError> {
    let announced = capabilities.iter().find_map(|capability| match capability {
        Capability::FourOctetAsn(asn) => Some(*asn),
        _ => None,
    });
    let Some(asn) = announced else { return Ok(field) };
    if asn.get() == u32::from(AS_TRANS) {
        return Err(bad_peer_as("the four-octet AS number capability says AS_TRANS"));
    }
    if field != asn && field.get() != u32::from(AS_TRANS) {
        let detail = format!("My Autonomous System is {field} and the capability says {asn}");
        return Err(bad_peer_as(detail));
    }
    Ok(asn)
}

fn bad_peer_as(detail: impl Into<String>) -> DecodeError {
    refused(codes::OPEN_BAD_PEER_AS, detail)
}

/// "If one of the Optional Parameters in the OPEN message is recognized, but is malformed, then the Error
/// Subcode MUST be set to 0 (Unspecific)" (RFC 4271 §6.2).
fn malformed(detail: impl Into<String>) -> DecodeError {
    refused(codes::OPEN_UNSPECIFIC, detail)
}

fn refused(subcode: u8, detail: impl Into<String>) -> DecodeError {
    DecodeError::new(codes::OPEN, subcode, Bytes::new(), detail)
}

#[cfg(test)]
mod tests;
