//! Regenerates the golden captures in bgp-proto/tests/golden: `cargo run -p tests --bin capture [DAEMON…]`, as
//! root. Every message in them was sent by the named daemon, to another daemon or to a peer made by hand.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a tool of the laboratory: a failure ends it with its text"
)]

use std::net::IpAddr;
use std::time::Duration;

use tests::bgp::{self, Message, Open, Type, frame};
use tests::daemon::features::{Feature, lack};
use tests::daemon::{self, Family, Kind, PeerSpec, RouteSpec};
use tests::fake::Fake;
use tests::golden::{self, Title};
use tests::pair::{Pair, Sides, address, nodes};
use tests::pcap::Capture;
use tests::wait::{eventually, try_eventually};

const SOON: Duration = Duration::from_secs(30);

/// A session between two daemons of which the right one's messages are kept.
struct Scenario {
    name: &'static str,
    what: &'static str,
    context: &'static str,
    needs: Option<Feature>,
    sides: fn(Kind) -> Sides,
    change: fn(u8, &mut PeerSpec),
    act: fn(&mut Pair),
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for kind in Kind::ALL.into_iter().filter(|k| wanted.is_empty() || wanted.iter().any(|w| w == k.name())) {
        for scenario in scenarios() {
            match scenario.needs.and_then(|feature| lack(kind, feature)) {
                Some(why) => println!("{kind} {}: {why}", scenario.name),
                None => session(kind, &scenario),
            }
        }
        notifications(kind);
    }
}

/// Who listens to `kind`.
fn listener(kind: Kind) -> Kind {
    if kind == Kind::Bird { Kind::Frr } else { Kind::Bird }
}

fn ipv4(kind: Kind) -> Sides {
    Sides::new(listener(kind), kind, Family::V4)
}

fn ipv6(kind: Kind) -> Sides {
    Sides::new(listener(kind), kind, Family::V6)
}

fn internal(kind: Kind) -> Sides {
    Sides { left_as: 64502, ..ipv4(kind) }
}

/// Towards a peer without 4-octet AS numbers, from an AS that needs them.
fn two_octet(kind: Kind) -> Sides {
    let left = if kind == Kind::Bird { Kind::ExaBgp } else { Kind::Bird };
    Sides { right_as: 4_200_000_001, ..Sides::new(left, kind, Family::V4) }
}

const PLAIN: Scenario = Scenario {
    name: "ebgp-ipv4",
    what: "eBGP over IPv4: every attribute, a withdrawal, a refresh asked for, the operator's shutdown",
    context: "as4=yes add-path=no",
    needs: None,
    sides: ipv4,
    change: |_, _| {},
    act: all_of_ipv4,
};

fn scenarios() -> Vec<Scenario> {
    let mut all = basic();
    all.extend(optional());
    all
}

/// What every session has.
fn basic() -> Vec<Scenario> {
    vec![
        PLAIN,
        Scenario {
            name: "ebgp-ipv6",
            what: "eBGP over IPv6: MP_REACH_NLRI and MP_UNREACH_NLRI, End-of-RIB",
            sides: ipv6,
            act: all_of_ipv6,
            ..PLAIN
        },
        Scenario {
            name: "ebgp-both-families",
            what: "eBGP over IPv4 with both families negotiated",
            change: |_, peer| peer.families = vec![Family::V4, Family::V6],
            act: |pair| announce(pair, &[RouteSpec::new("198.51.100.0/24")]),
            ..PLAIN
        },
        Scenario { name: "ibgp-ipv4", what: "iBGP: LOCAL_PREF", sides: internal, act: preferred, ..PLAIN },
        Scenario {
            name: "graceful-restart",
            what: "graceful restart on both sides: the capability, End-of-RIB",
            change: |_, peer| {
                peer.families = vec![Family::V4, Family::V6];
                peer.graceful_restart = Some(30);
            },
            act: |pair| announce(pair, &[RouteSpec::new("198.51.100.0/24")]),
            ..PLAIN
        },
        Scenario {
            name: "many-routes",
            what: "many prefixes of the same attributes",
            act: many_routes,
            ..PLAIN
        },
    ]
}

