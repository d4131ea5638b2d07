//! ROUTE-REFRESH (RFC 2918, RFC 7313).

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, HEADER};
use super::{DecodeError, MessageKind, RefreshKind, RouteRefresh, codes, parse};
use crate::types::AfiSafi;

impl RefreshKind {
    /// The subtype octet.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::Unknown(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Request,
            1 => Self::Begin,
            2 => Self::End,
            other => Self::Unknown(other),
        }
    }
}

impl RouteRefresh {
    /// The whole message, 23 octets.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER + 4);
        let start = frame::begin(&mut out, MessageKind::RouteRefresh);
        out.put_u16(self.family.afi);
        out.put_u8(self.kind.code());
        out.put_u8(self.family.safi);
        frame::finish(&mut out, start);
        out.freeze()
    }

    /// Decodes `body`, which follows the header of `frame`. A request may be longer than 23 octets: it then
    /// has outbound route filters (RFC 5291), which we do not offer, behind it; they are not looked at.
    /// `enhanced` says that the peer announced RFC 7313.
    pub(super) fn decode(frame: &Bytes, body: &[u8], enhanced: bool) -> Result<Self, DecodeError> {
        let kind = body.get(2).copied().map(RefreshKind::from_code);
        // "If the length, excluding the fixed-size message header, of the received ROUTE-REFRESH message
        // with Message Subtype 1 and 2 is not 4, then the BGP speaker MUST send a NOTIFICATION message
        // with the Error Code of "ROUTE-REFRESH Message Error" and the subcode of "Invalid Message
        // Length"" (RFC 7313 §5), and the data is the complete message. This "is applicable only when a BGP
        // speaker has received the "Enhanced Route Refresh Capability" from a peer": from any other one the
        // octet is reserved and ignored (RFC 2918 §3).
        if enhanced && matches!(kind, Some(RefreshKind::Begin | RefreshKind::End)) && body.len() != 4 {
            let detail = format!("a ROUTE-REFRESH marker has 4 octets, not {}", body.len());
            return Err(DecodeError::new(
                codes::ROUTE_REFRESH,
                codes::ROUTE_REFRESH_INVALID_LENGTH,
                frame.clone(),
                detail,
            ));
        }
        match parse::refresh(body) {
            Ok((_, (afi, subtype, safi))) => {
                Ok(Self { family: AfiSafi { afi, safi }, kind: RefreshKind::from_code(subtype) })
            }
            Err(_) => {
                let length = u16::try_from(frame.len()).unwrap_or(u16::MAX);
                Err(frame::bad_length(length, format!("a ROUTE-REFRESH has 23 octets, not {length}")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
