//! What the speaker keeps in the kernel: put back, left alone, cleaned up, and in which order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use tests::echo::{Echo, ask};
use tests::fabric::{Fabric, POOL_ALWAYS, POOL4, POOL6, Row, SOON, config, kernel, own_lines, pool, service};
use tests::lab::Node;
use tests::speaker::{Speaker, binary};
use tests::wait::{always, eventually};

/// What a guard of the pool is in the kernel; the rule is the same line in both families.
const GUARDS: [&str; 3] = [
    "10179:	not from all iif lo lookup 10179 proto 179",
    "blackhole 2001:db8:1::/64 dev lo table 10179 proto 179 metric 1024 pref medium",
    "blackhole 203.0.113.0/24 table 10179 proto 179 metric 1024",
];

#[track_caller]
fn wait_own(node: &Node, what: &str, wanted: &[&str]) {
    eventually(SOON, what, || {
        let seen = own_lines(node);
        if seen == wanted { Ok(()) } else { Err(format!("{seen:#?}")) }
    });
}

/// `speaker run --config FILE --cleanup` on a node.
fn cleanup(node: &Node) -> Result<String, String> {
    let file = node.dir().join("speaker/speaker.yaml");
    node.try_exec(&[&binary().to_string_lossy(), "run", "--config", &file.to_string_lossy(), "--cleanup"])
}

fn announced(speaker: &Speaker) -> Vec<String> {
    let rows = speaker.json(&["rib", "local"]);
    rows.as_array().into_iter().flatten().filter_map(|row| Some(row["prefix"].as_str()?.to_owned())).collect()
}

#[test]
fn what_is_removed_by_hand_comes_back_and_what_is_foreign_stays() {
    let fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &[pool()]);
    let node = &fabric.row.node;
    fabric.wait_routes(&[POOL4, POOL6]);
    assert_eq!(own_lines(node), GUARDS);
    for gone in [
        &["route", "del", "blackhole", POOL4, "table", "10179"][..],
        &["-6", "route", "del", "blackhole", POOL6, "table", "10179"],
        &["rule", "del", "preference", "10179"],
        &["-6", "rule", "del", "preference", "10179"],
        &["route", "flush", "table", "10179"],
    ] {
        node.ip(gone);
        // Both families' rules are one line of the list: each is looked at in its own.
        eventually(SOON, &format!("{gone:?} is mended"), || {
            let rules =
                ["-4", "-6"].map(|family| node.ip(&[family, "rule", "show"]).contains("lookup 10179"));
            let own = own_lines(node);
            if own == GUARDS && rules == [true, true] { Ok(()) } else { Err(format!("{rules:?} {own:#?}")) }
        });
    }
    // In our own table, at the same place as what is ours, and elsewhere.
    node.ip(&["route", "add", "198.51.100.0/24", "via", "10.0.0.254", "table", "10179"]);
    node.ip(&["route", "add", "blackhole", POOL4, "metric", "7", "table", "10179"]);
    node.ip(&["rule", "add", "from", "192.0.2.1", "lookup", "77", "preference", "10179"]);
    node.ip(&["route", "add", "local", "192.0.2.9", "dev", "lo", "table", "local"]);
    let foreign = |node: &Node| -> Vec<String> {
        let text = kernel(node);
        let mut all: Vec<String> =
            text.lines().filter(|line| !line.contains("proto 179")).map(str::to_owned).collect();
        all.sort();
        all
    };
    let before = foreign(node);
    eventually(SOON, "the speaker says what it found", || {
        let version = fabric.speaker.cli(&["version"]);
        let said = version.matches("that is not ours").count();
        if said == 2 { Ok(()) } else { Err(version) }
    });
    fabric.speaker.process().kill();
    assert_eq!(own_lines(node), GUARDS);
    cleanup(node).unwrap();
    assert_eq!((own_lines(node), foreign(node)), (Vec::<String>::new(), before));
}

