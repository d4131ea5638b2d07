//! Peers and strangers that misbehave beside a session with BIRD, which must not notice; memory stays bounded.
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
use std::net::{SocketAddr, TcpListener, TcpStream};
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

/// A speaker with BIRD at 10.0.0.2 and a peer made by hand at 10.0.0.3, port 1179.
struct Scene {
    speaker: Speaker,
    router: Box<dyn Router>,
    listener: TcpListener,
    outside: Node,
    up_at: u64,
    _lab: Lab,
}

fn config(med: u32, prefixes: usize) -> String {
    let mut text = format!(
        "node: {{name: n1}}
router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\"]}}
sources: {{manifests: [manifests]}}
ipam: {{stateDir: state}}
peerGroups: [{{name: all, families: [ipv4-unicast], timers: {{hold: 9s, connectRetry: 1s}}}}]
peers:
  - {{name: bird, group: all, address: 10.0.0.2, asn: 64502}}
  - {{name: fake, group: all, address: 10.0.0.3, port: 1179, asn: 64503, timers: {{hold: 90s}}}}
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
    text
}

impl Scene {
    fn new() -> Self {
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
        let router = daemon::start(Kind::Bird, &outside, &spec);
        let address: SocketAddr = "10.0.0.3:1179".parse().unwrap();
        let listener = outside.inside(|| TcpListener::bind(address).unwrap());
        listener.set_nonblocking(true).unwrap();
        let speaker = Speaker::start(&node, &config(1, 2000), &[]);
        speaker.wait_state("bird", "Established", SOON);
        let mut scene = Self { speaker, router, listener, outside, up_at: 0, _lab: lab };
        scene.up_at = scene.established();
        scene.wait_med(1, 2000);
        scene
    }

    /// How often the session with BIRD came up.
    fn established(&self) -> u64 {
        self.speaker.peer("bird")["establishedCount"].as_u64().unwrap()
    }

    fn fake(&self) -> Fake {
        let mut fake = Fake::accept(&self.listener, SOON);
        fake.establish(&Open { hold: 90, ..Open::new(64503, [10, 0, 0, 3]) }, SOON);
        fake
    }

    /// BIRD has so many routes, all with this MED.
    fn wait_med(&self, med: u32, count: usize) {
        eventually(SOON, &format!("BIRD has {count} routes with MED {med}"), || {
            let routes = self.router.received([10, 0, 0, 1].into(), daemon::Family::V4);
            let right = routes.iter().filter(|route| route.med == Some(med)).count();
            if (right, routes.len()) == (count, count) {
                Ok(())
            } else {
                Err(format!("{right} of {}", routes.len()))
            }
        });
    }

    /// Resident memory in KiB.
    fn resident(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.speaker.process().pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The session with BIRD never ended, changes still reach it, and memory has not grown by more than `most` KiB.
    fn unharmed(&self, before: u64, most: u64) {
        self.speaker.write_config(&config(77, 2000));
        self.wait_med(77, 2000);
        assert_eq!(self.established(), self.up_at, "{}", self.speaker.process().log_tail(20));
        let after = self.resident();
        assert!(after < before + most, "{before} KiB before, {after} KiB after");
    }
}

#[test]
fn a_peer_that_reads_one_octet_at_a_time() {
    let scene = Scene::new();
    let (stream, _) =
        eventually(SOON, "the speaker dials", || scene.listener.accept().map_err(|e| e.to_string()));
    let mut raw = stream.try_clone().unwrap();
    Fake::over(stream).establish(&Open { hold: 90, ..Open::new(64503, [10, 0, 0, 3]) }, SOON);
    let before = scene.resident();
    // Its window is full with the first table; the rest would be 40 times 2000 routes.
    for med in 2..42 {
        scene.speaker.write_config(&config(med, 2000));
        scene.wait_med(med, 2000);
        assert_eq!(raw.read(&mut [0]).unwrap(), 1);
    }
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
    let dial = |from: &str| -> Option<TcpStream> {
        let from: SocketAddr = from.parse().unwrap();
        scene.outside.inside(|| {
            let socket = Socket::new(Domain::IPV4, SocketType::STREAM, None).ok()?;
            socket.bind(&from.into()).ok()?;
            let to: SocketAddr = "10.0.0.1:179".parse().unwrap();
            socket.connect_timeout(&to.into(), Duration::from_secs(2)).ok()?;
            Some(socket.into())
        })
    };
    let mut held = Vec::new();
    // A peer's own address, a dynamic peer's, and those of strangers.
    for from in ["10.0.0.3:0", "10.0.9.3:0", "10.0.8.3:0"] {
        for _ in 0..1000 {
            held.extend(dial(from));
        }
    }
    assert!(held.len() > 1000, "only {} connections", held.len());
    let descriptors =
        std::fs::read_dir(format!("/proc/{}/fd", scene.speaker.process().pid())).unwrap().count();
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
    let scene = Scene::new();
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
