//! `/metrics`, `/healthz` and `/readyz` of a running daemon.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::harness::{
    Daemon, FABRIC, LOCAL, Pair, Scene, endpoint, eventually, get, node, pool, router, service,
};

/// With `api.http` on a free port.
fn watched(config: &str) -> String {
    config.replace("node.sock}", "node.sock, http: \"127.0.0.1:0\"}")
}

/// A scrape: values by name and labels.
#[track_caller]
fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    try_scrape(daemon).unwrap_or_else(|seen| panic!("{seen}"))
}

/// The same; an error where there was none, because the hub was busy for too long.
#[track_caller]
fn try_scrape(daemon: &Daemon) -> Result<BTreeMap<String, f64>, String> {
    let (status, text) = daemon.get("/metrics");
    if status != 200 {
        return Err(format!("{status} {text}"));
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        })
        .collect();
    Ok(samples)
}

/// Waits until a number is what it should be.
#[track_caller]
fn becomes(daemon: &Daemon, name: &str, right: impl Fn(f64) -> bool) -> BTreeMap<String, f64> {
    eventually(&format!("{name} is right"), || {
        let all = try_scrape(daemon)?;
        match all.get(name) {
            Some(value) if right(*value) => Ok(all),
            seen => Err(format!("{seen:?}")),
        }
    })
}

fn manifests(scene: &Scene) {
    scene.write("m/pool.yaml", &pool("public", "203.0.113.0/24"));
    let web = [service("web", LOCAL), endpoint("web", "n1", true)].concat();
    scene.write("m/web.yaml", &web);
    scene.write("m/plain.yaml", &service("plain", ""));
    // Nobody serves this class, so that nothing is recorded of it.
    scene.write("m/foreign.yaml", &service("foreign", "loadBalancerClass: example.com/other"));
    scene.write("m/wish.yaml", &service("wish", "loadBalancerIP: 198.51.100.1"));
}

fn pair() -> Pair {
    let scene = Scene::new();
    manifests(&scene);
    let router = scene.start("router", &router(&crate::harness::router_peer("")));
    let port = router.port();
    let node = scene.start("node", &watched(&node(port, "", FABRIC)));
    node.up("tor");
    Pair { node, router, scene, port }
}

