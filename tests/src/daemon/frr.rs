//! FRR: zebra and bgpd from its own lib folder, asked through vtysh.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::generation::Generation;
use super::{Family, Kind, RouteSpec, Router, SeenRoute, Spec, generation, words};
use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

const LIB: &str = "/usr/lib/frr";

/// FRR on a node.
#[derive(Debug)]
pub struct Frr {
    node: Node,
    dir: PathBuf,
    asn: u32,
    bgpd: Process,
    bfdd: Option<Process>,
    announced: Vec<RouteSpec>,
}

impl Frr {
    /// Starts it with the configuration that `spec` asks for.
    pub fn start(node: &Node, spec: &Spec) -> Self {
        Self::with_config(node, spec.asn, &render(spec))
    }

    /// Starts it with a configuration of its own form (frr.conf).
    ///
    /// # Panics
    /// If it does not answer within 20 s.
    pub fn with_config(node: &Node, asn: u32, config: &str) -> Self {
        Self::with_daemons(node, asn, config, None)
    }

    /// The same with bfdd beside it, which reads its own section (`bfd`) of `bfd`.
    ///
    /// # Panics
    /// If it does not answer within 20 s.
    pub fn with_bfd(node: &Node, asn: u32, config: &str, bfd: &str) -> Self {
        Self::with_daemons(node, asn, config, Some(bfd))
    }

    fn with_daemons(node: &Node, asn: u32, config: &str, bfd: Option<&str>) -> Self {
        let dir = node.dir().join("frr");
        std::fs::create_dir_all(&dir).expect("folder of FRR");
        std::fs::write(dir.join("frr.conf"), config).expect("frr.conf");
        // FRR gives up root for its own user, who makes the sockets.
        let owner = node.try_exec(&["chown", "-R", "frr:frr", &dir.to_string_lossy()]);
        owner.unwrap_or_else(|e| panic!("{e}: is frr installed?"));
        let zebra = spawn(node, &dir, "zebra", Path::new("/dev/null"));
        eventually(Duration::from_secs(20), "zebra serves", || {
            let up = dir.join("zserv.api").exists() && dir.join("zebra.vty").exists();
            if up { Ok(()) } else { Err(zebra.log()) }
        });
        let bfdd = bfd.map(|config| {
            std::fs::write(dir.join("bfdd.conf"), config).expect("bfdd.conf");
            let bfdd = spawn(node, &dir, "bfdd", &dir.join("bfdd.conf"));
            eventually(Duration::from_secs(20), "bfdd serves", || {
                if dir.join("bfdd.vty").exists() { Ok(()) } else { Err(bfdd.log()) }
            });
            bfdd
        });
        let bgpd = spawn(node, &dir, "bgpd", &dir.join("frr.conf"));
        let frr = Self { node: node.clone(), dir, asn, bgpd, bfdd, announced: Vec::new() };
        frr.wait_ready();
        frr
    }

    /// The process of bfdd.
    ///
    /// # Panics
    /// If it was started without.
    #[must_use]
    pub fn bfdd(&self) -> &Process {
        self.bfdd.as_ref().expect("FRR was started with bfdd")
    }

    /// `show bfd peer` of one peer; null where there is none.
    #[must_use]
    pub fn bfd_peer(&self, peer: IpAddr) -> Value {
        let all: Value = self
            .try_vtysh(&["show bfd peers json"])
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let peer = peer.to_string();
        let mut peers = all.as_array().into_iter().flatten();
        peers.find(|seen| seen["peer"] == peer.as_str()).cloned().unwrap_or_default()
    }

    /// Why the session with `peer` last went down, in FRR's words.
    #[must_use]
    pub fn last_reset(&self, peer: IpAddr) -> String {
        self.neighbor(peer)["lastResetDueTo"].as_str().unwrap_or_default().to_owned()
    }

    fn wait_ready(&self) {
        eventually(Duration::from_secs(20), "bgpd answers", || {
            if !self.bgpd.running() {
                return Err(format!("it ended: {}", self.bgpd.log()));
            }
            self.try_vtysh(&["show bgp summary json"]).map(|_| ())
        });
    }

