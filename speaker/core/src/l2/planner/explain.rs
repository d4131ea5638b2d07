//! What stands between an address and this node's segments, for `speaker explain`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use speaker_config::objects::Service;

use super::{Planner, asked, class_serves};
use crate::inputs::Inputs;
use crate::ipam::L2_CLASS;
use crate::view::GateView;

impl Planner {
    /// The gates of an address of a Service, in order, up to the election.
    #[must_use]
    pub fn explain(&self, service: &Service, address: IpAddr, inputs: &Inputs) -> Vec<GateView> {
        let mut gates = Vec::new();
        let mut gate = |gate: &str, passed: bool, detail: String| {
            gates.push(GateView { gate: gate.to_owned(), passed, detail });
        };
        let class = service.class.as_deref().unwrap_or("absent");
        let serves = class_serves(service, self.default_class);
        let detail = match serves {
            true => format!("loadBalancerClass is {class}"),
            false => {
                format!("loadBalancerClass is {class}; the segment's announcer serves {L2_CLASS} or no class")
            }
        };
        gate("class", serves, detail);
        if service.deleting {
            gate("deletion", false, "the Service is being deleted".to_owned());
        }
        let rules: Vec<usize> =
            (0..self.rules.len()).filter(|rule| self.asks(*rule, service, address)).collect();
        let names = |of: &dyn Fn(usize) -> bool| {
            let of = rules.iter().filter(|rule| of(**rule)).filter_map(|rule| self.rules.get(*rule));
            of.map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let all: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        let detail = match (rules.is_empty(), all.is_empty()) {
            (false, _) => format!("{address} is announced by {}", names(&|_| true)),
            (true, true) => "there is no policy".to_owned(),
            (true, false) => {
                format!(
                    "no policy announces {address} of this Service: {} by serviceSelector, loadBalancerIPs, externalIPs",
                    all.join(", ")
                )
            }
        };
        gate("policy", !rules.is_empty(), detail);
        if rules.is_empty() {
            return gates;
        }
        let selects = |rule: usize| self.nodes.get(rule).is_some_and(|nodes| nodes.contains(&self.node));
        let here = names(&selects);
        let detail = match here.is_empty() {
            false => format!("node '{}' is selected by {here}", self.node),
            true => format!("node '{}' is not selected by {}", self.node, names(&|_| true)),
        };
        gate("nodeSelector", !here.is_empty(), detail);
        if let Some(nodes) = self.local(service, inputs) {
            let on = nodes.contains(&self.node);
            let detail = match on {
                true => {
                    format!("externalTrafficPolicy is Local: a ready endpoint is on node '{}'", self.node)
                }
                false => {
                    format!("externalTrafficPolicy is Local: no ready endpoint is on node '{}'", self.node)
                }
            };
            gate("externalTrafficPolicy", on, detail);
        }
        self.explain_links(address, &rules, &mut gates);
        gates
    }

    fn explain_links(&self, address: IpAddr, rules: &[usize], gates: &mut Vec<GateView>) {
        let links: BTreeSet<&String> =
            rules.iter().filter_map(|rule| self.links.get(*rule)).flatten().collect();
        let list = |links: &mut dyn Iterator<Item = &String>| links.cloned().collect::<Vec<_>>().join(", ");
        let detail = match links.is_empty() {
            false => format!("on {}", list(&mut links.iter().copied())),
            true => {
                format!("of this host's interfaces ({}) none is named", list(&mut self.interfaces.iter()))
            }
        };
        gates.push(GateView { gate: "interface".to_owned(), passed: !links.is_empty(), detail });
        let refused: BTreeSet<&String> =
            links.iter().copied().filter(|link| self.kernel_answers(address, link)).collect();
        if !refused.is_empty() {
            let refused_on = list(&mut refused.iter().copied());
            gates.push(GateView {
                gate: "kernel".to_owned(),
                passed: refused.len() < links.len(),
                detail: format!(
                    "refused on {refused_on}: datapath.local delivers {address} on this host and arp_ignore is 0, so that \
                     the kernel of each such host answers for it, holder or not; set net.ipv4.conf.all.arp_ignore to 1"
                ),
            });
        }
    }

    /// Whether a rule announces an address of a Service.
    fn asks(&self, rule: usize, service: &Service, address: IpAddr) -> bool {
        let rule = self.rules.get(rule);
        rule.is_some_and(|rule| asked(rule, service).any(|one| one == address))
    }
}
