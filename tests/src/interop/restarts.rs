//! Either side goes away and comes back.

use std::net::IpAddr;
use std::time::Duration;

use super::manifests::{POOL_PREFIXES, SERVICE_ROUTES, service};
use super::{Bench, SESSIONS, SOON, Setup};
use crate::bgp;
use crate::daemon::features::{Feature, lack};
use crate::daemon::{Kind, SeenRoute};
use crate::pair::nodes;
use crate::pcap::Capture;
use crate::wait::{always, eventually};

/// As daemons are read (RFC 9494 §4.6).
const LLGR_STALE: &str = "65535:6";

/// The same (RFC 8326 §5).
const GRACEFUL_SHUTDOWN: &str = "65535:0";

fn all() -> Vec<&'static str> {
    POOL_PREFIXES.into_iter().chain(SERVICE_ROUTES).collect()
}

/// The daemon is told to end, and killed; each time it is told everything when it is back.
///
/// # Panics
/// If not.
pub fn daemon_restarts(kind: Kind) {
    let mut bench = Setup::new(kind).establish();
    bench.wait_prefixes(&all());
    for kill in [false, true] {
        if kill {
            bench.router.process().kill();
        } else {
            bench.router.process().terminate();
        }
        for (name, _) in SESSIONS {
            eventually(SOON, &format!("the speaker sees that {name} is gone"), || {
                let state = bench.speaker.peer(name)["state"].clone();
                if state == "Established" { Err(state.to_string()) } else { Ok(()) }
            });
        }
        bench.router.start_again();
        bench.wait_established();
        bench.wait_prefixes(&all());
        bench.wait_same_tables();
    }
}

/// The speaker is killed: the daemon loses the routes. It is started again: the same addresses, the same
/// routes. It is told to end: a word that the routes are about to go, their withdrawal, Cease.
///
/// # Panics
/// If not.
pub fn speaker_restarts(kind: Kind) {
    let nodes = nodes();
    let capture = Capture::start(&nodes.0, &nodes.1, "eth0");
    let mut bench = Setup::new(kind).start_on(nodes);
    bench.wait_established();
    bench.wait_prefixes(&all());
    let before = bench.speaker.json(&["services"])[0]["ingress"].clone();
    bench.speaker.process().kill();
    bench.wait_prefixes(&[]);
    bench.speaker.start_again();
    bench.wait_established();
    bench.wait_prefixes(&all());
    bench.wait_same_tables();
    assert_eq!(bench.speaker.json(&["services"])[0]["ingress"], before, "an address moved");

    let status = bench.speaker.process().terminate();
    assert!(status.success(), "SIGTERM: {status}");
    bench.wait_prefixes(&[]);
    let messages = bgp::messages(&capture.stop());
    for (name, family) in SESSIONS {
        let last = messages.iter().rfind(|m| m.from.ip() == Bench::ours(family));
        let last = last.and_then(bgp::Message::notification);
        assert!(matches!(last, Some((6, _))), "{name}: Cease is the last message, not {last:?}");
        said_goodbye(&messages, Bench::ours(family));
        if let Some(why) = lack(kind, Feature::ShutdownText) {
            println!("{kind} {name}: {why}");
            continue;
        }
        eventually(SOON, &format!("the daemon reads Cease on {name}"), || {
            let got = bench.router.notifications_received(Bench::ours(family));
            if got.iter().any(|(code, _)| *code == 6) { Ok(()) } else { Err(format!("{got:?}")) }
        });
    }
}

/// A node that goes away says so first (RFC 8326), then withdraws, then ends the session.
#[track_caller]
fn said_goodbye(messages: &[bgp::Message], ours: IpAddr) {
    let ours: Vec<_> = messages.iter().filter(|m| m.from.ip() == ours).collect();
    let updates = ours.iter().filter(|m| m.kind() == Some(bgp::Type::Update));
    let [.., warning, withdrawal] = &*updates.collect::<Vec<_>>() else { panic!("{ours:?}") };
    let shows = |message: &bgp::Message, part: &[u8]| message.bytes.windows(part.len()).any(|p| p == part);
    assert!(
        shows(warning, &[0xff, 0xff, 0, 0]) || shows(withdrawal, &[0xff, 0xff, 0, 0]),
        "no GRACEFUL_SHUTDOWN: {} {}",
        warning.hex(),
        withdrawal.hex()
    );
    // Withdrawn Routes, or an MP_UNREACH_NLRI that is no End-of-RIB.
    let plain = withdrawal.bytes[19..21] != [0, 0];
    let unreach =
        [0x80, 0x90].iter().any(|flags| shows(withdrawal, &[*flags, 15])) && withdrawal.bytes.len() > 30;
    assert!(plain || unreach, "the last UPDATE withdraws nothing: {}", withdrawal.hex());
}

