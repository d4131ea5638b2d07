//! The speaker's BFD against FRR's bfdd and BIRD: one hop over a switch, and several over a router.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::{Bird, Frr, Router};
use crate::lab::{Lab, Node};
use crate::speaker::Speaker;
use crate::wait::eventually;

/// Long enough for a session to come up after a hold.
pub const SOON: Duration = Duration::from_secs(60);

/// Both sides' interval and multiplier. The machine of a test may be busy.
pub const INTERVAL: Duration = Duration::from_millis(300);
/// As [`INTERVAL`].
pub const MULTIPLIER: u32 = 4;
/// What both sides make of them.
pub const DETECTION: Duration = Duration::from_millis(300 * MULTIPLIER as u64);
/// Generous: what is asserted of a detection.
pub const BOUND: Duration = Duration::from_millis(5 * 300 * MULTIPLIER as u64);

/// Which daemon is the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// FRR with bfdd.
    Frr,
    /// BIRD.
    Bird,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On the same switch: 10.0.0.1 and .2, fd00::1 and ::2, fe80::1 and ::2.
    Link,
    /// Behind a router: 10.1.0.1 and 10.2.0.2, fd01::1 and fd02::2.
    Routed,
}

/// The router.
#[derive(Debug)]
pub enum Daemon {
    /// FRR.
    Frr(Frr),
    /// BIRD.
    Bird(Bird),
}

/// A session of the speaker: its name, our address and the router's.
#[derive(Debug, Clone)]
pub struct Session {
    /// The peer's name.
    pub name: &'static str,
    /// Ours.
    pub ours: IpAddr,
    /// The router's.
    pub theirs: IpAddr,
}

/// A speaker and a router, with what is between them.
#[derive(Debug)]
pub struct Bench {
    /// The speaker.
    pub speaker: Speaker,
    /// The router.
    pub router: Daemon,
    /// The speaker's node.
    pub node: Node,
    /// The router's node.
    pub router_node: Node,
    /// The switch or the router between them.
    pub between: Node,
    /// How far they are from one another.
    pub reach: Reach,
    /// The sessions.
    pub sessions: Vec<Session>,
    /// Last, so that it goes last.
    pub lab: Lab,
}

/// The sessions over `reach`.
#[must_use]
pub fn sessions(reach: Reach) -> Vec<Session> {
    let one = |name, ours: &str, theirs: &str| Session {
        name,
        ours: ours.parse().unwrap(),
        theirs: theirs.parse().unwrap(),
    };
    match reach {
        Reach::Link => vec![
            one("router4", "10.0.0.1", "10.0.0.2"),
            one("router6", "fd00::1", "fd00::2"),
            one("router-ll", "fe80::1", "fe80::2"),
        ],
        Reach::Routed => {
            vec![one("router4", "10.1.0.1", "10.2.0.2"), one("router6", "fd01::1", "fd02::2")]
        }
    }
}

/// `bfd` of the speaker's configuration.
#[must_use]
pub fn intervals(interval: Duration) -> String {
    let time = format!("{}ms", interval.as_millis());
    format!("{{transmit: {time}, receive: {time}, detectMultiplier: {MULTIPLIER}}}")
}

/// The speaker's configuration. The hold time is so long that whatever ends a session is not it.
#[must_use]
pub fn config(reach: Reach, bfd: &str, keys: &str) -> String {
    let (ttl, zone) = match reach {
        Reach::Link => ("", "%eth0"),
        Reach::Routed => ("multihop: {ttl: 8}, ", ""),
    };
    let mut peers = String::new();
    for session in sessions(reach) {
        let zone = if session.name == "router-ll" { zone } else { "" };
        let (name, ours, theirs) = (session.name, session.ours, session.theirs);
        let local = if zone.is_empty() { format!("localAddress: \"{ours}\", ") } else { String::new() };
        peers += &format!(
            "  - {{name: {name}, address: \"{theirs}{zone}\", asn: 64502, {local}{ttl}bfd: {bfd}, {keys}}}\n"
        );
    }
    format!(
        "node: {{name: n1}}\n\
         router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\", \"[::]:179\"]}}\n\
         sources: {{manifests: [manifests]}}\n\
         ipam: {{stateDir: state}}\n\
         peerGroups:\n  - {{name: none, asn: 64502}}\n\
         peers:\n{peers}\
         advertisements:\n  - {{name: fixed, prefixes: [203.0.113.0/24, \"2001:db8:1::/48\"]}}\n\
         datapath: {{loops: none}}\n\
         api: {{socket: api.sock}}\n"
    )
}

