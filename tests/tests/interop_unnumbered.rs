//! Peers that are named by an interface, against FRR's `neighbor eth0 interface` and BIRD.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::TcpListener;
use std::time::Duration;

use tests::daemon::{Family, Router as _};
use tests::interop::unnumbered::{
    LINK, Nodes, PREFIXES, SERVED, SOON, bird, config, connects, frr, kernel_route, link_local, neighbor,
    speaker, wait_up,
};
use tests::pcap::Capture;
use tests::wait::{always, eventually};

/// Both sides find each other, exchange both families over link-local next hops, and the host behind the router reaches
/// what is announced.
#[test]
fn frr_finds_us_and_routes_both_families_over_link_local_next_hops() {
    let nodes = Nodes::new();
    let (ours, theirs) = (link_local(&nodes.node, LINK), link_local(&nodes.router, LINK));
    let frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, "");
    wait_up(&speaker, &frr);

    let peer = speaker.peer("tor");
    assert_eq!(peer["address"], LINK, "{peer}");
    assert_eq!(peer["neighborAddress"], format!("{theirs}%{LINK}"), "{peer}");
    let table = speaker.cli(&["peers"]);
    assert!(table.contains(&format!("tor({LINK})")), "{table}");
    let full = speaker.cli(&["peers", "tor"]);
    assert!(full.contains(&format!("BGP neighbor tor at {LINK} ({theirs}%{LINK})")), "{full}");
    let rows = speaker.json(&["rib", "advertised", "--peer", "tor"]);
    let rows = rows.as_array().unwrap();
    let told: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["prefix"].as_str().unwrap(), row["nextHop"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        PREFIXES.map(|prefix| (prefix, ours.to_string())).each_ref().map(|(p, h)| (*p, h.as_str()))
    );

    for (prefix, family) in PREFIXES.into_iter().zip([Family::V4, Family::V6]) {
        let seen = frr.table(family);
        let route = seen.iter().find(|(_, _, route)| route.prefix.to_string() == prefix).unwrap();
        assert_eq!(route.2.next_hops, [std::net::IpAddr::V6(ours)], "{route:?}");
        println!("FRR's kernel: {}", kernel_route(&nodes.router, prefix).trim());
    }
    // The other direction, by RFC 8950 too.
    eventually(SOON, "FRR's two networks", || {
        let received = speaker.received("tor");
        let networks = ["198.51.100.0/24", "2001:db8:51::/48"];
        if networks.iter().all(|network| received.iter().any(|seen| seen == network)) {
            Ok(())
        } else {
            Err(format!("{received:?}"))
        }
    });

    nodes.answer_by(theirs);
    nodes.wait_served();
    let listeners: Vec<TcpListener> = nodes.node.inside(|| {
        SERVED
            .map(|address| TcpListener::bind((address.parse::<std::net::IpAddr>().unwrap(), 8080)).unwrap())
            .into()
    });
    for address in SERVED {
        eventually(SOON, &format!("TCP to {address}"), || {
            if connects(&nodes.host, address, 8080) { Ok(()) } else { Err("not connected".to_owned()) }
        });
    }
    drop(listeners);
}

/// What is said on the link: advertisements with lifetime 0 and without a prefix, hop limit 255, from the link-local
/// address; nothing on an interface that no peer names.
#[test]
fn advertisements_say_nothing_that_a_host_would_obey() {
    let nodes = Nodes::new();
    // Another interface, which no peer names.
    nodes.lab.link(&nodes.node, "eth5", &nodes.host, "eth5");
    let ours = link_local(&nodes.node, LINK);
    let link = Capture::of(&nodes.lab, &nodes.router, LINK, "icmp6 and ip6[40] == 134");
    let other = Capture::of(&nodes.lab, &nodes.host, "eth5", "icmp6 and ip6[40] == 134");
    let _speaker = speaker(&nodes.node, "");
    let packets = eventually(SOON, "three advertisements", || {
        let packets = link.frames();
        if packets.len() >= 3 { Ok(packets) } else { Err(format!("{} so far", packets.len())) }
    });
    for packet in &packets {
        let ip = &packet[14..];
        assert_eq!((ip[6], ip[7]), (58, 255), "ICMPv6 with hop limit 255");
        assert_eq!(ip[8..24], ours.octets(), "from the link-local address");
        let message = &ip[40..];
        assert_eq!(message[..2], [134, 0]);
        assert_eq!(message[4..16], [0; 12], "no hop limit, no flags, no lifetime, no times");
        assert_eq!(
            (message[16], message[17], message.len()),
            (1, 1, 24),
            "its Ethernet address, and no prefix"
        );
    }
    assert_eq!(other.frames().len(), 0, "nothing goes out where no peer is");
}