/// What takes a capability, or its absence.
fn optional() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "add-path-ipv4",
            what: "ADD-PATH both ways",
            context: "as4=yes add-path=ipv4",
            needs: Some(Feature::AddPath),
            change: |_, peer| peer.add_path = true,
            act: some_routes,
            ..PLAIN
        },
        Scenario {
            name: "add-path-ipv6",
            what: "ADD-PATH both ways",
            context: "as4=yes add-path=ipv6",
            needs: Some(Feature::AddPath),
            sides: ipv6,
            change: |_, peer| peer.add_path = true,
            act: all_of_ipv6,
        },
        Scenario {
            name: "extended-next-hop",
            what: "IPv4 routes with an IPv6 next hop (RFC 8950), withdrawn again",
            needs: Some(Feature::ExtendedNextHop),
            sides: ipv6,
            change: |_, peer| {
                peer.families = vec![Family::V4, Family::V6];
                peer.extended_next_hop = true;
            },
            act: some_routes,
            ..PLAIN
        },
        Scenario {
            name: "two-octet-as",
            what: "from AS 4200000001 to a peer without 4-octet AS numbers: AS_TRANS, AS4_PATH",
            context: "as4=no add-path=no",
            sides: two_octet,
            change: |n, peer| peer.four_octet_as = n == 2,
            act: some_routes,
            ..PLAIN
        },
        Scenario {
            name: "extended-messages",
            what: "messages above 4096 octets (RFC 8654)",
            context: "as4=yes add-path=no extended=yes",
            needs: Some(Feature::ExtendedMessages),
            change: |_, peer| peer.extended_messages = true,
            act: many_routes,
            ..PLAIN
        },
    ]
}

fn session(kind: Kind, scenario: &Scenario) {
    let (lab, left, right) = nodes();
    let capture = Capture::start(&lab, &right, "eth0");
    let mut pair = (scenario.sides)(kind).start_on((lab, left, right), scenario.change);
    daemon::wait_established(&*pair.left, pair.right_address, SOON);
    daemon::wait_established(&*pair.right, pair.left_address, SOON);
    (scenario.act)(&mut pair);
    let version = pair.right.version();
    let from = pair.right_address;
    let messages = bgp::messages(&capture.stop());
    let sent: Vec<Message> = messages.into_iter().filter(|m| m.from.ip() == from).collect();
    let Scenario { name, what, context, .. } = *scenario;
    let count = sent.len();
    golden::write(&Title { kind, version: &version, name, what, context }, &sent);
    println!("{kind} {name}: {count} messages");
}

/// Announces and waits until the other side has the last of them.
fn announce(pair: &mut Pair, routes: &[RouteSpec]) {
    pair.right.announce(routes);
    let last = routes.last().map_or_else(String::new, |r| r.prefix.to_string());
    daemon::wait_route(&*pair.left, pair.right_address, &last, SOON, |_| true);
}

fn withdraw(pair: &mut Pair, prefix: &str) {
    pair.right.withdraw(&[prefix.parse().expect("prefix")]);
    daemon::wait_no_route(&*pair.left, pair.right_address, prefix, SOON);
}

fn rich(prefix: &str, asn: u32) -> RouteSpec {
    RouteSpec {
        med: Some(50),
        communities: vec![format!("{asn}:100"), format!("{asn}:65535")],
        large: vec![format!("{asn}:1:2"), format!("{asn}:4294967295:0")],
        ext: vec![format!("rt:{asn}:7")],
        prepend: 2,
        ..RouteSpec::new(prefix)
    }
}

fn all_of_ipv4(pair: &mut Pair) {
    announce(pair, &[rich("198.51.100.0/24", 64502), RouteSpec::new("203.0.113.128/25")]);
    announce(pair, &[RouteSpec::new("192.0.2.1/32"), RouteSpec::new("10.64.0.0/10")]);
    withdraw(pair, "198.51.100.0/24");
    pair.right.request_refresh(pair.left_address, Family::V4);
    shut(pair);
}

fn all_of_ipv6(pair: &mut Pair) {
    announce(pair, &[rich("2001:db8:1::/48", 64502), RouteSpec::new("2001:db8:2::/47")]);
    announce(pair, &[RouteSpec::new("2001:db8::1/128")]);
    withdraw(pair, "2001:db8:1::/48");
    pair.right.request_refresh(pair.left_address, Family::V6);
    shut(pair);
}

fn shut(pair: &mut Pair) {
    pair.right.shut(pair.left_address, "maintenance");
    let peer = pair.right_address;
    eventually(SOON, "the shutdown arrives", || {
        let state = pair.left.state(peer);
        if state == "established" { Err(state) } else { Ok(()) }
    });
}