/// The nodes, with addresses and routes.
fn topology(lab: &Lab, reach: Reach) -> (Node, Node, Node) {
    let (node, router) = (lab.node("node"), lab.node("router"));
    match reach {
        Reach::Link => {
            let switch = lab.switch("switch");
            for (end, port, n) in [(&node, "n0", 1), (&router, "r0", 2)] {
                lab.link(&switch, port, end, "eth0");
                switch.ip(&["link", "set", port, "master", "br0"]);
                end.address("eth0", &format!("10.0.0.{n}/16"));
                end.address("eth0", &format!("fd00::{n}/64"));
                end.address("eth0", &format!("fe80::{n}/64"));
            }
            (node, router, switch)
        }
        Reach::Routed => {
            let middle = lab.node("middle");
            forward(&middle, true);
            for (end, port, n) in [(&node, "n0", 1), (&router, "r0", 2)] {
                lab.link(&middle, port, end, "eth0");
                middle.address(port, &format!("10.{n}.0.254/24"));
                middle.address(port, &format!("fd0{n}::fe/64"));
                end.address("eth0", &format!("10.{n}.0.{n}/24"));
                end.address("eth0", &format!("fd0{n}::{n}/64"));
                end.ip(&["route", "add", "default", "via", &format!("10.{n}.0.254")]);
                end.ip(&["-6", "route", "add", "default", "via", &format!("fd0{n}::fe")]);
            }
            (node, router, middle)
        }
    }
}

fn forward(node: &Node, on: bool) {
    let value = if on { "1" } else { "0" };
    node.sysctl("net/ipv4/ip_forward", value);
    node.sysctl("net/ipv6/conf/all/forwarding", value);
}

fn frr(node: &Node, reach: Reach, restart: bool) -> Frr {
    let mut text =
        "frr defaults traditional\nrouter bgp 64502\n bgp router-id 10.0.0.2\n bgp log-neighbor-changes\n \
                    no bgp ebgp-requires-policy\n"
            .to_owned();
    if restart {
        text += " bgp graceful-restart\n";
    }
    for Session { name, ours, theirs } in sessions(reach) {
        text += &format!(
            " neighbor {ours} remote-as 64501\n neighbor {ours} timers 30 90\n neighbor {ours} timers connect 1\n"
        );
        if name == "router-ll" {
            text += &format!(" neighbor {ours} interface eth0\n");
        }
        if reach == Reach::Routed {
            text += &format!(" neighbor {ours} ebgp-multihop 8\n neighbor {ours} update-source {theirs}\n");
        }
        text += &format!(" neighbor {ours} bfd\n neighbor {ours} bfd profile lab\n");
    }
    text += " address-family ipv6 unicast\n";
    for Session { ours, .. } in sessions(reach) {
        text += &format!("  neighbor {ours} activate\n");
    }
    text += " exit-address-family\n";
    let (time, multiplier) = (INTERVAL.as_millis(), MULTIPLIER);
    let bfd = format!(
        "bfd\n profile lab\n  detect-multiplier {multiplier}\n  transmit-interval {time}\n  receive-interval {time}\n exit\n"
    );
    Frr::with_bfd(node, 64502, &text, &bfd)
}

fn bird_config(reach: Reach, interval: Duration) -> String {
    let timing = format!("interval {} ms; multiplier {MULTIPLIER};", interval.as_millis());
    let mut text = format!(
        "log stderr all;\nrouter id 10.0.0.2;\nprotocol device {{}}\n\
         protocol bfd lab {{ interface \"*\" {{ {timing} }}; multihop {{ {timing} }}; }}\n"
    );
    for (n, Session { name, ours, theirs }) in sessions(reach).into_iter().enumerate() {
        let zone = if name == "router-ll" { "%eth0" } else { "" };
        let hops = if reach == Reach::Routed { "multihop 8" } else { "direct" };
        text += &format!(
            "protocol bgp peer{n} {{ local {theirs} as 64502; neighbor {ours}{zone} as 64501; {hops}; bfd on;\n \
             connect delay time 1; connect retry time 1; error wait time 1,2; hold time 90;\n \
             ipv4 {{ import all; export none; extended next hop yes; }}; ipv6 {{ import all; export none; }}; }}\n"
        );
    }
    text
}

impl Bench {
    /// Starts both sides; the speaker's peers have `keys` beside the usual ones.
    #[must_use]
    pub fn start(kind: Kind, reach: Reach, keys: &str) -> Self {
        let lab = Lab::new();
        let (node, router_node, between) = topology(&lab, reach);
        let router = match kind {
            Kind::Frr => Daemon::Frr(frr(&router_node, reach, keys.contains("gracefulRestart"))),
            Kind::Bird => Daemon::Bird(Bird::with_config(&router_node, 64502, &bird_config(reach, INTERVAL))),
        };
        let speaker = Speaker::start(&node, &config(reach, &intervals(INTERVAL), keys), &[]);
        Self { speaker, router, node, router_node, between, reach, sessions: sessions(reach), lab }
    }

    /// As [`Self::start`], and waits until BGP and BFD are up on every session, on both sides.
    #[must_use]
    pub fn up(kind: Kind, reach: Reach, keys: &str) -> Self {
        let bench = Self::start(kind, reach, keys);
        bench.wait_up();
        bench
    }