#[test]
fn what_is_removed_while_nobody_listens_comes_back_too() {
    let fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &[pool()]);
    let node = &fabric.row.node;
    fabric.wait_routes(&[POOL4, POOL6]);
    assert_eq!(own_lines(node), GUARDS);
    // More routes come and go than the monitor's socket holds, none of which matters; then a guard, of which the kernel
    // can tell nobody any more.
    let flood: String = (0..8_000)
        .map(|one| format!("route add prohibit 198.18.{}.{}/32 table 77\n", one / 250, one % 250))
        .collect();
    let batch = node.dir().join("flood");
    fs::write(&batch, flood).unwrap();
    fabric.speaker.process().pause();
    node.ip(&["-batch", &batch.to_string_lossy()]);
    node.ip(&["route", "del", "blackhole", POOL4, "table", "10179"]);
    let sockets = node.exec(&["cat", "/proc/net/netlink"]);
    fabric.speaker.process().resume();
    let lost = sockets.lines().filter_map(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    assert!(lost.max() > Some(0), "nothing was lost: {sockets}");
    // The regular look at the kernel comes every minute: SOON is sooner.
    wait_own(node, "the guard is mended", &GUARDS);
}

#[test]
fn cleanup_leaves_the_kernel_as_it_was() {
    let row = Row::new();
    let before = kernel(&row.node);
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let fabric = Fabric::start_on(row, "{loops: unreachable, local: announced}", POOL_ALWAYS, &manifests);
    let node = &fabric.row.node;
    fabric.wait_routes(&[POOL4, POOL6]);
    eventually(SOON, "the Service is delivered", || {
        let own = own_lines(node);
        if own.len() == 5 { Ok(()) } else { Err(format!("{own:#?}")) }
    });
    let error = cleanup(node).unwrap_err();
    assert!(
        error.contains("another speaker looks after the kernel of this network namespace; stop it first"),
        "{error}"
    );
    fabric.speaker.process().kill();
    assert_eq!(own_lines(node).len(), 5, "a killed process removes nothing");
    let said = cleanup(node).unwrap();
    assert!(said.ends_with("6 route(s) and rule(s) removed\n"), "{said}");
    assert_eq!(kernel(node), before);
    assert!(cleanup(node).unwrap().starts_with("0 route(s)"));
}

#[test]
fn leftovers_of_a_killed_process_go_with_the_next_and_not_before_it_knows_everything() {
    let mut fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &[pool()]);
    let node = fabric.row.node.clone();
    fabric.wait_routes(&[POOL4, POOL6]);
    fabric.speaker.process().kill();
    assert_eq!(own_lines(&node), GUARDS);
    // The same wishes: nothing is touched, not even for a moment.
    let seen = node.dir().join("monitor");
    let watch = format!("exec ip monitor route rule > {}", seen.display());
    let monitor = node.spawn("monitor", Command::new("sh").args(["-c", &watch]));
    fabric.speaker.start_again();
    fabric.wait_routes(&[POOL4, POOL6]);
    assert!(!fs::read_to_string(&seen).unwrap().contains("10179"), "{}", fs::read_to_string(&seen).unwrap());
    monitor.kill();
    // Other wishes: one prefix goes, the other stays.
    fabric.speaker.process().kill();
    let text = pool().1.replace("{cidr: 203.0.113.0/24}, ", "");
    fabric.speaker.write_manifest("pool.yaml", &text);
    fabric.speaker.start_again();
    wait_own(&node, "only IPv6 is guarded", &GUARDS[..2]);
    assert!(!node.ip(&["-4", "rule", "show"]).contains("10179"));
    fabric.speaker.process().kill();
    let off = config("{loops: none}", POOL_ALWAYS, "");
    fabric.speaker.write_config(&off);
    fabric.speaker.start_again();
    wait_own(&node, "nothing is left", &[]);
}

