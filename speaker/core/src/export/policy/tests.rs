use speaker_config::model::RouteAttributes;

use super::super::testing::{asn, communities, external, med, pool, prefix, service, to_peers};
use super::*;

fn route(contributions: Vec<Contribution>) -> Route {
    Route { contributions: contributions.into(), since: 0 }
}

fn rule(text: &str, le: u8) -> ExportRule {
    ExportRule { prefix: prefix(text), le }
}

fn chosen<'r>(name: &'r str, route: &'r Route) -> Chosen<'r> {
    Chosen::of(name, None, prefix("203.0.113.0/24"), route).unwrap_or_else(|held| panic!("{held}"))
}

fn with(texts: &[&str]) -> RouteAttributes {
    RouteAttributes { communities: communities(texts), ..RouteAttributes::default() }
}

#[test]
fn attributes_merge_by_their_own_rules() {
    let one = RouteAttributes {
        communities: communities(&["64501:2", "64501:1"]),
        large_communities: vec!["64501:1:1".parse().unwrap()],
        local_preference: None,
        med: Some(50),
        prepend: 3,
        ..RouteAttributes::default()
    };
    let other = RouteAttributes {
        communities: communities(&["no-export", "64501:2"]),
        extended_communities: vec!["rt:64501:1".parse().unwrap()],
        local_preference: Some(50),
        med: None,
        prepend: 1,
        ..RouteAttributes::default()
    };
    let third = RouteAttributes { local_preference: Some(20), med: Some(7), prepend: 2, ..other.clone() };
    let route = route(vec![pool("a", one), pool("b", other), pool("c", third)]);
    let merged = chosen("tor", &route).merged().into_owned();
    assert_eq!(merged.communities, communities(&["64501:2", "64501:1", "no-export"]), "in order, each once");
    assert_eq!(merged.large_communities.len(), 1);
    assert_eq!(merged.extended_communities.len(), 1);
    assert_eq!(merged.local_preference, Some(50), "the highest");
    assert_eq!(merged.med, Some(7), "the lowest that is set");
    assert_eq!(merged.prepend, 1, "the shortest");
}

#[test]
fn only_advertisements_that_select_the_peer_are_merged() {
    let route = route(vec![
        pool("all", with(&["64501:1"])),
        to_peers(pool("a", with(&["64501:2"])), &["tor-a"]),
        to_peers(pool("b", with(&["64501:3"])), &["tor-b", "tor-c"]),
    ]);
    assert_eq!(chosen("tor-a", &route).merged().communities, communities(&["64501:1", "64501:2"]));
    assert_eq!(chosen("tor-c", &route).merged().communities, communities(&["64501:1", "64501:3"]));
    assert_eq!(chosen("tor-d", &route).merged().communities, communities(&["64501:1"]));
    assert_eq!(Chosen::all(&route).merged().communities, communities(&["64501:1", "64501:2", "64501:3"]));
}

#[test]
fn communities_that_take_a_route_out_of_service_are_not_merged_in() {
    for name in ["blackhole", "no-advertise"] {
        let route = route(vec![pool("drop", with(&[name, "64501:1"])), pool("keep", with(&["64501:2"]))]);
        let chosen = chosen("tor", &route);
        assert_eq!(chosen.merged().communities, communities(&["64501:1", "64501:2"]));
        let told = conflicts("tor", None, prefix("203.0.113.0/24"), &route);
        assert_eq!(told, [Conflict { advertisement: "drop".into(), community: name.parse().unwrap() }]);
    }
}

#[test]
fn what_every_advertisement_says_is_no_conflict() {
    let alone = route(vec![pool("drop", with(&["blackhole"]))]);
    assert_eq!(chosen("tor", &alone).merged().communities, communities(&["blackhole"]));
    assert_eq!(chosen("tor", &alone).conflicts().count(), 0);
    let agreed = route(vec![pool("a", with(&["blackhole", "64501:1"])), pool("b", with(&["blackhole"]))]);
    assert_eq!(chosen("tor", &agreed).merged().communities, communities(&["blackhole", "64501:1"]));
    assert_eq!(chosen("tor", &agreed).conflicts().count(), 0);
    // The other one is for another peer.
    let apart = route(vec![pool("drop", with(&["blackhole"])), to_peers(pool("keep", with(&[])), &["x"])]);
    assert_eq!(chosen("tor", &apart).merged().communities, communities(&["blackhole"]));
    assert_eq!(conflicts("tor", None, prefix("203.0.113.0/24"), &apart), []);
    assert_eq!(conflicts("x", None, prefix("203.0.113.0/24"), &apart).len(), 1);
    // Nor is it where the export list lets nothing out.
    assert_eq!(conflicts("x", Some(&[]), prefix("203.0.113.0/24"), &apart), []);
}

#[test]
fn a_pool_prefix_and_a_host_route_share_no_attributes() {
    let route = route(vec![pool("pool", with(&["64501:1"])), service("web", 5)]);
    let chosen = chosen("tor", &route);
    assert!(chosen.is_service());
    assert_eq!(chosen.merged().communities, []);
    assert_eq!(chosen.iter().count(), 1);
}