    /// Until BGP and BFD are up on every session, on both sides.
    pub fn wait_up(&self) {
        for session in &self.sessions {
            self.speaker.wait_state(session.name, "Established", SOON);
            self.wait_bfd(session, "Up");
            eventually(SOON, &format!("the router's BFD with {} is up", session.ours), || {
                let state = self.router_bfd(session);
                if state == "up" { Ok(()) } else { Err(state) }
            });
        }
    }

    /// Until our BFD with a peer is in `state`.
    #[track_caller]
    pub fn wait_bfd(&self, session: &Session, state: &str) {
        eventually(SOON, &format!("BFD with {} is {state}", session.name), || {
            let bfd = self.bfd(session);
            if bfd["state"] == state { Ok(()) } else { Err(bfd.to_string()) }
        });
    }

    /// `bfd` of `speaker peers NAME -o json`.
    #[must_use]
    pub fn bfd(&self, session: &Session) -> Value {
        self.speaker.peer(session.name)["bfd"].clone()
    }

    /// The router's BFD session with us in its words, lower case.
    #[must_use]
    pub fn router_bfd(&self, session: &Session) -> String {
        match &self.router {
            Daemon::Frr(frr) => {
                frr.bfd_peer(session.ours)["status"].as_str().unwrap_or("none").to_ascii_lowercase()
            }
            Daemon::Bird(bird) => {
                let text = bird.birdc("show bfd sessions");
                let ours = session.ours.to_string();
                let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                let row = rows.find(|row| row.first().is_some_and(|address| *address == ours));
                row.and_then(|row| row.get(2).map(|state| state.to_ascii_lowercase()))
                    .unwrap_or_else(|| "none".to_owned())
            }
        }
    }

    /// The state of the router's BGP session with us.
    #[must_use]
    pub fn router_bgp(&self, session: &Session) -> String {
        match &self.router {
            Daemon::Frr(frr) => frr.state(session.ours),
            Daemon::Bird(bird) => bird.state(session.ours),
        }
    }

    /// Nothing gets through any more, and no interface tells.
    pub fn cut(&self) {
        match self.reach {
            Reach::Link => _ = self.between.ip(&["link", "set", "r0", "nomaster"]),
            Reach::Routed => forward(&self.between, false),
        }
    }

    /// What [`Self::cut`] took away is back.
    pub fn heal(&self) {
        match self.reach {
            Reach::Link => _ = self.between.ip(&["link", "set", "r0", "master", "br0"]),
            Reach::Routed => forward(&self.between, true),
        }
    }

    /// How long it takes until no session is up at the speaker, and at the router.
    ///
    /// # Panics
    /// If it takes longer than [`BOUND`].
    #[must_use]
    pub fn time_to_down(&self, why: &str) -> (Duration, Duration) {
        let start = Instant::now();
        let (mut ours, mut theirs) = (None, None);
        eventually(BOUND, &format!("{why}: both sides close BGP"), || {
            let names = self.sessions.iter().map(|session| session.name);
            let up: Vec<&str> =
                names.filter(|name| self.speaker.peer(name)["state"] == "Established").collect();
            if up.is_empty() {
                ours.get_or_insert_with(|| start.elapsed());
            }
            let at_router: Vec<String> = self
                .sessions
                .iter()
                .filter(|s| self.router_bgp(s) == "established")
                .map(|s| s.ours.to_string())
                .collect();
            if at_router.is_empty() {
                theirs.get_or_insert_with(|| start.elapsed());
            }
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => Ok((ours, theirs)),
                _ => Err(format!(
                    "at the speaker {up:?}, at the router {at_router:?} (detection time {DETECTION:?})"
                )),
            }
        })
    }

    /// A BFD packet that is right but for its TTL: the router's address, our discriminator, state Down.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn forge(&self, session: &Session, ttl: u8) {
        let ours = self.bfd(session)["localDiscriminator"].as_u64().unwrap();
        let mut packet = vec![0x20, 0x40, 3, 24, 0, 0, 0, 9];
        packet.extend(u32::try_from(ours).unwrap().to_be_bytes());
        packet.extend([0, 0x0f, 0x42, 0x40].repeat(2));
        packet.extend([0; 4]);
        self.router_node.inside(|| {
            let socket = UdpSocket::bind((session.theirs, 0)).unwrap();
            let reference = socket2::SockRef::from(&socket);
            match session.theirs {
                IpAddr::V4(_) => reference.set_ttl_v4(ttl.into()),
                IpAddr::V6(_) => reference.set_unicast_hops_v6(ttl.into()),
            }
            .unwrap();
            socket.send_to(&packet, (session.ours, 3784)).unwrap();
        });
    }

    /// The daemon that speaks BFD at the router.
    #[must_use]
    pub fn bfd_process(&self) -> &crate::process::Process {
        match &self.router {
            Daemon::Frr(frr) => frr.bfdd(),
            Daemon::Bird(bird) => bird.process(),
        }
    }
}
