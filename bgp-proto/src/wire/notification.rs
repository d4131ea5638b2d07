//! NOTIFICATION (RFC 4271 §4.5) and the registry of its codes.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::capability::cut;
use super::frame::{self, HEADER, MAX_MESSAGE};
use super::open::encode_capabilities;
use super::{Capability, MessageKind, Notification};
use crate::types::AfiSafi;

/// Error codes and subcodes by name, for those that are sent and recognised here.
pub mod codes {
    /// Message Header Error (RFC 4271 §6.1).
    pub const MESSAGE_HEADER: u8 = 1;
    /// OPEN Message Error (RFC 4271 §6.2).
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error (RFC 4271 §6.3).
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired (RFC 4271 §6.5).
    pub const HOLD_TIMER_EXPIRED: u8 = 4;
    /// Finite State Machine Error (RFC 4271 §6.6, RFC 6608).
    pub const FSM: u8 = 5;
    /// Cease (RFC 4271 §6.7, RFC 4486).
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error (RFC 7313 §5).
    pub const ROUTE_REFRESH: u8 = 7;
    /// Send Hold Timer Expired (RFC 9687 §5).
    pub const SEND_HOLD_TIMER_EXPIRED: u8 = 8;

    /// Message header: Connection Not Synchronized.
    pub const HEADER_NOT_SYNCHRONIZED: u8 = 1;
    /// Message header: Bad Message Length.
    pub const HEADER_BAD_LENGTH: u8 = 2;
    /// Message header: Bad Message Type.
    pub const HEADER_BAD_TYPE: u8 = 3;

    /// OPEN: Unspecific, for a malformed optional parameter.
    pub const OPEN_UNSPECIFIC: u8 = 0;
    /// OPEN: Unsupported Version Number.
    pub const OPEN_UNSUPPORTED_VERSION: u8 = 1;
    /// OPEN: Bad Peer AS.
    pub const OPEN_BAD_PEER_AS: u8 = 2;
    /// OPEN: Bad BGP Identifier.
    pub const OPEN_BAD_BGP_IDENTIFIER: u8 = 3;
    /// OPEN: Unsupported Optional Parameter.
    pub const OPEN_UNSUPPORTED_OPTIONAL_PARAMETER: u8 = 4;
    /// OPEN: Authentication Failure, deprecated.
    pub const OPEN_AUTHENTICATION_FAILURE: u8 = 5;
    /// OPEN: Unacceptable Hold Time.
    pub const OPEN_UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// OPEN: Unsupported Capability (RFC 5492 §5).
    pub const OPEN_UNSUPPORTED_CAPABILITY: u8 = 7;
    /// OPEN: Role Mismatch (RFC 9234 §4.2).
    pub const OPEN_ROLE_MISMATCH: u8 = 11;

    /// UPDATE: Malformed Attribute List.
    pub const UPDATE_MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    /// UPDATE: Unrecognized Well-known Attribute.
    pub const UPDATE_UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    /// UPDATE: Missing Well-known Attribute.
    pub const UPDATE_MISSING_WELL_KNOWN: u8 = 3;
    /// UPDATE: Attribute Flags Error.
    pub const UPDATE_ATTRIBUTE_FLAGS: u8 = 4;
    /// UPDATE: Attribute Length Error.
    pub const UPDATE_ATTRIBUTE_LENGTH: u8 = 5;
    /// UPDATE: Invalid ORIGIN Attribute.
    pub const UPDATE_INVALID_ORIGIN: u8 = 6;
    /// UPDATE: Invalid NEXT_HOP Attribute.
    pub const UPDATE_INVALID_NEXT_HOP: u8 = 8;
    /// UPDATE: Optional Attribute Error.
    pub const UPDATE_OPTIONAL_ATTRIBUTE: u8 = 9;
    /// UPDATE: Invalid Network Field.
    pub const UPDATE_INVALID_NETWORK_FIELD: u8 = 10;
    /// UPDATE: Malformed AS_PATH.
    pub const UPDATE_MALFORMED_AS_PATH: u8 = 11;

    /// ROUTE-REFRESH: Invalid Message Length (RFC 7313 §5).
    pub const ROUTE_REFRESH_INVALID_LENGTH: u8 = 1;

    /// FSM: Receive Unexpected Message in OpenSent State (RFC 6608).
    pub const FSM_OPEN_SENT: u8 = 1;
    /// FSM: Receive Unexpected Message in OpenConfirm State (RFC 6608).
    pub const FSM_OPEN_CONFIRM: u8 = 2;
    /// FSM: Receive Unexpected Message in Established State (RFC 6608).
    pub const FSM_ESTABLISHED: u8 = 3;

