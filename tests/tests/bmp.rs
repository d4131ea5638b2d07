//! What monitoring stations are told (BMP, RFC 7854, 8671, 9069), by GoBGP's parser, held to what `-o json` says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use tests::daemon::{Family, Kind, RouteSpec};
use tests::interop::manifests::{ADVERTISEMENTS, service};
use tests::interop::{Bench, SESSIONS, SOON, Setup};
use tests::lab::{Lab, Node};
use tests::pair::nodes;
use tests::station::{Known, Station};
use tests::wait::eventually;

const COLLECTOR: &str =
    "bmp:\n  - {name: noc, address: \"10.0.0.2:11019\", connectRetry: 1s, statistics: 1s}\n";

fn bench(kind: Kind, advertisements: &str) -> (Bench, Station) {
    bench_on(nodes(), kind, advertisements)
}

fn bench_on(nodes: (Lab, Node, Node), kind: Kind, advertisements: &str) -> (Bench, Station) {
    let station = Station::start(&nodes.2);
    let setup = Setup {
        peer_keys: "asn: 64502, receive: all".to_owned(),
        advertisements: format!("{advertisements}{COLLECTOR}"),
        ..Setup::new(kind)
    };
    (setup.start_on(nodes), station)
}

/// Prefix, next hop, path, MED, number of communities.
type Short = (String, String, Vec<u64>, u64, usize);

fn short(route: &Value, prefix: &str) -> Short {
    let path = route["asPath"].as_array().into_iter().flatten();
    // Ours has segments.
    let path = path.flat_map(|part| part["asns"].as_array().cloned().unwrap_or_else(|| vec![part.clone()]));
    (
        prefix.to_owned(),
        route["nextHop"].as_str().unwrap_or_default().to_owned(),
        path.filter_map(|asn| asn.as_u64()).collect(),
        route["med"].as_u64().unwrap_or_default(),
        route["communities"].as_array().map_or(0, Vec::len),
    )
}

/// What the station has of a table.
fn had(known: &Known, which: &'static str, peer: &str) -> Vec<Short> {
    let table = known.tables.get(&(which, peer.to_owned())).into_iter().flatten();
    table.map(|(prefix, route)| short(route, prefix)).collect()
}

/// What `rib … -o json` says of it.
fn said(bench: &Bench, table: &[&str]) -> Vec<Short> {
    let args: Vec<&str> = ["rib"].iter().chain(table).copied().collect();
    let rows = bench.speaker.json(&args);
    let rows = rows.as_array().cloned().unwrap_or_default();
    let mut all: Vec<Short> = rows.iter().map(|row| short(row, row["prefix"].as_str().unwrap())).collect();
    all.sort();
    all
}

/// The station has exactly what the command line says, table by table.
#[track_caller]
fn wait_agrees(bench: &Bench, station: &Station, what: &str) -> Known {
    eventually(SOON, &format!("the station agrees {what}"), || {
        let known = station.known();
        let mut local = had(&known, "local", "local");
        local.iter_mut().for_each(|route| route.1.clear());
        let mut expected = said(bench, &["local"]);
        expected.iter_mut().for_each(|route| route.1.clear());
        if local != expected {
            return Err(format!("Loc-RIB\n{local:?}\n{expected:?}"));
        }
        for (name, family) in SESSIONS {
            let peer = tests::pair::address(family, 2).to_string();
            let state = bench.speaker.peer(name)["state"] == "Established";
            if known.up.contains_key(&peer) != state {
                return Err(format!("{name} is established: {state}; {:?}", known.up.keys()));
            }
            for (which, table) in [("out", "advertised"), ("in", "received")] {
                let (have, expected) = (had(&known, which, &peer), said(bench, &[table, "--peer", name]));
                if have != expected {
                    return Err(format!("{table} of {name}\n{have:?}\n{expected:?}"));
                }
            }
        }
        Ok(known)
    })
}

fn codes(capabilities: &Value) -> Vec<u64> {
    let all = capabilities.as_array().into_iter().flatten();
    all.filter_map(|one| one.as_u64().or(one["code"].as_u64())).collect()
}

