//! What peers, groups and dynamic peers share: read once as written, then merged, then made whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime};

use super::reader::{Field, Place, Report, Spanned, Table};
use super::schema;
use crate::model::{Authentication, Bfd, ExportRule, Learn, PeerSettings, PrefixLimit, Receive, Ttl};
use crate::objects::Selector;

mod authentication;
mod values;
use authentication::authentication;
use values::{
    add_path, bfd, graceful_restart, hold, learn, long_lived_restart, next_hop_ipv4, next_hop_ipv6, peer_asn,
    prefix_limit, role, shutdown, ttl,
};
pub(super) use values::{
    asn, at_least_a_second, at_least_three_seconds, check_unicast, export_rule, interface, unicast,
    unless_off,
};

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
    pub(super) send_hold: Option<Duration>,
    pub(super) authentication: Option<Spanned<Authentication>>,
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
    pub(super) prefix_limit: Option<Spanned<Option<PrefixLimit>>>,
    pub(super) learn: Option<Spanned<Learn>>,
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
            send_hold: timers.as_ref().and_then(|timers| timers.read("sendHold", at_least_three_seconds)),
            authentication: authentication(table, report, base_dir),
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
            prefix_limit: table.spanned("prefixLimit", |field| unless_off(field, prefix_limit)),
            learn: table.spanned("learn", learn),
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
            send_hold: self.send_hold.or(group.send_hold),
            authentication: self.authentication.or_else(|| group.authentication.clone()),
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
            prefix_limit: self.prefix_limit.or_else(|| group.prefix_limit.clone()),
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
            send_hold: self.send_hold,
            authentication: self.authentication.map(|keys| keys.value),
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
            prefix_limit: self.prefix_limit.and_then(|limit| limit.value),
            learn: self.learn.map(|learn| learn.value).unwrap_or_default(),
            export: self.export.map(|rules| rules.value),
            max_advertised: self.max_advertised,
            role: self.role.map(|role| role.value),
            add_path: FamilyMap::from_fn(|family| self.add_path.get(family).unwrap_or(0)),
            node_selector: self.node_selector,
            shutdown: self.shutdown.flatten(),
        })
    }
}