    /// Cease: Maximum Number of Prefixes Reached.
    pub const CEASE_MAX_PREFIXES: u8 = 1;
    /// Cease: Administrative Shutdown.
    pub const CEASE_ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    /// Cease: Peer De-configured.
    pub const CEASE_PEER_DECONFIGURED: u8 = 3;
    /// Cease: Administrative Reset.
    pub const CEASE_ADMINISTRATIVE_RESET: u8 = 4;
    /// Cease: Connection Rejected.
    pub const CEASE_CONNECTION_REJECTED: u8 = 5;
    /// Cease: Other Configuration Change.
    pub const CEASE_CONFIGURATION_CHANGE: u8 = 6;
    /// Cease: Connection Collision Resolution.
    pub const CEASE_CONNECTION_COLLISION: u8 = 7;
    /// Cease: Out of Resources.
    pub const CEASE_OUT_OF_RESOURCES: u8 = 8;
    /// Cease: Hard Reset (RFC 8538 §3.1).
    pub const CEASE_HARD_RESET: u8 = 9;
    /// Cease: BFD Down (RFC 9384).
    pub const CEASE_BFD_DOWN: u8 = 10;
}

/// A NOTIFICATION never needs more than RFC 4271 allows, whatever was negotiated.
const MAX_DATA: usize = MAX_MESSAGE - HEADER - 2;
/// RFC 9003 §2: one octet counts the text.
const MAX_TEXT: usize = 255;

