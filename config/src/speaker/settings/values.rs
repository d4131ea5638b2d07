//! How each setting of a peer is written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{Asn, FamilyMap, HoldTime};

use crate::model::{Bfd, ExportRule, Learn, PrefixLimit, Ttl};
use crate::speaker::reader::{Field, Report, Spanned, Table};
use crate::speaker::schema;

/// An AS number.
pub(in crate::speaker) fn asn(field: &Field<'_>) -> Option<Asn> {
    let asn: Asn = field.parse("write a number from 1 to 4294967295")?;
    if asn.get() == u32::from(bgp_proto::types::AS_TRANS) {
        field.error(
            format!("AS {asn} is AS_TRANS, which stands for numbers that two octets do not hold (RFC 6793)"),
            "write the AS number that is really meant",
        );
        return None;
    }
    Some(asn)
}

pub(super) fn peer_asn(field: &Field<'_>) -> Option<PeerAsn> {
    let text = field.text()?;
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return asn(field).map(PeerAsn::Exact);
    }
    if text.contains(|c: char| c.is_ascii_digit()) {
        let help = "write the number alone, such as 64500, or external, internal or auto";
        field.error(format!("{text:?} is not an AS number"), help);
        return None;
    }
    field.choice(&[("external", PeerAsn::External), ("internal", PeerAsn::Internal), ("auto", PeerAsn::Any)])
}

/// A time in whole seconds that fits `T`.
fn seconds<T: TryFrom<u64>>(field: &Field<'_>, most: u64) -> Option<T> {
    let duration = field.duration()?;
    let whole = duration.subsec_nanos() == 0 && duration.as_secs() <= most;
    let seconds = whole.then(|| T::try_from(duration.as_secs()).ok()).flatten();
    if seconds.is_none() {
        let message = format!("{duration:?} is not a whole number of seconds up to {most}");
        field.error(message, "the protocol carries whole seconds; write for example 30s");
    }
    seconds
}

pub(super) fn hold(field: &Field<'_>) -> Option<HoldTime> {
    let time = HoldTime::try_from(seconds::<u16>(field, u64::from(u16::MAX))?);
    if time == Ok(HoldTime::ZERO) {
        field.warn("without a hold time a dead peer is never noticed", "write for example 9s");
    }
    time.map_err(|error| field.error(error.to_string(), "write 0 or 3s and more")).ok()
}

/// "KEEPALIVE messages MUST NOT be sent more frequently than one per second" (RFC 4271 §4.4); nor is it
/// kind to dial more often.
pub(in crate::speaker) fn at_least_a_second(field: &Field<'_>) -> Option<Duration> {
    let duration = field.duration()?;
    if duration < Duration::from_secs(1) {
        field.error(format!("{duration:?} is less than a second"), "write 1s or more");
        return None;
    }
    Some(duration)
}

/// No hold time is shorter (RFC 4271 §4.2), and a peer that is busy for so long is none that is gone.
pub(in crate::speaker) fn at_least_three_seconds(field: &Field<'_>) -> Option<Duration> {
    let duration = field.duration()?;
    if duration < Duration::from_secs(3) {
        field.error(format!("{duration:?} is less than three seconds"), "write 3s or more");
        return None;
    }
    Some(duration)
}

/// Reads a mapping that `false` switches off, which a peer may want to do with what its group has on.
pub(in crate::speaker) fn unless_off<T>(
    field: &Field<'_>,
    read: impl Fn(&Field<'_>) -> Option<T>,
) -> Option<Option<T>> {
    if field.is_false() { Some(None) } else { read(field).map(Some) }
}

pub(super) fn ttl(table: &Table<'_>, report: &Report) -> Option<Spanned<Ttl>> {
    let security = table.spanned("ttlSecurity", |field| {
        let table = field.table(&schema::TTL_SECURITY)?;
        let hops = table.required("hops", "write 1 for a directly connected peer", |f| f.number(1..=254_u8));
        Some(Ttl::Security(hops?.value))
    });
    let multihop = table.spanned("multihop", |field| {
        let table = field.table(&schema::MULTIHOP)?;
        let ttl = table.required("ttl", "write the number of hops to the peer", |f| f.number(1..=255_u8));
        Some(Ttl::Multihop(ttl?.value))
    });
    if let (Some(_), Some(multihop)) = (&security, &multihop) {
        report.error(
            &multihop.place,
            "ttlSecurity and multihop exclude each other (RFC 5082)",
            "for a peer some hops away write ttlSecurity: {hops: N} alone, or multihop alone",
        );
    }
    security.or(multihop)
}

/// An address that one host can have.
pub(in crate::speaker) fn unicast(field: &Field<'_>) -> Option<IpAddr> {
    let address: IpAddr = field.parse("write an address, for example 10.0.0.254 or 2001:db8::1")?;
    check_unicast(field, address)
}

/// Refuses what is no host's address.
pub(in crate::speaker) fn check_unicast(field: &Field<'_>, address: IpAddr) -> Option<IpAddr> {
    let fault = match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if let Some(v4) = v6.to_ipv4_mapped() => {
            field.error(format!("{address} is an IPv4-mapped address"), format!("write {v4}"));
            return None;
        }
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ => None,
    };
    if let Some(fault) = fault {
        field.error(format!("{address} is {fault}"), "write the address of one host");
        return None;
    }
    Some(address)
}

