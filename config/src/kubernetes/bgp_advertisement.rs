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
            let pools = fields.selection("selector", Selection::Nothing);
            if pools == Selection::Nothing {
                fields.note("selector", "absent, which selects no CiliumPodIPPool; {} selects every one");
            }
            Some(Advertised::PodIpPools(pools))
        }
        other => {
            let known = "Service, PodCIDR, CiliumPodIPPool or Interface";
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(entry: &Json) -> BgpAdvertisement {
        let object = json!({"metadata": {"name": "one"}, "spec": {"advertisements": [entry]}});
        bgp_advertisement(&object).unwrap()
    }

    /// Each as the number that Cilium's documentation gives it.
    #[test]
    fn the_fourteen_names_of_communities_are_ciliums() {
        let names = [
            ("internet", 0, 0),
            ("planned-shut", 65535, 0),
            ("accept-own", 65535, 1),
            ("route-filter-translated-v4", 65535, 2),
            ("route-filter-v4", 65535, 3),
            ("route-filter-translated-v6", 65535, 4),
            ("route-filter-v6", 65535, 5),
            ("llgr-stale", 65535, 6),
            ("no-llgr", 65535, 7),
            ("blackhole", 65535, 666),
            ("no-export", 65535, 65281),
            ("no-advertise", 65535, 65282),
            ("no-export-subconfed", 65535, 65283),
            ("no-peer", 65535, 65284),
        ];
        let all: Vec<&str> = names.iter().map(|(name, ..)| *name).collect();
        let attributes = |communities: Json| {
            read(&json!({"advertisementType": "PodCIDR", "attributes": {"communities": communities}}))
        };
        let known = attributes(json!({"wellKnown": all}));
        assert_eq!(known.faults, [] as [String; 0]);
        let numbers: Vec<Community> =
            names.iter().map(|(_, first, second)| Community::new(*first, *second)).collect();
        assert_eq!(known.entries[0].communities, numbers);
        // Both forms of a number; a name is none.
        let both = attributes(json!({"standard": ["4294967041", "64500:7"], "large": ["4294967295:0:1"]}));
        assert_eq!(both.entries[0].communities, [Community::NO_EXPORT, Community::new(64500, 7)]);
        assert_eq!(both.entries[0].large_communities.len(), 1);
        for wrong in [
            json!({"standard": ["no-export"]}),
            json!({"standard": ["64500:65536"]}),
            json!({"wellKnown": ["nobody"]}),
            json!({"large": ["1:2"]}),
        ] {
            assert_eq!(attributes(wrong.clone()).faults.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn each_type_has_its_own_fields_and_no_others() {
        let service = json!({"addresses": ["LoadBalancerIP"]});
        for (wrong, field) in [
            (json!({"advertisementType": "PodCIDR", "service": service}), "service"),
            (json!({"advertisementType": "PodCIDR", "selector": {}}), "selector"),
            (json!({"advertisementType": "Service", "selector": {}}), "service"),
            (json!({"advertisementType": "Service", "service": {"addresses": []}}), "addresses"),
            (json!({"advertisementType": "Service", "service": {"addresses": ["PodIP"]}}), "addresses"),
            (json!({"advertisementType": "Interface"}), "interface"),
            (json!({"advertisementType": "Interface", "interface": {}}), "name"),
            (json!({"advertisementType": "Route"}), "advertisementType"),
            (json!({}), "advertisementType"),
            (
                json!({"advertisementType": "Service", "selector": {}, "service":
                    {"addresses": ["ClusterIP"], "aggregationLengthIPv4": 32}}),
                "aggregationLengthIPv4",
            ),
        ] {
            let read = read(&wrong);
            assert!(read.entries.is_empty() && read.faults[0].contains(field), "{wrong}: {:?}", read.faults);
        }
    }
}
