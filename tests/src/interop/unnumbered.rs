//! A link without a subnet between the speaker and a router, and a host behind the router.

use std::net::Ipv6Addr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::manifests;
use crate::daemon::{Bird, Frr};
use crate::lab::{Lab, Node};
use crate::speaker::Speaker;
use crate::wait::eventually;

/// Long enough for a session to come up after a hold.
pub const SOON: Duration = Duration::from_secs(60);

/// The interface at both ends of the link.
pub const LINK: &str = "eth0";

/// The Service's addresses, which are the node's own: what is sent there arrives.
pub const SERVED: [&str; 2] = manifests::SERVICE_ADDRESSES;

/// What the speaker's pool comes to.
pub const PREFIXES: [&str; 2] = manifests::POOL_PREFIXES;

/// Nodes on one link, whose addresses are link-local alone.
#[derive(Debug)]
pub struct Nodes {
    /// The speaker's.
    pub node: Node,
    /// The router's: `eth0` to the speaker, `eth1` to the host.
    pub router: Node,
    /// The host behind the router.
    pub host: Node,
    /// Last, so that it goes last.
    pub lab: Lab,
}

impl Default for Nodes {
    fn default() -> Self {
        Self::new()
    }
}

impl Nodes {
    /// Made and linked, nothing running.
    #[must_use]
    pub fn new() -> Self {
        let lab = Lab::new();
        let (node, router, host) = (lab.node("node"), lab.node("router"), lab.node("host"));
        lab.link(&node, LINK, &router, LINK);
        lab.link(&router, "eth1", &host, LINK);
        router.sysctl("net/ipv4/ip_forward", "1");
        router.sysctl("net/ipv6/conf/all/forwarding", "1");
        router.address("eth1", "192.0.2.1/24");
        router.address("eth1", "2001:db8:9::1/64");
        host.address(LINK, "192.0.2.7/24");
        host.address(LINK, "2001:db8:9::7/64");
        for (family, router) in [("-4", "192.0.2.1"), ("-6", "2001:db8:9::1")] {
            let route = [family, "route", "add", "default", "via", router];
            eventually(SOON, "the host's route", || host.try_ip(&route));
        }
        for (address, length) in SERVED.into_iter().zip([32, 128]) {
            node.address("lo", &format!("{address}/{length}"));
        }
        Self { node, router, host, lab }
    }

    /// The way back to the host, over the router's link-local address.
    pub fn answer_by(&self, router: Ipv6Addr) {
        let router = router.to_string();
        for family in ["-4", "-6"] {
            let via: &[&str] = if family == "-4" { &["via", "inet6"] } else { &["via"] };
            let mut route = vec![family, "route", "replace", "default"];
            route.extend(via);
            route.extend([router.as_str(), "dev", LINK]);
            eventually(SOON, "the node's route to the host", || self.node.try_ip(&route));
        }
    }

    /// Until the host gets an answer from both of the Service's addresses.
    #[track_caller]
    pub fn wait_served(&self) {
        for address in SERVED {
            eventually(SOON, &format!("{address} answers the host"), || {
                self.host.try_exec(&["ping", "-c", "1", "-W", "1", address])
            });
        }
    }

    /// Sends one router advertisement from the host's own link-local address, with this hop limit, to the speaker's link.
    pub fn advertise_from(&self, from: &Node, hop_limit: u32) {
        from.inside(|| {
            use socket2::{Domain, Protocol, Socket, Type};
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("a raw socket");
            let index = nix::net::if_::if_nametoindex(LINK).expect("the link");
            socket.set_multicast_if_v6(index).expect("the link of a group");
            socket.set_multicast_hops_v6(hop_limit).expect("hop limit");
            let to = std::net::SocketAddrV6::new("ff02::1".parse().expect("all nodes"), 0, 0, index);
            let mut message = vec![134, 0];
            message.extend([0; 14]);
            socket.send_to(&message, &to.into()).expect("an advertisement");
        });
    }
}

/// The link-local address of an interface.
#[track_caller]
pub fn link_local(node: &Node, dev: &str) -> Ipv6Addr {
    eventually(SOON, &format!("a link-local address on {dev} of {}", node.name()), || {
        let text = node.ip(&["-6", "-o", "address", "show", "dev", dev, "scope", "link"]);
        let address = text.split_whitespace().skip_while(|word| *word != "inet6").nth(1);
        let address = address.and_then(|address| address.split('/').next()?.parse().ok());
        address.filter(|_| !text.contains("tentative")).ok_or(text)
    })
}

