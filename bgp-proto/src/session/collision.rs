//! Connection collision (RFC 4271 §6.8, RFC 6286 §2.3).

use super::link::Direction;
use crate::types::{Asn, RouterId};

/// Which of two connections stays, decided when both have brought the peer's OPEN: "The BGP Identifier of
/// the local system is compared to the BGP Identifier of the remote system … by converting them to host byte
/// order and treating them as 4-octet unsigned integers", and the connection initiated by the higher one
/// stays. "If the BGP Identifiers of the peers involved in the connection collision are identical, then the
/// connection initiated by the BGP speaker with the larger AS number is preserved" (RFC 6286 §2.3).
pub(super) fn survivor(ours: (RouterId, Asn), theirs: (RouterId, Asn)) -> Direction {
    let key = |(id, asn): (RouterId, Asn)| (id.to_bits(), asn);
    if key(ours) > key(theirs) { Direction::Outgoing } else { Direction::Incoming }
}
