//! BIRD 2, asked through birdc.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{Family, Kind, RouteSpec, Router, SeenRoute, Spec, generation, words};
use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

/// BIRD's words for the errors of RFC 4271, RFC 4486 and RFC 9234 (`packets.c`).
const ERRORS: &[(&str, u8, u8)] = &[
    ("Invalid message header", 1, 0),
    ("Connection not synchronized", 1, 1),
    ("Bad message length", 1, 2),
    ("Bad message type", 1, 3),
    ("Invalid OPEN message", 2, 0),
    ("Unsupported version number", 2, 1),
    ("Bad peer AS", 2, 2),
    ("Bad BGP identifier", 2, 3),
    ("Unsupported optional parameter", 2, 4),
    ("Unacceptable hold time", 2, 6),
    ("Required capability missing", 2, 7),
    ("No supported AFI/SAFI", 2, 8),
    ("Role mismatch", 2, 11),
    ("Invalid UPDATE message", 3, 0),
    ("Malformed attribute list", 3, 1),
    ("Hold timer expired", 4, 0),
    ("Finite state machine error", 5, 0),
    ("Unexpected message in OpenSent state", 5, 1),
    ("Unexpected message in OpenConfirm state", 5, 2),
    ("Unexpected message in Established state", 5, 3),
    ("Cease", 6, 0),
    ("Maximum number of prefixes reached", 6, 1),
    ("Administrative shutdown", 6, 2),
    ("Peer de-configured", 6, 3),
    ("Administrative reset", 6, 4),
    ("Connection rejected", 6, 5),
    ("Other configuration change", 6, 6),
    ("Connection collision resolution", 6, 7),
    ("Out of Resources", 6, 8),
];

/// BIRD on a node.
#[derive(Debug)]
pub struct Bird {
    node: Node,
    dir: PathBuf,
    asn: u32,
    process: Process,
    announced: Vec<RouteSpec>,
}

impl Bird {
    /// Starts it with the configuration that `spec` asks for.
    pub fn start(node: &Node, spec: &Spec) -> Self {
        let config = render(spec, &node.dir().join("bird/routes.conf").to_string_lossy());
        Self::with_config(node, spec.asn, &config)
    }

    /// Starts it with a configuration of its own form (bird.conf).
    ///
    /// # Panics
    /// If it does not answer within 10 s.
    pub fn with_config(node: &Node, asn: u32, config: &str) -> Self {
        let dir = node.dir().join("bird");
        std::fs::create_dir_all(&dir).expect("folder of BIRD");
        std::fs::write(dir.join("bird.conf"), config).expect("bird.conf");
        std::fs::write(dir.join("routes.conf"), "").expect("routes.conf");
        let process = spawn(node, &dir);
        let bird = Self { node: node.clone(), dir, asn, process, announced: Vec::new() };
        bird.wait_ready();
        bird
    }

    fn wait_ready(&self) {
        eventually(Duration::from_secs(10), "bird answers", || {
            if !self.process.running() {
                return Err(format!("it ended: {}", self.process.log()));
            }
            self.try_birdc("show status").map(|_| ())
        });
    }

    fn try_birdc(&self, command: &str) -> Result<String, String> {
        let socket = self.dir.join("ctl");
        generation::try_exec(
            &self.node,
            &[&generation::bird("birdc"), "-s", &socket.to_string_lossy(), command],
        )
    }

    /// Runs a command in birdc and returns what it prints.
    #[track_caller]
    pub fn birdc(&self, command: &str) -> String {
        self.try_birdc(command).unwrap_or_else(|e| panic!("birdc: {e}"))
    }

