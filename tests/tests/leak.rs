//! A route leak (RFC 9234): a provider's route that a customer without roles passes on is seen, shown and not used.
//!
//! ```text
//! upstream (speaker, AS 64510, provider) ── router (AS 64502, no role) ── node (speaker, AS 64501)
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use tests::daemon::{self, Bird, Family, Kind, PeerSpec, Router, Spec};
use tests::interop::SOON;
use tests::lab::Lab;
use tests::speaker::Speaker;
use tests::wait::eventually;

const LEAKED: &str = "192.0.2.0/24";

/// BIRD that passes on what it hears.
const BIRD: &str = "log stderr all;
router id 10.0.0.2;
protocol device {}
template bgp plain {
 local as 64502; direct; connect delay time 1; connect retry time 1; error wait time 1,2;
 ipv4 { import all; export all; };
}
protocol bgp node from plain { neighbor 10.0.0.1 as 64501; }
protocol bgp upstream from plain { neighbor 10.0.1.1 as 64510; }
";

fn config(asn: u32, net: u8, peer_keys: &str, rest: &str) -> String {
    format!(
        "node: {{name: n{net}}}
router: {{asn: {asn}, routerId: 10.255.0.{net}}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
peers:
  - {{name: router, address: 10.0.{net}.2, asn: 64502, families: [ipv4-unicast], timers: {{hold: 9s, connectRetry: 1s}}{peer_keys}}}
datapath: {{loops: none}}
api: {{socket: api.sock}}
{rest}"
    )
}

fn leak(kind: Kind) {
    let lab = Lab::new();
    let (node, upstream, between) = (lab.node("node"), lab.node("upstream"), lab.node("router"));
    for (net, end) in [(0, &node), (1, &upstream)] {
        let port = format!("eth{net}");
        lab.link(end, "eth0", &between, &port);
        end.address("eth0", &format!("10.0.{net}.1/24"));
        between.address(&port, &format!("10.0.{net}.2/24"));
    }
    let router: Box<dyn Router> = match kind {
        Kind::Bird => Box::new(Bird::with_config(&between, 64502, BIRD)),
        _ => {
            let peers = [(0, 64501), (1, 64510)].map(|(net, asn)| {
                let [ours, theirs] = [2, 1].map(|last| [10, 0, net, last].into());
                PeerSpec { families: vec![Family::V4], ..PeerSpec::new(ours, theirs, asn) }
            });
            let spec = Spec { asn: 64502, router_id: [10, 0, 0, 2].into(), peers: peers.to_vec() };
            daemon::start(kind, &between, &spec)
        }
    };
    let announce = format!("advertisements: [{{name: leaks, prefixes: [{LEAKED}]}}]\n");
    let above = Speaker::start(&upstream, &config(64510, 1, ", role: provider", &announce), &[]);
    let learn = format!(", receive: all, learn: [{LEAKED}]");
    let speaker = Speaker::start(&node, &config(64501, 0, &format!(", role: provider{learn}"), ""), &[]);
    for one in [&above, &speaker] {
        one.wait_state("router", "Established", SOON);
    }
    daemon::wait_established(&*router, [10, 0, 0, 1].into(), SOON);

    // From a customer with ONLY_TO_CUSTOMER: "it is a route leak and MUST be considered ineligible".
    let story = eventually(SOON, "the leak is shown", || {
        // It is none of ours, which is an exit status of its own.
        let story = speaker.try_cli(&["explain", LEAKED]).unwrap_or_else(|story| story);
        if story.contains("leaked: ONLY_TO_CUSTOMER") { Ok(story) } else { Err(story) }
    });
    println!("{kind}: {story}");
    let rows = speaker.json(&["rib", "received", LEAKED]);
    assert!(rows.to_string().contains("leaked"), "{rows}");
    assert!(speaker.cli(&["peers", "router"]).contains("1 learned, 0 used"));
    let routes = || node.ip(&["route", "show", "proto", "179"]);
    assert_eq!(routes().trim(), "", "a leaked route is in the kernel");

    // Towards a provider of ours the same route is none.
    speaker.write_config(&config(64501, 0, &format!(", role: customer{learn}"), ""));
    eventually(SOON, "the route is learned", || {
        let routes = routes();
        if routes.contains(LEAKED) { Ok(()) } else { Err(routes) }
    });
}

#[test]
fn frr_leaks() {
    leak(Kind::Frr);
}

#[test]
fn bird_leaks() {
    leak(Kind::Bird);
}
