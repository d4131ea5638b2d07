//! What a Service asks for.

use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::model::DefaultClass;
use speaker_config::objects::{IpFamilyPolicy, Service};

use super::IpamSettings;

/// The class of Services that only BGP announces.
pub const BGP_CLASS: &str = "io.cilium/bgp-control-plane";
/// The class of Services that only L2 announces.
pub const L2_CLASS: &str = "io.cilium/l2-announcer";

const ANNOTATION: &str = "lbipam.cilium.io/";
const LEGACY_ANNOTATION: &str = "io.cilium/lb-ipam-";
/// What follows either in an annotation of a Service.
const WORDS: [&str; 5] =
    ["ips", "pool", "sharing-key", "sharing-cross-namespace", "sharing-permit-different-pods"];

/// The value of one of the annotations, by its last word. The present name wins over the legacy one
/// where it is there, be it empty.
pub(super) fn annotation<'a>(service: &'a Service, word: &str) -> Option<&'a str> {
    let get = |prefix: &str| service.annotations.get(&format!("{prefix}{word}"));
    get(ANNOTATION).or_else(|| get(LEGACY_ANNOTATION)).map(String::as_str)
}

/// Whether the Service takes addresses of this pool: its annotation `pool` names pools between commas; without
/// one, or with an empty one, it takes them of any ([cilium#45327]).
///
/// [cilium#45327]: https://github.com/cilium/cilium/issues/45327
pub(super) fn chosen(service: &Service, pool: &str) -> bool {
    let names = || annotation(service, "pool").into_iter().flat_map(|list| list.split(',')).map(str::trim);
    names().all(str::is_empty) || names().any(|name| name == pool)
}

/// As Go's `strconv.ParseBool`, where an error counts as false.
pub(super) fn parse_bool(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Whether this allocator serves the Service.
pub(super) fn is_ours(service: &Service, settings: &IpamSettings) -> bool {
    service.load_balancer
        && match service.class.as_deref() {
            None => settings.default_class == DefaultClass::LbIpam,
            Some(BGP_CLASS) => settings.bgp_class,
            Some(L2_CLASS) => settings.l2_class,
            Some(_) => false,
        }
}

/// The addresses asked for by name: `spec.loadBalancerIP` and the annotation's. What is no address is passed
/// over, as in Cilium.
pub(super) fn requested(service: &Service) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for addr in names(service).filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    addresses
}

/// What stands where addresses are asked for by name.
fn names(service: &Service) -> impl Iterator<Item = &str> {
    let list = annotation(service, "ips").into_iter().flat_map(|list| list.split(','));
    service.load_balancer_ip.as_deref().into_iter().chain(list).map(str::trim).filter(|text| !text.is_empty())
}

/// In words, what the Service asks for that nobody here understands: a name that is no address, a misspelt annotation.
/// Three remarks at most, each of bounded length.
pub(super) fn passed_over(service: &Service) -> Vec<String> {
    let short = |text: &str| text.chars().take(60).collect::<String>();
    let unread = names(service).filter(|text| text.parse::<IpAddr>().is_err());
    let unread = unread.map(|text| format!("passed over {:?}, which is no IP address", short(text)));
    let word = |key: &str| {
        key.strip_prefix(ANNOTATION).or_else(|| key.strip_prefix(LEGACY_ANNOTATION)).map(str::to_owned)
    };
    let unknown = service
        .annotations
        .keys()
        .filter(|key| word(key).is_some_and(|word| !WORDS.contains(&word.as_str())));
    let unknown =
        unknown.map(|key| format!("passed over the annotation {:?}, which means nothing here", short(key)));
    unread.chain(unknown).take(3).collect()
}

/// The families in which the Service wants an address when it names none, IPv4 first.
pub(super) fn families(service: &Service, settings: &IpamSettings) -> Vec<Family> {
    let enabled = |family: &Family| settings.families.contains(*family);
    let listed = &service.ip_families;
    let all = || Family::ALL.into_iter().filter(enabled);
    match service.ip_family_policy {
        // Also where that family is not enabled, as in Cilium.
        IpFamilyPolicy::SingleStack => listed.first().copied().or_else(|| all().next()).into_iter().collect(),
        IpFamilyPolicy::PreferDualStack if !listed.is_empty() => {
            all().filter(|family| listed.contains(family)).collect()
        }
        IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack => all().collect(),
    }
}

#[cfg(test)]
mod tests {
    use bgp_proto::types::FamilySet;

    use super::super::tests::build::service;
    use super::*;

    fn settings(families: &[Family]) -> IpamSettings {
        let families: FamilySet = families.iter().copied().collect();
        IpamSettings { families, ..IpamSettings::default() }
    }

