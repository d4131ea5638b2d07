//! A host without Kubernetes: `deploy/systemd/speaker.service` under a real systemd, FRR as its router.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use tests::daemon::{self, Family, Kind, PeerSpec, Router, Spec};
use tests::lab::Lab;
use tests::speaker::binary;
use tests::systemd::Host;
use tests::wait::eventually;

const SOON: Duration = Duration::from_secs(30);
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const ANYCAST: &str = "203.0.113.53/32";

/// As `config/examples/host-anycast.yaml`, with a key that only root may read and graceful restart.
const CONFIG: &str = "\
router: {asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\"]}
ipam: {stateDir: /var/lib/speaker}
peers:
  - name: router
    address: 10.0.0.2
    asn: 64502
    timers: {hold: 90s, connectRetry: 1s}
    passwordFile: router.key
    gracefulRestart: {restartTime: 60s}
advertisements:
  - {name: anycast, prefixes: [203.0.113.53/32]}
datapath: {local: announced}
";

fn shipped(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Every route that the router has from us.
fn routes(router: &dyn Router) -> Vec<String> {
    router.received(OURS, Family::V4).iter().map(|route| route.prefix.to_string()).collect()
}

fn wait_routes(router: &dyn Router, host: &Host, expected: &[&str]) {
    eventually(SOON, &format!("the router has {expected:?}"), || {
        let have = routes(router);
        if have == expected { Ok(()) } else { Err(format!("{have:?}\n{}", host.journal())) }
    });
}

#[test]
fn a_unit_starts_is_watched_restarts_without_a_gap_and_stops_for_good() {
    let lab = Lab::new();
    let (node, outside) = (lab.node("host"), lab.node("router"));
    lab.link(&node, "eth0", &outside, "eth0");
    node.address("eth0", "10.0.0.1/24");
    outside.address("eth0", "10.0.0.2/24");
    let mut peer = PeerSpec::new([10, 0, 0, 2].into(), OURS, 64501);
    (peer.families, peer.hold, peer.graceful_restart) = (vec![Family::V4], Some(90), Some(60));
    peer.md5 = Some("secret".to_owned());
    let spec = Spec { asn: 64502, router_id: [10, 0, 0, 2].into(), peers: vec![peer] };
    let router = daemon::start(Kind::Frr, &outside, &spec);
    let router = router.as_ref();
    let unit = shipped("deploy/systemd/speaker.service");
    let files = [
        ("/etc/systemd/system/speaker.service", unit.replace("WatchdogSec=30s", "WatchdogSec=4s")),
        ("/etc/speaker/speaker.yaml", CONFIG.to_owned()),
        ("/etc/speaker/router.key", "secret\n".to_owned()),
    ];
    let host = Host::boot(&node, &binary(), &files);
    host.exec(&["chmod", "600", "/etc/speaker/router.key"]);
    host.exec(&["systemd-analyze", "verify", "/etc/systemd/system/speaker.service"]);

    // `enable --now` returns when the speaker has said that it serves.
    host.exec(&["systemctl", "enable", "--now", "speaker"]);
    assert_eq!(host.property("SubState"), "running");
    host.exec(&["speaker", "peers"]);
    wait_routes(router, &host, &[ANYCAST]);
    holds_what_the_unit_gives(&host);

    // A restart: the router keeps the route from the first moment to the last.
    let restart = host.begin("restart", &["systemctl", "restart", "speaker"]);
    while restart.running() {
        assert_eq!(routes(router), [ANYCAST], "{}", host.journal());
    }
    assert!(restart.ended().unwrap().success(), "{}", restart.log());
    eventually(SOON, "the session is up again", || {
        assert_eq!(routes(router), [ANYCAST], "{}", host.journal());
        let peers = host.exec(&["speaker", "peers", "-o", "json"]);
        if peers.contains("\"Established\"") { Ok(()) } else { Err(peers) }
    });

    reload_says_whether_the_file_was_taken(&host);
    a_process_that_hangs_is_replaced(&host, router);

    // A stop is for good: nothing is kept for who does not come back.
    host.exec(&["systemctl", "stop", "speaker"]);
    assert_eq!(routes(router), [""; 0], "{}", host.journal());
    assert!(host.journal().contains("systemd stops speaker.service"), "{}", host.journal());

    // And so is the end of the host.
    host.exec(&["systemctl", "start", "speaker"]);
    wait_routes(router, &host, &[ANYCAST]);
    host.exec(&["systemctl", "poweroff"]);
    host.wait_off();
    assert_eq!(routes(router), [""; 0]);
}

/// No more than the capabilities of the unit, and nothing of the host to write to but its own folders.
fn holds_what_the_unit_gives(host: &Host) {
    let pid = host.property("MainPID");
    let status = host.exec(&["cat", &format!("/proc/{pid}/status")]);
    // CAP_NET_BIND_SERVICE 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13.
    assert!(status.contains(&format!("CapBnd:\t{:016x}", 0b11_0100_0000_0000)), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let kept = host.exec(&["ls", "/var/lib/speaker"]);
    assert!(!kept.trim().is_empty(), "its state is there");
    let local = host.exec(&["ip", "route", "show", "table", "all", "type", "local", "203.0.113.53"]);
    assert!(local.contains("203.0.113.53"), "the kernel was set up: {local}");
}

fn reload_says_whether_the_file_was_taken(host: &Host) {
    host.exec(&["systemctl", "reload", "speaker"]);
    host.exec(&["sed", "-i", "s/asn: 64502/asn: many/", "/etc/speaker/speaker.yaml"]);
    let refused = host.try_exec(&["systemctl", "reload", "speaker"]);
    assert!(refused.is_err(), "{refused:?}");
    eventually(SOON, "the journal says why", || {
        let journal = host.journal();
        let line = journal.lines().find(|line| line.contains("speaker.yaml:6:"));
        line.map(drop).ok_or(journal)
    });
    host.exec(&["sed", "-i", "s/asn: many/asn: 64502/", "/etc/speaker/speaker.yaml"]);
    host.exec(&["systemctl", "reload", "speaker"]);
    assert_eq!(host.property("SubState"), "running");
}

fn a_process_that_hangs_is_replaced(host: &Host, router: &dyn Router) {
    let pid = host.property("MainPID");
    host.exec(&["kill", "-STOP", &pid]);
    eventually(SOON, "systemd has begun another", || {
        let (now, state) = (host.property("MainPID"), host.property("SubState"));
        if now != pid && state == "running" { Ok(()) } else { Err(format!("{now} {state}")) }
    });
    assert_eq!(host.property("NRestarts"), "1", "{}", host.journal());
    wait_routes(router, host, &[ANYCAST]);
}