#[test]
fn frr_restarted_comes_back() {
    let nodes = Nodes::new();
    let mut frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, "");
    wait_up(&speaker, &frr);
    frr.process().kill();
    eventually(SOON, "the session is down", || {
        let state = speaker.peer("tor")["state"].clone();
        if state == "Established" { Err(state.to_string()) } else { Ok(()) }
    });
    frr.start_again();
    wait_up(&speaker, &frr);
    for prefix in PREFIXES {
        kernel_route(&nodes.router, prefix);
    }
}

#[test]
fn an_interface_that_goes_down_ends_the_session_at_once_and_brings_it_back() {
    let nodes = Nodes::new();
    let frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, "");
    wait_up(&speaker, &frr);
    nodes.node.ip(&["link", "set", LINK, "down"]);
    eventually(Duration::from_secs(2), "the session is down before its hold time", || {
        let peer = speaker.peer("tor");
        let text = peer["lastError"]["text"].as_str().unwrap_or_default().to_owned();
        if text.contains("interface eth0 went down") { Ok(()) } else { Err(peer.to_string()) }
    });
    eventually(SOON, "why is told", || {
        let table = speaker.try_cli(&["peers"])?;
        if table.contains("eth0 is down") || table.contains("eth0 went down") { Ok(()) } else { Err(table) }
    });
    nodes.node.ip(&["link", "set", LINK, "up"]);
    wait_up(&speaker, &frr);
    assert_eq!(speaker.peer("tor")["establishedCount"], 2, "the same peer as before");
}

#[test]
fn a_router_with_another_link_local_address_is_followed() {
    let nodes = Nodes::new();
    let frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, "");
    wait_up(&speaker, &frr);
    let old = link_local(&nodes.router, LINK);
    nodes.router.ip(&["-6", "address", "add", "fe80::77/64", "dev", LINK]);
    nodes.router.ip(&["-6", "address", "del", &format!("{old}/64"), "dev", LINK]);
    eventually(SOON, "the neighbor is fe80::77", || {
        let peer = speaker.peer("tor");
        let there = peer["neighborAddress"] == format!("fe80::77%{LINK}") && peer["state"] == "Established";
        if there {
            Ok(())
        } else {
            Err(format!("{} {} {}", peer["state"], peer["neighborAddress"], peer["lastError"]))
        }
    });
    wait_up(&speaker, &frr);
}

/// An interface that is not there at the start, comes, is renamed, and comes back.
#[test]
fn the_interface_may_come_late_and_have_another_name_for_a_while() {
    let nodes = Nodes::new();
    nodes.node.ip(&["link", "set", LINK, "down"]);
    nodes.node.ip(&["link", "set", LINK, "name", "later"]);
    let frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, "");
    let missing = || {
        eventually(SOON, "what is missing is said", || {
            let table = speaker.try_cli(&["peers"])?;
            if table.contains("there is no interface eth0") { Ok(()) } else { Err(table) }
        });
    };
    missing();
    let named = |old: &str, new: &str| {
        nodes.node.ip(&["link", "set", old, "down"]);
        nodes.node.ip(&["link", "set", old, "name", new]);
        nodes.node.ip(&["link", "set", new, "up"]);
    };
    named("later", LINK);
    wait_up(&speaker, &frr);
    named(LINK, "later");
    missing();
    named("later", LINK);
    wait_up(&speaker, &frr);
    // Another interface with the same name, and another number.
    nodes.node.ip(&["link", "delete", LINK]);
    missing();
    nodes.lab.link(&nodes.node, LINK, &nodes.router, LINK);
    wait_up(&speaker, &frr);
}

