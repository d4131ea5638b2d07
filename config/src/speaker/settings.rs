//! What peers, groups and dynamic peers share: read once as written, then merged, then made whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime};

use super::reader::{Field, Place, Report, Spanned, Table};
use super::schema;
use crate::model::{Bfd, ExportRule, Learn, PasswordSource, PeerSettings, Receive, Ttl};
use crate::objects::Selector;

/// The settings as one mapping of the file has them; what it does not say is `None`.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) description: Option<String>,
    pub(super) asn: Option<Spanned<PeerAsn>>,
    /// Whether there is an `asn` at all, readable or not.
    asn_written: bool,
    pub(super) local_asn: Option<Asn>,
    pub(super) families: Option<FamilySet>,
    pub(super) hold: Option<Spanned<HoldTime>>,
    pub(super) keepalive: Option<Spanned<Duration>>,
    pub(super) connect_retry: Option<Duration>,
    pub(super) password: Option<Spanned<PasswordSource>>,
    pub(super) ttl: Option<Spanned<Ttl>>,
    pub(super) port: Option<u16>,
    pub(super) passive: Option<Spanned<bool>>,
    pub(super) local_address: Option<Spanned<IpAddr>>,
    pub(super) source_interface: Option<String>,
    pub(super) next_hop_ipv4: Option<Spanned<Ipv4Addr>>,
    pub(super) next_hop_ipv6: Option<Spanned<Ipv6Addr>>,
    pub(super) bfd: Option<Option<Bfd>>,
    pub(super) graceful_restart: Option<Spanned<Option<u16>>>,
    pub(super) long_lived_restart: Option<Spanned<Option<u32>>>,
    pub(super) receive: Option<Receive>,
    pub(super) max_prefixes: FamilyMap<Option<u32>>,
    pub(super) learn: Option<Learn>,
    pub(super) export: Option<Spanned<Vec<ExportRule>>>,
    pub(super) max_advertised: FamilyMap<Option<u32>>,
    pub(super) role: Option<Spanned<u8>>,
    pub(super) add_path: FamilyMap<Option<u8>>,
    pub(super) node_selector: Option<Selector>,
    pub(super) shutdown: Option<Option<String>>,
}

impl Settings {
    /// Reads the settings of a peer, group or dynamic peer.
    pub(super) fn read(table: &Table<'_>, report: &Report, base_dir: &Path) -> Self {
        let timers = table.table("timers", &schema::TIMERS);
        let next_hop = table.table("nextHop", &schema::NEXT_HOP);
        let counts = |key, section| {
            let table = table.table(key, section);
            table.map(|table| table.per_family(|field| field.number(1..=u32::MAX))).unwrap_or_default()
        };
        Self {
            description: table.read("description", Field::word),
            asn: table.spanned("asn", peer_asn),
            asn_written: table.has("asn"),
            local_asn: table.read("localAsn", asn),
            families: table.read("families", Field::families),
            hold: timers.as_ref().and_then(|timers| timers.spanned("hold", hold)),
            keepalive: timers.as_ref().and_then(|timers| timers.spanned("keepalive", at_least_a_second)),
            connect_retry: timers.as_ref().and_then(|timers| timers.read("connectRetry", at_least_a_second)),
            password: password(table, report, base_dir),
            ttl: ttl(table, report),
            port: table.read("port", |field| field.number(1..=u16::MAX)),
            passive: table.spanned("passive", Field::boolean),
            local_address: table.spanned("localAddress", unicast),
            source_interface: table.read("sourceInterface", interface),
            next_hop_ipv4: next_hop.as_ref().and_then(|table| table.spanned("ipv4", next_hop_ipv4)),
            next_hop_ipv6: next_hop.as_ref().and_then(|table| table.spanned("ipv6", next_hop_ipv6)),
            bfd: table.read("bfd", |field| unless_off(field, bfd)),
            graceful_restart: table.spanned("gracefulRestart", |field| unless_off(field, graceful_restart)),
            long_lived_restart: table
                .spanned("longLivedRestart", |field| unless_off(field, long_lived_restart)),
            receive: table.read("receive", |field| {
                field.choice(&[("none", Receive::None), ("count", Receive::Count), ("all", Receive::All)])
            }),
            max_prefixes: counts("maxPrefixes", &schema::MAX_PREFIXES),
            learn: table.read("learn", learn),
            export: table.spanned("export", |field| field.each(export_rule)),
            max_advertised: counts("maxAdvertised", &schema::MAX_ADVERTISED),
            role: table.spanned("role", role),
            add_path: table.get("addPath").map(|field| add_path(&field)).unwrap_or_default(),
            node_selector: table.read("nodeSelector", Field::selector),
            shutdown: table.read("shutdown", shutdown),
        }
    }