    fn try_vtysh(&self, commands: &[&str]) -> Result<String, String> {
        let dir = self.dir.to_string_lossy();
        let mut argv = vec!["vtysh", "--vty_socket", &dir, "--config_dir", &dir];
        for command in commands {
            argv.extend(["-c", command]);
        }
        generation::try_exec(&self.node, &argv).and_then(|text| {
            if text.contains("% Unknown") || text.contains("is not running") { Err(text) } else { Ok(text) }
        })
    }

    /// Runs commands in vtysh and returns what it prints.
    #[track_caller]
    pub fn vtysh(&self, commands: &[&str]) -> String {
        self.try_vtysh(commands).unwrap_or_else(|e| panic!("vtysh: {e}"))
    }

    fn json(&self, command: &str) -> Value {
        let text = self.try_vtysh(&[command]).unwrap_or_else(|e| panic!("{command}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{command}: {e}: {text}"))
    }

    fn neighbor(&self, peer: IpAddr) -> Value {
        let Ok(text) = self.try_vtysh(&[&format!("show bgp neighbors {peer} json")]) else {
            return Value::Null;
        };
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        all[peer.to_string()].clone()
    }

    /// Every path of the table with the peer that it is from, and whether it is in the multipath set.
    #[must_use]
    pub fn table(&self, family: Family) -> Vec<(IpAddr, bool, SeenRoute)> {
        let table = self.json(&format!("show bgp {} unicast json detail", family.word()));
        let mut routes = Vec::new();
        for (prefix, paths) in table["routes"].as_object().into_iter().flatten() {
            let prefix: IpNet = prefix.parse().expect("prefix of FRR");
            // Since 10 the paths stand in an object, beside what they have in common.
            let paths = paths.get("paths").unwrap_or(paths);
            for path in paths.as_array().into_iter().flatten() {
                let Some(peer) = path["peer"]["peerId"].as_str().and_then(|p| p.parse().ok()) else {
                    continue;
                };
                let used = path["bestpath"]["overall"] == true || path["multipath"] == true;
                routes.push((peer, used, seen(prefix, path)));
            }
        }
        routes
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4, Family::V6]
    }

    fn configure(&self, lines: &[String]) {
        // vtysh reads a file faster than it starts, so that thousands of routes stay one run.
        let file = self.dir.join("change.conf");
        std::fs::write(&file, lines.join("\n") + "\n").expect("change.conf");
        let (dir, file) = (self.dir.to_string_lossy(), file.to_string_lossy());
        generation::exec(&self.node, &["vtysh", "--vty_socket", &dir, "--config_dir", &dir, "-f", &file]);
    }

    fn announce_lines(&self, routes: &[RouteSpec]) -> Vec<String> {
        let mut maps = Vec::new();
        let mut networks = Vec::new();
        let mut named: BTreeSet<String> = BTreeSet::new();
        for family in self.families() {
            networks.push(format!(" address-family {} unicast", family.word()));
            for route in routes.iter().filter(|r| Family::of(&r.prefix) == *family) {
                let sets = sets(route, self.asn);
                if sets.is_empty() {
                    networks.push(format!("  network {}", route.prefix));
                    continue;
                }
                let name = format!("M-{}", sets.join("-").replace([' ', ':', '.'], "_"));
                if named.insert(name.clone()) {
                    maps.push(format!("route-map {name} permit 10"));
                    maps.extend(sets.iter().map(|s| format!(" set {s}")));
                    maps.push("exit".to_owned());
                }
                networks.push(format!("  network {} route-map {name}", route.prefix));
            }
            networks.push(" exit-address-family".to_owned());
        }
        maps.push(format!("router bgp {}", self.asn));
        maps.extend(networks);
        maps
    }
}

