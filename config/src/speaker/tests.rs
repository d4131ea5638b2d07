use std::path::PathBuf;
use std::time::Duration;

use bgp_proto::types::{Asn, FamilyMap, FamilySet, HoldTime};

use super::*;
use crate::model::{
    Authentication, Learn, PasswordSource, PeerAddress, PeerSettings, PoolGate, PoolLengths, PoolPrefix,
    Receive, Router, ServiceRoutes, TcpAoAlgorithm, TcpAoKey, Ttl,
};

const DIR: &str = "/etc/speaker";

fn accept(text: &str) -> (SpeakerConfig, Vec<String>) {
    match parse(text, "f", Path::new(DIR)) {
        Ok((config, warnings)) => (config, warnings.iter().map(ToString::to_string).collect()),
        Err(found) => panic!("{found:#?}"),
    }
}

/// The paths of the errors.
fn refuse(text: &str) -> Vec<String> {
    let found = parse(text, "f", Path::new(DIR)).unwrap_err();
    found.into_iter().filter(|d| d.severity == Severity::Error).map(|d| d.path).collect()
}

/// One peer's settings, in a file with our AS number and something to announce.
fn peer(keys: &str) -> PeerSettings {
    let text = format!("router: {{asn: 64501}}\npeers: [{{name: a, address: 10.0.0.1, asn: 64500{keys}}}]");
    accept(&text).0.peers.remove(0).settings
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "# nothing\n", "---\n", "{}", "peers:\nadvertisements:\nrouter:\n"] {
        let (config, warnings) = accept(text);
        assert_eq!(config.router, Router::default());
        assert_eq!(config.sources, Sources::default());
        assert_eq!(config.ipam.state_dir, PathBuf::from("/etc/speaker/state"));
        assert!(config.ipam.enabled && config.ipam.families == FamilySet::from_iter(Family::ALL));
        assert_eq!(config.api, Api { socket: "/run/speaker/api.sock".into(), http: None });
        assert_eq!(config.datapath.loops, LoopGuard::Blackhole);
        assert_eq!(config.readiness, Readiness::None);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("nothing to announce"), "{warnings:?}");
    }
}

#[test]
fn a_role_is_refused_wherever_a_peer_of_our_own_as_is() {
    for place in
        ["peers: [{address: 10.0.0.1", "peers: [{interface: eth1", "dynamicPeers: [{prefix: 10.0.0.0/24"]
    {
        let roles = |asn: &str| {
            let router = "router: {asn: 64501, listen: [\"0.0.0.0:179\"]}";
            let text = format!("{router}\n{place}, name: a, asn: {asn}, role: peer}}]");
            let found = parse(&text, "f", Path::new(DIR)).err().unwrap_or_default();
            found.iter().filter(|one| one.severity == Severity::Error).count()
        };
        assert_eq!(["64501", "internal"].map(roles), [1, 1], "{place}");
        assert_eq!(["64500", "external", "auto"].map(roles), [0, 0, 0], "{place}");
    }
}

#[test]
fn a_peers_defaults_are_those_of_the_page() {
    let settings = peer("");
    assert_eq!(settings.hold, HoldTime::DEFAULT);
    assert_eq!((settings.keepalive, settings.connect_retry), (None, Duration::from_secs(5)));
    assert_eq!(settings.send_hold, None);
    assert_eq!(settings.families, FamilySet::from_iter(Family::ALL));
    assert_eq!((settings.port, settings.passive, settings.ttl), (179, false, Ttl::Direct));
    assert_eq!((settings.receive, settings.learn), (Receive::Count, Learn::None));
    assert_eq!(settings.max_prefixes, FamilyMap { ipv4: Some(10_000), ipv6: Some(10_000) });
    assert_eq!(settings.max_advertised, FamilyMap::default());
    assert_eq!((settings.export, settings.graceful_restart, settings.bfd), (None, None, None));
    assert_eq!(settings.add_path, FamilyMap { ipv4: 0, ipv6: 0 });
}

