//! Routes from inside a confederation (RFC 5065): seen, shown and learned as they came.
//!
//! ```text
//! BIRD, member AS 64503 ── FRR, member AS 64501 ── speaker, AS 64501     confederation 64510
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use serde_json::json;
use tests::daemon::{Bird, Frr};
use tests::interop::SOON;
use tests::lab::Lab;
use tests::speaker::Speaker;
use tests::wait::eventually;

const FRR: &str = "frr defaults traditional
hostname frr
router bgp 64501
 bgp router-id 10.0.0.2
 bgp confederation identifier 64510
 bgp confederation peers 64503
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 10.0.0.1 remote-as 64501
 neighbor 10.0.0.1 timers connect 1
 neighbor 10.0.1.3 remote-as 64503
 neighbor 10.0.1.3 timers connect 1
 address-family ipv4 unicast
  neighbor 10.0.0.1 activate
  neighbor 10.0.0.1 next-hop-self
  neighbor 10.0.1.3 activate
 exit-address-family
";

const BIRD: &str = "log stderr all;
router id 10.0.1.3;
protocol device {}
protocol static far { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp frr { local 10.0.1.3 as 64503; neighbor 10.0.1.2 as 64501; direct;
 confederation 64510; confederation member yes;
 connect delay time 1; connect retry time 1; error wait time 1,2;
 ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }
";

#[test]
fn segments_of_a_confederation_are_seen_and_kept() {
    let lab = Lab::new();
    let (node, frr, bird) = (lab.node("node"), lab.node("frr"), lab.node("bird"));
    lab.link(&node, "eth0", &frr, "eth0");
    lab.link(&frr, "eth1", &bird, "eth0");
    for (on, dev, address) in [
        (&node, "eth0", "10.0.0.1/24"),
        (&frr, "eth0", "10.0.0.2/24"),
        (&frr, "eth1", "10.0.1.2/24"),
        (&bird, "eth0", "10.0.1.3/24"),
    ] {
        on.address(dev, address);
    }
    let _bird = Bird::with_config(&bird, 64503, BIRD);
    let _frr = Frr::with_config(&frr, 64501, FRR);
    let config = "node: {name: node}
router: {asn: 64501, routerId: 10.0.0.1}
sources: {manifests: [manifests]}
ipam: {stateDir: state}
api: {socket: api.sock}
peers:
  - {name: frr, address: 10.0.0.2, asn: internal, families: [ipv4-unicast], timers: {connectRetry: 1s}, learn: [0.0.0.0/0], receive: all}
";
    let speaker = Speaker::start(&node, config, &[]);
    let row = eventually(SOON, "the route from the other member AS", || {
        let rows = speaker.json(&["rib", "received", "198.51.100.0/24"]);
        let row = rows[0].clone();
        if row["best"] == true { Ok(row) } else { Err(rows.to_string()) }
    });
    assert_eq!(row["asPath"], json!([{"kind": "confed-sequence", "asns": [64503]}]), "{row}");
    let table = speaker.cli(&["rib", "received", "198.51.100.0/24"]);
    assert!(table.contains("(64503) i"), "{table}");
    let route = node.ip(&["route", "show", "198.51.100.0/24", "proto", "179"]);
    assert!(route.contains("via 10.0.0.2 dev eth0"), "{route}");
    assert_eq!(speaker.peer("frr")["establishedCount"], 1);
}
