//! CiliumBGPAdvertisement.

use std::collections::BTreeSet;

use bgp_proto::types::{Community, Family, FamilyMap};
use serde_json::Value as Json;

use super::fields::{Fields, Found, metadata};
use super::{FieldError, name};
use crate::objects::{AddressKind, Advertised, BgpAdvertisement, BgpAdvertisementEntry, Selection};

const ADDRESSES: [(&str, AddressKind); 3] = [
    ("LoadBalancerIP", AddressKind::LoadBalancer),
    ("ExternalIP", AddressKind::External),
    ("ClusterIP", AddressKind::Cluster),
];

/// Cilium's names, which are the registry's of the time.
const WELL_KNOWN: [(&str, Community); 14] = [
    ("internet", Community::new(0, 0)),
    ("planned-shut", Community::GRACEFUL_SHUTDOWN),
    ("accept-own", Community::new(65535, 1)),
    ("route-filter-translated-v4", Community::new(65535, 2)),
    ("route-filter-v4", Community::new(65535, 3)),
    ("route-filter-translated-v6", Community::new(65535, 4)),
    ("route-filter-v6", Community::new(65535, 5)),
    ("llgr-stale", Community::LLGR_STALE),
    ("no-llgr", Community::NO_LLGR),
    ("blackhole", Community::BLACKHOLE),
    ("no-export", Community::NO_EXPORT),
    ("no-advertise", Community::NO_ADVERTISE),
    ("no-export-subconfed", Community::NO_EXPORT_SUBCONFED),
    ("no-peer", Community::NO_PEER),
];

/// A CiliumBGPAdvertisement, from the whole object, v2 or v2alpha1.
///
/// # Errors
/// `metadata` cannot be read, so that the object has no name.
pub fn bgp_advertisement(object: &Json) -> Result<BgpAdvertisement, FieldError> {
    let meta = metadata(object)?;
    let found = Found::default();
    let mut advertisement = BgpAdvertisement {
        name: name(&meta)?,
        labels: meta.labels.unwrap_or_default(),
        ..BgpAdvertisement::default()
    };
    if let Some(spec) = Fields::spec(object, &found, false) {
        for (index, fields) in spec.tables("advertisements") {
            let (entry, sound) = found.sound(|| entry(index, &fields));
            advertisement.entries.extend(entry.filter(|_| sound));
        }
    }
    (advertisement.faults, advertisement.notes) = found.into_parts();
    Ok(advertisement)
}

/// `None` where something is missing or wrong; that is noted.
fn entry(index: usize, fields: &Fields<'_>) -> Option<BgpAdvertisementEntry> {
    let what = what(fields);
    let attributes = fields.table("attributes");
    let communities = attributes.as_ref().and_then(|attributes| attributes.table("communities"));
    let (mut standard, mut large) = (Vec::new(), Vec::new());
    if let Some(communities) = communities {
        standard = communities.texts("standard", |text| {
            // Names have a field of their own.
            let numbers = text.chars().all(|c| c.is_ascii_digit() || c == ':');
            let parsed = text.parse::<Community>().ok().filter(|_| numbers);
            parsed.ok_or_else(|| format!("{text:?} is no community; write it as 64500:100"))
        });
        standard.extend(communities.texts("wellKnown", |text| {
            let known = WELL_KNOWN.iter().find(|(name, _)| *name == text);
            known
                .map(|(_, community)| *community)
                .ok_or_else(|| format!("{text:?} is no well-known community"))
        }));
        large = communities.texts("large", |text| {
            text.parse().map_err(|_| format!("{text:?} is no large community; write it as 64500:1:2"))
        });
    }
    let local_preference =
        attributes.and_then(|attributes| attributes.number("localPreference", 0..=i64::from(u32::MAX)));
    Some(BgpAdvertisementEntry {
        index,
        what: what?,
        communities: standard,
        large_communities: large,
        local_preference,
    })
}

fn what(fields: &Fields<'_>) -> Option<Advertised> {
    let kind = fields.required("advertisementType")?;
    for (key, only) in [("service", "Service"), ("interface", "Interface")] {
        if fields.has(key) && kind != only {
            fields.fault(key, format!("only for advertisementType {only}; remove it"));
        }
    }
    match kind {
        "PodCIDR" => {
            if fields.has("selector") {
                fields.fault("selector", "not for advertisementType PodCIDR; remove it");
            }
            Some(Advertised::PodCidr)
        }
        "Service" => service(fields),
        "Interface" => {
            let Some(interface) = fields.table("interface") else {
                fields.fault("interface", "absent; write interface.name");
                return None;
            };
            fields.without_effect(&[("selector", "an interface is named, not selected")]);
            interface.required("name").map(|name| Advertised::Interface(name.to_owned()))
        }
        "CiliumPodIPPool" => {
            fields.fault(
                "advertisementType",
                "CiliumPodIPPool is not served: only Cilium knows its pools' CIDRs",
            );
            None
        }
        other => {
            let known = "Service, PodCIDR or Interface";
            fields.fault("advertisementType", format!("{other:?} is not known here; write {known}"));
            None
        }
    }
}

fn service(fields: &Fields<'_>) -> Option<Advertised> {
    let Some(service) = fields.table("service") else {
        fields.fault("service", "absent; write service.addresses");
        return None;
    };
    let addresses: BTreeSet<AddressKind> = service
        .texts("addresses", |text| {
            let kind = ADDRESSES.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
            kind.ok_or_else(|| {
                format!("{text:?} is not known here; write LoadBalancerIP, ExternalIP or ClusterIP")
            })
        })
        .into_iter()
        .collect();
    if addresses.is_empty() {
        service.fault("addresses", "none; write LoadBalancerIP, ExternalIP or ClusterIP");
    }
    let aggregation = FamilyMap::from_fn(|family| match family {
        Family::Ipv4Unicast => service.number("aggregationLengthIPv4", 0..=31),
        Family::Ipv6Unicast => service.number("aggregationLengthIPv6", 0..=127),
    });
    let services = fields.selection("selector", Selection::Nothing);
    if services == Selection::Nothing {
        fields.note("selector", "absent, which selects no Service; {} selects every one");
    }
    Some(Advertised::Service { addresses, aggregation, services })
}
