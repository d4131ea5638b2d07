//! Peers and strangers that misbehave beside a session with a real router, which must not notice; memory stays
//! bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type as SocketType};
use tests::bgp::{Open, Type, frame};
use tests::daemon::{self, Kind, PeerSpec, Router, Spec};
use tests::fake::Fake;
use tests::interop::SOON;
use tests::lab::{Lab, Node};
use tests::pair::nodes;
use tests::speaker::Speaker;
use tests::wait::eventually;

/// A speaker with a real router at 10.0.0.2 and a peer made by hand at 10.0.0.3, port 1179.
struct Scene {
    speaker: Speaker,
    router: Box<dyn Router>,
    listener: TcpListener,
    node: Node,
    outside: Node,
    /// How often the session with the router had come up when the scene was set.
    up_at: u64,
    for_fake: usize,
    _lab: Lab,
}

fn config(med: u32, prefixes: usize, for_fake: usize) -> String {
    let mut text = format!(
        "node: {{name: n1}}
router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\"]}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
peerGroups: [{{name: all, families: [ipv4-unicast], timers: {{hold: 9s, connectRetry: 1s}}}}]
peers:
  - {{name: router, group: all, address: 10.0.0.2, asn: 64502}}
  - {{name: fake, group: all, address: 10.0.0.3, port: 1179, asn: 64503, timers: {{hold: 90s}}, maxPrefixes: {{ipv4-unicast: 20000}}}}
dynamicPeers: [{{name: rack, group: all, prefix: 10.0.9.0/24, asn: 64504, limit: 4}}]
datapath: {{loops: none}}
api: {{socket: api.sock}}
advertisements:
  - name: many
    attributes: {{med: {med}}}
    prefixes:
"
    );
    for n in 0..prefixes {
        let _w = writeln!(text, "      - 10.{}.{}.0/24", 64 + n / 256, n % 256);
    }
    if for_fake > 0 {
        text += "  - name: more\n    peers: [fake]\n    prefixes:\n";
    }
    for n in 0..for_fake {
        let _w = writeln!(text, "      - 10.{}.{}.0/24", 128 + n / 256, n % 256);
    }
    text
}

impl Scene {
    fn new() -> Self {
        Self::beside(Kind::Bird, 0)
    }

    /// With 2000 routes for everybody, and so many more for the peer made by hand.
    fn beside(kind: Kind, for_fake: usize) -> Self {
        let (lab, node, outside) = nodes();
        for address in ["10.0.0.3/24", "10.0.8.3/16", "10.0.9.3/16"] {
            outside.ip(&["address", "add", address, "dev", "eth0"]);
        }
        node.ip(&["address", "add", "10.0.8.1/16", "dev", "eth0"]);
        for one in [&node, &outside] {
            one.sysctl("net/ipv4/tcp_rmem", "4096 16384 65536");
            one.sysctl("net/ipv4/tcp_wmem", "4096 16384 65536");
        }
        let mut peer = PeerSpec::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into(), 64501);
        peer.families = vec![daemon::Family::V4];
        let spec = Spec { asn: 64502, router_id: [10, 0, 0, 2].into(), peers: vec![peer] };
        let router = daemon::start(kind, &outside, &spec);
        let address: SocketAddr = "10.0.0.3:1179".parse().unwrap();
        let listener = outside.inside(|| TcpListener::bind(address).unwrap());
        listener.set_nonblocking(true).unwrap();
        let speaker = Speaker::start(&node, &config(1, 2000, for_fake), &[]);
        speaker.wait_state("router", "Established", SOON);
        let mut scene = Self { speaker, router, listener, node, outside, up_at: 0, for_fake, _lab: lab };
        scene.up_at = scene.established();
        scene.wait_med(1, 2000);
        scene
    }

    /// How often the session with the router came up.
    fn established(&self) -> u64 {
        self.speaker.peer("router")["establishedCount"].as_u64().unwrap()
    }

    fn fake(&self) -> Fake {
        let mut fake = Fake::accept(&self.listener, SOON);
        fake.establish(&Open { hold: 90, ..Open::new(64503, [10, 0, 0, 3]) }, SOON);
        fake
    }

    /// The router has so many routes, all with this MED.
    fn wait_med(&self, med: u32, count: usize) {
        eventually(SOON, &format!("the router has {count} routes with MED {med}"), || {
            let routes = self.router.received([10, 0, 0, 1].into(), daemon::Family::V4);
            let right = routes.iter().filter(|route| route.med == Some(med)).count();
            if (right, routes.len()) == (count, count) {
                Ok(())
            } else {
                Err(format!("{right} of {}", routes.len()))
            }
        });
    }

    /// Open descriptors of the speaker.
    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.speaker.process().pid())).unwrap().count()
    }

    /// Resident memory in KiB.
    fn resident(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.speaker.process().pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The session with the router never ended, changes still reach it, and memory has not grown by more than `most` KiB.
    fn unharmed(&self, before: u64, most: u64) {
        self.speaker.write_config(&config(77, 2000, self.for_fake));
        self.wait_med(77, 2000);
        assert_eq!(self.established(), self.up_at, "{}", self.speaker.process().log_tail(20));
        let after = self.resident();
        eprintln!("{before} KiB before, {after} KiB after");
        assert!(after < before + most, "{before} KiB before, {after} KiB after");
    }
}

