//! Routes of both families as the daemon sees them, and what the daemon sends.

use std::collections::BTreeSet;
use std::time::Duration;

use super::manifests::{POOL_PREFIXES, SERVICE_ROUTES, service};
use super::{Bench, OUR_AS, SESSIONS, SOON, Setup};
use crate::daemon::features::{Feature, lack};
use crate::daemon::{self, Family, Kind, RouteSpec, SeenRoute};
use crate::wait::{always, eventually};

/// Pool prefixes and Service routes with every attribute; endpoints lost and gained; Service deleted.
///
/// # Panics
/// If the daemon sees anything else.
pub fn attributes_and_withdrawals(kind: Kind) {
    let bench = Setup::new(kind).establish();
    let all: Vec<&str> = POOL_PREFIXES.into_iter().chain(SERVICE_ROUTES).collect();
    bench.wait_prefixes(&all);
    for ((_, family), prefix) in SESSIONS.into_iter().zip(SERVICE_ROUTES) {
        let from = Bench::ours(family);
        let seen = daemon::wait_route(&*bench.router, from, prefix, SOON, |_| true);
        assert_eq!(seen.as_path, [OUR_AS; 3], "two further copies: {seen:?}");
        assert_eq!(seen.next_hops.first(), Some(&from), "{seen:?}");
        assert_eq!(seen.origin, "igp", "{seen:?}");
        assert_eq!(seen.med, Some(50), "{seen:?}");
        assert_eq!(seen.communities, ["64501:200", "65535:65281"], "{seen:?}");
        assert_eq!(seen.large, ["4200000000:4294967295:0", "64501:1:2"], "{seen:?}");
        assert_eq!(seen.ext, ["rt:64501:7"], "{seen:?}");
    }
    for ((_, family), prefix) in SESSIONS.into_iter().zip(POOL_PREFIXES) {
        let seen = daemon::wait_route(&*bench.router, Bench::ours(family), prefix, SOON, |_| true);
        assert_eq!(seen.as_path, [OUR_AS], "{seen:?}");
        assert_eq!((seen.med, seen.communities.as_slice()), (Some(10), &["64501:100".to_owned()][..]));
    }
    bench.wait_same_tables();

    bench.speaker.write_manifest("web.yaml", &service("web", false));
    bench.wait_prefixes(&POOL_PREFIXES);
    bench.speaker.write_manifest("web.yaml", &service("web", true));
    bench.wait_prefixes(&all);
    bench.speaker.remove_manifest("web.yaml");
    bench.wait_prefixes(&[]);
    bench.speaker.write_manifest("again.yaml", &service("web", true));
    bench.wait_prefixes(&all);
    bench.wait_same_tables();
}

/// iBGP: LOCAL_PREF as configured, the default where not, an empty path.
///
/// # Panics
/// If the daemon sees anything else.
pub fn local_preference(kind: Kind) {
    let setup = Setup { router_as: OUR_AS, peer_keys: "asn: internal".to_owned(), ..Setup::new(kind) };
    let bench = setup.establish();
    for ((_, family), prefix) in SESSIONS.into_iter().zip(SERVICE_ROUTES) {
        let from = Bench::ours(family);
        let seen = daemon::wait_route(&*bench.router, from, prefix, SOON, |_| true);
        assert_eq!(seen.local_pref, Some(250), "{seen:?}");
        assert_eq!(seen.next_hops.first(), Some(&from), "{seen:?}");
    }
    for ((_, family), prefix) in SESSIONS.into_iter().zip(POOL_PREFIXES) {
        let seen = daemon::wait_route(&*bench.router, Bench::ours(family), prefix, SOON, |_| true);
        assert_eq!(seen.local_pref, Some(100), "{seen:?}");
        assert!(seen.as_path.is_empty(), "{seen:?}");
    }
    bench.wait_same_tables();
}

