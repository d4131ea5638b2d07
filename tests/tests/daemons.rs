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

use tests::daemon::features::{Feature, lack};
use tests::daemon::{self, Family, Kind, RouteSpec};
use tests::pair::Sides;
use tests::wait::eventually;

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