#[test]
fn a_prefix_is_announced_after_its_guard_and_keeps_it_after_it_was_withdrawn() {
    let row = Row::new();
    // Somebody else's route where the guard is to stand: the guard cannot be set.
    let taken = ["route", "add", "unreachable", POOL4, "metric", "1024", "table", "10179"];
    row.node.ip(&taken);
    let fabric = Fabric::start_on(row, "{loops: blackhole}", POOL_ALWAYS, &[pool()]);
    let node = &fabric.row.node;
    fabric.wait_routes(&[POOL6]);
    always(Duration::from_secs(1), "the unguarded prefix is held", || {
        let seen = fabric.routes();
        if seen == [POOL6] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let story = fabric.speaker.try_cli(&["explain", POOL4]).unwrap_err();
    assert!(story.contains("HELD kernel: the blackhole route to 203.0.113.0/24 cannot be set: table 10179 has a route of somebody else to it"), "{story}");
    node.ip(&["route", "del", "unreachable", POOL4, "metric", "1024", "table", "10179"]);
    fabric.wait_routes(&[POOL4, POOL6]);
    assert_eq!(own_lines(node), GUARDS);
    let story = fabric.speaker.cli(&["explain", POOL4]);
    assert!(
        story.contains("ok   kernel: the blackhole route to 203.0.113.0/24 is in table 10179"),
        "{story}"
    );
    fabric.speaker.remove_manifest("pool.yaml");
    fabric.wait_routes(&[]);
    assert_eq!(own_lines(node), GUARDS, "withdrawn, and still guarded");
    wait_own(node, "the guards go", &[]);
}

#[test]
fn what_stays_at_the_end_depends_on_who_goes_on_sending() {
    // A peer that restarts gracefully with us, one that does not, and none at all.
    let graceful = config("{loops: blackhole}", POOL_ALWAYS, ", gracefulRestart: {restartTime: 30s}");
    let plain = config("{loops: blackhole}", POOL_ALWAYS, "");
    let mut fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &[pool()]);
    let node = fabric.row.node.clone();
    for (text, left) in [(graceful, &GUARDS[..]), (plain, &[])] {
        fabric.speaker.process().kill();
        fabric.speaker.write_config(&text);
        fabric.speaker.start_again();
        for peer in ["router4", "router6"] {
            fabric.speaker.wait_state(peer, "Established", SOON);
        }
        fabric.wait_routes(&[POOL4, POOL6]);
        fabric.speaker.process().terminate();
        assert_eq!(own_lines(&node), left);
    }
    // Static routing: routes are pointed here by hand, and nobody was told of an end.
    let (head, rest) = config("{loops: blackhole}", POOL_ALWAYS, "")
        .split_once("peerGroups:")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let (_, advertisements) = rest.split_once("advertisements:").unwrap();
    fabric.speaker.write_config(&format!("{head}advertisements:{advertisements}"));
    fabric.speaker.start_again();
    wait_own(&node, "a pool that nobody is told of is guarded", &GUARDS);
    fabric.speaker.process().terminate();
    assert_eq!(own_lines(&node), GUARDS);
}

#[test]
fn one_speaker_looks_after_a_namespace_and_others_keep_out() {
    let fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &[pool()]);
    let node = &fabric.row.node;
    fabric.wait_routes(&[POOL4, POOL6]);
    for loops in ["blackhole", "none"] {
        let dir = node.dir().join(format!("second-{loops}"));
        fs::create_dir_all(dir.join("manifests")).unwrap();
        let other =
            pool().1.replace("203.0.113.0/24", "198.51.100.0/24").replace("2001:db8:1::", "2001:db8:2::");
        fs::write(dir.join("manifests/pool.yaml"), other).unwrap();
        let text = format!(
            "node: {{name: n2}}\nsources: {{manifests: [manifests]}}\nipam: {{stateDir: state}}\napi: {{socket: api.sock}}\ndatapath: {{loops: {loops}}}\n{POOL_ALWAYS}"
        );
        fs::write(dir.join("speaker.yaml"), text).unwrap();
        let mut command = Command::new(binary());
        command.args(["run", "--config"]).arg(dir.join("speaker.yaml"));
        let second = node.spawn(&format!("second-{loops}"), &mut command);
        if loops == "blackhole" {
            eventually(SOON, "the second one says that it keeps out", || {
                let log = second.log();
                if log.contains("the kernel is not looked after: another speaker looks after") {
                    Ok(())
                } else {
                    Err(log)
                }
            });
        } else {
            eventually(SOON, "the second one runs", || {
                let log = second.log();
                if log.contains("every source has delivered") { Ok(()) } else { Err(log) }
            });
        }
        always(Duration::from_secs(1), "the first one's routes stay", || {
            let own = own_lines(node);
            if own == GUARDS { Ok(()) } else { Err(format!("{own:#?}")) }
        });
        second.terminate();
    }
    // In another namespace of the same machine each has its own.
    let other = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &[pool()]);
    other.wait_routes(&[POOL4, POOL6]);
    assert_eq!(own_lines(&other.row.node), GUARDS);
}