#[test]
fn values_are_read_as_the_page_says() {
    assert_eq!(peer(", gracefulRestart: {}").graceful_restart, Some(120));
    assert_eq!(peer(", shutdown: true").shutdown.as_deref(), Some(""));
    assert_eq!(peer(", shutdown: {}").shutdown.as_deref(), Some(""));
    assert_eq!(peer(", shutdown: false").shutdown, None);
    assert_eq!(peer(", addPath: receive").add_path, FamilyMap { ipv4: 1, ipv6: 1 });
    assert_eq!(peer(", addPath: {ipv6-unicast: both}").add_path, FamilyMap { ipv4: 0, ipv6: 3 });
    assert_eq!(peer(", learn: default-route").learn, Learn::DefaultRoute);
    assert_eq!(peer(", learn: default").learn, Learn::DefaultRoute);
    let inside = peer(", learn: [10.0.0.0/8, \"2001:db8::/32\"]").learn;
    for (destination, asked) in
        [("10.0.0.0/8", true), ("10.1.0.0/16", true), ("0.0.0.0/0", false), ("2001:db8:1::/48", true)]
    {
        assert_eq!(inside.accepts(destination.parse().unwrap()), asked, "{destination}");
    }
    assert!(peer(", learn: []").learn.is_off() && peer(", learn: none").learn.is_off());
    assert_eq!(peer(", role: route-server-client").role, Some(2));
    let md5 = |file: &str| Some(Authentication::Md5(PasswordSource::File(file.into())));
    assert_eq!(peer(", passwordFile: a.key").authentication, md5("/etc/speaker/a.key"));
    assert_eq!(peer(", passwordFile: /run/a.key").authentication, md5("/run/a.key"));
    let rule = peer(", export: [{prefix: 10.0.0.0/8}]").export.unwrap()[0];
    assert_eq!(rule.le, 8);
}

#[test]
fn as_numbers_are_never_floats() {
    let text = "router: {asn: 1.10}\npeers: [{name: a, address: 10.0.0.1, asn: '1.10'}, {name: b, address: 10.0.0.2, asn: auto}]";
    let (config, _) = accept(text);
    assert_eq!(config.router.asn, Asn::new(65546));
    assert_eq!(config.peers[0].settings.asn, PeerAsn::Exact(Asn::new(65546).unwrap()));
    assert_eq!(config.peers[1].settings.asn, PeerAsn::Any);
}

#[test]
fn a_peers_own_keys_win_over_its_groups() {
    let (config, _) = accept(
        "router: {asn: 64501}
peerGroups:
  - name: tor
    asn: 64500
    description: a group
    timers: {hold: 9s, keepalive: 3s, sendHold: 1m}
    ttlSecurity: {hops: 1}
    gracefulRestart: {}
    maxPrefixes: {ipv4-unicast: 5, ipv6-unicast: 6}
    nodeSelector: {matchLabels: {rack: r1}}
    shutdown: {message: no}
peers:
  - {name: same, group: tor, address: 10.0.0.1}
  - name: own
    group: tor
    address: 10.0.0.2
    asn: internal
    timers: {keepalive: 2s, sendHold: 30s}
    multihop: {ttl: 3}
    gracefulRestart: false
    maxPrefixes: {ipv6-unicast: 7}
    nodeSelector: {}
    shutdown: false
",
    );
    let [same, own] = config.peers.as_slice() else { panic!("{config:?}") };
    assert_eq!(same.group.as_deref(), Some("tor"));
    assert_eq!(same.description.as_deref(), Some("a group"));
    let (same, own) = (&same.settings, &own.settings);
    assert_eq!((same.hold.seconds(), same.keepalive), (9, Some(Duration::from_secs(3))));
    assert_eq!((own.hold.seconds(), own.keepalive), (9, Some(Duration::from_secs(2))));
    assert_eq!([same, own].map(|one| one.send_hold), [60, 30].map(|secs| Some(Duration::from_secs(secs))));
    assert_eq!((same.ttl, own.ttl), (Ttl::Security(1), Ttl::Multihop(3)));
    assert_eq!((same.graceful_restart, own.graceful_restart), (Some(120), None));
    assert_eq!(own.max_prefixes, FamilyMap { ipv4: Some(5), ipv6: Some(7) });
    assert_eq!(own.asn, PeerAsn::Internal);
    assert_eq!(own.node_selector, Some(crate::objects::Selector::default()));
    assert_eq!((same.shutdown.as_deref(), own.shutdown.as_deref()), (Some("no"), None));
}