#[test]
fn a_scrape_shows_sessions_routes_pools_services_and_the_process() {
    let Pair { node, router, scene, .. } = pair();
    // The pool, and the route of the Local Service.
    let advertised = "speaker_bgp_routes_advertised{peer=\"tor\",family=\"ipv4-unicast\"}";
    let all = becomes(&node, advertised, |count| count == 2.0);
    for (name, value) in [
        (
            "speaker_bgp_session_info{peer=\"tor\",address=\"127.0.0.1:PORT\",asn=\"64500\",local_asn=\"64501\"}",
            1.0,
        ),
        ("speaker_bgp_session_up{peer=\"tor\"}", 1.0),
        ("speaker_bgp_session_state{peer=\"tor\"}", 6.0),
        ("speaker_bgp_session_shutdown{peer=\"tor\"}", 0.0),
        ("speaker_bgp_session_established_total{peer=\"tor\"}", 1.0),
        ("speaker_bgp_session_flaps_total{peer=\"tor\"}", 0.0),
        ("speaker_bgp_messages_sent_total{peer=\"tor\",type=\"open\"}", 1.0),
        ("speaker_bgp_messages_received_total{peer=\"tor\",type=\"open\"}", 1.0),
        ("speaker_bgp_routes_received{peer=\"tor\",family=\"ipv4-unicast\"}", 0.0),
        ("speaker_bgp_routes{family=\"ipv4-unicast\"}", 2.0),
        ("speaker_bgp_routes{family=\"ipv6-unicast\"}", 0.0),
        ("speaker_ipam_pool_addresses{pool=\"public\",family=\"ipv4\"}", 256.0),
        ("speaker_ipam_pool_addresses_used{pool=\"public\",family=\"ipv4\"}", 2.0),
        ("speaker_ipam_pool_addresses_available{pool=\"public\",family=\"ipv4\"}", 254.0),
        ("speaker_ipam_pool_addresses{pool=\"public\",family=\"ipv6\"}", 0.0),
        ("speaker_ipam_pool_conflicting{pool=\"public\"}", 0.0),
        ("speaker_ipam_services{state=\"satisfied\"}", 2.0),
        ("speaker_ipam_services{state=\"unsatisfied\"}", 1.0),
        ("speaker_ipam_services{state=\"unknown\"}", 1.0),
        ("speaker_config_refused", 0.0),
        ("speaker_config_restart_needed", 0.0),
        ("speaker_source_synced{source=\"manifests\"}", 1.0),
        ("speaker_source_faults", 0.0),
        ("speaker_metrics_omitted{kind=\"peer\"}", 0.0),
        ("speaker_build_info{version=\"0.1.0\",role=\"agent\"}", 1.0),
    ] {
        let name = name.replace("PORT", &router.port().to_string());
        assert_eq!(all.get(&name), Some(&value), "{name} in {all:#?}");
    }
    assert!(all["speaker_bgp_messages_sent_total{peer=\"tor\",type=\"update\"}"] >= 1.0);
    let age = all["speaker_source_last_event_timestamp_seconds{source=\"manifests\"}"]
        - all["process_start_time_seconds"];
    assert!((-2.0..60.0).contains(&age), "{age}");
    assert!(all["process_resident_memory_bytes"] > 1e6, "{all:#?}");

    // A change that withdraws is counted as one, a change that announces as the other.
    let withdrawals = "speaker_bgp_withdraw_duration_seconds_count{peer=\"tor\"}";
    let announcements = "speaker_bgp_advertise_duration_seconds_count{peer=\"tor\"}";
    let announced = all[announcements];
    assert_eq!(all[withdrawals], 0.0);
    scene.remove("m/web.yaml");
    let all = becomes(&node, withdrawals, |count| count == 1.0);
    assert_eq!(all[announcements], announced, "nothing was announced");
    let infinite = "speaker_bgp_withdraw_duration_seconds_bucket{le=\"+Inf\",peer=\"tor\"}";
    assert_eq!(all[infinite], 1.0);
    let web = [service("web", LOCAL), endpoint("web", "n1", true)].concat();
    scene.write("m/web.yaml", &web);
    let all = becomes(&node, announcements, |count| count > announced);
    assert_eq!(all[withdrawals], 1.0);
    let sum = all["speaker_bgp_advertise_duration_seconds_sum{peer=\"tor\"}"];
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
}

#[test]
fn a_flap_is_counted_with_the_code_of_the_notification() {
    let Pair { node, router, scene: _scene, .. } = pair();
    // Administrative Reset (RFC 4486), from the other side.
    assert_eq!(router.speaker(&["clear", "node"]).code, 0);
    let all = becomes(&node, "speaker_bgp_session_established_total{peer=\"tor\"}", |count| count == 2.0);
    assert_eq!(all["speaker_bgp_session_flaps_total{peer=\"tor\"}"], 1.0);
    assert_eq!(all["speaker_bgp_session_last_error_code{peer=\"tor\",direction=\"received\"}"], 6.0);
    assert_eq!(all["speaker_bgp_session_last_error_subcode{peer=\"tor\",direction=\"received\"}"], 4.0);
    // Administrative Shutdown, from this side.
    assert_eq!(node.speaker(&["shutdown", "tor"]).code, 0);
    let all = becomes(&node, "speaker_bgp_session_shutdown{peer=\"tor\"}", |flag| flag == 1.0);
    assert_eq!(all["speaker_bgp_session_up{peer=\"tor\"}"], 0.0);
    let all =
        becomes(&node, "speaker_bgp_session_last_error_subcode{peer=\"tor\",direction=\"sent\"}", |code| {
            code == 2.0
        });
    assert!(!all.contains_key("speaker_bgp_session_last_error_code{peer=\"tor\",direction=\"received\"}"));
    assert_eq!(all["speaker_bgp_session_uptime_seconds{peer=\"tor\"}"], 0.0);
}

