//! OpenBGPD (portable), asked through bgpctl.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::generation::{self, Generation, generation};
use super::{Family, Kind, RouteSpec, Router, SeenRoute, Spec, words};
use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

/// OpenBGPD's words for errors (`bgpd.h`: `errnames`, `suberr_…`).
const ERRORS: &[(&str, u8, u8)] = &[
    ("Header error", 1, 0),
    ("Header error, synchronization error", 1, 1),
    ("Header error, wrong length", 1, 2),
    ("Header error, unknown message type", 1, 3),
    ("error in OPEN message", 2, 0),
    ("error in OPEN message, version mismatch", 2, 1),
    ("error in OPEN message, AS unacceptable", 2, 2),
    ("error in OPEN message, BGPID invalid", 2, 3),
    ("error in OPEN message, optional parameter error", 2, 4),
    ("error in OPEN message, unacceptable holdtime", 2, 6),
    ("error in OPEN message, unsupported capability", 2, 7),
    ("error in OPEN message, role mismatch", 2, 11),
    ("error in UPDATE message", 3, 0),
    ("HoldTimer expired", 4, 0),
    ("Finite State Machine error", 5, 0),
    ("Cease", 6, 0),
    ("Cease, received max-prefix exceeded", 6, 1),
    ("Cease, administratively down", 6, 2),
    ("Cease, peer unconfigured", 6, 3),
    ("Cease, administrative reset", 6, 4),
    ("Cease, connection rejected", 6, 5),
    ("Cease, other config change", 6, 6),
    ("Cease, collision", 6, 7),
    ("Cease, resource exhaustion", 6, 8),
];

/// Where its processes shut themselves in; systemd makes the folder where it runs.
const CHROOT: &str = "/run/openbgpd";

/// OpenBGPD on a node.
#[derive(Debug)]
pub struct OpenBgpd {
    node: Node,
    dir: PathBuf,
    process: Process,
    announced: Vec<RouteSpec>,
}

impl OpenBgpd {
    /// Starts it with the configuration that `spec` asks for.
    ///
    /// # Panics
    /// If it does not answer within 10 s.
    pub fn start(node: &Node, spec: &Spec) -> Self {
        std::fs::create_dir_all(CHROOT).expect("folder of OpenBGPD's chroot");
        let dir = node.dir().join("bgpd");
        std::fs::create_dir_all(&dir).expect("folder of OpenBGPD");
        let config = dir.join("bgpd.conf");
        std::fs::write(&config, render(spec, &dir)).expect("bgpd.conf");
        // bgpd refuses a file that others can read: it holds passwords.
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).expect("bgpd.conf");
        let process = spawn(node, &config);
        let openbgpd = Self { node: node.clone(), dir, process, announced: Vec::new() };
        openbgpd.wait_ready();
        openbgpd
    }

    fn wait_ready(&self) {
        eventually(Duration::from_secs(10), "bgpd answers", || {
            if !self.process.running() {
                return Err(format!("it ended: {}", self.process.log()));
            }
            self.try_bgpctl(&["show"]).map(|_| ())
        });
    }

    fn try_bgpctl(&self, args: &[&str]) -> Result<String, String> {
        let socket = self.dir.join("ctl").to_string_lossy().into_owned();
        let argv: Vec<&str> =
            ["bgpctl", "-j", "-s", &socket].into_iter().chain(args.iter().copied()).collect();
        generation::try_exec(&self.node, &argv)
    }

    fn neighbor(&self, peer: IpAddr) -> Value {
        let text = self.try_bgpctl(&["show", "neighbor", &peer.to_string()]).unwrap_or_default();
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        all["neighbors"][0].clone()
    }

    /// Gives `command` the prefixes, a line each.
    fn feed(&self, command: &mut Command, prefixes: &[IpNet]) {
        let lines: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        self.node.inside(|| {
            let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = pipes.spawn().expect("bgpctl");
            let mut input = child.stdin.take().expect("bgpctl's input");
            input.write_all((lines.join("\n") + "\n").as_bytes()).expect("bgpctl's input");
            drop(input);
            let output = child.wait_with_output().expect("bgpctl");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command:?}: {said}");
        });
    }

    fn add(&self, routes: &[RouteSpec]) {
        let socket = self.dir.join("ctl");
        let mut groups: BTreeMap<Vec<String>, Vec<IpNet>> = BTreeMap::new();
        for route in routes {
            groups.entry(sets(route)).or_default().push(route.prefix);
        }
        for (sets, prefixes) in groups {
            let mut command = match generation::generation() {
                // 9.3 answers `network bulk add` with "requests sent", logs "request to insert invalid network" for each, and
                // has none of them.
                Generation::Sid => {
                    let script = "while read -r prefix; do bgpctl -s \"$0\" network add \"$prefix\" \"$@\" || exit; done";
                    let mut shell = generation::command("sh");
                    shell.args(["-c", script]).arg(&socket);
                    shell
                }
                generation => {
                    let mut bulk = generation::command("bgpctl");
                    bulk.arg("-s").arg(&socket).args(["network", "bulk"]);
                    // 7.7 takes no attribute after this word, 8.8 none without it.
                    bulk.args((generation != Generation::Bookworm).then_some("add"));
                    bulk
                }
            };
            self.feed(command.args(sets), &prefixes);
        }
    }
}