/// The daemon asks for a refresh and is sent everything once more.
///
/// # Panics
/// If nothing comes.
pub fn refresh(kind: Kind) {
    let bench = Setup::new(kind).establish();
    bench.wait_same_tables();
    for (name, family) in SESSIONS {
        let from = Bench::ours(family);
        let before = bench.router.updates_received(from);
        bench.router.request_refresh(from, family);
        let asked = || bench.speaker.peer(name)["receivedByKind"]["routeRefreshes"].as_u64();
        if let Some(why) = lack(kind, Feature::AskRefresh) {
            println!("{kind} {}: {why}", family.word());
            always(Duration::from_secs(1), "the table of features", || match asked() {
                Some(0) => Ok(()),
                count => Err(format!("{kind} did ask: {count:?}")),
            });
            continue;
        }
        eventually(SOON, "the speaker has been asked", || {
            let seen = asked();
            if seen >= Some(1) { Ok(()) } else { Err(format!("{seen:?} ROUTE-REFRESH from {name}")) }
        });
        eventually(SOON, "the daemon is told again", || {
            let now = bench.router.updates_received(from);
            if now > before { Ok(()) } else { Err(format!("{now} UPDATEs, {before} before")) }
        });
    }
    bench.wait_same_tables();
    for (name, _) in SESSIONS {
        assert_eq!(bench.speaker.peer(name)["establishedCount"], 1, "a refresh costs no session");
    }
}

/// What the daemon announces is counted and shown, and neither kept from going nor passed on.
///
/// # Panics
/// If not.
pub fn received(kind: Kind) {
    let mut bench = Setup::new(kind).establish();
    bench.wait_same_tables();
    let (v4, v6) = (["192.0.2.0/25", "198.51.100.0/24"], ["2001:db8:8::/48", "2001:db8:9::/48"]);
    let routes: Vec<RouteSpec> = v4.iter().chain(&v6).map(|p| RouteSpec::new(p)).collect();
    bench.router.announce(&routes);
    for (name, prefixes) in [("router4", v4), ("router6", v6)] {
        wait_received(&bench, name, &prefixes);
    }
    // FRR up to 10.0 answers no request before End-of-RIB, which it sends to those alone who say that they know it.
    for (name, prefixes) in [("router4", v4), ("router6", v6)].into_iter().filter(|_| kind == Kind::Frr) {
        let updates = || bench.speaker.peer(name)["receivedByKind"]["updates"].as_u64();
        let before = updates();
        bench.speaker.cli(&["clear", name, "soft", "in"]);
        eventually(SOON, &format!("{kind} sends {name} its routes again"), || {
            let now = updates();
            if now > before { Ok(()) } else { Err(format!("{now:?} UPDATEs, {before:?} before")) }
        });
        wait_received(&bench, name, &prefixes);
    }
    let ours: BTreeSet<&str> = POOL_PREFIXES.into_iter().chain(SERVICE_ROUTES).collect();
    let told = bench.speaker.json(&["rib", "advertised"]);
    for row in told.as_array().into_iter().flatten() {
        assert!(ours.contains(row["prefix"].as_str().unwrap_or_default()), "passed on: {row}");
    }
    bench.router.withdraw(&[routes[0].prefix, routes[2].prefix]);
    for (name, left) in [("router4", v4[1]), ("router6", v6[1])] {
        wait_received(&bench, name, &[left]);
    }
}

/// Waits until `rib received` has exactly `wanted` from a session and `peers` counts the same.
#[track_caller]
fn wait_received(bench: &Bench, name: &str, wanted: &[&str]) {
    eventually(SOON, &format!("`rib received` of {name} has exactly {wanted:?}"), || {
        let mut have = bench.speaker.received(name);
        let count = bench.speaker.peer(name)["received"][0]["count"].clone();
        let counted = count == have.len();
        // FRR sends what it chose from us back to us.
        have.retain(|p| !POOL_PREFIXES.contains(&p.as_str()) && !SERVICE_ROUTES.contains(&p.as_str()));
        if counted && have == wanted { Ok(()) } else { Err(format!("{have:?}, `peers` counts {count}")) }
    });
}

