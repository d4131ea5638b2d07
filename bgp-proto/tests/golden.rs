//! Messages that five other implementations put on the wire (`golden/DAEMON/SCENARIO.hex`), decoded, checked
//! for what the daemon was told to say, and written again by us.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use bgp_proto::types::{Family, FamilySet};
use bgp_proto::wire::{
    DecodeContext, EncodeContext, Message, NextHop, Nlri, PathAttributes, Update, keepalive, read_message,
};
use bytes::{Bytes, BytesMut};

const DAEMONS: [&str; 5] = ["bird", "exabgp", "frr", "gobgp", "openbgpd"];
/// What every daemon's folder has. Others are for features that a version may lack.
const SCENARIOS: [&str; 8] = [
    "ebgp-ipv4",
    "ebgp-ipv6",
    "ebgp-both-families",
    "ibgp-ipv4",
    "graceful-restart",
    "many-routes",
    "notifications",
    "two-octet-as",
];

/// One file.
struct Capture {
    daemon: String,
    scenario: String,
    context: DecodeContext,
    /// The label above each message, and the message.
    messages: Vec<(String, Vec<u8>)>,
}

impl Capture {
    fn read(daemon: &str, path: &Path) -> Self {
        let scenario = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let mut context = DecodeContext {
            external: scenario != "ibgp-ipv4",
            families: FamilySet::from_iter(Family::ALL),
            extended_next_hop: scenario == "extended-next-hop",
            ..DecodeContext::default()
        };
        let mut messages = Vec::new();
        let mut label = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(words) = line.strip_prefix("# context: ") {
                set_context(words, &mut context);
            } else if let Some(comment) = line.strip_prefix('#') {
                comment.trim().clone_into(&mut label);
            } else {
                messages.push((label.clone(), hex(line)));
            }
        }
        assert!(!messages.is_empty(), "{daemon}/{scenario} has no message");
        Self { daemon: daemon.to_owned(), scenario, context, messages }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.daemon, self.scenario)
    }

    fn decoded(&self) -> impl Iterator<Item = (&str, &[u8], Message)> {
        self.messages.iter().map(|(label, octets)| {
            let mut buffer = BytesMut::from(&octets[..]);
            let message = read_message(&mut buffer, &self.context)
                .unwrap_or_else(|error| panic!("{}: {label}: {error}", self.name()))
                .unwrap_or_else(|| panic!("{}: {label}: cut off", self.name()));
            assert!(buffer.is_empty(), "{}: {label}: octets are left", self.name());
            (label.as_str(), octets.as_slice(), message)
        })
    }

    fn updates(&self) -> impl Iterator<Item = Update> {
        self.decoded().filter_map(|(_, _, message)| match message {
            Message::Update(update) => Some(*update),
            _ => None,
        })
    }

    /// Every announcement that there was, the last one a destination.
    fn announced(&self) -> BTreeMap<Nlri, (NextHop, PathAttributes)> {
        let mut routes = BTreeMap::new();
        for update in self.updates() {
            for part in &update.announced {
                for nlri in &part.nlri {
                    routes.insert(nlri, (part.next_hop, update.attributes.clone()));
                }
            }
        }
        routes
    }

    fn withdrawn(&self) -> Vec<String> {
        let blocks: Vec<_> = self.updates().flat_map(|update| update.withdrawn).collect();
        blocks.iter().flatten().map(|nlri| nlri.prefix.to_string()).collect()
    }

    fn attributes(&self, prefix: &str) -> PathAttributes {
        let all = self.announced();
        let route = all.into_iter().find(|(nlri, _)| nlri.prefix.to_string() == prefix);
        route.unwrap_or_else(|| panic!("{} has no {prefix}", self.name())).1.1
    }
}

fn set_context(words: &str, context: &mut DecodeContext) {
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap() {
            ("as4", value) => context.asn4 = value == "yes",
            ("add-path", "no") => {}
            ("add-path", family) => context.add_path = FamilySet::from_iter([family.parse().unwrap()]),
            ("extended", "yes") => context.max_message = 65535,
            other => panic!("context {other:?}"),
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Every file of the folder, which must have something of each daemon.
fn captures() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all = Vec::new();
    for daemon in DAEMONS {
        let folder = folder.join(daemon);
        let files =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "hex"));
        paths.sort();
        all.extend(paths.iter().map(|path| Capture::read(daemon, path)));
    }
    all
}

fn of_scenario(scenario: &str) -> Vec<Capture> {
    let found: Vec<_> = captures().into_iter().filter(|capture| capture.scenario == scenario).collect();
    assert!(!found.is_empty(), "nobody has {scenario}");
    found
}