/// The name of a network interface.
pub(in crate::speaker) fn interface(field: &Field<'_>) -> Option<String> {
    let name = field.word()?;
    // IFNAMSIZ is 16 with the closing zero (netdevice(7)).
    if name.len() > 15 || name.contains(|c: char| c == '/' || c.is_whitespace()) {
        field.error(
            format!("{name:?} cannot be the name of an interface"),
            "write at most 15 characters, without '/' and spaces",
        );
        return None;
    }
    Some(name)
}

pub(super) fn next_hop_ipv4(field: &Field<'_>) -> Option<Ipv4Addr> {
    match unicast(field)? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => {
            field.error(
                format!("{address} is not an IPv4 address"),
                "write it as nextHop.ipv6; IPv4 routes go over IPv6 next hops where the peer offers RFC 8950",
            );
            None
        }
    }
}

pub(super) fn next_hop_ipv6(field: &Field<'_>) -> Option<Ipv6Addr> {
    match unicast(field)? {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(address) => {
            field.error(format!("{address} is not an IPv6 address"), "write it as nextHop.ipv4");
            None
        }
    }
}

pub(super) fn bfd(field: &Field<'_>) -> Option<Bfd> {
    let table = field.table(&schema::BFD)?;
    let interval = |key| {
        let time = table.read(key, |field| {
            let time = field.duration()?;
            if time < Duration::from_millis(10) || time > Duration::from_secs(60) {
                field.error(format!("{time:?} is no interval for BFD"), "write 10ms to 60s");
                return None;
            }
            Some(time)
        });
        time.unwrap_or(Duration::from_millis(300))
    };
    let detect_multiplier = table.read("detectMultiplier", |field| field.number(1..=255)).unwrap_or(3);
    Some(Bfd { transmit: interval("transmit"), receive: interval("receive"), detect_multiplier })
}

pub(super) fn graceful_restart(field: &Field<'_>) -> Option<u16> {
    let table = field.table(&schema::GRACEFUL_RESTART)?;
    // The field has 12 bits (RFC 4724 §3).
    Some(table.read("restartTime", |field| seconds(field, 4095)).unwrap_or(120))
}

pub(super) fn long_lived_restart(field: &Field<'_>) -> Option<u32> {
    let table = field.table(&schema::LONG_LIVED_RESTART)?;
    // The field has 24 bits (RFC 9494).
    let help = "write how long the peer may keep the routes, for example 1h";
    Some(table.required("staleTime", help, |field| seconds(field, 0xff_ffff))?.value)
}

/// A limit for some family, at least.
pub(super) fn prefix_limit(field: &Field<'_>) -> Option<PrefixLimit> {
    let table = field.table(&schema::PREFIX_LIMIT)?;
    let most = |key| table.read(key, |field| field.number(1..=u32::MAX));
    let most = FamilyMap { ipv4: most("ipv4-unicast"), ipv6: most("ipv6-unicast") };
    if ["ipv4-unicast", "ipv6-unicast"].iter().all(|key| !table.has(key)) {
        field.error("no family has a limit", "write for example {ipv4-unicast: 1000}");
        return None;
    }
    Some(PrefixLimit {
        most,
        warn_percent: table.read("warnPercent", |field| field.number(1..=100)).unwrap_or(75),
        restart: table.read("restart", at_least_a_second),
    })
}

/// A word, or prefixes.
pub(super) fn learn(field: &Field<'_>) -> Option<Learn> {
    match field.single() {
        // `default` is what earlier versions called it.
        Some(_) => {
            let words = [("none", false), ("default-route", true), ("default", true)];
            Some(if field.choice(&words)? { Learn::DefaultRoute } else { Learn::None })
        }
        None => Some(Learn::Prefixes(field.each(Field::prefix)?)),
    }
}

pub(in crate::speaker) fn export_rule(field: &Field<'_>) -> Option<ExportRule> {
    let table = field.table(&schema::EXPORT)?;
    let prefix = table.required("prefix", "write the prefix that may leave", Field::prefix)?.value;
    let le = table.read("le", |field| field.number(prefix.len()..=prefix.family().max_len()));
    Some(ExportRule { prefix, le: le.unwrap_or(prefix.len()) })
}

/// RFC 9234, "BGP Role" values.
pub(super) fn role(field: &Field<'_>) -> Option<u8> {
    field.choice(&[
        ("provider", 0),
        ("route-server", 1),
        ("route-server-client", 2),
        ("customer", 3),
        ("peer", 4),
    ])
}

/// A word for both families, or one for each (RFC 7911 §4: 1 receive, 2 send, 3 both).
pub(super) fn add_path(field: &Field<'_>) -> FamilyMap<Option<u8>> {
    let direction =
        |field: &Field<'_>| field.choice(&[("none", 0), ("receive", 1), ("send", 2), ("both", 3)]);
    if field.single().is_some() {
        let bits = direction(field);
        return FamilyMap { ipv4: bits, ipv6: bits };
    }
    field.table(&schema::ADD_PATH).map(|table| table.per_family(direction)).unwrap_or_default()
}

/// `{message: text}`, `true` or `false`.
pub(super) fn shutdown(field: &Field<'_>) -> Option<Option<String>> {
    if field.single().is_some() {
        return field.boolean().map(|down| down.then(String::new));
    }
    let message = field.table(&schema::SHUTDOWN)?.read("message", |field| {
        let text = field.text()?;
        // RFC 9003 §2: the length is one octet.
        if text.len() > 255 {
            field.error(format!("the text has {} octets", text.len()), "write at most 255 (RFC 9003)");
        }
        Some(text.to_owned())
    });
    Some(Some(message.unwrap_or_default()))
}
