//! GoBGP: gobgpd, asked through gobgp.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::{Family, Kind, RouteSpec, Router, SeenRoute, Spec, generation, words};
use crate::lab::Node;
use crate::mrt;
use crate::process::Process;
use crate::wait::eventually;

/// GoBGP on a node.
#[derive(Debug)]
pub struct GoBgp {
    node: Node,
    config: PathBuf,
    asn: u32,
    next_hop: Ipv4Addr,
    process: Process,
    announced: Vec<RouteSpec>,
}

impl GoBgp {
    /// Starts it with the configuration that `spec` asks for.
    ///
    /// # Panics
    /// If it does not answer within 10 s.
    pub fn start(node: &Node, spec: &Spec) -> Self {
        let config = node.dir().join("gobgpd.toml");
        std::fs::write(&config, render(spec)).expect("gobgpd.toml");
        let process = spawn(node, &config);
        let locals = spec.peers.iter().map(|p| p.local);
        let mut next_hops = locals.filter_map(|a| match a {
            IpAddr::V4(a) => Some(a),
            IpAddr::V6(_) => None,
        });
        let next_hop = next_hops.next().unwrap_or(spec.router_id);
        let (node, asn) = (node.clone(), spec.asn);
        let gobgp = Self { node, config, asn, next_hop, process, announced: Vec::new() };
        gobgp.wait_ready();
        gobgp
    }

    fn wait_ready(&self) {
        eventually(Duration::from_secs(10), "gobgpd answers", || {
            if !self.process.running() {
                return Err(format!("it ended: {}", self.process.log()));
            }
            generation::try_exec(&self.node, &["gobgp", "-j", "neighbor"]).map(|_| ())
        });
    }