/// 10,000 routes to the daemon, and as many from it.
///
/// # Panics
/// If one is missing.
pub fn ten_thousand(kind: Kind) {
    let prefixes: Vec<String> = (0..10_000_u32)
        .map(|n| match n % 2 {
            0 => format!("10.{}.{}.0/24", 64 + n / 512, n / 2 % 256),
            _ => format!("2001:db8:{:x}::/48", n / 2),
        })
        .collect();
    let list: Vec<String> = prefixes.iter().map(|p| format!("\"{p}\"")).collect();
    let advertisements = format!(
        "  - name: fixed\n    prefixes: [{}]\n    attributes: {{communities: [\"64501:100\"]}}\n",
        list.join(", ")
    );
    let mut bench = Setup { advertisements, manifests: Vec::new(), ..Setup::new(kind) }.establish();
    bench.wait_same_tables();
    for (name, _) in SESSIONS {
        let told = bench.speaker.peer(name)["advertised"][0]["count"].clone();
        assert_eq!(told, 5000, "{name}");
        let updates = bench.speaker.peer(name)["sentByKind"]["updates"].as_u64();
        assert!(updates.is_some_and(|n| n < 100), "packed into few UPDATEs: {updates:?}");
    }
    let count = 10_000_u32;
    let routes: Vec<RouteSpec> =
        (0..count).map(|n| RouteSpec::new(&format!("172.{}.{}.0/24", 16 + n / 256, n % 256))).collect();
    bench.router.announce(&routes);
    eventually(SOON, "all of the daemon's routes are counted", || {
        let have = bench.speaker.peer("router4")["received"][0]["count"].as_u64();
        if have == Some(u64::from(count)) { Ok(()) } else { Err(format!("{have:?}")) }
    });
    always(Duration::from_secs(1), "both sessions stay up", || {
        let states = SESSIONS.map(|(name, _)| bench.speaker.peer(name)["state"].clone());
        if states.iter().all(|s| s == "Established") { Ok(()) } else { Err(format!("{states:?}")) }
    });
}

/// IPv4 routes over an IPv6 session, with an IPv6 next hop (RFC 8950); a daemon that cannot is sent none, and
/// the operator is told why.
///
/// # Panics
/// If not.
pub fn ipv4_over_ipv6(kind: Kind) {
    let setup = Setup { ipv4_over_ipv6: true, ..Setup::new(kind) };
    let bench = setup.start();
    let from = Bench::ours(Family::V6);
    bench.speaker.wait_state("router6", "Established", SOON);
    daemon::wait_route(&*bench.router, from, SERVICE_ROUTES[1], SOON, |_| true);
    if let Some(why) = lack(kind, Feature::ExtendedNextHop) {
        println!("{kind}: {why}");
        eventually(SOON, "the IPv4 routes are held with a reason", || {
            let held = bench.speaker.peer("router6")["held"].clone();
            let rows = held.as_array().cloned().unwrap_or_default();
            let told = rows.iter().any(|r| r["prefix"] == SERVICE_ROUTES[0] && r["reason"].is_string());
            if told { Ok(()) } else { Err(held.to_string()) }
        });
        assert!(bench.speaker.advertised("router6", Family::V4).is_empty());
        return;
    }
    let accept = |route: &SeenRoute| !route.large.is_empty();
    let seen = daemon::wait_route(&*bench.router, from, SERVICE_ROUTES[0], SOON, accept);
    assert_eq!(seen.next_hops.first(), Some(&from), "{seen:?}");
    assert_eq!(seen.large, ["4200000000:4294967295:0", "64501:1:2"], "{seen:?}");
    daemon::wait_route(&*bench.router, from, POOL_PREFIXES[0], SOON, |_| true);
    bench.speaker.remove_manifest("web.yaml");
    for prefix in SERVICE_ROUTES.into_iter().chain(POOL_PREFIXES) {
        daemon::wait_no_route(&*bench.router, from, prefix, SOON);
    }
}
