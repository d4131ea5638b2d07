//! The laboratory's own test: each daemon's adapter does and sees what it says, peered with another daemon.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use tests::bgp;
use tests::daemon::features::{Feature, lack};
use tests::daemon::{self, Family, Kind, RouteSpec};
use tests::pair::Sides;
use tests::pcap::Capture;
use tests::wait::{eventually, try_eventually};

const SOON: Duration = Duration::from_secs(30);

fn full_route(prefix: &str, ext: bool) -> RouteSpec {
    RouteSpec {
        med: Some(50),
        communities: vec!["64502:100".to_owned(), "65535:65282".to_owned()],
        large: vec!["64502:1:2".to_owned(), "64502:4294967295:0".to_owned()],
        ext: if ext { vec!["rt:64502:7".to_owned()] } else { Vec::new() },
        prepend: 2,
        ..RouteSpec::new(prefix)
    }
}

/// `b` announces, withdraws, is asked for a refresh, is restarted; `a` must see all of it.
fn verbs(a: Kind, b: Kind, session: Family) {
    let mut pair = Sides::new(a, b, session).start(|_, _| {});
    let (prefix, other) = match session {
        Family::V4 => ("198.51.100.0/24", "203.0.113.0/24"),
        Family::V6 => ("2001:db8:1::/48", "2001:db8:2::/48"),
    };
    let from = pair.right_address;
    daemon::wait_established(&*pair.left, pair.right_address, SOON);
    daemon::wait_established(&*pair.right, pair.left_address, SOON);

    let mut route = full_route(prefix, true);
    // No-advertise would keep the daemon itself from announcing it.
    route.communities.retain(|c| !c.starts_with("65535"));
    pair.right.announce(&[route.clone(), RouteSpec::new(other)]);
    let seen = daemon::wait_route(&*pair.left, from, prefix, SOON, |r| !r.large.is_empty());
    assert_eq!(seen.as_path, [64502, 64502, 64502], "{seen:?}");
    assert_eq!(seen.med, Some(50), "{seen:?}");
    assert_eq!(seen.origin, "igp", "{seen:?}");
    assert_eq!(seen.communities, ["64502:100"], "{seen:?}");
    assert_eq!(seen.large, ["64502:1:2", "64502:4294967295:0"], "{seen:?}");
    assert_eq!(seen.ext, ["rt:64502:7"], "{seen:?}");
    assert_eq!(seen.next_hops.first(), Some(&from), "{seen:?}");
    daemon::wait_route(&*pair.left, from, other, SOON, |r| r.as_path == [64502]);

    let before = pair.left.updates_received(from);
    assert!(before > 0, "no UPDATE counted");
    pair.left.request_refresh(from, session);
    if lack(a, Feature::AskRefresh).is_none() {
        eventually(SOON, "the refresh brings the routes again", || {
            let now = pair.left.updates_received(from);
            if now > before { Ok(()) } else { Err(format!("{now} UPDATEs, {before} before")) }
        });
        daemon::wait_route(&*pair.left, from, prefix, SOON, |_| true);
    }

    pair.right.withdraw(&[prefix.parse().unwrap()]);
    daemon::wait_no_route(&*pair.left, from, prefix, SOON);
    daemon::wait_route(&*pair.left, from, other, SOON, |_| true);

    // Whether the routes go at once depends on graceful restart, which some daemons help with by default.
    pair.right.process().terminate();
    eventually(SOON, "the session goes down", || {
        let state = pair.left.state(from);
        if state == "established" { Err(state) } else { Ok(()) }
    });
    pair.right.start_again();
    daemon::wait_established(&*pair.left, pair.right_address, SOON);
    daemon::wait_route(&*pair.left, from, other, SOON, |_| true);
}

macro_rules! verbs {
    ($($name:ident: $a:ident sees $b:ident;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn ipv4() {
                verbs(Kind::$a, Kind::$b, Family::V4);
            }

            #[test]
            fn ipv6() {
                verbs(Kind::$a, Kind::$b, Family::V6);
            }
        }
    )*};
}

verbs! {
    frr: Frr sees Bird;
    bird: Bird sees Frr;
    gobgp: GoBgp sees OpenBgpd;
    exabgp: ExaBgp sees GoBgp;
    openbgpd: OpenBgpd sees ExaBgp;
}

/// A password on both sides holds a session; different ones do not, until they are the same.
fn md5(a: Kind, b: Kind, session: Family) {
    let same = Sides::new(a, b, session).start(|_, peer| peer.md5 = Some("k3y of the lab".replace(' ', "-")));
    daemon::wait_established(&*same.left, same.right_address, SOON);
    drop(same);
    let nodes = tests::pair::nodes();
    let capture = Capture::start(&nodes.0, &nodes.2, "eth0");
    let different = Sides::new(a, b, session).start_on(nodes, |n, peer| peer.md5 = Some(format!("key-{n}")));
    // Each has dialled, its SYN carries the option, and nobody has answered one.
    eventually(SOON, "a signed SYN", || {
        let segments = capture.segments();
        let signed = segments.iter().filter(|s| s.syn && s.md5).count();
        if signed >= 3 { Ok(()) } else { Err(format!("{signed} of {} segments", segments.len())) }
    });
    assert!(bgp::messages(&capture.stop()).is_empty(), "a message got through with different keys");
    assert!(!different.left.established(different.right_address));
}

