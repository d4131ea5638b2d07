//! How a session comes up and how it is lost.

use std::time::Duration;

use super::manifests::{POOL_PREFIXES, SERVICE_ROUTES};
use super::{Bench, SESSIONS, SOON, Setup};
use crate::bgp;
use crate::daemon::Kind;
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
