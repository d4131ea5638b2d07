//! L2 announcements against the kernel's own neighbour caches, arping and ndisc6.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::Ipv6Addr;
use std::time::Duration;

use tests::lab::{Lab, Node};
use tests::pcap::Capture;
use tests::speaker::Speaker;
use tests::wait::{always, eventually};

const CONFIG: &str = "
sources: {manifests: [manifests]}
ipam: {stateDir: state}
datapath: {loops: none}
l2: {enabled: true, interfaces: [\"^eth0$\"]}
api: {socket: api.sock}
";

const POOL: &str = "
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: segment}
spec: {blocks: [{start: 192.0.2.100, stop: 192.0.2.120}, {start: 2001:db8::100, stop: 2001:db8::120}]}
";

fn service(name: &str, class: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata:
  name: {name}
  annotations: {{lbipam.cilium.io/ips: \"192.0.2.100,2001:db8::100\"}}
spec:
  type: LoadBalancer
  {class}
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  ports: [{{port: 80}}]
"
    )
}

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::100";
const PATIENCE: Duration = Duration::from_secs(20);

/// A segment with a client and hosts that could announce on it.
struct Segment {
    lab: Lab,
    switch: Node,
    client: Node,
}

impl Segment {
    fn new() -> Self {
        let lab = Lab::new();
        let switch = lab.switch("switch");
        let client = lab.node("client");
        lab.plug(&switch, &client, "eth0");
        client.address("eth0", "192.0.2.1/24");
        client.address("eth0", "2001:db8::1/64");
        Self { lab, switch, client }
    }

    /// A host on the segment, by an interface eth0 with this last number in its addresses.
    fn host(&self, name: &str, number: u8) -> Node {
        let node = self.lab.node(name);
        self.lab.plug(&self.switch, &node, "eth0");
        node.address("eth0", &format!("192.0.2.{number}/24"));
        node.address("eth0", &format!("2001:db8::{number:x}/64"));
        node
    }

    /// Who answers an ARP request of the client for an address: the Ethernet addresses, without doubles.
    fn arping(&self, address: &str) -> Vec<String> {
        let output = self.client.try_exec(&["arping", "-b", "-c", "2", "-w", "2", "-I", "eth0", address]);
        let text = output.unwrap_or_else(|nobody| nobody);
        let mut macs: Vec<String> = text
            .lines()
            .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_lowercase()))
            .collect();
        macs.sort();
        macs.dedup();
        macs
    }

    /// Who answers a neighbour solicitation.
    fn ndisc(&self, address: &str) -> Vec<String> {
        let output = self.client.try_exec(&["ndisc6", "-m", "-r", "2", "-w", "500", address, "eth0"]);
        let text = output.unwrap_or_else(|nobody| nobody);
        let mut macs: Vec<String> = text
            .lines()
            .filter_map(|line| line.split_once("Target link-layer address:"))
            .map(|(_, mac)| mac.trim().to_lowercase())
            .collect();
        macs.sort();
        macs.dedup();
        macs
    }

    /// What the client's own cache says of an address, asked by a packet of its own.
    fn cached(&self, address: &str) -> String {
        self.client.ip(&["neigh", "show", address, "dev", "eth0"])
    }

    fn resolve(&self, address: &str) {
        // Nobody answers the ping itself: the address is no process's.
        let _unanswered = self.client.try_exec(&["ping", "-c", "1", "-W", "1", address]);
    }
}

