//! `advertisements`.

use std::collections::BTreeSet;

use bgp_proto::types::{Family, Prefix};

use super::reader::{Field, Report, Spanned, Table};
use super::schema;
use crate::model::{
    Advertisement, PoolGate, PoolLengths, PoolPrefix, RouteAttributes, ServiceGate, ServiceRoutes,
    ServiceRoutesWhich,
};

/// An advertisement, with the places that checks against the peers need.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) name: Spanned<String>,
    pub(super) value: Advertisement,
    pub(super) peers: Vec<Spanned<String>>,
    pub(super) prefixes: Vec<Spanned<Prefix>>,
    pub(super) local_preference: Option<Spanned<u32>>,
}

/// One entry.
pub(super) fn read(field: &Field<'_>, report: &Report) -> Option<Read> {
    let table = field.table(&schema::ADVERTISEMENT)?;
    let name = table.required("name", "write a name; conditions and `explain` use it", Field::word);
    let prefixes: Vec<Spanned<Prefix>> = spanned_list(&table, "prefixes", Field::prefix);
    let peers = spanned_list(&table, "peers", Field::word);
    let allow = table.read("allow", |field| field.each(Field::prefix)).unwrap_or_default();
    let pool_prefix = table.read("poolPrefix", |field| pool_prefix(field, &allow));
    let attributes = table.table("attributes", &schema::ATTRIBUTES);
    let name = name?;
    let value = Advertisement {
        name: name.value.clone(),
        pool_selector: table.read("poolSelector", Field::selector),
        service_selector: table.read("serviceSelector", Field::selector),
        prefixes: prefixes.iter().map(|prefix| prefix.value).collect(),
        pool_prefix,
        service_routes: table.read("serviceRoutes", service_routes),
        attributes: attributes.as_ref().map(|table| route_attributes(table)).unwrap_or_default(),
        peers: table.get("peers").map(|_| peers.iter().map(|name| name.value.clone()).collect()),
        node_selector: table.read("nodeSelector", Field::selector),
        allow,
        belongings: false,
        families: Family::ALL.into_iter().collect(),
        export: Vec::new(),
    };
    check(&table, &value, report);
    let local_preference =
        attributes.and_then(|table| table.spanned("localPreference", |field| field.text()?.parse().ok()));
    Some(Read { name, value, peers, prefixes, local_preference })
}

fn spanned_list<'a, T>(
    table: &Table<'a>,
    key: &str,
    read: impl Fn(&Field<'a>) -> Option<T>,
) -> Vec<Spanned<T>> {
    let items = table.list(key).into_iter();
    items.filter_map(|field| Some(Spanned { value: read(&field)?, place: field.place })).collect()
}

/// What can be said of an advertisement alone.
fn check(table: &Table<'_>, value: &Advertisement, report: &Report) {
    let silent =
        matches!(value.service_routes, None | Some(ServiceRoutes { which: ServiceRoutesWhich::None, .. }));
    if value.prefixes.is_empty() && table.get("poolPrefix").is_none() && silent {
        report.warn(
            &table.place,
            "this advertisement announces nothing",
            "give it prefixes, poolPrefix: {} or serviceRoutes: {}",
        );
    }
    for (key, needs, used) in [
        ("poolSelector", "poolPrefix", value.pool_prefix.is_some()),
        ("serviceSelector", "serviceRoutes", !silent),
    ] {
        if let Some(field) = table.get(key).filter(|_| !used && table.get(needs).is_none()) {
            field.warn(
                format!("{key} has no effect without {needs}"),
                format!("add {needs}: {{}} for its defaults, or remove {key}"),
            );
        }
    }
    if let Some(field) = table.get("peers").filter(|_| value.peers.as_ref().is_some_and(BTreeSet::is_empty)) {
        field.warn("the list is empty, so nobody is told", "name peers, or remove the key for all of them");
    }
    let mut seen = BTreeSet::new();
    for field in table.list("prefixes") {
        if let Some(prefix) = field.text().and_then(|text| text.parse::<Prefix>().ok())
            && !seen.insert(prefix)
        {
            field.error(format!("{prefix} stands here twice"), "remove one");
        }
    }
}

