//! The daemons that are compared, each with the least configuration that the benchmark needs, from the Debian
//! packages; ours is the binary beside this one.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::lab::{Lab, Node};
use tests::process::Process;
use tests::wait::eventually;

use crate::fleet::Dial;
use crate::usage::{Usage, cpu};

/// The daemon's AS, address and BGP identifier.
pub(crate) const ASN: u32 = 65001;
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Of the fake peer that feeds it.
pub(crate) const FEEDER_ASN: u32 = 65100;
pub(crate) const FEEDER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Of the fake peers that are told.
pub(crate) const PEER_ASN: u32 = 65200;

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Speaker,
    Bird,
    Frr,
    GoBgp,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Speaker, Self::Bird, Self::Frr, Self::GoBgp];

    /// Its name in tables and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Speaker => "speaker",
            Self::Bird => "bird2",
            Self::Frr => "frr",
            Self::GoBgp => "gobgp",
        }
    }

    /// Its name and version.
    pub(crate) fn version(self) -> String {
        let (program, argument) = match self {
            Self::Speaker => (speaker_binary(), "--version"),
            Self::Bird => ("bird".into(), "--version"),
            Self::Frr => ("/usr/lib/frr/bgpd".into(), "--version"),
            Self::GoBgp => ("gobgpd".into(), "--version"),
        };
        let output = Command::new(&program).arg(argument).output();
        let output = output.unwrap_or_else(|e| panic!("{}: {e}; is it installed?", program.display()));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    }
}

/// The release build of our daemon.
pub(crate) fn speaker_binary() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let speaker = own.with_file_name("speaker");
    assert!(speaker.exists(), "{} is missing: cargo build --release -p speaker", speaker.display());
    speaker
}

/// The address of the fake peer with a number, from 0.
pub(crate) fn peer_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 1, u8::try_from(number + 1).expect("fewer than 255 peers"))
}

/// How the fake peer with a number dials.
pub(crate) fn peer_dial(number: usize) -> Dial {
    dial(peer_address(number), PEER_ASN)
}

/// How the fake peer that feeds dials.
pub(crate) fn feeder_dial() -> Dial {
    dial(FEEDER, FEEDER_ASN)
}

fn dial(local: Ipv4Addr, asn: u32) -> Dial {
    Dial {
        local: IpAddr::V4(local),
        asn,
        id: local.octets(),
        remote: IpAddr::V4(ADDRESS),
        receive_buffer: None,
        ipv6: false,
    }
}

/// Two namespaces with a link: the daemon in one, the fake peers in the other.
#[derive(Debug)]
pub(crate) struct Bench {
    _lab: Lab,
    /// Where the daemon runs.
    pub(crate) daemon: Node,
    /// Where the fake peers are.
    pub(crate) peers: Node,
}

impl Bench {
    /// With the addresses of `peers` fake peers and of the one that feeds.
    pub(crate) fn new(peers: usize) -> Self {
        let lab = Lab::new();
        let (daemon, gen_node) = (lab.node("daemon"), lab.node("peers"));
        lab.link(&daemon, "eth0", &gen_node, "eth0");
        daemon.address("eth0", &format!("{ADDRESS}/16"));
        gen_node.address("eth0", &format!("{FEEDER}/16"));
        for number in 0..peers {
            gen_node.address("eth0", &format!("{}/16", peer_address(number)));
        }
        Self { _lab: lab, daemon, peers: gen_node }
    }
}

/// What a daemon is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Role {
    /// Fake peers that are told.
    pub(crate) peers: usize,
    /// Another fake peer feeds it.
    pub(crate) fed: bool,
    /// Further lines of `speaker.yaml`, ours alone.
    pub(crate) yaml: String,
    /// `receive` and the like of the peer that feeds, ours alone.
    pub(crate) receive: String,
}

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    kind: Kind,
    node: Node,
    dir: PathBuf,
    process: Process,
}

