//! What was negotiated, as far as bytes depend on it.

use crate::types::FamilySet;

/// What a received message's bytes mean in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeContext {
    /// AS numbers are four octets wide (RFC 6793).
    pub asn4: bool,
    /// The peer is in another AS: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are discarded (RFC 7606 §7).
    pub external: bool,
    /// The families negotiated (RFC 4760).
    pub families: FamilySet,
    /// The families in which the peer sends path identifiers (RFC 7911).
    pub add_path: FamilySet,
    /// IPv4 NLRI may come with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The peer announced enhanced route refresh (RFC 7313): markers of a wrong length are its error.
    pub enhanced_refresh: bool,
    /// The session is over the loopback interface, and so may next hops be. Elsewhere such an address is no host's: "MUST
    /// NOT appear outside a host" (RFC 1122 §3.2.1.3).
    pub loopback: bool,
    /// The longest message that we said we take: 4096, or 65535 (RFC 8654). OPEN and KEEPALIVE stay at 4096.
    pub max_message: usize,
}

/// How a message to the peer is written. Peers with equal contexts can share bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodeContext {
    /// AS numbers are four octets wide (RFC 6793).
    pub asn4: bool,
    /// The families in which we send path identifiers (RFC 7911).
    pub add_path: FamilySet,
    /// IPv4 NLRI may go with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The longest message that both sides take: 4096, or 65535 (RFC 8654).
    pub max_message: usize,
}

impl Default for DecodeContext {
    /// A session whose peer announced no capability.
    fn default() -> Self {
        Self {
            asn4: false,
            external: true,
            families: FamilySet::from_iter([crate::types::Family::Ipv4Unicast]),
            add_path: FamilySet::EMPTY,
            extended_next_hop: false,
            enhanced_refresh: false,
            loopback: false,
            max_message: 4096,
        }
    }
}

impl Default for EncodeContext {
    /// A session whose peer announced no capability.
    fn default() -> Self {
        Self { asn4: false, add_path: FamilySet::EMPTY, extended_next_hop: false, max_message: 4096 }
    }
}