    /// The paragraph of `show protocols all` of each BGP session by its peer's address, with its name.
    fn protocols(&self) -> BTreeMap<IpAddr, (String, String)> {
        let text = self.try_birdc("show protocols all").unwrap_or_default();
        let mut sessions = BTreeMap::new();
        for paragraph in text.split("\n\n") {
            let line = paragraph.lines().find(|l| l.contains("Neighbor address:"));
            let address = line.and_then(|l| l.split_once(':')).map(|(_, a)| a.trim());
            let address = address.and_then(|a| a.split('%').next()?.parse().ok());
            let head = paragraph.lines().find(|l| l.contains(" BGP "));
            let name = head.and_then(|l| l.split_whitespace().next());
            if let (Some(address), Some(name)) = (address, name) {
                sessions.insert(address, (name.to_owned(), paragraph.to_owned()));
            }
        }
        sessions
    }

    fn name(&self, peer: IpAddr) -> String {
        let sessions = self.protocols();
        sessions.get(&peer).unwrap_or_else(|| panic!("BIRD has no peer {peer}")).0.clone()
    }

    fn write_routes(&self) {
        let mut text = String::new();
        for (family, name) in [(Family::V4, "lab4"), (Family::V6, "lab6")] {
            let _w = writeln!(text, "protocol static {name} {{ {};", family.word());
            for route in self.announced.iter().filter(|r| Family::of(&r.prefix) == family) {
                let _w = writeln!(text, "route {} blackhole {{ {} }};", route.prefix, sets(route, self.asn));
            }
            text.push_str("}\n");
        }
        std::fs::write(self.dir.join("routes.conf"), text).expect("routes.conf");
        let answer = self.birdc("configure");
        assert!(answer.contains("Reconfigur"), "BIRD: {answer}");
    }
}

fn spawn(node: &Node, dir: &std::path::Path) -> Process {
    node.spawn(
        "bird",
        generation::command(&generation::bird("bird"))
            .args(["-f", "-c"])
            .arg(dir.join("bird.conf"))
            .arg("-s")
            .arg(dir.join("ctl"))
            .arg("-P")
            .arg(dir.join("pid")),
    )
}

fn sets(route: &RouteSpec, asn: u32) -> String {
    let mut text = String::new();
    let list = |values: &[String], attribute: &str, text: &mut String| {
        for value in values {
            let _w = write!(text, "bgp_{attribute}.add(({})); ", value.replace(':', ","));
        }
    };
    list(&route.communities, "community", &mut text);
    list(&route.large, "large_community", &mut text);
    list(&route.ext, "ext_community", &mut text);
    if let Some(med) = route.med {
        let _w = write!(text, "lab_med = {med}; ");
    }
    if let Some(preference) = route.local_pref {
        let _w = write!(text, "bgp_local_pref = {preference}; ");
    }
    for _ in 0..route.prepend {
        let _w = write!(text, "bgp_path.prepend({asn}); ");
    }
    text
}

fn render(spec: &Spec, routes: &str) -> String {
    // BIRD drops a MED towards another AS unless the export filter itself sets it.
    let mut text = format!(
        "log stderr all;\nrouter id {};\nattribute int lab_med;\nfilter lab {{\n \
         if source != RTS_STATIC then reject;\n if defined(lab_med) then bgp_med = lab_med;\n accept;\n}}\n\
         protocol device {{}}\n",
        spec.router_id
    );
    if spec.peers.iter().any(|p| p.graceful_restart.is_some()) {
        text.push_str("graceful restart wait 30;\n");
    }
    for (n, peer) in spec.peers.iter().enumerate() {
        let _w = writeln!(text, "protocol bgp peer{n} {{\n local {} as {};", peer.local, spec.asn);
        // Without as4 BIRD takes no large number here, but still reads it in the peer's capability.
        let asn = if peer.expected_as() == peer.remote_as {
            format!("as {}", peer.remote_as)
        } else {
            "external".to_owned()
        };
        let _w = writeln!(text, " neighbor {} {asn};", peer.remote);
        text.push_str(" connect delay time 1; connect retry time 1; error wait time 1,2;\n");
        match peer.multihop.or(peer.ttl_security.filter(|hops| *hops > 1)) {
            Some(ttl) => _ = writeln!(text, " multihop {ttl};"),
            None => text.push_str(" direct;\n"),
        }
        if peer.ttl_security.is_some() {
            text.push_str(" ttl security yes;\n");
        }
        if let Some(hold) = peer.hold {
            let _w = writeln!(text, " hold time {hold}; keepalive time {};", hold / 3);
        }
        if let Some(key) = &peer.md5 {
            let _w = writeln!(text, " password \"{key}\";");
        }
        if peer.passive {
            text.push_str(" passive yes;\n");
        }
        // Without it BIRD still helps a peer that restarts ("aware"), which is its default.
        if let Some(time) = peer.graceful_restart {
            let _w = writeln!(text, " graceful restart yes; graceful restart time {time};");
        }
        if let Some(time) = peer.long_lived_restart {
            let _w = writeln!(text, " long lived graceful restart yes; long lived stale time {time};");
        }
        if let Some(role) = peer.role {
            let _w = writeln!(text, " local role {role};");
        }
        if !peer.four_octet_as {
            text.push_str(" enable as4 no;\n");
        }
        if peer.extended_messages {
            text.push_str(" enable extended messages yes;\n");
        }
        for family in &peer.families {
            let add_path = if peer.add_path { " add paths yes;" } else { "" };
            let extended =
                if peer.extended_next_hop && *family == Family::V4 { " extended next hop yes;" } else { "" };
            let _w = writeln!(
                text,
                " {} {{ import all; export filter lab;{add_path}{extended} }};",
                family.word()
            );
        }
        text.push_str("}\n");
    }
    let _w = writeln!(text, "include \"{routes}\";");
    text
}