fn sets(route: &RouteSpec) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut set = |key: &str, value: String| words.extend([key.to_owned(), value]);
    if let Some(med) = route.med {
        set("med", med.to_string());
    }
    if let Some(preference) = route.local_pref {
        set("localpref", preference.to_string());
    }
    for community in &route.communities {
        set("community", community.clone());
    }
    for large in &route.large {
        set("large-community", large.clone());
    }
    if route.prepend > 0 {
        set("prepend-self", route.prepend.to_string());
    }
    for ext in &route.ext {
        words.push("ext-community".to_owned());
        words.extend(ext.splitn(2, ':').map(str::to_owned));
    }
    words
}

fn spawn(node: &Node, config: &Path) -> Process {
    node.spawn("bgpd", generation::command("bgpd").args(["-d", "-v", "-f"]).arg(config))
}

fn render(spec: &Spec, dir: &Path) -> String {
    let mut text = format!(
        "AS {}\nrouter-id {}\nsocket \"{}\"\nfib-update no\nnexthop qualify via default\nconnect-retry 1\n",
        spec.asn,
        spec.router_id,
        dir.join("ctl").display()
    );
    for peer in &spec.peers {
        let _w = writeln!(
            text,
            "neighbor {} {{\n\tremote-as {}\n\tlocal-address {}",
            peer.remote,
            peer.expected_as(),
            peer.local
        );
        for (family, word) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
            let what = if peer.families.contains(&family) { "unicast" } else { "none" };
            let _w = writeln!(text, "\tannounce {word} {what}");
        }
        if let Some(hold) = peer.hold {
            let _w = writeln!(text, "\tholdtime {hold}");
        }
        if let Some(key) = &peer.md5 {
            let _w = writeln!(text, "\ttcp md5sig password \"{key}\"");
        }
        if peer.passive {
            text.push_str("\tpassive\n");
        }
        if let Some(ttl) = peer.multihop.or(peer.ttl_security.filter(|hops| *hops > 1)) {
            let _w = writeln!(text, "\tmultihop {ttl}");
        }
        if peer.ttl_security.is_some() {
            text.push_str("\tttl-security yes\n");
        }
        let newer = generation() != Generation::Bookworm;
        match peer.role {
            Some(role) if newer => _ = writeln!(text, "\trole {role}\n\tannounce policy yes"),
            Some(role) => _ = writeln!(text, "\tannounce policy {role}"),
            None => {}
        }
        if peer.extended_next_hop && newer {
            text.push_str("\tannounce extended nexthop yes\n");
        }
        if peer.extended_messages && newer {
            text.push_str("\tannounce extended message yes\n");
        }
        if !peer.four_octet_as {
            text.push_str("\tannounce as-4byte no\n");
        }
        if peer.add_path {
            text.push_str("\tannounce add-path recv yes\n\tannounce add-path send all\n");
        }
        text.push_str("}\n");
    }
    text.push_str("allow from any\nallow to any\n");
    text
}

