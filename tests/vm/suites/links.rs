//! Interfaces that the kernel of a container host may lack, and links that lose packets: VLAN on a bond, dummy, netem.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use tests::daemon::Kind;
use tests::interop::{Bench, SESSIONS, Setup, manifests};
use tests::lab::{Lab, Node};
use tests::wait::{always, eventually};

fn all() -> Vec<&'static str> {
    manifests::POOL_PREFIXES.into_iter().chain(manifests::SERVICE_ROUTES).collect()
}

fn ips(node: &Node, lines: &[&str]) {
    for line in lines {
        node.ip(&line.split_whitespace().collect::<Vec<_>>());
    }
}

/// How often each session has come up.
fn begun(bench: &Bench) -> [Option<u64>; 2] {
    SESSIONS.map(|(name, _)| bench.speaker.peer(name)["establishedCount"].as_u64())
}

/// VLAN 100 on a bond of two links. One of them goes down: the sessions stay. The VLAN goes down: so do they, at once.
#[test]
fn vlan_on_a_bond() {
    let lab = Lab::new();
    let (left, right) = (lab.node("left"), lab.node("right"));
    for dev in ["eth0", "eth1"] {
        lab.link(&left, dev, &right, dev);
    }
    for (node, n) in [(&left, 1), (&right, 2)] {
        ips(
            node,
            &[
                "link add bond0 type bond mode active-backup miimon 50",
                "link set eth0 down",
                "link set eth1 down",
                "link set eth0 master bond0",
                "link set eth1 master bond0",
                "link set bond0 up",
                "link add link bond0 name bond0.100 type vlan id 100",
                "link set bond0.100 up",
            ],
        );
        node.address("bond0.100", &format!("10.0.0.{n}/24"));
        node.address("bond0.100", &format!("fd00::{n}/64"));
    }
    let bench = Setup::new(Kind::Bird).start_on((lab, left.clone(), right.clone()));
    bench.wait_established();
    bench.wait_prefixes(&all());
    let before = begun(&bench);
    ips(&left, &["link set eth0 down"]);
    always(Duration::from_secs(12), "the sessions live on the other link", || {
        let now = begun(&bench);
        if now.iter().zip(&before).all(|(now, before)| now.is_none() || now == before) {
            Ok(())
        } else {
            Err(format!("{before:?}, now {now:?}"))
        }
    });
    bench.wait_established();
    ips(&left, &["link set bond0.100 down"]);
    // The hold time is 9 s.
    for (name, _) in SESSIONS {
        eventually(Duration::from_secs(3), "the session goes down with its interface", || {
            let peer = bench.speaker.peer(name);
            if peer["state"] == "Established" { Err(peer.to_string()) } else { Ok(()) }
        });
    }
}

/// Sessions between the addresses of dummy interfaces, as loopbacks are used.
#[test]
fn from_a_dummy_interface() {
    let lab = Lab::new();
    let (left, right) = (lab.node("left"), lab.node("right"));
    lab.link(&left, "eth0", &right, "eth0");
    for (node, n, other) in [(&left, 1, 2), (&right, 2, 1)] {
        ips(node, &["link add dummy0 type dummy", "link set dummy0 up"]);
        for (dev, address) in [
            ("eth0", format!("10.9.0.{n}/24")),
            ("eth0", format!("fd09::{n}/64")),
            ("dummy0", format!("10.0.0.{n}/32")),
            ("dummy0", format!("fd00::{n}/128")),
        ] {
            node.address(dev, &address);
        }
        ips(
            node,
            &[
                &format!("route add 10.0.0.{other}/32 via 10.9.0.{other}"),
                &format!("route add fd00::{other}/128 via fd09::{other}"),
            ],
        );
    }
    let setup = Setup {
        router_multihop: Some(2),
        peer_keys: "asn: 64502, multihop: {ttl: 2}, sourceInterface: dummy0".to_owned(),
        ..Setup::new(Kind::Bird)
    };
    let bench = setup.start_on((lab, left, right));
    bench.wait_established();
    bench.wait_prefixes(&all());
}

/// A tenth of all packets is lost, each way, and the rest is late and out of order: the sessions stay.
#[test]
fn a_link_that_loses_packets() {
    let nodes = tests::pair::nodes();
    for node in [&nodes.1, &nodes.2] {
        node.exec(&[
            "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "loss", "10%", "delay", "20ms", "20ms",
        ]);
    }
    let bench = Setup::new(Kind::Bird).start_on(nodes);
    bench.wait_established();
    bench.wait_prefixes(&all());
    let before = begun(&bench);
    always(Duration::from_secs(30), "the sessions stay", || {
        let now = begun(&bench);
        if now.iter().zip(&before).all(|(now, before)| now.is_none() || now == before) {
            Ok(())
        } else {
            Err(format!("{before:?}, now {now:?}"))
        }
    });
    bench.wait_established();
}