#[test]
fn a_fault_in_a_group_is_said_once_whoever_uses_it() {
    let text = "router: {asn: 64501}\npeerGroups: [{name: g, asn: 64500, timers: {hold: 3s, keepalive: 4s}}]\npeers: [{name: a, group: g, address: 10.0.0.1}, {name: b, group: g, address: 10.0.0.2}]";
    assert_eq!(refuse(text), ["peerGroups[0].timers.keepalive"]);
    let text = "router: {asn: 64501}\npeerGroups: [{name: g, asn: x}]\npeers: [{name: a, group: g, address: 10.0.0.1}]";
    assert_eq!(refuse(text), ["peerGroups[0].asn"]);
}

#[test]
fn a_link_local_peer_names_its_interface() {
    let text = "router: {asn: 64501}\npeers: [{name: a, address: 'fe80::1%eth1', asn: 64500}]";
    let want = PeerAddress::Address { address: "fe80::1".parse().unwrap(), zone: Some("eth1".to_owned()) };
    assert_eq!(accept(text).0.peers[0].address, want);
}

#[test]
fn an_unnumbered_peer_is_whoever_is_on_its_interface() {
    let text = |keys: &str| {
        format!("router: {{asn: 64501}}\npeers: [{{name: a, interface: eth1, asn: external{keys}}}]")
    };
    let (config, warnings) = accept(&text(", bfd: {}, ttlSecurity: {hops: 1}, sourceInterface: eth1"));
    assert_eq!(config.peers[0].address, PeerAddress::Interface("eth1".to_owned()));
    assert_eq!(warnings.len(), 1, "nothing is announced: {warnings:?}");
    accept(&text(", localAddress: 'fe80::1', nextHop: {ipv6: 'fe80::1'}"));
    assert_eq!(accept(&text(", sourceInterface: eth2")).1.len(), 2, "it does nothing, which is said");
    for (keys, key) in [
        (", multihop: {ttl: 2}", "multihop"),
        (", ttlSecurity: {hops: 2}", "ttlSecurity"),
        (", localAddress: '2001:db8::1'", "localAddress"),
        (", localAddress: 10.0.0.1", "localAddress"),
        (", passive: true", "passive"),
        (", address: 'fe80::1%eth1'", "interface"),
    ] {
        let found = refuse(&text(keys));
        assert!(found.iter().all(|path| *path == format!("peers[0].{key}")), "{keys}: {found:?}");
    }
    // A dynamic peer dials, and nobody is sought for it.
    let dynamic = "router: {asn: 64501, listen: ['[::]:179']}\ndynamicPeers: [{name: a, prefix: 'fe80::/64', interface: eth1, asn: external}]";
    assert_eq!(refuse(dynamic), ["dynamicPeers[0].interface"]);
}

#[test]
fn an_interface_has_one_peer_on_a_node() {
    let pair = |one: &str, other: &str| {
        format!("router: {{asn: 64501}}\npeers: [{{name: a, asn: 1, {one}}}, {{name: b, asn: 1, {other}}}]")
    };
    let rack = |rack: &str| format!("interface: eth1, nodeSelector: {{matchLabels: {{rack: {rack}}}}}");
    accept(&pair("interface: eth1", "interface: eth2"));
    accept(&pair("interface: eth1", "address: 'fe80::1%eth2'"));
    accept(&pair(&rack("r1"), &rack("r2")));
    for text in [
        pair("interface: eth1", "interface: eth1"),
        pair("interface: eth1, port: 1179", "interface: eth1"),
        pair("interface: eth1", "address: 'fe80::1%eth1'"),
        pair("address: 'fe80::1%eth1'", "interface: eth1"),
        pair(&rack("r1"), &rack("r1")),
    ] {
        assert_eq!(refuse(&text), ["peers[1]"], "{text}");
    }
}

