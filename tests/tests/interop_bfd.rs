//! The speaker's BFD against FRR's bfdd and BIRD.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use tests::interop::bfd::{
    BOUND, Bench, DETECTION, Daemon, INTERVAL, Kind, MULTIPLIER, Reach, SOON, Session, config, intervals,
};
use tests::wait::{always, eventually};

const KEYS: &str = "timers: {hold: 90s, keepalive: 30s, connectRetry: 1s}";

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// How often BFD has failed and come up, and how often BGP was up: FRR 10 makes its BFD session anew as soon as BGP is
/// up, so that a session that was up before fails once at the beginning.
fn counts(bench: &Bench, session: &Session) -> [u64; 3] {
    let (peer, bfd) = (bench.speaker.peer(session.name), bench.bfd(session));
    [&bfd["failureCount"], &bfd["upCount"], &peer["establishedCount"]].map(|count| count.as_u64().unwrap())
}

/// Comes up, is cut, goes down in time on both sides, and comes back when the cut is mended.
fn cut_and_mended(kind: Kind, reach: Reach) {
    let bench = Bench::up(kind, reach, KEYS);
    for session in &bench.sessions {
        let bfd = eventually(SOON, "the Poll Sequences have ended", || {
            let bfd = bench.bfd(session);
            let agreed = bfd["detectionTime"] == micros(DETECTION) && bfd["polling"] == false;
            if agreed { Ok(bfd) } else { Err(bfd.to_string()) }
        });
        assert_eq!(bfd["transmitInterval"], micros(INTERVAL), "{bfd}");
        assert_eq!(bfd["multihop"], reach == Reach::Routed, "{bfd}");
        assert_eq!(bfd["remote"]["detectMultiplier"], MULTIPLIER, "{bfd}");
        assert!(bfd["sourcePort"].as_u64().is_some_and(|port| port >= 49152), "{bfd}");
    }
    let before: Vec<[u64; 3]> = bench.sessions.iter().map(|session| counts(&bench, session)).collect();
    bench.cut();
    let (ours, theirs) = bench.time_to_down("the path is cut");
    println!(
        "{kind:?} {reach:?}: cut; detection time {DETECTION:?}; BGP down at the speaker after {ours:?}, at the router after {theirs:?}"
    );
    for (session, before) in bench.sessions.iter().zip(before) {
        let peer = bench.speaker.peer(session.name);
        let text = peer["lastError"]["text"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("BFD Down (6/10)") || text.contains("BFD Down"), "{text}");
        assert_eq!(peer["bfd"]["failureCount"], before[0] + 1, "{peer}");
        assert_eq!(peer["bfd"]["diagnostic"], "Control Detection Time Expired", "{peer}");
    }
    bench.heal();
    bench.wait_up();
}

#[test]
fn frr_one_hop_away() {
    cut_and_mended(Kind::Frr, Reach::Link);
}

#[test]
fn frr_behind_a_router() {
    cut_and_mended(Kind::Frr, Reach::Routed);
}

#[test]
fn bird_one_hop_away() {
    cut_and_mended(Kind::Bird, Reach::Link);
}

#[test]
fn bird_behind_a_router() {
    cut_and_mended(Kind::Bird, Reach::Routed);
}

/// A daemon that hangs: its TCP connection stays, its BFD does not.
#[test]
fn a_bfdd_that_hangs_ends_bgp_with_cease_10() {
    let bench = Bench::up(Kind::Frr, Reach::Link, KEYS);
    bench.bfd_process().pause();
    for session in &bench.sessions {
        eventually(BOUND, &format!("{} is down", session.name), || {
            let peer = bench.speaker.peer(session.name);
            if peer["state"] == "Established" { Err(peer["bfd"].to_string()) } else { Ok(()) }
        });
    }
    let Daemon::Frr(frr) = &bench.router else { unreachable!() };
    for session in &bench.sessions {
        eventually(SOON, "bgpd has read BFD Down", || {
            let got = tests::daemon::Router::notifications_received(frr, session.ours);
            if got.contains(&(6, 10)) { Ok(()) } else { Err(format!("{got:?}")) }
        });
        let peer = bench.speaker.peer(session.name);
        assert_eq!(peer["bfd"]["holdsBgp"], true, "{peer}");
        let shown = bench.speaker.cli(&["peers", session.name]);
        assert!(shown.contains("BGP waits for "), "{shown}");
    }
    // bgpd dials again and again, and is not let in.
    always(Duration::from_secs(5), "BGP is held", || {
        let state = bench.speaker.peer("router4")["state"].clone();
        if state == "Idle" { Ok(()) } else { Err(state.to_string()) }
    });
    bench.bfd_process().resume();
    bench.wait_up();
}

