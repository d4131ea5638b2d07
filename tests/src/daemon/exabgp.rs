//! ExaBGP 4: its API process writes every event as a line of JSON and hands our commands to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::generation::Generation;
use super::{Family, Kind, RouteSpec, Router, SeenRoute, Spec, generation};
use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

/// ExaBGP on a node.
#[derive(Debug)]
pub struct ExaBgp {
    node: Node,
    dir: PathBuf,
    spec: Spec,
    process: Process,
    run: u32,
    announced: Vec<RouteSpec>,
}

impl ExaBgp {
    /// Starts it with the configuration that `spec` asks for. It listens only for passive peers.
    ///
    /// # Panics
    /// If it does not start its API process within 60 s.
    pub fn start(node: &Node, spec: &Spec) -> Self {
        let dir = node.dir().join("exabgp");
        std::fs::create_dir_all(&dir).expect("folder of ExaBGP");
        let process = spawn(node, &dir, spec, 1);
        Self { node: node.clone(), dir, spec: spec.clone(), process, run: 1, announced: Vec::new() }
    }

    /// Every event of this run, or of all runs.
    fn events(&self, runs: std::ops::RangeInclusive<u32>) -> Vec<Value> {
        let mut events = Vec::new();
        for run in runs {
            let text = std::fs::read_to_string(self.dir.join(format!("events-{run}"))).unwrap_or_default();
            // The last line may not be whole yet.
            events.extend(text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(|line| {
                // The octets of a NOTIFICATION stand in its strings as they are.
                let line = line.replace(|c: char| c.is_control() && c != '\n', " ");
                let line = line.as_str();
                serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("ExaBGP: {e}: {line}"))
            }));
        }
        events
    }

    fn events_of(&self, peer: IpAddr) -> Vec<Value> {
        let peer = peer.to_string();
        let mut events = self.events(self.run..=self.run);
        events.retain(|e| e["neighbor"]["address"]["peer"] == peer.as_str());
        events
    }

    /// Gives a command to the API.
    ///
    /// # Panics
    /// If the API process no longer reads.
    pub fn command(&self, lines: &[String]) {
        let mut fifo = std::fs::File::options().write(true).open(self.dir.join("commands")).expect("fifo");
        fifo.write_all((lines.join("\n") + "\n").as_bytes()).expect("fifo");
    }

    fn add(&self, routes: &[RouteSpec]) {
        let lines: Vec<String> = routes.iter().map(|r| format!("announce {}", self.words(r))).collect();
        self.command(&lines);
    }

    fn words(&self, route: &RouteSpec) -> String {
        let mut text = format!("route {} next-hop self origin igp", route.prefix);
        if let Some(med) = route.med {
            let _w = write!(text, " med {med}");
        }
        if let Some(preference) = route.local_pref {
            let _w = write!(text, " local-preference {preference}");
        }
        if !route.communities.is_empty() {
            let _w = write!(text, " community [ {} ]", route.communities.join(" "));
        }
        if !route.large.is_empty() {
            let _w = write!(text, " large-community [ {} ]", route.large.join(" "));
        }
        if !route.ext.is_empty() {
            let ext: Vec<String> = route.ext.iter().map(|e| e.replacen("rt:", "target:", 1)).collect();
            let _w = write!(text, " extended-community [ {} ]", ext.join(" "));
        }
        if route.prepend > 0 {
            let path = vec![self.spec.asn.to_string(); usize::from(route.prepend) + 1];
            let _w = write!(text, " as-path [ {} ]", path.join(" "));
        }
        text
    }
}