#[test]
fn without_the_right_to_change_the_kernel_there_is_a_warning_and_routes_all_the_same() {
    let row = Row::new();
    let before = kernel(&row.node);
    let dir = row.node.dir().join("speaker");
    fs::create_dir_all(dir.join("manifests")).unwrap();
    fs::write(dir.join("manifests/pool.yaml"), pool().1).unwrap();
    fs::write(dir.join("speaker.yaml"), config("{loops: blackhole}", POOL_ALWAYS, "")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]);
    command.arg(binary()).args(["run", "--config"]).arg(dir.join("speaker.yaml"));
    let speaker = row.node.spawn("speaker", &mut command);
    eventually(SOON, "a warning", || {
        let log = speaker.log();
        let said = log.matches("the kernel is not looked after: CAP_NET_ADMIN is missing").count();
        if said == 1 { Ok(()) } else { Err(log) }
    });
    let socket = dir.join("api.sock");
    eventually(SOON, "the prefix is in the Loc-RIB", || {
        let output = Command::new(binary()).args(["rib", "local", "--socket"]).arg(&socket).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains(POOL4) { Ok(()) } else { Err(text) }
    });
    assert_eq!(kernel(&row.node), before);
    speaker.terminate();
}

#[test]
fn a_family_that_the_kernel_refuses_holds_back_itself_alone() {
    let row = Row::new();
    let node = row.node.clone();
    // Sessions and forwarding of IPv6 stay; local delivery is refused.
    node.sysctl("net/ipv6/conf/lo/disable_ipv6", "1");
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let advertisements = "advertisements: [{name: fabric, serviceRoutes: {which: all, when: allocated}}]\n";
    let fabric = Fabric::start_on(row, "{loops: blackhole, local: announced}", advertisements, &manifests);
    fabric.wait_routes(&["203.0.113.10/32"]);
    let _service = Echo::serve(&node, 80);
    let vip = "203.0.113.10".parse().unwrap();
    assert_eq!(ask(&fabric.row.client, vip, 80, Duration::from_secs(5)).unwrap().server, "node");
    let own = own_lines(&node);
    for rule in ["10179:", "blackhole 203.0.113.0/24", "local 203.0.113.10"] {
        assert!(own.iter().any(|line| line.starts_with(rule)), "{rule}: {own:#?}");
    }
    let story = fabric.speaker.try_cli(&["explain", "2001:db8:1::a/128"]).unwrap_err();
    assert!(
        story.contains("HELD kernel: 2001:db8:1::a cannot be delivered on this host: IPv6 is disabled"),
        "{story}"
    );
    let version = fabric.speaker.cli(&["version"]);
    assert!(!version.contains("CAP_NET_ADMIN"), "{version}");
    let errors = "speaker_reconcile_errors_total{component=\"kernel\"}";
    assert!(fabric.speaker.metric(errors) >= 1.0, "what the kernel refuses is counted");
    node.sysctl("net/ipv6/conf/lo/disable_ipv6", "0");
    fabric.wait_routes(&["2001:db8:1::a/128", "203.0.113.10/32"]);
}

#[test]
fn a_change_of_the_configuration_is_followed() {
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &manifests);
    let node = &fabric.row.node;
    fabric.wait_routes(&[POOL4, POOL6]);
    fabric.speaker.write_config(&config("{loops: unreachable, local: announced}", POOL_ALWAYS, ""));
    wait_own(
        node,
        "unreachable routes and local ones",
        &[
            GUARDS[0],
            "local 2001:db8:1::a dev lo table local proto 179 metric 1024 pref medium",
            "local 203.0.113.10 dev lo table local proto 179 scope host metric 1024",
            "unreachable 2001:db8:1::/64 dev lo table 10179 proto 179 metric 1024 pref medium",
            "unreachable 203.0.113.0/24 table 10179 proto 179 metric 1024",
        ],
    );
    fabric.speaker.write_config(&config("{loops: none}", POOL_ALWAYS, ""));
    wait_own(node, "nothing", &[]);
    assert_eq!(announced(&fabric.speaker), [POOL4, POOL6]);
}
