//! Capabilities in words.

use bgp_proto::wire::Capability;
use speaker_core::view::CapabilityView;

/// A list of them.
pub(crate) fn views(capabilities: &[Capability]) -> Vec<CapabilityView> {
    capabilities.iter().map(view).collect()
}

fn view(capability: &Capability) -> CapabilityView {
    let (code, name, value) = match capability {
        Capability::Multiprotocol(family) => (1, "multiprotocol", family.to_string()),
        Capability::RouteRefresh => (2, "route refresh", String::new()),
        Capability::ExtendedNextHop(tuples) => {
            (5, "extended next hop", join(tuples, |(family, afi)| format!("{family} over AFI {afi}")))
        }
        Capability::ExtendedMessage => (6, "extended message", String::new()),
        Capability::Role(role) => (9, "role", role_name(*role)),
        Capability::GracefulRestart(restart) => (64, "graceful restart", {
            let flags = [(restart.restarted, "restarted"), (restart.notification, "notification")];
            let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
            let families = join(&restart.families, |(family, kept)| {
                format!("{family}{}", if *kept { " (forwarding kept)" } else { "" })
            });
            [format!("{} s", restart.restart_time), flags.join(" "), families].join(" ").trim().to_owned()
        }),
        Capability::FourOctetAsn(asn) => (65, "four-octet AS", asn.to_string()),
        Capability::AddPath(tuples) => (
            69,
            "ADD-PATH",
            join(tuples, |(family, direction)| {
                let direction = match direction {
                    1 => "receive",
                    2 => "send",
                    3 => "both",
                    _ => "unknown",
                };
                format!("{family} {direction}")
            }),
        ),
        Capability::EnhancedRouteRefresh => (70, "enhanced route refresh", String::new()),
        Capability::LongLivedGracefulRestart(tuples) => (
            71,
            "long-lived graceful restart",
            join(tuples, |(family, _, time)| format!("{family} {time} s")),
        ),
        Capability::Fqdn { host, domain } => (
            73,
            "host name",
            match (host.is_empty(), domain.is_empty()) {
                (_, true) => host.clone(),
                (_, false) => format!("{host}.{domain}"),
            },
        ),
        Capability::Unknown { code, value } => {
            let text = (*code == SOFTWARE_VERSION).then(|| software_version(value)).flatten();
            let text = text.map_or_else(|| format!("{} octets", value.len()), str::to_owned);
            (*code, registered(*code), text)
        }
    };
    CapabilityView { code, name: name.to_owned(), value }
}

/// draft-ietf-idr-bgp-software-version.
const SOFTWARE_VERSION: u8 = 75;

/// One octet of length, then the version in UTF-8. What a terminal could take for a command is not shown.
fn software_version(value: &[u8]) -> Option<&str> {
    let (length, text) = value.split_first()?;
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == usize::from(*length))?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

/// Those that peers announce and this speaker has no use for, as IANA's registry calls them.
fn registered(code: u8) -> &'static str {
    match code {
        3 => "outbound route filtering",
        7 => "BGPsec",
        8 => "multiple labels",
        67 => "dynamic capability",
        68 => "multisession",
        SOFTWARE_VERSION => "software version",
        76 => "paths limit",
        77 => "link-local next hop",
        128 => "prestandard route refresh",
        129 | 130 => "prestandard outbound route filtering",
        131 => "prestandard multisession",
        _ => "unknown",
    }
}

fn join<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// RFC 9234 §4.1.
fn role_name(role: u8) -> String {
    match role {
        0 => "provider".to_owned(),
        1 => "route server".to_owned(),
        2 => "route server client".to_owned(),
        3 => "customer".to_owned(),
        4 => "peer".to_owned(),
        other => format!("role {other}"),
    }
}

#[cfg(test)]
mod tests {
    use bgp_proto::types::{Asn, Family};
    use bgp_proto::wire::GracefulRestart;
    use bytes::Bytes;

    use super::*;

    fn said(capability: &Capability) -> String {
        let CapabilityView { code, name, value } = view(capability);
        format!("{code} {name}: {value}")
    }

    #[test]
    fn capabilities_are_named_as_the_registry_names_them() {
        let restart = GracefulRestart {
            restart_time: 120,
            restarted: true,
            notification: true,
            families: vec![(Family::Ipv4Unicast.afi_safi(), true), (Family::Ipv6Unicast.afi_safi(), false)],
        };
        let directions = [1, 2, 3, 7].map(|direction| (Family::Ipv4Unicast.afi_safi(), direction)).to_vec();
        let fqdn = |host: &str, domain: &str| Capability::Fqdn { host: host.into(), domain: domain.into() };
        for (capability, expected) in [
            (Capability::RouteRefresh, "2 route refresh: "),
            (Capability::FourOctetAsn(Asn::new(64500).unwrap()), "65 four-octet AS: 64500"),
            (
                Capability::GracefulRestart(restart),
                "64 graceful restart: 120 s restarted notification ipv4-unicast (forwarding kept), ipv6-unicast",
            ),
            (
                Capability::AddPath(directions),
                "69 ADD-PATH: ipv4-unicast receive, ipv4-unicast send, ipv4-unicast both, ipv4-unicast unknown",
            ),
            (Capability::Role(3), "9 role: customer"),
            (Capability::Role(9), "9 role: role 9"),
            (fqdn("tor-a", "example.net"), "73 host name: tor-a.example.net"),
            (fqdn("tor-a", ""), "73 host name: tor-a"),
            (Capability::Unknown { code: 200, value: Bytes::from_static(b"ab") }, "200 unknown: 2 octets"),
            (
                Capability::Unknown { code: 128, value: Bytes::new() },
                "128 prestandard route refresh: 0 octets",
            ),
            (
                Capability::Unknown { code: 75, value: Bytes::from_static(b"\x03FRR") },
                "75 software version: FRR",
            ),
            (
                Capability::Unknown { code: 75, value: Bytes::from_static(b"\x04FRR") },
                "75 software version: 4 octets",
            ),
            (
                Capability::Unknown { code: 75, value: Bytes::from_static(b"\x04\x1b[2J") },
                "75 software version: 5 octets",
            ),
            (
                Capability::Unknown { code: 76, value: Bytes::from_static(&[0, 1, 1, 0, 5]) },
                "76 paths limit: 5 octets",
            ),
            (Capability::Unknown { code: 77, value: Bytes::new() }, "77 link-local next hop: 0 octets"),
        ] {
            assert_eq!(said(&capability), expected);
        }
    }
}
