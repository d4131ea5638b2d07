//! Which way flows went: each node notes those of which a packet came to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Flow, Flows, PORT};
use crate::e2e::World;
use crate::fabric::nft;

/// A watch over the flows to one address, from its beginning on. Where packets of a flow have come to two nodes, its
/// path has changed.
#[derive(Debug)]
pub struct Paths<'a> {
    world: &'a World,
    flows: &'a Flows,
    table: &'static str,
}

impl<'a> Paths<'a> {
    /// Begins to watch, and waits until each of the flows has been seen.
    #[must_use]
    pub fn watch(world: &'a World, vip: IpAddr, flows: &'a Flows) -> Self {
        let (family, table) = if vip.is_ipv4() { ("ip", "paths4") } else { ("ip6", "paths6") };
        let ports: Vec<String> = flows.now().iter().map(|flow| flow.port.to_string()).collect();
        let mut rules = String::new();
        let _infallible = write!(
            rules,
            "table inet {table} {{ }}\ndelete table inet {table}\ntable inet {table} {{
  set flows {{ type inet_service; elements = {{ {} }} }}
  set seen {{ type inet_service; flags dynamic; size 4096; }}
  chain prerouting {{
    type filter hook prerouting priority -400; policy accept;
    iifname \"eth0\" {family} daddr {vip} tcp dport {PORT} tcp sport @flows update @seen {{ tcp sport }}
  }}
}}\n",
            ports.join(", ")
        );
        for member in &world.members {
            nft(&member.node, &rules);
        }
        let paths = Self { world, flows, table };
        let _all = flows.settled();
        paths
    }

    /// How the flows are by now, each with the nodes that it went by since the watch began.
    ///
    /// # Panics
    /// If nftables answers in another form.
    #[must_use]
    pub fn seen(&self) -> Vec<(Flow, BTreeSet<String>)> {
        let flows = self.flows.settled();
        let mut nodes: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for member in &self.world.members {
            let text = member.node.exec(&["nft", "-j", "list", "set", "inet", self.table, "seen"]);
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON of nft");
            let sets = json["nftables"].as_array().into_iter().flatten();
            for port in sets.filter_map(|one| one["set"]["elem"].as_array()).flatten() {
                let port = port.as_u64().or_else(|| port["elem"]["val"].as_u64()).expect("a port");
                nodes.entry(port).or_default().insert(member.node.name().to_owned());
            }
        }
        let by = |flow: Flow| {
            let via = nodes.get(&u64::from(flow.port)).cloned().unwrap_or_default();
            (flow, via)
        };
        flows.into_iter().map(by).collect()
    }

    /// Flows that went by one node all the time live.
    ///
    /// # Panics
    /// If one does not, or there is none.
    #[track_caller]
    pub fn assert_kept(&self, what: &str) {
        let seen = self.seen();
        let same: Vec<_> = seen.iter().filter(|(_, nodes)| nodes.len() == 1).collect();
        let dead = |flow: &Flow| flow.broken.is_some();
        let lost = seen.iter().filter(|(flow, _)| dead(flow)).count();
        println!("{what}: {} of {} flows kept their path; {lost} were lost", same.len(), seen.len());
        let broken: Vec<_> = same.iter().filter(|(flow, _)| dead(flow)).collect();
        assert!(broken.is_empty() && !same.is_empty(), "{what}: {broken:#?}");
    }
}