/// A connection to the speaker from an address of the other side.
fn dial(outside: &Node, from: Ipv4Addr) -> Option<TcpStream> {
    outside.inside(|| {
        let socket = Socket::new(Domain::IPV4, SocketType::STREAM, None).ok()?;
        socket.bind(&SocketAddr::from((from, 0)).into()).ok()?;
        let to: SocketAddr = "10.0.0.1:179".parse().unwrap();
        socket.connect_timeout(&to.into(), Duration::from_secs(2)).ok()?;
        Some(socket.into())
    })
}

#[test]
fn a_peer_that_reads_one_octet_a_second() {
    let scene = Scene::new();
    let (stream, _) =
        eventually(SOON, "the speaker dials", || scene.listener.accept().map_err(|e| e.to_string()));
    let mut raw = stream.try_clone().unwrap();
    Fake::over(stream).establish(&Open { hold: 90, ..Open::new(64503, [10, 0, 0, 3]) }, SOON);
    let before = scene.resident();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let done = done.clone();
        std::thread::spawn(move || {
            let mut read = 0;
            while !done.load(Ordering::Relaxed) {
                read += raw.read(&mut [0]).unwrap();
                std::thread::park_timeout(Duration::from_secs(1));
            }
            // Dropped, it would be closed.
            (read, raw)
        })
    };
    // Its window is full with the first table; the rest would be 40 times 2000 routes.
    for med in 2..42 {
        scene.speaker.write_config(&config(med, 2000, 0));
        scene.wait_med(med, 2000);
    }
    done.store(true, Ordering::Relaxed);
    let (read, _raw) = reader.join().unwrap();
    assert!(read > 0, "nothing was read");
    scene.unharmed(before, 12 * 1024);
    assert_eq!(scene.speaker.peer("fake")["state"], "Established");
}