/// Parses `show route all`.
fn routes(text: &str) -> Vec<SeenRoute> {
    let mut all: Vec<SeenRoute> = Vec::new();
    let mut prefix: Option<IpNet> = None;
    for line in text.lines() {
        if !line.starts_with('\t') {
            if let Some(p) = line.split_whitespace().next().and_then(|w| w.parse().ok()) {
                prefix = Some(p);
            } else if !line.starts_with(' ') {
                continue;
            }
            let Some(prefix) = prefix else { continue };
            all.push(SeenRoute {
                prefix,
                next_hops: Vec::new(),
                as_path: Vec::new(),
                origin: String::new(),
                med: None,
                local_pref: None,
                communities: Vec::new(),
                large: Vec::new(),
                ext: Vec::new(),
            });
        } else if let (Some(route), Some((key, value))) = (all.last_mut(), line.trim().split_once(':')) {
            attribute(route, key, value.trim());
        }
    }
    all
}

fn attribute(route: &mut SeenRoute, key: &str, value: &str) {
    let tuples = || {
        let inner = value.split('(').filter_map(|t| t.split(')').next());
        inner.filter(|t| !t.is_empty()).map(|t| t.replace([' '], "").replace(',', ":"))
    };
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    // BIRD 3 writes `bgp_origin` and `bgp_path`.
    let Some(key) = key.strip_prefix("BGP.").or_else(|| key.strip_prefix("bgp_")) else { return };
    match key {
        "origin" => route.origin = value.to_ascii_lowercase(),
        "as_path" | "path" => {
            let numbers = value.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
            route.as_path = numbers.collect();
        }
        "next_hop" => {
            route.next_hops = value.split_whitespace().filter_map(|h| h.parse().ok()).collect();
        }
        "med" => route.med = value.parse().ok(),
        "local_pref" => route.local_pref = value.parse().ok(),
        "community" => route.communities = sorted(tuples().collect()),
        "large_community" => route.large = sorted(tuples().collect()),
        "ext_community" => route.ext = sorted(tuples().map(|t| words::extended(&t)).collect()),
        _ => {}
    }
}

impl Router for Bird {
    fn kind(&self) -> Kind {
        Kind::Bird
    }

    fn version(&self) -> String {
        let output = self.node.output(generation::command(&generation::bird("bird")).arg("--version"));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().trim_start_matches("BIRD version ").to_owned()
    }

    fn state(&self, peer: IpAddr) -> String {
        let sessions = self.protocols();
        let Some((_, paragraph)) = sessions.get(&peer) else { return "unknown".to_owned() };
        let line = paragraph.lines().find_map(|l| l.trim().strip_prefix("BGP state:"));
        line.unwrap_or("unknown").trim().to_ascii_lowercase()
    }

