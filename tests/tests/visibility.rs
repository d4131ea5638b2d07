//! What the speaker writes for other people's tools, read by tools that share no code with it: MRT files by bgpdump and GoBGP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::daemon::{Family, Kind, RouteSpec, generation};
use tests::interop::{Bench, SESSIONS, SOON, Setup};
use tests::speaker::binary;
use tests::wait::eventually;

/// Runs `speaker rib … -o FORMAT` into a file.
fn write(bench: &Bench, table: &[&str], format: &str) -> PathBuf {
    let path = bench.speaker.dir().join(format!("{}.{format}", table[0]));
    let mut command = Command::new(binary());
    command.arg("rib").args(table).args(["-o", format, "--socket"]).arg(bench.speaker.dir().join("api.sock"));
    let ran = command.stdout(File::create(&path).unwrap()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    path
}

/// A route as bgpdump prints it and as our JSON says it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    peer: String,
    peer_as: String,
    prefix: String,
    path: String,
    origin: String,
    next_hop: String,
    preference: String,
    med: String,
    communities: String,
    large: String,
}

/// Every line that bgpdump prints, after its type and time; it fails on what it cannot read.
fn bgpdump(file: &PathBuf, kind: &str) -> Vec<Line> {
    let ran = Command::new("bgpdump").args(["-v", "-m", "-l"]).arg(file).output().unwrap();
    let (text, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    for word in ["rror", "warn", "nknown", "alformed"] {
        assert!(!said.contains(word) && !text.contains(word), "{said}\n{text}");
    }
    let mut lines: Vec<Line> = text
        .lines()
        .map(|line| {
            let mut cells: Vec<&str> = line.split('|').collect();
            assert_eq!(cells[0], kind, "{line}");
            if kind.ends_with("_AP") {
                let id = cells.remove(6);
                assert!(id.parse::<u32>().is_ok(), "a path identifier: {line}");
            }
            let cell = |at: usize| cells[at].to_owned();
            Line {
                peer: cell(3),
                peer_as: cell(4),
                prefix: cell(5),
                path: cell(6),
                origin: cell(7),
                next_hop: cell(8),
                preference: cell(9),
                med: cell(10),
                communities: cell(11),
                large: cell(12),
            }
        })
        .collect();
    lines.sort();
    lines
}

/// The rows of `-o json` in the same form; `peer` is whose routes they are where they have none.
fn rows(bench: &Bench, table: &[&str], peer: (&str, &str)) -> Vec<Line> {
    let args: Vec<&str> = ["rib"].iter().chain(table).copied().collect();
    let number = |value: &Value| value.as_u64().unwrap_or_default().to_string();
    let list = |value: &Value| {
        let items = value.as_array().unwrap().iter().map(|item| item.as_str().unwrap());
        items.collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<Line> = bench
        .speaker
        .json(&args)
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let v6 = row["family"] == "ipv6-unicast";
            let session = row["peer"].as_str().map(|name| bench.speaker.peer(name));
            let address = session.as_ref().and_then(|session| session["address"].as_str());
            let path: Vec<String> = row["asPath"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|segment| segment["asns"].as_array().unwrap())
                .map(ToString::to_string)
                .collect();
            Line {
                peer: address.unwrap_or(peer.0).to_owned(),
                peer_as: session.map_or(peer.1.to_owned(), |_| row["peerAs"].to_string()),
                prefix: row["prefix"].as_str().unwrap().to_owned(),
                path: path.join(" "),
                origin: row["origin"].as_str().unwrap_or("igp").to_uppercase(),
                next_hop: row["nextHop"].as_str().unwrap_or(if v6 { "::" } else { "0.0.0.0" }).to_owned(),
                preference: number(&row["localPreference"]),
                med: number(&row["med"]),
                communities: list(&row["communities"]),
                large: list(&row["largeCommunities"]),
            }
        })
        .collect();
    lines.sort();
    lines
}

fn bench(kind: Kind, keys: &str) -> Bench {
    let setup = Setup {
        router_add_path: keys.contains("addPath"),
        peer_keys: format!("asn: 64502, receive: all, {keys}"),
        ..Setup::new(kind)
    };
    let mut bench = setup.establish();
    bench.wait_same_tables();
    bench.router.announce(&[RouteSpec::new("192.0.2.0/25"), RouteSpec::new("2001:db8:8::/48")]);
    for ((name, _), prefix) in SESSIONS.into_iter().zip(["192.0.2.0/25", "2001:db8:8::/48"]) {
        eventually(SOON, &format!("{name} brings {prefix}"), || {
            let have = bench.speaker.received(name);
            if have.iter().any(|one| one == prefix) { Ok(()) } else { Err(format!("{have:?}")) }
        });
    }
    bench
}

