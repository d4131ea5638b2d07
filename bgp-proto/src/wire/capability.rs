//! Capabilities (RFC 5492 §4).

use bytes::{BufMut, Bytes, BytesMut};

use super::{Capability, GracefulRestart, parse};
use crate::types::{AfiSafi, Asn};

/// Capability Length is one octet.
const MAX_VALUE: usize = 255;

impl Capability {
    /// The capability code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => 1,
            Self::RouteRefresh => 2,
            Self::ExtendedNextHop(_) => 5,
            Self::ExtendedMessage => 6,
            Self::Role(_) => 9,
            Self::GracefulRestart(_) => 64,
            Self::FourOctetAsn(_) => 65,
            Self::AddPath(_) => 69,
            Self::EnhancedRouteRefresh => 70,
            Self::LongLivedGracefulRestart(_) => 71,
            Self::Fqdn { .. } => 73,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Reads a value. A value that does not have the form its code asks for is kept as
    /// [`Capability::Unknown`]: "If a BGP speaker receives from its peer a capability that it does not
    /// itself support or recognize, it MUST ignore that capability" (RFC 5492 §3).
    pub(super) fn decode(code: u8, value: &[u8]) -> Self {
        let known = match (code, value) {
            (1, [a, b, _, safi]) => Some(Self::Multiprotocol(afi_safi(*a, *b, *safi))),
            (2, []) => Some(Self::RouteRefresh),
            (5, _) => Some(Self::ExtendedNextHop(next_hop_tuples(value))),
            (6, []) => Some(Self::ExtendedMessage),
            (9, [role]) => Some(Self::Role(*role)),
            (64, [flags, low, tuples @ ..]) => Some(Self::GracefulRestart(restart(*flags, *low, tuples))),
            (65, [a, b, c, d]) => Asn::new(u32::from_be_bytes([*a, *b, *c, *d])).map(Self::FourOctetAsn),
            (69, _) => add_path_tuples(value).map(Self::AddPath),
            (70, []) => Some(Self::EnhancedRouteRefresh),
            (71, _) => Some(Self::LongLivedGracefulRestart(long_lived_tuples(value))),
            (73, _) => host_name(value),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Unknown { code, value: Bytes::copy_from_slice(value) })
    }

    /// Appends code, length and value. A list that is longer than one capability holds goes into several
    /// of the same code; names and unknown values are cut to what fits.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {
                tlv(out, self.code(), &[]);
            }
            Self::Multiprotocol(family) => {
                let [a, b] = family.afi.to_be_bytes();
                tlv(out, 1, &[a, b, 0, family.safi]);
            }
            Self::Role(role) => tlv(out, 9, &[*role]),
            Self::FourOctetAsn(asn) => tlv(out, 65, &asn.get().to_be_bytes()),
            Self::GracefulRestart(restart) => encode_restart(restart, out),
            Self::ExtendedNextHop(tuples) => list(out, 5, tuples, |(family, next_hop)| {
                let ([a, b], [c, d]) = (family.afi.to_be_bytes(), next_hop.to_be_bytes());
                [a, b, 0, family.safi, c, d]
            }),
            Self::AddPath(tuples) => list(out, 69, tuples, |(family, mode)| {
                let [a, b] = family.afi.to_be_bytes();
                [a, b, family.safi, *mode]
            }),
            Self::LongLivedGracefulRestart(tuples) => list(out, 71, tuples, |(family, flags, seconds)| {
                let ([a, b], [_, c, d, e]) = (family.afi.to_be_bytes(), seconds.to_be_bytes());
                [a, b, family.safi, *flags, c, d, e]
            }),
            Self::Fqdn { host, domain } => {
                // Two length octets; the host name has the first claim to the room.
                let host = cut(host, MAX_VALUE - 2);
                let domain = cut(domain, MAX_VALUE - 2 - host.len());
                let mut value = Vec::with_capacity(MAX_VALUE);
                for name in [host, domain] {
                    value.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                    value.extend_from_slice(name.as_bytes());
                }
                tlv(out, 73, &value);
            }
            Self::Unknown { code, value } => tlv(out, *code, value),
        }
    }
}