fn spawn(node: &Node, dir: &Path, daemon: &str, config: &Path) -> Process {
    let mut command = generation::command(&format!("{LIB}/{daemon}"));
    command
        .arg("-f")
        .arg(config)
        .arg("-z")
        .arg(dir.join("zserv.api"))
        .arg("-i")
        .arg(dir.join(format!("{daemon}.pid")))
        .arg("--vty_socket")
        .arg(dir)
        .args(["-A", "127.0.0.1", "-P", "0", "--log", "stdout", "--log-level", "info"]);
    if daemon == "bfdd" && generation::generation() == Generation::Bookworm {
        // Its default is one file for the whole machine; 10 has none.
        command.arg("--bfdctl").arg(dir.join("bfdd.sock"));
    }
    node.spawn(daemon, &mut command)
}

fn sets(route: &RouteSpec, asn: u32) -> Vec<String> {
    let mut sets = Vec::new();
    if let Some(med) = route.med {
        sets.push(format!("metric {med}"));
    }
    if let Some(preference) = route.local_pref {
        sets.push(format!("local-preference {preference}"));
    }
    if !route.communities.is_empty() {
        sets.push(format!("community {}", route.communities.join(" ")));
    }
    if !route.large.is_empty() {
        sets.push(format!("large-community {}", route.large.join(" ")));
    }
    for ext in &route.ext {
        sets.push(format!("extcommunity {}", ext.replacen(':', " ", 1)));
    }
    if route.prepend > 0 {
        sets.push(format!("as-path prepend {}", vec![asn.to_string(); route.prepend.into()].join(" ")));
    }
    sets
}

fn render(spec: &Spec) -> String {
    let mut text = format!(
        "frr defaults traditional\nhostname lab\nrouter bgp {}\n bgp router-id {}\n bgp log-neighbor-changes\n \
         no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n \
         bgp bestpath as-path multipath-relax\n",
        spec.asn, spec.router_id
    );
    // Never `graceful-restart-disable`: 8.4 then sends no End-of-RIB, and before its End-of-RIB it answers no
    // ROUTE-REFRESH of a peer that has enhanced refresh.
    if let Some(time) = spec.peers.iter().find_map(|p| p.graceful_restart) {
        let _w = writeln!(text, " bgp graceful-restart\n bgp graceful-restart restart-time {time}");
    }
    if let Some(time) = spec.peers.iter().find_map(|p| p.long_lived_restart) {
        let _w = writeln!(text, " bgp long-lived-graceful-restart stale-time {time}");
    }
    for peer in &spec.peers {
        let n = format!(" neighbor {}", peer.remote);
        let _w = writeln!(text, "{n} remote-as {}\n{n} timers connect 1", peer.remote_as);
        if let Some(hold) = peer.hold {
            let _w = writeln!(text, "{n} timers {} {hold}", hold / 3);
        }
        if let Some(key) = &peer.md5 {
            let _w = writeln!(text, "{n} password {key}");
        }
        if peer.passive {
            let _w = writeln!(text, "{n} passive");
        }
        if let Some(ttl) = peer.multihop {
            let _w = writeln!(text, "{n} ebgp-multihop {ttl}");
        }
        if let Some(hops) = peer.ttl_security {
            let _w = writeln!(text, "{n} ttl-security hops {hops}");
        }
        if let Some(role) = peer.role {
            let _w = writeln!(text, "{n} local-role {role}");
        }
        if peer.extended_next_hop {
            let _w = writeln!(text, "{n} capability extended-nexthop");
        }
    }
    for family in [Family::V4, Family::V6] {
        let _w = writeln!(text, " address-family {} unicast", family.word());
        for peer in spec.peers.iter().filter(|p| p.families.contains(&family)) {
            let _w = writeln!(text, "  neighbor {} activate", peer.remote);
            if peer.add_path {
                let _w = writeln!(text, "  neighbor {} addpath-tx-all-paths", peer.remote);
            }
        }
        text.push_str(" exit-address-family\n");
    }
    text
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_owned())).collect()
}