#[test]
fn withdrawals_for_ever() {
    let scene = Scene::new();
    let mut fake = scene.fake();
    // 4 KB of prefixes that were never announced.
    let mut body = vec![0, 0];
    for n in 0..1017u16 {
        let [high, low] = n.to_be_bytes();
        body.extend([24, 100, high, low]);
    }
    let length = u16::try_from(body.len() - 2).unwrap();
    body[..2].copy_from_slice(&length.to_be_bytes());
    body.extend([0, 0]);
    let update = frame(Type::Update, &body);
    assert!(update.len() <= 4096 && update.len() > 4000);
    let before = scene.resident();
    let end = Instant::now() + Duration::from_secs(4);
    let mut sent = 0u64;
    while Instant::now() < end {
        fake.send(&update.repeat(16));
        sent += 16;
    }
    eventually(SOON, "the flood was read", || {
        let peer = scene.speaker.peer("fake");
        let read = peer["receivedByKind"]["updates"].as_u64().unwrap_or_default();
        if read >= sent { Ok(()) } else { Err(format!("{read} of {sent}: {}", peer["lastError"])) }
    });
    assert!(sent > 1000, "{sent} UPDATEs are no flood");
    scene.unharmed(before, 8 * 1024);
    assert_eq!(scene.speaker.peer("fake")["state"], "Established");
}

#[test]
fn a_thousand_connections_that_say_nothing() {
    let scene = Scene::new();
    let _fake = scene.fake();
    let before = scene.resident();
    let mut held = Vec::new();
    // A peer's own address, a dynamic peer's, and those of strangers.
    for from in [[10, 0, 0, 3], [10, 0, 9, 3], [10, 0, 8, 3]] {
        for _ in 0..1000 {
            held.extend(dial(&scene.outside, from.into()));
        }
    }
    assert!(held.len() > 1000, "only {} connections", held.len());
    let descriptors = scene.descriptors();
    assert!(descriptors < 200, "{descriptors} descriptors for {} connections", held.len());
    scene.unharmed(before, 12 * 1024);
    for stream in &mut held {
        let _closed = stream.write_all(b"no BGP");
    }
    scene.unharmed(before, 12 * 1024);
    assert_eq!(scene.speaker.peer("fake")["state"], "Established");
}

#[test]
fn a_peer_that_flaps() {
    let scene = Scene::beside(Kind::GoBgp, 0);
    let before = scene.resident();
    let open = Open { hold: 90, ..Open::new(64503, [10, 0, 0, 3]) };
    let end = Instant::now() + Duration::from_secs(12);
    let mut came = 0;
    while Instant::now() < end {
        let Ok((stream, _)) = scene.listener.accept() else {
            std::thread::yield_now();
            continue;
        };
        let mut fake = Fake::over(stream);
        fake.send(&open.encode());
        fake.send(&frame(Type::Keepalive, &[]));
        let _read = fake.read(Duration::from_millis(200));
        came += 1;
    }
    // DampPeerOscillations: each time the wait is longer (RFC 4271 §8.1.1).
    assert!((2..20).contains(&came), "dialled {came} times in 12 s");
    scene.unharmed(before, 8 * 1024);
}

/// RFC 7606 §6: the log has the whole of a malformed UPDATE, at a bounded rate.
#[test]
fn malformed_updates_are_logged_whole_and_not_each() {
    let scene = Scene::new();
    let mut fake = scene.fake();
    // ORIGIN 3; 192.0.2.0/24 is treated as withdrawn.
    let attributes = [0x40, 1, 1, 3, 0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf7, 0x40, 3, 4, 10, 0, 0, 3];
    let mut body = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
    body.extend(attributes);
    body.extend([24, 192, 0, 2]);
    let update = frame(Type::Update, &body);
    let before = scene.resident();
    fake.send(&update.repeat(20_000));
    let hex: String = update.iter().map(|octet| format!("{octet:02x}")).collect();
    scene.speaker.wait_log(&["faulty UPDATE", "ORIGIN", &hex], SOON);
    eventually(SOON, "all were read", || {
        let peer = scene.speaker.peer("fake");
        let read = peer["receivedByKind"]["updates"].as_u64().unwrap_or_default();
        if read >= 20_000 { Ok(()) } else { Err(format!("{read}: {}", peer["lastError"])) }
    });
    let lines = scene.speaker.process().log().matches("faulty UPDATE").count();
    assert!(lines < 8, "{lines} lines");
    scene.unharmed(before, 8 * 1024);
    assert_eq!(scene.speaker.peer("fake")["state"], "Established");
}