/// The speaker's configuration: the peer `tor` on the link, with `keys` beside the usual ones.
#[must_use]
pub fn config(keys: &str) -> String {
    format!(
        "node: {{name: n1}}\n\
         router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"[::]:179\"]}}\n\
         sources: {{manifests: [manifests]}}\n\
         ipam: {{stateDir: state}}\n\
         peers:\n  - {{name: tor, interface: {LINK}, asn: external, timers: {{hold: 9s, keepalive: 3s, connectRetry: 1s}}{keys}}}\n\
         advertisements:\n  - {{name: pools, poolPrefix: {{when: allocated}}}}\n\
         datapath: {{loops: none}}\n\
         api: {{socket: api.sock}}\n"
    )
}

/// The speaker with a pool and a Service.
#[must_use]
pub fn speaker(node: &Node, keys: &str) -> Speaker {
    let manifests =
        [("pool.yaml", manifests::POOL.to_owned()), ("web.yaml", manifests::service("web", true))];
    Speaker::start(node, &config(keys), &manifests)
}

/// FRR with an interface peer, zebra sending advertisements for it; `more` are lines of its `router bgp`.
#[must_use]
pub fn frr(node: &Node, more: &str, bfd: &str) -> Frr {
    let config = format!(
        "frr defaults traditional\nhostname lab\nrouter bgp 64502\n bgp router-id 10.0.0.2\n \
         bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n neighbor {LINK} interface remote-as external\n \
         neighbor {LINK} timers 3 9\n neighbor {LINK} timers connect 1\n{more} \
         address-family ipv4 unicast\n  network 198.51.100.0/24\n  neighbor {LINK} activate\n exit-address-family\n \
         address-family ipv6 unicast\n  network 2001:db8:51::/48\n  neighbor {LINK} activate\n exit-address-family\n"
    );
    if bfd.is_empty() {
        Frr::with_config(node, 64502, &config)
    } else {
        Frr::with_bfd(node, 64502, &config, bfd)
    }
}

/// BIRD, which sends advertisements (`radv`) and waits for whoever dials on the link.
#[must_use]
pub fn bird(node: &Node) -> Bird {
    let config = format!(
        "log stderr all;\nrouter id 10.0.0.2;\nprotocol device {{}}\n\
         protocol kernel {{ ipv4 {{ export all; }}; }}\nprotocol kernel {{ ipv6 {{ export all; }}; }}\n\
         protocol radv {{ interface \"{LINK}\" {{ max ra interval 10; }}; }}\n\
         protocol bgp lab {{ local as 64502; neighbor range fe80::/64 as 64501; interface \"{LINK}\"; direct;\n \
         dynamic name \"peer\"; hold time 9;\n \
         ipv4 {{ import all; export none; extended next hop yes; }}; ipv6 {{ import all; export none; }}; }}\n"
    );
    Bird::with_config(node, 64502, &config)
}

/// FRR's neighbor on the link.
#[must_use]
pub fn neighbor(frr: &Frr) -> Value {
    let text = frr.vtysh(&[&format!("show bgp neighbors {LINK} json")]);
    let all: Value = serde_json::from_str(&text).unwrap_or_default();
    all[LINK].clone()
}

/// Until the session is up on both sides.
#[track_caller]
pub fn wait_up(speaker: &Speaker, frr: &Frr) {
    speaker.wait_state("tor", "Established", SOON);
    eventually(SOON, "FRR is established", || {
        let seen = neighbor(frr);
        if seen["bgpState"] == "Established" { Ok(()) } else { Err(seen["bgpState"].to_string()) }
    });
}

/// The router's kernel route for a prefix, as `ip` prints it, once it has one over the speaker's link.
#[track_caller]
pub fn kernel_route(router: &Node, prefix: &str) -> String {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    eventually(SOON, &format!("the router's kernel has {prefix} over {LINK}"), || {
        let text = router.ip(&[family, "route", "show", prefix]);
        if text.contains("via") && text.contains(&format!("dev {LINK}")) { Ok(text) } else { Err(text) }
    })
}

/// A command of the host's that opens a TCP connection to a port.
#[must_use]
pub fn connects(host: &Node, address: &str, port: u16) -> bool {
    let target = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let script = format!("exec 3<>/dev/tcp/{}/{port}", target.trim_matches(['[', ']']));
    host.output(Command::new("timeout").args(["2", "bash", "-c", &script])).status.success()
}