const fn afi_safi(a: u8, b: u8, safi: u8) -> AfiSafi {
    AfiSafi { afi: u16::from_be_bytes([a, b]), safi }
}

/// RFC 8950 §4. The SAFI field has two octets; a value over 255 is no SAFI and only its tuple is dropped.
fn next_hop_tuples(value: &[u8]) -> Vec<(AfiSafi, u16)> {
    let (tuples, _) = value.as_chunks::<6>();
    tuples
        .iter()
        .filter(|[_, _, high, ..]| *high == 0)
        .map(|[a, b, _, safi, c, d]| (afi_safi(*a, *b, *safi), u16::from_be_bytes([*c, *d])))
        .collect()
}

/// 1 receive, 2 send, 3 both: "If any other value is received, then the capability SHOULD be treated as not understood
/// and ignored" (RFC 7911 §4).
fn add_path_tuples(value: &[u8]) -> Option<Vec<(AfiSafi, u8)>> {
    let (tuples, _) = value.as_chunks::<4>();
    let known =
        |[a, b, safi, mode]: &[u8; 4]| (1..=3).contains(mode).then(|| (afi_safi(*a, *b, *safi), *mode));
    tuples.iter().map(known).collect()
}

/// RFC 9494 §3.1: the stale time has 24 bits.
fn long_lived_tuples(value: &[u8]) -> Vec<(AfiSafi, u8, u32)> {
    let (tuples, _) = value.as_chunks::<7>();
    tuples
        .iter()
        .map(|[a, b, safi, flags, c, d, e]| {
            (afi_safi(*a, *b, *safi), *flags, u32::from_be_bytes([0, *c, *d, *e]))
        })
        .collect()
}

/// RFC 4724 §3: R is 0x8 and RFC 8538's N is 0x4 of the four flag bits, F is the highest bit of a tuple's.
fn restart(flags: u8, low: u8, tuples: &[u8]) -> GracefulRestart {
    let (tuples, _) = tuples.as_chunks::<4>();
    GracefulRestart {
        restarted: flags & 0x80 != 0,
        notification: flags & 0x40 != 0,
        restart_time: u16::from_be_bytes([flags & 0x0f, low]),
        families: tuples
            .iter()
            .map(|[a, b, safi, flags]| (afi_safi(*a, *b, *safi), flags & 0x80 != 0))
            .collect(),
    }
}

fn encode_restart(restart: &GracefulRestart, out: &mut BytesMut) {
    let [high, low] = restart.restart_time.min(0x0fff).to_be_bytes();
    let flags = (u8::from(restart.restarted) << 7) | (u8::from(restart.notification) << 6) | high;
    let mut value = vec![flags, low];
    for (family, kept) in restart.families.iter().take((MAX_VALUE - 2) / 4) {
        let [a, b] = family.afi.to_be_bytes();
        value.extend_from_slice(&[a, b, family.safi, u8::from(*kept) << 7]);
    }
    tlv(out, 64, &value);
}

/// Host name and domain name, each behind its length. Names that are not UTF-8 stay bytes.
fn host_name(value: &[u8]) -> Option<Capability> {
    let (rest, host) = parse::string8(value).ok()?;
    let (rest, domain) = parse::string8(rest).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let text = |name: &[u8]| std::str::from_utf8(name).map(str::to_owned).ok();
    Some(Capability::Fqdn { host: text(host)?, domain: text(domain)? })
}

/// The longest start of `text` of at most `max` octets that ends between two characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    (0..=max.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

fn tlv(out: &mut BytesMut, code: u8, value: &[u8]) {
    let value = value.get(..MAX_VALUE).unwrap_or(value);
    out.put_u8(code);
    out.put_u8(u8::try_from(value.len()).unwrap_or(u8::MAX));
    out.put_slice(value);
}

/// As many capabilities as the tuples need, and one where there is none.
fn list<T, const N: usize>(out: &mut BytesMut, code: u8, tuples: &[T], encode: impl Fn(&T) -> [u8; N]) {
    if tuples.is_empty() {
        tlv(out, code, &[]);
    }
    for chunk in tuples.chunks(MAX_VALUE / N) {
        tlv(out, code, &chunk.iter().map(&encode).collect::<Vec<_>>().concat());
    }
}