    /// These settings, and where they say nothing those of the group. Timers, limits and next hops merge key
    /// by key; of keys that exclude each other (passwords, TTLs) the peer's takes the place of the group's.
    pub(super) fn over(self, group: &Self) -> Self {
        let either = |own: FamilyMap<Option<u32>>, group: &FamilyMap<Option<u32>>| {
            FamilyMap::from_fn(|family| own.get(family).or(*group.get(family)))
        };
        Self {
            description: self.description.or_else(|| group.description.clone()),
            asn: self.asn.or_else(|| group.asn.clone()),
            asn_written: self.asn_written || group.asn_written,
            local_asn: self.local_asn.or(group.local_asn),
            families: self.families.or(group.families),
            hold: self.hold.or_else(|| group.hold.clone()),
            keepalive: self.keepalive.or_else(|| group.keepalive.clone()),
            connect_retry: self.connect_retry.or(group.connect_retry),
            password: self.password.or_else(|| group.password.clone()),
            ttl: self.ttl.or_else(|| group.ttl.clone()),
            port: self.port.or(group.port),
            passive: self.passive.or_else(|| group.passive.clone()),
            local_address: self.local_address.or_else(|| group.local_address.clone()),
            source_interface: self.source_interface.or_else(|| group.source_interface.clone()),
            next_hop_ipv4: self.next_hop_ipv4.or_else(|| group.next_hop_ipv4.clone()),
            next_hop_ipv6: self.next_hop_ipv6.or_else(|| group.next_hop_ipv6.clone()),
            bfd: self.bfd.or(group.bfd),
            graceful_restart: self.graceful_restart.or_else(|| group.graceful_restart.clone()),
            long_lived_restart: self.long_lived_restart.or_else(|| group.long_lived_restart.clone()),
            receive: self.receive.or(group.receive),
            max_prefixes: either(self.max_prefixes, &group.max_prefixes),
            learn: self.learn.or_else(|| group.learn.clone()),
            export: self.export.or_else(|| group.export.clone()),
            max_advertised: either(self.max_advertised, &group.max_advertised),
            role: self.role.or_else(|| group.role.clone()),
            add_path: FamilyMap::from_fn(|family| self.add_path.get(family).or(*group.add_path.get(family))),
            node_selector: self.node_selector.or_else(|| group.node_selector.clone()),
            shutdown: self.shutdown.or_else(|| group.shutdown.clone()),
        }
    }

