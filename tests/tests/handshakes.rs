//! Connections and messages at the edges of what is allowed: OPENs that are none, connections that are never finished,
//! messages of full size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};

use socket2::{Domain, Protocol, Socket, Type as SocketType};
use tests::bgp::{self, Open, Type, frame};
use tests::daemon::{self, Bird, Family, Kind, PeerSpec, RouteSpec, Router, Spec};
use tests::fake::Fake;
use tests::interop::SOON;
use tests::lab::{Lab, Node};
use tests::pair::nodes;
use tests::pcap::Capture;
use tests::speaker::Speaker;
use tests::wait::eventually;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FAKE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

fn config(fake: &str, prefixes: usize) -> String {
    let mut text = format!(
        "node: {{name: n1}}
router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\"]}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
peerGroups: [{{name: all, families: [ipv4-unicast], timers: {{hold: 30s, connectRetry: 1s}}, maxPrefixes: {{ipv4-unicast: 30000}}}}]
peers:
  - {{name: router, group: all, address: 10.0.0.2, asn: 64502}}
  - {{name: fake, group: all, address: 10.0.0.3, asn: 64503, timers: {{hold: 90s}}{fake}}}
datapath: {{loops: none}}
api: {{socket: api.sock}}
advertisements:
  - name: many
    prefixes:
"
    );
    for n in 0..prefixes {
        let _w = writeln!(text, "      - 10.{}.{}.0/24", 64 + n / 256, n % 256);
    }
    text
}

fn spec() -> Spec {
    let mut peer = PeerSpec::new([10, 0, 0, 2].into(), OURS.into(), 64501);
    peer.families = vec![Family::V4];
    Spec { asn: 64502, router_id: [10, 0, 0, 2].into(), peers: vec![peer] }
}