/// A peer whose BFD was taken away is held for half a minute and no longer.
#[test]
fn a_bfdd_that_is_gone_does_not_hold_bgp_for_ever() {
    let bench = Bench::up(Kind::Frr, Reach::Link, KEYS);
    bench.bfd_process().kill();
    for session in &bench.sessions {
        eventually(BOUND, &format!("{} is down", session.name), || {
            let state = bench.speaker.peer(session.name)["state"].clone();
            if state == "Established" { Err(state.to_string()) } else { Ok(()) }
        });
    }
    for session in &bench.sessions {
        bench.speaker.wait_state(session.name, "Established", SOON);
    }
    let shown = bench.speaker.cli(&["peers"]);
    assert!(shown.contains("router4 is up without BFD"), "{shown}");
}

#[test]
fn a_speaker_that_hangs_is_found_by_the_router() {
    for kind in [Kind::Frr, Kind::Bird] {
        let bench = Bench::up(kind, Reach::Link, KEYS);
        bench.speaker.process().pause();
        let start = std::time::Instant::now();
        for session in &bench.sessions {
            eventually(BOUND, &format!("{kind:?} closes BGP with {}", session.ours), || {
                let state = bench.router_bgp(session);
                if state == "established" { Err(state) } else { Ok(()) }
            });
        }
        println!(
            "{kind:?}: hung; detection time {DETECTION:?}; BGP down at the router after {:?}",
            start.elapsed()
        );
        bench.speaker.process().resume();
        bench.wait_up();
    }
}

#[test]
fn without_bfd_at_the_router_bgp_is_up_and_says_so() {
    let bench = Bench::start(Kind::Bird, Reach::Link, KEYS);
    let Daemon::Bird(bird) = &bench.router else { unreachable!() };
    bird.birdc("disable lab");
    for session in &bench.sessions {
        bench.speaker.wait_state(session.name, "Established", SOON);
    }
    let shown = bench.speaker.cli(&["peers"]);
    assert!(
        shown.contains("router4 is up without BFD, so that the hold timer alone finds a failure"),
        "{shown}"
    );
}

/// AdminDown of the router: BGP stays, and the router's own does too.
#[test]
fn a_router_that_shuts_bfd_down_keeps_bgp() {
    let bench = Bench::up(Kind::Frr, Reach::Link, KEYS);
    let Daemon::Frr(frr) = &bench.router else { unreachable!() };
    let before: Vec<[u64; 3]> = bench.sessions.iter().map(|session| counts(&bench, session)).collect();
    frr.vtysh(&["configure terminal", "bfd", "profile lab", "shutdown"]);
    for (session, [failures, ..]) in bench.sessions.iter().zip(&before) {
        bench.wait_bfd(session, "Down");
        let bfd = bench.bfd(session);
        assert_eq!(bfd["lastDown"]["reason"], "the peer is administratively down", "{bfd}");
        assert_eq!(bfd["failureCount"], *failures, "{bfd}");
    }
    always(Duration::from_secs(3), "BGP stays up at the speaker", || {
        for (session, [.., established]) in bench.sessions.iter().zip(&before) {
            let peer = bench.speaker.peer(session.name);
            if peer["establishedCount"] != *established || peer["state"] != "Established" {
                return Err(format!("{}: {}, {}", session.name, peer["state"], peer["lastError"]));
            }
        }
        Ok(())
    });
    let shown = bench.speaker.cli(&["peers"]);
    let why = ["the peer has switched it off", "the peer is administratively down"];
    assert!(shown.contains("is up without BFD") && why.iter().any(|why| shown.contains(why)), "{shown}");
    frr.vtysh(&["configure terminal", "bfd", "profile lab", "no shutdown"]);
    bench.wait_up();
    for (session, [.., established]) in bench.sessions.iter().zip(&before) {
        assert_eq!(bench.speaker.peer(session.name)["establishedCount"], *established);
    }
}

