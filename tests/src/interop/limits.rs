//! How much the daemon may announce.

use std::time::Duration;

use super::{Bench, SESSIONS, SOON, Setup};
use crate::daemon::{Kind, RouteSpec};
use crate::wait::{always, eventually};

/// Six prefixes a family, of which five are allowed.
fn routes() -> Vec<RouteSpec> {
    let v4 = (0..6).map(|n| format!("198.51.{n}.0/24"));
    let v6 = (0..6).map(|n| format!("2001:db8:{}::/48", n + 20));
    v4.chain(v6).map(|prefix| RouteSpec::new(&prefix)).collect()
}

#[track_caller]
fn wait_down(bench: &Bench) {
    for (name, family) in SESSIONS {
        bench
            .speaker
            .wait_log(&[name, "announces more than 5 prefixes", &format!("{}-unicast", family.word())], SOON);
        let limit = || {
            let error = bench.speaker.peer(name)["lastError"]["text"].clone();
            if error.as_str().is_some_and(|text| text.contains("Maximum Number of Prefixes Reached")) {
                Ok(())
            } else {
                Err(error.to_string())
            }
        };
        eventually(SOON, &format!("{name} ends with Cease/1"), limit);
    }
}

/// One prefix more than `prefixLimit` allows: a warning before it, Cease/1, and the session comes back after
/// `restart`; without `restart` it waits for an operator.
///
/// # Panics
/// If not.
pub fn prefix_limit(kind: Kind) {
    let limited = |restart: &str| Setup {
        peer_keys: format!(
            "asn: 64502, prefixLimit: {{ipv4-unicast: 5, ipv6-unicast: 5, warnPercent: 60{restart}}}"
        ),
        manifests: Vec::new(),
        ..Setup::new(kind)
    };
    let setup = limited(", restart: 6s");
    let mut bench = setup.establish();
    let all = routes();
    let (allowed, beyond): (Vec<_>, Vec<_>) = all
        .iter()
        .cloned()
        .partition(|route| !["198.51.5.0/24", "2001:db8:25::/48"].contains(&&*route.prefix.to_string()));
    let beyond_prefixes: Vec<_> = beyond.iter().map(|route| route.prefix).collect();
    bench.router.announce(&allowed);
    for (name, _) in SESSIONS {
        bench.speaker.wait_log(&[name, "of 5 at most (prefixLimit)"], SOON);
        eventually(SOON, "five are in order", || {
            let have = bench.speaker.received(name).len();
            if have == 5 { Ok(()) } else { Err(have.to_string()) }
        });
    }
    bench.router.announce(&beyond);
    wait_down(&bench);
    for (name, family) in SESSIONS {
        eventually(SOON, &format!("the daemon reads Cease/1 on {name}"), || {
            let got = bench.router.notifications_received(Bench::ours(family));
            if got.contains(&(6, 1)) { Ok(()) } else { Err(format!("{got:?}")) }
        });
    }
    bench.router.withdraw(&beyond_prefixes);
    bench.wait_established();
    for (name, _) in SESSIONS {
        let count = bench.speaker.peer(name)["establishedCount"].as_u64();
        assert!(count >= Some(2), "{name}: {count:?}");
    }

    bench.speaker.write_config(&limited("").config());
    bench.speaker.wait_log(&["the new configuration is in force"], SOON);
    bench.router.announce(&beyond);
    for (name, _) in SESSIONS {
        bench.speaker.wait_log(&[name, "it stays down until `speaker clear`"], SOON);
    }
    bench.router.withdraw(&beyond_prefixes);
    always(Duration::from_secs(8), "without `restart` it stays down", || {
        let states = SESSIONS.map(|(name, _)| bench.speaker.peer(name)["state"].clone());
        if states.iter().all(|state| state == "Idle") { Ok(()) } else { Err(format!("{states:?}")) }
    });
    bench.speaker.cli(&["clear", "all"]);
    // OpenBGPD leaves a neighbour that ended a session alone for twice as long each time.
    for (name, _) in SESSIONS {
        bench.speaker.wait_state(name, "Established", Duration::from_secs(150));
    }
}
