//! How a session comes up and how it is lost.

use std::time::Duration;

use super::manifests::{POOL_PREFIXES, SERVICE_ROUTES};
use super::{Bench, SESSIONS, SOON, Setup};
use crate::bgp;
use crate::daemon::{self, Kind, RouteSpec};
use crate::pair::nodes;
use crate::pcap::Capture;
use crate::wait::{always, eventually};

fn keyed(kind: Kind, ours: &str, theirs: &str) -> Setup {
    Setup {
        router_md5: Some(theirs.to_owned()),
        peer_keys: "asn: 64502, passwordFile: router.key".to_owned(),
        files: vec![("router.key", format!("{ours}\n"))],
        ..Setup::new(kind)
    }
}

/// The same password on both sides: sessions and routes.
///
/// # Panics
/// If not.
pub fn md5_right(kind: Kind) {
    let bench = keyed(kind, "s3cret-of-the-lab", "s3cret-of-the-lab").establish();
    let all: Vec<&str> = POOL_PREFIXES.into_iter().chain(SERVICE_ROUTES).collect();
    bench.wait_prefixes(&all);
    for (name, _) in SESSIONS {
        assert_eq!(bench.speaker.peer(name)["md5"], true, "{name}");
    }
    let log = bench.speaker.process().log();
    assert!(!log.contains("s3cret"), "the password stands in the log");
}

/// `localAsn`: towards this peer we are another AS, in the OPEN and in the paths.
///
/// # Panics
/// If the daemon sees anything else.
pub fn local_as(kind: Kind) {
    let setup =
        Setup { our_as: 64777, peer_keys: "asn: 64502, localAsn: 64777".to_owned(), ..Setup::new(kind) };
    let bench = setup.establish();
    for ((_, family), prefix) in SESSIONS.into_iter().zip(POOL_PREFIXES) {
        let seen = daemon::wait_route(&*bench.router, Bench::ours(family), prefix, SOON, |_| true);
        assert_eq!(seen.as_path, [64777], "{seen:?}");
    }
    bench.wait_same_tables();
}

/// ADD-PATH both ways (RFC 7911): with identifiers before the prefixes both sides see the same tables.
///
/// # Panics
/// If not.
pub fn add_path(kind: Kind) {
    let setup = Setup {
        router_add_path: true,
        peer_keys: "asn: 64502, addPath: both".to_owned(),
        ..Setup::new(kind)
    };
    let mut bench = setup.establish();
    for (name, _) in SESSIONS {
        let theirs = bench.speaker.peer(name)["peerCapabilities"].clone();
        let said = theirs.as_array().into_iter().flatten().any(|capability| capability["code"] == 69);
        assert!(said, "{name}: {theirs}");
    }
    bench.wait_same_tables();
    bench.router.announce(&[RouteSpec::new("192.0.2.0/25"), RouteSpec::new("2001:db8:8::/48")]);
    for ((name, _), prefix) in SESSIONS.into_iter().zip(["192.0.2.0/25", "2001:db8:8::/48"]) {
        eventually(SOON, &format!("{name} brings {prefix}"), || {
            let have = bench.speaker.received(name);
            if have.iter().any(|one| one == prefix) { Ok(()) } else { Err(format!("{have:?}")) }
        });
    }
    bench.speaker.remove_manifest("web.yaml");
    bench.wait_prefixes(&[]);
}

/// Different passwords: no session, and no message gets through.
///
/// # Panics
/// If one does.
pub fn md5_wrong(kind: Kind) {
    let bench = keyed(kind, "ours", "theirs").start();
    always(Duration::from_secs(6), "no session with a wrong password", || {
        for (name, family) in SESSIONS {
            let state = bench.speaker.peer(name)["state"].clone();
            let received = bench.speaker.peer(name)["messagesReceived"].as_u64();
            if state == "Established" || received > Some(0) {
                return Err(format!("{name} is {state} with {received:?} messages received"));
            }
            if bench.router.established(Bench::ours(family)) {
                return Err(format!("the daemon is established with {name}"));
            }
        }
        Ok(())
    });
}

/// The daemon stands still: the speaker's hold timer ends the session with 4/0, and says so. It goes on: the
/// session comes back. The same the other way round.
///
/// # Panics
/// If not.
pub fn hold_timer(kind: Kind) {
    let nodes = nodes();
    let capture = Capture::start(&nodes.0, &nodes.1, "eth0");
    let bench = Setup { router_hold: Some(6), ..Setup::new(kind) }.start_on(nodes);
    bench.wait_established();
    let all: Vec<&str> = POOL_PREFIXES.into_iter().chain(SERVICE_ROUTES).collect();
    bench.wait_prefixes(&all);
    bench.router.process().pause();
    for (name, _) in SESSIONS {
        eventually(SOON, &format!("the hold timer of {name} expires"), || {
            let peer = bench.speaker.peer(name);
            if peer["state"] == "Established" { Err(peer["nextTimer"].to_string()) } else { Ok(()) }
        });
        bench.speaker.wait_log(&[name, "Hold Timer Expired"], SOON);
    }
    // On the wire: a daemon that finds its own timer expired when it goes on may not read it.
    let messages = bgp::messages(&capture.stop());
    for (name, family) in SESSIONS {
        let ours = messages.iter().filter(|m| m.from.ip() == Bench::ours(family));
        let sent: Vec<_> = ours.filter_map(bgp::Message::notification).collect();
        assert_eq!(sent, [(4, 0)], "{name}");
    }
    bench.router.process().resume();
    bench.wait_established();
    bench.wait_prefixes(&all);

    bench.speaker.process().pause();
    for (_, family) in SESSIONS {
        eventually(SOON, "the daemon's hold timer expires", || {
            let state = bench.router.state(Bench::ours(family));
            if state == "established" { Err(state) } else { Ok(()) }
        });
    }
    bench.speaker.process().resume();
    bench.wait_established();
    bench.wait_prefixes(&all);
}