    #[test]
    fn the_classes_are_gated_by_what_is_on() {
        let mut asked = service("default", "web");
        let all = IpamSettings { bgp_class: true, l2_class: true, ..IpamSettings::default() };
        let default_class = DefaultClass::None;
        let none = IpamSettings { default_class, bgp_class: false, l2_class: false, ..all };
        for (class, with_all, with_none) in [
            (None, true, false),
            (Some(BGP_CLASS), true, false),
            (Some(L2_CLASS), true, false),
            (Some("io.cilium/node"), false, false),
            (Some("metallb.io/metallb"), false, false),
        ] {
            asked.class = class.map(str::to_owned);
            assert_eq!((is_ours(&asked, &all), is_ours(&asked, &none)), (with_all, with_none), "{class:?}");
        }
        asked.class = None;
        let node = IpamSettings { default_class: DefaultClass::NodeIpam, ..IpamSettings::default() };
        assert!(!is_ours(&asked, &node));
        asked.load_balancer = false;
        assert!(!is_ours(&asked, &all));
    }

    #[test]
    fn names_come_from_the_field_and_the_annotation() {
        let mut asked = service("default", "web");
        asked.load_balancer_ip = Some("10.0.0.9".into());
        asked.annotations.insert(
            "lbipam.cilium.io/ips".into(),
            " 10.0.0.1,nonsense, 2001:db8::1 ,10.0.0.1,10.0.0.9".into(),
        );
        let names: Vec<String> = requested(&asked).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["10.0.0.9", "10.0.0.1", "2001:db8::1"]);
    }

    #[test]
    fn what_nobody_understands_is_told() {
        let mut asked = service("default", "web");
        assert_eq!(passed_over(&asked), [""; 0]);
        asked.annotations.insert("lbipam.cilium.io/ips".into(), "10.0.0.256, ,10.0.0.1".into());
        asked.annotations.insert("lbipam.cilium.io/ip".into(), "10.0.0.7".into());
        asked.annotations.insert("io.cilium/lb-ipam-sharing-key".into(), "k".into());
        asked.annotations.insert("example.com/ips".into(), "x".into());
        assert_eq!(
            passed_over(&asked),
            [
                "passed over \"10.0.0.256\", which is no IP address",
                "passed over the annotation \"lbipam.cilium.io/ip\", which means nothing here",
            ]
        );
        asked.annotations.insert("lbipam.cilium.io/ips".into(), "x,".repeat(90));
        assert_eq!(passed_over(&asked).len(), 3);
    }

    #[test]
    fn pools_are_chosen_by_name() {
        let mut asked = service("default", "web");
        assert!(chosen(&asked, "blue"));
        for (list, blue) in [("blue", true), ("red", false), ("red, blue", true), (" , ", true), ("", true)] {
            asked.annotations.insert("io.cilium/lb-ipam-pool".into(), list.into());
            assert_eq!(chosen(&asked, "blue"), blue, "{list:?}");
        }
        asked.annotations.insert("lbipam.cilium.io/pool".into(), "green".into());
        assert!(!chosen(&asked, "blue") && chosen(&asked, "green"));
    }

    #[test]
    fn the_present_name_of_an_annotation_wins_even_when_empty() {
        let mut asked = service("default", "web");
        asked.annotations.insert("io.cilium/lb-ipam-ips".into(), "10.0.0.1".into());
        assert_eq!(requested(&asked).len(), 1);
        asked.annotations.insert("lbipam.cilium.io/ips".into(), String::new());
        assert_eq!(requested(&asked), [] as [IpAddr; 0]);
    }

    #[test]
    fn families_follow_the_policy() {
        use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};
        use IpFamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
        let both = [V4, V6];
        type Row<'a> = (IpFamilyPolicy, &'a [Family], &'a [Family], &'a [Family]);
        let rows: [Row<'_>; 10] = [
            (SingleStack, &[], &both, &[V4]),
            (SingleStack, &[], &[V6], &[V6]),
            (SingleStack, &[V6], &both, &[V6]),
            (SingleStack, &[V6], &[V4], &[V6]),
            (PreferDualStack, &[], &both, &both),
            (PreferDualStack, &[V6, V4], &both, &both),
            (PreferDualStack, &[V6], &both, &[V6]),
            (PreferDualStack, &[V4, V6], &[V4], &[V4]),
            (RequireDualStack, &[V4], &both, &both),
            (RequireDualStack, &[], &[V6], &[V6]),
        ];
        for (policy, listed, enabled, wanted) in rows {
            let mut asked = service("default", "web");
            asked.ip_family_policy = policy;
            asked.ip_families = listed.to_vec();
            assert_eq!(families(&asked, &settings(enabled)), wanted, "{policy:?} {listed:?} {enabled:?}");
        }
    }
}