#[test]
fn without_an_export_list_only_what_is_covered_leaves() {
    let mut outside = service("web", 5);
    outside.covered = false;
    let outside = route(vec![outside]);
    let (host, other) = (prefix("198.51.100.1/32"), prefix("198.51.100.2/32"));
    assert_eq!(Chosen::of("tor", None, host, &outside).err(), Some(Held::NotCovered));
    let list = [rule("198.51.100.1/32", 32)];
    assert!(Chosen::of("tor", Some(&list), host, &outside).is_ok());
    assert_eq!(Chosen::of("tor", Some(&list), other, &outside).err(), Some(Held::Export));
    assert_eq!(Chosen::of("tor", Some(&[]), host, &outside).err(), Some(Held::Export));
}

#[test]
fn an_export_rule_without_le_permits_its_own_length() {
    let route = route(vec![pool("a", RouteAttributes::default())]);
    let list = [rule("203.0.113.0/24", 24), rule("192.0.2.0/24", 32)];
    let held = |text: &str| Chosen::of("tor", Some(&list), prefix(text), &route).err();
    assert_eq!(held("203.0.113.0/24"), None);
    assert_eq!(held("203.0.113.0/25"), Some(Held::Export));
    assert_eq!(held("203.0.112.0/23"), Some(Held::Export));
    assert_eq!(held("192.0.2.9/32"), None);
}

#[test]
fn not_selected_comes_before_the_gate() {
    let route = route(vec![to_peers(pool("a", RouteAttributes::default()), &["other"])]);
    let host = prefix("203.0.113.0/24");
    assert_eq!(Chosen::of("tor", None, host, &route).err(), Some(Held::NotSelected));
    assert_eq!(Chosen::of("tor", Some(&[]), host, &route).err(), Some(Held::NotSelected));
}

#[test]
fn external_peers_get_our_as_and_no_local_preference() {
    let attributes = RouteAttributes { local_preference: Some(300), prepend: 2, ..med(7) };
    let set = SessionClass::of(&external("tor")).path_attributes(&attributes);
    assert_eq!(set.origin, Some(Origin::Igp));
    let path = set.as_path.unwrap();
    assert_eq!(path.segments.len(), 1);
    assert_eq!(path.segments[0].kind, SegmentKind::Sequence);
    assert_eq!(path.segments[0].asns, [asn(64501); 3]);
    assert_eq!((set.med, set.local_pref), (Some(7), None));
}

#[test]
fn internal_peers_get_an_empty_path_and_a_local_preference() {
    let mut peer = external("rr");
    peer.peer_asn = peer.local_asn;
    let attributes = RouteAttributes { prepend: 2, ..med(7) };
    let set = SessionClass::of(&peer).path_attributes(&attributes);
    assert_eq!(set.as_path, Some(AsPath::default()), "our own AS would be a loop to it");
    assert_eq!((set.med, set.local_pref), (Some(7), Some(100)));
    let attributes = RouteAttributes { local_preference: Some(300), ..RouteAttributes::default() };
    assert_eq!(SessionClass::of(&peer).path_attributes(&attributes).local_pref, Some(300));
}

#[test]
fn only_to_customer_follows_the_role() {
    let mut peer = external("tor");
    for (role, marked) in [(0, true), (1, true), (2, false), (3, false), (4, true)] {
        peer.role = Some(role);
        let set = SessionClass::of(&peer).path_attributes(&RouteAttributes::default());
        assert_eq!(set.only_to_customer, marked.then_some(asn(64501)), "role {role}");
    }
    peer.peer_asn = peer.local_asn;
    peer.role = Some(0);
    assert_eq!(SessionClass::of(&peer).path_attributes(&RouteAttributes::default()).only_to_customer, None);
}

#[test]
fn a_community_given_twice_is_sent_once() {
    let set = SessionClass::of(&external("tor")).path_attributes(&with(&["64501:2", "64501:1", "64501:2"]));
    assert_eq!(set.communities, communities(&["64501:2", "64501:1"]));
}

#[test]
fn a_drained_node_asks_its_peers_to_prefer_others() {
    let attributes = RouteAttributes { local_preference: Some(300), ..with(&["64501:1"]) };
    let external = SessionClass::of(&external("tor")).drained(Drain::Announcing).path_attributes(&attributes);
    assert_eq!(external.communities, with(&["64501:1", "graceful-shutdown"]).communities);
    assert_eq!(external.local_pref, None);
    let mut peer = super::super::testing::external("rr");
    peer.peer_asn = peer.local_asn;
    let internal = SessionClass::of(&peer).drained(Drain::Announcing).path_attributes(&attributes);
    assert_eq!(internal.local_pref, Some(0));
    let twice = SessionClass::of(&peer).drained(Drain::Announcing);
    let twice = twice.path_attributes(&with(&["graceful-shutdown"]));
    assert_eq!(twice.communities, with(&["graceful-shutdown"]).communities);
}