#[test]
fn tcp_ao_has_keys_with_identifiers_and_excludes_tcp_md5() {
    let keys = "{keys: [{sendId: 1, passwordFile: a.key}, {sendId: 2, receiveId: 7, algorithm: aes-128-cmac-96, passwordFile: b.key}]}";
    let Some(Authentication::TcpAo(read)) = peer(&format!(", tcpAo: {keys}")).authentication else {
        panic!()
    };
    let first = TcpAoKey {
        send_id: 1,
        receive_id: 1,
        algorithm: TcpAoAlgorithm::HmacSha1,
        source: PasswordSource::File("/etc/speaker/a.key".into()),
    };
    assert_eq!(read[0], first);
    assert_eq!((read[1].send_id, read[1].receive_id, read[1].algorithm), (2, 7, TcpAoAlgorithm::Aes128Cmac));
    // A peer's takes the place of its group's, of whichever kind.
    let grouped = format!(
        "router: {{asn: 64501}}\npeerGroups: [{{name: g, asn: 1, passwordFile: a.key}}]\npeers: [{{name: a, group: g, address: 10.0.0.1, tcpAo: {keys}}}]"
    );
    assert!(matches!(accept(&grouped).0.peers[0].settings.authentication, Some(Authentication::TcpAo(_))));
    let text = |keys: &str| {
        format!("router: {{asn: 64501}}\npeers: [{{name: a, address: 10.0.0.1, asn: 1, {keys}}}]")
    };
    for (written, path) in [
        ("tcpAo: {keys: []}", ".keys"),
        ("tcpAo: {}", ""),
        ("tcpAo: {keys: [{passwordFile: a}]}", ".keys[0]"),
        ("tcpAo: {keys: [{sendId: 1}]}", ".keys[0]"),
        ("tcpAo: {keys: [{sendId: 256, passwordFile: a}]}", ".keys[0].sendId"),
        ("tcpAo: {keys: [{sendId: 1, algorithm: md5, passwordFile: a}]}", ".keys[0].algorithm"),
        (
            "tcpAo: {keys: [{sendId: 1, passwordFile: a, passwordSecretRef: {name: a, key: b}}]}",
            ".keys[0].passwordSecretRef",
        ),
        (
            "tcpAo: {keys: [{sendId: 1, passwordFile: a}, {sendId: 1, receiveId: 2, passwordFile: b}]}",
            ".keys",
        ),
        (
            "tcpAo: {keys: [{sendId: 1, passwordFile: a}, {sendId: 2, receiveId: 1, passwordFile: b}]}",
            ".keys",
        ),
        ("passwordFile: a, tcpAo: {keys: [{sendId: 1, passwordFile: a}]}", ""),
        ("tcpAo: {keys: [{sendId: 1, passwordSecretRef: {name: a, key: b}}]}", ""),
    ] {
        let found = refuse(&text(written));
        assert!(found.contains(&format!("peers[0].tcpAo{path}")), "{written}: {found:?}");
    }
}

#[test]
fn one_address_may_stand_twice_where_it_is_never_two_sessions() {
    let pair = |router: &str, one: &str, other: &str| {
        format!(
            "router: {{asn: 64501{router}}}\npeers: [{{name: a, address: 10.0.0.1, asn: 1{one}}}, {{name: b, address: 10.0.0.1, asn: 1{other}}}]"
        )
    };
    let selector = |rack: &str| format!(", nodeSelector: {{matchLabels: {{rack: {rack}}}}}");
    accept(&pair("", &selector("r1"), &selector("r2")));
    accept(&pair("", ", port: 1179", ", port: 1180"));
    let listen = ", listen: ['0.0.0.0:179']";
    for text in [
        pair("", "", ""),
        pair("", &selector("r1"), &selector("r1")),
        pair("", &selector("r1"), ""),
        pair(listen, ", port: 1179", ", port: 1180"),
    ] {
        assert_eq!(refuse(&text), ["peers[1]"], "{text}");
    }
}

