//! What nobody serves does not loop.

use tests::cluster::ProxyMode;
use tests::e2e::manifests::service;
use tests::e2e::{SOON, turn};
use tests::echo::ask;
use tests::fabric::{BRIEFLY, nft};
use tests::lab::Node;
use tests::traffic::Proxies;
use tests::wait::eventually;

use crate::scene::{ALL, Pods, addr, ask_once, dual, endpoints, pools, wait_served};

/// Counts packets for the pools, by the interface that they come in by.
const COUNTERS: &str = "
table inet seen {
  counter passed { }
  chain prerouting {
    type filter hook prerouting priority -400; policy accept;
    iifname \"eth0\" ip daddr 10.65.0.0/24 counter name passed
    iifname \"eth0\" ip6 daddr 2001:db8:65::/112 counter name passed
  }
}
";

fn counted(node: &Node) -> u64 {
    let text = node.exec(&["nft", "list", "counter", "inet", "seen", "passed"]);
    text.split_whitespace().skip_while(|word| *word != "packets").nth(1).unwrap().parse().unwrap()
}

fn guarded(mode: ProxyMode) {
    let world = turn(3);
    let _proxies = Proxies::start(&world, mode);
    pools(&world, 65);
    let prefix = if mode == ProxyMode::Nftables { "gn" } else { "gi" };
    let host_number = if mode == ProxyMode::Nftables { 65 } else { 66 };
    let pods = Pods::new(&world, prefix, &[(1, host_number), (2, host_number)]);
    let vips = dual(&world, service("web"), "web");
    endpoints(&world, "web", &[(1, host_number), (2, host_number)], &[]);
    wait_served(&world, &vips, &ALL);
    let _shadow = world.tor_node().try_exec(&["nft", "delete", "table", "inet", "seen"]);
    nft(world.tor_node(), COUNTERS);
    let nobodys = [addr("10.65.0.200"), addr("2001:db8:65::200")];
    let pod = &pods.nodes[&(1, host_number)];
    let mut refused = 0;
    for from in [&world.outside, &world.members[0].node, pod] {
        for vip in vips {
            eventually(SOON, "what is served answers", || ask_once(from, vip).map(|_| ()));
        }
        let before = counted(world.tor_node());
        for (to, port) in vips.map(|vip| (vip, 81)).into_iter().chain(nobodys.map(|to| (to, 80))) {
            ask(from, to, port, BRIEFLY).unwrap_err();
            refused += 1;
        }
        let came = counted(world.tor_node()) - before;
        // What a node itself sends to nobody goes to the router once, and comes back from there no further than a
        // node; a SYN is not sent twice within the patience.
        let allowed = if from.name() == "n1" { 4 } else { 0 };
        assert!(came <= allowed, "{mode:?}: {came} packets of {} reached the router", from.name());
    }
    assert_eq!(refused, 12);
    // The measure itself: without the guard they go round.
    for member in &world.members {
        for family in ["-4", "-6"] {
            member.node.ip(&[family, "rule", "add", "lookup", "main", "preference", "10000"]);
        }
    }
    let before = counted(world.tor_node());
    ask(&world.outside, nobodys[0], 80, BRIEFLY).unwrap_err();
    let came = counted(world.tor_node()) - before;
    for member in &world.members {
        for family in ["-4", "-6"] {
            member.node.ip(&[family, "rule", "del", "preference", "10000"]);
        }
    }
    world.tor_node().exec(&["nft", "delete", "table", "inet", "seen"]);
    assert!(came > 20, "{came} packets came back: the test sees no loop where there is one");
}

#[test]
fn nothing_loops_with_nftables_under_the_guard() {
    guarded(ProxyMode::Nftables);
}

#[test]
fn nothing_loops_with_iptables_under_the_guard() {
    guarded(ProxyMode::Iptables);
}