impl Notification {
    /// Without data.
    #[must_use]
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Bytes::new() }
    }

    /// Cease of `subcode` (RFC 4486). For Administrative Shutdown and Administrative Reset `text` goes
    /// along as the shutdown communication (RFC 9003), cut to 255 octets between two characters; the other
    /// subcodes have no room for one and an empty text is left out.
    #[must_use]
    pub fn cease(subcode: u8, text: &str) -> Self {
        let text = cut(text, MAX_TEXT);
        let mut data = Vec::new();
        if carries_text(codes::CEASE, subcode) && !text.is_empty() {
            data.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            data.extend_from_slice(text.as_bytes());
        }
        Self { code: codes::CEASE, subcode, data: data.into() }
    }

    /// Maximum Number of Prefixes Reached, with the family and the limit (RFC 4486 §4).
    #[must_use]
    pub fn max_prefixes(family: AfiSafi, limit: u32) -> Self {
        let mut data = Vec::with_capacity(7);
        data.put_u16(family.afi);
        data.put_u8(family.safi);
        data.put_u32(limit);
        Self { code: codes::CEASE, subcode: codes::CEASE_MAX_PREFIXES, data: data.into() }
    }

    /// Whether it says that there were too many prefixes, inside a Hard Reset too.
    #[must_use]
    pub fn is_max_prefixes(&self) -> bool {
        let inner = self.hard_reset_inner();
        let Self { code, subcode, .. } = inner.as_ref().unwrap_or(self);
        (*code, *subcode) == (codes::CEASE, codes::CEASE_MAX_PREFIXES)
    }

    /// Unsupported Capability, with the capabilities that the peer must have: "The Data field in the
    /// NOTIFICATION message MUST list the set of capabilities that cause the speaker to send the message"
    /// (RFC 5492 §5).
    #[must_use]
    pub fn unsupported_capability(required: &[Capability]) -> Self {
        let data = encode_capabilities(required, MAX_DATA).freeze();
        Self { code: codes::OPEN, subcode: codes::OPEN_UNSUPPORTED_CAPABILITY, data }
    }

    /// This NOTIFICATION inside a Hard Reset: the peer is to drop the routes although graceful restart
    /// covers NOTIFICATIONs (RFC 8538 §3.1). A Hard Reset is not wrapped again.
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        if (self.code, self.subcode) == (codes::CEASE, codes::CEASE_HARD_RESET) {
            return self;
        }
        let mut data = vec![self.code, self.subcode];
        data.extend_from_slice(&self.data);
        Self { code: codes::CEASE, subcode: codes::CEASE_HARD_RESET, data: data.into() }
    }

    /// What a Hard Reset wraps; `None` for anything else and for one too short to wrap something.
    #[must_use]
    pub fn hard_reset_inner(&self) -> Option<Self> {
        if (self.code, self.subcode) != (codes::CEASE, codes::CEASE_HARD_RESET) {
            return None;
        }
        let [code, subcode, ..] = *self.data else { return None };
        Some(Self { code, subcode, data: self.data.slice(2..) })
    }

    /// The shutdown communication (RFC 9003), where there is one, also inside a Hard Reset. Octets that
    /// are not UTF-8 become U+FFFD; a length that is too great takes what is there.
    #[must_use]
    pub fn shutdown_communication(&self) -> Option<String> {
        let inner = self.hard_reset_inner();
        let notification = inner.as_ref().unwrap_or(self);
        if !carries_text(notification.code, notification.subcode) {
            return None;
        }
        let (length, text) = notification.data.split_first()?;
        let text = text.get(..usize::from(*length)).unwrap_or(text);
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// The whole message. It never has more than 4096 octets; data that does not fit is cut off.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let data = self.data.get(..MAX_DATA).unwrap_or(&self.data);
        let mut out = BytesMut::with_capacity(HEADER + 2 + data.len());
        let start = frame::begin(&mut out, MessageKind::Notification);
        out.put_u8(self.code);
        out.put_u8(self.subcode);
        out.put_slice(data);
        frame::finish(&mut out, start);
        out.freeze()
    }

    /// Decodes `body`, which follows the header, is a part of `frame` and, as framing has found, has two
    /// octets at least. There is no NOTIFICATION about a NOTIFICATION (RFC 4271 §6.4).
    pub(super) fn decode(frame: &Bytes, body: &[u8]) -> Self {
        match body {
            [code, subcode, data @ ..] => {
                Self { code: *code, subcode: *subcode, data: frame.slice_ref(data) }
            }
            _ => Self::new(0, 0),
        }
    }

    /// The code's registered name.
    #[must_use]
    pub const fn code_name(&self) -> Option<&'static str> {
        Some(match self.code {
            1 => "Message Header Error",
            2 => "OPEN Message Error",
            3 => "UPDATE Message Error",
            4 => "Hold Timer Expired",
            5 => "Finite State Machine Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            8 => "Send Hold Timer Expired",
            _ => return None,
        })
    }

    /// The subcode's registered name; 0 has none.
    #[must_use]
    pub const fn subcode_name(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (1, 1) => "Connection Not Synchronized",
            (1, 2) => "Bad Message Length",
            (1, 3) => "Bad Message Type",
            (2, 1) => "Unsupported Version Number",
            (2, 2) => "Bad Peer AS",
            (2, 3) => "Bad BGP Identifier",
            (2, 4) => "Unsupported Optional Parameter",
            (2, 5) => "Authentication Failure",
            (2, 6) => "Unacceptable Hold Time",
            (2, 7) => "Unsupported Capability",
            (2, 11) => "Role Mismatch",
            (3, 1) => "Malformed Attribute List",
            (3, 2) => "Unrecognized Well-known Attribute",
            (3, 3) => "Missing Well-known Attribute",
            (3, 4) => "Attribute Flags Error",
            (3, 5) => "Attribute Length Error",
            (3, 6) => "Invalid ORIGIN Attribute",
            (3, 7) => "AS Routing Loop",
            (3, 8) => "Invalid NEXT_HOP Attribute",
            (3, 9) => "Optional Attribute Error",
            (3, 10) => "Invalid Network Field",
            (3, 11) => "Malformed AS_PATH",
            (5, 1) => "Receive Unexpected Message in OpenSent State",
            (5, 2) => "Receive Unexpected Message in OpenConfirm State",
            (5, 3) => "Receive Unexpected Message in Established State",
            (6, 1) => "Maximum Number of Prefixes Reached",
            (6, 2) => "Administrative Shutdown",
            (6, 3) => "Peer De-configured",
            (6, 4) => "Administrative Reset",
            (6, 5) => "Connection Rejected",
            (6, 6) => "Other Configuration Change",
            (6, 7) => "Connection Collision Resolution",
            (6, 8) => "Out of Resources",
            (6, 9) => "Hard Reset",
            (6, 10) => "BFD Down",
            (7, 1) => "Invalid Message Length",
            _ => return None,
        })
    }

    /// `Cease/Administrative Shutdown (6/2)`.
    fn write_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code_name(), self.subcode_name()) {
            (Some(code), Some(subcode)) => write!(f, "{code}/{subcode}")?,
            (Some(code), None) => f.write_str(code)?,
            (None, _) => f.write_str("Unknown Error")?,
        }
        write!(f, " ({}/{})", self.code, self.subcode)
    }

    /// What the data says, as far as its form is known; else its first octets.
    fn write_data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug form: a peer's text must not bring control characters into our log (RFC 9003 §6).
        if let Some(text) = self.shutdown_communication() {
            return write!(f, ": {text:?}");
        }
        match (self.code, self.subcode, &*self.data) {
            (_, _, []) => Ok(()),
            (1, 2, [a, b]) => write!(f, ": length {}", u16::from_be_bytes([*a, *b])),
            (1, 3, [kind]) => write!(f, ": type {kind}"),
            (2, 1, [a, b]) => write!(f, ": version {} is supported", u16::from_be_bytes([*a, *b])),
            (6, 1, [a, b, safi, rest @ ..]) => {
                write!(f, ": {}", AfiSafi { afi: u16::from_be_bytes([*a, *b]), safi: *safi })?;
                match rest {
                    [a, b, c, d] => write!(f, ", limit {}", u32::from_be_bytes([*a, *b, *c, *d])),
                    _ => Ok(()),
                }
            }
            (_, _, data) => {
                f.write_str(": data ")?;
                for octet in data.iter().take(32) {
                    write!(f, "{octet:02x}")?;
                }
                if data.len() > 32 { write!(f, "… ({} octets)", data.len()) } else { Ok(()) }
            }
        }
    }
}

const fn carries_text(code: u8, subcode: u8) -> bool {
    code == codes::CEASE
        && matches!(subcode, codes::CEASE_ADMINISTRATIVE_SHUTDOWN | codes::CEASE_ADMINISTRATIVE_RESET)
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_name(f)?;
        match self.hard_reset_inner() {
            // One level only: a Hard Reset in a Hard Reset is shown as data.
            Some(inner) => {
                f.write_str(": ")?;
                inner.write_name(f)?;
                inner.write_data(f)
            }
            None => self.write_data(f),
        }
    }
}

#[cfg(test)]
mod tests;
