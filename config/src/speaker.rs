//! `speaker.yaml` (design §4): text to [`SpeakerConfig`], with everything that is wrong said at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bgp_proto::session::PeerAsn;
use bgp_proto::types::{Family, Prefix};

use crate::diagnostic::{Diagnostic, Position, Severity};
use crate::model::{
    Api, CiliumBgp, Datapath, DefaultClass, DrainSettings, Ipam, L2, LoopGuard, Operator, Peer, Readiness,
    ServiceClass, Sources, SpeakerConfig,
};
use crate::selector::is_dns_subdomain;
use crate::tree::{self, Node, Value};

mod advertisement;
mod bmp;
mod peers;
mod reader;
mod report;
mod router;
pub(crate) mod schema;
mod settings;

use peers::{Context, Groups};
use reader::{Field, Report, Spanned, Table};
use router::{check_asn, router};

/// Where the API listens by default.
const SOCKET: &str = "/run/speaker/api.sock";

/// Reads `speaker.yaml`. `file_name` stands in the diagnostics; paths in the file are taken relative to
/// `base_dir`. Nothing is read but `text`. The warnings come with the result, in the order of the file.
///
/// # Errors
/// Every error and warning of a file that cannot be used, in the order of the file.
pub fn parse(
    text: &str,
    file_name: &str,
    base_dir: &Path,
) -> Result<(SpeakerConfig, Vec<Diagnostic>), Vec<Diagnostic>> {
    let root = match tree::parse(text) {
        Ok(Some(root)) if !root.is_null() => root,
        Ok(_) => Node { at: Position::START, value: Value::Mapping(Vec::new()) },
        Err(error) => {
            return Err(vec![Diagnostic {
                severity: Severity::Error,
                file: file_name.to_owned(),
                at: error.at,
                path: String::new(),
                message: error.message,
                help: error.help.to_owned(),
            }]);
        }
    };
    let report = Report::new(file_name);
    let config =
        Field::root(&report, &root).table(&schema::FILE).map(|table| read(&table, &report, base_dir));
    let found = report.finish();
    match config {
        Some(config) if found.iter().all(|diagnostic| diagnostic.severity == Severity::Warning) => {
            Ok((config, found))
        }
        _ => Err(found),
    }
}

/// The place of the value at `path` (`advertisements[0].prefixes[1]`), or of the nearest thing above it that is there.
#[must_use]
pub fn locate(text: &str, path: &str) -> Position {
    tree::parse(text).ok().flatten().map_or(Position::START, |root| tree::locate(&root, path))
}

/// Reads every section. What could not be read has its default, and an error in the report.
fn read(table: &Table<'_>, report: &Report, base_dir: &Path) -> SpeakerConfig {
    let router = table.table("router", &schema::ROUTER).map(|table| router(&table)).unwrap_or_default();
    let sources = sources(table, base_dir);
    let context = Context { report, base_dir, router: &router, kubernetes: sources.kubernetes };
    let groups = Groups::read(table, &context);
    let peers: Vec<_> =
        table.list("peers").iter().filter_map(|field| peers::peer(field, &groups, &context)).collect();
    let dynamic: Vec<_> = table
        .list("dynamicPeers")
        .iter()
        .filter_map(|field| peers::dynamic(field, &groups, &context))
        .collect();
    peers::check_unique(&peers, &dynamic, &context);
    let settings = peers.iter().map(|peer| &peer.value.settings);
    let settings = settings.chain(dynamic.iter().map(|peer| &peer.value.settings));
    check_asn(table, report, settings.map(|settings| settings.local_asn));
    let advertisements: Vec<_> =
        table.list("advertisements").iter().filter_map(|field| advertisement::read(field, report)).collect();

    groups.check_used(table, report);
    let node_ipam = node_ipam(table, &sources);
    check_default_class(table, node_ipam, report);

    let (readiness, readiness_address) = readiness(table);
    let mut config = SpeakerConfig {
        node_name: table.table("node", &schema::NODE).and_then(|table| table.read("name", Field::word)),
        ipam: ipam(table, base_dir),
        node_ipam,
        operator: operator(table),
        datapath: datapath(table),
        l2: l2(table),
        readiness,
        readiness_address,
        proxy_metrics_address: proxy_metrics_address(table, readiness),
        drain: drain(table),
        bmp: bmp::collectors(table, report),
        api: api(table, base_dir),
        peers: peers.into_iter().map(|peer| peer.value).collect(),
        dynamic_peers: dynamic.into_iter().map(|peer| peer.value).collect(),
        router,
        sources,
        advertisements: Vec::new(),
        cilium_bgp: cilium_bgp(table),
    };
    check_advertisements(&advertisements, &config, table, report);
    config.advertisements = advertisements.into_iter().map(|read| read.value).collect();
    config
}