fn pool_prefix(field: &Field<'_>, allow: &[Prefix]) -> Option<PoolPrefix> {
    let table = field.table(&schema::POOL_PREFIX)?;
    let when = table.read("when", |field| {
        field.choice(&[
            ("always", PoolGate::Always),
            ("allocated", PoolGate::Allocated),
            ("ready", PoolGate::Ready),
            ("never", PoolGate::Never),
        ])
    });
    let lengths = table.read("lengths", |field| lengths(field, allow));
    let allow_beyond_pool = table.read("allowBeyondPool", Field::boolean).unwrap_or_default();
    let lengths = lengths.unwrap_or_default();
    if let Some(field) =
        table.get("allowBeyondPool").filter(|_| allow_beyond_pool && lengths == PoolLengths::Exact)
    {
        field.warn(
            "allowBeyondPool has no effect with exact lengths",
            "write lengths: {ipv4: N}, or remove the key",
        );
    }
    Some(PoolPrefix { when: when.unwrap_or_default(), lengths, allow_beyond_pool })
}

/// `exact`, or a length in each family.
fn lengths(field: &Field<'_>, allow: &[Prefix]) -> Option<PoolLengths> {
    if let Some(text) = field.single() {
        if text != "exact" {
            field.error(format!("{text:?} is not known here"), "write exact, or {ipv4: 24, ipv6: 64}");
            return None;
        }
        return Some(PoolLengths::Exact);
    }
    let table = field.table(&schema::LENGTHS)?;
    let length = |family: Family, key: &str, shortest: u8| {
        table.read(key, |field| {
            let length = field.number(1..=family.max_len())?;
            let allowed = allow.iter().any(|prefix| prefix.family() == family && prefix.len() <= length);
            if length < shortest && !allowed {
                field.error(
                    format!("a /{length} is shorter than /{shortest}"),
                    "name the prefix in allow, if it is really yours to announce",
                );
                return None;
            }
            Some(length)
        })
    };
    let lengths = bgp_proto::types::FamilyMap {
        ipv4: length(Family::Ipv4Unicast, "ipv4", 8),
        ipv6: length(Family::Ipv6Unicast, "ipv6", 32),
    };
    Some(PoolLengths::Fixed(lengths))
}

fn service_routes(field: &Field<'_>) -> Option<ServiceRoutes> {
    let table = field.table(&schema::SERVICE_ROUTES)?;
    let which = table.read("which", |field| {
        field.choice(&[
            ("all", ServiceRoutesWhich::All),
            ("local", ServiceRoutesWhich::Local),
            ("none", ServiceRoutesWhich::None),
        ])
    });
    let when = table.read("when", |field| {
        field.choice(&[
            ("allocated", ServiceGate::Allocated),
            ("ready", ServiceGate::Ready),
            ("serving", ServiceGate::Serving),
        ])
    });
    Some(ServiceRoutes {
        which: which.unwrap_or_default(),
        when: when.unwrap_or_default(),
        ..ServiceRoutes::default()
    })
}

fn route_attributes(table: &Table<'_>) -> RouteAttributes {
    let number = |key| table.read(key, |field| field.number(0..=u32::MAX));
    RouteAttributes {
        communities: communities(table, "communities"),
        large_communities: communities(table, "largeCommunities"),
        extended_communities: communities(table, "extendedCommunities"),
        local_preference: number("localPreference"),
        med: number("med"),
        // With our own AS at least one more: a segment holds 255 (RFC 4271 §4.3).
        prepend: table.read("prepend", |field| field.number(0..=254)).unwrap_or_default(),
    }
}

fn communities<T>(table: &Table<'_>, key: &str) -> Vec<T>
where
    T: std::str::FromStr<Err: std::fmt::Display> + PartialEq,
{
    let mut all = Vec::new();
    for field in table.list(key) {
        let Some(community) = field.parse::<T>("write it as 64500:100") else { continue };
        if all.contains(&community) {
            field.warn("the community stands here twice", "remove one");
        } else {
            all.push(community);
        }
    }
    all
}