#[test]
fn every_daemon_has_every_scenario() {
    let all = captures();
    for daemon in DAEMONS {
        for scenario in SCENARIOS {
            let found = all.iter().any(|capture| capture.daemon == daemon && capture.scenario == scenario);
            assert!(found, "golden/{daemon}/{scenario}.hex is missing");
        }
    }
}

/// The label is what the capturing tool, which is not this codec, made of the message.
fn label(message: &Message, octets: &[u8]) -> String {
    match message {
        Message::Open(_) => "OPEN".to_owned(),
        Message::Update(_) => format!("UPDATE, {} octets", octets.len()),
        Message::Notification(sent) => format!("NOTIFICATION {}/{}", sent.code, sent.subcode),
        Message::Keepalive => "KEEPALIVE".to_owned(),
        Message::RouteRefresh(_) => "ROUTE-REFRESH".to_owned(),
    }
}

#[test]
fn every_message_is_read_without_a_fault() {
    let mut count = 0;
    for capture in captures() {
        for (expected, octets, message) in capture.decoded() {
            let name = capture.name();
            assert_eq!(label(&message, octets), expected, "{name}");
            if let Message::Update(update) = &message {
                assert_eq!(update.issues, [], "{name}: {expected}");
                let says = !update.announced.is_empty() || !update.withdrawn.is_empty();
                assert!(says || update.end_of_rib.is_some(), "{name}: {expected} says nothing");
            }
            count += 1;
        }
    }
    assert!(count > 900, "only {count} messages");
}

/// A daemon's UPDATE, written by us, reads as the same routes with the same attributes.
fn check_update(update: &Update, capture: &Capture) {
    let context = EncodeContext {
        asn4: capture.context.asn4,
        add_path: capture.context.add_path,
        extended_next_hop: capture.context.extended_next_hop,
        max_message: capture.context.max_message,
    };
    let mut out = BytesMut::new();
    update.encode(&context, &mut out).unwrap();
    let mut merged = Update { attributes: update.attributes.clone(), ..Update::default() };
    while let Some(message) = read_message(&mut out, &capture.context).unwrap() {
        let Message::Update(part) = message else { panic!("not an UPDATE") };
        assert_eq!(part.issues, []);
        if !part.announced.is_empty() {
            assert_eq!(part.attributes, update.attributes, "{}", capture.name());
        }
        merged.withdrawn.extend(part.withdrawn);
        merged.announced.extend(part.announced);
        merged.end_of_rib = merged.end_of_rib.or(part.end_of_rib);
    }
    assert_eq!(&merged, update, "{}", capture.name());
}

#[test]
fn what_we_write_again_reads_as_the_same() {
    for capture in captures() {
        for (label, octets, message) in capture.decoded() {
            let again: Bytes = match &message {
                Message::Open(open) => open.encode(),
                Message::Notification(notification) => notification.encode(),
                Message::RouteRefresh(refresh) => refresh.encode(),
                Message::Keepalive => keepalive(),
                Message::Update(update) => {
                    check_update(update, &capture);
                    continue;
                }
            };
            // One parameter or several is all that may differ in an OPEN.
            if !matches!(message, Message::Open(_)) {
                assert_eq!(again, octets, "{}: {label}", capture.name());
            }
            let mut buffer = BytesMut::from(&again[..]);
            assert_eq!(read_message(&mut buffer, &capture.context), Ok(Some(message)), "{}", capture.name());
        }
    }
}

#[test]
fn opens_say_what_the_daemon_was_told() {
    for capture in captures().iter().filter(|capture| capture.scenario != "notifications") {
        let open = capture.decoded().find_map(|(_, _, message)| match message {
            Message::Open(open) => Some(open),
            _ => None,
        });
        let open = open.unwrap_or_else(|| panic!("{} has no OPEN", capture.name()));
        let asn = if capture.scenario == "two-octet-as" { 4_200_000_001 } else { 64502 };
        assert_eq!(open.asn.get(), asn, "{}", capture.name());
        assert_eq!(open.router_id.as_ipv4(), std::net::Ipv4Addr::new(10, 0, 0, 2), "{}", capture.name());
        assert!(open.hold_time.seconds() >= 3 && !open.capabilities.is_empty(), "{}", capture.name());
    }
}