macro_rules! md5 {
    ($($name:ident: $a:ident with $b:ident, $session:ident;)*) => {$(
        #[test]
        fn $name() {
            md5(Kind::$a, Kind::$b, Family::$session);
        }
    )*};
}

md5! {
    md5_frr_bird_ipv4: Frr with Bird, V4;
    md5_frr_bird_ipv6: Frr with Bird, V6;
    md5_gobgp_frr_ipv4: GoBgp with Frr, V4;
    md5_gobgp_frr_ipv6: GoBgp with Frr, V6;
    md5_exabgp_bird_ipv4: ExaBgp with Bird, V4;
    md5_exabgp_bird_ipv6: ExaBgp with Bird, V6;
    md5_openbgpd_frr_ipv4: OpenBgpd with Frr, V4;
    md5_openbgpd_frr_ipv6: OpenBgpd with Frr, V6;
}

/// The operator's shutdown arrives as Cease/2 and every adapter reads it.
fn shutdown(a: Kind, b: Kind) {
    let pair = Sides::new(a, b, Family::V4).start(|_, _| {});
    daemon::wait_established(&*pair.left, pair.right_address, SOON);
    daemon::wait_established(&*pair.right, pair.left_address, SOON);
    let text = if lack(a, Feature::ShutdownText).is_some() { "" } else { "maintenance" };
    pair.right.shut(pair.left_address, text);
    eventually(SOON, "Cease/2", || {
        let got = pair.left.notifications_received(pair.right_address);
        if got.contains(&(6, 2)) {
            Ok(())
        } else {
            Err(format!("{got:?}, {}", pair.left.state(pair.right_address)))
        }
    });
}

#[test]
fn shutdown_is_read_by_every_adapter() {
    shutdown(Kind::Frr, Kind::Bird);
    shutdown(Kind::Bird, Kind::GoBgp);
    shutdown(Kind::GoBgp, Kind::OpenBgpd);
    shutdown(Kind::ExaBgp, Kind::Frr);
    shutdown(Kind::OpenBgpd, Kind::ExaBgp);
}

/// A stopped daemon loses its session by the hold timer, and the other side sends 4/0, which it reads on.
/// Its own hold timer has run out too by then: now and then it hears that first and reads no more, so that
/// it is given several tries.
fn hold_timer(a: Kind, b: Kind) {
    let pair = Sides::new(a, b, Family::V4).start(|_, peer| peer.hold = Some(3));
    let mut seen = Vec::new();
    for _ in 0..5 {
        daemon::wait_established(&*pair.left, pair.right_address, SOON);
        daemon::wait_established(&*pair.right, pair.left_address, SOON);
        pair.left.process().pause();
        eventually(SOON, "the hold timer of the other side", || {
            let state = pair.right.state(pair.left_address);
            if state == "established" { Err(state) } else { Ok(()) }
        });
        pair.left.process().resume();
        let read = try_eventually(Duration::from_secs(5), || {
            let got = pair.left.notifications_received(pair.right_address);
            if got.contains(&(4, 0)) { Ok(()) } else { Err(format!("{got:?}")) }
        });
        match read {
            Ok(()) => return,
            Err(got) => seen.push(got),
        }
    }
    panic!("{a:?} never read the 4/0 of {b:?}: {seen:?}");
}

#[test]
fn hold_timer_expiry_is_read_by_every_adapter() {
    // BIRD would say nothing to FRR, which offers graceful restart.
    hold_timer(Kind::Frr, Kind::OpenBgpd);
    hold_timer(Kind::Bird, Kind::Frr);
    hold_timer(Kind::GoBgp, Kind::Bird);
    hold_timer(Kind::ExaBgp, Kind::Bird);
    hold_timer(Kind::OpenBgpd, Kind::Bird);
}

/// The entry of the table of features: a shutdown with a text makes ExaBGP answer 1/0.
#[test]
fn exabgp_does_not_read_the_text_of_a_shutdown() {
    assert!(lack(Kind::ExaBgp, Feature::ShutdownText).is_some());
    let nodes = tests::pair::nodes();
    let capture = Capture::start(&nodes.0, &nodes.2, "eth0");
    let pair = Sides::new(Kind::ExaBgp, Kind::Bird, Family::V4).start_on(nodes, |_, _| {});
    daemon::wait_established(&*pair.left, pair.right_address, SOON);
    daemon::wait_established(&*pair.right, pair.left_address, SOON);
    pair.right.shut(pair.left_address, "maintenance");
    eventually(SOON, "1/0 from ExaBGP", || {
        let messages = bgp::messages(&capture.segments());
        let theirs = messages.iter().filter(|m| m.from.ip() == pair.left_address);
        let sent: Vec<_> = theirs.filter_map(bgp::Message::notification).collect();
        if sent.contains(&(1, 0)) { Ok(()) } else { Err(format!("{sent:?}")) }
    });
}
