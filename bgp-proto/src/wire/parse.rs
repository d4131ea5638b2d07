//! The nom parsers that framing and TLVs are built of. Only complete ones: inside a message a short field
//! is the peer's fault, not a reason to wait. No nom type leaves this folder.

use nom::Parser;
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_u8, be_u16};

/// A field that needs more octets than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    /// How many octets were left where the field starts.
    pub(super) left: usize,
}

impl<'a> ParseError<&'a [u8]> for Short {
    fn from_error_kind(input: &'a [u8], _kind: ErrorKind) -> Self {
        Self { left: input.len() }
    }

    fn append(_input: &'a [u8], _kind: ErrorKind, inner: Self) -> Self {
        inner
    }
}

/// What is left, and a value.
pub(super) type Parsed<'a, T> = Result<(&'a [u8], T), Short>;

/// Runs `parser`; complete parsers never ask for more.
fn run<'a, T>(
    mut parser: impl Parser<&'a [u8], Output = T, Error = Short>,
    input: &'a [u8],
) -> Parsed<'a, T> {
    parser.parse(input).map_err(|fault| match fault {
        nom::Err::Error(short) | nom::Err::Failure(short) => short,
        nom::Err::Incomplete(_) => Short { left: input.len() },
    })
}

/// Marker, Length and Type (RFC 4271 §4.1).
pub(super) fn header(input: &[u8]) -> Parsed<'_, (&[u8], u16, u8)> {
    run((take(16usize), be_u16, be_u8), input)
}

/// Version, My AS, Hold Time, BGP Identifier and Opt Parm Len (RFC 4271 §4.2).
pub(super) fn open(input: &[u8]) -> Parsed<'_, (u8, u16, u16, u32, u8)> {
    run((be_u8, be_u16, be_u16, nom::number::complete::be_u32, be_u8), input)
}

/// The octet 255 and the two-octet length that announce extended optional parameters (RFC 9072 §2).
pub(super) fn extended_parameters(input: &[u8]) -> Parsed<'_, (u8, u16)> {
    run((be_u8, be_u16), input)
}

/// Type, one-octet length, value: an optional parameter (RFC 4271 §4.2) or a capability (RFC 5492 §4).
pub(super) fn tlv8(input: &[u8]) -> Parsed<'_, (u8, &[u8])> {
    run((be_u8, be_u8.flat_map(take)), input)
}

/// Type, two-octet length, value: an extended optional parameter (RFC 9072 §2).
pub(super) fn tlv16(input: &[u8]) -> Parsed<'_, (u8, &[u8])> {
    run((be_u8, be_u16.flat_map(take)), input)
}

/// A string behind a one-octet length.
pub(super) fn string8(input: &[u8]) -> Parsed<'_, &[u8]> {
    run(be_u8.flat_map(take), input)
}

/// AFI, a reserved or subtype octet, SAFI (RFC 2918 §3, RFC 7313 §3.2).
pub(super) fn refresh(input: &[u8]) -> Parsed<'_, (u16, u8, u8)> {
    run((be_u16, be_u8, be_u8), input)
}