#[test]
fn every_attribute_of_ebgp_is_read() {
    for (scenario, prefix) in [("ebgp-ipv4", "198.51.100.0/24"), ("ebgp-ipv6", "2001:db8:1::/48")] {
        for capture in of_scenario(scenario) {
            let name = capture.name();
            let found = capture.attributes(prefix);
            assert_eq!(found.as_path.unwrap().to_string(), "64502 64502 64502", "{name}");
            assert_eq!(found.med, Some(50), "{name}");
            let texts = |list: Vec<String>| list.join(" ");
            let communities = found.communities.iter().map(ToString::to_string).collect();
            assert_eq!(texts(communities), "64502:100 64502:65535", "{name}");
            let large = found.large_communities.iter().map(ToString::to_string).collect();
            assert_eq!(texts(large), "64502:1:2 64502:4294967295:0", "{name}");
            let extended = found.extended_communities.iter().map(ToString::to_string).collect();
            assert_eq!(texts(extended), "rt:64502:7", "{name}");
            assert_eq!((found.local_pref, found.unknown), (None, vec![]), "{name}");
            assert!(capture.withdrawn().contains(&prefix.to_owned()), "{name}");
        }
    }
}

#[test]
fn prefixes_of_every_shape_are_read() {
    for capture in of_scenario("ebgp-ipv4") {
        let found: Vec<_> = capture.announced().keys().map(|nlri| nlri.prefix.to_string()).collect();
        let all = ["10.64.0.0/10", "192.0.2.1/32", "198.51.100.0/24", "203.0.113.128/25"];
        assert_eq!(found, all, "{}", capture.name());
    }
    for capture in of_scenario("ebgp-ipv6") {
        let found: Vec<_> = capture.announced().keys().map(|nlri| nlri.prefix.to_string()).collect();
        assert_eq!(found, ["2001:db8::1/128", "2001:db8:1::/48", "2001:db8:2::/47"], "{}", capture.name());
    }
}

#[test]
fn next_hops_are_the_sender_s() {
    for capture in captures().iter().filter(|capture| capture.scenario != "notifications") {
        // ExaBGP 4.2 negotiates RFC 8950 and goes on with its IPv4 next hop.
        let v6 = capture.scenario == "extended-next-hop" && capture.daemon != "exabgp";
        for (nlri, (next_hop, _)) in capture.announced() {
            let (name, prefix) = (capture.name(), nlri.prefix);
            match next_hop {
                NextHop::V4(_) => assert!(prefix.family() == Family::Ipv4Unicast && !v6, "{name} {prefix}"),
                NextHop::V6 { address, .. } => {
                    assert!(v6 || matches!(prefix.addr(), IpAddr::V6(_)), "{name} {prefix}");
                    assert!(!address.is_unspecified(), "{name} {prefix}");
                }
            }
        }
    }
}

#[test]
fn a_table_arrives_whole() {
    for capture in of_scenario("many-routes").into_iter().chain(of_scenario("extended-messages")) {
        let expected = if capture.daemon == "gobgp" { 400 } else { 3000 };
        assert_eq!(capture.announced().len(), expected, "{}", capture.name());
    }
}

#[test]
fn path_identifiers_are_there_where_negotiated() {
    for scenario in ["add-path-ipv4", "add-path-ipv6"] {
        for capture in of_scenario(scenario) {
            let routes = capture.announced();
            assert!(!routes.is_empty(), "{}", capture.name());
            assert!(routes.keys().all(|nlri| nlri.path_id.is_some()), "{}", capture.name());
        }
    }
}

#[test]
fn internal_peers_send_local_pref() {
    for capture in of_scenario("ibgp-ipv4") {
        let found = capture.attributes("198.51.100.0/24");
        assert_eq!(found.local_pref, Some(200), "{}", capture.name());
    }
}

#[test]
fn the_wide_number_comes_out_of_as4_path() {
    for capture in of_scenario("two-octet-as") {
        let found = capture.attributes("203.0.113.0/24");
        assert_eq!(found.as_path.unwrap().to_string(), "4200000001", "{}", capture.name());
    }
}

#[test]
fn end_of_rib_is_seen() {
    for capture in of_scenario("graceful-restart") {
        let families: FamilySet = capture.updates().filter_map(|update| update.end_of_rib).collect();
        assert_eq!(families, FamilySet::from_iter(Family::ALL), "{}", capture.name());
    }
}

#[test]
fn notifications_are_told_in_words() {
    let mut shutdowns = 0;
    for capture in captures() {
        for (_, _, message) in capture.decoded() {
            let Message::Notification(notification) = message else { continue };
            assert!(!notification.to_string().starts_with("Unknown"), "{}: {notification}", capture.name());
            if notification.shutdown_communication().as_deref() == Some("maintenance") {
                shutdowns += 1;
            }
        }
    }
    assert!(shutdowns >= 4, "{shutdowns} daemons passed on the operator's words");
}