/// Graceful restart (RFC 4724): the speaker is killed and the daemon keeps the routes; it is started again, and
/// a Service that went meanwhile is gone with End-of-RIB. A daemon that does not help loses the routes at once.
///
/// # Panics
/// If not.
pub fn graceful(kind: Kind) {
    let setup = Setup {
        router_restart: Some(60),
        peer_keys: "asn: 64502, gracefulRestart: {restartTime: 60s}".to_owned(),
        ..Setup::new(kind)
    };
    let mut bench = setup.establish();
    bench.wait_prefixes(&all());
    // End-of-RIB of both families makes the daemon ready to help.
    bench.wait_same_tables();
    bench.speaker.process().kill();
    if let Some(why) = lack(kind, Feature::HelpRestart) {
        println!("{kind}: {why}");
        bench.wait_prefixes(&[]);
    } else {
        always(Duration::from_secs(3), "the daemon keeps the routes", || {
            let families = SESSIONS.map(|(_, family)| family);
            let have = families.map(|f| bench.router.received(Bench::ours(f), f).len());
            if have == [2, 2] { Ok(()) } else { Err(format!("{have:?}")) }
        });
    }
    bench.speaker.remove_manifest("web.yaml");
    bench.speaker.write_manifest("other.yaml", &service("other", false));
    bench.speaker.start_again();
    bench.wait_established();
    bench.wait_prefixes(&POOL_PREFIXES);
}

/// A drained node leaves nothing behind, graceful restart or not: its routes say so for a time (RFC 8326), then go, and
/// its end is the end of them. It stays drained over a restart of the speaker.
///
/// # Panics
/// If not.
pub fn drained(kind: Kind) {
    let setup = Setup {
        router_restart: Some(60),
        peer_keys: "asn: 64502, gracefulRestart: {restartTime: 60s}".to_owned(),
        ..Setup::new(kind)
    };
    let mut bench = setup.establish();
    bench.wait_prefixes(&all());
    bench.wait_same_tables();
    let seen = |bench: &Bench| {
        let families = SESSIONS.map(|(_, family)| family);
        families.map(|family| bench.router.received(Bench::ours(family), family)).concat()
    };
    bench.speaker.cli(&["drain", "--for", "5s"]);
    eventually(SOON, &format!("{kind} is told that the routes are about to go"), || {
        let routes = seen(&bench);
        let marked = |route: &SeenRoute| route.communities.iter().any(|one| one == GRACEFUL_SHUTDOWN);
        if routes.len() == 4 && routes.iter().all(marked) { Ok(()) } else { Err(format!("{routes:?}")) }
    });
    bench.wait_prefixes(&[]);
    assert!(bench.speaker.process().terminate().success());
    let nothing = |bench: &Bench| {
        always(Duration::from_secs(2), "the daemon has nothing from us", || {
            let routes = seen(bench);
            if routes.is_empty() { Ok(()) } else { Err(format!("{routes:?}")) }
        });
    };
    nothing(&bench);
    bench.speaker.start_again();
    bench.wait_established();
    nothing(&bench);
    bench.speaker.cli(&["undrain"]);
    bench.wait_prefixes(&all());
}

/// Long-lived graceful restart (RFC 9494): the speaker is killed, and the daemon keeps the routes past the restart
/// time, marked LLGR_STALE; it is started again, and what is said anew is as before, what is not is gone; killed for
/// good, the routes go when the stale time is over. A daemon that knows nothing of it loses the routes with the
/// restart time.
///
/// # Panics
/// If not.
pub fn long_lived(kind: Kind) {
    let setup = Setup {
        router_restart: Some(5),
        router_long_lived: lack(kind, Feature::LongLivedRestart).is_none().then_some(60),
        peer_keys: "asn: 64502, gracefulRestart: {restartTime: 4s}, longLivedRestart: {staleTime: 25s}"
            .to_owned(),
        ..Setup::new(kind)
    };
    let mut bench = setup.establish();
    bench.wait_prefixes(&all());
    bench.wait_same_tables();
    bench.speaker.process().kill();
    if let Some(why) = lack(kind, Feature::LongLivedRestart) {
        println!("{kind}: {why}");
        bench.wait_prefixes(&[]);
        return;
    }
    wait_marked(&bench);
    bench.speaker.remove_manifest("web.yaml");
    bench.speaker.write_manifest("other.yaml", &service("other", false));
    bench.speaker.start_again();
    bench.wait_established();
    bench.wait_prefixes(&POOL_PREFIXES);
    // Not marked any more.
    bench.wait_same_tables();

    bench.speaker.process().kill();
    wait_marked(&bench);
    bench.wait_prefixes(&[]);
}

/// Until every route that the daemon has of us is LLGR_STALE; none is lost meanwhile.
#[track_caller]
fn wait_marked(bench: &Bench) {
    let seen = || {
        let families = SESSIONS.map(|(_, family)| family);
        families.map(|family| bench.router.received(Bench::ours(family), family)).concat()
    };
    let count = seen().len();
    eventually(SOON, &format!("{} marks what is left of us", bench.router.kind()), || {
        let routes = seen();
        assert_eq!(routes.len(), count, "a route was lost: {routes:?}");
        let marked = |route: &SeenRoute| route.communities.iter().any(|one| one == LLGR_STALE);
        if count > 0 && routes.iter().all(marked) { Ok(()) } else { Err(format!("{routes:?}")) }
    });
}