fn places() -> (Lab, Node, Node) {
    let (lab, node, outside) = nodes();
    outside.ip(&["address", "add", "10.0.0.3/24", "dev", "eth0"]);
    (lab, node, outside)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// An OPEN with these octets for its version, hold time, BGP identifier and optional parameters.
fn open(version: u8, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![version, 0xfb, 0xf7];
    body.extend(hold.to_be_bytes());
    body.extend(id);
    body.extend(parameters);
    frame(Type::Open, &body)
}

/// RFC 4271 §6.2: each fault has its subcode and data; the log has the whole message, and so has the last error.
#[test]
fn a_faulty_open_is_logged_whole_and_shown() {
    let (_lab, node, outside) = places();
    let _router = daemon::start(Kind::Frr, &outside, &spec());
    let address = SocketAddr::from((FAKE, 1179));
    let listener = outside.inside(|| TcpListener::bind(address).unwrap());
    listener.set_nonblocking(true).unwrap();
    let speaker = Speaker::start(&node, &config(", port: 1179", 1), &[]);
    speaker.wait_state("router", "Established", SOON);
    let id = [10, 0, 0, 3];
    for (message, expected, data) in [
        (open(3, 90, id, &[0]), (2, 1), vec![0, 4]),
        (open(4, 2, id, &[0]), (2, 6), vec![]),
        (open(4, 90, [0; 4], &[0]), (2, 3), vec![]),
        // Authentication (RFC 5492 §3: parameter 1 is gone).
        (open(4, 90, id, &[4, 1, 2, 0, 0]), (2, 4), vec![]),
        // A capability that is longer than its parameter, and parameters that are longer than the message.
        (open(4, 90, id, &[4, 2, 2, 65, 4]), (2, 0), vec![]),
        (open(4, 90, id, &[200, 2, 2, 65, 0]), (2, 0), vec![]),
        // RFC 9072: the length of the extended form exceeds the message by one octet.
        (open(4, 90, id, &[255, 255, 0, 6, 2, 0, 2, 2, 0]), (2, 0), vec![]),
    ] {
        let mut fake = Fake::accept(&listener, SOON);
        fake.send(&message);
        let (last, _) = fake.read_until(Type::Notification, SOON);
        assert_eq!((last.notification(), &last.bytes[21..]), (Some(expected), &*data), "{}", hex(&message));
        let whole = hex(&message);
        eventually(SOON, "the last error has the message", || {
            let error = speaker.peer("fake")["lastError"].clone();
            if error["message"] == whole.as_str() { Ok(()) } else { Err(error.to_string()) }
        });
        let shown = speaker.cli(&["peers", "fake"]);
        assert!(shown.contains(&format!("The malformed message: {whole}")), "{shown}");
        // At once, and not after a wait that grows with each failure.
        speaker.cli(&["clear", "fake"]);
    }
    let log = speaker.process().log();
    assert!(log.contains(&hex(&open(3, 90, id, &[0]))), "{}", speaker.process().log_tail(20));
    assert_eq!(speaker.peer("router")["state"], "Established");
}

/// A TCP segment with SYN alone, behind an IPv4 header that the kernel completes.
fn syn(from: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(port.to_be_bytes());
    tcp.extend(179u16.to_be_bytes());
    tcp.extend(from.octets());
    tcp.extend([0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]);
    let pseudo = [&from.octets()[..], &OURS.octets(), &[0, 6, 0, 20], &tcp].concat();
    let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(pair[0]) * 256 + u32::from(pair[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0][..], &from.octets(), &OURS.octets(), &tcp].concat()
}

/// Thousands of SYNs whose senders never answer: the queue of half-open connections is the kernel's, whose cookies let a
/// peer in all the same.
#[test]
fn half_open_connections_keep_nobody_out() {
    let (_lab, node, outside) = places();
    // What the speaker answers goes there and no further.
    node.ip(&["route", "add", "10.20.0.0/16", "via", "10.0.0.2"]);
    let _router = daemon::start(Kind::Bird, &outside, &spec());
    let speaker = Speaker::start(&node, &config(", passive: true", 1), &[]);
    speaker.wait_state("router", "Established", SOON);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", speaker.process().pid())).unwrap().count();
    let before = descriptors();
    let flood = |round: u8| {
        outside.inside(|| {
            let raw = Socket::new(Domain::IPV4, SocketType::RAW, Some(Protocol::TCP)).unwrap();
            raw.set_header_included_v4(true).unwrap();
            let to = SocketAddrV4::new(OURS, 0).into();
            for a in 0..40u8 {
                for b in 1..=250u8 {
                    let _full = raw.send_to(&syn([10, 20, a, b].into(), 1024 + u16::from(round)), &to);
                }
            }
        });
    };
    flood(0);
    let half_open = || node.exec(&["ss", "-H", "-t", "-n", "state", "syn-recv"]).lines().count();
    let held = half_open();
    let cookies = node.exec(&["nstat", "-a", "-s", "-z", "TcpExtSyncookiesSent"]);
    println!("{held} half-open connections; {}", cookies.lines().last().unwrap_or_default());
    assert!(held > 100, "only {held} connections are half-open: no flood");
    // Into the midst of it comes a peer.
    let mut fake = outside.inside(|| {
        let socket = Socket::new(Domain::IPV4, SocketType::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((FAKE, 0)).into()).unwrap();
        socket.connect_timeout(&SocketAddr::from((OURS, 179)).into(), SOON).unwrap();
        Fake::over(socket.into())
    });
    for round in 1..4 {
        flood(round);
    }
    fake.establish(&Open { hold: 90, ..Open::new(64503, FAKE.octets()) }, SOON);
    speaker.wait_state("fake", "Established", SOON);
    assert!(descriptors() <= before + 4, "{} descriptors, {before} before", descriptors());
    let router = speaker.peer("router");
    assert_eq!(
        (&router["state"], &router["establishedCount"]),
        (&"Established".into(), &1.into()),
        "{router}"
    );
}

/// RFC 8654 with BIRD: UPDATEs of full size from it and to it.
#[test]
fn messages_of_full_size_with_bird() {
    const OUT: usize = 18_000;
    const IN: usize = 20_000;
    let (lab, node, outside) = places();
    let mut spec = spec();
    spec.peers[0].extended_messages = true;
    for one in [&node, &outside] {
        for direction in ["rmem", "wmem"] {
            one.sysctl(&format!("net/ipv4/tcp_{direction}"), "4096 8192 16384");
        }
    }
    let capture = Capture::start(&lab, &node, "eth0");
    let mut bird = Bird::start(&outside, &spec);
    let speaker = Speaker::start(&node, &config("", OUT), &[]);
    speaker.wait_state("router", "Established", SOON);
    // BIRD feeds its routes in by the hundred and sends what it has: while nobody reads, it gathers them.
    speaker.process().pause();
    let routes: Vec<RouteSpec> =
        (0..IN).map(|n| RouteSpec::new(&format!("100.{}.{}.0/24", 64 + n / 256, n % 256))).collect();
    bird.announce(&routes);
    eventually(SOON, "BIRD has its routes", || {
        let counted = bird.birdc("show route protocol lab4 count");
        if counted.contains(&format!("{IN} of")) { Ok(()) } else { Err(counted) }
    });
    speaker.process().resume();
    eventually(SOON, "both have everything", || {
        let received = speaker.peer("router")["received"][0]["count"].as_u64();
        let counted = bird.birdc("show route protocol peer0 count");
        let all = counted.contains(&format!("{OUT} of"));
        if received == u64::try_from(IN).ok() && all {
            Ok(())
        } else {
            Err(format!("{received:?}; {counted}"))
        }
    });
    let messages = bgp::messages(&capture.stop());
    for (who, from) in [("speaker", [10, 0, 0, 1]), ("BIRD", [10, 0, 0, 2])] {
        let updates = messages.iter().filter(|m| m.from.ip() == Ipv4Addr::from(from));
        let longest = updates.map(|m| m.bytes.len()).max().unwrap_or_default();
        println!("{who}: {longest} octets");
        assert!((65_000..=65_535).contains(&longest), "the longest message of {who} has {longest} octets");
    }
    assert!(speaker.peer("router")["lastError"].is_null());
}