#[test]
fn waiting_needs_a_socket_of_the_family() {
    let text = |listen: &str, prefix: &str| {
        format!(
            "router: {{asn: 64501, listen: [{listen}]}}\ndynamicPeers: [{{name: a, prefix: '{prefix}', asn: external}}]"
        )
    };
    let (config, _) = accept(&text("'[::]:179'", "2001:db8::/64"));
    assert_eq!(config.dynamic_peers[0].limit, 100);
    assert_eq!(refuse(&text("'[::]:179'", "10.0.0.0/8")), ["dynamicPeers[0]"]);
    assert_eq!(refuse(&text("", "10.0.0.0/8")), ["dynamicPeers[0]"]);
}

#[test]
fn an_advertisement_announces_what_is_asked_for() {
    let text = |keys: &str| format!("advertisements: [{{name: a{keys}}}]");
    let one = |keys: &str| accept(&text(keys)).0.advertisements.remove(0);
    assert_eq!((one("").pool_prefix, one("").service_routes), (None, None));
    let defaults =
        PoolPrefix { when: PoolGate::Allocated, lengths: PoolLengths::Exact, allow_beyond_pool: false };
    assert_eq!(one(", poolPrefix: {}").pool_prefix, Some(defaults));
    assert_eq!(one(", serviceRoutes: {}").service_routes, Some(ServiceRoutes::default()));
    let lengths = one(", poolPrefix: {lengths: {ipv6: 64}}").pool_prefix.unwrap().lengths;
    assert_eq!(lengths, PoolLengths::Fixed(FamilyMap { ipv4: None, ipv6: Some(64) }));
    assert_eq!(
        refuse(&text(", poolPrefix: {lengths: {ipv4: 7}}")),
        ["advertisements[0].poolPrefix.lengths.ipv4"]
    );
    one(", poolPrefix: {lengths: {ipv4: 7}}, allow: [10.0.0.0/7]");
}

#[test]
fn local_preference_is_warned_of_where_no_peer_is_internal() {
    let text = |asn: &str| {
        format!(
            "router: {{asn: 64501}}\npeers: [{{name: a, address: 10.0.0.1, asn: {asn}}}]\nadvertisements: [{{name: x, prefixes: [10.0.0.0/8], attributes: {{localPreference: 1}}}}]"
        )
    };
    for (asn, warned) in [("64500", 1), ("external", 1), ("64501", 0), ("internal", 0), ("auto", 0)] {
        assert_eq!(accept(&text(asn)).1.len(), warned, "{asn}");
    }
}

#[test]
fn every_finding_has_a_place_and_a_way_out() {
    for text in [
        include_str!("../../examples/broken/values.yaml"),
        include_str!("../../examples/broken/contradictions.yaml"),
        include_str!("../../examples/broken/keys.yaml"),
    ] {
        let lines: Vec<&str> = text.lines().collect();
        for found in parse(text, "f", Path::new(DIR)).unwrap_err() {
            let line = lines[found.at.line - 1];
            assert!(found.at.column <= line.chars().count(), "{found}");
            assert!(!found.message.is_empty() && !found.help.is_empty(), "{found}");
        }
    }
}

#[test]
fn router_ids_come_from_a_pool_of_ipv4() {
    let (config, _) = accept("ciliumBGP: {routerIdPool: 10.255.0.0/24}\n");
    assert_eq!(config.cilium_bgp.router_id_pool, Some("10.255.0.0/24".parse().unwrap()));
    assert_eq!(refuse("ciliumBGP: {routerIdPool: \"fd00::/64\"}\n"), ["ciliumBGP.routerIdPool"]);
}