fn seen(prefix: IpNet, path: &Value) -> SeenRoute {
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let mut as_path = Vec::new();
    for segment in path["aspath"]["segments"].as_array().into_iter().flatten() {
        as_path.extend(segment["list"].as_array().into_iter().flatten().filter_map(number));
    }
    let mut communities: Vec<String> =
        strings(&path["community"]["list"]).iter().map(|c| words::community(c)).collect();
    communities.sort();
    let mut large = strings(&path["largeCommunity"]["list"]);
    large.sort();
    let ext = path["extendedCommunity"]["string"].as_str().unwrap_or_default();
    let mut ext: Vec<String> = ext.split_whitespace().map(words::extended).collect();
    ext.sort();
    let hops = path["nexthops"].as_array().into_iter().flatten();
    SeenRoute {
        prefix,
        next_hops: hops.filter_map(|h| h["ip"].as_str()?.parse().ok()).collect(),
        as_path,
        origin: path["origin"].as_str().unwrap_or_default().to_ascii_lowercase(),
        med: number(&path["metric"]),
        local_pref: number(&path["locPrf"]),
        communities,
        large,
        ext,
    }
}

impl Router for Frr {
    fn kind(&self) -> Kind {
        Kind::Frr
    }

    fn version(&self) -> String {
        let text = generation::exec(&self.node, &[&format!("{LIB}/bgpd"), "--version"]);
        text.lines().next().unwrap_or_default().trim_start_matches("bgpd version ").to_owned()
    }

    fn state(&self, peer: IpAddr) -> String {
        self.neighbor(peer)["bgpState"].as_str().unwrap_or("unknown").to_ascii_lowercase()
    }

    fn received(&self, peer: IpAddr, family: Family) -> Vec<SeenRoute> {
        self.table(family).into_iter().filter(|(from, ..)| *from == peer).map(|(.., r)| r).collect()
    }

    fn updates_received(&self, peer: IpAddr) -> u64 {
        self.neighbor(peer)["messageStats"]["updatesRecv"].as_u64().unwrap_or_default()
    }

    fn announce(&mut self, routes: &[RouteSpec]) {
        self.announced.extend_from_slice(routes);
        self.configure(&self.announce_lines(routes));
    }

    fn withdraw(&mut self, prefixes: &[IpNet]) {
        self.announced.retain(|r| !prefixes.contains(&r.prefix));
        let mut lines = vec![format!("router bgp {}", self.asn)];
        for family in self.families() {
            lines.push(format!(" address-family {} unicast", family.word()));
            let ours = prefixes.iter().filter(|p| Family::of(p) == *family);
            lines.extend(ours.map(|p| format!("  no network {p}")));
            lines.push(" exit-address-family".to_owned());
        }
        self.configure(&lines);
    }

    fn request_refresh(&self, peer: IpAddr, family: Family) {
        self.vtysh(&[&format!("clear bgp {} unicast {peer} soft in", family.word())]);
    }

    fn notifications_received(&self, peer: IpAddr) -> Vec<(u8, u8)> {
        let start = format!("NOTIFICATION: received from neighbor {peer} ");
        let log = self.bgpd.log();
        let codes = log.lines().filter_map(|l| l.split_once(&start)?.1.split_whitespace().next());
        codes
            .filter_map(|c| c.split_once('/'))
            .map(|(c, s)| (c.parse().unwrap(), s.parse().unwrap()))
            .collect()
    }

    fn shut(&self, peer: IpAddr, text: &str) {
        let router = format!("router bgp {}", self.asn);
        let message = if text.is_empty() { String::new() } else { format!(" message {text}") };
        self.vtysh(&["configure terminal", &router, &format!("neighbor {peer} shutdown{message}")]);
    }

    fn process(&self) -> &Process {
        &self.bgpd
    }

    fn start_again(&mut self) {
        self.bgpd = spawn(&self.node, &self.dir, "bgpd", &self.dir.join("frr.conf"));
        self.wait_ready();
        if !self.announced.is_empty() {
            self.configure(&self.announce_lines(&self.announced));
        }
    }
}