/// The speaker waits: FRR has to have heard its advertisement, and dials. Then the other way round.
#[test]
fn one_side_that_waits_is_found_by_the_other() {
    for (keys, more) in [(", passive: true", ""), ("", " neighbor eth0 passive\n")] {
        let nodes = Nodes::new();
        let frr = frr(&nodes.router, more, "");
        let speaker = speaker(&nodes.node, keys);
        wait_up(&speaker, &frr);
        let local = speaker.peer("tor")["localAddress"].as_str().unwrap().to_owned();
        assert_eq!(local.ends_with(":179"), !keys.is_empty(), "who dialled: {local}");
    }
}

#[test]
fn bfd_and_a_key_and_ttl_security_work_over_it() {
    let nodes = Nodes::new();
    std::fs::create_dir_all(nodes.node.dir().join("speaker")).unwrap();
    std::fs::write(nodes.node.dir().join("speaker/tor.key"), "swordfish\n").unwrap();
    let more = format!(
        " neighbor {LINK} password swordfish\n neighbor {LINK} ttl-security hops 1\n neighbor {LINK} bfd\n neighbor {LINK} bfd profile lab\n"
    );
    let bfd =
        "bfd\n profile lab\n  detect-multiplier 4\n  transmit-interval 300\n  receive-interval 300\n exit\n";
    let frr = frr(&nodes.router, &more, bfd);
    let keys = ", passwordFile: tor.key, ttlSecurity: {hops: 1}, bfd: {transmit: 300ms, receive: 300ms, detectMultiplier: 4}";
    let speaker = speaker(&nodes.node, keys);
    wait_up(&speaker, &frr);
    eventually(SOON, "BFD is up", || {
        let bfd = speaker.peer("tor")["bfd"].clone();
        if bfd["state"] == "Up" && bfd["multihop"] == false { Ok(()) } else { Err(bfd.to_string()) }
    });
    // A router that hangs is found by BFD, long before the hold time.
    frr.bfdd().pause();
    eventually(Duration::from_secs(6), "BGP is down", || {
        let peer = speaker.peer("tor");
        if peer["state"] == "Established" { Err(peer["bfd"].to_string()) } else { Ok(()) }
    });
    frr.bfdd().resume();
    wait_up(&speaker, &frr);
    // A wrong key: no session.
    std::fs::write(nodes.node.dir().join("speaker/tor.key"), "sardine\n").unwrap();
    eventually(SOON, "the session with the old key is over", || {
        let peer = speaker.peer("tor");
        if peer["state"] == "Established" { Err(peer["state"].to_string()) } else { Ok(()) }
    });
    always(Duration::from_secs(5), "no session with a wrong key", || {
        let peer = speaker.peer("tor");
        if peer["state"] == "Established" { Err(peer.to_string()) } else { Ok(()) }
    });
}

/// Only a link-local source with hop limit 255 is believed, and a second router is a condition that names both.
#[test]
fn a_second_router_is_told_and_a_forged_one_is_not_believed() {
    let nodes = Nodes::new();
    // In place of the link a switch, with the host on it too.
    nodes.node.ip(&["link", "delete", LINK]);
    nodes.host.ip(&["link", "delete", LINK]);
    let switch = nodes.lab.switch("switch");
    for node in [&nodes.node, &nodes.router, &nodes.host] {
        nodes.lab.plug(&switch, node, LINK);
    }
    let frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, "");
    wait_up(&speaker, &frr);
    let (theirs, other) = (link_local(&nodes.router, LINK), link_local(&nodes.host, LINK));
    nodes.advertise_from(&nodes.host, 254);
    always(Duration::from_secs(3), "what came over a router is nobody", || {
        let note = speaker.peer("tor")["lastNote"]["text"].as_str().unwrap_or_default().to_owned();
        if note.contains("more than one router") { Err(note) } else { Ok(()) }
    });
    nodes.advertise_from(&nodes.host, 255);
    let note = eventually(SOON, "the second router is told of", || {
        let note = speaker.peer("tor")["lastNote"]["text"].as_str().unwrap_or_default().to_owned();
        if note.contains("more than one router") { Ok(note) } else { Err(note) }
    });
    assert!(note.contains(&theirs.to_string()) && note.contains(&other.to_string()), "{note}");
    assert_eq!(speaker.peer("tor")["state"], "Established", "and the session stays");
    assert_eq!(speaker.peer("tor")["establishedCount"], 1);
}

