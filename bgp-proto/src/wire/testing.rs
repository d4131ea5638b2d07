//! What the tests of this folder share.

use bytes::BytesMut;

use super::{DecodeContext, DecodeError, Message, read_message};

/// Octets from hex digits; anything else is ignored, and `M` is a marker.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let text = text.replace('M', &"f".repeat(32));
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).unwrap()).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "an odd number of hex digits");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Decodes one message and nothing else.
pub(crate) fn read(octets: &[u8], context: &DecodeContext) -> Result<Message, DecodeError> {
    let mut buffer = BytesMut::from(octets);
    let message = read_message(&mut buffer, context)?.expect("the message is whole");
    assert!(buffer.is_empty(), "octets are left");
    Ok(message)
}

/// The NOTIFICATION that the octets are answered with, as `code/subcode data`.
pub(crate) fn fault(octets: &[u8], context: &DecodeContext) -> String {
    let error = read(octets, context).expect_err("the message is faulty");
    let data: String = error.notification.data.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{}/{} {data}", error.notification.code, error.notification.subcode)
}

/// A message with header around `body`.
pub(crate) fn message(code: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    out.push(code);
    out.extend_from_slice(body);
    out
}