fn mac(node: &Node) -> String {
    let text = node.ip(&["-j", "link", "show", "dev", "eth0"]);
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

fn start(node: &Node) -> Speaker {
    Speaker::start(node, CONFIG, &[("pool.yaml", POOL.to_owned()), ("web.yaml", service("web", ""))])
}

#[test]
fn an_allocated_address_is_answered_for_in_both_families_and_no_other() {
    let segment = Segment::new();
    let host = segment.host("host", 10);
    let speaker = start(&host);
    let own = mac(&host);
    eventually(PATIENCE, "ARP is answered", || match segment.arping(V4) {
        macs if macs == [own.clone()] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually(PATIENCE, "NDP is answered", || match segment.ndisc(V6) {
        macs if macs == [own.clone()] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // A switch that snoops MLD asks members of the solicited-node group alone.
    let groups = || host.ip(&["-6", "maddress", "show", "dev", "eth0"]);
    assert!(groups().contains("ff02::1:ff00:100"), "{}", groups());
    // An address of the pool that no Service has, and one of nobody.
    for unused in ["192.0.2.101", "192.0.2.200"] {
        assert_eq!(segment.arping(unused), Vec::<String>::new(), "{unused}");
    }
    assert_eq!(segment.ndisc("2001:db8::101"), Vec::<String>::new());

    // The kernel of the client takes it into its own cache.
    segment.resolve(V4);
    segment.resolve(V6);
    for address in [V4, V6] {
        let cached = segment.cached(address);
        assert!(cached.contains(&own), "{address}: {cached}");
    }

    // The Service goes, and so does the answer.
    speaker.remove_manifest("web.yaml");
    eventually(PATIENCE, "silence", || match (segment.arping(V4), segment.ndisc(V6)) {
        (v4, v6) if v4.is_empty() && v6.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!groups().contains("ff02::1:ff00:100"), "{}", groups());
}

/// A policy that names interfaces.
fn policy(interfaces: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2alpha1\nkind: CiliumL2AnnouncementPolicy\nmetadata: {{name: segment}}\n\
         spec: {{loadBalancerIPs: true, interfaces: [{interfaces}]}}\n"
    )
}

#[test]
fn interfaces_are_named_by_expressions_and_a_bridge_is_one() {
    let segment = Segment::new();
    let host = segment.lab.node("host");
    segment.lab.plug(&segment.switch, &host, "eth0");
    // As a hypervisor has it: the host's addresses are on a bridge, of which the wire is a port.
    host.ip(&["link", "add", "br-lan", "type", "bridge"]);
    host.ip(&["link", "set", "br-lan", "address", "02:00:00:00:00:42", "up"]);
    host.ip(&["link", "set", "eth0", "master", "br-lan"]);
    host.address("br-lan", "192.0.2.10/24");
    host.address("br-lan", "2001:db8::a/64");
    // Unanchored, and one of several is enough; the port of the bridge is no segment of its own.
    let config = CONFIG.replace("[\"^eth0$\"]", "[\"^eth\", \"^br-\"]");
    let manifests = [
        ("pool.yaml", POOL.to_owned()),
        ("web.yaml", service("web", "")),
        ("policy.yaml", policy("\"^nothing\", \"r-la\"")),
    ];
    let speaker = Speaker::start(&host, &config, &manifests);
    let bridge = ["02:00:00:00:00:42".to_owned()];
    eventually(PATIENCE, "the bridge answers", || match (segment.arping(V4), segment.ndisc(V6)) {
        (v4, v6) if v4 == bridge && v6 == bridge => Ok(()),
        other => Err(format!("{other:?}")),
    });
    speaker.write_manifest("policy.yaml", &policy("\"^eth0$\""));
    eventually(PATIENCE, "silence", || match (segment.arping(V4), segment.ndisc(V6)) {
        (v4, v6) if v4.is_empty() && v6.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let story = speaker.try_cli(&["explain", "default/web"]).unwrap_err();
    assert!(story.contains("HELD interface: of this host's interfaces (br-lan) none is named"), "{story}");
}

#[test]
fn without_the_right_to_raw_sockets_it_says_so_and_counts() {
    let segment = Segment::new();
    let host = segment.host("host", 10);
    let config =
        CONFIG.replace("api: {socket: api.sock}", "api: {socket: api.sock, http: \"127.0.0.1:9179\"}");
    let manifests = [("pool.yaml", POOL.to_owned()), ("web.yaml", service("web", ""))];
    let speaker = Speaker::start_without(&host, &config, &manifests, "net_raw");
    speaker.wait_log(
        &["announcing on the segment failed", "CAP_NET_RAW is missing; give it to the process"],
        PATIENCE,
    );
    assert_eq!(segment.arping(V4), Vec::<String>::new());
    assert!(speaker.metric("speaker_reconcile_errors_total{component=\"link\"}") >= 1.0);
}

#[test]
fn a_new_holder_changes_caches_that_did_not_ask() {
    let segment = Segment::new();
    let (first, second) = (segment.host("first", 10), segment.host("second", 11));
    let speaker = start(&first);
    let own = mac(&first);
    eventually(PATIENCE, "ARP is answered", || match segment.arping(V4) {
        macs if macs == [own.clone()] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    segment.resolve(V4);
    segment.resolve(V6);
    assert!(segment.cached(V4).contains(&own), "{}", segment.cached(V4));
    speaker.process().terminate();
    eventually(PATIENCE, "the first one has ended", || {
        if speaker.process().running() { Err("it runs".to_owned()) } else { Ok(()) }
    });
    let _second = start(&second);
    let heir = mac(&second);
    for address in [V4, V6] {
        eventually(PATIENCE, "the cache follows by what is said unasked", || {
            let cached = segment.cached(address);
            if cached.contains(&heir) { Ok(()) } else { Err(cached) }
        });
    }
}

#[test]
fn a_holder_says_so_again_in_both_families() {
    let segment = Segment::new();
    let host = segment.host("host", 10);
    let capture = Capture::of(&segment.lab, &segment.client, "eth0", "arp or (icmp6 and ip6[40] == 136)");
    let _speaker = start(&host);
    // To everybody, about the address itself: a request whose sender it is, and an advertisement.
    let arp = |frame: &&Vec<u8>| {
        frame[..6] == [0xff; 6] && frame[20..22] == [0, 1] && frame[28..32] == [192, 0, 2, 100]
    };
    let target: Ipv6Addr = V6.parse().unwrap();
    let advertised = |frame: &&Vec<u8>| {
        frame[..6] == [0x33, 0x33, 0, 0, 0, 1] && frame.get(62..78) == Some(&target.octets()[..])
    };
    eventually(PATIENCE, "it is said at once, after a second and after two more", || {
        let frames = capture.frames();
        let count = (frames.iter().filter(arp).count(), frames.iter().filter(advertised).count());
        if count.0 >= 3 && count.1 >= 3 { Ok(()) } else { Err(format!("{count:?} of {}", frames.len())) }
    });
}

#[test]
fn a_service_of_another_class_is_not_announced() {
    let segment = Segment::new();
    let host = segment.host("host", 10);
    let bgp = "loadBalancerClass: io.cilium/bgp-control-plane";
    let speaker =
        Speaker::start(&host, CONFIG, &[("pool.yaml", POOL.to_owned()), ("web.yaml", service("web", bgp))]);
    eventually(PATIENCE, "it has its address", || {
        let text = speaker.try_cli(&["services"])?;
        if text.contains(V4) { Ok(()) } else { Err(text) }
    });
    always(Duration::from_secs(2), "silence", || match segment.arping(V4) {
        macs if macs.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    speaker.write_manifest("web.yaml", &service("web", "loadBalancerClass: io.cilium/l2-announcer"));
    let own = mac(&host);
    eventually(PATIENCE, "ARP is answered", || match segment.arping(V4) {
        macs if macs == [own.clone()] => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn the_interface_may_come_later_and_change() {
    let segment = Segment::new();
    let host = segment.host("host", 10);
    host.ip(&["link", "set", "eth0", "down"]);
    let _speaker = start(&host);
    host.ip(&["link", "set", "eth0", "up"]);
    let first = mac(&host);
    eventually(PATIENCE, "ARP is answered", || match segment.arping(V4) {
        macs if macs == [first.clone()] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    host.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:77"]);
    eventually(PATIENCE, "ARP is answered with the new address", || match segment.arping(V4) {
        macs if macs == ["02:00:00:00:00:77"] => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn an_address_that_the_kernel_answers_for_is_refused_until_arp_ignore_is_set() {
    let segment = Segment::new();
    let host = segment.host("host", 11);
    host.sysctl("net/ipv4/ip_forward", "1");
    let config = CONFIG.replace("{loops: none}", "{loops: none, local: announced}")
        + "advertisements: [{name: none, serviceRoutes: {which: all, when: allocated}}]\n";
    let manifests = [("pool.yaml", POOL.to_owned()), ("web.yaml", service("web", ""))];
    let speaker = Speaker::start(&host, &config, &manifests);
    // One address of the two is held back, which the command says by its status too.
    let kernels = |speaker: &Speaker| -> serde_json::Value {
        let text = speaker.try_cli(&["explain", "default/web", "-o", "json"]).unwrap_or_else(|held| held);
        let json = text.find('{').map(|at| &text[at..]).unwrap_or_default();
        let story: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        story["segment"].clone()
    };
    eventually(PATIENCE, "the IPv4 address is refused, the IPv6 address is held", || {
        let now = kernels(&speaker);
        let held = |address: &str| {
            let mut all = now.as_array().into_iter().flatten();
            all.find(|one| one["address"] == address).is_some_and(|one| one["answered"] == true)
        };
        if !held(V4) && held(V6) { Ok(()) } else { Err(now.to_string()) }
    });
    let story = speaker.try_cli(&["explain", "default/web"]).unwrap_or_else(|held| held);
    assert!(
        story.contains("HELD kernel: refused on eth0: datapath.local delivers 192.0.2.100 on this host and arp_ignore is 0"),
        "{story}"
    );
    // The kernel does answer, as the refusal says.
    segment.client.exec(&["arping", "-c", "1", "-w", "2", "-I", "eth0", V4]);
    host.sysctl("net/ipv4/conf/all/arp_ignore", "1");
    eventually(PATIENCE, "the IPv4 address is held", || {
        let now = kernels(&speaker);
        let mut all = now.as_array().into_iter().flatten();
        let held = all.find(|one| one["address"] == V4).is_some_and(|one| one["answered"] == true);
        if held { Ok(()) } else { Err(now.to_string()) }
    });
    segment.client.exec(&["arping", "-c", "1", "-w", "2", "-I", "eth0", V4]);
}