#[test]
fn a_station_is_told_what_json_says() {
    let (mut bench, station) = bench(Kind::Frr, ADVERTISEMENTS);
    bench.wait_established();
    bench.router.announce(&[RouteSpec::new("192.0.2.0/25"), RouteSpec::new("2001:db8:8::/48")]);
    for (name, _) in SESSIONS {
        eventually(SOON, &format!("{name} brings routes"), || {
            let have = bench.speaker.received(name);
            if have.len() > 1 { Ok(()) } else { Err(format!("{have:?}")) }
        });
    }
    let known = wait_agrees(&bench, &station, "at first");
    assert_eq!(known.introduction.unwrap()["texts"][1], "n1");
    assert!(!had(&station.known(), "in", "10.0.0.2").is_empty());

    // Both OPENs as they were on the wire.
    for (name, family) in SESSIONS {
        let up = &known.up[&tests::pair::address(family, 2).to_string()];
        let peer = bench.speaker.peer(name);
        assert_eq!((&up["as"], &up["id"]), (&json!(64502), &json!("10.0.0.2")));
        assert_eq!(up["local"], Bench::ours(family).to_string());
        assert_eq!(codes(&up["sent"]["capabilities"]), codes(&peer["ourCapabilities"]), "{up}");
        assert_eq!(codes(&up["received"]["capabilities"]), codes(&peer["peerCapabilities"]), "{up}");
        assert_eq!((&up["sent"]["as"], &up["received"]["as"]), (&json!(64501), &json!(64502)));
        assert_eq!(up["sent"]["id"], "10.0.0.1");
        let ports = (&up["ports"][0], &up["ports"][1]);
        assert!(ports.0 == 179 || ports.1 == 179, "{up}");
    }
    let local = &known.up["local"];
    assert_eq!(
        (&local["as"], &local["id"], &local["sent"]),
        (&json!(64501), &json!("10.0.0.1"), &local["received"])
    );
    // End-of-RIB of both families of the Loc-RIB, and of what we tell each peer. FRR tells us none (tests/README.md).
    eventually(SOON, "every End-of-RIB", || {
        let ended = station.known().ended;
        let count = |which| ended.iter().filter(|((table, _), _)| *table == which).count();
        if (count("local"), count("out")) == (2, 2) { Ok(()) } else { Err(format!("{ended:?}")) }
    });
    eventually(SOON, "figures", || {
        let figures = station.known().statistics;
        let out = bench.speaker.advertised("router4", Family::V4).len();
        let received = bench.speaker.received("router4").len();
        let seen = figures.get("10.0.0.2").cloned().unwrap_or_default();
        let right = seen["15"] == out && seen["17/1/1"] == out && seen["7"] == received && seen["11"] == 0;
        let local = figures.get("local").cloned().unwrap_or_default();
        if right && local["8"] == 4 && local["10/2/1"] == 2 { Ok(()) } else { Err(format!("{figures:?}")) }
    });

    // Every kind of change.
    bench.speaker.remove_manifest("web.yaml");
    wait_agrees(&bench, &station, "without the Service");
    bench.speaker.write_manifest("web.yaml", &service("web", true));
    wait_agrees(&bench, &station, "with the Service");
    bench.router.withdraw(&["192.0.2.0/25".parse().unwrap()]);
    eventually(SOON, "the withdrawal", || {
        let have = bench.speaker.received("router4");
        if have.iter().any(|one| one == "192.0.2.0/25") { Err(format!("{have:?}")) } else { Ok(()) }
    });
    wait_agrees(&bench, &station, "after the peer's withdrawal");

    // What the speaker says of the station is what the station has seen.
    let state = wait_counted(&bench, &station);
    assert!(state["connectedSince"].is_string() && state["lastError"].is_null(), "{state}");
    assert_eq!((&state["connections"], &state["messagesDropped"]), (&json!(1), &json!(0)), "{state}");
    let text = bench.speaker.cli(&["version"]);
    assert!(text.contains("noc at 10.0.0.2:11019: connected since "), "{text}");
}

