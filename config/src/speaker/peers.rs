//! `peerGroups`, `peers`, `dynamicPeers`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use super::reader::{Field, Place, Report, Spanned, Table};
use super::schema;
use super::settings::{Settings, check_unicast, interface};
use crate::diagnostic::nearest;
use crate::model::{DynamicPeer, Peer, PeerAddress, Router};

mod checks;
pub(super) use checks::check_unique;
use checks::{Whereabouts, check, check_address, is_link_local};

/// What the checks of a peer need to know beside it.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) report: &'a Report,
    pub(super) base_dir: &'a Path,
    pub(super) router: &'a Router,
    pub(super) kubernetes: bool,
}

/// The groups by name.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, (Place, Settings)>);

impl Groups {
    pub(super) fn read(table: &Table<'_>, context: &Context<'_>) -> Self {
        let mut groups = BTreeMap::new();
        for field in table.list("peerGroups") {
            let Some(table) = field.table(&schema::GROUP) else { continue };
            let name = table.required("name", "write a name for peers to refer to", Field::word);
            let settings = Settings::read(&table, context.report, context.base_dir);
            let Some(name) = name else { continue };
            match groups.entry(name.value) {
                Entry::Vacant(free) => {
                    free.insert((name.place, settings));
                }
                Entry::Occupied(taken) => {
                    let message = format!("a group named {} stands above", taken.key());
                    context.report.error(&name.place, message, "give each group a name of its own");
                }
            }
        }
        Self(groups)
    }

    /// Warns of groups that nobody is in.
    pub(super) fn check_used(&self, table: &Table<'_>, report: &Report) {
        let lists = ["peers", "dynamicPeers"].into_iter().flat_map(|key| table.list(key));
        let used: BTreeSet<&str> = lists.filter_map(|field| field.entry("group")?.single()).collect();
        for (name, (place, _)) in self.0.iter().filter(|(name, _)| !used.contains(name.as_str())) {
            report.warn(place, format!("no peer is in the group {name}"), "name it in a peer, or remove it");
        }
    }

    /// The settings of the group that `field` names.
    fn named(&self, field: &Field<'_>) -> Option<(String, &Settings)> {
        let name = field.word()?;
        let found = self.0.get(&name);
        if found.is_none() {
            field.error(
                format!("there is no group {name}"),
                unknown_name(&name, self.0.keys(), "add it to peerGroups"),
            );
        }
        found.map(|(_, settings)| (name, settings))
    }
}

/// Help for a name that nothing has.
pub(super) fn unknown_name<'a>(
    name: &str,
    known: impl Iterator<Item = &'a String> + Clone,
    otherwise: &str,
) -> String {
    match nearest(name, known.map(String::as_str)) {
        Some(known) => format!("did you mean {known}?"),
        None => otherwise.to_owned(),
    }
}

/// The names of all peers, also of those that could not be read: they have errors of their own.
pub(super) fn names(table: &Table<'_>) -> BTreeSet<String> {
    let lists = ["peers", "dynamicPeers"].into_iter().flat_map(|key| table.list(key));
    lists.filter_map(|field| field.entry("name")?.single().map(str::to_owned)).collect()
}

/// One of `peers`, with the place of its name.
pub(super) fn peer(field: &Field<'_>, groups: &Groups, context: &Context<'_>) -> Option<Spanned<Peer>> {
    let table = field.table(&schema::PEER)?;
    let name = table.required("name", "write a name for tables and commands", Field::word);
    let address = whereabouts(&table, context.report);
    let own = Settings::read(&table, context.report, context.base_dir);
    let group = table.read("group", |field| groups.named(field));
    let settings = match &group {
        Some((_, group)) => own.over(group),
        None => own,
    };
    if let Some(address) = &address {
        check(&settings, &table.place, Whereabouts::Address(&address.value), context);
        check_address(address, &settings, context);
    }
    // A group that is not there may hold the AS number: one error is enough.
    if table.get("group").is_some() && group.is_none() {
        return None;
    }
    let description = settings.description.clone();
    let settings = settings.resolve(&table.place, context.report);
    let name = name?;
    let value = Peer {
        name: name.value,
        group: group.map(|(name, _)| name),
        description,
        address: address?.value,
        settings: settings?,
    };
    Some(Spanned { value, place: name.place })
}

/// One of `dynamicPeers`, with the place of its name.
pub(super) fn dynamic(
    field: &Field<'_>,
    groups: &Groups,
    context: &Context<'_>,
) -> Option<Spanned<DynamicPeer>> {
    let table = field.table(&schema::DYNAMIC_PEER)?;
    let name = table.required("name", "write a name for tables and commands", Field::word);
    let prefix = table.required("prefix", "write where the peers may dial from", Field::prefix);
    let limit = table.read("limit", |field| field.number(1..=u32::MAX)).unwrap_or(100);
    let own = Settings::read(&table, context.report, context.base_dir);
    let group = table.read("group", |field| groups.named(field));
    let settings = match &group {
        Some((_, group)) => own.over(group),
        None => own,
    };
    if let Some(prefix) = &prefix {
        check(&settings, &table.place, Whereabouts::Prefix(prefix.value.family()), context);
    }
    if table.get("group").is_some() && group.is_none() {
        return None;
    }
    let settings = settings.resolve(&table.place, context.report);
    let name = name?;
    let value = DynamicPeer {
        name: name.value,
        group: group.map(|(name, _)| name),
        prefix: prefix?.value,
        limit,
        settings: settings?,
    };
    Some(Spanned { value, place: name.place })
}

fn whereabouts(table: &Table<'_>, report: &Report) -> Option<Spanned<PeerAddress>> {
    match (table.get("address"), table.get("interface")) {
        (Some(_), Some(field)) => {
            field.error(
                "address and interface exclude each other",
                "keep one; a link-local address names its interface as fe80::1%eth1",
            );
            None
        }
        (None, None) => {
            report.error(&table.place, "neither address nor interface", "write where the peer is");
            None
        }
        (Some(field), None) => {
            let value = address(&field)?;
            Some(Spanned { value, place: field.place })
        }
        (None, Some(field)) => {
            let value = PeerAddress::Interface(interface(&field)?);
            Some(Spanned { value, place: field.place })
        }
    }
}

/// An address, with its zone if and only if it is link-local.
fn address(field: &Field<'_>) -> Option<PeerAddress> {
    let text = field.text()?;
    let (bare, zone) = match text.split_once('%') {
        Some((bare, zone)) => (bare, Some(zone)),
        None => (text, None),
    };
    let Ok(address) = bare.parse::<IpAddr>() else {
        field.error(
            format!("{text:?} is not an address"),
            "write it as 10.0.0.254, 2001:db8::1 or fe80::1%eth1; the port is a key of its own",
        );
        return None;
    };
    let address = check_unicast(field, address)?;
    match (is_link_local(address), zone) {
        (true, None | Some("")) => {
            field.error(
                "a link-local address needs its interface",
                format!("write {address}%INTERFACE, for example {address}%eth1"),
            );
            None
        }
        (false, Some(_)) => {
            field.error("only a link-local address has an interface behind it", format!("write {address}"));
            None
        }
        (_, zone) => Some(PeerAddress::Address { address, zone: zone.map(str::to_owned) }),
    }
}