    fn json(&self, args: &[&str]) -> Value {
        let argv: Vec<&str> = ["gobgp", "-j"].into_iter().chain(args.iter().copied()).collect();
        let Ok(text) = generation::try_exec(&self.node, &argv) else { return Value::Null };
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Gives it a table dump, again and again while many are missing: the client ends before the last routes
    /// have left it. Returns those that are missing then.
    fn inject(&self, prefixes: &[Ipv4Net]) -> Vec<Ipv4Net> {
        let file = self.config.with_file_name("routes.mrt");
        let mut missing = prefixes.to_vec();
        eventually(Duration::from_secs(90), "gobgp has injected nearly every route", || {
            std::fs::write(&file, mrt::dump(&missing, self.next_hop)).expect("routes.mrt");
            generation::exec(&self.node, &["gobgp", "mrt", "inject", "global", &file.to_string_lossy()]);
            let table = self.json(&["global", "rib", "-a", "ipv4"]);
            missing.retain(|p| table.get(p.to_string()).is_none());
            if missing.len() <= 50 { Ok(()) } else { Err(format!("{} are missing", missing.len())) }
        });
        missing
    }

    fn add(&self, routes: &[RouteSpec]) {
        let (bare, rich): (Vec<_>, Vec<_>) =
            routes.iter().partition(|r| r.is_bare() && r.prefix.addr().is_ipv4());
        // A call a route is too slow for thousands.
        let mut single = rich;
        if bare.len() > 50 {
            let prefixes: Vec<Ipv4Net> = bare
                .iter()
                .filter_map(|r| match r.prefix {
                    IpNet::V4(prefix) => Some(prefix),
                    IpNet::V6(_) => None,
                })
                .collect();
            let missing = self.inject(&prefixes);
            single.extend(bare.iter().filter(|r| missing.iter().any(|m| r.prefix == IpNet::V4(*m))));
        } else {
            single.extend(bare);
        }
        for route in single {
            let argv = announce(route, self.asn);
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            generation::exec(&self.node, &argv);
        }
    }
}

fn announce(route: &RouteSpec, asn: u32) -> Vec<String> {
    let family = Family::of(&route.prefix).word();
    let text = format!("gobgp global rib -a {family} add {} origin igp", route.prefix);
    let mut argv: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let mut add = |key: &str, value: String| argv.extend([key.to_owned(), value]);
    if let Some(med) = route.med {
        add("med", med.to_string());
    }
    if let Some(preference) = route.local_pref {
        add("local-pref", preference.to_string());
    }
    if !route.communities.is_empty() {
        add("community", route.communities.join(","));
    }
    if !route.large.is_empty() {
        add("large-community", route.large.join(","));
    }
    if route.prepend > 0 {
        add("aspath", vec![asn.to_string(); route.prepend.into()].join(","));
    }
    for ext in &route.ext {
        argv.push("rt".to_owned());
        argv.push(ext.trim_start_matches("rt:").to_owned());
    }
    argv
}

fn spawn(node: &Node, config: &std::path::Path) -> Process {
    node.spawn(
        "gobgpd",
        generation::command("gobgpd").arg("-f").arg(config).args([
            "--log-plain",
            "--pprof-disable",
            "--api-hosts",
            "127.0.0.1:50051",
        ]),
    )
}

fn render(spec: &Spec) -> String {
    let mut text = format!("[global.config]\nas = {}\nrouter-id = \"{}\"\n", spec.asn, spec.router_id);
    for peer in &spec.peers {
        let _w = writeln!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}",
            peer.remote, peer.remote_as
        );
        if let Some(key) = &peer.md5 {
            let _w = writeln!(text, "auth-password = \"{key}\"");
        }
        let hold = peer.hold.map(|h| format!("hold-time = {h}\nkeepalive-interval = {}\n", h / 3));
        let _w = writeln!(
            text,
            "[neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n{}\
             [neighbors.transport.config]\nlocal-address = \"{}\"\npassive-mode = {}",
            hold.unwrap_or_default(),
            peer.local,
            peer.passive
        );
        if let Some(ttl) = peer.multihop {
            let _w = writeln!(text, "[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = {ttl}");
        }
        if let Some(hops) = peer.ttl_security {
            let least = 256 - u16::from(hops);
            let _w = writeln!(text, "[neighbors.ttl-security.config]\nenabled = true\nttl-min = {least}");
        }
        if let Some(time) = peer.graceful_restart {
            let _w = writeln!(
                text,
                "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {time}\n\
                 notification-enabled = true\nlong-lived-enabled = {}",
                peer.long_lived_restart.is_some()
            );
        }
        for family in &peer.families {
            let _w = writeln!(
                text,
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{}-unicast\"",
                family.word()
            );
            if peer.graceful_restart.is_some() {
                text.push_str("[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n");
            }
            if let Some(time) = peer.long_lived_restart {
                let _w = writeln!(
                    text,
                    "[neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\nrestart-time = {time}"
                );
            }
            if peer.add_path {
                text.push_str("[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n");
            }
        }
    }
    text
}

fn seen(prefix: IpNet, path: &Value) -> SeenRoute {
    let mut route = SeenRoute {
        prefix,
        next_hops: Vec::new(),
        as_path: Vec::new(),
        origin: String::new(),
        med: None,
        local_pref: None,
        communities: Vec::new(),
        large: Vec::new(),
        ext: Vec::new(),
    };
    for attribute in path["attrs"].as_array().into_iter().flatten() {
        fill(&mut route, attribute);
    }
    route.communities.sort();
    route.large.sort();
    route.ext.sort();
    route
}

fn fill(route: &mut SeenRoute, attribute: &Value) {
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    match attribute["type"].as_u64() {
        Some(1) => {
            let words = ["igp", "egp", "incomplete"];
            let word = attribute["value"].as_u64().and_then(|n| words.get(usize::try_from(n).ok()?));
            route.origin = (*word.unwrap_or(&"?")).to_owned();
        }
        Some(2) => {
            for segment in list(&attribute["as_paths"]) {
                route.as_path.extend(list(&segment["asns"]).iter().filter_map(number));
            }
        }
        Some(3 | 14) => {
            route.next_hops.extend(attribute["nexthop"].as_str().and_then(|h| h.parse::<IpAddr>().ok()));
        }
        Some(4) => route.med = number(&attribute["metric"]),
        Some(5) => route.local_pref = number(&attribute["value"]),
        Some(8) => {
            let communities = list(&attribute["communities"]).into_iter().filter_map(|c| number(&c));
            route.communities = communities.map(|c| format!("{}:{}", c >> 16, c & 0xffff)).collect();
        }
        Some(16) => {
            for ext in list(&attribute["value"]) {
                let value = ext["value"].as_str().unwrap_or_default();
                route.ext.push(match ext["subtype"].as_u64() {
                    Some(2) => words::extended(&format!("rt:{value}")),
                    Some(3) => words::extended(&format!("soo:{value}")),
                    _ => ext.to_string(),
                });
            }
        }
        Some(32) => {
            let part = |c: &Value, key: &str| c[key].as_u64().unwrap_or_default();
            let text =
                |c: &Value| format!("{}:{}:{}", part(c, "ASN"), part(c, "LocalData1"), part(c, "LocalData2"));
            route.large = list(&attribute["value"]).iter().map(text).collect();
        }
        _ => {}
    }
}