/// Until as many messages have come over the last connection as the speaker says it has sent; it has had one.
#[track_caller]
fn wait_counted(bench: &Bench, station: &Station) -> Value {
    eventually(SOON, "as many messages have come as were sent", || {
        let state = bench.speaker.json(&["version"])["bmp"][0].clone();
        let log = station.process().log();
        let came = log.lines().filter(|line| !line.contains("\"kind\":\"connected\"")).count();
        if state["messagesSent"] == came { Ok(state) } else { Err(format!("{came} came; {state}")) }
    })
}

#[test]
fn a_station_is_told_why_sessions_end() {
    let (bench, mut station) = bench(Kind::Bird, ADVERTISEMENTS);
    bench.wait_established();
    wait_agrees(&bench, &station, "at first");
    let down = |station: &Station, what: &str, count: usize| -> Value {
        eventually(SOON, &format!("Peer Down: {what}"), || {
            let mut downs = station.known().downs;
            if downs.len() >= count { Ok(downs.remove(count - 1)) } else { Err(format!("{downs:?}")) }
        })
    };
    // 1, we sent a NOTIFICATION: Cease/Administrative Reset.
    bench.speaker.cli(&["clear", "router4"]);
    let told = down(&station, "clear", 1);
    assert_eq!((&told["reason"], &told["code"]), (&json!(1), &json!([6, 4])), "{told}");
    bench.wait_established();
    wait_agrees(&bench, &station, "after a reset");
    // 3, the peer did: BIRD's Cease at its end.
    bench.router.process().terminate();
    let told = [down(&station, "the router's end", 2), down(&station, "the router's end", 3)];
    for told in &told {
        assert_eq!((&told["reason"], &told["code"][0]), (&json!(3), &json!(6)), "{told}");
    }

    // Another connection begins with everything.
    station.process().kill();
    eventually(SOON, "the speaker says that the station is gone, and why", || {
        let state = bench.speaker.json(&["version"])["bmp"][0].clone();
        let told = state["connectedSince"].is_null() && state["lastError"]["text"].is_string();
        if told { Ok(()) } else { Err(state.to_string()) }
    });
    let text = bench.speaker.cli(&["version"]);
    assert!(text.contains("noc at 10.0.0.2:11019: not connected: "), "{text}");
    station = Station::start(&bench.router_node);
    eventually(SOON, "another connection", || {
        let known = station.known();
        if known.connections == 2 { Ok(()) } else { Err(format!("{known:?}")) }
    });
    let known = wait_agrees(&bench, &station, "over a new connection");
    assert_eq!(bench.speaker.json(&["version"])["bmp"][0]["connections"], 2);
    assert_eq!(known.up.len(), 1, "{known:?}");

    // The speaker's own end.
    bench.speaker.process().terminate();
    eventually(SOON, "a Termination", || {
        let known = station.known();
        if known.termination.is_some() { Ok(()) } else { Err(format!("{known:?}")) }
    });
}

/// `bmpServers` of an instance of Cilium's are stations as well, for as long as they stand there.
#[test]
fn stations_come_from_ciliums_kinds_too() {
    let nodes = nodes();
    let station = Station::start(&nodes.2);
    let cluster = |servers: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumBGPClusterConfig\nmetadata: {{name: fabric}}\nspec:\n  \
             bgpInstances:\n    - {{name: main, localASN: 64501, bmpServers: [{servers}]}}\n"
        )
    };
    let mut setup = Setup { peer_keys: "asn: 64502, receive: all".to_owned(), ..Setup::new(Kind::Frr) };
    let noc = "{name: noc, peerAddress: 10.0.0.2, monitoringPolicy: all, statisticsTimeout: 15}";
    setup.manifests.push(("fabric.yaml", cluster(noc)));
    let mut bench = setup.start_on(nodes);
    bench.wait_established();
    bench.router.announce(&[RouteSpec::new("192.0.2.0/25"), RouteSpec::new("2001:db8:8::/48")]);
    wait_agrees(&bench, &station, "as Cilium's kinds have it");
    let state = bench.speaker.json(&["version"])["bmp"][0].clone();
    assert_eq!(state["name"], "main/noc", "{state}");

    bench.speaker.write_manifest("fabric.yaml", &cluster(""));
    eventually(SOON, "the station is let go", || {
        let state = bench.speaker.json(&["version"])["bmp"].clone();
        if state == json!([]) { Ok(()) } else { Err(state.to_string()) }
    });
}