fn preferred(pair: &mut Pair) {
    let route = RouteSpec { local_pref: Some(200), prepend: 0, ..rich("198.51.100.0/24", 64502) };
    announce(pair, &[route, RouteSpec::new("203.0.113.0/24")]);
    withdraw(pair, "203.0.113.0/24");
}

fn some_routes(pair: &mut Pair) {
    announce(pair, &[RouteSpec { med: Some(7), ..RouteSpec::new("198.51.100.0/24") }]);
    announce(pair, &[RouteSpec::new("203.0.113.0/24")]);
    withdraw(pair, "198.51.100.0/24");
}

fn many_routes(pair: &mut Pair) {
    // GoBGP sends one route a message: fewer show as much.
    let count: u32 = if pair.right.kind() == Kind::GoBgp { 400 } else { 3000 };
    let routes: Vec<RouteSpec> =
        (0..count).map(|n| RouteSpec::new(&format!("10.{}.{}.0/24", 100 + n / 256, n % 256))).collect();
    announce(pair, &routes);
    let peer = pair.right_address;
    eventually(SOON, "all routes", || {
        let have = pair.left.received(peer, Family::V4).len();
        if have == routes.len() { Ok(()) } else { Err(format!("{have} routes")) }
    });
}

/// How to make a daemon send a NOTIFICATION.
struct Provocation {
    what: &'static str,
    open: Open,
    established: bool,
    send: Vec<u8>,
}

fn provocations() -> Vec<Provocation> {
    let open = || Open::new(64501, [10, 0, 0, 1]);
    let before = |what, open: Open| Provocation { what, open, established: false, send: Vec::new() };
    let after = |what, send| Provocation { what, open: open(), established: true, send };
    let header = |marker: u8, length: u16, kind: u8| {
        let mut bytes = vec![marker; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes
    };
    vec![
        before("an OPEN of version 3", Open { version: 3, ..open() }),
        before("an OPEN of another AS", Open::new(64999, [10, 0, 0, 1])),
        before("an OPEN with the identifier 0.0.0.0", Open::new(64501, [0; 4])),
        before("an OPEN with hold time 1", Open { hold: 1, ..open() }),
        after("a header whose marker is not all ones", header(0, 19, 4)),
        after("a header with length 18", header(0xff, 18, 4)),
        after("a message of type 9", header(0xff, 19, 9)),
        after("an UPDATE whose withdrawn routes run past its end", frame(Type::Update, &[0xff, 0xff, 0, 0])),
        after("a second OPEN", open().encode()),
        Provocation {
            what: "silence until the hold time of 3 s is over",
            open: Open { hold: 3, ..open() },
            established: true,
            send: Vec::new(),
        },
    ]
}

fn notifications(kind: Kind) {
    let mut sent = Vec::new();
    let mut what = String::from("answers to:");
    let mut version = String::new();
    for provocation in provocations() {
        match provoke(kind, &provocation) {
            Some((v, message)) => {
                println!("{kind} {}: {:?}", provocation.what, message.notification());
                what.push_str(&format!(" {};", provocation.what));
                version = v;
                sent.push(message);
            }
            None => println!("{kind} {}: no NOTIFICATION", provocation.what),
        }
    }
    let context = "as4=yes add-path=no";
    golden::write(&Title { kind, version: &version, name: "notifications", what: &what, context }, &sent);
}

fn provoke(kind: Kind, provocation: &Provocation) -> Option<(String, Message)> {
    let (lab, left, right) = nodes();
    let mut spec = ipv4(kind).spec(2);
    spec.peers[0].passive = true;
    let router = daemon::start(kind, &right, &spec);
    let target: IpAddr = address(Family::V4, 2);
    let answers = try_eventually(SOON, || {
        let mut fake = Fake::dial(&left, target, SOON);
        fake.send(&provocation.open.encode());
        if provocation.established {
            fake.send(&frame(Type::Keepalive, &[]));
        }
        fake.send(&provocation.send);
        let answers = fake.read_to_close(Duration::from_secs(12));
        // A daemon that is not ready yet for its peer closes without a word.
        if answers.is_empty() { Err("closed without a message".to_owned()) } else { Ok(answers) }
    });
    let version = router.version();
    drop((router, lab));
    let notification = answers.ok()?.into_iter().find(|m| m.notification().is_some())?;
    Some((version, notification))
}