/// The same for one that ends the session (RFC 7606 §5.3): the whole of it in the log, and in the last error.
#[test]
fn a_malformed_update_that_ends_the_session_is_logged_whole_and_shown() {
    let scene = Scene::new();
    let mut fake = scene.fake();
    // An MP_REACH_NLRI whose next hop has 9 octets.
    let attributes = [0x80, 14, 14, 0, 1, 1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0];
    let mut body = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
    body.extend(attributes);
    let update = frame(Type::Update, &body);
    let hex: String = update.iter().map(|octet| format!("{octet:02x}")).collect();
    fake.send(&update);
    let (last, _) = fake.read_until(Type::Notification, SOON);
    assert_eq!((last.notification(), &last.bytes[21..]), (Some((3, 9)), &attributes[..]));
    scene.speaker.wait_log(&["malformed message", &hex], SOON);
    eventually(SOON, "the last error has the message", || {
        let error = scene.speaker.peer("fake")["lastError"].clone();
        if error["message"] == hex.as_str() { Ok(error) } else { Err(error.to_string()) }
    });
    let shown = scene.speaker.cli(&["peers", "fake"]);
    assert!(shown.contains(&format!("The malformed message: {hex}")), "{shown}");
    // It comes again with the same: no line each time.
    for _ in 0..2 {
        let mut fake = scene.fake();
        fake.send(&update);
        fake.read_until(Type::Notification, SOON);
    }
    let lines = scene.speaker.process().log().matches("malformed message").count();
    assert!((1..=3).contains(&lines), "{lines} lines");
    // Another end has no message.
    let mut fake = scene.fake();
    fake.send(&frame(Type::Notification, &[6, 4]));
    eventually(SOON, "the last error is the NOTIFICATION", || {
        let error = scene.speaker.peer("fake")["lastError"].clone();
        let right =
            error["message"].is_null() && error["text"].as_str().is_some_and(|text| text.contains("(6/4)"));
        if right { Ok(()) } else { Err(error.to_string()) }
    });
    scene.unharmed(scene.resident(), 8 * 1024);
}

