//! `localPort: 179` of Cilium's BGP kinds, with the capability that it takes and without.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::time::Duration;

use tests::lab::Lab;
use tests::speaker::Speaker;
use tests::wait::eventually;

const SOON: Duration = Duration::from_secs(20);
const CONFIG: &str = "
node: {name: n1}
sources: {manifests: [manifests]}
ipam: {stateDir: state}
api: {socket: api.sock}
";
const LISTENS: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: fabric}
spec:
  bgpInstances:
    - name: main
      localASN: 64501
      localPort: 179
      peers: [{name: tor, peerAddress: 10.0.0.254, peerASN: 64500}]
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
";

/// Waits until `speaker version` says this of each of the two sockets.
fn wait_listeners(speaker: &Speaker, what: &str, holds: impl Fn(&str) -> bool) {
    eventually(SOON, what, || {
        let version = speaker.json(&["version"]);
        let listeners = version["listeners"].as_array().cloned().unwrap_or_default();
        let right = listeners.len() == 2 && listeners.iter().all(|one| holds(&one.to_string()));
        if right { Ok(()) } else { Err(version.to_string()) }
    });
}

#[test]
fn a_low_port_that_is_refused_names_the_capability_and_peers_are_dialled_all_the_same() {
    let lab = Lab::new();
    let node = lab.node("n1");
    let tor = lab.node("tor");
    lab.link(&node, "eth0", &tor, "eth0");
    node.address("eth0", "10.0.0.1/24");
    tor.address("eth0", "10.0.0.254/24");
    let manifests = [("bgp.yaml", LISTENS.to_owned())];
    let speaker = Speaker::start_without(&node, CONFIG, &manifests, "net_bind_service");
    wait_listeners(&speaker, "both sockets are refused, and it says what to do", |one| {
        one.contains("NET_BIND_SERVICE") && one.contains("agent.lowPorts")
    });
    let log = speaker.process().log();
    assert!(log.contains("cannot listen") && log.contains("NET_BIND_SERVICE"), "{log}");
    let peers = speaker.json(&["peers"]);
    assert_eq!(peers[0]["name"], "main/tor", "{peers}");
    speaker.process().kill();

    let speaker = Speaker::start(&node, CONFIG, &manifests);
    wait_listeners(&speaker, "with it, both listen", |one| {
        !one.contains("NET_BIND_SERVICE") && one.contains(":179")
    });
}