#[test]
fn without_the_right_to_raw_sockets_a_condition_says_so_and_all_else_works() {
    let nodes = Nodes::new();
    let config = config("").replace("api.sock}", "api.sock, http: \"127.0.0.1:9179\"}");
    let speaker = tests::speaker::Speaker::start_without(&nodes.node, &config, &[], "net_raw");
    eventually(SOON, "the missing right is named", || {
        let table = speaker.try_cli(&["peers"])?;
        if table.contains("CAP_NET_RAW") { Ok(()) } else { Err(table) }
    });
    let log = speaker.process().log();
    assert_eq!(
        log.matches("CAP_NET_RAW").count(),
        2,
        "told by the interface's task and by the hub, once each: {log}"
    );
    assert!(speaker.process().running());
    // What is tried again is counted, by component.
    let count = |component: &str| {
        speaker.metric(&format!("speaker_reconcile_errors_total{{component=\"{component}\"}}"))
    };
    assert!(count("link") >= 1.0, "{}", count("link"));
    assert_eq!(count("kubernetes"), 0.0);
}

/// Every port of a fabric may have the same link-local address: peers are told apart by their links.
#[test]
fn routers_with_one_link_local_address_on_two_links_are_two_peers() {
    let nodes = Nodes::new();
    let other = nodes.lab.node("router2");
    nodes.lab.link(&nodes.node, "eth1", &other, LINK);
    for router in [&nodes.router, &other] {
        let own = link_local(router, LINK);
        router.ip(&["-6", "address", "add", "fe80::1/64", "dev", LINK]);
        router.ip(&["-6", "address", "del", &format!("{own}/64"), "dev", LINK]);
    }
    let routers = [frr(&nodes.router, "", ""), frr(&other, "", "")];
    let config = config("").replace(
        "peers:\n",
        "peers:\n  - {name: other, interface: eth1, asn: external, passive: true, timers: {hold: 9s, keepalive: 3s}}\n",
    );
    let speaker = tests::speaker::Speaker::start(&nodes.node, &config, &[]);
    for (name, interface) in [("tor", LINK), ("other", "eth1")] {
        speaker.wait_state(name, "Established", SOON);
        let peer = speaker.peer(name);
        assert_eq!(peer["neighborAddress"], format!("fe80::1%{interface}"), "{peer}");
    }
    for router in &routers {
        wait_up(&speaker, router);
    }
    // One of them goes, and it is that one.
    routers[1].process().kill();
    eventually(SOON, "the session of its link is down", || {
        let peer = speaker.peer("other");
        if peer["state"] == "Established" { Err(peer["state"].to_string()) } else { Ok(()) }
    });
    assert_eq!(speaker.peer("tor")["establishedCount"], 1);
    assert_eq!(speaker.peer("tor")["state"], "Established");
}