    /// With the defaults for what nobody said. `None`, with an error, where there is no AS number.
    pub(super) fn resolve(self, place: &Place, report: &Report) -> Option<PeerSettings> {
        let Some(asn) = self.asn else {
            if !self.asn_written {
                report.error(
                    place,
                    "asn is missing, here and in the group",
                    "write the peer's AS number, or external, internal or auto",
                );
            }
            return None;
        };
        Some(PeerSettings {
            asn: asn.value,
            local_asn: self.local_asn,
            families: self.families.unwrap_or_else(|| Family::ALL.into_iter().collect()),
            hold: self.hold.map_or(HoldTime::DEFAULT, |hold| hold.value),
            keepalive: self.keepalive.map(|keepalive| keepalive.value),
            connect_retry: self.connect_retry.unwrap_or(Duration::from_secs(5)),
            password: self.password.map(|password| password.value),
            ttl: self.ttl.map_or(Ttl::Direct, |ttl| ttl.value),
            port: self.port.unwrap_or(179),
            passive: self.passive.is_some_and(|passive| passive.value),
            local_address: self.local_address.map(|address| address.value),
            source_interface: self.source_interface,
            next_hop_ipv4: self.next_hop_ipv4.map(|address| address.value),
            next_hop_ipv6: self.next_hop_ipv6.map(|address| address.value),
            bfd: self.bfd.flatten(),
            graceful_restart: self.graceful_restart.and_then(|seconds| seconds.value),
            long_lived_restart: self.long_lived_restart.and_then(|seconds| seconds.value),
            receive: self.receive.unwrap_or_default(),
            max_prefixes: FamilyMap::from_fn(|family| self.max_prefixes.get(family).or(Some(10_000))),
            learn: self.learn.unwrap_or_default(),
            export: self.export.map(|rules| rules.value),
            max_advertised: self.max_advertised,
            role: self.role.map(|role| role.value),
            add_path: FamilyMap::from_fn(|family| self.add_path.get(family).unwrap_or(0)),
            node_selector: self.node_selector,
            shutdown: self.shutdown.flatten(),
        })
    }
}

/// An AS number.
pub(super) fn asn(field: &Field<'_>) -> Option<Asn> {
    field.parse("write a number from 1 to 4294967295")
}

fn peer_asn(field: &Field<'_>) -> Option<PeerAsn> {
    let text = field.text()?;
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return asn(field).map(PeerAsn::Exact);
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

fn hold(field: &Field<'_>) -> Option<HoldTime> {
    let time = HoldTime::try_from(seconds::<u16>(field, u64::from(u16::MAX))?);
    if time == Ok(HoldTime::ZERO) {
        field.warn("without a hold time a dead peer is never noticed", "write for example 9s");
    }
    time.map_err(|error| field.error(error.to_string(), "write 0 or 3s and more")).ok()
}

/// "KEEPALIVE messages MUST NOT be sent more frequently than one per second" (RFC 4271 §4.4); nor is it
/// kind to dial more often.
fn at_least_a_second(field: &Field<'_>) -> Option<Duration> {
    let duration = field.duration()?;
    if duration < Duration::from_secs(1) {
        field.error(format!("{duration:?} is less than a second"), "write 1s or more");
        return None;
    }
    Some(duration)
}

/// Reads a mapping that `false` switches off, which a peer may want to do with what its group has on.
fn unless_off<T>(field: &Field<'_>, read: impl Fn(&Field<'_>) -> Option<T>) -> Option<Option<T>> {
    if field.is_false() { Some(None) } else { read(field).map(Some) }
}

fn password(table: &Table<'_>, report: &Report, base_dir: &Path) -> Option<Spanned<PasswordSource>> {
    let file = table.spanned("passwordFile", Field::word);
    let secret = table.spanned("passwordSecretRef", |field| {
        let table = field.table(&schema::SECRET)?;
        let name = table.required("name", "write the Secret's name", Field::word);
        let key = table.required("key", "write the key in the Secret", Field::word);
        Some(PasswordSource::Secret { name: name?.value, key: key?.value })
    });
    if let (Some(_), Some(secret)) = (&file, &secret) {
        report.error(
            &secret.place,
            "passwordFile and passwordSecretRef exclude each other",
            "keep the one where the key really is",
        );
    }
    file.map(|file| {
        let path: PathBuf = base_dir.join(file.value);
        Spanned { value: PasswordSource::File(path), place: file.place }
    })
    .or(secret)
}