impl Daemon {
    /// Starts it; it listens and never dials.
    ///
    /// # Panics
    /// If it does not answer within a minute.
    pub(crate) fn start(kind: Kind, node: &Node, role: &Role) -> Self {
        let dir = node.dir().join(kind.name());
        fs::create_dir_all(&dir).expect("folder of the daemon");
        let file = dir.join("config");
        let text = match kind {
            Kind::Speaker => speaker_yaml(role),
            Kind::Bird => bird_conf(role),
            Kind::Frr => bgpd_conf(role),
            Kind::GoBgp => gobgpd_toml(role),
        };
        fs::write(&file, text).expect("configuration");
        let mut command = match kind {
            Kind::Speaker => {
                let mut command = Command::new(speaker_binary());
                command.args(["run", "--config"]).arg(&file);
                command
            }
            Kind::Bird => {
                let mut command = Command::new("bird");
                command.args(["-f", "-c"]).arg(&file).arg("-s").arg(dir.join("ctl"));
                command.arg("-P").arg(dir.join("pid"));
                command
            }
            Kind::Frr => {
                // Without zebra: neither resolved nor installed, which costs it nothing.
                node.exec(&["chown", "-R", "frr:frr", &dir.to_string_lossy()]);
                let mut command = Command::new("/usr/lib/frr/bgpd");
                command.arg("-n").arg("-f").arg(&file).arg("-i").arg(dir.join("pid"));
                command.arg("-z").arg(dir.join("zserv.api")).arg("--vty_socket").arg(&dir);
                command.args(["-A", "127.0.0.1", "-P", "0", "--log", "stdout", "--log-level", "warning"]);
                command
            }
            Kind::GoBgp => {
                let mut command = Command::new("gobgpd");
                command.arg("-f").arg(&file).args(["-t", "toml", "--log-plain", "-l", "warn"]);
                command.args(["--pprof-disable", "--api-hosts", "127.0.0.1:50051"]);
                command
            }
        };
        let process = node.spawn(kind.name(), &mut command);
        let daemon = Self { kind, node: node.clone(), dir, process };
        eventually(Duration::from_secs(60), &format!("{} answers", kind.name()), || {
            if !daemon.process.running() {
                return Err(format!("it ended: {}", daemon.process.log_tail(20)));
            }
            daemon.probe()
        });
        daemon
    }

