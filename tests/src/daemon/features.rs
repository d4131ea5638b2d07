//! What the Debian versions of the daemons lack, as data: a suite that cannot ask a daemon for something says so
//! by way of this table (tests/README.md shows it), and a test proves each entry on the daemon itself.

use super::Kind;
use super::generation::{Generation, generation};

/// Something that a suite wants of a daemon.
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
    /// Keeps the routes of a peer that restarts (RFC 4724).
    HelpRestart,
    /// Keeps them for long after that, as a last resort, and marks them so (RFC 9494).
    LongLivedRestart,
    /// Roles (RFC 9234).
    Roles,
    /// Extended messages (RFC 8654).
    ExtendedMessages,
    /// Reads the text of a shutdown (RFC 9003).
    ShutdownText,
    /// TTL security towards a peer that is more than one hop away (RFC 5082 §3).
    DistantTtlSecurity,
    /// Keeps a connection that it made beside one that the peer made, until OPENs decide (RFC 4271 §6.8).
    Collides,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AskRefresh,
        Self::ExtendedNextHop,
        Self::AddPath,
        Self::GracefulRestart,
        Self::HelpRestart,
        Self::LongLivedRestart,
        Self::Roles,
        Self::ExtendedMessages,
        Self::ShutdownText,
        Self::DistantTtlSecurity,
        Self::Collides,
    ];
}

/// Why `kind` cannot do `feature` in the generation that this process runs; `None` where it can.
#[must_use]
pub fn lack(kind: Kind, feature: Feature) -> Option<&'static str> {
    lack_in(generation(), kind, feature)
}

/// The same of any generation.
#[must_use]
pub fn lack_in(generation: Generation, kind: Kind, feature: Feature) -> Option<&'static str> {
    let learned_in = match (kind, feature) {
        (
            Kind::OpenBgpd,
            Feature::ExtendedNextHop | Feature::ExtendedMessages | Feature::DistantTtlSecurity,
        ) => Some(Generation::Trixie),
        (Kind::GoBgp, Feature::Collides | Feature::ExtendedMessages) => Some(Generation::Sid),
        _ => None,
    };
    if learned_in.is_some_and(|first| generation >= first) { None } else { lack_at_first(kind, feature) }
}

/// What Debian 12's cannot do, and later ones not either if [`lack_in`] does not say so.
fn lack_at_first(kind: Kind, feature: Feature) -> Option<&'static str> {
    match (kind, feature) {
        (Kind::GoBgp, Feature::AskRefresh) => {
            Some("not in this version: softresetin runs the policy over the kept Adj-RIB-In, nothing is sent")
        }
        (Kind::OpenBgpd, Feature::ExtendedNextHop) => {
            Some("not in this version: bgpd.conf(5) of 7.7 has no key for it, capability 5 is never sent")
        }
        (Kind::OpenBgpd, Feature::GracefulRestart) => {
            Some("not in this version: bgpd.conf(5) of 7.7: \"only the End-of-RIB marker is supported\"")
        }
        (Kind::ExaBgp, Feature::HelpRestart) => {
            Some("not in this version: it has no table of received routes; its API process is told `down`")
        }
        (Kind::ExaBgp | Kind::OpenBgpd, Feature::LongLivedRestart) => {
            Some("not in this version: it has no key for it, capability 71 is never sent")
        }
        (Kind::GoBgp | Kind::ExaBgp, Feature::Roles) => {
            Some("not in this version: it has no key for it, capability 9 is never sent")
        }
        (Kind::GoBgp | Kind::OpenBgpd, Feature::ExtendedMessages) => {
            Some("not in this version: capability 6 is never sent")
        }
        (Kind::ExaBgp, Feature::ShutdownText) => Some(
            "4.2 fails to decode a Cease/2 that has a text, and answers 1/0; 5.0 decodes it and logs no text",
        ),
        (Kind::OpenBgpd, Feature::DistantTtlSecurity) => {
            Some("not in this version: bgpd.conf(5) of 7.7 has `ttl-security` without a number of hops")
        }
        (Kind::GoBgp, Feature::Collides) => {
            Some("not in this version: in OpenSent it closes a connection that the peer makes")
        }
        (Kind::ExaBgp, Feature::Collides) => {
            Some("not in this version: it listens for passive peers alone, and dials the others alone")
        }
        (Kind::OpenBgpd, Feature::Collides) => {
            Some("not in this version: it gives its own attempt up when the peer has connected")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::golden;

    /// Whether a capability is the one that offers a feature.
    type Offers = fn(&(u8, Vec<u8>)) -> bool;

    /// The capabilities of the OPENs in a golden capture.
    fn capabilities(kind: Kind, name: &str) -> Vec<(u8, Vec<u8>)> {
        let file = golden::folder().join(kind.name()).join(format!("{name}.hex"));
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut found = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let octets: Vec<u8> = (0..line.len() / 2)
                .map(|n| u8::from_str_radix(&line[2 * n..2 * n + 2], 16).unwrap())
                .collect();
            if octets[18] != 1 {
                continue;
            }
            let mut rest = &octets[29..];
            while let [2, length, after @ ..] = rest {
                let (mut list, next) = after.split_at(usize::from(*length));
                while let [code, length, after @ ..] = list {
                    let (value, others) = after.split_at(usize::from(*length));
                    found.push((*code, value.to_vec()));
                    list = others;
                }
                rest = next;
            }
        }
        found
    }

    /// What a daemon offers in its OPEN, read from what it put on the wire when it was asked for the feature.
    #[test]
    fn the_table_says_what_the_captured_opens_say() {
        let cases: [(Feature, &str, Offers); 4] = [
            (Feature::ExtendedNextHop, "extended-next-hop", |c| c.0 == 5),
            (Feature::AddPath, "add-path-ipv4", |c| c.0 == 69),
            (Feature::GracefulRestart, "graceful-restart", |c| c.0 == 64 && c.1.len() > 2),
            (Feature::ExtendedMessages, "extended-messages", |c| c.0 == 6),
        ];
        for (feature, capture, offers) in cases {
            for kind in Kind::ALL {
                // A daemon that lacks it has no capture of it, and offers it in no other.
                let name = if lack_in(Generation::Bookworm, kind, feature).is_some() {
                    "graceful-restart"
                } else {
                    capture
                };
                let found = capabilities(kind, name);
                assert!(!found.is_empty(), "{kind}: no OPEN in {name}.hex");
                let offered = found.iter().any(offers);
                assert_eq!(
                    offered,
                    lack_in(Generation::Bookworm, kind, feature).is_none(),
                    "{kind} {feature:?}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../../README.md");
        for feature in Feature::ALL {
            let row = readme.lines().find(|l| l.starts_with(&format!("| `{feature:?}` |")));
            let row = row.unwrap_or_else(|| panic!("no row for {feature:?}"));
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).skip(1).collect();
            let expected = Kind::ALL.map(|kind| {
                let able = |g: &Generation| lack_in(*g, kind, feature).is_none();
                match Generation::ALL.into_iter().find(able) {
                    None => "in none".to_owned(),
                    Some(Generation::Bookworm) => "yes".to_owned(),
                    Some(since) => format!("since {since}"),
                }
            });
            assert_eq!(cells, expected, "{feature:?}");
        }
    }
}