/// The default of `sources.kubernetes.keepAnnounced`.
const KEEP_ANNOUNCED: Duration = Duration::from_secs(3600);

fn sources(table: &Table<'_>, base_dir: &Path) -> Sources {
    let Some(table) = table.table("sources", &schema::SOURCES) else { return Sources::default() };
    let manifests =
        table.list("manifests").iter().filter_map(Field::word).map(|path| base_dir.join(path)).collect();
    let mut sources = Sources { manifests, ..Sources::default() };
    if let Some(table) = table.table("kubernetes", &schema::KUBERNETES) {
        let unless_auto =
            |field: &Field<'_>| field.choice(&[("auto", None), ("true", Some(true)), ("false", Some(false))]);
        sources.kubernetes = table.read("enabled", Field::boolean).unwrap_or_default();
        sources.cilium_bgp = table.read("ciliumBGP", unless_auto).flatten();
        sources.cilium_l2 = table.read("ciliumL2", unless_auto).flatten();
        sources.keep_announced = table.read("keepAnnounced", Field::duration).unwrap_or(KEEP_ANNOUNCED);
    }
    sources
}

fn ipam(table: &Table<'_>, base_dir: &Path) -> Ipam {
    let default = Ipam {
        enabled: true,
        state_dir: base_dir.join("state"),
        families: Family::ALL.into_iter().collect(),
        default_class: DefaultClass::default(),
        classes: None,
    };
    let Some(table) = table.table("ipam", &schema::IPAM) else { return default };
    let default_class = table.read("defaultClass", |field| {
        field.choice(&[
            ("lbipam", DefaultClass::LbIpam),
            ("nodeipam", DefaultClass::NodeIpam),
            ("none", DefaultClass::None),
        ])
    });
    Ipam {
        enabled: table.read("enabled", Field::boolean).unwrap_or(default.enabled),
        state_dir: table.read("stateDir", Field::word).map_or(default.state_dir, |path| base_dir.join(path)),
        families: table.read("families", Field::families).unwrap_or(default.families),
        default_class: default_class.unwrap_or_default(),
        classes: table.read("classes", |field| {
            field.each(|field| {
                field.choice(&[
                    ("io.cilium/bgp-control-plane", ServiceClass::Bgp),
                    ("io.cilium/l2-announcer", ServiceClass::L2),
                ])
            })
        }),
    }
}

/// A Service without a class must not be left to somebody who is switched off.
fn check_default_class(table: &Table<'_>, node_ipam: bool, report: &Report) {
    let class = table.get("ipam").and_then(|ipam| ipam.entry("defaultClass"));
    if let Some(field) = class.filter(|field| !node_ipam && field.single() == Some("nodeipam")) {
        report.warn(
            &field.place,
            "nodeIpam is off, so nobody serves a Service without loadBalancerClass",
            "set nodeIpam.enabled: true, or defaultClass: lbipam",
        );
    }
}

fn cilium_bgp(table: &Table<'_>) -> CiliumBgp {
    let Some(table) = table.table("ciliumBGP", &schema::CILIUM_BGP) else { return CiliumBgp::default() };
    let export = table.read("export", |field| field.each(settings::export_rule)).unwrap_or_default();
    CiliumBgp { export, router_id_pool: table.read("routerIdPool", router_id_pool) }
}

/// Router IDs are written as IPv4 addresses (RFC 6286).
fn router_id_pool(field: &Field<'_>) -> Option<Prefix> {
    let prefix = field.prefix()?;
    if prefix.family() == Family::Ipv6Unicast {
        field.error("a router ID is an IPv4 address", "write an IPv4 prefix, such as 10.255.0.0/24");
        return None;
    }
    Some(prefix)
}

fn node_ipam(table: &Table<'_>, sources: &Sources) -> bool {
    let Some(table) = table.table("nodeIpam", &schema::NODE_IPAM) else { return false };
    let Some(field) = table.get("enabled") else { return false };
    let enabled = field.boolean().unwrap_or_default();
    if enabled && !sources.manifests.is_empty() && !sources.kubernetes {
        field.warn(
            "speaker operator alone serves io.cilium/node, from the Kubernetes API",
            "Services in manifests get no addresses of nodes; remove it",
        );
    }
    enabled
}