fn ttl(table: &Table<'_>, report: &Report) -> Option<Spanned<Ttl>> {
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
pub(super) fn unicast(field: &Field<'_>) -> Option<IpAddr> {
    let address: IpAddr = field.parse("write an address, for example 10.0.0.254 or 2001:db8::1")?;
    check_unicast(field, address)
}

/// Refuses what is no host's address.
pub(super) fn check_unicast(field: &Field<'_>, address: IpAddr) -> Option<IpAddr> {
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
pub(super) fn interface(field: &Field<'_>) -> Option<String> {
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

fn next_hop_ipv4(field: &Field<'_>) -> Option<Ipv4Addr> {
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

fn next_hop_ipv6(field: &Field<'_>) -> Option<Ipv6Addr> {
    match unicast(field)? {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(address) => {
            field.error(format!("{address} is not an IPv6 address"), "write it as nextHop.ipv4");
            None
        }
    }
}

fn bfd(field: &Field<'_>) -> Option<Bfd> {
    let table = field.table(&schema::BFD)?;
    field.not_yet();
    let interval = |key| {
        let time = table.read(key, |field| {
            let time = field.duration()?;
            if time.is_zero() || time > Duration::from_secs(60) {
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

fn graceful_restart(field: &Field<'_>) -> Option<u16> {
    let table = field.table(&schema::GRACEFUL_RESTART)?;
    // The field has 12 bits (RFC 4724 §3).
    Some(table.read("restartTime", |field| seconds(field, 4095)).unwrap_or(120))
}

fn long_lived_restart(field: &Field<'_>) -> Option<u32> {
    let table = field.table(&schema::LONG_LIVED_RESTART)?;
    field.not_yet();
    // The field has 24 bits (RFC 9494).
    let help = "write how long the peer may keep the routes, for example 1h";
    Some(table.required("staleTime", help, |field| seconds(field, 0xff_ffff))?.value)
}

fn learn(field: &Field<'_>) -> Option<Learn> {
    let learn = match field.single() {
        Some(_) if field.choice(&[("none", false), ("default", true)])? => Learn::DefaultRoute,
        Some(_) => Learn::None,
        None => Learn::Prefixes(field.each(Field::prefix)?),
    };
    if learn != Learn::None {
        field.not_yet();
    }
    Some(learn)
}

fn export_rule(field: &Field<'_>) -> Option<ExportRule> {
    let table = field.table(&schema::EXPORT)?;
    let prefix = table.required("prefix", "write the prefix that may leave", Field::prefix)?.value;
    let le = table.read("le", |field| field.number(prefix.len()..=prefix.family().max_len()));
    Some(ExportRule { prefix, le: le.unwrap_or(prefix.len()) })
}

/// RFC 9234, "BGP Role" values.
fn role(field: &Field<'_>) -> Option<u8> {
    let role = field.choice(&[
        ("provider", 0),
        ("route-server", 1),
        ("route-server-client", 2),
        ("customer", 3),
        ("peer", 4),
    ])?;
    field.not_yet();
    Some(role)
}

/// A word for both families, or one for each (RFC 7911 §4: 1 receive, 2 send, 3 both).
fn add_path(field: &Field<'_>) -> FamilyMap<Option<u8>> {
    let direction = |field: &Field<'_>| {
        let bits = field.choice(&[("none", 0), ("receive", 1), ("send", 2), ("both", 3)])?;
        if bits & 2 != 0 {
            field.warn("sending several paths does nothing yet in this version", "write receive");
        }
        Some(bits)
    };
    if field.single().is_some() {
        let bits = direction(field);
        return FamilyMap { ipv4: bits, ipv6: bits };
    }
    field.table(&schema::ADD_PATH).map(|table| table.per_family(direction)).unwrap_or_default()
}

/// `{message: text}`, `true` or `false`.
fn shutdown(field: &Field<'_>) -> Option<Option<String>> {
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
