//! What becomes of packets for announced addresses: from a client, through a real router, to a node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::{IpAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use tests::cluster::pod;
use tests::echo::{Echo, ask};
use tests::fabric::{BRIEFLY, Fabric, POOL_ALWAYS, POOL4, POOL6, Row, SOON, nft, own_lines, pool, service};
use tests::speaker::Speaker;
use tests::wait::{always, eventually};

/// What stands for kube-proxy on a node: a Service's port is translated for packets that come in and for those that
/// the node makes.
const PROXY: &str = "
table ip proxy4 {
  chain translate { ip daddr 203.0.113.10 tcp dport 80 dnat to 10.244.1.2:8080; }
  chain prerouting { type nat hook prerouting priority -100; jump translate; }
  chain output { type nat hook output priority -100; jump translate; }
  chain postrouting { type nat hook postrouting priority 100; ip daddr 10.244.1.2 ip saddr != 10.244.1.2 masquerade; }
}
table ip6 proxy6 {
  chain translate { ip6 daddr 2001:db8:1::a tcp dport 80 dnat to [fd00:10:244:1::2]:8080; }
  chain prerouting { type nat hook prerouting priority -100; jump translate; }
  chain output { type nat hook output priority -100; jump translate; }
  chain postrouting { type nat hook postrouting priority 100; ip6 daddr fd00:10:244:1::2 ip6 saddr != fd00:10:244:1::2 masquerade; }
}
";

const POOL_AND_HOSTS: &str = "advertisements:
  - name: fabric
    poolPrefix: {when: always}
    serviceRoutes: {which: all, when: allocated}
    prefixes: [198.51.100.7/32, 198.51.100.64/28]
";

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Sends a datagram to each address and port; says how many packets came back to the router. Waits until all of
/// them have reached the node.
fn loops(row: &Row, to: &[(&str, u16)]) -> u64 {
    let (back, arrived) = (row.came_back(), row.arrived());
    for (address, port) in to {
        row.send(address, *port);
    }
    eventually(Duration::from_secs(10), "every packet reaches the node", || {
        let seen = row.arrived() - arrived;
        if seen >= to.len() as u64 { Ok(()) } else { Err(format!("{seen} of {}", to.len())) }
    });
    // A packet that loops goes round within milliseconds.
    let mut last = row.came_back();
    eventually(Duration::from_secs(10), "the line is quiet", || {
        let now = row.came_back();
        let quiet = now == last;
        last = now;
        if quiet { Ok(()) } else { Err(format!("{now} packets")) }
    });
    last - back
}

#[test]
fn what_nobody_takes_loops_without_a_guard_and_ends_at_the_node_with_it() {
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let fabric = Fabric::start("{loops: none}", POOL_ALWAYS, &manifests);
    let row = &fabric.row;
    fabric.wait_routes(&[POOL4, POOL6]);
    nft(&row.node, PROXY);
    let nobodys = [("203.0.113.77", 9), ("203.0.113.10", 81), ("2001:db8:1::77", 9), ("2001:db8:1::a", 81)];
    // The measure itself: each of the four goes back and forth until its hops are used up.
    for one in nobodys {
        let times = loops(row, &[one]);
        assert!(times > 20, "{one:?} came back {times} times: the test sees no loop where there is one");
    }
    for guard in ["blackhole", "unreachable"] {
        let config = tests::fabric::config(&format!("{{loops: {guard}}}"), POOL_ALWAYS, "");
        fabric.speaker.write_config(&config);
        eventually(SOON, &format!("{guard} routes are there"), || {
            let own = own_lines(&row.node);
            let guards = own.iter().filter(|line| line.starts_with(guard)).count();
            let rules = own.iter().filter(|line| line.contains("not from all iif lo lookup 10179")).count();
            // The rules of both families are the same line.
            if guards == 2 && rules == 1 { Ok(()) } else { Err(format!("{own:#?}")) }
        });
        assert_eq!(loops(row, &nobodys), 0, "{guard}");
    }
}