fn operator(table: &Table<'_>) -> Operator {
    let default = Operator::default();
    let Some(table) = table.table("operator", &schema::OPERATOR) else { return default };
    let lease_name = table.read("leaseName", |field| {
        let name = field.word()?;
        if is_dns_subdomain(&name) {
            return Some(name);
        }
        field.error(
            format!("{name:?} cannot name a Lease"),
            "write lower-case letters, digits, '-' and '.', at most 253",
        );
        None
    });
    let lease_duration = table.read("leaseDuration", |field| {
        let duration = field.duration()?;
        if (LEAST_LEASE..=MOST_LEASE).contains(&duration) && duration.subsec_nanos() == 0 {
            return Some(duration);
        }
        field.error(format!("{duration:?} is not a duration for a Lease"), "write whole seconds, 3s to 10m");
        None
    });
    let hold_deleted = table.read("holdDeleted", |field| {
        let duration = field.duration()?;
        if duration <= MOST_HOLD {
            return Some(duration);
        }
        field.error(
            format!("{duration:?} is too long"),
            "write 10m at most; 5s is enough for any watch and router",
        );
        None
    });
    Operator {
        lease_name: lease_name.unwrap_or(default.lease_name),
        lease_duration: lease_duration.unwrap_or(default.lease_duration),
        hold_deleted: hold_deleted.unwrap_or_default(),
    }
}

/// A Lease is renewed seven times in its duration, and each renewal takes a trip to the API server.
const LEAST_LEASE: Duration = Duration::from_secs(3);
const MOST_LEASE: Duration = Duration::from_secs(600);
/// Whoever deletes a Service may wait for it.
const MOST_HOLD: Duration = Duration::from_secs(600);

fn datapath(table: &Table<'_>) -> Datapath {
    let Some(table) = table.table("datapath", &schema::DATAPATH) else { return Datapath::default() };
    let loops = table.read("loops", |field| {
        field.choice(&[
            ("blackhole", LoopGuard::Blackhole),
            ("unreachable", LoopGuard::Unreachable),
            ("none", LoopGuard::None),
        ])
    });
    let local_announced = table.read("local", |field| field.choice(&[("none", false), ("announced", true)]));
    Datapath { loops: loops.unwrap_or_default(), local_announced: local_announced.unwrap_or_default() }
}

fn l2(table: &Table<'_>) -> L2 {
    let Some(table) = table.table("l2", &schema::L2) else { return L2::default() };
    let enabled = table.read("enabled", Field::boolean).unwrap_or_default();
    let interfaces = table.list("interfaces").iter().filter_map(interface_pattern).collect();
    let lease_duration = table.read("leaseDuration", |field| {
        let duration = field.duration()?;
        let shortest = Duration::from_secs(3);
        if duration < shortest || duration > Duration::from_secs(3600) {
            field.error(
                "a node is displaced 3 s to 1 h after its last renewal",
                "write a duration such as 15s; a third of it lies between renewals",
            );
            return None;
        }
        Some(duration)
    });
    L2 { enabled, interfaces, lease_duration: lease_duration.unwrap_or(L2::default().lease_duration) }
}

/// A regular expression, kept as it is written; an error where it is none.
fn interface_pattern(field: &Field<'_>) -> Option<String> {
    let pattern = field.word()?;
    match regex::Regex::new(&pattern) {
        Ok(_) => Some(pattern),
        Err(error) => {
            field.error(
                format!("{pattern:?} is not a regular expression: {}", in_one_line(&error)),
                "write one such as \"^eth[0-9]+$\"; it need not match the whole name",
            );
            None
        }
    }
}

/// The reason alone: the crate's own text draws the pattern over several lines.
fn in_one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

fn readiness(table: &Table<'_>) -> (Readiness, Option<SocketAddr>) {
    let choices =
        [("kube-proxy", Readiness::KubeProxy), ("cilium", Readiness::Cilium), ("none", Readiness::None)];
    let readiness = table.read("readiness", |field| field.choice(&choices)).unwrap_or_default();
    let address = table.read("readinessAddress", |field| {
        if readiness == Readiness::None {
            field.warn(
                "nothing is asked there while readiness is none",
                "say readiness: kube-proxy or cilium",
            );
        }
        field.parse::<SocketAddr>("write address and port, for example 127.0.0.1:10256")
    });
    (readiness, address)
}

fn proxy_metrics_address(table: &Table<'_>, readiness: Readiness) -> Option<SocketAddr> {
    table.read("proxyMetricsAddress", |field| {
        if readiness != Readiness::KubeProxy {
            field.warn("kube-proxy is asked nothing by this configuration", "say readiness: kube-proxy");
        }
        field.parse::<SocketAddr>("write address and port, for example 127.0.0.1:10249")
    })
}