#[test]
fn the_speakers_end_ends_its_sessions_first() {
    let (bench, station) = bench(Kind::Bird, ADVERTISEMENTS);
    bench.wait_established();
    wait_agrees(&bench, &station, "at first");
    bench.speaker.process().terminate();
    let known = eventually(SOON, "a Termination", || {
        let known = station.known();
        if known.termination.is_some() { Ok(known) } else { Err(format!("{known:?}")) }
    });
    let told: Vec<_> =
        known.downs.iter().map(|down| (down["reason"].clone(), down["code"].clone())).collect();
    assert_eq!(told, [(json!(1), json!([6, 2])), (json!(1), json!([6, 2]))]);
    assert_eq!(known.up.keys().collect::<Vec<_>>(), ["local"]);
}

/// Resident memory of a process, in KiB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A station that stops reading while thousands of routes change again and again: peers are told as ever, memory stays, and the
/// station has the last state once it reads again, not every one before.
#[test]
fn a_station_that_does_not_read_holds_nobody_up() {
    const PREFIXES: usize = 4000;
    const ROUNDS: u32 = 25;
    let advertise = |med: u32| {
        let mut text = format!("  - name: many\n    attributes: {{med: {med}}}\n    prefixes:\n");
        for n in 0..PREFIXES {
            let _w = writeln!(text, "      - 10.{}.{}.0/24", 64 + n / 256, n % 256);
        }
        text
    };
    let nodes = nodes();
    // Some rounds fill what the kernel holds for a station that does not read.
    for node in [&nodes.1, &nodes.2] {
        node.sysctl("net/ipv4/tcp_rmem", "4096 16384 32768");
        node.sysctl("net/ipv4/tcp_wmem", "4096 16384 32768");
    }
    let (bench, station) = bench_on(nodes, Kind::Bird, &advertise(1));
    bench.wait_established();
    let table = |known: &Known, which, peer: &str| {
        let mut meds: BTreeMap<u64, usize> = BTreeMap::new();
        for route in known.tables.get(&(which, peer.to_owned())).into_iter().flatten() {
            *meds.entry(route.1["med"].as_u64().unwrap_or_default()).or_default() += 1;
        }
        meds
    };
    let wait = |med: u64| {
        eventually(SOON, &format!("the station has MED {med} of every route"), || {
            let known = station.known();
            let seen = [table(&known, "out", "10.0.0.2"), table(&known, "local", "local")];
            if seen.iter().all(|meds| meds.len() == 1 && meds.get(&med) == Some(&PREFIXES)) {
                return Ok(known);
            }
            Err(format!("{seen:?}"))
        })
    };
    wait(1);
    station.process().pause();
    let config = |med| {
        Setup {
            peer_keys: "asn: 64502, receive: all".to_owned(),
            advertisements: format!("{}{COLLECTOR}", advertise(med)),
            ..Setup::new(Kind::Bird)
        }
        .config()
    };
    let mut memory = 0;
    for med in 2..=ROUNDS {
        bench.speaker.write_config(&config(med));
        eventually(SOON, &format!("the peer has MED {med}"), || {
            let routes = bench.router.received(Bench::ours(Family::V4), Family::V4);
            let right = routes.iter().filter(|route| route.med == Some(med)).count();
            if right == PREFIXES { Ok(()) } else { Err(format!("{right} of {}", routes.len())) }
        });
        if med == 8 {
            memory = resident(bench.speaker.process().pid());
        }
    }
    let after = resident(bench.speaker.process().pid());
    assert!(after < memory + 8 * 1024, "{memory} KiB after some rounds, {after} KiB after all");
    station.process().resume();
    let known = wait(ROUNDS.into());
    // The kernel's buffers hold some rounds; what came behind them came once.
    let most = 2 * PREFIXES * usize::try_from(ROUNDS).unwrap();
    assert!(known.told < most / 2, "{} of {most} changes were told", known.told);
    assert_eq!(known.connections, 1);
}