    fn probe(&self) -> Result<(), String> {
        match self.kind {
            Kind::Speaker => self.speaker(&["peers"]).map(drop),
            Kind::Bird => self.birdc("show status").map(drop),
            Kind::Frr => self.vtysh("show bgp summary json").map(drop),
            Kind::GoBgp => self.gobgp(&["neighbor"]).map(drop),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// `speaker …` with JSON.
    ///
    /// # Errors
    /// What it said, where it fails.
    pub(crate) fn speaker(&self, args: &[&str]) -> Result<Value, String> {
        let (binary, socket) = (speaker_binary(), self.dir.join("api.sock"));
        let (binary, socket) = (binary.to_string_lossy(), socket.to_string_lossy());
        let mut argv = vec![&*binary];
        argv.extend(args);
        argv.extend(["-o", "json", "--socket", &*socket]);
        json(&self.node.try_exec(&argv)?)
    }

    fn birdc(&self, command: &str) -> Result<String, String> {
        self.node.try_exec(&["birdc", "-s", &self.dir.join("ctl").to_string_lossy(), command])
    }

    fn vtysh(&self, command: &str) -> Result<Value, String> {
        let dir = self.dir.to_string_lossy();
        json(&self.node.try_exec(&["vtysh", "--vty_socket", &dir, "--config_dir", &dir, "-c", command])?)
    }

    fn gobgp(&self, args: &[&str]) -> Result<Value, String> {
        let argv: Vec<&str> = ["gobgp", "-j"].into_iter().chain(args.iter().copied()).collect();
        json(&self.node.try_exec(&argv)?)
    }

    /// How many prefixes it has from the peer that feeds, by its own count. Ours counts messages where it keeps
    /// no prefixes: `updates` of them are `prefixes`.
    pub(crate) fn received(&self, updates: u64, prefixes: u64) -> Result<u64, String> {
        let address = FEEDER.to_string();
        let number = |value: &Value| {
            let text = value.as_str().and_then(|text| text.parse().ok());
            value.as_u64().or(text).ok_or_else(|| format!("no count: {value}"))
        };
        match self.kind {
            Kind::Speaker => {
                let peer = self.speaker(&["peers", "feeder"])?;
                let seen = number(&peer["receivedByKind"]["updates"])?;
                Ok(if seen >= updates { prefixes } else { 0 })
            }
            Kind::Bird => {
                let text = self.birdc("show protocols all feeder")?;
                let line = text.lines().find_map(|line| line.trim().strip_prefix("Routes:"));
                let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
                count.ok_or(text)
            }
            Kind::Frr => {
                let summary = self.vtysh("show bgp ipv4 unicast summary json")?;
                number(&summary["peers"][address.as_str()]["pfxRcd"])
            }
            Kind::GoBgp => {
                let neighbor = self.gobgp(&["neighbor", &address])?;
                number(&neighbor["afi_safis"][0]["state"]["received"])
            }
        }
    }

    /// How long to wait between two questions: GoBGP counts its table for each, which slows it down.
    pub(crate) fn patience(&self) -> Duration {
        if self.kind == Kind::GoBgp { Duration::from_secs(2) } else { Duration::ZERO }
    }

    /// Waits until it has had nothing to do for a second.
    pub(crate) fn wait_idle(&self) {
        let mut last = cpu(self.pid());
        let mut since = Instant::now();
        eventually(Duration::from_secs(180), &format!("{} is idle", self.kind.name()), || {
            let now = cpu(self.pid());
            if now > last + Duration::from_millis(10) {
                (last, since) = (now, Instant::now());
            }
            let quiet = since.elapsed();
            if quiet >= Duration::from_secs(1) { Ok(()) } else { Err(format!("idle for {quiet:?}")) }
        });
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("{e}: {text}"))
}

/// `speaker.yaml` of a role.
pub(crate) fn speaker_yaml(role: &Role) -> String {
    let mut text = format!(
        "node: {{name: bench}}\nrouter: {{asn: {ASN}, routerId: {ADDRESS}, listen: [\"{ADDRESS}:179\"]}}\n\
         ipam: {{stateDir: state}}\napi: {{socket: api.sock}}\ndatapath: {{loops: none}}\npeers:\n"
    );
    if role.fed {
        let _w = writeln!(
            text,
            "  - {{name: feeder, address: {FEEDER}, asn: {FEEDER_ASN}, passive: true, families: [ipv4-unicast]{}}}",
            role.receive
        );
    }
    for number in 0..role.peers {
        let _w = writeln!(
            text,
            "  - {{name: peer-{number}, address: {}, asn: {PEER_ASN}, passive: true, families: [ipv4-unicast]}}",
            peer_address(number)
        );
    }
    text.push_str(&role.yaml);
    text
}

fn bird_conf(role: &Role) -> String {
    let mut text =
        format!("log stderr {{ warning, error, fatal }};\nrouter id {ADDRESS};\nprotocol device {{}}\n");
    let mut session = |name: &str, address: Ipv4Addr, asn: u32, channel: &str| {
        let _w = writeln!(
            text,
            "protocol bgp {name} {{ local {ADDRESS} as {ASN}; neighbor {address} as {asn}; direct; passive; \
             ipv4 {{ {channel} }}; }}"
        );
    };
    if role.fed {
        session("feeder", FEEDER, FEEDER_ASN, "import all; export none;");
    }
    for number in 0..role.peers {
        session(&format!("peer{number}"), peer_address(number), PEER_ASN, "import none; export all;");
    }
    text
}

fn bgpd_conf(role: &Role) -> String {
    let mut text = format!(
        "frr defaults traditional\nhostname bench\nrouter bgp {ASN}\n bgp router-id {ADDRESS}\n \
         no bgp ebgp-requires-policy\n no bgp network import-check\n"
    );
    let mut session = |address: Ipv4Addr, asn: u32| {
        let _w = writeln!(text, " neighbor {address} remote-as {asn}\n neighbor {address} passive");
        // It does not know its interfaces without zebra.
        let _w = writeln!(text, " neighbor {address} disable-connected-check");
    };
    if role.fed {
        session(FEEDER, FEEDER_ASN);
    }
    for number in 0..role.peers {
        session(peer_address(number), PEER_ASN);
    }
    text
}

fn gobgpd_toml(role: &Role) -> String {
    let mut text = format!("[global.config]\nas = {ASN}\nrouter-id = \"{ADDRESS}\"\n");
    let mut session = |address: Ipv4Addr, asn: u32| {
        let _w = writeln!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}\n\
             [neighbors.transport.config]\nlocal-address = \"{ADDRESS}\"\npassive-mode = true\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\""
        );
    };
    if role.fed {
        session(FEEDER, FEEDER_ASN);
    }
    for number in 0..role.peers {
        session(peer_address(number), PEER_ASN);
    }
    text
}
