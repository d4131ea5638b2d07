//! How a session comes up and how it is lost.

use std::time::Duration;

use super::manifests::{POOL_PREFIXES, SERVICE_ROUTES};
use super::{Bench, OUR_AS, SESSIONS, SOON, Setup};
use crate::bgp;
use crate::daemon::features::{Feature, lack};
use crate::daemon::{self, Family, Kind, RouteSpec};
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

/// Roles (RFC 9234): the daemon is our customer, and routes to it bear ONLY_TO_CUSTOMER with our AS. A daemon without
/// roles takes the session and the attribute all the same.
///
/// # Panics
/// If not.
pub fn roles(kind: Kind) {
    let nodes = nodes();
    let capture = Capture::start(&nodes.0, &nodes.2, "eth0");
    let known = lack(kind, Feature::Roles).is_none();
    let setup = Setup {
        router_role: known.then_some("customer"),
        peer_keys: "asn: 64502, role: provider".to_owned(),
        ..Setup::new(kind)
    };
    let bench = setup.start_on(nodes);
    bench.wait_established();
    let all: Vec<&str> = POOL_PREFIXES.into_iter().chain(SERVICE_ROUTES).collect();
    bench.wait_prefixes(&all);
    for (name, family) in SESSIONS {
        let peer = bench.speaker.peer(name);
        let said = |side: &str| {
            let all = peer[side].as_array().cloned().unwrap_or_default();
            all.iter().find(|one| one["code"] == 9).map(|one| one["value"].clone()).unwrap_or_default()
        };
        assert_eq!(said("ourCapabilities"), "provider", "{name}");
        if known {
            assert_eq!(said("peerCapabilities"), "customer", "{name}");
        }
        // Optional, transitive, type 35, four octets (RFC 9234 §5).
        let asn = OUR_AS.to_be_bytes();
        let otc = [&[0xc0, 35, 4][..], &asn[..]].concat();
        let messages = bgp::messages(&capture.segments());
        let ours = messages.iter().filter(|m| m.from.ip() == Bench::ours(family));
        let marked = ours.filter(|m| m.bytes.windows(otc.len()).any(|part| part == otc)).count();
        assert!(marked > 0, "{name}: no ONLY_TO_CUSTOMER of ours on the wire");
    }
}

/// An operator's words at the end of a session arrive on the other side, both ways (RFC 9003).
///
/// # Panics
/// If not.
pub fn shutdown_text(kind: Kind) {
    let bench = Setup::new(kind).establish();
    if let Some(why) = lack(kind, Feature::ShutdownText) {
        println!("{kind}: {why}");
        bench.speaker.cli(&["shutdown", "router4"]);
    } else {
        bench.speaker.cli(&["shutdown", "router4", "new cables until noon"]);
        eventually(SOON, &format!("{kind} shows our words"), || {
            let log = bench.router.process().log();
            if log.contains("new cables until noon") {
                Ok(())
            } else {
                Err(bench.router.process().log_tail(8))
            }
        });
    }
    eventually(SOON, "the session is down, by our word", || {
        let peer = bench.speaker.peer("router4");
        if peer["state"] == "Idle" && peer["shutdown"].is_string() { Ok(()) } else { Err(peer.to_string()) }
    });
    bench.speaker.cli(&["no-shutdown", "router4"]);
    bench.wait_established();
    bench.router.shut(Bench::ours(Family::V6), "maintenance of the rack");
    eventually(SOON, "the daemon's words are shown", || {
        let peer = bench.speaker.peer("router6");
        let text = peer["lastError"]["text"].as_str().unwrap_or_default().to_owned();
        // Not every daemon sends a text.
        let words = kind == Kind::ExaBgp || text.contains("maintenance of the rack");
        if text.contains("Administrative Shutdown") && words { Ok(()) } else { Err(peer.to_string()) }
    });
}
