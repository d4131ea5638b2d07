//! Peers and links that fall silent without a word: the send hold timer (RFC 9687) and TCP_USER_TIMEOUT.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tests::daemon::{self, Family, Kind, PeerSpec, Router, Spec};
use tests::fabric::nft;
use tests::interop::SOON;
use tests::lab::{Lab, Node};
use tests::pair::nodes;
use tests::speaker::Speaker;
use tests::wait::eventually;

const OURS: [u8; 4] = [10, 0, 0, 1];

/// Both sides' hold time is longer than any of this takes.
fn config(send_hold: u8, med: u32, prefixes: usize) -> String {
    let mut text = format!(
        "node: {{name: n1}}
router: {{asn: 64501, routerId: 10.0.0.1}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
peers:
  - {{name: router, address: 10.0.0.2, asn: 64502, families: [ipv4-unicast], timers: {{hold: 90s, connectRetry: 1s, sendHold: {send_hold}s}}}}
datapath: {{loops: none}}
api: {{socket: api.sock}}
advertisements:
  - name: many
    attributes: {{med: {med}}}
    prefixes:
"
    );
    for n in 0..prefixes {
        let _w = writeln!(text, "      - 10.{}.{}.0/24", 64 + n / 256, n % 256);
    }
    text
}

struct Scene {
    speaker: Speaker,
    router: Box<dyn Router>,
    outside: Node,
    _lab: Lab,
}

fn scene(kind: Kind, config: &str, buffers: &str) -> Scene {
    let (lab, node, outside) = nodes();
    for one in [&node, &outside] {
        for direction in ["rmem", "wmem"] {
            one.sysctl(&format!("net/ipv4/tcp_{direction}"), buffers);
        }
    }
    let mut peer = PeerSpec::new([10, 0, 0, 2].into(), OURS.into(), 64501);
    (peer.families, peer.hold) = (vec![Family::V4], Some(90));
    let spec = Spec { asn: 64502, router_id: [10, 0, 0, 2].into(), peers: vec![peer] };
    let router = daemon::start(kind, &outside, &spec);
    let speaker = Speaker::start(&node, config, &[]);
    speaker.wait_state("router", "Established", SOON);
    Scene { speaker, router, outside, _lab: lab }
}

impl Scene {
    /// The router has so many routes, all with this MED.
    fn wait_med(&self, med: u32, count: usize) {
        eventually(SOON, &format!("the router has {count} routes with MED {med}"), || {
            let routes = self.router.received(OURS.into(), Family::V4);
            let right = routes.iter().filter(|route| route.med == Some(med)).count();
            if (right, routes.len()) == (count, count) {
                Ok(())
            } else {
                Err(format!("{right} of {}", routes.len()))
            }
        });
    }

    /// Waits until the session has ended, and returns its last error.
    fn wait_ended(&self) -> String {
        eventually(SOON, "the session ends", || {
            let peer = self.speaker.peer("router");
            let error = peer["lastError"]["text"].as_str().map(str::to_owned);
            error.ok_or_else(|| format!("{} {}", peer["state"], peer["nextTimer"]))
        })
    }
}

/// A router that has stopped: its kernel goes on taking what we say until its buffers are full.
fn stands_still(kind: Kind) {
    const PREFIXES: usize = 4000;
    const SEND_HOLD: u8 = 5;
    let scene = scene(kind, &config(SEND_HOLD, 0, PREFIXES), "4096 16384 65536");
    scene.wait_med(0, PREFIXES);
    scene.router.process().pause();
    let began = Instant::now();
    let mut med = 0;
    let error = eventually(SOON, "the send hold timer expires", || {
        // Each of these is 16 KB and more.
        med += 1;
        scene.speaker.write_config(&config(SEND_HOLD, med, PREFIXES));
        let peer = scene.speaker.peer("router");
        let error = peer["lastError"]["text"].as_str().map(str::to_owned);
        error.ok_or_else(|| format!("{med} changes: {} {}", peer["state"], peer["nextTimer"]))
    });
    assert!(error.contains("Send Hold Timer Expired (8/0)"), "{error}");
    assert!(began.elapsed() >= Duration::from_secs(SEND_HOLD.into()), "after {:?}", began.elapsed());
    scene.speaker.wait_log(&["router", "send hold time (RFC 9687)", "8/0 (Send Hold Timer Expired)"], SOON);
    let shown = scene.speaker.cli(&["peers", "router"]);
    assert!(shown.contains("Send Hold Timer Expired"), "{shown}");
    scene.router.process().resume();
    scene.speaker.wait_state("router", "Established", SOON);
    scene.speaker.write_config(&config(SEND_HOLD, 7777, PREFIXES));
    scene.wait_med(7777, PREFIXES);
}

#[test]
fn frr_stands_still() {
    stands_still(Kind::Frr);
}

#[test]
fn bird_stands_still() {
    stands_still(Kind::Bird);
}

/// A link that goes dark, with its carrier up and data that nobody acknowledges: TCP gives up ten seconds after the send
/// hold time, a minute before the hold timer would.
#[test]
fn a_link_that_goes_dark_under_unacknowledged_data() {
    let scene = scene(Kind::Frr, &config(3, 0, 10), "4096 131072 6291456");
    scene.wait_med(0, 10);
    nft(
        &scene.outside,
        "table ip dark { chain in { type filter hook prerouting priority -300; drop; }; chain out { type filter hook output priority -300; drop; }; }",
    );
    let began = Instant::now();
    scene.speaker.write_config(&config(3, 1, 10));
    let error = scene.wait_ended();
    let took = began.elapsed();
    assert!(error.contains("Connection timed out") || error.contains("No route to host"), "{error}");
    assert!((10..30).contains(&took.as_secs()), "after {took:?}");
    scene.speaker.wait_log(&["router", "the connection ended"], SOON);
    println!("{error} after {took:?}");
    scene.outside.exec(&["nft", "delete", "table", "ip", "dark"]);
    scene.speaker.wait_state("router", "Established", SOON);
    scene.wait_med(1, 10);
}