/// A node of a fabric without addresses: its default routes come from the router, over the same session.
#[test]
fn a_node_learns_its_default_routes_from_the_router_of_its_link() {
    let nodes = Nodes::new();
    nodes.node.sysctl("net/ipv6/conf/eth0/accept_ra", "0");
    let theirs = link_local(&nodes.router, LINK);
    let frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, ", learn: default");
    wait_up(&speaker, &frr);
    for family in ["ipv4", "ipv6"] {
        let family = format!("address-family {family} unicast");
        frr.vtysh(&["configure terminal", "router bgp 64502", &family, "neighbor eth0 default-originate"]);
    }
    for (family, via) in [("-4", "via inet6"), ("-6", "via")] {
        let route = eventually(SOON, "the node's default route", || {
            let text = nodes.node.ip(&[family, "route", "show", "default"]);
            let there = text.contains(&format!("{via} {theirs} dev {LINK}"));
            if there { Ok(text) } else { Err(format!("{text:?} {}", speaker.process().log_tail(5))) }
        });
        println!("the node's kernel: {}", route.trim());
    }
    nodes.wait_served();
    // The link goes, and the routes with it.
    nodes.router.ip(&["link", "set", LINK, "down"]);
    eventually(SOON, "no default route is left", || {
        let text = nodes.node.ip(&["-4", "route", "show", "default"]);
        if text.trim().is_empty() { Ok(()) } else { Err(text) }
    });
}

#[test]
fn two_speakers_on_a_link_are_each_others_neighbors() {
    let nodes = Nodes::new();
    let one = speaker(&nodes.node, "");
    let config = config(", receive: all")
        .replace("asn: 64501, routerId: 10.0.0.1", "asn: 64502, routerId: 10.0.0.2")
        .replace("node: {name: n1}", "node: {name: n2}");
    let other = tests::speaker::Speaker::start(&nodes.router, &config, &[]);
    for (speaker, theirs) in [(&one, &nodes.router), (&other, &nodes.node)] {
        speaker.wait_state("tor", "Established", SOON);
        let peer = speaker.peer("tor");
        assert_eq!(peer["neighborAddress"], format!("{}%{LINK}", link_local(theirs, LINK)), "{peer}");
    }
    eventually(SOON, "both prefixes are received", || {
        let received = other.received("tor");
        if received == ["2001:db8:1::/112", "203.0.113.0/24"] { Ok(()) } else { Err(format!("{received:?}")) }
    });
    // The other comes again, as another process.
    let mut other = other;
    other.process().kill();
    eventually(SOON, "the session is down", || {
        let state = one.peer("tor")["state"].clone();
        if state == "Established" { Err(state.to_string()) } else { Ok(()) }
    });
    other.start_again();
    other.wait_state("tor", "Established", SOON);
    one.wait_state("tor", "Established", SOON);
}

/// The peer comes and goes with the file.
#[test]
fn a_reload_adds_and_removes_an_interface_peer() {
    let nodes = Nodes::new();
    let frr = frr(&nodes.router, "", "");
    let speaker = speaker(&nodes.node, "");
    wait_up(&speaker, &frr);
    let config = config("");
    let without: String = config
        .lines()
        .filter(|line| !line.contains("name: tor") && *line != "peers:")
        .map(|line| format!("{line}\n"))
        .collect();
    speaker.write_config(&without);
    eventually(SOON, "the peer is gone", || {
        let peers = speaker.json(&["peers"]);
        if peers.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(peers.to_string()) }
    });
    eventually(SOON, "FRR was told", || {
        let seen = neighbor(&frr);
        if seen["bgpState"] == "Established" { Err(seen["bgpState"].to_string()) } else { Ok(()) }
    });
    speaker.write_config(&config);
    wait_up(&speaker, &frr);
}

#[test]
fn bird_has_us_from_a_range_on_the_interface() {
    let nodes = Nodes::new();
    let ours = link_local(&nodes.node, LINK);
    let _bird = bird(&nodes.router);
    let speaker = speaker(&nodes.node, "");
    speaker.wait_state("tor", "Established", SOON);
    for prefix in PREFIXES {
        let route = kernel_route(&nodes.router, prefix);
        assert!(route.contains(&ours.to_string()), "{route}");
        println!("BIRD's kernel: {}", route.trim());
    }
    nodes.answer_by(link_local(&nodes.router, LINK));
    nodes.wait_served();
}
