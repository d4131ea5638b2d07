//! Daemons of a newer generation (Debian 13: FRR 10, BIRD 3, GoBGP 3.36, OpenBGPD 8.8), by a choice of the scenarios that
//! the suites of the machine's own daemons run in full. `tests/run --newer` runs those in full against them too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use tests::daemon::generation::{Generation, choose};
use tests::daemon::{self, Kind};
use tests::interop::bfd::{DETECTION, Reach};
use tests::interop::unnumbered::{LINK, Nodes, frr, kernel_route, link_local, neighbor, speaker, wait_up};
use tests::interop::{Setup, bfd};

macro_rules! newer {
    ($group:ident $kind:ident: $($module:ident::$name:ident,)*) => {
        mod $group {
            $(
                #[test]
                fn $name() {
                    super::choose(super::Generation::Trixie);
                    tests::interop::$module::$name(super::Kind::$kind);
                }
            )*
        }
    };
}

newer!(frr10 Frr:
    routes::attributes_and_withdrawals,
    routes::refresh,
    routes::ipv4_over_ipv6,
    restarts::graceful,
    sessions::md5_right,
    sessions::roles,
    refusals::role_required,
);

newer!(bird3 Bird:
    routes::attributes_and_withdrawals,
    routes::refresh,
    restarts::graceful,
    sessions::md5_right,
    sessions::add_path,
    refusals::role_clash,
);

newer!(openbgpd8 OpenBgpd:
    routes::attributes_and_withdrawals,
    routes::refresh,
    routes::ipv4_over_ipv6,
    sessions::md5_right,
    sessions::add_path,
    sessions::roles,
    transport::ttl_security,
);

newer!(gobgp3 GoBgp:
    routes::attributes_and_withdrawals,
    restarts::graceful,
);

/// The generation is what it says it is: an older daemon in its place would prove nothing.
#[test]
fn versions() {
    choose(Generation::Trixie);
    for (kind, least) in [(Kind::Frr, 10), (Kind::Bird, 3), (Kind::GoBgp, 3), (Kind::OpenBgpd, 8)] {
        let (_lab, _node, router) = tests::pair::nodes();
        let daemon = daemon::start(kind, &router, &Setup::new(kind).spec());
        let version = daemon.version();
        let major: u32 = version.split('.').next().and_then(|number| number.parse().ok()).unwrap();
        assert!(major >= least, "{kind} {version}");
        println!("{kind} {version}");
    }
}

/// BFD with `kind`: up, cut, down in time on both sides, up again.
fn cut_and_mended(kind: bfd::Kind) {
    choose(Generation::Trixie);
    let bench = bfd::Bench::up(kind, Reach::Link, "timers: {hold: 90s, keepalive: 30s, connectRetry: 1s}");
    bench.cut();
    let (ours, theirs) = bench.time_to_down("the path is cut");
    println!(
        "{kind:?}: detection time {DETECTION:?}; down at the speaker after {ours:?}, there after {theirs:?}"
    );
    bench.heal();
    bench.wait_up();
}

#[test]
fn bfd_with_frr10() {
    cut_and_mended(bfd::Kind::Frr);
}

#[test]
fn bfd_with_bird3() {
    cut_and_mended(bfd::Kind::Bird);
}

/// An interface peer, with every capability that FRR 10 can be told to offer and this speaker has no use for.
#[test]
fn unnumbered_with_frr10_and_all_its_capabilities() {
    choose(Generation::Trixie);
    let nodes = Nodes::new();
    let ours = link_local(&nodes.node, LINK);
    let more = format!(
        " neighbor {LINK} capability software-version\n neighbor {LINK} capability dynamic\n \
         neighbor {LINK} capability fqdn\n"
    );
    let frr = frr(&nodes.router, &more, "");
    let speaker = speaker(&nodes.node, "");
    wait_up(&speaker, &frr);
    for prefix in ["203.0.113.0/24", "2001:db8:1::/112"] {
        let route = kernel_route(&nodes.router, prefix);
        assert!(route.contains(&ours.to_string()), "{route}");
    }
    let peer = speaker.peer("tor");
    let offered = peer["peerCapabilities"].as_array().unwrap().clone();
    let value = |code: u64| {
        let found = offered.iter().find(|capability| capability["code"] == code);
        found.map(|capability| capability["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(value(67).as_deref(), Some("0 octets"), "dynamic capability: {peer}");
    assert_eq!(value(73).as_deref(), Some("lab"), "FQDN: {peer}");
    let version = value(75).unwrap();
    assert!(version.starts_with("FRRouting/10."), "software version: {version}");
    // What we leave unanswered is no error there: the session is the first one.
    assert_eq!(neighbor(&frr)["connectionsEstablished"], 1);
    assert_eq!(peer["establishedCount"], 1);
}
