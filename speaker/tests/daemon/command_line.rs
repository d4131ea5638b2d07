//! Every reader in every format, and the exit codes of design §6.

use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{FABRIC, LOCAL, Pair, Scene, endpoint, pool, service};

fn pair() -> Pair {
    let attributes = "    attributes: {communities: [\"64501:100\", no-export], largeCommunities: [\"64501:1:2\"], med: 50, prepend: 2}\n";
    let pair = Pair::with("", ", description: rack 1 left", &format!("{FABRIC}{attributes}"), |scene| {
        scene.write("m/pool.yaml", &pool("public", "203.0.113.0/24"));
        scene.write("m/web.yaml", &(service("web", LOCAL) + &endpoint("web", "n1", true)));
        scene.write("m/api.yaml", &service("api", LOCAL));
    });
    pair.router.receives(&["203.0.113.0/24", "203.0.113.1/32"]);
    pair
}

#[test]
fn where_the_daemon_is_may_stand_before_the_command() {
    let pair = pair();
    let before = pair.scene.run(&["--socket", "node.sock", "-o", "json", "rib", "advertised"]);
    assert_eq!(before.code, 0, "{before:?}");
    let behind = pair.node.json(&["rib", "advertised"]);
    assert_eq!(serde_json::from_str::<Value>(&before.out).unwrap(), behind);
    let ran = pair.scene.run(&["--socket", "node.sock", "check", "--config", "node.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("this command takes no --socket"), "{ran:?}");
}

#[test]
fn every_reader_prints_every_format_and_its_exit_code_says_how_it_went() {
    let pair = pair();
    let node = &pair.node;
    let readers: &[(&[&str], i32)] = &[
        (&["peers"], 0),
        (&["peers", "tor"], 0),
        (&["neighbors"], 0),
        (&["neighbors", "tor"], 0),
        (&["rib", "advertised"], 0),
        (&["rib", "local"], 0),
        (&["rib", "received"], 0),
        (&["pools"], 0),
        (&["services"], 0),
        (&["explain", "203.0.113.0/24"], 0),
        (&["explain", "shop/web"], 0),
        (&["explain", "shop/api"], 4),
        (&["version"], 0),
        (&["rib", "advertised", "203.0.113.99"], 3),
    ];
    for (arguments, code) in readers {
        for format in ["table", "wide", "json", "yaml"] {
            let ran = node.speaker(&[*arguments, &["-o", format]].concat());
            assert_eq!(ran.code, *code, "{arguments:?} -o {format}: {ran:?}");
            assert!(!ran.out.is_empty() && ran.err.is_empty(), "{arguments:?} -o {format}: {ran:?}");
            assert!(!ran.out.contains('\u{1b}'), "{arguments:?} -o {format} has colours");
            match format {
                "json" => drop(serde_json::from_str::<Value>(&ran.out).unwrap()),
                "yaml" => drop(serde_yaml::from_str::<Value>(&ran.out).unwrap()),
                _ => assert!(ran.out.lines().all(|line| line == line.trim_end()), "{ran:?}"),
            }
        }
    }
    for (arguments, code, words) in [
        (["peers", "nobody"], 3, "no peer \"nobody\" on this node: there are tor"),
        (["explain", "192.0.2.1"], 3, "nothing here has to do with"),
        (["rib", "elsewhere"], 2, "unrecognized subcommand"),
        (["clear", "nobody"], 3, "no peer \"nobody\""),
        (["shutdown", "nobody"], 3, "no peer \"nobody\""),
        (["no-shutdown", "nobody"], 3, "no peer \"nobody\""),
        (["peers", "--sockets"], 2, "unexpected argument"),
    ] {
        let ran = node.speaker(&arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(words) && ran.out.is_empty(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn rib_advertised_has_every_key_of_the_design_and_filters() {
    let pair = pair();
    let rows = pair.node.json(&["rib", "advertised"]);
    let row = &rows[0];
    let since = row["since"].as_str().unwrap();
    assert!(since.len() == 20 && since.ends_with('Z'), "{since}");
    assert_eq!(
        *row,
        json!({
            "peer": "tor", "peerAs": 64500, "family": "ipv4-unicast", "prefix": "203.0.113.0/24",
            "nextHop": "127.0.0.2", "linkLocalNextHop": null, "origin": "igp",
            "asPath": [{"kind": "sequence", "asns": [64501, 64501, 64501]}], "med": 50,
            "localPreference": null, "communities": ["64501:100", "no-export"],
            "largeCommunities": ["64501:1:2"], "extendedCommunities": [],
            "source": {"kind": "pool", "namespace": null, "name": "public"},
            "sources": [{"kind": "pool", "namespace": null, "name": "public"}], "since": since,
        })
    );
    // In the order of the design, for people.
    let text = pair.node.speaker(&["rib", "advertised", "-o", "json"]).out;
    let order: Vec<usize> =
        ["\"peer\"", "\"peerAs\"", "\"family\"", "\"prefix\"", "\"nextHop\"", "\"source\"", "\"since\""]
            .iter()
            .map(|key| text.find(key).unwrap())
            .collect();
    assert!(order.is_sorted(), "{text}");
    let prefixes = |arguments: &[&str]| -> Vec<String> {
        let rows = pair.node.json(&[&["rib", "advertised"], arguments].concat());
        rows.as_array().unwrap().iter().map(|row| row["prefix"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(prefixes(&["203.0.113.0/24"]), ["203.0.113.0/24"]);
    assert_eq!(prefixes(&["203.0.113.0/24", "longer"]), ["203.0.113.0/24", "203.0.113.1/32"]);
    assert_eq!(prefixes(&["203.0.113.1"]), ["203.0.113.1/32"]);
    assert_eq!(prefixes(&["--family", "ipv6-unicast"]), [""; 0]);
    assert_eq!(prefixes(&["--family", "ipv4-unicast", "--peer", "tor"]).len(), 2);
    let unknown = pair.node.speaker(&["rib", "advertised", "--peer", "nobody"]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
    let family = pair.node.speaker(&["rib", "advertised", "--family", "ipv5"]);
    assert_eq!(family.code, 2);
    assert!(family.err.contains("use ipv4-unicast or ipv6-unicast"), "{family:?}");

    // The other side saw the same.
    let heard = pair.router.route("203.0.113.0/24");
    for key in ["prefix", "nextHop", "origin", "asPath", "med", "communities", "largeCommunities"] {
        assert_eq!(heard[key], row[key], "{key}");
    }
    assert_eq!((&heard["peer"], &heard["peerAs"]), (&json!("node"), &json!(64501)));
}

#[test]
fn peers_read_like_a_routers() {
    let pair = pair();
    let table = pair.node.speaker(&["peers"]).out;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "BGP router identifier 10.255.0.2, local AS number 64501");
    let head: Vec<&str> = lines[2].split_whitespace().collect();
    let expected = "Neighbor AS MsgRcvd MsgSent InQ OutQ Up/Down State/PfxRcd PfxSnt";
    assert_eq!(head, expected.split(' ').collect::<Vec<_>>());
    let row: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(row[0], format!("tor(127.0.0.1:{})", pair.port));
    assert_eq!((row[1], row[7], row[8]), ("64500", "0", "2"), "{row:?}");
    assert!(row[6].starts_with("00:0"), "{row:?}");

    let full = pair.node.speaker(&["peers", "tor"]).out;
    for text in [
        "remote AS 64500, local AS 64501, external link",
        "Description: rack 1 left",
        "BGP state = Established",
        "Remote router ID 10.255.0.1",
        "Local address 127.0.0.2:",
        "Hold time 90 s, keepalive 30 s",
        "TTL: directly connected; TCP MD5: off",
        "Established 1 time(s)",
        "four-octet AS (65)           64501                       64500",
        "ipv4-unicast: 2 advertised, 0 received",
    ] {
        assert!(full.contains(text), "{text:?} is missing in\n{full}");
    }
}

#[test]
fn without_a_daemon_readers_say_where_they_looked() {
    let scene = Scene::new();
    for arguments in [&["peers"][..], &["rib", "local"], &["explain", "x/y"], &["clear", "all"]] {
        let ran = scene.run(&[arguments, &["--socket", "nobody.sock"]].concat());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("no daemon answers on nobody.sock"), "{ran:?}");
        assert!(ran.err.contains("--socket"), "{ran:?}");
    }
    let version = scene.run(&["version", "--socket", "nobody.sock"]);
    assert_eq!(version.code, 0, "{version:?}");
    assert!(
        version.out.starts_with("speaker ") && version.out.contains("none on nobody.sock"),
        "{version:?}"
    );
    let watch = scene.run(&["watch", "--socket", "nobody.sock"]);
    assert_eq!(watch.code, 1);
    assert!(watch.err.contains("needs a terminal"), "{watch:?}");
    assert_eq!(scene.run(&[]).code, 2);
    let crds = scene.run(&["crds"]);
    assert_eq!(crds.code, 0);
    assert!(crds.out.contains("ciliumloadbalancerippools.cilium.io"));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let pair = pair();
    for arguments in [
        &["rib", "local", "--socket", "node.sock"][..],
        &["peers", "--socket", "node.sock"],
        &["version", "--socket", "node.sock"],
        &["clear", "tor", "soft", "--socket", "node.sock"],
        &["crds"],
        &["check", "--config", "node.yaml"],
        &["--help"],
        &["demo"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_speaker"))
            .args(arguments)
            .current_dir(pair.scene.path("."))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Nobody reads from here on.
        drop(child.stdout.take());
        let status = child.wait().unwrap();
        let mut complaint = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert_eq!((status.code(), complaint.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn errors_that_nobody_reads_are_still_told_by_the_exit_code() {
    let scene = Scene::new();
    for (arguments, code) in
        [(&["peers", "--socket", "nobody.sock"][..], 1), (&["run", "--config", "none.yaml"], 1)]
    {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let status = Command::new(env!("CARGO_BIN_EXE_speaker"))
            .args(arguments)
            .current_dir(scene.path("."))
            .stderr(write)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn the_demo_tells_its_story_and_ends_well() {
    let ran = Scene::new().run(&["demo"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for text in ["203.0.113.0/24", "203.0.113.1/32", "Gone from the router", "Done:"] {
        assert!(ran.out.contains(text), "{text:?} is missing in {ran:?}");
    }
    assert_eq!(ran.err, "");
}