/// `suffix` is what bgpdump adds to a type whose NLRI have path identifiers.
fn hold_to_json(bench: &Bench, suffix: &str) {
    for table in [&["advertised"][..], &["received"], &["advertised", "--family", "ipv6-unicast"]] {
        let expected = rows(bench, table, ("", ""));
        assert!(expected.len() >= 2, "{expected:?}");
        let dumped = bgpdump(&write(bench, table, "mrt"), &format!("TABLE_DUMP2{suffix}"));
        assert_eq!(dumped, expected, "{table:?}");
        let (mut kind, mut expected) = ("BGP4MP_LOCAL", expected);
        if table[0] == "received" {
            kind = "BGP4MP";
        } else if suffix == "_AP" {
            // bgpdump 1.6.2 reads MESSAGE_AS4_LOCAL_ADDPATH (RFC 8050 §3), and shows it as a message of the local side.
            kind = "BGP4MP";
            for line in &mut expected {
                let family = if line.peer.contains(':') { Family::V6 } else { Family::V4 };
                line.peer = Bench::ours(family).to_string();
                "64501".clone_into(&mut line.peer_as);
            }
            expected.sort();
        }
        let dumped = bgpdump(&write(bench, table, "mrt-updates"), &format!("{kind}{suffix}"));
        assert_eq!(dumped, expected, "{table:?}");
    }
}

#[test]
fn mrt_files_say_to_bgpdump_what_json_says() {
    let bench = bench(Kind::Bird, "");
    hold_to_json(&bench, "");
    let expected = rows(&bench, &["local"], ("0.0.0.0", "64501"));
    assert_eq!(expected.len(), 4, "{expected:?}");
    assert_eq!(bgpdump(&write(&bench, &["local"], "mrt"), "TABLE_DUMP2"), expected);

    let refused = bench.speaker.try_cli(&["rib", "local", "-o", "mrt-updates"]).unwrap_err();
    assert!(refused.contains("-o mrt"), "{refused}");
    let socket = bench.speaker.dir().join("api.sock");
    let typed = format!("{} rib advertised -o mrt --socket {}", binary().display(), socket.display());
    let shown = Command::new("script").args(["-qec", &typed, "/dev/null"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("which a terminal cannot show"), "{shown}");
}

#[test]
fn mrt_files_have_path_identifiers_where_the_session_has() {
    let bench = bench(Kind::Bird, "addPath: both");
    hold_to_json(&bench, "_AP");
}

#[test]
fn attributes_that_are_not_kept_are_not_made_up() {
    let bench = Setup::new(Kind::Bird).establish();
    let refused = bench.speaker.try_cli(&["rib", "received", "-o", "mrt"]).unwrap_err();
    assert!(refused.contains("router4") && refused.contains("receive: all"), "{refused}");
}

/// A real daemon takes the table over.
#[test]
fn gobgp_takes_a_table_as_its_own() {
    let bench = bench(Kind::GoBgp, "");
    let file = write(&bench, &["advertised", "--peer", "router4"], "mrt");
    let table = bench.speaker.advertised("router4", Family::V4);
    assert!(!table.is_empty());
    // The routes that it has from us go, so that what is left is what the file said.
    bench.speaker.cli(&["shutdown", "router4"]);
    bench.wait_prefixes(&["2001:db8:1::/112", "2001:db8:1::80/128"]);
    let file = file.to_string_lossy().into_owned();
    eventually(SOON, "gobgp has the table", || {
        generation::exec(&bench.router_node, &["gobgp", "mrt", "inject", "global", &file]);
        let text = generation::exec(&bench.router_node, &["gobgp", "-j", "global", "rib", "-a", "ipv4"]);
        let rib: Value = serde_json::from_str(&text).unwrap_or_default();
        for route in &table {
            let Some(paths) = rib[route.prefix.to_string()].as_array() else { return Err(text) };
            let attributes = paths[0]["attrs"].as_array().unwrap();
            let value = |code: u64, key: &str| {
                let found = attributes.iter().find(|attribute| attribute["type"] == code);
                found.map(|attribute| attribute[key].clone()).unwrap_or_default()
            };
            assert_eq!(value(3, "nexthop"), route.next_hops[0].to_string(), "{text}");
            assert_eq!(value(4, "metric"), Value::from(route.med), "{text}");
            let path: Vec<u32> = serde_json::from_value(value(2, "as_paths")[0]["asns"].clone()).unwrap();
            assert_eq!(path, route.as_path, "{text}");
            let communities = value(8, "communities").as_array().map_or(0, Vec::len);
            assert_eq!(communities, route.communities.len(), "{text}");
        }
        Ok(())
    });
    assert!(fs::metadata(&file).unwrap().len() > 100);
}