#[test]
fn only_unreachable_tells_the_sender() {
    let heard = |guard: &str| {
        let fabric = Fabric::start(&format!("{{loops: {guard}}}"), POOL_ALWAYS, &[pool()]);
        fabric.wait_routes(&[POOL4, POOL6]);
        ["203.0.113.77", "2001:db8:1::77"].map(|to| {
            let output =
                fabric.row.client.output(Command::new("ping").args(["-n", "-c", "1", "-W", "1", to]));
            let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
            text.lines().any(|line| line.starts_with("from ") && line.contains("unreachable"))
        })
    };
    assert_eq!(heard("unreachable"), [true, true]);
    assert_eq!(heard("blackhole"), [false, false]);
}

#[test]
fn the_guard_cuts_off_neither_clients_nor_the_node_nor_its_pods() {
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &manifests);
    let row = &fabric.row;
    let server = pod(&row.lab, &row.node, "server", &[addr("10.244.1.2"), addr("fd00:10:244:1::2")]);
    let other = pod(&row.lab, &row.node, "other", &[addr("10.244.1.3"), addr("fd00:10:244:1::3")]);
    let _echo = Echo::serve(&server, 8080);
    nft(&row.node, PROXY);
    fabric.wait_routes(&[POOL4, POOL6]);
    for vip in ["203.0.113.10", "2001:db8:1::a"] {
        for from in [&row.client, &row.node, &other] {
            let answer = ask(from, addr(vip), 80, Duration::from_secs(5)).unwrap();
            assert_eq!(answer.server, "server", "{vip} from {}", from.name());
        }
        // And what is not served neither answers nor loops, from where ever it is asked for.
        for from in [&row.client, &row.node, &other] {
            ask(from, addr(vip), 81, BRIEFLY).unwrap_err();
        }
    }
    // The two that the node itself sends out come back from the router once, by the announced route, and end here.
    assert!(row.came_back() <= 12, "{} packets came back", row.came_back());
    // The same guard in the main table is looked up before OUTPUT translates: the node is cut off.
    row.node.ip(&["route", "add", "blackhole", POOL4]);
    ask(&row.node, addr("203.0.113.10"), 80, BRIEFLY).unwrap_err();
    row.node.ip(&["route", "del", "blackhole", POOL4]);
    ask(&row.node, addr("203.0.113.10"), 80, BRIEFLY).unwrap();
}

#[test]
fn local_delivery_takes_used_addresses_and_opens_nothing_on_others() {
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let fabric = Fabric::start("{loops: blackhole, local: announced}", POOL_AND_HOSTS, &manifests);
    let row = &fabric.row;
    fabric.wait_routes(&[
        "198.51.100.64/28",
        "198.51.100.7/32",
        "2001:db8:1::/64",
        "2001:db8:1::a/128",
        "203.0.113.0/24",
        "203.0.113.10/32",
    ]);
    // A process of the Service, bound to its address, and one of the host, bound to none.
    let bound = row.node.inside(|| TcpListener::bind("203.0.113.10:80").unwrap());
    drop(bound);
    let _service = Echo::serve(&row.node, 80);
    let _host = Echo::serve(&row.node, 22);
    for used in ["203.0.113.10", "2001:db8:1::a", "198.51.100.7"] {
        assert_eq!(ask(&row.client, addr(used), 80, Duration::from_secs(5)).unwrap().server, "node");
        assert!(row.pings(used), "{used} is delivered here: the kernel answers");
    }
    // Neither a connection nor a refusal: nothing answers at all.
    for unused in ["203.0.113.11", "2001:db8:1::b", "198.51.100.65"] {
        let error = ask(&row.client, addr(unused), 22, BRIEFLY).unwrap_err();
        assert!(error.contains("timed out"), "{error}");
        assert!(!row.pings(unused), "{unused}");
    }
    assert_eq!(loops(row, &[("203.0.113.11", 9), ("2001:db8:1::b", 9)]), 0);
    // The kernel asks its table `local` before it meets the guard, which covers the same addresses.
    let rules: Vec<u32> = row
        .node
        .ip(&["rule", "show"])
        .lines()
        .filter_map(|one| one.split(':').next()?.parse().ok())
        .collect();
    assert_eq!(rules, [0, 10_179, 32_766, 32_767]);
    // Service gone: withdrawn first, and delivered for a while after that.
    fabric.speaker.remove_manifest("web.yaml");
    eventually(SOON, "the router has lost the Service's routes", || {
        let seen = fabric.routes();
        if seen.iter().any(|one| one == "203.0.113.10/32") { Err(format!("{seen:?}")) } else { Ok(()) }
    });
    assert!(own_lines(&row.node).iter().any(|line| line.starts_with("local 203.0.113.10 ")));
    eventually(SOON, "the address is let go", || {
        let own = own_lines(&row.node);
        if own.iter().any(|line| line.starts_with("local 203.0.113.10 ")) {
            Err(format!("{own:#?}"))
        } else {
            Ok(())
        }
    });
    let error = ask(&row.client, addr("203.0.113.10"), 22, BRIEFLY).unwrap_err();
    assert!(error.contains("timed out"), "{error}");
}

