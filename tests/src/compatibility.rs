//! Holds `speaker/docs/cilium.md` to the tree, so that it cannot lie.

use std::collections::BTreeSet;

use crate::pages::{check_test, file, rows};

/// The topics that have rules of their own.
const TOPICS: [&str; 20] = [
    "LB IPAM: the pool",
    "LB IPAM: the controller",
    "LB IPAM: conditions of a pool",
    "LB IPAM: conflicts",
    "LB IPAM: which Services",
    "LB IPAM: allocation",
    "LB IPAM: when an address goes",
    "LB IPAM: restart",
    "LB IPAM: sharing",
    "LB IPAM: metrics",
    "BGP: CiliumBGPClusterConfig",
    "BGP: CiliumBGPPeerConfig",
    "BGP: CiliumBGPAdvertisement",
    "BGP: what is announced of Services",
    "BGP: CiliumBGPNodeConfig",
    "BGP: CiliumBGPNodeConfigOverride",
    "BGP: command line and metrics",
    "L2 announcements",
    "Node IPAM",
    "Beside Cilium, and upgrades",
];

#[test]
fn each_rule_of_ciliums_has_its_code_and_its_tests() {
    let page = file("speaker/docs/cilium.md", "the page");
    let mut seen = BTreeSet::new();
    for (row, cells) in rows(&page) {
        let [cilium, here, code, tests] = cells[..] else { panic!("four cells, not {row}") };
        assert!(seen.insert(cilium), "twice: {row}");
        let word = here.strip_prefix("**").and_then(|rest| rest.split_once("**")).map(|(word, _)| word);
        assert!(matches!(word, Some("same" | "better" | "differs" | "not served")), "{row}");
        file(code.trim_matches('`'), row);
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests.split(", ") {
            check_test(test.trim_matches('`'), row);
        }
    }
    assert!(seen.len() > 150, "{} rows", seen.len());
    let topics: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(topics, TOPICS);
}