#[test]
fn new_intervals_are_agreed_on_without_a_failure() {
    for kind in [Kind::Frr, Kind::Bird] {
        let bench = Bench::up(kind, Reach::Link, KEYS);
        let before: Vec<[u64; 3]> = bench.sessions.iter().map(|session| counts(&bench, session)).collect();
        let slower = Duration::from_millis(700);
        bench.speaker.write_config(&config(Reach::Link, &intervals(slower), KEYS));
        let wait = |what: &str, transmit: Duration, detection: Duration| {
            for session in &bench.sessions {
                eventually(SOON, &format!("{kind:?} {}: {what}", session.name), || {
                    let bfd = bench.bfd(session);
                    let agreed = bfd["transmitInterval"] == micros(transmit)
                        && bfd["detectionTime"] == micros(detection)
                        && bfd["polling"] == false;
                    if agreed { Ok(()) } else { Err(bfd.to_string()) }
                });
            }
        };
        wait("ours are slower", slower, slower * MULTIPLIER);
        // And the router's: slower than ours.
        let slowest = Duration::from_millis(900);
        match &bench.router {
            Daemon::Frr(frr) => {
                _ = frr.vtysh(&[
                    "configure terminal",
                    "bfd",
                    "profile lab",
                    "transmit-interval 900",
                    "receive-interval 900",
                ]);
            }
            Daemon::Bird(bird) => {
                let file = bench.router_node.dir().join("bird/bird.conf");
                let text =
                    std::fs::read_to_string(&file).unwrap().replace("interval 300 ms", "interval 900 ms");
                std::fs::write(&file, text).unwrap();
                bird.birdc("configure");
            }
        }
        wait("the router's are slower", slowest, slowest * MULTIPLIER);
        bench.speaker.write_config(&config(Reach::Link, &intervals(INTERVAL), KEYS));
        for (session, before) in bench.sessions.iter().zip(before) {
            eventually(SOON, "ours are faster again", || {
                let bfd = bench.bfd(session);
                let announced = bfd["local"]["requiredMinRx"] == micros(INTERVAL) && bfd["polling"] == false;
                if announced { Ok(()) } else { Err(bfd.to_string()) }
            });
            assert_eq!(counts(&bench, session), before, "{kind:?}: {}", bench.bfd(session));
        }
    }
}

#[test]
fn a_packet_with_ttl_254_is_ignored_and_the_same_with_255_is_not() {
    let bench = Bench::up(Kind::Bird, Reach::Link, KEYS);
    for session in bench.sessions.iter().filter(|session| session.name != "router-ll") {
        let ttl = || bench.bfd(session)["discarded"]["ttl"].as_u64().unwrap_or(0);
        let before = ttl();
        bench.forge(session, 254);
        eventually(SOON, "it is counted", || {
            let now = ttl();
            if now > before { Ok(()) } else { Err(now.to_string()) }
        });
        let bfd = bench.bfd(session);
        assert_eq!((&bfd["state"], &bfd["failureCount"]), (&"Up".into(), &0.into()), "{bfd}");
        bench.forge(session, 255);
        eventually(SOON, "it is believed", || {
            let bfd = bench.bfd(session);
            if bfd["failureCount"] == 1 { Ok(()) } else { Err(bfd.to_string()) }
        });
    }
}

#[test]
fn a_link_that_goes_down_ends_its_sessions_at_once() {
    let bench = Bench::up(Kind::Bird, Reach::Link, KEYS);
    let start = std::time::Instant::now();
    bench.between.ip(&["link", "set", "n0", "down"]);
    for session in &bench.sessions {
        eventually(DETECTION, &format!("{} is down", session.name), || {
            let peer = bench.speaker.peer(session.name);
            let text = peer["lastError"]["text"].as_str().unwrap_or_default().to_owned();
            if text.contains("interface eth0 went down") {
                Ok(())
            } else {
                Err(format!("{}: {text}", peer["state"]))
            }
        });
    }
    println!("carrier lost; every session down after {:?}", start.elapsed());
    bench.between.ip(&["link", "set", "n0", "up"]);
    bench.wait_up();
}

