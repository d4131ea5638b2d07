//! Framing: one whole message off the front of a receive buffer (RFC 4271 §4.1, §6.1).

use bytes::{BufMut, Bytes, BytesMut};

use super::{DecodeContext, DecodeError, Message, MessageKind, Notification, Open, RouteRefresh};
use super::{codes, parse, update};

/// Marker, Length and Type.
pub(super) const HEADER: usize = 19;
/// The longest message without RFC 8654, and the longest OPEN and KEEPALIVE with it.
pub(super) const MAX_MESSAGE: usize = 4096;
const MARKER: [u8; 16] = [0xff; 16];

impl MessageKind {
    /// The type octet.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// The type that the header at the front of `buffer` says; `None` where it is not whole or not known.
    pub(crate) fn of(buffer: &[u8]) -> Option<Self> {
        Self::from_code(*buffer.get(HEADER - 1)?)
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::Keepalive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    /// The shortest and the longest message of this type (RFC 4271 §6.1, RFC 8654 §4). A short
    /// ROUTE-REFRESH is left to its decoder, since RFC 7313 §5 has an error of its own for some.
    fn length_range(self, max_message: usize) -> (usize, usize) {
        match self {
            Self::Open => (29, MAX_MESSAGE),
            Self::Update => (23, max_message),
            Self::Notification => (21, max_message),
            Self::Keepalive => (HEADER, HEADER),
            Self::RouteRefresh => (HEADER, max_message),
        }
    }
}

impl Message {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Open(_) => MessageKind::Open,
            Self::Update(_) => MessageKind::Update,
            Self::Notification(_) => MessageKind::Notification,
            Self::Keepalive => MessageKind::Keepalive,
            Self::RouteRefresh(_) => MessageKind::RouteRefresh,
        }
    }
}

/// Takes one whole message off the front of `buffer` (RFC 4271 §4.1, §6.1) and decodes it with `context`.
/// `None`: more bytes are needed. A bad header is found as soon as its 19 octets are there.
///
/// # Errors
/// The header or the body asks for a session reset. What is then left in `buffer` has no meaning.
pub fn read_message(buffer: &mut BytesMut, context: &DecodeContext) -> Result<Option<Message>, DecodeError> {
    let Some(head) = buffer.get(..HEADER) else { return Ok(None) };
    let (kind, length) = check_header(head, context.max_message)
        .map_err(|error| DecodeError { message: Bytes::copy_from_slice(head), ..error })?;
    if buffer.len() < length {
        return Ok(None);
    }
    let frame = buffer.split_to(length).freeze();
    decode(kind, &frame, context).map(Some).map_err(|error| DecodeError { message: frame, ..error })
}

/// The checks of RFC 4271 §6.1 in the order marker, length, type: a length out of range is reported as
/// such even where the type is unknown as well.
fn check_header(head: &[u8], max_message: usize) -> Result<(MessageKind, usize), DecodeError> {
    let Ok((_, (marker, length_field, code))) = parse::header(head) else {
        return Err(bad_length(0, "the header is short"));
    };
    if marker != MARKER {
        return Err(fault(codes::HEADER_NOT_SYNCHRONIZED, Bytes::new(), "the marker is not all ones"));
    }
    let length = usize::from(length_field);
    let kind = MessageKind::from_code(code);
    let (min, max) = kind.map_or((HEADER, max_message), |kind| kind.length_range(max_message));
    if length < min || length > max {
        let detail = format!("a message of type {code} has {min} to {max} octets, this one says {length}");
        return Err(bad_length(length_field, detail));
    }
    match kind {
        Some(kind) => Ok((kind, length)),
        None => Err(fault(codes::HEADER_BAD_TYPE, vec![code], format!("message type {code} is not known"))),
    }
}

/// "The Data field MUST contain the erroneous Length field" (RFC 4271 §6.1).
pub(super) fn bad_length(length: u16, detail: impl Into<String>) -> DecodeError {
    fault(codes::HEADER_BAD_LENGTH, length.to_be_bytes().to_vec(), detail)
}

fn fault(subcode: u8, data: impl Into<Bytes>, detail: impl Into<String>) -> DecodeError {
    DecodeError::new(codes::MESSAGE_HEADER, subcode, data, detail)
}

fn decode(kind: MessageKind, frame: &Bytes, context: &DecodeContext) -> Result<Message, DecodeError> {
    let body = frame.get(HEADER..).unwrap_or_default();
    Ok(match kind {
        MessageKind::Open => Message::Open(Open::decode(body)?),
        MessageKind::Update => Message::Update(update::decode(frame, body, context)?),
        MessageKind::Notification => Message::Notification(Notification::decode(frame, body)),
        MessageKind::Keepalive => Message::Keepalive,
        MessageKind::RouteRefresh => {
            Message::RouteRefresh(RouteRefresh::decode(frame, body, context.enhanced_refresh)?)
        }
    })
}

/// Appends a header whose length [`finish`] fills in; says where the message starts.
pub(super) fn begin(out: &mut BytesMut, kind: MessageKind) -> usize {
    let start = out.len();
    out.put_slice(&MARKER);
    out.put_u16(0);
    out.put_u8(kind.code());
    start
}

/// Fills in the length of the message that starts at `start` and ends here. Every encoder keeps below
/// 65536 octets; a longer message would be cut off by its length field and is cut off here as well.
pub(super) fn finish(out: &mut BytesMut, start: usize) {
    let length = u16::try_from(out.len().saturating_sub(start)).unwrap_or(u16::MAX);
    out.truncate(start.saturating_add(usize::from(length)));
    patch_u16(out, start.saturating_add(16), length);
}

/// Overwrites the two octets at `at`.
pub(super) fn patch_u16(out: &mut BytesMut, at: usize, value: u16) {
    if let Some(field) = out.get_mut(at..at.saturating_add(2)) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// A KEEPALIVE (RFC 4271 §4.4).
#[must_use]
pub fn keepalive() -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER);
    let start = begin(&mut out, MessageKind::Keepalive);
    finish(&mut out, start);
    out.freeze()
}

#[cfg(test)]
mod tests;