impl Router for GoBgp {
    fn kind(&self) -> Kind {
        Kind::GoBgp
    }

    fn version(&self) -> String {
        generation::exec(&self.node, &["gobgpd", "--version"])
            .trim()
            .trim_start_matches("gobgpd version ")
            .to_owned()
    }

    fn state(&self, peer: IpAddr) -> String {
        let neighbor = self.json(&["neighbor", &peer.to_string()]);
        let names = ["unknown", "idle", "connect", "active", "opensent", "openconfirm", "established"];
        let state = neighbor["state"]["session_state"].as_u64().unwrap_or_default();
        (*usize::try_from(state).ok().and_then(|s| names.get(s)).unwrap_or(&"unknown")).to_owned()
    }

    fn received(&self, peer: IpAddr, family: Family) -> Vec<SeenRoute> {
        let table = self.json(&["neighbor", &peer.to_string(), "adj-in", "-a", family.word()]);
        let mut routes = Vec::new();
        for (prefix, paths) in table.as_object().into_iter().flatten() {
            let prefix = prefix.parse().expect("prefix of GoBGP");
            routes.extend(paths.as_array().into_iter().flatten().map(|p| seen(prefix, p)));
        }
        routes
    }

    fn updates_received(&self, peer: IpAddr) -> u64 {
        let neighbor = self.json(&["neighbor", &peer.to_string()]);
        neighbor["state"]["messages"]["received"]["update"].as_u64().unwrap_or_default()
    }

    fn announce(&mut self, routes: &[RouteSpec]) {
        self.announced.extend_from_slice(routes);
        self.add(routes);
    }

    fn withdraw(&mut self, prefixes: &[IpNet]) {
        self.announced.retain(|r| !prefixes.contains(&r.prefix));
        for prefix in prefixes {
            let family = Family::of(prefix).word();
            generation::exec(
                &self.node,
                &["gobgp", "global", "rib", "-a", family, "del", &prefix.to_string()],
            );
        }
    }

    fn request_refresh(&self, peer: IpAddr, family: Family) {
        generation::exec(
            &self.node,
            &["gobgp", "neighbor", &peer.to_string(), "softresetin", "-a", family.word()],
        );
    }

    fn notifications_received(&self, peer: IpAddr) -> Vec<(u8, u8)> {
        let log = self.process.log();
        // An IPv6 address stands in quotes.
        let keys = [format!("Key={peer} "), format!("Key=\"{peer}\" ")];
        let lines = log
            .lines()
            .filter(|l| l.contains("received notification") && keys.iter().any(|key| l.contains(key)));
        lines
            .map(|line| {
                let field = |name: &str| -> u8 {
                    let rest = line.split_once(&format!(" {name}=")).map(|(_, rest)| rest);
                    let word = rest.and_then(|r| r.split_whitespace().next()?.parse().ok());
                    word.unwrap_or_else(|| panic!("GoBGP: {line}"))
                };
                (field("Code"), field("Subcode"))
            })
            .collect()
    }

    fn shut(&self, peer: IpAddr, text: &str) {
        generation::exec(&self.node, &["gobgp", "neighbor", &peer.to_string(), "shutdown", "--reason", text]);
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn start_again(&mut self) {
        self.process = spawn(&self.node, &self.config);
        self.wait_ready();
        self.add(&self.announced);
    }
}