fn drain(table: &Table<'_>) -> DrainSettings {
    let default = DrainSettings::default();
    let Some(table) = table.table("drain", &schema::DRAIN) else { return default };
    let lasts = table.read("for", |field| {
        let duration = field.duration()?;
        if duration > Duration::from_secs(24 * 3600) {
            field.error(format!("{duration:?} is more than a day"), "write for example 60s");
            return None;
        }
        Some(duration)
    });
    let taint = table.read("taint", |field| {
        let key = field.word()?;
        if key.starts_with("node.kubernetes.io/unschedulable") {
            field.error(
                "a cordon is no drain: Pods stay, and so do their connections",
                "name a taint of your own, for example example.com/out-of-service",
            );
            return None;
        }
        Some(key)
    });
    DrainSettings {
        lasts: lasts.unwrap_or(default.lasts),
        taint,
        exclude_label: table.read("excludeLabel", Field::boolean).unwrap_or_default(),
    }
}

fn api(table: &Table<'_>, base_dir: &Path) -> Api {
    let mut api = Api { socket: SOCKET.into(), http: None };
    let Some(table) = table.table("api", &schema::API) else { return api };
    if let Some(field) = table.get("socket")
        && let Some(path) = field.word()
    {
        api.socket = base_dir.join(path);
        let length = api.socket.as_os_str().len();
        // sun_path has 108 octets with the closing zero (unix(7)).
        if length > 107 {
            field.error(format!("the path has {length} octets"), "a unix socket's path has at most 107");
        }
    }
    api.http = table.read("http", |field| field.parse("write address and port, for example 127.0.0.1:9179"));
    api
}

/// What advertisements and peers say of each other.
fn check_advertisements(
    advertisements: &[advertisement::Read],
    config: &SpeakerConfig,
    table: &Table<'_>,
    report: &Report,
) {
    let known = peers::names(table);
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for read in advertisements {
        if !names.insert(&read.name.value) {
            let message = format!("an advertisement named {} stands above", read.name.value);
            report.error(&read.name.place, message, "give each a name of its own");
        }
        for name in read.peers.iter().filter(|name| !known.contains(&name.value)) {
            report.error(
                &name.place,
                format!("there is no peer {}", name.value),
                peers::unknown_name(&name.value, known.iter(), "add it to peers or dynamicPeers"),
            );
        }
        check_reach(read, config, report);
    }
    let no_source = config.sources.manifests.is_empty() && !config.sources.kubernetes;
    if no_source && advertisements.iter().all(|read| read.prefixes.is_empty()) {
        report.warn(
            &table.place,
            "there is nothing to announce: no source, and no advertisement has prefixes",
            "name manifests in sources, or prefixes in an advertisement",
        );
    }
}

/// Warns of what none of the selected peers will ever get.
fn check_reach(read: &advertisement::Read, config: &SpeakerConfig, report: &Report) {
    let selected = |name: &str| read.value.peers.as_ref().is_none_or(|peers| peers.contains(name));
    let fixed = config.peers.iter().map(|peer: &Peer| (&peer.name, &peer.settings));
    let dynamic = config.dynamic_peers.iter().map(|peer| (&peer.name, &peer.settings));
    let told: Vec<_> = fixed.chain(dynamic).filter(|(name, _)| selected(name)).collect();
    if told.is_empty() {
        return;
    }
    let internal = told.iter().any(|(_, settings)| match settings.asn {
        PeerAsn::Internal | PeerAsn::Any => true,
        PeerAsn::External => false,
        PeerAsn::Exact(asn) => settings.local_asn.or(config.router.asn) == Some(asn),
    });
    if let Some(Spanned { place, .. }) = read.local_preference.as_ref().filter(|_| !internal) {
        report.warn(
            place,
            "local preference goes to iBGP peers alone (RFC 4271 §5.1.5), and none is told this",
            "use med, prepend or a community towards eBGP peers",
        );
    }
    for prefix in &read.prefixes {
        let family = prefix.value.family();
        let speak: Vec<_> = told.iter().filter(|(_, settings)| settings.speaks(family)).collect();
        if speak.is_empty() {
            let message = format!("no peer that is told this speaks {family}");
            report.warn(&prefix.place, message, "add the family to the peers");
            continue;
        }
        let denied = speak.iter().all(|(_, settings)| {
            settings.export.as_ref().is_some_and(|rules| !rules.iter().any(|rule| rule.permits(prefix.value)))
        });
        if denied {
            report.warn(
                &prefix.place,
                "no peer's export list lets this prefix out",
                format!("add {{prefix: {}}} to export", prefix.value),
            );
        }
    }
}

#[cfg(test)]
mod tests;