fn spawn(node: &Node, dir: &std::path::Path, spec: &Spec, run: u32) -> Process {
    let (commands, events) = (dir.join("commands"), dir.join(format!("events-{run}")));
    let _old = std::fs::remove_file(&commands);
    nix::unistd::mkfifo(&commands, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let script =
        format!("#!/bin/sh\nexec 3<>{}\ncat <&3 &\nexec cat >{}\n", commands.display(), events.display());
    let api = dir.join("api.sh");
    std::fs::write(&api, script).expect("api.sh");
    let config = dir.join("exabgp.conf");
    std::fs::write(&config, render(spec, &api.to_string_lossy())).expect("exabgp.conf");
    let listen: Vec<String> = spec.peers.iter().filter(|p| p.passive).map(|p| p.local.to_string()).collect();
    let mut command = generation::command("exabgp");
    // One of several commands in 5.
    if generation::generation() >= Generation::Sid {
        command.arg("server");
    }
    let process = node.spawn(
        "exabgp",
        command
            .env("exabgp_daemon_user", "root")
            .env("exabgp_api_cli", "false")
            .env("exabgp_api_ack", "false")
            .env("exabgp_tcp_bind", listen.join(" "))
            .env("exabgp_log_destination", "stderr")
            .arg(&config),
    );
    // A newer one is compiled when it runs for the first time.
    eventually(Duration::from_secs(60), "ExaBGP starts its API process", || {
        if !process.running() {
            return Err(format!("it ended: {}", process.log()));
        }
        if events.exists() { Ok(()) } else { Err(process.log_tail(20)) }
    });
    process
}

fn render(spec: &Spec, api: &str) -> String {
    let mut text = format!("process lab {{ run /bin/sh {api}; encoder json; }}\n");
    for peer in &spec.peers {
        let _w = writeln!(
            text,
            "neighbor {} {{\n router-id {};\n local-address {};\n local-as {};\n peer-as {};",
            peer.remote,
            spec.router_id,
            peer.local,
            spec.asn,
            peer.expected_as()
        );
        if let Some(hold) = peer.hold {
            let _w = writeln!(text, " hold-time {hold};");
        }
        if let Some(key) = &peer.md5 {
            let _w = writeln!(text, " md5-password \"{key}\";\n md5-base64 false;");
        }
        if peer.passive {
            text.push_str(" passive true;\n listen 179;\n");
        }
        if let Some(ttl) = peer.multihop {
            let _w = writeln!(text, " outgoing-ttl {ttl};");
        }
        if let Some(hops) = peer.ttl_security {
            let _w = writeln!(text, " outgoing-ttl 255;\n incoming-ttl {};", 256 - u16::from(hops));
        }
        text.push_str(" family {\n");
        for family in &peer.families {
            let _w = writeln!(text, "  {} unicast;", family.word());
        }
        let word = |on: bool| if on { "enable" } else { "disable" };
        let _w = writeln!(
            text,
            " }}\n capability {{\n  asn4 {};\n  route-refresh enable;\n  extended-message {};",
            word(peer.four_octet_as),
            word(peer.extended_messages)
        );
        if let Some(time) = peer.graceful_restart {
            let _w = writeln!(text, "  graceful-restart {time};");
        }
        if peer.add_path {
            text.push_str("  add-path send/receive;\n");
        }
        if peer.extended_next_hop {
            text.push_str("  nexthop enable;\n }\n nexthop {\n  ipv4 unicast ipv6;\n");
        }
        text.push_str(
            " }\n api {\n  processes [ lab ];\n  neighbor-changes;\n  receive {\n   parsed;\n   open;\n   \
             update;\n   notification;\n  }\n }\n}\n",
        );
    }
    text
}

fn seen(prefix: IpNet, next_hop: &str, attributes: &Value) -> SeenRoute {
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let joined = |v: &Value| {
        let mut all: Vec<String> = list(v)
            .iter()
            .map(|c| list(c).iter().map(ToString::to_string).collect::<Vec<_>>().join(":"))
            .collect();
        all.sort();
        all
    };
    let mut ext: Vec<String> = list(&attributes["extended-community"])
        .iter()
        .filter_map(|c| c["string"].as_str().map(super::words::extended))
        .collect();
    ext.sort();
    // In 5 an object of numbered segments, which ends behind 9 in the wrong order: no test has so many.
    let segments = attributes["as-path"].as_object().into_iter().flatten();
    let segments = segments.flat_map(|(_, segment)| list(&segment["value"]));
    let as_path: Vec<Value> = list(&attributes["as-path"]).into_iter().chain(segments).collect();
    SeenRoute {
        prefix,
        next_hops: next_hop.split_whitespace().filter_map(|h| h.parse().ok()).collect(),
        as_path: as_path.iter().filter_map(number).collect(),
        origin: attributes["origin"].as_str().unwrap_or_default().to_owned(),
        med: number(&attributes["med"]),
        local_pref: number(&attributes["local-preference"]),
        communities: joined(&attributes["community"]),
        large: joined(&attributes["large-community"]),
        ext,
    }
}

/// What is left valid after `events` of one peer.
fn replay(events: &[Value], family: Family) -> BTreeMap<IpNet, SeenRoute> {
    let key = format!("{} unicast", family.word());
    let prefix = |nlri: &Value| -> Option<IpNet> { nlri["nlri"].as_str()?.parse().ok() };
    let mut table = BTreeMap::new();
    for event in events {
        if event["type"] == "state" {
            table.clear();
        }
        let update = &event["neighbor"]["message"]["update"];
        for nlri in update["withdraw"][&key].as_array().into_iter().flatten() {
            prefix(nlri).map(|p| table.remove(&p));
        }
        // A next hop of two IPv6 addresses is shown as the same prefixes twice.
        let mut announced: BTreeMap<IpNet, SeenRoute> = BTreeMap::new();
        for (next_hop, list) in update["announce"][&key].as_object().into_iter().flatten() {
            for prefix in list.as_array().into_iter().flatten().filter_map(prefix) {
                let route = seen(prefix, next_hop, &update["attribute"]);
                let hops = &mut announced
                    .entry(prefix)
                    .or_insert_with(|| SeenRoute { next_hops: Vec::new(), ..route.clone() });
                hops.next_hops.extend(route.next_hops);
                hops.next_hops.sort_by_key(|hop| matches!(hop, IpAddr::V6(a) if a.is_unicast_link_local()));
            }
        }
        table.extend(announced);
    }
    table
}

impl Router for ExaBgp {
    fn kind(&self) -> Kind {
        Kind::ExaBgp
    }

    fn version(&self) -> String {
        let text = generation::exec(&self.node, &["exabgp", "--version"]);
        let line = text.lines().find_map(|l| l.strip_prefix("ExaBGP : "));
        line.unwrap_or_default().trim().to_owned()
    }

    fn state(&self, peer: IpAddr) -> String {
        let events = self.events_of(peer);
        let last = events.iter().rev().find(|e| e["type"] == "state");
        match last.and_then(|e| e["neighbor"]["state"].as_str()) {
            Some("up") if self.process.running() => "established".to_owned(),
            Some(other) => other.to_owned(),
            None => "idle".to_owned(),
        }
    }

    fn received(&self, peer: IpAddr, family: Family) -> Vec<SeenRoute> {
        replay(&self.events_of(peer), family).into_values().collect()
    }

    fn updates_received(&self, peer: IpAddr) -> u64 {
        let events = self.events_of(peer);
        let up = events.iter().rposition(|e| e["neighbor"]["state"] == "up").unwrap_or_default();
        events[up..].iter().filter(|e| e["type"] == "update").count() as u64
    }

    fn announce(&mut self, routes: &[RouteSpec]) {
        self.announced.extend_from_slice(routes);
        self.add(routes);
    }

    fn withdraw(&mut self, prefixes: &[IpNet]) {
        self.announced.retain(|r| !prefixes.contains(&r.prefix));
        let lines: Vec<String> =
            prefixes.iter().map(|p| format!("withdraw route {p} next-hop self")).collect();
        self.command(&lines);
    }

    fn request_refresh(&self, _peer: IpAddr, family: Family) {
        self.command(&[format!("announce route-refresh {} unicast", family.word())]);
    }

    fn notifications_received(&self, peer: IpAddr) -> Vec<(u8, u8)> {
        let peer = peer.to_string();
        let all = self.events(1..=self.run);
        let received = all.iter().filter(|e| {
            e["type"] == "notification"
                && e["neighbor"]["address"]["peer"] == peer.as_str()
                && e["neighbor"]["direction"] != "send"
        });
        let octet = |v: &Value| v.as_u64().and_then(|n| u8::try_from(n).ok()).unwrap_or_default();
        received
            .map(|e| {
                let n = if e["neighbor"]["message"]["notification"].is_object() {
                    &e["neighbor"]["message"]["notification"]
                } else {
                    &e["neighbor"]["notification"]
                };
                (octet(&n["code"]), octet(&n["subcode"]))
            })
            .collect()
    }

    fn shut(&self, peer: IpAddr, _text: &str) {
        self.command(&[format!("neighbor {peer} teardown 2")]);
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn start_again(&mut self) {
        self.run += 1;
        self.process = spawn(&self.node, &self.dir, &self.spec, self.run);
        if !self.announced.is_empty() {
            self.add(&self.announced);
        }
    }
}