/// Thousands of addresses that nobody configured dial at once, each once; so do 250 addresses of a dynamic
/// peer's prefix that admits 4. Half of them say OPEN, half say nothing.
#[test]
fn a_flood_from_thousands_of_unknown_addresses() {
    const THREADS: u8 = 4;
    let scene = Scene::beside(Kind::Frr, 0);
    let _fake = scene.fake();
    // AnyIP: the other side is at every address of these.
    for prefix in ["10.20.0.0/16", "10.0.9.0/24"] {
        scene.outside.ip(&["route", "add", "local", prefix, "dev", "lo"]);
    }
    scene.node.ip(&["route", "add", "10.20.0.0/16", "via", "10.0.0.2"]);
    let before = scene.resident();
    let outside = &scene.outside;
    let flood = |thread: u8| {
        let (mut held, mut came) = (Vec::new(), 0usize);
        let unknown = (0..6u8).flat_map(|a| (1..=250u8).map(move |b| [10, 20, thread * 8 + a, b]));
        let dynamic = (0..60u8).map(|n| [10, 0, 9, 4 + thread * 60 + n]);
        for from in unknown.chain(dynamic) {
            let Some(mut stream) = dial(outside, from.into()) else { continue };
            came += 1;
            if came % 2 == 0 {
                let _closed = stream.write_all(&Open::new(64504, from).encode());
            }
            // Some stay, some are gone at once.
            if came % 4 < 2 {
                held.push(stream);
            }
        }
        (held, came)
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || flood(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let came: usize = all.iter().map(|(_, came)| came).sum();
    assert!(came > 5000, "only {came} connections");
    eventually(SOON, "what nobody configured is closed", || {
        let open = scene.descriptors();
        if open < 100 { Ok(()) } else { Err(format!("{open} descriptors for {came} connections")) }
    });
    let peers = scene.speaker.json(&["peers"]);
    let count = peers.as_array().unwrap().len();
    assert!(count <= 2 + 4, "{count} peers");
    let log = scene.speaker.process().log();
    assert!(log.lines().count() < 2000, "{} lines of log for {came} connections", log.lines().count());
    scene.unharmed(before, 12 * 1024);
    assert_eq!(scene.speaker.peer("fake")["state"], "Established");
    drop(all);
}

/// RFC 8654: UPDATEs of full size both ways with a peer that announces it; none above 4096 octets to one that does
/// not, and Bad Message Length for what may never be longer.
#[test]
fn messages_of_65535_octets() {
    let scene = Scene::beside(Kind::Bird, 18_000);
    let before = scene.resident();
    let usual = Open { hold: 90, ..Open::new(64503, [10, 0, 0, 3]) };
    let mut extended = usual.clone();
    extended.capabilities.push((6, Vec::new()));
    let longest = |fake: &mut Fake| {
        let (mut longest, mut routes) = (0, 0);
        while routes < 20_000 {
            let (update, _) = fake.read_until(Type::Update, SOON);
            let attributes = usize::from(u16::from_be_bytes([update.bytes[21], update.bytes[22]]));
            assert_eq!((&update.bytes[19..21], (update.bytes.len() - 23 - attributes) % 4), (&[0, 0][..], 0));
            routes += (update.bytes.len() - 23 - attributes) / 4;
            longest = longest.max(update.bytes.len());
        }
        longest
    };
    let mut fake = Fake::accept(&scene.listener, SOON);
    fake.establish(&extended, SOON);
    let long = longest(&mut fake);
    assert!(long > 65_500, "{long} octets");
    // 16,000 routes, and an attribute that nobody knows to fill up.
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf7, 0x40, 3, 4, 10, 0, 0, 3];
    let filler = 65_535 - 23 - 16_000 * 4 - attributes.len() - 4;
    attributes.extend([0xd0, 254]);
    attributes.extend(u16::try_from(filler).unwrap().to_be_bytes());
    attributes.resize(attributes.len() + filler, 0xab);
    let nlri: Vec<u8> =
        (0..16_000u16).flat_map(|n| [24, 100, n.to_be_bytes()[0], n.to_be_bytes()[1]]).collect();
    let length = |octets: &[u8]| u16::try_from(octets.len()).unwrap().to_be_bytes();
    let body = [&[0, 0][..], &length(&attributes), &attributes, &nlri].concat();
    let update = frame(Type::Update, &body);
    assert_eq!(update.len(), 65_535);
    let count = |expected: u64| {
        eventually(SOON, &format!("{expected} routes"), || {
            let peer = scene.speaker.peer("fake");
            let found = peer["received"][0]["count"].as_u64();
            if found == Some(expected) {
                Ok(())
            } else {
                Err(format!("{} {}", peer["received"], peer["lastError"]))
            }
        });
    };
    for _ in 0..8 {
        fake.send(&update);
    }
    count(16_000);
    fake.send(&frame(Type::Update, &[&length(&nlri)[..], &nlri, &[0, 0]].concat()));
    count(0);
    drop(fake);
    let mut fake = Fake::accept(&scene.listener, SOON);
    fake.establish(&usual, SOON);
    let short = longest(&mut fake);
    assert!((4000..=4096).contains(&short), "{short} octets");
    let mut keepalive = frame(Type::Keepalive, &[]);
    keepalive[16..18].copy_from_slice(&4097u16.to_be_bytes());
    fake.send(&keepalive);
    let (last, _) = fake.read_until(Type::Notification, SOON);
    assert_eq!((last.notification(), &last.bytes[21..]), (Some((1, 2)), &[0x10, 0x01][..]));
    scene.unharmed(before, 24 * 1024);
}
