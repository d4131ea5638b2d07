use serde_json::{Value, json};
use speaker_config::model::RouteAttributes;

use super::super::testing::{asn, communities, external, pool, prefix, prefixes, service, set, to_peers};
use super::*;

const KEYS: [&str; 16] = [
    "asPath",
    "communities",
    "extendedCommunities",
    "family",
    "largeCommunities",
    "linkLocalNextHop",
    "localPreference",
    "med",
    "nextHop",
    "origin",
    "peer",
    "peerAs",
    "prefix",
    "since",
    "source",
    "sources",
];

fn keys(row: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn world() -> (Exporter, LocRib) {
    let mut rib = LocRib::default();
    let attributes = RouteAttributes {
        communities: communities(&["64501:100", "no-export"]),
        large_communities: vec!["64501:1:2".parse().unwrap()],
        extended_communities: vec!["rt:64501:7".parse().unwrap()],
        local_preference: Some(200),
        med: Some(50),
        prepend: 1,
    };
    set(&mut rib, "203.0.113.0/24", vec![pool("blue", attributes.clone()), pool("red", attributes)]);
    set(&mut rib, "2001:db8:1::5/128", vec![service("web", 1), to_peers(service("shop", 1), &["other"])]);
    let mut exporter = Exporter::new();
    exporter.set_complete();
    (exporter, rib)
}

#[test]
fn a_row_has_the_keys_of_the_contract() {
    let (mut exporter, rib) = world();
    exporter.apply(&prefixes(["203.0.113.0/24", "2001:db8:1::5/128"]), &rib);
    exporter.peer_up("tor", external("tor"), &rib);
    let rows = serde_json::to_value(exporter.advertised("tor", &rib, |_| true)).unwrap();
    let pool = |name: &str| json!({"kind": "pool", "namespace": null, "name": name});
    assert_eq!(
        rows[0],
        json!({
            "peer": "tor", "peerAs": 64500, "family": "ipv4-unicast", "prefix": "203.0.113.0/24",
            "nextHop": "10.0.0.1", "linkLocalNextHop": null, "origin": "igp",
            "asPath": [{"kind": "sequence", "asns": [64501, 64501]}],
            "med": 50, "localPreference": null,
            "communities": ["64501:100", "no-export"], "largeCommunities": ["64501:1:2"],
            "extendedCommunities": ["rt:64501:7"],
            "source": pool("blue"), "sources": [pool("blue"), pool("red")],
            "since": "2026-11-21T12:00:00Z",
        })
    );
    let web = json!({"kind": "service", "namespace": "default", "name": "web"});
    assert_eq!(keys(&rows[1]), KEYS);
    assert_eq!(rows[1]["sources"], json!([web]), "the other Service is for the other peer");
    assert_eq!(rows[1]["nextHop"], "2001:db8::1");
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert!(exporter.advertised("nobody", &rib, |_| true).is_empty());
    let picked = exporter.advertised("tor", &rib, |found| found == prefix("203.0.113.0/24"));
    assert_eq!(picked.len(), 1);
    let text = serde_json::to_string(&picked).unwrap();
    assert_eq!(serde_json::from_str::<Vec<AdvertisedRoute>>(&text).unwrap(), picked);
}

#[test]
fn an_internal_peers_row_has_an_empty_path_and_a_local_preference() {
    let (mut exporter, rib) = world();
    exporter.apply(&prefixes(["203.0.113.0/24", "2001:db8:1::5/128"]), &rib);
    let mut out = external("rr");
    out.peer_asn = asn(64501);
    out.next_hops.ipv6 = Ok(NextHop::V6 {
        address: "2001:db8::1".parse().unwrap(),
        link_local: Some("fe80::1".parse().unwrap()),
    });
    exporter.peer_up("rr", out, &rib);
    let rows = serde_json::to_value(exporter.advertised("rr", &rib, |_| true)).unwrap();
    assert_eq!((&rows[0]["asPath"], &rows[0]["localPreference"]), (&json!([]), &json!(200)));
    assert_eq!((&rows[1]["linkLocalNextHop"], &rows[1]["localPreference"]), (&json!("fe80::1"), &json!(100)));
}

#[test]
fn the_loc_rib_says_who_is_told() {
    let (mut exporter, rib) = world();
    exporter.apply(&prefixes(["203.0.113.0/24", "2001:db8:1::5/128"]), &rib);
    exporter.peer_up("tor", external("tor"), &rib);
    let mut deaf = external("deaf");
    deaf.export = Some(Vec::new());
    exporter.peer_up("deaf", deaf, &rib);
    let rows = exporter.local(&rib, |_| true);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].advertised_to, ["tor"]);
    assert_eq!(rows[0].med, Some(50));
    let names: Vec<&str> = rows[0].advertisements.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["blue", "red"]);
    let names: Vec<&str> = rows[1].sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["web", "shop"]);
    assert_eq!(rows[1].advertisements.len(), 2, "one for all, one for the other peer");
    assert_eq!(exporter.local(&rib, Prefix::is_host).len(), 1);
}
