//! What the Debian versions of the daemons lack, as data: a suite that cannot ask a daemon for something says so
//! by way of this table, and a test proves each entry on the daemon itself.

use super::Kind;

/// Something that a suite may want of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Sends a ROUTE-REFRESH when its operator asks for it.
    AskRefresh,
    /// IPv4 over IPv6 next hops (RFC 8950).
    ExtendedNextHop,
    /// Multiple paths (RFC 7911).
    AddPath,
    /// Restarts with its forwarding state kept (RFC 4724), not only End-of-RIB.
    GracefulRestart,
    /// Extended messages (RFC 8654).
    ExtendedMessages,
    /// Sessions signed with TCP MD5 (RFC 2385).
    Md5,
    /// A session without the 4-octet AS capability (RFC 6793).
    TwoOctetAs,
    /// A community of its own choice on a route that it originates, extended ones included.
    ExtendedCommunities,
    /// Reads the text of a shutdown (RFC 9003).
    ShutdownText,
    /// Refuses a hold time below a configured minimum.
    MinimumHoldTime,
}

/// Why `kind` cannot do `feature` in the version of Debian 12; `None` where it can.
#[must_use]
pub fn lack(kind: Kind, feature: Feature) -> Option<&'static str> {
    match (kind, feature) {
        (Kind::GoBgp, Feature::AskRefresh) => {
            Some("not in this version: softresetin runs the policy over the kept Adj-RIB-In, nothing is sent")
        }
        (Kind::OpenBgpd, Feature::ExtendedNextHop) => {
            Some("not in this version: bgpd.conf(5) of 7.7 has no key for it")
        }
        (Kind::GoBgp | Kind::OpenBgpd, Feature::ExtendedMessages) => {
            Some("not in this version: the capability (6) is never sent")
        }
        (Kind::ExaBgp, Feature::ShutdownText) => {
            Some("not in this version: it fails to decode a Cease/2 that has a text, and answers 1/0")
        }
        _ => None,
    }
}