fn seen(route: &Value) -> Option<SeenRoute> {
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let list = |key: &str, form: fn(&str) -> String| {
        let values = route[key].as_array().into_iter().flatten();
        let mut all: Vec<String> = values.filter_map(|v| Some(form(v.as_str()?))).collect();
        all.sort();
        all
    };
    let path = route["aspath"].as_str().unwrap_or_default();
    Some(SeenRoute {
        prefix: route["prefix"].as_str()?.parse().ok()?,
        next_hops: route["exit_nexthop"].as_str().and_then(|h| h.parse().ok()).into_iter().collect(),
        as_path: path.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect(),
        origin: route["origin"].as_str().unwrap_or_default().to_ascii_lowercase(),
        med: number(&route["metric"]),
        local_pref: number(&route["localpref"]),
        communities: list("communities", words::community),
        large: list("large_communities", str::to_owned),
        ext: list("extended_communities", words::extended),
    })
}

impl Router for OpenBgpd {
    fn kind(&self) -> Kind {
        Kind::OpenBgpd
    }

    fn version(&self) -> String {
        let output = self.node.output(generation::command("bgpd").arg("-V"));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().trim_start_matches("OpenBGPD ").to_owned()
    }

    fn state(&self, peer: IpAddr) -> String {
        self.neighbor(peer)["state"].as_str().unwrap_or("unknown").to_ascii_lowercase()
    }

    fn received(&self, peer: IpAddr, family: Family) -> Vec<SeenRoute> {
        let peer = peer.to_string();
        let text = self.try_bgpctl(&["show", "rib", "in", "neighbor", &peer, "detail"]);
        let text = text.unwrap_or_else(|e| panic!("bgpctl: {e}"));
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        let routes = all["rib"].as_array().into_iter().flatten().filter_map(seen);
        routes.filter(|r| Family::of(&r.prefix) == family).collect()
    }

    fn updates_received(&self, peer: IpAddr) -> u64 {
        let stats = &self.neighbor(peer)["stats"]["update"]["received"];
        stats["updates"].as_u64().unwrap_or_default()
    }

    fn announce(&mut self, routes: &[RouteSpec]) {
        self.announced.extend_from_slice(routes);
        self.add(routes);
    }

    fn withdraw(&mut self, prefixes: &[IpNet]) {
        self.announced.retain(|r| !prefixes.contains(&r.prefix));
        let mut command = generation::command("bgpctl");
        command.arg("-s").arg(self.dir.join("ctl")).args(["network", "bulk", "delete"]);
        self.feed(&mut command, prefixes);
    }

    fn request_refresh(&self, peer: IpAddr, _family: Family) {
        let answer = self.try_bgpctl(&["neighbor", &peer.to_string(), "refresh"]);
        answer.unwrap_or_else(|e| panic!("bgpctl: {e}"));
    }

    fn notifications_received(&self, peer: IpAddr) -> Vec<(u8, u8)> {
        let start = format!("neighbor {peer}: received notification: ");
        let log = self.process.log();
        let errors = log.lines().filter_map(|l| l.split_once(&start).map(|(_, e)| e));
        errors.map(|e| words::notification(e, ERRORS).unwrap_or_else(|| panic!("OpenBGPD: {e}"))).collect()
    }

    fn shut(&self, peer: IpAddr, text: &str) {
        let answer = self.try_bgpctl(&["neighbor", &peer.to_string(), "down", text]);
        answer.unwrap_or_else(|e| panic!("bgpctl: {e}"));
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn start_again(&mut self) {
        self.process = spawn(&self.node, &self.dir.join("bgpd.conf"));
        self.wait_ready();
        if !self.announced.is_empty() {
            self.add(&self.announced);
        }
    }
}
