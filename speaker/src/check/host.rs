//! `check --node`: what this host lacks for `datapath` and `l2`, or has against them. Nothing is changed.

use std::path::Path;

use speaker_config::diagnostic::Severity::{self, Warning};
use speaker_config::model::{Learn, LoopGuard, PeerAddress, SpeakerConfig};

use crate::io::kernel;

/// Where the kernel shows its settings.
const SYSCTLS: &str = "/proc/sys";

/// What this host's kernel has against the configuration, as warnings: the daemon runs without all of it.
pub async fn kernel(config: &SpeakerConfig) -> Vec<(Severity, String)> {
    let mut found = sysctls(Path::new(SYSCTLS), config);
    let datapath = &config.datapath;
    if datapath.loops != LoopGuard::None || datapath.local_announced {
        found.extend(kernel::obstacles().await);
    }
    if config.l2.enabled && !kernel::may_open_raw_sockets() {
        found.push(format!("nothing is announced on a segment: {}", kernel::MISSING_RAW));
    }
    found.into_iter().map(|text| (Warning, text)).collect()
}

/// Settings under `root` that matter to the configuration.
fn sysctls(root: &Path, config: &SpeakerConfig) -> Vec<String> {
    let number =
        |name: &str| -> Option<u32> { std::fs::read_to_string(root.join(name)).ok()?.trim().parse().ok() };
    let mut found = Vec::new();
    let local = config.datapath.local_announced;
    let forwarding = [("net/ipv4/ip_forward", "IPv4"), ("net/ipv6/conf/all/forwarding", "IPv6")];
    for (name, family) in forwarding {
        // What is delivered on this host need not be forwarded.
        if !local && number(name) == Some(0) {
            found.push(format!(
                "{} is 0: this host passes no {family} packets on, neither to Pods nor to other nodes; a proxy or a CNI plugin sets it to 1",
                dotted(name)
            ));
        }
    }
    found.extend(config.peers.iter().filter_map(|peer| match &peer.address {
        PeerAddress::Interface(interface) => without_address(root, interface, &peer.name),
        PeerAddress::Address { .. } => None,
    }));
    let strict: Vec<String> = interfaces(root).into_iter().filter(|one| is_strict(one, &number)).collect();
    if !strict.is_empty() && config.peers.len() + config.dynamic_peers.len() > 1 {
        found.push(format!(
            "net.ipv4.conf.*.rp_filter is 1 (strict) on {}: with several routers a packet may come in by another interface than its answer goes out by, and is then dropped; 2 (loose) lets it in",
            strict.join(", ")
        ));
    }
    if local && number("net/ipv4/conf/all/arp_ignore") == Some(0) {
        found.push(
            "net.ipv4.conf.all.arp_ignore is 0: with datapath.local announced this host answers ARP on every interface for the addresses that it takes; 1 keeps it to those of the interface, where they lie in a subnet of this host's"
                .to_owned(),
        );
    }
    found.extend(without_segment(root, config));
    let learns = config.peers.iter().map(|peer| &peer.settings.learn);
    let learns = learns.chain(config.dynamic_peers.iter().map(|entry| &entry.settings.learn));
    if learns.into_iter().any(|learn| *learn != Learn::default())
        && number("net/ipv4/fib_multipath_hash_policy") == Some(0)
    {
        found.push(
            "net.ipv4.fib_multipath_hash_policy is 0: connections between two hosts all take one of several learned next hops; 1 spreads them by port"
                .to_owned(),
        );
    }
    found
}

/// That `l2.interfaces` names nothing that is here.
fn without_segment(root: &Path, config: &SpeakerConfig) -> Option<String> {
    let wanted = &config.l2.interfaces;
    let here = interfaces(root);
    if !config.l2.enabled || wanted.is_empty() || here.is_empty() {
        return None;
    }
    // The reader has compiled each of them.
    let named = regex::RegexSet::new(wanted).unwrap_or_default();
    (!here.iter().any(|one| named.is_match(one))).then(|| {
        format!(
            "l2.interfaces ({}) names none of this host's interfaces ({}): nothing is announced on a segment",
            wanted.join(", "),
            here.join(", ")
        )
    })
}

/// Why nobody can be found on an interface as it is now.
fn without_address(root: &Path, interface: &str, peer: &str) -> Option<String> {
    let settings = root.join("net/ipv6/conf");
    if settings.is_dir() && !settings.join(interface).is_dir() {
        return Some(format!(
            "peer {peer}: there is no interface {interface}; the session begins once there is one"
        ));
    }
    let off = std::fs::read_to_string(settings.join(interface).join("disable_ipv6")).ok()?;
    (off.trim() == "1").then(|| {
        format!(
            "net.ipv6.conf.{interface}.disable_ipv6 is 1: peer {peer} is found by its link-local IPv6 address, and {interface} has none"
        )
    })
}