    fn received(&self, peer: IpAddr, family: Family) -> Vec<SeenRoute> {
        let table = if family == Family::V4 { "master4" } else { "master6" };
        let text = self.birdc(&format!("show route all protocol {} table {table}", self.name(peer)));
        routes(&text)
    }

    fn updates_received(&self, peer: IpAddr) -> u64 {
        let sessions = self.protocols();
        let lines = sessions.get(&peer).into_iter().flat_map(|(_, p)| p.lines());
        let counts = lines.filter_map(|l| l.trim().strip_prefix("Import updates:"));
        counts.filter_map(|c| c.split_whitespace().next()?.parse::<u64>().ok()).sum()
    }

    fn announce(&mut self, routes: &[RouteSpec]) {
        self.announced.retain(|old| !routes.iter().any(|new| new.prefix == old.prefix));
        self.announced.extend_from_slice(routes);
        self.write_routes();
    }

    fn withdraw(&mut self, prefixes: &[IpNet]) {
        self.announced.retain(|r| !prefixes.contains(&r.prefix));
        self.write_routes();
    }

    fn request_refresh(&self, peer: IpAddr, _family: Family) {
        let name = self.name(peer);
        // In BIRD 3 there are several things to reload.
        let asked = self.try_birdc(&format!("reload in {name}"));
        let answer = asked.unwrap_or_else(|_| self.birdc(&format!("reload bgp in {name}")));
        assert!(answer.contains("reloading"), "BIRD: {answer}");
    }

    fn notifications_received(&self, peer: IpAddr) -> Vec<(u8, u8)> {
        let start = format!("{}: Received: ", self.name(peer));
        let log = self.process.log();
        let errors = log.lines().filter_map(|l| l.split_once(&start).map(|(_, e)| e));
        errors.map(|e| words::notification(e, ERRORS).unwrap_or_else(|| panic!("BIRD: {e}"))).collect()
    }

    fn shut(&self, peer: IpAddr, text: &str) {
        let text = if text.is_empty() { String::new() } else { format!(" \"{text}\"") };
        let answer = self.birdc(&format!("disable {}{text}", self.name(peer)));
        assert!(answer.contains("disabled"), "BIRD: {answer}");
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn start_again(&mut self) {
        self.process = spawn(&self.node, &self.dir);
        self.wait_ready();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_route_all_of_2_0_12() {
        let text = "BIRD 2.0.12 ready.\nTable master4:\n\
            198.51.100.0/24      unicast [p 12:42:01.545] * (100) [AS64502i]\n\
            \tvia 10.0.0.1 on eth0\n\tType: BGP univ\n\tBGP.origin: IGP\n\tBGP.as_path: 64502 {1 2}\n\
            \tBGP.next_hop: fd00::1 fe80::1\n\tBGP.med: 50\n\tBGP.local_pref: 300\n\
            \tBGP.community: (64502,200) (64502,100)\n\tBGP.ext_community: (rt, 64502, 7)\n\
            \tBGP.large_community: (64502, 1, 2)\n\
            \x20                    unicast [q 12:42:01.545] (100) [AS7i]\n\tBGP.as_path: 7\n";
        let routes = routes(text);
        assert_eq!(routes.len(), 2);
        let first = SeenRoute {
            prefix: "198.51.100.0/24".parse().unwrap(),
            next_hops: vec!["fd00::1".parse().unwrap(), "fe80::1".parse().unwrap()],
            as_path: vec![64502, 1, 2],
            origin: "igp".to_owned(),
            med: Some(50),
            local_pref: Some(300),
            communities: vec!["64502:100".to_owned(), "64502:200".to_owned()],
            large: vec!["64502:1:2".to_owned()],
            ext: vec!["rt:64502:7".to_owned()],
        };
        assert_eq!(routes[0], first);
        assert_eq!((routes[1].prefix, routes[1].as_path.clone()), (first.prefix, vec![7]));
    }
}