/// Static routing: no peer is told anything, the router's routes are pointed at the node by hand.
#[test]
fn without_a_peer_what_is_routed_here_by_hand_is_carried() {
    let row = Row::new();
    row.router.ip(&["route", "add", POOL4, "via", "10.0.0.1"]);
    row.router.ip(&["-6", "route", "add", POOL6, "via", "fd00::1"]);
    // The measure itself.
    assert!(loops(&row, &[("203.0.113.77", 9)]) > 20);
    let config = format!(
        "node: {{name: n1}}\nsources: {{manifests: [manifests]}}\nipam: {{stateDir: state}}\napi: {{socket: api.sock}}\n\
         datapath: {{loops: blackhole, local: announced}}\n{POOL_ALWAYS}"
    );
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let speaker = Speaker::start(&row.node, &config, &manifests);
    let _service = Echo::serve(&row.node, 80);
    for vip in ["203.0.113.10", "2001:db8:1::a"] {
        eventually(SOON, "the address is delivered", || ask(&row.client, addr(vip), 80, BRIEFLY).map(drop));
    }
    let nobodys = [("203.0.113.77", 9), ("2001:db8:1::77", 9)];
    assert_eq!(loops(&row, &nobodys), 0);
    assert_eq!(speaker.cli(&["peers", "-o", "json"]).trim(), "[]");
}

#[test]
fn an_address_that_is_not_delivered_answers_no_ping() {
    let manifests = [pool(), ("web.yaml", service("web", 10))];
    let fabric = Fabric::start("{loops: blackhole}", POOL_ALWAYS, &manifests);
    fabric.wait_routes(&[POOL4, POOL6]);
    assert!(!fabric.row.pings("203.0.113.10") && !fabric.row.pings("2001:db8:1::a"));
    assert!(fabric.row.pings("10.0.0.1"), "the node itself does");
}

#[test]
fn hosts_beside_the_node_stay_reachable_where_a_pool_overlaps_their_subnet() {
    let row = Row::new();
    // A segment behind the node, of which the pool is a part.
    let neighbour = row.lab.node("neighbour");
    row.lab.link(&row.node, "eth1", &neighbour, "eth0");
    row.node.address("eth1", "203.0.113.1/26");
    neighbour.address("eth0", "203.0.113.5/26");
    neighbour.ip(&["route", "add", "default", "via", "203.0.113.1"]);
    // The node's own address is in the pool, too: that takes leave.
    let advertisements = POOL_ALWAYS.replace("fabric,", "fabric, allow: [203.0.113.0/24],");
    let fabric = Fabric::start_on(row, "{loops: blackhole}", &advertisements, &[pool()]);
    fabric.wait_routes(&[POOL4, POOL6]);
    assert!(fabric.row.pings("203.0.113.5"));
    assert!(own_lines(&fabric.row.node).iter().all(|line| !line.contains("203.0.113")));
    let story = fabric.speaker.try_cli(&["explain", POOL4]).unwrap();
    assert!(
        story.contains(
            "203.0.113.0/24 has no loop guard: it overlaps 203.0.113.0/26, to which eth1 is attached"
        ),
        "{story}"
    );
    // The subnet goes: the guard comes, without a restart.
    fabric.row.node.ip(&["address", "del", "203.0.113.1/26", "dev", "eth1"]);
    eventually(SOON, "the guard is there", || {
        let own = own_lines(&fabric.row.node);
        if own.iter().any(|line| line.starts_with("blackhole 203.0.113.0/24")) {
            Ok(())
        } else {
            Err(format!("{own:#?}"))
        }
    });
    always(Duration::from_millis(300), "the route stays announced meanwhile", || {
        let seen = fabric.routes();
        if seen.iter().any(|one| one == POOL4) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}