#[test]
fn a_refused_configuration_shows_and_a_good_one_changes_the_hash() {
    let Pair { node, scene, .. } = pair();
    let hash = |all: &BTreeMap<String, f64>| -> String {
        all.keys().find(|name| name.starts_with("speaker_config_info")).unwrap().clone()
    };
    let first = hash(&scrape(&node));
    scene.edit("node.yaml", "router: {asn: 64501", "router: {asn: nonsense");
    let all = becomes(&node, "speaker_config_refused", |refused| refused == 1.0);
    assert_eq!(hash(&all), first, "the old one is in force");
    assert_eq!(all["speaker_config_reloads_total{result=\"refused\"}"], 1.0);
    let loaded = all["speaker_config_loaded_timestamp_seconds"];
    scene.edit("node.yaml", "router: {asn: nonsense", "router: {asn: 64501");
    let all = becomes(&node, "speaker_config_refused", |refused| refused == 0.0);
    assert_eq!(all["speaker_config_reloads_total{result=\"loaded\"}"], 1.0);
    assert_eq!(hash(&all), first, "the same text again");
    assert!(all["speaker_config_loaded_timestamp_seconds"] >= loaded);
    scene.edit("node.yaml", "when: ready", "when: allocated");
    let all = becomes(&node, "speaker_config_reloads_total{result=\"loaded\"}", |count| count == 2.0);
    assert_ne!(hash(&all), first);
}

/// Each fault of a file once, however often it is read again; the others count nothing.
#[test]
fn what_is_tried_again_is_counted_by_component() {
    let Pair { node, scene, .. } = pair();
    let name = |component: &str| format!("speaker_reconcile_errors_total{{component=\"{component}\"}}");
    assert_eq!(scrape(&node)[&name("manifests")], 0.0);
    scene.write("m/broken.yaml", "kind: [");
    becomes(&node, &name("manifests"), |count| count == 1.0);
    scene.write("m/another.yaml", "kind: {");
    let all = becomes(&node, &name("manifests"), |count| count == 2.0);
    for component in ["kubernetes", "kernel", "link"] {
        assert!(all.contains_key(&name(component)), "{component}");
    }
    assert_eq!((all[&name("kubernetes")], all[&name("link")]), (0.0, 0.0));
}

#[test]
fn ready_is_whoever_has_every_source() {
    let scene = Scene::new();
    // A folder that is missing is waited for.
    let config = watched(&node(179, "", FABRIC)).replace("manifests: [m]", "manifests: [absent]");
    let daemon = scene.start("node", &config);
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, text) = daemon.get("/readyz");
    assert_eq!((status, text.as_str()), (503, "waiting for the first full list of manifests\n"));
    std::fs::create_dir(scene.path("absent")).unwrap();
    eventually("it is ready", || match daemon.get("/readyz") {
        (200, _) => Ok(()),
        (status, text) => Err(format!("{status} {text}")),
    });
}