/// AdminDown goes before the Cease; what the router makes of both is printed for tests/README.md.
#[test]
fn an_orderly_end_says_admin_down_first() {
    for kind in [Kind::Frr, Kind::Bird] {
        let bench = Bench::up(kind, Reach::Link, KEYS);
        let session = &bench.sessions[0];
        let [before, ..] = counts(&bench, session);
        bench.speaker.cli(&["shutdown", session.name, "lunch"]);
        eventually(SOON, &format!("{kind:?} has closed BGP"), || {
            let state = bench.router_bgp(session);
            if state == "established" { Err(state) } else { Ok(()) }
        });
        bench.wait_bfd(session, "AdminDown");
        eventually(SOON, "the router's BFD is down", || {
            let state = bench.router_bfd(session);
            if state == "up" { Err(state) } else { Ok(()) }
        });
        let bfd = bench.bfd(session);
        assert_eq!(bfd["failureCount"], before, "{bfd}");
        let told = match &bench.router {
            Daemon::Frr(frr) => {
                format!("{}; {}", frr.last_reset(session.ours), frr.bfd_peer(session.ours))
            }
            Daemon::Bird(bird) => {
                format!("{}\n{}", bird.birdc("show protocols"), bird.birdc("show bfd sessions"))
            }
        };
        println!("{kind:?} after shutdown: BFD {}, {told}", bench.router_bfd(session));
        bench.speaker.cli(&["no-shutdown", session.name]);
        bench.wait_up();
    }
}

/// BIRD's BFD without BGP: the speaker's sessions come up all the same, all of them on one thread.
#[test]
fn fifty_sessions_live_on_one_thread() {
    let lab = tests::lab::Lab::new();
    let (node, router) = (lab.node("node"), lab.node("router"));
    lab.link(&node, "eth0", &router, "eth0");
    let (mut peers, mut neighbors) = (String::new(), String::new());
    for n in 1..=50 {
        node.address("eth0", &format!("10.0.0.{n}/16"));
        router.address("eth0", &format!("10.0.1.{n}/16"));
        peers += &format!(
            "  - {{name: p{n}, address: 10.0.1.{n}, localAddress: 10.0.0.{n}, asn: 64502, bfd: {}}}\n",
            intervals(INTERVAL)
        );
        neighbors += &format!(" neighbor 10.0.0.{n} local 10.0.1.{n};\n");
    }
    let timing = format!("interval {} ms; multiplier {MULTIPLIER};", INTERVAL.as_millis());
    let text = format!(
        "log stderr all;\nrouter id 10.0.1.1;\nprotocol device {{}}\nprotocol bfd lab {{ interface \"*\" {{ {timing} }};\n{neighbors}}}\n"
    );
    let _bird = tests::daemon::Bird::with_config(&router, 64502, &text);
    let config = config(Reach::Link, "false", KEYS);
    let (head, rest) = config.split_once("peers:\n").unwrap();
    let (_, tail) = rest.split_once("advertisements:").unwrap();
    let config = format!("{head}peers:\n{peers}advertisements:{tail}");
    let speaker = tests::speaker::Speaker::start(&node, &config, &[]);
    let all = || -> Vec<serde_json::Value> {
        speaker.json(&["peers"]).as_array().into_iter().flatten().map(|peer| peer["bfd"].clone()).collect()
    };
    eventually(SOON, "all are up", || {
        let up = all().iter().filter(|bfd| bfd["state"] == "Up").count();
        if up == 50 { Ok(()) } else { Err(format!("{up} of 50")) }
    });
    always(Duration::from_secs(8), "none fails", || {
        let failed: u64 = all().iter().filter_map(|bfd| bfd["failureCount"].as_u64()).sum();
        if failed == 0 { Ok(()) } else { Err(format!("{failed} failures")) }
    });
    let tasks = std::fs::read_dir(format!("/proc/{}/task", speaker.process().pid())).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    assert_eq!(names.filter(|name| name.trim() == "bfd").count(), 1);
}