/// Whether packets are dropped on the interface that came in by another way than their answers go out: "the max
/// value from conf/{all,interface}/rp_filter is used" (ip-sysctl).
fn is_strict(interface: &str, number: &impl Fn(&str) -> Option<u32>) -> bool {
    let of = |name: &str| number(&format!("net/ipv4/conf/{name}/rp_filter")).unwrap_or(0);
    of("all").max(of(interface)) == 1
}

/// The interfaces that have settings, but for loopback.
fn interfaces(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("net/ipv4/conf")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| !matches!(name.as_str(), "all" | "default" | "lo")).collect();
    names.sort();
    names
}

/// `net.ipv4.ip_forward` for net/ipv4/ip_forward.
fn dotted(name: &str) -> String {
    name.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(settings: &[(&str, &str)], config: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in settings {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, format!("{value}\n")).unwrap();
        }
        let text = format!(
            "router: {{asn: 64501}}\npeers:\n  - {{name: a, address: 10.0.0.254, asn: 64500}}\n  - {{name: b, address: 10.0.1.254, asn: 64500}}\n{config}"
        );
        let loaded = crate::load::parse(text, "speaker.yaml", Path::new(".")).unwrap();
        sysctls(root.path(), &loaded.config)
    }

    #[test]
    fn a_host_that_passes_nothing_on_is_told() {
        let settings = [("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/all/forwarding", "1")];
        let said = found(&settings, "");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("net.ipv4.ip_forward is 0"), "{said:?}");
        assert!(found(&settings, "datapath: {local: announced}\n").is_empty());
        assert!(found(&[], "").is_empty(), "a kernel without IPv6 has nothing to tell");
    }

    #[test]
    fn an_interface_that_a_peer_names_is_there_and_has_ipv6() {
        let conf = |settings: &[(&str, &str)]| {
            let peer = "  - {name: leaf, interface: eth1, asn: external}\ndatapath: {local: announced}\n";
            found(settings, peer)
        };
        let other = [("net/ipv6/conf/eth0/disable_ipv6", "0")];
        assert!(conf(&other)[0].starts_with("peer leaf: there is no interface eth1"));
        let off = [("net/ipv6/conf/eth1/disable_ipv6", "1")];
        assert!(conf(&off)[0].starts_with("net.ipv6.conf.eth1.disable_ipv6 is 1: peer leaf"));
        assert_eq!(conf(&[("net/ipv6/conf/eth1/disable_ipv6", "0")]), Vec::<String>::new());
    }

    #[test]
    fn the_stricter_of_two_filters_counts() {
        let conf = |all, eth0, lo| {
            let name = |interface: &str| format!("net/ipv4/conf/{interface}/rp_filter");
            let settings = [(name("all"), all), (name("eth0"), eth0), (name("lo"), lo)];
            let settings: Vec<(&str, &str)> =
                settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            found(&settings, "")
        };
        assert!(conf("0", "1", "0")[0].contains("(strict) on eth0:"));
        assert!(conf("1", "0", "0")[0].contains("(strict) on eth0:"));
        assert!(conf("1", "2", "1").is_empty());
        assert!(conf("0", "0", "1").is_empty());
    }

    #[test]
    fn a_segment_that_is_not_here_is_told() {
        let settings = [("net/ipv4/conf/eth0/rp_filter", "0"), ("net/ipv4/conf/lo/rp_filter", "0")];
        let said = found(&settings, "l2: {enabled: true, interfaces: [\"^bond\", \"^lo$\"]}\n");
        let wanted = "l2.interfaces (^bond, ^lo$) names none of this host's interfaces (eth0): nothing is announced on a segment";
        assert_eq!(said, [wanted]);
        for fine in ["[\"th0\"]", "[]"] {
            assert!(found(&settings, &format!("l2: {{enabled: true, interfaces: {fine}}}\n")).is_empty());
        }
        assert!(found(&settings, "l2: {enabled: false, interfaces: [\"^bond\"]}\n").is_empty());
    }

    #[test]
    fn arp_matters_where_addresses_are_taken() {
        let settings = [("net/ipv4/conf/all/arp_ignore", "0")];
        assert!(found(&settings, "").is_empty());
        assert!(found(&settings, "datapath: {local: announced}\n")[0].contains("arp_ignore is 0"));
    }
}