#[test]
fn a_taken_port_is_an_error_that_names_the_key() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = node(179, "", FABRIC).replace("node.sock}", &format!("node.sock, http: \"{address}\"}}"));
    scene.write("node.yaml", &config);
    let ran = scene.run(&["run", "--config", "node.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains(&format!("cannot serve metrics on {address}")), "{ran:?}");
    assert!(ran.err.contains("api.http says where they are"), "{ran:?}");
    let ran = scene.run(&["check", "--config", "node.yaml", "--node"]);
    assert!(ran.out.contains(&format!("warning: api.http {address}: ")), "{ran:?}");

    scene.write("node.yaml", &node(179, "", FABRIC));
    let ran = scene.run(&["run", "--config", "node.yaml", "--metrics", &address]);
    assert!(ran.code == 1 && ran.err.contains("--metrics says where they are"), "{ran:?}");
}

#[test]
fn the_second_address_serves_metrics_alone() {
    let scene = Scene::new();
    let config = node(179, "", FABRIC);
    let daemon = scene.start_with("node", &config, &["--metrics", "127.0.0.1:0"]);
    let address = daemon.http("--metrics");
    let (status, text) = get(&address, "/metrics");
    assert!(status == 200 && text.contains("speaker_build_info"), "{status} {text}");
    assert_eq!(get(&address, "/healthz").0, 404);
    assert!(!daemon.log().contains("api.http:"), "it is served only where it is configured");
}

const PEERS: usize = 50;
const SERVICES: usize = 10_000;

/// What a scrape costs the hub: its own histogram says how long it was busy.
#[test]
fn a_scrape_does_not_stall_the_hub() {
    let scene = Scene::new();
    scene.write("m/pool.yaml", &pool("public", "10.64.0.0/16"));
    let mut all = String::from("{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [");
    for number in 0..SERVICES {
        let comma = if number == 0 { "" } else { "," };
        write!(
            all,
            "{comma}{{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{{\"name\":\"s{number}\",\"namespace\":\"shop\"}},\"spec\":{{\"type\":\"LoadBalancer\",\"ports\":[{{\"port\":80}}]}}}}"
        )
        .unwrap();
    }
    scene.write("m/services.json", &format!("{all}]}}"));
    let dynamic = "dynamicPeers:\n  - {name: nodes, prefix: 127.0.3.0/24, asn: 64501, limit: 64}";
    let router = scene.start("router", &router(dynamic).replace("127.0.0.1:0", "0.0.0.0:0"));
    let port = router.port();
    let mut config = "node: {name: n1}
router: {asn: 64501, routerId: 10.255.0.2}
sources: {manifests: [m]}
ipam: {stateDir: state, families: [ipv4]}
api: {socket: node.sock, http: \"127.0.0.1:0\"}
advertisements:
  - {name: all, serviceRoutes: {which: all, when: allocated}}
peers:
"
    .to_owned();
    for peer in 1..=PEERS {
        writeln!(
            config,
            "  - {{name: tor-{peer}, address: 127.0.2.{peer}, port: {port}, localAddress: 127.0.3.{peer}, asn: 64500, families: [ipv4-unicast]}}"
        )
        .unwrap();
    }
    let node = scene.start("node", &config);
    let last = format!("speaker_bgp_routes_advertised{{peer=\"tor-{PEERS}\",family=\"ipv4-unicast\"}}");
    let before = becomes(&node, &last, |count| count == 10_000.0);
    let up: f64 =
        (1..=PEERS).map(|peer| before[&format!("speaker_bgp_session_up{{peer=\"tor-{peer}\"}}")]).sum();
    assert_eq!(up, 50.0);

    const SCRAPES: u32 = 20;
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    for _ in 0..SCRAPES {
        let one = Instant::now();
        scrape(&node);
        slowest = slowest.max(one.elapsed());
    }
    let mean = began.elapsed() / SCRAPES;
    let after = scrape(&node);
    let grown = |name: &str| after[name] - before[name];
    let turns = grown("speaker_hub_turn_duration_seconds_count");
    let busy = grown("speaker_hub_turn_duration_seconds_sum");
    let long = turns - grown("speaker_hub_turn_duration_seconds_bucket{le=\"0.1\"}");
    println!(
        "{SERVICES} Services, {PEERS} peers, debug build: a scrape takes {mean:?} (slowest {slowest:?}); the hub is busy {:.2} ms in {turns} turns, at most 100 ms in all but {long}",
        busy * 1000.0 / f64::from(SCRAPES)
    );
    assert!(turns >= f64::from(SCRAPES), "{turns}");
    assert!(busy / f64::from(SCRAPES) < 0.1, "the hub is busy for {busy} s with {SCRAPES} scrapes");
    assert!(after["speaker_ipam_services{state=\"satisfied\"}"] == 10_000.0);
}
